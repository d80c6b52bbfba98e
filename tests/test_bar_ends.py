"""When bars end: by named cases, and by a plain model of random markets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from walle.bars.ends import bar_ends
from walle.calendars import Calendar, calendar, from_sessions
from walle.errors import UnknownTimeframe
from walle.frames import INSTANT
from walle.timeframe import length

DAY = timedelta(days=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def instants(times: Sequence[datetime | None]) -> pl.Series:
    return pl.Series("timestamp", times, INSTANT)


def ends(name: str, timeframe: str, *times: str) -> list[datetime]:
    return bar_ends(instants([at(text) for text in times]), timeframe, calendar(name)).to_list()


@pytest.mark.parametrize(
    ("name", "timeframe", "opened", "ended"),
    [
        ("24/7", "1h", "2024-03-10 06:00", "2024-03-10 07:00"),
        ("24/7", "1d", "2024-03-10", "2024-03-11"),
        ("24/7", "1w", "2024-03-04", "2024-03-11"),
        ("24/7", "1M", "2024-02-01", "2024-03-01"),
        ("24/5", "1h", "2024-03-08 21:00", "2024-03-08 22:00"),
        ("24/5", "4h", "2024-03-08 20:00", "2024-03-08 22:00"),  # Friday 17:00 in New York
        ("24/5", "4h", "2024-03-07 20:00", "2024-03-08 00:00"),  # no pause between sessions that touch
        ("24/5", "1d", "2024-03-08", "2024-03-08 22:00"),
        ("24/5", "1d", "2024-03-11", "2024-03-11 21:00"),  # daylight saving time began on the 10th
        ("24/5", "1w", "2024-03-04", "2024-03-08 22:00"),
        ("24/5", "1w", "2024-03-03", "2024-03-08 22:00"),  # a week of Sundays
        ("24/5", "1M", "2024-03-01", "2024-03-29 21:00"),
        ("24/5", "1d", "2024-03-09", "2024-03-10"),  # a Saturday has no session
        ("XNYS", "1h", "2024-03-08 20:30", "2024-03-08 21:00"),
        ("XNYS", "1h", "2024-07-03 16:30", "2024-07-03 17:00"),  # an early close
        ("XNYS", "1m", "2024-03-08 20:59", "2024-03-08 21:00"),
        ("XNYS", "1h", "2024-03-08 14:00", "2024-03-08 15:00"),  # on the clock, before the session opens
        ("XNYS", "1h", "2024-03-08 21:00", "2024-03-08 22:00"),  # after hours, which the calendar does not know
        ("XNYS", "12h", "2024-03-08 12:00", "2024-03-08 21:00"),
        ("XNYS", "1d", "2024-03-08", "2024-03-08 21:00"),
        ("XNYS", "1d", "2024-03-11", "2024-03-11 20:00"),
        ("XNYS", "1d", "2024-07-04", "2024-07-05"),  # a holiday
        ("XNYS", "1w", "2024-03-25", "2024-03-28 20:00"),  # Good Friday is closed
        ("XNYS", "1M", "2024-03-01", "2024-03-28 20:00"),
        ("XNYS", "1M", "2024-02-01", "2024-02-29 21:00"),
        ("XNYS", "1w", "2049-12-27", "2050-01-03"),  # the calendar ends with 2049
        ("XNYS", "1d", "2050-01-03", "2050-01-04"),
        ("XNYS", "1h", "2050-01-03 20:30", "2050-01-03 21:30"),
        ("XASX", "1d", "2024-01-02", "2024-01-02 05:00"),
        ("XASX", "1h", "2024-01-02 04:00", "2024-01-02 05:00"),
        ("XHKG", "1h", "2024-03-08 03:30", "2024-03-08 04:00"),  # lunch from 12:00 to 13:00 in Hong Kong
        ("XHKG", "1h", "2024-03-08 04:00", "2024-03-08 05:00"),
        ("XHKG", "4h", "2024-03-08 04:00", "2024-03-08 08:00"),
        ("XHKG", "4h", "2024-03-08 01:30", "2024-03-08 04:00"),
        ("24/7", "1M", "9999-12-01", "9999-12-31 23:59:59.999999"),
        ("24/5", "1h", "9999-12-31 23:00", "9999-12-31 23:59:59.999999"),
        ("24/7", "1d", "0001-01-01", "0001-01-02"),
    ],
)
def test_a_bar_ends_with_its_length_or_its_session(name: str, timeframe: str, opened: str, ended: str) -> None:
    assert ends(name, timeframe, opened) == [at(ended)]


def test_a_short_first_hour_ends_on_the_clock() -> None:
    given = ("2024-03-08 14:30", "2024-03-08 15:00", "2024-03-08 16:00")
    assert ends("XNYS", "1h", *given) == [at("2024-03-08 15:00"), at("2024-03-08 16:00"), at("2024-03-08 17:00")]
    assert ends("XNYS", "1h", *reversed(given)) == [*reversed(ends("XNYS", "1h", *given))]


def test_nulls_and_no_bars_have_no_ends() -> None:
    for timeframe in ("1h", "1d", "1M"):
        for name in ("24/7", "24/5", "XNYS"):
            none = bar_ends(instants([]), timeframe, calendar(name))
            assert (none.dtype, none.name, none.len()) == (INSTANT, "end", 0)
            assert bar_ends(instants([None]), timeframe, calendar(name)).to_list() == [None]
            mixed = bar_ends(instants([None, at("2024-03-01"), None]), timeframe, calendar(name))
            assert [value is None for value in mixed] == [True, False, True]
    with pytest.raises(UnknownTimeframe):
        bar_ends(instants([]), "7m", calendar())


def test_a_market_without_sessions_leaves_the_length() -> None:
    never = from_sessions(pl.DataFrame(schema={"open": INSTANT, "close": INSTANT}), "never")
    assert bar_ends(instants([at("2024-03-08 01:30")]), "1h", never).to_list() == [at("2024-03-08 02:30")]
    assert bar_ends(instants([at("2024-03-08")]), "1d", never).to_list() == [at("2024-03-09")]


Session = tuple[date, datetime, datetime, datetime | None, datetime | None]


@st.composite
def markets(draw: st.DrawFn) -> tuple[Calendar, list[Session]]:
    """A market on the wall clock of a zone that changes its clocks, with holidays, early closes and breaks."""
    zone = ZoneInfo(draw(st.sampled_from(["America/New_York", "Australia/Sydney", "Europe/London", "Asia/Tokyo"])))
    opens = draw(st.integers(-12, 12)) * 30
    lasts = draw(st.integers(2, 48)) * 30
    has_break = lasts >= 180 and draw(st.booleans())
    first = draw(st.sampled_from([date(2024, 3, 4), date(2024, 3, 25), date(2024, 10, 1), date(2024, 10, 28)]))
    listed: list[Session] = []
    for place in range(draw(st.integers(1, 16))):
        day = first + place * DAY
        if day.weekday() == 5 or draw(st.integers(0, 9)) == 0:
            continue
        noon = datetime(day.year, day.month, day.day, 10)
        early = 30 if lasts > 60 and draw(st.integers(0, 9)) == 0 else 0
        moments = [opens, opens + 60, opens + 120, opens + lasts - (early if not has_break else 0)]
        start, pause, again, close = (
            (noon + timedelta(minutes=minutes)).replace(tzinfo=zone).astimezone(UTC) for minutes in moments
        )
        if listed and start < listed[-1][2]:
            continue
        listed.append((day, start, close, pause if has_break else None, again if has_break else None))
    columns = ("session", "open", "close", "break_start", "break_end")
    frame = pl.DataFrame(
        listed, schema={name: pl.Date if name == "session" else INSTANT for name in columns}, orient="row"
    )
    return from_sessions(frame, "own"), listed


def modelled(time: datetime, times: Sequence[datetime], timeframe: str, sessions: list[Session]) -> datetime:
    """Return the end of one bar, by looking at every session."""
    if timeframe in ("1d", "1w", "1M"):
        stop = time + length(timeframe)
        if timeframe == "1M":
            stop = (time.replace(day=1) + 32 * DAY).replace(day=1)
        closes = [session[2] for session in sessions if time.date() <= session[0] < stop.date()]
        return closes[-1] if closes else stop
    end = min([time + length(timeframe), *(other for other in times if other > time)])
    parts = []
    for _, start, close, pause, again in sessions:
        parts += [(start, close)] if pause is None or again is None else [(start, pause), (again, close)]
    for start, close in parts:
        if time < close:
            return min(end, close) if start < time + length(timeframe) else end
    return end


@settings(max_examples=examples(400), deadline=None, derandomize=True)
@given(data=st.data(), market=markets(), timeframe=st.sampled_from(["1m", "15m", "1h", "3h", "4h", "12h", "1d", "1w"]))
def test_ends_are_those_of_a_plain_model(
    data: st.DataObject, market: tuple[Calendar, list[Session]], timeframe: str
) -> None:
    made, sessions = market
    step = 24 * 60 if timeframe in ("1d", "1w") else 15
    since = at("2024-03-01") if not sessions else datetime.combine(sessions[0][0], datetime.min.time(), UTC) - 2 * DAY
    offsets = data.draw(st.lists(st.integers(0, 20 * 24 * 60 // step), max_size=12))
    times = [since + timedelta(minutes=step * offset) for offset in offsets]
    expected = [modelled(time, times, timeframe, sessions) for time in times]
    assert bar_ends(instants(times), timeframe, made).to_list() == expected
    months = sorted({time.replace(day=1, hour=0, minute=0) for time in times})
    assert bar_ends(instants(months), "1M", made).to_list() == [
        modelled(month, months, "1M", sessions) for month in months
    ]
