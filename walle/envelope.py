"""The envelope of an event, as a frozen record."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar, Self
from uuid import uuid4

from walle.enums import EventKind
from walle.errors import InputError
from walle.records import Record
from walle.validation import check_json, json_text, parse_json

__all__ = ["ENVELOPE", "Event"]

ENVELOPE = (
    *("id", "kind", "type", "version", "run_id", "corr_id", "causation_id", "trace_id"),
    *("ts", "producer", "headers", "payload"),
)
"""The keys of an event's envelope, in the order in which they are written."""

_TYPE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\.[A-Z][A-Za-z0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Event(Record):
    """The envelope of one event.

    Parameters
    ----------
    type : str
        ``namespace.PascalCase``, such as ``orders.Filled``.
    payload : dict
        The content, as JSON. An event that another program wrote may hold any JSON value or None; if its document is
        not a JSON object, the whole document is the payload.
    id, corr_id : str
        New by default.
    kind : EventKind
        ``evt`` or ``cmd``.
    version : int
        The version of the payload's form, from 1.
    run_id, causation_id, trace_id, producer : str, optional
    ts : datetime
        Aware; now by default.
    headers : dict
        Metadata, as JSON.
    offset, created_at
        The event's position in the log and the time when it was stored; None before. They are not part of the envelope,
        and comparing events ignores them.

    Raises
    ------
    InputError
        For a type of another form, a naive instant, or a payload that is not JSON.
    """

    _enums: ClassVar[Mapping[str, builtins.type[StrEnum]]] = {"kind": EventKind}

    type: str
    payload: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid4()))
    kind: EventKind | str = EventKind.EVENT
    version: int = 1
    run_id: str | None = None
    corr_id: str | None = field(default_factory=lambda: str(uuid4()))
    causation_id: str | None = None
    trace_id: str | None = None
    ts: datetime = field(default_factory=lambda: datetime.now(UTC))
    producer: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    offset: int | None = field(default=None, compare=False)
    created_at: datetime | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        self._texts(100, "id", "type", optional=["run_id", "corr_id", "causation_id", "trace_id", "producer"])
        if not _TYPE.fullmatch(self.type):
            raise InputError(f"Event.type={self.type!r} is not namespace.PascalCase, such as 'orders.Filled'.")
        self._words()
        self._instants("ts")
        if isinstance(self.version, bool) or not isinstance(self.version, int) or self.version < 1:
            raise InputError(f"Event.version={self.version!r} is not a whole number from 1.")
        for name in ("payload", "headers"):
            if not isinstance(getattr(self, name), Mapping):
                raise InputError(f"{self._name(name)} is a {type(getattr(self, name)).__name__}, not a dict.")
            self._set(name, check_json(getattr(self, name), name))

    def __repr__(self) -> str:
        """Show the fields that differ from their defaults, the offset first."""
        usual = {"kind": EventKind.EVENT, "version": 1}
        values = [(name, getattr(self, name)) for name in ("offset", *ENVELOPE) if name != "type"]
        fields = [f"{name}={value!r}" for name, value in values if value and usual.get(name) != value]
        return f"{type(self).__name__}({self.type!r}, {', '.join(fields)})"

    def envelope(self) -> dict[str, Any]:
        """Return the event as the JSON document that the outbox holds."""
        document = {name: getattr(self, name) for name in ENVELOPE}
        # an event that another program stored may have a ts that is not a time
        return document | {
            "kind": str(self.kind),
            "ts": self.ts.isoformat() if isinstance(self.ts, datetime) else self.ts,
        }

    def to_json(self) -> str:
        """Return the envelope as compact JSON text; :meth:`from_json` reads it."""
        return json_text(self.envelope())

    @classmethod
    def from_json(cls, document: str | bytes | Mapping[str, Any]) -> Self:
        """Read an envelope; every field is checked, and absent ones get their defaults.

        Parameters
        ----------
        document : str, bytes or mapping
            JSON text, or the parsed object. ``ts`` is an ISO text with a zone.

        Raises
        ------
        InputError
            For a document that is not a JSON object, lacks a type, or has an unknown key or a field that is not
            allowed.
        """
        try:
            fields = json.loads(document) if isinstance(document, str | bytes) else document
        except ValueError as error:
            raise InputError(f"an event's envelope is JSON; this is not: {error}.") from error
        if not isinstance(fields, Mapping) or "type" not in fields:
            raise InputError("an event's envelope is a JSON object that has at least the key 'type'.")
        unknown = [key for key in fields if key not in ENVELOPE]
        if unknown:
            raise InputError(f"an event's envelope has no key {unknown[0]!r}; it has: {', '.join(ENVELOPE)}.")
        given = dict(fields)
        if isinstance(given.get("ts"), str):
            try:
                given["ts"] = datetime.fromisoformat(given["ts"])
            except ValueError:
                raise InputError(f"Event.ts={given['ts']!r} is no ISO time.") from None
        return cls(**given)

    @classmethod
    def stored(cls, offset: int, event_type: str, created_at: datetime, envelope: str) -> Self:
        """Make an event from a stored row without checking it; fields that another program left out are None."""
        try:
            document = parse_json(envelope)
        except (ValueError, RecursionError):  # SQLite keeps any text
            document = envelope
        fields = {"type": event_type} | (document if isinstance(document, dict) else {"payload": document})
        if isinstance(fields.get("ts"), str):
            with contextlib.suppress(ValueError):
                fields["ts"] = datetime.fromisoformat(fields["ts"])
        return cls.from_row(fields | {"offset": offset, "created_at": created_at})

    def caused_by(self, cause: Event) -> Self:
        """Return a copy of this event that names another as its cause.

        Parameters
        ----------
        cause : Event

        Returns
        -------
        Event
            Its ``causation_id`` is the id of the cause and its ``corr_id`` that of the cause. Where this event has no
            ``run_id`` or ``trace_id``, it takes the cause's.

        Raises
        ------
        InputError
            For anything but an Event.

        Examples
        --------
        >>> placed = Event(type="orders.Placed", run_id="sma-1")
        >>> filled = Event(type="orders.Filled").caused_by(placed)
        >>> filled.causation_id == placed.id, filled.corr_id == placed.corr_id, filled.run_id
        (True, True, 'sma-1')
        """
        if not isinstance(cause, Event):
            raise InputError(f"an event is caused by a walle.Event, not by a {type(cause).__name__}.")
        return dataclasses.replace(
            self,
            causation_id=cause.id,
            corr_id=cause.corr_id,
            run_id=self.run_id or cause.run_id,
            trace_id=self.trace_id or cause.trace_id,
        )
