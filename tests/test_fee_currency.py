"""A commission means one thing everywhere: in trades, costs, shortfall, equity, metrics and the audit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl
import pytest

import walle
from tests.samples import START, bars, fill, order, run

D = Decimal
PAID = [D("0.25"), D("0.5")]

CASES: dict[str, tuple[str, list[str | None], list[str | None]]] = {
    # symbol, the currency written with each of two commissions, and what each is in
    "named": ("BTC/USD", ["USD", "USD"], ["USD", "USD"]),
    "the backend's": ("BTC/USD", [None, None], ["USD", "USD"]),
    "named once": ("BTC/USD", ["USD", None], ["USD", "USD"]),
    "another": ("BTC/USD", ["BNB", None], ["BNB", "USD"]),
    "a contract's": ("BTC/USD:USD", [None, None], ["USD", "USD"]),
    "a symbol that does not say": ("ACME", [None, None], [None, None]),
    "such a symbol, named": ("ACME", ["USD", "USD"], ["USD", "USD"]),
    "such a symbol, named once": ("ACME", ["USD", None], ["USD", None]),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, store: walle.Store) -> tuple[walle.Store, list[str | None], bool]:
    symbol, written, meant = CASES[request.param]
    store.bars.ingest(bars(10, start=START), symbol=symbol, timeframe="1m")
    store.runs.save(run(config={}, symbols=[symbol]))
    sides = ("buy", "sell")
    times = [START.replace(minute=1), START.replace(minute=3)]
    store.orders.save(
        [
            order(n, symbol=symbol, side=sides[n], qty=D(1), created_at=times[n], status="filled", filled_qty=D(1))
            for n in (0, 1)
        ]
    )
    base: dict[str, Any] = {"symbol": symbol, "quantity": D(1), "price": D(100)}
    own = [{"order_id": f"order-{n}", "side": sides[n], "filled_at": times[n]} for n in (0, 1)]
    fees = [{"commission": PAID[n], "commission_currency": written[n]} for n in (0, 1)]
    store.fills.append([fill(n, **base, **own[n], **fees[n]) for n in (0, 1)])
    return store, meant, symbol == "ACME"


def by_currency(meant: list[str | None]) -> dict[str | None, Decimal]:
    paid: dict[str | None, Decimal] = {}
    for currency, amount in zip(meant, PAID, strict=True):
        paid[currency] = paid.get(currency, D(0)) + amount
    return paid


def listed(row: dict[str, Any]) -> dict[str | None, Decimal]:
    return {fee["currency"]: fee["amount"] for fee in row["fees_by_currency"]}


def test_all_that_reckon_with_a_commission_agree_on_its_currency(
    case: tuple[walle.Store, list[str | None], bool],
) -> None:
    store, meant, unsaid = case
    paid = by_currency(meant)
    single = next(iter(paid)) if len(paid) == 1 else None
    prices = "USD" if not unsaid or "USD" in meant else None  # what the run's prices are taken to be in

    (trade,) = store.fills.trades("run-1").rows(named=True)
    assert listed(trade) == paid
    assert trade["fee_currency"] == single
    assert trade["fees"] == (D("0.75") if len(paid) == 1 else None)
    assert trade["pnl_net"] == (-D("0.75") if len(paid) == 1 else None)

    costs = store.fills.costs("run-1", benchmarks="arrival", by="fill").sort("time")
    assert costs["fee_currency"].to_list() == meant
    assert [listed(row) for row in costs.rows(named=True)] == [
        {currency: amount} for currency, amount in zip(meant, PAID, strict=True)
    ]
    (whole,) = store.fills.costs("run-1", benchmarks="arrival", by="run").rows(named=True)
    assert listed(whole) == paid

    shortfall = store.fills.shortfall("run-1").sort("time")
    assert shortfall["fee_currency"].to_list() == meant
    told = ["in an" in (reason or "") for reason in shortfall["reason"]]
    assert told == [currency != prices for currency in meant]

    equity = store.runs.equity("run-1").row(-1, named=True)
    taken = sum((amount for currency, amount in zip(meant, PAID, strict=True) if currency == prices), D(0))
    assert equity["fees"] == taken
    assert equity["cash"] == -taken
    assert equity["foreign_fees"] == sum(currency != prices for currency in meant)

    fees = store.runs.metrics("run-1").filter(pl.col("metric") == "fees")
    assert dict(fees.select("currency", "amount").iter_rows()) == paid


def test_the_audit_finds_what_nobody_knows_and_nothing_that_the_others_take_as_given(
    case: tuple[walle.Store, list[str | None], bool],
) -> None:
    store, meant, _ = case
    found = store.fills.audit("run-1", rules=["commission_missing"])
    unknown = [f"fill-{number}" for number, currency in enumerate(meant) if currency is None]
    whole = store.fills.audit("run-1", rules=["commissions_absent"])["sentence"].to_list()
    if len(unknown) == len(meant):
        assert found.is_empty()
        assert whole == [f"{len(meant)} fills of run run-1 have no currency of its commission, and no other has."]
        return
    assert whole == []
    assert found["fill_id"].to_list() == unknown
    assert found["sentence"].to_list() == [f"fill {name} has no currency of its commission." for name in unknown]
