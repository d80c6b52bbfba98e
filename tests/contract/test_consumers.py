"""Consumers: at least once, in order, and resuming; in memory and on both databases."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from tests.samples import event
from walle.envelope import Event
from walle.errors import (
    ConsumerBusy,
    ConsumerFenced,
    HandlerFailed,
    InputError,
    NotFound,
    UnknownConsumer,
    UnknownEvent,
)
from walle.events import Consumer, EventLog
from walle.frames import CONSUMERS, PARKED, RESETS
from walle.options import StartPlace


class Recorder:
    """A handler that keeps what it was given, and fails where it is told to."""

    def __init__(self, failing: Callable[[Event], bool] = lambda _: False) -> None:
        self.offsets: list[int] = []
        self.failing = failing

    async def __call__(self, given: Event | list[Event]) -> None:
        events = given if isinstance(given, list) else [given]
        for item in events:
            if self.failing(item):
                raise ValueError(f"bad event {item.offset} \0")
        self.offsets += [item.offset or 0 for item in events]


async def fill(log: EventLog, count: int, first: int = 1) -> None:
    await log.append([event(n, type="orders.Filled" if n % 2 else "run.Started") for n in range(first, first + count)])


async def read_consumer(log: EventLog, name: str = "sink") -> dict[str, Any]:
    frame = await log.consumers()
    assert frame.schema == CONSUMERS
    return frame.row(by_predicate=pl.col("consumer_id") == name, named=True)


async def test_a_consumer_gets_every_event_once_and_resumes(log: EventLog) -> None:
    await fill(log, 5)
    handler = Recorder()
    assert await Consumer(log, "sink", handler).run(follow=False) == 5
    assert await Consumer(log, "sink", handler).run(follow=False) == 0
    await fill(log, 2, first=6)
    assert await Consumer(log, "sink", handler).run(follow=False) == 2
    assert handler.offsets == [1, 2, 3, 4, 5, 6, 7]
    other = Recorder()
    assert await Consumer(log, "other", other).run(follow=False) == 7
    row = await read_consumer(log)
    assert (row["state"], row["offset"], row["lag"], row["lag_seconds"]) == ("stopped", 7, 0, 0.0)
    assert (row["owner"], row["error"], row["held"], row["held_by"], row["parked"]) == (None, None, 0, None, 0)
    assert row["succeeded_at"] is not None
    assert row["epoch"] == 3


async def test_a_sync_handler_runs_in_one_thread_of_its_own_and_may_take_batches(log: EventLog) -> None:
    await fill(log, 25)
    got: list[list[int]] = []
    threads = set()

    def handle(events: list[Event]) -> None:
        threads.add(threading.get_ident())
        got.append([item.offset or 0 for item in events])

    assert await Consumer(log, "sink", handle, batch_size=10).run(follow=False) == 25
    assert [len(batch) for batch in got] == [10, 10, 5]
    assert [place for batch in got for place in batch] == list(range(1, 26))
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_the_offset_passes_events_that_are_not_wanted(log: EventLog) -> None:
    await fill(log, 9)
    handler = Recorder()
    assert await Consumer(log, "sink", handler, types="run.*").run(follow=False) == 4
    assert handler.offsets == [2, 4, 6, 8]
    assert (await read_consumer(log))["offset"] == 9
    assert await Consumer(log, "none", handler, types="nobody.Wants").run(follow=False) == 0
    assert (await read_consumer(log, "none"))["lag"] in (0, 9)  # passing is written down once a second


@pytest.mark.parametrize(("start", "first"), [("first", 1), ("latest", 6), (3, 4), (-1, 1)])
async def test_a_new_consumer_begins_where_it_is_told(log: EventLog, start: StartPlace | int, first: int) -> None:
    await fill(log, 5)
    handler = Recorder()
    await Consumer(log, "sink", handler, start=start).run(follow=False)
    await fill(log, 3, first=6)
    await Consumer(log, "sink", handler, start="first").run(follow=False)
    assert handler.offsets == list(range(first, 9))


async def test_a_consumer_stops_before_a_poison_event_and_resumes_there(log: EventLog) -> None:
    await fill(log, 6)
    handler = Recorder(lambda item: item.offset == 4)
    with pytest.raises(HandlerFailed, match=r"stopped before event 4 \(run.Started\): its handler failed 3 times") as e:
        await Consumer(log, "sink", handler, backoff=0.001).run(follow=False)
    assert (e.value.consumer_id, e.value.event) == ("sink", 4)
    assert isinstance(e.value.__cause__, ValueError)
    row = await read_consumer(log)
    assert (row["offset"], row["lag"], row["state"]) == (3, 3, "stopped")
    assert row["lag_seconds"] >= 0
    assert row["error"] == r"event 4: ValueError: bad event 4 \0"
    assert row["failed_at"] is not None
    handler.failing = lambda _: False
    assert await Consumer(log, "sink", handler).run(follow=False) == 3
    assert handler.offsets == [1, 2, 3, 4, 5, 6]


async def test_a_failing_handler_is_tried_again(log: EventLog) -> None:
    await fill(log, 3)
    tries: list[int] = []

    def failing(item: Event) -> bool:
        tries.append(item.offset or 0)
        return tries.count(2) < 3 and item.offset == 2

    assert await Consumer(log, "sink", Recorder(failing), tries=3, backoff=0.001).run(follow=False) == 3
    assert tries == [1, 2, 2, 2, 3]


@pytest.mark.parametrize("batch_size", [None, 1, 4, 100])
async def test_a_poison_event_is_parked_and_the_rest_goes_on(log: EventLog, batch_size: int | None) -> None:
    await fill(log, 7)
    handler = Recorder(lambda item: item.offset in (2, 7))
    consumer = Consumer(log, "sink", handler, batch_size=batch_size, tries=2, backoff=0.001, on_poison="park")
    assert await consumer.run(follow=False) == 5
    assert handler.offsets == [1, 3, 4, 5, 6]
    row = await read_consumer(log)
    assert (row["offset"], row["lag"], row["parked"]) == (7, 0, 2)
    parked = await log.parked("sink")
    assert parked.schema == PARKED
    assert parked["offset"].to_list() == [2, 7]
    assert parked["type"].to_list() == ["run.Started", "orders.Filled"]
    assert parked["error"].to_list() == [r"ValueError: bad event 2 \0", r"ValueError: bad event 7 \0"]
    assert parked["tries"].to_list() == [2, 2]
    assert Event.from_json(parked["envelope"][0]) == event(2, type="run.Started")
    assert (await log.parked()).equals(parked)
    assert (await log.parked("sink"))["replayed_at"].null_count() == 2


async def test_a_parked_event_is_replayed_when_that_is_asked_for(log: EventLog) -> None:
    await fill(log, 5)
    handler = Recorder(lambda item: item.offset in (2, 4))
    settings: dict[str, Any] = {"tries": 1, "on_poison": "park"}
    await Consumer(log, "sink", handler, **settings).run(follow=False)
    await Consumer(log, "sink", handler, **settings).run(follow=False)
    assert handler.offsets == [1, 3, 5]  # parked ones wait until they are asked for
    assert await log.replay("sink", 2) == 1
    assert (await log.parked())["requested_at"].null_count() == 1
    handler.failing = lambda item: item.offset == 4
    await Consumer(log, "sink", handler, **settings).run(follow=False)
    assert handler.offsets == [1, 3, 5, 2]
    assert await log.replay("sink") == 1
    await Consumer(log, "sink", handler, **settings).run(follow=False)
    parked = await log.parked()
    assert parked["tries"].to_list() == [1, 2]
    assert parked["replayed_at"].is_null().to_list() == [False, True]
    assert parked["requested_at"].null_count() == 2
    with pytest.raises(NotFound, match=r"event 2 is not parked for consumer 'sink'. Parked: 4\."):
        await log.replay("sink", [2])
    handler.failing = lambda _: False
    assert await log.replay("sink", [4]) == 1
    assert await Consumer(log, "sink", handler, **settings).run(follow=False) == 1
    row = await read_consumer(log)
    assert (row["parked"], row["offset"]) == (0, 5)
    assert await log.replay("sink") == 0


async def test_a_running_consumer_hears_of_a_replay_and_of_a_reset(log: EventLog) -> None:
    await fill(log, 4)
    handler = Recorder(lambda item: item.offset == 2)
    consumer = Consumer(log, "sink", handler, tries=1, on_poison="park")
    running = asyncio.create_task(consumer.run())
    await reached(handler, [1, 3, 4])
    assert (await read_consumer(log))["state"] == "running"
    assert (await read_consumer(log))["owner"].startswith("pid ")
    handler.failing = lambda _: False
    await log.replay("sink")
    await reached(handler, [1, 3, 4, 2])
    await log.reset_offset("sink", to=2, reason="look again")
    await reached(handler, [1, 3, 4, 2, 3, 4])
    await log.append(event(5))
    await reached(handler, [1, 3, 4, 2, 3, 4, 5])
    consumer.stop()
    assert await asyncio.wait_for(running, 5) == 7
    assert (await read_consumer(log))["state"] == "stopped"
    assert (await read_consumer(log))["offset"] == 5


async def reached(handler: Recorder, offsets: list[int]) -> None:
    async with asyncio.timeout(10):
        while handler.offsets != offsets:
            assert len(handler.offsets) <= len(offsets), handler.offsets
            await asyncio.sleep(0.01)


async def test_one_live_consumer_has_a_name(log: EventLog) -> None:
    await fill(log, 3)
    handler = Recorder()
    first = Consumer(log, "sink", handler)
    running = asyncio.create_task(first.run())
    await reached(handler, [1, 2, 3])
    with pytest.raises(ConsumerBusy, match="consumer 'sink' is run by"):
        await Consumer(log, "sink", handler).run(follow=False)
    with pytest.raises(InputError, match="runs already"):
        await first.run()
    await Consumer(log, "another", Recorder()).run(follow=False)
    first.stop()
    await asyncio.wait_for(running, 5)
    assert await Consumer(log, "sink", handler).run(follow=False) == 0


async def test_a_consumer_that_was_replaced_commits_nothing(log: EventLog) -> None:
    await fill(log, 6)
    entered, go = asyncio.Event(), asyncio.Event()

    async def stall(item: Event) -> None:
        if item.offset == 3:
            entered.set()
            await go.wait()

    stalled = asyncio.create_task(Consumer(log, "sink", stall, lease=timedelta(seconds=0.3)).run())
    await asyncio.wait_for(entered.wait(), 5)
    handler = Recorder()
    await Consumer(log, "sink", handler, take_over=True).run(follow=False)
    assert handler.offsets[-4:] == [3, 4, 5, 6]
    go.set()
    with pytest.raises(ConsumerFenced, match=r"taken over by another process \(this claim's epoch was 1\)"):
        await asyncio.wait_for(stalled, 5)
    row = await read_consumer(log)
    assert (row["offset"], row["epoch"], row["state"]) == (6, 2, "stopped")


async def test_a_stop_finishes_the_batch_in_hand(log: EventLog) -> None:
    await fill(log, 10)
    consumer: Consumer

    async def handle(events: list[Event]) -> None:
        consumer.stop()
        await asyncio.sleep(0.05)

    consumer = Consumer(log, "sink", handle, batch_size=4)
    assert await consumer.run() == 4
    assert (await read_consumer(log))["offset"] == 4


async def test_a_cancelled_consumer_keeps_what_it_handled_and_frees_its_name(log: EventLog) -> None:
    await fill(log, 6)
    entered = asyncio.Event()
    handled: list[int] = []

    async def handle(item: Event) -> None:
        if item.offset == 5:
            entered.set()
            await asyncio.sleep(60)
        handled.append(item.offset or 0)

    running = asyncio.create_task(Consumer(log, "sink", handle).run())
    await asyncio.wait_for(entered.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    row = await read_consumer(log)
    assert (row["offset"], row["state"]) == (4, "stopped")


@pytest.mark.parametrize(
    ("place", "offset", "again"),
    [({"to": -1}, -1, [1, 2, 3, 4]), ({"to": 3}, 3, [4]), ({"event_id": "event-2"}, 1, [2, 3, 4]), ({"to": 4}, 4, [])],
)
async def test_a_reset_is_previewed_then_done_and_written_down(
    log: EventLog, place: dict[str, Any], offset: int, again: list[int]
) -> None:
    await fill(log, 4)
    handler = Recorder()
    await Consumer(log, "sink", handler).run(follow=False)
    preview = await log.reset_offset("sink", **place, reason="a bug", preview=True)
    assert (preview.applied, preview.from_offset, preview.to_offset) == (False, 4, offset)
    assert preview.events["offset"].to_list() == again
    assert preview.replayed == len(again)
    assert (await read_consumer(log))["offset"] == 4
    assert (await log.resets()).is_empty()
    done = await log.reset_offset("sink", **place, reason="a bug")
    assert done.applied
    assert "back over" in str(done) or not again
    await Consumer(log, "sink", handler).run(follow=False)
    assert handler.offsets == [1, 2, 3, 4, *again]
    resets = await log.resets("sink")
    assert resets.schema == RESETS
    row = resets.row(0, named=True)
    assert (row["consumer_id"], row["from_offset"], row["to_offset"]) == ("sink", 4, offset)
    assert (row["reason"], "@" in row["reset_by"]) == ("a bug", True)


async def test_a_reset_by_time_begins_with_the_first_event_that_was_stored_since(log: EventLog) -> None:
    await fill(log, 3)
    await asyncio.sleep(0.01)
    await fill(log, 2, first=4)
    fourth = (await log.get(4)).created_at
    await Consumer(log, "sink", Recorder()).run(follow=False)
    assert (await log.reset_offset("sink", since=fourth, reason="x")).to_offset == 3
    assert (await log.reset_offset("sink", since="2000-01-01", reason="x")).to_offset == -1
    forward = await log.reset_offset("sink", since="2999-01-01", reason="x")
    assert (forward.to_offset, forward.passed, forward.replayed) == (5, 5, 0)
    assert "past 5 events of any type, which are not handled" in str(forward)


async def test_a_reset_that_makes_no_sense_changes_nothing(log: EventLog) -> None:
    await fill(log, 3)
    await Consumer(log, "sink", Recorder()).run(follow=False)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"to": 4}, r"to=4 is not an offset of this log: it has events up to 3, as far as"),
        ({"to": -2}, "to=-2"),
        ({"to": True}, "to=True"),
        ({}, "give one place to reset to, not none"),
        ({"to": 1, "event_id": "event-1"}, "not to and event_id"),
        ({"to": 1, "reason": "  "}, "a reset needs a reason"),
        ({"to": 1, "reason": 7}, "reason=7"),
        ({"since": "yesterday"}, "since='yesterday' is no ISO date"),
    ]
    for options, message in refused:
        with pytest.raises(InputError, match=message):
            await log.reset_offset("sink", **{"reason": "x", **options})
    with pytest.raises(UnknownEvent, match="no event 'nobody'"):
        await log.reset_offset("sink", event_id="nobody", reason="x")
    for call in (log.reset_offset("sinc", to=1, reason="x"), log.replay("sinc"), log.parked("sinc")):
        with pytest.raises(UnknownConsumer, match="no consumer 'sinc'; did you mean 'sink'"):
            await call
    assert (await read_consumer(log))["offset"] == 3
    assert (await log.resets()).is_empty()


def test_settings_that_cannot_work_are_refused() -> None:
    log = EventLog()
    handler = Recorder()
    for arguments, message in (
        ((log, "sink", "print"), "handler='print' is not callable"),
        ((log, "sink", lambda item: (yield item)), "is a generator, whose body would never run"),
        ((log, "", handler), "consumer"),
        ((log, "x" * 101, handler), "consumer"),
        ((log, 7, handler), "consumer=7"),
        (("research.db", "sink", handler), r"reads a walle.EventLog, not a str"),
    ):
        with pytest.raises(InputError, match=message):
            Consumer(*arguments)
    for options, message in (
        ({"on_poison": "drop"}, "neither 'stop' nor 'park'"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"tries": 0}, "tries=0"),
        ({"backoff": -1}, "backoff=-1"),
        ({"lease": 30}, "lease=30 is not a timedelta"),
        ({"lease": timedelta.max}, "of at most a day"),
        ({"start": "last"}, "start='last' is neither"),
        ({"start": -2}, "start=-2"),
        ({"types": "orders"}, "types='orders'"),
    ):
        with pytest.raises(InputError, match=message):
            Consumer(log, "sink", handler, **options)
    assert repr(Consumer(log, "sink", handler)) == "Consumer('sink', handled=0)"


async def test_a_reset_in_the_middle_of_a_poison_event_skips_nothing(log: EventLog) -> None:
    await fill(log, 5)
    handled: list[int] = []

    async def handle(item: Event) -> None:
        handled.append(item.offset or 0)
        if item.offset == 4 and handled.count(4) == 1:
            await log.reset_offset("sink", to=-1, reason="in the middle")
            raise ValueError("poison")

    await Consumer(log, "sink", handle, tries=1, on_poison="park").run(follow=False)
    assert handled == [1, 2, 3, 4, 1, 2, 3, 4, 5]
    assert (await log.parked()).is_empty()


async def test_a_replay_that_fails_after_a_reset_skips_nothing(log: EventLog) -> None:
    await fill(log, 5)
    handler = Recorder(lambda item: item.offset in (2, 4))
    settings: dict[str, Any] = {"tries": 1, "on_poison": "park"}
    await Consumer(log, "sink", handler, **settings).run(follow=False)
    await log.replay("sink")
    await log.reset_offset("sink", to=2, reason="again from the third")
    assert (await log.parked())["replayed_at"].null_count() == 2
    await Consumer(log, "sink", handler, **settings).run(follow=False)
    assert handler.offsets == [1, 3, 5, 3, 5]
    assert (await log.parked())["tries"].to_list() == [2, 1]  # the fourth came in its turn, not as a replay
    await log.reset_offset("sink", to=-1, reason="by mistake")
    await log.reset_offset("sink", to=5, reason="and back")
    assert (await log.parked())["replayed_at"].null_count() == 2
    handler.failing = lambda _: False
    await log.reset_offset("sink", to=3, reason="the fourth is good now")
    await Consumer(log, "sink", handler, **settings).run(follow=False)
    assert handler.offsets == [1, 3, 5, 3, 5, 4, 5]
    assert (await log.parked())["replayed_at"].is_null().to_list() == [True, False]


async def test_a_handler_that_leaves_the_interpreter_counts_as_failed(log: EventLog) -> None:
    await fill(log, 1)

    def leave(_: Event) -> None:
        raise SystemExit(3)

    with pytest.raises(HandlerFailed, match=r"the handler left by SystemExit\(3\)"):
        await Consumer(log, "sink", leave, tries=1).run(follow=False)


async def test_a_stop_before_the_start_is_heard(log: EventLog) -> None:
    await fill(log, 3)
    handler = Recorder()
    consumer = Consumer(log, "sink", handler)
    consumer.stop()
    assert await consumer.run() == 0
    assert await consumer.run(follow=False) == 3


async def test_a_consumer_that_was_cancelled_while_it_claimed_frees_its_name(log: EventLog) -> None:
    await fill(log, 3)
    for pause in (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016):
        starting = asyncio.create_task(Consumer(log, "sink", Recorder()).run())
        await asyncio.sleep(pause)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        assert await Consumer(log, "sink", Recorder()).run(follow=False) in (0, 3)
