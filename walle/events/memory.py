"""Events in memory: the same numbering and rules, and nothing is kept."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from walle.dialects.outbox_port import NameLock
from walle.envelope import ENVELOPE
from walle.errors import DatabaseBusy, InputError, UnknownConsumer
from walle.events.filters import EventFilter
from walle.events.port import EventStore, Offsets
from walle.forks import check_polars
from walle.frames import PARKED, RESETS
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
from walle.validation import json_text

__all__ = ["MemoryEvents", "MemorySession"]

BUSY_TIMEOUT = 60.0
"""Seconds that a writer waits for an open session, as on SQLite."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    id: int
    type: str
    created_at: datetime
    envelope: str


class MemorySession:
    """Appends that become visible together; from its first append on, other writers wait."""

    def __init__(self, store: MemoryEvents) -> None:
        self.store = store
        self.pending: list[tuple[str, str]] = []
        self.writing: bool = False
        self.closed = False

    async def commit(self) -> None:
        """Make the appends visible."""
        if self.pending:
            self.store.publish(self.pending)
        await self.rollback()

    async def rollback(self) -> None:
        """Drop the appends since the last commit."""
        self.pending = []
        if self.writing:
            self.writing = False
            self.store.lock.release()

    @asynccontextmanager
    async def begin_nested(self) -> AsyncIterator[None]:
        """Open a savepoint: an error inside drops only what was appended inside."""
        mark = len(self.pending)
        try:
            yield
        except BaseException:
            del self.pending[mark:]
            raise


class MemoryEvents(EventStore):
    """Events in a list; a writer that has begun makes the others wait, as on SQLite."""

    label = "memory"
    durable = False
    locks_names = False

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[_Row] = []
        self.lock: asyncio.Lock = asyncio.Lock()
        self.offsets: Offsets = MemoryOffsets(self._rows)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[MemorySession]:
        """Open a session; what is not committed at the end is dropped."""
        session = MemorySession(self)
        try:
            yield session
        finally:
            session.closed = True
            await session.rollback()

    async def append(self, types: Sequence[str], envelopes: Sequence[str], session: Any) -> list[int]:
        """Append to the list, or to the session's appends.

        Raises
        ------
        InputError
            For a session of another store, or one that was closed.
        DatabaseBusy
            When an open session does not end.
        """
        rows = list(zip(types, envelopes, strict=True))
        if session is None:
            await self._begin()
            try:
                return self.publish(rows)
            finally:
                self.lock.release()
        if not isinstance(session, MemorySession) or session.store is not self:
            raise InputError("this log lies in memory, and the session belongs to something else; use log.session().")
        if session.closed:
            raise InputError("this session was closed; open another one with log.session().")
        if not session.writing:
            await self._begin()
            session.writing = True
        first = len(self._rows) + len(session.pending) + 1
        session.pending += rows
        return list(range(first, first + len(rows)))

    async def _begin(self) -> None:
        try:
            async with asyncio.timeout(BUSY_TIMEOUT):
                await self.lock.acquire()
        except TimeoutError:
            raise DatabaseBusy(f"an open session of this log in memory held it for {BUSY_TIMEOUT:.0f} s.") from None

    def publish(self, rows: Sequence[tuple[str, str]]) -> list[int]:
        """Make events visible and wake those who wait."""
        first, now = len(self._rows) + 1, datetime.now(UTC)
        self._rows.extend(_Row(first + place, kind, now, text) for place, (kind, text) in enumerate(rows))
        self.wake()
        return list(range(first, first + len(rows)))

    async def settle(self, after: int) -> int:
        """Return the last id; there are no gaps."""
        return len(self._rows)

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
        """Return events from the list."""
        check_polars()
        found: list[_Row] = []
        members: list[dict[str, Any]] = []
        parse = not wanted.everything or not set(columns) <= {"offset", "type", "created_at", "envelope"}
        rows = self._rows[max(after, 0) : max(upto, 0)]
        for row in reversed(rows) if newest_first else rows:
            if limit is not None and len(found) >= limit:
                break
            envelope = json.loads(row.envelope) if parse else {}
            if not parse or wanted.matches(row.type, envelope):
                found.append(row)
                members.append(envelope)
        return pl.DataFrame({name: _column(name, found, members) for name in columns})

    async def first(self, *, event_id: str | None = None, since: datetime | None = None) -> int | None:
        """Search the list from its start."""
        for row in self._rows:
            if event_id in (None, json.loads(row.envelope)["id"]) and (since is None or row.created_at >= since):
                return row.id
        return None

    async def holders(self) -> list[str]:
        """Return nobody."""
        return []

    async def close(self) -> None:
        """Wake those who wait, so that they hear of it."""
        self.wake()

    async def lock_name(self, name: str) -> NameLock | None:
        """Refuse: names are kept by their claims.

        Raises
        ------
        NotImplementedError
        """
        raise NotImplementedError


def _column(name: str, rows: Sequence[_Row], members: Sequence[dict[str, Any]]) -> pl.Series:
    if name == "offset":
        return pl.Series(name, [row.id for row in rows], pl.Int64)
    if name == "created_at":
        return pl.Series(name, [row.created_at for row in rows], pl.Datetime("us", "UTC"))
    if name in ("type", "envelope"):
        return pl.Series(name, [getattr(row, name) for row in rows], pl.String)
    assert name in ENVELOPE
    values = [member[name] for member in members]
    document = name in ("headers", "payload")
    texts = [None if value is None else json_text(value) if document else str(value) for value in values]
    return pl.Series(name, texts, pl.String)


def _new(consumer_id: str, offset: int) -> dict[str, Any]:
    unset = dict.fromkeys(("owner", "heartbeat_at", "succeeded_at", "failed_at", "error"))
    return {"consumer_id": consumer_id, "last_offset": offset, "epoch": 0, "updated_at": datetime.now(UTC), **unset}


class MemoryOffsets:
    """Offsets in a dict, under the rules of :class:`walle.repositories.OffsetRepository`.

    Every method runs to its end without awaiting, so none needs a lock.
    """

    def __init__(self, events: Sequence[_Row]) -> None:
        self._events = events
        self._consumers: dict[str, dict[str, Any]] = {}
        self._parked: dict[tuple[str, int], dict[str, Any]] = {}
        self._resets: list[dict[str, Any]] = []

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
        """Begin to consume under a name.

        Raises
        ------
        ConsumerBusy
        """
        row = self._consumers.get(consumer_id) or _new(consumer_id, start)
        now = datetime.now(UTC)
        check_free(consumer_id, row["owner"], row["heartbeat_at"], now, locked=locked, take_over=take_over)
        row |= {"epoch": row["epoch"] + 1, "owner": owner_of(token, lease, locked=locked), "heartbeat_at": now}
        self._consumers[consumer_id] = row
        return Claim(consumer_id=consumer_id, token=token, epoch=row["epoch"], offset=row["last_offset"])

    async def commit(self, claim: Claim, offset: int, *, handled: bool = True) -> Claim:
        """Move the offset forward."""
        now = datetime.now(UTC)
        done = {"succeeded_at": now, "heartbeat_at": now} if handled else {}
        standing = self._set(claim, {"last_offset": forward(claim, offset), "updated_at": now, **done})
        if handled and standing.epoch == claim.epoch:  # after a reset, parked events come in their turn
            for (name, event), row in self._parked.items():
                if name == claim.consumer_id and claim.offset < event <= offset and row["replayed_at"] is None:
                    row |= {"requested_at": None, "replayed_at": now}
        return standing

    async def heartbeat(self, claim: Claim) -> Claim:
        """Say that the consumer lives."""
        return self._set(claim, {"heartbeat_at": datetime.now(UTC)})

    async def refresh_claim(self, claim: Claim) -> Claim:
        """Look how a claim stands."""
        return refresh_claim(claim, self._consumers.get(claim.consumer_id))

    async def failed(self, claim: Claim, event: int, error: str) -> Claim:
        """Record what the handler failed with, and at which event."""
        return self._set(claim, {"failed_at": datetime.now(UTC), "error": storable(error, event)})

    async def release(self, consumer_id: str, token: str) -> None:
        """End a claim."""
        row = self._consumers.get(consumer_id)
        if row is not None and row["owner"] is not None and row["owner"]["token"] == token:
            row["owner"] = None

    async def park(self, claim: Claim, event: int, error: str, tries: int, *, offset: int) -> Claim:
        """Set an event aside and move the offset."""
        now, text = datetime.now(UTC), storable(error)
        kept = storable(error, event)
        standing = self._set(
            claim, {"last_offset": forward(claim, offset), "updated_at": now, "failed_at": now, "error": kept}
        )
        if standing.epoch == claim.epoch:
            waiting = {"requested_at": None, "replayed_at": None}
            self._parked[claim.consumer_id, event] = {"error": text, "tries": tries, "parked_at": now, **waiting}
        return standing

    async def requested(self, consumer_id: str) -> list[tuple[int, int]]:
        """Return the parked events whose replay was asked for."""
        return sorted(
            (event, row["tries"])
            for (name, event), row in self._parked.items()
            if name == consumer_id and row["requested_at"] is not None
        )

    async def replayed(self, claim: Claim, event: int) -> Claim:
        """Note that the handler took a parked event after all."""
        now = datetime.now(UTC)
        standing = self._set(claim, {"succeeded_at": now, "heartbeat_at": now})
        if standing.epoch == claim.epoch:
            self._parked[claim.consumer_id, event] |= {"requested_at": None, "replayed_at": now}
        return standing

    async def request_replay(self, consumer_id: str, events: Iterable[int] | None) -> int:
        """Ask that parked events be handled again."""
        self._known(consumer_id)
        waiting = {event: row for (name, event), row in self._parked.items() if name == consumer_id}
        parked = {event for event, row in waiting.items() if row["replayed_at"] is None}
        chosen = check_parked(consumer_id, None if events is None else set(events), parked)
        for event in chosen:
            waiting[event]["requested_at"] = datetime.now(UTC)
        return len(chosen)

    async def reset(self, consumer_id: str, offset: int, reason: str) -> int:
        """Move an offset anywhere, and write that down."""
        row, now = self._known(consumer_id), datetime.now(UTC)
        before = int(row["last_offset"])
        row |= {"last_offset": offset, "epoch": row["epoch"] + 1, "updated_at": now}
        moved = {"consumer_id": consumer_id, "from_offset": before, "to_offset": offset}
        self._resets.append({**moved, "reason": reason, "reset_by": whoami(), "reset_at": now})
        return before

    async def advance(self, consumer_id: str, offset: int) -> None:
        """Move the offset of a consumer that nobody runs forward."""
        now = datetime.now(UTC)
        row = self._consumers.get(consumer_id) or _new(consumer_id, -1)
        check_free(consumer_id, row["owner"], row["heartbeat_at"], now, locked=False, take_over=False)
        check_forward(consumer_id, row["last_offset"], offset)
        row |= {"last_offset": offset, "epoch": row["epoch"] + 1, "owner": None, "updated_at": now}
        self._consumers[consumer_id] = row

    async def offset(self, consumer_id: str) -> int:
        """Return a consumer's offset."""
        return int(self._known(consumer_id)["last_offset"])

    async def all(self) -> dict[str, int]:
        """Return the offset of every consumer by its name, in the order of names."""
        return {name: int(row["last_offset"]) for name, row in sorted(self._consumers.items())}

    async def read(self) -> pl.DataFrame:
        """Return every consumer."""
        check_polars()
        rows = []
        for name, row in sorted(self._consumers.items()):
            later = self._events[max(row["last_offset"], 0) :]
            parked = sum(key[0] == name and item["replayed_at"] is None for key, item in self._parked.items())
            owner = None if row["owner"] is None else json.dumps(row["owner"])
            next_at = later[0].created_at if later else None
            computed = {"offset": row["last_offset"], "lag": len(later), "next_at": next_at, "parked": parked}
            rows.append({**row, **computed, "owner": owner, "now": datetime.now(UTC)})
        return pl.DataFrame([{name: row[name] for name in OFFSETS} for row in rows], schema=OFFSETS)

    async def parked(self, consumer_id: str | None) -> pl.DataFrame:
        """Return parked events."""
        check_polars()
        rows = [
            {**row, "consumer_id": name, "offset": event, "type": self._events[event - 1].type}
            | {"envelope": self._events[event - 1].envelope}
            for (name, event), row in sorted(self._parked.items())
            if consumer_id in (None, name)
        ]
        return pl.DataFrame(rows, schema=PARKED)

    async def resets(self, consumer_id: str | None) -> pl.DataFrame:
        """Return every reset."""
        check_polars()
        return pl.DataFrame([row for row in self._resets if consumer_id in (None, row["consumer_id"])], schema=RESETS)

    def _known(self, consumer_id: str) -> dict[str, Any]:
        if consumer_id not in self._consumers:
            raise UnknownConsumer(consumer_id, near(consumer_id, self._consumers))
        return self._consumers[consumer_id]

    def _set(self, claim: Claim, values: dict[str, Any]) -> Claim:
        row = self._consumers[claim.consumer_id]
        if row["epoch"] == claim.epoch and ("last_offset" not in values or row["last_offset"] == claim.offset):
            row |= values
            return dataclasses.replace(claim, offset=values.get("last_offset", claim.offset))
        return refresh_claim(claim, row)
