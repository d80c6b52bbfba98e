"""The equity of many runs at once is that of each."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.examples import examples
from walle.bars.coverage import find_gaps
from walle.calendars import calendar
from walle.fills.equities import EQUITIES, Account, are_plain, equities
from walle.fills.equity import equity
from walle.fills.market import Market
from walle.frames import BARS, FILLS
from walle.repositories.runs.markets import _cut

START = datetime(2025, 3, 3, 14, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SYMBOLS = ("BTC/USD", "ETH/USD")

Order = tuple[int, int, bool, int, int]


def market(missing: Sequence[int]) -> Market:
    numbers = [number for number in range(40) if number not in missing]
    prices = [100 + number * number % 17 / 4 for number in numbers]
    columns = {"timestamp": [START + MINUTE * number for number in numbers]}
    every = {**columns, **dict.fromkeys(("open", "high", "low", "close", "volume"), prices)}
    bars = pl.DataFrame(every, schema={name: BARS[name] for name in every})
    gaps = find_gaps(bars["timestamp"], "1m").select("start", "end")
    return Market("1m", bars, gaps, None, (bars["timestamp"][0], bars["timestamp"][-1]))


def fills_of(orders: Sequence[Order]) -> pl.DataFrame:
    rows = [
        {
            "id": f"fill-{number:03d}", "order_id": "o", "run_id": "r", "symbol": SYMBOLS[symbol],
            "side": "buy" if buys else "sell", "price": Decimal(price) / 100, "quantity": Decimal(size) / 8,
            "commission": Decimal(size) / 1000, "commission_currency": None,
            "filled_at": START + timedelta(seconds=second),
        }
        for number, (symbol, second, buys, price, size) in enumerate(orders)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=FILLS).sort("filled_at", "id")


orders = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 2500), st.booleans(), st.integers(1, 20_000), st.integers(1, 40)),
    min_size=1,
    max_size=8,
)


@settings(max_examples=examples(100), deadline=None)
@given(
    runs=st.lists(
        st.tuples(orders, st.integers(-3, 30), st.integers(0, 45), st.integers(0, 9999)), min_size=1, max_size=4
    ),
    missing=st.lists(st.integers(1, 38), max_size=12),
)
def test_many_runs_are_worth_what_each_is(runs: list[tuple[list[Order], int, int, int]], missing: list[int]) -> None:
    whole = {SYMBOLS[0]: market(missing), SYMBOLS[1]: market(missing[:2])}
    accounts = []
    for deals, begin, last, cash in runs:
        fills = fills_of(deals)
        lo, hi = START + MINUTE * begin, START + MINUTE * (begin + last + 1)
        mine = {name: _cut(whole[name], calendar(), lo, hi) for name in fills["symbol"].unique().sort()}
        accounts.append(Account(fills, mine, Fraction(cash, 100)))
    for account, found in zip(accounts, equities(accounts, whole), strict=True):
        start = Decimal(account.cash.numerator) / Decimal(account.cash.denominator)
        expected = equity(account.fills, account.markets, starting_cash=start)
        assert_frame_equal(found, expected.select(list(EQUITIES)))


def test_only_runs_that_say_all_in_one_currency_are_plain() -> None:
    plain = fills_of([(0, 0, True, 100, 1)])
    foreign = plain.with_columns(commission_currency=pl.lit("BNB"))
    future = plain.with_columns(symbol=pl.lit("BTC/USD:USD"))
    nameless = plain.with_columns(symbol=pl.lit(None, pl.String()))
    every = [plain, foreign, future, nameless, plain, plain.clear()]
    currencies = ["USD", "USD", "USD", "USD", None, "USD"]
    assert are_plain(every, currencies) == [True, False, False, False, False, False]
