"""What the tests of consumers share: the child that consumes, and a trigger that notes every move of its offset."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import time
from collections.abc import Iterator, Sequence

import psutil
import psycopg

import walle
from tests.raw import Raw
from tests.reliability.processes import DEADLINE, Child
from tests.samples import event

__all__ = [
    "MODES",
    "SINK",
    "append",
    "consuming",
    "flat",
    "gone",
    "hang",
    "history",
    "ids",
    "kill",
    "numbers_of",
    "offset",
    "owner",
    "replay",
    "say",
    "start",
    "together",
    "until",
    "watch",
]

SINK = "sink"
MODES: Sequence[dict[str, object]] = (
    {"pace": 0.001},
    {"pace": 0.002, "batch_size": 7},
    {"pace": 0.001, "fails": 0.1, "tries": 1, "backoff": 0, "on_poison": "park"},
    {"pace": 0.001, "fails": 0.1, "tries": 2, "backoff": 0, "on_poison": "park", "batch_size": 4},
)


def start(name: str, *arguments: object) -> Child:
    return Child(["-m", "tests.reliability.consumer_children", name, *map(str, arguments)])


def consuming(address: str, **settings: object) -> Child:
    return start("consume", address, json.dumps(settings))


def say(child: Child, words: object = "go") -> None:
    assert child.process.stdin is not None
    child.process.stdin.write(f"{words}\n")
    child.process.stdin.flush()


def numbers_of(child: Child, word: str) -> list[list[int]]:
    """Return the numbers of the lines with a word so far."""
    return [[int(part) for part in line.split(" ")[1:]] for line in child.lines if line.split(" ")[0] == word]


def flat(lists: list[list[int]]) -> list[int]:
    return [number for numbers in lists for number in numbers]


def append(address: str, count: int) -> None:
    with walle.connect(address) as store:
        store.events.append([event(number) for number in range(1, count + 1)])


def ids(raw: Raw, after: int = -1) -> list[int]:
    return [number for (number,) in raw.rows(f"SELECT id FROM outbox WHERE id > {after} ORDER BY id")]


def offset(raw: Raw) -> int:
    found = raw.rows(f"SELECT last_offset FROM consumer_offsets WHERE consumer_id = '{SINK}'")
    return int(found[0][0]) if found else -1


def replay(raw: Raw) -> None:
    with walle.connect(raw.address) as store:
        store.events.replay(SINK)


def owner(raw: Raw) -> object:
    found = raw.rows(f"SELECT owner FROM consumer_offsets WHERE consumer_id = '{SINK}'")
    return found[0][0] if found else None


def watch(raw: Raw) -> None:
    """Have the database write down every change of an offset, and the process that made it where it knows."""
    raw.run("CREATE TABLE audit (place INTEGER, epoch INTEGER, before BIGINT, after BIGINT, pid INTEGER)")
    if raw.sqlite:
        raw.run(
            "CREATE TRIGGER audit_offsets AFTER UPDATE ON consumer_offsets "
            "WHEN OLD.epoch <> NEW.epoch OR OLD.last_offset <> NEW.last_offset BEGIN INSERT INTO audit "
            "SELECT count(*), NEW.epoch, OLD.last_offset, NEW.last_offset, json_extract(NEW.owner, '$.pid') "
            "FROM audit; END"
        )
    else:
        raw.run(
            "CREATE FUNCTION audit_offsets() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit "
            "SELECT count(*), NEW.epoch, OLD.last_offset, NEW.last_offset, "
            "nullif(split_part(current_setting('application_name'), ' ', 2), '')::int FROM audit; RETURN NULL; END $$"
        )
        raw.run(
            "CREATE TRIGGER audit_offsets AFTER UPDATE ON consumer_offsets FOR EACH ROW "
            "WHEN (OLD.epoch <> NEW.epoch OR OLD.last_offset <> NEW.last_offset) EXECUTE FUNCTION audit_offsets()"
        )


def history(raw: Raw) -> list[tuple[int, int, int, int | None]]:
    """Return epoch, offset before, offset after and process of every change."""
    return [(e, b, a, p) for e, b, a, p in raw.rows("SELECT epoch, before, after, pid FROM audit ORDER BY place")]


def gone(raw: Raw, pid: int) -> None:
    """Wait until the server has noticed that a process is dead; what it had received is committed then, or never."""
    deadline = time.monotonic() + DEADLINE
    query = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{SINK} {pid}'"
    while not raw.sqlite and raw.value(query):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def until(condition: object, within: float = DEADLINE) -> None:
    """Wait for what no line tells."""
    assert callable(condition)
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill(child: Child) -> list[str]:
    child.signal(signal.SIGKILL)
    return child.wait().lines


def hang(child: Child, raw: Raw) -> None:
    """Stop a process at a moment when it holds no lock of the database, which nobody could take from it."""
    process = psutil.Process(child.process.pid)
    while True:
        child.signal(signal.SIGSTOP)
        until(lambda: process.status() == psutil.STATUS_STOPPED)
        time.sleep(0.05)  # the server may have a statement of it under way
        with contextlib.suppress(sqlite3.OperationalError, psycopg.errors.LockNotAvailable):
            if not raw.sqlite:
                raw.rows("SELECT 1 FROM consumer_offsets FOR UPDATE NOWAIT")
                return
            connection = sqlite3.connect(raw.address, isolation_level=None, timeout=0.2)
            with contextlib.closing(connection):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
                return
        child.signal(signal.SIGCONT)
        time.sleep(random.uniform(0, 0.05))


@contextlib.contextmanager
def together(children: Sequence[Child]) -> Iterator[None]:
    """Run children, once all of them are ready."""
    with contextlib.ExitStack() as stack:
        for child in children:
            stack.enter_context(child)
        for child in children:
            child.expect("ready")
        yield
