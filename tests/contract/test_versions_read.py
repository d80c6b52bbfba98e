"""A read beside a writer of versions gives the bars of one moment."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

import walle
from tests.samples import bars
from walle.database import Database
from walle.repositories import BarRepository
from walle.repositories.bars.read import StoredBars

SERIES: dict[str, Any] = {"symbol": "A", "timeframe": "1m"}


@pytest.mark.parametrize("columns", [None, ["volume"], ["timestamp", "close"], ["volume", "note"]])
async def test_an_ingest_in_the_middle_of_a_read_is_in_it_as_a_whole(
    database: Database, monkeypatch: pytest.MonkeyPatch, columns: list[str] | None
) -> None:
    repository = BarRepository(database)
    first = bars(4).with_columns(note=pl.lit("first"))
    await repository.ingest(first, **SERIES, extra="all")
    await repository.withdraw("A", "1m", first["timestamp"][0], first["timestamp"][1], "a bad tick")
    wanted, real = 0, StoredBars._frame

    async def frame(self: StoredBars, *arguments: Any) -> pl.DataFrame:
        nonlocal wanted
        found = await real(self, *arguments)
        if found.height:  # the first versions are read, and their newest ones were before
            wanted += 1
            other = bars(6).with_columns(volume=pl.lit(float(wanted)), note=pl.lit(f"{wanted}")).tail(5)
            await repository.ingest(other, **SERIES, extra="all", on_conflict="correct", reason="restated")
        return found

    monkeypatch.setattr(StoredBars, "_frame", frame)
    read = await repository.read("A", "1m", columns=columns)
    assert wanted == 1
    monkeypatch.undo()
    assert read.equals(await repository.read("A", "1m", columns=columns))
    assert read.height == 5
    if "volume" in read.columns:
        assert read["volume"].to_list() == [1.0] * 5
    if "note" in read.columns:
        assert read["note"].to_list() == ["1"] * 5


@pytest.mark.parametrize("versioned", [False, True])
@pytest.mark.parametrize("ingests", [1, 5])
async def test_an_ingest_in_the_middle_of_a_collect_is_in_it_as_a_whole(
    store: walle.Store, monkeypatch: pytest.MonkeyPatch, versioned: bool, ingests: int
) -> None:
    first = bars(4)
    store.bars.ingest(first, **SERIES)
    if versioned:
        store.bars.withdraw("A", "1m", first["timestamp"][0], first["timestamp"][1], "a bad tick")
    done, real = 0, StoredBars._newest

    def newest(self: StoredBars, *arguments: Any) -> pl.DataFrame:
        nonlocal done
        found = real(self, *arguments)
        if done < ingests:
            done += 1
            other = bars(4 + done).with_columns(volume=pl.lit(float(done))).tail(3 + done)
            store.bars.ingest(other, **SERIES, on_conflict="correct", reason="restated")
        return found

    for lazy in (store.bars.scan("A", "1m"), store.bars.scan("A", "1m", columns=["volume"]).head(3)):
        done = 0
        with monkeypatch.context() as patch:
            patch.setattr(StoredBars, "_newest", newest)
            collected = lazy.collect()
        assert done == min(ingests, 3)
        assert collected.equals(lazy.collect())
    assert store.bars.scan("A", "1m", "1999-01-01", "1999-01-02").collect().is_empty()
