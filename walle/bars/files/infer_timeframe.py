"""Infer the timeframe of bars from the distances between them, and check later bars against it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from walle.errors import InputError
from walle.timeframe import COMMON_TIMEFRAMES, TIMEFRAMES, is_calendar

__all__ = ["Grid", "infer_timeframe"]

_DAY = 86_400_000_000
_LEAST_BARS = 3
_LENGTHS = {span // timedelta(microseconds=1): name for name, span in TIMEFRAMES.items() if not is_calendar(name)}
_DAYS = {span // timedelta(microseconds=1): name for name, span in TIMEFRAMES.items() if name[-1] in "dw"}
_USUAL = (_DAY, 7 * _DAY)


def infer_timeframe(instants: pl.Series, wall: pl.Series, symbols: pl.Series) -> str:
    """Return the timeframe that matches the most common distance between bars.

    That distance must be the smallest one, a known timeframe, and at least half of all distances, and all others must
    be multiples of it; of several days, weeks or months, nine in ten of them. If all bars open at midnight by the
    source's clock, they are bars of days, weeks or months.

    Parameters
    ----------
    instants, wall, symbols : polars.Series
        Columns of the same rows; ``wall`` is the time on the source's own clock.

    Raises
    ------
    InputError
        If the timeframe is unclear; the message lists the distances.
    """
    midnight = bool((wall.dt.truncate("1d") == wall).all())
    times = (wall if midnight else instants).alias("time")
    bars = pl.DataFrame({"symbol": symbols, "time": times}).drop_nulls("time").unique().sort("symbol", "time")
    steps = bars.select(pl.col("time").to_physical().diff().over("symbol")).to_series().drop_nulls()
    if steps.len() < _LEAST_BARS - 1:
        raise InputError(
            f"{bars.height} bars are too few to tell the timeframe from: say timeframe='1m', or another of "
            f"{' '.join(COMMON_TIMEFRAMES)}."
        )
    counts = steps.value_counts(sort=True).sort(["count", steps.name], descending=[True, False])
    step, count = counts.row(0)
    monthly = midnight and bool((bars["time"].dt.day() == 1).all()) and bool((steps >= 28 * _DAY).all())
    if monthly and int(steps.median()) <= 31 * _DAY:  # type: ignore[arg-type]  # of integers, and not of none
        return "1M"
    if monthly and (several := _months(bars)) is not None:
        return several
    known = (_DAYS if midnight else _LENGTHS).get(step)
    if midnight and step not in _USUAL and 10 * count < 9 * steps.len():
        known = None
    if known is None or (steps % step != 0).any() or 2 * count < steps.len():
        raise InputError(_unclear(counts, steps.len(), midnight=midnight))
    return known


def _months(bars: pl.DataFrame) -> str | None:
    """Return the timeframe of several months that bars at firsts of months have."""
    month = pl.col("time").dt.year().cast(pl.Int64) * 12 + pl.col("time").dt.month()
    steps = bars.select(month.diff().over("symbol").alias("step")).drop_nulls()["step"]
    step, count = steps.value_counts().sort(["count", "step"], descending=[True, False]).row(0)
    known = 10 * count >= 9 * steps.len() and bool((steps % step == 0).all())
    return f"{step}M" if known and f"{step}M" in TIMEFRAMES else None


class Grid:
    """Checks the bars of an inferred timeframe against its grid, batch after batch.

    Parameters
    ----------
    timeframe : str
    """

    def __init__(self, timeframe: str) -> None:
        self._timeframe = timeframe
        length = TIMEFRAMES[timeframe] // timedelta(microseconds=1)
        self._length = 0 if is_calendar(timeframe) else length
        self._phases: dict[str | None, int] = {}

    def check(self, bars: pl.DataFrame, offset: int) -> None:
        """Check a batch whose first row is row ``offset`` of the source.

        Raises
        ------
        InputError
            For a bar off the grid: the inference was wrong, and the caller has to pass the timeframe.
        """
        if not self._length:
            return  # for dates, check_bars checks where days, weeks and months begin
        phases = bars.select("symbol", phase=pl.col("timestamp").to_physical() % self._length)
        for symbol, phase in phases.drop_nulls().unique("symbol", keep="first").iter_rows():
            self._phases.setdefault(symbol, phase)
        expected = phases["symbol"].replace_strict(self._phases, default=None, return_dtype=pl.Int64)
        off = (phases["phase"] != expected).fill_null(False)
        if off.any():
            place = int(off.arg_true()[0])
            raise InputError(
                f"the bars lie mostly {self._timeframe} apart, but the one at {bars['timestamp'][place]} (row "
                f"{offset + place}) lies off that grid. Say the timeframe: timeframe={self._timeframe!r}, or another."
            )


def _unclear(counts: pl.DataFrame, total: int, *, midnight: bool) -> str:
    found = ", ".join(f"{_span(step)} ({count} times)" for step, count in counts.head(4).iter_rows())
    text = f"the timeframe cannot be told: {total} distances between bars, mostly {found}"
    if not midnight and counts.row(0)[0] % _DAY == 0:
        text += (
            ". For bars of a day or longer say timeframe='1d', and timezone='America/New_York' where they open at "
            "midnight there"
        )
        return text + "."
    return f"{text}. Say it: timeframe='1m', or another of {' '.join(COMMON_TIMEFRAMES)}."


def _span(microseconds: int) -> str:
    for unit, size in (("d", _DAY), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000)):
        if microseconds >= size:
            return f"{microseconds / size:.6g}{unit}"
    return f"{microseconds}us"
