"""What is known of the consumers of a log, and of the events that they set aside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from walle.events.filters import EventFilter, check_offset
from walle.events.port import EventStore
from walle.frames import CONSUMERS
from walle.repositories.events.consumer_claims import check_consumer, liveness

__all__ = ["consumers", "parked", "replay"]


async def consumers(store: EventStore) -> pl.DataFrame:
    """List the consumers with their states and offsets; see :meth:`walle.EventLog.consumers`."""
    settled = await store.settle(-1)
    stored = await store.offsets.read()
    # what lies above the horizon waits for a gap
    above = (await store.rows(EventFilter(), settled, 2**63 - 1, None, ["offset"]))["offset"]
    held = [int((above > offset).sum()) for offset in stored["offset"]]
    holders = await store.holders() if above.len() else []
    return _frame(stored.with_columns(held=pl.Series(held, dtype=pl.Int64)), settled, holders)


async def parked(store: EventStore, consumer: str | None) -> pl.DataFrame:
    """List the events that consumers set aside; see :meth:`walle.EventLog.parked`.

    Raises
    ------
    UnknownConsumer
    """
    if consumer is not None:
        await store.offsets.offset(check_consumer(consumer))
    return await store.offsets.parked(consumer)


async def replay(store: EventStore, consumer: str, events: int | Iterable[int] | None) -> int:
    """Ask that parked events be handled again; see :meth:`walle.EventLog.replay`.

    Raises
    ------
    UnknownConsumer
    NotFound
        When an event is not parked.
    """
    chosen = [events] if isinstance(events, int | str) else events
    if chosen is not None:
        chosen = [check_offset(event, "event") for event in chosen]
    return await store.offsets.request_replay(check_consumer(consumer), chosen)


def _frame(stored: pl.DataFrame, settled: int, holders: Sequence[str]) -> pl.DataFrame:
    """Describe each consumer: its state, how far it lags, and what it waits for.

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
