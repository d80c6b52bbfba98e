"""A fork of a process that has a store open: the child neither uses nor closes what is its parent's.

A connection that came through a fork is shared with the parent: what the child reads from its socket is lost to the
parent, and what it closes is closed for both. So everything that is open says in the child what to do instead, and is
kept for ever: nothing may close it, not even the interpreter at its exit.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from walle.errors import StoreForked

__all__ = ["Gate", "Home", "keep_for_ever", "under_way", "watch"]

PATIENCE = 5.0
"""Seconds that a fork waits for the transactions of other threads to end."""

PAUSE = 0.001

_generation = 0
_forking = False
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
        self.pid, self._generation = os.getpid(), _generation

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
    """The transactions that are under way, by their threads; a fork waits a moment for those of other threads."""

    def __init__(self) -> None:
        self._under_way: dict[object, int] = {}

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Count what is done inside."""
        mark = object()
        self._under_way[mark] = threading.get_ident()
        try:
            yield
        finally:
            self._under_way.pop(mark, None)

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
    return _forking


def watch(thing: Opened) -> None:
    """Have a thing told of forks for as long as it lives."""
    key = id(thing)
    _opened[key] = weakref.ref(thing, lambda _: _opened.pop(key, None))


def keep_for_ever(thing: object) -> None:
    """Never finalise a thing, nor what it holds; modules are emptied at the exit, so a list of ours is not enough."""
    _kept.append(thing)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def _alive() -> list[Opened]:
    return [thing for found in tuple(_opened.values()) if (thing := found()) is not None]


def _before() -> None:
    global _forking
    _forking = True
    things, end = _alive(), time.monotonic() + PATIENCE
    while any(thing.busy_elsewhere() for thing in things) and time.monotonic() < end:
        time.sleep(PAUSE)
    for thing in things:
        thing.before_fork()


def _in_parent() -> None:
    global _forking
    _forking = False


def _in_child() -> None:
    global _forking, _generation
    _forking, _generation = False, _generation + 1
    for thing in _alive():
        keep_for_ever(thing)
        thing.forked()
    _opened.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
