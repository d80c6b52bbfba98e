"""Rules that compare orders and fills with what the events of the log say of them."""

from __future__ import annotations

import polars as pl

from walle.decimals import trimmed_text
from walle.fills.audit import about, about_order, rule
from walle.fills.evidence import Evidence

__all__ = ["RULES"]

_STATUS = {
    "orders.PartiallyFilled": "partial",
    "orders.Filled": "filled",
    "orders.Cancelled": "cancelled",
    "orders.Canceled": "cancelled",
    "orders.Rejected": "rejected",
    "orders.Expired": "expired",
}
_UNFILLED = ("pending", "submitting", "submitted", "accepted", "rejected")


def _last(evidence: Evidence, having: pl.Expr, by: str) -> pl.DataFrame:
    """Return the last event about each order, or fill, that tells something."""
    told = evidence.events.filter(having, pl.col(by).is_not_null()).drop("run_id")
    return told.unique(by, keep="last", maintain_order=True)


def _orders(evidence: Evidence, having: pl.Expr) -> pl.DataFrame:
    """Return the orders with the last such event about each, under names that begin with ``told_``."""
    told = _last(evidence, having, "order_id").select(pl.all().name.prefix("told_"))
    return evidence.orders.join(told, left_on="id", right_on="told_order_id", maintain_order="left").with_columns(
        last="told_time"
    )


@rule("event_status_differs")
def _event_status_differs(evidence: Evidence) -> pl.DataFrame:
    """The last event about an order says another status than the order."""
    both = _orders(evidence, pl.col("type").is_in(list(_STATUS)))
    said = pl.col("told_type").replace_strict(_STATUS, default=None, return_dtype=pl.String)
    other = pl.when(said == "partial").then(pl.col("status").is_in(_UNFILLED)).otherwise(pl.col("status") != said)
    found = both.with_columns(said=said).filter(other)
    sentence = "order {} is said to be {}, but event {} ({}) says {}."
    words = pl.format(sentence, "id", "status", "told_offset", "told_type", "said")
    return about_order(found, words, pl.col("status"), pl.col("said"))


@rule("event_quantity_differs")
def _event_quantity_differs(evidence: Evidence) -> pl.DataFrame:
    """The last event about an order says another filled quantity than the order."""
    both = _orders(evidence, pl.col("filled_qty").is_not_null())
    said = pl.col("told_filled_qty")
    sentence = "order {} says that {} are filled, but event {} ({}) says {}."
    words = pl.format(
        sentence, "id", trimmed_text(pl.col("filled_qty")), "told_offset", "told_type", trimmed_text(said)
    )
    return about_order(both.filter(pl.col("filled_qty") != said), words, pl.col("filled_qty"), said)


def _fills(evidence: Evidence) -> pl.DataFrame:
    """Return the fills with the last event about each, under names that begin with ``told_``."""
    told = _last(evidence, pl.col("fill_id").is_not_null(), "fill_id").select(pl.all().name.prefix("told_"))
    return evidence.fills.join(told, left_on="id", right_on="told_fill_id", maintain_order="left")


@rule("event_fill_differs")
def _event_fill_differs(evidence: Evidence) -> pl.DataFrame:
    """The event about a fill says another price, quantity or side than the fill."""
    fills = _fills(evidence)
    names = ("price", "quantity", "side")
    differs = {name: (pl.col(name) != pl.col(f"told_{name}")).fill_null(False) for name in names}
    form = {name: (lambda value: value) if name == "side" else trimmed_text for name in names}
    what = pl.coalesce(pl.when(differs[name]).then(pl.lit(name)) for name in names)
    stored = pl.coalesce(pl.when(differs[name]).then(form[name](pl.col(name))) for name in names)
    said = pl.coalesce(pl.when(differs[name]).then(form[name](pl.col(f"told_{name}"))) for name in names)
    found = fills.filter(pl.any_horizontal(differs.values())).with_columns(what=what, stored=stored, said=said)
    sentence = "the {} of fill {} is {}, but event {} ({}) says {}."
    words = pl.format(sentence, "what", "id", "stored", "told_offset", "told_type", "said")
    return about(found, words, pl.col("stored"), pl.col("said"))


@rule("event_commission_differs")
def _event_commission_differs(evidence: Evidence) -> pl.DataFrame:
    """The event about a fill says another commission than the fill."""
    paid, said = pl.col("commission"), pl.col("told_commission")
    found = _fills(evidence).filter(said.is_not_null(), paid.ne_missing(said))
    sentence = "the commission of fill {} is {}, but event {} ({}) says {}."
    stored = trimmed_text(paid).fill_null("unknown")
    words = pl.format(sentence, "id", stored, "told_offset", "told_type", trimmed_text(said))
    return about(found, words, paid, said)


@rule("event_fill_missing")
def _event_fill_missing(evidence: Evidence) -> pl.DataFrame:
    """An event tells of a fill that is not stored."""
    told = evidence.events.drop_nulls("fill_id").unique("fill_id", keep="last", maintain_order=True)
    found = told.join(evidence.fills.select(fill_id="id"), on="fill_id", how="anti", maintain_order="left")
    symbols = evidence.orders.select(order_id="id", symbol="symbol")
    found = found.join(symbols, on="order_id", how="left", maintain_order="left").rechunk()
    words = pl.format("event {} ({}) tells of fill {}, which is not stored.", "offset", "type", "fill_id")
    return found.select("run_id", "order_id", "fill_id", "symbol", "time", expected="fill_id", sentence=words)


RULES = (
    _event_status_differs,
    _event_quantity_differs,
    _event_fill_differs,
    _event_commission_differs,
    _event_fill_missing,
)
