"""What an ingest does with rows that are no bars, bars stored with other values, and bars that have not ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from walle.bars.check import check_on_invalid
from walle.bars.ends import bar_ends
from walle.bars.phase import names_in
from walle.calendars import Calendar
from walle.errors import InputError
from walle.timeframe import is_calendar, length
from walle.validation import check_text

__all__ = ["IngestPolicy", "longest", "recent", "unfinished_bars"]

LONGEST = timedelta(days=400)
"""No bar of at most a year lasts longer."""


def longest(bars: pl.DataFrame) -> timedelta:
    """Return a time that no bar of these timeframes lasts longer than, whatever its calendar; also of unknown ones."""
    lengths = [length(name) for name in names_in(bars["timeframe"]) if is_calendar(name)]
    return max([LONGEST, *(span + timedelta(days=34) for span in lengths)])


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestPolicy:
    """The caller's choices about an ingest, checked.

    Parameters
    ----------
    on_invalid : {"raise", "quarantine"}
    on_conflict : {"keep", "raise", "correct"}
    reason : str, optional
        Why other values are right; with ``correct`` only.
    unfinished : {"drop", "raise", "keep"}
    clock_skew : timedelta
        How far the source's clock may be ahead of the database's.

    Raises
    ------
    InputError
    """

    on_invalid: str = "raise"
    on_conflict: str = "keep"
    reason: str | None = None
    unfinished: str = "drop"
    clock_skew: timedelta = timedelta(seconds=5)

    def __post_init__(self) -> None:
        check_on_invalid(self.on_invalid)
        for name, words in (("on_conflict", ("keep", "raise", "correct")), ("unfinished", ("drop", "raise", "keep"))):
            if getattr(self, name) not in words:
                allowed = ", ".join(map(repr, words))
                raise InputError(f"{name}={getattr(self, name)!r} is none of {allowed}.")
        if (self.on_conflict == "correct") != (self.reason is not None):
            raise InputError(
                "on_conflict='correct' stores other values as further versions, and needs reason='...', why they are "
                "right; the other policies take no reason."
            )
        if self.reason is not None:
            check_text(self.reason, "reason", maximum=2_000)
        if not isinstance(self.clock_skew, timedelta) or not timedelta(0) <= self.clock_skew <= timedelta(days=1):
            raise InputError(f"clock_skew={self.clock_skew!r} is no timedelta from 0 to a day.")

    @property
    def strict(self) -> bool:
        """Whether a row that is no bar refuses its source."""
        return self.on_invalid == "raise"


def recent(bars: pl.DataFrame, clock: datetime) -> pl.DataFrame:
    """Return the bars that could end after a time, whatever their calendar."""
    dated = pl.col("timeframe").is_in([name for name in names_in(bars["timeframe"]) if is_calendar(name)])
    lasts = pl.when(dated).then(pl.lit(longest(bars))).otherwise(pl.lit(timedelta(days=2)))
    return bars.filter(pl.col("timestamp") > pl.lit(clock) - lasts)


def unfinished_bars(bars: pl.DataFrame, markets: Mapping[str, Calendar], limit: datetime) -> pl.DataFrame:
    """Return the bars that end after a limit.

    Parameters
    ----------
    bars : polars.DataFrame
        Columns of ``BARS``.
    markets : mapping of str to Calendar
        By symbol; its sessions tell when a bar ends.
    limit : datetime
    """
    found = [bars.clear()]
    for (symbol, timeframe), rows in bars.group_by("symbol", "timeframe", maintain_order=True):
        ends = bar_ends(rows["timestamp"], str(timeframe), markets[str(symbol)])
        found.append(rows.filter(ends > limit))
    return pl.concat(found)
