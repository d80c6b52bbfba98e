"""A startup sweep marks the lost, and only them; a history holds the events of a run."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.samples import START, event, fill, order, run
from walle.database import Database
from walle.errors import InputError, UnknownRun
from walle.events import EventLog
from walle.records import Owner
from walle.repositories import FillRepository, OrderRepository, RunRepository
from walle.runs import this_process

DEAD = dataclasses.replace(this_process(), ticks=1, started=1.0)
ELSEWHERE = Owner(host="elsewhere", pid=1, started=1.0)


async def test_a_sweep_marks_the_dead_and_tells_the_log(database: Database) -> None:
    runs, now = RunRepository(database), datetime.now(UTC)
    kept = {
        "mine": run(id="mine", status="running", owner=this_process(), heartbeat_at=now),
        "far": run(id="far", status="running", owner=ELSEWHERE, heartbeat_at=now),
        "done": run(id="done", status="completed"),
    }
    lost = {
        "dead": run(id="dead", status="running", owner=DEAD, heartbeat_at=now),
        "silent": run(id="silent", status="running", owner=ELSEWHERE, heartbeat_at=now - timedelta(hours=1)),
    }
    for one in (kept | lost).values():
        await runs.save(one)
    marked = await runs.sweep()
    assert [(one.id, one.status, one.revision, one.stopped_at) for one in marked] == [
        (name, "lost", 2, None) for name in lost
    ]
    assert marked == [await runs.get(name) for name in lost]
    assert [(await runs.get(name)).status for name in kept] == ["running", "running", "completed"]
    assert await runs.sweep() == [] == await runs.recover()
    log = EventLog(database)
    told = await log.read(types="run.Lost")
    assert told["run_id"].to_list() == list(lost)
    assert json.loads(told["payload"][1])["lease_seconds"] == 300
    assert (await runs.history("dead")).filter(kind="event")["what"].to_list() == ["run.Lost"]
    with pytest.raises(InputError, match="lease"):
        await runs.sweep(timedelta(0))
    await log.close()


async def test_a_history_holds_events_also_of_a_run_that_has_nothing_else(database: Database) -> None:
    runs, log = RunRepository(database), EventLog(database)
    await runs.save(run())
    await OrderRepository(database).save(order())
    await FillRepository(database).append(fill(2))
    await log.append([event(2), event(1), event(3, run_id="other")])
    history = await runs.history("run-1")
    assert history.filter(kind="event").select("time", "offset", "corr_id").rows() == [
        (START + timedelta(seconds=1), 2, "corr-1"),
        (START + timedelta(seconds=2), 1, "corr-2"),
    ]
    assert history["time"].is_sorted()
    assert (await runs.history("other"))["kind"].to_list() == ["event"]
    with pytest.raises(UnknownRun, match="run-1"):
        await runs.history("run-2")
    await log.close()


async def test_fills_without_a_run_count_for_their_orders(database: Database) -> None:
    runs = RunRepository(database)
    await runs.save(run(started_at=START, stopped_at=START + timedelta(hours=1), status="completed"))
    await runs.save(run(2))
    await OrderRepository(database).save([order(), order(2)])
    await FillRepository(database).append([fill(1), fill(2, run_id=None), fill(3, run_id=None, order_id="gone")])
    frame = await runs.read()
    assert frame.select("id", "orders", "fills", "duration").rows() == [
        ("run-1", 2, 2, timedelta(hours=1)),
        ("run-2", 0, 0, None),
    ]
