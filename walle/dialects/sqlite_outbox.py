"""Events on SQLite: one writer at a time, so the order of ids is the order of commits."""

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
        The key in a connection's ``info`` that tells of an interrupt.
    rows : int
        Rows that go in between two looks at it.
    """

    locks_names = False

    def __init__(self, interrupted: str, rows: int) -> None:
        self._interrupted = interrupted
        self._rows = rows

    async def insert(self, connection: AsyncConnection, types: Sequence[str], envelopes: Sequence[str]) -> list[int]:
        """Insert by executemany; nobody else writes meanwhile, so the ids follow each other.

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
        """Select the highest id; nobody can commit a lower one later."""
        highest: sa.ColumnElement[int] = sa.literal_column("(SELECT coalesce(max(id), 0) FROM outbox)")
        empty: sa.ColumnElement[str] = sa.literal_column("''")
        columns: list[sa.ColumnElement[Any]] = [highest.label("highest"), empty.label("holders"), empty.label("hazard")]
        return sa.select(*columns)

    def holders(self) -> sa.Select[Any]:
        """Select nobody."""
        return sa.select(sa.literal_column("''").label("holder")).where(sa.false())

    def announcement(self) -> sa.Executable | None:
        """Return None: other processes look for themselves."""
        return None

    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Refuse: a file tells nobody.

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError

    async def lock_name(self, name: str) -> NameLock | None:
        """Refuse: a file keeps no lock for a name.

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError
