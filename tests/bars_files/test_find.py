from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from walle.bars.files import find_files
from walle.bars.files.names import name_facts, timeframe_of
from walle.errors import InputError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.csv", "a.parquet", "c.json.gz", "d.zip", ".hidden.csv", "notes.txt", "e.png", "f.tar.gz"):
        (tmp_path / name).touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "g.csv").touch()
    (tmp_path / "[odd].csv").touch()
    return tmp_path


def _names(source: object) -> list[str]:
    return [path.name for path in find_files(source)]


def test_a_folder_stands_for_its_files_with_known_endings(folder: Path) -> None:
    assert _names(folder) == ["[odd].csv", "a.parquet", "b.csv", "c.json.gz", "d.zip"]
    assert _names(str(folder)) == _names(folder)


def test_a_pattern_stands_for_what_it_matches(folder: Path) -> None:
    assert _names(f"{folder}/*.csv") == ["[odd].csv", "b.csv"]
    assert _names(f"{folder}/**/*.csv") == ["[odd].csv", "b.csv", "g.csv"]


def test_an_existing_path_is_no_pattern(folder: Path) -> None:
    assert _names(folder / "[odd].csv") == ["[odd].csv"]
    assert _names(folder / "notes.txt") == ["notes.txt"]


def test_a_list_keeps_its_order_and_names_each_file_once(folder: Path) -> None:
    assert _names([folder / "d.zip", str(folder / "b.csv"), folder]) == [
        "d.zip",
        "b.csv",
        "[odd].csv",
        "a.parquet",
        "c.json.gz",
    ]


def test_the_home_folder_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    assert find_files("~/b.csv") == [folder / "b.csv"]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{}/none.csv", "no file"),
        ("{}/b.cvs", "Did you mean .*b.csv"),
        ("{}/none/none.csv", "no folder"),
        ("{}/*.feather", "no file matches"),
        ("{}/below/empty", r"no file to read. Known endings: .csv .tsv .json .jsonl .ndjson .parquet"),
        ("", "is no path"),
        ("a\0b", "is no path"),
    ],
)
def test_what_names_no_file_is_refused(folder: Path, source: str, words: str) -> None:
    (folder / "below" / "empty").mkdir()
    with pytest.raises(InputError, match=words):
        find_files(source.format(folder))


@pytest.mark.parametrize("source", [7, None, [7], [], b"a.csv", {"a": 1}])
def test_another_type_is_refused(source: object) -> None:
    with pytest.raises(InputError):
        find_files(source)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "p.csv")
    with pytest.raises(InputError, match="no regular file"):
        find_files(folder / "p.csv")
    assert "p.csv" not in _names(folder)


@pytest.mark.parametrize(
    ("stem", "symbol", "timeframe", "scheme"),
    [
        ("ETH_BTC-5m", "ETH/BTC", "5m", "freqtrade"),
        ("BTC_USDT_USDT-1h-futures", "BTC/USDT:USDT", "1h", "freqtrade"),
        ("BTC_USDT_USDT-1h-funding_rate", None, "1h", "freqtrade"),
        ("ETH_BTC-1Mo", "ETH/BTC", "1M", "freqtrade"),
        ("BTCUSDT-1m-2024-01", "BTCUSDT", "1m", "binance"),
        ("BTCUSDT-1m-2024-01-31", "BTCUSDT", "1m", "binance"),
        ("BTCUSDT-1mo-2024-01", "BTCUSDT", "1M", "binance"),
        ("BTCUSD_PERP-1h-2024-01", "BTCUSD_PERP", "1h", "binance"),
        ("BTCUSDT-1h", "BTCUSDT", "1h", "plain"),
        ("ETH_BTC-trades", None, None, None),
        ("gbpusd-m1-bid-2012", None, None, None),
        ("ETH_BTC-7m", None, None, None),
        ("prices", None, None, None),
    ],
)
def test_names_of_files(stem: str, symbol: str | None, timeframe: str | None, scheme: str | None) -> None:
    facts = name_facts(stem)
    assert (facts.symbol, facts.timeframe, facts.scheme) == (symbol, timeframe, scheme)


@pytest.mark.parametrize(
    ("text", "timeframe"),
    [
        ("1m", "1m"),
        ("1M", "1M"),
        ("60m", "1h"),
        ("90s", "90s"),
        ("60s", "1m"),
        ("1Min", "1m"),
        ("5T", "5m"),
        ("1H", "1h"),
        ("1D", "1d"),
        ("1Day", "1d"),
        ("1wk", "1w"),
        ("1mo", "1M"),
        ("hour", "1h"),
        ("2d", "2d"),
        ("m1", None),
        ("", None),
    ],
)
def test_spellings_of_timeframes(text: str, timeframe: str | None) -> None:
    assert timeframe_of(text) == timeframe


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_name_that_is_not_utf_8_is_refused_as_that(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"BTC\xff.csv")
    path.write_text("timestamp,open,high,low,close,volume\n")
    for source in (path, tmp_path, tmp_path / "*.csv"):
        with pytest.raises(InputError, match=r"BTC\?\.csv is not UTF-8: .*BTC\\xff\.csv'\. Rename it") as caught:
            find_files(source)
        str(caught.value).encode()
