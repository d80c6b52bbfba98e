"""Facts in bulk, the same in every process that asks for the same ones."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

import walle

__all__ = ["SYMBOL", "big_bars", "contents", "counted"]

SYMBOL = "BTC/USD"
_MINUTE = 60_000_000


def big_bars(count: int, *, first: int = 0, price: float = 100.0) -> pl.DataFrame:
    """Minutes ``first`` to ``first + count`` of a series from 2000 on; the same minute and price give the same bar."""
    minute = pl.int_range(first, first + count, eager=True)
    close = price + (minute % 1000) / 8
    origin = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp() * 1_000_000)  # millions of minutes lie in the past
    return pl.DataFrame(
        {
            "timestamp": (origin + minute * _MINUTE).cast(pl.Datetime("us", "UTC")),
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": (minute % 7).cast(pl.Float64),
        }
    )


def counted(store: walle.Store, symbol: str = SYMBOL) -> int:
    """Count the bars of a symbol as a new reader sees them."""
    return store.bars.count(symbol, "1m")


def contents(store: walle.Store, symbol: str = SYMBOL) -> pl.DataFrame:
    """Read the bars of a symbol in the columns of :func:`big_bars`."""
    return store.bars.read(symbol, "1m")
