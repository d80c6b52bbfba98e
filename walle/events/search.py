"""Looking for events from the newest back: pages of a bounded search, and what led to an event and came of it."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from walle.envelope import Event
from walle.errors import InputError
from walle.events.filters import EventFilter, check_offset
from walle.events.frame import event_columns, events_frame
from walle.events.json_path import parse_path
from walle.events.port import EventStore
from walle.frames import EVENTS

__all__ = ["CONSEQUENCES", "REACH", "SEARCH", "EventPage", "lineage", "lineage_of", "place_of", "search"]

CONSEQUENCES = 200
"""How many causes, and how many consequences, the lineage of an event lists."""

SEARCH = 0.06
"""Seconds for which a search looks on when its page is not full."""

STRETCH = 4_000
"""Ids that a search looks at in its first step."""

QUICK = 0.02
"""Seconds below which a step is followed by one of twice its length."""

REACH = 5_000
"""How many ids before and after an event its lineage is looked for in."""

_OPERATOR = re.compile(r"""(?s)(?P<path>(?:"[^"]*"|[^"=])+)(?:=(?P<value>.*))?""")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """A part of the events that were looked for, the newest first.

    Parameters
    ----------
    events : polars.DataFrame
        Columns of :data:`walle.frames.EVENTS`; sorted by offset, the highest first.
    before : int or None
        Where the next page goes on: give it as ``before``. None: the log was looked through to its first event.
    looked_to : int
        The lowest offset that was looked at. A search stops after its time, also before the page is full: ``before`` is
        set then.
    """

    events: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=EVENTS))
    before: int | None = None
    looked_to: int = 0

    def __repr__(self) -> str:
        """Count, and say whether there is more."""
        more = "" if self.before is None else f", more before offset {self.before:,}"
        return f"EventPage({self.events.height:,} events{more})"


async def search(
    store: EventStore, wanted: EventFilter, before: int | None, *, limit: int, seconds: float
) -> EventPage:
    """Look for events from the newest back; see :meth:`walle.EventLog.search`.

    Raises
    ------
    InputError
        For a bad limit or place.
    UnsafeEventSource
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InputError(f"limit={limit!r} is not a whole number from 1.")
    if before is not None and check_offset(before, "before") < 0:
        raise InputError(f"before={before!r} lies before the first event.")
    loop, columns = asyncio.get_running_loop(), event_columns(None)
    high = await store.settle(-1)
    high = high if before is None else min(high, before - 1)
    until, stretch = loop.time() + seconds, STRETCH
    parts: list[pl.DataFrame] = []
    left = limit
    while high > 0 and left > 0:
        low = 0 if wanted.everything else max(high - stretch, 0)
        began = loop.time()
        rows = await store.rows(wanted, low, high, left, columns, newest_first=True)
        parts.append(rows)
        left -= rows.height
        high = low if left > 0 else int(rows["offset"][-1]) - 1
        if rows.is_empty() and high > 0:  # ids may be far apart
            below = await store.rows(EventFilter(), 0, high, 1, ["offset"], newest_first=True)
            high = 0 if below.is_empty() else int(below["offset"][0])
        taken = loop.time() - began
        longer = 2 if taken < QUICK else 1
        if loop.time() + taken * longer > until:  # the next stretch would end too late
            break
        stretch *= longer
    events = events_frame(pl.concat(parts)) if parts else pl.DataFrame(schema=EVENTS)
    return EventPage(events=events, before=high + 1 if high > 0 else None, looked_to=high + 1)


def place_of(where: str | None) -> dict[str, object] | None:
    """Read what a payload has to hold, as :meth:`walle.events.filters.EventFilter.of` takes it.

    Parameters
    ----------
    where : str, optional
        A path, ``order.side``: anything but null; or with what stands there, ``$.order.side = buy``. 2.5 is a number
        and a text, ``"2.5"`` only a text.

    Raises
    ------
    InputError
        For what is no path.
    """
    if where is None:
        return None
    if not isinstance(where, str) or not where.strip() or "\0" in where:
        raise InputError(f"where={where!r} is no text to look for.")
    found = _OPERATOR.fullmatch(where.strip())
    try:
        if found is None:
            raise InputError("it begins with =.")
        path, value = found["path"].strip(), found["value"]
        parse_path(path, "where")
    except InputError as error:
        raise InputError(
            f"where={where!r} has no JSON path: give the members of the payload, such as 'order.side = buy', "
            "'$.fills[0].price' or '\"odd name\".x'."
        ) from error
    return {path: ... if value is None else _parse_values(value.strip())}


def _parse_values(text: str) -> object:
    """Return the values that a text may mean."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(value, str):
        return [value, text]
    if isinstance(value, dict | list) or (isinstance(value, float) and not math.isfinite(value)):
        return text
    return [text] if value is None else [value, text]  # null is nothing that stands there


async def lineage(store: EventStore, event: Event, offset: int, *, reach: int) -> pl.DataFrame:
    """Return what led to an event, and what came of it; see :meth:`walle.EventLog.lineage`.

    Raises
    ------
    InputError
        For a reach that is no whole number from 1.
    """
    if isinstance(reach, bool) or not isinstance(reach, int) or reach < 1:
        raise InputError(f"reach={reach!r} is not a whole number from 1.")
    settled = await store.settle(-1)
    low, high = max(offset - reach - 1, -1), min(offset + reach, settled)
    names = ["offset", "id", "type", "created_at", "causation_id", "run_id", "corr_id", "ts"]
    near = events_frame(await store.rows(EventFilter(), low, high, None, names))
    return lineage_of(event.id, event.causation_id, near)


def lineage_of(event_id: str | None, causation_id: str | None, near: pl.DataFrame) -> pl.DataFrame:
    """Return the causes and the consequences of an event among others.

    Parameters
    ----------
    event_id, causation_id : str, optional
        Its own envelope's.
    near : polars.DataFrame
        offset, id, causation_id and more columns.

    Returns
    -------
    polars.DataFrame
        ``relation`` (cause, consequence), ``steps`` (1: directly), and the columns of ``near``; causes first, each
        sorted by steps and offset.
    """
    offsets = dict(near.drop_nulls("id").select("id", "offset").iter_rows())
    above = dict(near.drop_nulls("id").select("id", "causation_id").iter_rows())
    children: dict[str, list[str]] = {}
    for own, cause in above.items():
        if cause is not None:
            children.setdefault(cause, []).append(own)
    found = [("cause", step, offsets[name]) for step, name in _upwards(causation_id, event_id, above)]
    found += [("consequence", step, offsets[name]) for step, name in _downwards(event_id, children)]
    table = pl.DataFrame(
        found, schema={"relation": pl.String(), "steps": pl.Int64(), "offset": pl.Int64()}, orient="row"
    ).sort("relation", "steps", "offset")
    return table.join(near, on="offset", how="inner", maintain_order="left")


def _upwards(cause: str | None, own: str | None, above: dict[str, str | None]) -> Iterable[tuple[int, str]]:
    seen, step = {own}, 0
    while cause is not None and cause in above and cause not in seen and step < CONSEQUENCES:
        step += 1
        seen.add(cause)
        yield step, cause
        cause = above[cause]


def _downwards(own: str | None, children: dict[str, list[str]]) -> Iterable[tuple[int, str]]:
    level = [] if own is None else [own]
    seen, step, listed = set(level), 0, 0
    while level:
        step += 1
        level = [child for parent in level for child in children.get(parent, [])]
        level = [child for child in dict.fromkeys(level) if child not in seen]
        seen.update(level)
        for child in level:
            listed += 1
            if listed > CONSEQUENCES:
                return
            yield step, child
