from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from tests.samples import START, fill, order, run
from walle.database import Database
from walle.enums import RunStatus
from walle.errors import IllegalTransition, InputError, LostUpdate, UnknownRun
from walle.frames import HISTORY, RUN_SUMMARY
from walle.records import Run
from walle.repositories import FillRepository, OrderRepository, RunRepository
from walle.runs import this_process


@pytest.fixture
def repository(database: Database) -> RunRepository:
    return RunRepository(database)


async def test_a_run_comes_back_as_it_was_saved(repository: RunRepository) -> None:
    saved = await repository.save(run())
    assert saved == dataclasses.replace(run(), revision=1)
    assert await repository.get("run-1") == saved
    frame = await repository.read()
    assert frame.schema == RUN_SUMMARY
    assert frame["symbols"].to_list() == [["BTC/USD", "ETH/USD"]]
    bare = await repository.save(run(2, symbols=None, config=None, timeframe=None))
    assert await repository.list() == [saved, bare]


async def test_a_lost_update_raises(repository: RunRepository) -> None:
    first = await repository.save(run())
    second = await repository.save(dataclasses.replace(first, error="mine"))
    assert second.revision == 2
    with pytest.raises(LostUpdate, match="read at revision 1, stored is 2") as caught:
        await repository.save(dataclasses.replace(first, error="theirs"))
    assert (caught.value.given, caught.value.stored) == (1, 2)
    with pytest.raises(LostUpdate, match="already stored"):
        await repository.save(run())
    with pytest.raises(LostUpdate):
        await repository.save(run(9, revision=3))
    assert (await repository.get("run-1")).error == "mine"


LEGAL = {
    "pending": {"running", "stopped", "error"},
    "running": {"stopped", "completed", "error", "lost"},
    "lost": {"running", "stopped", "error"},
    "stopped": set(),
    "completed": set(),
    "error": set(),
}


async def test_only_legal_transitions_are_made(repository: RunRepository) -> None:
    number = 0
    for before, allowed in LEGAL.items():
        for after in LEGAL:
            number += 1
            stored = await repository.save(run(number, status=before))
            later = dataclasses.replace(stored, status=after)
            if after == before or after in allowed:
                assert (await repository.save(later)).status == after
            else:
                with pytest.raises(IllegalTransition, match=f"'{before}' to '{after}'"):
                    await repository.save(later)
                assert (await repository.get(stored.id)).status == before


async def test_a_running_run_is_owned_and_its_heartbeat_keeps_the_revision(repository: RunRepository) -> None:
    pending = await repository.save(run())
    assert pending.owner is None
    running = await repository.save(dataclasses.replace(pending, status=RunStatus.RUNNING))
    assert running.owner is not None
    assert running.owner.pid == this_process().pid
    await repository.heartbeat("run-1")
    beaten = await repository.get("run-1")
    assert beaten.revision == running.revision
    assert beaten.heartbeat_at is not None
    assert running.heartbeat_at is not None
    assert beaten.heartbeat_at >= running.heartbeat_at
    done = await repository.save(dataclasses.replace(running, status="completed"))
    assert done.heartbeat_at == beaten.heartbeat_at
    with pytest.raises(IllegalTransition):
        await repository.heartbeat("run-1")
    with pytest.raises(UnknownRun):
        await repository.heartbeat("run-2")


async def test_filters_choose(repository: RunRepository) -> None:
    await repository.save(run())
    await repository.save(run(2, mode="live", status="running", strategy_id="other"))

    async def ids(**filters: object) -> list[str]:
        return (await repository.read(**filters))["id"].to_list()  # type: ignore[arg-type]  # filters by name

    assert await ids() == ["run-1", "run-2"]
    assert await ids(status="running") == ["run-2"]
    assert await ids(status=["pending", "running"], mode="backtest") == ["run-1"]
    assert await ids(strategy_id="other") == ["run-2"]
    assert await ids(start=START + timedelta(seconds=2)) == ["run-2"]
    with pytest.raises(InputError, match="unknown mode 'demo'"):
        await ids(mode="demo")


async def test_an_unknown_run_is_named_with_near_ones(repository: RunRepository) -> None:
    await repository.save(run())
    with pytest.raises(UnknownRun, match="did you mean 'run-1'"):
        await repository.get("run_1")
    with pytest.raises(UnknownRun):
        await repository.history("nothing alike")


async def test_a_history_is_in_the_order_of_time(database: Database, repository: RunRepository) -> None:
    later = START + timedelta(hours=1)
    await repository.save(run(started_at=START + timedelta(seconds=1), stopped_at=later, status="completed"))
    done = order(
        status="filled", submitted_at=START + timedelta(seconds=1), filled_at=START + timedelta(seconds=2), filled_qty=1
    )
    await OrderRepository(database).save(done)
    await FillRepository(database).append([fill(2), fill(2, id="other", run_id=None)])
    await FillRepository(database).append(fill(3, order_id="missing"))
    history = await repository.history("run-1")
    assert history.schema == HISTORY
    assert history.select("kind", "what").rows() == [
        ("run", "created"),
        ("run", "started"),
        ("order", "created"),
        ("order", "submitted"),
        ("fill", "filled"),
        ("fill", "filled"),
        ("order", "filled"),
        ("fill", "filled"),
        ("run", "stopped"),
    ]


async def test_foreign_words_are_read_and_never_written(database: Database, repository: RunRepository) -> None:
    from sqlalchemy import update

    from walle.models import runs

    await repository.save(run())
    async with database.session() as session:
        await session.execute(update(runs).values(status="hibernating"))
        await session.commit()
    found: Run = await repository.get("run-1")
    assert found.status == "hibernating"
    with pytest.raises(InputError, match="status"):
        dataclasses.replace(found, error="x")
