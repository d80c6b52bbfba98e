"""SQLite's own checks of a file: its pages, its indexes, its references, and its counters of ids.

A page has no checksum, so SQLite cannot detect a changed value in a cell that no index covers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError

from walle.dialects.base import CheckResult
from walle.forms import LAST_ID, SPENT_ID

__all__ = ["examine"]

MOST = 20
"""The maximum number of reported lines of integrity_check."""


def examine(connection: Connection, tables: Sequence[str], found: CheckResult) -> None:
    """Run the checks; a check that a damaged page stops counts as a problem too."""
    checks: dict[str, Callable[[Connection], Iterator[str]]] = {
        "pages and indexes (integrity_check)": _pages,
        "references (foreign_key_check)": _references,
        "counters of ids (sqlite_sequence)": lambda held: _counters(held, tables),
    }
    for name, check in checks.items():
        try:
            found.problems += [f"{name}: {line}" for line in check(connection)]
        except DBAPIError as error:
            found.problems.append(f"{name}: {error.orig}")
        found.checked.append(name)


def _pages(connection: Connection) -> Iterator[str]:
    lines = connection.scalars(sa.text(f"PRAGMA integrity_check({MOST})"))
    return (line for line in lines if line != "ok")


def _references(connection: Connection) -> Iterator[str]:
    for row in connection.execute(sa.text("PRAGMA foreign_key_check")):
        yield f"row {row[1]} of {row[0]} refers to a row of {row[2]} that does not exist"


def _counters(connection: Connection, tables: Sequence[str]) -> Iterator[str]:
    # no row can have a higher id than AUTOINCREMENT has assigned
    counters = {row[0]: row[1] for row in connection.execute(sa.text("SELECT name, seq FROM sqlite_sequence"))}
    for table in tables:
        made = connection.scalar(sa.text("SELECT sql FROM sqlite_master WHERE name = :name"), {"name": table})
        if "AUTOINCREMENT" not in str(made).upper():
            continue
        highest = connection.scalar(sa.text(f'SELECT max(rowid) FROM "{table}"'))
        if highest is not None and highest > counters.get(table, 0):
            yield f"{table} has a row with the id {highest}, but only {counters.get(table, 0)} were assigned"
        if counters.get(table, 0) > SPENT_ID:
            yield (
                f"the counter of {table} is at {counters[table]}, because another program wrote such an id; walle "
                "upgrade --set-aside moves that row aside and resets the counter"
            )
    if "consumer_offsets" in tables:
        ahead = sa.text("SELECT consumer_id, last_offset FROM consumer_offsets WHERE last_offset > :last")
        for consumer, offset in connection.execute(ahead, {"last": max(counters.get("outbox", 0), LAST_ID)}):
            yield f"the consumer {consumer!r} is at offset {offset}, beyond all ids of the outbox: it skips new events"
