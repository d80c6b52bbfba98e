"""Fills: an audit trail that only grows."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import FillConflict, UnknownFill
from walle.fills import WriteReport, fills_frame
from walle.fills.ingest_frame import Reading, read_fills
from walle.frames import FILL_CONFLICTS, FILLS
from walle.records import Fill
from walle.reports import IngestReport
from walle.repositories.common import (
    Time,
    canonical,
    check_name,
    in_range,
    insert_missing,
    known_run,
    one_of,
    same_key,
    write_staged,
)
from walle.repositories.fills.analysis import FillAnalysis
from walle.repositories.select import expression, finish, read, wire_schema
from walle.types import wire
from walle.validation import decimal_text

__all__ = ["FillRepository"]


class FillRepository(FillAnalysis):
    """Fills, appended once and for ever.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(
        self, fills: Fill | Iterable[Fill] | pl.DataFrame, *, session: AsyncSession | None = None
    ) -> WriteReport:
        """Store fills: the same fill again is a no-op; all of the call or nothing.

        Parameters
        ----------
        fills : Fill, iterable of Fill, or polars.DataFrame
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        WriteReport

        Raises
        ------
        FillConflict
            When a fill of that id has another content; the stored one stays.
        InputError
            For what is no fill.
        """
        given = fills_frame(fills)
        if given.is_empty():
            return WriteReport()
        frame = given.unique(maintain_order=True)
        if frame["id"].is_duplicated().any():
            _refuse_double(frame)
        async with write_staged(self._database, models.fills, frame, session) as (writer, staged):
            inserted = await writer.insert(models.fills, insert_missing(models.fills, staged, ["id"]), frame.height)
            if inserted < frame.height:
                await self._refuse_other_content(writer, staged)
        return WriteReport(inserted=inserted, unchanged=given.height - inserted)

    async def ingest(
        self,
        source: object,
        *,
        run_id: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        timezone: str | None = None,
        floats: str = "refuse",
        on_invalid: str = "raise",
        session: AsyncSession | None = None,
    ) -> IngestReport:
        """Take fills in from another program's table, and tell what became of every row.

        A fill that is there already with the same content is a duplicate, one with another content a conflict: the
        stored one stays, and the call goes on. All of the call is one transaction.

        Parameters
        ----------
        source : Fill, iterable of Fill, or a Polars, pandas or Arrow frame
            Columns of :data:`walle.frames.FILLS`; those that may be null may be left out.
        run_id : str, optional
            Of all rows that have none.
        columns : mapping of str to str or None, optional
            Source name to our name, ``{"trade_id": "id"}``; None leaves a column out.
        timezone : str, optional
            The IANA zone of times without one, such as ``UTC``.
        floats : str
            ``refuse``: money in floats is an error. ``shortest``: a float is the decimal that its shortest text says,
            such as 0.1; one with more than 18 places is refused.
        on_invalid : str
            ``raise``: one row that is no fill stops the call. ``quarantine``: the good rows go in.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        IngestReport
            ``rejected_rows`` and ``conflict_rows`` have the columns of :data:`walle.frames.REJECTED_FILLS` and
            :data:`walle.frames.FILL_CONFLICTS`.

        Raises
        ------
        InvalidRows
            When rows are no fills; nothing was written.
        InputError
            For a source that cannot be read.
        """
        reading = Reading(run_id=run_id, columns=columns, timezone=timezone, floats=floats, on_invalid=on_invalid)
        given, rejected = await self._database.in_thread(lambda: read_fills(source, reading))
        frame = given.unique("id", maintain_order=True)
        conflicts, inserted = pl.DataFrame(schema=FILL_CONFLICTS), 0
        if frame.height:
            async with write_staged(self._database, models.fills, frame, session) as (writer, staged):
                inserted = await writer.insert(models.fills, insert_missing(models.fills, staged, ["id"]), frame.height)
                if inserted < frame.height:
                    before, after = await self._other_content(writer, staged)
                    before = before.rename({name: f"stored_{name}" for name in FILLS if name != "id"})
                    conflicts = before.join(after, on="id", how="inner").sort("id").select(list(FILL_CONFLICTS))
        refused = given.join(conflicts, on="id", how="semi").height
        return IngestReport(
            inserted=inserted,
            duplicates=given.height - inserted - refused,
            conflicts=refused,
            rejected=rejected.height,
            rejected_rows=rejected,
            conflict_rows=conflicts,
        )

    async def _refuse_other_content(self, writer: Writer, staged: sa.TableClause) -> None:
        before, after = await self._other_content(writer, staged)
        if before.height:
            raise _conflict(before.row(0, named=True), after.row(0, named=True), before.height - 1)

    async def _other_content(self, writer: Writer, staged: sa.TableClause) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the stored fills whose content differs from the staged one, and those staged; both sorted by id."""
        table, dialect = models.fills, writer.dialect.name
        names = list(FILLS)
        differs = sa.or_(*(table.c[name].is_distinct_from(staged.c[name]) for name in names))
        joined = sa.and_(same_key(table, staged, ["id"]), differs)
        stored = sa.select(*(wire(table.c[name], dialect) for name in names)).where(joined).order_by(table.c.id)
        offered = sa.select(*(wire(staged.c[name], dialect) for name in names)).where(joined).order_by(table.c.id)
        schema = wire_schema(FILLS)
        before = finish(await writer.fetch(stored, schema), FILLS)
        return before, finish(await writer.fetch(offered, schema), FILLS)

    async def get(self, fill_id: str, *, session: AsyncSession | None = None) -> Fill:
        """Return one fill as it was written.

        Parameters
        ----------
        fill_id : str
        session : AsyncSession, optional
            Read what its transaction sees.

        Raises
        ------
        UnknownFill
            When there is none of that id.
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
        session: AsyncSession | None = None,
    ) -> builtins.list[Fill]:
        """Return fills as records, as they were written; arguments and order as in :meth:`read`.

        Raises
        ------
        UnknownRun, InputError
        """
        table = models.fills
        conditions = [
            *self._of("run_id", run_id),
            *one_of(table.c.order_id, order_id),
            *self._of("symbol", symbol),
            *in_range(table.c.filled_at, start, end),
        ]
        found = await self._records(conditions, session)
        if run_id is not None and not found:
            await known_run(self._database, run_id, session)
        return found

    async def _records(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> builtins.list[Fill]:
        table = models.fills
        if not self._database.has(table):
            return []
        statement = sa.select(*(expression(self._database, table, name) for name in FILLS)).where(*conditions)
        frame = (await read(self._database, statement, FILLS, session)).sort("filled_at", "id")
        return [Fill.from_row(canonical(row)) for row in frame.iter_rows(named=True)]

    async def read(
        self,
        run_id: str | None = None,
        *,
        order_id: str | None = None,
        symbol: str | None = None,
        start: Time = None,
        end: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read fills as a frame.

        Parameters
        ----------
        run_id : str, optional
            Fills of that run, and those without a run whose order is of it.
        order_id, symbol : str, optional
        start, end : datetime, date, str or None
            Filled in ``[start, end)``; ``end="2024-01-31"`` leaves that day out. A date or text without a zone is UTC.
        session : AsyncSession, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.FILLS`; one row per fill, sorted by filled_at, then id. Where run_id or
            symbol was not written with the fill, its order's stand; a fill whose order is missing is there too.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of that run; near ids are offered.
        InputError
            For a bad range.
        """
        table, orders = models.fills, models.orders
        if not self._database.has(table):
            return pl.DataFrame(schema=FILLS)
        joins = self._database.has(orders)
        chosen: list[sa.ColumnElement[Any]] = []
        for name in FILLS:
            column = expression(self._database, table, name)
            if joins and name in ("run_id", "symbol"):
                column = sa.func.coalesce(self._own(name), orders.c[name]).label(name)
            chosen.append(column)
        statement: sa.Select[Any] = sa.select(*chosen).where(
            *self._of("run_id", run_id),
            *one_of(table.c.order_id, order_id),
            *self._of("symbol", symbol),
            *in_range(table.c.filled_at, start, end),
        )
        if joins:
            statement = statement.select_from(table.outerjoin(orders, table.c.order_id == orders.c.id))
        frame = await read(self._database, statement, FILLS, session)
        if run_id is not None and frame.is_empty():
            await known_run(self._database, run_id, session)
        return frame.sort("filled_at", "id")

    def _own(self, name: str) -> sa.ColumnElement[Any]:
        column = models.fills.c[name]
        return column if self._database.has(models.fills, name) else sa.cast(sa.null(), column.type)

    def _of(self, name: str, value: str | None) -> builtins.list[sa.ColumnElement[bool]]:
        """Return the condition that a fill, or where it says nothing its order, has that run or symbol."""
        if value is None:
            return []
        check_name(value, name)
        own, orders = self._own(name), models.orders
        conditions = [own == value]
        if self._database.has(orders):
            theirs = sa.select(orders.c.id).where(orders.c[name] == value)
            conditions.append(sa.and_(own.is_(None), models.fills.c.order_id.in_(theirs)))
        return [sa.or_(*conditions)]


def _refuse_double(frame: pl.DataFrame) -> None:
    first_id = frame["id"].filter(frame["id"].is_duplicated())[0]
    versions = frame.filter(pl.col("id") == first_id).rows(named=True)
    raise _conflict(versions[0], versions[1], 0)


def _conflict(stored: dict[str, Any], given: dict[str, Any], others: int) -> FillConflict:
    stored, given = canonical(stored), canonical(given)
    differences = {name: (_shown(value), _shown(given[name])) for name, value in stored.items() if value != given[name]}
    return FillConflict(stored["id"], differences, others)


def _shown(value: Any) -> object:
    return decimal_text(value) if isinstance(value, Decimal) else value
