"""The index says what the bars are, whoever wrote them and however their transactions ended."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from datetime import timedelta

import polars as pl
import psycopg
import pytest
import sqlalchemy as sa

import walle
from tests.examples import first_quick
from tests.raw import Raw
from tests.samples import START, bars
from walle.bars.coverage import summarise
from walle.database import Database
from walle.frames import BAR_SERIES
from walle.repositories import BarRepository
from walle.repositories.bars import index, ingest
from walle.repositories.bars.index import BarIndex

SYMBOLS = ("A", "B", "C")
COLUMNS = "symbol, timeframe, timestamp, open, high, low, close, volume"


@pytest.fixture
def repository(database: Database) -> BarRepository:
    return BarRepository(database)


def moment(raw: Raw, place: int) -> str:
    instant = START + timedelta(minutes=place)
    return str(int(instant.timestamp() * 1_000_000)) if raw.sqlite else f"'{instant.isoformat()}'"


def foreign(raw: Raw, symbol: str, *places: int, timeframe: str = "1m") -> str:
    rows = ", ".join(f"('{symbol}', '{timeframe}', {moment(raw, place)}, 1, 1, 1, 1, 1)" for place in places)
    return f"INSERT INTO bars ({COLUMNS}) VALUES {rows} ON CONFLICT (symbol, timeframe, timestamp) DO NOTHING"


@contextlib.contextmanager
def maintenance(raw: Raw) -> Iterator[object]:
    with raw.open() as connection:
        connection.execute("BEGIN")
        connection.execute(
            "INSERT INTO walle_guard_maintenance VALUES ('sealing', 'x')"
            if raw.sqlite
            else "SET LOCAL walle.maintenance = 'on'"
        )
        yield connection
        if raw.sqlite:
            connection.execute("DELETE FROM walle_guard_maintenance")
        connection.execute("COMMIT")


async def check(repository: BarRepository, database: Database) -> None:
    """Hold the index against the bars."""
    told = await repository.series()
    assert told.schema == BAR_SERIES
    coverage = await repository.coverage()
    seen = []
    for symbol in SYMBOLS:
        if await repository.count(symbol, "1m"):
            times = (await repository.read(symbol, "1m", columns=["timestamp"]))["timestamp"]
            assert (await BarIndex(database).times(symbol, "1m")).to_list() == times.to_list()
            seen.append((symbol, "1m", times[0], times[-1], times.len()))
            counts = summarise(times, "1m").row(0, named=True)
            row = coverage.row(by_predicate=pl.col("symbol") == symbol, named=True)
            assert {name: row[name] for name in counts} == counts
    assert told.rows() == seen
    assert coverage.height == len(seen)


def marks(raw: Raw) -> int:
    return int(raw.value("SELECT count(*) FROM bar_index WHERE runs IS NULL"))


@pytest.mark.parametrize("seed", first_quick(range(6)))
async def test_the_index_is_what_the_bars_are_after_any_history(
    repository: BarRepository, database: Database, address: str, seed: int
) -> None:
    chance, raw = random.Random(seed), Raw(address)
    for _ in range(25):
        symbol = chance.choice(SYMBOLS)
        places = sorted(chance.sample(range(60), chance.randrange(1, 20)))
        frame = bars(60).filter(pl.int_range(60).is_in(places))
        match chance.choice(["own", "own", "session", "undone", "foreign", "foreign", "foreign undone", "deleted"]):
            case "own":
                await repository.ingest(frame, symbol=symbol, timeframe="1m")
            case "session" | "undone" as end:
                async with database.session() as session:
                    await repository.ingest(frame, symbol=symbol, timeframe="1m", session=session)
                    await session.execute(sa.text(foreign(raw, symbol, 70, 71).replace(":", r"\:")))
                    if chance.random() < 0.5:
                        assert (await BarIndex(database).times(symbol, "1m", session)).len() >= len(places)
                    await (session.commit() if end == "session" else session.rollback())
            case "foreign":
                raw.run(foreign(raw, symbol, *places))
            case "foreign undone":
                with raw.open() as connection:
                    connection.execute("BEGIN")
                    connection.execute(foreign(raw, symbol, *places))
                    connection.execute("ROLLBACK")
            case "deleted":
                with maintenance(raw) as connection:
                    connection.execute(  # type: ignore[attr-defined]  # of either driver
                        f"DELETE FROM bars WHERE symbol = '{symbol}' AND timestamp < {moment(raw, places[0])}"
                    )
        if chance.random() < 0.4:
            await check(repository, database)
    await check(repository, database)
    await check(repository, database)
    assert marks(raw) == 0


async def test_bars_that_others_wrote_are_looked_up_once(
    repository: BarRepository, database: Database, address: str
) -> None:
    raw = Raw(address)
    await repository.ingest(bars(10), symbol="A", timeframe="1m")
    assert marks(raw) == 0
    raw.run(foreign(raw, "A", 12, 13))
    raw.run(foreign(raw, "A", 20))
    assert marks(raw) > 0
    opened = Database(database.config, read_only=True)
    reader = BarRepository(opened)
    await check(reader, opened)
    assert marks(raw) > 0
    await reader._database.close()
    await check(repository, database)
    assert marks(raw) == 0
    assert raw.value("SELECT count(*) FROM bar_index") == 1


async def test_a_reader_waits_for_nobody(repository: BarRepository, database: Database, address: str) -> None:
    raw = Raw(address)
    raw.run(foreign(raw, "A", 0, 1, 2))
    with raw.open() as connection:
        connection.execute("BEGIN IMMEDIATE" if raw.sqlite else "BEGIN")
        if not raw.sqlite:
            connection.execute("LOCK TABLE fills")
        await check(repository, database)
        connection.execute("ROLLBACK")
    await check(repository, database)
    assert marks(raw) == 0


async def test_a_full_disk_can_be_read(sqlite_address: str) -> None:
    raw, places = Raw(sqlite_address), random.Random(1).sample(range(100_000), 20_000)
    raw.run(foreign(raw, "A", *places))
    database = Database(sqlite_address)
    sa.event.listen(database.engine.sync_engine, "connect", lambda raw, _: raw.execute("PRAGMA max_page_count=1"))
    repository = BarRepository(database)
    try:
        assert (await repository.series())["bars"].to_list() == [20_000]
        assert marks(raw) == 1
    finally:
        await database.close()


async def test_a_foreign_timeframe_that_is_none_is_listed(repository: BarRepository, address: str) -> None:
    raw = Raw(address)
    raw.run(foreign(raw, "A", 0, 7, 14, timeframe="7m"))
    row = (await repository.series()).row(0, named=True)
    assert (row["timeframe"], row["bars"], row["first"]) == ("7m", 3, START)


async def test_dates_and_months_are_kept_as_well(repository: BarRepository) -> None:
    days = pl.datetime_range(START, START + timedelta(days=400), "1d", eager=True).rename("timestamp")
    daily = bars(days.len()).with_columns(days)
    await repository.ingest(daily.filter(pl.col("timestamp").dt.weekday() < 6), symbol="A", timeframe="1d")
    await repository.ingest(daily.filter(pl.col("timestamp").dt.weekday() == 1), symbol="A", timeframe="1w")
    await repository.ingest(daily.filter(pl.col("timestamp").dt.day() == 1), symbol="A", timeframe="1M")
    with pytest.warns(walle.MissingCalendarWarning, match="'A' has no calendar.* only Monday to Friday"):
        coverage = await repository.coverage()
    assert coverage.select("timeframe", "bars", "missing").rows() == [("1M", 14, 0), ("1d", 285, 112), ("1w", 57, 0)]


async def test_what_is_in_the_file_counts_after_an_upgrade(sqlite_address: str) -> None:
    from walle import migrate
    from walle.config import DatabaseConfig

    where = DatabaseConfig(url=sqlite_address)
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(bars(50).filter(pl.int_range(50) != 7), symbol="A", timeframe="1m")
    migrate.downgrade(where, "b9d4f3a5c7e1", discard=True)
    migrate.upgrade(where)
    database = Database(where)
    await check(BarRepository(database), database)
    await database.close()


async def test_a_full_row_is_left_to_large_writes(
    repository: BarRepository, database: Database, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, sparse = Raw(address), bars(3_000).filter(pl.int_range(3_000) % 3 == 0)
    sparse = sparse.with_columns(timeframe=pl.lit("1m"))
    monkeypatch.setattr(index, "FULL", 20)
    monkeypatch.setattr(ingest, "FEW", 100)
    for number in range(4):
        await repository.ingest(sparse.slice(number * 20, 20), symbol="A", timeframe="1m")
    assert raw.value("SELECT count(*) FROM bar_index") > 1
    await check(repository, database)
    await repository.ingest(sparse, symbol="A", timeframe="1m")
    assert raw.value("SELECT count(*) FROM bar_index") == 1
    before = raw.rows("SELECT id, bars, runs FROM bar_index")
    assert (await repository.ingest(sparse, symbol="A", timeframe="1m")).duplicates == sparse.height
    assert raw.rows("SELECT id, bars, runs FROM bar_index") == before
    await check(repository, database)


# writers at the same time, on PostgreSQL


async def test_two_open_sessions_write_one_series(postgres_address: str) -> None:
    raw = Raw(postgres_address)
    with walle.connect(postgres_address):
        pass
    first, second = Database(postgres_address), Database(postgres_address)
    one, other = BarRepository(first), BarRepository(second)
    try:
        await one.ingest(bars(5), symbol="A", timeframe="1m")
        async with first.session() as left, second.session() as right:
            await one.ingest(bars(60).slice(10, 5), symbol="A", timeframe="1m", session=left)
            await other.ingest(bars(60).slice(30, 5), symbol="A", timeframe="1m", session=right)  # does not wait
            raw.run(foreign(raw, "A", 50))
            await check(one, first)
            await left.commit()
            await check(other, second)
            await right.commit()
        await check(one, first)
        await one.ingest(bars(60).slice(40, 1), symbol="A", timeframe="1m")
        assert raw.value("SELECT count(*) FROM bar_index") == 1
        await check(other, second)
    finally:
        await first.close()
        await second.close()


async def test_a_foreign_writer_that_commits_late_is_not_lost(postgres_address: str) -> None:
    raw = Raw(postgres_address)
    with walle.connect(postgres_address):
        pass
    database = Database(postgres_address)
    repository = BarRepository(database)
    try:
        with psycopg.connect(postgres_address, autocommit=True) as late:
            late.execute("BEGIN")
            late.execute(foreign(raw, "A", 1, 2))
            raw.run(foreign(raw, "A", 0, 3))
            await check(repository, database)  # settles the mark of 0 and 3, in whose range the others will lie
            late.execute("COMMIT")
            await check(repository, database)
        assert (await repository.series()).row(0, named=True)["bars"] == 4
    finally:
        await database.close()


async def test_a_reader_does_not_wait_for_a_deletion_of_bars(postgres_address: str) -> None:
    raw = Raw(postgres_address)
    database = Database(f"{postgres_address}?options=-c%20lock_timeout%3D100ms")
    repository = BarRepository(database)
    waits = []
    sa.event.listen(database.engine.sync_engine, "handle_error", lambda context: waits.append(context.statement))
    try:
        raw.run(foreign(raw, "A", 0, 1, 2))
        with maintenance(raw) as deleting:
            deleting.execute(f"DELETE FROM bars WHERE timestamp = {moment(raw, 2)}")  # type: ignore[attr-defined]  # of either driver
            assert (await BarIndex(database).times("A", "1m")).len() == 3
        await check(repository, database)
        assert (marks(raw), waits) == (0, [])
    finally:
        await database.close()


async def test_a_write_between_the_look_and_the_settling_keeps_its_mark(
    repository: BarRepository, database: Database, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, marked = Raw(address), BarIndex(database)
    real = marked._look_up
    raw.run(foreign(raw, "A", 0, 9))

    async def look_up(*arguments: object) -> pl.DataFrame:
        found = await real(*arguments)  # type: ignore[arg-type]  # passed on
        raw.run(foreign(raw, "A", 4))  # inside the range of the mark that was just looked up
        return found

    with monkeypatch.context() as patch:
        patch.setattr(marked, "_look_up", look_up)
        assert (await marked.times("A", "1m")).len() == 2
    assert (await BarIndex(database).times("A", "1m")).len() == 3
    await check(repository, database)
