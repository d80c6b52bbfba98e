"""Convert tables of other libraries to Polars frames."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import polars as pl

from walle.errors import InputError
from walle.forks import check_polars

__all__ = ["REACH", "beyond_years", "bought", "foreign", "frame_of", "renamed", "within_reach"]

REACH = 20_000 * 31_557_600
"""Seconds from 1970: far outside the years 1 to 9999, and well inside the range that Polars can convert to dates."""

_FIRST, _LAST = -62_135_596_800, 253_402_300_799


@contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turn a panic of Polars, which is not an ``Exception``, into an error about the input.

    Raises
    ------
    InputError
        With the name of the input.
    """
    try:
        yield
    except pl.exceptions.PanicException as error:
        reason = str(error).splitlines()[0][:200] if str(error) else "a panic"
        raise InputError(f"{what} cannot be read: Polars gave up on its values ({reason}).") from error


def within_reach(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a foreign frame with times that Polars can convert to dates: it panics beyond the year 262142.

    Times more than 20,000 years from 1970 are moved to that distance, where they are refused like all times outside the
    years 1 to 9999.
    """
    far = [values.name for values in frame if _outside(values, -REACH, REACH)]
    return frame.with_columns(_clipped(frame[name]) for name in far) if far else frame


def beyond_years(values: pl.Series) -> bool:
    """Return whether a time in a column lies outside the years 1 to 9999 in UTC, without converting it to a date."""
    return _outside(values, _FIRST, _LAST)


def _outside(values: pl.Series, first: int, last: int) -> bool:
    least, most = _ends(values.dtype, first, last)
    if most is None:
        return False
    counts = values.to_physical()
    low, high = counts.min(), counts.max()
    return isinstance(low, int) and isinstance(high, int) and (low < least or high > most)


def _clipped(values: pl.Series) -> pl.Series:
    return values.to_physical().clip(*_ends(values.dtype, -REACH, REACH)).cast(values.dtype)


def _ends(kind: pl.DataType, first: int, last: int) -> tuple[int, int | None]:
    """Return two instants in seconds in the unit of a column of times; other columns have no upper end."""
    if isinstance(kind, pl.Date):
        return first // 86_400, last // 86_400
    if not isinstance(kind, pl.Datetime) or kind.time_unit == "ns":  # nanoseconds end in 2262
        return 0, None
    unit = 1_000_000 if kind.time_unit == "us" else 1_000
    return first * unit, last * unit + unit - 1


def frame_of(source: object, noun: str) -> pl.DataFrame | None:
    """Return a Polars, pandas or Arrow frame as a Polars frame, sharing its memory where that is possible.

    Parameters
    ----------
    source : object
    noun : str
        The name of a row in messages.

    Returns
    -------
    polars.DataFrame or None
        None if the source is not a frame. A named index of pandas, or one of times, becomes a column.

    Raises
    ------
    InputError
        For a pandas object that is not a plain table.
    """
    check_polars()
    with foreign(f"the frame of {noun}"):
        frame = _frame_of(source, noun)
        return None if frame is None else within_reach(frame)


def _frame_of(source: object, noun: str) -> pl.DataFrame | None:
    if isinstance(source, pl.DataFrame):
        return source
    if isinstance(source, pl.LazyFrame):
        return source.collect()
    if type(source).__module__.partition(".")[0] == "pandas":
        return _from_pandas(source, noun)
    if hasattr(source, "__arrow_c_stream__") or hasattr(source, "__arrow_c_array__"):
        return pl.DataFrame(source)  # type: ignore[arg-type]  # it has Arrow's protocol
    return None


def _from_pandas(source: Any, noun: str) -> pl.DataFrame:
    if not hasattr(source, "columns"):
        raise InputError(f"{noun} come as a pandas DataFrame, not as a Series or an Index.")
    index = source.index
    if index.name is not None or type(index).__name__ == "DatetimeIndex":
        name = index.name or "timestamp"
        source = source.rename_axis(index=name).reset_index()
    if getattr(source.columns, "nlevels", 1) > 1:
        raise InputError(
            "the pandas frame has columns of several levels; select one symbol's: frame.xs('SYMBOL', axis=1, level=1)."
        )
    try:
        return pl.from_pandas(source)
    except (ValueError, TypeError) as error:  # columns of mixed types, or two with the same name
        raise InputError(f"the pandas frame cannot be read in columns: {error}") from error


def bought(rows: pl.DataFrame, noun: str = "fill") -> pl.Series:
    """Return whether each fill or order is a purchase; another program may have written a side of its own.

    Raises
    ------
    InputError
        For a side that is neither buy nor sell; the message names the first such row.
    """
    sides = rows["side"]
    other = sides.is_null() | ~sides.is_in(["buy", "sell"])
    if other.any():
        odd = rows.filter(other)
        raise InputError(
            f"{noun} {odd['id'][0]!r} has the side {odd['side'][0]!r}, so nothing can be reckoned from it: allowed are "
            f"'buy' and 'sell'. {odd.height:,} of {rows.height:,} {noun}s have another one. Read other runs alone "
            "(run_id=...), or leave these out: walle.fills has the same reckonings for frames."
        )
    return sides == "buy"


def renamed(frame: pl.DataFrame, columns: Mapping[str, str | None], allowed: Sequence[str]) -> pl.DataFrame:
    """Rename columns of a source; a column that takes the name of another one replaces it.

    Parameters
    ----------
    frame : polars.DataFrame
    columns : mapping
        Source name to our name; None keeps the name of a column.
    allowed : sequence of str
        Our names.

    Raises
    ------
    InputError
        For a column that the source does not have, a name that is not ours, or the same name for two columns.
    """
    for source_name, name in columns.items():
        if source_name not in frame.columns:
            raise InputError(
                f"columns names {source_name!r}, which the source does not have. It has: {', '.join(frame.columns)}."
            )
        if name not in allowed:
            raise InputError(f"columns maps {source_name!r} to {name!r}; allowed are {', '.join(allowed)}.")
    targets = [name for name in columns.values() if name is not None]
    if len(set(targets)) != len(targets):
        raise InputError(f"columns maps two source columns to one name: {dict(columns)}.")
    frame = frame.drop([name for name in targets if name in frame.columns and name not in columns])
    return frame.rename({key: name for key, name in columns.items() if name is not None})
