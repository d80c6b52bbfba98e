"""Bars whose stamps are ends, instants of sessions or other labels, on their way into a store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import walle
from walle.calendars import from_sessions
from walle.errors import InputError, InvalidBars, UnknownCalendar

CLOSES = [f"2024-03-08 {time}" for time in ("15:30", "16:30", "17:30", "18:30", "19:30", "20:30", "21:00")]
"""The ends of the hours of one session at XNYS."""

SHORT = [f"2024-03-{day} {time}" for day in (11, 12) for time in ("13:30", *(f"{hour}:00" for hour in range(14, 20)))]
"""Hours on the clock, of which the first is short."""


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bars(times: Sequence[str], zone: str | None = "UTC") -> pl.DataFrame:
    numbers = {name: [1.0] * len(times) for name in ("open", "high", "low", "close", "volume")}
    moments = pl.Series("timestamp", [datetime.fromisoformat(time) for time in times], pl.Datetime("us"))
    return pl.DataFrame({"timestamp": moments, **numbers}).with_columns(pl.col("timestamp").dt.replace_time_zone(zone))


def times(store: walle.Store, symbol: str, timeframe: str) -> list[str]:
    return store.bars.read(symbol, timeframe)["timestamp"].dt.to_string("%Y-%m-%d %H:%M").to_list()


def counts(store: walle.Store, symbol: str, timeframe: str) -> tuple[object, ...]:
    """The bars, the expected and missing ones, and the unexpected; the grid has the same sums."""
    found = store.bars.coverage(symbol, timeframe)
    cells = store.bars.coverage_grid("week", symbol, timeframe).frame()
    assert found.select("expected", "missing").row(0) == cells.select("expected", "missing").sum().row(0)
    return found.select("bars", "expected", "missing", "unexpected").row(0)


def test_a_calendar_comes_with_the_bars(store: walle.Store) -> None:
    days = ["2024-03-07 22:00", "2024-03-10 21:00", "2024-03-11 21:00"]
    with pytest.raises(InvalidBars, match="calendar="):
        store.bars.ingest(bars(days), symbol="EUR/USD", timeframe="1d")
    with pytest.raises(UnknownCalendar):
        store.bars.ingest(bars(days), symbol="EUR/USD", timeframe="1d", calendar="24/6")
    assert store.bars.ingest(bars(days), symbol="EUR/USD", timeframe="1d", calendar="24/5").inserted == 3
    assert times(store, "EUR/USD", "1d") == ["2024-03-08 00:00", "2024-03-11 00:00", "2024-03-12 00:00"]
    assert store.bars.calendars().select("symbol", "calendar").rows() == [("EUR/USD", "24/5")]
    assert counts(store, "EUR/USD", "1d") == (3, 3, 0, 0)
    # the same again, with it or by what is kept
    assert store.bars.ingest(bars(days), symbol="EUR/USD", timeframe="1d", calendar="24/5").duplicates == 3
    assert store.bars.ingest(bars(days), symbol="EUR/USD", timeframe="1d").duplicates == 3


def test_another_calendar_is_refused_with_its_bars(store: walle.Store) -> None:
    own = from_sessions(pl.DataFrame({"open": [at("2024-03-08 14:30")], "close": [at("2024-03-08 21:00")]}), "own")
    other = from_sessions(pl.DataFrame({"open": [at("2024-03-08 14:30")], "close": [at("2024-03-08 20:00")]}), "own")
    store.bars.ingest(bars(["2024-03-08 14:30"]), symbol="A", timeframe="1d", calendar=own)
    for calendar in (other, "XNYS"):
        with pytest.raises(InputError, match=r"A has the calendar 'own'.*set_calendar"):
            store.bars.ingest(bars(["2024-03-08 18:00"]), symbol="A", timeframe="1h", calendar=calendar)
    assert store.bars.series()["timeframe"].to_list() == ["1d"]
    assert store.bars.ingest(bars(["2024-03-08 14:30"]), symbol="A", timeframe="1d", calendar=own).duplicates == 1
    refused = bars(["2024-03-08 14:30"]).with_columns(high=0.0)
    store.bars.ingest(refused, symbol="B", timeframe="1d", calendar=own, on_invalid="quarantine")
    assert store.bars.calendars()["symbol"].to_list() == ["A"]  # what has no bars gets none


def test_ends_are_noticed_and_become_openings(store: walle.Store, tmp_path: Path) -> None:
    store.bars.ingest(bars(CLOSES[:6]), symbol="NONE", timeframe="1h")  # without a calendar nothing is guessed
    assert times(store, "NONE", "1h") == CLOSES[:6]
    with pytest.raises(InputError, match=r"A 1h: no bar opens with a session of calendar XNYS.*stamp='close'"):
        store.bars.ingest(bars(CLOSES), symbol="A", timeframe="1h", calendar="XNYS")
    assert "A" not in store.bars.series()["symbol"]
    file = tmp_path / "A-1h.csv"
    bars(CLOSES).write_csv(file)
    assert store.bars.ingest(file, timeframe="1h", stamp="close", calendar="XNYS").inserted == 7
    opens = ["14:30", "15:30", "16:30", "17:30", "18:30", "19:30", "20:30"]
    assert times(store, "A", "1h") == [f"2024-03-08 {time}" for time in opens]
    assert counts(store, "A", "1h") == (7, 7, 0, 0)
    assert store.bars.ingest(file, timeframe="1h", stamp="close", calendar="XNYS").outcomes[0].skipped
    with pytest.raises(InputError, match="neither 'open' nor 'close'"):
        store.bars.ingest(bars(CLOSES), symbol="A", timeframe="1h", stamp="end")  # type: ignore[arg-type]
    last = ["2024-03-08 00:00:59.999", "2024-03-08 00:01:59.999"]  # as Binance stamps ends
    store.bars.ingest(bars(last), symbol="BTC", timeframe="1m", stamp="close")
    assert times(store, "BTC", "1m") == ["2024-03-08 00:00", "2024-03-08 00:01"]


def test_several_symbols_have_each_their_calendar(store: walle.Store) -> None:
    store.bars.set_calendar("A", "XNYS")
    frames = [bars(["2024-03-08 21:00"]).with_columns(symbol=pl.lit("A"))]
    frames += [bars(["2024-03-08 00:00"]).with_columns(symbol=pl.lit("B"))]
    store.bars.ingest(pl.concat(frames), timeframe="1d", stamp="close")
    assert (times(store, "A", "1d"), times(store, "B", "1d")) == (["2024-03-08 00:00"], ["2024-03-07 00:00"])


def test_a_short_first_hour_is_a_grid_of_its_own(store: walle.Store) -> None:
    with pytest.raises(InvalidBars):
        store.bars.ingest(bars(SHORT), symbol="A", timeframe="1h")
    store.bars.ingest(bars(SHORT), symbol="A", timeframe="1h", calendar="XNYS")
    assert counts(store, "A", "1h") == (14, 14, 0, 0)
    for time in ("2024-03-13 13:30", "2024-03-13 15:00"):
        assert store.bars.ingest(bars([time]), symbol="A", timeframe="1h").inserted == 1
    with pytest.raises(InvalidBars, match="off the phase"):
        store.bars.ingest(bars(["2024-03-13 16:30"]), symbol="A", timeframe="1h")
    assert counts(store, "A", "1h") == (16, 17, 1, 0)
    assert store.bars.gaps("A", "1h").select("start", "end").rows() == [
        (at("2024-03-13 14:00"), at("2024-03-13 15:00"))
    ]


def test_weeks_may_begin_on_another_day(store: walle.Store) -> None:
    for symbol, calendar in (("A", None), ("B", "XNYS"), ("C", "24/5")):
        sundays = ["2024-03-03", "2024-03-10", "2024-03-24"]
        store.bars.ingest(bars(sundays), symbol=symbol, timeframe="1w", calendar=calendar)
        assert times(store, symbol, "1w") == [f"{day} 00:00" for day in sundays]
        assert counts(store, symbol, "1w") == (3, 4, 1, 0)
        assert store.bars.gaps(symbol, "1w")["start"].to_list() == [at("2024-03-17")]
        with pytest.raises(InvalidBars, match="one other weekday"):
            store.bars.ingest(bars(["2024-04-01"]), symbol=symbol, timeframe="1w")
        assert store.bars.ingest(bars(["2024-03-31"]), symbol=symbol, timeframe="1w").inserted == 1
    with pytest.raises(InvalidBars, match="on a Monday"):  # one bar alone says nothing
        store.bars.ingest(bars(["2024-03-03"]), symbol="D", timeframe="1w")
    with pytest.raises(InvalidBars, match="on a Monday"):
        store.bars.ingest(bars(["2024-03-03", "2024-03-12"]), symbol="D", timeframe="1w")
    store.bars.ingest(bars(["2024-03-04"]), symbol="D", timeframe="1w")
    with pytest.raises(InvalidBars, match="on a Monday"):
        store.bars.ingest(bars(["2024-03-10", "2024-03-17"]), symbol="D", timeframe="1w")


def test_periods_named_by_a_session_or_their_last_day(store: walle.Store) -> None:
    store.bars.set_calendar("A", "XNYS")
    store.bars.ingest(bars(["2024-03-08", "2024-03-15", "2024-03-28"]), symbol="A", timeframe="1w")
    assert times(store, "A", "1w") == ["2024-03-04 00:00", "2024-03-11 00:00", "2024-03-25 00:00"]
    store.bars.ingest(bars(["2024-04-05 20:00"]), symbol="A", timeframe="1w", stamp="close")
    assert times(store, "A", "1w")[-1] == "2024-04-01 00:00"
    store.bars.ingest(bars(["2024-02-29", "2024-03-28"]), symbol="A", timeframe="1M")
    store.bars.ingest(bars(["2024-02-29", "2024-03-31"]), symbol="B", timeframe="1M")
    assert times(store, "A", "1M") == times(store, "B", "1M") == ["2024-02-01 00:00", "2024-03-01 00:00"]
    with pytest.raises(InvalidBars, match="on the first"):
        store.bars.ingest(bars(["2024-04-15"]), symbol="A", timeframe="1M")
    with pytest.raises(InputError, match="would both be"):
        store.bars.ingest(bars(["2024-05-01", "2024-05-31"]), symbol="A", timeframe="1M")


def test_days_of_any_zone(store: walle.Store, tmp_path: Path) -> None:
    opens = ["2024-03-08 09:30", "2024-03-11 09:30"]
    expected = ["2024-03-08 00:00", "2024-03-11 00:00"]
    store.bars.ingest(bars(opens, "America/New_York"), symbol="A", timeframe="1d", calendar="XNYS")
    store.bars.ingest(bars(opens, None), symbol="B", timeframe="1d", calendar="XNYS", timezone="America/New_York")
    with pytest.raises(InputError, match="no time zone"):
        store.bars.ingest(bars(opens, None), symbol="C", timeframe="1d", calendar="XNYS")
    there = bars(["2024-03-08", "2024-03-11"], "America/New_York")
    store.bars.ingest(
        there.with_columns(pl.col("timestamp").dt.convert_time_zone("UTC")), symbol="D", timeframe="1d", calendar="XNYS"
    )
    file = tmp_path / "E-1d.csv"
    bars(opens, "America/New_York").with_columns(pl.col("timestamp").dt.to_string("iso")).write_csv(file)
    store.bars.ingest(file, calendar="XNYS")
    for symbol in "ABDE":
        assert times(store, symbol, "1d") == expected, symbol
    record = walle.Bar(
        symbol="A", timeframe="1d", timestamp=datetime(2024, 3, 12, 16, tzinfo=ZoneInfo("America/New_York")),
        open=1, high=1, low=1, close=1, volume=0,
    )  # fmt: skip
    store.bars.ingest(record)
    assert times(store, "A", "1d")[-1] == "2024-03-12 00:00"


async def test_a_calendar_is_kept_by_the_transaction_of_its_bars(database: walle.Database) -> None:
    repository = walle.BarRepository(database)
    with pytest.raises(RuntimeError, match="undone"):
        async with database.session() as session:
            await repository.ingest(bars(["2024-03-08"]), symbol="A", timeframe="1d", calendar="XNYS", session=session)
            assert (await repository.calendars(session=session))["calendar"].to_list() == ["XNYS"]
            raise RuntimeError("undone")
    assert (await repository.calendars()).is_empty()


def test_opening_times_that_are_given_as_ends_are_refused(store: walle.Store) -> None:
    opens = [
        datetime(2026, 1, day, 14, 30, tzinfo=UTC) + timedelta(minutes=5 * n) for day in (5, 6, 7) for n in range(78)
    ]
    frame = pl.DataFrame({"timestamp": opens}).with_columns(
        pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close", "volume")
    )
    with pytest.raises(walle.InputError, match="a bar is stamped with the open of every session of calendar XNYS"):
        store.bars.ingest(frame, symbol="A", timeframe="5m", stamp="close", calendar="XNYS")
    ends = frame.with_columns(pl.col("timestamp") + timedelta(minutes=5))
    store.bars.ingest(ends, symbol="A", timeframe="5m", stamp="close", calendar="XNYS")
    assert store.bars.read("A", "5m")["timestamp"].to_list() == opens


@pytest.mark.parametrize(("exchange", "timeframe"), [("XHKG", "1h"), ("XHKG", "2h"), ("XTKS", "2h"), ("XNYS", "4h")])
def test_the_bars_of_sessions_with_a_break_come_one_by_one(store: walle.Store, exchange: str, timeframe: str) -> None:
    market = walle.calendars.calendar(exchange)
    slots = market.slots(timeframe, datetime(2024, 11, 18, tzinfo=UTC), datetime(2024, 11, 23, tzinfo=UTC))
    times = slots.at(pl.int_range(slots.total, eager=True)).to_list()
    numbers = dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0)
    for number, opened in enumerate(times):
        bar = walle.Bar(symbol="A", timeframe=timeframe, timestamp=opened.replace(tzinfo=UTC), **numbers)
        if number:
            store.bars.ingest(bar)
        else:
            frame = pl.DataFrame({"timestamp": [opened], **{name: [1.0] for name in numbers}})
            store.bars.ingest(frame, symbol="A", timeframe=timeframe, calendar=exchange)
    assert store.bars.count("A", timeframe) == len(times)


FOURS = ["2024-03-08 18:30", "2024-03-08 21:00", "2024-03-11 17:30", "2024-03-11 20:00"]
"""The ends of the bars of 4h of two sessions at XNYS."""


def test_one_session_with_few_bars_raises_a_doubt_alone(store: walle.Store) -> None:
    with pytest.raises(InputError, match="the close of every session, so the timestamps are the ends"):
        store.bars.ingest(bars(FOURS), symbol="A", timeframe="4h", calendar="XNYS")
    with pytest.raises(InputError, match="the close of every session, so the timestamps are the ends"):
        store.bars.ingest(bars(CLOSES), symbol="A", timeframe="1h", calendar="XNYS")
    with pytest.warns(walle.ContradictionWarning, match=r"A 4h: .*the close of the only session, .*may be the ends"):
        report = store.bars.ingest(
            bars(FOURS[:2]), symbol="A", timeframe="4h", calendar="XNYS", on_invalid="quarantine"
        )
    assert report.inserted + report.rejected == 2
    opens = ["2024-03-08 14:30", "2024-03-08 18:30"]
    with pytest.warns(
        walle.ContradictionWarning, match=r"B 4h: .*the open of the only session of.*may be when the bars"
    ):
        store.bars.ingest(bars(opens), symbol="B", timeframe="4h", calendar="XNYS", stamp="close")
    with pytest.raises(InputError, match="the open of every session"):
        later = [*opens, "2024-03-11 13:30", "2024-03-11 17:30"]
        store.bars.ingest(bars(later), symbol="C", timeframe="4h", calendar="XNYS", stamp="close")


def test_weeks_of_stocks_labelled_by_the_sunday_before_are_counted_right(store: walle.Store) -> None:
    sundays = [datetime(2024, 1, 7) + timedelta(days=7 * number) for number in range(52)]
    labels = [day.isoformat() for day in sundays]
    assert store.bars.ingest(bars(labels), symbol="A", timeframe="1w", calendar="XNYS").inserted == 52
    assert counts(store, "A", "1w") == (52, 52, 0, 0)
    assert store.bars.gaps("A", "1w").is_empty()
    store.bars.ingest(bars(labels[:20] + labels[22:]), symbol="B", timeframe="1w", calendar="XNYS")
    assert counts(store, "B", "1w") == (50, 52, 2, 0)
    (gap,) = store.bars.gaps("B", "1w").select("start", "end", "missing").rows()
    assert gap == (at(labels[20]), at(labels[22]), 2)
    # 2001-09-11 closed the exchange for four days of one week, and no week of it was without a session
    autumn = [(datetime(2001, 9, 2) + timedelta(days=7 * number)).isoformat() for number in range(5)]
    store.bars.ingest(bars(autumn), symbol="C", timeframe="1w", calendar="XNYS")
    assert counts(store, "C", "1w")[1:] == (5, 0, 0)
