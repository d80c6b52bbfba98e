"""Filled gaps and longer bars beside loops over plain rows."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.test_calendars import NEW_YORK, exchange, forex_is_open, utc
from tests.test_coverage import expected_bars
from walle.bars.transform import fill_gaps, resample
from walle.calendars import calendar, from_sessions
from walle.errors import InputError
from walle.frames import BARS, INSTANT

brute = settings(max_examples=examples(50), deadline=None, derandomize=True)
NUMBERS = ("open", "high", "low", "close", "volume")
MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240}


def bars(times: Sequence[datetime], *, symbol: str = "A", timeframe: str = "5m", seed: int = 1) -> pl.DataFrame:
    """Bars with whole numbers, so that their sums are exact in any order."""
    draw = random.Random(seed)
    rows = []
    for moment in times:
        low, high = sorted((draw.randint(50, 150), draw.randint(50, 150)))
        prices = draw.randint(low, high), high, low, draw.randint(low, high)
        rows.append((symbol, timeframe, moment, *map(float, prices), float(draw.randint(0, 99))))
    return pl.DataFrame(rows, schema=BARS, orient="row")


@st.composite
def some_bars(draw: st.DrawFn, timeframe: str) -> tuple[str, list[datetime], list[datetime]]:
    """A calendar, a stretch of its grid, and the bars of it that are there."""
    name = draw(st.sampled_from(["24/7", "24/5", "XNYS", "XHKG"]))
    expected = expected_bars(name, timeframe)
    begin = draw(st.integers(0, len(expected) - 1))
    window = expected[begin : begin + draw(st.integers(1, 300))]
    dropped: set[int] = set()
    for lo, size in draw(st.lists(st.tuples(st.integers(0, 300), st.integers(1, 9)), max_size=15)):
        dropped |= set(range(lo, lo + size))
    kept = [moment for number, moment in enumerate(window) if number not in dropped]
    return name, expected, kept


@brute
@given(case=some_bars("5m"), max_gap=st.integers(1, 6), seed=st.integers(0, 9))
def test_short_gaps_are_filled_with_the_last_close_and_long_ones_left(
    case: tuple[str, list[datetime], list[datetime]], max_gap: int, seed: int
) -> None:
    name, expected, kept = case
    frame = bars(kept, seed=seed)
    there = {row["timestamp"]: row for row in frame.to_dicts()}
    rows: list[dict[str, Any]] = []
    run: list[datetime] = []
    for moment in expected:
        if not kept or not kept[0] <= moment <= kept[-1]:
            continue
        if moment not in there:
            run.append(moment)
            continue
        if len(run) <= max_gap:
            for hole in run:
                close = rows[-1]["close"]
                prices = dict.fromkeys(NUMBERS[:4], close)
                rows.append({**rows[-1], "timestamp": hole, **prices, "volume": 0.0, "is_filled": True})
        run = []
        rows.append({**there[moment], "is_filled": False})
    filled = fill_gaps(
        frame.sample(fraction=1, shuffle=True, seed=seed), timeframe="5m", max_gap=max_gap, calendar=name
    )
    assert dict(filled.schema) == {**BARS, "is_filled": pl.Boolean()}
    assert filled.to_dicts() == rows


def test_symbols_are_filled_apart_and_other_columns_stay() -> None:
    times = [utc(2024, 1, 1) + timedelta(minutes=5 * number) for number in range(6)]
    a, b = bars([times[0], times[2]], symbol="A", seed=1), bars([times[1], times[3], times[5]], symbol="B", seed=2)
    both = pl.concat([b, a]).with_columns(trades=pl.lit(7))
    filled = fill_gaps(both, timeframe="5m", max_gap=1)
    assert filled["symbol"].to_list() == ["A"] * 3 + ["B"] * 5
    assert filled["trades"].to_list() == [7, None, 7, 7, None, 7, None, 7]
    assert filled.filter("is_filled")["close"].to_list() == [a["close"][0], b["close"][0], b["close"][1]]
    bare = fill_gaps(a.drop("symbol", "timeframe"), timeframe="5m", max_gap=1)
    assert bare.columns == ["timestamp", *NUMBERS, "is_filled"] and bare["is_filled"].to_list() == [False, True, False]
    twice = fill_gaps(filled, timeframe="5m", max_gap=1)
    assert twice.equals(filled)
    empty = fill_gaps(a.head(0), timeframe="5m", max_gap=3)
    assert dict(empty.schema) == {**BARS, "is_filled": pl.Boolean()} and empty.is_empty()


@cache
def buckets(name: str, to: str) -> dict[datetime, datetime]:
    """Where each 5m bar goes, by the words of the rule."""
    parts: list[tuple[int, int]] = []
    if name in ("XNYS", "XHKG"):
        made = exchange(name)
        for opens, start, stop, closes in zip(
            made.opens_nanos.tolist(),
            made.break_starts_nanos.tolist(),
            made.break_ends_nanos.tolist(),
            made.closes_nanos.tolist(),
            strict=True,
        ):
            parts += [(opens, closes)] if start == -(2**63) else [(opens, start), (stop, closes)]
    starts = [utc(1970, 1, 1) + timedelta(microseconds=opens // 1000) for opens, _ in parts]
    step = timedelta(minutes=MINUTES.get(to, 1))
    found = {}
    for moment in expected_bars(name, "5m"):
        if to in MINUTES:
            origin = starts[bisect_right(starts, moment) - 1] if starts else utc(1970, 1, 1)
            found[moment] = moment - (moment - origin) % step
            continue
        day = moment.date()
        if name == "24/5" and moment >= datetime(day.year, day.month, day.day, 17, tzinfo=NEW_YORK):
            day += timedelta(days=1)
        if to == "1w":
            day -= timedelta(days=day.weekday())
        found[moment] = utc(day.year, day.month, 1 if to == "1M" else day.day)
    return found


@brute
@given(
    case=some_bars("5m"),
    to=st.sampled_from(["15m", "1h", "4h", "1d", "1w", "1M"]),
    seed=st.integers(0, 9),
)
def test_longer_bars_are_those_of_a_loop(case: tuple[str, list[datetime], list[datetime]], to: str, seed: int) -> None:
    name, _, kept = case
    place = buckets(name, to)
    counts = Counter(place.values())
    # the first days of October belong to a week, the last evening of March to a month, that the loop sees in part
    kept = [moment for moment in kept if utc(2023, 10, 2 if to == "1w" else 1) <= place[moment] < utc(2024, 4, 1)]
    frame = bars(kept, seed=seed)
    groups: dict[datetime, list[dict[str, Any]]] = {}
    for row in frame.to_dicts():
        groups.setdefault(place[row["timestamp"]], []).append(row)
    longer = resample(frame.sample(fraction=1, shuffle=True, seed=seed), to, timeframe="5m", calendar=name)
    assert longer.to_dicts() == [
        {
            "symbol": "A",
            "timeframe": to,
            "timestamp": bucket,
            "open": rows[0]["open"],
            "high": max(row["high"] for row in rows),
            "low": min(row["low"] for row in rows),
            "close": rows[-1]["close"],
            "volume": sum(row["volume"] for row in rows),
            "bars": len(rows),
            "expected": counts[bucket],
            "is_complete": len(rows) == counts[bucket],
        }
        for bucket, rows in groups.items()
    ]


def test_a_day_of_an_exchange_carries_its_date_through_the_change_of_the_clocks() -> None:
    times = calendar("XNYS").grid("1m", "2024-03-01", "2024-04-01")
    days = resample(bars(times.to_list(), timeframe="1m"), "1d", timeframe="1m", calendar="XNYS")
    assert days["timestamp"].to_list() == calendar("XNYS").grid("1d", "2024-03-01", "2024-04-01").to_list()
    assert set(days["expected"]) == {390} and days["is_complete"].all()
    half = calendar("XNYS").grid("1m", "2024-11-29", "2024-11-30").to_list()  # closes at 13:00
    hours = resample(bars(half[1:], timeframe="1m"), "1h", timeframe="1m", calendar="XNYS")
    assert [f"{moment:%H:%M}" for moment in hours["timestamp"]] == ["14:30", "15:30", "16:30", "17:30"]
    assert hours["expected"].to_list() == [60, 60, 60, 30]
    assert hours["is_complete"].to_list() == [False, True, True, True]


def test_a_lunch_break_ends_a_bar() -> None:
    times = calendar("XHKG").grid("5m", "2024-01-03", "2024-01-04").to_list()
    hours = resample(bars(times), "1h", timeframe="5m", calendar="XHKG")
    assert [f"{moment:%H:%M}" for moment in hours["timestamp"]] == [
        "01:30",
        "02:30",
        "03:30",
        "05:00",
        "06:00",
        "07:00",
    ]
    assert hours["expected"].to_list() == [12, 12, 6, 12, 12, 12] and hours["is_complete"].all()


def test_days_make_weeks_and_months() -> None:
    times = calendar("XNYS").grid("1d", "2024-01-01", "2024-03-01").to_list()
    frame = bars(times, timeframe="1d")
    weeks = resample(frame, "1w", timeframe="1d", calendar="XNYS")
    assert weeks["timestamp"][0] == utc(2024, 1, 1) and weeks["expected"].to_list() == [4, 5, 4, 5, 5, 5, 5, 4, 5]
    assert weeks["is_complete"].to_list() == [True] * 8 + [False]  # the last one goes on in March
    months = resample(frame, "1M", timeframe="1d", calendar="XNYS")
    assert months.select("timestamp", "bars", "is_complete").rows() == [
        (utc(2024, 1, 1), 21, True),
        (utc(2024, 2, 1), 20, True),
    ]


def test_symbols_are_resampled_apart_and_filled_bars_count_as_missing() -> None:
    times = [utc(2024, 1, 1) + timedelta(minutes=5 * number) for number in range(6)]
    frame = pl.concat([bars(times, symbol="B"), bars([*times[:2], *times[3:5]], symbol="A")])
    longer = resample(frame, "15m", timeframe="5m")
    assert longer["symbol"].to_list() == ["A", "A", "B", "B"] and longer["bars"].to_list() == [2, 2, 3, 3]
    filled = resample(fill_gaps(frame, timeframe="5m", max_gap=3), "15m", timeframe="5m")
    assert filled["bars"].to_list() == [2, 2, 3, 3] and filled["is_complete"].to_list() == [False, False, True, True]
    bare = resample(frame.filter(pl.col("symbol") == "B").drop("symbol", "timeframe"), "15m", timeframe="5m")
    assert bare.columns == ["timestamp", *NUMBERS, "bars", "expected", "is_complete"]
    empty = resample(frame.head(0), "1d", timeframe="5m", calendar="XNYS")
    assert dict(empty.schema) == {**BARS, "bars": pl.Int64(), "expected": pl.Int64(), "is_complete": pl.Boolean()}


def test_an_own_calendar_and_the_ends_of_an_exchange_calendar_work_too() -> None:
    mine = from_sessions(
        pl.DataFrame({"open": [utc(2024, 1, 1, 23)], "close": [utc(2024, 1, 2, 3)], "date": [utc(2024, 1, 2).date()]}),
        "night",
    )
    frame = bars([utc(2024, 1, 1, 23), utc(2024, 1, 2), utc(2024, 1, 2, 1), utc(2024, 1, 2, 2)], timeframe="1h")
    for to, start in (("1d", utc(2024, 1, 2)), ("1M", utc(2024, 1, 1)), ("4h", utc(2024, 1, 1, 23))):
        longer = resample(frame, to, timeframe="1h", calendar=mine)
        assert longer.select("timestamp", "bars", "expected", "is_complete").rows() == [(start, 4, 4, True)]
    last = calendar("XHKG").grid("5m", "2049-12-31", "2050-01-01").to_list()
    for to in ("1h", "1d", "1w", "1M"):
        assert resample(bars(last), to, timeframe="5m", calendar="XHKG")["bars"].sum() == len(last)


@pytest.mark.parametrize(
    ("timeframe", "to", "name"),
    [
        ("5m", "5m", "24/7"),
        ("1h", "5m", "24/7"),
        ("3m", "5m", "24/7"),
        ("8h", "12h", "24/7"),
        ("1w", "1M", "24/7"),
        ("1M", "1d", "24/7"),
        ("4h", "1d", "24/5"),
    ],
)
def test_a_target_that_the_bars_do_not_fit_into_is_refused(timeframe: str, to: str, name: str) -> None:
    with pytest.raises(InputError, match=f"bars of {timeframe} (do not make|stand across)"):
        resample(bars([], timeframe=timeframe), to, timeframe=timeframe, calendar=name)


def test_bars_that_do_not_belong_are_refused() -> None:
    frame = bars([utc(2024, 1, 1), utc(2024, 1, 1, 0, 5)])
    with pytest.raises(InputError, match=r"2 of 2 bars open where calendar XNYS expects no bar of 5m"):
        resample(frame, "1h", timeframe="5m", calendar="XNYS")
    with pytest.raises(InputError, match=r"1 of 1 bars open where calendar 24/7"):
        resample(bars([utc(2024, 1, 1, 0, 2)]), "1h", timeframe="5m")
    with pytest.raises(InputError, match=r"2 bars share their timestamp"):
        resample(pl.concat([frame, frame]), "1h", timeframe="5m")
    with pytest.raises(InputError, match="the frame holds 2 bars of '5m'"):
        resample(frame, "1h", timeframe="1m")
    with pytest.raises(InputError, match="the frame lacks 'close', 'volume'"):
        fill_gaps(frame.drop("close", "volume"), timeframe="5m", max_gap=1)
    with pytest.raises(InputError, match="unknown timeframe"):
        resample(frame, "7m", timeframe="5m")
    with pytest.raises(InputError, match="holds 1 nulls"):
        fill_gaps(
            frame.with_columns(timestamp=pl.Series([utc(2024, 1, 1), None], dtype=INSTANT)), timeframe="5m", max_gap=1
        )
    for wrong in (0, -1, True, 1.5, None):
        with pytest.raises(InputError, match="max_gap="):
            fill_gaps(frame, timeframe="5m", max_gap=wrong)  # type: ignore[arg-type]  # wrong on purpose


def test_the_forex_week_begins_on_sunday_evening_in_new_york() -> None:
    times = [utc(2024, 3, 10, 20) + timedelta(hours=number) for number in range(30)]
    frame = bars([moment for moment in times if forex_is_open(moment)], timeframe="1h")
    days = resample(frame, "1d", timeframe="1h", calendar="24/5")
    assert days.select("timestamp", "bars", "expected").rows() == [
        (utc(2024, 3, 11), 24, 24),
        (utc(2024, 3, 12), 5, 24),
    ]
    blocks = resample(frame, "4h", timeframe="1h", calendar="24/5").head(2)
    assert blocks.select("timestamp", "bars", "is_complete").rows() == [
        (utc(2024, 3, 10, 20), 3, True),
        (utc(2024, 3, 11), 4, True),
    ]
