"""The dates of bars at instants, and the openings of bars stamped with their ends: named cases, and plain models."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from walle.bars.coverage import find_gaps, short_first_phase, summarise, unexpected
from walle.bars.labels import dated
from walle.bars.stamps import check_stamp, opening_times, restamped, stamps_ends, unusual
from walle.bars.transform import resample
from walle.calendars import calendar, from_sessions
from walle.errors import InputError
from walle.frames import INSTANT
from walle.options import BarStamp

DAY, WEEK = timedelta(days=1), timedelta(weeks=1)
SUNDAYS = 3 * 86_400_000_000
"""The first Sunday of 1970, in microseconds."""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def instants(times: Sequence[str] | Sequence[datetime | None]) -> pl.Series:
    return pl.Series("timestamp", [at(time) if isinstance(time, str) else time for time in times], INSTANT)


def dates(name: str, timeframe: str, stamp: BarStamp, times: Sequence[str], week: int | None = None) -> list[str]:
    return dated(instants(times), timeframe, calendar(name), stamp, week).dt.to_string("%Y-%m-%d").to_list()


@pytest.mark.parametrize(
    ("name", "stamp", "times", "expected"),
    [
        # the session opens at 17:00 in New York; daylight saving time begins on Sunday the 10th
        ("24/5", "open", ["2024-03-03 22:00", "2024-03-10 21:00"], ["2024-03-04", "2024-03-11"]),
        ("24/5", "close", ["2024-03-08 22:00", "2024-03-11 21:00"], ["2024-03-08", "2024-03-11"]),
        ("24/5", "open", ["2024-03-07 22:00"], ["2024-03-08"]),
        ("24/5", "close", ["2024-03-07 22:00"], ["2024-03-07"]),
        ("24/5", "open", ["2024-06-09 22:00"], ["2024-06-10"]),  # within the session of Monday
        ("24/5", "open", ["2024-03-08"], ["2024-03-08"]),
        ("XNYS", "open", ["2024-03-08 14:30", "2024-03-11 13:30"], ["2024-03-08", "2024-03-11"]),
        (
            "XNYS",
            "open",
            ["2024-03-08 21:00", "2024-07-03 21:00"],
            ["2024-03-08", "2024-07-03"],
        ),  # after an early close
        ("XNYS", "open", ["2024-03-08 13:30"], ["2024-03-08"]),  # an hour early in winter
        ("XNYS", "open", ["2024-03-08 05:00", "2024-03-11 04:00"], ["2024-03-08", "2024-03-11"]),  # midnight there
        ("XNYS", "close", ["2024-03-08 21:00", "2024-03-11 20:00"], ["2024-03-08", "2024-03-11"]),
        ("XNYS", "close", ["2024-03-09 00:00", "2024-03-12 00:00"], ["2024-03-08", "2024-03-11"]),
        ("XASX", "open", ["2024-01-01 23:00", "2024-01-02 13:00"], ["2024-01-02", "2024-01-03"]),
        ("XASX", "close", ["2024-01-02 05:00"], ["2024-01-02"]),
        ("XTKS", "close", ["2024-03-08 06:00", "2024-03-07 15:00"], ["2024-03-08", "2024-03-07"]),
        ("24/7", "close", ["2024-03-09", "2024-03-10"], ["2024-03-08", "2024-03-09"]),
    ],
)
def test_a_daily_bar_gets_the_date_of_its_session(
    name: str, stamp: BarStamp, times: list[str], expected: list[str]
) -> None:
    assert dates(name, "1d", stamp, times) == expected


@pytest.mark.parametrize(
    ("name", "timeframe", "stamp", "times", "expected"),
    [
        ("XNYS", "1w", "open", ["2024-03-08", "2024-03-28"], ["2024-03-04", "2024-03-25"]),  # the last session
        ("XNYS", "1w", "open", ["2024-02-20", "2024-02-26"], ["2024-02-19", "2024-02-26"]),  # the first one
        ("XNYS", "1w", "open", ["2024-03-03", "2024-03-10"], ["2024-03-03", "2024-03-10"]),  # weeks of Sundays
        ("XNYS", "1w", "open", ["2024-03-22", "2024-03-29"], ["2024-03-22", "2024-03-29"]),  # Good Friday, no session
        ("24/5", "1w", "open", ["2024-03-03 22:00", "2024-03-10 21:00"], ["2024-03-04", "2024-03-11"]),
        ("24/5", "1w", "close", ["2024-03-08 22:00", "2024-03-15 21:00"], ["2024-03-04", "2024-03-11"]),
        ("XNYS", "1w", "close", ["2024-03-08 21:00", "2024-03-28 20:00"], ["2024-03-04", "2024-03-25"]),
        ("XNYS", "1w", "close", ["2024-03-08", "2024-03-28"], ["2024-03-04", "2024-03-25"]),
        ("24/7", "1w", "close", ["2024-03-04", "2024-03-11"], ["2024-02-26", "2024-03-04"]),
        ("24/7", "1w", "close", ["2024-03-03", "2024-03-10"], ["2024-02-25", "2024-03-03"]),
        ("XNYS", "1M", "open", ["2024-03-28", "2024-04-30", "2024-06-30"], ["2024-03-01", "2024-04-01", "2024-06-01"]),
        ("XNYS", "1M", "open", ["2024-01-02", "2024-02-01"], ["2024-01-01", "2024-02-01"]),  # the first session
        ("XNYS", "1M", "close", ["2024-03-28 20:00", "2024-04-30"], ["2024-03-01", "2024-04-01"]),
        ("24/7", "1M", "open", ["2024-01-31", "2024-02-29"], ["2024-01-01", "2024-02-01"]),
        ("24/7", "1M", "close", ["2024-02-01", "2024-03-01"], ["2024-01-01", "2024-02-01"]),
    ],
)
def test_a_week_or_month_gets_its_first_day(
    name: str, timeframe: str, stamp: BarStamp, times: list[str], expected: list[str]
) -> None:
    assert dates(name, timeframe, stamp, times) == expected


def test_a_known_weekday_decides() -> None:
    assert dates("XNYS", "1w", "open", ["2024-03-08"], SUNDAYS) == ["2024-03-03"]  # the last session of its week
    assert dates("XNYS", "1w", "close", ["2024-03-08 21:00"], SUNDAYS) == ["2024-03-03"]
    assert dates("XNYS", "1w", "open", ["2024-03-06"], SUNDAYS) == ["2024-03-06"]  # neither first nor last


def test_what_no_rule_covers_stays_and_is_refused_later() -> None:
    for name, time in (("24/7", "2024-03-08 22:00"), ("XNYS", "2024-03-03 23:00"), ("XNYS", "2055-03-03 15:00")):
        assert dated(instants([time]), "1d", calendar(name), "open").to_list() == [at(time)]
    # one without a session says that the others follow another rule: these are the evenings before
    evenings = instants(["2024-03-03 23:00", "2024-03-04 23:00"])
    assert dated(evenings, "1d", calendar("XNYS"), "open").to_list() == evenings.to_list()
    own = from_sessions(
        pl.DataFrame({"open": instants(["2024-03-08 14:30"]), "close": instants(["2024-03-08 21:00"])}), "o"
    )
    assert dated(instants(["2024-03-08 05:00"]), "1d", own, "open").to_list() == [at("2024-03-08 05:00")]  # no zone
    assert dated(instants([None]), "1d", own, "open").to_list() == [None]
    assert dated(instants([]), "1w", calendar("24/5"), "close").is_empty()


@pytest.mark.parametrize(
    ("name", "timeframe", "stamp", "times", "message"),
    [
        ("XNYS", "1d", "open", ["2024-03-08 14:30", "2024-03-08 15:30"], "would both be that of 2024-03-08"),
        ("XNYS", "1d", "open", ["2024-03-08 14:30", "2024-03-08"], "would both be"),
        ("XNYS", "1w", "open", ["2024-03-04", "2024-03-08"], "would both be that of 2024-03-04"),
        ("24/7", "1M", "open", ["2024-03-01", "2024-03-31"], "would both be that of 2024-03-01"),
        ("XNYS", "1d", "close", ["2024-03-08", "2024-03-11"], "no session of calendar XNYS ends at 2024-03-11 00:00"),
        ("24/5", "1d", "close", ["2024-03-11 22:00"], "no session of calendar 24/5 ends"),
        ("24/7", "1d", "close", ["2024-03-11 22:00"], "no session of calendar 24/7 ends"),
        ("24/7", "1w", "close", ["2024-03-04", "2024-03-12"], "no week of calendar 24/7 ends"),
        ("XNYS", "1w", "close", ["2024-03-06 21:00"], "no week of calendar XNYS ends"),
        ("XNYS", "1M", "close", ["2024-03-15 20:00"], "no month of calendar XNYS ends"),
    ],
)
def test_an_unclear_date_is_refused(name: str, timeframe: str, stamp: BarStamp, times: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        dates(name, timeframe, stamp, times)


def opened(name: str, timeframe: str, *times: str) -> list[str]:
    made = opening_times(instants([f"2024-{time}" for time in times]), timeframe, calendar(name))
    return made.dt.to_string("%m-%d %H:%M").to_list()


def test_a_bar_opens_its_length_before_its_end_unless_it_was_cut_short() -> None:
    last = ("03-08 19:30", "03-08 20:30")
    assert opened("XNYS", "1h", *last, "03-08 21:00") == ["03-08 18:30", "03-08 19:30", "03-08 20:30"]
    assert opened("XNYS", "1h", *last, "03-08 21:30") == ["03-08 18:30", "03-08 19:30", "03-08 20:30"]
    clock = ("03-08 15:00", "03-08 16:00", "03-08 17:00", "03-08 21:00")  # a short first hour
    assert opened("XNYS", "1h", *clock) == ["03-08 14:30", "03-08 15:00", "03-08 16:00", "03-08 20:00"]
    early = ("03-08 13:00", "03-08 14:00", "03-08 15:00", "03-08 16:00")  # before the session opens, too
    assert opened("XNYS", "1h", *early) == ["03-08 12:00", "03-08 13:00", "03-08 14:00", "03-08 15:00"]
    lunch = ("03-08 02:30", "03-08 03:30", "03-08 04:00", "03-08 06:00")
    assert opened("XHKG", "1h", *lunch) == ["03-08 01:30", "03-08 02:30", "03-08 03:30", "03-08 05:00"]
    assert opened("24/5", "4h", "03-08 20:00", "03-08 22:00") == ["03-08 16:00", "03-08 20:00"]
    assert opened("24/5", "4h", "03-14 20:00", "03-15 16:00", "03-15 21:00")[-1] == "03-15 17:00"  # cannot be told
    assert opened("24/7", "1h", "03-08 01:00", "03-08 00:00") == ["03-08 00:00", "03-07 23:00"]
    assert opening_times(instants(["2055-03-08 21:00"]), "1h", calendar("XNYS")).to_list() == [at("2055-03-08 20:00")]
    assert opening_times(instants([None]), "1h", calendar("XNYS")).to_list() == [None]
    with pytest.raises(InputError, match="would open at the same time"):
        opened("XNYS", "1h", "03-08 21:00", "03-08 21:30")


def test_stamps_at_every_close_and_no_open_are_ends() -> None:
    def ends(name: str, timeframe: str, *times: str) -> bool:
        return stamps_ends(instants([f"2024-{time}" for time in times]), timeframe, calendar(name))

    assert ends("XNYS", "1h", "03-08 15:30", "03-08 16:30", "03-08 20:30", "03-08 21:00")
    assert not ends("XNYS", "1h", "03-08 14:30", "03-08 15:30", "03-08 21:00")
    assert not ends("XNYS", "1h", "03-08 14:00", "03-08 15:00", "03-08 20:00", "03-08 21:00")  # with extended hours
    assert not ends("XNYS", "1h", "03-08 15:30", "03-08 20:30")
    assert not ends("XNYS", "1h", "03-08 18:30", "03-08 21:00")  # too little of the session
    assert not ends("24/7", "1h", "03-08 01:00", "03-09 00:00")
    assert ends("24/5", "1h", *(f"03-{3 + hour // 24:02} {hour % 24:02}:00" for hour in range(23, 24 * 5 + 23)))
    with pytest.raises(InputError, match="neither 'open' nor 'close'"):
        check_stamp("end")


sessions_drawn = st.tuples(
    st.sampled_from(["America/New_York", "Europe/London", "Australia/Sydney", "Asia/Kolkata"]),
    st.sampled_from([date(2024, 3, 4), date(2024, 3, 25), date(2024, 10, 1), date(2024, 10, 28)]),
    st.integers(0, 40).map(lambda count: count * 15),  # the open, in minutes after midnight
    st.integers(8, 56).map(lambda count: count * 15),  # the length
    st.sets(st.integers(0, 20), max_size=4),  # holidays
    st.booleans(),  # a break
)


def market_of(
    drawn: tuple[str, date, int, int, set[int], bool],
) -> tuple[list[tuple[datetime, datetime]], pl.DataFrame]:
    """Return the stretches of a market on the clock of a zone, and its sessions."""
    name, first, opens, lasts, holidays, pauses = drawn
    zone, stretches, rows = ZoneInfo(name), [], []
    for place in range(21):
        day = first + place * DAY
        if day.weekday() >= 5 or place in holidays:
            continue
        midnight = datetime(day.year, day.month, day.day)
        moments = [opens, opens + lasts // 2 // 15 * 15, opens + lasts // 2 // 15 * 15 + 30, opens + lasts + 30]
        start, pause, again, close = (
            (midnight + timedelta(minutes=minutes)).replace(tzinfo=zone).astimezone(UTC) for minutes in moments
        )
        stretches += [(start, pause), (again, close)] if pauses else [(start, close)]
        rows.append((day, start, close, pause if pauses else None, again if pauses else None))
    columns = ("session", "open", "close", "break_start", "break_end")
    kinds = {column: pl.Date if column == "session" else INSTANT for column in columns}
    return stretches, pl.DataFrame(rows, schema=kinds, orient="row")


def bars_of(
    stretches: list[tuple[datetime, datetime]], step: timedelta, clock: timedelta | None
) -> list[tuple[datetime, datetime]]:
    """Return the opening and end of each bar, one after the other: on a session's own grid, or one of the clock."""
    found = []
    for start, close in stretches:
        time = start
        while time < close:
            end = time + step
            if clock is not None:
                end = time + step - (time - at("1970-01-01") - clock) % step
            found.append((time, min(end, close)))
            time = end
    return found


@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(
    drawn=sessions_drawn,
    timeframe=st.sampled_from(["15m", "30m", "1h", "2h", "4h"]),
    clock=st.none() | st.sampled_from([0, 15, 30]),
)
def test_openings_are_those_of_a_plain_model(
    drawn: tuple[str, date, int, int, set[int], bool], timeframe: str, clock: int | None
) -> None:
    stretches, sessions = market_of(drawn)
    made, step = from_sessions(sessions, "own"), timedelta(minutes={"15m": 15, "30m": 30}.get(timeframe, 0))
    step = step or timedelta(hours=int(timeframe[:-1]))
    phase = None if clock is None else timedelta(minutes=clock) % step
    bars = bars_of(stretches, step, phase)
    known = None if phase is None else int(phase / timedelta(microseconds=1))
    ends = instants([end for _, end in bars])
    opens = [start for start, _ in bars]
    assert opening_times(ends, timeframe, made, known).to_list() == opens
    times = instants(opens)
    summed = summarise(times, timeframe, made)
    if phase is None or short_first_phase(times, timeframe, made) is not None:  # else no bar stands off the own grid
        assert summed.select("expected", "missing", "unexpected").row(0) == (len(opens), 0, 0)


@settings(max_examples=examples(150), deadline=None, derandomize=True)
@given(drawn=sessions_drawn, stamp=st.sampled_from(["open", "close"]))
def test_dates_of_sessions_are_those_of_a_plain_model(
    drawn: tuple[str, date, int, int, set[int], bool], stamp: BarStamp
) -> None:
    _, sessions = market_of(drawn)
    made, rows = from_sessions(sessions, "own"), sessions.rows()
    moments = [row[1 if stamp == "open" else 2] for row in rows]
    # midnight UTC names a date when a bar opens
    expected = [
        moment.date() if stamp == "open" and moment.time() == at("2024-01-01").time() else row[0]
        for row, moment in zip(rows, moments, strict=True)
    ]
    if len(set(expected)) == len(expected):
        assert dated(instants(moments), "1d", made, stamp).dt.date().to_list() == expected
    for timeframe in ("1w", "1M"):
        firsts = [day_of(row[0], timeframe) for row in rows]
        periods = sorted(set(firsts))
        lasts = [max(row for row, first in zip(rows, firsts, strict=True) if first == period) for period in periods]
        labels = instants([row[2] for row in lasts])
        assert dated(labels, timeframe, made, "close").dt.date().to_list() == periods
        days = instants([datetime(row[0].year, row[0].month, row[0].day, tzinfo=UTC) for row in lasts])
        assert dated(days, timeframe, made, "open").dt.date().to_list() == periods


def day_of(day: date, timeframe: str) -> date:
    """Return the first day of the week or month of a day."""
    return day - day.weekday() * DAY if timeframe == "1w" else day.replace(day=1)


def test_coverage_counts_a_short_first_hour_and_other_weeks() -> None:
    hours = instants([f"2024-03-{day} {hour}" for day in (11, 12) for hour in ("13:30", "14:00", "15:00", "17:00")])
    assert summarise(hours, "1h", "XNYS").select("expected", "missing", "unexpected").row(0) == (12, 4, 0)
    assert find_gaps(hours, "1h", "XNYS").select("start", "end").rows() == [
        (at("2024-03-11 16:00"), at("2024-03-11 17:00")),
        (at("2024-03-11 18:00"), at("2024-03-11 20:00")),
        (at("2024-03-12 16:00"), at("2024-03-12 17:00")),
    ]
    weeks = instants(["2024-03-03", "2024-03-10", "2024-03-24"])
    for name in ("24/7", "24/5", "XNYS"):
        assert summarise(weeks, "1w", name).select("expected", "missing", "unexpected").row(0) == (4, 1, 0)
        assert unexpected(instants(["2024-03-03", "2024-03-11"]), "1w", name).to_list() == [at("2024-03-11")]
    with pytest.raises(InputError, match="whole days"):
        calendar("XNYS").grid("1w", "2024-03-01", "2024-04-01", phase=timedelta(hours=1))


def test_days_are_made_of_hours_on_the_clock() -> None:
    hours = instants([f"2024-03-{day} {hour}" for day in (11, 12) for hour in ("13:30", "14:00", "15:00", "19:00")])
    frame = pl.DataFrame({"timestamp": hours}).with_columns(
        pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close", "volume")
    )
    days = resample(frame, "1d", timeframe="1h", calendar="XNYS")
    assert days.select("bars", "expected", "is_complete").rows() == [(4, 7, False), (4, 7, False)]
    with pytest.raises(InputError, match="expects no bar"):
        resample(frame, "2h", timeframe="1h", calendar="XNYS")


@pytest.mark.parametrize("name", ["24/7", "24/5", "XNYS"])
def test_the_ends_of_time_are_no_obstacle(name: str) -> None:
    ends = ["0001-01-01 00:00", "9999-12-31 23:59"]
    bars = pl.DataFrame({"symbol": "A", "timestamp": instants(ends)}).with_columns(timeframe=pl.lit("1h"))
    far = bars.with_columns(pl.col("timestamp").dt.offset_by("2000y"))
    for timeframe in ("1m", "1h", "1d", "1w", "1M"):
        for frame in (bars, far, pl.concat([bars, far])):
            given = frame.with_columns(timeframe=pl.lit(timeframe))
            kept = restamped(given, "open", {"A": calendar(name)}, {})
            if timeframe == "1h" or (name != "24/5" and timeframe == "1d"):  # there it was a Friday after 17:00
                assert kept["timestamp"].to_physical().to_list() == given["timestamp"].to_physical().to_list()
            assert unusual(given, "close") == {"A"}
    late = instants(["9999-12-31 23:59"])
    assert opening_times(late, "1h", calendar(name)).to_list() == [at("9999-12-31 22:59")]
