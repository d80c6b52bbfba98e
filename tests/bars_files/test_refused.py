from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bars_files.rows import bars, generic, lines, read
from tests.examples import examples
from walle.bars import check_bars
from walle.bars.files import read_bars, read_frame
from walle.errors import InputError, UnknownTimeframe

HEADER = "timestamp,open,high,low,close,volume"
ROW = "2024-01-31T09:30:00Z,1,2,0.5,1.5,3"


def refused(path: Path, **said: object) -> str:
    """The message, which names the file, and nothing but an InputError was raised."""
    with pytest.raises(InputError) as caught:
        read(path, **{"symbol": "X", "timeframe": "1m", **said})
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("x.csv", b"", "the file is empty"),
        ("x.csv", b"\n \n", "nothing but white space"),
        ("x.csv", lines(HEADER), "a header .* and no row"),
        ("x.csv", lines(HEADER, ROW, "2024-01-31T09:31:00Z,1,2"), "a line has 3 cells, where 6 are expected"),
        ("x.csv", lines(HEADER, ROW, ROW + ",9"), "a line has 7 cells"),
        ("x.csv", lines(HEADER, ROW + ",9"), "a line has 7 cells"),
        ("x.csv", lines(HEADER + ",open", ROW + ",9"), "two columns have the name 'open'"),
        ("x.csv", lines(HEADER + ",Open", ROW + ",9").replace(b"open,", b"OPEN,", 1), "could each be the open"),
        ("x.csv", lines(HEADER, ROW).decode().encode("utf-16"), "UTF-16"),
        ("x.csv", lines(HEADER + ",näme", ROW + ",9").decode().encode("latin-1"), "not UTF-8"),
        ("x.csv", lines("Prices of a share"), "no table was found"),
        (
            "x.csv",
            lines("a,b,d", "1,2,x"),
            "no column for timestamp, open, high, low, close, volume; there is: a, b, d",
        ),
        ("x.csv", b"\x00\x01\x02\x03", "neither text nor a known binary format"),
        ("x.parquet", lines(HEADER, ROW), "no Parquet file"),
        ("x.parquet", b"PAR1 and nothing else", "damaged"),
        ("x.feather", lines(HEADER, ROW), "no Feather or Arrow IPC file"),
        ("x.feather", b"ARROW1\0\0 and nothing else", "damaged|cannot be read"),
        ("x.arrows", b"\xff\xff\xff\xff\x00\x10\x00\x00 and nothing", "damaged|cannot be read"),
        ("x.json", b"", "the file is empty"),
        ("x.json", b"[]", "no row in it"),
        ("x.json", b"hello", "no JSON"),
        ("x.json", b'{"bars": {}}', "no column for timestamp"),
        ("x.json", b"[[1706693400000,1,2,0.5,1.5,3],[1706693460000,1,2", "cut off"),
        ("x.json", b"[[1706693400000,1,2,0.5,1.5,3]", "cut off"),
        ("x.json", b"[[1706693400000,1,2,0.5,1.5,3]]]", "behind the end"),
        ("x.json", b"[[1706693400000,1,2,0.5,1.5,3] [1706693460000,1,2,0.5,1.5,3]]", "comma is missing"),
        ("x.json", b"[[1706693400000,1,2,0.5,1.5,3],[1706693460000,1]]", "row 1 is not like the first"),
        ("x.json", b"[[1706693400000,1,2,0.5,1.5,[3]]]", "neither a number nor a text"),
        ("x.json", b"[[1706693400000,1,2,0.5,1.5,true]]", "neither a number nor a text"),
        ("x.json", b"[" * 100_000, "damaged|cut off"),
        ("x.json", b"[[" + b"9" * 5000 + b",1,2,0.5,1.5,3]]", "damaged"),
        ("x.json", b"[[1706693400000,1,2,0.5,1.5,99999999999999999999999]]", "no time and no price"),
        ("x.json", b"[1,2,3]", "no known layout"),
        ("x.json", b"[[1,2],3]", "rows are JSON arrays or objects"),
        ("x.json", b"[[1706693400000,1,2,0.5,1.5]]", "there is no volume"),
        ("x.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Excel workbook"),
        ("x.dbn", b"DBN\x01", "to_parquet"),
        ("x.pkl", pickle.dumps([1]), "pickle, which is never loaded"),
    ],
)
def test_what_is_no_file_of_bars_says_so(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert re.search(words, refused(tmp_path / name)), refused(tmp_path / name)


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.csv")
    assert "no regular file" in refused(tmp_path)


def test_a_parquet_and_a_feather_without_rows_or_with_a_name_twice(tmp_path: Path) -> None:
    empty = pl.DataFrame(schema=["timestamp", "open", "high", "low", "close", "volume"])
    empty.write_parquet(tmp_path / "a.parquet")
    empty.write_ipc(tmp_path / "a.feather")
    empty.write_ipc_stream(tmp_path / "a.arrows")
    for name in ("a.parquet", "a.feather", "a.arrows"):
        assert "and no row" in refused(tmp_path / name)
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["open", "open"])
    with pa.OSFile(str(tmp_path / "b.feather"), "wb") as file, pa.ipc.new_file(file, twice.schema) as writer:
        writer.write_table(twice)
    assert "two columns have the name 'open'" in refused(tmp_path / "b.feather")


def test_a_later_byte_that_is_no_utf8_is_told(tmp_path: Path) -> None:
    content = lines(HEADER, *[ROW] * 40_000) + b"2024-01-31T09:30:00Z,1,2,0.5,1.5,\xff\n"
    (tmp_path / "x.csv").write_bytes(content)
    assert "not UTF-8" in refused(tmp_path / "x.csv")


def test_a_quote_without_an_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(lines(HEADER, ROW, '"' + ROW, *[ROW] * 100_000))
    assert "cells" in refused(tmp_path / "x.csv") or "quote" in refused(tmp_path / "x.csv")


@pytest.mark.parametrize("text", ["1,234.5", "1.234,5", "1'234.5", "1 234.5", "1,5", "$1,234", "12_345", "1\u00a0234"])
@pytest.mark.parametrize("column", ["open", "volume"])
def test_thousands_separators_and_decimal_commas_are_refused(tmp_path: Path, text: str, column: str) -> None:
    cells = {"open": "1", "high": "2", "low": "0.5", "close": "1.5", "volume": "3", column: f'"{text}"'}
    row = "2024-01-31T09:31:00Z," + ",".join(cells.values())
    (tmp_path / "x.csv").write_bytes(lines(HEADER, ROW, row))
    message = refused(tmp_path / "x.csv")
    assert f"column '{column}' holds {text!r} (row 1)" in message or f"column '{column}'" in message
    assert "plain decimals" in message


@pytest.mark.parametrize("text", ["=cmd|'/c calc'!A1", "@SUM(A1)", "abc", "1.2.3", "0x10", "inf", "--1", "1e", "true"])
def test_a_cell_that_is_no_number_is_null_and_its_row_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_bytes(lines(HEADER, ROW, f"2024-01-31T09:31:00Z,1,2,0.5,{text},3"))
    with read_bars(tmp_path / "x.csv", symbol="X", timeframe="1m") as reader:
        (frame,) = reader
        assert [(cell.row, cell.column, cell.text) for cell in reader.unread] == [(1, "close", text)]
        assert reader.unread_cells == 1
    checked = check_bars(frame, on_invalid="quarantine")
    assert checked.rejected.select("row", "reason").rows() == [(1, "close is missing")]


def test_an_integer_that_float64_would_round_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(lines(HEADER, ROW, "2024-01-31T09:31:00Z,1,2,0.5,1.5,9007199254740993"))
    assert "(row 1), an integer above 2**53" in refused(tmp_path / "x.csv")
    (tmp_path / "x.csv").write_bytes(lines(HEADER, ROW, "2024-01-31T09:31:00Z,1,2,0.5,1.5,9007199254740994"))
    assert read(tmp_path / "x.csv", symbol="X", timeframe="1m")[1][-1] == 9007199254740994.0


@pytest.mark.parametrize("text", ["", "nan", "NaN", "NULL", "NA", "-"])
def test_an_absent_number_is_null(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_bytes(lines(HEADER, ROW, f"2024-01-31T09:31:00Z,1,2,0.5,{text},3"))
    with read_bars(tmp_path / "x.csv", symbol="X", timeframe="1m") as reader:
        (frame,) = reader
        assert reader.unread == []
    assert check_bars(frame, on_invalid="quarantine").rejected["row"].to_list() == [1]


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    form=st.sampled_from(["{!r}", "{:.17g}", " {!r} ", "{:.6f}"]),
)
def test_every_plain_decimal_is_the_nearest_float(value: float, form: str) -> None:
    text = form.format(value)
    frame = pl.DataFrame({"t": ["2024-01-31T09:30:00Z"], **{name: [text] for name in "ohlcv"}})
    with read_frame(frame, symbol="X", timeframe="1m") as reader:
        (batch,) = reader
    assert batch["close"].to_list() == [float(text)]


def test_a_file_without_volume_names_what_it_has_until_told(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(lines("timestamp,open,high,low,close", "2024-01-31T09:30:00Z,1,2,0.5,1.5"))
    with pytest.raises(InputError) as caught:
        read(tmp_path / "x.csv")
    for word in ("volume", "timestamp, open, high, low, close", "columns={'volume': None}", "symbol='...'"):
        assert word in str(caught.value)
    assert read(tmp_path / "x.csv", symbol="X", timeframe="1m", columns={"volume": None})[0][-1] == 0.0
    assert "Leave it out" in refused(generic(tmp_path / "y.csv"), columns={"volume": None})


def test_a_file_without_a_symbol_says_how_to_give_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"which symbol\?.*symbol='...'"):
        read(generic(tmp_path / "prices.csv"))


def test_a_given_symbol_against_a_column_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(lines(HEADER + ",symbol", ROW + ",AAPL"))
    assert "'AAPL'" in refused(tmp_path / "x.csv", symbol="MSFT")
    assert read(tmp_path / "x.csv", symbol="AAPL", timeframe="1m")[0][0] == "AAPL"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"nope": "open"}, "'nope', which is not there"),
        ({"symbol": "open"}, "Their name comes first: columns={'open': 'symbol'}."),
        ({"open": "opening"}, "maps 'open' to 'opening'"),
        ({"open": "close", "high": "close"}, "two source columns"),
        (["open"], "not a mapping"),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path: Path, columns: object, words: str) -> None:
    assert words in refused(generic(tmp_path / "x.csv"), columns=columns)


def test_wrong_arguments_are_refused_before_the_file_is_touched(tmp_path: Path) -> None:
    with pytest.raises(UnknownTimeframe, match="Did you mean '1m'"):
        read_bars(tmp_path / "none.csv", timeframe="1min")
    with pytest.raises(InputError, match="batch_rows"):
        read_bars(tmp_path / "none.csv", batch_rows=0)
    with pytest.raises(InputError, match="is no path"):
        read_bars(7)  # type: ignore[arg-type]  # wrong on purpose


def test_a_pandas_frame_with_other_levels_is_refused() -> None:
    frame = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "b"), ("a", "c")]))
    with pytest.raises(InputError, match="not price and ticker"):
        read_frame(frame, symbol="X")


def _parquet() -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(bars(), schema=["timestamp", "open", "high", "low", "close", "volume"], orient="row").write_parquet(
        buffer
    )
    return buffer.getvalue()


def _feather() -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(bars(), schema=["timestamp", "open", "high", "low", "close", "volume"], orient="row").write_ipc(buffer)
    return buffer.getvalue()


def _json() -> bytes:
    return json.dumps([[round(row[0].timestamp() * 1000), *row[1:]] for row in bars()]).encode()


def _csv() -> bytes:
    return lines(HEADER, *(",".join([row[0].isoformat(), *map(str, row[1:])]) for row in bars()))


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", _csv())
    return buffer.getvalue()


def _stream() -> bytes:
    buffer = io.BytesIO()
    pl.DataFrame(bars(), schema=HEADER.split(","), orient="row").write_ipc_stream(buffer)
    return buffer.getvalue()


MAKERS = [
    (_parquet, "parquet"),
    (_feather, "feather"),
    (_stream, "arrows"),
    (_json, "json"),
    (_csv, "csv"),
    (_zip, "zip"),
]


@pytest.mark.parametrize(("make", "ending"), MAKERS, ids=[ending for _, ending in MAKERS])
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    deadline=None,
    max_examples=examples(200),
    derandomize=True,
)
@given(data=st.data())
def test_a_damaged_file_raises_nothing_but_an_input_error(
    tmp_path: Path, make: Callable[[], bytes], ending: str, data: st.DataObject
) -> None:
    content = bytearray(make())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(1, len(content)))
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content[:cut])
    try:
        for frame in read_bars(path, symbol="X", timeframe="1m"):
            assert frame.height
    except InputError as error:
        assert str(path) in str(error)


def test_a_cut_feather_file_raises_nothing_but_an_input_error(tmp_path: Path) -> None:
    content = _feather()
    for cut in range(1, len(content), 37):
        (tmp_path / "x.feather").write_bytes(content[:cut])
        refused(tmp_path / "x.feather")
