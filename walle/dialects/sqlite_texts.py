"""Find texts in a SQLite file that are not UTF-8: SQLite stores any bytes as text, and has no function to detect them.

Therefore no guard can refuse them, and Python searches for them among the texts that are not pure ASCII, which SQLite
can select.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from walle.forms import UnreadableValue, key_of
from walle.types import ExactDecimal, Json

__all__ = ["NO_TEXT", "Undecodable", "any_text", "undecodable", "undecodable_rows"]

NO_TEXT = "no text in UTF-8"
_SHOWN = 80


class Undecodable(bytes):
    """The bytes of a stored text that is not UTF-8."""

    def __str__(self) -> str:
        """Show them as Python escapes them."""
        return repr(self.decode("utf-8", "backslashreplace")[:_SHOWN])


def _text(stored: bytes) -> str | Undecodable:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return Undecodable(stored)


@contextmanager
def any_text(connection: Connection) -> Iterator[None]:
    """Let a connection return any text; one that is not UTF-8 as :class:`Undecodable`."""
    raw: Any = connection.connection.driver_connection
    before, raw.text_factory = raw.text_factory, _text
    try:
        yield
    finally:
        raw.text_factory = before


def undecodable(connection: Connection, tables: Iterable[sa.Table], *, limit: int = 5) -> list[UnreadableValue]:
    """Find the first such texts in tables."""
    found: list[UnreadableValue] = []
    for table in sorted(tables, key=lambda table: table.name):
        for cells in _suspects(connection, table, {row[1] for row in _info(connection, table)}):
            key = ", ".join(f"{part}={_preview(cells[part])}" for part in key_of(table))
            found += [
                UnreadableValue(table.name, name, key, _preview(cells[name]), NO_TEXT) for name in _wrong(table, cells)
            ]
            if len(found) >= limit:
                return found[:limit]
    return found


def undecodable_rows(connection: Connection, table: sa.Table, present: Collection[str]) -> list[int]:
    """Return the row ids of all the rows of a table that have such a text."""
    return [cells["walle_row"] for cells in _suspects(connection, table, present) if _wrong(table, cells)]


def _suspects(connection: Connection, table: sa.Table, present: Collection[str]) -> Iterator[dict[str, Any]]:
    names = [column.name for column in table.columns if column.name in present]
    ascii_only = "'*[^' || char(1) || '-' || char(127) || ']*'"
    # GLOB stops at the first NUL of a text, and some versions do not work on bytes
    wanted = " OR ".join(
        f'CAST("{name}" AS TEXT) GLOB {ascii_only} OR instr("{name}", char(0))'
        for name in names
        if _is_text(table.c[name])
    )
    if not wanted:
        return
    listed = ", ".join(f'"{name}"' for name in names)
    with any_text(connection):
        raw: Any = connection.connection.driver_connection
        for row in raw.execute(f"SELECT rowid, {listed} FROM {table.name} WHERE {wanted}"):
            yield dict(zip(["walle_row", *names], row, strict=True))


def _wrong(table: sa.Table, cells: dict[str, Any]) -> list[str]:
    wrong = [name for name, value in cells.items() if isinstance(value, Undecodable)]
    payload = cells.get("payload")
    if table.name == "outbox" and type(payload) is bytes and isinstance(_text(payload), Undecodable):
        wrong.append("payload")  # bytes in this column are read as text
    return wrong


def _is_text(column: sa.Column[Any]) -> bool:
    return isinstance(column.type, sa.Text | Json) and not isinstance(column.type, ExactDecimal)


def _info(connection: Connection, table: sa.Table) -> list[Any]:
    raw: Any = connection.connection.driver_connection
    return list(raw.execute(f"PRAGMA table_info({table.name})"))


def _preview(value: object) -> str:
    if type(value) is bytes:
        return f"X'{value.hex().upper()}'"[:_SHOWN]
    return str(value) if isinstance(value, int | float | Undecodable) or value is None else repr(value)[:_SHOWN]
