"""``store.fills``."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from walle.fills import WriteReport
from walle.records import Fill
from walle.repositories import FillRepository
from walle.repositories.common import Time
from walle.store.noun import Noun, mirrors

__all__ = ["Fills"]


class Fills(Noun[FillRepository]):
    """The fills of a store."""

    _name = "fills"
    _kind = FillRepository

    @mirrors(FillRepository.append)
    def append(self, fills: Fill | Iterable[Fill] | pl.DataFrame) -> WriteReport:
        return self._call(FillRepository.append, fills)

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
