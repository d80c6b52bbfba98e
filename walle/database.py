"""The database: a lazy engine, sessions, transactions that write, and reads that return columns."""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker

from walle import forks
from walle.config import DatabaseConfig
from walle.dialects import ReadJob, dialect_for
from walle.dialects.base import Dialect
from walle.dialects.connections import Connections
from walle.errors import (
    ConfigurationError,
    DatabaseError,
    DatabaseUnavailable,
    FileReplaced,
    ReadOnly,
    StoreClosed,
    StoreForked,
)
from walle.forks import Home, watch
from walle.interrupts import LET_GO, cancelled_by_interrupt, to_the_end
from walle.writing import Writer, concat, require_head

__all__ = ["Database", "Writer", "close_database", "get_database", "init_database"]

T = TypeVar("T")

log: logging.Logger = logging.getLogger("walle")


class Database:
    """A lazy connection to one SQLite file or PostgreSQL database.

    Nothing is opened before the first use. The tables must be at the current revision, which :func:`walle.connect` and
    :mod:`walle.migrate` ensure.

    Parameters
    ----------
    config : DatabaseConfig, str, Path or URL
    read_only : bool
        Whether to make the database itself refuse writes.
    columns : mapping of str to set of str, optional
        The existing columns of a database at another revision; None stands for those of the models.

    Examples
    --------
    >>> database = Database("research.db")
    >>> database
    Database('sqlite:///.../research.db')
    """

    def __init__(
        self,
        config: DatabaseConfig | str | Path | URL,
        *,
        read_only: bool = False,
        columns: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.config: DatabaseConfig = config if isinstance(config, DatabaseConfig) else DatabaseConfig(url=config)
        self.read_only = read_only
        self.dialect: Dialect = dialect_for(self.config, read_only=read_only)
        self._columns = columns
        self._lock = threading.Lock()
        self._engine: AsyncEngine | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._closed = False
        self._at_head = False
        self._jobs: set[ReadJob] = set()
        self._before_close: list[weakref.WeakMethod[Callable[[], Awaitable[object]]]] = []
        self._home, self._gate, self._connections = Home(), self.dialect.gate, Connections()
        watch(self)

    def __repr__(self) -> str:
        """Show the address with the password masked."""
        flags = ", read_only=True" if self.read_only else ""
        return f"{type(self).__name__}({self.dialect.label!r}{flags})"

    @property
    def engine(self) -> AsyncEngine:
        """The engine for writes, made at the first use.

        Raises
        ------
        StoreClosed
            After :meth:`close`, and in a forked child.
        """
        self._home.check()  # before taking the lock, which after a fork may be held by a thread that no longer exists
        with self._lock:
            self._check_open()
            if self._engine is None:
                self._engine = self.dialect.async_engine()
                self._connections.follow(self._engine.sync_engine)
            return self._engine

    @property
    def session_factory(self) -> async_sessionmaker[AsyncSession]:
        """The factory of sessions; their objects do not expire on commit."""
        return async_sessionmaker(self.engine, expire_on_commit=False)

    def has(self, table: sa.Table, column: str | None = None) -> bool:
        """Return whether a table (and column) exists in the database."""
        if self._columns is None:
            return True
        present = self._columns.get(table.name)
        return present is not None and (column is None or column in present)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open a session; on an error, and at the end, it rolls back everything that is not committed.

        On SQLite a session holds the file's one write lock from its first statement on, even if it only reads. Pass it
        to every repository call inside it; otherwise they wait for each other.

        Yields
        ------
        AsyncSession
            Pass it to repository calls as ``session=`` to make them one transaction; then ``await session.commit()``.

        Examples
        --------
        ```python
        async with database.session() as session:
            await orders.save(order, session=session)
            await fills.append(fill, session=session)
            await session.commit()
        ```
        """
        async with self._errors():
            factory = self.session_factory
            async with self._gate.passed_by_task(), factory() as session:
                yield session

    @asynccontextmanager
    async def write(self, session: AsyncSession | None = None, *, wait: bool = True) -> AsyncIterator[Writer]:
        """Open a transaction that commits at the end, or join the caller's.

        Parameters
        ----------
        session : AsyncSession, optional
            The caller's session, in which this call is then a savepoint; it does not commit.
        wait : bool
            Whether to wait for another writer's lock of the whole database; if False, raise ``DatabaseBusy`` at once.

        Raises
        ------
        ReadOnly
            If the database was opened read-only.
        """
        async with self.writer(session, wait=wait) as writer, writer.transaction():
            yield writer

    @asynccontextmanager
    async def writer(self, session: AsyncSession | None = None, *, wait: bool = True) -> AsyncIterator[Writer]:
        """Open a connection to write through, and begin no transaction yet, so that rows can be staged before it.

        Parameters
        ----------
        session, wait
            As in :meth:`write`.

        Raises
        ------
        ReadOnly
            If the database was opened read-only.
        SchemaOutdated
        """
        if self.read_only:
            raise ReadOnly(f"{self.dialect.label} was opened with read_only=True; open it without to write.")
        self._home.check()
        async with self._errors():
            if session is not None:
                joined = Writer(await session.connection(), self.dialect, joined=True)
                await self._require_head(joined)
                yield joined
                return
            async with self._gate.passed_by_task(), self.engine.connect() as connection:
                await connection.execution_options(walle_wait=wait)
                writer = Writer(connection, self.dialect)
                await self._require_head(writer)
                yield writer

    async def check_writable(self, session: AsyncSession | None = None) -> None:
        """Raise unless :meth:`write` could begin; for work that reads much, or makes frames, before it writes.

        Raises
        ------
        ReadOnly, SchemaOutdated
        StoreForked
            Also in a child that cannot make frames, since Polars' threads ran in its parent.
        """
        self._check_open()
        forks.check_polars()
        if not self._at_head:
            async with self.writer(session):
                pass

    async def _require_head(self, writer: Writer) -> None:
        if not self._at_head:
            async with writer.unlocked():
                await require_head(writer.connection, self.dialect.label)
            self._at_head = True

    async def fetch(
        self,
        statement: sa.Select[Any],
        schema: Mapping[str, pl.DataType],
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Run a statement and return its rows as one frame.

        Parameters
        ----------
        statement : Select
            A statement with its columns in the order of the schema, each in its wire form.
        schema : mapping of str to DataType
            The wire types.
        session : AsyncSession, optional
            A session in whose transaction to read; by default a separate connection for reads is used.
        """
        async with self._errors():
            if session is not None:
                return await Writer(await session.connection(), self.dialect).fetch(statement, schema)
            self._home.check()
            job = ReadJob()
            self._jobs.add(job)
            try:
                return await self.in_thread(lambda: concat(self._read(statement, schema, job), schema), job)
            finally:
                self._jobs.discard(job)

    async def in_thread(self, work: Callable[[], T], job: ReadJob | None = None) -> T:
        """Run blocking work in one of this database's threads, so that the caller's loop is not blocked.

        Parameters
        ----------
        work : callable
        job : ReadJob, optional
            A job that a cancellation stops and waits for; without one, the work is soon abandoned.

        Raises
        ------
        CancelledError
            If the caller was cancelled.
        """
        self._home.check()
        forks.check_polars()
        with self._lock:
            self._check_open()
            if self._threads is None:
                self._threads = ThreadPoolExecutor(self.config.pool_size, thread_name_prefix="walle-read")
            queued = self._threads.submit(work)
        future = asyncio.wrap_future(queued)
        try:
            return await cancelled_by_interrupt(asyncio.shield(future))
        except asyncio.CancelledError:
            queued.cancel()  # if it still waits for a thread; running work is stopped by its job
            future.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # retrieves the error
            await to_the_end(_stopped(future, job))
            raise

    def batches(self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType]) -> Iterator[pl.DataFrame]:
        """Yield the rows of a statement in frames; blocking, in the caller's thread."""
        self._check_open()
        forks.check_polars()
        rows = self._read(statement, schema, ReadJob())
        try:
            with self.errors():
                for frame in rows:
                    yield frame
                    self._home.check()
        finally:
            if self._home.left:
                forks.keep_for_ever(rows)  # finalising it would read from the parent's connection
            else:
                rows.close()

    def _read(
        self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType], job: ReadJob
    ) -> Generator[pl.DataFrame, None, None]:
        try:
            yield from self.dialect.frames(statement, schema, job)
        except OSError as error:  # raised by ADBC if a connection ends between two batches
            raise DatabaseUnavailable(f"{self.dialect.label} ended in the middle of a read: {error}.") from error

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn a driver's error into one of :mod:`walle.errors`, with the original as its cause.

        Raises
        ------
        DatabaseError
            Or one of its subclasses.
        """
        try:
            yield
        except Exception as error:
            ours = self.dialect.translate(error)
            if ours is not None:
                raise ours from error
            if isinstance(error, SQLAlchemyError):
                raise DatabaseError(f"{self.dialect.label}: {error}") from error
            raise

    @asynccontextmanager
    async def _errors(self) -> AsyncIterator[None]:
        try:
            with self.errors():
                yield
        except FileReplaced:
            # close connections to a replaced file, whose log would otherwise be taken for that of the new one
            self.dialect.close_readers()
            if self._engine is not None:
                await self.dialect.release(self._engine)
            raise

    def before_close(self, work: Callable[[], Awaitable[object]]) -> None:
        """Register a method to await before the connections are closed, such as the end of a background task.

        This does not keep the method's object alive.
        """
        self._before_close = [*(known for known in self._before_close if known() is not None), weakref.WeakMethod(work)]

    async def close(self) -> None:
        """Close every connection; a second call, or one in a forked child, has no effect."""
        if self._home.left:
            self._closed = True
            return
        try:
            while self._before_close:
                work = self._before_close.pop()()
                if work is not None:
                    await work()
        finally:
            await self._close()

    async def _close(self) -> None:
        with self._lock:
            self._closed = True
            engine, self._engine = self._engine, None
            threads, self._threads = self._threads, None
        for job in tuple(self._jobs):
            job.stop()  # shutting down below blocks the loop until the last read has ended
        if threads is not None:
            threads.shutdown()  # the loop's executor starts no threads at the interpreter's exit
        self.dialect.close_readers()  # first, because SQLite checkpoints the -wal only if the last connection may write
        if engine is not None:
            await self.dialect.release(engine)

    def before_fork(self) -> None:
        """Record the state that a forked child needs."""
        self.dialect.before_fork(busy=self._gate.busy)

    def busy_elsewhere(self) -> bool:
        """Return whether another thread is doing work during which a fork would break the child."""
        return self._gate.busy_elsewhere()

    def forked(self) -> None:
        """Make every connection unusable in this process, because they belong to the parent."""
        self._connections.leave(StoreForked(self._home.pid))
        self.dialect.forked()

    def _check_open(self) -> None:
        self._home.check()
        if self._closed:
            raise StoreClosed(
                f"{self.dialect.label} was closed. Open it again with walle.connect(...) or Database(...)."
            )


async def _stopped(future: asyncio.Future[T], job: ReadJob | None) -> None:
    if job is None:  # while a call of Polars has not seen an interrupt, Polars raises it again elsewhere
        await asyncio.wait([future], timeout=LET_GO)
    while job is not None and not future.done():
        job.stop()
        await asyncio.wait([future], timeout=0.05)


_global: Database | None = None


async def init_database(
    config: DatabaseConfig | str | Path | URL | None = None, *, read_only: bool = False
) -> Database:
    """Open the process-wide database, and close the previous one.

    Parameters
    ----------
    config : DatabaseConfig, str, Path or URL, optional
        By default taken from ``WALLE_DATABASE_URL``.
    read_only : bool

    Returns
    -------
    Database

    Raises
    ------
    ConfigurationError
        If neither names an address, or it cannot work.
    """
    global _global
    if config is None:
        config = DatabaseConfig.from_environment()
    database = Database(config, read_only=read_only)
    await close_database()
    _global = database
    return database


def get_database() -> Database:
    """Return the process-wide database.

    Raises
    ------
    ConfigurationError
        Before :func:`init_database`.
    """
    if _global is None:
        raise ConfigurationError("no database yet: await init_database('research.db') first.")
    return _global


async def close_database() -> None:
    """Close the process-wide database, if there is one."""
    global _global
    database, _global = _global, None
    if database is not None:
        await database.close()
