"""Reading runs: as records, as a frame with what they did, and the life of one."""

from __future__ import annotations

import builtins
from collections.abc import Iterable
from functools import cache
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.backend import as_read, symbols_in, timeframe_in
from walle.database import Database
from walle.enums import RunMode, RunStatus
from walle.errors import UnknownRun
from walle.frames import FILLS, ORDERS, RUN_SUMMARY, RUNS
from walle.records import Owner, Run
from walle.repositories.common import Time, canonical, check_name, document, in_range, known_run, one_of
from walle.repositories.events.columns import events_of_run
from walle.repositories.fills.fills import FillRepository
from walle.repositories.fills.orders import OrderRepository
from walle.repositories.select import expression, read
from walle.runs import history
from walle.types import wire

__all__ = ["RunReading", "record"]


class RunReading:
    """The part of the runs' repository that reads.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, run_id: str, *, session: AsyncSession | None = None) -> Run:
        """Return one run.

        Raises
        ------
        UnknownRun
            When it is not stored; near ids are offered.
        """
        found = await self._records([models.runs.c.id == check_name(run_id, "run_id")], session)
        if not found:
            await known_run(self._database, run_id, session)
            raise UnknownRun(run_id)
        return found[0]

    async def list(
        self,
        *,
        status: str | Iterable[str] | None = None,
        mode: str | Iterable[str] | None = None,
        strategy_id: str | None = None,
        start: Time = None,
        end: Time = None,
        session: AsyncSession | None = None,
    ) -> builtins.list[Run]:
        """Return runs as records; arguments and order as in :meth:`read`.

        Raises
        ------
        InputError
        """
        return await self._records(_conditions(status, mode, strategy_id, start, end), session)

    async def read(
        self,
        *,
        status: str | Iterable[str] | None = None,
        mode: str | Iterable[str] | None = None,
        strategy_id: str | None = None,
        start: Time = None,
        end: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read runs as a frame: each with how long it took, and how many orders and fills it has.

        Parameters
        ----------
        status, mode : str or iterable of str, optional
        strategy_id : str, optional
        start, end : datetime, date, str or None
            Created in ``[start, end)``; ``end="2024-01-31"`` leaves that day out. A date or text without a zone is UTC.
        session : AsyncSession, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.RUN_SUMMARY`: those of :data:`walle.frames.RUNS`, then duration (Duration in
            microseconds, ``stopped_at - started_at``; null until it stopped), orders and fills (Int64, never null). One
            row per run, sorted by created_at, then id. A fill that was written without a run counts for its order's.
            Where a run was stored without symbols or timeframe, those in its config stand, which is where the trading
            engine keeps them (:mod:`walle.backend` has the rule); ``config`` is as it was written.

        Raises
        ------
        InputError
            For an unknown status or mode, or a bad range.
        """
        conditions = _conditions(status, mode, strategy_id, start, end)
        return await self._summary(conditions, session)

    async def history(self, run_id: str, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """Read the life of a run: its own moments, its orders', its fills' and its events', in the order of time.

        Parameters
        ----------
        run_id : str
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.HISTORY`; see :func:`walle.runs.history`. Events are those that name the run.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of it; near ids are offered.
        """
        events = await events_of_run(self._database, check_name(run_id, "run_id"), session)
        try:
            await known_run(self._database, run_id, session)
        except UnknownRun:
            if events.is_empty():
                raise
            nothing = [pl.DataFrame(schema=schema) for schema in (RUNS, ORDERS, FILLS)]
            return history(nothing[0], nothing[1], nothing[2], events)
        runs = await self._frame([models.runs.c.id == run_id], session)
        orders = await OrderRepository(self._database).read(run_id, session=session)
        fills = await FillRepository(self._database).read(run_id, session=session)
        return await self._database.in_thread(lambda: history(runs, orders, fills, events))

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        table, database = models.runs, self._database
        column = expression(database, table, name)
        if name not in ("symbols", "timeframe") or not database.has(table, "config"):
            return column
        return _with_config(name, database.dialect.name, stored=database.has(table, name))

    async def _records(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> builtins.list[Run]:
        return [record(row) for row in (await self._frame(conditions, session)).iter_rows(named=True)]

    async def _frame(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> pl.DataFrame:
        if not self._database.has(models.runs):
            return pl.DataFrame(schema=RUNS)
        statement: sa.Select[Any] = sa.select(*(self._column(name) for name in RUNS)).where(*conditions)
        return (await read(self._database, statement, RUNS, session)).sort("created_at", "id")

    async def _summary(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> pl.DataFrame:
        table = models.runs
        if not self._database.has(table):
            return pl.DataFrame(schema=RUN_SUMMARY)
        wanted = sa.select(table.c.id).where(*conditions) if conditions else None
        counted = {name: [part.subquery() for part in parts] for name, parts in self._counts(wanted).items()}
        source: sa.FromClause = table
        columns = [self._column(name) for name in RUNS]
        for name, parts in counted.items():
            for part in parts:
                source = source.outerjoin(part, part.c.run_id == table.c.id)
            columns.append(sum((sa.func.coalesce(part.c.count, 0) for part in parts), sa.literal(0)).label(name))
        statement: sa.Select[Any] = sa.select(*columns).select_from(source).where(*conditions)
        schema = {**RUNS, **{name: RUN_SUMMARY[name] for name in counted}}
        frame = (await read(self._database, statement, schema, session)).sort("created_at", "id")
        duration = (pl.col("stopped_at") - pl.col("started_at")).cast(RUN_SUMMARY["duration"])
        return frame.with_columns(duration=duration).select(list(RUN_SUMMARY))

    def _counts(self, wanted: sa.Select[Any] | None) -> dict[str, builtins.list[sa.Select[Any]]]:
        """Count orders and fills by run, each once: from the indexes on run_id, without a query per run."""
        orders, fills = models.orders, models.fills
        parts: dict[str, builtins.list[sa.Select[Any]]] = {"orders": [], "fills": []}
        if self._database.has(orders):
            parts["orders"].append(_count(orders.c.run_id, wanted))
        if not self._database.has(fills):
            return parts
        own = self._database.has(fills, "run_id")
        if own:
            parts["fills"].append(_count(fills.c.run_id, wanted).where(fills.c.run_id.is_not(None)))
        if self._database.has(orders):
            inherited = _count(orders.c.run_id, wanted).select_from(fills.join(orders, fills.c.order_id == orders.c.id))
            parts["fills"].append(inherited.where(fills.c.run_id.is_(None)) if own else inherited)
        return parts


@cache  # it takes as long to write as a short list of runs to read
def _with_config(name: str, dialect: str, *, stored: bool) -> sa.ColumnElement[Any]:
    """Return the symbols or the timeframe of a run, those in its config where it has none of its own."""
    table = models.runs
    inside = (symbols_in if name == "symbols" else timeframe_in)(table.c.config, dialect)
    if not stored:
        return inside.label(name)
    own = wire(table.c[name], dialect)
    # a program that knows no SQL null for JSON writes the JSON null
    own = sa.func.nullif(own, "null") if name == "symbols" else own
    return sa.func.coalesce(own, inside).label(name)


def record(row: dict[str, Any], *, decoded: bool = False) -> Run:
    """Make a record of a row with the columns of :data:`walle.frames.RUNS`; its JSON may be decoded already."""
    for name in ("config", "owner"):
        if isinstance(row[name], str) and not decoded:
            row[name] = document(row[name], f"runs.{name} of id={row['id']!r}")
    row["owner"] = Owner.of(row["owner"])
    row["symbols"] = None if row["symbols"] is None else tuple(row["symbols"])
    row["revision"] = row["revision"] or 0
    return as_read(Run.from_row(canonical(row)))


def _conditions(
    status: str | Iterable[str] | None,
    mode: str | Iterable[str] | None,
    strategy_id: str | None,
    start: Time,
    end: Time,
) -> builtins.list[sa.ColumnElement[bool]]:
    table = models.runs
    return [
        *one_of(table.c.status, status, RunStatus),
        *one_of(table.c.mode, mode, RunMode),
        *one_of(table.c.strategy_id, strategy_id),
        *in_range(table.c.created_at, start, end),
    ]


def _count(run_id: sa.ColumnElement[Any], wanted: sa.Select[Any] | None) -> sa.Select[Any]:
    counted: sa.Select[Any] = sa.select(run_id.label("run_id"), sa.func.count().label("count")).group_by(run_id)
    return counted if wanted is None else counted.where(run_id.in_(wanted))
