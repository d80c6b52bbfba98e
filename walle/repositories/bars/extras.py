"""Store and read further columns of bars, and which ones a series has."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.extras import FurtherColumns, merged_kinds
from walle.bars.phase import Series
from walle.bars.spans import within
from walle.bars.versions import KEY
from walle.database import Database, Writer
from walle.frames import BAR_COLUMNS, BARS
from walle.repositories.common import IN_LIST, insert_missing, same_key
from walle.repositories.select import expression, read

__all__ = ["ExtraRecords", "append_extras", "extra_of", "insert_extras", "kinds_of", "stage_bars", "stored_columns"]

_EXTRAS = [*KEY, "extra"]
_COLUMNS = pl.Schema({"symbol": pl.String(), "timeframe": pl.String(), "columns": pl.String()})


class ExtraRecords:
    """The further columns of one source, and those of its series.

    Parameters
    ----------
    further : FurtherColumns
    """

    def __init__(self, further: FurtherColumns) -> None:
        self._further = further

    async def settle(self, writer: Writer, series: pl.DataFrame) -> dict[str, str]:
        """Return the kinds of the columns of the source and of some series (symbol, timeframe).

        Raises
        ------
        InputError
            If they hold values of other kinds.
        """
        wanted = set(series.select("symbol", "timeframe").unique().iter_rows())
        return reduce(merged_kinds, (await _stored_kinds(writer, wanted)).values(), dict(self._further.kinds))

    async def record(self, writer: Writer, series: Collection[Series]) -> None:
        """Record which columns some series have now.

        Raises
        ------
        InputError
            If the source has values of another kind than those of a series.
        """
        if not self._further.kinds or not series:
            return
        stored = await _stored_kinds(writer, series)
        merged = {one: merged_kinds(stored.get(one, {}), self._further.kinds) for one in sorted(series)}
        table = models.bar_series
        change = (
            sa.update(table)
            .where(table.c.symbol == sa.bindparam("its_symbol"), table.c.timeframe == sa.bindparam("its_timeframe"))
            .values(columns=sa.bindparam("its_columns", type_=table.c.columns.type))
        )
        changed = [
            {"its_symbol": symbol, "its_timeframe": timeframe, "its_columns": kinds}
            for (symbol, timeframe), kinds in merged.items()
            if kinds != stored.get((symbol, timeframe))
        ]
        if changed:
            await writer.execute(change, changed)


async def stage_bars(writer: Writer, rows: pl.DataFrame, *, more: bool = False) -> sa.TableClause:
    """Stage bars, with their further columns if they have any."""
    if "extra" not in rows.columns:
        return await writer.stage(models.bars, rows, more=more)
    return await writer.stage(models.bar_versions, rows.select(*BARS, "extra"), more=more, name="extended_bars")


def extra_of(bars: sa.FromClause) -> sa.ScalarSelect[Any]:
    """Select the further columns of the first version of a bar."""
    table = models.bar_extras
    return sa.select(table.c.extra).where(same_key(table, bars, KEY)).correlate(bars).scalar_subquery()


async def insert_extras(writer: Writer, staged: sa.TableClause) -> None:
    """Insert the further columns of staged bars that are not stored yet, before the bars.

    Of rows that share a key, the first one's; a writer that holds off all others calls it.
    """
    if "extra" not in staged.c:
        return
    order: sa.ColumnElement[Any] = sa.literal_column(f"{staged.name}.{writer.dialect.physical_order}")
    place = sa.func.row_number().over(partition_by=[staged.c[name] for name in KEY], order_by=order)
    missing = ~sa.exists().where(same_key(models.bars, staged, KEY))
    ranked = sa.select(*(staged.c[name] for name in _EXTRAS), place.label("place")).where(missing).subquery()
    rows = sa.select(*(ranked.c[name] for name in _EXTRAS)).where(ranked.c.place == 1, ranked.c.extra.is_not(None))
    await writer.execute(sa.insert(models.bar_extras).from_select(_EXTRAS, rows))


async def append_extras(writer: Writer, rows: pl.DataFrame, new: pl.DataFrame | None = None) -> None:
    """Insert the further columns of bars that were inserted.

    Parameters
    ----------
    writer : Writer
    rows : polars.DataFrame
        Each bar once.
    new : polars.DataFrame, optional
        The opening times of those that were inserted: columns of ``SPANS``; by default all.
    """
    if "extra" not in rows.columns:
        return
    kept = rows if new is None else rows.filter(within(rows, new))
    extras = kept.select(_EXTRAS).drop_nulls("extra")
    if extras.height and not await writer.append(models.bar_extras, extras):
        staged = await writer.stage(models.bar_extras, extras)
        await writer.execute(insert_missing(models.bar_extras, staged, KEY, anti_join=False))


async def kinds_of(
    database: Database, symbols: Sequence[str], timeframe: str, session: AsyncSession | None
) -> dict[str, str]:
    """Return the kinds of the further columns of some symbols.

    Raises
    ------
    InputError
        If the columns of two symbols hold values of other kinds.
    """
    table = models.bar_series
    conditions = [table.c.timeframe == timeframe]
    conditions += [table.c.symbol.in_(sorted(set(symbols)))] if len(symbols) <= IN_LIST else []
    wanted = set(symbols)
    rows = (row for row in await _recorded(database, conditions, session) if row[0] in wanted)
    merged: dict[str, str] = reduce(merged_kinds, (json.loads(text) for _, _, text in rows), {})
    return dict(sorted(merged.items()))


async def stored_columns(
    database: Database, conditions: Iterable[sa.ColumnElement[bool]], session: AsyncSession | None
) -> pl.DataFrame:
    """List the further columns of series: columns of ``BAR_COLUMNS``, sorted; ``conditions`` are on ``bar_series``."""
    rows = [
        (symbol, timeframe, column, kind)
        for symbol, timeframe, text in await _recorded(database, conditions, session)
        for column, kind in json.loads(text).items()
    ]
    return pl.DataFrame(rows, schema=BAR_COLUMNS, orient="row").sort("symbol", "timeframe", "column")


async def _recorded(
    database: Database, conditions: Iterable[sa.ColumnElement[bool]], session: AsyncSession | None
) -> list[tuple[str, str, str]]:
    table = models.bar_series
    if not database.has(table, "columns"):
        return []
    columns = [expression(database, table, name) for name in _COLUMNS]
    statement = sa.select(*columns).where(table.c.columns.is_not(None), *conditions)
    return (await read(database, statement, _COLUMNS, session)).rows()


async def _stored_kinds(writer: Writer, series: Collection[Series]) -> dict[Series, Mapping[str, str]]:
    """Return the kinds of the columns of series that have any, and keep other writers from changing them."""
    table, symbols = models.bar_series, sorted({symbol for symbol, _ in series})
    some = [table.c.symbol.in_(symbols)] if len(symbols) <= IN_LIST else []
    statement = sa.select(table.c.symbol, table.c.timeframe, table.c.columns).where(table.c.columns.is_not(None), *some)
    found = await writer.execute(statement.order_by(table.c.symbol, table.c.timeframe).with_for_update())
    return {(row.symbol, row.timeframe): row.columns for row in found if (row.symbol, row.timeframe) in series}
