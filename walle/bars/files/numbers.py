"""Read a column of prices or volumes, as numbers or as plain decimals in text."""

from __future__ import annotations

import re

import polars as pl

from walle.errors import InputError

__all__ = ["read_fixed", "read_numbers"]

_GROUPED = re.compile(r"[+-]?\D{0,3}\d[\d,.'_\s\u2019]*[,'_\s\u2019][\d,.'_\s\u2019]*")
_ABSENT = ["", "-", "NA", "N/A", "n/a", "nan", "NaN", "null", "NULL", "None", "<NA>"]
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_FIXED_UNDEFINED = 2**63 - 1


def read_numbers(values: pl.Series, label: str, offset: int) -> tuple[pl.Series, list[int]]:
    """Return a column as Float64 (or unchanged if ``parse_bars`` handles it), and the rows that are not numbers.

    Parameters
    ----------
    values : polars.Series
        A batch of any type, whose first row is row ``offset`` of the source.
    label : str
        The name of the column in messages.
    offset : int

    Raises
    ------
    InputError
        For thousands separators and decimal commas, because "1,234" can mean two numbers; for an integer that float64
        would round.
    """
    kind = values.dtype
    if isinstance(kind, pl.Categorical | pl.Enum):
        values, kind = values.cast(pl.String), pl.String()
    if isinstance(kind, pl.Decimal):
        # cast by way of text: Polars divides a 128-bit integer as a float and loses the last digit
        return values.cast(pl.String).cast(pl.Float64), []
    if kind != pl.String:
        return values, []
    numbers = values.cast(pl.Float64, strict=False)
    _check_integers(values, numbers, label, offset)
    suspects = (numbers.is_null() | ~numbers.is_finite()).fill_null(True) & values.is_not_null()
    if not suspects.any():
        return numbers, []
    texts = values.filter(suspects).str.strip_chars()
    places = suspects.arg_true()
    again = texts.set(~texts.str.contains(_NUMBER), None).cast(pl.Float64, strict=False)
    numbers = numbers.scatter(places, again)
    unread = (again.is_null() & ~texts.is_in(_ABSENT)).arg_true()
    for index in unread[:1000].to_list():
        if _GROUPED.fullmatch(texts[index]):
            raise InputError(
                f"column {label} holds {texts[index]!r} (row {offset + int(places[index])}): numbers with thousands "
                "separators or decimal commas are not guessed. Write plain decimals: 1234.5."
            )
    return numbers, places.gather(unread).to_list()


def _check_integers(values: pl.Series, numbers: pl.Series, label: str, offset: int) -> None:
    large = (numbers.abs() >= 2**53) & numbers.is_finite()
    if not large.any():
        return
    large &= values.str.contains(r"^\s*[+-]?\d+\s*$")
    exact = values.str.strip_chars().cast(pl.Int128, strict=False)
    rounded = (large & (exact != numbers.cast(pl.Int128, strict=False)).fill_null(True)).arg_true()
    if rounded.len():
        place = int(rounded[0])
        raise InputError(
            f"column {label} holds {values[place]} (row {offset + place}), an integer above 2**53, which float64 would "
            "round."
        )


def read_fixed(values: pl.Series, label: str, offset: int) -> tuple[pl.Series, list[int]]:
    """Return Databento's prices, which are integers in units of 1e-9, as Float64.

    Raises
    ------
    InputError
        If one of them has a decimal point.
    """
    whole = values.cast(pl.Int64, strict=False)
    broken = whole.is_null() & values.is_not_null()
    if broken.any():
        place = int(broken.arg_true()[0])
        raise InputError(
            f"column {label} holds {values[place]!r} (row {offset + place}), but its first prices are integers that "
            "count 1e-9. Write them all in one form."
        )
    whole = whole.set(whole == _FIXED_UNDEFINED, None)
    # by way of text: Polars divides by a constant by multiplying with its reciprocal, so 100050000000 / 1e9 != 100.05
    digits = whole.abs().cast(pl.String).str.zfill(10)
    sign = pl.when(pl.col("whole") < 0).then(pl.lit("-")).otherwise(pl.lit(""))
    frame = pl.DataFrame({"whole": whole, "digits": digits})
    text = pl.concat_str(sign, pl.col("digits").str.head(-9), pl.lit("."), pl.col("digits").str.tail(9))
    return frame.select(text.cast(pl.Float64)).to_series(), []
