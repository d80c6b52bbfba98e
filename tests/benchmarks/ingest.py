"""Files: an ingest against pandas, which reads and stores them too, and against Polars, which only reads them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import sqlalchemy as sa

import walle
from tests.benchmarks.measure import Case, Measured, seconds
from walle import migrate
from walle.config import DatabaseConfig

__all__ = ["MOST", "cases", "peak", "write"]

MOST = 1_000_000
"""Rows that are compared; pandas would need minutes and gigabytes for more."""

_INGEST = """
import pathlib, sys, walle
with walle.connect(sys.argv[1]) as store:
    store.bars.ingest(sys.argv[2], symbol="BTC/USD", timeframe="1m", progress=False)
print(int(pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) >> 10)
"""  # ru_maxrss would count what the parent holds


def write(path: Path, frame: pl.DataFrame, rows: int) -> Path:
    """Write so many rows of bars, one frame after the other."""
    with path.open("wb") as file:
        for first in range(0, rows, frame.height):
            part = frame.head(rows - first).with_columns(pl.col("timestamp") + pl.duration(minutes=first))
            part.write_csv(file, include_header=first == 0)
    return path


def peak(frame: pl.DataFrame, rows: int) -> int:
    """Return the most MiB that a process (on Linux) holds which ingests a CSV of so many rows into SQLite."""
    with tempfile.TemporaryDirectory(prefix="walle-bench-") as folder:
        path = write(Path(folder) / "large.csv", frame, rows)
        command = [sys.executable, "-c", _INGEST, f"{folder}/store.db", str(path)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def against_reading(ending: str) -> Callable[[str, pl.DataFrame], Measured]:
    """Compare with Polars, which reads the same file and stores nothing."""

    def measure(address: str, frame: pl.DataFrame) -> Measured:
        with tempfile.TemporaryDirectory(prefix="walle-bench-") as folder:
            path = Path(folder) / f"bars.{ending}"
            (frame.write_csv if ending == "csv" else frame.write_ipc)(path)
            read = pl.read_csv if ending == "csv" else pl.read_ipc
            # the bytes of a mapped file are not read before they are looked at
            return Measured(ours(address, path), seconds(lambda: read(path).max()))

    return measure


def against_pandas(address: str, frame: pl.DataFrame) -> Measured:
    """Compare with pandas.read_csv and to_sql through SQLAlchemy."""
    with tempfile.TemporaryDirectory(prefix="walle-bench-") as folder:
        path = write(Path(folder) / "bars.csv", frame, frame.height)
        theirs = pandas(address, path)
        if "://" not in address:
            return Measured(ours(f"{folder}/store.db", path), theirs)
        return Measured(ours(address, path, symbol="ETH/USD"), theirs)


def pandas(address: str, path: Path) -> float:
    """Read a file and store it, as a notebook does."""
    migrate.upgrade(DatabaseConfig(url=address))
    local = "://" not in address
    engine = sa.create_engine(
        f"sqlite:///{address}" if local else address.replace("postgresql://", "postgresql+psycopg://")
    )

    def work() -> None:
        table = pd.read_csv(path, parse_dates=["timestamp"])
        if local:
            table["timestamp"] = table["timestamp"].astype("int64") // 1000
        table.insert(0, "timeframe", "1m")
        table.insert(0, "symbol", "BTC/USD")
        table.to_sql("bars", engine, if_exists="append", index=False)

    try:
        return seconds(work)
    finally:
        engine.dispose()


def ours(address: str, path: Path, symbol: str = "BTC/USD") -> float:
    """Ingest into a store."""
    with walle.connect(address) as store:
        return seconds(lambda: store.bars.ingest(path, symbol=symbol, timeframe="1m", progress=False))


def cases(database: str) -> list[Case[pl.DataFrame]]:
    """Return what is measured on each database, by its label."""
    return [
        Case(f"{database} ingest of CSV", "pandas.read_csv + to_sql", 0.5, against_pandas),
        Case(f"{database} ingest of CSV", "pl.read_csv alone", 40, against_reading("csv")),
        Case(f"{database} ingest of Feather", "pl.read_ipc alone", 200, against_reading("feather")),
    ]
