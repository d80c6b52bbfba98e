"""Bars: the one door to them, in and out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import polars as pl
import sqlalchemy as sa
from polars.io.plugins import register_io_source
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.errors import InputError, UnknownSymbol
from walle.frames import BAR_SERIES, BARS, STORED_CONFLICTS
from walle.notices import warn
from walle.records import Bar
from walle.repositories.bars.ingest import BarIngest
from walle.repositories.bars.read import BarReading, EmptySeriesWarning
from walle.repositories.common import Time, canonical, check_name, in_range, near, one_of
from walle.repositories.select import expression, finish, read, wire_schema
from walle.timeframe import check_timeframe

__all__ = ["BarRepository"]


class BarRepository(BarReading, BarIngest):
    """Bars of any number of series; the first write of a bar wins.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        BarIngest.__init__(self, database)

    async def read(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        columns: Sequence[str] | None = None,
        require_complete: bool = False,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read bars that opened in ``[start, end)``.

        Parameters
        ----------
        symbol : str or sequence of str
            One symbol, or several for one long frame.
        timeframe : str
        start, end : datetime, date, str or None
            The start is inside, the end is not: ``end="2024-01-31"`` leaves that day out. A date, or a text without a
            zone, is UTC. None: from the first, to the last.
        columns : sequence of str, optional
            Only these, in this order.
        require_complete : bool
            Raise when a bar is missing in the range (from a series' first bar, to its last, where an end is open) under
            the symbol's calendar (:meth:`set_calendar`). Gaps that were explained (:meth:`explain_gap`) do not count.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            timestamp (UTC, the opening time), open, high, low, close, volume (Float64); for several symbols with symbol
            before. Sorted by (symbol,) timestamp. Empty when no bar lies in the range.

        Raises
        ------
        UnknownSymbol
            When no bar of a symbol and timeframe is stored at all; near names are offered.
        IncompleteBars
            When bars are missing and ``require_complete=True``; its ``.gaps`` lists them.
        UnknownTimeframe, InputError

        Warns
        -----
        EmptySeriesWarning
            When some of several symbols have no bar in the range; it names them.
        """
        statement, schema = self._select(symbol, timeframe, start, end, columns)
        if require_complete:  # first: bars are only added, so that what is read then is not less
            await self._require_complete(self._symbols(symbol), timeframe, start, end, session)
        frame = await self._frame(statement, schema, session)
        empty = await self._without_bars(frame, symbol, timeframe, start, end, session)
        await self._known(empty, timeframe, session)
        if empty and not isinstance(symbol, str):
            named = ", ".join(map(repr, empty[:10])) + (f" and {len(empty) - 10} more" if len(empty) > 10 else "")
            warn(f"no {timeframe} bars in the range: {named}.", EmptySeriesWarning)
        return frame

    async def scan(
        self, symbol: str | Sequence[str], timeframe: str, start: Time = None, end: Time = None
    ) -> pl.LazyFrame:
        """Read the same as :meth:`read`, lazily: only the columns and rows that a query needs leave the database.

        Parameters
        ----------
        symbol, timeframe, start, end
            As in :meth:`read`.

        Returns
        -------
        polars.LazyFrame
            Every collect reads anew, in batches. Selected columns and ``head(n)`` are done by the database; filters on
            the way, batch by batch: give the range as ``start`` and ``end``.

        Raises
        ------
        UnknownSymbol, UnknownTimeframe, InputError
            At once, not at the collect.
        """
        _, schema = self._select(symbol, timeframe, start, end, None)
        await self._known(self._symbols(symbol), timeframe, None)

        def batches(
            with_columns: list[str] | None,
            predicate: pl.Expr | None,
            n_rows: int | None,
            batch_size: int | None,
        ) -> Iterator[pl.DataFrame]:
            statement, chosen = self._select(symbol, timeframe, start, end, with_columns)
            if n_rows is not None:
                statement = statement.limit(n_rows)
            for raw in self._database.batches(statement, wire_schema(chosen)):
                frame = finish(raw, chosen)
                yield frame if predicate is None else frame.filter(predicate)

        return register_io_source(batches, schema=schema, validate_schema=True, is_pure=True)

    async def count(
        self,
        symbol: str,
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        session: AsyncSession | None = None,
    ) -> int:
        """Count bars that opened in ``[start, end)``; 0 for an unknown symbol.

        Raises
        ------
        UnknownTimeframe, InputError
        """
        if not self._database.has(models.bars):
            return 0
        statement = sa.select(sa.func.count().label("bars")).where(*self._where(symbol, timeframe, start, end))
        return int((await self._database.fetch(statement, {"bars": pl.Int64()}, session)).item())

    async def latest(self, symbol: str, timeframe: str, *, session: AsyncSession | None = None) -> Bar:
        """Return the last bar of a series.

        Raises
        ------
        UnknownSymbol
            When there is none.
        """
        check_name(symbol, "symbol")
        statement, schema = self._select(symbol, timeframe, None, None, None)
        frame = await self._frame(
            statement.order_by(None).order_by(models.bars.c.timestamp.desc()).limit(1), schema, session
        )
        if frame.is_empty():
            await self._known([symbol], timeframe, session)
        return Bar.from_row(canonical({"symbol": symbol, "timeframe": timeframe, **frame.row(0, named=True)}))

    async def series(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """List what is stored.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, first, last (UTC, opening times), bars; one row per series, sorted. Empty without bars.
        """
        if self._index.exists:
            return (await self._index.series(session=session)).select(list(BAR_SERIES))
        table = models.bars
        if not self._database.has(table):
            return pl.DataFrame(schema=BAR_SERIES)
        time = expression(self._database, table, "timestamp")
        statement = (
            sa.select(
                table.c.symbol,
                table.c.timeframe,
                sa.func.min(time),
                sa.func.max(time),
                sa.func.count().label("bars"),
            )
            .group_by(table.c.symbol, table.c.timeframe)
            .order_by(table.c.symbol, table.c.timeframe)
        )
        return (await read(self._database, statement, BAR_SERIES, session)).sort("symbol", "timeframe")

    async def conflicts(
        self,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        *,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """List the bars that came again with other values than the stored ones.

        Parameters
        ----------
        symbol : str or sequence of str, optional
        timeframe : str, optional
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, timestamp, stored_open..stored_volume (what stays), open..volume (what was refused),
            source, detected_at (UTC); each refused version once, sorted by symbol, timeframe, timestamp, detected_at.

        Raises
        ------
        UnknownTimeframe, InputError
        """
        table = models.bar_conflicts
        conditions = [] if symbol is None else one_of(table.c.symbol, self._symbols(symbol))
        if timeframe is not None:
            conditions.append(table.c.timeframe == check_timeframe(timeframe))
        if not self._database.has(table):
            return pl.DataFrame(schema=STORED_CONFLICTS)
        columns = [expression(self._database, table, name) for name in STORED_CONFLICTS]
        frame = await read(self._database, sa.select(*columns).where(*conditions), STORED_CONFLICTS, session)
        return frame.sort("symbol", "timeframe", "timestamp", "detected_at")

    def _symbols(self, symbol: str | Sequence[str]) -> list[str]:
        names = [symbol] if isinstance(symbol, str) else list(symbol) if isinstance(symbol, Iterable) else []
        if not names or not all(isinstance(name, str) and name for name in names):
            raise InputError(f"symbol={symbol!r} is neither a symbol nor a list of symbols.")
        return names

    def _where(
        self, symbol: str | Sequence[str], timeframe: str, start: Time, end: Time
    ) -> list[sa.ColumnElement[bool]]:
        table = models.bars
        return [
            *one_of(table.c.symbol, self._symbols(symbol)),
            table.c.timeframe == check_timeframe(timeframe),
            *in_range(table.c.timestamp, start, end),
        ]

    def _select(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        columns: Sequence[str] | None,
    ) -> tuple[sa.Select[Any], pl.Schema]:
        table = models.bars
        allowed = [name for name in BARS if name != "timeframe" and (name != "symbol" or not isinstance(symbol, str))]
        chosen = allowed if columns is None else list(columns)
        wrong = [name for name in chosen if name not in allowed]
        if wrong or isinstance(columns, str) or len(set(chosen)) != len(chosen):
            raise InputError(f"columns={columns!r}: choose from {', '.join(allowed)}, each once.")
        statement = (
            sa.select(*(expression(self._database, table, name) for name in chosen))
            .where(*self._where(symbol, timeframe, start, end))
            .order_by(*([] if isinstance(symbol, str) else [table.c.symbol]), table.c.timestamp)
        )
        return statement, pl.Schema({name: BARS[name] for name in chosen})

    async def _frame(self, statement: sa.Select[Any], schema: pl.Schema, session: AsyncSession | None) -> pl.DataFrame:
        if not schema:
            raise InputError("columns=[] chooses nothing.")
        if not self._database.has(models.bars):
            return pl.DataFrame(schema=schema)
        frame = await read(self._database, statement, schema, session)
        # PostgreSQL sorts text by its collation; a frame's order is the same on both databases
        return frame.sort("symbol", "timestamp") if {"symbol", "timestamp"} <= set(frame.columns) else frame

    async def _known(self, symbols: Sequence[str], timeframe: str, session: AsyncSession | None) -> None:
        table = models.bars
        if not self._database.has(table):
            raise UnknownSymbol(symbols[0], timeframe, [], [])
        for symbol in symbols:
            here = sa.exists().where(table.c.symbol == symbol, table.c.timeframe == timeframe)
            statement = sa.select(sa.case((here, 1), else_=0).label("here"))
            if (await self._database.fetch(statement, {"here": pl.Int64()}, session)).item():
                continue
            series = await self.series(session=session)
            timeframes = series.filter(pl.col("symbol") == symbol)["timeframe"].to_list()
            raise UnknownSymbol(symbol, timeframe, near(symbol, series["symbol"].unique().sort().to_list()), timeframes)
