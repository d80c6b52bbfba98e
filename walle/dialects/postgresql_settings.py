"""The settings that every transaction on PostgreSQL runs under, and how a pooler between is noticed.

They travel with each transaction. A pooler such as PgBouncer refuses or drops what is asked for at the start of a
connection, and hands its server connections on, so that nothing set for a session is there in the next transaction.
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
"""Seconds that a statement waits for another transaction's lock, as on SQLite."""

FIXED = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",  # psycopg reads no other
    "standard_conforming_strings": "on",  # as the literals are written
    "extra_float_digits": "3",  # a float64 as text with all of its digits
}
"""What holds in every transaction, whatever the server, the database, the role or the address say."""

_OPTION = re.compile(r"([A-Za-z_][\w.-]*)=(.*)", re.DOTALL)


class Settings:
    """What the transactions of one database are told as they begin.

    Parameters
    ----------
    options : mapping of str to str
        What the address asks for, by name; it may set another time-out, but nothing of :data:`FIXED`.
    read_only : bool
        Let the server itself refuse writes.
    """

    def __init__(self, options: Mapping[str, str], *, read_only: bool) -> None:
        self._asked = {"lock_timeout": f"{LOCK_TIMEOUT}s", **options, **FIXED}
        self._fixed = FIXED | ({"transaction_read_only": "on"} if read_only else {})
        self._mode = "BEGIN READ ONLY; " if read_only else "BEGIN; "

    @property
    def begin(self) -> sql.Composed:
        """Begin a transaction; one message to the server, which answers once."""
        return sql.SQL(self._mode) + _select(self._asked, local=True)

    def reading(self, *, local: bool) -> sql.Composed:
        """Set them in a transaction that a driver has begun, or for its whole session, and let it only read."""
        only = "transaction_read_only" if local else "default_transaction_read_only"
        return _select(self._asked | {only: "on"}, local=local)

    @property
    def kept(self) -> sql.Composed:
        """Set them for a whole session; only where no pooler stands between."""
        return _select(self._asked, local=False)

    @property
    def look(self) -> sql.Composed:
        """Select the process that serves a connection, then each fixed setting as it stands in a transaction."""
        found = [sql.SQL("current_setting({})").format(name) for name in self._fixed]
        return sql.SQL("SELECT pg_backend_pid(), {}").format(sql.SQL(", ").join(found))

    def check(self, found: Sequence[str], label: str) -> None:
        """Hold what :attr:`look` has selected, without the process, against what was asked.

        Raises
        ------
        ConfigurationError
            When a setting did not get through.
        """
        for (name, asked), stands in zip(self._fixed.items(), found, strict=True):
            if stands != asked:
                raise ConfigurationError(
                    f"{label} does not take the setting {name}={asked} ({stands!r} stands there): what lies between "
                    "this process and the server drops it. Connect past it, or have it pass on whole transactions."
                )


def _select(asked: Mapping[str, str], *, local: bool) -> sql.Composed:
    # set_config, not SET: it reads a list such as a search_path in the same way as a command line does
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
