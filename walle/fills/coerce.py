"""Convert records or a frame of orders or fills to a checked frame, whole columns at a time."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

import polars as pl

from walle.enums import Liquidity, OrderStatus, OrderType, Side, TimeInForce
from walle.errors import InputError
from walle.exact import shortest
from walle.forks import check_polars
from walle.frames import DECIMAL, FILLS, INSTANT, ORDERS
from walle.records import Fill, Order
from walle.validation import DECIMAL_INTEGER_DIGITS, DECIMAL_PLACES, decimal_text

__all__ = ["Faults", "check_frame", "fills_frame", "orders_frame", "records_frame"]

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
Record = type[Fill] | type[Order]


class Faults:
    """The faults in the rows of a frame: either the first one raises, or the first one of each row is kept.

    Parameters
    ----------
    noun : str
        The name of a row in messages.
    rows : int, optional
        The number of rows, to keep their faults; None to raise.
    """

    def __init__(self, noun: str, rows: int | None = None) -> None:
        self.noun = noun
        self.reasons = None if rows is None else pl.Series("reason", [None] * rows, dtype=pl.String)

    def named(self, column: str) -> str:
        """Return the name of a column for messages."""
        return f"column {column!r} of {self.noun}"

    def refuse(self, values: pl.Series, broken: pl.Series, rule: str) -> pl.Series:
        """Report the values that break a rule.

        Returns
        -------
        polars.Series
            The values, null where they break it.

        Raises
        ------
        InputError
            With the column, the first bad row and the rule, unless faults are kept.
        """
        broken = broken.fill_null(False)
        if not broken.any():
            return values
        if self.reasons is None:
            rows = broken.arg_true()
            more = f" ({rows.len()} rows)" if rows.len() > 1 else ""
            text = values.slice(rows[0], 1).cast(pl.String)[0]  # by Polars, since Python has no years above 9999
            text = decimal_text(Decimal(text)) if isinstance(values.dtype, pl.Decimal) else text
            raise InputError(
                f"{self.named(values.name)}, row {rows[0]}: {text[:80]!r}: {rule}{more}. Nothing was written."
            )
        self.keep(broken, f"{values.name}: {rule}")
        return values.to_frame().select(pl.when(~broken).then(values.name)).to_series()

    def lacking(self, values: pl.Series) -> None:
        """Report rows without a required value.

        Raises
        ------
        InputError
            With the column and the first such row, unless faults are kept.
        """
        if not values.null_count():
            return
        if self.reasons is None:
            raise InputError(f"{self.named(values.name)} has no value in row {values.is_null().arg_true()[0]}.")
        self.keep(values.is_null(), f"{values.name}: no value")

    def keep(self, broken: pl.Series, reason: str) -> None:
        """Keep a reason for the rows that do not have one yet."""
        assert self.reasons is not None
        frame = pl.DataFrame({"reason": self.reasons, "broken": broken})
        new = pl.when(pl.col("reason").is_null() & pl.col("broken")).then(pl.lit(reason)).otherwise("reason")
        self.reasons = frame.select(new.alias("reason")).to_series()


def fills_frame(source: object) -> pl.DataFrame:
    """Return fills as a checked frame with the columns of :data:`walle.frames.FILLS`.

    Parameters
    ----------
    source : Fill, iterable of Fill, or polars.DataFrame
        A frame may leave out nullable columns. Prices and quantities are Decimal, integers, or texts; never floats.

    Raises
    ------
    InputError
        For a bad value; the message has the column, the first bad row and the allowed values.
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
        For a bad value; the message has the column, the first bad row and the allowed values.
    """
    return _conform(source, Order, ORDERS)


def _conform(source: object, record: Record, schema: pl.Schema) -> pl.DataFrame:
    noun = f"{record.__name__.lower()}s"
    check_polars()
    if isinstance(source, pl.LazyFrame):
        source = source.collect()
    if isinstance(source, pl.DataFrame):
        return check_frame(source, record, schema, Faults(noun))
    if type(source).__module__.partition(".")[0] in ("pandas", "pyarrow"):
        raise InputError(
            f"{noun} come as records or as a Polars frame; convert it: polars.DataFrame(frame), or take it by ingest()."
        )
    return records_frame(source, record, schema)


def records_frame(source: object, record: Record, schema: pl.Schema) -> pl.DataFrame:
    """Return one record or several as a frame.

    Raises
    ------
    InputError
        For anything but such a record.
    """
    if isinstance(source, record):
        source = [source]
    if isinstance(source, Iterable) and not isinstance(source, str | bytes | Mapping):
        records = list(source)
        strangers = [item for item in records if not isinstance(item, record)]
        if not strangers:
            columns = [pl.Series(name, [_plain(getattr(item, name)) for item in records]) for name in schema]
            # casting decimals from text once is faster than passing Decimal objects, and exact with any trailing zeros
            return pl.DataFrame(values.cast(schema[values.name]) for values in columns)
        source = strangers[0]
    name = record.__name__
    raise InputError(
        f"{name.lower()}s come as {name} records or as a Polars frame, not as {type(source).__name__}. "
        f"Make a record: walle.{name}(...)."
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    return value.value if isinstance(value, StrEnum) else value


def check_frame(
    frame: pl.DataFrame, record: Record, schema: pl.Schema, faults: Faults, *, floats: bool = False
) -> pl.DataFrame:
    """Convert a frame to the columns and types of a schema, row for row.

    Parameters
    ----------
    frame : polars.DataFrame
    record : type
        The record that a row stands for; its defaults fill missing columns.
    schema : polars.Schema
    faults : Faults
        Collects the faults of single rows.
    floats : bool
        Whether to accept a float, as the decimal in its shortest text.

    Raises
    ------
    InputError
        For a column that is missing, unknown, or of the wrong type.
    """
    noun = faults.noun
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
            values = _check_column(frame[item.name], schema[item.name], faults, floats=floats)
            if item.name in required or "None" not in str(item.type):
                faults.lacking(values)
        columns.append(values.alias(item.name))
    return pl.DataFrame(columns).select(list(schema))


def _is_required(item: dataclasses.Field[Any]) -> bool:
    # a record's created_at defaults to now, which would be wrong for the rows of a frame
    return item.default is dataclasses.MISSING


def _check_column(values: pl.Series, kind: pl.DataType, faults: Faults, *, floats: bool) -> pl.Series:
    if values.dtype == pl.Null:
        return values.cast(kind)
    if isinstance(kind, pl.Decimal):
        return _check_decimals(values, faults, floats=floats)
    if isinstance(kind, pl.Datetime):
        return _check_instants(values, faults)
    if kind == pl.Int64:
        return _check_places(values, faults)
    return _check_texts(values, faults)


def _check_decimals(values: pl.Series, faults: Faults, *, floats: bool) -> pl.Series:
    kind, name = values.dtype, faults.named(values.name)
    fits = f"at most {DECIMAL_INTEGER_DIGITS} integer digits and {DECIMAL_PLACES} places fit"
    if kind.is_float() and not floats:
        raise InputError(
            f"{name} is {kind}; money is exact and never taken from floats. Round it to the venue's step: "
            f"polars.col({values.name!r}).round(8).cast(polars.String), or read it as text. An ingest takes "
            "floats='shortest': the shortest decimal that is the same float."
        )
    if kind.is_float():
        values = faults.refuse(values, ~values.is_finite(), "it is no number").cast(pl.Float64)
        exact = shortest(faults.refuse(values, _too_fine(values), fits)).alias(values.name)
    elif kind.is_integer() or isinstance(kind, pl.Decimal) or kind == pl.String:
        pattern = rf"^[+-]?0*\d{{1,{DECIMAL_INTEGER_DIGITS}}}(\.\d{{0,{DECIMAL_PLACES}}}0*)?$"
        text = values.cast(pl.String)
        text = faults.refuse(text, ~text.str.contains(pattern), fits)
        exact = text.str.strip_chars_start("+").cast(DECIMAL)
    else:
        raise InputError(f"{name} is {kind}, not a decimal.")
    if values.name in _POSITIVE:
        exact = faults.refuse(exact, exact <= 0, "it must be above 0")
    if values.name == "filled_qty":
        exact = faults.refuse(exact, exact < 0, "it must be at least 0")
    return exact


def _too_fine(values: pl.Series) -> pl.Series:
    """Return whether the shortest text of each float has more digits than a decimal holds."""
    parts = values.cast(pl.String).str.splitn("e", 2).struct
    exponent = parts.field("field_1").cast(pl.Int64).fill_null(0)
    places = parts.field("field_0").str.splitn(".", 2).struct.field("field_1").str.strip_chars_end("0")
    places = places.fill_null("").str.len_chars().cast(pl.Int64) - exponent
    return (places > DECIMAL_PLACES) | (values.abs() >= 10.0**DECIMAL_INTEGER_DIGITS)


def _check_instants(values: pl.Series, faults: Faults) -> pl.Series:
    kind, name = values.dtype, faults.named(values.name)
    if not isinstance(kind, pl.Datetime):
        raise InputError(f"{name} is {kind}, not a datetime with a time zone.")
    if kind.time_zone is None:
        raise InputError(
            f"{name} has no time zone, so its times name no instant. Say which: dt.replace_time_zone('UTC'); an "
            "ingest takes timezone='UTC'."
        )
    if kind.time_unit == "ns":
        values = faults.refuse(values, values.to_physical() % 1000 != 0, "times finer than a microsecond are not kept")
    years = values.dt.convert_time_zone("UTC").dt.year()
    values = faults.refuse(values, ~years.is_between(1, 9999), "it lies outside the years 1 to 9999")
    return values.dt.convert_time_zone("UTC").cast(INSTANT)


def _check_places(values: pl.Series, faults: Faults) -> pl.Series:
    if not values.dtype.is_integer():
        raise InputError(f"{faults.named(values.name)} is {values.dtype}, not whole numbers.")
    return faults.refuse(values, ~values.is_between(0, 2**62), "it is not a number from 0 to 2^62").cast(pl.Int64)


def _check_texts(values: pl.Series, faults: Faults) -> pl.Series:
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise InputError(f"{faults.named(values.name)} is {values.dtype}, not text.")
    text = values.cast(pl.String)
    words = _WORDS.get(values.name)
    if words is not None:
        return faults.refuse(text, ~text.is_in(list(words)), f"allowed are {', '.join(words)}")
    length = _LENGTHS.get(values.name, _TEXT_LENGTH)
    text = faults.refuse(text, text.str.contains("\0", literal=True), "a NUL character cannot be stored")
    text = faults.refuse(text, text.str.len_chars() > length, f"at most {length} characters are allowed")
    if values.name != "reject_reason":
        text = faults.refuse(text, (text == "") | (text.str.strip_chars() != text), "it is empty or padded")
    return text
