from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import walle
from tests.samples import bars, order
from walle import progress
from walle.errors import ConfigurationError
from walle.repositories import BarRepository
from walle.store import portal


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file whose reading takes a few slices of waiting."""
    monkeypatch.setattr(portal, "SLICE", 0.001)
    monkeypatch.setattr(progress, "DELAY", 0)
    bars(20_000).write_csv(tmp_path / "prices.csv")
    return tmp_path / "prices.csv"


@pytest.mark.parametrize(
    ("shown", "setting", "drawn"),
    [(True, "0", True), (None, "yes", True), (None, None, False), (False, "1", False), (None, "off", False)],
)
def test_a_bar_is_drawn_on_stderr_unless_it_is_switched_off(
    store: walle.Store,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shown: bool | None,
    setting: str | None,
    drawn: bool,
) -> None:
    monkeypatch.delenv("WALLE_PROGRESS") if setting is None else monkeypatch.setenv("WALLE_PROGRESS", setting)
    store.bars.ingest(path, symbol="A", timeframe="1m", progress=shown)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("prices.csv" in printed.err and "rows" in printed.err) is drawn
    assert drawn or printed.err == ""


_SLOW = """
import sys, walle
from walle import progress
from walle.store import portal
progress.DELAY, portal.SLICE = 0, 0.001
with walle.connect(sys.argv[1]) as store:
    store.bars.ingest(sys.argv[2], symbol="A", timeframe="1m")
    store.bars.coverage()
"""


@pytest.mark.skipif(os.name == "nt", reason="a terminal is a pseudo-terminal of POSIX here")
def test_who_says_nothing_sees_a_bar_in_a_terminal_and_none_in_a_file(sqlite_address: str, path: Path) -> None:
    import pty
    import termios

    environment = {name: value for name, value in os.environ.items() if name != "WALLE_PROGRESS"}
    command = [sys.executable, "-c", _SLOW, sqlite_address, str(path)]
    assert subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60).stderr == b""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen(command, env=environment, stderr=theirs) as child:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux tells the end so
            while part := os.read(ours, 65_536):
                shown += part
    os.close(ours)
    assert child.returncode == 0
    assert b"prices.csv" in shown and b"rows/s" in shown


def test_quick_work_draws_nothing(
    store: walle.Store, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "DELAY", 60)
    store.bars.ingest(path, symbol="A", timeframe="1m", progress=True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("shown", "setting", "drawn"), [(None, "1", True), (None, "0", False), (False, "1", False)])
def test_every_slow_call_shows_its_time(
    sqlite_address: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    shown: bool | None,
    setting: str,
    drawn: bool,
) -> None:
    monkeypatch.setenv("WALLE_PROGRESS", setting)
    with walle.connect(sqlite_address, progress=shown) as store:
        lock = sqlite3.connect(sqlite_address, isolation_level=None, check_same_thread=False)
        lock.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(1.5, lambda: lock.execute("ROLLBACK"))
        timer.start()
        store.orders.save(order())
        timer.join()
        lock.close()
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("store.orders.save: 00:0" in printed.err) is drawn
    assert drawn or printed.err == ""


def test_a_setting_that_is_no_truth_value_is_refused_by_every_call(
    store: walle.Store, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WALLE_PROGRESS", "sometimes")
    for call in (lambda: store.bars.ingest(path, symbol="A", timeframe="1m"), store.bars.series, store.runs.read):
        with pytest.raises(ConfigurationError, match=r"WALLE_PROGRESS='sometimes' is neither true nor false"):
            call()
    monkeypatch.delenv("WALLE_PROGRESS")
    assert store.bars.series().is_empty()
    assert store.bars.ingest(path, symbol="A", timeframe="1m", progress=False).inserted == 20_000


async def test_the_async_core_counts_every_row_of_each_file(database: walle.Database, path: Path) -> None:
    seen: list[tuple[str, int]] = []

    class Told(progress.Progress):
        def advance(self, count: int) -> None:
            super().advance(count)
            seen.append((self.label, self.done))

    bars(300).write_csv(path.with_name("short.csv"))
    files = [path, path.with_name("short.csv")]
    await BarRepository(database).ingest(files, symbol="A", timeframe="1m", progress=Told("rows"))
    assert [last for last in seen if last[1] in (20_000, 300)] == [
        ("prices.csv (1 of 2)", 20_000),
        ("short.csv (2 of 2)", 300),
    ]


def test_the_rate_is_of_what_is_done_while_the_bar_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0)
    counted = progress.Progress("rows")
    counted.begin("first")
    counted.advance(10**15)
    with progress.Meter(counted, True) as meter:
        meter.draw(0.1)
        counted.begin("second", 10)  # less than the first: the bar begins anew
        counted.advance(5)
        meter.draw(0.1)
    printed = capsys.readouterr().err
    assert "first" in printed and "second:  50%" in printed
    assert "P rows/s" not in printed and "-" not in printed


def test_what_nobody_waits_for_shows_no_bar(capsys: pytest.CaptureFixture[str]) -> None:
    counted = progress.Progress("rows")
    counted.begin("bars", 10)
    with progress.quiet(), progress.Meter(counted, True) as meter:
        meter.draw(5.0)
    assert capsys.readouterr() == ("", "")
    with progress.Meter(counted, True) as meter:
        meter.draw(5.0)
    assert "bars" in capsys.readouterr().err
