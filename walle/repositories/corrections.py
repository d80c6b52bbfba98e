"""Corrections of facts: the corrected one stays as it was written, and every reckoning leaves it out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import AlreadyCorrected, InputError
from walle.repositories.as_of import recorded_by
from walle.repositories.common import check_name
from walle.repositories.events.consumer_claims import whoami
from walle.repositories.select import expression, finish, read, wire_schema
from walle.types import wire
from walle.validation import check_text

__all__ = ["CASH", "FILLS", "Correction", "Corrections", "read_corrections", "uncorrected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """A table of corrections, and the facts that they correct.

    Parameters
    ----------
    table, facts : Table
    of : str
        The column with the id of the corrected fact.
    noun : str
    call : str
        The call that corrects a fact, for messages.
    """

    table: sa.Table
    facts: sa.Table
    of: str
    noun: str
    call: str


FILLS = Corrections(
    table=models.fill_corrections, facts=models.fills, of="fill_id", noun="fill", call="store.fills.correct"
)
CASH = Corrections(
    table=models.cash_corrections,
    facts=models.cash_flows,
    of="cash_flow_id",
    noun="cash flow",
    call="store.cash.correct",
)


def uncorrected(database: Database, kind: Corrections, known: datetime | None = None) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a fact has no correction that was recorded by then; None: no correction at all.

    There is no condition where an older schema knows no corrections.
    """
    if not database.has(kind.table):
        return []
    return [~sa.exists().where(kind.table.c[kind.of] == kind.facts.c.id, *recorded_by(database, kind.table, known))]


async def read_corrections(
    database: Database,
    kind: Corrections,
    schema: pl.Schema,
    facts: sa.Select[Any] | None,
    session: AsyncSession | None,
) -> pl.DataFrame:
    """Read corrections in the order in which they were written.

    Parameters
    ----------
    database : Database
    kind : Corrections
    schema : polars.Schema
        Columns of the table.
    facts : Select, optional
        Ids; only corrections of these facts.
    session : AsyncSession, optional
    """
    table = kind.table
    if not database.has(table):
        return pl.DataFrame(schema=schema)
    ordered = pl.Schema({**schema, "id": pl.Int64()})
    statement: sa.Select[Any] = sa.select(*(expression(database, table, name) for name in ordered))
    if facts is not None:
        statement = statement.where(table.c[kind.of].in_(facts))
    return (await read(database, statement, ordered, session)).sort("id").drop("id")


@dataclass(frozen=True, slots=True)
class Correction:
    """What is said of a correction, checked.

    Parameters
    ----------
    kind : Corrections
    id : str
        Of the corrected fact.
    corrected_by : str or None
    reason : str
    author : str or None
        None: user@host.

    Raises
    ------
    InputError
        For an empty or too long reason or author, or a fact that would correct itself.
    """

    kind: Corrections
    id: str
    corrected_by: str | None
    reason: str
    author: str | None

    def __post_init__(self) -> None:
        check_name(self.id, self.kind.of)
        check_text(self.reason, "reason", maximum=10_000)
        if self.author is not None:
            check_text(self.author, "author", maximum=200)
        if self.corrected_by == self.id:
            noun = self.kind.noun
            raise InputError(
                f"by= has the id of the {noun} that it corrects, {self.id!r}. The stored {noun} stays as it was "
                f"written, so the correcting one has an id of its own: by=dataclasses.replace(by, id='{self.id}.2')."
            )

    async def write(self, writer: Writer, recorded_at: datetime) -> None:
        """Write the correction, in the transaction in which the correcting fact was appended.

        Both are recorded at one time, so that at every time one of the two facts counts, and never both.

        Raises
        ------
        AlreadyCorrected
            When the fact, or the one that is to stand in its place, was corrected before.
        """
        table, of = self.kind.table, self.kind.of
        values: dict[str, Any] = {of: self.id, "corrected_by": self.corrected_by, "reason": self.reason}
        values["author"] = whoami() if self.author is None else self.author
        values["recorded_at"] = recorded_at
        for fact in (self.id, self.corrected_by):
            if fact is not None:
                await self._refuse_second(writer, fact)
        await writer.execute(sa.insert(table), values)

    async def _refuse_second(self, writer: Writer, fact: str) -> None:
        kind, schema = self.kind, {name: pl.String() for name in ("corrected_by", "reason", "author")}
        table = kind.table
        found = sa.select(*(wire(table.c[name], writer.dialect.name) for name in schema)).where(
            table.c[kind.of] == fact
        )
        first = finish(await writer.fetch(found, wire_schema(schema)), schema)
        if first.is_empty():
            return
        by, reason, author = first.row(0)
        if fact == self.corrected_by:
            advice = f"Nothing that was corrected can stand in the place of another {kind.noun}: give by= its own id."
        elif by is None:
            advice = f"What it should have been is a {kind.noun} of its own: append it."
        else:
            advice = f"Correct the {kind.noun} that stands in its place: {kind.call}({by!r}, ...)."
        raise AlreadyCorrected(kind.noun, fact, by, f"{reason!r}, {author}", advice)
