"""Writers of versions hold off one another where they correct the same series, and nowhere else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from sqlalchemy.ext.asyncio import AsyncSession

import walle
from tests.samples import START, bars
from walle.database import Database
from walle.dialects import postgresql
from walle.repositories import BarRepository

CORRECT: dict[str, Any] = {"on_conflict": "correct", "reason": "restated"}
SOON = "options=-c%20lock_timeout%3D5s"
"""A transaction that waits fails, rather than that the test hangs."""


def given(*symbols: str, volume: float = 0.0) -> pl.DataFrame:
    parts = [
        bars(5).select(pl.lit(name).alias("symbol"), pl.lit("1m").alias("timeframe"), pl.all()) for name in symbols
    ]
    return pl.concat(parts).with_columns(volume=pl.lit(volume))


@asynccontextmanager
async def two(address: str) -> AsyncIterator[tuple[Database, Database]]:
    first, second = Database(f"{address}?{SOON}"), Database(f"{address}?{SOON}")
    await BarRepository(first).ingest(given("A", "B", "C"))
    yield first, second
    await first.close()
    await second.close()


async def correct(session: AsyncSession, database: Database, *symbols: str, volume: float) -> int:
    report = await BarRepository(database).ingest(given(*symbols, volume=volume), **CORRECT, session=session)
    return report.corrected


async def volumes(database: Database) -> dict[str, float]:
    read = await BarRepository(database).read(["A", "B", "C"], "1m")
    return dict(read.select("symbol", "volume").unique().iter_rows())


async def test_open_transactions_that_correct_different_series_do_not_wait(postgres_address: str) -> None:
    async with two(postgres_address) as (first, second), first.session() as one, second.session() as other:
        for round_ in (1.0, 2.0):
            assert await correct(one, first, "A", volume=round_) == 5
            assert await correct(other, second, "B", volume=round_) == 5
        left, right = BarRepository(first), BarRepository(second)
        assert await left.withdraw("A", "1m", START, START + timedelta(minutes=2), "bad", session=one) == 2
        assert await right.withdraw("B", "1m", START, START + timedelta(minutes=1), "bad", session=other) == 1
        await one.commit()
        await other.commit()
        assert (await volumes(first)) == {"A": 2.0, "B": 2.0, "C": 0.0}
        assert (await left.read("A", "1m")).height == 3 and (await left.read("B", "1m")).height == 4


async def test_of_transactions_that_wait_for_one_another_one_says_so(postgres_address: str) -> None:
    async with two(postgres_address) as (first, second):
        both = asyncio.Barrier(2)

        async def work(database: Database, names: str, volume: float) -> int:
            async with database.session() as session:
                corrected = await correct(session, database, names[0], volume=volume)
                await both.wait()
                corrected += await correct(session, database, names[1], volume=volume)
                await session.commit()
                return corrected

        ended = await asyncio.gather(work(first, "AB", 1.0), work(second, "BA", 2.0), return_exceptions=True)
        refused = next(one for one in ended if isinstance(one, BaseException))
        assert isinstance(refused, walle.DatabaseBusy)
        assert "two transactions waited for one another" in str(refused) and "Roll the transaction back" in str(refused)
        assert 10 in ended
        volume = 1.0 if ended[0] == 10 else 2.0
        assert (await volumes(first)) == {"A": volume, "B": volume, "C": 0.0}


@pytest.mark.parametrize("names", ["AB", "ABC"])
async def test_one_transaction_waits_for_another_of_the_same_series(
    postgres_address: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_VERSIONS_LOCKS_AT_MOST", 2)  # of three series, all are held
    async with two(postgres_address) as (first, second), first.session() as one:
        await correct(one, first, "A", volume=1.0)
        waiting = asyncio.create_task(BarRepository(second).ingest(given(*names, volume=2.0), **CORRECT))
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await one.commit()
        assert (await waiting).corrected == 5 * len(names)
        listed = await BarRepository(first).versions("A", "1m")
        assert listed["volume"].to_list() == [0.0, 1.0, 2.0] * 5


def test_whoever_corrects_many_series_at_once_takes_them_in_one_order(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "_VERSIONS_LOCKS_AT_MOST", 3)
    names = "ABCD"
    with walle.connect(address) as store:
        store.bars.ingest(given(*names))
    failed: list[BaseException] = []

    def work(place: int) -> None:
        with walle.connect(address) as store:
            try:
                for number in range(4):
                    turned = [*names[place + number :], *names[: place + number]][: 3 + number % 2]
                    store.bars.ingest(given(*turned, volume=1.0 + place + 10 * number), **CORRECT)
            except BaseException as error:
                failed.append(error)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    with walle.connect(address) as store:
        assert store.bars.read("A", "1m")["volume"].n_unique() == 1
