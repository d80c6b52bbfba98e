"""What connecting does with every state that a database can be found in."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

import pytest

import walle
from tests.raw import BASES, HEAD_TABLES, TABLES, Raw, fill_tables, guards
from tests.test_migrations import HEAD, config
from tests.test_migrations_loss import everything
from walle import migrate
from walle.errors import (
    DatabaseUnavailable,
    NotAWalleStore,
    SchemaError,
    SchemaOutdated,
    SchemaTooNew,
    WalleError,
)

PASSWORD_PARTS = ("correct", "horse", "staple")


def refused(address: str, kind: type[WalleError], *, read_only: bool = False) -> str:
    """Connect, which must raise an error of exactly this kind, without a password; return its message."""
    with pytest.raises(kind) as caught:
        walle.connect(address, read_only=read_only)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert not any(part in message for part in PASSWORD_PARTS)
    assert "\n" not in message
    return message


# new files


@pytest.mark.parametrize("before", ["absent", "empty"])
def test_an_absent_or_empty_file_becomes_a_store_and_that_is_logged_once(
    tmp_path: Path, before: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "new ü%20?#.db"
    if before == "empty":
        path.touch()
    raw = Raw(str(path))
    with caplog.at_level(logging.INFO, logger="walle"):
        for _ in range(2):
            with walle.connect(path) as store:
                assert store.status().ok
    assert [record.message for record in caplog.records if record.name == "walle"] == [
        f"made a new store: sqlite:///{path}"
    ]
    assert (raw.tables(), raw.triggers(), raw.revision()) == (HEAD_TABLES, guards(raw), HEAD)
    assert raw.value("PRAGMA journal_mode") == "wal"
    assert [path.name for path in tmp_path.iterdir()] == [path.name]


def test_a_store_that_was_taken_back_to_base_is_made_anew(sqlite_address: str) -> None:
    migrate.downgrade(config(sqlite_address), "base")
    with walle.connect(sqlite_address) as store:
        assert store.status().ok


def test_reading_an_absent_file_raises_and_makes_none(tmp_path: Path) -> None:
    message = refused(str(tmp_path / "absent.db"), DatabaseUnavailable, read_only=True)
    assert "absent.db" in message
    assert list(tmp_path.iterdir()) == []


def test_reading_an_empty_file_raises_and_leaves_it_empty(tmp_path: Path) -> None:
    path = tmp_path / "empty.db"
    path.touch()
    assert "no tables yet" in refused(str(path), SchemaOutdated, read_only=True)
    assert path.read_bytes() == b""


def test_a_file_in_a_folder_that_does_not_exist_is_not_made(tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refused(str(tmp_path / "nowhere" / "a.db"), DatabaseUnavailable)
    assert str(tmp_path) in refused(str(tmp_path), DatabaseUnavailable)
    assert list(tmp_path.iterdir()) == []


# a database of an earlier or later chain


@pytest.mark.parametrize("read_only", [False, True])
def test_an_empty_postgresql_database_is_left_empty(empty_postgres: str, read_only: bool) -> None:
    assert "walle upgrade" in refused(empty_postgres, SchemaOutdated, read_only=read_only)
    assert Raw(empty_postgres).tables() == set()


@pytest.mark.parametrize("revision", [*BASES, "e6a1c0d2f4b8", "f7b2d1e3a5c9", "a8c3e2f4b6d0"])
def test_an_older_schema_asks_for_an_upgrade_and_is_not_touched(empty_address: str, revision: str) -> None:
    raw = Raw(empty_address)
    migrate.upgrade(config(empty_address), revision)
    fill_tables(raw, TABLES.get(revision, TABLES["d4e5f6a7b8c9"]))
    before = everything(raw)
    message = refused(empty_address, SchemaOutdated)
    for word in (revision, HEAD, "walle upgrade", "read_only=True"):
        assert word in message
    assert everything(raw) == before
    with walle.connect(empty_address, read_only=True) as store:
        status = store.status()
        assert (status.revision, status.ok) == (revision, False)
        assert status.pending[-1] == HEAD
    assert everything(raw) == before


def test_an_unknown_revision_is_too_new_to_write_and_open_to_read(address: str) -> None:
    raw = Raw(address)
    raw.run("UPDATE alembic_version SET version_num = 'f00dfeed1234'")
    before = everything(raw)
    assert "f00dfeed1234" in refused(address, SchemaTooNew)
    with walle.connect(address, read_only=True) as store:
        assert store.status().revision == "f00dfeed1234"
        assert store.status().pending == ()
        assert store.fills.read().height == 0
    assert everything(raw) == before


# a database of somebody else


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE customers (id INTEGER)"],
        ["CREATE TABLE bars (id INTEGER, symbol TEXT)"],
        ["CREATE TABLE customers (id INTEGER)", "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"],
        [
            "CREATE TABLE customers (id INTEGER)",
            "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
            "INSERT INTO alembic_version VALUES ('0123456789ab')",
        ],
        ["CREATE TABLE outbox (id INTEGER)", "CREATE TABLE consumer_offsets (id INTEGER)"],
        ["CREATE TABLE alembic_version (release INTEGER)"],
    ],
    ids=["a table", "our name", "another alembic", "its revision", "both marks, no revision", "no alembic at all"],
)
def test_a_database_of_somebody_else_is_not_touched(empty_address: str, statements: list[str], read_only: bool) -> None:
    raw = Raw(empty_address)
    for statement in statements:
        raw.run(statement)
    before = everything(raw)
    content = Path(empty_address).read_bytes() if raw.sqlite else b""
    message = refused(empty_address, NotAWalleStore, read_only=read_only)
    assert statements[0].split()[2] in message
    assert everything(raw) == before
    if raw.sqlite:
        assert Path(empty_address).read_bytes() == content
        assert [path.name for path in Path(empty_address).parent.iterdir()] == [Path(empty_address).name]


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize(
    "content", [b"x", b"xy", b"symbol,price\nBTC,1\n" * 1000, b"SQLite format 3\0" + b"garbage" * 300]
)
def test_a_file_that_is_no_database_is_not_touched(tmp_path: Path, content: bytes, read_only: bool) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    message = refused(str(path), NotAWalleStore, read_only=read_only)
    assert "notes.txt" in message
    assert path.read_bytes() == content
    with pytest.raises(NotAWalleStore):
        migrate.upgrade(config(str(path)))
    assert path.read_bytes() == content
    assert [item.name for item in tmp_path.iterdir()] == ["notes.txt"]


# a state that cannot be read


def test_a_revision_without_any_table_is_not_a_store(empty_address: str) -> None:
    raw = Raw(empty_address)
    raw.run("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    raw.run(f"INSERT INTO alembic_version VALUES ('{HEAD}')")
    for read_only in (False, True):
        assert HEAD in refused(empty_address, NotAWalleStore, read_only=read_only)
    for move in (migrate.upgrade, lambda where: migrate.downgrade(where, "base")):
        with pytest.raises(NotAWalleStore, match=HEAD):
            move(config(empty_address))
    assert raw.tables() == {"alembic_version"}


@pytest.mark.parametrize(
    "change", ["DROP TABLE runs", "DROP TABLE bar_conflicts", "ALTER TABLE runs DROP COLUMN owner"]
)
def test_a_store_at_head_that_lacks_something_is_named_and_not_opened(address: str, change: str) -> None:
    raw = Raw(address)
    if raw.sqlite and "COLUMN" in change:  # SQLite drops no column that a trigger names
        for guard in ("insert", "update"):
            raw.run(f"DROP TRIGGER walle_guard_runs_form_{guard}")
    raw.run(change)
    lacking = {"DROP TABLE runs": "runs", "DROP TABLE bar_conflicts": "bar_conflicts"}.get(change, "runs.owner")
    for read_only in (False, True):
        assert f"lacks {lacking}:" in refused(address, SchemaError, read_only=read_only)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_version_table_of_another_shape_is_a_clear_error(address: str, read_only: bool) -> None:
    raw = Raw(address)
    raw.run("DROP TABLE alembic_version")
    raw.run("CREATE TABLE alembic_version (release INTEGER)")
    raw.run("INSERT INTO alembic_version VALUES (1)")
    assert "alembic_version" in refused(address, NotAWalleStore, read_only=read_only)
    with pytest.raises(NotAWalleStore, match="alembic_version"):
        migrate.upgrade(config(address))


def test_two_revisions_at_once_are_both_named(address: str) -> None:
    raw = Raw(address)
    raw.run("INSERT INTO alembic_version VALUES ('d4e5f6a7b8c9')")
    message = refused(address, SchemaTooNew)
    assert HEAD in message
    assert "d4e5f6a7b8c9" in message


def test_a_store_without_its_revision_is_not_taken_for_a_new_one(address: str) -> None:
    raw = Raw(address)
    fill_tables(raw, TABLES["d4e5f6a7b8c9"])
    raw.run("DELETE FROM alembic_version")
    before = everything(raw)
    assert "alembic_version" in refused(address, NotAWalleStore)
    with pytest.raises(NotAWalleStore, match="alembic_version"):
        migrate.upgrade(config(address), confirmed=True)
    assert everything(raw) == before


def test_a_damaged_file_is_a_clear_error(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    fill_tables(raw, TABLES["d4e5f6a7b8c9"])
    with raw.open() as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path = Path(sqlite_address)
    content = bytearray(path.read_bytes())
    content[100:3000] = b"\xff" * 2900  # the schema's own page
    path.write_bytes(content)
    with pytest.raises(WalleError, match=path.name) as caught:
        walle.connect(path)
    assert isinstance(caught.value.__cause__, Exception)
    with pytest.raises(sqlite3.DatabaseError):
        raw.tables()
    assert path.read_bytes() == bytes(content)
