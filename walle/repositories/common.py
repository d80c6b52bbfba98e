"""What the repositories share: set-based inserts, filters, and near names."""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle.database import Database, Writer
from walle.dialects.base import BATCH_ROWS
from walle.errors import InputError, UnknownRun, UnreadableRow
from walle.models import cash_flows, fills, orders, runs
from walle.validation import check_text, decimal_text, parse_json, parse_range

__all__ = [
    "IN_LIST",
    "Time",
    "canonical",
    "check_name",
    "document",
    "in_range",
    "insert_missing",
    "known_run",
    "near",
    "one_of",
    "same_key",
    "write_staged",
]

IN_LIST = 500
"""Values that one IN list holds; of more, all rows are read, or they are asked for in parts."""

_SHORT = 5
"""Letters of a name up to which one that differs is near."""

Time = datetime | date | str | None
"""An end of a range: an aware datetime, a date or ISO string (UTC), or None for open."""


def same_key(left: sa.FromClause, right: sa.FromClause, key: Sequence[str]) -> sa.ColumnElement[bool]:
    """Join two tables on a key."""
    return sa.and_(*(left.c[name] == right.c[name] for name in key))


def insert_missing(
    table: sa.Table,
    staged: sa.TableClause,
    key: Sequence[str],
    *,
    anti_join: bool = True,
    any_key: bool = False,
    arrival: str | None = None,
    instead: Mapping[str, sa.ColumnElement[Any]] | None = None,
    columns: Iterable[str] | None = None,
) -> sa.Insert:
    """Insert the staged rows whose key is not in the table yet; with ``any_key`` none of its unique keys.

    Of staged rows that share a key the first goes in, by their order in the column ``arrival``. Expressions in
    ``instead`` take the place of staged columns, or of columns that are not staged; ``columns`` are the staged ones
    that go in, by default all.

    Rows that are there are left out by a join, because ON CONFLICT DO NOTHING takes a number from the sequence for
    each; the clause stays for rows that another transaction commits meanwhile.
    """
    chosen = staged.columns if columns is None else [staged.c[name] for name in columns]
    given = {column.name: column for column in chosen} | dict(instead or {})
    names = list(given)
    rows = sa.select(*given.values()).where(sa.true())
    if anti_join:
        rows = rows.where(~sa.exists().where(same_key(table, staged, key)))
    order = [*(staged.c[name] for name in key)] if anti_join else []
    rows = rows.order_by(*order, *([] if arrival is None else [sa.literal_column(arrival)]))
    rows = rows.suffix_with(f"ON CONFLICT {'' if any_key else '(' + ', '.join(key) + ') '}DO NOTHING")
    return sa.insert(table).from_select(names, rows).execution_options(preserve_rowcount=True)


@asynccontextmanager
async def write_staged(
    database: Database, table: sa.Table, frame: pl.DataFrame, session: AsyncSession | None
) -> AsyncIterator[tuple[Writer, sa.TableClause]]:
    """Open a transaction in which a frame lies staged; many rows are staged before SQLite's write lock is taken."""
    async with database.writer(session) as writer:
        staged: sa.TableClause | None = None
        if writer.dialect.stages_before_lock and frame.height >= BATCH_ROWS:
            async with writer.unlocked():
                staged = await writer.stage(table, frame)
        async with writer.transaction():
            yield writer, await writer.stage(table, frame) if staged is None else staged


def check_name(value: object, field: str) -> str:
    """Return a name to look for.

    Raises
    ------
    InputError
        For anything but a text.
    """
    if not isinstance(value, str):
        plain = value is None or isinstance(value, int | float | bytes | list | tuple | set | dict)
        what = f"{field}={value!r}" if plain else field  # a foreign object may not be able to show itself
        raise InputError(f"{what} ({type(value).__name__}) is not a text; give one {field}.")
    return check_text(value, field, maximum=1000, empty=True)


def in_range(column: sa.ColumnElement[Any], start: Time, end: Time) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a half-open range ``[start, end)``."""
    first, last = parse_range(start, end)
    conditions: list[sa.ColumnElement[bool]] = []
    if first is not None:
        conditions.append(column >= first)
    if last is not None:
        conditions.append(column < last)
    return conditions


def one_of(
    column: sa.ColumnElement[Any], value: str | Iterable[str] | None, words: type[StrEnum] | None = None
) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a column is one of some texts; none for None.

    Raises
    ------
    InputError
        For a word that does not exist.
    """
    if value is None:
        return []
    if not isinstance(value, str | Iterable):
        raise InputError(f"{column.key}={value!r} ({type(value).__name__}) is neither a text nor a list of texts.")
    wanted = [value] if isinstance(value, str) else list(value)
    for word in wanted:
        if not isinstance(word, str):
            raise InputError(f"{column.key}={word!r} is not a text.")
        check_text(word, str(column.key), maximum=1000, empty=True)
        if words is not None and word not in set(words):
            raise InputError(f"unknown {column.key} {word!r}. Allowed: {', '.join(words)}.")
    return [column == str(wanted[0])] if len(wanted) == 1 else [column.in_([str(word) for word in wanted])]


def near(word: str, known: Iterable[str]) -> list[str]:
    """Return up to three known names that are spelled like a word.

    Those come first that differ in signs alone (BTCUSD and BTC/USD), or in two letters that changed places; of short
    names, those that differ in one letter.
    """
    by_lower = {name.lower(): name for name in known}
    mine = word.lower()
    alike = [name for name in by_lower if _is_near(mine, name)]
    alike += difflib.get_close_matches(mine, [name for name in by_lower if name not in alike], 3, 0.6)
    return [by_lower[match] for match in alike[:3]]


def _is_near(word: str, name: str) -> bool:
    """Return whether two names differ in signs alone, in one letter of a short name, or in neighbours that swapped."""
    letters = ["".join(filter(str.isalnum, text)) for text in (word, name)]
    if letters[0] and letters[0] == letters[1]:
        return True
    short, long = sorted(letters, key=len)
    odd = [place for place, (one, other) in enumerate(zip(short, long, strict=False)) if one != other]
    if len(short) == len(long):
        swapped = len(odd) == 2 and odd[1] == odd[0] + 1 and long[odd[0]] == short[odd[1]]
        swapped = swapped and long[odd[1]] == short[odd[0]]
        return swapped or (len(odd) == 1 and 1 < len(long) <= _SHORT)
    place = odd[0] if odd else len(short)
    return len(long) - len(short) == 1 < len(long) <= _SHORT and short[place:] == long[place + 1 :]


async def known_run(database: Database, run_id: str, session: AsyncSession | None = None) -> None:
    """Raise unless anything of a run is stored.

    Raises
    ------
    UnknownRun
        With near ids, when nothing is.
    """
    places = [
        (table, name)
        for table, name in ((runs, "id"), (orders, "run_id"), (fills, "run_id"), (cash_flows, "run_id"))
        if database.has(table, name)
    ]
    if not places:
        raise UnknownRun(run_id)
    # each by its own index: through a union of them, SQLite would read all of it
    here = sa.or_(*(sa.exists().where(table.c[name] == run_id) for table, name in places))
    stored = sa.select(sa.case((here, 1), else_=0).label("stored"))
    if (await database.fetch(stored, {"stored": pl.Int64()}, session)).item():
        return
    ids = sa.union(*(sa.select(table.c[name].label("id")) for table, name in places)).subquery()
    some = sa.select(ids.c.id).where(ids.c.id.is_not(None)).limit(10_000)
    listed = await database.fetch(some, {"id": pl.String()}, session)
    raise UnknownRun(run_id, near(run_id, listed["id"].to_list()))


def document(text: str, place: str) -> Any:
    """Read a stored JSON document.

    Parameters
    ----------
    text : str
    place : str
        Which one it is, such as ``runs.config of id='r1'``.

    Raises
    ------
    UnreadableRow
        For one that is nested deeper than Python reads; another program wrote it.
    """
    try:
        return parse_json(text)
    except RecursionError:
        raise UnreadableRow(f"{place} holds JSON that is nested deeper than Python reads.", [place]) from None


def canonical(row: Mapping[str, Any]) -> dict[str, Any]:
    """Drop the zeros that a frame's decimals carry to their 18th place, and name UTC as Python does."""
    plain = {}
    for name, value in row.items():
        if isinstance(value, Decimal):
            value = Decimal(decimal_text(value))
        elif isinstance(value, datetime):
            value = value.replace(tzinfo=UTC)
        plain[name] = value
    return plain
