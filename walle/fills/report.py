"""The report of a write of orders, fills and other facts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WriteReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteReport:
    """The outcome of a write, as numbers of records.

    Parameters
    ----------
    inserted : int
        Records that are new in the store.
    updated : int
        Order snapshots that replaced an older one, and facts of instruments that took the place of others; 0 for other
        facts.
    unchanged : int
        Records that were already stored with the same content.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0

    @property
    def rows(self) -> int:
        """The number of records in the write."""
        return self.inserted + self.updated + self.unchanged

    def _repr_html_(self) -> str:
        counts = {"inserted": self.inserted, "updated": self.updated, "unchanged": self.unchanged}
        cells = "".join(
            f"<tr><td style='text-align:left'>{name}</td><td>{value:,}</td></tr>"
            for name, value in counts.items()
            if value or name != "updated"
        )
        return f"<table><caption>Write of {self.rows:,} rows</caption>{cells}</table>"
