"""Exact columns against fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from walle.errors import InputError, PrecisionError
from walle.exact import Exact, decimals, shortest
from walle.frames import DECIMAL

_UNIT = 10**18
_NUMBERS = st.one_of(
    st.integers(-(10**38) + 1, 10**38 - 1),
    st.integers(-(10**9), 10**9).map(lambda value: value * 10**10),
    st.sampled_from([0, 1, -1, _UNIT, _UNIT // 2, 10**38 - 1]),
)
_COLUMNS = st.lists(st.tuples(_NUMBERS, _NUMBERS, st.integers(0, 3)), max_size=12)


def column(units: list[int]) -> pl.Series:
    texts = [f"{'-' if value < 0 else ''}{abs(value) // _UNIT}.{abs(value) % _UNIT:018d}" for value in units]
    return pl.Series("value", texts, dtype=pl.String).cast(DECIMAL)


def rounded(value: Fraction) -> int | None:
    """Round half-even at 18 places, and tell what no decimal column holds."""
    units = round(value * _UNIT)
    return units if abs(units) < 10**38 else None


@settings(max_examples=examples(300), deadline=None)
@given(_COLUMNS)
def test_sums_products_and_comparisons_equal_those_of_fractions(rows: list[tuple[int, int, int]]) -> None:
    left, right = ([Fraction(row[side], _UNIT) for row in rows] for side in (0, 1))
    one, two = (Exact.of(column([row[side] for row in rows])) for side in (0, 1))
    assert one.fractions() == left
    assert (one + two).fractions() == [a + b for a, b in zip(left, right, strict=True)]
    assert (one - two).fractions() == [a - b for a, b in zip(left, right, strict=True)]
    assert (one * two * one).fractions() == [a * b * a for a, b in zip(left, right, strict=True)]
    assert abs(-one).fractions() == [abs(a) for a in left]
    assert one.compare(two).to_list() == [(a > b) - (a < b) for a, b in zip(left, right, strict=True)]
    products = [a * b for a, b in zip(left, right, strict=True)]
    assert (one * two).sum() == sum(products)
    assert (one * two).cum_sum().fractions() == [sum(products[: end + 1]) for end in range(len(rows))]
    groups = pl.Series([row[2] for row in rows], dtype=pl.Int64)
    sums = [
        sum((p for p, row in zip(products, rows, strict=True) if row[2] == group), Fraction()) for group in range(4)
    ]
    assert (one * two).sum_by(groups, 4).fractions() == sums


@settings(max_examples=examples(300), deadline=None)
@given(_COLUMNS)
def test_a_result_is_rounded_once_and_half_even(rows: list[tuple[int, int, int]]) -> None:
    left, right = ([Fraction(row[side], _UNIT) for row in rows] for side in (0, 1))
    one, two = (Exact.of(column([row[side] for row in rows])) for side in (0, 1))
    products = [rounded(a * b) for a, b in zip(left, right, strict=True)]
    quotients = [rounded(a / b) if b else 0 for a, b in zip(left, right, strict=True)]
    if None in products:
        with pytest.raises(PrecisionError, match="20 integer digits"):
            (one * two).decimal("notional")
    else:
        assert (one * two).decimal().to_physical().to_list() == products
    if None in quotients:
        with pytest.raises(PrecisionError):
            one.over(two)
    else:
        shown = [units if b else None for units, b in zip(quotients, right, strict=True)]
        assert one.over(two, "price").to_physical().to_list() == shown


def test_halves_go_to_the_even_neighbour() -> None:
    half = Exact.of(column([1, 3, -1, -3])) * Exact.of(column([_UNIT // 2] * 4))
    assert half.decimal().to_physical().to_list() == [0, 2, 0, -2]
    assert decimals("x", [Fraction(1, 2 * _UNIT), Fraction(3, 2 * _UNIT), None]).to_physical().to_list() == [0, 2, None]


def test_numbers_can_be_masked_and_taken_by_place() -> None:
    numbers = Exact.of(pl.Series([3, 5, 7]))
    mask = pl.Series([True, None, False])
    assert numbers.where(mask).units() == [3, 0, 0]
    assert numbers.filter(mask).units() == [3]
    assert numbers.gather(pl.Series([2, 0])).units() == [7, 3]
    wide = numbers * 10**40
    assert wide.where(mask).units() == [3 * 10**40, 0, 0]
    assert wide.gather(pl.Series([2, 0])).units() == [7 * 10**40, 3 * 10**40]


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20))
def test_a_float_becomes_what_its_shortest_text_says(values: list[float]) -> None:
    found = shortest(pl.Series(values, dtype=pl.Float64)).to_physical().to_list()
    for value, units in zip(values, found, strict=True):
        if math.isfinite(value) and abs(value) < 1e20:
            assert abs(Fraction(units, _UNIT) - Fraction(repr(value))) <= Fraction(1, 2 * _UNIT)
        else:
            assert units is None


def test_a_price_of_a_file_compares_equal_to_the_same_text() -> None:
    texts = pl.Series(["3255.3", "0.1", "91234.56", "1e-7"])
    assert shortest(texts.cast(pl.Float64)).equals(texts.cast(DECIMAL))


def test_what_is_not_exact_is_refused() -> None:
    with pytest.raises(InputError, match="nulls"):
        Exact.of(pl.Series("price", [1, None]))
    with pytest.raises(InputError, match="Float64"):
        Exact.of(pl.Series("price", [1.5]))
    with pytest.raises(InputError, match="no decimal number"):
        Exact.constant(Fraction(1, 3), 1)
