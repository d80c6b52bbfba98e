"""The periods that bars of days, weeks and months stand for: where each begins and ends.

The bars of one series begin whole periods after one another, from an anchor: weeks from Sundays, or quarters from
February. It is kept as a phase, the microseconds from 1970-01-01 to the first period that begins from there on: below
three days for ``3d``, a day in the first two weeks of 1970 for ``2w``, the first of January, February or March 1970 for
``3M``. A period is counted in days of the calendar, whether a market is open on them or not.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from walle.timeframe import has_anchor, length, parts
from walle.validation import MICROSECOND

__all__ = [
    "MONDAY",
    "begins",
    "check_phase",
    "following",
    "offset",
    "phases_of",
    "usual_day",
    "usual_phase",
    "usual_value",
]

MONDAY = timedelta(days=4) // MICROSECOND
"""The phase of weeks that begin on Mondays: the first Monday of 1970, in microseconds."""

_DAY = timedelta(days=1) // MICROSECOND
_YEAR = 1970


def offset(timeframe: str) -> str:
    """Return a timeframe of days, weeks or months as Polars spells it."""
    return timeframe.replace("M", "mo")


def usual_phase(timeframe: str) -> int:
    """Return the phase of periods that begin where none is known: on 1970-01-01, its first Monday or its January."""
    return MONDAY if timeframe[-1] == "w" else 0


def phases_of(days: pl.Series, timeframe: str) -> pl.Series:
    """Return the phase of the periods that would begin on each day.

    Parameters
    ----------
    days : polars.Series
        Int64, microseconds since 1970-01-01, whole days; perhaps with nulls.
    timeframe : str
        Of days, weeks or months.

    Returns
    -------
    polars.Series
        Int64. Of months, that of the month in which the day lies.
    """
    count, unit = parts(timeframe)
    if unit == "M":
        return _first_days(_months(days) % count).alias(days.name)
    return days % (length(timeframe) // MICROSECOND)


def begins(days: pl.Series, timeframe: str, phase: int | None = None) -> pl.Series:
    """Return the first day of the period in which each instant lies: Int64, microseconds since 1970-01-01.

    Parameters
    ----------
    days : polars.Series
        Int64, microseconds since 1970-01-01.
    timeframe : str
        Of days, weeks or months.
    phase : int, optional
        By default, that of :func:`usual_phase`.
    """
    count, unit = parts(timeframe)
    own = usual_phase(timeframe) if phase is None else phase
    if unit == "M":
        months, first = _months(days), int(_months(pl.Series([own]))[0])
        return _first_days(months - (months - first) % count).alias(days.name)
    return days - (days - own) % (length(timeframe) // MICROSECOND)


def following(starts: pl.Series, timeframe: str) -> pl.Series:
    """Return the first day after each period, given its own first day: Int64, microseconds since 1970-01-01."""
    count, unit = parts(timeframe)
    if unit == "M":
        return _first_days(_months(starts) + count).alias(starts.name)
    return starts + length(timeframe) // MICROSECOND


def usual_day(days: pl.Series, timeframe: str) -> int:
    """Return the most frequent phase of the periods that would begin on each of some days, of several the lowest."""
    return usual_value(phases_of(days.drop_nulls(), timeframe))


def usual_value(values: pl.Series) -> int:
    """Return the most frequent of some integers, of several the lowest."""
    counts = values.alias("value").value_counts()
    return int(counts.sort(["count", "value"], descending=[True, False])["value"][0])


def check_phase(phase: int, timeframe: str) -> bool:
    """Return whether a number of microseconds is a phase of a timeframe of days, weeks or months."""
    if not has_anchor(timeframe):
        return phase == 0
    return phase % _DAY == 0 and bool(phases_of(pl.Series([phase]), timeframe)[0] == phase)


def _months(days: pl.Series) -> pl.Series:
    """Return the number of the month of each instant, from 0 for January 1970."""
    dates = days.cast(pl.Datetime("us"))
    return (dates.dt.year().cast(pl.Int64) - _YEAR) * 12 + dates.dt.month().cast(pl.Int64) - 1


def _first_days(months: pl.Series) -> pl.Series:
    """Return the first day of each month by its number: Int64, microseconds since 1970-01-01."""
    number = pl.col("number")
    first = pl.datetime(_YEAR + number // 12, number % 12 + 1, 1, time_unit="us").to_physical()
    return months.to_frame("number").select(first.alias("number")).to_series()
