"""Which events a reader wants."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from walle.errors import InputError
from walle.values import check_text, parse_range

__all__ = ["EventFilter", "check_offset"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Types, run, correlation and time of the events that are wanted; made by :meth:`of`.

    Parameters
    ----------
    types : tuple of str, optional
        Types, or patterns in which ``*`` stands for any characters.
    run_id, corr_id : str, optional
    start, end : str, optional
        ``ts`` in ``[start, end)``, as ISO text in UTC without its zone: such texts sort like the times.
    """

    types: tuple[str, ...] | None = None
    run_id: str | None = None
    corr_id: str | None = None
    start: str | None = None
    end: str | None = None

    @classmethod
    def of(
        cls,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        corr_id: str | None = None,
        start: datetime | date | str | None = None,
        end: datetime | date | str | None = None,
    ) -> EventFilter:
        """Check what was asked for.

        Raises
        ------
        InputError
            For a type that is neither a type nor a pattern, a name that is no text, or a bad range.
        """
        for name, value in (("run_id", run_id), ("corr_id", corr_id)):
            if value is not None:
                check_text(value, name, maximum=1000)
        first, last = parse_range(start, end)
        return cls(
            types=_types(types),
            run_id=run_id,
            corr_id=corr_id,
            start=None if first is None else first.isoformat()[:-6],
            end=None if last is None else last.isoformat()[:-6],
        )

    @property
    def everything(self) -> bool:
        """Whether no event is left out."""
        return self == EventFilter()

    def matches(self, event_type: str, envelope: Mapping[str, Any]) -> bool:
        """Tell whether an event is wanted."""
        if self.types is not None and not any(_matches(event_type, pattern) for pattern in self.types):
            return False
        for name in ("run_id", "corr_id"):
            wanted = getattr(self, name)
            if wanted is not None and envelope.get(name) != wanted:
                return False
        ts = envelope.get("ts") or ""
        return (self.start is None or ts >= self.start) and (self.end is None or (ts != "" and ts < self.end))


def _types(types: str | Iterable[str] | None) -> tuple[str, ...] | None:
    if types is None:
        return None
    if not isinstance(types, str | Iterable):
        raise InputError(f"types={types!r} is neither a text nor a list of texts.")
    chosen = (types,) if isinstance(types, str) else tuple(types)
    if not chosen:
        raise InputError("types is an empty list, so no event could match; leave it out for all of them.")
    for pattern in chosen:
        check_text(pattern, "types", maximum=1000)
        if "." not in pattern and "*" not in pattern:
            raise InputError(
                f"types={pattern!r} is neither a type such as 'orders.Filled' nor a pattern such as '{pattern}.*'."
            )
    return chosen


def _matches(event_type: str, pattern: str) -> bool:
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), event_type, re.DOTALL) is not None


def check_offset(value: object, name: str) -> int:
    """Return an id of the log.

    Raises
    ------
    InputError
        For anything but a whole number from -1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value < 2**63:
        raise InputError(f"{name}={value!r} is not the id of an event: a whole number, -1 before the first.")
    return value
