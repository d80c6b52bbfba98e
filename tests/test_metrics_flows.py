"""Returns across deposits and withdrawals are time-weighted: what was paid in or out is no gain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from walle.errors import InputError
from walle.fills.equity import EQUITY
from walle.fills.trades import TRADES
from walle.frames import FILLS
from walle.runs import drawdowns, metrics, returns_by
from walle.runs.marks import FLOWS, Curve

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def curve(worth: Sequence[Any], step: timedelta = DAY) -> pl.DataFrame:
    rows = {
        "time": [START + step * (number + 1) for number in range(len(worth))],
        "equity": [None if value is None else Decimal(value) for value in worth],
        "fills": [1] * len(worth),
        "unmarked": [[]] * len(worth),
    }
    return pl.DataFrame(rows, schema={name: EQUITY[name] for name in rows})


def paid(*flows: tuple[timedelta, Any]) -> pl.DataFrame:
    rows = {"time": [START + after for after, _ in flows], "amount": [Decimal(amount) for _, amount in flows]}
    return pl.DataFrame(rows, schema=FLOWS)


def figures(
    worth: pl.DataFrame, flows: pl.DataFrame | None, start: int = 100, **options: Any
) -> dict[str, dict[str, Any]]:
    one = {"id": "f", "order_id": "o", "symbol": "BTC/USD", "side": "buy", "filled_at": START}
    fills = pl.DataFrame([{**one, "price": Decimal(1), "quantity": Decimal(1)}], schema=FILLS)
    given = {"periods": 365.25, "starting_cash": start, "currency": "USD", **options}
    found = metrics(worth, pl.DataFrame(schema=TRADES), fills, flows=flows, **given)
    return {row["metric"]: row for row in found.iter_rows(named=True)}


def test_a_deposit_is_no_gain_and_a_withdrawal_no_loss() -> None:
    # 100 grows by a tenth, 90 come in, it falls by a tenth, 80 go out, it grows by a tenth
    found = figures(curve([110, 180, 110]), paid((DAY, 90), (2 * DAY, -80)))
    assert found["total_return"]["value"] == pytest.approx(1.1 * 0.9 * 1.1 - 1)
    assert found["net_profit"]["amount"] == Decimal(0)  # 110 - 100 - 10
    assert found["max_drawdown"]["value"] == pytest.approx(-0.1)
    assert found["max_drawdown_amount"]["amount"] == Decimal(-20)
    assert found["volatility"]["returns"] == 3
    assert found["cagr"]["value"] == pytest.approx(1.089 ** (365.25 / 3) - 1)
    flat = figures(curve([110, 180, 110]), None)
    assert flat["max_drawdown"]["value"] == pytest.approx(110 / 180 - 1)


def test_the_first_deposit_may_be_all_that_there_is() -> None:
    found = figures(curve([100, 121]), paid((timedelta(0), 100)), start=0)
    assert found["total_return"]["value"] == pytest.approx(0.21)
    assert found["volatility"]["returns"] == 2
    before = figures(curve([100, 121]), paid((-DAY, 100)), start=0)
    assert before["total_return"]["value"] == pytest.approx(0.21)


def test_a_flow_within_a_session_is_valued_at_the_bar_before_it() -> None:
    hours = [100 + number for number in range(48)]
    worth = [value if number < 30 else value + 1000 for number, value in enumerate(hours)]
    flows = paid((30 * HOUR + timedelta(minutes=20), 1000))  # after the row that is worth 129, in the bar until 31:00
    found = figures(curve(worth, HOUR), flows)
    parts = [Fraction(123, 100), Fraction(129, 123) * Fraction(1147, 1129)]
    assert found["total_return"]["value"] == pytest.approx(float(parts[0] * parts[1] - 1))
    chained = Curve(equity=curve(worth, HOUR), start=Fraction(100), flows=flows)
    assert returns_by([chained], period="session").select("period", "return").rows() == [
        (date(2024, 1, 1 + number), pytest.approx(float(part - 1))) for number, part in enumerate(parts)
    ]
    assert drawdowns([chained]).is_empty()


def test_without_a_price_before_a_flow_the_return_over_it_is_unknown() -> None:
    found = figures(curve([110, None, 190, 209]), paid((2 * DAY, 80)))
    assert found["total_return"]["reason"] == found["max_drawdown"]["reason"] == "no price at a cash flow"
    assert found["net_profit"]["amount"] == Decimal(29)
    assert found["volatility"]["returns"] == 2  # 100 to 110, and 190 to 209
    bridged = figures(curve([110, None, 190, 209]), paid((DAY, 80)))  # the row before it is marked
    assert bridged["total_return"]["value"] == pytest.approx(0.1 + 0.1 + 0.01)


def test_bad_flows_are_named() -> None:
    with pytest.raises(InputError, match="time, amount"):
        figures(curve([110]), pl.DataFrame({"when": [START]}))


@settings(max_examples=examples(60), deadline=None)
@given(
    growths=st.lists(st.integers(80, 125).map(lambda number: Fraction(number, 100)), min_size=1, max_size=12),
    deposits=st.lists(st.tuples(st.integers(0, 11), st.integers(1, 500)), max_size=4),
)
def test_the_chain_is_the_product_of_the_growths_whatever_is_paid_in(
    growths: list[Fraction], deposits: list[tuple[int, int]]
) -> None:
    added = [sum(amount for day, amount in deposits if day == number) for number in range(len(growths))]
    worth, held = [], Fraction(100)
    for growth, amount in zip(growths, added, strict=True):
        held = (held + amount) * growth
        worth.append(held)
    exact = [Decimal(value.numerator) / Decimal(value.denominator) for value in worth]
    rounded = curve([value.quantize(Decimal("0.000000000001")) for value in exact])
    flows = paid(*((number * DAY, amount) for number, amount in enumerate(added) if amount))
    found = figures(rounded, flows)
    product = Fraction(1)
    for growth in growths:
        product *= growth
    assert found["total_return"]["value"] == pytest.approx(float(product - 1), abs=1e-9)
    gained = worth[-1] - 100 - sum(added)
    assert float(found["net_profit"]["amount"]) == pytest.approx(float(gained), abs=1e-9)
