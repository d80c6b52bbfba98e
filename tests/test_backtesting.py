"""Results of backtesting.py, brought in: what WallE reckons of them is what that package reports."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest

import walle
from walle.errors import Conflict, InputError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of the packages that it draws with
    from backtesting import Backtest, Strategy
    from backtesting.lib import FractionalBacktest, crossover
    from backtesting.test import EURUSD, GOOG, SMA

CENT = 0.005


class Crossing(Strategy):  # type: ignore[misc]  # it ships no types
    """Always in the market, long or short."""

    fast = 10
    slow = 25

    def init(self) -> None:
        self.one = self.I(SMA, self.data.Close, self.fast)
        self.other = self.I(SMA, self.data.Close, self.slow)

    def next(self) -> None:
        if crossover(self.one, self.other):
            self.position.close()
            self.buy()
        elif crossover(self.other, self.one):
            self.position.close()
            self.sell()


class Steps(Crossing):
    """It buys in parts and sells in parts, so that trades are split."""

    def next(self) -> None:
        day = len(self.data)
        if day % 30 == 0:
            self.buy(size=10 + day % 7)
        elif day % 45 == 0:
            self.sell(size=7)
        elif day % 101 == 0 and self.position:
            self.position.close(0.5)


class Bracketed(Crossing):
    """One trade at a time, with a stop and a target: also hit in the bar in which it was opened."""

    def next(self) -> None:
        if not self.position and crossover(self.one, self.other):
            price = self.data.Close[-1]
            self.buy(sl=price * 0.99, tp=price * 1.03)


class Ruin(Crossing):
    """It goes short with all it can borrow, and stays."""

    def next(self) -> None:
        if not self.position:
            self.sell(size=0.99)


def run(strategy: type, data: pd.DataFrame = GOOG, *, kind: type = Backtest, **options: Any) -> Any:
    """Run a backtest; it warns of orders beyond its cash, and uses what pandas deprecates."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kind(data, strategy, **{"cash": 10_000, **options}).run()


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[walle.Store]:
    """A store with the package's bars: GOOG by day, EURUSD by hour."""
    with walle.connect(tmp_path_factory.mktemp("market") / "market.db") as store:
        fill_market(store)
        yield store


def fill_market(store: walle.Store) -> None:
    for symbol, data, timeframe, calendar in (("GOOG", GOOG, "1d", "XNYS"), ("EUR/USD", EURUSD, "1h", "24/7")):
        bars = data.rename(columns=str.lower).rename_axis(index="timestamp")
        store.bars.ingest(bars, symbol=symbol, timeframe=timeframe, timezone="UTC")
        store.bars.set_calendar(symbol, calendar)


CASES: dict[str, tuple[type, pd.DataFrame, dict[str, Any]]] = {
    "both ways, a share as commission": (Crossing, GOOG, {"commission": 0.002}),
    "without costs": (Crossing, GOOG, {}),
    "closed at the end": (Crossing, GOOG, {"commission": 0.002, "finalize_trades": True}),
    "spread": (Crossing, GOOG, {"spread": 0.001, "commission": 0.001}),
    "in parts, a fixed commission": (Steps, GOOG, {"commission": (3.5, 0.0005), "cash": 100_000}),
    "in parts, closed at the end": (Steps, GOOG, {"commission": (3.5, 0), "cash": 100_000, "finalize_trades": True}),
    "a function as commission": (Crossing, GOOG, {"commission": lambda size, price: max(1.0, abs(size) * 0.01)}),
    "rebates": (Crossing, GOOG, {"commission": -0.0002}),
    "stops and targets": (Bracketed, GOOG, {"commission": 0.001}),
    "margin": (Crossing, GOOG, {"margin": 0.5, "commission": 0.001}),
    "at the close, without costs": (Crossing, GOOG, {"trade_on_close": True}),
    "hours": (Crossing, EURUSD, {"commission": 0.0001}),
}


def stored(market: walle.Store, name: str) -> tuple[Any, str, str]:
    """Run a case and bring it in."""
    strategy, data, options = CASES[name]
    stats, symbol = run(strategy, data, **options), "GOOG" if data is GOOG else "EUR/USD"
    results = walle.from_backtesting(stats, run_id=name, symbol=symbol, timeframe="1d" if data is GOOG else "1h")
    market.runs.ingest(results)
    return stats, name, symbol


@pytest.mark.parametrize("name", CASES)
def test_equity_is_equal_at_every_bar(market: walle.Store, name: str) -> None:
    stats, run_id, _ = stored(market, name)
    theirs = stats["_equity_curve"]["Equity"]
    ours = market.runs.equity(run_id).filter(pl.col("unmarked").list.len() == 0)
    ends = [moment.to_pydatetime().replace(tzinfo=UTC) for moment in theirs.index]
    step = timedelta(days=1) if len(theirs) < 3_000 else timedelta(hours=1)
    both = pl.DataFrame(
        {"time": [moment + step for moment in ends], "theirs": theirs.to_numpy()},
        schema_overrides={"time": ours.schema["time"]},
    ).join(ours, on="time", how="left")
    assert both["equity"].null_count() == 0
    assert (both["equity"].cast(pl.Float64) - both["theirs"]).abs().max() < 1e-6  # type: ignore[operator]  # a number, as its column is
    assert both["fills"].max() == market.fills.read(run_id).height


@pytest.mark.parametrize("name", CASES)
def test_the_trades_are_theirs_to_the_cent(market: walle.Store, name: str) -> None:
    stats, run_id, _ = stored(market, name)
    theirs = stats["_trades"].sort_values(["ExitBar", "EntryBar", "Size"])
    ours = market.fills.trades(run_id)
    closed = ours.filter(~pl.col("is_open"))
    gained, still = total(closed["pnl_gross"]), total(ours["unrealised"])
    assert abs(float(gained - gross(theirs) + still) - open_gain(stats)) < CENT
    fees = total(market.fills.read(run_id)["commission"])
    final = Decimal(str(stats["_equity_curve"]["Equity"].iloc[0])) + gained + still - fees
    assert abs(float(final) - stats["Equity Final [$]"]) < CENT
    if CASES[name][0] is Steps:
        return  # it closes a part of each trade at once: no first-in-first-out
    assert abs(float(gained - gross(theirs))) < CENT
    assert closed.height == len(theirs)
    rows = closed.with_columns(
        signed=pl.col("quantity").cast(pl.Float64) * pl.when(pl.col("direction") == "long").then(1).otherwise(-1)
    ).sort("exit_time", "entry_time", "signed")
    for column, name_of_theirs in (("signed", "Size"), ("entry_price", "EntryPrice"), ("exit_price", "ExitPrice")):
        assert rows[column].cast(pl.Float64).to_list() == pytest.approx(theirs[name_of_theirs].to_list(), abs=1e-9)
    assert rows["pnl_net"].cast(pl.Float64).to_list() == pytest.approx(theirs["PnL"].to_list(), abs=CENT)
    assert rows["fees"].cast(pl.Float64).to_list() == pytest.approx(theirs["Commission"].to_list(), abs=CENT)
    if not CASES[name][2].get("trade_on_close"):
        for column, name_of_theirs in (("entry_time", "EntryTime"), ("exit_time", "ExitTime")):
            assert rows[column].dt.replace_time_zone(None).to_list() == theirs[name_of_theirs].to_list()


def total(values: pl.Series) -> Decimal:
    return sum(values.drop_nulls().to_list(), Decimal(0))


def gross(trades: pd.DataFrame) -> Decimal:
    return sum(
        (
            Decimal(str(float(row.Size))) * (Decimal(str(float(row.ExitPrice))) - Decimal(str(float(row.EntryPrice))))
            for row in trades.itertuples()
        ),
        Decimal(0),
    )


def open_gain(stats: Any) -> float:
    """What the trades that are open at the end would bring; its list of trades leaves them out."""
    last = stats["_strategy"].data.Close[-1]
    return float(sum(trade.size * (last - trade.entry_price) for trade in stats["_strategy"].trades))


def test_a_fill_at_the_close_lies_in_its_bar_and_its_commission_is_booked_there(market: walle.Store) -> None:
    stats = run(Crossing, trade_on_close=True, commission=0.002)
    results = walle.from_backtesting(stats, run_id="close", symbol="GOOG", timeframe="1d")
    market.runs.ingest(results)
    bars = market.bars.read("GOOG", "1d").select(day=pl.col("timestamp").dt.date(), close="close")
    at = results.fills.select(day=pl.col("filled_at").dt.date(), price="price").join(bars, on="day")
    assert at["price"].cast(pl.Float64).to_list() == pytest.approx(at["close"].to_list())
    ours = market.runs.equity("close")["equity"].cast(pl.Float64)
    theirs = pl.Series(stats["_equity_curve"]["Equity"].to_numpy())
    paid = results.fills.group_by(day=pl.col("filled_at").dt.date()).agg(fee=pl.sum("commission").cast(pl.Float64))
    booked = bars.join(paid, on="day", how="left", maintain_order="left")["fee"].fill_null(0)
    assert (ours + booked - theirs).abs().max() < 1e-6  # type: ignore[operator]  # a number, as its column is


def test_fractions_of_a_unit_come_in_also_of_what_is_still_open(tmp_path: Path) -> None:
    stats = run(Crossing, EURUSD.iloc[:1500], kind=FractionalBacktest, fractional_unit=0.001, cash=7, commission=0.001)
    results = walle.from_backtesting(stats, run_id="f", symbol="EUR/USD", timeframe="1h")
    assert results.fills["quantity"].cast(pl.Float64).max() < 20  # type: ignore[operator]  # a number, as its column is
    with walle.connect(tmp_path / "f.db") as store:
        fill_market(store)
        store.runs.ingest(results)
        final = store.runs.equity("f").drop_nulls("equity")["equity"][-1]
        assert float(final) == pytest.approx(stats["Equity Final [$]"], abs=1e-6)
        assert store.fills.trades("f")["is_open"].sum() == len(stats["_strategy"].trades)


def test_a_ruined_account_shows_its_debt() -> None:
    rising = GOOG.iloc[:400]
    stats = run(Ruin, rising, margin=0.05, cash=10_000)
    assert stats["Equity Final [$]"] == 0
    results = walle.from_backtesting(stats, run_id="r", symbol="GOOG", timeframe="1d")
    bought = results.fills.filter(side="buy").select((pl.col("price") * pl.col("quantity")).sum()).item()
    sold = results.fills.filter(side="sell").select((pl.col("price") * pl.col("quantity")).sum()).item()
    assert 10_000 + sold - bought <= 0


def test_a_strategy_that_never_trades_is_a_run_without_fills(market: walle.Store) -> None:
    stats = run(Crossing, GOOG.iloc[:40])
    results = walle.from_backtesting(stats, run_id="none", symbol="GOOG", timeframe="1d")
    report = market.runs.ingest(results)
    assert (report.orders.rows, report.fills.rows) == (0, 0)
    assert market.fills.trades("none").is_empty()
    assert market.runs.equity("none").is_empty()


def test_one_call_makes_the_run_its_orders_and_fills_and_again_changes_nothing(store: walle.Store) -> None:
    stats = run(Crossing, commission=0.002)
    results = walle.from_backtesting(
        stats, run_id="sma", symbol="GOOG", timeframe="1d", currency="USD", config={"note": "first"}
    )
    report = store.runs.ingest(results)
    assert report.inserted
    assert report.run == store.runs.get("sma")
    assert report.run.config == {"fast": 10, "slow": 25, "starting_cash": "10000", "note": "first"}
    assert (report.run.strategy_id, report.run.mode, report.run.status) == ("Crossing", "backtest", "completed")
    assert report.run.started_at == datetime(2004, 8, 19, tzinfo=UTC)
    assert report.run.stopped_at == datetime(2013, 3, 2, tzinfo=UTC)
    assert report.orders.inserted == report.fills.inserted == results.fills.height > 100
    row = store.runs.read().row(0, named=True)
    assert (row["orders"], row["fills"]) == (results.orders.height, results.fills.height)
    assert "'sma' inserted" in repr(report)
    later = dataclasses.replace(results, run=dataclasses.replace(results.run, created_at=datetime.now(UTC)))
    again = store.runs.ingest(later)
    assert not again.inserted
    assert again.run == report.run
    assert again.fills.duplicates == again.orders.duplicates == results.fills.height
    findings = store.fills.audit("sma")
    assert findings.filter(severity="error").is_empty()
    other = dataclasses.replace(results, run=dataclasses.replace(results.run, config={"fast": 11}))
    with pytest.raises(Conflict, match="another run 'sma' is stored: its config differ"):
        store.runs.ingest(other)


def test_a_run_comes_in_whole_or_not_at_all(store: walle.Store) -> None:
    results = walle.from_backtesting(run(Crossing), run_id="sma", symbol="GOOG", timeframe="1d")
    bad = results.fills.with_columns(side=pl.lit("hold"))
    with pytest.raises(walle.InvalidRows, match="are no fills, so nothing was written"):
        store.runs.ingest(results.run, results.orders, bad)
    assert store.runs.read().is_empty()
    assert store.orders.read().is_empty()
    quarantined = store.runs.ingest(results.run, results.orders, bad, on_invalid="quarantine")
    assert (quarantined.fills.rejected, quarantined.orders.inserted) == (bad.height, results.orders.height)
    with pytest.raises(InputError, match="include their own orders and fills"):
        store.runs.ingest(results, results.orders)
    with pytest.raises(InputError, match=r"walle.from_backtesting\(\)"):
        store.runs.ingest(run(Crossing))


def test_what_is_not_such_a_result_is_refused() -> None:
    stats = run(Crossing, commission=(5, 0.001))
    said: dict[str, Any] = {"run_id": "x", "symbol": "GOOG", "timeframe": "1d"}
    others: list[object] = [None, 7, {}, pd.Series({"a": 1}), pd.DataFrame()]
    for bad in others:
        with pytest.raises(InputError, match=r"no results of backtesting\.py"):
            walle.from_backtesting(bad, **said)
    with pytest.raises(InputError, match=r"add up to an equity of .* Give commission="):
        walle.from_backtesting(stats, **said, commission=0.5)
    with pytest.raises(InputError, match="add up to an equity"):
        walle.from_backtesting(stats, **said, starting_cash=Decimal(20_000))
    with pytest.raises(walle.UnknownTimeframe):
        walle.from_backtesting(stats, **said | {"timeframe": "day"})
    with pytest.raises(InputError, match="timezone='Mars'"):
        walle.from_backtesting(stats, **said, timezone="Mars")
    numbered = run(Crossing, GOOG.reset_index(drop=True))
    with pytest.raises(InputError, match=r"numbered by Int64.* Give them a time index"):
        walle.from_backtesting(numbered, **said)
    alone = stats.drop("_strategy")  # as it may come out of a pickle
    assert (
        walle.from_backtesting(
            run(Crossing, commission=0.001, finalize_trades=True).drop("_strategy"), **said, commission=0.001
        ).run.strategy_id
        == "backtesting.py"
    )
    with pytest.raises(InputError, match=r"known from stats\['_strategy'\] only"):
        walle.from_backtesting(alone, **said, commission=(5, 0.001))
