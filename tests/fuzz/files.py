"""Files of bars in every format that an ingest takes, and what becomes of them when bytes go wrong."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from tests.samples import bars
from walle.bars.check import check_bars
from walle.bars.files import read_bars
from walle.bars.files.find import find_files

__all__ = ["MOST_BYTES", "mutated", "read", "samples"]

MOST_BYTES = 64 * 1024 * 1024
_EXTREMES = (2**63 - 1, -(2**63), 2**62, 2**31 - 1, -(2**31), 2**32 - 1, 0, -1)
_WORDS = b"nan inf -inf 1e999 1e-999 9223372036854775807 -9223372036854775808 2147483647 null [] {} 0000-00-00".split()
_WORDS += [b"99999-12-31", b"2024-02-30T25:61:61Z", b'""', b"\x00", b"\xff\xfe", b"\xed\xa0\x80"]


def samples() -> dict[str, bytes]:
    """Return a well-formed file of each kind, by name."""
    frame = bars(300)
    shown = frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    epochs = frame.with_columns(pl.col("timestamp").dt.epoch("ms"))
    made = {
        "a.csv": shown.write_csv().encode(),
        "a.tsv": shown.write_csv(separator="\t").encode(),
        "b.csv": epochs.write_csv(include_header=False).encode(),
        "a.json": shown.write_json().encode(),
        "b.json": json.dumps([list(row) for row in epochs.iter_rows()]).encode(),
        "a.jsonl": shown.write_ndjson().encode(),
    }
    for name, write in _columnar(frame).items():
        buffer = io.BytesIO()
        write(buffer)
        made[name] = buffer.getvalue()
    text = made["a.csv"]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("BTCUSDT-1m-2024-01.csv", text)
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w:gz") as tar:
        member = tarfile.TarInfo("a.csv")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    made |= {
        "a.csv.gz": gzip.compress(text, mtime=0),
        "a.csv.bz2": bz2.compress(text),
        "a.csv.xz": lzma.compress(text),
        "a.zip": packed.getvalue(),
        "a.tar.gz": tarred.getvalue(),
        "a.parquet.gz": gzip.compress(made["a.parquet"], mtime=0),
    }
    return made


def _columnar(frame: pl.DataFrame) -> dict[str, Callable[[io.BytesIO], object]]:
    extreme = frame.with_columns(timestamp=pl.lit(2**63 - 1, pl.Int64).cast(pl.Datetime("us", "UTC")))
    dates = frame.with_columns(timestamp=pl.int_range(pl.len()).cast(pl.Int32).cast(pl.Date))
    return {
        "a.parquet": frame.write_parquet,
        "b.parquet": lambda file: frame.write_parquet(file, compression="snappy", row_group_size=50),
        "c.parquet": extreme.write_parquet,
        "d.parquet": lambda file: dates.write_parquet(file, compression="uncompressed"),
        "a.feather": frame.write_ipc,
        "b.feather": lambda file: frame.write_ipc(file, compression="zstd"),
        "c.feather": lambda file: dates.write_ipc(file, compression="lz4"),
        "a.arrow": frame.write_ipc_stream,
        "b.arrow": lambda file: extreme.write_ipc_stream(file, compression="lz4"),
    }


def mutated(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Return a file after one to eight accidents."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        chance.choice(_ACCIDENTS)(data, others, chance)
        del data[MOST_BYTES:]
    return bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Return a place; headers and footers say what the rest means, so half of the places are there."""
    if not data:
        return 0
    near = chance.randrange(min(len(data), 200))
    return chance.choice((chance.randrange(len(data)), chance.randrange(len(data)), near, len(data) - 1 - near))


def _flip(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    if data:
        data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _byte(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    if data:
        data[_place(data, chance)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))


def _cut(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _leave_out(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    start = _place(data, chance)
    del data[start : start + chance.randrange(1, 64)]


def _repeat(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    start = _place(data, chance)
    data[start:start] = data[start : start + chance.randrange(1, 256)] * chance.randrange(1, 9)


def _splice(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    other = chance.choice(others)
    start, taken = _place(data, chance), chance.randrange(max(1, len(other)))
    data[start : start + chance.randrange(256)] = other[taken : taken + chance.randrange(1, 512)]


def _number(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    """Write a huge or a negative number, as sizes and counts and times are written."""
    size, form = chance.choice(((8, "<q"), (4, "<i"), (8, ">q"), (4, ">i")))
    value = chance.choice(_EXTREMES)
    limit = 1 << (8 * size - 1)
    start = _place(data, chance) & chance.choice((~0, ~7, ~3))
    data[start : start + size] = struct.pack(form, max(-limit, min(limit - 1, value)))


def _word(data: bytearray, others: list[bytes], chance: random.Random) -> None:
    start = _place(data, chance)
    data[start : start + chance.choice((0, 1, 4, 8))] = chance.choice(_WORDS)


_ACCIDENTS = (_flip, _flip, _byte, _cut, _leave_out, _repeat, _splice, _number, _word)


def read(path: Path) -> None:
    """Read a file as an ingest does."""
    for found in find_files(path):
        with read_bars(found, symbol="BTC/USD", timeframe="1m", maximum_bytes=MOST_BYTES) as reader:
            for frame in reader:
                check_bars(frame)
