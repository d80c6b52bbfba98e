"""Events in the table ``outbox``: read up to the horizon, so that none is ever skipped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.dialects.base import BULK_ROWS
from walle.dialects.outbox_port import NameLock
from walle.errors import DatabaseError, InputError, UnsafeEventSource
from walle.events.filter_sql import conditions
from walle.events.filters import EventFilter
from walle.events.horizon import Horizon
from walle.events.port import EventStore, Offsets
from walle.frames import EVENTS
from walle.interrupts import end
from walle.repositories import OffsetRepository
from walle.repositories.events.columns import event_column

__all__ = ["OutboxEvents"]

log: logging.Logger = logging.getLogger("walle")

ANNOUNCE_PAUSE = 0.05
"""Seconds between two announcements to other processes; commits meanwhile share one."""

PATIENCE = 1.0
"""Seconds for which the first look is repeated, until the writers are gone of which it knows nothing."""

LISTEN_AGAIN = 30.0
"""Seconds after which a lost connection that listened is opened again."""

_EVIDENCE = {"highest": pl.Int64(), "holders": pl.String(), "hazard": pl.String()}
_MARK = "walle_wakes"


class OutboxEvents(EventStore):
    """Events of one database.

    Parameters
    ----------
    database : Database
    """

    durable = True

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._dialect = database.dialect.outbox
        self.label: str = database.dialect.label
        self.offsets: Offsets = OffsetRepository(database)
        self._horizon = Horizon()
        self._looking = asyncio.Lock()
        self._patient = True
        self._listener: asyncio.Task[None] | None = None
        self._announcer: asyncio.Task[None] | None = None
        self._announce = False
        database.before_close(self.close)

    def session(self) -> AbstractAsyncContextManager[AsyncSession]:
        """Open a session of the database."""
        return self._database.session()

    async def append(self, types: Sequence[str], envelopes: Sequence[str], session: Any) -> list[int]:
        """Insert in one transaction, or in the caller's.

        Raises
        ------
        InputError
            For what is no session of a database.
        """
        if session is not None and not isinstance(session, AsyncSession):
            raise InputError(f"session={session!r} is not a session; open one with database.session().")
        async with self._database.write(session) as writer:
            bulk = len(types) >= BULK_ROWS
            if bulk:
                await writer.dialect.begin_bulk_insert(writer.connection, models.outbox)
            ids = await writer.insert_events(types, envelopes)
            if bulk:
                await writer.dialect.end_bulk_insert(writer.connection, models.outbox)
        if session is None:
            self._committed()
        elif id(self) not in (known := session.sync_session.info.setdefault(_MARK, set())):
            known.add(id(self))
            sa.event.listen(session.sync_session, "after_commit", lambda _: self._committed())
        return ids

    async def settle(self, after: int) -> int:
        """Look at the ids and at who may still commit one.

        Raises
        ------
        UnsafeEventSource
            On a standby, or where the sequence hands out ids in blocks.
        """
        end = asyncio.get_running_loop().time() + PATIENCE
        while True:
            highest, settled = await self._look(after)
            # of the writers that were there at the first look nothing is known: most are gone in milliseconds
            if self._patient and settled < highest and self._horizon.blind and asyncio.get_running_loop().time() < end:
                await asyncio.sleep(PATIENCE / 50)
                continue
            self._patient = False
            return settled

    async def _look(self, after: int) -> tuple[int, int]:
        async with self._looking:  # a look that began earlier must not be judged later
            found = await self._database.fetch(self._dialect.evidence(), _EVIDENCE)
            highest, holders, hazard = found.row(0)
            if hazard:
                raise UnsafeEventSource(f"events of {self.label} could be skipped: {hazard}.")
            if highest < self._horizon.highest:
                raise UnsafeEventSource(
                    f"{self.label} had events up to {self._horizon.highest} and now has {highest}: it was set back, "
                    "and hands out ids again. Open it anew, and reset the consumers that stand above."
                )
            settled = self._horizon.look(highest, holders.split(",") if holders else ())
            if settled >= highest:
                return highest, settled
            start = min(max(settled, after), highest)
            end = await self._contiguous(start, highest)
            return highest, self._horizon.advance(end) if start == settled else end

    async def _contiguous(self, start: int, highest: int) -> int:
        """Return the end of the ids that follow ``start`` without a gap: these can be seen, so they are settled."""
        ids = models.outbox.c.id
        place = (sa.func.row_number().over(order_by=ids) + start).label("place")
        numbered = sa.select(ids, place).where(ids > start, ids <= highest).subquery()
        end = sa.select(sa.func.max(numbered.c.id).label("id")).where(numbered.c.id == numbered.c.place)
        found = (await self._database.fetch(end, {"id": pl.Int64()})).item()
        return start if found is None else int(found)

    async def rows(
        self,
        wanted: EventFilter,
        after: int,
        upto: int,
        limit: int | None,
        columns: Sequence[str],
        *,
        newest_first: bool = False,
    ) -> pl.DataFrame:
        """Select events, and of their envelopes only the members that are asked for."""
        ids, name = models.outbox.c.id, self._database.dialect.name
        chosen = [event_column(column, name).label(column) for column in columns]
        statement = sa.select(*chosen).where(ids > after, ids <= upto, *conditions(wanted, name))
        statement = statement.order_by(ids.desc() if newest_first else ids)
        if limit is not None:
            statement = statement.limit(limit)
        schema: dict[str, pl.DataType] = {column: pl.String() for column in columns}
        schema |= {column: EVENTS[column] for column in ("offset", "created_at") if column in schema}
        return await self._database.fetch(statement, schema)

    async def first(self, *, event_id: str | None = None, since: datetime | None = None) -> int | None:
        """Select the lowest offset."""
        places: list[sa.ColumnElement[bool]] = []
        if event_id is not None:
            places.append(event_column("id", self._database.dialect.name) == event_id)
        if since is not None:
            places.append(models.outbox.c.created_at >= since)
        statement = sa.select(sa.func.min(models.outbox.c.id).label("id")).where(*places)
        found = (await self._database.fetch(statement, {"id": pl.Int64()})).item()
        return None if found is None else int(found)

    async def holders(self) -> list[str]:
        """Ask the database who writes events at this moment."""
        return (await self._database.fetch(self._dialect.holders(), {"holder": pl.String()}))["holder"].to_list()

    async def lock_name(self, name: str) -> NameLock | None:
        """Take a lock of the database.

        Raises
        ------
        NotImplementedError
        """
        with self._database.errors():
            return await self._dialect.lock_name(name)

    @property
    def locks_names(self) -> bool:
        """Whether the database has such a lock."""
        return self._dialect.locks_names

    async def wait(self, signal: asyncio.Event, seconds: float) -> None:
        """Wait; other processes' commits are heard of as well, where the database tells."""
        if (self._listener is None or self._listener.done()) and self._dialect.announcement() is not None:
            self._listener = asyncio.create_task(self._listen())
        await super().wait(signal, seconds)

    async def close(self) -> None:
        """End the listener and the announcer."""
        loop = asyncio.get_running_loop()
        running = [task for task in (self._listener, self._announcer) if task is not None and not task.done()]
        tasks = [task for task in running if task.get_loop() is loop]  # the tasks of a closed loop ended with it
        for task in tasks:
            await end(task)
        self.wake()

    async def _listen(self) -> None:
        while self._dialect.announcement() is not None:
            try:
                with self._database.errors():
                    async with self._dialect.listen() as wakes:
                        async for _ in wakes:
                            self.wake()
            except DatabaseError as error:
                log.warning("cannot LISTEN, so events are polled meanwhile: %s", error)
            await asyncio.sleep(LISTEN_AGAIN)

    def _committed(self) -> None:
        self.wake()
        self._announce = self._dialect.announcement() is not None
        if self._announce and (self._announcer is None or self._announcer.done()):
            self._announcer = asyncio.get_running_loop().create_task(self._tell_others())

    async def _tell_others(self) -> None:
        statement = self._dialect.announcement()
        assert statement is not None
        while self._announce:
            self._announce = False
            # a lost announcement costs the others one interval of polling, and the writer nothing
            with contextlib.suppress(DatabaseError), self._database.errors():
                async with self._database.engine.connect() as connection:
                    await connection.execute(statement)
                    await connection.commit()
            await asyncio.sleep(ANNOUNCE_PAUSE)
