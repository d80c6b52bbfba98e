from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from sqlalchemy import text

from tests.samples import START, bars
from walle.database import Database
from walle.errors import InputError, InvalidBars, UnknownSymbol
from walle.frames import BAR_CONFLICTS, BAR_SERIES, BARS, STORED_CONFLICTS
from walle.records import Bar
from walle.repositories import BarRepository
from walle.repositories.bars.write import FEW_ROWS

OHLCV = pl.Schema({name: BARS[name] for name in ("timestamp", "open", "high", "low", "close", "volume")})


@pytest.fixture
def repository(database: Database) -> BarRepository:
    return BarRepository(database)


async def test_what_is_stored_comes_back_in_order_and_typed(repository: BarRepository) -> None:
    given = bars(50)
    report = await repository.ingest(given.sample(fraction=1.0, shuffle=True, seed=1), symbol="A", timeframe="1m")
    assert (report.inserted, report.duplicates, report.conflicts, report.rejected) == (50, 0, 0, 0)
    got = await repository.read("A", "1m")
    assert got.schema == OHLCV
    assert got.equals(given)


async def test_a_range_contains_its_start_and_not_its_end(repository: BarRepository) -> None:
    await repository.ingest(bars(10), symbol="A", timeframe="1m")
    got = await repository.read("A", "1m", START + timedelta(minutes=2), START + timedelta(minutes=5))
    assert got["close"].to_list() == [100.2, 100.3, 100.4]
    assert (await repository.read("A", "1m", "2025-03-02")).schema == OHLCV
    assert (await repository.read("A", "1m", end="2025-03-01")).is_empty()
    assert await repository.count("A", "1m", START, START + timedelta(minutes=3)) == 3


async def test_the_same_bars_again_are_duplicates(repository: BarRepository) -> None:
    await repository.ingest(bars(10), symbol="A", timeframe="1m")
    report = await repository.ingest(bars(15), symbol="A", timeframe="1m")
    assert (report.inserted, report.duplicates, report.conflicts) == (5, 10, 0)
    assert await repository.count("A", "1m") == 15


@pytest.mark.parametrize("count", [FEW_ROWS, FEW_ROWS + 1])
async def test_few_bars_are_stored_as_many_are(repository: BarRepository, count: int) -> None:
    given = bars(count - 3)
    twice = pl.concat([given, given[7:9], given[:1].with_columns(volume=pl.lit(9.0))])
    report = await repository.ingest(twice, symbol="A", timeframe="1m")
    assert (report.rows, report.inserted, report.duplicates, report.conflicts) == (count, count - 3, 2, 1)
    report = await repository.ingest(bars(count), symbol="A", timeframe="1m")
    assert (report.inserted, report.duplicates, report.conflicts) == (3, count - 3, 0)
    assert (await repository.read("A", "1m")).equals(bars(count))


async def test_another_value_is_a_conflict_and_the_first_stays(repository: BarRepository, database: Database) -> None:
    first = bars(3)
    await repository.ingest(first, symbol="A", timeframe="1m")
    other = first.with_columns(volume=pl.col("volume") + 0.5)
    for _ in range(2):
        report = await repository.ingest(other, symbol="A", timeframe="1m", provider="second source")
        assert (report.inserted, report.duplicates, report.conflicts) == (0, 0, 3)
        assert report.conflict_rows.schema == BAR_CONFLICTS
        assert report.conflict_rows["stored_volume"].to_list() == [0.0, 1.0, 2.0]
        assert report.conflict_rows["volume"].to_list() == [0.5, 1.5, 2.5]
    assert (await repository.read("A", "1m")).equals(first)
    async with database.session() as session:
        kept = await session.execute(text("SELECT volume, stored_volume, source FROM bar_conflicts ORDER BY volume"))
        assert [tuple(row) for row in kept] == [
            (0.5, 0.0, "second source"),
            (1.5, 1.0, "second source"),
            (2.5, 2.0, "second source"),
        ]


async def test_the_first_of_a_batch_wins_in_the_order_of_the_source(repository: BarRepository) -> None:
    given = bars(4)
    again = given.head(2)
    other = given.head(1).with_columns(high=pl.col("high") + 1)
    report = await repository.ingest(pl.concat([given, again, other, other]), symbol="A", timeframe="1m")
    assert (report.inserted, report.duplicates, report.conflicts) == (4, 2, 2)
    assert (await repository.read("A", "1m")).equals(given)


async def test_records_and_several_series_go_in_at_once(repository: BarRepository) -> None:
    records = [
        Bar(
            symbol=symbol,
            timeframe="1h",
            timestamp=START + timedelta(hours=hour),
            open=1,
            high=2,
            low=1,
            close=2,
            volume=0,
        )
        for symbol in ("B", "A")
        for hour in range(3)
    ]
    assert (await repository.ingest(records)).inserted == 6
    got = await repository.read(["B", "A"], "1h", columns=["symbol", "timestamp"])
    assert got["symbol"].to_list() == ["A"] * 3 + ["B"] * 3
    series = await repository.series()
    assert series.schema == BAR_SERIES
    assert series.rows() == [
        ("A", "1h", START, START + timedelta(hours=2), 3),
        ("B", "1h", START, START + timedelta(hours=2), 3),
    ]
    assert await repository.latest("B", "1h") == records[2]
    assert (await repository.ingest(records[0])).duplicates == 1


async def test_an_empty_frame_writes_nothing(repository: BarRepository) -> None:
    report = await repository.ingest(bars(0), symbol="A", timeframe="1m")
    assert report.rows == 0
    assert (await repository.series()).schema == BAR_SERIES


async def test_refused_rows_stop_everything_or_come_back(repository: BarRepository) -> None:
    given = bars(6).with_columns(
        close=pl.when(pl.int_range(6) == 4).then(float("nan")).otherwise(pl.col("close")),
        low=pl.when(pl.int_range(6) == 1).then(500.0).otherwise(pl.col("low")),
    )
    with pytest.raises(InvalidBars, match="2 of 6 rows") as caught:
        await repository.ingest(given, symbol="A", timeframe="1m")
    assert caught.value.rejected_rows["row"].to_list() == [1, 4]
    assert (await repository.series()).is_empty()
    report = await repository.ingest(given, symbol="A", timeframe="1m", on_invalid="quarantine")
    assert (report.inserted, report.rejected) == (4, 2)
    assert report.rejected_rows["reason"].to_list() == ["high is below low", "close is NaN or infinite"]


async def test_a_scan_is_the_same_as_a_read(repository: BarRepository) -> None:
    await repository.ingest(bars(200), symbol="A", timeframe="1m")
    await repository.ingest(bars(20, price=7), symbol="B", timeframe="1m")
    lazy = await repository.scan("A", "1m", START + timedelta(minutes=3))
    whole = await repository.read("A", "1m", START + timedelta(minutes=3))
    assert lazy.collect().equals(whole)
    assert lazy.collect_schema() == OHLCV
    query = lazy.filter(pl.col("close") > 110).select("timestamp", "close").head(3)
    assert query.collect().equals(whole.filter(pl.col("close") > 110).select("timestamp", "close").head(3))
    both = await repository.scan(["A", "B"], "1m")
    assert both.group_by("symbol").len().sort("symbol").collect()["len"].to_list() == [200, 20]
    with pytest.raises(UnknownSymbol):
        await repository.scan("C", "1m")


async def test_an_unknown_symbol_is_named_with_near_ones(repository: BarRepository) -> None:
    await repository.ingest(bars(), symbol="BTC/USD", timeframe="1m")
    with pytest.raises(UnknownSymbol, match=r"'BTC/USDD' 1m; did you mean 'BTC/USD'\?") as caught:
        await repository.read("BTC/USDD", "1m")
    assert caught.value.suggestions == ["BTC/USD"]
    with pytest.raises(UnknownSymbol, match="timeframes stored for 'BTC/USD': 1m"):
        await repository.read("BTC/USD", "1h")
    with pytest.raises(UnknownSymbol, match="'ETH/USD'"):
        await repository.read(["BTC/USD", "ETH/USD"], "1m")
    with pytest.raises(UnknownSymbol):
        await repository.latest("ETH/USD", "1m")


async def test_columns_are_chosen_by_name(repository: BarRepository) -> None:
    await repository.ingest(bars(), symbol="A", timeframe="1m")
    assert (await repository.read("A", "1m", columns=["volume", "timestamp"])).columns == ["volume", "timestamp"]
    for wrong in (["price"], ["close", "close"], [], "close"):
        with pytest.raises(InputError, match="choose"):
            await repository.read("A", "1m", columns=wrong)


async def test_hostile_symbols_are_only_text(repository: BarRepository) -> None:
    names = ["'; DROP TABLE bars; --", "100%", "a\\b", "<img src=x>", "Ω/日本", '"quoted"', ":name $1 ?", "it's"]
    for name in names:
        assert (await repository.ingest(bars(2), symbol=name, timeframe="1m")).inserted == 2
        assert (await repository.read(name, "1m")).height == 2
    assert sorted((await repository.series())["symbol"]) == sorted(names)
    assert (await repository.read(names, "1m")).height == 2 * len(names)


async def test_a_callers_session_decides(repository: BarRepository, database: Database) -> None:
    async with database.session() as session:
        await repository.ingest(bars(3), symbol="A", timeframe="1m", session=session)
        assert (await repository.read("A", "1m", session=session)).height == 3
        assert await repository.count("A", "1m", session=session) == 3
        await session.rollback()
    assert await repository.count("A", "1m") == 0
    async with database.session() as session:
        await repository.ingest(bars(3), symbol="A", timeframe="1m", session=session)
        await session.commit()
    assert await repository.count("A", "1m") == 3


async def test_daily_bars_carry_the_date_of_their_session(repository: BarRepository) -> None:
    days = [datetime(2025, 3, 3), datetime(2025, 3, 4)]
    frame = bars(2).with_columns(timestamp=pl.Series(days))
    expected = [datetime(2025, 3, 3, tzinfo=UTC), datetime(2025, 3, 4, tzinfo=UTC)]
    sources = {
        "naive": frame,
        "dates": frame.with_columns(pl.col("timestamp").cast(pl.Date)),
        "new york": frame.with_columns(pl.col("timestamp").dt.replace_time_zone("America/New_York")),
        "tokyo": frame.with_columns(pl.col("timestamp").dt.replace_time_zone("Asia/Tokyo")),
    }
    for symbol, source in sources.items():
        await repository.ingest(source, symbol=symbol, timeframe="1d")
        assert (await repository.read(symbol, "1d"))["timestamp"].to_list() == expected, symbol
    for zone in (None, ZoneInfo("America/New_York"), ZoneInfo("Asia/Tokyo")):
        record = Bar(
            symbol="R", timeframe="1d", timestamp=days[0].replace(tzinfo=zone), open=1, high=1, low=1, close=1, volume=0
        )
        assert record.timestamp == expected[0]
    with pytest.raises(InvalidBars, match="opens at midnight"):
        await repository.ingest(bars(2), symbol="A", timeframe="1d")
    with pytest.raises(InvalidBars, match="on a Monday"):
        await repository.ingest(frame, symbol="A", timeframe="1w")
    with pytest.raises(InvalidBars, match="on the first"):
        await repository.ingest(frame, symbol="A", timeframe="1M")


async def test_bars_that_lie_closer_than_their_timeframe_are_of_another_one(repository: BarRepository) -> None:
    with pytest.raises(InvalidBars, match="another timeframe"):
        await repository.ingest(bars(5, minutes=5), symbol="A", timeframe="1h")
    assert (await repository.series()).is_empty()
    broken = bars(6, minutes=30).with_columns(volume=pl.when(pl.int_range(6) == 0).then(-1.0).otherwise("volume"))
    with pytest.raises(InvalidBars) as caught:
        await repository.ingest(broken, symbol="A", timeframe="1h", on_invalid="quarantine")
    assert caught.value.rejected_rows["row"].to_list() == [2, 3, 4, 5]
    assert (await repository.ingest(bars(5, minutes=60), symbol="B", timeframe="1h")).inserted == 5
    assert (await repository.ingest(bars(5, minutes=15), symbol="C", timeframe="5m")).inserted == 5
    with pytest.raises(InvalidBars, match="off the phase of its series: 4"):
        await repository.ingest(bars(5, minutes=7), symbol="D", timeframe="5m")


async def test_conflicts_are_listed(repository: BarRepository) -> None:
    await repository.ingest(bars(3), symbol="A", timeframe="1m")
    other = bars(3).with_columns(volume=pl.col("volume") + 1)
    await repository.ingest(other, symbol="A", timeframe="1m", provider="second")
    kept = await repository.conflicts()
    assert kept.schema == STORED_CONFLICTS
    assert kept.select("symbol", "stored_volume", "volume", "source").rows() == [
        ("A", 0.0, 1.0, "second"),
        ("A", 1.0, 2.0, "second"),
        ("A", 2.0, 3.0, "second"),
    ]
    assert (await repository.conflicts("A", "1m")).height == 3
    assert (await repository.conflicts(["B"])).schema == STORED_CONFLICTS
    assert (await repository.conflicts(timeframe="1h")).is_empty()


async def test_conflicts_tell_what_was_accepted(repository: BarRepository) -> None:
    def with_volume(volume: float) -> pl.DataFrame:
        return bars(4).with_columns(volume=pl.lit(volume))

    async def accepted() -> list[tuple[int, float]]:
        found = (await repository.conflicts("A")).drop_nulls("accepted_at")
        assert (found["accepted_at"] >= found["detected_at"]).all()
        return [(time.minute, volume) for time, volume in found.select("timestamp", "volume").iter_rows()]

    await repository.ingest(with_volume(1.0), symbol="A", timeframe="1m")
    for volume in (2.0, 3.0):
        await repository.ingest(with_volume(volume), symbol="A", timeframe="1m", provider="second")
    assert await accepted() == []
    conflicts = await repository.conflicts("A")
    of_second = conflicts.filter(pl.col("volume") == 2.0)
    await repository.accept(of_second.head(2), "restated")
    assert await accepted() == [(0, 2.0), (1, 2.0)]
    open_ones = (await repository.conflicts("A")).filter(pl.col("accepted_at").is_null())
    await repository.accept(open_ones.filter(pl.col("volume") == 2.0), "restated")
    assert await accepted() == [(0, 2.0), (1, 2.0), (2, 2.0), (3, 2.0)]
    await repository.ingest(with_volume(3.0).head(1), symbol="A", timeframe="1m", on_conflict="correct", reason="again")
    assert (await accepted())[:2] == [(0, 2.0), (0, 3.0)]
    await repository.ingest(with_volume(1.0).head(1), symbol="A", timeframe="1m")
    back = (await repository.conflicts("A")).filter(pl.col("volume") == 1.0)
    assert back["accepted_at"].to_list() == [None]  # the first version, before it was a conflict
