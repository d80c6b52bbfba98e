"""A builder of the frame of metrics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from types import EllipsisType
from typing import Any

import polars as pl

from walle.exact import decimals
from walle.frames import DECIMAL

__all__ = ["METRICS", "Figures", "widened"]

METRICS = pl.Schema(
    {
        "run_id": pl.String(),
        "metric": pl.String(),
        "value": pl.Float64(),
        "amount": DECIMAL,
        "currency": pl.String(),
        "unit": pl.String(),
        "periods_per_year": pl.Float64(),
        "returns": pl.Int64(),
        "reason": pl.String(),
    }
)
"""One row is one metric of a run in one currency, in the order in which :func:`walle.runs.metrics.metrics` lists them.

``amount`` holds money (exact) and ``value`` holds everything else; ``unit`` is money, ratio, days or count.
``currency`` is that of the equity from which the metric was computed (null if unknown); a row of fees has that of the
fees. ``periods_per_year`` says how a metric was annualised; it is null if it was not. ``returns`` is the number of
returns that counted, for a metric that is made of returns, and null otherwise. A metric that cannot be measured is null
in ``value`` and ``amount``, and ``reason`` says why; otherwise ``reason`` is null, but for ``trades``, where it may say
what was counted."""

MONEY = (
    "start_equity",
    "end_equity",
    "net_profit",
    "max_drawdown_amount",
    "gross_profit",
    "gross_loss",
    "average_win",
    "average_loss",
    "expectancy",
    "fees",
)
_OF_RETURNS = ("volatility", "sharpe", "sortino")
RELATIVE = ("alpha", "beta", "tracking_error", "information_ratio")
_OTHERS = ("max_drawdown", "max_drawdown_amount", "max_drawdown_days", "calmar")
_OF_TRADES = ("trades", "open_trades", "win_rate", "profit_factor", "gross_profit", "gross_loss")
_MEANS = ("average_win", "average_loss", "expectancy", "average_trade", "exposure", "turnover", "marked", "fees")
_FIRST = ("start_equity", "end_equity", "net_profit", "total_return", "cagr")


@dataclass(slots=True)
class Figures:
    """The rows of the metrics of curves, added one by one."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    head: dict[str, Any] = field(default_factory=dict)

    def begin(self, run_id: str | None, currency: str | None) -> None:
        """Go on with the rows of another curve."""
        self.head = {"run_id": run_id, "currency": currency}

    def money(
        self,
        metric: str,
        amount: Fraction | None,
        reason: str | None = None,
        *,
        currency: str | EllipsisType | None = ...,
    ) -> None:
        """Add an amount of money, or why there is none."""
        name = self.head["currency"] if currency is ... else currency
        row = {**self.head, "metric": metric, "amount": amount, "unit": "money", "currency": name}
        self.rows.append({**row, "reason": reason if amount is None else None})

    def ratio(
        self,
        metric: str,
        value: object,
        reason: str | None = None,
        *,
        unit: str = "ratio",
        periods: float | None = None,
        returns: int | None = None,
        note: str | None = None,
    ) -> None:
        """Add a number, and what is to be said of it, or why there is none."""
        number = float(value) if isinstance(value, int | float | Fraction) and math.isfinite(value) else None
        why = note if number is not None else reason or "beyond what a float holds"
        row = {**self.head, "metric": metric, "value": number, "unit": unit, "returns": returns}
        self.rows.append({**row, "periods_per_year": periods, "reason": why})

    def frame(self) -> pl.DataFrame:
        """Return the frame: columns of METRICS."""
        columns = {name: [row.get(name) for row in self.rows] for name in METRICS}
        amounts = decimals("amount", columns.pop("amount"))
        return pl.DataFrame(columns, schema_overrides=METRICS).with_columns(amounts).select(list(METRICS))


def widened(frame: pl.DataFrame, *, benchmark: bool = False) -> pl.DataFrame:
    """Return the metrics with one row per run and currency.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns of :data:`METRICS`.
    benchmark : bool
        Whether to have the columns of the metrics relative to a benchmark.

    Returns
    -------
    polars.DataFrame
        run_id, currency, then a column for each metric: money as Decimal(38, 18), others as Float64, null where they
        could not be measured. Rows in the order of ``frame``. Fees in a currency without equity have a row of their
        own, with the other metrics null.
    """
    names: Sequence[str] = (*_FIRST, *_OF_RETURNS, *_OTHERS, *(RELATIVE if benchmark else ()), *_OF_TRADES, *_MEANS)
    columns = [
        pl.col("amount" if name in MONEY else "value").filter(pl.col("metric") == name).first().alias(name)
        for name in names
    ]
    return frame.group_by("run_id", "currency", maintain_order=True).agg(columns)
