"""Several processes at once: every write is there, nobody is turned away, and the first write of a fact wins."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal

import pytest
import sqlalchemy as sa

import walle
from tests.reliability.material import SYMBOL, big_bars, counted
from tests.reliability.processes import Child, command, sizes
from tests.samples import order
from walle.config import DatabaseConfig
from walle.dialects import dialect_for


@contextlib.contextmanager
def together(*children: Child) -> Iterator[tuple[Child, ...]]:
    """Run children and let them begin at the same moment."""
    with contextlib.ExitStack() as stack:
        for child in children:
            stack.enter_context(child)
        for child in children:
            child.expect("ready")
        for child in children:
            child.tell()
        yield children


@sizes("commits", always=[100], full=[500])
def test_eight_processes_write_one_sqlite_file_and_lose_nothing(sqlite_address: str, commits: int) -> None:
    writers = [command("commit", sqlite_address, worker, commits) for worker in range(8)]
    with together(*writers):
        worst = max(float(child.succeed(within=600).lines[-1].split(" ")[1]) for child in writers)
    print(f"worst wait {worst:.2f} s")
    numbers = [worker * 1_000_000 + turn for worker in range(8) for turn in range(commits)]
    with walle.connect(sqlite_address) as store:
        assert set(store.fills.read()["id"]) == {f"fill-{number}" for number in numbers if number % 1_000_000 % 3 == 0}
        assert set(store.runs.read()["id"]) == {f"run-{number}" for number in numbers if number % 1_000_000 % 3 == 1}
        assert counted(store) == sum(number % 1_000_000 % 3 == 2 for number in numbers)


@sizes("count", always=[1_000_000], full=[5_000_000])
def test_fills_are_appended_while_another_process_ingests(sqlite_address: str, count: int) -> None:
    with command("beside", sqlite_address) as child, walle.connect(sqlite_address) as store:
        child.expect("ready")
        report = store.bars.ingest(big_bars(count), symbol=SYMBOL, timeframe="1m")
        child.tell()
        appended, worst = child.succeed().lines[-1].split(" ")[1:]
        print(f"{appended} fills beside {count:,} bars, worst wait {float(worst):.2f} s")
        assert report.inserted == count
        assert store.fills.read().height == int(appended) > 0


@sizes("count", always=[30_000], full=[300_000])
def test_the_first_of_two_overlapping_upserts_wins(address: str, count: int) -> None:
    half = count // 2
    with together(
        command("upsert", address, 0, count, 100.0), command("upsert", address, half, count, 200.0)
    ) as children:
        results = [[int(word) for word in child.succeed().lines[-1].split(" ")[1:]] for child in children]
    shared = count - half
    assert sum(inserted for inserted, _, _ in results) == count + half
    assert [duplicates for _, duplicates, _ in results] == [0, 0]
    assert sum(conflicts for _, _, conflicts in results) == shared
    with walle.connect(address) as store:
        stored = store.bars.read(SYMBOL, "1m")
    low, high = big_bars(count), big_bars(count, first=half, price=200.0)
    assert stored.head(half).equals(low.head(half))
    assert stored.tail(half).equals(high.tail(half))
    kept = stored.slice(half, shared)
    # whoever was first, its bars stand as one piece or bar by bar, but each is one of the two versions
    from_low = (kept["open"] == low.tail(shared)["open"]).sum()
    assert from_low == results[1][2]
    assert (kept["open"] == high.head(shared)["open"]).sum() == results[0][2] == shared - from_low
    assert recorded_conflicts(address) == shared


def recorded_conflicts(address: str) -> int:
    engine = dialect_for(DatabaseConfig(url=address)).sync_engine()
    with engine.connect() as connection:
        counts = connection.execute(sa.text("SELECT count(*), count(DISTINCT timestamp) FROM bar_conflicts")).one()
    engine.dispose()
    assert counts[0] == counts[1]
    return int(counts[0])


@sizes("count", always=[20], full=[100])
@pytest.mark.parametrize(
    ("what", "contents", "ends"),
    [
        ("orders", ("-", "-"), {("inserted", "unchanged")}),
        ("fills", ("USD", "USD"), {("inserted", "unchanged")}),
        ("fills", ("USD", "EUR"), {("FillConflict", "inserted")}),
        ("runs", ("-", "-"), {("LostUpdate", "inserted")}),
    ],
    ids=["orders", "same fills", "other fills", "runs"],
)
def test_of_two_writers_of_the_same_new_fact_one_inserts(
    address: str, what: str, contents: tuple[str, str], ends: set[tuple[str, ...]], count: int
) -> None:
    seen: Counter[tuple[str, ...]] = Counter()
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(command("same", address, what, count, content)) for content in contents]
        for child in children:
            child.expect("ready")
        for _ in range(count):
            for child in children:
                child.tell()
            seen[tuple(sorted(child.expect("result") for child in children))] += 1
        for child in children:
            child.succeed()
    assert set(seen) == ends
    assert seen.total() == count


@sizes("count", always=[40], full=[300])
def test_snapshots_saved_at_once_never_lower_what_is_filled(address: str, count: int) -> None:
    with walle.connect(address) as store:
        store.orders.save([order(number, status="partial") for number in range(5)])
    with together(*(command("snapshots", address, count, seed) for seed in range(3))) as children:
        ends = [child.succeed() for child in children]
    best: dict[str, Decimal] = {}
    for end in ends:
        assert not [line for line in end.lines if line.startswith("fell")]
        for word in end.lines[-1].split(" ")[1:]:
            number, filled = word.split("=")
            best[f"order-{number}"] = max(best.get(f"order-{number}", Decimal(0)), Decimal(filled))
    with walle.connect(address) as store:
        assert {row["id"]: row["filled_qty"] for row in store.orders.read().iter_rows(named=True)} == best
