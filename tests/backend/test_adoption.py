"""A database at a later revision of the backend's own chain is taken over: in one transaction, with every row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from psycopg.types.json import Jsonb

import walle
from tests.backend.schema import LATER, RESULTS, RUNS, make
from tests.raw import HEAD_TABLES, Raw, guards
from tests.samples import fill, order, run
from tests.test_migrations import CHAIN, HEAD, alembic, columns_of, config, indexes_of
from tests.test_migrations_loss import everything
from walle import backend, migrate, models
from walle.cli.main import main
from walle.errors import SchemaOutdated, SchemaTooNew, UpgradeRefused

BASE = "d4e5f6a7b8c9"
OURS = CHAIN[CHAIN.index(BASE) + 1 :]


def frames(address: str) -> dict[str, pl.DataFrame]:
    """Read every frame of a store that a backend's rows can be in."""
    with walle.connect(address, read_only=True) as store:
        found = {"runs": store.runs.read(), "orders": store.orders.read(), "fills": store.fills.read()}
        found |= {"series": store.bars.series(), "events": store.events.read(), "consumers": store.events.consumers()}
        for symbol, timeframe in found["series"].select("symbol", "timeframe").iter_rows():
            found[f"bars {symbol} {timeframe}"] = store.bars.read(symbol, timeframe)
        for name in found["runs"]["id"]:
            found[f"history {name}"] = store.runs.history(name)
        return found | {"results": store.runs.results(), "audit": store.fills.audit(), "trades": store.fills.trades()}


def same(before: dict[str, pl.DataFrame], after: dict[str, pl.DataFrame]) -> None:
    assert before.keys() == after.keys()
    for name, frame in before.items():
        if name == "runs":  # a column that counts saves; there was none before
            frame = frame.with_columns(revision=pl.lit(1, pl.Int64))
        if name == "consumers":  # the epoch too
            frame, after[name] = frame.drop("epoch", "lag_seconds"), after[name].drop("epoch", "lag_seconds")
        if name == "events":  # a serial id is 32 bits wide before
            frame = frame.cast(after[name].schema)
        assert frame.equals(after[name]), name
        assert frame.schema == after[name].schema, name


def whole(address: str) -> None:
    """Hold a store at head against the models and the guards."""
    raw = Raw(address)
    assert raw.revision() == HEAD
    assert migrate.check(config(address)) == []
    assert raw.triggers() == guards(raw)
    with walle.connect(address) as store:
        assert store.status().ok


def test_the_backends_revisions_are_known_and_none_is_ours() -> None:
    assert backend.REVISIONS == LATER
    assert backend.FORK == BASE
    assert not set(LATER) & set(models.REVISIONS)


@pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
@pytest.mark.parametrize("revision", LATER)
def test_a_yes_takes_it_over_and_every_frame_stays_as_it_was(empty_postgres: str, revision: str, filled: bool) -> None:
    raw = make(empty_postgres, revision, filled=filled)
    before = frames(empty_postgres)
    extra = raw.rows("SELECT * FROM backend_settings") if filled else []
    assert migrate.pending(config(empty_postgres)) == OURS
    assert walle.upgrade(empty_postgres, confirmed=True) == OURS
    whole(empty_postgres)
    same(before, frames(empty_postgres))
    assert raw.tables() == HEAD_TABLES | ({"backend_settings"} if filled else set())
    assert (raw.rows("SELECT * FROM backend_settings") if filled else []) == extra
    assert walle.upgrade(empty_postgres) == []


@pytest.mark.parametrize("revision", LATER)
def test_its_columns_and_indexes_are_those_of_a_store_that_walle_made(
    empty_postgres: str, postgres_address: str, revision: str
) -> None:
    raw, made = make(empty_postgres, revision), Raw(postgres_address)
    walle.upgrade(empty_postgres, confirmed=True)
    for table in sorted(HEAD_TABLES - {"alembic_version"}):
        assert sorted(columns_of(raw, table)) == sorted(columns_of(made, table)), table
        assert indexes_of(raw, table) == indexes_of(made, table), table


@pytest.mark.parametrize("revision", LATER[1:])
def test_symbols_and_timeframe_come_back_as_columns_and_stay_in_the_config(empty_postgres: str, revision: str) -> None:
    raw = make(empty_postgres, revision)
    configs = raw.rows("SELECT id, config FROM runs ORDER BY id")
    walle.upgrade(empty_postgres, confirmed=True)
    assert raw.rows("SELECT id, config FROM runs ORDER BY id") == configs
    stored = {name: rest for name, *rest in raw.rows("SELECT id, symbols, timeframe FROM runs")}
    assert stored["b-list"] == [["BTC/USD", "Größe 漢"], "1m"]
    assert stored["r1"] == [["BTC/USD", "漢"], "1m"]  # from before the backend moved them
    assert stored["b-object"] == [None, None]
    with walle.connect(empty_postgres) as store:
        read = {row["id"]: row for row in store.runs.read().iter_rows(named=True)}
        for name, (_, symbols, timeframe) in RUNS.items():
            assert (read[name]["symbols"], read[name]["timeframe"]) == (symbols, timeframe), name
    raw.run("UPDATE runs SET config = NULL WHERE id = 'b-none'")


def test_results_that_are_there_stay_and_are_read(empty_postgres: str) -> None:
    raw = make(empty_postgres)
    rows = raw.rows("SELECT * FROM backtest_results ORDER BY run_id")
    walle.upgrade(empty_postgres, confirmed=True)
    assert raw.rows("SELECT * FROM backtest_results ORDER BY run_id") == rows
    with walle.connect(empty_postgres) as store:
        assert store.runs.results()["run_id"].to_list() == sorted(row[0] for row in RESULTS)
        found = store.runs.result("b-list")
        assert found is not None
        assert (str(found.final_equity), found.stats) == ("10123.4567890123456789", {"sharpe": 1.25, "trades": [1]})


def test_it_is_written_to_afterwards_beyond_the_backends_ceilings(empty_postgres: str) -> None:
    make(empty_postgres)
    walle.upgrade(empty_postgres, confirmed=True)
    with walle.connect(empty_postgres) as store:
        store.orders.save(order())
        store.fills.append(fill(symbol="s" * 128))
        store.runs.save(run(config=None))
        assert store.fills.read(symbol="s" * 128)["quantity"].to_list() == [fill().quantity]
        listed = store.runs.get("b-list")
        assert store.runs.save(walle.Run.from_row(_row(listed, "running"))).revision == 2


def _row(found: walle.Run, status: str) -> dict[str, Any]:
    return {name: getattr(found, name) for name in found.__dataclass_fields__} | {"status": walle.RunStatus(status)}


@pytest.mark.parametrize("revision", LATER)
def test_without_a_yes_it_says_what_would_happen_and_touches_nothing(empty_postgres: str, revision: str) -> None:
    raw = make(empty_postgres, revision)
    before = everything(raw)
    with pytest.raises(UpgradeRefused, match="--yes") as caught:
        walle.upgrade(empty_postgres)
    for word in (revision, "backend", "backtest_results", "symbols", "config"):
        assert word in str(caught.value)
    with pytest.raises(SchemaOutdated, match=rf"{revision}.*--yes.*read_only=True") as refused:
        walle.connect(empty_postgres)
    assert refused.value.revision == revision
    for error in (caught, refused):
        assert "newer" not in str(error.value)
        assert "correct" not in str(error.value)
    done = alembic("-x", f"url={empty_postgres}", "upgrade", "head")
    assert done.returncode != 0
    assert "adopt=yes" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    with walle.connect(empty_postgres, read_only=True) as store:
        status = store.status()
        assert (status.revision, status.pending, status.ok) == (revision, tuple(OURS), False)
    assert everything(raw) == before


def test_the_command_takes_it_over_with_a_yes_only(empty_postgres: str, capsys: pytest.CaptureFixture[str]) -> None:
    make(empty_postgres)
    assert main(["status", empty_postgres]) == 1
    assert main(["upgrade", empty_postgres]) == 1
    assert "--yes" in capsys.readouterr().err
    assert main(["upgrade", "--yes", empty_postgres]) == 0
    assert f"upgraded by {', '.join(OURS)}" in capsys.readouterr().out
    assert main(["status", empty_postgres]) == 0


def test_the_alembic_command_takes_it_over_where_it_is_told_to(empty_postgres: str) -> None:
    make(empty_postgres)
    before = frames(empty_postgres)
    done = alembic("-x", f"url={empty_postgres}", "-x", "adopt=yes", "upgrade", "head")
    assert done.returncode == 0, done.stderr
    whole(empty_postgres)
    same(before, frames(empty_postgres))


async def test_the_async_core_says_how_to_take_it_over(empty_postgres: str) -> None:
    raw = make(empty_postgres)
    database = walle.Database(empty_postgres)
    with pytest.raises(SchemaOutdated, match=r"b2c3d4e5f6a7.*--yes"):
        await walle.RunRepository(database).save(run())
    raw.run("UPDATE alembic_version SET version_num = 'f00dfeed1234'")
    with pytest.raises(SchemaOutdated, match=r"f00dfeed1234.*neither.*newer WallE"):
        await walle.RunRepository(database).save(run())
    await database.close()


def test_what_a_migration_would_lose_refuses_the_whole_of_it(empty_postgres: str) -> None:
    raw = make(empty_postgres)
    raw.run("INSERT INTO bars VALUES (10, 'LOSS', '1m', now(), 1234567890.12345678, 1, 1, 1, 1)")
    before = everything(raw)
    with pytest.raises(UpgradeRefused, match="LOSS"):
        walle.upgrade(empty_postgres, confirmed=True)
    assert everything(raw) == before
    walle.upgrade(empty_postgres, confirmed=True, allow_rounding=True)
    whole(empty_postgres)


def test_a_downgrade_to_the_base_names_what_the_backend_had_added(empty_postgres: str) -> None:
    raw, where = make(empty_postgres), config(empty_postgres)
    walle.upgrade(empty_postgres, confirmed=True)
    before = everything(raw)
    with pytest.raises(UpgradeRefused, match="rows of backtest_results: 2, such as b-list"):
        migrate.downgrade(where, BASE)
    assert everything(raw) == before
    raw.run("DELETE FROM backtest_results")
    with pytest.raises(
        UpgradeRefused, match=r"values of fills.symbol: 2, such as b1, b2; values of fills.commission: 2"
    ):
        migrate.downgrade(where, BASE)
    migrate.downgrade(where, BASE, discard=True)
    assert raw.revision() == BASE
    assert "backtest_results" not in raw.tables()
    assert raw.value("SELECT length(timeframe) FROM runs WHERE id = 'b-huge'") == 20
    migrate.upgrade(where, confirmed=True)
    whole(empty_postgres)


def test_an_index_of_the_backends_at_the_base_revision_is_no_difference_at_head(empty_postgres: str) -> None:
    raw = make(empty_postgres, LATER[0])
    raw.run("CREATE INDEX ix_fills_order_id ON fills (order_id)")
    raw.run(f"UPDATE alembic_version SET version_num = '{BASE}'")
    walle.upgrade(empty_postgres, confirmed=True)
    whole(empty_postgres)


@pytest.mark.parametrize("revision", LATER)
def test_a_file_that_names_such_a_revision_is_refused_with_the_reason(tmp_path: Path, revision: str) -> None:
    path = tmp_path / "copied.db"
    walle.connect(path).close()
    raw = Raw(str(path))
    raw.run(f"UPDATE alembic_version SET version_num = '{revision}'")
    before = everything(raw)
    for call in (lambda: walle.upgrade(path, confirmed=True), lambda: walle.connect(path), lambda: walle.upgrade(path)):
        with pytest.raises(UpgradeRefused, match=rf"{revision}.*PostgreSQL only.*read_only=True"):
            call()
    with walle.connect(path, read_only=True) as store:
        assert store.runs.read().height == 0
    assert everything(raw) == before


def test_a_revision_of_nobody_still_asks_for_a_newer_walle(empty_postgres: str) -> None:
    raw = make(empty_postgres)
    raw.run("UPDATE alembic_version SET version_num = 'f00dfeed1234'")
    for call in (lambda: walle.connect(empty_postgres), lambda: walle.upgrade(empty_postgres, confirmed=True)):
        with pytest.raises(SchemaTooNew, match=r"neither.*backend.*newer WallE"):
            call()


# a run that the backend writes into our database


INSERT = "INSERT INTO runs (id, strategy_id, mode, status, config, created_at) VALUES (?, 's', 'live', 'running', ?, ?)"


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_the_backend_writes_into_our_database_has_what_its_config_says(address: str, name: str) -> None:
    raw = Raw(address)
    document, symbols, timeframe = RUNS[name]
    document = document.obj if isinstance(document, Jsonb) else document
    values = [raw.stored("runs", "config", document), raw.stored("runs", "created_at", run().created_at)]
    raw.run(INSERT, [name, *values])
    with walle.connect(address) as store:
        row = store.runs.read().row(0, named=True)
        assert (row["symbols"], row["timeframe"]) == (symbols, timeframe)
        for found in (store.runs.get(name), store.runs.recover()[0], store.runs.sweep()[0], store.runs.get(name)):
            assert found.symbols == (None if symbols is None else tuple(symbols))
            assert found.timeframe == timeframe
    assert raw.rows("SELECT symbols, timeframe FROM runs") == [(None, None)]


def test_a_null_of_json_in_a_column_is_a_null(address: str) -> None:
    raw = Raw(address)
    values = [raw.stored("runs", "config", {"symbols": ["A"]}), raw.stored("runs", "created_at", run().created_at)]
    raw.run(INSERT, ["r", *values])
    raw.run("UPDATE runs SET symbols = 'null'")
    with walle.connect(address) as store:
        assert store.runs.get("r").symbols == ("A",)
        assert store.runs.read()["symbols"].to_list() == [["A"]]


def test_the_columns_of_a_run_of_our_own_come_before_its_config(store: walle.Store) -> None:
    document = {"symbols": ["X"], "timeframe": "1d", "fast": 5}
    store.runs.save(run(1, config=document))
    assert (store.runs.get("run-1").symbols, store.runs.get("run-1").timeframe) == (run().symbols, "1m")
    saved = store.runs.save(run(2, config=document, symbols=None, timeframe=None))
    assert saved == store.runs.get("run-2")
    assert (saved.symbols, saved.timeframe, saved.config) == (("X",), "1d", document)
    assert (
        store.runs.save([run(1, config=document), run(2, config=document, symbols=None, timeframe=None)]).unchanged == 2
    )
    assert not store.runs.ingest(run(2, config=document, symbols=None, timeframe=None)).inserted
    assert store.runs.save([run(3, config={"timeframe": "t" * 50}, timeframe=None)]).inserted == 1
    assert store.runs.save([run(3, config={"timeframe": "t" * 50}, timeframe=None)]).unchanged == 1
