"""Read bars of one or several series, whole or lazily, and report what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import polars as pl
import sqlalchemy as sa
from polars.io.plugins import register_io_source
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.adjust import last_before
from walle.database import Database
from walle.enums import OHLCV
from walle.errors import InputError
from walle.frames import BARS
from walle.notices import EmptySeriesWarning, warn
from walle.records import Bar
from walle.repositories.bars.coverage import Coverage
from walle.repositories.bars.series import StoredSeries, bars_in, symbol_list
from walle.repositories.common import Time, canonical, check_name
from walle.repositories.select import expression, finish, read, wire_schema
from walle.timeframe import is_calendar

__all__ = ["StoredBars"]

_LOOKS = 100
"""Looks into the index that one statement makes."""

_NO_TIME, _NO_PRICE = pl.lit(None, BARS["timestamp"]), pl.lit(None, BARS["close"])


class StoredBars:
    """Bars as frames.

    Parameters
    ----------
    database : Database
    series : StoredSeries
    coverage : Coverage
    """

    def __init__(self, database: Database, series: StoredSeries, coverage: Coverage) -> None:
        self._database, self._series, self._coverage = database, series, coverage

    async def read(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        columns: Sequence[str] | None,
        require_complete: bool,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the bars that open in ``[start, end)``."""
        statement, schema = self._select(symbol, timeframe, start, end, columns)
        if require_complete:  # before the read: bars are only added, so the read cannot miss any
            await self._coverage.require(symbol_list(symbol), timeframe, start, end, session)
        frame = await self._frame(statement, schema, session)
        empty = await self._without_bars(frame, symbol, timeframe, start, end, session)
        await self._series.require(empty, timeframe, session)
        if empty and not isinstance(symbol, str):
            named = ", ".join(map(repr, empty[:10])) + (f" and {len(empty) - 10} more" if len(empty) > 10 else "")
            warn(f"no {timeframe} bars in the range: {named}.", EmptySeriesWarning)
        return frame

    async def panel(
        self,
        symbols: str | Sequence[str],
        timeframe: str,
        field: str,
        start: Time,
        end: Time,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return one field of several symbols side by side.

        Raises
        ------
        InputError
        """
        names = symbol_list(symbols)
        if len(set(names)) < len(names) or "timestamp" in names:
            raise InputError(
                f"symbols={symbols!r}: each becomes a column, so give it once, and none can be called 'timestamp'."
            )
        if field not in OHLCV:
            raise InputError(f"field={field!r}: choose one of {', '.join(OHLCV)}.")
        bars = await self.read(names, timeframe, start, end, ["symbol", "timestamp", field], False, session)
        return await self._database.in_thread(partial(_side_by_side, bars, field, names))

    async def scan(self, symbol: str | Sequence[str], timeframe: str, start: Time, end: Time) -> pl.LazyFrame:
        """Return a lazy frame that reads the database at every collect."""
        _, schema = self._select(symbol, timeframe, start, end, None)
        await self._series.require(symbol_list(symbol), timeframe, None)

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

    async def count(self, symbol: str, timeframe: str, start: Time, end: Time, session: AsyncSession | None) -> int:
        """Count the bars that open in ``[start, end)``."""
        if not self._database.has(models.bars):
            return 0
        statement = sa.select(sa.func.count().label("bars")).where(*bars_in(symbol, timeframe, start, end))
        return int((await self._database.fetch(statement, {"bars": pl.Int64()}, session)).item())

    async def latest(self, symbol: str, timeframe: str, session: AsyncSession | None) -> Bar:
        """Return the last bar of a series."""
        check_name(symbol, "symbol")
        statement, schema = self._select(symbol, timeframe, None, None, None)
        frame = await self._frame(
            statement.order_by(None).order_by(models.bars.c.timestamp.desc()).limit(1), schema, session
        )
        if frame.is_empty():
            await self._series.require([symbol], timeframe, session)
        return Bar.from_row(canonical({"symbol": symbol, "timeframe": timeframe, **frame.row(0, named=True)}))

    async def last_before(
        self, moments: pl.DataFrame, timeframe: str, count: int, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Return the last bars of a series that open before each of some moments.

        Parameters
        ----------
        moments : polars.DataFrame
            symbol, moment (UTC).
        timeframe : str
        count : int
            So many bars of each.
        session : AsyncSession or None

        Returns
        -------
        polars.DataFrame
            symbol, moment, timestamp, close; sorted by symbol and moment, the latest bar first. No row where no bar
            opens before a moment.
        """
        if not self._database.has(models.bars) or moments.is_empty():
            return moments.select("symbol", "moment").clear().with_columns(timestamp=_NO_TIME, close=_NO_PRICE)
        if is_calendar(timeframe):  # few bars: all of them are read in less time than each is looked up
            symbols, end = moments["symbol"].unique().sort().to_list(), moments["moment"].max()
            assert isinstance(end, datetime)
            bars = await self._frame(
                *self._select(symbols, timeframe, None, end, ["symbol", "timestamp", "close"]), session
            )
            return await self._database.in_thread(partial(last_before, bars, moments.select("symbol", "moment"), count))
        schema = pl.Schema({"place": pl.Int64(), "timestamp": BARS["timestamp"], "close": BARS["close"]})
        found = []
        placed = moments.sort("symbol", "moment").select("symbol", "moment", place=pl.int_range(pl.len()))
        for few in placed.iter_slices(_LOOKS):
            looks = []
            for symbol, moment, place in few.iter_rows():
                rows, _ = self._select(symbol, timeframe, None, moment, ["timestamp", "close"])
                last = rows.order_by(None).order_by(models.bars.c.timestamp.desc()).limit(count).subquery()
                looks.append(sa.select(sa.literal_column(str(place)).label("place"), last.c.timestamp, last.c.close))
            all_looks = sa.union_all(*looks).subquery()
            found.append(await read(self._database, sa.select(*all_looks.c), schema, session))
        ordered = pl.concat(found).sort("place", "timestamp", descending=[False, True])
        return ordered.join(placed, on="place", how="left", maintain_order="left").select(
            "symbol", "moment", "timestamp", "close"
        )

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
            .where(*bars_in(symbol, timeframe, start, end))
            .order_by(*([] if isinstance(symbol, str) else [table.c.symbol]), table.c.timestamp)
        )
        return statement, pl.Schema({name: BARS[name] for name in chosen})

    async def _frame(self, statement: sa.Select[Any], schema: pl.Schema, session: AsyncSession | None) -> pl.DataFrame:
        if not schema:
            raise InputError("columns=[] selects no column; choose at least one.")
        if not self._database.has(models.bars):
            return pl.DataFrame(schema=schema)
        frame = await read(self._database, statement, schema, session)
        # PostgreSQL sorts text by its collation; the frame's order must be the same on both databases
        return frame.sort("symbol", "timestamp") if {"symbol", "timestamp"} <= set(frame.columns) else frame

    async def _without_bars(
        self,
        bars: pl.DataFrame,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        session: AsyncSession | None,
    ) -> list[str]:
        """Return the symbols without a bar in the range; ``bars`` are the bars read."""
        names = list(dict.fromkeys(symbol_list(symbol)))
        if bars.is_empty():
            return names
        if len(names) == 1:
            return []
        if "symbol" in bars.columns:
            present = set(bars["symbol"].unique())
            return [name for name in names if name not in present]
        empty = []
        for name in names:
            there = sa.exists().where(*bars_in(name, timeframe, start, end))
            statement = sa.select(sa.case((there, 1), else_=0).label("there"))
            if not (await self._database.fetch(statement, {"there": pl.Int64()}, session)).item():
                empty.append(name)
        return empty


def _side_by_side(bars: pl.DataFrame, field: str, names: Sequence[str]) -> pl.DataFrame:
    """Return one field of sorted bars with a column per symbol; a pivot takes a hundred times as long for thousands."""
    times = bars["timestamp"].unique().sort()
    places, values = times.search_sorted(bars["timestamp"]), bars[field]
    empty = pl.Series([None], dtype=values.dtype).new_from_index(0, times.len())
    columns = dict.fromkeys(names, empty)
    runs = bars["symbol"].rle().struct.unnest()
    offsets = runs["len"].cum_sum() - runs["len"]
    for symbol, offset, length in zip(runs["value"], offsets, runs["len"], strict=True):
        columns[symbol] = empty.clone().scatter(places.slice(offset, length), values.slice(offset, length))
    return pl.DataFrame([times, *(column.alias(name) for name, column in columns.items())])
