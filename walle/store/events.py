"""``store.events``, generated from `walle.events.EventLog`: see `walle.generate`."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from typing import overload

import polars as pl

from walle.envelope import Event
from walle.events.reset import ResetReport
from walle.events.search import REACH, SEARCH, EventPage
from walle.repositories.common import Time
from walle.store.streams import Streams

__all__ = ["Events"]


class Events(Streams):
    """The events of a store; also without a database, in memory.

    The examples are run on the sample data of :func:`walle.demo.load`.
    """

    _name = "events"

    @overload
    def append(self, events: Event) -> int: ...

    @overload
    def append(self, events: Iterable[Event]) -> builtins.list[int]: ...

    @overload
    def append(self, events: Event | Iterable[Event]) -> int | builtins.list[int]: ...

    def append(self, events: Event | Iterable[Event]) -> int | builtins.list[int]:
        """Store events: all of them, in one transaction and in this order, or none.

        Parameters
        ----------
        events : Event or iterable of Event

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
        return self._call("append", lambda core: core.append(events))

    def read(
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
        return self._call(
            "read",
            lambda core: core.read(
                after, types=types, run_id=run_id, corr_id=corr_id, start=start, end=end, limit=limit, columns=columns
            ),
        )

    def list(
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
        return self._call(
            "list",
            lambda core: core.list(
                after, types=types, run_id=run_id, corr_id=corr_id, start=start, end=end, limit=limit
            ),
        )

    def search(
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
        return self._call(
            "search",
            lambda core: core.search(
                before,
                types=types,
                run_id=run_id,
                corr_id=corr_id,
                start=start,
                end=end,
                where=where,
                text=text,
                limit=limit,
                seconds=seconds,
            ),
        )

    def lineage(self, offset: int, *, reach: int = REACH) -> pl.DataFrame:
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
        return self._call("lineage", lambda core: core.lineage(offset, reach=reach))

    def latest(self) -> int:
        """Return the offset up to which every event can be read; -1 before the first.

        Raises
        ------
        UnsafeEventSource

        Examples
        --------
        >>> store.events.latest()
        680
        """
        return self._call("latest", lambda core: core.latest())

    def get(self, offset: int) -> Event:
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
        return self._call("get", lambda core: core.get(offset))

    def wait_for(self, offset: int, *, timeout: float | None = None) -> Event:
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
        return self._call("wait_for", lambda core: core.wait_for(offset, timeout=timeout))

    def consumers(self) -> pl.DataFrame:
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
        return self._call("consumers", lambda core: core.consumers())

    def reset_offset(
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
        return self._call(
            "reset_offset",
            lambda core: core.reset_offset(
                consumer, to=to, since=since, event_id=event_id, reason=reason, preview=preview
            ),
        )

    def parked(self, consumer: str | None = None) -> pl.DataFrame:
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
        return self._call("parked", lambda core: core.parked(consumer))

    def replay(self, consumer: str, events: int | Iterable[int] | None = None) -> int:
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
        return self._call("replay", lambda core: core.replay(consumer, events))

    def resets(self, consumer: str | None = None) -> pl.DataFrame:
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
        return self._call("resets", lambda core: core.resets(consumer))
