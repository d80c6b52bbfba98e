"""Column types that mean the same on SQLite and PostgreSQL.

SQLAlchemy's own types lose the zone of a datetime and the digits of a decimal on SQLite. With these types, SQLite
stores an instant as an integer of microseconds since 1970 UTC, an exact decimal as canonical text (never compared or
summed in SQL), and a JSON document as compact text.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from walle.validation import (
    check_decimal,
    check_instant,
    check_json,
    decimal_text,
    from_microseconds,
    json_text,
    parse_json,
    to_microseconds,
)

__all__ = [
    "ExactDecimal",
    "Json",
    "UtcInstant",
    "big_key",
    "bounded_text",
    "clock",
    "holds",
    "listed_member",
    "member",
    "microseconds",
    "plain_member",
    "recording_time",
    "resembles",
    "utc_now",
    "wire",
]


class UtcInstant(TypeDecorator[datetime]):
    """An aware instant: timestamptz on PostgreSQL, microseconds since 1970 UTC on SQLite."""

    impl = sa.DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's own type."""
        kind: TypeEngine[Any] = sa.Integer() if dialect.name == "sqlite" else postgresql.TIMESTAMP(timezone=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Raise for naive datetimes."""
        if value is None:
            return None
        instant = check_instant(value, "instant")
        return to_microseconds(instant) if dialect.name == "sqlite" else instant

    def literal_processor(self, dialect: Dialect) -> Callable[[Any], str]:
        """Return a function that writes instants as literals, for readers without bound parameters."""

        def write(value: Any) -> str:
            instant = check_instant(value, "instant")
            if dialect.name == "sqlite":
                return str(to_microseconds(instant))
            return f"TIMESTAMPTZ '{instant.isoformat(sep=' ')}'"

        return write

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Return an aware datetime in UTC."""
        if value is None:
            return None
        return from_microseconds(value) if dialect.name == "sqlite" else check_instant(value, "instant")


class ExactDecimal(TypeDecorator[Decimal]):
    """An exact decimal: numeric on PostgreSQL, canonical text on SQLite.

    Parameters
    ----------
    precision, scale : int, optional
        The precision and scale of the numeric column. Without them it is unlimited, and values are checked against
        ``Decimal(38, 18)``.
    """

    impl = sa.Numeric
    cache_ok = True

    def __init__(self, precision: int | None = None, scale: int | None = None) -> None:
        super().__init__(precision, scale)
        self.precision: int | None = precision
        self.scale: int | None = scale

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's own type; TEXT, because NUMERIC affinity makes '1.10' a REAL on SQLite."""
        kind: TypeEngine[Any] = sa.Text() if dialect.name == "sqlite" else sa.Numeric(self.precision, self.scale)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Raise for a value that does not fit instead of rounding it."""
        if value is None:
            return None
        exact = check_decimal(value, "decimal")
        return decimal_text(exact) if dialect.name == "sqlite" else exact

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return a canonical Decimal."""
        return None if value is None else Decimal(decimal_text(Decimal(value)))


class Json(TypeDecorator[Any]):
    """A JSON document: JSONB on PostgreSQL, compact text on SQLite."""

    impl = sa.Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the database's own type."""
        kind: TypeEngine[Any] = sa.Text() if dialect.name == "sqlite" else postgresql.JSONB(none_as_null=True)
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Raise for a value that is not JSON on every store."""
        if value is None:
            return None
        document = check_json(value, "document")
        return json_text(document) if dialect.name == "sqlite" else document

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        """Return dicts, lists, texts and numbers."""
        return parse_json(value) if dialect.name == "sqlite" and value is not None else value


def big_key() -> TypeEngine[int]:
    """Return a 64-bit autoincrement key; INTEGER on SQLite, which supports no other type."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def bounded_text(length: int) -> TypeEngine[str]:
    """Return varchar(length), as in the base revisions; TEXT on SQLite, which ignores the length anyway."""
    return sa.String(length).with_variant(sa.Text(), "sqlite")


class utc_now(FunctionElement[datetime]):  # an SQL function, in lower case like those of sqlalchemy.func
    """The database's clock as a column default."""

    type: UtcInstant = UtcInstant()
    inherit_cache = True


@compiles(utc_now)
def _now(element: utc_now, compiler: SQLCompiler, **options: Any) -> str:
    return "now()"


@compiles(utc_now, "sqlite")
def _now_in_microseconds(element: utc_now, compiler: SQLCompiler, **options: Any) -> str:
    # unixepoch('subsec') requires SQLite 3.42; %f of strftime has milliseconds in every version
    seconds = "CAST(strftime('%s', 'now') AS INTEGER) * 1000000"
    return f"({seconds} + CAST(substr(strftime('%f', 'now'), 4, 3) AS INTEGER) * 1000)"


class clock(FunctionElement[datetime]):
    """The database's clock at this moment, even inside a transaction; later than another instant, if one is given."""

    type: UtcInstant = UtcInstant()
    inherit_cache = True


@compiles(clock)
def _at_once(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    after = [compiler.process(clause, **options) for clause in element.clauses]
    return f"greatest(clock_timestamp(), {after[0]} + interval '1 microsecond')" if after else "clock_timestamp()"


@compiles(clock, "sqlite")
def _at_once_in_microseconds(element: clock, compiler: SQLCompiler, **options: Any) -> str:
    now = compiler.process(utc_now(), **options)
    after = [compiler.process(clause, **options) for clause in element.clauses]
    return f"max({now}, coalesce({after[0]} + 1, 0))" if after else now


class recording_time(FunctionElement[datetime]):
    """The database's clock at the start of a statement, at which the rows that it writes are recorded.

    ``now()`` of PostgreSQL is the start of the transaction: a transaction that the caller keeps open would record its
    facts long before anybody could know them. ``clock_timestamp()`` differs from row to row, so that one call would be
    recorded at several times.
    """

    type: UtcInstant = UtcInstant()
    inherit_cache = True


@compiles(recording_time)
def _statement_time(element: recording_time, compiler: SQLCompiler, **options: Any) -> str:
    return "statement_timestamp()"


compiles(recording_time, "sqlite")(_now_in_microseconds)


def wire(column: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[Any]:
    """Return the expression that reads a column in its wire form.

    On the wire, instants are integers on SQLite, and decimals and JSON are text everywhere, so that a whole column can
    be parsed at once.

    Parameters
    ----------
    column : ColumnElement
    dialect : str
        ``sqlite`` or ``postgresql``.
    """
    kind = column.type
    if isinstance(kind, UtcInstant):
        return sa.type_coerce(column, sa.Integer()) if dialect == "sqlite" else column
    if isinstance(kind, ExactDecimal | Json):
        return sa.type_coerce(column, sa.Text()) if dialect == "sqlite" else sa.cast(column, sa.Text())
    if isinstance(kind, sa.Double):
        # always cast to float8, since a float8 cast to numeric keeps only 15 digits; no effect on our own tables
        return column if dialect == "sqlite" else sa.cast(column, sa.Double())
    return column


def microseconds(column: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[Any]:
    """Return the expression that reads an instant as microseconds since 1970 UTC, and any other column as it is."""
    if not isinstance(column.type, UtcInstant):
        return column
    if dialect == "sqlite":
        return sa.type_coerce(column, sa.Integer())
    return sa.cast(sa.extract("epoch", column) * 1_000_000, sa.BigInteger())


def member(column: sa.ColumnElement[Any], key: str, dialect: str, *, document: bool = False) -> sa.ColumnElement[str]:
    """Return one member of a JSON object as text; null where it is absent or null.

    Parameters
    ----------
    column : ColumnElement
        A column of the type :class:`Json`.
    key : str
    dialect : str
        ``sqlite`` or ``postgresql``.
    document : bool
        Whether to return a JSON document, in which a text has its quotes.
    """
    if dialect == "sqlite":
        # the operators -> and ->> require SQLite 3.38
        text = sa.type_coerce(column, sa.Text)
        found = sa.func.json_extract(text, f'$."{key}"')
        # a value of another program may not be JSON: its row has no members, and the others are read
        value: sa.ColumnElement[Any] = sa.case((sa.func.json_valid(text) == 1, found))
        if document:
            return sa.func.nullif(sa.func.json_quote(value), "null")
        return sa.cast(value, sa.Text)
    raw = sa.cast(column, postgresql.JSONB)  # another program's column may be json; for jsonb the cast has no effect
    return sa.func.nullif(sa.cast(raw.op("->")(key), sa.Text), "null") if document else raw[key].astext


def holds(column: sa.ColumnElement[Any], part: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[bool]:
    """Return whether a JSON object has all members of another one, with their values; neither has nulls.

    Parameters
    ----------
    column, part : ColumnElement
        Columns of the type :class:`Json`.
    dialect : str
        ``sqlite`` or ``postgresql``.
    """
    if dialect == "sqlite":
        whole = sa.type_coerce(column, sa.Text)
        return sa.func.json_patch(whole, sa.type_coerce(part, sa.Text)) == sa.func.json(whole)
    return sa.cast(column, postgresql.JSONB).contains(sa.cast(part, postgresql.JSONB))


def plain_member(column: sa.ColumnElement[Any], key: str, dialect: str) -> sa.ColumnElement[str]:
    """Return one member of a JSON object as text if it is a text or a number, else null; see :func:`member`."""
    if dialect == "sqlite":
        text, path = sa.type_coerce(column, sa.Text), f'$."{key}"'
        plain = sa.func.json_type(text, path).in_(["text", "integer", "real"])
        value = sa.case((plain, sa.cast(sa.func.json_extract(text, path), sa.Text)))
        return sa.case((_may_have(text, key), value))
    document = sa.cast(column, postgresql.JSONB)
    kind = sa.func.jsonb_typeof(document.op("->")(key))
    return sa.case((kind.in_(["string", "number"]), document[key].astext))


def listed_member(column: sa.ColumnElement[Any], key: str, dialect: str) -> sa.ColumnElement[str]:
    """Return one member of a JSON object as the text of a JSON list without lists or objects in it, else null.

    A text or a number counts as a list of one; for the arguments see :func:`member`.
    """
    if dialect == "sqlite":
        text, path = sa.type_coerce(column, sa.Text), f'$."{key}"'
        kind, value = sa.func.json_type(text, path), sa.func.json_extract(text, path)
        each = sa.func.json_each(text, path).table_valued("type")
        nested = sa.exists(sa.select(sa.literal(1)).select_from(each).where(each.c.type.in_(["object", "array"])))
        one = sa.func.json_array(value)
        listed = sa.case((kind == "array", sa.case((~nested, value))), (kind.in_(["text", "integer", "real"]), one))
        return sa.cast(sa.case((_may_have(text, key), listed)), sa.Text)
    raw = sa.cast(column, postgresql.JSONB).op("->", return_type=postgresql.JSONB())(key)
    kind = sa.func.jsonb_typeof(raw)
    deeper = sa.cast('strict $[*] ? (@.type() == "object" || @.type() == "array")', postgresql.JSONPATH)
    return sa.case(
        (kind == "array", sa.case((~sa.func.jsonb_path_exists(raw, deeper), sa.cast(raw, sa.Text)))),
        (kind.in_(["string", "number"]), sa.cast(sa.func.jsonb_build_array(raw), sa.Text)),
    )


def _may_have(text: sa.ColumnElement[Any], key: str) -> sa.ColumnElement[bool]:
    # search for the letters first, because most documents have no such member and need no parsing; a value of another
    # program may not be JSON, and then has no members
    return sa.and_(sa.func.instr(text, f'"{key}"') > 0, sa.func.json_valid(text) == 1)


def resembles(column: sa.ColumnElement[str], pattern: str, dialect: str) -> sa.ColumnElement[bool]:
    """Compare a text with a pattern in which ``*`` stands for any characters; upper and lower case differ."""
    if dialect == "sqlite":  # its LIKE ignores case
        return column.op("GLOB", is_comparison=True)(re.sub(r"[\[?]", r"[\g<0>]", pattern))
    return column.like(re.sub(r"[!%_]", r"!\g<0>", pattern).replace("*", "%"), escape="!")
