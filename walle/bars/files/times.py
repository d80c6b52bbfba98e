"""Read a column of times: epochs, dates, and texts in common formats; a file has one format."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import polars as pl

from walle.bars.files.clock import ZONE, Shape, day_month, shape_of
from walle.bars.files.epoch import EpochReader
from walle.errors import InputError

__all__ = ["TimeReader", "Times"]

_DIGITS = re.compile(r"[+-]?\d+(\.0*)?")
_ZONE = rf"{ZONE}$"
_LOOK_AT = 1000


@dataclass(frozen=True, slots=True)
class Times:
    """A batch of times.

    Parameters
    ----------
    instants : polars.Series
        Aware times if the source gives their zone, else naive times; or dates.
    wall : polars.Series
        The times on the source's own clock, as naive microseconds.
    unread : list of int
        Rows of the batch whose text is not a time; they are null.
    """

    instants: pl.Series
    wall: pl.Series
    unread: list[int]


class TimeReader:
    """Reads the batches of one time column, all in the format of the first.

    Parameters
    ----------
    label : str
        The name of the column in messages.
    utc : bool
        Whether the name of the column says that naive times are UTC.
    """

    def __init__(self, label: str, *, utc: bool) -> None:
        self.encoding = ""
        self._label, self._utc = label, utc
        self._epochs: EpochReader | None = None
        self._shape: Shape | None = None
        self._example: tuple[int, str] | None = None

    @property
    def label(self) -> str:
        """The name of the column in messages."""
        return self._label

    def read(self, values: pl.Series, offset: int) -> Times:
        """Read a batch whose first row is row ``offset`` of the source.

        Raises
        ------
        InputError
            For a format other than that of the first batch, several formats, an ambiguous format, or times finer than a
            microsecond.
        """
        kind = values.dtype
        if isinstance(kind, pl.Categorical | pl.Enum):
            values, kind = values.cast(pl.String), pl.String()
        if kind == pl.Null or values.null_count() == values.len():
            empty = pl.Series(values.name, [None] * values.len(), pl.Datetime("us"))
            return Times(empty.dt.replace_time_zone("UTC"), empty, [])
        if kind.is_float():
            values = self._whole(values, offset)
            kind = values.dtype
        if kind.is_integer():
            return self._numbers(values.cast(pl.Int64), [], offset)
        if isinstance(kind, pl.Date):
            self.encoding = self.encoding or "dates"
            return Times(values, values.cast(pl.Datetime("us")), [])
        if isinstance(kind, pl.Datetime):
            return self._typed(values, kind, offset)
        if kind == pl.String:
            return self._texts(values.str.strip_chars().replace("", None), offset)
        raise InputError(f"column {self._label} is {kind}; times are numbers since 1970, texts, dates or datetimes.")

    def _whole(self, values: pl.Series, offset: int) -> pl.Series:
        values = values.fill_nan(None)
        broken = (values != values.floor()).fill_null(False) | (values.abs() > 2.0**63 - 1024).fill_null(False)
        if broken.any():
            place = broken.arg_true()[0]
            raise InputError(
                f"column {self._label} holds {values[place]!r} (row {offset + place}), which is no whole number."
            )
        return values.cast(pl.Int64)

    def _numbers(self, values: pl.Series, unread: list[int], offset: int) -> Times:
        if self._shape is not None:
            assert self._example is not None
            place = int(values.is_not_null().arg_true()[0])
            raise self._mixed(self._example[0], self._example[1], offset + place, str(values[place]))
        if self._epochs is None:
            self._epochs = EpochReader(self._label)
        naive = self._epochs.read(values, offset)
        self.encoding = self._epochs.encoding
        if isinstance(naive.dtype, pl.Date):
            return Times(naive, naive.cast(pl.Datetime("us")), unread)
        instants = naive.dt.replace_time_zone("UTC") if self._epochs.is_epoch or self._utc else naive
        return Times(instants, naive, unread)

    def _typed(self, values: pl.Series, kind: pl.Datetime, offset: int) -> Times:
        self.encoding = self.encoding or (f"datetimes in {kind.time_zone}" if kind.time_zone else "datetimes")
        exact = self._to_microseconds(values, offset)
        if kind.time_zone is None:
            return Times(exact.dt.replace_time_zone("UTC") if self._utc else exact, exact, [])
        return Times(exact, exact.dt.replace_time_zone(None), [])

    def _to_microseconds(self, values: pl.Series, offset: int) -> pl.Series:
        if isinstance(values.dtype, pl.Datetime) and values.dtype.time_unit == "ns":
            finer = (values.to_physical() % 1000 != 0).fill_null(False)
            if finer.any():
                place = finer.arg_true()[0]
                raise InputError(
                    f"column {self._label} holds times finer than a microsecond (row {offset + place}: "
                    f"{values[place]}), which are never rounded silently."
                )
        if isinstance(values.dtype, pl.Datetime) and values.dtype.time_unit == "ms":
            beyond = (values.to_physical().abs() > 253_402_300_799_999).fill_null(False)
            if beyond.any():
                raise InputError(f"column {self._label} holds times outside the years 1 to 9999.")
        return values.dt.cast_time_unit("us")

    def _texts(self, texts: pl.Series, offset: int) -> Times:
        present = texts.is_not_null()
        if not present.any():
            empty = pl.Series(texts.name, [None] * texts.len(), pl.Datetime("us"))
            return Times(empty.dt.replace_time_zone("UTC"), empty, [])
        place = int(present.arg_true()[0])
        first = str(texts[place])
        if self._epochs is not None or (self._shape is None and _DIGITS.fullmatch(first)):
            return self._digits(texts, offset, offset + place, first)
        if self._shape is None:
            shape = shape_of(first)
            if shape is None:
                raise InputError(
                    f"column {self._label} holds {first!r} (row {offset + place}), which is no time of a known form. "
                    "Known: 2024-01-31T09:30:00Z, 2024-01-31 09:30:00+00:00, 2024/01/31 09:30, 20240131 093000, "
                    "31.01.2024 09:30:00, 2024-01-31, and seconds to nanoseconds since 1970."
                )
            if shape.order_open:
                shape = day_month(texts, shape, self._label, offset)
            self._shape, self._example = shape, (offset + place, first)
            zone = "with zone" if shape.zone else "in UTC by its name" if self._utc else "without zone"
            self.encoding = f"text {shape.words}" + (f" {zone}" if shape.clock else "")
        return self._shaped(texts, self._shape, offset)

    def _digits(self, texts: pl.Series, offset: int, row: int, first: str) -> Times:
        numbers = texts.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False)
        bad = (numbers.is_null() & texts.is_not_null()).arg_true().to_list()
        if numbers.null_count() == numbers.len():
            raise InputError(f"column {self._label} holds {first!r} (row {row}), which is no time.")
        for place in bad[:_LOOK_AT]:
            if shape_of(texts[place]) is not None or re.fullmatch(r"[+-]?\d[\d.]*(e[+-]?\d+)?", texts[place], re.I):
                raise self._mixed(row, first, offset + place, texts[place])
        return self._numbers(numbers, bad, offset)

    def _shaped(self, texts: pl.Series, shape: Shape, offset: int) -> Times:
        base, shift = (_split_zone(texts)) if shape.zone else (texts, None)
        if shape.clock is None:
            naive: pl.Series = base.str.to_date(shape.format, strict=False)
        else:
            fraction = shape.fraction and bool(base.str.contains(".", literal=True).any())
            unit: Literal["ns", "us"] = "ns" if fraction and bool(base.str.contains(r"\.\d{7,}$").any()) else "us"
            # Polars parses times without fractions four times as fast
            form = shape.format if fraction else shape.format.replace("%.f", "")
            naive = base.str.to_datetime(form, time_unit=unit, strict=False)
            naive = self._to_microseconds(naive, offset)
            if shape.seconds:  # chrono reads a leap second as the first second of the next minute
                naive = naive.set(base.str.contains(":60", literal=True).fill_null(False), None)
        naive = naive.set((naive.dt.year() < 1000).fill_null(False), None)  # %Y reads two digits as the year 24
        unread = (naive.is_null() & texts.is_not_null()).arg_true().to_list()
        self._held_to(shape, texts, unread, offset)
        if shape.clock is None:
            return Times(naive, naive.cast(pl.Datetime("us")), unread)
        if shift is not None:
            return Times((naive - shift).dt.replace_time_zone("UTC"), naive, unread)
        return Times(naive.dt.replace_time_zone("UTC") if self._utc else naive, naive, unread)

    def _held_to(self, shape: Shape, texts: pl.Series, unread: list[int], offset: int) -> None:
        for place in unread[:_LOOK_AT]:
            other = shape_of(texts[place])
            if _DIGITS.fullmatch(texts[place]) or (other is not None and (other.key != shape.key or shape.ordered)):
                assert self._example is not None
                raise self._mixed(*self._example, offset + place, texts[place])

    def _mixed(self, row: int, text: str, other_row: int, other: str) -> InputError:
        return InputError(
            f"column {self._label} holds times of different forms: {text!r} (row {row}) and {other!r} "
            f"(row {other_row}). Write them all in one form."
        )


def _split_zone(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    first = str(texts.drop_nulls()[0])
    found = re.search(_ZONE, first)
    suffix = found[0] if found else ""
    if suffix and texts.str.ends_with(suffix).all():  # if all are in one zone, this is far faster than a pattern
        shift = pl.Series([_offset(suffix)], dtype=pl.Duration("us")).new_from_index(0, texts.len())
        return texts.str.strip_suffix(suffix), shift
    zones = texts.str.extract(f"({_ZONE})")
    known = {zone: _offset(zone) for zone in zones.unique().drop_nulls().to_list()}
    shift = zones.replace_strict(known, return_dtype=pl.Duration("us"), default=None)
    # a text without a zone, among others with one, stays as it is, so that the format refuses it
    base = texts.to_frame("text").select(
        pl.when(zones.is_not_null()).then(pl.col("text").str.replace(_ZONE, "")).otherwise(pl.lit("no zone"))
    )
    return base.to_series(), shift


def _offset(zone: str) -> timedelta:
    text = zone.strip().removeprefix("GMT").removeprefix("UTC").replace(":", "")
    if text in ("", "Z"):
        return timedelta(0)
    sign = -1 if text[0] == "-" else 1
    return sign * timedelta(hours=int(text[1:3]), minutes=int(text[3:5] or 0))
