"""The hint that a symbol without a calendar belongs to a market that closes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.bars.hours import SAMPLE, Hours, hours_of
from walle.bars.phase import Series
from walle.database import Database
from walle.notices import MissingCalendarWarning, warn
from walle.repositories.bars.calendars import Calendars
from walle.repositories.bars.series import StoredSeries
from walle.timeframe import TIMEFRAMES, is_calendar

__all__ = ["CalendarHints"]

_LOOK_AT = 20
"""Series that are looked at in one call: most are of one market."""
_SHOWN = 3


class CalendarHints:
    """Finds symbols whose bars look like those of a market with hours, and which have no calendar.

    Parameters
    ----------
    database : Database
    series : StoredSeries
    calendars : Calendars
    """

    def __init__(self, database: Database, series: StoredSeries, calendars: Calendars) -> None:
        self._database, self._series, self._calendars = database, series, calendars
        self._asked: set[str] = set()

    async def give(self, doubtful: Sequence[Series], session: AsyncSession | None) -> None:
        """Warn once of symbols whose bars seem to need a calendar.

        Parameters
        ----------
        doubtful : sequence of (str, str)
            Series of which many bars are missing under 24/7.
        session : AsyncSession, optional

        Warns
        -----
        MissingCalendarWarning
        """
        new = [series for series in doubtful if series[0] not in self._asked]
        if not new:
            return
        given = set((await self._calendars.list(session))["symbol"])
        self._asked |= {symbol for symbol, _ in new if symbol not in given}
        if text := await self.text(new, session):
            warn(text, MissingCalendarWarning)

    async def text(self, doubtful: Sequence[Series], session: AsyncSession | None) -> str:
        """Return the hint, or an empty text."""
        given = set((await self._calendars.list(session))["symbol"])
        of_symbols = {symbol: timeframe for symbol, timeframe in doubtful if symbol not in given}
        known = {symbol: timeframe for symbol, timeframe in of_symbols.items() if timeframe in TIMEFRAMES}
        found: dict[Hours, list[str]] = {}
        for symbol, timeframe in [*known.items()][:_LOOK_AT]:
            times = await self._series.times(symbol, timeframe, None, None, session)
            hours = await self._database.in_thread(partial(_hours, times, timeframe))
            if hours is not None:
                found.setdefault(hours, []).append(symbol)
        return " ".join(_sentence(hours, symbols) for hours, symbols in found.items())


def _hours(times: pl.Series, timeframe: str) -> Hours | None:
    if times.is_empty():
        return None
    recent = times.search_sorted(times[-1] - SAMPLE[is_calendar(timeframe)])
    return hours_of(times.slice(int(recent)), timeframe)


def _sentence(hours: Hours, symbols: Sequence[str]) -> str:
    some = ", ".join(map(repr, symbols[:_SHOWN]))
    more = f" and {len(symbols) - _SHOWN:,} more" if len(symbols) > _SHOWN else ""
    have, open_, which = ("has", "opens", repr(symbols[0])) if len(symbols) == 1 else ("have", "open", f"[{some}]")
    text = (
        f"{some}{more} {have} no calendar, so that bars are expected at all hours (24/7), but {open_} only "
        f"{hours.pattern}"
    )
    if hours.calendars:
        names = " or ".join(hours.calendars)
        return f"{text}, like {names}. Say so: store.bars.set_calendar({which}, {hours.calendars[0]!r})."
    return (
        f"{text}. Say when the market is open: store.bars.set_calendar({which}, ...) with the name of an exchange "
        "(pip install 'walle[calendars]') or with walle.calendars.from_sessions(frame, name)."
    )
