"""Tokens of what is known: which ingests of bars, and the time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime

import sqlalchemy as sa

from walle.errors import InputError
from walle.validation import parse_time

__all__ = ["AsOf", "Known", "parse_token"]

AsOf = datetime | date | str | None
"""A time, a token of ``store.bars.now()``, or None for now."""

_TOKEN = re.compile(r"ingest:(\d{1,18})(?:!(\d{1,18}(?:-\d{1,18})?(?:,\d{1,18}(?:-\d{1,18})?)*))?(?:@(.+))?")


@dataclass(frozen=True, slots=True)
class Known:
    """A set of ingests that never changes.

    Parameters
    ----------
    last : int
        All up to this id.
    without : tuple of int
        Except these.
    moment : datetime, optional
        The time of the database at which they were known, for what has a time and is no ingest.
    """

    last: int
    without: tuple[int, ...] = ()
    moment: datetime | None = None

    def includes(self, ingest: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
        """Return the condition that an ingest is one of them."""
        return sa.and_(ingest <= self.last, ingest.not_in(self.without)) if self.without else ingest <= self.last

    def lacks(self, ingest: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
        """Return the condition that an ingest is none of them."""
        return sa.or_(ingest > self.last, ingest.in_(self.without)) if self.without else ingest > self.last

    def __str__(self) -> str:
        """Return the token."""
        without = f"!{','.join(_ranges(self.without))}" if self.without else ""
        return f"ingest:{self.last}{without}" + ("" if self.moment is None else f"@{self.moment.isoformat()}")


def parse_token(as_of: AsOf) -> Known | None:
    """Return the set that a token names; None for a time.

    Raises
    ------
    InputError
    """
    if not isinstance(as_of, str) or not as_of.startswith("ingest:"):
        return None
    found = _TOKEN.fullmatch(as_of)
    if found is None:
        raise InputError(
            f"as_of={as_of!r} is no token; store.bars.now() gives one, such as 'ingest:42@2026-01-31T09:30:00+00:00'."
        )
    without: list[int] = []
    for part in (found[2] or "").split(","):
        first, _, last = part.partition("-")
        if first:
            without += range(int(first), min(int(last or first), int(found[1])) + 1)
    moment = None if found[3] is None else parse_time(found[3], "as_of")
    return Known(int(found[1]), tuple(without), moment)


def _ranges(numbers: tuple[int, ...]) -> list[str]:
    """Return ascending numbers as texts of ranges."""
    ends: list[list[int]] = []
    for number in numbers:
        if ends and ends[-1][1] == number - 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in ends]
