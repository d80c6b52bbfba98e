"""An event loop in a thread, through which synchronous callers use the async core, even inside a running loop."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from walle.errors import StoreClosed, WalleError
from walle.forks import Home, watch
from walle.interrupts import cancelled_by_interrupt
from walle.notices import holding
from walle.progress import Meter

__all__ = ["Portal"]

T = TypeVar("T")

SLICE = 0.1
"""Seconds between two checks for an interrupt; once Polars is imported, Ctrl-C does not end a single long wait."""


_CLOSED = "this store was closed. Open it again with walle.connect(...)."


class _Work(Generic[T]):
    """A coroutine to run in the loop; only the loop starts and drops it."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], running: set[asyncio.Task[Any]]) -> None:
        self._running = running
        self.coroutine = coroutine
        self.done = threading.Event()
        self.task: asyncio.Task[T] | None = None
        self._dropped = False

    def start(self) -> None:
        if not self._dropped:
            self.task = asyncio.get_running_loop().create_task(cancelled_by_interrupt(self.coroutine))
            self._running.add(self.task)
            self.task.add_done_callback(self._end)

    def drop(self) -> None:
        self._dropped = True
        if self.task is None:
            self.done.set()
        else:
            self.task.cancel()

    def _end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # mark it as retrieved, because after an interrupt no caller retrieves it
        self.coroutine.close()  # if cancelled before its first step, it would warn "was never awaited"
        self._running.discard(task)
        self.done.set()


class _Server:
    """The thread and its loop, without a reference to the portal, so that the portal can be garbage-collected."""

    def __init__(self, name: str, last: Callable[[], Coroutine[Any, Any, object]] | None) -> None:
        self.home = Home()
        self.lock = threading.Lock()
        self.stopped = False
        self.work: set[asyncio.Task[Any]] = set()
        self._last = last
        self._ready: concurrent.futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = (
            concurrent.futures.Future()
        )
        self._ended: concurrent.futures.Future[None] = concurrent.futures.Future()
        self.thread = threading.Thread(target=self._serve, name=name, daemon=True)
        if last is not None:
            _running.add(self)
        watch(self)
        self.thread.start()
        self.loop, self._stop = self._ready.result()

    def _serve(self) -> None:
        try:
            # psycopg needs a selector loop; with python -X dev, asyncio would report each step of a large write as slow
            with asyncio.Runner(debug=False, loop_factory=asyncio.SelectorEventLoop) as runner:
                runner.run(self._until_stopped())
        except BaseException as error:
            self._ended.set_exception(error)
        else:
            self._ended.set_result(None)
        finally:
            _running.discard(self)

    async def _until_stopped(self) -> None:
        stop = asyncio.Event()
        self._ready.set_result((asyncio.get_running_loop(), stop))
        await stop.wait()
        work = tuple(self.work)  # not all tasks, because cancelling a statement's own task would not interrupt it
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        if self._last is not None:
            await self._last()

    def before_fork(self) -> None:
        """Nothing to prepare."""

    def busy_elsewhere(self) -> bool:
        return False

    def forked(self) -> None:
        _running.discard(self)  # its thread exists only in the parent

    def stop(self) -> None:
        if self.home.left:
            return
        with self.lock:
            if not self.stopped:
                self.stopped = True
                self.loop.call_soon_threadsafe(self._stop.set)

    def wait(self) -> None:
        if self.home.left:
            return
        while not self._ended.done():
            self.thread.join(SLICE)
        self._ended.result()


_running: set[_Server] = set()


@atexit.register
def _end_all() -> None:
    for server in tuple(_running):
        server.stop()
        server.wait()


class Portal:
    """A thread with an event loop, and the way to call into it.

    A portal ends by itself when no reference to it is left, and when the interpreter exits.

    Parameters
    ----------
    name : str
        The name of the thread.
    last : callable, optional
        A coroutine function that runs in the loop before it ends.
    """

    def __init__(self, name: str, last: Callable[[], Coroutine[Any, Any, object]] | None = None) -> None:
        self._server = _Server(name, last)
        # stop without waiting: the collector may run in the loop's thread, or in one that the loop waits for
        weakref.finalize(self, self._server.stop).atexit = False

    def call(
        self,
        function: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        meter: Meter | None = None,
        **options: Any,
    ) -> T:
        """Run a coroutine function in the loop and return its result, or raise its own error.

        While the caller waits, the meter is drawn.

        An interrupt (Ctrl-C, a stopped cell) cancels the work and is raised once the work has rolled back.

        Raises
        ------
        StoreClosed
            After :meth:`close`, if another thread closes the portal meanwhile, and in a forked child.
        KeyboardInterrupt
        WalleError
            If it is called from the loop's own thread, where it would wait for itself forever.
        """
        server = self._server
        server.home.check()
        if threading.current_thread() is server.thread:
            raise WalleError("the sync store was called from inside its own event loop; await the repositories there.")
        with holding():
            return self._run(_Work(function(*args, **options), server.work), meter)

    def _run(self, work: _Work[T], meter: Meter | None) -> T:
        server, handed = self._server, False
        try:
            with server.lock:  # a stopping loop would never run new work
                if server.stopped:
                    raise StoreClosed(_CLOSED)
                handed = True
                server.loop.call_soon_threadsafe(work.start)  # in a copy of this thread's context
            self._wait(work, meter)
            if work.task is None or work.task.cancelled():
                if server.stopped:
                    raise StoreClosed(_CLOSED)  # by another thread, while this one waited
                raise KeyboardInterrupt
            return work.task.result()
        except BaseException:
            if handed and not work.done.is_set():
                with contextlib.suppress(RuntimeError):  # the loop has ended, and so has the work
                    server.loop.call_soon_threadsafe(work.drop)
                self._wait(work)
            raise
        finally:
            if work.task is None:
                work.coroutine.close()
            del work  # breaks a cycle: the traceback of an error refers to this frame, and the task to the error

    def check_process(self) -> None:
        """Raise in a process that was forked from the portal's own.

        Raises
        ------
        StoreForked
        """
        self._server.home.check()

    def _wait(self, work: _Work[T], meter: Meter | None = None) -> None:
        while self._server.thread.is_alive() and not work.done.wait(SLICE):
            if meter is not None:
                meter.draw(SLICE)

    def close(self) -> None:
        """Cancel running work and end the thread; a second call, or one in a forked child, has no effect."""
        self._server.stop()
        if threading.current_thread() is not self._server.thread:
            self._server.wait()
