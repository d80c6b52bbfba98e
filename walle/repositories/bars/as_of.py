"""What was known at a time: an as-of names ingests of which all have ended, so that none enters it later.

An ingest takes its number and its time when its row is written, shortly before its commit. On SQLite, where one writer
at a time has the file, numbers and times ascend with the commits. On PostgreSQL an ingest may be committed after others
with higher numbers. A transaction that may still do so holds a lock of the table ``ingests``, which it took before its
number and its time; so the transactions that hold one are looked at, by the evidence of
:meth:`walle.dialects.Dialect.writers_of`, as ``walle.events.horizon`` does for events.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.errors import DatabaseBusy, InputError
from walle.frames import INSTANT
from walle.repositories.select import finish, wire_schema
from walle.repositories.tokens import AsOf, Known, parse_token
from walle.types import clock, wire
from walle.validation import parse_time

__all__ = ["AsOf", "Known", "database_clock", "newest_token", "resolve"]


_SKEW = timedelta(seconds=5)
"""How far the caller's clock may be ahead of the database's; a call waits for as long."""
_LONGEST = timedelta(minutes=10)
"""For how long a writer may hold SQLite's lock between taking its time and its commit."""
_PATIENCE = 60.0
"""Seconds for which a call waits for ingests that are being committed."""

_STATE = pl.Schema({"last": pl.Int64(), "newest": INSTANT, "now": INSTANT, "writers": pl.String()})


async def database_clock(database: Database, session: AsyncSession | None) -> datetime:
    """Return the time of the database's clock, in UTC."""
    schema = pl.Schema({"now": INSTANT})
    statement = sa.select(wire(clock(), database.dialect.name).label("now"))
    now = finish(await database.fetch(statement, wire_schema(schema), session), schema).item()
    assert isinstance(now, datetime)
    return now


async def newest_token(database: Database, session: AsyncSession | None) -> str:
    """Return the token of what is known now."""
    if not database.has(models.bar_ingests):
        return str(Known(0))
    state = await _look(database, None, session)
    without: tuple[int, ...] = ()
    if state["writers"]:  # ids that are not there by now may come after their commit
        table = models.ingests
        statement = sa.select(table.c.id).where(table.c.id <= state["last"])
        there = (await database.fetch(statement, {"id": pl.Int64()}, session))["id"]
        everything = pl.int_range(1, state["last"] + 1, eager=True)
        without = tuple(everything.filter(~everything.is_in(there.implode())))
    return str(Known(int(state["last"]), without, state["now"]))


async def resolve(database: Database, as_of: AsOf, session: AsyncSession | None) -> Known | None:
    """Return the ingests that an as-of includes; None for now.

    Raises
    ------
    InputError
        For a time in the future, a token of another store, or, in a SQLite file that was opened read-only, a time at
        which a writer may yet be committing.
    DatabaseBusy
        If an ingest of that time is not committed for a minute.
    """
    if as_of is None:
        return None
    token = parse_token(as_of)
    moment = None if token else parse_time(as_of, "as_of")
    if not database.has(models.bar_ingests):
        return Known(0, (), moment)
    state = await _look(database, moment, session)
    if moment is None:
        if token is None or token.last > state["last"]:
            raise InputError(
                f"as_of={as_of!r} is not of this store, whose last ingest has the id {state['last']}. A token belongs "
                "to the store whose bars.now() gave it."
            )
        return token
    if moment > state["now"] + _SKEW:
        raise InputError(f"as_of={as_of!r} lies in the future: the database's clock says {state['now'].isoformat()}.")
    while moment >= state["now"]:  # an ingest could still take that time
        await asyncio.sleep((moment - state["now"]).total_seconds() + 0.001)
        state = await _look(database, moment, session)
    if database.dialect.writers_of(models.ingests, moment) is not None:
        await _wait_for(database, as_of, moment, session)
    elif session is None and not (state["newest"] is not None and state["newest"] > moment):
        await _wait_for_file(database, as_of, moment, state)
    return await _known_at(database, moment, session)


async def _wait_for(database: Database, as_of: AsOf, moment: datetime, session: AsyncSession | None) -> None:
    """Wait until the transactions that may bring an ingest of that time have ended.

    Raises
    ------
    DatabaseBusy
    """
    state = await _look(database, moment, session)  # a writer that comes later takes a later time
    open_ones, until = set(filter(None, state["writers"].split(","))), time.monotonic() + _PATIENCE
    while open_ones:
        if time.monotonic() > until:
            raise DatabaseBusy(
                f"as_of={as_of!r}: a transaction that began before has brought bars and is not committed yet, so it "
                "is open whether they count. Give the token that store.bars.now() returns, or try again."
            )
        await asyncio.sleep(0.02)
        state = await _look(database, moment, session)
        open_ones &= set(state["writers"].split(","))


async def _wait_for_file(database: Database, as_of: AsOf, moment: datetime, state: dict[str, Any]) -> None:
    """Wait for the writer of a file, which may be committing an ingest of that time.

    Raises
    ------
    InputError
    """
    if not database.read_only:
        async with database.write():
            return
    if moment > state["now"] - _LONGEST:
        raise InputError(
            f"as_of={as_of!r}: a writer may be committing an ingest of that time, and a store that was opened with "
            "read_only=True cannot tell. Give the token that store.bars.now() returns, or a time at least ten minutes "
            "ago."
        )


async def _look(database: Database, moment: datetime | None, session: AsyncSession | None) -> dict[str, Any]:
    table, dialect = models.ingests, database.dialect
    newest_first = sa.select(table.c.id).order_by(table.c.id.desc()).limit(1)
    newest = newest_first.with_only_columns(table.c.ingested_at).scalar_subquery()
    writers = dialect.writers_of(table, moment)
    statement = sa.select(
        sa.func.coalesce(newest_first.scalar_subquery(), 0).label("last"),
        wire(sa.type_coerce(newest, table.c.ingested_at.type), dialect.name).label("newest"),
        wire(clock(), dialect.name).label("now"),
        (sa.literal("") if writers is None else writers).label("writers"),
    )
    return finish(await database.fetch(statement, wire_schema(_STATE), session), _STATE).row(0, named=True)


async def _known_at(database: Database, moment: datetime, session: AsyncSession | None) -> Known:
    table, schema = models.ingests, {"id": pl.Int64()}
    first = sa.select(table.c.id).where(table.c.ingested_at <= moment).order_by(table.c.id.desc()).limit(1)
    found = await database.fetch(first, schema, session)
    if found.is_empty():
        return Known(0, (), moment)
    last = int(found.item())
    later = sa.select(table.c.id).where(table.c.ingested_at > moment, table.c.id < last).order_by(table.c.id)
    return Known(last, tuple((await database.fetch(later, schema, session))["id"]), moment)
