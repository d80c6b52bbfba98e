"""Temporary files, the log of a store that stays open, and file systems of other machines."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import walle
from tests.reliability.material import SYMBOL, big_bars
from tests.reliability.processes import script
from walle.dialects.mounts import network_mount

_INGEST = """
import sys, walle
from tests.reliability.material import big_bars
with walle.connect(sys.argv[1]) as store:
    try:
        source = sys.argv[2] if len(sys.argv) > 2 else big_bars(400_000)
        print("stored", store.bars.ingest(source, symbol="BTC/USD", timeframe="1m").inserted)
    except walle.WalleError as error:
        print("refused", type(error).__name__, error)
"""


@pytest.fixture
def small_scratch(tmp_path: Path) -> Iterator[Path]:
    """A temporary folder with room for 2 MB."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if os.getuid() != 0 or not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("variable", ["SQLITE_TMPDIR", "TMPDIR"])
def test_a_full_temporary_folder_is_named_and_not_the_disk_of_the_store(
    sqlite_address: str, small_scratch: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(small_scratch))
    with script(_INGEST, sqlite_address) as child:
        refused = child.expect("refused")
        child.succeed()
    assert refused.startswith("StorageFull ")
    assert str(small_scratch) in refused
    assert "SQLITE_TMPDIR" in refused
    assert sqlite_address not in refused
    with walle.connect(sqlite_address) as store:
        assert store.bars.count(SYMBOL, "1m") == 0


def test_a_full_temporary_folder_is_named_when_a_file_is_unpacked(
    sqlite_address: str, small_scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "x.csv.gz"
    packed.write_bytes(gzip.compress(big_bars(60_000).write_csv().encode()))
    monkeypatch.setenv("TMPDIR", str(small_scratch))
    with script(_INGEST, sqlite_address, packed) as child:
        refused = child.expect("refused")
        child.succeed()
    assert refused.startswith("InputError ")
    assert str(packed) in refused
    assert f"temporary folder {small_scratch}" in refused
    assert "TMPDIR" in refused


def test_a_killed_unpacking_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    packed = tmp_path / "x.csv.gz"
    packed.write_bytes(gzip.compress(big_bars(20_000).write_csv().encode()))
    text = """
import sys
from walle.bars.files import read_bars
reader = read_bars(sys.argv[1], symbol="X", timeframe="1m", batch_rows=100)
next(reader)
print("open", flush=True)
input()
"""
    with script(text, packed) as child:
        child.expect("open")
        child.signal(signal.SIGKILL)
        child.wait()
    assert list(folder.iterdir()) == []


def test_the_log_is_small_again_after_a_large_ingest_while_the_store_stays_open(
    sqlite_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("walle.dialects.sqlite_watch.LOG_BYTES", 4 * 2**20)
    log = Path(f"{sqlite_address}-wal")
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(big_bars(100_000), symbol=SYMBOL, timeframe="1m")
        assert log.stat().st_size > 8 * 2**20
        parts = store.bars.scan(SYMBOL, "1m").head(1).collect()  # a read that ends early holds no transaction
        assert parts.height == 1
        assert store.bars.read(SYMBOL, "1m").height == 100_000
        for number in range(3):
            store.bars.ingest(big_bars(1, first=100_000 + number), symbol=SYMBOL, timeframe="1m")
        assert log.stat().st_size <= 4 * 2**20
        assert store.bars.count(SYMBOL, "1m") == 100_003


_TABLE = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw - proc proc rw
24 22 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw,vers=4.2
25 24 8:2 / /home/ann/local rw - xfs /dev/sdb1 rw
26 22 0:41 / /mnt/my\040share rw master:1 propagate_from:2 - cifs //server/share rw
27 22 0:42 / /mnt/ssh rw - fuse.sshfs ann@server: rw
28 22 0:43 / /mnt/portal rw - fuse.portal portal rw
29 22 0:44 / /mnt/wsl rw - 9p drvfs rw
30 22 0:45 / /mnt/old rw - nfs server:/old rw
31 30 8:3 / /mnt/old rw - ext4 /dev/sdc1 rw
32 22 0:46 / /mnt/smb rw - smb3 //server/x rw
33 22 0:47 / /mnt/gluster rw - fuse.glusterfs server:/v rw
a line that is none
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/research.db", None),
        ("/home/ann/research.db", "nfs4"),
        ("/home/ann/local/research.db", None),
        ("/homes/research.db", None),
        ("/mnt/my share/research.db", "cifs"),
        ("/mnt/ssh/research.db", "fuse.sshfs"),
        ("/mnt/portal/research.db", None),
        ("/mnt/wsl/research.db", "9p"),
        ("/mnt/old/research.db", None),
        ("/mnt/smb/research.db", "smb3"),
        ("/mnt/gluster/a/b.db", "fuse.glusterfs"),
    ],
)
def test_a_network_file_system_is_told_by_the_mount_that_lies_deepest_and_last(path: str, kind: str | None) -> None:
    assert network_mount(Path(path), _TABLE) == kind


def test_a_store_on_a_network_file_system_is_warned_of_once(
    sqlite_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {tmp_path} rw - nfs4 server:/x rw\n")
    monkeypatch.setattr("walle.dialects.mounts.TABLE", table)
    for _ in range(2):
        with walle.connect(sqlite_address) as store:
            assert store.status().ok
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("walle", "WARNING")
    assert f"{sqlite_address} is on a network file system (nfs4)" in record.getMessage()
    assert "PostgreSQL" in record.getMessage()
