"""The port: what the event log asks of the place where events lie."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol

import polars as pl

from walle.dialects.outbox_port import NameLock
from walle.events.filters import EventFilter
from walle.repositories.events.consumer_claims import Claim

__all__ = ["EventStore", "Offsets"]


class Offsets(Protocol):
    """How far the consumers have come; :class:`walle.repositories.OffsetRepository` tells what each method does."""

    async def claim(
        self,
        consumer_id: str,
        token: str,
        *,
        start: int = -1,
        lease: timedelta,
        locked: bool = False,
        take_over: bool = False,
    ) -> Claim:
        """Begin to consume under a name."""

    async def commit(self, claim: Claim, offset: int, *, handled: bool = True) -> Claim:
        """Move the offset forward; compare-and-set."""

    async def heartbeat(self, claim: Claim) -> Claim:
        """Say that the consumer lives."""

    async def refresh_claim(self, claim: Claim) -> Claim:
        """Look how a claim stands."""

    async def failed(self, claim: Claim, event: int, error: str) -> Claim:
        """Record what the handler failed with, and at which event."""

    async def release(self, consumer_id: str, token: str) -> None:
        """End a claim."""

    async def park(self, claim: Claim, event: int, error: str, tries: int, *, offset: int) -> Claim:
        """Set an event aside and move the offset."""

    async def requested(self, consumer_id: str) -> list[tuple[int, int]]:
        """Return the parked events whose replay was asked for."""

    async def replayed(self, claim: Claim, event: int) -> Claim:
        """Note that the handler took a parked event after all."""

    async def request_replay(self, consumer_id: str, events: Iterable[int] | None) -> int:
        """Ask that parked events be handled again."""

    async def reset(self, consumer_id: str, offset: int, reason: str) -> int:
        """Move an offset anywhere, and write that down."""

    async def advance(self, consumer_id: str, offset: int) -> None:
        """Move the offset of a consumer that nobody runs forward."""

    async def offset(self, consumer_id: str) -> int:
        """Return a consumer's offset."""

    async def all(self) -> dict[str, int]:
        """Return the offset of every consumer by its name, in the order of names."""

    async def read(self) -> pl.DataFrame:
        """Return every consumer as a frame of :data:`walle.repositories.events.consumer_claims.OFFSETS`."""

    async def parked(self, consumer_id: str | None) -> pl.DataFrame:
        """Return parked events."""

    async def resets(self, consumer_id: str | None) -> pl.DataFrame:
        """Return every reset."""


class EventStore(ABC):
    """The place where events lie, with their numbering."""

    offsets: Offsets
    label: str
    durable: bool

    def __init__(self) -> None:
        self._signal = asyncio.Event()

    @abstractmethod
    def session(self) -> AbstractAsyncContextManager[Any]:
        """Open a session for several appends in one transaction."""

    @abstractmethod
    async def append(self, types: Sequence[str], envelopes: Sequence[str], session: Any) -> list[int]:
        """Store events in order and return their ids; in the caller's session nothing is committed."""

    @abstractmethod
    async def settle(self, after: int) -> int:
        """Look, and return the highest id up to which a reader that stands at ``after`` can read every event."""

    @abstractmethod
    async def rows(
        self,
        wanted: EventFilter,
        after: int,
        upto: int,
        limit: int | None,
        columns: Sequence[str],
        *,
        newest_first: bool = False,
    ) -> pl.DataFrame:
        """Return events with offsets in ``(after, upto]``, by offset, rising or falling.

        Returns
        -------
        polars.DataFrame
            The columns of :data:`walle.frames.EVENTS` that were asked for, or ``envelope``; ``version`` and ``ts`` as
            text.
        """

    @abstractmethod
    async def first(self, *, event_id: str | None = None, since: datetime | None = None) -> int | None:
        """Return the lowest offset of an event with this id, or stored at this time or later; None without."""

    @abstractmethod
    async def holders(self) -> list[str]:
        """Tell which transactions may still commit an id below the highest."""

    @abstractmethod
    async def lock_name(self, name: str) -> NameLock | None:
        """Take a name for this process; see :class:`walle.dialects.outbox_port.OutboxDialect`.

        Raises
        ------
        NotImplementedError
        """

    @property
    @abstractmethod
    def locks_names(self) -> bool:
        """Whether :meth:`lock_name` works here."""

    def signal(self) -> asyncio.Event:
        """Return an event that is set when there may be something new; take it before looking."""
        return self._signal

    def wake(self) -> None:
        """Let those look who wait."""
        signal, self._signal = self._signal, asyncio.Event()
        signal.set()

    async def wait(self, signal: asyncio.Event, seconds: float) -> None:
        """Wait for a signal, or for some seconds: polling is the truth, and a signal only comes before it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await signal.wait()

    @abstractmethod
    async def close(self) -> None:
        """End what runs in the background; a second call does nothing."""
