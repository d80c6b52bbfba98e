"""Coverage and gaps: answered from the index, so that they do not grow with the bars."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import polars as pl

import walle
from tests.benchmarks.measure import seconds
from walle import migrate
from walle.config import DatabaseConfig

__all__ = ["measure"]

FEW, MANY = 100, 1_000
"""Bars of each series, and ten times as many."""


def measure(place: Callable[[], str], frame: pl.DataFrame, label: str) -> list[str]:
    """Return what it took, a sentence each: of 1,000 series, or fewer with a short frame.

    Parameters
    ----------
    place : callable
        Returns the address of a new store.
    frame : polars.DataFrame
        One-minute bars: those of the long series, and the first of them those of the others.
    label : str
        The database.
    """
    times, series = {}, min(1_000, frame.height // 40)
    for count in (FEW, MANY):
        address = place()
        migrate.upgrade(DatabaseConfig(url=address))
        with walle.connect(address) as store:
            store.bars.ingest(_series(frame.head(count), series), timeframe="1m", progress=False)
            assert store.bars.coverage().height == series
            times[count] = statistics.median(seconds(store.bars.coverage) for _ in range(20))
            if count == MANY:
                # what few bars change is summed up at reading, until a large write comes
                store.bars.ingest(_series(frame.slice(count, 1), series), timeframe="1m", progress=False)
                live = statistics.median(seconds(store.bars.coverage) for _ in range(20))
                holed = frame.filter(pl.int_range(frame.height) % 997 != 3)
                store.bars.ingest(holed, symbol="LONG", timeframe="1m", progress=False)
                gaps = statistics.median(seconds(lambda: store.bars.gaps("LONG", "1m")) for _ in range(5))
                earlier = frame.head(50).with_columns(pl.col("timestamp") - pl.duration(minutes=50))
                one = statistics.median(
                    seconds(partial(store.bars.ingest, bar, symbol="LONG", timeframe="1m"))
                    for bar in earlier.iter_slices(1)
                )
    return [
        f"{label}: coverage() of {series:,} series: {times[MANY] * 1000:.0f} ms (goal: under 50 ms); with a tenth of "
        f"the bars {times[FEW] * 1000:.0f} ms, ratio {times[MANY] / times[FEW]:.2f}; after one bar more each "
        f"{live * 1000:.0f} ms",
        f"{label}: gaps() of {frame.height:,} bars: {gaps * 1000:.0f} ms (goal: under 100 ms)",
        f"{label}: ingest of one bar more into that series: {one * 1000:.1f} ms",
    ]


def _series(frame: pl.DataFrame, series: int) -> pl.DataFrame:
    """Return many series, each of them without every 97th bar, from another one on."""
    place = pl.int_range(frame.height)
    return pl.concat(
        frame.filter((place + number) % 97 != 0).with_columns(symbol=pl.lit(f"S{number:04}"))
        for number in range(series)
    )
