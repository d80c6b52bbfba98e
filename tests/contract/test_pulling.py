"""A consumer that polls, under the rules of one that is called; and the offsets by themselves."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import walle
from tests.samples import event
from walle import Consumer, OffsetStore, PullConsumer
from walle.envelope import Event
from walle.errors import ConsumerBusy, ConsumerFenced, InputError
from walle.events import EventLog


async def offsets(log: EventLog, name: str = "sink") -> int:
    return await OffsetStore(log).get_offset(name)


async def test_it_gives_every_event_with_its_offset_once_and_resumes_after_the_last_commit(log: EventLog) -> None:
    ids = await log.append([event(number) for number in range(7)])
    async with PullConsumer(log, "sink") as consumer:
        first = await consumer.poll(3)
        assert [(offset, given.id, given.offset) for offset, given in first] == [
            (ids[n], f"event-{n}", ids[n]) for n in range(3)
        ]
        assert await consumer.commit(ids[1]) == ids[1]
        assert [offset for offset, _ in await consumer.poll()] == ids[3:]
        assert await consumer.poll() == []
        assert await offsets(log) == ids[1]
    async with PullConsumer(log, "sink") as consumer:
        assert [offset for offset, _ in await consumer.poll()] == ids[2:]
        await consumer.commit(ids[-1])
        assert await consumer.poll(timeout=0.2) == []
    handled: list[int | None] = []
    more = await log.append(event(8))
    assert await Consumer(log, "sink", lambda given: handled.append(given.offset)).run(follow=False) == 1
    assert handled == [more]


async def test_a_poll_waits_for_what_comes(log: EventLog) -> None:
    async with PullConsumer(log, "sink", start="latest") as consumer:
        waiting = asyncio.create_task(consumer.poll(timeout=None))
        await asyncio.sleep(0.8)  # longer than one look
        number = await log.append(event())
        async with asyncio.timeout(60):
            assert [offset for offset, _ in await waiting] == [number]


async def test_the_offset_passes_what_is_not_wanted_once_all_before_is_settled(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("walle.events.pulling.PASS_SECONDS", 0.0)
    ids = await log.append([event(1), event(2, type="run.Started"), event(3, type="run.Ended")])
    async with PullConsumer(log, "sink", types="orders.*") as consumer:
        assert [offset for offset, _ in await consumer.poll()] == ids[:1]
        assert await consumer.poll() == []
        assert await offsets(log) == -1  # the first is polled, and not settled
        await consumer.commit(ids[0])
        assert await consumer.poll() == []
        assert await offsets(log) == ids[2]


async def test_only_one_holds_a_name_and_a_fenced_one_commits_nothing(log: EventLog) -> None:
    ids = await log.append([event(1), event(2)])
    async with PullConsumer(log, "sink") as first:
        await first.poll()
        with pytest.raises(ConsumerBusy):
            await PullConsumer(log, "sink").start()
        async with PullConsumer(log, "sink", take_over=True) as second:
            await second.poll()
            assert await second.commit(ids[0]) == ids[0]
            with pytest.raises(ConsumerFenced):
                await first.commit(ids[1])
        assert await offsets(log) == ids[0]
        with pytest.raises(ConsumerFenced):
            await asyncio.sleep(0.6)
            await first.poll()
    frame = await log.consumers()
    assert frame["state"].to_list() == ["stopped"]


async def test_it_hears_of_a_reset_and_goes_on_from_there(log: EventLog) -> None:
    ids = await log.append([event(1), event(2), event(3)])
    async with PullConsumer(log, "sink") as consumer:
        await consumer.poll()
        await consumer.commit(ids[1])
        await log.reset_offset("sink", to=-1, reason="again")
        assert await consumer.commit(ids[2]) == -1
        assert [offset for offset, _ in await consumer.poll()] == ids
        await log.reset_offset("sink", to=ids[1], reason="and again")
        await asyncio.sleep(0.6)
        assert [offset for offset, _ in await consumer.poll()] == ids[2:]
        assert await consumer.commit(ids[2]) == ids[2]


async def test_what_is_asked_wrongly_is_refused(log: EventLog) -> None:
    consumer = PullConsumer(log, "sink")
    with pytest.raises(InputError, match="not started"):
        await consumer.poll()
    with pytest.raises(InputError, match="not started"):
        await consumer.commit(0)
    await consumer.stop()
    ids = await log.append([event(1), event(2)])
    async with consumer:
        with pytest.raises(InputError, match="started already"):
            await consumer.start()
        with pytest.raises(InputError, match="not polled yet"):
            await consumer.commit(ids[0])
        await consumer.poll()
        await consumer.commit(ids[1])
        with pytest.raises(InputError, match=f"is at offset {ids[1]} and cannot go back to {ids[0]}"):
            await consumer.commit(ids[0])
        for limit in (0, True, "5"):
            with pytest.raises(InputError, match="limit="):
                await consumer.poll(limit)  # type: ignore[arg-type]  # what a caller may get wrong


# the offsets by themselves


async def test_offsets_are_kept_by_name_and_move_forward(log: EventLog) -> None:
    ids = await log.append([event(number) for number in range(5)])
    store = OffsetStore(log)
    assert await store.get_offset("sink") == -1
    assert await store.get_all_offsets() == {}
    await store.set_offset("sink", ids[2])
    await store.set_offset("sink", ids[2])
    await store.set_offset("another", -1)
    assert await store.get_all_offsets() == {"another": -1, "sink": ids[2]}
    with pytest.raises(InputError, match=f"is at offset {ids[2]} and cannot go back to {ids[0]}.*reason"):
        await store.set_offset("sink", ids[0])
    await store.set_offset("sink", ids[0], reason="a bug")
    assert await store.get_offset("sink") == ids[0]
    assert (await log.resets("sink"))["reason"].to_list() == ["a bug"]
    await store.set_offset("new", ids[1], reason="first seen")
    assert await store.get_offset("new") == ids[1]
    with pytest.raises(InputError, match="past the end"):
        await store.set_offset("sink", ids[-1] + 1)
    handled: list[int | None] = []
    await Consumer(log, "sink", lambda given: handled.append(given.offset)).run(follow=False)
    assert handled == ids[1:]


async def test_an_offset_is_not_moved_under_a_consumer_that_lives_but_for_a_reason(log: EventLog) -> None:
    ids = await log.append([event(1), event(2)])
    store = OffsetStore(log)
    async with PullConsumer(log, "sink") as consumer:
        with pytest.raises(ConsumerBusy):
            await store.set_offset("sink", ids[0])
        assert await store.get_offset("sink") == -1
        await store.set_offset("sink", ids[0], reason="seen elsewhere")
        await consumer.poll()
        assert await consumer.commit(ids[0]) == ids[0]


async def test_a_claim_does_not_commit_over_an_offset_that_was_set(log: EventLog) -> None:
    ids = await log.append([event(1), event(2)])
    claim = await log.store.offsets.claim("sink", "token", lease=timedelta(seconds=1))
    with pytest.raises(InputError):
        OffsetStore(Event)  # type: ignore[arg-type]  # what a caller may get wrong
    await log.store.offsets.advance("sink", ids[1])  # its token is of no consumer that runs
    with pytest.raises(ConsumerFenced):
        await log.store.offsets.commit(claim, ids[0])
    assert await offsets(log) == ids[1]


@pytest.mark.parametrize("timeout", [-1, float("nan"), "soon", True])
async def test_a_time_that_nobody_can_wait_is_refused(log: EventLog, timeout: Any) -> None:
    async with PullConsumer(log, "sink") as consumer:
        with pytest.raises(InputError, match=r"timeout=.* is neither a number of seconds from 0 nor None"):
            await consumer.poll(timeout=timeout)
    with pytest.raises(InputError, match=r"timeout=.* is neither"):
        await log.wait_for(1, timeout=timeout)
    with walle.connect() as store, pytest.raises(InputError, match=r"timeout=.* is neither"):
        store.events.tail(timeout=timeout)
