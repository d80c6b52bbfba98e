"""The figures of a run beside formulas written out over plain lists."""

from __future__ import annotations

import itertools
import math
import statistics
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
from tests.samples import run
from walle import demo
from walle.bars.coverage import find_gaps
from walle.calendars import calendar, from_sessions
from walle.errors import InputError
from walle.fills.equity import EQUITY, equity, priced_in
from walle.fills.market import Market
from walle.fills.trades import trades
from walle.frames import BARS, FILLS, INSTANT
from walle.instruments import facts_of
from walle.runs.metrics import METRICS, metrics, periods_per_year

START = datetime(2025, 3, 3, 14, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HALF = Fraction(1, 2 * 10**18)
YEAR = timedelta(days=365.25)
CASH = 10_000
DAY = 24 * 60  # minutes


def buy(second: int, price: int = 100, symbol: str = "BTC/USD", side: str = "buy", size: int = 1) -> tuple[Any, ...]:
    return (symbol, side, Decimal(price), Decimal(size), None, None, second)


def frame(rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    names = ("symbol", "side", "price", "quantity", "commission", "commission_currency")
    records = [
        {
            **dict(zip(names, row, strict=False)),
            "id": f"fill-{number:03d}",
            "order_id": f"order-{number}",
            "run_id": "run-1",
            "filled_at": START + timedelta(seconds=row[6]),
        }
        for number, row in enumerate(rows)
    ]
    return pl.DataFrame(records, schema=FILLS)


def market(closes: dict[int, float]) -> Market:
    """One-minute bars; where a number is left out, one is missing."""
    prices = [closes[number] for number in sorted(closes)]
    times = [START + MINUTE * number for number in sorted(closes)]
    columns = {"timestamp": times, **dict.fromkeys(("open", "high", "low", "close", "volume"), prices)}
    kept = pl.DataFrame(columns, schema={name: kind for name, kind in BARS.items() if name in columns})
    return Market("1m", kept, find_gaps(kept["timestamp"], "1m").select("start", "end"))


def figures(
    rows: list[tuple[Any, ...]], bars: dict[int, float], cash: int = CASH, **options: Any
) -> dict[str, dict[str, Any]]:
    """The metrics of a run over BTC/USD, by name."""
    fills = frame(rows)
    worth = equity(fills, {"BTC/USD": market(bars)}, starting_cash=Decimal(cash))
    chosen = {"periods": 365.25, "starting_cash": cash, "currency": "USD", **options}
    found = metrics(worth, trades(fills), fills, **chosen)
    assert found.schema == METRICS
    assert ((found["value"].is_null() & found["amount"].is_null()) == found["reason"].is_not_null()).all()
    return {row["metric"]: row for row in found.iter_rows(named=True)}


def value(found: dict[str, dict[str, Any]], name: str) -> Any:
    row = found[name]
    return row["amount"] if row["unit"] == "money" else row["value"]


@settings(max_examples=examples(150), deadline=None)
@given(
    prices=st.lists(st.integers(500, 20_000).map(lambda cents: cents / 100), min_size=3, max_size=30),
    orders=st.lists(
        st.tuples(st.integers(0, 29), st.sampled_from(["buy", "sell"]), st.integers(1, 9), st.integers(500, 20_000)),
        min_size=1,
        max_size=8,
    ),
)
def test_the_figures_of_returns_equal_their_formulas(
    prices: list[float], orders: list[tuple[int, str, int, int]]
) -> None:
    rows = [
        buy(place % len(prices) * 60, cents, side=side, size=size)
        for place, side, size, cents in orders  # whole USD
    ]
    rows = [(*row[:2], Decimal(row[2]) / 100, *row[3:]) for row in rows]
    found = figures(rows, dict(enumerate(prices)), returns="bar", periods=525_960.0, risk_free=0.05)
    curve = [Fraction(CASH)]
    for minute, close in enumerate(prices):
        cash, held = Fraction(CASH), Fraction(0)
        for _, side, price, size, _, _, second in rows:
            if second < 60 * minute + 60:
                sign = 1 if side == "buy" else -1
                cash, held = cash - sign * Fraction(price) * Fraction(size), held + sign * Fraction(size)
        curve.append(cash + held * Fraction(repr(close)))
    assert value(found, "start_equity") == CASH
    assert abs(Fraction(value(found, "end_equity")) - curve[-1]) <= HALF
    assert abs(Fraction(value(found, "net_profit")) - (curve[-1] - CASH)) <= HALF
    close_to = pytest.approx
    assert value(found, "total_return") == close_to(float(curve[-1] / CASH - 1), rel=1e-12, abs=1e-15)
    years = len(prices) * MINUTE / YEAR
    if 0.99 < curve[-1] / CASH < 1.0005:
        assert value(found, "cagr") == close_to(float(curve[-1] / CASH) ** (1 / years) - 1)
        assert found["cagr"]["periods_per_year"] == close_to(1 / years)
    changes = [float(b / a - 1) for a, b in itertools.pairwise(curve) if a > 0]
    if len(changes) == len(prices) and len(set(changes)) > 1:
        excess = [change - 0.05 / 525_960 for change in changes]
        spread, mean = statistics.stdev(changes), statistics.fmean(excess)
        below = math.sqrt(statistics.fmean([min(0.0, change) ** 2 for change in excess]))
        root = math.sqrt(525_960)
        assert value(found, "volatility") == close_to(spread * root, rel=1e-6)
        assert value(found, "sharpe") == close_to(mean / spread * root, rel=1e-5, abs=1e-6)
        if below > 1e-12:
            assert value(found, "sortino") == close_to(mean / below * root, rel=1e-5, abs=1e-6)
        assert found["sharpe"]["periods_per_year"] == 525_960
    falls = [(worth / max(curve[: place + 1]) - 1) for place, worth in enumerate(curve)]
    assert value(found, "max_drawdown") == close_to(float(min(falls)), abs=1e-12)
    amount = min(worth - max(curve[: place + 1]) for place, worth in enumerate(curve))
    assert abs(Fraction(value(found, "max_drawdown_amount")) - amount) <= 2 * HALF
    assert value(found, "max_drawdown_days") == close_to(longest(curve) / DAY)
    exposed = [
        sum((row[3] if row[1] == "buy" else -row[3]) for row in rows if row[6] < 60 * minute + 60) != 0
        for minute in range(len(prices))
    ]
    assert value(found, "exposure") == close_to(sum(exposed) / len(prices))
    notional = sum(Fraction(row[2] * row[3]) for row in rows)
    if sum(curve[1:]) > 0:
        assert value(found, "turnover") == close_to(float(notional / (sum(curve[1:]) / len(prices))))


def longest(curve: list[Fraction]) -> int:
    """The most minutes from a peak until it was reached again, or to the end."""
    most = 0
    for start, peak in enumerate(curve):
        if peak < max(curve[: start + 1]):
            continue
        for end in range(start + 1, len(curve)):
            if any(worth < peak for worth in curve[start + 1 : end + 1]):
                most = max(most, end - start)
            if curve[end] >= peak:
                break
    return most


def test_the_figures_of_trades_are_those_of_their_profits() -> None:
    prices = dict.fromkeys(range(10), 100.0)
    trips = [(100, 130), (100, 90), (100, 120), (50, 50)]
    rows = []
    for number, (entry, leave) in enumerate(trips):
        rows += [buy(number * 120, entry), buy(number * 120 + 60, leave, side="sell")]
    found = figures([*rows, buy(9 * 60, 100)], prices)
    expected = {
        "trades": 4,
        "open_trades": 1,
        "win_rate": 0.5,
        "profit_factor": 5,
        "gross_profit": 50,
        "gross_loss": -10,
        "average_win": 25,
        "average_loss": -10,
        "expectancy": 10,
        "average_trade": (0.3 - 0.1 + 0.2 + 0) / 4,
        "fees": 0,
        "net_profit": 40,
        "marked": 1,
    }
    assert {name: value(found, name) for name in expected} == {
        name: pytest.approx(number) if isinstance(number, float) else number for name, number in expected.items()
    }


def test_exposure_counts_the_rows_in_which_any_symbol_is_held() -> None:
    prices = dict.fromkeys(range(10), 100.0)
    rows = [
        buy(0, symbol="ETH/USD"),
        buy(70, symbol="ETH/USD", side="sell"),
        buy(70),
        buy(190, side="sell"),
        buy(430),
        buy(430, side="sell"),
    ]
    fills, markets = frame(rows), dict.fromkeys(("BTC/USD", "ETH/USD"), market(prices))
    found = metrics(equity(fills, markets), trades(fills), fills, periods=365.25, currency="USD")
    assert found.filter(metric="exposure")["value"].to_list() == [0.3]  # at the end of the first three minutes


def test_all_winners_have_no_profit_factor_and_all_losers_one_of_zero() -> None:
    prices = dict.fromkeys(range(5), 100.0)
    up = figures([buy(0, 10), buy(60, 20, side="sell"), buy(120, 10), buy(180, 15, side="sell")], prices)
    assert (value(up, "win_rate"), value(up, "profit_factor")) == (1, None)
    assert up["profit_factor"]["reason"] == up["average_loss"]["reason"] == "no losing trade"
    down = figures([buy(0, 20), buy(60, 10, side="sell")], prices)
    assert (value(down, "win_rate"), value(down, "profit_factor")) == (0, 0)
    assert down["average_win"]["reason"] == "no winning trade"


def test_returns_are_of_the_last_marked_rows_of_days() -> None:
    lasts = [100.0, 110.0, 99.0, None, 120.0, 132.0]
    bars = {day * DAY + minute: 100.0 for day in range(6) for minute in range(0, DAY)}
    offset = (24 * 60 - START.hour * 60) % DAY  # the last minute of each day in UTC
    bars = {number: close for number, close in bars.items() if number < 5 * DAY + offset}
    for day, close in enumerate(lasts):
        last = day * DAY + offset - 1
        if close is None:
            del bars[last]
        else:
            bars[last] = close
    found = figures([buy(0, 100, size=100)], bars, cash=0)
    assert found["volatility"]["value"] is not None
    found = figures([buy(0, 100, size=100)], bars)  # the equity is 100 times the close
    changes = [0.0, 0.1, -0.1, 1 / 99, 0.2, 0.1]  # on the fourth day the minute before the missing one counts
    assert value(found, "volatility") == pytest.approx(statistics.stdev(changes) * math.sqrt(365.25))
    assert {name for name, row in found.items() if row["returns"] == 6} == {"volatility", "sharpe", "sortino"}
    assert value(found, "marked") == pytest.approx(1 - 1 / (5 * DAY + offset))


def test_no_return_goes_over_a_day_without_a_mark() -> None:
    offset = (24 * 60 - START.hour * 60) % DAY
    bars = dict.fromkeys(range(4 * DAY + offset), 100.0)
    bars.update({day * DAY + offset - 1: close for day, close in enumerate((100.0, 110.0, 99.0, 99.0, 108.9))})
    for number in range(DAY + offset, 2 * DAY + offset):
        del bars[number]  # the third day
    found = figures([buy(0, 100, size=100)], bars)
    assert value(found, "volatility") == pytest.approx(statistics.stdev([0.0, 0.1, 0.1]) * math.sqrt(365.25))
    assert found["volatility"]["returns"] == found["sharpe"]["returns"] == 3
    left = figures([buy(0, 100, size=100), buy(60, 100, size=100, side="sell")], bars)
    assert left["volatility"]["returns"] == 5  # nothing was held over the gap, so that nothing is unknown


def test_what_cannot_be_measured_says_why() -> None:
    found = figures([buy(0, 100)], {0: 100.0}, cash=0)
    assert found["total_return"]["reason"] == "the equity at the start is not above 0; give starting_cash"
    assert found["volatility"]["reason"] == "0 returns per session, at least 2 are needed"
    assert found["win_rate"]["reason"] == found["expectancy"]["reason"] == "no closed trade"
    found = figures([buy(0, 100), buy(600, 100)], {0: 100.0, 1: 100.0})
    assert found["end_equity"]["reason"] == "1 of the fills come after the last bar"
    fills, held = frame([buy(0, 100)]), market({0: 100.0, 1: 100.0})
    ends = {"start": [START + 2 * MINUTE], "end": [START + 4 * MINUTE]}
    hole = pl.DataFrame(ends, schema=dict.fromkeys(ends, INSTANT))
    worth = equity(fills, {"BTC/USD": Market("1m", held.bars, hole)})
    told = metrics(worth, trades(fills), fills, periods=365.25, currency="USD").filter(metric="end_equity")
    assert told["reason"].to_list() == ["no price of BTC/USD at the end"]
    found = figures([buy(0, 100)], {0: 100.0, 1: 100.0, 2: 100.0}, returns="bar")
    assert found["sharpe"]["reason"] == "the returns are all equal"
    assert found["calmar"]["reason"] == "no drawdown, or no cagr"


def test_commissions_of_two_currencies_are_two_figures() -> None:
    rows = [
        (*buy(0, 100)[:4], Decimal("0.5"), "USD", 0),
        (*buy(60, 120, side="sell")[:4], Decimal("0.001"), "BNB", 60),
        (*buy(60, 120)[:4], Decimal("0.25"), None, 60),
    ]
    fills = frame(rows)
    worth = equity(fills, {"BTC/USD": market({0: 100.0, 1: 120.0})}, starting_cash=Decimal(100))
    found = metrics(worth, trades(fills), fills, periods=365.25, starting_cash=100, currency="USD")
    fees = found.filter(pl.col("metric") == "fees").select("currency", "amount").rows()
    assert fees == [("BNB", Decimal("0.001")), ("USD", Decimal("0.75"))]
    told = {row["metric"]: row for row in found.iter_rows(named=True)}
    assert told["end_equity"]["amount"] == Decimal("119.25")
    lacking = {name for name, row in told.items() if row["reason"] == "fees of 0.001 BNB are not in it"}
    assert lacking == {"net_profit", "total_return", "cagr", "calmar"}
    assert all(row["currency"] == "USD" for row in told.values() if row["metric"] != "fees")
    assert told["win_rate"]["reason"] == "1 of 1 closed trades have no pnl_net"


def test_commissions_of_two_currencies_are_not_added_up_where_the_prices_do_not_say_theirs() -> None:
    rows = [
        ("ACME", "buy", Decimal(100), Decimal(1), Decimal("0.5"), "USD", 0),
        ("ACME", "sell", Decimal(110), Decimal(1), Decimal("0.001"), "BNB", 60),
    ]
    fills = frame(rows)
    assert [priced_in(part, facts_of(part)) for part in (fills, fills[:1])] == [[None], ["USD"]]
    markets = {"ACME": market({0: 100.0, 1: 120.0})}
    last = equity(fills, markets).filter(pl.col("currency").is_null()).row(-1, named=True)
    assert (last["cash"], last["fees"], last["foreign_fees"]) == (Decimal(10), Decimal(0), 2)
    one = equity(fills[:1], markets).row(-1, named=True)
    assert (one["cash"], one["fees"], one["foreign_fees"]) == (Decimal("-100.5"), Decimal("0.5"), 0)


def test_an_orphan_without_a_symbol_counts_in_cash_and_nothing_is_worth_anything_known_then() -> None:
    fills = frame([buy(0, 100), buy(70, 50)]).with_columns(symbol=pl.when(pl.col("id") == "fill-000").then("symbol"))
    found = equity(fills, {"BTC/USD": market({0: 100.0, 1: 100.0})}, known_orders=pl.Series(["order-0"]))
    assert found.select("cash", "equity", "fills", "orphan_fills", "unmarked").rows() == [
        (Decimal(-100), Decimal(0), 1, 0, []),
        (Decimal(-150), None, 2, 1, [None]),
    ]


def test_a_year_has_as_many_periods_as_the_calendar_says() -> None:
    ends = datetime(2023, 6, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
    assert periods_per_year([calendar("24/7")], "1d", *ends) == 365.25
    assert periods_per_year([calendar("24/7")], "1h", *ends) == 24 * 365.25
    assert periods_per_year([calendar("24/5")], "1d", *ends) == pytest.approx(365.25 * 5 / 7)
    assert 250 < periods_per_year([calendar("XNYS")], "1d", *ends) < 253
    assert periods_per_year([calendar("XNYS"), calendar("24/7")], "1d", *ends) == 365.25
    assert periods_per_year([], "1d", *ends) == 0
    for name in ("24/7", "24/5", "XNYS"):
        assert periods_per_year([calendar(name)], "1w", *ends) == pytest.approx(365.25 / 7)
        assert periods_per_year([calendar(name)], "1M", *ends) == 12
    dates = [set(calendar(name).sessions("2023-01-01", "2025-01-01")["session"]) for name in ("XNYS", "XTKS")]
    both = periods_per_year([calendar("XNYS"), calendar("XTKS")], "1d", *ends)
    assert both == pytest.approx(len(dates[0] | dates[1]) / 2 * 365.25 / 365.5)
    hours = [periods_per_year([calendar(name)], "1h", *ends) for name in ("XNYS", "XTKS")]
    together = periods_per_year([calendar("XNYS"), calendar("XTKS")], "1h", *ends)
    assert together == pytest.approx(sum(hours))  # they are never open at the same time
    opens = [datetime(2024, 1, day, 9, tzinfo=UTC) for day in (1, 2, 3, 4, 5, 8, 9)]
    sessions = pl.DataFrame(
        {"open": opens, "close": [moment + timedelta(hours=8) for moment in opens]},
        schema={"open": INSTANT, "close": INSTANT},
    )
    own = from_sessions(sessions, "seven days in nine")
    assert periods_per_year([own], "1d", *ends) == pytest.approx(7 / 9 * 365.25)
    assert periods_per_year([own], "1h", *ends) == pytest.approx(56 / 9 * 365.25)


def test_without_fills_or_bars_the_frame_says_what_is_known() -> None:
    empty = metrics(equity(frame([]), {}), trades(frame([])), frame([]), periods=365.25)
    assert empty.is_empty() and empty.schema == METRICS
    fills = frame([buy(0, 100), buy(60, 110, side="sell")])
    bare = metrics(pl.DataFrame(schema=EQUITY), trades(fills), fills, periods=365.25, starting_cash=5, currency="USD")
    told = {row["metric"]: row for row in bare.iter_rows(named=True)}
    assert (told["start_equity"]["amount"], told["gross_profit"]["amount"]) == (Decimal(5), Decimal(10))
    lacking = {name for name, row in told.items() if row["reason"] == "no bars of what the run traded"}
    assert lacking >= {"end_equity", "total_return", "sharpe", "max_drawdown", "max_drawdown_days", "marked"}


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match="session, bar"):
        figures([buy(0)], {0: 1.0}, returns="week")
    with pytest.raises(InputError, match="periods=0"):
        figures([buy(0)], {0: 1.0}, periods=0)


def test_the_sample_runs_earned_what_their_trades_say(store: walle.Store) -> None:
    demo.load(store)
    for name in ("bt-sma-eth-001", "paper-sma-stocks-002", "paper-sma-btc-003"):
        found = store.runs.metrics(name)
        assert found.schema == METRICS
        told = {row["metric"]: row for row in found.iter_rows(named=True)}
        round_trips = store.fills.trades(name, by="flat")
        columns = [round_trips[column].drop_nulls() for column in ("pnl_gross", "unrealised")]
        gained = sum((Fraction(amount) for column in columns for amount in column), Fraction(0))
        paid = sum((Fraction(amount) for amount in store.fills.read(name)["commission"]), Fraction(0))
        assert Fraction(told["fees"]["amount"]) == paid
        assert abs(Fraction(told["net_profit"]["amount"]) - gained + paid) <= HALF * 2 * round_trips.height
        assert told["trades"]["value"] == (~round_trips["is_open"]).sum()
        stocks = "stocks" in name  # ten sessions in fifteen days
        assert told["sharpe"]["periods_per_year"] == pytest.approx(10 / 15 * 365.25 if stocks else 365.25)
        by_bar = store.runs.metrics(name, returns="bar").filter(metric="sharpe")["periods_per_year"][0]
        assert by_bar == pytest.approx(3720 / 15 * 365.25 if stocks else 1440 * 365.25)
    own = store.runs.metrics("bt-sma-eth-001", periods=252, method="average", risk_free=0.04)
    assert own.filter(metric="sharpe")["periods_per_year"].to_list() == [252]
    assert own["run_id"].unique().to_list() == ["bt-sma-eth-001"]


def test_bad_input_is_named_and_a_run_without_fills_has_no_figures(store: walle.Store) -> None:
    demo.load(store)
    with pytest.raises(walle.UnknownRun, match="bt-sma-eth-001"):
        store.runs.metrics("bt-sma-eth-01")
    with pytest.raises(InputError, match="fifo, lifo, average"):
        store.runs.metrics("bt-sma-eth-001", method="hifo")  # type: ignore[arg-type]  # what a caller may get wrong
    with pytest.raises(walle.UnknownTimeframe):
        store.runs.metrics("bt-sma-eth-001", timeframe="7m")
    with pytest.raises(InputError, match="exact number"):
        store.runs.metrics("bt-sma-eth-001", starting_cash=0.5)  # type: ignore[arg-type]  # wrong on purpose
    store.runs.save(run(7))
    empty = store.runs.metrics(run(7).id)
    assert empty.is_empty() and empty.schema == METRICS
    bare = store.runs.metrics("bt-sma-eth-001", timeframe="1h")
    assert "no bars of what the run traded" in bare["reason"].to_list()
