"""The bars of a series open at one phase of the clock, or on the grid of its symbol's calendar."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

import walle
from tests.ingest.test_pages import is_untouched
from tests.raw import Raw
from tests.samples import START, bars
from walle.errors import DatabaseBusy, InvalidBars
from walle.repositories.bars.provenance import SeriesRecords


def at(times: list[datetime]) -> pl.DataFrame:
    return bars(len(times)).with_columns(timestamp=pl.Series(times, dtype=pl.Datetime("us", "UTC")))


def sessions(zone: str, opens: list[str], day: datetime = datetime(2025, 3, 3), days: int = 4) -> list[datetime]:
    """The instants at which the clocks of a zone show these times, on some days."""
    dates = [day + timedelta(days=n) for n in range(days)]
    clocks = [datetime.combine(date, time.fromisoformat(text), ZoneInfo(zone)) for date in dates for text in opens]
    return [clock.astimezone(UTC) for clock in clocks]


def phases(address: str) -> list[tuple[str, str, int | None]]:
    return sorted(Raw(address).rows("SELECT symbol, timeframe, phase FROM bar_series"))


@pytest.mark.parametrize("kind", ["file", "frame"])
def test_the_first_bars_of_a_series_set_its_phase(store: walle.Store, address: str, tmp_path: Path, kind: str) -> None:
    half = START + timedelta(minutes=30)
    store.bars.ingest(bars(5, start=half, minutes=60), symbol="A", timeframe="1h")
    store.bars.ingest(bars(5, minutes=24 * 60), symbol="A", timeframe="1d")
    assert phases(address) == [("A", "1d", None), ("A", "1h", 30 * 60 * 1_000_000)]
    mixed = at([half + timedelta(hours=hour, minutes=30 * (hour in (11, 12))) for hour in (9, 11, 12, 14, 15, 16)])
    mixed.write_csv(tmp_path / "x.csv")
    source = mixed if kind == "frame" else tmp_path / "x.csv"
    for opened in (store, walle.connect(address)):  # one that knows the series, and one that has to look
        with pytest.raises(InvalidBars, match=r"2 of 6 rows .*it opens off the phase of its series: 2") as caught:
            opened.bars.ingest(source, symbol="A", timeframe="1h")
        assert caught.value.rejected_rows["row"].to_list() == [1, 2]
        assert opened.bars.count("A", "1h") == 5
    opened.close()
    report = store.bars.ingest(source, symbol="A", timeframe="1h", on_invalid="quarantine")
    assert (report.inserted, report.rejected_rows["row"].to_list()) == (4, [1, 2])
    assert store.bars.rejected()["reason"].unique().to_list() == ["it opens off the phase of its series"]
    assert store.bars.ingest(bars(5, minutes=60), symbol="B", timeframe="1h").inserted == 5


def test_bars_of_hours_move_with_the_clocks_of_their_market(store: walle.Store, address: str) -> None:
    # from Sunday to Friday at 17:00 in New York, which is 22:00 UTC in winter and 21:00 in summer
    days = [datetime(2025, 3, 2) + timedelta(days=n) for n in (*range(5), *range(7, 12))]
    starts = [start for day in days for start in sessions("America/New_York", ["17:00"], day, 1)]
    times = [start + timedelta(hours=4 * n) for start in starts for n in range(6)]
    assert {start.hour for start in starts} == {21, 22}
    report = store.bars.ingest(at(times[:40]), symbol="EUR/USD", timeframe="4h")
    report = store.bars.ingest(at(times), symbol="EUR/USD", timeframe="4h")
    assert (report.inserted, report.duplicates) == (20, 40)
    assert phases(address) == [("EUR/USD", "4h", 2 * 3_600_000_000)]
    for minutes in (30, 120):
        with pytest.raises(InvalidBars, match="off the phase"):
            late = at([when + timedelta(minutes=minutes) for when in times])
            store.bars.ingest(late, symbol="EUR/USD", timeframe="4h")


LUNCH = [
    ("XTKS", "1h", "Asia/Tokyo", ["09:00", "10:00", "11:00", "12:30", "13:30", "14:30"]),
    ("XTKS", "2h", "Asia/Tokyo", ["09:00", "11:00", "12:30", "14:30"]),
    ("XHKG", "1h", "Asia/Hong_Kong", ["09:30", "10:30", "11:30", "13:00", "14:00", "15:00"]),
    ("XHKG", "2h", "Asia/Hong_Kong", ["09:30", "11:30", "13:00", "15:00"]),
]


@pytest.mark.parametrize(("market", "timeframe", "zone", "opens"), LUNCH, ids=[f"{row[0]}-{row[1]}" for row in LUNCH])
def test_a_lunch_break_needs_a_calendar(
    store: walle.Store, address: str, market: str, timeframe: str, zone: str, opens: list[str]
) -> None:
    frame = at(sessions(zone, opens))
    with pytest.raises(InvalidBars, match=rf"set_calendar\(symbol, '{market}'\)"):
        store.bars.ingest(frame, symbol="7203", timeframe=timeframe)
    assert is_untouched(address)
    Raw(address).insert("symbol_calendars", ["symbol", "calendar", "set_at"], [("7203", market, START)])
    for number in (5, frame.height):  # the first call sets the phase; the other half of the bars is off it
        assert store.bars.ingest(frame.head(number), symbol="7203", timeframe=timeframe).rows == number
    assert store.bars.read("7203", timeframe)["timestamp"].to_list() == frame["timestamp"].to_list()
    late = at([when + timedelta(minutes=7) for when in sessions(zone, opens)])
    with pytest.raises(InvalidBars, match="off the phase"):
        store.bars.ingest(late, symbol="7203", timeframe=timeframe)


def test_of_two_writers_that_begin_a_series_at_different_phases_one_is_refused(
    postgres_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, both = SeriesRecords.record_series, threading.Barrier(2, timeout=30)

    async def record(*arguments: object) -> None:
        both.wait()  # each has looked, and found no record
        await real(*arguments)  # type: ignore[arg-type]  # passed on

    ended: dict[int, str] = {}

    def write(seconds: int) -> None:
        frame = bars(5, start=START + timedelta(seconds=seconds))
        with walle.connect(postgres_address) as store:
            try:
                ended[seconds] = str(store.bars.ingest(frame, symbol="A", timeframe="1m").inserted)
            except DatabaseBusy as error:
                ended[seconds] = str(error)

    monkeypatch.setattr(SeriesRecords, "record_series", record)
    writers = [threading.Thread(target=write, args=(seconds,)) for seconds in (0, 30)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert sorted(text[:45] for text in ended.values()) == ["5", "another writer began the series A 1m at the s"]
    (winner,) = [seconds for seconds, text in ended.items() if text == "5"]
    assert phases(postgres_address) == [("A", "1m", winner * 1_000_000)]
    with walle.connect(postgres_address) as store:
        assert store.bars.count("A", "1m") == 5
        assert store.bars.ingests().height == 1
