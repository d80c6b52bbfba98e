"""What is known of the consumers of a log, and what can be done about it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable

import polars as pl

from walle.events.filters import EventFilter, check_offset
from walle.events.frame import consumers_frame
from walle.events.port import EventStore
from walle.events.reset import ResetReport, reset_offset
from walle.repositories.common import Time
from walle.repositories.events.consumer_claims import check_consumer

__all__ = ["Supervision"]


class Supervision(ABC):
    """The part of an event log that looks after its consumers."""

    @property
    @abstractmethod
    def store(self) -> EventStore:
        """The place where the events lie."""

    async def consumers(self) -> pl.DataFrame:
        """Tell of every consumer how far it has come, how far it lags, whether it lives and what it failed with.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.CONSUMERS`; one row per consumer, sorted by name.
        """
        store = self.store
        settled = await store.settle(-1)
        stored = await store.offsets.read()
        # what lies above the horizon waits for a gap
        above = (await store.rows(EventFilter(), settled, 2**63 - 1, None, ["id"]))["id"]
        held = [int((above > offset).sum()) for offset in stored["offset"]]
        holders = await store.holders() if above.len() else []
        return consumers_frame(stored.with_columns(held=pl.Series(held, dtype=pl.Int64)), settled, holders)

    async def reset_offset(
        self,
        consumer: str,
        *,
        to: int | None = None,
        since: Time = None,
        event_id: str | None = None,
        reason: str,
        preview: bool = False,
    ) -> ResetReport:
        """Move a consumer's offset, back for a replay or forward past events; give one place.

        A consumer that runs goes on from there; what it has in hand is not committed.

        Parameters
        ----------
        consumer : str
        to : int, optional
            The new offset: the event with the next id is handled next; -1: the first.
        since : datetime, date or str, optional
            The first event that was stored at this time or later is handled next.
        event_id : str, optional
            The event with this envelope's id is handled next.
        reason : str
            Why; kept with who and when, see :meth:`resets`.
        preview : bool
            Only tell what would be handled again or passed; nothing is changed.

        Returns
        -------
        ResetReport

        Raises
        ------
        UnknownConsumer, UnknownEvent
        InputError
            For no place or several, one past the end, or an empty reason.
        """
        return await reset_offset(
            self.store, check_consumer(consumer), to, since, event_id, reason=reason, preview=preview
        )

    async def parked(self, consumer: str | None = None) -> pl.DataFrame:
        """List the events that consumers set aside.

        Parameters
        ----------
        consumer : str, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.PARKED`; one row per consumer and event, sorted by both. Those that were
            replayed since have a ``replayed_at``.
        """
        store = self.store
        if consumer is not None:
            await store.offsets.offset(check_consumer(consumer))
        return await store.offsets.parked(consumer)

    async def replay(self, consumer: str, events: int | Iterable[int] | None = None) -> int:
        """Ask that parked events be handled again, by the consumer that runs or by the next one of that name.

        Parameters
        ----------
        consumer : str
        events : int or iterable of int, optional
            Their ids in the log; None: all that are parked.

        Returns
        -------
        int
            How many replays were asked for.

        Raises
        ------
        UnknownConsumer
        NotFound
            When an event is not parked.
        """
        chosen = [events] if isinstance(events, int | str) else events
        if chosen is not None:
            chosen = [check_offset(event, "event") for event in chosen]
        return await self.store.offsets.request_replay(check_consumer(consumer), chosen)

    async def resets(self, consumer: str | None = None) -> pl.DataFrame:
        """List every reset of an offset: from where to where, why, by whom and when.

        Parameters
        ----------
        consumer : str, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.RESETS`, in the order in which they were made.
        """
        return await self.store.offsets.resets(None if consumer is None else check_consumer(consumer))
