"""A fork of a process that has a store open: the child neither uses nor closes what is its parent's.

A connection that came through a fork is shared with the parent: what the child reads from its socket is lost to the
parent, and what it closes is closed for both. So everything that is open says in the child what to do instead, and is
kept for ever: nothing may close it, not even the interpreter at its exit.

No fork brings threads along. Polars would wait in the child for those it had in the parent, for ever; so what works in
them says so there, too.
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
_turnstile = threading.RLock()  # a signal's handler may fork while its thread stands in it
_polars_ran_in: int | None = None
_without_polars: int | None = None
_opened: dict[int, weakref.ref[Opened]] = {}
_kept: list[object] = []


class Opened(Protocol):
    """What holds connections, threads or loops."""

    def before_fork(self) -> None:
        """Note what the child has to know; in the parent, in the thread that forks."""

    def busy_elsewhere(self) -> bool:
        """Tell whether another thread is in the middle of what a child could not live with."""

    def forked(self) -> None:
        """Become unusable; in the child, where locks may be held by threads that are no more."""


class Home:
    """The process in which something was opened."""

    __slots__ = ("_generation", "pid")

    def __init__(self) -> None:
        self.pid: int = os.getpid()
        self._generation = _generation

    @property
    def left(self) -> bool:
        """Whether this is another process, forked from that one."""
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
    """The transactions that are under way, by their threads; a fork waits a moment for those of other threads.

    Parameters
    ----------
    closes : bool
        Let nothing in while a thread waits to fork; False: nobody waits for anybody.
    """

    def __init__(self, *, closes: bool = True) -> None:
        self._closes = closes
        self._under_way: dict[object, int] = {}

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Count what is done inside; who comes while a thread waits to fork waits for that, in this thread.

        A thread that is inside already goes on: the fork waits for it anyway.
        """
        while (mark := self._enter(again=True)) is None:
            time.sleep(PAUSE)
        try:
            yield
        finally:
            self._under_way.pop(mark, None)

    @asynccontextmanager
    async def passed_by_task(self) -> AsyncIterator[None]:
        """Count what is done inside, for a task: who waits lets the loop go on."""
        while (mark := self._enter(again=False)) is None:
            await asyncio.sleep(PAUSE)
        try:
            yield
        finally:
            self._under_way.pop(mark, None)

    def _enter(self, *, again: bool) -> object | None:
        """Go in, unless a thread waits to fork; one step for that thread, which sees who is inside and nobody else."""
        mark, me = object(), threading.get_ident()
        if self._closes:
            with alone():
                if under_way() and not (again and me in self._under_way.values()):
                    return None
                self._under_way[mark] = me
        return mark

    @property
    def busy(self) -> bool:
        """Whether one is under way."""
        return bool(self._under_way)

    def busy_elsewhere(self) -> bool:
        """Tell whether one is under way in another thread."""
        me = threading.get_ident()
        return any(thread != me for thread in tuple(self._under_way.values()))


def under_way() -> bool:
    """Tell whether another thread waits to fork, so that nothing new should begin."""
    return bool(_forking)


def alone() -> AbstractContextManager[object]:
    """Return the lock of what a fork sees either before or after, and never half done."""
    return _turnstile


def check_polars() -> None:
    """Raise where Polars would wait for threads that are no more; before any call that works in them.

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
    """Have a thing told of forks for as long as it lives."""
    key = id(thing)
    _opened[key] = weakref.ref(thing, lambda _: _opened.pop(key, None))


def keep_for_ever(thing: object) -> None:
    """Never finalise a thing, nor what it holds; modules are emptied at the exit, so a list of ours is not enough."""
    _kept.append(thing)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


@contextmanager
def ending_a_child() -> Iterator[None]:
    """End a process that was forked inside, at the end of the block: what called the block went on in the parent alone.

    Its code is that of a SystemExit, 1 for another error, which is shown, and 0 without.
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
    """Tell whether Polars has its threads in this process; where that cannot be seen, it is taken to have them."""
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
    except OSError:  # it has ended
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
    if _without_polars is None:  # else they were lost in an earlier fork
        _without_polars = _polars_ran_in
    for thing in _alive():
        keep_for_ever(thing)
        thing.forked()
    _opened.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
