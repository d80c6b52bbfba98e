"""Triggers by which PostgreSQL itself keeps facts immutable and the index of bars correct (an owner can drop them).

Check constraints refuse values that the column types allow but no reader could read: infinite times, years before 1,
NaN. They are created once and stay during migrations, because creating a check reads the whole table.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from walle.forms import describe_unreadable, forms
from walle.models import FACTS, FORMED_BY, metadata

__all__ = ["FORM", "SQLSTATE", "install", "missing", "refusal_message", "remove", "remove_checks"]

FORM = "walle_form_"
"""The names of the checks start with this, followed by the names of table and column, joined by two underscores."""

SQLSTATE = "WA001"
"""The SQLSTATE of a refusal, by which the driver's error is recognised."""

_FUNCTION = "walle_refuse_change"
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
    # bars of other programs leave a mark in the index; WallE's own writers declare that they maintain it
    "walle_guard_bar_index_insert": (
        "walle_mark_bars",
        _MARKING,
        "AFTER INSERT ON bars REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT",
    ),
    # a deleted bar cannot be found in the table, so the whole series has to be indexed again
    "walle_guard_bar_index_delete": (
        "walle_unmark_bars",
        _UNMARKING,
        "AFTER DELETE ON bars REFERENCING OLD TABLE AS gone FOR EACH STATEMENT",
    ),
}


def install(connection: Connection) -> None:
    """Create the functions and the triggers, which are ALWAYS enabled so that a replication role cannot bypass them."""
    remove(connection)
    for name, (function, source, table, form) in _wanted(connection).items():
        # runs as the owner of the tables, because a writer of bars may have no privileges on the index
        rights = " SECURITY DEFINER SET search_path = pg_catalog, pg_temp" if name in _INDEX else ""
        connection.execute(
            sa.text(f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql{rights} AS $${source}$$")
        )
        connection.execute(sa.text(f"CREATE TRIGGER {name} {form} EXECUTE FUNCTION {function}()"))
        connection.execute(sa.text(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"))
    checks, present = _checks(connection), _present_checks(connection)
    for name in checks.keys() - present.keys():
        table, form = checks[name]
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
        connection.exec_driver_sql(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK {form} NOT VALID")
    for table in sorted({table for name, (table, _) in checks.items() if not present.get(name)}):
        names = [name for name, (of, _) in checks.items() if of == table and not present.get(name)]
        # one scan of the table for all of them
        connection.exec_driver_sql(f"ALTER TABLE {table} {', '.join(f'VALIDATE CONSTRAINT {name}' for name in names)}")


def remove(connection: Connection) -> None:
    """Drop the functions and, with them, the triggers."""
    schema = _schema(connection)
    for function in (_FUNCTION, *(function for function, *_ in _INDEX.values())):
        connection.execute(sa.text(f"DROP FUNCTION IF EXISTS {schema}.{function}() CASCADE"))


def missing(connection: Connection) -> list[str]:
    """Return the names of triggers that are missing, do not always fire, or do not call our function."""
    query = sa.text(
        "SELECT tgname, prosrc FROM pg_trigger JOIN pg_proc ON pg_proc.oid = tgfoid "
        "WHERE tgenabled = 'A' AND tgqual IS NULL AND tgrelid IN "
        "(SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)"
    )
    present = {row.tgname: row.prosrc for row in connection.execute(query, {"tables": _present(connection)})}
    lost = [name for name, (_, source, *_) in _wanted(connection).items() if present.get(name) != source]
    valid = _present_checks(connection)
    return lost + [name for name in _checks(connection) if not valid.get(name)]


def remove_checks(connection: Connection) -> None:
    """Drop the checks of form, for a downgrade to a revision that has none."""
    for name, (table, _) in _checks(connection).items():
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")


def refusal_message(check: str) -> str:
    """Return a message about the value that a check of form refused."""
    table, _, column = check.removeprefix(FORM).partition("__")
    what = (
        describe_unreadable(metadata.tables[table].c[column])
        if column in metadata.tables.get(table, sa.table("")).c
        else check
    )
    return f"refused: {table}.{column} would hold {what}."


def _checks(connection: Connection) -> dict[str, tuple[str, str]]:
    """Return the table and form of each check of this schema."""
    if connection.scalar(sa.text(f"SELECT to_regclass('{FORMED_BY}')")) is None:  # an older schema
        return {}
    query = sa.text(
        "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE attnum > 0 AND NOT attisdropped AND attrelid IN "
        "(SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)"
    )
    columns: dict[str, set[str]] = {}
    for table, column in connection.execute(query, {"tables": list(metadata.tables)}):
        columns.setdefault(table, set()).add(column)
    return {
        f"{FORM}{name}__{column}": (name, form)
        for name, present in sorted(columns.items())
        for column, form in forms(metadata.tables[name], "postgresql", only=present, guard=True).items()
    }


def _present_checks(connection: Connection) -> dict[str, bool]:
    """Return the existing checks, and whether all rows are known to pass them."""
    # conenforced requires PostgreSQL 18
    query = sa.text(
        "SELECT conname, convalidated AND coalesce(to_jsonb(found) ->> 'conenforced', 'true') = 'true' AS valid "
        "FROM pg_constraint AS found WHERE contype = 'c' AND conname LIKE :names AND conrelid IN "
        "(SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)"
    )
    names = {"names": FORM.replace("_", r"\_") + "%", "tables": list(metadata.tables)}
    return {row.conname: row.valid for row in connection.execute(query, names)}


def _wanted(connection: Connection) -> dict[str, tuple[str, str, str, str]]:
    """Return the function, its source, the table and the form of each trigger of this schema."""
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
    # the schema of the tables, not the first of the search path: dropping that one must not drop the guards
    query = "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = to_regclass('outbox')"
    return str(connection.scalar(sa.text(query)) or connection.scalar(sa.text("SELECT quote_ident(current_schema())")))


def _present(connection: Connection) -> list[str]:
    query = sa.text("SELECT name FROM unnest(CAST(:tables AS text[])) AS name WHERE to_regclass(name) IS NOT NULL")
    found = set(connection.scalars(query, {"tables": list(FACTS)}))
    return [table for table in FACTS if table in found]
