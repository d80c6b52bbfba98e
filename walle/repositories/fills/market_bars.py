"""Read the bars that fills are compared with, only for the symbols and times needed."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.coverage import find_gaps
from walle.database import Database
from walle.fills.market import Market
from walle.frames import RUNS
from walle.repositories.bars.calendars import calendars_of
from walle.repositories.bars.repository import BarRepository
from walle.repositories.bars.series import stored_series
from walle.repositories.common import IN_LIST
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
    session: AsyncSession | None = None,
    *,
    preferred: str | None = None,
    known: datetime | None = None,
) -> dict[str, Market]:
    """Read the bars of the fills' symbols, each from its first fill on.

    Parameters
    ----------
    database : Database
    fills : polars.DataFrame
        symbol, filled_at.
    timeframe : str, optional
        None: the shortest that is stored for each symbol.
    end : datetime, optional
        Only bars that open before it; None: up to the last one.
    start : datetime, optional
        Bars from then on, if the first fill is later.
    session : AsyncSession, optional
        Read what its transaction sees.
    preferred : str, optional
        Where no timeframe is given, take this one instead of the shortest for each symbol of which it is stored.
    known : datetime, optional
        What is compared with the bars is what had been recorded by then; the bars are those that were known.

    Returns
    -------
    dict of symbol to Market
        Symbols without bars of the timeframe are omitted.
    """
    if timeframe is not None:
        check_timeframe(timeframe)
    bars = BarRepository(database)
    firsts = fills.drop_nulls("symbol").group_by("symbol").agg(pl.col("filled_at").min()).sort("symbol")
    series = await stored_series(database, firsts["symbol"].to_list(), session)
    calendars = await calendars_of(database, firsts["symbol"], session)
    found = {}
    for symbol, first in firsts.iter_rows():
        stored = [row for row in series.iter_rows(named=True) if row["symbol"] == symbol]
        stored = [row for row in stored if timeframe in (None, row["timeframe"])]
        if not stored:
            continue
        row = min(stored, key=lambda row: (row["timeframe"] != preferred, length(row["timeframe"])))
        chosen = row["timeframe"]
        begin = min(shift(first, -length(chosen)), start or first)
        until = None if end is None else max(end, shift(first, timedelta(microseconds=1)))
        rows = await bars.read(symbol, chosen, begin, until, as_of=known, session=session)
        calendar = calendars[symbol]
        # not bars.gaps(), which reads every series of the provider to find outages
        missing = partial(find_gaps, rows["timestamp"], chosen, calendar, begin, until)
        gaps = (await database.in_thread(missing)).select("start", "end")
        last = rows["timestamp"].max() if until is None else until
        sessions = None
        if calendar.name != "24/7" and isinstance(last, datetime):
            sessions = calendar.segments(begin, shift(last, length(chosen)))
        found[symbol] = Market(chosen, rows, gaps, sessions, (row["first"], row["last"]))
    return found


async def ends_of_runs(database: Database, ids: pl.Series, session: AsyncSession | None = None) -> dict[str, datetime]:
    """Return when each of some runs ended; running and unknown ones are omitted."""
    table = models.runs
    ends: dict[str, datetime] = {}
    if not database.has(table):
        return {}
    columns = [expression(database, table, name) for name in ("id", "stopped_at")]
    schema = pl.Schema({name: RUNS[name] for name in ("id", "stopped_at")})
    for part in ids.drop_nulls().unique().sort().to_frame().iter_slices(IN_LIST):
        few = sa.select(*columns).where(table.c.id.in_(part.to_series().to_list()))
        ends.update((await read(database, few, schema, session)).drop_nulls().iter_rows())
    return ends
