"""``CoverageView`` in a real browser: what a hand does there, and what it changes in the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.exporting import as_html
from tests.widgets.browser import Lab, Notebook

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Position

SETUP = """
from datetime import UTC, datetime, timedelta
import polars as pl
import walle

store = walle.connect("coverage.db")

def hours(symbol, first, days, *lost):
    start = datetime(first, 1, 1, tzinfo=UTC)
    times = pl.datetime_range(start, start + timedelta(days=days), "1h", closed="left", eager=True, time_unit="us")
    close = 100 + (pl.int_range(times.len(), eager=True) / 37).sin() * 9
    frame = pl.DataFrame({"timestamp": times.dt.replace_time_zone("UTC"), "close": close}).with_columns(
        open=pl.col("close").shift(1).fill_null(100.0), volume=1.0
    ).with_columns(high=pl.max_horizontal("open", "close") + 0.4, low=pl.min_horizontal("open", "close") - 0.4)
    kept = frame.filter(~pl.int_range(pl.len()).is_in(lost))
    store.bars.ingest(kept, symbol=symbol, timeframe="1h", progress=False)

hours("BTC/USD", 2018, 2190, 24 * 700 + 5)
hours("ETH/USD", 2018, 2190, *range(24 * 400, 24 * 500), *(24 * 800 + 31 * n for n in range(60)))
hours("SOL/USD", 2020, 1200)
hours("<img src=x onerror=window.hacked=1>", 2019, 1500, *range(24 * 300, 24 * 330))
hours("\u202eDSU/lr\u202c", 2021, 900)
"""
SHOW = "view = walle.widgets.CoverageView(store)\nview"
IMG, BTC, ETH, SOL, DSU = range(5)  # as they are sorted
NAMES = "print([name for name, _ in view.map.names])"


@pytest.fixture(scope="module")
def opened(lab: Lab) -> Iterator[Notebook]:
    notebook = lab.open([SETUP, SHOW], height=1500)
    notebook.page.wait_for_selector(".walle-map canvas[data-drawn]")
    yield notebook
    notebook.check()


@pytest.fixture
def notebook(opened: Notebook) -> Notebook:
    """The notebook with a view as it is at first."""
    opened.page.mouse.move(2, 2)
    opened.run("view.controls['symbol'].value = view.controls['calendar'].value = ''")
    opened.run("view.controls['period'].value = 'auto'; view.controls['order'].value = 'by name'")
    opened.page.get_by_role("button", name="see all").click()
    opened.eventually("print(view.map.period, view.map.columns)", "week 313")
    shown = "label => document.querySelector('.walle-map canvas').getAttribute('aria-label').startsWith(label)"
    opened.page.wait_for_function(shown, arg=opened.run("print(view.map.label)"))
    return opened


def spot(notebook: Notebook, row: int, share: float) -> Position:
    """Where a row and a share of the time stand in the canvas."""
    box = notebook.page.locator(".walle-map canvas").bounding_box()
    assert box is not None
    return {"x": 148 + (box["width"] - 148 - 62) * share, "y": 24 + 20 * (row + 0.5)}


def colour(notebook: Notebook, at: Position) -> list[int]:
    told: list[int] = notebook.page.evaluate(
        """({x, y}) => {
          const canvas = document.querySelector(".walle-map canvas"), ratio = canvas.width / canvas.clientWidth;
          return [...canvas.getContext("2d").getImageData(x * ratio, y * ratio, 1, 1).data].slice(0, 3);
        }""",
        at,
    )
    return told


def test_one_missing_hour_of_six_years_is_seen_and_the_numbers_come_from_the_kernel(notebook: Notebook) -> None:
    assert notebook.run("print(view.map.period, view.map.columns)") == "week 313"
    canvas = notebook.page.locator(".walle-map canvas")
    hole, whole = spot(notebook, BTC, 100.5 / 313), spot(notebook, BTC, 160.5 / 313)
    assert (colour(notebook, hole), colour(notebook, whole)) == ([0xF0, 0xC5, 0x3C], [0x6A, 0xA5, 0xCC])
    canvas.hover(position=hole)
    tip = notebook.page.locator(".walle-tip")
    notebook.page.wait_for_function("document.querySelector('.walle-tip').textContent.includes('1 missing')")
    assert tip.inner_text() == "BTC/USD 1h, week of 2019-12-02: 167 of 168 bars, 99.40 %, 1 missing"
    notebook.picture("coverage-hover", ".walle-view")


def test_a_click_opens_gaps_and_a_click_on_a_gap_its_candles(notebook: Notebook) -> None:
    canvas = notebook.page.locator(".walle-map canvas")
    canvas.click(position=spot(notebook, ETH, 450 / 2191))
    notebook.eventually("print(view.title.value)", "ETH/USD 1h: 61 gaps, 2,460 bars missing")
    notebook.page.wait_for_selector(".walle-table tr[aria-selected='true']")
    chosen = notebook.page.locator(".walle-table tbody tr[aria-selected='true']")
    assert chosen.inner_text().split("\t")[2] == "2,400"
    canvas.click(position=spot(notebook, ETH, 450 / 2191))  # the same cell again
    chosen.click()
    notebook.eventually("print(len(view.candles.before), len(view.candles.after))", "60 60")
    notebook.page.wait_for_selector(".walle-candles canvas[data-drawn]")
    notebook.page.locator(".walle-candles canvas").focus()
    notebook.page.keyboard.press("End")
    assert "open " in notebook.page.locator(".walle-told").inner_text()
    notebook.page.get_by_role("button", name="last page").click()
    notebook.eventually("print(view.gaps.page)", "5")
    notebook.page.mouse.move(2, 2)
    notebook.picture("coverage-light", ".walle-view")
    notebook.theme("dark")
    notebook.picture("coverage-dark", ".walle-view")
    notebook.theme("light")


def test_the_controls_act_in_the_kernel(notebook: Notebook) -> None:
    page = notebook.page

    def labelled(text: str) -> Locator:
        return page.locator(".walle-view").get_by_label(text, exact=True)

    labelled("symbol").fill("usd")
    labelled("symbol").press("Enter")
    notebook.eventually(NAMES, "['BTC/USD', 'ETH/USD', 'SOL/USD']")
    labelled("order").select_option("least coverage first")
    notebook.eventually(NAMES, "['ETH/USD', 'BTC/USD', 'SOL/USD']")
    labelled("cells").select_option("months")
    notebook.eventually("print(view.map.period, view.map.columns)", "month 72")
    labelled("calendar").fill("24/5")
    labelled("calendar").press("Enter")
    notebook.eventually("print('24/5' in view.code)", "True")
    labelled("calendar").fill("<b>none</b>")
    labelled("calendar").press("Enter")
    page.get_by_role("alert").filter(has_text="unknown calendar '<b>none</b>'").wait_for()
    notebook.picture("coverage-error", ".walle-view")
    notebook.run("hours('BTC/EUR', 2020, 100)")
    page.get_by_role("button", name="Refresh").click()
    labelled("symbol").fill("eur")
    labelled("symbol").press("Enter")
    notebook.eventually(NAMES, "['BTC/EUR']")
    labelled("timeframe").select_option("1h")
    notebook.eventually("print(view.frame().height)", "4")


def test_zoom_and_keyboard_reach_every_cell(notebook: Notebook) -> None:
    page, canvas = notebook.page, notebook.page.locator(".walle-map canvas")
    canvas.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("End")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    tip = page.locator(".walle-tip")
    page.wait_for_function("document.querySelector('.walle-tip').textContent.includes(' bar')")
    assert " 1h, week of 2018-01-01: " in tip.inner_text()
    for _ in range(2):
        page.keyboard.press("+")
    notebook.eventually("print(view.map.period)", "day")
    page.wait_for_function("document.querySelector('.walle-map canvas').getAttribute('aria-label').includes('by day')")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    notebook.eventually("print(view.details.layout.display)", "None")
    page.keyboard.press("0")
    notebook.eventually("print(view.map.period)", "week")
    before = notebook.run("print(view.map.period)")
    canvas.hover(position=spot(notebook, 1, 0.5))
    page.keyboard.down("Control")
    for _ in range(6):
        page.mouse.wheel(0, -120)
    page.keyboard.up("Control")
    notebook.eventually("print(view.map.period)", "day")
    assert before == "week"
    page.get_by_role("button", name="zoom out").focus()
    page.keyboard.press("Enter")


def test_hostile_names_run_nothing(notebook: Notebook) -> None:
    notebook.page.locator(".walle-map canvas").click(position=spot(notebook, IMG, 0.6))
    notebook.eventually("print(view.gaps.frame.height)", "1")
    assert notebook.page.evaluate("window.hacked === undefined")
    assert notebook.page.locator("img[src='x']").count() == 0


def test_the_saved_notebook_is_small_and_readable_without_scripts(notebook: Notebook, lab: Lab) -> None:
    saved = notebook.save()
    outputs: list[Any] = saved["cells"][1]["outputs"]
    assert {"text/html", "text/plain"} < set(outputs[0]["data"])
    assert notebook.path.stat().st_size < 100_000
    exported = notebook.path.with_suffix(".html")
    exported.write_text(as_html(notebook.path))
    page = lab.read(exported, "coverage-static")
    table = page.locator("table").last
    assert "ETH/USD" in table.inner_text() and "95.31 %" in table.inner_text()
    assert table.locator("img").count() == 5
    box = table.locator("img").first.bounding_box()
    assert box is not None and box["width"] > 300
    assert notebook.run("view.close(); print(view.closed)") == "True"
