"""The guards themselves: maintenance opens one door for one transaction, and a guard that is gone is seen."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

import polars as pl
import psycopg
import pytest
import sqlalchemy as sa

import walle
from tests.examples import first_quick
from tests.postgres import Server
from tests.raw import FACTS as EVERY_FACT
from tests.raw import TABLES, Raw, fill_tables, guards, read_tables
from tests.test_immutability import BASE, FACTS, check_guarded, refuse
from walle import migrate
from walle.cli.main import main
from walle.config import DatabaseConfig
from walle.database import Database


@pytest.fixture
def filled(address: str) -> Raw:
    raw = Raw(address)
    fill_tables(raw, TABLES[BASE])
    return raw


# maintenance


async def test_bars_can_be_deleted_inside_declared_maintenance_and_not_after_it(
    filled: Raw, database: Database
) -> None:
    dialect = database.dialect
    async with database.engine.connect() as connection:
        async with connection.begin():
            await dialect.begin_maintenance(connection)
            gone = await connection.execute(sa.text("DELETE FROM bars WHERE id = 1"))
            assert gone.rowcount == 1
            await dialect.end_maintenance(connection)
            with pytest.raises(sa.exc.DBAPIError, match="bars are facts: DELETE is refused"):
                async with connection.begin_nested():
                    await connection.execute(sa.text("DELETE FROM bars WHERE id = 2"))
        with pytest.raises(sa.exc.DBAPIError, match="bars are facts: DELETE is refused"):  # the same connection
            async with connection.begin():
                await connection.execute(sa.text("DELETE FROM bars"))
    assert filled.rows("SELECT id FROM bars ORDER BY id") == [(2,), (3,), (9,)]
    refuse(filled, "DELETE FROM bars", "bars")
    refuse(filled, "DELETE FROM bars WHERE id = 2", "bars")


async def test_maintenance_opens_nothing_but_the_deletion_of_bars(filled: Raw, database: Database) -> None:
    before = read_tables(filled, FACTS)
    statements = ["UPDATE bars SET close = 9", "UPDATE fills SET side = 'x'", "UPDATE outbox SET type = 'x'"]
    statements += ["DELETE FROM fills", "DELETE FROM outbox"]
    if filled.sqlite:
        columns = "symbol, timeframe, timestamp, open, high, low, close, volume"
        statements += ["UPDATE OR REPLACE bars SET id = 1"]
        statements += [f"REPLACE INTO bars ({columns}) SELECT {columns} FROM bars"]
    else:
        statements += ["TRUNCATE bars", "TRUNCATE fills"]
    async with database.engine.connect() as connection:
        async with connection.begin():
            await database.dialect.begin_maintenance(connection)
            for statement in statements:
                with pytest.raises(sa.exc.DBAPIError, match="is refused"):
                    async with connection.begin_nested():
                        await connection.execute(sa.text(statement))
            await database.dialect.end_maintenance(connection)
    assert read_tables(filled, FACTS) == before


async def test_maintenance_that_rolls_back_deletes_nothing_and_stays_closed(filled: Raw, database: Database) -> None:
    before = read_tables(filled, ["bars"])
    async with database.engine.connect() as connection:
        transaction = await connection.begin()
        await database.dialect.begin_maintenance(connection)
        await connection.execute(sa.text("DELETE FROM bars"))
        await transaction.rollback()
    assert read_tables(filled, ["bars"]) == before
    refuse(filled, "DELETE FROM bars", "bars")


async def test_maintenance_that_is_never_ended_does_not_outlive_its_transaction(
    filled: Raw, database: Database
) -> None:
    async with database.engine.connect() as connection:
        transaction = await connection.begin()
        await database.dialect.begin_maintenance(connection)
        await connection.execute(sa.text("DELETE FROM bars WHERE id = 1"))
        if filled.sqlite:  # a marker row would lie there for everybody
            with pytest.raises(sa.exc.IntegrityError, match="FOREIGN KEY"):
                await transaction.commit()
            await connection.invalidate()
        else:
            await transaction.commit()
    async with database.engine.connect() as connection:
        with pytest.raises(sa.exc.DBAPIError, match="bars are facts"):
            async with connection.begin():
                await connection.execute(sa.text("DELETE FROM bars"))
    assert filled.value("SELECT count(*) FROM bars") == (4 if filled.sqlite else 3)
    refuse(filled, "DELETE FROM bars", "bars")


async def test_on_sqlite_a_commit_that_fails_leaves_no_lock_behind(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    fill_tables(raw, TABLES[BASE])
    database = Database(sqlite_address)
    try:
        with pytest.raises(walle.DatabaseError, match="FOREIGN KEY"):
            async with database.write() as writer:
                await database.dialect.begin_maintenance(writer.connection)
        with sqlite3.connect(sqlite_address, isolation_level=None, timeout=0) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        other.close()
        async with database.write() as writer:
            await database.dialect.begin_maintenance(writer.connection)
            await writer.execute(sa.text("DELETE FROM bars WHERE id = 1"))
            await database.dialect.end_maintenance(writer.connection)
    finally:
        await database.close()
    assert raw.value("SELECT count(*) FROM bars") == 3


async def test_on_postgresql_maintenance_in_one_session_opens_nothing_in_another(postgres_address: str) -> None:
    raw = Raw(postgres_address)
    fill_tables(raw, TABLES[BASE])
    database = Database(postgres_address)
    async with database.engine.connect() as connection, connection.begin():
        await database.dialect.begin_maintenance(connection)
        refuse(raw, "DELETE FROM bars", "bars")
    await database.close()


def test_a_bar_deleted_in_maintenance_can_come_again(filled: Raw) -> None:
    with filled.open() as connection:
        connection.execute("BEGIN")
        if filled.sqlite:
            connection.execute("INSERT INTO walle_guard_maintenance VALUES ('test', 'test')")
        else:
            connection.execute("SET LOCAL walle.maintenance = 'on'")
        connection.execute("DELETE FROM bars WHERE id = 2")
        if filled.sqlite:
            connection.execute("DELETE FROM walle_guard_maintenance")
        connection.execute("COMMIT")
    assert filled.value("SELECT count(*) FROM bars") == 3
    before = [row for row in read_tables(filled, ["bars"])["bars"] if row[0] == 2]
    assert before == []
    insert = "INSERT INTO bars SELECT 2, 'BTC/USD', '1m', 0, 1, 1, 1, 1, 1"
    filled.run(insert if filled.sqlite else insert.replace(" 0,", " now(),"))
    refuse(filled, "UPDATE bars SET close = 2 WHERE id = 2", "bars")


# bulk inserts, which WallE does without the triggers that look at each row


def test_every_guard_is_back_after_a_bulk_insert(filled: Raw) -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    count = 70_000
    frame = pl.DataFrame(
        {
            "timestamp": pl.datetime_range(start, start + timedelta(minutes=count - 1), "1m", eager=True),
            **{name: [1.0] * count for name in ("open", "high", "low", "close", "volume")},
        }
    )
    with walle.connect(filled.address) as store:
        assert store.bars.ingest(frame, symbol="bulk", timeframe="1m").inserted == count
        assert store.bars.ingest(frame, symbol="bulk", timeframe="1m").duplicates == count
        assert store.status().ok
    assert filled.triggers() == guards(filled)
    for statement in ("UPDATE bars SET close = 2", "DELETE FROM bars"):
        refuse(filled, statement, "bars")
    if filled.sqlite:
        refuse(filled, "REPLACE INTO bars SELECT * FROM bars WHERE id = 10", "bars")


# guards that are gone


@pytest.mark.parametrize("table", first_quick(FACTS))
def test_a_dropped_guard_is_named_and_put_back_by_an_upgrade(
    filled: Raw, table: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = DatabaseConfig(url=filled.address)
    name = f"walle_guard_{table}_update"
    assert migrate.inspect(config).missing_guards == ()
    filled.run(f"DROP TRIGGER {name}" if filled.sqlite else f"DROP TRIGGER {name} ON {table}")
    assert migrate.inspect(config).missing_guards == (name,)
    assert migrate.check(config) == [f"guard {name} is missing"]
    with walle.connect(filled.address) as store:
        assert store.status().missing_guards == (name,)
        assert not store.status().ok
        assert main(["status", filled.address]) == 1
        shown = capsys.readouterr()
        assert name in shown.out
        assert "correct" not in shown.out + shown.err
        assert store.upgrade() == []
        assert store.status().ok
    assert filled.triggers() == guards(filled)
    check_guarded(filled)


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("DROP TABLE walle_guard_marks", {"walle_guard_marks"}),
        ("DROP TABLE walle_guard_maintenance", {"walle_guard_maintenance"}),
        (
            "INSERT INTO walle_guard_maintenance VALUES ('left', 'open')",
            {"walle_guard_maintenance (its marker was left behind)"},
        ),
    ],
)
def test_on_sqlite_a_broken_helper_of_the_guards_is_named_and_mended(
    sqlite_address: str, statement: str, named: set[str]
) -> None:
    raw, config = Raw(sqlite_address), DatabaseConfig(url=sqlite_address)
    fill_tables(raw, TABLES[BASE])
    raw.run(statement)
    assert set(migrate.inspect(config).missing_guards) == named
    migrate.upgrade(config)
    assert migrate.inspect(config).missing_guards == ()
    check_guarded(raw)


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("ALTER TABLE fills DISABLE TRIGGER walle_guard_fills_update", ["fills_update"]),
        ("ALTER TABLE bars ENABLE TRIGGER walle_guard_bars_delete", ["bars_delete"]),
        (
            "DROP FUNCTION walle_refuse_change CASCADE",
            [f"{t}_{k}" for t in EVERY_FACT for k in ("update", "delete", "truncate")],
        ),
        (
            "CREATE OR REPLACE FUNCTION walle_refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RETURN NULL; END'",
            [f"{t}_{k}" for t in EVERY_FACT for k in ("update", "delete", "truncate")],
        ),
    ],
    ids=["disabled", "no longer always", "function dropped", "function replaced"],
)
def test_on_postgresql_a_guard_that_was_switched_off_is_named_and_mended(
    postgres_address: str, statement: str, tables: list[str]
) -> None:
    raw, config = Raw(postgres_address), DatabaseConfig(url=postgres_address)
    fill_tables(raw, TABLES[BASE])
    raw.run(statement)
    assert set(migrate.inspect(config).missing_guards) == {f"walle_guard_{name}" for name in tables}
    migrate.upgrade(config)
    assert migrate.inspect(config).missing_guards == ()
    check_guarded(raw)


# roles


def test_a_replication_role_does_not_pass_the_guards_by(postgres_address: str, server: Server) -> None:
    raw = Raw(postgres_address)
    fill_tables(raw, TABLES[BASE])
    before = read_tables(raw, FACTS)
    with server.admin(postgres_address.rpartition("/")[2]) as connection:
        connection.execute("SET session_replication_role = replica")
        for table in FACTS:
            for statement in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                with pytest.raises(psycopg.Error) as caught:
                    connection.execute(statement)
                assert caught.value.sqlstate == "WA001"
    assert read_tables(raw, FACTS) == before


def test_a_role_that_does_not_own_the_tables_can_write_facts_and_not_drop_their_guards(
    postgres_address: str, server: Server
) -> None:
    raw = Raw(postgres_address)
    fill_tables(raw, TABLES[BASE])
    before = read_tables(raw, FACTS)
    with server.admin(postgres_address.rpartition("/")[2]) as connection:
        connection.execute("DROP ROLE IF EXISTS walle_engine")
        connection.execute("CREATE ROLE walle_engine")
        try:
            connection.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO walle_engine")
            connection.execute("SET ROLE walle_engine")
            for table in FACTS:
                for statement in (f"UPDATE {table} SET id = id", f"DELETE FROM {table}", f"TRUNCATE {table}"):
                    with pytest.raises(psycopg.Error) as caught:
                        connection.execute(statement)
                    assert caught.value.sqlstate == "WA001"
                for statement in (
                    f"DROP TRIGGER walle_guard_{table}_update ON {table}",
                    f"ALTER TABLE {table} DISABLE TRIGGER walle_guard_{table}_update",
                    "DROP FUNCTION walle_refuse_change CASCADE",
                    f"DROP TABLE {table}",
                ):
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(statement)
            assert read_tables(raw, FACTS) == before
            connection.execute("INSERT INTO fills VALUES ('new', 'o', 1, 1, 'buy', now())")
        finally:
            connection.execute("RESET ROLE")
            connection.execute("DROP OWNED BY walle_engine")
            connection.execute("DROP ROLE walle_engine")
    assert raw.value("SELECT count(*) FROM fills") == 4


def test_replace_is_refused_whatever_the_connection_sets(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    fill_tables(raw, TABLES[BASE])
    before = read_tables(raw, FACTS)
    for pragma in ("recursive_triggers", "foreign_keys", "ignore_check_constraints"):
        for value in ("ON", "OFF"):
            with raw.open() as connection:
                connection.execute(f"PRAGMA {pragma} = {value}")
                for table in FACTS:
                    with pytest.raises(sqlite3.IntegrityError, match="is refused"):
                        connection.execute(f"REPLACE INTO {table} SELECT * FROM {table}")
    assert read_tables(raw, FACTS) == before
