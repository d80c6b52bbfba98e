"""The stored series of bars, and their opening times."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from datetime import datetime

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.phase import Series
from walle.bars.spans import SPANS, keys_of, spans_of, times_of
from walle.database import Database
from walle.errors import InputError, UnknownSymbol
from walle.frames import BAR_SERIES, BARS, no_rows
from walle.repositories.bars.index import BarIndex
from walle.repositories.bars.known import KnownBars
from walle.repositories.common import IN_LIST, Time, check_name, in_range, near, one_of
from walle.repositories.select import expression, read
from walle.repositories.tokens import Known
from walle.timeframe import check_timeframe
from walle.validation import parse_range

__all__ = ["StoredSeries", "bars_in", "stored_series", "symbol_list"]


_SERIES = ["symbol", "timeframe"]


class StoredSeries:
    """The series in a store, from the index of the bars if there is one, otherwise from the bars.

    Parameters
    ----------
    database : Database
    index : BarIndex

    Attributes
    ----------
    known : KnownBars
    """

    def __init__(self, database: Database, index: BarIndex) -> None:
        self._database, self._index = database, index
        self.known = KnownBars(database, index)

    async def list(self, session: AsyncSession | None) -> pl.DataFrame:
        """Return the stored series: columns of ``BAR_SERIES``, sorted."""
        return await stored_series(self._database, session=session)

    async def choose(
        self, symbol: str | Sequence[str] | None, timeframe: str | None, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Return the stored series of a symbol and timeframe, or of all.

        Raises
        ------
        UnknownSymbol
            For a symbol without stored bars; it suggests similar names.
        """
        listed = isinstance(symbol, Iterable) and not isinstance(symbol, str)
        names = [] if symbol is None else [check_name(name, "symbol") for name in (symbol if listed else [symbol])]
        stored = await (self._index.series(session=session) if self._index.exists else self.list(session))
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

    async def require(self, symbols: Sequence[str], timeframe: str, session: AsyncSession | None) -> None:
        """Raise if a series has no stored bar.

        Raises
        ------
        UnknownSymbol
        """
        table = models.bars
        if not self._database.has(table):
            raise UnknownSymbol(symbols[0], timeframe, [], [])
        for symbol in symbols:
            here = sa.exists().where(table.c.symbol == symbol, table.c.timeframe == timeframe)
            statement = sa.select(sa.case((here, 1), else_=0).label("here"))
            if (await self._database.fetch(statement, {"here": pl.Int64()}, session)).item():
                continue
            series = await self.list(session)
            timeframes = series.filter(pl.col("symbol") == symbol)["timeframe"].to_list()
            raise UnknownSymbol(symbol, timeframe, near(symbol, series["symbol"].unique().sort().to_list()), timeframes)

    async def times(
        self,
        symbol: str,
        timeframe: str,
        start: Time,
        end: Time,
        session: AsyncSession | None,
        as_of: Known | None = None,
    ) -> pl.Series:
        """Return the opening times of a series in ``[start, end)``, now or as of an ingest."""
        check_timeframe(timeframe)
        if self._index.exists:
            return _inside(times_of(await self.known.spans({(symbol, timeframe)}, as_of, session)), start, end)
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

    async def times_of_each(
        self, wanted: Sequence[Series], start: Time, end: Time, session: AsyncSession | None, as_of: Known | None = None
    ) -> AsyncGenerator[tuple[Series, pl.Series], None]:
        """Yield the opening times of each series in turn, reading the index for many of them at once."""
        for timeframe in {timeframe for _, timeframe in wanted}:
            check_timeframe(timeframe)
        if not self._index.exists:
            for series in wanted:
                yield series, await self.times(*series, start, end, session, as_of)
            return
        for at in range(0, len(wanted), IN_LIST):
            part = wanted[at : at + IN_LIST]
            spans = await self.known.spans(set(part), as_of, session)
            held = {
                (str(name), str(period)): rows
                for (name, period), rows in spans.partition_by(_SERIES, as_dict=True).items()
            }
            for series in part:
                yield series, _inside(times_of(held.get(series, spans.clear())), start, end)

    async def times_at_once(
        self, series: Sequence[Series], start: Time, end: Time, session: AsyncSession | None
    ) -> pl.DataFrame | None:
        """Return the opening times of some series of one timeframe: symbol, timestamp; None without an index."""
        if not self._index.exists:
            return None
        parts = [
            await self._index.spans(set(series[at : at + IN_LIST]), session) for at in range(0, len(series), IN_LIST)
        ]
        first, last = parse_range(start, end)
        times = keys_of(pl.concat(parts)).drop("timeframe")
        if first is not None:
            times = times.filter(pl.col("timestamp") >= first)
        return times if last is None else times.filter(pl.col("timestamp") < last)

    async def spans(
        self, series: pl.DataFrame, session: AsyncSession | None, as_of: Known | None = None
    ) -> pl.DataFrame:
        """Return the opening times of series as spans; a series without missing bars is one span."""
        if as_of is not None and self._index.exists:
            return await self.known.spans(set(series.select(_SERIES).iter_rows()), as_of, session)
        if not self._index.exists:
            parts = [no_rows(SPANS)]
            for symbol, timeframe in series.select(_SERIES).iter_rows():
                times = await self.times(symbol, timeframe, None, None, session)
                named = pl.lit(symbol).alias("symbol"), pl.lit(timeframe).alias("timeframe")
                parts.append(spans_of(times.to_frame("timestamp").select(*named, "timestamp")))
            return pl.concat(parts)
        whole = (pl.col("missing") == 0) & (pl.col("unexpected") == 0)
        known = series.filter(whole.fill_null(False)).select(*_SERIES, pl.col("first", "last").to_physical())
        others = list(series.filter(~whole.fill_null(False)).select(_SERIES).iter_rows())
        parts = [known]
        for at in range(0, len(others), IN_LIST):
            parts.append(await self._index.spans(set(others[at : at + IN_LIST]), session))
        return pl.concat(parts)

    async def of_same_provider(
        self, symbol: str, timeframe: str, session: AsyncSession | None
    ) -> Sequence[tuple[str, datetime, datetime]]:
        """Return the other series of the same provider, with their first and last opening times."""
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
        series = (await self.list(session)).filter(pl.col("timeframe") == timeframe)
        return list(series.join(names, on="symbol", how="semi").select("symbol", "first", "last").iter_rows())


async def stored_series(
    database: Database, symbols: Collection[str] | None = None, session: AsyncSession | None = None
) -> pl.DataFrame:
    """List the stored series of some symbols.

    Parameters
    ----------
    database : Database
    symbols : collection of str, optional
        None: of all. A symbol without stored bars has no row.
    session : AsyncSession, optional
        Read what its transaction sees.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`walle.frames.BAR_SERIES`; one row per series, sorted by symbol and timeframe.
    """
    named = symbols if symbols is None or len(symbols) <= IN_LIST else None
    index, table = BarIndex(database), models.bars
    if symbols is not None and not symbols:
        found = no_rows(BAR_SERIES)
    elif index.exists:
        found = (await index.series(named, session=session)).select(list(BAR_SERIES))
    elif not database.has(table):
        found = no_rows(BAR_SERIES)
    else:
        time = expression(database, table, "timestamp")
        statement = (
            sa.select(
                table.c.symbol,
                table.c.timeframe,
                sa.func.min(time),
                sa.func.max(time),
                sa.func.count().label("bars"),
            )
            .where(*([] if named is None else [table.c.symbol.in_(list(named))]))
            .group_by(table.c.symbol, table.c.timeframe)
        )
        found = (await read(database, statement, BAR_SERIES, session)).sort("symbol", "timeframe")
    return found if symbols is None else found.filter(pl.col("symbol").is_in(list(symbols)))


def symbol_list(symbol: str | Sequence[str]) -> list[str]:
    """Return one symbol or several as a list.

    Raises
    ------
    InputError
    """
    names = [symbol] if isinstance(symbol, str) else list(symbol) if isinstance(symbol, Iterable) else []
    if not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(f"symbol={symbol!r} is neither a symbol nor a list of symbols.")
    return names


def bars_in(symbol: str | Sequence[str], timeframe: str, start: Time, end: Time) -> list[sa.ColumnElement[bool]]:
    """Return the conditions that select the bars of some symbols that open in ``[start, end)``."""
    table = models.bars
    return [
        *one_of(table.c.symbol, symbol_list(symbol)),
        table.c.timeframe == check_timeframe(timeframe),
        *in_range(table.c.timestamp, start, end),
    ]


def _inside(times: pl.Series, start: Time, end: Time) -> pl.Series:
    first, last = parse_range(start, end)
    lo = 0 if first is None else int(times.search_sorted(first))
    hi = times.len() if last is None else int(times.search_sorted(last))
    return times.slice(lo, max(0, hi - lo))
