from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

import walle
from tests.samples import START, run
from walle.database import Database
from walle.errors import AlreadyCorrected, CashFlowConflict, InputError, InvalidRows, UnknownCashFlow, UnknownRun
from walle.fills import WriteReport
from walle.frames import CASH_CORRECTIONS, CASH_FLOW_CONFLICTS, CASH_FLOWS, REJECTED_CASH_FLOWS
from walle.records import CashFlow
from walle.repositories import CashFlowRepository, RunRepository


@pytest.fixture
def cash(database: Database) -> CashFlowRepository:
    return CashFlowRepository(database)


def flow(number: int = 1, **changes: Any) -> CashFlow:
    base = CashFlow(
        id=f"flow-{number}",
        time=START + timedelta(hours=number),
        kind="funding",
        amount=Decimal("-0.000000000000000001"),
        currency="USDT",
        run_id="run-1",
        account="main",
        symbol="BTC/USDT:USDT",
        reference="venue ü",
    )
    return dataclasses.replace(base, **changes)


async def test_a_cash_flow_comes_back_exact_with_the_time_at_which_it_was_stored(cash: CashFlowRepository) -> None:
    before = datetime.now(UTC) - timedelta(minutes=5)
    bare = flow(2, run_id=None, account=None, symbol=None, reference=None, kind="deposit", amount=Decimal(10) ** 19)
    assert await cash.append([bare, flow()]) == WriteReport(inserted=2)
    frame = await cash.read()
    assert frame.schema == CASH_FLOWS
    assert (frame["recorded_at"] > before).all()
    first = ("flow-1", START + timedelta(hours=1), "funding", Decimal("-0.000000000000000001"), "USDT", "run-1")
    assert frame.drop("recorded_at").row(0) == (*first, "main", "BTC/USDT:USDT", None, "venue ü")
    assert frame["amount"][1] == Decimal(10) ** 19


async def test_the_same_again_is_a_no_op_and_another_content_a_conflict(cash: CashFlowRepository) -> None:
    await cash.append(flow())
    assert await cash.append([flow(), flow(2), flow(2)]) == WriteReport(inserted=1, unchanged=2)
    assert await cash.append(await cash.read()) == WriteReport(unchanged=2)  # a frame that was read is as good
    with pytest.raises(
        CashFlowConflict, match=r"cash flow 'flow-1' .* amount is -0.000000000000000001, given 5"
    ) as told:
        await cash.append([flow(3), flow(amount=Decimal(5), reference=None)])
    assert told.value.cash_flow_id == "flow-1"
    assert told.value.differences["reference"] == ("venue ü", None)
    with pytest.raises(CashFlowConflict):
        await cash.append([flow(4), flow(4, currency="USD")])
    assert (await cash.read())["id"].to_list() == ["flow-1", "flow-2"]


async def test_cash_flows_are_found_by_what_they_are(database: Database, cash: CashFlowRepository) -> None:
    await RunRepository(database).save(run(2))
    other = flow(3, run_id="run-3", account="b", currency="USD", kind="fee")
    await cash.append([flow(), flow(2, kind="dividend"), other])
    asked: list[tuple[dict[str, Any], list[str]]] = [
        ({"run_id": "run-1"}, ["flow-1", "flow-2"]),
        ({"run_id": "run-2"}, []),
        ({"run_id": "run-3", "kind": "funding"}, []),
        ({"account": ["b", "c"]}, ["flow-3"]),
        ({"currency": "USDT", "kind": ["dividend", "fee"]}, ["flow-2"]),
        ({"start": START + timedelta(hours=2), "end": START + timedelta(hours=3)}, ["flow-2"]),
    ]
    for arguments, expected in asked:
        assert (await cash.read(**arguments))["id"].to_list() == expected, arguments
    with pytest.raises(UnknownRun, match="did you mean 'run-"):
        await cash.read("run-11")
    with pytest.raises(InputError, match=r"unknown kind 'bonus'\. Allowed: deposit"):
        await cash.read(kind="bonus")
    with pytest.raises(InputError, match="corrected=1"):
        await cash.read(corrected=1)  # type: ignore[arg-type]  # wrong on purpose


async def test_a_correction_leaves_the_wrong_cash_flow_out(cash: CashFlowRepository) -> None:
    await cash.append([flow(1), flow(2)])
    right = flow(1, id="flow-1.2", amount=Decimal(-2))
    await cash.correct("flow-1", by=right, reason="the venue restated it", author="ann")
    await cash.correct("flow-2", reason="booked twice", author="ann")
    assert (await cash.read("run-1"))["id"].to_list() == ["flow-1.2"]
    assert (await cash.read("run-1", corrected=False))["id"].to_list() == ["flow-1", "flow-1.2", "flow-2"]
    said = await cash.corrections("run-1")
    assert said.schema == CASH_CORRECTIONS
    assert said.select("cash_flow_id", "corrected_by", "author").rows() == [
        ("flow-1", "flow-1.2", "ann"),
        ("flow-2", None, "ann"),
    ]
    with pytest.raises(AlreadyCorrected, match=r"'flow-1' is already corrected by 'flow-1.2'.*store.cash.correct"):
        await cash.correct("flow-1", by=flow(7), reason="again")
    with pytest.raises(UnknownCashFlow, match="'flow-9'"):
        await cash.correct("flow-9", reason="r")
    with pytest.raises(InputError, match="the id of the cash flow that it corrects"):
        await cash.correct("flow-1.2", by=right, reason="r")
    with pytest.raises(InputError, match=r"a walle\.CashFlow, not str"):
        await cash.correct("flow-1.2", by="flow-3", reason="r")  # type: ignore[arg-type]  # wrong on purpose
    assert (await cash.read("run-1"))["id"].to_list() == ["flow-1.2"]


async def test_of_two_corrections_at_once_one_holds(cash: CashFlowRepository) -> None:
    await cash.append(flow(1))
    said = await asyncio.gather(
        *(cash.correct("flow-1", by=flow(place), reason="r") for place in (2, 3)), return_exceptions=True
    )
    assert sum(isinstance(one, AlreadyCorrected) for one in said) == 1
    assert (await cash.read())["id"].to_list() == (await cash.corrections())["corrected_by"].to_list()


def theirs(**changes: Any) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "tranId": ["1", "2", "3"],
        "incomeType": ["funding", "deposit", "fee"],
        "income": [-0.1, 1e3, -0.30000000000000004],
        "asset": ["USDT", "USDT", "BNB"],
        "time": [datetime(2025, 3, 1, 8), datetime(2025, 3, 1, 9), datetime(2025, 3, 1, 10)],
        "info": ["", "", ""],
    }
    return pl.DataFrame(columns | changes)


READING: dict[str, Any] = {
    "columns": {"tranId": "id", "incomeType": "kind", "income": "amount", "asset": "currency", "info": None},
    "timezone": "Europe/Berlin",
    "floats": "shortest",
    "run_id": "run-9",
}


@pytest.mark.parametrize("kind", ["polars", "pandas", "arrow"])
async def test_another_programs_table_is_read_by_what_is_said_of_it(cash: CashFlowRepository, kind: str) -> None:
    given = theirs()
    source: object = {"polars": lambda: given, "pandas": given.to_pandas, "arrow": given.to_arrow}[kind]()
    assert (await cash.ingest(source, **READING)).inserted == 3
    report = await cash.ingest(theirs(income=[-0.1, 1e3, -0.25]), **READING)
    assert (report.inserted, report.duplicates, report.conflicts, report.rejected) == (0, 2, 1, 0)
    assert report.conflict_rows.schema == CASH_FLOW_CONFLICTS
    assert report.conflict_rows.select("stored_amount", "amount").row(0) == (
        Decimal("-0.30000000000000004"),
        Decimal("-0.25"),
    )
    frame = await cash.read("run-9")
    assert frame["amount"].to_list() == [Decimal("-0.1"), Decimal(1000), Decimal("-0.30000000000000004")]
    assert [time.hour for time in frame["time"]] == [7, 8, 9]  # Berlin is an hour ahead in March


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("kind", "bonus", "kind: allowed are deposit, withdrawal, opening"),
        ("currency", "", "currency: it is empty or padded"),
        ("currency", "x" * 21, "currency: at most 20 characters are allowed"),
        ("currency", None, "currency: no value"),
        ("amount", "1e5", "amount: at most 20 integer digits and 18 places fit"),
        ("amount", "-5", "amount: a deposit is above 0, a withdrawal below 0"),
        ("id", None, "id: no value"),
    ],
)
async def test_a_row_that_is_no_cash_flow_has_its_reason(
    cash: CashFlowRepository, column: str, value: Any, reason: str
) -> None:
    rows = pl.DataFrame(
        {"id": ["1", "2"], "kind": ["deposit"] * 2, "amount": ["5", "5"], "currency": ["USD"] * 2, "time": [START] * 2}
    )
    new = pl.when(pl.col("id") == "2").then(pl.lit(value, dtype=pl.String)).otherwise(column)
    given = rows.with_columns(new.alias(column))
    report = await cash.ingest(given, on_invalid="quarantine")
    assert (report.inserted, report.rejected) == (1, 1)
    assert report.rejected_rows.schema == REJECTED_CASH_FLOWS
    [(place, said)] = report.rejected_rows.select("row", "reason").rows()
    assert place == 1
    assert said.startswith(reason)
    with pytest.raises(InvalidRows, match="1 of 2 rows are no cash flows, so nothing was written"):
        await cash.ingest(given)
    with pytest.raises(InputError, match=f"column '{column}' of cash flows"):
        await cash.append(given)


async def test_what_is_no_cash_flow_is_said(cash: CashFlowRepository) -> None:
    with pytest.raises(InputError, match="cash flows come as CashFlow records or as a Polars frame, not as int"):
        await cash.append(7)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match=r"cash flows have no column 'ammount'\. Did you mean 'amount'"):
        await cash.append(pl.DataFrame({"ammount": [1]}))
    naive = (await cash.read()).with_columns(pl.col("time").dt.replace_time_zone(None))
    with pytest.raises(InputError, match="column 'time' of cash flows has no time zone"):
        await cash.append(naive)


def test_a_store_has_them_too(store: walle.Store) -> None:
    assert store.cash.append(flow()).inserted == 1
    assert store.cash.read("run-1").height == 1
    assert repr(store.cash) == "store.cash: append, correct, corrections, ingest, read"
    with walle.connect() as memory, pytest.raises(walle.PersistenceUnavailable, match=r"store\.cash\.read"):
        memory.cash.read()
