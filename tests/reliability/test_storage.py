"""A full disk, a folder that cannot be written, and a database that somebody else holds."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import walle
from tests.reliability.material import SYMBOL, big_bars, counted
from tests.reliability.processes import command
from tests.samples import fill


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 8 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(folder)]
    if os.getuid() != 0 or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk; the limit on file sizes is tested without")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_refuses_an_ingest_and_keeps_what_was_there(small_disk: Path) -> None:
    path = small_disk / "store.db"
    with command("fill_disk", path, 400_000, 0) as child:
        assert child.expect("refused").startswith("StorageFull ")
        assert child.expect("bars") == "0 1"
        assert child.succeed().errors == ""
    with walle.connect(path) as store:
        assert counted(store) == 0
        assert store.bars.ingest(big_bars(100), symbol=SYMBOL, timeframe="1m").inserted == 100


def test_a_limit_on_file_sizes_refuses_an_ingest_and_keeps_what_was_there(sqlite_address: str) -> None:
    with command("fill_disk", sqlite_address, 400_000, 4_000_000) as child:
        assert child.expect("refused").split(" ")[0] in ("StorageFull", "DatabaseError")
        assert child.expect("bars") == "0 1"
        assert child.succeed().errors == ""
    with walle.connect(sqlite_address) as store:
        assert counted(store) == 0
        assert store.bars.ingest(big_bars(100), symbol=SYMBOL, timeframe="1m").inserted == 100


@pytest.fixture
def sealed_folder() -> Iterator[Path]:
    """A folder that nobody writes, with a store of 100 bars; the way to it is open to every user."""
    folder = Path(tempfile.mkdtemp(prefix="walle-sealed-"))
    with walle.connect(folder / "store.db") as store:
        store.bars.ingest(big_bars(100), symbol=SYMBOL, timeframe="1m")
        store.fills.append(fill())
    (folder / "store.db").chmod(0o444)
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


def test_a_store_in_a_folder_that_cannot_be_written_is_read_only(sealed_folder: Path) -> None:
    assert [path.name for path in sealed_folder.iterdir()] == ["store.db"]  # no -wal and no -shm beside it
    with command("read_only", sealed_folder / "store.db") as child:
        assert child.expect("bars") == "100 100 True"
        assert child.expect("refused").startswith("ReadOnly ")
        assert child.succeed().errors == ""


def test_writing_a_store_in_a_folder_that_cannot_be_written_is_refused(sealed_folder: Path) -> None:
    with command("read_write", sealed_folder / "store.db") as child:
        assert "read_only=True" in child.expect("refused")
        assert child.succeed().errors == ""


def test_a_new_store_in_a_folder_that_cannot_be_written_is_refused(sealed_folder: Path) -> None:
    with command("read_write", sealed_folder / "new.db") as child:
        assert child.expect("refused").startswith("ReadOnly ")
        assert child.succeed().errors == ""
    assert not (sealed_folder / "new.db").exists()


def test_a_lock_held_for_longer_than_the_patience_raises_busy(sqlite_address: str) -> None:
    with command("hold", sqlite_address) as holder:
        holder.expect("holding")
        with command("impatient", sqlite_address, 1.0) as child:
            kind, seconds, text = child.expect("refused").split(" ", 2)
            assert kind == "DatabaseBusy"
            assert 0.9 < float(seconds) < 10
            assert "by another process" in text
            holder.tell()
            holder.expect("released")
            child.tell()
            assert child.expect("again") == "1"
            assert child.succeed().errors == ""
