from __future__ import annotations

import dataclasses
from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

import walle
from tests.samples import START, fill, order, run
from walle.database import Database
from walle.enums import OrderStatus
from walle.errors import Conflict, DuplicateKey, InputError, StaleSnapshot, UnknownOrder, UnknownRun
from walle.frames import ORDERS
from walle.records import Order
from walle.repositories import FillRepository, OrderRepository, RunRepository


@pytest.fixture
def repository(database: Database) -> OrderRepository:
    return OrderRepository(database)


FULL = order(
    exchange_order_id="x-1",
    stop_price=Decimal("99999999999999999999.999999999999999999"),
    filled_qty=Decimal("2.5"),
    filled_avg_price=Decimal("0.000000000000000001"),
    status="filled",
    submitted_at=START + timedelta(microseconds=1),
    filled_at=START + timedelta(days=1),
    cancelled_at=START,
    reject_reason="日本 'quoted' \\N",
    error_code="E1",
)


async def test_an_order_comes_back_equal(repository: OrderRepository) -> None:
    assert (await repository.save([FULL, order(2)])).inserted == 2
    assert await repository.get("order-1") == FULL
    assert await repository.get_by_client_order_id("client-2") == order(2)
    assert await repository.list("run-1") == [FULL, order(2)]
    frame = await repository.read("run-1")
    assert frame.schema == ORDERS
    assert frame["stop_price"].to_list() == [FULL.stop_price, None]


async def test_a_later_snapshot_replaces_an_earlier_one(repository: OrderRepository) -> None:
    await repository.save(order())
    partial = order(status="partial", filled_qty=Decimal(1), filled_avg_price=Decimal("100.1"))
    report = await repository.save([partial, order(2)])
    assert (report.inserted, report.updated, report.unchanged) == (1, 1, 0)
    assert await repository.get("order-1") == partial
    assert (await repository.save(partial)).unchanged == 1


@pytest.mark.parametrize(
    ("stored", "later", "reason"),
    [
        ({"filled_qty": Decimal("1.5"), "status": "partial"}, {"filled_qty": Decimal("1.4")}, "1.5 is already filled"),
        (
            {"status": "filled", "filled_qty": Decimal("2.5")},
            {"status": "cancelled", "filled_qty": Decimal("2.5")},
            "final",
        ),
        ({"status": "rejected"}, {"status": "accepted"}, "already 'rejected'"),
    ],
)
async def test_a_stale_snapshot_changes_nothing(
    repository: OrderRepository, stored: dict[str, Any], later: dict[str, Any], reason: str
) -> None:
    await repository.save(order(**stored))
    with pytest.raises(StaleSnapshot, match=reason) as caught:
        await repository.save([order(2), order(**later)])
    assert caught.value.order_id == "order-1"
    assert await repository.list() == [order(**stored)]


async def test_a_filled_quantity_is_compared_as_a_number(repository: OrderRepository) -> None:
    await repository.save(order(qty=Decimal(100), filled_qty=Decimal(9), status="partial"))
    assert (await repository.save(order(qty=Decimal(100), filled_qty=Decimal(10), status="partial"))).updated == 1


async def test_a_client_order_id_belongs_to_one_order(repository: OrderRepository) -> None:
    await repository.save(order())
    with pytest.raises(DuplicateKey, match="client_order_id"):
        await repository.save([order(3), order(2, client_order_id="client-1")])
    assert await repository.list() == [order()]
    with pytest.raises(InputError, match="more than once"):
        await repository.save([order(5), order(5)])


async def test_filters_choose(repository: OrderRepository) -> None:
    others = [order(2, run_id="run-2", status="filled"), order(3, symbol="ETH/USD"), order(4, status="rejected")]
    await repository.save([order(), *others])

    async def ids(**filters: object) -> list[str]:
        return (await repository.read(**filters))["id"].to_list()  # type: ignore[arg-type]  # filters by name

    assert await ids() == ["order-1", "order-2", "order-3", "order-4"]
    assert await ids(run_id="run-2") == ["order-2"]
    assert await ids(symbol="ETH/USD") == ["order-3"]
    assert await ids(status="filled") == ["order-2"]
    assert await ids(status=[OrderStatus.FILLED, "rejected"]) == ["order-2", "order-4"]
    assert await ids(start=START + timedelta(seconds=2), end=START + timedelta(seconds=4)) == ["order-2", "order-3"]
    with pytest.raises(InputError, match=r"unknown status 'fillled'.*pending"):
        await ids(status="fillled")
    with pytest.raises(UnknownRun, match="did you mean 'run-"):
        await ids(run_id="run-9")


async def test_an_unknown_order_is_named(repository: OrderRepository) -> None:
    with pytest.raises(UnknownOrder, match="no order with id 'nope'"):
        await repository.get("nope")
    with pytest.raises(UnknownOrder, match="client_order_id 'nope'"):
        await repository.get_by_client_order_id("nope")


async def test_a_frame_is_as_good_as_records(repository: OrderRepository) -> None:
    await repository.save([FULL, order(2)])
    frame = await repository.read()
    assert (await repository.save(frame)).unchanged == 2
    changed = frame.with_columns(id=pl.col("id") + "b", client_order_id=pl.col("client_order_id") + "b")
    assert (await repository.save(changed)).inserted == 2
    assert await repository.get("order-1b") == dataclasses.replace(FULL, id="order-1b", client_order_id="client-1b")
    text = changed.select(pl.all().exclude("created_at").cast(pl.String), "created_at").drop(
        "submitted_at", "filled_at", "cancelled_at"
    )
    assert (await repository.save(text.filter(pl.col("id") == "order-2b"))).unchanged == 1


async def test_one_transaction_holds_an_order_its_fill_and_its_run(database: Database) -> None:
    orders, fills, runs = OrderRepository(database), FillRepository(database), RunRepository(database)
    with pytest.raises(RuntimeError, match="the engine failed"):
        async with database.session() as session:
            await runs.save(run(), session=session)
            await orders.save(order(), session=session)
            await fills.append(fill(), session=session)
            assert (await fills.read("run-1", session=session)).height == 1
            raise RuntimeError("the engine failed")
    assert await orders.list() == []
    assert await fills.list() == []
    assert await runs.list() == []
    async with database.session() as session:
        await orders.save(order(), session=session)
        await orders.save(order(2, status="filled"), session=session)
        with pytest.raises(StaleSnapshot):  # a refused call leaves the transaction around it usable
            await orders.save([order(2, status="expired"), order(3)], session=session)
        await session.commit()
    kept: list[Order] = await orders.list()
    assert {item.id for item in kept} == {"order-1", "order-2"}


def test_a_store_lists_orders_fills_and_runs_as_records(store: walle.Store) -> None:
    saved = store.runs.save(run())
    store.orders.save([order(), order(2, status="filled")])
    store.fills.append([fill(), fill(2, symbol=None)])
    assert store.runs.list() == store.runs.list(mode="backtest") == [saved]
    assert store.runs.list(status="running") == []
    assert store.orders.list("run-1", status="filled") == [order(2, status="filled")]
    assert store.orders.list() == [store.orders.get("order-1"), store.orders.get("order-2")]
    assert store.fills.list(symbol="BTC/USD") == [fill(), fill(2, symbol=None)]
    assert store.fills.list(order_id="nothing") == []
    assert store.events.list() == []
    with pytest.raises(walle.UnknownFill):
        store.fills.get("fill-9")


@pytest.mark.parametrize("change", [{"symbol": "ETH/USD"}, {"side": "sell"}, {"run_id": "r"}, {"client_order_id": "c"}])
async def test_a_snapshot_cannot_make_another_order_of_it(repository: OrderRepository, change: dict[str, Any]) -> None:
    await repository.save(order())
    with pytest.raises(Conflict, match=f"{next(iter(change))} is .*, given"):
        await repository.save([order(2), order(**change)])
    assert await repository.list() == [order()]
