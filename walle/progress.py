"""The progress of long work, counted where it runs and drawn where its caller waits."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Self

from walle.environment import flag

__all__ = ["Meter", "Progress", "quiet"]

DELAY = 1.0
"""Seconds before a bar is shown; faster work shows none."""


def _forked() -> None:
    # the lock of the bars may be held by a thread that does not exist in the child
    if (tqdm := sys.modules.get("tqdm")) is not None:
        tqdm.tqdm.set_lock(threading.RLock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _is_watched() -> bool:
    """Return whether standard error is a terminal or a notebook's; in a file or a pipe, bars are noise."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel") or (sys.stderr is not None and sys.stderr.isatty())


class Progress:
    """The progress of a piece of work; one thread counts and another one reads it.

    Attributes
    ----------
    label : str
        The name of the current work.
    done : int
    total : int or None
        None while it is unknown.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.label: str = ""
        self.done: int = 0
        self.total: int | None = None

    @staticmethod
    def waiting(label: str) -> Progress:
        """Return the progress of work that cannot be measured; only its elapsed time is shown."""
        made = Progress("")
        made.label = label
        return made

    def begin(self, label: str, total: int | None = None) -> None:
        """Start a new count."""
        self.label, self.done, self.total = label, 0, total

    def advance(self, count: int) -> None:
        """Add to the count."""
        self.done += count


_quiet: ContextVar[bool] = ContextVar("walle_quiet", default=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Show no bar for the calls of this block, which nobody waits for."""
    before = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(before)


class Meter:
    """Draws a :class:`Progress` as a tqdm bar, in the thread of the caller, once a second has passed.

    Parameters
    ----------
    progress : Progress
    shown : bool, optional
        With None, ``WALLE_PROGRESS`` decides; if it is not set, the bar is shown only in a terminal or a notebook.

    Raises
    ------
    ConfigurationError
        If ``WALLE_PROGRESS`` is neither true nor false.
    """

    def __init__(self, progress: Progress, shown: bool | None = None) -> None:
        setting = os.environ.get("WALLE_PROGRESS")
        if shown is None and setting is not None:
            shown = flag("WALLE_PROGRESS", setting)
        self._progress = progress
        self._shown = not _quiet.get() and (_is_watched() if shown is None else shown)
        self._bar: Any = None
        self._waited = 0.0

    def draw(self, seconds: float) -> None:
        """Update the bar; ``seconds`` have passed since the last call."""
        self._waited += seconds
        if not self._shown or self._waited < DELAY:
            return
        progress = self._progress
        if self._bar is None:
            from tqdm.auto import tqdm  # imported here because it is slow, and most work ends sooner

            # work done before the bar appears does not count in its rate
            self._bar = tqdm(
                total=progress.total,
                initial=progress.done,
                unit=f" {progress.unit}",
                unit_scale=True,
                leave=False,
                bar_format=None if progress.unit else "{desc}: {elapsed}",
            )
        if self._bar.n > progress.done:
            self._bar.initial = 0
            self._bar.reset(progress.total)
        self._bar.total = progress.total
        self._bar.set_description_str(progress.label, refresh=False)
        self._bar.update(progress.done - self._bar.n)
        self._bar.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
