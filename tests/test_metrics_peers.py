"""The figures of returns beside those of empyrical and quantstats, on the same equity."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import empyrical
import pandas as pd
import polars as pl
import pytest
import quantstats.stats

from walle.fills.equity import EQUITY
from walle.fills.trades import TRADES
from walle.frames import FILLS, INSTANT
from walle.runs import Benchmark, drawdowns, metrics, returns_by
from walle.runs.marks import Curve

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
YEAR = 365.25
peer: Any = quantstats.stats  # its types say int where it takes any number
CASH = 100_000
COUNT = 500
ENDS = [START + DAY * (number + 1) for number in range(COUNT)]


def walk(seed: int, start: int) -> list[Decimal]:
    generator, worth, found = random.Random(seed), Decimal(start), []
    for _ in range(COUNT):
        worth = (worth * Decimal(repr(1 + generator.gauss(0.0008, 0.02)))).quantize(Decimal("0.01"))
        found.append(worth)
    return found


def series(worth: list[Decimal], start: int) -> pd.Series[float]:
    """The returns of days, as the peers take them."""
    exact = [Fraction(start), *map(Fraction, worth)]
    changes = [float(after / before - 1) for before, after in itertools.pairwise(exact)]
    return pd.Series(changes, index=pd.date_range("2024-01-01", periods=COUNT, freq="D"))


WORTH, PRICES = walk(7, CASH), walk(8, 50)
MINE, THEIRS = series(WORTH, CASH), series(PRICES, 50)


def curve() -> pl.DataFrame:
    rows = {"time": ENDS, "equity": WORTH, "cash": WORTH, "fills": [1] * COUNT, "unmarked": [[]] * COUNT}
    return pl.DataFrame(rows, schema={name: EQUITY[name] for name in rows})


def figures(**options: Any) -> dict[str, float]:
    one = {
        "id": "f", "order_id": "o", "run_id": "r", "symbol": "BTC/USD", "side": "buy", "filled_at": START,
        "price": Decimal(1), "quantity": Decimal(1),
    }  # fmt: skip
    fills = pl.DataFrame([one], schema=FILLS)
    bars = pl.DataFrame({"time": ENDS, "close": list(map(float, PRICES))}, schema_overrides={"time": INSTANT})
    beside = Benchmark(symbol="BTC/USD", bars=bars, start=50.0, periods=YEAR)
    given = {"periods": YEAR, "starting_cash": CASH, "currency": "USD", "benchmark": beside, **options}
    found = metrics(curve(), pl.DataFrame(schema=TRADES), fills, **given)
    return dict(found.drop_nulls("value").select("metric", "value").iter_rows())


def same(value: float) -> Any:
    return pytest.approx(float(value), rel=1e-9, abs=1e-12)


def test_empyrical_reckons_the_same() -> None:
    found, rate = figures(risk_free=0.03), 0.03 / YEAR
    assert found["volatility"] == same(empyrical.annual_volatility(MINE, annualization=YEAR))
    assert found["sharpe"] == same(empyrical.sharpe_ratio(MINE, risk_free=rate, annualization=YEAR))
    assert found["sortino"] == same(empyrical.sortino_ratio(MINE, required_return=rate, annualization=YEAR))
    assert found["cagr"] == same(empyrical.cagr(MINE, annualization=YEAR))
    assert found["max_drawdown"] == same(empyrical.max_drawdown(MINE))
    assert found["calmar"] == same(empyrical.calmar_ratio(MINE, annualization=YEAR))
    assert found["beta"] == same(empyrical.beta(MINE, THEIRS, risk_free=rate))
    compounded = (1 + found["alpha"] / YEAR) ** YEAR - 1
    assert compounded == same(empyrical.alpha(MINE, THEIRS, risk_free=rate, annualization=YEAR))
    assert found["information_ratio"] / YEAR**0.5 == same(empyrical.excess_sharpe(MINE, THEIRS))


def test_quantstats_reckons_the_same() -> None:
    found = figures()
    assert found["volatility"] == same(peer.volatility(MINE, periods=YEAR))
    assert found["sharpe"] == same(peer.sharpe(MINE, periods=YEAR))
    assert found["sortino"] == same(peer.sortino(MINE, periods=YEAR))
    assert found["cagr"] == same(peer.cagr(MINE, periods=YEAR))
    assert found["max_drawdown"] == same(peer.max_drawdown(MINE))
    assert found["calmar"] == same(peer.calmar(MINE, periods=YEAR))
    assert {name: found[name] for name in ("alpha", "beta")} == {
        name: same(value) for name, value in peer.greeks(MINE, THEIRS, periods=YEAR).items()
    }
    assert found["information_ratio"] / YEAR**0.5 == same(peer.information_ratio(MINE, THEIRS))


def test_the_drawdowns_are_those_of_quantstats() -> None:
    found = drawdowns([Curve(equity=curve(), start=Fraction(CASH))], top=COUNT)
    listed = peer.drawdown_details(peer.to_drawdown_series(MINE))
    theirs = listed.sort_values("max drawdown").reset_index(drop=True)
    assert found["depth"].to_list() == [same(value / 100) for value in theirs["max drawdown"]]
    # ours begin at the peak, and end when it is reached again: the day before the first and after the last below it
    assert [time.date() for time in found["begin"]] == [day.date() for day in pd.to_datetime(theirs["start"])]
    assert [(time - DAY).date() for time in found["bottom"]] == [day.date() for day in pd.to_datetime(theirs["valley"])]
    recovered = found["recovery"].is_not_null()
    lasted = [days + (1 if back else 0) for days, back in zip(theirs["days"], recovered, strict=True)]
    assert found["days"].to_list() == lasted
    assert max(lasted) == figures()["max_drawdown_days"]


def test_the_returns_of_months_are_those_of_both() -> None:
    found = returns_by([Curve(equity=curve(), start=Fraction(CASH))])
    months = empyrical.aggregate_returns(MINE, "monthly")
    assert found["return"].to_list() == [same(value) for value in months]
    assert found["period"].to_list() == [START.replace(year=year, month=month).date() for year, month in months.index]
    table = peer.monthly_returns(MINE, eoy=False)
    assert found["return"].to_list() == [same(value) for value in table.to_numpy().flatten()[: found.height]]
    years = returns_by([Curve(equity=curve(), start=Fraction(CASH))], period="year")
    assert years["return"].to_list() == [same(value) for value in empyrical.aggregate_returns(MINE, "yearly")]
    assert years["returns"].to_list() == [366, COUNT - 366]
    days = returns_by([Curve(equity=curve(), start=Fraction(CASH))], period="session")
    assert days["return"].to_list() == [same(value) for value in MINE]
