"""A full check of a store: the database's own checks, every value by our readers, and facts that are stored twice."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import polars as pl
import sqlalchemy as sa

from walle import models
from walle.bars.spans import SPANS, count_bars, join_spans, spans_of, without
from walle.bars.versions import NEWEST
from walle.database import Database
from walle.dialects import ReadJob
from walle.dialects.base import CheckResult
from walle.errors import DatabaseUnavailable, UnreadableRow, WalleError
from walle.forms import UnreadableValue, is_list
from walle.frames import DECIMAL, EVENTS, INSTANT, no_rows
from walle.progress import Progress
from walle.repositories.bars.index import BarIndex
from walle.repositories.bars.newest import newest
from walle.repositories.events.columns import event_column, events_frame
from walle.repositories.select import finish, wire_schema
from walle.schema import Schema, open_for_inspection
from walle.types import ExactDecimal, Json, UtcInstant, wire

__all__ = ["Integrity"]

_UNREADABLE = (WalleError, pl.exceptions.PolarsError, TypeError, ValueError, OverflowError, zlib.error, struct.error)
"""The errors that a reader may raise for a value that does not fit its column's type."""

_SERIES = ["symbol", "timeframe"]
_SHOWN = 5
_KINDS: tuple[tuple[type[Any], pl.DataType], ...] = (
    (UtcInstant, INSTANT),
    (ExactDecimal, DECIMAL),
    (Json, pl.String()),
    (sa.Float, pl.Float64()),
    (sa.Integer, pl.Int64()),
    (sa.LargeBinary, pl.Binary()),
)


class Integrity:
    """Check whether a store still holds what was written to it, as far as its content shows.

    Parameters
    ----------
    database : Database
        Preferably read-only: otherwise reading the index of the bars would update it.
    schema : Schema
        The schema found in it.
    """

    def __init__(self, database: Database, schema: Schema) -> None:
        self._database = database
        self._schema = schema
        self._examined = CheckResult()
        self._bars = no_rows(SPANS)
        self._unread: set[str] = set()

    async def check(self, progress: Progress) -> CheckResult:
        """Check everything; report problems instead of raising them.

        Parameters
        ----------
        progress : Progress
            Receives how far the check has come.
        """
        tables = [name for name in models.metadata.tables if name in self._schema.columns]
        progress.begin("checking pages and indexes")
        await self._database.in_thread(lambda: self._examine(tables))
        if self._schema.revision != models.HEAD or self._schema.lacking:
            self._examined.not_checked.append("values: the tables differ from those that this WallE works with")
            return self._examined
        before = await self._indexed()
        for name in tables:
            job = ReadJob()
            if not await self._database.in_thread(partial(self._read, name, progress, job), job):
                return self._examined
        self._examined.checked.append("every value (read by WallE's own readers)")
        await self._hold_index(before)
        return self._examined

    def _examine(self, tables: list[str]) -> None:
        dialect = self._database.dialect
        try:
            with open_for_inspection(dialect) as connection:
                dialect.examine(connection, tables, self._examined)
        except WalleError as error:
            self._examined.problems.append(f"pages and indexes: {error}")

    # values

    def _read(self, name: str, progress: Progress, job: ReadJob) -> bool:
        """Read a table; return False if the database became unavailable, so that no other table can be read."""
        found: list[UnreadableValue] = []
        try:
            with self._database.errors():
                counted = self._count(name, job)
                progress.begin(f"reading {name}", counted)
                found = self._search(name)
                rows = 0
                for frame in self._frames(name, job, strict=not found):
                    rows += frame.height
                    progress.advance(frame.height)
                    if name == "bars":
                        self._look_at_bars(frame)
                # the count comes from an index, the rows from the table; rows may be added in between
                if rows < counted and not job.stopped:
                    self._examined.problems.append(f"{name}: of {counted:,} rows in an index, {rows:,} can be read")
        except _UNREADABLE as error:
            self._unread.add(name)
            if not (found and isinstance(error, UnreadableRow)):  # otherwise its rows are named already
                self._examined.problems.append(f"{name}: some rows cannot be read: {error}")
            if isinstance(error, DatabaseUnavailable):
                self._examined.not_checked.append(f"values, from {name} on")
                return False
        return True

    def _search(self, name: str) -> list[UnreadableValue]:
        """Find the values that the guards of form would refuse."""
        with open_for_inspection(self._database.dialect) as connection:
            found = self._database.dialect.find_unreadable(connection, [models.metadata.tables[name]])
        for one in found[:_SHOWN]:
            problem = f"holds an invalid {one.column}: {one.value}, which is {one.reason}"
            self._examined.problems.append(f"{name}: the row {one.key} {problem}")
        if len(found) >= _SHOWN:
            self._examined.problems.append(f"{name}: only the first {_SHOWN} such values are listed; there may be more")
        return found

    def _count(self, name: str, job: ReadJob) -> int:
        statement: sa.Select[Any] = sa.select(sa.func.count().label("rows")).select_from(models.metadata.tables[name])
        parts = list(self._database.dialect.read(statement, {"rows": pl.Int64()}, job))
        return int(pl.concat(parts)["rows"].sum()) if parts else 0

    def _frames(self, name: str, job: ReadJob, *, strict: bool) -> Iterator[pl.DataFrame]:
        """Read every column as the public frames do, or only its wire form unless ``strict``."""
        table, dialect = models.metadata.tables[name], self._database.dialect
        if name == "outbox":
            names = [*EVENTS, "envelope"]
            columns = [event_column(column, dialect.name).label(column) for column in names]
            wires: dict[str, pl.DataType] = {column: pl.String() for column in names}
            wires |= {"offset": pl.Int64(), "created_at": INSTANT}
        else:
            columns = [wire(column, dialect.name).label(column.name) for column in table.columns]
            wires = wire_schema(_schema(table))
        statement = sa.select(*columns)
        if not strict:
            yield from dialect.read(statement, wires, job)
            return
        for frame in dialect.frames(statement, wires, job):
            with dialect.name_unreadable_rows(statement):
                yield events_frame(frame) if name == "outbox" else finish(frame, _schema(table))

    def _look_at_bars(self, frame: pl.DataFrame) -> None:
        low, high = pl.min_horizontal("open", "close"), pl.max_horizontal("open", "close")
        sane = (pl.col("low") <= low) & (pl.col("high") >= high) & (pl.col("volume") >= 0)
        wrong = frame.filter(~sane.fill_null(True))
        if wrong.height:
            more = f" ({wrong.height - 1:,} more rows)" if wrong.height > 1 else ""
            what = f"the row id={wrong['id'][0]!r} has a low, high or volume that no bar can have{more}"
            self._examined.problems.append(f"bars: {what}")
        self._bars = join_spans(pl.concat([self._bars, spans_of(frame)]))

    # facts that are stored twice

    async def _indexed(self) -> pl.DataFrame | None:
        """Return the opening times in the index of the bars; None if it cannot be read."""
        index = BarIndex(self._database)
        try:
            indexed = await index.series()
            series = set(indexed.select(_SERIES).iter_rows())
            spans = await index.spans(series) if series else no_rows(SPANS)
        except _UNREADABLE as error:
            self._examined.problems.append(f"bar_index: some rows cannot be read: {error}")
            return None
        counted = count_bars(spans).select(*_SERIES, counted="bars")
        both = indexed.join(counted, on=_SERIES, how="full", coalesce=True).filter(
            ~pl.col("bars").eq_missing(pl.col("counted"))
        )
        for row in both.iter_rows(named=True):
            self._examined.problems.append(
                f"bar_index: {row['symbol']!r} {row['timeframe']} counts {row['bars']} bars, but its packed times "
                f"are {row['counted']}"
            )
        return spans

    async def _hold_index(self, before: pl.DataFrame | None) -> None:
        """Compare the bars with the index as read before and after them: bars are added, and leave it if withdrawn."""
        after = await self._indexed() if before is not None else None
        if before is None or after is None:
            return
        if "bars" in self._unread:
            self._examined.not_checked.append("the index of the bars: some bars cannot be read")
            return
        statement = newest(self._database.dialect.name, [])
        versions = finish(await self._database.fetch(statement, wire_schema(NEWEST)), NEWEST)
        there = without(self._bars, versions.filter(pl.col("close").is_null()))
        self._examined.checked.append("the index of the bars, against the bars")
        for more, less, what in (
            (self._bars, before, "the index has bars that the table lacks"),
            (after, there, "the table has bars that the index lacks"),
        ):
            whole = join_spans(pl.concat([more, less]))
            extra = whole.join(join_spans(more), on=list(SPANS), how="anti")
            for symbol, timeframe in extra.select(_SERIES).unique(maintain_order=True).iter_rows():
                self._examined.problems.append(f"bar_index: of {symbol!r} {timeframe} {what}")


def _schema(table: sa.Table) -> pl.Schema:
    return pl.Schema({column.name: _kind(column) for column in table.columns})


def _kind(column: sa.Column[Any]) -> pl.DataType:
    if is_list(column):
        return pl.List(pl.String())
    return next((kind for known, kind in _KINDS if isinstance(column.type, known)), pl.String())
