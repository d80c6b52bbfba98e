"""What an engine reports of a backtest: one result a run, on both databases."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

import walle
from tests.raw import Raw
from tests.samples import START
from walle import BacktestResult, BacktestResultRepository, Database
from walle.errors import Conflict, InputError, PersistenceUnavailable


def result(**changes: Any) -> BacktestResult:
    base = BacktestResult(
        run_id="run-1",
        start_time=START,
        end_time=START + timedelta(days=1, microseconds=1),
        timeframe="1m",
        symbols=("BTC/USD", "Größe 漢"),
        final_equity=Decimal("10123.456789012345678900"),
        simulation_duration_ms=12,
        total_bars_processed=2**31 - 1,
        stats={"sharpe": 1.25, "nested": {"none": None, "list": [1, "x", True]}},
        equity_curve=[{"t": "2025-03-01", "equity": "10000.1"}],
        fills=[{"id": "f1", "price": "0.1"}],
    )
    return dataclasses.replace(base, **changes)


def test_a_result_comes_back_as_it_was_saved(store: walle.Store) -> None:
    assert store.runs.result("run-1") is None
    assert store.runs.results().height == 0
    saved = store.runs.save_result(result())
    assert saved.created_at is not None
    assert saved == store.runs.result("run-1") == result(created_at=saved.created_at)
    assert str(saved.final_equity) == "10123.4567890123456789"
    row = store.runs.results().row(0, named=True)
    assert (row["run_id"], row["symbols"], row["final_equity"]) == (
        *("run-1", ["BTC/USD", "Größe 漢"]),
        "10123.4567890123456789",
    )
    assert (row["end_time"], row["created_at"]) == (result().end_time, saved.created_at)
    frame = store.runs.results()
    assert frame["stats"].str.json_path_match("$.nested.list[1]").to_list() == ["x"]
    assert frame.schema["total_bars_processed"] == pl.Int64()


def test_the_same_again_is_a_no_op_and_another_content_is_refused(store: walle.Store) -> None:
    saved = store.runs.save_result(result())
    assert store.runs.save_result(result()) == saved
    assert store.runs.save_result(result(created_at=START)) == saved
    with pytest.raises(Conflict, match=r"'run-1' is stored: its final_equity, stats differ"):
        store.runs.save_result(result(final_equity=Decimal(1), stats={}))
    assert store.runs.result("run-1") == saved
    store.runs.save_result(result(run_id="run-0"))
    assert store.runs.results()["run_id"].to_list() == ["run-0", "run-1"]


async def test_it_joins_the_callers_transaction(database: Database) -> None:
    results = BacktestResultRepository(database)
    async with database.session() as session:
        await results.save(result(), session=session)
        assert await results.get("run-1", session=session) is not None
    assert await results.get("run-1") is None


async def test_of_many_that_save_one_run_at_once_one_wins(database: Database) -> None:
    results = BacktestResultRepository(database)
    given = [result(simulation_duration_ms=number % 2) for number in range(10)]
    answers = await asyncio.gather(*(results.save(one) for one in given), return_exceptions=True)
    stored = await results.get("run-1")
    assert stored is not None
    for one, answer in zip(given, answers, strict=True):
        if one.simulation_duration_ms == stored.simulation_duration_ms:
            assert answer == stored
        else:
            assert isinstance(answer, Conflict)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start_time": datetime(2025, 1, 1)}, "start_time"),
        ({"end_time": START - timedelta(seconds=1)}, "before start_time"),
        ({"final_equity": 1.5}, "final_equity"),
        ({"symbols": "BTC/USD"}, "list of symbols"),
        ({"total_bars_processed": 2**31}, "total_bars_processed"),
        ({"simulation_duration_ms": -1}, "simulation_duration_ms"),
        ({"stats": []}, "stats is a list"),
        ({"fills": [float("nan")]}, "NaN"),
        ({"run_id": ""}, "run_id"),
    ],
)
def test_what_is_no_result_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        result(**changes)


def test_a_result_of_a_foreign_hand_is_readable(store: walle.Store, address: str) -> None:
    store.runs.save_result(result())
    Raw(address).run("UPDATE backtest_results SET final_equity = 'NaN ?', timeframe = ''")
    found = store.runs.result("run-1")
    assert found is not None
    assert (found.final_equity, found.timeframe) == ("NaN ?", "")
    assert store.runs.results()["final_equity"].to_list() == ["NaN ?"]


def test_without_a_database_and_for_something_else_the_error_is_clear(address: str) -> None:
    with pytest.raises(PersistenceUnavailable, match=r"store.runs.save_result"):
        walle.connect().runs.save_result(result())
    with walle.connect(address) as store, pytest.raises(InputError, match="BacktestResult, not a dict"):
        store.runs.save_result({"run_id": "x"})  # type: ignore[arg-type]  # what a caller may get wrong
