"""Writing checked bars inside one transaction: what is new goes in, what differs is kept beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import sqlalchemy as sa

from walle import models
from walle.bars import IngestReport
from walle.bars.spans import SPANS, count_bars, join_spans, spans_of, within
from walle.bars.versions import (
    CANDIDATES,
    CONFLICTS,
    KEY,
    NEWEST,
    UNFINISHED,
    VALUES,
    VERSION,
    Decision,
    decide,
    hold_against,
    without_empty_extras,
)
from walle.database import Writer
from walle.enums import OHLCV
from walle.errors import ConflictingBars
from walle.frames import BAR_SERIES, BARS, no_rows
from walle.progress import Progress
from walle.repositories.bars.extras import ExtraRecords, append_extras, extra_of, insert_extras, stage_bars
from walle.repositories.bars.newest import newest_of
from walle.repositories.common import IN_LIST, insert_missing, same_key
from walle.repositories.select import finish, wire_schema
from walle.types import wire
from walle.validation import from_microseconds

__all__ = ["BarWrites", "Part", "Written"]

FEW_ROWS = 500
"""Rows that are inserted without being staged first."""

SLICE_ROWS = 262_144
"""Rows that are moved between two looks at the progress."""

_ENDS = pl.Schema({name: BAR_SERIES[name] for name in ("symbol", "timeframe", "first", "last")})
_KEYS = pl.Schema({name: BARS[name] for name in KEY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a source.

    Parameters
    ----------
    bars : polars.DataFrame
        Valid bars, each key once; columns of ``BARS``, and ``extra`` if further columns are kept.
    repeats : polars.DataFrame
        Further rows of these keys, in the source's order.
    spans : polars.DataFrame
        The opening times of ``bars``: columns of ``SPANS``.
    unfinished : polars.DataFrame
        Those of ``bars`` that have not ended; the same columns.
    """

    bars: pl.DataFrame
    repeats: pl.DataFrame
    spans: pl.DataFrame
    unfinished: pl.DataFrame = field(default_factory=lambda: no_rows(BARS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written, and what is left to be written when the ingest has its number.

    Parameters
    ----------
    report : IngestReport
    spans : polars.DataFrame
        The opening times of the bars that are new: columns of ``SPANS``.
    versions : polars.DataFrame
        Columns of ``VERSION``.
    """

    report: IngestReport
    spans: pl.DataFrame
    versions: pl.DataFrame


class BarWrites:
    """The bars of one source, written in parts.

    Parameters
    ----------
    source : str or None
        Kept with conflicts.
    progress : Progress
    on_conflict : str
        ``keep``, ``raise`` or ``correct``.
    reason : str or None
        Why other values are right, to correct.
    extras : ExtraRecords
    """

    def __init__(
        self, source: str | None, progress: Progress, on_conflict: str, reason: str | None, extras: ExtraRecords
    ) -> None:
        self._source, self._progress, self._on_conflict, self._reason = source, progress, on_conflict, reason
        self._extras = extras
        self._held: list[Part] = []
        self._staged: sa.TableClause | None = None
        self._rows = self._inserted = 0
        self._versioned = False
        self._spans: list[pl.DataFrame] = []
        self._new: list[pl.DataFrame] = []
        self._candidates: list[pl.DataFrame] = []
        self._unfinished: list[pl.DataFrame] = []

    async def stage(self, writer: Writer, part: Part) -> None:
        """Load a part before the write transaction begins, unless all have few rows; :meth:`finish` inserts it."""
        self._held.append(part)
        if self._staged is None and sum(held.bars.height + held.repeats.height for held in self._held) <= FEW_ROWS:
            return
        for held in self._held:
            self._begin(held)
            for bars in (held.bars, held.repeats):
                for rows in bars.iter_slices(SLICE_ROWS):
                    self._staged = await stage_bars(writer, rows, more=self._staged is not None)
                    self._progress.advance(rows.height)
        self._held.clear()

    async def insert(self, writer: Writer, part: Part) -> None:
        """Write a part in the transaction that is open."""
        self._begin(part)
        await writer.dialect.begin_indexing(writer.connection)
        for rows in part.bars.iter_slices(SLICE_ROWS):
            whole = rows.height == part.bars.height
            await self._insert(writer, rows, part.spans if whole else spans_of(rows))
        for rows in part.repeats.iter_slices(SLICE_ROWS):  # their first versions are stored by now
            staged = await stage_bars(writer, rows)
            self._candidates.append(await self._stored(writer, staged, again=sa.true()))
            self._progress.advance(rows.height)
        await writer.dialect.end_indexing(writer.connection)

    def _begin(self, part: Part) -> None:
        self._rows += part.bars.height + part.repeats.height
        self._spans.append(part.spans)
        self._unfinished.append(part.unfinished)

    async def finish(self, writer: Writer) -> Written:
        """Insert what was staged, decide about bars that were there, and tell what became of everything.

        Raises
        ------
        ConflictingBars
        """
        for part in self._held:
            await self.insert(writer, part)
        if self._staged is not None:
            spans = _joined(self._spans)
            overlap, repeated = await _overlaps(writer, spans), self._rows > count_bars(spans)["bars"].sum()
            await writer.dialect.begin_indexing(writer.connection)
            await self._insert_staged(writer, self._staged, self._rows, overlap=overlap, repeated=repeated)
            await writer.dialect.end_indexing(writer.connection)
            await writer.execute(sa.delete(self._staged))  # the connection goes on, and would keep the rows
        decision = await self._decide(writer)
        new = _joined(self._new)
        conflicts = decision.conflicts
        if conflicts.height:
            conflicts = conflicts.sort(list(CONFLICTS))  # in one order on all databases
            if self._on_conflict == "raise":
                error = ConflictingBars.of(conflicts, self._source)
                raise error
            await self._keep(writer, conflicts)
        report = IngestReport(
            inserted=self._inserted,
            corrected=decision.versions.height,
            conflicts=conflicts.height,
            duplicates=self._rows - self._inserted - decision.versions.height - conflicts.height,
            conflict_rows=without_empty_extras(conflicts),
        )
        return Written(report=report, spans=new, versions=pl.concat([self._provisional(new), decision.versions]))

    async def _insert(self, writer: Writer, rows: pl.DataFrame, spans: pl.DataFrame) -> None:
        if not await _overlaps(writer, spans) and await writer.append(models.bars, rows.select(list(BARS))):
            self._inserted += rows.height
            self._new.append(spans)
            await append_extras(writer, rows)
        else:
            staged, earlier = await stage_bars(writer, rows), len(self._candidates)
            await self._insert_staged(writer, staged, rows.height, overlap=True, given=rows)
            self._add_returning(rows, earlier)
        self._progress.advance(rows.height)

    async def _insert_staged(
        self,
        writer: Writer,
        staged: sa.TableClause,
        rows: int,
        *,
        overlap: bool,
        repeated: bool = False,
        given: pl.DataFrame | None = None,
    ) -> None:
        """Insert staged rows; ``given`` are they, where they are still in memory."""
        if given is None:
            await insert_extras(writer, staged)  # of bars that are still missing
        statement = insert_missing(
            models.bars, staged, KEY, anti_join=overlap, arrival=writer.dialect.arrival, columns=BARS
        )
        if overlap:
            new = await writer.insert_returning(models.bars, statement, rows, _KEYS)
            self._new.append(spans_of(new))
            inserted = new.height
        else:
            inserted = await writer.insert(models.bars, statement, rows)
            self._new += self._spans
        self._inserted += inserted
        if given is not None:
            await append_extras(writer, given, self._new[-1])
        if inserted < rows:
            again = None
            if repeated and self._reason is not None:  # of a key that comes twice each row counts, in their order
                keys = sa.select(*(staged.c[name] for name in KEY))
                keys = keys.group_by(*keys.selected_columns).having(sa.func.count() > 1)
                again = sa.tuple_(*(staged.c[name] for name in KEY)).in_(keys)
            self._candidates.append(await self._stored(writer, staged, again=again))

    def _add_returning(self, rows: pl.DataFrame, count: int) -> None:
        """Add rows that equal the first version of their bar, but come after other ones: ``count`` candidates."""
        earlier = [part for part in self._candidates[:count] if part.height]
        if self._reason is None or not earlier:  # else the first version holds to the end
            return
        first = pl.concat(earlier).unique(KEY).drop(*VALUES, "place")
        found = pl.concat([no_rows(CANDIDATES), *self._candidates[count:]])
        again = (
            _extended(rows)
            .join(first, on=KEY, maintain_order="left")
            .join(found, on=KEY, how="anti", maintain_order="left")
        )
        place = pl.int_range(1, pl.len() + 1) + sum(part.height for part in self._candidates)
        self._candidates.append(again.with_columns(place=place).select(list(CANDIDATES)))

    async def _stored(
        self, writer: Writer, staged: sa.TableClause, *, again: sa.ColumnElement[bool] | None
    ) -> pl.DataFrame:
        """Return the staged rows that differ from a stored bar, or whose bar has versions: columns of CANDIDATES."""
        table, kept = models.bars, models.bar_versions
        worth: list[sa.ColumnElement[bool]] = [staged.c[name] != table.c[name] for name in OHLCV]
        if await self._have_versions(writer):
            worth.append(sa.exists().where(same_key(kept, staged, KEY)))
        if again is not None:
            worth.append(again)
        stored_extra = extra_of(staged)
        given_extra = staged.c.extra if "extra" in staged.c else sa.cast(sa.null(), stored_extra.type)
        if "extra" in staged.c:
            worth.append(staged.c.extra.is_not(None) & staged.c.extra.is_distinct_from(stored_extra))
        columns: list[sa.ColumnElement[Any]] = [  # in the order of CANDIDATES
            *(staged.c[name] for name in KEY),
            *(table.c[name].label(f"stored_{name}") for name in OHLCV),
            *(staged.c[name] for name in OHLCV),
            stored_extra.label("stored_extra"),
            given_extra.label("extra"),
        ]
        travelling = [wire(column, writer.dialect.name) for column in columns]
        order: sa.ColumnElement[Any] = sa.literal_column(f"{staged.name}.{writer.dialect.physical_order}")
        place = sa.func.row_number().over(order_by=order).label("place")
        rows = sa.select(*travelling, place).join_from(staged, table, same_key(staged, table, KEY))
        found = finish(await writer.fetch(rows.where(sa.or_(*worth)), wire_schema(CANDIDATES)), CANDIDATES)
        return found.with_columns(pl.col("place") + sum(part.height for part in self._candidates))

    async def _have_versions(self, writer: Writer) -> bool:
        """Return whether any bar of these series has a further version."""
        symbols = pl.concat(self._spans)["symbol"].unique().sort().to_list()
        table = models.bar_versions
        some = [table.c.symbol.in_(symbols)] if len(symbols) <= IN_LIST else []
        one = sa.select(table.c.id).where(*some).exists()
        self._versioned |= bool((await writer.execute(sa.select(one))).scalar())
        return self._versioned

    async def _decide(self, writer: Writer) -> Decision:
        if not any(part.height for part in self._candidates):
            return Decision(no_rows(VERSION), no_rows(CONFLICTS))
        candidates = pl.concat(self._candidates)
        newest, extended = no_rows(NEWEST), candidates["extra"].null_count() < candidates.height
        if self._versioned or self._reason is not None or extended:
            # from here on, no other writer adds versions to these series
            await writer.hold_versions(set(candidates.select("symbol", "timeframe").iter_rows()))
            newest = await newest_of(writer, candidates)
        kinds = await self._extras.settle(writer, candidates) if extended else {}
        return decide(hold_against(candidates, newest, kinds), self._early(), self._reason)

    def _early(self) -> pl.DataFrame:
        """Return the first row of each bar that has not ended: columns of BARS, and extra."""
        parts = [_extended(part) for part in self._unfinished if part.height]
        whole = pl.concat([pl.DataFrame(schema={**BARS, "extra": pl.String()}), *parts])
        return whole.unique(KEY, keep="first", maintain_order=True)

    def _provisional(self, new: pl.DataFrame) -> pl.DataFrame:
        """Return what marks the new bars that have not ended: columns of VERSION."""
        if not any(part.height for part in self._unfinished):
            return no_rows(VERSION)
        early = self._early()
        marked = early.filter(within(early, new))
        return marked.with_columns(provisional=True, reason=pl.lit(UNFINISHED)).select(list(VERSION)).cast(VERSION)

    async def _keep(self, writer: Writer, conflicts: pl.DataFrame) -> None:
        """Keep conflicts; one with the same values as an earlier one is kept once."""
        staged = await writer.stage(
            models.bar_conflicts, conflicts.with_columns(source=pl.lit(self._source, pl.String))
        )
        await writer.execute(insert_missing(models.bar_conflicts, staged, (*KEY, *OHLCV)))


def _extended(bars: pl.DataFrame) -> pl.DataFrame:
    """Return bars with a column of further columns, null where none are kept."""
    given = bars if "extra" in bars.columns else bars.with_columns(extra=pl.lit(None, pl.String))
    return given.select(*BARS, "extra")


def _joined(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the union of spans; each part is joined in itself."""
    return parts[0] if len(parts) == 1 else join_spans(pl.concat([no_rows(SPANS), *parts]))


async def _overlaps(writer: Writer, spans: pl.DataFrame) -> bool:
    """Return whether a bar is stored between the first and the last of some series."""
    series = count_bars(spans)
    if series.height > IN_LIST:
        table = models.bar_index
        columns = [wire(table.c[name], writer.dialect.name) for name in ("symbol", "timeframe", "first", "last")]
        stored = finish(await writer.fetch(sa.select(*columns), wire_schema(_ENDS)), _ENDS)
        both = series.join(stored, on=["symbol", "timeframe"])
        between = (pl.col("first") <= pl.col("last_right").to_physical()) & (
            pl.col("last") >= pl.col("first_right").to_physical()
        )
        return not both.filter(between).is_empty()
    table = models.bars
    for symbol, timeframe, first, last, _ in series.iter_rows():
        inside = sa.and_(
            table.c.symbol == symbol,
            table.c.timeframe == timeframe,
            table.c.timestamp.between(from_microseconds(first), from_microseconds(last)),
        )
        if (await writer.execute(sa.select(sa.exists().where(inside)))).scalar():
            return True
    return False
