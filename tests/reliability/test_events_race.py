"""Readers of every kind against a real PostgreSQL lose nothing: step by step, in a race, and when they cannot listen.

The steps of :class:`tests.reliability.test_events_order.Transactions` come from there; here readers page, filter by
run, resume in a new log, and look slowly: other steps happen between the snapshot of a look and its sight of the locks.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import threading
import time
from collections.abc import AsyncIterator
from typing import ClassVar

import psycopg
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from tests.postgres import Server
from tests.reliability.processes import sizes
from tests.reliability.test_events_model import Forgetful, Plain, Trusting
from tests.reliability.test_events_order import TYPES, WRITERS, Reader, Transactions, Writer
from tests.samples import event
from walle import Event
from walle.database import Database
from walle.events import EventLog, durable
from walle.events.filters import EventFilter
from walle.events.horizon import Horizon

RUNS = ("sma-1", "sma-2")
FILTERS: tuple[tuple[str | None, str | None], ...] = (
    (None, None),
    ("orders.*", None),
    (None, "sma-1"),
    ("run.Started", "sma-2"),
)
INSERT = "INSERT INTO outbox (type, payload) VALUES (%s, jsonb_build_object('run_id', %s::text)) RETURNING id"


@pytest_asyncio.fixture
async def database(postgres_address: str) -> AsyncIterator[Database]:
    opened = Database(postgres_address)
    yield opened
    await opened.close()


class Race:
    """Writers in threads of their own, what they have committed, and when they end."""

    def __init__(self, address: str, seconds: float) -> None:
        self.address = address
        self.end = time.monotonic() + seconds
        self.committed: dict[int, tuple[str, str]] = {}
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.write, args=(seed,)) for seed in range(10)]

    def write(self, seed: int) -> None:
        chance, run = random.Random(seed), f"run-{seed % 2}"
        with psycopg.connect(self.address) as connection:
            while time.monotonic() < self.end:
                placed = {}
                for _ in range(chance.randint(1, 3)):
                    event_type = chance.choice(TYPES)
                    (place,) = connection.execute(INSERT, (event_type, run)).fetchone() or (0,)
                    placed[place] = (event_type, run)
                    time.sleep(chance.random() * 0.005)
                if chance.random() < 0.2:
                    connection.rollback()
                    continue
                connection.commit()
                with self.lock:
                    self.committed |= placed

    async def append(self, log: EventLog, seed: int) -> None:
        """Write by walle itself: batches, and sessions that may be rolled back."""
        chance, run = random.Random(seed), f"run-{seed % 2}"
        while time.monotonic() < self.end:
            events = [Event(type=chance.choice(TYPES), run_id=run) for _ in range(chance.randint(1, 20))]
            async with log.session() as session:
                ids = await log.append(events, session=session)
                await asyncio.sleep(chance.random() * 0.005)
                if chance.random() < 0.2:
                    await session.rollback()
                    continue
                await session.commit()
            with self.lock:
                self.committed |= {place: (item.type, run) for place, item in zip(ids, events, strict=True)}

    def wanted(self, prefix: str, run: str | None) -> list[int]:
        """Return what a reader shall be given in the end."""
        return sorted(
            place
            for place, (event_type, its_run) in self.committed.items()
            if event_type.startswith(prefix) and run in (None, its_run)
        )

    async def follow(self, log: EventLog, prefix: str, run: str | None, lags: list[int]) -> list[int]:
        wanted, got, place, over = EventFilter.of(f"{prefix}*", run), list[int](), -1, False
        while True:
            if not prefix and run is None:
                with self.lock:
                    lags.append(len(self.committed) - len(got))
            events, place = await log.follow(wanted, place, 500, 0 if over else 0.05)
            got += [item.offset or 0 for item in events]
            if over and not events:
                return got
            over = not any(thread.is_alive() for thread in self.threads) and time.monotonic() > self.end + 0.5

    async def resume(self, database: Database) -> list[int]:
        """Read frames, each by a log that was just made."""
        got: list[int] = []
        while True:
            over = not any(thread.is_alive() for thread in self.threads) and time.monotonic() > self.end + 0.5
            frame = await EventLog(database).read(got[-1] if got else -1, limit=500, columns=["offset"])
            got += frame["offset"].to_list()
            if over and frame.is_empty():
                return got


@sizes("seconds", always=[3.0], full=[15.0])
async def test_readers_of_every_kind_lose_nothing_in_a_race(
    postgres_address: str, database: Database, seconds: float
) -> None:
    race, lags = Race(postgres_address, seconds), list[int]()
    readers: list[tuple[str, str | None]] = [("", None), ("orders.", None), ("", "run-1"), ("run.", "run-0")]
    writing = Database(postgres_address)
    for thread in race.threads:
        thread.start()
    try:
        *results, frames, _, _ = await asyncio.gather(
            *(race.follow(EventLog(database), prefix, run, lags) for prefix, run in readers),
            race.resume(database),
            race.append(EventLog(writing), 0),
            race.append(EventLog(writing), 1),
        )
    finally:
        for thread in race.threads:
            thread.join()
        await writing.close()
    print(f"\n{len(race.committed):,} events of 12 writers, median lag {statistics.median(lags):.0f} events")
    with psycopg.connect(postgres_address) as plain:
        stored = [row[0] for row in plain.execute("SELECT id FROM outbox ORDER BY id")]
    assert stored == sorted(race.committed)
    for (prefix, run), got in zip(readers, results, strict=True):
        assert got == race.wanted(prefix, run), (prefix, run)
    assert frames == stored


async def test_a_reader_whose_listening_connection_is_cut_off_goes_on_by_polling(
    postgres_address: str, server: Server, database: Database
) -> None:
    log = EventLog(database)
    name, cut = postgres_address.rsplit("/", 1)[1], []
    with server.admin() as admin:
        for _ in range(20):  # it connects in the background, on a busy machine later
            assert await log.follow(EventFilter(), -1, 10, 0.5) == ([], -1)
            cut = admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND query LIKE 'LISTEN%%'",
                (name,),
            ).fetchall()
            if cut:
                break
    assert cut == [(True,)]
    with psycopg.connect(postgres_address) as writer:
        for number in range(1, 4):
            writer.execute(INSERT, ("orders.Placed", "run-1"))
            writer.commit()
            events, place = await log.follow(EventFilter(), number - 1, 10, 5)
            assert ([item.offset for item in events], place) == ([number], number)
    assert await log.append(event()) == 4
    assert await log.latest() == 4


# step by step


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "PATIENCE", 0.0)  # writers here idle for ever, so waiting for them is in vain


class Follower(Reader):
    """A reader with a filter of types and run, that takes a few events at once, by one of two ways."""

    def __init__(self, database: Database, types: str | None, run_id: str | None, limit: int, reads: bool) -> None:
        super().__init__(database, types)
        self.run_id, self.limit, self.reads = run_id, limit, reads

    async def poll(self) -> list[int]:
        """Read pages until one has nothing."""
        fresh: list[int] = []
        while page := await self.page():
            assert len(page) <= self.limit
            fresh += page
        self.got += fresh
        return fresh

    async def page(self) -> list[int]:
        if self.reads:
            frame = await self.log.read(
                self.place, types=self.types, run_id=self.run_id, limit=self.limit, columns=["offset"]
            )
            page: list[int] = frame["offset"].to_list()
            self.place = page[-1] if page else self.place
            return page
        before = self.place
        events, self.place = await self.log.follow(EventFilter.of(self.types, self.run_id), before, self.limit, 0)
        assert self.place >= before
        return [event.offset or 0 for event in events]

    def resume(self, database: Database) -> None:
        self.log = EventLog(database)


class SlowLook:
    """A look whose snapshot is held while others go on: pg_locks has no snapshot, so it is always read anew."""

    def __init__(self, address: str, evidence: str) -> None:
        self.connection = psycopg.connect(address)
        self.connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self.evidence = evidence
        self.horizon = Horizon()
        self.begun = False

    def step(self) -> None:
        if not self.begun:
            self.connection.execute("SELECT max(id) FROM outbox")
        else:
            highest, holders, _ = self.connection.execute(self.evidence).fetchone() or (0, "", "")
            self.connection.rollback()
            self.horizon.look(highest, holders.split(",") if holders else ())
        self.begun = not self.begun


class Readers(Transactions):
    """All that writers can do, and readers of every kind."""

    wrong: ClassVar[type[Horizon]] = Horizon

    def __init__(self) -> None:
        super().__init__()
        address = self.server.url(self.name)
        self.run_of: dict[int, str] = {}
        self.readers: list[Reader] = [
            Follower(self.database, *FILTERS[number], limit, number % 2 == 1)
            for number, limit in enumerate((1000, 2, 1, 3))
        ]
        evidence = self.database.dialect.outbox.evidence()
        self.slow = SlowLook(address, str(evidence))
        self.slow.horizon = self.wrong()

    writer = st.integers(0, WRITERS - 1)

    @rule(number=writer, types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=3), run=st.sampled_from(RUNS))
    def append(self, number: int, types: list[str], run: str) -> None:
        writer = self.writers[number]
        statement = (
            "INSERT INTO outbox (type, payload) VALUES (%s, jsonb_build_object('run_id', %s::text)) RETURNING id"
        )
        for event_type in types:
            (place,) = writer.connection.execute(statement, (event_type, run)).fetchone() or (0,)
            writer.pending[place] = event_type
            self.run_of[place] = run

    @rule(number=writer)
    def commit(self, number: int) -> None:
        self.judge(self.writers[number].pending)
        super().commit(number)

    @precondition(lambda self: self.prepared)
    @rule(keep=st.booleans())
    def end_prepared(self, keep: bool) -> None:
        if keep:
            self.judge(next(iter(self.prepared.values())))
        super().end_prepared(keep)

    def judge(self, pending: dict[int, str]) -> None:
        assert all(place > self.slow.horizon.settled for place in pending), "a slow look has passed what now appears"

    @rule()
    def step_look(self) -> None:
        self.slow.step()

    @rule(number=writer)
    def replace_connection(self, number: int) -> None:
        """Break off: what was open is rolled back."""
        self.writers[number].connection.close()
        self.writers[number] = Writer(self.server.url(self.name))

    @rule(number=st.integers(0, 5))
    def resume(self, number: int) -> None:
        reader = self.readers[number % len(self.readers)]
        assert isinstance(reader, Follower)
        reader.resume(self.database)

    @precondition(lambda self: len(self.readers) < 6)
    @rule(wanted=st.sampled_from(FILTERS), limit=st.integers(1, 4), reads=st.booleans())
    def join(self, wanted: tuple[str | None, str | None], limit: int, reads: bool) -> None:
        self.readers.append(Follower(self.database, *wanted, limit, reads))

    def complete(self, reader: Reader) -> None:
        assert isinstance(reader, Follower)
        wanted = [
            place
            for place, event_type in sorted(self.committed.items())
            if reader.wants(event_type) and reader.run_id in (None, self.run_of[place])
        ]
        assert reader.got == wanted

    def teardown(self) -> None:
        self.slow.connection.close()
        super().teardown()


@pytest.mark.usefixtures("impatient")
@sizes("examples", always=[12], full=[400])
def test_readers_of_every_kind_are_given_what_was_committed(server: Server, examples: int) -> None:
    class Machine(Readers):
        pass

    Machine.server = server
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=60,
            deadline=None,
            derandomize=True,
            database=None,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


def tell_a_story(server: Server, wrong: type[Horizon]) -> None:
    """A gap stays open while others commit above it, and looks go on; in the end it is filled."""

    class Machine(Readers):
        pass

    Machine.server, Machine.wrong = server, wrong
    machine = Machine()
    try:
        machine.append(0, ["orders.Placed"], "sma-1")
        for _ in range(3):
            machine.append(1, ["orders.Placed"], "sma-1")
            machine.commit(1)
            machine.look(0)
            machine.step_look()
            machine.step_look()
        machine.append(2, ["orders.Placed"], "sma-1")  # a newcomer, since the last look
        machine.append(1, ["orders.Placed"], "sma-1")
        machine.commit(1)
        machine.commit(0)
        machine.look(0)
        machine.step_look()
        machine.step_look()
        machine.commit(2)
    finally:
        machine.teardown()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("wrong", [Plain, Trusting, Forgetful])
def test_the_model_catches_readers_with_a_wrong_horizon(
    server: Server, monkeypatch: pytest.MonkeyPatch, wrong: type[Horizon]
) -> None:
    tell_a_story(server, Horizon)
    monkeypatch.setattr("walle.events.durable.Horizon", wrong)
    with pytest.raises(AssertionError):
        tell_a_story(server, Horizon)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("wrong", [Plain, Trusting, Forgetful])
def test_the_model_catches_a_slow_look_with_a_wrong_horizon(server: Server, wrong: type[Horizon]) -> None:
    with pytest.raises(AssertionError, match="a slow look has passed what now appears"):
        tell_a_story(server, wrong)
