"""Rules about prices and quantities: limits and bars."""

from __future__ import annotations

import polars as pl

from walle.decimals import trimmed_text
from walle.exact import Exact, shortest
from walle.fills.audit import about, price_text, quantity_text, rule, time_text
from walle.fills.evidence import Evidence

__all__ = ["RULES"]


@rule("limit_violated")
def _limit_violated(evidence: Evidence) -> pl.DataFrame:
    """The fill is a purchase above the limit of its order, or a sale below it; events tell of earlier limits."""
    limited = evidence.known.filter(pl.col("order_order_type").is_in(["limit", "stop_limit"]))
    price, limit, snapshot = pl.col("price"), pl.col("limit"), pl.col("order_limit_price")
    worse = pl.when(pl.col("side") == "buy").then(price > snapshot).otherwise(price < snapshot)
    told = evidence.events.drop_nulls("limit_price").sort("time", "offset")
    if told.is_empty():
        found = limited.filter(worse).with_columns(limit=snapshot)
    else:
        found = _at_their_limits(limited, told)
        beyond = pl.when(pl.col("side") == "buy").then(price > limit).otherwise(price < limit)
        # where the snapshot has another limit than the events end with, these do not tell of all amendments
        found = found.filter(beyond & (worse | (pl.col("last") == snapshot)))
    words = pl.format("fill {} is a {} at {}, beyond the limit of {}.", "id", "side", price_text, trimmed_text(limit))
    return about(found, words, price, limit)


def _at_their_limits(limited: pl.DataFrame, told: pl.DataFrame) -> pl.DataFrame:
    """Add the ``limit`` in force when each fill happened, and the ``last`` one that an event tells of its order."""
    last = told.group_by("order_id", maintain_order=True).agg(last=pl.col("limit_price").last())
    then = told.select("order_id", filled_at="time", limit="limit_price")
    return (
        limited.sort("filled_at")
        .join_asof(then, on="filled_at", by="order_id", check_sortedness=False)
        .join(last, on="order_id", how="left", maintain_order="left")
        .with_columns(limit=pl.coalesce("limit", "order_limit_price"))
    )


@rule("outside_bar")
def _outside_bar(evidence: Evidence) -> pl.DataFrame:
    """The price is beyond the low and high of the bar in which the fill happened, and of one that just ended.

    A fill at the instant of its contract's expiry settles it, at a price of its own.
    """
    settled = evidence.instrumented.filter(pl.col("filled_at") == pl.col("expires_at")).select("id")
    price, low, high = pl.col("price"), pl.col("low"), pl.col("high")
    ended = price.is_between("ended_low", "ended_high").fill_null(False)
    found = evidence.barred.filter((price > high) | (price < low), ~ended).join(settled, on="id", how="anti")
    sentence = "fill {} is at {}, but its bar reaches from {} to {}."
    words = pl.format(sentence, "id", price_text, trimmed_text(low), trimmed_text(high))
    return about(found, words, price, pl.when(price > high).then(high).otherwise(low))


@rule("in_hole", "warning")
def _in_hole(evidence: Evidence) -> pl.DataFrame:
    """The bar in which the fill happened is missing."""
    found = evidence.barred.filter(pl.col("gap") & pl.col("covered"))
    words = pl.format("fill {} is of {}, where the bars have a hole.", "id", time_text("filled_at"))
    return about(found, words, time_text("filled_at"))


@rule("large_for_bar", "warning")
def _large_for_bar(evidence: Evidence) -> pl.DataFrame:
    """The quantity exceeds a share of the volume of its bar (``max_volume_share``); no volume at all is unknown."""
    most = pl.max_horizontal("volume", "ended_volume")
    barred, share = evidence.barred.with_columns(volume=most).drop_nulls("volume"), evidence.thresholds.max_volume_share
    found = barred.filter(Exact.of(barred["quantity"]).compare(Exact.of(barred["volume"]) * share) > 0)
    words = pl.format(
        "fill {} is of {}, but its bar has a volume of {}.", "id", quantity_text, trimmed_text(pl.col("volume"))
    )
    return about(found, words, pl.col("quantity"), pl.col("volume"))


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


@rule("stop_not_reached")
def _stop_not_reached(evidence: Evidence) -> pl.DataFrame:
    """No bar from the submission of a stop order to its fill reaches the stop price."""
    orders = evidence.known.filter(pl.col("order_order_type").is_in(["stop", "stop_limit"])).drop_nulls(
        ["symbol", "order_stop_price"]
    )
    parts = [orders.clear().with_columns(extreme=pl.lit(None, pl.Float64))]
    for part in orders.partition_by("symbol", maintain_order=True):
        market = evidence.markets.get(part["symbol"][0])
        if market is None:
            continue
        begun = part.select(pl.coalesce("order_submitted_at", "order_created_at")).to_series()
        low, high = market.reached(begun, part["filled_at"])
        parts.append(part.with_columns(extreme=high.zip_with(part["side"] == "buy", low)))
    stop, extreme = pl.col("order_stop_price").cast(pl.String).cast(pl.Float64), pl.col("extreme")
    short = pl.when(pl.col("side") == "buy").then(extreme < stop).otherwise(extreme > stop)
    found = pl.concat(parts).filter(short)
    found = found.with_columns(extreme=shortest(found["extreme"]))
    sentence = "fill {} is of a stop at {}, but the bars since its submission reach {} only."
    words = pl.format(sentence, "id", trimmed_text(pl.col("order_stop_price")), trimmed_text(extreme))
    return about(found, words, extreme, pl.col("order_stop_price"))


@rule("off_tick", "warning")
def _off_tick(evidence: Evidence) -> pl.DataFrame:
    """The price is not a multiple of the instrument's tick size."""
    return _off_step(evidence, "price", "tick_size", "fill {} is at {}, which is no multiple of the tick size {}.")


@rule("off_lot", "warning")
def _off_lot(evidence: Evidence) -> pl.DataFrame:
    """The quantity is not a multiple of the instrument's lot size."""
    return _off_step(evidence, "quantity", "lot_size", "fill {} is of {}, which is no multiple of the lot size {}.")


def _off_step(evidence: Evidence, name: str, step: str, sentence: str) -> pl.DataFrame:
    """Return the fills with a number that is no multiple of a step of their instrument."""
    known = evidence.instrumented.filter(pl.col(step) > 0)
    found = known.filter(pl.col(name).to_physical() % pl.col(step).to_physical() != 0)  # whole numbers, of 18 places
    return about(
        found,
        pl.format(sentence, "id", trimmed_text(pl.col(name)), trimmed_text(pl.col(step))),
        pl.col(name),
        pl.col(step),
    )


@rule("at_extremes", "warning")
def _at_extremes(evidence: Evidence) -> pl.DataFrame:
    """Every fill of a run is at the low or the high of its bar (``min_extreme_fills``), as no market fills."""
    price, bars = pl.col("price"), evidence.barred.filter(pl.col("low") < pl.col("high"))
    ends = ["low", "high", "ended_low", "ended_high"]
    at_end = pl.any_horizontal((price == pl.col(name)).fill_null(False) for name in ends)
    per_run = bars.group_by("run_id", maintain_order=True).agg(
        time=pl.col("filled_at").min(), fills=pl.len(), whole=at_end.all()
    )
    found = per_run.filter("whole", pl.col("fills") >= evidence.thresholds.min_extreme_fills).rechunk()
    words = pl.format("all {} fills of run {} are at the low or high of their bars.", "fills", "run_id")
    return found.select("run_id", "time", actual=pl.col("fills").cast(pl.String), sentence=words)


RULES = (
    _limit_violated,
    _outside_bar,
    _in_hole,
    _large_for_bar,
    _not_checked,
    _stop_not_reached,
    _off_tick,
    _off_lot,
    _at_extremes,
)
