"""The audit is quiet on what is consistent: backtests of backtesting.py, and programs with habits of their own."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pytest

import walle
from tests.examples import first_quick
from tests.samples import START, bars, event, fill, order
from tests.test_backtesting import Bracketed, Crossing, Steps, run
from walle.calendars import calendar

DAYS = {"1d": 500, "1h": 120, "1m": 6}


def made_bars(timeframe: str, market: str) -> pl.DataFrame:
    """A random walk on the grid of a calendar, in cents, with the volume of a liquid stock."""
    first = datetime(2024, 1, 3, tzinfo=UTC)
    times = calendar(market).grid(timeframe, first, first + timedelta(days=DAYS[timeframe]))
    dice, price, rows = random.Random(7), 100.0, []
    for _ in times:
        close = max(20.0, round(price + dice.gauss(0, 1), 2))
        low, high = min(price, close) - dice.randint(0, 50) / 100, max(price, close) + dice.randint(0, 50) / 100
        rows.append((price, round(high, 2), round(low, 2), close, float(dice.randint(500_000, 900_000))))
        price = max(20.0, round(close + dice.gauss(0, 0.2), 2))
    frame = pl.DataFrame(rows, schema=["open", "high", "low", "close", "volume"], orient="row")
    return frame.insert_column(0, times.alias("timestamp"))


def as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
    columns = {name.capitalize(): frame[name].to_numpy() for name in frame.columns[1:]}
    return pd.DataFrame(columns, index=pd.DatetimeIndex(frame["timestamp"].dt.replace_time_zone(None).to_list()))


@pytest.fixture(scope="module", params=first_quick(["1h", "1d", "1m"]))
def timeframe(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def tested(timeframe: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[walle.Store]:
    """A stock with its calendar, one whose calendar nobody told, and a market that never closes; each backtested."""
    with walle.connect(tmp_path_factory.mktemp("clean") / "clean.db") as store:
        for symbol, market, told in (("ACME", "XNYS", True), ("GLOBEX", "XNYS", False), ("A/USD", "24/7", False)):
            frame = made_bars(timeframe, market)
            store.bars.ingest(frame, symbol=symbol, timeframe=timeframe)
            if told:
                store.bars.set_calendar(symbol, market)
            data, fee = as_pandas(frame), 0.001
            for strategy, on_close in itertools.product((Crossing, Steps, Bracketed), (False, True)):
                options: dict[str, Any] = {"trade_on_close": on_close, "commission": fee, "cash": 50_000}
                stats = run(strategy, data, **options)
                name = f"{symbol} {strategy.__name__} {on_close}"
                store.runs.ingest(
                    walle.from_backtesting(stats, run_id=name, symbol=symbol, timeframe=timeframe, currency="USD")
                )
        yield store


def test_a_backtest_has_no_finding_above_info(tested: walle.Store) -> None:
    fills = tested.fills.read()
    assert fills["run_id"].n_unique() == 18 and fills.group_by("run_id").len()["len"].min() > 5  # type: ignore[operator]  # a number
    assert tested.fills.audit().filter(pl.col("severity") != "info")["sentence"].to_list() == []


def test_fills_stamped_with_the_end_of_their_bar_have_none_either(tested: walle.Store, timeframe: str) -> None:
    """As Nautilus stamps them: the price is one of the bar that ended, also of the last bar before a pause."""
    step = {"1d": timedelta(days=1), "1h": timedelta(hours=1), "1m": timedelta(minutes=1)}[timeframe]
    for symbol in ("ACME", "A/USD"):
        rows = tested.bars.read(symbol, timeframe).to_dicts()
        ends = [min(row["timestamp"] + step, _close(row["timestamp"], step, symbol)) for row in rows]
        made = [
            fill(n, id=f"{symbol} end {n}", order_id=f"{symbol} {n}", run_id=f"{symbol} ends", symbol=symbol)
            for n in range(0, len(rows), 3)
        ]
        stamped = [
            walle.Fill(
                id=one.id,
                order_id=one.order_id,
                run_id=one.run_id,
                symbol=symbol,
                side="buy" if n % 2 else "sell",
                price=Decimal(str(rows[3 * n]["low" if n % 2 else "close"])),
                quantity=Decimal(n + 1),
                commission=Decimal("0.5"),
                commission_currency="USD",
                filled_at=ends[3 * n],
            )
            for n, one in enumerate(made)
        ]
        tested.fills.append(stamped)
        found = tested.fills.audit(f"{symbol} ends")
        assert found.select("rule", "severity").rows() == [("orders_absent", "info")]


def _close(opened: datetime, step: timedelta, symbol: str) -> datetime:
    """Return the close of the session of a bar within a day."""
    if symbol == "A/USD" or step == timedelta(days=1):
        return datetime.max.replace(tzinfo=UTC)
    close: datetime = calendar("XNYS").segments(opened, opened + timedelta(hours=8))["close"][0]
    return close


def test_daily_fills_on_a_day_without_a_session_are_of_a_closed_market(tested: walle.Store, timeframe: str) -> None:
    if timeframe != "1d":
        return
    base = tested.fills.get(tested.fills.read(symbol="ACME")["id"][0])
    days = {"friday": 5, "saturday": 6, "sunday": 7, "monday": 8}  # of January 2024
    for name, day in days.items():
        made = walle.Fill(
            id=name, order_id=base.order_id, run_id="days", symbol="ACME", side="buy", price=base.price,
            quantity=base.quantity, filled_at=datetime(2024, 1, day, tzinfo=UTC),
        )  # fmt: skip
        tested.fills.append(made)
    found = tested.fills.audit("days", rules="market_closed")
    assert found["fill_id"].to_list() == ["sunday"]  # at the end of Friday, which is Saturday, its bar ends


def test_a_fill_where_one_bar_ends_and_the_next_opens_is_one_of_either(sqlite_address: str) -> None:
    with walle.connect(sqlite_address) as store:
        low, high = bars(3), bars(3, start=START + timedelta(minutes=3), price=200.0)
        store.bars.ingest(pl.concat([low, high]), symbol="BTC/USD", timeframe="1m")
        edge, end = START + timedelta(minutes=3), START + timedelta(minutes=6)
        cases = {
            "ended": ("100", edge),
            "opens": ("200", edge),
            "between": ("150", edge),
            "after": ("100", edge + timedelta(microseconds=1)),
            "last": ("200", end),
            "over": ("100", end),
        }
        for name, (price, at) in cases.items():
            store.fills.append(fill(id=name, price=Decimal(price), filled_at=at, exchange_fill_id=name))
        found = store.fills.audit(rules="outside_bar")
        assert found.filter(rule="outside_bar")["fill_id"].to_list() == ["between", "after", "over"]
        assert found.filter(rule="not_checked").is_empty()


def test_an_absent_volume_says_nothing_of_a_quantity_and_0_among_others_does(sqlite_address: str) -> None:
    with walle.connect(sqlite_address) as store:
        frame = bars(10)
        store.bars.ingest(frame.with_columns(volume=pl.lit(0.0)), symbol="BTC/USD", timeframe="1m")
        partly = frame.with_columns(volume=pl.when(pl.int_range(pl.len()) == 2).then(0.0).otherwise(9.0))
        store.bars.ingest(partly, symbol="ETH/USD", timeframe="1m")
        at = START + timedelta(minutes=2, seconds=3)
        for symbol in ("BTC/USD", "ETH/USD"):
            for name, moment in (("first", START), ("at 0", at)):
                store.fills.append(fill(id=f"{name} {symbol}", symbol=symbol, filled_at=moment, exchange_fill_id=name))
        assert store.fills.audit(rules="large_for_bar")["fill_id"].to_list() == ["at 0 ETH/USD"]


def test_an_import_that_says_no_orders_and_no_commissions_has_one_finding_of_each_for_its_run(
    store: walle.Store,
) -> None:
    store.bars.ingest(bars(100), symbol="ACME", timeframe="1m")
    for number in range(1, 31):
        at, name = START + timedelta(seconds=60 * number), {1: "import", 2: "other"}[1 + number % 2]
        facts = {"run_id": name, "order_id": f"o-{number}", "symbol": "ACME", "commission_currency": None}
        store.fills.append(fill(number, filled_at=at, price=Decimal(100 + number), **facts))
    found = store.fills.audit().filter(pl.col("rule").is_in(["orders_absent", "commissions_absent"]))
    assert found.select("rule", "severity", "run_id", "actual").rows() == [
        (rule, "info", run_id, "15")
        for run_id in ("import", "other")
        for rule in ("commissions_absent", "orders_absent")
    ]
    assert store.fills.audit(rules=["unknown_order", "commission_missing"]).is_empty()


def test_an_amended_limit_is_the_one_that_was_in_force(store: walle.Store) -> None:
    """Placed at 99, amended to 101 in the second minute: the event log tells it, and the snapshot has the last one."""
    limits = {"orders.Placed": ("99", 0), "orders.Amended": ("101", 120)}
    for number, (kind, (limit, seconds)) in enumerate(limits.items()):
        payload = {"order_id": "order-1", "limit_price": limit}
        store.events.append(event(number, type=kind, ts=START + timedelta(seconds=seconds), payload=payload))
    store.orders.save(order(order_type="limit", limit_price=Decimal(101), qty=Decimal(9)))
    early, late = START + timedelta(seconds=60), START + timedelta(seconds=180)
    prices = {"good": ("99", early), "bad": ("99.01", early), "amended": ("101", late), "beyond": ("101.01", late)}
    for name, (price, at) in prices.items():
        store.fills.append(fill(id=name, price=Decimal(price), filled_at=at, exchange_fill_id=name))
    found = store.fills.audit("run-1", rules="limit_violated")
    assert found.select("fill_id", "actual", "expected").rows() == [("bad", "99.01", "99"), ("beyond", "101.01", "101")]
    store.orders.save(order(2, order_type="limit", limit_price=Decimal(102), qty=Decimal(9)))
    placed = {"order_id": "order-2", "limit_price": "99"}
    store.events.append(event(7, type="orders.Placed", ts=START, payload=placed))
    store.fills.append(fill(id="untold", order_id="order-2", price=Decimal(102), filled_at=late))
    again = store.fills.audit("run-1", rules="limit_violated")  # when it was amended, no event tells
    assert again["fill_id"].to_list() == found["fill_id"].to_list()
