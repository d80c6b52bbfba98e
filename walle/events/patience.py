"""Following a log through an outage of its database: going on with growing pauses, and saying so once."""

from __future__ import annotations

import asyncio
import logging
import random
import time

from walle.errors import (
    AuthenticationFailed,
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    FileReplaced,
    InputError,
)

__all__ = ["Patience", "check_seconds"]

log: logging.Logger = logging.getLogger("walle")

FIRST, LONGEST = 0.1, 5.0
"""Seconds of the first pause, doubled before each further one, and of the longest."""

_FOR_GOOD = (AuthenticationFailed, FileReplaced)


def check_seconds(value: float | None, name: str) -> float | None:
    """Return how long to wait; None is without an end.

    Raises
    ------
    InputError
        For anything but a number from 0, or None.
    """
    wrong = isinstance(value, bool) or not isinstance(value, int | float | None)
    if wrong or (value is not None and not value >= 0):
        raise InputError(f"{name}={value!r} is neither a number of seconds from 0 nor None.")
    return value


class Patience:
    """Of one that follows a log.

    Parameters
    ----------
    what : str
        Who follows.
    give_up_after : float or None
        Seconds without the database; None: never.

    Raises
    ------
    InputError
        For anything but a number from 0.
    """

    def __init__(self, what: str, give_up_after: float | None) -> None:
        self._what, self._give_up_after = what, check_seconds(give_up_after, "give_up_after")
        self._pause, self._since = FIRST, 0.0
        self.lost = False

    async def wait(self, error: DatabaseError) -> None:
        """Pause before the next try; raise what waiting does not mend, and when there was none of it for too long."""
        await asyncio.sleep(self.pause(error))

    def pause(self, error: DatabaseError) -> float:
        """Return the seconds until the next try; raises as :meth:`wait`.

        Raises
        ------
        DatabaseError
        """
        now = time.monotonic()
        mends = isinstance(error, DatabaseUnavailable | DatabaseBusy) and not isinstance(error, _FOR_GOOD)
        if not self.lost:
            self._since = now
        if not mends or (self._give_up_after is not None and now - self._since >= self._give_up_after):
            raise error
        if not self.lost:
            log.warning("%s lost the database and tries again: %s", self._what, error)
            self.lost = True
        seconds = self._pause * random.uniform(0.5, 1.0)
        self._pause = min(self._pause * 2, LONGEST)
        return seconds

    def worked(self) -> None:
        """Note that the database answers."""
        if self.lost:
            log.warning("%s has the database again", self._what)
            self._pause, self.lost = FIRST, False
