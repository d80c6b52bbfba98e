"""Callbacks of a process: every committed event once, in the order of ids, whatever another callback does."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest

import walle
from tests.samples import event
from walle.envelope import Event
from walle.errors import InputError
from walle.events import EventLog


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_callback_gets_what_is_committed_after_it_in_the_order_of_ids(log: EventLog) -> None:
    await log.append(event(0))
    plain: list[int | None] = []
    awaited: list[int | None] = []

    async def take(given: Event) -> None:
        await asyncio.sleep(0)
        awaited.append(given.offset)

    first = await log.on(lambda given: plain.append(given.offset))
    second = await log.on(take)
    assert first != second
    ids = [await log.append(event(number)) for number in range(1, 30)]
    async with log.session() as session:
        await log.append(event(99), session=session)
    ids += await log.append([event(number) for number in range(30, 50)])
    await until(lambda: plain == ids and awaited == ids)


async def test_types_and_run_and_start_choose_the_events(log: EventLog) -> None:
    ids = await log.append([event(1), event(2, type="run.Started"), event(3, run_id="other"), event(4)])
    got: list[int | None] = []
    await log.on(lambda given: got.append(given.offset), -1, types=["orders.*", "fills.*"], run_id="run-1")
    await until(lambda: got == [ids[0], ids[3]])


async def test_an_error_of_a_callback_is_logged_and_stops_nobody(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[int | None] = []
    tried: list[int | None] = []

    def fail(given: Event) -> None:
        tried.append(given.offset)
        raise (ValueError("bad"), SystemExit(3), asyncio.CancelledError())[len(tried) % 3]

    await log.on(fail)
    await log.on(lambda given: got.append(given.offset))
    with caplog.at_level(logging.ERROR, logger="walle"):
        ids = await log.append([event(number) for number in range(6)])
        await until(lambda: got == ids and tried == ids)
    assert len([record for record in caplog.records if record.name == "walle"]) == 6
    assert "bad" in caplog.text


async def test_a_callback_that_hangs_holds_up_no_other(log: EventLog) -> None:
    got: list[int | None] = []
    await log.on(lambda given: asyncio.Event().wait())
    await log.on(lambda given: got.append(given.offset))
    ids = await log.append([event(1), event(2)])
    await until(lambda: got == ids)


async def test_a_callback_may_end_itself_and_others(log: EventLog) -> None:
    got: list[tuple[str, int | None]] = []
    numbers: dict[str, int] = {}

    async def once(given: Event) -> None:
        got.append(("once", given.offset))
        assert log.off(numbers["once"])
        assert log.off(numbers["other"])
        await asyncio.sleep(0.01)  # it is let finish
        got.append(("end", given.offset))

    numbers["other"] = await log.on(lambda given: got.append(("other", given.offset)), types="never.*")
    numbers["once"] = await log.on(once)
    ids = await log.append([event(1), event(2)])
    await until(lambda: len(got) == 2)
    await log.append(event(3, type="never.Seen"))
    await asyncio.sleep(0.3)
    assert got == [("once", ids[0]), ("end", ids[0])]
    assert not log.off(numbers["once"])
    assert not log.off(12345)


async def test_closing_the_log_ends_them_also_from_inside_of_one(log: EventLog) -> None:
    got: list[int | None] = []
    before = {task for task in asyncio.all_tasks() if not task.done()}

    async def close(given: Event) -> None:
        got.append(given.offset)
        await log.close()

    await log.on(close)
    await log.on(lambda given: asyncio.Event().wait())
    await log.append([event(1), event(2)])
    await until(lambda: not {task for task in asyncio.all_tasks() if not task.done()} - before)
    assert len(got) == 1
    await log.close()


@pytest.mark.parametrize("callback", [None, 5, "print"])
async def test_what_cannot_be_called_is_refused(log: EventLog, callback: Any) -> None:
    with pytest.raises(InputError, match="callable"):
        await log.on(callback)


async def test_a_generator_is_refused(log: EventLog) -> None:
    def body(given: Event) -> Any:
        yield given

    with pytest.raises(InputError, match="generator"):
        await log.on(body)


@pytest.mark.parametrize("where", ["memory", "database"])
def test_in_a_notebook_a_plain_function_runs_beside_it_and_may_use_the_store(sqlite_address: str, where: str) -> None:
    got: list[tuple[int, bool]] = []
    ended = threading.Event()
    with walle.connect(sqlite_address if where == "database" else None) as store:

        def take(given: Event) -> None:
            assert given.offset is not None
            got.append(
                (store.events.get(given.offset).offset or 0, threading.current_thread() is threading.main_thread())
            )
            if len(got) == 2:
                assert store.events.off(number)
                ended.set()

        number = store.events.on(take, types="orders.*")
        ids = store.events.append([event(1), event(2, type="run.Started"), event(3), event(4)])
        assert ended.wait(60)
        assert got == [(ids[0], False), (ids[2], False)]
        assert not store.events.off(number)

        seen = threading.Event()

        async def later(given: Event) -> None:
            seen.set()

        store.events.on(later, after=-1)
        assert seen.wait(60)
