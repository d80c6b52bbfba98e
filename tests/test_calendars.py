"""When a market is open, beside exchange_calendars' own answers and beside clocks of the standard library."""

from __future__ import annotations

import subprocess
import sys
import warnings
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from walle import calendars
from walle.calendars import SESSIONS, calendar, check_instants, from_sessions
from walle.errors import ConfigurationError, InputError, UnknownCalendar
from walle.frames import INSTANT

NEW_YORK = ZoneInfo("America/New_York")
PERIODS = {"1m": "1min", "5m": "5min", "1h": "1h", "4h": "4h"}
START, END = date(2005, 1, 1), date(2025, 1, 1)


@cache
def exchange(name: str) -> Any:
    """The calendar of exchange_calendars itself, over 20 years."""
    module = pytest.importorskip("exchange_calendars", reason="the extra calendars is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses what its pandas deprecates
        return module.get_calendar(name, start=START.isoformat(), end=(END - timedelta(days=1)).isoformat())


def trading_index(name: str, timeframe: str, start: date = START, end: date = END) -> pl.Series:
    """Opening times as exchange_calendars gives them for the sessions of [start, end)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = exchange(name)
        first, last = max(start, made.first_session.date()), min(end - timedelta(days=1), made.last_session.date())
        index = made.trading_index(
            first.isoformat(), last.isoformat(), PERIODS[timeframe], intervals=False, closed="left"
        )
    return pl.Series("timestamp", index.as_unit("us").asi8).cast(INSTANT)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc,arg-type]  # the parts of a date


def forex_is_open(moment: datetime) -> bool:
    """The rule in words: closed from Friday 17:00 to Sunday 17:00 on New York's clock."""
    local = moment.astimezone(NEW_YORK)
    minutes = local.weekday() * 1440 + local.hour * 60 + local.minute
    return not 4 * 1440 + 17 * 60 <= minutes < 6 * 1440 + 17 * 60


@pytest.mark.parametrize("timeframe", PERIODS)
@pytest.mark.parametrize("name", ["XNYS", "XHKG", "XTKS"])
def test_the_grid_of_twenty_years_is_that_of_exchange_calendars(name: str, timeframe: str) -> None:
    theirs = trading_index(name, timeframe)
    ours = calendar(name).grid(timeframe, START, END)
    assert ours.dtype == INSTANT
    assert ours.len() == theirs.len() > 5_000
    assert ours.equals(theirs)
    assert calendar(name).slots(timeframe, START, END).total == theirs.len()


@pytest.mark.parametrize("name", ["XNYS", "XHKG", "XTKS", "CMES"])
def test_sessions_and_daily_bars_are_those_of_exchange_calendars(name: str) -> None:
    made = exchange(name)
    dates = pl.Series("session", made.sessions.as_unit("us").asi8).cast(pl.Datetime("us"))
    frame = calendar(name).sessions(START, END)
    assert dict(frame.schema) == dict(SESSIONS)
    assert frame["session"].equals(dates.dt.date())
    assert calendar(name).grid("1d", START, END).to_list() == dates.dt.replace_time_zone("UTC").to_list()
    for column, theirs in (
        ("open", made.opens_nanos),
        ("close", made.closes_nanos),
        ("break_start", made.break_starts_nanos),
        ("break_end", made.break_ends_nanos),
    ):
        expected = [None if value == -(2**63) else value // 1000 for value in theirs.tolist()]
        assert frame[column].to_physical().to_list() == expected
    if name in ("XHKG", "XTKS"):  # a morning without an afternoon, and years with two closing times
        assert frame["close"].dt.time().n_unique() > 1
        assert frame["break_start"].null_count() < frame.height


def test_any_piece_of_a_grid_is_cut_from_the_whole() -> None:
    for name, timeframe in (("XHKG", "1h"), ("24/5", "4h"), ("24/7", "15m"), ("XNYS", "1d"), ("XHKG", "1w")):
        whole = calendar(name).grid(timeframe, "2024-01-01", "2024-06-01").to_list()
        for start, end in (
            (utc(2024, 2, 7, 3, 30), utc(2024, 2, 15, 6)),
            (utc(2024, 2, 10), utc(2024, 2, 11)),
            (utc(2024, 3, 8, 4, 0, 0, 1), utc(2024, 3, 10, 21, 0, 0, 1)),
            (utc(2024, 3, 1, 5), utc(2024, 3, 1, 5)),
            (utc(2024, 3, 9), utc(2024, 3, 10, 20, 30)),  # within a bar in which foreign exchange opens
            (utc(2024, 1, 1), utc(2024, 1, 2)),  # a Monday, and a holiday
        ):
            piece = calendar(name).grid(timeframe, start, end).to_list()
            assert piece == [moment for moment in whole if start <= moment < end], (name, start)


def test_forex_follows_new_york_through_twenty_years_of_clock_changes() -> None:
    segments = calendar("24/5").segments(START, END)
    sunday = date(2005, 1, 9)
    for opens, closes in segments.rows()[1:-1]:
        assert opens == datetime.combine(sunday, time(17), NEW_YORK)
        assert closes == datetime.combine(sunday + timedelta(days=5), time(17), NEW_YORK)
        sunday += timedelta(days=7)
    assert segments.height == 1 + 1042 + 1 and sunday == date(2024, 12, 29)
    assert segments.row(0)[0] == utc(2005, 1, 2, 22)
    assert segments.row(-1) == (utc(2024, 12, 29, 22), utc(2025, 1, 1))


@pytest.mark.parametrize(("timeframe", "minutes"), [("5m", 5), ("1h", 60), ("4h", 240)])
@pytest.mark.parametrize("phase", [None, timedelta(0), timedelta(minutes=3)])
def test_forex_expects_each_bar_within_which_the_market_is_open(
    timeframe: str, minutes: int, phase: timedelta | None
) -> None:
    for first in (utc(2024, 3, 8), utc(2024, 11, 1)):  # over both clock changes
        expected = []
        moment = first + (phase or timedelta(0))
        while moment < first + timedelta(days=5):
            if any(forex_is_open(moment + timedelta(minutes=passed)) for passed in range(minutes)):
                expected.append(moment)
            moment += timedelta(minutes=minutes)
        grid = calendar("24/5").grid(timeframe, first, first + timedelta(days=5), phase=phase)
        assert [moment for moment in grid if moment >= expected[0]] == expected


def test_days_weeks_and_months_carry_the_date_of_their_period() -> None:
    forex, always, york = calendar("24/5"), calendar(), calendar("XNYS")
    days = [date(2024, 3, 1) + timedelta(days=passed) for passed in range(31)]
    assert always.grid("1d", "2024-03-01", "2024-04-01").dt.date().to_list() == days
    assert forex.grid("1d", "2024-03-01", "2024-04-01").dt.date().to_list() == [d for d in days if d.weekday() < 5]
    mondays = [day for day in days if day.weekday() == 0]
    for market in (forex, always, york):
        assert market.grid("1w", "2024-03-01", "2024-04-01").dt.date().to_list() == mondays
        assert market.grid("1M", "2024-03-02", "2024-06-01").dt.date().to_list() == [date(2024, 4, 1), date(2024, 5, 1)]
    # the market at Shanghai rests for a whole week: no weekly bar
    assert date(2024, 2, 12) not in calendar("XSHG").grid("1w", "2024-01-01", "2024-03-01").dt.date().to_list()
    assert york.sessions("2024-03-29", "2024-04-01").is_empty()  # Good Friday, Saturday, Sunday
    assert york.grid("1m", "2024-03-29", "2024-04-01").is_empty()
    assert york.segments("2024-03-29", "2024-04-01").is_empty()


def test_a_phase_puts_bars_of_an_exchange_on_the_clock() -> None:
    bars = calendar("XNYS").grid("1h", "2024-07-03", "2024-07-04", phase=timedelta(0))  # 09:30 to 13:00 in summer
    assert [moment.hour for moment in bars] == [13, 14, 15, 16]
    lunch = calendar("XHKG").grid("4h", "2024-01-03", "2024-01-04", phase=timedelta(0))  # 01:30-04:00, 05:00-08:00
    assert [moment.hour for moment in lunch] == [0, 4]
    spans = calendar("XTKS").grid("4h", "2024-01-04", "2024-01-05", phase=timedelta(0))  # 00:00-02:30, 03:30-06:00
    assert [moment.hour for moment in spans] == [0, 4]
    for wrong in (timedelta(hours=1), timedelta(microseconds=-1), 5):
        with pytest.raises(InputError, match="phase="):
            calendar().grid("1h", "2024-01-01", "2024-01-02", phase=wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match="no phase"):
        calendar().grid("1d", "2024-01-01", "2024-01-02", phase=timedelta(hours=1))


def test_is_open_says_what_the_sessions_say() -> None:
    moments = pl.Series([utc(2024, 1, 2, 1, 29), utc(2024, 1, 2, 1, 30), None, utc(2024, 1, 2, 4), utc(2024, 1, 2, 5)])
    assert calendar("XHKG").is_open(moments).to_list() == [False, True, None, False, True]
    assert calendar("24/7").is_open(moments).to_list() == [True, True, None, True, True]
    around = pl.datetime_range(utc(2024, 3, 8), utc(2024, 3, 12), "7m", time_zone="UTC", eager=True).reverse()
    assert calendar("24/5").is_open(around).to_list() == [forex_is_open(moment) for moment in around]
    minutes = trading_index("XHKG", "1m", date(2024, 1, 1), date(2024, 2, 1))
    assert calendar("XHKG").is_open(minutes).all()
    assert calendar("XHKG").is_open(pl.Series([None], dtype=INSTANT)).to_list() == [None]
    assert calendar("XHKG").is_open(pl.Series([], dtype=INSTANT)).to_list() == []
    assert calendar("XHKG").is_open(pl.Series([utc(2024, 1, 6, 3)])).to_list() == [False]  # a Saturday
    with pytest.raises(InputError, match="no time zone"):
        calendar().is_open(pl.Series([datetime(2024, 1, 1)]))


def test_a_market_without_a_pause_has_one_segment() -> None:
    assert calendar().segments("2024-01-01", "2024-03-01").rows() == [(utc(2024, 1, 1), utc(2024, 3, 1))]
    week = calendar("CMES").segments("2024-01-08", "2024-01-12")  # its sessions touch
    assert week.rows() == [(utc(2024, 1, 8), utc(2024, 1, 12))]
    assert calendar().segments("2024-01-01", "2024-01-01").is_empty()
    assert calendar("XHKG").segments(utc(2024, 1, 2, 3), utc(2024, 1, 2, 6)).rows() == [
        (utc(2024, 1, 2, 3), utc(2024, 1, 2, 4)),
        (utc(2024, 1, 2, 5), utc(2024, 1, 2, 6)),
    ]


def test_history_before_the_default_of_exchange_calendars_is_there() -> None:
    assert calendar("XNYS").sessions("1970-01-01", "1971-01-01").height == 254  # as the exchange itself counts
    assert calendar("XNYS").sessions("2035-07-03", "2035-07-06")["session"].to_list() == [
        date(2035, 7, 3),
        date(2035, 7, 5),
    ]


def test_the_slots_count_and_number_the_grid() -> None:
    slots = calendar("XHKG").slots("30m", "2024-01-01", "2024-01-10")
    grid = calendar("XHKG").grid("30m", "2024-01-01", "2024-01-10").to_list()
    probes = [utc(2024, 1, 1) + timedelta(minutes=10 * passed) for passed in range(-20, 1400)]
    floor = slots.floor(pl.Series(probes)).to_list()
    place = slots.place(pl.Series(probes)).to_list()
    for probe, below, exact in zip(probes, floor, place, strict=True):
        assert below == sum(moment <= probe for moment in grid) - 1
        assert exact == (grid.index(probe) if probe in grid else None)
    numbers = pl.Series([-1, 0, len(grid) - 1, len(grid), None])
    assert slots.at(numbers).to_list() == [None, grid[0], grid[-1], None, None]


OWN = pl.DataFrame(
    {
        "open": [utc(2024, 1, 1, 8), utc(2024, 1, 2, 8), utc(2024, 1, 4, 8)],
        "close": [utc(2024, 1, 1, 16), utc(2024, 1, 2, 16), utc(2024, 1, 4, 11)],
        "break_start": [utc(2024, 1, 1, 12), None, None],
        "break_end": [utc(2024, 1, 1, 13, 30), None, None],
    }
)


def test_own_sessions_make_a_calendar() -> None:
    mine = from_sessions(OWN, "desk")
    assert mine.name == "desk" and repr(mine) == "<Calendar desk>"
    assert calendar(mine) is mine
    assert [moment.strftime("%d %H:%M") for moment in mine.grid("2h", "2024-01-01", "2024-02-01")] == [
        "01 08:00", "01 10:00", "01 13:30", "01 15:30", "02 08:00", "02 10:00", "02 12:00", "02 14:00",
        "04 08:00", "04 10:00",
    ]  # fmt: skip
    assert mine.sessions("2024-01-02", "2024-01-05")["session"].to_list() == [date(2024, 1, 2), date(2024, 1, 4)]
    without = from_sessions(OWN.select("open", "close"), "plain").sessions("2024-01-01", "2024-01-05")
    assert without["break_start"].null_count() == 3
    again = from_sessions(mine.sessions("2024-01-01", "2024-02-01"), "again")
    assert again.grid("1h", "2024-01-01", "2024-02-01").equals(mine.grid("1h", "2024-01-01", "2024-02-01"))
    dated = from_sessions(OWN.with_columns(date=pl.col("open").dt.date().dt.offset_by("1d")), "dated")
    assert dated.grid("1d", "2024-01-01", "2024-02-01").dt.day().to_list() == [2, 3, 5]
    zoned = from_sessions(
        OWN.with_columns(pl.all().dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ms")), "zoned"
    )
    assert zoned.grid("1h", "2024-01-01", "2024-02-01").equals(mine.grid("1h", "2024-01-01", "2024-02-01"))
    never = from_sessions(OWN.head(0), "never")
    assert never.grid("1m", "2024-01-01", "2025-01-01").is_empty()
    assert never.grid("1M", "2024-01-01", "2025-01-01").is_empty()
    assert never.is_open(OWN["open"]).to_list() == [False] * 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"open": pl.col("close")}, "row 0 of the sessions does not open before it closes.*2 more rows"),
        ({"break_end": pl.col("break_start")}, "row 0 .* open < break_start < break_end < close"),
        ({"break_start": pl.col("open")}, "row 1 .* one end of its break only"),
        ({"break_end": pl.lit(None)}, "row 0 .* one end of its break only"),
        ({"close": pl.col("close").dt.offset_by("17h")}, "row 1 .* before the session of the row before has closed"),
        ({"date": pl.lit(date(2024, 1, 1))}, "row 1 .* date that is not after"),
        ({"date": pl.lit("2024-01-01")}, "column 'date' is String, not Date"),
        ({"open": pl.lit(None, INSTANT)}, "row 0 .* no date, open or close"),
        ({"open": pl.col("open").dt.replace_time_zone(None)}, "open has no time zone"),
        ({"close": pl.lit(5)}, "close is Int32, not a column of aware datetimes"),
    ],
)
def test_own_sessions_that_cannot_be_are_refused(change: dict[str, pl.Expr], message: str) -> None:
    with pytest.raises(InputError, match=message):
        from_sessions(OWN.with_columns(**change), "mine")


def test_own_sessions_need_their_columns_order_and_a_free_name() -> None:
    with pytest.raises(InputError, match="lack the column 'close'"):
        from_sessions(OWN.drop("close"), "mine")
    with pytest.raises(InputError, match="sort them by open"):
        from_sessions(OWN.reverse(), "mine")
    with pytest.raises(InputError, match="one of WallE's own"):
        from_sessions(OWN, "24/7")
    with pytest.raises(InputError, match="finer than a microsecond"):
        check_instants(pl.Series([1], dtype=pl.Datetime("ns", "UTC")), "times")


def test_an_unknown_calendar_names_near_ones() -> None:
    for wrong, near in (("xnys", "XNYS"), ("NASDQ", "NASDAQ"), ("24/6", "24/7")):
        with pytest.raises(UnknownCalendar, match=f"unknown calendar '{wrong}'; did you mean '{near}'") as caught:
            calendar(wrong)
        assert caught.value.name == wrong and caught.value.suggestions[0] == near
    with pytest.raises(InputError, match="Allowed: '24/7', '24/5'"):
        calendar("Atlantis Commodity Board")
    with pytest.raises(InputError, match="not a text"):
        calendar(7)  # type: ignore[arg-type]  # wrong on purpose
    assert calendar("NASDAQ") is calendar("XNYS")


def test_a_range_beyond_a_calendar_is_refused() -> None:
    with pytest.raises(InputError, match=r"XTKS reaches from 1997-01-01 to .*, not from 1980-01-01"):
        calendar("XTKS").grid("1d", "1980-01-01", "2000-01-01")
    with pytest.raises(InputError, match="XHKG reaches from 1970-01-01 to 2049-12-31"):
        calendar("XHKG").is_open(pl.Series([utc(2051, 1, 1)]))
    with pytest.raises(InputError, match="XNYS reaches from 1970-01-01 to 2049-12-31"):
        calendar("XNYS").sessions("1962-01-01", "1963-01-01")  # exchange_calendars gives it no holiday there
    with pytest.raises(InputError, match="both ends"):
        calendar().grid("1d", "2024-01-01", None)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match="ends before it starts"):
        calendar().grid("1d", "2024-01-02", "2024-01-01")
    assert calendar("XHKG").grid("1d", "2049-12-01", "2050-01-01").len() > 15
    assert calendar().grid("1d", "0001-01-01", "0001-01-03").len() == 2


def test_what_exchange_calendars_cannot_make_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    module = pytest.importorskip("exchange_calendars", reason="the extra calendars is not installed")

    def fail(name: str) -> None:
        raise NotImplementedError("implemented by subclasses")

    monkeypatch.setattr(module, "get_calendar", fail)
    monkeypatch.delitem(calendars._calendars, "XLON", raising=False)  # another test may have made it
    with pytest.raises(ConfigurationError, match=r"cannot make the calendar 'XLON'.*implemented by subclasses"):
        calendar("XLON")


def test_without_exchange_calendars_the_way_to_get_it_is_told() -> None:
    script = """
import sys
import walle.calendars as c
import walle.bars.coverage, walle.bars.transform
assert not {"pandas", "exchange_calendars", "numpy"} & set(sys.modules)
sys.modules["exchange_calendars"] = None
assert c.calendar("24/5").grid("1h", "2024-01-01", "2024-01-02").len() == 24
try:
    c.calendar("XNYS")
except c.ConfigurationError as error:
    print(error)
"""
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'walle[calendars]'" in answer.stdout
