"""The form of stored values: conditions in SQL, for each database, that make a column readable for every reader.

The same conditions define the guards that refuse other values, find stored rows that break them, and identify the row
that stopped a reader.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from walle.types import ExactDecimal, Json, UtcInstant
from walle.validation import DECIMAL_INTEGER_DIGITS, DECIMAL_PLACES, JSON_LIST

__all__ = [
    "FIRST_INSTANT",
    "LAST_ID",
    "LAST_INSTANT",
    "SPENT_ID",
    "UnreadableValue",
    "condition",
    "describe_unreadable",
    "findings",
    "forms",
    "is_list",
    "key_of",
    "only_finite",
    "search",
]

FIRST_INSTANT = -62_135_596_800_000_000
"""The first microsecond of the year 1, counted from 1970 UTC."""

LAST_INSTANT = 253_402_300_799_999_999
"""The last microsecond of the year 9999."""

LAST_ID = 1 << 62
"""The highest id that a guard accepts: a foreign row with the largest possible id would leave none for new rows."""

SPENT_ID = (1 << 63) - (1 << 32)
"""SQLite soon runs out of ids above it; ids assigned after another program's row lie between the two limits."""

_LISTS = {("runs", "symbols"), ("backtest_results", "symbols"), ("instruments", "aliases")}
_YEARS = ("'0001-01-01 00:00:00+00'::timestamptz", "'9999-12-31 23:59:59.999999+00'::timestamptz")
_SHOWN = 80
_WORDS: tuple[tuple[type[object], str], ...] = (
    (UtcInstant, "no time in the years 1 to 9999"),
    (ExactDecimal, f"no number of at most {DECIMAL_INTEGER_DIGITS} integer digits and {DECIMAL_PLACES} places"),
    (Json, "no JSON of whole characters"),
    (sa.Double, "no finite number"),
    (sa.Boolean, "neither 0 nor 1"),
    (sa.Integer, "no whole number"),
    (sa.Text, "no text"),
    (sa.LargeBinary, "no bytes"),
)


class UnreadableValue(NamedTuple):
    """A stored value that no reader can read.

    Parameters
    ----------
    table, column : str
    key : str
        The key of the row, such as ``id='f1'``.
    value : str
        The beginning of the value, as SQL writes it.
    reason : str
    """

    table: str
    column: str
    key: str
    value: str
    reason: str

    def __str__(self) -> str:
        """Show the value and its row."""
        return f"{self.table}.{self.column} of {self.key} holds {self.value}, which is {self.reason}"


def is_list(column: sa.Column[Any]) -> bool:
    """Return whether a column of JSON is read as a list of texts."""
    return (column.table.name, column.name) in _LISTS


def only_finite(table: sa.Table) -> bool:
    """Return whether all numbers of a table must be finite; refused rows keep whatever could be read."""
    return table.name != "rejected_bars"


def describe_unreadable(column: sa.Column[Any]) -> str:
    """Return a description of values that do not have the form of a column."""
    if is_list(column):
        return "no plain JSON list"
    if _is_id(column):
        return "no whole number up to 2^62"
    return next(words for kind, words in _WORDS if isinstance(column.type, kind))


def forms(
    table: sa.Table, dialect: str, *, prefix: str = "", only: Collection[str] | None = None, guard: bool = False
) -> dict[str, str]:
    """Return, for each column, SQL that is true (or null) if its value can be read.

    Parameters
    ----------
    table : Table
    dialect : str
        ``sqlite`` or ``postgresql``, whose column types already ensure most of it.
    prefix : str
        The prefix of each column, such as ``NEW.``.
    only : collection of str, optional
        The existing columns.
    guard : bool
        Whether the conditions are for new rows, rather than for stored ones.
    """
    found = {}
    for column in table.columns:
        if only is None or column.name in only:
            value = f'{prefix}"{column.name}"'
            form = _sqlite(column, value, guard=guard) if dialect == "sqlite" else _postgresql(column, value)
            if form is not None:
                found[column.name] = form
    return found


def condition(table: sa.Table, dialect: str, only: Collection[str] | None = None) -> sa.ColumnElement[bool] | None:
    """Return a condition for rows that no reader can read; None if the column types rule them out."""
    checked = forms(table, dialect, prefix=f"{table.name}.", only=only)
    if not checked:
        return None
    return sa.literal_column("(" + " OR ".join(f"NOT {form}" for form in checked.values()) + ")", sa.Boolean)


def _is_id(column: sa.Column[Any]) -> bool:
    return column.primary_key and isinstance(column.type, sa.Integer)


def _sqlite(column: sa.Column[Any], value: str, *, guard: bool) -> str:
    """Return the condition of a column on SQLite, by comparisons: typeof() would cost three times as much per row.

    Numbers sort before texts, and texts before bytes; the column's affinity has converted texts that are numbers.
    """
    kind = column.type
    if isinstance(kind, UtcInstant):
        form = f"{value} | 0 = {value} AND {value} BETWEEN {FIRST_INSTANT} AND {LAST_INSTANT}"
    elif isinstance(kind, ExactDecimal):
        places = f"instr({value}, '.') = 0 OR length(rtrim({value}, '0')) - instr({value}, '.') <= {DECIMAL_PLACES}"
        digits = f"instr({value} || '.', '.') - ({value} GLOB '-*') <= {DECIMAL_INTEGER_DIGITS + 1}"
        form = (  # GLOB and length stop at a NUL
            f"{value} < X'' AND instr({value}, char(0)) = 0 AND {value} GLOB '[0-9.-]*' "
            f"AND {value} NOT GLOB '?*[^0-9.]*' AND {value} NOT GLOB '*.*.*' AND {value} GLOB '*[0-9]' "
            f"AND (length({value}) <= {DECIMAL_PLACES + 1} OR {digits} AND ({places}))"
        )
    elif is_list(column):
        none = "'null'" if column.nullable else "''"
        form = (
            f"CASE WHEN {value} IS NULL THEN 1 WHEN {value} >= X'' OR instr({value}, char(0)) "
            f"OR NOT json_valid({value}) THEN 0 WHEN json_type({value}) <> 'array' THEN json_type({value}) = {none} "
            f"ELSE NOT EXISTS (SELECT 1 FROM json_each({value}) WHERE type IN ('array', 'object')) "
            f"AND ({_whole_characters(value)}) END"
        )
    elif (column.table.name, column.name) == ("outbox", "payload"):
        # an event of another program is read as far as possible, even if it is not JSON; only its members become texts
        form = _whole_characters(value, members=True)
    elif isinstance(kind, Json):
        # json_valid of older versions returns 0 for null, and stops at a NUL
        document = f"{value} < X'' AND json_valid({value}) AND instr({value}, char(0)) = 0"
        form = f"{value} IS NULL OR {document} AND {_whole_characters(value)}"
    elif isinstance(kind, sa.Double):
        finite = f"{value} > -9e999 AND {value} < 9e999"
        form = finite if only_finite(column.table) else f"{value} < ''"
    elif _is_id(column):
        form = f"{value} | 0 = {value} AND {value} <= {LAST_ID if guard else SPENT_ID}"
    elif isinstance(kind, sa.Boolean):
        form = f"{value} IN (0, 1)"
    elif isinstance(kind, sa.Integer):
        form = f"{value} | 0 = {value}"
    elif isinstance(kind, sa.LargeBinary):
        form = f"{value} >= X''"
    else:
        form = f"{value} < X'' AND instr({value}, char(0)) = 0"
    return f"({form})"


def _whole_characters(value: str, *, members: bool = False) -> str:
    """Return a condition that no text in JSON has a lone surrogate, or with ``members`` no direct member of it.

    PostgreSQL's jsonb refuses lone surrogates, and UTF-8 cannot encode them. GLOB reads them as U+FFFD, as it does
    U+FFFE and U+FFFF. Only documents with an escaped surrogate are parsed.
    """
    text = f"CAST({value} AS TEXT)"
    key, atom = (f"{_without(part)} GLOB '*' || char({0xFFFD}) || '*'" for part in ("key", "atom"))
    odd = f"json_tree({text}) WHERE {key} OR {atom}"
    if members:
        odd = f"json_each({text}) WHERE typeof(key) <> 'integer' AND {atom}"
    return (
        f"CASE WHEN {value} IS NULL OR instr({text}, '\\ud') = 0 AND instr({text}, '\\uD') = 0 "
        f"OR NOT json_valid({text}) THEN 1 ELSE NOT EXISTS (SELECT 1 FROM {odd}) END"
    )


def _without(part: str) -> str:
    for character in (0xFFFD, 0xFFFE, 0xFFFF):
        part = f"replace({part}, char({character}), '')"
    return part


def _postgresql(column: sa.Column[Any], value: str) -> str | None:
    kind = column.type
    if _is_id(column):
        return f"({value} <= {LAST_ID})"
    if is_list(column):  # another program's column may be json, whose texts may hold what jsonb refuses
        none = "" if column.nullable else f" AND ({value})::text <> 'null'"
        return f"({value} IS NULL OR ({value})::text ~ '{JSON_LIST}'{none})"
    if isinstance(kind, UtcInstant):
        return f"({value} BETWEEN {_YEARS[0]} AND {_YEARS[1]})"
    if isinstance(kind, ExactDecimal):  # NaN is above every number
        exact = f"({value})::numeric"
        return f"(abs({exact}) < 1e{DECIMAL_INTEGER_DIGITS} AND {exact} = round({exact}, {DECIMAL_PLACES}))"
    if isinstance(kind, sa.Double) and only_finite(column.table):  # a float8 minus itself is 0, or NaN
        return f"(({value})::float8 - ({value})::float8 = 0)"
    return None


def key_of(table: sa.Table) -> list[str]:
    """Return the columns that identify a row in messages."""
    if table.name == "bars":
        return ["symbol", "timeframe", "timestamp"]
    return [column.name for column in table.primary_key.columns]


def search(
    table: sa.Table,
    dialect: str,
    *,
    only: Collection[str] | None = None,
    within: sa.Select[Any] | None = None,
    limit: int = 5,
) -> sa.Select[Any] | None:
    """Select the first rows of a table that no reader can read; None if the column types rule them out.

    Parameters
    ----------
    table : Table
    dialect : str
    only : collection of str, optional
        The existing columns.
    within : Select, optional
        A statement that limits the search to the rows that it reads; the table must be in its FROM clause.
    limit : int
        The maximum number of rows.

    Returns
    -------
    Select or None
        A statement that returns texts for :func:`findings`.
    """
    checked = forms(table, dialect, prefix=f"{table.name}.", only=only)
    if not checked:
        return None
    names = [*key_of(table), *checked]
    texts = [_text(table, name, dialect) for name in names]
    texts += [f"CASE WHEN NOT {form} THEN '1' ELSE '0' END" for form in checked.values()]
    columns: list[sa.ColumnElement[Any]] = [
        sa.literal_column(text, sa.Text).label(f"c{place}") for place, text in enumerate(texts)
    ]
    wrong = condition(table, dialect, only)
    assert wrong is not None
    if within is None:
        return sa.select(*columns).select_from(table).where(wrong).limit(limit)
    narrowed = within.with_only_columns(*columns, maintain_column_froms=True)
    return narrowed.where(wrong).group_by(None).order_by(None).offset(None).limit(limit)


def findings(
    table: sa.Table, dialect: str, rows: Iterable[Sequence[Any]], only: Collection[str] | None = None
) -> list[UnreadableValue]:
    """Return the findings in the rows of a :func:`search`."""
    checked, keys = list(forms(table, dialect, only=only)), key_of(table)
    width = len(checked)
    found = []
    for row in rows:
        key = ", ".join(f"{name}={value}" for name, value in zip(keys, row, strict=False))
        values, judged = row[len(keys) : len(keys) + width], row[len(keys) + width :]
        found += [
            UnreadableValue(table.name, name, key, str(value), describe_unreadable(table.c[name]))
            for name, value, wrong in zip(checked, values, judged, strict=True)
            if wrong == "1"
        ]
    return found


def _text(table: sa.Table, name: str, dialect: str) -> str:
    if dialect == "sqlite":  # quote() stops at a NUL in a text, but not in bytes
        value = f'{table.name}."{name}"'
        whole = f"CASE WHEN instr({value}, char(0)) THEN CAST({value} AS BLOB) ELSE {value} END"
        return f"substr(quote({whole}), 1, {_SHOWN})"
    return f'left(quote_nullable({table.name}."{name}"::text), {_SHOWN})'
