"""PostgreSQL through psycopg 3, with columnar reads through ADBC and bulk writes through COPY."""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

import adbc_driver_manager
import polars as pl
import psycopg
import sqlalchemy as sa
from adbc_driver_postgresql import dbapi as adbc
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, AdaptedConnection, Connection, Engine
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, QueuePool

from walle.config import DatabaseConfig
from walle.dialects import postgresql_guards
from walle.dialects.base import CheckResult, Dialect, ReadJob
from walle.dialects.postgresql_copy import bars_in_binary, rows_in_csv
from walle.dialects.postgresql_examine import examine
from walle.dialects.postgresql_outbox import PostgreSQLOutbox, locks_of_writers
from walle.dialects.postgresql_settings import Settings, options_of
from walle.dialects.wire_frames import from_arrow
from walle.enums import OHLCV
from walle.errors import (
    AuthenticationFailed,
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    DuplicateKey,
    ImmutableRecord,
    ReadOnly,
    StatementCancelled,
    StorageFull,
    UnreadableRow,
    WalleError,
)
from walle.validation import json_text, parse_json

__all__ = ["PostgreSQLDialect"]

log: logging.Logger = logging.getLogger("walle")

CONNECT_TIMEOUT = 10
"""Seconds after which a server that does not respond counts as unreachable."""

_ALIVE = sql.SQL("SELECT 1")
_MIGRATION_LOCK = 0x57414C4C45  # "WALLE"
_TABLE_LOCKS = 0x57414C4C << 32  # "WALL", and the table's oid
_SERIES_LOCKS = 0x57414C4C  # and a number of its own: locks of two numbers are others than those of one
_SERIES_LOCKS_IN_ALL = 64
_VERSIONS_LOCKS_AT_MOST = 256

_BUSY = {
    "55P03": "another transaction held for too long what this one waited for",
    "40P01": "two transactions waited for one another, and the server ended this one",
    "40001": "another transaction changed what this one had read",
}
_AGAIN = "Roll the transaction back, and do all of it again; a call without a session is rolled back already."


class PostgreSQLDialect(Dialect):
    """A PostgreSQL database; WallE's tables are in the first schema of the search path."""

    name = "postgresql"
    stages_before_lock = False

    def __init__(self, config: DatabaseConfig, *, read_only: bool = False) -> None:
        super().__init__(config, read_only=read_only)
        given = config.address.query.get("options") or os.environ.get("PGOPTIONS", "")
        text = given if isinstance(given, str) else " ".join(given)
        self._settings = Settings(options_of(text), read_only=read_only)
        self._pooled: bool | None = config.transaction_pooler or None  # None until the first connection reveals it

    # engines

    def async_engine(self) -> AsyncEngine:
        """Make the engine for writes."""
        engine = create_async_engine(
            self._url,
            echo=self.config.echo,
            json_serializer=json_text,
            json_deserializer=parse_json,
            pool_size=self.config.pool_size,
            max_overflow=self.config.pool_overflow,
            pool_pre_ping=True,
            connect_args=self._arguments,
            isolation_level="AUTOCOMMIT",  # the listeners below begin transactions, with their settings
        )
        self._register_listeners(engine.sync_engine)
        return engine

    def sync_engine(self, *, create: bool = False) -> Engine:
        """Make an engine without a pool; a PostgreSQL database is never created."""
        engine = sa.create_engine(
            self._url,
            echo=self.config.echo,
            json_serializer=json_text,
            json_deserializer=parse_json,
            poolclass=NullPool,
            connect_args=self._arguments,
            isolation_level="AUTOCOMMIT",
        )
        self._register_listeners(engine)
        return engine

    def _register_listeners(self, engine: Engine) -> None:
        begin, check_query = self._settings.begin.as_string(), self._settings.check_query.as_string()  # written once

        @event.listens_for(engine, "connect")
        def check(connection: Any, record: Any) -> None:
            _run(connection, begin)
            cursor = connection.cursor()
            cursor.execute(check_query)
            served_by, *found = cursor.fetchone()
            self._settings.check(found, self.label)
            connection.rollback()
            cursor.close()
            driver = record.driver_connection
            if self._is_pooled(driver, served_by):
                driver.prepare_threshold = None  # a prepared statement exists in only one server connection

        @event.listens_for(engine, "begin")
        def start(connection: Connection) -> None:
            _run(connection.connection.dbapi_connection, begin)

    def _is_pooled(self, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], served_by: int) -> bool:
        """Return whether there is a pooler in between, which reports a process id of its own for cancel requests."""
        if not self._pooled:
            self._pooled = connection.info.backend_pid != served_by
            if self._pooled:
                log.info(
                    "a connection pooler is in front of %s: events are polled, and consumers hold an expiring lease",
                    self.label,
                )
        return self._pooled

    @property
    def _url(self) -> URL:
        return self.config.address.difference_update_query(["options"]).set(drivername="postgresql+psycopg")

    @property
    def _arguments(self) -> dict[str, Any]:
        given = self.config.address.query
        # COPY sends bytes in that encoding; the options of address and environment are set in each transaction
        arguments: dict[str, Any] = {"client_encoding": "utf8", "options": ""}
        if self._pooled:
            arguments["prepare_threshold"] = None
        if "connect_timeout" not in given:
            arguments["connect_timeout"] = CONNECT_TIMEOUT
        if "application_name" not in given:
            arguments["application_name"] = "walle"
        return arguments

    def is_absent(self) -> bool:
        """Return False: if a database on a server does not exist, connecting fails."""
        return False

    def prepare_creation(self) -> None:
        """Nothing to do: the administrator of a server creates its databases."""

    def begin_migration(self, connection: Connection) -> None:
        """Take an advisory lock that ends with the transaction."""
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))

    def verify(self) -> None:
        """Nothing to do: the files belong to the server."""

    def examine(self, connection: Connection, tables: Sequence[str], found: CheckResult) -> None:
        """Run amcheck if it is installed and permitted."""
        examine(connection, tables, found)

    def check_read(self, connection: Connection) -> None:
        """Nothing to do: each statement sees a consistent state."""

    async def release(self, engine: AsyncEngine) -> None:
        """Close an engine."""
        await engine.dispose()

    # reading in columns

    def _conninfo(self) -> str:
        _, parameters = sa.create_engine(self._url).dialect.create_connect_args(self._url)
        for name in ("context", "prepare_threshold"):  # psycopg's own, not libpq's
            parameters.pop(name, None)
        arguments = {name: value for name, value in self._arguments.items() if name != "prepare_threshold"}
        return make_conninfo(**{**parameters, **arguments})

    @cached_property
    def _readers(self) -> QueuePool:
        conninfo = self._conninfo()
        pooled = self._pooled if self._pooled is not None else self._look_for_pooler(conninfo)
        pool = QueuePool(
            # behind a pooler, each read needs a transaction that ends as its connection returns to the pool: otherwise
            # the driver would prepare, describe and copy in separate round trips, perhaps to different servers
            lambda: adbc.connect(conninfo, autocommit=not pooled),
            pool_size=self.config.pool_size,
            max_overflow=self.config.pool_overflow,
            reset_on_return="rollback" if pooled else None,
        )
        if not pooled:
            event.listen(pool, "connect", _runs(self._settings.reading(local=False)))
        event.listen(pool, "checkout", _runs(self._settings.reading(local=True)) if pooled else _runs(_ALIVE))
        return pool

    def _look_for_pooler(self, conninfo: str) -> bool:
        with psycopg.connect(conninfo, autocommit=True) as connection:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            assert row is not None
            return self._is_pooled(connection, row[0])

    def read(
        self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Generator[pl.DataFrame]:
        """Yield the rows in frames, over ADBC.

        Values are written into the statement, because ADBC reads by COPY only if there are no parameters.
        """
        # named paramstyle: psycopg's own would double every %, and to number parameters SQLAlchemy searches for
        # %(name)s in the text, and its version 2.1.0 in the values too
        style = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
        text = str(statement.compile(dialect=style, compile_kwargs={"literal_binds": True}))
        connection = self._readers.connect()
        try:
            raw: Any = connection.driver_connection
            with raw.cursor() as cursor:
                job.interruptible_by(cursor.adbc_cancel)
                cursor.execute(text)
                try:
                    for batch in cursor.fetch_record_batch():
                        if job.stopped:
                            break
                        yield from_arrow(batch, schema)
                finally:
                    job.interruptible_by(None)  # before the cursor closes, because a closed one cannot be cancelled
            if job.stopped:
                connection.invalidate()  # it has unread rows
        except BaseException:
            connection.invalidate()
            raise
        finally:
            job.interruptible_by(None)
            connection.close()

    def close_readers(self) -> None:
        """Close the ADBC connections."""
        if "_readers" in self.__dict__:
            self._readers.dispose()
            del self._readers

    # writing in columns

    @property
    def physical_order(self) -> str:
        """The place in the table: it is filled in order, and nothing is updated."""
        return "ctid"

    async def stage(
        self,
        connection: AsyncConnection,
        table: sa.Table,
        frame: pl.DataFrame,
        *,
        more: bool = False,
        name: str | None = None,
    ) -> sa.TableClause:
        """Fill a temporary table that this connection keeps, so that creating it does not bloat the catalogue."""
        name = f"walle_stage_{name or table.name}"
        types = {column: table.c[column].type.compile(dialect=connection.dialect) for column in frame.columns}
        columns = ", ".join(f'"{column}" {kind}' for column, kind in types.items())
        # behind a pooler, the server connection may serve another client after the commit
        ends = "DROP" if self._pooled else "DELETE ROWS"
        await connection.exec_driver_sql(f"CREATE TEMP TABLE IF NOT EXISTS {name} ({columns}) ON COMMIT {ends}")
        if not more:  # TRUNCATE would write to the catalogue each time
            await connection.exec_driver_sql(f"DELETE FROM pg_temp.{name}")
        await self._copy(connection, f"pg_temp.{name}", frame)
        if frame.height > 10_000:
            await connection.exec_driver_sql(f"ANALYZE pg_temp.{name}")  # otherwise the planner has no statistics of it
        return sa.table(name, *(sa.column(column, table.c[column].type) for column in frame.columns), schema="pg_temp")

    async def append(self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame) -> bool:
        """COPY into the table itself; an existing key rolls it back to the savepoint."""
        try:
            async with connection.begin_nested():
                await self._copy(connection, table.name, frame)
        except psycopg.errors.UniqueViolation:
            return False
        return True

    async def _copy(self, connection: AsyncConnection, target: str, frame: pl.DataFrame) -> None:
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, psycopg.AsyncConnection)
        bars = set(frame.columns) == {"symbol", "timeframe", "timestamp", *OHLCV}
        form = "BINARY" if bars else "CSV"
        table = sql.SQL(".").join(map(sql.Identifier, target.split(".")))
        columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(table, columns, sql.SQL(form))
        async with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for part in bars_in_binary(frame) if bars else rows_in_csv(frame):
                await copy.write(part)

    async def begin_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Nothing to do: no guard on PostgreSQL checks inserts row by row."""

    async def end_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Nothing to do."""

    async def interrupt(self, connection: AsyncConnection) -> None:
        """Stop the running statement with a cancel request."""
        driver = (await connection.get_raw_connection()).driver_connection
        if isinstance(driver, psycopg.AsyncConnection):
            await driver.cancel_safe(timeout=5)

    async def hold(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Take an advisory lock, because LOCK TABLE requires privileges that a writer of facts may not have."""
        key: sa.ColumnElement[int] = sa.literal_column(f"{_TABLE_LOCKS} + '{table.name}'::regclass::oid::bigint")
        await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))

    def writers_of(self, table: sa.Table, before: datetime | None) -> sa.ColumnElement[str]:
        """Name the virtual transactions that hold the lock that a write to the table takes first."""
        held = locks_of_writers(table.name) + " AND held.pid IS DISTINCT FROM pg_backend_pid()"
        if before is not None:
            held += (
                " AND NOT EXISTS (SELECT 1 FROM pg_stat_activity AS known WHERE known.pid = held.pid "
                f"AND known.xact_start > '{before.isoformat()}'::timestamptz)"
            )
        return sa.literal_column(f"(SELECT coalesce(string_agg(DISTINCT held.virtualtransaction, ','), '') {held})")

    async def hold_series(self, connection: AsyncConnection, series: Mapping[tuple[str, str], bool]) -> None:
        """Take advisory locks in one order; a few for all series, because the server has room for some thousands."""
        alone: dict[int, bool] = {}
        for names, exclusive in series.items():
            key = zlib.crc32("\0".join(names).encode()) % _SERIES_LOCKS_IN_ALL
            alone[key] = exclusive or alone.get(key, False)
        for key, exclusive in sorted(alone.items()):
            take = sa.func.pg_advisory_xact_lock if exclusive else sa.func.pg_advisory_xact_lock_shared
            await connection.execute(sa.select(take(_SERIES_LOCKS, key)))

    async def hold_versions(self, connection: AsyncConnection, series: Collection[tuple[str, str]]) -> None:
        """Take an advisory lock for each series, in one order; for many series one that all the others share."""
        table = "'bar_versions'::regclass::oid::bigint"  # another schema of the database has its own
        many = len(series) > _VERSIONS_LOCKS_AT_MOST
        every = "pg_advisory_xact_lock" if many else "pg_advisory_xact_lock_shared"
        await connection.exec_driver_sql(f"SELECT {every}({_TABLE_LOCKS} + {table})")
        if not many:
            keys = f"SELECT DISTINCT hashtextextended(timeframe || ' ' || symbol, {table}) AS key FROM given ORDER BY 1"
            await connection.exec_driver_sql(
                "WITH given AS (SELECT * FROM unnest(%s::text[], %s::text[]) AS one (symbol, timeframe)) "
                f"SELECT pg_advisory_xact_lock(key) FROM ({keys}) AS ordered",
                ([symbol for symbol, _ in series], [timeframe for _, timeframe in series]),
            )

    async def begin_indexing(self, connection: AsyncConnection) -> None:
        """Set the setting that the trigger for other programs' bars checks."""
        await connection.exec_driver_sql("SET LOCAL walle.indexing = 'on'")

    async def end_indexing(self, connection: AsyncConnection) -> None:
        """Reset the setting, because the transaction may continue with other statements."""
        await connection.exec_driver_sql("SET LOCAL walle.indexing = 'off'")

    # events

    @cached_property
    def outbox(self) -> PostgreSQLOutbox:
        """The events in this database."""
        return PostgreSQLOutbox(self._open_session, lambda: not self._pooled)

    async def _open_session(self) -> psycopg.AsyncConnection[Any] | None:
        """Open a connection in autocommit that stays one session; return None if a pooler prevents that."""
        connection = await psycopg.AsyncConnection.connect(self._conninfo(), autocommit=True)
        try:
            row = await (await connection.execute("SELECT pg_backend_pid()")).fetchone()
            assert row is not None
            if self._is_pooled(connection, row[0]):
                await connection.close()
                return None
            await connection.execute(self._settings.session)
        except BaseException:
            await connection.close()
            raise
        return connection

    # guards of facts

    def install_guards(self, connection: Connection) -> None:
        """Recreate the functions and their triggers."""
        postgresql_guards.install(connection)

    def remove_guards(self, connection: Connection) -> None:
        """Drop the triggers and their functions."""
        postgresql_guards.remove(connection)

    def missing_guards(self, connection: Connection) -> list[str]:
        """Return the names of triggers that are missing or disabled."""
        return postgresql_guards.missing(connection)

    async def begin_maintenance(self, connection: AsyncConnection) -> None:
        """Set the setting that the delete guard of bars checks; it ends with the transaction."""
        await connection.exec_driver_sql("SET LOCAL walle.maintenance = 'on'")

    async def end_maintenance(self, connection: AsyncConnection) -> None:
        """Reset the setting."""
        await connection.exec_driver_sql("SET LOCAL walle.maintenance = 'off'")

    # errors

    def is_undecodable(self, error: BaseException) -> bool:
        """Return whether psycopg itself raised the error, about a value; the server's own errors have a code."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        return isinstance(cause, psycopg.DataError) and cause.sqlstate is None

    def translate(self, error: BaseException) -> WalleError | None:
        """Translate a psycopg or ADBC error by its class and SQLSTATE."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        if not isinstance(cause, psycopg.Error | adbc_driver_manager.Error):
            return None
        state = cause.sqlstate or ""
        diagnosis = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
        text = (diagnosis or str(cause)).strip().splitlines()[0].rstrip(".")
        where = self.label
        # a refused connection has no SQLSTATE in psycopg, so only libpq's text can be examined
        if state in ("28P01", "28000") or (not state and "authentication failed" in str(cause)):
            return AuthenticationFailed(f"{where} refused the user or the password.")
        if state == postgresql_guards.SQLSTATE:
            return ImmutableRecord(f"{text}.")
        if state == "23514" and isinstance(cause, psycopg.Error):
            name = cause.diag.constraint_name or ""
            if name.startswith(postgresql_guards.FORM):
                return UnreadableRow(postgresql_guards.refusal_message(name))
        if state == "23505":
            detail = cause.diag.message_detail if isinstance(cause, psycopg.Error) else None
            return DuplicateKey(f"already taken: {detail or text} Nothing of this call was written.")
        if state == "25006":
            return ReadOnly(f"{where} was opened read-only, or is a standby; it accepts no writes.")
        if state == "42501":
            return ReadOnly(f"{where}: {text}. Ask the owner of the tables for the privilege.")
        if state in ("53100", "54000"):
            return StorageFull(f"{where}: {text}; nothing of this call was written.")
        if state == "57014":
            return StatementCancelled(
                f"{where} cancelled the statement: {text}. Read less at once, or set a longer limit."
            )
        if state in _BUSY:
            return DatabaseBusy(f"{where}: {_BUSY[state]} ({text}). {_AGAIN}")
        lost = not state and not isinstance(cause, psycopg.DataError | psycopg.ProgrammingError)
        if lost or state[:2] in ("08", "57") or state in ("3D000", "53300"):
            return DatabaseUnavailable(f"{where} cannot be reached: {text}.")
        return DatabaseError(f"{where}: {text}{f' (SQLSTATE {state})' if state else ''}.")


def _runs(statement: sql.Composable) -> Callable[..., None]:
    """Return a pool listener that runs a statement on an ADBC connection, or makes the pool open another one."""
    text = statement.as_string()

    def run(connection: Any, *_: object) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(text)
                cursor.fetchone()
        except adbc_driver_manager.Error as error:  # readers must not see an error because the server was restarted
            raise DisconnectionError("the pool opens another connection") from error

    return run


def _run(connection: Any, commands: str) -> None:
    """Send several commands as one message, which must not be prepared, over psycopg or SQLAlchemy's adapter of it."""
    if isinstance(connection, AdaptedConnection):
        connection.run_async(lambda driver: driver.execute(commands, prepare=False))
    else:
        connection.execute(commands, prepare=False)
