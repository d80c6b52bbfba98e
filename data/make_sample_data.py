"""Write the sample data of this folder. All of it is synthetic: no price, order or fill is of a real market.

Run it as ``python data/make_sample_data.py [--output DIR]``; the same files come out every time.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
from sample_bars import CRYPTO_END, CRYPTO_START, make_bars
from sample_events import Envelope, instant, make_events, plain
from sample_records import Fill, Order, Plan, commission, exact_bars
from sample_trading import TICK, Simulation

ORDER_COLUMNS = (
    "id",
    "client_order_id",
    "exchange_order_id",
    "run_id",
    "symbol",
    "side",
    "order_type",
    "qty",
    "limit_price",
    "stop_price",
    "time_in_force",
    "status",
    "filled_qty",
    "filled_avg_price",
    "created_at",
    "submitted_at",
    "filled_at",
    "cancelled_at",
    "reject_reason",
    "error_code",
)
FILL_COLUMNS = (
    "id",
    "order_id",
    "run_id",
    "symbol",
    "side",
    "price",
    "quantity",
    "commission",
    "commission_currency",
    "liquidity",
    "filled_at",
    "exchange_fill_id",
)

BACKTEST = Plan(
    run_id="bt-sma-eth-001",
    tag="bt",
    strategy_id="sma-crossover",
    mode="backtest",
    status="completed",
    symbols=("ETH/USD",),
    start=CRYPTO_START,
    end=CRYPTO_END,
    flatten_from=datetime(2025, 12, 2, 23, 30, tzinfo=UTC),
    fast=6,
    slow=20,
    notional=Decimal(20_000),
    cash=Decimal(50_000),
    lot=Decimal("0.001"),
    maker=Decimal("0.0004"),
    taker=Decimal("0.0008"),
    fast_market=Decimal("0.0025"),
    limit_offset=Decimal("0.0005"),
    stop_loss=Decimal("0.009"),
    patience=2,
    time_in_force="gtc",
    reject_rate=0.03,
    seed=1,
)
PAPER_STOCKS = Plan(
    run_id="paper-sma-stocks-002",
    tag="stk",
    strategy_id="sma-crossover",
    mode="paper",
    status="stopped",
    symbols=("ACME", "GLOBEX"),
    start=datetime(2025, 11, 18, 14, 30, tzinfo=UTC),
    end=datetime(2025, 12, 2, 21, 0, tzinfo=UTC),
    flatten_from=datetime(2025, 12, 2, 20, 30, tzinfo=UTC),
    fast=6,
    slow=22,
    notional=Decimal(30_000),
    cash=Decimal(60_300),
    lot=Decimal(1),
    maker=Decimal("0.0001"),
    taker=Decimal("0.0003"),
    fast_market=Decimal("0.003"),
    limit_offset=Decimal("0.0010"),
    stop_loss=Decimal("0.012"),
    patience=3,
    time_in_force="day",
    reject_rate=0.0,
    seed=2,
)
PAPER_BTC = Plan(
    run_id="paper-sma-btc-003",
    tag="btc",
    strategy_id="sma-crossover",
    mode="paper",
    status="running",
    symbols=("BTC/USD",),
    start=datetime(2025, 11, 27, tzinfo=UTC),
    end=CRYPTO_END,
    flatten_from=CRYPTO_END,
    dies_after=datetime(2025, 11, 30, 6, 0, tzinfo=UTC),
    fast=6,
    slow=20,
    notional=Decimal(40_000),
    cash=Decimal(100_000),
    lot=Decimal("0.0001"),
    maker=Decimal("0.0004"),
    taker=Decimal("0.0008"),
    fast_market=Decimal("0.002"),
    limit_offset=Decimal("0.0005"),
    stop_loss=Decimal("0.01"),
    patience=1,
    time_in_force="gtc",
    reject_rate=0.03,
    seed=3,
)
PLANS = (BACKTEST, PAPER_STOCKS, PAPER_BTC)

FILLS_WITHOUT_RUN = 6


@dataclass(frozen=True, slots=True)
class Trading:
    """Everything that was traded.

    Parameters
    ----------
    runs : list of dict
        As runs.json holds them.
    orders : list of Order
        By creation time.
    fills : list of Fill
        By time; also those that no order holds.
    events : list of dict
        Envelopes by time.
    faults : dict of str to tuple of str
        Planted fault to the ids of its fills: price-outside-bar, over-filled, unknown-order,
        duplicate-exchange-fill-id.
    """

    runs: list[dict[str, Any]]
    orders: list[Order]
    fills: list[Fill]
    events: list[Envelope]
    faults: dict[str, tuple[str, ...]]


def make_run(plan: Plan) -> dict[str, Any]:
    """Describe a run.

    Parameters
    ----------
    plan : Plan
        What it does.

    Returns
    -------
    dict
        One element of runs.json. A run that died has no stopped_at.
    """
    config = {
        "parameters": {
            "signal_timeframe": "15m",
            "fast_window": plan.fast,
            "slow_window": plan.slow,
            "notional_per_entry": plain(plan.notional),
            "market_order_above_move": plain(plan.fast_market),
            "limit_offset": plain(plan.limit_offset),
            "limit_patience_bars": plan.patience,
            "stop_loss": plain(plan.stop_loss),
        },
        "starting_cash": plain(plan.cash),
        "fees": {"maker": plain(plan.maker), "taker": plain(plan.taker), "currency": "USD"},
        "synthetic": True,
    }
    return {
        "id": plan.run_id,
        "strategy_id": plan.strategy_id,
        "mode": plan.mode,
        "status": plan.status,
        "symbols": list(plan.symbols),
        "timeframe": "1m",
        "config": config,
        "error": None,
        "created_at": instant(plan.start - timedelta(seconds=12)),
        "started_at": instant(plan.start - timedelta(seconds=2)),
        "stopped_at": None if plan.dies_after else instant(plan.end + timedelta(seconds=3)),
        "heartbeat_at": instant(plan.dies_after) if plan.dies_after else None,
        "owner": {"host": "research-box", "pid": 4711, "started": plan.start.timestamp()} if plan.dies_after else None,
    }


def make_trading(bars: Mapping[str, pl.DataFrame]) -> Trading:
    """Trade the bars in three runs and plant the four faults.

    Parameters
    ----------
    bars : mapping of str to polars.DataFrame
        As `make_bars` gives them.

    Returns
    -------
    Trading
        Runs, orders, fills and events that agree with each other, but for the faults.
    """
    lives = [Simulation(plan, bars).run() for plan in PLANS]
    backtest = lives[0]
    faults: dict[str, tuple[str, ...]] = {}
    faults["price-outside-bar"] = _plant_price_outside_bar(backtest, bars)
    faults["over-filled"] = _plant_over_filled(backtest)
    faults["duplicate-exchange-fill-id"] = _plant_duplicate_exchange_fill_id(backtest)
    runs = [make_run(plan) for plan in PLANS]
    orders = sorted((order for life in lives for order in life), key=lambda order: (order.created_at, order.id))
    events = make_events(runs, orders)
    orphan = _orphan(bars)
    faults["unknown-order"] = (orphan.id,)
    fills = [fill for order in orders for fill in order.fills] + [orphan]
    fills.sort(key=lambda fill: (fill.filled_at, fill.id))
    planted = {fill_id for fill_ids in faults.values() for fill_id in fill_ids}
    _drop_run_ids([fill for fill in fills if fill.id not in planted])
    return Trading(runs, orders, fills, events, faults)


def _plant_price_outside_bar(orders: Sequence[Order], bars: Mapping[str, pl.DataFrame]) -> tuple[str, ...]:
    """Sell too well: one market fill at 1.5% above the high of its minute, with the fee that follows."""
    order = [order for order in orders if order.order_type == "market" and order.side == "sell"][3]
    fill = order.fills[0]
    bar = exact_bars(bars[fill.symbol])[fill.filled_at.replace(second=0, microsecond=0)]
    fill.price = (bar.high * Decimal("1.015")).quantize(TICK)
    fill.commission = commission(fill.price, fill.quantity, BACKTEST.taker)
    return (fill.id,)


def _plant_over_filled(orders: Sequence[Order]) -> tuple[str, ...]:
    """Fill more than was ordered; all fills have one price, so that the average does not tell."""
    fill = _limit_order_in_parts(orders, "buy", 4).fills[-1]
    fill.quantity += Decimal("0.75")
    fill.commission = commission(fill.price, fill.quantity, BACKTEST.maker)
    return (fill.id,)


def _plant_duplicate_exchange_fill_id(orders: Sequence[Order]) -> tuple[str, ...]:
    """Give two fills of one order the same id of the exchange."""
    first, second = _limit_order_in_parts(orders, "sell", 6).fills[:2]
    second.exchange_fill_id = first.exchange_fill_id
    return first.id, second.id


def _limit_order_in_parts(orders: Sequence[Order], side: str, number: int) -> Order:
    """Pick a filled limit order that took several fills, all at one price."""
    return [
        order
        for order in orders
        if order.order_type == "limit"
        and (order.side, order.status) == (side, "filled")
        and len(order.fills) > 1
        and len({fill.price for fill in order.fills}) == 1
    ][number]


def _orphan(bars: Mapping[str, pl.DataFrame]) -> Fill:
    """Fill of an order that nobody placed, at a price inside its bar."""
    moment = datetime(2025, 11, 26, 10, 31, 17, 482000, tzinfo=UTC)
    bar = exact_bars(bars["ETH/USD"])[moment.replace(second=0, microsecond=0)]
    quantity = Decimal("1.25")
    return Fill(
        id="fill-bt-9001",
        order_id="ord-bt-9001",
        run_id=BACKTEST.run_id,
        symbol="ETH/USD",
        side="buy",
        price=bar.close,
        quantity=quantity,
        commission=commission(bar.close, quantity, BACKTEST.taker),
        commission_currency="USD",
        liquidity="taker",
        filled_at=moment,
        exchange_fill_id="SIM-BT-F009001",
    )


def _drop_run_ids(fills: Sequence[Fill]) -> None:
    """Leave run_id empty in a few fills, as rows do that were written before the column existed."""
    step = len(fills) // FILLS_WITHOUT_RUN
    for fill in fills[step // 2 :: step][:FILLS_WITHOUT_RUN]:
        fill.run_id = None


def write_table(path: Path, columns: Sequence[str], rows: Iterable[object]) -> None:
    """Write objects as CSV: exact decimals, ISO instants, empty for None.

    Parameters
    ----------
    path : Path
        File to write.
    columns : sequence of str
        Attributes to write, in order.
    rows : iterable of object
        Orders or fills.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_text(getattr(row, column)) for column in columns])


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return plain(value) or ""
    if isinstance(value, datetime):
        return instant(value) or ""
    return str(value)


def write_all(output: Path) -> Trading:
    """Make every file of the sample.

    Parameters
    ----------
    output : Path
        Folder to write to; it is made if it is absent.

    Returns
    -------
    Trading
        What was written beside the bars.
    """
    bars = make_bars()
    trading = make_trading(bars)
    (output / "bars").mkdir(parents=True, exist_ok=True)
    for symbol, frame in bars.items():
        frame.write_parquet(output / "bars" / f"{symbol.replace('/', '_')}-1m.parquet", compression="zstd")
    (output / "runs.json").write_text(json.dumps(trading.runs, indent=2) + "\n", encoding="utf-8", newline="\n")
    write_table(output / "orders.csv", ORDER_COLUMNS, trading.orders)
    write_table(output / "fills.csv", FILL_COLUMNS, trading.fills)
    with (output / "events.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(event) + "\n" for event in trading.events)
    return trading


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description="Write WallE's synthetic sample data.")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent, help="folder to write to")
    trading = write_all(parser.parse_args().output)
    print(f"{len(trading.runs)} runs, {len(trading.orders)} orders, {len(trading.fills)} fills")
    print(f"{len(trading.events)} events; planted faults: {trading.faults}")


if __name__ == "__main__":
    main()
