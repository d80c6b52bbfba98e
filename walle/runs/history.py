"""The life of a run in one frame."""

from __future__ import annotations

import polars as pl

from walle.frames import HISTORY

__all__ = ["history"]

_RUN_MOMENTS = {"created_at": "created", "started_at": "started", "stopped_at": "stopped"}
_ORDER_MOMENTS = {
    "created_at": "created",
    "submitted_at": "submitted",
    "filled_at": "filled",
    "cancelled_at": "cancelled",
}


def history(
    runs: pl.DataFrame,
    orders: pl.DataFrame,
    fills: pl.DataFrame,
    events: pl.DataFrame,
    corrections: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Merge the moments of runs, orders, fills and events in order of time.

    Parameters
    ----------
    runs, orders, fills : polars.DataFrame
        Columns of :data:`walle.frames.RUNS`, ``ORDERS`` and ``FILLS``.
    events : polars.DataFrame
        offset, type, created_at, ts, corr_id, payload; as in :data:`walle.frames.EVENTS`, sorted by offset.
    corrections : polars.DataFrame, optional
        Columns of :data:`walle.frames.FILL_CORRECTIONS`.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`walle.frames.HISTORY`: time (UTC), kind (run, order, fill, event), what (created, started,
        submitted, filled, ...; the type of an event), order_id, fill_id, symbol, side, quantity, price, offset (an
        event's position in the log), corr_id, payload (JSON text). A row is one moment. Rows are sorted by time; at the
        same instant, moments of runs come before those of orders, fills and events, except that the end of a run comes
        last. Events at the same instant keep the order of the log. The quantity of an order is the ordered one; its
        price is the limit, or the average once it is filled. The time of an event is its ``ts``, or the time when it
        was stored if it has none. A fill that was corrected has a further moment, ``corrected`` or ``busted``, when
        that was recorded: order, symbol and side are its own, quantity and price those of the fill that stands in its
        place, and the payload has ``corrected_by``, ``reason`` and ``author``.
    """
    moments = [
        runs.select(time=pl.col(column), kind=pl.lit("run"), what=pl.lit(what)) for column, what in _RUN_MOMENTS.items()
    ]
    for column, what in _ORDER_MOMENTS.items():
        filled = what == "filled"
        moments.append(
            orders.select(
                ["symbol", "side"],
                time=pl.col(column),
                kind=pl.lit("order"),
                what=pl.lit(what),
                order_id="id",
                quantity="filled_qty" if filled else "qty",
                price="filled_avg_price" if filled else "limit_price",
            )
        )
    moments.append(
        fills.select(
            ["order_id", "symbol", "side", "quantity", "price"],
            time="filled_at",
            kind=pl.lit("fill"),
            what=pl.lit("filled"),
            fill_id="id",
        )
    )
    if corrections is not None and corrections.height:
        moments.append(_corrected(fills, corrections))
    moments.append(
        events.select(
            ["offset", "corr_id", "payload"], time=pl.coalesce("ts", "created_at"), kind=pl.lit("event"), what="type"
        )
    )
    rank = pl.col("kind").replace_strict({"run": 0, "order": 1, "fill": 2, "event": 4}, return_dtype=pl.Int8)
    # the last fill completes the order, so at the same instant it comes first
    rank = pl.when((pl.col("kind") == "order") & (pl.col("what") == "filled")).then(3).otherwise(rank)
    rank = pl.when((pl.col("kind") == "run") & (pl.col("what") == "stopped")).then(5).otherwise(rank)
    whole = pl.concat([pl.DataFrame(schema=HISTORY), *moments], how="diagonal").filter(pl.col("time").is_not_null())
    return whole.with_columns(rank=rank).sort("time", "rank", maintain_order=True).drop("rank")


def _corrected(fills: pl.DataFrame, corrections: pl.DataFrame) -> pl.DataFrame:
    right = fills.select(corrected_by="id", quantity="quantity", price="price")
    wrong = fills.select("order_id", "symbol", "side", fill_id="id")
    whole = corrections.join(wrong, on="fill_id", how="left", maintain_order="left")
    whole = whole.join(right, on="corrected_by", how="left", maintain_order="left")
    busted = pl.col("corrected_by").is_null()
    return whole.select(
        pl.lit("fill").alias("kind"),
        pl.when(busted).then(pl.lit("busted")).otherwise(pl.lit("corrected")).alias("what"),
        *("order_id", "fill_id", "symbol", "side", "quantity", "price"),
        time="recorded_at",
        payload=pl.struct("corrected_by", "reason", "author").struct.json_encode(),
    )
