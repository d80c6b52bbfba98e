"""Rules about facts that are there twice."""

from __future__ import annotations

import polars as pl

from walle.fills.audit import about, rule
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


RULES = (_duplicate_venue_id,)
