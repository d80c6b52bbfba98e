"""One event loop in one thread: how a synchronous caller, also one inside a running loop, uses the async core."""

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
"""Seconds between two looks for an interrupt; importing Polars makes an unsliced wait deaf to Ctrl-C."""


_CLOSED = "this store was closed. Open it again with walle.connect(...)."


class _Work(Generic[T]):
    """One coroutine on its way into the loop; started and dropped only there."""

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
            task.exception()  # seen: after an interrupt nobody asks for it
        self.coroutine.close()  # when it was cancelled before its first step: else "was never awaited"
        self._running.discard(task)
        self.done.set()


class _Server:
    """The thread and its loop. It knows nothing of the portal, so that a forgotten portal can be collected."""

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
            # psycopg needs a selector loop; python -X dev would print every step of a large write as slow
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
        work = tuple(self.work)  # not all tasks: a statement that is cancelled directly is not interrupted but awaited
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
        if self._last is not None:
            await self._last()

    def before_fork(self) -> None:
        """Do nothing."""

    def busy_elsewhere(self) -> bool:
        return False

    def forked(self) -> None:
        _running.discard(self)  # its thread stayed in the parent

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
    """A thread with an event loop, and the door into it.

    A portal that nobody holds any more ends by itself, and so do those that are left when the interpreter exits.

    Parameters
    ----------
    name : str
        Of the thread.
    last : callable, optional
        A coroutine function that runs in the loop before it ends.
    """

    def __init__(self, name: str, last: Callable[[], Coroutine[Any, Any, object]] | None = None) -> None:
        self._server = _Server(name, last)
        # only told, not waited for: the collector may run in the loop's thread, or in one that the loop waits for
        weakref.finalize(self, self._server.stop).atexit = False

    def call(
        self,
        function: Callable[..., Coroutine[Any, Any, T]],
        *args: Any,
        meter: Meter | None = None,
        **options: Any,
    ) -> T:
        """Run a coroutine function in the loop and return its result, or raise its own error.

        A meter is drawn while the caller waits.

        An interrupt (Ctrl-C, a stopped cell) cancels the work, waits until it has rolled back, and only then goes on.

        Raises
        ------
        StoreClosed
            After :meth:`close`, when another thread closes the portal meanwhile, and in a forked child.
        KeyboardInterrupt
        WalleError
            When it is called from the loop's own thread, where it could only wait for itself.
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
            with server.lock:  # a loop that was told to stop takes nothing more: it would never be done
                if server.stopped:
                    raise StoreClosed(_CLOSED)
                handed = True
                server.loop.call_soon_threadsafe(work.start)  # in a copy of this thread's context
            self._wait(work, meter)
            if work.task is None or work.task.cancelled():
                if server.stopped:
                    raise StoreClosed(_CLOSED)  # another thread closed the store meanwhile
                raise KeyboardInterrupt
            return work.task.result()
        except BaseException:
            if handed and not work.done.is_set():
                with contextlib.suppress(RuntimeError):  # the loop has ended, and with it the work
                    server.loop.call_soon_threadsafe(work.drop)
                self._wait(work)
            raise
        finally:
            if work.task is None:
                work.coroutine.close()
            del work  # an error's traceback holds this frame, and the task the error

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
        """Stop what runs, and end the thread; a second call does nothing, nor does one in a forked child."""
        self._server.stop()
        if threading.current_thread() is not self._server.thread:
            self._server.wait()
