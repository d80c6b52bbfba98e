from __future__ import annotations

from decimal import Decimal

import polars as pl
import psycopg
import pytest

import walle
from tests.postgres import Server
from tests.samples import bars, fill, order, run
from walle import migrate
from walle.config import DatabaseConfig
from walle.database import Database
from walle.repositories import BarRepository, OrderRepository


def end_all_connections(server: Server, address: str) -> None:
    with server.admin() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [address.rpartition("/")[2]]
        )


def test_a_restarted_server_costs_no_error(server: Server, postgres_address: str) -> None:
    with walle.connect(postgres_address) as store:
        store.bars.ingest(bars(3), symbol="A", timeframe="1m")
        assert store.bars.read("A", "1m").height == 3
        end_all_connections(server, postgres_address)
        assert store.bars.read("A", "1m").height == 3
        end_all_connections(server, postgres_address)
        assert store.fills.append(fill()).inserted == 1


def test_refused_bars_burn_no_number_of_the_sequence(postgres_address: str) -> None:
    with walle.connect(postgres_address) as store:
        for _ in range(5):
            store.bars.ingest(bars(1000), symbol="A", timeframe="1m")
        store.bars.ingest(bars(1001), symbol="A", timeframe="1m")
    with psycopg.connect(postgres_address) as connection:
        assert connection.execute("SELECT last_value FROM bars_id_seq").fetchone() == (1001,)


def test_the_sessions_zone_of_a_server_changes_nothing(server: Server, postgres_address: str) -> None:
    with server.admin() as connection:
        connection.execute(f"ALTER DATABASE {postgres_address.rpartition('/')[2]} SET timezone = 'Asia/Tokyo'")
    with walle.connect(postgres_address) as store:
        store.fills.append(fill())
        got = store.fills.get("fill-1")
        assert got == fill()
        assert got is not None
        assert str(got.filled_at.tzinfo) == "UTC"
        assert store.fills.read()["filled_at"][0] == fill().filled_at


@pytest.mark.parametrize("extra", ["application_name=a%20b", "options=-c%20statement_timeout%3D0", "sslmode=prefer"])
def test_options_in_the_address_reach_both_drivers(postgres_address: str, extra: str) -> None:
    with walle.connect(f"{postgres_address}?{extra}") as store:
        store.bars.ingest(bars(3), symbol="A", timeframe="1m")
        assert store.bars.read("A", "1m").height == 3


def test_an_engine_that_does_not_own_the_tables_cannot_drop_the_guards(server: Server, postgres_address: str) -> None:
    name = postgres_address.rpartition("/")[2]
    with server.admin() as connection:
        connection.execute("DROP ROLE IF EXISTS engine")
        connection.execute("CREATE ROLE engine LOGIN PASSWORD 'engine'")
    with psycopg.connect(postgres_address, autocommit=True) as connection:
        connection.execute("GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO engine")
        connection.execute("GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO engine")
    address = server.url(name, user="engine", password="engine")
    with walle.connect(address) as store:
        assert store.bars.ingest(bars(3), symbol="A", timeframe="1m").inserted == 3
        assert store.bars.ingest(bars(3), symbol="A", timeframe="1m").duplicates == 3
        store.fills.append(fill())
    with psycopg.connect(address, autocommit=True) as connection:
        for statement in ("DROP FUNCTION walle_refuse_change() CASCADE", "ALTER TABLE fills DISABLE TRIGGER ALL"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
    with server.admin(name) as connection:
        connection.execute("DROP OWNED BY engine")
        connection.execute("DROP ROLE engine")


def test_the_guards_stand_beside_the_tables_whatever_comes_first_in_the_search_path(postgres_address: str) -> None:
    with psycopg.connect(postgres_address, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA team")
        connection.execute("DROP FUNCTION walle_refuse_change() CASCADE")
    address = f"{postgres_address}?options=-c%20search_path%3Dteam%2Cpublic"
    with walle.connect(address) as store:
        assert not store.status().ok
    assert walle.upgrade(address) == []
    with walle.connect(address) as store:
        assert store.status().ok
    with psycopg.connect(postgres_address, autocommit=True) as connection:
        connection.execute("DROP SCHEMA team CASCADE")
    with walle.connect(postgres_address) as store:
        assert store.status().ok


def test_single_writes_do_not_bloat_the_catalogue(postgres_address: str) -> None:
    with walle.connect(postgres_address) as store:
        store.fills.append(fill(0))
        with psycopg.connect(postgres_address, autocommit=True) as connection:
            query = "SELECT count(*), max(relfilenode) FROM pg_class WHERE relname = 'walle_stage_fills'"
            before = connection.execute(query).fetchone()
            for number in range(1, 20):
                store.fills.append(fill(number))
            assert connection.execute(query).fetchone() == before


async def test_an_engine_over_an_older_schema_is_refused_before_it_rounds(empty_postgres: str) -> None:
    config = DatabaseConfig(url=empty_postgres)
    migrate.upgrade(config, "d4e5f6a7b8c9")
    database = Database(empty_postgres)
    with pytest.raises(walle.SchemaOutdated, match="stands at revision 'd4e5f6a7b8c9'"):
        await OrderRepository(database).save(order(qty=Decimal("1.123456789012")))
    migrate.upgrade(config)
    await OrderRepository(database).save(order(qty=Decimal("1.123456789012")))
    assert (await OrderRepository(database).get("order-1")).qty == Decimal("1.123456789012")
    await database.close()


@pytest.mark.parametrize(
    "setting",
    [
        "standard_conforming_strings = off",
        "backslash_quote = off",
        "datestyle = 'German, DMY'",
        "extra_float_digits = -15",
        "client_encoding = latin1",
        "bytea_output = escape",
        "intervalstyle = iso_8601",
        "timezone = 'Asia/Kathmandu'",
        "default_transaction_isolation = serializable",
        "default_transaction_deferrable = on",
    ],
)
async def test_no_default_of_a_database_changes_a_value(server: Server, postgres_address: str, setting: str) -> None:
    with server.admin() as connection:
        connection.execute(f"ALTER DATABASE {postgres_address.rpartition('/')[2]} SET {setting}")
    awkward = "it's \\ a back\\slash' \\' Größe 漢字 %s %(x)s :x"
    frame = bars(3).with_columns(close=pl.Series([99.10000000000001, 100.00000000000001, 100 + 1 / 3]))
    with walle.connect(postgres_address) as store:
        store.bars.ingest(frame, symbol=awkward[:32], timeframe="1m")
        assert store.bars.read(awkward[:32], "1m").select(frame.columns).equals(frame)
        assert store.bars.ingest(frame, symbol=awkward[:32], timeframe="1m").duplicates == 3
        store.orders.save(order(run_id=awkward))
        store.fills.append(fill(run_id=awkward))
        store.runs.save(run(id=awkward, config={"text": awkward, "number": 0.1 + 0.2}))
        assert store.fills.read(awkward)["run_id"].to_list() == [awkward]
        assert store.orders.read(awkward)["created_at"].to_list() == [order().created_at]
        assert store.runs.get(awkward).config == {"text": awkward, "number": 0.1 + 0.2}
        assert store.events.read(run_id=awkward).is_empty()
        assert store.runs.history(awkward).height > 2
    database = Database(postgres_address)
    async with database.session() as session:  # the other driver
        found = await BarRepository(database).read(awkward[:32], "1m", session=session)
        assert found.select(frame.columns).equals(frame)
    await database.close()


@pytest.mark.parametrize("read_only", [False, True])
def test_a_primary_that_is_asked_for_is_found_also_for_reading(postgres_address: str, read_only: bool) -> None:
    with walle.connect(f"{postgres_address}?target_session_attrs=read-write", read_only=read_only) as store:
        assert store.status().ok
        assert store.fills.read().is_empty()


def test_a_statement_that_takes_too_long_for_the_server_says_so(postgres_address: str) -> None:
    address = f"{postgres_address}?options=-c%20statement_timeout%3D300ms"
    with psycopg.connect(postgres_address) as connection, walle.connect(address) as store:
        store.fills.append(fill())
        connection.execute("LOCK TABLE fills IN ACCESS EXCLUSIVE MODE")
        for call in (store.fills.read, lambda: store.fills.append(fill(2))):
            with pytest.raises(walle.StatementCancelled, match="statement timeout"):
                call()
        connection.rollback()
        assert store.fills.read().height == 1


def test_options_of_the_environment_hold_and_are_not_sent_at_the_start(
    postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=100ms")
    with psycopg.connect(postgres_address, options=" ") as connection, walle.connect(postgres_address) as store:
        connection.execute("LOCK TABLE fills IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(walle.DatabaseBusy, match="lock timeout"):
            store.fills.append(fill())
