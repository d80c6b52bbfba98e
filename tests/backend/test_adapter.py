"""What each call of the trading engine promises, kept by WallE's public API behind the engine's names."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import walle
from tests.backend import adapter
from tests.backend.schema import make
from tests.contract.test_backtest_results import result
from tests.samples import START, event, fill, order, run
from walle import Database, EventLog
from walle.errors import Conflict, ConsumerBusy, ConsumerFenced, FillConflict, IllegalTransition, InputError

D = Decimal


def bar(number: int = 0, **changes: Any) -> walle.Bar:
    opened = START + timedelta(minutes=number)
    prices = {"open": 100.0, "high": 101.0, "low": 99.0, "close": 100.5, "volume": float(number)}
    base = walle.Bar(symbol="BTC/USD", timeframe="1m", timestamp=opened, **prices)
    return dataclasses.replace(base, **changes)


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


def test_it_needs_nothing_private_and_stays_short() -> None:
    text = Path(adapter.__file__).read_text()
    assert len(text.splitlines()) <= 150
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            assert not [name for name in names if name and name.startswith("walle.")]
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            assert isinstance(node.value, ast.Name)
            assert node.value.id == "self"


# bars


@pytest.fixture
def bars(database: Database) -> adapter.BarStore:
    return adapter.BarStore(database)


async def test_saved_bars_come_back_from_start_to_end_both_included(bars: adapter.BarStore) -> None:
    saved = [bar(number) for number in range(10)]
    assert await bars.save_bars(saved) == 10
    assert await bars.get_bars("BTC/USD", "1m", saved[2].timestamp, saved[5].timestamp) == saved[2:6]
    assert await bars.get_bars("BTC/USD", "1m", saved[4].timestamp, saved[4].timestamp) == saved[4:5]
    assert await bars.get_bars("BTC/USD", "1m", START - timedelta(days=1), START + timedelta(days=1)) == saved
    assert await bars.get_bars("BTC/USD", "1m", START + timedelta(days=1), START + timedelta(days=2)) == []


async def test_bars_that_are_there_are_not_saved_again_and_never_changed(bars: adapter.BarStore) -> None:
    assert await bars.save_bars([bar(0), bar(1)]) == 2
    assert await bars.save_bars([bar(1), bar(2)]) == 1
    assert await bars.save_bars([bar(1, close=100.75)]) == 0
    assert await bars.save_bars([]) == 0
    assert await bars.get_bars("BTC/USD", "1m", START, START + timedelta(hours=1)) == [bar(0), bar(1), bar(2)]


async def test_the_count_and_the_latest_bar_are_those_of_the_series(bars: adapter.BarStore) -> None:
    assert await bars.get_latest_bar("BTC/USD", "1m") is None
    assert await bars.get_bar_count("BTC/USD", "1m") == 0
    assert await bars.get_bars("BTC/USD", "1m", START, START) == []
    await bars.save_bars([bar(3), bar(1), bar(2), bar(7, symbol="ETH/USD")])
    assert await bars.get_latest_bar("BTC/USD", "1m") == bar(3)
    assert await bars.get_latest_bar("BTC/USD", "1h") is None
    assert (await bars.get_bar_count("BTC/USD", "1m"), await bars.get_bar_count("BTC/USD", "1h")) == (3, 0)


# runs


async def test_a_run_is_saved_again_and_again_under_its_id(database: Database) -> None:
    runs = adapter.RunStore(database)
    assert await runs.get("run-1") is None
    saved = await runs.save(run())
    assert await runs.get("run-1") == saved
    await runs.save(run(status="running", started_at=START))
    done = await runs.save(run(status="completed", started_at=START, stopped_at=START, error="none"))
    assert await runs.get("run-1") == done
    assert (done.status, done.error, done.revision) == ("completed", "none", 3)
    with pytest.raises(IllegalTransition):
        await runs.save(run(status="running"))


async def test_runs_are_listed_by_status_in_the_order_of_their_creation(database: Database) -> None:
    runs = adapter.RunStore(database)
    assert await runs.list() == []
    for number in (2, 1, 3):
        await runs.save(run(number))
    await runs.save(run(2, status="running"))
    assert [found.id for found in await runs.list()] == ["run-1", "run-2", "run-3"]
    assert [found.id for found in await runs.list("running")] == ["run-2"]


async def test_a_run_of_the_engine_keeps_its_symbols_in_the_config(database: Database) -> None:
    runs = adapter.RunStore(database)
    config = {"symbols": ["BTC/USD"], "timeframe": "1m", "fast": 5}
    await runs.save(run(symbols=None, timeframe=None, config=config))
    await runs.save(run(symbols=None, timeframe=None, config=config, status="running"))
    found = await runs.get("run-1")
    assert found is not None
    assert (found.symbols, found.timeframe, found.config) == (("BTC/USD",), "1m", config)


# fills


async def test_fills_are_listed_by_order_and_by_run_in_the_order_of_time(database: Database) -> None:
    fills = adapter.FillStore(database)
    await walle.OrderRepository(database).save([order(1), order(2, run_id="run-2")])
    given = [
        fill(2),
        fill(1),
        fill(3, order_id="order-2", run_id=None),
        fill(4, order_id="gone", run_id=None, commission=D("0.1"), commission_currency=None),
    ]
    for one in given:
        await fills.save(one)
    await fills.save(given[0])
    assert await fills.list_by_order("order-1") == [given[1], given[0]]
    assert await fills.list_by_order("gone") == [given[3]]
    assert await fills.list_by_order("never") == []
    assert await fills.list_by_run_id("run-1") == [given[1], given[0]]
    assert await fills.list_by_run_id("run-2") == [given[2]]
    assert await fills.list_by_run_id("never") == []
    with pytest.raises(FillConflict):
        await fills.save(fill(1, price=D(1)))


# results


async def test_the_result_of_a_run_is_saved_once_and_got_by_run(database: Database) -> None:
    results = adapter.ResultStore(database)
    assert await results.get_by_run_id("run-1") is None
    await results.save(result())
    await results.save(result())
    found = await results.get_by_run_id("run-1")
    assert found is not None
    assert dataclasses.replace(found, created_at=None) == result()
    with pytest.raises(Conflict):
        await results.save(result(timeframe="5m"))


# events, also in memory


@pytest_asyncio.fixture
async def bus(log: EventLog) -> AsyncIterator[adapter.EventBus]:
    yield adapter.EventBus(log)


async def test_a_subscriber_gets_each_event_until_it_unsubscribes(bus: adapter.EventBus) -> None:
    every: list[int | None] = []
    some: list[int | None] = []
    all_of_them = await bus.subscribe(lambda given: every.append(given.offset))
    filled = await bus.subscribe_filtered(["orders.Filled"], lambda given: some.append(given.offset))
    assert all_of_them != filled
    ids = [await bus.append(event(1)), await bus.append(event(2, type="orders.Filled"))]
    await until(lambda: every == ids and some == ids[1:])
    assert await bus.unsubscribe_by_id(all_of_them)
    assert not await bus.unsubscribe_by_id(all_of_them)
    last = await bus.append(event(3, type="orders.Filled"))
    await until(lambda: some == [ids[1], last])
    assert every == ids


async def test_a_subscriber_that_fails_stops_no_other(bus: adapter.EventBus) -> None:
    got: list[int | None] = []

    async def fail(given: walle.Event) -> None:
        raise ValueError(given.offset)

    await bus.subscribe(fail)
    await bus.subscribe(lambda given: got.append(given.offset))
    ids = [await bus.append(event(number)) for number in range(3)]
    await until(lambda: got == ids)


async def test_a_consumer_polls_commits_and_resumes(log: EventLog, bus: adapter.EventBus) -> None:
    ids = [await bus.append(event(number)) for number in range(4)]
    consumer = adapter.Consumer(log, "sink")
    await consumer.start()
    with pytest.raises(ConsumerBusy):
        await adapter.Consumer(log, "sink").start()
    pairs = await consumer.poll()
    assert [(offset, given.id) for offset, given in pairs] == [(ids[n], f"event-{n}") for n in range(4)]
    await consumer.commit(ids[1])
    await consumer.stop()
    again = adapter.Consumer(log, "sink", take_over=True)
    await again.start()
    assert [offset for offset, _ in await again.poll()] == ids[2:]
    third = adapter.Consumer(log, "sink", take_over=True)
    await third.start()
    with pytest.raises(ConsumerFenced):
        await again.commit(ids[3])
    await again.stop()
    await third.stop()


async def test_offsets_are_got_and_set_by_name(log: EventLog, bus: adapter.EventBus) -> None:
    ids = [await bus.append(event(number)) for number in range(3)]
    offsets = adapter.OffsetStore(log)
    assert await offsets.get_offset("sink") == -1
    await offsets.set_offset("sink", ids[1])
    assert await offsets.get_offset("sink") == ids[1]
    assert await offsets.get_all_offsets() == {"sink": ids[1]}
    with pytest.raises(InputError, match="only moves forward"):
        await offsets.set_offset("sink", ids[0])


# all of it, on a database that was the engine's


async def test_the_engine_goes_on_in_a_database_that_was_taken_over(empty_postgres: str) -> None:
    make(empty_postgres)
    walle.upgrade(empty_postgres, confirmed=True)
    database = Database(empty_postgres)
    log = EventLog(database)
    runs, fills, results = adapter.RunStore(database), adapter.FillStore(database), adapter.ResultStore(database)
    found = await runs.get("b-list")
    assert found is not None
    await runs.save(dataclasses.replace(found, status="running"))
    assert [one.id for one in await fills.list_by_order("gone")] == ["b2"]
    await fills.save(fill(9, order_id="o1", run_id=None))
    assert {one.id for one in await fills.list_by_run_id("r1")} == {"f1", "f2", "b1", "b3", "fill-9"}
    assert await results.get_by_run_id("b-list") is not None
    assert await adapter.OffsetStore(log).get_offset("sink ü") == 7
    assert await adapter.BarStore(database).get_bar_count("BTC/USD", "1m") == 2
    async with adapter.Consumer(log, "sink ü") as consumer:
        number = await log.append(event())
        assert [offset for offset, _ in await consumer.poll(timeout=10)] == [number]
        await consumer.commit(number)
    await log.close()
    await database.close()
