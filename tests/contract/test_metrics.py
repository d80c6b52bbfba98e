"""Metrics of stored runs: at the run's own timeframe, of many runs at once, of runs that were never saved."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import walle
from tests.examples import first_quick
from tests.samples import fill, order, run
from walle import demo
from walle.calendars import calendar
from walle.errors import InputError, UnknownRun, UnknownSymbol
from walle.runs import DRAWDOWNS, METRICS, RETURNS

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
CLOSES = [100.0, 110.0, 99.0, 99.0, 121.0, 108.9]


def bars(closes: Sequence[float], step: timedelta = DAY, start: datetime = START) -> pl.DataFrame:
    times = [start + step * number for number in range(len(closes))]
    columns = {name: list(closes) for name in ("open", "high", "low", "close")}
    return pl.DataFrame({"timestamp": times, **columns, "volume": [1.0] * len(closes)})


def traded(store: walle.Store, number: int = 1, *, saved: bool = True, **changes: Any) -> str:
    """A run that bought ten BTC at 100 USD on the first day, and kept them for six."""
    if saved:
        ended = {"status": "completed", "started_at": START, "stopped_at": START + 6 * DAY}
        store.runs.save(run(number, **{"timeframe": "1d", "config": {"cash": 1000}, **ended, **changes}))
    given = {"price": Decimal(100), "quantity": Decimal(10), "filled_at": START}
    store.fills.append(fill(number, run_id=run(number).id, commission=None, commission_currency=None, **given))
    return run(number).id


def told(frame: pl.DataFrame) -> dict[str, Any]:
    return {row["metric"]: row["amount"] if row["unit"] == "money" else row["value"] for row in frame.to_dicts()}


def test_a_run_is_marked_at_its_own_timeframe_whatever_else_is_stored(store: walle.Store) -> None:
    store.bars.ingest(bars(CLOSES), symbol="BTC/USD", timeframe="1d")
    name = traded(store)
    metrics, equity = store.runs.metrics(name), store.runs.equity(name)
    store.bars.ingest(bars([100.0] * 30, HOUR), symbol="BTC/USD", timeframe="1h")  # of the first days only
    assert store.runs.metrics(name).equals(metrics)
    assert store.runs.equity(name).equals(equity)
    assert told(metrics)["end_equity"] == Decimal(1089)
    hourly = store.runs.metrics(name, timeframe="1h")
    assert told(hourly)["end_equity"] is None
    other = traded(store, 2, timeframe="4h")  # of which no bars are stored: the shortest
    assert store.runs.metrics(other).drop("run_id").equals(hourly.drop("run_id"))
    assert store.runs.equity(other).height == store.runs.equity(name, timeframe="1h").height


@pytest.mark.parametrize(
    "options", first_quick([{"benchmark": "BTC/USD"}, {}, {"returns": "bar"}, {"method": "average", "risk_free": 0.02}])
)
def test_the_figures_of_many_runs_are_those_of_each(store: walle.Store, options: dict[str, Any]) -> None:
    demo.load(store)
    ids = store.runs.read()["id"].to_list()
    every = store.runs.metrics(ids, **options)
    assert every.schema == METRICS
    assert_frame_equal(every, pl.concat(store.runs.metrics(name, **options) for name in ids), rel_tol=1e-12)
    assert every["run_id"].unique(maintain_order=True).to_list() == ids
    assert store.runs.metrics([]).is_empty()
    assert store.runs.metrics([ids[0], ids[0]]).equals(store.runs.metrics(ids[0]))
    with pytest.raises(UnknownRun, match="never"):
        store.runs.metrics([ids[0], "never"])


def test_wide_has_a_row_per_run_and_a_column_per_figure(store: walle.Store) -> None:
    store.bars.ingest(bars(CLOSES), symbol="BTC/USD", timeframe="1d")
    ids = [traded(store, number, config={"cash": cash}) for number, cash in ((1, 1000), (2, 5000))]
    found = store.runs.metrics(ids, wide=True)
    assert found.columns[:3] == ["run_id", "currency", "start_equity"]
    assert found.select("run_id", "currency", "net_profit").rows() == [
        ("run-1", "USD", Decimal(89)),
        ("run-2", "USD", Decimal(89)),
    ]
    long = store.runs.metrics(ids)
    for name in ids:
        row = found.row(by_predicate=pl.col("run_id") == name, named=True)
        assert {key: row[key] for key in list(row)[2:]} == told(long.filter(run_id=name))
    assert found.schema["net_profit"] == METRICS["amount"] and found.schema["trades"] == pl.Float64
    assert "alpha" not in found.columns
    assert "alpha" in store.runs.metrics(ids, wide=True, benchmark="BTC/USD").columns
    assert store.runs.metrics([], wide=True).schema == found.schema


def test_what_can_be_said_of_a_run_that_was_never_saved_is_said(store: walle.Store) -> None:
    store.bars.ingest(bars(CLOSES), symbol="BTC/USD", timeframe="1d")
    name = traded(store, saved=False)
    found = told(store.runs.metrics(name))
    assert (found["start_equity"], found["end_equity"], found["net_profit"]) == (Decimal(0), Decimal(89), Decimal(89))
    assert store.runs.metrics(name).filter(metric="total_return")["reason"][0].endswith("give starting_cash")
    assert told(store.runs.metrics(name, starting_cash=1000))["total_return"] == pytest.approx(0.089)
    assert store.runs.drawdowns(name).height == 2
    store.orders.save(order(5, run_id="ordered"))
    assert store.runs.metrics("ordered").is_empty()
    with pytest.raises(UnknownRun):
        store.runs.metrics("nothing")


def test_a_benchmark_of_the_same_bars_has_a_beta_of_one(store: walle.Store) -> None:
    store.bars.ingest(bars(CLOSES), symbol="BTC/USD", timeframe="1d")
    prices = [50.0, 51.0, 49.0, 49.5, 52.0, 51.0]
    store.bars.ingest(bars(prices), symbol="SPY", timeframe="1d")
    name = traded(store)
    same = told(store.runs.metrics(name, benchmark="BTC/USD"))
    assert (same["beta"], same["alpha"]) == (pytest.approx(1), pytest.approx(0, abs=1e-12))
    frame = store.runs.metrics(name, benchmark="SPY", risk_free=0.01)
    found, exact = told(frame), [list(map(Fraction, map(repr, values))) for values in (CLOSES, prices)]
    mine = [float(b / a - 1) for a, b in itertools.pairwise([Fraction(100), *exact[0]])]
    other = [float(b / a - 1) for a, b in itertools.pairwise([Fraction(50), *exact[1]])]
    rate = 0.01 / 365.25
    beta = statistics.covariance(mine, other) / statistics.variance(other)
    gaps = [a - b for a, b in zip(mine, other, strict=True)]
    assert found["beta"] == pytest.approx(beta)
    alpha = statistics.fmean(mine) - rate - beta * (statistics.fmean(other) - rate)
    assert found["alpha"] == pytest.approx(alpha * 365.25)
    assert found["tracking_error"] == pytest.approx(statistics.stdev(gaps) * math.sqrt(365.25))
    ratio = statistics.fmean(gaps) / statistics.stdev(gaps) * math.sqrt(365.25)
    assert found["information_ratio"] == pytest.approx(ratio)
    assert frame.filter(pl.col("metric").is_in(["alpha", "beta"]))["returns"].to_list() == [6, 6]
    assert told(store.runs.metrics(name)).keys().isdisjoint({"alpha", "beta"})


def test_a_benchmark_with_fewer_sessions_is_compared_on_those_that_both_have(store: walle.Store) -> None:
    closes = [100.0 + number % 5 + number / 3 for number in range(21)]  # from Monday on
    store.bars.ingest(bars(closes), symbol="BTC/USD", timeframe="1d")
    open_days = calendar("XNYS").sessions(START - 10 * DAY, START + 21 * DAY)["session"].to_list()
    prices = {day: 50.0 + number % 3 for number, day in enumerate(open_days)}
    times = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in prices]
    spy = bars(list(prices.values())).with_columns(timestamp=pl.Series(times))
    store.bars.ingest(spy, symbol="SPY", timeframe="1d")
    store.bars.set_calendar("SPY", "XNYS")
    name = traded(store, stopped_at=START + 21 * DAY)
    found = store.runs.metrics(name, benchmark="SPY")
    shared = [day for day in open_days if day >= START.date()]
    worth = [100.0, *(closes[(day - START.date()).days] for day in shared)]
    beside = [prices[max(day for day in open_days if day < START.date())], *(prices[day] for day in shared)]
    mine, other = ([b / a - 1 for a, b in itertools.pairwise(part)] for part in (worth, beside))
    assert told(found)["beta"] == pytest.approx(statistics.covariance(mine, other) / statistics.variance(other))
    row = found.row(by_predicate=pl.col("metric") == "tracking_error", named=True)
    assert row["returns"] == len(shared) == 13
    assert 251 < row["periods_per_year"] < 253
    with pytest.raises(UnknownSymbol, match="timeframes stored for 'SPY': 1d"):
        store.bars.ingest(bars([1.0] * 30, HOUR), symbol="BTC/USD", timeframe="1h")
        store.runs.metrics(name, benchmark="SPY", timeframe="1h")
    with pytest.raises(UnknownSymbol, match="did you mean 'SPY'"):
        store.runs.metrics(name, benchmark="SPYY")


def test_drawdowns_and_returns_are_listed(store: walle.Store) -> None:
    store.bars.ingest(bars(CLOSES), symbol="BTC/USD", timeframe="1d")
    name = traded(store)
    found = store.runs.drawdowns(name)
    assert found.schema == DRAWDOWNS
    assert (
        found.rows()
        == [
            ("USD", START + 2 * DAY, START + 3 * DAY, START + 5 * DAY, pytest.approx(-0.1), Decimal(-110), 1.0, 3.0),
            ("USD", START + 5 * DAY, START + 6 * DAY, None, pytest.approx(-0.1), Decimal(-121), 1.0, 1.0),
        ]
        or found["depth"][0] <= found["depth"][1]
    )
    assert store.runs.drawdowns(name, top=1).height == 1
    months = store.runs.returns(name)
    assert months.schema == RETURNS
    assert months.rows() == [("USD", date(2024, 1, 1), pytest.approx(0.089), 6, None)]
    days = store.runs.returns(name, period="session")
    assert days["return"].to_list() == [pytest.approx(value) for value in (0, 0.1, -0.1, 0, 22 / 99, -0.1)]
    with pytest.raises(InputError, match="session, month, year"):
        store.runs.returns(name, period="week")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match="top=0"):
        store.runs.drawdowns(name, top=0)
    store.runs.save(run(9))
    assert store.runs.drawdowns(run(9).id).is_empty() and store.runs.returns(run(9).id).schema == RETURNS
