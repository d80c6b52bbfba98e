"""What a source says about its bars, held against the bars themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.distances import Contradiction, contradictions, is_expected
from walle.bars.files import BarReader
from walle.bars.ingest_source import BarOptions
from walle.bars.spans import count_bars, join_spans, spans_of
from walle.database import Database
from walle.errors import InputError
from walle.frames import BARS, no_rows
from walle.notices import ContradictionWarning, warn
from walle.repositories.bars.openings import Openings
from walle.repositories.select import expression, read

__all__ = ["columns_of", "refuse_sparse"]

_LOOK_AT = 10_000
"""Stored bars of a series that are looked at."""
_TIME = pl.Schema({"timestamp": BARS["timestamp"]})


def columns_of(source: object, reading: BarOptions, reader: BarReader | None) -> set[str]:
    """Return which of our columns a source has: as its layout was recognised, else by their names."""
    if reader is not None:
        return set(reader.layout.columns.values())
    if isinstance(source, pl.LazyFrame):
        source = source.collect_schema().to_frame()
    named = getattr(source, "column_names", None)
    names = {str(name) for name in (getattr(source, "columns", ()) if named is None else named)}
    return names | {name for name in (reading.columns or {}).values() if name is not None}


async def refuse_sparse(
    database: Database,
    openings: Openings,
    spans: Sequence[pl.DataFrame],
    reading: BarOptions,
    reader: BarReader | None,
    columns: Iterable[str],
    path: Path | None,
    session: AsyncSession | None,
) -> None:
    """Raise, or warn of a few, if the bars of a source lie as those of a longer timeframe than the one that was given.

    What is stored, or the sessions of the market, may prove that the series is as sparse as that.

    Raises
    ------
    InputError

    Warns
    -----
    ContradictionWarning
        Where so few bars may lie so by chance.
    """
    if not spans or (reading.timeframe is not None and "timeframe" in columns):
        return  # who says it in both places means it
    joined = await database.in_thread(lambda: join_spans(pl.concat(spans)))
    found = await database.in_thread(lambda: contradictions(joined))
    if not found:
        return
    markets = await openings.markets({one.symbol for one in found}, session)
    doubtful = []
    for one in found:
        mine = joined.filter(pl.col("symbol") == one.symbol, pl.col("timeframe") == one.timeframe)
        if is_expected(mine, one.timeframe, markets[one.symbol]):
            continue
        stored = spans_of(await _stored(database, one, session))
        both = join_spans(pl.concat([mine, stored]))
        if stored.is_empty() or contradictions(both):
            doubtful.append(one)
        elif one.sure and _follow_directly(stored) and _stand_alone(mine, both):
            doubtful.append(replace(one, sure=False))
    where = "" if path is None else f"{path}: "
    if sure := [one for one in doubtful if one.sure]:
        raise InputError(where + _doubt(sure, reading, reader))
    if doubtful:
        warn(where + _doubt(doubtful, reading, reader), ContradictionWarning)


def _follow_directly(spans: pl.DataFrame) -> bool:
    """Return whether most bars of one series follow directly on others."""
    return 2 * spans.height <= int(count_bars(spans)["bars"].sum())


def _stand_alone(spans: pl.DataFrame, both: pl.DataFrame) -> bool:
    """Return whether most bars of a source have no neighbour, also with the stored ones: they fill no gaps."""
    alone = both.filter(pl.col("first") == pl.col("last")).join(spans, on=["symbol", "timeframe", "first"], how="semi")
    return 2 * alone.height > int(count_bars(spans)["bars"].sum())


async def _stored(database: Database, series: Contradiction, session: AsyncSession | None) -> pl.DataFrame:
    """Return the last stored opening times of a series: symbol, timeframe, timestamp."""
    table = models.bars
    times = no_rows(_TIME)
    if database.has(table):
        wanted = sa.select(expression(database, table, "timestamp")).where(
            table.c.symbol == series.symbol, table.c.timeframe == series.timeframe
        )
        times = await read(database, wanted.order_by(table.c.timestamp.desc()).limit(_LOOK_AT), _TIME, session)
    named = {"symbol": series.symbol, "timeframe": series.timeframe}
    return times.select(*(pl.lit(value).alias(name) for name, value in named.items()), "timestamp")


def _doubt(found: Sequence[Contradiction], reading: BarOptions, reader: BarReader | None) -> str:
    one, given = found[0], found[0].timeframe
    who, mend = f"the column timeframe says {given!r}", f"If they are bars of {one.likely}, write that in the column"
    if reading.timeframe is not None:
        who, mend = f"timeframe={given!r} was given", f"Say timeframe={one.likely!r}"
    elif reader is not None and reader.layout.timeframe_from == "name":
        who, mend = f"the file name says {given!r}", f"Say timeframe={one.likely!r}"
    more = f" (and those of {len(found) - 1:,} more series likewise)" if len(found) > 1 else ""
    hardly, nothing = ("hardly any", "Nothing was written. ") if one.sure else ("none", "")
    return (
        f"{who}, but the bars of {one.symbol!r} lie {one.likely} apart: {one.usual:,} of {one.distances:,} distances, "
        f"and {hardly} is {given}{more}. {nothing}{mend}. If there really are so few bars of {given}, say so in both "
        f"places: a column timeframe with {given!r}, and timeframe={given!r}."
    )
