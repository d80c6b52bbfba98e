"""What a run earned beside a benchmark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from walle.runs.figures import RELATIVE, Figures
from walle.runs.marks import Marks, changes
from walle.runs.worth_figures import few_returns

__all__ = ["Benchmark", "Relative"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A series beside which a run is measured.

    The returns of the run and of the benchmark go from one session that both had to the next one: if the run trades
    around the clock and the benchmark from Monday to Friday, the return of a Monday is since Friday for both. The price
    of the benchmark is its last close in its session when the run is marked. A return without a price at one of its
    ends does not count, for either. With ``returns="bar"`` a session is a bar. The
    metrics are:

    - beta: the covariance of both returns, divided by the variance of the benchmark's (n - 1).
    - alpha: the mean of the returns less ``risk_free``, less beta times that of the benchmark, times ``periods``:
      Jensen (1968), "The Performance of Mutual Funds in the Period 1945-1964", Journal of Finance 23(2). (So does
      quantstats; empyrical compounds it instead.)
    - tracking_error: the standard deviation (n - 1) of the differences of the returns, times the square root of
      ``periods``.
    - information_ratio: the mean of these differences divided by their standard deviation, times the square root of
      ``periods``: Goodwin (1998), "The Information Ratio", Financial Analysts Journal 54(4). (empyrical and quantstats
      do not annualise it.)

    Attributes
    ----------
    symbol : str
    bars : polars.DataFrame
        time (the end of a bar) and close (Float64; null at the end of a gap in the bars), sorted.
    sessions : polars.DataFrame, optional
        Its own sessions, as for :func:`walle.runs.metrics.metrics`; only without them, dates without bars are taken for
        dates without a session.
    start : float or None
        Its price when the run began.
    periods : float
        How many of these returns a year has.
    """

    symbol: str
    bars: pl.DataFrame
    sessions: pl.DataFrame | None = None
    start: float | None = None
    periods: float = 365.25

    def beside(self, marks: pl.DataFrame, returns: str) -> pl.DataFrame:
        """Keep the marks of a run on the sessions that the benchmark had too, with its price then.

        Parameters
        ----------
        marks : polars.DataFrame
            label (the date of a session, or the end of a bar; null at the start) and time (null without a mark).
        returns : str

        Returns
        -------
        polars.DataFrame
            The same rows and columns, and price: null where it is unknown, or the run has no mark.
        """
        if returns == "bar":
            ends = self.bars.select(label="time", price="close")
            found = marks.join(ends.with_columns(had=True), on="label", how="left", maintain_order="left")
        else:
            known, sessions = self._by_session()
            priced = marks.with_row_index("row").sort("time", nulls_last=True)
            priced = priced.join_asof(known, on="time", check_sortedness=False).sort("row").drop("row")
            inside = pl.when(pl.col("of") == pl.col("label")).then("close")
            found = priced.with_columns(price=inside, had=pl.col("label").is_in(sessions.implode())).drop("close", "of")
        first = pl.col("label").is_null()
        price = pl.when(first).then(pl.lit(self.start, pl.Float64())).otherwise("price")
        return found.filter(first | pl.col("had")).with_columns(price=price).drop("had")

    def _by_session(self) -> tuple[pl.DataFrame, pl.Series]:
        """Return its bars, each with the session that it belongs to (time, close, of), and all of its sessions."""
        known = self.bars.drop_nulls("close").select("time", "close")
        if self.sessions is None:
            days = known.with_columns(of=pl.col("time").dt.offset_by("-1us").dt.date())
            return days, days["of"].unique()
        place = (self.sessions["after"].search_sorted(known["time"], "left").cast(pl.Int64) - 1).clip(0)
        return known.with_columns(self.sessions["session"].gather(place).alias("of")), self.sessions["session"]


@dataclass(frozen=True, slots=True)
class Relative:
    """The returns of curves beside their benchmarks, by the number of the curve."""

    benchmarks: Sequence[Benchmark | None]
    found: dict[int, dict[str, Any]]
    period: str

    @staticmethod
    def of(marks: Marks, benchmarks: Sequence[Benchmark | None], returns: str, risk_free: float) -> Relative:
        """Measure each curve beside its benchmark."""
        if not any(benchmarks):
            return Relative(benchmarks, {}, returns)
        parts = []
        for (number,), part in marks.points().partition_by("curve", as_dict=True).items():
            held = benchmarks[number]
            if held is None:
                continue
            key = part["key"]
            label = marks.labels[number].gather(key.set(key == key.min(), None)).alias("label")
            both = held.beside(part.with_columns(label), returns).with_columns(rate=risk_free / held.periods)
            parts.append(both.select("curve", "index", "segment", "price", "rate"))
        if not parts:
            return Relative(benchmarks, {}, returns)
        before = pl.col("price").shift(1).over("curve")
        theirs = pl.when(before > 0).then(pl.col("price") / before - 1)
        paired = changes(pl.concat(parts)).with_columns(theirs=theirs).drop_nulls(["change", "theirs"])
        mine, other = pl.col("change") - pl.col("rate"), pl.col("theirs") - pl.col("rate")
        gap = pl.col("change") - pl.col("theirs")
        stats = paired.group_by("curve").agg(
            count=pl.len(),
            together=pl.cov(mine, other),
            alone=other.var(),
            even=pl.col("theirs").n_unique() == 1,
            equal=gap.n_unique() == 1,
            mine=mine.mean(),
            other=other.mean(),
            gap=gap.mean(),
            spread=gap.std(),
        )
        return Relative(benchmarks, {row["curve"]: row for row in stats.iter_rows(named=True)}, returns)

    def add(self, figures: Figures, number: int) -> None:
        """Add the metrics of a curve, if it has a benchmark."""
        benchmark = self.benchmarks[number]
        if benchmark is None:
            return
        found = self.found.get(number, {"count": 0})
        count, periods = found["count"], benchmark.periods
        options: dict[str, Any] = {"periods": periods, "returns": count}
        few = few_returns(count, f"{self.period} with a price of {benchmark.symbol}")
        if count < 2:
            for name in RELATIVE:
                figures.ratio(name, None, few, **{**options, "periods": None if name == "beta" else periods})
            return
        beta = None if found["even"] or not found["alone"] else found["together"] / found["alone"]
        flat = f"the returns of {benchmark.symbol} are all equal"
        alpha = None if beta is None else (found["mine"] - beta * found["other"]) * periods
        root, spread = math.sqrt(periods), found["spread"]
        figures.ratio("alpha", alpha, flat, **options)
        figures.ratio("beta", beta, flat, returns=count)
        figures.ratio("tracking_error", spread * root, **options)
        ratio = None if found["equal"] or not spread else found["gap"] / spread * root
        figures.ratio("information_ratio", ratio, "the differences of the returns are all equal", **options)
