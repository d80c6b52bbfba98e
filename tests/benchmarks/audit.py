"""The audit and the round trips of many fills in memory, and how both grow."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

import polars as pl

import walle
from tests.benchmarks.measure import seconds
from walle.fills import RULES, audit, trades
from walle.fills.audit import Evidence
from walle.fills.market import Market
from walle.frames import DECIMAL, FILLS, INSTANT, ORDERS

__all__ = ["measure"]


def measure(rows: int) -> list[str]:
    """Return what the audit and the round trips of so many fills took, and a tenth of them; a sentence each.

    Parameters
    ----------
    rows : int
        How many fills.
    """
    few, many = (_facts(count) for count in (rows // 10, rows))
    audits = [seconds(partial(audit, facts, RULES)) for facts in (few, many)]
    matched = [seconds(partial(trades, facts.fills, facts.markets)) for facts in (few, many)]
    with tempfile.TemporaryDirectory(prefix="walle-bench-") as folder, walle.connect(Path(folder) / "a.db") as store:
        store.orders.save(many.orders)
        store.fills.append(many.fills)
        reading = seconds(lambda: (store.fills.read(), store.orders.read()))
    return [
        f"audit of {rows:,} fills of {many.orders.height:,} orders, held against {many.markets['A/USD'].bars.height:,} "
        f"bars: {audits[1]:.2f} s (goal: under 5 s); a tenth of it: {audits[0]:.2f} s, "
        f"ratio {audits[1] / audits[0]:.1f}; reading fills and orders from SQLite: {reading:.2f} s",
        f"round trips of {rows:,} fills, first in first out: {matched[1]:.2f} s; a tenth of it: {matched[0]:.2f} s, "
        f"ratio {matched[1] / matched[0]:.1f}",
    ]


def _facts(count: int) -> Evidence:
    """Return fills, three to an order, of which none is faulty; every other order sells what the one before bought."""
    row = pl.int_range(count, eager=True)
    order = row // 3
    fills = pl.DataFrame(
        {
            "id": row.cast(pl.String).str.zfill(9),
            "order_id": order.cast(pl.String),
            "run_id": pl.Series(["run"]).new_from_index(0, count),
            "symbol": pl.Series(["A/USD"]).new_from_index(0, count),
            "side": pl.Series(["buy", "sell"]).gather(order % 2),
            "price": (row % 200 + 10_000).cast(DECIMAL) / 100,
            "quantity": (row % 3 + 1).cast(DECIMAL) / 8,
            "commission": (row % 3 + 1).cast(DECIMAL) / 100,
            "commission_currency": pl.Series(["USD"]).new_from_index(0, count),
            "exchange_fill_id": row.cast(pl.String),
            "filled_at": (row * 6_000_000).cast(INSTANT),
        }
    )
    fills = pl.concat([pl.DataFrame(schema=FILLS), fills], how="diagonal_relaxed").cast(FILLS)
    sums = fills.group_by("order_id", "side", maintain_order=True).agg(
        pl.col("quantity").sum(), first=pl.col("filled_at").min(), last=pl.col("filled_at").max()
    )
    orders = sums.select(
        id="order_id",
        client_order_id="order_id",
        run_id=pl.lit("run"),
        symbol=pl.lit("A/USD"),
        side="side",
        order_type=pl.lit("market"),
        time_in_force=pl.lit("gtc"),
        qty="quantity",
        filled_qty="quantity",
        status=pl.lit("filled"),
        created_at="first",
        submitted_at="first",
        filled_at="last",
    )
    orders = pl.concat([pl.DataFrame(schema=ORDERS), orders], how="diagonal_relaxed").cast(ORDERS)
    times = (pl.int_range(count // 10 + 1, eager=True) * 60_000_000).cast(INSTANT)
    prices = {"open": 101.0, "high": 102.0, "low": 99.5, "close": 101.0, "volume": 1e4}
    bars = times.to_frame("timestamp").with_columns(**{name: pl.lit(value) for name, value in prices.items()})
    return Evidence(
        fills, orders, {"A/USD": Market("1m", bars, pl.DataFrame(schema={"start": INSTANT, "end": INSTANT}))}
    )
