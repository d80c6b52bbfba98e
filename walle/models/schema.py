"""The chain of revisions, which tables hold facts, and the metadata that every table belongs to."""

from __future__ import annotations

import sqlalchemy as sa

__all__ = ["BASE_REVISIONS", "FACTS", "FORMED_BY", "GUARDED_SINCE", "HEAD", "REVISIONS", "metadata"]

REVISIONS = (
    "001_initial",
    "a7efb08f089a",
    "c3b4a5d6e7f8",
    "d4e5f6a7b8c9",
    "e6a1c0d2f4b8",
    "f7b2d1e3a5c9",
    "a8c3e2f4b6d0",
    "b9d4f3a5c7e1",
    "c0e5a4b6d8f2",
    "d1f6b5c7e9a3",
    "e2a7c6d8f0b4",
    "f3b8d7e9a1c5",
    "b7c4e1d9f2a6",
)
"""The chain from the oldest revision to the newest; a test compares it with the migrations."""

BASE_REVISIONS = REVISIONS[:4]
"""The revisions that the backend's own chain shares."""

GUARDED_SINCE = "a8c3e2f4b6d0"
"""The first revision at which the database itself keeps facts immutable."""

FORMED_BY = "set_aside_rows"
"""The table that was added with the guards of form: a database that has it refuses values that no reader can read."""

FACTS = (
    "fills",
    "outbox",
    "bars",
    "offset_resets",
    "instruments",
    "corporate_actions",
    "cash_flows",
    "fill_corrections",
    "cash_corrections",
    "answered_findings",
    "bar_versions",
    "bar_extras",
    "bar_ingests",
    "provider_changes",
)
"""The tables whose rows never change; older schemas lack the later ones."""

HEAD = REVISIONS[-1]

metadata = sa.MetaData()
