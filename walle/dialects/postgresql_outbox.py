"""Events on PostgreSQL: ids are assigned before commit, so transactions that may still commit lower ones are looked up.

An INSERT takes a RowExclusiveLock on its table before it takes an id from the sequence, and its transaction keeps that
lock until its rows are visible (or gone). So a transaction that may still commit an id at or below the highest visible
one is among the holders of that lock, if the locks are read after the snapshot of the rows. Holders are known by their
virtual transaction, not by pid, because a prepared transaction has none.
https://www.postgresql.org/docs/current/view-pg-locks.html
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import select
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from walle.dialects.outbox_port import NameLock, OutboxDialect
from walle.forks import Home, keep_for_ever
from walle.interrupts import end

__all__ = ["PostgreSQLOutbox", "locks_of_writers"]

CHANNEL = "walle_outbox"
BATCH_EVENTS = 5_000
BATCH_BYTES = 16 * 1024 * 1024

_ONE = "INSERT INTO outbox (type, payload) VALUES (%s, %s::jsonb) RETURNING id"
# ORDER BY makes the ids follow that order; %b, because psycopg formats an array of texts as text in a slow loop
_MANY = (
    "INSERT INTO outbox (type, payload) SELECT type, envelope::jsonb "
    "FROM unnest(%b::text[], %b::text[]) WITH ORDINALITY AS event (type, envelope, place) ORDER BY place RETURNING id"
)


def locks_of_writers(table: str) -> str:
    """Return the end of a SELECT from the locks, ``held``, of the transactions that have written to a table."""
    return (
        f"FROM pg_locks AS held WHERE held.locktype = 'relation' AND held.relation = '{table}'::regclass "
        "AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND held.mode = 'RowExclusiveLock' AND held.granted"
    )


_LOCKS = locks_of_writers("outbox")
_HAZARD = (
    "CASE WHEN pg_is_in_recovery() THEN 'it is a standby, which sees no locks of the writers; read from the primary' "
    "WHEN (SELECT seqcache FROM pg_sequence WHERE seqrelid = pg_get_serial_sequence('outbox', 'id')::regclass) > 1 "
    "THEN 'the sequence of outbox.id hands out ids in blocks; ALTER SEQUENCE ' || "
    "pg_get_serial_sequence('outbox', 'id') || ' CACHE 1, and reconnect every writer' ELSE '' END"
)
_HOLDER = (
    "SELECT CASE WHEN holders.pid IS NULL THEN 'prepared transaction ' || "
    "coalesce((SELECT quote_literal(gid) FROM pg_prepared_xacts JOIN pg_locks AS own "
    "ON own.transactionid = transaction AND own.pid IS NULL "
    "WHERE own.virtualtransaction = holders.virtualtransaction LIMIT 1), holders.virtualtransaction) "
    "ELSE 'pid ' || holders.pid || ' (' || concat_ws(', ', 'user ' || usename, nullif(application_name, ''), "
    "'at ' || host(client_addr), state, 'since ' || to_char(xact_start AT TIME ZONE 'UTC', "
    "'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')) || ')' END AS holder "
    "FROM (SELECT DISTINCT held.pid, held.virtualtransaction {locks}) AS holders "
    "LEFT JOIN pg_stat_activity AS activity ON activity.pid = holders.pid"
)


# a host that vanishes must not keep its names for the usual two hours
_KEEPALIVE = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3"
ANSWER_TIMEOUT = 10.0
"""Seconds after which a connection that holds a name and does not respond counts as lost."""


class PostgreSQLOutbox(OutboxDialect):
    """Events in one database.

    Parameters
    ----------
    open_session : coroutine function
        Opens a separate connection in autocommit; returns None if a pooler prevents LISTEN and session locks.
    has_sessions : callable
        Returns False once a pooler is known to prevent them.
    """

    def __init__(
        self,
        open_session: Callable[[], Awaitable[psycopg.AsyncConnection[Any] | None]],
        has_sessions: Callable[[], bool],
    ) -> None:
        self._open_session = open_session
        self._has_sessions = has_sessions

    @property
    def locks_names(self) -> bool:
        """Whether a session can hold an advisory lock here, as far as known."""
        return self._has_sessions()

    async def insert(self, connection: AsyncConnection, types: Sequence[str], envelopes: Sequence[str]) -> list[int]:
        """Insert with one statement per batch; arrays avoid the limit on parameters."""
        if len(types) == 1:
            return [(await connection.exec_driver_sql(_ONE, (types[0], envelopes[0]))).scalar_one()]
        ids: list[int] = []
        for first, past in _batches(envelopes):
            result = await connection.exec_driver_sql(_MANY, (list(types[first:past]), list(envelopes[first:past])))
            ids += sorted(result.scalars())
        return ids

    def evidence(self) -> sa.Select[Any]:
        """Select the evidence in one statement, whose snapshot is taken before it reads pg_locks, which has none."""
        highest = "(SELECT coalesce(max(id), 0)::bigint FROM outbox)"
        holders = f"(SELECT coalesce(string_agg(DISTINCT held.virtualtransaction, ','), '') {_LOCKS})"
        columns: list[sa.ColumnElement[Any]] = [
            sa.literal_column(highest).label("highest"),
            sa.literal_column(holders).label("holders"),
            sa.literal_column(f"({_HAZARD})").label("hazard"),
        ]
        return sa.select(*columns)

    def holders(self) -> sa.Select[Any]:
        """Select sessions by pid, and prepared transactions by name."""
        locked = sa.text(f"({_HOLDER.format(locks=_LOCKS)}) AS locked")
        holder: sa.ColumnElement[Any] = sa.literal_column("locked.holder").label("holder")
        return sa.select(holder).select_from(locked)

    def announcement(self) -> sa.Executable | None:
        """Return a NOTIFY for a separate transaction.

        In the writer's transaction it would lock the whole database at commit, and writers would queue for it.
        """
        return sa.text(f"SELECT pg_notify('{CHANNEL}', '')") if self._has_sessions() else None

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[AsyncIterator[None]]:
        """Open a separate connection that listens; behind a pooler it receives nothing."""
        connection = await self._open_session()
        if connection is None:
            yield _silence()
            return
        home = Home()
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            yield _wakes(connection)
        finally:
            if home.left:
                keep_for_ever(connection)  # its close would end the parent's session
            else:
                await connection.close()

    async def lock_name(self, name: str) -> NameLock | None:
        """Take a session advisory lock on a separate connection; there is none if a pooler is detected."""
        connection = await self._open_session()
        if connection is None:
            return None
        key = int.from_bytes(hashlib.sha256(f"walle consumer {name}".encode()).digest()[:8], signed=True)
        try:
            await connection.execute(_KEEPALIVE)
            # the oid of the table, because every schema of the database has its own consumers
            taken = "SELECT pg_try_advisory_lock(%s::bigint # 'outbox'::regclass::oid::bigint)"
            row = await (await connection.execute(taken, (key,))).fetchone()
        except BaseException:
            await connection.close()
            raise
        if row is None or not row[0]:
            await connection.close()
            return None
        return _SessionLock(connection)


class _SessionLock:
    """An advisory lock that lasts as long as its connection."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection, self._home = connection, Home()
        self._asking: asyncio.Task[bool] | None = None

    def stirs(self) -> bool:
        # between statements a server sends nothing, except that it ends the session
        return self._home.left or self._connection.closed or _is_readable(self._connection.fileno())

    async def holds(self) -> bool:
        if self._home.left:
            return False
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        # not asyncio.timeout, because psycopg needs ten more seconds to abandon a cancelled statement
        done, _ = await asyncio.wait({self._asking}, timeout=ANSWER_TIMEOUT)
        if not done:
            return False
        answered, self._asking = self._asking.result(), None
        return answered

    async def _ask(self) -> bool:
        try:
            await self._connection.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    async def release(self) -> None:
        if self._home.left:
            keep_for_ever(self._connection)  # the parent's connection holds the name
            return
        if self._asking is not None:  # the server did not respond
            await end(self._asking)
        else:
            # the server releases the lock shortly after the end of the session
            with contextlib.suppress(psycopg.Error, TimeoutError):
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    await self._connection.execute("SELECT pg_advisory_unlock_all()")
        await self._connection.close()


def _is_readable(descriptor: int) -> bool:
    if sys.platform == "win32":
        return bool(select.select([descriptor], [], [], 0)[0])
    poll = select.poll()  # select() does not support descriptors from 1024
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


async def _wakes(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    async for _ in connection.notifies():
        yield None


async def _silence() -> AsyncIterator[None]:
    return
    yield


def _batches(envelopes: Sequence[str]) -> list[tuple[int, int]]:
    batches, start, size = [], 0, 0
    for place, envelope in enumerate(envelopes):
        if place > start and (place - start >= BATCH_EVENTS or size + len(envelope) > BATCH_BYTES):
            batches.append((start, place))
            start, size = place, 0
        size += len(envelope)
    return [*batches, (start, len(envelopes))]
