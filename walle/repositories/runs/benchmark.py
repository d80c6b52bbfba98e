"""The bars of a benchmark, read once for many runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.calendars import Calendar
from walle.calendars import calendar as find_calendar
from walle.database import Database
from walle.decimals import to_float
from walle.fills.market import Market
from walle.frames import INSTANT
from walle.repositories.bars.calendars import calendars_of
from walle.repositories.bars.index import BarIndex
from walle.repositories.bars.series import StoredSeries
from walle.repositories.common import check_name
from walle.repositories.fills.market_bars import markets_of
from walle.runs.benchmark import Benchmark
from walle.runs.marks import Curve
from walle.runs.sessions import common_periods, session_starts
from walle.timeframe import length
from walle.validation import shift

__all__ = ["Benchmarks"]

_BEFORE = timedelta(days=14)
"""How long a market may have been closed when a run begins."""


class _Valued(Protocol):
    equity: pl.DataFrame
    pairs: list[tuple[Calendar, str]]

    def shortest(self) -> str: ...
    def span(self) -> tuple[datetime, datetime]: ...


@dataclass(frozen=True, slots=True)
class _Series:
    market: Market
    bars: pl.DataFrame
    sessions: pl.DataFrame


class Benchmarks:
    """A benchmark for runs, at the timeframes of their own bars.

    Parameters
    ----------
    database : Database
    symbol : str, optional
        None: no run has a benchmark.
    returns : str
    periods : float, optional
    """

    def __init__(self, database: Database, symbol: str | None, returns: str, periods: float | None) -> None:
        self._database, self._returns, self._periods = database, returns, periods
        self._symbol = None if symbol is None else check_name(symbol, "benchmark")
        self._calendar = find_calendar()
        self._series: dict[str, _Series] = {}
        self._counted: dict[object, float] = {}

    async def read(self, runs: Sequence[_Valued], session: AsyncSession | None, known: datetime | None = None) -> None:
        """Read its bars around those of some runs.

        Raises
        ------
        UnknownSymbol
            When no bars of it are stored at the timeframe of a run.
        """
        if self._symbol is None:
            return
        stored = StoredSeries(self._database, BarIndex(self._database))
        groups: dict[str, list[_Valued]] = {}
        for held in runs:
            groups.setdefault(held.shortest(), []).append(held)
        if not groups:
            await stored.choose(self._symbol, None, session)
        self._calendar = (await calendars_of(self._database, [self._symbol], session))[self._symbol]
        for timeframe, group in groups.items():
            await stored.require([self._symbol], timeframe, session)
            times = pl.concat([pl.Series(dtype=INSTANT), *(held.equity["time"] for held in group)]).rename("time")
            first, last = times.min(), times.max()
            if not isinstance(first, datetime) or not isinstance(last, datetime):
                continue
            step = length(timeframe)
            asked = pl.DataFrame({"symbol": [self._symbol], "filled_at": [shift(first, -step)]})
            early = shift(first, -max(_BEFORE, 3 * step))
            markets = await markets_of(
                self._database, asked.cast({"filled_at": INSTANT}), timeframe, last, early, session, known=known
            )
            market = markets[self._symbol]
            self._series[timeframe] = await self._database.in_thread(partial(self._sessions, market, times))

    def of(self, held: _Valued, curve: Curve, unit: str) -> Benchmark | None:
        """Return the benchmark of a run, whose sessions are bars of ``unit``."""
        if self._symbol is None:
            return None
        timeframe = held.shortest()
        if timeframe not in self._series:
            nothing = {"time": INSTANT, "close": pl.Float64()}
            return Benchmark(symbol=self._symbol, bars=pl.DataFrame(schema=nothing))
        series, (first, last) = self._series[timeframe], held.span()
        mine = [calendar for calendar, _ in held.pairs]
        kind = (frozenset((calendar.name, id(calendar.own)) for calendar in mine), unit, first.year, last.year)
        if self._periods is None and kind not in self._counted:
            self._counted[kind] = common_periods(mine, self._calendar, unit, first, last)
        return Benchmark(
            symbol=self._symbol,
            bars=series.bars,
            sessions=series.sessions,
            start=_price(series.market, curve.began()),
            periods=self._counted[kind] if self._periods is None else float(self._periods),
        )

    def _sessions(self, market: Market, times: pl.Series) -> _Series:
        closes = market.bars["close"].cast(pl.Float64)
        ends = pl.DataFrame({"time": market.ends(), "close": closes})
        holes = pl.DataFrame({"time": market.gaps["end"], "close": [None] * market.gaps.height}, schema=ends.schema)
        bars = pl.concat([ends, holes]).sort("time")
        every = pl.concat([times, ends["time"]])
        return _Series(market, bars, session_starts([(self._calendar, market.timeframe)], every))


def _price(market: Market, time: datetime) -> float | None:
    """Return the last close before a time; where the bars begin with it, the open of the first one."""
    moment = pl.Series([time], dtype=INSTANT)
    close, stale = market.last_close(moment)
    if not stale[0]:
        return float(to_float(close.to_frame("close")).item())
    opens = market.bars.filter(pl.col("timestamp") == time)["open"]
    return float(opens[0]) if opens.len() and market.before(moment)[0] is None else None
