"""The chain of revisions: its shape, the tables it makes, and rows that pass through it unchanged."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

import walle
from tests.examples import first_quick
from tests.raw import BASES, HEAD_TABLES, TABLES, Raw, expected_tables, fill_tables, guards, read_tables
from walle import migrate, models
from walle.config import DatabaseConfig

ROOT = Path(__file__).parents[1]
HEAD = "b7c4e1d9f2a6"
CHAIN = [*BASES, "e6a1c0d2f4b8", "f7b2d1e3a5c9", "a8c3e2f4b6d0", "b9d4f3a5c7e1", "c0e5a4b6d8f2", "d1f6b5c7e9a3"]
CHAIN += ["e2a7c6d8f0b4", "f3b8d7e9a1c5", HEAD]


def config(address: str) -> DatabaseConfig:
    return DatabaseConfig(url=address)


def alembic(*arguments: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WALLE_")}
    if url is not None:
        environment["WALLE_DATABASE_URL"] = url
    return subprocess.run(
        [str(Path(sys.executable).with_name("alembic")), *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


# the shape of the chain


def test_the_four_base_revisions_have_the_backends_file_names_and_ids() -> None:
    names = {path.name for path in (ROOT / "migrations" / "versions").glob("*.py")}
    assert names >= {
        "20260130_0000_001_initial_initial_tables.py",
        "20260202_1818_a7efb08f089a_add_veda_orders_table.py",
        "20260203_1000_c3b4a5d6e7f8_add_bars_table.py",
        "20260225_1000_d4e5f6a7b8c9_add_runs_and_fills_tables.py",
    }
    for name in names:
        assert any(f"_{revision}_" in name for revision in CHAIN), name


def test_the_models_list_the_chain_of_the_migrations_in_order_with_one_head() -> None:
    scripts = ScriptDirectory.from_config(Config(toml_file=ROOT / "pyproject.toml"))
    assert scripts.get_heads() == [HEAD]
    assert [script.revision for script in scripts.walk_revisions()][::-1] == CHAIN
    assert list(models.REVISIONS) == CHAIN
    assert models.BASE_REVISIONS == BASES


# there and back


def test_an_empty_database_goes_to_head_and_to_base_and_to_head(empty_address: str) -> None:
    raw, where = Raw(empty_address), config(empty_address)
    for _ in range(2):
        assert migrate.pending(where) == CHAIN if raw.tables() else True
        assert migrate.upgrade(where) == CHAIN
        assert migrate.upgrade(where) == []
        assert (raw.tables(), raw.triggers(), raw.revision()) == (HEAD_TABLES, guards(raw), HEAD)
        assert migrate.check(where) == []
        assert migrate.pending(where) == []
        migrate.downgrade(where, "base")
        assert (raw.tables(), raw.triggers(), raw.revision()) == ({"alembic_version"}, set(), None)
    assert migrate.upgrade(where) == CHAIN
    assert raw.revision() == migrate.current(where) == HEAD


def test_every_step_of_the_chain_can_be_taken_alone(empty_address: str) -> None:
    raw, where = Raw(empty_address), config(empty_address)
    for revision in CHAIN:
        assert migrate.upgrade(where, revision) == [revision]
        assert raw.revision() == revision
    shapes = []
    for revision in [*CHAIN[-2::-1], "base"]:
        shapes.append(raw.tables())
        migrate.downgrade(where, revision)
        assert raw.revision() == (None if revision == "base" else revision)
    assert shapes[-1] == {*TABLES["001_initial"], "alembic_version"}


@pytest.mark.parametrize("by", first_quick(["option", "environment"]))
def test_the_alembic_command_goes_up_and_down_and_finds_no_difference(empty_address: str, by: str) -> None:
    raw = Raw(empty_address)
    option = ["-x", f"url={empty_address}"] if by == "option" else []
    url = None if by == "option" else empty_address
    for words in (["upgrade", "head"], ["check"], ["downgrade", "base"], ["upgrade", "head"]):
        done = alembic(*option, *words, url=url)
        assert done.returncode == 0, done.stderr
        assert "correct%20horse" not in done.stdout + done.stderr
    assert (raw.tables(), raw.triggers(), raw.revision()) == (HEAD_TABLES, guards(raw), HEAD)
    with walle.connect(empty_address) as store:
        assert store.status().ok


def test_the_alembic_command_without_a_database_says_how_to_name_one() -> None:
    done = alembic("upgrade", "head")
    assert done.returncode != 0
    assert "WALLE_DATABASE_URL" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE fills ADD COLUMN venue TEXT",
        "DROP INDEX idx_fills_run_filled",
        "DROP TABLE bar_conflicts",
    ],
)
def test_check_names_what_differs_from_the_models(address: str, change: str) -> None:
    Raw(address).run(change)
    assert len(migrate.check(config(address))) >= 1


# rows pass through


@pytest.mark.parametrize("base", BASES)
def test_rows_of_every_base_revision_are_unchanged_at_head_and_after_down_and_up(empty_address: str, base: str) -> None:
    raw, where, tables = Raw(empty_address), config(empty_address), TABLES[base]
    migrate.upgrade(where, base)
    fill_tables(raw, tables)
    before = expected_tables(tables, floats=raw.sqlite)
    assert read_tables(raw, tables) == before

    assert migrate.upgrade(where, confirmed=True) == CHAIN[CHAIN.index(base) + 1 :]
    at_head = expected_tables(tables, floats=True)
    assert read_tables(raw, tables) == at_head
    assert raw.triggers() == guards(raw)

    back = max(base, "d4e5f6a7b8c9", key=CHAIN.index)
    migrate.downgrade(where, back)
    assert read_tables(raw, tables) == before
    assert raw.triggers() == set()

    migrate.upgrade(where, confirmed=True)
    assert read_tables(raw, tables) == at_head
    assert migrate.check(where) == []


def test_ids_go_on_behind_the_last_one_after_an_upgrade(empty_address: str) -> None:
    raw, where, tables = Raw(empty_address), config(empty_address), TABLES["d4e5f6a7b8c9"]
    migrate.upgrade(where, "d4e5f6a7b8c9")
    fill_tables(raw, tables)
    migrate.upgrade(where, confirmed=True)
    raw.run("INSERT INTO outbox (type, payload) VALUES ('new.Event', '{}')")
    raw.run(
        "INSERT INTO bars (symbol, timeframe, timestamp, open, high, low, close, volume) "
        f"VALUES ('new', '1m', {'0' if raw.sqlite else 'now()'}, 1, 1, 1, 1, 1)"
    )
    assert raw.value("SELECT id FROM outbox WHERE type = 'new.Event'") == 8
    assert raw.value("SELECT id FROM bars WHERE symbol = 'new'") == 10


# the columns that databases made by the backend exist with

BASE_COLUMNS = {
    "outbox": """
        id integer not null default nextval('outbox_id_seq'::regclass)
        type character varying(100) not null
        payload jsonb not null
        created_at timestamp with time zone not null default now()
    """,
    "consumer_offsets": """
        consumer_id character varying(100) not null
        last_offset bigint not null default '-1'::bigint
        updated_at timestamp with time zone not null default now()
    """,
    "veda_orders": """
        id character varying(36) not null
        client_order_id character varying(36) not null
        exchange_order_id character varying(100)
        run_id character varying(100) not null
        symbol character varying(50) not null
        side character varying(10) not null
        order_type character varying(20) not null
        qty numeric(18,8) not null
        limit_price numeric(18,8)
        stop_price numeric(18,8)
        time_in_force character varying(10) not null
        status character varying(20) not null
        filled_qty numeric(18,8) not null
        filled_avg_price numeric(18,8)
        created_at timestamp with time zone not null
        submitted_at timestamp with time zone
        filled_at timestamp with time zone
        cancelled_at timestamp with time zone
        reject_reason character varying(500)
        error_code character varying(50)
    """,
    "bars": """
        id integer not null default nextval('bars_id_seq'::regclass)
        symbol character varying(32) not null
        timeframe character varying(8) not null
        timestamp timestamp with time zone not null
        open numeric(18,8) not null
        high numeric(18,8) not null
        low numeric(18,8) not null
        close numeric(18,8) not null
        volume numeric(18,8) not null
    """,
    "runs": """
        id character varying(100) not null
        strategy_id character varying(100) not null
        mode character varying(20) not null
        status character varying(20) not null
        symbols jsonb
        timeframe character varying(20)
        config jsonb
        error character varying(2000)
        created_at timestamp with time zone not null default now()
        started_at timestamp with time zone
        stopped_at timestamp with time zone
    """,
    "fills": """
        id character varying(100) not null
        order_id character varying(100) not null
        price numeric(18,8) not null
        quantity numeric(18,8) not null
        side character varying(10) not null
        filled_at timestamp with time zone not null
        exchange_fill_id character varying(100)
    """,
}
BASE_INDEXES = {
    "outbox": {
        "UNIQUE (id)",
        "ix_outbox_type (type)",
        "ix_outbox_created_at (created_at)",
        "idx_outbox_type_created (type, created_at)",
    },
    "consumer_offsets": {"UNIQUE (consumer_id)"},
    "veda_orders": {
        "UNIQUE (id)",
        "UNIQUE (client_order_id)",
        "ix_veda_orders_run_id (run_id)",
        "ix_veda_orders_symbol (symbol)",
        "ix_veda_orders_status (status)",
        "idx_veda_orders_run_status (run_id, status)",
        "idx_veda_orders_symbol_status (symbol, status)",
    },
    "bars": {"UNIQUE (id)", 'UNIQUE (symbol, timeframe, "timestamp")'},
    "runs": {"UNIQUE (id)", "idx_runs_status_created (status, created_at)"},
    "fills": {"UNIQUE (id)", "idx_fills_order_filled (order_id, filled_at)"},
}
NEW_COLUMNS = {
    "runs": [
        "heartbeat_at timestamp with time zone",
        "owner jsonb",
        "revision bigint not null default '1'::bigint",
        "account text",
        "prices text",
    ],
    "consumer_offsets": [
        "epoch bigint not null default '0'::bigint",
        "owner jsonb",
        "heartbeat_at timestamp with time zone",
        "succeeded_at timestamp with time zone",
        "failed_at timestamp with time zone",
        "error text",
    ],
    "fills": [
        "run_id text",
        "symbol text",
        "commission numeric",
        "commission_currency text",
        "liquidity text",
        "sequence bigint",
        "account text",
        "extra jsonb",
        "recorded_at timestamp with time zone",
    ],
    "veda_orders": ["account text", "extra jsonb", "recorded_at timestamp with time zone"],
}


def columns_of(raw: Raw, table: str) -> list[str]:
    return [
        str(line)
        for (line,) in raw.rows(
            "SELECT attname || ' ' || format_type(atttypid, atttypmod) || CASE WHEN attnotnull THEN ' not null' "
            "ELSE '' END || coalesce(' default ' || pg_get_expr(adbin, adrelid), '') FROM pg_attribute "
            "LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
            f"WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
        )
    ]


def indexes_of(raw: Raw, table: str) -> set[str]:
    found = raw.rows(
        f"SELECT indexname, indexdef FROM pg_indexes WHERE tablename = '{table}' AND schemaname = 'public'"
    )
    shapes = set()
    for name, definition in found:
        shapes.add(f"{'UNIQUE' if ' UNIQUE ' in definition else name} {definition.partition(' USING btree ')[2]}")
    return shapes


def test_on_postgresql_the_base_revisions_make_exactly_the_backends_columns_and_indexes(empty_postgres: str) -> None:
    raw = Raw(empty_postgres)
    for base in BASES:
        migrate.upgrade(config(empty_postgres), base)
        assert raw.tables() == {*TABLES[base], "alembic_version"}
        for table in TABLES[base]:
            assert columns_of(raw, table) == [line.strip() for line in BASE_COLUMNS[table].strip().splitlines()]
            assert indexes_of(raw, table) == BASE_INDEXES[table]
    assert (
        raw.value("SELECT conname FROM pg_constraint WHERE conrelid = 'bars'::regclass AND contype = 'u'") == "uq_bar"
    )


def test_on_postgresql_head_has_float_bars_wide_keys_and_no_ceilings(postgres_address: str) -> None:
    raw = Raw(postgres_address)
    for table, lines in BASE_COLUMNS.items():
        expected = []
        for line in lines.strip().splitlines():
            name, _, rest = line.strip().partition(" ")
            if rest.startswith("character varying"):
                rest = "text" + rest.partition(")")[2]
            rest = rest.replace("numeric(18,8)", "double precision" if table == "bars" else "numeric")
            if name == "id":
                rest = rest.replace("integer", "bigint")
            expected.append(f"{name} {rest}")
        expected += NEW_COLUMNS.get(table, [])
        assert columns_of(raw, table) == expected
    assert raw.rows("SELECT sequencename, data_type::text, max_value, cache_size FROM pg_sequences ORDER BY 1") == [
        (f"{table}_id_seq", "bigint", 2**63 - 1, 1)
        for table in (
            "answered_findings",
            "bar_conflicts",
            "bar_index",
            "bar_ingests",
            "bar_versions",
            "bars",
            "cash_corrections",
            "explained_gaps",
            "fill_corrections",
            "ingests",
            "instruments",
            "offset_resets",
            "outbox",
            "parked_events",
            "provider_changes",
            "rejected_bars",
            "set_aside_rows",
        )
    ]
