"""Positions that come, go and end by other things than trades, worked out by hand: transfers, openings, expiries."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import polars as pl
import pytest

import walle
from tests.contract.test_money import MINUTE, D, deal, gained, last, prepare
from tests.samples import START, bars
from walle import CashFlow, CorporateAction, Fill, Instrument


def flow(
    name: str, minute: int, amount: str, currency: str, kind: str = "transfer", symbol: str | None = None
) -> CashFlow:
    at = START + MINUTE * minute
    return CashFlow(id=name, time=at, kind=kind, amount=D(amount), currency=currency, run_id="r", symbol=symbol)


@pytest.mark.parametrize("method", ["fifo", "lifo", "average"])
def test_coins_that_came_by_a_transfer_are_sold_and_not_short(store: walle.Store, method: Any) -> None:
    prepare(store, [deal(10, "sell", "1", "110", "BTC/USD")], {"BTC/USD": 132.0})
    store.cash.append(flow("t", 5, "2", "BTC"))
    assert last(store) == {"USD": D(110 + 132)}
    assert store.runs.ledger("r").filter(asset="BTC").select("amount", "book", "symbol").rows() == [
        (D(2), "position", "BTC/USD"),
        (D(-1), "position", "BTC/USD"),
    ]
    closed, still = store.fills.trades("r", method=method).rows(named=True)
    assert (closed["direction"], closed["quantity"], closed["entry_price"], closed["exit_price"]) == (
        "long",
        1,
        None,
        110,
    )
    assert (closed["pnl_gross"], closed["pnl_net"], closed["entry_fill_id"]) == (None, None, None)
    assert "cost or its proceeds are unknown" in closed["reason"]
    assert (still["is_open"], still["quantity"], still["unrealised"]) == (True, 1, None)
    # two coins came in at 132 each; one of them was sold for 110
    figures = store.runs.metrics("r").rows_by_key("metric", named=True, unique=True)
    assert figures["net_profit"]["amount"] == D(110 - 132)
    assert figures["win_rate"]["value"] is None


def test_an_account_opens_with_shares(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    prepare(store, [deal(10, "sell", "4", "110", "AAPL"), deal(20, "buy", "1", "100", "AAPL")], {"AAPL": 120.0})
    store.cash.append(flow("o", 0, "10", "AAPL", "opening", "AAPL"))
    assert last(store) == {"USD": D(440 - 100 + 7 * 120)}
    trades = store.fills.trades("r", by="flat")
    assert trades.select("direction", "is_open", "pnl_gross").rows() == [("long", True, None)]
    assert store.runs.metrics("r").filter(metric="net_profit")["amount"].item() == 440 - 100 + 840 - 1200


def test_coins_that_leave_by_a_transfer_are_no_sale(store: walle.Store) -> None:
    prepare(
        store, [deal(10, "buy", "3", "100", "BTC/USD"), deal(30, "sell", "1", "150", "BTC/USD")], {"BTC/USD": 120.0}
    )
    store.cash.append(flow("w", 20, "-2", "BTC", "withdrawal"))
    assert last(store) == {"USD": D(150 - 300)}
    left, sold = store.fills.trades("r").rows(named=True)
    assert (left["entry_price"], left["exit_price"], left["pnl_gross"], left["is_open"]) == (100, None, None, False)
    assert (sold["pnl_gross"], sold["reason"]) == (D(50), None)
    assert store.runs.metrics("r").filter(metric="net_profit")["amount"].item() == 150 - 300 + 2 * 120


def test_coins_that_two_symbols_trade_and_money_are_of_no_position(store: walle.Store) -> None:
    fills = [deal(10, "buy", "1", "100", "BTC/USD"), deal(11, "buy", "1", "90", "BTC/EUR")]
    prepare(store, fills, {"BTC/USD": 100.0, "BTC/EUR": 90.0})
    store.cash.append([flow("t", 5, "2", "BTC"), flow("u", 6, "7", "USD"), flow("v", 7, "1", "BTC", symbol="BTC/EUR")])
    assert last(store) == {"BTC": D(2), "EUR": D(90), "USD": D(7)}


def test_a_split_scales_shares_with_which_an_account_opened(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    split = CorporateAction(id="s", symbol="AAPL", kind="split", ex_date=START.date() + timedelta(days=1), ratio=D(4))
    store.actions.append(split)
    sold = dataclasses.replace(deal(1, "sell", "30", "25", "AAPL"), filled_at=START + timedelta(days=2))
    prepare(store, [deal(10, "buy", "1", "100", "AAPL"), sold], {"AAPL": 100.0}, prices="raw")
    later = bars(3, start=START + timedelta(days=2)).with_columns(
        **{name: pl.lit(25.0) for name in ("open", "high", "low", "close")}
    )
    store.bars.ingest(later, symbol="AAPL", timeframe="1m", progress=False)
    store.cash.append(flow("o", 0, "10", "AAPL", "opening", "AAPL"))
    assert last(store) == {"USD": D(-100 + 750 + 14 * 25)}


def test_fills_without_a_run_are_matched_beside_those_with_cash_flows(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="ESZ5", kind="future", quote="USD", multiplier=D(50)))
    nobody = [dataclasses.replace(each, id=f"x{each.id}", run_id=None) for each in _pair("ESZ5")]
    prepare(store, [*_pair("ESZ5"), *nobody], {"ESZ5": 100.0})
    store.cash.append(flow("d", 0, "100", "USD", "deposit"))
    assert store.fills.trades().select("run_id", "pnl_gross").rows() == [("r", D(500)), (None, D(500))]
    assert store.fills.costs(by="run", benchmarks="close")["run_id"].to_list() == ["r", None]
    assert store.fills.audit(rules="outside_bar").height == 2


def _pair(symbol: str) -> list[Fill]:
    return [deal(1, "buy", "1", "100", symbol), deal(2, "sell", "1", "110", symbol)]


@pytest.mark.parametrize(("late", "found"), [(0, []), (1, ["expired_contract", "outside_bar"])])
def test_a_fill_at_the_expiry_settles_a_contract(store: walle.Store, late: int, found: list[str]) -> None:
    ends = START + 20 * MINUTE
    store.instruments.save(Instrument(symbol="C", kind="option", quote="USD", multiplier=D(100), expires_at=ends))
    settled = dataclasses.replace(deal(20, "sell", "1", "0", "C"), filled_at=ends + timedelta(microseconds=late))
    prepare(store, [deal(1, "buy", "1", "2", "C"), settled], {"C": 2.0})
    assert gained(store) == [(D(-200), D(0), D(-200), "USD")]
    rules = ["expired_contract", "outside_bar"]
    assert sorted(store.fills.audit(rules=rules)["rule"]) == found
