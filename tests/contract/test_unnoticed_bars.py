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
from tests.contract.test_bar_index import maintenance, moment
from tests.raw import Raw, fill_tables
from tests.samples import START, bars
from walle import migrate
from walle.config import DatabaseConfig
from walle.database import Database
from walle.repositories import BarRepository

SERIES: dict[str, Any] = {"symbol": "A", "timeframe": "1m"}
COLUMNS = ["symbol", "timeframe", "timestamp", "open", "high", "low", "close", "volume"]


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", walle.UnrecordedWarning)
        yield


@pytest.fixture
def unrecorded(_silent: None) -> None:
    """Let bars of which no ingest tells be warned of."""
    warnings.simplefilter("ignore", walle.UnrecordedWarning)


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


def forget(address: str) -> None:
    """Leave the bars as they are in a store that was upgraded: no ingest tells of them."""
    raw = Raw(address)
    with raw.open() as connection:
        if raw.sqlite:
            connection.execute("DROP TRIGGER walle_guard_bar_ingests_delete")
        else:
            connection.execute("ALTER TABLE bar_ingests DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM bar_ingests")


def delete(address: str, place: int) -> None:
    raw = Raw(address)
    with maintenance(raw) as connection:
        connection.execute(f"DELETE FROM bars WHERE timestamp = {moment(raw, place)}")  # type: ignore[attr-defined]


@pytest.mark.usefixtures("unrecorded")
@pytest.mark.parametrize("noticed_by", ["now", "series"])
def test_bars_that_came_before_that_was_kept_stay_beside_those_of_another_program(
    store: walle.Store, address: str, noticed_by: str
) -> None:
    store.bars.ingest(bars(100), **SERIES)
    forget(address)
    token = store.bars.now()
    assert told(store, token) == [100] * 5
    foreign(address, -1, 100)  # the mark reaches over all of them
    with walle.connect(address, read_only=True) as reader:
        assert told(reader, token) == [100] * 5
    later = store.bars.now() if noticed_by == "now" else None
    assert store.bars.series()["bars"].item() == 102
    assert marks(address) == 0
    assert store.bars.ingests().filter(source="noticed")["inserted"].to_list() == [2]
    assert told(store, token) == [100] * 5
    assert told(store, later or store.bars.now()) == [102] * 5


@pytest.mark.usefixtures("unrecorded")
@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_deletion_makes_no_bar_new(store: walle.Store, address: str, own: bool, after: bool) -> None:
    store.bars.ingest(bars(100), **SERIES)
    forget(address)
    token = store.bars.now()
    delete(address, 50)
    if own:
        store.bars.ingest(bars(102).tail(2), **SERIES)
    if after:
        foreign(address, -1)  # it is unknown that the index did not hold this one
    with walle.connect(address, read_only=True) as reader:
        assert told(reader, token) == [99 + after] * 5
    assert store.bars.series()["bars"].item() == 99 + after + 2 * own
    assert marks(address) == 0
    assert store.bars.ingests().filter(source="noticed").is_empty()
    assert told(store, token) == [99 + after] * 5
    foreign(address, 200)
    assert told(store, store.bars.now()) == [100 + after + 2 * own] * 5
    assert told(store, token) == [99 + after] * 5


def test_a_deletion_leaves_what_ingests_tell_of(store: walle.Store, address: str) -> None:
    store.bars.ingest(bars(5), **SERIES)
    token = store.bars.now()
    store.bars.ingest(bars(7), **SERIES)
    delete(address, 2)
    for _ in range(2):
        assert told(store, token) == [4] * 5
        assert store.bars.series()["bars"].item() == 6


@pytest.mark.usefixtures("unrecorded")
def test_a_series_of_another_program_alone_is_new(store: walle.Store, address: str) -> None:
    store.bars.ingest(bars(5), symbol="B", timeframe="1m")
    token = store.bars.now()
    foreign(address, 0, 1, 5)
    assert store.bars.count("A", "1m", as_of=token) == 0
    later = store.bars.now()
    assert store.bars.count("A", "1m", as_of=token) == 0
    assert told(store, later) == [3] * 5


@pytest.mark.usefixtures("unrecorded")
@pytest.mark.parametrize("base", ["d4e5f6a7b8c9", "c0e5a4b6d8f2", "f3b8d7e9a1c5"])
def test_no_bar_that_was_stored_before_an_upgrade_is_new(empty_address: str, base: str) -> None:
    where = DatabaseConfig(url=empty_address)
    migrate.upgrade(where, base)
    fill_tables(Raw(empty_address), ("bars",))
    migrate.upgrade(where, confirmed=True)
    with walle.connect(empty_address) as store:
        assert store.bars.count("CL", "1d", as_of="ingest:0") == 1
        assert store.bars.series()["bars"].sum() == 4
        assert store.bars.ingests().is_empty()
        assert store.bars.count("CL", "1d", as_of=store.bars.now()) == 1
