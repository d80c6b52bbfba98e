"""How far each consumer has come, for programs that keep their own place."""

from __future__ import annotations

from walle.errors import InputError, UnknownConsumer
from walle.events.filters import check_offset
from walle.events.log import EventLog
from walle.repositories.events.consumer_claims import check_consumer

__all__ = ["OffsetStore"]


class OffsetStore:
    """The offsets of a log's consumers, by name.

    Parameters
    ----------
    log : EventLog

    Raises
    ------
    InputError
        For anything but an event log.
    """

    def __init__(self, log: EventLog) -> None:
        if not isinstance(log, EventLog):
            raise InputError(f"offsets are those of a walle.EventLog, not of a {type(log).__name__}.")
        self._log = log

    async def get_offset(self, consumer: str) -> int:
        """Return the offset of the last event that a consumer settled; -1 before the first, and for an unknown one."""
        try:
            return await self._log.store.offsets.offset(check_consumer(consumer))
        except UnknownConsumer:
            return -1

    async def set_offset(self, consumer: str, offset: int, *, reason: str | None = None) -> None:
        """Move an offset: forward, or with a reason anywhere; a consumer that is new begins with this.

        Parameters
        ----------
        consumer : str
        offset : int
            The offset of the last settled event, -1 before the first; not past the end of the log.
        reason : str, optional
            Why it is forced; kept with who and when, see :meth:`EventLog.resets`.

        Raises
        ------
        InputError
            For an offset below the stored one without a reason, or past the end of the log.
        ConsumerBusy
            Without a reason, when a process that lives consumes under this name: it moves the offset itself.
        """
        store, name = self._log.store, check_consumer(consumer)
        last = await self._log.latest()
        if check_offset(offset, "offset") > last:
            raise InputError(f"offset={offset} is past the end of the log, which can be read up to {last}.")
        if reason is None:
            await store.offsets.advance(name, offset)
            return
        try:
            await self._log.reset_offset(name, to=offset, reason=reason)
        except UnknownConsumer:
            await store.offsets.advance(name, offset)

    async def get_all_offsets(self) -> dict[str, int]:
        """Return the offset of every consumer by its name, in the order of names."""
        return await self._log.store.offsets.all()
