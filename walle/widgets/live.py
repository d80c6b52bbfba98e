"""A thread that polls for changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from walle.errors import DatabaseError
from walle.events.patience import Patience
from walle.progress import quiet

__all__ = ["Live"]

T = TypeVar("T")

PAUSE = 0.3
"""Seconds between two polls."""


class Live:
    """Polls a value and reports changes, until :meth:`stop` is called.

    It continues through an outage of the database, with growing pauses.

    Parameters
    ----------
    look : callable
        Returns the current value.
    tell : callable
        Called in this thread with each changed value, and with an error that ends the polling.
    outage : callable
        Called with the first error of an outage, and with None at its end.
    """

    def __init__(
        self,
        look: Callable[[], int],
        tell: Callable[[int | Exception], None],
        outage: Callable[[DatabaseError | None], None],
    ) -> None:
        self._look, self._tell, self._outage = look, tell, outage
        self._not_shown: DatabaseError | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread is polling."""
        return self._thread is not None and self._thread.is_alive() and not self._stopped.is_set()

    def start(self, seen: int | None) -> None:
        """Start polling; a second call has no effect. ``seen`` is the last known value, None during an outage."""
        if self.running:
            return
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(seen, self._stopped), name="walle-live", daemon=True)
        self._thread.start()

    def report_again(self, error: DatabaseError) -> None:
        """Report the last value again after a pause, because the database failed before it could be shown."""
        self._not_shown = error

    def stop(self) -> None:
        """Stop polling, and wait for the thread to end."""
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(5)

    def _run(self, seen: int | None, stopped: threading.Event) -> None:
        patience, pause = Patience("a live view", None), PAUSE
        while not stopped.wait(pause):
            pause = PAUSE
            try:
                seen = self._turn(seen, patience, stopped)
            except DatabaseError as error:
                known = patience.lost
                try:
                    pause = patience.pause(error)
                except DatabaseError:
                    self._say(self._tell, error, stopped)
                    return
                if not known:
                    self._say(self._outage, error, stopped)
            except Exception as error:
                self._say(self._tell, error, stopped)
                return

    def _turn(self, seen: int | None, patience: Patience, stopped: threading.Event) -> int:
        with quiet():
            now, self._not_shown = self._look(), None
        if now != seen:
            self._say(self._tell, now, stopped)
            if self._not_shown is not None:
                raise self._not_shown
        if patience.lost or seen is None:
            patience.worked()
            self._say(self._outage, None, stopped)
        return now

    @staticmethod
    def _say(listener: Callable[[T], None], what: T, stopped: threading.Event) -> None:
        if not stopped.is_set():
            listener(what)
