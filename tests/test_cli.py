from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import walle
from tests.samples import bars
from walle.cli.main import main

WALLE = [sys.executable, "-m", "walle"]


def run(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WALLE, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(walle.__file__).parents[1]), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_demo_shows_series_runs_and_fills_and_is_safe_to_run_twice(tmp_path: Path) -> None:
    first = run("demo", cwd=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    for part in (
        "47,345 bars, 273 fills and 680 events",
        "Series",
        "Coverage",
        "What the audit finds",
        "order ord-bt-0035 is for 6.458, but its fills sum to 7.208.",
        "sample stocks",
        "0.989683",
        "ETH/USD",
        "19953",
        "bt-sma-eth-001",
        "paper-sma-btc-003",
        "Next,",
    ):
        assert part in first.stdout
    assert "their process is gone: paper-sma-btc-003" in first.stdout
    second = run("demo", str(tmp_path))
    assert second.returncode == 0
    assert "nothing new" in second.stdout
    with walle.connect(tmp_path / "walle-demo.db", read_only=True) as store:
        assert store.bars.series()["bars"].sum() == 47_345
        told = store.bars.coverage().select("symbol", "expected", "missing", "unexpected", "longest_gap", "calendar")
        assert told.rows() == [
            ("ACME", 3720, 0, 0, 0, "sample stocks"),
            ("BTC/USD", 20160, 208, 0, 167, "24/7"),
            ("ETH/USD", 20160, 207, 0, 167, "24/7"),
            ("GLOBEX", 3720, 0, 0, 0, "sample stocks"),
        ]
        assert store.fills.read().height == 273
        assert store.events.read().height == 680
        assert store.status().ok


def test_the_demo_needs_a_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["demo", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    (tmp_path / "walle-demo.db").write_text("somebody's notes " * 50)
    assert main(["demo", str(tmp_path)]) == 1
    assert "is not a SQLite database" in capsys.readouterr().err


def test_status_tells_the_state_and_its_exit_code(
    address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["status", address]) == 0
    assert "up to date" in capsys.readouterr().out
    assert main(["status", "--json", address]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["durable"], answer["pending"], answer["missing_guards"]) == (True, True, [], [])
    assert main(["status", str(tmp_path / "absent.db")]) == 1
    assert "there is no file" in capsys.readouterr().err
    assert not (tmp_path / "absent.db").exists()
    assert main(["status"]) == 1
    assert "in memory, durable=False: events work" in capsys.readouterr().out
    assert main(["status", "mysql://x/y"]) == 2
    assert "not supported" in capsys.readouterr().err


def test_status_names_a_guard_that_somebody_dropped(sqlite_address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with sqlite3.connect(sqlite_address) as connection:
        connection.execute("DROP TRIGGER walle_guard_fills_delete")
    connection.close()
    assert main(["status", sqlite_address]) == 1
    assert "missing: walle_guard_fills_delete" in capsys.readouterr().out


def test_upgrade_makes_the_tables_and_says_what_it_did(empty_postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", empty_postgres]) == 1
    capsys.readouterr()
    assert main(["upgrade", empty_postgres]) == 0
    shown = capsys.readouterr().out
    assert "upgraded by 001_initial" in shown
    assert "***" in shown
    assert main(["upgrade", empty_postgres]) == 0
    assert "already up to date" in capsys.readouterr().out


def test_the_address_may_come_from_the_environment(
    sqlite_address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["upgrade"]) == 2
    assert "WALLE_DATABASE_URL" in capsys.readouterr().err
    monkeypatch.setenv("WALLE_DATABASE_URL", sqlite_address)
    assert main(["upgrade"]) == 0
    assert main(["status"]) == 0


def test_wrong_words_end_with_2_and_no_traceback() -> None:
    for arguments in ([], ["dmeo"], ["status", "--yaml"]):
        answer = run(*arguments)
        assert answer.returncode == 2
        assert "usage: walle" in answer.stderr
        assert "Traceback" not in answer.stderr
    assert run("--version").stdout == f"walle {walle.__version__}\n"


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    for words, reader in ((f"demo {tmp_path}", "head -1"), ("--help", "true"), ("status", "true")):
        command = f"(sleep 0.2; env -u PYTHONUNBUFFERED {sys.executable} -m walle {words}) | {reader}"
        answer = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=True)
        assert answer.stderr == ""


def test_coverage_and_gaps_are_told(store: walle.Store, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    store.bars.ingest(bars(10)[[0, 1, 2, 4, 8, 9]], symbol="BTC/USD", timeframe="1m")
    assert main(["coverage", address]) == 0
    assert "BTC/USD" in capsys.readouterr().out
    assert main(["coverage", address, "--json", "--symbol", "BTC/USD", "--timeframe", "1m"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["bars"], row["expected"], row["missing"], row["gaps"], row["longest_gap"]) == (6, 10, 4, 2, 3)
    assert main(["gaps", "BTC/USD", "1m", address, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(gap["missing"], gap["duration"], gap["cause"]) for gap in found] == [(1, 60, "single"), (3, 180, "hole")]
    assert found[0]["start"] == "2025-03-01T00:03:00.000000+00:00"
    assert main(["gaps", "BTC/USD", "1m", address, "--end", "2025-03-01T00:04"]) == 0
    assert "Gaps of BTC/USD 1m: 1" in capsys.readouterr().out
    assert main(["gaps", "BTC/USDD", "1m", address]) == 1
    assert "did you mean 'BTC/USD'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["gaps", "BTC/USD", address])
    assert "argument timeframe: unknown timeframe" in capsys.readouterr().err
    assert main(["coverage", address, "--calendar", "24/6"]) == 1
    assert "did you mean '24/7'" in capsys.readouterr().err


def test_calendars_are_set_listed_and_forgotten(
    store: walle.Store, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    weekend = datetime(2025, 3, 1, 12, tzinfo=UTC)  # a Saturday
    store.bars.ingest(bars(5, start=weekend), symbol="GBP/USD", timeframe="1m")
    assert main(["calendar", "set", "GBP/USD", "24/5", address]) == 0
    assert capsys.readouterr().out == "GBP/USD: 24/5\n"
    assert main(["calendar", "list", address]) == 0
    assert "GBP/USD" in capsys.readouterr().out
    assert main(["calendar", "list", address, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["symbol"], row["calendar"], row["set_at"][-6:]) == ("GBP/USD", "24/5", "+00:00")
    assert main(["coverage", address, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["calendar"], row["expected"], row["unexpected"]) == ("24/5", 0, 5)
    assert main(["calendar", "set", "GBP/USD", "24/6", address]) == 1
    assert "did you mean '24/7'" in capsys.readouterr().err
    assert main(["calendar", "forget", "GBP/USD", address]) == 0
    assert capsys.readouterr().out == "GBP/USD: no calendar, so 24/7\n"
    assert store.bars.calendars().is_empty()


def test_a_gap_is_explained(store: walle.Store, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    store.bars.ingest(bars(10)[[0, 1, 2, 4, 8, 9]], symbol="BTC/USD", timeframe="1m")
    times = ["2025-03-01T00:05", "2025-03-01T00:08"]
    why = ["--reason", "a\x1b[2J halt", "--author", "ann"]
    assert main(["explain", "BTC/USD", *times, address, *why, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["start"], row["timeframe"]) == ("2025-03-01T00:05:00.000000+00:00", None)
    assert main(["gaps", "BTC/USD", "1m", address, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(gap["reason"], gap["author"]) for gap in found] == [(None, None), ("a\x1b[2J halt", "ann")]
    assert main(["gaps", "BTC/USD", "1m", address]) == 0
    shown = capsys.readouterr().out
    assert "a\\x1b[2J halt" in shown and "\x1b" not in shown
    assert main(["explain", "BTC/USD", *times, address, "--reason", "again", "--timeframe", "1m"]) == 0
    assert "again" in capsys.readouterr().out
    assert main(["explain", "BTC/USD", *reversed(times), address, *why]) == 1
    assert "ends before it starts" in capsys.readouterr().err
    assert main(["explain", "BTC/USDD", *times, address, *why]) == 1
    assert "did you mean 'BTC/USD'" in capsys.readouterr().err


def test_files_are_ingested(address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with walle.connect(address):
        pass
    bars(5).write_csv(tmp_path / "BTC_USD-1m.csv")
    broken = pl.when(pl.int_range(5) == 2).then(500.0).otherwise("low")
    bars(5).with_columns(low=broken).drop("volume").rename({"close": "last"}).write_csv(tmp_path / "other.csv")
    options = ["--symbol", "ACME", "--column", "last=close", "--no-volume", "--url", address]

    assert main(["ingest", str(tmp_path / "BTC*.csv"), "--url", address, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["symbol"], told["timeframe"], told["inserted"], told["skipped"]) == ("BTC/USD", "1m", 5, False)
    assert main(["ingest", str(tmp_path), *options]) == 1
    out, error = capsys.readouterr()
    assert "2 of 2 files were refused:\n" in error
    assert "high is below low" in error
    assert "Files" in out
    assert "refused" in out
    for name in "abcdefg":
        (tmp_path / f"{name}.csv").write_text("")
    assert main(["ingest", str(tmp_path / "?.csv"), "--url", address]) == 1
    assert capsys.readouterr().err.count(": the file is empty") == 7
    assert main(["ingest", str(tmp_path / "other.csv"), *options, "--quarantine", "--provider", "a broker"]) == 0
    assert "high is below low" in capsys.readouterr().out
    with walle.connect(address, read_only=True) as store:
        assert store.bars.series().select("symbol", "bars").rows() == [("ACME", 4), ("BTC/USD", 5)]
        assert store.bars.ingests()["provider"].to_list() == [None, "a broker"]
    assert main(["ingest", str(tmp_path / "other.csv"), *options[:2], "--url", address, "--column", "last"]) == 1
    assert "THEIRS=OURS" in capsys.readouterr().err
    assert main(["ingest", str(tmp_path / "other.csv")]) == 2
    assert "or by --url" in capsys.readouterr().err


def test_every_command_takes_the_address_by_url_too(store: walle.Store, address: str, capsys: Any) -> None:
    store.bars.ingest(bars(3), symbol="BTC/USD", timeframe="1m")
    store.close()
    commands = [["status"], ["upgrade"], ["coverage"], ["gaps", "BTC/USD", "1m"], ["calendar", "list"], ["audit"]]
    commands += [["events", "consumers"], ["calendar", "set", "BTC/USD", "24/7"]]
    for command in commands:
        assert main([*command, "--url", address]) == 0, command
        assert main([*command, address]) == 0
        with pytest.raises(SystemExit) as caught:
            main([*command, address, "--url", address])
        assert caught.value.code == 2
        assert "named twice" in capsys.readouterr().err
    assert main(["gaps", f"--url={address}", "BTC/USD", "1m"]) == 0
