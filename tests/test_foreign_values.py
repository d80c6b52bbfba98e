"""One rule for what another program may store: guard, reader, deep look and ``--set-aside`` agree on it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import polars as pl
import pytest

import walle
from tests.examples import first_quick
from tests.raw import Raw
from tests.samples import bars, run
from tests.test_foreign_rows import BAR, BEFORE, FILL, RUN, Read
from tests.test_migrations import config
from walle import migrate
from walle.cli.main import main
from walle.dialects.sqlite_errors import translate
from walle.dialects.sqlite_file import SQLiteFile
from walle.errors import UnreadableRow, UpgradeRefused

LISTS = ['{"a": 1}', '[["a"]]', '["a", {}]', '"BTC/USD"', "5"]
RESULT = (
    "INSERT INTO backtest_results (run_id, start_time, end_time, timeframe, symbols, final_equity, stats, "
    "equity_curve, fills) VALUES ('odd', {0}, {0}, '1m', '{1}', '1', '{{}}', '[]', '[]')"
)


def unguarded(raw: Raw, table: str, column: str) -> None:
    """Take the guard of form away, as an owner can."""
    if raw.sqlite:
        raw.run(f"DROP TRIGGER walle_guard_{table}_form_insert")
    else:
        raw.run(f"ALTER TABLE {table} DROP CONSTRAINT walle_form_{table}__{column}")


def assert_one_rule(raw: Raw, statement: str, place: str, read: Read) -> str:
    """Hold guard, reader, deep look and command to one rule, and return what the row set aside holds."""
    table, column = place.split(".")
    with pytest.raises(Exception, match=rf"{table}(\.|__){column}"):
        raw.run(statement)
    unguarded(raw, table, column)
    raw.run(statement)
    with walle.connect(raw.address) as store:
        with pytest.raises(UnreadableRow, match=rf"{table}\.{column} of \w+='?odd'? holds "):
            read(store)
        assert any(f"{table}: the row" in problem and column in problem for problem in store.status(deep=True).problems)
    with pytest.raises(UpgradeRefused, match=rf"{table}\.{column} of \w+='?odd'? holds "):
        walle.upgrade(raw.address)
    assert main(["upgrade", "--set-aside", raw.address]) == 0
    with walle.connect(raw.address) as store:
        read(store)
        status = store.status(deep=True)
        assert (status.ok, status.problems) == (True, ())
    return str(raw.value("SELECT content FROM set_aside_rows"))


@pytest.mark.parametrize("symbols", first_quick(LISTS))
def test_a_column_that_is_read_as_a_list_of_texts_holds_nothing_else(
    address: str, symbols: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = Raw(address)
    time = 0 if raw.sqlite else "'2024-01-01'"
    statement = RESULT.format(time, symbols)
    assert_one_rule(raw, statement, "backtest_results.symbols", lambda store: store.runs.results())
    assert "moved aside 1 row into" in capsys.readouterr().out
    with pytest.raises(Exception, match=r"runs(\.|__)symbols"):
        raw.run(RUN.format(f"'{symbols}'", time))
    for place, fine in enumerate(
        ("NULL", "'null'", "'[]'", """'["a", "b \\" , ü"]'""", """'[7, -1.5e3, true, null]'""")
    ):
        raw.run(RUN.format(fine, time).replace("'odd'", f"'fine {place}'"))
    with walle.connect(address) as store:
        read = store.runs.read().sort("id")["symbols"].to_list()
        assert read == [None, None, [], ["a", 'b " , ü'], ["7", "-1500", "true", None]]
        assert store.status(deep=True).ok


def test_a_nul_in_a_number_is_refused_named_and_moved_aside(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    statement = FILL.format("CAST(X'3100' AS TEXT)", "'1'", 0)
    content = assert_one_rule(raw, statement, "fills.price", lambda store: store.fills.read())
    assert json.loads(content)["price"] == "1\0"
    for table, insert in (("fills", FILL.format("'1'", "'1'", 0)), ("runs", RUN.format("'[]'", 0))):
        with pytest.raises(Exception, match=f"{table}.id would hold no text"):
            raw.run(insert.replace("'odd'", "'odd' || char(0)", 1))


def test_a_text_that_is_no_utf8_is_found_by_the_deep_look_and_moved_aside_whole(
    sqlite_address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = Raw(sqlite_address)
    for name, symbol in (("ü", "'é漢'"), ("odd", "CAST(X'FF41' AS TEXT)"), ("odd 2", "CAST(X'C28080' AS TEXT)")):
        raw.run(
            "INSERT INTO fills (id, order_id, price, quantity, side, filled_at, symbol) "
            f"VALUES ('{name}', 'o1', '1', '1', 'buy', 0, {symbol})"
        )
    raw.run("INSERT INTO outbox (type, payload) VALUES ('a.B', X'7B22FF')")
    raw.run("INSERT INTO outbox (type, payload) VALUES ('a.B', X'7B7D')")
    with walle.connect(sqlite_address) as store:
        with pytest.raises(
            UnreadableRow, match=r"fills.symbol of id='odd' holds '\\\\xffA', which is no text in UTF-8"
        ):
            store.fills.read()
        with pytest.raises(UnreadableRow, match=r"outbox.payload of id=1 holds X'7B22FF'"):
            list(store.events.tail(after=-1, timeout=0))
        problems = store.status(deep=True).problems
        assert any("fills: the row id='odd' holds an invalid symbol" in problem for problem in problems)
        assert any("outbox: the row id=1 holds an invalid payload" in problem for problem in problems)
    assert main(["upgrade", "--set-aside", sqlite_address]) == 0
    assert "moved aside 3 rows" in capsys.readouterr().out
    kept = [json.loads(content) for (content,) in raw.rows("SELECT content FROM set_aside_rows ORDER BY id")]
    assert {"sql": "CAST(X'FF41' AS TEXT)"} in [row.get("symbol") for row in kept]
    with walle.connect(sqlite_address) as store:
        assert store.fills.read()["symbol"].to_list() == ["é漢"]
        assert store.events.read()["offset"].to_list() == [2]
        assert store.status(deep=True).ok
    assert main(["upgrade", "--set-aside", sqlite_address]) == 0
    assert "found none to set aside" in capsys.readouterr().out


def test_texts_that_are_no_utf8_stop_an_upgrade_that_would_refuse_them(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    migrate.downgrade(config(sqlite_address), BEFORE)
    raw.run(BAR.format(0, 1).replace("'ODD'", "CAST(X'FF41' AS TEXT)"))
    with pytest.raises(UpgradeRefused, match=r"bars.symbol of symbol='\\\\xffA'"):
        migrate.upgrade(config(sqlite_address))
    migrate.upgrade(config(sqlite_address), set_aside=True)
    with walle.connect(sqlite_address) as store:
        assert store.status(deep=True).problems == ()
        assert store.bars.series().is_empty()


def test_an_id_that_leaves_none_to_be_given_out_is_refused_and_named(address: str) -> None:
    raw, last = Raw(address), (1 << 63) - 1
    with walle.connect(address) as store:
        store.events.append([walle.Event(type="a.B", payload={"n": n}) for n in range(3)])
    statement = f"INSERT INTO outbox (id, type, payload) VALUES ({last}, 'far.Away', '{{}}')"
    with pytest.raises(Exception, match=r"outbox(\.|__)id"):
        raw.run(statement)
    raw.run(statement.replace(str(last), "5000000000"))
    unguarded(raw, "outbox", "id")
    raw.run(statement)
    with walle.connect(address) as store:
        page = store.events.search(types="a.*", seconds=20)
        assert (page.events["offset"].to_list(), page.before) == ([3, 2, 1], None)
        if raw.sqlite:
            with pytest.raises(walle.DatabaseError, match=r"the disk is not full: .* no id left for a row of outbox"):
                store.events.append(walle.Event(type="a.B", payload={}))
            assert any("counter of outbox" in problem for problem in store.status(deep=True).problems)
        shown = last if raw.sqlite else f"'{last}'"
        named = f"outbox: the row id={shown} holds an invalid id"
        assert any(named in problem for problem in store.status(deep=True).problems)
    assert main(["upgrade", "--set-aside", address]) == 0
    with walle.connect(address) as store:
        new = store.events.append(walle.Event(type="a.B", payload={}))
        assert new == (5_000_000_001 if raw.sqlite else 4)
        assert store.status(deep=True).ok


def test_an_escape_that_only_looks_like_half_a_character_is_let_in(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    whole = [
        r'{"run_id": "\ud83d\ude00"}',
        r'{"run_id": "\\ud800"}',
        '{"run_id": "\ufffd \\uD83D\\uDE00"}',
        r"\ud800 {",
        r'{"payload": {"a\ud800": "\ud800"}}',
        r'["\ud800"]',
    ]
    for payload in whole:
        raw.run(f"INSERT INTO outbox (type, payload) VALUES ('a.B', '{payload}')")
    with walle.connect(sqlite_address) as store:
        assert store.events.read()["run_id"].to_list() == ["😀", "\\ud800", "\ufffd 😀", None, None, None]
        assert store.status(deep=True).ok


def test_the_deep_look_calls_what_every_reader_reads_healthy(address: str) -> None:
    raw = Raw(address)
    odd = bars(3).with_columns(open=pl.Series([1.0, float("inf"), float("nan")]))
    with walle.connect(address) as store:
        store.bars.ingest(odd, symbol="BTC/USD", timeframe="1m", on_invalid="quarantine")
        assert store.bars.rejected().height == 3
        raw.run(FILL.format("'.5'" if raw.sqlite else "1.5000000000000000000000", "'1'", 0 if raw.sqlite else "now()"))
        if raw.sqlite:
            raw.run("INSERT INTO outbox (type, payload) VALUES ('a.B', 'no JSON')")
        else:
            raw.run("""INSERT INTO outbox (type, payload) VALUES ('a.B', '"no object"')""")
        assert store.fills.read().height == store.events.read().height == 1
        status = store.status(deep=True)
        assert (status.ok, status.problems) == (True, ())


@pytest.mark.parametrize("odd", ["\ufffd", "\ufffe", "\uffff"], ids=ascii)
def test_a_character_that_sqlite_takes_for_half_a_one_is_let_in(address: str, odd: str) -> None:
    raw = Raw(address)
    with walle.connect(address) as store:
        store.runs.save(run(1, config={"pattern": r"\ud83d", odd: odd}))
        store.events.append(walle.Event(type="a.B", corr_id=f"{odd} \\ud83d", payload={"x": f"\\uD800 {odd}"}))
        raw.run(f"""INSERT INTO outbox (type, payload) VALUES ('a.B', '{{"run_id": "\\ud83d\\ude00{odd}"}}')""")
        assert store.runs.get("run-1").config == {"pattern": r"\ud83d", odd: odd}
        assert store.events.read()["run_id"].to_list() == [None, f"😀{odd}"]
        status = store.status(deep=True)
        assert (status.ok, status.problems) == (True, ())
    walle.upgrade(address, set_aside=True)
    assert raw.value("SELECT count(*) FROM set_aside_rows") == 0


def test_a_payload_of_bytes_is_held_to_what_one_of_text_is(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    statement = r"""INSERT INTO outbox (type, payload) VALUES ('a.B', CAST('{"run_id": "\ud800"}' AS BLOB))"""
    with pytest.raises(Exception, match=r"outbox\.payload"):
        raw.run(statement)
    unguarded(raw, "outbox", "payload")
    raw.run(statement)
    with walle.connect(sqlite_address) as store:
        with pytest.raises(UnreadableRow, match=r"outbox\.payload of id=1 holds "):
            store.events.read()
        problems = store.status(deep=True).problems
        assert any("outbox: the row id=1 holds an invalid payload" in problem for problem in problems)
    walle.upgrade(sqlite_address, set_aside=True)
    with walle.connect(sqlite_address) as store:
        assert store.events.read().is_empty()


def test_an_integer_of_more_digits_than_python_reads_is_its_text(address: str) -> None:
    raw, digits = Raw(address), "1" * 5_000
    time = 0 if raw.sqlite else "'2024-01-01'"
    raw.run(RUN.format("NULL", time))
    raw.run(f"""UPDATE runs SET config = '{{"n": {digits}, "m": 7}}' WHERE id = 'odd'""")
    with walle.connect(address) as store:
        assert store.runs.get("odd").config == {"n": digits, "m": 7}
        assert store.status(deep=True).ok


def test_json_that_is_nested_deeper_than_python_reads_names_its_row(postgres_address: str) -> None:
    raw = Raw(postgres_address)  # SQLite refuses it
    raw.run(RUN.format("NULL", "'2024-01-01'"))
    raw.run(f"""UPDATE runs SET config = '{{"n": {"[" * 3_000 + "]" * 3_000}}}' WHERE id = 'odd'""")
    with walle.connect(postgres_address) as store:
        with pytest.raises(UnreadableRow, match=r"runs\.config of id='odd' holds JSON that is nested deeper"):
            store.runs.get("odd")
        assert store.runs.read().height == 1


@pytest.mark.parametrize("symbols", first_quick([r'["\ud800"]', r'["\ude00\ud83d"]', r'["a", "\uDBFFx"]']))
def test_half_a_character_in_a_list_is_named_whatever_the_columns_type(address: str, symbols: str) -> None:
    raw = Raw(address)
    time = 0 if raw.sqlite else "'2024-01-01'"
    unguarded(raw, "runs", "symbols")
    if not raw.sqlite:
        raw.run("ALTER TABLE runs ALTER symbols TYPE json")
    raw.run(RUN.format(f"'{symbols}'", time))
    raw.run(RUN.format(r"""'["😀", "\ud83d\ude00", "\\ud800"]'""", time).replace("'odd'", "'fine'"))
    with walle.connect(address) as store:
        with pytest.raises(UnreadableRow, match=r"runs\.symbols of id='odd' holds "):
            store.runs.read()
        problems = store.status(deep=True).problems
        assert any("runs: the row id='odd' holds an invalid symbols" in problem for problem in problems)
    with pytest.raises(UpgradeRefused, match=r"runs\.symbols of id='odd'"):
        walle.upgrade(address)
    walle.upgrade(address, set_aside=True)
    with walle.connect(address) as store:
        assert store.runs.read()["symbols"].to_list() == [["😀", "😀", r"\ud800"]]


def test_a_consumer_behind_an_event_that_was_moved_aside_misses_nothing(address: str) -> None:
    raw, last = Raw(address), (1 << 63) - 1
    unguarded(raw, "outbox", "id")
    seen: list[int] = []
    with walle.connect(address) as store:
        store.events.append([walle.Event(type="a.B", payload={"n": n}) for n in range(3)])
        raw.run(f"INSERT INTO outbox (id, type, payload) VALUES ({last}, 'far.Away', '{{}}')")
        store.events.consume("desk", lambda event: seen.append(event.offset or 0))
        assert seen == [1, 2, 3, last]
    walle.upgrade(address, set_aside=True)
    with walle.connect(address) as store:
        new = store.events.append(walle.Event(type="a.B", payload={}))
        store.events.consume("desk", lambda event: seen.append(event.offset or 0))
        assert seen == [1, 2, 3, last, new] == [1, 2, 3, last, 4]
        reset = store.events.resets("desk").row(0, named=True)
        assert (reset["from_offset"], reset["to_offset"]) == (last, 3)
        assert "moved aside" in reset["reason"]


def test_ids_that_follow_the_highest_allowed_one_are_ours(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    raw.run(f"INSERT INTO outbox (id, type, payload) VALUES ({1 << 62}, 'far.Away', '{{}}')")
    with walle.connect(sqlite_address) as store:
        assert store.events.append(walle.Event(type="a.B", payload={})) == (1 << 62) + 1
        assert store.status(deep=True).ok
    walle.upgrade(sqlite_address, set_aside=True)
    with walle.connect(sqlite_address) as store:
        assert store.events.read().height == 2


def test_a_full_disk_is_called_so_beside_a_counter_of_others_that_is_spent(sqlite_address: str) -> None:
    raw = Raw(sqlite_address)
    raw.run("CREATE TABLE theirs (id INTEGER PRIMARY KEY AUTOINCREMENT)")
    raw.run(f"INSERT INTO theirs VALUES ({(1 << 63) - 1})")
    with contextlib.closing(sqlite3.connect(sqlite_address)) as connection:
        connection.execute(f"PRAGMA max_page_count={connection.execute('PRAGMA page_count').fetchone()[0]}")
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("CREATE TABLE more AS SELECT zeroblob(100000)")
    told = translate(full.value, SQLiteFile(Path(sqlite_address)), read_only=False, patience=1.0)
    assert isinstance(told, walle.errors.StorageFull)
