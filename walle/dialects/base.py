"""The port to a database: everything that WallE needs beyond the SQL that both databases share."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import visitors

from walle.config import DatabaseConfig, masked
from walle.dialects.columns import columns_of
from walle.dialects.outbox_port import OutboxDialect
from walle.dialects.wire_frames import doubtful, wired
from walle.errors import PrecisionError, UnreadableRow, WalleError
from walle.forks import Gate
from walle.forms import UnreadableValue, findings, search
from walle.models import metadata

__all__ = ["BATCH_ROWS", "BULK_ROWS", "CheckResult", "Dialect", "ReadJob", "open_for_inspection"]

BATCH_ROWS = 65_536
"""The number of rows moved at once: large enough to be fast, small enough for a quick interrupt."""


_OPEN = Gate(closes=False)

BULK_ROWS = 4_096
"""The number of rows from which an insert drops the per-row guards: recreating them costs as much as some 200 rows."""


class ReadJob:
    """A blocking read in a worker thread that can be stopped from outside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupt: Callable[[], object] | None = None
        self.stopped: bool = False

    def interruptible_by(self, interrupt: Callable[[], object] | None) -> None:
        """Set the function that interrupts the running statement; None once it has ended."""
        with self._lock:
            self._interrupt = interrupt

    def stop(self) -> None:
        """Interrupt the running statement, if any; safe to call from any thread."""
        with self._lock:
            self.stopped = True
            if self._interrupt is not None:
                self._interrupt()


@dataclass(slots=True)
class CheckResult:
    """The result of a deep check of a database: what was checked, what could not be and why, and the problems."""

    checked: list[str] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Dialect(ABC):
    """One database: its engines, its bulk paths, its guards and its errors.

    Parameters
    ----------
    config : DatabaseConfig
    read_only : bool
        Whether to open every connection so that the database itself refuses writes.
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
        """Make the engine that the repositories write through, without opening a connection."""

    @abstractmethod
    def sync_engine(self, *, create: bool = False) -> Engine:
        """Make an engine without a pool, for inspecting the schema and for migrations.

        Parameters
        ----------
        create : bool
            Whether to create the file if it is absent.
        """

    @abstractmethod
    def prepare_creation(self) -> None:
        """Check that a database can be created at the address, and prepare for it."""

    @abstractmethod
    def is_absent(self) -> bool:
        """Return whether there is no database at the address yet."""

    @abstractmethod
    def begin_migration(self, connection: Connection) -> None:
        """Hold off every other migration of this database until the transaction ends."""

    @abstractmethod
    def verify(self) -> None:
        """Raise if the address now names another database than the one that was opened, since files can be replaced."""

    @abstractmethod
    def examine(self, connection: Connection, tables: Sequence[str], found: CheckResult) -> None:
        """Have the database check its own pages and indexes, as far as it can and permits.

        Parameters
        ----------
        connection : Connection
            A connection of :meth:`sync_engine`.
        tables : sequence of str
            The existing tables.
        found : CheckResult
            Collects the results.
        """

    @abstractmethod
    def check_read(self, connection: Connection) -> None:
        """Raise if a connection of :meth:`sync_engine` may have read a mixture of old and new data."""

    @abstractmethod
    async def release(self, engine: AsyncEngine) -> None:
        """Close the connections of an engine that :meth:`async_engine` made."""

    # processes

    @property
    def gate(self) -> Gate:
        """The gate that every transaction passes, so that a fork can wait for running ones; open by default."""
        return _OPEN

    def before_fork(self, *, busy: bool) -> None:
        """Record the state that a forked child needs; ``busy`` if a transaction is running nonetheless."""
        return

    def forked(self) -> None:
        """Prepare a forked child, so that it can open this database anew."""
        return

    def check_process(self) -> None:
        """Raise if a fork has left this process unable to open this database.

        Raises
        ------
        DatabaseUnavailable
        """
        return

    # reading in columns

    @abstractmethod
    def read(
        self, statement: sa.Select[tuple[object, ...]], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Generator[pl.DataFrame]:
        """Yield the rows of a statement in frames; blocking, for a worker thread.

        Parameters
        ----------
        statement : Select
            A statement with its columns in the order of the schema, each in its wire form.
        schema : mapping of str to DataType
            The types of the frames.
        job : ReadJob
            Receives the function that interrupts the statement.
        """

    def frames(
        self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Iterator[pl.DataFrame]:
        """Yield the frames of :meth:`read`, after checking that every value can be read.

        Raises
        ------
        UnreadableRow
            It names the row.
        """
        frames = self.read(wired(statement, schema, self.name), schema, job)
        with self.name_unreadable_rows(statement), closing(frames):
            yield from self.check_readable(frames, statement)

    def check_readable(self, frames: Iterable[pl.DataFrame], statement: sa.Select[Any]) -> Iterator[pl.DataFrame]:
        """Yield the frames of a statement; raise before a frame that holds unreadable values.

        Raises
        ------
        UnreadableRow
        """
        finite = True
        for frame in frames:
            while (doubt := doubtful(frame, finite=finite)) is not None:
                found = self.find_unreadable_rows(statement)
                if not found and doubt.kind == "number":
                    finite = False  # such numbers are computed, or come from rejected rows
                    continue
                raise self.unreadable_error(statement, UnreadableRow(doubt.message), found)
            yield frame

    @contextmanager
    def name_unreadable_rows(self, statement: sa.Select[Any]) -> Iterator[None]:
        """Turn an error about a stored value into one that names its row.

        Raises
        ------
        UnreadableRow
            For a value that its column does not allow.
        PrecisionError
            For a number with more digits than a frame can hold.
        """
        try:
            yield
        except UnreadableRow as error:
            raise error if error.rows else self.unreadable_error(statement, error) from error
        except PrecisionError as error:
            named = "; ".join(map(str, self.find_unreadable_rows(statement)[:5]))
            raise PrecisionError(f"{error} {named}." if named else str(error)) from error
        except Exception as error:
            if not self.is_undecodable(error):
                raise
            raise self.unreadable_error(statement, UnreadableRow(str(error).splitlines()[0][:200])) from error

    def unreadable_error(
        self, statement: sa.Select[Any], error: UnreadableRow, found: Sequence[UnreadableValue] | None = None
    ) -> UnreadableRow:
        """Return an error that names the rows that a statement cannot read, if they can be found."""
        found = self.find_unreadable_rows(statement) if found is None else found
        shown = [str(one) for one in found[:5]]
        among = ", ".join(table.name for table in _tables(statement))
        what = "; ".join(shown) if shown else f"{error.args[0].removesuffix('.')} (in {among})"
        return UnreadableRow(
            f"{self.label} holds values that another program wrote and no reader can read: {what}. Let that program "
            "correct them, or move those rows aside: walle upgrade --set-aside.",
            shown,
        )

    def find_unreadable_rows(self, statement: sa.Select[Any]) -> list[UnreadableValue]:
        """Find unreadable values in the rows of a statement, or else in its tables; blocking."""
        with open_for_inspection(self) as connection:
            return self.find_unreadable(connection, _tables(statement), statement)

    def find_unreadable(
        self, connection: Connection, tables: Sequence[sa.Table], within: sa.Select[Any] | None = None
    ) -> list[UnreadableValue]:
        """Find unreadable values with a connection.

        Parameters
        ----------
        connection : Connection
        tables : sequence of Table
        within : Select, optional
            A statement whose rows are searched first.
        """
        direct = _direct(within) if within is not None else set()
        for table in tables:
            present = columns_of(connection, [table.name])[table.name]
            for among in [within, None] if table in direct else [None]:
                query = search(table, self.name, only=present, within=among)
                if query is not None and (rows := connection.execute(query).all()):
                    return findings(table, self.name, rows, present)
        return []

    @abstractmethod
    def is_undecodable(self, error: BaseException) -> bool:
        """Return whether the driver raised this error because it cannot convert a stored value to Python."""

    @abstractmethod
    def close_readers(self) -> None:
        """Close the connections that :meth:`read` opened."""

    # writing in columns

    @property
    @abstractmethod
    def stages_before_lock(self) -> bool:
        """Whether rows are staged before the write transaction begins, so that it holds its lock for less time."""

    @property
    def arrival(self) -> str | None:
        """The column that keeps staged rows in their original order; None if there is none."""
        return None

    @property
    @abstractmethod
    def physical_order(self) -> str:
        """The column of a staged table by which its rows lie in the order in which they were staged."""

    @abstractmethod
    async def stage(
        self,
        connection: AsyncConnection,
        table: sa.Table,
        frame: pl.DataFrame,
        *,
        more: bool = False,
        name: str | None = None,
    ) -> sa.TableClause:
        """Load a frame into a temporary table of this connection, which is emptied first unless ``more`` is set.

        Parameters
        ----------
        connection : AsyncConnection
        table : Table
            The table whose column types the staged columns get.
        frame : polars.DataFrame
            A frame whose columns have the names of the table's columns.
        more : bool
            Whether to add to the rows that are already staged.
        name : str, optional
            Of the temporary table, for other columns than those that are usually staged of the table.

        Returns
        -------
        TableClause
            The temporary table.
        """

    @abstractmethod
    async def append(self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame) -> bool:
        """Load a frame straight into a table if that is faster.

        Returns
        -------
        bool
            False if nothing was written and the rows have to be staged: many rows on SQLite, and on PostgreSQL if a key
            already existed (on SQLite the row that has it stays).
        """

    @abstractmethod
    async def begin_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Disable the per-row guards for an anti-joined insert of many rows, in this transaction only."""

    @abstractmethod
    async def end_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Enable those guards again, in the same transaction."""

    @abstractmethod
    async def interrupt(self, connection: AsyncConnection) -> None:
        """Stop the running statement of a connection."""

    @abstractmethod
    async def hold(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Hold off every other transaction that does the same for this table, until this one ends."""

    @abstractmethod
    def writers_of(self, table: sa.Table, before: datetime | None) -> sa.ColumnElement[str] | None:
        """Return an expression that names the other open transactions that have written to a table.

        Parameters
        ----------
        table : Table
        before : datetime, optional
            Leave out transactions that are known to have begun later.

        Returns
        -------
        ColumnElement or None
            Names joined by commas; None where there is one writer at a time.
        """

    @abstractmethod
    async def hold_series(self, connection: AsyncConnection, series: Mapping[tuple[str, str], bool]) -> None:
        """Hold off the transactions that do the same for these series of bars, until this one ends.

        Parameters
        ----------
        connection : AsyncConnection
        series : mapping of (symbol, timeframe) to bool
            Whether it is held alone; otherwise together with all others that do not hold it alone.
        """

    @abstractmethod
    async def hold_versions(self, connection: AsyncConnection, series: Collection[tuple[str, str]]) -> None:
        """Hold off the transactions that add versions to bars of these series, until this one ends.

        Parameters
        ----------
        connection : AsyncConnection
        series : collection of (symbol, timeframe)
        """

    @abstractmethod
    async def begin_indexing(self, connection: AsyncConnection) -> None:
        """Declare that this transaction maintains the index of the bars itself."""

    @abstractmethod
    async def end_indexing(self, connection: AsyncConnection) -> None:
        """Withdraw this declaration."""

    # events

    @property
    @abstractmethod
    def outbox(self) -> OutboxDialect:
        """The operations of the event log on this database."""

    # guards of facts

    @abstractmethod
    def install_guards(self, connection: Connection) -> None:
        """Create the guards by which the database refuses changes of facts, replacing existing ones."""

    @abstractmethod
    def remove_guards(self, connection: Connection) -> None:
        """Remove the guards, for a migration."""

    @abstractmethod
    def missing_guards(self, connection: Connection) -> list[str]:
        """Return the names of missing guards."""

    @abstractmethod
    async def begin_maintenance(self, connection: AsyncConnection) -> None:
        """Allow this transaction to delete bars."""

    @abstractmethod
    async def end_maintenance(self, connection: AsyncConnection) -> None:
        """Withdraw that permission before the transaction ends."""

    # errors

    @abstractmethod
    def translate(self, error: BaseException) -> WalleError | None:
        """Return WallE's error for a driver's error, by class and code; None for any other error."""


def _tables(statement: sa.Select[Any]) -> list[sa.Table]:
    """Return the tables of WallE that a statement names."""
    named = set(visitors.iterate(statement))
    return [table for table in metadata.sorted_tables if table in named]


def _direct(statement: sa.Select[Any]) -> set[sa.FromClause]:
    """Return the tables directly in the FROM clause, without those of subqueries."""
    named = {item for item in visitors.iterate(statement) if isinstance(item, sa.TableClause)}
    if not named.issubset(metadata.tables.values()):
        return set()  # a staged table exists only in its own connection
    found: set[sa.FromClause] = set()
    waiting = list(statement.get_final_froms())
    while waiting:
        one = waiting.pop()
        if isinstance(one, sa.Join):
            waiting += [one.left, one.right]
        else:
            found.add(one)
    return found


@contextmanager
def open_for_inspection(dialect: Dialect) -> Iterator[Connection]:
    """Open a connection for inspection, and turn its driver errors into ours.

    Raises
    ------
    DatabaseError
        Or one of its subclasses.
    """
    engine = dialect.sync_engine()
    try:
        with dialect.gate.passed(), engine.connect() as connection:
            # deferred, because inspection must not wait for a writer
            connection.execution_options(walle_deferred=True)
            yield connection
            dialect.check_read(connection)
    except Exception as error:
        ours = dialect.translate(error)
        if ours is None:
            raise
        raise ours from error
    finally:
        engine.dispose()
