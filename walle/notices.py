"""Warnings that point at the caller's line, wherever in WallE they arise."""

from __future__ import annotations

import os
import sys
import warnings
from contextvars import ContextVar
from pathlib import Path

__all__ = [
    "AdjustmentWarning",
    "ContradictionWarning",
    "EmptySeriesWarning",
    "MissingCalendarWarning",
    "NewStoreWarning",
    "NoEffectWarning",
    "UnfinishedBarsWarning",
    "UnrecordedWarning",
    "holding",
    "warn",
]

_HERE = f"{Path(__file__).parent}{os.sep}"
_held: ContextVar[list[tuple[str, type[Warning]]] | None] = ContextVar("walle_warnings", default=None)


class EmptySeriesWarning(UserWarning):
    """Some of the symbols that were read together have no bars in the range."""

    __module__ = "walle"  # the name under which users import it


class UnfinishedBarsWarning(UserWarning):
    """Some bars of an ingest had not ended, and were left out."""

    __module__ = "walle"


class ContradictionWarning(UserWarning):
    """The name of a file says something else than the arguments or the rows, which are followed."""

    __module__ = "walle"


class UnrecordedWarning(UserWarning):
    """Some rows that were read as of a time do not say when they were recorded, and count at every time."""

    __module__ = "walle"


class MissingCalendarWarning(UserWarning):
    """The bars of symbols without a calendar look like those of a market that closes."""

    __module__ = "walle"


class AdjustmentWarning(UserWarning):
    """Adjusted bars are not exact: a bar is partly before and partly after an ex-date, or a dividend's close is old."""

    __module__ = "walle"


class NewStoreWarning(UserWarning):
    """A new store was made beside one with a similar name."""

    __module__ = "walle"


class NoEffectWarning(UserWarning):
    """What a call says applies to nothing that is stored."""

    __module__ = "walle"


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning at the line of the nearest caller outside the package."""
    held = _held.get()
    if held is not None:
        held.append((message, category))
        return
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


class holding:
    """Collect warnings of work that another thread does in this context, and issue them here at the end."""

    def __enter__(self) -> None:
        self._warnings: list[tuple[str, type[Warning]]] = []
        self._before = _held.set(self._warnings)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        _held.reset(self._before)
        if kind is None:
            for message, category in self._warnings:
                warn(message, category)
