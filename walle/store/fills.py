"""``store.fills``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

import polars as pl

from walle.fills import Rule, WriteReport
from walle.fills.audit import Thresholds
from walle.fills.benchmarks import BENCHMARKS
from walle.records import Fill
from walle.reports import IngestReport
from walle.repositories import FillRepository
from walle.repositories.common import Time
from walle.store.facade import Noun, mirrors

__all__ = ["Fills"]


class Fills(Noun[FillRepository]):
    """The fills of a store."""

    _name = "fills"
    _kind = FillRepository

    @mirrors(FillRepository.append)
    def append(self, fills: Fill | Iterable[Fill] | pl.DataFrame) -> WriteReport:
        return self._call(FillRepository.append, fills)

    @mirrors(FillRepository.ingest)
    def ingest(
        self,
        source: object,
        *,
        run_id: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        timezone: str | None = None,
        floats: str = "refuse",
        on_invalid: str = "raise",
    ) -> IngestReport:
        return self._call(
            FillRepository.ingest,
            source,
            run_id=run_id,
            columns=columns,
            timezone=timezone,
            floats=floats,
            on_invalid=on_invalid,
        )

    @mirrors(FillRepository.get)
    def get(self, fill_id: str) -> Fill | None:
        return self._call(FillRepository.get, fill_id)

    @mirrors(FillRepository.read)
    def read(
        self,
        run_id: str | None = None,
        *,
        order_id: str | None = None,
        symbol: str | None = None,
        start: Time = None,
        end: Time = None,
    ) -> pl.DataFrame:
        return self._call(FillRepository.read, run_id, order_id=order_id, symbol=symbol, start=start, end=end)

    @mirrors(FillRepository.trades)
    def trades(
        self,
        run_id: str | None = None,
        *,
        method: str = "fifo",
        symbol: str | None = None,
        timeframe: str | None = None,
    ) -> pl.DataFrame:
        return self._call(FillRepository.trades, run_id, method=method, symbol=symbol, timeframe=timeframe)

    @mirrors(FillRepository.audit)
    def audit(
        self,
        run_id: str | None = None,
        *,
        rules: Iterable[str] | None = None,
        extra_rules: Iterable[Rule] = (),
        timeframe: str | None = None,
        price_tolerance: Decimal = Thresholds.price_tolerance,
        max_volume_share: Decimal = Thresholds.max_volume_share,
        max_commission_rate: Decimal = Thresholds.max_commission_rate,
    ) -> pl.DataFrame:
        return self._call(
            FillRepository.audit,
            run_id,
            rules=rules,
            extra_rules=extra_rules,
            timeframe=timeframe,
            price_tolerance=price_tolerance,
            max_volume_share=max_volume_share,
            max_commission_rate=max_commission_rate,
        )

    @mirrors(FillRepository.costs)
    def costs(
        self,
        run_id: str | None = None,
        *,
        by: str = "fill",
        benchmarks: str | Sequence[str] = BENCHMARKS,
        timeframe: str | None = None,
    ) -> pl.DataFrame:
        return self._call(FillRepository.costs, run_id, by=by, benchmarks=benchmarks, timeframe=timeframe)

    @mirrors(FillRepository.shortfall)
    def shortfall(self, run_id: str | None = None, *, by: str = "order", timeframe: str | None = None) -> pl.DataFrame:
        return self._call(FillRepository.shortfall, run_id, by=by, timeframe=timeframe)
