"""A consumer that asks for its events: for programs that have a loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Self

from walle.envelope import Event
from walle.errors import InputError
from walle.events.claimed_name import LEASE, LOOK_SECONDS, ClaimedName, check_start
from walle.events.consumer import PASS_SECONDS
from walle.events.filters import EventFilter, check_offset
from walle.events.log import FOLLOWED, EventLog
from walle.events.patience import check_seconds
from walle.options import StartPlace

__all__ = ["PullConsumer"]


class PullConsumer:
    """A named reader of a log that fetches events, and says which of them it has settled.

    The rules are those of :class:`walle.Consumer`: one live process under a name, a heartbeat while the name is held,
    offsets that only move forward, and commits that fail once another process took the name. What was polled and not
    committed comes again at the next start, so make the handling idempotent by ``event.id``.

    Parameters
    ----------
    log : EventLog
    name : str
        Of the consumer; its offset is kept under it, and a :class:`walle.Consumer` of that name goes on from there.
    types, run_id
        As in :meth:`EventLog.read`; the offset passes the events that are left out.
    start : {"first", "latest"} or int
        Where a new consumer begins: at the first event, with what comes next, or after an offset.
    lease : timedelta
        When this consumer is silent for so long, one on another host may take its place.
    take_over : bool
        Take the name also from a process that lives, but hangs: its next commit fails.

    Raises
    ------
    InputError
        For a setting that cannot work.

    Notes
    -----
    Parked events whose replay was asked for are given to a :class:`walle.Consumer` only: they lie behind the offset.

    Examples
    --------
    ```python
    async with PullConsumer(log, "sink", types="orders.*") as consumer:
        for offset, event in await consumer.poll(timeout=1.0):
            print(offset, event.type)
            await consumer.commit(offset)
    ```
    """

    def __init__(
        self,
        log: EventLog,
        name: str,
        *,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        start: StartPlace | int = "first",
        lease: timedelta = LEASE,
        take_over: bool = False,
    ) -> None:
        self._name = ClaimedName(log, name, lease=lease, take_over=take_over)
        self._start = check_start(start)
        self._log = log
        self._wanted = EventFilter.of(types, run_id)
        self._held: AsyncExitStack | None = None
        self._place = self._given = -1
        self._epoch = 0
        self._looked_at = self._passed_at = 0.0

    def __repr__(self) -> str:
        """Show the name, and whether it is held."""
        return f"PullConsumer({self.name!r}{', started' if self._held is not None else ''})"

    @property
    def name(self) -> str:
        """The name under which the offset is kept."""
        return self._name.name

    async def start(self) -> int:
        """Take the name, and return the offset from which the next poll goes on.

        Raises
        ------
        ConsumerBusy
            When another process that lives consumes under this name.
        InputError
            When it was started already.
        """
        if self._held is not None:
            raise InputError(f"consumer {self.name!r} was started already; stop() it first.")
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._name.hold(self._start))
            self._held = stack.pop_all()
        self._looked_at = self._passed_at = asyncio.get_running_loop().time()
        return self._go_on()

    async def poll(self, limit: int = FOLLOWED, *, timeout: float | None = 0.0) -> list[tuple[int, Event]]:
        """Return the next events, each with its offset, in the order of offsets.

        Parameters
        ----------
        limit : int
            At most so many.
        timeout : float, optional
            Seconds to wait for the first of them; 0: look once. None: no end.

        Returns
        -------
        list of tuple of int and Event
            Those after the last poll's; empty when none came. After somebody reset the offset they begin there again.

        Raises
        ------
        ConsumerBusy, ConsumerFenced
            When another process took the name meanwhile, or has its lock after this one's was cut off.
        InputError
            Before :meth:`start`, for a limit that is no whole number above 0, and for a timeout below 0.
        UnsafeEventSource
            Where events could be skipped.
        """
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InputError(f"limit={limit!r} is not a whole number above 0.")
        check_seconds(timeout, "timeout")
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while True:
            await self._look()
            await self._check().keep()
            left = LOOK_SECONDS if end is None else max(0.0, min(LOOK_SECONDS, end - loop.time()))
            events, upto = await self._log.follow(self._wanted, self._place, limit, left)
            self._place = upto
            if events:
                await self._check().keep()
                self._given = events[-1].offset or 0
                return [(event.offset or 0, event) for event in events]
            await self._pass()
            if end is not None and loop.time() >= end:
                return []

    async def commit(self, offset: int) -> int:
        """Settle all events up to an offset.

        Parameters
        ----------
        offset : int
            Of an event that was polled; not below the last committed one.

        Returns
        -------
        int
            The offset as it stands. It is another one when somebody reset it meanwhile: then nothing was committed,
            and the next poll goes on from there.

        Raises
        ------
        ConsumerFenced
            When another process took the name; nothing was committed.
        InputError
            Before :meth:`start`, for an offset below the committed one, and for one that was not polled yet.
        """
        name = self._check()
        if check_offset(offset, "offset") > self._place:
            raise InputError(
                f"offset={offset} of consumer {self.name!r} was not polled yet: the consumer is at {self._place}."
            )
        name.stand(await self._log.store.offsets.commit(name.own, offset))
        return self._go_on_where_reset()

    async def stop(self) -> None:
        """Give the name back; a second call does nothing. What was polled and not committed comes again."""
        held, self._held = self._held, None
        if held is not None:
            await held.aclose()

    async def __aenter__(self) -> Self:
        """Start it."""
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop it."""
        await self.stop()

    def _check(self) -> ClaimedName:
        if self._held is None:
            raise InputError(f"consumer {self.name!r} was not started: await consumer.start(), or use async with.")
        self._name.check()
        return self._name

    async def _look(self) -> None:
        """Hear of another process that took the name, and of a reset."""
        name, now = self._check(), asyncio.get_running_loop().time()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            name.stand(await self._log.store.offsets.refresh_claim(name.own))
        self._go_on_where_reset()

    async def _pass(self) -> None:
        """Move the offset past events that are not wanted, where every wanted one before is settled."""
        name, now = self._check(), asyncio.get_running_loop().time()
        claim = name.own
        if self._place <= claim.offset or claim.offset < self._given:
            return
        if now - self._passed_at >= PASS_SECONDS:
            self._passed_at = now
            name.stand(await self._log.store.offsets.commit(claim, self._place, handled=False))

    def _go_on(self) -> int:
        claim = self._name.own
        self._place = self._given = claim.offset
        self._epoch = claim.epoch
        return claim.offset

    def _go_on_where_reset(self) -> int:
        claim = self._name.own
        return self._go_on() if claim.epoch != self._epoch else claim.offset
