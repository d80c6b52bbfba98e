"""Consumers on PostgreSQL whose lock on their name is cut off, while all else works: never two of one name."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import psycopg
import pytest
import pytest_asyncio

from tests.raw import Raw
from tests.reliability.consuming import (
    SINK,
    append,
    consuming,
    flat,
    hang,
    history,
    numbers_of,
    offset,
    say,
    together,
    until,
    watch,
)
from tests.samples import event
from walle.database import Database
from walle.dialects import postgresql_outbox
from walle.envelope import Event
from walle.errors import Conflict, ConsumerBusy, ConsumerFenced
from walle.events import Consumer, EventLog, PullConsumer, held_name

_HELD = (
    "FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


def holders(raw: Raw) -> list[int]:
    """Return the server's processes that hold a name."""
    return [pid for (pid,) in raw.rows(f"SELECT pid {_HELD}")]


def cut(raw: Raw) -> None:
    """End the session that holds the name, and no other, as an administrator would."""
    assert raw.value(f"SELECT count(pg_terminate_backend(pid)) {_HELD}") == 1


def seize(raw: Raw) -> psycopg.Connection[object]:
    """End the session that holds the name, and hold its lock before anybody else can."""
    ((high, low),) = raw.rows(f"SELECT classid::bigint, objid::bigint {_HELD}")
    thief = psycopg.connect(raw.address, autocommit=True)
    cut(raw)
    key = (high << 32 | low) - (1 << 64 if high >> 31 else 0)

    def taken() -> bool:
        row = thief.execute("SELECT pg_try_advisory_lock(%s::bigint)", (key,)).fetchone()
        return row is not None and bool(row[0])

    until(taken)
    return thief


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


@pytest_asyncio.fixture
async def events(postgres_address: str) -> AsyncIterator[EventLog]:
    database = Database(postgres_address)
    yield EventLog(database)
    await database.close()


def test_a_consumer_whose_lock_is_cut_off_takes_it_again_and_keeps_its_name(postgres_address: str) -> None:
    raw = Raw(postgres_address)
    append(postgres_address, 200)
    watch(raw)
    first, second = children = [consuming(postgres_address, go=True, pace=0.005) for _ in range(2)]
    with together(children):
        say(first)
        first.expect("commit")
        (before,) = holders(raw)
        cut(raw)
        until(lambda: (now := holders(raw)) != [] and now != [before])
        say(second)
        assert second.expect("ended") == "ConsumerBusy"
        until(lambda: offset(raw) == 200)
        first.signal(signal.SIGTERM)
        assert first.succeed().lines[-1] == "ended well"
    assert flat(numbers_of(first, "given")) == list(range(1, 201))
    assert numbers_of(second, "given") == []
    assert len({epoch for epoch, *_ in history(raw)}) == 1, "it went on under its epoch"
    assert holders(raw) == []


def test_a_consumer_whose_name_was_taken_after_a_cut_handles_nothing_more(postgres_address: str) -> None:
    raw = Raw(postgres_address)
    append(postgres_address, 200)
    watch(raw)
    first, second = children = [consuming(postgres_address, go=True, pace=0.01) for _ in range(2)]
    with together(children):
        say(first)
        first.expect("commit")
        hang(first, raw)
        begun = len(numbers_of(first, "given"))
        cut(raw)
        say(second)
        second.expect("commit")
        first.signal(signal.SIGCONT)
        assert first.expect("ended") == "ConsumerFenced"
        until(lambda: offset(raw) == 200)
        second.signal(signal.SIGTERM)
        second.succeed()
    # a line may have been under way when it was stopped, and the call in hand goes to its end
    assert len(numbers_of(first, "given")) <= begun + 2
    commits = [(epoch, pid) for epoch, before, after, pid in history(raw) if before != after]
    assert len(set(commits)) == len({epoch for epoch, _ in commits}) == 2
    assert all(before <= after for _, before, after, _ in history(raw))


async def test_nothing_is_handled_while_another_session_has_the_lock(postgres_address: str, events: EventLog) -> None:
    raw, got = Raw(postgres_address), list[int]()

    async def handle(given: Event) -> None:
        got.append(given.offset or 0)

    consumer = Consumer(events, SINK, handle)
    running = asyncio.ensure_future(consumer.run())
    await events.append(event(1))
    await eventually(lambda: offset(raw) == 1)  # no transaction is under way, which would need the loop to end
    thief = seize(raw)  # the loop stands still meanwhile
    await events.append(event(2))
    await asyncio.sleep(1.5)
    assert got == [1]
    assert not running.done()
    thief.close()
    await eventually(lambda: got == [1, 2])
    consumer.stop()
    assert await running == 2


@pytest.mark.parametrize("claims", [True, False], ids=["claims", "only locks"])
@pytest.mark.parametrize("pulls", [False, True], ids=["consumer", "pull consumer"])
async def test_a_consumer_ends_when_another_one_has_its_lock(
    postgres_address: str, events: EventLog, monkeypatch: pytest.MonkeyPatch, claims: bool, pulls: bool
) -> None:
    monkeypatch.setattr(held_name, "LOST_SECONDS", 1.0)
    raw, got = Raw(postgres_address), list[int]()

    async def handle(given: Event) -> None:
        got.append(given.offset or 0)

    async def pull() -> None:
        async with PullConsumer(events, SINK) as consumer:
            while True:
                for place, given in await consumer.poll(timeout=None):
                    await handle(given)
                    await consumer.commit(place)

    running = asyncio.ensure_future(pull() if pulls else Consumer(events, SINK, handle).run())
    await events.append(event(1))
    await eventually(lambda: offset(raw) == 1)  # no transaction is under way, which would need the loop to end
    thief = seize(raw)
    if claims:
        raw.run('UPDATE consumer_offsets SET epoch = epoch + 1, owner = \'{"token": "other"}\'')
    await events.append(event(2))
    expected: type[Conflict] = ConsumerFenced if claims else ConsumerBusy
    with pytest.raises(expected, match=SINK):
        await running
    assert got == [1]
    thief.close()


async def test_a_session_that_falls_silent_is_replaced_once_the_server_lets_the_name_go(
    postgres_address: str, events: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_outbox, "ANSWER_TIMEOUT", 0.3)  # a firewall that drops packets says nothing
    raw, got = Raw(postgres_address), list[int]()

    async def handle(given: Event) -> None:
        got.append(given.offset or 0)

    consumer = Consumer(events, SINK, handle, lease=timedelta(seconds=0.3))
    running = asyncio.ensure_future(consumer.run())
    await events.append(event(1))
    await eventually(lambda: got == [1])
    (pid,) = holders(raw)
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(1.5)
        await events.append(event(2))
        await asyncio.sleep(1.0)
        assert got == [1]
    finally:
        os.kill(pid, signal.SIGCONT)
    await eventually(lambda: got == [1, 2])
    assert holders(raw) != [pid]
    consumer.stop()
    assert await running == 2


async def test_the_lock_is_taken_again_while_a_handler_takes_long(postgres_address: str, events: EventLog) -> None:
    raw, begun, done = Raw(postgres_address), asyncio.Event(), asyncio.Event()

    async def handle(given: Event) -> None:
        begun.set()
        await done.wait()

    consumer = Consumer(events, SINK, handle)
    running = asyncio.ensure_future(consumer.run())
    await events.append(event(1))
    await begun.wait()
    before = holders(raw)
    cut(raw)
    await eventually(lambda: (now := holders(raw)) != [] and now != before)
    moment = time.monotonic()
    with pytest.raises(ConsumerBusy):
        await Consumer(events, SINK, handle).run(follow=False)
    assert time.monotonic() - moment < 30
    done.set()
    consumer.stop()
    assert await running == 1
