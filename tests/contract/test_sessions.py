"""Every call of the repositories joins the caller's transaction: it sees what is not committed, and commits nothing."""

from __future__ import annotations

import inspect
from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from tests.samples import START, bars, fill, order, run
from walle.database import Database
from walle.errors import InvalidRows, UnknownFill, UnknownRun
from walle.fills import fills_frame
from walle.repositories import (
    BacktestResultRepository,
    BarRepository,
    FillRepository,
    OrderRepository,
    RunRepository,
)

CORE = [BarRepository, OrderRepository, FillRepository, RunRepository, BacktestResultRepository]
LAZY = {"scan"}
"""Reads when the frame is collected, which may be after the transaction."""


@pytest.mark.parametrize("kind", CORE, ids=lambda kind: str(kind.__name__))
def test_every_method_takes_a_session_by_name(kind: type[Any]) -> None:
    methods = inspect.getmembers(kind, inspect.iscoroutinefunction)
    for name, method in methods:
        if not name.startswith("_") and name not in LAZY:
            parameter = inspect.signature(method).parameters["session"]
            assert (parameter.kind, parameter.default) == (inspect.Parameter.KEYWORD_ONLY, None), name
    assert methods


async def test_analyses_see_what_their_transaction_wrote_and_commit_nothing(database: Database) -> None:
    runs, orders, fills = RunRepository(database), OrderRepository(database), FillRepository(database)
    moment: dict[str, Any] = {"filled_at": START + timedelta(minutes=2), "quantity": Decimal(1)}
    stopped = run(status="completed", started_at=START, stopped_at=START + timedelta(minutes=9))
    async with database.session() as session:
        await BarRepository(database).ingest(bars(10), symbol="BTC/USD", timeframe="1m", session=session)
        report = await runs.ingest(stopped, [order()], [fill(**moment)], session=session)
        assert (report.inserted, report.orders.inserted, report.fills.inserted) == (True, 1, 1)
        assert (await runs.ingest(stopped, [order()], [fill(**moment)], session=session)).fills.duplicates == 1
        await fills.append(fill(2, order_id="order-2", **moment), session=session)
        await orders.save(order(2, run_id="run-2"), session=session)
        assert (await fills.trades("run-1", session=session))["unrealised"].null_count() == 0
        found = await fills.audit("run-1", session=session)
        assert "fill-2" in found["fill_id"].to_list() and "unknown_order" not in found["rule"].to_list()
        costs = await fills.costs("run-1", benchmarks="open", session=session)
        assert costs["benchmark_price"].to_list() == [Decimal(100)] * 2
        assert (await fills.shortfall("run-1", session=session)).height == 1
        assert (await runs.equity("run-1", session=session)).height == 9
        assert (await runs.metrics("run-1", session=session)).height > 0
        history = await runs.history("run-1", session=session)
        assert set(history["kind"]) == {"run", "order", "fill"}
        assert [one.id for one in await fills.list("run-1", session=session)] == ["fill-1", "fill-2"]
        assert await runs.recover(session=session) == []
        await runs.save(run(3, status="running"), session=session)
        assert await runs.recover(session=session) == []  # this process has it
        with pytest.raises(UnknownRun, match="did you mean"):
            await orders.read("run-11", session=session)
    for ask in (fills.trades, fills.audit, fills.costs, fills.shortfall, runs.equity, runs.history, fills.list):
        with pytest.raises(UnknownRun):
            await ask("run-1")
    with pytest.raises(UnknownFill):
        await fills.get("fill-1")
    assert (await BarRepository(database).series()).is_empty()


async def test_a_run_that_is_refused_leaves_the_transaction_around_it_as_it_was(database: Database) -> None:
    runs, orders = RunRepository(database), OrderRepository(database)
    async with database.session() as session:
        await orders.save(order(9), session=session)
        bad = fills_frame([fill()]).with_columns(side=pl.lit("hold"))
        with pytest.raises(InvalidRows):  # after the run and its order were written
            await runs.ingest(run(), [order()], bad, session=session)
        await session.commit()
    assert [one.id for one in await orders.list()] == ["order-9"]
    assert await runs.list() == []
