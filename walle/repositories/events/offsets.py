"""The offset and owner of each consumer, its parked events, and every reset."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import polars as pl
import sqlalchemy as sa

from walle import models
from walle.database import Database, Writer
from walle.errors import UnknownConsumer
from walle.frames import PARKED, RESETS, no_rows
from walle.repositories.common import near
from walle.repositories.events.consumer_claims import (
    OFFSETS,
    Claim,
    check_forward,
    check_free,
    check_parked,
    forward,
    owner_of,
    refresh_claim,
    storable,
    whoami,
)
from walle.repositories.select import expression, read
from walle.types import utc_now, wire

__all__ = ["OffsetRepository"]


class OffsetRepository:
    """The offsets of the consumers of one database; a commit is a compare-and-set under the claim's epoch.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self,
        consumer_id: str,
        token: str,
        *,
        start: int = -1,
        lease: timedelta,
        locked: bool = False,
        take_over: bool = False,
    ) -> Claim:
        """Claim a name, to consume under it.

        Parameters
        ----------
        consumer_id, token : str
        start : int
            The offset of a new consumer.
        lease : timedelta
            How long this owner may be silent before a process on another host may take its place.
        locked : bool
            Whether this process holds the database's lock on the name, so that a former holder must be gone.
        take_over : bool
            Whether to take the name even from a live owner.

        Raises
        ------
        ConsumerBusy
            If the owner is alive.
        """
        table = models.consumer_offsets
        await self._date_back(consumer_id)
        async with self._database.write() as writer:
            row = await self._locked(writer, consumer_id)
            if row is None:
                values = {"consumer_id": consumer_id, "last_offset": start}
                await writer.execute(_insert_once(values))
                row = await self._locked(writer, consumer_id)
                assert row is not None
            check_free(consumer_id, row["owner"], row["heartbeat_at"], row["now"], locked=locked, take_over=take_over)
            claim = Claim(consumer_id=consumer_id, token=token, epoch=row["epoch"] + 1, offset=row["last_offset"])
            owner = owner_of(token, lease, locked=locked)
            values = {"epoch": claim.epoch, "owner": owner, "heartbeat_at": utc_now()}
            await writer.execute(sa.update(table).where(table.c.consumer_id == consumer_id).values(values))
            return claim

    async def _date_back(self, consumer_id: str) -> None:
        """Set a heartbeat from the future to the database's current time.

        The database's clock was set back. A live owner soon sends another heartbeat; a dead one must not keep the name
        until the clock reaches the old time again.
        """
        table = models.consumer_offsets
        ahead = sa.and_(table.c.consumer_id == consumer_id, table.c.heartbeat_at > utc_now())
        columns = {"consumer_id": pl.String()}
        if (await self._database.fetch(sa.select(table.c.consumer_id).where(ahead), columns)).height:
            async with self._database.write() as writer:
                await writer.execute(sa.update(table).where(ahead).values(heartbeat_at=utc_now()))

    async def commit(self, claim: Claim, offset: int, *, handled: bool = True) -> Claim:
        """Move the offset forward, by compare-and-set.

        Parameters
        ----------
        claim : Claim
        offset : int
            Not below the claim's.
        handled : bool
            Whether the handler succeeded; False if only events were skipped that it does not want.

        Returns
        -------
        Claim
            The claim to continue with. If the offset was reset meanwhile, it has the new one and nothing was committed.

        Raises
        ------
        ConsumerFenced
            If another process claimed the name.
        """
        values = {"last_offset": forward(claim, offset), "updated_at": utc_now()}
        if handled:
            now = utc_now()
            values |= {"succeeded_at": now, "heartbeat_at": now}
        async with self._database.write() as writer:
            standing = await self._set(writer, claim, values)
            if handled and standing.epoch == claim.epoch:  # after a reset, parked events are handled in turn
                parked = models.parked_events
                taken = sa.and_(
                    parked.c.consumer_id == claim.consumer_id,
                    parked.c.event > claim.offset,
                    parked.c.event <= offset,
                    parked.c.replayed_at.is_(None),
                )
                done = {"requested_at": None, "replayed_at": utc_now()}
                await writer.execute(sa.update(parked).where(taken).values(done))
            return standing

    async def heartbeat(self, claim: Claim) -> Claim:
        """Record that the consumer is alive; return and raise as :meth:`commit`.

        Raises
        ------
        ConsumerFenced
        """
        alive = {"heartbeat_at": utc_now()}
        async with self._database.write() as writer:
            standing = await self._set(writer, claim, alive)
            if standing.epoch != claim.epoch:  # the offset was reset, and this claim is outdated
                await self._set(writer, standing, alive)
            return standing

    async def refresh_claim(self, claim: Claim) -> Claim:
        """Read the current state of a claim, without a write; return and raise as :meth:`commit`.

        Raises
        ------
        ConsumerFenced
        """
        table, dialect = models.consumer_offsets, self._database.dialect.name
        columns = {"epoch": pl.Int64(), "last_offset": pl.Int64(), "owner": pl.String()}
        statement = sa.select(*(wire(table.c[name], dialect).label(name) for name in columns))
        found = await self._database.fetch(statement.where(table.c.consumer_id == claim.consumer_id), columns)
        row = None if found.is_empty() else found.row(0, named=True)
        return refresh_claim(claim, row and {**row, "owner": row["owner"] and json.loads(row["owner"])})

    async def failed(self, claim: Claim, event: int, error: str) -> Claim:
        """Record the handler's error and its event; return and raise as :meth:`commit`.

        Raises
        ------
        ConsumerFenced
        """
        async with self._database.write() as writer:
            return await self._set(writer, claim, {"failed_at": utc_now(), "error": storable(error, event)})

    async def release(self, consumer_id: str, token: str) -> None:
        """End a claim; a claim that has already ended is left unchanged."""
        table = models.consumer_offsets
        async with self._database.write() as writer:
            row = await self._locked(writer, consumer_id)
            if row is not None and row["owner"] and row["owner"].get("token") == token:
                await writer.execute(sa.update(table).where(table.c.consumer_id == consumer_id).values(owner=None))

    async def park(self, claim: Claim, event: int, error: str, tries: int, *, offset: int) -> Claim:
        """Park an event and move the offset, both or neither; return and raise as :meth:`commit`.

        Parameters
        ----------
        claim : Claim
        event : int
        error : str
        tries : int
            The total number of tries.
        offset : int
            The event's own, or the claim's if a replay failed again.

        Raises
        ------
        ConsumerFenced
        """
        now = utc_now()
        values = {
            "last_offset": forward(claim, offset),
            "updated_at": utc_now(),
            "failed_at": now,
            "error": storable(error, event),
        }
        table = models.parked_events
        key = sa.and_(table.c.consumer_id == claim.consumer_id, table.c.event == event)
        content = {"error": storable(error), "tries": tries, "parked_at": now, "requested_at": None}
        async with self._database.write() as writer:
            standing = await self._set(writer, claim, values)
            if standing.epoch != claim.epoch:
                return standing
            changed = await writer.execute(sa.update(table).where(key).values(**content, replayed_at=None))
            if not changed.rowcount:
                row = {"consumer_id": claim.consumer_id, "event": event, **content}
                await writer.execute(sa.insert(table).values(row))
            return standing

    async def requested(self, consumer_id: str) -> list[tuple[int, int]]:
        """Return the id and tries of the parked events whose replay was requested, sorted by id."""
        table = models.parked_events
        statement = (
            sa.select(table.c.event, table.c.tries)
            .where(table.c.consumer_id == consumer_id, table.c.requested_at.is_not(None))
            .order_by(table.c.event)
        )
        frame = await self._database.fetch(statement, {"event": pl.Int64(), "tries": pl.Int64()})
        return [(event, tries) for event, tries in frame.iter_rows()]

    async def replayed(self, claim: Claim, event: int) -> Claim:
        """Record that a parked event was handled after all; return and raise as :meth:`commit`.

        Raises
        ------
        ConsumerFenced
        """
        table = models.parked_events
        key = sa.and_(table.c.consumer_id == claim.consumer_id, table.c.event == event)
        now = utc_now()
        async with self._database.write() as writer:
            standing = await self._set(writer, claim, {"succeeded_at": now, "heartbeat_at": now})
            if standing.epoch == claim.epoch:
                await writer.execute(sa.update(table).where(key).values(requested_at=None, replayed_at=now))
            return standing

    async def request_replay(self, consumer_id: str, events: Iterable[int] | None) -> int:
        """Request that parked events be handled again, by the running consumer or the next one.

        Parameters
        ----------
        consumer_id : str
        events : iterable of int, optional
            Their ids; None: all parked events.

        Returns
        -------
        int
            The number of requested replays.

        Raises
        ------
        UnknownConsumer
        NotFound
            If an event is not parked; it names the event.
        """
        table = models.parked_events
        wanted = None if events is None else set(events)
        async with self._database.write() as writer:
            await self._known(writer, consumer_id)
            waiting = sa.and_(table.c.consumer_id == consumer_id, table.c.replayed_at.is_(None))
            parked = set((await writer.execute(sa.select(table.c.event).where(waiting))).scalars())
            chosen = check_parked(consumer_id, wanted, parked)
            if wanted is not None:
                waiting = sa.and_(waiting, table.c.event.in_(chosen))
            await writer.execute(sa.update(table).where(waiting).values(requested_at=utc_now()))
            return len(chosen)

    async def reset(self, consumer_id: str, offset: int, reason: str) -> int:
        """Move an offset anywhere, and record it; a running consumer continues from there.

        Parked events after the new offset stay parked until they are handled in turn.

        Parameters
        ----------
        consumer_id : str
        offset : int
        reason : str

        Returns
        -------
        int
            The previous offset.

        Raises
        ------
        UnknownConsumer
        """
        table = models.consumer_offsets
        async with self._database.write() as writer:
            row = await self._known(writer, consumer_id)
            values = {"last_offset": offset, "epoch": row["epoch"] + 1, "updated_at": utc_now()}
            await writer.execute(sa.update(table).where(table.c.consumer_id == consumer_id).values(values))
            audit = {
                "consumer_id": consumer_id,
                "from_offset": row["last_offset"],
                "to_offset": offset,
                "reason": reason,
                "reset_by": whoami(),
            }
            await writer.execute(sa.insert(models.offset_resets).values(audit))
            return int(row["last_offset"])

    async def advance(self, consumer_id: str, offset: int) -> None:
        """Move the offset of a consumer that is not running forward; create a new consumer with it.

        Parameters
        ----------
        consumer_id : str
        offset : int
            Not below the stored one.

        Raises
        ------
        ConsumerBusy
            If the consumer's owner is alive.
        InputError
            For an offset below the stored one.
        """
        table = models.consumer_offsets
        async with self._database.write() as writer:
            await writer.execute(_insert_once({"consumer_id": consumer_id, "last_offset": -1}))
            row = await self._known(writer, consumer_id)
            check_free(consumer_id, row["owner"], row["heartbeat_at"], row["now"], locked=False, take_over=False)
            check_forward(consumer_id, row["last_offset"], offset)
            # a new epoch: an owner that only seems dead must not commit over it
            values = {"last_offset": offset, "epoch": row["epoch"] + 1, "owner": None, "updated_at": utc_now()}
            await writer.execute(sa.update(table).where(table.c.consumer_id == consumer_id).values(values))

    async def offset(self, consumer_id: str) -> int:
        """Return a consumer's offset.

        Raises
        ------
        UnknownConsumer
            It suggests similar names.
        """
        stored = await self.all()
        if consumer_id not in stored:
            raise UnknownConsumer(consumer_id, near(consumer_id, stored))
        return stored[consumer_id]

    async def all(self) -> dict[str, int]:
        """Return the offset of every consumer by name, sorted by name."""
        table = models.consumer_offsets
        columns = {"consumer_id": pl.String(), "last_offset": pl.Int64()}
        frame = await self._database.fetch(sa.select(*(table.c[name] for name in columns)), columns)
        return dict(sorted(frame.iter_rows()))

    async def read(self) -> pl.DataFrame:
        """Return every consumer; columns of :data:`OFFSETS`, sorted by consumer_id."""
        database, table, outbox = self._database, models.consumer_offsets, models.outbox
        later = outbox.c.id > table.c.last_offset
        lag = sa.select(sa.func.count()).select_from(outbox).where(later).scalar_subquery()
        next_at = (
            sa.select(wire(outbox.c.created_at, database.dialect.name)).where(later).order_by(outbox.c.id).limit(1)
        )
        parked: sa.ColumnElement[Any] = sa.literal_column("0")
        if database.has(models.parked_events):
            waiting = sa.and_(
                models.parked_events.c.consumer_id == table.c.consumer_id,
                models.parked_events.c.replayed_at.is_(None),
            )
            parked = sa.select(sa.func.count()).select_from(models.parked_events).where(waiting).scalar_subquery()
        computed: Mapping[str, sa.ColumnElement[Any]] = {
            "offset": table.c.last_offset,
            "lag": lag,
            "next_at": next_at.scalar_subquery(),
            "parked": parked,
            "now": utc_now(),
        }
        columns = (
            computed[name].label(name) if name in computed else expression(database, table, name) for name in OFFSETS
        )
        return (await read(database, sa.select(*columns), OFFSETS)).sort("consumer_id")

    async def parked(self, consumer_id: str | None) -> pl.DataFrame:
        """Return parked events; columns of :data:`walle.frames.PARKED`, sorted by consumer_id and offset."""
        database, table, outbox = self._database, models.parked_events, models.outbox
        if not database.has(table):
            return no_rows(PARKED)
        sources = {
            "offset": table.c.event,
            "type": outbox.c.type,
            "envelope": wire(outbox.c.payload, database.dialect.name),
        }
        columns = (
            sources[name].label(name) if name in sources else wire(table.c[name], database.dialect.name).label(name)
            for name in PARKED
        )
        statement = sa.select(*columns).join_from(table, outbox, outbox.c.id == table.c.event)
        if consumer_id is not None:
            statement = statement.where(table.c.consumer_id == consumer_id)
        return (await read(database, statement, PARKED)).sort("consumer_id", "offset")

    async def resets(self, consumer_id: str | None) -> pl.DataFrame:
        """Return every reset; columns of :data:`walle.frames.RESETS`, in the order in which they were made."""
        table = models.offset_resets
        if not self._database.has(table):
            return no_rows(RESETS)
        columns = (wire(table.c[name], self._database.dialect.name).label(name) for name in RESETS)
        statement = sa.select(*columns).order_by(table.c.id)
        if consumer_id is not None:
            statement = statement.where(table.c.consumer_id == consumer_id)
        return await read(self._database, statement, RESETS)

    async def _locked(self, writer: Writer, consumer_id: str) -> Mapping[str, Any] | None:
        table = models.consumer_offsets
        mine = sa.select(table, utc_now().label("now")).where(table.c.consumer_id == consumer_id)
        found = await writer.execute(mine.with_for_update())
        row = found.mappings().one_or_none()
        return None if row is None else dict(row)

    async def _known(self, writer: Writer, consumer_id: str) -> Mapping[str, Any]:
        row = await self._locked(writer, consumer_id)
        if row is None:
            known = await writer.execute(sa.select(models.consumer_offsets.c.consumer_id))
            raise UnknownConsumer(consumer_id, near(consumer_id, known.scalars()))
        return row

    async def _set(self, writer: Writer, claim: Claim, values: Mapping[str, Any]) -> Claim:
        table = models.consumer_offsets
        mine = sa.and_(table.c.consumer_id == claim.consumer_id, table.c.epoch == claim.epoch)
        if "last_offset" in values:  # a heartbeat has none, so that it does not conflict with a commit
            mine = sa.and_(mine, table.c.last_offset == claim.offset)
        changed = await writer.execute(sa.update(table).where(mine).values(values))
        if changed.rowcount:
            return dataclasses.replace(claim, offset=values.get("last_offset", claim.offset))
        return refresh_claim(claim, await self._locked(writer, claim.consumer_id))


def _insert_once(values: Mapping[str, Any]) -> sa.Insert:
    # another process may claim the same new name now; the row's lock decides which comes first
    rows = sa.select(*(sa.literal(value).label(name) for name, value in values.items())).where(sa.true())
    rows = rows.suffix_with("ON CONFLICT (consumer_id) DO NOTHING")
    return sa.insert(models.consumer_offsets).from_select(list(values), rows)
