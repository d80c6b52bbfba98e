"""When bars end: each by the sessions of its market."""

from __future__ import annotations

import polars as pl

from walle.calendars import Calendar, plain_ends
from walle.frames import INSTANT
from walle.timeframe import check_timeframe, is_calendar, length
from walle.validation import MICROSECOND

__all__ = ["bar_ends"]

_DAY = 86_400_000_000


def bar_ends(times: pl.Series, timeframe: str, calendar: Calendar) -> pl.Series:
    """Return the instant at which each bar of a series ends.

    An intraday bar ends when its length has passed, but not after the close of its session or the start of its break,
    nor after the next one of ``times`` (a short first hour ends on the clock). The session of a bar that opens while
    the market is closed is the one that opens within its length; sessions of 24/7 and 24/5 that touch are one. A bar of
    ``1d`` ends at the close of the session of its date, a longer one at the close of the last session in its period.
    Where the calendar knows no session, such as beyond its bounds, the length counts, and for a date the end of the day
    (week, month) in UTC.

    Parameters
    ----------
    times : polars.Series
        The opening times of one series: Datetime("us", "UTC"), in any order, perhaps with duplicates.
    timeframe : str
    calendar : Calendar

    Returns
    -------
    polars.Series
        Datetime("us", "UTC"), named end; null for null. It is after the opening time, unless the session of a date
        closes before that date begins in UTC.

    Raises
    ------
    UnknownTimeframe

    Examples
    --------
    >>> from walle.calendars import calendar
    >>> days = pl.Series(["2024-07-03", "2024-07-04", "2024-07-05"]).str.to_datetime(time_unit="us", time_zone="UTC")
    >>> bar_ends(days, "1d", calendar("XNYS")).dt.to_string("%d %H:%M").to_list()  # early close, holiday, summer time
    ['03 17:00', '05 00:00', '05 20:00']
    """
    plain = plain_ends(times, check_timeframe(timeframe)).alias("end")
    known = times.drop_nulls().to_physical()
    if known.is_empty():
        return plain
    if is_calendar(timeframe):
        return _of_dates(times, plain, calendar)
    opened = _after_next(times, plain)
    return opened if calendar.name == "24/7" else _in_session(times, opened, timeframe, calendar)


def _after_next(times: pl.Series, ends: pl.Series) -> pl.Series:
    """Cut the end of each bar to the next opening time."""
    opens = times.drop_nulls()
    if not (opens.to_physical().diff().drop_nulls() > 0).all():
        opens = opens.unique().sort()
    place = opens.search_sorted(times.fill_null(opens[0]), "right").cast(pl.Int64)
    following = opens.gather(place.set(place >= opens.len(), None))
    return ends.zip_with((ends <= following).fill_null(True), following)


def _in_session(times: pl.Series, ends: pl.Series, timeframe: str, calendar: Calendar) -> pl.Series:
    """Cut the end of each bar to the close of its session."""
    opens, step = times.to_physical(), length(timeframe) // MICROSECOND
    stretches = calendar.stretches(int(opens.min()), int(opens.max()) + step)  # type: ignore[arg-type]  # integers
    if calendar.continuous:
        parts = (pl.col("open") != pl.col("close").shift(1)).fill_null(True).cum_sum()
        stretches = stretches.group_by(parts.alias("part"), maintain_order=True).agg(
            pl.col("open").first(), pl.col("close").last()
        )
    if stretches.is_empty():
        return ends
    place = stretches["close"].search_sorted(opens.fill_null(0), "right").cast(pl.Int64)  # a close is after its bars
    place = place.set(place >= stretches.height, None)
    close = stretches["close"].gather(place).set((stretches["open"].gather(place) >= opens + step), None)
    cut = (close < ends.to_physical()).fill_null(False)
    return ends.zip_with(~cut, close.cast(INSTANT))


def _of_dates(times: pl.Series, ends: pl.Series, calendar: Calendar) -> pl.Series:
    """Return the close of the last session of each period, from its date to the end without a calendar."""
    if calendar.name == "24/7":
        return ends
    first, stop = times.to_physical(), ends.to_physical()
    sessions = calendar.known(int(first.min()) - _DAY, int(stop.max()) + _DAY)  # type: ignore[arg-type]  # integers
    days = sessions["session"].cast(pl.Datetime("us")).to_physical()
    if days.is_empty():
        return ends
    place = days.search_sorted(stop.fill_null(0)).cast(pl.Int64) - 1
    place = place.set(place < 0, None)
    inside = days.gather(place) >= first
    if calendar.reach is not None:  # of a period that goes on after the last known day, the last session is not known
        last = pl.Series([calendar.reach[1]]).cast(pl.Datetime("us")).to_physical()[0] + _DAY
        inside &= stop <= last
    closes = sessions["close"].gather(place.set(~inside.fill_null(False), None))
    return ends.zip_with(closes.is_null(), closes).alias("end")
