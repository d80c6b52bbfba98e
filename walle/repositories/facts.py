"""Appending facts that have an id: the same again is a no-op, the same id with another content a conflict."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle.database import Database, Writer
from walle.errors import FactConflict
from walle.fills import WriteReport
from walle.fills.ingest_frame import Facts
from walle.reports import IngestReport
from walle.repositories.common import canonical, insert_missing, same_key, write_staged
from walle.repositories.select import finish, wire_schema
from walle.types import Json, recording_time, wire
from walle.validation import decimal_text

__all__ = ["FactWriter"]

_UNSAID = ("sequence", "extra")
"""The columns of which a fact that is given again without one says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactWriter:
    """The writer of a table of facts; each is recorded at the time of the database at which its statement began.

    Parameters
    ----------
    database : Database
    table : Table
    content : polars.Schema
        The columns that a writer gives; one of them is ``id``.
    error : type
        The error for an id with another content.
    conflicts : polars.Schema, optional
        The columns of the conflicts of an ingest, where there is one.
    numbered : bool
        Whether ``sequence`` counts facts in their order of arrival, where it is not given.
    """

    database: Database
    table: sa.Table
    content: pl.Schema
    error: type[FactConflict]
    conflicts: pl.Schema = field(default_factory=pl.Schema)
    numbered: bool = False

    async def append(self, given: pl.DataFrame, session: AsyncSession | None) -> WriteReport:
        """Store facts, all or nothing.

        Raises
        ------
        FactConflict
            When an id has another content.
        """
        frame = self.distinct(given)
        if frame.is_empty():
            return WriteReport()
        async with write_staged(self.database, self.table, self._placed(frame), session) as (writer, staged):
            inserted = await self._insert(writer, staged, frame.height)
        return WriteReport(inserted=inserted, unchanged=given.height - inserted)

    async def append_in(self, writer: Writer, given: pl.DataFrame, recorded_at: datetime | None = None) -> int:
        """Store facts in the transaction of a writer, recorded at a given time, and return how many are new.

        Raises
        ------
        FactConflict
            When an id has another content.
        """
        frame = self.distinct(given)
        if frame.is_empty():
            return 0
        staged = await writer.stage(self.table, self._placed(frame))
        return await self._insert(writer, staged, frame.height, recorded_at)

    async def ingest(self, facts: Facts, session: AsyncSession | None) -> IngestReport:
        """Store the good rows of a source whose ids are new, and report the others."""
        given = facts.good
        frame = given.unique("id", maintain_order=True)
        conflicts, inserted = pl.DataFrame(schema=self.conflicts), 0
        if frame.height:
            async with write_staged(self.database, self.table, self._placed(frame), session) as (writer, staged):
                inserted = await writer.insert(self.table, self._missing(staged), frame.height)
                if inserted < frame.height:
                    before, after = await self._other_content(writer, staged)
                    before = before.rename({name: f"stored_{name}" for name in self.content if name != "id"})
                    conflicts = before.join(after, on="id", how="inner").sort("id").select(list(self.conflicts))
        refused = given.join(conflicts, on="id", how="semi").height
        return IngestReport(
            inserted=inserted,
            duplicates=given.height - inserted - refused,
            conflicts=refused,
            rejected=facts.rejected.height,
            rejected_rows=facts.rejected,
            conflict_rows=conflicts,
        )

    def distinct(self, given: pl.DataFrame) -> pl.DataFrame:
        """Return each fact of a call once.

        Raises
        ------
        FactConflict
            When an id stands there with several contents.
        """
        frame = given.unique(maintain_order=True)
        double = frame["id"].is_duplicated()
        if double.any():
            versions = frame.filter(pl.col("id") == frame["id"].filter(double)[0]).rows(named=True)
            raise self._conflict(versions[0], versions[1], 0)
        return frame

    async def _insert(
        self, writer: Writer, staged: sa.TableClause, rows: int, recorded_at: datetime | None = None
    ) -> int:
        inserted = await writer.insert(self.table, self._missing(staged, recorded_at), rows)
        if inserted < rows:
            before, after = await self._other_content(writer, staged)
            if before.height:
                raise self._conflict(before.row(0, named=True), after.row(0, named=True), before.height - 1)
        return inserted

    def _placed(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Give the facts that have no sequence one in their order of arrival: -1, -2 and so on."""
        if not self.numbered:
            return frame
        return frame.with_columns(sequence=pl.coalesce("sequence", -1 - pl.int_range(pl.len(), dtype=pl.Int64)))

    def _missing(self, staged: sa.TableClause, recorded_at: datetime | None = None) -> sa.Insert:
        """Insert the staged facts that are new; those without a sequence come after all that are stored."""
        time = recording_time() if recorded_at is None else sa.literal(recorded_at, self.table.c.recorded_at.type)
        recorded = {"recorded_at": time.label("recorded_at")}
        if not self.numbered:
            return insert_missing(self.table, staged, ["id"], instead=recorded)
        place = staged.c.sequence
        last = sa.select(sa.func.coalesce(sa.func.max(self.table.c.sequence), 0)).scalar_subquery()
        arrived = sa.case((place < 0, last - place), else_=place).label("sequence")
        return insert_missing(self.table, staged, ["id"], instead=recorded | {"sequence": arrived})

    async def _other_content(self, writer: Writer, staged: sa.TableClause) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the stored facts whose content differs from the staged one, and those staged; both sorted by id."""
        table, dialect, names = self.table, writer.dialect.name, list(self.content)
        differs = []
        for name in names:
            stored, offered = table.c[name], staged.c[name]
            if isinstance(stored.type, Json):  # by their text, as on SQLite: PostgreSQL takes 1 and 1.0 for the same
                other = wire(stored, dialect).is_distinct_from(wire(offered, dialect))
            else:
                other = stored.is_distinct_from(offered)
            if name in _UNSAID:
                said = offered >= 0 if name == "sequence" else offered.is_not(None)
                other = sa.and_(said, other)
            differs.append(other)
        joined = sa.and_(same_key(table, staged, ["id"]), sa.or_(*differs))
        before = sa.select(*(wire(table.c[name], dialect) for name in names)).where(joined).order_by(table.c.id)
        after = sa.select(*(wire(staged.c[name], dialect) for name in names)).where(joined).order_by(table.c.id)
        schema = wire_schema(self.content)
        stand = finish(await writer.fetch(before, schema), self.content)
        given = finish(await writer.fetch(after, schema), self.content)
        if self.numbered:
            given = given.with_columns(pl.when(pl.col("sequence") >= 0).then("sequence").alias("sequence"))
        return stand, given

    def _conflict(self, stored: dict[str, Any], given: dict[str, Any], others: int) -> FactConflict:
        stored, given = canonical(stored), canonical(given)
        differences = {
            name: (_shown(value), _shown(given[name]))
            for name, value in stored.items()
            if value != given[name] and (name not in _UNSAID or given[name] is not None)
        }
        return self.error(stored["id"], differences, others)


def _shown(value: Any) -> object:
    return decimal_text(value) if isinstance(value, Decimal) else value
