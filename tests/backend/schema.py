"""Databases as the trading engine's own chain leaves them, by raw SQL: nothing here goes through WallE's migrations."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from tests.raw import BASES, COLUMNS, ROWS, Raw
from tests.test_migrations import BASE_COLUMNS

__all__ = ["LATER", "RESULTS", "RUNS", "make", "upgrade"]

LATER = ("e7f8a9b0c1d2", "f1a2b3c4d5e6", "a1b2c3d4e5f6", "b2c3d4e5f6a7")
"""What the backend's chain has after the base revisions."""

_INDEXES = """
CREATE INDEX ix_outbox_type ON outbox (type);
CREATE INDEX ix_outbox_created_at ON outbox (created_at);
CREATE INDEX idx_outbox_type_created ON outbox (type, created_at);
CREATE UNIQUE INDEX ix_veda_orders_client_order_id ON veda_orders (client_order_id);
CREATE INDEX ix_veda_orders_run_id ON veda_orders (run_id);
CREATE INDEX ix_veda_orders_symbol ON veda_orders (symbol);
CREATE INDEX ix_veda_orders_status ON veda_orders (status);
CREATE INDEX idx_veda_orders_run_status ON veda_orders (run_id, status);
CREATE INDEX idx_veda_orders_symbol_status ON veda_orders (symbol, status);
ALTER TABLE bars ADD CONSTRAINT uq_bar UNIQUE (symbol, timeframe, timestamp);
CREATE INDEX idx_runs_status_created ON runs (status, created_at);
CREATE INDEX idx_fills_order_filled ON fills (order_id, filled_at);
CREATE INDEX ix_fills_order_id ON fills (order_id);
"""
_STEPS: dict[str, str] = {
    "e7f8a9b0c1d2": "DROP INDEX IF EXISTS ix_fills_order_id;",
    "f1a2b3c4d5e6": """
        UPDATE runs SET config = coalesce(nullif(config, 'null'), '{}')
            || CASE WHEN coalesce(symbols, 'null') = 'null' THEN '{}' ELSE jsonb_build_object('symbols', symbols) END
            || CASE WHEN timeframe IS NULL THEN '{}' ELSE jsonb_build_object('timeframe', timeframe) END;
        ALTER TABLE runs ALTER COLUMN config SET NOT NULL, DROP COLUMN symbols, DROP COLUMN timeframe;
    """,
    "a1b2c3d4e5f6": """
        CREATE TABLE backtest_results (
            run_id varchar(100) PRIMARY KEY, start_time timestamptz NOT NULL, end_time timestamptz NOT NULL,
            timeframe varchar(10) NOT NULL, symbols jsonb NOT NULL, final_equity varchar(50) NOT NULL,
            simulation_duration_ms integer NOT NULL DEFAULT 0, total_bars_processed integer NOT NULL DEFAULT 0,
            stats jsonb NOT NULL, equity_curve jsonb NOT NULL, fills jsonb NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now());
    """,
    "b2c3d4e5f6a7": "ALTER TABLE fills ADD COLUMN commission numeric(18, 8), ADD COLUMN symbol varchar(50);",
}

_T0, _T1 = datetime(2025, 3, 1, 9, 30, tzinfo=UTC), datetime(2025, 3, 1, 9, 31, 0, 123_457, tzinfo=UTC)

RUNS: dict[str, tuple[Any, list[str | None] | None, str | None]] = {
    "b-list": ({"symbols": ["BTC/USD", "Größe 漢"], "timeframe": "1m", "fast": 5}, ["BTC/USD", "Größe 漢"], "1m"),
    "b-null": ({"symbols": None, "timeframe": None}, None, None),
    "b-none": ({"fast": 5}, None, None),
    "b-empty": ({"symbols": [], "timeframe": ""}, [], ""),
    "b-text": ({"symbols": "BTC/USD", "timeframe": "4h"}, ["BTC/USD"], "4h"),
    "b-number": ({"symbols": 600519, "timeframe": 5}, ["600519"], "5"),
    "b-mixed": ({"symbols": ["A", None, 7, True], "timeframe": ["1m"]}, ["A", None, "7", "true"], None),
    "b-object": ({"symbols": {"a": 1}, "timeframe": {"b": 1}}, None, None),
    "b-deep": ({"symbols": [["A"]], "timeframe": True}, None, None),
    "b-objects": ({"symbols": ["A", {"b": 1}]}, None, None),
    "b-array": ([1, 2], None, None),
    "b-scalar": ("symbols", None, None),
    "b-jsonnull": (Jsonb(None), None, None),
    "b-huge": ({"symbols": ["S" * 5000], "timeframe": "t" * 5000}, ["S" * 5000], "t" * 5000),
}
"""Configs as the backend, or a hand, may have left them, and which symbols and timeframe a reader shall see."""

RESULTS = [
    (
        *("b-list", _T0, _T1, "1m", ["BTC/USD"], "10123.4567890123456789", 12, 1440, {"sharpe": 1.25, "trades": [1]}),
        *([{"t": "2025-03-01T09:30:00Z", "equity": "10000"}], [{"id": "f1", "price": "0.1"}], _T1),
    ),
    ("no such run " + "x" * 88, _T0, _T0, "t" * 10, [], "9" * 50, 0, 2**31 - 1, {}, [], [], _T0),
]


def make(url: str, revision: str = LATER[-1], *, filled: bool = True) -> Raw:
    """Make a PostgreSQL database as the backend's chain leaves it at one of its later revisions."""
    raw = Raw(url)
    with raw.open() as connection:
        for table, lines in BASE_COLUMNS.items():
            columns = []
            for line in lines.strip().splitlines():
                name, _, kind = line.strip().partition(" ")
                key = name in ("id", "consumer_id")
                kind = "serial" if "nextval" in kind else kind
                columns.append(f"{name} {kind}{' PRIMARY KEY' if key else ''}")
            connection.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
        connection.execute(_INDEXES)
        connection.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("INSERT INTO alembic_version VALUES (%s)", [BASES[-1]])
    if filled:
        _fill(raw, COLUMNS, ROWS)
    upgrade(raw, revision)
    if filled:
        _fill_later(raw, revision)
    return raw


def upgrade(raw: Raw, revision: str) -> None:
    """Run the backend's later revisions up to one."""
    with raw.open() as connection:
        for name in LATER[: LATER.index(revision) + 1]:
            connection.execute(_STEPS[name])
        connection.execute("UPDATE alembic_version SET version_num = %s", [revision])


def _fill(raw: Raw, columns: dict[str, str], rows: dict[str, list[tuple[Any, ...]]]) -> None:
    for table, names in columns.items():
        raw.insert(table, names.split(), rows[table])
        if table in ("outbox", "bars"):
            raw.run(f"SELECT setval('{table}_id_seq', {max(row[0] for row in rows[table])})")


def _fill_later(raw: Raw, revision: str) -> None:
    reached = LATER[: LATER.index(revision) + 1]
    with raw.open() as connection:
        for number, (name, (config, _, _)) in enumerate(RUNS.items()):
            document = config if isinstance(config, Jsonb) else Jsonb(config)
            connection.execute(
                "INSERT INTO runs (id, strategy_id, mode, status, config, created_at) "
                "VALUES (%s, 's', 'live', 'pending', %s, %s)",
                [name, document, _T0.replace(second=number)],
            )
        if "a1b2c3d4e5f6" in reached:
            insert_results(connection)
        if "b2c3d4e5f6a7" in reached:
            rows = [
                ("b1", "o1", Decimal("0.1"), Decimal("0.12345678"), "buy", _T1, Decimal("0.00000001"), "BTC/USD"),
                ("b2", "gone", Decimal("-37.63"), Decimal(1), "sell", _T1, Decimal("-9999999999.99999999"), "s" * 50),
                ("b3", "o1", Decimal(1), Decimal(1), "sell", _T1, None, None),
            ]
            names = "id, order_id, price, quantity, side, filled_at, commission, symbol"
            connection.cursor().executemany(
                f"INSERT INTO fills ({names}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)", rows
            )
        connection.execute("CREATE TABLE backend_settings (name text PRIMARY KEY, value jsonb)")
        connection.execute("INSERT INTO backend_settings VALUES ('risk', '{\"max\": 1}')")


def insert_results(connection: psycopg.Connection[Any]) -> None:
    """Insert the rows of backtest_results, as the backend does."""
    for row in RESULTS:
        values = [Jsonb(value) if isinstance(value, dict | list) else value for value in row]
        connection.execute(f"INSERT INTO backtest_results VALUES ({', '.join(['%s'] * len(values))})", values)
