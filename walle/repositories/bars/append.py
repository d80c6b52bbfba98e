"""Append an ingest and what belongs to it: the opening times of the bars that it brought, and further versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import sqlalchemy as sa

from walle import models
from walle.bars.spans import count_bars, pack
from walle.bars.versions import VERSION
from walle.database import Writer
from walle.types import clock

__all__ = ["add_times", "add_versions", "enter"]

_SERIES = ["symbol", "timeframe"]


async def enter(writer: Writer, record: Mapping[str, Any]) -> int:
    """Record an ingest, after its bars; return its id.

    Parameters
    ----------
    writer : Writer
    record : mapping
        The columns of ``ingests`` but for id and time.
    """
    table = models.ingests
    last = sa.select(table.c.ingested_at).order_by(table.c.id.desc()).limit(1).scalar_subquery()
    insert = sa.insert(table).values(**record, ingested_at=clock(last)).returning(table.c.id)
    return int((await writer.execute(insert)).scalar_one())


async def add_times(writer: Writer, ingest: int, spans: pl.DataFrame) -> None:
    """Record which bars an ingest brought.

    Parameters
    ----------
    writer : Writer
    ingest : int
        The id in ``ingests``.
    spans : polars.DataFrame
        Their opening times, joined: columns of ``SPANS``.
    """
    if spans.is_empty():
        return
    counts = {(symbol, timeframe): bars for symbol, timeframe, _, _, bars in count_bars(spans).iter_rows()}
    rows = [
        {
            "ingest": ingest,
            "symbol": symbol,
            "timeframe": timeframe,
            "bars": counts[str(symbol), str(timeframe)],
            "runs": pack(part),
        }
        for (symbol, timeframe), part in spans.partition_by(_SERIES, as_dict=True, maintain_order=True).items()
    ]
    await writer.execute(sa.insert(models.bar_ingests), rows)


async def add_versions(writer: Writer, ingest: int, versions: pl.DataFrame, author: str) -> None:
    """Append versions of bars, in their order.

    Parameters
    ----------
    writer : Writer
        It holds off other writers of versions.
    ingest : int
        The id in ``ingests``.
    versions : polars.DataFrame
        Columns of ``VERSION``.
    author : str
    """
    if versions.is_empty():
        return
    table, ingests = models.bar_versions, models.ingests
    staged = await writer.stage(table, versions)
    time = sa.select(ingests.c.ingested_at).where(ingests.c.id == ingest).scalar_subquery()
    own = {"ingest": sa.literal(ingest), "author": sa.literal(author), "recorded_at": time}
    rows = sa.select(*(staged.c[name] for name in VERSION), *own.values())
    rows = rows.order_by(sa.literal_column(writer.dialect.physical_order))
    await writer.execute(sa.insert(table).from_select([*VERSION, *own], rows))
