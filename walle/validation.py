"""The rules for single values: instants, exact decimals, texts and JSON documents."""

from __future__ import annotations

import json
import math
import numbers
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from walle.errors import InputError

__all__ = [
    "DECIMAL_INTEGER_DIGITS",
    "DECIMAL_PLACES",
    "EPOCH",
    "JSON_DEPTH",
    "JSON_LIST",
    "MICROSECOND",
    "check_decimal",
    "check_instant",
    "check_json",
    "check_text",
    "decimal_text",
    "from_microseconds",
    "json_text",
    "parse_json",
    "parse_range",
    "parse_time",
    "shift",
    "to_microseconds",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DECIMAL_INTEGER_DIGITS = 20
DECIMAL_PLACES = 18
JSON_DEPTH = 200
"""The maximum nesting of a JSON document; SQLite's functions stop at 1,000, and Python's recursion earlier."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ORDERED = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
_JSON_INTEGER_BITS = 13_000
_JSON_DIGITS = 4_000
_EXPONENT = re.compile(r"(?:[\[:,]|\A)-?[0-9.]+e[+-][0-9]+(?=[,\]}]|\Z)")  # a JSON number, or one in a text
_IN_JSON = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9.]+e[+-][0-9]+', re.DOTALL)
_CHARACTER = (  # without lone surrogates
    r'[^"\\]|\\[^u]|\\u([0-9a-cA-CeEfF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    r"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_SCALAR = f'("({_CHARACTER})*"|-?[0-9][0-9.eE+-]*|true|false|null)'
MICROSECOND = timedelta(microseconds=1)

JSON_LIST = rf"^\s*(null|\[\s*({_SCALAR}(\s*,\s*{_SCALAR})*)?\s*\])\s*$"
"""A regular expression, for Polars and PostgreSQL, that matches null or a JSON list without nested lists or objects."""


def to_microseconds(instant: datetime) -> int:
    """Count microseconds since 1970 UTC; exact for years 1 to 9999."""
    return (instant - EPOCH) // MICROSECOND


def from_microseconds(value: int) -> datetime:
    """Convert microseconds since 1970 UTC to an aware datetime; the inverse of :func:`to_microseconds`."""
    return EPOCH + timedelta(microseconds=value)


def shift(instant: datetime, by: timedelta) -> datetime:
    """Add to an aware datetime, limited to the years 1 to 9999."""
    try:
        return instant + by
    except OverflowError:
        edge = datetime.min if by < timedelta(0) else datetime.max
        return edge.replace(tzinfo=instant.tzinfo)


def check_instant(value: object, field: str) -> datetime:
    """Return an aware datetime as the same instant in UTC.

    Parameters
    ----------
    value : datetime
        Must be aware; years 1 to 9999 in UTC.
    field : str
        The name of the value in the error.

    Raises
    ------
    InputError
        For a naive datetime, another type, or an instant outside the years 1 to 9999 in UTC.
    """
    if not isinstance(value, datetime):
        raise InputError(f"{field}={value!r} is not a datetime. Give an aware one: datetime(..., tzinfo=timezone.utc).")
    if value.utcoffset() is None:
        raise InputError(
            f"{field}={value!r} has no time zone, so it names no instant. "
            f"Say which: value.replace(tzinfo=timezone.utc), or tzinfo=ZoneInfo('America/New_York')."
        )
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise InputError(f"{field}={value!r} lies outside the years 1 to 9999 in UTC.") from None


def parse_range(
    start: datetime | date | str | None, end: datetime | date | str | None
) -> tuple[datetime | None, datetime | None]:
    """Read the ends of a half-open range ``[start, end)``.

    Parameters
    ----------
    start, end : datetime, date, str or None
        An aware datetime, or a date or ISO string; a date, or a string without a zone, means that time in UTC
        (``"2024-01-31"`` is midnight UTC). None leaves that end open.

    Returns
    -------
    tuple of datetime or None
        Both in UTC.

    Raises
    ------
    InputError
        For a naive datetime, a text that is not an ISO date, or an end before the start.
    """
    first, last = parse_time(start, "start"), parse_time(end, "end")
    if first is not None and last is not None and last < first:
        raise InputError(
            f"the range ends before it starts: start={first.isoformat()}, end={last.isoformat()}. "
            "A range is [start, end): the start is inside, the end is not."
        )
    return first, last


def parse_time(value: datetime | date | str | None, field: str) -> datetime | None:
    """Read one time as :func:`parse_range` reads an end of a range; errors name the field.

    Raises
    ------
    InputError
        For a naive datetime, and for a text that is not an ISO date.
    """
    if value is None:
        return None
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise InputError(
                f"{field}={value!r} is no ISO date or time. Write '2024-01-31' or '2024-01-31T09:30:00+00:00'."
            ) from None
        return check_instant(parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC), field)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    return check_instant(value, field)


def check_decimal(value: object, field: str, *, positive: bool = False, minimum: int | None = None) -> Decimal:
    """Return an exact decimal that fits ``Decimal(38, 18)``.

    Parameters
    ----------
    value : Decimal or int
        Finite, at most 20 integer digits and 18 places.
    field : str
        The name of the value in the error.
    positive : bool
        Whether the number must be above 0.
    minimum : int, optional
        The smallest allowed number.

    Raises
    ------
    InputError
        For a float, any other type, or a number that does not fit; numbers are never rounded.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = Decimal(value)
    if not isinstance(value, Decimal):
        hint = f" Write Decimal({str(value)!r})." if isinstance(value, float | str) else ""
        inexact = " A float is not exact." if isinstance(value, float) else ""
        raise InputError(f"{field}={value!r} ({type(value).__name__}) is not a Decimal.{inexact}{hint}")
    if not value.is_finite():
        raise InputError(f"{field}={value} is not a finite number.")
    _, digits, exponent = value.as_tuple()
    assert isinstance(exponent, int)  # only infinities and NaN have a letter as exponent
    trailing = 0
    while trailing < len(digits) - 1 and digits[len(digits) - 1 - trailing] == 0:
        trailing += 1
    places = max(0, -(exponent + trailing)) if any(digits) else 0
    integer_digits = len(digits) + exponent if any(digits) else 0
    if places > DECIMAL_PLACES or integer_digits > DECIMAL_INTEGER_DIGITS:
        raise InputError(
            f"{field}={value} has {max(integer_digits, 0)} integer digits and {places} places; at most "
            f"{DECIMAL_INTEGER_DIGITS} and {DECIMAL_PLACES} fit, and money is never rounded silently. "
            "Quantize it first: value.quantize(Decimal('1e-8'))."
        )
    if positive and value <= 0:
        raise InputError(f"{field}={value} must be above 0.")
    if minimum is not None and value < minimum:
        raise InputError(f"{field}={value} must be at least {minimum}.")
    return value


def decimal_text(value: Decimal) -> str:
    """Return the canonical text of a decimal: no exponent, no trailing zeros, no ``-0``.

    Examples
    --------
    >>> decimal_text(Decimal("1.10")), decimal_text(Decimal("1E+3")), decimal_text(Decimal("-0.00"))
    ('1.1', '1000', '0')
    """
    text = format(value, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def check_text(value: object, field: str, *, maximum: int, empty: bool = False) -> str:
    """Return a text that both databases can hold.

    Parameters
    ----------
    value : str
    field : str
        The name of the value in the error.
    maximum : int
        The maximum number of characters.
    empty : bool
        Whether an empty text is allowed.

    Raises
    ------
    InputError
        For NUL characters, lone surrogates, an empty, padded or too long text, or any other type.
    """
    if not isinstance(value, str):
        raise InputError(f"{field}={value!r} is a {type(value).__name__}, not a text.")
    if not value and not empty:
        raise InputError(f"{field} is empty.")
    if len(value) > maximum:
        raise InputError(f"{field} has {len(value)} characters; at most {maximum} are allowed: {value[:40]!r}...")
    problem = _unstorable(value)
    if problem:
        raise InputError(f"{field}={value[:80]!r} holds {problem}, which no database of ours can store.")
    if value != value.strip() and not empty:
        raise InputError(f"{field}={value!r} starts or ends with white space.")
    return str(value)


def check_json(value: object, field: str, *, depth: int = 0) -> Any:
    """Return a JSON document as plain dicts, lists, texts and numbers; a zero has no sign.

    Raises
    ------
    InputError
        For a value that is not JSON: NaN, an infinity, NUL, a lone surrogate, a key that is not a text, or any other
        type; the message names its key.
    """
    if depth > JSON_DEPTH:
        raise InputError(f"{field[:200]} is nested deeper than {JSON_DEPTH} levels, which not every store can hold.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        problem = _unstorable(value)
        if problem:
            raise InputError(f"{field} holds {problem}, which is not allowed in JSON on every store.")
        return str(value)
    if isinstance(value, numbers.Integral):
        if int(value).bit_length() > _JSON_INTEGER_BITS:
            raise InputError(f"{field} is an integer of more than 4,000 digits, which not every reader can parse.")
        return int(value)
    if isinstance(value, numbers.Real):
        if not math.isfinite(value):
            raise InputError(f"{field}={value} is not JSON: NaN and infinities have no form there. Use null.")
        return float(value) + 0.0  # -0.0 becomes 0.0, because decimals of PostgreSQL do not keep the sign of a zero
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{field} has the key {key!r}; JSON keys are texts.")
            check_json(key, f"{field}: the key {key!r}")
        return {str(key): check_json(item, f"{field}.{key}", depth=depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [check_json(item, f"{field}[{index}]", depth=depth + 1) for index, item in enumerate(value)]
    hint = " Write it as text." if isinstance(value, Decimal | date) else ""
    raise InputError(f"{field}={value!r} ({type(value).__name__}) is nothing that JSON can hold.{hint}")


def json_text(value: object, *, ordered: bool = False) -> str:
    """Return the compact text of a checked JSON document; if it is to be ordered, with the keys of objects in order.

    Floats are written without an exponent: PostgreSQL keeps JSON numbers as decimals, and would return ``1e+22`` as an
    integer. ``10000000000000000000000.0`` stays a float on every store, and its text is the same on all of them.
    """
    text = (_ORDERED if ordered else _ENCODER).encode(value)
    if ("e+" in text or "e-" in text) and _EXPONENT.search(text):
        return _IN_JSON.sub(_without_exponent, text)
    return text


def parse_json(text: str | bytes) -> Any:
    """Parse JSON that :func:`json_text`, or another program, wrote.

    A number that float64 cannot hold, such as ``1e400``, becomes the integer that PostgreSQL makes of it, or its own
    text if that would have thousands of digits; it is never infinite. An integer with more digits than Python reads
    also becomes its text.

    Raises
    ------
    ValueError
        For a text that is not JSON.
    """
    return json.loads(text, parse_float=_float, parse_int=_integer)


def _integer(text: str) -> int | str:
    return int(text) if len(text) <= _JSON_DIGITS else text


def _float(text: str) -> float | int | str:
    value = float(text)
    if math.isfinite(value):
        return value
    exact = Decimal(text)
    return int(exact) if exact.adjusted() < _JSON_DIGITS else text


def _without_exponent(found: re.Match[str]) -> str:
    token = found[0]
    if token[0] == '"':
        return token
    text = format(Decimal(token), "f")
    return text if "." in text else f"{text}.0"


def _unstorable(text: str) -> str | None:
    if "\0" in text:
        return "a NUL character"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate"
    return None
