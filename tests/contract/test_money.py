"""What a run earned, worked out by hand: contracts, currencies, fees, splits, cash flows, and the order of fills."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

import walle
from tests.samples import START, bars
from tests.samples import run as saved_run
from walle import CashFlow, CorporateAction, Fill, Instrument

D = Decimal
MINUTE = timedelta(minutes=1)


def deal(
    number: int, side: str, quantity: str, price: str, symbol: str, fee: str | None = None, currency: str | None = None
) -> Fill:
    return Fill(
        id=f"f{number}",
        order_id=f"o{number}",
        run_id="r",
        symbol=symbol,
        side=side,
        quantity=D(quantity),
        price=D(price),
        commission=None if fee is None else D(fee),
        commission_currency=currency,
        filled_at=START + MINUTE * number,
    )


def prepare(store: walle.Store, fills: list[Fill], closes: dict[str, float], **run: Any) -> None:
    """Store a run with its fills, and bars at a constant price for an hour."""
    facts: dict[str, Any] = {"id": "r", "symbols": None, "timeframe": None, "config": None, **run}
    store.runs.save(saved_run(1, **facts))
    store.fills.append(fills)
    for symbol, close in closes.items():
        flat = bars(60).with_columns(**{name: pl.lit(close) for name in ("open", "high", "low", "close")})
        store.bars.ingest(flat, symbol=symbol, timeframe="1m", progress=False)


def last(store: walle.Store, column: str = "equity", **options: Any) -> dict[str | None, Any]:
    """Return a column of the last row of each curve, by currency."""
    worth = store.runs.equity("r", **options)
    return dict(worth.group_by("currency").last().select("currency", column).iter_rows())


def gained(store: walle.Store, **options: Any) -> list[tuple[Any, ...]]:
    return store.fills.trades("r", **options).select("pnl_gross", "fees", "pnl_net", "currency").rows()


# contracts


def test_a_future_earns_its_points_times_its_multiplier(store: walle.Store) -> None:
    store.instruments.save(
        Instrument(symbol="ESZ5", kind="future", quote="USD", settle="USD", multiplier=D(50), tick_size=D("0.25"))
    )
    fills = [deal(1, "buy", "1", "6000", "ESZ5", "4.50", "USD"), deal(5, "sell", "1", "6020", "ESZ5", "4.50", "USD")]
    prepare(store, fills, {"ESZ5": 6020.0})
    assert gained(store) == [(D(1000), D(9), D(991), "USD")]
    assert last(store, starting_cash=D(100_000)) == {"USD": D(100_991)}
    entries = store.runs.ledger("r", starting_cash=D(100_000))
    assert entries.select("asset", "amount", "kind", "book").rows() == [
        ("USD", D(100_000), "opening", "cash"),
        ("ESZ5", D(1), "trade", "position"),
        ("USD", D("-4.5"), "fee", "cash"),
        ("ESZ5", D(-1), "trade", "position"),
        ("USD", D(1000), "realised", "cash"),
        ("USD", D("-4.5"), "fee", "cash"),
    ]


def test_an_open_future_is_worth_what_it_has_gained_so_far(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="ESZ5", kind="future", quote="USD", multiplier=D(50)))
    prepare(store, [deal(1, "sell", "2", "6000", "ESZ5")], {"ESZ5": 5990.0})
    assert last(store, "position_value") == {"USD": D(1000)}
    assert last(store, "cash") == {"USD": D(0)}
    (row,) = store.fills.trades("r").rows(named=True)
    assert (row["direction"], row["unrealised"], row["pnl_gross"]) == ("short", D(1000), None)


def test_an_option_counts_its_hundred_shares(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="SPY 260116C500", kind="option", quote="USD", multiplier=D(100)))
    symbol = "SPY 260116C500"
    prepare(store, [deal(1, "buy", "1", "3", symbol), deal(2, "sell", "1", "5", symbol)], {symbol: 5.0})
    assert gained(store) == [(D(200), D(0), D(200), "USD")]
    assert last(store, starting_cash=1000) == {"USD": D(1200)}


def test_an_inverse_perpetual_earns_in_its_base(store: walle.Store) -> None:
    symbol = "BTC/USD:BTC"
    fills = [deal(1, "buy", "10000", "50000", symbol), deal(2, "sell", "10000", "55000", symbol, "0.0002", "BTC")]
    prepare(store, fills, {symbol: 55_000.0})
    # 10,000 / 50,000 - 10,000 / 55,000 = 1 / 55 BTC, less the fee
    assert gained(store) == [(D("0.018181818181818182"), D("0.0002"), D("0.017981818181818182"), "BTC")]
    assert last(store, starting_cash=D(1)) == {"BTC": D("1.017981818181818182")}


def test_the_fees_of_a_linear_perpetual_leave_its_settlement_currency(store: walle.Store) -> None:
    symbol = "BTC/USDT:USDT"
    fills = [
        deal(1, "buy", "0.02", "50000", symbol, "0.4", "USDT"),
        deal(2, "sell", "0.02", "50500", symbol, "0.404", "USDT"),
    ]
    prepare(store, fills, {symbol: 50_500.0})
    assert last(store, starting_cash=10_000) == {"USDT": D("10009.196")}
    assert last(store, "fees") == {"USDT": D("0.804")}


# corporate actions


def split_run(store: walle.Store, **run: Any) -> None:
    day = timedelta(days=1)
    times = [START, START + 3 * day]
    fills = [deal(1, "buy", "100", "400", "AAPL"), deal(2, "sell", "400", "110", "AAPL")]
    fills = [dataclasses.replace(fill, filled_at=time) for fill, time in zip(fills, times, strict=True)]
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    store.actions.append(CorporateAction(id="s1", symbol="AAPL", kind="split", ex_date=START + 2 * day, ratio=D(4)))
    prepare(store, fills, {}, **run)
    closes = [400.0, 400.0, 110.0, 110.0, 110.0]
    table = pl.DataFrame(
        {"timestamp": [START + day * n for n in range(5)], **dict.fromkeys(("open", "high", "low", "close"), closes)}
    ).with_columns(volume=pl.lit(1.0))
    store.bars.ingest(table, symbol="AAPL", timeframe="1d", progress=False)


def test_a_split_scales_what_is_held_and_leaves_no_short(store: walle.Store) -> None:
    split_run(store, prices="raw")
    (row,) = store.fills.trades("r").rows(named=True)
    assert (row["quantity"], row["entry_price"], row["exit_price"]) == (D(400), D(100), D(110))
    assert (row["pnl_gross"], row["is_open"]) == (D(4000), False)
    worth = store.runs.equity("r", starting_cash=D(50_000))
    assert worth["equity"].to_list() == [D(50_000)] * 3 + [D(54_000)] * 3
    kinds = store.runs.ledger("r").filter(symbol="AAPL", book="position").select("kind", "amount").rows()
    assert kinds == [("trade", D(100)), ("split", D(300)), ("trade", D(-400))]


def test_a_split_inside_a_run_that_does_not_say_its_prices_gives_no_number(store: walle.Store) -> None:
    split_run(store)
    worth = store.runs.equity("r", starting_cash=D(50_000))
    assert worth["equity"].to_list()[:4] == [D(50_000)] * 3 + [None]
    assert "does not say on which prices it traded" in worth["reason"][3]
    row = store.fills.trades("r").row(0, named=True)
    assert row["pnl_gross"] is None and "does not say on which prices" in row["reason"]
    with pytest.raises(walle.InputError, match=r"split of AAPL .*prices='raw'"):
        store.runs.ledger("r")


def test_a_run_on_adjusted_prices_is_not_split_twice(store: walle.Store) -> None:
    split_run(store, prices="splits")
    row = store.fills.trades("r").row(0, named=True)
    assert (row["quantity"], row["pnl_gross"]) == (D(100), D(-29_000))


def test_dividends_funding_and_deposits_reach_the_cash(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    prepare(store, [deal(1, "buy", "10", "100", "AAPL")], {"AAPL": 100.0}, prices="raw")
    at = START + MINUTE * 10
    store.cash.append(
        [
            CashFlow(id="c1", run_id="r", time=at, kind="deposit", amount=D(500), currency="USD"),
            CashFlow(id="c2", run_id="r", time=at, kind="dividend", amount=D("2.40"), currency="USD", symbol="AAPL"),
            CashFlow(id="c3", run_id="r", time=at, kind="funding", amount=D("-0.15"), currency="USDT"),
        ]
    )
    assert last(store, starting_cash={"USD": D(2000)}) == {"USD": D("2502.4"), "USDT": D("-0.15")}
    figures = store.runs.metrics("r", starting_cash={"USD": D(2000)}).filter(currency="USD", metric="net_profit")
    assert figures["amount"].to_list() == [D("2.4")]  # the deposit is no profit


def test_a_dividend_is_paid_on_what_was_held_at_the_close_before(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    action = CorporateAction(
        id="d1", symbol="AAPL", kind="dividend", ex_date=START + timedelta(days=1), amount=D("0.24"), currency="USD"
    )
    store.actions.append(action)
    late = START + timedelta(days=1)
    fills = [
        deal(1, "buy", "10", "100", "AAPL"),
        dataclasses.replace(deal(2, "buy", "5", "100", "AAPL"), filled_at=late),
    ]
    prepare(store, fills, {}, prices="raw")
    entries = store.runs.ledger("r").filter(kind="dividend")
    assert entries.select("time", "asset", "amount", "action_id").rows() == [(late, "USD", D("2.4"), "d1")]
    flow = CashFlow(
        id="c1", run_id="r", time=late, kind="dividend", amount=D("2.04"), currency="USD", symbol="AAPL", action_id="d1"
    )
    store.cash.append(flow)  # what was paid after tax stands in its place
    assert store.runs.ledger("r").filter(kind="dividend")["amount"].to_list() == [D("2.04")]


# currencies


def test_bitcoins_and_dollars_are_not_added_up(store: walle.Store) -> None:
    fills = [
        deal(1, "buy", "1", "50000", "BTC-USDC", "10", "USDC"),
        deal(2, "buy", "10", "0.01", "BCH-BTC", "0.0001", "BTC"),
    ]
    prepare(store, fills, {"BTC-USDC": 50_100.0, "BCH-BTC": 0.012})
    start = {"USDC": D(100_000), "BTC": D(1)}
    assert last(store, starting_cash=start) == {"USDC": D(100_090), "BTC": D("1.0199")}
    with pytest.raises(walle.InputError, match=r"BTC and USDC; in which .* starting_cash=\{'BTC'"):
        store.runs.equity("r", starting_cash=D(100_000))


def test_unknown_currencies_are_not_added_up(store: walle.Store) -> None:
    fills = [deal(1, "buy", "1", "100", "AAPL"), deal(2, "buy", "1", "200", "SAP")]
    prepare(store, fills, {"AAPL": 110.0, "SAP": 190.0})
    worth = store.runs.equity("r").row(-1, named=True)
    assert (worth["currency"], worth["cash"], worth["equity"]) == (None, None, None)
    assert worth["reason"] == "the currencies of AAPL and SAP are unknown, and not added up: save their instruments"
    for symbol, currency in (("AAPL", "USD"), ("SAP", "EUR")):
        store.instruments.save(Instrument(symbol=symbol, kind="stock", quote=currency))
    assert last(store) == {"EUR": D(-10), "USD": D(10)}


def test_a_fee_in_the_base_leaves_the_position(store: walle.Store) -> None:
    fills = [
        deal(1, "buy", "10", "100", "LINK/USDT", "0.01", "LINK"),
        deal(2, "sell", "9.99", "101", "LINK/USDT", "1.00899", "USDT"),
    ]
    prepare(store, fills, {"LINK/USDT": 101.0})
    assert last(store, starting_cash=10_000) == {"USDT": D("10007.98101")}
    assert last(store, "position_value") == {"USDT": D(0)}
    (row,) = store.fills.trades("r").rows(named=True)
    assert not row["is_open"]
    # 9.99 bought at 100 and sold at 101; 0.01 LINK at 100 and 1.00899 USDT are its fees
    assert (row["quantity"], row["pnl_gross"], row["fees"]) == (D("9.99"), D("9.99"), D("2.00899"))
    assert row["pnl_net"] == D("7.98101")


def test_fees_in_a_third_currency_are_converted_or_the_profit_is_not_known(store: walle.Store) -> None:
    fills = [
        deal(1, "buy", "1", "100", "ETH/USDT", "0.01", "BNB"),
        deal(2, "sell", "1", "110", "ETH/USDT", "0.01", "BNB"),
    ]
    prepare(store, fills, {"ETH/USDT": 110.0})
    figures = store.runs.metrics("r", starting_cash=D(1000)).filter(metric="net_profit").row(0, named=True)
    assert (figures["currency"], figures["amount"]) == ("USDT", None)
    assert "0.02 BNB" in figures["reason"]
    assert last(store, starting_cash=D(1000)) == {"BNB": D("-0.02"), "USDT": D(1010)}
    unknown = store.runs.equity("r", starting_cash=D(1000), currency="USDT").row(-1, named=True)
    assert (unknown["equity"], unknown["reason"]) == (None, "no rate of BNB in USDT")
    flat = bars(60).with_columns(**{name: pl.lit(600.0) for name in ("open", "high", "low", "close")})
    store.bars.ingest(flat, symbol="BNB/USDT", timeframe="1m", progress=False)
    known = store.runs.equity("r", starting_cash=D(1000), currency="USDT").row(-1, named=True)
    assert (known["equity"], known["fees"], known["rates"]) == (D(998), D(12), "BNB/USDT 1m")
    converted = store.runs.metrics("r", starting_cash=D(1000), currency="USDT").filter(metric="net_profit")
    assert converted["amount"].to_list() == [D(-2)]


def test_a_currency_is_converted_inversely_and_over_a_third_one(store: walle.Store) -> None:
    prepare(store, [deal(1, "buy", "1", "100", "ADA/EUR")], {"ADA/EUR": 110.0, "USD/EUR": 0.8, "CHF/USD": 1.25})
    assert last(store, currency="USD") == {"USD": D("12.5")}
    assert last(store, "rates", currency="CHF") == {"CHF": "USD/EUR 1m and CHF/USD 1m"}
    assert last(store, currency="CHF") == {"CHF": D(10)}
    rates = pl.DataFrame(
        {"time": [START], "currency": ["EUR"], "rate": ["1.5"]},
        schema_overrides={"time": pl.Datetime("us", "UTC")},
    ).with_columns(pl.col("rate").cast(pl.Decimal(38, 18)))
    assert last(store, currency="GBP", rates=rates) == {"GBP": D(15)}
    assert last(store, currency="JPY") == {"JPY": None}


def test_a_rate_counts_only_while_its_bars_go_on(store: walle.Store) -> None:
    prepare(store, [deal(1, "buy", "1", "100", "ADA/EUR")], {"ADA/EUR": 110.0})
    short = bars(10).with_columns(**{name: pl.lit(2.0) for name in ("open", "high", "low", "close")})
    store.bars.ingest(short, symbol="EUR/USD", timeframe="1m", progress=False)
    worth = store.runs.equity("r", currency="USD")
    assert worth["equity"].null_count() == 50
    assert worth.filter(pl.col("equity").is_not_null())["equity"].to_list()[-1] == D(20)
    assert worth["reason"][-1] == "no rate of EUR in USD"


# order


def test_fills_of_one_instant_count_in_the_order_of_their_arrival(store: walle.Store) -> None:
    at = START + MINUTE
    common: dict[str, Any] = {"run_id": "r", "symbol": "ETH/USDT", "quantity": D(1), "filled_at": at}
    first = Fill(id="X-99", order_id="o1", side="buy", price=D(100), **common)
    second = Fill(id="X-100", order_id="o2", side="sell", price=D(110), **common)
    prepare(store, [first, second], {})
    assert store.fills.trades("r").select("direction", "pnl_gross").rows() == [("long", D(10))]
    assert [fill.id for fill in store.fills.list("r")] == ["X-99", "X-100"]


def test_fills_that_arrive_one_by_one_keep_their_order_too_and_a_given_sequence_counts(store: walle.Store) -> None:
    common: dict[str, Any] = {"run_id": "r", "symbol": "ETH/USDT", "quantity": D(1), "filled_at": START}
    for number, name in enumerate(("z", "y", "x")):
        store.fills.append(Fill(id=name, order_id=name, side="buy", price=D(100 + number), **common))
    assert store.fills.read("r")["id"].to_list() == ["z", "y", "x"]
    again = Fill(id="z", order_id="z", side="buy", price=D(100), **common)
    assert store.fills.append(again).unchanged == 1
    late = Fill(id="a", order_id="a", side="buy", price=D(1), sequence=0, **common)
    store.fills.append(late)
    assert store.fills.read("r")["id"].to_list() == ["a", "z", "y", "x"]
    with pytest.raises(walle.FillConflict, match="sequence"):
        store.fills.append(Fill(id="a", order_id="a", side="buy", price=D(1), sequence=7, **common))


def test_trades_go_from_flat_to_flat(store: walle.Store) -> None:
    entries = [deal(number, "buy", "1", "100", "ETH/USDT") for number in range(1, 11)]
    fills = [*entries, deal(11, "sell", "10", "110", "ETH/USDT"), deal(12, "buy", "1", "100", "ETH/USDT")]
    fills.append(deal(13, "sell", "1", "90", "ETH/USDT"))
    prepare(store, fills, {"ETH/USDT": 90.0})
    assert store.fills.trades("r").height == 11
    flat = store.fills.trades("r", by="flat").select("quantity", "entry_price", "exit_price", "pnl_net", "lots")
    assert flat.rows() == [(D(10), D(100), D(110), D(100), 10), (D(1), D(100), D(90), D(-10), 1)]
    figures = dict(store.runs.metrics("r", starting_cash=D(10_000)).select("metric", "value").iter_rows())
    assert (figures["trades"], figures["win_rate"]) == (2, 0.5)


def test_a_flip_ends_one_trade_and_begins_the_next(store: walle.Store) -> None:
    fills = [
        deal(1, "buy", "2", "100", "ETH/USDT", "2", "USDT"),
        deal(2, "sell", "3", "110", "ETH/USDT", "3", "USDT"),
        deal(3, "buy", "1", "105", "ETH/USDT", "1", "USDT"),
    ]
    prepare(store, fills, {"ETH/USDT": 105.0})
    flat = store.fills.trades("r", by="flat").select("direction", "quantity", "pnl_gross", "fees", "pnl_net")
    assert flat.rows() == [("long", D(2), D(20), D(4), D(16)), ("short", D(1), D(5), D(2), D(3))]


def test_orders_make_trades_of_their_fills(store: walle.Store) -> None:
    entries = [dataclasses.replace(deal(n, "buy", "1", str(100 + n), "ETH/USDT"), order_id="entry") for n in (1, 2)]
    prepare(store, [*entries, deal(3, "sell", "2", "110", "ETH/USDT")], {"ETH/USDT": 110.0})
    rows = store.fills.trades("r", by="order").select("quantity", "entry_price", "pnl_gross", "lots").rows()
    assert rows == [(D(2), D("101.5"), D(17), 2)]


def test_a_corrected_fill_counts_as_it_was_corrected(store: walle.Store) -> None:
    fills = [deal(1, "buy", "1", "100", "ETH/USDT"), deal(2, "sell", "1", "1100", "ETH/USDT")]
    prepare(store, fills, {"ETH/USDT": 110.0})
    store.fills.correct("f2", by=dataclasses.replace(fills[1], id="f2.02", price=D(110)), reason="busted price")
    assert gained(store) == [(D(10), D(0), D(10), "USDT")]
    assert last(store, starting_cash=D(1000)) == {"USDT": D(1010)}
    assert store.fills.get("f2").price == D(1100)


def test_a_run_that_was_never_saved_is_worth_what_its_fills_say(store: walle.Store) -> None:
    store.fills.append([deal(1, "buy", "1", "100", "ETH/USDT"), deal(2, "sell", "1", "110", "ETH/USDT")])
    flat = bars(60).with_columns(**{name: pl.lit(110.0) for name in ("open", "high", "low", "close")})
    store.bars.ingest(flat, symbol="ETH/USDT", timeframe="1m", progress=False)
    assert last(store) == {"USDT": D(10)}
    assert store.runs.ledger("r").height == 4
    assert store.runs.metrics("r").filter(metric="net_profit")["amount"].to_list() == [D(10)]
    with pytest.raises(walle.UnknownRun):
        store.runs.equity("never")


# what must not be mistaken


def test_a_split_after_the_end_of_a_run_changes_nothing(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    late = START + timedelta(days=90)
    store.actions.append(CorporateAction(id="s1", symbol="AAPL", kind="split", ex_date=late, ratio=D(4)))
    ended = {"status": "completed", "started_at": START, "stopped_at": START + MINUTE * 60}
    prepare(store, [deal(1, "buy", "100", "400", "AAPL")], {"AAPL": 360.0}, prices="raw", **ended)
    row = store.fills.trades("r").row(0, named=True)
    assert (row["quantity"], row["unrealised"], row["reason"]) == (D(100), D(-4000), None)
    assert store.runs.ledger("r")["kind"].to_list() == ["trade", "trade"]


def test_an_action_of_a_leap_day_under_an_exchange(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    store.actions.append(
        CorporateAction(id="s1", symbol="AAPL", kind="split", ex_date=datetime(2024, 2, 29, tzinfo=UTC), ratio=D(2))
    )
    prepare(store, [deal(1, "buy", "1", "400", "AAPL")], {"AAPL": 360.0}, prices="raw")
    store.bars.set_calendar("AAPL", "XNYS")
    assert store.runs.ledger("r").height == 2


def test_an_instrument_that_does_not_say_inverse_leaves_an_inverse_contract_one(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="BTC/USD:BTC", lot_size=D(1)))
    fills = [deal(1, "buy", "100", "50000", "BTC/USD:BTC"), deal(2, "sell", "100", "62500", "BTC/USD:BTC")]
    prepare(store, fills, {})
    assert gained(store)[0][0] == D("0.0004")


def test_a_symbol_comes_before_the_alias_of_another(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="ES", kind="future", quote="USD", multiplier=D(50)))
    store.instruments.save(Instrument(symbol="MES", kind="future", quote="USD", multiplier=D(5), aliases=("ES", "X")))
    fills = [deal(1, "buy", "1", "100", "ES"), deal(2, "sell", "1", "110", "ES")]
    prepare(store, fills, {})
    assert gained(store)[0][0] == D(500)


def test_what_is_paid_in_another_currency_than_an_unknown_one_is_not_subtracted(store: walle.Store) -> None:
    prepare(store, [deal(n, side, "1", "100", "BTCUSDT", "0.01", "BNB") for n, side in ((1, "buy"), (2, "sell"))], {})
    row = store.fills.trades("r").row(0, named=True)
    assert row["pnl_net"] is None and row["reason"].endswith("commissions in BNB, prices in an unknown currency")


def test_a_dividend_in_another_currency_has_a_curve_of_its_own(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="VOD", kind="stock", quote="GBX"))
    day = START + timedelta(days=1)
    store.actions.append(
        CorporateAction(id="d1", symbol="VOD", kind="dividend", ex_date=day, amount=D(1), currency="GBP")
    )
    prepare(store, [deal(1, "buy", "100", "70", "VOD")], {}, prices="raw", stopped_at=None, status="running")
    flat = bars(3, minutes=1440).with_columns(**{name: pl.lit(70.0) for name in ("open", "high", "low", "close")})
    store.bars.ingest(flat, symbol="VOD", timeframe="1d", progress=False)
    assert last(store, "cash") == {"GBP": D(100), "GBX": D(-7000)}


def test_a_deposit_is_no_profit_in_a_converted_figure_either(store: walle.Store) -> None:
    prepare(store, [deal(1, "buy", "1", "100", "ADA/USD")], {"ADA/USD": 100.0, "EUR/USD": 1.25})
    at = START + MINUTE * 10
    flow = CashFlow(id="c1", run_id="r", time=at, kind="deposit", amount=D(1000), currency="EUR")
    store.cash.append(flow)
    figures = store.runs.metrics("r", starting_cash=D(1000), currency="USD").filter(metric="net_profit")
    assert figures["amount"].to_list() == [D(0)]


def test_what_symbols_are_does_not_depend_on_the_other_runs(store: walle.Store) -> None:
    fills = [deal(1, "buy", "1", "100", "AAPL", "1", "USD"), deal(2, "sell", "1", "110", "AAPL", "1", "USD")]
    others = [
        dataclasses.replace(fill, id=f"x{fill.id}", run_id="x", commission_currency="EUR", order_id=f"x{fill.order_id}")
        for fill in fills
    ]
    prepare(store, [*fills, *others], {"AAPL": 110.0})
    together = store.runs.metrics(["r", "x"]).filter(metric="net_profit")
    assert together.select("run_id", "amount", "currency").rows() == [("r", D(8), "USD"), ("x", D(8), "EUR")]
    assert store.fills.trades()["currency"].to_list() == ["USD", "EUR"]


def test_small_parts_of_one_position_are_no_dust(store: walle.Store) -> None:
    prepare(store, [deal(n, "buy", "0.005", "100", "ETH/USDT") for n in range(1, 6)], {"ETH/USDT": 100.0})
    found = store.fills.trades("r", by="flat", dust=D("0.01"))
    assert found["is_open"].to_list()[-1] and found["quantity"].sum() == D("0.025")


def test_the_figures_of_contracts_are_of_what_they_stand_for(store: walle.Store) -> None:
    store.instruments.save(Instrument(symbol="ESZ5", kind="future", quote="USD", multiplier=D(50)))
    inverse = "BTC/USD:BTC"
    fills = [deal(1, "buy", "1", "6000", "ESZ5", "2"), deal(5, "sell", "1", "6060", "ESZ5", "2")]
    fills += [deal(11, "buy", "10000", "50000", inverse), deal(15, "sell", "10000", "60000", inverse)]
    prepare(store, fills, {"ESZ5": 6060.0, inverse: 60_000.0})
    figures = store.runs.metrics("r", starting_cash={"USD": D(100_000), "BTC": D(1)})
    found = {(row["currency"], row["metric"]): row for row in figures.iter_rows(named=True)}
    assert found["USD", "net_profit"]["amount"] == D(2996) and found["USD", "fees"]["amount"] == D(4)
    assert found["USD", "average_trade"]["value"] == pytest.approx(2996 / 300_000)
    assert found["BTC", "average_trade"]["value"] == pytest.approx((1 / 5 - 1 / 6) / (1 / 5))
    assert found["USD", "turnover"]["value"] == pytest.approx(50 * 12_060 / 102_900, rel=0.05)
    assert found["BTC", "turnover"]["value"] == pytest.approx(11 / 30, rel=0.05)


def test_an_action_of_one_symbol_casts_no_doubt_on_another(store: walle.Store) -> None:
    for symbol in ("AAPL", "MSFT"):
        store.instruments.save(Instrument(symbol=symbol, kind="stock", quote="USD"))
    at = START + timedelta(days=1)
    store.actions.append(CorporateAction(id="s1", symbol="AAPL", kind="split", ex_date=at, ratio=D(4)))
    fills = [
        deal(1, "buy", "1", "100", "AAPL"),
        deal(2, "buy", "1", "100", "MSFT"),
        deal(3, "sell", "1", "110", "MSFT"),
    ]
    prepare(store, fills, {"AAPL": 100.0, "MSFT": 110.0})
    assert last(store, starting_cash=D(1000)) == {"USD": D(1010)}  # the bars end before the split
    assert store.fills.trades("r").filter(symbol="MSFT")["pnl_net"].to_list() == [D(10)]


def test_dust_is_an_exact_number_above_0(store: walle.Store) -> None:
    prepare(store, [deal(1, "buy", "1", "100", "ETH/USDT")], {})
    for dust in (0.1, D(0), D(-1)):
        with pytest.raises(walle.InputError, match="dust"):
            store.fills.trades("r", by="flat", dust=dust)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(walle.InputError, match=r"ex_date='2025-01-01' is not a date: give date\("):
        CorporateAction(id="a", symbol="X", kind="split", ex_date="2025-01-01", ratio=D(2))  # type: ignore[arg-type]  # wrong on purpose


def test_what_was_traded_in_two_currencies_is_converted_before_it_is_added_up(store: walle.Store) -> None:
    fills = [deal(1, "buy", "10", "100", "AAPL"), deal(2, "buy", "5", "200", "SAP")]
    prepare(store, fills, {"AAPL": 100.0, "SAP": 200.0})
    for symbol, currency in (("AAPL", "USD"), ("SAP", "EUR")):
        store.instruments.save(Instrument(symbol=symbol, kind="stock", quote=currency))
    rates = pl.DataFrame({"time": [START], "currency": ["EUR"], "rate": [1.1]})
    told = store.runs.metrics("r", starting_cash=D(10_000), currency="USD", rates=rates, wide=True)
    assert told["turnover"].item() == pytest.approx((1000 + 1100) / 10_000)  # the prices stand still
    late = rates.with_columns(time=START + 3 * MINUTE)
    figures = store.runs.metrics("r", starting_cash=D(10_000), currency="USD", rates=late)
    assert figures.filter(metric="turnover")["reason"].item() == "a fill has no rate to USD"
    other = store.runs.metrics("r", starting_cash=D(10_000), currency="USD")
    missing = other.filter(metric="end_equity").row(0, named=True)
    assert missing["amount"] is None and "EUR" in missing["reason"] and "price" not in missing["reason"]


def test_of_a_position_that_was_never_flat_the_lots_are_counted(store: walle.Store) -> None:
    fills = [
        deal(1, "buy", "3", "100", "BTC/USD"),
        deal(2, "sell", "1", "110", "BTC/USD"),
        deal(3, "sell", "1", "90", "BTC/USD"),
    ]
    prepare(store, fills, {"BTC/USD": 100.0})
    trades = store.runs.metrics("r").filter(metric="trades").row(0, named=True)
    assert (trades["value"], trades["reason"]) == (2, "by lot: BTC/USD was never flat")
    assert store.runs.metrics("r").filter(metric="win_rate")["value"].item() == 0.5
    store.fills.append([deal(4, "sell", "1", "90", "BTC/USD")])
    assert store.runs.metrics("r").filter(metric="trades").select("value", "reason").row(0) == (1, None)


def test_after_a_split_in_doubt_nothing_is_known_of_later_trades(store: walle.Store) -> None:
    fills = [deal(1, "buy", "10", "200", "AAPL"), deal(30, "sell", "40", "55", "AAPL")]
    split = {"kind": "split", "ex_date": START.date() + timedelta(days=1), "ratio": D(4)}
    later = dataclasses.replace(fills[1], filled_at=START + timedelta(days=2))
    prepare(store, [fills[0], later], {"AAPL": 55.0})
    store.actions.append(CorporateAction(id="s", symbol="AAPL", **split))  # type: ignore[arg-type]  # fields of an action
    found = store.fills.trades("r")
    assert found["pnl_gross"].to_list() == [None, None] and found["unrealised"].to_list() == [None, None]
    assert all("an action lies inside" in str(reason) for reason in found["reason"])


def test_an_option_is_not_inverse_whatever_its_venue_says(store: walle.Store) -> None:
    name = "BTC/USD:BTC-260327-60000-C"
    market = {"symbol": name, "type": "option", "base": "BTC", "quote": "USD", "settle": "BTC", "contract": True}
    store.instruments.save({name: {**market, "contractSize": 1.0, "linear": False, "inverse": True}})
    prepare(store, [deal(1, "buy", "1", "0.05", name), deal(2, "sell", "1", "0.08", name)], {name: 0.08})
    assert gained(store) == [(D("0.03"), D(0), D("0.03"), "BTC")]
    assert last(store) == {"BTC": D("0.03")}
    costs = store.fills.costs("r", by="run", benchmarks="close").row(0, named=True)
    assert (costs["notional"], costs["currency"]) == (D("0.13"), "BTC")


def test_the_commission_on_dust_is_paid_too(store: walle.Store) -> None:
    fills = [
        deal(1, "buy", "1", "3000", "ETH/USDT", "3", "USDT"),
        deal(2, "sell", "0.999", "3200", "ETH/USDT", "3", "USDT"),
    ]
    prepare(store, fills, {"ETH/USDT": 3150.0})
    row = store.fills.trades("r", by="flat", dust=D("0.01")).row(0, named=True)
    assert (row["pnl_gross"], row["fees"], row["pnl_net"]) == (D("199.8"), D(6), D("193.8"))
    assert (row["unrealised"], row["is_open"]) == (D("0.15"), False)
    for dust, closed in ((None, 0), (D("0.01"), 1)):
        told = store.runs.metrics("r", dust=dust, wide=True).row(0, named=True)
        assert told["open_trades"] == 1 - closed and (told["trades"] == 1 or closed == 0)
    with pytest.raises(walle.InputError, match="dust"):
        store.runs.metrics("r", dust=D(0))


def test_a_fall_from_nothing_has_no_share(store: walle.Store) -> None:
    fills = [deal(1, "buy", "1", "100", "BTC/USD", "1", "USD"), deal(30, "sell", "1", "110", "BTC/USD", "1", "USD")]
    prepare(store, fills, {"BTC/USD": 100.0})
    figures = store.runs.metrics("r").filter(metric="max_drawdown").row(0, named=True)
    assert (figures["value"], figures["reason"]) == (
        None,
        "it fell from a peak that is not above 0; give starting_cash",
    )
    assert store.runs.metrics("r").filter(metric="max_drawdown_amount")["amount"].item() == -1


IMPLAUSIBLE = {
    "an option's hundred shares": (
        "OPT",
        {"kind": "option", "quote": "USD", "multiplier": 100},
        "2",
        "1.25",
        "1.3",
        "USD",
        0,
    ),
    "an option's fee of a half": (
        "OPT",
        {"kind": "option", "quote": "USD", "multiplier": 100},
        "2",
        "1.25",
        "130",
        "USD",
        1,
    ),
    "an inverse contract": ("BTC/USD:BTC", None, "10000", "50000", "0.15", "BTC", 1),
    "a small fee of one": ("BTC/USD:BTC", None, "10000", "50000", "0.0001", "BTC", 0),
    "half of a purchase": ("BTC/USD", None, "1", "50000", "0.5", "BTC", 1),
    "a thousandth of a purchase": ("BTC/USD", None, "1", "50000", "0.001", "BTC", 0),
}


@pytest.mark.parametrize("case", IMPLAUSIBLE.values(), ids=IMPLAUSIBLE)
def test_a_commission_is_held_against_what_the_fill_stands_for(store: walle.Store, case: tuple[Any, ...]) -> None:
    symbol, facts, quantity, price, fee, currency, findings = case
    if facts is not None:
        store.instruments.save(Instrument(symbol=symbol, **{**facts, "multiplier": D(facts["multiplier"])}))
    prepare(store, [deal(1, "buy", quantity, price, symbol, fee, currency)], {})
    assert store.fills.audit(rules="commission_implausible").height == findings


def test_instruments_come_as_mappings_of_their_fields(store: walle.Store) -> None:
    store.instruments.save([{"symbol": "X10", "kind": "stock", "quote": "USD"}])
    assert store.instruments.get("X10").kind == "stock"
    with pytest.raises(walle.InputError, match="no field 'multiplyer'; it has aliases"):
        store.instruments.save([{"symbol": "X11", "kind": "stock", "multiplyer": 5}])
