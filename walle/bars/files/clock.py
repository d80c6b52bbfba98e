"""The formats in which texts write a time, and how to tell them apart."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import polars as pl

from walle.errors import InputError

__all__ = ["ZONE", "Shape", "day_month", "shape_of"]

_DATES: tuple[tuple[str, str, str], ...] = (
    ("Y-M-D", r"\d{4}-\d{1,2}-\d{1,2}", "%Y-%m-%d"),
    ("Y/M/D", r"\d{4}/\d{1,2}/\d{1,2}", "%Y/%m/%d"),
    ("Y.M.D", r"\d{4}\.\d{1,2}\.\d{1,2}", "%Y.%m.%d"),
    ("YMD", r"\d{8}", "%Y%m%d"),
    # everyone who writes dates with dots puts the day first (Dukascopy, MetaTrader, the German convention)
    ("D.M.Y", r"\d{1,2}\.\d{1,2}\.\d{4}", "%d.%m.%Y"),
    ("D/M/Y or M/D/Y", r"\d{1,2}/\d{1,2}/\d{4}", ""),
    ("D-M-Y or M-D-Y", r"\d{1,2}-\d{1,2}-\d{4}", ""),
    ("D-Mon-Y", r"\d{1,2}-[A-Za-z]{3}-\d{4}", "%d-%b-%Y"),
    ("D Mon Y", r"\d{1,2} [A-Za-z]{3} \d{4}", "%d %b %Y"),
    ("Mon D, Y", r"[A-Za-z]{3} \d{1,2}, \d{4}", "%b %d, %Y"),
)
_CLOCKS: tuple[tuple[str, str, str], ...] = (
    ("h:m:s", r"\d{1,2}:\d{2}:\d{2}(?:\.\d+)?", "%H:%M:%S%.f"),
    ("h:m", r"\d{1,2}:\d{2}", "%H:%M"),
    ("hms", r"\d{6}", "%H%M%S"),
    ("hm", r"\d{4}", "%H%M"),
    ("h:m:s am", r"\d{1,2}:\d{2}:\d{2} ?[AaPp][Mm]", "%I:%M:%S %p"),
    ("h:m am", r"\d{1,2}:\d{2} ?[AaPp][Mm]", "%I:%M %p"),
)
ZONE = r"\s*(?:Z|UTC|(?:GMT)?[+-]\d{2}:?\d{2}|(?:GMT)?[+-]\d{2}|GMT)"
_PATTERN = re.compile(
    "(?:"
    + "|".join(f"(?P<d{index}>{pattern})" for index, (_, pattern, _) in enumerate(_DATES))
    + r")(?:(?P<separator>[T ]|, )(?:"
    + "|".join(f"(?P<c{index}>{pattern})" for index, (_, pattern, _) in enumerate(_CLOCKS))
    + rf")(?P<zone>{ZONE})?)?"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """One format of times.

    Parameters
    ----------
    date, clock : str
        The form of the date, and of the time of day (None for a date alone).
    separator : str
        The characters between them.
    zone : bool
        Whether a zone or an offset follows.
    format : str
        The format for ``strptime``, without the zone; empty while the order of day and month is undecided.
    ordered : bool
        Whether the values decided the order of day and month.
    """

    date: str
    clock: str | None
    separator: str
    zone: bool
    format: str
    ordered: bool = False

    @property
    def key(self) -> tuple[str, str | None, str, bool]:
        """The key that all texts of the same form share."""
        return self.date, self.clock, self.separator, self.zone

    @property
    def order_open(self) -> bool:
        """Whether the day or the month may come first."""
        return " or " in self.date and not self.ordered

    @property
    def fraction(self) -> bool:
        """Whether fractions of a second may follow."""
        return self.clock == "h:m:s"

    @property
    def seconds(self) -> bool:
        """Whether seconds are written."""
        return self.clock is not None and self.clock.startswith("h:m:s")

    @property
    def words(self) -> str:
        """The format, as messages show it."""
        return self.format.replace("%.f", "")


def shape_of(text: str) -> Shape | None:
    """Return the format of a text, or None if it is not a time in a known format.

    Examples
    --------
    >>> shape_of("20240131 093000").format, shape_of("=1+1")
    ('%Y%m%d %H%M%S', None)
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        return None
    date, _, date_format = next(form for index, form in enumerate(_DATES) if found[f"d{index}"] is not None)
    clocks = [form for index, form in enumerate(_CLOCKS) if found[f"c{index}"] is not None]
    if not clocks:
        return Shape(date, None, "", False, date_format)
    clock, _, clock_format = clocks[0]
    if clock.endswith(" am") and " " not in text[-3:]:
        clock, clock_format = f"{clock} joined", clock_format.replace(" %p", "%p")
    separator = found["separator"]
    return Shape(date, clock, separator, found["zone"] is not None, f"{date_format}{separator}{clock_format}")


def day_month(texts: pl.Series, shape: Shape, label: str, offset: int) -> Shape:
    """Decide whether the day or the month comes first: a number above 12 is a day.

    Raises
    ------
    InputError
        If no number is above 12, or numbers in both places are.
    """
    mark = shape.date[1]
    first = texts.str.extract(rf"^(\d+){mark}").cast(pl.Int64, strict=False)
    second = texts.str.extract(rf"^\d+{mark}(\d+){mark}").cast(pl.Int64, strict=False)
    day_first = (first > 12).fill_null(False).arg_true()
    month_first = (second > 12).fill_null(False).arg_true()
    if day_first.len() and month_first.len():
        one, two = int(day_first[0]), int(month_first[0])
        raise InputError(
            f"column {label} holds times of different forms: {texts[one]!r} (row {offset + one}) has the day first, "
            f"{texts[two]!r} (row {offset + two}) the month. Write them all in one form."
        )
    if not day_first.len() and not month_first.len():
        raise InputError(
            f"column {label} holds {texts.drop_nulls()[0]!r}: day or month first? No row tells. "
            "Write 2024-01-31, or parse it and ingest the frame: pl.col(...).str.to_datetime('%m/%d/%Y %H:%M')."
        )
    order = f"%d{mark}%m{mark}%Y" if day_first.len() else f"%m{mark}%d{mark}%Y"
    return replace(shape, format=order + shape.format, ordered=True)
