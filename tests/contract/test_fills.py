from __future__ import annotations

import dataclasses
from datetime import timedelta
from decimal import Decimal

import polars as pl
import pytest

from tests.samples import START, fill, order
from walle.database import Database
from walle.errors import FillConflict, InputError, UnknownFill, UnknownRun
from walle.fills import WriteReport
from walle.frames import FILLS
from walle.repositories import FillRepository, OrderRepository


@pytest.fixture
def repository(database: Database) -> FillRepository:
    return FillRepository(database)


BARE = fill(
    2, run_id=None, symbol=None, commission=None, commission_currency=None, liquidity=None, exchange_fill_id=None
)


async def test_a_fill_comes_back_equal(repository: FillRepository) -> None:
    assert await repository.append([fill(), BARE]) == WriteReport(inserted=2)
    assert await repository.get("fill-1") == fill()
    assert await repository.get("fill-2") == BARE
    with pytest.raises(UnknownFill, match="no fill with id 'fill-3'") as caught:
        await repository.get("fill-3")
    assert caught.value.fill_id == "fill-3"
    assert await repository.list(order_id="order-1") == [fill(), BARE]
    frame = await repository.read()
    assert frame.schema == FILLS
    assert frame["quantity"][0] == Decimal("0.000000000000000001")


async def test_the_same_fill_again_is_a_no_op(repository: FillRepository) -> None:
    await repository.append(fill())
    assert await repository.append([fill(), fill(3), fill(3)]) == WriteReport(inserted=1, unchanged=2)
    same_number = dataclasses.replace(fill(), price=Decimal("100.1000"))
    assert await repository.append(same_number) == WriteReport(unchanged=1)


async def test_the_same_id_with_another_content_raises_and_nothing_is_written(repository: FillRepository) -> None:
    await repository.append(fill())
    with pytest.raises(FillConflict, match=r"price is 100.1, given 100.2") as caught:
        await repository.append([fill(7), fill(price=Decimal("100.2"), commission=None)])
    assert caught.value.fill_id == "fill-1"
    assert caught.value.differences == {"price": ("100.1", "100.2"), "commission": ("-0.25", None)}
    assert await repository.list() == [fill()]
    with pytest.raises(FillConflict, match="fill-8"):
        await repository.append([fill(8), fill(8, side="sell")])


async def test_a_run_has_its_fills_also_by_their_orders(database: Database, repository: FillRepository) -> None:
    await OrderRepository(database).save([order(), order(2, run_id="run-2", symbol="ETH/USD")])
    orphan = fill(4, order_id="gone", run_id=None, symbol=None)
    await repository.append([fill(), BARE, fill(3, order_id="order-2", run_id=None, symbol=None), orphan])
    frame = await repository.read("run-1")
    assert frame["id"].to_list() == ["fill-1", "fill-2"]
    assert frame["run_id"].to_list() == ["run-1", "run-1"]
    assert frame["symbol"].to_list() == ["BTC/USD", "BTC/USD"]
    assert await repository.list("run-1") == [fill(), BARE]
    assert (await repository.read("run-2"))["symbol"].to_list() == ["ETH/USD"]
    everything = await repository.read()
    assert everything["id"].to_list() == ["fill-1", "fill-2", "fill-3", "fill-4"]
    assert everything["run_id"].to_list() == ["run-1", "run-1", "run-2", None]
    assert (await repository.read(symbol="ETH/USD"))["id"].to_list() == ["fill-3"]
    assert (await repository.read(order_id="gone")).height == 1
    span = await repository.read(start=START + timedelta(seconds=2), end=START + timedelta(seconds=4))
    assert span["id"].to_list() == ["fill-2", "fill-3"]
    assert [one.id for one in await repository.list(symbol="ETH/USD")] == ["fill-3"]
    assert [one.id for one in await repository.list(symbol="BTC/USD")] == ["fill-1", "fill-2"]
    listed = await repository.list(start=START + timedelta(seconds=2), end=START + timedelta(seconds=4))
    assert [one.id for one in listed] == ["fill-2", "fill-3"]
    assert await repository.list("run-2", symbol="BTC/USD") == []
    with pytest.raises(UnknownRun, match="did you mean 'run-"):
        await repository.list("run-11")


async def test_a_run_without_fills_gives_an_empty_typed_frame(database: Database, repository: FillRepository) -> None:
    await OrderRepository(database).save(order())
    assert (await repository.read("run-1")).schema == FILLS
    with pytest.raises(UnknownRun, match="'run-1'"):
        await repository.read("run-11")


async def test_a_frame_is_as_good_as_records(repository: FillRepository) -> None:
    await repository.append([fill(), BARE])
    frame = await repository.read()
    renamed = frame.with_columns(id=pl.col("id") + "b")
    assert await repository.append(renamed) == WriteReport(inserted=2)
    assert await repository.get("fill-1b") == dataclasses.replace(fill(), id="fill-1b")
    few = renamed.select("id", "order_id", "side", "price", "quantity", "filled_at").with_columns(id=pl.col("id") + "c")
    assert await repository.append(few) == WriteReport(inserted=2)
    assert await repository.append(few.clear()) == WriteReport()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (pl.col("price").cast(pl.Float64), "never taken from floats"),
        (pl.lit("1.0000000000000000001").alias("price"), "18 places fit"),
        (pl.lit("123456789012345678901").alias("price"), "20 integer digits"),
        (pl.lit("-1").alias("quantity"), "above 0"),
        (pl.lit("hold").alias("side"), "allowed are buy, sell"),
        (pl.lit("a\0b").alias("order_id"), "NUL"),
        (pl.lit(None, dtype=pl.String).alias("order_id"), "no value in row 0"),
        (pl.col("filled_at").dt.replace_time_zone(None), "no time zone"),
        (pl.lit("x").alias("colour"), "no column 'colour'"),
    ],
)
async def test_a_bad_frame_names_column_and_rule(repository: FillRepository, change: pl.Expr, message: str) -> None:
    await repository.append(fill())
    frame = (await repository.read()).with_columns(id=pl.lit("new"))
    with pytest.raises(InputError, match=message):
        await repository.append(frame.with_columns(change))
    assert (await repository.read()).height == 1


@pytest.mark.slow
async def test_many_fills_go_in_at_once_and_are_guarded_after(database: Database, repository: FillRepository) -> None:
    await repository.append(fill())
    one = await repository.read()
    many = pl.concat([one.with_columns(id=pl.lit(f"part-{part}-")) for part in range(7)])
    many = many.select(pl.all().repeat_by(10_000).explode()).with_columns(
        id=pl.col("id") + pl.int_range(pl.len()).cast(pl.String)
    )
    assert await repository.append(pl.concat([one, many])) == WriteReport(inserted=70_000, unchanged=1)
    assert (await repository.read()).height == 70_001
    with pytest.raises(FillConflict):
        await repository.append(many.with_columns(side=pl.lit("sell")))
    async with database.engine.connect() as connection:
        assert await connection.run_sync(database.dialect.missing_guards) == []
