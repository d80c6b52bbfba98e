"""Exact arithmetic on columns of money: integers in units of a power of ten, in Polars while they provably fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate
from operator import add, mul, sub
from typing import Any

import polars as pl

from walle.errors import InputError, PrecisionError
from walle.frames import DECIMAL
from walle.validation import DECIMAL_INTEGER_DIGITS, DECIMAL_PLACES

__all__ = ["Exact", "decimals", "shortest"]

_WIDE = 1 << 127
_UNIT = 10**DECIMAL_PLACES
_LIMIT = 10 ** (DECIMAL_INTEGER_DIGITS + DECIMAL_PLACES)

Units = pl.Series | list[int]
Number = int | Decimal | Fraction


@dataclass(frozen=True, slots=True)
class Exact:
    """A column of exact numbers without nulls: ``column`` counts units of ``10 ** -places``.

    Sums and products are exact and never overflow: the integers are Polars' 128-bit ones while the result provably
    fits, and Python's own after that. A number is rounded once, when it is returned as a decimal.

    Parameters
    ----------
    column : polars.Series of Int128, or list of int
    places : int
        At least 0.

    Examples
    --------
    >>> price = Exact.of(pl.Series(["100.25", "3"]).cast(DECIMAL))
    >>> quantity = Exact.of(pl.Series(["0.5", "7"]).cast(DECIMAL))
    >>> (price * quantity).units()
    [50125, 21000]
    """

    column: Units
    places: int = 0

    @staticmethod
    def of(values: pl.Series) -> Exact:
        """Make one from a column of decimals or integers, with the fewest places that represent it exactly.

        Parameters
        ----------
        values : polars.Series
            Decimal, or an integer type; no nulls.

        Raises
        ------
        InputError
            For nulls, or any other type. Floats are not exact, see :func:`shortest`.
        """
        kind = values.dtype
        if values.null_count():
            raise InputError(f"column {values.name!r} holds {values.null_count()} nulls; leave those rows out first.")
        if isinstance(kind, pl.Decimal):
            places = kind.scale
            units = values.to_physical()
            while places and _divides(units, 10 ** (step := _step(units, places))):
                units, places = units // _one(10**step), places - step
            return Exact(units, places)
        if kind.is_integer():
            return Exact(values.cast(pl.Int128))
        raise InputError(f"column {values.name!r} is {kind}, not an exact number.")

    @staticmethod
    def constant(value: Number, count: int) -> Exact:
        """Repeat one number.

        Raises
        ------
        InputError
            For a fraction that is not a finite decimal.
        """
        number, places = Fraction(value), 0
        while number.denominator != 1:
            number, places = number * 10, places + 1
            if places > 2_000:
                raise InputError(f"{value!r} is no decimal number; divide at the end, with over().")
        whole = int(number)
        if abs(whole) < _WIDE:
            return Exact(pl.Series([whole], dtype=pl.Int128).new_from_index(0, count), places)
        return Exact([whole] * count, places)

    def __len__(self) -> int:
        """Count the numbers."""
        return len(self.column)

    def units(self) -> list[int]:
        """Return the integers, for algorithms that loop over them."""
        return self.column.to_list() if isinstance(self.column, pl.Series) else list(self.column)

    def fractions(self) -> list[Fraction]:
        """Return the numbers as fractions."""
        unit = 10**self.places
        return [Fraction(value, unit) for value in self.units()]

    def __add__(self, other: Exact | Number) -> Exact:
        """Add element by element."""
        return self._joined(other, add)

    def __sub__(self, other: Exact | Number) -> Exact:
        """Subtract element by element."""
        return self._joined(other, sub)

    def __mul__(self, other: Exact | Number) -> Exact:
        """Multiply element by element."""
        second = self._lift(other)
        places = self.places + second.places
        if self._bound() * second._bound() < _WIDE and not (self._wide or second._wide):
            return Exact(self._series() * second._series(), places)
        return Exact(list(map(mul, self.units(), second.units())), places)

    def __neg__(self) -> Exact:
        """Negate the numbers."""
        return Exact.constant(0, len(self)) - self

    def __abs__(self) -> Exact:
        """Return the absolute values."""
        if isinstance(self.column, pl.Series):
            return Exact(self.column.abs(), self.places)
        return Exact(list(map(abs, self.column)), self.places)

    def where(self, mask: pl.Series) -> Exact:
        """Replace the numbers by 0 where a Boolean column is not true."""
        return self * Exact(mask.fill_null(False).cast(pl.Int128))

    def filter(self, mask: pl.Series) -> Exact:
        """Keep the numbers where a Boolean column is true."""
        return self.gather(mask.fill_null(False).arg_true())

    def gather(self, places: pl.Series) -> Exact:
        """Take numbers by their index, from 0."""
        if isinstance(self.column, pl.Series):
            return Exact(self.column.gather(places), self.places)
        return Exact([self.column[place] for place in places], self.places)

    def sum_by(self, groups: pl.Series, count: int) -> Exact:
        """Add up the numbers within groups.

        Parameters
        ----------
        groups : polars.Series
            The number of each element's group: an integer from 0 to below ``count``.
        count : int

        Returns
        -------
        Exact
            A sum for each group, 0 for an empty one.
        """
        if isinstance(self.column, pl.Series) and self._bound() * max(len(self), 1) < _WIDE:
            frame = pl.DataFrame({"group": groups.cast(pl.UInt32), "units": self.column})
            sums = frame.group_by("group").agg(pl.col("units").sum())
            every = pl.DataFrame({"group": pl.int_range(count, dtype=pl.UInt32, eager=True)})
            joined = every.join(sums, on="group", how="left", maintain_order="left")
            return Exact(joined["units"].fill_null(0).cast(pl.Int128), self.places)
        totals = [0] * count
        for group, value in zip(groups, self.units(), strict=True):
            totals[group] += value
        return Exact(totals, self.places).narrowed()

    def sum(self) -> Fraction:
        """Add up all numbers."""
        return Fraction(sum(self.units()), 10**self.places)

    def cum_sum(self) -> Exact:
        """Return the running sums."""
        if isinstance(self.column, pl.Series) and self._bound() * max(len(self), 1) < _WIDE:
            return Exact(self.column.cum_sum(), self.places)
        return Exact(list(accumulate(self.units())), self.places).narrowed()

    def compare(self, other: Exact | Number) -> pl.Series:
        """Compare element by element: -1 if smaller, 0 if equal, 1 if larger (Int8)."""
        difference = self - other
        if isinstance(difference.column, pl.Series):
            column = difference.column
            return (column > 0).cast(pl.Int8) - (column < 0).cast(pl.Int8)
        return pl.Series([(value > 0) - (value < 0) for value in difference.column], dtype=pl.Int8)

    def decimal(self, name: str = "") -> pl.Series:
        """Return a column of decimals, rounded half-even at 18 places.

        Raises
        ------
        PrecisionError
            If a number has more than 20 integer digits.
        """
        if self.places <= DECIMAL_PLACES:
            return _decimal(name, (self * 10 ** (DECIMAL_PLACES - self.places)).column)
        return Exact(self.column).over(10 ** (self.places - DECIMAL_PLACES), name, _scale=0)

    def over(self, other: Exact | Number, name: str = "", *, _scale: int = DECIMAL_PLACES) -> pl.Series:
        """Divide element by element into decimals, rounded half-even at 18 places; null where ``other`` is 0.

        Raises
        ------
        PrecisionError
            If a quotient has more than 20 integer digits.
        """
        above, below = self._aligned(self._lift(other))
        quotient = _quotient(above, below, _scale)
        zero = below.compare(0) == 0
        return _decimal(name, quotient).set(zero, None).alias(name)

    def narrowed(self) -> Exact:
        """Return the same numbers as a column of Polars if they fit."""
        return Exact(self._series(), self.places) if self._wide and self._bound() < _WIDE else self

    @property
    def _wide(self) -> bool:
        return not isinstance(self.column, pl.Series)

    def _series(self) -> pl.Series:
        return self.column if isinstance(self.column, pl.Series) else pl.Series(self.column, dtype=pl.Int128)

    def _bound(self) -> int:
        low: int
        high: int
        if not len(self):
            return 0
        if isinstance(self.column, pl.Series):
            ends: list[Any] = [self.column.min(), self.column.max()]
            low, high = ends
        else:
            low, high = min(self.column), max(self.column)
        return max(-low, high)

    def _lift(self, other: Exact | Number) -> Exact:
        return other if isinstance(other, Exact) else Exact.constant(other, len(self))

    def _aligned(self, other: Exact) -> tuple[Exact, Exact]:
        places = max(self.places, other.places)
        first, second = (
            one if one.places == places else Exact((one * 10 ** (places - one.places)).column, places)
            for one in (self, other)
        )
        return first, second

    def _joined(self, other: Exact | Number, operation: Callable[[int, int], int]) -> Exact:
        first, second = self._aligned(self._lift(other))
        if first._bound() + second._bound() < _WIDE and not (first._wide or second._wide):
            return Exact(operation(first._series(), second._series()), first.places)  # type: ignore[arg-type]  # both are columns, or both integers
        return Exact(list(map(operation, first.units(), second.units())), first.places)


def decimals(name: str, values: Iterable[Fraction | int | None]) -> pl.Series:
    """Return exact numbers as a column of decimals, rounded half-even at 18 places; None becomes null.

    Raises
    ------
    PrecisionError
        If a number has more than 20 integer digits.
    """
    given = list(values)
    units = [0 if value is None else round(value * _UNIT) for value in given]
    return _decimal(name, units).set(pl.Series([value is None for value in given], dtype=pl.Boolean), None).alias(name)


def shortest(values: pl.Series) -> pl.Series:
    """Return floats as the decimals in their shortest texts: 3255.3 becomes 3255.3, as in a file.

    Parameters
    ----------
    values : polars.Series
        Float64.

    Returns
    -------
    polars.Series
        Decimal(38, 18), rounded at 18 places; null for null, NaN, infinity, and absolute values from 1e20 on.
    """
    fits = (values.is_finite() & (values.abs() < 10.0**DECIMAL_INTEGER_DIGITS)).fill_null(False)
    kept = values.set(~fits, None)
    text = kept.cast(pl.String).str.replace("e+", "e", literal=True)
    return text.cast(DECIMAL)


def _one(value: int) -> pl.Series:
    """Return a number that broadcasts; Polars does not accept Python integers of more than 64 bits."""
    return pl.Series([value], dtype=pl.Int128)


def _divides(units: pl.Series, divisor: int) -> bool:
    return bool((units % _one(divisor) == 0).all())


def _step(units: pl.Series, places: int) -> int:
    """Return how many decimal places to try to drop: as many as most numbers allow, else one."""
    for step in (places, 10, 6, 3):
        if step <= places and _divides(units, 10**step):
            return step
    return 1


def _quotient(above: Exact, below: Exact, scale: int) -> Units:
    """Divide, rounded half-even at ``scale`` places; 0 for a division by 0."""
    negative = (above.compare(0) * below.compare(0)) < 0
    left, right = abs(above), abs(below)
    digits = len(str(_WIDE // max(2 * right._bound(), 1))) - 1
    if left._wide or right._wide or left._bound() // 10**DECIMAL_INTEGER_DIGITS >= _WIDE // _UNIT or digits < 1:
        return _quotient_wide(above.units(), below.units(), scale)
    divisor = right._series()
    divisor = divisor.set(divisor == 0, 1)
    quotient, rest = left._series() // divisor, left._series() % divisor
    if Exact(quotient)._bound() >= 10**DECIMAL_INTEGER_DIGITS * (_UNIT if not scale else 1):
        return _quotient_wide(above.units(), below.units(), scale)
    while scale > 0:  # long division with as many digits at a time as fit
        part = min(digits, scale)
        grown = rest * _one(10**part)
        quotient, rest, scale = quotient * _one(10**part) + grown // divisor, grown % divisor, scale - part
    twice = rest * _one(2)
    up = (twice > divisor) | ((twice == divisor) & (quotient % _one(2) == 1))
    quotient = quotient + up.cast(pl.Int128)
    return quotient * pl.select(pl.when(negative).then(-1).otherwise(1).cast(pl.Int128)).to_series()


def _quotient_wide(above: Sequence[int], below: Sequence[int], scale: int) -> list[int]:
    unit = 10**scale
    return [round(Fraction(up * unit, down)) if down else 0 for up, down in zip(above, below, strict=True)]


def _decimal(name: str, units: Units) -> pl.Series:
    column = Exact(units)
    if column._bound() >= _LIMIT:
        worst = max(column.units(), key=abs)
        raise PrecisionError(
            f"{name or 'a result'}: {Fraction(worst, _UNIT).__floor__():,} has more than {DECIMAL_INTEGER_DIGITS} "
            "integer digits; no decimal column holds it."
        )
    series = column._series()
    text = series.abs().cast(pl.String).str.zfill(DECIMAL_PLACES + 1)
    sign = pl.select(pl.when(series < 0).then(pl.lit("-")).otherwise(pl.lit(""))).to_series()
    whole, rest = text.str.head(-DECIMAL_PLACES), text.str.tail(DECIMAL_PLACES)
    return (sign + whole + "." + rest).cast(DECIMAL).alias(name)
