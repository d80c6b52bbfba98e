"""Runs of a strategy: their life, their history, and what they were worth.

`store.runs` stores and reads them (see `walle.store.Runs`).

```python
import walle
from walle import demo

store = walle.connect("research.db")
run = store.runs.save(walle.Run(id="sma-1", strategy_id="sma", mode="backtest", config={"fast": 5, "slow": 20}))

demo.load(store)  # the sample runs, with their bars, orders, fills and events
print(store.runs.read())  # one row per run: status, duration, how many orders and fills
print(store.runs.history("bt-sma-eth-001"))  # status changes, orders, fills and events, in order of time
print(store.runs.ledger("bt-sma-eth-001"))  # what came in and went out, entry by entry
print(store.runs.equity("bt-sma-eth-001", starting_cash=100_000))  # marked to market at the close of every bar
print(store.runs.metrics("bt-sma-eth-001"))  # return, risk, drawdown, trades and fees, with their annualisation
print(store.runs.drawdowns("bt-sma-eth-001"))  # the deepest falls, with their begin, bottom and recovery
print(store.runs.returns("bt-sma-eth-001", period="month"))
print(store.runs.metrics(store.runs.read()["id"], wide=True))  # many runs, one row each
print(store.runs.recover())  # runs that are stored as running, and whose process is gone
store.close()
```

## The life of a run

A run only makes legal transitions (`walle.IllegalTransition` otherwise), and saving an old copy raises
`walle.LostUpdate`.

An engine calls `store.runs.sweep()` when it starts. Runs whose process is gone become `lost`, and a `run.Lost` event
announces it. Opening a store never changes a run.

## What a run was worth

`store.runs.ledger` writes down what the run did to its holdings: every fill, fee, cash flow, split and dividend, as
exact entries. `store.runs.equity` marks the sums of these entries to market at the close of every bar.

Nothing of two currencies is ever added up: a run has a curve, and its metrics, for each currency. `currency="USD"`
converts them by the stored bars of a pair (directly, inversely, or over a third currency) or by a frame of `rates`, and
names the source; where a rate is missing the value is null, and `reason` says which. A starting cash in one of several
currencies is a mapping: `starting_cash={"USD": Decimal(10_000)}`.

`store.runs.metrics` has one row per figure: `amount` for money; `value` for ratios, days and counts; `periods_per_year`
where the figure was annualised; `returns`, how many returns it is made of; and `reason` where there is no figure.
`walle.runs.metrics` documents the formulas and their sources. Returns are by session of the symbols' calendars, from
the last marked row of each, and chained over deposits and withdrawals (`store.cash`); `store.bars.set_calendar` says
when a market is open.

Both mark a run at its own timeframe where bars of it are stored, else at the shortest stored. `store.runs.drawdowns`
lists the deepest falls, and `store.runs.returns` the returns by month, year or session.

![Equity of the sample backtest, and its drawdown below](../../notebooks/pictures/equity-light.png)

`as_of=` reckons a run from the fills, corrections, cash flows, corporate actions and instruments that had been recorded
by a time: `store.runs.equity("bt-sma-eth-001", as_of=...)` gives what could be said of it then, before a fill was
corrected or a dividend was booked.

## Results of a backtest

```py
from backtesting import Backtest

stats = Backtest(data, SmaCross, cash=10_000, commission=0.002).run()
results = walle.from_backtesting(stats, run_id="sma-2", symbol="GOOG", timeframe="1d")
store.runs.ingest(results)  # the run, its orders and its fills in one transaction; repeating it changes nothing
```

The fills have to add up to the equity that the package reports, or nothing is stored. When the bars are stored as well,
`store.runs.equity("sma-2")` is the package's equity curve at every bar, with one difference: the commission of a fill
at the close is booked in the bar of the fill, one bar earlier than in the package.
"""

from walle.runs.benchmark import Benchmark
from walle.runs.figures import METRICS
from walle.runs.history import history
from walle.runs.metrics import metrics
from walle.runs.owner import is_alive, is_this_process, this_process
from walle.runs.report import RunReport
from walle.runs.results import Results, from_backtesting
from walle.runs.tables import DRAWDOWNS, RETURNS, drawdowns, returns_by

__all__ = [
    "DRAWDOWNS",
    "METRICS",
    "RETURNS",
    "Benchmark",
    "Results",
    "RunReport",
    "drawdowns",
    "from_backtesting",
    "history",
    "is_alive",
    "is_this_process",
    "metrics",
    "returns_by",
    "this_process",
]
