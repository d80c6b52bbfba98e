"""Moving a consumer's offset: where to, what that means, and why."""

from __future__ import annotations

import html
from dataclasses import dataclass

import polars as pl

from walle.errors import InputError, UnknownEvent
from walle.events.filters import EventFilter
from walle.events.frame import events_frame
from walle.events.port import EventStore
from walle.repositories.common import Time
from walle.validation import check_text, parse_time

__all__ = ["ResetReport", "reset_offset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetReport:
    """What a reset of an offset did, or would do.

    Parameters
    ----------
    consumer_id : str
    from_offset, to_offset : int
    reason : str
    applied : bool
        False for a preview.
    events : polars.DataFrame
        offset, type, created_at of the events between the two: handled again when the offset goes back, passed when it
        goes forward. Of any type.
    """

    consumer_id: str
    from_offset: int
    to_offset: int
    reason: str
    applied: bool
    events: pl.DataFrame

    @property
    def replayed(self) -> int:
        """How many events the consumer goes through again; of any type, also those that it does not want."""
        return self.events.height if self.to_offset < self.from_offset else 0

    @property
    def passed(self) -> int:
        """How many events the consumer never sees; of any type."""
        return self.events.height if self.to_offset > self.from_offset else 0

    def __str__(self) -> str:
        """Say it in a line."""
        moved = f"{self.consumer_id}: {self.from_offset} -> {self.to_offset}"
        if self.replayed:
            effect = f"back over {self.replayed:,} events of any type"
        elif self.passed:
            effect = f"past {self.passed:,} events of any type, which are not handled"
        else:
            effect = "no event between"
        return f"{moved}, {effect}{'' if self.applied else ' (preview: nothing was changed)'}"

    def __repr__(self) -> str:
        """Say it in a line."""
        return f"ResetReport({self})"

    def _repr_html_(self) -> str:
        return f"<b>{html.escape(str(self))}</b>{self.events.head(10)._repr_html_()}"


async def reset_offset(
    store: EventStore,
    consumer: str,
    to: int | None,
    since: Time,
    event_id: str | None,
    *,
    reason: str,
    preview: bool,
) -> ResetReport:
    """Move an offset, or tell what that would mean; see :meth:`walle.EventLog.reset_offset`.

    Raises
    ------
    UnknownConsumer, UnknownEvent
    InputError
        For no place or several, one past the end, or an empty reason.
    """
    if not check_text(reason, "reason", maximum=1000, empty=True).strip():
        raise InputError("a reset needs a reason, which is kept with it: reason='the handler had a bug'.")
    before = await store.offsets.offset(consumer)
    offset = await _target(store, to, since, event_id)
    low, high = sorted((before, offset))
    span = await store.rows(EventFilter(), low, high, None, ["offset", "type", "created_at"])
    if not preview:
        before = await store.offsets.reset(consumer, offset, reason)
    return ResetReport(
        consumer_id=consumer,
        from_offset=before,
        to_offset=offset,
        reason=reason,
        applied=not preview,
        events=events_frame(span),
    )


async def _target(store: EventStore, to: int | None, since: Time, event_id: str | None) -> int:
    given = [name for name, value in (("to", to), ("since", since), ("event_id", event_id)) if value is not None]
    if len(given) != 1:
        raise InputError(
            f"give one place to reset to, not {' and '.join(given) or 'none'}: to=<offset>, since=<time> or "
            "event_id=<id>."
        )
    last = await store.settle(-1)
    if to is not None:
        if isinstance(to, bool) or not isinstance(to, int) or not -1 <= to <= max(last, -1):
            raise InputError(
                f"to={to!r} is not an offset of this log: it has events up to {last or 'none'}, as far as they "
                "can be read; -1 is before the first."
            )
        return to
    if event_id is not None:
        found = await store.first(event_id=check_text(event_id, "event_id", maximum=1000))
        if found is None:
            raise UnknownEvent(event_id)
        return _before(found, last)
    found = await store.first(since=parse_time(since, "since"))
    return (last if found is None else _before(found, last)) or -1


def _before(event: int, last: int) -> int:
    if event - 1 > last:
        raise InputError(
            f"event {event} cannot be read yet: after {last}, open transactions may still commit events. "
            "store.events.consumers() says whose (held_by)."
        )
    return event - 1 or -1
