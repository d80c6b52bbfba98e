"""Find rows of other programs that no reader can read, report them, and set them aside unchanged."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from walle.dialects.sqlite_texts import NO_TEXT, Undecodable, any_text, undecodable, undecodable_rows
from walle.errors import UpgradeRefused
from walle.forms import LAST_ID, SPENT_ID, UnreadableValue, condition, describe_unreadable, findings, forms, search
from walle.models import bar_index, bars, consumer_offsets, metadata, offset_resets, outbox, set_aside_rows

__all__ = ["refuse_unreadable", "set_aside"]

log: logging.Logger = logging.getLogger("walle")

_BATCH = 1_000


def refuse_unreadable(connection: Connection) -> None:
    """Raise if any table has rows that no reader can read.

    Raises
    ------
    UpgradeRefused
        With the first values: table, column, key of the row and value.
    """
    found: list[UnreadableValue] = []
    for table, present in _tables(connection):
        query = search(table, connection.dialect.name, only=present)
        with _any_text(connection):
            if query is not None:
                found += findings(table, connection.dialect.name, connection.execute(query), present)
        if connection.dialect.name == "sqlite":
            found += undecodable(connection, [table])
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
    with _any_text(connection):
        for table, present in _tables(connection):
            aside = sum(_move(connection, table, present, wrong) for wrong in _conditions(connection, table, present))
            if aside:
                log.warning("%d rows of %s that no reader can read were moved into set_aside_rows", aside, table.name)
            moved += aside
        _mark_again(connection)
    if connection.dialect.name == "sqlite":
        _count_again(connection)
    _take_back(connection)
    return moved


def _move(connection: Connection, table: sa.Table, present: set[str], wrong: sa.ColumnElement[bool]) -> int:
    if table in (bar_index, bars):  # the index of a series can be rebuilt
        of = sa.select(table.c.symbol, table.c.timeframe).where(wrong)
        series = sa.tuple_(bar_index.c.symbol, bar_index.c.timeframe)
        connection.execute(sa.delete(bar_index).where(series.in_(of)))
    if table is bar_index:
        return 0
    aside = 0
    for batch in _contents(connection, table, present, wrong):
        connection.execute(sa.insert(set_aside_rows), batch)
        aside += len(batch)
    if aside:
        connection.execute(sa.delete(table).where(wrong))
    return aside


def _conditions(connection: Connection, table: sa.Table, present: set[str]) -> Iterator[sa.ColumnElement[bool]]:
    """Yield conditions for rows that no reader can read; the rows of one are moved before the next is computed."""
    wrong = condition(table, connection.dialect.name, present)
    if wrong is not None:
        yield wrong
    if connection.dialect.name == "sqlite":
        rows = undecodable_rows(connection, table, present)
        for start in range(0, len(rows), _BATCH):
            yield sa.literal_column(f"{table.name}.rowid", sa.Integer).in_(rows[start : start + _BATCH])


def _any_text(connection: Connection) -> AbstractContextManager[None]:
    return any_text(connection) if connection.dialect.name == "sqlite" else nullcontext()


def _tables(connection: Connection) -> Iterator[tuple[sa.Table, set[str]]]:
    inspector = sa.inspect(connection)
    there = set(inspector.get_table_names())
    for name, table in metadata.tables.items():
        if name in there and table is not set_aside_rows:
            yield table, {column["name"] for column in inspector.get_columns(name)}


def _contents(
    connection: Connection, table: sa.Table, present: set[str], wrong: sa.ColumnElement[bool]
) -> Iterator[list[dict[str, str]]]:
    """Yield rows for ``set_aside_rows``."""
    checks = forms(table, connection.dialect.name, prefix=f"{table.name}.", only=present)
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
            reasons = [
                f"{name}: {describe_unreadable(table.c[name])}" for name, bad in zip(checks, row, strict=False) if bad
            ]
            values = row[len(checks) :]
            if sqlite:
                odd = [name for name, value in zip(names, values, strict=True) if isinstance(value, Undecodable)]
                reasons += [f"{name}: {NO_TEXT}" for name in odd]
            content = _document(names, values) if sqlite else values[0]
            batch.append({"source": table.name, "content": content, "reason": "; ".join(reasons)})
        yield batch


def _document(names: Sequence[str], values: Sequence[Any]) -> str:
    return json.dumps(dict(zip(names, map(_plain, values), strict=True)), ensure_ascii=False)


def _plain(value: Any) -> Any:
    """Return a value for JSON; bytes, texts that are not UTF-8 and infinities, which it lacks, as SQL writes them."""
    if isinstance(value, Undecodable):
        return {"sql": f"CAST(X'{value.hex().upper()}' AS TEXT)"}
    if isinstance(value, bytes):
        return {"sql": f"X'{value.hex().upper()}'"}
    if isinstance(value, float) and not math.isfinite(value):
        return {"sql": "9e999" if value > 0 else "-9e999"}
    return value


def _mark_again(connection: Connection) -> None:
    """Leave a mark for every series without an index."""
    connection.exec_driver_sql(
        "INSERT INTO bar_index (symbol, timeframe, first, last, bars, unexpected) "
        "SELECT symbol, timeframe, min(timestamp), max(timestamp), count(*), 0 FROM bars WHERE NOT EXISTS "
        "(SELECT 1 FROM bar_index AS known WHERE known.symbol = bars.symbol AND known.timeframe = bars.timeframe) "
        "GROUP BY symbol, timeframe"
    )


def _count_again(connection: Connection) -> None:
    """Reset SQLite's counters of ids that a foreign row has exhausted to the highest remaining id."""
    spent = "SELECT name FROM sqlite_sequence WHERE CAST(seq AS INTEGER) > :last"
    for name in connection.scalars(sa.text(spent), {"last": SPENT_ID}).all():
        if name in metadata.tables:
            highest = connection.scalar(sa.select(sa.func.max(metadata.tables[name].c.id))) or 0
            connection.execute(
                sa.text("UPDATE sqlite_sequence SET seq = :highest WHERE name = :name"),
                {"highest": highest, "name": name},
            )


def _take_back(connection: Connection) -> None:
    """Reset consumers whose offset is that of a set-aside event with a huge id, because they would skip new events.

    Such a consumer continues after the last event that was stored when it settled that one, and the reset is recorded
    like any other.
    """
    offsets = consumer_offsets.c
    last = SPENT_ID if connection.dialect.name == "sqlite" else LAST_ID
    stored = sa.select(sa.func.max(outbox.c.id)).where(outbox.c.created_at <= offsets.updated_at).scalar_subquery()
    ahead = sa.select(offsets.consumer_id, offsets.last_offset, sa.func.coalesce(stored, -1)).where(
        offsets.last_offset > last
    )
    for consumer, before, after in connection.execute(ahead).all():
        connection.execute(
            sa.update(consumer_offsets)
            .where(offsets.consumer_id == consumer)
            .values(last_offset=after, epoch=offsets.epoch + 1)
        )
        connection.execute(
            sa.insert(offset_resets).values(
                consumer_id=consumer,
                from_offset=before,
                to_offset=after,
                reason="the event that it stood at was moved aside: another program had given it one of the last ids",
                reset_by="walle upgrade --set-aside",
            )
        )
        log.warning(
            "the consumer %r goes on behind %d: the event %d that it stood at was moved aside", consumer, after, before
        )
