"""Who follows a log goes on after an outage: each event once for a subscriber, at least once for a consumer."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import walle
from tests.postgres import Server, restart, start_server
from tests.reliability.processes import sizes
from tests.samples import event
from walle import migrate
from walle.config import DatabaseConfig
from walle.database import Database
from walle.envelope import Event
from walle.errors import AuthenticationFailed, DatabaseUnavailable, StoreClosed
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
