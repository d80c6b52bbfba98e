"""PostgreSQL through psycopg 3; reads in columns through ADBC, bulk writes through COPY."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from functools import cached_property
from typing import Any

import adbc_driver_manager
import numpy as np
import polars as pl
import psycopg
import sqlalchemy as sa
from adbc_driver_postgresql import dbapi as adbc
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sqlalchemy import event
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, QueuePool

from walle.dialects import postgresql_guards
from walle.dialects.base import BATCH_ROWS, Dialect, ReadJob
from walle.dialects.delivered import from_arrow
from walle.dialects.postgresql_outbox import PostgreSQLOutbox
from walle.errors import (
    AuthenticationFailed,
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    DuplicateKey,
    ImmutableRecord,
    ReadOnly,
    StorageFull,
    UnreadableRow,
    WalleError,
)
from walle.values import json_text

__all__ = ["PostgreSQLDialect"]

CONNECT_TIMEOUT = 10
"""Seconds after which a server that does not answer counts as unreachable."""

LOCK_TIMEOUT = 60
"""Seconds that a statement waits for another transaction's lock, as on SQLite."""

_MIGRATION_LOCK = 0x57414C4C45  # "WALLE"


class PostgreSQLDialect(Dialect):
    """A PostgreSQL database; WallE's tables lie in the first schema of the search path."""

    name = "postgresql"
    stages_before_lock = False

    # engines

    def async_engine(self) -> AsyncEngine:
        """Make the engine for writes."""
        return create_async_engine(
            self._url,
            echo=self.config.echo,
            json_serializer=json_text,
            pool_size=self.config.pool_size,
            max_overflow=self.config.pool_overflow,
            pool_pre_ping=True,
            connect_args=self._settings | ({"prepare_threshold": None} if self.config.transaction_pooler else {}),
        )

    def sync_engine(self, *, create: bool = False) -> Engine:
        """Make an engine without a pool; a PostgreSQL database is never created."""
        return sa.create_engine(
            self._url,
            echo=self.config.echo,
            json_serializer=json_text,
            poolclass=NullPool,
            connect_args=self._settings,
        )

    @property
    def _url(self) -> URL:
        return self.config.address.set(drivername="postgresql+psycopg")

    @property
    def _settings(self) -> dict[str, Any]:
        given = self.config.address.query
        # the address's own options may set another time-out, but neither zone nor rights
        fixed = "-c timezone=UTC" + (" -c default_transaction_read_only=on" if self.read_only else "")
        options = f"-c lock_timeout={LOCK_TIMEOUT}s {given.get('options', '')} {fixed}"
        settings: dict[str, Any] = {"options": " ".join(options.split())}
        if "connect_timeout" not in given:
            settings["connect_timeout"] = CONNECT_TIMEOUT
        if "application_name" not in given:
            settings["application_name"] = "walle"
        return settings

    def is_absent(self) -> bool:
        """Say no: a database on a server is there, or connecting fails."""
        return False

    def prepare_creation(self) -> None:
        """Nothing to do: a database on a server is made by its administrator."""

    def begin_migration(self, connection: Connection) -> None:
        """Take an advisory lock that ends with the transaction."""
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))

    # reading in columns

    def _conninfo(self) -> str:
        _, parameters = sa.create_engine(self._url).dialect.create_connect_args(self._url)
        parameters.pop("context", None)  # psycopg's own, not libpq's
        return make_conninfo(**{**parameters, **self._settings})

    @cached_property
    def _readers(self) -> QueuePool:
        conninfo = self._conninfo()
        pool = QueuePool(
            lambda: adbc.connect(conninfo, autocommit=True),
            pool_size=self.config.pool_size,
            max_overflow=self.config.pool_overflow,
            reset_on_return=None,
        )
        event.listen(pool, "checkout", _refuse_dead)  # a restarted server must not cost a reader an error
        return pool

    def read(
        self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Generator[pl.DataFrame]:
        """Yield the rows in frames, over ADBC.

        Values are written into the statement, because ADBC reads by COPY only when there are no parameters.
        """
        # numeric_dollar: psycopg's own paramstyle would double every %
        style = postgresql.dialect(  # type: ignore[no-untyped-call]  # SQLAlchemy leaves it untyped
            paramstyle="numeric_dollar"
        )
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
                    job.interruptible_by(None)  # before the cursor closes: a closed one cannot be cancelled
            if job.stopped:
                connection.invalidate()  # half read
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

    async def stage(
        self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame, *, more: bool = False
    ) -> sa.TableClause:
        """Fill a temporary table that this connection keeps, so that its making does not bloat the catalogue."""
        name = f"walle_stage_{table.name}"
        types = {column: table.c[column].type.compile(dialect=connection.dialect) for column in frame.columns}
        columns = ", ".join(f'"{column}" {kind}' for column, kind in types.items())
        await connection.exec_driver_sql(f"CREATE TEMP TABLE IF NOT EXISTS {name} ({columns}) ON COMMIT DELETE ROWS")
        if not more:  # not TRUNCATE, which writes to the catalogue each time; it is filled within one transaction
            await connection.exec_driver_sql(f"DELETE FROM pg_temp.{name}")
        await self._copy(connection, f"pg_temp.{name}", frame)
        if frame.height > 10_000:
            await connection.exec_driver_sql(f"ANALYZE pg_temp.{name}")  # the planner knows nothing of it otherwise
        return sa.table(name, *(sa.column(column, table.c[column].type) for column in frame.columns), schema="pg_temp")

    async def append(self, connection: AsyncConnection, table: sa.Table, frame: pl.DataFrame) -> bool:
        """COPY into the table itself; a key that is there after all undoes it to the savepoint."""
        try:
            async with connection.begin_nested():
                await self._copy(connection, table.name, frame)
        except psycopg.errors.UniqueViolation:
            return False
        return True

    async def _copy(self, connection: AsyncConnection, target: str, frame: pl.DataFrame) -> None:
        driver = (await connection.get_raw_connection()).driver_connection
        assert isinstance(driver, psycopg.AsyncConnection)
        bars = frame.schema.get("open") == pl.Float64
        form = "BINARY" if bars else "CSV"
        table = sql.SQL(".").join(map(sql.Identifier, target.split(".")))
        columns = sql.SQL(", ").join(map(sql.Identifier, frame.columns))
        statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT {})").format(table, columns, sql.SQL(form))
        async with driver.cursor() as cursor, cursor.copy(statement) as copy:
            for part in _bars_in_binary(frame) if bars else _rows_in_csv(frame):
                await copy.write(part)

    async def begin_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Nothing to do: no guard here looks at inserts."""

    async def end_bulk_insert(self, connection: AsyncConnection, table: sa.Table) -> None:
        """Nothing to do."""

    async def interrupt(self, connection: AsyncConnection) -> None:
        """Stop the running statement by a cancel request."""
        driver = (await connection.get_raw_connection()).driver_connection
        if isinstance(driver, psycopg.AsyncConnection):
            await driver.cancel_safe(timeout=5)

    async def begin_indexing(self, connection: AsyncConnection) -> None:
        """Set the setting that the trigger of foreign bars looks for."""
        await connection.exec_driver_sql("SET LOCAL walle.indexing = 'on'")

    async def end_indexing(self, connection: AsyncConnection) -> None:
        """Take the setting back: the transaction may go on with foreign statements."""
        await connection.exec_driver_sql("SET LOCAL walle.indexing = 'off'")

    # events

    @cached_property
    def outbox(self) -> PostgreSQLOutbox:
        """Events in this database."""
        return PostgreSQLOutbox(self._conninfo, sessions=not self.config.transaction_pooler)

    # facts stay facts

    def install_guards(self, connection: Connection) -> None:
        """Create the function and its triggers anew."""
        postgresql_guards.install(connection)

    def remove_guards(self, connection: Connection) -> None:
        """Drop the triggers and their function."""
        postgresql_guards.remove(connection)

    def missing_guards(self, connection: Connection) -> list[str]:
        """Name the triggers that are not there or switched off."""
        return postgresql_guards.missing(connection)

    async def begin_maintenance(self, connection: AsyncConnection) -> None:
        """Set the setting that the delete guard of bars looks for; it ends with the transaction."""
        await connection.exec_driver_sql("SET LOCAL walle.maintenance = 'on'")

    async def end_maintenance(self, connection: AsyncConnection) -> None:
        """Take the setting back."""
        await connection.exec_driver_sql("SET LOCAL walle.maintenance = 'off'")

    # errors

    def is_undecodable(self, error: BaseException) -> bool:
        """Tell psycopg's own complaints about a value from the server's, which have a code."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        return isinstance(cause, psycopg.DataError) and cause.sqlstate is None

    def translate(self, error: BaseException) -> WalleError | None:
        """Map a psycopg or ADBC error by its class and SQLSTATE."""
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        if not isinstance(cause, psycopg.Error | adbc_driver_manager.Error):
            return None
        state = cause.sqlstate or ""
        diagnosis = cause.diag.message_primary if isinstance(cause, psycopg.Error) else None
        text = (diagnosis or str(cause)).strip().splitlines()[0].rstrip(".")
        where = self.label
        # a refused connection carries no SQLSTATE in psycopg; libpq's text is all there is to tell by
        if state in ("28P01", "28000") or (not state and "authentication failed" in str(cause)):
            return AuthenticationFailed(f"{where} refused the user or the password.")
        if state == postgresql_guards.SQLSTATE:
            return ImmutableRecord(f"{text}.")
        if state == "23514" and isinstance(cause, psycopg.Error):
            name = cause.diag.constraint_name or ""
            if name.startswith(postgresql_guards.FORM):
                return UnreadableRow(postgresql_guards.refused(name))
        if state == "23505":
            detail = cause.diag.message_detail if isinstance(cause, psycopg.Error) else None
            return DuplicateKey(f"already taken: {detail or text} Nothing of this call was written.")
        if state == "25006":
            return ReadOnly(f"{where} was opened read-only, or is a standby; it takes no writes.")
        if state == "42501":
            return ReadOnly(f"{where}: {text}. Ask the owner of the tables for the right.")
        if state in ("53100", "54000"):
            return StorageFull(f"{where}: {text}; nothing of this call was written.")
        if state in ("55P03", "40P01", "40001"):
            return DatabaseBusy(f"{where}: {text}. Try again.")
        lost = not state and not isinstance(cause, psycopg.DataError | psycopg.ProgrammingError)
        if lost or state[:2] in ("08", "57") or state in ("3D000", "53300"):
            return DatabaseUnavailable(f"{where} cannot be reached: {text}.")
        return DatabaseError(f"{where}: {text}{f' (SQLSTATE {state})' if state else ''}.")


def _refuse_dead(connection: Any, *_: object) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except adbc_driver_manager.Error as error:
        raise DisconnectionError("the pool opens another connection") from error


def _rows_in_csv(frame: pl.DataFrame) -> Iterator[bytes]:
    for part in frame.iter_slices(BATCH_ROWS):
        # non_numeric: a text is quoted and a null is not, which is how COPY tells '' from NULL
        text = part.write_csv(
            None, include_header=False, quote_style="non_numeric", datetime_format="%Y-%m-%dT%H:%M:%S%.6f+00"
        )
        yield text.encode()


def _bars_in_binary(frame: pl.DataFrame) -> Iterator[bytes]:
    """Yield COPY's binary format: float64 keeps every bit, and it is written in columns.

    The format: https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
    """
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    for key, part in frame.partition_by(texts, maintain_order=True, as_dict=True).items():
        constants = {name: str(value).encode() for name, value in zip(texts, key, strict=True)}
        for rows in part.iter_slices(BATCH_ROWS):
            yield _pack(rows, constants)
    yield b"\xff\xff"


def _pack(rows: pl.DataFrame, constants: Mapping[str, bytes]) -> bytes:
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for name in rows.columns:
        kind = f"S{len(constants[name])}" if name in constants else ">f8" if rows[name].dtype == pl.Float64 else ">i8"
        layout += [(f"{name} size", ">i4"), (name, kind)]
    packed = np.zeros(rows.height, dtype=layout)
    packed["fields"] = rows.width
    for name in rows.columns:
        packed[f"{name} size"] = packed.dtype[name].itemsize
        if name in constants:
            packed[name] = constants[name]
        elif rows[name].dtype == pl.Float64:
            packed[name] = rows[name].to_numpy()
        else:  # PostgreSQL counts microseconds from 2000
            packed[name] = rows[name].to_physical().to_numpy() - 946_684_800_000_000
    return packed.tobytes()
