"""The options that calls take as texts, for editors and type checkers; each call checks them itself as well."""

from __future__ import annotations

from typing import Literal

__all__ = [
    "BarField",
    "CostLevel",
    "Floats",
    "GridPeriod",
    "LotMethod",
    "OnInvalid",
    "OnPoison",
    "Returns",
    "ShortfallLevel",
    "StartPlace",
]

OnInvalid = Literal["raise", "quarantine"]
"""What becomes of rows that are refused: nothing of the source is stored, or the good rows are."""

Floats = Literal["refuse", "shortest"]
"""What money in floats is: an error, or the decimal that the float's shortest text says."""

BarField = Literal["close", "open", "high", "low", "volume"]
"""One number of a bar."""

GridPeriod = Literal["day", "week", "month"]
"""What coverage is counted by."""

LotMethod = Literal["fifo", "lifo", "average"]
"""Which open lot a fill closes."""

CostLevel = Literal["fill", "order", "run"]
"""What a row of costs stands for."""

ShortfallLevel = Literal["order", "run"]
"""What a row of shortfall stands for."""

Returns = Literal["day", "bar"]
"""What a return is taken over."""

OnPoison = Literal["stop", "park"]
"""What becomes of an event that a handler cannot handle."""

StartPlace = Literal["first", "latest"]
"""Where a new consumer begins."""
