"""Rules about facts that are there twice."""

from __future__ import annotations

import polars as pl

from walle.fills.audit import about, about_order, price_text, quantity_text, rule
from walle.fills.evidence import Evidence
from walle.frames import FILL_ORDER

__all__ = ["RULES"]


@rule("duplicate_venue_id")
def _duplicate_venue_id(evidence: Evidence) -> pl.DataFrame:
    """Another fill of the same run and symbol has the same execution id from the venue."""
    key = ["run_id", "symbol", "exchange_fill_id"]
    named = evidence.fills.drop_nulls("exchange_fill_id")
    named = named.filter(pl.col("exchange_fill_id").is_duplicated()).sort(*FILL_ORDER)
    first = pl.col("id").first().over(key)
    found = named.with_columns(first=first).filter(pl.col("id") != pl.col("first"))
    words = pl.format("fill {} has the execution id {} of fill {}.", "id", "exchange_fill_id", "first")
    return about(found, words, pl.col("exchange_fill_id"))


@rule("duplicate_order_id")
def _duplicate_order_id(evidence: Evidence) -> pl.DataFrame:
    """Another order of the same run and symbol has the same id from the venue."""
    named = evidence.orders.drop_nulls("exchange_order_id")
    named = named.filter(pl.col("exchange_order_id").is_duplicated()).sort("created_at", "id")
    first = pl.col("id").first().over("run_id", "symbol", "exchange_order_id")
    found = named.with_columns(first=first, last="created_at").filter(pl.col("id") != pl.col("first"))
    words = pl.format("order {} has the exchange's id {} of order {}.", "id", "exchange_order_id", "first")
    return about_order(found, words, pl.col("exchange_order_id"), pl.lit(None, pl.String))


_EXECUTION = ("symbol", "filled_at", "price", "quantity")


@rule("same_execution", "warning")
def _same_execution(evidence: Evidence) -> pl.DataFrame:
    """Another fill of the same order, or account, has the same time, side, price and quantity."""
    alike = evidence.coinciding
    parts = []
    for owner, among in (("order_id", alike), ("account", alike.drop_nulls("account"))):
        key = [owner, "side", *_EXECUTION]
        parts.append(
            among.with_columns(
                first=pl.col("id").first().over(key),
                venue=pl.col("exchange_fill_id").first().over(key),
                run=pl.col("run_id").first().over(key),
            )
        )
    both = pl.concat(parts).filter(pl.col("id") != pl.col("first"))
    told = pl.col("exchange_fill_id")  # one id in one run is said by duplicate_venue_id, two ids are two executions
    again = (told == pl.col("venue")) & pl.col("run_id").ne_missing(pl.col("run"))
    found = both.filter((told == pl.col("venue")).is_null() | again).unique("id", keep="first", maintain_order=True)
    words = pl.format("fill {} is the same as fill {}: {} {} at {}.", "id", "first", "side", quantity_text, price_text)
    return about(found, words, pl.col("id"), pl.col("first"))


@rule("self_trade", "warning")
def _self_trade(evidence: Evidence) -> pl.DataFrame:
    """A fill of the opposite side in the same account, or run, has the same time, price and quantity."""
    alike = evidence.coinciding.with_columns(owner=pl.coalesce("account", "run_id"))
    key = ["owner", *_EXECUTION]
    sides = {side: pl.col("id").filter(pl.col("side") == side).first().over(key) for side in ("buy", "sell")}
    kinds = pl.col("liquidity").drop_nulls()
    # who trades with himself is maker and taker
    possible = ~((kinds.count() == pl.len()) & (kinds.n_unique() == 1)).over(key)
    found = alike.with_columns(**sides).filter(possible, pl.col("side") == "sell").drop_nulls(["buy", "owner"])
    sentence = "fill {} sells what fill {} buys: {} at {}, at the same time."
    words = pl.format(sentence, "id", "buy", quantity_text, price_text)
    return about(found, words, pl.col("id"), pl.col("buy"))


RULES = (
    _duplicate_venue_id,
    _duplicate_order_id,
    _same_execution,
    _self_trade,
)
