"""Instruments: what a symbol is, from other libraries' descriptions of it; with cash flows and corporate actions.

`store.instruments` keeps what symbols are (see `walle.store.Instruments`), `store.cash` the cash flows that are no
trades (`walle.store.Cash`), and `store.actions` splits and dividends (`walle.store.Actions`).

```python
from datetime import UTC, date, datetime
from decimal import Decimal

import walle

store = walle.connect("research.db")
future = walle.Instrument(
    symbol="ESZ5",
    kind="future",
    quote="USD",
    multiplier=Decimal(50),
    tick_size=Decimal("0.25"),
    lot_size=Decimal(1),
    expires_at=datetime(2025, 12, 19, 14, 30, tzinfo=UTC),
    aliases=("ES 12-25",),
)
store.instruments.save(future)
print(store.instruments.get("ES 12-25"))  # an alias leads to its symbol
```

## Instruments

A fact that is stored (`store.instruments.save`) counts. Where none is, a symbol says what its text says, in the
notation of ccxt:

| symbol | is |
|---|---|
| `BTC/USDT` | spot: BTC, priced and settled in USDT |
| `BTC/USDT:USDT` | a perpetual that settles in its quote currency (linear) |
| `BTC/USD:BTC` | a perpetual that settles in its base currency (inverse) |
| `BTC/USDT:USDT-260327` | a future that expires on 27 March 2026 |
| `BTC/USD:BTC-260327-60000-C` | an option |

Anything else is unknown, and stays unknown: nothing is guessed from `AAPL` or `BTCUSDT`. Without a stored multiplier, a
quantity counts the units that the symbol names: of the base, and for an inverse contract of the quote currency.

- **Facts stay.** Other facts of a symbol need a reason: `store.instruments.save(future, reason="...")`. The earlier row
  stays, `read(history=True)` shows it, and `read(as_of=...)` shows what was known at some time.
- **Changes in the market.** A contract whose multiplier changes has a further row with `valid_from`, and
  `get(symbol, at=...)` returns the facts that hold at that time.
- **ccxt.** `store.instruments.save(exchange.load_markets())` reads a mapping of ccxt markets. The contract size is the
  multiplier, and the exchange's own id an alias. `precision` is read as a step where it is below 1, such as 0.01: from
  1 on it may as well be a number of decimal places, which only the exchange's `precisionMode` tells.
- **Nautilus.** `store.instruments.save(cache.instruments())` reads the instruments of NautilusTrader. The symbol is
  that of the id; the whole id (`BTCUSDT-PERP.BINANCE`) and the raw symbol are aliases.

## Cash flows

```python
paid = walle.CashFlow(
    id="funding-1",
    time=datetime(2025, 11, 20, 8, tzinfo=UTC),
    kind="funding",
    amount=Decimal("-1.25"),
    currency="USDT",
    run_id="sma-1",
)
store.cash.append(paid)  # repeating it changes nothing; the same id with other content raises CashFlowConflict
store.cash.correct("funding-1", reason="booked twice")  # or by=, a cash flow with an id of its own
print(store.cash.read("sma-1").height, store.cash.read("sma-1", corrected=False).height)  # 0 1
```

A cash flow in what a symbol trades is no money, but changes the position: coins that come by a transfer
(`currency="BTC"` of a run that trades `BTC/USD`), shares with which an account opens (`kind="opening"`,
`currency="AAPL"`). They are marked, sold and split like all others; what they cost is unknown, and so is their profit.

`store.cash.ingest` reads the tables of other programs, with the arguments of `store.fills.ingest`.

## Corporate actions

```python
split = walle.CorporateAction(id="aapl-2020", symbol="AAPL", kind="split", ex_date=date(2020, 8, 31), ratio=Decimal(4))
store.actions.append(split)
print(store.actions.read("AAPL", start="2020-01-01"))
store.close()
```

An action with `supersedes=` and a `reason=` corrects an earlier one, which reads then leave out. The actions adjust
bars on their way out: `store.bars.read("AAPL", "1d", adjust="splits")`, or `"all"` for dividends, too (`walle.bars`).
"""

from walle.instruments.facts import FACTS, facts_of, own_fills, said_by_symbols, worth
from walle.instruments.sources import instruments_in

__all__ = ["FACTS", "facts_of", "instruments_in", "own_fills", "said_by_symbols", "worth"]
