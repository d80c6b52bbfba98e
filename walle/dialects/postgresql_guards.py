"""Triggers by which PostgreSQL itself keeps facts immutable and the index of bars true (but an owner can drop them)."""

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


_MARKING = """
BEGIN
    IF current_setting('walle.indexing', true) IS DISTINCT FROM 'on' THEN
        INSERT INTO {schema}.bar_index (symbol, timeframe, first, last, bars)
        SELECT symbol, timeframe, min("timestamp"), max("timestamp"), count(*) FROM fresh GROUP BY symbol, timeframe;
    END IF;
    RETURN NULL;
END
"""
_UNMARKING = """
BEGIN
    UPDATE {schema}.bar_index AS told SET runs = NULL, bars = told.bars + 1
    FROM (SELECT DISTINCT symbol, timeframe FROM gone) AS gone
    WHERE told.symbol = gone.symbol AND told.timeframe = gone.timeframe;
    RETURN NULL;
END
"""
_INDEX = {
    # bars that WallE did not write leave a mark in the index; its own writers say that they keep it themselves
    "walle_guard_bar_index_insert": (
        "walle_mark_bars",
        _MARKING,
        "AFTER INSERT ON bars REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT",
    ),
    # what is deleted is in no row any more: all of the series is to be looked at again
    "walle_guard_bar_index_delete": (
        "walle_unmark_bars",
        _UNMARKING,
        "AFTER DELETE ON bars REFERENCING OLD TABLE AS gone FOR EACH STATEMENT",
    ),
}


def install(connection: Connection) -> None:
    """Create the functions and the triggers; ALWAYS, so that a replication role does not pass them by."""
    remove(connection)
    for name, (function, source, table, form) in _wanted(connection).items():
        # as the owner of the tables: who may write bars need not have a right to the index
        rights = " SECURITY DEFINER SET search_path = pg_catalog, pg_temp" if name in _INDEX else ""
        connection.execute(
            sa.text(f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql{rights} AS $${source}$$")
        )
        connection.execute(sa.text(f"CREATE TRIGGER {name} {form} EXECUTE FUNCTION {function}()"))
        connection.execute(sa.text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"))


def remove(connection: Connection) -> None:
    """Drop the functions and with them the triggers."""
    schema = _schema(connection)
    for function in (_FUNCTION, *(function for function, *_ in _INDEX.values())):
        connection.execute(sa.text(f"DROP FUNCTION IF EXISTS {schema}.{function}() CASCADE"))


def missing(connection: Connection) -> list[str]:
    """Name the triggers that are not there, do not always fire, or call another function than ours."""
    query = sa.text(
        "SELECT tgname, prosrc FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
        "WHERE tgenabled = 'A' AND tgqual IS NULL AND tgrelid IN "
        "(SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)"
    )
    present = {row.tgname: row.prosrc for row in connection.execute(query, {"tables": _present(connection)})}
    return [name for name, (_, source, *_) in _wanted(connection).items() if present.get(name) != source]


def _wanted(connection: Connection) -> dict[str, tuple[str, str, str, str]]:
    """Return function, its source, table and form of each trigger that belongs to this schema."""
    schema, tables = _schema(connection), _present(connection)
    wanted = {
        f"walle_guard_{table}_{what}": (f"{schema}.{_FUNCTION}", _SOURCE, table, form.format(table=table))
        for table in tables
        for what, form in _TRIGGERS.items()
    }
    if connection.scalar(sa.text("SELECT to_regclass('bar_index')")) is None:  # an older schema
        return wanted
    return wanted | {
        name: (f"{schema}.{function}", source.replace("{schema}", schema), "bars", form)
        for name, (function, source, form) in _INDEX.items()
    }


def _schema(connection: Connection) -> str:
    # beside the tables, whatever comes first in the search path: who drops that schema shall not drop the guards
    query = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('outbox')"
    return str(connection.scalar(sa.text(query)) or connection.scalar(sa.text("SELECT quote_ident(current_schema())")))


def _present(connection: Connection) -> list[str]:
    query = sa.text("SELECT name FROM unnest(CAST(:tables AS text[])) AS name WHERE to_regclass(name) IS NOT NULL")
    found = set(connection.scalars(query, {"tables": list(_TABLES)}))
    return [table for table in _TABLES if table in found]
