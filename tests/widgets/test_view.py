"""What every view does, tried on a small one: its faces, its code, its errors, and its end."""

from __future__ import annotations

import gc
import html
import logging
import os
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import polars as pl
import pytest
from ipywidgets.widgets.widget import _instances
from polars.testing import assert_frame_equal

import walle
from tests.samples import bars
from walle.errors import ConfigurationError, StoreClosed
from walle.widgets import View, view
from walle.widgets.escape import format_value, html_table, picture, text_of, text_table
from walle.widgets.parts import Notice, Pages, Table
from walle.widgets.view import Static

ROOT = Path(__file__).parents[2]
WIDGET = "application/vnd.jupyter.widget-view+json"
MANY = pytest.mark.parametrize(
    "count", [pytest.param(20, marks=pytest.mark.thorough), pytest.param(100, marks=pytest.mark.endurance)]
)
"""How many views are opened and closed to see whether one leaves something behind."""

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror=window.hacked=1>",
    "javascript:window.hacked=1",
    "\x1b[31mred\x1b[0m",
    "\u202eevil\u202c\u2028",
    "a" * 1_000_000,
    '{"a":' * 500,
]


class Series(View):
    """The stored series, and a button that may fail."""

    name = "Series"

    def __init__(self, store: walle.Store) -> None:
        super().__init__(store)
        self.left = 0

    def frame(self) -> pl.DataFrame:
        return self._store.bars.series()

    def _statements(self) -> list[str]:
        return ["frame = store.bars.series()"]

    def _make(self) -> ipywidgets.Widget:
        self.button = ipywidgets.Button(description="press")
        self.button.on_click(self._guarded(self._press))
        self.table = Table(label="series")
        self.pages = Pages(self.table)
        self.pages.show(self.frame())
        return ipywidgets.VBox([self.button, self.table])

    def _press(self, button: ipywidgets.Button) -> None:
        if button.description != "press":
            raise ValueError(button.description)

    def _static(self) -> Static:
        frame = self.frame()
        return Static(f"Series: {frame.height}", html_table(frame))

    def _stop_background(self) -> None:
        self.left += 1


@pytest.fixture
def filled(store: walle.Store) -> walle.Store:
    store.bars.ingest(bars(5), symbol="BTC/USD", timeframe="1m")
    return store


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    before = set(_instances)
    yield
    gc.collect()
    assert set(_instances) <= before


def test_a_view_carries_its_static_form_beside_the_widget(filled: walle.Store) -> None:
    shown = Series(filled)
    data, _ = shown._repr_mimebundle_()
    assert data["text/plain"] == repr(shown) == "Series: 1"
    assert "BTC/USD" in data["text/html"]
    assert data[WIDGET]["model_id"] == shown.widget.model_id
    assert shown._repr_mimebundle_()[0] == data
    shown.close()
    assert shown._repr_mimebundle_()[0] == {"text/plain": "Series: closed", "text/html": "<p>Series: closed</p>"}
    with pytest.raises(StoreClosed):
        _ = shown.widget


def test_the_code_of_a_view_gives_its_frame_in_a_new_process(filled: walle.Store, address: str, tmp_path: Path) -> None:
    shown = Series(filled)
    assert "secret" not in shown.code
    given = filled.config
    assert given is not None
    assert not given.address.password or given.address.password not in shown.code
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if "://" in address:
        environment["WALLE_DATABASE_URL"] = address
    script = f"{shown.code}\nframe.write_ipc('frame.arrow')\nstore.close()\n"
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, env=environment, check=True)
    assert_frame_equal(pl.read_ipc(tmp_path / "frame.arrow"), shown.frame())
    shown.close()


def test_the_code_names_a_file_as_the_notebook_sees_it(sqlite_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with walle.connect(sqlite_address) as store:
        assert repr(sqlite_address) in Series(store).code
        monkeypatch.chdir(Path(sqlite_address).parent)
        assert f"or {Path(sqlite_address).name!r}, read_only=True)" in Series(store).code
    with walle.connect() as store:
        assert "in memory" in Series(store).code


def test_an_error_in_a_callback_is_shown_and_logged(filled: walle.Store, caplog: pytest.LogCaptureFixture) -> None:
    shown = Series(filled)
    notice = shown.widget.children[0]
    assert isinstance(notice, Notice)
    shown.button.description = "<img src=x onerror=alert(1)>"
    with caplog.at_level(logging.ERROR, "walle.widgets"):
        shown.button.click()
    assert (notice.text, notice.kind) == ("ValueError: <img src=x onerror=alert(1)>", "error")
    assert [record.getMessage() for record in caplog.records] == ["Series: press failed"]
    assert caplog.records[0].exc_info is not None
    shown.button.description = "press"
    shown.button.click()
    assert notice.text == ""
    shown.close()


def test_a_view_over_a_closed_store_says_so(filled: walle.Store, caplog: pytest.LogCaptureFixture) -> None:
    shown = Series(filled)
    filled.close()
    data, _ = shown._repr_mimebundle_()
    assert "StoreClosed" in data["text/plain"] and 'role="alert"' in data["text/html"] and WIDGET not in data
    assert "the static form failed" in caplog.text
    shown.close()


def test_a_hundred_views_leave_no_comm_and_no_thread(sqlite_address: str) -> None:
    comms, threads = len(_instances), set(threading.enumerate())
    with walle.connect(sqlite_address) as store:
        store.bars.ingest(bars(5), symbol="BTC/USD", timeframe="1m")
        for _ in range(100):
            shown = Series(store)
            shown._repr_mimebundle_()
            shown.close()
            shown.close()
            assert len(_instances) == comms
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    assert set(threading.enumerate()) <= threads  # the store's own threads are gone with it


def test_a_view_that_nobody_holds_is_freed(filled: walle.Store) -> None:
    comms = len(_instances)
    shown = Series(filled)
    assert shown.widget is not None and len(_instances) > comms
    del shown
    gc.collect()
    assert len(_instances) == comms


class Shell:
    """What a view uses of IPython's shell."""

    def __init__(self, cell: str) -> None:
        self.cell = cell
        self.events = types.SimpleNamespace(callbacks={"pre_run_cell": []}, register=self.register)

    def register(self, event: str, callback: Any) -> None:
        self.events.callbacks[event].append(callback)

    def get_parent(self) -> dict[str, Any]:
        return {"metadata": {"cellId": self.cell}}

    def run(self, cell: str) -> None:
        self.cell = cell
        for callback in self.events.callbacks["pre_run_cell"]:
            callback(types.SimpleNamespace(cell_id=cell))


def test_a_shown_view_lives_until_its_cell_is_run_again(filled: walle.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import IPython

    shell = Shell("one")
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    comms = len(_instances)
    Series(filled)._repr_mimebundle_()
    gc.collect()
    assert len(_instances) > comms
    shell.run("two")
    gc.collect()
    assert len(_instances) > comms
    shell.run("one")
    gc.collect()
    assert len(_instances) == comms
    assert len(shell.events.callbacks["pre_run_cell"]) == 1
    kept = Series(filled)
    kept._repr_mimebundle_()
    shell.run("three")
    kept._repr_mimebundle_()
    shell.run("one")
    assert kept.left == 0  # another cell shows it
    shell.run("three")
    assert kept.left == 1 and not kept.closed
    kept.close()
    assert view._shown == {}


def test_without_ipywidgets_the_static_form_says_how_to_get_the_other(filled: walle.Store, address: str) -> None:
    code = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("ipywidgets", "anywidget", "traitlets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import walle
from tests.widgets.plain import Plain
store = walle.connect()
data, _ = Plain(store)._repr_mimebundle_()
assert set(data) == {"text/plain", "text/html"}, data
assert 'pip install' in data["text/html"], data
try:
    Plain(store).widget
except walle.ConfigurationError as error:
    assert 'walle[notebook]' in str(error)
else:
    raise AssertionError
store.close()
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WALLE_DATABASE_URL": address}
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=ROOT, env=environment, check=True)


def test_a_table_turns_its_pages_and_refuses_rows_that_it_does_not_show() -> None:
    table = Table(label="numbers")
    pages = Pages(table, rows=10)
    pages.show(pl.DataFrame({"number": range(25)}))
    assert (len(table.rows), table.note, table.turns) == (10, "1 to 10 of 25", [False, True])
    pages.turn({"kind": "page", "to": "last"})
    assert (table.rows, table.note, table.turns) == ([[str(n)] for n in range(20, 25)], "21 to 25 of 25", [True, False])
    assert pages.select({"row": 4}) == 24
    for row in (5, -1):
        with pytest.raises(LookupError):
            pages.select({"row": row})
    pages.turn({"to": "previous"})
    assert (pages.page, table.selected) == (1, -1)
    pages.turn({"to": "nowhere"})
    assert pages.page == 1
    pages.show(pages.frame, at=24)
    assert (pages.page, table.selected) == (2, 4)
    pages.show(pl.DataFrame({"number": []}))
    assert (table.rows, table.note, table.turns) == ([], "", [False, False])
    seen: list[Any] = []
    table.on("select", seen.append)
    for message in ({"kind": "select", "row": 0}, {"kind": "other"}, {}, "text", None):
        table._handle_custom_msg(message, [])
    assert seen == [{"kind": "select", "row": 0}]
    for part in (table.layout, table):
        part.close()


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text[:20]))
def test_hostile_texts_are_bounded_escaped_and_do_not_steer_the_writing(text: str) -> None:
    cut = text_of(text)
    assert len(cut) <= 300 and cut.isprintable()
    frame = pl.DataFrame({text[:1000]: [text]})
    page = html_table(frame, pictures={text: [picture([b"\0"], [(0, 0, 0, 255)], text)]})
    assert "<script" not in page and "<img src=x" not in page
    assert len(page) < 6_000
    assert "\n" not in html.unescape(page) and "\x1b" not in text_table(frame)


def test_values_read_as_people_write_them() -> None:
    from datetime import UTC, datetime, timedelta
    from decimal import Decimal

    day = datetime(2025, 3, 1, tzinfo=UTC)
    assert [
        format_value(value) for value in (None, True, 1_234, 0.1, Decimal("1.2500"), day, day.replace(minute=5))
    ] == [*("", "yes", "1,234", "0.1", "1.25", "2025-03-01", "2025-03-01 00:05")]
    lengths = [timedelta(minutes=1), timedelta(days=400, hours=3, minutes=2), timedelta(0), -timedelta(hours=1)]
    assert [format_value(value) for value in lengths] == ["1 min", "400 d 3 h", "0 ms", "-1 h"]
    assert format_value([1, 2]) == "[1, 2]"


def test_only_a_view_with_its_parts_installed_is_interactive(
    filled: walle.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(view, "interactive", lambda: False)
    with pytest.raises(ConfigurationError, match=r"walle\[notebook\]"):
        _ = Series(filled).widget
