"""A question about one run reads what is of that run, however much else the store holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest_asyncio
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from tests.samples import START, bars, fill, order, run
from walle import models
from walle.database import Database
from walle.repositories import BarRepository, FillRepository, OrderRepository, RunRepository
from walle.repositories.fills.market_bars import ends_of_runs
from walle.repositories.fills.orders import orders_with_fills

RUNS, ORDERS = 12, 10
"""How many runs there are, and how many orders each has."""


class Counting(Database):
    """Counts the rows that it fetches, by the first table that a statement reads, and keeps the statements."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.forget()

    def forget(self) -> None:
        self.rows: Counter[str] = Counter()
        self.statements: list[sa.Select[Any]] = []

    async def fetch(
        self, statement: sa.Select[Any], schema: Mapping[str, pl.DataType], session: AsyncSession | None = None
    ) -> pl.DataFrame:
        found = await super().fetch(statement, schema, session)
        self.statements.append(statement)
        for source in statement.get_final_froms():
            self.rows[str(source).split()[0]] += found.height
        return found

    async def scans(self) -> list[str]:
        """What SQLite would read whole for the statements so far."""
        plans = []
        async with self.engine.connect() as connection:
            for statement in self.statements:
                compiled = statement.compile(self.engine.sync_engine, compile_kwargs={"render_postcompile": True})
                nothing = (None,) * str(compiled).count("?")  # a plan is made without values
                rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", nothing)
                plans += [str(row.detail) for row in rows]
        return [plan for plan in plans if plan.startswith("SCAN") and plan.split()[1] in models.metadata.tables]


@pytest_asyncio.fixture
async def database(address: str) -> AsyncIterator[Counting]:
    """A store of many runs; run-1 has a fill without an order, and one of an order of another run."""
    opened = Counting(address)
    numbers = [(of, of * 100 + number) for of in range(1, RUNS + 1) for number in range(ORDERS)]
    ended = {"status": "completed", "started_at": START, "stopped_at": START + timedelta(minutes=9)}
    await RunRepository(opened).save([run(of, **ended) for of in range(1, RUNS + 1)])
    await OrderRepository(opened).save([order(number, run_id=f"run-{of}") for of, number in numbers])
    changes: dict[str, Any] = {"quantity": Decimal(1), "filled_at": START + timedelta(minutes=2)}
    fills = [fill(number, run_id=f"run-{of}", order_id=f"order-{number}", **changes) for of, number in numbers]
    fills += [fill(1, order_id="gone", **changes), fill(2, order_id="order-200", **changes)]
    await FillRepository(opened).append(fills)
    frames = [bars(10).with_columns(symbol=pl.lit(f"S{number}")) for number in range(RUNS)]
    frames.append(bars(10).with_columns(symbol=pl.lit("BTC/USD")))
    await BarRepository(opened).ingest(pl.concat(frames), timeframe="1m")
    opened.forget()
    yield opened
    await opened.close()


async def test_one_fill_without_an_order_makes_nobody_read_the_orders_of_other_runs(database: Counting) -> None:
    fills = FillRepository(database)
    found = await fills.audit("run-1")
    assert found.filter(rule="unknown_order")["fill_id"].to_list() == ["fill-1"]
    assert database.rows["veda_orders"] == ORDERS + 1
    database.forget()
    assert (await fills.costs("run-1", by="order", benchmarks="close")).height == ORDERS + 2
    assert database.rows["veda_orders"] == ORDERS + 1
    database.forget()
    assert (await fills.shortfall("run-1")).height == ORDERS
    assert database.rows["veda_orders"] == ORDERS
    assert database.rows["runs"] == 1
    database.forget()
    assert (await fills.trades("run-1")).height == ORDERS + 2  # every lot is open
    assert database.rows["runs"] == 1
    database.forget()
    assert (await RunRepository(database).equity("run-1"))["orphan_fills"].max() == 2
    assert database.rows["veda_orders"] == ORDERS


async def test_only_the_series_of_the_symbols_of_a_run_are_asked_for(database: Counting) -> None:
    await FillRepository(database).audit("run-1")
    assert database.rows["bars"] == 2  # those of the fills' minute, and of the one before
    assert 0 < database.rows["bar_index"] <= 3
    assert (await BarRepository(database).series()).height == RUNS + 1


async def test_the_orders_of_a_run_and_of_its_fills_come_in_one_order(database: Counting) -> None:
    fills = await FillRepository(database).read("run-1")
    ids = [f"order-{number}" for number in (*range(100, 100 + ORDERS), 200)]
    assert (await orders_with_fills(database, "run-1", fills))["id"].to_list() == ids
    earlier = fills.filter(pl.col("id") != "fill-2")  # read before that fill came in
    assert (await orders_with_fills(database, "run-1", earlier))["id"].to_list() == ids[:-1]
    assert (await orders_with_fills(database, None, fills)).height == RUNS * ORDERS


async def test_the_ends_of_many_runs_are_those_that_were_asked_for(database: Counting) -> None:
    end: datetime = START + timedelta(minutes=9)
    await RunRepository(database).save(run(99))
    ids = pl.Series(
        ["run-7", None, "run-7", "run-99", "never", *(f"none-{number}" for number in range(1_200)), "run-8"]
    )
    database.forget()
    assert await ends_of_runs(database, ids) == {"run-7": end, "run-8": end}
    assert database.rows["runs"] == 3
    assert await ends_of_runs(database, ids.clear()) == {}


async def test_sqlite_reads_no_table_whole_for_one_run(sqlite_address: str) -> None:
    database = Counting(sqlite_address)
    fills, runs, orders = FillRepository(database), RunRepository(database), OrderRepository(database)
    await runs.save(run())
    await orders.save([order(), order(2, run_id="bare")])
    await fills.append([fill(), fill(2, order_id="gone"), fill(3, order_id="order-2")])
    await BarRepository(database).ingest(bars(10), symbol="BTC/USD", timeframe="1m")
    database.forget()
    for ask in (fills.audit, fills.costs, fills.shortfall, fills.trades, runs.equity, runs.metrics):
        await ask("run-1")
    assert (await runs.history("bare")).height == 1  # an order, and no row in runs
    scans = await database.scans()
    # the one has no index on the runs of its events, and any row of the other may have a symbol as its alias
    assert {scan.split()[1] for scan in scans} == {"outbox", "instruments"}
    await database.close()
