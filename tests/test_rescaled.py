"""An adjusted download, or one in another unit, is told from vendors that differ."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from typing import Any

import polars as pl
import pytest

from tests.samples import START
from walle.bars.rescaled import RESCALED, rescaled
from walle.errors import RescaledBars
from walle.frames import BAR_CONFLICTS

Values = list[float]


def walk(count: int, price: float = 100.0, places: int = 2, seed: int = 1) -> list[Values]:
    dice, rows = random.Random(seed), []
    for _ in range(count):
        opened, closed = price, price * (1 + dice.uniform(-0.01, 0.01))
        high = max(opened, closed) * (1 + dice.uniform(0, 0.004))
        low = min(opened, closed) * (1 - dice.uniform(0, 0.004))
        rows.append([round(value, places) for value in (opened, high, low, closed)] + [float(dice.randint(500, 9000))])
        price = closed
    return rows


def conflicts(stored: list[Values], given: list[Values], symbol: str = "A") -> pl.DataFrame:
    rows = [
        (symbol, "1d", START + timedelta(days=number), *old, *new)
        for number, (old, new) in enumerate(zip(stored, given, strict=True))
    ]
    return pl.DataFrame(rows, schema=BAR_CONFLICTS, orient="row")


def times(factor: float | Callable[[int], float], places: int | None = None, volume: float = 1.0) -> Callable[..., Any]:
    def change(rows: list[Values]) -> list[Values]:
        changed = []
        for number, row in enumerate(rows):
            by = factor(number) if callable(factor) else factor
            prices = [value * by for value in row[:4]]
            changed.append([value if places is None else round(value, places) for value in prices] + [row[4] * volume])
        return changed

    return change


SPLITS = [
    ("one of ten, five bars", walk(5, 1208.0), times(0.1), 0.1),
    ("rounded to cents", walk(5, 1208.0), times(0.1, 2), 0.1),
    ("volumes the other way", walk(5, 1208.0), times(0.1, 2, 10), 0.1),
    ("three for two", walk(8), times(2 / 3, 2), 2 / 3),
    ("a reverse split", walk(30, 0.42, 4), times(25.0), 25),
    ("cents for dollars", walk(10), times(100.0), 100),
    ("a single bar", walk(1, 300.0), times(0.5, 2), 0.5),
    ("a price that stood still", [[1208.0] * 4 + [1.0]] * 5, times(0.1), 0.1),
    ("a dividend of half a percent", walk(250, 150.0), times(0.995, 6), 0.995),
    ("the same in cents", walk(250, 150.0), times(0.995, 2), 0.995),
    ("three bars before a dividend of two percent", walk(3, 150.0), times(0.98, 4), 0.98),
    ("as float32", walk(60), times(0.25 * (1 + 5e-8)), 0.25),
    ("three for two, a single bar", walk(1, 93.0), times(2 / 3, 2), 2 / 3),
    ("two bars whose prices stood still", [[1208.0] * 4 + [1.0], [1201.5] * 4 + [1.0]], times(0.1, 2), 0.1),
    ("two bars before a dividend of two percent", walk(2, 150.0), times(0.98, 4), 0.98),
    ("the same in cents of a costly stock", walk(2, 1150.0), times(0.98, 2), 0.98),
    ("below zero", [[-value for value in row[:4]] + [1.0] for row in walk(6)], times(2.0), 2),
]


@pytest.mark.parametrize(
    ("stored", "change", "factor"), [case[1:] for case in SPLITS], ids=[case[0] for case in SPLITS]
)
def test_one_factor_is_found(stored: list[Values], change: Callable[..., Any], factor: float) -> None:
    found = rescaled(conflicts(stored, change(stored)))
    assert found.schema == RESCALED
    (row,) = found.rows(named=True)
    assert (row["bars"], row["first"]) == (len(stored), START)
    assert abs(row["factor"] / factor - 1) < 1e-4


def noise(width: float, seed: int = 3) -> Callable[..., Any]:
    def change(rows: list[Values]) -> list[Values]:
        dice = random.Random(seed)
        return [[round(value * (1 + dice.uniform(-width, width)), 2) for value in row[:4]] + row[4:] for row in rows]

    return change


def shifted(rows: list[Values]) -> list[Values]:
    return [[value + 0.01 for value in row[:4]] + row[4:] for row in rows]


ORDINARY = [
    ("a tenth of a percent", walk(500), noise(0.001)),
    ("a percent", walk(500), noise(0.01)),
    ("a percent, three bars", walk(3), noise(0.01)),
    ("a tick", walk(500), shifted),
    ("a tick of a penny stock", walk(500, 0.5), shifted),
    ("a basis that drifts", walk(400, 100.0, 4), times(lambda number: 1.004 + 0.00003 * (number % 97), 4)),
    (
        "a currency by each day's rate",
        walk(300),
        times(lambda number: 0.92 + random.Random(number).uniform(0, 0.01), 2),
    ),
    ("a constant tenth of a percent", walk(300), times(1.001, 4)),
    ("one bar, slightly", walk(1), times(0.98, 2)),
    ("the close alone", walk(200), lambda rows: [[*row[:3], row[2], row[4]] for row in rows]),
    ("two bars, a percent", walk(2), noise(0.01)),
    ("two bars, a few ticks", walk(2, 20.0), shifted),
    ("two bars of a cheap stock", walk(2, 1.2), times(0.97, 2)),
    ("two bars, each by its day's rate", walk(2), times(lambda number: 0.92 + 0.004 * number, 4)),
    ("two flat bars of one price", [[1.0] * 4 + [1.0]] * 2, times(2.0)),
    ("one flat bar", [[1.0] * 4 + [1.0]], times(2.0)),
    (
        "volumes at random",
        walk(100),
        lambda rows: [[*row[:4], row[4] + random.Random(row[4]).randint(1, 999)] for row in rows],
    ),
    ("volumes doubled", walk(100), lambda rows: [[*row[:4], row[4] * 2] for row in rows]),
]


@pytest.mark.parametrize(("stored", "change"), [case[1:] for case in ORDINARY], ids=[case[0] for case in ORDINARY])
def test_ordinary_differences_are_not_one(stored: list[Values], change: Callable[..., Any]) -> None:
    assert rescaled(conflicts(stored, change(stored))).is_empty()
    assert rescaled(pl.DataFrame(schema=BAR_CONFLICTS)).schema == RESCALED


def test_dividends_between_the_bars_are_steps() -> None:
    stored = walk(250, 150.0)
    paid = [Fraction(199, 200) ** (4 - number // 60) for number in range(250)]
    found = rescaled(conflicts(stored[:240], times(lambda number: float(paid[number]), 6)(stored[:240])))
    (row,) = found.rows(named=True)
    assert abs(row["lowest"] / float(Fraction(199, 200) ** 4) - 1) < 1e-5
    assert abs(row["highest"] / 0.995 - 1) < 1e-5
    message = str(RescaledBars([{**row, "overlap": 240}]))
    assert "multiplied by 0.98015 to 0.995" in message
    assert "store.actions.append), and read with adjust='splits' or adjust='all'" in message


def test_a_vendor_also_corrects_single_bars() -> None:
    stored = walk(100)
    given = times(0.5, 2)(stored)
    for number in (20, 21):
        given[number] = [*stored[number][:3], stored[number][2], 1.0]
    assert rescaled(conflicts(stored, given))["factor"].round(4).to_list() == [0.5]
    for number in range(30, 45):
        given[number] = [*stored[number][:4], 1.0]
    assert rescaled(conflicts(stored, given)).is_empty()


def test_volumes_in_another_unit_are_found_and_series_told_apart() -> None:
    stored = walk(20)
    lots = [[*row[:4], row[4] / 100] for row in stored]
    frame = pl.concat(
        [
            conflicts(stored, lots),
            conflicts(stored, noise(0.001)(stored), "B"),
            conflicts(stored, times(2.0)(stored), "C"),
        ]
    )
    found = rescaled(frame.sample(fraction=1.0, shuffle=True, seed=1))
    assert found.select("symbol", "factor", "volume").rows() == [("A", 1.0, 0.01), ("C", 2.0, 1.0)]
    message = str(RescaledBars([{**row, "overlap": 20} for row in found.rows(named=True)]))
    assert "the same prices and all volumes multiplied by 0.01 (1/100)" in message
    assert "1 more series likewise" in message


def test_few_bars_may_lie_around_one_split() -> None:
    for count in (4, 6, 11):
        stored = walk(count)
        given = times(([0.25] * (count // 2) + [0.5] * count).__getitem__, 2)(stored)
        (row,) = rescaled(conflicts(stored, given)).rows(named=True)
        assert (row["bars"], round(row["lowest"], 3), round(row["highest"], 3)) == (count, 0.25, 0.5)
    rates = times(lambda number: (0.25, 0.5, 0.25, 0.5, 0.75, 0.5)[number], 2)
    assert rescaled(conflicts(walk(6), rates(walk(6)))).is_empty()


def test_one_of_few_bars_may_differ_as_the_last_one_that_was_stored_too_early() -> None:
    for count in (4, 8, 15):
        stored = walk(count)
        given = times(0.5, 2)(stored)
        stored[-1] = [stored[-1][0], stored[-1][0] + 0.01, stored[-1][0] - 0.01, stored[-1][0], 3.0]
        assert rescaled(conflicts(stored, given))["factor"].round(4).to_list() == [0.5]
        stored[0] = list(stored[-1])
        assert rescaled(conflicts(stored, given)).is_empty()
        assert rescaled(conflicts(stored, times(0.98, 4)(given))).is_empty()


def test_two_bars_with_volumes_in_lots_are_found() -> None:
    stored = [[*row[:4], row[4] * 100] for row in walk(2)]
    lots, half = ([[*row[:4], row[4] * factor] for row in stored] for factor in (0.01, 0.5))
    assert rescaled(conflicts(stored, lots))["volume"].to_list() == [0.01]
    assert rescaled(conflicts(stored, half)).is_empty()
    assert rescaled(conflicts(stored[:1], lots[:1])).is_empty()
    coins = [[*row[:4], 0.4 + number] for number, row in enumerate(stored)]
    assert rescaled(conflicts(coins, [[*row[:4], row[4] * 10] for row in coins])).is_empty()


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_few_bars_of_vendors_that_differ_are_never_one(count: int) -> None:
    dice, parts = random.Random(count), []
    for number in range(400):
        stored = walk(count, dice.choice([0.5, 3.0, 20.0, 93.0, 1200.0]), seed=number)
        width = dice.choice([0.001, 0.003, 0.01, 0.03, 0.3])
        parts.append(conflicts(stored, noise(width, number)(stored), f"S{number}"))
        if count > 1:
            rates = dice.sample([0.9, 0.93, 0.96, 1.04, 1.07, 1.1], count)
            parts.append(conflicts(stored, times(rates.__getitem__, 4)(stored), f"R{number}"))
    assert rescaled(pl.concat(parts)).is_empty()
