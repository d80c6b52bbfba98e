"""Equity against a walk through every moment in fractions."""

from __future__ import annotations

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
from tests.samples import run
from tests.test_trades import HALF, START, bars_at, frame
from walle import demo
from walle.charts import equity as draw
from walle.fills.equity import EQUITY, equity
from walle.fills.market import Market

MINUTE = timedelta(minutes=1)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]),
        st.integers(1, 10**6).map(lambda units: Decimal(units) / 1000),
        st.integers(1, 10**9).map(lambda units: Decimal(units) / 10**8),
        st.one_of(st.none(), st.integers(0, 500).map(lambda units: Decimal(units) / 10_000)),
        st.sampled_from(["A/USD", "B/USD"]),
        st.integers(0, 12 * 60 - 1),
    ),
    max_size=10,
)


def given_fills(steps: list[tuple[Any, ...]]) -> pl.DataFrame:
    made = frame([(*step[:4], "run") for step in steps])
    if not steps:
        return made
    return made.with_columns(
        symbol=pl.Series([step[4] for step in steps]),
        filled_at=pl.Series([START + timedelta(seconds=step[5]) for step in steps]).cast(pl.Datetime("us", "UTC")),
    )


def market(closes: list[float], missing: set[int]) -> Market:
    whole = bars_at(closes)
    place = pl.int_range(pl.len())
    kept = whole.filter(~place.is_in(list(missing)))
    gone = whole.filter(place.is_in(list(missing)))["timestamp"]
    return Market("1m", kept, pl.DataFrame({"start": gone, "end": gone + MINUTE}))


@settings(max_examples=examples(150), deadline=None)
@given(
    steps=_STEPS,
    closes=st.lists(st.integers(1, 10**5), min_size=24, max_size=24),
    missing=st.tuples(st.sets(st.integers(1, 10), max_size=3), st.sets(st.integers(1, 10), max_size=3)),
)
def test_equity_is_cash_and_what_is_held_at_every_close_and_null_in_a_hole(
    steps: list[tuple[Any, ...]], closes: list[int], missing: tuple[set[int], set[int]]
) -> None:
    names = ("A/USD", "B/USD")
    prices = {name: [close / 100 for close in closes[12 * n : 12 * n + 12]] for n, name in enumerate(names)}
    holes = dict(zip(names, missing, strict=True))
    markets = {name: market(prices[name], holes[name]) for name in names}
    found = equity(given_fills(steps), markets, starting_cash=Decimal(1000))
    assert found.schema == EQUITY
    traded = {step[4] for step in steps}
    assert found["time"].to_list() == ([START + MINUTE * (n + 1) for n in range(12)] if traded else [])
    for row in found.iter_rows(named=True):
        place = (row["time"] - START) // MINUTE - 1
        before = [step for step in steps if START + timedelta(seconds=step[5]) < row["time"]]
        cash, fees = Fraction(1000), Fraction(0)
        held = dict.fromkeys(names, Fraction(0))
        for side, price, quantity, commission, symbol, _ in before:
            sign = 1 if side == "buy" else -1
            cash -= sign * Fraction(price) * Fraction(quantity) + Fraction(commission or 0)
            fees += Fraction(commission or 0)
            held[symbol] += sign * Fraction(quantity)
        assert abs(Fraction(row["cash"]) - cash) <= HALF
        assert Fraction(row["fees"]) == fees
        assert row["fills"] == len(before)
        unmarked = [name for name in names if held[name] and place in holes[name]]
        assert row["unmarked"] == unmarked
        value = sum((held[name] * Fraction(repr(prices[name][place])) for name in names), Fraction(0))
        if unmarked:
            assert row["equity"] is None and row["position_value"] is None
        else:
            assert abs(Fraction(row["position_value"]) - value) <= HALF
            assert abs(Fraction(row["equity"]) - (cash + value)) <= HALF


def test_fees_in_another_currency_are_counted_and_not_added() -> None:
    steps = [("buy", Decimal(100), Decimal(1), Decimal(1), "A/USD", 30)]
    fills = given_fills(steps).with_columns(commission_currency=pl.lit("BNB"))
    row = equity(fills, {"A/USD": market([100.0] * 12, set())}).row(-1, named=True)
    assert (row["cash"], row["fees"], row["foreign_fees"]) == (Decimal(-100), Decimal(0), 1)


def test_prices_of_two_currencies_are_not_added_up() -> None:
    steps = [("buy", Decimal(n), Decimal(1), None, name, 1) for n, name in enumerate(("A/USD", "B/EUR"), 1)]
    fills, markets = given_fills(steps), {name: market([3.0] * 12, set()) for name in ("A/USD", "B/EUR")}
    found = equity(fills, markets, starting_cash={"EUR": Decimal(100)})
    last = found.filter(time=found["time"].max()).select("currency", "cash", "equity").rows()
    assert last == [("EUR", Decimal(98), Decimal(101)), ("USD", Decimal(-1), Decimal(2))]
    with pytest.raises(walle.InputError, match=r"trades in EUR and USD; .*starting_cash=\{'EUR': Decimal\('100'\)\}"):
        equity(fills, markets, starting_cash=Decimal(100))


def test_the_sample_backtest_ends_with_what_it_earned_and_its_orphan_is_counted(store: walle.Store) -> None:
    demo.load(store)
    found = store.runs.equity("bt-sma-eth-001")
    trades = store.fills.trades("bt-sma-eth-001")
    earned = sum((Fraction(v) for c in ("pnl_gross", "unrealised") for v in trades[c].drop_nulls()), Fraction(0))
    paid = sum((Fraction(v) for v in store.fills.read("bt-sma-eth-001")["commission"].drop_nulls()), Fraction(0))
    last = found.row(-1, named=True)
    assert Fraction(last["equity"]) == 50_000 + earned - paid
    assert (last["fills"], last["orphan_fills"], last["foreign_fees"]) == (193, 1, 0)
    holes = found.filter(pl.col("equity").is_null())
    assert set(holes["time"]) <= set(store.bars.gaps("ETH/USD", "1m")["end"])
    assert holes["unmarked"].to_list() == [["ETH/USD"]] * holes.height and holes.height
    assert "cannot be marked" in repr(draw(found))
    assert store.runs.equity("bt-sma-eth-001", starting_cash=0).row(-1, named=True)["equity"] == last["equity"] - 50_000


def test_a_closed_market_keeps_its_last_close(store: walle.Store) -> None:
    demo.load(store)
    found = store.runs.equity("paper-sma-stocks-002")
    assert found["equity"].null_count() == 0
    assert found.height == store.bars.count("ACME", "1m")


def test_bad_input_is_named_and_nothing_gives_an_empty_frame(store: walle.Store) -> None:
    demo.load(store)
    with pytest.raises(walle.UnknownRun, match="bt-sma-eth-001"):
        store.runs.equity("bt-sma-eth-1")
    with pytest.raises(walle.InputError, match="give a Decimal"):
        store.runs.equity("bt-sma-eth-001", starting_cash=0.5)  # type: ignore[arg-type]  # wrong on purpose
    store.runs.save(run(7, config={"starting_cash": "plenty"}))
    with pytest.raises(walle.InputError, match="'plenty', not a number"):
        store.runs.equity(run(7).id)
    nothing = store.runs.equity(run(7).id, starting_cash=Decimal(1))
    assert nothing.is_empty() and nothing.schema == EQUITY
    assert store.runs.equity("bt-sma-eth-001", timeframe="1h").is_empty()
