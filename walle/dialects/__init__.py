"""Everything that differs between SQLite and PostgreSQL: one class per database behind one port."""

from __future__ import annotations

from walle.config import DatabaseConfig
from walle.dialects.base import Dialect, ReadJob
from walle.errors import ConfigurationError

__all__ = ["Dialect", "ReadJob", "dialect_for"]


def dialect_for(config: DatabaseConfig, *, read_only: bool = False) -> Dialect:
    """Return the dialect of an address; only this imports its driver.

    Raises
    ------
    ConfigurationError
        If the driver is not installed, or too old.
    """
    if config.address.get_backend_name() == "sqlite":
        from walle.dialects.sqlite import SQLiteDialect
        from walle.dialects.sqlite_library import check_library

        check_library()
        made = SQLiteDialect(config, read_only=read_only)
        made.check_process()
        return made
    try:
        from walle.dialects.postgresql import PostgreSQLDialect
    except ImportError as error:
        raise ConfigurationError(
            f"PostgreSQL needs more packages ({error.name} is missing): pip install 'walle[postgres]'."
        ) from error
    return PostgreSQLDialect(config, read_only=read_only)
