"""Round trips against a reference that moves fractions unit by unit, and excursions against a look at every bar."""

from __future__ import annotations

from collections import defaultdict
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
from tests.samples import fill, run
from walle import demo
from walle.fills.coerce import fills_frame
from walle.fills.market import Market
from walle.fills.trades import TRADES, trades
from walle.frames import DECIMAL, FILLS
from walle.options import LotMethod

START = datetime(2025, 11, 19, tzinfo=UTC)
HALF = Fraction(1, 2 * 10**18)
METHODS = ("fifo", "lifo", "average")

_MONEY = st.integers(1, 10**6).map(lambda units: Decimal(units) / 1000)
_FILLS = st.lists(
    st.tuples(
        st.sampled_from(["buy", "sell"]),
        _MONEY,  # price
        st.integers(1, 12).map(lambda thirds: Decimal(thirds) / 8),  # quantity, in eighths
        st.one_of(st.none(), st.integers(0, 500).map(lambda units: Decimal(units) / 10_000)),  # commission
        st.sampled_from(["a", "b"]),  # run
    ),
    max_size=14,
)


def frame(rows: list[tuple[Any, ...]], symbol: str = "BTC/USD", currency: str | None = "USD") -> pl.DataFrame:
    records = [
        {
            "id": f"fill-{number:03d}",
            "order_id": f"order-{number}",
            "run_id": run_id,
            "symbol": symbol,
            "side": side,
            "price": price,
            "quantity": quantity,
            "commission": commission,
            "commission_currency": currency if commission is not None else None,
            "filled_at": START + timedelta(minutes=number),
        }
        for number, (side, price, quantity, commission, run_id) in enumerate(rows)
    ]
    return pl.DataFrame(records, schema=FILLS)


class Reference:
    """Round trips the slow way: each fill is cut into eighths, and each eighth finds its own partner."""

    def __init__(self, method: str) -> None:
        self.method = method
        self.lots: list[list[Any]] = []  # of an eighth: direction, price, fee, the number of its fill
        self.closed: dict[tuple[int | None, int], list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 3)

    def take(self, number: int, side: str, price: Decimal, quantity: Decimal, commission: Decimal | None) -> None:
        sign = 1 if side == "buy" else -1
        fee = Fraction(commission or 0) / (Fraction(quantity) * 8)
        averaged = None
        for _ in range(int(quantity * 8)):
            if not self.lots or self.lots[0][0] == sign:
                self.lots.append([sign, Fraction(price), fee, number])
                continue
            if self.method == "average" and averaged is None:
                averaged = self.average()
            direction, entry, paid, opened = self.lots.pop(-1 if self.method == "lifo" else 0)
            if averaged is not None:
                entry, paid = averaged
            found = self.closed[(None if averaged is not None else opened, number)]
            found[0] += Fraction(1, 8)
            found[1] += direction * (Fraction(price) - entry) / 8
            found[2] += paid + fee
        if self.method == "average" and self.lots:  # every eighth of a position costs the same
            price_now, fee_now = self.average()
            self.lots = [[sign_, price_now, fee_now, number_] for sign_, _, _, number_ in self.lots]

    def average(self) -> tuple[Fraction, Fraction]:
        count = len(self.lots)
        return sum((lot[1] for lot in self.lots), Fraction(0)) / count, sum(
            (lot[2] for lot in self.lots), Fraction(0)
        ) / count


@settings(max_examples=examples(150), deadline=None)
@pytest.mark.parametrize("method", METHODS)
@given(rows=_FILLS)
def test_round_trips_equal_those_of_fractions_to_the_last_place(method: str, rows: list[tuple[Any, ...]]) -> None:
    found = trades(frame(rows), method=method)
    assert found.schema == TRADES
    for name in {row[4] for row in rows}:
        reference = Reference(method)
        for number, (side, price, quantity, commission, run_id) in enumerate(rows):
            if run_id == name:
                reference.take(number, side, price, quantity, commission)
        closed = found.filter(pl.col("run_id") == name, ~pl.col("is_open"))
        seen = {}
        for row in closed.iter_rows(named=True):
            opened = None if method == "average" else int(row["entry_fill_id"][-3:])
            seen[(opened, int(row["exit_fill_id"][-3:]))] = row
        assert seen.keys() == reference.closed.keys()
        for key, (quantity, gross, fees) in reference.closed.items():
            row = seen[key]
            assert Fraction(row["quantity"]) == quantity
            assert abs(Fraction(row["pnl_gross"]) - gross) <= HALF
            assert abs(Fraction(row["fees"]) - fees) <= HALF
            assert abs(Fraction(row["pnl_net"]) - (gross - fees)) <= HALF
        left = found.filter(pl.col("run_id") == name, "is_open")
        assert Fraction(left["quantity"].sum()) == Fraction(len(reference.lots), 8)


@settings(max_examples=examples(100), deadline=None)
@pytest.mark.parametrize("method", METHODS)
@given(rows=_FILLS, close=st.integers(1, 10**6))
def test_cash_and_holdings_are_what_was_realised_and_what_is_not(
    method: str, rows: list[tuple[Any, ...]], close: int
) -> None:
    last = Fraction(close, 1000)
    bars = bars_at([close / 1000] * (len(rows) + 1))
    found = trades(frame(rows), {"BTC/USD": Market("1m", bars, no_gaps())}, method=method)
    for name in {row[4] for row in rows}:
        mine = [row for row in rows if row[4] == name]
        flows = sum((Fraction(row[1] * row[2]) * (1 if row[0] == "sell" else -1) for row in mine), Fraction(0))
        held = sum((Fraction(row[2]) * (1 if row[0] == "buy" else -1) for row in mine), Fraction(0))
        fees = sum((Fraction(row[3] or 0) for row in mine), Fraction(0))
        ours = found.filter(pl.col("run_id") == name)
        realised, unrealised, paid = (
            sum((Fraction(value) for value in ours[column].drop_nulls()), Fraction(0))
            for column in ("pnl_gross", "unrealised", "fees")
        )
        slack = HALF * ours.height * 2
        assert abs(flows + held * last - (realised + unrealised)) <= slack
        assert abs(paid - fees) <= slack


def bars_at(closes: list[float]) -> pl.DataFrame:
    times = [START + timedelta(minutes=number) for number in range(len(closes))]
    values = pl.Series(closes, dtype=pl.Float64)
    return pl.DataFrame(
        {
            "timestamp": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
            "open": values,
            "high": values + 2,
            "low": values - 2,
            "close": values,
            "volume": values,
        }
    )


def no_gaps() -> pl.DataFrame:
    return pl.DataFrame(schema={"start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")})


@settings(max_examples=examples(100), deadline=None)
@given(
    rows=_FILLS.filter(bool),
    walk=st.lists(st.integers(-40, 40), min_size=20, max_size=20),
    gap=st.integers(0, 25),
)
def test_excursions_are_the_extremes_of_the_bars_in_between(
    rows: list[tuple[Any, ...]], walk: list[int], gap: int
) -> None:
    closes = [500 + sum(walk[: end + 1]) for end in range(20)]
    bars = bars_at([float(close) for close in closes])
    missing = bars.filter(pl.int_range(pl.len()) == gap)["timestamp"]
    gaps = pl.DataFrame({"start": missing, "end": missing + timedelta(minutes=1)})
    kept = bars.filter(~pl.col("timestamp").is_in(missing.implode()))
    found = trades(frame(rows), {"BTC/USD": Market("1m", kept, gaps)})
    for row in found.iter_rows(named=True):
        begin = (row["entry_time"] - START) // timedelta(minutes=1)
        end = 19 if row["is_open"] else (row["exit_time"] - START) // timedelta(minutes=1)
        if gap in range(begin, end + 1):
            assert row["mae"] is None and row["mfe"] is None
            assert row["reason"] is not None
            continue
        sign = 1 if row["direction"] == "long" else -1
        seen = [price for place in range(begin, end + 1) for price in (closes[place] - 2, closes[place] + 2)]
        moves = [sign * (price - Fraction(row["entry_price"])) * Fraction(row["quantity"]) for price in seen]
        assert Fraction(row["mae"]) == min(0, *moves)
        assert Fraction(row["mfe"]) == max(0, *moves)


def test_a_flip_closes_what_is_open_and_opens_the_rest() -> None:
    rows = [("buy", Decimal(100), Decimal(1), None, "a"), ("sell", Decimal(110), Decimal(3), None, "a")]
    found = trades(frame(rows))
    assert found.select("direction", "quantity", "pnl_gross", "is_open").rows() == [
        ("long", Decimal(1), Decimal(10), False),
        ("short", Decimal(2), None, True),
    ]


def test_commissions_of_two_currencies_are_kept_apart() -> None:
    one = frame([("buy", Decimal(100), Decimal(2), Decimal("0.01"), "a")], currency="BNB")
    two = frame([("sell", Decimal(90), Decimal(1), Decimal("0.2"), "a")]).with_columns(
        id=pl.lit("fill-999"), filled_at=pl.col("filled_at") + timedelta(minutes=5)
    )
    for method in METHODS:
        row = trades(pl.concat([one, two]), method=method).row(0, named=True)
        assert (row["pnl_gross"], row["fees"], row["pnl_net"]) == (Decimal(-10), None, None)
        assert row["fees_by_currency"] == [
            {"currency": "BNB", "amount": Decimal("0.005")},
            {"currency": "USD", "amount": Decimal("0.2")},
        ]
        assert "several currencies" in row["reason"]


def test_a_commission_in_another_currency_than_the_prices_is_not_taken_off() -> None:
    rows = [("buy", Decimal(100), Decimal(1), Decimal(1), "a"), ("sell", Decimal(120), Decimal(1), Decimal(1), "a")]
    row = trades(frame(rows, currency="BNB")).row(0, named=True)
    assert (row["fees"], row["fee_currency"], row["pnl_net"]) == (Decimal(2), "BNB", None)
    assert "commissions in BNB, prices in USD" in row["reason"]
    row = trades(frame(rows, symbol="ACME")).row(0, named=True)  # a symbol that does not say its currency
    assert row["pnl_net"] == Decimal(18)


def test_all_winners_and_all_losers_are_told_apart() -> None:
    up = [(side, Decimal(100 + n), Decimal("0.3"), None, "a") for n in range(4) for side in ("buy", "sell")]
    rows = [(side, price + (1 if side == "sell" else 0), size, fee, name) for side, price, size, fee, name in up]
    assert trades(frame(rows))["pnl_gross"].to_list() == [Decimal("0.3")] * 4
    rows = [(side, price - (1 if side == "sell" else 0), size, fee, name) for side, price, size, fee, name in up]
    assert trades(frame(rows))["pnl_gross"].to_list() == [Decimal("-0.3")] * 4


def test_bars_that_start_after_the_fills_are_named_as_the_reason() -> None:
    rows = [("buy", Decimal(100), Decimal(1), None, "a"), ("sell", Decimal(120), Decimal(1), None, "a")]
    late = bars_at([100.0, 101.0]).with_columns(pl.col("timestamp") + timedelta(days=1))
    row = trades(frame(rows), {"BTC/USD": Market("1m", late, no_gaps())}).row(0, named=True)
    assert (row["mae"], row["mfe"], row["reason"]) == (None, None, "the bars start after the entry")
    assert trades(frame(rows)).row(0, named=True)["reason"] == "no bars of this symbol"


@pytest.mark.parametrize("method", METHODS)
def test_the_sample_runs_end_with_what_their_fills_say(store: walle.Store, method: LotMethod) -> None:
    demo.load(store)
    found = store.fills.trades(method=method)
    assert found.schema == TRADES
    fills = store.fills.read()
    for (name, symbol), mine in fills.group_by("run_id", "symbol"):
        ours = found.filter(pl.col("run_id") == name, pl.col("symbol") == symbol)
        close = store.bars.latest(symbol, "1m").close
        flows = held = Fraction(0)
        for row in mine.iter_rows(named=True):
            sign = 1 if row["side"] == "buy" else -1
            flows -= sign * Fraction(row["price"]) * Fraction(row["quantity"])
            held += sign * Fraction(row["quantity"])
        gained = sum((Fraction(v) for c in ("pnl_gross", "unrealised") for v in ours[c].drop_nulls()), Fraction(0))
        assert abs(flows + held * Fraction(repr(close)) - gained) <= HALF * 2 * ours.height
    assert found.filter("is_open", run_id="bt-sma-eth-001")["quantity"].sum() == Decimal(2)  # as data/README.md says


def test_bad_input_is_named(store: walle.Store) -> None:
    demo.load(store)
    with pytest.raises(walle.UnknownRun, match="bt-sma-eth-001"):
        store.fills.trades("bt-sma-eth-01")
    with pytest.raises(walle.InputError, match="fifo, lifo, average"):
        store.fills.trades(method="hifo")  # type: ignore[arg-type]  # what a caller may get wrong
    with pytest.raises(walle.UnknownTimeframe):
        store.fills.trades(timeframe="7m")
    store.runs.save(run(7))
    empty = store.fills.trades(run(7).id)
    assert empty.is_empty() and empty.schema == TRADES
    assert store.fills.trades("paper-sma-stocks-002", timeframe="1h")["reason"].unique().to_list() == [
        "no bars of this symbol"
    ]


def test_a_result_beyond_the_digits_of_a_frame_is_refused() -> None:
    huge = Decimal(10) ** 19
    with pytest.raises(walle.PrecisionError, match="20 integer digits"):
        trades(frame([("buy", huge, huge, None, "a"), ("sell", Decimal(1), huge, None, "a")]))
    assert pl.Series([huge], dtype=DECIMAL).to_list() == [huge]


@pytest.mark.parametrize("method", ["fifo", "lifo", "average"])
def test_what_stays_below_the_dust_neither_keeps_a_trade_open_nor_moves_its_exit(method: str) -> None:
    """A thousandth stays after the first trade, and is sold a year later with the second."""
    rows = [("buy", "1", "100"), ("sell", "0.999", "110"), ("buy", "2", "120"), ("sell", "2", "130")]
    made = [
        fill(n, side=side, quantity=Decimal(size), price=Decimal(price), filled_at=START + n * timedelta(days=n))
        for n, (side, size, price) in enumerate(rows)
    ]
    found = trades(fills_frame(made), by="flat", method=method, dust=Decimal("0.01"))
    kept = ["entry_fill_id", "exit_fill_id", "entry_time", "exit_time", "is_open"]
    assert found.select(kept).rows() == [
        ("fill-0", "fill-1", made[0].filled_at, made[1].filled_at, False),
        ("fill-2", "fill-3", made[2].filled_at, made[3].filled_at, False),
    ]
    # what was paid and received, but for the thousandth that is still held
    whole = 2 * 130 + Decimal("0.999") * 110 - 100 - 240
    left = {"fifo": Decimal("0.12"), "lifo": Decimal("0.1")}.get(method)
    assert left is None or found["pnl_gross"].sum() == whole + left
    if method == "average":
        assert found["pnl_gross"][0] == Decimal("9.99")
    never = trades(fills_frame(made[:1]), by="flat", method=method, dust=Decimal(2))
    assert never["is_open"].to_list() == [True]
