"""Read whole numbers beside a column of dates as times of day: 930 is 09:30, and 93000 is 09:30:00."""

from __future__ import annotations

import polars as pl

from walle.errors import InputError

__all__ = ["ClockNumbers"]

_LAST_MINUTE = 2359
_DIGITS = r"^\d{1,6}$"


class ClockNumbers:
    """Reads the batches of one column of times of day; the first one decides whether seconds are written.

    Parameters
    ----------
    label : str
        The name of the column in messages.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._width = 0

    def texts(self, values: pl.Series, offset: int) -> pl.Series:
        """Return a batch, whose first row is row ``offset`` of the source, as texts; other texts stay as they are.

        Raises
        ------
        InputError
            If all numbers are below 60: they may be hours, minutes past midnight, or count the rows of a day.
        """
        numbers = self._numbers(values)
        if numbers is None:
            return values.cast(pl.String).str.strip_chars()
        if not self._width:
            high = numbers.max()
            if not isinstance(high, int):
                return values.cast(pl.String)
            if 0 < high < 60:
                row = int((numbers == high).fill_null(False).arg_true()[0])
                raise InputError(
                    f"column {self._label} holds whole numbers up to {high} (row {offset + row}), which may be hours, "
                    "minutes past midnight, or a count. Write times of day as 09:30, as 930 or as 93000."
                )
            self._width = 6 if high > _LAST_MINUTE else 4
        return numbers.cast(pl.String).str.zfill(self._width)

    def _numbers(self, values: pl.Series) -> pl.Series | None:
        """Return whole numbers that have lost their leading zeros, or None for anything else."""
        if values.dtype.is_integer():
            return values.cast(pl.Int64)
        if values.dtype.is_float():
            whole = values.fill_nan(None)
            return whole.cast(pl.Int64) if ((whole == whole.floor()) & (whole.abs() < 1e6)).all() else None
        if values.dtype != pl.String:
            return None
        texts = values.str.strip_chars().replace("", None)
        if texts.null_count() == texts.len() or not texts.str.contains(_DIGITS).all():
            return None
        lengths = texts.str.len_chars().unique().drop_nulls().to_list()
        if lengths in ([4], [6]) and self._width in (0, *lengths):
            return None  # 0930 and 093000 as they are
        return texts.cast(pl.Int64)
