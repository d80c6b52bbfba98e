"""The event log: append, read, follow, and what its consumers have come to."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, overload

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.database import Database
from walle.envelope import Event
from walle.errors import DatabaseError, EventTooLarge, InputError, StoreClosed, UnknownEvent
from walle.events.callbacks import Callback, Callbacks, check_callback
from walle.events.consumer_admin import consumers, parked, replay
from walle.events.durable import OutboxEvents
from walle.events.filters import EventFilter, check_offset
from walle.events.frame import COLUMNS, event_columns, events_frame, records
from walle.events.memory import MemoryEvents, MemorySession
from walle.events.patience import Patience, check_seconds
from walle.events.port import EventStore
from walle.events.reset import ResetReport, reset_offset
from walle.events.search import REACH, SEARCH, EventPage, lineage, place_of, search
from walle.forks import Home
from walle.repositories.common import Time
from walle.repositories.events.consumer_claims import check_consumer

__all__ = ["MAX_BYTES", "EventLog"]

MAX_BYTES = 1024 * 1024
"""How large the envelope of an event may be as JSON, unless another limit was set."""

POLL = 0.1
"""Seconds between two looks for events of other processes."""

FOLLOWED = 500
"""Events that a follower fetches at once."""


class EventLog:
    """Events in the order of their offsets; no committed event is ever skipped by a reader.

    A reader is given the events up to the horizon: the offset below which every transaction has ended. So it may
    wait for a moment behind an open transaction that has appended, and only behind that.

    The examples of the methods call the synchronous ``store`` with the sample data (:func:`walle.demo.load`); an engine
    awaits the same call on this log.

    Parameters
    ----------
    database : Database, optional
        Where the events lie. None: in memory, with the same numbering and rules; nothing is kept then.
    max_bytes : int
        How large an event's envelope may be as JSON; 1 MiB by default.

    Raises
    ------
    InputError
        For a limit that is no whole number above 0.

    Examples
    --------
    ```python
    log = EventLog(Database("research.db"))
    await log.append(Event(type="orders.Placed", run_id="sma-1"))
    async for event in log.subscribe(-1, types="orders.*"):
        print(event.offset, event.type, event.payload)
    ```
    """

    def __init__(self, database: Database | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        if database is not None and not isinstance(database, Database):
            raise InputError(f"an event log lies in a walle.Database or in memory, not in {database!r}.")
        self.max_bytes = max_bytes
        self._store: EventStore = MemoryEvents() if database is None else OutboxEvents(database)
        self._callbacks = Callbacks(self.follow)
        self._closed, self._home = False, Home()

    @property
    def max_bytes(self) -> int:
        """How large an event's envelope may be as JSON, in bytes."""
        return self._max_bytes

    @max_bytes.setter
    def max_bytes(self, value: int) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InputError(f"max_bytes={value!r} is not a whole number above 0.")
        self._max_bytes = value

    @property
    def durable(self) -> bool:
        """Whether there is a database that keeps the events."""
        return self._store.durable

    @property
    def store(self) -> EventStore:
        """The place where the events lie.

        Raises
        ------
        StoreClosed
            After :meth:`close`, and in a forked child.
        """
        self._home.check()
        if self._closed:
            raise StoreClosed("this event log was closed. Make another one: EventLog(database).")
        return self._store

    def __repr__(self) -> str:
        """Say where the events lie, and whether they are kept."""
        return f"EventLog({self._store.label!r}{'' if self.durable else ', durable=False: nothing is kept'})"

    def session(self) -> AbstractAsyncContextManager[Any]:
        """Open a session: appends with ``session=`` become visible together, at ``await session.commit()``.

        On a database it is the same as :meth:`walle.Database.session`, so facts can be written in it as well.
        """
        return self.store.session()

    @overload
    async def append(self, events: Event, *, session: AsyncSession | MemorySession | None = None) -> int: ...
    @overload
    async def append(
        self, events: Iterable[Event], *, session: AsyncSession | MemorySession | None = None
    ) -> builtins.list[int]: ...
    @overload
    async def append(
        self, events: Event | Iterable[Event], *, session: AsyncSession | MemorySession | None = None
    ) -> int | builtins.list[int]: ...
    async def append(
        self, events: Event | Iterable[Event], *, session: AsyncSession | MemorySession | None = None
    ) -> int | builtins.list[int]:
        """Store events: all of them, in one transaction and in this order, or none.

        Parameters
        ----------
        events : Event or iterable of Event
        session : AsyncSession, optional
            Join the caller's transaction: nothing is stored, delivered or announced before its commit.

        Returns
        -------
        int or list of int
            The offset of each event, its place in the log: one for one event, a list for an iterable. Offsets rise with
            the order of appends; one whose transaction is rolled back may never be seen.

        Raises
        ------
        EventTooLarge
            For an envelope of more than 1 MiB as JSON, or than the limit that was set.
        InputError
            For anything but events.

        Examples
        --------
        >>> store.events.append(walle.Event(type="signals.Crossed", run_id="bt-sma-eth-001", payload={"side": "buy"}))
        681
        """
        single = isinstance(events, Event)
        if not single and (isinstance(events, (Mapping, str)) or not isinstance(events, Iterable)):
            raise InputError(f"append takes a walle.Event or a list of them, not a {type(events).__name__}.")
        given = [events] if isinstance(events, Event) else list(events)
        envelopes = [self._envelope(event) for event in given]
        store = self.store
        if not given:
            return []
        ids = await store.append([event.type for event in given], envelopes, session)
        return ids[0] if single else ids

    def _envelope(self, event: object) -> str:
        if not isinstance(event, Event):
            raise InputError(f"an event is a walle.Event, not a {type(event).__name__}; see walle.Event.from_json.")
        text = event.to_json()
        # a character has at most four bytes, so most texts need not be encoded to know
        if len(text) * 4 > self._max_bytes and (size := len(text.encode())) > self._max_bytes:
            raise EventTooLarge(event.type, size, self._max_bytes)
        return text

    async def read(
        self,
        after: int = -1,
        *,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        corr_id: str | None = None,
        start: Time = None,
        end: Time = None,
        limit: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """Read events as a frame.

        Parameters
        ----------
        after : int
            The offset after which to begin; -1: from the first.
        types : str or iterable of str, optional
            Types such as ``orders.Filled``, or patterns such as ``orders.*``: ``*`` stands for any characters.
        run_id, corr_id : str, optional
        start, end : datetime, date, str or None
            ``ts``, the event's own time, in ``[start, end)``: ``end="2024-01-31"`` excludes that day. A date, or a
            text without a zone, is UTC.
        limit : int, optional
            At most so many, the first ones.
        columns : sequence of str, optional
            Only these; ``envelope``, the whole envelope as JSON text, only on request.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.EVENTS`; one row per event, sorted by offset. Events that wait behind an
            open transaction come later: go on with ``after`` the last offset, and none is missed.

        Raises
        ------
        InputError
            For a bad pattern, range, limit or column.
        UnsafeEventSource
            On a standby, or where the sequence hands out ids in blocks.

        Examples
        --------
        >>> store.events.read(types="orders.*", run_id="bt-sma-eth-001", limit=3)["type"].to_list()
        ['orders.Placed', 'orders.Accepted', 'orders.PartiallyFilled']
        """
        wanted = EventFilter.of(types, run_id, corr_id, start, end)
        chosen = event_columns(columns)
        return events_frame(await self._rows(wanted, check_offset(after, "after"), limit, chosen))

    async def list(
        self,
        after: int = -1,
        *,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        corr_id: str | None = None,
        start: Time = None,
        end: Time = None,
        limit: int | None = None,
    ) -> builtins.list[Event]:
        """Return events as records, each with its ``offset``; arguments and order as in :meth:`read`.

        Raises
        ------
        InputError, UnsafeEventSource

        Examples
        --------
        >>> [event.payload["status"] for event in store.events.list(types="run.Started")]
        ['running', 'running', 'running']
        """
        wanted = EventFilter.of(types, run_id, corr_id, start, end)
        return records(await self._rows(wanted, check_offset(after, "after"), limit, COLUMNS))

    async def _rows(self, wanted: EventFilter, after: int, limit: int | None, columns: Sequence[str]) -> pl.DataFrame:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InputError(f"limit={limit!r} is not a whole number from 0.")
        store = self.store
        return await store.rows(wanted, after, await store.settle(after), limit, columns)

    async def search(
        self,
        before: int | None = None,
        *,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        corr_id: str | None = None,
        start: Time = None,
        end: Time = None,
        where: str | None = None,
        text: str | None = None,
        limit: int = 50,
        seconds: float = SEARCH,
    ) -> EventPage:
        """Look for events from the newest back, a page at a time.

        It stops when the page is full, at the first event of the log, or when its time is over: ``before`` of the page
        says where to go on.

        Parameters
        ----------
        before : int, optional
            Only offsets below this one. None: from the newest event on.
        types, run_id, corr_id, start, end
            As in :meth:`read`.
        where : str, optional
            A path in the payload that is not null, ``order.side``, or what stands there, ``order.side = buy``. 2.5 is a
            number and a text, ``"2.5"`` only a text. Names with other signs stand in quotes: ``"odd name".x``.
        text : str, optional
            What the payload holds somewhere as compact JSON, such as ``"side":"buy"``, or in one of its texts; upper
            and lower case of A to Z are the same. Ask for one member, because PostgreSQL keeps the members of an object
            in an order of its own.
        limit : int
            Events of a page.
        seconds : float
            How long to look, about; one stretch of the log is looked through in any case.

        Returns
        -------
        EventPage
            ``events`` (columns of :data:`walle.frames.EVENTS`, the highest offset first), ``before``, ``looked_to``.

        Raises
        ------
        InputError
            For a bad pattern, range, path or limit.
        UnsafeEventSource

        Examples
        --------
        >>> page = store.events.search(types="orders.Filled", where="order_id = ord-bt-0035")
        >>> page.events["offset"].to_list()
        [199]
        """
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise InputError(f"text={text!r} is no text to look for.")
        wanted = EventFilter.of(types, run_id, corr_id, start, end, json=place_of(where), text=text)
        return await search(self.store, wanted, before, limit=limit, seconds=seconds)

    async def lineage(self, offset: int, *, reach: int = REACH) -> pl.DataFrame:
        """Return what led to an event, and what came of it.

        Parameters
        ----------
        offset : int
            Its place in the log.
        reach : int
            How many offsets before and after it are looked at.

        Returns
        -------
        polars.DataFrame
            relation (``cause``: an event that a ``causation_id`` names; ``consequence``), steps (1: directly),
            offset, id, type, created_at, causation_id, run_id, corr_id, ts; causes first, each sorted by steps and
            offset. At most 200 of each.

        Raises
        ------
        UnknownEvent
            When there is none that can be read.
        InputError

        Examples
        --------
        >>> store.events.lineage(100)["type"].to_list()
        ['orders.Accepted', 'orders.Placed', 'run.Started', 'run.Created', 'orders.Filled']
        """
        return await lineage(self.store, await self.get(offset), offset, reach=reach)

    async def latest(self) -> int:
        """Return the offset up to which every event can be read; -1 before the first.

        Raises
        ------
        UnsafeEventSource

        Examples
        --------
        >>> store.events.latest()
        680
        """
        return await self.store.settle(-1) or -1

    async def get(self, offset: int) -> Event:
        """Return one event by its offset.

        Raises
        ------
        UnknownEvent
            When there is none that can be read.

        Examples
        --------
        >>> store.events.get(100).type
        'orders.PartiallyFilled'
        """
        store = self.store
        check_offset(offset, "offset")
        settled = await store.settle(offset - 1)
        found = records(await store.rows(EventFilter(), offset - 1, min(offset, settled), 1, COLUMNS))
        if not found:
            raise UnknownEvent(offset)
        return found[0]

    async def wait_for(self, offset: int, *, timeout: float | None = None) -> Event:
        """Wait until an event can be read, and return it.

        Parameters
        ----------
        offset : int
            Its place in the log, as :meth:`append` returned it.
        timeout : float, optional
            Seconds.

        Raises
        ------
        UnknownEvent
            When its transaction was rolled back, so that it will never be there.
        InputError
            For a timeout below 0.
        TimeoutError

        Examples
        --------
        >>> offset = store.events.append(walle.Event(type="signals.Crossed", run_id="bt-sma-eth-001"))
        >>> store.events.wait_for(offset, timeout=10).type
        'signals.Crossed'
        """
        check_offset(offset, "offset")
        async with asyncio.timeout(check_seconds(timeout, "timeout")):
            while True:
                signal = self.store.signal()
                if await self.store.settle(offset - 1) >= offset:
                    return await self.get(offset)
                await self.store.wait(signal, POLL)

    async def subscribe(
        self,
        after: int | None = None,
        *,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        corr_id: str | None = None,
        give_up_after: float | None = None,
    ) -> AsyncIterator[Event]:
        """Follow the log: every event once, in the order of offsets, without an end.

        Parameters
        ----------
        after : int, optional
            The offset after which to begin; -1: from the first. None: with what is appended from the first step on;
            that step raises where it cannot look, because a later look would skip what is appended meanwhile.
        types, run_id, corr_id
            As in :meth:`read`.
        give_up_after : float, optional
            As in :class:`walle.Consumer`.

        Yields
        ------
        Event
            With its ``offset``: give the last one as ``after`` to go on later. A reader that must resume by itself is a
            :class:`walle.Consumer`.

        Raises
        ------
        InputError, UnsafeEventSource
        """
        wanted = EventFilter.of(types, run_id, corr_id)
        place = await self.latest() if after is None else check_offset(after, "after")
        patience = Patience("a subscriber", give_up_after)
        while True:
            try:
                events, place = await self.follow(wanted, place, FOLLOWED, None, patience)
            except DatabaseError as error:
                await patience.wait(error)
                continue
            for event in events:
                yield event

    async def on(
        self,
        callback: Callback,
        after: int | None = None,
        *,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        corr_id: str | None = None,
    ) -> int:
        """Have a function of this process called with each event, once it is committed.

        Each callback gets its events one at a time, in the order of offsets, in a task of its own in this loop, and
        none holds up another. An error of a callback is logged, and it goes on with the next event: nothing is tried
        again, and no place is kept. A reader that must not lose an event is a :class:`walle.Consumer`.

        Parameters
        ----------
        callback : callable
            Takes an :class:`walle.Event`; async, or sync and then quick, because it runs in the loop itself.
        after : int, optional
            The offset after which to begin; -1: from the first. None: with what is appended after this call, which
            raises where it cannot look.
        types, run_id, corr_id
            As in :meth:`read`.

        Returns
        -------
        int
            The number by which :meth:`off` ends it. :meth:`close` ends all of them.

        Raises
        ------
        InputError
            For what cannot be called, and as in :meth:`read`.
        UnsafeEventSource
        """
        check_callback(callback)
        wanted = EventFilter.of(types, run_id, corr_id)
        place = await self.latest() if after is None else check_offset(after, "after")
        return self._callbacks.add(callback, wanted, place)

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
        """
        return self._callbacks.remove(number)

    async def follow(
        self,
        wanted: EventFilter,
        after: int,
        limit: int,
        timeout: float | None,
        patience: Patience | None = None,
    ) -> tuple[builtins.list[Event], int]:
        """Wait for the next events, and say how far the log was looked through.

        Parameters
        ----------
        wanted : EventFilter
        after, limit : int
        timeout : float, optional
            Seconds to wait; 0 looks once, None has no end.
        patience : Patience, optional
            Told whenever the database has answered.

        Returns
        -------
        tuple of list of Event and int
            At most ``limit`` events, and the offset up to which all that are wanted were returned. It is above
            ``after`` also when only others came; nothing has come when it is ``after``.
        """
        loop = asyncio.get_running_loop()
        end = None if timeout is None else loop.time() + timeout
        while True:
            store = self.store
            signal = store.signal()
            settled = await store.settle(after)
            if patience is not None:
                patience.worked()
            if settled > max(after, 0):  # 0 is an empty log, and -1 its offset
                events = records(await store.rows(wanted, after, settled, limit, COLUMNS))
                full = len(events) >= limit
                return events, int(events[-1].offset or 0) if full else settled
            left = POLL if end is None else min(POLL, end - loop.time())
            if left <= 0:
                return [], after
            await store.wait(signal, left)

    async def consumers(self) -> pl.DataFrame:
        """List the consumers: how far each has come and lags, whether it lives, and what it failed with.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.CONSUMERS`; one row per consumer, sorted by name.

        Examples
        --------
        >>> handled = store.events.consume("pnl", lambda event: None, types="orders.Filled")
        >>> store.events.consumers().select("consumer_id", "state", "offset", "lag").row(0)
        ('pnl', 'stopped', 680, 0)
        """
        return await consumers(self.store)

    async def reset_offset(
        self,
        consumer: str,
        *,
        to: int | None = None,
        since: Time = None,
        event_id: str | None = None,
        reason: str,
        preview: bool = False,
    ) -> ResetReport:
        """Move a consumer's offset, back for a replay or forward past events; give one place.

        A consumer that runs goes on from there; what it has in hand is not committed.

        Parameters
        ----------
        consumer : str
        to : int, optional
            The new offset: the event with the next offset is handled next; -1: the first.
        since : datetime, date or str, optional
            The first event that was stored at this time or later is handled next.
        event_id : str, optional
            The event with this envelope's id is handled next.
        reason : str
            Why; kept with who and when, see :meth:`resets`.
        preview : bool
            Only tell what would be handled again or passed; nothing is changed.

        Returns
        -------
        ResetReport

        Raises
        ------
        UnknownConsumer, UnknownEvent
        InputError
            For no place or several, one past the end, or an empty reason.

        Examples
        --------
        >>> handled = store.events.consume("pnl", lambda event: None)
        >>> print(store.events.reset_offset("pnl", to=600, reason="a fault in the handler", preview=True))
        pnl: 680 -> 600, back over 80 events of any type (preview: nothing was changed)
        """
        return await reset_offset(
            self.store, check_consumer(consumer), to, since, event_id, reason=reason, preview=preview
        )

    async def parked(self, consumer: str | None = None) -> pl.DataFrame:
        """List the events that consumers set aside.

        Parameters
        ----------
        consumer : str, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.PARKED`; one row per consumer and event, sorted by both. Those that were
            replayed since have a ``replayed_at``.

        Examples
        --------
        >>> def handle(event):
        ...     return event.payload["price"]
        >>> handled = store.events.consume("pnl", handle, types="run.Stopped", tries=1, on_poison="park")
        >>> store.events.parked("pnl").select("consumer_id", "offset").rows()
        [('pnl', 674)]
        """
        return await parked(self.store, consumer)

    async def replay(self, consumer: str, events: int | Iterable[int] | None = None) -> int:
        """Ask that parked events be handled again, by the consumer that runs or by the next one of that name.

        Parameters
        ----------
        consumer : str
        events : int or iterable of int, optional
            Their offsets; None: all that are parked.

        Returns
        -------
        int
            How many replays were asked for.

        Raises
        ------
        UnknownConsumer
        NotFound
            When an event is not parked.

        Examples
        --------
        >>> def handle(event):
        ...     return event.payload["price"]
        >>> handled = store.events.consume("pnl", handle, types="run.Stopped", tries=1, on_poison="park")
        >>> store.events.replay("pnl")
        1
        """
        return await replay(self.store, consumer, events)

    async def resets(self, consumer: str | None = None) -> pl.DataFrame:
        """List every reset of an offset: from where to where, why, by whom and when.

        Parameters
        ----------
        consumer : str, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.RESETS`, in the order in which they were made.

        Examples
        --------
        >>> handled = store.events.consume("pnl", lambda event: None)
        >>> report = store.events.reset_offset("pnl", to=-1, reason="a new handler")
        >>> store.events.resets("pnl").select("from_offset", "to_offset", "reason").row(0)
        (680, -1, 'a new handler')
        """
        return await self.store.offsets.resets(None if consumer is None else check_consumer(consumer))

    async def close(self) -> None:
        """End what runs in the background; the database stays open. A second call does nothing."""
        self._closed = True
        if not self._home.left:
            await self._callbacks.close()
            await self._store.close()
