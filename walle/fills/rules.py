"""The rules of the audit, which check fills against their orders, bars and time, and check commissions."""

from __future__ import annotations

import polars as pl

from walle.currencies import fee_currency, quote_of
from walle.decimals import trimmed_text
from walle.exact import Exact
from walle.fills.audit import Evidence, Rule, about, about_order, rule
from walle.frames import FILL_ORDER

__all__ = ["RULES"]

_TERMINAL = ("filled", "cancelled", "rejected", "expired")
_price, _quantity = trimmed_text(pl.col("price")), trimmed_text(pl.col("quantity"))


@rule("unknown_order")
def _unknown_order(evidence: Evidence) -> pl.DataFrame:
    """The order of the fill is not stored."""
    found = evidence.fills.join(evidence.orders.select("id"), left_on="order_id", right_on="id", how="anti")
    return about(found, pl.format("fill {} is of order {}, which is not stored.", "id", "order_id"))


@rule("overfilled")
def _overfilled(evidence: Evidence) -> pl.DataFrame:
    """The fills of an order sum to more than its quantity."""
    found = evidence.sums.filter(pl.col("filled") > pl.col("qty"))
    sentence = pl.format(
        "order {} is for {}, but its fills sum to {}.",
        "id",
        trimmed_text(pl.col("qty")),
        trimmed_text(pl.col("filled")),
    )
    return about_order(found, sentence, pl.col("filled"), pl.col("qty"))


@rule("quantity_differs")
def _quantity_differs(evidence: Evidence) -> pl.DataFrame:
    """The fills of an order do not exceed its quantity, but do not sum to its filled_qty."""
    found = evidence.sums.filter(pl.col("filled") != pl.col("filled_qty"), pl.col("filled") <= pl.col("qty"))
    sentence = "order {} says that {} are filled, but its fills sum to {}."
    words = pl.format(sentence, "id", trimmed_text(pl.col("filled_qty")), trimmed_text(pl.col("filled")))
    return about_order(found, words, pl.col("filled"), pl.col("filled_qty"))


@rule("fills_missing")
def _fills_missing(evidence: Evidence) -> pl.DataFrame:
    """An order has a filled quantity, but no fill at all."""
    bare = evidence.orders.join(evidence.fills.select("order_id"), left_on="id", right_on="order_id", how="anti")
    found = bare.filter(pl.col("filled_qty") > 0).with_columns(last=pl.coalesce("filled_at", "created_at"))
    words = pl.format("order {} says that {} are filled, but has no fill.", "id", trimmed_text(pl.col("filled_qty")))
    return about_order(found, words, pl.lit("0"), pl.col("filled_qty"))


@rule("incomplete")
def _incomplete(evidence: Evidence) -> pl.DataFrame:
    """An order has the status filled, but its fills do not reach its quantity."""
    found = evidence.sums.filter(pl.col("status") == "filled", pl.col("filled") < pl.col("qty"))
    sentence = "order {} is said to be filled, but only {} of {} are."
    words = pl.format(sentence, "id", trimmed_text(pl.col("filled")), trimmed_text(pl.col("qty")))
    return about_order(found, words, pl.col("filled"), pl.col("qty"))


@rule("average_differs")
def _average_differs(evidence: Evidence) -> pl.DataFrame:
    """The average price of an order is not that of its fills."""
    priced = evidence.sums.drop_nulls("filled_avg_price")
    off = abs(Exact.of(priced["average"]) - Exact.of(priced["filled_avg_price"]))
    found = priced.filter(off.compare(evidence.thresholds.price_tolerance) > 0)
    sentence = "order {} says that it was filled at {} on average, but its fills were at {}."
    words = pl.format(sentence, "id", trimmed_text(pl.col("filled_avg_price")), trimmed_text(pl.col("average")))
    return about_order(found, words, pl.col("average"), pl.col("filled_avg_price"))


@rule("side_differs")
def _side_differs(evidence: Evidence) -> pl.DataFrame:
    """The fill is on the opposite side of its order."""
    found = evidence.known.filter(pl.col("side") != pl.col("order_side"))
    words = pl.format("fill {} is a {}, but order {} is a {}.", "id", "side", "order_id", "order_side")
    return about(found, words, pl.col("side"), pl.col("order_side"))


@rule("symbol_differs")
def _symbol_differs(evidence: Evidence) -> pl.DataFrame:
    """The fill has a different symbol from its order."""
    found = evidence.known.filter(pl.col("symbol") != pl.col("order_symbol"))
    words = pl.format("fill {} is of {}, but order {} is of {}.", "id", "symbol", "order_id", "order_symbol")
    return about(found, words, pl.col("symbol"), pl.col("order_symbol"))


@rule("run_differs")
def _run_differs(evidence: Evidence) -> pl.DataFrame:
    """The fill belongs to a different run from its order."""
    found = evidence.known.filter(pl.col("run_id") != pl.col("order_run_id"))
    words = pl.format("fill {} is of run {}, but order {} is of run {}.", "id", "run_id", "order_id", "order_run_id")
    return about(found, words, pl.col("run_id"), pl.col("order_run_id"))


def _time(name: str) -> pl.Expr:
    return pl.col(name).dt.strftime("%Y-%m-%d %H:%M:%S%.6f UTC")


@rule("before_submission")
def _before_submission(evidence: Evidence) -> pl.DataFrame:
    """The fill is earlier than the submission of its order (or its creation, where no submission is recorded)."""
    begun = evidence.known.with_columns(begun=pl.coalesce("order_submitted_at", "order_created_at"))
    found = begun.filter(pl.col("filled_at") < pl.col("begun"))
    sentence = "fill {} is of {}, but order {} was submitted at {}."
    words = pl.format(sentence, "id", _time("filled_at"), "order_id", _time("begun"))
    return about(found, words, _time("filled_at"), _time("begun"))


@rule("after_end")
def _after_end(evidence: Evidence) -> pl.DataFrame:
    """The fill is later than the end of its order: its cancellation, or its recorded time of completion."""
    ended = pl.when(pl.col("order_status") == "filled").then("order_filled_at").otherwise("order_cancelled_at")
    over = evidence.known.filter(pl.col("order_status").is_in(_TERMINAL)).with_columns(ended=ended)
    found = over.filter(pl.col("filled_at") > pl.col("ended"))
    sentence = "fill {} is of {}, but order {} had ended ({}) at {}."
    words = pl.format(sentence, "id", _time("filled_at"), "order_id", "order_status", _time("ended"))
    return about(found, words, _time("filled_at"), _time("ended"))


@rule("duplicate_venue_id")
def _duplicate_venue_id(evidence: Evidence) -> pl.DataFrame:
    """Another fill of the same run and symbol has the same execution id from the venue."""
    named = evidence.fills.drop_nulls("exchange_fill_id").sort(*FILL_ORDER)
    key = ["run_id", "symbol", "exchange_fill_id"]
    first = pl.col("id").first().over(key)
    found = named.with_columns(first=first).filter(pl.col("id") != pl.col("first"))
    words = pl.format("fill {} has the execution id {} of fill {}.", "id", "exchange_fill_id", "first")
    return about(found, words, pl.col("exchange_fill_id"))


@rule("limit_violated")
def _limit_violated(evidence: Evidence) -> pl.DataFrame:
    """The fill is a purchase above the limit of its order, or a sale below it."""
    limited = evidence.known.filter(pl.col("order_order_type").is_in(["limit", "stop_limit"]))
    price, limit = pl.col("price"), pl.col("order_limit_price")
    beyond = pl.when(pl.col("side") == "buy").then(price > limit).otherwise(price < limit)
    words = pl.format("fill {} is a {} at {}, beyond the limit of {}.", "id", "side", _price, trimmed_text(limit))
    return about(limited.filter(beyond), words, price, limit)


@rule("outside_bar")
def _outside_bar(evidence: Evidence) -> pl.DataFrame:
    """The price is above the high or below the low of the bar in which the fill happened."""
    price, low, high = pl.col("price"), pl.col("low"), pl.col("high")
    found = evidence.barred.filter((price > high) | (price < low))
    sentence = "fill {} is at {}, but its bar reaches from {} to {}."
    words = pl.format(sentence, "id", _price, trimmed_text(low), trimmed_text(high))
    return about(found, words, price, pl.when(price > high).then(high).otherwise(low))


@rule("in_hole", "warning")
def _in_hole(evidence: Evidence) -> pl.DataFrame:
    """The bar in which the fill happened is missing."""
    found = evidence.barred.filter(pl.col("gap") & pl.col("covered"))
    words = pl.format("fill {} is of {}, where the bars have a hole.", "id", _time("filled_at"))
    return about(found, words, _time("filled_at"))


@rule("market_closed")
def _market_closed(evidence: Evidence) -> pl.DataFrame:
    """The market was closed according to the calendar of the symbol."""
    found = evidence.barred.filter(~pl.col("is_open"))
    words = pl.format("fill {} is of {}, when {} was closed.", "id", _time("filled_at"), "symbol")
    return about(found, words, _time("filled_at"))


@rule("large_for_bar", "warning")
def _large_for_bar(evidence: Evidence) -> pl.DataFrame:
    """The quantity exceeds a share of the volume of its bar (``max_volume_share``)."""
    barred, share = evidence.barred.drop_nulls("volume"), evidence.thresholds.max_volume_share
    most = Exact.of(barred["volume"]) * share
    found = barred.filter(Exact.of(barred["quantity"]).compare(most) > 0)
    words = pl.format(
        "fill {} is of {}, but its bar has a volume of {}.", "id", _quantity, trimmed_text(pl.col("volume"))
    )
    return about(found, words, pl.col("quantity"), pl.col("volume"))


@rule("commission_missing", "warning")
def _commission_missing(evidence: Evidence) -> pl.DataFrame:
    """No commission is recorded, or its currency is known neither from the fill nor from its symbol."""
    paid = pl.col("commission")
    found = evidence.fills.filter(paid.is_null() | ((paid != 0) & fee_currency().is_null()))
    lacks = pl.when(paid.is_null()).then(pl.lit("commission")).otherwise(pl.lit("currency of its commission"))
    return about(found, pl.format("fill {} has no {}.", "id", lacks))


@rule("commission_implausible", "warning")
def _commission_implausible(evidence: Evidence) -> pl.DataFrame:
    """The commission, or rebate, exceeds a share of the notional (``max_commission_rate``)."""
    same = (fee_currency() == quote_of(pl.col("symbol"))).fill_null(True)  # another currency cannot be compared
    paid = evidence.fills.filter(pl.col("commission").is_not_null() & same)
    notional = Exact.of(paid["price"]) * Exact.of(paid["quantity"])
    most = abs(notional) * evidence.thresholds.max_commission_rate
    whole = paid.with_columns(notional.decimal("notional"))
    found = whole.filter(abs(Exact.of(paid["commission"])).compare(most) > 0)
    sentence = "fill {} cost {} in commission, on a notional of {}."
    words = pl.format(sentence, "id", trimmed_text(pl.col("commission")), trimmed_text(pl.col("notional")))
    return about(found, words, pl.col("commission"), pl.col("notional"))


@rule("not_checked", "info")
def _not_checked(evidence: Evidence) -> pl.DataFrame:
    """No bar covers the fills: their symbol has no bars, or they lie before the first or after the last one."""
    barred = evidence.barred.select("id", "covered")
    judged = evidence.fills.join(barred, on="id", how="left", maintain_order="left")
    left = judged.filter(~pl.col("covered").fill_null(False)).with_columns(bare=pl.col("covered").is_null())
    found = left.group_by("run_id", "symbol", "bare", maintain_order=True).agg(
        time=pl.col("filled_at").min(), fills=pl.len()
    )
    why = pl.when("bare").then(pl.lit("there are none of it")).otherwise(pl.lit("they start later or end earlier"))
    name = pl.col("symbol").fill_null("an unknown symbol")
    words = pl.format("{} fills of {} were not held against bars: {}.", "fills", name, why)
    return found.rechunk().select("run_id", "symbol", "time", actual=pl.col("fills").cast(pl.String), sentence=words)


RULES = tuple(each for each in globals().values() if isinstance(each, Rule))
"""All rules, in the order in which they stand here, which is that in which they are applied."""
