"""What had been recorded by a time: fills, cash flows and actions, and every figure that stands on them."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import walle
from tests.raw import Raw
from tests.samples import START, fill, order, run
from walle import CashFlow, CorporateAction, Instrument, UnrecordedWarning
from walle.errors import InputError, UnknownRun

FLOW = CashFlow(id="flow-1", time=START, kind="deposit", amount=Decimal(1000), currency="USD", run_id="run-1")
TRADED: dict[str, Any] = {"quantity": Decimal(2), "price": Decimal(100), "commission": None, "liquidity": None}


@pytest.fixture
def raw(address: str) -> Raw:
    return Raw(address)


class Ticks:
    """The times between steps, each later than what was recorded before and earlier than what is recorded after."""

    def __init__(self, raw: Raw) -> None:
        self._raw = raw

    def now(self) -> datetime:
        """Return the time of the database, and let its clock go on."""
        time.sleep(0.004)  # SQLite's clock counts milliseconds
        if self._raw.sqlite:
            text = self._raw.value("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')")
            found = datetime.fromisoformat(text).replace(tzinfo=UTC)
        else:
            found = self._raw.value("SELECT clock_timestamp()").astimezone(UTC)
        time.sleep(0.004)
        return found


@pytest.fixture
def ticks(raw: Raw) -> Ticks:
    return Ticks(raw)


@pytest.fixture(autouse=True)
def _no_warning() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnrecordedWarning)
        yield


def ids(frame: pl.DataFrame) -> list[str]:
    return frame["id"].to_list()


def test_fills_are_read_as_they_were_known(store: walle.Store, ticks: Ticks) -> None:
    before = ticks.now()
    store.fills.append(fill(1))
    one = ticks.now()
    store.fills.append(fill(2))
    two = ticks.now()
    store.fills.correct("fill-1", by=fill(3), reason="r")
    three = ticks.now()
    store.fills.correct("fill-2", reason="busted")
    told = {before: [], one: ["fill-1"], two: ["fill-1", "fill-2"], three: ["fill-2", "fill-3"]}
    for moment, expected in told.items():
        assert ids(store.fills.read(as_of=moment)) == expected
        assert ids(store.fills.read("run-1", as_of=moment.isoformat())) == expected
        assert [each.id for each in store.fills.list("run-1", as_of=moment)] == expected
    assert ids(store.fills.read(as_of=three, corrected=False)) == ["fill-1", "fill-2", "fill-3"]
    assert ids(store.fills.read(as_of=two, corrected=False)) == ["fill-1", "fill-2"]
    assert ids(store.fills.read()) == ["fill-3"]
    with pytest.raises(UnknownRun):
        store.fills.read("run-2", as_of=one)


def test_the_time_of_recording_itself_counts(store: walle.Store) -> None:
    store.fills.append(fill(1))
    recorded = store.fills.read()["recorded_at"].item()
    assert ids(store.fills.read(as_of=recorded)) == ["fill-1"]
    assert ids(store.fills.read(as_of=recorded - timedelta(microseconds=1))) == []


def test_cash_flows_and_actions_are_read_as_they_were_known(store: walle.Store, ticks: Ticks) -> None:
    split = CorporateAction(id="s1", symbol="AAPL", kind="split", ex_date=date(2020, 8, 31), ratio=Decimal(4))
    before = ticks.now()
    store.cash.append(FLOW)
    store.actions.append(split)
    one = ticks.now()
    store.cash.correct("flow-1", by=dataclasses.replace(FLOW, id="flow-2", amount=Decimal(900)), reason="r")
    store.actions.append(dataclasses.replace(split, id="s2", ratio=Decimal(5), supersedes="s1", reason="r"))
    two = ticks.now()
    for moment, flows, actions in ((before, [], []), (one, ["flow-1"], ["s1"]), (two, ["flow-2"], ["s2"])):
        assert ids(store.cash.read(as_of=moment)) == flows
        assert ids(store.actions.read(as_of=moment)) == actions
    assert ids(store.cash.read(as_of=one, corrected=False)) == ["flow-1"]
    assert ids(store.actions.read(as_of=one, superseded=True)) == ["s1"]


def test_a_date_is_its_first_instant_in_utc(store: walle.Store) -> None:
    store.fills.append(fill(1))
    store.cash.append(FLOW)
    recorded = store.fills.read()["recorded_at"].item()
    for moment in (recorded.date(), recorded.date().isoformat(), "1999-01-01", datetime(1999, 1, 1, tzinfo=UTC)):
        assert store.fills.read(as_of=moment).is_empty()
        assert store.cash.read(as_of=moment).is_empty()


READS = [
    *("fills.read", "fills.list", "fills.trades", "fills.audit", "fills.costs", "cash.read", "actions.read"),
    *("runs.ledger", "runs.equity", "runs.metrics", "runs.drawdowns", "runs.returns"),
]


@pytest.mark.parametrize("name", READS)
def test_a_time_that_nobody_knows_is_refused(store: walle.Store, name: str) -> None:
    store.runs.save(run())
    noun, _, method = name.partition(".")
    read = getattr(getattr(store, noun), method)
    given = ["run-1"] if noun == "runs" else []
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(InputError, match=r"as_of=.* is in the future: the clock of the database says .*Give a time"):
        read(*given, as_of=tomorrow)
    for bad in ("yesterday", datetime(2025, 1, 1), 5, ""):
        with pytest.raises(InputError, match="as_of"):
            read(*given, as_of=bad)
    read(*given, as_of=datetime.now(UTC) - timedelta(seconds=1))


def test_now_is_no_future(store: walle.Store) -> None:
    for _ in range(50):  # SQLite's clock cuts off what is below a millisecond
        store.fills.read(as_of=datetime.now(UTC))


def test_fills_that_do_not_say_when_they_were_recorded_count_and_are_counted(store: walle.Store, raw: Raw) -> None:
    store.fills.append(fill(1))
    columns = ["id", "order_id", "price", "quantity", "side", "filled_at", "run_id"]
    rows = [(f"theirs-{each}", "order-1", Decimal(1), Decimal(2), "buy", START, "run-1") for each in range(2)]
    raw.insert("fills", columns, rows)
    told = "2 of 2 fills do not say when they were recorded.*They may not have been known at 1999-01-01"
    with pytest.warns(UnrecordedWarning, match=told) as caught:
        assert ids(store.fills.read(as_of="1999-01-01")) == ["theirs-0", "theirs-1"]
    assert caught[0].filename == __file__
    with pytest.warns(UnrecordedWarning, match="2 of 2 fills"):
        assert len(store.fills.list(as_of="1999-01-01")) == 2
    with pytest.warns(UnrecordedWarning, match="2 of 2 fills"):
        store.runs.ledger("run-1", as_of="1999-01-01")
    recorded = store.fills.read()["recorded_at"].drop_nulls().item()
    with pytest.warns(UnrecordedWarning, match="2 of 3 fills"):
        store.fills.read(as_of=recorded)
    assert store.fills.read().height == 3


def test_a_run_is_reckoned_from_what_was_known(store: walle.Store, ticks: Ticks) -> None:
    store.runs.save(run(config={"starting_cash": 10_000}, started_at=START, stopped_at=START + timedelta(hours=1)))
    times = [START + timedelta(minutes=each) for each in range(60)]
    closes = [100.0 + each for each in range(60)]
    prices = dict.fromkeys(("open", "high", "low", "close"), closes)
    bars = pl.DataFrame({"timestamp": times, **prices, "volume": [1e6] * 60}).cast(
        {"timestamp": pl.Datetime("us", "UTC")}
    )
    store.bars.ingest(bars, symbol="BTC/USD", timeframe="1m")
    buy = fill(1, **TRADED)
    sell = fill(2, **(TRADED | {"side": "sell", "price": Decimal(110), "filled_at": START + timedelta(minutes=20)}))
    right = dataclasses.replace(sell, id="fill-3", price=Decimal(120))
    moments = [ticks.now()]
    for step in (
        lambda: store.fills.append(buy),
        lambda: store.fills.append(sell),
        lambda: store.cash.append(dataclasses.replace(FLOW, time=START + timedelta(minutes=5))),
        lambda: store.fills.correct("fill-2", by=right, reason="r"),
        lambda: store.cash.correct("flow-1", reason="r"),
    ):
        step()
        moments.append(ticks.now())
    # by hand: 10,000 at first, 2 bought at 100, sold at 110, then known to be at 120; 1,000 deposited, then not
    worth = [None, -200 + 2 * 159, 20, 1020, 1040, 40]
    usd = [None, -200, 20, 1020, 1040, 40]
    gained = [None, None, 20, 20, 40, 40]
    for moment, value, cash, gain in zip(moments, worth, usd, gained, strict=True):
        equity = store.runs.equity("run-1", as_of=moment)
        entries = store.runs.ledger("run-1", as_of=moment)
        trades = store.fills.trades("run-1", as_of=moment)
        metrics = store.runs.metrics("run-1", as_of=moment)
        costs = store.fills.costs("run-1", as_of=moment)
        assert store.runs.returns("run-1", as_of=moment).is_empty() is (value is None)
        if value is None or cash is None:
            assert equity.is_empty() and trades.is_empty() and metrics.is_empty() and costs.is_empty()
            assert entries.filter(pl.col("fill_id").is_not_null()).is_empty()
            continue
        assert equity["equity"][-1] == 10_000 + value
        assert entries.filter(asset="USD")["amount"].sum() == 10_000 + cash
        assert trades["pnl_gross"].to_list() == [gain]
        assert metrics.filter(metric="end_equity")["amount"].item() == 10_000 + value
        standing = ids(store.fills.read("run-1", as_of=moment))
        assert costs["fill_id"].unique().sort().to_list() == standing
    assert store.runs.equity("run-1").equals(store.runs.equity("run-1", as_of=moments[-1]))
    assert store.runs.metrics("run-1").equals(store.runs.metrics("run-1", as_of=moments[-1]))


def test_a_split_counts_once_it_was_recorded(store: walle.Store, ticks: Ticks) -> None:
    store.runs.save(run(prices="raw", config={"starting_cash": 0}))
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    store.fills.append(fill(1, **TRADED, symbol="AAPL"))
    unknown = ticks.now()
    day = START.date() + timedelta(days=3)
    split = CorporateAction(id="s", symbol="AAPL", kind="split", ex_date=day, ratio=Decimal(4))
    store.actions.append(split)
    four = ticks.now()
    store.actions.append(dataclasses.replace(split, id="s2", ratio=Decimal(5), supersedes="s", reason="r"))

    def held(**given: Any) -> object:
        return store.runs.ledger("run-1", **given).filter(asset="AAPL")["amount"].sum()

    assert [held(as_of=unknown), held(as_of=four), held()] == [2, 8, 10]


def test_what_a_symbol_is_counts_once_it_was_recorded(store: walle.Store, ticks: Ticks) -> None:
    store.runs.save(run(config={"starting_cash": 0}))
    future = Instrument(symbol="ESZ5", kind="future", quote="USD", multiplier=Decimal(50))
    store.instruments.save(future)
    store.fills.append(
        [fill(1, **TRADED, symbol="ESZ5"), fill(2, **(TRADED | {"side": "sell", "price": Decimal(101)}), symbol="ESZ5")]
    )
    fifty = ticks.now()
    store.instruments.save(dataclasses.replace(future, multiplier=Decimal(5)), reason="it is the micro contract")
    assert store.fills.trades("run-1", as_of=fifty)["pnl_gross"].to_list() == [100]
    assert store.fills.trades("run-1")["pnl_gross"].to_list() == [10]


def test_an_audit_looks_at_what_was_known(store: walle.Store, ticks: Ticks) -> None:
    store.orders.save(order(qty=Decimal(2), filled_qty=Decimal(2), status="filled"))
    store.fills.append(fill(1, **TRADED))
    clean = ticks.now()
    store.fills.append(fill(2, **TRADED))
    over = ticks.now()

    def found(**given: Any) -> list[tuple[str, bool]]:
        return store.fills.audit("run-1", rules="overfilled", **given).select("rule", "answered").rows()

    store.fills.acknowledge(store.fills.audit("run-1", rules="overfilled"), "known")
    answered = ticks.now()
    store.fills.correct("fill-2", reason="twice")
    assert found(as_of=clean) == []
    assert found(as_of=over) == [("overfilled", False)]
    assert found(as_of=answered) == [("overfilled", True)]
    assert found() == []
    store.orders.save(order(qty=Decimal(2), filled_qty=Decimal(2), status="filled", exchange_order_id="v"))
    with pytest.warns(UnrecordedWarning, match="1 of 1 orders were saved after"):
        store.fills.audit("run-1", as_of=answered)


def test_a_symbol_that_was_traded_later_is_known(store: walle.Store, ticks: Ticks) -> None:
    before = ticks.now()
    store.fills.append(fill(1, **TRADED))
    assert store.fills.trades("run-1", symbol="BTC/USD", as_of=before).is_empty()
    with pytest.raises(InputError, match="did you mean 'BTC/USD'"):
        store.fills.trades("run-1", symbol="BTC/USX", as_of=before)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(st.tuples(st.sampled_from(["append", "correct", "bust", "again"]), st.integers(0, 9)), max_size=8)
)
def test_any_history_is_read_as_a_plain_model_has_it(
    store: walle.Store, ticks: Ticks, steps: list[tuple[str, int]]
) -> None:
    run_id = f"run-{time.monotonic_ns()}"
    stored: list[str] = []
    gone: set[str] = set()
    states: list[tuple[datetime, set[str]]] = []
    for number, (step, which) in enumerate(steps):
        standing = sorted(set(stored) - gone)
        name = f"{run_id}-{number}"
        if step == "append" or not standing:
            store.fills.append(fill(number, id=name, run_id=run_id))
            stored.append(name)
        elif step == "again":
            store.fills.append(store.fills.get(stored[which % len(stored)]))
        else:
            wrong = standing[which % len(standing)]
            by = fill(number, id=name, run_id=run_id) if step == "correct" else None
            store.fills.correct(wrong, by=by, reason="r")
            gone.add(wrong)
            stored += [] if by is None else [name]
        states.append((ticks.now(), set(stored) - gone))
    for moment, expected in states:
        assert set(ids(store.fills.read(run_id, as_of=moment))) == expected
