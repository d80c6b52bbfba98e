"""Consumers on PostgreSQL whose connections are cut."""

from __future__ import annotations

import random
import signal
import time

import walle
from tests.postgres import Server
from tests.raw import Raw
from tests.reliability.consuming import (
    SINK,
    append,
    consuming,
    flat,
    history,
    numbers_of,
    offset,
    owner,
    until,
    watch,
)
from tests.reliability.processes import sizes
from tests.samples import event


def terminate(server: Server, address: str, condition: str) -> int:
    """Have the server end connections, as an administrator or a failover would."""
    name = address.rsplit("/", 1)[1]
    query = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s "
        f"AND application_name LIKE '{SINK} %%' AND {condition}"
    )
    with server.admin() as connection:
        row = connection.execute(query, (name,)).fetchone()
    assert row is not None
    return int(row[0])


@sizes("turn", always=range(4), full=range(20))
def test_a_consumer_whose_connections_are_cut_goes_on_or_says_so_and_loses_nothing(
    server: Server, postgres_address: str, turn: int
) -> None:
    address, raw, chance, count = postgres_address, Raw(postgres_address), random.Random(turn), 250
    append(address, count)
    watch(raw)
    with consuming(address, pace=0.004, again=bool(turn % 2)) as child:
        child.expect("commit")
        for _ in range(3):
            time.sleep(chance.uniform(0, 0.25))
            terminate(server, address, "true")
        until(lambda: offset(raw) == count or child.process.poll() is not None)
        child.signal(signal.SIGTERM)
        child.succeed()  # with an error of WalleError's kind, never another
    end = child.lines[-1].split(" ")[1]
    assert end == "well" if turn % 2 else end in ("well", "DatabaseError")
    place = offset(raw)
    assert place >= numbers_of(child, "commit")[-1][1]
    with consuming(address, follow=False) as after:
        after.succeed()
    assert flat(numbers_of(after, "given")) == list(range(place + 1, count + 1))
    assert set(flat(numbers_of(child, "handled")) + flat(numbers_of(after, "handled"))) == set(range(1, count + 1))
    assert all(before <= now for _, before, now, _ in history(raw))
    assert owner(raw) is None


def test_a_consumer_whose_listening_connection_is_cut_goes_on(server: Server, postgres_address: str) -> None:
    address = postgres_address
    append(address, 3)
    with consuming(address) as child, walle.connect(address) as store:
        child.expect("commit")
        until(lambda: terminate(server, address, "query LIKE 'LISTEN %%'") == 1)
        for number in range(4, 8):
            store.events.append(event(number))
            while child.expect("handled") != str(number):
                pass
        child.signal(signal.SIGTERM)
        assert child.succeed().lines[-1] == "ended well"
    assert offset(Raw(address)) == 7
