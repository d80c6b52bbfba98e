"""The rules of the audit over frames alone: for each a case that fires, and the nearest one that must not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

import walle
from tests.samples import START, bars
from tests.test_audit import good_fill, good_order
from walle.fills import RULES, fills_frame, orders_frame
from walle.fills.audit import Evidence
from walle.fills.evidence import HOLDINGS, INSTRUMENTS, Thresholds
from walle.fills.market import Market
from walle.fills.order_events import ORDER_EVENTS, order_events

D = Decimal
NOW = START + timedelta(days=30)
SPAN = {"start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")}
SESSION = {"open": pl.Datetime("us", "UTC"), "close": pl.Datetime("us", "UTC")}
MICRO = timedelta(microseconds=1)


def at(minutes: float = 0, **more: float) -> datetime:
    return START + timedelta(minutes=minutes, **more)


def market(
    frame: pl.DataFrame | None = None,
    timeframe: str = "1m",
    sessions: list[tuple[datetime, datetime]] | None = None,
    gaps: list[tuple[datetime, datetime]] | None = None,
) -> Market:
    frame = bars(10).with_columns(volume=pl.lit(10.0)) if frame is None else frame
    opened = None if sessions is None else pl.DataFrame(sessions, schema=SESSION, orient="row")
    return Market(timeframe, frame, pl.DataFrame(gaps or [], schema=SPAN, orient="row"), opened)


def judged(
    name: str,
    orders: list[walle.Order],
    fills: list[walle.Fill],
    *,
    markets: dict[str, Market] | None = None,
    events: list[dict[str, Any]] | None = None,
    instruments: list[dict[str, Any]] | None = None,
    holdings: list[tuple[str | None, str]] | None = None,
    **limits: Any,
) -> list[str]:
    """Return what the findings of a rule are about: the fill, else the order, else the run."""
    (chosen,) = [each for each in RULES if each.name == name]
    evidence = Evidence(
        fills_frame(fills),
        orders_frame(orders),
        {"BTC/USD": market()} if markets is None else markets,
        Thresholds(**limits),
        pl.DataFrame(events or [], schema=ORDER_EVENTS),
        NOW,
        pl.DataFrame(instruments or [], schema=INSTRUMENTS),
        pl.DataFrame(holdings or [], schema=HOLDINGS, orient="row"),
    )
    found = chosen.findings(evidence)
    assert found["sentence"].null_count() == 0
    return [row["fill_id"] or row["order_id"] or row["run_id"] for row in found.iter_rows(named=True)]


def pair(**order: Any) -> tuple[list[walle.Order], list[walle.Fill]]:
    """An order, and two fills that fill it whole."""
    return [good_order(**order)], [good_fill(1), good_fill(2)]


STOP: dict[str, Any] = {"order_type": "stop", "limit_price": None, "submitted_at": at(0, seconds=5)}
LATE = at(4, seconds=30)

ORDERS: list[tuple[str, dict[str, Any], bool]] = [
    ("rejected_filled", {"status": "rejected"}, True),
    ("rejected_filled", {"status": "expired"}, False),
    ("cancelled_filled", {"status": "cancelled"}, True),
    ("cancelled_filled", {"status": "expired"}, True),
    ("cancelled_filled", {"status": "cancelled", "qty": D("2.50000001")}, False),
    ("open_filled", {"status": "partial"}, True),
    ("open_filled", {"status": "accepted"}, True),
    ("open_filled", {"status": "partial", "qty": D("2.50000001")}, False),
    ("filled_zero", {"filled_qty": D(0)}, True),
    ("filled_zero", {"filled_qty": D("0.00000001")}, False),
    ("filled_zero", {"filled_qty": D(0), "status": "accepted"}, False),
    ("filled_without_time", {"filled_at": None}, True),
    ("filled_without_time", {"filled_at": None, "status": "partial"}, False),
    ("order_without_price", {"order_type": "limit", "limit_price": None}, True),
    ("order_without_price", {"order_type": "market", "limit_price": None}, False),
    ("order_without_price", {"order_type": "stop", "limit_price": D(1)}, True),
    ("order_without_price", {"order_type": "stop", "limit_price": None, "stop_price": D(1)}, False),
    ("order_without_price", {"order_type": "stop_limit", "limit_price": D(1)}, True),
    ("order_without_price", {"order_type": "stop_limit", "limit_price": D(1), "stop_price": D(1)}, False),
    ("fok_partial", {"time_in_force": "fok", "qty": D("2.50000001")}, True),
    ("fok_partial", {"time_in_force": "fok"}, False),
    ("fok_partial", {"time_in_force": "ioc", "qty": D(3)}, False),
    ("created_after_submission", {"created_at": at(1), "submitted_at": at(1) - 1001 * MICRO}, True),
    ("created_after_submission", {"created_at": at(1), "submitted_at": at(1) - 1000 * MICRO}, False),
    ("in_future", {"filled_at": NOW + timedelta(seconds=5) + MICRO}, True),
    ("in_future", {"filled_at": NOW + timedelta(seconds=5)}, False),
    ("ioc_late", {"time_in_force": "ioc", "submitted_at": at(1, seconds=1) - MICRO}, True),
    ("ioc_late", {"time_in_force": "ioc", "submitted_at": at(1, seconds=2)}, False),
    ("ioc_late", {"time_in_force": "gtc", "submitted_at": at(0)}, False),
]


@pytest.mark.parametrize(("name", "changes", "fires"), ORDERS)
def test_a_rule_about_orders_fires_on_its_fault_and_not_on_the_nearest_case(
    name: str, changes: dict[str, Any], fires: bool
) -> None:
    assert bool(judged(name, *pair(**changes))) is fires


def test_a_time_of_a_fill_in_the_future() -> None:
    fills = [good_fill(1, filled_at=NOW + timedelta(seconds=5)), good_fill(2, filled_at=NOW + timedelta(seconds=6))]
    assert judged("in_future", [], fills) == ["fill-2"]
    assert judged("in_future", [], fills, clock_skew=timedelta(seconds=6)) == []


def test_an_immediate_order_may_take_a_bar_or_the_allowed_delay() -> None:
    facts = [good_order(time_in_force="fok", submitted_at=at(0))], [good_fill(1, filled_at=at(0, seconds=40))]
    assert judged("ioc_late", *facts) == []
    assert judged("ioc_late", *facts, markets={}) == ["fill-1"]
    assert judged("ioc_late", *facts, markets={}, max_ioc_delay=timedelta(seconds=40)) == []


def test_a_day_order_ends_with_its_session() -> None:
    day = timedelta(days=1)
    lunch = [(at(0), at(120)), (at(180), at(300))]  # a break is within the session
    sessions = [*lunch, (at(0) + day, at(300) + day)]
    held = {"BTC/USD": market(sessions=sessions)}
    base = {"time_in_force": "day", "submitted_at": at(60)}
    moments = {"morning": at(90), "close": at(301), "late": at(301) + MICRO, "next": at(1) + day}
    fills = [good_fill(n, id=name, filled_at=moment) for n, (name, moment) in enumerate(moments.items())]
    assert judged("day_late", [good_order(**base)], fills, markets=held) == ["late", "next"]
    assert judged("day_late", [good_order(**base | {"time_in_force": "gtc"})], fills, markets=held) == []
    evening = good_order(**base | {"submitted_at": at(310)})  # it is for the next session
    assert judged("day_late", [evening], fills[3:], markets=held) == []


def test_without_a_calendar_a_day_order_ends_when_the_market_traded_a_day_before() -> None:
    order = good_order(time_in_force="day", submitted_at=at(60))
    weekend = pl.concat([bars(70), bars(70, start=at(0) + timedelta(days=3))])
    fill = [good_fill(1, filled_at=at(0, seconds=30) + timedelta(days=3))]
    assert judged("day_late", [order], fill, markets={"BTC/USD": market(weekend)}) == ["fill-1"]
    evening = good_order(time_in_force="day", submitted_at=at(75))
    assert judged("day_late", [evening], fill, markets={"BTC/USD": market(weekend)}) == []
    daily = bars(5, start=START.replace(hour=0, minute=0), minutes=1440)
    dated = [START.replace(hour=0, minute=0) + timedelta(days=n) for n in range(4)]
    by_date = good_order(time_in_force="day", submitted_at=dated[0])
    days = [good_fill(n, filled_at=dated[n]) for n in (1, 2)]
    assert judged("day_late", [by_date], days, markets={"BTC/USD": market(daily, "1d")}) == ["fill-2"]


@pytest.mark.parametrize(
    ("side", "stop", "fires"),
    # from the first to the fifth bar the lows are 99, and the highs rise from 101 to 101.4
    [("buy", "101.41", True), ("buy", "101.4", False), ("sell", "98.99", True), ("sell", "99", False)],
)
def test_a_stop_that_no_bar_reached(side: str, stop: str, fires: bool) -> None:
    order = good_order(**STOP, side=side, stop_price=D(stop))
    fills = [good_fill(1, side=side, filled_at=LATE)]
    assert bool(judged("stop_not_reached", [order], fills)) is fires
    holed = {"BTC/USD": market(gaps=[(at(2), at(3))])}
    assert judged("stop_not_reached", [order], fills, markets=holed) == []  # it may have been reached there
    early = good_order(**STOP | {"submitted_at": at(-1), "created_at": at(-1)}, side=side, stop_price=D(stop))
    assert judged("stop_not_reached", [early], fills) == []  # before the first bar
    assert judged("stop_not_reached", [order], fills, markets={}) == []
    late = good_order(**STOP | {"submitted_at": at(9)}, side=side, stop_price=D(stop))
    assert judged("stop_not_reached", [late], fills) == []  # before_submission says it


def test_two_orders_with_one_id_of_the_exchange() -> None:
    def with_id(number: int, **changes: Any) -> walle.Order:
        return good_order(**{"id": f"o-{number}", "client_order_id": f"c-{number}", "exchange_order_id": "x"} | changes)

    assert judged("duplicate_order_id", [with_id(1), with_id(2)], []) == ["o-2"]
    for other in ({"exchange_order_id": "y"}, {"run_id": "run-2"}, {"symbol": "ETH/USD"}, {"exchange_order_id": None}):
        assert judged("duplicate_order_id", [with_id(1), with_id(2, **other)], []) == []


def test_the_same_execution_under_a_new_id() -> None:
    base: dict[str, Any] = {"filled_at": at(2), "exchange_fill_id": None}

    def twice(first: dict[str, Any] | None = None, **second: Any) -> list[str]:
        return judged("same_execution", [], [good_fill(1, **base | (first or {})), good_fill(2, **base | second)])

    assert twice() == ["fill-2"]
    assert twice(exchange_fill_id="x") == ["fill-2"]  # one source told it, the other did not
    assert twice({"exchange_fill_id": "y"}, exchange_fill_id="x") == []
    for other in ({"price": D("100.01")}, {"quantity": D("1.26")}, {"filled_at": at(2) + MICRO}, {"side": "sell"}):
        assert twice(**other) == []
    assert twice(order_id="order-2") == []
    assert twice({"account": "a"}, account="a", order_id="order-2", run_id="run-2") == ["fill-2"]
    assert twice({"account": "a"}, account="b", order_id="order-2") == []
    again = {"exchange_fill_id": "x", "account": "a"}
    assert twice(again, **again, order_id="order-2", run_id="run-2") == ["fill-2"]
    assert twice(again, **again, order_id="order-2") == []  # duplicate_venue_id says it


def test_self_trades() -> None:
    base: dict[str, Any] = {"filled_at": at(2), "liquidity": None}

    def both(first: dict[str, Any] | None = None, **second: Any) -> list[str]:
        sold = base | {"side": "sell", "order_id": "order-2"} | second
        return judged("self_trade", [], [good_fill(1, **base | (first or {})), good_fill(2, **sold)])

    assert both() == ["fill-2"]
    assert both({"liquidity": "maker"}, liquidity="taker") == ["fill-2"]
    assert both({"liquidity": "taker"}, liquidity="taker") == []  # each with another
    for other in ({"price": D("100.01")}, {"quantity": D(1)}, {"filled_at": at(3)}, {"side": "buy"}, {"symbol": "X/Y"}):
        assert both(**other) == []
    assert both(run_id="run-2") == []
    assert both({"account": "a"}, account="a", run_id="run-2") == ["fill-2"]
    assert both({"account": "a"}, account="b") == []
    assert both({"run_id": None}, run_id=None) == []  # nobody knows whose they are


def test_a_rebate_for_a_taker() -> None:
    for liquidity, paid, fires in (("taker", "-0.01", True), ("maker", "-0.01", False), ("taker", "0", False)):
        fills = [good_fill(1, liquidity=liquidity, commission=D(paid))]
        assert bool(judged("taker_rebate", [], fills)) is fires
    assert judged("taker_rebate", [], [good_fill(1, liquidity=None, commission=D("-0.01"))]) == []


def test_a_commission_in_a_currency_that_nobody_has() -> None:
    def paid(currency: str | None, symbol: str = "BTC/USD", **more: Any) -> list[str]:
        fills = [
            good_fill(1, symbol=symbol, commission_currency=currency),
            good_fill(2, symbol="ETH/EUR", commission_currency="EUR"),
        ]
        return judged("fee_currency", [], fills, **more)

    assert paid("BNB") == ["fill-1"]
    for known in ("BTC", "USD", "ETH", "EUR", None):  # the run trades the others
        assert paid(known) == []
    assert paid("BNB", holdings=[("run-1", "BNB")]) == []
    assert paid("BNB", holdings=[("run-2", "BNB")]) == ["fill-1"]
    assert paid("USDT", "BTC/USDT:USDT") == [] and paid("XYZ", "BTC/USDT:USDT") == ["fill-1"]
    assert paid("XYZ", "ACME") == []  # whose currency is unknown
    stock = [{"symbol": "ACME", "quote": "CHF"}]
    assert paid("XYZ", "ACME", instruments=stock) == ["fill-1"] and paid("CHF", "ACME", instruments=stock) == []


def test_a_fee_ten_times_its_peers_or_zero() -> None:
    def outliers(*fees: str, **more: Any) -> list[str]:
        fills = [good_fill(n, commission=D(fee)) for n, fee in enumerate(fees)]
        return judged("fee_outlier", [], fills, **more)

    peers = ["0.1"] * 25
    assert outliers(*peers, "1") == ["fill-25"]
    assert outliers(*peers, "0.99") == []
    assert outliers(*peers, "-1") == ["fill-25"]
    assert outliers(*peers, "1", max_fee_ratio=D(11)) == []
    assert outliers(*["0.1"] * 3, "1") == []  # too few to compare with
    assert outliers(*["0.1"] * 3, "1", min_peers=4) == ["fill-3"]
    free = [good_fill(n, order_id=f"order-{n}", commission=D(fee)) for n, fee in enumerate([*peers, "0"])]
    assert judged("fee_outlier", [], free) == ["fill-25"]
    assert outliers(*peers, "0") == []  # of the same order, which was charged once
    more = [good_fill(n, order_id=f"order-{n}", commission=D(0)) for n in range(25, 30)]
    assert judged("fee_outlier", [], free[:25] + more) == []  # something of this kind is free


def test_a_contract_that_has_expired() -> None:
    fills = [good_fill(1), good_fill(2)]
    first = fills[0].filled_at
    facts = [{"symbol": "BTC/USD", "expires_at": first}]
    assert judged("expired_contract", [], fills, instruments=facts) == ["fill-2"]
    assert judged("expired_contract", [], fills, instruments=[{"symbol": "BTC/USD", "expires_at": None}]) == []


def test_a_minimum_fee_and_sizes_make_no_outlier() -> None:
    sizes = [D(size) for size in ("0.001", "0.002", *["100"] * 20, "5000")]
    fixed = [good_fill(n, quantity=size, commission=max(D(1), size / 200)) for n, size in enumerate(sizes)]
    assert judged("fee_outlier", [], fixed) == []
    share = [good_fill(n, quantity=size, commission=size / 50) for n, size in enumerate(sizes)]
    assert judged("fee_outlier", [], share) == []
    share[5] = good_fill(5, quantity=sizes[5], commission=sizes[5] / 5)
    assert judged("fee_outlier", [], share) == ["fill-5"]


def test_prices_and_sizes_off_their_steps() -> None:
    facts = [{"symbol": "BTC/USD", "tick_size": D("0.25"), "lot_size": D("0.05")}]
    fills = [good_fill(1, price=D("100.25")), good_fill(2, price=D("100.3"), quantity=D("1.26"))]
    assert judged("off_tick", [], fills, instruments=facts) == ["fill-2"]
    assert judged("off_lot", [], fills, instruments=facts) == ["fill-2"]
    assert judged("off_tick", [], fills) == [] == judged("off_lot", [], fills)
    unknown = [{"symbol": "BTC/USD", "tick_size": None, "lot_size": None}]
    assert judged("off_tick", [], fills, instruments=unknown) == []
    later = [*facts, {"symbol": "BTC/USD", "valid_from": at(2, seconds=2), "tick_size": D("0.1"), "lot_size": D(1)}]
    assert judged("off_tick", [], fills, instruments=later) == []
    assert judged("off_lot", [], fills, instruments=later) == ["fill-2"]
    mended = [*facts, {"symbol": "BTC/USD", "tick_size": D("0.1"), "lot_size": D("0.01")}]  # the last one counts
    assert judged("off_tick", [], fills, instruments=mended) == ["fill-1"]


def test_a_symbol_that_is_anothers_alias() -> None:
    facts = [{"symbol": "BTC/USD", "aliases": ["XBT/USD", "BTC/USD"]}]
    assert judged("alias_symbol", [], [good_fill(1, symbol="XBT/USD")], instruments=facts) == ["run-1"]
    assert judged("alias_symbol", [], [good_fill(1)], instruments=facts) == []


def test_a_run_whose_fills_are_all_at_the_extremes_of_their_bars() -> None:
    low, high = D(99), [D(str(round(101 + n / 10, 1))) for n in range(10)]

    def run(count: int, **last: Any) -> list[walle.Fill]:
        made = [good_fill(n, filled_at=at(n, seconds=30), price=high[n] if n % 2 else low) for n in range(count)]
        return [*made[:-1], good_fill(count - 1, **{"filled_at": at(count - 1, seconds=30), "price": low} | last)]

    assert judged("at_extremes", [], run(10)) == ["run-1"]
    assert judged("at_extremes", [], run(10, price=D("99.01"))) == []
    assert judged("at_extremes", [], run(9)) == []
    assert judged("at_extremes", [], run(9), min_extreme_fills=9) == ["run-1"]
    flat = bars(20).with_columns(pl.lit(99.0).alias(name) for name in ("open", "high", "low", "close"))
    assert judged("at_extremes", [], run(10, price=low), markets={"BTC/USD": market(flat)}) == []


def told(kind: str, **facts: Any) -> dict[str, Any]:
    return {"offset": 7, "type": f"orders.{kind}", "time": at(3), "run_id": "run-1", "order_id": "order-1", **facts}


@pytest.mark.parametrize(
    ("status", "kind", "fires"),
    [
        ("filled", "Filled", False),
        ("filled", "Cancelled", True),
        ("cancelled", "Canceled", False),
        ("cancelled", "Filled", True),
        ("rejected", "Accepted", False),  # the log tells of no end
        ("accepted", "PartiallyFilled", True),
        ("partial", "PartiallyFilled", False),
        ("cancelled", "PartiallyFilled", False),
        ("partial", "Expired", True),
    ],
)
def test_an_event_that_says_another_status(status: str, kind: str, fires: bool) -> None:
    found = judged("event_status_differs", *pair(status=status), events=[told("Placed", offset=1), told(kind)])
    assert bool(found) is fires


def test_an_event_that_says_another_quantity() -> None:
    first = told("PartiallyFilled", offset=3, filled_qty=D(1))
    for said, fires in (("2.5", False), ("2.49", True)):
        events = [first, told("Filled", filled_qty=D(said))]
        assert bool(judged("event_quantity_differs", *pair(), events=events)) is fires


def test_an_event_that_says_another_fill() -> None:
    fact: dict[str, Any] = {"fill_id": "fill-1", "price": D(100), "quantity": D("1.25"), "side": "buy"}
    fact["commission"] = D("0.1")
    rules = ("event_fill_differs", "event_commission_differs", "event_fill_missing")
    for change, wrong in (
        ({}, None),
        ({"price": D("100.01")}, rules[0]),
        ({"quantity": D(1)}, rules[0]),
        ({"side": "sell"}, rules[0]),
        ({"side": None, "price": None, "commission": None}, None),
        ({"commission": D("0.11")}, rules[1]),
    ):
        events = [told("Filled", **fact | {"price": D(1)}, offset=3), told("Filled", **fact | change)]  # the last one
        for name in rules:
            assert judged(name, *pair(), events=events) == (["fill-1"] if name == wrong else []), (name, change)
    assert judged(rules[2], *pair(), events=[told("Filled", **fact | {"fill_id": "gone"})]) == ["gone"]
    lost = [good_order()], [good_fill(1, commission=None), good_fill(2)]
    assert judged(rules[1], *lost, events=[told("Filled", **fact)]) == ["fill-1"]


def test_events_of_other_programs_are_read_as_far_as_they_say_something() -> None:
    payloads = ['{"order_id": "o", "price": 1.5, "quantity": "2"}', "[1]", "no json", None, '{"order_id": {"a": 1}}']
    payloads += ['{"order_id": "p", "price": "1e3", "commission": "0.1234567890123456789", "filled_qty": null}']
    count = len(payloads)
    frame = pl.DataFrame(
        {
            "offset": range(count), "type": ["orders.Filled"] * count, "run_id": ["r"] * count, "ts": [None] * count,
            "created_at": [START] * count, "payload": payloads,
        },
        schema_overrides={"ts": pl.Datetime("us", "UTC"), "created_at": pl.Datetime("us", "UTC")},
    )  # fmt: skip
    rows = order_events(frame).filter(pl.col("order_id").is_in(["o", "p"]))
    assert rows.schema == ORDER_EVENTS
    assert rows.select("offset", "order_id", "price", "quantity", "commission").rows() == [
        (0, "o", D("1.5"), D(2), None),
        (5, "p", None, None, None),
    ]
    assert order_events(frame[:1])["quantity"].to_list() == [D(2)]
    assert order_events(frame.clear()).schema == ORDER_EVENTS


def test_thresholds_of_the_wrong_kind_are_refused() -> None:
    for wrong in ({"time_tolerance": 1}, {"clock_skew": timedelta(-1)}, {"min_peers": 0}, {"min_extreme_fills": True}):
        with pytest.raises(walle.InputError, match=next(iter(wrong))):
            Thresholds(**wrong)


def test_a_dated_stamp_is_one_of_its_session() -> None:
    day = datetime(2025, 3, 7, tzinfo=UTC)  # a Friday
    sessions = [(day + timedelta(hours=14), day + timedelta(hours=21))]
    held = {"BTC/USD": market(bars(1, start=day), "1d", sessions)}
    moments = [day, day + timedelta(days=1) - MICRO, day + timedelta(days=1), day + timedelta(days=2)]
    fills = [good_fill(n, filled_at=moment) for n, moment in enumerate([*moments, day + timedelta(hours=3)])]
    assert judged("market_closed", [], fills, markets=held) == ["fill-3", "fill-4"]
