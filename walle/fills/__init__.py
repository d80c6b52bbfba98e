"""Orders and fills: exact records, round trips, trading costs, and an audit of what cannot be true.

`store.orders` and `store.fills` store and read them (see `walle.store.Orders` and `walle.store.Fills`). The functions
of this package compute the same reports from frames, without a store.

```python
from datetime import UTC, datetime
from decimal import Decimal

import polars as pl
import walle
from walle import demo

store = walle.connect("research.db")
demo.load(store)  # the sample bars, so that there is a market to compare with
store.runs.save(walle.Run(id="sma-1", strategy_id="sma", mode="backtest"))
now = datetime(2025, 11, 20, 12, 0, tzinfo=UTC)
store.orders.save(
    walle.Order(
        id="o-1",
        client_order_id="c-1",
        run_id="sma-1",
        symbol="BTC/USD",
        side="buy",
        order_type="market",
        qty=Decimal("0.5"),
        filled_qty=Decimal("0.5"),
        filled_avg_price=Decimal("91234.5"),
        status="filled",
        created_at=now,
        submitted_at=now,
        filled_at=now,
    )
)
fill = walle.Fill(
    id="f-1",
    order_id="o-1",
    run_id="sma-1",
    symbol="BTC/USD",
    side="buy",
    price=Decimal("91234.5"),
    quantity=Decimal("0.5"),
    commission=Decimal("36.49"),
    commission_currency="USD",
    filled_at=now,
)
store.fills.append(fill)
store.fills.append(fill)  # repeating it changes nothing; the same id with other content raises FillConflict

fills = store.fills.read("sma-1")  # a Polars frame; price and quantity are Decimal(38, 18)
print(walle.trim_zeros(fills), walle.to_float(fills)["price"].mean())
print(store.fills.audit("sma-1"))  # what cannot be true: rule, severity, order, fill, evidence, a sentence
print(store.fills.trades("sma-1", method="fifo"))  # round trips, and what is still open
print(store.fills.costs("sma-1", by="order"))  # against arrival, interval VWAP, open and close
print(store.fills.shortfall("sma-1"))  # what each order lost: delay, trading, opportunity, fees
```

## Records

- **Exact.** Orders and fills are also accepted as Polars frames with exact columns: Decimal, integer or text, never
  floats.
- **Orders.** An order is a snapshot. Its `filled_qty` never falls, a terminal status never changes
  (`walle.StaleSnapshot`), and its identity stays the same.
- **Fills.** Fills are append only. The same fill again changes nothing, and the same id with other content raises
  `walle.FillConflict`.
- **Corrections.** `store.fills.correct("f-1", by=fill, reason="...")` says that a fill is wrong and stores the one that
  stands in its place, under an id of its own; without `by` the trade was busted. The wrong fill stays as it was
  written. Every read and reckoning leaves it out, except `read(corrected=False)` and the history of the run.
- **What else an engine says.** `extra` holds any JSON object, of a fill or an order:
  `walle.Fill(..., extra={"signal": "x"})`. Frames have it as JSON text, and an ingest takes JSON texts or structs. A
  fill that is sent again without one is the same fill; a snapshot of an order that has none, or no `account`, leaves
  what was said before.
- **When it became known.** `recorded_at` is the database's time at which a fill, or the last snapshot of an order, was
  stored. `read`, `trades`, `costs` and `audit` of `store.fills`, `store.cash.read`, `store.actions.read`, and
  `store.runs.equity`, `ledger`, `metrics`, `drawdowns` and `returns` take `as_of=`, and then know only what had been
  recorded by then: `store.fills.read("sma-1", as_of="2025-12-01")`. A correction that was recorded later is not
  applied. Fills that another program or an older WallE wrote have no such time: they count always, and a
  `walle.UnrecordedWarning` says how many. The clock of SQLite counts milliseconds. What a transaction wrote counts from
  the time of its statement, and is seen from its commit on.
- **No cross-checks on writing.** A fill may arrive before its order, or contradict it, as an engine's facts sometimes
  do. WallE keeps it as it came, and the audit reports it.

## Tables of other programs

`store.orders.ingest(frame)` and `store.fills.ingest(frame)` read the tables of other programs, from Polars, pandas or
Arrow:

```python
trades = pl.DataFrame(
    {
        "trade_id": ["t-1", "t-2"],
        "order_id": ["o-1", "o-2"],
        "pair": ["BTC/USD", "BTC/USD"],
        "side": ["buy", "sell"],
        "rate": [91234.5, 91480.1],
        "amount": [0.1, 0.1],
        "time": [datetime(2025, 11, 20, 12), datetime(2025, 11, 20, 13)],
    }
)
report = store.fills.ingest(
    trades,
    run_id="bot-7",
    columns={"trade_id": "id", "pair": "symbol", "rate": "price", "amount": "quantity", "time": "filled_at"},
    timezone="UTC",
    floats="shortest",  # 0.1 is 0.1; without this option money in floats is refused
    on_invalid="quarantine",
)
print(report, report.conflict_rows, report.rejected_rows)  # what was kept, which rows are not fills, and why
```

## Trades, costs and shortfall

`trades` matches fills to round trips by `fifo`, `lifo` or `average`. Each has its P&L gross and net, its fees, its
holding time, and its maximum adverse and favourable excursion from the bars. A fill that flips the position is split,
and the open remainder is valued at the last close. All arithmetic is exact and rounded once, half-even at 18 places.
Commissions in two currencies are never added up. A trade is a pair of fills (`by="lot"`), a pair of orders
(`by="order"`), or all from flat to flat (`by="flat"`).

What a symbol is decides what a trade earns: the multiplier of a contract, whether it is inverse, the currency in which
it settles (`walle.instruments`). A commission in the base of its own pair leaves the position. A split keeps the cost
of what is held, where the run says on which prices it traded (`Run(prices="raw")`).

`costs` measures fills, orders or a whole run against the market; a cost above 0 is worse than the benchmark.
`shortfall` is Perold's implementation shortfall, and its parts add up to it exactly.

Where a bar is missing, the value is null and `reason` says why.

## The audit

`store.fills.audit` and `walle audit` compare fills with their orders, the bars, the calendar, the event log and time.
They report fills

- of an unknown order, beyond the quantity of the order, or off its filled quantity or average price;
- on another side, of another symbol or in another run than their order, or under another name of an instrument;
- before the submission or after the end of the order, late for its time in force, or in the future;
- beyond the limit, with a stop that was not reached, outside the low and high of their bar, in a hole of the bars, or
  while the market was closed; off the tick or lot size; a run whose fills are all at the extremes of their bars;
- twice: an execution id, the same execution under a new id, a purchase and a sale with oneself;
- large for the volume, or with a missing or implausible commission, one unlike its peers, or in a strange currency;
- whose price, quantity or commission is not what their event says, and those that only an event knows;

and orders that contradict themselves, their fills or their events: rejected with a fill, cancelled though filled whole,
filled without a time, a limit order without a limit.

Consistent fills have no finding, whatever an engine's habits: a fill may be stamped with a bar's end, a date or the
close; averages may be rounded; an amended limit is the one in force according to the events. What a source does not
tell at all, such as orders or commissions, is one finding of the severity info for the run.

A finding that is no fault, or that was dealt with, is answered once and for all by its `key`. The audit then marks it
as `answered`, and `walle audit` ends with exit code 1 only for errors that are not:

```python
found = store.fills.audit("bt-sma-eth-001").filter(pl.col("rule") == "outside_bar")
store.fills.acknowledge(found, "the venue's own price: its feed was late")
print(store.fills.audit("bt-sma-eth-001").select("key", "answered", "answer"), store.fills.answers())
store.fills.acknowledge(found, "the feed was not late after all", withdraw=True)
```

`walle audit --help` lists the rules. The audit also reports the fills that it could not compare with any bar.
Thresholds are arguments (`max_volume_share=Decimal("0.1")`), and a rule of your own is a function over whole columns:

```python
from walle.fills import rule


@rule("odd_lot", "warning")
def odd_lot(evidence):
    "The quantity is not a whole number."
    odd = evidence.fills.filter(pl.col("quantity") % 1 != 0)
    return odd.select("run_id", "order_id", fill_id="id", sentence=pl.format("fill {} is an odd lot.", "id"))


print(store.fills.audit(extra_rules=[odd_lot]).select("rule", "severity", "sentence"))
store.close()
```
"""

from walle.fills.audit import FINDINGS, Rule, audit, rule
from walle.fills.benchmarks import BENCHMARKS
from walle.fills.coerce import fills_frame, orders_frame
from walle.fills.costs import COSTS, costs
from walle.fills.report import WriteReport
from walle.fills.rules import RULES
from walle.fills.shortfall import SHORTFALL, shortfall
from walle.fills.trades import TRADES, trades

__all__ = [
    "BENCHMARKS",
    "COSTS",
    "FINDINGS",
    "RULES",
    "SHORTFALL",
    "TRADES",
    "Rule",
    "WriteReport",
    "audit",
    "costs",
    "fills_frame",
    "orders_frame",
    "rule",
    "shortfall",
    "trades",
]
