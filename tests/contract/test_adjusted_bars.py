"""Bars that corporate actions adjust on their way out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl
import pytest

import walle
from walle.database import Database
from walle.frames import INSTANT
from walle.records import CorporateAction, Fill, Instrument, Run
from walle.repositories import BarRepository, CorporateActionRepository
from walle.repositories.actions.known import known_actions
from walle.repositories.bars.adjusting import AdjustedBars

D = Decimal
DAY = timedelta(days=1)
START = datetime(2024, 6, 3, tzinfo=UTC)  # a Monday
CLOSES = [100.0, 104.0, 102.0, 26.0, 25.0, 27.0, 24.5, 25.5]
"""A split of 4 on the fourth day (2024-06-06), and a dividend of 0.50 on the sixth."""


def bars(closes: Sequence[float], start: datetime = START, step: timedelta = DAY) -> pl.DataFrame:
    """Make bars whose high is 1 above, and whose low is 1 below the close."""
    times = pl.Series([start + step * place for place in range(len(closes))], dtype=INSTANT)
    close = pl.Series(closes, dtype=pl.Float64)
    return pl.DataFrame(
        {
            "timestamp": times,
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": close * 0 + 8,
        }
    )


def split(ratio: str, day: date, **changes: Any) -> CorporateAction:
    given: dict[str, Any] = {"id": f"s-{day}", "symbol": "AAPL", "kind": "split", "ex_date": day, "ratio": D(ratio)}
    return CorporateAction(**(given | changes))


def dividend(amount: str, day: date, **changes: Any) -> CorporateAction:
    given: dict[str, Any] = {
        "id": f"d-{day}",
        "symbol": "AAPL",
        "kind": "dividend",
        "ex_date": day,
        "amount": D(amount),
    }
    return CorporateAction(**(given | {"currency": "USD"} | changes))


SPLIT, DIVIDEND = split("4", date(2024, 6, 6)), dividend("0.50", date(2024, 6, 8))


@pytest.fixture
def filled(store: walle.Store) -> walle.Store:
    store.bars.ingest(bars(CLOSES), symbol="AAPL", timeframe="1d", progress=False)
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    store.actions.append([SPLIT, DIVIDEND])
    return store


def closes_of(store: walle.Store, adjust: Any, *range_: Any, timeframe: str = "1d") -> list[float]:
    found: list[float] = store.bars.read("AAPL", timeframe, *range_, adjust=adjust)["close"].to_list()
    return found


def test_splits_divide_earlier_prices_and_multiply_earlier_volumes(filled: walle.Store) -> None:
    found = filled.bars.read("AAPL", "1d", adjust="splits")
    assert found.schema == filled.bars.read("AAPL", "1d").schema
    assert found["close"].to_list() == [25.0, 26.0, 25.5, *CLOSES[3:]]
    assert found["open"].to_list() == [25.0, 26.0, 25.5, *CLOSES[3:]]
    assert found["high"].to_list() == [25.25, 26.25, 25.75, *(close + 1 for close in CLOSES[3:])]
    assert found["low"].to_list() == [24.75, 25.75, 25.25, *(close - 1 for close in CLOSES[3:])]
    assert found["volume"].to_list() == [32.0] * 3 + [8.0] * 5
    assert filled.bars.read("AAPL", "1d")["close"].to_list() == CLOSES  # stored as they were


def test_dividends_scale_earlier_prices_by_the_close_before_the_ex_date(filled: walle.Store) -> None:
    """The dividend of 0.50 at a close of 25 is 0.02 of the price: 0.98 before it, and 0.98 / 4 before the split."""
    found = filled.bars.read("AAPL", "1d", adjust="all")
    assert found["close"].to_list() == pytest.approx([24.5, 25.48, 24.99, 25.48, 24.5, 27.0, 24.5, 25.5], rel=1e-15)
    assert found["volume"].to_list() == [32.0] * 3 + [8.0] * 5  # dividends leave volumes alone


def test_prices_do_not_depend_on_the_range_that_is_read(filled: walle.Store) -> None:
    whole = filled.bars.read("AAPL", "1d", adjust="all")
    for first in range(8):
        for last in range(first, 9):
            part = filled.bars.read("AAPL", "1d", START + first * DAY, START + last * DAY, adjust="all")
            assert part.equals(whole[first:last])


def test_the_total_return_is_that_of_shares_whose_dividends_are_reinvested(store: walle.Store) -> None:
    """A dividend buys shares at the close before the ex-date, less the dividend: the price without the right to it."""
    closes = [50.0, 51.25, 49.5, 52.75, 17.5, 18.25, 16.75, 17.0, 19.5]
    store.bars.ingest(bars(closes), symbol="AAPL", timeframe="1d", progress=False)
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    paid = {2: D("1.10"), 6: D("0.35"), 8: D("0.40")}
    splits = {4: D(3)}
    store.actions.append([dividend(str(paid[day]), (START + day * DAY).date()) for day in paid])
    store.actions.append([split(str(splits[day]), (START + day * DAY).date()) for day in splits])
    shares, worth = Fraction(1), []
    for day, close in enumerate(closes):
        if day in paid:
            shares += shares * Fraction(paid[day]) / (Fraction(closes[day - 1]) - Fraction(paid[day]))
        shares *= Fraction(splits.get(day, D(1)))
        worth.append(shares * Fraction(close))
    adjusted = closes_of(store, "all")
    for day in range(len(closes)):
        assert adjusted[day] / adjusted[0] == pytest.approx(float(worth[day] / worth[0]), rel=1e-14)


def test_the_return_of_split_prices_is_that_of_the_ledger(filled: walle.Store) -> None:
    filled.actions.append(
        dataclasses.replace(DIVIDEND, id="d-none", amount=D("0.000001"), supersedes=DIVIDEND.id, reason="next to none")
    )
    filled.runs.save(
        Run(
            id="r",
            strategy_id="s",
            mode="backtest",
            status="completed",
            prices="raw",
            created_at=START,
            started_at=START,
            stopped_at=START + 8 * DAY,
        )
    )
    bought: dict[str, Any] = {
        "price": D(100),
        "quantity": D(10),
        "side": "buy",
        "filled_at": START + timedelta(hours=12),
    }
    filled.fills.append(Fill(id="f1", order_id="o1", run_id="r", symbol="AAPL", **bought))
    marked = filled.runs.equity("r", starting_cash=D(1000))
    held = marked["position_value"].to_list()
    adjusted = closes_of(filled, "splits")
    assert len(held) == len(adjusted)
    assert [float(worth) / float(held[0]) for worth in held] == pytest.approx([c / adjusted[0] for c in adjusted])


def test_every_reader_adjusts_alike(filled: walle.Store) -> None:
    filled.bars.ingest(bars([10.0, 11.0]), symbol="MSFT", timeframe="1d", progress=False)
    whole = filled.bars.read("AAPL", "1d", adjust="all")
    both = filled.bars.read(["MSFT", "AAPL"], "1d", adjust="all")
    assert both.filter(symbol="AAPL").drop("symbol").equals(whole)
    assert both.filter(symbol="MSFT")["close"].to_list() == [10.0, 11.0]
    assert filled.bars.scan("AAPL", "1d", adjust="all").collect().equals(whole)
    assert filled.bars.scan(["MSFT", "AAPL"], "1d", adjust="all").collect().equals(both)
    lazy = filled.bars.scan("AAPL", "1d", adjust="all")
    assert lazy.select("close").head(2).collect().equals(whole.select("close")[:2])
    assert lazy.filter(pl.col("close") > 25.4).collect().equals(whole.filter(pl.col("close") > 25.4))
    for field in ("close", "volume"):
        panel = filled.bars.panel(["MSFT", "AAPL"], "1d", field, adjust="all")
        assert panel["AAPL"].to_list() == whole[field].to_list()
        assert panel["MSFT"].null_count() == 6
    assert filled.bars.read("AAPL", "1d", columns=["close"], adjust="all").equals(whole.select("close"))
    some = filled.bars.read(["MSFT", "AAPL"], "1d", columns=["volume", "high"], adjust="splits")
    assert some.columns == ["volume", "high"] and some.height == 10
    assert filled.bars.read("AAPL", "1d", columns=["timestamp"], adjust="splits").equals(whole.select("timestamp"))


def test_the_latest_bar_is_adjusted_by_a_split_that_is_announced(filled: walle.Store) -> None:
    assert filled.bars.latest("AAPL", "1d", adjust="all").close == 25.5
    filled.actions.append(split("5", date(2024, 7, 1)))
    assert filled.bars.latest("AAPL", "1d", adjust="splits").close == pytest.approx(5.1, rel=1e-15)
    assert filled.bars.latest("AAPL", "1d", adjust="splits").volume == 40.0
    assert filled.bars.latest("AAPL", "1d").close == 25.5


def test_a_correction_counts_and_what_it_supersedes_does_not(filled: walle.Store) -> None:
    filled.actions.append(dataclasses.replace(SPLIT, id="s-2", ratio=D(2), supersedes=SPLIT.id, reason="a typo"))
    assert closes_of(filled, "splits")[:4] == [50.0, 52.0, 51.0, 26.0]


def test_an_action_moved_to_another_symbol_leaves_the_first(filled: walle.Store) -> None:
    filled.actions.append(dataclasses.replace(SPLIT, id="s-2", symbol="MSFT", supersedes=SPLIT.id, reason="a typo"))
    assert closes_of(filled, "splits") == CLOSES


async def test_actions_count_from_when_they_were_recorded(database: Database) -> None:
    """Whenever they were announced."""
    repository = BarRepository(database)
    await repository.ingest(bars(CLOSES), symbol="AAPL", timeframe="1d")
    actions = CorporateActionRepository(database)
    announced = dataclasses.replace(SPLIT, announced_at=datetime(2024, 5, 1, tzinfo=UTC))
    await actions.append(announced)
    await actions.append(dataclasses.replace(SPLIT, id="s-2", ratio=D(2), supersedes=SPLIT.id, reason="a typo"))
    times = (await actions.read(superseded=True)).select("id", "recorded_at").rows()
    recorded = dict(times)
    first, second = recorded[SPLIT.id], recorded["s-2"]
    assert first < second
    for moment, ids in (
        (first - timedelta(microseconds=1), []),
        (first, [SPLIT.id]),
        (second, ["s-2"]),
        (None, ["s-2"]),
    ):
        assert (await known_actions(database, ["AAPL"], moment))["id"].to_list() == ids
    reader, token = AdjustedBars(database, repository._reader), (await repository.now()).partition("@")[0]
    for moment, close in ((first - timedelta(microseconds=1), 100.0), (first, 25.0), (second, 50.0), (None, 50.0)):
        known = None if moment is None else f"{token}@{moment.isoformat()}"
        found = await reader.read("splits", "AAPL", "1d", None, None, None, False, known, None)
        assert found["close"][0] == close


def test_a_dividend_of_a_day_to_come_adjusts_nothing_yet(filled: walle.Store) -> None:
    before = closes_of(filled, "all")
    filled.actions.append(dividend("1", (datetime.now(UTC) + 30 * DAY).date()))
    assert closes_of(filled, "all") == before


def test_intraday_bars_are_adjusted_from_the_open_of_the_ex_dates_session(store: walle.Store) -> None:
    """A market whose sessions open at 22:00 UTC on the day before their date."""
    dates = [START.date() + place * DAY for place in range(4)]
    opens = [datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=2) for day in dates]
    sessions = pl.DataFrame({"session": dates, "open": opens, "close": [at + timedelta(hours=20) for at in opens]})
    store.bars.set_calendar("AAPL", walle.calendars.from_sessions(sessions, "evening"))
    hours = [at + timedelta(hours=hour) for at in opens for hour in range(20)]
    frame = bars([float(200 - place) for place in range(80)]).with_columns(timestamp=pl.Series(hours, dtype=INSTANT))
    store.bars.ingest(frame, symbol="AAPL", timeframe="1h", progress=False)
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    store.actions.append([split("2", dates[1]), dividend("1.6", dates[3])])
    found = store.bars.read("AAPL", "1h", adjust="splits")
    assert found["close"].to_list() == [(200 - place) / (2 if place < 20 else 1) for place in range(80)]
    # the close before the third action is that of the last bar of the session before: 200 - 59
    factor = 1 - Fraction("1.6") / 141
    exact = [float((200 - place) * (factor if place < 60 else 1)) for place in range(80)]
    assert closes_of(store, "all", opens[1], timeframe="1h") == pytest.approx(exact[20:], rel=1e-15)


def test_bars_of_a_week_with_an_ex_date_are_adjusted_whole_with_a_warning(store: walle.Store) -> None:
    store.bars.ingest(bars([100.0, 30.0, 32.0], step=7 * DAY), symbol="AAPL", timeframe="1w", progress=False)
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    store.actions.append([split("4", date(2024, 6, 12)), dividend("2", date(2024, 6, 20))])
    with pytest.warns(walle.AdjustmentWarning, match=r"1 1w bars open before an ex-date .*: AAPL 2024-06-10.*resample"):
        assert closes_of(store, "splits", timeframe="1w") == [25.0, 7.5, 32.0]
    assert closes_of(store, "splits", "2024-06-17", timeframe="1w") == [32.0]  # not in the range: no warning
    with pytest.warns(walle.AdjustmentWarning, match=r"2 1w bars .*AAPL 2024-06-10; AAPL 2024-06-17"):
        found = closes_of(store, "all", timeframe="1w")
    # the close of the last whole week before the dividend is 30
    assert found == pytest.approx([25 * 28 / 30, 7.5 * 28 / 30, 32 * 28 / 30], rel=1e-15)


def test_a_close_that_is_missing_or_old_is_told(store: walle.Store) -> None:
    store.bars.ingest(bars([100.0, 50.0], step=30 * DAY), symbol="AAPL", timeframe="1d", progress=False)
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    store.actions.append(dividend("2", (START + 20 * DAY).date()))
    told = r"1 dividends .*older than the session before their ex-date: AAPL 2024-06-23 by the close of 2024-06-03"
    with pytest.warns(walle.AdjustmentWarning, match=told):
        assert closes_of(store, "all") == [98.0, 50.0]
    store.bars.ingest(
        bars([100.0], start=datetime(2024, 6, 17, tzinfo=UTC)), symbol="AAPL", timeframe="1w", progress=False
    )
    with pytest.warns(walle.AdjustmentWarning) as caught:
        assert closes_of(store, "all", timeframe="1w") == [100.0]
    told_of = "1 dividends adjust nothing, because no 1w bar that ended before their ex-date is stored: AAPL 2024-06-23"
    assert any(told_of in str(warning.message) for warning in caught)


def test_a_dividend_before_the_first_bar_adjusts_nothing(filled: walle.Store) -> None:
    before = closes_of(filled, "all")
    filled.actions.append(dividend("1000", date(2024, 6, 1), currency="EUR"))
    assert closes_of(filled, "all") == before


def test_a_dividend_in_another_currency_is_refused(filled: walle.Store) -> None:
    filled.actions.append(dividend("0.2", date(2024, 6, 5), currency="EUR"))
    with pytest.raises(walle.InputError, match=r"AAPL on 2024-06-05 .*in EUR, and its prices are in USD.*supersedes="):
        closes_of(filled, "all")
    assert closes_of(filled, "splits")[0] == 25.0
    assert closes_of(filled, "all", "2024-06-05")[0] == pytest.approx(24.99, rel=1e-15)  # it adjusts earlier bars only


def test_a_dividend_is_refused_where_the_currency_of_the_prices_is_unknown(store: walle.Store) -> None:
    store.bars.ingest(bars(CLOSES), symbol="AAPL", timeframe="1d", progress=False)
    store.actions.append(DIVIDEND)
    with pytest.raises(walle.InputError, match=r"is in USD.*is unknown.*walle.Instrument\(symbol='AAPL'.*quote='USD'"):
        closes_of(store, "all")


def test_the_currency_is_that_of_the_time_of_the_dividend(store: walle.Store) -> None:
    """A listing that went over from marks to euros."""
    store.bars.ingest(bars(CLOSES), symbol="AAPL", timeframe="1d", progress=False)
    later = datetime(2024, 6, 6, tzinfo=UTC)
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="DEM"))
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="EUR", valid_from=later))
    store.actions.append([dividend("2.08", date(2024, 6, 5), currency="DEM")])
    store.actions.append([dividend("0.50", date(2024, 6, 8), currency="EUR")])
    assert closes_of(store, "all")[0] == pytest.approx(100 * 0.98 * 0.98, rel=1e-15)


def test_a_dividend_above_the_close_is_refused(filled: walle.Store) -> None:
    filled.actions.append(dividend("104", date(2024, 6, 5)))
    with pytest.raises(walle.InputError, match=r"dividend of AAPL on 2024-06-05 .* is 104.*not below the close .*104"):
        closes_of(filled, "all")


@pytest.mark.parametrize("wrong", ["split", "raw", "", True, 1, ["splits"]])
def test_another_word_is_refused(filled: walle.Store, wrong: Any) -> None:
    told = r"adjust=.* is neither None \(bars as they are stored\), 'splits' nor 'all'"
    for call in (
        lambda: filled.bars.read("AAPL", "1d", adjust=wrong),
        lambda: filled.bars.panel(["AAPL"], "1d", adjust=wrong),
        lambda: filled.bars.scan("AAPL", "1d", adjust=wrong),
        lambda: filled.bars.latest("AAPL", "1d", adjust=wrong),
    ):
        with pytest.raises(walle.InputError, match=told):
            call()


def test_bad_arguments_are_refused_as_without_adjusting(filled: walle.Store) -> None:
    with pytest.raises(walle.UnknownSymbol, match="APPL"):
        filled.bars.read("APPL", "1d", adjust="all")
    with pytest.raises(walle.UnknownTimeframe):
        filled.bars.read("AAPL", "1x", adjust="all")
    with pytest.raises(walle.InputError, match="columns="):
        filled.bars.read("AAPL", "1d", columns=["vwap"], adjust="all")
    with pytest.raises(walle.InputError, match="selects no column"):
        filled.bars.read("AAPL", "1d", columns=[], adjust="all")
    with pytest.raises(walle.InputError, match="field='vwap'"):
        filled.bars.panel(["AAPL"], "1d", "vwap", adjust="all")
    with pytest.raises(walle.UnknownSymbol):
        filled.bars.latest("APPL", "1d", adjust="all")
    with pytest.raises(walle.IncompleteBars):
        filled.bars.read("AAPL", "1d", "2024-06-01", "2024-06-20", adjust="all", require_complete=True)


def test_a_symbol_without_actions_reads_as_it_is_stored(filled: walle.Store) -> None:
    filled.bars.ingest(bars([10.0, 11.0]), symbol="MSFT", timeframe="1d", progress=False)
    for adjust in ("splits", "all"):
        assert filled.bars.read("MSFT", "1d", adjust=adjust).equals(filled.bars.read("MSFT", "1d"))


@pytest.mark.parametrize(("timeframe", "each"), [("1d", 1), ("12h", 2)])
def test_a_dividend_every_day(store: walle.Store, timeframe: str, each: int) -> None:
    """More than one statement looks up, and one whose closes are read at once."""
    count = 130 * each
    closes = [100.0 + place for place in range(count)]
    store.bars.ingest(bars(closes, step=DAY / each), symbol="AAPL", timeframe=timeframe, progress=False)
    store.instruments.save(Instrument(symbol="AAPL", kind="stock", quote="USD"))
    store.actions.append([dividend("0.01", (START + place * DAY).date()) for place in range(1, 130)])
    factor, exact = Fraction(1), [Fraction(closes[-1])]
    for place in reversed(range(count - 1)):
        if (place + 1) % each == 0:  # the next bar opens on an ex-date
            factor *= 1 - Fraction("0.01") / Fraction(closes[place])
        exact.append(factor * Fraction(closes[place]))
    assert closes_of(store, "all", timeframe=timeframe) == pytest.approx(list(map(float, reversed(exact))), rel=1e-15)


def test_the_books_of_a_run_leave_out_an_action_that_was_moved_to_another_symbol(filled: walle.Store) -> None:
    filled.runs.save(Run(id="r", strategy_id="s", mode="backtest", status="completed", prices="raw", created_at=START))
    bought: dict[str, Any] = {"price": D(100), "quantity": D(10), "side": "buy", "filled_at": START + DAY / 2}
    filled.fills.append(Fill(id="f1", order_id="o1", run_id="r", symbol="AAPL", **bought))
    assert set(filled.runs.ledger("r")["kind"]) == {"trade", "split", "dividend"}
    filled.actions.append(dataclasses.replace(SPLIT, id="s-2", symbol="MSFT", supersedes=SPLIT.id, reason="a typo"))
    assert set(filled.runs.ledger("r")["kind"]) == {"trade", "dividend"}


def test_an_action_before_an_exchanges_calendar_begins_counts_from_its_date(store: walle.Store) -> None:
    """The sessions of exchanges are known from 1970 on."""
    store.bars.set_calendar("AAPL", "XNYS")
    times = pl.Series([datetime(1962, 1, day, tzinfo=UTC) for day in (2, 3, 4)], dtype=INSTANT)
    old = bars([40.0, 20.0, 21.0]).with_columns(timestamp=times)
    store.bars.ingest(old, symbol="AAPL", timeframe="1d", progress=False)
    store.actions.append(split("2", date(1962, 1, 3)))
    assert closes_of(store, "splits") == [20.0, 20.0, 21.0]
