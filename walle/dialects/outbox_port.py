"""The port: what the event log asks of a database beyond the SQL that both speak."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

__all__ = ["NameLock", "OutboxDialect"]


class NameLock(Protocol):
    """A name that the database keeps for this process for as long as its connection lasts."""

    def stirs(self) -> bool:
        """Whether its connection has ended or has something to tell; it costs no round trip."""

    async def holds(self) -> bool:
        """Ask the database whether the name is still ours."""

    async def release(self) -> None:
        """Give it back; a second call does nothing."""


class OutboxDialect(ABC):
    """Events on one database."""

    @abstractmethod
    async def insert(self, connection: AsyncConnection, types: Sequence[str], envelopes: Sequence[str]) -> list[int]:
        """Insert events in order.

        Parameters
        ----------
        connection : AsyncConnection
            In a transaction.
        types, envelopes : sequence of str
            One per event; an envelope is JSON text.

        Returns
        -------
        list of int
            Their ids, rising.
        """

    @abstractmethod
    def evidence(self) -> sa.Select[Any]:
        """Select what tells which ids are settled: one row of highest, holders and hazard.

        ``highest`` is the highest committed id (0 without), of a snapshot that is older than the look at the holders.
        ``holders`` are the transactions that may still commit an id below it, separated by commas. ``hazard`` says why
        events could be skipped here; empty when nothing does.
        """

    @abstractmethod
    def holders(self) -> sa.Select[Any]:
        """Select one text for each transaction that may still commit an id: who, and since when."""

    @abstractmethod
    def announcement(self) -> sa.Executable | None:
        """Return the statement that wakes listeners in other processes; None where there is none."""

    @abstractmethod
    def listen(self) -> AbstractAsyncContextManager[AsyncIterator[None]]:
        """Open an iterator of wake-ups from other processes; only where there are announcements.

        Raises
        ------
        NotImplementedError
        """

    @abstractmethod
    async def lock_name(self, name: str) -> NameLock | None:
        """Take a name for this process; None when another one has it.

        Raises
        ------
        NotImplementedError
            Where the database has no such lock; an expiring lease must do.
        """

    @property
    @abstractmethod
    def locks_names(self) -> bool:
        """Whether :meth:`lock_name` works here."""
