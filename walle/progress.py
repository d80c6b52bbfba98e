"""How far long work has come: counted where it runs, drawn where its caller waits."""

from __future__ import annotations

import os
import sys
import threading
from types import TracebackType
from typing import Any, Self

from walle.environment import flag

__all__ = ["Meter", "Progress"]

DELAY = 1.0
"""Seconds before a bar is shown: what is done sooner shows none."""


def _forked() -> None:
    # a thread that is no more may have drawn a bar, and held the lock
    if (tqdm := sys.modules.get("tqdm")) is not None:
        tqdm.tqdm.set_lock(threading.RLock())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


def _is_watched() -> bool:
    """Tell whether standard error is a terminal or a notebook's; in a file or a pipe bars are noise."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return hasattr(shell, "kernel") or (sys.stderr is not None and sys.stderr.isatty())


class Progress:
    """What has been done so far; one thread counts and another one looks.

    Attributes
    ----------
    label : str
        What is being done.
    done : int
    total : int or None
        None: nobody knows yet.
    """

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.label: str = ""
        self.done: int = 0
        self.total: int | None = None

    @staticmethod
    def waiting(label: str) -> Progress:
        """Return the progress of something that cannot be counted: only its time is shown."""
        made = Progress("")
        made.label = label
        return made

    def begin(self, label: str, total: int | None = None) -> None:
        """Start to count anew."""
        self.label, self.done, self.total = label, 0, total

    def advance(self, count: int) -> None:
        """Count."""
        self.done += count


class Meter:
    """Draws a :class:`Progress` as a bar of tqdm, in the thread of the caller and from the second second on.

    Parameters
    ----------
    progress : Progress
    shown : bool, optional
        None: as ``WALLE_PROGRESS`` says, and without it where somebody looks: in a terminal or a notebook.

    Raises
    ------
    ConfigurationError
        When ``WALLE_PROGRESS`` is neither true nor false.
    """

    def __init__(self, progress: Progress, shown: bool | None = None) -> None:
        setting = os.environ.get("WALLE_PROGRESS")
        if shown is None and setting is not None:
            shown = flag("WALLE_PROGRESS", setting)
        self._progress = progress
        self._shown = _is_watched() if shown is None else shown
        self._bar: Any = None
        self._waited = 0.0

    def draw(self, seconds: float) -> None:
        """Look at the progress; ``seconds`` have passed since the last look."""
        self._waited += seconds
        if not self._shown or self._waited < DELAY:
            return
        progress = self._progress
        if self._bar is None:
            from tqdm.auto import tqdm  # slow to import, and most work is done sooner

            # what was done before the bar is shown is no part of its rate
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
