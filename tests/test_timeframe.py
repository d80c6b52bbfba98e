"""The names of timeframes, and bars of those that few venues have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import walle
from tests.samples import bars
from walle.errors import UnknownTimeframe
from walle.timeframe import COMMON_TIMEFRAMES, check_timeframe

START = datetime(2025, 3, 3, tzinfo=UTC)


def test_what_divides_a_day_is_a_timeframe_under_one_name() -> None:
    lengths = {name: length for name, length in walle.TIMEFRAMES.items() if name[-1] in "smh"}
    whole = [timedelta(seconds=seconds) for seconds in range(1, 86_400) if 86_400 % seconds == 0]
    assert list(lengths.values()) == whole  # each once, from the shortest
    for name, length in lengths.items():
        count, unit = int(name[:-1]), {"s": 1, "m": 60, "h": 3600}[name[-1]]
        assert timedelta(seconds=count * unit) == length and (unit == 3600 or count % 60)
    assert set(COMMON_TIMEFRAMES) <= set(walle.TIMEFRAMES)
    assert {"10s", "2m", "10m", "20m", "45m", "90m", "3h"} <= set(walle.TIMEFRAMES)


NEAREST = {
    "60s": "1m", "60m": "1h", "120m": "2h", "24h": "1d", "1440m": "1d", "86400s": "1d", "7d": "1w",  # another name
    "7m": "6m", "5h": "4h", "7h": "6h", "13h": "12h", "11s": "10s", "50m": "48m", "0m": "1m",  # divides no day
    "5min": "5m", "1H": "1h", "15T": "15m", "1Day": "1d", "2 hours": "2h", "1MIN": "1m", "45sec": "45s", "month": "1M",
    "M15": "15m", "H4": "4h", "D1": "1d", "W1": "1w", "MN1": "1M", "1mo": "1M",
    "14d": "2w", "48h": "2d", "168h": "1w", "36h": "1d", "2880m": "2d", "3D": "3d", "2W": "2w", "6mo": "6M", "0d": "1d",
    "1y": "12M", "2 years": "24M", "1Q": "3M", "quarter": "3M", "1000d": "999d", "5000w": "999w", "1000M": "999M",
}  # fmt: skip


@pytest.mark.parametrize(("wrong", "near"), NEAREST.items())
def test_a_wrong_name_is_answered_with_the_nearest_right_one(wrong: str, near: str) -> None:
    with pytest.raises(UnknownTimeframe, match=f"Did you mean '{near}'"):
        check_timeframe(wrong)


@pytest.mark.parametrize("wrong", ["", "foo", "m" * 1000, "9" * 1000 + "m", None, 5])
def test_what_means_none_is_refused_without_a_hint(wrong: object) -> None:
    with pytest.raises(UnknownTimeframe, match="such as 10s, 45m, 3h") as caught:
        check_timeframe(wrong)
    assert "Did you mean" not in str(caught.value)


@pytest.mark.parametrize("timeframe", ["2m", "10s", "10m", "20m", "45m", "75s", "90m", "3h", "288m"])
def test_bars_of_any_timeframe_are_stored_counted_and_found_in_files(
    store: walle.Store, tmp_path: object, timeframe: str
) -> None:
    step = walle.TIMEFRAMES[timeframe]
    count = timedelta(days=2) // step
    times = pl.Series([START + number * step for number in range(count) if number not in (3, 4, 7)])
    frame = bars(times.len()).with_columns(times.alias("timestamp").cast(pl.Datetime("us", "UTC")))
    frame.write_csv(f"{tmp_path}/ticks.csv")
    report = store.bars.ingest(f"{tmp_path}/ticks.csv", symbol="A/USD", progress=False)  # by their distances
    assert report.inserted == times.len()
    (series,) = store.bars.coverage().rows(named=True)
    assert (series["timeframe"], series["expected"], series["missing"]) == (timeframe, count, 3)
    assert store.bars.gaps("A/USD", timeframe)["missing"].to_list() == [2, 1]
    stray = frame.head(1).with_columns(pl.col("timestamp") + step / 2)
    with pytest.raises(walle.WalleError):
        store.bars.ingest(stray, symbol="A/USD", timeframe=timeframe, progress=False)
    assert walle.resample(store.bars.read("A/USD", timeframe), "1d", timeframe=timeframe).height == 2
