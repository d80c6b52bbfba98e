"""Bars of several days, weeks and months beside a model that walks from day to day."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import walle
from tests.examples import examples
from tests.samples import bars
from walle.bars.coverage import find_gaps, missing, own_phase, summarise, unexpected
from walle.bars.ends import bar_ends
from walle.bars.files.infer_timeframe import infer_timeframe
from walle.bars.grid import count_grid
from walle.bars.labels import dated
from walle.bars.phase import Phases
from walle.bars.spans import keys_of, pack, spans_of, unpack
from walle.bars.transform import resample
from walle.calendars import calendar, from_sessions
from walle.errors import InputError
from walle.frames import INSTANT
from walle.options import BarStamp
from walle.periods import check_phase
from walle.runs.sessions import periods_per_year, session_starts

DAY = timedelta(days=1)
FIRST, LAST = date(2016, 1, 1), date(2024, 1, 1)
NAMES = ("24/7", "24/5", "XNYS", "XTKS")
brute = settings(max_examples=examples(100), deadline=None)


@cache
def sessions(name: str) -> dict[date, datetime]:
    """The sessions from FIRST to LAST, each with its close."""
    found = calendar(name).sessions(FIRST, LAST)
    return dict(zip(found["session"], found["close"], strict=True))


def at(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def instants(times: Sequence[datetime]) -> pl.Series:
    return pl.Series("timestamp", times, INSTANT)


@dataclass(frozen=True)
class Model:
    """All periods of one series, each with the sessions in it."""

    count: int
    unit: str
    anchor: int
    """The day or month of 1970 (from 0) on which a period begins."""
    name: str

    @property
    def timeframe(self) -> str:
        return f"{self.count}{self.unit}"

    @property
    def phase(self) -> timedelta:
        if self.unit == "M":
            return date(1970 + self.anchor // 12, self.anchor % 12 + 1, 1) - date(1970, 1, 1)
        return timedelta(days=self.anchor)

    def begins(self, day: date) -> bool:
        if self.unit == "M":
            return day.day == 1 and ((day.year - 1970) * 12 + day.month - 1 - self.anchor) % self.count == 0
        days = self.count * (7 if self.unit == "w" else 1)
        return (day - date(1970, 1, 1)).days % days == self.anchor

    def periods(self) -> list[tuple[date, date, list[date]]]:
        """Start, end and sessions of each period that lies wholly inside and has a session."""
        starts = [FIRST + n * DAY for n in range((LAST - FIRST).days) if self.begins(FIRST + n * DAY)]
        held = sorted(sessions(self.name))
        found = []
        for start, end in pairwise(starts):
            inside = held[bisect_right(held, start - DAY) : bisect_right(held, end - DAY)]
            if inside:
                found.append((start, end, inside))
        return found


@st.composite
def models(draw: st.DrawFn, names: Sequence[str] = NAMES, *, most: int = 40) -> Model:
    unit = draw(st.sampled_from("dwM"))
    count = draw(st.integers(2, {"d": most, "w": max(2, most // 4), "M": max(2, most // 2)}[unit]))
    assume(unit != "d" or count % 7)
    anchor = draw(st.integers(0, count * (7 if unit == "w" else 1) - 1))
    return Model(count, unit, anchor, draw(st.sampled_from(names)))


def some(data: st.DataObject, times: list[datetime], *, least: int = 1) -> list[datetime]:
    """A part of some times without a few of them, from the first to the last of the part."""
    begin = data.draw(st.integers(0, max(0, len(times) - least)))
    part = times[begin : begin + data.draw(st.integers(least, 40))]
    gone = data.draw(st.sets(st.integers(1, max(1, len(part) - 2)), max_size=len(part) // 3))
    return [time for number, time in enumerate(part) if number not in gone or number in (0, len(part) - 1)]


@brute
@given(models(), st.data())
def test_bars_are_expected_at_the_first_day_of_each_period_with_a_session(model: Model, data: st.DataObject) -> None:
    periods = model.periods()
    assume(len(periods) > 2)
    expected = [at(start) for start, _, _ in periods]
    market = calendar(model.name)
    grid = market.grid(model.timeframe, expected[0], expected[-1] + DAY, phase=model.phase)
    assert grid.to_list() == expected
    there = some(data, expected)
    lo, hi = expected.index(there[0]), expected.index(there[-1])
    lacking = [time for time in expected[lo : hi + 1] if time not in there]
    (row,) = summarise(instants(there), model.timeframe, market).rows(named=True)
    assert (row["bars"], row["expected"], row["missing"]) == (len(there), hi - lo + 1, len(lacking))
    assert row["unexpected"] == 0
    assert own_phase(instants(there), model.timeframe) == model.phase
    assert missing(instants(there), model.timeframe, market).to_list() == lacking
    gaps = find_gaps(instants(there), model.timeframe, market)
    assert gaps["missing"].sum() == len(lacking)
    for gap in gaps.iter_rows(named=True):
        begun = expected.index(gap["start"])
        assert gap["end"] == at(periods[begun + gap["missing"] - 1][1])
    strange = there[0] + (DAY if model.unit != "M" else 31 * DAY)
    off = unexpected(instants([*there, strange]), model.timeframe, market, phase=model.phase).to_list()
    assert off == ([] if strange in expected else [strange])


@brute
@given(models(), st.data())
def test_a_bar_ends_with_the_last_session_of_its_period(model: Model, data: st.DataObject) -> None:
    periods = model.periods()
    assume(periods)
    part = [periods[n] for n in data.draw(st.lists(st.integers(0, len(periods) - 1), min_size=1, unique=True))]
    ends = bar_ends(instants([at(start) for start, _, _ in part]), model.timeframe, calendar(model.name))
    assert ends.to_list() == [
        at(end) if model.name == "24/7" else sessions(model.name)[inside[-1]] for _, end, inside in part
    ]


@brute
@given(st.lists(models(), min_size=1, max_size=3), st.sampled_from(["day", "week", "month"]), st.data())
def test_the_grid_of_coverage_counts_them_by_their_first_days(
    several: list[Model], period: str, data: st.DataObject
) -> None:
    wanted, spans, markets, expected = [], [], {}, {}
    cells: dict[tuple[str, datetime], list[int]] = {}
    for number, model in enumerate(several):
        times = [at(start) for start, _, _ in model.periods()]
        assume(times)
        there = some(data, times)
        symbol = f"S{number}"
        wanted.append((symbol, model.timeframe))
        named = pl.lit(symbol).alias("symbol"), pl.lit(model.timeframe).alias("timeframe")
        own = spans_of(instants(there).to_frame().select(*named, "timestamp"))
        assert keys_of(unpack([(symbol, model.timeframe, pack(own))]))["timestamp"].to_list() == there
        spans.append(own)
        markets[symbol] = calendar(model.name)
        expected[symbol] = [time for time in times if there[0] <= time <= there[-1]]
        for time in expected[symbol]:
            begun = {"day": time, "week": time - time.weekday() * DAY, "month": time.replace(day=1)}[period]
            cell = cells.setdefault((symbol, begun), [0, 0])
            cell[0] += 1
            cell[1] += time not in there
    counted = count_grid(wanted, pl.concat(spans), markets, period).frame()
    assert {(row[0], row[2]): [row[3], row[4]] for row in counted.iter_rows()} == cells


@brute
@given(models(), st.data())
def test_the_first_bars_of_a_series_say_where_its_periods_begin(model: Model, data: st.DataObject) -> None:
    times = [at(start) for start, _, _ in model.periods()]
    assume(len(times) > 3)
    there = some(data, times, least=3)
    assume(len(there) > 2)
    off = there[-1] + data.draw(st.integers(1, 200)) * DAY
    if model.unit == "M":
        off = off.replace(day=1)
    frame = bars(len(there) + 1).with_columns(
        instants([*there, off]), symbol=pl.lit("A"), timeframe=pl.lit(model.timeframe)
    )
    phases = Phases()
    expected = [False] * len(there) + [not model.begins(off.date())]
    assert phases.off_periods(frame).to_list() == expected
    assert phases.known == {("A", model.timeframe): model.phase // timedelta(microseconds=1)}
    assert phases.off_periods(frame.reverse()).to_list() == expected[::-1]
    assert check_phase(phases.known["A", model.timeframe], model.timeframe)


LABELS = ("first day", "first session", "last session", "close", "close date")


@brute
@given(models(NAMES[1:], most=12), st.sampled_from(LABELS), st.booleans(), st.data())
def test_a_period_may_be_named_by_its_first_or_last_session_or_its_end(
    model: Model, label: str, known: bool, data: st.DataObject
) -> None:
    periods = model.periods()[1:-1]
    assume(len(periods) > 12)
    begin = data.draw(st.integers(0, len(periods) - 12))
    part = periods[begin : begin + (60 if not known else data.draw(st.integers(1, 12)))]
    stamps = {
        "first day": [at(start) for start, _, _ in part],
        "first session": [at(inside[0]) for _, _, inside in part],
        "last session": [at(inside[-1]) for _, _, inside in part],
        "close": [sessions(model.name)[inside[-1]] for _, _, inside in part],
        "close date": [at(inside[-1]) for _, _, inside in part],
    }[label]
    stamp: BarStamp = "close" if label.startswith("close") else "open"
    phase = model.phase // timedelta(microseconds=1) if known else None
    if not known:  # weeks are taken for those from Monday, and days for those that most labels begin or end
        assume(model.unit != "w" or model.anchor % 7 == 4)
        assume(model.unit == "M" or len(part) > 30)
        begun = label in ("first day", "first session")
        clear = sum((inside[0] == start) if begun else (inside[-1] == end - DAY) for start, end, inside in part)
        assume(model.unit != "d" or 2 * clear > len(part))
    got = dated(instants(stamps), model.timeframe, calendar(model.name), stamp, phase).dt.date().to_list()
    wanted = [start for start, _, _ in part]
    if not known and label == "last session" and model.unit == "d" and got != wanted:
        # the last sessions may just as well be the first ones of periods that begin with them
        assert all(day == stamped.date() or day in wanted for day, stamped in zip(got, stamps, strict=True))
        return
    assert got == wanted


def test_what_ends_no_period_is_refused() -> None:
    with pytest.raises(InputError, match="no period of 2w of calendar XNYS ends at 2024-03-06 21:00"):
        dated(instants([at(date(2024, 3, 6)) + timedelta(hours=21)]), "2w", calendar("XNYS"), "close")
    with pytest.raises(InputError, match="no period of 3M of calendar 24/7 ends at 2024-05-01 00:00"):
        dated(instants([at(date(2024, 4, 1)), at(date(2024, 5, 1))]), "3M", calendar("24/7"), "close", 0)
    with pytest.raises(InputError, match="would both be that of 2024-01-01"):
        dated(instants([at(date(2024, 1, 1)), at(date(2024, 3, 31))]), "3M", calendar("24/7"), "open", 0)


@pytest.mark.parametrize(
    ("name", "timeframe", "stamp", "days", "expected"),
    [
        ("24/7", "3d", "close", ["2024-01-04", "2024-01-07"], ["2024-01-01", "2024-01-04"]),
        ("24/7", "2w", "close", ["2024-01-15", "2024-01-29"], ["2024-01-01", "2024-01-15"]),
        ("24/7", "2w", "close", ["2024-01-14", "2024-01-28"], ["2023-12-31", "2024-01-14"]),  # from Sundays
        ("24/7", "3M", "close", ["2024-04-01", "2024-07-01"], ["2024-01-01", "2024-04-01"]),
        ("24/7", "3M", "open", ["2024-03-31", "2024-06-30"], ["2024-01-01", "2024-04-01"]),
        ("24/7", "3M", "close", ["2024-03-31", "2024-06-30"], ["2024-01-01", "2024-04-01"]),
        ("24/7", "3M", "open", ["2024-02-01", "2024-05-01"], ["2024-02-01", "2024-05-01"]),
        ("XNYS", "3M", "open", ["2024-03-28", "2024-06-28"], ["2024-01-01", "2024-04-01"]),
        ("XNYS", "12M", "open", ["2023-12-29", "2024-12-31"], ["2023-01-01", "2024-01-01"]),
        ("XNYS", "2w", "open", ["2024-03-15"], ["2024-03-04"]),  # a Friday
        ("XNYS", "2w", "open", ["2024-02-20", "2024-03-04"], ["2024-02-19", "2024-03-04"]),  # after a holiday
        ("24/7", "2w", "open", ["2024-03-03", "2024-03-17"], ["2024-03-03", "2024-03-17"]),
    ],
)
def test_named_labels(name: str, timeframe: str, stamp: BarStamp, days: list[str], expected: list[str]) -> None:
    given = instants([at(date.fromisoformat(day)) for day in days])
    assert dated(given, timeframe, calendar(name), stamp).dt.to_string("%Y-%m-%d").to_list() == expected


@brute
@given(models(most=20), st.sampled_from(["1d", "8h"]), st.data())
def test_days_make_longer_bars(model: Model, part: str, data: st.DataObject) -> None:
    assume(part == "1d" or model.name == "24/7")
    held = sorted(day for day in sessions(model.name) if date(2018, 1, 1) <= day < date(2020, 6, 1))
    begin = data.draw(st.integers(0, len(held) - 2))
    days = [day for day in held[begin : begin + 300] if data.draw(st.integers(0, 9)) or day == held[begin]]
    each = 1 if part == "1d" else 3
    times = [at(day) + number * timedelta(hours=8) for day in days for number in range(each)]
    frame = bars(len(times)).with_columns(instants(times))
    made = resample(frame, model.timeframe, timeframe=part, calendar=model.name, phase=model.phase)
    wanted = {start: (inside, [day for day in days if start <= day < end]) for start, end, inside in model.periods()}
    rows = {start: value for start, value in wanted.items() if value[1]}
    assert made["timestamp"].dt.date().to_list() == sorted(rows)
    for row, start in zip(made.iter_rows(named=True), sorted(rows), strict=True):
        inside, there = rows[start]
        assert (row["bars"], row["expected"]) == (each * len(there), each * len(inside))
        mine = frame.filter(pl.col("timestamp").dt.date().is_in(there))
        assert (row["open"], row["close"], row["high"], row["volume"]) == (
            mine["open"][0],
            mine["close"][-1],
            mine["high"].max(),
            mine["volume"].sum(),
        )


@brute
@given(models(most=12), st.integers(2, 4), st.data())
def test_long_bars_make_longer_ones(model: Model, times: int, data: st.DataObject) -> None:
    short = [at(start) for start, _, _ in model.periods()]
    assume(len(short) > 20)
    there = some(data, short, least=10)
    long = f"{model.count * times}{model.unit}"
    assume(long in walle.TIMEFRAMES)
    frame = bars(len(there)).with_columns(instants(there), symbol=pl.lit("A"))
    other = frame.with_columns(pl.col("timestamp").dt.offset_by({"d": "1d", "w": "1d", "M": "1mo"}[model.unit]))
    both = pl.concat([frame, other.with_columns(symbol=pl.lit("B"))]) if model.name == "24/7" else frame
    made = resample(both, long, timeframe=model.timeframe, calendar=model.name)
    mine = made.filter(symbol="A")
    assert made["bars"].sum() == both.height
    months = model.unit == "M"
    for row in mine.iter_rows(named=True):
        end = pl.Series([row["timestamp"]]).dt.offset_by(long.replace("M", "mo"))[0]
        inside = [time for time in short if row["timestamp"] <= time < end]
        assert row["bars"] == sum(row["timestamp"] <= time < end for time in there)
        if row["timestamp"] >= short[0] and end.date() < date(2023, 1, 1):
            assert row["expected"] == len(inside)
    steps = mine["timestamp"].diff().drop_nulls()
    assert months or all(step % walle.TIMEFRAMES[long] == timedelta(0) for step in steps)


def test_what_makes_no_whole_periods_is_refused() -> None:
    frame = bars(3).with_columns(instants([at(date(2024, 1, 1) + 2 * n * DAY) for n in range(3)]))
    for to in ("3d", "1M", "2M", "1w", "2d", "1d"):
        with pytest.raises(InputError, match="do not make bars"):
            resample(frame, to, timeframe="2d")
    firsts = bars(2).with_columns(instants([at(date(2024, 1, 1)), at(date(2024, 2, 1))]))
    for to in ("62d", "9w", "1w"):
        with pytest.raises(InputError, match="do not make bars"):
            resample(firsts, to, timeframe="1M")
    assert resample(firsts, "2M", timeframe="1M")["is_complete"].to_list() == [True]
    with pytest.raises(InputError, match="have none"):
        resample(firsts, "1d", timeframe="1h", phase=DAY)
    with pytest.raises(InputError, match="is not the time from"):
        resample(firsts, "2M", timeframe="1M", phase=DAY)
    with pytest.raises(InputError, match="no bar of 2d begins with those periods"):
        resample(frame, "4d", timeframe="2d", phase=2 * DAY if own_phase(frame["timestamp"], "2d") else DAY)


@brute
@given(models(["24/7"]), st.integers(3, 30))
def test_files_tell_their_timeframe_by_exact_distances(model: Model, count: int) -> None:
    times = [at(start) for start, _, _ in model.periods()][:count]
    assume(len(times) > 2)
    wall = instants(times).dt.replace_time_zone(None)
    symbols = pl.Series(["A"] * len(times))
    assert infer_timeframe(instants(times), wall, symbols) == model.timeframe
    uneven = [*times[:-1], times[-1] + DAY]
    if model.unit != "M" or times[-1].day > 1:
        with pytest.raises(InputError, match="cannot be told"):
            infer_timeframe(instants(uneven), instants(uneven).dt.replace_time_zone(None), symbols)


@brute
@given(models(most=12), st.data())
def test_each_bar_of_a_run_is_one_session(model: Model, data: st.DataObject) -> None:
    assume(model.unit != "w" or model.anchor % 7 == 4 or model.name == "24/7")
    periods = model.periods()[1:-1]
    assume(len(periods) > 24)
    begin = data.draw(st.integers(0, len(periods) - 22))
    part = periods[begin : begin + 60]
    market = calendar(model.name)
    ends = bar_ends(instants([at(start) for start, _, _ in part]), model.timeframe, market)
    assume(model.unit != "d" or 2 * sum(inside[-1] == end - DAY for _, end, inside in part) > len(part))
    found = session_starts([(market, model.timeframe)], ends)["after"]
    place = found.search_sorted(ends, "left")
    assert place.n_unique() == ends.len()


def test_the_bars_of_a_year() -> None:
    span = datetime(2015, 1, 1, tzinfo=UTC), datetime(2024, 12, 31, tzinfo=UTC)
    for timeframe, count in (("3M", 4.0), ("12M", 1.0), ("2w", 365.25 / 14), ("3d", 121.75)):
        assert periods_per_year([calendar("24/7")], timeframe, *span) == pytest.approx(count)
    stocks = periods_per_year([calendar("XNYS")], "2d", *span)
    held = {(day - date(1970, 1, 1)).days // 2 for day in sessions("XNYS")}
    assert stocks == pytest.approx(len(held) / 8, rel=0.01)
    assert periods_per_year([calendar("XNYS")], "3M", *span) == 4
    own = from_sessions(
        pl.DataFrame({"open": instants([at(date(2024, 5, 6))]), "close": instants([at(date(2024, 5, 7))])}), "o"
    )
    assert periods_per_year([own], "3M", *span) == 4


@pytest.mark.parametrize(
    ("timeframe", "phase"),
    [("3d", 3 * DAY), ("3d", DAY / 2), ("2w", DAY / 2), ("3M", DAY), ("3M", 90 * DAY), ("1M", DAY), ("1d", DAY)],
)
def test_a_phase_is_the_first_day_of_a_period(timeframe: str, phase: timedelta) -> None:
    with pytest.raises(InputError, match="phase="):
        calendar("24/7").grid(timeframe, "2024-01-01", "2024-02-01", phase=phase)


def test_one_name_for_each_length() -> None:
    names = [name for name in walle.TIMEFRAMES if name[-1] in "smhdw"]
    assert len({walle.TIMEFRAMES[name] for name in names}) == len(names)
    for count in (1, 2, 3, 6, 11, 12, 13, 47, 48, 49, 60, 100, 600, 999):
        firsts = [date(1904 + month // 12, month % 12 + 1, 1) for month in range(48)]
        ends = [date(1904 + (month + count) // 12, (month + count) % 12 + 1, 1) for month in range(48)]
        longest = max(end - start for start, end in zip(firsts, ends, strict=True))
        assert walle.TIMEFRAMES[f"{count}M"] == longest
