"""Events: WallE against plain SQLAlchemy and the drivers themselves, in tables with the same indexes and guards."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import polars as pl
import psycopg
import sqlalchemy as sa

import walle
from tests.benchmarks.measure import Case, Measured, seconds
from tests.benchmarks.sqlite import plain
from walle import Database, Event, EventLog, demo, models

__all__ = ["DRIVERS", "Driver", "appends", "fill", "make_events", "median_append", "reads"]

SINGLES = 500
"""Durable appends of one event each; fewer in a small run."""

BATCH = 50_000
"""Events of one call; fewer in a small run."""

TURNS = 10
"""WallE and its peer take so many turns at single appends: how long a disk takes to sync changes within a second."""

COLUMNS = ["offset", "type", "created_at", "envelope"]


@dataclass(frozen=True)
class Driver:
    """A database's own driver: how to open a connection in autocommit, and its SQL."""

    database: str
    name: str
    connect: Callable[[str], sqlite3.Connection | psycopg.Connection[Any]]
    insert: str
    select: str
    created_at: pl.DataType

    def frame(self, connection: Any) -> pl.DataFrame:
        """Fetch all events into a frame of the public types."""
        rows = connection.execute(self.select).fetchall()
        schema = {"offset": pl.Int64(), "type": pl.String(), "created_at": self.created_at, "envelope": pl.String()}
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        return frame.with_columns(pl.col("created_at").cast(walle.frames.INSTANT))


DRIVERS = {
    "sqlite": Driver(
        "SQLite",
        "sqlite3",
        plain,
        "INSERT INTO outbox (type, payload) VALUES (?, ?)",
        "SELECT id, type, created_at, payload FROM outbox ORDER BY id",
        pl.Int64(),
    ),
    "postgresql": Driver(
        "PostgreSQL",
        "psycopg",
        lambda address: psycopg.connect(address, autocommit=True, options="-c timezone=UTC"),
        "INSERT INTO outbox (type, payload) VALUES (%s, %s)",
        "SELECT id, type, created_at, payload::text FROM outbox ORDER BY id",
        walle.frames.INSTANT,
    ),
}


def make_events(rows: int) -> list[Event]:
    """Return the sample events, over and over."""
    return list(itertools.islice(itertools.cycle(demo.sample_events()), rows))


def single(address: str, events: Sequence[Event]) -> Measured:
    """Compare appends of one event each with the same insert in a transaction of the same engine."""
    walle.connect(address).close()  # makes the tables of a new file
    each = max(1, min(SINGLES, len(events) // 20) // TURNS)

    async def both() -> Measured:
        database = Database(address)
        log = EventLog(database)

        async def ours(turn: Sequence[Event]) -> None:
            for event in turn:
                await log.append(event)

        async def theirs(turn: Sequence[Event]) -> None:
            for event in turn:
                async with database.engine.begin() as connection:
                    await connection.execute(sa.insert(models.outbox).values(type=event.type, payload=event.envelope()))

        taken = {ours: 0.0, theirs: 0.0}
        await ours(events[:5])  # connections, and the statement caches
        await theirs(events[:5])
        clock = asyncio.get_running_loop().time
        for turn in range(TURNS):
            for work in (theirs, ours) if turn % 2 else (ours, theirs):
                start = clock()
                await work(events[turn * each : (turn + 1) * each])
                taken[work] += clock() - start
        await database.close()
        return Measured(taken[ours], taken[theirs])

    return asyncio.run(both())


def batch(driver: Driver) -> Callable[[str, Sequence[Event]], Measured]:
    """Compare one call with many events with the driver's executemany of prebuilt rows in one transaction."""

    def measure(address: str, events: Sequence[Event]) -> Measured:
        other = address.replace(".db", "-peer.db")  # on PostgreSQL it is the same database
        walle.connect(other).close()
        given = events[: max(1, min(BATCH, len(events) // 20))]
        rows = [(event.type, event.to_json()) for event in given]
        with walle.connect(address) as store, closing(driver.connect(other)) as connection:

            def work() -> None:
                connection.execute("BEGIN")
                connection.cursor().executemany(driver.insert, rows)
                connection.execute("COMMIT")

            store.events.append(events[:100])  # opens the writing connection
            theirs = seconds(work)
            return Measured(seconds(lambda: store.events.append(given)), theirs)

    return measure


def fill(address: str, events: Sequence[Event], driver: Driver) -> None:
    """Append all events, and read them once: PostgreSQL's first read after a load sets hint bits."""
    with walle.connect(address) as store:
        for start in range(0, len(events), BATCH):
            store.events.append(events[start : start + BATCH])
    with closing(driver.connect(address)) as connection:
        connection.execute("SELECT sum(length(payload)) FROM outbox" if driver.name == "sqlite3" else "VACUUM outbox")


def drain(driver: Driver, columns: Sequence[str] | None) -> Callable[[str, Sequence[Event]], Measured]:
    """Compare reading a whole log that is filled with the driver's fetchall of four columns into Polars."""

    def measure(address: str, events: Sequence[Event]) -> Measured:
        with walle.connect(address) as store, closing(driver.connect(address)) as connection:
            store.events.read(limit=1)  # opens the reading connection
            mine = seconds(lambda: store.events.read(columns=columns))
            return Measured(mine, seconds(lambda: driver.frame(connection)))

    return measure


def appends(driver: Driver) -> list[Case[Sequence[Event]]]:
    """Return what is measured on a new store each; the goals are 0.8 and 0.6 of the peer's rate."""
    return [
        Case(f"{driver.database} events, one by one", "SQLAlchemy async insert, same engine", 1.25, single),
        Case(f"{driver.database} events, one batch", f"{driver.name} executemany, same table", 1.67, batch(driver)),
    ]


def reads(driver: Driver) -> list[Case[Sequence[Event]]]:
    """Return what is measured on a store that :func:`fill` has filled."""
    peer = f"{driver.name} fetchall -> Polars, 4 columns"
    return [
        Case(f"{driver.database} events, read of 4 columns", peer, 1.3, drain(driver, COLUMNS)),
        Case(f"{driver.database} events, read of all columns", peer, 4, drain(driver, None)),
    ]


def median_append(address: str, events: Sequence[Event]) -> float:
    """Return the median seconds of one append through the facade."""
    given = events[: max(1, min(SINGLES, len(events) // 20))]
    taken = []
    with walle.connect(address) as store:
        store.events.append(given[0])  # opens the writing connection
        for event in given:
            start = time.perf_counter()
            store.events.append(event)
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)
