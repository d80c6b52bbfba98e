"""The bars of many runs, each series read once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.bars.coverage import find_gaps
from walle.calendars import Calendar
from walle.database import Database
from walle.fills.market import Market, Markets
from walle.records import Run
from walle.repositories.bars.calendars import calendars_of
from walle.repositories.fills.market_bars import markets_of
from walle.validation import shift

__all__ = ["markets_of_runs"]


class _Trading(Protocol):
    run: Run | None
    fills: pl.DataFrame
    markets: Markets
    whole: Markets

    @property
    def since(self) -> datetime | None: ...


async def markets_of_runs(
    database: Database,
    runs: Sequence[_Trading],
    timeframe: str | None,
    session: AsyncSession | None,
    known: datetime | None = None,
) -> None:
    """Give each run the bars of its fills' symbols, from its start, first cash flow or their first fill to its end.

    Parameters
    ----------
    database : Database
    runs : sequence
        Each with run and fills; markets and whole, of which these are parts, are set.
    timeframe : str, optional
        None: that of the run, where bars of it are stored, else the shortest that is stored of each symbol.
    session : AsyncSession, optional
    known : datetime, optional
        As for :func:`walle.repositories.fills.market_bars.markets_of`.
    """
    groups: dict[str | None, list[_Trading]] = {}
    for held in runs:
        groups.setdefault(None if held.run is None else held.run.timeframe, []).append(held)
    for preferred, group in groups.items():
        fills = pl.concat(held.fills.select("symbol", "filled_at") for held in group)
        ends = [None if held.run is None else held.run.stopped_at for held in group if held.fills.height]
        starts = [held.since for held in group if held.since is not None]
        latest = None if None in ends else max((end for end in ends if end is not None), default=None)
        earliest = min(starts, default=None)
        whole = await markets_of(
            database, fills, timeframe, latest, earliest, session, preferred=preferred, known=known
        )
        calendars = await calendars_of(database, whole, session)
        await database.in_thread(partial(_give, group, whole, calendars))


def _give(runs: Sequence[_Trading], whole: Markets, calendars: dict[str, Calendar]) -> None:
    made: dict[tuple[str, datetime, datetime | None], Market] = {}
    for held in runs:
        start, end = held.since, None if held.run is None else held.run.stopped_at
        firsts = held.fills.drop_nulls("symbol").group_by("symbol").agg(pl.col("filled_at").min()).sort("symbol")
        mine = {}
        for symbol, first in firsts.iter_rows():
            if symbol not in whole:
                continue
            begin = min(shift(first, -whole[symbol].step), start or first)
            until = None if end is None else max(end, shift(first, timedelta(microseconds=1)))
            key = (symbol, begin, until)
            if key not in made:
                made[key] = _cut(whole[symbol], calendars[symbol], begin, until)
            mine[symbol] = made[key]
        held.markets, held.whole = mine, whole


def _cut(market: Market, calendar: Calendar, begin: datetime, until: datetime | None) -> Market:
    """Return a market as it would be if only the bars that open in a range had been read."""
    opens, starts, ends = market.bars["timestamp"], market.gaps["start"], market.gaps["end"]
    first = int(opens.search_sorted(begin, "left"))
    stop = opens.len() if until is None else int(opens.search_sorted(until, "left"))
    bars = market.bars.slice(first, max(stop - first, 0))
    over = (starts < begin) & (ends > begin)
    if until is not None:
        over = over | ((starts < until) & (ends > until))
    if over.any():
        found = find_gaps(bars["timestamp"], market.timeframe, calendar, begin, until)
        gaps = found.select("start", "end")
    else:
        inside = starts >= begin
        gaps = market.gaps.filter(inside if until is None else inside & (starts < until))
    return Market(market.timeframe, bars, gaps, market.sessions, market.stored)
