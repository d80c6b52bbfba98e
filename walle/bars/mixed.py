"""Bars of one source that stand on several grids, and which of them are off the grid that most follow."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from walle.bars.clocks import ZONES, clock, follows
from walle.bars.phase import Phases, names_in
from walle.bars.spans import steps
from walle.frames import INSTANT, no_rows
from walle.timeframe import is_calendar, length, parts

__all__ = ["CROWDED", "mixed_grids", "opens_too_early", "refused_times"]

CROWDED = pl.Schema({"symbol": pl.String(), "timeframe": pl.String(), "timestamp": INSTANT, "neighbour": INSTANT})
"""One row is a new bar and another bar that opens less than one bar's length before or after it (UTC, no nulls)."""

_SERIES = ["symbol", "timeframe"]
_KEY = [*_SERIES, "timestamp"]
_ONE_GRID = "; a series has one grid: store another under another symbol"
_MICROSECOND = timedelta(microseconds=1)
_HOUR = timedelta(hours=1) // _MICROSECOND


def mixed_grids(bars: pl.DataFrame, phases: Phases) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Find bars that open before the bar before them has ended, or that have left its grid.

    Neighbours may do so where a session of their calendar cuts the first one short. A grid may also move where the
    clocks of some market have changed between them.

    Parameters
    ----------
    bars : polars.DataFrame
        symbol, timeframe, timestamp (UTC): sorted by these, without nulls or duplicates.
    phases : Phases
        With the markets of the symbols.

    Returns
    -------
    off, unclear : polars.DataFrame
        symbol, timeframe, timestamp, reason: the bars off the grid that more than half of their series follow; and
        those that have left the bar before them where no grid has most, or where the bars may as well be those of a
        timeframe half as long.
    """
    none = pl.DataFrame(schema={**{name: CROWDED[name] for name in _KEY}, "reason": pl.String()})
    pairs = _unexplained(bars, phases)
    if pairs.is_empty():
        return none, none
    found = []
    odd = bars.select(_KEY).join(pairs.select(_SERIES).unique(), on=_SERIES, how="semi", maintain_order="left")
    usual = _usual_grids(odd)
    for series, mine in odd.partition_by(_SERIES, as_dict=True, maintain_order=True).items():
        off = _minority(mine, usual[series], int(opens_too_early(mine, phases).sum()), phases)
        if off is not None:
            found.append(_beside(mine.filter(off), mine.filter(~off)))
    off_grid = refused_times(pl.concat(found), of="") if found else none
    left = _unexplained(bars.join(off_grid, on=_KEY, how="anti", maintain_order="left"), phases) if found else pairs
    return off_grid, refused_times(left, of="", hint="")


def opens_too_early(bars: pl.DataFrame, phases: Phases) -> pl.Series:
    """Return whether each bar opens before the bar before it has ended; the parameters are those of `mixed_grids`."""
    early = _irregular(bars, moved=False)
    return early & ~_cut_short(bars, phases) if early.any() else early


def refused_times(crowded: pl.DataFrame, *, of: str = "stored ", hint: str = _ONE_GRID) -> pl.DataFrame:
    """Return the reason for each refused opening time: symbol, timeframe, timestamp, reason."""
    apart = (pl.col("timestamp") - pl.col("neighbour")).dt.total_microseconds().abs() >= steps()
    strange = pl.format("it opens on another grid than the {}bar of {}", pl.lit(of), _shown("neighbour"))
    earlier = pl.format("it opens before the {}bar of {} has ended", pl.lit(of), _shown("neighbour"))
    later = pl.format("the {}bar of {} opens before it has ended", pl.lit(of), _shown("neighbour"))
    which = pl.when(apart).then(strange).when(pl.col("neighbour") < pl.col("timestamp")).then(earlier).otherwise(later)
    reasons = crowded.select(*_KEY, reason=which + pl.lit(hint))
    return reasons.unique(_KEY, keep="first", maintain_order=True)


def _shown(name: str) -> pl.Expr:
    return pl.col(name).dt.to_string("%Y-%m-%d %H:%M:%S").str.replace(r":00$", "") + pl.lit(" UTC")


def _unexplained(bars: pl.DataFrame, phases: Phases) -> pl.DataFrame:
    """Return the bars that lie at no whole number of bars after the one before, without a reason: ``CROWDED``."""
    odd = _irregular(bars, moved=True)
    if odd.any():
        odd &= ~_cut_short(bars, phases)
    if not odd.any():
        return no_rows(CROWDED)
    before = bars.select(*_KEY, neighbour=pl.col("timestamp").shift(1)).filter(odd)
    apart = (pl.col("timestamp") - pl.col("neighbour")).dt.total_microseconds() >= steps()
    return before.filter(~(apart & follows("timestamp", "neighbour", steps()))).cast(CROWDED)


def _irregular(bars: pl.DataFrame, *, moved: bool) -> pl.Series:
    """Return whether each bar opens too soon after the one before it, or if ``moved``, between two bars after it.

    Only bars longer than an hour can have moved: shorter ones are strays then (:meth:`Phases.strays`).
    """
    lengths = {name: _shortest(name) // _MICROSECOND for name in names_in(bars["timeframe"])}
    if not lengths:
        return pl.Series(dtype=pl.Boolean)
    grids = {name: unit if moved and unit > _HOUR and not is_calendar(name) else 1 for name, unit in lengths.items()}
    step = pl.col("timestamp").to_physical().diff()
    shortest, grid = pl.lit(next(iter(lengths.values()))), pl.lit(next(iter(grids.values())))
    if len(lengths) > 1 or bars["symbol"].n_unique() > 1:
        step = step.over(_SERIES)
        name = pl.col("timeframe")
        shortest, grid = (name.replace_strict(each, return_dtype=pl.Int64) for each in (lengths, grids))
    odd = step < shortest
    if max(grids.values()) > 1:
        odd |= step % grid != 0
    return bars.select(odd.fill_null(False)).to_series()


def _shortest(timeframe: str) -> timedelta:
    """Return the length of a bar, of months less than the shortest."""
    count, unit = parts(timeframe)
    return timedelta(days=28 * count) if unit == "M" else length(timeframe)


def _cut_short(bars: pl.DataFrame, phases: Phases) -> pl.Series:
    """Return whether the calendar expects each bar and the one before it.

    The last bar of a session may be cut short, and the next session's first bar then opens early.
    """
    expected = phases.on_grid(bars)
    return expected & expected.shift(1).fill_null(False)


def _usual_grids(bars: pl.DataFrame) -> dict[tuple[object, ...], tuple[str, int, int, int]]:
    """Return the zone on whose clocks most bars of each series open at the same time of a grid.

    Returns
    -------
    dict
        By symbol and timeframe: the zone, the bar's length, when the grid begins on its clocks, and how many bars
        follow it. UTC comes first where another zone has no more, and is the only zone for bars of an hour and less.
    """
    units = {name: length(name) // _MICROSECOND for name in names_in(bars["timeframe"])}
    unit = pl.col("timeframe").replace_strict(units, return_dtype=pl.Int64).alias("unit")
    timed, found = bars.with_columns(unit), []
    for place, zone in enumerate(("UTC", *ZONES)):
        moving = timed if place == 0 else timed.filter(pl.col("unit") > _HOUR)
        local = moving.select(*_SERIES, "unit", grid=clock("timestamp", zone) % pl.col("unit"))
        counts = local.group_by(*_SERIES, "unit", "grid").len("count").sort("count", "grid", descending=[True, False])
        most = counts.unique(_SERIES, keep="first", maintain_order=True)
        found.append(most.select(*_SERIES, pl.lit(zone).alias("zone"), "unit", "grid", "count"))
    best = pl.concat(found).sort("count", descending=True, maintain_order=True)
    rows = best.unique(_SERIES, keep="first", maintain_order=True).iter_rows()
    return {(symbol, timeframe): (*grid,) for symbol, timeframe, *grid in rows}


def _minority(mine: pl.DataFrame, usual: tuple[str, int, int, int], early: int, phases: Phases) -> pl.Series | None:
    """Return whether each bar of a series is off the grid that most follow, or None if that is unclear.

    The grid is that of the calendar, or the usual one, the same time on the clocks of one zone. Where most bars open
    too early, two grids half a bar apart may as well be one of bars that are half as long.
    """
    dense = 2 * early > mine.height
    expected = phases.on_grid(mine)
    if not dense and 2 * expected.sum() > mine.height:
        return ~expected
    zone, unit, grid, most = usual
    local = mine.select(phase=clock("timestamp", zone) % unit).to_series()
    off = local != grid
    half = bool((2 * (local.filter(off) - grid) % (2 * unit) == unit).any())
    return None if 2 * most <= mine.height or (dense and half) else off & ~expected


def _beside(strange: pl.DataFrame, others: pl.DataFrame) -> pl.DataFrame:
    """Return bars off the grid with those of the grid before and after them (``CROWDED``), crowded ones first."""
    named = others.select("timestamp", neighbour="timestamp")
    pairs = [strange.join_asof(named, on="timestamp", strategy=strategy) for strategy in ("backward", "forward")]
    both = pl.concat(pairs).drop_nulls("neighbour").select(list(CROWDED))
    apart = (pl.col("timestamp") - pl.col("neighbour")).dt.total_microseconds().abs() >= steps()
    return both.sort(apart, pl.col("timestamp"), maintain_order=True)
