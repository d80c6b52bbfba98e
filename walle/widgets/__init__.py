"""Views of a store in a notebook: interactive in JupyterLab, and readable in a saved notebook without a kernel.

The interactive parts need `pip install "walle[notebook]"`. Every view has `.frame()`, the Polars frame that it shows;
`.code`, the Python that returns the same in a new kernel (it contains no password); and `.close()`.

```python
import polars as pl
import walle
from walle import demo

store = walle.connect("research.db")
demo.load(store)
view = walle.widgets.CoverageView(store, timeframe="1m")
print(view.frame().filter(pl.col("missing") > 0))  # the days, weeks or months in which a bar is missing
print(view.code)
view.close()
store.close()
```

## CoverageView

`CoverageView(store)` maps a thousand series over ten years. It never draws a cell as complete when one bar of its
period is missing. Click a series to open its gaps, and click a gap to open the candles around it.

![A heat map of series, the gaps of one, and the candles around a gap](../../notebooks/pictures/coverage-view-light.png)

## OutboxView

`OutboxView(store)` finds events among millions by type, run, correlation, time, JSON path and text. It shows the
payload of an event as a tree, with its causes and consequences, and follows the log live. For every consumer it shows
the lag and what the consumer set aside, and it moves an offset only after a preview and with a reason.
`mask=["password", "$.account.number"]` hides values that must not reach the page or a file.

![Events with filters, and one as a tree with its causes](../../notebooks/pictures/outbox-view-light.png)

## RunView

`RunView(store, run_id)` shows what a run did: its fills on candles, ringed where the audit found something; its equity
and drawdown; and its trades, findings, costs, figures and history as tables. Select a row, and the candles move to it.

![Candles with a ringed fill far above its bar, equity, and findings](../../notebooks/pictures/run-view-light.png)

## Findings

`Findings(store.fills.audit())` reports the findings of an audit in whole sentences. A store or a report on the last
line of a cell displays itself.

## Without widgets

`store.bars.coverage_by("week")`, `store.events.search(where="order.side = buy")` and `store.events.lineage(offset)`
return the same as frames. `python -m notebooks.make_screenshots` takes these pictures in a real browser.
"""

from walle.widgets.coverage import CoverageView
from walle.widgets.findings import Findings
from walle.widgets.outbox import OutboxView
from walle.widgets.run import RunView
from walle.widgets.view import View

__all__ = ["CoverageView", "Findings", "OutboxView", "RunView", "View"]
