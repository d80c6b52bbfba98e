"""A database that the backend wrote, at any revision of its own chain, opens read-only and every frame reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import psycopg
import pytest

import walle
from tests.raw import BASES, ROWS, TABLES, Raw, fill_tables
from tests.samples import bars, fill, order, run
from tests.test_migrations import BASE_COLUMNS
from tests.test_migrations_loss import everything
from walle import migrate
from walle.config import DatabaseConfig
from walle.errors import ReadOnly, SchemaTooNew, UnknownOrder, UnknownRun, UnknownSymbol

D = Decimal
INSTANT, MONEY = pl.Datetime("us", "UTC"), pl.Decimal(38, 18)
T0, T1 = datetime(2025, 3, 1, 9, 30, tzinfo=UTC), datetime(2025, 3, 1, 9, 31, 0, 123_457, tzinfo=UTC)
T2 = datetime(2025, 3, 1, 9, 32, tzinfo=UTC)

BAR_TYPES: dict[str, Any] = {
    "timestamp": INSTANT,
    **{name: pl.Float64() for name in ("open", "high", "low", "close", "volume")},
}
ORDER_TYPES: dict[str, Any] = {
    **{name: pl.String() for name in ("id", "client_order_id", "exchange_order_id", "run_id", "symbol", "side")},
    **{"order_type": pl.String(), "qty": MONEY, "limit_price": MONEY, "stop_price": MONEY},
    **{"time_in_force": pl.String(), "status": pl.String(), "filled_qty": MONEY, "filled_avg_price": MONEY},
    **dict.fromkeys(("created_at", "submitted_at", "filled_at", "cancelled_at"), INSTANT),
    **{"reject_reason": pl.String(), "error_code": pl.String(), "account": pl.String()},
    **{"extra": pl.String(), "recorded_at": pl.Datetime("us", "UTC")},
}
FILL_TYPES: dict[str, Any] = {
    **{name: pl.String() for name in ("id", "order_id", "run_id", "symbol", "side")},
    **{"price": MONEY, "quantity": MONEY, "commission": MONEY, "commission_currency": pl.String()},
    **{"liquidity": pl.String(), "filled_at": INSTANT, "exchange_fill_id": pl.String()},
    **{"sequence": pl.Int64(), "account": pl.String(), "extra": pl.String(), "recorded_at": pl.Datetime("us", "UTC")},
}
RUN_TYPES: dict[str, Any] = {
    **{name: pl.String() for name in ("id", "strategy_id", "mode", "status")},
    **{"symbols": pl.List(pl.String()), "timeframe": pl.String(), "config": pl.String(), "error": pl.String()},
    **dict.fromkeys(("created_at", "started_at", "stopped_at", "heartbeat_at"), INSTANT),
    **{"owner": pl.String(), "revision": pl.Int64(), "account": pl.String(), "prices": pl.String()},
}


SUMMARY_TYPES = {**RUN_TYPES, "duration": pl.Duration("us"), "orders": pl.Int64(), "fills": pl.Int64()}


def make_backend(url: str) -> None:
    """Make the tables and rows as the backend leaves them, with nothing of WallE's."""
    with psycopg.connect(url, autocommit=True) as connection:
        for table, lines in BASE_COLUMNS.items():
            columns = []
            for line in lines.strip().splitlines():
                name, _, kind = line.strip().partition(" ")
                if table == "runs" and name in ("symbols", "timeframe"):
                    continue
                serial = kind.startswith("integer") and "nextval" in kind
                columns.append(f"{name} {'serial primary key' if serial else kind}")
            if table == "fills":
                columns += ["commission numeric(18,8)", "symbol varchar(50)"]
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES ('f00dfeed1234')")
        connection.execute("CREATE TABLE backend_settings (name text)")  # a table of its later revisions

    raw = Raw(url)
    names = ["symbol", "timeframe", "timestamp", "open", "high", "low", "close", "volume"]
    raw.insert(
        "bars",
        names,
        [
            ("BTC/USD", "1m", T0, D("0.1"), D("0.3"), D("0.00000001"), D("0.12345678"), D("9999999999.99999999")),
            ("BTC/USD", "1m", T1, D("12345.67890123"), D("90071992.54740993"), D("-37.63"), D("0.7"), D("0")),
            ("ETH/USD", "foreign", T0, D("1"), D("1"), D("1"), D("1"), D("1")),
        ],
    )
    columns = ["id", "client_order_id", "run_id", "symbol", "side", "order_type", "qty", "limit_price"]
    columns += ["time_in_force", "status", "filled_qty", "filled_avg_price", "created_at", "filled_at", "error_code"]
    raw.insert(
        "veda_orders",
        columns,
        [
            (
                *("o1", "c1", "r1", "BTC/USD", "buy", "limit", D("0.1"), D("0.12345678"), "gtc", "filled", D("0.1")),
                *(D("0.12345678"), T0, T1, None),
            ),
            (
                *("o2", "c2", "r2", "ETH/USD", "short", "iceberg", D("1"), None, "gtd", "halted", D("0"), None, T1),
                *(None, "E'1"),
            ),
        ],
    )
    names = ["id", "order_id", "price", "quantity", "side", "filled_at", "exchange_fill_id", "commission", "symbol"]
    raw.insert(
        "fills",
        names,
        [
            ("f1", "o1", D("0.1"), D("0.12345678"), "buy", T1, "v1", D("0.00000001"), "BTC/USD"),
            ("f2", "o2", D("9999999999.99999999"), D("1"), "short", T1, None, None, None),
            ("f3", "gone", D("-37.63"), D("1"), "sell_short", T2, None, D("-0.5"), "CL"),
        ],
    )
    in_config = {"symbols": ["BTC/USD", "Größe 漢"], "timeframe": "1m", "fast": 5, "deep": {"a": [1, None]}}
    names = ["id", "strategy_id", "mode", "status", "config", "created_at", "started_at", "stopped_at"]
    raw.insert(
        "runs",
        names,
        [
            ("r1", "sma", "backtest", "completed", in_config, T0, T0, T2),
            ("r2", "sma", "shadow", "exploded", {"symbols": None, "timeframe": None}, T1, None, None),
            ("r3", "sma", "live", "running", {"fast": 5}, T1, T1, None),
            ("r4", "sma", "live", "pending", None, T1, None, None),
            ("r5", "sma", "live", "pending", [1, 2], T1, None, None),
            ("r6", "sma", "live", "pending", {"symbols": [], "timeframe": ""}, T1, None, None),
        ],
    )
    raw.insert("outbox", ["type", "payload"], [("run.Started", {"id": "e1"})])


@pytest.fixture
def backend(empty_postgres: str) -> str:
    make_backend(empty_postgres)
    return empty_postgres


@pytest.fixture
def store(backend: str) -> Iterator[walle.Store]:
    before = everything(Raw(backend))
    with walle.connect(backend, read_only=True) as opened:
        yield opened
    assert everything(Raw(backend)) == before


def test_it_is_too_new_for_writing_and_is_not_touched(backend: str) -> None:
    before = everything(Raw(backend))
    with pytest.raises(SchemaTooNew, match=r"f00dfeed1234.*read_only=True"):
        walle.connect(backend)
    with pytest.raises(SchemaTooNew, match="f00dfeed1234"):
        migrate.upgrade(DatabaseConfig(url=backend), confirmed=True)
    assert everything(Raw(backend)) == before


def test_its_status_names_the_revision_and_asks_for_nothing(store: walle.Store) -> None:
    status = store.status()
    assert (status.revision, status.read_only, status.durable, status.ok) == ("f00dfeed1234", True, True, False)
    assert (status.pending, status.missing_guards) == ((), ())
    assert "f00dfeed1234" in str(status)
    assert "read_only=True" in repr(store)
    assert "2 series, 3 bars, 6 runs" in store._repr_html_()


def test_its_bars_are_the_floats_nearest_to_the_decimals(store: walle.Store) -> None:
    frame = store.bars.read("BTC/USD", "1m")
    assert dict(frame.schema) == BAR_TYPES
    # Python reads a literal as the nearest float64; 9999999999.99999999 and 90071992.54740993 have none of their own
    assert frame.rows() == [
        (T0, 0.1, 0.3, 1e-8, 0.12345678, 9999999999.99999999),
        (T1, 12345.67890123, 90071992.54740993, -37.63, 0.7, 0.0),
    ]
    assert store.bars.scan("BTC/USD", "1m").collect().rows() == frame.rows()
    assert store.bars.scan("BTC/USD", "1m").select("close").head(1).collect().rows() == [(0.12345678,)]
    assert store.bars.read(["BTC/USD"], "1m", T1, columns=["symbol", "close"]).rows() == [("BTC/USD", 0.7)]
    assert store.bars.read("BTC/USD", "1m", T0, T1).height == 1
    assert store.bars.count("BTC/USD", "1m") == 2
    latest = store.bars.latest("BTC/USD", "1m")
    assert (latest.timestamp, latest.open, latest.low) == (T1, 12345.67890123, -37.63)
    with pytest.raises(UnknownSymbol, match="BTC/USD"):
        store.bars.read("BTC/USDD", "1m")


def test_what_is_missing_in_it_is_counted_without_an_index(store: walle.Store) -> None:
    row = ("BTC/USD", "1m", datetime(2025, 3, 1, tzinfo=UTC), 2, 1, 0.5)  # the second bar opens between two minutes
    assert store.bars.coverage_by("day", "BTC/USD").rows() == [row]
    assert store.bars.coverage("BTC/USD").select("expected", "missing", "unexpected").row(0) == (2, 1, 1)


def test_its_series_are_listed_also_those_of_a_foreign_timeframe(store: walle.Store) -> None:
    series = store.bars.series()
    assert dict(series.schema) == {
        **{"symbol": pl.String(), "timeframe": pl.String(), "first": INSTANT, "last": INSTANT, "bars": pl.Int64()}
    }
    assert series.rows() == [("BTC/USD", "1m", T0, T1, 2), ("ETH/USD", "foreign", T0, T0, 1)]


def test_its_orders_read_exactly_also_with_foreign_words(store: walle.Store) -> None:
    frame = store.orders.read()
    assert dict(frame.schema) == ORDER_TYPES
    chosen = frame.select("id", "side", "order_type", "time_in_force", "status", "qty", "limit_price", "filled_at")
    assert chosen.rows() == [
        ("o1", "buy", "limit", "gtc", "filled", D("0.1"), D("0.12345678"), T1),
        ("o2", "short", "iceberg", "gtd", "halted", D("1"), None, None),
    ]
    assert store.orders.read("r1")["id"].to_list() == ["o1"]
    assert store.orders.read(symbol="ETH/USD")["id"].to_list() == ["o2"]
    assert store.orders.read(status="filled")["id"].to_list() == ["o1"]
    found = store.orders.get("o2")
    assert (str(found.status), str(found.side), found.qty, found.error_code) == ("halted", "short", D("1"), "E'1")
    assert store.orders.get_by_client_order_id("c1").limit_price == D("0.12345678")
    with pytest.raises(UnknownOrder):
        store.orders.get("o3")


def test_its_fills_read_exactly_with_the_backends_own_columns(store: walle.Store) -> None:
    frame = store.fills.read()
    assert dict(frame.schema) == FILL_TYPES
    ours = ["sequence", "account", "extra", "recorded_at"]
    assert set(frame.select(ours).null_count().row(0)) == {3}
    assert frame.drop(ours).rows() == [
        ("f1", "o1", "r1", "BTC/USD", "buy", D("0.1"), D("0.12345678"), D("0.00000001"), None, None, T1, "v1"),
        ("f2", "o2", "r2", "ETH/USD", "short", D("9999999999.99999999"), D("1"), None, None, None, T1, None),
        ("f3", "gone", None, "CL", "sell_short", D("-37.63"), D("1"), D("-0.5"), None, None, T2, None),
    ]
    assert store.fills.read("r1")["id"].to_list() == ["f1"]
    assert store.fills.read(order_id="gone")["id"].to_list() == ["f3"]
    assert store.fills.read(symbol="ETH/USD")["id"].to_list() == ["f2"]
    assert store.fills.read(start=T2)["id"].to_list() == ["f3"]
    with pytest.raises(UnknownRun):
        store.fills.read("r9")


def test_symbols_and_timeframe_of_its_runs_come_from_their_config(store: walle.Store) -> None:
    frame = store.runs.read()
    assert dict(frame.schema) == SUMMARY_TYPES
    assert frame.select("id", "mode", "status", "symbols", "timeframe", "created_at", "revision").rows() == [
        ("r1", "backtest", "completed", ["BTC/USD", "Größe 漢"], "1m", T0, None),
        ("r2", "shadow", "exploded", None, None, T1, None),
        ("r3", "live", "running", None, None, T1, None),
        ("r4", "live", "pending", None, None, T1, None),
        ("r5", "live", "pending", None, None, T1, None),
        ("r6", "live", "pending", [], "", T1, None),
    ]
    assert frame["duration"].to_list() == [T2 - T0, None, None, None, None, None]
    assert frame.select("orders", "fills").rows() == [(1, 1), (1, 1), (0, 0), (0, 0), (0, 0), (0, 0)]
    assert store.runs.read(status="completed").select("orders", "fills").rows() == [(1, 1)]
    assert frame["config"].str.json_path_match("$.deep.a[0]").to_list() == ["1", None, None, None, None, None]
    first = store.runs.get("r1")
    assert first.symbols == ("BTC/USD", "Größe 漢")
    assert (first.timeframe, first.stopped_at, first.owner) == ("1m", T2, None)
    assert first.config is not None and first.config["deep"] == {"a": [1, None]}
    second = store.runs.get("r2")
    assert (str(second.mode), str(second.status), second.symbols) == ("shadow", "exploded", None)
    assert store.runs.read(status="running")["id"].to_list() == ["r3"]
    assert [found.id for found in store.runs.recover()] == ["r3"]  # it has no owner


def test_the_history_of_its_runs_reads(store: walle.Store) -> None:
    history = store.runs.history("r1").select("time", "kind", "what", "order_id", "fill_id", "quantity")
    assert history.rows() == [
        (T0, "run", "created", None, None, None),
        (T0, "run", "started", None, None, None),
        (T0, "order", "created", "o1", None, D("0.1")),
        (T1, "fill", "filled", "o1", "f1", D("0.12345678")),
        (T1, "order", "filled", "o1", None, D("0.1")),
        (T2, "run", "stopped", None, None, None),
    ]
    assert store.runs.history("r2").height == 3
    with pytest.raises(UnknownRun):
        store.runs.history("r9")


def test_a_symbol_in_the_config_that_is_no_list_is_still_readable(backend: str) -> None:
    Raw(backend).run("""UPDATE runs SET config = '{"symbols": "BTC/USD", "timeframe": 5}' WHERE id = 'r4'""")
    with walle.connect(backend, read_only=True) as store:
        found = store.runs.read().filter(pl.col("id") == "r4")
        assert found["timeframe"].to_list() == ["5"]
        assert found["symbols"].to_list() == [["BTC/USD"]]
        assert store.runs.get("r1").symbols == ("BTC/USD", "Größe 漢")


def refuses_every_write(store: walle.Store) -> None:
    for write in (
        lambda: store.bars.ingest(bars(), symbol="X", timeframe="1m"),
        lambda: store.orders.save(order()),
        lambda: store.fills.append(fill()),
        lambda: store.runs.save(run()),
        store.upgrade,
    ):
        with pytest.raises(ReadOnly, match="read_only=True") as caught:
            write()
        assert "correct" not in str(caught.value)


def test_it_is_never_written(store: walle.Store) -> None:
    refuses_every_write(store)


# the base revisions, as the backend and WallE both know them


@pytest.mark.parametrize("base", BASES)
def test_every_frame_of_a_base_revision_reads_and_is_typed_also_where_tables_are_missing(
    empty_address: str, base: str
) -> None:
    raw = Raw(empty_address)
    migrate.upgrade(DatabaseConfig(url=empty_address), base)
    fill_tables(raw, TABLES[base])
    before = everything(raw)
    with walle.connect(empty_address, read_only=True) as store:
        frames = [store.orders.read(), store.fills.read(), store.runs.read()]
        assert [dict(frame.schema) for frame in frames] == [ORDER_TYPES, FILL_TYPES, SUMMARY_TYPES]
        expected = [len(ROWS[table]) if table in TABLES[base] else 0 for table in ("veda_orders", "fills", "runs")]
        assert [frame.height for frame in frames] == expected
        assert store.bars.series().height == (3 if "bars" in TABLES[base] else 0)
        assert store.bars.count("BTC/USD", "1m") == (2 if "bars" in TABLES[base] else 0)
        if "bars" in TABLES[base]:
            frame = store.bars.read("BTC/USD", "1m")
            assert dict(frame.schema) == BAR_TYPES
            assert frame["open"].to_list() == [0.1, 12345.67890123]
            assert store.bars.scan("BTC/USD", "1m").collect().rows() == frame.rows()
            assert store.bars.latest("CL", "1d").close == -37.63
        else:
            for call in (store.bars.read, store.bars.scan, store.bars.latest):
                with pytest.raises(UnknownSymbol):
                    call("BTC/USD", "1m")
        if "fills" in TABLES[base]:
            assert store.fills.read("r1").select("id", "symbol", "price").rows() == [
                ("f2", "BTC/USD", D("12345.67890123")),
                ("f1", "BTC/USD", D("0.1")),
            ]
            assert store.runs.get("r1").symbols == ("BTC/USD", "漢")
            assert store.runs.history("r1").height == 10  # 3 of the run, 1 and 4 of its orders, 2 of its fills
        else:
            with pytest.raises(UnknownRun):
                store.runs.history("r9")
        if "veda_orders" in TABLES[base]:
            assert store.orders.get("o2").filled_qty == D("9999999999.99999999")
        assert store.runs.recover() == [store.runs.get("r3")] if "runs" in TABLES[base] else True
        refuses_every_write(store)
    assert everything(raw) == before
