"""The status of a store."""

from __future__ import annotations

import dataclasses
import html
from dataclasses import dataclass
from typing import Any

__all__ = ["StoreStatus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStatus:
    """The state of a store.

    Parameters
    ----------
    address : str or None
        The address with the password masked; None for a store in memory.
    database : str
        ``sqlite``, ``postgresql`` or ``memory``.
    durable : bool
        Whether the store keeps data.
    read_only : bool
    revision, head : str or None
        The revision of the tables, and the one that this version of WallE works with.
    pending : tuple of str
        Revisions that ``walle upgrade`` would run.
    guards : str
        ``in place``; ``missing`` if some are missing; ``none`` if the revision has no guards yet; ``not checked`` if
        the revision is unknown, and so are the guards that it should have.
    missing_guards : tuple of str
        Guards of immutability that should exist but do not.
    checked : tuple of str
        The subjects of a deep check; empty without one.
    not_checked : tuple of str
        The subjects that a deep check could not cover, and why.
    problems : tuple of str
        The problems: tables and columns of the revision that the database lacks, and the findings of a deep check.
    """

    address: str | None
    database: str
    durable: bool
    read_only: bool
    revision: str | None
    head: str
    pending: tuple[str, ...] = ()
    guards: str = "not checked"
    missing_guards: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the store is durable, at the head revision, with every guard in place and no problem found.

        It says nothing about parts that were not checked: only a deep check (``checked``) examines the rows.
        """
        return self.durable and self.revision == self.head and self.guards == "in place" and not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return the state as plain values, for JSON."""
        plain = {**dataclasses.asdict(self), "ok": self.ok}
        return {key: list(value) if isinstance(value, tuple) else value for key, value in plain.items()}

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def __str__(self) -> str:
        """Return the state in a few lines."""
        if not self.durable:
            return (
                "in memory, durable=False: events work and are gone with this process; everything else, restart\n"
                "recovery included, is off. Set WALLE_DATABASE_URL, or give a path, for a store that lasts."
            )
        lines = [
            f"address   {self.address}",
            f"database  {self.database}{' (read-only)' if self.read_only else ''}",
            f"revision  {self.revision}{' (up to date)' if self.revision == self.head else f', head is {self.head}'}",
        ]
        if self.pending:
            lines.append(f"pending   {', '.join(self.pending)}: walle upgrade")
        if self.revision is None:
            return "\n".join([*lines[:2], "revision  none: there are no tables yet. Create them: walle upgrade"])
        lines.append(f"guards    {self._guards()}")
        lines += [f"checked   {what}" for what in self.checked]
        lines += [f"not checked  {what}" for what in self.not_checked]
        return "\n".join([*lines, *(f"PROBLEM   {what}" for what in self.problems)])

    def _guards(self) -> str:
        if self.guards == "missing":
            return f"missing: {', '.join(self.missing_guards)}"
        return {
            "in place": "all in place",
            "none": "none: this revision has none, so that nothing keeps facts from being changed",
        }.get(self.guards, "not checked: this WallE does not know the revision")
