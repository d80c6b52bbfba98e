"""What a write of orders or fills did."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["WriteReport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteReport:
    """What became of every record of a write.

    Parameters
    ----------
    inserted : int
        Records that are new in the store.
    updated : int
        Order snapshots that replaced an older one; always 0 for fills.
    unchanged : int
        Records that were there already, with the same content.
    """

    inserted: int = 0
    updated: int = 0
    unchanged: int = 0

    @property
    def rows(self) -> int:
        """How many records were given."""
        return self.inserted + self.updated + self.unchanged
