"""Read CSV and similar files: detect the delimiter and the header, and read the rows in batches of text."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from walle.bars.files.clock import shape_of
from walle.bars.files.sources import PRICE_WORDS, Source, WideSource, grouped, once
from walle.errors import InputError

__all__ = ["DelimitedSource", "open_delimited"]

_DELIMITERS = (",", ";", "\t", "|")
_HEAD_BYTES = 1 << 18
_BLOCK_BYTES = 1 << 20  # the reader reads about thirty blocks ahead
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


class DelimitedSource:
    """A delimited text file, read in bounded memory.

    Parameters
    ----------
    path : Path
        UTF-8 text.
    delimiter : str
    names : list of str
    skip : int
        The number of lines before the first row.
    header : bool
    first : list
        The cells of the first row.
    """

    def __init__(
        self, path: Path, delimiter: str, names: list[str], skip: int, *, header: bool, first: Sequence[object]
    ) -> None:
        self.names, self.header, self.first = names, header, list(first)
        self.hint: str | None = None
        self._path, self._delimiter, self._skip = path, delimiter, skip

    def read(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Yield the columns as text; an empty cell is null.

        Raises
        ------
        InputError
            For a line with more or fewer cells than the others, or bytes that are not text.
        """
        import pyarrow as pa
        from pyarrow import csv as arrow

        ragged: list[Any] = []

        def refuse(row: Any) -> str:
            ragged.append(row)
            return "error"

        text = dict.fromkeys(columns, pa.string())
        try:
            with pa.OSFile(str(self._path)) as file:
                reader = arrow.open_csv(
                    file,
                    arrow.ReadOptions(
                        column_names=self.names, skip_rows=self._skip, block_size=_BLOCK_BYTES, use_threads=False
                    ),
                    arrow.ParseOptions(delimiter=self._delimiter, invalid_row_handler=refuse),
                    arrow.ConvertOptions(
                        column_types=text, include_columns=list(columns), strings_can_be_null=True, null_values=[""]
                    ),
                )
                for batch in reader:
                    frame = pl.from_arrow(batch)
                    assert isinstance(frame, pl.DataFrame)
                    yield from frame.iter_slices(rows)
        except pa.ArrowInvalid as error:
            if ragged:
                what = _ragged(ragged[0].expected_columns, ragged[0].actual_columns, ragged[0].text)
            elif "straddling" in str(error):
                what = "a line has more than a megabyte: a quote may have no end."
            elif "invalid UTF8" in str(error):
                what = "the text is not UTF-8. Save it as UTF-8."
            else:
                what = f"the text cannot be read in columns: {error}."
            raise InputError(what) from None


def open_delimited(path: Path) -> Source:
    """Detect from the beginning of a text file how to read it.

    Raises
    ------
    InputError
        For text that is not UTF-8, a header without rows, or two columns with the same name.
    """
    lines, blank = _head(path)
    delimiter = _delimiter(lines)
    rows = [[cell.strip() for cell in row] for row in islice(csv.reader(lines, delimiter=delimiter), 4)]
    wide = _three_headers(path, delimiter, rows, blank)
    if wide is not None:
        return wide
    if _is_data(rows[0]):
        names = [f"column_{place}" for place in range(1, len(rows[0]) + 1)]
        return DelimitedSource(path, delimiter, names, blank, header=False, first=rows[0])
    names = once([name or f"column_{place}" for place, name in enumerate(rows[0], 1)])
    if len(rows) == 1:
        raise InputError(f"there is a header ({', '.join(names)}) and no row.")
    if len(rows[1]) != len(names):
        raise InputError(_ragged(len(names), len(rows[1]), delimiter.join(rows[1])))
    return DelimitedSource(path, delimiter, names, blank + 1, header=True, first=rows[1])


def _head(path: Path) -> tuple[list[str], int]:
    """Return the first lines that are not blank, and the number of blank lines before them.

    Raises
    ------
    InputError
        If all lines are blank.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    whole = len(head) < _HEAD_BYTES
    text = codecs.getincrementaldecoder("utf-8-sig")().decode(head, final=whole)
    every = text.splitlines()
    if not whole and len(every) > 1:
        every.pop()  # the last line may be incomplete
    lines = [line for line in every if line.strip()]
    if not lines:
        raise InputError("the file holds no row.")
    return lines[:50], every.index(lines[0])


def _delimiter(lines: Sequence[str]) -> str:
    # look at the header only, since numbers in a row may contain commas
    counts = {mark: len(next(csv.reader(lines[:1], delimiter=mark))) for mark in _DELIMITERS}
    best = max(counts, key=lambda mark: counts[mark])
    if counts[best] < 2:
        raise InputError(f"no table was found in it: the first line is {lines[0][:80]!r}.")
    return best


def _is_data(cells: Sequence[str]) -> bool:
    numbers = sum(1 for cell in cells if _NUMBER.fullmatch(cell))
    return numbers >= 2 and (shape_of(cells[0]) is not None or _NUMBER.fullmatch(cells[0]) is not None)


def _three_headers(path: Path, delimiter: str, rows: Sequence[Sequence[str]], blank: int) -> Source | None:
    if len(rows) < 3 or not rows[2][0] or any(rows[2][1:]) or shape_of(rows[2][0]) is not None:
        return None
    if len({len(row) for row in rows[:3]}) != 1:
        return None
    levels = [[cell.lower() for cell in row[1:]] for row in rows[:2]]
    if set(levels[0]) <= PRICE_WORDS:
        fields, tickers = rows[0][1:], rows[1][1:]
    elif set(levels[1]) <= PRICE_WORDS:
        fields, tickers = rows[1][1:], rows[0][1:]
    else:
        return None
    time = rows[2][0]
    names = [time, *(f"{field} {ticker}" for field, ticker in zip(fields, tickers, strict=True))]
    if len(set(names)) != len(names):
        raise InputError("two columns have the same price and ticker. Remove one: which is meant cannot be told.")
    if len(rows) == 3:
        raise InputError(f"there is a header ({', '.join(names)}) and no row.")
    inner = DelimitedSource(path, delimiter, names, blank + 3, header=True, first=rows[3])
    return WideSource(inner, time, grouped(fields, tickers, names[1:]))


def _ragged(expected: int, actual: int, text: str) -> str:
    return f"a line has {actual} cells, where {expected} are expected: {text[:120]!r}. The file may be cut off."
