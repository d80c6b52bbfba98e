"""``status(deep=True)``: what it finds, what it says it has checked, and what no check can find."""

from __future__ import annotations

import json
import random
import shutil
import sqlite3
from pathlib import Path

import polars as pl
import pytest

import walle
from tests.postgres import Server
from tests.raw import Raw
from tests.reliability.material import SYMBOL, big_bars
from tests.reliability.processes import sizes
from tests.samples import fill, order, run
from walle.cli.main import main

PAGE = 4096
_PARSED = ("symbol", "timeframe", "timestamp", "id")


def fill_store(store: walle.Store) -> None:
    store.bars.ingest(big_bars(1_500), symbol=SYMBOL, timeframe="1m")
    store.bars.ingest(big_bars(300, first=50), symbol="ETH/USD", timeframe="1m")
    store.runs.save(run())
    store.orders.save([order(number) for number in range(40)])
    store.fills.append([fill(number) for number in range(200)])
    store.events.append([walle.Event(type="research.Noted", payload={"text": "x" * n}) for n in range(200)])


def test_a_whole_store_passes_and_says_what_was_checked(store: walle.Store) -> None:
    fill_store(store)
    quick, deep = store.status(), store.status(deep=True)
    assert (quick.ok, quick.checked, quick.problems) == (True, (), ())
    assert (deep.ok, deep.problems) == (True, ())
    assert any("every value" in what for what in deep.checked)
    assert any("index of the bars" in what for what in deep.checked)
    assert deep.as_dict()["checked"] == list(deep.checked)
    assert f"checked   {deep.checked[0]}" in str(deep)
    if deep.database == "sqlite":
        assert deep.not_checked == ()
        assert deep.checked[0] == "pages and indexes (integrity_check)"


def test_the_command_checks_deeply_when_it_is_asked(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with walle.connect(address) as store:
        fill_store(store)
    assert main(["status", "--deep", "--json", address]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["ok"], answer["problems"], answer["guards"]) == (True, [], "in place")
    assert len(answer["checked"]) >= 2
    raw = Raw(address)
    raw.run("UPDATE bar_index SET bars = bars - 1, last = last WHERE symbol = 'BTC/USD'")
    assert main(["status", address]) == 0  # a quick look claims nothing of the rows
    assert "checked" not in capsys.readouterr().out
    assert main(["status", "--deep", address]) == 1
    assert "PROBLEM   bar_index: 'BTC/USD' 1m counts 1499 bars" in capsys.readouterr().out


def test_an_index_of_other_bars_is_found(address: str) -> None:
    with walle.connect(address) as store:
        fill_store(store)
        store.bars.ingest(big_bars(1_499, first=1), symbol="XRP/USD", timeframe="1m")
        raw = Raw(address)
        raw.run(
            "UPDATE bar_index SET runs = (SELECT runs FROM bar_index WHERE symbol = 'XRP/USD'), bars = 1499 "
            "WHERE symbol = 'BTC/USD'"
        )
        problems = store.status(deep=True).problems
        assert problems == ("bar_index: of 'BTC/USD' 1m the table has bars that the index lacks",)
        raw.run("UPDATE bar_index SET runs = NULL WHERE symbol = 'BTC/USD'")  # a mark: to be looked at again
        assert store.status(deep=True).problems == ()


def test_values_that_cannot_stand_in_their_column_are_found(sqlite_address: str) -> None:
    with walle.connect(sqlite_address) as store:
        fill_store(store)
        connection = sqlite3.connect(sqlite_address, isolation_level=None)
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("UPDATE fills SET price = '1e5' WHERE id = 'fill-7'")
        connection.execute("UPDATE fills SET filled_at = 9e18 WHERE id = 'fill-8'")
        connection.execute("UPDATE bars SET low = high + 1 WHERE id = 5")
        connection.execute("UPDATE bars SET close = 9e999 WHERE id = 6")
        connection.execute("UPDATE veda_orders SET created_at = 'yesterday' WHERE id = 'order-3'")
        connection.execute("UPDATE sqlite_sequence SET seq = 10 WHERE name = 'outbox'")
        connection.close()
        status = store.status(deep=True)
    assert not status.ok
    for what in (
        "fills: the row id='fill-7' holds an invalid price: '1e5'",
        "fills: the row id='fill-8' holds an invalid filled_at",
        "bars: the row id=5 has a low, high or volume",
        "holds an invalid close: Inf, which is no finite number",
        "veda_orders: ",
        "outbox has a row with the id 200, but only 10 were assigned",
    ):
        assert any(what in problem for problem in status.problems), (what, status.problems)


def test_indexes_of_postgresql_are_checked_where_amcheck_is_there_and_allowed(
    postgres_address: str, server: Server
) -> None:
    name = postgres_address.rpartition("/")[2]
    with walle.connect(postgres_address) as store, server.admin(name) as admin:
        fill_store(store)
        status = store.status(deep=True)
        assert any("CREATE EXTENSION amcheck" in what for what in status.not_checked)
        assert not any("amcheck" in what for what in status.checked)
        assert "not checked  " in str(status)
        if admin.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'").fetchone() is None:
            pytest.skip("this server has no amcheck")
        admin.execute("CREATE EXTENSION amcheck")
        status = store.status(deep=True)
        assert sum("may not run it" in what for what in status.not_checked) == 2
        admin.execute("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO walle")
        status = store.status(deep=True)
        assert (status.ok, status.problems) == (True, ())
        assert sum("amcheck" in what for what in status.checked) == 2


def everything(path: Path) -> dict[str, pl.DataFrame] | None:
    """Read what a user would read; None when anything is refused."""
    try:
        with walle.connect(path, read_only=True) as store:
            return {
                "bars": store.bars.read([SYMBOL, "ETH/USD"], "1m"),
                "series": store.bars.series(),
                "fills": store.fills.read(),
                "orders": store.orders.read(),
                "events": store.events.read(),
            }
    except walle.WalleError:
        return None


def finds_damage(path: Path) -> bool:
    try:
        with walle.connect(path, read_only=True) as store:
            return bool(store.status(deep=True).problems)
    except walle.WalleError:
        return True


@sizes("trials", always=[24], full=[120])
def test_damaged_pages_that_read_differently_are_found_unless_a_lone_cell_changed(tmp_path: Path, trials: int) -> None:
    """A page has no checksum: a cell of no index that holds another value of its type is found by nobody."""
    whole = tmp_path / "whole.db"
    with walle.connect(whole) as store:
        fill_store(store)
    truth, content, dice = everything(whole), whole.read_bytes(), random.Random(7)
    assert truth is not None
    assert not finds_damage(whole)
    silent = 0
    for trial in range(trials):
        damaged = bytearray(content)
        page = dice.randrange(1, len(content) // PAGE) * PAGE
        for _ in range(dice.choice([1, 8, 64])):
            damaged[page + dice.randrange(PAGE)] ^= 1 << dice.randrange(8)
        path = tmp_path / f"{trial}.db"
        path.write_bytes(bytes(damaged))
        read = everything(path)
        if read is not None and all(read[name].equals(truth[name]) for name in truth):
            path.unlink()
            continue  # unused bytes, or what these reads do not need
        if not finds_damage(path):
            assert read is not None
            silent += 1
            for name, frame in truth.items():
                assert read[name].height == frame.height
                parsed = ["offset"] if name == "events" else _PARSED  # an event's own id is a part of its document
                keys = [column for column in parsed if column in frame.columns]
                assert read[name].select(keys).equals(frame.select(keys)), (trial, name)
        path.unlink()
    assert silent < trials / 2


def test_a_store_with_pages_of_zeros_is_not_called_fine(sqlite_address: str, tmp_path: Path) -> None:
    with walle.connect(sqlite_address) as store:
        fill_store(store)
    path = tmp_path / "damaged.db"
    shutil.copy(sqlite_address, path)
    content = bytearray(path.read_bytes())
    content[PAGE * 20 : PAGE * 40] = bytes(PAGE * 20)
    path.write_bytes(bytes(content))
    assert main(["status", "--deep", str(path)]) == 1


def test_the_base_revisions_are_said_to_have_no_guards(
    empty_address: str, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    for revision in ("001_initial", "d4e5f6a7b8c9", "f7b2d1e3a5c9"):
        walle.migrate.upgrade(walle.DatabaseConfig(url=empty_address), revision, confirmed=True)
        assert main(["status", empty_address]) == 1
        shown = capsys.readouterr().out
        assert "guards    none: this revision has none" in shown
        assert "all in place" not in shown
        with walle.connect(empty_address, read_only=True) as store:
            status = store.status(deep=True)
            assert (status.guards, status.ok, status.as_dict()["guards"]) == ("none", False, "none")
            assert any(what.startswith("values") for what in status.not_checked)
            assert "guards none" in store._repr_html_()


def test_an_unknown_revision_is_said_not_to_be_checked(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    Raw(address).run("UPDATE alembic_version SET version_num = 'f00dfeed1234'")
    assert main(["status", address]) == 1
    assert "guards    not checked: this WallE does not know the revision" in capsys.readouterr().out


def test_a_store_that_lacks_a_table_is_not_called_fine(sqlite_address: str, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(sqlite_address)
    connection.execute("DROP TABLE bar_conflicts")
    connection.close()
    assert main(["status", sqlite_address]) == 1
    assert "PROBLEM   bar_conflicts is not there" in capsys.readouterr().out


def test_somebody_elses_database_is_not_said_to_be_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connection = sqlite3.connect(tmp_path / "notes.db")
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    assert main(["status", str(tmp_path / "notes.db")]) == 1
    assert "is not a WallE store (it holds the tables notes)" in capsys.readouterr().err
