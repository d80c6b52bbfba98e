"""What is no file of bars is refused with a clear error, leaves nothing behind, and touches nothing outside."""

from __future__ import annotations

import gzip
import io
import tempfile
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

import walle
from tests.bars_files.rows import bars, generic, lines
from tests.ingest.test_pages import is_untouched
from walle.bars.files import read_bars
from walle.errors import FilesRefused, InputError, InvalidBars

HEADER = "timestamp,open,high,low,close,volume"
ROWS = [",".join(map(str, (row[0].isoformat(), *row[1:]))) for row in bars(5000)]
PLAIN = lines(HEADER, *ROWS)
HALVES = [f"2024-06-01T00:{n:02}:{s}+00:00,1,2,0.5,1.5,3" for n in range(20) for s in ("00", "30")]
OTHER = "2024-06-01 00:00,1,2,0.5,1.5,3"


def zipped(content: bytes, name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def last(row: str) -> bytes:
    """A long file whose last row is another one."""
    return lines(HEADER, *ROWS, row)


CASES: dict[str, tuple[str, Callable[[], bytes], type[InputError], str]] = {
    "empty": ("x.csv", lambda: b"", InputError, "the file is empty"),
    "header only": ("x.csv", lambda: lines(HEADER), InputError, "a header .* and no row"),
    "truncated gzip": ("x.csv.gz", lambda: gzip.compress(PLAIN)[:-20], InputError, "the file is cut off"),
    "no Parquet": ("x.parquet", lambda: PLAIN, InputError, "it is no Parquet file"),
    "cut Parquet": ("x.parquet", lambda: b"PAR1 and no more", InputError, "damaged, or not what it seems"),
    "cut line": ("x.csv", lambda: last("2024-06-01T00:00"), InputError, "a line has 1 cells"),
    "mixed times": ("x.csv", lambda: last(OTHER), InputError, "times of different forms"),
    "epochs among texts": ("x.csv", lambda: last("1717200000,1,2,0.5,1.5,3"), InputError, "times of different forms"),
    "off the grid": ("x.csv", lambda: last("2024-06-01T00:00:30+00:00,1,2,0.5,1.5,3"), InvalidBars, "off the phase"),
    "two timeframes": (
        "x.csv",
        lambda: lines(HEADER, *ROWS, *HALVES),
        InvalidBars,
        "off the phase of its series: 20",
    ),
    "thousands": ("x.csv", lambda: last('2024-06-01T00:00:00+00:00,"1,000.5",2,0.5,1.5,3'), InputError, "1,000.5"),
    "formula": ("x.csv", lambda: last("2024-06-01T00:00:00+00:00,=1+1,2,0.5,1.5,3"), InvalidBars, "holds '=1\\+1'"),
    "bomb": ("x.csv.gz", lambda: gzip.compress(b"0" * (8 << 20)), InputError, "unpacking was stopped"),
}


@pytest.fixture
def unpacked(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where files are unpacked: it must be empty afterwards."""
    folder = tmp_path_factory.mktemp("unpacked")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(read_bars, "__kwdefaults__", {**(read_bars.__kwdefaults__ or {}), "maximum_bytes": 4 << 20})
    return folder


@pytest.mark.parametrize(("name", "make", "kind", "words"), CASES.values(), ids=CASES)
def test_a_bad_file_is_refused_and_leaves_nothing(
    store: walle.Store,
    address: str,
    tmp_path: Path,
    unpacked: Path,
    name: str,
    make: Callable[[], bytes],
    kind: type[InputError],
    words: str,
) -> None:
    (tmp_path / name).write_bytes(make())
    with pytest.raises(InputError, match=words) as caught:
        store.bars.ingest(tmp_path / name, symbol="X", timeframe="1m")
    assert type(caught.value) is kind
    assert str(tmp_path / name) in str(caught.value)
    assert is_untouched(address)
    assert list(unpacked.iterdir()) == []
    # beside others it does not keep them out
    (tmp_path / "good.csv").write_bytes(PLAIN)
    with pytest.raises(FilesRefused):
        store.bars.ingest([tmp_path / name, tmp_path / "good.csv"], symbol="X", timeframe="1m")
    assert store.bars.count("X", "1m") == len(ROWS)


@pytest.mark.parametrize("before", [20, 5000])
def test_two_timeframes_in_a_file_that_says_none_are_told(
    store: walle.Store, address: str, tmp_path: Path, before: int
) -> None:
    fives = bars(before, step=timedelta(minutes=5))
    rows = fives + bars(12, start=fives[-1][0] + timedelta(minutes=1))
    path = generic(tmp_path / "x.csv", rows)
    with pytest.raises(InputError, match=r"Say (it|the timeframe): timeframe="):
        store.bars.ingest(path, symbol="X")
    with pytest.raises(InvalidBars, match="off the phase of its series: 10"):
        store.bars.ingest(path, symbol="X", timeframe="5m")
    assert is_untouched(address)


@pytest.mark.parametrize("name", ["../../evil.csv", "/etc/evil.csv", "a/b/evil.csv"])
def test_a_path_inside_a_zip_is_never_written(
    store: walle.Store, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, unpacked: Path, name: str
) -> None:
    folder = tmp_path_factory.mktemp("deep") / "er" / "still"
    folder.mkdir(parents=True)
    (folder / "x.zip").write_bytes(zipped(PLAIN, name))
    before = sorted(folder.parents[1].rglob("*"))
    assert store.bars.ingest(folder / "x.zip", symbol="X", timeframe="1m").inserted == len(ROWS)
    assert sorted(folder.parents[1].rglob("*")) == before
    assert list(unpacked.iterdir()) == []
    assert not Path("/etc/evil.csv").exists()


@pytest.mark.parametrize("text", ["=1+1", "@SUM(A1)", "n/a?"])
def test_a_text_among_prices_is_kept_apart(store: walle.Store, tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_bytes(last(f"2024-06-01T00:00:00+00:00,{text},2,0.5,1.5,3"))
    report = store.bars.ingest(tmp_path / "x.csv", symbol="X", timeframe="1m", on_invalid="quarantine")
    assert (report.inserted, report.rejected) == (len(ROWS), 1)
    kept = store.bars.rejected().select("row", "open", "high", "reason")
    assert kept.rows() == [(len(ROWS), None, 2.0, f"column 'open' holds {text!r}")]
