"""Which currency prices and commissions are in: one meaning, wherever money is added up or judged."""

from __future__ import annotations

import polars as pl

__all__ = ["fee_currency", "quote_of"]


def quote_of(symbol: pl.Expr) -> pl.Expr:
    """Return the currency of a symbol's prices: what follows its last slash, null without one."""
    return pl.when(symbol.str.contains("/", literal=True)).then(symbol.str.split("/").list.last())


def fee_currency() -> pl.Expr:
    """Return the currency of each fill's commission.

    It is the one that was written with the commission. A commission that names none is in the currency of its fill's
    own prices, as the trading engine's are, whose fills have no column for it: what follows the slash of the symbol.
    Where the symbol does not say that either, it is null: nobody knows. An unknown currency is never taken for that of
    other fills of the run which name one; what is unknown is added up by itself.

    Returns
    -------
    polars.Expr
        Over the columns commission_currency and symbol of :data:`walle.frames.FILLS`.
    """
    return pl.coalesce("commission_currency", quote_of(pl.col("symbol")))
