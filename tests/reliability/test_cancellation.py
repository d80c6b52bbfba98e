"""What is cancelled ends, whenever the cancellation comes, and the log works on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from tests.reliability.processes import sizes
from tests.samples import event
from walle.envelope import Event
from walle.events import Consumer, EventLog

ENDS_WITHIN = 30.0


async def subscribed(log: EventLog) -> None:
    async for _ in log.subscribe():
        pass


async def in_session(log: EventLog) -> None:
    while True:
        async with log.session() as session:
            await log.append(event(1), session=session)
            await asyncio.sleep(0)


async def consumed(log: EventLog) -> None:
    async def handle(_: Event) -> None:
        await asyncio.sleep(0)

    await Consumer(log, "sink", handle, start="latest").run()


WORK: list[Callable[[EventLog], Awaitable[object]]] = [
    subscribed,
    in_session,
    consumed,
    lambda log: log.wait_for(10**9),
]
COUNTS = {"memory": 10_000, "sqlite": 1_000, "postgresql": 500}


@sizes("part", always=[5], full=[1])
async def test_every_task_ends_that_is_cancelled_at_a_random_moment(
    log: EventLog, part: int, request: pytest.FixtureRequest
) -> None:
    kind = next(name for name in COUNTS if name in request.node.name)
    chance = random.Random(1)
    for turn in range(COUNTS[kind] // part):
        task = asyncio.ensure_future(WORK[turn % len(WORK)](log))
        pause = chance.choice([0, 0, 0.0005, 0.002, 0.01 if kind != "memory" else 0.0])
        await asyncio.sleep(pause * chance.random())
        log.store.wake()  # the future that is waited for is just done
        if chance.random() < 0.5:
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=ENDS_WITHIN)
        assert done, f"turn {turn} goes on"
        assert task.cancelled() or task.exception() is not None
    assert await log.append(event(2)) > 0
    assert await Consumer(log, "sink", lambda _: None).run(follow=False) >= 0
    running = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert {getattr(task.get_coro(), "__name__", "") for task in running} <= {"_listen", "_tell_others"}


async def test_a_wait_whose_signal_comes_with_the_cancellation_is_cancelled(log: EventLog) -> None:
    for _ in range(200):
        signal = log.store.signal()
        task = asyncio.ensure_future(log.store.wait(signal, 10))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.store.wake()
        task.cancel()
        await asyncio.wait([task], timeout=ENDS_WITHIN)
        assert task.cancelled()


async def test_a_handler_that_keeps_a_cancellation_to_itself_keeps_no_consumer(log: EventLog) -> None:
    begun = asyncio.Event()

    async def handle(_: Event) -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return

    await log.append(event(1))
    task = asyncio.ensure_future(Consumer(log, "sink", handle).run())
    await begun.wait()
    task.cancel()
    await asyncio.wait([task], timeout=ENDS_WITHIN)
    assert task.cancelled()
