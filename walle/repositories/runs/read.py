"""Read runs as records or as a frame with counts, and the history of a run."""

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
from walle.frames import FILL_CORRECTIONS, FILLS, ORDERS, RUN_SUMMARY, RUNS, no_rows
from walle.records import Owner, Run
from walle.repositories.common import Time, canonical, check_name, document, in_range, known_run, one_of
from walle.repositories.corrections import FILLS as FILLS_CORRECTED
from walle.repositories.corrections import uncorrected
from walle.repositories.events.columns import events_of_run
from walle.repositories.fills.fills import FillRepository
from walle.repositories.fills.orders import OrderRepository
from walle.repositories.select import expression, read
from walle.runs import history
from walle.types import wire

__all__ = ["RunReader", "record"]


class RunReader:
    """Stored runs.

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
        """
        found = await self.records([models.runs.c.id == check_name(run_id, "run_id")], session)
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
        """Return runs as records."""
        return await self.records(_conditions(status, mode, strategy_id, start, end), session)

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
        """Return runs as a frame: columns of ``RUN_SUMMARY``."""
        conditions = _conditions(status, mode, strategy_id, start, end)
        return await self._summary(conditions, session)

    async def history(self, run_id: str, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """Return the history of a run as a frame: columns of ``HISTORY``.

        Raises
        ------
        UnknownRun
        """
        events = await events_of_run(self._database, check_name(run_id, "run_id"), session)
        try:
            await known_run(self._database, run_id, session)
        except UnknownRun:
            if events.is_empty():
                raise
            nothing = [pl.DataFrame(schema=schema) for schema in (RUNS, ORDERS, FILLS, FILL_CORRECTIONS)]
            return history(nothing[0], nothing[1], nothing[2], events, nothing[3])
        runs = await self._frame([models.runs.c.id == run_id], session)
        orders = await OrderRepository(self._database).read(run_id, session=session)
        of_fills = FillRepository(self._database)
        fills = await of_fills.read(run_id, corrected=False, session=session)
        corrections = await of_fills.corrections(run_id, session=session)
        return await self._database.in_thread(lambda: history(runs, orders, fills, events, corrections))

    def _column(self, name: str) -> sa.ColumnElement[Any]:
        table, database = models.runs, self._database
        column = expression(database, table, name)
        if name not in ("symbols", "timeframe") or not database.has(table, "config"):
            return column
        return _with_config(name, database.dialect.name, stored=database.has(table, name))

    async def saved(self, run_id: str, session: AsyncSession | None) -> Run | None:
        """Return a run; None for one that was never saved, but has orders or fills.

        Raises
        ------
        UnknownRun
            If nothing is stored of it.
        """
        found = await self.records([models.runs.c.id == check_name(run_id, "run_id")], session)
        if not found:
            await known_run(self._database, run_id, session)
        return found[0] if found else None

    async def records(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> builtins.list[Run]:
        """Return the runs that meet some conditions on the table."""
        return [record(row) for row in (await self._frame(conditions, session)).iter_rows(named=True)]

    async def _frame(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> pl.DataFrame:
        if not self._database.has(models.runs):
            return no_rows(RUNS)
        statement: sa.Select[Any] = sa.select(*(self._column(name) for name in RUNS)).where(*conditions)
        return (await read(self._database, statement, RUNS, session)).sort("created_at", "id")

    async def _summary(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> pl.DataFrame:
        table = models.runs
        if not self._database.has(table):
            return no_rows(RUN_SUMMARY)
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
        """Count the orders and fills of each run from the indexes on run_id, without a query per run."""
        orders, fills = models.orders, models.fills
        parts: dict[str, builtins.list[sa.Select[Any]]] = {"orders": [], "fills": []}
        if self._database.has(orders):
            parts["orders"].append(_count(orders.c.run_id, wanted))
        if not self._database.has(fills):
            return parts
        own, standing = self._database.has(fills, "run_id"), uncorrected(self._database, FILLS_CORRECTED)
        if own:
            parts["fills"].append(_count(fills.c.run_id, wanted).where(fills.c.run_id.is_not(None), *standing))
        if self._database.has(orders):
            inherited = _count(orders.c.run_id, wanted).select_from(fills.join(orders, fills.c.order_id == orders.c.id))
            parts["fills"].append(inherited.where(fills.c.run_id.is_(None), *standing) if own else inherited)
        return parts


@cache  # building it takes as long as reading a short list of runs
def _with_config(name: str, dialect: str, *, stored: bool) -> sa.ColumnElement[Any]:
    """Return the symbols or the timeframe of a run, or those in its config if it has none of its own."""
    table = models.runs
    inside = (symbols_in if name == "symbols" else timeframe_in)(table.c.config, dialect)
    if not stored:
        return inside.label(name)
    own = wire(table.c[name], dialect)
    # some programs write a JSON null instead of an SQL null
    own = sa.func.nullif(own, "null") if name == "symbols" else own
    return sa.func.coalesce(own, inside).label(name)


def record(row: dict[str, Any], *, decoded: bool = False) -> Run:
    """Make a record from a row with the columns of :data:`walle.frames.RUNS`, whose JSON may already be decoded."""
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
