"""What runs were worth at the end of each session, and the returns from one to the next: of many curves at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction

import polars as pl

from walle.calendars import calendar as find_calendar
from walle.decimals import to_float
from walle.exact import decimals
from walle.frames import DECIMAL, INSTANT
from walle.periods import offset
from walle.runs.sessions import session_starts
from walle.timeframe import length
from walle.validation import EPOCH

__all__ = ["FLOWS", "Curve", "Marks", "changes"]

FLOWS = pl.Schema({"time": INSTANT, "amount": DECIMAL})
"""One row is one external cash flow: when, and how much (above 0 for a deposit, below 0 for a withdrawal)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """The equity of one run in one currency, and what is needed to measure it."""

    equity: pl.DataFrame
    start: Fraction | None = Fraction(0)
    currency: str | None = None
    run_id: str | None = None
    sessions: pl.DataFrame | None = None
    """Columns of SESSION_STARTS; None: the days in UTC. Empty: each row counts."""
    flows: pl.DataFrame | None = None
    timeframe: str | None = None
    """Of its shortest bars."""
    lacking: str | None = None
    """Why what it gained is not known: a rate of its start or of a cash flow. Null rates make no returns."""

    def began(self) -> datetime:
        """Return when the first bar opened: the shortest bar before the first row."""
        times = self.equity["time"]
        if times.is_empty():
            return EPOCH
        step, first = times.diff().min(), times[0]
        if self.timeframe is not None and self.timeframe.endswith("M"):  # from the first of the month after them
            return times.head(1).dt.offset_by(f"-{offset(self.timeframe)}")[0]  # type: ignore[no-any-return]  # an instant
        if self.timeframe is not None and times.len() == 1:
            step = length(self.timeframe)
        return first - step if isinstance(step, timedelta) else first  # type: ignore[no-any-return]  # an instant


@dataclass(frozen=True, slots=True)
class Marks:
    """The rows of curves, each curve after a row of its start.

    ``rows``: curve (its number), time, equity, fills, key (of its session, -1 at the start), index (Float64: the worth,
    or, where money was paid in or out, that of a unit), segment (between rows of two segments no return is known), net
    (the equity less what was paid in so far) and touched (whether the curve has cash flows).
    """

    curves: Sequence[Curve]
    rows: pl.DataFrame
    labels: dict[int, pl.Series] = field(default_factory=dict)
    """The session of each key of a curve: its date, or the end of a bar."""
    began: Sequence[datetime] = ()

    @staticmethod
    def of(curves: Sequence[Curve], returns: str = "session") -> Marks:
        """Stack the rows of curves; ``returns="bar"`` makes each row a session of its own."""
        keys: list[pl.Series] = []
        labels: dict[int, pl.Series] = {}
        for number, curve in enumerate(curves):
            times = curve.equity["time"]
            if returns == "bar":
                keys.append(pl.int_range(times.len(), eager=True))
                labels[number] = times
                continue
            starts = curve.sessions
            if starts is None:
                starts = session_starts([(find_calendar(), "1m")], times)
            keys.append((starts["after"].search_sorted(times, "left").cast(pl.Int64) - 1).clip(0))
            labels[number] = starts["session"]
        if not curves:
            return Marks(curves, pl.DataFrame(schema=_ROWS), labels)
        began = [curve.began() for curve in curves]
        heads = {
            "time": began,
            "equity": decimals("equity", (curve.start for curve in curves)),
            "fills": [0] * len(curves),
            "key": [(key[0] if key.len() else 0) - 1 for key in keys],
            "curve": range(len(curves)),
        }
        first = pl.DataFrame(heads, schema_overrides={name: _ROWS[name] for name in heads})
        parts = [
            curve.equity.select("time", "equity", "fills").with_columns(
                key.alias("key"), curve=pl.lit(number, pl.Int64)
            )
            for number, (curve, key) in enumerate(zip(curves, keys, strict=True))
        ]
        every = pl.concat([first, *parts]).sort("curve", maintain_order=True)
        stacked = to_float(every.with_columns(index="equity"), ["index"])
        unknown = [number for number, curve in enumerate(curves) if curve.lacking]
        if unknown:
            stacked = stacked.with_columns(index=pl.when(~pl.col("curve").is_in(unknown)).then("index"))
        plain = {"segment": pl.lit(0, pl.Int64), "net": pl.col("equity"), "touched": pl.lit(False)}
        stacked = stacked.with_columns(**plain).select(list(_ROWS))
        return Marks(curves, _chained(stacked, curves), labels, began)

    def of_bars(self) -> pl.DataFrame:
        """Return the rows without those of the starts."""
        return self.rows.filter(pl.int_range(pl.len()).over("curve") > 0)

    def returns(self) -> pl.DataFrame:
        """Return the change of each curve from session to session: curve, key, index, segment, change (null: unknown).

        The last marked row of a session is its mark. A session without a mark has none, except that the last worth
        stands in one without a row if no fill and no gap in the bars came between its neighbours.
        """
        return changes(self.points())

    def points(self) -> pl.DataFrame:
        """Return the mark of each session of each curve: curve, key, index, segment and time (null without a mark)."""
        same = ("fills", "segment")
        following = pl.col("equity").is_not_null() & pl.col("equity").shift(-1).over("curve").is_not_null()
        stays = following & pl.all_horizontal(pl.col(name) == pl.col(name).shift(-1).over("curve") for name in same)
        last = pl.col("index", "segment", "time").filter(pl.col("equity").is_not_null()).last()
        found = (
            self.rows.with_columns(stays=stays.fill_null(False))
            .group_by("curve", "key", maintain_order=True)
            .agg(last, pl.col("stays", "equity").last())
            .with_columns(lasting=pl.col("stays") & pl.col("equity").is_not_null())
            .drop("stays", "equity")
        )
        hole = pl.col("key").shift(-1).over("curve") - pl.col("key") > 1
        if not found.select(hole.any()).item():
            return found.drop("lasting")
        ends = found.group_by("curve", maintain_order=True).agg(
            pl.int_ranges(pl.col("key").min(), pl.col("key").max() + 1).alias("key")
        )
        every = ends.explode("key")
        joined = every.join(found.with_columns(there=True), on=["curve", "key"], how="left", maintain_order="left")
        stands = pl.col("there").is_null() & pl.col("lasting").forward_fill().over("curve")
        held = [
            pl.when(stands).then(pl.col(name).forward_fill().over("curve")).otherwise(name).alias(name)
            for name in ("index", "segment")
        ]
        return joined.with_columns(held).select("curve", "key", "index", "segment", "time")


_ROWS = pl.Schema(
    {
        "curve": pl.Int64(),
        "time": INSTANT,
        "equity": DECIMAL,
        "fills": pl.Int64(),
        "key": pl.Int64(),
        "index": pl.Float64(),
        "segment": pl.Int64(),
        "net": DECIMAL,
        "touched": pl.Boolean(),
    }
)


def changes(points: pl.DataFrame) -> pl.DataFrame:
    """Add to points, in order, the change of each from the one before it of its curve."""
    before, same = pl.col("index").shift(1).over("curve"), pl.col("segment") == pl.col("segment").shift(1).over("curve")
    change = pl.when(same & (before > 0)).then(pl.col("index") / before - 1)
    return points.with_columns(change=change)


def _chained(rows: pl.DataFrame, curves: Sequence[Curve]) -> pl.DataFrame:
    """Make the index that of a unit in curves with cash flows."""
    flows = [
        pl.DataFrame(curve.flows).select(pl.lit(number, pl.Int64).alias("curve"), *FLOWS)
        for number, curve in enumerate(curves)
        if curve.flows is not None and curve.flows.height
    ]
    if not flows:
        return rows
    numbered = rows.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    placed = []
    for paid in flows:  # a row has counted the flows before its time, as it has counted the fills
        mine = numbered.filter(pl.col("curve") == paid["curve"][0])
        place = (mine["time"].search_sorted(paid["time"], "right").cast(pl.Int64) - 1).clip(0)
        placed.append(paid.select("amount", row=mine["row"].gather(place)))
    sums = pl.concat(placed).group_by("row").agg(flow=pl.col("amount").sum())
    found = numbered.join(sums, on="row", how="left", maintain_order="left").with_columns(
        pl.col("flow").fill_null(0), touched=pl.col("flow").is_not_null().any().over("curve")
    )
    so_far = pl.col("flow").cum_sum().over("curve").cast(DECIMAL) - pl.col("flow")
    found = found.with_columns(net=(pl.col("equity") - so_far).cast(DECIMAL))
    units = to_float(found.filter("touched"), ["flow"])
    units = units.filter(pl.col("equity").is_not_null() | (pl.col("flow") != 0))
    base = (pl.col("index") + pl.col("flow")).shift(1).over("curve")
    growth = pl.when(base > 0).then(pl.col("index") / base)
    lost = (pl.col("index").is_null() & (pl.col("flow") != 0)).shift(1).over("curve") | (base <= 0)
    units = units.with_columns(growth=growth, segment=lost.fill_null(False).cast(pl.Int64).cum_sum().over("curve"))
    unit = pl.col("growth").fill_null(1.0).cum_prod().over("curve", "segment")
    units = units.with_columns(unit=unit).filter(pl.col("equity").is_not_null()).select("row", "unit", part="segment")
    joined = found.join(units, on="row", how="left", maintain_order="left")
    return joined.with_columns(
        index=pl.when("touched").then("unit").otherwise("index"),
        segment=pl.when("touched").then("part").otherwise("segment"),
    ).select(list(_ROWS))
