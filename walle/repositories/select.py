"""Turn a SELECT into a public frame: read columns in their wire form, and convert them to their declared types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle.database import Database
from walle.errors import PrecisionError, UnreadableRow
from walle.types import wire
from walle.validation import DECIMAL_INTEGER_DIGITS, DECIMAL_PLACES, JSON_LIST

__all__ = ["expression", "finish", "read", "wire_schema"]

_EXACT = rf"^-?(\d{{1,{DECIMAL_INTEGER_DIGITS}}}(\.\d{{1,{DECIMAL_PLACES}}}0*)?|\.\d{{1,{DECIMAL_PLACES}}}0*)$"


def wire_schema(schema: Mapping[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Return the wire types of the columns of a frame."""
    forms: dict[str, pl.DataType] = {}
    for name, kind in schema.items():
        if isinstance(kind, pl.Decimal | pl.List):
            forms[name] = pl.String()
        else:
            forms[name] = kind
    return forms


def expression(database: Database, table: sa.Table, name: str) -> sa.ColumnElement[Any]:
    """Return a column in its wire form, or a typed null if the database lacks it."""
    column = table.c[name]
    if database.has(table, name):
        return wire(column, database.dialect.name).label(name)
    return wire(sa.cast(sa.null(), column.type), database.dialect.name).label(name)


async def read(
    database: Database,
    statement: sa.Select[Any],
    schema: Mapping[str, pl.DataType],
    session: AsyncSession | None = None,
) -> pl.DataFrame:
    """Run a SELECT whose columns are in the schema's order, and return the public frame."""
    raw = await database.fetch(statement, wire_schema(schema), session)
    with database.dialect.name_unreadable_rows(statement):
        return finish(raw, schema)


def finish(raw: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Convert wire columns to those of a public frame, a whole column at a time.

    Raises
    ------
    PrecisionError
        For a stored number that ``Decimal(38, 18)`` cannot hold; Polars would round it silently.
    UnreadableRow
        For a stored text that is not a number, or not a plain list.
    """
    columns = []
    for name, kind in schema.items():
        values = raw[name]
        if isinstance(kind, pl.Decimal) and values.dtype == pl.String:
            _check_digits(values)
        if isinstance(kind, pl.List) and values.dtype == pl.String:
            columns.append(_lists(values, kind))
        else:
            columns.append(values if values.dtype == kind else values.cast(kind))
    return pl.DataFrame(columns)


def _lists(values: pl.Series, kind: pl.List) -> pl.Series:
    # Polars would turn a lone text into a list, and inner lists into texts; for numbers that is intended
    if not values.str.contains(JSON_LIST).all():
        raise UnreadableRow(f"column {values.name!r} holds a value that is not a plain JSON list")
    try:
        return values.str.json_decode(kind)
    except pl.exceptions.PolarsError as error:
        raise UnreadableRow(f"column {values.name!r} holds a value that is not a plain JSON list") from error


def _check_digits(values: pl.Series) -> None:
    fits = values.str.contains(_EXACT)
    if not fits.all():
        worst = values.filter(~fits)
        numbers = worst.str.contains(r"^-?\d+(\.\d+)?$")
        if not numbers.all():
            raise UnreadableRow(f"column {values.name!r} holds {worst.filter(~numbers)[0]!r}, which is not a number")
        raise PrecisionError(
            f"column {values.name!r} holds {worst.len()} numbers beyond {DECIMAL_INTEGER_DIGITS} integer digits or "
            f"{DECIMAL_PLACES} places, such as {worst[0]}; a frame would have to round them. Read them with SQL."
        )
