"""Rules about times: of fills, of their orders, and of markets."""

from __future__ import annotations

import polars as pl

from walle.fills.audit import about, rule, time_text
from walle.fills.evidence import Evidence

__all__ = ["RULES"]

TERMINAL = ("filled", "cancelled", "rejected", "expired")


@rule("before_submission")
def _before_submission(evidence: Evidence) -> pl.DataFrame:
    """The fill is earlier than the submission of its order, else than its creation (``time_tolerance``)."""
    begun = evidence.known.with_columns(begun=pl.coalesce("order_submitted_at", "order_created_at"))
    found = begun.filter(pl.col("begun") - pl.col("filled_at") > evidence.thresholds.time_tolerance)
    sentence = "fill {} is of {}, but order {} was submitted at {}."
    words = pl.format(sentence, "id", time_text("filled_at"), "order_id", time_text("begun"))
    return about(found, words, time_text("filled_at"), time_text("begun"))


@rule("after_end")
def _after_end(evidence: Evidence) -> pl.DataFrame:
    """The fill is later than its order's cancellation, or its time of completion (``time_tolerance``)."""
    ended = pl.when(pl.col("order_status") == "filled").then("order_filled_at").otherwise("order_cancelled_at")
    over = evidence.known.filter(pl.col("order_status").is_in(TERMINAL)).with_columns(ended=ended)
    found = over.filter(pl.col("filled_at") - pl.col("ended") > evidence.thresholds.time_tolerance)
    sentence = "fill {} is of {}, but order {} had ended ({}) at {}."
    words = pl.format(sentence, "id", time_text("filled_at"), "order_id", "order_status", time_text("ended"))
    return about(found, words, time_text("filled_at"), time_text("ended"))


@rule("market_closed")
def _market_closed(evidence: Evidence) -> pl.DataFrame:
    """The market was closed according to the calendar of the symbol (``session_tolerance``)."""
    found = evidence.barred.filter("closed")
    words = pl.format("fill {} is of {}, when {} was closed.", "id", time_text("filled_at"), "symbol")
    return about(found, words, time_text("filled_at"))


RULES = (
    _before_submission,
    _after_end,
    _market_closed,
)
