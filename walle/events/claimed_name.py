"""A consumer's name while one process has it: claimed, kept by signs of life, and given back."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

from walle.errors import Conflict, DatabaseError, InputError, WalleError
from walle.events.filters import check_offset
from walle.events.held_name import LOCK_SECONDS, HeldName
from walle.events.log import EventLog
from walle.interrupts import end, to_the_end
from walle.options import StartPlace
from walle.repositories.events.consumer_claims import Claim, check_consumer, live_tokens

__all__ = ["LEASE", "LOOK_SECONDS", "ClaimedName", "check_start"]

log: logging.Logger = logging.getLogger("walle")

LEASE = timedelta(seconds=30)
"""How long a consumer may be silent before one on another host takes its place."""

LOOK_SECONDS = 0.5
"""How often a consumer looks for a reset of its offset, for replays that were asked for, and after its lock."""

ASK_SECONDS = 10.0
"""How seldom it asks whether the lock is still its own: a server keeps that of a silent session for 25 seconds."""


def check_start(start: StartPlace | int) -> StartPlace | int:
    """Return where a new consumer begins.

    Raises
    ------
    InputError
        For what is neither ``first``, ``latest`` nor an offset.
    """
    if isinstance(start, str):
        if start not in ("first", "latest"):
            raise InputError(f"start={start!r} is neither 'first', 'latest' nor an offset.")
        return start
    return check_offset(start, "start")


class ClaimedName:
    """The name of a consumer, which one process at a time claims.

    Parameters
    ----------
    log : EventLog
    name : str
    lease : timedelta
        How long its owner may be silent before a consumer on another host takes its place.
    take_over : bool
        Take the name from an owner that cannot be looked at.
    """

    def __init__(self, log: EventLog, name: str, *, lease: timedelta, take_over: bool) -> None:
        if not isinstance(log, EventLog):
            raise InputError(f"a consumer reads a walle.EventLog, not a {type(log).__name__}.")
        if not isinstance(lease, timedelta) or not timedelta(0) < lease <= timedelta(days=1):
            raise InputError(f"lease={lease!r} is not a timedelta above 0 and of at most a day.")
        self.name: str = check_consumer(name)
        self.claim: Claim | None = None
        self._log = log
        self._lease, self._take_over = lease, take_over
        self._fenced: Conflict | None = None
        self._held: HeldName | None = None

    @property
    def own(self) -> Claim:
        """The claim, while the name is held."""
        assert self.claim is not None
        return self.claim

    @asynccontextmanager
    async def hold(self, start: StartPlace | int, *, seconds: float = LOCK_SECONDS) -> AsyncIterator[Claim]:
        """Claim the name, give signs of life while the block runs, and give the name back.

        Parameters
        ----------
        start : {"first", "latest"} or int
            Where it begins when it is new.
        seconds : float
            How long to wait for the name's lock.

        Raises
        ------
        ConsumerBusy
            When another process that lives has the name.
        """
        offsets = self._log.store.offsets
        token, held = str(uuid4()), HeldName(self._log.store, self.name, take_over=self._take_over)
        first = start if isinstance(start, int) else -1
        if start == "latest":
            first = await self._log.latest()
        await held.take(seconds)
        beats: asyncio.Task[None] | None = None
        live_tokens.add(token)
        try:
            claim = await offsets.claim(
                self.name, token, start=first, lease=self._lease, locked=held.locked, take_over=self._take_over
            )
            self.claim, self._held, self._fenced = claim, held, None
            beats = asyncio.create_task(self._beat(claim, held))
            yield claim
        finally:
            self.claim = self._held = None
            live_tokens.discard(token)  # first: should the release fail, this process may still claim the name again
            await to_the_end(self._release(token, beats, held))

    def check(self) -> None:
        """Raise when another process took the name.

        Raises
        ------
        ConsumerBusy, ConsumerFenced
        """
        if self._fenced is not None:
            raise self._fenced

    async def keep(self) -> None:
        """Make sure that the name is still this consumer's.

        Raises
        ------
        ConsumerBusy, ConsumerFenced
        """
        self.check()
        assert self._held is not None
        await self._held.keep(self.own)

    def stand(self, claim: Claim) -> bool:
        """Go on with a claim as the database has it now; return whether somebody reset its offset."""
        moved = self.claim is None or claim.epoch != self.claim.epoch
        self.claim = claim
        return moved

    async def _beat(self, claim: Claim, held: HeldName) -> None:
        offsets, loop = self._log.store.offsets, asyncio.get_running_loop()
        pause = min(self._lease.total_seconds() / 3, ASK_SECONDS)
        due = loop.time() + pause
        while True:
            await asyncio.sleep(min(LOOK_SECONDS, max(0.0, due - loop.time())))
            is_due = loop.time() >= due
            try:
                await held.keep(self.claim or claim, ask=is_due)  # also while a handler takes long
                if is_due:
                    await offsets.heartbeat(self.claim or claim)
            except Conflict as error:
                self._fenced = error
                return
            except DatabaseError as error:
                log.warning("consumer %s could not give a sign of life: %s", self.name, error)
            if is_due:
                due = loop.time() + pause

    async def _release(self, token: str, beats: asyncio.Task[None] | None, held: HeldName) -> None:
        try:
            if beats is not None:
                await end(beats)
            with contextlib.suppress(WalleError):
                # also a claim whose answer a cancellation cut off
                await self._log.store.offsets.release(self.name, token)
        finally:
            await held.release()
