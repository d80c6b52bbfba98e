"""A file that comes in several pages is one source: its rows, its order and its refusals are counted through."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import walle
from tests.raw import Raw
from tests.samples import bars
from walle.bars import ingest_source
from walle.errors import InvalidBars

PAGE = 40
NUMBERS = ["open", "high", "low", "close", "volume"]
RECORDS = ("bars", "bar_conflicts", "bar_series", "ingests", "rejected_bars")


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_source, "READ_ROWS", PAGE)


def named(frame: pl.DataFrame, symbol: str = "A") -> pl.DataFrame:
    return frame.select(pl.lit(symbol).alias("symbol"), pl.lit("1m").alias("timeframe"), pl.all())


def at(*places: int) -> pl.Expr:
    return pl.int_range(pl.len()).is_in(list(places))


def is_untouched(address: str) -> bool:
    return not any(Raw(address).value(f"SELECT count(*) FROM {table}") for table in RECORDS)


def first_wins(rows: list[tuple[Any, ...]]) -> tuple[dict[Any, Any], int, list[tuple[Any, ...]]]:
    """What a file must leave: the first version of each key, how many say it again, and those that differ."""
    stored: dict[Any, Any] = {}
    again, conflicts = 0, []
    for key, values in ((row[:3], row[3:]) for row in rows):
        if stored.setdefault(key, values) is not values:
            again += stored[key] == values
            if stored[key] != values:
                conflicts.append((*key, *stored[key], *values))
    return stored, again, sorted(conflicts)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["file", "frame"])
def test_the_first_version_wins_over_all_pages(store: walle.Store, tmp_path: Path, seed: int, kind: str) -> None:
    chance = random.Random(seed)
    rows = named(bars(150)).rows() + named(bars(150), "B").rows()
    for row in chance.choices(rows, k=150):
        rows.append((*row[:-1], row[-1] + chance.choice([0, 0, 0.5, 1.5])))
    chance.shuffle(rows)
    stored, again, conflicts = first_wins(rows)
    frame = pl.DataFrame(rows, schema=named(bars(1)).schema, orient="row")
    frame.write_ipc(tmp_path / "x.feather")
    report = store.bars.ingest(tmp_path / "x.feather" if kind == "file" else frame)
    assert (report.inserted, report.duplicates, report.conflicts) == (300, again, len(conflicts))
    assert report.conflict_rows.rows() == conflicts
    assert sorted(store.bars.read(["A", "B"], "1m").select("symbol", "timestamp", *NUMBERS).rows()) == sorted(
        (symbol, when, *values) for (symbol, _, when), values in stored.items()
    )
    assert set(store.bars.conflicts().select(report.conflict_rows.columns).rows()) == set(conflicts)


def broken(count: int = 200) -> pl.DataFrame:
    """Bars of which six are none, in three pages."""
    frame = bars(count)
    return frame.with_columns(
        high=pl.when(at(3, 170)).then(0.0).otherwise("high"),
        volume=pl.when(at(39, 40)).then(-1.0).when(at(100)).then(float("nan")).otherwise("volume"),
        close=pl.when(at(81)).then(None).otherwise("close"),
    )


REFUSED = [3, 39, 40, 81, 100, 170]


@pytest.mark.parametrize("kind", ["csv", "feather", "frame"])
def test_every_refused_row_of_a_file_is_counted_and_nothing_is_written(
    store: walle.Store, address: str, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / f"x.{kind}"
    if kind != "frame":
        (broken().write_csv if kind == "csv" else broken().write_ipc)(path)
    with pytest.raises(InvalidBars, match="6 of 200 rows are not bars, so nothing was written") as caught:
        store.bars.ingest(broken() if kind == "frame" else path, symbol="A", timeframe="1m")
    assert kind == "frame" or str(path) in str(caught.value)
    assert caught.value.rejected_rows["row"].to_list() == REFUSED
    number = "volume is missing" if kind == "csv" else "volume is NaN or infinite"  # a text NaN is no number
    assert caught.value.counts == {"high is below low": 2, "volume is below 0": 2, "close is missing": 1, number: 1}
    assert is_untouched(address)


@pytest.mark.parametrize("kind", ["csv", "feather", "frame"])
def test_quarantine_keeps_the_refused_rows_and_stores_the_others(store: walle.Store, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    if kind != "frame":
        (broken().write_csv if kind == "csv" else broken().write_ipc)(path)
    source = broken() if kind == "frame" else path
    report = store.bars.ingest(source, symbol="A", timeframe="1m", on_invalid="quarantine")
    assert (report.inserted, report.rejected, report.rows) == (194, 6, 200)
    assert report.rejected_rows["row"].to_list() == REFUSED
    assert_frame_equal(store.bars.read("A", "1m"), broken().filter(~at(*REFUSED)), check_exact=True)
    kept = store.bars.rejected()
    name = None if kind == "frame" else path.name
    assert kept.select("ingest", "name", "row", "symbol", "timeframe").rows() == [
        (1, name, row, "A", "1m") for row in REFUSED
    ]
    # what is no number is kept as none
    assert_frame_equal(kept.select(bars(0).columns), broken().filter(at(*REFUSED)).fill_nan(None), check_exact=True)
    assert kept["reason"].to_list() == report.rejected_rows["reason"].to_list()
    assert store.bars.rejected(1).equals(kept)
    assert store.bars.rejected(2).is_empty()
    assert store.bars.ingests()["rejected"].to_list() == [6]


def test_quarantine_says_what_stood_in_a_cell(store: walle.Store, tmp_path: Path) -> None:
    frame = bars(100).with_columns(
        open=pl.when(at(70)).then(pl.lit("=HYPERLINK(1)")).otherwise(pl.col("open").cast(pl.String))
    )
    frame.write_csv(tmp_path / "x.csv")
    report = store.bars.ingest(tmp_path / "x.csv", symbol="A", timeframe="1m", on_invalid="quarantine")
    assert report.inserted == 99
    assert store.bars.rejected().select("row", "reason").rows() == [(70, "column 'open' holds '=HYPERLINK(1)'")]


def test_what_a_database_cannot_hold_is_kept_as_far_as_it_can(store: walle.Store) -> None:
    beyond = pl.Series([300_000_000_000_000_000], dtype=pl.Int64).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    frame = pl.concat([named(bars(3)), named(bars(1), "a\0b"), named(bars(1), " padded"), named(bars(1), "x" * 200)])
    frame = frame.vstack(named(bars(1)).with_columns(timestamp=beyond))
    frame = frame.vstack(named(bars(1)).with_columns(volume=float("inf")))
    with pytest.raises(InvalidBars, match="5 of 8 rows"):
        store.bars.ingest(frame)
    report = store.bars.ingest(frame, on_invalid="quarantine")
    assert (report.inserted, report.rejected) == (3, 5)
    kept = store.bars.rejected()
    assert kept["row"].to_list() == [3, 4, 5, 6, 7]
    assert kept["symbol"].to_list() == ["a\ufffdb", " padded", "x" * 200, "A", "A"]
    assert kept["timestamp"].is_null().to_list() == [False, False, False, True, False]
    assert store.bars.series()["symbol"].to_list() == ["A"]


def test_a_series_without_a_bar_leaves_no_record_of_its_phase(store: walle.Store, address: str) -> None:
    empty = named(bars(5), "B").with_columns(volume=-1.0)
    store.bars.ingest(pl.concat([named(bars(5)), empty]), on_invalid="quarantine")
    assert Raw(address).rows("SELECT symbol, phase FROM bar_series") == [("A", 0)]
    store.bars.ingest(empty.with_columns(volume=1.0, timestamp=pl.col("timestamp").dt.offset_by("7s")))
    assert sorted(Raw(address).rows("SELECT symbol, phase FROM bar_series")) == [("A", 0), ("B", 7_000_000)]
