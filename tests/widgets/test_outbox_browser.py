"""``OutboxView`` in a real browser: what a hand does there, and what it changes in the kernel."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from tests.exporting import as_html
from tests.widgets.browser import Lab, Notebook
from tests.widgets.test_view import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Locator

SETUP = """
from datetime import UTC, datetime, timedelta
import walle

store = walle.connect("outbox.db")
START = datetime(2025, 11, 20, 12, tzinfo=UTC)
BAD = ["<script>window.hacked = 1</script>", "<img src=x onerror=window.hacked=1>", "javascript:window.hacked=1",
       "\\x1b[31mred\\x1b[0m", "\\u202eevil\\u202c", "w" * 900_000]

def event(number, **changes):
    values = dict(
        type="orders.Filled" if number % 2 else "orders.Placed", run_id=f"run-{number % 4}",
        corr_id=f"c-{number // 10}", ts=START + timedelta(seconds=number), producer="engine",
        payload={"order": {"id": f"o-{number}", "side": "buy" if number % 3 else "sell", "quantity": "0.25"},
                 "fills": [{"price": "91234.5"}, {"price": "91240.0"}], "password": "secret"},
    )
    return walle.Event(**(values | changes))

root = event(0)
store.events.append([root] + [event(n, causation_id=root.id if n < 4 else None) for n in range(1, 190)])
deep = "bottom"
for _ in range(150):
    deep = [deep]
for number, text in enumerate(BAD):
    short = text[:60]
    store.events.append(event(190 + number, run_id=short, corr_id=short, payload={short: text, "deep": deep}))

def handle(one):
    if one.payload.get("order", {}).get("id") in ("o-7", "o-9"):
        raise ValueError("<b onclick=window.hacked=1>no such order</b>")

store.events.consume("risk", handle, on_poison="park", tries=1)
store.events.append([event(300), event(301)])
"""
SHOW = "view = walle.widgets.OutboxView(store, mask=['password'])\nview"


@pytest.fixture(scope="module")
def opened(lab: Lab) -> Iterator[Notebook]:
    notebook = lab.open([SETUP, SHOW], height=1500)
    notebook.page.wait_for_selector(".walle-table tbody tr")
    yield notebook
    notebook.check()


@pytest.fixture
def notebook(opened: Notebook) -> Notebook:
    """The notebook with a view as it is at first."""
    reset = "for name in view._asked: view.controls[name].value = ''"
    opened.run(f"view.controls['live'].value = False\n{reset}\nview.controls['rows'].value = 15\nview._again()")
    opened.run("view.tabs.selected_index = 0")
    opened.page.mouse.move(2, 2)
    return opened


def rows(notebook: Notebook) -> Locator:
    return notebook.page.locator(".walle-table").first.locator("tbody tr")


def labelled(notebook: Notebook, text: str) -> Locator:
    return notebook.page.locator(".walle-view").get_by_label(text, exact=True)


def first(notebook: Notebook, text: str) -> None:
    """Wait until the first row holds a text."""
    rows(notebook).first.filter(has_text=text).wait_for()


def test_pages_turn_and_an_event_opens_by_hand_and_keyboard(notebook: Notebook) -> None:
    page = notebook.page
    first(notebook, "198")
    page.get_by_role("button", name="next page").first.click()
    first(notebook, "183")
    page.get_by_role("button", name="previous page").first.click()
    first(notebook, "198")
    labelled(notebook, "correlation").fill("c-0")
    labelled(notebook, "correlation").press("Enter")
    notebook.eventually("print(view.frame().height)", "10")
    rows(notebook).nth(9).click()
    page.locator(".walle-tree").wait_for()
    tree = page.locator(".walle-tree").inner_text()
    assert "order" in tree and "***" in tree and "secret" not in tree
    related = str([["consequence", "1", str(place)] for place in (2, 3, 4)])
    notebook.eventually("print([row[:3] for row in view.lineage.rows])", related)
    branch = page.locator(".walle-tree summary", has_text="fills")
    branch.focus()
    page.keyboard.press("Enter")  # it was open
    page.keyboard.press("Enter")
    page.locator(".walle-tree summary", has_text="0: {1}").click()
    page.locator(".walle-tree").get_by_text('"91234.5"').wait_for()
    notebook.picture("outbox-light", ".walle-view")
    table = rows(notebook).first
    table.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    notebook.eventually("print(view.table.selected)", "1")
    lineage = page.locator(".walle-sides .walle-table tbody tr")
    rows(notebook).nth(7).click()
    lineage.first.filter(has_text="cause").wait_for()
    lineage.first.click()
    notebook.eventually("print(view.title.value[:8])", "1 orders")


def test_each_filter_is_seen_in_the_kernel(notebook: Notebook) -> None:
    for label, text, height in (
        ("type", "orders.F*", 15),
        ("run", "run-3", 15),
        ("from", "2025-11-20T12:05", 2),
        ("to", "2025-11-20 12:00:04", 4),
        ("payload", "order.id = o-17", 1),
        ("text", "O-118", 1),
    ):
        labelled(notebook, label).fill(text)
        labelled(notebook, label).press("Enter")
        notebook.eventually("print(view.frame().height)", str(height))
        labelled(notebook, label).fill("")
        labelled(notebook, label).press("Enter")
        first(notebook, "198")
    labelled(notebook, "rows").select_option("200")
    notebook.eventually("print(view.frame().height)", "198")
    labelled(notebook, "payload").fill("<b>[")
    labelled(notebook, "payload").press("Enter")
    notebook.page.get_by_role("alert").filter(has_text="has no JSON path").wait_for()
    notebook.picture("outbox-error", ".walle-view")


def test_live_tail_shows_what_another_process_writes_within_a_second(notebook: Notebook) -> None:
    script = """
        import time, walle
        store = walle.connect("outbox.db")
        input()
        store.events.append(walle.Event(type="other.Process", payload={"hello": 1}))
        print(time.time(), flush=True)
        store.close()
    """
    folder = notebook.run("import os; print(os.getcwd())")
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        notebook.page.get_by_role("button", name="Live").click()
        notebook.eventually("print(view.live.running)", "True")
        child.stdin.write("\n")
        child.stdin.flush()
        written = float(child.stdout.readline())
        first(notebook, "other.Process")
        assert time.time() - written < 1
    assert child.returncode == 0
    notebook.page.get_by_role("button", name="Live").click()
    notebook.eventually("print(view.live.running)", "False")


def test_consumers_parked_events_and_a_reset_with_preview_and_confirmation(notebook: Notebook) -> None:
    page = notebook.page
    page.get_by_role("tab", name="consumers").click()
    risk = page.locator(".walle-table tbody tr", has_text="risk").first
    risk.wait_for()
    risk.click()
    page.locator(".walle-table tbody tr", has_text="no such order").nth(1).wait_for()
    labelled(notebook, "go on after").fill("first")
    labelled(notebook, "reason").fill("a rule was wrong")
    labelled(notebook, "reason").press("Tab")
    assert page.get_by_role("button", name="Move offset").is_disabled()
    page.get_by_role("button", name="Preview").click()
    notebook.eventually("print('196 events are handled again' in view.consumers.status.value)", "True")
    notebook.picture("outbox-consumers", ".walle-view")
    page.get_by_role("button", name="Move offset").click()
    notebook.eventually("print(store.events.consumers()['offset'][0])", "-1")
    notebook.eventually("print(store.events.resets('risk')['reason'][0])", "a rule was wrong")
    page.get_by_role("button", name="Replay parked").click()
    notebook.eventually("print(store.events.parked('risk')['requested_at'].null_count())", "0")


def test_an_export_is_saved_by_the_browser(notebook: Notebook) -> None:
    labelled(notebook, "file").select_option("parquet")
    with notebook.page.expect_download() as caught:
        notebook.page.get_by_role("button", name="Export").click()
    assert caught.value.suggested_filename == "events.parquet"
    saved = pl.read_parquet(caught.value.path())
    assert saved.height == 15
    assert "secret" not in str(saved["payload"].to_list())


def test_hostile_events_run_nothing_and_break_no_layout(notebook: Notebook) -> None:
    page = notebook.page
    width = page.locator(".walle-view").bounding_box()
    for number in range(2, 8):
        rows(notebook).nth(number).click()
        notebook.eventually("print(view.table.selected)", str(number))
        page.locator(".walle-tree details").first.wait_for()
    page.get_by_role("tab", name="consumers").click()
    page.locator(".walle-table tbody tr", has_text="no such order").first.click()
    assert page.evaluate("window.hacked === undefined")
    assert page.locator("img[src='x']").count() == 0
    assert page.locator(".walle-view script").count() == 0
    now = page.locator(".walle-view").bounding_box()
    assert width is not None and now is not None
    assert now["width"] == width["width"]
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_it_is_readable_in_the_dark(notebook: Notebook) -> None:
    notebook.theme("dark")
    rows(notebook).nth(2).click()
    notebook.page.locator(".walle-tree details").first.wait_for()
    notebook.picture("outbox-dark", ".walle-view")
    ink, paper = notebook.page.evaluate(
        """() => { const cell = document.querySelector(".walle-table td"); const light = (text) => {
             const [r, g, b] = text.match(/\\d+/g).map(Number); return (r * 2 + g * 5 + b) / 8; };
           return [light(getComputedStyle(cell).color), light(getComputedStyle(document.body).backgroundColor)]; }"""
    )
    assert ink - paper > 100
    notebook.theme("light")


def test_the_saved_notebook_is_small_and_readable_without_scripts(notebook: Notebook, lab: Lab) -> None:
    saved = notebook.save()
    outputs: list[Any] = saved["cells"][1]["outputs"]
    assert {"text/html", "text/plain"} < set(outputs[0]["data"])
    assert notebook.path.stat().st_size < 300_000
    exported = notebook.path.with_suffix(".html")
    exported.write_text(as_html(notebook.path))
    page = lab.read(exported, "outbox-static")
    assert "orders.Filled" in page.locator("table").first.inner_text()
    assert notebook.run("view.close(); print(view.closed, view.live.running)") == "True False"
