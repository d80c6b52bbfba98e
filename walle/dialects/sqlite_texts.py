"""Texts in a SQLite file that are no UTF-8: SQLite keeps any bytes as text, and has no function that tells."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.sql import visitors

from walle.forms import Found, key_of

__all__ = ["undecodable"]


def undecodable(connection: Connection, statement: sa.Select[Any]) -> list[Found]:
    """Find the first row with such a text in the tables of a statement, by reading them as bytes."""
    raw: Any = connection.connection.driver_connection
    tables = {item for item in visitors.iterate(statement) if isinstance(item, sa.Table)}
    for table in sorted(tables, key=lambda table: table.name):
        raw.text_factory = bytes
        cursor = raw.execute(f"SELECT * FROM {table.name}")
        names = [column[0].decode() if isinstance(column[0], bytes) else column[0] for column in cursor.description]
        for row in cursor:
            cells = dict(zip(names, row, strict=True))
            for name, value in cells.items():
                if isinstance(value, bytes) and not _is_text(value):
                    key = ", ".join(f"{part}={_shown(cells[part])}" for part in key_of(table))
                    return [Found(table.name, name, key, _shown(value), "no text in UTF-8")]
    return []


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shown(value: object) -> str:
    return repr(value.decode("utf-8", "backslashreplace")) if isinstance(value, bytes) else str(value)
