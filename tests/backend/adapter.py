"""The names that the trading engine calls, over WallE's public API: what an engine needs to move to WallE."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import walle

__all__ = ["BarStore", "Consumer", "EventBus", "FillStore", "OffsetStore", "ResultStore", "RunStore"]

Callback = Callable[[walle.Event], Awaitable[object] | object]
OffsetStore = walle.OffsetStore
Consumer = walle.PullConsumer
MOMENT = timedelta(microseconds=1)


class EventBus:
    """Events of this process, by callbacks."""

    def __init__(self, log: walle.EventLog) -> None:
        self._log = log

    async def append(self, event: walle.Event) -> int:
        return await self._log.append(event)

    async def subscribe(self, callback: Callback) -> int:
        return await self._log.on(callback)

    async def subscribe_filtered(self, types: Sequence[str], callback: Callback) -> int:
        return await self._log.on(callback, types=types)

    async def unsubscribe_by_id(self, subscription: int) -> bool:
        return self._log.off(subscription)


class BarStore:
    """Bars by symbol, timeframe and opening time."""

    def __init__(self, database: walle.Database) -> None:
        self._bars = walle.BarRepository(database)

    async def save_bars(self, bars: Sequence[walle.Bar]) -> int:
        """Return how many are new; one that is stored with other values stays as it is."""
        return (await self._bars.ingest(bars)).inserted if bars else 0

    async def get_bars(self, symbol: str, timeframe: str, start: datetime, end: datetime) -> list[walle.Bar]:
        """Return the bars that open from start to end, both included; none for an unknown symbol."""
        try:
            frame = await self._bars.read(symbol, timeframe, start, end + MOMENT)
        except walle.UnknownSymbol:
            return []
        return [walle.Bar(symbol=symbol, timeframe=timeframe, **row) for row in frame.iter_rows(named=True)]

    async def get_bar_count(self, symbol: str, timeframe: str) -> int:
        return await self._bars.count(symbol, timeframe)

    async def get_latest_bar(self, symbol: str, timeframe: str) -> walle.Bar | None:
        try:
            return await self._bars.latest(symbol, timeframe)
        except walle.UnknownSymbol:
            return None


class RunStore:
    """Runs by id."""

    def __init__(self, database: walle.Database) -> None:
        self._runs = walle.RunRepository(database)

    async def save(self, run: walle.Run) -> walle.Run:
        """Insert a run, or update the stored one of that id, which has to allow the new status."""
        stored = await self.get(run.id)
        return await self._runs.save(dataclasses.replace(run, revision=stored.revision if stored else 0))

    async def get(self, run_id: str) -> walle.Run | None:
        try:
            return await self._runs.get(run_id)
        except walle.UnknownRun:
            return None

    async def list(self, status: str | None = None) -> builtins.list[walle.Run]:
        return await self._runs.list(status=status)


class FillStore:
    """Fills, appended once and for ever."""

    def __init__(self, database: walle.Database) -> None:
        self._fills = walle.FillRepository(database)

    async def save(self, fill: walle.Fill) -> None:
        await self._fills.append(fill)

    async def list_by_order(self, order_id: str) -> list[walle.Fill]:
        return await self._fills.list(order_id=order_id)

    async def list_by_run_id(self, run_id: str) -> list[walle.Fill]:
        """Return the fills of a run, also of one of which nothing is known."""
        try:
            return await self._fills.list(run_id)
        except walle.UnknownRun:
            return []


class ResultStore:
    """Results of backtests by run."""

    def __init__(self, database: walle.Database) -> None:
        self._results = walle.BacktestResultRepository(database)

    async def save(self, result: walle.BacktestResult) -> None:
        await self._results.save(result)

    async def get_by_run_id(self, run_id: str) -> walle.BacktestResult | None:
        return await self._results.get(run_id)
