"""The drawdowns of a run, and its returns by month, year or session."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from walle.errors import InputError
from walle.frames import DECIMAL, INSTANT
from walle.runs.marks import Curve, Marks, changes
from walle.runs.worth_figures import falls

__all__ = ["DRAWDOWNS", "PERIODS_OF_TABLES", "RETURNS", "drawdowns", "returns_by"]

DRAWDOWNS = pl.Schema(
    {
        "currency": pl.String(),
        "begin": INSTANT,
        "bottom": INSTANT,
        "recovery": INSTANT,
        "depth": pl.Float64(),
        "amount": DECIMAL,
        "days_to_bottom": pl.Float64(),
        "days": pl.Float64(),
    }
)
"""One row is one drawdown: ``begin`` is when the equity was last at its peak, ``bottom`` when it was lowest, and
``recovery`` when it first was at the peak again (null: not until the end); UTC. ``depth`` is the fall as a share of the
peak (below 0; null if the peak is not above 0) and ``amount`` is the fall in money (below 0). ``days_to_bottom`` is
from begin to bottom, ``days`` from begin to recovery, or to the last row."""

RETURNS = pl.Schema(
    {"currency": pl.String(), "period": pl.Date(), "return": pl.Float64(), "returns": pl.Int64(), "reason": pl.String()}
)
"""One row is one period: its first day, or the date of a session. ``return`` is a ratio, null if it is unknown, and
``reason`` then says why; ``returns`` is the number of sessions in it of which the return is known."""

PERIODS_OF_TABLES = {"session": "1d", "month": "1mo", "year": "1y"}
_DAY = timedelta(days=1)


def drawdowns(curves: Sequence[Curve], *, top: int = 5) -> pl.DataFrame:
    """List the deepest drawdowns of the curves of a run.

    Parameters
    ----------
    curves : sequence of Curve
        One for each currency.
    top : int
        How many to list of each curve.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`DRAWDOWNS`; the deepest first (by depth, then amount, then time), curve by curve. A drawdown
        is a stretch of marked rows of the equity below their previous peak: Magdon-Ismail and Atiya (2004), "Maximum
        Drawdown", Risk 17(10). With cash flows depth is that of a unit of the time-weighted chain. Empty without one.
    """
    walk = falls(Marks.of(curves, "bar").rows).filter(pl.col("curve") >= 0)
    number = (~pl.col("under")).cast(pl.Int64).cum_sum().over("curve")  # a row at a peak begins each stretch
    walk = walk.with_columns(stretch=number, lost=pl.col("net") - pl.col("net").cum_max().over("curve"))
    walk = walk.with_columns(last=pl.col("time").last().over("curve"))
    back = pl.col("time").shift(-1).over("curve")
    under = pl.col("under")
    deepest = pl.when(pl.col("touched")).then("fall").otherwise(pl.col("units") - pl.col("most"))
    found = (
        walk.with_columns(back=back, deep=deepest)
        .group_by("curve", "stretch", maintain_order=True)
        .agg(
            pl.col("time").first().alias("begin"),
            pl.col("time").filter(under).get(pl.col("deep").filter(under).arg_min()).alias("bottom"),
            pl.col("back").last().alias("recovery"),
            pl.col("fall").filter(under).min().alias("depth"),
            pl.col("lost").filter(under).min().alias("amount"),
            pl.col("last").last(),
            under.any().alias("some"),
        )
        .filter("some")
    )
    names = {number: curve.currency for number, curve in enumerate(curves)}
    currency = pl.col("curve").replace_strict(names, return_dtype=pl.String)
    days = (pl.coalesce("recovery", "last") - pl.col("begin")) / _DAY
    lasting = found.with_columns(
        currency=currency, days_to_bottom=(pl.col("bottom") - pl.col("begin")) / _DAY, days=days
    )
    ranked = lasting.sort("curve", "depth", "amount", "begin", nulls_last=True)
    return ranked.group_by("curve", maintain_order=True).head(top).select(list(DRAWDOWNS)).cast(DRAWDOWNS)


def returns_by(curves: Sequence[Curve], *, period: str = "month") -> pl.DataFrame:
    """List the returns of the curves of a run by period.

    Parameters
    ----------
    curves : sequence of Curve
        One for each currency.
    period : {"month", "year", "session"}

    Returns
    -------
    polars.DataFrame
        Columns of :data:`RETURNS`, sorted by time, curve by curve. The return of a period is the change from the last
        mark of the period before (at first, from the start) to its own last one, chained over cash flows as in
        :func:`walle.runs.metrics.metrics`. A period without a mark has none, and neither has the one after it. Empty
        without bars.

    Raises
    ------
    InputError
        For another period.
    """
    if period not in PERIODS_OF_TABLES:
        raise InputError(f"period={period!r}: allowed are {', '.join(PERIODS_OF_TABLES)}.")
    marks = Marks.of(curves)
    sessions = marks.returns()
    parts = []
    for number, curve in enumerate(curves):
        mine = sessions.filter(pl.col("curve") == number)
        if mine.height < 2:  # the start alone
            continue
        label = marks.labels[number].gather(mine["key"][1:]).dt.truncate(PERIODS_OF_TABLES[period])
        known = mine[1:].select("index", "segment", "change").with_columns(label.alias("period"))
        ends = known.group_by("period", maintain_order=True).agg(
            pl.col("index", "segment").drop_nulls().last(), returns=pl.col("change").count()
        )
        first = mine[:1].select("index", "segment").with_columns(period=pl.lit(None, pl.Date()), returns=pl.lit(0))
        chain = pl.concat([first.cast({"returns": ends.schema["returns"]}).select(ends.columns), ends])
        found = changes(chain.with_columns(curve=pl.lit(number)))[1:]
        parts.append(found.with_columns(currency=pl.lit(curve.currency, pl.String())))
    if not parts:
        return pl.DataFrame(schema=RETURNS)
    every = pl.concat(parts)
    why = pl.when(pl.col("change").is_null()).then(
        pl.when(pl.col("index").is_null())
        .then(pl.lit("no marked row in it"))
        .otherwise(pl.lit("no known worth above 0 before it"))
    )
    renamed = every.select("currency", "period", pl.col("change").alias("return"), "returns", reason=why)
    return renamed.cast(RETURNS)
