"""``CoverageView`` without a browser: each control, each message of its page, its errors, its code and its end."""

from __future__ import annotations

import gc
import logging
import os
import re
import subprocess
import sys
import threading
import zlib
from base64 import b64decode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ipywidgets.widgets.widget import _instances
from polars.testing import assert_frame_equal

import walle
from tests.examples import first_quick
from tests.samples import bars
from tests.widgets.test_view import HOSTILE, MANY, ROOT, WIDGET
from walle.bars.grid import CoverageGrid
from walle.calendars import from_sessions
from walle.errors import InputError, PersistenceUnavailable, UnknownCalendar, UnknownSymbol, UnknownTimeframe
from walle.widgets import CoverageView, coverage
from walle.widgets.heat import LEVELS, levels, share, strip

START = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday
DAY = timedelta(days=1)


def hourly(days: int, *lost: int, start: datetime = START) -> pl.DataFrame:
    """Hourly bars without those of some numbers."""
    frame = bars(days * 24, start=start, minutes=60)
    return frame.filter(~pl.int_range(pl.len()).is_in(lost))


@pytest.fixture
def filled(sqlite_address: str) -> Iterator[walle.Store]:
    """Three series: one whole, one without an hour and a day, one of a market that closes."""
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(hourly(40), symbol="BTC/USD", timeframe="1h")
        store.bars.ingest(hourly(40, 30, *range(240, 264)), symbol="ETH/USD", timeframe="1h")
        daily = bars(40, start=START, minutes=1440).filter(pl.col("timestamp").dt.weekday() <= 5)
        store.bars.ingest(daily, symbol="aapl", timeframe="1d")
        yield store


@pytest.fixture
def view(filled: walle.Store) -> Iterator[CoverageView]:
    made = CoverageView(filled)
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


def map_rows(view: CoverageView) -> list[str]:
    """The rows of the map, each with the levels of its cells."""
    flat = zlib.decompress(view.map.data) if view.map.data else b""
    width = view.map.columns
    return [
        f"{symbol} {''.join(str(level) for level in flat[row * width : (row + 1) * width])}"
        for row, (symbol, _) in enumerate(view.map.names)
    ]


def error(view: CoverageView) -> str:
    notice = view.widget.children[0]
    assert notice.kind == "error" or not notice.text
    return str(notice.text)


def answers(view: CoverageView, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the map tells its page from now on."""
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(view.map, "send", lambda content, buffers=None: sent.append(content))
    return sent


def test_each_cell_has_the_level_of_its_share_and_a_single_hole_is_never_complete(view: CoverageView) -> None:
    whole, holed = "1" * 40, "1" * 1 + "3" + "1" * 8 + "6" + "1" * 29
    weekdays = ("1" * 5 + "66") * 5 + "1" * 5
    assert map_rows(view) == [f"BTC/USD {whole}", f"ETH/USD {holed}", f"aapl {weekdays}"]
    assert view.map.shares == ["100 %", "97.39 %", "75.00 %"]
    assert view.map.first == START.timestamp() * 1000
    assert view.summary.value.startswith(
        "3 series, 2024-01-01 to 2024-02-09 23:00, 98.21 % there, 35 bars missing in 2"
    )


def test_a_level_says_what_it_means() -> None:
    counts = [(0, 0), (1000, 0), (100_000, 1), (100, 1), (100, 2), (10, 1), (100, 11), (2, 1), (100, 51), (7, 7)]
    frame = pl.DataFrame(counts, schema={"expected": pl.Int32, "missing": pl.Int32}, orient="row")
    none = pl.DataFrame(schema={"symbol": pl.String})
    told = levels(
        CoverageGrid(none, pl.Series([], dtype=pl.Datetime("us", "UTC")), frame["expected"], frame["missing"], "day")
    )
    for (expected, missing), level in zip(counts, told, strict=True):
        there = (expected - missing) / expected if expected else None
        meant = {
            "no bar expected": there is None,
            "complete": there == 1,
            "99 % and more": there is not None and 0.99 <= there < 1,
            "90 % and more": there is not None and 0.9 <= there < 0.99,
            "50 % and more": there is not None and 0.5 <= there < 0.9,
            "below 50 %": there is not None and 0 < there < 0.5,
            "nothing there": there == 0,
        }
        assert [name for name, is_it in meant.items() if is_it] == [LEVELS[level]]
    assert [share(10**9, 1), share(3, 1), share(5, 0), share(0, 0)] == ["99.99 %", "66.66 %", "100 %", "\u2013"]


def test_the_filters_choose_the_series(view: CoverageView) -> None:
    view.controls["symbol"].value = " usd"
    assert [name for name, _ in view.map.names] == ["BTC/USD", "ETH/USD"]
    assert view.frame()["symbol"].unique().sort().to_list() == ["BTC/USD", "ETH/USD"]
    assert [value for _, value in view.controls["timeframe"].options] == ["", "1h", "1d"]
    view.controls["timeframe"].value = "1d"
    assert (view.map.names, view.map.layout.display) == ([], "none")
    assert view.summary.value == "None of 3 series passes the filters."
    assert view.frame().is_empty()
    view.controls["symbol"].value = "AAPL"
    assert (view.map.names, view.map.layout.display) == ([["aapl", "1d"]], None)
    view.controls["timeframe"].value = view.controls["symbol"].value = ""
    view.controls["order"].value = "least coverage first"
    assert [name for name, _ in view.map.names] == ["aapl", "ETH/USD", "BTC/USD"]
    assert map_rows(view)[2] == "BTC/USD " + "1" * 40
    assert view.frame()["symbol"].unique(maintain_order=True).to_list() == ["BTC/USD", "ETH/USD", "aapl"]


def test_the_calendar_says_what_is_missing(view: CoverageView, caplog: pytest.LogCaptureFixture) -> None:
    view.controls["calendar"].value = "24/5"
    row = next(row for row in map_rows(view) if row.startswith("aapl"))
    assert set(row.removeprefix("aapl ")) == {"1", "0"}
    assert view.frame().filter(pl.col("symbol") == "aapl")["missing"].sum() == 0
    before = map_rows(view)
    with caplog.at_level(logging.ERROR, "walle.widgets"):
        view.controls["calendar"].value = "XNYSE"
    assert "unknown calendar 'XNYSE'" in error(view) and "XNYS" in error(view)
    assert "CoverageView: change_calendar failed" in caplog.text
    assert map_rows(view) == before and "calendar='24/5'" in view.code
    view.controls["calendar"].value = ""
    assert error(view) == ""
    assert "calendar=" not in view.code


def test_the_cells_are_days_weeks_or_months_by_choice_or_by_zoom(view: CoverageView) -> None:
    assert view.map.period == "day"
    say(view.map, kind="span", days=2_000)
    assert (view.map.period, view.map.columns) == ("week", 6)
    say(view.map, kind="span", days=9_000)
    assert (view.map.period, view.map.columns) == ("month", 2)
    assert map_rows(view)[1] == "ETH/USD 31"
    say(view.map, kind="span", days=30)
    assert view.map.period == "day"
    view.controls["period"].value = "month"
    say(view.map, kind="span", days=30)
    assert (view.map.period, view.frame().height) == ("month", 6)
    view.controls["period"].value = "auto"
    assert view.map.period == "day"


def test_hovering_tells_the_numbers_of_a_cell(view: CoverageView, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = answers(view, monkeypatch)
    for row, column in ((0, 0), (1, 1), (1, 10)):
        say(view.map, kind="hover", row=row, column=column)
    assert [message["text"] for message in sent] == [
        "BTC/USD 1h, 2024-01-01: 24 of 24 bars, 100 %",
        "ETH/USD 1h, 2024-01-02: 23 of 24 bars, 95.83 %, 1 missing",
        "ETH/USD 1h, 2024-01-11: 0 of 24 bars, 0.00 %, 24 missing",
    ]
    view.controls["calendar"].value = "24/5"
    view.controls["period"].value = "week"
    say(view.map, kind="hover", row=2, column=0)
    assert sent[-1]["text"] == "aapl 1d, week of 2024-01-01: 5 of 5 bars, 100 %"
    say(view.map, kind="hover", row=2, column=99)
    assert error(view) == "InputError: there is no cell in row 2, column 99."


def test_a_click_opens_the_gaps_of_a_series_and_marks_the_one_in_the_cell(view: CoverageView) -> None:
    assert view.details.layout.display == "none"
    say(view.map, kind="open", row=1, column=10)
    assert (view.details.layout.display, view.candles.layout.display) == (None, "none")
    assert view.title.value == "ETH/USD 1h: 2 gaps, 25 bars missing"
    assert view.table.rows == [
        ["2024-01-02 06:00", "2024-01-02 07:00", "1", "1 h", "single", ""],
        ["2024-01-11", "2024-01-12", "24", "1 d", "hole", ""],
    ]
    assert (view.table.selected, view.map.selected) == (1, 1)
    say(view.map, kind="open", row=0)
    assert (view.title.value, view.table.rows) == ("BTC/USD 1h: nothing is missing", [])
    say(view.map, kind="open", row=2)
    assert (view.table.selected, len(view.table.rows)) == (-1, 5)
    view.controls["symbol"].value = "BTC"
    assert view.details.layout.display == "none"
    say(view.map, kind="open", row=1)
    assert error(view) == "InputError: there is no cell in row 1, column 0."


def test_the_gaps_are_turned_in_pages(filled: walle.Store) -> None:
    filled.bars.ingest(hourly(40, *range(3, 900, 30)), symbol="HOLES", timeframe="1h")
    view = CoverageView(filled, "HOLES")
    assert view.widget is not None
    say(view.map, kind="open", row=0, column=30)
    assert (view.gaps.page, view.table.note) == (2, "25 to 30 of 30")
    say(view.table, kind="page", to="first")
    assert (view.gaps.page, len(view.table.rows)) == (0, 12)
    view.close()


def test_a_gap_shows_the_candles_on_both_sides_and_none_in_between(view: CoverageView, filled: walle.Store) -> None:
    say(view.table, kind="select", row=0)  # nothing is open yet
    assert view.candles.before == []
    say(view.map, kind="open", row=1)
    say(view.table, kind="select", row=1)
    stored = filled.bars.read("ETH/USD", "1h")
    early, late = (
        stored.filter(side)
        for side in (pl.col("timestamp") < START + 10 * DAY, pl.col("timestamp") >= START + 11 * DAY)
    )
    prices = ("open", "high", "low", "close")
    assert [tuple(row[1:]) for row in view.candles.before] == early.tail(60).select(prices).rows()
    assert [tuple(row[1:]) for row in view.candles.after] == late.head(60).select(prices).rows()
    assert view.candles.before[-1][0] == "2024-01-10 23:00" and view.candles.after[0][0] == "2024-01-12"
    assert (view.candles.missing, view.candles.layout.display) == (24, None)
    assert view.candles.band == "24 bars missing, 2024-01-11 to 2024-01-12 UTC (hole)"
    say(view.table, kind="select", row=7)
    assert error(view) == "LookupError: the table has no row 7 on this page."
    say(view.map, kind="open", row=2)
    say(view.table, kind="select", row=0)
    assert len(view.candles.before) == 5


def test_refresh_counts_again(view: CoverageView, filled: walle.Store) -> None:
    filled.bars.ingest(hourly(40), symbol="ETH/USD", timeframe="1h")
    filled.bars.ingest(bars(9, start=START), symbol="NEW", timeframe="1m")
    assert len(view.map.names) == 3
    view.controls["refresh"].click()
    assert map_rows(view)[1] == "ETH/USD " + "1" * 40
    assert ["NEW", "1m"] in view.map.names and ("1m", "1m") in view.controls["timeframe"].options


def test_each_callback_shows_and_logs_what_fails(
    view: CoverageView, filled: walle.Store, caplog: pytest.LogCaptureFixture
) -> None:
    say(view.map, kind="open", row=1)
    filled.close()
    acts: dict[str, Callable[[], None]] = {
        "refresh": lambda: view.controls["refresh"].click(),
        "change_calendar": lambda: setattr(view.controls["calendar"], "value", "24/5"),
        "change_period": lambda: setattr(view.controls["period"], "value", "week"),
        "open": lambda: say(view.map, kind="open", row=1),
        "around": lambda: say(view.table, kind="select", row=0),
        "hover": lambda: say(view.map, kind="hover", row="x", column=0),
        "zoomed": lambda: say(view.map, kind="span", days="many"),
        "filter": lambda: setattr(view.controls["symbol"], "value", "x"),
        "turn": lambda: say(view.table, kind="page", to="next"),
    }
    for name, act in acts.items():
        if name == "turn":
            view.gaps.frame = None  # type: ignore[assignment]  # broken on purpose: nothing else makes it fail
        caplog.clear()
        with caplog.at_level(logging.ERROR, "walle.widgets"):
            act()
        assert caplog.messages == [f"CoverageView: {name} failed"], name
        assert error(view), name


@pytest.mark.parametrize(
    "options",
    first_quick(
        [
            {},
            {"symbol": ["ETH/USD", "aapl"], "period": "week"},
            {"timeframe": "1h", "calendar": "24/5", "start": "2024-01-03", "end": datetime(2024, 1, 20, 5, tzinfo=UTC)},
            {"symbol": "aapl", "calendar": "own", "period": "month"},
        ]
    ),
    ids=["all", "some", "range", "own"],
)
def test_the_code_gives_the_frame_in_a_new_process(
    store: walle.Store, address: str, options: dict[str, Any], tmp_path: Path
) -> None:
    store.bars.ingest(hourly(40), symbol="BTC/USD", timeframe="1h")
    store.bars.ingest(hourly(40, 30, *range(240, 264)), symbol="ETH/USD", timeframe="1h")
    store.bars.ingest(bars(40, start=START, minutes=1440), symbol="aapl", timeframe="1d")
    if options.get("calendar") == "own":
        opens = [START + DAY * number + timedelta(hours=9) for number in range(0, 40, 3)]
        sessions = pl.DataFrame({"open": opens, "close": [moment + timedelta(hours=4) for moment in opens]})
        options = {**options, "calendar": from_sessions(sessions, 'it\'s "mine"')}
    view = CoverageView(store, **options)
    assert view.widget is not None
    if "symbol" not in options:
        view.controls["symbol"].value = "H/us"
        assert not view.frame().is_empty() or "timeframe" in options
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if "://" in address:
        environment["WALLE_DATABASE_URL"] = address
    script = f"{view.code}\nframe.write_ipc('frame.arrow')\nstore.close()\n"
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, env=environment, check=True)
    assert view.frame().height > 0
    assert_frame_equal(pl.read_ipc(tmp_path / "frame.arrow"), view.frame())
    view.close()


@MANY
def test_many_views_leave_no_comm_and_no_thread(sqlite_address: str, count: int) -> None:
    comms, threads = len(_instances), set(threading.enumerate())
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(hourly(10, 30), symbol="ETH/USD", timeframe="1h")
        for _ in range(count):
            view = CoverageView(store)
            view._repr_mimebundle_()
            say(view.map, kind="open", row=0)
            view.close()
            assert len(_instances) == comms
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    assert set(threading.enumerate()) <= threads  # the store's own threads are gone with it
    say(view.map, kind="open", row=0)  # a page that has not heard of the end yet
    view.controls["symbol"].value = "x"


def test_the_static_form_names_the_worst_series_and_draws_them_small(filled: walle.Store) -> None:
    for number in range(40):
        filled.bars.ingest(hourly(40, number), symbol=f"S{number:02}", timeframe="1h")
    view = CoverageView(filled)
    data, _ = view._repr_mimebundle_()
    page = data["text/html"]
    assert data["text/plain"].splitlines()[0].startswith("CoverageView: 43 series, 2024-01-01 to 2024-02-09 23:00,")
    assert data["text/plain"].splitlines()[2].split() == ["aapl", "1d", "75.00", "%", "10", "40"]
    assert "of the least coverage are shown" in page and page.count("<img ") == 24
    assert len(page) < 50_000
    assert WIDGET in data
    assert not re.findall(r"<script|<style|https?:|\son\w+=|class=|id=", page)
    assert CoverageView(filled)._repr_mimebundle_()[0]["text/html"] == page
    view.close()
    gc.collect()
    from walle.widgets.view import _shown

    for shown in [one for views in _shown.values() for one in views]:
        shown.close()


def test_cells_that_share_a_pixel_are_drawn_as_their_mean_and_never_as_complete_with_a_hole() -> None:
    whole = bytes([1] * 1_800)
    assert pixels(strip(whole, "")) == bytes([1] * 360)
    for level, drawn_as in ((2, 2), (4, 3), (6, 3)):  # one of ten: 99.95 %, 97.5 % and 90 % are there
        image = strip(whole[:1_234] + bytes([level]) + whole[1_235:], "")
        assert pixels(image) == bytes([1] * 246 + [drawn_as] * 2 + [1] * 112)
    assert pixels(strip(b"\0" * 7_200, "")) == b"\0" * 360
    assert pixels(strip(b"\6\0" * 3_600, "")) == b"\6" * 360
    assert pixels(strip(b"\1\6\0", "")) == b"\1" * 120 + b"\6" * 120 + b"\0" * 120


def pixels(image: str) -> bytes:
    """The first line of pixels of a picture, with its PNG taken apart by hand."""
    found = re.search(r"base64,([^\"]+)", image)
    assert found
    data = b64decode(found.group(1))
    place, packed = 8, b""
    while place < len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        kind, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        assert int.from_bytes(data[place + 8 + size : place + 12 + size], "big") == zlib.crc32(kind + body)
        packed += body if kind == b"IDAT" else b""
        place += 12 + size
    raw = zlib.decompress(packed)
    assert len(raw) == 12 * 361 and raw[0] == 0
    return raw[1:361]


def test_an_empty_store_says_what_to_do(store: walle.Store) -> None:
    view = CoverageView(store)
    assert "no bars are stored; take some in: store.bars.ingest(...)" in repr(view)
    assert view.widget is not None
    assert view.map.layout.display == "none"
    assert view.summary.value == "No bars are stored; take some in: store.bars.ingest(...)."
    assert view.frame().is_empty()
    assert list(view.frame().columns) == ["symbol", "timeframe", "start", "expected", "missing", "coverage"]
    view.controls["refresh"].click()
    view.close()


def test_what_cannot_be_shown_is_refused_at_once(filled: walle.Store) -> None:
    with pytest.raises(UnknownSymbol, match="did you mean 'BTC/USD'"):
        CoverageView(filled, "BTC/USDD")
    with pytest.raises(UnknownTimeframe):
        CoverageView(filled, timeframe="1 hour")
    with pytest.raises(UnknownCalendar):
        CoverageView(filled, calendar="24/6")
    with pytest.raises(InputError, match="allowed are day, week, month"):
        CoverageView(filled, period="year")  # type: ignore[arg-type]  # what a caller may get wrong
    with pytest.raises(InputError, match="ends before it starts"):
        CoverageView(filled, start="2024-02-01", end="2024-01-01")
    with walle.connect() as memory, pytest.raises(PersistenceUnavailable):
        CoverageView(memory)


@pytest.mark.parametrize("name", [text[:100].strip() for text in HOSTILE], ids=lambda text: ascii(text[:20]))
def test_hostile_symbols_are_names_and_nothing_else(sqlite_address: str, name: str) -> None:
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(hourly(3, 5), symbol=name, timeframe="1h")
        view = CoverageView(store)
        page = view._repr_mimebundle_()[0]["text/html"]
        assert "<script" not in page and "<img src=x" not in page
        say(view.map, kind="open", row=0)
        say(view.table, kind="select", row=0)
        for text in (view.map.names[0][0], view.title.value, view.table.label, view.candles.label, repr(view)):
            assert text.replace("\n", "").isprintable()
        assert view.gaps.frame.height == 1 and view.frame()["symbol"][0] == name
        view.close()


def test_many_series_are_bounded_and_the_view_says_so(filled: walle.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "SERIES", 2)
    view = CoverageView(filled)
    assert view.widget is not None
    assert [name for name, _ in view.map.names] == ["ETH/USD", "aapl"]
    assert "3 series" in view.summary.value and "the 2 of the least coverage are drawn" in view.summary.value
    assert view.frame()["symbol"].n_unique() == 3
    view.close()
    monkeypatch.setattr(coverage, "MESSAGE", 10)
    view = CoverageView(filled, period="day")
    assert view.widget is not None
    assert view.map.period == "month" and "too large a message" in view.summary.value
    assert view.frame().height == 6
    view.close()


def test_without_ipywidgets_the_static_form_is_shown(filled: walle.Store, sqlite_address: str) -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ipywidgets", "anywidget", "traitlets", "altair", "IPython"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import walle
store = walle.connect()
data, _ = walle.widgets.CoverageView(store)._repr_mimebundle_()
assert set(data) == {"text/plain", "text/html"}, data
assert "ETH/USD" in data["text/html"] and "<img" in data["text/html"] and "walle[notebook]" in data["text/html"]
store.close()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WALLE_DATABASE_URL": sqlite_address}
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment, check=True)
