"""The SQLite library of Python."""

from __future__ import annotations

import sqlite3

from walle.errors import ConfigurationError

__all__ = ["check_library"]

OLDEST_LIBRARY = (3, 35)
"""The first version of SQLite with RETURNING."""


def check_library() -> None:
    """Raise for a version of the SQLite library that would fail later, during work.

    Raises
    ------
    ConfigurationError
        With its version.
    """
    if sqlite3.sqlite_version_info < OLDEST_LIBRARY:
        raise ConfigurationError(
            f"this Python brings SQLite {sqlite3.sqlite_version}, and WallE needs 3.35 or later. Use a newer Python, "
            "or PostgreSQL."
        )
