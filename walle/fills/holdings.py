"""Cash flows that move no money but what is traded: coins that are transferred, shares with which an account opens."""

from __future__ import annotations

import polars as pl

from walle.frames import FILLS

__all__ = ["HELD", "as_fills", "with_holdings"]

HELD = pl.when("derivative").then("symbol").otherwise(pl.coalesce("base", "symbol"))
"""What a fill changes the holding of; over the columns of :func:`walle.instruments.own_fills`."""

_DERIVATIVES = ("future", "perpetual")


def with_holdings(flows: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    """Add to cash flows the symbol whose position they change.

    Parameters
    ----------
    flows : polars.DataFrame
        currency, symbol.
    facts : polars.DataFrame
        Columns of :data:`walle.instruments.FACTS`: of the symbols that a run traded.

    Returns
    -------
    polars.DataFrame
        The flows with ``holding`` (String): the one traded symbol of which their currency is the base, or the symbol
        itself; of several the one that the flow names. Null for money: a currency in which any symbol settles, and one
        that no symbol or several trade.
    """
    contract = pl.col("kind").is_in(_DERIVATIVES).fill_null(False)
    settles = facts["settle"].drop_nulls().implode()
    traded = facts.filter(~contract).select(holding="symbol", currency=pl.coalesce("base", "symbol"))
    traded = traded.filter(~pl.col("currency").is_in(settles))
    if flows.is_empty() or traded.is_empty():
        return flows.with_columns(holding=pl.lit(None, pl.String))
    only = traded.filter(pl.len().over("currency") == 1)
    named = flows.select("currency", holding="symbol").join(
        traded.with_columns(there=True), on=["currency", "holding"], how="left", maintain_order="left"
    )
    single = flows.select("currency").join(only, on="currency", how="left", maintain_order="left")["holding"]
    own = named.select(pl.when("there").then("holding")).to_series()
    return flows.with_columns(own.zip_with(own.is_not_null(), single).alias("holding"))


def as_fills(flows: pl.DataFrame) -> pl.DataFrame:
    """Return what cash flows moved of positions in the form of fills, whose price nobody knows.

    Parameters
    ----------
    flows : polars.DataFrame
        id, run_id, time, amount, holding.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`walle.frames.FILLS`, and ``unpriced`` (true); the price is 0, and the id that of the flow.
    """
    moved = flows.filter(pl.col("holding").is_not_null() & (pl.col("amount") != 0)).select(
        "id",
        "run_id",
        symbol="holding",
        side=pl.when(pl.col("amount") > 0).then(pl.lit("buy")).otherwise(pl.lit("sell")),
        price=pl.lit(0),
        quantity=pl.col("amount").abs(),
        filled_at="time",
        unpriced=pl.lit(True),
    )
    lacking = [pl.lit(None, kind).alias(name) for name, kind in FILLS.items() if name not in moved.columns]
    return moved.with_columns(lacking).select(*(pl.col(name).cast(kind) for name, kind in FILLS.items()), "unpriced")
