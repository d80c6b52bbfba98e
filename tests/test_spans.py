"""Opening times as spans: the same set, and the same counts, as the times themselves."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from walle.bars.coverage import summarise
from walle.bars.spans import SUMMARY, join_spans, pack, spans_of, summaries, times_of, unpack
from walle.frames import INSTANT
from walle.timeframe import TIMEFRAMES, is_even, length

START = datetime(2024, 2, 26)  # a Monday


@st.composite
def series(draw: st.DrawFn) -> tuple[str, list[datetime]]:
    even = sorted(name for name in TIMEFRAMES if is_even(name))
    timeframe = draw(st.sampled_from([*even, "1M", "3M", "12M", "2d", "3d", "2w"]))
    if timeframe.endswith("M"):
        months = draw(st.lists(st.integers(0, 40), min_size=1, max_size=12))
        return timeframe, [datetime(1969 + number // 12, number % 12 + 1, 1) for number in months]
    places = draw(st.lists(st.integers(-30, 60), min_size=1, max_size=50))
    times = [START + place * length(timeframe) for place in places]
    off = draw(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([0.25, 0.5])), max_size=3))
    return timeframe, times + [START + (place + part) * length(timeframe) for place, part in off]


def frame(symbol: str, timeframe: str, times: list[datetime]) -> pl.DataFrame:
    stamps = pl.Series("timestamp", times, pl.Datetime("us")).dt.replace_time_zone("UTC")
    return stamps.to_frame().select(pl.lit(symbol).alias("symbol"), pl.lit(timeframe).alias("timeframe"), "timestamp")


@given(st.lists(series(), min_size=1, max_size=4), st.data())
@settings(max_examples=examples(300), deadline=None)
def test_runs_hold_the_set_and_its_summary(given_series: list[tuple[str, list[datetime]]], data: st.DataObject) -> None:
    bars = pl.concat(frame(f"S{place}", *one) for place, one in enumerate(given_series))
    cut = data.draw(st.integers(0, bars.height))
    whole = spans_of(bars)
    assert join_spans(pl.concat([spans_of(bars.head(cut)), spans_of(bars.tail(bars.height - cut)), whole])).equals(
        whole
    )
    told = summaries(whole)
    assert told["symbol"].to_list() == [f"S{place}" for place in range(len(given_series))]
    packed: list[tuple[str, str, bytes]] = []
    for place, (timeframe, times) in enumerate(given_series):
        mine = whole.filter(symbol=f"S{place}")
        expected = frame("", timeframe, times)["timestamp"].unique().sort()
        assert times_of(mine).to_list() == expected.to_list()
        packed.append((f"S{place}", timeframe, pack(mine)))
        row = told.row(place, named=True)
        assert (row["first"], row["last"]) == (expected.to_physical()[0], expected.to_physical()[-1])
        counts = summarise(expected, timeframe).row(0, named=True)
        if not is_even(timeframe):
            assert row["bars"] == counts["bars"] and row["expected"] is None
        else:
            assert [row[name] for name in SUMMARY] == [counts[name] for name in SUMMARY], timeframe
    assert unpack(packed).equals(whole)


def test_a_timeframe_that_is_none_is_kept_and_not_summed_up() -> None:
    times = [START + timedelta(minutes=7 * number) for number in range(3)]
    runs = spans_of(frame("A", "7m", times))
    assert runs.height == 3
    assert summaries(runs).select("bars", "expected").row(0) == (3, None)


@pytest.mark.parametrize("rows", [0, 1])
def test_little_is_no_trouble(rows: int) -> None:
    runs = spans_of(frame("A", "1m", [START] * rows))
    assert runs.height == rows
    assert times_of(runs).dtype == INSTANT
    assert summaries(runs).height == rows
    assert unpack([("A", "1m", pack(runs))]).equals(runs)
    assert unpack([]).schema == runs.schema
