"""Series of several days, weeks and months in a store: counted by hand, the same on both databases."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import walle
from tests.examples import examples
from tests.raw import Raw
from tests.samples import bars
from tests.test_long_timeframes import Model, at, instants, models, some

DAY = timedelta(days=1)
NUMBERS = itertools.count()


def at_dates(*days: str) -> pl.DataFrame:
    return bars(len(days)).with_columns(instants([datetime.fromisoformat(day).replace(tzinfo=UTC) for day in days]))


def phase_of(address: str, symbol: str, timeframe: str) -> int:
    query = f"SELECT phase FROM bar_series WHERE symbol = '{symbol}' AND timeframe = '{timeframe}'"
    return int(Raw(address).value(query))


def test_three_days_of_a_market_that_never_closes(store: walle.Store) -> None:
    days = ("2024-01-02", "2024-01-05", "2024-01-08", "2024-01-17", "2024-01-20")
    assert store.bars.ingest(at_dates(*days), symbol="B", timeframe="3d").inserted == 5
    (row,) = store.bars.coverage("B").rows(named=True)
    assert (row["bars"], row["expected"], row["missing"], row["gaps"], row["unexpected"]) == (5, 7, 2, 1, 0)
    (gap,) = store.bars.gaps("B", "3d").rows(named=True)
    assert (gap["start"], gap["end"], gap["missing"]) == (at_date("2024-01-11"), at_date("2024-01-17"), 2)
    by_week = store.bars.coverage_by("week", symbol="B")
    assert by_week.select("expected", "missing").rows() == [(2, 0), (3, 2), (2, 0)]
    with pytest.raises(walle.InvalidBars, match="off the periods of its series"):
        store.bars.ingest(at_dates("2024-01-24"), symbol="B", timeframe="3d")
    report = store.bars.ingest(
        at_dates("2024-01-11", "2024-01-13"), symbol="B", timeframe="3d", on_invalid="quarantine"
    )
    assert (report.inserted, report.rejected) == (1, 1)
    assert store.bars.read("B", "3d")["timestamp"].dt.day().to_list() == [2, 5, 8, 11, 17, 20]
    with pytest.raises(walle.IncompleteBars):
        store.bars.read("B", "3d", require_complete=True)
    # a range without a bar keeps the periods of the series
    empty = store.bars.coverage("B", start="2024-01-12", end="2024-01-15").row(0, named=True)
    assert (empty["expected"], empty["missing"]) == (1, 1)
    assert store.bars.gaps("B", "3d", start="2024-01-12", end="2024-01-15")["start"].to_list() == [
        at_date("2024-01-14")
    ]
    cells = store.bars.coverage_by("day", symbol="B", start="2024-01-12", end="2024-01-15")
    assert cells["start"].to_list() == [at_date("2024-01-14")]


def at_date(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


def test_the_phase_is_the_first_period_from_1970_on(store: walle.Store, address: str) -> None:
    series = {
        "2d": ("2024-01-03", at_date("1970-01-02")),
        "2w": ("2024-01-01", at_date("1970-01-12")),
        "3M": ("2024-02-01", at_date("1970-02-01")),
        "12M": ("2024-04-01", at_date("1970-04-01")),
        "6M": ("2024-01-01", at_date("1970-01-01")),
    }
    for timeframe, (day, _) in series.items():
        store.bars.ingest(at_dates(day), symbol="A", timeframe=timeframe)
    for timeframe, (_, first) in series.items():
        phase = phase_of(address, "A", timeframe)
        assert (timeframe, phase) == (timeframe, (first - at_date("1970-01-01")) // timedelta(microseconds=1))
    for timeframe, day in {"2d": "2024-01-04", "2w": "2024-01-08", "3M": "2024-03-01", "12M": "2025-01-01"}.items():
        with pytest.raises(walle.InvalidBars, match="off the periods"):
            store.bars.ingest(at_dates(day), symbol="A", timeframe=timeframe)
    with pytest.raises(walle.InvalidBars, match="opens on the first"):
        store.bars.ingest(at_dates("2024-05-02"), symbol="A", timeframe="3M")
    with pytest.raises(walle.InvalidBars, match="opens at midnight"):
        store.bars.ingest(at_dates("2024-01-04 10:00"), symbol="A", timeframe="2d")


def test_quarters_of_an_exchange_named_by_their_ends(store: walle.Store) -> None:
    pytest.importorskip("exchange_calendars", reason="the extra calendars is not installed")
    ends = at_dates("2023-03-31", "2023-06-30", "2023-12-29", "2024-03-28")
    assert store.bars.ingest(ends, symbol="Q", timeframe="3M", calendar="XNYS").inserted == 4
    assert store.bars.read("Q", "3M")["timestamp"].dt.month().to_list() == [1, 4, 10, 1]
    assert store.bars.gaps("Q", "3M")["start"].to_list() == [at_date("2023-07-01")]
    later = at_dates("2024-06-28 20:00", "2024-09-30 20:00")
    assert store.bars.ingest(later, symbol="Q", timeframe="3M", stamp="close").inserted == 2
    assert store.bars.coverage("Q")["expected"].to_list() == [7]
    weeks = at_dates("2024-01-02", "2024-01-16", "2024-01-29", "2024-02-12", "2024-02-26")  # first sessions
    assert store.bars.ingest(weeks, symbol="Q", timeframe="2w").inserted == 5
    assert store.bars.read("Q", "2w")["timestamp"].dt.weekday().unique().to_list() == [1]
    assert store.bars.coverage("Q", "2w")["missing"].to_list() == [0]


def test_a_bar_that_goes_on_is_not_stored(store: walle.Store) -> None:
    now = datetime.now(UTC)
    month = datetime(now.year, now.month, 1, tzinfo=UTC)
    before = datetime(now.year - 2, now.month, 1, tzinfo=UTC)
    frame = bars(2).with_columns(instants([before, month]))
    with pytest.warns(walle.UnfinishedBarsWarning):
        report = store.bars.ingest(frame, symbol="A", timeframe="24M")
    assert (report.inserted, report.unfinished) == (1, 1)
    day = datetime(now.year, now.month, now.day, tzinfo=UTC)
    frame = bars(3).with_columns(instants([day - 5 * DAY, day - 3 * DAY, day - DAY]))
    with pytest.warns(walle.UnfinishedBarsWarning):
        report = store.bars.ingest(frame, symbol="A", timeframe="2d")
    assert (report.inserted, report.unfinished) == (2, 1)


def test_files_and_bars_of_long_timeframes(store: walle.Store, tmp_path: Path) -> None:
    at_dates("2024-01-01", "2024-04-01", "2024-07-01", "2024-10-01").write_csv(tmp_path / "quarters.csv")
    assert store.bars.ingest(tmp_path / "quarters.csv", symbol="A").inserted == 4
    at_dates("2024-01-01", "2024-01-04", "2024-01-07").write_csv(tmp_path / "BTCUSDT-3d-2024-01.csv")
    assert store.bars.ingest(tmp_path / "BTCUSDT-3d-2024-01.csv").inserted == 3
    one = walle.Bar(
        symbol="A", timeframe="2w", timestamp=datetime(2024, 1, 1), open=1, high=1, low=1, close=1, volume=0
    )
    assert store.bars.ingest([one]).inserted == 1
    series = store.bars.series()
    assert series.select("symbol", "timeframe").rows() == [("A", "2w"), ("A", "3M"), ("BTCUSDT", "3d")]


@given(model=models(["24/7", "24/5"], most=20), data=st.data())
@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_series_in_parts_is_the_model(store: walle.Store, address: str, model: Model, data: st.DataObject) -> None:
    expected = [at(start) for start, _, _ in model.periods()]
    assume(len(expected) > 5)
    assume(model.name != "24/5" or model.unit != "w" or expected[0].weekday() != 4)  # Fridays name the weeks they end
    there = some(data, expected, least=4)
    symbol = f"{model.name} {model.anchor} {next(NUMBERS)}"
    cut = data.draw(st.integers(3, max(3, len(there) - 1)))
    parts = [there[:cut], there[cut:]]
    for part in [part for part in parts if part]:
        frame = bars(len(part)).with_columns(instants(part))
        report = store.bars.ingest(frame, symbol=symbol, timeframe=model.timeframe, calendar=model.name)
        assert report.inserted == len(part)
    lo, hi = expected.index(there[0]), expected.index(there[-1])
    lacking = [time for time in expected[lo : hi + 1] if time not in there]
    (row,) = store.bars.coverage(symbol).rows(named=True)
    assert (row["bars"], row["expected"], row["missing"]) == (len(there), hi - lo + 1, len(lacking))
    assert row["unexpected"] == 0
    assert store.bars.gaps(symbol, model.timeframe)["missing"].sum() == len(lacking)
    cells = store.bars.coverage_by("month", symbol=symbol)
    assert (cells["expected"].sum(), cells["missing"].sum()) == (hi - lo + 1, len(lacking))
    assert store.bars.read(symbol, model.timeframe)["timestamp"].to_list() == there
    assert phase_of(address, symbol, model.timeframe) == model.phase // timedelta(microseconds=1)
    if model.name != "24/7":  # a day after may be the first session of its period, and name it
        return
    stray = there[-1] + (31 * DAY if model.unit == "M" else DAY)
    stray = stray.replace(day=1) if model.unit == "M" else stray
    with pytest.raises(walle.InvalidBars, match="off the periods"):
        store.bars.ingest(bars(1).with_columns(instants([stray])), symbol=symbol, timeframe=model.timeframe)
