"""Store and read further columns of bars, and which ones a series has."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
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
from walle.errors import InputError
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

    async def settle(self, writer: Writer, bars: pl.DataFrame) -> dict[Series, dict[str, str]]:
        """Return the kinds of the columns of the series of some bars, with those of the source.

        Raises
        ------
        InputError
            If they hold values of other kinds.
        """
        series = set(bars.select("symbol", "timeframe").unique().iter_rows())
        stored = await _stored_kinds(writer, series)
        return {one: merged_kinds(stored.get(one, {}), self._further.kinds) for one in sorted(series)}

    async def record(self, writer: Writer, series: Collection[Series]) -> None:
        """Record which columns some series have now.

        Raises
        ------
        InputError
            If the source has values of another kind than those of a series.
        """
        merged: dict[Series, dict[str, str]] = {one: {} for one in (series if self._further.kinds else ())}
        for held in (False, True):  # most ingests change nothing, and hold nobody off
            stored = await _stored_kinds(writer, merged, held=held)
            whole = {one: merged_kinds(stored.get(one, {}), self._further.kinds) for one in sorted(merged)}
            merged = {one: kinds for one, kinds in whole.items() if kinds != stored.get(one)}
        if not merged:
            return
        table = models.bar_series
        change = (
            sa.update(table)
            .where(table.c.symbol == sa.bindparam("its_symbol"), table.c.timeframe == sa.bindparam("its_timeframe"))
            .values(columns=sa.bindparam("its_columns", type_=table.c.columns.type))
        )
        changed = [
            {"its_symbol": symbol, "its_timeframe": timeframe, "its_columns": kinds}
            for (symbol, timeframe), kinds in merged.items()
        ]
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
    database: Database,
    symbols: Sequence[str],
    timeframe: str,
    session: AsyncSession | None,
    names: Collection[str] | None = None,
) -> dict[str, str]:
    """Return the kinds of the further columns of some symbols, or of those of them that have some names.

    Raises
    ------
    InputError
        If such a column holds values of other kinds in two series.
    """
    table = models.bar_series
    conditions = [table.c.timeframe == timeframe]
    conditions += [table.c.symbol.in_(sorted(set(symbols)))] if len(symbols) <= IN_LIST else []
    wanted, found, holder = set(symbols), dict[str, str](), dict[str, str]()
    for symbol, _, text in sorted(await _recorded(database, conditions, session)):
        mine = json.loads(text) if symbol in wanted else {}
        for name, kind in mine.items():
            if names is not None and name not in names:
                continue
            try:
                found = merged_kinds(found, {name: kind})
            except InputError:
                raise InputError(
                    f"further column {name!r} holds {found[name]} values in {holder[name]} {timeframe} and {kind} "
                    f"values in {symbol} {timeframe}, and no column of a frame can hold both. Read them one by one."
                ) from None
            holder.setdefault(name, symbol)
    return dict(sorted(found.items()))


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


async def _stored_kinds(
    writer: Writer, series: Collection[Series], *, held: bool = False
) -> dict[Series, dict[str, str]]:
    """Return the kinds of the columns of series that have any; ``held``: and keep other writers from changing them."""
    table, found, ordered = models.bar_series, dict[Series, dict[str, str]](), sorted(series)
    own, columns = sa.tuple_(table.c.symbol, table.c.timeframe), (table.c.symbol, table.c.timeframe, table.c.columns)
    for place in range(0, len(ordered), IN_LIST):
        statement = sa.select(*columns).where(own.in_(ordered[place : place + IN_LIST])).order_by(*columns[:2])
        for row in await writer.execute(statement.with_for_update() if held else statement):
            if row.columns is not None:
                found[row.symbol, row.timeframe] = dict(row.columns)
    return found
