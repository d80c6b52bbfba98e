"""The hours of a market are recognised by its bars, and there are none where it never closes."""

from __future__ import annotations

import sys
import warnings
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from walle.bars.hours import hours_of
from walle.calendars import calendar
from walle.frames import INSTANT

START, END = "2025-03-03", "2025-05-01"


def opens_of(exchange: str, step: str) -> pl.Series:
    """Opening times by the exchange_calendars library itself."""
    import exchange_calendars

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, about pandas
        market = exchange_calendars.get_calendar(exchange, start=START, end=END)
    if step == "1d":
        days = [day.to_pydatetime().replace(tzinfo=UTC) for day in market.sessions]
        return pl.Series(days, dtype=INSTANT)
    length = {"5m": timedelta(minutes=5), "1h": timedelta(hours=1)}[step]
    times = []
    for day in market.sessions:
        close = market.session_close(day)
        parts = [(market.session_open(day), close)]
        if market.session_has_break(day):
            parts = [(parts[0][0], market.session_break_start(day)), (market.session_break_end(day), close)]
        for start, stop in parts:
            time = start.to_pydatetime()
            while time < stop.to_pydatetime():
                times.append(time)
                time += length
    return pl.Series(times, dtype=INSTANT)


@pytest.mark.parametrize("timeframe", ["5m", "1h", "1d"])
@pytest.mark.parametrize("exchange", ["XNYS", "XLON", "XTKS", "XHKG"])
def test_the_calendar_of_an_exchange_is_recognised(exchange: str, timeframe: str) -> None:
    pytest.importorskip("exchange_calendars")
    found = hours_of(opens_of(exchange, timeframe), timeframe)
    assert found is not None
    assert found.calendars[0] == exchange
    assert found.pattern.startswith("Monday to Friday")


def test_foreign_exchange_is_recognised() -> None:
    found = hours_of(calendar("24/5").grid("5m", START, END), "5m")
    assert found is not None
    assert found.calendars[0] == "24/5"
    assert "around the clock" in found.pattern


def test_without_the_library_the_hours_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    days = [datetime(2025, 3, 3, tzinfo=UTC) + timedelta(days=number) for number in range(28)]
    times = [
        day + timedelta(hours=8, minutes=minute) for day in days if day.weekday() < 5 for minute in range(0, 510, 5)
    ]
    monkeypatch.setitem(sys.modules, "exchange_calendars", None)
    monkeypatch.setattr("walle.calendars._calendars", {})
    found = hours_of(pl.Series(times, dtype=INSTANT), "5m")
    assert found is not None
    assert (found.calendars, found.pattern) == ((), "Monday to Friday from 08:00 to 16:30 (Europe/London)")
    odd = pl.Series([time + timedelta(hours=9) for time in times if time.hour < 12], dtype=INSTANT)
    found = hours_of(odd, "5m")
    assert found is not None
    assert (found.calendars, found.pattern) == ((), "Monday to Friday, with bars from 17:00 to 20:55 UTC")


def minutes(days: int, step: int = 60) -> pl.Series:
    first = datetime(2025, 3, 3, tzinfo=UTC)
    return pl.Series([first + timedelta(minutes=step * number) for number in range(days * 1440 // step)], dtype=INSTANT)


@pytest.mark.parametrize(
    ("times", "timeframe"),
    [
        (minutes(28), "1h"),
        (minutes(28).filter(minutes(28).dt.day() != 8), "1h"),  # one Saturday's outage
        (minutes(28, 1440), "1d"),
        (minutes(6), "1h"),  # no weekend yet
        (minutes(12).filter(minutes(12).dt.weekday() <= 5), "1h"),  # one weekend only
        (minutes(56, 10_080), "1w"),
        (minutes(56, 10_080), "1d"),  # Mondays
        (minutes(0), "1h"),
    ],
)
def test_a_market_that_may_never_close_gets_no_hint(times: pl.Series, timeframe: str) -> None:
    assert hours_of(times, timeframe) is None
