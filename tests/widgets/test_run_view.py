"""``RunView`` without a browser: each control, each message of its page, its errors, its code and its end."""

from __future__ import annotations

import gc
import logging
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ipywidgets.widgets.widget import _instances
from polars.testing import assert_frame_equal

import walle
from tests.examples import first_quick
from tests.samples import bars, fill, order, run
from tests.widgets.test_view import HOSTILE, MANY, ROOT, WIDGET
from walle.errors import InputError, PersistenceUnavailable, UnknownRun, UnknownTimeframe
from walle.widgets import RunView
from walle.widgets.run_controls import moved
from walle.widgets.run_data import TABS, RunData

START = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BTC, ETH = "BTC/USD", "ETH/USD"

SIDES = (
    # symbol, side, quantity, price, minute
    (BTC, "buy", "2", "101", 100),
    (BTC, "sell", "2", "111", 160),
    (ETH, "buy", "3", "50.5", 30),
    (BTC, "buy", "1", "9000", 300),  # far outside its bar, and never sold
)


def flat(count: int, price: float, *, minutes: int = 1) -> pl.DataFrame:
    """Bars that reach from ``price - 1`` to ``price + 20``."""
    frame = bars(count, start=START, minutes=minutes)
    return frame.with_columns(
        open=pl.lit(price), close=pl.lit(price + 10), low=pl.lit(price - 1), high=pl.lit(price + 20), volume=pl.lit(1e6)
    )


def fill_up(store: walle.Store, run_id: str = "run-1") -> None:
    """A run that made ten a unit on two units, holds three others, and has a fill that cannot be true."""
    store.bars.ingest(flat(600, 100.0), symbol=BTC, timeframe="1m")
    store.bars.ingest(flat(10, 100.0, minutes=60), symbol=BTC, timeframe="1h")
    store.bars.ingest(flat(400, 50.0), symbol=ETH, timeframe="1m")
    began, ended = START, START + 600 * MINUTE
    config = {"starting_cash": "100000"}
    store.runs.save(
        run(1, id=run_id, status="completed", config=config, created_at=began, started_at=began, stopped_at=ended)
    )
    for number, (symbol, side, quantity, price, minute) in enumerate(SIDES):
        at = START + minute * MINUTE
        mine = order(
            number,
            run_id=run_id,
            symbol=symbol,
            side=side,
            order_type="market",
            limit_price=None,
            status="filled",
            qty=Decimal(quantity),
            filled_qty=Decimal(quantity),
            filled_avg_price=Decimal(price),
            created_at=at,
            filled_at=at + timedelta(seconds=20),
        )
        store.orders.save(mine)
        store.fills.append(
            fill(
                number,
                order_id=mine.id,
                run_id=run_id,
                symbol=symbol,
                side=side,
                price=Decimal(price),
                quantity=Decimal(quantity),
                commission=Decimal("0.25"),
                filled_at=at + timedelta(seconds=20),
            )
        )


@pytest.fixture
def filled(sqlite_address: str) -> Iterator[walle.Store]:
    with walle.connect(sqlite_address) as store:
        fill_up(store)
        yield store


@pytest.fixture
def view(filled: walle.Store) -> Iterator[RunView]:
    made = RunView(filled, "run-1")
    assert made.widget is not None
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = set(_instances)
    yield
    gc.collect()
    assert set(_instances) <= before


def say(part: Any, **message: Any) -> None:
    """What a page does: send a message to a part."""
    part._handle_custom_msg(message, [])


def error(view: RunView) -> str:
    notice = view.widget.children[0]
    assert notice.kind == "error" or not notice.text
    return str(notice.text)


def window(view: RunView) -> tuple[str, str]:
    return view.controls["from"].value, view.controls["to"].value


def column(view: RunView, title: str) -> list[str]:
    (place,) = [number for number, each in enumerate(view.table.columns) if each["title"] == title]
    return [row[place] for row in view.table.rows]


def test_at_first_the_whole_run_is_seen(view: RunView) -> None:
    assert view.title.value == "Run run-1"
    assert view.summary.value.startswith(
        "sma, backtest, completed; 2024-01-01 to 2024-01-01 10:00 UTC; 4 fills of BTC/"
    )
    assert "the audit found 1 error" in view.summary.value
    assert window(view) == ("2023-12-31 23:48", "2024-01-01 10:12")
    assert "3m candles of 600 bars, 2024-01-01 00:00 to 2024-01-01 09:57 UTC" in view.price.label
    assert view.caption.value == ("BTC/USD: 3 fills in this window; 1 ringed: the audit has something to say of them.")
    for part in (view.price, view.worth):
        assert part.data[:4] == b"\x89PNG" and part.words == ""
        assert part.wide * 2 == struct.unpack(">I", part.data[16:20])[0]
    assert column(view, "price") == ["50.5", "101", "111", "9000"]


@pytest.mark.thorough
def test_each_tab_shows_what_the_store_says(view: RunView, filled: walle.Store) -> None:
    said: dict[str, Callable[[], pl.DataFrame]] = {
        "fills": lambda: filled.fills.read("run-1"),
        "trades": lambda: filled.fills.trades("run-1"),
        "findings": lambda: filled.fills.audit("run-1"),
        "costs": lambda: filled.fills.costs("run-1"),
        "metrics": lambda: filled.runs.metrics("run-1"),
        "equity": lambda: filled.runs.equity("run-1"),
        "history": lambda: filled.runs.history("run-1"),
    }
    assert tuple(said) == TABS
    for tab, read in said.items():
        view.controls["tab"].value = tab
        assert_frame_equal(view.frame(), read())
        assert view.frame().height > 0
        assert len(view.table.rows) == min(12, view.frame().height)
        assert tab in view.table.label
        view.controls["symbol"].value = ETH
        if tab in ("metrics", "equity"):
            read_one = getattr(filled.runs, tab)
            assert_frame_equal(view.frame(), read_one("run-1", symbol=ETH))
        else:
            assert_frame_equal(view.frame(), read().filter(pl.col("symbol") == ETH))
        view.controls["symbol"].value = ""


def test_trades_and_figures_are_told_exactly(view: RunView) -> None:
    view.controls["tab"].value = "trades"
    assert column(view, "net profit") == ["19.5", "", ""]  # two units from 101 to 111, twice 0.25 of fees
    assert column(view, "held")[0] == "1 h"
    view.controls["tab"].value = "metrics"
    shown = dict(zip(column(view, "metric"), column(view, "figure"), strict=True))
    assert shown["start_equity"] == "100000"
    view.controls["tab"].value = "findings"
    assert column(view, "rule") == ["outside_bar"]


def test_a_trade_a_finding_or_a_fill_zooms_the_candles(view: RunView) -> None:
    view.controls["tab"].value = "trades"
    say(view.table, kind="select", row=0)
    assert window(view) == ("2024-01-01 01:00:20", "2024-01-01 03:20:20")  # forty bars on both sides
    assert "1m candles, 2024-01-01 01:01 to 2024-01-01 03:20 UTC" in view.price.label
    assert view.caption.value.startswith("Trade 1, long, 2024-01-01 01:40:20 to 2024-01-01 02:40:20 UTC.")
    assert view.table.selected == 0
    view.controls["tab"].value = "findings"
    say(view.table, kind="select", row=0)
    assert window(view) == ("2024-01-01 04:20:20", "2024-01-01 05:40:20")
    assert view.caption.value.startswith("Error outside_bar: fill fill-3 is at 9000")
    view.controls["tab"].value = "fills"
    say(view.table, kind="select", row=0)  # of the other symbol: its candles are drawn
    assert view.caption.value == ("Around fill fill-2 of 2024-01-01 00:30:20 UTC. ETH/USD: 1 fill in this window.")
    assert window(view) == ("2023-12-31 23:50:20", "2024-01-01 01:10:20")
    view.controls["tab"].value = "costs"
    say(view.table, kind="select", row=4)  # four benchmarks of each fill
    assert view.caption.value.startswith("Around fill fill-0 of 2024-01-01 01:40:20 UTC. BTC/USD: ")
    view.controls["tab"].value = "history"
    say(view.table, kind="select", row=0)
    assert view.caption.value.startswith("Run created at 2024-01-01 UTC. BTC/USD: ")
    view.controls["tab"].value = "equity"
    say(view.table, kind="select", row=1)
    assert view.caption.value.startswith("Around 2024-01-01 00:02 UTC.")
    before = window(view)
    view.controls["tab"].value = "metrics"
    say(view.table, kind="select", row=0)
    assert (view.caption.value, window(view)) == ("Row 1 of the metrics is about no moment.", before)
    say(view.table, kind="select", row=99)
    assert error(view) == "LookupError: the table has no row 99 on this page."


def test_an_open_trade_reaches_to_the_end_of_the_run(view: RunView) -> None:
    view.controls["symbol"].value = ETH
    view.controls["tab"].value = "trades"
    say(view.table, kind="select", row=0)
    assert view.caption.value.startswith("Trade 1, long, 2024-01-01 00:30:20 to 2024-01-01 10:00 UTC (still open).")
    assert window(view)[1] > "2024-01-01 10:00"


def test_buttons_and_keys_move_the_window(view: RunView) -> None:
    view.controls["from"].value, view.controls["to"].value = "2024-01-01 02:00", "2024-01-01 04:00"
    view.buttons["earlier"].click()
    assert window(view) == ("2024-01-01 01:00", "2024-01-01 03:00")
    say(view.price, kind="move", to="later")
    assert window(view) == ("2024-01-01 02:00", "2024-01-01 04:00")
    view.buttons["closer"].click()
    assert window(view) == ("2024-01-01 02:30", "2024-01-01 03:30")
    for _ in range(2):
        view.buttons["wider"].click()
    assert window(view) == ("2024-01-01 01:00", "2024-01-01 05:00")
    view.buttons["whole"].click()
    assert window(view) == ("2023-12-31 23:48", "2024-01-01 10:12")
    say(view.price, kind="move", to="sideways")
    assert "allowed are earlier, later, closer, wider, whole" in error(view)


def test_a_window_is_never_too_short_or_beyond_what_a_calendar_has() -> None:
    seen = START, START + 64 * MINUTE
    for _ in range(20):
        seen = moved(seen, "closer", 4 * MINUTE)
    assert seen == (START + 28 * MINUTE, START + 36 * MINUTE)
    for to in ("wider", "later", "earlier"):
        seen = START, START + timedelta(days=300_000)
        assert all(isinstance(moment, datetime) for moment in moved(seen, to, MINUTE))


def test_the_window_can_be_typed_and_has_to_be_one(view: RunView, caplog: pytest.LogCaptureFixture) -> None:
    view.controls["from"].value = "2024-01-01 09:00"
    assert window(view) == ("2024-01-01 09:00", "2024-01-01 10:12")
    assert "2024-01-01 09:00 to 2024-01-01 09:59 UTC" in view.price.label
    view.controls["from"].value = ""
    assert window(view)[0] == "2023-12-31 23:48"
    drawn = view.price.drawn
    with caplog.at_level(logging.ERROR, "walle.widgets"):
        view.controls["to"].value = "soon"
    assert "soon" in error(view) and "choose_window failed" in caplog.text
    view.controls["to"].value = "2020-01-01"
    assert "ends before it starts" in error(view) or "later one second" in error(view)
    assert view.price.drawn == drawn
    view.controls["to"].value = ""
    assert (error(view), window(view)[1]) == ("", "2024-01-01 10:12")
    view.controls["from"].value = "2024-01-01 10:05"
    assert (view.price.data, view.price.words) == (
        b"",
        "No 1m bars of BTC/USD are stored from 2024-01-01 10:05 to 2024-01-01 10:12 UTC.",
    )


def test_the_candles_are_of_the_chosen_symbol_and_timeframe(view: RunView) -> None:
    assert view.controls["timeframe"].options == (("by the window", ""), ("1m", "1m"), ("1h", "1h"))
    view.controls["timeframe"].value = "1h"
    assert "1h candles" in view.price.label
    view.controls["symbol"].value = ETH  # it has none of an hour
    assert "candles of ETH/USD: 1m" in view.price.label or "ETH/USD" in view.price.label
    assert "Equity of ETH/USD alone" in view.worth.label


def test_long_windows_take_the_longest_bars_that_are_stored(
    filled: walle.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = RunData(filled, "run-1")
    assert data.timeframe(BTC, START, START + timedelta(days=30)) == "1m"
    assert data.timeframe(BTC, START, START + timedelta(days=90)) == "1h"
    assert data.timeframe(BTC, START, START + timedelta(days=36_500)) == "1h"
    assert data.timeframe(BTC, START, START + timedelta(days=90), "1m") == "1m"
    assert data.timeframe("SOL/USD", START, START + timedelta(days=1)) is None


def test_a_dark_page_gets_dark_pictures(view: RunView) -> None:
    light = view.price.data, view.worth.data
    say(view.price, kind="theme", dark=True)
    dark = view.price.data, view.worth.data
    assert (view.price.dark, view.worth.dark) == (True, True)
    assert light[0] != dark[0] and light[1] != dark[1]
    drawn = view.price.drawn
    say(view.worth, kind="theme", dark=True)
    assert view.price.drawn == drawn  # the other picture has told it already
    say(view.price, kind="theme", dark=False)
    assert (view.price.data, view.worth.data) == light


def test_refresh_reads_the_run_again_and_keeps_what_was_chosen(view: RunView, filled: walle.Store) -> None:
    view.controls["symbol"].value = BTC
    view.controls["tab"].value = "trades"
    at = START + 400 * MINUTE
    filled.fills.append(
        fill(9, order_id="order-3", symbol=BTC, side="sell", quantity=Decimal(1), price=Decimal(110), filled_at=at)
    )
    filled.fills.append(fill(10, order_id="order-9", symbol="SOL/USD", quantity=Decimal(1), filled_at=at))
    view.controls["refresh"].click()
    assert error(view) == ""
    assert column(view, "net profit")[-1] == "-8890"  # 110 - 9000, and a rebate of as much as the fee
    assert ("SOL/USD", "SOL/USD") in view.controls["symbol"].options
    assert (view.controls["symbol"].value, view.controls["tab"].value) == (BTC, "trades")
    view.controls["symbol"].value = "SOL/USD"
    assert view.price.words == "No bars of SOL/USD are stored; take some in: store.bars.ingest(...)."
    assert view.worth.words


def test_each_callback_shows_and_logs_what_fails(
    view: RunView, filled: walle.Store, caplog: pytest.LogCaptureFixture
) -> None:
    filled.close()
    acts: dict[str, Callable[[], None]] = {
        "refresh": lambda: view.controls["refresh"].click(),
        "choose_symbol": lambda: setattr(view.controls["symbol"], "value", ETH),
        "choose_timeframe": lambda: setattr(view.controls["timeframe"], "value", "1m"),
        "choose_window": lambda: setattr(view.controls["from"], "value", "2024-01-01 03:00"),
        "pushed": lambda: view.buttons["wider"].click(),
        "move": lambda: say(view.price, kind="move", to="wider"),
        "select": lambda: say(view.table, kind="select", row=0),
        "change_theme": lambda: say(view.price, kind="theme", dark=True),
        "choose_tab": lambda: setattr(view.controls["tab"], "value", "trades"),
        "turn": lambda: say(view.table, kind="page", to="next"),
    }
    for name, act in acts.items():
        if name in ("choose_tab", "turn"):
            view._data._parts = view.pages.frame = None  # type: ignore[assignment]  # broken on purpose
        caplog.clear()
        with caplog.at_level(logging.ERROR, "walle.widgets"):
            act()
        assert f"RunView: {name} failed" in caplog.messages, name
        assert error(view), name


def test_the_code_of_each_tab_gives_its_frame_in_a_new_process(
    store: walle.Store, address: str, tmp_path: Path
) -> None:
    name = 'it\'s "run"'
    fill_up(store, name)
    view = RunView(store, name)
    assert view.widget is not None
    script, frames = "", {}
    for tab, symbol in [*((tab, "") for tab in TABS), ("trades", ETH), ("costs", ETH)]:
        view.controls["tab"].value, view.controls["symbol"].value = tab, symbol
        script += f"{view.code}\nframe.write_ipc('{tab}{symbol[:3]}.arrow')\nstore.close()\n"
        frames[f"{tab}{symbol[:3]}"] = view.frame()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if "://" in address:
        environment["WALLE_DATABASE_URL"] = address
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, env=environment, check=True)
    assert len(frames) == len(TABS) + 2
    for name, frame in frames.items():
        assert_frame_equal(pl.read_ipc(tmp_path / f"{name}.arrow"), frame)
    assert all(frames[tab].height for tab in TABS)
    view.close()


@MANY
def test_many_views_leave_no_comm_and_no_thread(sqlite_address: str, count: int) -> None:
    comms, threads = len(_instances), set(threading.enumerate())
    with walle.connect(sqlite_address) as store:
        store.runs.save(run(1))
        store.fills.append(fill(1))
        for _ in range(count):
            view = RunView(store, "run-1")
            view._repr_mimebundle_()
            say(view.table, kind="select", row=0)
            view.close()
            assert len(_instances) == comms
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    assert set(threading.enumerate()) <= threads
    say(view.table, kind="select", row=0)  # a page that has not heard of the end yet
    view.controls["tab"].value = "trades"


def test_the_static_form_has_the_figures_a_picture_and_what_the_audit_found(filled: walle.Store) -> None:
    view = RunView(filled, "run-1")
    data, _ = view._repr_mimebundle_()
    page, text = data["text/html"], data["text/plain"]
    assert text.splitlines()[0].startswith("RunView: run-1: sma, backtest, completed; 2024-01-01 to")
    for told in ("outside_bar", "max_drawdown", "19.5", "3 trades, 2 still open", "the audit found 1 error"):
        assert told.lower() in text.lower() and told.lower() in page.lower()
    assert page.count("<img ") == 1 and len(page) < 50_000
    assert WIDGET in data
    assert not re.findall(r"<script|<style|https?:|\son\w+=|class=|id=", page)
    assert RunView(filled, "run-1")._repr_mimebundle_()[0]["text/html"] == page
    view.close()
    from walle.widgets.view import _shown

    for shown in [one for views in _shown.values() for one in views]:
        shown.close()


def test_a_run_without_fills_or_bars_says_so(store: walle.Store) -> None:
    store.runs.save(run(1, symbols=None))
    view = RunView(store, "run-1")
    assert "no fills" in repr(view) and "No trades" in repr(view)
    assert view.widget is not None
    assert view.price.words == "There are no candles to draw: this run has no fills, and names no symbol."
    assert "is not known" in view.worth.words
    assert (view.table.rows, view.table.empty[:8]) == ([], "no fills")
    for tab in TABS:
        view.controls["tab"].value = tab
        assert error(view) == "" and (view.table.rows or view.table.empty)
    for button in view.buttons.values():
        button.click()
        assert error(view) == ""
    view.close()
    store.fills.append(fill(1, quantity=Decimal(1)))
    view = RunView(store, "run-1")
    assert view.widget is not None
    assert view.price.words == "No bars of BTC/USD are stored; take some in: store.bars.ingest(...)."
    assert "is not known" in view.worth.words
    assert column(view, "price") == ["100.1"]
    view.close()


def test_what_only_left_fills_is_seen_without_a_record_of_the_run(store: walle.Store) -> None:
    store.bars.ingest(flat(60, 100.0), symbol=BTC, timeframe="1m")
    store.fills.append(fill(1, run_id="lost", quantity=Decimal(1), filled_at=START + 5 * MINUTE))
    view = RunView(store, "lost")
    assert "no record of this run is stored" in repr(view)
    assert view.widget is not None
    assert view.price.data
    assert view.worth.data
    view.controls["tab"].value = "metrics"
    assert view.table.rows[0][:3] == ["start_equity", "0", "USD"]  # its figures are those of its fills
    view.controls["tab"].value = "trades"
    assert len(view.table.rows) == 1
    view.close()


def test_what_cannot_be_shown_is_refused_at_once(filled: walle.Store) -> None:
    with pytest.raises(UnknownRun, match="run-1"):
        RunView(filled, "run-11")
    with pytest.raises(InputError, match="it has: 'BTC/USD', 'ETH/USD'"):
        RunView(filled, "run-1", symbol="BTC")
    with pytest.raises(InputError, match="allowed are fills, trades, findings"):
        RunView(filled, "run-1", tab="orders")
    with pytest.raises(UnknownTimeframe):
        RunView(filled, "run-1", timeframe="1 hour")
    with pytest.raises(InputError, match="ends before it starts"):
        RunView(filled, "run-1", start="2024-02-01", end="2024-01-01")
    with walle.connect() as memory, pytest.raises(PersistenceUnavailable):
        RunView(memory, "run-1")


def test_what_is_given_is_shown_first(filled: walle.Store) -> None:
    given = {"symbol": ETH, "start": "2024-01-01T01:00", "end": START + 90 * MINUTE, "timeframe": "1m", "tab": "equity"}
    view = RunView(filled, "run-1", **given)  # type: ignore[arg-type]  # arguments of several types
    assert view.widget is not None
    assert window(view) == ("2024-01-01 01:00", "2024-01-01 01:30")
    assert [view.controls[name].value for name in ("symbol", "timeframe", "tab")] == [ETH, "1m", "equity"]
    assert "2024-01-01 01:00 to 2024-01-01 01:29 UTC" in view.price.label
    view.close()


@pytest.mark.parametrize("name", first_quick(text[:60].strip() for text in HOSTILE), ids=lambda text: ascii(text[:20]))
def test_hostile_ids_symbols_and_errors_are_text_and_nothing_else(sqlite_address: str, name: str) -> None:
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(flat(60, 100.0), symbol=name, timeframe="1m")
        store.runs.save(
            run(1, id=name, strategy_id=name, status="error", error=name * 20, symbols=(name,), started_at=START)
        )
        mine = {"id": name, "order_id": name, "run_id": name, "symbol": name, "filled_at": START + 5 * MINUTE}
        store.fills.append(fill(1, quantity=Decimal(1), **mine))
        view = RunView(store, name)
        page = view._repr_mimebundle_()[0]["text/html"]
        assert "<script" not in page and "<img src=x" not in page
        for tab in TABS:
            view.controls["tab"].value = tab
            if view.table.rows:
                say(view.table, kind="select", row=0)
            assert error(view) == ""
            texts = [view.title.value, view.summary.value, view.caption.value, view.price.label, view.table.label]
            for text in [*texts, view.worth.words, repr(view), *(cell for row in view.table.rows for cell in row)]:
                assert text.replace("\n", "").isprintable()
        view.close()


def test_many_fills_are_bounded(sqlite_address: str) -> None:
    count = 5_000
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(flat(2 * count, 100.0), symbol=BTC, timeframe="1m")
        store.runs.save(run(1, started_at=START, config={"starting_cash": "1000"}))
        number = pl.int_range(count, eager=True)
        told = {"id": "f", "order_id": "o", "exchange_fill_id": "x"}
        frame = pl.DataFrame(
            {
                **{name: sign + number.cast(pl.String) for name, sign in told.items()},
                "run_id": pl.Series(["run-1"] * count),
                "symbol": pl.Series([BTC] * count),
                "side": pl.Series(["buy", "sell"] * (count // 2)),
                "price": pl.Series([Decimal(101)] * count),
                "quantity": pl.Series([Decimal(1)] * count),
                "filled_at": pl.Series([START]).dt.offset_by("90s") + number * 2 * MINUTE,
            }
        )
        store.fills.append(frame)
        view = RunView(store, "run-1")
        assert view.widget is not None
        assert view.caption.value.startswith("BTC/USD: 5,000 fills in this window")
        assert len(view.price.data) < 500_000 and len(view.worth.data) < 500_000
        assert len(view.table.rows) == 12 and view.table.note == "1 to 12 of 5,000"
        say(view.table, kind="page", to="last")
        assert view.table.note == "4,993 to 5,000 of 5,000"
        say(view.table, kind="select", row=0)
        assert view.caption.value.startswith("Around fill f4992 of ")
        view.close()


def test_without_ipywidgets_the_static_form_is_shown(filled: walle.Store, sqlite_address: str) -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ipywidgets", "anywidget", "traitlets", "altair", "vl_convert", "IPython"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import walle
store = walle.connect()
data, _ = walle.widgets.RunView(store, "run-1")._repr_mimebundle_()
assert set(data) == {"text/plain", "text/html"}, data
assert "outside_bar" in data["text/html"] and "<img" in data["text/html"] and "walle[notebook]" in data["text/html"]
store.close()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WALLE_DATABASE_URL": sqlite_address}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True)
