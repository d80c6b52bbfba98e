"""Rules about times: of fills, of their orders, and of markets."""

from __future__ import annotations

import polars as pl

from walle.fills.audit import about, about_order, rule, time_text
from walle.fills.evidence import Evidence
from walle.frames import INSTANT
from walle.validation import shift

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


@rule("created_after_submission")
def _created_after_submission(evidence: Evidence) -> pl.DataFrame:
    """An order was submitted before it was created (``time_tolerance``)."""
    early = pl.col("created_at") - pl.col("submitted_at") > evidence.thresholds.time_tolerance
    found = evidence.orders.filter(early).with_columns(last="submitted_at")
    sentence = "order {} was submitted at {}, but created at {}."
    words = pl.format(sentence, "id", time_text("submitted_at"), time_text("created_at"))
    return about_order(found, words, time_text("submitted_at"), time_text("created_at"))


@rule("in_future")
def _in_future(evidence: Evidence) -> pl.DataFrame:
    """A time of the fill, or of an order, is later than the audit (``clock_skew``)."""
    latest = pl.lit(shift(evidence.now, evidence.thresholds.clock_skew), INSTANT)
    fills = evidence.fills.filter(pl.col("filled_at") > latest)
    words = pl.format("fill {} is of {}, which is in the future.", "id", time_text("filled_at"))
    found = about(fills, words, time_text("filled_at"))
    times = pl.max_horizontal("created_at", "submitted_at", "filled_at", "cancelled_at")
    orders = evidence.orders.with_columns(last=times).filter(pl.col("last") > latest)
    words = pl.format("order {} has the time {}, which is in the future.", "id", time_text("last"))
    return pl.concat([found, about_order(orders, words, time_text("last"), pl.lit(None, pl.String))], how="diagonal")


_BEGUN = pl.coalesce("order_submitted_at", "order_created_at")


@rule("ioc_late", "warning")
def _ioc_late(evidence: Evidence) -> pl.DataFrame:
    """The fill of an immediate order (IOC, FOK) comes late, by more than ``max_ioc_delay`` and a bar."""
    steps = {symbol: max(market.step, evidence.thresholds.max_ioc_delay) for symbol, market in evidence.markets.items()}
    allowed = pl.DataFrame(
        {"symbol": list(steps), "allowed": list(steps.values())},
        schema={"symbol": pl.String(), "allowed": pl.Duration("us")},
    )
    quick = evidence.known.filter(pl.col("order_time_in_force").is_in(["ioc", "fok"])).with_columns(begun=_BEGUN)
    quick = quick.join(allowed, on="symbol", how="left", maintain_order="left")
    most = pl.col("allowed").fill_null(evidence.thresholds.max_ioc_delay)
    found = quick.filter(pl.col("filled_at") - pl.col("begun") > most)
    sentence = "fill {} is of {}, but order {} is {}, submitted at {}."
    words = pl.format(sentence, "id", time_text("filled_at"), "order_id", "order_time_in_force", time_text("begun"))
    return about(found, words, time_text("filled_at"), time_text("begun"))


@rule("day_late", "warning")
def _day_late(evidence: Evidence) -> pl.DataFrame:
    """The fill of a day order is later than the session in which its order was submitted, or the next one."""
    orders = evidence.known.filter(pl.col("order_time_in_force") == "day").with_columns(begun=_BEGUN)
    late = [orders.clear()]
    for part in orders.drop_nulls("symbol").partition_by("symbol", maintain_order=True):
        market = evidence.markets.get(part["symbol"][0])
        if market is not None:
            late.append(part.filter(market.after_day(part["begun"], part["filled_at"])))
    found = pl.concat(late)
    sentence = "fill {} is of {}, but order {} is for the day, submitted at {}."
    words = pl.format(sentence, "id", time_text("filled_at"), "order_id", time_text("begun"))
    return about(found, words, time_text("filled_at"), time_text("begun"))


@rule("expired_contract")
def _expired_contract(evidence: Evidence) -> pl.DataFrame:
    """The fill is later than the expiry of its instrument."""
    found = evidence.instrumented.filter(pl.col("filled_at") > pl.col("expires_at"))
    sentence = "fill {} is of {}, but {} expired at {}."
    words = pl.format(sentence, "id", time_text("filled_at"), "symbol", time_text("expires_at"))
    return about(found, words, time_text("filled_at"), time_text("expires_at"))


RULES = (
    _before_submission,
    _after_end,
    _market_closed,
    _created_after_submission,
    _in_future,
    _ioc_late,
    _day_late,
    _expired_contract,
)
