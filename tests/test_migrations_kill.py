"""Making and upgrading a schema, killed at any moment or done by many at once: the old schema or the new one, whole."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

import walle
from tests.postgres import Server
from tests.raw import HEAD_TABLES, TABLES, Raw, expected_tables, fill_tables, guards, read_tables
from tests.reliability.processes import Child
from tests.test_migrations import HEAD, config
from walle import migrate

BASE = "d4e5f6a7b8c9"
OLD_TABLES = {*TABLES[BASE], "alembic_version"}

CONNECT = """
import sys, walle
from alembic import command, autogenerate
print("go", flush=True)
sys.stdin.readline()
with walle.connect(sys.argv[1]) as store:
    print("done", store.status().ok, flush=True)
"""
UPGRADE = """
import sys, walle
from alembic import command, autogenerate
from walle import migrate
from walle.config import DatabaseConfig
print("go", flush=True)
migrate.upgrade(DatabaseConfig(url=sys.argv[1]), confirmed=True)
print("done", flush=True)
"""

rounds = pytest.mark.parametrize(
    "rounds", [pytest.param(4, id="short"), pytest.param(20, id="full", marks=pytest.mark.endurance)]
)


def child(program: str, address: str) -> Child:
    return Child(["-c", program, address])


def duration(program: str, address: str) -> float:
    """Time an undisturbed run, from the word go: kills are spread over it."""
    with child(program, address) as process:
        process.expect("go")
        started = time.monotonic()
        process.tell()
        process.expect("done")
        seconds = time.monotonic() - started
        process.succeed()
    return seconds


def kill_after(program: str, address: str, seconds: float) -> None:
    with child(program, address) as process:
        process.expect("go")
        process.tell()
        time.sleep(seconds)
        process.signal(signal.SIGKILL)
        process.wait()


def delays(chance: random.Random, whole: float, rounds: int) -> list[float]:
    """One random moment in each of equal parts of the whole, so that a few rounds meet different steps."""
    return [(turn + chance.random()) * whole / rounds for turn in range(rounds)]


@rounds
def test_a_killed_creation_leaves_no_schema_or_the_whole_one(tmp_path: Path, rounds: int) -> None:
    chance = random.Random(20260310)
    whole = duration(CONNECT, str(tmp_path / "timed.db"))
    for turn, seconds in enumerate(delays(chance, whole, rounds)):
        path = tmp_path / f"killed{turn}.db"
        kill_after(CONNECT, str(path), seconds)
        raw = Raw(str(path))
        if path.exists():
            found = (raw.tables(), raw.triggers(), raw.revision())
            assert found in [(set(), set(), None), (HEAD_TABLES, guards(raw), HEAD)], seconds
        with walle.connect(path) as store:
            assert store.status().ok
        assert (raw.tables(), raw.triggers(), raw.revision()) == (HEAD_TABLES, guards(raw), HEAD)
        assert raw.value("PRAGMA integrity_check") == "ok"
        assert raw.value("PRAGMA journal_mode") == "wal"


def wait_until_alone(raw: Raw) -> None:
    """Wait until the server has noticed that its client is gone, and rolled back."""
    if raw.sqlite:
        return
    deadline = time.monotonic() + 60
    while raw.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()") > 1:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def prepare_base(raw: Raw, bars: int) -> None:
    migrate.upgrade(config(raw.address), BASE)
    fill_tables(raw, TABLES[BASE])
    when = "n * 60000000" if raw.sqlite else "'2025-03-01Z'::timestamptz + n * interval '1 minute'"
    numbers = (
        f"(WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < {bars}) "
        "SELECT n FROM counter)"
    )
    raw.run(
        "INSERT INTO bars (symbol, timeframe, timestamp, open, high, low, close, volume) "
        f"SELECT 'many', '1m', {when}, n, n, n, n, n FROM {numbers} AS counted"
    )


@rounds
def test_a_killed_upgrade_leaves_the_old_schema_or_the_new_one_with_every_row(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, rounds: int
) -> None:
    chance = random.Random(20260225)
    bars = 20_000
    if kind == "sqlite":
        template = tmp_path / "template.db"
        prepare_base(Raw(str(template)), bars)
        with Raw(str(template)).open() as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        content = template.read_bytes()

        def copy(name: str) -> str:
            (tmp_path / f"{name}.db").write_bytes(content)
            return str(tmp_path / f"{name}.db")

    else:
        server: Server = request.getfixturevalue("server")
        prepare_base(Raw(server.create("kill_template")), bars)
        request.addfinalizer(lambda: server.drop("kill_template"))

        def copy(name: str) -> str:
            request.addfinalizer(lambda: server.drop(f"kill_{name}"))
            return server.create(f"kill_{name}", template="kill_template")

    whole = duration(UPGRADE, copy("timed"))
    outcomes = set()
    for turn, seconds in enumerate(delays(chance, whole, rounds)):
        address = copy(f"killed{turn}")
        raw = Raw(address)
        kill_after(UPGRADE, address, seconds)
        wait_until_alone(raw)
        found = (raw.tables(), raw.triggers(), raw.revision())
        assert found in [(OLD_TABLES, set(), BASE), (HEAD_TABLES, guards(raw), HEAD)], seconds
        outcomes.add(found[2])
        assert raw.value("SELECT count(*) FROM bars WHERE symbol = 'many'") == bars
        migrate.upgrade(config(address), confirmed=True)
        with walle.connect(address) as store:
            assert store.status().ok
            assert store.bars.count("many", "1m") == bars
        raw.run("DELETE FROM alembic_version WHERE 1 = 0")  # nobody holds a lock any more
        others = [table for table in TABLES[BASE] if table != "bars"]
        assert read_tables(raw, others) == expected_tables(others, floats=True)
    assert BASE in outcomes


@pytest.fixture(params=["sqlite", "postgresql"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_eight_processes_that_connect_to_one_absent_file_all_get_a_store(tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    processes = [child(CONNECT, str(path)) for _ in range(8)]
    try:
        for process in processes:
            process.expect("go")
        for process in processes:
            process.tell()
        assert [process.expect("done") for process in processes] == ["True"] * 8
        for process in processes:
            process.succeed()
    finally:
        for process in processes:
            process.__exit__(None, None, None)
    raw = Raw(str(path))
    assert (raw.tables(), raw.triggers(), raw.revision()) == (HEAD_TABLES, guards(raw), HEAD)


def test_processes_that_upgrade_one_database_at_once_upgrade_it_once(empty_address: str) -> None:
    raw = Raw(empty_address)
    migrate.upgrade(config(empty_address), BASE)
    fill_tables(raw, TABLES[BASE])
    processes = [child(UPGRADE, empty_address) for _ in range(4)]
    try:
        for process in processes:
            process.expect("done")
            process.succeed()
    finally:
        for process in processes:
            process.__exit__(None, None, None)
    assert (raw.tables(), raw.triggers(), raw.revision()) == (HEAD_TABLES, guards(raw), HEAD)
    assert read_tables(raw, TABLES[BASE]) == expected_tables(TABLES[BASE], floats=True)
