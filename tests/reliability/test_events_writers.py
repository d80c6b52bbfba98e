"""What single writers do to readers on PostgreSQL: idle, prepare, roll back, race; and databases that are refused."""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

import walle
from tests.postgres import restart, start_server
from tests.reliability.processes import sizes
from tests.samples import event
from walle import migrate
from walle.config import DatabaseConfig
from walle.database import Database
from walle.events import EventLog, log
from walle.events.filters import EventFilter
from walle.events.horizon import Horizon

EVERYTHING = EventFilter()


def append(connection: psycopg.Connection[Any]) -> int:
    statement = "INSERT INTO outbox (type, payload) VALUES ('orders.Placed', '{}') RETURNING id"
    (place,) = connection.execute(statement).fetchone() or (0,)
    return int(place)


async def read(events: EventLog) -> list[int]:
    return (await events.read(columns=["offset"]))["offset"].to_list()


@pytest_asyncio.fixture
async def events(postgres_address: str) -> AsyncIterator[EventLog]:
    database = Database(postgres_address)
    yield EventLog(database)
    await database.close()


@pytest.fixture
def first(postgres_address: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_address) as connection:
        yield connection


@pytest.fixture
def second(postgres_address: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres_address) as connection:
        yield connection


async def test_a_fresh_reader_sees_past_an_old_hole_although_others_write(
    events: EventLog, first: psycopg.Connection[Any], second: psycopg.Connection[Any]
) -> None:
    append(first)
    first.commit()
    append(first)
    first.rollback()  # the hole
    places = [1, *(append(first) for _ in range(20))]
    first.commit()
    append(second)  # a writer of whom a first look knows nothing, and who ends a moment later
    timer = threading.Timer(0.1, second.rollback)
    timer.start()
    assert await read(EventLog(database_of(events))) == places
    timer.join()


async def test_a_log_that_was_set_back_is_noticed(
    events: EventLog, first: psycopg.Connection[Any], postgres_address: str
) -> None:
    await events.append([event(1), event(2)])
    assert await events.latest() == 2
    first.execute("ALTER TABLE outbox DISABLE TRIGGER ALL")
    first.execute("DELETE FROM outbox WHERE id = 2")
    first.commit()
    with pytest.raises(walle.UnsafeEventSource, match="had events up to 2 and now has 1: it was set back"):
        await events.latest()


# one writer that does not end


async def test_a_session_that_idles_after_writing_elsewhere_stalls_nobody(
    events: EventLog, first: psycopg.Connection[Any], second: psycopg.Connection[Any]
) -> None:
    first.execute("INSERT INTO consumer_offsets (consumer_id) VALUES ('idle')")
    append(second)
    second.rollback()  # a hole
    place = append(second)
    second.commit()
    assert await read(events) == [place]
    with pytest.raises(walle.UnknownEvent):
        await events.get(place - 1)


async def test_a_session_that_idles_after_appending_holds_back_only_what_follows_its_gap(
    events: EventLog, first: psycopg.Connection[Any], second: psycopg.Connection[Any]
) -> None:
    await events.append(event(1))
    assert await read(events) == [1]
    append(second)
    second.rollback()
    await events.append(event(2))
    assert await read(events) == [1, 3]
    gap = append(first)
    await events.append([event(3), event(4)])
    assert await read(events) == [1, 3]
    later = EventLog(database_of(events))
    assert await read(later) == [1]  # it cannot tell the hole from the gap
    await walle.Consumer(events, "sink", lambda _: None).run(follow=False)
    row = (await events.consumers()).row(0, named=True)
    assert (row["offset"], row["lag"], row["held"]) == (3, 2, 2)
    assert f"pid {first.info.backend_pid} " in row["held_by"]
    assert "idle in transaction" in row["held_by"]
    with pytest.raises(TimeoutError):
        await events.wait_for(gap, timeout=0.3)
    first.commit()
    assert await read(events) == [1, 3, 4, 5, 6]
    row = (await events.consumers()).row(0, named=True)
    assert (row["lag"], row["held"], row["held_by"]) == (3, 0, None)


def database_of(events: EventLog) -> Database:
    return events.store._database  # type: ignore[attr-defined,no-any-return]  # of the outbox


@pytest.mark.parametrize("keep", [True, False])
async def test_a_prepared_transaction_loses_nothing_and_is_named(
    events: EventLog,
    first: psycopg.Connection[Any],
    second: psycopg.Connection[Any],
    keep: bool,
) -> None:
    assert await read(events) == []
    append(first)
    append(second)
    second.commit()
    assert await read(events) == []
    first.execute("PREPARE TRANSACTION 'the gap'")
    first.commit()
    assert await read(events) == []
    append(second)
    second.commit()
    assert await read(events) == []
    await walle.Consumer(events, "sink", lambda _: None).run(follow=False)
    assert (await events.consumers())["held_by"].to_list() == ["prepared transaction 'the gap'"]
    first.autocommit = True
    first.execute(f"{'COMMIT' if keep else 'ROLLBACK'} PREPARED 'the gap'")
    assert await read(events) == ([1, 2, 3] if keep else [2, 3])


@pytest.mark.parametrize("forgetful", [False, True])
async def test_a_prepared_transaction_outlives_a_restart_under_another_name(
    monkeypatch: pytest.MonkeyPatch, forgetful: bool
) -> None:
    if forgetful:
        look = Horizon.look
        monkeypatch.setattr(Horizon, "look", lambda self, *seen: look(self, seen[0], [f"new {x}" for x in seen[1]]))
    folder = Path(tempfile.mkdtemp(prefix="walle-prepared-"))
    server = start_server(folder)
    try:
        address = server.create("store")
        migrate.upgrade(DatabaseConfig(url=address))
        database = Database(address)
        events = EventLog(database)
        assert await read(events) == []
        with psycopg.connect(address) as first, psycopg.connect(address) as second:
            append(first)
            append(second)
            second.commit()
            assert await read(events) == []
            first.execute("PREPARE TRANSACTION 'the gap'")
        restart(server.process, server.sockets)
        # a reader that takes it for a newcomer would go past it, and never see its event
        assert await read(events) == ([2] if forgetful else [])
        assert await read(EventLog(database)) == []
        with psycopg.connect(address, autocommit=True) as ender:
            ender.execute("COMMIT PREPARED 'the gap'")
        assert await read(events) == [1, 2]
        await database.close()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


# a model of the horizon alone: (who, what) in the order of time


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("acrpl")), max_size=60))
def test_an_id_at_or_below_the_horizon_is_never_committed_later(steps: list[tuple[int, str]]) -> None:
    horizon, sequence, names = Horizon(), 0, iter(range(1_000_000))
    running: dict[int, tuple[str, list[int]]] = {}
    prepared: list[tuple[str, list[int]]] = []
    visible: set[int] = set()
    snapshot: int | None = None
    for who, what in steps:
        if what == "a":
            sequence += 1
            running.setdefault(who, (f"{who}/{next(names)}", []))[1].append(sequence)
        elif what in "cr" and who in running:
            _, ids = running.pop(who)
            if what == "c":
                assert not ids or min(ids) > horizon.settled or set(ids) <= visible
                visible |= set(ids)
        elif what == "p":
            if who in running:
                prepared.append((f"-1/{next(names)}", running.pop(who)[1]))
            elif prepared:
                _, ids = prepared.pop(0)
                assert min(ids) > horizon.settled
                visible |= set(ids)
        elif snapshot is None:  # a look is two steps, and others happen in between
            snapshot = max(visible, default=0)
        else:
            holders = [name for name, _ in (*running.values(), *prepared)]
            settled = horizon.look(snapshot, holders)
            assert settled <= sequence
            assert holders or settled >= snapshot
            snapshot = None


# many writers


@sizes("seconds", always=[3.0], full=[15.0])
async def test_a_race_of_twelve_writers_loses_nothing(postgres_address: str, events: EventLog, seconds: float) -> None:
    committed: dict[int, None] = {}
    lock = threading.Lock()
    end = time.monotonic() + seconds

    def write(seed: int) -> None:
        chance = random.Random(seed)
        with psycopg.connect(postgres_address) as connection:
            while time.monotonic() < end:
                ids = []
                for _ in range(chance.randint(1, 3)):
                    ids.append(append(connection))
                    time.sleep(chance.random() * 0.005)
                if chance.random() < 0.2:
                    connection.rollback()
                    continue
                connection.commit()
                with lock:
                    committed.update(dict.fromkeys(ids))

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(12)]
    for writer in writers:
        writer.start()
    got: list[int] = []
    lags: list[int] = []
    naive: set[int] = set()
    place = offset = -1
    with psycopg.connect(postgres_address, autocommit=True) as plain:
        while any(writer.is_alive() for writer in writers):
            with lock:
                before = len(committed)
            lags.append(before - len(got))
            found, place = await events.follow(EVERYTHING, place, 10**6, 0.05)
            got += [item.offset or 0 for item in found]
            seen = [row[0] for row in plain.execute("SELECT id FROM outbox WHERE id > %s ORDER BY id", (offset,))]
            naive.update(seen)
            offset = max([offset, *seen])
    found, place = await events.follow(EVERYTHING, place, 10**6, 0)
    got += [item.offset or 0 for item in found]
    missed, phantom = set(committed) - set(got), set(got) - set(committed)
    skipped = set(committed) - naive
    print(
        f"\n{len(committed):,} events of 12 writers: {len(missed)} missed, {len(phantom)} phantom, "
        f"median lag {statistics.median(lags):.0f} events; 'id > offset' would have missed {len(skipped):,}"
    )
    assert not missed
    assert not phantom
    assert got == sorted(committed)
    assert skipped, "the race was none: a plain reader lost nothing either"


# wake-ups


@pytest.mark.parametrize("pooler", [False, True], ids=["notified", "polled"])
async def test_a_commit_elsewhere_wakes_a_reader(
    postgres_address: str, monkeypatch: pytest.MonkeyPatch, pooler: bool
) -> None:
    if not pooler:
        monkeypatch.setattr(log, "POLL", 30.0)  # so that only the notification can be in time
    config = DatabaseConfig(url=postgres_address, transaction_pooler=pooler)
    reading, writing = Database(config), Database(config)
    events, others = EventLog(reading), EventLog(writing)
    try:
        assert await events.follow(EVERYTHING, -1, 10, 0.5) == ([], -1)  # it listens from here on
        async with writing.session() as session:
            await others.append(event(1), session=session)
            await session.rollback()
        assert await events.follow(EVERYTHING, -1, 10, 0.5) == ([], -1)
        started = time.monotonic()
        async with writing.session() as session:
            await others.append(event(2), session=session)
            await session.commit()
        found, _ = await events.follow(EVERYTHING, -1, 10, 10)
        assert found == [event(2)]
        assert time.monotonic() - started < 8
    finally:
        await reading.close()
        await writing.close()


# where events could be skipped


async def test_a_sequence_that_hands_out_blocks_is_refused(
    events: EventLog, first: psycopg.Connection[Any], postgres_address: str
) -> None:
    await events.append(event())
    first.execute("ALTER SEQUENCE outbox_id_seq CACHE 10")
    first.commit()
    why = r"hands out ids in blocks; ALTER SEQUENCE .*outbox_id_seq CACHE 1"
    for call in (events.read(), events.latest(), events.get(1), events.consumers()):
        with pytest.raises(walle.UnsafeEventSource, match=why):
            await call
    with pytest.raises(walle.UnsafeEventSource):
        await walle.Consumer(events, "sink", print).run(follow=False)
    first.execute("ALTER SEQUENCE outbox_id_seq CACHE 1")
    first.commit()
    assert await read(events) == [1]


def test_a_standby_is_refused() -> None:
    folder = Path(tempfile.mkdtemp(prefix="walle-standby-"))
    server = start_server(folder)
    try:
        address = server.create("store")
        migrate.upgrade(DatabaseConfig(url=address))
        with walle.connect(address) as store:
            store.events.append(event())
        (folder / "data" / "standby.signal").touch()
        shutil.chown(folder / "data" / "standby.signal", (folder / "data").owner(), (folder / "data").group())
        restart(server.process, server.sockets)
        with walle.connect(address, read_only=True) as store:
            assert store.fills.read().is_empty()
            with pytest.raises(walle.UnsafeEventSource, match="it is a standby, which sees no locks of the writers"):
                store.events.read()
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
