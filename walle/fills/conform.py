"""From records or a frame of orders or fills to a checked frame, whole columns at a time."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

import polars as pl

from walle.errors import InputError
from walle.frames import DECIMAL, FILLS, INSTANT, ORDERS
from walle.records import Fill, Order
from walle.values import DECIMAL_INTEGER_DIGITS, DECIMAL_PLACES, decimal_text
from walle.words import Liquidity, OrderStatus, OrderType, Side, TimeInForce

__all__ = ["fills_frame", "orders_frame"]

_TEXT_LENGTH = 100
_LENGTHS = {"symbol": 128, "reject_reason": 10_000, "commission_currency": 20}
_POSITIVE = {"qty", "quantity"}
_WORDS: Mapping[str, type[StrEnum]] = {
    "side": Side,
    "order_type": OrderType,
    "time_in_force": TimeInForce,
    "status": OrderStatus,
    "liquidity": Liquidity,
}


def fills_frame(source: object) -> pl.DataFrame:
    """Return fills as a checked frame with the columns of :data:`walle.frames.FILLS`.

    Parameters
    ----------
    source : Fill, iterable of Fill, or polars.DataFrame
        A frame may leave out nullable columns. Prices and quantities are Decimal, integers, or texts; never floats.

    Raises
    ------
    InputError
        Naming the column, the first bad row and what is allowed.
    """
    return _conform(source, Fill, FILLS)


def orders_frame(source: object) -> pl.DataFrame:
    """Return order snapshots as a checked frame with the columns of :data:`walle.frames.ORDERS`.

    Parameters
    ----------
    source : Order, iterable of Order, or polars.DataFrame

    Raises
    ------
    InputError
        Naming the column, the first bad row and what is allowed.
    """
    return _conform(source, Order, ORDERS)


def _conform(source: object, record: type[Fill] | type[Order], schema: pl.Schema) -> pl.DataFrame:
    noun = f"{record.__name__.lower()}s"
    if isinstance(source, record):
        source = [source]
    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.DataFrame):
        return _check_frame(source, record, schema, noun)
    if type(source).__module__.partition(".")[0] in ("pandas", "pyarrow"):
        raise InputError(f"{noun} come as records or as a Polars frame; convert it: polars.DataFrame(frame).")
    if isinstance(source, Iterable) and not isinstance(source, str | bytes | Mapping):
        records = list(source)
        strangers = [item for item in records if not isinstance(item, record)]
        if not strangers:
            columns = [pl.Series(name, [_plain(getattr(item, name)) for item in records]) for name in schema]
            # decimals as text, cast once: faster than Decimal objects, and exact whatever zeros they carry
            return pl.DataFrame(values.cast(schema[values.name]) for values in columns)
        source = strangers[0]
    raise InputError(
        f"{noun} come as {record.__name__} records or as a Polars frame, not as {type(source).__name__}. "
        f"Make a record: walle.{record.__name__}(...)."
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    return value.value if isinstance(value, StrEnum) else value


def _check_frame(frame: pl.DataFrame, record: type[Fill] | type[Order], schema: pl.Schema, noun: str) -> pl.DataFrame:
    unknown = [name for name in frame.columns if name not in schema]
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(schema), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{noun} have no column {unknown[0]!r}.{hint} Allowed: {', '.join(schema)}.")
    required = {item.name for item in dataclasses.fields(record) if _is_required(item)}
    missing = [name for name in schema if name in required and name not in frame.columns]
    if missing:
        raise InputError(f"the frame of {noun} lacks {', '.join(map(repr, missing))}.")
    columns = []
    for item in dataclasses.fields(record):
        if item.name not in frame.columns:
            default = None if item.default is dataclasses.MISSING else _plain(item.default)
            values = pl.Series([default] * frame.height, dtype=schema[item.name])
        else:
            values = _check_column(frame[item.name], schema[item.name], noun)
            if values.null_count() and (item.name in required or not _is_nullable(item)):
                raise InputError(
                    f"column {item.name!r} of {noun} has no value in row {values.is_null().arg_true()[0]}."
                )
        columns.append(values.alias(item.name))
    return pl.DataFrame(columns).select(list(schema))


def _is_required(item: dataclasses.Field[Any]) -> bool:
    # a record's created_at defaults to now; rows of a frame were not all made now
    return item.default is dataclasses.MISSING


def _is_nullable(item: dataclasses.Field[Any]) -> bool:
    return "None" in str(item.type)


def _check_column(values: pl.Series, kind: pl.DataType, noun: str) -> pl.Series:
    name = f"column {values.name!r} of {noun}"
    if values.dtype == pl.Null:
        return values.cast(kind)
    if isinstance(kind, pl.Decimal):
        return _check_decimals(values, name)
    if isinstance(kind, pl.Datetime):
        return _check_instants(values, name)
    return _check_texts(values, name)


def _check_decimals(values: pl.Series, name: str) -> pl.Series:
    kind = values.dtype
    if kind.is_float():
        raise InputError(
            f"{name} is {kind}; money is exact and never taken from floats. Round it to the venue's step: "
            f"polars.col({values.name!r}).round(8).cast(polars.String), or read it as text."
        )
    if not (kind.is_integer() or isinstance(kind, pl.Decimal) or kind == pl.String):
        raise InputError(f"{name} is {kind}, not a decimal.")
    text = values.cast(pl.String)
    pattern = rf"^[+-]?0*\d{{1,{DECIMAL_INTEGER_DIGITS}}}(\.\d{{0,{DECIMAL_PLACES}}}0*)?$"
    _refuse(
        values,
        ~text.str.contains(pattern),
        name,
        f"at most {DECIMAL_INTEGER_DIGITS} integer digits and {DECIMAL_PLACES} places fit",
    )
    exact = text.str.strip_chars_start("+").cast(DECIMAL)
    if values.name in _POSITIVE:
        _refuse(values, exact <= 0, name, "it must be above 0")
    if values.name == "filled_qty":
        _refuse(values, exact < 0, name, "it must be at least 0")
    return exact


def _check_instants(values: pl.Series, name: str) -> pl.Series:
    kind = values.dtype
    if not isinstance(kind, pl.Datetime):
        raise InputError(f"{name} is {kind}, not a datetime with a time zone.")
    if kind.time_zone is None:
        raise InputError(
            f"{name} has no time zone, so its times name no instant. Say which: dt.replace_time_zone('UTC')."
        )
    if kind.time_unit == "ns":
        _refuse(values, values.to_physical() % 1000 != 0, name, "times finer than a microsecond are not kept")
    instants = values.dt.convert_time_zone("UTC")
    _refuse(values, ~instants.dt.year().is_between(1, 9999), name, "it lies outside the years 1 to 9999")
    return instants.cast(INSTANT)


def _check_texts(values: pl.Series, name: str) -> pl.Series:
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise InputError(f"{name} is {values.dtype}, not text.")
    text = values.cast(pl.String)
    words = _WORDS.get(values.name)
    if words is not None:
        _refuse(values, ~text.is_in(list(words)), name, f"allowed are {', '.join(words)}")
        return text
    length = _LENGTHS.get(values.name, _TEXT_LENGTH)
    _refuse(values, text.str.contains("\0", literal=True), name, "a NUL character cannot be stored")
    _refuse(values, text.str.len_chars() > length, name, f"at most {length} characters are allowed")
    if values.name != "reject_reason":
        _refuse(values, (text == "") | (text.str.strip_chars() != text), name, "it is empty or padded")
    return text


def _refuse(values: pl.Series, broken: pl.Series, name: str, rule: str) -> None:
    rows = broken.fill_null(False).arg_true()
    if rows.len():
        more = f" ({rows.len()} rows)" if rows.len() > 1 else ""
        shown = values.slice(rows[0], 1).cast(pl.String)[0]  # by Polars: a far year is no datetime of Python's
        raise InputError(f"{name}, row {rows[0]}: {shown[:80]!r}: {rule}{more}. Nothing was written.")
