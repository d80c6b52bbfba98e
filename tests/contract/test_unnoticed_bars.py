"""Bars of another program: every as-of says the same of them before and after they are noticed."""

from __future__ import annotations

import contextlib
import sqlite3
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import walle
from tests.raw import Raw
from tests.samples import START, bars
from walle.database import Database
from walle.repositories import BarRepository

SERIES: dict[str, Any] = {"symbol": "A", "timeframe": "1m"}
COLUMNS = ["symbol", "timeframe", "timestamp", "open", "high", "low", "close", "volume"]


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", walle.UnrecordedWarning)
        yield


def foreign(address: str, *places: int) -> None:
    rows = [("A", "1m", START + timedelta(minutes=place), 1, 1, 1, 1, 1) for place in places]
    Raw(address).insert("bars", COLUMNS, rows)


def marks(address: str) -> int:
    return int(str(Raw(address).value("SELECT count(*) FROM bar_index WHERE runs IS NULL")))


def told(store: walle.Store, as_of: str | datetime) -> list[int]:
    """How many bars each read tells of."""
    return [
        store.bars.read("A", "1m", as_of=as_of).height,
        store.bars.scan("A", "1m", as_of=as_of).collect().height,
        store.bars.count("A", "1m", as_of=as_of),
        store.bars.versions("A", "1m", as_of=as_of).height,
        int(store.bars.coverage("A", as_of=as_of)["bars"].sum()),
    ]


def test_a_token_includes_what_another_program_had_written(store: walle.Store, address: str) -> None:
    store.bars.ingest(bars(5), **SERIES)
    foreign(address, 5, 6)
    token = store.bars.now()
    assert marks(address) == 0
    assert store.bars.ingests()["source"].to_list() == ["frame", "noticed"]
    assert told(store, token) == [7] * 5
    foreign(address, 7)
    assert told(store, token) == [7] * 5
    assert store.bars.read("A", "1m").height == 8
    assert store.bars.series()["bars"].item() == 8
    assert told(store, token) == [7] * 5


@pytest.mark.parametrize("read_only", [False, True])
def test_an_as_of_says_the_same_before_and_after_they_are_noticed(
    store: walle.Store, address: str, read_only: bool
) -> None:
    store.bars.ingest(bars(5), **SERIES)
    time.sleep(0.01)
    token, moment = store.bars.now(), datetime.now(UTC)
    time.sleep(0.01)
    foreign(address, 5, 6)
    with walle.connect(address, read_only=read_only) as reader:
        assert reader.bars.versions("A", "1m", as_of=token).height == 5  # nothing has looked at the index yet
        assert reader.bars.read("A", "1m", as_of=token).height == 5
        assert told(reader, token) == [5] * 5
    assert bool(marks(address)) == read_only
    assert store.bars.series()["bars"].item() == 7
    assert marks(address) == 0
    assert told(store, token) == told(store, moment) == [5] * 5
    assert told(store, store.bars.now()) == [7] * 5


def test_a_token_that_was_taken_beside_a_writer_stays(sqlite_address: str) -> None:
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(bars(5), **SERIES)
        foreign(sqlite_address, 5, 6)
        with contextlib.closing(sqlite3.connect(sqlite_address, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            token = store.bars.now()  # waits for nobody
            assert told(store, token) == [5] * 5
            other.execute("ROLLBACK")
        assert told(store, store.bars.now()) == [7] * 5
        assert told(store, token) == [5] * 5


async def test_a_session_notices_nothing(database: Database, address: str) -> None:
    repository = BarRepository(database)
    await repository.ingest(bars(5), **SERIES)
    foreign(address, 5)
    async with database.session() as session:
        token = await repository.now(session=session)
        assert (await repository.read("A", "1m", as_of=token, session=session)).height == 5
        assert (await repository.read("A", "1m", session=session)).height == 6
    assert (await repository.count("A", "1m")) == 6
    assert (await repository.now()).startswith("ingest:2@")
    assert (await repository.read("A", "1m", as_of=token)).height == 5
