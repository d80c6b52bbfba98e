"""What symbols are: their currencies, their multiplier, and how a contract settles.

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
"""

from walle.instruments.facts import FACTS, facts_of, own_fills, said_by_symbols

__all__ = ["FACTS", "facts_of", "own_fills", "said_by_symbols"]
