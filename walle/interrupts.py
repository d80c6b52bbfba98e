"""Handle Ctrl-C and cancellations, and protect work that they must not cut off.

``asyncio.wait_for`` is never used: on Python 3.11 it loses a cancellation that arrives just as its future is done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

__all__ = ["LET_GO", "cancelled_by_interrupt", "check_cancelled", "end", "to_the_end"]

T = TypeVar("T")

LET_GO = 0.5
"""Seconds that interrupted work in a thread has to end before it is abandoned."""

AGAIN = 0.1
"""Seconds after which a task that did not end is cancelled again."""


async def cancelled_by_interrupt(work: Awaitable[T]) -> T:
    """Await work that Ctrl-C may interrupt: Polars raises KeyboardInterrupt in any thread in which it works.

    If a task raised that error, it would end the whole event loop; the main thread receives Ctrl-C anyway.

    Raises
    ------
    CancelledError
        In place of a KeyboardInterrupt.
    """
    try:
        return await work
    except KeyboardInterrupt as error:
        raise asyncio.CancelledError from error


async def to_the_end(work: Awaitable[T]) -> T:
    """Await work that no cancellation may cut off; raise a cancellation that arrives meanwhile afterwards.

    Raises
    ------
    CancelledError
        If the caller was cancelled; it takes precedence over an error of the work.
    """
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        task.cancelled() or task.exception()  # mark the error as retrieved
        raise asyncio.CancelledError
    return task.result()


async def end(task: asyncio.Task[object]) -> None:
    """Cancel a task, again if necessary, until it has ended: a driver may turn a cancellation into an error."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN)
    task.cancelled() or task.exception()


def check_cancelled(before: int) -> None:
    """Raise if this task was cancelled and other code suppressed the cancellation.

    Parameters
    ----------
    before : int
        The value of ``Task.cancelling()`` at the start.

    Raises
    ------
    CancelledError
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
