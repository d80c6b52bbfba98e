"""The calendars of the symbols of a source, and the opening times of its bars by what their timestamps are."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.bars.ingest_source import BarOptions
from walle.bars.phase import Phases, Series
from walle.bars.stamps import restamped, unusual
from walle.calendars import Calendar
from walle.database import Database
from walle.repositories.bars.calendars import calendars_of

__all__ = ["Openings"]


class Openings:
    """Turns the timestamps of one source into opening times.

    Parameters
    ----------
    database : Database
    reading : BarOptions
    """

    def __init__(self, database: Database, reading: BarOptions) -> None:
        self._database, self._reading = database, reading
        self._markets: dict[str, Calendar] = {}

    async def markets(self, symbols: set[str], session: AsyncSession | None) -> dict[str, Calendar]:
        """Return the calendars of symbols: the one that the caller gave, or that of each."""
        given = self._reading.calendar
        if unknown := symbols - self._markets.keys():
            named = dict.fromkeys(unknown, given) if given else await calendars_of(self._database, unknown, session)
            self._markets |= {symbol: market for symbol, market in named.items() if market is not None}
        return {symbol: self._markets[symbol] for symbol in symbols}

    async def learn(self, phases: Phases, symbols: Collection[str], session: AsyncSession | None) -> bool:
        """Add the calendars of symbols to ``phases``, None for those without sessions; return whether one is new."""
        unknown = set(symbols) - phases.markets.keys()
        markets = await self.markets(unknown, session)
        phases.markets |= {symbol: None if market.continuous else market for symbol, market in markets.items()}
        return bool(unknown)

    async def of(
        self, bars: pl.DataFrame, series: Collection[Series], phases: Phases, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Return bars (columns of ``BARS``) with the times at which they open, or their dates.

        Rows of other series than ``series``, which no store can hold, stay as they are.

        Raises
        ------
        InputError
            As :func:`walle.bars.stamps.restamped`.
        """
        stamp = self._reading.stamp
        symbols = await self._database.in_thread(partial(unusual, bars, stamp))
        symbols &= {symbol for symbol, _ in series}
        if not symbols:
            return bars
        markets = await self.markets(symbols, session)
        return await self._database.in_thread(partial(restamped, bars, stamp, markets, phases.known))
