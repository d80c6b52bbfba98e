"""The connection that the repositories write through, and its transactions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import CursorResult
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction

from walle import backend, forks
from walle.dialects import Dialect
from walle.dialects.base import BATCH_ROWS, BULK_ROWS
from walle.dialects.wire_frames import from_rows, wired
from walle.errors import SchemaOutdated
from walle.interrupts import cancelled_by_interrupt, to_the_end
from walle.models import HEAD, REVISIONS
from walle.types import microseconds

__all__ = ["Writer", "concat", "require_head"]

T = TypeVar("T")

log: logging.Logger = logging.getLogger("walle")


class Writer:
    """A connection for the repositories to write through: statements that an interrupt can stop, and bulk loads.

    Parameters
    ----------
    connection : AsyncConnection
    dialect : Dialect
    joined : bool
        Whether the connection is in a transaction of the caller, in which each of these is then a savepoint.
    """

    def __init__(self, connection: AsyncConnection, dialect: Dialect, *, joined: bool = False) -> None:
        self.connection = connection
        self.dialect = dialect
        self._joined = joined

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """Begin a transaction, and commit it at the end."""
        async with self.connection.begin_nested() if self._joined else self.connection.begin() as transaction:
            yield
            if not self._joined:
                await self.commit(transaction)

    @asynccontextmanager
    async def unlocked(self) -> AsyncIterator[None]:
        """Begin a transaction that takes no lock of the whole database: for reading, and for staging rows."""
        await self.connection.execution_options(walle_deferred=True)
        try:
            async with self.transaction():
                yield
        finally:
            await self.connection.execution_options(walle_deferred=False)

    async def execute(
        self,
        statement: sa.Executable,
        parameters: Sequence[Mapping[str, Any]] | Mapping[str, Any] | None = None,
    ) -> CursorResult[Any]:
        """Run one statement."""
        return await self._interruptible(self.connection.execute(statement, parameters))

    async def fetch(self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
        """Return the rows of a statement as a frame of wire columns, as this transaction sees them.

        Raises
        ------
        UnreadableRow
            For a value of another program that its column does not allow; the message names the row.
        """
        forks.check_polars()
        with self.dialect.name_unreadable_rows(statement):
            result = await self.execute(wired(statement, schema, self.dialect.name))
            counted = self.dialect.name == "sqlite"
            parts = (
                from_rows([tuple(row) for row in rows], schema, counted=counted)
                for rows in result.partitions(BATCH_ROWS)
            )
            return concat(self.dialect.check_readable(parts, statement), schema)

    async def hold(self, table: sa.Table) -> None:
        """Hold off every other transaction that does the same for this table, until this one ends."""
        await self._interruptible(self.dialect.hold(self.connection, table))

    async def hold_versions(self, series: Collection[tuple[str, str]]) -> None:
        """Hold off other writers of versions of some series; see :meth:`walle.dialects.Dialect.hold_versions`."""
        await self._interruptible(self.dialect.hold_versions(self.connection, series))

    async def hold_series(self, series: Mapping[tuple[str, str], bool]) -> None:
        """Hold off other writers of some series; see :meth:`walle.dialects.Dialect.hold_series`."""
        await self._interruptible(self.dialect.hold_series(self.connection, series))

    async def stage(
        self, table: sa.Table, frame: pl.DataFrame, *, more: bool = False, name: str | None = None
    ) -> sa.TableClause:
        """Load a frame into a temporary table; see :meth:`walle.dialects.Dialect.stage`."""
        return await self._interruptible(self.dialect.stage(self.connection, table, frame, more=more, name=name))

    async def insert(self, table: sa.Table, statement: sa.Insert, rows: int) -> int:
        """Run an insert of rows whose keys are not in the table, and return the number of inserted rows."""
        bulk = rows >= BULK_ROWS
        if bulk:
            await self.dialect.begin_bulk_insert(self.connection, table)
        inserted = (await self.execute(statement)).rowcount
        if bulk:
            await self.dialect.end_bulk_insert(self.connection, table)
        return inserted

    async def insert_returning(
        self, table: sa.Table, statement: sa.Insert, rows: int, schema: Mapping[str, pl.DataType]
    ) -> pl.DataFrame:
        """Run an insert as :meth:`insert` does, and return some columns of the inserted rows, instants as integers."""
        columns = [microseconds(table.c[name], self.dialect.name) for name in schema]
        bulk = rows >= BULK_ROWS
        if bulk:
            await self.dialect.begin_bulk_insert(self.connection, table)
        result = await self.execute(statement.returning(*columns))
        counted = {name: pl.Int64() if kind.is_temporal() else kind for name, kind in schema.items()}
        parts = (
            from_rows([tuple(row) for row in some], counted, counted=True) for some in result.partitions(BATCH_ROWS)
        )
        inserted = concat(parts, counted)
        if bulk:
            await self.dialect.end_bulk_insert(self.connection, table)
        return inserted

    async def insert_events(self, types: Sequence[str], envelopes: Sequence[str]) -> list[int]:
        """Insert events in order and return their ids; see :meth:`walle.dialects.outbox_port.OutboxDialect.insert`."""
        return await self._interruptible(self.dialect.outbox.insert(self.connection, types, envelopes))

    async def append(self, table: sa.Table, frame: pl.DataFrame) -> bool:
        """Load a frame straight into a table if that is faster; return False if nothing was written."""
        return await self._interruptible(self.dialect.append(self.connection, table, frame))

    async def commit(self, transaction: AsyncTransaction) -> None:
        """Commit; a cancellation waits until the outcome is known."""
        await self._interruptible(transaction.commit())

    async def _interruptible(self, work: Awaitable[T]) -> T:
        # cancelling SQLAlchemy in mid-statement would leave it waiting for the running statement
        task = asyncio.ensure_future(cancelled_by_interrupt(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await to_the_end(self._stop(task))
            raise

    async def _stop(self, task: asyncio.Future[T]) -> None:
        while not task.done():
            try:
                await self.dialect.interrupt(self.connection)
            except Exception as error:  # the connection may be gone; the end of the statement itself counts
                log.debug("cannot interrupt a statement: %r", error)
            await asyncio.wait([task], timeout=0.05)
        task.cancelled() or task.exception()


def concat(parts: Iterator[pl.DataFrame], schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Concatenate frames; without any, return an empty frame of the schema."""
    frames = list(parts)
    return pl.concat(frames) if frames else pl.DataFrame(schema=dict(schema))


async def require_head(connection: AsyncConnection, label: str) -> None:
    """Raise unless the schema is at the revision of this WallE.

    Raises
    ------
    SchemaOutdated
        For an older schema, which would accept the rows and round them: numeric(18, 8) keeps eight places.
    """
    present = await connection.run_sync(lambda sync: sa.inspect(sync).has_table("alembic_version"))
    query = sa.text("SELECT version_num FROM alembic_version")
    revision = (await connection.execute(query)).scalar() if present else None
    if revision == HEAD:
        return
    how = "Upgrade it: walle upgrade (in Python: walle.upgrade(address))."
    if revision in backend.REVISIONS:  # the trading engine's own
        how = "Take it over: walle upgrade --yes (in Python: walle.upgrade(address, confirmed=True))."
    elif revision is not None and revision not in REVISIONS:
        how = "That is neither one of its own nor of the trading engine's: install a newer WallE."
    raise SchemaOutdated(f"{label} stands at revision {revision!r}, and this WallE writes to {HEAD!r}. {how}", revision)
