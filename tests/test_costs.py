"""Transaction costs and implementation shortfall, against a reference that looks at every bar, in fractions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import walle
from tests.examples import examples
from tests.samples import START as NOON
from tests.samples import bars as some_bars
from tests.samples import fill, order, run
from walle.errors import InputError, UnknownRun
from walle.fills.costs import COSTS, costs
from walle.fills.market import Market
from walle.fills.shortfall import SHORTFALL, shortfall
from walle.frames import FILLS, ORDERS

START = datetime(2025, 11, 19, tzinfo=UTC)
HOUR = timedelta(hours=1)
HALF = Fraction(1, 2 * 10**18)
HOURS = 72
END = START + HOURS * HOUR


def rounded(value: Fraction) -> Decimal:
    """Half-even at 18 places."""
    units = round(value * 10**18)
    return Decimal(units).scaleb(-18)


class Bars:
    """Hourly bars of three days, some missing, in fractions."""

    def __init__(self, prices: Sequence[tuple[int, int]], missing: set[int]) -> None:
        self.rows: dict[int, dict[str, Fraction]] = {}
        for hour, (close, volume) in enumerate(prices):
            if hour not in missing:
                values = {"open": close - 3, "high": close + 7, "low": close - 11, "close": close}
                self.rows[hour] = {name: Fraction(value, 100) for name, value in values.items()}
                self.rows[hour]["volume"] = Fraction(volume, 8)
        self.missing = missing

    def market(self) -> Market:
        rows = [
            {"timestamp": START + hour * HOUR, **{name: float(value) for name, value in row.items()}}
            for hour, row in self.rows.items()
        ]
        columns = ("open", "high", "low", "close", "volume")
        schema = pl.Schema({"timestamp": FILLS["filled_at"], **dict.fromkeys(columns, pl.Float64())})
        inner = [hour for hour in sorted(self.missing) if min(self.rows) < hour < max(self.rows)]
        gaps = [{"start": START + hour * HOUR, "end": START + (hour + 1) * HOUR} for hour in inner]
        gap_schema = {"start": FILLS["filled_at"], "end": FILLS["filled_at"]}
        return Market("1h", pl.DataFrame(rows, schema=schema), pl.DataFrame(gaps, schema=gap_schema))

    def last_close(self, time: datetime) -> Fraction | None:
        ended = (time - START) // HOUR - 1
        goes_on = (time - timedelta(microseconds=1) - START) // HOUR
        return self.rows[ended]["close"] if ended in self.rows and goes_on in self.rows else None

    def vwap(self, start: datetime, end: datetime) -> Decimal | None:
        if start > end:
            return None
        hours = range((start - START) // HOUR, (end - START) // HOUR + 1)
        if any(hour not in self.rows for hour in hours):
            return None
        volume = sum(self.rows[hour]["volume"] for hour in hours)
        rows = [self.rows[hour] for hour in hours]
        typical = sum((row["high"] + row["low"] + row["close"]) / 3 * row["volume"] for row in rows)
        return rounded(Fraction(typical) / volume) if volume else None

    def day(self, time: datetime, column: str) -> Fraction | None:
        day = (time - START) // (24 * HOUR) * 24
        row = self.rows.get(day if column == "open" else day + 23)
        return None if row is None else row[column]


_MONEY = st.integers(1, 10**6).map(lambda units: Decimal(units) / 1000)
_MINUTES = st.integers(1, HOURS * 60 - 61)
_ORDERS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]),
        _MINUTES,  # created
        st.integers(0, 90),  # minutes to the submission
        st.lists(st.tuples(st.integers(0, 300), _MONEY, st.integers(1, 9), st.integers(0, 500)), max_size=3),
        st.integers(1, 30),  # ordered, in eighths
        st.sampled_from(["USD", "USD", "BNB"]),
    ),
    max_size=6,
)
_BARS = st.tuples(
    st.lists(st.tuples(st.integers(100, 5000), st.integers(0, 40)), min_size=HOURS, max_size=HOURS),
    st.sets(st.integers(0, HOURS - 1), max_size=6),
)


def frames(rows: list[tuple[Any, ...]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Orders and their fills, none of them after the bars."""
    orders, fills = [], []
    for number, (side, created, waited, parts, eighths, currency) in enumerate(rows):
        made = START + timedelta(minutes=created)
        last = END - timedelta(minutes=1)
        submitted = min(made + timedelta(minutes=waited), last)
        times = [min(submitted + timedelta(minutes=later), last) for later, *_ in parts]
        quantity = sum((Decimal(size) / 8 for _, _, size, _ in parts), Decimal(0))
        base = {"run_id": f"run-{number % 2}", "symbol": "BTC/USD", "side": side}
        orders.append(
            {
                "id": f"order-{number}",
                "client_order_id": f"c-{number}",
                "order_type": "market",
                "qty": max(Decimal(eighths) / 8, quantity),
                "time_in_force": "gtc",
                "status": "cancelled",
                "filled_qty": quantity,
                "created_at": made,
                "submitted_at": submitted,
                "cancelled_at": max([submitted, *times]),
                **base,
            }
        )
        for part, (time, (_, price, size, fee)) in enumerate(zip(times, parts, strict=True)):
            fills.append(
                {
                    "id": f"fill-{number}-{part}",
                    "order_id": f"order-{number}",
                    "price": price,
                    "quantity": Decimal(size) / 8,
                    "commission": Decimal(fee) / 10_000,
                    "commission_currency": currency,
                    "filled_at": time,
                    **base,
                }
            )
    return pl.DataFrame(orders, schema=ORDERS), pl.DataFrame(fills, schema=FILLS)


def close_to(value: Decimal | None, exact: Fraction | None) -> None:
    assert (value is None) == (exact is None), (value, exact)
    if value is not None and exact is not None:
        assert abs(Fraction(value) - exact) <= HALF


@settings(max_examples=examples(150), deadline=None)
@given(rows=_ORDERS, made=_BARS)
def test_costs_are_those_of_a_look_at_every_bar(rows: list[tuple[Any, ...]], made: Any) -> None:
    orders, fills = frames(rows)
    reference = Bars(*made)
    markets = {"BTC/USD": reference.market()} if reference.rows else {}
    submitted = dict(orders.select("id", "submitted_at").iter_rows())
    last = dict(fills.group_by("order_id").agg(pl.max("filled_at")).iter_rows())
    expected: dict[tuple[str, str], Fraction | None] = {}
    for row in fills.iter_rows(named=True):
        start, time = submitted[row["order_id"]], row["filled_at"]
        price: Any
        for name, price in (
            ("arrival", reference.last_close(start)),
            ("vwap", reference.vwap(start, last[row["order_id"]])),
            ("open", reference.day(time, "open")),
            ("close", reference.day(time, "close")),
        ):
            expected[row["id"], name] = None if price is None else Fraction(price)
    found = costs(fills, orders, markets)
    assert found.schema == COSTS
    assert found.height == 4 * fills.height
    sums: dict[tuple[str, str, str], list[Fraction]] = {}
    for row in found.iter_rows(named=True):
        benchmark, size = expected[row["fill_id"], row["benchmark"]], Fraction(row["quantity"])
        close_to(row["benchmark_price"], benchmark)
        sign = 1 if row["side"] == "buy" else -1
        cost = None if benchmark is None else sign * (Fraction(row["price"]) - benchmark) * size
        close_to(row["cost"], cost)
        close_to(row["bps"], None if cost is None or benchmark is None else cost / (benchmark * size) * 10_000)
        assert (row["reason"] is None) == (benchmark is not None)
        assert row["fills"] == 1
        if cost is not None and benchmark is not None:
            for level, key in (("order", row["order_id"]), ("run", row["run_id"])):
                total = sums.setdefault((level, key, row["benchmark"]), [Fraction(0)] * 3)
                total[0] += cost
                total[1] += benchmark * size
                total[2] += 1
    for level, key in (("order", "order_id"), ("run", "run_id")):
        for row in costs(fills, orders, markets, by=level).iter_rows(named=True):
            cost, worth, count = sums.get((level, row[key], row["benchmark"]), [Fraction(0)] * 3)
            assert row["measured"] == count <= row["fills"]
            close_to(row["cost"], cost if count else None)
            close_to(row["bps"], cost / worth * 10_000 if count else None)
            mine = fills.filter(pl.col(key) == row[key])
            assert row["fills"] == mine.height
            paid: dict[str, Decimal] = {}
            for amount, currency in mine.select("commission", "commission_currency").iter_rows():
                if amount:
                    paid[currency] = paid.get(currency, Decimal(0)) + amount
            assert {fee["currency"]: fee["amount"] for fee in row["fees_by_currency"]} == paid
            assert row["fees"] == (None if len(paid) > 1 else sum(paid.values(), Decimal(0)))


@settings(max_examples=examples(150), deadline=None)
@given(rows=_ORDERS, made=_BARS)
def test_the_shortfall_is_that_of_a_paper_portfolio(rows: list[tuple[Any, ...]], made: Any) -> None:
    orders, fills = frames(rows)
    reference = Bars(*made)
    markets = {"BTC/USD": reference.market()} if reference.rows else {}
    found = shortfall(fills, orders, markets)
    assert found.schema == SHORTFALL
    assert found.height == orders.height
    sums: dict[str, list[Fraction]] = {}
    for row in found.iter_rows(named=True):
        one = orders.filter(id=row["order_id"]).row(0, named=True)
        mine = fills.filter(order_id=row["order_id"])
        sign = 1 if one["side"] == "buy" else -1
        decided, came, ended = (
            reference.last_close(one[name]) for name in ("created_at", "submitted_at", "cancelled_at")
        )
        close_to(row["decision_price"], decided)
        filled = sum((Fraction(size) for size in mine["quantity"]), Fraction(0))
        spent = sum((Fraction(p) * Fraction(q) for p, q in mine.select("price", "quantity").iter_rows()), Fraction(0))
        rest = Fraction(one["qty"]) - filled
        fees: dict[str, Fraction] = {}
        for amount, currency in mine.select("commission", "commission_currency").iter_rows():
            if amount:
                fees[currency] = fees.get(currency, Fraction(0)) + Fraction(amount)
        measurable = decided is not None and (not filled or came is not None) and (not rest or ended is not None)
        measurable = measurable and set(fees) <= {"USD"}
        assert row["measured"] == measurable
        assert (row["reason"] is None) == measurable
        if not measurable:
            assert row["total"] is None
            continue
        assert decided is not None
        # what the paper portfolio gained by the end price, less what the real one did
        last = ended if ended is not None else Fraction(0)
        paper = sign * Fraction(one["qty"]) * (last - decided)
        real = sign * (filled * last - spent) - sum(fees.values(), Fraction(0))
        close_to(row["total"], paper - real)
        close_to(row["bps"], (paper - real) / (decided * Fraction(one["qty"])) * 10_000)
        parts = [row[name] for name in ("delay", "trading", "opportunity", "fees")]
        assert abs(sum(map(Fraction, parts)) - (paper - real)) <= 4 * HALF
        total = sums.setdefault(row["run_id"], [Fraction(0), Fraction(0)])
        total[0] += paper - real
        total[1] += 1
    for row in shortfall(fills, orders, markets, by="run").iter_rows(named=True):
        exact, count = sums.get(row["run_id"], [Fraction(0)] * 2)
        assert row["measured"] == count
        close_to(row["total"], exact if count else None)
        paid: dict[str, Decimal] = {}
        known = fills.filter(pl.col("run_id") == row["run_id"])
        for amount, currency in known.select("commission", "commission_currency").iter_rows():
            if amount:
                paid[currency] = paid.get(currency, Decimal(0)) + amount
        assert {fee["currency"]: fee["amount"] for fee in row["fees_by_currency"]} == paid


def filled(store: walle.Store, **changes: Any) -> None:
    """One order for 2.5 with two fills, and bars around it."""
    store.runs.save(run())
    store.orders.save(order(1, submitted_at=NOON + timedelta(minutes=2), created_at=NOON + timedelta(minutes=2)))
    times = [NOON + timedelta(minutes=3), NOON + timedelta(minutes=5, seconds=30)]
    store.fills.append([fill(number + 1, filled_at=time, **changes) for number, time in enumerate(times)])


def reasons(store: walle.Store, **options: Any) -> dict[str, str | None]:
    found = store.fills.costs("run-1", by="order", **options)
    return dict(found.select("benchmark", "reason").iter_rows())


def test_what_is_not_measurable_says_why(store: walle.Store) -> None:
    filled(store)
    assert set(reasons(store).values()) == {"no bars of this symbol (2 of 2)"}
    store.bars.ingest(some_bars(3, start=NOON + timedelta(minutes=4)), symbol="BTC/USD", timeframe="1m")
    assert reasons(store) == {
        "arrival": "no bar before the order was submitted (2 of 2)",
        "vwap": "the bars start after the order was submitted (2 of 2)",
        "open": "the bars start after the day's open (2 of 2)",
        "close": "the bars end before the day does (2 of 2)",
    }
    store.bars.ingest(some_bars(2), symbol="BTC/USD", timeframe="1m")
    assert reasons(store, benchmarks=["vwap", "arrival"]) == {
        "vwap": "a bar is missing between submission and last fill (2 of 2)",
        "arrival": None,
    }
    first = store.fills.costs(benchmarks="arrival").row(0, named=True)
    assert first["benchmark_price"] == Decimal("100.1")  # the close of the second bar
    assert store.fills.costs("run-1", by="run", benchmarks="open")["measured"].to_list() == [2]


def test_a_fill_without_its_order_has_no_arrival(store: walle.Store) -> None:
    store.fills.append(fill(1, filled_at=NOON + timedelta(minutes=3)))
    store.bars.ingest(some_bars(1440), symbol="BTC/USD", timeframe="1m")
    assert reasons(store) == {
        "arrival": "its order is not stored",
        "vwap": "its order is not stored",
        "open": None,
        "close": None,
    }
    assert store.fills.shortfall("run-1").is_empty()


def test_commissions_of_two_currencies_are_kept_apart(store: walle.Store) -> None:
    filled(store)
    foreign = {"commission": Decimal("0.01"), "commission_currency": "BNB"}
    store.fills.append(fill(3, filled_at=NOON + timedelta(minutes=4), **foreign))
    store.bars.ingest(some_bars(1440), symbol="BTC/USD", timeframe="1m")
    row = store.fills.costs(by="order", benchmarks="arrival").row(0, named=True)
    assert row["fees"] is None
    assert [fee["currency"] for fee in row["fees_by_currency"]] == ["BNB", fill().commission_currency]
    lost = store.fills.shortfall().row(0, named=True)
    assert (lost["total"], lost["fees"], lost["reason"]) == (None, None, "commissions in several currencies")
    assert lost["trading"] is not None


CONTRACTS = {
    "linear": (
        walle.Instrument(symbol="ESZ5", kind="future", quote="USD", multiplier=Decimal(50)),
        # bought 2 of 3 at 101.5: 1 above the close of 100.5 before the order, which fell to 99.5 when it was cancelled
        {"notional": Decimal(10150), "cost": Decimal(100), "delay": Decimal(0), "opportunity": Decimal(-50)},
        "USD",
    ),
    "inverse": (
        walle.Instrument(
            symbol="ESZ5", kind="perpetual", base="BTC", quote="USD", inverse=True, multiplier=Decimal(50)
        ),
        {
            "notional": rounded(Fraction(200, 203)),
            "cost": rounded(Fraction(200, 201)) - rounded(Fraction(200, 203)),
            "delay": Decimal(0),
            "opportunity": rounded(Fraction(100, 201)) - rounded(Fraction(100, 199)),
        },
        "BTC",
    ),
}


@pytest.mark.parametrize(("instrument", "right", "currency"), CONTRACTS.values(), ids=CONTRACTS)
def test_a_contract_costs_its_multiple(
    store: walle.Store, instrument: walle.Instrument, right: dict[str, Decimal], currency: str
) -> None:
    store.instruments.save(instrument)
    frame = some_bars(60, price=100.0).with_columns(close=pl.when(pl.int_range(60) < 30).then(100.5).otherwise(99.5))
    store.bars.ingest(frame, symbol="ESZ5", timeframe="1m")
    at = NOON + timedelta(minutes=10)
    mine = {"symbol": "ESZ5", "order_id": "order-1", "side": "buy"}
    store.orders.save(
        order(
            symbol="ESZ5",
            qty=Decimal(3),
            filled_qty=Decimal(2),
            filled_avg_price=Decimal("101.5"),
            status="cancelled",
            created_at=at,
            submitted_at=at,
            cancelled_at=NOON + timedelta(minutes=40),
        )
    )
    store.fills.append(fill(1, price=Decimal("101.5"), quantity=Decimal(2), commission=None, filled_at=at, **mine))
    store.runs.save(run())
    (cost,) = store.fills.costs("run-1", benchmarks="arrival").to_dicts()
    assert (cost["currency"], cost["quantity"], cost["price"]) == (currency, 2, Decimal("101.5"))
    assert {name: cost[name] for name in ("notional", "cost")} == {name: right[name] for name in ("notional", "cost")}
    (lost,) = store.fills.shortfall("run-1").to_dicts()
    assert (lost["currency"], lost["trading"]) == (currency, right["cost"])
    assert {name: lost[name] for name in ("delay", "opportunity")} == {
        name: right[name] for name in ("delay", "opportunity")
    }
    assert store.fills.shortfall("run-1", by="run")["total"].item() == right["cost"] + right["opportunity"]


def test_the_day_of_a_stock_is_its_session(store: walle.Store) -> None:
    minutes = [NOON.replace(hour=14, minute=30) + timedelta(days=2, minutes=step) for step in range(390)]
    frame = some_bars(390).with_columns(timestamp=pl.Series(minutes, dtype=FILLS["filled_at"]))
    store.bars.ingest(frame, symbol="ACME", timeframe="1m")
    store.bars.set_calendar("ACME", "XNYS")
    at = minutes[100] + timedelta(seconds=5)
    store.orders.save(order(1, symbol="ACME", created_at=at, submitted_at=at, status="filled", filled_at=at))
    night = at + timedelta(hours=20)
    store.fills.append([fill(1, symbol="ACME", filled_at=at), fill(2, symbol="ACME", filled_at=night)])
    found = store.fills.costs(benchmarks=["open", "close"])
    assert found["benchmark_price"].to_list() == [Decimal(100), Decimal("138.9"), None, None]
    assert found["reason"].to_list() == [None, None, "the market was closed", "the market was closed"]
    assert found["currency"].unique().to_list() == [fill().commission_currency]


def test_nothing_is_an_empty_table_and_bad_words_are_told(store: walle.Store) -> None:
    assert store.fills.costs().schema == COSTS
    assert store.fills.shortfall().schema == SHORTFALL
    store.runs.save(run())
    assert store.fills.costs("run-1").is_empty()
    assert store.fills.shortfall("run-1", by="run").is_empty()
    with pytest.raises(UnknownRun, match="run-1"):
        store.fills.costs("run-11")
    with pytest.raises(UnknownRun):
        store.fills.shortfall("run-11")
    for said, message in (
        ({"by": "day"}, "by='day': allowed are fill, order, run"),
        ({"benchmarks": "mid"}, "give some of arrival, vwap, open, close"),
        ({"benchmarks": []}, "give some of"),
        ({"benchmarks": ["open", "open"]}, "each once"),
    ):
        with pytest.raises(InputError, match=message):
            store.fills.costs(**said)
    with pytest.raises(InputError, match="allowed are order, run"):
        store.fills.shortfall(by="fill")  # type: ignore[arg-type]  # what a caller may get wrong
