"""What had been recorded by a time: fills, cash flows, actions, instruments, and corrections."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle.database import Database, Writer
from walle.errors import InputError
from walle.frames import INSTANT
from walle.notices import UnrecordedWarning, warn
from walle.repositories.common import Time
from walle.repositories.tokens import parse_token
from walle.types import recording_time, wire
from walle.validation import parse_time

__all__ = ["clock", "known_at", "recorded_by", "warn_later", "warn_unrecorded"]

_TICK = timedelta(milliseconds=1)
"""The resolution of SQLite's clock, by which a time that has just passed may lie ahead of it."""


async def clock(writer: Writer) -> datetime:
    """Return the time of the database, to record several statements of one call at it."""
    now: datetime = (await writer.execute(sa.select(recording_time()))).scalar_one()
    return now


async def known_at(database: Database, as_of: Time, session: AsyncSession | None = None) -> datetime | None:
    """Read the option ``as_of`` of facts about money.

    Parameters
    ----------
    database : Database
    as_of : datetime, date, str or None
        A date or text without a zone is UTC; a token of ``store.bars.now()`` is its time. None: everything that is
        stored.
    session : AsyncSession, optional
        Read what its transaction sees.

    Raises
    ------
    InputError
        For a bad time, and for one that the database's clock has not reached: what will be known then is not known.
    """
    token = parse_token(as_of)
    known = parse_time(as_of, "as_of") if token is None else token.moment
    if token is not None and known is None:
        raise InputError(f"as_of={as_of!r} is a token without a time; take the whole text that store.bars.now() gives.")
    if known is None:
        return None
    asked = sa.select(wire(recording_time(), database.dialect.name).label("now"))
    now = (await database.fetch(asked, {"now": INSTANT}, session)).item()
    if known >= now + _TICK:
        raise InputError(
            f"as_of={known.isoformat()} is in the future: the clock of the database says {now.isoformat()}. Give a "
            "time that has passed, or leave as_of out to read everything that is stored."
        )
    return known


def recorded_by(database: Database, table: sa.FromClause, known: datetime | None) -> list[sa.ColumnElement[bool]]:
    """Return the condition that a row had been recorded by a time; none for None.

    A row that does not say when it was recorded counts always.

    Parameters
    ----------
    database : Database
    table : Table, or an alias of one
        With ``recorded_at``.
    known : datetime or None
    """
    stored = table.element if isinstance(table, sa.Alias) else table
    if known is None or not isinstance(stored, sa.Table) or not database.has(stored, "recorded_at"):
        return []
    time = table.c.recorded_at
    return [sa.or_(time.is_(None), time <= known)]


def warn_unrecorded(rows: pl.DataFrame, noun: str, known: datetime | None) -> None:
    """Warn of rows that were read as of a time, and do not say when they were recorded."""
    lacking = 0 if known is None else rows["recorded_at"].null_count()
    if lacking and known is not None:
        warn(
            f"{lacking:,} of {rows.height:,} {noun} do not say when they were recorded, and count at every time: "
            f"another program or an older WallE wrote them. They may not have been known at {known.isoformat()}.",
            UnrecordedWarning,
        )


def warn_later(orders: pl.DataFrame, known: datetime | None) -> None:
    """Warn of orders whose snapshot was recorded after the time as of which they are compared with fills."""
    later = 0 if known is None else int((orders["recorded_at"] > known).sum())
    if later and known is not None:
        warn(
            f"{later:,} of {orders.height:,} orders were saved after {known.isoformat()}, and only the last snapshot "
            "of an order is kept: what it says of the filled quantity and the status was not known then.",
            UnrecordedWarning,
        )
