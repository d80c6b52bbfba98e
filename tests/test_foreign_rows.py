"""Rows that another program wrote and no reader can read: refused, named, and moved aside whole."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

import walle
from tests.examples import first_quick
from tests.raw import TABLES, Raw, fill_tables
from tests.samples import bars, fill, order, run
from tests.test_migrations import config
from walle import migrate
from walle.errors import PrecisionError, UnreadableRow, UpgradeRefused

BEFORE = "d1f6b5c7e9a3"
BAR = (
    "INSERT INTO bars (symbol, timeframe, timestamp, open, high, low, close, volume) "
    "VALUES ('ODD', '1m', {}, {}, 2, 1, 1, 1)"
)
FILL = "INSERT INTO fills (id, order_id, price, quantity, side, filled_at) VALUES ('odd', 'o1', {}, {}, 'buy', {})"
ORDER = (
    "INSERT INTO veda_orders (id, client_order_id, run_id, symbol, side, order_type, qty, time_in_force, status, "
    "filled_qty, created_at) VALUES ('odd', 'c-odd', 'r1', 'ODD', 'buy', 'market', {}, 'day', 'pending', '0', {})"
)
RUN = (
    "INSERT INTO runs (id, strategy_id, mode, status, symbols, created_at) "
    "VALUES ('odd', 's', 'live', 'running', {}, {})"
)
EVENT = "INSERT INTO outbox (type, payload, created_at) VALUES ('odd.Event', {}, {})"
OFFSET = "INSERT INTO consumer_offsets (consumer_id, last_offset, updated_at) VALUES ('odd', {}, {})"

Read = Callable[[walle.Store], Any]

READ: dict[str, Read] = {
    "bars": lambda store: store.bars.read("ODD", "1m"),
    "fills": lambda store: store.fills.read(),
    "veda_orders": lambda store: store.orders.read(),
    "runs": lambda store: store.runs.read(),
    "outbox": lambda store: store.events.read(),
    "consumer_offsets": lambda store: store.events.consumers(),
}

SQLITE: list[tuple[str, str, str, str, str]] = [
    ("bars", BAR.format("'2024-01-01'", 1), "timestamp", "symbol='ODD', timeframe='1m'", "'2024-01-01'"),
    ("bars", BAR.format("1.5", 1), "timestamp", "symbol='ODD'", "1.5"),
    ("bars", BAR.format("1 << 62", 1), "timestamp", "symbol='ODD'", str(1 << 62)),
    ("bars", BAR.format(0, "'dear'"), "open", "timestamp=0", "'dear'"),
    ("bars", BAR.format(0, "9e999"), "open", "timestamp=0", "Inf"),
    ("bars", BAR.format(0, "X'00FF'"), "open", "timestamp=0", "X'00FF'"),
    ("fills", FILL.format("'1'", "'1'", "'yesterday'"), "filled_at", "id='odd'", "'yesterday'"),
    ("fills", FILL.format("'1'", "'1'", "X'01'"), "filled_at", "id='odd'", "X'01'"),
    ("fills", FILL.format("'1'", "'1'", "0.5"), "filled_at", "id='odd'", "0.5"),
    *(
        ("fills", FILL.format(money, "'1'", 0), "price", "id='odd'", money)
        for money in (
            "'abc'",
            "'1e5'",
            "'NaN'",
            "''",
            "'1.2.3'",
            "'1-2'",
            "'-'",
            "'.'",
            "'1.'",
            "' 1'",
            "X'31'",
            "'+1'",
        )
    ),
    ("veda_orders", ORDER.format("'many'", 0), "qty", "id='odd'", "'many'"),
    ("veda_orders", ORDER.format("'1'", "'soon'"), "created_at", "id='odd'", "'soon'"),
    ("veda_orders", ORDER.format("'1'", -(1 << 62)), "created_at", "id='odd'", str(-(1 << 62))),
    ("runs", RUN.format("'BTC/USD'", 0), "symbols", "id='odd'", "'BTC/USD'"),
    ("runs", RUN.format("'[]'", "'today'"), "created_at", "id='odd'", "'today'"),
    *(
        ("outbox", EVENT.format(f"'{payload}'", 0), "payload", "id=1", payload)
        for payload in (r'{"run_id": "\ud800"}', r'{"payload": "\ude00\uD83D"}')
    ),
    ("outbox", EVENT.format("'{}'", "'today'"), "created_at", "id=1", "'today'"),
    ("outbox", EVENT.format("'{}'", "2.5"), "created_at", "id=1", "2.5"),
    ("consumer_offsets", OFFSET.format("'first'", 0), "last_offset", "consumer_id='odd'", "'first'"),
    ("consumer_offsets", OFFSET.format("1.5", 0), "last_offset", "consumer_id='odd'", "1.5"),
]
POSTGRESQL: list[tuple[str, str, str, str, str]] = [
    *(
        ("bars", BAR.format(time, 1), "timestamp", "symbol='ODD', timeframe='1m'", shown)
        for time, shown in [
            ("'infinity'", "'infinity'"),
            ("'-infinity'", "'-infinity'"),
            ("'0044-03-15 BC'", "BC'"),
            ("'12024-01-01'", "'12024-01-01"),
            ("'294276-12-31'", "'294276-12-31"),
        ]
    ),
    ("bars", BAR.format("'2024-01-01'", "'NaN'"), "open", "symbol='ODD'", "'NaN'"),
    ("bars", BAR.format("'2024-01-01'", "'-Infinity'"), "open", "symbol='ODD'", "'-Infinity'"),
    ("fills", FILL.format(1, 1, "'infinity'"), "filled_at", "id='odd'", "'infinity'"),
    ("fills", FILL.format("'NaN'", 1, "'2024-01-01'"), "price", "id='odd'", "'NaN'"),
    ("fills", FILL.format("'Infinity'", 1, "'2024-01-01'"), "price", "id='odd'", "'Infinity'"),
    ("veda_orders", ORDER.format("'NaN'", "'2024-01-01'"), "qty", "id='odd'", "'NaN'"),
    ("veda_orders", ORDER.format(1, "'-infinity'"), "created_at", "id='odd'", "'-infinity'"),
    ("runs", RUN.format("'[]'", "'infinity'"), "created_at", "id='odd'", "'infinity'"),
    ("outbox", EVENT.format("'{}'", "'infinity'"), "created_at", "id='", "'infinity'"),
    ("consumer_offsets", OFFSET.format(1, "'infinity'"), "updated_at", "consumer_id='odd'", "'infinity'"),
]
EVERY = [("sqlite", *case) for case in SQLITE] + [("postgresql", *case) for case in POSTGRESQL]
case = pytest.mark.parametrize(
    ("kind", "table", "statement", "column", "key", "value"),
    first_quick(EVERY, by=lambda case: case[:2]),
    ids=[f"{c[0]}-{c[1]}.{c[3]}-{c[5]}" for c in EVERY],
)


def opened(request: pytest.FixtureRequest, kind: str) -> Raw:
    return Raw(request.getfixturevalue("sqlite_address" if kind == "sqlite" else "postgres_address"))


@case
def test_a_row_that_no_reader_can_read_is_refused_named_and_moved_aside(
    request: pytest.FixtureRequest, kind: str, table: str, statement: str, column: str, key: str, value: str
) -> None:
    raw = opened(request, kind)
    with pytest.raises(Exception, match=rf"{table}(\.|__){column}"):  # the driver's own error
        raw.run(statement)
    assert raw.value(f"SELECT count(*) FROM {table}") == 0
    migrate.downgrade(config(raw.address), BEFORE)
    raw.run(statement)
    whole = f"SELECT {'*' if raw.sqlite else f'{table}::text'} FROM {table}"
    stored = raw.rows(whole)
    with walle.connect(raw.address, read_only=True) as store, pytest.raises(UnreadableRow) as caught:
        READ[table](store)
    for text in (f"{table}.{column}", key, value, "--set-aside"):
        assert text in str(caught.value)
    with pytest.raises(UpgradeRefused) as refused:
        migrate.upgrade(config(raw.address))
    for text in (f"{table}.{column}", key, value, "--set-aside"):
        assert text in str(refused.value)
    assert raw.rows(whole) == stored
    migrate.upgrade(config(raw.address), set_aside=True)
    assert raw.rows(whole) == []
    ((source, content, reason),) = raw.rows("SELECT source, content, reason FROM set_aside_rows")
    assert source == table
    assert column in reason
    assert "odd" in content.lower()
    assert column in json.loads(content)
    with walle.connect(raw.address) as store:
        assert store.status().ok
        if table == "bars":
            with pytest.raises(walle.UnknownSymbol):
                READ[table](store)
        else:
            assert READ[table](store).is_empty()
    with pytest.raises(UpgradeRefused, match="rows set aside: 1"):
        migrate.downgrade(config(raw.address), BEFORE)


def test_good_rows_are_taken_as_before_and_nothing_is_set_aside(address: str) -> None:
    raw = Raw(address)
    fill_tables(raw, TABLES["d4e5f6a7b8c9"])
    before = {table: raw.rows(f"SELECT * FROM {table}") for table in TABLES["d4e5f6a7b8c9"]}
    migrate.upgrade(config(address), set_aside=True)
    assert {table: raw.rows(f"SELECT * FROM {table}") for table in before} == before
    assert raw.value("SELECT count(*) FROM set_aside_rows") == 0


def test_rows_are_set_aside_at_the_head_revision_too(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    with walle.connect(sqlite_address) as store:
        store.orders.save(order())
        store.fills.append(fill())
        store.bars.ingest(bars(3), symbol="BTC/USD", timeframe="1m")
    names = ("bar_index_form_insert", "bar_index_form_update", "bars_form_insert", "fills_form_insert")
    guards = [f"walle_guard_{name}" for name in names]
    for guard in guards:
        raw.run(f"DROP TRIGGER {guard}")
    raw.run(FILL.format("'abc'", "'1'", 0))
    raw.run(BAR.format("'a text'", 1))
    with walle.connect(sqlite_address) as store:
        assert set(store.status().missing_guards) == set(guards)
        for read in (store.fills.read, store.fills.audit, store.fills.trades, store.fills.costs):
            with pytest.raises(UnreadableRow, match=r"fills.price of id='odd' holds 'abc'"):
                read()
        for look in (store.bars.series, store.bars.coverage):
            with pytest.raises(UnreadableRow, match="'a text'"):
                look()
    assert walle.upgrade(sqlite_address, set_aside=True) == []
    with walle.connect(sqlite_address) as store:
        assert store.status().ok
        assert store.fills.read()["id"].to_list() == [fill().id]
        assert store.bars.series()["bars"].to_list() == [3]


def test_a_text_that_is_no_utf8_is_named(sqlite_address: str) -> None:
    Raw(sqlite_address).run(
        "INSERT INTO runs (id, strategy_id, mode, status) VALUES ('odd', CAST(X'6869FF' AS TEXT), 'live', 'running')"
    )
    with walle.connect(sqlite_address) as store:
        with pytest.raises(UnreadableRow, match=r"runs.strategy_id of id='odd' holds 'hi\\\\xff', which is no text"):
            store.runs.read()


def test_the_first_bars_of_a_range_without_the_odd_row_are_read(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(bars(3), symbol="BTC/USD", timeframe="1m")
    raw.run("DROP TRIGGER walle_guard_bars_form_insert")
    raw.run(BAR.format(0, "'dear'"))
    with walle.connect(sqlite_address) as store:
        assert store.bars.read("BTC/USD", "1m").height == 3
        with pytest.raises(UnreadableRow, match="symbol='ODD', timeframe='1m', timestamp=0 holds 'dear'"):
            store.bars.scan("ODD", "1m").collect()


def test_a_number_beyond_a_frames_digits_is_refused_and_named(request: pytest.FixtureRequest, address: str) -> None:
    raw = Raw(address)
    fine = FILL.format("'0.1234567890123456789'", "'1'", 0 if raw.sqlite else "'2024-01-01'")
    with pytest.raises(Exception, match=r"fills(\.|__)price"):
        raw.run(fine)
    migrate.downgrade(config(address), BEFORE)
    raw.run(fine)
    with walle.connect(address, read_only=True) as store, pytest.raises(PrecisionError, match="id='odd'"):
        store.fills.read()
    migrate.upgrade(config(address), set_aside=True)
    assert "0.1234567890123456789" in raw.value("SELECT content FROM set_aside_rows")


def test_a_run_of_our_own_never_meets_the_guards(store: walle.Store) -> None:
    saved = store.runs.save(run())
    assert store.runs.get(saved.id) == saved


def test_a_number_with_something_behind_a_nul_is_refused_and_can_be_set_aside(sqlite_address: str) -> None:
    hidden = FILL.format("CAST(X'3100' AS TEXT)", "'1'", 0)
    raw = Raw(sqlite_address)
    with pytest.raises(sqlite3.IntegrityError, match="price"):
        raw.run(hidden)
    migrate.downgrade(config(sqlite_address), BEFORE)
    raw.run(hidden)
    with pytest.raises(UpgradeRefused, match=r"fills\.price of id='odd'"):
        walle.upgrade(sqlite_address)
    walle.upgrade(sqlite_address, set_aside=True)
    with walle.connect(sqlite_address) as store:
        assert store.fills.read().is_empty()
