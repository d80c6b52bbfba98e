"""The timeframes of bars: their names and lengths, and where bars may open."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from operator import itemgetter
from types import MappingProxyType

from walle.errors import UnknownTimeframe

__all__ = [
    "COMMON_TIMEFRAMES",
    "TIMEFRAMES",
    "check_timeframe",
    "has_anchor",
    "is_calendar",
    "is_even",
    "length",
    "parts",
]

_DAY = 86_400
_UNITS = {"s": 1, "m": 60, "h": 3_600}
_MOST = 999
_FOUR_YEARS = 48  # months


def _divisors(whole: int) -> list[int]:
    """Return what divides a number, but for itself, in order."""
    low = [count for count in range(1, int(whole**0.5) + 1) if whole % count == 0]
    return sorted({*low, *(whole // count for count in low)} - {whole})


def _names() -> Iterator[tuple[str, timedelta]]:
    for unit, seconds in _UNITS.items():
        for count in _divisors(_DAY // seconds):
            # one name for each length: 60s is 1m, and 7d is 1w
            if unit == "h" or count % 60:
                yield f"{count}{unit}", timedelta(seconds=count * seconds)
    yield from ((f"{count}d", timedelta(days=count)) for count in range(1, _MOST + 1) if count % 7)
    yield from ((f"{count}w", timedelta(weeks=count)) for count in range(1, _MOST + 1))
    months = [date(1904 + number // 12, number % 12 + 1, 1).toordinal() for number in range(2 * _FOUR_YEARS)]
    longest = [max(months[first + count] - months[first] for first in range(12 * 4)) for count in range(_FOUR_YEARS)]
    for count in range(1, _MOST + 1):
        years, rest = divmod(count, _FOUR_YEARS)
        yield f"{count}M", timedelta(days=years * 1461 + longest[rest])


TIMEFRAMES: Mapping[str, timedelta] = MappingProxyType(dict(sorted(_names(), key=itemgetter(1))))
"""Every timeframe with its length (of months, the longest that so many can be), from the shortest: seconds, minutes and
hours that divide a day, and up to 999 whole days, weeks or months; each length by its shortest name (``1m`` for 60
seconds, ``1w`` for 7 days)."""

_DATED = frozenset(name for name in TIMEFRAMES if name[-1] in "dwM")

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
    "Q": ("quarter",),
    "Y": ("year", "yr"),
}
_YEARS = {"Q": 3, "Y": 12}
_DAYS = {"d": _DAY, "w": 7 * _DAY}


_COUNTED = re.compile(r"(?P<count>\d{0,6}) ?(?P<unit>[A-Za-z]+)")
_TURNED = re.compile(r"(?P<unit>[A-Za-z]+?)(?P<count>\d{1,6})")


def check_timeframe(value: object) -> str:
    """Return the timeframe if WallE knows it.

    Parameters
    ----------
    value : str
        One of :data:`TIMEFRAMES`: ``<n>s``, ``<n>m`` or ``<n>h`` that divides a day, or ``<n>d``, ``<n>w`` or ``<n>M``
        of up to 999; ``1m`` is a minute and ``1M`` a month. Whole weeks are not named in days, nor days in hours.

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
        "and <n>d, <n>w and <n>M up to 999 (such as 1d, 3d, 2w, 1M, 6M)."
    )


def parts(timeframe: str) -> tuple[int, str]:
    """Return the count and the unit of a timeframe: ``(3, "M")``."""
    return int(timeframe[:-1]), timeframe[-1]


def is_calendar(timeframe: object) -> bool:
    """Return whether bars of this timeframe carry a date instead of a time."""
    return timeframe in _DATED


def has_anchor(timeframe: object) -> bool:
    """Return whether bars of this timeframe carry a date and may begin on several, such as weeks and quarters.

    All bars of one series then begin whole periods after one another; see :mod:`walle.periods`.
    """
    return timeframe in _DATED and timeframe not in ("1d", "1M")


def is_even(timeframe: object) -> bool:
    """Return whether the opening times of a long series are kept as spans: of at most a day, and of a week."""
    return timeframe in TIMEFRAMES and (timeframe not in _DATED or timeframe in ("1d", "1w"))


def length(timeframe: str) -> timedelta:
    """Return the length of a bar (of months, the longest that so many can be)."""
    return TIMEFRAMES[check_timeframe(timeframe)]


def _near(value: str) -> str | None:
    """Return the timeframe that a text means or nearly means: of the same unit, the nearest length."""
    text = value.strip()
    found = _COUNTED.fullmatch(text)
    unit = None if found is None else _unit(found["unit"])
    if found is None and (found := _TURNED.fullmatch(text)):  # M15 of MetaTrader, where a month is MN1
        unit = _unit(found["unit"].lower().replace("mn", "M"))
    if found is None or unit is None:
        match = difflib.get_close_matches(text.lower(), COMMON_TIMEFRAMES, 1, 0.6)
        return match[0] if match else None
    count = int(found["count"] or 1)
    if unit in _YEARS:
        count, unit = count * _YEARS[unit], "M"
    if unit == "M":
        return f"{min(max(count, 1), _MOST)}M"
    seconds = timedelta(seconds=count * (_UNITS | _DAYS)[unit])
    if unit in _UNITS and seconds > timedelta(days=1):
        same = [name for name in TIMEFRAMES if name[-1] in "dw"]
    else:
        same = [name for name, span in TIMEFRAMES.items() if name[-1] == unit or (name[-1] != "M" and span == seconds)]
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
