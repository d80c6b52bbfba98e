"""Rules about orders and their fills: quantities, averages, sides, symbols and runs."""

from __future__ import annotations

import polars as pl

from walle.decimals import trimmed_text
from walle.exact import Exact
from walle.fills.audit import about, about_order, about_run, rule
from walle.fills.evidence import Evidence
from walle.frames import DECIMAL

__all__ = ["RULES"]


@rule("unknown_order")
def _unknown_order(evidence: Evidence) -> pl.DataFrame:
    """The order of the fill is not stored, though others of its run are."""
    found = evidence.unordered.filter(~pl.col("whole"))
    return about(found, pl.format("fill {} is of order {}, which is not stored.", "id", "order_id"))


@rule("orders_absent", "info")
def _orders_absent(evidence: Evidence) -> pl.DataFrame:
    """No order of the run is stored at all, so its fills were not compared with any."""
    found = evidence.unordered.filter("whole")
    return about_run(found, "{} fills of {} were not compared with orders: none is stored.")


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
def _quantity_text_differs(evidence: Evidence) -> pl.DataFrame:
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
    """The average price of an order is not that of its fills (``price_tolerance``, ``average_tolerance``)."""
    limits = evidence.thresholds
    priced = evidence.sums.drop_nulls("filled_avg_price")
    off = abs(Exact.of(priced["average"]) - Exact.of(priced["filled_avg_price"]))
    apart = (off.compare(limits.price_tolerance) > 0).arg_true()
    found, off = priced[apart], off.gather(apart)
    places = trimmed_text(pl.col("filled_avg_price")).str.extract(r"\.(\d+)$").str.len_chars().fill_null(0).clip(2)
    unit = Exact.of(
        found.select(pl.format("0.{}1", pl.lit("0").repeat_by(places - 1).list.join("")).cast(DECIMAL)).to_series()
    )
    most = abs(Exact.of(found["average"])) * limits.average_tolerance
    rounded = ((off * 2).compare(unit) <= 0) & (off.compare(most) <= 0)
    found = found.filter(~rounded)
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


_OPEN = ("pending", "submitting", "submitted", "accepted", "partial")


@rule("rejected_filled")
def _rejected_filled(evidence: Evidence) -> pl.DataFrame:
    """A rejected order has a fill."""
    found = evidence.sums.filter(pl.col("status") == "rejected")
    words = pl.format("order {} was rejected, but {} of it are filled.", "id", trimmed_text(pl.col("filled")))
    return about_order(found, words, pl.col("filled"), pl.lit("0"))


@rule("cancelled_filled")
def _cancelled_filled(evidence: Evidence) -> pl.DataFrame:
    """An order was cancelled, or expired, though it was filled whole."""
    found = _filled_whole(evidence, ("cancelled", "expired"))
    words = pl.format(
        "order {} is said to be {}, but all of its {} are filled.", "id", "status", trimmed_text(pl.col("qty"))
    )
    return about_order(found, words, pl.col("status"), pl.lit("filled"))


@rule("open_filled", "warning")
def _open_filled(evidence: Evidence) -> pl.DataFrame:
    """An order is still accepted, or filled in part, though it was filled whole."""
    found = _filled_whole(evidence, _OPEN)
    words = pl.format(
        "order {} is still {}, but all of its {} are filled.", "id", "status", trimmed_text(pl.col("qty"))
    )
    return about_order(found, words, pl.col("status"), pl.lit("filled"))


def _filled_whole(evidence: Evidence, statuses: tuple[str, ...]) -> pl.DataFrame:
    """Return the orders with one of some statuses that are filled whole, by their fills or by what they say."""
    some = evidence.orders.filter(pl.col("status").is_in(statuses))
    sums = evidence.sums.select("id", "filled", "last")
    filled = some.join(sums, on="id", how="left", maintain_order="left").filter(
        pl.max_horizontal("filled", "filled_qty") >= pl.col("qty")
    )
    return filled.with_columns(last=pl.coalesce("last", "filled_at", "cancelled_at", "created_at"))


@rule("filled_zero")
def _filled_zero(evidence: Evidence) -> pl.DataFrame:
    """An order has the status filled, and a filled quantity of 0."""
    found = evidence.orders.filter(pl.col("status") == "filled", pl.col("filled_qty") == 0)
    words = pl.format("order {} is said to be filled, with a quantity of 0 of {}.", "id", trimmed_text(pl.col("qty")))
    times = found.with_columns(last=pl.coalesce("filled_at", "created_at"))
    return about_order(times, words, pl.col("filled_qty"), pl.col("qty"))


@rule("filled_without_time", "warning")
def _filled_without_time(evidence: Evidence) -> pl.DataFrame:
    """An order has the status filled, but no time of it."""
    found = evidence.orders.filter(pl.col("status") == "filled", pl.col("filled_at").is_null())
    none = pl.lit(None, pl.String)
    words = pl.format("order {} is said to be filled, but not when.", "id")
    return about_order(found.with_columns(last="created_at"), words, none, none)


@rule("order_without_price")
def _order_without_price(evidence: Evidence) -> pl.DataFrame:
    """A limit order has no limit, or a stop order no stop price."""
    kind, none = pl.col("order_type"), pl.lit(None, pl.String)
    no_limit = kind.is_in(["limit", "stop_limit"]) & pl.col("limit_price").is_null()
    no_stop = kind.is_in(["stop", "stop_limit"]) & pl.col("stop_price").is_null()
    found = evidence.orders.filter(no_limit | no_stop).with_columns(last="created_at")
    lacks = pl.when(no_limit).then(pl.lit("limit")).otherwise(pl.lit("stop price"))
    return about_order(found, pl.format("order {} is of the type {}, but has no {}.", "id", kind, lacks), none, none)


@rule("fok_partial")
def _fok_partial(evidence: Evidence) -> pl.DataFrame:
    """A fill-or-kill order was filled in part."""
    found = evidence.sums.filter(pl.col("time_in_force") == "fok", pl.col("filled") < pl.col("qty"))
    sentence = "order {} is fill or kill, but only {} of {} are filled."
    words = pl.format(sentence, "id", trimmed_text(pl.col("filled")), trimmed_text(pl.col("qty")))
    return about_order(found, words, pl.col("filled"), pl.col("qty"))


@rule("alias_symbol", "warning")
def _alias_symbol(evidence: Evidence) -> pl.DataFrame:
    """The symbol of fills is another name of an instrument."""
    names = evidence.instruments.select(name="symbol", symbol="aliases").explode("symbol").drop_nulls()
    names = names.filter(pl.col("name") != pl.col("symbol")).unique("symbol", keep="last", maintain_order=True)
    per_symbol = evidence.fills.group_by("run_id", "symbol", maintain_order=True).agg(
        time=pl.col("filled_at").min(), fills=pl.len()
    )
    found = per_symbol.join(names, on="symbol", maintain_order="left").rechunk()
    words = pl.format("{} fills are of {}, which is another name of {}.", "fills", "symbol", "name")
    return found.select("run_id", "symbol", "time", actual="symbol", expected="name", sentence=words)


RULES = (
    _unknown_order,
    _orders_absent,
    _overfilled,
    _quantity_text_differs,
    _fills_missing,
    _incomplete,
    _average_differs,
    _side_differs,
    _symbol_differs,
    _run_differs,
    _rejected_filled,
    _cancelled_filled,
    _open_filled,
    _filled_zero,
    _filled_without_time,
    _order_without_price,
    _fok_partial,
    _alias_symbol,
)
