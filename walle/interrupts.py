"""Ctrl-C and cancellations: where they arrive, and what they must not cut off.

``asyncio.wait_for`` is used nowhere: on Python 3.11 it loses a cancellation that comes when its future is just done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["LET_GO", "cancelled_by_interrupt", "check_cancelled", "end", "to_the_end"]

T = TypeVar("T")

LET_GO = 0.5
"""Seconds that interrupted work in a thread has to end before it is left alone."""

AGAIN = 0.1
"""Seconds after which a task that did not end is cancelled again."""


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


async def to_the_end(work: Awaitable[T]) -> T:
    """Await work that no cancellation may cut off; one that came meanwhile is raised afterwards.

    Raises
    ------
    CancelledError
        When the caller was cancelled; it counts for more than an error of the work.
    """
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        task.cancelled() or task.exception()  # seen: nobody else asks for it
        raise asyncio.CancelledError
    return task.result()


async def end(task: asyncio.Task[object]) -> None:
    """Cancel a task until it has ended: a driver may answer a cancellation with an error of its own."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN)
    task.cancelled() or task.exception()


def check_cancelled(before: int) -> None:
    """Raise when this task was cancelled, and somebody else's code kept that to itself.

    Parameters
    ----------
    before : int
        What ``Task.cancelling()`` said at first.

    Raises
    ------
    CancelledError
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
