"""Readers who may not write beside the file, and files that have more than one name."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import walle
from tests.reliability.material import SYMBOL, big_bars
from tests.reliability.processes import Child, command
from tests.samples import fill


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder of this user, which others may read but not write, with a store of 100 bars."""
    folder = Path(tempfile.mkdtemp(prefix="walle-shared-"))
    _more(folder / "store.db", 0, 100)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def _more(path: Path, first: int, count: int) -> None:
    with walle.connect(path) as store:
        store.bars.ingest(big_bars(count, first=first), symbol=SYMBOL, timeframe="1m")


def _again(child: Child) -> str:
    child.tell()
    return child.expect("seen")


needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become a user without rights")


@needs_root
def test_a_reader_who_may_not_write_the_folder_sees_every_commit_of_the_owner(shared_folder: Path) -> None:
    path = shared_folder / "store.db"
    with command("look", path) as reader:
        assert reader.expect("seen") == "100 100 True"
        with walle.connect(path) as owner:
            owner.bars.ingest(big_bars(50_000, first=100), symbol=SYMBOL, timeframe="1m")
            assert _again(reader) == "50100 50100 True"  # while the owner has it open
            owner.bars.ingest(big_bars(10, first=50_100), symbol=SYMBOL, timeframe="1m")
            assert _again(reader) == "50110 50110 True"
        assert _again(reader) == "50110 50110 True"  # and after it was closed
        _more(path, 50_110, 5)
        assert _again(reader) == "50115 50115 True"


@needs_root
def test_a_reader_of_a_file_without_a_log_sees_every_commit_and_none_before(shared_folder: Path) -> None:
    path = shared_folder / "store.db"
    owner = sqlite3.connect(path, isolation_level=None)
    assert owner.execute("PRAGMA journal_mode=DELETE").fetchone() == ("delete",)
    copy = (
        "INSERT INTO bars (symbol, timeframe, timestamp, open, high, low, close, volume) "
        "SELECT symbol, timeframe, timestamp + 86400000000, open, high, low, close, volume FROM bars"
    )
    with command("look", path, "2") as reader:
        assert reader.expect("seen") == "100 100 True"
        owner.execute("PRAGMA cache_size=1")  # so that pages go to the file before the commit
        owner.execute("BEGIN IMMEDIATE")
        owner.execute(copy)
        assert _again(reader).startswith(("100 100 True", "DatabaseBusy "))
        owner.execute("COMMIT")
        assert _again(reader) == "200 200 True"
    owner.close()


@needs_root
def test_a_reader_from_whom_the_owner_takes_the_log_reads_again(shared_folder: Path) -> None:
    path = shared_folder / "store.db"
    with command("look_late", path) as reader:
        assert reader.expect("seen") == "100"
        _more(path, 100, 50)
        answer = _again(reader)
        assert answer.startswith("DatabaseBusy") and "opened or closed by another process" in answer
        assert _again(reader) == "150"


@needs_root
def test_a_reader_beside_an_owner_who_comes_and_goes_never_sees_a_mixture(shared_folder: Path) -> None:
    path = shared_folder / "store.db"
    seen = []
    with command("look", path) as reader:
        reader.expect("seen")
        for number in range(12):
            reader.tell()
            _more(path, 100 + number * 3_000, 3_000)
            answer = reader.expect("seen")
            if answer.startswith("DatabaseBusy"):
                continue
            assert answer.count(" ") == 2, answer
            count, rows, ok = answer.split(" ")
            assert ok == "True"
            seen += [int(rows), int(count)]  # in the order in which they were read
        assert _again(reader) == "36100 36100 True"
    assert all((count - 100) % 3_000 == 0 for count in seen)
    assert seen == sorted(seen)


@needs_root
def test_a_log_that_cannot_be_read_is_said_and_not_left_out(shared_folder: Path) -> None:
    path = shared_folder / "store.db"
    with walle.connect(path) as owner:
        owner.bars.ingest(big_bars(10, first=100), symbol=SYMBOL, timeframe="1m")
        alone = shared_folder / "alone"
        alone.mkdir()
        for suffix in ("", "-wal"):  # as a process that was killed leaves them, but without the index
            shutil.copy(f"{path}{suffix}", alone)
    alone.chmod(0o755)
    with command("look", alone / "store.db") as reader:
        answer = reader.expect("refused")
    assert answer.startswith("DatabaseUnavailable ")
    assert "store.db-wal" in answer
    assert "write access to the folder" in answer
    assert "damaged" not in answer


@needs_root
def test_an_unreadable_log_is_named(shared_folder: Path) -> None:
    path = shared_folder / "store.db"
    with walle.connect(path) as owner:
        owner.bars.ingest(big_bars(10, first=100), symbol=SYMBOL, timeframe="1m")
        Path(f"{path}-wal").chmod(0o600)
        with command("look", path) as reader:
            answer = reader.expect("refused")
    assert answer.startswith("DatabaseUnavailable ")
    assert "store.db-wal" in answer


def test_a_store_is_one_by_every_way_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "folder").symlink_to(real)
    (tmp_path / "link.db").symlink_to(real / "store.db")  # dangling at first
    with walle.connect(tmp_path / "link.db") as by_link:
        assert by_link.fills.append(fill(1)).inserted == 1
        assert (real / "store.db-wal").exists()
        assert not (tmp_path / "link.db-wal").exists()
        monkeypatch.chdir(real)
        with (
            walle.connect("store.db") as relative,
            walle.connect(tmp_path / "folder" / ".." / "real/store.db") as other,
        ):
            monkeypatch.chdir("/")
            assert relative.fills.append(fill(2)).inserted == 1
            assert other.fills.append(fill(3)).inserted == 1
            with walle.connect(tmp_path / "folder" / "store.db", read_only=True) as reader:
                heights = [store.fills.read().height for store in (by_link, relative, other, reader)]
                assert heights == [3, 3, 3, 3]
                assert by_link.status().ok


@needs_root
def test_a_reader_by_a_link_sees_the_log_beside_the_file(
    shared_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    links = Path(tempfile.mkdtemp(prefix="walle-links-"))
    links.chmod(0o755)
    (links / "link.db").symlink_to(shared_folder / "store.db")
    with walle.connect(links / "link.db") as owner:
        owner.bars.ingest(big_bars(10, first=100), symbol=SYMBOL, timeframe="1m")
        with command("look", links / "link.db") as reader:
            assert reader.expect("seen") == "110 110 True"
    shutil.rmtree(links)


def test_a_link_that_is_led_elsewhere_ends_the_store(tmp_path: Path) -> None:
    one, other, link = tmp_path / "one.db", tmp_path / "other.db", tmp_path / "link.db"
    for number, path in enumerate((one, other)):
        with walle.connect(path) as store:
            store.fills.append([fill(1), fill(2)][: number + 1])
    link.symlink_to(one)
    with walle.connect(link) as store:
        assert store.fills.read().height == 1
        link.unlink()
        link.symlink_to(other)
        for call in (store.fills.read, store.status, lambda: store.fills.append(fill(9))):
            with pytest.raises(walle.FileReplaced, match="connect again"):
                call()
    assert _fills(one) == 1
    assert _fills(other) == 2


def test_a_dangling_link_is_said_to_be_one(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "none.db")
    with pytest.raises(walle.DatabaseUnavailable, match=r"no file .*none.db \(.*link.db is a link to it\)"):
        walle.connect(tmp_path / "link.db", read_only=True)
    (tmp_path / "far.db").symlink_to(tmp_path / "absent" / "none.db")
    with pytest.raises(walle.DatabaseUnavailable, match=r"absent does not exist"):
        walle.connect(tmp_path / "far.db")
    (tmp_path / "round.db").symlink_to(tmp_path / "round.db")
    with pytest.raises(walle.DatabaseUnavailable, match="symbolic links"):
        walle.connect(tmp_path / "round.db")


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")
def test_a_file_that_is_open_by_another_hard_link_is_refused(sqlite_address: str, tmp_path: Path) -> None:
    path, other = Path(sqlite_address), tmp_path / "other.db"
    with walle.connect(path) as store:
        store.fills.append(fill(1))
        other.hardlink_to(path)
        with pytest.raises(walle.DatabaseUnavailable, match=f"process {os.getpid()}.*hard link"):
            walle.connect(other)
        assert store.fills.append(fill(2)).inserted == 1
    with walle.connect(other) as store:
        assert store.fills.read().height == 2


def _fills(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return int(connection.execute("SELECT count(*) FROM fills").fetchone()[0])
    finally:
        connection.close()
