"""From the rows of a log to public frames and records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC

import polars as pl

from walle.envelope import Event
from walle.errors import InputError
from walle.frames import EVENTS
from walle.repositories.events.columns import events_frame

__all__ = ["COLUMNS", "event_columns", "events_frame", "records"]

COLUMNS = ("offset", "type", "created_at", "envelope")
"""What a record is made of."""


def event_columns(columns: Sequence[str] | None) -> list[str]:
    """Return the columns of a frame of events that are wanted.

    Raises
    ------
    InputError
        For a column that there is not.
    """
    if columns is None:
        return list(EVENTS)
    if isinstance(columns, str):
        raise InputError(f"columns={columns!r} is one text; give a list: [{columns!r}].")
    allowed = [*EVENTS, "envelope"]
    unknown = [name for name in columns if name not in allowed]
    if unknown or not columns:
        what = f"no column {unknown[0]!r}" if unknown else "no frame without a column"
        raise InputError(f"events have {what}; they have: {', '.join(allowed)}.")
    return list(dict.fromkeys(columns))


def records(raw: pl.DataFrame) -> list[Event]:
    """Make records of the columns in :data:`COLUMNS`."""
    frame = events_frame(raw)
    rows = zip(*(frame[name] for name in COLUMNS), strict=True)
    return [Event.stored(offset, kind, at.replace(tzinfo=UTC), text) for offset, kind, at, text in rows]
