"""Read the symbol and timeframe in the name of a file, by the naming schemes of freqtrade and Binance."""

from __future__ import annotations

import re
from dataclasses import dataclass

from walle.timeframe import TIMEFRAMES

__all__ = ["NameFacts", "name_facts", "timeframe_of"]

_FREQTRADE = re.compile(
    r"(?P<pair>[A-Za-z0-9.\-]+_[A-Za-z0-9]+(?:_[A-Za-z0-9]+)?)-(?P<timeframe>\d+[A-Za-z]+)(?:-(?P<kind>[A-Za-z_]+))?"
)
_BINANCE = re.compile(r"(?P<symbol>[A-Z0-9]+(?:_[A-Z0-9]+)?)-(?P<timeframe>\d+[a-zA-Z]+)-\d{4}(?:-\d\d){0,2}")
_PLAIN = re.compile(r"(?P<symbol>[A-Z0-9.]+)-(?P<timeframe>\d+[a-zA-Z]+)")
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
    """

    symbol: str | None = None
    timeframe: str | None = None
    scheme: str | None = None
    kind: str | None = None


def name_facts(stem: str) -> NameFacts:
    """Read a file name without its endings.

    Examples
    --------
    >>> name_facts("BTC_USDT_USDT-1h-futures").symbol, name_facts("BTCUSDT-1m-2024-01").symbol
    ('BTC/USDT:USDT', 'BTCUSDT')
    """
    found = _BINANCE.fullmatch(stem)
    if found and (timeframe := timeframe_of(found["timeframe"])):
        return NameFacts(found["symbol"], timeframe, "binance")
    found = _FREQTRADE.fullmatch(stem)
    if found and (timeframe := timeframe_of(found["timeframe"])):
        if found["kind"] not in (None, "futures", "spot"):
            return NameFacts(None, timeframe, "freqtrade", found["kind"])
        pair = _FREQTRADE_BASE.sub(r"\1/", found["pair"], count=1).replace("_", ":", 1)
        return NameFacts(pair, timeframe, "freqtrade")
    found = _PLAIN.fullmatch(stem)
    if found and (timeframe := timeframe_of(found["timeframe"])):
        return NameFacts(found["symbol"], timeframe, "plain")
    return NameFacts()


def timeframe_of(text: str) -> str | None:
    """Return the timeframe that a common spelling stands for, or None.

    Examples
    --------
    >>> timeframe_of("60m"), timeframe_of("1Mo"), timeframe_of("1Day"), timeframe_of("7m")
    ('1h', '1M', '1d', None)
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
    name = f"{count}{unit}"
    return name if name in TIMEFRAMES else None
