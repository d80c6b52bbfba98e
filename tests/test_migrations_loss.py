"""Migrations that would lose something: refused with its name, nothing changed, until a user says yes."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests.raw import BASES, HEAD_TABLES, OWN_TABLES, TABLES, Raw, expected_tables, fill_tables, guards, read_tables
from tests.test_migrations import CHAIN, alembic, config
from walle import migrate
from walle.errors import DatabaseUnavailable, NotAWalleStore, SchemaError, SchemaTooNew, UpgradeRefused

WHEN = datetime(2025, 3, 1, tzinfo=UTC)
BASE = "d4e5f6a7b8c9"
NEW_BARS = ["symbol", "timeframe", "timestamp", "open", "high", "low", "close", "volume"]
FILLS = ["id", "order_id", "price", "quantity", "side", "filled_at"]


def bar(value: Any, symbol: str = "LOSS") -> tuple[Any, ...]:
    return (symbol, "1m", WHEN, value, value, value, value, value)


def everything(raw: Raw) -> list[object]:
    """Every row of every table as the driver gives it, and what stands around them."""
    tables = sorted(raw.tables())
    columns = []
    if not raw.sqlite:
        columns = raw.rows(
            "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod) FROM pg_attribute "
            "WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace) "
            "ORDER BY 1, attnum"
        )
    rows = [sorted(map(repr, raw.rows(f"SELECT * FROM {table}"))) for table in tables]
    return [tables, columns, rows, raw.triggers()]


# a yes to leave the backend's chain


@pytest.mark.parametrize("base", BASES)
def test_a_filled_base_revision_is_upgraded_only_with_a_yes(empty_address: str, base: str) -> None:
    raw = Raw(empty_address)
    migrate.upgrade(config(empty_address), base)
    fill_tables(raw, TABLES[base][-1:])
    before = everything(raw)
    with pytest.raises(UpgradeRefused, match="--yes") as caught:
        migrate.upgrade(config(empty_address))
    assert base in str(caught.value)
    assert "correct" not in str(caught.value)
    assert everything(raw) == before
    migrate.upgrade(config(empty_address), confirmed=True)
    assert raw.tables() == HEAD_TABLES


@pytest.mark.parametrize("base", BASES)
def test_an_empty_base_revision_is_upgraded_without_a_yes(empty_address: str, base: str) -> None:
    raw = Raw(empty_address)
    migrate.upgrade(config(empty_address), base)
    assert migrate.upgrade(config(empty_address)) == CHAIN[CHAIN.index(base) + 1 :]
    assert raw.tables() == HEAD_TABLES


def test_a_later_revision_needs_no_yes(empty_address: str) -> None:
    raw = Raw(empty_address)
    migrate.upgrade(config(empty_address), "e6a1c0d2f4b8")
    fill_tables(raw, TABLES[BASE])
    assert migrate.upgrade(config(empty_address)) == CHAIN[CHAIN.index("e6a1c0d2f4b8") + 1 :]


# bars that float64 cannot hold


@pytest.mark.parametrize("value", ["1234567890.12345678", "-9999999999.99999999", "90071992.54740993"])
def test_bars_beyond_float64_are_rounded_only_when_that_is_allowed(empty_postgres: str, value: str) -> None:
    raw, where = Raw(empty_postgres), config(empty_postgres)
    migrate.upgrade(where, BASE)
    fill_tables(raw, TABLES[BASE])
    raw.insert("bars", NEW_BARS, [("LOSS", "1m", WHEN, *map(Decimal, ("1", "2", value, "3", "4")))])
    before = everything(raw)
    with pytest.raises(UpgradeRefused) as caught:
        migrate.upgrade(where, confirmed=True)
    for word in ("bars.low", "LOSS", value, "--allow-rounding"):
        assert word in str(caught.value)
    assert "bars.open" not in str(caught.value)
    assert everything(raw) == before
    migrate.upgrade(where, confirmed=True, allow_rounding=True)
    assert raw.value("SELECT low FROM bars WHERE symbol = 'LOSS'") == float(value)


def test_decimals_that_float64_gives_back_never_refuse(empty_postgres: str) -> None:
    raw, where = Raw(empty_postgres), config(empty_postgres)
    migrate.upgrade(where, BASE)
    # 0.00000001 to 0.00065521 and on to millions: all have at most 15 digits
    raw.run(
        "INSERT INTO bars (symbol, timeframe, timestamp, open, high, low, close, volume) SELECT 'X', '1m', "
        "'2025-03-01Z'::timestamptz + n * interval '1 minute', n / 100000000.0, n / 10.0, -n / 1000.0, "
        "n * 1000 + 0.00000001, n * 100000 FROM generate_series(1, 5000) AS n"
    )
    before = raw.rows("SELECT open, high, low, close, volume FROM bars ORDER BY timestamp")
    migrate.upgrade(where, confirmed=True)
    after = raw.rows("SELECT open, high, low, close, volume FROM bars ORDER BY timestamp")
    assert len(after) == 5000
    assert [tuple(map(float, row)) for row in before] == after


def test_a_server_that_shows_fewer_digits_of_floats_loses_none(empty_postgres: str) -> None:
    raw, where = Raw(empty_postgres), config(empty_postgres)
    migrate.upgrade(where, BASE)
    raw.run("INSERT INTO bars VALUES (1, 'X', '1m', now(), 12345678.90123456, 1, 1, 1, 1)")
    raw.run(f'ALTER DATABASE "{empty_postgres.rpartition("/")[2]}" SET extra_float_digits = 0')
    migrate.upgrade(where, confirmed=True)
    assert raw.value("SELECT float8send(open) = float8send('12345678.90123456'::float8) FROM bars")
    migrate.downgrade(where, BASE)
    assert raw.value("SELECT open FROM bars") == Decimal("12345678.90123456")


# downgrades


LOSSES = {
    "digits of bars.close": (
        "bars",
        NEW_BARS,
        ("LOSS", "1m", WHEN, 1.0, 1.0, 1.0, 0.1 + 0.2, 1.0),
        "0.30000000000000004",
    ),
    "digits of fills.price": (
        "fills",
        FILLS,
        ("LOSS", "o", Decimal("0.123456789"), Decimal(1), "buy", WHEN),
        "0.123456789",
    ),
    "characters of fills.side": ("fills", FILLS, ("LOSS", "o", Decimal(1), Decimal(1), "b" * 11, WHEN), "bbbbbbbbbbb"),
    "characters of bars.symbol": ("bars", NEW_BARS, bar(1.0, "S" * 33), "S" * 33),
}


@pytest.mark.parametrize("what", LOSSES)
def test_on_postgresql_a_downgrade_that_cuts_digits_or_characters_is_refused(postgres_address: str, what: str) -> None:
    raw, where = Raw(postgres_address), config(postgres_address)
    table, columns, row, shown = LOSSES[what]
    fill_tables(raw, TABLES[BASE])
    raw.insert(table, columns, [row])
    before = everything(raw)
    with pytest.raises(UpgradeRefused) as caught:
        migrate.downgrade(where, BASE)
    for word in (what, shown, "discard"):
        assert word in str(caught.value)
    assert everything(raw) == before
    migrate.downgrade(where, BASE, discard=True)
    assert raw.revision() == BASE
    assert raw.value(f"SELECT count(*) FROM {table}") == len(expected_tables([table], floats=False)[table]) + 1


@pytest.mark.parametrize(
    ("table", "columns", "row", "word"),
    [
        ("bars", NEW_BARS, bar(1e10), "bars.open"),
        ("fills", FILLS, ("f", "o", Decimal(1), Decimal("9999999999.999999999"), "buy", WHEN), "fills.quantity"),
        ("bars", ["id", *NEW_BARS], (2**31, *bar(1.0)), "ids of bars"),
        ("fills", FILLS, ("x" * 100 + "2", "o", Decimal(1), Decimal(1), "buy", WHEN), "fills.id that would become"),
        ("bars", NEW_BARS, bar(1.0, "S" * 32 + "2"), "bars.symbol that would become the same"),
    ],
    ids=["integer digits", "a rounding that needs one more digit", "ids", "keys of fills", "keys of bars"],
)
def test_on_postgresql_what_no_cut_makes_fit_is_refused_also_with_discard(
    postgres_address: str, table: str, columns: list[str], row: tuple[Any, ...], word: str
) -> None:
    raw, where = Raw(postgres_address), config(postgres_address)
    raw.insert("fills", FILLS, [("x" * 100 + "1", "o", Decimal(1), Decimal(1), "buy", WHEN)])
    raw.insert("bars", NEW_BARS, [bar(1.0, "S" * 32 + "1")])
    raw.insert(table, columns, [row])
    before = everything(raw)
    for discard in (False, True):
        with pytest.raises(UpgradeRefused, match=word):
            migrate.downgrade(where, BASE, discard=discard)
        assert everything(raw) == before


NEW_VALUES = {
    "fills.run_id": "'r1'",
    "fills.symbol": "'BTC/USD'",
    "fills.commission": "'0.1'",
    "fills.commission_currency": "'USD'",
    "fills.liquidity": "'maker'",
}


@pytest.mark.parametrize("column", NEW_VALUES)
def test_a_downgrade_that_drops_a_filled_column_of_fills_is_refused(address: str, column: str) -> None:
    raw, where, name = Raw(address), config(address), column.partition(".")[2]
    fill_tables(raw, TABLES[BASE])
    raw.run(
        f"INSERT INTO fills (id, order_id, price, quantity, side, filled_at, {name}) "
        f"VALUES ('LOSS', 'o', '1', '1', 'buy', {'0' if raw.sqlite else 'now()'}, {NEW_VALUES[column]})"
    )
    before = everything(raw)
    with pytest.raises(UpgradeRefused, match=f"values of {column}: 1, such as LOSS"):
        migrate.downgrade(where, BASE)
    assert everything(raw) == before
    migrate.downgrade(where, BASE, discard=True)
    assert ("LOSS", "o") in raw.rows("SELECT id, order_id FROM fills")


@pytest.mark.parametrize(("column", "value"), [("heartbeat_at", "0"), ("owner", '{"pid":1}'), ("revision", "2")])
def test_a_downgrade_that_drops_a_filled_column_of_runs_is_refused(address: str, column: str, value: str) -> None:
    raw, where = Raw(address), config(address)
    fill_tables(raw, TABLES[BASE])
    if column == "heartbeat_at" and not raw.sqlite:
        value = "2025-03-01Z"
    raw.run(f"UPDATE runs SET {column} = '{value}' WHERE id = 'r2'")
    before = everything(raw)
    with pytest.raises(UpgradeRefused, match=f"values of runs.{column}: 1, such as r2"):
        migrate.downgrade(where, BASE)
    assert everything(raw) == before
    migrate.downgrade(where, BASE, discard=True)
    assert read_tables(raw, ["runs"]) == expected_tables(["runs"], floats=False)


def test_a_downgrade_that_drops_conflicting_bars_is_refused(address: str) -> None:
    raw, where = Raw(address), config(address)
    stored = [f"stored_{name}" for name in NEW_BARS[3:]]
    raw.insert("bar_conflicts", [*NEW_BARS, *stored], [(*bar(1.0), *[2.0] * 5)])
    before = everything(raw)
    with pytest.raises(UpgradeRefused, match="rows of bar_conflicts: 1, such as LOSS 1m"):
        migrate.downgrade(where, BASE)
    assert everything(raw) == before
    migrate.downgrade(where, BASE, discard=True)
    assert raw.tables() == HEAD_TABLES - OWN_TABLES


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            "INSERT INTO parked_events (consumer_id, event, error, tries) VALUES ('sink', 7, 'bad', 3)",
            "parked events: 1, such as sink 7",
        ),
        (
            "INSERT INTO offset_resets (consumer_id, from_offset, to_offset, reason, reset_by) "
            "VALUES ('sink', 7, -1, 'a bug', 'ann@desk')",
            "offset resets: 1, such as sink 7 -> -1",
        ),
        ("UPDATE consumer_offsets SET error = 'bad' WHERE consumer_id = 'big'", "errors of consumers: 1, such as big"),
        (
            "INSERT INTO symbol_calendars (symbol, calendar) VALUES ('ACME', 'XNYS')",
            "calendars of symbols: 1, such as ACME XNYS",
        ),
        (
            "INSERT INTO explained_gaps (symbol, starts_at, ends_at, reason, author) "
            "SELECT 'ACME', min(timestamp), max(timestamp), 'a strike', 'ann' FROM bars",
            "explained gaps: 1, such as ACME a strike",
        ),
        (
            "INSERT INTO ingests (source, name, rows, inserted, duplicates, conflicts, rejected) "
            "VALUES ('file', 'a.csv', 9, 9, 0, 0, 0)",
            "records of ingests: 1, such as a.csv 9",
        ),
        (
            "INSERT INTO rejected_bars (ingest, row, symbol, reason) VALUES (1, 0, 'ACME', 'high is below low')",
            "rejected bars: 1, such as ACME high is below low",
        ),
        (
            "INSERT INTO set_aside_rows (source, content, reason) VALUES ('fills', '[1]', 'price: no number')",
            r"rows set aside: 1, such as fills \[1\]",
        ),
    ],
)
def test_a_downgrade_that_drops_what_was_added_is_refused(address: str, statement: str, what: str) -> None:
    raw, where = Raw(address), config(address)
    fill_tables(raw, TABLES[BASE])
    raw.run(statement)
    with pytest.raises(UpgradeRefused, match=what):
        migrate.downgrade(where, BASE)
    migrate.downgrade(where, BASE, discard=True)
    assert read_tables(raw, ["consumer_offsets"]) == expected_tables(["consumer_offsets"], floats=False)


@pytest.mark.parametrize("table", TABLES[BASE])
def test_a_downgrade_to_base_that_drops_rows_is_refused(address: str, table: str) -> None:
    raw, where = Raw(address), config(address)
    fill_tables(raw, [table])
    before = everything(raw)
    with pytest.raises(UpgradeRefused, match=f"rows of {table}: {len(read_tables(raw, [table])[table])}, such as"):
        migrate.downgrade(where, "base")
    assert everything(raw) == before
    migrate.downgrade(where, "base", discard=True)
    assert raw.tables() == {"alembic_version"}


def test_the_alembic_command_refuses_a_loss_without_a_traceback(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    fill_tables(raw, ["outbox"])
    before = everything(raw)
    done = alembic("-x", f"url={sqlite_address}", "downgrade", "base")
    assert done.returncode != 0
    assert "rows of outbox: 3" in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
    assert everything(raw) == before
    assert alembic("-x", f"url={sqlite_address}", "-x", "discard=yes", "downgrade", "base").returncode == 0
    assert raw.tables() == {"alembic_version"}


# what is not WallE's is not migrated


@pytest.mark.parametrize("action", ["upgrade", "downgrade", "alembic"])
def test_a_database_of_somebody_else_is_never_migrated(empty_address: str, action: str) -> None:
    raw = Raw(empty_address)
    raw.run("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
    raw.run("INSERT INTO customers VALUES (1, 'Ann')")
    before = everything(raw)
    if action == "alembic":
        done = alembic("-x", f"url={empty_address}", "upgrade", "head")
        assert done.returncode != 0
        assert "customers" in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
    else:
        with pytest.raises(NotAWalleStore, match="customers"):
            migrate.upgrade(config(empty_address)) if action == "upgrade" else migrate.downgrade(
                config(empty_address), "base"
            )
    assert everything(raw) == before


def test_a_downgrade_of_an_absent_file_makes_none(empty_address: str) -> None:
    raw = Raw(empty_address)
    if raw.sqlite:
        with pytest.raises(DatabaseUnavailable, match="no file"):
            migrate.downgrade(config(empty_address), "base")
    else:
        migrate.downgrade(config(empty_address), "base")
        assert raw.tables() <= {"alembic_version"}


def test_an_unknown_revision_is_neither_upgraded_nor_downgraded(address: str) -> None:
    raw, where = Raw(address), config(address)
    raw.run("UPDATE alembic_version SET version_num = 'f00dfeed1234'")
    before = everything(raw)
    with pytest.raises(SchemaTooNew, match="f00dfeed1234"):
        migrate.upgrade(where)
    with pytest.raises(SchemaError, match="f00dfeed1234"):
        migrate.downgrade(where, BASE)
    with pytest.raises(SchemaTooNew, match="f00dfeed1234"):
        migrate.pending(where)
    assert everything(raw) == before
    assert raw.triggers() == guards(raw)


def test_a_revision_that_does_not_exist_is_a_clear_error(address: str) -> None:
    for move in (migrate.upgrade, migrate.downgrade):
        with pytest.raises(SchemaError, match="nonsense"):
            move(config(address), "nonsense")
