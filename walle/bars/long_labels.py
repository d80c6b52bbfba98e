"""The first days of periods of several days, weeks or months whose bars are stamped with another day or instant.

Where a series is new, its labels have to tell what they are: the first days or sessions of periods, or the last ones,
and where the periods begin. Each reading is tried, and the first one holds that explains all labels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl

from walle.calendars import Calendar
from walle.periods import begins, following, usual_day
from walle.timeframe import parts

__all__ = ["long_closed", "long_opened"]

_DAY = 86_400_000_000


@dataclass(frozen=True, slots=True)
class _Periods:
    """The periods of one phase, and which days begin or end them."""

    timeframe: str
    phase: int
    sessions: pl.Series

    def starts(self, days: pl.Series) -> pl.Series:
        return begins(days, self.timeframe, self.phase)

    def is_first(self, days: pl.Series) -> pl.Series:
        """Return whether each day is the first one or the first session of its period."""
        own = self.starts(self.sessions)
        firsts = self.sessions.filter((own != own.shift(1)).fill_null(True))
        return (days == self.starts(days)) | days.is_in(firsts.implode())

    def is_last(self, days: pl.Series, *, whole: bool = False) -> pl.Series:
        """Return whether each day is the last session of its period; of months, or ``whole``, also the last day."""
        own = self.starts(self.sessions)
        lasts = self.sessions.filter((own != own.shift(-1)).fill_null(True))
        found = days.is_in(lasts.implode())
        if whole or self.timeframe.endswith("M"):
            found |= following(self.starts(days), self.timeframe) == days + _DAY
        return found


def long_opened(days: pl.Series, sessions: pl.Series, timeframe: str, phase: int | None) -> pl.Series:
    """Return the first day of the period that each day names; a day that names none stays as it is.

    Parameters
    ----------
    days, sessions : polars.Series
        Int64, microseconds since 1970 UTC, ascending: the days of labels, and those of the sessions around them.
    timeframe : str
        Of several days, weeks or months.
    phase : int, optional
        That of the series, if it is known: then the first and the last sessions both name a period.
    """
    found = []
    for periods, kind in _readings(days, sessions, timeframe, phase):
        named = pl.Series("named", [False], pl.Boolean).new_from_index(0, days.len())
        if kind != "last":
            named |= periods.is_first(days)
        if kind != "first":
            named |= periods.is_last(days)
        found.append((named, periods))
        if named.all():
            break
    named, periods = max(found, key=lambda pair: int(pair[0].sum()))
    return periods.starts(days).zip_with(named, days)


def long_closed(
    given: pl.Series, sessions: pl.DataFrame, timeframe: str, market: Calendar, phase: int | None
) -> tuple[pl.Series, pl.Series]:
    """Return the first day of the period that each instant ends, or of which it is the last date, and whether it is so.

    Parameters
    ----------
    given : polars.Series
        Int64, microseconds since 1970 UTC, ascending.
    sessions : polars.DataFrame
        day, open, close (Int64): the sessions around the instants; none for 24/7.
    timeframe : str
        Of several days, weeks or months.
    market : Calendar
    phase : int, optional
        That of the series, if it is known.
    """
    always, days = market.name == "24/7", sessions["day"]
    ended, right, exact = (given - 1) // _DAY * _DAY, given % _DAY == 0, False
    if not always:
        place = sessions["close"].search_sorted(given, "right").cast(pl.Int64) - 1
        place = place.set(place < 0, None)
        ended, exact = days.gather(place), bool((sessions["close"].gather(place) == given).all())
        right = (given <= sessions["open"].shift(-1).fill_null(2**62).gather(place)).fill_null(False)
    midnight = given % _DAY == 0
    month_end = following(begins(given // _DAY * _DAY, "1M"), "1M") == given + _DAY if timeframe.endswith("M") else None
    dates = midnight & (given.is_in(days.implode()) | (False if month_end is None else month_end))
    named = given.zip_with(dates, ended).alias("day")
    best: tuple[pl.Series, pl.Series] | None = None
    for own, by_date in ((ended, False), (named, True)) if exact else ((named, True), (ended, False)):
        known = own.fill_null(0)
        fits_time = (right | dates) if by_date else right
        for periods, _ in _readings(known, days, timeframe, phase, last=True):
            fits = fits_time & periods.is_last(known, whole=always) & own.is_not_null()
            if best is None or fits.sum() > best[1].sum():
                best = (periods.starts(known), fits)
            if fits.all():
                return best
    assert best is not None  # there is always a reading
    return best


def _readings(
    days: pl.Series, sessions: pl.Series, timeframe: str, phase: int | None, *, last: bool = False
) -> Iterator[tuple[_Periods, str]]:
    """Yield the periods that labels may stand for, the likeliest first, and which of their days they are."""
    if phase is not None:
        yield _Periods(timeframe, phase, sessions), "any"
        return
    unit = parts(timeframe)[1]
    one = {"d": None, "w": "1w", "M": "1M"}[unit]
    whole = days if one is None else begins(days, one)  # weeks are those from Monday
    after = days + _DAY if one is None else following(whole, one)
    if not last:
        yield _Periods(timeframe, usual_day(whole, timeframe), sessions), "first"
    yield _Periods(timeframe, usual_day(after, timeframe), sessions), "last"
    if unit == "w" and not (last and sessions.len()):  # from any other day, but for ends of sessions
        begun, kind = (days + _DAY, "last") if last else (days, "first")
        yield _Periods(timeframe, usual_day(begun, timeframe), sessions), kind
