"""Reading fills: as a frame, and as records; by default without those that were corrected."""

from __future__ import annotations

import builtins
import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.errors import InputError, UnknownFill
from walle.frames import FILL_CORRECTIONS, FILL_ORDER, FILLS, no_rows
from walle.records import Fill
from walle.repositories.as_of import recorded_by, warn_unrecorded
from walle.repositories.common import IN_LIST, Time, canonical, check_name, document, in_range, known_run, one_of
from walle.repositories.corrections import FILLS as FILLS_CORRECTED
from walle.repositories.corrections import read_corrections, uncorrected
from walle.repositories.select import expression, read

__all__ = ["FillReader"]


class FillReader:
    """Stored fills; a fill without a run or symbol has its order's.

    With ``known``, only what had been recorded by that time is read, and only corrections of that time count.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, fill_id: str, session: AsyncSession | None) -> Fill:
        """Return one fill.

        Raises
        ------
        UnknownFill
        """
        found = await self._records([models.fills.c.id == check_name(fill_id, "fill_id")], session)
        if not found:
            raise UnknownFill(fill_id)
        return found[0]

    async def list(
        self,
        run_id: str | None = None,
        *,
        order_id: str | None = None,
        symbol: str | None = None,
        start: Time = None,
        end: Time = None,
        corrected: bool = True,
        known: datetime | None = None,
        session: AsyncSession | None = None,
    ) -> builtins.list[Fill]:
        """Return fills as records, as they were written."""
        table = models.fills
        conditions = [
            *self._of("run_id", run_id),
            *one_of(table.c.order_id, order_id),
            *self._of("symbol", symbol),
            *in_range(table.c.filled_at, start, end),
            *self._standing(corrected, known),
        ]
        found = await self._records(conditions, session, known)
        if run_id is not None and not found:
            await known_run(self._database, run_id, session)
        return found

    async def read(
        self,
        run_id: str | None = None,
        *,
        order_id: str | None = None,
        symbol: str | None = None,
        start: Time = None,
        end: Time = None,
        corrected: bool = True,
        known: datetime | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Return fills as a frame: columns of ``FILLS``."""
        table = models.fills
        conditions = [
            *self._of("run_id", run_id),
            *one_of(table.c.order_id, order_id),
            *self._of("symbol", symbol),
            *in_range(table.c.filled_at, start, end),
            *self._standing(corrected, known),
        ]
        frame = await self._frame(conditions, session, known)
        if run_id is not None and frame.is_empty():
            await known_run(self._database, run_id, session)
        return frame.sort(*FILL_ORDER)

    async def of_runs(
        self,
        run_ids: Sequence[str],
        symbol: str | None,
        *,
        known: datetime | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read the fills of some runs, and of a symbol, where one is given: in their order.

        Raises
        ------
        InputError
            When there are fills, and none of that symbol.
        """
        parts = [no_rows(FILLS)]
        for at in range(0, len(run_ids), IN_LIST):
            part = list(run_ids[at : at + IN_LIST])
            conditions = [*self._among("run_id", part), *self._of("symbol", symbol), *self._standing(True, known)]
            parts.append(await self._frame(conditions, session, known))
        found = pl.concat(parts).sort(*FILL_ORDER)
        if symbol is not None and found.is_empty():
            for run_id in run_ids:
                await self.of_symbol(run_id, symbol, known=known, session=session)
        return found

    async def _frame(
        self,
        conditions: builtins.list[sa.ColumnElement[bool]],
        session: AsyncSession | None,
        known: datetime | None = None,
    ) -> pl.DataFrame:
        table, orders = models.fills, models.orders
        if not self._database.has(table):
            return no_rows(FILLS)
        joins = self._database.has(orders)
        chosen: list[sa.ColumnElement[Any]] = []
        for name in FILLS:
            column = expression(self._database, table, name)
            if joins and name in ("run_id", "symbol"):
                column = sa.func.coalesce(self._own(name), orders.c[name]).label(name)
            chosen.append(column)
        statement: sa.Select[Any] = sa.select(*chosen).where(*conditions)
        if joins:
            statement = statement.select_from(table.outerjoin(orders, table.c.order_id == orders.c.id))
        frame = await read(self._database, statement, FILLS, session)
        warn_unrecorded(frame, "fills", known)
        return frame

    async def of_symbol(
        self,
        run_id: str | None,
        symbol: str | None,
        *,
        known: datetime | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read the fills of one or all runs, and of one or all symbols.

        Parameters
        ----------
        run_id, symbol : str or None
        known : datetime, optional
            Only what had been recorded by then.
        session : AsyncSession, optional
            Read what its transaction sees.

        Raises
        ------
        UnknownRun
            If nothing is stored of that run; it suggests similar ids.
        InputError
            If there are fills, but none of that symbol.
        """
        fills = await self.read(run_id, symbol=symbol, known=known, session=session)
        if symbol is not None and fills.is_empty():
            every = (await self.read(run_id, session=session))["symbol"].drop_nulls().unique().sort().to_list()
            if every and symbol not in every:  # one of that symbol may have been recorded later
                near = difflib.get_close_matches(symbol, every, 1, 0.6)
                hint = f"did you mean {near[0]!r}? There" if near else "there"
                of = "" if run_id is None else f" of run {run_id!r}"
                raise InputError(f"no fill{of} is of {symbol!r}; {hint} are fills of: {', '.join(every[:20])}.")
        return fills

    async def corrections(self, run_id: str | None, session: AsyncSession | None) -> pl.DataFrame:
        """Return corrections as a frame: columns of ``FILL_CORRECTIONS``.

        Raises
        ------
        UnknownRun
        """
        if run_id is not None:
            await known_run(self._database, check_name(run_id, "run_id"), session)
        own = None if run_id is None else sa.select(models.fills.c.id).where(*self._of("run_id", run_id))
        return await read_corrections(self._database, FILLS_CORRECTED, FILL_CORRECTIONS, own, session)

    async def _records(
        self,
        conditions: builtins.list[sa.ColumnElement[bool]],
        session: AsyncSession | None,
        known: datetime | None = None,
    ) -> builtins.list[Fill]:
        table = models.fills
        if not self._database.has(table):
            return []
        statement = sa.select(*(expression(self._database, table, name) for name in FILLS)).where(*conditions)
        frame = (await read(self._database, statement, FILLS, session)).sort(*FILL_ORDER)
        warn_unrecorded(frame, "fills", known)
        return [_record(row) for row in frame.iter_rows(named=True)]

    def _standing(self, corrected: bool, known: datetime | None) -> builtins.list[sa.ColumnElement[bool]]:
        if not isinstance(corrected, bool):
            raise InputError(f"corrected={corrected!r} is neither True (leave corrected fills out) nor False.")
        recorded = recorded_by(self._database, models.fills, known)
        return [*recorded, *uncorrected(self._database, FILLS_CORRECTED, known)] if corrected else recorded

    def _own(self, name: str) -> sa.ColumnElement[Any]:
        column = models.fills.c[name]
        return column if self._database.has(models.fills, name) else sa.cast(sa.null(), column.type)

    def _of(self, name: str, value: str | None) -> builtins.list[sa.ColumnElement[bool]]:
        """Return the condition that a fill, or where it says nothing its order, has that run or symbol."""
        return [] if value is None else self._among(name, [check_name(value, name)])

    def _among(self, name: str, values: builtins.list[str]) -> builtins.list[sa.ColumnElement[bool]]:
        """Return the condition that it has one of those runs or symbols."""
        own, orders = self._own(name), models.orders
        one = len(values) == 1
        conditions = [own == values[0] if one else own.in_(values)]
        if self._database.has(orders):
            same = orders.c[name] == values[0] if one else orders.c[name].in_(values)
            theirs = sa.select(orders.c.id).where(same)
            conditions.append(sa.and_(own.is_(None), models.fills.c.order_id.in_(theirs)))
        return [sa.or_(*conditions)]


def _record(row: dict[str, Any]) -> Fill:
    if row["extra"] is not None:
        row["extra"] = document(row["extra"], f"fills.extra of id={row['id']!r}")
    return Fill.from_row(canonical(row))
