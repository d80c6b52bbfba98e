"""The port of the event log to a database: everything beyond the SQL that both databases share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["NameLock", "OutboxDialect"]


class NameLock(Protocol):
    """A name that the database reserves for this process for as long as its connection lasts."""

    def stirs(self) -> bool:
        """Return whether its connection has ended or received data; this needs no round trip."""

    async def holds(self) -> bool:
        """Return whether the name is still ours, according to the database."""

    async def release(self) -> None:
        """Release the name; a second call has no effect."""


class OutboxDialect(ABC):
    """Events on one database."""

    @abstractmethod
    async def insert(self, connection: AsyncConnection, types: Sequence[str], envelopes: Sequence[str]) -> list[int]:
        """Insert events in order.

        Parameters
        ----------
        connection : AsyncConnection
            A connection in a transaction.
        types, envelopes : sequence of str
            One per event; an envelope is JSON text.

        Returns
        -------
        list of int
            Their ids, in ascending order.
        """

    @abstractmethod
    def evidence(self) -> sa.Select[Any]:
        """Select the evidence of which ids are settled: one row of highest, holders and hazard.

        ``highest`` is the highest committed id (0 without events), in a snapshot taken before the holders are read.
        ``holders`` are the transactions that may still commit an id below it, separated by commas. ``hazard`` says why
        events could be skipped here; it is empty if they cannot.
        """

    @abstractmethod
    def holders(self) -> sa.Select[Any]:
        """Select a text for each transaction that may still commit an id: its owner, and its start."""

    @abstractmethod
    def announcement(self) -> sa.Executable | None:
        """Return the statement that wakes listeners in other processes; None if there is none."""

    @abstractmethod
    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Open an iterator of wake-ups from other processes; it requires :meth:`announcement`.

        Raises
        ------
        NotImplementedError
        """

    @abstractmethod
    async def lock_name(self, name: str) -> NameLock | None:
        """Reserve a name for this process; return None if another process has it.

        Raises
        ------
        NotImplementedError
            If the database has no such lock; consumers then use an expiring lease.
        """

    @property
    @abstractmethod
    def locks_names(self) -> bool:
        """Whether :meth:`lock_name` is supported here."""
