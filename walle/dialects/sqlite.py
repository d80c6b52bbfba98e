"""SQLite: one file with one writer at a time and concurrent readers (WAL)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Collection, Generator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from walle.config import DatabaseConfig
from walle.dialects import sqlite_forks, sqlite_guards, sqlite_texts
from walle.dialects.base import BATCH_ROWS, CheckResult, Dialect, ReadJob
from walle.dialects.sqlite_errors import is_busy, staging, translate
from walle.dialects.sqlite_examine import examine
from walle.dialects.sqlite_file import SQLiteFile
from walle.dialects.sqlite_outbox import SQLiteOutbox
from walle.dialects.sqlite_watch import check_begun, check_read, watch
from walle.dialects.wire_frames import from_rows
from walle.errors import DatabaseBusy, DatabaseError, DatabaseUnavailable, NotAWalleStore, ReadOnly, WalleError
from walle.forks import Gate
from walle.forms import UnreadableValue
from walle.types import ExactDecimal, Json, UtcInstant

__all__ = ["SQLiteDialect"]

log: logging.Logger = logging.getLogger("walle")

BUSY_TIMEOUT = 60.0
"""Seconds that a transaction waits for another process's write lock."""

BUSY_SLICE = 0.25
"""Seconds that SQLite itself waits for a lock before a retry; it cannot be interrupted meanwhile."""

READ_TRIES = 3
"""The number of times that a reader that cannot lock the file starts again after the file has changed."""

STAGE_ROWS = 8_192
"""The number of rows staged between two checks for an interrupt, which takes about 10 ms."""

APPEND_ROWS = 500
"""The number of rows that are not worth being staged."""

_INTERRUPTED = "walle_interrupted"


class SQLiteDialect(Dialect):
    """A SQLite file, opened only through Python's own sqlite3 library.

    A second SQLite library in the process (ADBC, DuckDB, connectorx) would drop the file's POSIX locks when it closes
    the file, and so allow two writers.
    """

    name = "sqlite"
    stages_before_lock = True

    def __init__(self, config: DatabaseConfig, *, read_only: bool = False) -> None:
        super().__init__(config, read_only=read_only)
        self.file: SQLiteFile = SQLiteFile(self.path)
        self._gate = sqlite_forks.gate_of(self.file.real)

    @property
    def path(self) -> Path:
        """The path of the file, as it was passed."""
        return Path(str(self.config.address.database))

    # engines

    def async_engine(self) -> AsyncEngine:
        """Make the engine for writes; every transaction is BEGIN IMMEDIATE, so that none fails halfway for a lock."""
        mode = "ro" if self.read_only else "rw"  # never rwc, which would recreate a removed file as an empty one
        engine = create_async_engine(
            self._url("sqlite+aiosqlite"),
            echo=self.config.echo,
            pool_size=self.config.pool_size,
            max_overflow=self.config.pool_overflow,
            connect_args={"isolation_level": None, "timeout": BUSY_SLICE},
        )
        watch(engine.sync_engine, self.file, mode)
        _register_begin(engine.sync_engine, self.file, read_only=self.read_only)
        return engine

    def sync_engine(self, *, create: bool = False) -> Engine:
        """Make an engine without a pool."""
        mode = "ro" if self.read_only else "rwc" if create else "rw"
        engine = sa.create_engine(
            self._url("sqlite+pysqlite"),
            echo=self.config.echo,
            poolclass=NullPool,
            connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT},
        )
        watch(engine, self.file, mode)
        _register_begin(engine, self.file, read_only=self.read_only)
        return engine

    @cached_property
    def _read_engine(self) -> Engine:
        engine = sa.create_engine(
            self._url("sqlite+pysqlite"),
            echo=self.config.echo,
            pool_size=self.config.pool_size,
            max_overflow=self.config.pool_overflow,
            connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False},
        )
        watch(engine, self.file, "ro")
        return engine

    def _url(self, driver: str) -> URL:
        # walle.dialects.sqlite_watch chooses the mode when a connection is opened
        return URL.create(driver, database=f"file:{quote(str(self.path))}", query={"uri": "true"})

    def verify(self) -> None:
        """Raise if the file at the path is no longer the one that was opened first.

        Raises
        ------
        FileReplaced
        """
        self.file.remember()
        self.file.verify()

    def examine(self, connection: Connection, tables: Sequence[str], found: CheckResult) -> None:
        """Run integrity_check and foreign_key_check, and compare the ids with their counters."""
        examine(connection, tables, found)

    def check_read(self, connection: Connection) -> None:
        """Raise if the file has changed during a read that could not lock it."""
        check_read(connection, self.file)

    async def release(self, engine: AsyncEngine) -> None:
        """Close an engine; if its file was replaced, first checkpoint the log into that file."""
        async with self.gate.passed_by_task():  # the last connection to close checkpoints the -wal into the file
            if self.file.replaced:
                with contextlib.suppress(WalleError):
                    async with engine.connect():  # checking a connection out of the pool checkpoints it
                        pass
            await engine.dispose()

    def is_absent(self) -> bool:
        """Return whether the file is absent or empty.

        Raises
        ------
        NotAWalleStore
            If the file holds a single byte.
        DatabaseUnavailable
            If the file cannot be examined, or the address is a folder.
        """
        if self.path.is_dir():
            raise DatabaseUnavailable(f"{self.path} is a folder; name a file in it: {self.path / 'research.db'}.")
        try:
            size = self.path.stat().st_size
            if size == 1:  # SQLite treats a file of one byte as empty, and would overwrite it
                raise NotAWalleStore(f"{self.path} is not a SQLite database; it was not touched.")
            return size == 0
        except FileNotFoundError:
            return True
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path} cannot be opened: {error.strerror}.") from error

    def prepare_creation(self) -> None:
        """Check that the folder exists and is writable, and switch the new file to WAL.

        Raises
        ------
        DatabaseUnavailable
            If the folder does not exist.
        ReadOnly
            If the folder cannot be written.
        FileReplaced
            If a file of that name was removed and is still open somewhere.
        """
        folder = self.file.real.parent
        if not folder.is_dir():
            raise DatabaseUnavailable(f"{folder} does not exist; create it first, or name another folder.")
        if not os.access(folder, os.W_OK):
            raise ReadOnly(f"{folder} cannot be written, so no store can be created there. Choose another folder.")
        self.file.refuse_foreign_log()
        with self.gate.passed():
            self._switch_to_wal()

    def _switch_to_wal(self) -> None:
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_TIMEOUT)
        try:
            deadline = time.monotonic() + BUSY_TIMEOUT
            while True:  # SQLite itself does not wait for others to switch to WAL
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    return
                except sqlite3.OperationalError as error:
                    if not is_busy(error) or time.monotonic() > deadline:
                        raise self.translate(error) or error from error
                    time.sleep(0.02)
        finally:
            connection.close()

    def begin_migration(self, connection: Connection) -> None:
        """Nothing to do: BEGIN IMMEDIATE already holds off other writers."""

    # processes

    @property
    def gate(self) -> Gate:
        """The gate of the file, shared by everything in this process that works on it."""
        return self._gate

    def before_fork(self, *, busy: bool) -> None:
        """Record the file and its state."""
        self._inherited = sqlite_forks.Inherited(self.file.real, busy=busy)

    def forked(self) -> None:
        """Take the file's locks again."""
        self._inherited.take_over()

    def check_process(self) -> None:
        """Raise if the locks of the file are unknown.

        Raises
        ------
        DatabaseUnavailable
            After a fork in the middle of a transaction.
        """
        sqlite_forks.check(self.file.real)

    # reading in columns

    def read(
        self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Generator[pl.DataFrame]:
        """Yield the rows in frames, from a connection that is opened read-only.

        Raises
        ------
        DatabaseBusy
            If the file changes repeatedly, or during a read, and the reader cannot lock it.
        """
        with self.gate.passed():
            for left in reversed(range(READ_TRIES)):
                begun = False
                try:
                    for frame in self._read(statement, schema, job):
                        begun = True
                        yield frame
                    return
                except DatabaseBusy:
                    if begun or not left:
                        raise

    def _read(
        self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Generator[pl.DataFrame]:
        with self._read_engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            job.interruptible_by(raw.interrupt)
            result = None
            try:
                result = connection.execute(statement)
                cursor = result.cursor
                assert cursor is not None
                while not job.stopped and (rows := cursor.fetchmany(BATCH_ROWS)):
                    frame = from_rows(rows, schema, counted=True)
                    check_read(connection, self.file)
                    yield frame
            except sqlite3.Error:
                check_read(connection, self.file)  # to a reader of an immutable file, changes look like damage
                raise
            finally:
                job.interruptible_by(None)
                if result is not None:
                    result.close()  # an unfinished statement would prevent a checkpoint of the log

    def close_readers(self) -> None:
        """Close the read-only connections."""
        if "_read_engine" in self.__dict__:
            with self.gate.passed():
                self._read_engine.dispose()
            del self._read_engine

    # writing in columns

    @property
    def arrival(self) -> str:
        """The row id, since SQLite numbers the rows of a table in order of insertion."""
        return "rowid"

    @property
    def physical_order(self) -> str:
        """The row id."""
        return "rowid"

    async def stage(
        self,
        connection: AsyncConnection,
        table: sa.Table,
        frame: pl.DataFrame,
        *,
        more: bool = False,
        name: str | None = None,
    ) -> sa.TableClause:
        """Fill a TEMP table, which is outside the file, so that no lock is held meanwhile.

        Raises
        ------
        CancelledError
            Between two batches after :meth:`interrupt`.
        StorageFull
            If there is no space for it in SQLite's temporary folder.
        """
        with staging():
            return await self._stage(connection, table, frame, f"walle_stage_{name or table.name}", more=more)

    async def _stage(
        self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame, name: str, *, more: bool
    ) -> sa.TableClause:
        columns = ", ".join(f'"{column}"' for column in frame.columns)
        await connection.exec_driver_sql(
            f"CREATE TEMP TABLE IF NOT EXISTS {name} AS SELECT {columns} FROM {table.name} WHERE 0"
        )
        if not more:
            await connection.exec_driver_sql(f"DELETE FROM temp.{name}")
        await self._insert(connection, f"INSERT INTO temp.{name} ({{}}) VALUES ({{}})", table, frame)
        return sa.table(name, *(sa.column(column, table.c[column].type) for column in frame.columns), schema="temp")

    async def append(self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame) -> bool:
        """Insert few rows whose keys are new; return False for more: staging holds the write lock for less time."""
        if frame.height > APPEND_ROWS:
            return False
        await self._insert(
            connection, f"INSERT INTO {table.name} ({{}}) VALUES ({{}}) ON CONFLICT DO NOTHING", table, frame
        )
        return True

    async def _insert(self, connection: AsyncConnection, insert: str, table: sa.Table, frame: pl.DataFrame) -> None:
        statement = insert.format(", ".join(f'"{column}"' for column in frame.columns), ", ".join("?" * frame.width))
        storage = frame.with_columns(_storage_form(table.c[column], frame[column]) for column in frame.columns)
        connection.info.pop(_INTERRUPTED, None)
        for part in storage.iter_slices(STAGE_ROWS):
            if connection.info.get(_INTERRUPTED):
                raise asyncio.CancelledError
            await connection.exec_driver_sql(statement, part.rows())

    async def begin_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Drop the triggers against replacement: an anti-joined insert replaces nothing, and they double its time.

        DDL is part of the transaction, so no other connection ever sees the table without them.
        """
        for name in sqlite_guards.insert_guards(table.name):
            await connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")

    async def end_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Create them again."""
        for name in sqlite_guards.insert_guards(table.name):
            await connection.exec_driver_sql(sqlite_guards.TRIGGERS[name])

    async def interrupt(self, connection: AsyncConnection) -> None:
        """Stop the running statement with sqlite3_interrupt; staging stops before its next batch.

        An executemany notices it only while it inserts a row, when the caller hardly ever has the GIL.
        """
        connection.info[_INTERRUPTED] = True
        driver = (await connection.get_raw_connection()).driver_connection
        if driver is not None:
            await driver.interrupt()

    async def hold(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Nothing to do: BEGIN IMMEDIATE already holds off other writers."""

    def writers_of(self, table: sa.Table, before: datetime | None) -> None:
        """Return None: one writer at a time has the file."""

    async def hold_series(self, connection: AsyncConnection, series: Mapping[tuple[str, str], bool]) -> None:
        """Nothing to do, likewise."""

    async def hold_versions(self, connection: AsyncConnection, series: Collection[tuple[str, str]]) -> None:
        """Nothing to do, likewise."""

    async def begin_indexing(self, connection: AsyncConnection) -> None:
        """Set the marker that the trigger for other programs' bars checks."""
        await connection.exec_driver_sql(sqlite_guards.BEGIN_INDEXING)

    async def end_indexing(self, connection: AsyncConnection) -> None:
        """Remove the marker."""
        await connection.exec_driver_sql(sqlite_guards.END_INDEXING)

    # events

    @cached_property
    def outbox(self) -> SQLiteOutbox:
        """The events in this file."""
        return SQLiteOutbox(_INTERRUPTED, STAGE_ROWS)

    # guards of facts

    def install_guards(self, connection: Connection) -> None:
        """Create the triggers anew."""
        sqlite_guards.install(connection)

    def remove_guards(self, connection: Connection) -> None:
        """Drop the triggers and their two helper tables."""
        sqlite_guards.remove(connection)

    def missing_guards(self, connection: Connection) -> list[str]:
        """Return the names of triggers that are missing or altered."""
        return sqlite_guards.missing(connection)

    async def begin_maintenance(self, connection: AsyncConnection) -> None:
        """Set the marker row that the delete guard of bars checks."""
        await connection.exec_driver_sql(sqlite_guards.BEGIN_MAINTENANCE)

    async def end_maintenance(self, connection: AsyncConnection) -> None:
        """Remove the marker row."""
        await connection.exec_driver_sql(sqlite_guards.END_MAINTENANCE)

    # errors

    def find_unreadable(
        self, connection: Connection, tables: Sequence[sa.Table], within: sa.Select[Any] | None = None
    ) -> list[UnreadableValue]:
        """Find unreadable values; only Python can find texts that are not UTF-8."""
        with sqlite_texts.any_text(connection):
            found = super().find_unreadable(connection, tables, within)
        return found or sqlite_texts.undecodable(connection, tables)

    def is_undecodable(self, error: BaseException) -> bool:
        """Return whether the sqlite3 module itself raised the error, about a text; SQLite's own errors have a code."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        return isinstance(cause, sqlite3.OperationalError) and getattr(cause, "sqlite_errorcode", None) is None

    def translate(self, error: BaseException) -> WalleError | None:
        """Map a sqlite3 error by its result code."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        if isinstance(cause, UnicodeDecodeError):  # SQLite's message about a damaged schema quotes it
            return DatabaseError(f"{self.path} is damaged: SQLite's message is not text. Restore it from a copy.")
        if not isinstance(cause, sqlite3.Error):
            return None
        return translate(cause, self.file, read_only=self.read_only, patience=BUSY_TIMEOUT)


def _register_begin(engine: Engine, file: SQLiteFile, *, read_only: bool) -> None:
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # a deferred transaction that writes after reading fails at once if another connection wrote in between
        if read_only or connection.get_execution_options().get("walle_deferred", False):
            connection.exec_driver_sql("BEGIN")
            check_begun(connection, file)
            return
        patience = BUSY_TIMEOUT if connection.get_execution_options().get("walle_wait", True) else 0
        deadline = time.monotonic() + patience
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                break
            except DBAPIError as error:
                if not is_busy(error.orig) or time.monotonic() > deadline:
                    raise
        check_begun(connection, file)


def _storage_form(column: sa.Column[Any], values: pl.Series) -> pl.Series:
    if isinstance(column.type, UtcInstant):
        return values.cast(pl.Datetime("us", "UTC")).to_physical().alias(column.name)
    if isinstance(column.type, ExactDecimal) and values.dtype != pl.String:
        text = values.cast(pl.Decimal(38, 18)).cast(pl.String)
        return text.str.strip_chars_end("0").str.strip_chars_end(".").alias(column.name)
    if isinstance(column.type, Json):
        return values.cast(pl.String).alias(column.name)
    return values
