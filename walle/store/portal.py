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
        self._lock = threading.Lock()
        self._closed = False

    def call(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **options: Any) -> T:
        """Run a coroutine function in the loop and return its result, or raise its own error.

        An interrupt (Ctrl-C, a stopped cell) cancels the work, waits until it has rolled back, and only then goes on.

        Raises
        ------
        StoreClosed
            After :meth:`close`, or when another thread closes the portal meanwhile.
        WalleError
            When it is called from the loop's own thread, where it could only wait for itself.
        """
        if threading.current_thread() is self._thread:
            raise WalleError("the sync store was called from inside its own event loop; await the repositories there.")
        call = _Call(function, args, options)
        try:
            with self._lock:  # nothing is handed to a loop that has been told to stop: it would never be done
                if self._closed:
                    raise StoreClosed(_CLOSED)
                self._loop.call_soon_threadsafe(call.start)
            call.wait()
        except KeyboardInterrupt:
            if not self._closed:
                self._loop.call_soon_threadsafe(call.cancel)
                call.wait()
            raise
        if call.task.cancelled() and self._closed:
            raise StoreClosed(_CLOSED)
        return call.task.result()

    def close(self) -> None:
        """Stop the loop and end the thread; a second call does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._loop.call_soon_threadsafe(self._stop.set)
        if threading.current_thread() is not self._thread:
            self._thread.join()
