"""What was known at a time stays known: writers and readers at once, slow commits across a read, and kill -9."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import walle
from tests.raw import Raw
from tests.samples import bars
from walle.database import Database
from walle.repositories import BarRepository

SERIES: dict[str, Any] = {"symbol": "A", "timeframe": "1m"}
ROUNDS = [pytest.param(20), pytest.param(100, marks=pytest.mark.endurance)]


def rebuild(store: walle.Store, token: str) -> pl.DataFrame:
    """Return what was known, from the list of all versions."""
    listed = store.bars.versions("A", "1m", as_of=token).group_by("timestamp", maintain_order=True).last()
    return listed.drop_nulls("close").select("timestamp", "close", "volume").sort("timestamp")


def write(address: str, seed: int, rounds: int) -> None:
    """Ingest, correct and withdraw at random."""
    chosen = random.Random(seed)
    given = bars(40)
    with walle.connect(address) as store:
        for number in range(rounds):
            part = given.slice(chosen.randrange(35), 5).with_columns(volume=pl.lit(float(chosen.randrange(3))))
            what = chosen.random()
            if what < 0.4:
                store.bars.ingest(part, **SERIES)
            elif what < 0.8:
                store.bars.ingest(part, **SERIES, on_conflict="correct", reason=f"{seed} {number}")
            else:
                first = part["timestamp"][0]
                with contextlib.suppress(walle.InputError, walle.UnknownSymbol):
                    store.bars.withdraw("A", "1m", first, first + timedelta(minutes=2), f"{seed} {number}")


@pytest.mark.parametrize("rounds", ROUNDS)
def test_what_two_writers_did_by_a_time_is_the_same_for_ever(address: str, rounds: int) -> None:
    with walle.connect(address) as store:
        store.bars.ingest(bars(5), **SERIES)
        writers = [threading.Thread(target=write, args=(address, seed, rounds)) for seed in (1, 2)]
        for writer in writers:
            writer.start()
        seen: list[tuple[datetime | str, pl.DataFrame]] = []
        while any(writer.is_alive() for writer in writers):
            place: datetime | str = store.bars.now() if len(seen) % 2 else datetime.now(UTC)
            seen.append((place, store.bars.read("A", "1m", as_of=place)))
        for writer in writers:
            writer.join()
        assert len(seen) > 2
        for place, frame in seen:
            assert store.bars.read("A", "1m", as_of=place).equals(frame)
            if isinstance(place, str):
                assert rebuild(store, place).equals(frame.select("timestamp", "close", "volume"))
        now = store.bars.now()
        newest = store.bars.read("A", "1m")
        assert store.bars.read("A", "1m", as_of=now).equals(newest)
        assert rebuild(store, now).equals(newest.select("timestamp", "close", "volume"))
        assert store.bars.count("A", "1m") == store.bars.series()["bars"].item() == newest.height


async def test_an_ingest_that_is_committed_after_a_read_does_not_enter_it(address: str) -> None:
    slow, other = Database(address), Database(address)
    try:
        writer, reader = BarRepository(slow), BarRepository(other)
        await reader.ingest(bars(5), **SERIES)
        async with slow.session() as session:
            await writer.ingest(bars(20).slice(10, 5), **SERIES, session=session)
            await asyncio.sleep(0.01)
            token, moment = await reader.now(), datetime.now(UTC)
            assert (await reader.read("A", "1m", as_of=token)).height == 5
            waiting = asyncio.create_task(reader.read("A", "1m", as_of=moment))  # whether it counts is open
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await session.commit()
        assert (await waiting).height == 10
        assert (await reader.read("A", "1m", as_of=moment)).height == 10
        assert (await reader.read("A", "1m", as_of=token)).height == 5
        assert (await reader.read("A", "1m")).height == 10
    finally:
        await slow.close()
        await other.close()


async def test_ingests_that_are_committed_out_of_order_keep_every_as_of(postgres_address: str) -> None:
    first, second = Database(postgres_address), Database(postgres_address)
    try:
        one, other = BarRepository(first), BarRepository(second)
        await one.ingest(bars(5), **SERIES)
        async with first.session() as left:
            await one.ingest(bars(60).slice(10, 5), **SERIES, session=left)
            await other.ingest(bars(60).slice(30, 5), **SERIES)  # a higher number, committed first
            token = await other.now()
            assert token.startswith("ingest:3!")
            before = await other.read("A", "1m", as_of=token)
            assert before["timestamp"].equals((await other.read("A", "1m"))["timestamp"])
            await left.commit()
        assert (await other.read("A", "1m", as_of=token)).equals(before)
        assert (await other.coverage("A", as_of=token))["bars"].item() == before.height == 10
        assert (await other.read("A", "1m")).height == 15
        assert (await other.now()).startswith("ingest:3@")
    finally:
        await first.close()
        await second.close()


CHILD = """
import sys
from tests.reliability.test_versions_race import write
print("ready", flush=True)
write(sys.argv[1], int(sys.argv[2]), 10_000)
"""


@pytest.mark.parametrize("kills", [pytest.param(6), pytest.param(30, marks=pytest.mark.endurance)])
def test_a_killed_writer_leaves_whole_ingests(address: str, kills: int) -> None:
    chosen = random.Random(7)
    with walle.connect(address) as store:
        store.bars.ingest(bars(5), **SERIES)
    for seed in range(kills):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, address, str(seed)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        time.sleep(0.5 + chosen.random())
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with walle.connect(address) as store:
            brought = dict(Raw(address).rows("SELECT ingest, sum(bars) FROM bar_ingests GROUP BY ingest"))
            added = dict(Raw(address).rows("SELECT ingest, count(*) FROM bar_versions GROUP BY ingest"))
            for number, inserted, corrected in (
                store.bars.ingests().select("id", "inserted", "corrected").fill_null(0).iter_rows()
            ):
                assert int(brought.get(number, 0)) == inserted
                assert added.get(number, 0) == corrected
            token = store.bars.now()
            newest = store.bars.read("A", "1m")
            assert rebuild(store, token).equals(newest.select("timestamp", "close", "volume"))
            assert store.bars.series()["bars"].item() == newest.height
