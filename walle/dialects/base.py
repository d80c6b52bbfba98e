"""The port: what WallE asks of a database beyond the SQL that both speak."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql import visitors

from walle.config import DatabaseConfig, masked
from walle.dialects.delivered import doubtful, wired
from walle.dialects.outbox_port import OutboxDialect
from walle.errors import PrecisionError, UnreadableRow, WalleError
from walle.forks import Gate
from walle.forms import Found, findings, search
from walle.models import metadata

__all__ = ["BATCH_ROWS", "BULK_ROWS", "Dialect", "Examined", "ReadJob", "looking"]

BATCH_ROWS = 65_536
"""Rows that are moved at once: large enough for speed, small enough to be interrupted within a blink."""


_OPEN = Gate(closes=False)

BULK_ROWS = 4_096
"""Rows from which an insert is spared the guards that look at each row: to put them back costs some 200 looks."""


class ReadJob:
    """One blocking read in a worker thread, and how to stop it from outside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._interrupt: Callable[[], object] | None = None
        self.stopped: bool = False

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

    @property
    def gate(self) -> Gate:
        """What every transaction passes, so that a fork can wait for those that are under way; open by default."""
        return _OPEN

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
    ) -> Generator[pl.DataFrame]:
        """Yield the rows of a statement in frames; blocking, for a worker thread.

        Parameters
        ----------
        statement : Select
            Its columns in the order of the schema, each in its wire form.
        schema : mapping of str to DataType
            The types of the frames.
        job : ReadJob
            Told how to interrupt the statement.
        """

    def frames(
        self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Iterator[pl.DataFrame]:
        """Yield what :meth:`read` does, once it is known that every value can be read.

        Raises
        ------
        UnreadableRow
            Naming the row.
        """
        frames = self.read(wired(statement, schema, self.name), schema, job)
        with self.telling(statement), closing(frames):
            yield from self.certain(frames, statement)

    def certain(self, frames: Iterable[pl.DataFrame], statement: sa.Select[Any]) -> Iterator[pl.DataFrame]:
        """Yield the frames of a statement, none of which holds what no reader can read.

        Raises
        ------
        UnreadableRow
        """
        finite = True
        for frame in frames:
            while (doubt := doubtful(frame, finite=finite)) is not None:
                found = self.unreadable(statement)
                if not found and doubt.kind == "number":
                    finite = False  # reckoned, or of rejected rows, and not stored otherwise
                    continue
                raise self.explained(statement, UnreadableRow(doubt.told), found)
            yield frame

    @contextmanager
    def telling(self, statement: sa.Select[Any]) -> Iterator[None]:
        """Let an error about a stored value name its row.

        Raises
        ------
        UnreadableRow
            For what is no value of its column's.
        PrecisionError
            For a number with more digits than a frame holds.
        """
        try:
            yield
        except UnreadableRow as error:
            raise error if error.rows else self.explained(statement, error) from error
        except PrecisionError as error:
            named = "; ".join(map(str, self.unreadable(statement)[:5]))
            raise PrecisionError(f"{error} {named}." if named else str(error)) from error
        except Exception as error:
            if not self.is_undecodable(error):
                raise
            raise self.explained(statement, UnreadableRow(str(error).splitlines()[0][:200])) from error

    def explained(
        self, statement: sa.Select[Any], error: UnreadableRow, found: Sequence[Found] | None = None
    ) -> UnreadableRow:
        """Return an error that names the rows which a statement cannot read, where they can be found."""
        found = self.unreadable(statement) if found is None else found
        shown = [str(one) for one in found[:5]]
        among = ", ".join(table.name for table in _tables(statement))
        what = "; ".join(shown) if shown else f"{error.args[0].removesuffix('.')} (in {among})"
        return UnreadableRow(
            f"{self.label} holds what another program wrote and no reader can read: {what}. Let that program correct "
            "it, or move such rows aside, whole: walle upgrade --set-aside.",
            shown,
        )

    def unreadable(self, statement: sa.Select[Any]) -> list[Found]:
        """Find what no reader can read among the rows of a statement, else in its tables; blocking."""
        with looking(self) as connection:
            return self.find_unreadable(connection, _tables(statement), statement)

    def find_unreadable(
        self, connection: Connection, tables: Sequence[sa.Table], within: sa.Select[Any] | None = None
    ) -> list[Found]:
        """Find it over a connection.

        Parameters
        ----------
        connection : Connection
        tables : sequence of Table
        within : Select, optional
            First among the rows that this statement reads.
        """
        direct = _direct(within) if within is not None else set()
        for table in tables:
            present = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
            for among in [within, None] if table in direct else [None]:
                query = search(table, self.name, only=present, within=among)
                if query is not None and (rows := connection.execute(query).all()):
                    return findings(table, self.name, rows, present)
        return []

    @abstractmethod
    def is_undecodable(self, error: BaseException) -> bool:
        """Tell whether the driver raised this because it cannot make a Python value of a stored one."""

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


def _tables(statement: sa.Select[Any]) -> list[sa.Table]:
    """Return the tables of ours that a statement names."""
    named = set(visitors.iterate(statement))
    return [table for table in metadata.sorted_tables if table in named]


def _direct(statement: sa.Select[Any]) -> set[sa.FromClause]:
    """Return the tables that stand in the FROM itself, and not in a part of it."""
    named = {item for item in visitors.iterate(statement) if isinstance(item, sa.TableClause)}
    if not named.issubset(metadata.tables.values()):
        return set()  # a staged table is in no other connection
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
def looking(dialect: Dialect) -> Iterator[Connection]:
    """Open a connection for looking, whose driver errors are ours.

    Raises
    ------
    DatabaseError
        Or one of its kind.
    """
    engine = dialect.sync_engine()
    try:
        with dialect.gate.passed(), engine.connect() as connection:
            # deferred: looking must not wait for a writer
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
