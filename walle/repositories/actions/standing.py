"""Which corporate actions stand: those that no other one supersedes."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from walle import models

__all__ = ["not_superseded"]


def not_superseded(known_at: datetime | None = None) -> sa.ColumnElement[bool]:
    """Return the condition that no action, of those recorded by then, supersedes one."""
    later = models.corporate_actions.alias("later")
    # no EXISTS: no index finds an action by what it supersedes, and each would read all of them
    superseding = sa.select(later.c.supersedes).where(later.c.supersedes.is_not(None))
    if known_at is not None:
        superseding = superseding.where(later.c.recorded_at <= known_at)
    return models.corporate_actions.c.id.not_in(superseding)
