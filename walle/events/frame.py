"""From the rows of a log to public frames and records."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from walle.envelope import Event
from walle.errors import InputError
from walle.frames import CONSUMERS, EVENTS
from walle.repositories.events.columns import events_frame
from walle.repositories.events.consumer_claims import liveness

__all__ = ["COLUMNS", "consumers_frame", "event_columns", "events_frame", "records"]

COLUMNS = ("id", "type", "created_at", "envelope")
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


def consumers_frame(stored: pl.DataFrame, settled: int, holders: Sequence[str]) -> pl.DataFrame:
    """Tell of every consumer how it is, how far it lags, and what it waits for.

    Parameters
    ----------
    stored : polars.DataFrame
        Columns of :data:`walle.repositories.events.consumer_claims.OFFSETS`, and ``held``: the events after its offset
        and above the horizon.
    settled : int
        The horizon.
    holders : sequence of str
        Who may still fill the gap above it.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`walle.frames.CONSUMERS`.
    """
    late = (pl.col("now") - pl.col("next_at")).dt.total_microseconds() / 1e6
    frame = stored.with_columns(
        state=pl.Series([_state(row) for row in stored.iter_rows(named=True)], dtype=pl.String),
        lag_seconds=late.clip(0).fill_null(0.0),
        held_by=pl.when(pl.col("held") > 0).then(pl.lit("; ".join(holders) or None, pl.String)),
        owner=pl.Series([_owner(owner) for owner in stored["owner"]], dtype=pl.String),
        epoch=pl.col("epoch").fill_null(0),
    )
    return frame.select(pl.col(name).cast(kind) for name, kind in CONSUMERS.items())


def _state(row: dict[str, Any]) -> str:
    owner = None if row["owner"] is None else json.loads(row["owner"])
    if not isinstance(owner, dict):
        return "stopped"
    heartbeat: datetime | None = row["heartbeat_at"]
    return liveness(owner, heartbeat, row["now"])


def _owner(text: str | None) -> str | None:
    owner = None if text is None else json.loads(text)
    return None if not isinstance(owner, dict) else f"pid {owner['pid']} on {owner['host']}"
