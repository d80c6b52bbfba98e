"""Compact sets of opening times: spans of evenly spaced ones, which can be joined, counted and packed into bytes.

A frame of spans has the columns symbol, timeframe, first and last: the first and last opening time of each span, in
microseconds since 1970 UTC; within a span, consecutive opening times are one bar's length apart. Months differ in
length, so each bar of 1M is a span of its own, and so is each bar of several days, weeks or months (a series has few of
them) and of an unknown timeframe.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from walle.frames import INSTANT
from walle.timeframe import TIMEFRAMES, is_even
from walle.validation import MICROSECOND

__all__ = [
    "SPANS",
    "SUMMARY",
    "count_bars",
    "join_spans",
    "keys_of",
    "pack",
    "spans_of",
    "steps",
    "summaries",
    "times_of",
    "unpack",
    "within",
    "without",
]

SPANS = pl.Schema({"symbol": pl.String(), "timeframe": pl.String(), "first": pl.Int64(), "last": pl.Int64()})

SUMMARY = ("bars", "expected", "missing", "gaps", "longest_gap", "unexpected")
"""The columns that :func:`summaries` counts; see ``walle.bars.coverage.COVERAGE``."""

_SERIES = ["symbol", "timeframe"]
_STEPS = {name: period // MICROSECOND for name, period in TIMEFRAMES.items() if is_even(name)}
_STEP = pl.col("timeframe").replace_strict(_STEPS, default=1, return_dtype=pl.Int64)
_DAY = timedelta(days=1) // MICROSECOND


def steps() -> pl.Expr:
    """Return the microseconds between two opening times of a span, from the column timeframe."""
    return _STEP


def spans_of(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the spans of bars (symbol, timeframe, timestamp), which may be unsorted and have duplicates."""
    times = bars.select(*_SERIES, time=pl.col("timestamp").to_physical(), series=pl.struct(_SERIES).rle_id())
    # most bars follow directly on the previous one, so only the spans need sorting
    follows = (pl.col("time").diff() == _STEP) & (pl.col("series").diff() == 0)
    spans = times.with_columns(span=(~follows).fill_null(True).cum_sum()).group_by("span", maintain_order=True)
    ends = spans.agg(pl.first(*_SERIES), pl.first("time").alias("first"), pl.last("time").alias("last"))
    return join_spans(ends.drop("span"))


def join_spans(spans: pl.DataFrame) -> pl.DataFrame:
    """Return the union of spans: sorted, without spans that overlap or directly follow one another."""
    if spans.height < 2:
        return spans.select(list(SPANS))
    # opening times on different grids belong to different spans
    own = [*_SERIES, "phase"]
    ordered = spans.with_columns(step=_STEP).with_columns(phase=pl.col("first") % pl.col("step")).sort(*own, "first")
    reached = pl.col("last").cum_max().shift(1).over(own) + pl.col("step")
    parts = ordered.with_columns(part=(pl.col("first") > reached).fill_null(True).cum_sum())
    joined = parts.group_by("part", maintain_order=True).agg(pl.first(*_SERIES), pl.min("first"), pl.max("last"))
    return joined.select(list(SPANS)).sort(*_SERIES, "first")


def times_of(spans: pl.DataFrame) -> pl.Series:
    """Return the opening times in the spans of one series: Datetime("us", "UTC"), ascending."""
    stop = pl.col("last") + _STEP
    times = spans.select(pl.int_ranges("first", stop, _STEP).alias("timestamp")).to_series().explode()
    return times.drop_nulls().sort().cast(INSTANT)


def keys_of(spans: pl.DataFrame) -> pl.DataFrame:
    """Return the opening times in spans: symbol, timeframe, timestamp."""
    times = spans.select(*_SERIES, pl.int_ranges("first", pl.col("last") + _STEP, _STEP).alias("timestamp"))
    return times.explode("timestamp").drop_nulls("timestamp").cast({"timestamp": INSTANT})


def within(keys: pl.DataFrame, spans: pl.DataFrame) -> pl.Series:
    """Return whether each key (symbol, timeframe, timestamp) is an opening time in joined spans: Boolean."""
    times = keys.select(*_SERIES, first=pl.col("timestamp").to_physical(), step=_STEP).with_row_index("place")
    # spans of other phases may overlap, so each phase is searched alone
    phase = (pl.col("first") % pl.col("step")).alias("phase")
    starts = spans.with_columns(step=_STEP).with_columns(phase).drop("step").sort("first")
    found = (
        times.with_columns(phase)
        .sort("first")
        .join_asof(starts, on="first", by=[*_SERIES, "phase"], check_sortedness=False)
    )
    return found.sort("place").select(inside=(pl.col("first") <= pl.col("last")).fill_null(False)).to_series()


def without(spans: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    """Return joined spans without some opening times (symbol, timeframe, timestamp)."""
    gone = keys.filter(within(keys, spans)).select(*_SERIES, time=pl.col("timestamp").to_physical()).unique()
    if gone.is_empty():
        return spans
    series = gone.select(_SERIES).unique()
    kept, cut = (spans.join(series, on=_SERIES, how=how, maintain_order="left") for how in ("anti", "semi"))
    times = cut.select(*_SERIES, time=pl.int_ranges("first", pl.col("last") + _STEP, _STEP)).explode("time")
    left = times.join(gone, on=[*_SERIES, "time"], how="anti", maintain_order="left")
    return join_spans(pl.concat([kept, spans_of(left.rename({"time": "timestamp"}))]))


def count_bars(spans: pl.DataFrame) -> pl.DataFrame:
    """Count the opening times in joined spans: symbol, timeframe, first, last (Int64), bars; one row per series."""
    counted = spans.with_columns(bars=(pl.col("last") - pl.col("first")) // _STEP + 1)
    if spans.height <= 1:  # of a few bars, as an engine sends them
        return counted
    return counted.group_by(_SERIES, maintain_order=True).agg(pl.min("first"), pl.max("last"), pl.sum("bars"))


def summaries(spans: pl.DataFrame) -> pl.DataFrame:
    """Summarise joined spans under the calendar 24/7, as ``walle.bars.coverage.summarise`` does from all the times.

    Returns
    -------
    polars.DataFrame
        symbol, timeframe, first, last (Int64), bars, expected, missing, gaps, longest_gap, unexpected; one row per
        series, sorted. The columns from expected on are null for months, for several days or weeks, and
        for unknown timeframes.
    """
    step, first, last = pl.col("step"), pl.col("first"), pl.col("last")
    day = first // _DAY * _DAY
    whole = (
        count_bars(spans)
        .with_columns(step=_STEP)
        .with_columns(phase=pl.when(timeframe="1d").then(0).when(timeframe="1w").then(day).otherwise("first"))
        # the first and the last expected opening time
        .with_columns(
            start=pl.col("phase") - (pl.col("phase") - first) // step * step,
            end=pl.col("phase") + (last - pl.col("phase")) // step * step,
        )
    )
    grid = spans.join(whole.select(*_SERIES, "step", "phase", "start", "end"), on=_SERIES, maintain_order="left")
    grid = grid.filter((first - pl.col("phase")) % step == 0)
    before = last.shift(1).over(_SERIES).fill_null(pl.col("start") - step)
    holes = grid.select(*_SERIES, hole=(first - before) // step - 1, bars=(last - first) // step + 1)
    reached = grid.group_by(_SERIES).agg(last.max().alias("reached"))
    tails = whole.join(reached, on=_SERIES, how="left").with_columns(
        pl.col("reached").fill_null(pl.col("start") - step)
    )
    tails = tails.select(*_SERIES, hole=((pl.col("end") - pl.col("reached")) // step).clip(0), bars=pl.lit(0, pl.Int64))
    hole = pl.col("hole")
    counted = (
        pl.concat([holes, tails])
        .group_by(_SERIES)
        .agg(present=pl.col("bars").sum(), gaps=(hole > 0).sum().cast(pl.Int64), longest_gap=hole.max())
    )
    expected = ((pl.col("end") - pl.col("start")) // step + 1).clip(0)
    known = pl.col("timeframe").is_in(list(_STEPS))
    summed = whole.join(counted, on=_SERIES, maintain_order="left").with_columns(
        expected=expected, missing=expected - pl.col("present"), unexpected=pl.col("bars") - pl.col("present")
    )
    return summed.select(
        *_SERIES, "first", "last", "bars", *(pl.when(known).then(name).alias(name) for name in SUMMARY[1:])
    ).sort(_SERIES)


def pack(spans: pl.DataFrame) -> bytes:
    """Return the spans of one series as compressed bytes: the differences of their starts, then their lengths."""
    starts = spans["first"].diff().fill_null(spans["first"].head(1)) if spans.height else spans["first"]
    numbers = [*starts.to_list(), *(spans["last"] - spans["first"]).to_list()]
    return zlib.compress(struct.pack(f"<{len(numbers)}q", *numbers), 1)


def unpack(packed: Sequence[tuple[str, str, bytes]]) -> pl.DataFrame:
    """Return the spans of several packed series (symbol, timeframe, bytes): columns of :data:`SPANS`."""
    raw = [zlib.decompress(blob) for _, _, blob in packed]
    halves = [len(numbers) // 2 for numbers in raw]
    steps = b"".join(numbers[:half] for numbers, half in zip(raw, halves, strict=True))
    lengths = b"".join(numbers[half:] for numbers, half in zip(raw, halves, strict=True))
    schema = {"place": pl.Int64(), "symbol": pl.String(), "timeframe": pl.String(), "count": pl.Int64()}
    rows = [(place, *series[:2], half // 8) for place, (series, half) in enumerate(zip(packed, halves, strict=True))]
    named = pl.DataFrame(rows, schema=schema, orient="row").filter(pl.col("count") > 0)
    series = named.select(pl.exclude("count").repeat_by("count").explode())
    first = pl.col("step").cum_sum().over("place")
    numbers = series.with_columns(step=_numbers(steps), length=_numbers(lengths))
    return numbers.select("symbol", "timeframe", first=first, last=first + pl.col("length"))


def _numbers(raw: bytes) -> pl.Series:
    return pl.Series(struct.unpack(f"<{len(raw) // 8}q", raw), dtype=pl.Int64)
