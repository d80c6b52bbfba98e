"""SQLite: WallE against sqlite3 itself and against pandas."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pandas as pd
import polars as pl
import sqlalchemy as sa

import walle
from tests.benchmarks.measure import Case, Measured, seconds

__all__ = ["CASES", "places"]

COLUMNS = ("symbol", "timeframe", "timestamp", "open", "high", "low", "close", "volume")
INSERT = f"INSERT INTO bars ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * 8)})"
SELECT = (
    "SELECT timestamp, open, high, low, close, volume FROM bars "
    "WHERE symbol = 'BTC/USD' AND timeframe = '1m' ORDER BY timestamp"
)


def places(folder: Path) -> Iterator[str]:
    """Yield paths of files that are not there yet."""
    for number in itertools.count():
        yield str(folder / f"store{number}.db")
        for file in folder.glob(f"store{number}*"):
            file.unlink()


def plain(path: str) -> sqlite3.Connection:
    """Open a file with the pragmas that WallE sets."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def ours(path: str, frame: pl.DataFrame) -> float:
    """Ingest into a new store."""
    with walle.connect(path) as store:
        return seconds(lambda: store.bars.ingest(frame, symbol="BTC/USD", timeframe="1m"))


def ingest_against_executemany(path: str, frame: pl.DataFrame, *, guards: bool = True) -> Measured:
    """Compare with executemany of prebuilt tuples in one transaction."""
    other = path.replace(".db", "-peer.db")
    walle.connect(other).close()
    rows = [("BTC/USD", "1m", *row) for row in frame.with_columns(pl.col("timestamp").to_physical()).rows()]

    with closing(plain(other)) as connection:
        if not guards:
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                connection.execute(f"DROP TRIGGER {name}")

        def work() -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(INSERT, rows)
            connection.execute("COMMIT")

        theirs = seconds(work)
    return Measured(ours(path, frame), theirs)


def ingest_against_unguarded(path: str, frame: pl.DataFrame) -> Measured:
    """Compare with the same into a table without WallE's guards of immutability."""
    return ingest_against_executemany(path, frame, guards=False)


def ingest_against_pandas(path: str, frame: pl.DataFrame) -> Measured:
    """Compare with pandas.to_sql through SQLAlchemy."""
    other = path.replace(".db", "-peer.db")
    walle.connect(other).close()
    table: pd.DataFrame = frame.with_columns(pl.col("timestamp").to_physical()).to_pandas()
    table.insert(0, "timeframe", "1m")
    table.insert(0, "symbol", "BTC/USD")
    engine = sa.create_engine(f"sqlite:///{other}")
    theirs = seconds(lambda: table.to_sql("bars", engine, if_exists="append", index=False))
    engine.dispose()
    return Measured(ours(path, frame), theirs)


def read_against_fetchall(path: str, frame: pl.DataFrame) -> Measured:
    """Compare with fetchall and a Polars frame of the rows."""
    with walle.connect(path) as store:
        store.bars.ingest(frame, symbol="BTC/USD", timeframe="1m")
        store.bars.latest("BTC/USD", "1m")  # opens the reading connection
        mine = seconds(lambda: store.bars.read("BTC/USD", "1m"))
    schema = {"timestamp": pl.Int64(), **{name: pl.Float64() for name in COLUMNS[3:]}}

    with closing(plain(path)) as connection:

        def work() -> pl.DataFrame:
            rows = pl.DataFrame(connection.execute(SELECT).fetchall(), schema=schema, orient="row")
            return rows.with_columns(pl.col("timestamp").cast(pl.Datetime("us", "UTC")))

        return Measured(mine, seconds(work))


CASES = (
    Case("SQLite ingest", "sqlite3.executemany, same table", 1.3, ingest_against_executemany),
    Case("SQLite ingest", "sqlite3.executemany, table without guards", 1.3, ingest_against_unguarded),
    Case("SQLite ingest", "pandas.to_sql, same table", 0.4, ingest_against_pandas),
    Case("SQLite read", "sqlite3 fetchall -> Polars", 1.2, read_against_fetchall),
)
