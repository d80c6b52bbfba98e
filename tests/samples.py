"""Small facts for tests."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from walle.envelope import Event
from walle.records import Fill, Order, Run

__all__ = ["START", "bars", "event", "fill", "order", "run"]

START = datetime(2025, 3, 1, tzinfo=UTC)


def bars(count: int = 5, *, start: datetime = START, minutes: int = 1, price: float = 100.0) -> pl.DataFrame:
    """One-minute bars whose close walks up by a tenth."""
    closes = [price + step / 10 for step in range(count)]
    return pl.DataFrame(
        {
            "timestamp": [start + timedelta(minutes=minutes * step) for step in range(count)],
            "open": [price] * count,
            "high": [close + 1 for close in closes],
            "low": [price - 1] * count,
            "close": closes,
            "volume": [float(step) for step in range(count)],
        },
        schema_overrides={"timestamp": pl.Datetime("us", "UTC")},
    )


def order(number: int = 1, **changes: Any) -> Order:
    """An accepted limit order."""
    base = Order(
        id=f"order-{number}",
        client_order_id=f"client-{number}",
        run_id="run-1",
        symbol="BTC/USD",
        side="buy",
        order_type="limit",
        qty=Decimal("2.5"),
        limit_price=Decimal("100.10"),
        status="accepted",
        created_at=START + timedelta(seconds=number),
    )
    return dataclasses.replace(base, **changes)


def fill(number: int = 1, **changes: Any) -> Fill:
    """A fill of order-1."""
    base = Fill(
        id=f"fill-{number}",
        order_id="order-1",
        run_id="run-1",
        symbol="BTC/USD",
        side="buy",
        price=Decimal("100.10"),
        quantity=Decimal("0.000000000000000001"),
        commission=Decimal("-0.25"),
        commission_currency="USD",
        liquidity="maker",
        filled_at=START + timedelta(seconds=number),
        exchange_fill_id=f"venue-{number}",
    )
    return dataclasses.replace(base, **changes)


def run(number: int = 1, **changes: Any) -> Run:
    """A pending backtest."""
    base = Run(
        id=f"run-{number}",
        strategy_id="sma",
        mode="backtest",
        symbols=("BTC/USD", "ETH/USD"),
        timeframe="1m",
        config={"fast": 5, "nested": {"list": [1, 2.5, "x", None, True]}},
        created_at=START + timedelta(seconds=number),
    )
    return dataclasses.replace(base, **changes)


def event(number: int = 1, **changes: Any) -> Event:
    """An order's event with every field set."""
    base = Event(
        type="orders.Placed",
        id=f"event-{number}",
        run_id="run-1",
        corr_id=f"corr-{number}",
        causation_id="cause",
        trace_id="trace",
        version=2,
        ts=START + timedelta(seconds=number),
        producer="engine",
        headers={"attempt": number},
        payload={"qty": "2.5", "nested": {"list": [1, 2.5, "x", None, True]}, "text": 'ü 漢字 😀 "quoted" \\ \n'},
    )
    return dataclasses.replace(base, **changes)
