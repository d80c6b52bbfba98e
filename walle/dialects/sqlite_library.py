"""The SQLite library that Python brings."""

from __future__ import annotations

import sqlite3

from walle.errors import ConfigurationError

__all__ = ["check_library"]

OLDEST_LIBRARY = (3, 35)
"""The first SQLite that knows RETURNING."""


def check_library() -> None:
    """Refuse a SQLite library that would fail later, in mid-work.

    Raises
    ------
    ConfigurationError
        Naming its version.
    """
    if sqlite3.sqlite_version_info < OLDEST_LIBRARY:
        raise ConfigurationError(
            f"this Python brings SQLite {sqlite3.sqlite_version}, and WallE needs 3.35 or later. Use a newer Python, "
            "or PostgreSQL."
        )
