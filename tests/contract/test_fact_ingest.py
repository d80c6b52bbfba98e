from __future__ import annotations

import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import walle
from tests.samples import fill, order, run
from walle.database import Database
from walle.errors import InputError, InvalidRows
from walle.fills import fills_frame, orders_frame
from walle.frames import FILL_CONFLICTS, FILLS, ORDER_CONFLICTS, ORDERS, REJECTED_FILLS, REJECTED_ORDERS
from walle.repositories import FillRepository, OrderRepository, RunRepository


@pytest.fixture
def fills(database: Database) -> FillRepository:
    return FillRepository(database)


@pytest.fixture
def orders(database: Database) -> OrderRepository:
    return OrderRepository(database)


def theirs(**changes: Any) -> pl.DataFrame:
    """Fills as another program writes them: floats, naive times, names of its own, a column too many."""
    columns: dict[str, Any] = {
        "trade_id": ["t-1", "t-2", "t-3"],
        "order_id": ["order-1", "order-1", "order-2"],
        "pair": ["BTC/USD"] * 3,
        "side": ["buy", "buy", "sell"],
        "rate": [0.1, 1e-07, 3255.3],
        "amount": [0.30000000000000004, 2.0, 1e19],
        "time": [datetime(2025, 3, 1, 9), datetime(2025, 3, 1, 10), datetime(2025, 3, 1, 11)],
        "bot": ["x", "y", "z"],
    }
    return pl.DataFrame(columns | changes)


READING: dict[str, Any] = {
    "columns": {
        "trade_id": "id",
        "pair": "symbol",
        "rate": "price",
        "amount": "quantity",
        "time": "filled_at",
        "bot": None,
    },
    "timezone": "Europe/Berlin",
    "floats": "shortest",
    "run_id": "run-9",
}


async def test_another_programs_table_is_read_by_what_is_said_of_it(fills: FillRepository) -> None:
    report = await fills.ingest(theirs(), **READING)
    assert (report.inserted, report.rows) == (3, 3)
    stored = await fills.list("run-9")
    assert [str(one.price) for one in stored] == ["0.1", "1E-7", "3255.3"]
    assert [one.quantity for one in stored] == [Decimal("0.30000000000000004"), 2, Decimal(10) ** 19]
    assert [one.filled_at.hour for one in stored] == [8, 9, 10]  # Berlin is an hour ahead in March
    assert {(one.run_id, one.symbol) for one in stored} == {("run-9", "BTC/USD")}


@pytest.mark.parametrize("kind", ["pandas", "arrow", "lazy"])
async def test_a_frame_of_another_library_is_the_same(fills: FillRepository, kind: str) -> None:
    given = theirs()
    source: object = {"pandas": given.to_pandas, "arrow": given.to_arrow, "lazy": given.lazy}[kind]()
    assert isinstance(source, pd.DataFrame) is (kind == "pandas")
    assert (await fills.ingest(source, **READING)).inserted == 3
    assert (await fills.ingest(given, **READING)).duplicates == 3


async def test_the_report_tells_of_every_row_and_the_stored_fill_stays(fills: FillRepository) -> None:
    await fills.append([fill(1), fill(2)])
    other = dataclasses.replace(fill(2), price=Decimal("7"), commission=None)
    given = fills_frame([fill(1), other, fill(3), fill(3), fill(4, id="x" * 100)])
    bad = given.with_columns(side=pl.when(pl.col("id") == "x" * 100).then(pl.lit("hold")).otherwise("side"))
    report = await fills.ingest(bad, on_invalid="quarantine")
    assert (report.inserted, report.duplicates, report.conflicts, report.rejected) == (1, 2, 1, 1)
    assert report.rows == 5
    assert report.conflict_rows.schema == FILL_CONFLICTS
    assert report.rejected_rows.schema == REJECTED_FILLS
    conflict = report.conflict_rows.row(0, named=True)
    assert (conflict["id"], conflict["stored_price"], conflict["price"]) == ("fill-2", Decimal("100.1"), 7)
    assert conflict["stored_commission"] == Decimal("-0.25")
    assert conflict["commission"] is None
    refused = report.rejected_rows.row(0, named=True)
    assert (refused["row"], refused["side"], refused["price"]) == (4, None, Decimal("100.1"))
    assert refused["reason"] == "side: allowed are buy, sell"
    assert await fills.list() == [fill(1), fill(2), fill(3)]
    assert "1 conflicts (.conflict_rows), 1 rejected (.rejected_rows)" in repr(report)


CASES: list[tuple[str, Any, str]] = [
    ("id", None, "id: no value"),
    ("id", "", "id: it is empty or padded"),
    ("order_id", "a\0b", "order_id: a NUL character cannot be stored"),
    ("symbol", "x" * 129, "symbol: at most 128 characters are allowed"),
    ("price", "1e5", "price: at most 20 integer digits and 18 places fit"),
    ("price", "NaN", "price: at most 20 integer digits and 18 places fit"),
    ("quantity", "0", "quantity: it must be above 0"),
    ("quantity", "-1", "quantity: it must be above 0"),
    ("liquidity", "both", "liquidity: allowed are maker, taker"),
]


@pytest.mark.parametrize(("column", "value", "reason"), CASES)
async def test_a_row_that_is_no_fill_has_its_reason(
    fills: FillRepository, column: str, value: Any, reason: str
) -> None:
    texts = fills_frame([fill(1), fill(2), fill(3)]).with_columns(pl.col("price", "quantity", "commission").cast(str))
    new = pl.when(pl.col("id") == "fill-2").then(pl.lit(value, dtype=pl.String)).otherwise(column)
    given = texts.with_columns(new.alias(column))
    report = await fills.ingest(given, on_invalid="quarantine")
    assert (report.inserted, report.rejected) == (2, 1)
    assert report.rejected_rows.select("row", "reason").rows() == [(1, reason)]
    with pytest.raises(InvalidRows, match="1 of 3 rows are no fills, so nothing was written") as caught:
        await fills.ingest(given)
    assert caught.value.rejected_rows.height == 1
    assert sum(caught.value.counts.values()) == 1
    assert len(await fills.list()) == 2


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e20, 1.2345678901234567e-05, -0.5])
async def test_a_float_that_is_no_exact_decimal_is_refused(fills: FillRepository, value: float) -> None:
    report = await fills.ingest(theirs(amount=[1.0, value, 1.5]), **READING, on_invalid="quarantine")
    assert (report.inserted, report.rejected) == (2, 1)
    assert report.rejected_rows["row"].to_list() == [1]


async def test_of_an_id_with_several_contents_none_is_taken(fills: FillRepository) -> None:
    given = [fill(1), dataclasses.replace(fill(1), price=Decimal("3")), fill(2)]
    report = await fills.ingest(given, on_invalid="quarantine")
    assert (report.inserted, report.rejected) == (1, 2)
    assert report.rejected_rows["reason"].unique().to_list() == [
        "id: it stands here with several contents; give one only"
    ]


async def test_what_the_caller_says_must_fit(fills: FillRepository) -> None:
    bad: list[tuple[object, dict[str, Any], str]] = [
        (theirs(), {}, "have no column 'trade_id'.*Allowed: id,"),
        (theirs(), READING | {"floats": "refuse"}, "never taken from floats.*floats='shortest'"),
        (theirs(), READING | {"floats": "yes"}, "floats='yes' is not 'refuse' or 'shortest'"),
        (theirs(), READING | {"on_invalid": "skip"}, "on_invalid='skip' is not"),
        (theirs(), READING | {"timezone": None}, "has no time zone"),
        (theirs(), READING | {"timezone": "Mars"}, "timezone='Mars'.*Give an IANA zone"),
        (theirs(), READING | {"columns": {"nothing": "id"}}, "names 'nothing', which the source does not have"),
        (theirs(), READING | {"columns": ["id"]}, "is not a mapping"),
        (theirs(), READING | {"run_id": ""}, "run_id"),
        ([fill(1)], {"run_id": "run-2"}, "rows of run 'run-1'"),
        ([fill(1)], {"timezone": "UTC"}, "there are none. Leave it out"),
        (fills_frame([fill(1)]).drop("price"), {}, "lacks 'price'"),
        ("fills.csv", {}, r"not the path 'fills\.csv': polars\.read_csv"),
        ([order(1)], {}, "not as Order"),
    ]
    for source, said, message in bad:
        with pytest.raises(InputError, match=message):
            await fills.ingest(source, **said)
    assert await fills.list() == []


async def test_a_frame_without_rows_is_taken(fills: FillRepository, orders: OrderRepository) -> None:
    assert (await fills.ingest(pl.DataFrame(schema=FILLS))).rows == 0
    assert (await orders.ingest(pl.DataFrame(schema=ORDERS))).rows == 0


async def test_orders_go_on_and_never_back(orders: OrderRepository) -> None:
    await orders.save([order(1), order(2, filled_qty=Decimal(1)), order(3, status="filled"), order(4)])
    given = [
        order(1, status="filled", filled_qty=Decimal("2.5")),
        order(2),
        order(3, status="cancelled"),
        order(4, symbol="ETH/USD"),
        order(5, client_order_id="client-1"),
        order(6),
        order(6),
    ]
    report = await orders.ingest(given)
    assert (report.inserted, report.updated, report.duplicates, report.conflicts) == (1, 1, 1, 4)
    assert report.conflict_rows.schema == ORDER_CONFLICTS
    other = "it is another order: client_order_id, run_id, symbol, side or account differ"
    assert report.conflict_rows.select("id", "stored_status", "status", "reason").rows() == [
        ("order-2", "accepted", "accepted", "a larger quantity is already filled"),
        ("order-3", "filled", "cancelled", "its status is already final"),
        ("order-4", "accepted", "accepted", other),
        ("order-5", None, "accepted", "its client_order_id belongs to another order"),
    ]
    assert await orders.get("order-1") == given[0]
    assert await orders.get("order-2") == order(2, filled_qty=Decimal(1))
    again = await orders.ingest(given)
    assert (again.inserted, again.updated, again.duplicates, again.conflicts) == (0, 0, 3, 4)


async def test_a_bad_order_is_refused_with_its_reason(orders: OrderRepository) -> None:
    frame = orders_frame([order(1), order(2)]).with_columns(status=pl.Series(["done", "accepted"]))
    report = await orders.ingest(frame.drop("filled_qty", "time_in_force"), on_invalid="quarantine")
    assert report.rejected_rows.schema == REJECTED_ORDERS
    assert report.rejected_rows["reason"][0].startswith("status: allowed are pending,")
    assert await orders.list() == [order(2)]


async def test_many_conflicting_orders_are_told_apart_from_the_good_ones(orders: OrderRepository) -> None:
    old = [order(number, status="filled") for number in range(1_200)]
    await orders.save(old)
    given = [dataclasses.replace(one, status="cancelled") for one in old] + [order(9_000 + n) for n in range(10)]
    report = await orders.ingest(given)
    assert (report.inserted, report.updated, report.conflicts) == (10, 0, 1_200)


async def test_a_report_has_the_columns_of_its_noun_whatever_came(
    fills: FillRepository, orders: OrderRepository
) -> None:
    sources = [[order(1)], [order(1)], [order(1, status="partial")], []]
    told = [await orders.ingest(source) for source in sources]
    assert [report.updated for report in told] == [0, 0, 1, 0]
    for report in [*told, walle.IngestReport.total(told), walle.IngestReport.total(told[3:])]:
        assert report.rejected_rows.schema == REJECTED_ORDERS
        assert report.conflict_rows.schema == ORDER_CONFLICTS
    told = [await fills.ingest(source) for source in ([fill(1)], [fill(1)], [])]
    for report in [*told, walle.IngestReport.total(told), walle.IngestReport.total(told[2:])]:
        assert report.rejected_rows.schema == REJECTED_FILLS
        assert report.conflict_rows.schema == FILL_CONFLICTS


async def test_a_total_has_the_sum_of_every_count_and_all_the_rows(
    fills: FillRepository, orders: OrderRepository
) -> None:
    await orders.save([order(1), order(2, status="filled")])
    bad = orders_frame([order(3), order(4)]).with_columns(side=pl.Series(["hold", "buy"]))
    parts = [
        await orders.ingest([order(1, status="partial"), order(2)]),
        await orders.ingest(bad, on_invalid="quarantine"),
        await orders.ingest([order(1, status="filled"), order(4)]),
    ]
    total = walle.IngestReport.total(parts)
    assert (total.inserted, total.updated, total.duplicates, total.conflicts, total.rejected) == (1, 2, 1, 1, 1)
    assert total.rows == 6
    assert "2 updated" in repr(total)
    assert total.conflict_rows["id"].to_list() == ["order-2"]
    assert total.rejected_rows["id"].to_list() == ["order-3"]
    assert (total.rejected_rows.schema, total.conflict_rows.schema) == (REJECTED_ORDERS, ORDER_CONFLICTS)
    bad_fills = fills_frame([fill(1), fill(2)]).with_columns(side=pl.Series(["hold", "buy"]))
    both = walle.IngestReport.total([total, await fills.ingest(bad_fills, on_invalid="quarantine")])
    assert (both.rows, both.updated, both.rejected) == (8, 2, 2)
    assert both.rejected_rows.select("id", "qty", "quantity").rows() == [
        ("order-3", Decimal("2.5"), None),
        ("fill-1", None, Decimal("0.000000000000000001")),
    ]


async def test_a_run_without_orders_and_fills_has_reports_with_their_columns(database: Database) -> None:
    report = await RunRepository(database).ingest(run())
    assert (report.orders.rows, report.fills.rows) == (0, 0)
    assert report.orders.rejected_rows.schema == REJECTED_ORDERS
    assert report.orders.conflict_rows.schema == ORDER_CONFLICTS
    assert report.fills.rejected_rows.schema == REJECTED_FILLS
    assert report.fills.conflict_rows.schema == FILL_CONFLICTS


def test_the_facade_takes_the_same(store: walle.Store) -> None:
    assert store.fills.ingest(theirs(), **READING).inserted == 3
    assert store.orders.ingest(orders_frame([order(1)])).inserted == 1
    assert_frame_equal(store.orders.read().drop("recorded_at"), orders_frame([order(1)]))
    assert store.fills.read("run-9").height == 3
