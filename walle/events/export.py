"""Events as files: CSV that no spreadsheet runs, JSON lines, Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import polars as pl

from walle.errors import InputError

__all__ = ["FORMATS", "exported", "format_of"]

_ACTIVE = r"^(?:[\t\r]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])"  # the last four are wide forms of = + - @


def _csv(frame: pl.DataFrame) -> bytes:
    text = pl.selectors.string()
    guarded = pl.when(text.str.contains(_ACTIVE)).then(pl.lit("'") + text).otherwise(text)
    safe = frame.with_columns(guarded.name.keep())
    return safe.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.6fZ").encode()


def _json_lines(frame: pl.DataFrame) -> bytes:
    times = pl.selectors.datetime().dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    return frame.with_columns(times).write_ndjson().encode()


def _parquet(frame: pl.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()


FORMATS: dict[str, Callable[[pl.DataFrame], bytes]] = {"csv": _csv, "jsonl": _json_lines, "parquet": _parquet}


def exported(frame: pl.DataFrame, format: str) -> bytes:
    """Return a frame as the bytes of a file.

    Parameters
    ----------
    frame : polars.DataFrame
    format : str
        ``csv``: a text that a spreadsheet would take for a formula (it begins with = + - @, also after spaces, or with
        a tab or a return) gets an apostrophe in front; ``jsonl``: an object a line; ``parquet``.

    Raises
    ------
    InputError
        For another format.
    """
    if format not in FORMATS:
        raise InputError(f"format={format!r}: allowed are {', '.join(FORMATS)}.")
    return FORMATS[format](frame)


def format_of(path: Path) -> str:
    """Return the format that the name of a file says.

    Raises
    ------
    InputError
        When it says none.
    """
    format = path.suffix.lower().lstrip(".")
    if format not in FORMATS:
        raise InputError(f"{path}: its name ends with none of {', '.join(f'.{name}' for name in FORMATS)}.")
    return format
