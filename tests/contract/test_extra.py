"""What an engine says beside a fill or an order: kept as JSON, compared, and given back."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tests.raw import Raw
from tests.samples import fill, order
from walle.database import Database
from walle.errors import Conflict, FillConflict, InputError, InvalidRows
from walle.fills import fills_frame, orders_frame
from walle.records import Fill, Order
from walle.repositories import FillRepository, OrderRepository

SAID: dict[str, Any] = {
    "tags": ["entry", None, "x"],
    "deep": {"b": {"d": 1, "c": 2.5}, "a": '漢字 😀 "quoted" \\ \' %'},
    "big": 12345678901234567890,
    "small": 1e-07,
    "large": 1e22,
    "none": None,
    "yes": True,
    "": "",
}


@pytest.fixture
def fills(database: Database) -> FillRepository:
    return FillRepository(database)


@pytest.fixture
def orders(database: Database) -> OrderRepository:
    return OrderRepository(database)


async def test_what_is_said_beside_a_fill_is_given_back(fills: FillRepository) -> None:
    told = [fill(1, extra=SAID), fill(2, extra={}), fill(3)]
    await fills.append(told)
    assert await fills.list() == told
    assert (await fills.get("fill-1")).extra == SAID
    frame = await fills.read()
    assert frame.schema["extra"] == pl.String
    assert [None if text is None else json.loads(text) for text in frame["extra"]] == [SAID, {}, None]
    assert isinstance(json.loads(frame["extra"][0])["large"], float)


async def test_an_order_has_an_account_and_what_is_said_beside_it(orders: OrderRepository) -> None:
    told = [order(1, account="A-1", extra=SAID), order(2)]
    await orders.save(told)
    assert await orders.list() == told
    assert await orders.get("order-1") == told[0]
    frame = await orders.read()
    assert frame["account"].to_list() == ["A-1", None]
    assert json.loads(frame["extra"][0]) == SAID


async def test_the_same_fill_with_another_extra_is_another_fill(fills: FillRepository) -> None:
    await fills.append([fill(1, extra={"a": 1, "b": {"c": 2, "d": 3}}), fill(2)])
    turned = {"b": {"d": 3, "c": 2}, "a": 1}
    assert (await fills.append(fill(1, extra=turned))).unchanged == 1
    assert (await fills.append(fill(1))).unchanged == 1  # which says nothing
    for number, other in ((1, {"a": 1}), (1, {"a": 1.0, "b": {"c": 2, "d": 3}}), (1, {}), (2, {"a": 1})):
        with pytest.raises(FillConflict, match="extra") as told:
            await fills.append(fill(number, extra=other))
        assert set(told.value.differences) == {"extra"}
        report = await fills.ingest([fill(number, extra=other)])
        assert report.conflicts == 1
        assert json.loads(report.conflict_rows["extra"].item()) == other
    assert [one.extra for one in await fills.list()] == [{"a": 1, "b": {"c": 2, "d": 3}}, None]


async def test_two_extras_in_one_call_are_two_contents(fills: FillRepository) -> None:
    with pytest.raises(FillConflict, match="extra"):
        await fills.append([fill(1, extra={"a": 1}), fill(1, extra={"a": 2})])
    assert (await fills.append([fill(1, extra={"a": 1, "b": 2}), fill(1, extra={"b": 2, "a": 1})])).inserted == 1


async def test_a_snapshot_that_says_nothing_leaves_what_was_said(orders: OrderRepository) -> None:
    await orders.save(order(account="A", extra={"a": 1, "b": 2}))
    assert (await orders.save(order())).unchanged == 1
    assert (await orders.save(order(extra={"b": 2, "a": 1}))).unchanged == 1
    assert (await orders.save(order(filled_qty=Decimal(1)))).updated == 1
    now = await orders.get("order-1")
    assert (now.account, now.extra) == ("A", {"a": 1, "b": 2})
    assert now.filled_qty == 1
    assert (await orders.save(order(filled_qty=Decimal(1), extra={"a": 1.0}))).updated == 1
    assert (await orders.save(order(filled_qty=Decimal(1), extra={"a": 1}))).updated == 1
    assert (await orders.ingest([order(filled_qty=Decimal(1), extra={})])).updated == 1
    now = await orders.get("order-1")
    assert (now.account, now.extra) == ("A", {})


async def test_an_order_does_not_change_its_account(orders: OrderRepository) -> None:
    await orders.save([order(1, account="A"), order(2)])
    with pytest.raises(Conflict, match="account is 'A', given 'B'"):
        await orders.save(order(1, account="B"))
    with pytest.raises(Conflict, match=r"another order: symbol is 'BTC/USD', given 'X'\."):
        await orders.save(order(1, symbol="X"))  # and no word of the account, which it does not name
    report = await orders.ingest([order(1, account="B"), order(2, account="B")])
    assert (report.conflicts, report.updated) == (1, 1)
    assert report.conflict_rows.select("stored_account", "account").row(0) == ("A", "B")
    assert [one.account for one in await orders.list()] == ["A", "B"]


BAD: dict[str, tuple[object, str]] = {
    "NaN": ({"a": float("nan")}, "NaN"),
    "infinity": ({"a": [float("inf")]}, "infinities|inf"),
    "NUL": ({"a": "x\0y"}, "NUL"),
    "NUL in a key": ({"x\0y": 1}, "NUL"),
    "surrogate": ({"a": "\ud800"}, "surrogate"),
    "date": ({"a": datetime(2025, 1, 1, tzinfo=UTC)}, "Write it as text"),
    "decimal": ({"a": Decimal(1)}, "Write it as text"),
    "key": ({1: 2}, "keys are texts"),
    "list": ([1], "list, not a dict"),
    "text": ('{"a": 1}', "str, not a dict"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_not_every_store_can_hold_is_no_extra(kind: str) -> None:
    value, told = BAD[kind]
    for make in (fill, order):
        with pytest.raises(InputError, match=told) as error:
            make(extra=value)
        assert ".extra" in str(error.value)


BAD_TEXTS = [
    *('{"a": NaN}', '{"a": [-Infinity]}', '{"a": "\\u0000"}', '{"a": "\\ud800"}', "[1]", "1", '"x"', "{", "", "x"),
    '{"a":' * 300 + "1" + "}" * 300,
    '{"a":' * 100_000,
]


@pytest.mark.parametrize("text", BAD_TEXTS, ids=range(len(BAD_TEXTS)))
async def test_a_bad_text_in_a_frame_is_named(fills: FillRepository, orders: OrderRepository, text: str) -> None:
    extra = pl.Series("extra", ['{"a": 1}', text])
    for frame in (
        fills_frame([fill(1), fill(2)]).with_columns(extra),
        orders_frame([order(1), order(2)]).with_columns(extra),
    ):
        work = fills if "price" in frame.columns else orders
        write = work.append if isinstance(work, FillRepository) else work.save
        with pytest.raises(InputError, match=r"column 'extra' of (fills|orders), row 1: .*Nothing was written\."):
            await write(frame)
        with pytest.raises(InvalidRows, match="extra: it is no JSON object that every store can hold: 1"):
            await work.ingest(frame)
        report = await work.ingest(frame, on_invalid="quarantine")
        assert (report.inserted, report.rejected) == (1, 1)
        assert report.rejected_rows.select("row", "extra").row(0) == (1, None)


async def test_a_column_of_another_kind_is_refused(fills: FillRepository) -> None:
    for values in ([1, 2], [["a"], ["b"]], [True, False]):
        frame = fills_frame([fill(1), fill(2)]).with_columns(pl.Series("extra", values))
        with pytest.raises(InputError, match="neither JSON texts nor structs"):
            await fills.append(frame)


async def test_texts_and_structs_are_taken(fills: FillRepository) -> None:
    base = fills_frame([fill(1), fill(2), fill(3)])
    texts = pl.Series("extra", ['{"b": 1,\n "a": 2, "n": null}', "null", None])
    assert (await fills.ingest(base.with_columns(texts))).inserted == 3
    assert [one.extra for one in await fills.list()] == [{"a": 2, "b": 1, "n": None}, None, None]
    given = [{"a": 1, "tags": ["x", None]}, {"b": {"c": None, "d": 2.5}}, None]
    kind = pl.Struct({"a": pl.Int64, "tags": pl.List(pl.String), "b": pl.Struct({"c": pl.Int64, "d": pl.Float64})})
    structs = base.with_columns(pl.Series("extra", given, dtype=kind), id=pl.format("s{}", "id"))
    assert (await fills.append(structs)).inserted == 3
    stored = [one.extra for one in await fills.list() if one.id.startswith("s")]
    assert stored == [{"a": 1, "tags": ["x", None]}, {"b": {"d": 2.5}}, None]  # a struct has every field in every row
    assert (await fills.append(structs)).unchanged == 3
    assert (await fills.append([fill(1, id="sfill-1", extra=given[0])])).unchanged == 1


async def test_structs_of_what_is_no_json_are_refused(fills: FillRepository) -> None:
    base = fills_frame([fill(1), fill(2)])
    for value, told in ((float("nan"), "NaN"), (Decimal("1.5"), "Write it as text"), ("x\0", "NUL")):
        frame = base.with_columns(pl.Series("extra", [{"a": value}, {"a": value}]))
        with pytest.raises(InputError, match=told):
            await fills.append(frame)
        assert (await fills.ingest(frame, on_invalid="quarantine")).rejected == 2


async def test_a_frame_of_pandas_has_dicts(fills: FillRepository) -> None:
    given = pd.DataFrame(
        {
            "trade": ["a", "b"],
            "order_id": ["order-1"] * 2,
            "side": ["buy"] * 2,
            "price": ["1.5", "2"],
            "quantity": [1, 2],
            "filled_at": pd.to_datetime(["2025-03-01", "2025-03-02"], utc=True),
            "info": [{"fee": 0.25}, {"maker": True}],
        }
    )
    assert (await fills.ingest(given, columns={"trade": "id", "info": "extra"})).inserted == 2
    assert [one.extra for one in await fills.list()] == [{"fee": 0.25}, {"maker": True}]


def test_a_record_with_an_extra_has_a_hash_and_equals_its_like() -> None:
    one, same, other = fill(extra={"a": 1}), fill(extra={"a": 1}), fill(extra={"a": 2})
    assert {one, same} == {one}
    assert one != other
    assert len({order(extra={"a": 1}), order(extra={"a": 1})}) == 1
    assert dataclasses.replace(one, extra={"n": np.float64(0.5)}).extra == {"n": 0.5}
    assert (Fill.__dataclass_fields__["extra"].default, Order.__dataclass_fields__["account"].default) == (None, None)


async def test_the_json_of_another_program_is_read(fills: FillRepository, database: Database, address: str) -> None:
    await fills.append(fill(1))
    raw = Raw(address)
    columns = "id, order_id, price, quantity, side, filled_at, extra"
    many = "[" * 300 + "]" * 300
    for number, text in enumerate(("[1, 2]", '{"b": 1, "a": 1e400}', many), 7):
        raw.run(
            f"INSERT INTO fills ({columns}) SELECT '{number}', order_id, price, quantity, side, filled_at, '{text}' "
            "FROM fills WHERE id = 'fill-1'"
        )
    assert (await fills.read()).height == 4
    listed: object = (await fills.get("7")).extra
    assert listed == [1, 2]  # as it was written
    assert (await fills.get("8")).extra == {"a": 10**400, "b": 1}
