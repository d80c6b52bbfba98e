"""Read whole numbers beside a column of dates as times of day: 930 is 09:30, and 93000 is 09:30:00."""

from __future__ import annotations

import polars as pl

from walle.errors import InputError

__all__ = ["ClockNumbers"]

_LAST_MINUTE = 2359
_HOUR = 3_600
_DIGITS = r"^\d{1,6}(\.0*)?$"


class ClockNumbers:
    """Reads the batches of one column of times of day; the first one decides whether seconds are written.

    Parameters
    ----------
    label : str
        The name of the column in messages.
    step : int, optional
        The length of a bar in seconds, if it is known.
    """

    def __init__(self, label: str, step: int | None = None) -> None:
        self._label, self._step = label, step
        self._width = 0

    def texts(self, values: pl.Series, offset: int) -> pl.Series:
        """Return a batch, whose first row is row ``offset`` of the source, as texts; other texts stay as they are.

        Raises
        ------
        InputError
            If all numbers are below 60: they may be hours, minutes past midnight, or count the rows of a day. Also if
            they are hours without minutes, or else minutes, of bars that are shorter than an hour.
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
            self._refuse_hours_of_shorter_bars(numbers, offset)
        return numbers.cast(pl.String).str.zfill(self._width)

    def _refuse_hours_of_shorter_bars(self, numbers: pl.Series, offset: int) -> None:
        """Raise if 500 may be 05:00, or as well 00:05:00: bars of 5 minutes lie at both.

        Raises
        ------
        InputError
        """
        step = self._step or _HOUR
        if self._width == 6 or step >= _HOUR or not numbers.max() or (numbers % 100 != 0).any():
            return
        if (numbers // 100 * 60 % step == 0).all():
            row = int((numbers != 0).fill_null(False).arg_true()[0])
            number = int(numbers[row])
            raise InputError(
                f"column {self._label} holds {number} (row {offset + row}) and only such numbers: "
                f"{number // 100:02d}:00, or 00:{number // 100:02d}:00? Write times of day as 09:30 or 09:30:00."
            )

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
        floats = texts.str.contains(".", literal=True).any()
        texts = texts.str.replace(r"\.0*$", "")
        if not floats and lengths in ([4], [6]) and self._width in (0, *lengths):
            return None  # 0930 and 093000 as they are
        return texts.cast(pl.Int64)
