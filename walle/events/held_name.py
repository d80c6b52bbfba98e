"""A consumer's name, held by a lock of the database and taken again when the lock's session was cut off."""

from __future__ import annotations

import asyncio
import logging

from walle.dialects.outbox_port import NameLock
from walle.errors import ConsumerBusy
from walle.events.port import EventStore
from walle.repositories.events.consumer_claims import Claim

__all__ = ["LOCK_SECONDS", "LOST_SECONDS", "HeldName"]

log: logging.Logger = logging.getLogger("walle")

LOCK_SECONDS = 1.0
"""How long a name's lock is waited for: that of a session which has just ended is free only a moment later."""

LOST_SECONDS = 30.0
"""The same after an outage: a server keeps the lock of a session that was cut off until its keepalives fail."""

LONGEST_PAUSE = 1.0


class HeldName:
    """The lock on a name, where the database has such locks.

    Parameters
    ----------
    store : EventStore
    name : str
    take_over : bool
        Go without the lock where another session has it.
    """

    def __init__(self, store: EventStore, name: str, *, take_over: bool) -> None:
        self._store, self._name, self._take_over = store, name, take_over
        self._lock: NameLock | None = None
        self._lost = False
        self._looking = asyncio.Lock()

    @property
    def locked(self) -> bool:
        """Whether a lock holds the name; else the lease must do."""
        return self._lock is not None

    async def take(self, seconds: float) -> None:
        """Take the lock, and wait for it if need be.

        Raises
        ------
        ConsumerBusy
            When another session has it for so long.
        """
        if self._store.locks_names:
            self._lock = await self._wait(seconds, None)

    async def keep(self, claim: Claim, *, ask: bool = False) -> None:
        """Take the lock again when its session was cut off; return only while the name is this consumer's.

        Parameters
        ----------
        claim : Claim
            Of the consumer.
        ask : bool
            Ask the database in any case, and not only when the lock's connection has something to tell.

        Raises
        ------
        ConsumerBusy
            When another session has it.
        ConsumerFenced
            When another consumer took the name meanwhile, even if it has ended since.
        """
        if self._lock is None or not (ask or self._lost or self._lock.stirs()):
            return
        async with self._looking:  # the heartbeat looks as well
            if self._lock is None or (not self._lost and await self._lock.holds()):
                return
            if not self._lost:
                log.warning("consumer %s lost its lock, and takes it again before it goes on", self._name)
                self._lost = True
                await self._lock.release()
            self._lock = await self._wait(LOST_SECONDS, claim)
            self._lost = False
            await self._store.offsets.refresh_claim(claim)
            log.warning("consumer %s has its lock again", self._name)

    async def release(self) -> None:
        """Give it back; a second call does nothing."""
        if self._lock is not None:
            await self._lock.release()

    async def _wait(self, seconds: float, claim: Claim | None) -> NameLock | None:
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + seconds, 0.1
        while True:
            lock = await self._store.lock_name(self._name)
            if lock is not None or not self._store.locks_names:
                return lock  # None behind a pooler, which is known only now: the lease must do
            if claim is not None:
                await self._store.offsets.refresh_claim(claim)  # raises once the one who has the lock claims the name
            elif self._take_over:
                return None
            if loop.time() >= end:
                raise ConsumerBusy(self._name, "another session of this database")
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, LONGEST_PAUSE)
