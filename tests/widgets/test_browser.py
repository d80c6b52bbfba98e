"""The parts that all views share, in a real browser."""

from __future__ import annotations

from tests.widgets.browser import Lab
from tests.widgets.test_view import HOSTILE

GRID = [
    "import ipywidgets, polars as pl\n"
    "from walle.widgets.parts import Notice, Pages, Table, frame_of, heading, row_of\n"
    f"hostile = {HOSTILE!r}\n"
    "notice, table, said = Notice(), Table(label='things'), []\n"
    "pages = Pages(table, rows=4)\n"
    "table.on('select', lambda message: said.append(pages.select(message)))\n"
    "table.on('page', pages.turn)\n"
    "pages.show(pl.DataFrame({'name': hostile, hostile[1]: range(len(hostile))}))\n"
    "notice.tell(hostile[1], 'error')",
    "frame_of(notice, ipywidgets.VBox([heading(hostile[1]), table]))",
]


def test_a_table_is_used_by_mouse_and_by_keyboard_and_runs_nothing_that_it_shows(lab: Lab) -> None:
    notebook = lab.open(GRID)
    rows = notebook.page.locator(".walle-table tbody tr")
    rows.nth(1).click()
    notebook.eventually("print(said, table.selected)", "[1] 1")
    assert rows.nth(1).get_attribute("aria-selected") == "true"
    notebook.page.keyboard.press("ArrowDown")
    notebook.page.keyboard.press("Enter")
    notebook.eventually("print(said)", "[1, 2]")
    notebook.page.keyboard.press("PageDown")
    notebook.eventually("print(pages.page)", "1")
    notebook.page.get_by_role("button", name="previous page").click()
    notebook.eventually("print(pages.page)", "0")
    assert notebook.page.get_by_role("alert").inner_text() == HOSTILE[1]
    assert notebook.page.evaluate("window.hacked === undefined")
    assert notebook.page.locator("img[src='x']").count() == 0
    notebook.check()
