"""The audit of a store: what its event log, its instruments and its cash flows say of fills, on both databases."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa

import walle
from tests.raw import Raw
from tests.samples import START, bars, event, fill, order, run
from walle import demo, models
from walle.database import Database
from walle.repositories import FillRepository

RUN = "bt-sma-eth-001"


def tamper(address: str, statement: str) -> int:
    """Change facts past the guards, as who owns the database can."""
    raw = Raw(address)
    if not raw.sqlite:
        raw.run("ALTER TABLE fills DISABLE TRIGGER USER")
        return raw.run(statement)
    for name in sorted(raw.triggers()):
        if name.startswith("walle_guard_fills"):
            raw.run(f"DROP TRIGGER {name}")
    return raw.run(statement)


def test_commissions_that_were_zeroed_are_contradicted_by_the_events(address: str) -> None:
    with walle.connect(address) as store:
        demo.load(store)
        told = store.events.read(run_id=RUN, types=["orders.Filled", "orders.PartiallyFilled"]).height
        before = store.fills.audit(RUN)
        zero = "'0'" if Raw(address).sqlite else "0"
        changed = tamper(address, f"UPDATE fills SET commission = {zero} WHERE id LIKE 'fill-bt-%'")
        found = store.fills.audit(RUN)
        assert (changed, told) == (193, 192)  # no event tells of the fill of the unknown order
        new = found.filter(~pl.col("key").is_in(before["key"].implode()))
        assert new["rule"].unique().to_list() == ["event_commission_differs"]
        assert (new.height, set(new["severity"]), set(new["actual"])) == (told, {"error"}, {"0"})
        paid = store.events.read(run_id=RUN, types=["orders.Filled"]).select(
            fill=pl.col("payload").str.json_path_match("$.fill_id"),
            fee=pl.col("payload").str.json_path_match("$.commission"),
        )
        both = paid.join(new, left_on="fill", right_on="fill_id")
        assert both.height == paid.height and both["fee"].equals(both["expected"], check_names=False)
        assert store.fills.audit().filter(rule="event_commission_differs").height == told


def test_a_fill_that_was_deleted_is_told_by_its_event(address: str) -> None:
    with walle.connect(address) as store:
        demo.load(store)
        tamper(address, "DELETE FROM fills WHERE id = 'fill-btc-0042'")
        found = store.fills.audit("paper-sma-btc-003")
        assert {"event_fill_missing", "fills_missing"} == set(found["rule"])
        assert found.filter(rule="event_fill_missing")["key"].to_list() == ["event_fill_missing:fill:fill-btc-0042"]
        assert store.fills.audit("paper-sma-stocks-002").is_empty()


def test_events_of_other_runs_and_corrected_fills_are_left_out(store: walle.Store, address: str) -> None:
    for number, (run_id, fill_id) in enumerate({"run-1": "fill-1", "run-2": "fill-2"}.items()):
        facts = {"order_id": f"order-{number}", "fill_id": fill_id, "price": "5", "quantity": "1"}
        store.events.append(event(number, type="orders.Filled", run_id=run_id, payload=facts))
        store.fills.append(fill(number + 1, run_id=run_id))
    assert store.fills.audit("run-1", rules="event_fill_differs")["fill_id"].to_list() == ["fill-1"]
    assert store.fills.audit(rules="event_fill_differs")["fill_id"].to_list() == ["fill-1", "fill-2"]
    moved = {"order_id": "order-1", "fill_id": "fill-2"}  # the fill is stored, in the other run
    store.events.append(event(8, type="orders.Filled", run_id="run-1", payload=moved))
    assert store.fills.audit("run-1", rules="event_fill_missing").is_empty()
    values = "(fill_id, reason, author) VALUES ('fill-1', 'bust', 'ann')"
    Raw(address).run(f"INSERT INTO fill_corrections {values}")
    assert store.fills.audit("run-1", rules="event_fill_differs").is_empty()


async def test_instruments_and_cash_flows_of_the_database_count(database: Database) -> None:
    fills = FillRepository(database)
    base: dict[str, Any] = {"commission_currency": "BNB", "price": Decimal("100.3"), "symbol": "XBT/USD"}
    await fills.append([fill(1, **base), fill(2, **base)])
    names = ("alias_symbol", "off_tick", "off_lot", "fee_currency")

    async def rules() -> list[str]:
        return sorted((await fills.audit("run-1", rules=names))["rule"])

    assert await rules() == ["fee_currency"]
    facts = {"inverse": False, "tick_size": Decimal("0.25"), "lot_size": Decimal("0.5")}
    async with database.write() as writer:
        await writer.execute(sa.insert(models.instruments), {"symbol": "BTC/USD", "aliases": ["XBT/USD"], **facts})
        await writer.execute(sa.insert(models.instruments), {"symbol": "XBT/USD", **facts})
    assert await rules() == ["alias_symbol", "fee_currency", "off_lot", "off_lot", "off_tick", "off_tick"]
    flow = {"id": "c-1", "run_id": "run-1", "time": START, "kind": "deposit", "amount": Decimal(5), "currency": "BNB"}
    async with database.write() as writer:
        await writer.execute(sa.insert(models.cash_flows), flow)
    assert "fee_currency" not in await rules()


@pytest.mark.parametrize("config", [{"starting_cash": {"BNB": "5", "USD": "1"}}, {"currency": "BNB"}])
def test_what_a_run_begins_with_is_held(store: walle.Store, config: dict[str, Any]) -> None:
    store.runs.save(run(1, config=config))
    store.fills.append([fill(1, commission_currency="BNB"), fill(2, run_id="run-2", commission_currency="BNB")])
    assert store.fills.audit(rules="fee_currency")["run_id"].to_list() == ["run-2"]


def test_the_bars_since_the_submission_of_a_stop_are_read(store: walle.Store) -> None:
    store.bars.ingest(bars(60), symbol="BTC/USD", timeframe="1m")  # the highs rise by a tenth a minute, from 101
    late = START + timedelta(minutes=50, seconds=5)
    for number, stop in enumerate(("105.9", "106.1")):
        facts: dict[str, Any] = {"order_type": "stop", "limit_price": None, "stop_price": Decimal(stop)}
        store.orders.save(order(number, **facts, created_at=START, qty=Decimal(2)))
        store.fills.append(fill(number, order_id=f"order-{number}", filled_at=late))
    found = store.fills.audit("run-1", rules="stop_not_reached").filter(rule="stop_not_reached")
    assert found.select("fill_id", "actual", "expected").rows() == [("fill-1", "106", "106.1")]
