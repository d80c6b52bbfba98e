"""The columns that tables have in a database."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy import Connection

__all__ = ["columns_of"]

# the inspector would ask for each table alone
_SQLITE = sa.text(
    "SELECT sqlite_master.name, its.name FROM sqlite_master JOIN pragma_table_xinfo(sqlite_master.name) AS its "
    "WHERE sqlite_master.type = 'table' AND sqlite_master.name IN :names"
).bindparams(sa.bindparam("names", expanding=True))


def columns_of(connection: Connection, tables: Iterable[str]) -> dict[str, frozenset[str]]:
    """Return the names of the columns of those of some tables that exist."""
    names = sorted(tables)
    if connection.dialect.name != "sqlite":
        found = sa.inspect(connection).get_multi_columns(filter_names=names)
        return {name: frozenset(column["name"] for column in columns) for (_, name), columns in found.items()}
    present: dict[str, set[str]] = {}
    for table, column in connection.execute(_SQLITE, {"names": names}).all():
        present.setdefault(table, set()).add(column)
    return {table: frozenset(columns) for table, columns in present.items()}
