"""Read whole numbers as times: counts since 1970, whose unit their size reveals, or dates written as digits."""

from __future__ import annotations

import polars as pl

from walle.errors import InputError
from walle.interop import REACH

__all__ = ["EpochReader"]

# the years 1973 to 2100 in each unit; the ranges do not overlap, so that a number fits at most one unit
_UNITS = {
    "s": (100_000_000, 4_102_444_800),
    "ms": (100_000_000_000, 4_102_444_800_000),
    "us": (100_000_000_000_000, 4_102_444_800_000_000),
    "ns": (100_000_000_000_000_000, 4_102_444_800_000_000_000),
}
_DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}


class EpochReader:
    """Reads the batches of one column of whole numbers.

    Parameters
    ----------
    label : str
        The name of the column in messages.
    """

    def __init__(self, label: str) -> None:
        self.encoding = ""
        self.is_epoch = True
        self._label = label
        self._unit = ""
        self._format = ""

    def read(self, values: pl.Series, offset: int) -> pl.Series:
        """Return naive times (UTC for an epoch) or dates.

        Raises
        ------
        InputError
            If the unit is unclear or changes within the column, or a time is finer than a microsecond.
        """
        if not self._unit and not self._format:
            self._decide(values, offset)
        if self._format:
            return self._written(values, offset)
        low, high = _UNITS[self._unit]
        if self._unit == "s":
            values = _without_lone_zero(values)
        # seconds may lie before 1973, since no other unit has such small numbers
        outside = (values > high) | (values < (-high if self._unit == "s" else low))
        if outside.fill_null(False).any():
            place = int(outside.fill_null(False).arg_true()[0])
            good = (~outside).fill_null(False).arg_true()
            other = f", beside {values[int(good[0])]} (row {offset + int(good[0])})" if good.len() else ""
            raise InputError(
                f"column {self._label} counts {self._unit} since 1970, but {values[place]} (row {offset + place}) is "
                f"no such number{other}. Write them all in one unit."
            )
        if self._unit == "ns":
            finer = (values % 1000 != 0).fill_null(False)
            if finer.any():
                place = int(finer.arg_true()[0])
                raise InputError(
                    f"column {self._label} holds times finer than a microsecond (row {offset + place}: "
                    f"{values[place]} ns), which are never rounded silently."
                )
            return (values // 1000).cast(pl.Datetime("us"))
        factor = {"s": 1_000_000, "ms": 1000, "us": 1}[self._unit]
        most = REACH * 1_000_000 // factor  # a product beyond 64 bits would wrap around to another time
        return (values.clip(-most, most) * factor).cast(pl.Datetime("us"))

    def _decide(self, values: pl.Series, offset: int) -> None:
        whole = values.drop_nulls()
        if whole.is_empty():
            raise InputError(f"column {self._label} holds no time that can be read.")
        low, high = int(whole.min()), int(whole.max())  # type: ignore[arg-type]  # integers
        digits = len(str(high))
        written = digits in _DIGITS and len(str(low)) == digits and self._parses(values, _DIGITS[digits])
        unit = next((name for name, (least, most) in _UNITS.items() if least <= high <= most), None)
        if written and unit is None:
            self._format, self.is_epoch = _DIGITS[digits], False
            self.encoding = f"numbers {self._format}"
            return
        if unit is None or written:
            both = f" It could be {unit} since 1970, or {_DIGITS[digits]}." if written else ""
            raise InputError(
                f"column {self._label} holds {values.drop_nulls()[0]}: the unit cannot be told by its size.{both} "
                "Known are counts of s, ms, us or ns since 1970 (from 1973 to 2100), 20240131 and 20240131093000; "
                "write another one as 2024-01-31T09:30:00Z."
            )
        self._unit, self.encoding = unit, f"{unit} since 1970"

    def _parses(self, values: pl.Series, form: str) -> bool:
        parsed = self._parse(values, form)
        years = parsed.dt.year()
        return parsed.null_count() == values.null_count() and bool(years.is_between(1900, 2100).all())

    def _parse(self, values: pl.Series, form: str) -> pl.Series:
        texts = values.cast(pl.String)
        if form == "%Y%m%d":
            return texts.str.to_date(form, strict=False)
        return texts.str.to_datetime(form, time_unit="us", strict=False)

    def _written(self, values: pl.Series, offset: int) -> pl.Series:
        parsed = self._parse(values, self._format)
        bad = (parsed.is_null() & values.is_not_null()).arg_true()
        if bad.len():
            place = int(bad[0])
            raise InputError(
                f"column {self._label} holds {values[place]} (row {offset + place}), which is no {self._format} "
                "like the rows before it."
            )
        return parsed


def _without_lone_zero(values: pl.Series) -> pl.Series:
    """Return seconds with null for 0, which stands for no time beside others that are all after 1973."""
    zero = (values == 0).fill_null(False)
    if not zero.any() or ((values < _UNITS["s"][0]) & ~zero).any():
        return values
    return values.set(zero, None)
