"""The settings of every transaction on PostgreSQL, and the check that they were taken.

They are set in each transaction. A pooler such as PgBouncer refuses or drops settings requested at the start of a
connection, and reassigns its server connections, so that session settings are lost in the next transaction.
https://www.pgbouncer.org/features.html
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

from psycopg import sql

from walle.errors import ConfigurationError

__all__ = ["FIXED", "LOCK_TIMEOUT", "Settings", "options_of"]

LOCK_TIMEOUT = 60
"""Seconds that a statement waits for a lock of another transaction, as on SQLite."""

FIXED = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",  # the only style that psycopg reads
    "standard_conforming_strings": "on",  # matches how literals are written
    "extra_float_digits": "3",  # a float64 as text with all of its digits
}
"""Settings that override those of the server, the database, the role and the address."""

_OPTION = re.compile(r"([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)


class Settings:
    """The settings of every transaction on one database.

    Parameters
    ----------
    options : mapping of str to str
        The options in the address, by name; they may change the timeout, but nothing in :data:`FIXED`.
    read_only : bool
        Whether the server itself should refuse writes.
    """

    def __init__(self, options: Mapping[str, str], *, read_only: bool) -> None:
        self._asked = {"lock_timeout": f"{LOCK_TIMEOUT}s", **options, **FIXED}
        self._fixed = FIXED | ({"transaction_read_only": "on"} if read_only else {})
        self._mode = "BEGIN READ ONLY; " if read_only else "BEGIN; "

    @property
    def begin(self) -> sql.Composed:
        """The statements that begin a transaction, in one message to the server."""
        return sql.SQL(self._mode) + _select(self._asked, local=True)

    def reading(self, *, local: bool) -> sql.Composed:
        """Return the statements for a read-only transaction that a driver has begun, or for its whole session."""
        only = "transaction_read_only" if local else "default_transaction_read_only"
        return _select(self._asked | {only: "on"}, local=local)

    @property
    def session(self) -> sql.Composed:
        """The statements for a whole session, for use only without a pooler."""
        return _select(self._asked, local=False)

    @property
    def check_query(self) -> sql.Composed:
        """The query for the server process of a connection and the value of each fixed setting in a transaction."""
        found = [sql.SQL("current_setting({})").format(name) for name in self._fixed]
        return sql.SQL("SELECT pg_backend_pid(), {}").format(sql.SQL(", ").join(found))

    def check(self, found: Sequence[str], label: str) -> None:
        """Compare the settings that :attr:`check_query` selected, without the process, with the requested ones.

        Raises
        ------
        ConfigurationError
            If a setting did not take effect.
        """
        for (name, asked), actual in zip(self._fixed.items(), found, strict=True):
            if actual != asked:
                raise ConfigurationError(
                    f"{label} does not apply the setting {name}={asked} (it has {actual!r}): a program between this "
                    "process and the server drops it. Bypass that program, or let it pass on whole transactions."
                )


def _select(asked: Mapping[str, str], *, local: bool) -> sql.Composed:
    # set_config, unlike SET, reads a list such as a search_path in the same way as a command line does
    calls = [sql.SQL("set_config({}, {}, {})").format(name, value, local) for name, value in asked.items()]
    return sql.SQL("SELECT ") + sql.SQL(", ").join(calls)


def options_of(text: str) -> dict[str, str]:
    """Read libpq's ``options``, ``-c name=value`` or ``--name=value``.

    Raises
    ------
    ConfigurationError
        For any other option; its text is not shown, since it may hold a secret.
    """
    found: dict[str, str] = {}
    try:
        words = iter(shlex.split(text))
    except ValueError as error:
        raise ConfigurationError(f"the options in the address or in PGOPTIONS cannot be read: {error}.") from None
    for word in words:
        if word == "-c":
            word = next(words, "")
        elif word.startswith(("-c", "--")):
            word = word[2:]
        else:
            word = ""
        setting = _OPTION.fullmatch(word)
        if setting is None:
            raise ConfigurationError(
                "the options in the address or in PGOPTIONS may only set parameters of the server: '-c name=value' or "
                "'--name=value', such as options=-c%20search_path%3Dresearch."
            )
        found[setting[1].replace("-", "_").lower()] = setting[2]
    return found
