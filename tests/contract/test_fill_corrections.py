from __future__ import annotations

import asyncio
import dataclasses
import json
from decimal import Decimal

import polars as pl
import pytest

from tests.samples import START, fill, order, run
from walle import models
from walle.database import Database
from walle.errors import AlreadyCorrected, Conflict, FillConflict, InputError, UnknownFill, UnknownRun
from walle.frames import CASH_CORRECTIONS, CASH_FLOWS, CORPORATE_ACTIONS, FILL_CORRECTIONS, INSTRUMENTS
from walle.records import Fill
from walle.repositories import (
    CashFlowRepository,
    CorporateActionRepository,
    FillRepository,
    InstrumentRepository,
    OrderRepository,
    RunRepository,
)
from walle.repositories.events.consumer_claims import whoami


@pytest.fixture
def fills(database: Database) -> FillRepository:
    return FillRepository(database)


RIGHT = fill(1, id="fill-1.2", price=Decimal("99"), filled_at=START)


async def ids(fills: FillRepository, run_id: str | None = None, *, corrected: bool = True) -> list[str]:
    return (await fills.read(run_id, corrected=corrected))["id"].to_list()


async def test_a_corrected_fill_is_left_out_and_stays_as_it_was_written(fills: FillRepository) -> None:
    await fills.append([fill(1), fill(2)])
    await fills.correct("fill-1", by=RIGHT, reason="the venue's mistake", author="ann")
    assert await ids(fills) == ["fill-1.2", "fill-2"]
    assert await ids(fills, "run-1", corrected=False) == ["fill-1.2", "fill-1", "fill-2"]
    assert [one.id for one in await fills.list()] == ["fill-1.2", "fill-2"]
    assert [one.id for one in await fills.list(corrected=False)] == ["fill-1.2", "fill-1", "fill-2"]
    assert await fills.get("fill-1") == fill(1)
    assert await fills.get("fill-1.2") == RIGHT
    said = await fills.corrections("run-1")
    assert said.schema == FILL_CORRECTIONS
    assert said.drop("recorded_at").rows() == [("fill-1", "fill-1.2", "the venue's mistake", "ann")]
    assert said["recorded_at"].null_count() == 0


async def test_a_bust_leaves_nothing_in_its_place_and_the_author_is_who_runs_this(fills: FillRepository) -> None:
    await fills.append(fill(1))
    await fills.correct("fill-1", reason="busted")
    assert await ids(fills) == []
    assert (await fills.read("run-1")).is_empty()  # the run is known: it had a fill
    assert (await fills.corrections()).drop("recorded_at").rows() == [("fill-1", None, "busted", whoami())]


async def test_the_correcting_fill_takes_the_place_of_the_corrected_one(fills: FillRepository) -> None:
    now = {"filled_at": START}
    await fills.append([fill(1, **now), fill(2, **now)])
    await fills.correct("fill-1", by=dataclasses.replace(RIGHT, id="z"), reason="r")
    assert await ids(fills) == ["z", "fill-2"]
    await fills.correct("fill-2", by=fill(3, sequence=0, **now), reason="r")
    assert await ids(fills) == ["fill-3", "z"]


async def test_a_fill_is_corrected_once_and_then_its_correction(fills: FillRepository) -> None:
    await fills.append([fill(1), fill(2)])
    await fills.correct("fill-1", by=RIGHT, reason="first", author="ann")
    second = dataclasses.replace(RIGHT, id="fill-1.3", price=Decimal("98"))
    with pytest.raises(
        AlreadyCorrected, match=r"corrected by 'fill-1.2' \('first', ann\).*correct\('fill-1.2'"
    ) as told:
        await fills.correct("fill-1", by=second, reason="second")
    assert (told.value.id, told.value.corrected_by) == ("fill-1", "fill-1.2")
    assert await ids(fills, corrected=False) == ["fill-1.2", "fill-1", "fill-2"]  # the third was not written
    await fills.correct("fill-1.2", by=second, reason="second")
    assert await ids(fills) == ["fill-1.3", "fill-2"]
    with pytest.raises(AlreadyCorrected, match="can stand in the place of another fill"):
        await fills.correct("fill-1.3", by=fill(1), reason="back")
    await fills.correct("fill-2", reason="bust")
    with pytest.raises(AlreadyCorrected, match=r"already withdrawn \('bust'.*append it"):
        await fills.correct("fill-2", by=fill(4), reason="no bust")
    assert (await fills.corrections())["fill_id"].to_list() == ["fill-1", "fill-1.2", "fill-2"]


async def test_a_correction_that_cannot_be_is_refused_whole(fills: FillRepository) -> None:
    await fills.append([fill(1), fill(2)])
    with pytest.raises(UnknownFill, match="no fill with id 'fill-9'"):
        await fills.correct("fill-9", by=RIGHT, reason="r")
    with pytest.raises(InputError, match=r"the id of the fill that it corrects.*id='fill-1.2'"):
        await fills.correct("fill-1", by=fill(1, price=Decimal(3)), reason="r")
    with pytest.raises(FillConflict, match="'fill-2' is already stored"):
        await fills.correct("fill-1", by=fill(2, price=Decimal(3)), reason="r")
    with pytest.raises(InputError, match="reason is empty"):
        await fills.correct("fill-1", by=RIGHT, reason="")
    with pytest.raises(InputError, match="author has 201 characters"):
        await fills.correct("fill-1", by=RIGHT, reason="r", author="a" * 201)
    with pytest.raises(InputError, match=r"a walle\.Fill, not dict"):
        await fills.correct("fill-1", by={"id": "x"}, reason="r")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match="fill_id=None"):
        await fills.correct(None, reason="r")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match="corrected='no'"):
        await fills.read(corrected="no")  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(UnknownRun):
        await fills.corrections("run-9")
    assert await ids(fills, corrected=False) == ["fill-1", "fill-2"]
    assert (await fills.corrections()).is_empty()


async def test_a_fill_that_is_there_already_can_be_the_correction(fills: FillRepository) -> None:
    await fills.append([fill(1), RIGHT])
    await fills.correct("fill-1", by=RIGHT, reason="the venue sent both")
    assert await ids(fills) == ["fill-1.2"]


async def test_of_two_corrections_at_once_one_holds(database: Database, fills: FillRepository) -> None:
    await fills.append(fill(1))
    rights = [dataclasses.replace(RIGHT, id=f"fill-1.{place}") for place in range(2, 6)]
    said = await asyncio.gather(
        *(fills.correct("fill-1", by=right, reason="r") for right in rights), return_exceptions=True
    )
    assert sorted(map(str, map(type, said))) == sorted(map(str, [type(None), *[AlreadyCorrected] * 3]))
    [held] = (await fills.corrections())["corrected_by"].to_list()
    assert await ids(fills, corrected=False) == sorted(["fill-1", held], key=lambda name: name != held)


async def test_two_fills_never_correct_each_other(fills: FillRepository) -> None:
    await fills.append([fill(1), fill(2)])
    said = await asyncio.gather(
        fills.correct("fill-1", by=fill(2), reason="r"),
        fills.correct("fill-2", by=fill(1), reason="r"),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Conflict) for one in said) == 1
    assert len(await ids(fills)) == 1


async def test_a_callers_transaction_takes_both_or_none(database: Database, fills: FillRepository) -> None:
    await fills.append(fill(1))
    async with database.session() as session:
        await fills.correct("fill-1", by=RIGHT, reason="r", session=session)
        assert (await fills.read(session=session))["id"].to_list() == ["fill-1.2"]
    assert await ids(fills, corrected=False) == ["fill-1"]


async def test_what_a_run_did_counts_corrected_fills_once(database: Database, fills: FillRepository) -> None:
    runs = RunRepository(database)
    await runs.save(run())
    await OrderRepository(database).save(order())
    bare: Fill = fill(2, run_id=None, symbol=None)
    await fills.append([fill(1), bare, fill(3)])
    await fills.correct("fill-1", by=RIGHT, reason="mistake", author="ann")
    await fills.correct("fill-2", reason="bust", author="ann")
    assert (await runs.read())["fills"].to_list() == [2]
    history = await runs.history("run-1")
    moments = history.filter(kind="fill").select("what", "fill_id", "order_id", "symbol", "price")
    assert moments.rows() == [
        ("filled", "fill-1.2", "order-1", "BTC/USD", Decimal(99)),
        ("filled", "fill-1", "order-1", "BTC/USD", Decimal("100.1")),
        ("filled", "fill-2", "order-1", "BTC/USD", Decimal("100.1")),
        ("filled", "fill-3", "order-1", "BTC/USD", Decimal("100.1")),
        ("corrected", "fill-1", "order-1", "BTC/USD", Decimal(99)),
        ("busted", "fill-2", "order-1", "BTC/USD", None),
    ]
    told = [json.loads(text) for text in history.filter(pl.col("what") == "corrected")["payload"]]
    assert told == [{"corrected_by": "fill-1.2", "reason": "mistake", "author": "ann"}]
    trades = await fills.trades("run-1")
    assert trades["quantity"].sum() == Decimal("0.000000000000000002")
    assert (await fills.costs("run-1"))["fill_id"].unique().sort().to_list() == ["fill-1.2", "fill-3"]


async def test_a_database_from_before_corrections_reads_as_it_did(database: Database, fills: FillRepository) -> None:
    await fills.append([fill(1), fill(2)])
    later = {"fill_corrections", "cash_corrections", "cash_flows", "corporate_actions", "instruments"}
    tables = {name: table for name, table in models.metadata.tables.items() if name not in later}
    columns = {name: frozenset(column.name for column in table.columns) for name, table in tables.items()}
    old = Database(database.config, read_only=True, columns=columns)
    try:
        reader, cash = FillRepository(old), CashFlowRepository(old)
        assert (await reader.read())["id"].to_list() == ["fill-1", "fill-2"]
        assert (await reader.corrections("run-1")).schema == FILL_CORRECTIONS
        assert (await RunRepository(old).history("run-1"))["fill_id"].to_list() == ["fill-1", "fill-2"]
        assert (await cash.read("run-1")).schema == CASH_FLOWS
        assert (await cash.corrections()).schema == CASH_CORRECTIONS
        assert (await CorporateActionRepository(old).read()).schema == CORPORATE_ACTIONS
        assert (await InstrumentRepository(old).read()).schema == INSTRUMENTS
    finally:
        await old.close()
