"""Taking a backend's database over, killed at any moment: its old schema or ours, whole, with every row."""

from __future__ import annotations

import random

import pytest

import walle
from tests.backend.schema import LATER, make
from tests.postgres import Server
from tests.raw import HEAD_TABLES, Raw, guards
from tests.test_migrations import HEAD, config
from tests.test_migrations_kill import UPGRADE, child, delays, duration, kill_after, rounds, wait_until_alone
from tests.test_migrations_loss import everything
from walle import migrate

TEMPLATE = "adopt_template"
RUNS = 20_000


@rounds
def test_a_killed_adoption_leaves_the_backends_schema_or_ours_with_every_row(
    request: pytest.FixtureRequest, server: Server, rounds: int
) -> None:
    chance = random.Random(20260310)
    raw = make(server.create(TEMPLATE))
    request.addfinalizer(lambda: server.drop(TEMPLATE))
    raw.run(
        "INSERT INTO runs (id, strategy_id, mode, status, config) SELECT 'many' || n, 's', 'live', 'pending', "
        "jsonb_build_object('symbols', jsonb_build_array('S' || n), 'timeframe', '1m') "
        f"FROM generate_series(1, {RUNS}) n"
    )
    before = everything(raw)

    def copy(name: str) -> str:
        request.addfinalizer(lambda: server.drop(f"adopt_{name}"))
        return server.create(f"adopt_{name}", template=TEMPLATE)

    whole = duration(UPGRADE, copy("timed"))
    revisions = set()
    for turn, seconds in enumerate(delays(chance, whole, rounds)):
        address = copy(f"killed{turn}")
        raw = Raw(address)
        kill_after(UPGRADE, address, seconds)
        wait_until_alone(raw)
        revisions.add(raw.revision())
        if raw.revision() == LATER[-1]:
            assert everything(raw) == before, seconds
        migrate.upgrade(config(address), confirmed=True)
        found = (raw.tables(), raw.triggers(), raw.revision())
        assert found == (HEAD_TABLES | {"backend_settings"}, guards(raw), HEAD), seconds
        with walle.connect(address) as store:
            assert store.status().ok
            assert store.runs.get("many7").symbols == ("S7",)
        assert raw.value("SELECT count(*) FROM runs WHERE symbols = config -> 'symbols'") >= RUNS
    assert revisions <= {LATER[-1], HEAD}
    assert LATER[-1] in revisions


def test_processes_that_take_one_database_over_at_once_do_it_once(empty_postgres: str) -> None:
    raw = make(empty_postgres)
    processes = [child(UPGRADE, empty_postgres) for _ in range(3)]
    try:
        for process in processes:
            process.expect("go")
            process.tell()
        for process in processes:
            process.expect("done")
            process.succeed()
    finally:
        for process in processes:
            process.__exit__(None, None, None)
    assert raw.revision() == HEAD
    assert migrate.check(config(empty_postgres)) == []
    with walle.connect(empty_postgres) as store:
        assert store.runs.get("b-list").symbols == ("BTC/USD", "Größe 漢")
