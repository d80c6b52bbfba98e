"""Bars that lie closer to one another than a bar is long, found from spans of opening times.

Two spans of one grid never crowd each other, and most series have one grid: times are written out only for a series
with several grids, and only near the new bars.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import polars as pl

from walle.bars.clocks import follows
from walle.bars.mixed import CROWDED
from walle.bars.phase import Phases, Series, phase_unit
from walle.bars.spans import steps
from walle.frames import INSTANT, no_rows
from walle.timeframe import TIMEFRAMES, is_calendar, length

__all__ = [
    "CROWDED",
    "crowded_by",
    "crowded_within",
    "moved_from",
    "moved_within",
    "not_cut_short",
    "off_phase",
]

_PHASES = pl.Schema({"symbol": pl.String(), "timeframe": pl.String(), "phase": pl.Int64()})
_FEW = 8
_HOUR = timedelta(hours=1)
_SERIES = ["symbol", "timeframe"]
_KEY = [*_SERIES, "timestamp"]
_STEP = pl.col("step")


def crowded_by(new: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Find new bars that the stored ones leave no room for.

    Parameters
    ----------
    new, stored : polars.DataFrame
        Columns of :data:`walle.bars.spans.SPANS`. What is in both is not new.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`CROWDED`, sorted by the first three; at most one row for the stored bar before a new one, and
        one for that after it. Months, several days and weeks, whose periods follow one another, and unknown timeframes
        are left out.
    """
    if stored.is_empty():
        return no_rows(CROWDED)
    stepped = new.with_columns(step=steps()).filter(_STEP > 1)
    reach = stepped.group_by(_SERIES).agg(
        low=pl.col("first").min() - _STEP.max(), high=pl.col("last").max() + _STEP.max()
    )
    near = stored.with_columns(step=steps()).join(reach, on=_SERIES)
    near = near.filter((pl.col("first") < pl.col("high")) & (pl.col("last") > pl.col("low")))
    mixed = _with_several_grids(pl.concat([near.select(stepped.columns), stepped]))
    if near.is_empty() or mixed.is_empty():
        return no_rows(CROWDED)
    first, last = pl.col("first"), pl.col("last")
    cut = near.join(mixed, on=_SERIES, how="semi").with_columns(
        first=first + ((pl.col("low") - first).clip(0) + _STEP - 1) // _STEP * _STEP,
        last=last - ((last - pl.col("high")).clip(0) + _STEP - 1) // _STEP * _STEP,
    )
    there = _times(cut.filter(first <= last))
    mine = _times(stepped.join(mixed, on=_SERIES, how="semi")).join(there, on=[*_SERIES, "time"], how="anti")
    time = pl.col("time")
    both = pl.concat([there.with_columns(known=time), mine.with_columns(known=pl.lit(None, pl.Int64))])
    ordered = both.sort(*_SERIES, "time").with_columns(
        before=pl.col("known").forward_fill().over(_SERIES), after=pl.col("known").backward_fill().over(_SERIES)
    )
    fresh = ordered.filter(pl.col("known").is_null())
    pairs = [
        fresh.filter(distance < _STEP).select(*_SERIES, timestamp=time, neighbour=name)
        for name, distance in (("before", time - pl.col("before")), ("after", pl.col("after") - time))
    ]
    return pl.concat(pairs).sort(*_KEY, "neighbour").cast(CROWDED)


def crowded_within(spans: pl.DataFrame) -> pl.DataFrame:
    """Find bars that open before the bar before them has ended.

    Parameters
    ----------
    spans : polars.DataFrame
        Columns of :data:`walle.bars.spans.SPANS`, joined.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`CROWDED`; the neighbour is the bar before.
    """
    stepped = spans.with_columns(step=steps()).filter(_STEP > 1)
    before = _after_one_another(stepped)
    close = before.filter(pl.col("time") - pl.col("neighbour") < _STEP)
    return close.select(*_SERIES, timestamp="time", neighbour="neighbour").cast(CROWDED)


def _after_one_another(stepped: pl.DataFrame) -> pl.DataFrame:
    """Return each opening time of the series with several grids, and the one before it as ``neighbour``."""
    times = _times(stepped.join(_with_several_grids(stepped), on=_SERIES, how="semi")).sort(*_SERIES, "time")
    return times.with_columns(neighbour=pl.col("time").shift(1).over(_SERIES)).drop_nulls("neighbour")


def moved_within(spans: pl.DataFrame) -> pl.DataFrame:
    """Find bars longer than an hour that have left the grid of the bar before them, unless some market's clocks did.

    Parameters
    ----------
    spans : polars.DataFrame
        Columns of :data:`walle.bars.spans.SPANS`, joined.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`CROWDED`; the neighbour is the bar before, which has ended.
    """
    hours = {name for name in spans["timeframe"].unique() if not is_calendar(name) and length(name) > _HOUR}
    stepped = spans.filter(pl.col("timeframe").is_in(sorted(hours))).with_columns(step=steps())
    before = _after_one_another(stepped)
    apart = pl.col("time") - pl.col("neighbour")
    moved = before.filter((apart > _STEP) & (apart % _STEP != 0)).cast({"time": INSTANT, "neighbour": INSTANT})
    return moved.filter(~follows("time", "neighbour", _STEP)).select(*_SERIES, timestamp="time", neighbour="neighbour")


def moved_from(new: pl.DataFrame, stored: pl.DataFrame, phases: Phases) -> pl.DataFrame:
    """Find new bars off the phase of their series that do not follow the stored bars next to them either.

    A bar may open off the phase if it follows the clocks of a market: where the clocks of some market show the same
    time of the grid as at the stored bar before it, and at the one after it.

    Parameters
    ----------
    new, stored : polars.DataFrame
        Columns of :data:`walle.bars.spans.SPANS`.
    phases : Phases
        With the recorded phases.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`CROWDED`, at most two rows for a bar.
    """
    shifted = _off(new, phases)
    if shifted.is_empty() or stored.is_empty():
        return no_rows(CROWDED)
    grid = {"phase": pl.col("first") % _STEP}
    own = stored.with_columns(step=steps()).with_columns(**grid).select(*_SERIES, "phase", "first", "last")
    times = _times(shifted).with_columns(phase=pl.col("time") % _STEP).sort("time")
    again = _beside(times, own, "first", [*_SERIES, "phase"], "backward")
    times = again.filter((pl.col("last") < pl.col("time")).fill_null(True)).drop("first", "last")
    before = _beside(times, own, "last", _SERIES, "backward").with_columns(neighbour="last")
    after = _beside(times, own, "first", _SERIES, "forward").with_columns(neighbour="first")
    columns = [*times.columns, "neighbour"]
    pairs = pl.concat([before.select(columns), after.select(columns)]).drop_nulls("neighbour")
    pairs = pairs.filter((pl.col("time") - pl.col("neighbour")) % _STEP != 0)
    pairs = pairs.with_columns(pl.col("time", "neighbour").cast(INSTANT))
    return pairs.filter(~follows("time", "neighbour", _STEP)).select(*_SERIES, timestamp="time", neighbour="neighbour")


def not_cut_short(crowded: pl.DataFrame, phases: Phases) -> pl.DataFrame:
    """Leave out the pairs of bars that the calendar of their symbol both expects: a session cuts the first one short.

    Parameters
    ----------
    crowded : polars.DataFrame
        Columns of :data:`CROWDED`.
    phases : Phases
        With the markets of the symbols.
    """
    if crowded.is_empty():
        return crowded
    expected = [phases.on_grid(crowded.select(*_SERIES, timestamp=pl.col(name))) for name in ("timestamp", "neighbour")]
    return crowded.filter(~(expected[0] & expected[1]))


def off_phase(spans: pl.DataFrame, phases: Phases) -> set[Series]:
    """Return the series that have spans off their phase, as sessions and daylight saving time allow."""
    if spans.height <= _FEW:
        return {(symbol, name) for symbol, name, first, _ in spans.iter_rows() if _is_off(symbol, name, first, phases)}
    return set(_off(spans, phases).select(_SERIES).unique().iter_rows())


def _is_off(symbol: str, timeframe: str, first: int, phases: Phases) -> bool:
    """Tell of one bar what :func:`_off` tells of many: a frame of one row costs more than the answer."""
    if timeframe not in TIMEFRAMES or (is_calendar(timeframe) and timeframe != "1d"):
        return False
    unit = phase_unit(timeframe)
    return (first - phases.known.get((symbol, timeframe), 0)) % unit != 0


def _off(spans: pl.DataFrame, phases: Phases) -> pl.DataFrame:
    """Return the spans off the phase of their series, with their step."""
    found = spans.with_columns(step=steps()).join(_recorded(phases), on=_SERIES, how="left", maintain_order="left")
    away = (pl.col("first") - pl.col("phase").fill_null(0)) % _STEP != 0
    return found.filter(away & (_STEP > 1) & (pl.col("timeframe") != "1w")).drop("phase")


def _beside(
    times: pl.DataFrame, spans: pl.DataFrame, end: str, by: list[str], strategy: Literal["backward", "forward"]
) -> pl.DataFrame:
    """Join to each time the span whose first or last bar is the nearest one before or after it."""
    others = spans.select(*by, *({"first", "last"} if "phase" in by else {end})).sort(end)
    return times.join_asof(others, left_on="time", right_on=end, by=by, strategy=strategy, check_sortedness=False)


def _recorded(phases: Phases) -> pl.DataFrame:
    rows = [(*series, phase) for series, phase in phases.known.items()]
    return pl.DataFrame(rows, schema=_PHASES, orient="row")


def _with_several_grids(spans: pl.DataFrame) -> pl.DataFrame:
    grids = spans.group_by(_SERIES).agg(grids=(pl.col("first") % _STEP).n_unique())
    return grids.filter(pl.col("grids") > 1).select(_SERIES)


def _times(spans: pl.DataFrame) -> pl.DataFrame:
    listed = spans.select(*_SERIES, "step", time=pl.int_ranges("first", pl.col("last") + _STEP, _STEP))
    return listed.explode("time").drop_nulls("time")
