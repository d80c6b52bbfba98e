"""Databases by their drivers alone, and awkward rows to put into them: what WallE is held against.

Nothing here goes through WallE: instants, decimals and JSON are written in the stored form of each database by hand.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

__all__ = [
    "BASES",
    "FACTS",
    "HEAD_TABLES",
    "OWN_TABLES",
    "ROWS",
    "TABLES",
    "Raw",
    "expected_tables",
    "fill_tables",
    "guards",
    "read_tables",
]

BASES = ("001_initial", "a7efb08f089a", "c3b4a5d6e7f8", "d4e5f6a7b8c9")
TABLES = {
    "001_initial": ("outbox", "consumer_offsets"),
    "a7efb08f089a": ("outbox", "consumer_offsets", "veda_orders"),
    "c3b4a5d6e7f8": ("outbox", "consumer_offsets", "veda_orders", "bars"),
    "d4e5f6a7b8c9": ("outbox", "consumer_offsets", "veda_orders", "bars", "runs", "fills"),
}
_OWN_TABLES = "bar_conflicts parked_events offset_resets bar_series bar_index symbol_calendars explained_gaps ingests"
_MONEY_TABLES = {"instruments", "corporate_actions", "cash_flows", "fill_corrections", "cash_corrections"}
_MONEY_TABLES |= {"answered_findings"}
_VERSION_TABLES = {"bar_versions", "bar_extras", "bar_ingests", "provider_changes"}
OWN_TABLES = {
    *_OWN_TABLES.split(),
    "rejected_bars",
    "backtest_results",
    "set_aside_rows",
    *_MONEY_TABLES,
    *_VERSION_TABLES,
}
FACTS = {"fills", "outbox", "bars", "offset_resets", *_MONEY_TABLES, *_VERSION_TABLES}
HEAD_TABLES = {*TABLES["d4e5f6a7b8c9"], *OWN_TABLES, "alembic_version"}

_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_OLD = datetime(1883, 11, 18, 17, 0, 0, 1, tzinfo=UTC)
_MICRO = datetime(2025, 3, 1, 9, 30, 0, 123_457, tzinfo=UTC)
_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
_D = Decimal

COLUMNS = {
    "outbox": "id type payload created_at",
    "consumer_offsets": "consumer_id last_offset updated_at",
    "veda_orders": "id client_order_id exchange_order_id run_id symbol side order_type qty limit_price stop_price "
    "time_in_force status filled_qty filled_avg_price created_at submitted_at filled_at cancelled_at reject_reason "
    "error_code",
    "bars": "id symbol timeframe timestamp open high low close volume",
    "runs": "id strategy_id mode status symbols timeframe config error created_at started_at stopped_at",
    "fills": "id order_id price quantity side filled_at exchange_fill_id",
}
_JSON = {("outbox", "payload"), ("runs", "symbols"), ("runs", "config")}
_MONEY = {"qty", "price", "quantity", "limit_price", "stop_price", "filled_qty", "filled_avg_price"}

# every decimal here is one that float64 gives back: what it cannot hold is refused, which another test shows
_BARS: list[tuple[Any, ...]] = [
    (1, "BTC/USD", "1m", _OLD, _D("0.1"), _D("0.3"), _D("0.00000001"), _D("0.2"), _D("0")),
    (2, "BTC/USD", "1m", _MICRO, _D("12345.67890123"), _D("99999.99999999"), _D("0.7"), _D("1.1"), _D("9999999999")),
    (3, "CL", "1d", _FIRST, _D("-37.63"), _D("-0.00000001"), _D("-40.32"), _D("-37.63"), _D("247947.5")),
    (9, "Größe/漢字😀", "1M", _LAST, _D("1"), _D("1"), _D("1"), _D("1"), _D("0.12345678")),
]
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "outbox": [
        (1, "run.Started", {"id": "e1", "payload": {"deep": [{"ü": "漢字 😀", "none": None}, 0.1, True]}}, _MICRO),
        (2, "orders.Filled", {"": "", "quote": "\"'\\ \n", "big": 12345678901234567890}, _OLD),
        (7, "x" * 100, {}, _LAST),
    ],
    "consumer_offsets": [("sink ü", 7, _MICRO), ("never", -1, _FIRST), ("big", 2**62, _LAST)],
    "veda_orders": [
        (
            *("o1", "c1", None, "r1", "BTC/USD", "buy", "market", _D("0.1"), None, None),
            *("gtc", "pending", _D("0"), None, _MICRO, None, None, None, None, None),
        ),
        (
            *("o2", "c2", "venue 😀", "r1", "Größe", "sell", "stop_limit", _D("12345.67890123"), _D("0.00000001")),
            *(_D("-37.63"), "ioc", "rejected", _D("9999999999.99999999"), _D("1.10000000"), _OLD, _OLD, _LAST, _FIRST),
            *("zu wenig\nGeld 'x' \"y\" % \\", "E'42"),
        ),
        (
            *("o3" + "é" * 34, "c" * 36, "", "r2", "s" * 50, "hold", "foreign word", _D("0"), _D("0"), _D("0")),
            *("?", "NULL", _D("0.12345678"), _D("0"), _LAST, None, _MICRO, None, "", "null"),
        ),
    ],
    "bars": _BARS,
    "runs": [
        (
            *(
                "r1",
                "sma",
                "backtest",
                "completed",
                ["BTC/USD", "漢"],
                "1m",
                {"fast": 5, "deep": {"a": [1, 2.5, None]}},
            ),
            *(None, _MICRO, _MICRO, _LAST),
        ),
        ("r2", "ü'%", "foreign", "exploded", [], None, None, "e" * 2000, _FIRST, None, None),
        ("r3", "s", "live", "running", None, "", {}, "", _OLD, _OLD, None),
    ],
    "fills": [
        ("f1", "o1", _D("0.1"), _D("0.00000001"), "buy", _MICRO, None),
        ("f2", "o1", _D("12345.67890123"), _D("9999999999.99999999"), "sell", _OLD, "venue ü"),
        ("f3", "missing", _D("-37.63"), _D("1.50000000"), "hold", _FIRST, ""),
    ],
}


def guards(raw: Raw) -> set[str]:
    """Name the triggers that must be there at the head revision."""
    kinds = ("update", "delete", "mark", "replace") if raw.sqlite else ("update", "delete", "truncate")
    facts = {f"walle_guard_{table}_{kind}" for table in FACTS for kind in kinds}
    facts |= {"walle_guard_bar_index_insert", "walle_guard_bar_index_delete"}
    return facts | form_guards() if raw.sqlite else facts


def form_guards() -> set[str]:
    """Name the triggers by which SQLite refuses what no reader could read."""
    tables = HEAD_TABLES - {"alembic_version"}
    inserts = {f"walle_guard_{table}_form_insert" for table in tables}
    return inserts | {f"walle_guard_{table}_form_update" for table in tables - FACTS}  # facts refuse every update


class Raw:
    """One database, through sqlite3 or psycopg, in autocommit.

    Parameters
    ----------
    address : str
        A path, or a PostgreSQL URL.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.sqlite = "://" not in address

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open a connection and close it at the end."""
        if self.sqlite:
            connection: Any = sqlite3.connect(self.address, isolation_level=None, timeout=30)
        else:
            connection = psycopg.connect(self.address, autocommit=True, options="-c timezone=UTC")
        try:
            yield connection
        finally:
            connection.close()

    def run(self, statement: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement in a connection of its own, and return how many rows it changed."""
        with self.open() as connection:
            return int(connection.execute(self._marks(statement, parameters), self._values(parameters)).rowcount)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with self.open() as connection:
            return [tuple(row) for row in connection.execute(query).fetchall()]

    def value(self, query: str) -> Any:
        """Return the first value of a query."""
        return self.rows(query)[0][0]

    def tables(self) -> set[str]:
        """Name every table, WallE's helpers left out."""
        query = (
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            if self.sqlite
            else "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
        return {name for (name,) in self.rows(query) if not name.startswith("walle_guard_")}

    def triggers(self) -> set[str]:
        """Name every trigger."""
        query = (
            "SELECT name FROM sqlite_master WHERE type = 'trigger'"
            if self.sqlite
            else "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
        )
        return {name for (name,) in self.rows(query)}

    def revision(self) -> str | None:
        """Return what alembic_version holds, or None without it."""
        if "alembic_version" not in self.tables():
            return None
        found = self.rows("SELECT version_num FROM alembic_version")
        return str(found[0][0]) if found else None

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows in the stored form of this database."""
        statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"
        with self.open() as connection:
            for row in rows:
                stored = [self.stored(table, column, value) for column, value in zip(columns, row, strict=True)]
                connection.execute(self._marks(statement, stored), stored)

    def stored(self, table: str, column: str, value: Any) -> Any:
        """Write a value as this database keeps it."""
        if value is None:
            return None
        if (table, column) in _JSON:
            return json.dumps(value, ensure_ascii=False) if self.sqlite else Jsonb(value)
        if self.sqlite and isinstance(value, datetime):
            return (value - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        if self.sqlite and isinstance(value, Decimal):
            return float(value) if table == "bars" else format(value, "f")
        return value

    def _marks(self, statement: str, parameters: Sequence[Any]) -> str:
        return statement if self.sqlite or not parameters else statement.replace("%", "%%").replace("?", "%s")

    def _values(self, parameters: Sequence[Any]) -> Any:
        return tuple(parameters) if self.sqlite or parameters else None


def fill_tables(raw: Raw, tables: Sequence[str]) -> None:
    """Put the awkward rows into tables, and the counters of their ids behind them."""
    for table in tables:
        raw.insert(table, COLUMNS[table].split(), ROWS[table])
        if not raw.sqlite and table in ("outbox", "bars"):
            raw.run(f"SELECT setval('{table}_id_seq', {max(row[0] for row in ROWS[table])})")


def read_tables(raw: Raw, tables: Sequence[str]) -> dict[str, list[tuple[Any, ...]]]:
    """Read the columns of the base revisions back, as Python values that compare by their meaning."""
    content = {}
    for table in tables:
        columns = COLUMNS[table].split()
        found = raw.rows(f"SELECT {', '.join(columns)} FROM {table}")
        rows = [tuple(_meaning(raw, table, *item) for item in zip(columns, row, strict=True)) for row in found]
        content[table] = sorted(rows, key=lambda row: str(row[0]))
    return content


def expected_tables(tables: Sequence[str], *, floats: bool) -> dict[str, list[tuple[Any, ...]]]:
    """Return what :func:`read_tables` must find: the rows, with bars as floats where they are stored so."""
    content = {}
    for table in tables:
        rows = [
            tuple(float(v) if floats and table == "bars" and isinstance(v, Decimal) else v for v in row)
            for row in ROWS[table]
        ]
        content[table] = sorted(rows, key=lambda row: str(row[0]))
    return content


def _meaning(raw: Raw, table: str, column: str, value: Any) -> Any:
    if value is None or not raw.sqlite:
        return value
    if (table, column) in _JSON:
        return json.loads(value)
    if column.endswith("_at") or column == "timestamp":
        assert isinstance(value, int)
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
    if table != "bars" and column in _MONEY:
        assert isinstance(value, str)
        return Decimal(value)
    return value
