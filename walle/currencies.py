"""The currencies of prices and commissions, as symbols say them."""

from __future__ import annotations

import polars as pl

__all__ = ["fee_currency", "quote_of"]


def quote_of(symbol: pl.Expr) -> pl.Expr:
    """Return the currency of a symbol's prices, null without a slash.

    It is the part after the last slash, up to the colon before which ccxt writes the settlement currency of a contract:
    USD for ``BTC/USD`` and for ``BTC/USD:BTC``.
    """
    return symbol.str.extract(r"/([^/:]*)(?::[^/]*)?$").replace("", None)


def fee_currency() -> pl.Expr:
    """Return the currency of each fill's commission.

    It is the currency that was written with the commission. A commission without one is in the currency in which its
    symbol settles: that after the colon (``BTC/USD:BTC``), else that of its prices, the part after the slash, as in
    fills of the trading engine, which have no such column. If the symbol has no slash, the currency is unknown, and
    null. An unknown currency is never assumed to be that of other fills of the run; commissions in it are added up
    separately. Where an instrument is stored, trades, equity and the ledger take its settlement currency
    (:func:`walle.instruments.own_fills`).

    Returns
    -------
    polars.Expr
        An expression over the columns commission_currency and symbol of :data:`walle.frames.FILLS`.
    """
    settled = pl.col("symbol").str.extract(r"/[^/:]+:([^-:/]+)[^/]*$")
    return pl.coalesce("commission_currency", settled, quote_of(pl.col("symbol")))
