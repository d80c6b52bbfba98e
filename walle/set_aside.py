"""Rows that another program wrote and no reader can read: found, named, and moved aside whole."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from walle.errors import UpgradeRefused
from walle.forms import Found, findings, forms, search, told
from walle.models import bar_index, bars, metadata, set_aside_rows

__all__ = ["refuse_unreadable", "set_aside"]

log = logging.getLogger("walle")

_BATCH = 1_000


def refuse_unreadable(connection: Connection) -> None:
    """Look at every table, and refuse to go on where no reader could read it.

    Raises
    ------
    UpgradeRefused
        Naming the first values: table, column, key of the row and value.
    """
    found: list[Found] = []
    for table, present in _tables(connection):
        query = search(table, connection.dialect.name, only=present)
        if query is not None:
            found += findings(table, connection.dialect.name, connection.execute(query), present)
    if found:
        shown = "; ".join(map(str, found[:5]))
        raise UpgradeRefused(
            "another program wrote values that no reader can read, and this upgrade makes the database refuse them: "
            f"{shown}{'; and more' if len(found) > 5 else ''}. Nothing was changed. Correct them, or move these rows "
            "whole into the table set_aside_rows: walle upgrade --set-aside, walle.upgrade(address, set_aside=True) "
            "or alembic -x set-aside=yes upgrade head."
        )


def set_aside(connection: Connection) -> int:
    """Move the rows that no reader can read into ``set_aside_rows``, and return how many; the guards must be off."""
    moved = 0
    for table, present in _tables(connection):
        checks = forms(table, connection.dialect.name, prefix=f"{table.name}.", only=present)
        if not checks:
            continue
        wrong = sa.literal_column("(" + " OR ".join(f"NOT {form}" for form in checks.values()) + ")", sa.Boolean)
        if table is bar_index:  # it can be made anew
            _forget(connection, sa.select(table.c.symbol, table.c.timeframe).where(wrong).distinct())
            continue
        if table is bars:
            _forget(connection, sa.select(table.c.symbol, table.c.timeframe).where(wrong).distinct())
        aside = 0
        for batch in _contents(connection, table, checks, wrong):
            connection.execute(sa.insert(set_aside_rows), batch)
            aside += len(batch)
        if aside:
            connection.execute(sa.delete(table).where(wrong))
            log.warning("%d rows of %s that no reader can read were moved into set_aside_rows", aside, table.name)
        moved += aside
    _mark_again(connection)
    return moved


def _tables(connection: Connection) -> Iterator[tuple[sa.Table, set[str]]]:
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    for name, table in metadata.tables.items():
        if name in there and table is not set_aside_rows:
            yield table, {column["name"] for column in inspector.get_columns(name)}


def _contents(
    connection: Connection, table: sa.Table, checks: Mapping[str, str], wrong: sa.ColumnElement[bool]
) -> Iterator[list[dict[str, str]]]:
    """Yield rows for ``set_aside_rows``."""
    judged: list[sa.ColumnElement[Any]] = [
        sa.literal_column(f"CASE WHEN NOT {form} THEN 1 ELSE 0 END") for form in checks.values()
    ]
    sqlite = connection.dialect.name == "sqlite"
    names = [column["name"] for column in sa.inspect(connection).get_columns(table.name)]
    whole: list[sa.ColumnElement[Any]] = (
        [sa.literal_column(f'"{name}"') for name in names]
        if sqlite
        else [sa.literal_column(f"row_to_json({table.name})::text")]
    )
    result = connection.execute(sa.select(*judged, *whole).select_from(table).where(wrong))
    for rows in result.partitions(_BATCH):
        batch = []
        for row in rows:
            reasons = [f"{name}: {told(table.c[name])}" for name, bad in zip(checks, row, strict=False) if bad]
            values = row[len(checks) :]
            content = _document(names, values) if sqlite else values[0]
            batch.append({"source": table.name, "content": content, "reason": "; ".join(reasons)})
        yield batch


def _document(names: Sequence[str], values: Sequence[Any]) -> str:
    return json.dumps(dict(zip(names, map(_plain, values), strict=True)), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return what SQLite keeps as JSON; bytes and infinities, which JSON has not, as SQL writes them."""
    if isinstance(value, bytes):
        return {"sql": f"X'{value.hex().upper()}'"}
    if isinstance(value, float) and not math.isfinite(value):
        return {"sql": "9e999" if value > 0 else "-9e999"}
    return value


def _forget(connection: Connection, series: sa.Select[Any]) -> None:
    """Forget the index of series, whose bars are to be looked at again."""
    for symbol, timeframe in connection.execute(series).all():
        same = sa.and_(bar_index.c.symbol == symbol, bar_index.c.timeframe == timeframe)
        connection.execute(sa.delete(bar_index).where(same))


def _mark_again(connection: Connection) -> None:
    """Leave a mark for every series without an index."""
    connection.exec_driver_sql(
        "INSERT INTO bar_index (symbol, timeframe, first, last, bars) "
        "SELECT symbol, timeframe, min(timestamp), max(timestamp), count(*) FROM bars WHERE NOT EXISTS "
        "(SELECT 1 FROM bar_index AS known WHERE known.symbol = bars.symbol AND known.timeframe = bars.timeframe) "
        "GROUP BY symbol, timeframe"
    )
