"""Figures in one currency of runs that hold several, worked out by hand."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

import walle
from tests.contract.test_money import MINUTE, D, deal, prepare
from tests.samples import START, bars
from walle import CashFlow, Instrument


def figures(store: walle.Store, *names: str, **options: Any) -> dict[str, Any]:
    found = store.runs.metrics("r", **options)
    rows = found.filter(pl.col("metric").is_in(names)).iter_rows(named=True)
    return {row["metric"]: row["value"] if row["amount"] is None else row["amount"] for row in rows}


def why(store: walle.Store, name: str, **options: Any) -> str:
    found = store.runs.metrics("r", **options).filter(metric=name).row(0, named=True)
    assert found["value"] is None and found["amount"] is None
    return str(found["reason"])


def paid(name: str, time: datetime, kind: str, amount: D, currency: str, **more: Any) -> CashFlow:
    return CashFlow(id=name, time=time, kind=kind, amount=amount, currency=currency, run_id="r", **more)


def priced(store: walle.Store, symbol: str, close: float, start: datetime = START - 60 * MINUTE) -> None:
    """Store bars at a constant price, from an hour before the first fill on."""
    flat = bars(120, start=start).with_columns(**{name: pl.lit(close) for name in ("open", "high", "low", "close")})
    store.bars.ingest(flat, symbol=symbol, timeframe="1m", progress=False)


def test_starting_cash_in_another_currency_is_no_profit(store: walle.Store) -> None:
    prepare(store, [deal(1, "buy", "1", "100", "BTC/USD")], {"BTC/USD": 132.0})
    cash = {"USD": D(1000), "EUR": D(1000)}
    assert "EUR has no rate to USD" in why(store, "start_equity", starting_cash=cash, currency="USD")
    assert "EUR has no rate to USD" in why(store, "sharpe", starting_cash=cash, currency="USD")
    priced(store, "EUR/USD", 1.25)
    told = figures(store, "start_equity", "net_profit", "total_return", starting_cash=cash, currency="USD")
    assert told == {"start_equity": D(2250), "net_profit": D(32), "total_return": pytest.approx(32 / 2250)}
    assert "USD has no rate to GBP" in why(store, "start_equity", starting_cash={"USD": D(1)}, currency="GBP")


def test_a_deposit_before_the_first_fill_is_converted_at_its_own_time(store: walle.Store) -> None:
    prepare(store, [deal(5, "buy", "1", "100", "BTC/USD")], {"BTC/USD": 132.0})
    store.cash.append(paid("d", START + 2 * MINUTE, "deposit", D(1000), "EUR"))
    start = {"starting_cash": {"USD": D(1000)}, "currency": "USD"}
    assert why(store, "net_profit", **start) in ("a cash flow has no price or rate in USD", "no rate of EUR in USD")
    late = pl.DataFrame({"time": [START + 4 * MINUTE], "currency": ["EUR"], "rate": [D("1.25")]})
    assert why(store, "net_profit", rates=late, **start) == "a cash flow has no price or rate in USD"
    assert why(store, "volatility", rates=late, **start) == "a cash flow has no price or rate in USD"
    assert figures(store, "end_equity", rates=late, **start) == {"end_equity": D(2282)}
    priced(store, "EUR/USD", 1.25)
    assert figures(store, "net_profit", **start) == {"net_profit": D(32)}


def test_trades_and_fees_of_every_currency_count(store: walle.Store) -> None:
    fills = [
        deal(1, "buy", "10", "200", "AAPL", "1", "USD"),
        deal(2, "sell", "10", "220", "AAPL", "1", "USD"),
        deal(3, "buy", "1", "100", "SAP", "2", "EUR"),
    ]
    prepare(store, fills, {"AAPL": 220.0, "SAP": 100.0})
    for symbol, currency in (("AAPL", "USD"), ("SAP", "EUR")):
        store.instruments.save(Instrument(symbol=symbol, kind="stock", quote=currency))
    priced(store, "EUR/USD", 1.25)
    names = ("trades", "open_trades", "win_rate", "expectancy", "average_trade", "fees", "net_profit")
    told = figures(store, *names, starting_cash={"EUR": D(10_000)}, currency="EUR")
    assert told == {
        "trades": 1,
        "open_trades": 1,
        "win_rate": 1,
        "expectancy": D("158.4"),  # (200 - 2) / 1.25
        "average_trade": pytest.approx(198 / 2000),
        "fees": D("3.6"),  # 2 / 1.25 + 2
        "net_profit": D("156.4"),
    }


def test_a_fee_leaves_what_is_held_of_its_currency(store: walle.Store) -> None:
    """Two fees of 0.1 BNB out of a whole one, which costs 600 and then 620."""
    fills = [
        deal(1, "sell", "0.2", "50000", "BTC/USDT:USDT", "0.1", "BNB"),
        deal(2, "buy", "0.2", "50000", "BTC/USDT:USDT", "0.1", "BNB"),
    ]
    prepare(store, fills, {"BTC/USDT:USDT": 50_000.0})
    times = [START, START + 30 * MINUTE]
    rates = pl.DataFrame({"time": times, "currency": ["BNB", "BNB"], "rate": [D(600), D(620)]})
    cash = {"USDT": D(10_000), "BNB": D(1)}
    worth = store.runs.equity("r", starting_cash=cash, currency="USDT", rates=rates)
    assert worth["equity"][-1] == 10_000 + D("0.8") * 620
    bought = store.runs.equity("r", starting_cash=D(10_000), currency="USDT", rates=rates)
    assert bought["equity"][-1] == 10_000 - D("0.2") * 600  # who holds none has bought them for it
    assert bought["rates"][-1] == "the frame of rates"
    told = figures(store, "expectancy", "fees", starting_cash=cash, currency="USDT", rates=rates)
    assert told == {"expectancy": D(-120), "fees": D(120)}


def test_rates_are_a_frame_with_one_rate_for_each_time(store: walle.Store) -> None:
    prepare(store, [deal(1, "buy", "1", "100", "BTC/USD")], {"BTC/USD": 132.0})
    row: dict[str, list[Any]] = {"time": [START], "currency": ["EUR"], "rate": [D("1.25")]}
    naive = [time.replace(tzinfo=None) for time in row["time"]]
    wrongs: list[tuple[Any, str]] = [
        ({"EUR": D(1)}, "is a dict; give a Polars frame"),
        (pl.DataFrame(row).drop("rate"), "no column 'rate'"),
        (pl.DataFrame({**row, "time": naive}), "with their time zone"),
        (pl.DataFrame({**row, "rate": ["1.25"]}), "rate String"),
        (pl.DataFrame({**row, "rate": [0.0]}), "above 0"),
        (pl.DataFrame({**row, "rate": [float("nan")]}), "above 0"),
        (
            pl.concat([pl.DataFrame(row), pl.DataFrame({**row, "rate": [D("1.5")]})]),
            "several rates of EUR at 2025-03-01",
        ),
    ]
    for wrong, match in wrongs:
        with pytest.raises(walle.InputError, match=match):
            store.runs.equity("r", currency="USD", rates=wrong)
    for call in (store.runs.equity, store.runs.metrics):
        with pytest.raises(walle.InputError, match="into which"):
            call("r", rates=pl.DataFrame(row))
    for kind in (pl.Float64, pl.Decimal(10, 2)):
        frame = pl.DataFrame(row).with_columns(pl.col("rate").cast(kind), pl.col("time").dt.date())
        worth = store.runs.equity("r", starting_cash={"EUR": D(100)}, currency="USD", rates=frame)
        assert worth["equity"][-1] == D(32 + 125)


def test_a_superseded_dividend_is_still_paid_once(store: walle.Store) -> None:
    when = START + timedelta(days=1)
    prepare(store, [deal(1, "buy", "100", "100", "AAPL")], {"AAPL": 100.0}, prices="raw")
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    flat = bars(3, start=when + timedelta(hours=3)).with_columns(
        **{name: pl.lit(100.0) for name in ("open", "high", "low", "close")}
    )
    store.bars.ingest(flat, symbol="AAPL", timeframe="1m", progress=False)
    facts: dict[str, Any] = {"symbol": "AAPL", "kind": "dividend", "ex_date": when.date(), "currency": "USD"}
    store.actions.append(walle.CorporateAction(id="old", amount=D("0.5"), **facts))
    store.cash.append(paid("paid", when + timedelta(hours=1), "dividend", D("42.5"), "USD", action_id="old"))
    newer = walle.CorporateAction(id="new", amount=D("0.6"), supersedes="old", reason="the board's decision", **facts)
    store.actions.append(newer)
    assert store.runs.equity("r", starting_cash=D(10_000))["equity"][-1] == D("10042.5")


def test_a_bar_of_a_month_ends_with_it(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="MF", kind="stock", quote="USD"))
    opens = [datetime(2025, month, 1, tzinfo=START.tzinfo) for month in range(1, 13)]
    flat = bars(12).with_columns(
        pl.Series("timestamp", opens), **{name: pl.lit(100.0) for name in ("open", "high", "low", "close")}
    )
    flat = flat.with_columns(close=pl.when(pl.int_range(12) == 11).then(121.0).otherwise(100.0), high=pl.lit(121.0))
    store.bars.ingest(flat, symbol="MF", timeframe="1M", progress=False)
    prepare(store, [], {}, timeframe="1M")
    bought = deal(0, "buy", "10", "100", "MF")
    store.fills.append([dataclasses.replace(bought, filled_at=opens[0])])
    worth = store.runs.equity("r", starting_cash=D(1000))
    assert worth["time"][-12:].to_list() == [*opens[1:], datetime(2026, 1, 1, tzinfo=START.tzinfo)]
    cagr = store.runs.metrics("r", starting_cash=D(1000)).filter(metric="cagr").row(0, named=True)
    assert (cagr["value"], 365.25 / cagr["periods_per_year"]) == (pytest.approx(1.21 ** (365.25 / 365) - 1), 365)


def test_returns_and_drawdowns_are_of_the_converted_curve(store: walle.Store) -> None:
    """A hundred euros, of which ten percent were lost in the middle, while a euro cost a dollar and then two."""
    prepare(store, [deal(1, "buy", "1", "100", "SAP")], {})
    store.instruments.save(Instrument(symbol="SAP", kind="stock", quote="EUR"))
    closes = [100.0] * 20 + [90.0] * 20 + [100.0] * 20
    frame = bars(60).with_columns(close=pl.Series(closes), open=pl.lit(100.0), high=pl.lit(100.0), low=pl.lit(90.0))
    store.bars.ingest(frame, symbol="SAP", timeframe="1m", progress=False)
    times = [START, START + 50 * MINUTE]
    rates = pl.DataFrame({"time": times, "currency": ["EUR", "EUR"], "rate": [1, 2]})
    options: dict[str, Any] = {"starting_cash": {"EUR": D(100)}, "currency": "USD", "rates": rates}
    (month,) = store.runs.returns("r", **options).rows(named=True)
    assert (month["currency"], month["return"]) == ("USD", pytest.approx(1.0))
    (fall,) = store.runs.drawdowns("r", **options).rows(named=True)
    assert (fall["currency"], fall["depth"], fall["amount"]) == ("USD", pytest.approx(-0.1), D(-10))
    with pytest.raises(walle.InputError, match="into which"):
        store.runs.returns("r", rates=rates)
