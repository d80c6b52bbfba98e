"""The part of the event log that looks for events from the newest back."""

from __future__ import annotations

import asyncio
import builtins
from abc import ABC, abstractmethod
from collections.abc import Iterable

import polars as pl

from walle.envelope import Event
from walle.errors import InputError
from walle.events.filters import EventFilter, check_offset
from walle.events.frame import event_columns, events_frame
from walle.events.port import EventStore
from walle.events.search import EventPage, Within, lineage_of
from walle.frames import EVENTS
from walle.repositories.common import Time

__all__ = ["REACH", "SEARCH", "Searching"]

SEARCH = 0.1
"""Seconds for which a search looks on when its page is not full."""

STRETCH = 16_384
"""Ids that a search looks at in one step, at most."""

REACH = 5_000
"""How many ids before and after an event its lineage is looked for in."""


class Searching(ABC):
    """Pages of events, and the causes and consequences of one."""

    @property
    @abstractmethod
    def store(self) -> EventStore:
        """The place where the events lie."""

    @abstractmethod
    async def get(self, offset: int) -> Event:
        """Return one event."""

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
            Only ids below this one. None: from the newest event on.
        types, run_id, corr_id, start, end
            As in :meth:`read`.
        where : str, optional
            A path in the payload that is not null, ``order.side``, or what stands there as text, ``order.side = buy``.
        text : str, optional
            What the payload holds somewhere, in either case of its letters.
        limit : int
            Events of a page.
        seconds : float
            How long to look; one stretch of the log is looked through in any case.

        Returns
        -------
        EventPage
            ``events`` (columns of :data:`walle.frames.EVENTS`, the highest id first), ``before``, ``looked_to``.

        Raises
        ------
        InputError
            For a bad pattern, range, path or limit.
        UnsafeEventSource
        """
        wanted, within = EventFilter.of(types, run_id, corr_id, start, end), Within.of(where, text)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InputError(f"limit={limit!r} is not a whole number from 1.")
        if before is not None and check_offset(before, "before") < 0:
            raise InputError(f"before={before!r} lies before the first event.")
        store, loop, columns = self.store, asyncio.get_running_loop(), event_columns(None)
        high = await store.settle(-1)
        high = high if before is None else min(high, before - 1)
        until, stretch = loop.time() + seconds, 2 * limit
        parts: builtins.list[pl.DataFrame] = []
        found = 0
        while high > 0 and found < limit:
            low = max(high - stretch, 0)
            rows = within.among(events_frame(await store.rows(wanted, low, high, None, columns)))
            parts.append(rows.reverse())
            found, high = found + rows.height, low
            stretch = min(stretch * (2 if rows.height else 4), STRETCH)
            if loop.time() >= until:
                break
        events = pl.concat([pl.DataFrame(schema=EVENTS), *parts])
        if events.height > limit:
            events = events.head(limit)
            high = int(events["id"][-1]) - 1
        return EventPage(events=events, before=high + 1 if high > 0 else None, looked_to=high + 1)

    async def lineage(self, offset: int, *, reach: int = REACH) -> pl.DataFrame:
        """Return what led to an event, and what came of it.

        Parameters
        ----------
        offset : int
            Its id in the log.
        reach : int
            How many ids before and after it are looked at.

        Returns
        -------
        polars.DataFrame
            relation (``cause``: an event that a ``causation_id`` names; ``consequence``), steps (1: directly), id,
            type, created_at, event_id, causation_id, run_id, corr_id, ts; causes first, each sorted by steps and id. At
            most 200 of each.

        Raises
        ------
        UnknownEvent
            When there is none that can be read.
        InputError
        """
        event = await self.get(offset)
        if isinstance(reach, bool) or not isinstance(reach, int) or reach < 1:
            raise InputError(f"reach={reach!r} is not a whole number from 1.")
        settled = await self.store.settle(-1)
        low, high = max(offset - reach - 1, -1), min(offset + reach, settled)
        names = ["id", "type", "created_at", "event_id", "causation_id", "run_id", "corr_id", "ts"]
        near = events_frame(await self.store.rows(EventFilter(), low, high, None, names))
        return lineage_of(event.id, event.causation_id, near)
