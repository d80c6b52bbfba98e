"""Facts stay facts in the database itself, whoever writes: every statement here goes through the raw drivers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config

from tests.raw import TABLES, Raw, expected_tables, fill_tables, guards, read_tables
from walle import migrate, models
from walle.config import DatabaseConfig

BASE = "d4e5f6a7b8c9"
FACTS = ("outbox", "bars", "fills")

# (a column and another value for it, a row whose key is the second one's, the key's columns, a new row)
VALUES = {
    "outbox": ("type", "'x'", "id", "(2, 'x', '{}', {t})", "(100, 'x', '{}', {t})"),
    "bars": (
        *("close", "9", "symbol, timeframe, timestamp", "(100, 'CL', '1d', {t}, 9, 9, 9, 9, 9)"),
        "(100, 'new', '1d', {t}, 9, 9, 9, 9, 9)",
    ),
    "fills": ("price", "'9'", "id", "('f2', 'o', '9', '9', 'b', {t}, 'x')", "('new', 'o', '9', '9', 'b', {t}, 'x')"),
}
COLUMNS = {
    "outbox": "id, type, payload, created_at",
    "bars": "id, symbol, timeframe, timestamp, open, high, low, close, volume",
    "fills": "id, order_id, price, quantity, side, filled_at, exchange_fill_id",
}
NAMES = {"outbox": "events", "bars": "bars", "fills": "fills"}


def first_instant(raw: Raw) -> str:
    """The time of the bar that the rows above repeat: year 1."""
    return "-62135596800000000" if raw.sqlite else "'0001-01-01 00:00:00+00'"


def taken(raw: Raw, table: str) -> str:
    return VALUES[table][3].format(t=first_instant(raw)) if table != "outbox" else _outbox(raw, table, 3)


def fresh(raw: Raw, table: str) -> str:
    return VALUES[table][4].format(t=first_instant(raw)) if table != "outbox" else _outbox(raw, table, 4)


def _outbox(raw: Raw, table: str, place: int) -> str:
    return VALUES[table][place].replace("{t}", first_instant(raw))


def forbidden(raw: Raw, table: str) -> list[str]:
    """Every statement that would change or remove a stored row of a table."""
    column, value, key, _, _ = VALUES[table]
    columns, row, again = COLUMNS[table], taken(raw, table), f"EXCLUDED.{column}"
    ids = {"outbox": "2", "bars": "2", "fills": "'f2'"}[table]
    statements = [
        f"UPDATE {table} SET {column} = {value}",
        f"UPDATE {table} SET {column} = {column}",
        f"UPDATE {table} SET {column} = {value} WHERE id = {ids}",
        f"UPDATE {table} SET id = id",
        f"UPDATE {table} SET {column} = {value} FROM veda_orders AS o WHERE o.id = 'o1'",
        f"INSERT INTO {table} ({columns}) VALUES {row} ON CONFLICT ({key}) DO UPDATE SET {column} = {again}",
        f"WITH gone AS (SELECT 1) DELETE FROM {table} WHERE EXISTS (SELECT * FROM gone)",
        f"DELETE FROM {table}",
        f"DELETE FROM {table} WHERE id = {ids}",
    ]
    if not raw.sqlite:
        return [
            *statements,
            f"TRUNCATE {table}",
            f"TRUNCATE {table} RESTART IDENTITY CASCADE",
            f"TRUNCATE consumer_offsets, {table}",
            f"MERGE INTO {table} USING (VALUES (1)) AS v (n) ON id = {ids} WHEN MATCHED THEN DELETE",
            f"MERGE INTO {table} USING (VALUES (1)) AS v (n) ON id = {ids} "
            f"WHEN MATCHED THEN UPDATE SET {column} = {value}",
            f"WITH gone AS (DELETE FROM {table} RETURNING *) SELECT count(*) FROM gone",
        ]
    statements += [
        f"UPDATE OR {word} {table} SET {column} = {value}" for word in ("REPLACE", "IGNORE", "FAIL", "ABORT")
    ]
    statements += [
        f"UPDATE OR REPLACE {table} SET id = {ids}",
        f"INSERT OR REPLACE INTO {table} ({columns}) VALUES {row}",
        f"REPLACE INTO {table} ({columns}) VALUES {row}",
        f"REPLACE INTO {table} ({columns}) VALUES {fresh(raw, table)}, {row}",
        f"REPLACE INTO {table} ({columns}) SELECT {columns} FROM {table}",
    ]
    if table == "bars":  # the id of one row and the key of another, the id alone, the key alone, the id as a text
        values = f"'CL', '1d', {first_instant(raw)}, 9, 9, 9, 9, 9)"
        statements += [
            f"REPLACE INTO bars ({columns}) VALUES (1, {values}",
            f"REPLACE INTO bars ({columns}) VALUES (1, 'new', '1d', 0, 9, 9, 9, 9, 9)",
            f"REPLACE INTO bars ({columns}) VALUES ('1', 'new', '1d', 0, 9, 9, 9, 9, 9)",
            f"REPLACE INTO bars ({columns.partition(', ')[2]}) VALUES ({values}",
        ]
    if table == "fills":
        statements += [
            f"REPLACE INTO fills (rowid, {columns}) VALUES (1, 'new', 'o', '9', '9', 'b', 0, 'x')",
            "UPDATE OR REPLACE fills SET rowid = 2",
        ]
    if table == "outbox":
        statements.append("REPLACE INTO outbox (rowid, type, payload, created_at) VALUES (1, 'x', '{}', 0)")
    return statements


def is_refusal(error: BaseException, table: str, what: str = "") -> bool:
    if isinstance(error, psycopg.Error):
        ours = error.sqlstate == "WA001"
    else:
        ours = isinstance(error, sqlite3.Error) and error.sqlite_errorcode == sqlite3.SQLITE_CONSTRAINT_TRIGGER
    return ours and f"{NAMES[table]} are facts: {what}" in str(error)


def refuse(raw: Raw, statement: str, table: str) -> None:
    with pytest.raises((sqlite3.Error, psycopg.Error)) as caught:
        raw.run(statement)
    assert is_refusal(caught.value, table), (statement, caught.value)


def check_guarded(raw: Raw) -> None:
    """Try every forbidden statement on the tables filled by fill_tables; every one is refused, no row changes."""
    before = read_tables(raw, TABLES[BASE])
    assert before == expected_tables(TABLES[BASE], floats=True)
    for table in FACTS:
        for statement in forbidden(raw, table):
            refuse(raw, statement, table)
            assert read_tables(raw, [table]) == {table: before[table]}, statement
    assert read_tables(raw, TABLES[BASE]) == before


# the ways to head


@pytest.fixture
def filled(address: str) -> Raw:
    raw = Raw(address)
    fill_tables(raw, TABLES[BASE])
    return raw


def test_facts_cannot_be_changed_at_head(filled: Raw) -> None:
    check_guarded(filled)


def test_facts_cannot_be_changed_after_an_upgrade_of_filled_tables(empty_address: str) -> None:
    raw, where = Raw(empty_address), DatabaseConfig(url=empty_address)
    migrate.upgrade(where, BASE)
    fill_tables(raw, TABLES[BASE])
    migrate.upgrade(where, confirmed=True)
    check_guarded(raw)


@pytest.mark.thorough
def test_facts_cannot_be_changed_after_down_and_up(filled: Raw) -> None:
    where = DatabaseConfig(url=filled.address)
    migrate.downgrade(where, BASE)
    migrate.upgrade(where, confirmed=True)
    check_guarded(filled)


REBUILD = '''
"""Rebuild the tables of facts, as a later change of a column would."""

import sqlalchemy as sa
from alembic import op

revision = "bbbbbbbbbbbb"
down_revision = "HEAD"


def upgrade():
    for table in ("fills", "bars"):
        if op.get_bind().dialect.name == "sqlite":
            with op.batch_alter_table(table, recreate="always") as batch:
                batch.add_column(sa.Column("later", sa.Text))
        else:
            op.execute(f"ALTER TABLE {table} RENAME TO {table}_old")
            op.execute(f"CREATE TABLE {table} (LIKE {table}_old INCLUDING ALL)")
            op.execute(f"INSERT INTO {table} SELECT * FROM {table}_old")
            op.execute(f"ALTER SEQUENCE IF EXISTS {table}_id_seq OWNED BY NONE")
            op.execute(f"DROP TABLE {table}_old")


def downgrade():
    pass
'''


@pytest.mark.thorough
def test_facts_cannot_be_changed_after_a_later_revision_rebuilds_their_tables(filled: Raw, tmp_path: Path) -> None:
    versions = tmp_path / "versions"
    versions.mkdir()
    (versions / "rebuild.py").write_text(REBUILD.replace("HEAD", models.HEAD))
    settings = Config(attributes={"walle_config": DatabaseConfig(url=filled.address)})
    settings.set_main_option("script_location", str(migrate.script_location()))
    settings.set_main_option("path_separator", "newline")
    settings.set_main_option("version_locations", f"{migrate.script_location() / 'versions'}\n{versions}")
    command.upgrade(settings, "head")
    assert filled.revision() == "bbbbbbbbbbbb"
    assert filled.triggers() == guards(filled)
    check_guarded(filled)


# what must go on working


@pytest.mark.parametrize("table", FACTS)
def test_do_nothing_on_a_taken_key_does_nothing_and_a_plain_insert_of_it_fails_by_its_constraint(
    filled: Raw, table: str
) -> None:
    before = read_tables(filled, [table])
    columns = COLUMNS[table]
    same = [f"INSERT INTO {table} ({columns}) SELECT {columns} FROM {table} ORDER BY id ON CONFLICT DO NOTHING"]
    if filled.sqlite:  # the parser needs WHERE to tell ON CONFLICT from a join's ON
        same = [same[0].replace("ORDER BY id", "WHERE true"), f"INSERT OR IGNORE INTO {table} SELECT * FROM {table}"]
    other = f"INSERT INTO {table} ({columns}) VALUES {taken(filled, table)}"
    for statement in [*same, f"{other} ON CONFLICT DO NOTHING", f"{other} ON CONFLICT ({VALUES[table][2]}) DO NOTHING"]:
        assert filled.run(statement) == 0
        assert read_tables(filled, [table]) == before
    for _ in range(2):
        with pytest.raises((sqlite3.IntegrityError, psycopg.errors.UniqueViolation)) as caught:
            filled.run(other)
        if isinstance(caught.value, sqlite3.Error):
            code = caught.value.sqlite_errorcode
            assert code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
    assert read_tables(filled, [table]) == before
    refuse(filled, f"DELETE FROM {table}", table)


@pytest.mark.parametrize("table", FACTS)
def test_new_rows_go_in_beside_a_do_nothing(filled: Raw, table: str) -> None:
    columns, height = COLUMNS[table], len(read_tables(filled, [table])[table])
    old, new = taken(filled, table), fresh(filled, table)
    filled.run(f"INSERT INTO {table} ({columns}) VALUES {old} ON CONFLICT DO NOTHING")
    assert filled.run(f"INSERT INTO {table} ({columns}) VALUES {old}, {new} ON CONFLICT DO NOTHING") == 1
    further = new.replace("100", "101", 1).replace("'new'", "'newer'")
    with filled.open() as connection:
        connection.execute("BEGIN")
        for _ in range(2):
            connection.execute(f"INSERT INTO {table} ({columns}) VALUES {new} ON CONFLICT DO NOTHING")
        connection.execute(f"INSERT INTO {table} ({columns}) VALUES {further}")
        connection.execute("COMMIT")
    assert len(read_tables(filled, [table])[table]) == height + 2
    refuse(filled, f"UPDATE {table} SET id = id", table)


def test_an_ignored_row_does_not_bar_its_new_key(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    fill_tables(raw, TABLES[BASE])
    # the id is taken and the key is not: ignored, and then the key comes with an id of its own
    columns = COLUMNS["bars"]
    assert raw.run(f"INSERT OR IGNORE INTO bars ({columns}) VALUES (1, 'new', '1m', 0, 1, 1, 1, 1, 1)") == 0
    raw.run(f"INSERT INTO bars ({columns}) VALUES (NULL, 'new', '1m', 0, 1, 1, 1, 1, 1)")
    assert raw.rows("SELECT id FROM bars WHERE symbol = 'new'") == [(10,)]


@pytest.mark.parametrize("table", FACTS)
def test_a_negative_rowid_never_bars_the_rows_after_it(sqlite_address: str, table: str) -> None:
    raw = Raw(sqlite_address)
    fill_tables(raw, TABLES[BASE])
    before = read_tables(raw, [table])
    name = "rowid" if table == "fills" else "id"
    rest = COLUMNS[table].partition(", ")[2] if table != "fills" else COLUMNS[table]
    values = fresh(raw, table).strip("()").partition(", ")[2] if table != "fills" else fresh(raw, table).strip("()")
    with pytest.raises(sqlite3.IntegrityError):  # SQLite shows -1 to a trigger for "not known yet"
        raw.run(f"INSERT INTO {table} ({name}, {rest}) VALUES (-1, {values})")
    assert read_tables(raw, [table]) == before
    raw.run(f"INSERT INTO {table} ({rest}) VALUES ({values})")
    assert len(read_tables(raw, [table])[table]) == len(before[table]) + 1


def test_copy_goes_in_and_a_copy_of_a_taken_key_is_a_unique_violation(postgres_address: str) -> None:
    raw = Raw(postgres_address)
    fill_tables(raw, TABLES[BASE])
    for table in FACTS:
        row = fresh(raw, table).strip("()").replace("'", "").split(", ")
        with raw.open() as connection:
            for kind in (None, psycopg.errors.UniqueViolation):

                def copy(columns: str = COLUMNS[table], target: str = table, line: list[str] = row) -> None:
                    with connection.cursor().copy(f"COPY {target} ({columns}) FROM STDIN") as into:
                        into.write_row(line)

                if kind is None:
                    copy()
                else:
                    with pytest.raises(kind):
                        copy()
        assert len(read_tables(raw, [table])[table]) == len(expected_tables([table], floats=True)[table]) + 1
