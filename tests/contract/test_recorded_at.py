"""When facts became known: by the clock of the database, at the statement that stored them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

import walle
from tests.raw import Raw
from tests.samples import START, fill, order
from walle import migrate
from walle.config import DatabaseConfig
from walle.database import Database
from walle.frames import FILLS, INSTANT, ORDERS
from walle.records import CashFlow, CorporateAction, Instrument
from walle.repositories import (
    CashFlowRepository,
    CorporateActionRepository,
    FillRepository,
    InstrumentRepository,
    OrderRepository,
)

TICK = timedelta(milliseconds=1)
"""SQLite's clock counts milliseconds."""

FLOW = CashFlow(id="flow-1", time=START, kind="fee", amount=Decimal(-1), currency="USD", run_id="run-1")
SPLIT = CorporateAction(id="split-1", symbol="AAPL", kind="split", ex_date=date(2020, 8, 31), ratio=Decimal(4))


def clock(raw: Raw) -> datetime:
    """Ask the database for its time, without WallE."""
    if not raw.sqlite:
        now = raw.value("SELECT clock_timestamp()")
        assert isinstance(now, datetime)
        return now.astimezone(UTC)
    text = raw.value("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')")
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.fixture
def raw(address: str) -> Raw:
    return Raw(address)


async def test_a_fill_is_recorded_when_it_is_stored_and_not_again(database: Database, raw: Raw) -> None:
    fills, before = FillRepository(database), clock(raw)
    await fills.append([fill(1), fill(2)])
    after = clock(raw)
    frame = await fills.read()
    assert frame.columns[-1] == "recorded_at"
    assert frame.schema["recorded_at"] == INSTANT
    first, second = frame["recorded_at"]
    assert first == second  # one call, one time
    assert before <= first <= after + TICK
    await asyncio.sleep(0.01)
    assert (await fills.append([fill(1), fill(3)])).unchanged == 1
    assert (await fills.ingest([fill(2), fill(4)])).duplicates == 1
    times = dict((await fills.read()).select("id", "recorded_at").iter_rows())
    assert (times["fill-1"], times["fill-2"]) == (first, first)
    assert first < times["fill-3"] < times["fill-4"] or first < times["fill-3"] == times["fill-4"]


async def test_many_fills_of_one_ingest_have_one_time(database: Database) -> None:
    fills = FillRepository(database)
    many = pl.concat([walle.fills.fills_frame([fill(1)])] * 20_000).with_columns(
        id=pl.int_range(pl.len()).cast(pl.String), recorded_at=pl.lit(START)
    )
    assert (await fills.ingest(many)).inserted == 20_000
    times = (await fills.read())["recorded_at"]
    assert (times.n_unique(), times.null_count()) == (1, 0)
    assert times[0] > START  # what a frame says is not taken


async def test_an_order_is_recorded_with_each_snapshot_that_changes_it(database: Database, raw: Raw) -> None:
    orders, before = OrderRepository(database), clock(raw)

    async def recorded() -> datetime:
        frame = await orders.read()
        assert frame.columns == list(ORDERS)
        assert frame.columns[-1] == "recorded_at"
        time = frame["recorded_at"].item()
        assert isinstance(time, datetime)
        return time

    await orders.save(order())
    first = await recorded()
    assert before <= first <= clock(raw) + TICK
    await asyncio.sleep(0.01)
    assert (await orders.save(order())).unchanged == 1
    assert (await orders.ingest([order()])).duplicates == 1
    assert await recorded() == first
    await orders.save(order(filled_qty=Decimal(1)))
    second = await recorded()
    assert second > first
    await asyncio.sleep(0.01)
    assert (await orders.ingest([order(filled_qty=Decimal(2))])).updated == 1
    assert await recorded() > second


async def test_what_is_read_can_be_stored_again(database: Database) -> None:
    fills, orders = FillRepository(database), OrderRepository(database)
    await orders.save(order(account="A", extra={"b": 1, "a": [None, "ü"]}))
    await fills.append([fill(1, extra={"b": 1.5, "a": {"z": 1, "y": None}}), fill(2)])
    assert (await fills.append(await fills.read())).unchanged == 2
    assert (await fills.ingest(await fills.read())).duplicates == 2
    assert (await orders.save(await orders.read())).unchanged == 1
    assert (await orders.ingest(await orders.read())).duplicates == 1


Write = Callable[[Database, AsyncSession], Awaitable[Any]]

WRITES: dict[str, tuple[str, Write]] = {
    "fills": ("fills", lambda base, session: FillRepository(base).append(fill(), session=session)),
    "fills ingest": ("fills", lambda base, session: FillRepository(base).ingest([fill()], session=session)),
    "orders": ("veda_orders", lambda base, session: OrderRepository(base).save(order(), session=session)),
    "orders ingest": ("veda_orders", lambda base, session: OrderRepository(base).ingest([order()], session=session)),
    "cash": ("cash_flows", lambda base, session: CashFlowRepository(base).append(FLOW, session=session)),
    "cash ingest": ("cash_flows", lambda base, session: CashFlowRepository(base).ingest([FLOW], session=session)),
    "actions": (
        "corporate_actions",
        lambda base, session: CorporateActionRepository(base).append(SPLIT, session=session),
    ),
    "instruments": (
        "instruments",
        lambda base, session: InstrumentRepository(base).save(Instrument(symbol="X", kind="stock"), session=session),
    ),
    "answers": (
        "answered_findings",
        lambda base, session: FillRepository(base).acknowledge({"key": "a:run:b"}, "known", session=session),
    ),
    "corrections": (
        "fill_corrections",
        lambda base, session: FillRepository(base).correct("fill-9", reason="r", session=session),
    ),
}


@pytest.mark.parametrize("write", WRITES)
async def test_a_long_transaction_records_when_it_wrote_and_not_when_it_began(
    database: Database, raw: Raw, write: str
) -> None:
    table, work = WRITES[write]
    await FillRepository(database).append(fill(9))
    async with database.session() as session, session.begin():
        connection = await session.connection()
        await connection.exec_driver_sql("SELECT 1")  # now() of PostgreSQL is this moment
        await asyncio.sleep(0.05)
        before = clock(raw)
        await work(database, session)
    after = clock(raw)
    of = "recorded_at" if not raw.sqlite else "recorded_at / 1e6"
    value = raw.value(f"SELECT {of} FROM {table} ORDER BY {of} DESC LIMIT 1")
    found = value if isinstance(value, datetime) else datetime.fromtimestamp(value, UTC)
    assert before - TICK <= found <= after + TICK


async def test_a_correction_and_the_fill_that_it_brings_are_recorded_at_one_time(database: Database) -> None:
    fills, cash = FillRepository(database), CashFlowRepository(database)
    await fills.append(fill(1))
    await cash.append(FLOW)
    await fills.correct("fill-1", by=fill(2), reason="r")
    await cash.correct("flow-1", by=dataclasses.replace(FLOW, id="flow-2"), reason="r")
    assert (await fills.read())["recorded_at"].item() == (await fills.corrections())["recorded_at"].item()
    assert (await cash.read())["recorded_at"].item() == (await cash.corrections())["recorded_at"].item()


async def test_the_rows_of_another_program_say_nothing(database: Database, raw: Raw) -> None:
    fills, orders = FillRepository(database), OrderRepository(database)
    raw.insert(
        "fills",
        ["id", "order_id", "price", "quantity", "side", "filled_at"],
        [("fill-1", "order-1", Decimal(1), Decimal(2), "buy", START)],
    )
    await orders.save(order())
    raw.run("UPDATE veda_orders SET recorded_at = NULL")
    assert (await fills.read())["recorded_at"].to_list() == [None]
    assert (await orders.read())["recorded_at"].to_list() == [None]
    assert (await orders.save(order())).unchanged == 1  # which records nothing
    assert (await orders.read())["recorded_at"].to_list() == [None]


def test_an_older_schema_reads_null(empty_address: str) -> None:
    migrate.upgrade(DatabaseConfig(url=empty_address), "d4e5f6a7b8c9")
    raw = Raw(empty_address)
    columns = ["id", "order_id", "price", "quantity", "side", "filled_at"]
    raw.insert("fills", columns, [("fill-1", "order-1", Decimal(1), Decimal(2), "buy", START)])
    with walle.connect(empty_address, read_only=True) as store:
        frame = store.fills.read()
        assert frame.schema == FILLS
        assert frame.select("extra", "recorded_at").row(0) == (None, None)
        assert store.fills.get("fill-1").extra is None
        assert store.orders.read().schema == ORDERS
