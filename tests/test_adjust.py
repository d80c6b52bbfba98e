"""Factors of corporate actions, held against a model that reckons every bar by itself in fractions."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from walle.bars.adjust import ACTIONS, CLOSES, FACTORS, adjusted, close_ends, factors_at, factors_of, is_stale
from walle.calendars import calendar
from walle.errors import InputError
from walle.frames import INSTANT

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PRICES = ("open", "high", "low", "close")


def actions(*rows: tuple[str, int, str, str]) -> pl.DataFrame:
    """Make actions of rows of symbol, day, kind and ratio or amount."""
    made = [
        {
            "id": f"a{number}",
            "symbol": symbol,
            "kind": kind,
            "moment": START + DAY * day,
            "ratio": Decimal(value) if kind == "split" else None,
            "amount": Decimal(value) if kind == "dividend" else None,
            "currency": "USD" if kind == "dividend" else None,
        }
        for number, (symbol, day, kind, value) in enumerate(rows)
    ]
    return pl.DataFrame(made, schema=ACTIONS)


def closes(*rows: tuple[str, int, int, float]) -> pl.DataFrame:
    """Make closes of daily bars of rows of symbol, day of the action, day of the bar and close."""
    made = [
        (name, START + DAY * at, START + DAY * day, close, START + DAY * (day + 1)) for name, at, day, close in rows
    ]
    return pl.DataFrame(made, schema=CLOSES, orient="row")


def model(symbol: str, day: int, given_actions: list[tuple[str, int, str, str]], bars: dict[Any, float]) -> Fraction:
    """Return the price factor of the daily bar of a day, by the rules as they are told."""
    factor = Fraction(1)
    for at in sorted({at for name, at, _, _ in given_actions if name == symbol and at > day}):
        mine = [(kind, Fraction(value)) for name, when, kind, value in given_actions if (name, when) == (symbol, at)]
        paid = sum((value for kind, value in mine if kind == "dividend"), start=Fraction(0))
        last = max((on for name, on in bars if name == symbol and on < at), default=None)
        if paid and last is not None:
            close = Fraction(repr(bars[symbol, last]))
            for name, when, kind, value in given_actions:  # the close in shares as they were when the dividend was paid
                if name == symbol and kind == "split" and last < when < at:
                    close /= Fraction(value)
            factor *= 1 - paid / close
        for kind, number in mine:
            if kind == "split":
                factor /= number
    return factor


_numbers = st.decimals("0.01", "20", places=2).map(str)
_actions = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("AB"), st.integers(0, 30), st.just("split"), _numbers),
        st.tuples(st.sampled_from("AB"), st.integers(0, 30), st.just("dividend"), st.sampled_from(["0.01", "0.333"])),
    ),
    max_size=8,
)
_bars = st.dictionaries(
    st.tuples(st.sampled_from("ABC"), st.integers(0, 30)), st.floats(1e6, 1e9, allow_subnormal=False), min_size=1
)


@given(_actions, _bars)
@settings(max_examples=examples(300))
def test_adjusted_bars_are_those_of_a_model_in_fractions(
    listed: list[tuple[str, int, str, str]], bars: dict[tuple[str, int], float]
) -> None:
    ordered = sorted(bars)
    frame = pl.DataFrame(
        {
            "symbol": [name for name, _ in ordered],
            "timestamp": pl.Series([START + DAY * day for _, day in ordered], dtype=INSTANT),
            **{name: [bars[key] for key in ordered] for name in PRICES},
            "volume": [float(day) for _, day in ordered],
        }
    )
    before = []
    for symbol, at in sorted({(name, at) for name, at, _, _ in listed}):
        days = [day for name, day in bars if name == symbol and day < at]
        if days:
            before.append((symbol, at, max(days), bars[symbol, max(days)]))
    factors = factors_of(actions(*listed), closes(*before))
    assert factors.schema == FACTORS
    found = adjusted(frame, factors)
    assert found.columns == frame.columns
    for (symbol, day), row in zip(ordered, found.iter_rows(named=True), strict=True):
        exact = model(symbol, day, listed, bars)
        shares = math.prod(
            (Fraction(value) for name, at, kind, value in listed if (name, kind) == (symbol, "split") and at > day),
            start=Fraction(1),
        )
        # two roundings: of the exact factor, and of the product
        assert {row[name] for name in PRICES} == {bars[symbol, day] * float(exact)}
        assert row["volume"] == day * float(shares)
    assert adjusted(frame.lazy(), factors).collect().equals(found)
    for symbol in "ABC":
        own = frame.filter(symbol=symbol)
        assert adjusted(own.drop("symbol"), factors, symbol=symbol).equals(found.filter(symbol=symbol).drop("symbol"))


def test_the_example_of_yahoo() -> None:
    factors = factors_of(actions(("MSFT", 5, "dividend", "0.08")), closes(("MSFT", 5, 4, 24.96)))
    assert factors.select("price", "volume").rows() == [(float(1 - Fraction("0.08") / Fraction("24.96")), 1.0)]
    assert round(factors["price"][0], 4) == 0.9968


def test_a_split_of_1_for_10_multiplies_earlier_prices() -> None:
    factors = factors_of(actions(("A", 5, "split", "0.1")), closes())
    assert factors.select("price", "volume").rows() == [(10.0, 0.1)]


def test_a_dividend_on_the_day_of_a_split_is_paid_on_the_shares_before_it() -> None:
    """At 100, 1 is paid a share, and 4 shares come for each: a share is worth (100 - 1) / 4 after it."""
    both = actions(("A", 5, "split", "4"), ("A", 5, "dividend", "1"))
    factors = factors_of(both, closes(("A", 5, 4, 100.0)))
    assert factors.select("price", "volume").rows() == [(99 / 400, 4.0)]


def test_the_dividends_of_a_day_are_added_up() -> None:
    both = actions(("A", 5, "dividend", "1"), ("A", 5, "dividend", "4"))
    assert factors_of(both, closes(("A", 5, 4, 100.0)))["price"].to_list() == [0.95]


def test_a_close_older_than_a_split_counts_in_new_shares() -> None:
    """At 100 before a split of 4, a dividend of 1 a new share is a 25th."""
    both = actions(("A", 5, "split", "4"), ("A", 9, "dividend", "1"))
    factors = factors_of(both, closes(("A", 5, 3, 100.0), ("A", 9, 3, 100.0)))
    assert factors["price"].to_list() == [0.24, 0.96]


def test_a_dividend_without_an_earlier_close_adjusts_nothing() -> None:
    assert factors_of(actions(("A", 5, "dividend", "1")), closes()).is_empty()


@pytest.mark.parametrize("amount", ["100", "100.01"])
def test_a_dividend_that_is_not_below_the_close_is_refused(amount: str) -> None:
    told = r"dividend of A on 2024-01-06 \('a0'\) is 100.*not below the close before it, 100.*adjust='splits'"
    with pytest.raises(InputError, match=told):
        factors_of(actions(("A", 5, "dividend", amount)), closes(("A", 5, 4, 100.0)))


@pytest.mark.parametrize("ratio", ["1" + "0" * 19, "0." + "0" * 17 + "1"])
def test_ratios_beyond_a_float_are_refused(ratio: str) -> None:
    many = actions(*(("A", day, "split", ratio) for day in range(20)))
    with pytest.raises(InputError, match="splits of A multiply to more than a float holds"):
        factors_of(many, closes())


def test_null_stays_null_and_further_columns_stay_as_they_are() -> None:
    factors = factors_of(actions(("A", 5, "split", "4")), closes())
    bars = pl.DataFrame(
        {
            "timestamp": pl.Series([START, START + 5 * DAY], dtype=INSTANT),
            "close": [100.0, 25.0],
            "volume": [None, 3.0],
            "trades": [7, 8],
        }
    )
    found = adjusted(bars, factors, symbol="A")
    assert found["close"].to_list() == [25.0, 25.0]
    assert found["volume"].to_list() == [None, 3.0]
    assert found["trades"].to_list() == [7, 8]
    assert adjusted(bars, factors, symbol="B").equals(bars)
    times = pl.Series([START + 9 * DAY, None, START], dtype=INSTANT)
    assert factors_at(factors, times, "price").to_list() == [1.0, None, 0.25]


def ends(timeframe: str, opened: datetime, moment: datetime, market: str = "24/7") -> datetime:
    bars = pl.DataFrame({"symbol": ["A"], "moment": [moment], "timestamp": [opened]})
    bars = bars.cast({"moment": INSTANT, "timestamp": INSTANT})
    found: datetime = close_ends(bars, timeframe, {"A": calendar(market)})[0]
    return found


def test_a_bar_ends_with_its_timeframe_or_with_its_session() -> None:
    assert ends("1w", START, START + 2 * DAY) == START + 7 * DAY
    assert ends("1M", datetime(2024, 2, 1, tzinfo=UTC), START + 40 * DAY) == datetime(2024, 3, 1, tzinfo=UTC)
    late = datetime(2024, 1, 2, 20, 30, tzinfo=UTC)  # half an hour before the close in New York
    midnight = datetime(2024, 1, 3, tzinfo=UTC)
    assert ends("6h", late, midnight) == late + timedelta(hours=6)
    assert ends("6h", late, midnight, "XNYS") == midnight


def test_a_close_is_old_if_a_session_lies_after_it() -> None:
    new_york = calendar("XNYS")
    friday, monday = datetime(2024, 1, 5, tzinfo=UTC), datetime(2024, 1, 8, tzinfo=UTC)
    row = {"symbol": "A", "moment": monday, "timestamp": friday, "close": 1.0, "ended": friday + DAY}
    assert not is_stale(row, "1d", new_york)
    assert is_stale({**row, "timestamp": friday - DAY, "ended": friday}, "1d", new_york)
    at_three = friday.replace(hour=20)
    assert not is_stale({**row, "timestamp": at_three, "ended": at_three}, "1h", new_york)
    assert is_stale({**row, "timestamp": at_three - DAY, "ended": at_three - DAY}, "1h", new_york)
    for market in ("24/7", "24/5"):  # which say nothing of weekends and holidays of this market
        assert not is_stale({**row, "ended": monday - 7 * DAY}, "1d", calendar(market))
        assert is_stale({**row, "ended": monday - 8 * DAY}, "1d", calendar(market))
    assert not is_stale({**row, "ended": monday - 30 * DAY}, "1M", new_york)
