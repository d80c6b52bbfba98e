"""Behind a pooler everything is as it is on a direct connection, whether or not anybody said that there is one."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import polars as pl
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

import walle
from tests.pooler.bouncer import bouncing
from tests.pooler.conftest import Addresses
from tests.pooler.differential import compare
from tests.postgres import Server
from tests.reliability.processes import sizes
from tests.samples import bars, event, fill, order, run
from walle.config import DatabaseConfig
from walle.database import Database
from walle.errors import ConfigurationError, ConsumerBusy, DatabaseUnavailable, ReadOnly

SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "standard_conforming_strings": "on",
    "extra_float_digits": "3",
    "lock_timeout": "1min",
}


def write_all(store: walle.Store) -> None:
    store.bars.ingest(bars(3_000), symbol="A", timeframe="1m")
    store.bars.ingest(bars(4_000), symbol="A", timeframe="1m")
    store.runs.save(run())
    for number in range(8):  # a statement is prepared when it comes the sixth time
        store.orders.save(order(number))
        store.fills.append(fill(number))
    store.events.append([event() for _ in range(20)])


def read_all(store: walle.Store) -> dict[str, pl.DataFrame]:
    return {
        "bars": store.bars.read("A", "1m"),
        "scan": store.bars.scan("A", "1m").collect(),
        "series": store.bars.series(),
        "coverage": store.bars.coverage(),
        "orders": store.orders.read(),
        "fills": store.fills.read(),
        "runs": store.runs.read(),
        "history": store.runs.history("run-1"),
        "events": store.events.read(),
    }


def test_every_frame_is_the_same_behind_it_and_beside_it(addresses: Addresses) -> None:
    with walle.connect(addresses.pooled) as store:
        write_all(store)
        assert store.status().ok
        through = read_all(store)
    with walle.connect(addresses.direct) as store:
        beside = read_all(store)
    assert beside["bars"].height == 4_000
    assert beside["fills"].height == 8
    for name, frame in beside.items():
        assert frame.equals(through[name]), name


def test_a_database_is_made_and_upgraded_through_it(server: Server, empty_postgres: str) -> None:
    with bouncing(server, "transaction") as port:
        address = empty_postgres.replace(f":{server.port}/", f":{port}/")
        assert walle.upgrade(address)
        with walle.connect(address) as store:
            assert store.status().ok


async def test_each_transaction_runs_under_the_settings_and_leaves_none_behind(addresses: Addresses) -> None:
    query = ", ".join(f"current_setting('{name}')" for name in SETTINGS)
    other = psycopg.connect(addresses.pooled, autocommit=True)
    database = Database(addresses.pooled)
    try:
        before = other.execute(f"SELECT {query}").fetchone()
        for _ in range(3):
            async with database.write() as writer:
                found = (await writer.execute(sa.text(f"SELECT {query}"))).one()
            assert tuple(found) == tuple(SETTINGS.values())
            columns: list[sa.ColumnElement[Any]] = [
                sa.literal_column(f"current_setting('{name}')", sa.Text).label(name) for name in SETTINGS
            ]
            frame = await database.fetch(sa.select(*columns), dict.fromkeys(SETTINGS, pl.String()))  # the other driver
            assert frame.row(0) == tuple(SETTINGS.values())
        assert other.execute(f"SELECT {query}").fetchone() == before
    finally:
        await database.close()
        other.close()


async def test_a_read_only_database_is_read_only_for_the_server_too(addresses: Addresses) -> None:
    database = Database(addresses.pooled, read_only=True)
    try:
        with pytest.raises(ReadOnly):
            async with database.write():
                pass
        async with database.engine.connect() as connection:
            with pytest.raises(DBAPIError, match="read-only transaction"):
                await connection.execute(sa.text("INSERT INTO outbox (type, payload) VALUES ('a.B', '{}')"))
    finally:
        await database.close()
    with walle.connect(addresses.pooled, read_only=True) as store, pytest.raises(ReadOnly):
        store.events.append(event())


def test_options_of_the_address_go_with_each_transaction(addresses: Addresses) -> None:
    with psycopg.connect(addresses.direct, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA research")
    options = "options=-c%20search_path%3Dresearch,public%20--lock-timeout%3D5s"
    walle.upgrade(f"{addresses.pooled}?{options}")
    with walle.connect(f"{addresses.pooled}?{options}") as store:
        store.events.append(event())
        assert store.events.read().height == 1
    with psycopg.connect(addresses.direct) as connection:
        assert connection.execute("SELECT count(*) FROM outbox").fetchone() == (1,)  # the tables were there before


def test_it_is_noticed_and_said_once(addresses: Addresses, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "walle"), walle.connect(addresses.pooled) as store:
        write_all(store)
        assert store.events.consume("sink", lambda _: None) == 20
        said = [record.getMessage() for record in caplog.records if "pooler is in front of" in record.getMessage()]
    assert said
    assert all("***" in text for text in said)


def test_one_consumer_of_a_name_lives_behind_it(addresses: Addresses) -> None:
    with walle.connect(addresses.pooled) as store, walle.connect(addresses.direct) as other:
        store.events.append([event() for _ in range(3)])
        refused = []

        def handle(_: walle.Event) -> None:
            for second in (store, other):
                try:
                    second.events.consume("sink", lambda _: None)
                except ConsumerBusy as error:
                    refused.append(str(error))

        assert store.events.consume("sink", handle) == 3
        assert len(refused) == 6
        owner = store.events.consumers()["owner"]
        assert owner.to_list() == [None]


def test_many_notebooks_on_three_connections_read_what_was_written(transactions: Addresses) -> None:
    series = {f"S{number}": bars(500 + 100 * number, price=100.0 * (number + 1)) for number in range(6)}
    with walle.connect(transactions.direct) as store:
        for symbol, frame in series.items():
            store.bars.ingest(frame, symbol=symbol, timeframe="1m")

    def read(symbol: str) -> int:
        with walle.connect(transactions.pooled) as store:
            for _ in range(30):
                found = store.bars.read(symbol, "1m").select(series[symbol].columns)
                assert found.equals(series[symbol]), symbol
                assert store.events.read().is_empty()
            return 30

    with ThreadPoolExecutor(6) as threads:
        assert sum(threads.map(read, series)) == 180


async def test_an_interrupted_read_leaves_the_next_one_right(transactions: Addresses) -> None:
    database = Database(transactions.pooled)
    slept: sa.ColumnElement[Any] = sa.literal_column("pg_sleep(0.02)::text").label("slept")
    place: sa.ColumnElement[Any] = sa.literal_column("i").label("i")
    slow = sa.select(slept, place).select_from(sa.text("generate_series(1, 500) AS i"))
    try:
        for _ in range(5):
            task = asyncio.create_task(database.fetch(slow, {"slept": pl.String(), "i": pl.Int64()}))
            await asyncio.sleep(0.2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            frame = await database.fetch(sa.select(sa.literal_column("41 + 1").label("n")), {"n": pl.Int64()})
            assert frame.item() == 42
    finally:
        await database.close()


def test_a_mode_without_transactions_is_refused_with_the_reason(server: Server, postgres_address: str) -> None:
    with bouncing(server, "statement") as port:
        address = postgres_address.replace(f":{server.port}/", f":{port}/")
        with pytest.raises(DatabaseUnavailable, match="statement pooling mode"):
            walle.connect(address)


def test_what_was_said_before_holds_still(addresses: Addresses) -> None:
    config = DatabaseConfig(url=addresses.pooled, transaction_pooler=True)
    with walle.connect(config.address, transaction_pooler=True) as store:
        write_all(store)
        assert store.events.consume("sink", lambda _: None) == 20


@pytest.mark.parametrize("options", ["-E", "-c", "-c lock_timeout", "--", "-S 100", "'unclosed"])
def test_an_option_that_is_no_setting_is_refused(options: str) -> None:
    url = sa.URL.create("postgresql", host="127.0.0.1", database="x", query={"options": options})
    with pytest.raises(ConfigurationError, match="options in the address"):
        walle.connect(url)


@sizes("seconds", always=[6.0], full=[60.0])
def test_two_notebooks_and_an_engine_see_what_they_see_without_it(server: Server, seconds: float) -> None:
    report = compare(server, seconds, seed=7)
    assert report["steps"] > 1
    assert report["frames"] > 1


async def test_an_interrupted_write_leaves_nothing_and_the_next_one_works(transactions: Addresses) -> None:
    database = Database(transactions.pooled)
    log = walle.EventLog(database)
    try:
        for _ in range(3):
            task = asyncio.create_task(_write_slowly(database, log))
            await asyncio.sleep(0.3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await log.read()).is_empty()
        await log.append(event())
        assert (await log.read()).height == 1
    finally:
        await log.close()
        await database.close()


async def _write_slowly(database: Database, log: walle.EventLog) -> None:
    async with database.session() as session:
        await log.append(event(), session=session)
        async with database.write(session) as writer:
            await writer.execute(sa.text("SELECT pg_sleep(60)"))
        await session.commit()
