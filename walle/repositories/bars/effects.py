"""Warnings of calls about markets that apply to nothing that is stored."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import polars as pl

from walle.bars.coverage import find_gaps
from walle.calendars import Calendar
from walle.errors import InputError
from walle.notices import NoEffectWarning, warn
from walle.repositories.common import near
from walle.timeframe import TIMEFRAMES
from walle.validation import MICROSECOND

__all__ = ["gaps_around", "warn_unexplaining", "warn_unknown", "warn_unset"]

_SHOWN = 5


def warn_unknown(symbols: Sequence[str], stored: Collection[str]) -> None:
    """Warn of symbols without stored bars; not in a store without any bars, which is being set up."""
    unknown = [name for name in symbols if name not in stored]
    if unknown and stored:
        warn(
            f"the calendar is set, but no bars are stored of {_named(unknown, stored)}. It applies as soon as there "
            "are bars of that name.",
            NoEffectWarning,
        )


def warn_unset(symbols: Sequence[str], known: Collection[str]) -> None:
    """Warn of symbols whose calendar was to be removed and was never set."""
    unset = [name for name in symbols if name not in known]
    if unset:
        warn(f"there was no calendar to remove of {_named(unset, known)}: it is 24/7 as before.", NoEffectWarning)


def gaps_around(
    times: pl.Series, timeframe: str, market: Calendar, start: datetime, end: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the gaps that reach into ``[start, end)``, and those that lie in it entirely.

    Parameters
    ----------
    times : polars.Series
        All opening times of a series, sorted.
    timeframe : str
    market : Calendar
    start, end : datetime
    """
    before, after = int(times.search_sorted(start)), int(times.search_sorted(end))
    around = times.slice(max(0, before - 1), after - max(0, before - 1) + 1)
    lo = start if before == 0 else min(start, around[0])
    hi = end if after == times.len() else max(end, around[-1] + MICROSECOND)
    try:
        found = find_gaps(around, timeframe, market, lo, hi)
    except InputError:  # beyond the bounds of the calendar nothing is known
        return pl.DataFrame(), pl.DataFrame()
    touching = found.filter(pl.col("start") < end, pl.col("end") > start)
    return touching, touching.filter(pl.col("start") >= start, pl.col("end") <= end)


def warn_unexplaining(symbol: str, start: datetime, end: datetime, found: Sequence[tuple[str, pl.DataFrame]]) -> None:
    """Warn of an explanation that explains no gap.

    Parameters
    ----------
    symbol : str
    start, end : datetime
    found : sequence of (str, polars.DataFrame)
        Each timeframe of the symbol, and the gaps that reach into the range; none of them lies in it entirely.
    """
    span = f"[{start.isoformat()}, {end.isoformat()})"
    partly = [(timeframe, gaps) for timeframe, gaps in found if gaps.height]
    if partly:
        timeframe, gaps = partly[0]
        first, last = gaps["start"][0], gaps["end"][0]
        warn(
            f"the explanation is stored, but {span} covers no gap of {symbol!r} entirely, so that none is explained: "
            f"the one of {timeframe} reaches from {first.isoformat()} to {last.isoformat()}.",
            NoEffectWarning,
        )
        return
    names = ", ".join(sorted((timeframe for timeframe, _ in found), key=lambda name: TIMEFRAMES.get(name, MICROSECOND)))
    warn(
        f"the explanation is stored, but no {names} bar of {symbol!r} is missing that is expected in {span}.",
        NoEffectWarning,
    )


def _named(symbols: Sequence[str], known: Collection[str]) -> str:
    texts = []
    for name in symbols[:_SHOWN]:
        alike = near(name, sorted(known))
        texts.append(f"{name!r}" + (f" (did you mean {' or '.join(map(repr, alike))}?)" if alike else ""))
    return ", ".join(texts) + (f" and {len(symbols) - _SHOWN:,} more" if len(symbols) > _SHOWN else "")
