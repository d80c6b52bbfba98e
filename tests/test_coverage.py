"""Gaps and coverage beside brute force: plain sets of plain datetimes."""

from __future__ import annotations

import doctest
import random
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.examples import examples
from tests.test_calendars import exchange, forex_is_open, trading_index, utc
from walle import calendars
from walle.bars import coverage
from walle.bars.coverage import (
    COVERAGE,
    GAPS,
    find_gaps,
    missing,
    outages,
    own_phase,
    summarise,
    summarise_each,
    unexpected,
)
from walle.calendars import calendar
from walle.errors import InputError
from walle.frames import INSTANT

MINUTES = {"1m": 1, "5m": 5, "1h": 60, "4h": 240, "1d": 1440}
FIRST, LAST = utc(2023, 10, 1), utc(2024, 4, 1)  # clocks change twice; half days before Christmas and New Year
brute = settings(max_examples=examples(60), deadline=None, derandomize=True)


@cache
def expected_bars(name: str, timeframe: str) -> list[datetime]:
    """Every expected opening time in [FIRST, LAST), without the code under test."""
    if timeframe == "1d" and name == "24/5":
        return [moment for moment in clock("24/7", "1d", FIRST) if moment.weekday() < 5]
    if timeframe == "1d" and name != "24/7":
        days = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in exchange(name).sessions]
        return [moment for moment in days if FIRST <= moment < LAST]
    if name in ("XNYS", "XHKG"):
        return [moment for moment in trading_index(name, timeframe).to_list() if FIRST <= moment < LAST]
    return list(clock(name, timeframe, FIRST))


def clock(name: str, timeframe: str, start: datetime) -> Iterator[datetime]:
    """The bars of 24/7 or 24/5 from a start on."""
    step = timedelta(minutes=MINUTES[timeframe])
    hours = range(max(1, MINUTES[timeframe] // 60))
    while start < LAST:
        # all of New York's opens and closes stand on the hour
        if name == "24/7" or any(forex_is_open(start + timedelta(hours=hour)) for hour in hours):
            yield start
        start += step


def brute_gaps(expected: Sequence[datetime], there: set[datetime], step: timedelta) -> list[dict[str, Any]]:
    """Runs of what is expected and not there, by a loop."""
    found: list[dict[str, Any]] = []
    run: list[int] = []
    for number, moment in enumerate([*expected, None]):
        if moment is not None and moment not in there:
            run.append(number)
            continue
        if run:
            inner = run[0] > 0 and run[-1] < len(expected) - 1
            end = expected[run[-1]] + step
            if run[-1] < len(expected) - 1:
                end = min(end, expected[run[-1] + 1])
            found.append(
                {
                    "start": expected[run[0]],
                    "end": end,
                    "missing": len(run),
                    "duration": end - expected[run[0]],
                    "cause": "single" if len(run) == 1 and inner else "hole",
                }
            )
        run = []
    return found


@st.composite
def series(draw: st.DrawFn) -> tuple[str, str, list[datetime]]:
    """A calendar, a timeframe, and some of its bars beside some that nobody expects, out of order and repeated."""
    name = draw(st.sampled_from(["24/7", "24/5", "XNYS", "XHKG"]))
    timeframe = draw(st.sampled_from(sorted(MINUTES)))
    if name == "24/7" and timeframe != "1d" and draw(st.booleans()):
        offset = timedelta(seconds=draw(st.integers(0, MINUTES[timeframe] * 60 - 1)))
        expected = [moment + offset for moment in expected_bars(name, timeframe)]
    else:
        expected = expected_bars(name, timeframe)
    size = draw(st.integers(1, min(400, len(expected))))
    begin = draw(st.integers(0, len(expected) - size))
    window = expected[begin : begin + size]
    dropped = draw(st.sets(st.integers(1, size), max_size=size - 1 and 40))
    for lo, length in draw(st.lists(st.tuples(st.integers(1, size), st.integers(1, 60)), max_size=3)):
        dropped |= set(range(lo, lo + length))
    kept = [moment for number, moment in enumerate(window) if number == 0 or number not in dropped]
    strays = draw(st.lists(st.integers(1, 10_000_000), max_size=4))
    kept += [window[0] + timedelta(seconds=seconds) for seconds in strays]
    kept += draw(st.lists(st.sampled_from(kept), max_size=3))
    return name, timeframe, draw(st.permutations(kept)) if size < 50 else kept


@brute
@given(case=series(), data=st.data())
def test_gaps_are_the_difference_of_sets(case: tuple[str, str, list[datetime]], data: st.DataObject) -> None:
    name, timeframe, times = case
    first, last = min(times), max(times)
    everything = list(clock(name, timeframe, first)) if name == "24/7" else expected_bars(name, timeframe)
    start = end = None
    if data.draw(st.booleans()):
        start = FIRST + timedelta(minutes=data.draw(st.integers(0, 250_000)))
        end = start + timedelta(minutes=data.draw(st.integers(0, 10_000)))
    lo, hi = start or first, end or last + timedelta(microseconds=1)
    if name == "24/7" and start is not None:  # the series' grid goes on before its first bar
        steps = (first - start) // timedelta(minutes=MINUTES[timeframe]) + 1
        everything = list(clock(name, timeframe, first - max(0, steps) * timedelta(minutes=MINUTES[timeframe])))
    expected = [moment for moment in everything if lo <= moment < min(hi, LAST)]
    if hi > LAST:
        return
    there = {moment for moment in times if lo <= moment < hi}
    gaps = find_gaps(pl.Series(times, dtype=INSTANT), timeframe, name, start, end)
    assert dict(gaps.schema) == dict(GAPS)
    assert gaps.to_dicts() == brute_gaps(expected, there, timedelta(minutes=MINUTES[timeframe]))
    absent = sorted(set(expected) - there)
    assert missing(pl.Series(times), timeframe, name, start, end).to_list() == absent
    outside = sorted(there - set(expected))
    assert unexpected(pl.Series(times), timeframe, name, start, end).to_list() == outside
    summary = summarise(pl.Series(times), timeframe, name, start, end).row(0, named=True)
    assert summary == {
        "first": min(there, default=None),
        "last": max(there, default=None),
        "bars": len(there),
        "expected": len(expected),
        "missing": len(absent),
        "coverage": (len(expected) - len(absent)) / len(expected) if expected else None,
        "gaps": gaps.height,
        "longest_gap": gaps["missing"].max() or 0,
        "unexpected": len(outside),
    }


@pytest.mark.parametrize("name", ["XNYS", "XHKG", "XTKS"])
def test_gaps_of_twenty_years_are_the_difference_of_sets(name: str) -> None:
    expected = trading_index(name, "5m").to_list()
    draw = random.Random(name)
    kept = [moment for moment in expected if draw.random() > 0.02]
    kept = [moment for moment in kept if moment.year != 2012 or moment.month not in (3, 11)]  # two whole months
    strays = [moment + timedelta(minutes=2) for moment in draw.sample(expected, 50)]
    times = pl.Series([*kept, *strays])
    gaps = find_gaps(times, "5m", name, "2005-01-01", "2025-01-01")
    assert gaps.to_dicts() == brute_gaps(expected, set(kept), timedelta(minutes=5))
    assert gaps["missing"].sum() == len(set(expected) - set(kept))
    assert unexpected(times, "5m", name).to_list() == sorted(set(strays) - set(expected))


def test_single_five_minute_bars_that_are_missing_are_found_one_by_one() -> None:
    lost = {53, 122, 283, 285, 400, 700}  # two of them with one bar between them
    times = [utc(2019, 10, 11) + timedelta(minutes=5 * number) for number in range(712) if number not in lost]
    gaps = find_gaps(pl.Series(times), "5m")
    assert gaps["start"].to_list() == [utc(2019, 10, 11) + timedelta(minutes=5 * number) for number in sorted(lost)]
    assert (gaps["end"] - gaps["start"]).unique().to_list() == [timedelta(minutes=5)]
    assert set(gaps["cause"]) == {"single"} and set(gaps["missing"]) == {1}
    assert summarise(pl.Series(times), "5m").select("bars", "expected", "missing", "gaps", "unexpected").row(0) == (
        706, 712, 6, 6, 0,
    )  # fmt: skip


def test_a_gap_over_a_closed_market_is_one_gap() -> None:
    friday, monday = utc(2024, 3, 8), utc(2024, 3, 11)  # clocks change between them
    times = calendar("XNYS").grid("1h", friday, monday + timedelta(days=1))
    assert times.len() == 14
    gaps = find_gaps(times.gather([0, 1, 2, 3, 4, 9, 10, 11, 12, 13]), "1h", "XNYS")
    assert gaps.rows() == [(utc(2024, 3, 8, 19, 30), utc(2024, 3, 11, 15, 30), 4, timedelta(hours=68), "hole")]
    assert find_gaps(times, "1h", "XNYS").is_empty()
    assert find_gaps(times, "1h", "24/7").height == 1


def test_a_range_holds_its_start_and_not_its_end() -> None:
    times = pl.Series([utc(2024, 1, 1, hour) for hour in (1, 2, 4, 6)])
    gaps = find_gaps(times, "1h", "24/7", "2024-01-01", utc(2024, 1, 1, 6))
    assert gaps["start"].dt.hour().to_list() == [0, 3, 5]
    assert gaps["cause"].to_list() == ["hole", "single", "hole"]  # what lies beyond the ends was not looked at
    assert summarise(times, "1h", "24/7", utc(2024, 1, 1, 1), utc(2024, 1, 1, 6)).select(
        "bars", "expected", "missing", "unexpected"
    ).row(0) == (3, 5, 2, 0)


def test_forex_shows_no_weekend_as_missing_when_the_clocks_change() -> None:
    for first in (utc(2024, 3, 4), utc(2024, 10, 28)):
        times = pl.Series(
            [
                first + timedelta(minutes=5 * number)
                for number in range(14 * 288)
                if forex_is_open(first + timedelta(minutes=5 * number))
            ]
        )
        assert summarise(times, "5m", "24/5").select("coverage", "gaps", "unexpected").row(0) == (1.0, 0, 0)
        assert find_gaps(times, "5m", "24/7").height == 2


def test_days_weeks_and_months_end_with_their_period() -> None:
    months = pl.Series([utc(2024, 1, 1), utc(2024, 3, 1), utc(2024, 7, 1)])
    assert find_gaps(months, "1M", "XNYS").rows() == [
        (utc(2024, 2, 1), utc(2024, 3, 1), 1, timedelta(days=29), "single"),
        (utc(2024, 4, 1), utc(2024, 7, 1), 3, timedelta(days=91), "hole"),
    ]
    weeks = pl.Series([utc(2024, 1, 1), utc(2024, 1, 15)])
    assert find_gaps(weeks, "1w").rows() == [(utc(2024, 1, 8), utc(2024, 1, 15), 1, timedelta(days=7), "single")]
    days = pl.Series([utc(2024, 3, 7), utc(2024, 3, 11)])  # a Friday is missing, and no weekend
    assert find_gaps(days, "1d", "24/5").rows() == [(utc(2024, 3, 8), utc(2024, 3, 9), 1, timedelta(days=1), "single")]
    assert unexpected(pl.Series([utc(2024, 3, 8), utc(2024, 3, 9)]), "1d", "24/5").to_list() == [utc(2024, 3, 9)]


def test_a_series_without_bars_has_no_gaps_unless_a_range_says_so() -> None:
    none = pl.Series([], dtype=INSTANT)
    assert find_gaps(none, "1m").is_empty()
    assert dict(find_gaps(none, "1m", "XNYS", "2024-01-01").schema) == dict(GAPS)
    assert summarise(none, "1m").row(0) == (None, None, 0, 0, 0, None, 0, 0, 0)
    assert dict(summarise(none, "1m").schema) == dict(COVERAGE)
    asked = find_gaps(none, "1h", "XNYS", "2024-03-08", "2024-03-09")
    assert asked.rows() == [(utc(2024, 3, 8, 14, 30), utc(2024, 3, 8, 21, 30), 7, timedelta(hours=7), "hole")]
    assert summarise(none, "1h", "XNYS", "2024-03-08", "2024-03-09")["coverage"].to_list() == [0.0]
    one = pl.Series([utc(2024, 3, 8, 15)])
    assert find_gaps(one, "1h", start="2024-03-09").is_empty()  # the last bar stands before the start
    assert summarise(one, "1h", "24/7", "2024-03-09", "2024-03-10")["missing"].to_list() == [24]


def test_a_phase_of_the_clock_is_taken_from_the_first_bar_or_from_the_caller() -> None:
    times = pl.Series([utc(2024, 1, 1, hour, 30) for hour in (0, 1, 3)])
    assert own_phase(times, "1h") == timedelta(minutes=30)
    assert own_phase(times, "1d") == own_phase(times.head(0), "1h") == timedelta(0)
    assert find_gaps(times, "1h")["start"].to_list() == [utc(2024, 1, 1, 2, 30)]
    assert unexpected(times, "1h", phase=timedelta(0)).len() == 3
    hours = pl.Series([utc(2024, 7, 3, hour) for hour in (13, 14, 16)])  # an exchange's bars on the clock
    assert find_gaps(hours, "1h", "XNYS", phase=timedelta(0))["start"].to_list() == [utc(2024, 7, 3, 15)]
    assert unexpected(hours, "1h", "XNYS").len() == 3


def test_a_long_bar_before_a_break_never_reaches_past_the_next_one() -> None:
    times = calendar("XTKS").grid("4h", "2024-01-04", "2024-01-06")  # 00:00, 03:30 (the morning ends at 02:30)
    gaps = find_gaps(times.gather([1, 3]), "4h", "XTKS", "2024-01-04", "2024-01-06")
    assert gaps["end"].to_list() == [utc(2024, 1, 4, 3, 30), utc(2024, 1, 5, 3, 30)]


def test_times_without_a_zone_or_with_nulls_are_refused() -> None:
    with pytest.raises(InputError, match="no time zone"):
        find_gaps(pl.Series([datetime(2024, 1, 1)]), "1m")
    with pytest.raises(InputError, match="times holds 1 nulls"):
        find_gaps(pl.Series([utc(2024, 1, 1), None]), "1m")
    with pytest.raises(InputError, match="unknown timeframe"):
        find_gaps(pl.Series([utc(2024, 1, 1)]), "7m")
    with pytest.raises(InputError, match="not a column of aware datetimes"):
        find_gaps(pl.Series([1, 2]), "1m")
    zoned = pl.Series([utc(2024, 1, 1), utc(2024, 1, 1, 2)]).dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns")
    assert find_gaps(zoned, "1h")["start"].to_list() == [utc(2024, 1, 1, 1)]


def gaps_at(*minutes: tuple[int, int]) -> pl.DataFrame:
    rows = [
        (
            utc(2024, 1, 1) + timedelta(minutes=lo),
            utc(2024, 1, 1) + timedelta(minutes=hi),
            hi - lo,
            timedelta(minutes=hi - lo),
            "single" if hi - lo == 1 else "hole",
        )
        for lo, hi in minutes
    ]
    return pl.DataFrame(rows, schema=GAPS, orient="row")


def test_an_outage_is_a_gap_during_which_every_series_is_silent() -> None:
    marked = outages({"a": gaps_at((5, 9), (20, 21), (30, 40)), "b": gaps_at((5, 9), (29, 45)), "c": gaps_at((4, 50))})
    assert marked["a"]["cause"].to_list() == ["outage", "single", "outage"]
    assert marked["b"]["cause"].to_list() == ["outage", "hole"]  # it was silent before and after the others too
    assert marked["c"]["cause"].to_list() == ["hole"]
    assert outages({"a": gaps_at((5, 9))})["a"]["cause"].to_list() == ["hole"]  # one series is no evidence
    assert outages({"a": gaps_at((5, 9)), "b": gaps_at()})["a"]["cause"].to_list() == ["hole"]
    assert outages({}) == {}
    assert dict(outages({"a": gaps_at(), "b": gaps_at()})["a"].schema) == dict(GAPS)
    spans = {"a": (utc(2024, 1, 1), utc(2024, 1, 2)), "b": (utc(2024, 1, 1), utc(2024, 1, 2))}
    ended = {"a": gaps_at((5, 9)), "b": gaps_at((5, 9)), "old": gaps_at()}
    assert outages(ended)["a"]["cause"].to_list() == ["hole"]
    marked = outages(ended, spans=spans | {"old": (utc(2020, 1, 1), utc(2021, 1, 1))})
    assert marked["a"]["cause"].to_list() == ["outage"]
    with pytest.raises(InputError, match="spans lacks 1 of the 3 series, such as 'old'"):
        outages(ended, spans=spans)


runs = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 8)), max_size=6).map(
    lambda pairs: [(lo, lo + size) for lo, size in sorted(pairs)]
)


@brute
@given(found=st.dictionaries(st.sampled_from("abcd"), runs, min_size=1))
def test_outages_are_what_a_loop_over_minutes_finds(found: dict[str, list[tuple[int, int]]]) -> None:
    apart: dict[str, list[tuple[int, int]]] = {}
    for name, pairs in found.items():
        apart[name] = []
        for lo, hi in pairs:
            if not apart[name] or lo > apart[name][-1][1]:
                apart[name].append((lo, hi))
    silent = {name: {minute for lo, hi in pairs for minute in range(lo, hi)} for name, pairs in apart.items()}
    marked = outages({name: gaps_at(*pairs) for name, pairs in apart.items()})
    for name, pairs in apart.items():
        for (lo, hi), cause in zip(pairs, marked[name]["cause"], strict=True):
            everywhere = all(minute in others for minute in range(lo, hi) for others in silent.values())
            plain = "single" if hi - lo == 1 else "hole"
            assert cause == ("outage" if everywhere and len(apart) > 1 else plain)


@brute
@given(found=st.dictionaries(st.sampled_from("abcd"), st.tuples(runs, runs), min_size=1))
def test_a_series_that_is_not_asked_is_no_witness(found: dict[str, tuple[list[tuple[int, int]], ...]]) -> None:
    gaps, asked, heard = {}, {}, {}
    for name, (lost, opened) in found.items():
        gaps[name] = [
            pair for number, pair in enumerate(lost) if not number or pair[0] > max(hi for _, hi in lost[:number])
        ]
        asked[name] = gaps_at(*opened).select(open="start", close="end")
        silent = {minute for lo, hi in gaps[name] for minute in range(lo, hi)}
        heard[name] = {minute for lo, hi in opened for minute in range(lo, hi)} - silent
    marked = outages({name: gaps_at(*pairs) for name, pairs in gaps.items()}, spans=asked)
    for name, pairs in gaps.items():
        for (lo, hi), cause in zip(pairs, marked[name]["cause"], strict=True):
            alone = [
                sum(a <= minute < b for others in gaps.values() for a, b in others) < 2 for minute in range(lo, hi)
            ]
            witnessed = any(minute in others for minute in range(lo, hi) for others in heard.values())
            assert (cause == "outage") == (not any(alone) and not witnessed)


@pytest.mark.parametrize("module", [coverage, calendars])
def test_the_examples_in_docstrings_are_true(module: ModuleType) -> None:
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0


def test_gaps_of_a_million_minutes() -> None:
    times = pl.datetime_range(utc(2020, 1, 1), utc(2021, 12, 1), "1m", eager=True).head(1_000_000)
    times = times.filter(pl.int_range(0, times.len(), eager=True) % 97 != 5)
    assert find_gaps(times, "1m").height == len(range(5, 1_000_000, 97))


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d", "1w"])
@pytest.mark.parametrize("market", ["XNYS", "XTKS", "CMES"])
def test_many_series_at_once_are_counted_as_each(market: str, timeframe: str) -> None:
    dice = random.Random(f"{market} {timeframe}")
    low = datetime(2024, 3, 4, tzinfo=UTC)
    grid = calendar(market).grid(timeframe, low, low + timedelta(days=3 if timeframe == "1m" else 30)).to_list()
    names = [f"S{number}" for number in range(12)]
    ranges = [(None, None), (low + timedelta(days=1, hours=16), None), (None, low + timedelta(days=2)), (low, grid[-1])]
    for start, end in ranges:
        held = {}
        for name in names:
            first, last = sorted(dice.sample(range(len(grid) + 1), 2)) if len(grid) > 1 else (0, 1)
            kept = [time for time in grid[first:last] if dice.random() < dice.choice([0.2, 0.9, 1.0])]
            strays = [time + timedelta(seconds=7) for time in kept if dice.random() < 0.1]
            times = sorted({*kept, *strays})
            inside = [t for t in times if (start is None or t >= start) and (end is None or t < end)]
            held[name] = pl.Series(inside, dtype=INSTANT)
        bars = pl.concat(times.to_frame("timestamp").with_columns(symbol=pl.lit(name)) for name, times in held.items())
        found = summarise_each(bars.sample(fraction=1, shuffle=True, seed=1), names, timeframe, market, start, end)
        each = [summarise(times, timeframe, market, start, end) for times in held.values()]
        assert_frame_equal(found.drop("symbol"), pl.concat(each))
        assert found["symbol"].to_list() == names
