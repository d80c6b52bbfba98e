"""Read the newest versions of bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
import sqlalchemy as sa

from walle import models
from walle.bars.versions import KEY, NEWEST
from walle.database import Writer
from walle.frames import no_rows
from walle.repositories.common import IN_LIST, same_key
from walle.repositories.select import finish, wire_schema
from walle.repositories.tokens import Known
from walle.types import wire

__all__ = ["newest", "newest_of"]


def newest(dialect: str, conditions: Sequence[sa.ColumnElement[bool]], as_of: Known | None = None) -> sa.Select[Any]:
    """Select the newest versions of bars: columns of ``NEWEST`` in their wire form.

    Parameters
    ----------
    dialect : str
        Its name.
    conditions : sequence of ColumnElement
        On ``bar_versions``.
    as_of : Known, optional
        Versions of other ingests are left out.
    """
    table = models.bar_versions
    later = table.alias("later")
    known = [] if as_of is None else [as_of.includes(table.c.ingest)]
    newer = [later.c.id > table.c.id, *([] if as_of is None else [as_of.includes(later.c.ingest)])]
    columns = [wire(table.c[name], dialect) for name in NEWEST]
    superseded = sa.exists().where(same_key(later, table, KEY), *newer)
    return sa.select(*columns).where(*conditions, *known, ~superseded)


async def newest_of(writer: Writer, bars: pl.DataFrame) -> pl.DataFrame:
    """Return the newest versions of some bars, and perhaps of others of their series: columns of ``NEWEST``.

    Parameters
    ----------
    writer : Writer
    bars : polars.DataFrame
        symbol, timeframe, timestamp.
    """
    table, found = models.bar_versions, [no_rows(NEWEST)]
    for timeframe, first, last in (
        bars.group_by("timeframe")
        .agg(pl.col("timestamp").min().alias("first"), pl.col("timestamp").max().alias("last"))
        .iter_rows()
    ):
        symbols = bars.filter(timeframe=timeframe)["symbol"].unique().sort().to_list()
        conditions = [table.c.timeframe == timeframe, table.c.timestamp.between(first, last)]
        conditions += [table.c.symbol.in_(symbols)] if len(symbols) <= IN_LIST else []
        rows = await writer.fetch(newest(writer.dialect.name, conditions), wire_schema(NEWEST))
        found.append(finish(rows, NEWEST))
    return pl.concat(found)
