from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import walle
from walle.database import Database
from walle.errors import ActionConflict, AlreadyCorrected, InputError, UnknownAction
from walle.fills import WriteReport
from walle.frames import CORPORATE_ACTIONS
from walle.records import CorporateAction
from walle.repositories import CorporateActionRepository


@pytest.fixture
def actions(database: Database) -> CorporateActionRepository:
    return CorporateActionRepository(database)


SPLIT = CorporateAction(
    id="s-1", symbol="AAPL", kind="split", ex_date=date(2020, 8, 31), ratio=Decimal(4), source="exchange"
)
DIVIDEND = CorporateAction(
    id="d-1",
    symbol="AAPL",
    kind="dividend",
    ex_date=datetime(2020, 8, 7, 9, 30, tzinfo=ZoneInfo("America/New_York")),
    amount=Decimal("0.205"),
    currency="USD",
    announced_at=datetime(2020, 7, 30, tzinfo=UTC),
)


def correction(action: CorporateAction, **changes: Any) -> CorporateAction:
    changed = {"id": f"{action.id}.2", "supersedes": action.id, "reason": "restated"} | changes
    return dataclasses.replace(action, **changed)


async def test_actions_come_back_with_their_ex_date_as_a_date(actions: CorporateActionRepository) -> None:
    assert await actions.append([SPLIT, DIVIDEND]) == WriteReport(inserted=2)
    frame = await actions.read()
    assert frame.schema == CORPORATE_ACTIONS
    assert frame["ex_date"].to_list() == [datetime(2020, 8, 7, tzinfo=UTC), datetime(2020, 8, 31, tzinfo=UTC)]
    assert frame["ratio"].to_list() == [None, 4]
    assert frame["amount"].to_list() == [Decimal("0.205"), None]
    assert frame["recorded_at"].null_count() == 0
    assert (await actions.read("AAPL", start="2020-08-07", end="2020-08-31"))["id"].to_list() == ["d-1"]
    assert (await actions.read(["MSFT"])).schema == CORPORATE_ACTIONS


async def test_the_same_again_is_a_no_op_and_another_content_a_conflict(actions: CorporateActionRepository) -> None:
    await actions.append(SPLIT)
    assert await actions.append([SPLIT, DIVIDEND, DIVIDEND]) == WriteReport(inserted=1, unchanged=2)
    assert await actions.append(await actions.read()) == WriteReport(unchanged=2)
    with pytest.raises(ActionConflict, match=r"'s-1' .* ratio is 4, given 5.*supersedes=") as told:
        await actions.append(dataclasses.replace(SPLIT, ratio=Decimal(5)))
    assert told.value.action_id == "s-1"


async def test_an_action_that_another_one_supersedes_is_left_out(actions: CorporateActionRepository) -> None:
    right = correction(SPLIT, ratio=Decimal(5))
    await actions.append(SPLIT)
    assert await actions.append(right) == WriteReport(inserted=1)
    assert await actions.append([SPLIT, right]) == WriteReport(unchanged=2)
    assert (await actions.read())["id"].to_list() == ["s-1.2"]
    assert (await actions.read(superseded=True))["id"].to_list() == ["s-1", "s-1.2"]
    again = correction(right, id="s-1.3", ratio=Decimal(6))
    await actions.append(again)
    assert (await actions.read())["ratio"].to_list() == [6]
    with pytest.raises(AlreadyCorrected, match=r"'s-1' is already corrected by 's-1.2'.*supersedes='s-1.2'"):
        await actions.append(correction(SPLIT, id="s-1.9"))
    assert (await actions.read(superseded=True)).height == 3


async def test_a_correction_of_what_is_not_there_is_refused(actions: CorporateActionRepository) -> None:
    with pytest.raises(
        UnknownAction, match=r"no corporate action with id 's-1', which 's-1.2' would supersede"
    ) as told:
        await actions.append([DIVIDEND, correction(SPLIT)])
    assert told.value.action_id == "s-1"
    with pytest.raises(InputError, match=r"'s-1.2' supersedes 's-1', which comes after it"):
        await actions.append([correction(SPLIT), SPLIT])
    with pytest.raises(InputError, match="'s-1' supersedes itself"):
        await actions.append(dataclasses.replace(SPLIT, supersedes="s-1", reason="r"))
    with pytest.raises(AlreadyCorrected):
        await actions.append([SPLIT, correction(SPLIT), correction(SPLIT, id="s-1.3")])
    assert (await actions.read(superseded=True)).is_empty()
    assert await actions.append([SPLIT, correction(SPLIT)]) == WriteReport(inserted=2)


async def test_of_two_corrections_at_once_one_holds(actions: CorporateActionRepository) -> None:
    await actions.append(SPLIT)
    said = await asyncio.gather(
        *(actions.append(correction(SPLIT, id=name)) for name in ("a", "b", "c")), return_exceptions=True
    )
    assert sum(isinstance(one, AlreadyCorrected) for one in said) == 2
    assert (await actions.read()).height == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ratio": "0"}, "it must be above 0"),
        ({"ratio": None}, "a split has a ratio"),
        ({"amount": "1"}, "neither has the other's"),
        ({"kind": "merger"}, "allowed are split, dividend"),
        ({"kind": "dividend"}, "a dividend an amount and a currency"),
        ({"kind": "dividend", "ratio": None, "amount": "0", "currency": "USD"}, "the amount of a dividend is above 0"),
        ({"supersedes": "s-0"}, "an action that supersedes another has a reason"),
        ({"ex_date": None}, "no value in row 0"),
        ({"ex_date": "2020-08-31"}, "not a datetime"),
    ],
)
async def test_a_row_that_is_no_action_is_said(
    actions: CorporateActionRepository, changes: dict[str, Any], message: str
) -> None:
    row = {"id": "s-1", "symbol": "AAPL", "kind": "split", "ex_date": date(2020, 8, 31), "ratio": "4"}
    good = pl.DataFrame([row])
    assert await actions.append(good) == WriteReport(inserted=1)
    with pytest.raises(InputError, match=message):
        await actions.append(pl.DataFrame([row | {"id": "s-2"} | changes]))
    assert (await actions.read())["ex_date"].to_list() == [datetime(2020, 8, 31, tzinfo=UTC)]


def test_a_record_that_is_no_action_is_said() -> None:
    with pytest.raises(InputError, match=r"CorporateAction.ratio=0 must be above 0"):
        dataclasses.replace(SPLIT, ratio=Decimal(0))
    with pytest.raises(InputError, match="has no time zone"):
        dataclasses.replace(SPLIT, announced_at=datetime(2020, 7, 30))


def test_a_store_has_them_too(store: walle.Store) -> None:
    assert store.actions.append(SPLIT).inserted == 1
    assert store.actions.read("AAPL").height == 1
    assert repr(store.actions) == "store.actions: append, read"
    with pytest.raises(InputError, match="superseded=1"):
        store.actions.read(superseded=1)  # type: ignore[arg-type]  # wrong on purpose
