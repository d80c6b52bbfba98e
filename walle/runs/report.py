"""The report of an ingest of a whole run."""

from __future__ import annotations

from dataclasses import dataclass

from walle.records import Run
from walle.reports import IngestReport

__all__ = ["RunReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """The outcome of an ingest of a run with its orders and fills.

    Parameters
    ----------
    run : Run
        The run as it is stored.
    inserted : bool
        Whether the run is new; if not, it was already stored with the same content.
    orders, fills : IngestReport
    """

    run: Run
    inserted: bool
    orders: IngestReport
    fills: IngestReport

    def __repr__(self) -> str:
        """Show what was new."""
        state = "inserted" if self.inserted else "was there"
        return f"RunReport({self.run.id!r} {state}, orders={self.orders!r}, fills={self.fills!r})"
