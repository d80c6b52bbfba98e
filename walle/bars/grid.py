"""Count the coverage of each series by day, week or month from spans, without listing every opening time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from walle.bars.coverage import local_phase, short_first_phase
from walle.bars.spans import steps
from walle.calendars import Calendar, Slots
from walle.errors import InputError
from walle.frames import INSTANT
from walle.options import GridPeriod
from walle.periods import phases_of, usual_phase
from walle.timeframe import has_anchor, is_calendar, is_even, length
from walle.validation import MICROSECOND, parse_range, to_microseconds

__all__ = ["GRID", "GRID_PERIODS", "CoverageGrid", "check_period", "count_grid"]

GRID_PERIODS: Mapping[str, str] = {"day": "1d", "week": "1w", "month": "1mo"}  # as Polars spells them

GRID = pl.Schema(
    {
        "symbol": pl.String(),
        "timeframe": pl.String(),
        "start": INSTANT,
        "expected": pl.Int64(),
        "missing": pl.Int64(),
        "coverage": pl.Float64(),
    }
)
"""One row is one series in one day, week or month in UTC in which a bar is expected: the start of that period, the
number of bars that are expected to open in it, how many of them are missing, and the share that is present (0 to 1). No
nulls."""

_DAY = timedelta(days=1) // MICROSECOND
_SERIES = ["symbol", "timeframe"]
_PLACE = pl.Schema({"series": pl.Int64(), "first": pl.Int64(), "last": pl.Int64()})

Moment = datetime | date | str | None


@dataclass(frozen=True, slots=True)
class CoverageGrid:
    """A matrix of counts: a row for each series, a column for each day, week or month.

    Parameters
    ----------
    series : polars.DataFrame
        symbol, timeframe, calendar (its name), first, last (opening times of the first and the last bar in the range,
        UTC; null without bars); one row per row of the matrix.
    starts : polars.Series
        Datetime("us", "UTC"), one per column: the start of each day, week (Monday) or month, none left out.
    expected, missing : polars.Series
        Int32, row after row: the number of bars that are expected to open in a cell, and how many of them are missing.
    period : str
        ``day``, ``week`` or ``month``.
    """

    series: pl.DataFrame
    starts: pl.Series
    expected: pl.Series
    missing: pl.Series
    period: str

    def frame(self) -> pl.DataFrame:
        """Return the cells in which a bar is expected.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`GRID`; series in the order of the matrix, each in order of time.
        """
        width = self.starts.len()
        counted = pl.DataFrame({"expected": self.expected, "missing": self.missing}).with_row_index("place")
        counted = counted.filter(pl.col("expected") > 0)
        rows = counted["place"] // max(1, width)
        named = [self.series[name].gather(rows) for name in _SERIES]
        start = self.starts.gather(counted["place"] % max(1, width)).alias("start")
        shared = pl.DataFrame([*named, start, counted["expected"].cast(pl.Int64), counted["missing"].cast(pl.Int64)])
        there = (pl.col("expected") - pl.col("missing")) / pl.col("expected")
        return shared.with_columns(coverage=there).select(list(GRID)).cast(GRID)

    def take(self, rows: Sequence[int]) -> CoverageGrid:
        """Return the matrix with only these rows, in this order."""
        width = self.starts.len()
        places = pl.DataFrame({"row": pl.Series(rows, dtype=pl.Int64)})
        flat = places.select(pl.int_ranges(pl.col("row") * width, (pl.col("row") + 1) * width).explode()).to_series()
        flat = flat.drop_nulls()
        picked = self.series[list(rows)] if len(rows) else self.series.clear()
        return CoverageGrid(picked, self.starts, self.expected.gather(flat), self.missing.gather(flat), self.period)


def check_period(period: object) -> GridPeriod:
    """Return the period if it is ``day``, ``week`` or ``month``.

    Raises
    ------
    InputError
        For any other period.
    """
    match period:
        case "day" | "week" | "month":
            return period
    raise InputError(f"period={period!r}: allowed are {', '.join(GRID_PERIODS)}.")


def count_grid(
    wanted: Sequence[tuple[str, str]],
    spans: pl.DataFrame,
    markets: Mapping[str, Calendar],
    period: str,
    start: Moment = None,
    end: Moment = None,
) -> CoverageGrid:
    """Count the expected and missing bars by day, week or month.

    Parameters
    ----------
    wanted : sequence of (symbol, timeframe)
        The rows of the matrix.
    spans : polars.DataFrame
        Opening times as spans, joined: columns of ``walle.bars.spans.SPANS``.
    markets : mapping of a symbol to its Calendar
    period : str
        ``day``, ``week`` or ``month``.
    start, end : datetime, date or str, optional
        The range ``[start, end)`` of opening times; by default from a series' first bar to its last one.

    Returns
    -------
    CoverageGrid
        The sums over a series equal the counts of ``walle.bars.coverage.summarise``.

    Raises
    ------
    InputError
        If a calendar does not reach as far as the series.
    """
    check_period(period)
    names = {"symbol": pl.String(), "timeframe": pl.String()}
    listed = (
        pl.DataFrame(list(wanted), schema=names, orient="row").with_row_index("series").cast({"series": pl.Int64()})
    )
    lo, hi = (None if moment is None else to_microseconds(moment) for moment in parse_range(start, end))
    placed = spans.join(listed, on=_SERIES, maintain_order="left").with_columns(step=steps())
    begun = placed.group_by("series").agg(begun=pl.col("first").min())  # also of series without bars in the range
    placed = _inside(placed, lo, hi)
    short = _short_phases(listed, placed, markets)
    placed = placed.select("series", "first", "last")
    listed = listed.join(begun, on="series", how="left", maintain_order="left")
    buckets = _spans(listed, placed, markets, lo, hi).join(short, on="series", how="left", maintain_order="left")
    starts = _columns(buckets, period)
    edges = starts.to_physical()
    width = max(0, starts.len() - 1)
    parts = []
    groups = buckets.partition_by("market", "timeframe", "phase", "short", maintain_order=True)
    for group in groups:
        mine = group.with_row_index("row")
        market, timeframe = markets[group["symbol"][0]], str(group["timeframe"][0])
        there = placed.join(mine.select("series", "row"), on="series", maintain_order="left")
        parts.append(_count(mine, there.select("row", "first", "last"), market, timeframe, edges))
    order = pl.concat([pl.Series([], dtype=pl.Int64), *(group["series"] for group in groups)])
    empty = pl.Series([], dtype=pl.Int32)
    cells = CoverageGrid(
        buckets[order].select(*_SERIES, "calendar", pl.col("first", "last").cast(INSTANT)),
        starts.head(width),
        pl.concat([empty, *(expected for expected, _ in parts)]),
        pl.concat([empty, *(missing for _, missing in parts)]),
        period,
    )
    return cells if order.is_sorted() else cells.take(order.arg_sort().to_list())


def _inside(spans: pl.DataFrame, lo: int | None, hi: int | None) -> pl.DataFrame:
    """Cut spans to the opening times in a range."""
    first, last, step = pl.col("first"), pl.col("last"), pl.col("step")
    if lo is not None:
        spans = spans.with_columns(first=first + -(-(lo - first).clip(0) // step) * step)
    if hi is not None:
        spans = spans.with_columns(last=last - -(-(last - hi + 1).clip(0) // step) * step)
    return spans.filter(first <= last)


def _spans(
    listed: pl.DataFrame, spans: pl.DataFrame, markets: Mapping[str, Calendar], lo: int | None, hi: int | None
) -> pl.DataFrame:
    """Return, for each series, the range in which bars are expected and the parameters of its grid."""
    ends = spans.group_by("series").agg(pl.col("first").min(), pl.col("last").max())
    buckets = listed.join(ends, on="series", how="left", maintain_order="left")
    names = {symbol: market.name for symbol, market in markets.items()}
    kinds = {symbol: id(market) for symbol, market in markets.items()}
    grids = [symbol for symbol, market in markets.items() if market.continuous]
    dated = [name for name in buckets["timeframe"].unique() if is_calendar(name)]
    own = pl.col("symbol").is_in(grids) & ~pl.col("timeframe").is_in(dated) & pl.col("first").is_not_null()
    nowhere = pl.lit(0, pl.Int64)
    known = (pl.lit(lo is not None) | pl.col("first").is_not_null()) & (
        pl.lit(hi is not None) | pl.col("last").is_not_null()
    )
    return buckets.with_columns(
        calendar=pl.col("symbol").replace_strict(names, return_dtype=pl.String),
        market=pl.col("symbol").replace_strict(kinds, return_dtype=pl.Int64),
        phase=pl.when(own).then(pl.col("first") % steps()).otherwise(_anchors(buckets)),
        lo=pl.when(known).then(pl.lit(lo, pl.Int64).fill_null(pl.col("first"))).otherwise(nowhere),
        hi=pl.when(known).then(pl.lit(hi, pl.Int64).fill_null(pl.col("last") + 1)).otherwise(nowhere),
    )


def _anchors(buckets: pl.DataFrame) -> pl.Series:
    """Return the phase of the periods of each series that has an anchor, else 0."""
    found = pl.zeros(buckets.height, dtype=pl.Int64, eager=True)
    for name in buckets["timeframe"].unique():
        if has_anchor(name):
            rows = (buckets["timeframe"] == name).arg_true()
            days = buckets["begun"].gather(rows) // _DAY * _DAY
            found = found.scatter(rows, phases_of(days, name).fill_null(usual_phase(name)))
    return found


def _short_phases(listed: pl.DataFrame, spans: pl.DataFrame, markets: Mapping[str, Calendar]) -> pl.DataFrame:
    """Return series and short: the phase of those whose sessions begin with a short bar, or that follow New York."""
    first, last = pl.col("first"), pl.col("last")
    following = first.shift(-1).over("series")
    crowded = (following - last < pl.col("step")) & (following % pl.col("step") != last % pl.col("step"))
    ordered = spans.sort("series", "first")
    several = ordered.group_by("series").agg(phases=(first % pl.col("step")).n_unique()).filter(pl.col("phases") > 1)
    forex = [symbol for symbol, market in markets.items() if market.name == "24/5"]
    moving = listed.filter(pl.col("symbol").is_in(forex), pl.col("series").is_in(several["series"].implode()))
    asked = pl.concat([ordered.filter(crowded.fill_null(False))["series"], moving["series"]]).unique()
    found: list[tuple[int, int]] = []
    for number, symbol, timeframe in listed.filter(pl.col("series").is_in(asked.implode())).iter_rows():
        mine = spans.filter(pl.col("series") == number)
        times = mine.select(
            pl.int_ranges("first", pl.col("last") + pl.col("step"), pl.col("step")).explode()
        ).to_series()
        find = local_phase if symbol in forex else short_first_phase
        phase = find(times.unique().sort().cast(INSTANT), timeframe, markets[symbol])
        if phase is not None:
            found.append((number, phase // MICROSECOND))
    return pl.DataFrame(found, schema={"series": pl.Int64(), "short": pl.Int64()}, orient="row")


def _columns(buckets: pl.DataFrame, period: str) -> pl.Series:
    """Return the start of each day, week or month that the series reach into, and the end of the last one."""
    known = buckets.filter(pl.col("lo") < pl.col("hi"))
    if known.is_empty():
        return pl.Series("start", [], INSTANT)
    step = GRID_PERIODS[period]
    begins = known.select(pl.col("lo").min(), (pl.col("hi") - 1).max()).cast(INSTANT)
    begins = begins.with_columns(pl.all().dt.truncate(step)).with_columns(pl.col("hi").dt.offset_by(step))
    edges = begins.select(start=pl.datetime_ranges("lo", "hi", interval=step, time_unit="us").explode())
    return edges["start"].cast(INSTANT)


def _count(
    buckets: pl.DataFrame, spans: pl.DataFrame, market: Calendar, timeframe: str, edges: pl.Series
) -> tuple[pl.Series, pl.Series]:
    """Count the expected and the missing bars in each cell of the series that share one grid."""
    width, height = max(0, edges.len() - 1), buckets.height
    short = buckets["short"][0]
    own_phase = buckets["phase"][0] if short is None and (market.continuous or has_anchor(timeframe)) else short
    phase = None if own_phase is None else timedelta(microseconds=own_phase)
    known = buckets.filter(pl.col("lo") < pl.col("hi"))
    lo, hi = (known["lo"].min(), known["hi"].max()) if known.height else (0, 0)
    ends = pl.Series([lo, hi], dtype=pl.Int64).cast(INSTANT)
    special = {"local" if market.continuous else "short_first": short is not None}
    slots = market.slots(timeframe, ends[0], ends[1], phase=phase, **special)
    bounds = _before(slots, edges)
    own = buckets.select("row", low=_before(slots, buckets["lo"]), high=_before(slots, buckets["hi"]))
    place = pl.DataFrame({"place": pl.int_range(height * width, eager=True)})
    row, column = place["place"] // max(1, width), place["place"] % max(1, width)
    limits = pl.DataFrame(
        {
            "left": bounds.gather(column),
            "right": bounds.gather(column + 1),
            "low": own["low"].gather(row),
            "high": own["high"].gather(row),
        }
    )
    counted = (pl.min_horizontal("right", "high") - pl.max_horizontal("left", "low")).clip(0)
    expected = limits.select(counted.cast(pl.Int32)).to_series()
    gaps = _gaps(_present(slots, spans, timeframe), own)
    held = _by_cell(gaps, bounds, width)
    missing = pl.zeros(height * width, dtype=pl.Int32, eager=True).scatter(held["place"], held["missing"])
    return expected.alias("expected"), missing.alias("missing")


def _before(slots: Slots, times: pl.Series) -> pl.Series:
    """Count the slots that open before each instant (microseconds)."""
    return slots.floor((times - 1).cast(INSTANT)) + 1


def _present(slots: Slots, spans: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Return row, first and last: the first and last slot of each unbroken sequence of present bars."""
    if slots.first.is_empty():
        return pl.DataFrame(schema={"row": spans.schema["row"], "first": pl.Int64(), "last": pl.Int64()})
    if is_even(timeframe):  # each span of others is one bar
        spans = _aligned(slots, spans, length(timeframe) // MICROSECOND)
    placed = spans.select("row", first=_before(slots, spans["first"]), last=slots.floor(spans["last"].cast(INSTANT)))
    return placed.filter(pl.col("first") <= pl.col("last")).sort("row", "first")


def _aligned(slots: Slots, spans: pl.DataFrame, step: int) -> pl.DataFrame:
    """Return the parts of spans that lie on the grid, whose phase may change with the market's daylight saving time."""
    regimes = pl.DataFrame({"begins": slots.first, "phase": slots.first % step})
    regimes = regimes.filter((pl.col("phase") != pl.col("phase").shift(1)).fill_null(True))
    begins = regimes["begins"]
    ends = begins.shift(-1).fill_null(2**62)
    lowest, highest = ((begins.search_sorted(spans[name], "right").cast(pl.Int64) - 1) for name in ("first", "last"))
    split = spans.with_columns(lowest=lowest.clip(0), highest=highest.clip(0))
    several = split.filter(pl.col("lowest") < pl.col("highest"))
    parts = split.filter(pl.col("lowest") == pl.col("highest")).with_columns(regime="lowest")
    if several.height:
        cut = several.with_columns(regime=pl.int_ranges("lowest", pl.col("highest") + 1)).explode("regime")
        cut = cut.with_columns(begins=begins.gather(cut["regime"]), ends=ends.gather(cut["regime"]))
        cut = cut.with_columns(
            inside=pl.max_horizontal("first", "begins"), last=pl.min_horizontal("last", pl.col("ends") - 1)
        )
        # its own opening times go on from the regime's begin, and not from there
        cut = cut.with_columns(first=pl.col("first") + -((pl.col("first") - pl.col("inside")) // step) * step)
        cut = cut.filter(pl.col("first") <= pl.col("last"))
        parts = pl.concat([parts, cut.select(parts.columns)])
    return parts.filter(pl.col("first") % step == regimes["phase"].gather(parts["regime"]))


def _gaps(present: pl.DataFrame, own: pl.DataFrame) -> pl.DataFrame:
    """Return row, first and last: the first and last slot of each gap."""
    ends = own.select("row", first="high", last="high")  # a sentinel after the last slot closes the last gap
    stops = pl.concat([present, ends.cast(present.schema)]).sort("row", "first", maintain_order=True)
    low = own["low"].gather(stops["row"])
    before = pl.col("last").shift(1).over("row") + 1
    gaps = stops.select("row", first=before.fill_null(low), last=pl.col("first") - 1)
    return gaps.filter(pl.col("first") <= pl.col("last"))


def _by_cell(gaps: pl.DataFrame, bounds: pl.Series, width: int) -> pl.DataFrame:
    """Return the columns place (in the matrix) and missing for each cell that a gap reaches into."""
    none = pl.DataFrame(schema={"place": pl.Int64(), "missing": pl.Int32()})
    if gaps.is_empty():
        return none
    lowest, highest = (bounds.search_sorted(gaps[name], "right").cast(pl.Int64) - 1 for name in ("first", "last"))
    placed = gaps.with_columns(lowest=lowest, highest=highest)
    row = pl.col("row").cast(pl.Int64) * width
    inside = placed.filter(pl.col("lowest") == pl.col("highest"))
    parts = [inside.select(place=row + pl.col("lowest"), missing=pl.col("last") - pl.col("first") + 1)]
    wide = placed.filter(pl.col("lowest") < pl.col("highest"))
    if wide.height:
        split = wide.with_columns(column=pl.int_ranges("lowest", pl.col("highest") + 1)).explode("column")
        left, right = bounds.gather(split["column"]), bounds.gather(split["column"] + 1)
        split = split.with_columns(left=left, right=right)
        share = pl.min_horizontal(pl.col("last") + 1, "right") - pl.max_horizontal("first", "left")
        parts.append(split.select(place=row + pl.col("column"), missing=share).filter(pl.col("missing") > 0))
    return pl.concat(parts).group_by("place").agg(pl.col("missing").sum()).cast(none.schema)
