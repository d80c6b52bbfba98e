"""What a source says is held against its bars: nothing is stored under a timeframe that they contradict."""

from __future__ import annotations

import random
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import walle
from tests.samples import bars
from walle.bars.distances import contradictions, shorter_timeframe
from walle.bars.spans import spans_of
from walle.calendars import calendar, from_sessions
from walle.errors import InputError, InvalidBars
from walle.frames import INSTANT
from walle.records import Bar
from walle.store import Store

MONDAY = datetime(2024, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def at(times: list[datetime]) -> pl.DataFrame:
    """Bars that open at these times."""
    prices = bars(1).select("open", "high", "low", "close", "volume")
    return pl.DataFrame({"timestamp": times}, schema={"timestamp": INSTANT}).join(prices, how="cross")


def every(step: timedelta, count: int = 24, start: datetime = MONDAY) -> pl.DataFrame:
    return at([start + number * step for number in range(count)])


def _bar(time: datetime) -> Bar:
    return Bar(symbol="A", timeframe="1m", timestamp=time, open=1.0, high=1.0, low=1.0, close=1.0, volume=0.0)


def weekdays(count: int) -> list[datetime]:
    days = [MONDAY + number * DAY for number in range(2 * count)]
    return [day for day in days if day.weekday() < 5][:count]


def months(count: int) -> list[datetime]:
    return [datetime(2020 + number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(count)]


@pytest.mark.parametrize(
    ("frame", "given", "likely"),
    [
        (every(HOUR), "1m", "1h"),
        (every(HOUR, start=MONDAY + 30 * MINUTE), "1m", "1h"),
        (every(5 * MINUTE), "1m", "5m"),
        (every(HOUR), "30m", "1h"),
        (every(MINUTE), "1s", "1m"),
        (every(DAY), "1h", "1d"),
        (every(DAY), "1m", "1d"),
        (at(weekdays(30)), "1h", "1d"),
        (every(7 * DAY), "1d", "1w"),
        (every(7 * DAY, start=MONDAY + 4 * DAY), "1d", "1w"),
        (at(months(24)), "1d", "1M"),
        (at([day + 14.5 * HOUR + number * HOUR for day in weekdays(3) for number in range(7)]), "1m", "1h"),
        # the sessions of Tokyo, with their break
        (at([day + hours * HOUR for day in weekdays(4) for hours in (0, 1, 2, 3.5, 4.5, 5.5)]), "1m", "1h"),
        # a change of clocks moves a bar of a day by an hour
        (at([*every(DAY, 30)["timestamp"], *every(DAY, 30, MONDAY + 30 * DAY - HOUR)["timestamp"]]), "1m", "1d"),
        # weeks that begin on their first session
        (at([MONDAY + number * 7 * DAY + (number % 5 == 0) * DAY for number in range(30)]), "1d", "1w"),
    ],
)
def test_bars_of_a_longer_timeframe_are_refused(store: Store, frame: pl.DataFrame, given: str, likely: str) -> None:
    with pytest.raises(
        InputError, match=rf"timeframe='{given}' was given, .* lie {likely} apart.*timeframe='{likely}'"
    ):
        store.bars.ingest(frame, symbol="A", timeframe=given)
    named = frame.with_columns(symbol=pl.lit("A"), timeframe=pl.lit(given))
    with pytest.raises(InputError, match=rf"the column timeframe says '{given}'.* lie {likely} apart"):
        store.bars.ingest(named)
    assert store.bars.series().is_empty()
    assert store.bars.ingests().is_empty()


def test_who_says_it_in_both_places_means_it(store: Store) -> None:
    frame = every(HOUR).with_columns(timeframe=pl.lit("1m"))
    assert store.bars.ingest(frame, symbol="A", timeframe="1m").inserted == 24
    assert store.bars.ingest(frame.rename({"timeframe": "interval"}), symbol="B", timeframe="1m").inserted == 24
    assert store.bars.ingest(frame.lazy(), symbol="C", timeframe="1m").inserted == 24
    assert store.bars.ingest(frame.to_pandas(), symbol="D", timeframe="1m").inserted == 24
    assert store.bars.ingest(frame.to_arrow(), symbol="E", timeframe="1m").inserted == 24


def test_records_of_an_engine_are_not_judged(store: Store) -> None:
    records = [_bar(MONDAY + number * HOUR) for number in range(24)]
    assert store.bars.ingest(records).inserted == 24


@pytest.mark.parametrize(
    ("frame", "timeframe"),
    [
        (every(HOUR, 2), "1m"),  # one distance
        (every(2 * MINUTE, 7), "1m"),  # chance: 1 in 64
        (every(5 * MINUTE, 3), "1m"),
        (at([MONDAY + minutes * MINUTE for minutes in (0, 60, 180, 240)]), "1m"),  # few, and not all alike
        (at([day + hour * HOUR for day in weekdays(9) if day.day != 4 for hour in range(14, 21)]), "1h"),
        (at([MONDAY + number * MINUTE for number in range(300) if not 60 <= number < 200]), "1m"),
        (at([day for day in weekdays(60) if day.day != 1]), "1d"),
        (at([day + number * 4 * HOUR + 9.5 * HOUR for day in weekdays(20) for number in range(2)]), "4h"),
        # the two auctions of a day
        (at([day + hours * HOUR for day in weekdays(20) for hours in (11.5, 16.5)]), "1m"),
    ],
)
def test_what_may_be_true_is_stored(store: Store, frame: pl.DataFrame, timeframe: str) -> None:
    assert store.bars.ingest(frame, symbol="A", timeframe=timeframe).inserted == frame.height


@pytest.mark.parametrize(
    ("frame", "given", "likely", "sure"),
    [
        (every(HOUR, 3), "1m", "1h", False),
        (every(HOUR, 4), "1m", "1h", False),
        (every(HOUR, 5), "1m", "1h", True),
        (every(DAY, 3), "1m", "1d", True),
        (every(DAY, 3), "1h", "1d", False),
        (every(7 * DAY, 4), "1d", "1w", False),
        (every(2 * MINUTE, 20), "1m", "2m", False),  # chance: 1 in 500,000
    ],
)
def test_few_bars_that_lie_alike_are_doubted_or_refused(
    store: Store, tmp_path: Path, frame: pl.DataFrame, given: str, likely: str, sure: bool
) -> None:
    path = file(tmp_path, "x", frame)
    for symbol, source in (("A", frame), ("B", path)):
        words = rf"timeframe='{given}' was given, .* lie {likely} apart: .* Say timeframe='{likely}'"
        if sure:
            with pytest.raises(InputError, match=words):
                store.bars.ingest(source, symbol=symbol, timeframe=given)
        else:
            with pytest.warns(walle.ContradictionWarning, match=words) as told:
                assert store.bars.ingest(source, symbol=symbol, timeframe=given).inserted == frame.height
            assert "Nothing was written" not in str(told[0].message)
            later = frame.with_columns(pl.col("timestamp") + 400 * DAY, timeframe=pl.lit(given))
            assert store.bars.ingest(later, symbol=symbol, timeframe=given).inserted == frame.height  # said twice
    assert store.bars.series().is_empty() == sure


def test_bars_that_trade_rarely_are_those_of_their_timeframe() -> None:
    """Poisson trading at any rate, in two thousand series: the rule never takes them for another timeframe."""
    chance = random.Random(20240101)
    parts = []
    for number in range(2_000):
        mean = chance.choice([1.5, 4, 20, 60, 400])
        minutes = sorted({int(chance.expovariate(1 / mean)) + 1 for _ in range(chance.randint(5, 60))})
        places = [sum(minutes[: index + 1]) for index in range(len(minutes))]
        times = [MONDAY + place * MINUTE for place in places]
        parts.append(pl.DataFrame({"symbol": f"S{number}", "timeframe": "1m", "timestamp": times}))
    assert contradictions(spans_of(pl.concat(parts).cast({"timestamp": INSTANT}))) == []


def test_stored_bars_and_sessions_prove_that_a_series_is_sparse(store: Store) -> None:
    whole = every(MINUTE, 24 * 60)
    first_of_hours = pl.col("timestamp").dt.minute() == 0
    store.bars.ingest(whole.filter(~first_of_hours), symbol="A", timeframe="1m")
    assert store.bars.ingest(whole.filter(first_of_hours), symbol="A", timeframe="1m").inserted == 24  # a backfill

    opens = pl.Series([day + 15 * HOUR for day in weekdays(20)], dtype=INSTANT)
    hour = from_sessions(pl.DataFrame({"open": opens, "close": opens + HOUR}), "one hour a day")
    with pytest.raises(InputError, match="lie 1d apart"):
        store.bars.ingest(at(opens.to_list()), symbol="B", timeframe="1h")
    with pytest.warns(walle.NoEffectWarning):
        store.bars.set_calendar("B", hour)
    assert store.bars.ingest(at(opens.to_list()), symbol="B", timeframe="1h").inserted == 20
    assert store.bars.ingest(at(opens.to_list()), symbol="C", timeframe="1h", calendar=hour).inserted == 20


def test_hours_in_a_series_of_minutes_are_told_unless_they_fill_its_gaps(store: Store) -> None:
    minutes = every(timedelta(minutes=1), 600)
    store.bars.ingest(minutes.filter(pl.int_range(600) % 60 != 30), symbol="A", timeframe="1m")
    missing = minutes.filter(pl.int_range(600) % 60 == 30)
    assert store.bars.ingest(missing, symbol="A", timeframe="1m").inserted == 10
    with pytest.warns(walle.ContradictionWarning, match="timeframe='1m' was given, but the bars of 'A' lie 1h apart"):
        store.bars.ingest(every(timedelta(hours=1), 100, MONDAY + timedelta(days=3)), symbol="A", timeframe="1m")


def test_a_file_is_judged_as_a_whole_and_named(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "BTC_USD-1m.csv"
    every(5 * MINUTE, 70_000).write_csv(path)  # several pages
    with pytest.raises(InputError, match=r"BTC_USD-1m\.csv: the file name says '1m'.* lie 5m apart: 69,999 of 69,999"):
        store.bars.ingest(path)
    assert store.bars.series().is_empty()
    mixed = pl.concat([every(5 * MINUTE, 66_000), every(MINUTE, 66_000, MONDAY + 400 * DAY)])
    mixed.write_csv(tmp_path / "ETH_USD-1m.csv")
    assert store.bars.ingest(tmp_path / "ETH_USD-1m.csv").inserted == mixed.height


def test_several_series_are_counted_and_quarantine_changes_nothing(store: Store) -> None:
    frame = pl.concat([every(HOUR).with_columns(symbol=pl.lit(name)) for name in ("A", "B", "C")])
    with pytest.raises(InputError, match=r"'A' lie 1h apart.*those of 2 more series"):
        store.bars.ingest(frame, timeframe="1m", on_invalid="quarantine")
    whole = every(MINUTE, 60).with_columns(symbol=pl.lit("D"))
    with pytest.raises(InputError, match="'A' lie 1h apart"):
        store.bars.ingest(pl.concat([whole, frame]), timeframe="1m")
    assert store.bars.series().is_empty()


@pytest.mark.parametrize(
    ("step", "given", "likely"),
    [(MINUTE, "5m", "1m"), (HOUR, "1d", "1h"), (DAY, "1w", "1d"), (10 * MINUTE, "1h", "10m")],
)
def test_bars_of_a_shorter_timeframe_are_refused_by_its_name(
    store: Store, step: timedelta, given: str, likely: str
) -> None:
    with pytest.raises(InvalidBars, match=f"another timeframe.*mostly {likely} apart: timeframe='{likely}'"):
        store.bars.ingest(every(step, 40), symbol="A", timeframe=given)


def test_other_refusals_name_no_timeframe() -> None:
    rows = every(DAY, 5).with_columns(symbol=pl.lit("A"), timeframe=pl.lit("1h"))
    assert shorter_timeframe(rows) is None
    assert shorter_timeframe(rows.head(1)) is None
    assert shorter_timeframe(rows.with_columns(timestamp=pl.lit(None, INSTANT))) is None
    assert shorter_timeframe(rows.with_columns(timeframe=pl.lit("7x"))) is None


# what the name of a file, a column and an argument say


def file(folder: Path, name: str, frame: pl.DataFrame) -> Path:
    path = folder / f"{name}.csv"
    frame.write_csv(path)
    return path


def test_a_columns_word_is_held_against_an_argument_in_frames_too(store: Store) -> None:
    frame = every(5 * MINUTE)
    with pytest.raises(InputError, match="symbol='MSFT' was given, but column 'ticker' says 'AAPL'"):
        store.bars.ingest(frame.with_columns(ticker=pl.lit("AAPL")), symbol="MSFT", timeframe="5m")
    with pytest.raises(InputError, match="timeframe='5m' was given, but column 'interval' says '1m'"):
        store.bars.ingest(frame.with_columns(interval=pl.lit("1m")), symbol="MSFT", timeframe="5m")
    same = frame.with_columns(ticker=pl.lit("MSFT"), interval=pl.lit("5min"))
    assert store.bars.ingest(same, symbol="MSFT", timeframe="5m").inserted == 24
    renamed = frame.with_columns(name=pl.lit("MSFT"), ticker=pl.lit("AAPL"))
    report = store.bars.ingest(renamed, timeframe="5m", columns={"name": "symbol"})
    assert report.duplicates == 24


@pytest.mark.parametrize(
    ("name", "step", "given", "said"),
    [
        ("BTC_USD-5m", MINUTE, {"timeframe": "1m"}, "says 5m, but the bars are read as 1m"),
        ("BTC_USD-1m", 5 * MINUTE, {"timeframe": "5m"}, "says 1m, but the bars are read as 5m"),
        ("btc_1m", 5 * MINUTE, {"symbol": "BTC/USD"}, "says 1m, but the bars are read as 5m"),
        ("1h", MINUTE, {"symbol": "BTC/USD"}, "says 1h, but the bars are read as 1m"),
        ("ETH_USD-1m", MINUTE, {"symbol": "BTC/USD"}, "says ETH/USD, but the bars are read as those of BTC/USD"),
        ("BTCUSD-1m-2024-02", MINUTE, {}, "says 2024-02-01, but its first bar opens at 2024-01-01 00:00"),
        ("BTCUSD-1m-2023-12-30", MINUTE, {}, "says 2023-12-30, but its first bar"),
    ],
)
def test_a_name_that_says_otherwise_is_told(
    store: Store, tmp_path: Path, name: str, step: timedelta, given: dict[str, str], said: str
) -> None:
    path = file(tmp_path, name, every(step))
    with pytest.warns(walle.ContradictionWarning, match=rf"{name}\.csv: the file name {said}"):
        assert store.bars.ingest(path, **given).inserted == 24  # type: ignore[arg-type]  # mypy takes any keyword


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("BTCUSD-1m-2024-01", {"symbol": "BTC/USD"}),
        ("BTCUSD-1m-2024-01-01", {}),
        ("BTCUSD-1m-2024", {}),
        ("BTCUSD-1m-2024-31", {}),  # no month, so no time
        ("AAPL-1m", {"symbol": "AAPL.US", "timeframe": "1m"}),
        ("aapl_1m", {"symbol": "AAPL"}),
        ("backup 7x", {"symbol": "AAPL"}),
    ],
)
def test_a_name_that_says_the_same_is_quiet(store: Store, tmp_path: Path, name: str, given: dict[str, str]) -> None:
    assert store.bars.ingest(file(tmp_path, name, every(MINUTE)), **given).inserted == 24  # type: ignore[arg-type]  # mypy takes any keyword


def test_a_column_of_symbols_contradicts_a_name_unless_it_names_it_too(store: Store, tmp_path: Path) -> None:
    frame = every(MINUTE)
    both = pl.concat([frame.with_columns(symbol=pl.lit(name)) for name in ("BTC/USD", "ETH/USD")])
    assert store.bars.ingest(file(tmp_path, "ETH_USD-1m", both)).inserted == 48
    with pytest.warns(walle.ContradictionWarning, match="says SOL/USD, but the bars are read as those of BTC/USD, ETH"):
        store.bars.ingest(file(tmp_path, "SOL_USD-1m", both))


def test_an_archive_and_the_file_in_it_agree(store: Store, tmp_path: Path) -> None:
    inner = file(tmp_path, "ETHUSD-1m-2024-01", every(MINUTE))
    for name, what in (("BTCUSD-1m-2024-01", "symbol"), ("ETHUSD-5m-2024-01", "timeframe")):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as packed:
            packed.write(inner, inner.name)
        with pytest.raises(InputError, match=f"the archive's name says .* Which {what} is it"):
            store.bars.ingest(tmp_path / f"{name}.zip")
    with zipfile.ZipFile(tmp_path / "ETHUSD-1m-2024-01.zip", "w") as packed:
        packed.write(inner, inner.name)
    assert store.bars.ingest(tmp_path / "ETHUSD-1m-2024-01.zip").inserted == 24


# calls that apply to nothing that is stored


def test_a_calendar_of_an_unknown_symbol_is_set_and_told(store: Store) -> None:
    store.bars.set_calendar("AAPL", "24/5")  # in a new store the bars come later
    store.bars.ingest(every(MINUTE), symbol="BTC/USD", timeframe="1m")
    with pytest.warns(walle.NoEffectWarning, match=r"no bars are stored of 'BTC/USDD' \(did you mean 'BTC/USD'\?\)"):
        store.bars.set_calendar("BTC/USDD", "24/5")
    with pytest.warns(walle.NoEffectWarning, match="'A', 'B', 'C', 'D', 'E' and 1 more"):
        store.bars.set_calendar(list("ABCDEF"), "24/5")
    assert store.bars.calendars().height == 8
    store.bars.set_calendar("BTC/USD", "24/7")
    store.bars.set_calendar(["BTC/USD", "AAPL"], None)
    with pytest.warns(walle.NoEffectWarning, match=r"no calendar to remove of 'BTC/USD' \(did you mean 'BTC/USDD'"):
        store.bars.set_calendar("BTC/USD", None)


def test_an_explanation_of_nothing_is_told(store: Store) -> None:
    frame = every(MINUTE, 60)
    store.bars.ingest(frame.filter(~pl.int_range(60).is_between(20, 29)), symbol="A", timeframe="1m")
    with pytest.raises(walle.UnknownSymbol):
        store.bars.explain_gap("B", MONDAY, MONDAY + HOUR, "halt")
    store.bars.explain_gap("A", MONDAY + 20 * MINUTE, MONDAY + 30 * MINUTE, "halt")
    store.bars.explain_gap("A", MONDAY + 59 * MINUTE, MONDAY + 2 * HOUR, "halt after the last bar")
    store.bars.explain_gap("A", MONDAY - HOUR, MONDAY, "before the first one")
    with pytest.warns(walle.NoEffectWarning, match="no 1m bar of 'A' is missing"):
        store.bars.explain_gap("A", MONDAY + 5 * MINUTE, MONDAY + 10 * MINUTE, "nothing")
    with pytest.warns(
        walle.NoEffectWarning, match=r"the one of 1m reaches from 2024-01-01T00:20.* to 2024-01-01T00:30"
    ):
        store.bars.explain_gap("A", MONDAY + 25 * MINUTE, MONDAY + 40 * MINUTE, "half of it")
    store.bars.set_calendar("A", "24/5")
    with pytest.warns(walle.NoEffectWarning, match="no 1m bar of 'A' is missing that is expected"):
        store.bars.explain_gap("A", MONDAY + 5 * DAY + HOUR, MONDAY + 5 * DAY + 3 * HOUR, "a Saturday")
    assert store.bars.explanations("A").height == 6


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("BTCUSD", "BTC/USD"),
        ("btc-usd", "BTC/USD"),
        ("APPL", "AAPL"),
        ("APL", "AAPL"),
        ("AALP", "AAPL"),
        ("GM", "GE"),
        ("V", None),
        ("ZZ", None),
    ],
)
def test_a_symbol_misspelt_by_a_letter_or_a_sign_is_named(store: Store, wrong: str, right: str | None) -> None:
    frame = pl.concat([every(DAY, 2).with_columns(symbol=pl.lit(name)) for name in ("BTC/USD", "AAPL", "GE", "F")])
    store.bars.ingest(frame, timeframe="1d")
    for call in (store.bars.read, store.bars.latest, store.bars.gaps):
        with pytest.raises(walle.UnknownSymbol) as caught:
            call(wrong, "1d")
        assert ("did you mean" in str(caught.value)) == (right is not None)
        assert right is None or f"did you mean {right!r}" in str(caught.value)


# a symbol whose market closes, without a calendar


def test_stocks_without_a_calendar_get_a_hint_once(store: Store) -> None:
    pytest.importorskip("exchange_calendars")
    opens = calendar("XNYS").grid("15m", "2024-01-08", "2024-02-03")
    stock = at(opens.to_list())
    for name in ("AAPL", "MSFT"):
        store.bars.ingest(stock, symbol=name, timeframe="15m")
    store.bars.ingest(every(HOUR, 24 * 20).filter(~pl.int_range(480).is_between(100, 200)), symbol="C", timeframe="1h")
    with pytest.warns(walle.MissingCalendarWarning, match=r"'AAPL', 'MSFT' have no.*\(\['AAPL', 'MSFT'\], 'XNYS'\)"):
        store.bars.coverage()
    store.bars.coverage()
    assert store.bars.gaps("AAPL", "15m").height
    with pytest.raises(walle.IncompleteBars, match=r"'AAPL' has no calendar.*set_calendar\('AAPL', 'XNYS'\)"):
        store.bars.read("AAPL", "15m", require_complete=True)
    store.bars.set_calendar("AAPL", "XNYS")
    store.bars.read("AAPL", "15m", require_complete=True)


def test_who_chose_a_calendar_gets_no_hint(store: Store) -> None:
    days = [day for day in weekdays(20) if day.day != 15]
    stock = at([day + 15 * HOUR + number * 10 * MINUTE for day in days for number in range(6)])
    store.bars.ingest(stock, symbol="A", timeframe="10m")
    assert store.bars.coverage(calendar="24/7")["missing"].item() > 1000
    assert store.bars.gaps("A", "10m", calendar="24/7").height
    store.bars.set_calendar("A", "24/7")
    assert store.bars.coverage()["missing"].item() > 1000
    store.bars.set_calendar("A", None)
    with pytest.warns(walle.MissingCalendarWarning, match=r"'A' has no calendar.*15:00 to 15:50 UTC.*from_sessions"):
        store.bars.gaps("A", "10m")
