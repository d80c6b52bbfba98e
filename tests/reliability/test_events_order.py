"""No committed event is skipped, whatever the writers do: a model of many transactions against a real PostgreSQL."""

from __future__ import annotations

import asyncio
import itertools
import os
from typing import ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.postgres import Server
from tests.reliability.processes import sizes
from walle.database import Database
from walle.events import EventLog, durable
from walle.events.filters import EventFilter
from walle.events.horizon import Horizon

TYPES = ("orders.Placed", "orders.Filled", "run.Started")
WRITERS = 4
_numbers = itertools.count()


class Reader:
    """A log of its own, a filter, and what it was given."""

    def __init__(self, database: Database, types: str | None) -> None:
        self.log = EventLog(database)
        self.types = types
        self.place = -1
        self.got: list[int] = []

    async def poll(self) -> list[int]:
        events, self.place = await self.log.follow(EventFilter.of(self.types), self.place, 1000, 0)
        fresh = [event.offset or 0 for event in events]
        self.got += fresh
        return fresh

    def wants(self, event_type: str) -> bool:
        return self.types is None or event_type.startswith(self.types.rstrip("*"))


class Writer:
    """A connection, the events of its open transaction, and where its savepoints stand."""

    def __init__(self, address: str) -> None:
        self.connection = psycopg.connect(address)
        self.pending: dict[int, str] = {}
        self.savepoints: list[list[int]] = []

    def forget(self) -> None:
        self.pending, self.savepoints = {}, []


class Transactions(RuleBasedStateMachine):
    """Writers that append, roll back, idle and prepare in any order, and readers that look at any moment."""

    server: ClassVar[Server]

    def __init__(self) -> None:
        super().__init__()
        self.name = f"order_{os.getpid()}_{next(_numbers)}"
        address = self.server.create(self.name, template="walle_template")
        self.runner = asyncio.Runner()
        self.database = Database(address)
        self.writers = [Writer(address) for _ in range(WRITERS)]
        self.ender = psycopg.connect(address, autocommit=True)
        self.prepared: dict[str, dict[int, str]] = {}
        self.committed: dict[int, str] = {}
        self.readers = [Reader(self.database, None), Reader(self.database, "orders.*"), Reader(self.database, "run.*")]

    writer = st.integers(0, WRITERS - 1)

    @rule(number=writer, types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=3))
    def append(self, number: int, types: list[str]) -> None:
        writer = self.writers[number]
        for event_type in types:
            statement = "INSERT INTO outbox (type, payload) VALUES (%s, '{}') RETURNING id"
            (place,) = writer.connection.execute(statement, (event_type,)).fetchone() or (0,)
            writer.pending[place] = event_type

    @rule(number=writer)
    def write_elsewhere(self, number: int) -> None:
        statement = "INSERT INTO consumer_offsets (consumer_id) VALUES (%s)"
        self.writers[number].connection.execute(statement, (f"consumer {next(_numbers)}",))

    @rule(number=writer)
    def idle(self, number: int) -> None:
        self.writers[number].connection.execute("SELECT count(*) FROM runs")

    @rule(number=writer)
    def set_savepoint(self, number: int) -> None:
        writer = self.writers[number]
        writer.connection.execute(f"SAVEPOINT s{len(writer.savepoints)}")
        writer.savepoints.append(list(writer.pending))

    @rule(number=writer, back=st.booleans())
    def end_savepoint(self, number: int, back: bool) -> None:
        writer = self.writers[number]
        if not writer.savepoints:
            return
        before = writer.savepoints.pop()
        name = f"s{len(writer.savepoints)}"
        if back:
            writer.connection.execute(f"ROLLBACK TO SAVEPOINT {name}")
            writer.pending = {place: writer.pending[place] for place in before}
        writer.connection.execute(f"RELEASE SAVEPOINT {name}")

    @rule(number=writer)
    def commit(self, number: int) -> None:
        writer = self.writers[number]
        writer.connection.commit()
        self.committed |= writer.pending
        writer.forget()

    @rule(number=writer)
    def roll_back(self, number: int) -> None:
        self.writers[number].connection.rollback()
        self.writers[number].forget()

    @precondition(lambda self: len(self.prepared) < 4)
    @rule(number=writer)
    def prepare(self, number: int) -> None:
        writer = self.writers[number]
        if not writer.pending:
            return
        name = f"{self.name} {next(_numbers)}"
        writer.connection.execute(f"PREPARE TRANSACTION '{name}'")
        writer.connection.commit()
        self.prepared[name] = writer.pending
        writer.forget()

    @precondition(lambda self: self.prepared)
    @rule(keep=st.booleans())
    def end_prepared(self, keep: bool) -> None:
        name = next(iter(self.prepared))
        self.ender.execute(f"{'COMMIT' if keep else 'ROLLBACK'} PREPARED '{name}'")
        events = self.prepared.pop(name)
        self.committed |= events if keep else {}

    @rule(number=st.integers(0, 4))
    def look(self, number: int) -> None:
        self.check(self.readers[number % len(self.readers)])

    @precondition(lambda self: len(self.readers) < 6)
    @rule(types=st.sampled_from([None, "orders.*", "run.*"]))
    def join(self, types: str | None) -> None:
        self.readers.append(Reader(self.database, types))

    def check(self, reader: Reader) -> None:
        last = reader.got[-1] if reader.got else 0
        fresh = self.runner.run(reader.poll())
        assert fresh == sorted(set(fresh))
        assert not fresh or fresh[0] > last
        for place in fresh:
            assert place in self.committed
            assert reader.wants(self.committed[place])
        if not self.prepared and not any(writer.pending for writer in self.writers):
            self.complete(reader)  # nobody may still commit, so nothing is held back

    def complete(self, reader: Reader) -> None:
        wanted = [place for place, event_type in sorted(self.committed.items()) if reader.wants(event_type)]
        assert reader.got == wanted

    def teardown(self) -> None:
        try:
            for number in range(WRITERS):
                self.commit(number)
            while self.prepared:
                self.end_prepared(True)
            for reader in self.readers:
                self.check(reader)
        finally:
            for writer in self.writers:
                writer.connection.close()
            for name in self.prepared:
                self.ender.execute(f"ROLLBACK PREPARED '{name}'")
            self.ender.close()
            self.runner.run(self.database.close())
            self.runner.close()
            self.server.drop(self.name)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "PATIENCE", 0.02)  # writers here idle for ever


def run_machine(server: Server, examples: int, *, shrink: bool = True) -> None:
    class Machine(Transactions):
        pass

    Machine.server = server
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            print_blob=False,
            phases=[Phase.generate, *([Phase.shrink] if shrink else [])],
            suppress_health_check=list(HealthCheck),
        ),
    )


@sizes("examples", always=[40], full=[600])
def test_what_is_delivered_is_what_was_committed_in_order_and_once(server: Server, examples: int) -> None:
    run_machine(server, examples)


def test_the_model_catches_a_reader_that_only_goes_by_its_offset(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Horizon, "look", lambda self, highest, _: self.advance(highest))
    with pytest.raises(AssertionError):
        run_machine(server, 300, shrink=False)
