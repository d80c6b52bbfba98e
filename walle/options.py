"""The types of options that are texts, for editors and type checkers; each call also checks its options itself."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "Adjust",
    "AllColumns",
    "BarField",
    "BarStamp",
    "CostLevel",
    "Floats",
    "GridPeriod",
    "LotMethod",
    "OnConflict",
    "OnInvalid",
    "OnPoison",
    "ReturnPeriod",
    "Returns",
    "ShortfallLevel",
    "StartPlace",
    "TradeLevel",
    "Unfinished",
]

OnInvalid = Literal["raise", "quarantine"]
"""How to treat invalid rows: raise and store nothing, or store the valid rows and set the others aside."""

OnConflict = Literal["keep", "raise", "correct"]
"""How to treat bars that are stored with other values: keep those, refuse the source, or store a further version."""

Unfinished = Literal["drop", "raise", "keep"]
"""How to treat bars that have not ended: leave them out, refuse the source, or store them as provisional."""

Floats = Literal["refuse", "shortest"]
"""How to treat money in floats: raise, or take the decimal in the float's shortest text."""

Adjust = Literal["splits", "all"]
"""What bars are adjusted for: splits, or splits and dividends."""

AllColumns = Literal["all"]
"""All columns of a source that are no part of a bar."""

BarField = Literal["close", "open", "high", "low", "volume"]
"""The name of one number of a bar."""

GridPeriod = Literal["day", "week", "month"]
"""The period by which coverage is counted."""

LotMethod = Literal["fifo", "lifo", "average"]
TradeLevel = Literal["lot", "order", "flat"]
"""How a fill is matched with the open lots: the oldest first, the newest first, or their average."""

CostLevel = Literal["fill", "order", "run"]
"""The level of a row of costs: a fill, an order or a run."""

ShortfallLevel = Literal["order", "run"]
"""The level of a row of shortfall: an order or a run."""

Returns = Literal["session", "bar"]
"""The period of one return: a session or a bar."""

ReturnPeriod = Literal["session", "month", "year"]
"""The period of a row of returns: a session, a month or a year."""

OnPoison = Literal["stop", "park"]
"""How a consumer treats an event that its handler cannot handle: stop before it, or park it and go on."""

StartPlace = Literal["first", "latest"]
"""Where a new consumer begins: at the first event, or after the latest one."""

BarStamp = Literal["open", "close"]
"""What the timestamps of a source are: the times at which its bars open, or at which they end."""
