"""Reading that says what is missing, and panels: the same on both databases."""

from __future__ import annotations

import random
import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

import walle
from tests.samples import START, bars
from walle.calendars import from_sessions
from walle.database import Database
from walle.errors import IncompleteBars, InputError, UnknownSymbol, UnknownTimeframe
from walle.frames import BARS, INSTANT
from walle.notices import EmptySeriesWarning
from walle.repositories import BarRepository
from walle.repositories.bars.coverage import SERIES_GAPS


@pytest.fixture
def repository(database: Database) -> BarRepository:
    return BarRepository(database)


def minute(number: int) -> datetime:
    return START + timedelta(minutes=number)


async def put(repository: BarRepository, symbol: str, *missing: int, count: int = 20) -> None:
    frame = bars(count).filter(~pl.col("timestamp").is_in([minute(number) for number in missing]))
    await repository.ingest(frame, symbol=symbol, timeframe="1m")


async def test_reading_whole_series_raises_when_bars_are_missing(repository: BarRepository) -> None:
    await put(repository, "A", 3, 7, 8, 12, 13, 14, 17)
    await put(repository, "B", 5)
    await put(repository, "C")
    with pytest.raises(IncompleteBars) as caught:
        await repository.read(["A", "B", "C"], "1m", require_complete=True)
    gaps = caught.value.gaps
    assert gaps.schema == {"symbol": pl.String(), "timeframe": pl.String(), **SERIES_GAPS}
    assert gaps.select("symbol", "timeframe", "start", "missing").rows() == [
        ("A", "1m", minute(3), 1),
        ("A", "1m", minute(7), 2),
        ("A", "1m", minute(12), 3),
        ("A", "1m", minute(17), 1),
        ("B", "1m", minute(5), 1),
    ]
    message = str(caught.value)
    for part in ("8 bars", "5 unexplained gaps", "A 1m lacks 1 from 2025-03-01T00:03:00+00:00", "2 more gaps"):
        assert part in message
    for way in ("gaps()", "explain_gap", "set_calendar", "Ingest"):
        assert way in message
    assert isinstance(caught.value, LookupError) and isinstance(caught.value, walle.WalleError)
    whole = await repository.read("C", "1m", require_complete=True)
    assert whole.equals(await repository.read("C", "1m"))
    assert (await repository.read("A", "1m", minute(4), minute(7), require_complete=True)).height == 3
    with pytest.raises(IncompleteBars, match="2 bars"):  # asked for are the minutes before the first too
        await repository.read("C", "1m", minute(-2), minute(5), require_complete=True)
    with pytest.raises(IncompleteBars, match="10 bars"):
        await repository.read("C", "1m", minute(100), minute(110), require_complete=True)


async def test_explained_gaps_and_closed_markets_are_complete(repository: BarRepository) -> None:
    await put(repository, "A", 3, 7, 8)
    await repository.explain_gap("A", minute(3), minute(4), "a halt")
    with pytest.raises(IncompleteBars, match="2 bars are missing, in 1 unexplained gap: "):
        await repository.read("A", "1m", columns=["close"], require_complete=True)
    hours = {"open": minute(0), "break_start": minute(6), "break_end": minute(10), "close": minute(20)}
    await repository.set_calendar("A", from_sessions(pl.DataFrame([hours]), "a break"))
    assert (await repository.read("A", "1m", columns=["close"], require_complete=True)).height == 17
    assert (await repository.read("A", "1m", "2025-04-01", "2025-05-01", require_complete=True)).is_empty()
    with pytest.raises(UnknownSymbol, match="did you mean 'A'"):
        await repository.read(["A", "AA"], "1m", require_complete=True)


@pytest.mark.parametrize("columns", [None, ["close"], ["symbol"]])
async def test_symbols_without_a_bar_in_the_range_are_named(
    repository: BarRepository, columns: list[str] | None
) -> None:
    await put(repository, "A", count=5)
    await put(repository, "B", count=10)
    await put(repository, "C", count=3)
    with pytest.warns(EmptySeriesWarning, match=r"no 1m bars in the range: 'C', 'A'\.") as caught:
        frame = await repository.read(["C", "B", "A", "C"], "1m", minute(5), columns=columns)
    assert frame.height == 5
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (await repository.read(["A", "B", "C"], "1m", columns=columns)).height == 18
        assert (await repository.read("A", "1m", minute(5))).is_empty()
    with pytest.raises(UnknownSymbol):
        await repository.read(["A", "nothing"], "1m", columns=columns)
    with pytest.warns(EmptySeriesWarning, match="'A', 'B', 'C'"):
        assert (await repository.read(["A", "B", "C"], "1m", "2030-01-01", columns=columns)).is_empty()


async def test_a_panel_is_the_union_of_times_and_fills_nothing(repository: BarRepository) -> None:
    chance = random.Random(7)
    held: dict[str, dict[datetime, float]] = {}
    for symbol in ("B", "A", "Ä", "C D"):
        kept = sorted(chance.sample(range(40), 25))
        frame = bars(40, price=chance.uniform(50, 150))[kept]
        await repository.ingest(frame, symbol=symbol, timeframe="1m")
        held[symbol] = dict(frame.select("timestamp", "close").rows())
    times = sorted({time for closes in held.values() for time in closes})
    panel = await repository.panel(list(held), "1m")
    assert panel.schema == {"timestamp": INSTANT, **dict.fromkeys(held, BARS["close"])}
    assert panel.rows() == [(time, *(closes.get(time) for closes in held.values())) for time in times]
    part = await repository.panel(("A", "B"), "1m", "volume", minute(10), minute(20))
    assert part.columns == ["timestamp", "A", "B"]
    assert part["timestamp"].is_between(minute(10), minute(20), closed="left").all()
    assert (
        part["A"].drop_nulls().to_list()
        == (await repository.read("A", "1m", minute(10), minute(20)))["volume"].to_list()
    )
    single = await repository.panel("A", "1m", field="open")
    assert single.columns == ["timestamp", "A"] and single.height == 25


async def test_a_symbol_without_bars_in_the_range_is_a_column_of_nulls(repository: BarRepository) -> None:
    await put(repository, "A", count=5)
    await put(repository, "B", count=10)
    with pytest.warns(EmptySeriesWarning, match="'A'"):
        panel = await repository.panel(["A", "B"], "1m", start=minute(5))
    assert panel["A"].to_list() == [None] * 5 and panel["A"].dtype == pl.Float64
    with pytest.warns(EmptySeriesWarning, match="'A', 'B'"):
        panel = await repository.panel(["A", "B"], "1m", start="2030-01-01")
    assert panel.is_empty() and panel.columns == ["timestamp", "A", "B"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["A", "A"], "1m"), "give it once"),
        ((["timestamp"], "1m"), "called 'timestamp'"),
        (([], "1m"), "neither a symbol nor a list"),
        (([3], "1m"), "neither a symbol nor a list"),
        ((["A"], "1m", "price"), "choose one of open, high, low, close, volume"),
        ((["A"], "1m", ["open"]), "choose one of"),
        ((["A"], "1m", None), "choose one of"),
        ((["A"], "1m", "close", "2025-03-02", "2025-03-01"), "ends before it starts"),
    ],
)
async def test_what_is_no_panel_is_refused(repository: BarRepository, arguments: Any, message: str) -> None:
    await put(repository, "A")
    with pytest.raises(InputError, match=message):
        await repository.panel(*arguments)
    with pytest.raises(UnknownSymbol, match="did you mean 'A'"):
        await repository.panel(["A", "AA"], "1m")
    with pytest.raises(UnknownTimeframe):
        await repository.panel(["A"], "1 minute")


def test_the_store_reads_so_too(store: walle.Store) -> None:
    store.bars.ingest(bars(5), symbol="A", timeframe="1m")
    store.bars.ingest(bars(20)[[0, 1, 19]], symbol="B", timeframe="1m")
    with pytest.raises(walle.IncompleteBars, match="17 bars"):
        store.bars.read(["A", "B"], "1m", require_complete=True)
    with pytest.warns(walle.EmptySeriesWarning, match="'A'") as caught:
        assert store.bars.read(["A", "B"], "1m", datetime(2025, 3, 1, 0, 19, tzinfo=UTC)).height == 1
    assert caught[0].filename == __file__
    assert store.bars.panel(["B", "A"], "1m").columns == ["timestamp", "B", "A"]
