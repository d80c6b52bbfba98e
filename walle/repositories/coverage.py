"""What is there of the stored bars, and what is missing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.coverage import COVERAGE, GAPS, find_gaps, summarise
from walle.calendars import Calendar
from walle.calendars import calendar as find_calendar
from walle.database import Database
from walle.errors import UnknownSymbol
from walle.frames import BARS, expression, read
from walle.repositories.common import Time, check_name, in_range, near
from walle.timeframe import check_timeframe

__all__ = ["SERIES_COVERAGE", "BarCoverage"]

SERIES_COVERAGE = pl.Schema({"symbol": pl.String(), "timeframe": pl.String(), **COVERAGE})
"""One row is one series, and the columns of :data:`walle.bars.coverage.COVERAGE`."""

DEFAULT = "24/7"
"""The calendar of a market that never closes."""


class BarCoverage(ABC):
    """The part of the bars' repository that tells what is missing.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def coverage(
        self,
        symbol: str | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Tell of every series how much of it is there.

        Parameters
        ----------
        symbol, timeframe : str, optional
            Only these series.
        start, end : datetime, date, str or None
            Opening times in ``[start, end)``: ``end="2024-01-31"`` leaves that day out. None: from a series' first bar,
            to its last.
        calendar : str or Calendar, optional
            When the market is open: ``24/7`` (by default), ``24/5`` (foreign exchange), a name of exchange_calendars
            such as ``XNYS``, or a calendar of :func:`walle.calendars.from_sessions`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, first, last (UTC), bars, expected, missing, coverage (0 to 1; null when nothing is
            expected), gaps, longest_gap (in bars), unexpected (bars that open when the market was closed, or off the
            grid); sorted by symbol and timeframe. No row where no bar is stored.

        Raises
        ------
        UnknownSymbol
            When no bar of the named symbol is stored; near names are offered.
        UnknownCalendar, UnknownTimeframe, InputError
        ConfigurationError
            For an exchange, without the extra ``calendars``.
        """
        market = find_calendar(DEFAULT if calendar is None else calendar)
        rows = []
        for name, length in await self._series(symbol, timeframe, session):
            times = await self._times(name, length, start, end, session)
            row = await self._database.in_thread(partial(summarise, times, length, market, start, end))
            rows.append(row.select(pl.lit(name).alias("symbol"), pl.lit(length).alias("timeframe"), pl.all()))
        return pl.concat(rows).cast(SERIES_COVERAGE) if rows else pl.DataFrame(schema=SERIES_COVERAGE)

    async def gaps(
        self,
        symbol: str,
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """List the bars that are missing in a series, in runs.

        Parameters
        ----------
        symbol, timeframe : str
        start, end, calendar
            As in :meth:`coverage`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            start (the first missing opening time, UTC), end (when the last missing bar would have ended), missing (how
            many), duration, cause (``single``: one bar, and both its neighbours are there; else ``hole``); in the order
            of time. Hours without trading neither make a gap nor end one.

        Raises
        ------
        UnknownSymbol
            When no bar of the series is stored; near names are offered.
        UnknownCalendar, UnknownTimeframe, InputError
        """
        market = find_calendar(DEFAULT if calendar is None else calendar)
        times = await self._times(check_name(symbol, "symbol"), timeframe, start, end, session)
        if times.is_empty():
            await self._known([symbol], timeframe, session)
        return (await self._database.in_thread(partial(find_gaps, times, timeframe, market, start, end))).cast(GAPS)

    async def _series(
        self, symbol: str | None, timeframe: str | None, session: AsyncSession | None
    ) -> list[tuple[str, str]]:
        stored = await self.series(session=session)
        series = stored
        if symbol is not None:
            series = series.filter(pl.col("symbol") == check_name(symbol, "symbol"))
        if timeframe is not None:
            series = series.filter(pl.col("timeframe") == check_timeframe(timeframe))
        if symbol is not None and series.is_empty():
            timeframes = stored.filter(pl.col("symbol") == symbol)["timeframe"].to_list()
            alike = near(symbol, stored["symbol"].unique().sort())
            raise UnknownSymbol(symbol, timeframe or "of any timeframe", alike, timeframes)
        return list(series.select("symbol", "timeframe").iter_rows())

    async def _times(
        self, symbol: str, timeframe: str, start: Time, end: Time, session: AsyncSession | None
    ) -> pl.Series:
        table = models.bars
        schema = pl.Schema({"timestamp": BARS["timestamp"]})
        if not self._database.has(table):
            return pl.DataFrame(schema=schema)["timestamp"]
        wanted = sa.select(expression(self._database, table, "timestamp")).where(
            table.c.symbol == symbol,
            table.c.timeframe == check_timeframe(timeframe),
            *in_range(table.c.timestamp, start, end),
        )
        return (await read(self._database, wanted.order_by(table.c.timestamp), schema, session))["timestamp"]

    @abstractmethod
    async def series(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """List what is stored."""

    @abstractmethod
    async def _known(self, symbols: Sequence[str], timeframe: str, session: AsyncSession | None) -> None:
        """Raise for a series of which nothing is stored."""
