"""A series has one provider, and its bars one scale."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import walle
from tests.contract.test_one_grid import meet, together
from tests.raw import Raw
from tests.samples import START, bars
from walle.database import Database, Writer
from walle.enums import PRICES
from walle.errors import FilesRefused, InputError, OtherProvider, RescaledBars, UnknownSymbol, UnknownTimeframe
from walle.frames import PROVIDERS
from walle.repositories import BarRepository


def put(store: walle.Store, frame: pl.DataFrame, provider: str | None, symbol: str = "A") -> walle.IngestReport:
    return store.bars.ingest(frame, symbol=symbol, timeframe="1m", provider=provider)


def named(store: walle.Store) -> list[tuple[object, ...]]:
    return store.bars.providers().select("symbol", "provider", "previous", "author").rows()


def test_a_series_has_one_provider(store: walle.Store, address: str) -> None:
    put(store, bars(3), "x")
    assert put(store, bars(4), "x").inserted == 1
    assert put(store, bars(5), None).inserted == 1
    assert put(store, bars(3), "y", symbol="B").inserted == 3
    for frame in (bars(6), bars(3)):  # also where nothing is new
        with pytest.raises(OtherProvider, match="A 1m come from 'x', and provider='y'") as caught:
            put(store, frame, "y")
        for way_out in ("another symbol", "leave provider= out", "store.bars.set_provider('A', '1m', 'y', reason=...)"):
            assert way_out in str(caught.value)
    assert (caught.value.symbol, caught.value.timeframe) == ("A", "1m")
    assert (caught.value.provider, caught.value.named) == ("x", "y")
    assert store.bars.count("A", "1m") == 5
    assert Raw(address).value("SELECT count(*) FROM ingests") == 4
    assert Raw(address).value("SELECT count(*) FROM provider_changes") == 0
    assert named(store) == [("A", "x", None, None), ("B", "y", None, None)]


def test_the_first_name_is_adopted_and_said(store: walle.Store, caplog: pytest.LogCaptureFixture) -> None:
    assert store.bars.providers().schema == PROVIDERS
    put(store, bars(3), None)
    assert store.bars.providers().is_empty()
    with caplog.at_level(logging.WARNING, logger="walle"):
        assert put(store, bars(3), "x").duplicates == 3
        put(store, bars(4), "x")
    assert [record.getMessage() for record in caplog.records] == ["A 1m had no provider; from now on it is 'x'"]
    (row,) = store.bars.providers().rows(named=True)
    assert (row["provider"], row["previous"]) == ("x", None)
    assert row["reason"].startswith("the first provider that an ingest named")
    assert row["recorded_at"] is not None
    with pytest.raises(OtherProvider):
        put(store, bars(3), "y")


def test_a_provider_of_many_series_is_adopted_at_once(
    store: walle.Store, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"S{number:04}" for number in range(1_200)]
    many = bars(1).drop("timestamp").join(pl.DataFrame({"symbol": names}), how="cross")
    many = many.with_columns(timestamp=pl.lit(START), timeframe=pl.lit("1m"))
    store.bars.ingest(many.filter(pl.col("symbol") != "S0003"))
    put(store, bars(1), "x", "S0003")
    count, real = 0, Writer.execute

    async def execute(writer: Writer, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        return await real(writer, *arguments)

    monkeypatch.setattr(Writer, "execute", execute)
    with caplog.at_level(logging.WARNING, logger="walle"):
        assert store.bars.ingest(many, provider="x").duplicates == 1_200
    assert count < 40
    (said,) = [record.getMessage() for record in caplog.records]
    assert said == "1,199 series (S0000 1m, S0001 1m, S0002 1m, ...) had no provider; from now on it is 'x'"
    listed = store.bars.providers()
    assert listed.height == 1_200
    assert listed.filter(pl.col("reason").is_null())["symbol"].to_list() == ["S0003"]
    with pytest.raises(OtherProvider):
        store.bars.ingest(many, provider="y")


def test_a_provider_is_set_anew_with_a_reason(store: walle.Store) -> None:
    put(store, bars(3), "x")
    store.bars.set_provider("A", "1m", "y", "x has closed", author="ann")
    with pytest.raises(OtherProvider, match="come from 'y'"):
        put(store, bars(4), "x")
    assert put(store, bars(4), "y").inserted == 1
    store.bars.set_provider("A", "1m", "x", "it is back", author="ben")
    assert named(store) == [("A", "y", "x", "ann"), ("A", "x", "y", "ben")]
    assert store.bars.providers()["reason"].to_list() == ["x has closed", "it is back"]
    assert store.bars.ingests()["provider"].to_list() == ["x", "y"]  # what was said then stays
    put(store, bars(3), None, symbol="B")
    store.bars.set_provider("B", "1m", "z", "asked them")
    assert store.bars.providers().filter(symbol="B")["author"].str.contains("@").all()


def test_a_series_that_only_another_program_wrote_gets_a_provider_and_keeps_its_phase(
    store: walle.Store, address: str
) -> None:
    rows = [("A", "1m", START.replace(second=30, minute=minute), 1, 1, 1, 1, 1) for minute in range(3)]
    names = ["symbol", "timeframe", "timestamp", "open", "high", "low", "close", "volume"]
    Raw(address).insert("bars", names, rows)
    store.bars.set_provider("A", "1m", "x", "the engine's")
    assert Raw(address).rows("SELECT phase, provider FROM bar_series") == [(30_000_000, "x")]
    with pytest.raises(OtherProvider):
        put(store, bars(3, start=START.replace(second=30)), "y")


def test_a_wrong_provider_is_named(store: walle.Store) -> None:
    put(store, bars(3), "x")
    for change in ({"provider": ""}, {"provider": "p" * 201}, {"provider": None}, {"reason": ""}, {"author": " a"}):
        given = {"provider": "y", "reason": "because", "author": None, **change}
        with pytest.raises(InputError, match=next(iter(change))):
            store.bars.set_provider("A", "1m", **given)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match="'x' is the provider of A 1m already"):
        store.bars.set_provider("A", "1m", "x", "because")
    with pytest.raises(UnknownSymbol):
        store.bars.set_provider("B", "1m", "y", "because")
    with pytest.raises(UnknownSymbol, match="1m"):
        store.bars.set_provider("A", "1h", "y", "because")
    with pytest.raises(UnknownTimeframe):
        store.bars.set_provider("A", "1x", "y", "because")
    assert named(store) == [("A", "x", None, None)]


def test_files_of_other_providers_are_refused_alone(store: walle.Store, tmp_path: Path) -> None:
    put(store, bars(3), "x")
    for symbol in ("A", "B"):
        bars(5).write_parquet(tmp_path / f"{symbol}-1m.parquet")
    with pytest.raises(FilesRefused, match="1 of 2 files") as caught:
        store.bars.ingest(tmp_path, provider="y")
    assert [type(error) for error in caught.value.errors.values()] == [OtherProvider]
    assert named(store) == [("A", "x", None, None), ("B", "y", None, None)]


async def test_one_transaction_sees_the_provider_that_it_set(database: Database) -> None:
    repository = BarRepository(database)
    async with database.session() as session:
        await repository.ingest(bars(3), symbol="A", timeframe="1m", provider="x", session=session)
        with pytest.raises(OtherProvider):
            await repository.ingest(bars(4), symbol="A", timeframe="1m", provider="y", session=session)
        await repository.set_provider("A", "1m", "y", "because", session=session)
        await repository.ingest(bars(4), symbol="A", timeframe="1m", provider="y", session=session)
        assert (await repository.providers(session=session))["previous"].to_list() == ["x"]
    assert (await repository.providers()).is_empty()


@pytest.mark.parametrize("before", ["no series", "unnamed"])
def test_of_two_writers_that_name_two_providers_one_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    if before == "unnamed":
        with walle.connect(address) as store:
            put(store, bars(2), None)
    meet(monkeypatch)
    ended = together(address, *(lambda store, name=name: put(store, bars(4), name) for name in ("x", "y")))
    assert sorted(type(each).__name__ for each in ended) == ["IngestReport", "OtherProvider"]
    winner = ["x", "y"][next(place for place, each in enumerate(ended) if isinstance(each, walle.IngestReport))]
    with walle.connect(address) as store:
        assert store.bars.providers()["provider"].to_list() == [winner]
        assert store.bars.ingests()["provider"].to_list() == [None, winner][before == "no series" :]


def scaled(frame: pl.DataFrame, factor: float, volume: float = 1.0) -> pl.DataFrame:
    return frame.with_columns(*(pl.col(name) * factor for name in PRICES), pl.col("volume") * volume)


@pytest.mark.parametrize("on_invalid", ["raise", "quarantine"])
def test_an_adjusted_download_is_refused_as_a_whole(store: walle.Store, address: str, on_invalid: str) -> None:
    stored = scaled(bars(5), 12.08)
    put(store, stored, "x")
    again = scaled(scaled(bars(9), 12.08), 0.1, 10)
    with pytest.raises(RescaledBars, match=r"5 of 5 stored bars .* multiplied by 0\.1 \(1/10\)") as caught:
        store.bars.ingest(again, symbol="A", timeframe="1m", provider="x", on_invalid=on_invalid)  # type: ignore[arg-type]  # a word of it
    for way_out in ("store.actions.append", "adjust='splits'", "on_conflict='correct'", "another symbol"):
        assert way_out in str(caught.value)
    (told,) = caught.value.series
    assert (told["bars"], told["overlap"], round(told["factor"], 12)) == (5, 5, 0.1)
    assert store.bars.read("A", "1m").equals(stored)
    assert store.bars.conflicts().is_empty()
    assert Raw(address).value("SELECT count(*) FROM ingests") == 1


def test_bars_after_the_split_come_again_as_they_were(store: walle.Store) -> None:
    raw = pl.concat([bars(6, price=1208.0), bars(3, start=bars(7)["timestamp"][6], price=121.0)])
    put(store, raw, None)
    adjusted = pl.concat([scaled(raw.head(6), 0.1), raw.tail(3)])
    with pytest.raises(RescaledBars, match="6 of 6 stored bars from 2025-03-01 00:00 to 2025-03-01 00:05 UTC"):
        put(store, adjusted, None)
    few = pl.concat([raw.head(3), scaled(raw[3:5], 0.1), raw.tail(4)])  # two wrong bars among right ones
    report = put(store, few, None)
    assert (report.duplicates, report.conflicts) == (7, 2)


@pytest.mark.parametrize(("count", "factor"), [(1, 0.5), (2, 0.1), (2, 0.98)])
def test_few_bars_of_an_adjusted_download_are_refused(store: walle.Store, count: int, factor: float) -> None:
    put(store, scaled(bars(5), 12.08), None)
    with pytest.raises(RescaledBars, match=rf"{count} of {count} stored bars"):
        put(store, scaled(scaled(bars(count), 12.08), factor), None)
    assert store.bars.conflicts().is_empty()


def test_vendors_who_differ_are_conflicts_as_before(store: walle.Store) -> None:
    put(store, bars(50), None)
    dice = random.Random(5)
    noise = pl.Series([1 + dice.uniform(-1, 1) / 1000 for _ in range(50)])
    other = bars(50).with_columns(high=pl.col("high") * noise, close=(pl.col("close") * noise).clip("low", "high"))
    other = other.with_columns(high=pl.max_horizontal("high", "close", "open"))
    assert put(store, other, None).conflicts == 50
