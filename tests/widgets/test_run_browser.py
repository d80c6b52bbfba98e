"""``RunView`` in a real browser: what a hand does there, and what it changes in the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.exporting import as_html
from tests.widgets.browser import Lab, Notebook

if TYPE_CHECKING:
    from playwright.sync_api import Locator

BAD = "<img src=x onerror=window.hacked=1>"
SETUP = f"""
from datetime import UTC, datetime, timedelta
from decimal import Decimal
import walle
from walle import demo

store = walle.connect("run.db")
demo.load(store)
bad = {BAD!r}
bars = store.bars.read("ETH/USD", "1m").head(600).select("timestamp", "open", "high", "low", "close", "volume")
store.bars.ingest(bars, symbol=bad, timeframe="1m", progress=False)
at = bars["timestamp"][100]
run = walle.Run(id=bad, strategy_id=bad, mode="backtest", status="error", error=bad, symbols=(bad,), started_at=at)
store.runs.save(run)

def buy(name, run_id, symbol):
    made = walle.Fill(id=name, order_id=name, run_id=run_id, symbol=symbol, side="buy", price=Decimal(1),
                      quantity=Decimal(2), filled_at=at)
    store.fills.append(made)

buy(bad, bad, bad)
"""
SHOW = 'view = walle.widgets.RunView(store, "bt-sma-eth-001")\nview'
HOSTILE = "odd = walle.widgets.RunView(store, bad, tab='findings')\nodd"
WINDOW = "print(view.controls['from'].value, '|', view.controls['to'].value)"


@pytest.fixture(scope="module")
def opened(lab: Lab) -> Iterator[Notebook]:
    notebook = lab.open([SETUP, SHOW], height=1500)
    notebook.page.wait_for_selector(".walle-picture img[data-drawn]")
    yield notebook
    notebook.check()


@pytest.fixture
def notebook(opened: Notebook) -> Notebook:
    """The notebook with a view as it is at first."""
    opened.page.mouse.move(2, 2)
    opened.run("view.buttons['whole'].click(); view.controls['symbol'].value = view.controls['timeframe'].value = ''")
    opened.run("view.controls['tab'].value = 'fills'")
    return opened


def tab(notebook: Notebook, name: str) -> None:
    notebook.page.locator(".walle-view").get_by_role("button", name=name, exact=True).click()
    notebook.eventually("print(view.table.label.split()[0])", name)


def picture(notebook: Notebook) -> Locator:
    return notebook.page.locator(".walle-picture img").first


def wait_for_candles(notebook: Notebook, words: str) -> None:
    """Wait until the page shows candles that are described so."""
    wanted = """words => {
      const image = document.querySelector(".walle-picture img");
      return image.dataset.drawn && image.alt.includes(words);
    }"""
    notebook.page.wait_for_function(wanted, arg=words)


def test_the_run_is_seen_with_its_worth_and_its_figures(notebook: Notebook) -> None:
    page = notebook.page
    wait_for_candles(notebook, "1h candles of 19,953 bars")
    assert page.locator(".walle-picture img").count() == 2
    for image in page.locator(".walle-picture img").all():
        box = image.bounding_box()
        assert box is not None and box["width"] > 700 and box["height"] > 150
    assert "193 fills of ETH/USD" in page.locator(".walle-quiet").first.inner_text()
    tab(notebook, "metrics")
    assert "max_drawdown" in page.locator(".walle-table").inner_text()
    notebook.picture("run-light", ".walle-view")


def test_a_finding_zooms_the_candles_and_is_ringed(notebook: Notebook) -> None:
    page = notebook.page
    tab(notebook, "findings")
    page.locator(".walle-table tbody tr").first.click()
    notebook.eventually(WINDOW, "2025-11-22 11:20:01 | 2025-11-22 12:40:01")
    wait_for_candles(notebook, "1m candles, 2025-11-22 11:21 to 2025-11-22 12:40 UTC")
    assert "outside_bar" in page.locator(".walle-quiet").nth(1).inner_text()
    notebook.picture("run-finding", ".walle-view")
    notebook.theme("dark")
    notebook.eventually("print(view.worth.dark)", "True")
    loaded = "[...document.querySelectorAll('.walle-picture img')].map(image => image.dataset.drawn).join()"
    notebook.page.wait_for_function(
        f"drawn => {loaded} === drawn", arg=notebook.run("print(view.price.drawn, view.worth.drawn, sep=',')")
    )
    notebook.picture("run-dark", ".walle-view")
    notebook.theme("light")
    notebook.eventually("print(view.price.dark)", "False")


def test_the_keyboard_reaches_rows_tabs_and_time(notebook: Notebook) -> None:
    page = notebook.page
    tab(notebook, "trades")
    page.locator(".walle-table tbody tr").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    notebook.eventually("print(view.table.selected)", "1")
    notebook.eventually("print(view.caption.value[:7])", "Trade 2")
    before = notebook.run(WINDOW)
    wait_for_candles(notebook, "Trade 2")
    picture(notebook).focus()
    page.keyboard.press("ArrowRight")
    notebook.eventually("print(view.caption.value[:7])", "ETH/USD")
    assert notebook.run(WINDOW) != before
    page.keyboard.press("ArrowLeft")
    notebook.eventually(WINDOW, before)
    page.keyboard.press("-")
    page.keyboard.press("+")
    notebook.eventually(WINDOW, before)
    page.keyboard.press("0")
    notebook.eventually("print(view._window == view._whole())", "True")
    page.get_by_role("button", name="history", exact=True).focus()
    page.keyboard.press("Enter")
    notebook.eventually(
        "print(view.frame().height)", notebook.run("print(store.runs.history('bt-sma-eth-001').height)")
    )


def test_the_controls_act_in_the_kernel(notebook: Notebook) -> None:
    page = notebook.page

    def labelled(text: str) -> Locator:
        return page.locator(".walle-view").get_by_label(text, exact=True)

    labelled("symbol").select_option("ETH/USD")
    notebook.eventually("print('ETH/USD' in view.code)", "True")
    labelled("candles").select_option("1m")
    notebook.eventually("print(view._timeframe)", "1m")
    labelled("from").fill("2025-11-25")
    labelled("from").press("Enter")
    notebook.eventually("print(view.controls['from'].value)", "2025-11-25")
    page.get_by_role("button", name="Earlier").click()
    notebook.eventually("print(view.controls['from'].value < '2025-11-25')", "True")
    labelled("to").fill("<b>never</b>")
    labelled("to").press("Enter")
    page.get_by_role("alert").filter(has_text="<b>never</b>").wait_for()
    notebook.picture("run-error", ".walle-view")
    page.get_by_role("button", name="Whole").click()
    notebook.run("buy('late', 'bt-sma-eth-001', 'SOL/USD')")
    page.get_by_role("button", name="Refresh").click()
    notebook.eventually("print(view.controls['symbol'].options[-1][0])", "SOL/USD")
    labelled("symbol").select_option("SOL/USD")
    page.get_by_text("No bars of SOL/USD are stored").wait_for()


def test_hostile_names_run_nothing(lab: Lab) -> None:
    notebook = lab.open([SETUP.replace("run.db", "odd.db"), HOSTILE], height=1400)
    notebook.page.wait_for_selector(".walle-picture img[data-drawn]")
    notebook.page.locator(".walle-table tbody tr").first.click()
    notebook.eventually("print(odd.table.selected)", "0")
    for name in ("history", "fills"):
        notebook.page.locator(".walle-view").get_by_role("button", name=name, exact=True).click()
        notebook.eventually("print(odd.table.label.split()[0])", name)
    assert notebook.page.evaluate("window.hacked === undefined")
    assert notebook.page.locator("img[src='x']").count() == 0
    notebook.picture("run-hostile", ".walle-view")
    notebook.check()


def test_the_saved_notebook_is_small_and_readable_without_scripts(notebook: Notebook, lab: Lab) -> None:
    saved = notebook.save()
    outputs: list[Any] = saved["cells"][1]["outputs"]
    assert {"text/html", "text/plain"} < set(outputs[0]["data"])
    assert notebook.path.stat().st_size < 100_000
    exported = notebook.path.with_suffix(".html")
    exported.write_text(as_html(notebook.path))
    page = lab.read(exported, "run-static")
    assert "outside_bar" in page.locator("body").inner_text()
    image = page.locator("img[alt^='equity']")
    box = image.bounding_box()
    assert box is not None and box["width"] > 300
    assert notebook.run("view.close(); print(view.closed)") == "True"
