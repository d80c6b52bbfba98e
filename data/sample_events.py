"""The event log of the synthetic runs: one envelope for each thing that happened, derived from the facts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sample_records import Fill, Order

NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://example.org/walle/sample-data")

Envelope = dict[str, Any]


def plain(value: Decimal | None) -> str | None:
    """Write an exact decimal as text, without exponent and trailing zeros.

    Parameters
    ----------
    value : Decimal or None
        Any finite decimal.

    Returns
    -------
    str or None
        None for None.
    """
    return None if value is None else format(value.normalize(), "f")


def instant(value: datetime | None) -> str | None:
    """Write an instant as ISO text with microseconds and offset.

    Parameters
    ----------
    value : datetime or None
        An aware datetime in UTC.

    Returns
    -------
    str or None
        None for None.
    """
    return None if value is None else value.isoformat(timespec="microseconds")


def identifier(*parts: str) -> str:
    """Make an id that looks random and never changes.

    Parameters
    ----------
    *parts : str
        What the id stands for.

    Returns
    -------
    str
        A UUID of version 5.
    """
    return str(uuid.uuid5(NAMESPACE, "/".join(parts)))


@dataclass(slots=True)
class _Chain:
    """Events of one life, of a run or of an order: each is caused by the one before it."""

    run_id: str
    subject: str
    cause: str | None
    events: list[Envelope] = field(default_factory=list)

    def add(self, kind: str, event_type: str, moment: datetime, producer: str, payload: Mapping[str, Any]) -> None:
        event_id = identifier("event", self.subject, str(len(self.events)), event_type)
        envelope: Envelope = {
            "id": event_id,
            "kind": kind,
            "type": event_type,
            "version": 1,
            "run_id": self.run_id,
            "corr_id": identifier("life", self.subject),
            "causation_id": self.cause,
            "trace_id": identifier("trace", self.run_id),
            "ts": instant(moment),
            "producer": producer,
            "headers": {},
            "payload": dict(payload),
        }
        self.events.append(envelope)
        self.cause = event_id


def make_events(runs: Sequence[Mapping[str, Any]], orders: Sequence[Order]) -> list[Envelope]:
    """Tell the lives of runs and orders as events.

    Parameters
    ----------
    runs : sequence of mapping
        As runs.json holds them.
    orders : sequence of Order
        Orders of these runs, with their fills.

    Returns
    -------
    list of dict
        Envelopes in time order. An order's first event is caused by its run's run.Started.
    """
    events: list[Envelope] = []
    for run in runs:
        life = _run_events(run)
        events += life
        for order in (order for order in orders if order.run_id == run["id"]):
            events += _order_events(order, started=life[1]["id"])
    return sorted(events, key=lambda event: str(event["ts"]))


def _run_events(run: Mapping[str, Any]) -> list[Envelope]:
    chain = _Chain(run["id"], run["id"], None)
    created, started = (datetime.fromisoformat(run[key]) for key in ("created_at", "started_at"))
    facts = {key: run[key] for key in ("strategy_id", "mode", "symbols", "timeframe", "config")}
    chain.add("evt", "run.Created", created, "runner", facts)
    chain.add("evt", "run.Started", started, "runner", {"status": "running"})
    if run["stopped_at"] is not None:
        stopped = datetime.fromisoformat(run["stopped_at"])
        if run["status"] == "stopped":
            chain.add(
                "cmd",
                "run.Stop",
                stopped - timedelta(milliseconds=250),
                "operator",
                {"reason": "end of trial"},
            )
        chain.add("evt", f"run.{run['status'].capitalize()}", stopped, "runner", {"status": run["status"]})
    return chain.events


def _order_events(order: Order, *, started: str) -> list[Envelope]:
    chain = _Chain(order.run_id, order.id, started)
    identity = {"order_id": order.id, "client_order_id": order.client_order_id, "symbol": order.symbol}
    terms = {
        "side": order.side,
        "order_type": order.order_type,
        "qty": plain(order.qty),
        "limit_price": plain(order.limit_price),
        "stop_price": plain(order.stop_price),
        "time_in_force": order.time_in_force,
    }
    chain.add("evt", "orders.Placed", order.created_at, "strategy", {**identity, **terms})
    if order.status == "rejected":
        refusal = {"reject_reason": order.reject_reason, "error_code": order.error_code}
        chain.add("evt", "orders.Rejected", order.acknowledged_at, "broker", {**identity, **refusal})
        return chain.events
    accepted = {"exchange_order_id": order.exchange_order_id}
    chain.add("evt", "orders.Accepted", order.acknowledged_at, "broker", {**identity, **accepted})
    filled = Decimal(0)
    for index, fill in enumerate(order.fills):
        filled = min(order.qty, filled + fill.quantity)
        last = order.status == "filled" and index + 1 == len(order.fills)
        event_type = "orders.Filled" if last else "orders.PartiallyFilled"
        chain.add("evt", event_type, fill.filled_at, "broker", {**identity, **_fill_facts(fill, filled)})
    rest = {"filled_qty": plain(order.filled_qty)}
    if order.cancelled_at is not None:
        asked = order.cancelled_at - timedelta(milliseconds=80)
        chain.add("cmd", "orders.Cancel", asked, "strategy", identity)
        chain.add("evt", "orders.Cancelled", order.cancelled_at, "broker", {**identity, **rest})
    if order.expired_at is not None:
        chain.add("evt", "orders.Expired", order.expired_at, "broker", {**identity, **rest})
    return chain.events


def _fill_facts(fill: Fill, filled: Decimal) -> dict[str, Any]:
    return {
        "fill_id": fill.id,
        "exchange_fill_id": fill.exchange_fill_id,
        "side": fill.side,
        "price": plain(fill.price),
        "quantity": plain(fill.quantity),
        "commission": plain(fill.commission),
        "commission_currency": fill.commission_currency,
        "liquidity": fill.liquidity,
        "filled_qty": plain(filled),
    }
