"""One event loop in one thread: how a synchronous caller, also one inside a running loop, uses the async core."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from walle.errors import StoreClosed, WalleError

__all__ = ["Portal"]

T = TypeVar("T")

SLICE = 0.1
"""Seconds between two looks for an interrupt; importing Polars makes an unsliced wait deaf to Ctrl-C."""


class Portal:
    """A thread with an event loop, and the door into it.

    Parameters
    ----------
    name : str
        Of the thread.
    """

    def __init__(self, name: str) -> None:
        ready: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = concurrent.futures.Future()

        def serve() -> None:  # a closure: the thread must not keep the portal, or its store, alive
            with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:  # psycopg needs a selector loop

                async def until_stopped() -> None:
                    stop = asyncio.Event()
                    ready.set_result((asyncio.get_running_loop(), stop))
                    await stop.wait()

                runner.run(until_stopped())

        self._thread = threading.Thread(target=serve, name=name, daemon=True)
        self._thread.start()
        self._loop, self._stop = ready.result()
        self._closed = False

    def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **options: Any) -> T:
        """Run a coroutine function in the loop and return its result, or raise its own error.

        An interrupt (Ctrl-C, a stopped cell) cancels the work, waits until it has rolled back, and only then goes on.

        Raises
        ------
        StoreClosed
            After :meth:`close`.
        WalleError
            When it is called from the loop's own thread, where it could only wait for itself.
        """
        if self._closed:
            raise StoreClosed("this store was closed. Open it again with walle.connect(...).")
        if threading.current_thread() is self._thread:
            raise WalleError("the sync store was called from inside its own event loop; await the repositories there.")
        done = threading.Event()
        tasks: list[asyncio.Task[T]] = []

        def start() -> None:
            task = self._loop.create_task(function(*args, **options))
            tasks.append(task)
            task.add_done_callback(lambda _: done.set())

        self._loop.call_soon_threadsafe(start)
        try:
            while not done.wait(SLICE):
                pass
        except BaseException:
            self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            while not done.wait(SLICE):
                pass
            if not tasks[0].cancelled():
                tasks[0].exception()  # seen: the interrupt is what the caller hears of
            raise
        return tasks[0].result()

    def close(self) -> None:
        """Stop the loop and end the thread; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()
