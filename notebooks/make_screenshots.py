"""Take the views' pictures for the README and the guides, in a real browser: ``python -m notebooks.make_screenshots``.

It needs what the tests need: ``pip install -e ".[test]"`` and Chromium.
"""

from __future__ import annotations

from pathlib import Path

from tests.widgets.browser import Lab, Notebook, running_lab

FOLDER = Path(__file__).parent / "pictures"

SETUP = """
import random
from datetime import UTC, datetime, timedelta

import polars as pl

import walle
from walle import demo

store = walle.connect("sample.db")
loaded = demo.load(store)

def halt(event):
    if event.payload.get("status") == "partially_filled":
        raise ValueError(f"no rule for order {event.payload['order_id']}")

handled = store.events.consume("risk", halt, on_poison="park", tries=1)

many = walle.connect("many.db")
generator = random.Random(7)
for number in range(22):
    first = datetime(2016 + number % 4, 1 + number % 11, 1, tzinfo=UTC)
    times = pl.datetime_range(first, datetime(2025, 12, 1, tzinfo=UTC), "1h", eager=True, closed="left")
    times = times.cast(pl.Datetime("us", "UTC"))
    lost = {generator.randrange(times.len()) for _ in range(generator.randrange(5))}
    for _ in range(generator.randrange(4)):
        start = generator.randrange(times.len())
        lost |= set(range(start, start + generator.randrange(24, 3_000)))
    frame = pl.DataFrame({"timestamp": times}).filter(~pl.int_range(pl.len()).is_in(list(lost)))
    close = 100 + (pl.int_range(pl.len()) / 40).sin() * 9
    frame = frame.with_columns(open=close, high=close + 0.5, low=close - 0.5, close=close, volume=1.0)
    report = many.bars.ingest(frame, symbol=f"COIN{number:02}/USD", timeframe="1h", progress=False)
"""
COVERAGE = "view = walle.widgets.CoverageView(many)\nview"
OUTBOX = "view = walle.widgets.OutboxView(store, 'orders.*')\nview"
RUN = "view = walle.widgets.RunView(store, 'bt-sma-eth-001', tab='findings')\nview"


def main() -> None:
    """Write every picture in both themes."""
    with running_lab() as lab:
        coverage(lab)
        outbox(lab)
        run(lab)


def coverage(lab: Lab) -> None:
    """Show the heat map, and the candles around a gap."""
    notebook = lab.open([SETUP, COVERAGE], height=1600)
    notebook.page.wait_for_selector(".walle-map canvas[data-drawn]", timeout=120_000)
    notebook.run("view._open({'row': 5, 'column': 0}); view._around({'row': 0})")
    notebook.page.wait_for_selector(".walle-candles canvas[data-drawn]")
    pictures(notebook, "coverage-view")


def outbox(lab: Lab) -> None:
    """Show events, with the payload of one."""
    notebook = lab.open([SETUP.partition("many = ")[0], OUTBOX], height=1600)
    notebook.page.locator(".walle-table tbody tr").nth(6).click()
    notebook.page.locator(".walle-tree").wait_for()
    pictures(notebook, "outbox-view")


def run(lab: Lab) -> None:
    """Show a finding, with its fill on the candles."""
    notebook = lab.open([SETUP.partition("many = ")[0], RUN], height=1600)
    notebook.page.locator(".walle-table tbody tr").first.click()
    notebook.eventually("print('outside_bar' in view.caption.value)", "True")
    pictures(notebook, "run-view")


def pictures(notebook: Notebook, name: str) -> None:
    """Save a view in both themes."""
    for theme in ("light", "dark"):
        notebook.theme(theme)
        notebook.page.mouse.move(2, 2)
        notebook.page.wait_for_timeout(2_500)
        path = FOLDER / f"{name}-{theme}.png"
        notebook.page.locator(".walle-view").first.screenshot(path=path)
    notebook.theme("light")


if __name__ == "__main__":
    main()
