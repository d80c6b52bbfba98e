"""A source of several pages is one source: its bars get the versions that they would get in one page."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import walle
from walle.bars import ingest_source
from walle.repositories.bars import write

MINUTE = timedelta(minutes=1)
PAST = datetime(2025, 3, 1, tzinfo=UTC)
SYMBOLS = itertools.count()
KEPT: dict[str, Any] = {"unfinished": "keep"}
CORRECT: dict[str, Any] = {**KEPT, "on_conflict": "correct", "reason": "restated"}


def rows(*given: tuple[int, int], start: datetime = PAST) -> pl.DataFrame:
    """Rows of a place and a value each."""
    values = [float(value) for _, value in given]
    times = pl.Series("timestamp", [start + place * MINUTE for place, _ in given], pl.Datetime("us", "UTC"))
    return pl.DataFrame([times, *(pl.Series(name, values) for name in ("open", "high", "low", "close", "volume"))])


def ingest(
    store: walle.Store, path: Path, frame: pl.DataFrame, symbol: str, page: int, **options: Any
) -> walle.IngestReport:
    frame.write_ipc(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest_source, "READ_ROWS", page)
        patch.setattr(write, "SLICE_ROWS", max(1, page // 2))
        # all is staged, or the first page waits until the second has come, or all is few
        patch.setattr(write, "FEW_ROWS", {1: 0, 2: 3}.get(page, write.FEW_ROWS))
        return store.bars.ingest(path, symbol=symbol, timeframe="1m", **options)


def closes(store: walle.Store, symbol: str) -> list[tuple[int, float | None, bool]]:
    """The versions of the first bar: number, close, and whether it is provisional."""
    listed = store.bars.versions(symbol, "1m")
    first = listed.filter(pl.col("timestamp") == pl.col("timestamp").min())
    return first.select("version", "close", "provisional").rows()


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_a_bar_that_comes_back_to_its_first_values_ends_there(store: walle.Store, tmp_path: Path, page: int) -> None:
    given = rows((0, 1), (1, 5), (0, 2), (2, 5), (0, 1), (3, 5))
    report = ingest(store, tmp_path / "new.feather", given, "NEW", page, **CORRECT)
    assert (report.inserted, report.corrected, report.duplicates) == (4, 2, 0)
    assert closes(store, "NEW") == [(1, 1.0, False), (2, 2.0, False), (3, 1.0, False)]
    ingest(store, tmp_path / "first.feather", rows((0, 1)), "STORED", page)
    report = ingest(store, tmp_path / "stored.feather", given, "STORED", page, **CORRECT)
    assert (report.inserted, report.corrected, report.duplicates) == (3, 2, 1)
    assert closes(store, "STORED") == closes(store, "NEW")
    report = ingest(store, tmp_path / "once more.feather", rows((0, 2), (1, 5), (0, 1)), "STORED", page, **CORRECT)
    assert (report.corrected, report.duplicates) == (2, 1)
    assert [close for _, close, _ in closes(store, "STORED")] == [1, 2, 1, 2, 1]


@pytest.mark.parametrize("page", [1, 2, 100])
@pytest.mark.parametrize("options", [KEPT, CORRECT], ids=["keep", "correct"])
def test_a_bar_that_has_not_ended_is_marked_once(
    store: walle.Store, tmp_path: Path, page: int, options: dict[str, Any]
) -> None:
    later = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=1)
    given = rows((0, 1), (1, 5), (0, 2), (2, 5), (0, 1), start=later)
    report = ingest(store, tmp_path / "a.feather", given, "A", page, **options)
    found = closes(store, "A")
    if options is CORRECT:
        assert found == [(1, 1.0, True), (2, 2.0, True), (3, 1.0, True)]
        assert (report.inserted, report.corrected) == (3, 2)
    else:
        assert found == [(1, 1.0, True)]
        assert (report.inserted, report.conflicts, report.duplicates) == (3, 1, 1)


given_rows = st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2)), min_size=1, max_size=9)


@pytest.mark.parametrize("count", [4, pytest.param(16, marks=pytest.mark.thorough)])
def test_pages_make_no_difference(store: walle.Store, tmp_path: Path, count: int) -> None:
    later = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(hours=1)

    @settings(deadline=None, max_examples=count, derandomize=True, database=None)
    @given(
        ingests=st.lists(st.tuples(given_rows, st.sampled_from([KEPT, CORRECT])), min_size=1, max_size=3),
        page=st.integers(1, 4),
        ended=st.booleans(),
    )
    def check(ingests: list[tuple[list[tuple[int, int]], dict[str, Any]]], page: int, ended: bool) -> None:
        pages, whole = (f"{kind}{next(SYMBOLS)}" for kind in ("PAGES", "WHOLE"))
        for number, (part, options) in enumerate(ingests):
            frame = rows(*part, start=PAST if ended else later)
            reports = [
                ingest(store, tmp_path / f"{symbol} {number}.feather", frame, symbol, size, **options)
                for symbol, size in ((pages, page), (whole, 100_000))
            ]
            assert reports[0].counts == reports[1].counts
        found = [
            store.bars.versions(symbol, "1m").select("timestamp", "version", "close", "provisional")
            for symbol in (pages, whole)
        ]
        assert found[0].equals(found[1])

    check()


@pytest.mark.parametrize("page", [1, 2, 100])
def test_further_columns_come_back_too(store: walle.Store, tmp_path: Path, page: int) -> None:
    given = rows((0, 1), (1, 5), (0, 1), (2, 5), (0, 1)).with_columns(note=pl.Series(["a", "x", "b", "x", "a"]))
    report = ingest(store, tmp_path / "a.feather", given, "A", page, extra="all", **CORRECT)
    assert (report.inserted, report.corrected, report.duplicates) == (3, 2, 0)
    listed = store.bars.versions("A", "1m")
    notes = listed.filter(pl.col("timestamp") == PAST).select("version", "note").rows()
    assert notes == [(1, "a"), (2, "b"), (3, "a")]


def test_many_series_are_corrected_at_once(store: walle.Store) -> None:
    names = pl.DataFrame({"symbol": [f"S{number:03}" for number in range(600)], "timeframe": "1m"})
    given = names.join(rows((0, 1), (1, 2)), how="cross")
    assert store.bars.ingest(given).inserted == 1_200
    other = given.with_columns(volume=pl.lit(9.0))
    assert store.bars.ingest(other).conflicts == 1_200
    assert store.bars.ingest(other.head(1_100), **CORRECT).corrected == 1_100
    assert store.bars.ingest(other, **CORRECT).corrected == 100
    assert store.bars.accept(store.bars.conflicts(), "restated") == 0
    assert store.bars.read(names["symbol"].to_list(), "1m")["volume"].unique().to_list() == [9.0]
