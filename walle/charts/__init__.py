"""Charts: functions over frames that return [Altair](https://altair-viz.github.io) charts, drawn without a network.

They need `pip install "walle[notebook]"`. Only here does money become a float.

```python
import walle
from walle import demo

store = walle.connect("research.db")
demo.load(store)
bars = store.bars.read("BTC/USD", "1m", "2025-11-20", "2025-11-21")
chart = walle.charts.candles(bars, gaps=store.bars.gaps("BTC/USD", "1m"), title="BTC/USD", theme="light")
print(chart)  # <Chart: candles of BTC/USD: 5m candles of 1,440 bars, 2025-11-20 00:00 to 2025-11-20 23:55 UTC>
picture = walle.charts.picture(chart, "png")  # or "svg": bytes, drawn without a browser or a network
store.close()
```

`candles` (with fills, findings and gaps), `costs` (of fills, orders or runs, in basis points), `coverage` and `equity`
come in the themes `light` and `dark`, in colours that do not rely on telling red from green. Candles join many bars to
a longer timeframe, and the chart names it. Nothing is drawn over a hole. `python notebooks/make_pictures.py` draws the
pictures of these pages.

![Candles of ETH/USD, the fills of a run, and a band where bars are missing](../../notebooks/pictures/candles-light.png)
"""

from walle.charts.drawing import Chart, picture  # first: it says what to install

# isort: split
from walle.charts.candles import candles
from walle.charts.costs import costs
from walle.charts.coverage import coverage
from walle.charts.equity import equity

__all__ = ["Chart", "candles", "costs", "coverage", "equity", "picture"]
