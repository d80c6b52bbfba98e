"""What is there of the stored bars, and what is missing."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncGenerator, Iterable, Sequence
from datetime import datetime
from functools import partial

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.coverage import COVERAGE, GAPS, find_gaps, outages, own_phase, summarise
from walle.bars.grid import Cells, check_period, count_cells
from walle.bars.phase import Series
from walle.bars.spans import RUNS, runs_of, times_of
from walle.calendars import Calendar
from walle.calendars import calendar as find_calendar
from walle.errors import UnknownSymbol
from walle.frames import BARS, INSTANT
from walle.repositories.bars.calendars import DEFAULT, BarMarkets, explained
from walle.repositories.bars.index import BarIndex
from walle.repositories.common import Time, check_name, in_range, near
from walle.repositories.select import expression, read
from walle.timeframe import check_timeframe, length
from walle.validation import parse_range

__all__ = ["SERIES_COVERAGE", "SERIES_GAPS", "BarCoverage"]

SERIES_COVERAGE = pl.Schema(
    {"symbol": pl.String(), "timeframe": pl.String(), **COVERAGE, "explained": pl.Int64(), "calendar": pl.String()}
)
"""One row is one series, and the columns of :data:`walle.bars.coverage.COVERAGE`; then the missing bars in explained
gaps, and the name of the calendar that says which bars are expected."""

SERIES_GAPS = pl.Schema({**GAPS, "reason": pl.String(), "author": pl.String()})
"""The columns of :data:`walle.bars.coverage.GAPS`; then why the bars are missing and who said so, null where
unexplained."""


_AT_ONCE = 200
"""Series whose runs are in memory at once."""

_SERIES = ["symbol", "timeframe"]


class BarCoverage(BarMarkets):
    """The part of the bars' repository that tells what is missing.

    Parameters
    ----------
    database : Database
    """

    _index: BarIndex

    async def coverage(
        self,
        symbol: str | Sequence[str] | None = None,
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
        symbol : str or sequence of str, optional
        timeframe : str, optional
            Only these series.
        start, end : datetime, date, str or None
            Opening times in ``[start, end)``: ``end="2024-01-31"`` leaves that day out. None: from a series' first bar,
            to its last.
        calendar : str or Calendar, optional
            When the market is open: ``24/7``, ``24/5`` (foreign exchange), a name of exchange_calendars such as
            ``XNYS``, or a calendar of :func:`walle.calendars.from_sessions`. By default that of each symbol, see
            :meth:`set_calendar`, and 24/7 where none was set.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, first, last (UTC), bars, expected, missing, coverage (0 to 1; null when nothing is
            expected), gaps, longest_gap (in bars), unexpected (bars that open when the market was closed, or off the
            grid), explained (missing bars in explained gaps, see :meth:`explain_gap`), calendar (the name of the one
            used); sorted by symbol and timeframe. No row where no bar is stored.

        Raises
        ------
        UnknownSymbol
            When no bar of a named symbol is stored; near names are offered.
        UnknownCalendar, UnknownTimeframe, InputError
        ConfigurationError
            For an exchange, without the extra ``calendars``.
        """
        given = None if calendar is None else find_calendar(calendar)
        series = await self._series(symbol, timeframe, session)
        own = {} if given else await self._markets(series["symbol"], session)
        said = await self._said(symbol, session)
        told, rows = pl.DataFrame(schema=SERIES_COVERAGE), []
        if start is None and end is None and "expected" in series.columns:  # the index knows it
            always = [name for name in series["symbol"].unique() if (given or own[name]).name == DEFAULT]
            known = pl.col("symbol").is_in(always) & pl.col("expected").is_not_null()
            known &= (pl.col("missing") == 0) | ~pl.col("symbol").is_in(said["symbol"].implode())
            told, series = _told(series.filter(known)), series.filter(~known)
        wanted = list(series.select("symbol", "timeframe").iter_rows())
        async for (name, period), times in self._times_of_each(wanted, start, end, session):
            market, covered = given or own[name], 0
            row = await self._database.in_thread(partial(summarise, times, period, market, start, end))
            mine = said.filter(pl.col("symbol") == name)
            if mine.height and row["missing"].item():
                gaps = await self._database.in_thread(partial(find_gaps, times, period, market, start, end))
                covered = int(explained(gaps, mine, period).drop_nulls("reason")["missing"].sum())
            rows.append((name, period, *row.row(0), covered, market.name))
        counted = pl.DataFrame(rows, schema=SERIES_COVERAGE, orient="row")
        return pl.concat([told, counted]).sort("symbol", "timeframe")

    async def coverage_by(
        self,
        period: str,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Tell of every series how much of it is there by day, week or month.

        Parameters
        ----------
        period : str
            ``day``, ``week`` (from Monday) or ``month``, in UTC.
        symbol, timeframe, start, end, calendar
            As in :meth:`coverage`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, start (when the day, week or month begins, UTC), expected (bars that open in it),
            missing (of those), coverage (0 to 1, never null); sorted by symbol, timeframe and start. No row where no
            bar is expected: before a series' first bar and after its last one unless ``start`` and ``end`` say so, and
            while its market is closed. The sums over a series are those of :meth:`coverage`.

        Raises
        ------
        UnknownSymbol
            When no bar of a named symbol is stored; near names are offered.
        UnknownCalendar, UnknownTimeframe, InputError
        ConfigurationError
            For an exchange, without the extra ``calendars``.
        """
        counted = await self.cells(period, symbol, timeframe, start, end, calendar=calendar, session=session)
        return await self._database.in_thread(counted.frame)

    async def cells(
        self,
        period: str,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
        session: AsyncSession | None = None,
    ) -> Cells:
        """Count what :meth:`coverage_by` tells as a matrix of series and days, weeks or months, for drawing.

        Parameters
        ----------
        period : str
            ``day``, ``week`` (from Monday) or ``month``, in UTC.
        symbol, timeframe, start, end, calendar
            As in :meth:`coverage`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        walle.bars.grid.Cells
            A row for each series, sorted by symbol and timeframe; no row where no bar is stored.

        Raises
        ------
        UnknownSymbol
            When no bar of a named symbol is stored; near names are offered.
        UnknownCalendar, UnknownTimeframe, InputError
        ConfigurationError
            For an exchange, without the extra ``calendars``.
        """
        check_period(period)
        given = None if calendar is None else find_calendar(calendar)
        series = await self._series(symbol, timeframe, session)
        wanted = list(series.select(_SERIES).iter_rows())
        for name in {name for _, name in wanted}:
            check_timeframe(name)
        symbols = series["symbol"].unique()
        markets = dict.fromkeys(symbols, given) if given else await self._markets(symbols, session)
        runs = await self._runs(series, session)
        return await self._database.in_thread(partial(count_cells, wanted, runs, markets, period, start, end))

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
            many), duration, cause (``outage``: all series of the same provider and timeframe whose markets were open
            are silent, and at least two; ``single``: one bar, and both its neighbours are there; else ``hole``), reason
            and author (of the latest explanation that covers all of the gap; null without); in the order of time. Hours
            without trading neither make a gap nor end one.

        Raises
        ------
        UnknownSymbol
            When no bar of the series is stored; near names are offered.
        UnknownCalendar, UnknownTimeframe, InputError
        """
        found = await self._gaps(symbol, timeframe, start, end, calendar, session)
        return await self._outages(found, symbol, timeframe, session)

    async def _gaps(
        self,
        symbol: str,
        timeframe: str,
        start: Time,
        end: Time,
        calendar: str | Calendar | None,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the gaps of a series with their explanations, and without a look at other series."""
        given = None if calendar is None else find_calendar(calendar)
        times = await self._times(check_name(symbol, "symbol"), timeframe, start, end, session)
        if times.is_empty():
            await self._known([symbol], timeframe, session)
        market = given or (await self._markets([symbol], session))[symbol]
        found = await self._database.in_thread(partial(find_gaps, times, timeframe, market, start, end))
        return explained(found, await self._said(symbol, session), timeframe).cast(SERIES_GAPS)

    async def _outages(
        self, found: pl.DataFrame, symbol: str, timeframe: str, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Mark the gaps during which nothing came from the provider of a series."""
        left, gaps, asked = found, {}, {}
        others = await self._of_same_provider(symbol, timeframe, session) if found.height else []
        markets = await self._markets((name for name, _, _ in others), session)
        for name, first, last in others:
            if left.is_empty():
                break
            lo = max(first, left["start"][0] - length(timeframe))  # a bar that opens before a gap may reach into it
            hi = min(last + length(timeframe), left["end"][-1])
            if lo >= hi:
                continue
            times = await self._times(name, timeframe, lo, hi, session)
            # a bar within a gap says already that the provider was there; the next series is asked of fewer gaps
            left = left.filter(times.search_sorted(left["start"]) == times.search_sorted(left["end"]))
            look = partial(_silence, times, timeframe, markets[name], lo, hi, first)
            gaps[name], asked[name] = await self._database.in_thread(look)
        if left.is_empty() or not gaps:
            return found
        gaps[symbol], asked[symbol] = left, left.select(open="start", close="end")
        silent = outages(gaps, spans=asked)[symbol].filter(pl.col("cause") == "outage")["start"]
        cause = pl.when(pl.col("start").is_in(silent.implode())).then(pl.lit("outage")).otherwise("cause")
        return found.with_columns(cause=cause)

    async def _of_same_provider(
        self, symbol: str, timeframe: str, session: AsyncSession | None
    ) -> list[tuple[str, datetime, datetime]]:
        """Return the other series that came from the same provider, with their first and last opening times."""
        table = models.bar_series
        if not self._database.has(table):
            return []
        mine = sa.select(table.c.provider).where(table.c.symbol == symbol, table.c.timeframe == timeframe)
        same = sa.select(table.c.symbol).where(
            table.c.provider == mine.scalar_subquery(), table.c.timeframe == timeframe, table.c.symbol != symbol
        )
        names = await self._database.fetch(same, {"symbol": pl.String()}, session)
        if names.is_empty():
            return []
        series = (await self.series(session=session)).filter(pl.col("timeframe") == timeframe)
        return list(series.join(names, on="symbol", how="semi").select("symbol", "first", "last").iter_rows())

    async def _series(
        self, symbol: str | Sequence[str] | None, timeframe: str | None, session: AsyncSession | None
    ) -> pl.DataFrame:
        listed = isinstance(symbol, Iterable) and not isinstance(symbol, str)
        names = [] if symbol is None else [check_name(name, "symbol") for name in (symbol if listed else [symbol])]
        stored = await (self._index.series(session=session) if self._index.exists else self.series(session=session))
        series = stored
        if symbol is not None:
            series = series.filter(pl.col("symbol").is_in(names))
        if timeframe is not None:
            series = series.filter(pl.col("timeframe") == check_timeframe(timeframe))
        absent = set(names).difference(series["symbol"])
        for name in names:
            if name in absent:
                timeframes = stored.filter(pl.col("symbol") == name)["timeframe"].to_list()
                alike = near(name, stored["symbol"].unique().sort())
                raise UnknownSymbol(name, timeframe or "of any timeframe", alike, timeframes)
        return series

    async def _times(
        self, symbol: str, timeframe: str, start: Time, end: Time, session: AsyncSession | None
    ) -> pl.Series:
        check_timeframe(timeframe)
        if self._index.exists:
            return _inside(await self._index.times(symbol, timeframe, session), start, end)
        table = models.bars
        schema = pl.Schema({"timestamp": BARS["timestamp"]})
        if not self._database.has(table):
            return pl.DataFrame(schema=schema)["timestamp"]
        wanted = sa.select(expression(self._database, table, "timestamp")).where(
            table.c.symbol == symbol,
            table.c.timeframe == timeframe,
            *in_range(table.c.timestamp, start, end),
        )
        return (await read(self._database, wanted.order_by(table.c.timestamp), schema, session))["timestamp"]

    async def _runs(self, series: pl.DataFrame, session: AsyncSession | None) -> pl.DataFrame:
        """Return the opening times of series as runs; those of which nothing is missing are one run each."""
        if not self._index.exists:
            parts = [pl.DataFrame(schema=RUNS)]
            for symbol, timeframe in series.select(_SERIES).iter_rows():
                times = await self._times(symbol, timeframe, None, None, session)
                named = pl.lit(symbol).alias("symbol"), pl.lit(timeframe).alias("timeframe")
                parts.append(runs_of(times.to_frame("timestamp").select(*named, "timestamp")))
            return pl.concat(parts)
        whole = (pl.col("missing") == 0) & (pl.col("unexpected") == 0)
        known = series.filter(whole.fill_null(False)).select(*_SERIES, pl.col("first", "last").to_physical())
        others = list(series.filter(~whole.fill_null(False)).select(_SERIES).iter_rows())
        parts = [known]
        for at in range(0, len(others), _AT_ONCE):
            parts.append(await self._index.runs(set(others[at : at + _AT_ONCE]), session))
        return pl.concat(parts)

    async def _times_of_each(
        self, wanted: Sequence[Series], start: Time, end: Time, session: AsyncSession | None
    ) -> AsyncGenerator[tuple[Series, pl.Series], None]:
        """Yield the opening times of one series after the other; the index is read for many of them at once."""
        for timeframe in {timeframe for _, timeframe in wanted}:
            check_timeframe(timeframe)
        if not self._index.exists:
            for series in wanted:
                yield series, await self._times(*series, start, end, session)
            return
        for at in range(0, len(wanted), _AT_ONCE):
            part = wanted[at : at + _AT_ONCE]
            runs = await self._index.runs(set(part), session)
            held = {
                (str(name), str(period)): rows
                for (name, period), rows in runs.partition_by(_SERIES, as_dict=True).items()
            }
            for series in part:
                yield series, _inside(times_of(held.get(series, runs.clear())), start, end)

    @abstractmethod
    async def series(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """List what is stored."""

    @abstractmethod
    async def _known(self, symbols: Sequence[str], timeframe: str, session: AsyncSession | None) -> None:
        """Raise for a series of which nothing is stored."""


def _told(series: pl.DataFrame) -> pl.DataFrame:
    """Return the coverage of series that the index has summed up."""
    there = (pl.col("expected") - pl.col("missing")) / pl.col("expected")
    summed = series.with_columns(
        coverage=pl.when(pl.col("expected") > 0).then(there),
        explained=pl.lit(0, pl.Int64),
        calendar=pl.lit(DEFAULT),
    )
    return summed.select(list(SERIES_COVERAGE)).cast(SERIES_COVERAGE)


def _inside(times: pl.Series, start: Time, end: Time) -> pl.Series:
    first, last = parse_range(start, end)
    lo = 0 if first is None else int(times.search_sorted(first))
    hi = times.len() if last is None else int(times.search_sorted(last))
    return times.slice(lo, max(0, hi - lo))


def _silence(
    times: pl.Series, timeframe: str, market: Calendar, start: datetime, end: datetime, first: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the gaps of a series whose first bar is ``first``, and when it is expected to be heard."""
    phase = own_phase(pl.Series([first], dtype=INSTANT), timeframe) if market.continuous else None
    expected = market.slots(timeframe, start, end, phase=phase).stretches()
    return find_gaps(times, timeframe, market, start, end, phase=phase), expected
