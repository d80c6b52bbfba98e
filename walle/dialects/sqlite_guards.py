"""Triggers by which SQLite itself keeps facts immutable and the index of bars correct, whoever writes the file.

INSERT OR REPLACE deletes the old row without firing a delete trigger. So a BEFORE INSERT trigger marks a key that
already exists, and an AFTER INSERT trigger, which runs only if a row was inserted, refuses a marked key: this can only
have been a replacement. A plain INSERT still fails by its constraint, and ON CONFLICT DO NOTHING still does nothing. In
a BEFORE trigger, a row id that SQLite has not chosen yet is -1, so that id itself is refused.

A column of SQLite accepts a value of any type. So guards of form refuse values that no reader could read, such as a
text in a column of times.
"""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from walle.dialects.columns import columns_of
from walle.forms import describe_unreadable, forms
from walle.models import FACTS, FORMED_BY, metadata

__all__ = [
    "BEGIN_INDEXING",
    "BEGIN_MAINTENANCE",
    "END_INDEXING",
    "END_MAINTENANCE",
    "PREFIX",
    "REFUSED",
    "TRIGGERS",
    "insert_guards",
    "install",
    "missing",
    "remove",
]

PREFIX = "walle_guard_"
"""Names of guards and of their helper tables start with this; migrations leave them alone."""

REFUSED = "refused: "
"""The beginning of the messages of guards of form."""

BEGIN_MAINTENANCE = f"INSERT INTO {PREFIX}maintenance (reason, never) VALUES ('sealing', 'committed')"
END_MAINTENANCE = f"DELETE FROM {PREFIX}maintenance WHERE reason = 'sealing'"

BEGIN_INDEXING = f"INSERT OR IGNORE INTO {PREFIX}maintenance (reason, never) VALUES ('indexing', 'committed')"
END_INDEXING = f"DELETE FROM {PREFIX}maintenance WHERE reason = 'indexing'"

_HELPERS = {
    # the marker refers to a row that never exists, so this foreign key refuses a commit that left the marker behind
    "maintenance": (
        f"(reason TEXT PRIMARY KEY, never TEXT NOT NULL REFERENCES {PREFIX}maintenance (reason) "
        "DEFERRABLE INITIALLY DEFERRED)"
    ),
    "marks": "(kind TEXT NOT NULL, a, b, c, PRIMARY KEY (kind, a, b, c)) WITHOUT ROWID",
}
_KEYS = dict.fromkeys(FACTS, ("id",)) | {
    "bars": ("symbol", "timeframe", "timestamp"),
    "bar_extras": ("symbol", "timeframe", "timestamp"),
    "fill_corrections": ("fill_id",),
    "cash_corrections": ("cash_flow_id",),
}


def _triggers() -> dict[str, str]:
    statements = {}
    for table, key in _KEYS.items():
        facts = "events" if table == "outbox" else table.replace("_", " ")
        refusal = f"SELECT RAISE(ABORT, '{facts} are facts: {{}} is refused')"
        same = " AND ".join(f"{column} = NEW.{column}" for column in key)
        chosen = f"NEW.rowid <> -1 AND EXISTS (SELECT 1 FROM {table} WHERE rowid = NEW.rowid)"
        taken = f"(EXISTS (SELECT 1 FROM {table} WHERE {same}) OR {chosen})"
        values = ", ".join([f"NEW.{column}" for column in key] + ["0"] * (3 - len(key)))
        marked = f"kind = '{table}' AND (a, b, c) = ({values})"
        marks = f"{PREFIX}marks"
        sealing = f"SELECT 1 FROM {PREFIX}maintenance WHERE reason <> 'indexing'"
        allowed = f"WHEN NOT EXISTS ({sealing})" if table == "bars" else ""
        bodies = {
            "update": f"BEFORE UPDATE ON {table} BEGIN {refusal.format('UPDATE')}; END",
            "delete": f"BEFORE DELETE ON {table} {allowed} BEGIN {refusal.format('DELETE')}; END",
            "mark": (
                f"BEFORE INSERT ON {table} WHEN {taken} OR EXISTS (SELECT 1 FROM {marks} WHERE {marked}) BEGIN "
                f"DELETE FROM {marks} WHERE {marked}; "
                f"INSERT INTO {marks} SELECT '{table}', {values} WHERE {taken}; END"
            ),
            "replace": (
                f"AFTER INSERT ON {table} WHEN NEW.rowid = -1 OR EXISTS (SELECT 1 FROM {marks} WHERE {marked}) "
                f"BEGIN {refusal.format('the row id -1')} WHERE NEW.rowid = -1; {refusal.format('REPLACE')}; END"
            ),
        }
        for what, body in bodies.items():
            name = f"{PREFIX}{table}_{what}"
            statements[name] = f"CREATE TRIGGER {name} {body}"
    return statements


_INDEX = {
    # bars of other programs leave a mark in the index; WallE's own writers declare that they maintain it
    f"{PREFIX}bar_index_insert": (
        f"AFTER INSERT ON bars WHEN NOT EXISTS (SELECT 1 FROM {PREFIX}maintenance WHERE reason = 'indexing') BEGIN "
        "INSERT INTO bar_index (symbol, timeframe, first, last, bars) "
        "SELECT NEW.symbol, NEW.timeframe, NEW.timestamp, NEW.timestamp, 0 WHERE NOT EXISTS (SELECT 1 FROM bar_index "
        "WHERE symbol = NEW.symbol AND timeframe = NEW.timeframe AND runs IS NULL); "
        "UPDATE bar_index SET first = min(first, NEW.timestamp), last = max(last, NEW.timestamp), bars = bars + 1 "
        "WHERE symbol = NEW.symbol AND timeframe = NEW.timeframe AND runs IS NULL; END"
    ),
    # a deleted bar cannot be found in the table, so the whole series has to be indexed again
    f"{PREFIX}bar_index_delete": (
        "AFTER DELETE ON bars BEGIN UPDATE bar_index SET runs = NULL, bars = bars + 1 "
        "WHERE symbol = OLD.symbol AND timeframe = OLD.timeframe; END"
    ),
}


@cache
def _of_form(table: sa.Table, only: frozenset[str] | None = None) -> dict[str, str]:
    """Return the guards of form of a table; their values already have the column's affinity."""
    statements = {}
    for event in ("insert", "update"):
        if event == "insert" or table.name not in _KEYS:  # facts refuse every update
            checks = forms(table, "sqlite", prefix="NEW.", only=only, guard=True)
            if event == "update":
                checks = {name: f'(NEW."{name}" IS OLD."{name}" OR {check})' for name, check in checks.items()}
            refusal = f"SELECT RAISE(ABORT, '{REFUSED}{table.name}.{{}} would hold {{}}') WHERE NOT {{}}"
            each = "; ".join(
                refusal.format(name, describe_unreadable(table.c[name]), check) for name, check in checks.items()
            )
            name = f"{PREFIX}{table.name}_form_{event}"
            body = f"WHEN NOT ({' AND '.join(checks.values())}) BEGIN {each}; END"
            statements[name] = f"CREATE TRIGGER {name} BEFORE {event.upper()} ON {table.name} {body}"
    return statements


_FACTS = _triggers() | {name: f"CREATE TRIGGER {name} {body}" for name, body in _INDEX.items()}

TRIGGERS = _FACTS | {name: text for table in metadata.sorted_tables for name, text in _of_form(table).items()}


def insert_guards(table: str) -> list[str]:
    """Return the names of the triggers that check every inserted row."""
    guards = [f"{PREFIX}{table}_{what}" for what in ("mark", "replace", "form_insert")]
    return [*guards, f"{PREFIX}bar_index_insert"] if table == "bars" else guards


def install(connection: Connection) -> None:
    """Create helper tables and triggers, replacing existing ones."""
    remove(connection)
    for name, columns in _HELPERS.items():
        connection.exec_driver_sql(f"CREATE TABLE {PREFIX}{name} {columns}")
    for statement in _wanted(connection).values():
        connection.exec_driver_sql(statement)


def remove(connection: Connection) -> None:
    """Drop triggers and helper tables."""
    ours = sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger' AND substr(name, 1, :length) = :prefix")
    for name in connection.scalars(ours, {"length": len(PREFIX), "prefix": PREFIX}).all():
        connection.exec_driver_sql(f'DROP TRIGGER "{name}"')
    for name in _HELPERS:
        connection.exec_driver_sql(f"DROP TABLE IF EXISTS {PREFIX}{name}")


def missing(connection: Connection) -> list[str]:
    """Return the names of missing or altered triggers and helper tables, and of a marker that was left behind."""
    present = {row.name: row.sql for row in connection.execute(sa.text("SELECT name, sql FROM sqlite_master"))}
    helpers = {f"{PREFIX}{name}": f"CREATE TABLE {PREFIX}{name} {form}" for name, form in _HELPERS.items()}
    wanted = _wanted(connection) | helpers
    found = [name for name, statement in wanted.items() if present.get(name) != statement]
    marker = f"{PREFIX}maintenance"
    if marker not in found and connection.scalar(sa.text(f"SELECT count(*) FROM {marker}")):
        found.append(f"{marker} (its marker was left behind)")
    return found


def _wanted(connection: Connection) -> dict[str, str]:
    tables = set(connection.scalars(sa.text("SELECT name FROM sqlite_master WHERE type = 'table'")))
    absent = tuple(f"{PREFIX}{table}_" for table in (*_KEYS, "bar_index") if table not in tables)
    wanted = {name: statement for name, statement in _FACTS.items() if not name.startswith(absent)}
    if FORMED_BY not in tables:  # an older schema
        return wanted
    for name, present in sorted(columns_of(connection, tables.intersection(metadata.tables)).items()):
        wanted |= _of_form(metadata.tables[name], present)
    return wanted
