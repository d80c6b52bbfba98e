"""Writing checked bars inside one transaction: what is new goes in, what differs is kept beside it."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import sqlalchemy as sa

from walle import models
from walle.bars import IngestReport
from walle.bars.check import Checked
from walle.database import Writer
from walle.enums import OHLCV
from walle.frames import BAR_CONFLICTS
from walle.progress import Progress
from walle.repositories.common import IN_LIST, insert_missing, same_key
from walle.repositories.select import finish, wire_schema
from walle.types import wire

__all__ = ["KEY", "BarWrites"]

KEY = ("symbol", "timeframe", "timestamp")
SLICE_ROWS = 262_144
"""Rows that are moved between two looks at the progress."""


class BarWrites:
    """The bars of one source, written in parts.

    Parameters
    ----------
    source : str or None
        Kept with conflicts.
    progress : Progress
    """

    def __init__(self, source: str | None, progress: Progress) -> None:
        self._source, self._progress = source, progress
        self._staged: sa.TableClause | None = None
        self._staged_rows = 0
        self._spans: list[pl.DataFrame] = []
        self._reports: list[IngestReport] = []

    async def stage(self, writer: Writer, part: Checked) -> None:
        """Load a part before the write transaction begins; :meth:`finish` inserts it."""
        for bars in (part.bars, part.repeats):
            for rows in bars.iter_slices(SLICE_ROWS):
                self._staged = await writer.stage(models.bars, rows, more=self._staged is not None)
                self._staged_rows += rows.height
                self._spans.append(_spans(rows))
                self._progress.advance(rows.height)

    async def insert(self, writer: Writer, part: Checked) -> None:
        """Write a part in the transaction that is open."""
        await writer.dialect.begin_indexing(writer.connection)
        for bars in (part.bars, part.repeats):  # the first versions of repeats are stored then
            for rows in bars.iter_slices(SLICE_ROWS):
                self._reports.append(await self._insert(writer, rows))
                self._progress.advance(rows.height)
        await writer.dialect.end_indexing(writer.connection)

    async def finish(self, writer: Writer) -> IngestReport:
        """Insert what was staged, and tell what became of everything."""
        if self._staged is not None:
            overlap = await _overlaps(writer, pl.concat(self._spans))
            await writer.dialect.begin_indexing(writer.connection)
            self._reports.append(await self._insert_staged(writer, self._staged, self._staged_rows, overlap=overlap))
            await writer.dialect.end_indexing(writer.connection)
            await writer.execute(sa.delete(self._staged))  # the connection goes on, and would keep the rows
        report = IngestReport.total(self._reports)
        if report.conflicts:  # in one order on all databases
            report = replace(report, conflict_rows=report.conflict_rows.sort(list(BAR_CONFLICTS)))
        return report

    async def _insert(self, writer: Writer, rows: pl.DataFrame) -> IngestReport:
        if not await _overlaps(writer, _spans(rows)) and await writer.append(models.bars, rows):
            return IngestReport(inserted=rows.height)
        staged = await writer.stage(models.bars, rows)
        return await self._insert_staged(writer, staged, rows.height, overlap=True)

    async def _insert_staged(self, writer: Writer, staged: sa.TableClause, rows: int, *, overlap: bool) -> IngestReport:
        arrival = writer.dialect.arrival
        statement = insert_missing(models.bars, staged, KEY, anti_join=overlap, arrival=arrival)
        inserted = await writer.insert(models.bars, statement, rows)
        if inserted == rows:
            return IngestReport(inserted=inserted)
        conflicts = await self._conflicts(writer, staged)
        return IngestReport(
            inserted=inserted,
            duplicates=rows - inserted - conflicts.height,
            conflicts=conflicts.height,
            conflict_rows=conflicts,
        )

    async def _conflicts(self, writer: Writer, staged: sa.TableClause) -> pl.DataFrame:
        table, kept = models.bars, models.bar_conflicts
        differs = sa.or_(*(staged.c[name] != table.c[name] for name in OHLCV))
        versions = [
            *(staged.c[name] for name in KEY),
            *(table.c[name].label(f"stored_{name}") for name in OHLCV),
            *(staged.c[name] for name in OHLCV),
        ]
        rows = sa.select(*versions).join_from(staged, table, same_key(staged, table, KEY)).where(differs)
        travelling = sa.select(*(wire(column, writer.dialect.name) for column in rows.selected_columns))
        travelling = travelling.join_from(staged, table, same_key(staged, table, KEY)).where(differs)
        found = finish(await writer.fetch(travelling, wire_schema(BAR_CONFLICTS)), BAR_CONFLICTS)
        if found.height:
            identity = (*KEY, *OHLCV)
            known = sa.exists().where(same_key(kept, staged, identity))
            new = rows.add_columns(sa.literal(self._source, sa.Text).label("source")).where(~known).distinct()
            await writer.execute(
                sa.insert(kept).from_select(
                    [*BAR_CONFLICTS, "source"],
                    new.suffix_with(f"ON CONFLICT ({', '.join(identity)}) DO NOTHING"),
                )
            )
        return found


def _spans(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.group_by("symbol", "timeframe").agg(
        pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last")
    )


async def _overlaps(writer: Writer, spans: pl.DataFrame) -> bool:
    series = spans.group_by("symbol", "timeframe").agg(pl.col("first").min(), pl.col("last").max())
    if series.height > IN_LIST:
        return True
    table = models.bars
    for symbol, timeframe, first, last in series.iter_rows():
        inside = sa.and_(
            table.c.symbol == symbol,
            table.c.timeframe == timeframe,
            table.c.timestamp.between(first, last),
        )
        if (await writer.execute(sa.select(sa.exists().where(inside)))).scalar():
            return True
    return False
