"""What a filter of events means in SQL; see :meth:`walle.events.filters.EventFilter.matches` for the same in Python."""

from __future__ import annotations

import json
import re
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from walle import models
from walle.events.filters import EventFilter, Scalar, spellings
from walle.events.json_path import Path, postgresql_path, sqlite_path
from walle.repositories.events.columns import event_column
from walle.types import resembles

__all__ = ["conditions"]

_LARGEST = 2**63


def conditions(wanted: EventFilter, dialect: str) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of a filter on the table ``outbox``.

    Parameters
    ----------
    wanted : EventFilter
    dialect : str
        ``sqlite`` or ``postgresql``.
    """
    clauses: list[sa.ColumnElement[bool]] = []
    if wanted.types is not None:
        column = models.outbox.c.type
        exact = [name for name in wanted.types if "*" not in name]
        patterns = [resembles(column, name, dialect) for name in wanted.types if "*" in name]
        clauses.append(sa.or_(*([column.in_(exact)] if exact else []), *patterns))
    for name in ("run_id", "corr_id"):
        if getattr(wanted, name) is not None:
            clauses.append(event_column(name, dialect) == getattr(wanted, name))
    if wanted.start is not None or wanted.end is not None:
        ts = event_column("ts", dialect)
        ts = ts if dialect == "sqlite" else ts.collate("C")
        clauses += [ts >= wanted.start] if wanted.start is not None else []
        clauses += [ts < wanted.end] if wanted.end is not None else []
    place = _on_sqlite if dialect == "sqlite" else _on_postgresql
    clauses += [place(("payload", *path), values) for path, values in wanted.json]
    return clauses + ([] if wanted.text is None else _holding(wanted.text, dialect))


def _on_sqlite(path: Path, values: tuple[Scalar, ...] | None) -> sa.ColumnElement[bool]:
    text = sa.type_coerce(models.outbox.c.payload, sa.Text)
    at = sa.literal(sqlite_path(path), sa.Text)
    # what another program wrote may be no JSON: it has no places
    kind: sa.ColumnElement[Any] = sa.case((sa.func.json_valid(text) == 1, sa.func.json_type(text, at)))
    value = sa.func.json_extract(text, at)
    if values is None:
        return kind != "null"
    clauses: list[sa.ColumnElement[bool]] = []
    for one in values:
        if one is None or isinstance(one, bool):
            clauses.append(kind == {None: "null", True: "true", False: "false"}[one])
        elif isinstance(one, str):
            clauses.append(sa.and_(kind == "text", value == sa.literal(one, sa.Text)))
        else:
            wide = isinstance(one, float) or not -_LARGEST <= one < _LARGEST
            number = sa.literal(float(one), sa.Float) if wide else sa.literal(one, sa.BigInteger)
            clauses.append(sa.and_(kind.in_(["integer", "real"]), value == number))
    return sa.or_(*clauses)


def _on_postgresql(path: Path, values: tuple[Scalar, ...] | None) -> sa.ColumnElement[bool]:
    stored = sa.cast(models.outbox.c.payload, postgresql.JSONB)
    at = sa.cast(sa.literal(postgresql_path(path), sa.Text), postgresql.JSONPATH)
    none = sa.cast(sa.literal("{}", sa.Text), postgresql.JSONB)
    value = sa.func.jsonb_path_query_first(stored, at, none, sa.true(), type_=postgresql.JSONB)
    if values is None:
        return value != sa.cast(sa.literal("null", sa.Text), postgresql.JSONB)
    texts = [json.dumps(one, ensure_ascii=False) for one in values]
    return value.in_([sa.cast(sa.literal(text, sa.Text), postgresql.JSONB) for text in texts])


def _holding(text: str, dialect: str) -> list[sa.ColumnElement[bool]]:
    payload = event_column("payload", dialect)
    parts = spellings(text)
    if dialect == "sqlite":  # its lower knows only A to Z
        whole = sa.func.lower(sa.type_coerce(models.outbox.c.payload, sa.Text))
        # the whole envelope first: most events are passed over without reading their JSON
        columns = [whole, sa.func.lower(payload)]
        return [sa.or_(*(sa.func.instr(column, part) > 0 for part in parts)) for column in columns]
    column = sa.func.lower(payload.collate("C"))
    return [sa.or_(*(_within(column, part) for part in parts))]


def _within(column: sa.ColumnElement[str], part: str) -> sa.ColumnElement[bool]:
    """Look for a part in compact JSON; jsonb is shown with a space after each colon and comma that no text holds."""
    pieces = [piece for piece in re.split("[:,]", part) if piece]
    if pieces == [part]:
        return sa.func.strpos(column, part) > 0
    compact = sa.func.regexp_replace(column, r'("(?:[^"\\]|\\.)*"|[:,]) ?', r"\1", "g")
    # few payloads hold all pieces, and only these are made compact
    held = sa.and_(sa.true(), *(sa.func.strpos(column, piece) > 0 for piece in pieces))
    return sa.case((held, sa.func.strpos(compact, part) > 0), else_=sa.false())
