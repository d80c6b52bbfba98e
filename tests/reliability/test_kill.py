"""A process that is killed outright leaves all of a write or nothing, and a store that works."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

import walle
from tests.raw import Raw
from tests.reliability.material import SYMBOL, big_bars, contents, counted
from tests.reliability.processes import DEADLINE, command, sizes
from tests.samples import fill

_seconds: dict[tuple[bool, int], float] = {}


def seconds_of_an_ingest(address: str, count: int) -> float:
    """Measure an undisturbed ingest, once per database and size; its bars lie far behind those of the tests."""
    key = ("://" in address, count)
    if key not in _seconds:
        with command("ingest", address, 10 * count, count) as child:
            inserted, _, elapsed = child.succeed().lines[-1].split(" ")[1:]
        assert int(inserted) == count
        _seconds[key] = float(elapsed)
    return _seconds[key]


@sizes(
    "turn, count",
    always=[(turn / 4, 50_000) for turn in range(4)],
    full=[(turn / 20, 1_000_000) for turn in range(20)],
)
def test_a_killed_ingest_leaves_all_bars_or_none(address: str, turn: float, count: int) -> None:
    chance = random.Random(f"{turn} {count}")
    frame, moment = big_bars(count), (turn + chance.uniform(0, 0.3)) * seconds_of_an_ingest(address, count)
    with walle.connect(address) as store:
        known = chance.choice([0, count // 10])  # with some of its bars there already it takes another way in
        if known:
            store.bars.ingest(frame.slice(count // 2, known), symbol=SYMBOL, timeframe="1m")
        before = counted(store)

    with command("ingest", address, 0, count) as child:
        child.expect("go")
        time.sleep(moment)
        child.signal(signal.SIGKILL)
        child.wait()

    with walle.connect(address) as store:
        assert store.status().ok
        after = counted(store)
        assert after in (before, before + count - known)
        assert store.fills.append(fill()).inserted == 1
        report = store.bars.ingest(frame, symbol=SYMBOL, timeframe="1m")
        # a PostgreSQL server may finish a commit that it had received after the count above
        assert report.inserted in (before + count - known - after, 0)
        assert report.inserted + report.duplicates == count
        assert counted(store) == before + count - known == store.bars.series()["bars"].sum()
        assert_frame_equal(contents(store).head(count), frame)


def seconds_of_a_file(address: str, path: Path, count: int) -> float:
    """Measure an undisturbed ingest of a file, once per database and size; its bars are of another symbol."""
    key = ("://" in address, -count)
    if key not in _seconds:
        with command("ingest_file", address, path, "another", count // 5) as child:
            inserted, _, elapsed = child.succeed().lines[-1].split(" ")[1:]
        assert int(inserted) == count
        _seconds[key] = float(elapsed)
    return _seconds[key]


@sizes(
    "turn, count",
    always=[(turn / 4, 50_000) for turn in range(4)],
    full=[(turn / 20, 1_000_000) for turn in range(20)],
)
def test_a_killed_ingest_of_a_file_that_is_started_again_ends_complete(
    address: str, tmp_path: Path, turn: float, count: int
) -> None:
    chance = random.Random(f"file {turn} {count}")
    path, frame = tmp_path / "bars.csv", big_bars(count)
    frame.write_csv(path)
    moment = (turn + chance.uniform(0, 0.3)) * seconds_of_a_file(address, path, count)

    with command("ingest_file", address, path, SYMBOL, count // 5) as child:
        child.expect("go")
        time.sleep(moment)
        child.signal(signal.SIGKILL)
        child.wait()
    wait_for_nobody(address)

    with walle.connect(address) as store:
        left = counted(store)
        assert left in (0, count)
        assert store.bars.series().filter(symbol=SYMBOL)["bars"].sum() == left
        assert store.status().ok
    with command("ingest_file", address, path, SYMBOL, count // 5) as child:
        inserted, skipped, _ = child.succeed().lines[-1].split(" ")[1:]
        assert (int(inserted), int(skipped)) == (count - left, int(left == count))
    with walle.connect(address) as store:
        assert_frame_equal(contents(store), frame)
        kept = store.bars.ingests().filter(pl.col("symbol") == SYMBOL)
        assert kept.select("name", "rows", "inserted", "duplicates").rows() == [("bars.csv", count, count, 0)]
        assert store.bars.conflicts().is_empty()


def wait_for_nobody(address: str) -> None:
    """Wait until a PostgreSQL server has ended the session of a killed client, and with it maybe a commit."""
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    deadline = time.monotonic() + DEADLINE
    while "://" in address and Raw(address).value(others):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@sizes("turn", always=range(4), full=range(20))
def test_a_fill_that_was_acknowledged_survives_a_kill(address: str, turn: int) -> None:
    chance = random.Random(turn)
    with command("append", address) as child:
        for _ in range(chance.randrange(1, 60)):
            child.expect("stored")
        time.sleep(chance.uniform(0, 0.01))
        child.signal(signal.SIGKILL)
        acknowledged = [line.split(" ")[1] for line in child.wait().lines]
    with walle.connect(address) as store:
        stored = set(store.fills.read()["id"])
        assert stored >= set(acknowledged)
        assert len(stored) <= len(acknowledged) + 1  # one may have been stored and not yet told
        assert store.fills.append(fill(5_000_000)).inserted == 1
