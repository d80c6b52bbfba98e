"""Convert records or a frame of orders, fills and other facts to a checked frame, whole columns at a time."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any

import polars as pl

from walle.enums import ActionKind, CashFlowKind
from walle.errors import InputError
from walle.exact import shortest
from walle.fills.extras import check_extras, extra_text
from walle.forks import check_polars
from walle.frames import CASH_FLOWS, CORPORATE_ACTIONS, DECIMAL, FILLS, INSTANT, INSTRUMENTS, ORDERS
from walle.records import CashFlow, CorporateAction, Fill, Instrument, Order, Record
from walle.validation import DECIMAL_INTEGER_DIGITS, DECIMAL_PLACES, decimal_text

__all__ = [
    "ACTION",
    "CASH_FLOW",
    "FILL",
    "INSTRUMENT",
    "NOUNS",
    "ORDER",
    "Faults",
    "actions_frame",
    "cash_flows_frame",
    "check_frame",
    "fills_frame",
    "instruments_frame",
    "orders_frame",
    "records_frame",
]

_TEXT_LENGTH = 100
_ALIAS_LENGTH = 128
_LENGTHS = {"symbol": 128, "reject_reason": 10_000, "reason": 10_000}
_LENGTHS |= dict.fromkeys(["commission_currency", "currency", "base", "quote", "settle"], 20)
_POSITIVE = {"qty", "quantity", "ratio", "multiplier", "tick_size", "lot_size"}

ORDER = pl.Schema({name: kind for name, kind in ORDERS.items() if name != "recorded_at"})
"""The columns of an order that its writer gives; ``recorded_at`` is the database's."""

FILL = pl.Schema({name: kind for name, kind in FILLS.items() if name != "recorded_at"})
"""The columns of a fill that its writer gives."""

CASH_FLOW = pl.Schema({name: kind for name, kind in CASH_FLOWS.items() if name != "recorded_at"})
"""The columns of a cash flow that its writer gives."""

ACTION = pl.Schema({name: kind for name, kind in CORPORATE_ACTIONS.items() if name != "recorded_at"})
"""The columns of a corporate action that its writer gives."""

INSTRUMENT = pl.Schema({name: kind for name, kind in INSTRUMENTS.items() if name not in ("reason", "recorded_at")})
"""The columns of an instrument that its writer gives."""

NOUNS: Mapping[type[Record], str] = {
    Order: "orders",
    Fill: "fills",
    CashFlow: "cash flows",
    CorporateAction: "corporate actions",
    Instrument: "instruments",
}
"""The names of records in messages."""


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
            first = values.slice(rows[0], 1)
            # by Polars, since Python has no years above 9999
            text = str(first[0].to_list()) if first.dtype == pl.List else first.cast(pl.String)[0]
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
    """Return fills as a checked frame with the columns of :data:`FILL`.

    Parameters
    ----------
    source : Fill, iterable of Fill, or polars.DataFrame
        A frame may leave out nullable columns. Prices and quantities are Decimal, integers, or texts; never floats.
        ``extra`` holds JSON texts or structs; see :func:`walle.fills.extras.check_extras`. A column ``recorded_at`` is
        the database's own, and left out.

    Raises
    ------
    InputError
        For a bad value; the message has the column, the first bad row and the allowed values.
    """
    return _conform(source, Fill, FILL)


def orders_frame(source: object) -> pl.DataFrame:
    """Return order snapshots as a checked frame with the columns of :data:`ORDER`.

    Parameters
    ----------
    source : Order, iterable of Order, or polars.DataFrame
        A frame as for :func:`fills_frame`.

    Raises
    ------
    InputError
        For a bad value; the message has the column, the first bad row and the allowed values.
    """
    return _conform(source, Order, ORDER)


def cash_flows_frame(source: object) -> pl.DataFrame:
    """Return cash flows as a checked frame with the columns of :data:`CASH_FLOW`.

    Parameters
    ----------
    source : CashFlow, iterable of CashFlow, or polars.DataFrame
        A column ``recorded_at`` of a frame is the database's own, and left out.

    Raises
    ------
    InputError
        For a bad value; the message has the column, the first bad row and the allowed values.
    """
    return _conform(source, CashFlow, CASH_FLOW)


def actions_frame(source: object) -> pl.DataFrame:
    """Return corporate actions as a checked frame with the columns of :data:`ACTION`.

    Parameters
    ----------
    source : CorporateAction, iterable of CorporateAction, or polars.DataFrame
        ``ex_date`` is a date, or a time at that date; a column ``recorded_at`` is the database's own, and left out.

    Raises
    ------
    InputError
        For a bad value; the message has the column, the first bad row and the allowed values.
    """
    return _conform(source, CorporateAction, ACTION)


def instruments_frame(source: object) -> pl.DataFrame:
    """Return instruments as a checked frame with the columns of :data:`INSTRUMENT`.

    Parameters
    ----------
    source : Instrument, iterable of Instrument, or polars.DataFrame

    Raises
    ------
    InputError
        For a bad value; the message has the column, the first bad row and the allowed values.
    """
    return _conform(source, Instrument, INSTRUMENT)


def _conform(source: object, record: type[Record], schema: pl.Schema) -> pl.DataFrame:
    noun = NOUNS[record]
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


def records_frame(source: object, record: type[Record], schema: pl.Schema) -> pl.DataFrame:
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
        f"{NOUNS[record]} come as {name} records or as a Polars frame, not as {type(source).__name__}. "
        f"Make a record: walle.{name}(...)."
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return decimal_text(value)
    if isinstance(value, Mapping):
        return extra_text(value)
    if isinstance(value, tuple):
        return list(value)
    return value.value if isinstance(value, StrEnum) else value


def check_frame(
    frame: pl.DataFrame, record: type[Record], schema: pl.Schema, faults: Faults, *, floats: bool = False
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
    frame = frame.drop("recorded_at", strict=False)  # the database's own
    unknown = [name for name in frame.columns if name not in schema]
    if unknown:
        near = difflib.get_close_matches(unknown[0], list(schema), 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"{noun} have no column {unknown[0]!r}.{hint} Allowed: {', '.join(schema)}.")
    fields = dataclasses.fields(record)  # type: ignore[arg-type]  # every subclass is a dataclass
    required = {item.name for item in fields if _is_required(item)}
    missing = [name for name in schema if name in required and name not in frame.columns]
    if missing:
        raise InputError(f"the frame of {noun} lacks {', '.join(map(repr, missing))}.")
    columns = []
    for item in fields:
        if item.name not in frame.columns:
            default = None if item.default is dataclasses.MISSING else _plain(item.default)
            values = pl.Series([default] * frame.height, dtype=schema[item.name])
        else:
            values = _check_column(frame[item.name], schema[item.name], faults, record._enums, floats=floats)
            if item.name in required or not _is_nullable(item):
                faults.lacking(values)
        columns.append(values.alias(item.name))
    whole = pl.DataFrame(columns).select(list(schema))
    return _ACROSS[record](whole, faults) if record in _ACROSS else whole


def _cash_flows(frame: pl.DataFrame, faults: Faults) -> pl.DataFrame:
    """Refuse amounts whose sign their kind contradicts."""
    kind, amount = pl.col("kind"), pl.col("amount")
    wrong = ((kind == CashFlowKind.DEPOSIT) & (amount < 0)) | ((kind == CashFlowKind.WITHDRAWAL) & (amount > 0))
    broken = frame.select(wrong.fill_null(False)).to_series()
    return frame.with_columns(faults.refuse(frame["amount"], broken, "a deposit is above 0, a withdrawal below 0"))


def _actions(frame: pl.DataFrame, faults: Faults) -> pl.DataFrame:
    """Refuse a split without a ratio, a dividend without amount and currency, and a correction without a reason."""
    split = pl.col("kind") == ActionKind.SPLIT
    missing = (
        pl.when(split)
        .then(pl.col("ratio").is_null())
        .otherwise(pl.col("amount").is_null() | pl.col("currency").is_null())
    )
    other = pl.when(split).then(pl.col("amount")).otherwise(pl.col("ratio")).is_not_null()
    rules = {
        "a split has a ratio, a dividend an amount and a currency, and neither has the other's": missing | other,
        "the amount of a dividend is above 0": ~split & (pl.col("amount") <= 0),
    }
    for rule, wrong in rules.items():
        broken = frame.select(wrong.fill_null(False) & pl.col("kind").is_not_null()).to_series()
        faults.refuse(frame["kind"], broken, rule)
    unexplained = frame.select(pl.col("supersedes").is_not_null() & pl.col("reason").is_null()).to_series()
    faults.refuse(frame["supersedes"], unexplained, "an action that supersedes another has a reason")
    return frame


def _instruments(frame: pl.DataFrame, faults: Faults) -> pl.DataFrame:
    """Settle in the quote currency, or an inverse contract in its base, where nothing is said."""
    return frame.with_columns(settle=pl.coalesce("settle", pl.when("inverse").then("base").otherwise("quote")))


_ACROSS: Mapping[type[Record], Callable[[pl.DataFrame, Faults], pl.DataFrame]] = {
    CashFlow: _cash_flows,
    CorporateAction: _actions,
    Instrument: _instruments,
}
"""The rules of a record about several of its columns."""


def _is_required(item: dataclasses.Field[Any]) -> bool:
    # a record's created_at defaults to now, which would be wrong for the rows of a frame
    return item.default is dataclasses.MISSING


def _is_nullable(item: dataclasses.Field[Any]) -> bool:
    return "None" in str(item.type)


def _check_column(
    values: pl.Series, kind: pl.DataType, faults: Faults, words: Mapping[str, type[StrEnum]], *, floats: bool
) -> pl.Series:
    if kind == pl.List:
        return _check_names(values, faults)
    if values.dtype == pl.Null:
        return values.cast(kind)
    if values.name == "extra":
        return check_extras(values, faults)
    if isinstance(kind, pl.Decimal):
        return _check_decimals(values, faults, floats=floats)
    if isinstance(kind, pl.Datetime):
        return _check_instants(_midnights(values) if values.name == "ex_date" else values, faults)
    if kind == pl.Int64:
        return _check_places(values, faults)
    if kind == pl.Boolean:
        return _check_flags(values, faults)
    return _check_texts(values, faults, words.get(values.name))


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


def _midnights(values: pl.Series) -> pl.Series:
    """Return dates, and times at a date in whatever zone, as that date at 00:00 UTC."""
    if not isinstance(values.dtype, pl.Date | pl.Datetime):
        return values
    return values.dt.date().cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def _check_flags(values: pl.Series, faults: Faults) -> pl.Series:
    if values.dtype != pl.Boolean:
        raise InputError(f"{faults.named(values.name)} is {values.dtype}, neither true nor false.")
    return values


def _check_names(values: pl.Series, faults: Faults) -> pl.Series:
    if values.dtype != pl.Null and values.dtype not in (pl.List(pl.String), pl.List(pl.Null)):
        raise InputError(f"{faults.named(values.name)} is {values.dtype}, not lists of names.")
    lists = values.cast(pl.List(pl.String))
    name = pl.element()
    wrong = name.is_null() | (name == "") | (name.str.strip_chars() != name) | name.str.contains("\0", literal=True)
    wrong |= name.str.len_chars() > _ALIAS_LENGTH
    rule = f"each name has 1 to {_ALIAS_LENGTH} characters, no NUL, and no space around it"
    lists = faults.refuse(lists, lists.list.eval(wrong).list.any(), rule)
    nothing = pl.lit([], dtype=pl.List(pl.String))
    return lists.to_frame().select(pl.col(lists.name).fill_null(nothing)).to_series()


def _check_texts(values: pl.Series, faults: Faults, words: type[StrEnum] | None) -> pl.Series:
    if values.dtype not in (pl.String, pl.Categorical, pl.Enum):
        raise InputError(f"{faults.named(values.name)} is {values.dtype}, not text.")
    text = values.cast(pl.String)
    if words is not None:
        return faults.refuse(text, ~text.is_in(list(words)), f"allowed are {', '.join(words)}")
    length = _LENGTHS.get(values.name, _TEXT_LENGTH)
    text = faults.refuse(text, text.str.contains("\0", literal=True), "a NUL character cannot be stored")
    text = faults.refuse(text, text.str.len_chars() > length, f"at most {length} characters are allowed")
    if values.name != "reject_reason":
        text = faults.refuse(text, (text == "") | (text.str.strip_chars() != text), "it is empty or padded")
    return text
