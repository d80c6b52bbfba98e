"""What a call over files does: which it takes, which it skips, and what it says of each."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import walle
from tests.ingest.test_pages import is_untouched
from tests.samples import bars
from walle import migrate
from walle.bars import ingest_source
from walle.bars.files import BarReader
from walle.config import DatabaseConfig
from walle.database import Database
from walle.errors import FilesRefused, InputError, InvalidBars, SchemaOutdated
from walle.repositories import BarRepository

SAID: dict[str, Any] = {"symbol": "A", "timeframe": "1m"}
VOLUME = MappingProxyType({"volume": "volume"})


def csv(path: Path, **said: Any) -> Path:
    bars(**said).write_csv(path)
    return path


def test_the_same_bytes_under_the_name_of_another_series_are_that_series(store: walle.Store, tmp_path: Path) -> None:
    for name in ("BTC_USDT-1m.csv", "ETH_USDT-1m.csv"):
        csv(tmp_path / name)
    report = store.bars.ingest(tmp_path)
    assert (report.inserted, report.skipped) == (10, 0)
    assert store.bars.series()["symbol"].to_list() == ["BTC/USDT", "ETH/USDT"]
    assert store.bars.ingest(tmp_path).skipped == 2
    (tmp_path / "copy").mkdir()
    assert store.bars.ingest(csv(tmp_path / "copy" / "ETH_USDT-1m.csv")).skipped == 1


async def test_an_older_schema_is_told_before_a_file_is_read(sqlite_address: str, tmp_path: Path) -> None:
    config = DatabaseConfig(url=sqlite_address)
    migrate.downgrade(config, "b9d4f3a5c7e1")
    database = Database(config)
    try:
        for source in (csv(tmp_path / "a.csv"), bars(5)):
            with pytest.raises(SchemaOutdated, match="stands at revision 'b9d4f3a5c7e1'"):
                await BarRepository(database).ingest(source, symbol="A", timeframe="1m")
    finally:
        await database.close()


def test_a_file_comes_in_once(store: walle.Store, tmp_path: Path) -> None:
    path = csv(tmp_path / "a.csv")
    assert store.bars.ingest(path, **SAID).inserted == 5
    renamed = path.rename(tmp_path / "b.csv")
    for source in (renamed, str(renamed), [renamed], tmp_path, tmp_path / "*.csv"):
        report = store.bars.ingest(source, **SAID)
        assert (report.rows, report.skipped, report.files["skipped"].to_list()) == (0, 1, [True])
        assert repr(report).startswith("IngestReport(1 file, 1 ingested before (.files); 0 rows:")
    assert store.bars.ingests().height == 1
    assert store.bars.ingest(renamed, **SAID, again=True).duplicates == 5
    assert store.bars.ingest(renamed, symbol="B", timeframe="1m").inserted == 5
    assert store.bars.ingest(renamed, symbol="B", timeframe="1m", columns=VOLUME).duplicates == 5
    assert store.bars.ingest(renamed, symbol="B", timeframe="1m", columns=VOLUME).skipped == 1
    with renamed.open("a") as file:
        file.write("2025-03-01T00:05:00.000000+0000,100,101,99,100,1\n")
    changed = store.bars.ingest(renamed, **SAID)
    assert (changed.inserted, changed.duplicates, changed.skipped) == (1, 5, 0)
    kept = store.bars.ingests()
    assert kept["name"].to_list() == ["a.csv", "b.csv", "b.csv", "b.csv", "b.csv"]
    assert kept["checksum"].n_unique() == 2


@pytest.mark.parametrize("how", ["append", "replace", "remove"])
def test_a_file_that_changes_while_it_is_read_is_refused(
    store: walle.Store, address: str, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = csv(tmp_path / "a.csv"), ingest_source.open_file

    def opened(*arguments: Any) -> Any:
        reader = real(*arguments)
        if how == "append":
            with path.open("a") as file:
                file.write("\n")
        elif how == "replace":
            os.utime(path, ns=(0, 0))
        else:
            path.unlink()
        return reader

    monkeypatch.setattr("walle.repositories.bars.ingest.open_file", opened)
    with pytest.raises(InputError, match=r"was changed while it was read\. Ingest it when it is whole"):
        store.bars.ingest(path, **SAID)
    assert is_untouched(address)


@pytest.mark.parametrize(
    "named",
    [lambda folder: folder, lambda folder: f"{folder}/*.csv", lambda folder: sorted(folder.glob("*.csv"))],
    ids=["folder", "pattern", "list"],
)
def test_of_several_files_the_bad_one_is_refused_and_the_good_ones_are_in(
    store: walle.Store, tmp_path: Path, named: Callable[[Path], object]
) -> None:
    csv(tmp_path / "a.csv")
    csv(tmp_path / "b.csv", price=-1e9)
    broken = bars(5, price=7).with_columns(volume=-1.0)
    broken.write_csv(tmp_path / "c.csv")
    (tmp_path / "d.csv").write_text("")
    csv(tmp_path / "e.csv", count=8)
    with pytest.raises(
        FilesRefused, match=r"(?s)2 of 5 files were refused.*c\.csv.*d\.csv: the file is empty"
    ) as caught:
        store.bars.ingest(named(tmp_path), **SAID)
    assert {path.name: type(error) for path, error in caught.value.errors.items()} == {
        "c.csv": InvalidBars,
        "d.csv": InputError,
    }
    report = caught.value.report
    files = report.files.select("path", "rows", "inserted", "duplicates", "conflicts", "skipped")
    assert files.rows() == [
        (str(tmp_path / "a.csv"), 5, 5, 0, 0, False),
        (str(tmp_path / "b.csv"), 5, 0, 0, 5, False),
        (str(tmp_path / "c.csv"), 0, 0, 0, 0, False),
        (str(tmp_path / "d.csv"), 0, 0, 0, 0, False),
        (str(tmp_path / "e.csv"), 8, 3, 5, 0, False),
    ]
    errors = report.files["error"].to_list()
    assert [error is None for error in errors] == [True, True, False, False, True]
    assert repr(report) == (
        "IngestReport(5 files, 2 refused (.files); 18 rows: 8 inserted, 5 duplicates, 5 conflicts (.conflict_rows), "
        "0 rejected)"
    )
    assert "<summary>files</summary>" in report._repr_html_()
    assert store.bars.ingests()["name"].to_list() == ["a.csv", "b.csv", "e.csv"]
    assert set(store.bars.conflicts()["source"]) == {"b.csv"}
    assert_frame_equal(store.bars.read("A", "1m"), bars(8), check_exact=True)


def test_what_names_no_file_says_so(store: walle.Store, address: str, tmp_path: Path) -> None:
    csv(tmp_path / "prices.csv")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "readme.txt").write_text("none")
    for source, words in [
        (tmp_path / "empty", "holds no file to read. Known endings: .csv"),
        (tmp_path / "price.csv", "there is no file .* Did you mean .*prices.csv"),
        (f"{tmp_path}/*.feather", "no file matches"),
        ("", "is no path"),
        ([tmp_path / "prices.csv", bars()], "is no path"),
        ([], None),
    ]:
        if words is None:
            assert store.bars.ingest(source, **SAID).rows == 0
            continue
        with pytest.raises(InputError, match=words):
            store.bars.ingest(source, **SAID)
    with pytest.raises(InputError, match=r"columns=.* not a mapping"):
        store.bars.ingest(tmp_path / "prices.csv", **SAID, columns=["close"])  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(InputError, match=re.escape("on_invalid='skip' is neither 'raise' nor 'quarantine'")):
        store.bars.ingest(tmp_path / "prices.csv", **SAID, on_invalid="skip")  # type: ignore[arg-type]  # what a caller may get wrong
    assert is_untouched(address)


async def test_a_cancelled_caller_does_not_wait_for_a_page_that_is_being_read(
    database: walle.Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = csv(tmp_path / "a.csv", count=300)
    reading, go_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Slow(BarReader):
        def __next__(self) -> pl.DataFrame:
            reading.set()
            go_on.wait(30)
            return super().__next__()

        def close(self) -> None:
            super().close()
            closed.set()

    def opened(*arguments: Any) -> BarReader:
        reader = ingest_source.open_file(*arguments)
        reader.__class__ = Slow
        return reader

    bars_of = walle.BarRepository(database)
    with monkeypatch.context() as patch:
        patch.setattr("walle.repositories.bars.ingest.open_file", opened)
        task = asyncio.ensure_future(bars_of.ingest(path, symbol="A", timeframe="1m"))
        while not reading.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        assert not closed.is_set()  # it is still being read
        go_on.set()
        assert await database.in_thread(lambda: closed.wait(30))
    assert (await bars_of.ingest(path, symbol="A", timeframe="1m")).inserted == 300
