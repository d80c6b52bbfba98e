"""Runs that are saved by many, as records and as frames."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from tests.samples import START, run
from walle.database import Database
from walle.errors import IllegalTransition, InputError, LostUpdate
from walle.fills import WriteReport
from walle.records import Owner, Run
from walle.repositories import RunRepository


@pytest.fixture
def repository(database: Database) -> RunRepository:
    return RunRepository(database)


def some(count: int = 3, **changes: Any) -> list[Run]:
    return [run(number, **changes) for number in range(1, count + 1)]


async def test_many_runs_are_saved_at_once(repository: RunRepository) -> None:
    given = some(1_200, config={"fast": 3}, symbols=("BTC/USD", "ETH/USD"))
    assert await repository.save(given) == WriteReport(inserted=1_200)
    assert await repository.save(given) == WriteReport(unchanged=1_200)
    assert await repository.list() == [dataclasses.replace(one, revision=1) for one in given]


async def test_a_frame_of_runs_comes_back_equal(repository: RunRepository, database: Database) -> None:
    owner = Owner(host="h", pid=7, started=1.5, ticks=8, boot="b", machine="m", namespace="n")
    given = [
        run(1, status="completed", config={"a": [1, None, {"b": "c"}]}, started_at=START),
        run(2, status="running", owner=owner, heartbeat_at=START, symbols=("X",), timeframe="1m"),
        run(3, error="it broke", status="error", stopped_at=START + timedelta(days=1)),
    ]
    await repository.save(given)
    frame = await repository.read()
    assert await repository.save(frame) == WriteReport(unchanged=3)
    copied = frame.with_columns(pl.col("id") + "-copy", revision=pl.lit(0))
    assert await repository.save(copied) == WriteReport(inserted=3)
    for one in given:
        copy = await repository.get(f"{one.id}-copy")
        assert copy == dataclasses.replace(one, id=f"{one.id}-copy", revision=1)


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow"])
async def test_few_columns_are_enough(repository: RunRepository, kind: str) -> None:
    frame = pl.DataFrame({"id": ["a", "b"], "strategy_id": ["sma", "sma"], "mode": ["backtest", "paper"]})
    source: Any = {"polars": frame, "pandas": frame.to_pandas(), "arrow": frame.to_arrow()}[kind]
    assert (await repository.save(source)).inserted == 2
    assert [(one.id, one.mode, one.status) for one in await repository.list()] == [
        ("a", "backtest", "pending"),
        ("b", "paper", "pending"),
    ]


async def test_one_that_cannot_follow_stops_them_all(repository: RunRepository) -> None:
    await repository.save(some(2, status="completed"))
    first = await repository.get("run-1")
    new = run(9)
    with pytest.raises(IllegalTransition):
        await repository.save([new, dataclasses.replace(first, status="running")])
    with pytest.raises(LostUpdate):
        await repository.save([new, dataclasses.replace(first, revision=0, error="x")])
    assert [one.id for one in await repository.list()] == ["run-1", "run-2"]
    changed = dataclasses.replace(first, error="seen later")
    assert await repository.save([new, changed, run(2, status="completed")]) == WriteReport(
        inserted=1, updated=1, unchanged=1
    )
    assert (await repository.get("run-1")).error == "seen later"
    assert (await repository.get("run-1")).revision == 2


async def test_nothing_is_nothing(repository: RunRepository) -> None:
    assert await repository.save([]) == WriteReport()


BAD: list[tuple[object, str]] = [
    ([run(1), run(1)], "'run-1' stands in this call more than once"),
    ([run(1), "run-2"], "not a str"),
    ("run-1", "not as a str"),
    (7, "not as a int"),
    (pl.DataFrame({"id": ["a"]}), "lacks 'strategy_id', 'mode'"),
    (pl.DataFrame({"id": ["a"], "strategy_id": ["s"], "mode": ["live"], "x": [1]}), "no column 'x'.*Allowed: id"),
    (pl.DataFrame({"id": ["a"], "strategy_id": ["s"], "mode": ["dead"]}), "row 0 is no run.*backtest"),
    (pl.DataFrame({"id": [None], "strategy_id": ["s"], "mode": ["live"]}), "id"),
    (
        pl.DataFrame({"id": ["a"], "strategy_id": ["s"], "mode": ["live"], "config": ["{"]}),
        "row 0 is no run: config is no JSON",
    ),
    (
        pl.DataFrame({"id": ["a"], "strategy_id": ["s"], "mode": ["live"], "owner": ["{}"]}),
        "owner has not exactly host, pid and started",
    ),
]


@pytest.mark.parametrize(("source", "message"), BAD)
async def test_what_is_no_run_is_refused(repository: RunRepository, source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        await repository.save(source)
    assert await repository.list() == []
