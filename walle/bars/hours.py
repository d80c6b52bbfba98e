"""Recognise the hours of a market from the opening times of its bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from walle.bars.coverage import own_phase
from walle.bars.exchanges import EXCHANGES
from walle.calendars import calendar
from walle.errors import ConfigurationError, InputError
from walle.timeframe import is_calendar, length
from walle.validation import MICROSECOND, from_microseconds

__all__ = ["SAMPLE", "Hours", "hours_of"]

SAMPLE = {True: timedelta(days=365), False: timedelta(days=56)}
"""How much of a series is looked at: of bars of a day or longer, and of shorter ones."""

_ROUND_THE_CLOCK = ("24/5", "CMES")
_OF_DATES = ("XNYS", "XLON", "XETR", "XTKS", "XHKG", "24/5")
_LEAST_DAYS, _LEAST_SATURDAYS = 8, 2
_SLACK = 30
_FITS, _AS_WELL, _EXACT = 0.9, 0.005, 0.999


@dataclass(frozen=True, slots=True)
class Hours:
    """When a market that closes seems to be open.

    Parameters
    ----------
    pattern : str
        In words: ``Monday to Friday from 09:30 to 16:00 (America/New_York)``.
    calendars : tuple of str
        The calendars whose sessions the bars fit best; empty if none does, or if exchange_calendars is not installed.
    """

    pattern: str
    calendars: tuple[str, ...]


def hours_of(times: pl.Series, timeframe: str) -> Hours | None:
    """Return when the market of a series seems to be open, or None if it does not close at weekends.

    Parameters
    ----------
    times : polars.Series
        Sorted opening times (UTC); :data:`SAMPLE` says how much of them is enough.
    timeframe : str
        ``1d`` or shorter.

    Notes
    -----
    No bar may open on a Saturday (UTC), two of which lie in the range, or on most Sundays. The calendars that are tried
    are a short list, chosen by the first and last bars of a day on the clock of each exchange.
    """
    days = times.dt.date().unique().sort()
    if days.len() < _LEAST_DAYS or (is_calendar(timeframe) and timeframe != "1d"):
        return None
    whole = pl.date_range(days[0], days[-1], eager=True)
    if (whole.dt.weekday() == 6).sum() < _LEAST_SATURDAYS or (days.dt.weekday() == 6).any():
        return None
    if is_calendar(timeframe):
        if (days.dt.weekday() == 7).any() or 2 * days.len() < whole.len():
            return None
        return Hours("Monday to Friday", _best(_OF_DATES, times, timeframe))
    step = length(timeframe) // timedelta(minutes=1)
    if times.dt.hour().n_unique() * max(step, 60) >= 22 * 60:
        return Hours("around the clock from Monday to Friday", _best(_ROUND_THE_CLOCK, times, timeframe))
    near = [name for name, hours in EXCHANGES.items() if _is_near(times, step, *hours)]
    first, last = (str(end)[:5] for end in (times.dt.time().min(), times.dt.time().max()))
    pattern = f"Monday to Friday, with bars from {first} to {last} UTC"
    if near:
        zone, opens, closes = EXCHANGES[near[0]]
        pattern = f"Monday to Friday from {_clock(opens)} to {_clock(closes)} ({zone})"
    return Hours(pattern, _best(near, times, timeframe))


def _is_near(times: pl.Series, step: int, zone: str, opens: int, closes: int) -> bool:
    """Return whether the usual first and last bars of a day are those of a session."""
    local = times.dt.convert_time_zone(zone)
    minutes = local.dt.hour().cast(pl.Int64) * 60 + local.dt.minute()
    ends = (
        pl.DataFrame({"day": local.dt.date(), "minute": minutes})
        .group_by("day")
        .agg(first=pl.min("minute"), last=pl.max("minute"))
    )
    first, last = (int(ends[name].median()) for name in ("first", "last"))  # type: ignore[arg-type]  # of some days
    return abs(first - opens) < max(step, _SLACK) and abs(last + step - closes) <= max(step, _SLACK)


def _best(names: Sequence[str], times: pl.Series, timeframe: str) -> tuple[str, ...]:
    scores: dict[str, float] = {}
    for name in names:
        scores[name] = _score(name, times, timeframe)
        if name == "XNYS" and scores[name] > _EXACT:
            break  # making further calendars takes seconds, and this one is by far the most common
    best = max(scores.values(), default=0.0)
    return tuple(name for name, score in scores.items() if score >= max(_FITS, best - _AS_WELL))


def _score(name: str, times: pl.Series, timeframe: str) -> float:
    """Return how well bars and the slots of a calendar agree, from 0 to 1 (the Sorensen-Dice coefficient)."""
    lo, hi = (from_microseconds(int(end)) for end in (times.to_physical()[0], times.to_physical()[-1]))
    try:
        market = calendar(name)
        phase = own_phase(times, timeframe) if market.continuous else None
        slots = market.slots(timeframe, lo, hi + MICROSECOND, phase=phase)
    except (ConfigurationError, InputError):  # exchange_calendars is not installed, or its calendar ends earlier
        return 0.0
    return 2 * float(slots.place(times).is_not_null().sum()) / (times.len() + slots.total)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
