"""Streams of events: following the log, callbacks, and consumers, for a caller who waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from walle.envelope import Event
from walle.errors import DatabaseError
from walle.events import Consumer, EventLog
from walle.events.callbacks import Callback, check_callback, is_async
from walle.events.consumer import Handler
from walle.events.filters import EventFilter, check_offset
from walle.events.patience import Patience, check_seconds
from walle.options import OnPoison, StartPlace
from walle.store.part import Part
from walle.store.portal import Portal

__all__ = ["Streams"]

TAILED = 500
"""Events that a tail fetches at once."""


class Streams(Part[EventLog]):
    """The part of ``store.events`` that waits for events, which an engine does in other ways.

    Parameters
    ----------
    log : EventLog
    portal : Portal
    progress : bool, optional
        Whether slow calls show a bar. None: as ``WALLE_PROGRESS`` says, else in a terminal or a notebook.
    """

    def __init__(self, log: EventLog, portal: Portal, progress: bool | None = None) -> None:
        super().__init__(log, portal, progress)
        self._log = log

    @property
    def durable(self) -> bool:
        """Whether the events are kept; without a database they are gone with the store."""
        return self._log.durable

    @property
    def max_bytes(self) -> int:
        """How large an event's envelope may be as JSON, in bytes; 1 MiB, and it can be set."""
        return self._log.max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        self._log.max_bytes = value

    def tail(
        self,
        after: int | None = None,
        *,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        corr_id: str | None = None,
        timeout: float | None = None,
        give_up_after: float | None = None,
    ) -> Iterator[Event]:
        """Follow the log: every event once, in the order of offsets, as it is committed.

        Parameters
        ----------
        after : int, optional
            The offset after which to begin; -1: from the first. None: with what is appended after this call, which
            raises where it cannot look, because a later look would skip what is appended meanwhile.
        types, run_id, corr_id
            As in :meth:`read`.
        timeout : float, optional
            End when nothing came for so many seconds; None: never. 0: end at the end of the log.
        give_up_after : float, optional
            As in :class:`walle.Consumer`; only without a timeout.

        Returns
        -------
        iterator of Event
            It blocks until the next event; Ctrl-C or a stopped cell ends it.

        Raises
        ------
        InputError, UnsafeEventSource

        Examples
        --------
        >>> [event.type for event in store.events.tail(-1, types="run.*", run_id="bt-sma-eth-001", timeout=0)]
        ['run.Created', 'run.Started', 'run.Completed']
        """
        wanted = EventFilter.of(types, run_id, corr_id)
        place = self._portal.call(self._log.latest) if after is None else check_offset(after, "after")
        return self._tail(wanted, place, check_seconds(timeout, "timeout"), Patience("a tail", give_up_after))

    def _tail(self, wanted: EventFilter, place: int, timeout: float | None, patience: Patience) -> Iterator[Event]:
        heard = time.monotonic()
        while True:
            left = None if timeout is None else max(0.0, heard + timeout - time.monotonic())
            try:
                events, seen = self._portal.call(self._log.follow, wanted, place, TAILED, left, patience)
            except DatabaseError as error:
                if timeout is not None:
                    raise
                self._portal.call(patience.wait, error)
                continue
            if seen == place or (timeout and left == 0 and not events):  # others than the wanted ones do not count
                return
            place = seen
            yield from events
            if events:
                heard = time.monotonic()

    def on(
        self,
        callback: Callback,
        after: int | None = None,
        *,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        corr_id: str | None = None,
    ) -> int:
        """Have a function called with each event, once it is committed, while the notebook goes on.

        Each callback gets its events one at a time, in the order of offsets. An error of a callback is logged, and it
        goes on with the next event: nothing is tried again, and no place is kept; see :meth:`consume` for a reader that
        must not lose an event.

        Parameters
        ----------
        callback : callable
            Takes an event. A plain function runs in a thread of its own, always the same, and may use this store; an
            async one runs in the store's own event loop.
        after : int, optional
            The offset after which to begin; -1: from the first. None: with what is appended after this call.
        types, run_id, corr_id
            As in :meth:`read`.

        Returns
        -------
        int
            The number by which :meth:`off` ends it; closing the store ends all of them.

        Raises
        ------
        InputError, UnsafeEventSource

        Examples
        --------
        >>> from queue import SimpleQueue
        >>> heard = SimpleQueue()
        >>> number = store.events.on(heard.put, after=-1, types="run.*")
        >>> heard.get(timeout=10).type
        'run.Created'
        """
        check_callback(callback)
        called = callback if is_async(callback) else _InThread(callback)
        return self._portal.call(self._log.on, called, after, types=types, run_id=run_id, corr_id=corr_id)

    def off(self, number: int) -> bool:
        """End the calls of a callback; it may do so itself.

        Parameters
        ----------
        number : int
            As :meth:`on` returned it.

        Returns
        -------
        bool
            False when there is no such callback any more.

        Examples
        --------
        >>> number = store.events.on(lambda event: None, types="orders.*")
        >>> store.events.off(number)
        True
        """
        return self._portal.call(_off, self._log, number)

    def consume(
        self,
        name: str,
        handler: Handler,
        *,
        follow: bool = False,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        batch_size: int | None = None,
        start: StartPlace | int = "first",
        tries: int = 3,
        backoff: float = 0.1,
        on_poison: OnPoison = "stop",
        take_over: bool = False,
        give_up_after: float | None = None,
    ) -> int:
        """Give a handler every event at least once, from where this consumer stood before.

        Parameters
        ----------
        name : str
            Of the consumer: its offset is kept under it, and only one process consumes under it at a time.
        handler : callable
            Takes an event, or with ``batch_size`` a list of events. It runs in a thread of its own and may use this
            store.
        follow : bool
            Go on until it is interrupted; False: return at the end of the log.
        types, run_id
            As in :meth:`read`.
        batch_size, start, tries, backoff, on_poison, take_over, give_up_after
            As in :class:`walle.Consumer`.

        Returns
        -------
        int
            How many events were handled.

        Raises
        ------
        ConsumerBusy, ConsumerFenced, HandlerFailed, InputError, UnsafeEventSource
            As in :meth:`walle.Consumer.run`.

        Examples
        --------
        >>> filled = []
        >>> store.events.consume("pnl", filled.append, types="orders.Filled")
        121
        >>> store.events.consume("pnl", filled.append, types="orders.Filled")  # goes on from where it stood
        0
        """
        consumer = Consumer(
            self._log,
            name,
            handler,
            types=types,
            run_id=run_id,
            batch_size=batch_size,
            start=start,
            tries=tries,
            backoff=backoff,
            on_poison=on_poison,
            take_over=take_over,
            give_up_after=give_up_after,
        )
        return self._portal.call(consumer.run, follow=follow)


async def _off(log: EventLog, number: int) -> bool:
    return log.off(number)


class _InThread:
    """A plain function as a callback: outside the loop, so that it may call the store, which waits for the loop."""

    def __init__(self, callback: Callback) -> None:
        self._callback = callback
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="walle-callback")

    async def __call__(self, event: Event) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._callback, event)
