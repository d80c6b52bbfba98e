"""What was answered to the findings of audits."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import InputError
from walle.frames import ANSWERS
from walle.repositories.events.consumer_claims import whoami
from walle.repositories.select import expression, read
from walle.types import recording_time
from walle.validation import check_text

__all__ = ["Answers", "with_answers"]


class Answers:
    """The answers to the findings about one noun; they are only added.

    Parameters
    ----------
    database : Database
    noun : str
        What is audited, such as ``fills``.
    """

    def __init__(self, database: Database, noun: str) -> None:
        self._database, self._noun = database, noun

    async def list(self, session: AsyncSession | None) -> pl.DataFrame:
        """Return all answers and withdrawals: columns of ``ANSWERS``."""
        return (await self._stored(session)).drop("id")

    async def standing(self, session: AsyncSession | None, known: datetime | None = None) -> pl.DataFrame:
        """Return the last row about each finding, where that is an answer: columns of ``ANSWERS`` and id.

        With ``known``, the last that had been recorded by then.
        """
        stored = await self._stored(session)
        stored = stored if known is None else stored.filter(pl.col("recorded_at") <= known)
        return stored.unique("finding", keep="last", maintain_order=True).filter("answered")

    async def save(
        self, finding: object, reason: str, author: str | None, withdraw: bool, session: AsyncSession | None
    ) -> None:
        """Answer a finding, or take its answer back.

        Raises
        ------
        InputError
        """
        key = _key_of(finding)
        row = {
            "noun": self._noun,
            "finding": key,
            "answered": not withdraw,
            "reason": check_text(reason, "reason", maximum=2_000),
            "author": check_text(whoami() if author is None else author, "author", maximum=200),
        }
        async with self._database.write(session) as writer:
            if withdraw and not await self._stands(writer, key):
                raise InputError(f"the finding {key!r} has no answer that could be taken back.")
            await writer.execute(sa.insert(models.answered_findings).values(recorded_at=recording_time()), row)

    async def _stands(self, writer: Writer, key: str) -> bool:
        table = models.answered_findings
        about = sa.select(expression(self._database, table, "answered"))
        about = about.where(table.c.noun == self._noun, table.c.finding == key).order_by(table.c.id.desc()).limit(1)
        return (await writer.fetch(about, {"answered": pl.Boolean()}))["answered"].any()

    async def _stored(self, session: AsyncSession | None) -> pl.DataFrame:
        table, schema = models.answered_findings, pl.Schema({**ANSWERS, "id": pl.Int64()})
        if not self._database.has(table):
            return pl.DataFrame(schema=schema)
        columns = [expression(self._database, table, name) for name in schema]
        statement = sa.select(*columns).where(table.c.noun == self._noun)
        return (await read(self._database, statement, schema, session)).sort("id")


def with_answers(findings: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """Fill the columns ``answered`` and ``answer`` of findings with the standing answers to their keys."""
    if answers.is_empty():
        return findings
    known = answers.select(key="finding", _answer="reason")
    joined = findings.join(known, on="key", how="left", maintain_order="left")
    filled = joined.with_columns(answered=pl.col("_answer").is_not_null(), answer="_answer")
    return filled.drop("_answer")


def _key_of(finding: object) -> str:
    """Return the key of a finding.

    Raises
    ------
    InputError
    """
    if isinstance(finding, pl.DataFrame):
        if finding.height != 1:
            raise InputError(f"the frame has {finding.height:,} findings: answer one at a time, such as found[:1].")
        finding = finding.row(0, named=True)
    key: Any = finding.get("key") if isinstance(finding, Mapping) else finding
    if not isinstance(key, str):
        raise InputError(
            f"a finding is a row of what the audit returned, as a dict or a frame of one row, or its key; "
            f"not a {type(finding).__name__}{' without a key' if isinstance(finding, Mapping) else ''}."
        )
    return check_text(key, "finding", maximum=1_000)
