"""Convert the exact decimals of a frame: to floats for charts and numpy, to texts for display and export."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from walle.errors import InputError

__all__ = ["to_float", "trim_zeros", "trimmed_text"]


def to_float(frame: pl.DataFrame, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Return a frame with its decimals as Float64, for charts and numpy.

    Parameters
    ----------
    frame : polars.DataFrame
    columns : sequence of str, optional
        Only these; all decimal columns by default.

    Returns
    -------
    polars.DataFrame
        The same rows and columns; each Decimal is the nearest float64.

    Raises
    ------
    InputError
        For a column that the frame does not have.

    Examples
    --------
    >>> from decimal import Decimal
    >>> to_float(pl.DataFrame({"price": [Decimal("1.25")]})).item()
    1.25
    """
    unknown = [name for name in columns or () if name not in frame.columns]
    if unknown:
        raise InputError(f"the frame has no column {unknown[0]!r}; it has: {', '.join(frame.columns)}.")
    chosen = [
        name
        for name, kind in frame.schema.items()
        if isinstance(kind, pl.Decimal) and (columns is None or name in columns)
    ]
    # cast by way of text: Polars divides a 128-bit integer as a float and loses the last digit
    return frame.with_columns(pl.col(chosen).cast(pl.String).cast(pl.Float64)) if chosen else frame


def trim_zeros(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a frame with its decimals as text without trailing zeros, for display and export.

    Parameters
    ----------
    frame : polars.DataFrame

    Returns
    -------
    polars.DataFrame
        The same rows and columns; each Decimal is an exact text.

    Examples
    --------
    >>> from decimal import Decimal
    >>> trim_zeros(pl.DataFrame({"price": [Decimal("1.2500")]})).item()
    '1.25'
    """
    chosen = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Decimal)]
    return frame.with_columns(trimmed_text(pl.col(name)) for name in chosen)


def trimmed_text(values: pl.Expr) -> pl.Expr:
    """Write decimals as text without trailing zeros."""
    text = values.cast(pl.String)
    return (
        pl.when(text.str.contains(".", literal=True))
        .then(text.str.strip_chars_end("0").str.strip_chars_end("."))
        .otherwise(text)
    )
