"""A thread that looks for something new."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

__all__ = ["Live"]

_log = logging.getLogger("walle.widgets")
PAUSE = 0.3
"""Seconds between two looks."""


class Live:
    """Looks every moment, and tells when what it sees has changed; it ends with :meth:`stop`.

    Parameters
    ----------
    look : callable
        Returns what is seen.
    tell : callable
        Is given what is seen, in this thread; also the error of a look that failed, which ends it.
    """

    def __init__(self, look: Callable[[], int], tell: Callable[[int | Exception], None]) -> None:
        self._look, self._tell = look, tell
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether it looks."""
        return self._thread is not None and self._thread.is_alive() and not self._stopped.is_set()

    def start(self, seen: int) -> None:
        """Begin to look; a second call does nothing."""
        if self.running:
            return
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(seen, self._stopped), name="walle-live", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait until it has."""
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    def _run(self, seen: int, stopped: threading.Event) -> None:
        while not stopped.wait(PAUSE):
            try:
                now = self._look()
            except Exception as error:
                if not stopped.is_set():
                    self._tell(error)
                return
            if now != seen and not stopped.is_set():
                seen = now
                self._tell(now)
