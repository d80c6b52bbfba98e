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
from walle.events.search import EventPage, lineage_of, place_of
from walle.frames import EVENTS
from walle.repositories.common import Time

__all__ = ["REACH", "SEARCH", "Searching"]

SEARCH = 0.06
"""Seconds for which a search looks on when its page is not full."""

STRETCH = 4_000
"""Ids that a search looks at in its first step."""

QUICK = 0.02
"""Seconds below which a step is followed by one of twice its length."""

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
            A path in the payload that is not null, ``order.side``, or what stands there, ``order.side = buy``. 2.5 is a
            number and a text, ``"2.5"`` only a text. Names with other signs stand in quotes: ``"odd name".x``.
        text : str, optional
            What the payload holds somewhere as compact JSON, such as ``"side":"buy"``, or in one of its texts; A to Z
            are not told from a to z. Ask for one member: PostgreSQL keeps those of an object in an order of its own.
        limit : int
            Events of a page.
        seconds : float
            How long to look, about; one stretch of the log is looked through in any case.

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
        if text is not None and (not isinstance(text, str) or not text.strip()):
            raise InputError(f"text={text!r} is no text to look for.")
        wanted = EventFilter.of(types, run_id, corr_id, start, end, json=place_of(where), text=text)
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InputError(f"limit={limit!r} is not a whole number from 1.")
        if before is not None and check_offset(before, "before") < 0:
            raise InputError(f"before={before!r} lies before the first event.")
        store, loop, columns = self.store, asyncio.get_running_loop(), event_columns(None)
        high = await store.settle(-1)
        high = high if before is None else min(high, before - 1)
        until, stretch = loop.time() + seconds, STRETCH
        parts: builtins.list[pl.DataFrame] = []
        left = limit
        while high > 0 and left > 0:
            low = 0 if wanted.everything else max(high - stretch, 0)
            began = loop.time()
            rows = await store.rows(wanted, low, high, left, columns, newest_first=True)
            parts.append(rows)
            left -= rows.height
            high = low if left > 0 else int(rows["id"][-1]) - 1
            if rows.is_empty() and high > 0:  # ids may be far apart
                below = await store.rows(EventFilter(), 0, high, 1, ["id"], newest_first=True)
                high = 0 if below.is_empty() else int(below["id"][0])
            taken = loop.time() - began
            longer = 2 if taken < QUICK else 1
            if loop.time() + taken * longer > until:  # the next stretch would end too late
                break
            stretch *= longer
        events = events_frame(pl.concat(parts)) if parts else pl.DataFrame(schema=EVENTS)
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
