"""What is missing in the stored bars: counted by hand, the same on both databases."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from tests.samples import START, bars
from walle.bars.grid import GRID
from walle.calendars import from_sessions
from walle.database import Database
from walle.errors import InputError, UnknownCalendar, UnknownSymbol, UnknownTimeframe
from walle.repositories import BarRepository
from walle.repositories.bars.coverage import SERIES_COVERAGE, SERIES_GAPS


@pytest.fixture
def repository(database: Database) -> BarRepository:
    return BarRepository(database)


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


async def store(repository: BarRepository, *missing: int, count: int = 20, symbol: str = "BTC/USD") -> None:
    frame = bars(count)
    kept = frame.filter(~pl.col("timestamp").is_in([minute(number) for number in missing]))
    await repository.ingest(kept, symbol=symbol, timeframe="1m")


async def test_coverage_counts_what_is_there_and_what_is_not(repository: BarRepository) -> None:
    await store(repository, 3, 7, 8, 9)
    await store(repository, symbol="ETH/USD")
    frame = await repository.coverage()
    assert frame.schema == SERIES_COVERAGE
    assert frame.rows() == [
        ("BTC/USD", "1m", minute(0), minute(19), 16, 20, 4, 0.8, 2, 3, 0, 0, "24/7"),
        ("ETH/USD", "1m", minute(0), minute(19), 20, 20, 0, 1.0, 0, 0, 0, 0, "24/7"),
    ]
    part = await repository.coverage("BTC/USD", "1m", minute(5), minute(10))
    assert part.rows() == [("BTC/USD", "1m", minute(5), minute(6), 2, 5, 3, 0.4, 1, 3, 0, 0, "24/7")]
    assert (await repository.coverage("ETH/USD")).height == 1
    assert (await repository.coverage(["ETH/USD", "BTC/USD"])).rows() == frame.rows()
    assert (await repository.coverage([])).is_empty()
    assert (await repository.coverage(timeframe="1h")).is_empty()


async def test_coverage_by_day_week_and_month_adds_up_to_coverage(repository: BarRepository) -> None:
    frame = bars(4 * 1440, start=datetime(2025, 2, 27, 12, tzinfo=UTC))  # from a Thursday into the next month
    days = [datetime(2025, 2, 27, tzinfo=UTC) + timedelta(days=number) for number in range(5)]
    lost = frame["timestamp"][10], frame["timestamp"][2000], frame["timestamp"][2001]
    await repository.ingest(frame.filter(~pl.col("timestamp").is_in(lost)), symbol="BTC/USD", timeframe="1m")
    await repository.ingest(frame.filter(pl.col("timestamp").dt.minute() == 0), symbol="ETH/USD", timeframe="1h")
    await repository.ingest(bars(3, minutes=1440, start=days[0]), symbol="XRP/USD", timeframe="1d")
    day = await repository.coverage_by("day", "BTC/USD")
    assert day.schema == GRID
    assert day.drop("coverage").rows() == [
        ("BTC/USD", "1m", days[0], 720, 1),
        ("BTC/USD", "1m", days[1], 1440, 2),
        *(("BTC/USD", "1m", moment, 1440, 0) for moment in days[2:4]),
        ("BTC/USD", "1m", days[4], 720, 0),
    ]
    assert day["coverage"].to_list() == [719 / 720, 1438 / 1440, 1, 1, 1]
    weeks = await repository.coverage_by("week", ["BTC/USD", "ETH/USD"])
    assert weeks.select("symbol", "start", "expected", "missing").rows() == [
        ("BTC/USD", datetime(2025, 2, 24, tzinfo=UTC), 720 + 3 * 1440, 3),
        ("BTC/USD", datetime(2025, 3, 3, tzinfo=UTC), 720, 0),
        ("ETH/USD", datetime(2025, 2, 24, tzinfo=UTC), 84, 0),
        ("ETH/USD", datetime(2025, 3, 3, tzinfo=UTC), 12, 0),
    ]
    months = await repository.coverage_by("month", timeframe="1m", calendar="24/5")
    assert months["expected"].to_list() == [
        (12 + 22) * 60,
        (2 + 12) * 60,
    ]  # Friday to 17:00, from Sunday 17:00 New York
    part = await repository.coverage_by("day", "BTC/USD", None, days[1], days[1] + timedelta(hours=1))
    assert part.row(0)[2:] == (days[1], 60, 0, 1.0)
    every = await repository.coverage_by("day")
    sums = every.group_by("symbol", "timeframe", maintain_order=True).agg(pl.col("expected", "missing").sum())
    told = await repository.coverage()
    assert sums.rows() == told.select(sums.columns).rows()
    cells = await repository.coverage_grid("day")
    assert cells.series["calendar"].to_list() == ["24/7"] * cells.series.height
    assert cells.frame().equals(every)
    with pytest.raises(InputError, match="allowed are day, week, month"):
        await repository.coverage_by("year")  # type: ignore[arg-type]  # what a caller may get wrong
    with pytest.raises(UnknownSymbol, match="did you mean 'BTC/USD'"):
        await repository.coverage_by("day", "BTC/USDD")


async def test_gaps_are_runs_of_missing_bars_with_a_cause(repository: BarRepository) -> None:
    await store(repository, 3, 7, 8, 9)
    frame = await repository.gaps("BTC/USD", "1m")
    assert frame.schema == SERIES_GAPS
    assert frame.rows() == [
        (minute(3), minute(4), 1, timedelta(minutes=1), "single", None, None),
        (minute(7), minute(10), 3, timedelta(minutes=3), "hole", None, None),
    ]
    around = await repository.gaps("BTC/USD", "1m", minute(-2), minute(2))
    assert around.rows() == [(minute(-2), minute(0), 2, timedelta(minutes=2), "hole", None, None)]
    assert (await repository.gaps("BTC/USD", "1m", minute(10), minute(20))).is_empty()


async def test_a_calendar_says_when_bars_are_expected(repository: BarRepository) -> None:
    await store(repository, 3, 7, 8, 9)
    hours = {"open": minute(0), "break_start": minute(5), "break_end": minute(10), "close": minute(18)}
    market = from_sessions(pl.DataFrame([hours]), "with a break")
    frame = await repository.coverage("BTC/USD", calendar=market)
    assert frame.select("bars", "expected", "missing", "unexpected").row(0) == (16, 13, 1, 4)
    assert (await repository.gaps("BTC/USD", "1m", calendar=market))["start"].to_list() == [minute(3)]
    weekend = datetime(2025, 3, 1, 12, tzinfo=UTC)  # a Saturday
    await repository.ingest(bars(5, start=weekend), symbol="GBP/USD", timeframe="1m")
    row = (await repository.coverage("GBP/USD", calendar="24/5")).row(0, named=True)
    assert (row["expected"], row["unexpected"], row["coverage"]) == (0, 5, None)


async def test_nothing_is_known_of_what_is_not_stored(repository: BarRepository) -> None:
    assert (await repository.coverage()).schema == SERIES_COVERAGE
    with pytest.raises(UnknownSymbol):
        await repository.gaps("BTC/USD", "1m")
    await store(repository)
    with pytest.raises(UnknownSymbol, match="did you mean 'BTC/USD'"):
        await repository.coverage("BTC/USDD")
    with pytest.raises(UnknownSymbol, match="did you mean 'BTC/USD'"):
        await repository.coverage(["BTC/USD", "BTC/USDD"])
    with pytest.raises(InputError, match=r"symbol=7 \(int\) is not a text"):
        await repository.coverage(["BTC/USD", 7])  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(UnknownSymbol, match="timeframes stored for 'BTC/USD': 1m"):
        await repository.coverage("BTC/USD", "1h")
    with pytest.raises(UnknownTimeframe):
        await repository.gaps("BTC/USD", "1 minute")
    with pytest.raises(UnknownCalendar, match="did you mean '24/7'"):
        await repository.coverage(calendar="24/6")
    with pytest.raises(InputError, match="ends before it starts"):
        await repository.coverage(start="2025-02-01", end="2025-01-01")
