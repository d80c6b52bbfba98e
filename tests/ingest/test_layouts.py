from __future__ import annotations

from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

import walle
from tests.bars_files.rows import Row
from tests.ingest.layouts import FILES, FRAMES, File, Frame, frame_of


def holds(store: walle.Store, expected: dict[tuple[str, str], list[Row]]) -> None:
    """Look whether exactly these bars are in the store."""
    assert set(store.bars.series().select("symbol", "timeframe").iter_rows()) == set(expected)
    for (symbol, timeframe), rows in expected.items():
        assert_frame_equal(store.bars.read(symbol, timeframe), frame_of(rows), check_exact=True)


@pytest.mark.parametrize("file", FILES.values(), ids=FILES)
def test_a_file_of_a_known_layout_goes_in_untouched(store: walle.Store, tmp_path: Path, file: File) -> None:
    path, count = file.write(tmp_path), sum(map(len, file.bars.values()))
    report = store.bars.ingest(path, **file.said)
    assert (report.rows, report.inserted) == (count, count)
    holds(store, file.bars)
    again = store.bars.ingest(path, **file.said, again=True)
    assert (again.rows, again.duplicates) == (count, count)
    symbol, timeframe = next(iter(file.bars)) if len(file.bars) == 1 else (None, None)
    assert report.files.select("path", "symbol", "timeframe", "rows").rows() == [(str(path), symbol, timeframe, count)]
    kept = store.bars.ingests().select("source", "name", "symbol", "timeframe", "rows", "inserted", "duplicates")
    assert kept.rows() == [
        ("file", path.name, symbol, timeframe, count, count, 0),
        ("file", path.name, symbol, timeframe, count, 0, count),
    ]


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_frame_of_a_known_layout_goes_in_untouched(store: walle.Store, frame: Frame) -> None:
    report = store.bars.ingest(frame.make(), **frame.said)
    assert report.inserted == report.rows == sum(map(len, frame.bars.values()))
    assert report.files.is_empty()
    holds(store, frame.bars)
    assert store.bars.ingests().select("source", "name", "checksum").rows() == [("frame", None, None)]
