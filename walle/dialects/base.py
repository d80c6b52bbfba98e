"""The port: what WallE asks of a database beyond the SQL that both speak."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from walle.config import DatabaseConfig, masked
from walle.dialects.outbox import OutboxDialect
from walle.errors import WalleError

__all__ = ["BATCH_ROWS", "Dialect", "Examined", "ReadJob"]

BATCH_ROWS = 65_536
"""Rows that are moved at once: large enough for speed, small enough to be interrupted within a blink."""


class ReadJob:
    """One blocking read in a worker thread, and how to stop it from outside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupt: Callable[[], object] | None = None
        self.stopped = False

    def interruptible_by(self, interrupt: Callable[[], object] | None) -> None:
        """Name the driver's interrupt for as long as its statement runs; None when it has ended."""
        with self._lock:
            self._interrupt = interrupt

    def stop(self) -> None:
        """Interrupt the running statement; safe from any thread, and when nothing runs."""
        with self._lock:
            self.stopped = True
            if self._interrupt is not None:
                self._interrupt()


@dataclass(slots=True)
class Examined:
    """What a thorough look at a database has checked, what it could not check and why, and what is wrong."""

    checked: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Dialect(ABC):
    """One database: its engines, its bulk paths, its guards and its errors.

    Parameters
    ----------
    config : DatabaseConfig
    read_only : bool
        Open every connection so that the database itself refuses writes.
    """

    name: str

    def __init__(self, config: DatabaseConfig, *, read_only: bool = False) -> None:
        self.config = config
        self.read_only = read_only

    @property
    def label(self) -> str:
        """The address with its password masked."""
        return masked(self.config.address)

    # engines

    @abstractmethod
    def async_engine(self) -> AsyncEngine:
        """Make the engine that the repositories write through; it opens nothing yet."""

    @abstractmethod
    def sync_engine(self, *, create: bool = False) -> Engine:
        """Make an engine without a pool, for looking at the schema and for migrations.

        Parameters
        ----------
        create : bool
            Make the file when it is absent.
        """

    @abstractmethod
    def prepare_creation(self) -> None:
        """Check that a database can be made at the address, and prepare the place."""

    @abstractmethod
    def is_absent(self) -> bool:
        """Tell whether there is nothing at the address yet that could be opened."""

    @abstractmethod
    def begin_migration(self, connection: Connection) -> None:
        """Hold off every other migration of this database until the transaction ends."""

    @abstractmethod
    def verify(self) -> None:
        """Raise when the address names another database by now than the one that was opened; a file may be replaced."""

    @abstractmethod
    def examine(self, connection: Connection, tables: Sequence[str], found: Examined) -> None:
        """Let the database check its own pages and indexes, as far as it can and allows it.

        Parameters
        ----------
        connection : Connection
            Of :meth:`sync_engine`.
        tables : sequence of str
            Those that are there.
        found : Examined
            Gets what was found.
        """

    @abstractmethod
    def check_read(self, connection: Connection) -> None:
        """Raise when what a connection of :meth:`sync_engine` has read may be half old and half new."""

    @abstractmethod
    async def release(self, engine: AsyncEngine) -> None:
        """Close the connections of an engine that :meth:`async_engine` has made."""

    # processes

    forks_between_transactions = False
    """Whether a fork has to wait for the transactions that are under way."""

    def before_fork(self, *, busy: bool) -> None:
        """Note what a forked child has to know; ``busy`` when a transaction is under way all the same."""
        return

    def forked(self) -> None:
        """Prepare a forked child, so that it can open this database anew."""
        return

    def check_process(self) -> None:
        """Raise where a fork has left this process unable to open this database.

        Raises
        ------
        DatabaseUnavailable
        """
        return

    # reading in columns

    @abstractmethod
    def read(
        self, statement: sa.Select[tuple[object, ...]], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Iterator[pl.DataFrame]:
        """Yield the rows of a statement in frames; blocking, for a worker thread.

        Parameters
        ----------
        statement : Select
            Its columns in the order of the schema, each in its wire form.
        schema : mapping of str to DataType
            The wire types; a driver may deliver a finished type instead (an instant, say).
        job : ReadJob
            Told how to interrupt the statement.
        """

    @abstractmethod
    def close_readers(self) -> None:
        """Close the connections that :meth:`read` has opened."""

    # writing in columns

    @property
    @abstractmethod
    def stages_before_lock(self) -> bool:
        """Whether rows are staged before the write transaction begins, to hold its lock for less long."""

    @property
    def arrival(self) -> str | None:
        """The column by which staged rows keep the order in which they came; None where that is not known."""
        return None

    @abstractmethod
    async def stage(
        self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame, *, more: bool = False
    ) -> sa.TableClause:
        """Load a frame into a temporary table of this connection, emptied before unless there is ``more``.

        Parameters
        ----------
        connection : AsyncConnection
        table : Table
            The table whose column types the staged columns get.
        frame : polars.DataFrame
            Columns are names of the table's columns.
        more : bool
            Add to what lies there.

        Returns
        -------
        TableClause
            The temporary table.
        """

    @abstractmethod
    async def append(self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame) -> bool:
        """Load a frame straight into a table where that is faster.

        Returns
        -------
        bool
            False when nothing was written: staging is the way (always on SQLite; on PostgreSQL when a key was there).
        """

    @abstractmethod
    async def begin_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Spare an anti-joined insert of many rows the guards that look at each row; this transaction only."""

    @abstractmethod
    async def end_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Put those guards back, in the same transaction."""

    @abstractmethod
    async def interrupt(self, connection: AsyncConnection) -> None:
        """Stop the statement that runs on a connection."""

    @abstractmethod
    async def begin_indexing(self, connection: AsyncConnection) -> None:
        """Say that this transaction keeps the index of the bars itself."""

    @abstractmethod
    async def end_indexing(self, connection: AsyncConnection) -> None:
        """Say that it does not any more."""

    # events

    @property
    @abstractmethod
    def outbox(self) -> OutboxDialect:
        """What the event log asks of this database."""

    # facts stay facts

    @abstractmethod
    def install_guards(self, connection: Connection) -> None:
        """Make the database refuse changes of facts; anew where guards exist."""

    @abstractmethod
    def remove_guards(self, connection: Connection) -> None:
        """Take the guards away, for a migration."""

    @abstractmethod
    def missing_guards(self, connection: Connection) -> list[str]:
        """Name the guards that are not there."""

    @abstractmethod
    async def begin_maintenance(self, connection: AsyncConnection) -> None:
        """Allow this transaction to delete bars."""

    @abstractmethod
    async def end_maintenance(self, connection: AsyncConnection) -> None:
        """Take that permission back before the transaction ends."""

    # errors

    @abstractmethod
    def translate(self, error: BaseException) -> WalleError | None:
        """Return WallE's error for a driver's, by class and code; None for what is not a driver's error."""
