"""Read JSON row by row: an array of arrays, an array of objects, or one object or array on each line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl

from walle.errors import InputError

__all__ = ["JsonSource"]

_CHUNK = 1 << 20
_LONGEST_ROW = 1 << 20
_SPACE = " \t\r\n"
_LOOK_AT = 1000


class JsonSource:
    """The rows of a JSON file, read in bounded memory.

    Parameters
    ----------
    path : Path
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows = _rows(path)
        self._ahead = list(islice(self._rows, _LOOK_AT))
        if not self._ahead:
            raise InputError("there is a JSON array and no row in it.")
        first = self._ahead[0]
        self.header = isinstance(first, dict)
        self.hint: str | None = None if self.header else "ccxt"
        if isinstance(first, dict):
            self.names = list(dict.fromkeys(name for row in self._ahead if isinstance(row, dict) for name in row))
            self.first: list[object] = list(first.values())
        else:
            self.names = [f"column_{place}" for place in range(1, len(first) + 1)]
            self.first = list(first)

    def read(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Yield the columns as numbers or texts.

        Raises
        ------
        InputError
            For rows of different forms, or a cell that is neither a number nor a text.
        """
        every, count = chain(self._ahead, self._rows), 0
        places = [self.names.index(name) for name in columns]
        while batch := list(islice(every, rows)):
            kind = dict if self.header else list
            for place, row in enumerate(batch, count):
                if type(row) is not kind or (not self.header and len(row) != len(self.names)):
                    raise InputError(f"row {place} is not like the first one: {json.dumps(row)[:120]}.")
            if self.header:
                cells = [[row.get(name) for row in batch] for name in columns]
            else:
                cells = [[row[place] for row in batch] for place in places]
            yield pl.DataFrame([_series(name, values, count) for name, values in zip(columns, cells, strict=True)])
            count += len(batch)


def _series(name: str, values: list[Any], offset: int) -> pl.Series:
    kinds = set(map(type, values)) - {type(None)}
    if not kinds <= {int, float, str}:
        place = next(place for place, value in enumerate(values) if type(value) not in (int, float, str, type(None)))
        raise InputError(
            f"{name} is {json.dumps(values[place])[:80]} in row {offset + place}, neither a number nor a text."
        )
    if str in kinds:
        texts = [value if isinstance(value, str) or value is None else repr(value) for value in values]
        return pl.Series(name, texts, pl.String)
    if float in kinds:
        return pl.Series(name, [None if value is None else float(value) for value in values], pl.Float64)
    if any(value is not None and abs(value) >= 2**63 for value in values):
        place = next(place for place, value in enumerate(values) if value is not None and abs(value) >= 2**63)
        raise InputError(f"{name} is {values[place]} in row {offset + place}, which is no time and no price.")
    return pl.Series(name, values, pl.Int64) if kinds else pl.Series(name, values, pl.Null)


def _rows(path: Path) -> Iterator[Any]:
    """Yield the elements of the outer array, or of the lines.

    Raises
    ------
    InputError
        For a text that is not JSON or ends too early.
    """
    decoder = json.JSONDecoder()
    with path.open(encoding="utf-8-sig", newline="") as file:
        text, ended = file.read(_CHUNK), False
        place = _after(text, 0)
        in_array = text[place : place + 1] == "[" and not _is_line_of_cells(text, place)
        place += in_array
        closed, separated, fast = False, True, in_array
        while True:
            place = _after(text, place)
            if place < len(text) and in_array and not closed:
                if text[place] == "]":
                    closed, place = True, place + 1
                    continue
                if text[place] == "," and not separated:
                    separated, place = True, place + 1
                    continue
            if place < len(text):
                if closed:
                    raise InputError(
                        f"something stands behind the end of the JSON array: {text[place : place + 40]!r}."
                    )
                if in_array and not separated:
                    raise InputError(f"a comma is missing before {text[place : place + 40]!r}.")
                many, place = _many(text, place) if fast and separated else ([], place)
                if many:
                    yield from many
                    separated = False
                    continue
                fast = False
                try:
                    row, end = decoder.raw_decode(text, place)
                except json.JSONDecodeError as error:
                    if ended or len(text) - place > _LONGEST_ROW:
                        raise InputError(_broken(text, place, error, ended=ended)) from None
                else:
                    if not isinstance(row, list | dict):
                        raise InputError(f"a row is {str(row)[:40]!r}; rows are JSON arrays or objects.")
                    yield row
                    place, separated = end, False
                    continue
            elif ended:
                break
            more = file.read(_CHUNK)
            text, place, ended, fast = text[place:] + more, 0, not more, in_array
        if in_array and not closed:
            raise InputError("the file is cut off: the JSON array has no end.")


def _many(text: str, place: int) -> tuple[list[Any], int]:
    """Decode all complete rows from a position on at once, or none if that fails: reading by row finds the fault."""
    end = max(text.rfind("],", place), text.rfind("},", place)) + 1
    if end <= place:
        return [], place
    try:
        rows = json.loads(f"[{text[place:end]}]")
    except ValueError:
        return [], place
    return (rows, end) if all(isinstance(row, list | dict) for row in rows) else ([], place)


def _after(text: str, place: int) -> int:
    while place < len(text) and text[place] in _SPACE:
        place += 1
    return place


def _is_line_of_cells(text: str, place: int) -> bool:
    """Return whether the text has ``[ms, o, h, l, c, v]`` on each line, rather than an array of rows."""
    inner = text[_after(text, place + 1) :][:1]
    return inner not in ("[", "{", "]", "")


def _broken(text: str, place: int, error: json.JSONDecodeError, *, ended: bool) -> str:
    if ended and error.pos >= len(text.rstrip()) - 1:
        return f"the file is cut off within a row: {text[place : place + 80]!r}."
    return f"this is no JSON: {error.msg} at {text[error.pos : error.pos + 40]!r}."
