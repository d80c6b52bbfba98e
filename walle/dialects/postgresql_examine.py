"""PostgreSQL's own checks, with the extension amcheck if it is installed.

See https://www.postgresql.org/docs/current/amcheck.html.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from walle.dialects.base import CheckResult

__all__ = ["examine"]

_INDEXES = "indexes (amcheck's bt_index_check)"
_HEAP = "tables (amcheck's verify_heapam)"
_DENIED = "42501"


def examine(connection: Connection, tables: Sequence[str], found: CheckResult) -> None:
    """Run the checks, or record why they cannot run."""
    if connection.scalar(sa.text("SHOW data_checksums")) != "on":
        found.not_checked.append("checksums of pages: the server keeps none (data_checksums is off)")
    schema = connection.scalar(
        sa.text("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'amcheck'")
    )
    if schema is None:
        found.not_checked.append(
            f"{_INDEXES} and {_HEAP}: the extension is not installed; a superuser can: CREATE EXTENSION amcheck"
        )
        return
    query = sa.text(
        "SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE relam = (SELECT oid FROM pg_am WHERE amname = 'btree') AND indisvalid "
        "AND indrelid IN (SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name) ORDER BY 1"
    )
    indexes = connection.scalars(query, {"tables": list(tables)}).all()
    _run(connection, f"SELECT {schema}.bt_index_check(CAST(:name AS regclass), true)", indexes, _INDEXES, found)
    _run(connection, f"SELECT msg FROM {schema}.verify_heapam(CAST(:name AS regclass))", tables, _HEAP, found)


def _run(connection: Connection, statement: str, names: Sequence[str], what: str, found: CheckResult) -> None:
    for name in names:
        try:
            lines = connection.scalars(sa.text(statement), {"name": name}).all()
        except DBAPIError as error:
            connection.rollback()
            if getattr(error.orig, "sqlstate", None) == _DENIED:
                found.not_checked.append(f"{what}: this role may not run it; a superuser can grant EXECUTE")
                return
            found.problems.append(f"{name}: {str(error.orig).strip().splitlines()[0]}")
            if error.connection_invalidated:
                found.not_checked.append(f"{what}: all after {name}, at which the server ended the connection")
                return
        else:
            found.problems += [f"{name}: {line}" for line in lines if line]
    found.checked.append(what)
