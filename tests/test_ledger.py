"""The ledger and the equity of random runs against a walk in fractions, step by step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import walle
from tests.examples import examples
from tests.test_trades import HALF, START, bars_at, no_gaps
from walle.fills.equity import equity
from walle.fills.ledger import LEDGER, ledger
from walle.fills.market import Market
from walle.fills.trades import trades
from walle.frames import DECIMAL, FILLS, INSTANT
from walle.instruments import FACTS, facts_of

MINUTE = timedelta(minutes=1)
BARS = 12
SYMBOLS = ("A/USD", "B/USD:USD", "C/USD:C", "S")  # spot, linear, inverse, and a stock that splits
SETTLE = dict(zip(SYMBOLS, ("USD", "USD", "C", "USD"), strict=True))
FACTOR = dict(zip(SYMBOLS, (1, 5, 10, 1), strict=True))
_FILLS = st.lists(
    st.tuples(
        st.sampled_from(SYMBOLS),
        st.sampled_from([1, -1]),
        st.integers(1, 10**4).map(lambda units: Decimal(units) / 100),  # price
        st.integers(1, 10**4).map(lambda units: Decimal(units) / 1000),  # quantity
        st.integers(-50, 500).map(lambda units: Decimal(units) / 10**5),  # fee, or rebate
        st.sampled_from([None, "USD", "A", "BNB"]),
        st.integers(0, BARS * 60 - 1),
    ),
    max_size=12,
)
_FLOWS = st.lists(
    st.tuples(
        st.sampled_from(["USD", "BNB", "C"]),
        st.integers(-(10**5), 10**5).map(lambda units: Decimal(units) / 100),
        st.integers(0, BARS * 60 - 1),
    ),
    max_size=3,
)
_SPLITS = st.lists(st.tuples(st.sampled_from(["2", "0.5", "3", "1.5"]).map(Decimal), st.integers(1, 11)), max_size=2)


def rounded(value: Fraction) -> Fraction:
    return Fraction(round(value * 10**18), 10**18)


class Walk:
    """Holdings in fractions, moved one event after the other."""

    def __init__(self, start: Mapping[str | None, Decimal]) -> None:
        self.cash: dict[str | None, Fraction] = defaultdict(
            Fraction, {name: Fraction(held) for name, held in start.items()}
        )
        self.held: dict[str, Fraction] = defaultdict(Fraction)
        self.lots: dict[str, list[list[Fraction]]] = defaultdict(list)

    def fill(
        self, symbol: str, sign: int, price: Decimal, quantity: Decimal, fee: Decimal, paid_in: str | None
    ) -> None:
        at, amount, settle = Fraction(price), Fraction(quantity) * sign, SETTLE[symbol]
        self.held[symbol] += amount
        if ":" in symbol:
            self.contract(symbol, at, amount)
        else:
            self.cash[settle] -= rounded(at * amount)
        if paid_in == "A" and symbol == "A/USD":
            self.held[symbol] -= Fraction(fee)
        else:
            self.cash[paid_in or settle] -= Fraction(fee)

    def contract(self, symbol: str, at: Fraction, amount: Fraction) -> None:
        lots = self.lots[symbol]
        while amount and lots and (lots[0][0] > 0) != (amount > 0):
            size, entry = lots[0]
            part = min(abs(size), abs(amount)) * (1 if size > 0 else -1)
            self.cash[SETTLE[symbol]] += rounded(self.gain(symbol, part, entry, at))
            lots[0][0] -= part
            amount += part
            if not lots[0][0]:
                lots.pop(0)
        if amount:
            lots.append([amount, at])

    def gain(self, symbol: str, size: Fraction, entry: Fraction, close: Fraction) -> Fraction:
        moved = 1 / entry - 1 / close if symbol.startswith("C") else close - entry
        return size * moved * FACTOR[symbol]

    def worth(self, currency: str | None, closes: Mapping[str, Fraction]) -> Fraction:
        total = self.cash[currency]
        for symbol in SYMBOLS:
            if SETTLE[symbol] == currency and ":" in symbol:
                gains = (self.gain(symbol, size, entry, closes[symbol]) for size, entry in self.lots[symbol])
                total += sum(gains, Fraction(0))
            elif SETTLE[symbol] == currency:
                total += self.held[symbol] * closes[symbol]
        return total


def frames(fills: list[Any], flows: list[Any], splits: list[Any]) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    made = [
        {
            **{
                "id": f"f{n:02}",
                "order_id": f"o{n}",
                "run_id": "r",
                "symbol": symbol,
                "price": price,
                "quantity": size,
            },
            **{"side": "buy" if sign > 0 else "sell", "commission": fee, "commission_currency": paid_in},
            **{"filled_at": START + timedelta(seconds=at), "sequence": n},
        }
        for n, (symbol, sign, price, size, fee, paid_in, at) in enumerate(fills)
    ]
    paid = [
        {"id": f"c{n}", "time": START + timedelta(seconds=at), "kind": "adjustment", "amount": amount, "currency": name}
        for n, (name, amount, at) in enumerate(flows)
    ]
    acted = [
        {"id": f"s{n}", "symbol": "S", "kind": "split", "ratio": ratio, "effective": START + MINUTE * minute}
        for n, (ratio, minute) in enumerate(splits)
    ]
    texts = {name: pl.String() for name in ("id", "kind", "currency", "symbol", "action_id")}
    return (
        pl.DataFrame(made, schema=FILLS),
        pl.DataFrame(paid, schema={**texts, "time": INSTANT, "amount": DECIMAL}),
        pl.DataFrame(acted, schema={**texts, "ratio": DECIMAL, "amount": DECIMAL, "effective": INSTANT}),
    )


def facts() -> pl.DataFrame:
    known = facts_of(frames([(name, 1, Decimal(1), Decimal(1), Decimal(0), None, 0) for name in SYMBOLS], [], [])[0])
    stock = pl.col("symbol") == "S"
    factors = pl.col("symbol").replace_strict(FACTOR, return_dtype=pl.Int64).cast(DECIMAL)
    settle = pl.when(stock).then(pl.lit("USD")).otherwise("settle")
    return known.with_columns(multiplier=factors, settle=settle).select(list(FACTS))


@settings(max_examples=examples(150), deadline=None)
@given(fills=_FILLS, flows=_FLOWS, splits=_SPLITS, close=st.lists(st.integers(1, 10**4), min_size=48, max_size=48))
def test_every_step_equals_a_walk_in_fractions(
    fills: list[Any], flows: list[Any], splits: list[Any], close: list[int]
) -> None:
    start: dict[str | None, Decimal] = {"USD": Decimal(1000), "C": Decimal(2)}
    made, paid, acted = frames(fills, flows, splits)
    prices = {name: close[12 * n : 12 * n + 12] for n, name in enumerate(SYMBOLS)}
    markets = {name: Market("1m", bars_at([price / 100 for price in prices[name]]), no_gaps()) for name in SYMBOLS}
    beside: dict[str, Any] = {"flows": paid, "actions": acted, "prices": "raw"}
    worth = equity(made, markets, starting_cash=start, facts=facts(), **beside)
    entries = ledger(made, facts(), starting_cash=start, **beside)
    assert entries.schema == LEDGER and entries["sequence"].to_list() == list(range(1, entries.height + 1))
    steps: list[tuple[int, int, int, str, Any]] = [(at, 2, n, "fill", row) for n, (*row, at) in enumerate(fills)]
    steps += [(at, 1, n, "flow", (name, amount)) for n, (name, amount, at) in enumerate(flows)]
    steps += [(60 * minute, 0, n, "split", ratio) for n, (ratio, minute) in enumerate(splits)]
    steps.sort(key=lambda step: step[:3])
    walk = Walk(start)
    for minute in range(1, BARS + 1):
        while steps and steps[0][0] < 60 * minute:
            *_, kind, what = steps.pop(0)
            if kind == "fill":
                walk.fill(*what)
            elif kind == "flow":
                walk.cash[what[0]] += Fraction(what[1])
            else:
                walk.held["S"] += rounded(walk.held["S"] * (Fraction(what) - 1))
        closes = {name: Fraction(prices[name][minute - 1], 100) for name in SYMBOLS}
        for row in worth.filter(time=START + MINUTE * minute).iter_rows(named=True):
            assert Fraction(row["cash"]) == walk.cash[row["currency"]]
            assert abs(Fraction(row["equity"]) - walk.worth(row["currency"], closes)) <= HALF * 4
    sums = dict(entries.filter(book="cash").group_by("asset").agg(pl.col("amount").sum()).iter_rows())
    if entries.height:  # without any, there is no time at which the starting cash could be entered
        assert all(Fraction(sums.get(name, 0)) == amount for name, amount in walk.cash.items())
    held = dict(entries.filter(book="position").group_by("symbol").agg(pl.col("amount").sum()).iter_rows())
    assert all(Fraction(held.get(name, 0)) == amount for name, amount in walk.held.items())
    found = trades(made, markets, facts=facts(), actions=acted, prices="raw")
    for name in ("USD", "C"):
        mine = found.filter(currency=name)
        gained = sum((Fraction(one) for c in ("pnl_gross", "unrealised") for one in mine[c].drop_nulls()), Fraction(0))
        fees = [fee for listed in found["fees_by_currency"] for fee in listed if fee["currency"] == name]
        taken = sum((Fraction(fee["amount"]) for fee in fees), Fraction(0))
        flown = sum((Fraction(amount) for paid_in, amount, _ in flows if paid_in == name), Fraction(0))
        whole = Fraction(start[name]) + flown + gained - taken
        last = {symbol: Fraction(prices[symbol][-1], 100) for symbol in SYMBOLS}
        assert abs(whole - walk.worth(name, last)) <= HALF * (3 * found.height + 4)


def test_what_must_not_be_gives_a_reason() -> None:
    made, _, acted = frames([("S", 1, Decimal(1), Decimal(1), Decimal(0), None, 0)], [], [(Decimal(2), 5)])
    with pytest.raises(walle.InputError, match="lies inside the run"):
        ledger(made, facts(), actions=acted)
    assert ledger(made[:0], facts()).is_empty()
    market = Market("1m", bars_at([1.0] * BARS), no_gaps())
    assert trades(made, {"S": market}, facts=facts(), actions=acted)["reason"][0].startswith("an action lies inside")
    later = acted.with_columns(effective=pl.lit(START + MINUTE * 20, INSTANT))
    assert trades(made, {"S": market}, facts=facts(), actions=later)["reason"][0] is None  # after the last bar
