"""``store.runs``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import overload

import polars as pl

from walle.fills import WriteReport
from walle.records import BacktestResult, Run
from walle.repositories import RunRepository
from walle.repositories.common import Time
from walle.repositories.runs.repository import LEASE
from walle.runs import Results, RunReport
from walle.store.facade import Noun, mirrors

__all__ = ["Runs"]


class Runs(Noun[RunRepository]):
    """The runs of a store."""

    _name = "runs"
    _kind = RunRepository

    @overload
    def save(self, run: Run) -> Run: ...

    @overload
    def save(self, run: Iterable[Run] | pl.DataFrame) -> WriteReport: ...

    @mirrors(RunRepository.save)
    def save(self, run: Run | Iterable[Run] | pl.DataFrame) -> Run | WriteReport:
        return self._call(RunRepository.save, run)

    @mirrors(RunRepository.ingest)
    def ingest(
        self,
        run: Run | Results,
        orders: object = None,
        fills: object = None,
        *,
        timezone: str | None = None,
        floats: str = "refuse",
        on_invalid: str = "raise",
    ) -> RunReport:
        return self._call(
            RunRepository.ingest, run, orders, fills, timezone=timezone, floats=floats, on_invalid=on_invalid
        )

    @mirrors(RunRepository.get)
    def get(self, run_id: str) -> Run:
        return self._call(RunRepository.get, run_id)

    @mirrors(RunRepository.read)
    def read(
        self,
        *,
        status: str | Iterable[str] | None = None,
        mode: str | Iterable[str] | None = None,
        strategy_id: str | None = None,
        start: Time = None,
        end: Time = None,
    ) -> pl.DataFrame:
        return self._call(RunRepository.read, status=status, mode=mode, strategy_id=strategy_id, start=start, end=end)

    @mirrors(RunRepository.history)
    def history(self, run_id: str) -> pl.DataFrame:
        return self._call(RunRepository.history, run_id)

    @mirrors(RunRepository.heartbeat)
    def heartbeat(self, run_id: str) -> None:
        return self._call(RunRepository.heartbeat, run_id)

    @mirrors(RunRepository.recover)
    def recover(self, lease: timedelta = LEASE) -> list[Run]:
        return self._call(RunRepository.recover, lease)

    @mirrors(RunRepository.sweep)
    def sweep(self, lease: timedelta = LEASE) -> list[Run]:
        return self._call(RunRepository.sweep, lease)

    @mirrors(RunRepository.save_result)
    def save_result(self, result: BacktestResult) -> BacktestResult:
        return self._call(RunRepository.save_result, result)

    @mirrors(RunRepository.result)
    def result(self, run_id: str) -> BacktestResult | None:
        return self._call(RunRepository.result, run_id)

    @mirrors(RunRepository.results)
    def results(self) -> pl.DataFrame:
        return self._call(RunRepository.results)

    @mirrors(RunRepository.equity)
    def equity(
        self,
        run_id: str,
        *,
        symbol: str | None = None,
        timeframe: str | None = None,
        starting_cash: Decimal | int | None = None,
    ) -> pl.DataFrame:
        return self._call(RunRepository.equity, run_id, symbol=symbol, timeframe=timeframe, starting_cash=starting_cash)

    @mirrors(RunRepository.metrics)
    def metrics(
        self,
        run_id: str,
        *,
        symbol: str | None = None,
        method: str = "fifo",
        timeframe: str | None = None,
        starting_cash: Decimal | int | None = None,
        returns: str = "day",
        periods: float | None = None,
        risk_free: float = 0.0,
    ) -> pl.DataFrame:
        return self._call(
            RunRepository.metrics,
            run_id,
            symbol=symbol,
            method=method,
            timeframe=timeframe,
            starting_cash=starting_cash,
            returns=returns,
            periods=periods,
            risk_free=risk_free,
        )
