"""Tables of another hand, whose columns have other types: every frame has the declared ones, and the right values."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import psycopg
import pytest

import walle
from walle.database import Database
from walle.events import EventLog
from walle.frames import BARS, CONSUMERS, EVENTS, FILLS, HISTORY, ORDERS, RUN_SUMMARY
from walle.repositories import FillRepository, OrderRepository, RunRepository

WHEN = datetime(2025, 3, 1, 9, 30, 0, 123_457, tzinfo=UTC)
INSTANTS = ["timestamp without time zone", "timestamptz(6)"]

TABLES = """
CREATE TYPE side_word AS ENUM ('buy', 'sell');
CREATE TABLE outbox (id serial PRIMARY KEY, type char(30) NOT NULL, payload json NOT NULL,
  created_at {instant} NOT NULL);
CREATE TABLE consumer_offsets (consumer_id name PRIMARY KEY, last_offset integer, updated_at {instant});
CREATE TABLE veda_orders (id uuid PRIMARY KEY, client_order_id varchar(36), exchange_order_id char(8),
  run_id varchar(9), symbol char(12), side side_word, order_type varchar(20),
  qty double precision, limit_price real, stop_price integer,
  time_in_force char(5), status varchar(20), filled_qty bigint, filled_avg_price numeric(18,8), created_at {instant},
  submitted_at {instant}, filled_at {instant}, cancelled_at date, reject_reason char(4), error_code smallint);
CREATE TABLE bars (id serial, symbol char(12), timeframe name, timestamp {instant}, open real, high numeric(18,8),
  low integer, close double precision, volume bigint);
CREATE TABLE runs (id char(9), strategy_id name, mode varchar(20), status varchar(20), symbols json, timeframe char(3),
  config json, error char(3), created_at {instant}, started_at {instant}, stopped_at {instant}, revision smallint);
CREATE TABLE fills (id uuid PRIMARY KEY, order_id uuid, price real, quantity integer, side side_word,
  filled_at {instant}, exchange_fill_id char(5), commission numeric(18,8), symbol char(12));
CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
INSERT INTO alembic_version VALUES ('d4e5f6a7b8c9');
INSERT INTO outbox (type, payload, created_at) VALUES
  ('orders.Filled', '{{"id": "e1", "run_id": "r1", "payload": {{"n": 1}}}}', '{when}');
INSERT INTO consumer_offsets VALUES ('sink', 1, '{when}');
INSERT INTO veda_orders VALUES ('{order}', 'c1', 'x', 'r1', 'BTC/USD', 'buy', 'limit', 2, 100.5, 3, 'day', 'filled', 2,
  100.25, '{when}', NULL, '{when}', '2025-03-02', 'no', 7);
INSERT INTO bars (symbol, timeframe, timestamp, open, high, low, close, volume) VALUES
  ('BTC/USD', '1m', '2025-03-01 09:30', 0.1, 2.5, -1, 0.3, 9007199254740993);
INSERT INTO runs VALUES ('r1', 'sma', 'backtest', 'completed', '["BTC/USD"]', '1m', '{{"fast": 5}}', NULL, '{when}',
  '{when}', '{when}', 3);
INSERT INTO fills VALUES ('{fill}', '{order}', 100.5, 2, 'buy', '{when}', 'v1', 0.5, 'BTC/USD');
"""
ORDER = "0b1f6f60-5f3e-4b8e-9f0a-000000000001"
FILL = "0b1f6f60-5f3e-4b8e-9f0a-000000000002"


@pytest.fixture(params=INSTANTS)
def by_hand(request: pytest.FixtureRequest, empty_postgres: str) -> str:
    """A database that somebody made by hand."""
    with psycopg.connect(empty_postgres, autocommit=True, options="-c timezone=UTC") as connection:
        for statement in TABLES.format(instant=request.param, when=WHEN, order=ORDER, fill=FILL).split(";\n"):
            connection.execute(statement)
    return empty_postgres


def test_every_frame_has_its_declared_types_and_the_right_values(by_hand: str) -> None:
    with walle.connect(by_hand, read_only=True) as store:
        events = store.events.read()
        assert events.schema == EVENTS
        assert events.row(0, named=True)["type"] == "orders.Filled"
        assert events["created_at"].to_list() == [WHEN]
        orders = store.orders.read()
        assert orders.schema == ORDERS
        (one,) = orders.to_dicts()
        assert (one["id"], one["side"], one["time_in_force"], one["error_code"]) == (ORDER, "buy", "day", "7")
        assert (one["qty"], one["limit_price"], one["stop_price"]) == (Decimal(2), Decimal("100.5"), Decimal(3))
        assert one["cancelled_at"] == datetime(2025, 3, 2, tzinfo=UTC)
        fills = store.fills.read("r1")
        assert fills.schema == FILLS
        assert fills.select("id", "order_id", "price", "quantity", "side", "symbol").row(0) == (
            *(FILL, ORDER, Decimal("100.5"), Decimal(2), "buy", "BTC/USD"),
        )
        bars = store.bars.read("BTC/USD", "1m")
        assert bars.schema == {name: kind for name, kind in BARS.items() if name not in ("symbol", "timeframe")}
        # 0.1 as float4 is the nearest float4, and float64 shows it whole
        assert bars.row(0)[1:] == (0.10000000149011612, 2.5, -1.0, 0.3, 9007199254740992.0)
        assert store.bars.scan("BTC/USD", "1m").collect().equals(bars)
        assert store.bars.panel(["BTC/USD"], "1m", field="close")["BTC/USD"].to_list() == [0.3]
        assert store.bars.latest("BTC/USD", "1m").close == 0.3
        assert store.bars.series()["bars"].to_list() == [1]
        runs = store.runs.read()
        assert runs.schema == RUN_SUMMARY
        assert runs.select("id", "timeframe", "revision", "orders", "fills").row(0) == ("r1", "1m", 3, 1, 1)
        history = store.runs.history("r1")
        assert history.schema == HISTORY
        assert history.filter(kind="event")["offset"].to_list() == [1]
        assert store.events.consumers().schema == CONSUMERS
        assert store.events.consumers()["offset"].to_list() == [1]
        assert store.fills.trades("r1")["quantity"].to_list() == [Decimal(2)]
        assert store.fills.costs("r1").height > 0


async def test_a_session_sees_the_same(by_hand: str) -> None:
    database = Database(by_hand, read_only=True, columns=_columns(by_hand))
    try:
        async with database.session() as session:
            assert (await RunRepository(database).read(session=session)).schema == RUN_SUMMARY
            assert (await OrderRepository(database).read(session=session)).schema == ORDERS
            assert (await FillRepository(database).read(session=session)).schema == FILLS
        log = EventLog(database)
        assert (await log.read(run_id="r1")).schema == EVENTS
        assert (await log.search(text='"n":1')).events.schema == EVENTS
        await log.close()
    finally:
        await database.close()


def _columns(url: str) -> dict[str, frozenset[str]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT table_name, array_agg(column_name::text) FROM information_schema.columns "
            "WHERE table_schema = 'public' GROUP BY table_name"
        ).fetchall()
    return {table: frozenset(names) for table, names in rows}


def test_an_outbox_with_int4_ids_gives_the_history_of_a_run(by_hand: str) -> None:
    with walle.connect(by_hand, read_only=True) as store:
        assert store.runs.history("r1")["kind"].unique().sort().to_list() == ["event", "fill", "order", "run"]
        assert store.events.read()["offset"].dtype == pl.Int64
