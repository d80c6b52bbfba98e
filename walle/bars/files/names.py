"""Read the symbol and timeframe in the name of a file, by the naming schemes of freqtrade and Binance."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from walle.timeframe import TIMEFRAMES

__all__ = ["NameFacts", "name_facts", "timeframe_of"]

_FREQTRADE = re.compile(
    r"(?P<pair>[A-Za-z0-9.\-]+_[A-Za-z0-9]+(?:_[A-Za-z0-9]+)?)-(?P<timeframe>\d+[A-Za-z]+)(?:-(?P<kind>[A-Za-z_]+))?"
)
_BINANCE = re.compile(
    r"(?P<symbol>[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?P<timeframe>\d+[a-zA-Z]+)-(?P<period>\d{4}(?:-\d\d){0,2})"
)
_PLAIN = re.compile(r"(?P<symbol>[A-Z0-9.]+)-(?P<timeframe>\d+[a-zA-Z]+)")
# a timeframe at the end of any other name: aapl_1m, prices 5min
_HINT = re.compile(r"(?:.*[_\-. ])?(?P<timeframe>\d{1,3}(?:s|sec|m|min|h|hour|d|day|w))", re.I)
# freqtrade itself restores a pair from a file name by this rule: the first _ is a slash, the next one a colon
_FREQTRADE_BASE = re.compile(r"^([A-Za-z\d]{1,10}|[A-Za-z\-]{1,6})_")
_TIMEFRAME = re.compile(r"(\d*)\s*([A-Za-z]+)")
_UNITS = {
    "s": ("s", "sec", "second", "seconds"),
    "m": ("m", "min", "mins", "minute", "minutes", "t"),
    "h": ("h", "hr", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "wk", "week", "weeks"),
    "M": ("M", "mo", "mon", "month", "months"),
}


@dataclass(frozen=True, slots=True)
class NameFacts:
    """The facts in a file name.

    Parameters
    ----------
    symbol, timeframe : str or None
    scheme : {"freqtrade", "binance", "plain"} or None
        The naming scheme.
    kind : str or None
        What the file holds instead of traded prices: freqtrade's ``mark``, ``index``, ``funding_rate``. The name of
        such a file gives no symbol, because under that of the pair its values would pass for traded prices.
    period : tuple of two datetimes, or None
        The half-open span of the year, month or day in the name.
    hint : str or None
        A timeframe at the end of a name of no known scheme. It decides nothing.
    """

    symbol: str | None = None
    timeframe: str | None = None
    scheme: str | None = None
    kind: str | None = None
    period: tuple[datetime, datetime] | None = None
    hint: str | None = None


def name_facts(stem: str) -> NameFacts:
    """Read a file name without its endings.

    Examples
    --------
    >>> name_facts("BTC_USDT_USDT-1h-futures").symbol, name_facts("BTCUSDT-1m-2024-01").symbol
    ('BTC/USDT:USDT', 'BTCUSDT')
    """
    found = _BINANCE.fullmatch(stem)
    if found and (timeframe := timeframe_of(found["timeframe"])):
        return NameFacts(found["symbol"], timeframe, "binance", period=_period(found["period"]))
    found = _FREQTRADE.fullmatch(stem)
    if found and (timeframe := timeframe_of(found["timeframe"])):
        if found["kind"] not in (None, "futures", "spot"):
            return NameFacts(None, timeframe, "freqtrade", found["kind"])
        pair = _FREQTRADE_BASE.sub(r"\1/", found["pair"], count=1).replace("_", ":", 1)
        return NameFacts(pair, timeframe, "freqtrade")
    found = _PLAIN.fullmatch(stem)
    if found and (timeframe := timeframe_of(found["timeframe"])):
        return NameFacts(found["symbol"], timeframe, "plain")
    found = _HINT.fullmatch(stem)
    return NameFacts(hint=timeframe_of(found["timeframe"]) if found else None)


def _period(text: str) -> tuple[datetime, datetime] | None:
    """Return the span of 2024, 2024-01 or 2024-01-31; None where there is no such day."""
    try:
        first = datetime.strptime(text, "%Y-%m-%d"[: 3 * text.count("-") + 2]).replace(tzinfo=UTC)
    except ValueError:
        return None
    days = (366, 31, 1)[text.count("-")]
    return first, first + timedelta(days=days)


def timeframe_of(text: str) -> str | None:
    """Return the timeframe that a common spelling stands for, or None.

    Examples
    --------
    >>> timeframe_of("60m"), timeframe_of("1Mo"), timeframe_of("14Day"), timeframe_of("7m")
    ('1h', '1M', '2w', None)
    """
    if text in TIMEFRAMES:
        return text
    found = _TIMEFRAME.fullmatch(text.strip())
    if not found:
        return None
    count, word = int(found[1] or 1), found[2]
    # only M (month) and m (minute) are case-sensitive
    word = word if word == "M" else word.lower()
    unit = next((unit for unit, words in _UNITS.items() if word in words), None)
    if unit is None:
        return None
    if unit in ("s", "m") and count % 60 == 0:
        count, unit = count // 60, "m" if unit == "s" else "h"
    if unit == "d" and count % 7 == 0:
        count, unit = count // 7, "w"
    name = f"{count}{unit}"
    return name if name in TIMEFRAMES else None
