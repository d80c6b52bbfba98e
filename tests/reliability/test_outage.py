"""Who follows a log goes on after an outage: each event once for a subscriber, at least once for a consumer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import walle
from tests.postgres import Server, restart, start_server
from tests.reliability.processes import sizes
from tests.samples import event
from walle import migrate
from walle.config import DatabaseConfig
from walle.database import Database
from walle.envelope import Event
from walle.errors import AuthenticationFailed, DatabaseBusy, DatabaseUnavailable, StoreClosed
from walle.events import Consumer, EventLog
from walle.events.patience import Patience


@pytest.fixture
def own_server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="walle-pg-"))
    running = start_server(folder)
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@sizes("rounds", always=[2], full=[10])
async def test_nothing_is_skipped_over_restarts_of_the_server(
    own_server: Server, rounds: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "walle")
    address = own_server.create("store")
    await asyncio.to_thread(migrate.upgrade, DatabaseConfig(url=address))
    database, writer = Database(address), Database(address)
    log, heard, handled = EventLog(database), list[int](), list[int]()

    async def subscribe() -> None:
        async for given in log.subscribe(after=-1):
            heard.append(given.offset or 0)

    async def handle(given: Event) -> None:
        handled.append(given.offset or 0)

    consumer = Consumer(log, "sink", handle)
    tasks = [asyncio.ensure_future(subscribe()), asyncio.ensure_future(consumer.run())]
    stored: list[int] = []
    for turn in range(rounds + 1):
        stored += await EventLog(writer).append([event(turn * 10 + number) for number in range(10)])
        async with asyncio.timeout(60):
            while stored[-1] not in heard or stored[-1] not in handled:
                assert not any(task.done() for task in tasks)
                await asyncio.sleep(0.05)
        if turn < rounds:
            await writer.close()
            await asyncio.to_thread(restart, own_server.process, own_server.sockets)
            writer = Database(address)
    consumer.stop()
    await tasks[1]
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert heard == stored
    assert set(handled) == set(stored)
    assert "lost the database" in caplog.text
    assert "has the database again" in caplog.text
    await log.close()
    await writer.close()
    await database.close()


async def test_a_file_that_is_locked_longer_than_the_patience_holds_up_who_follows_and_ends_nobody(
    sqlite_address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("walle.dialects.sqlite.BUSY_TIMEOUT", 0.3)
    caplog.set_level(logging.WARNING, "walle")
    database = Database(sqlite_address)
    log, heard, handled = EventLog(database), list[int](), list[int]()

    async def subscribe() -> None:
        async for given in log.subscribe(after=-1):
            heard.append(given.offset or 0)

    begun, go_on = asyncio.Event(), asyncio.Event()

    async def handle(given: Event) -> None:
        if given.offset == 3:
            begun.set()
            await go_on.wait()
        handled.append(given.offset or 0)

    async def both(offset: int) -> None:
        async with asyncio.timeout(60):
            while offset not in heard or offset not in handled:
                await asyncio.sleep(0.02)

    consumer = Consumer(log, "sink", handle)
    tasks = [asyncio.ensure_future(subscribe()), asyncio.ensure_future(consumer.run())]
    stored = await log.append([event(1), event(2)])
    await both(stored[-1])
    with contextlib.closing(sqlite3.connect(sqlite_address, isolation_level=None)) as other:
        stored.append(await log.append(event(3)))
        await begun.wait()
        other.execute("BEGIN EXCLUSIVE")
        go_on.set()  # now there is an offset to commit, and no way to do so
        async with asyncio.timeout(60):
            while "consumer sink lost the database" not in caplog.text:
                await asyncio.sleep(0.02)
        assert not any(task.done() for task in tasks)
        with pytest.raises(DatabaseBusy):
            await Consumer(log, "other", handle, give_up_after=0).run()
        other.execute("ROLLBACK")
    stored.append(await log.append(event(4)))
    await both(stored[-1])
    consumer.stop()
    await tasks[1]
    tasks[0].cancel()
    await asyncio.wait(tasks)
    assert heard == stored
    assert list(dict.fromkeys(handled)) == stored
    assert "consumer sink has the database again" in caplog.text
    await database.close()


async def test_a_new_consumer_of_what_comes_next_skips_nothing_that_came_during_an_outage(
    sqlite_address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("walle.dialects.sqlite.BUSY_TIMEOUT", 0.3)
    caplog.set_level(logging.WARNING, "walle")
    database, handled = Database(sqlite_address), list[int]()
    log = EventLog(database)
    await log.append([event(1), event(2)])

    async def handle(given: Event) -> None:
        handled.append(given.offset or 0)

    consumer = Consumer(log, "sink", handle, start="latest")
    with contextlib.closing(sqlite3.connect(sqlite_address, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # it can look where the log ends, and cannot claim its name
        running = asyncio.ensure_future(consumer.run())
        async with asyncio.timeout(60):
            while "consumer sink lost the database" not in caplog.text:
                await asyncio.sleep(0.02)
        other.execute("INSERT INTO outbox (type, payload) SELECT type, payload FROM outbox WHERE id = 2")
        other.execute("COMMIT")
    async with asyncio.timeout(60):
        while not handled:
            await asyncio.sleep(0.02)
    consumer.stop()
    await running
    assert handled == [3]
    await database.close()


async def test_what_waiting_does_not_mend_is_raised_at_once() -> None:
    for error in (AuthenticationFailed("no"), walle.ReadOnly("no"), walle.UnsafeEventSource("no")):
        with pytest.raises(type(error)):
            await Patience("x", None).wait(error)
    assert not issubclass(StoreClosed, walle.DatabaseError)
    with pytest.raises(DatabaseUnavailable):
        await Patience("x", 0).wait(DatabaseUnavailable("gone"))
    for wrong in (-1, "1", True, float("nan")):
        with pytest.raises(walle.InputError, match="give_up_after"):
            Patience("x", wrong)  # type: ignore[arg-type]  # wrong on purpose


async def test_giving_up_counts_from_when_reading_failed_also_where_the_name_can_be_claimed(
    postgres_address: str,
) -> None:
    database = Database(f"{postgres_address}?options=-c%20lock_timeout%3D100ms")
    consumer = Consumer(EventLog(database), "sink", print, give_up_after=1.0)
    with psycopg.connect(postgres_address) as connection:
        connection.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseBusy, match="lock timeout"):
            async with asyncio.timeout(60):
                await consumer.run()
    await database.close()
