"""The bars that fills are held against, read for just the symbols and the time that are asked."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import sqlalchemy as sa

from walle import models
from walle.database import Database
from walle.fills.market import Market
from walle.frames import RUNS
from walle.repositories.bars.calendars import calendars_of
from walle.repositories.bars.repository import BarRepository
from walle.repositories.select import expression, read
from walle.timeframe import check_timeframe, length
from walle.validation import shift

__all__ = ["ends_of_runs", "markets_of"]


async def markets_of(
    database: Database,
    fills: pl.DataFrame,
    timeframe: str | None,
    end: datetime | None,
    start: datetime | None = None,
) -> dict[str, Market]:
    """Read the bars of the fills' symbols, from the first fill of each on.

    Parameters
    ----------
    database : Database
    fills : polars.DataFrame
        symbol, filled_at.
    timeframe : str, optional
        None: the shortest that is stored of each symbol.
    end : datetime, optional
        Bars that open before it; None: to the last one.
    start : datetime, optional
        Bars from then on, where the first fill is later.

    Returns
    -------
    dict of symbol to Market
        A symbol without bars of the timeframe is left out.
    """
    if timeframe is not None:
        check_timeframe(timeframe)
    bars = BarRepository(database)
    series = await bars.series()
    firsts = fills.drop_nulls("symbol").group_by("symbol").agg(pl.col("filled_at").min()).sort("symbol")
    calendars = await calendars_of(database, firsts["symbol"])
    found = {}
    for symbol, first in firsts.iter_rows():
        stored = [row for row in series.iter_rows(named=True) if row["symbol"] == symbol]
        stored = [row for row in stored if timeframe in (None, row["timeframe"])]
        if not stored:
            continue
        row = min(stored, key=lambda row: length(row["timeframe"]))
        chosen = row["timeframe"]
        begin = min(shift(first, -length(chosen)), start or first)
        until = None if end is None else max(end, shift(first, timedelta(microseconds=1)))
        rows = await bars.read(symbol, chosen, begin, until)
        gaps = (await bars.gaps(symbol, chosen, begin, until)).select("start", "end")
        calendar = calendars[symbol]
        last = rows["timestamp"].max() if until is None else until
        sessions = None
        if calendar.name != "24/7" and isinstance(last, datetime):
            sessions = calendar.segments(begin, shift(last, length(chosen)))
        found[symbol] = Market(chosen, rows, gaps, sessions, (row["first"], row["last"]))
    return found


async def ends_of_runs(database: Database, ids: pl.Series) -> dict[str, datetime]:
    """Return when each run ended; runs that go on, or are unknown, are left out."""
    if not database.has(models.runs):
        return {}
    columns = [expression(database, models.runs, name) for name in ("id", "stopped_at")]
    schema = pl.Schema({name: RUNS[name] for name in ("id", "stopped_at")})
    stopped = await read(database, sa.select(*columns), schema, None)
    return dict(stopped.drop_nulls().filter(pl.col("id").is_in(ids.unique().to_list())).iter_rows())
