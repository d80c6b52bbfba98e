"""The dates of bars of days, weeks and months that are stamped with instants, or with another day of their period."""

from __future__ import annotations

import polars as pl

from walle.bars.long_labels import long_closed, long_opened
from walle.calendars import MONDAY, Calendar
from walle.errors import InputError
from walle.frames import INSTANT
from walle.options import BarStamp
from walle.periods import begins
from walle.timeframe import has_anchor, length
from walle.validation import MICROSECOND, from_microseconds

__all__ = ["dated"]

_DAY = 86_400_000_000
_WEEK = 7 * _DAY
_MARGIN = 62 * _DAY


def dated(times: pl.Series, timeframe: str, market: Calendar, stamp: BarStamp, phase: int | None = None) -> pl.Series:
    """Return the date under which each bar of days, weeks or months of a series is kept.

    Parameters
    ----------
    times : polars.Series
        The stamps of one series: Datetime("us", "UTC"), in any order, perhaps with nulls.
    timeframe : str
        Of days, weeks or months.
    market : Calendar
    stamp : {"open", "close"}
        With ``open``, midnight UTC names a date; another instant belongs to the session that opens, closes or goes on
        then, or, while the market is closed, to the date on the clocks of its zone, if that is the date of a session or
        the instant is midnight there. A session that opens when another one closes comes first. A week or month may be
        named by its first day, by its first or its last session, and a month by its last day; and so may several days,
        weeks or months, for which all labels of a new series have to be the first or the last ones. With ``close``, the
        instant belongs to the session, week or month that ends then, or has ended within the last 24 hours (a week or
        month: since its last session); a week or month may be named by the date of its last session, a month by that of
        its last day.
    phase : int, optional
        The phase of the weeks, or of several days or months (:mod:`walle.periods`), if it is known.

    Returns
    -------
    polars.Series
        Datetime("us", "UTC"): midnight of the session's date, or of the first day of the week, month or period. A
        stamp of ``open`` that no rule covers stays as it is.

    Raises
    ------
    InputError
        If two bars get one date, or a stamp of ``close`` ends no session, week or month.
    """
    given = times.unique().drop_nulls().sort()
    if given.is_empty():
        return times
    kept = (_opened if stamp == "open" else _closed)(given.to_physical(), timeframe, market, phase)
    named = pl.DataFrame({"given": given, "date": kept.cast(INSTANT)})
    if named["date"].n_unique() < named.height:
        twice = named.filter(pl.col("date").is_duplicated()).sort("date", "given")
        one, two = twice["given"][:2]
        raise InputError(
            f"the bars of {timeframe} stamped {one} and {two} would both be that of {twice['date'][0]:%Y-%m-%d} under "
            f"calendar {market.name} with stamp={stamp!r}. Which is right cannot be told: check the calendar and the "
            "stamp, or give dates."
        )
    if named["date"].equals(named["given"]):
        return times
    return times.to_frame("given").join(named, on="given", how="left", maintain_order="left")["date"].alias(times.name)


def _opened(given: pl.Series, timeframe: str, market: Calendar, week: int | None) -> pl.Series:
    sessions = _sessions(given, market, timeframe)
    days = _dates_of_openings(given, sessions, market)
    if timeframe == "1d":
        return days
    if _is_long(timeframe):
        return long_opened(days, sessions["day"], timeframe, week)
    anchor = MONDAY if week is None else week
    start = _starts(days, timeframe, anchor)
    named = (days == start) | days.is_in(_edges(sessions, timeframe, anchor).implode())
    if timeframe == "1M":
        named |= days == _last_days(days)
    elif week is None and not named.all() and (days % _DAY == 0).all() and (days % _WEEK).n_unique() == 1:
        return days  # weeks that begin on another day
    return start.zip_with(named, days)


def _dates_of_openings(given: pl.Series, sessions: pl.DataFrame, market: Calendar) -> pl.Series:
    midnight = given % _DAY == 0
    if midnight.all() or market.name == "24/7" or sessions.is_empty():
        return given
    day, close = sessions["day"], sessions["close"]
    place = sessions["open"].search_sorted(given, "right").cast(pl.Int64) - 1
    place = place.set(place < 0, None)
    inside = (given <= close.gather(place)).fill_null(False)
    found = day.gather(place).set(~inside, None)
    if market.zone is not None:
        local = given.cast(INSTANT).dt.convert_time_zone(market.zone).dt.replace_time_zone(None)
        there = local.dt.truncate("1d").to_physical()
        by_date = there.set((local.to_physical() != there) & ~there.is_in(day.implode()), None)
        # one that belongs nowhere says that the stamps follow another rule
        if (found.is_not_null() | by_date.is_not_null() | midnight).all():
            found = found.zip_with(found.is_not_null(), by_date)
    found = given.zip_with(midnight, found)
    return found.zip_with(found.is_not_null(), given)


def _closed(given: pl.Series, timeframe: str, market: Calendar, week: int | None) -> pl.Series:
    sessions = _sessions(given, market, timeframe)
    if _is_long(timeframe):
        found, right = long_closed(given, sessions, timeframe, market, week)
        _refuse_no_ends(given, right, timeframe, market)
        return found
    anchor = week if week is not None else int(given[0]) % _WEEK if market.name == "24/7" else MONDAY
    if market.name == "24/7":
        ended = (given - 1) // _DAY * _DAY
        right = given % _DAY == 0
    else:
        place = sessions["close"].search_sorted(given, "right").cast(pl.Int64) - 1
        place = place.set(place < 0, None)
        ended = sessions["day"].gather(place)
        following = sessions["open"].shift(-1).fill_null(2**62).gather(place)
        right = given <= following
        if timeframe == "1d":
            right &= given - sessions["close"].gather(place) <= _DAY
    found = ended
    if timeframe != "1d":
        found = _starts(ended, timeframe, anchor)
        lasts = _edges(sessions, timeframe, anchor, first=False)
        if market.name == "24/7":
            right &= _last_days(ended) == ended if timeframe == "1M" else (given - anchor) % _WEEK == 0
        else:
            right &= ended.is_in(lasts.implode())
        by_date = given.is_in(lasts.implode())
        by_date |= given == _last_days(given) if timeframe == "1M" else False
        found = _starts(given, timeframe, anchor).zip_with(by_date, found)
        right |= by_date
    _refuse_no_ends(given, right, timeframe, market)
    return found


def _refuse_no_ends(given: pl.Series, right: pl.Series, timeframe: str, market: Calendar) -> None:
    if not right.fill_null(False).all():
        wrong = from_microseconds(int(given.filter(~right.fill_null(False))[0]))
        what = {"1d": "session", "1w": "week", "1M": "month"}.get(timeframe, f"period of {timeframe}")
        raise InputError(
            f"stamp='close', but no {what} of calendar {market.name} ends at {wrong:%Y-%m-%d %H:%M} UTC, and none has "
            f"just ended. If the bars of {timeframe} carry dates or opening times, leave stamp out; else check the "
            "calendar (calendar=, store.bars.set_calendar)."
        )


def _is_long(timeframe: str) -> bool:
    return has_anchor(timeframe) and timeframe != "1w"


def _sessions(given: pl.Series, market: Calendar, timeframe: str) -> pl.DataFrame:
    """Return the sessions around some instants: day, open, close in microseconds; none for 24/7."""
    columns = (
        pl.col("session").cast(pl.Datetime("us")).to_physical().alias("day"),
        pl.col("open", "close").to_physical(),
    )
    margin = _MARGIN + length(timeframe) // MICROSECOND
    lo, hi = int(given[0]) - margin, int(given[-1]) + margin
    known = market.known(lo, hi)
    return (known.clear() if market.name == "24/7" else known).select(columns)


def _starts(days: pl.Series, timeframe: str, week: int) -> pl.Series:
    """Return the first day of the week or month of each day."""
    if timeframe == "1w":
        return days - (days - week) % _WEEK
    return begins(days.cast(pl.Datetime("us")).dt.truncate("1d").to_physical(), timeframe)


def _last_days(days: pl.Series) -> pl.Series:
    """Return the last day of the month of each instant."""
    return days.cast(pl.Datetime("us")).dt.truncate("1d").dt.month_end().to_physical()


def _edges(sessions: pl.DataFrame, timeframe: str, week: int, *, first: bool = True) -> pl.Series:
    """Return the days of the last session of each week or month, and by default of the first ones too."""
    days = sessions["day"]
    start = _starts(days, timeframe, week)
    last = days.filter((start != start.shift(-1)).fill_null(True))
    return pl.concat([days.filter((start != start.shift(1)).fill_null(True)), last]) if first else last
