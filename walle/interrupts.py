"""Ctrl-C in the threads that work for a caller: Polars raises KeyboardInterrupt in any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["LET_GO", "cancelled_by_interrupt"]

T = TypeVar("T")

LET_GO = 0.5
"""Seconds that interrupted work in a thread has to end before it is left alone."""


async def cancelled_by_interrupt(work: Awaitable[T]) -> T:
    """Await work that may meet Ctrl-C: Polars raises KeyboardInterrupt in any thread that it works in.

    Out of a task that error would end the whole event loop; the thread that shall hear of Ctrl-C hears of it anyway.

    Raises
    ------
    CancelledError
        For a KeyboardInterrupt.
    """
    try:
        return await work
    except KeyboardInterrupt as error:
        raise asyncio.CancelledError from error
