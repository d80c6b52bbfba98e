"""``store.orders``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from walle.fills import WriteReport
from walle.records import Order
from walle.reports import IngestReport
from walle.repositories import OrderRepository
from walle.repositories.common import Time
from walle.store.facade import Noun, mirrors

__all__ = ["Orders"]


class Orders(Noun[OrderRepository]):
    """The orders of a store."""

    _name = "orders"
    _kind = OrderRepository

    @mirrors(OrderRepository.save)
    def save(self, orders: Order | Iterable[Order] | pl.DataFrame) -> WriteReport:
        return self._call(OrderRepository.save, orders)

    @mirrors(OrderRepository.ingest)
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
            OrderRepository.ingest,
            source,
            run_id=run_id,
            columns=columns,
            timezone=timezone,
            floats=floats,
            on_invalid=on_invalid,
        )

    @mirrors(OrderRepository.get)
    def get(self, order_id: str) -> Order:
        return self._call(OrderRepository.get, order_id)

    @mirrors(OrderRepository.get_by_client_order_id)
    def get_by_client_order_id(self, client_order_id: str) -> Order:
        return self._call(OrderRepository.get_by_client_order_id, client_order_id)

    @mirrors(OrderRepository.read)
    def read(
        self,
        run_id: str | None = None,
        *,
        symbol: str | None = None,
        status: str | Iterable[str] | None = None,
        start: Time = None,
        end: Time = None,
    ) -> pl.DataFrame:
        return self._call(OrderRepository.read, run_id, symbol=symbol, status=status, start=start, end=end)
