"""Ctrl-C and cancellation: control comes back at once, nothing is half done, and the same store goes on."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from typing import Any

import polars as pl
import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.pool import QueuePool

import walle
from tests.reliability.material import SYMBOL, big_bars
from tests.reliability.processes import Child, command, sizes
from tests.samples import fill, order
from walle.database import Database

BACK_WITHIN = 1.0
"""Seconds after which an interrupted caller must have control again."""

_MOMENTS = ("checking", "opening", "staging", "inserting", "committing", "reading")


def interrupt(child: Child, limit: float = BACK_WITHIN) -> None:
    """Press Ctrl-C, and look how long the caller waits for control."""
    pressed = child.signal(signal.SIGINT)
    seconds = float(child.expect("interrupted", within=10)) - pressed
    print(f"control after {seconds:.3f} s")
    assert seconds < limit


@sizes(
    "moment, count",
    always=[(moment, 250_000) for moment in _MOMENTS],
    full=[(moment, 1_000_000) for moment in _MOMENTS],
)
def test_ctrl_c_leaves_no_row_and_a_store_that_works(address: str, moment: str, count: int) -> None:
    press_ctrl_c(address, moment, count)


@sizes("count", always=[(250_000,)], full=[(1_000_000,)])
def test_ctrl_c_in_a_copy_leaves_no_row_and_a_store_that_works(postgres_address: str, count: int) -> None:
    press_ctrl_c(postgres_address, "copying", count)


def press_ctrl_c(address: str, moment: str, count: int) -> None:
    known = 0
    with walle.connect(address) as store:
        if moment in ("staging", "inserting", "reading"):  # PostgreSQL stages only when bars are there already
            known = count if moment == "reading" else 1
            store.bars.ingest(big_bars(known), symbol=SYMBOL, timeframe="1m")
    with command("interrupted", address, moment, count) as child:
        child.expect(moment)
        if moment == "committing" and "://" not in address:
            child.expect(moment)  # the first commit ends the staging
        if moment not in ("checking", "committing"):
            time.sleep(0.05)  # into the middle of the statement
        interrupt(child)
        left = int(child.expect("bars"))
        assert left in ((0, count) if moment == "committing" else (known,))
        assert child.expect("fills") == "1 1"
        assert child.expect("again") == "1000"
        assert child.succeed().errors == ""


@pytest.mark.parametrize(
    "place",
    [
        "walle.repositories.bars.ingest.judge_bars",  # in a worker thread
        "walle.repositories.bars.write._overlaps",  # in the loop, between two statements
        "the dialect's bulk load",  # in the loop, while a statement is made
        "walle.repositories.bars.write.finish",
    ],
)
def test_ctrl_c_that_polars_raises_in_another_thread_ends_the_call_only(
    store: walle.Store, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if place == "the dialect's bulk load":
        step = "postgresql.bars_in_binary" if "postgresql" in repr(store) else "sqlite._storage_form"
        place = f"walle.dialects.{step}"
    frame = big_bars(100)
    store.bars.ingest(frame.tail(10).with_columns(volume=1e6), symbol=SYMBOL, timeframe="1m")
    with monkeypatch.context() as patch:
        patch.setattr(place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            # PostgreSQL copies straight into the table only where no bar is yet
            store.bars.ingest(frame, symbol="new" if "binary" in place else SYMBOL, timeframe="1m")
    assert store.bars.count(SYMBOL, "1m") == 10
    assert store.bars.ingest(frame, symbol=SYMBOL, timeframe="1m").inserted == 90


def test_ctrl_c_ends_the_wait_for_a_foreign_lock_on_sqlite(sqlite_address: str) -> None:
    with command("hold", sqlite_address) as holder:
        holder.expect("holding")
        with command("waiting", sqlite_address) as child:
            child.expect("waiting")
            time.sleep(0.3)
            interrupt(child)
            holder.tell()
            holder.expect("released")
            child.tell()
            assert child.expect("again") == "1"
            assert child.succeed().errors == ""


def test_ctrl_c_ends_the_wait_for_a_foreign_lock_on_postgresql(postgres_address: str) -> None:
    with walle.connect(postgres_address) as store:
        store.orders.save(order())
    with psycopg.connect(postgres_address) as holder:
        holder.execute("SELECT * FROM veda_orders FOR UPDATE")
        with command("waiting", postgres_address) as child:
            child.expect("waiting")
            time.sleep(0.3)
            interrupt(child)
            holder.rollback()
            child.tell()
            assert child.expect("again") == "1"
            assert child.succeed().errors == ""


def checked_out(database: Database) -> int:
    pool = database.engine.pool
    assert isinstance(pool, QueuePool)
    return pool.checkedout()


@sizes("rounds, count", always=[(8, 50_000)], full=[(40, 300_000)])
async def test_a_cancelled_upsert_is_rolled_back(database: Database, rounds: int, count: int) -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    bars, frame = walle.BarRepository(database), big_bars(count)
    started = time.monotonic()
    await bars.ingest(frame, symbol="whole", timeframe="1m")
    whole = time.monotonic() - started
    for turn in range(rounds):
        symbol = f"part {turn}"
        if turn % 2:
            await bars.ingest(frame.tail(1), symbol=symbol, timeframe="1m")
        known = turn % 2
        try:
            await asyncio.wait_for(bars.ingest(frame, symbol=symbol, timeframe="1m"), whole * turn / rounds)
        except TimeoutError:
            # a commit that was under way is waited for, so all may be there; never a part
            assert await bars.count(symbol, "1m") in (known, count)
        assert checked_out(database) == 0
        assert (await bars.ingest(frame.head(10), symbol=symbol, timeframe="1m")).rows == 10
    assert await bars.count("whole", "1m") == count
    gc.collect()
    assert heard == []


@sizes("rounds", always=[6], full=[30])
async def test_a_cancelled_read_leaves_no_connection_behind(database: Database, rounds: int) -> None:
    heard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    bars, frame = walle.BarRepository(database), big_bars(100_000)
    await bars.ingest(frame, symbol=SYMBOL, timeframe="1m")
    for turn in range(rounds):
        started = time.monotonic()
        try:
            await asyncio.wait_for(bars.read(SYMBOL, "1m"), 0.01 * turn)
        except TimeoutError:
            assert time.monotonic() - started < 0.01 * turn + BACK_WITHIN
        assert checked_out(database) == 0
    assert (await bars.read(SYMBOL, "1m")).height == 100_000
    gc.collect()
    assert heard == []


def endless(database: Database) -> sa.Select[Any]:
    """A statement that takes minutes."""
    if database.dialect.name == "postgresql":
        return sa.select(sa.literal(1).label("n")).where(sa.func.pg_sleep(120).is_not(None))
    numbers = sa.select(sa.literal(1).label("n")).cte("numbers", recursive=True)
    numbers = numbers.union_all(sa.select(numbers.c.n + 1).where(numbers.c.n < 10**12))
    return sa.select(sa.func.count().label("n")).select_from(numbers)


@pytest.mark.parametrize("in_session", [False, True], ids=["reader", "session"])
async def test_a_cancelled_statement_stops_in_the_database(database: Database, in_session: bool) -> None:
    async def read() -> None:
        if in_session:
            async with database.session() as session:
                await database.fetch(endless(database), {"n": pl.Int64()}, session)
        else:
            await database.fetch(endless(database), {"n": pl.Int64()})

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(read(), 0.2)
    assert time.monotonic() - started < 0.2 + BACK_WITHIN
    assert checked_out(database) == 0
    assert (await walle.FillRepository(database).append(fill())).inserted == 1


async def test_a_cancelled_read_that_waits_for_a_thread_ends_at_once(database: Database) -> None:
    statement, schema = endless(database), {"n": pl.Int64()}
    running = [asyncio.ensure_future(database.fetch(statement, schema)) for _ in range(database.config.pool_size)]
    await asyncio.sleep(0.2)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(database.fetch(statement, schema), 0.1)
    assert time.monotonic() - started < 0.1 + BACK_WITHIN
    for task in running:
        task.cancel()
    assert all(
        isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*running, return_exceptions=True)
    )
