"""PostgreSQL: WallE against ADBC."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from adbc_driver_postgresql import dbapi

import walle
from tests.benchmarks.measure import Case, Measured, seconds
from tests.benchmarks.sqlite import SELECT
from tests.postgres import start_server
from walle import migrate
from walle.config import DatabaseConfig

__all__ = ["CASES", "places"]


def places(folder: Path) -> Iterator[str]:
    """Yield addresses of new stores on a server of their own."""
    server = start_server(folder)
    try:
        migrate.upgrade(DatabaseConfig(url=server.create("walle_template")))
        for number in itertools.count():
            yield server.create(f"store{number}", template="walle_template")
            server.drop(f"store{number}")
    finally:
        server.stop()


def arrow(frame: pl.DataFrame) -> object:
    """Return the bars with their series' columns, as an Arrow table."""
    return frame.select(pl.lit("BTC/USD").alias("symbol"), pl.lit("1m").alias("timeframe"), pl.all()).to_arrow()


def append(address: str, frame: pl.DataFrame) -> float:
    """Append the bars by ADBC, and take them out again."""
    table = arrow(frame)
    with dbapi.connect(address) as connection, connection.cursor() as cursor:

        def work() -> None:
            cursor.adbc_ingest("bars", table, mode="append")
            connection.commit()

        taken = seconds(work)
        cursor.execute("SET LOCAL walle.maintenance = 'on'")
        cursor.execute("DELETE FROM bars")
        connection.commit()
    with dbapi.connect(address, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("VACUUM bars")
    return taken


def ingest_new(address: str, frame: pl.DataFrame) -> Measured:
    """Compare an ingest into an empty table with ADBC's append."""
    theirs = append(address, frame)
    with walle.connect(address) as store:
        mine = seconds(lambda: store.bars.ingest(frame, symbol="BTC/USD", timeframe="1m"))
    return Measured(mine, theirs)


def ingest_again(address: str, frame: pl.DataFrame) -> Measured:
    """Compare an ingest of bars that are all there with ADBC's append into an empty table."""
    theirs = append(address, frame)
    with walle.connect(address) as store:
        store.bars.ingest(frame, symbol="BTC/USD", timeframe="1m")
        mine = seconds(lambda: store.bars.ingest(frame, symbol="BTC/USD", timeframe="1m"))
    return Measured(mine, theirs)


def read(address: str, frame: pl.DataFrame) -> Measured:
    """Compare a read with ADBC's fetch of the same rows into Polars."""
    with walle.connect(address) as store:
        store.bars.ingest(frame, symbol="BTC/USD", timeframe="1m")
        store.bars.latest("BTC/USD", "1m")  # opens the reading connection
        with dbapi.connect(address) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1")

            def work() -> object:
                cursor.execute(SELECT)
                return pl.from_arrow(cursor.fetch_arrow_table())

            work()  # the first read after a load sets hint bits
            return Measured(seconds(lambda: store.bars.read("BTC/USD", "1m")), seconds(work))


CASES = (
    Case("PostgreSQL ingest, no overlap", "ADBC append, same table", 1.3, ingest_new),
    Case("PostgreSQL ingest, full overlap", "ADBC append, same table", 2.5, ingest_again),
    Case("PostgreSQL read", "ADBC fetch -> Polars", 1.2, read),
)
