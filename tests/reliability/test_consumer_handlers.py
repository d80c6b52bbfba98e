"""What a handler may do to a consumer: fail, leave, block, reset its own offset; and a consumer that is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal

import pytest
import sqlalchemy as sa

import walle
from tests.raw import Raw
from tests.reliability.consuming import SINK, append, flat, numbers_of, offset, owner, start, until
from tests.reliability.processes import sizes
from tests.samples import event
from walle.config import DatabaseConfig
from walle.database import Database
from walle.envelope import Event
from walle.errors import HandlerFailed
from walle.events import Consumer, EventLog


class Failing:
    """A handler that keeps what it was given, and fails at some events."""

    def __init__(self, *bad: int) -> None:
        self.bad, self.got = set(bad), list[int]()

    async def __call__(self, given: Event | list[Event]) -> None:
        for item in given if isinstance(given, list) else [given]:
            self.got.append(item.offset or 0)
            if item.offset in self.bad:
                raise ValueError("bad")


async def filled(database: Database, count: int) -> EventLog:
    log = EventLog(database)
    await log.append([event(number) for number in range(1, count + 1)])
    return log


@pytest.mark.parametrize("batch_size", [None, 20])
async def test_a_park_is_not_done_over_a_reset(database: Database, address: str, batch_size: int | None) -> None:
    log, got = await filled(database, 20), list[int]()
    before = 1 if batch_size is None else 2  # a batch that failed is given event by event

    async def handle(given: Event | list[Event]) -> None:
        for item in given if isinstance(given, list) else [given]:
            got.append(item.offset or 0)
            if item.offset == 15:
                if got.count(15) == before:
                    await log.reset_offset(SINK, to=3, reason="a test")
                raise ValueError("bad")

    consumer = Consumer(log, SINK, handle, tries=1, on_poison="park", batch_size=batch_size)
    await consumer.run(follow=False)
    after = got[[place for place, number in enumerate(got) if number == 15][before - 1] + 1 :]
    assert set(range(4, 21)) <= set(after), "what the reset asked for is handled again"
    assert offset(Raw(address)) == 20


async def test_a_parked_event_that_a_reset_goes_behind_comes_in_its_turn(database: Database, address: str) -> None:
    log, handle = await filled(database, 20), Failing(15)
    await Consumer(log, SINK, handle, tries=1, on_poison="park").run(follow=False)
    await log.replay(SINK, 15)
    await log.reset_offset(SINK, to=3, reason="a test")
    handle = Failing(6)
    with pytest.raises(HandlerFailed):
        await Consumer(log, SINK, handle, tries=1).run(follow=False)
    assert handle.got == [4, 5, 6]
    assert offset(Raw(address)) == 5
    handle.bad.clear()
    await Consumer(log, SINK, handle, tries=1).run(follow=False)
    assert handle.got == [4, 5, 6, *range(6, 21)]


async def test_a_replay_that_fails_leaves_the_offset(database: Database, address: str) -> None:
    log = await filled(database, 20)
    await Consumer(log, SINK, Failing(15), tries=1, on_poison="park").run(follow=False)
    await log.replay(SINK, 15)
    await log.append([event(21), event(22)])
    handle = Failing(15, 22)
    with pytest.raises(HandlerFailed):
        await Consumer(log, SINK, handle, tries=1).run(follow=False)
    assert handle.got == [15, 21, 22]
    assert offset(Raw(address)) == 21
    assert Raw(address).rows("SELECT event, tries FROM parked_events WHERE replayed_at IS NULL") == [(15, 2)]


async def test_an_event_that_a_reset_went_past_does_not_stop_the_consumer(database: Database, address: str) -> None:
    log, got = await filled(database, 20), list[int]()

    async def handle(given: Event) -> None:
        got.append(given.offset or 0)
        if given.offset == 10:
            await log.reset_offset(SINK, to=15, reason="skip the bad one")
            raise ValueError("bad")

    await Consumer(log, SINK, handle, tries=1).run(follow=False)
    assert got == [*range(1, 11), *range(16, 21)]
    assert offset(Raw(address)) == 20


async def test_a_stop_ends_replays_after_the_event_in_hand(database: Database, address: str) -> None:
    log = await filled(database, 10)
    await Consumer(log, SINK, Failing(*range(1, 11)), tries=1, on_poison="park").run(follow=False)
    await log.replay(SINK)
    got: list[int] = []

    async def handle(given: Event) -> None:
        got.append(given.offset or 0)
        consumer.stop()

    consumer = Consumer(log, SINK, handle)
    await consumer.run()
    assert got == [1]
    raw = Raw(address)
    assert raw.value("SELECT count(*) FROM parked_events WHERE requested_at IS NOT NULL") == 9


async def test_a_name_is_freed_also_when_the_offset_was_reset_just_before(address: str) -> None:
    database = Database(DatabaseConfig(url=address, transaction_pooler=True))
    try:
        log, handle = await filled(database, 3), Failing()
        consumer = Consumer(log, SINK, handle)
        task = asyncio.create_task(consumer.run())
        while offset(Raw(address)) < 3:
            await asyncio.sleep(0.01)
        await log.reset_offset(SINK, to=2, reason="a test")
        consumer.stop()
        await task
        assert owner(Raw(address)) is None
        await Consumer(log, SINK, handle).run(follow=False)
        assert handle.got[-1] == 3
    finally:
        await database.close()


async def test_a_consumer_that_is_cancelled_during_a_commit_frees_its_name(address: str) -> None:
    database = Database(DatabaseConfig(url=address, transaction_pooler=True))
    raw, handle = Raw(address), Failing()
    try:
        log = await filled(database, 3)
        held: list[int] = []
        for number in range(1, 5):  # the claim, two commits, the release
            task = asyncio.create_task(Consumer(log, SINK, handle, batch_size=1, start=0).run(follow=False))
            left = number

            def committing(_: object, task: asyncio.Task[int] = task) -> None:
                nonlocal left
                left -= 1
                if left == 0:
                    task.cancel()

            sa.event.listen(database.engine.sync_engine, "commit", committing)
            await asyncio.gather(task, return_exceptions=True)
            sa.event.remove(database.engine.sync_engine, "commit", committing)
            if owner(raw) is not None:
                held.append(number)
                raw.run("UPDATE consumer_offsets SET owner = NULL")
            await log.append(event(number + 10))
        assert held == []
    finally:
        await database.close()


@sizes("count", always=[30], full=[400])
async def test_a_consumer_that_is_cancelled_at_any_moment_can_start_again(
    database: Database, address: str, count: int
) -> None:
    chance, handle = random.Random(count), Failing()
    log = await filled(database, 30)
    for _ in range(count):
        task = asyncio.create_task(Consumer(log, SINK, handle).run())
        await asyncio.sleep(chance.uniform(0, 0.03))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await Consumer(log, SINK, handle).run(follow=False)
    assert set(handle.got) == set(range(1, 31))
    assert offset(Raw(address)) == 30
    assert owner(Raw(address)) is None


async def test_two_runs_of_one_object_do_not_free_the_name_of_the_other(database: Database, address: str) -> None:
    log, got = await filled(database, 3), list[int]()

    async def handle(given: Event) -> None:
        await asyncio.sleep(0.05)
        got.append(given.offset or 0)

    consumer = Consumer(log, SINK, handle)
    results = await asyncio.gather(*(consumer.run(follow=False) for _ in range(2)), return_exceptions=True)
    assert [result for result in results if not isinstance(result, walle.WalleError)] == [3]
    assert got == [1, 2, 3]
    assert offset(Raw(address)) == 3


@pytest.mark.parametrize("kind", ["thread", "loop"])
@pytest.mark.parametrize("name", ["StopIteration", "SystemExit"])
def test_a_handler_may_raise_what_would_end_a_loop(address: str, name: str, kind: str) -> None:
    append(address, 3)
    with start("raising", address, name, kind) as child:
        assert child.expect("ended", within=10) == "HandlerFailed"
        assert child.expect("latest") == "3"
        assert child.succeed().errors == ""
    assert owner(Raw(address)) is None


@pytest.mark.parametrize("batch_size", [None, 2])
def test_a_handler_that_fails_in_a_store_leaves_the_store_working_and_the_name_free(
    address: str, batch_size: int | None
) -> None:
    append(address, 5)
    got: list[int] = []

    def handle(given: Event | list[Event]) -> None:
        for item in given if isinstance(given, list) else [given]:
            if item.offset == 4 and bad:
                raise LookupError("not here")
            got.append(item.offset or 0)

    bad, raw = True, Raw(address)
    with walle.connect(address) as store:
        with pytest.raises(HandlerFailed, match="4") as caught:
            store.events.consume(SINK, handle, batch_size=batch_size, tries=1)
        assert isinstance(caught.value.__cause__, LookupError)
        assert offset(raw) == 3
        assert owner(raw) is None
        bad = False
        assert store.events.consume(SINK, handle, batch_size=batch_size) == 2
    assert sorted(set(got)) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("moment", ["waiting", "handling"])
def test_ctrl_c_ends_consuming_after_the_event_in_hand_and_the_store_goes_on(address: str, moment: str) -> None:
    raw = Raw(address)
    append(address, 5)
    with start("facade", address, moment) as child:
        while child.expect("given") != ("3" if moment == "handling" else "5"):
            pass
        if moment == "waiting":
            until(lambda: offset(raw) == 5)
        sent = child.signal(signal.SIGINT)
        assert float(child.expect("interrupted")) - sent < 5
        assert child.expect("appended") == "6"
        assert child.expect("again") == ("4" if moment == "handling" else "1")
        child.succeed()
    given, handled = (flat(numbers_of(child, name)) for name in ("given", "handled"))
    assert given == handled
    assert given == ([1, 2, 3, 3, 4, 5, 6] if moment == "handling" else [1, 2, 3, 4, 5, 6])
    assert offset(raw) == 6
    assert owner(raw) is None
