"""Runs: one row of each with what it did, and the life of one, each with how it grows at ten times the data."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl

import walle
from tests.benchmarks.measure import seconds
from walle import migrate
from walle.config import DatabaseConfig

__all__ = ["measure"]

START = datetime(2025, 1, 1, tzinfo=UTC)
FILLS_PER_RUN = 10
TRADES_PER_RUN = 50
BARS = 1_000
ROUNDS = 5


def measure(place: Callable[[], str], rows: int, label: str) -> list[str]:
    """Return what it took, a sentence each: with a million rows, 30,000 runs of 300,000 fills, 100,000 events, the
    metrics of 1,000 runs, and the ledger and equity of one run of a million fills.

    Parameters
    ----------
    place : callable
        Returns the address of a new store.
    rows : int
    label : str
        The database.
    """
    runs, events = max(rows * 3 // 100, 20), max(rows // 10, 20)
    reads = {count: _read(place(), count) for count in (runs // 10, runs)}
    lives = {count: _history(place(), count, 0) for count in (events // 10, events)}
    among = _history(place(), events, events * 9)
    many = max(rows // 1000, 4)
    metrics = {count: _metrics(place(), count) for count in (many // 4, many)}
    few, all_ = (_money(place(), count) for count in (max(rows // 10, 20), rows))
    return [
        f"{label}: runs.read() of {runs:,} runs with {runs * FILLS_PER_RUN:,} fills: {reads[runs] * 1000:.0f} ms "
        f"(goal: under 500 ms); of a tenth {reads[runs // 10] * 1000:.0f} ms, "
        f"ratio {reads[runs] / reads[runs // 10]:.1f}",
        f"{label}: runs.history() of {events:,} events: {lives[events] * 1000:.0f} ms (goal: under 1,000 ms); "
        f"of a tenth {lives[events // 10] * 1000:.0f} ms, ratio {lives[events] / lives[events // 10]:.1f}; among "
        f"{events * 10:,} events {among * 1000:.0f} ms",
        f"{label}: runs.metrics() of {many:,} runs with {many * TRADES_PER_RUN:,} fills, each over {BARS:,} bars: "
        f"{metrics[many]:.1f} s (goal: under 10 s); of a quarter {metrics[many // 4]:.1f} s",
        *(
            f"{label}: runs.{name}() of {rows:,} fills{over}: {all_[name]:.1f} s, {all_[name] / all_[read]:.1f} times "
            f"of reading them; of a tenth {few[name]:.2f} s, ratio {all_[name] / few[name]:.1f}"
            for name, read, over in (("ledger", "fills", ""), ("equity", "both", f" against {rows:,} bars"))
        ),
    ]


def _read(address: str, runs: int) -> float:
    migrate.upgrade(DatabaseConfig(url=address))
    with walle.connect(address) as store:
        run, number = pl.int_range(runs * FILLS_PER_RUN) // FILLS_PER_RUN, pl.int_range(runs * FILLS_PER_RUN)
        frame = pl.select(run=pl.format("run-{}", run), order=pl.format("order-{}", number), number=number)
        time = pl.lit(START) + pl.duration(seconds=pl.col("number"))
        common = {"symbol": pl.lit("BTC/USD"), "side": pl.lit("buy")}
        store.orders.save(
            frame.select(
                id="order",
                client_order_id="order",
                run_id="run",
                **common,
                order_type=pl.lit("market"),
                qty=pl.lit(1),
                status=pl.lit("filled"),
                created_at=time,
            )
        )
        # every tenth was written without a run: its order knows it
        own = pl.when(pl.col("number") % FILLS_PER_RUN != 0).then("run")
        store.fills.append(
            frame.select(
                id=pl.format("fill-{}", "number"),
                order_id="order",
                run_id=own,
                **common,
                price=pl.lit(100),
                quantity=pl.lit(1),
                filled_at=time,
            )
        )
        store.runs.save(
            pl.select(
                id=pl.format("run-{}", pl.int_range(runs)),
                strategy_id=pl.lit("sma"),
                mode=pl.lit("backtest"),
                status=pl.lit("completed"),
                symbols=pl.lit(["BTC/USD"]),
                config=pl.lit('{"fast": 5, "slow": 30, "starting_cash": "10000"}'),
                created_at=pl.lit(START),
                started_at=pl.lit(START),
                stopped_at=pl.lit(START + timedelta(days=1)),
            )
        )
        taken = statistics.median(seconds(store.runs.read) for _ in range(ROUNDS))
        counted = store.runs.read().select("orders", "fills").unique().rows()
        assert counted == [(FILLS_PER_RUN, FILLS_PER_RUN)], counted
        return taken


def _history(address: str, events: int, others: int) -> float:
    migrate.upgrade(DatabaseConfig(url=address))
    with walle.connect(address) as store:
        given = [
            walle.Event(
                type="orders.Filled",
                run_id="run-0" if number < events else f"other-{number % 100}",
                ts=START + timedelta(seconds=number),
                payload={"order_id": f"order-{number}", "price": "100.25", "quantity": "0.5"},
            )
            for number in range(events + others)
        ]
        for start in range(0, len(given), 100_000):
            store.events.append(given[start : start + 100_000])
        assert store.runs.history("run-0").height == events
        return statistics.median(seconds(lambda: store.runs.history("run-0")) for _ in range(ROUNDS))


def _metrics(address: str, runs: int) -> float:
    migrate.upgrade(DatabaseConfig(url=address))
    with walle.connect(address) as store:
        price = 100 + (pl.int_range(BARS) % 37) * 0.25
        time = pl.lit(START) + pl.duration(hours=pl.int_range(BARS))
        bars = pl.select(timestamp=time, open=price, high=price, low=price, close=price, volume=pl.lit(1.0))
        store.bars.ingest(bars, symbol="BTC/USD", timeframe="1h")
        number = pl.int_range(runs * TRADES_PER_RUN)
        store.fills.append(
            pl.select(
                id=pl.format("fill-{}", number),
                order_id=pl.format("order-{}", number),
                run_id=pl.format("run-{}", number // TRADES_PER_RUN),
                symbol=pl.lit("BTC/USD"),
                side=pl.when(number % 2 == 0).then(pl.lit("buy")).otherwise(pl.lit("sell")),
                price=100 + number % 11,
                quantity=1 + number // 2 % 5,
                commission=pl.lit("0.25"),
                commission_currency=pl.lit("USD"),
                filled_at=pl.lit(START) + pl.duration(hours=number % TRADES_PER_RUN * (BARS // TRADES_PER_RUN) + 1),
            )
        )
        store.runs.save(
            pl.select(
                id=pl.format("run-{}", pl.int_range(runs)),
                strategy_id=pl.lit("sma"),
                mode=pl.lit("backtest"),
                status=pl.lit("completed"),
                symbols=pl.lit(["BTC/USD"]),
                timeframe=pl.lit("1h"),
                config=pl.lit('{"starting_cash": "10000"}'),
                created_at=pl.lit(START),
                started_at=pl.lit(START),
                stopped_at=pl.lit(START + timedelta(hours=BARS)),
            )
        )
        ids = store.runs.read()["id"].to_list()
        taken = seconds(lambda: store.runs.metrics(ids, wide=True))
        assert store.runs.metrics(ids[:1])["returns"].max() == -(-BARS // 24)
        return taken


def _money(address: str, rows: int) -> dict[str, float]:
    """Return the seconds of the ledger and the equity of a run, and of reading its fills, and its fills and bars."""
    migrate.upgrade(DatabaseConfig(url=address))
    with walle.connect(address) as store:
        number = pl.int_range(rows)
        time, price = pl.lit(START) + pl.duration(minutes=number), 100 + (number % 37) * 0.25
        bars = pl.select(timestamp=time, open=price, high=price, low=price, close=price, volume=pl.lit(1.0))
        store.bars.ingest(bars, symbol="BTC/USD", timeframe="1m")
        store.fills.append(
            pl.select(
                id=pl.format("fill-{}", number),
                order_id=pl.format("order-{}", number // 3),
                run_id=pl.lit("run"),
                symbol=pl.lit("BTC/USD"),
                side=pl.when(number % 5 < 3).then(pl.lit("buy")).otherwise(pl.lit("sell")),
                price=price.cast(pl.Decimal(38, 18)),
                quantity=(1 + number % 7).cast(pl.Decimal(38, 18)) / 8,
                commission=pl.lit("0.25"),
                commission_currency=pl.lit("USD"),
                filled_at=time,
            )
        )
        store.runs.save(
            walle.Run(
                id="run",
                strategy_id="sma",
                mode="backtest",
                status="completed",
                symbols=("BTC/USD",),
                timeframe="1m",
                config={"starting_cash": "10000"},
                created_at=START,
                started_at=START,
                stopped_at=START + timedelta(minutes=rows),
            )
        )
        fills = seconds(lambda: store.fills.read("run"))
        return {
            "fills": fills,
            "both": fills + seconds(lambda: store.bars.read("BTC/USD", "1m")),
            "ledger": seconds(lambda: store.runs.ledger("run")),
            "equity": seconds(lambda: store.runs.equity("run")),
        }
