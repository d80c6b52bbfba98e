"""What bringing a run in did."""

from __future__ import annotations

from dataclasses import dataclass

from walle.records import Run
from walle.reports import IngestReport

__all__ = ["RunReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """What became of a run that was brought in whole.

    Parameters
    ----------
    run : Run
        As it is stored.
    inserted : bool
        Whether it is new; else it was there already, with the same content.
    orders, fills : IngestReport
    """

    run: Run
    inserted: bool
    orders: IngestReport
    fills: IngestReport

    def __repr__(self) -> str:
        """Tell what was new."""
        state = "inserted" if self.inserted else "was there"
        return f"RunReport({self.run.id!r} {state}, orders={self.orders!r}, fills={self.fills!r})"
