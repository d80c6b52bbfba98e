"""Benchmark prices of executions, taken from bars, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import NamedTuple

import polars as pl

from walle.errors import InputError
from walle.exact import Exact, shortest
from walle.fills.market import Market, first_reason
from walle.frames import DECIMAL
from walle.validation import MICROSECOND

__all__ = ["BENCHMARKS", "Price", "arrival", "check_benchmarks", "daily", "interval_vwap"]

BENCHMARKS = ("arrival", "vwap", "open", "close")

_DAY = timedelta(days=1)
_BREAK = timedelta(hours=3)
"""A longer break ends the day of a market."""


class Price(NamedTuple):
    """Benchmark prices, and the reasons why some are missing.

    Parameters
    ----------
    value : polars.Series
        Decimal(38, 18); null where no price can be determined.
    reason : polars.Series
        String: why there is no price; null elsewhere.
    """

    value: pl.Series
    reason: pl.Series


def check_benchmarks(names: str | Sequence[str]) -> list[str]:
    """Return the names of benchmarks as a list.

    Raises
    ------
    InputError
        For an unknown name, a duplicate name, or no name.
    """
    given = [names] if isinstance(names, str) else list(names)
    unknown = [name for name in given if name not in BENCHMARKS]
    if unknown or not given or len(set(given)) != len(given):
        raise InputError(f"benchmarks={names!r}: give some of {', '.join(BENCHMARKS)}, each once.")
    return given


def arrival(market: Market, times: pl.Series, what: str) -> Price:
    """Return the last close at or before each instant.

    Parameters
    ----------
    market : Market
    times : polars.Series
        Datetime("us", "UTC").
    what : str
        The occurrence at these instants, for the reasons: ``the order was submitted``.
    """
    if market.bars.is_empty():
        return _none(times.len(), "no bars of this symbol")
    price, stale = market.last_close(times)
    reasons = {
        f"no bar before {what}": price.is_null(),
        f"the bars end before {what}": stale & (times > market.reach()[1]),
        f"a bar is missing when {what}": stale,
    }
    return _priced(price, reasons)


def interval_vwap(market: Market, starts: pl.Series, ends: pl.Series) -> Price:
    """Return the volume-weighted average price of the bars that each span touches, both of its ends included.

    A bar's own average is unknown, so its typical price (high + low + close) / 3 stands for it. The result is rounded
    once, half-even at 18 places.
    """
    if market.bars.is_empty():
        return _none(starts.len(), "no bars of this symbol")
    bars, opens = market.bars, market.bars["timestamp"]
    low, high = market.reach()
    first = market.ends().search_sorted(starts, "right").cast(pl.Int64)
    last = opens.search_sorted(ends, "right").cast(pl.Int64) - 1
    parts = [shortest(bars[name]) for name in ("high", "low", "close", "volume")]
    unfit = pl.select(pl.any_horizontal(part.is_null() for part in parts)).to_series().cast(pl.Int64)
    top, bottom, close, volume = (Exact.of(part.fill_null(0)) for part in parts)
    inside = (first <= last) & (first < opens.len()) & (last >= 0)
    begin, end = first.clip(0, opens.len() - 1), last.clip(0, opens.len() - 1)
    traded = _between(volume, begin, end)
    value = _between((top + bottom + close) * volume, begin, end).over(traded * 3)
    reasons = {
        "filled before the order was submitted": starts > ends,
        "the bars start after the order was submitted": starts < low,
        "the bars end before its last fill": (ends >= high) & market.is_open(ends),
        "a bar is missing between submission and last fill": market.touches_gap(starts, ends),
        "no bar between submission and last fill": ~inside,
        "a value of a bar is too large to be exact": _between(Exact(unfit.cast(pl.Int128)), begin, end).compare(0) != 0,
        "no volume between submission and last fill": traded.compare(0) == 0,
    }
    return _priced(value, reasons)


def daily(market: Market, times: pl.Series, column: str) -> Price:
    """Return the ``open`` or ``close`` of the day that each instant lies in.

    The day is the market's session, including breaks of up to three hours; if the session is longer than a day, it is
    the UTC day.
    """
    if market.bars.is_empty():
        return _none(times.len(), "no bars of this symbol")
    if market.step >= _DAY:  # each bar spans a day or more
        place = market.place(times)
        return _priced(market.price(column, place), {"the bar of the day is missing": place.is_null()})
    opens, closes, closed = _days(market, times)
    first = column == "open"
    place = market.place(opens if first else closes - MICROSECOND)
    start = market.bars["timestamp"].gather(place.fill_null(0))
    missing = place.is_null() | ((start != opens) if first else pl.Series([False]).new_from_index(0, times.len()))
    low, high = market.reach()
    border = "the bars start after the day's open" if first else "the bars end before the day does"
    reasons = {
        "the market was closed": closed,
        border: missing & ((opens < low) if first else (closes > high)),
        f"the {'first' if first else 'last'} bar of the day is missing": missing,
    }
    return _priced(market.price(column, place), reasons)


def _days(market: Market, times: pl.Series) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Return the open and close of each instant's day, and whether the market was closed."""
    floor = times.dt.truncate("1d")
    if market.sessions is None:
        return floor, floor + _DAY, pl.Series([False]).new_from_index(0, times.len())
    if market.sessions.is_empty():
        return floor, floor + _DAY, pl.Series([True]).new_from_index(0, times.len())
    day = ((pl.col("open") - pl.col("close").shift(1)) > _BREAK).fill_null(True).cum_sum()
    days = market.sessions.group_by(day.alias("day"), maintain_order=True).agg(pl.first("open"), pl.last("close"))
    place = days["open"].search_sorted(times, "right").cast(pl.Int64) - 1
    known = place.clip(0)
    frame = pl.DataFrame({"floor": floor, "open": days["open"].gather(known), "close": days["close"].gather(known)})
    long = pl.col("close") - pl.col("open") > _DAY
    frame = frame.with_columns(
        pl.when(long).then(pl.max_horizontal("open", "floor")).otherwise("open").alias("open"),
        pl.when(long).then(pl.min_horizontal("close", pl.col("floor") + _DAY)).otherwise("close").alias("close"),
    )
    return frame["open"], frame["close"], ~market.is_open(times)


def _between(values: Exact, first: pl.Series, last: pl.Series) -> Exact:
    """Add up the values from ``first`` to ``last``, both included."""
    sums = values.cum_sum()
    before = sums.gather((first - 1).clip(0)).where(first > 0)
    return sums.gather(last) - before


def _priced(value: pl.Series, reasons: Mapping[str, pl.Series]) -> Price:
    """Return prices, null where a reason applies; the first one that does is given."""
    reason = pl.select(first_reason(reasons).alias("reason")).to_series()
    return Price(value.set(reason.is_not_null(), None).alias("benchmark_price"), reason)


def _none(count: int, why: str) -> Price:
    value = pl.Series("benchmark_price", [None] * count, dtype=DECIMAL)
    return Price(value, pl.Series("reason", [why], dtype=pl.String).new_from_index(0, count))
