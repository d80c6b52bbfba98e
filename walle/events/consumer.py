"""A named reader that gets every event at least once, and resumes where it stood."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Any, cast

from walle.envelope import Event
from walle.errors import DatabaseError, HandlerFailed, InputError, WalleError
from walle.events.callbacks import check_callback, is_async
from walle.events.claimed_name import LEASE, LOOK_SECONDS, ClaimedName, check_start
from walle.events.filters import EventFilter
from walle.events.held_name import LOCK_SECONDS, LOST_SECONDS
from walle.events.log import FOLLOWED, POLL, EventLog
from walle.events.patience import Patience
from walle.forks import ending_a_child
from walle.interrupts import check_cancelled, to_the_end
from walle.options import OnPoison, StartPlace
from walle.repositories.events.consumer_claims import Claim

__all__ = ["LEASE", "Consumer", "Handler"]

log: logging.Logger = logging.getLogger("walle")

Handler = Callable[[Any], Awaitable[object] | object]
"""Takes an event, or a list of events where ``batch_size`` is given; async, or sync and then run in a thread."""

COMMIT_SECONDS = 0.1
"""How often the offset is committed while single events are handled one after the other."""

PASS_SECONDS = 1.0
"""How often the offset is moved past events that the consumer does not want."""


class Consumer:
    """A named reader of a log: each event is handled at least once, in the order of offsets.

    The offset is committed after the handler has succeeded, so a crash repeats what was handled since the last commit
    (at most a tenth of a second, or one batch), and skips nothing. Make handlers idempotent by ``event.id``.

    Parameters
    ----------
    log : EventLog
    name : str
        Only one process consumes under a name at a time.
    handler : callable
        Takes one event, or with ``batch_size`` a list of events. An async one runs in the loop; a sync one in a thread
        of its own, always the same.
    types, run_id
        As in :meth:`EventLog.read`; the offset passes the events that are left out.
    batch_size : int, optional
        Give the handler lists of at most so many events.
    start : {"first", "latest"} or int
        Where a new consumer begins: at the first event, with what comes after it has looked (it raises at once where
        it cannot look, so that nothing is missed), or after an offset.
    tries : int
        How often an event is given to a handler that fails.
    backoff : float
        Seconds before the second try; doubled before each further one, at most 30.
    on_poison : {"stop", "park"}
        What becomes of an event that failed so often: the consumer stops before it (``HandlerFailed``), or sets it
        aside with the error and goes on; see :meth:`EventLog.parked` and :meth:`EventLog.replay`. The events of a batch
        that failed are given one by one then, so that only the bad ones are set aside.
    lease : timedelta
        When this consumer is silent for so long, one on another host may take its place.
    take_over : bool
        Take the name also from a process that lives, but hangs: its next commit fails.
    give_up_after : float, optional
        Seconds without the database after which one that follows ends with its error. None: it goes on trying, and
        says so through the logger ``walle``. What waiting does not mend, such as a wrong password, ends it at once.

    Raises
    ------
    InputError
        For a handler that is not callable, or a setting that cannot work.

    Examples
    --------
    ```python
    async def handle(event: walle.Event) -> None:
        print(event.offset, event.type)

    await Consumer(log, "printer", handle, types="orders.*").run(follow=False)
    ```
    """

    def __init__(
        self,
        log: EventLog,
        name: str,
        handler: Handler,
        *,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        batch_size: int | None = None,
        start: StartPlace | int = "first",
        tries: int = 3,
        backoff: float = 0.1,
        on_poison: OnPoison = "stop",
        lease: timedelta = LEASE,
        take_over: bool = False,
        give_up_after: float | None = None,
    ) -> None:
        self._name = ClaimedName(log, name, lease=lease, take_over=take_over)
        check_callback(handler, "handler")
        if on_poison not in ("stop", "park"):
            raise InputError(f"on_poison={on_poison!r} is neither 'stop' nor 'park'.")
        for label, value in (("batch_size", 1 if batch_size is None else batch_size), ("tries", tries)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{label}={value!r} is not a whole number above 0.")
        if isinstance(backoff, bool) or not isinstance(backoff, int | float) or not 0 <= backoff <= 3600:
            raise InputError(f"backoff={backoff!r} is not a number of seconds from 0 to 3600.")
        self.name: str = self._name.name
        self.handled: int = 0
        self._log = log
        self._handler = handler
        self._is_async = is_async(handler)
        self._wanted = EventFilter.of(types, run_id)
        self._batch_size = batch_size
        self._start = check_start(start)
        self._tries, self._backoff, self._parks = tries, backoff, on_poison == "park"
        self._patience = Patience(f"consumer {name}", give_up_after)
        self._running = self._stopping = False
        self._place = -1
        self._committed_at = self._looked_at = 0.0
        self._lock_seconds = LOCK_SECONDS
        self._thread: ThreadPoolExecutor | None = None

    def __repr__(self) -> str:
        """Show the name, and where it stands while it runs."""
        claim = self._name.claim
        where = "" if claim is None else f", offset={claim.offset}, epoch={claim.epoch}"
        return f"Consumer({self.name!r}{where}, handled={self.handled})"

    def stop(self) -> None:
        """Have :meth:`run` return after the event or batch in hand is handled and committed; from any thread.

        Before a run it makes the next one return at once.
        """
        self._stopping = True

    async def run(self, *, follow: bool = True) -> int:
        """Consume.

        Parameters
        ----------
        follow : bool
            Go on until :meth:`stop`; False: return at the end of the log.

        Returns
        -------
        int
            How many events were handled.

        Raises
        ------
        ConsumerBusy
            When another process that lives consumes under this name, or has its lock after this one's was cut off.
        ConsumerFenced
            When another one took its place meanwhile.
        HandlerFailed
            When the handler failed for the last time and ``on_poison="stop"``.
        InputError
            When this consumer runs already.
        UnsafeEventSource
            Where events could be skipped.
        """
        if self._running:
            raise InputError(f"consumer {self.name!r} runs already; make another Consumer object.")
        self._running, before = True, self.handled
        try:
            await self._run(follow)
        finally:
            self._running = self._stopping = False
        return self.handled - before

    async def _run(self, follow: bool) -> None:
        if self._start == "latest":
            self._start = await self._log.latest()  # once: looked for again after an outage, it would skip events
        self._lock_seconds = LOCK_SECONDS
        while True:
            try:
                await self._run_claimed(follow)
                return
            except DatabaseError as error:
                if not follow:
                    raise
                await self._patience.wait(error)  # then it claims its name again, and goes on from its offset
                self._lock_seconds = LOST_SECONDS

    async def _run_claimed(self, follow: bool) -> None:
        async with self._claimed():
            while not self._stopping:
                await self._name.keep()
                signal = self._log.store.signal()
                await self._look()
                limit = self._batch_size or FOLLOWED
                events, upto = await self._log.follow(self._wanted, self._place, limit, 0)
                if upto > self._place:
                    await self._consume(events, upto)
                    self._patience.worked()  # not before: a claim may well work where the rest does not
                    continue
                self._patience.worked()
                if not follow:
                    break
                await self._log.store.wait(signal, POLL)

    @asynccontextmanager
    async def _claimed(self) -> AsyncIterator[None]:
        async with self._name.hold(self._start, seconds=self._lock_seconds) as claim:
            self._place = claim.offset
            self._committed_at, self._looked_at = asyncio.get_running_loop().time(), 0.0
            try:
                try:
                    yield
                except BaseException:
                    with contextlib.suppress(WalleError):  # what ended it is what the caller shall hear of
                        await self._commit()  # what was handled before
                    raise
                await self._commit()
            finally:
                if self._thread is not None:
                    self._thread.shutdown(wait=False)  # the handler has ended: _call waits for it
                    self._thread = None

    async def _look(self) -> None:
        """Hear of a reset, and handle the parked events whose replay was asked for."""
        loop, offsets = asyncio.get_running_loop(), self._log.store.offsets
        if loop.time() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = loop.time()
        self._stand(await offsets.refresh_claim(self._name.own))
        for place, tries in await offsets.requested(self.name):
            if self._stopping:
                return
            if place > self._name.own.offset:
                continue  # after a reset it comes in its turn
            event = await self._log.get(place)
            failure = await self._attempt([event])
            if self._stopping and failure is not None:
                return
            if failure is None:
                self.handled += 1
                self._stand(await offsets.replayed(self._name.own, place))
            else:  # it lies behind the offset, which stays
                tries += self._tries
                claim = self._name.own
                self._stand(await offsets.park(claim, place, _as_text(failure), tries, offset=claim.offset))

    async def _consume(self, events: Sequence[Event], upto: int) -> None:
        """Handle events, and settle all up to an offset."""
        epoch = self._name.own.epoch
        chunks = [list(events)] if self._batch_size is not None and events else [[event] for event in events]
        while chunks:
            chunk = chunks.pop(0)
            failure = await self._attempt(chunk)
            if failure is not None:
                if self._stopping:
                    return  # without a decision: it is tried again at the next start
                if len(chunk) > 1:
                    chunks = [[event] for event in chunk] + chunks
                    continue
                await self._poison(chunk[0], failure)
            else:
                self.handled += len(chunk)
                self._place = chunk[-1].offset or 0
                if asyncio.get_running_loop().time() - self._committed_at >= COMMIT_SECONDS:
                    await self._commit()
            if self._name.own.epoch != epoch:
                return  # somebody reset the offset
            if self._stopping and chunks:
                return
        self._place = upto
        waited = asyncio.get_running_loop().time() - self._committed_at
        if events or waited >= PASS_SECONDS:
            await self._commit(handled=bool(events))

    async def _attempt(self, chunk: list[Event]) -> Exception | None:
        """Give events to the handler as often as it may fail; return its last error."""
        given = chunk if self._batch_size is not None else chunk[0]
        for attempt in range(1, self._tries + 1):
            await self._name.keep()
            try:
                await self._call(given)
                return None
            except Exception as error:
                failure = error
            log.info("consumer %s, event %s: %r", self.name, chunk[0].offset, _as_text(failure))
            await self._log.store.offsets.failed(self._name.own, chunk[0].offset or 0, _as_text(failure))
            if attempt < self._tries:
                await self._pause(min(self._backoff * 2 ** (attempt - 1), 30.0))
            if self._stopping:
                break
        return failure

    async def _call(self, given: Event | list[Event]) -> None:
        task = asyncio.current_task()
        before = 0 if task is None else task.cancelling()
        try:
            await self._hand_over(given)
        except asyncio.CancelledError as error:
            check_cancelled(before)
            raise RuntimeError("the handler was cancelled by itself") from error
        except SystemExit as error:  # out of a task it would end the loop
            raise RuntimeError(f"the handler left by SystemExit({error.code!r})") from error
        finally:
            check_cancelled(before)  # also when the handler kept it to itself

    async def _hand_over(self, given: Event | list[Event]) -> None:
        if self._is_async:
            await cast("Awaitable[object]", self._handler(given))
            return
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"walle-consumer-{self.name}")
        work = asyncio.get_running_loop().run_in_executor(self._thread, partial(_call_sync, self._handler, given))
        try:
            result = await asyncio.shield(work)
        except asyncio.CancelledError:
            await to_the_end(asyncio.wait([work]))  # a thread cannot be stopped, and two handlers must not overlap
            work.cancelled() or work.exception()
            raise
        if inspect.isawaitable(result):
            await result

    async def _pause(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._stopping and (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, POLL))

    async def _poison(self, event: Event, failure: Exception) -> None:
        place, epoch = event.offset or 0, self._name.own.epoch
        await self._commit()
        self._stand(await self._log.store.offsets.refresh_claim(self._name.own))
        if self._name.own.epoch != epoch:
            return  # somebody reset the offset: the event comes in its turn, or was passed
        if not self._parks:
            raise HandlerFailed(self.name, place, event.type, self._tries, failure) from failure
        offsets = self._log.store.offsets
        self._stand(await offsets.park(self._name.own, place, _as_text(failure), self._tries, offset=place))
        if self._name.own.epoch == epoch:
            self._place = place
            log.info("consumer %s parked event %s after %s tries: %r", self.name, place, self._tries, _as_text(failure))

    async def _commit(self, *, handled: bool = True) -> None:
        self._committed_at = asyncio.get_running_loop().time()
        claim = self._name.claim
        if claim is not None and self._place > claim.offset:
            self._stand(await self._log.store.offsets.commit(claim, self._place, handled=handled))

    def _stand(self, claim: Claim) -> None:
        """Go on with a claim; where the offset was reset, from there."""
        if self._name.stand(claim):
            self._place = claim.offset


def _call_sync(handler: Handler, given: Event | list[Event]) -> object:
    with ending_a_child():
        try:
            return handler(given)
        except StopIteration as error:  # a future cannot carry it
            raise RuntimeError("the handler raised StopIteration") from error


def _as_text(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # an error that cannot be written as text
        return type(error).__name__
