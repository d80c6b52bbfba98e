"""Forks of a process with an open store: the child neither uses nor closes the resources of its parent.

After a fork, parent and child share each connection: the parent loses whatever the child reads from the socket, and if
the child closes the connection, it is closed for both. So every open resource raises an error in the child that says
what to do instead, and is kept forever: nothing may close it, not even the interpreter at its exit.

A fork copies no threads. Polars would wait forever in the child for its threads in the parent, so calls that need them
raise too.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import sys
import threading
import time
import traceback
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from walle.errors import StoreForked

__all__ = ["Gate", "Home", "alone", "check_polars", "keep_for_ever", "under_way", "watch"]

PATIENCE = 5.0
"""Seconds that a fork waits for the transactions of other threads to end."""

PAUSE = 0.001

_generation = 0
_forking = 0
_turnstile = threading.RLock()  # re-entrant, because a signal handler may fork while its thread holds it
_polars_ran_in: int | None = None
_without_polars: int | None = None
_opened: dict[int, weakref.ref[Opened]] = {}
_kept: list[object] = []


class Opened(Protocol):
    """An object that holds connections, threads or loops."""

    def before_fork(self) -> None:
        """Record the state that the child needs; called in the parent, in the thread that forks."""

    def busy_elsewhere(self) -> bool:
        """Return whether another thread is doing work during which a fork would break the child."""

    def forked(self) -> None:
        """Become unusable; called in the child, where threads that no longer exist may hold locks."""


class Home:
    """The process in which something was opened."""

    __slots__ = ("_generation", "pid")

    def __init__(self) -> None:
        self.pid: int = os.getpid()
        self._generation = _generation

    @property
    def left(self) -> bool:
        """Whether the current process is a fork of that one."""
        return self._generation != _generation

    def check(self) -> None:
        """Raise in any other process.

        Raises
        ------
        StoreForked
        """
        if self._generation != _generation:
            raise StoreForked(self.pid)


class Gate:
    """The running transactions, by their threads; a fork waits a moment for those of other threads.

    Parameters
    ----------
    closes : bool
        Whether new transactions wait while a thread waits to fork; if False, nothing waits.
    """

    def __init__(self, *, closes: bool = True) -> None:
        self._closes = closes
        self._under_way: dict[object, int] = {}

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Count the work inside the block; while another thread waits to fork, block this thread until it has.

        A thread that is already inside continues, because the fork waits for it anyway.
        """
        while (mark := self._enter(again=True)) is None:
            time.sleep(PAUSE)
        try:
            yield
        finally:
            self._under_way.pop(mark, None)

    @asynccontextmanager
    async def passed_by_task(self) -> AsyncIterator[None]:
        """Count the work inside the block, for a task: waiting does not block the loop."""
        while (mark := self._enter(again=False)) is None:
            await asyncio.sleep(PAUSE)
        try:
            yield
        finally:
            self._under_way.pop(mark, None)

    def _enter(self, *, again: bool) -> object | None:
        """Enter, unless a thread waits to fork; atomically, so that this thread sees everyone who is inside."""
        mark, me = object(), threading.get_ident()
        if self._closes:
            with alone():
                if under_way() and not (again and me in self._under_way.values()):
                    return None
                self._under_way[mark] = me
        return mark

    @property
    def busy(self) -> bool:
        """Whether a transaction is running."""
        return bool(self._under_way)

    def busy_elsewhere(self) -> bool:
        """Return whether a transaction is running in another thread."""
        me = threading.get_ident()
        return any(thread != me for thread in tuple(self._under_way.values()))


def under_way() -> bool:
    """Return whether another thread waits to fork, so that no new work should begin."""
    return bool(_forking)


def alone() -> AbstractContextManager[object]:
    """Return the lock for work that a fork must never interrupt halfway."""
    return _turnstile


def check_polars() -> None:
    """Raise if Polars would wait for threads that do not exist in this process; call it before any use of them.

    Raises
    ------
    StoreForked
    """
    if _without_polars is not None:
        raise StoreForked(
            _without_polars,
            f"this process was forked from process {_without_polars}, in which Polars' threads ran, and no fork brings "
            "them along: frames can be neither read nor written here. Start processes by multiprocessing's "
            "'forkserver' or 'spawn'.",
        )


def watch(thing: Opened) -> None:
    """Notify an object of forks for as long as it lives."""
    key = id(thing)
    _opened[key] = weakref.ref(thing, lambda _: _opened.pop(key, None))


def keep_for_ever(thing: object) -> None:
    """Never finalise an object and what it refers to; a list would not do, since modules are cleared at the exit."""
    _kept.append(thing)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


@contextmanager
def ending_a_child() -> Iterator[None]:
    """End a process that was forked inside the block, at the end of the block: the rest runs only in the parent.

    The exit code is that of a SystemExit, 1 for any other error, which is printed, and 0 without an error.
    """
    home, code = Home(), 0
    try:
        yield
    except BaseException as error:
        if not home.left:
            raise
        code = 1
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        elif error.code is None or isinstance(error.code, int):
            code = error.code or 0
        else:
            print(error.code, file=sys.stderr)
    finally:
        if home.left:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code & 0xFF)


def _alive() -> list[Opened]:
    return [thing for found in tuple(_opened.values()) if (thing := found()) is not None]


def _runs_polars() -> bool:
    """Return whether Polars has its threads in this process; True if that cannot be determined."""
    name = os.environ.get("POLARS_THREAD_NAME", "polars")
    known = re.compile(re.escape(f"{name}-"[:15]) + r"\d*|async-executor-?\d*")  # the kernel keeps 15 characters
    try:
        threads = list(Path("/proc/self/task").iterdir())
    except OSError:
        return True
    return any(known.fullmatch(_name(thread)) for thread in threads)


def _name(thread: Path) -> str:
    try:
        return (thread / "comm").read_text(errors="replace").rstrip("\n")
    except OSError:  # the thread has ended
        return ""


def _before() -> None:
    global _forking, _polars_ran_in
    with _turnstile:
        _forking += 1
    things, end = _alive(), time.monotonic() + PATIENCE
    while any(thing.busy_elsewhere() for thing in things) and time.monotonic() < end:
        time.sleep(PAUSE)
    for thing in things:
        thing.before_fork()
    _polars_ran_in = os.getpid() if _runs_polars() else None


def _in_parent() -> None:
    global _forking
    with _turnstile:
        _forking -= 1


def _in_child() -> None:
    global _forking, _generation, _turnstile, _without_polars
    _forking, _generation, _turnstile = 0, _generation + 1, threading.RLock()
    if _without_polars is None:  # otherwise an earlier fork has already lost them
        _without_polars = _polars_ran_in
    for thing in _alive():
        keep_for_ever(thing)
        thing.forked()
    _opened.clear()


if hasattr(os, "register_at_fork"):  # absent on Windows, which does not fork
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
