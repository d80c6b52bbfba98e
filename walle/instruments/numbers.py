"""Exact numbers and names out of the values of other libraries."""

from __future__ import annotations

import numbers
from decimal import Decimal, InvalidOperation

from walle.errors import InputError
from walle.validation import decimal_text

__all__ = ["exact", "text_of"]


def exact(value: object, name: str) -> Decimal | None:
    """Return a number as an exact decimal: a float as the decimal that its shortest text says, such as 0.1.

    Parameters
    ----------
    value : number, text, or an object whose text is a number; or None
    name : str
        Of the value, in the error.

    Raises
    ------
    InputError
        For what is no finite number.
    """
    if value is None:
        return None
    text = str(value)
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral):
        text = repr(float(value))
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if isinstance(value, bool) or not number.is_finite():
        raise InputError(f"{name}={str(value)[:80]!r} is no finite number.")
    return Decimal(decimal_text(number))


def text_of(value: object) -> str | None:
    """Return the name of a currency, a symbol or a venue: its text, or that of its code; None for nothing."""
    if value is None or value == "":
        return None
    return str(getattr(value, "code", value))
