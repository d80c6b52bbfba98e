"""New bars against the stored ones of their series: one grid per series, also across ingests and writers.

A source is judged page by page against what the index of the bars held when a series first appeared in it. The
transaction that writes looks again, at what others have stored since: writers whose bars lie on the recorded phase
cannot crowd one another, and hold their series together; others hold theirs alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.check import Checked, Refused, refuse
from walle.bars.mixed import refused_times
from walle.bars.neighbours import (
    crowded_by,
    crowded_within,
    moved_from,
    moved_within,
    not_cut_short,
    off_phase,
)
from walle.bars.phase import Phases, Series
from walle.bars.spans import SPANS, join_spans, spans_of, steps, unpack
from walle.database import Database, Writer
from walle.frames import INSTANT, REJECTED_BARS, no_rows
from walle.repositories.bars.index import BarIndex
from walle.repositories.bars.openings import Openings
from walle.repositories.common import IN_LIST
from walle.repositories.select import read
from walle.timeframe import TIMEFRAMES, length
from walle.types import wire
from walle.validation import MICROSECOND, from_microseconds, shift

__all__ = ["Neighbours"]

_FEW = 8
_SERIES = ["symbol", "timeframe"]
_EXTENT = pl.Schema({"symbol": pl.String(), "timeframe": pl.String(), "start": INSTANT, "end": INSTANT})


class Neighbours:
    """The stored bars around those of one source.

    Parameters
    ----------
    database : Database
    index : BarIndex
    openings : Openings
        With the calendars of the source.
    """

    def __init__(self, database: Database, index: BarIndex, openings: Openings) -> None:
        self._database, self._index, self._openings = database, index, openings
        self._extents: list[pl.DataFrame] = []
        self._known: set[Series] = set()
        self._spans: dict[Series, pl.DataFrame] = {}

    async def learn(self, series: Collection[Series], session: AsyncSession | None) -> None:
        """Note from when to when the stored bars of series reach."""
        table, wanted = models.bar_index, sorted(series)
        if not wanted or not self._index.exists:
            return
        names = [table.c.symbol, table.c.timeframe]
        ends = {"start": sa.func.min(table.c.first), "end": sa.func.max(table.c.last)}
        wired = [wire(end, self._database.dialect.name).label(name) for name, end in ends.items()]
        statement = sa.select(*names, *wired).group_by(*names)
        symbols = sorted({symbol for symbol, _ in wanted})
        if len(symbols) <= IN_LIST:
            statement = statement.where(table.c.symbol.in_(symbols))
        found = await read(self._database, statement, _EXTENT, session)
        stored = set(found.select(_SERIES).iter_rows())
        if not stored <= set(wanted):  # other timeframes of these symbols
            found = _among(found, set(wanted))
        if found.height:
            self._extents.append(found)
        self._known |= stored & set(wanted)

    async def judge(
        self,
        checked: Checked,
        spans: pl.DataFrame,
        page: pl.DataFrame,
        phases: Phases,
        first_row: int,
        session: AsyncSession | None,
    ) -> tuple[Checked, pl.DataFrame]:
        """Refuse the bars of a page for which the stored ones leave no room.

        Parameters
        ----------
        checked : Checked
            The judgement of the page so far.
        spans : polars.DataFrame
            The opening times of its bars: columns of ``SPANS``.
        page : polars.DataFrame
        phases : Phases
            Learns the markets of symbols with crowded bars.
        first_row : int
            The position of the page's first row in its source.
        session : AsyncSession, optional

        Returns
        -------
        tuple of Checked and polars.DataFrame
            The judgement, and the spans of the bars that are left.
        """
        touched = self._touched(spans) | (off_phase(spans, phases) & self._known)
        if not touched:
            return checked, spans
        if unread := touched - self._spans.keys():
            read_now = (await self._index.spans(unread, session)).partition_by(_SERIES, as_dict=True)
            none = no_rows(SPANS)
            self._spans |= {series: read_now.get(series, none) for series in unread}
        stored = pl.concat([self._spans[series] for series in touched])
        crowded = await self._database.in_thread(lambda: _misplaced(spans, stored, stored, phases))
        if crowded.is_empty():
            return checked, spans
        await self._openings.learn(phases, crowded["symbol"].unique(), session)

        def left() -> tuple[Checked, pl.DataFrame]:
            reasons = refused_times(not_cut_short(crowded, phases))
            if reasons.is_empty():
                return checked, spans
            rest = refuse(checked, page, reasons, first_row=first_row)
            return rest, spans_of(rest.bars)

        return await self._database.in_thread(left)

    async def check(
        self,
        writer: Writer,
        pages: Sequence[pl.DataFrame],
        phases: Phases,
        rows: int,
        path: Path | None,
        session: AsyncSession | None,
        *,
        judged: bool = True,
    ) -> None:
        """Check in the transaction that all pages have one grid, together and with what others have stored since.

        Parameters
        ----------
        writer : Writer
        pages : sequence of polars.DataFrame
            The spans of each page; the index has not got them yet.
        phases : Phases
        rows : int
            The number of rows of the source.
        path : Path, optional
            The file, for the error.
        session : AsyncSession, optional
        judged : bool
            Whether each page is known to have one grid in itself.

        Raises
        ------
        InvalidBars
        """
        new = join_spans(pl.concat(pages))
        alone = off_phase(new, phases)
        held = {(str(symbol), str(timeframe)) for symbol, timeframe in new.select(_SERIES).unique().iter_rows()}
        await writer.hold_series({series: series in alone for series in held})
        near = await stored_spans(writer, new)
        far = await stored_spans(writer, _among(new, alone), whole=True) if alone else near.clear()
        alike = judged and len(pages) == 1
        if near.is_empty() and far.is_empty() and alike:
            return
        stored = _misplaced(new, near, far, phases)
        own = stored.clear() if alike else pl.concat([crowded_within(new), moved_within(new)])
        if stored.is_empty() and own.is_empty():
            return
        symbols = pl.concat([stored["symbol"], own["symbol"]]).unique()
        await self._openings.learn(phases, symbols, session)
        reasons = pl.concat(
            [
                refused_times(not_cut_short(stored, phases)),
                refused_times(not_cut_short(own, phases), of=""),
            ]
        )
        if reasons.height:
            refused = Refused()
            refused.total = rows
            absent = [pl.lit(None, kind).alias(name) for name, kind in REJECTED_BARS.items() if name not in reasons]
            refused.add(reasons.with_columns(absent).select(list(REJECTED_BARS)))
            raise refused.error(path)

    def _touched(self, spans: pl.DataFrame) -> set[Series]:
        """Return the series whose stored bars reach to within a bar's length of these spans, or over them."""
        if not self._known:
            return set()
        if spans.height <= _FEW and sum(extent.height for extent in self._extents) <= _FEW:
            return self._touched_by_few(spans)
        start, end = (pl.col(name).to_physical() for name in ("start", "end"))
        reach = spans.group_by(_SERIES).agg(pl.min("first"), pl.max("last")).with_columns(step=steps())
        met = reach.join(pl.concat(self._extents), on=_SERIES).filter(
            (pl.col("first") < end + pl.col("step")) & (pl.col("last") > start - pl.col("step"))
        )
        return {(str(symbol), str(timeframe)) for symbol, timeframe in met.select(_SERIES).iter_rows()}

    def _touched_by_few(self, spans: pl.DataFrame) -> set[Series]:
        """Return the same for an engine's single bars, for which joins would take longest."""
        ends = pl.concat(self._extents).with_columns(pl.col("start", "end").to_physical())
        reach = {(symbol, timeframe): times for symbol, timeframe, *times in ends.iter_rows()}
        met = set()
        for symbol, timeframe, first, last in spans.iter_rows():
            start, end = reach.get((symbol, timeframe), (0, 0))
            step = TIMEFRAMES.get(timeframe, timedelta(0)) // MICROSECOND
            if (symbol, timeframe) in reach and first < end + step and last > start - step:
                met.add((symbol, timeframe))
        return met


async def stored_spans(writer: Writer, near: pl.DataFrame, *, whole: bool = False) -> pl.DataFrame:
    """Return what the index holds near some spans, or of their whole series, as a transaction sees it.

    Bars of other programs that nobody has looked up yet are left out.
    """
    table, packed = models.bar_index, []
    symbols = near["symbol"].unique().sort().to_list()
    wanted = set(near.select(_SERIES).iter_rows())
    longest = max((length(name) for name in near["timeframe"].unique() if name in TIMEFRAMES), default=timedelta(0))
    for at in range(0, len(symbols), IN_LIST):
        among = table.c.symbol.in_(symbols[at : at + IN_LIST])
        statement = sa.select(table.c.symbol, table.c.timeframe, table.c.runs).where(among, table.c.runs.is_not(None))
        if not whole:
            low, high = (from_microseconds(int(end)) for end in (near["first"].min(), near["last"].max()))  # type: ignore[arg-type]  # integers
            statement = statement.where(table.c.last > shift(low, -longest), table.c.first < shift(high, longest))
        rows = await writer.execute(statement)
        packed += [(row.symbol, row.timeframe, row.runs) for row in rows if (row.symbol, row.timeframe) in wanted]
    return join_spans(unpack(packed)) if packed else no_rows(SPANS)


def _misplaced(new: pl.DataFrame, near: pl.DataFrame, far: pl.DataFrame, phases: Phases) -> pl.DataFrame:
    """Return new bars with a stored one that leaves no room for them, or whose grid they do not follow."""
    return pl.concat([crowded_by(new, near), moved_from(new, far, phases)])


def _among(spans: pl.DataFrame, wanted: set[Series]) -> pl.DataFrame:
    return spans.join(pl.DataFrame(sorted(wanted), schema=_SERIES, orient="row"), on=_SERIES, how="semi")
