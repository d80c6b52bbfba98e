"""The trading engine's own chain of revisions (the backend's): adopt its databases, and read its runs.

The backend's chain and ours share the four base revisions and diverge after them. Its later revisions move the symbols
and the timeframe of a run into ``config``, under these names. So wherever runs are read, one rule holds: a run's
symbols and timeframe are those in their columns; where a column is null (or missing), they are those in the config, if
these are valid: a text, or a list of texts (a number counts as its text). Any other value in the config belongs to the
strategy, and the column stays null. The config itself is never changed.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from walle.models import BASE_REVISIONS
from walle.records import Run
from walle.types import Json, listed_member, plain_member

__all__ = ["FORK", "REVISIONS", "adopt", "as_read", "symbols_in", "timeframe_in"]

REVISIONS = ("e7f8a9b0c1d2", "f1a2b3c4d5e6", "a1b2c3d4e5f6", "b2c3d4e5f6a7")
"""The revisions after the base revisions in the backend's own chain, from the oldest to the newest."""

FORK = BASE_REVISIONS[-1]
"""The last revision that both chains share."""


def adopt(connection: Connection) -> None:
    """Convert a PostgreSQL database at one of :data:`REVISIONS` to the form from which our own chain continues.

    Tables and columns that the backend added to the base revision stay in place, with their rows: our own revisions
    that add the same columns and tables find them and widen them. It runs in the caller's transaction.

    Parameters
    ----------
    connection : Connection
    """
    table = sa.table(
        "runs", *(sa.column(name, Json) for name in ("config", "symbols")), sa.column("timeframe", sa.Text)
    )
    inside = {
        "symbols": ("jsonb", sa.cast(symbols_in(table.c.config, "postgresql"), Json)),
        "timeframe": ("text", timeframe_in(table.c.config, "postgresql")),
    }
    present = {column["name"] for column in sa.inspect(connection).get_columns("runs")}
    for name, (kind, value) in inside.items():
        if name not in present:
            connection.execute(sa.text(f"ALTER TABLE runs ADD COLUMN {name} {kind}"))
            connection.execute(sa.update(table).values({name: value}).where(value.is_not(None)))
    connection.execute(sa.text("ALTER TABLE runs ALTER COLUMN config DROP NOT NULL"))
    connection.execute(sa.text("UPDATE alembic_version SET version_num = :fork"), {"fork": FORK})


def symbols_in(config: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[str]:
    """Return the symbols in the config of a run, as the text of a JSON list; null if there are none."""
    return listed_member(config, "symbols", dialect)


def timeframe_in(config: sa.ColumnElement[Any], dialect: str) -> sa.ColumnElement[str]:
    """Return the timeframe in the config of a run; null if there is none."""
    return plain_member(config, "timeframe", dialect)


def as_read(run: Run) -> Run:
    """Return a run with the symbols and the timeframe that a read returns, without checking it.

    Parameters
    ----------
    run : Run

    Returns
    -------
    Run
        The same run if it has both, or if its config has neither.
    """
    config = run.config
    if not isinstance(config, dict) or not ("symbols" in config or "timeframe" in config):
        return run
    symbols = run.symbols if run.symbols is not None else _listed(config.get("symbols"))
    timeframe = run.timeframe if run.timeframe is not None else _text(config.get("timeframe"))
    if (symbols, timeframe) == (run.symbols, run.timeframe):
        return run
    row = {item.name: getattr(run, item.name) for item in dataclasses.fields(run)}
    return Run.from_row(row | {"symbols": symbols, "timeframe": timeframe})


def _listed(value: object) -> tuple[Any, ...] | None:
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return tuple(
            str(item).lower() if isinstance(item, bool) else None if item is None else str(item) for item in value
        )
    return None if (text := _text(value)) is None else (text,)


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
