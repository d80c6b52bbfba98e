"""Which ids of the log are settled, when ids are handed out before commit.

An id is settled once its transaction has ended: then its event can be read, or there is none and never will be. At
every look the log learns the highest visible id and, from a moment after that, the transactions that hold the table for
writing. What such a holder has written lies above the highest id of the last look at which it was not there yet: that
is its floor. So every id is settled that is not above the floor of any holder, nor above the highest id. Time decides
nothing. Where ids follow each other without a gap they are settled as well, because they can be seen.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Horizon"]

_UNKNOWN = 0
"""The floor of a holder that was there before the first look."""


class Horizon:
    """The highest settled id, as far as was seen."""

    def __init__(self) -> None:
        self.settled: int = 0
        self._highest: int | None = None
        self._floors: dict[str, int] = {}

    def look(self, highest: int, holders: Iterable[str]) -> int:
        """Learn from one look, and return the highest settled id.

        Parameters
        ----------
        highest : int
            The highest id that could be read; 0 without any.
        holders : iterable of str
            Virtual transactions, ``backend/number``, or ``-1/xid`` for a prepared one, which were there a moment later.
        """
        present = set(holders)
        fresh = _UNKNOWN if self._highest is None else self._highest
        # a prepared transaction goes by the name of its session's until the server restarts (on old servers until it is
        # prepared), and by -1/xid from then on: it may be any of those that were there
        inherited = min([fresh, *self._floors.values()])
        self._floors = {
            holder: self._floors.get(holder, inherited if holder.startswith("-1/") else fresh) for holder in present
        }
        self._highest = max(highest, fresh)
        return self.advance(min([highest, *self._floors.values()]))

    @property
    def highest(self) -> int:
        """The highest id that was seen; 0 before the first look."""
        return self._highest or 0

    @property
    def blind(self) -> bool:
        """Whether a holder is there that was there before the first look, so that its floor is not known."""
        return self._highest is None or _UNKNOWN in self._floors.values()

    def advance(self, seen: int) -> int:
        """Take note that all ids up to one are settled, and return the highest settled id."""
        self.settled = max(self.settled, seen)
        return self.settled
