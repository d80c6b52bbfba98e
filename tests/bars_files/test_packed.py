from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bars_files.rows import bars, expected_rows, generic, lines, read, rounded
from walle.bars.files import describe, read_bars
from walle.errors import InputError


def _zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def _zip(content: bytes, name: str = "x.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": _zstd,
    "zip": _zip,
}


@pytest.fixture
def unpacked(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are unpacked: it must be empty afterwards."""
    folder = tmp_path_factory.mktemp("unpacked")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("ending", PACKERS)
def test_packed_files_read_as_plain_ones(tmp_path: Path, unpacked: Path, ending: str) -> None:
    content = generic(tmp_path / "plain.csv").read_bytes()
    path = tmp_path / (f"BTCUSDT-1m-2024-01.csv.{ending}" if ending != "zip" else "BTCUSDT-1m-2024-01.zip")
    path.write_bytes(PACKERS[ending](content))
    assert read(path) == expected_rows(bars(), "BTCUSDT", "1m")
    assert describe(path).compression == {"gz": "gzip", "zst": "zstd"}.get(ending, ending)
    assert list(unpacked.iterdir()) == []


@pytest.mark.parametrize("ending", PACKERS)
def test_the_content_tells_before_the_ending(tmp_path: Path, ending: str) -> None:
    content = generic(tmp_path / "plain.csv").read_bytes()
    (tmp_path / "x.csv").write_bytes(PACKERS[ending](content))
    assert read(tmp_path / "x.csv", symbol="X") == expected_rows(bars(), "X", "1m")


def test_packed_parquet_feather_and_json(tmp_path: Path, unpacked: Path) -> None:
    rows = rounded(bars(), 6)  # pandas writes 15 digits into JSON
    frame = pd.DataFrame(rows, columns=["date", "open", "high", "low", "close", "volume"])
    frame.to_feather(tmp_path / "a.feather")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.json", orient="values", date_format="iso", double_precision=15)
    for name in ("feather", "parquet", "json"):
        path = tmp_path / f"ETH_BTC-1m.{name}.gz"
        path.write_bytes(gzip.compress((tmp_path / f"a.{name}").read_bytes()))
        assert read(path) == expected_rows(rows, "ETH/BTC", "1m")
    assert list(unpacked.iterdir()) == []


@pytest.mark.parametrize("ending", PACKERS)
def test_a_cut_archive_is_refused_before_the_first_row(tmp_path: Path, unpacked: Path, ending: str) -> None:
    content = generic(tmp_path / "plain.csv", bars(5000)).read_bytes()
    packed = PACKERS[ending](content)
    path = tmp_path / f"x.csv.{ending}"
    for cut in (len(packed) - 1, len(packed) // 2, 12):
        path.write_bytes(packed[:cut])
        with pytest.raises(InputError, match=re.escape(path.name)):
            read_bars(path, symbol="X", timeframe="1m")
    assert list(unpacked.iterdir()) == []


@pytest.mark.parametrize("ending", ["gz", "zst", "zip", "parquet", "feather"])
def test_an_ending_that_promises_what_the_content_is_not(tmp_path: Path, ending: str) -> None:
    (tmp_path / f"x.{ending}").write_bytes(lines("timestamp,open", "1,2"))
    with pytest.raises(InputError, match="its ending"):
        read_bars(tmp_path / f"x.{ending}")


def _bomb(ending: str, size: int) -> bytes:
    if ending == "gz":
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        zeros = b"0" * (1 << 20)
        return b"".join(packer.compress(zeros) for _ in range(size >> 20)) + packer.flush()
    return PACKERS[ending](b"0" * size)


@pytest.mark.parametrize("ending", PACKERS)
def test_a_bomb_stops_at_the_limit(tmp_path: Path, unpacked: Path, ending: str) -> None:
    path = tmp_path / f"x.csv.{ending}"
    path.write_bytes(_bomb(ending, 64 << 20))
    assert path.stat().st_size < 200_000
    with pytest.raises(InputError, match=r"larger than 4 MiB, so unpacking was stopped"):
        read_bars(path, symbol="X", maximum_bytes=4 << 20)
    assert list(unpacked.iterdir()) == []


def test_a_zip_that_lies_about_its_size_stops_at_the_limit(tmp_path: Path) -> None:
    packed = bytearray(_zip(b"0" * (32 << 20)))
    for signature, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = packed.index(signature) + place
        packed[start : start + 4] = (100).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(packed)
    with pytest.raises(InputError):
        read_bars(tmp_path / "x.zip", symbol="X", maximum_bytes=4 << 20)


def test_a_parquet_that_would_unpack_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    ones = pa.array([1.0] * 2_000_000)
    names = ["timestamp", "open", "high", "low", "close", "volume"]
    pq.write_table(pa.table(dict.fromkeys(names, ones)), tmp_path / "x.parquet", compression="zstd")
    assert (tmp_path / "x.parquet").stat().st_size < 100_000
    with pytest.raises(InputError, match="larger than 4 MiB"):
        read_bars(tmp_path / "x.parquet", symbol="X", maximum_bytes=4 << 20)


@pytest.mark.parametrize("name", ["../../evil.csv", "/etc/evil.csv", "..\\evil.csv", "a/b/evil.csv"])
def test_a_path_inside_a_zip_writes_nothing(tmp_path: Path, unpacked: Path, name: str) -> None:
    content = generic(tmp_path / "plain.csv").read_bytes()
    inside = tmp_path / "deep" / "er"
    inside.mkdir(parents=True)
    (inside / "x.zip").write_bytes(_zip(content, name))
    before = sorted(tmp_path.rglob("*"))
    assert read(inside / "x.zip", symbol="X") == expected_rows(bars(), "X", "1m")
    assert sorted(tmp_path.rglob("*")) == before
    assert list(unpacked.iterdir()) == []


def test_the_name_inside_a_zip_tells_where_its_own_does_not(tmp_path: Path) -> None:
    content = generic(tmp_path / "plain.csv").read_bytes()
    (tmp_path / "download.zip").write_bytes(_zip(content, "data/BTCUSDT-1m-2024-01.csv"))
    assert read(tmp_path / "download.zip") == expected_rows(bars(), "BTCUSDT", "1m")


def test_other_members_beside_one_of_data_are_passed_over(tmp_path: Path) -> None:
    content = generic(tmp_path / "plain.csv").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("readme.txt", "gaps: 3")
        archive.writestr("__MACOSX/._x.csv", b"\0")
        archive.writestr("x.csv", content)
    assert read(tmp_path / "x.zip", symbol="X") == expected_rows(bars(), "X", "1m")


def test_a_zip_of_several_data_files_is_refused_by_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a.csv", "1")
        archive.writestr("b.csv", "2")
    with pytest.raises(InputError, match=r"2 data files \('a.csv', 'b.csv'\); unpack it"):
        read_bars(tmp_path / "x.zip")


def test_an_empty_an_encrypted_and_a_nested_archive_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    with pytest.raises(InputError, match="holds no file"):
        read_bars(tmp_path / "empty.zip")
    packed = bytearray(_zip(b"x"))
    packed[packed.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(packed)
    with pytest.raises(InputError, match="encrypted"):
        read_bars(tmp_path / "secret.zip")
    (tmp_path / "nested.csv.gz").write_bytes(gzip.compress(gzip.compress(b"x")))
    with pytest.raises(InputError, match="a gzip file lies inside the gzip"):
        read_bars(tmp_path / "nested.csv.gz")
    (tmp_path / "nothing.csv.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(InputError, match="the file is empty"):
        read_bars(tmp_path / "nothing.csv.gz")


@pytest.mark.parametrize("leave", ["close", "drop", "error"])
def test_what_was_unpacked_is_removed_however_reading_ends(tmp_path: Path, unpacked: Path, leave: str) -> None:
    content = generic(tmp_path / "plain.csv", bars(6000)).read_bytes()
    if leave == "error":
        content += b"cut,off\n"
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(content))
    try:
        reader = read_bars(tmp_path / "x.csv.gz", symbol="X", timeframe="1m", batch_rows=100)
        assert len(list(unpacked.iterdir())) == (0 if sys.platform == "linux" else 1)
        next(reader)
        if leave == "close":
            reader.close()
            reader.close()
            assert list(reader) == []
        else:
            with pytest.raises(InputError, match="a line has 2 cells"):
                list(reader) if leave == "error" else _stop(reader)
        del reader
    except InputError:
        assert leave == "error"
    assert list(unpacked.iterdir()) == []


def _stop(reader: object) -> None:
    raise InputError("a line has 2 cells")


def test_a_full_disk_is_told(tmp_path: Path, unpacked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"a,b\n"))
    monkeypatch.setattr("walle.bars.files.sniff.copy_bounded", full)
    with pytest.raises(InputError, match=rf"x\.csv\.gz: .*{unpacked} \(No space left on device\).*TMPDIR"):
        read_bars(tmp_path / "x.csv.gz")
    assert list(unpacked.iterdir()) == []


def test_where_files_have_names_those_of_dead_processes_are_removed(
    tmp_path: Path, unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, living = (unpacked / f"walle-scratch-{pid}-x" for pid in (ended.pid, os.getpid()))
    for left in (dead, living):
        left.touch()
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(generic(tmp_path / "plain.csv", bars(10)).read_bytes()))
    with read_bars(tmp_path / "x.csv.gz", symbol="X", timeframe="1m") as reader:
        assert not dead.exists()
        assert len(list(unpacked.iterdir())) == 2
        assert sum(part.height for part in reader) == 10
    assert list(unpacked.iterdir()) == [living]
