"""Read the sources of an ingest - files, frames of any layout, and records - as frames with the columns of bars."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from walle.bars.check import UNSTORABLE_SYMBOL
from walle.bars.extras import ALL, FurtherColumns
from walle.bars.files import BarReader, Unread, read_bars, read_frame
from walle.bars.files.columns import named
from walle.bars.parse import parse_bars, to_polars
from walle.bars.phase import Series
from walle.calendars import Calendar
from walle.enums import OHLCV
from walle.errors import InputError
from walle.frames import BARS
from walle.options import BarStamp

__all__ = [
    "READ_ROWS",
    "BarOptions",
    "Fingerprint",
    "explain",
    "frames_of",
    "is_files",
    "is_records",
    "open_file",
    "series_of",
]

READ_ROWS = 65_536
"""The number of rows of a file that are in memory at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BarOptions:
    """The caller's arguments about the rows of a source.

    Parameters
    ----------
    symbol, timeframe, timezone : str, optional
    columns : mapping, optional
    stamp : {"open", "close"}
        What the timestamps are.
    calendar : Calendar, optional
        Of symbols that have none.
    extra : tuple of str or "all", optional
        The further columns that are kept.
    """

    symbol: str | None = None
    timeframe: str | None = None
    columns: Mapping[str, str | None] | None = None
    timezone: str | None = None
    stamp: BarStamp = "open"
    calendar: Calendar | None = None
    extra: tuple[str, ...] | str | None = None

    @property
    def further(self) -> FurtherColumns:
        """What is kept of the columns of a source that are no part of a bar."""
        return FurtherColumns(self.extra, self._renamed)

    @property
    def _renamed(self) -> dict[str, str]:
        """Source name to the name of a further column, as ``columns`` says it."""
        given = self.columns if isinstance(self.columns, Mapping) and self.extra is not None else {}
        asked = None if self.extra == ALL else self.extra
        return {
            source: name
            for source, name in given.items()
            if name is not None and name not in BARS and (asked is None or name in asked)
        }

    @property
    def arguments(self) -> dict[str, Any]:
        """The keyword arguments for the readers."""
        given = {name: getattr(self, name) for name in ("symbol", "timeframe", "columns", "timezone")}
        if self._renamed:
            given["columns"] = {name: ours for name, ours in given["columns"].items() if name not in self._renamed}
        return given

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that were passed, as they are stored with an ingest."""
        passed = {name: value for name, value in self.arguments.items() if value}
        if self._renamed:
            passed["columns"] = self.columns
        if self.extra is not None:
            passed["extra"] = self.extra if self.extra == ALL else sorted(self.extra)
        if self.stamp != "open":
            passed["stamp"] = self.stamp
        if self.calendar is not None:
            passed["calendar"] = self.calendar.name
        return {name: dict(value) if isinstance(value, Mapping) else value for name, value in passed.items()}


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The state of a file at one moment.

    Parameters
    ----------
    path : Path
    checksum : str
        SHA-256 of its bytes.
    """

    path: Path
    checksum: str
    _state: tuple[int, int]

    @staticmethod
    def of(path: Path) -> Fingerprint:
        """Take the fingerprint of a file.

        Raises
        ------
        InputError
            If it cannot be read.
        """
        try:
            with path.open("rb") as file:
                state = os.fstat(file.fileno())
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{path}: the file cannot be read: {error.strerror or error}.") from error
        return Fingerprint(path, checksum, (state.st_size, state.st_mtime_ns))

    def check(self) -> None:
        """Raise if the file has changed.

        Raises
        ------
        InputError
            If another program wrote to it meanwhile, so that the rows may come from two versions of the file.
        """
        try:
            state = self.path.stat()
        except OSError:
            state = None
        if state is None or (state.st_size, state.st_mtime_ns) != self._state:
            raise InputError(f"{self.path}: the file was changed while it was read. Ingest it when it is whole.")


def is_files(source: object) -> bool:
    """Return whether a source names files: a path, a pattern, a folder, or a list of those."""
    if isinstance(source, str | os.PathLike):
        return True
    return isinstance(source, list | tuple | set) and any(isinstance(part, str | os.PathLike) for part in source)


def open_file(path: Path, reading: BarOptions, further: FurtherColumns) -> BarReader:
    """Open a file of bars; ``further`` learns what is kept of its further columns.

    Raises
    ------
    InputError
        If it cannot be read as bars.
    """
    return read_bars(path, **reading.arguments, batch_rows=READ_ROWS, further=further)


def frames_of(
    source: object, reading: BarOptions, further: FurtherColumns, opened: Callable[[BarReader], object]
) -> Iterator[pl.DataFrame]:
    """Yield the bars of a frame or of records; call ``opened`` with the reader if the layout has to be recognised.

    Raises
    ------
    InputError
        If the source cannot be read as bars.
    """
    if not _has_levels(source):
        source = to_polars(source)
        if _is_ours(source, reading):
            bars = parse_bars(source, **reading.arguments)
            used = {*BARS, *(reading.arguments["columns"] or {})}
            others = [name for name in source.columns if name not in used]
            yield further.of(bars, source.select(others), further.wanted(others), parse=False)
            return
    with read_frame(source, **reading.arguments, batch_rows=READ_ROWS, further=further) as reader:
        opened(reader)
        yield pl.concat(reader)


def series_of(bars: pl.DataFrame) -> set[Series]:
    """Return the series of the rows, leaving out rows without a timeframe or a storable symbol."""
    changes = pl.struct("symbol", "timeframe").rle_id()  # most sources hold one series, or one after the other
    found = bars.select("symbol", "timeframe").filter(changes != changes.shift(1, fill_value=-1))
    found = found if found.height == 1 else found.unique()
    return set(found.filter(pl.col("timeframe").is_not_null(), ~UNSTORABLE_SYMBOL).iter_rows())


def explain(rejected: pl.DataFrame, unread: Sequence[Unread]) -> pl.DataFrame:
    """Add the text of the unreadable cell to the reasons of refused rows."""
    texts = {cell.row: f"column {cell.column!r} holds {cell.text[:80]!r}" for cell in reversed(unread)}
    found = pl.col("row").replace_strict(texts, default=None, return_dtype=pl.String)
    lacking = pl.col("reason").str.contains(" is missing", literal=True)
    return rejected.with_columns(reason=pl.when(lacking).then(pl.coalesce(found, "reason")).otherwise("reason"))


def is_records(source: object) -> bool:
    """Return whether a source is one ``Bar`` or several, as an engine writes them one by one."""
    framed = isinstance(source, pl.DataFrame | pl.LazyFrame) or hasattr(source, "__arrow_c_stream__")
    return not framed and not _is_pandas(source)


def _is_pandas(source: object) -> bool:
    return type(source).__module__.partition(".")[0] == "pandas"


def _has_levels(source: Any) -> bool:
    return _is_pandas(source) and getattr(getattr(source, "columns", None), "nlevels", 1) > 1


def _is_ours(frame: pl.DataFrame, reading: BarOptions) -> bool:
    """Return whether a frame needs no recognition: it has our columns, perhaps renamed, as instants and numbers."""
    mapping = reading.columns if isinstance(reading.columns, Mapping) else {}
    there = {*frame.columns, *(name for name in mapping.values() if name is not None)}
    there |= {name for name in ("symbol", "timeframe") if getattr(reading, name) is not None}
    there |= {"volume"} if "volume" in mapping else set()
    # what is given is held against a column of another name, too
    roles = {"symbol", "timeframe"}.difference(frame.columns, mapping.values())
    if any(name not in mapping for role in roles for name in named(frame.columns, role)):
        return False
    texts = [name for name in OHLCV if frame.schema.get(name) == pl.String]
    time = frame.schema.get("timestamp", pl.Date())
    return set(BARS) <= there and not texts and (time.is_temporal() or time == pl.Null)
