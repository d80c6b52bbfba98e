"""The currencies of prices and commissions, defined once for all sums and checks of money."""

from __future__ import annotations

import polars as pl

__all__ = ["fee_currency", "quote_of"]


def quote_of(symbol: pl.Expr) -> pl.Expr:
    """Return the currency of a symbol's prices: the part after its last slash, null without a slash."""
    return pl.when(symbol.str.contains("/", literal=True)).then(symbol.str.split("/").list.last())


def fee_currency() -> pl.Expr:
    """Return the currency of each fill's commission.

    It is the currency that was written with the commission. A commission without one is in the currency of its fill's
    prices, the part after the slash of the symbol, as in fills of the trading engine, which have no such column. If the
    symbol has no slash, the currency is unknown, and null. An unknown currency is never assumed to be that of other
    fills of the run; commissions in it are added up separately.

    Returns
    -------
    polars.Expr
        An expression over the columns commission_currency and symbol of :data:`walle.frames.FILLS`.
    """
    return pl.coalesce("commission_currency", quote_of(pl.col("symbol")))
