"""The metrics that stand on the equity of runs, of many curves at once: what they gained, risked and lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any

import polars as pl

from walle.exact import Exact
from walle.runs.figures import Figures
from walle.runs.marks import Curve, Marks
from walle.runs.trade_figures import NO_BARS

__all__ = ["Worth"]

_YEAR = timedelta(days=365.25)
_DAY = timedelta(days=1)
_UNKNOWN_FLOW = "no price at a cash flow"


@dataclass(frozen=True, slots=True)
class Worth:
    """The sums of the equity of curves, by the number of the curve."""

    curves: Sequence[Curve]
    began: Sequence[datetime]
    returns: dict[int, dict[str, Any]]
    falls: dict[int, dict[str, Any]]
    chained: dict[int, float | None]
    paid: dict[int, Fraction]

    @staticmethod
    def of(marks: Marks, periods: Sequence[float], risk_free: float) -> Worth:
        """Measure the returns and the falls of curves, each with its number of returns in a year."""
        rates = pl.DataFrame({"curve": range(len(periods)), "rate": [risk_free / each for each in periods]})
        changes = marks.returns().drop_nulls("change").join(rates, on="curve", maintain_order="left")
        excess = pl.col("change") - pl.col("rate")
        stats = changes.group_by("curve").agg(
            count=pl.len(),
            distinct=pl.col("change").n_unique(),
            spread=pl.col("change").std(),
            mean=excess.mean(),
            below=(excess.clip(upper_bound=0) ** 2).mean().sqrt(),
        )
        flows = {
            number: Exact.of(curve.flows["amount"]).sum()
            for number, curve in enumerate(marks.curves)
            if curve.flows is not None and curve.flows.height
        }
        return Worth(marks.curves, marks.began, _by_curve(stats), _falls(marks), _totals(marks, flows), flows)

    def gains(self, figures: Figures, number: int, late: int, outside: str | None) -> tuple[float | None, float | None]:
        """Add what a curve gained, and return its yearly rate and the share of a year that it took."""
        curve = self.curves[number]
        rows, start = curve.equity, curve.start
        last = rows["equity"][-1] if rows.height else None
        end = None if late or last is None else Fraction(last)
        unmarked = rows["unmarked"][-1].to_list() if rows.height else []
        lacks = f"no price of {', '.join(map(str, unmarked))} at the end" if rows.height else NO_BARS
        if rows.height and not unmarked and "reason" in rows.columns:  # no rate, say
            lacks = rows["reason"][-1] or lacks
        if late and rows.height:
            lacks = f"{late} of the fills come after the last bar"
        outside = curve.lacking or outside
        figures.money("start_equity", start, outside)
        figures.money("end_equity", end, lacks)
        paid = self.paid.get(number, Fraction(0))
        known = None if end is None or start is None or outside else end - start - paid
        figures.money("net_profit", known, lacks if end is None else outside)
        total: Fraction | float | None = None
        why = lacks if end is None else outside
        if end is not None and not outside:
            total, why = self._total(number, end)
        figures.ratio("total_return", None if total is None else total - 1, why)
        years = (rows["time"][-1] - self.began[number]) / _YEAR if rows.height else 0.0
        yearly: float | None = None
        if total is not None and total >= 0 and years > 0:
            try:
                yearly = float(total) ** (1 / years) - 1
            except OverflowError:
                yearly = math.inf
        length = 1 / years if years > 0 else None
        why = why if total is None else "no time went by, or the equity at the end is below 0"
        figures.ratio("cagr", yearly, why if yearly is None else None, periods=length)
        return yearly, length

    def _total(self, number: int, end: Fraction) -> tuple[Fraction | float | None, str | None]:
        start = self.curves[number].start
        if number in self.paid:
            return self.chained.get(number), _UNKNOWN_FLOW
        if start is None or start <= 0:
            return None, "the equity at the start is not above 0; give starting_cash"
        return end / start, None

    def risks(self, figures: Figures, number: int, periods: float, period: str) -> None:
        """Add what stands on the returns of a curve."""
        found = self.returns.get(number, {"count": 0, "distinct": 0, "spread": None, "mean": None, "below": None})
        count, spread, mean, below = (found[name] for name in ("count", "spread", "mean", "below"))
        root = math.sqrt(periods)
        options: dict[str, Any] = {"periods": periods, "returns": count}
        curve = self.curves[number]
        few = curve.lacking or (few_returns(count, period) if curve.equity.height else NO_BARS)
        enough = count >= 2
        figures.ratio("volatility", spread * root if enough else None, few, **options)
        flat = few if not enough else "the returns are all equal"
        even = not enough or spread == 0 or found["distinct"] == 1
        figures.ratio("sharpe", None if even else mean / spread * root, flat, **options)
        never = few if not enough else "no return is below the risk-free one"
        figures.ratio("sortino", mean / below * root if enough and below else None, never, **options)

    def drawdown(
        self, figures: Figures, number: int, cagr: tuple[float | None, float | None], lacks: str | None
    ) -> None:
        """Add the deepest and the longest fall of a curve."""
        yearly, length = cagr
        found = self.falls.get(number, {})
        lacking = self.curves[number].lacking
        some = found.get("marked", False) and not lacking
        broken = some and found["segments"] > 1
        undefined = some and found["undefined"]
        deepest = found["deepest"] if some and not broken and not undefined else None
        none = lacking or NO_BARS
        why = (
            _UNKNOWN_FLOW if broken else "it fell from a peak that is not above 0; give starting_cash" if some else none
        )
        figures.ratio("max_drawdown", deepest, why)
        figures.money("max_drawdown_amount", found["amount"] if some else None, none)
        days = (found["lasting"] or timedelta()) / _DAY if some and not broken else None
        figures.ratio("max_drawdown_days", days, _UNKNOWN_FLOW if broken else none, unit="days")
        known = deepest is not None and deepest < 0 and yearly is not None
        why = lacks if lacks and yearly is None else "no drawdown, or no cagr"
        figures.ratio(
            "calmar", yearly / -deepest if known and deepest and yearly is not None else None, why, periods=length
        )


def few_returns(count: int, period: str) -> str:
    """Say that there are too few returns."""
    return f"{count} return{'' if count == 1 else 's'} per {period}, at least 2 are needed"


def _totals(marks: Marks, flows: dict[int, Fraction]) -> dict[int, float | None]:
    """Return the growth of a unit of each curve with cash flows, null where a part of it is unknown."""
    if not flows:
        return {}
    known = marks.rows.filter(pl.col("curve").is_in(list(flows))).drop_nulls("index")
    whole = pl.when(pl.col("segment").last() == 0).then(pl.col("index").last())
    return dict(known.group_by("curve").agg(whole).iter_rows())


def falls(rows: pl.DataFrame) -> pl.DataFrame:
    """Add to the marked rows of curves: peak (of the index), under (whether below it), fall (ratio), lost (units)."""
    marked = rows.filter(pl.col("equity").is_not_null()).with_columns(units=pl.col("net").to_physical())
    marked = marked.with_columns(
        peak=pl.col("index").cum_max().over("curve"), most=pl.col("units").cum_max().over("curve")
    )
    exact = pl.col("units") < pl.col("most")
    return marked.with_columns(
        under=pl.when(pl.col("touched")).then(pl.col("index") < pl.col("peak")).otherwise(exact),
        fall=pl.when(pl.col("peak") > 0).then(pl.col("index") / pl.col("peak") - 1),
    )


def _falls(marks: Marks) -> dict[int, dict[str, Any]]:
    walk = falls(marks.rows)
    at_peak = pl.when(~pl.col("under")).then("time").forward_fill().shift(1).over("curve")
    under = pl.col("under") | pl.col("under").shift(1).over("curve")
    lost = Exact(walk["units"], 18) - Exact(walk["most"], 18)
    amounts = _least(lost, walk["curve"])
    lasting = walk.with_columns(lasting=pl.when(under).then(pl.col("time") - at_peak))
    found = lasting.group_by("curve").agg(
        marked=pl.len() > 1,
        segments=pl.col("segment").n_unique(),
        deepest=pl.col("fall").min(),
        undefined=(pl.col("under") & pl.col("fall").is_null()).any() | pl.col("fall").is_null().all(),
        lasting=pl.col("lasting").max(),
    )
    return {number: {**row, "amount": amounts[number]} for number, row in _by_curve(found).items()}


def _least(values: Exact, curves: pl.Series) -> dict[int, Fraction]:
    """Return the smallest number of each curve."""
    unit, column = 10**values.places, values.column
    if isinstance(column, pl.Series):
        found = pl.DataFrame({"curve": curves, "units": column}).group_by("curve").agg(pl.col("units").min())
        return {curve: Fraction(units, unit) for curve, units in found.iter_rows()}
    least: dict[int, int] = {}
    for curve, units in zip(curves, column, strict=True):  # beyond what columns hold
        least[curve] = min(least.get(curve, 0), units)
    return {curve: Fraction(units, unit) for curve, units in least.items()}


def _by_curve(frame: pl.DataFrame) -> dict[int, dict[str, Any]]:
    return {row["curve"]: row for row in frame.iter_rows(named=True)}
