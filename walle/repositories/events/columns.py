"""The columns of stored events, for the event log and for the history of a run."""

from __future__ import annotations

from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.frames import EVENTS, INSTANT, no_rows
from walle.repositories.select import wire_schema
from walle.types import member, resembles, wire

__all__ = ["HISTORY_EVENTS", "event_column", "events_frame", "events_of_orders", "events_of_run"]

HISTORY_EVENTS = pl.Schema(
    {name: EVENTS[name] for name in ("offset", "type", "created_at", "ts", "corr_id", "payload")},
)
"""The columns of an event in a history."""

_DOCUMENTS = ("headers", "payload")


def event_column(name: str, dialect: str) -> sa.ColumnElement[Any]:
    """Return a column of :data:`walle.frames.EVENTS`, or ``envelope``, in its wire form.

    Parameters
    ----------
    name : str
    dialect : str
        ``sqlite`` or ``postgresql``.
    """
    table = models.outbox
    if name == "offset":
        return table.c.id
    if name == "type":
        return table.c.type
    if name == "created_at":
        return wire(table.c.created_at, dialect)
    if name == "envelope":  # on SQLite, another program may have written bytes to a text column
        return sa.cast(wire(table.c.payload, dialect), sa.Text)
    return member(table.c.payload, name, dialect, document=name in _DOCUMENTS)


def events_frame(raw: pl.DataFrame) -> pl.DataFrame:
    """Cast the wire columns of events to their public types; values of other programs that do not fit become null."""
    columns = []
    for name, values in zip(raw.columns, raw, strict=True):
        if name == "version":
            values = values.cast(pl.Int64, strict=False)
        elif name == "ts":
            values = _instants(values)
        elif name == "created_at" and values.dtype != INSTANT:
            values = values.cast(INSTANT)
        columns.append(values)
    return pl.DataFrame(columns)


def _instants(texts: pl.Series) -> pl.Series:
    # our own form first: Polars parses the whole column at once, three times as fast
    ours = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False)
    if ours.null_count() > texts.null_count():
        others = texts.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
        ours = pl.select(pl.coalesce(ours, others)).to_series()
    return ours.alias(texts.name)


async def events_of_run(database: Database, run_id: str, session: AsyncSession | None = None) -> pl.DataFrame:
    """Read the committed events of a run, even while others are still being written.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`HISTORY_EVENTS`; sorted by offset.
    """
    if not database.has(models.outbox):
        return no_rows(HISTORY_EVENTS)
    dialect = database.dialect.name
    statement: sa.Select[Any] = (
        sa.select(*(event_column(name, dialect).label(name) for name in HISTORY_EVENTS))
        .where(event_column("run_id", dialect) == run_id)
        .order_by(models.outbox.c.id)
    )
    schema = wire_schema(HISTORY_EVENTS) | {"ts": pl.String()}  # it is a text in the envelope
    return events_frame(await database.fetch(statement, schema, session))


async def events_of_orders(database: Database, run_id: str | None, session: AsyncSession | None = None) -> pl.DataFrame:
    """Read the stored events about orders, whose types begin with ``orders.``, of a run or of all.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`HISTORY_EVENTS`, and run_id; sorted by offset.
    """
    columns = {**HISTORY_EVENTS, "run_id": EVENTS["run_id"]}
    if not database.has(models.outbox):
        return pl.DataFrame(schema=columns)
    dialect = database.dialect.name
    statement: sa.Select[Any] = (
        sa.select(*(event_column(name, dialect).label(name) for name in columns))
        .where(resembles(models.outbox.c.type, "orders.*", dialect))
        .order_by(models.outbox.c.id)
    )
    if run_id is not None:
        statement = statement.where(event_column("run_id", dialect) == run_id)
    return events_frame(await database.fetch(statement, wire_schema(columns) | {"ts": pl.String()}, session))
