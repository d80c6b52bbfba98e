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


def history(runs: pl.DataFrame, orders: pl.DataFrame, fills: pl.DataFrame) -> pl.DataFrame:
    """Put the moments of runs, orders and fills into one order of time.

    Parameters
    ----------
    runs, orders, fills : polars.DataFrame
        Columns of :data:`walle.frames.RUNS`, ``ORDERS`` and ``FILLS``.

    Returns
    -------
    polars.DataFrame
        time (UTC), kind (run, order, fill), what (created, started, submitted, filled, ...), order_id, fill_id, symbol,
        side, quantity, price. A row is one moment; sorted by time, a run's moments before an order's before a fill's.
        An order's quantity is what was ordered, and its price the limit, or once filled the average.
    """
    moments = [
        runs.select(time=pl.col(column), kind=pl.lit("run"), what=pl.lit(what)) for column, what in _RUN_MOMENTS.items()
    ]
    for column, what in _ORDER_MOMENTS.items():
        filled = what == "filled"
        moments.append(
            orders.select(
                time=pl.col(column),
                kind=pl.lit("order"),
                what=pl.lit(what),
                order_id="id",
                symbol="symbol",
                side="side",
                quantity="filled_qty" if filled else "qty",
                price="filled_avg_price" if filled else "limit_price",
            )
        )
    moments.append(
        fills.select(
            time="filled_at",
            kind=pl.lit("fill"),
            what=pl.lit("filled"),
            order_id="order_id",
            fill_id="id",
            symbol="symbol",
            side="side",
            quantity="quantity",
            price="price",
        )
    )
    rank = pl.col("kind").replace_strict({"run": 0, "order": 1, "fill": 2}, return_dtype=pl.Int8)
    # an order is complete by its last fill: that fill comes first at the same instant
    rank = pl.when((pl.col("kind") == "order") & (pl.col("what") == "filled")).then(3).otherwise(rank)
    rank = pl.when((pl.col("kind") == "run") & (pl.col("what") == "stopped")).then(4).otherwise(rank)
    whole = pl.concat([pl.DataFrame(schema=HISTORY), *moments], how="diagonal").filter(pl.col("time").is_not_null())
    return whole.with_columns(rank=rank).sort("time", "rank", maintain_order=True).drop("rank")
