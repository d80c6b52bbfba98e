"""SQLite: one file, one writer at a time, readers beside it (WAL)."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Generator, Mapping
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
from sqlalchemy.pool import NullPool, PoolResetState

from walle.dialects import sqlite_guards, sqlite_texts
from walle.dialects.base import BATCH_ROWS, Dialect, ReadJob
from walle.dialects.delivered import from_rows
from walle.dialects.sqlite_outbox import SQLiteOutbox
from walle.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    DuplicateKey,
    ImmutableRecord,
    NotAWalleStore,
    ReadOnly,
    StorageFull,
    UnreadableRow,
    WalleError,
)
from walle.forms import Found
from walle.types import ExactDecimal, Json, UtcInstant

__all__ = ["SQLiteDialect"]

log = logging.getLogger("walle")

BUSY_TIMEOUT = 60.0
"""Seconds that a transaction waits for another process's write lock."""

BUSY_SLICE = 0.25
"""Seconds that SQLite itself waits before it is asked again: nothing interrupts it meanwhile."""

STAGE_ROWS = 8_192
"""Rows that are staged between two looks for an interrupt: some 10 ms."""

_INTERRUPTED = "walle_interrupted"


class SQLiteDialect(Dialect):
    """A SQLite file through Python's own sqlite3 library, and no other.

    A second SQLite library in the process (ADBC, DuckDB, connectorx) would drop the file's POSIX locks when it closes
    the file, and let two writers in.
    """

    name = "sqlite"
    stages_before_lock = True

    @property
    def path(self) -> Path:
        """The file."""
        return Path(str(self.config.address.database))

    # engines

    def async_engine(self) -> AsyncEngine:
        """Make the engine for writes: every transaction is BEGIN IMMEDIATE, so none fails halfway for a lock."""
        mode = "ro" if self.read_only else "rw"  # never rwc: a file that vanished must not come back empty
        engine = create_async_engine(
            self._url("sqlite+aiosqlite", mode),
            echo=self.config.echo,
            pool_size=self.config.pool_size,
            max_overflow=self.config.pool_overflow,
            connect_args={"isolation_level": None, "timeout": BUSY_SLICE},
        )
        _set_manners(engine.sync_engine, read_only=self.read_only)
        return engine

    def sync_engine(self, *, create: bool = False) -> Engine:
        """Make an engine without a pool."""
        mode = "ro" if self.read_only else "rwc" if create else "rw"
        engine = sa.create_engine(
            self._url("sqlite+pysqlite", mode),
            echo=self.config.echo,
            poolclass=NullPool,
            connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT},
        )
        _set_manners(engine, read_only=self.read_only)
        return engine

    @cached_property
    def _read_engine(self) -> Engine:
        return sa.create_engine(
            self._url("sqlite+pysqlite", "ro"),
            echo=self.config.echo,
            pool_size=self.config.pool_size,
            max_overflow=self.config.pool_overflow,
            connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False},
        )

    def _url(self, driver: str, mode: str) -> URL:
        query = {"mode": mode, "uri": "true"}
        wal = self.path.with_name(self.path.name + "-wal")
        if mode == "ro" and not wal.exists() and not os.access(self.path.parent, os.W_OK):
            # a WAL database needs a -shm file beside it even to be read; without a -wal nobody is writing it
            query["immutable"] = "1"
        return URL.create(driver, database=f"file:{quote(str(self.path))}", query=query)

    def is_absent(self) -> bool:
        """Tell whether the file is absent or empty.

        Raises
        ------
        NotAWalleStore
            When the file holds a single byte.
        DatabaseUnavailable
            When the file cannot be looked at, or the address is a folder.
        """
        if self.path.is_dir():
            raise DatabaseUnavailable(f"{self.path} is a folder; name a file in it: {self.path / 'research.db'}.")
        try:
            size = self.path.stat().st_size
            if size == 1:  # SQLite takes a single byte for an empty file, and would write over it
                raise NotAWalleStore(f"{self.path} is not a SQLite database; it was not touched.")
            return size == 0
        except FileNotFoundError:
            return True
        except OSError as error:
            raise DatabaseUnavailable(f"{self.path} cannot be opened: {error.strerror}.") from error

    def prepare_creation(self) -> None:
        """Check that the folder is there and writable, and switch the new file to WAL.

        Raises
        ------
        DatabaseUnavailable
            When the folder does not exist.
        ReadOnly
            When the folder cannot be written.
        """
        folder = self.path.parent
        if not folder.is_dir():
            raise DatabaseUnavailable(f"{folder} does not exist; make it first, or name another place.")
        if not os.access(folder, os.W_OK):
            raise ReadOnly(f"{folder} cannot be written, so no store can be made there. Choose another folder.")
        connection = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_TIMEOUT)
        try:
            deadline = time.monotonic() + BUSY_TIMEOUT
            while True:  # the switch to WAL does not wait for others by itself
                try:
                    connection.execute("PRAGMA journal_mode=WAL")
                    return
                except sqlite3.OperationalError as error:
                    if not _is_busy(error) or time.monotonic() > deadline:
                        raise self.translate(error) or error from error
                    time.sleep(0.02)
        finally:
            connection.close()

    def begin_migration(self, connection: Connection) -> None:
        """Nothing to do: BEGIN IMMEDIATE already holds off other writers."""

    # reading in columns

    def read(
        self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Generator[pl.DataFrame]:
        """Yield the rows in frames, from a connection that is opened read-only."""
        with self._read_engine.connect() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            job.interruptible_by(raw.interrupt)
            try:
                cursor = connection.execute(statement).cursor
                assert cursor is not None
                while not job.stopped and (rows := cursor.fetchmany(BATCH_ROWS)):
                    yield from_rows(rows, schema, counted=True)
            finally:
                job.interruptible_by(None)

    def close_readers(self) -> None:
        """Close the read-only connections."""
        if "_read_engine" in self.__dict__:
            self._read_engine.dispose()
            del self._read_engine

    # writing in columns

    @property
    def arrival(self) -> str:
        """SQLite numbers the rows of a table as they come."""
        return "rowid"

    async def stage(
        self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame, *, more: bool = False
    ) -> sa.TableClause:
        """Fill a TEMP table: it lies outside the file, so no lock is held meanwhile.

        Raises
        ------
        CancelledError
            Between two batches after :meth:`interrupt`.
        """
        name = f"walle_stage_{table.name}"
        columns = ", ".join(f'"{column}"' for column in frame.columns)
        await connection.exec_driver_sql(
            f"CREATE TEMP TABLE IF NOT EXISTS {name} AS SELECT {columns} FROM {table.name} WHERE 0"
        )
        if not more:
            await connection.exec_driver_sql(f"DELETE FROM temp.{name}")
        marks = ", ".join("?" * frame.width)
        insert = f"INSERT INTO temp.{name} ({columns}) VALUES ({marks})"
        storage = frame.with_columns(_storage_form(table.c[column], frame[column]) for column in frame.columns)
        connection.info.pop(_INTERRUPTED, None)
        for part in storage.iter_slices(STAGE_ROWS):
            if connection.info.get(_INTERRUPTED):
                raise asyncio.CancelledError
            await connection.exec_driver_sql(insert, part.rows())
        return sa.table(name, *(sa.column(column, table.c[column].type) for column in frame.columns), schema="temp")

    async def append(self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame) -> bool:
        """Leave it to staging, which holds the write lock for less long."""
        return False

    async def begin_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Drop the triggers of replacement: an anti-joined insert replaces nothing, and they double its time.

        DDL is part of the transaction, so no other connection ever sees the table without them.
        """
        for name in sqlite_guards.insert_guards(table.name):
            await connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")

    async def end_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Create them again."""
        for name in sqlite_guards.insert_guards(table.name):
            await connection.exec_driver_sql(sqlite_guards.TRIGGERS[name])

    async def interrupt(self, connection: AsyncConnection) -> None:
        """Stop the running statement by sqlite3_interrupt; staging stops before its next batch.

        An executemany hears of it only while a row goes in, which is hardly ever while the caller has the GIL.
        """
        connection.info[_INTERRUPTED] = True
        driver = (await connection.get_raw_connection()).driver_connection
        if driver is not None:
            await driver.interrupt()

    async def begin_indexing(self, connection: AsyncConnection) -> None:
        """Set the marker that the trigger of foreign bars looks for."""
        await connection.exec_driver_sql(sqlite_guards.BEGIN_INDEXING)

    async def end_indexing(self, connection: AsyncConnection) -> None:
        """Remove the marker."""
        await connection.exec_driver_sql(sqlite_guards.END_INDEXING)

    # events

    @cached_property
    def outbox(self) -> SQLiteOutbox:
        """Events in this file."""
        return SQLiteOutbox(_INTERRUPTED, STAGE_ROWS)

    # facts stay facts

    def install_guards(self, connection: Connection) -> None:
        """Create the triggers anew."""
        sqlite_guards.install(connection)

    def remove_guards(self, connection: Connection) -> None:
        """Drop the triggers and their two helper tables."""
        sqlite_guards.remove(connection)

    def missing_guards(self, connection: Connection) -> list[str]:
        """Name the triggers that are not there, or not as they should be."""
        return sqlite_guards.missing(connection)

    async def begin_maintenance(self, connection: AsyncConnection) -> None:
        """Set the marker row that the delete guard of bars looks for."""
        await connection.exec_driver_sql(sqlite_guards.BEGIN_MAINTENANCE)

    async def end_maintenance(self, connection: AsyncConnection) -> None:
        """Remove the marker row."""
        await connection.exec_driver_sql(sqlite_guards.END_MAINTENANCE)

    # errors

    def find_unreadable(self, connection: Connection, statement: sa.Select[Any]) -> list[Found]:
        """Find them; texts that are no UTF-8 are known to Python only."""
        raw: Any = connection.connection.driver_connection
        raw.text_factory = lambda text: text.decode("utf-8", "backslashreplace")
        return super().find_unreadable(connection, statement) or sqlite_texts.undecodable(connection, statement)

    def is_undecodable(self, error: BaseException) -> bool:
        """Tell the module's own complaint about a text from SQLite's errors, which have a code."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        return isinstance(cause, sqlite3.OperationalError) and getattr(cause, "sqlite_errorcode", None) is None

    def translate(self, error: BaseException) -> WalleError | None:
        """Map a sqlite3 error by its result code."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        if not isinstance(cause, sqlite3.Error):
            return None
        code = getattr(cause, "sqlite_errorcode", None) or 0
        match code & 0xFF:
            case sqlite3.SQLITE_NOTADB:
                return NotAWalleStore(f"{self.path} is not a SQLite database; it was not touched.")
            case sqlite3.SQLITE_CORRUPT:
                return DatabaseError(f"{self.path} is damaged ({cause}). Restore it from a copy.")
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return DatabaseBusy(
                    f"{self.path} was locked for {BUSY_TIMEOUT:.0f} s by another process, or by an open session."
                )
            case sqlite3.SQLITE_READONLY if self.read_only:
                return ReadOnly(f"{self.path} was opened with read_only=True; open it without to write.")
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
                return ReadOnly(f"{self.path} or its folder cannot be written. Use read_only=True to read it.")
            case sqlite3.SQLITE_FULL:
                return StorageFull(f"the disk of {self.path} is full; nothing of this call was written.")
            case sqlite3.SQLITE_CANTOPEN:
                return DatabaseUnavailable(f"{self.path} cannot be opened{self._why_not()}.")
            case sqlite3.SQLITE_CONSTRAINT if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
                form = str(cause).startswith(sqlite_guards.REFUSED)
                return UnreadableRow(f"{cause}.") if form else ImmutableRecord(f"{cause}.")
            case sqlite3.SQLITE_CONSTRAINT if code in (
                sqlite3.SQLITE_CONSTRAINT_UNIQUE,
                sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
            ):
                return DuplicateKey(
                    f"already taken: {str(cause).rpartition(': ')[2]}. Nothing of this call was written."
                )
        return DatabaseError(f"{self.path}: {cause}.")

    def _why_not(self) -> str:
        if not self.path.exists():
            return ": there is no such file"
        if not os.access(self.path, os.R_OK):
            return ": you may not read it"
        return ""


def _set_manners(engine: Engine, *, read_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")  # an acknowledged fill survives a power cut
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # a deferred transaction that reads first and writes later fails at once when another wrote in between
        if read_only or connection.get_execution_options().get("walle_deferred", False):
            connection.exec_driver_sql("BEGIN")
            return
        patience = BUSY_TIMEOUT if connection.get_execution_options().get("walle_wait", True) else 0
        deadline = time.monotonic() + patience
        while True:
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                return
            except DBAPIError as error:
                if not _is_busy(error.orig) or time.monotonic() > deadline:
                    raise

    @event.listens_for(engine, "reset")
    def roll_back(connection: Any, _: Any, state: PoolResetState) -> None:
        # SQLAlchemy takes a failed COMMIT for an end; SQLite keeps the transaction, and with it the lock of the file
        if not state.terminate_only:
            connection.rollback()


def _is_busy(error: BaseException | None) -> bool:
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def _storage_form(column: sa.Column[Any], values: pl.Series) -> pl.Series:
    if isinstance(column.type, UtcInstant):
        return values.cast(pl.Datetime("us", "UTC")).to_physical().alias(column.name)
    if isinstance(column.type, ExactDecimal) and values.dtype != pl.String:
        text = values.cast(pl.Decimal(38, 18)).cast(pl.String)
        return text.str.strip_chars_end("0").str.strip_chars_end(".").alias(column.name)
    if isinstance(column.type, Json):
        return values.cast(pl.String).alias(column.name)
    return values
