"""What the distances between bars say about their timeframe, and whether that contradicts what was given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta

import polars as pl

from walle.bars.spans import SPANS, count_bars, times_of
from walle.calendars import Calendar
from walle.errors import InputError
from walle.timeframe import TIMEFRAMES, is_even, length
from walle.validation import MICROSECOND, from_microseconds

__all__ = ["Contradiction", "contradictions", "is_expected", "shorter_timeframe"]

_SERIES = ["symbol", "timeframe"]
_LEAST = 10
"""Distances below which all have to be equal: a few bars may lie anywhere."""
_STRAY = 0.05
"""The share of distances that may be others, such as those over a change of clocks."""
_EVIDENCE = 6.0
"""Bars that lie by chance where they do are taken for those of another timeframe once in ten to this power."""
_DOUBT = 2.0
"""The same of equal distances that are only doubted."""
_DAY = timedelta(days=1) // MICROSECOND
_LENGTHS = {name: span // MICROSECOND for name, span in TIMEFRAMES.items() if is_even(name)}
_NAMES = {span: name for name, span in _LENGTHS.items()}
# weeks and months that begin on their first session
_UNEVEN = {"1w": (5 * _DAY, 9 * _DAY, 6 * _DAY, 8 * _DAY), "1M": (26 * _DAY, 36 * _DAY, 28 * _DAY, 32 * _DAY)}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A series whose bars are too far apart for its timeframe.

    Parameters
    ----------
    symbol, timeframe : str
    likely : str
        The timeframe that the distances have.
    distances, usual : int
        The number of distances between neighbouring bars, and of those that are one bar of ``likely`` long.
    sure : bool
        Whether chance cannot explain it.
    """

    symbol: str
    timeframe: str
    likely: str
    distances: int
    usual: int
    sure: bool = True


def contradictions(spans: pl.DataFrame) -> list[Contradiction]:
    """Find series whose bars all lie as those of a longer timeframe do.

    That is so if, but for one distance in twenty, all are multiples of one longer timeframe, more of them than chance
    explains, and a third or more are one known timeframe. Bars at dates may also lie about a week or a month apart.
    Three bars or more whose distances are all equal are doubted, if chance explains that less than once in a hundred.

    Parameters
    ----------
    spans : polars.DataFrame
        The opening times of series: columns of ``walle.bars.spans.SPANS``, joined.

    Returns
    -------
    list of Contradiction
        Sorted by symbol and timeframe. None for a series with bars that follow directly on others.
    """
    if spans.height < 3:  # bars that follow on others are too few, if any
        return []
    known = spans.filter(pl.col("timeframe").is_in(sorted(_LENGTHS.keys() - {"1w"})))
    counts = count_bars(known).join(known.group_by(_SERIES).agg(spans=pl.len()), on=_SERIES)
    counts = counts.select(*_SERIES, distances=pl.col("bars") - 1, direct=pl.col("bars") - pl.col("spans"))
    sparse = counts.filter(pl.col("distances") >= 2, pl.col("direct") <= _STRAY * pl.col("distances"))
    if sparse.is_empty():
        return []
    steps = known.join(sparse, on=_SERIES, how="semi").sort(*_SERIES, "first")
    steps = steps.select(*_SERIES, step=(pl.col("first") - pl.col("last").shift(1)).over(_SERIES)).drop_nulls("step")
    multiples = {name: (pl.col("step") % span == 0).sum().alias(name) for name, span in _LENGTHS.items()}
    shapes = {
        f"{name} {part}": pl.col("step").is_between(*bounds).sum()
        for name, (low, high, lower, higher) in _UNEVEN.items()
        for part, bounds in (("near", (low, high)), ("nearer", (lower, higher)))
    }
    each = steps.group_by(_SERIES).agg(**multiples, **shapes)
    usual = steps.group_by(*_SERIES, "step").len("usual").sort("usual", "step", descending=[True, False])
    most = usual.unique(_SERIES, keep="first", maintain_order=True)
    found = sparse.join(each, on=_SERIES).join(most, on=_SERIES).sort(_SERIES)
    said = (_judge(row) for row in found.iter_rows(named=True))
    return [contradiction for contradiction in said if contradiction is not None]


def is_expected(spans: pl.DataFrame, timeframe: str, market: Calendar) -> bool:
    """Return whether a market with sessions expects bars as sparse as those of a series: half of its bars are there."""
    if market.continuous or spans.is_empty():
        return False
    times = times_of(spans.select(list(SPANS)))
    lo, hi = (from_microseconds(int(end)) for end in (spans["first"].min(), spans["last"].max()))  # type: ignore[arg-type]  # integers
    try:
        slots = market.slots(timeframe, lo, hi + MICROSECOND)
    except InputError:  # the range exceeds the calendar's bounds
        return False
    return 2 * slots.place(times).is_not_null().sum() >= slots.total > 0


def shorter_timeframe(rows: pl.DataFrame) -> str | None:
    """Return the timeframe of rows that lie too close together for the one that was given.

    Parameters
    ----------
    rows : polars.DataFrame
        symbol, timeframe, timestamp (UTC), perhaps with nulls.

    Returns
    -------
    str or None
        The one timeframe that at least half of the distances are long, if it is shorter than every given one, and if
        they follow one another: the distances of two grids take turns.
    """
    times = rows.drop_nulls([*_SERIES, "timestamp"]).unique([*_SERIES, "timestamp"]).sort(*_SERIES, "timestamp")
    steps = times.select(step=pl.col("timestamp").to_physical().diff().over(_SERIES)).to_series().drop_nulls()
    if steps.len() < 2:
        return None
    step, count = steps.value_counts().sort(["count", "step"], descending=[True, False]).row(0)
    given = min((length(name) for name in times["timeframe"].unique() if name in TIMEFRAMES), default=timedelta(0))
    if 2 * ((steps == step) & (steps.shift(1) == step)).sum() < count - 1:
        return None
    return _NAMES.get(step) if 2 * count >= steps.len() and step < given // MICROSECOND else None


def _judge(row: dict[str, int]) -> Contradiction | None:
    symbol, timeframe, total = str(row["symbol"]), str(row["timeframe"]), row["distances"]
    own = _LENGTHS[timeframe]
    for name, (*_, low, _) in _UNEVEN.items():
        near, nearer = row[f"{name} near"], row[f"{name} nearer"]
        if total >= _LEAST and near >= (1 - _STRAY) * total and 2 * nearer > total and low > own:
            return Contradiction(symbol, timeframe, name, total, nearer)
    likely = _NAMES.get(row["step"])
    if likely is None or row["step"] <= own or 3 * row["usual"] < total:
        return None
    if row["usual"] == total and row["step"] % own == 0:
        improbable = total * math.log10(row["step"] // own)
        few = Contradiction(symbol, timeframe, likely, total, total, sure=improbable >= _EVIDENCE)
        return few if improbable >= _DOUBT else None
    if total < _LEAST:
        return None
    longer = [span for span in _NAMES if own < span <= row["step"] and span % own == 0]
    if any(_is_no_chance(row[_NAMES[span]], total, span // own) for span in longer):
        return Contradiction(symbol, timeframe, likely, total, row["usual"])
    return None


def _is_no_chance(multiples: int, total: int, ratio: int) -> bool:
    """Return whether bars at random places of a grid would hardly have that many distances of every ``ratio`` steps.

    The chance of at least so many is below C(total, others) * ratio ** -multiples (the union bound), and the binomial
    coefficient below total ** others.
    """
    others = total - multiples
    if others > _STRAY * total:
        return False
    return multiples * math.log10(ratio) - others * math.log10(total) >= _EVIDENCE
