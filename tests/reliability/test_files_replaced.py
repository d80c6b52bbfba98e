"""Files that are removed, replaced, renamed or restored under an open store: nothing is acknowledged and lost."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

import walle
from tests.reliability.processes import command
from tests.samples import fill
from walle import models
from walle.database import Database

needs_locks = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="only Linux tells who holds a lock")


def held(path: Path) -> list[str]:
    """Return the ids of the fills in a whole file, as SQLite itself reads them."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [row[0] for row in connection.execute("SELECT id FROM fills ORDER BY filled_at")]
    finally:
        connection.close()


def copied(path: Path) -> Path:
    """Make a copy as it should be made."""
    copy = path.with_name("copy.db")
    connection = sqlite3.connect(path)
    connection.execute("VACUUM INTO ?", (str(copy),))
    connection.close()
    return copy


def ids(first: int, last: int) -> list[str]:
    return [f"fill-{number}" for number in range(first, last + 1)]


def replace(path: Path) -> None:
    Path(path.with_name("copy.db")).replace(path)


def remove_and_copy(path: Path) -> None:
    path.unlink()
    shutil.copy(path.with_name("copy.db"), path)


def rename_and_copy(path: Path) -> None:
    path.rename(path.with_name("old.db"))
    shutil.copy(path.with_name("copy.db"), path)


CALLS: dict[str, Callable[[walle.Store], object]] = {
    "append": lambda store: store.fills.append(fill(900)),
    "read": lambda store: store.fills.read(),
    "events": lambda store: store.events.append(walle.Event(type="research.Noted", payload={})),
    "status": lambda store: store.status(),
    "upgrade": lambda store: store.upgrade(),
}


@pytest.mark.parametrize("restore", [replace, remove_and_copy, rename_and_copy])
@pytest.mark.parametrize("first", ["append", "read", "status", "nothing"])
def test_a_restore_under_an_open_store_is_noticed_and_stays_whole(
    sqlite_address: str, restore: Callable[[Path], None], first: str
) -> None:
    path = Path(sqlite_address)
    store = walle.connect(path)
    store.fills.append(fill(1))
    copied(path)
    store.fills.append([fill(number) for number in range(2, 400)])  # lies in the -wal
    assert store.fills.read().height == 399
    restore(path)
    if first != "nothing":
        for name in [first, *CALLS]:
            with pytest.raises(walle.FileReplaced, match=r"replaced .*connect again.*copy") as caught:
                CALLS[name](store)
            assert not caught.value.written
            assert caught.value.path == path
    store.close()
    assert held(path) == ids(1, 1)
    if (path.with_name("old.db")).exists():
        assert held(path.with_name("old.db")) == ids(1, 399)  # what was acknowledged is where the file went
    with walle.connect(path) as again:
        again.fills.append(fill(5))
        assert again.fills.read()["id"].to_list() == ["fill-1", "fill-5"]
    assert held(path) == ["fill-1", "fill-5"]


def test_after_the_error_a_store_on_the_new_file_works_beside_the_old_store(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    with walle.connect(path) as store:
        store.fills.append(fill(1))
        copied(path)
        store.fills.append(fill(2))
        replace(path)
        with pytest.raises(walle.FileReplaced):
            store.fills.append(fill(3))
        with walle.connect(path) as again:
            again.fills.append(fill(4))
            with pytest.raises(walle.FileReplaced):
                store.fills.append(fill(5))
            assert again.fills.read()["id"].to_list() == ["fill-1", "fill-4"]
    assert held(path) == ["fill-1", "fill-4"]


def test_a_removed_file_is_said_to_be_removed_and_not_made_anew(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    with walle.connect(path) as store:
        store.fills.append(fill(1))
        path.unlink()
        for call in CALLS.values():
            with pytest.raises(walle.FileReplaced, match="removed or renamed"):
                call(store)
        assert not path.exists()


def test_a_file_that_comes_back_to_its_place_is_worked_with_again(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    with walle.connect(path) as store:
        store.fills.append(fill(1))
        path.rename(path.with_name("away.db"))
        with pytest.raises(walle.FileReplaced):
            store.fills.append(fill(2))
        path.with_name("away.db").rename(path)
        store.fills.append(fill(3))
        assert store.fills.read()["id"].to_list() == ["fill-1", "fill-3"]
    assert held(path) == ["fill-1", "fill-3"]


def test_a_file_replaced_before_the_first_use_of_a_store_is_noticed(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    with walle.connect(path) as store:
        copied(path)
        replace(path)
        with pytest.raises(walle.FileReplaced):
            store.fills.append(fill(1))
    assert held(path) == []


@pytest.mark.parametrize("rows", [1, 70_000])
async def test_a_file_replaced_between_begin_and_commit_takes_nothing(sqlite_address: str, rows: int) -> None:
    path = Path(sqlite_address)
    copied(path)
    database = Database(path)
    repository = walle.repositories.FillRepository(database)
    await repository.append(fill(1))
    with pytest.raises(walle.FileReplaced, match="Nothing of this call was written") as caught:
        async with database.session() as session:
            async with session.begin_nested():
                await repository.append([fill(number) for number in range(2, rows + 2)], session=session)
            path.rename(path.with_name("old.db"))
            replace(path)
            await session.commit()
    assert not caught.value.written
    await database.close()
    assert held(path) == []
    assert held(path.with_name("old.db")) == ids(1, 1)


async def test_a_file_replaced_during_the_commit_is_said_to_have_taken_it(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    copied(path)
    database = Database(path)
    repository = walle.repositories.FillRepository(database)

    def swap(statement: str) -> None:
        if statement.startswith("COMMIT"):
            path.rename(path.with_name("old.db"))
            replace(path)

    with pytest.raises(walle.FileReplaced, match="wrote to the previous file") as caught:
        async with database.session() as session:
            await repository.append(fill(1), session=session)
            connection = await session.connection()
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            await driver.set_trace_callback(swap)
            await session.commit()
    assert caught.value.written
    await database.close()
    assert held(path) == []
    assert held(path.with_name("old.db")) == ids(1, 1)


def test_a_file_replaced_during_a_migration_is_left_as_it_was_put_there(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    with walle.connect(path) as store:
        store.fills.append(fill(1))
    copied(path)
    walle.migrate.downgrade(walle.DatabaseConfig(url=path), models.REVISIONS[-2])

    def swap(_: sa.Connection) -> None:
        if path.with_name("copy.db").exists():
            replace(path)

    sa.event.listen(Engine, "commit", swap)
    try:
        with pytest.raises(walle.FileReplaced):
            walle.upgrade(path, confirmed=True)
    finally:
        sa.event.remove(Engine, "commit", swap)
    assert held(path) == ids(1, 1)
    with walle.connect(path) as store:
        assert store.status().ok


async def test_a_follower_of_events_hears_of_a_replaced_file(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    database = Database(path)
    log = walle.EventLog(database)
    await log.append(walle.Event(type="research.Noted", payload={}))
    copied(path)
    seen = []

    async def follow() -> None:
        async for stored in log.subscribe(after=-1):
            seen.append(stored)

    task = asyncio.create_task(follow())
    while not seen:
        await asyncio.sleep(0.01)
    replace(path)
    with pytest.raises(walle.FileReplaced):
        await task
    await log.close()
    await database.close()


@needs_locks
def test_a_file_put_in_place_of_one_that_another_process_has_open_is_refused(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    copied(path)
    with command("own", path, "run-1") as child:
        child.expect("running")
        replace(path)
        with pytest.raises(walle.FileReplaced, match=f"process {child.process.pid}"):
            walle.connect(path)
        path.unlink()
        with pytest.raises(walle.FileReplaced, match=f"process {child.process.pid}"):
            walle.connect(path)
        assert not path.exists()
    with walle.connect(path) as store:  # that process was killed
        assert store.fills.append(fill(1)).inserted == 1
    assert held(path) == ids(1, 1)


def test_a_smaller_copy_written_over_an_open_file_is_noticed(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    copy = copied(path)
    with walle.connect(path) as store:
        store.fills.append([fill(number) for number in range(2_000)])
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        connection.close()
        assert store.fills.read().height == 2_000
        path.write_bytes(copy.read_bytes())  # as cp does: the same file, other content
        for name in ("append", "read"):
            with pytest.raises(walle.FileReplaced, match=r"overwritten in place.*move the file away") as caught:
                CALLS[name](store)
            assert "remove" not in str(caught.value)


def test_a_file_that_was_made_smaller_and_grows_again_in_its_log_is_worked_with(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    with walle.connect(path) as store:
        store.events.append([walle.Event(type="research.Noted", payload={"text": "x" * 1000}) for _ in range(3_000)])
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert store.events.read().height == 3_000
        large = path.stat().st_size
        connection.execute("DROP TRIGGER walle_guard_outbox_delete")
        connection.execute("DELETE FROM outbox")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.executemany(
            "INSERT INTO outbox (type, payload) VALUES ('a.B', ?)",
            ((f'{{"text": "{"y" * 2000}"}}',) for _ in range(3_000)),
        )
        assert path.stat().st_size < large
        assert connection.execute("PRAGMA page_count").fetchone()[0] * 4096 > large
        assert store.fills.append(fill(1)).inserted == 1
        assert store.events.read().height == 3_000
        connection.close()


def test_a_copy_of_the_open_file_by_the_same_process_takes_nothing_away(sqlite_address: str, tmp_path: Path) -> None:
    with walle.connect(sqlite_address) as store:
        store.fills.append(fill(1))
        copied = shutil.copy(sqlite_address, tmp_path / "copy.db")  # drops this process's locks on the file
        assert Path(copied).exists()
        assert store.fills.append(fill(2)).inserted == 1
        assert store.fills.read().height == 2
        shutil.copy(sqlite_address, tmp_path / "copy.db")
        with walle.connect(sqlite_address) as other:
            assert other.fills.read().height == 2


def test_a_file_that_sqlite_itself_made_smaller_is_worked_with(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    with walle.connect(path) as store:
        store.events.append([walle.Event(type="research.Noted", payload={"text": "x" * 1000}) for _ in range(2_000)])
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        store.fills.append(fill(1))
        large = path.stat().st_size
        connection.execute("DROP TRIGGER walle_guard_outbox_delete")
        connection.execute("DELETE FROM outbox")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        assert path.stat().st_size < large
        assert store.fills.append(fill(2)).inserted == 1
        assert store.fills.read().height == 2


def elsewhere(program: str, path: Path) -> str:
    """Run a program in another process, because one of this process would share its locks; return what it prints."""
    return subprocess.check_output([sys.executable, "-c", program, str(path)], text=True, timeout=120).strip()


VACUUM = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("VACUUM")
assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
"""


def grow(connection: sqlite3.Connection, size: int) -> None:
    """Write so many bytes into the log of a file, and leave them there."""
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("CREATE TABLE IF NOT EXISTS scratch (content BLOB)")
    connection.execute("INSERT INTO scratch VALUES (zeroblob(?))", (size,))
    connection.commit()


@pytest.fixture
def vacuumed(sqlite_address: str) -> Iterator[tuple[Path, walle.Store, sqlite3.Connection]]:
    """A file that a store has seen larger by 2 MB than it is, and a connection that can write into its log."""
    path = Path(sqlite_address)
    with walle.connect(path) as store, contextlib.closing(sqlite3.connect(path)) as other:
        store.fills.append(fill(1))
        grow(other, 2_000_000)
        other.execute("DROP TABLE scratch")
        other.commit()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert store.fills.read().height == 1
        large = path.stat().st_size
        elsewhere(VACUUM, path)
        assert path.stat().st_size < large - 1_900_000
        yield path, store, other


@pytest.mark.parametrize("sizes", [[3_000_000], [500_000, 0, 500_000, 3_000_000]], ids=["at once", "in steps"])
def test_a_file_that_grows_in_its_log_after_vacuum_is_worked_with(
    vacuumed: tuple[Path, walle.Store, sqlite3.Connection], sizes: list[int]
) -> None:
    path, store, other = vacuumed
    small = path.stat().st_size
    for number, size in enumerate(sizes, start=2):
        grow(other, size)
        assert path.stat().st_size == small
        assert store.fills.read().height == number - 1
        assert store.fills.append(fill(number)).inserted == 1
        with walle.connect(path, read_only=True) as reader:
            assert reader.fills.read().height == number
    assert held(path) == ids(1, len(sizes) + 1)


def test_a_file_that_grew_after_vacuum_and_is_then_overwritten_is_noticed(
    vacuumed: tuple[Path, walle.Store, sqlite3.Connection],
) -> None:
    path, store, other = vacuumed
    copy = copied(path)
    grow(other, 3_000_000)
    assert store.fills.read().height == 1
    other.execute("PRAGMA wal_checkpoint(PASSIVE)")
    grow(other, 10_000)  # its log counts the pages that lie in the file
    assert store.fills.read().height == 1
    path.write_bytes(copy.read_bytes())
    for name in ("append", "read"):
        with pytest.raises(walle.FileReplaced, match="overwritten in place"):
            CALLS[name](store)


@pytest.mark.parametrize(("rule", "value"), [("value > 0", -1), ("approved(value)", 1)], ids=["broken", "unknown"])
def test_a_constraint_is_no_sign_of_an_overwritten_file(
    vacuumed: tuple[Path, walle.Store, sqlite3.Connection], rule: str, value: int
) -> None:
    _, store, other = vacuumed
    other.create_function("approved", 1, lambda _: True, deterministic=True)  # which the store does not know
    other.execute("PRAGMA ignore_check_constraints=ON")
    other.execute(f"CREATE TABLE tree (value INTEGER CHECK ({rule}))")
    other.execute("INSERT INTO tree VALUES (?)", (value,))
    grow(other, 3_000_000)
    assert store.fills.append(fill(2)).inserted == 1
    assert store.fills.read().height == 2


@needs_locks
def test_a_plain_copy_of_an_open_file_is_no_replacement(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    with walle.connect(path) as store:
        store.fills.append(fill(1))
        shutil.copy(path, path.with_name("plain.db"))
        assert store.fills.append(fill(2)).inserted == 1
        assert store.fills.read().height == 2
        path.read_bytes()  # as a checksum does
        with walle.connect(path) as beside:
            assert beside.fills.read().height == 2
        shutil.copy(path, path.with_name("plain.db"))
        assert store.status().ok
    assert held(path) == ids(1, 2)


@needs_locks
def test_another_process_may_connect_after_a_plain_copy_of_an_open_file(sqlite_address: str) -> None:
    path = Path(sqlite_address)
    with walle.connect(path) as store:
        store.fills.append(fill(1))
        shutil.copy(path, path.with_name("plain.db"))
        assert elsewhere("import sys, walle; print(walle.connect(sys.argv[1]).fills.read().height)", path) == "1"
        assert store.fills.append(fill(2)).inserted == 1
