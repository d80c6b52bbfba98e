"""Files are read in pieces: what is held at a time does not grow with the file."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from walle.bars.files import read_bars

ROWS = 300_000
START = datetime(2020, 1, 1, tzinfo=UTC)

_MEASURE = """
import gc, sys, psutil
from walle.bars.files import read_bars
def peak(path):
    process, most, rows = psutil.Process(), 0, 0
    with read_bars(path, symbol="X", timeframe="1m", batch_rows=20_000) as reader:
        for frame in reader:
            assert frame.height <= 20_000
            rows += frame.height
            most = max(most, process.memory_info().rss)
    return rows, most
peak(sys.argv[1])
small = peak(sys.argv[1])
large = peak(sys.argv[2])
print(small[0], large[0], (large[1] - small[1]) >> 20)
"""


def _frame(rows: int) -> pl.DataFrame:
    place = pl.int_range(0, rows, eager=True)
    price = 100 + (place % 997) * 0.01
    return pl.DataFrame(
        {
            "timestamp": (place * 60_000_000 + round(START.timestamp()) * 1_000_000).cast(pl.Datetime("us", "UTC")),
            "open": price,
            "high": price + 1,
            "low": price - 1,
            "close": price,
            "volume": place * 1.5,
        }
    )


def _write(frame: pl.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.write_csv(path)
    elif path.suffix == ".parquet":
        frame.write_parquet(path, row_group_size=50_000)
    elif path.suffix == ".arrow":
        frame.write_ipc(path, record_batch_size=50_000)
    else:
        epoch = pl.col("timestamp").dt.epoch("ms")
        path.write_text(json.dumps([list(row) for row in frame.with_columns(epoch).iter_rows()]))
    return path


@pytest.mark.parametrize("ending", ["csv", "parquet", "arrow", "json"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, ending: str) -> None:
    frame = _frame(ROWS)
    large = _write(frame, tmp_path / f"large.{ending}")
    small = _write(frame.head(60_000), tmp_path / f"small.{ending}")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(small), str(large)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    few, many, more = map(int, done.stdout.split())
    assert (few, many) == (60_000, ROWS)
    # five times the rows: whole, they would be 14 MB as bars and about 100 MB on the way there
    assert more < 48, f"{more} MiB more"


def test_batches_hold_at_most_the_rows_asked_for_and_lose_none(tmp_path: Path) -> None:
    frame = _frame(30_001)
    for ending in ("csv", "parquet", "arrow", "json"):
        path = _write(frame, tmp_path / f"x.{ending}")
        for rows in (1_000, 7_777, 100_000):
            with read_bars(path, symbol="X", timeframe="1m", batch_rows=rows) as reader:
                batches = list(reader)
            assert max(batch.height for batch in batches) <= rows
            assert pl.concat(batches).select(frame.columns).equals(frame), (ending, rows)
            assert reader.rows == frame.height


def test_reading_files_is_not_loaded_with_walle() -> None:
    code = "import sys, walle, walle.bars.files; print([m for m in ('pyarrow', 'numpy', 'pandas') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
