"""Events on SQLite: with one writer at a time, the order of ids is the order of commits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from walle.dialects.outbox_port import NameLock, OutboxDialect

__all__ = ["SQLiteOutbox"]

_INSERT = "INSERT INTO outbox (type, payload) VALUES (?, ?)"


class SQLiteOutbox(OutboxDialect):
    """Events in one file.

    Parameters
    ----------
    interrupted : str
        The key in a connection's ``info`` that records an interrupt.
    rows : int
        The number of rows to insert between two checks of it.
    """

    locks_names = False

    def __init__(self, interrupted: str, rows: int) -> None:
        self._interrupted = interrupted
        self._rows = rows

    async def insert(self, connection: AsyncConnection, types: Sequence[str], envelopes: Sequence[str]) -> list[int]:
        """Insert by executemany; no other connection writes meanwhile, so the ids are consecutive.

        Raises
        ------
        CancelledError
            Between two batches after an interrupt.
        """
        if len(types) == 1:
            result = await connection.exec_driver_sql(_INSERT, (types[0], envelopes[0]))
            return [int(result.lastrowid)]
        connection.info.pop(self._interrupted, None)
        rows = list(zip(types, envelopes, strict=True))
        for start in range(0, len(rows), self._rows):
            if connection.info.get(self._interrupted):
                raise asyncio.CancelledError
            await connection.exec_driver_sql(_INSERT, rows[start : start + self._rows])
        query = sa.text("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")
        last = int((await connection.execute(query)).scalar_one())
        return list(range(last - len(rows) + 1, last + 1))

    def evidence(self) -> sa.Select[Any]:
        """Select the highest id; no connection can commit a lower one later."""
        highest: sa.ColumnElement[int] = sa.literal_column("(SELECT coalesce(max(id), 0) FROM outbox)")
        empty: sa.ColumnElement[str] = sa.literal_column("''")
        columns: list[sa.ColumnElement[Any]] = [highest.label("highest"), empty.label("holders"), empty.label("hazard")]
        return sa.select(*columns)

    def holders(self) -> sa.Select[Any]:
        """Select no rows."""
        return sa.select(sa.literal_column("''").label("holder")).where(sa.false())

    def announcement(self) -> sa.Executable | None:
        """Return None, because other processes poll."""
        return None

    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Raise, because a file sends no notifications.

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError

    async def lock_name(self, name: str) -> NameLock | None:
        """Raise, because a file has no locks for names.

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError
