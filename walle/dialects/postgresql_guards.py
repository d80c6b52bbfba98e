"""Triggers by which PostgreSQL itself keeps facts immutable, whoever connects (but an owner can drop them)."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

__all__ = ["SQLSTATE", "install", "missing", "remove"]

SQLSTATE = "WA001"
"""The code of a refusal, by which the driver's error is known."""

_FUNCTION = "walle_refuse_change"
_TABLES = ("fills", "outbox", "bars", "offset_resets")  # the last came later: an older schema has no guard of it
_TRIGGERS = {
    "update": "BEFORE UPDATE ON {table} FOR EACH ROW",
    "delete": "BEFORE DELETE ON {table} FOR EACH ROW",
    "truncate": "BEFORE TRUNCATE ON {table} FOR EACH STATEMENT",
}
_SOURCE = f"""
BEGIN
    IF TG_TABLE_NAME = 'bars' AND TG_OP = 'DELETE' AND current_setting('walle.maintenance', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% are facts: % is refused',
        CASE TG_TABLE_NAME WHEN 'outbox' THEN 'events' ELSE replace(TG_TABLE_NAME, '_', ' ') END, TG_OP
        USING ERRCODE = '{SQLSTATE}';
END
"""


def install(connection: Connection) -> None:
    """Create the function and the triggers; ALWAYS, so that a replication role does not pass them by."""
    remove(connection)
    function = _function(connection)
    connection.execute(sa.text(f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $${_SOURCE}$$"))
    for table in _present(connection):
        for what, form in _TRIGGERS.items():
            name = _name(table, what)
            connection.execute(
                sa.text(f"CREATE TRIGGER {name} {form.format(table=table)} EXECUTE FUNCTION {function}()")
            )
            connection.execute(sa.text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"))


def remove(connection: Connection) -> None:
    """Drop the function and with it the triggers."""
    connection.execute(sa.text(f"DROP FUNCTION IF EXISTS {_function(connection)}() CASCADE"))


def missing(connection: Connection) -> list[str]:
    """Name the triggers that are not there, do not always fire, or call another function than ours."""
    query = sa.text(
        "SELECT tgname FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
        f"WHERE proname = '{_FUNCTION}' AND prosrc = :source AND tgenabled = 'A' AND tgqual IS NULL AND tgrelid IN "
        "(SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)"
    )
    tables = _present(connection)
    present = set(connection.scalars(query, {"source": _SOURCE, "tables": tables}))
    return [_name(table, what) for table in tables for what in _TRIGGERS if _name(table, what) not in present]


def _function(connection: Connection) -> str:
    # beside the tables, whatever comes first in the search path: who drops that schema shall not drop the guards
    query = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('outbox')"
    schema = connection.scalar(sa.text(query)) or connection.scalar(sa.text("SELECT quote_ident(current_schema())"))
    return f"{schema}.{_FUNCTION}"


def _present(connection: Connection) -> list[str]:
    query = sa.text("SELECT name FROM unnest(CAST(:tables AS text[])) AS name WHERE to_regclass(name) IS NOT NULL")
    found = set(connection.scalars(query, {"tables": list(_TABLES)}))
    return [table for table in _TABLES if table in found]


def _name(table: str, what: str) -> str:
    return f"walle_guard_{table}_{what}"
