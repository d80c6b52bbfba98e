"""Facts in bulk, the same in every process that asks for the same ones."""

from __future__ import annotations

import polars as pl

import walle
from tests.samples import START

__all__ = ["SYMBOL", "big_bars", "contents", "counted"]

SYMBOL = "BTC/USD"
_MINUTE = 60_000_000


def big_bars(count: int, *, first: int = 0, price: float = 100.0) -> pl.DataFrame:
    """Minutes ``first`` to ``first + count`` of an endless series; the same minute and price give the same bar."""
    minute = pl.int_range(first, first + count, eager=True)
    close = price + (minute % 1000) / 8
    origin = int(START.timestamp() * 1_000_000)
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
