"""Bars of 24/5 that follow the clocks of New York through its summer time, beside a loop over its wall clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import walle
from tests.examples import examples
from tests.samples import bars
from tests.test_calendars import NEW_YORK, forex_is_open
from walle.bars.coverage import find_gaps, missing, summarise, unexpected
from walle.bars.grid import count_grid
from walle.bars.spans import spans_of
from walle.calendars import calendar
from walle.frames import INSTANT

LENGTHS = {"2h": 120, "3h": 180, "4h": 240, "6h": 360, "8h": 480, "12h": 720, "45m": 45, "90m": 90}


def on_the_wall(timeframe: str, anchor: int, start: datetime, days: int) -> list[datetime]:
    """Opening times in UTC of the bars from an anchor (minutes) on New York's clock within which the market is open."""
    step, found = LENGTHS[timeframe], []
    for day in range(days):
        for minute in range(anchor % step, 1440, step):
            opens = (start + timedelta(days=day, minutes=minute)).replace(tzinfo=NEW_YORK).astimezone(UTC)
            ticks = range(0, step, 15)
            if any(forex_is_open(opens + timedelta(minutes=tick)) for tick in ticks):
                found.append(opens)
    return found


@given(
    st.sampled_from(sorted(LENGTHS)),
    st.integers(0, 47),
    st.sampled_from([datetime(2024, 2, 20), datetime(2024, 10, 20), datetime(2024, 5, 6)]),
    st.sets(st.integers(1, 120), max_size=12),
)
@settings(max_examples=examples(80), deadline=None)
def test_the_clocks_of_new_york_move_no_bar(timeframe: str, quarters: int, start: datetime, gone: set[int]) -> None:
    expected = on_the_wall(timeframe, 15 * quarters, start, 30)
    there = [time for number, time in enumerate(expected) if number not in gone]
    expected = expected[: expected.index(there[-1]) + 1]
    lacking = [time for time in expected if time not in there]
    times = pl.Series("timestamp", there, INSTANT)
    (row,) = summarise(times, timeframe, "24/5").rows(named=True)
    assert (row["bars"], row["expected"], row["missing"]) == (len(there), len(expected), len(lacking))
    assert row["unexpected"] == 0
    assert missing(times, timeframe, "24/5").to_list() == lacking
    assert find_gaps(times, timeframe, "24/5")["missing"].sum() == len(lacking)
    assert unexpected(times, timeframe, "24/5").is_empty()
    named = pl.lit("A").alias("symbol"), pl.lit(timeframe).alias("timeframe")
    spans = spans_of(times.to_frame().select(*named, "timestamp"))
    cells = count_grid([("A", timeframe)], spans, {"A": calendar("24/5")}, "day").frame()
    by_day = {row["start"].date(): (row["expected"], row["missing"]) for row in cells.iter_rows(named=True)}
    for day, counts in by_day.items():
        mine = [time for time in expected if time.date() == day]
        assert counts == (len(mine), sum(time in lacking for time in mine))
    assert sum(count for count, _ in by_day.values()) == len(expected)


@given(st.sampled_from(sorted(LENGTHS)), st.integers(0, 47), st.integers(0, 200), st.integers(1, 60))
@settings(max_examples=examples(80), deadline=None)
def test_a_grid_that_stays_in_utc_is_one_too(timeframe: str, quarters: int, begin: int, hole: int) -> None:
    step = timedelta(minutes=LENGTHS[timeframe])
    first = datetime(2024, 3, 1, tzinfo=UTC) + timedelta(minutes=15 * quarters % LENGTHS[timeframe])
    places = [first + number * step for number in range(timedelta(days=25) // step)]
    ticks = [timedelta(minutes=15 * tick) for tick in range(LENGTHS[timeframe] // 15)]
    expected = [time for time in places if any(forex_is_open(time + tick) for tick in ticks)]
    there = expected[:1] + expected[1 : 1 + begin] + expected[1 + begin + hole :]
    assert there[0] == expected[0]
    (row,) = summarise(pl.Series(there, dtype=INSTANT), timeframe, "24/5").rows(named=True)
    reach = expected[: expected.index(there[-1]) + 1]
    assert (row["expected"], row["missing"], row["unexpected"]) == (len(reach), len(reach) - len(there), 0)


def test_a_stored_series_of_four_hours_is_complete_in_march(store: walle.Store) -> None:
    pytest.importorskip("exchange_calendars", reason="the extra calendars is not installed")
    expected = on_the_wall("4h", 60, datetime(2024, 2, 26), 40)  # 17:00, 21:00, ...
    frame = bars(len(expected)).with_columns(pl.Series("timestamp", expected, INSTANT))
    assert store.bars.ingest(frame, symbol="EUR/USD", timeframe="4h", calendar="24/5").inserted == len(expected)
    (row,) = store.bars.coverage("EUR/USD").rows(named=True)
    assert (row["expected"], row["missing"], row["unexpected"]) == (len(expected), 0, 0)
    assert store.bars.gaps("EUR/USD", "4h").is_empty()
    cells = store.bars.coverage_by("week", symbol="EUR/USD")
    assert (cells["expected"].sum(), cells["missing"].sum()) == (len(expected), 0)
    assert store.bars.read("EUR/USD", "4h", require_complete=True).height == len(expected)
