"""The timeframes of bars: their names and lengths, and where bars may open."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from walle.enums import CALENDAR_TIMEFRAMES
from walle.errors import UnknownTimeframe

__all__ = ["CALENDAR_TIMEFRAMES", "TIMEFRAMES", "check_timeframe", "is_calendar", "length"]

TIMEFRAMES: Mapping[str, timedelta] = MappingProxyType(
    {
        "1s": timedelta(seconds=1),
        "5s": timedelta(seconds=5),
        "15s": timedelta(seconds=15),
        "30s": timedelta(seconds=30),
        "1m": timedelta(minutes=1),
        "3m": timedelta(minutes=3),
        "5m": timedelta(minutes=5),
        "15m": timedelta(minutes=15),
        "30m": timedelta(minutes=30),
        "1h": timedelta(hours=1),
        "2h": timedelta(hours=2),
        "4h": timedelta(hours=4),
        "6h": timedelta(hours=6),
        "8h": timedelta(hours=8),
        "12h": timedelta(hours=12),
        "1d": timedelta(days=1),
        "1w": timedelta(weeks=1),
        "1M": timedelta(days=31),
    }
)
"""Every timeframe with its length (for ``1M``, the longest month)."""

_SPELLINGS = {
    "m": ("min", "minute", "t"),
    "h": ("hour", "hr"),
    "d": ("day",),
    "w": ("week", "wk"),
    "M": ("month", "mo"),
}


def check_timeframe(value: object) -> str:
    """Return the timeframe if WallE knows it.

    Parameters
    ----------
    value : str
        One of :data:`TIMEFRAMES`; ``1m`` is a minute and ``1M`` a month.

    Raises
    ------
    UnknownTimeframe
        For any other value; the message lists the allowed ones and suggests a similar one.
    """
    if isinstance(value, str) and value in TIMEFRAMES:
        return value
    near = _near(value) if isinstance(value, str) else None
    hint = f" Did you mean {near!r}?" if near else ""
    raise UnknownTimeframe(f"unknown timeframe {value!r}.{hint} Allowed: {' '.join(TIMEFRAMES)}.")


def is_calendar(timeframe: str) -> bool:
    """Return whether bars of this timeframe carry a date instead of a time."""
    return timeframe in CALENDAR_TIMEFRAMES


def length(timeframe: str) -> timedelta:
    """Return the length of a bar (the longest month for ``1M``)."""
    return TIMEFRAMES[check_timeframe(timeframe)]


def _near(value: str) -> str | None:
    text = value.strip().lower().rstrip("s")
    count = text[: len(text) - len(text.lstrip("0123456789"))] or "1"
    unit = text[len(text.rstrip("abcdefghijklmnopqrstuvwxyz")) :] or text
    for short, words in _SPELLINGS.items():
        if unit in words and count + short in TIMEFRAMES:
            return count + short
    if text in TIMEFRAMES:
        return text
    if unit and unit + count in TIMEFRAMES:
        return unit + count
    match = difflib.get_close_matches(text, TIMEFRAMES, 1, 0.6)
    return match[0] if match else None
