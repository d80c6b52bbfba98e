"""The timeframes of bars: their names and lengths, and where bars may open."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from operator import itemgetter
from types import MappingProxyType

from walle.enums import CALENDAR_TIMEFRAMES
from walle.errors import UnknownTimeframe

__all__ = ["CALENDAR_TIMEFRAMES", "COMMON_TIMEFRAMES", "TIMEFRAMES", "check_timeframe", "is_calendar", "length"]

_DAY = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3_600}


def _names() -> Iterator[tuple[str, timedelta]]:
    for unit, seconds in _UNITS.items():
        bound = _DAY // seconds
        for count in range(1, bound):
            # one name for each length: 60s is 1m
            if bound % count == 0 and (unit == "h" or count % 60):
                yield f"{count}{unit}", timedelta(seconds=count * seconds)
    yield from {"1d": timedelta(days=1), "1w": timedelta(weeks=1), "1M": timedelta(days=31)}.items()


TIMEFRAMES: Mapping[str, timedelta] = MappingProxyType(dict(sorted(_names(), key=itemgetter(1))))
"""Every timeframe with its length (for ``1M``, the longest month), from the shortest: seconds, minutes and hours that
divide a day, each length by its shortest name (``1m`` for 60 seconds), and ``1d``, ``1w`` and ``1M``."""

COMMON_TIMEFRAMES = (
    *("1s", "5s", "15s", "30s", "1m", "3m", "5m", "15m", "30m"),
    *("1h", "2h", "4h", "6h", "8h", "12h", "1d", "1w", "1M"),
)
"""Those that most venues have."""

_SPELLINGS = {
    "s": ("sec", "second"),
    "m": ("min", "minute", "t"),
    "h": ("hour", "hr"),
    "d": ("day",),
    "w": ("week", "wk"),
    "M": ("month", "mo"),
}


_COUNTED = re.compile(r"(?P<count>\d{0,6}) ?(?P<unit>[A-Za-z]+)")
_TURNED = re.compile(r"(?P<unit>[A-Za-z]+?)(?P<count>\d{1,6})")


def check_timeframe(value: object) -> str:
    """Return the timeframe if WallE knows it.

    Parameters
    ----------
    value : str
        One of :data:`TIMEFRAMES`: ``<n>s``, ``<n>m`` or ``<n>h`` that divides a day, ``1d``, ``1w`` or ``1M``; ``1m``
        is a minute and ``1M`` a month.

    Raises
    ------
    UnknownTimeframe
        For any other value; the message says which are allowed and suggests the nearest one.
    """
    if isinstance(value, str) and value in TIMEFRAMES:
        return value
    near = _near(value) if isinstance(value, str) else None
    hint = f" Did you mean {near!r}?" if near else ""
    raise UnknownTimeframe(
        f"unknown timeframe {value!r}.{hint} Allowed: <n>s, <n>m and <n>h that divide a day (such as 10s, 45m, 3h), "
        "1d, 1w and 1M."
    )


def is_calendar(timeframe: str) -> bool:
    """Return whether bars of this timeframe carry a date instead of a time."""
    return timeframe in CALENDAR_TIMEFRAMES


def length(timeframe: str) -> timedelta:
    """Return the length of a bar (the longest month for ``1M``)."""
    return TIMEFRAMES[check_timeframe(timeframe)]


def _near(value: str) -> str | None:
    """Return the timeframe that a text means or nearly means: of the same unit, the nearest length."""
    text = value.strip()
    found = _COUNTED.fullmatch(text)
    unit = None if found is None else _unit(found["unit"])
    if found is None and (found := _TURNED.fullmatch(text)):  # M15 of MetaTrader, where a month is MN1
        unit = _unit(found["unit"].lower().replace("mn", "M"))
    if found is not None and unit == "M" and int(found["count"] or 1) in (5, 15, 30):
        unit = "m"
    if found is None or unit is None:
        match = difflib.get_close_matches(text.lower(), COMMON_TIMEFRAMES, 1, 0.6)
        return match[0] if match else None
    count = int(found["count"] or 1)
    if unit not in _UNITS:
        return "1w" if (unit, count) == ("d", 7) else f"1{unit}"
    seconds = timedelta(seconds=min(count * _UNITS[unit], 31 * _DAY))
    if seconds >= timedelta(days=1):
        return "1w" if seconds == timedelta(weeks=1) else "1d"
    same = [name for name, span in TIMEFRAMES.items() if name.endswith(unit) or span == seconds]
    return min(same, key=lambda name: abs(TIMEFRAMES[name] - seconds))


def _unit(word: str) -> str | None:
    """Return the unit that a word spells; only M (month) and m (minute) differ by their case."""
    if word in ("M", "m"):
        return word
    plain = word.lower()
    for short, words in _SPELLINGS.items():
        if plain == short.lower() or plain.removesuffix("s") in words:
            return short
    return None
