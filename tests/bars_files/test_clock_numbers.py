"""Whole numbers are times only where they can mean nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from walle.bars.files import read_bars, read_frame
from walle.errors import InputError

OHLCV = {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "volume": 3.0}


def table(**columns: Sequence[object]) -> pl.DataFrame:
    prices = {name: pl.lit(value) for name, value in OHLCV.items()}
    return pl.DataFrame(columns).with_columns(**prices)


def read(frame: pl.DataFrame, form: str, folder: Path, timeframe: str | None = "1m") -> list[datetime]:
    path = folder / f"bars.{form}"
    if form == "frame":
        reader = read_frame(frame, symbol="A", timeframe=timeframe, timezone="UTC")
    else:
        if form == "csv":
            frame.write_csv(path)
        elif form == "parquet":
            frame.write_parquet(path)
        else:
            path.write_text(json.dumps(frame.to_dicts()))
        reader = read_bars(path, symbol="A", timeframe=timeframe, timezone="UTC")
    with reader:
        return list(pl.concat(reader)["timestamp"])


@pytest.mark.parametrize("form", ["frame", "csv", "parquet", "json"])
@pytest.mark.parametrize(
    "numbers",
    [
        [hour * 100 for hour in range(24)],
        list(range(930, 954)),
        list(range(24)),
        list(range(1, 25)),
        list(range(2001, 2025)),
        list(range(202_301, 202_325)),
        list(range(93_000, 93_024)),
        list(range(19_723, 19_747)),  # days since 1970
        list(range(28_401_120, 28_401_144)),  # minutes since 1970
    ],
)
def test_numbers_that_may_mean_anything_are_no_times(form: str, numbers: list[object], tmp_path: Path) -> None:
    for timeframe in ("1m", None):
        with pytest.raises(InputError, match="the unit cannot be told"):
            read(table(timestamp=numbers), form, tmp_path, timeframe)


@pytest.mark.parametrize("form", ["frame", "csv", "parquet", "json"])
def test_eight_digits_are_a_date(form: str, tmp_path: Path) -> None:
    days: list[object] = [20240228, 20240229, 20240301, 20240302]
    expected = [datetime(2024, 2, 28, tzinfo=UTC) + timedelta(days=number) for number in range(4)]
    assert read(table(timestamp=days), form, tmp_path, "1d") == expected
    assert read(table(date=days), form, tmp_path, None) == expected


@pytest.mark.parametrize("form", ["frame", "csv", "parquet", "json"])
@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        ([0, 30, 100, 2359], [(0, 0), (0, 30), (1, 0), (23, 59)]),
        ([930, 931, 1000, 1559], [(9, 30), (9, 31), (10, 0), (15, 59)]),
        ([93000, 93100, 100000, 155900], [(9, 30), (9, 31), (10, 0), (15, 59)]),
        ([930.0, 931.0, 1000.0, 1559.0], [(9, 30), (9, 31), (10, 0), (15, 59)]),
        ([30.0, 45.0, 100.0, 115.0], [(0, 30), (0, 45), (1, 0), (1, 15)]),
        (["0001", "0002", "0003", "0004"], [(0, 1), (0, 2), (0, 3), (0, 4)]),
        (["000100", "000200", "000300", "000400"], [(0, 1), (0, 2), (0, 3), (0, 4)]),
        (["930", "931", "1000", "1559"], [(9, 30), (9, 31), (10, 0), (15, 59)]),
    ],
)
def test_numbers_beside_a_date_are_times_of_day(
    form: str, clock: list[object], expected: list[tuple[int, int]], tmp_path: Path
) -> None:
    found = read(table(date=[20240131] * 4, time=clock), form, tmp_path)
    assert found == [datetime(2024, 1, 31, hour, minute, tzinfo=UTC) for hour, minute in expected]


@pytest.mark.parametrize("form", ["frame", "csv", "parquet", "json"])
@pytest.mark.parametrize("clock", [[0, 1, 2, 23], [1, 2, 3, 4], [57, 58, 59, 0]])
def test_hours_minutes_and_counts_are_not_told_apart(form: str, clock: list[object], tmp_path: Path) -> None:
    for timeframe in ("1m", "1h", None):
        with pytest.raises(InputError, match=r"'time' holds whole numbers up to .*hours, minutes past midnight"):
            read(table(date=[20240131] * 4, time=clock), form, tmp_path, timeframe)


def test_the_first_rows_decide_whether_seconds_are_written() -> None:
    """A later page within the first minutes of a day is read as the first one."""
    seconds = [number // 3600 * 10_000 + number // 60 % 60 * 100 + number % 60 for number in range(8_200)]
    frame = table(date=[20240131] * 8_200 + [20240201] * 8_200, time=[*seconds, *seconds])
    with read_frame(frame, symbol="A", timeframe="1s", timezone="UTC", batch_rows=4_100) as reader:
        found = list(pl.concat(reader)["timestamp"])
    days = [datetime(2024, 1, 31, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)]
    assert found == [day + timedelta(seconds=number) for day in days for number in range(8_200)]


def test_nothing_and_a_lone_midnight_are_no_doubt(tmp_path: Path) -> None:
    midnight = read(table(date=[20240131, 20240201, 20240202], time=[0, 0, 0]), "frame", tmp_path, "1d")
    assert midnight[0] == datetime(2024, 1, 31, tzinfo=UTC)
    missing = table(date=[20240131, 20240131], time=[None, 930])
    assert read(missing, "frame", tmp_path) == [None, datetime(2024, 1, 31, 9, 30, tzinfo=UTC)]


def test_a_zero_among_seconds_is_no_time() -> None:
    for numbers, timeframe, expected in (
        ([1_704_067_200, 0, 1_704_067_320], "1m", None),
        ([86_400 * day for day in range(1, -1_200, -1)] + [1_704_067_200], "1d", datetime(1970, 1, 1, tzinfo=UTC)),
    ):
        with read_frame(table(timestamp=numbers), symbol="A", timeframe=timeframe) as reader:
            assert pl.concat(reader)["timestamp"][1] == expected


def test_dates_that_repeat_beside_an_unread_column_are_refused(tmp_path: Path) -> None:
    days: list[object] = [20240101 + number // 24 for number in range(240)]
    frame = table(date=days, hhmm=[number % 24 * 100 for number in range(240)])
    frame = frame.with_columns(close=0.5 + pl.int_range(240) / 240)
    for timeframe in ("1d", None):
        with pytest.raises(InputError, match=r"holds dates, and most of them several times.*\(hhmm\)"):
            read(frame, "frame", tmp_path, timeframe)
    assert len(read(frame.drop("hhmm"), "frame", tmp_path, "1d")) == 240  # versions of a bar, told as conflicts
    assert len(read(frame[::24], "frame", tmp_path, "1d")) == 10


@pytest.mark.parametrize("form", ["frame", "csv", "parquet", "json"])
@pytest.mark.parametrize(
    ("clock", "timeframe", "doubtful"),
    [
        ([0, 500, 1000, 1500], "5m", True),  # 05:00, or five past midnight
        ([900, 1000, 1100, 1200], "1m", True),
        ([900, 1000, 1100, 1200], "1h", False),
        ([900, 1000, 1100, 1200], "30m", False),  # nine minutes past midnight are no time of bars of 30m
        ([0, 500, 1000, 1505], "5m", False),
    ],
)
def test_hours_are_not_told_from_minutes_of_shorter_bars(
    form: str, clock: list[object], timeframe: str, doubtful: bool, tmp_path: Path
) -> None:
    frame = table(date=[20240131] * 4, time=clock)
    if doubtful:
        with pytest.raises(InputError, match=r"'time' holds \d+ \(row .*: \d\d:00, or 00:\d\d:00\?"):
            read(frame, form, tmp_path, timeframe)
    else:
        found = read(frame, form, tmp_path, timeframe)
        assert found[1] == datetime(2024, 1, 31, int(str(clock[1])) // 100, tzinfo=UTC)


def test_dates_of_pandas_and_of_metastock_stand_beside_times_of_day(tmp_path: Path) -> None:
    frame = table(date=[datetime(2024, 1, 31)] * 4, time=[930, 931, 1000, 1559])
    assert read(frame, "frame", tmp_path)[0] == datetime(2024, 1, 31, 9, 30, tzinfo=UTC)
    named = table(**{"<DTYYYYMMDD>": [20240131] * 4, "<TIME>": [93000, 93100, 100000, 155900]})
    for form in ("frame", "csv"):
        assert read(named, form, tmp_path)[3] == datetime(2024, 1, 31, 15, 59, tzinfo=UTC)
