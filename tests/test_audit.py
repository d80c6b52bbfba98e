"""The audit: for each rule a case that fires, and the nearest one that must not."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import walle
from tests.samples import START, bars, fill, order, run
from walle import demo
from walle.cli.main import main
from walle.fills import FINDINGS, RULES, rule
from walle.fills.audit import Evidence

PLANTED = {
    ("outside_bar", "fill-bt-0039"),
    ("overfilled", "ord-bt-0035"),
    ("unknown_order", "fill-bt-9001"),
    ("duplicate_venue_id", "fill-bt-0058"),
}


def good_fill(number: int = 1, **changes: Any) -> walle.Fill:
    """One that no rule has anything against."""
    base: dict[str, Any] = {
        "price": Decimal("100"),
        "quantity": Decimal("1.25"),
        "commission": Decimal("0.1"),
        "commission_currency": "USD",
        "filled_at": START + timedelta(minutes=2, seconds=number),
    }
    return fill(number, **{**base, **changes})


def good_order(**changes: Any) -> walle.Order:
    """The filled order of two good fills."""
    base: dict[str, Any] = {
        "qty": Decimal("2.5"),
        "filled_qty": Decimal("2.5"),
        "filled_avg_price": Decimal("100"),
        "status": "filled",
        "created_at": START,
        "submitted_at": START,
        "filled_at": START + timedelta(minutes=2, seconds=2),
    }
    return order(**{**base, **changes})


def audit_of(store: walle.Store, orders: list[walle.Order], fills: list[walle.Fill], **options: Any) -> pl.DataFrame:
    frame = bars(10).with_columns(volume=pl.lit(10.0))
    store.bars.ingest(frame, symbol="BTC/USD", timeframe="1m")
    store.orders.save(orders)
    store.fills.append(fills)
    return store.fills.audit(**options)


def test_consistent_fills_have_no_finding(store: walle.Store) -> None:
    nothing = audit_of(store, [good_order()], [good_fill(1), good_fill(2)])
    assert nothing.is_empty()
    assert nothing.schema == FINDINGS


Case = tuple[str, Callable[[], tuple[list[walle.Order], list[walle.Fill]]], set[str]]
_FIRST = START + timedelta(minutes=2, seconds=1)
_LATE = START + timedelta(minutes=2, seconds=2)
_OPENS = START + timedelta(minutes=3)
"""The instant at which a bar ends and the next one opens."""


def pair(order_changes: dict[str, Any] | None = None, **second: Any) -> tuple[list[walle.Order], list[walle.Fill]]:
    return [good_order(**(order_changes or {}))], [good_fill(1), good_fill(2, **second)]


CASES: list[tuple[str, tuple[list[walle.Order], list[walle.Fill]], bool]] = [
    ("unknown_order", ([good_order()], [good_fill(1), good_fill(2), good_fill(3, order_id="order-9")]), True),
    ("unknown_order", ([], [good_fill(1), good_fill(2, order_id="order-9")]), False),
    ("orders_absent", ([], [good_fill(1), good_fill(2, order_id="order-9")]), True),
    ("orders_absent", ([order(2)], [good_fill(1), good_fill(2)]), False),
    ("overfilled", pair(quantity=Decimal("1.2500000001")), True),
    ("overfilled", pair(quantity=Decimal("1.25")), False),
    ("quantity_differs", pair({"filled_qty": Decimal("2.4"), "status": "partial"}), True),
    ("quantity_differs", pair({"filled_qty": Decimal("2.50")}), False),
    ("fills_missing", ([good_order()], []), True),
    ("fills_missing", ([good_order(filled_qty=Decimal(0), status="cancelled", filled_avg_price=None)], []), False),
    ("incomplete", ([good_order(filled_qty=Decimal("1.25"))], [good_fill(1)]), True),
    ("incomplete", ([good_order(filled_qty=Decimal("1.25"), status="cancelled")], [good_fill(1)]), False),
    ("average_differs", pair({"filled_avg_price": Decimal("100.00000002")}), True),
    ("average_differs", pair({"filled_avg_price": Decimal("100.00000001")}), False),
    ("average_differs", pair({"filled_avg_price": Decimal("100.01")}, price=Decimal("100.01")), False),
    ("average_differs", pair({"filled_avg_price": Decimal("100")}, price=Decimal("100.0102")), True),
    ("average_differs", pair({"filled_avg_price": Decimal("100.1")}, price=Decimal("100.19")), False),
    ("average_differs", pair({"filled_avg_price": Decimal("100.1")}, price=Decimal("100.22")), True),
    ("side_differs", pair(side="sell"), True),
    ("symbol_differs", pair(symbol="ETH/USD"), True),
    ("run_differs", pair(run_id="run-2"), True),
    ("run_differs", pair(run_id=None), False),
    ("before_submission", pair({"submitted_at": _FIRST + timedelta(microseconds=1001)}), True),
    ("before_submission", pair({"submitted_at": _FIRST + timedelta(microseconds=1000)}), False),
    ("after_end", pair({"filled_at": _LATE - timedelta(microseconds=1001)}), True),
    ("after_end", pair({"filled_at": _LATE - timedelta(microseconds=1000)}), False),
    ("after_end", pair({"status": "cancelled", "cancelled_at": _LATE - timedelta(microseconds=1001)}), True),
    ("after_end", pair({"status": "cancelled", "cancelled_at": _LATE - timedelta(microseconds=1000)}), False),
    ("duplicate_venue_id", ([good_order()], [good_fill(n, exchange_fill_id="x") for n in (1, 2)]), True),
    ("duplicate_venue_id", ([good_order()], [good_fill(n, exchange_fill_id=f"x{n}") for n in (1, 2)]), False),
    ("limit_violated", pair({"limit_price": Decimal("99.99")}), True),
    ("limit_violated", pair({"limit_price": Decimal("100")}), False),
    ("limit_violated", pair({"limit_price": Decimal("99.99"), "order_type": "market"}), False),
    ("outside_bar", pair(price=Decimal("98.99")), True),
    ("outside_bar", pair(price=Decimal("99")), False),
    ("outside_bar", pair(price=Decimal("101.2")), False),  # the high, a float that no decimal equals
    ("outside_bar", pair(price=Decimal("101.2000000001")), True),
    ("outside_bar", pair(price=Decimal("98.9"), filled_at=_OPENS), True),
    ("outside_bar", pair(price=Decimal("101.3"), filled_at=_OPENS + timedelta(microseconds=1)), False),
    ("large_for_bar", pair({"qty": Decimal(9)}, quantity=Decimal("5.0001")), True),
    ("large_for_bar", pair({"qty": Decimal(9)}, quantity=Decimal("5")), False),
    ("commission_missing", pair(commission=None, commission_currency=None), True),
    ("commission_missing", pair(commission=Decimal(0), commission_currency=None), False),
    ("commission_missing", ([good_order()], [good_fill(n, commission=None) for n in (1, 2)]), False),
    ("commissions_absent", ([good_order()], [good_fill(n, commission=None) for n in (1, 2)]), True),
    ("commissions_absent", pair(commission=None), False),
    ("commission_implausible", pair(commission=Decimal("1.2501")), True),
    ("commission_implausible", pair(commission=Decimal("1.25")), False),
    ("commission_implausible", pair(commission=Decimal("-1.2501")), True),
    ("commission_implausible", pair(commission=Decimal("9"), commission_currency="BNB"), False),
    ("not_checked", pair(filled_at=START - timedelta(minutes=1)), True),
    ("not_checked", pair(filled_at=START + timedelta(minutes=9, seconds=59)), False),
]


@pytest.mark.parametrize(("name", "facts", "fires"), CASES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_rule_fires_on_its_fault_and_not_on_the_nearest_case(
    sqlite_address: str, name: str, facts: tuple[list[walle.Order], list[walle.Fill]], fires: bool
) -> None:
    with walle.connect(sqlite_address) as store:
        seen = audit_of(store, *facts).filter(pl.col("rule") == name)
    assert bool(seen.height) is fires
    assert seen["sentence"].null_count() == 0
    assert set(seen["severity"]) <= {each.severity for each in RULES if each.name == name}


def test_a_fill_where_a_bar_is_missing_is_in_a_hole(sqlite_address: str) -> None:
    with walle.connect(sqlite_address) as store:
        holed = bars(10).filter(pl.int_range(pl.len()) != 2)
        store.bars.ingest(holed, symbol="BTC/USD", timeframe="1m")
        store.orders.save(good_order())
        edge = good_fill(2, filled_at=START + timedelta(minutes=3))  # the next bar is there
        store.fills.append([good_fill(1), edge])
        seen = store.fills.audit(rules=["in_hole", "outside_bar", "not_checked"])
    assert seen.select("rule", "fill_id").rows() == [("in_hole", "fill-1")]


def test_a_fill_outside_the_sessions_of_its_calendar_is_of_a_closed_market(store: walle.Store) -> None:
    demo.load(store)
    facts = store.fills.read("paper-sma-stocks-002").drop("recorded_at").row(0, named=True)
    base = walle.Fill(**{**facts, "exchange_fill_id": None, "id": "late"})
    close = facts["filled_at"].replace(hour=21, minute=0, second=1, microsecond=0)
    walk = {"late": close + timedelta(microseconds=1), "last": close}
    for name, moment in walk.items():
        store.fills.append(walle.Fill(**{**facts, "exchange_fill_id": None, "id": name, "filled_at": moment}))
    seen = store.fills.audit("paper-sma-stocks-002", rules="market_closed")
    assert seen["fill_id"].to_list() == [base.id]
    strict = store.fills.audit("paper-sma-stocks-002", rules="market_closed", session_tolerance=timedelta(0))
    assert strict["fill_id"].to_list() == ["last", "late"]


def test_the_planted_faults_of_the_sample_are_found_and_nothing_else(store: walle.Store) -> None:
    demo.load(store)
    seen = store.fills.audit()
    about = [row["order_id"] if row["rule"] == "overfilled" else row["fill_id"] for row in seen.iter_rows(named=True)]
    assert set(zip(seen["rule"], about, strict=True)) == PLANTED
    assert seen.height == len(PLANTED)
    assert set(seen["run_id"]) == {"bt-sma-eth-001"}
    assert store.fills.audit("bt-sma-eth-001").equals(seen)
    for clean in ("paper-sma-stocks-002", "paper-sma-btc-003"):
        assert store.fills.audit(clean).is_empty()


def test_rules_of_ones_own_join_the_audit_and_say_what_is_wrong_with_them(store: walle.Store) -> None:
    @rule("odd_lot", "info")
    def odd_lot(evidence: Evidence) -> pl.DataFrame:
        """The quantity is no whole number."""
        odd = evidence.fills.filter(pl.col("quantity") % 1 != 0)
        return odd.select(fill_id="id", sentence=pl.format("fill {} is an odd lot.", "id"))

    seen = audit_of(store, [good_order()], [good_fill(1), good_fill(2)], extra_rules=[odd_lot])
    assert seen.select("rule", "severity", "fill_id", "sentence").rows() == [
        ("odd_lot", "info", f"fill-{n}", f"fill fill-{n} is an odd lot.") for n in (1, 2)
    ]
    assert store.fills.audit().is_empty()  # it does not stay
    broken = rule("broken")(lambda evidence: evidence.fills)
    with pytest.raises(walle.InputError, match="rule 'broken' returned"):
        store.fills.audit(extra_rules=[broken])
    with pytest.raises(walle.InputError, match="error, warning, info"):
        rule("x", "fatal")


def test_thresholds_are_arguments_and_exact(store: walle.Store) -> None:
    assert audit_of(store, [good_order()], [good_fill(1), good_fill(2)], max_volume_share=Decimal("0.125")).is_empty()
    assert store.fills.audit(max_volume_share=Decimal("0.1249")).height == 2
    assert store.fills.audit(max_commission_rate=Decimal("0.0007"))["rule"].unique().to_list() == [
        "commission_implausible"
    ]
    with pytest.raises(walle.InputError, match="give a Decimal"):
        store.fills.audit(max_commission_rate=0.01)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(walle.InputError, match="at least 0"):
        store.fills.audit(price_tolerance=Decimal(-1))
    with pytest.raises(walle.InputError, match="no rule 'outside'"):
        store.fills.audit(rules=["outside"])


def test_fills_that_no_bar_can_be_held_against_are_said(store: walle.Store) -> None:
    demo.load(store)
    store.orders.save(good_order(symbol="DOGE/USD"))
    store.fills.append([good_fill(1, symbol="DOGE/USD"), good_fill(2, symbol="DOGE/USD")])
    seen = store.fills.audit("run-1")
    assert seen.select("rule", "severity", "symbol", "actual").rows() == [("not_checked", "info", "DOGE/USD", "2")]
    assert "2 fills of DOGE/USD were not held against bars: there are none of it." in seen["sentence"][0]


def test_an_unknown_run_is_named_and_one_without_fills_has_no_finding(store: walle.Store) -> None:
    demo.load(store)
    with pytest.raises(walle.UnknownRun, match="bt-sma-eth-001"):
        store.fills.audit("bt-sma-eth-1")
    store.runs.save(run(7))
    nothing = store.fills.audit(run(7).id)
    assert nothing.is_empty() and nothing.schema == FINDINGS


def test_every_rule_says_what_it_looks_for() -> None:
    assert len({each.name for each in RULES}) == len(RULES)
    assert all(each.doc.endswith(".") for each in RULES)


@pytest.mark.slow
def test_the_command_tells_findings_and_its_exit_code(
    address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with walle.connect(address) as store:
        demo.load(store)
    assert main(["audit", address]) == 1
    told = capsys.readouterr().out
    assert "Findings: 4 error" in told
    assert "fill fill-bt-0039 is at 3310.91, but its bar reaches from 3255.3 to 3261.98." in told
    assert main(["audit", address, "--run", "paper-sma-stocks-002"]) == 0
    assert capsys.readouterr().out == "No findings.\n"
    assert main(["audit", address, "--json", "--rule", "outside_bar"]) == 1
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["fill_id"], row["actual"], row["expected"]) == ("fill-bt-0039", "3310.91", "3261.98")
    assert main(["audit", address, "--run", "bt-sma"]) == 1
    assert "no run 'bt-sma'" in capsys.readouterr().err


@pytest.mark.parametrize("moment", [datetime(1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)], ids=str)
def test_what_lies_at_an_end_of_the_calendar_is_looked_at_like_any_other(address: str, moment: datetime) -> None:
    opens = moment if moment.year == 1 else moment.replace(minute=55, second=0, microsecond=0)
    with walle.connect(address) as store:
        store.bars.ingest(bars(5, start=opens), symbol="BTC/USD", timeframe="1m", unfinished="keep")
        store.runs.save(run(1))
        store.orders.save(order(1, created_at=moment))
        store.fills.append(fill(1, filled_at=moment))
        assert store.fills.trades()["entry_time"].to_list() == [moment]
        assert "before_order" not in store.fills.audit()["rule"].to_list()
        assert store.fills.costs()["benchmark"].to_list() == ["arrival", "vwap", "open", "close"]
        assert store.fills.shortfall().height == 1
        assert store.runs.equity("run-1").height >= 1
        assert store.runs.history("run-1").filter(kind="fill")["time"].to_list() == [moment]
