from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bars_files.rows import MINUTE, bars, daily, expected_rows, lines, read
from walle.bars.files import describe, read_bars, read_frame
from walle.errors import InputError

OHLCV = "1,2,0.5,1.5,3"


def times(path: Path, *texts: str, name: str = "time", **said: Any) -> list[datetime]:
    """The instants of a CSV with these texts as its times."""
    path.write_bytes(lines(f"{name},open,high,low,close,volume", *(f'"{text}",{OHLCV}' for text in texts)))
    return [row[2] for row in read(path, **{"symbol": "X", "timeframe": "1m", **said})]


_FORMS = [
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S+00:00",
    "%Y-%m-%dT%H:%M:%S.000Z",
    "%Y-%m-%dT%H:%M:%S.000000000Z",
    "%Y-%m-%d %H:%M:%S UTC",
    "%Y-%m-%dT%H:%M+0000",
    "%Y%m%d %H%M%S+00",
]
_NAIVE_FORMS = [
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y.%m.%d %H:%M",
    "%Y%m%d %H%M%S",
    "%Y%m%d %H%M",
    "%Y%m%d %H:%M:%S",
    "%Y%m%d%H%M%S",
    "%Y%m%dT%H%M%S",
    "%d.%m.%Y %H:%M:%S.000",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%m-%d-%Y %H:%M",
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %I:%M%p",
    "%d-%b-%Y %H:%M",
    "%d %b %Y %H:%M:%S",
    "%b %d, %Y, %H:%M",
]


@pytest.mark.parametrize("form", _FORMS)
def test_texts_with_a_zone_are_instants(tmp_path: Path, form: str) -> None:
    expected = [row[0] for row in bars()]
    assert times(tmp_path / "x.csv", *(when.strftime(form) for when in expected)) == expected


@pytest.mark.parametrize("form", _NAIVE_FORMS)
def test_texts_without_a_zone_need_one(tmp_path: Path, form: str) -> None:
    new_york = ZoneInfo("America/New_York")
    expected = [datetime(2024, 1, 31, 23, 55, tzinfo=new_york) + place * MINUTE for place in range(12)]
    texts = [when.strftime(form) for when in expected]
    assert times(tmp_path / "x.csv", *texts, timezone="America/New_York") == expected
    with pytest.raises(InputError, match=r"x.csv: .*timezone='UTC'"):
        times(tmp_path / "x.csv", *texts)


@pytest.mark.parametrize("name", ["timestamp_utc", "Gmt time", "Date (UTC)", "utc_time"])
def test_a_column_named_utc_is_utc(tmp_path: Path, name: str) -> None:
    assert times(tmp_path / "x.csv", "2024-01-31 09:30:00", name=name) == [datetime(2024, 1, 31, 9, 30, tzinfo=UTC)]
    with pytest.raises(InputError, match="Leave it out"):
        times(tmp_path / "x.csv", "2024-01-31 09:30:00", name=name, timezone="Europe/London")


def test_offsets_may_differ_within_a_column(tmp_path: Path) -> None:
    found = times(tmp_path / "x.csv", "2024-03-10 01:59:00-05:00", "2024-03-10 03:00:00-04:00", "2024-03-10 07:01:00Z")
    assert found == [datetime(2024, 3, 10, 6, 59, tzinfo=UTC) + place * MINUTE for place in range(3)]


def test_a_time_that_a_clock_change_repeats_or_skips_is_null(tmp_path: Path) -> None:
    texts = ["2024-11-03 00:59", "2024-11-03 01:30", "2024-11-03 02:00"]
    found = times(tmp_path / "x.csv", *texts, timezone="America/New_York")
    assert found == [datetime(2024, 11, 3, 4, 59, tzinfo=UTC), None, datetime(2024, 11, 3, 7, 0, tzinfo=UTC)]


def test_fractions_may_be_missing_where_they_are_zero(tmp_path: Path) -> None:
    found = times(tmp_path / "x.csv", "2024-01-31T09:30:00Z", "2024-01-31T09:31:00.5Z")
    assert found == [datetime(2024, 1, 31, 9, 30, tzinfo=UTC), datetime(2024, 1, 31, 9, 31, 0, 500_000, tzinfo=UTC)]


@pytest.mark.parametrize("text", ["2024-01-31T09:31:00.0000001Z", "1706693460000000001"])
def test_times_finer_than_a_microsecond_are_refused(tmp_path: Path, text: str) -> None:
    first = "2024-01-31T09:30:00Z" if "T" in text else "1706693400000000000"
    with pytest.raises(InputError, match=r"finer than a microsecond \(row 1"):
        times(tmp_path / "x.csv", first, text)


@given(
    seconds=st.lists(st.integers(157_766_400, 4_000_000_000), min_size=1, max_size=5),
    unit=st.sampled_from(["s", "ms", "us", "ns"]),
    as_text=st.booleans(),
)
def test_epochs_tell_their_unit_by_their_size(seconds: list[int], unit: str, as_text: bool) -> None:
    numbers = [second * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit] for second in seconds]
    frame = pl.DataFrame({"t": list(map(str, numbers)) if as_text else numbers})
    frame = frame.with_columns(**{name: pl.lit(1.0) for name in "ohlcv"})
    with read_frame(frame, symbol="X", timeframe="1s") as reader:
        found = [when for batch in reader for when in batch["timestamp"].to_list()]
        assert reader.layout.time == f"{unit} since 1970"
    assert found == [datetime.fromtimestamp(second, UTC) for second in seconds]


def test_seconds_may_go_back_before_1973(tmp_path: Path) -> None:
    assert times(tmp_path / "x.csv", "-1325635200", "0", "1706693400") == [
        datetime.fromtimestamp(second, UTC) for second in (-1325635200, 0, 1706693400)
    ]


@pytest.mark.parametrize("texts", [["12345", "12405"], ["99999999999999999999"], ["5000000000"], ["202401310930"]])
def test_numbers_of_no_sure_unit_are_refused(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(InputError, match=r"cannot be told|is no time"):
        times(tmp_path / "x.csv", *texts)


def test_floats_are_epochs_only_when_they_are_whole(tmp_path: Path) -> None:
    assert times(tmp_path / "x.csv", "1706693400.0") == [datetime(2024, 1, 31, 9, 30, tzinfo=UTC)]
    frame = pl.DataFrame({"t": [1706693400.5], **{name: [1.0] for name in "ohlcv"}})
    with pytest.raises(InputError, match="no whole number"):
        read_frame(frame, symbol="X", timeframe="1m")


_MIXED = [
    ("2024-01-31T09:30:00Z", "2024-01-31 09:31:00Z"),
    ("2024-01-31 09:30:00", "31.01.2024 09:31:00"),
    ("2024-01-31 09:30:00", "2024-01-31 09:31:00+00:00"),
    ("2024-01-31 09:30:00", "1706693460"),
    ("1706693400", "2024-01-31 09:31:00"),
    ("1706693400", "1706693460000"),
    ("1706693400", "1.70669346E9"),
    ("2024-01-31", "2024-01-31 09:31:00"),
    ("31/01/2024 09:30", "01/31/2024 09:31"),
    ("2024-01-31T09:30:00Z", "2024-01-31T09:31:00"),
]


@pytest.mark.parametrize(("first", "second"), _MIXED)
def test_mixed_forms_are_refused_with_two_rows(tmp_path: Path, first: str, second: str) -> None:
    with pytest.raises(InputError) as caught:
        times(tmp_path / "x.csv", first, first, second, timezone="UTC" if "Z" not in first else None)
    assert "row 2" in str(caught.value)
    assert "row 0" in str(caught.value)


def test_mixed_forms_are_found_in_a_later_batch(tmp_path: Path) -> None:
    when = [datetime(2024, 1, 1, tzinfo=UTC) + place * MINUTE for place in range(10_000)]
    texts = [f"{moment:%Y-%m-%dT%H:%M:%SZ},{OHLCV}" for moment in when]
    texts[9_000] = f"{when[9_000]:%Y/%m/%d %H:%M:%S},{OHLCV}"
    (tmp_path / "x.csv").write_bytes(lines("time,open,high,low,close,volume", *texts))
    with (
        pytest.raises(InputError, match=r"row 0.*row 9000"),
        read_bars(tmp_path / "x.csv", symbol="X", batch_rows=1000) as reader,
    ):
        list(reader)


@pytest.mark.parametrize("texts", [["01/02/2024 09:30"], ["01-02-2024 09:30", "02-02-2024 09:30"]])
def test_day_or_month_first_is_never_guessed(tmp_path: Path, texts: list[str]) -> None:
    with pytest.raises(InputError, match=r"day or month first.*ingest the frame: .*to_datetime"):
        times(tmp_path / "x.csv", *texts, timezone="UTC")


@pytest.mark.parametrize("text", ["2024-02-30 09:30", "2024-01-31 24:30", "n/a", "=1+1", "Total"])
def test_what_is_no_time_is_null_and_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_bytes(
        lines("time,open,high,low,close,volume", f"2024-01-31 09:30,{OHLCV}", f"{text},{OHLCV}")
    )
    with read_bars(tmp_path / "x.csv", symbol="X", timeframe="1m", timezone="UTC") as reader:
        (frame,) = reader
        assert frame["timestamp"].to_list() == [datetime(2024, 1, 31, 9, 30, tzinfo=UTC), None]
        assert [(cell.row, cell.column, cell.text) for cell in reader.unread] == [(1, "time", text)]


def test_a_leap_second_is_not_rolled_into_the_next_minute(tmp_path: Path) -> None:
    found = times(tmp_path / "x.csv", "2016-12-31 23:59:59", "2016-12-31 23:59:60", timezone="UTC")
    assert found == [datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC), None]


@pytest.mark.parametrize("form", ["%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%m/%d/%Y", "%b %d, %Y", "%Y-%m-%d 00:00:00"])
def test_dates_without_a_zone_are_fine_for_days(tmp_path: Path, form: str) -> None:
    rows = daily(12)
    assert times(tmp_path / "x.csv", *(row[0].strftime(form) for row in rows), timeframe=None) == [
        row[0] for row in rows
    ]


def test_dates_are_no_times_of_minutes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bars below one day need times"):
        times(tmp_path / "x.csv", "2024-01-31", "2024-02-01")


def test_dates_and_clock_times_as_types_and_as_digits() -> None:
    rows = bars()
    rest = {
        name: [row[place] for row in rows] for place, name in enumerate(("open", "high", "low", "close", "volume"), 1)
    }
    typed = pl.DataFrame({"date": [row[0].date() for row in rows], "time": [row[0].time() for row in rows], **rest})
    digits = pl.DataFrame(
        {
            "date": [int(f"{row[0]:%Y%m%d}") for row in rows],
            "time": [int(f"{row[0]:%H%M%S}") for row in rows],
            **rest,
        }
    )
    for frame in (typed, digits):
        with read_frame(frame, symbol="X", timezone="UTC") as reader:
            assert [row for batch in reader for row in batch.iter_rows()] == expected_rows(rows, "X", "1m")


def test_an_unknown_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Mars/Base.*IANA"):
        times(tmp_path / "x.csv", "2024-01-31 09:30", timezone="Mars/Base")


# timeframes from the distances between bars


def _at(path: Path, moments: list[datetime], **said: Any) -> str | None:
    path.write_bytes(lines("time,open,high,low,close,volume", *(f"{moment.isoformat()},{OHLCV}" for moment in moments)))
    return describe(path, symbol="X", **said).timeframe


_START = datetime(2024, 1, 31, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("timeframe", "step"),
    [("1s", 1), ("15s", 15), ("1m", 60), ("3m", 180), ("5m", 300), ("30m", 1800), ("1h", 3600), ("4h", 14400)],
)
def test_the_commonest_distance_is_the_timeframe(tmp_path: Path, timeframe: str, step: int) -> None:
    holes = [place for place in range(30) if place not in (3, 9, 10, 20)]
    assert _at(tmp_path / "x.csv", [_START + place * timedelta(seconds=step) for place in holes]) == timeframe
    backwards = [_START - place * timedelta(seconds=step) for place in holes]
    assert _at(tmp_path / "x.csv", backwards) == timeframe


def test_days_weeks_and_months_are_told_apart(tmp_path: Path) -> None:
    assert _at(tmp_path / "x.csv", [row[0] for row in daily(20)]) == "1d"
    monday = datetime(2024, 1, 1, tzinfo=UTC)
    assert _at(tmp_path / "x.csv", [monday + timedelta(weeks=place) for place in range(9) if place != 4]) == "1w"
    months = [datetime(2023, month, 1, tzinfo=UTC) for month in range(1, 13)]
    assert _at(tmp_path / "x.csv", months) == "1M"


@pytest.mark.parametrize(
    "minutes",
    [[0, 1], [0, 7, 14, 21], [0, 5, 10, 12, 17, 22], [0, 1, 3, 7, 12, 20], [0]],
    ids=["two bars", "unknown", "off the grid", "no common one", "one bar"],
)
def test_an_unclear_timeframe_is_refused_until_it_is_said(tmp_path: Path, minutes: list[int]) -> None:
    moments = [_START + place * MINUTE for place in minutes]
    with pytest.raises(InputError, match="timeframe='1m'"):
        _at(tmp_path / "x.csv", moments)
    assert _at(tmp_path / "x.csv", moments, timeframe="1m") == "1m"


def test_a_later_bar_off_the_inferred_grid_is_refused(tmp_path: Path) -> None:
    moments = [_START + place * 5 * MINUTE for place in range(9000)]
    moments[8000] += MINUTE
    with pytest.raises(InputError, match="cannot be told"):
        _at(tmp_path / "x.csv", moments)
    with read_bars(tmp_path / "x.csv", symbol="X", batch_rows=500) as reader:
        assert reader.layout.timeframe == "5m"
        with pytest.raises(InputError, match=r"mostly 5m apart.*row 8000"):
            list(reader)


def test_the_name_of_a_file_goes_before_the_distances(tmp_path: Path) -> None:
    moments = [_START + place * 5 * MINUTE for place in range(9)]
    assert _at(tmp_path / "BTCUSDT-1m-2024-01.csv", moments) == "1m"
    assert _at(tmp_path / "BTCUSDT-1m-2024-01.csv", moments, timeframe="5m") == "5m"


def test_a_timeframe_column_against_the_name_or_the_argument_is_refused(tmp_path: Path) -> None:
    text = lines("time,open,high,low,close,volume,interval", f"2024-01-31T09:30:00Z,{OHLCV},5Min")
    (tmp_path / "ETH_BTC-1m.csv").write_bytes(text)
    with pytest.raises(InputError, match="file name says '1m', but column 'interval' says '5m'"):
        read(tmp_path / "ETH_BTC-1m.csv")
    (tmp_path / "x.csv").write_bytes(text)
    assert read(tmp_path / "x.csv", symbol="X")[0][1] == "5m"
    with pytest.raises(InputError, match="timeframe='1h' was given"):
        read(tmp_path / "x.csv", symbol="X", timeframe="1h")


def test_dates_typed_as_such_in_a_frame() -> None:
    days = [date(2024, 1, 1) + timedelta(days=place) for place in range(5)]
    frame = pl.DataFrame({"date": days, **{name: [1.0] * 5 for name in "ohlcv"}})
    with read_frame(frame, symbol="X") as reader:
        assert reader.layout.timeframe == "1d"
        assert [row[2] for batch in reader for row in batch.iter_rows()] == [
            datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days
        ]
