"""Which events a reader wants."""

from __future__ import annotations

import json as jsons
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from types import EllipsisType
from typing import Any

from walle.errors import InputError
from walle.events.json_path import Path, find_values, parse_path
from walle.validation import check_text, json_text, parse_range

__all__ = ["EventFilter", "Scalar", "check_offset", "lowered", "spellings"]

Scalar = str | int | float | bool | None
"""A value of JSON that holds no others."""

_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Types, run, correlation, time and payload of the events that are wanted; made by :meth:`of`.

    Parameters
    ----------
    types : tuple of str, optional
        Types, or patterns in which ``*`` stands for any characters.
    run_id, corr_id : str, optional
    start, end : str, optional
        ``ts`` in ``[start, end)``, as ISO text in UTC without its zone: such texts sort like the times.
    json : tuple of (path, values)
        What stands at paths in the payload: one of the values, or anything but null for None.
    text : str, optional
        A part of the payload's text, in letters of either case.
    """

    types: tuple[str, ...] | None = None
    run_id: str | None = None
    corr_id: str | None = None
    start: str | None = None
    end: str | None = None
    json: tuple[tuple[Path, tuple[Scalar, ...] | None], ...] = ()
    text: str | None = None

    @classmethod
    def of(
        cls,
        types: str | Iterable[str] | None = None,
        run_id: str | None = None,
        corr_id: str | None = None,
        start: datetime | date | str | None = None,
        end: datetime | date | str | None = None,
        *,
        json: Mapping[str, object] | None = None,
        text: str | None = None,
    ) -> EventFilter:
        """Check what was asked for.

        Raises
        ------
        InputError
            For a type that is neither a type nor a pattern, a name that is no text, a bad range, path or value.
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
            json=_places(json),
            text=None if text is None else check_text(text, "text", maximum=1000),
        )

    @property
    def everything(self) -> bool:
        """Whether no event is left out."""
        return self == EventFilter()

    def matches(self, event_type: str, envelope: Mapping[str, Any]) -> bool:
        """Return whether an event passes the filter."""
        if self.types is not None and not any(_matches(event_type, pattern) for pattern in self.types):
            return False
        for name in ("run_id", "corr_id"):
            wanted = getattr(self, name)
            if wanted is not None and envelope.get(name) != wanted:
                return False
        ts = envelope.get("ts") or ""
        if (self.start is not None and ts < self.start) or (self.end is not None and not "" < ts < self.end):
            return False
        payload = envelope.get("payload")
        if not all(_holds(payload, path, values) for path, values in self.json):
            return False
        if self.text is None:
            return True
        stored = "" if payload is None else lowered(json_text(payload))
        return any(part in stored for part in spellings(self.text))


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
    return tuple(re.sub(r"\*+", "*", pattern) for pattern in chosen)


def _matches(event_type: str, pattern: str) -> bool:
    """Compare in one pass: each part between two stars is taken where it first occurs; an expression would go back."""
    first, *others = pattern.split("*")
    if not others:
        return event_type == pattern
    last = others.pop()
    end = len(event_type) - len(last)
    if end < len(first) or not (event_type.startswith(first) and event_type.endswith(last)):
        return False
    place = len(first)
    for part in others:
        place = event_type.find(part, place, end)
        if place < 0:
            return False
        place += len(part)
    return True


def _places(json: Mapping[str, object] | None) -> tuple[tuple[Path, tuple[Scalar, ...] | None], ...]:
    if json is None:
        return ()
    if not isinstance(json, Mapping):
        raise InputError(f"json={json!r} is not a mapping of paths to values, such as {{'order.symbol': 'BTC/USD'}}.")
    return tuple((parse_path(path), _scalars(value, str(path))) for path, value in json.items())


def _scalars(value: object, path: str) -> tuple[Scalar, ...] | None:
    if isinstance(value, EllipsisType):
        return None
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    for one in values:
        finite = not isinstance(one, float) or math.isfinite(one)
        if not finite or not (one is None or isinstance(one, str | int | float)):
            raise InputError(
                f"json={{{path!r}: {one!r}}} is not compared with a text, a finite number, a bool or None, nor with a "
                "list of them; ... stands for anything but null."
            )
        if isinstance(one, str):
            check_text(one, "json", maximum=100_000, empty=True)
    if not values:
        raise InputError(f"json={{{path!r}: []}} allows no value, so no event could match.")
    return values


def _holds(payload: object, path: Path, values: tuple[Scalar, ...] | None) -> bool:
    return any(
        one is not None if values is None else any(_same(one, value) for value in values)
        for one in find_values(payload, path)
    )


def _same(one: object, value: Scalar) -> bool:
    if value is None or isinstance(value, bool):
        return one is value
    if isinstance(value, str):
        return isinstance(one, str) and one == value
    return isinstance(one, int | float) and not isinstance(one, bool) and one == value


def lowered(text: str) -> str:
    """Return a text with the letters A to Z made small, which both databases do alike."""
    return text.translate(_LOWER)


def spellings(text: str) -> list[str]:
    """Return how a part of a text may stand in JSON: as it is, and with its quotes and backslashes escaped."""
    return list(dict.fromkeys(lowered(one) for one in (text, jsons.dumps(text, ensure_ascii=False)[1:-1])))


def check_offset(value: object, name: str) -> int:
    """Return an offset.

    Raises
    ------
    InputError
        For anything but a whole number from -1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value < 2**63:
        wrong = f"{name}={value!r} is not the offset of an event: a whole number, -1 before the first."
        texts = [value] if isinstance(value, str) else value
        types = isinstance(texts, list | tuple) and all(isinstance(text, str) for text in texts)
        if types and name in ("after", "before"):
            wrong += f" To choose events by type, write types={value!r}."
        raise InputError(wrong)
    return value
