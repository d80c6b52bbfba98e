"""Tables of other libraries as Polars frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from walle.errors import InputError

__all__ = ["frame_of", "renamed"]


def frame_of(source: object, noun: str) -> pl.DataFrame | None:
    """Return a Polars, pandas or Arrow frame as a Polars frame, sharing its memory where that is possible.

    Parameters
    ----------
    source : object
    noun : str
        What the rows are, for messages.

    Returns
    -------
    polars.DataFrame or None
        None when the source is no frame. A named index of pandas, or one of times, becomes a column.

    Raises
    ------
    InputError
        For a pandas object that is no plain table.
    """
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
    except (ValueError, TypeError) as error:  # columns of mixed types, or two of one name
        raise InputError(f"the pandas frame cannot be read in columns: {error}") from error


def renamed(frame: pl.DataFrame, columns: Mapping[str, str | None], allowed: Sequence[str]) -> pl.DataFrame:
    """Rename columns of a source; one that takes the name of another replaces it.

    Parameters
    ----------
    frame : polars.DataFrame
    columns : mapping
        Source name to our name; None leaves a column as it is called.
    allowed : sequence of str
        Our names.

    Raises
    ------
    InputError
        For a column that the source does not have, a name that is not ours, or one name for two columns.
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
