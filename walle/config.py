"""The database address, from an argument or the environment, checked and normalised."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from walle.environment import flag
from walle.errors import ConfigurationError

__all__ = ["DatabaseConfig", "masked", "parse_url"]

_ENVIRONMENT = "WALLE_DATABASE_"
_SCHEMES = {
    "sqlite": {"", "aiosqlite", "pysqlite"},
    "postgres": {"", "asyncpg", "psycopg"},
    "postgresql": {"", "asyncpg", "psycopg"},
}
_ALLOWED = (
    "a path ('research.db'), 'sqlite:///research.db', 'sqlite:////absolute/research.db' or "
    "'postgresql://user:password@host:5432/name'"
)

_QUOTES = "'\"`\u2018\u2019\u201c\u201d"
_PUBLIC = (
    *("application_name", "channel_binding", "client_encoding", "connect_timeout", "fallback_application_name"),
    *("gssencmode", "host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval"),
    *("load_balance_hosts", "port", "requiressl", "sslmode", "sslnegotiation", "ssl_min_protocol_version"),
    *("ssl_max_protocol_version", "target_session_attrs", "tcp_user_timeout"),
)
"""The options of an address that hold no secret; the values of all others are never shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig:
    """The settings of a database connection.

    Parameters
    ----------
    url : str, pathlib.Path, sqlalchemy.engine.URL or None
        The path of a SQLite file, or a URL with the scheme ``sqlite``, ``postgresql`` or ``postgres`` (a driver such
        as ``+asyncpg`` is accepted and dropped). None means that there is no database.
    pool_size : int
        The number of connections to keep open, 1 to 1000.
    pool_overflow : int
        The number of further connections that may be opened for a while, 0 to 1000.
    echo : bool
        Log every statement through the logger ``sqlalchemy.engine``.
    transaction_pooler : bool
        Whether a pooler reassigns PostgreSQL's connections after every transaction. LISTEN, session locks and prepared
        statements are then not used: events are polled, and consumers hold an expiring lease. WallE detects most
        poolers; set this only for one that it does not detect.

    Raises
    ------
    ConfigurationError
        For an address or a number that cannot work.

    Examples
    --------
    >>> DatabaseConfig(url="postgres://ann:secret@db.example/research")
    DatabaseConfig(url='postgresql://ann:***@db.example/research', pool_size=5, pool_overflow=10, echo=False)
    """

    url: URL | str | Path | None = None
    pool_size: int = 5
    pool_overflow: int = 10
    echo: bool = False
    transaction_pooler: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", None if self.url is None else parse_url(self.url))
        for name, value, low in (("pool_size", self.pool_size, 1), ("pool_overflow", self.pool_overflow, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= 1000:
                raise ConfigurationError(f"{name}={value!r} is not a whole number from {low} to 1000.")
        for name, given in (("echo", self.echo), ("transaction_pooler", self.transaction_pooler)):
            if not isinstance(given, bool):
                raise ConfigurationError(f"{name}={given!r} is neither True nor False.")

    @classmethod
    def from_environment(
        cls,
        url: URL | str | Path | None = None,
        *,
        pool_size: int | None = None,
        pool_overflow: int | None = None,
        echo: bool | None = None,
        transaction_pooler: bool | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> DatabaseConfig:
        """Read missing arguments from ``WALLE_DATABASE_URL``, ``WALLE_DATABASE_POOL_SIZE`` and so on.

        Parameters
        ----------
        url, pool_size, pool_overflow, echo, transaction_pooler
            As in the class; None takes the value of the environment, else the default.
        environ : mapping, optional
            The mapping to read instead of ``os.environ``.

        Returns
        -------
        DatabaseConfig
            Its ``url`` is None if neither the argument nor the variable is set (an empty variable counts as unset).

        Raises
        ------
        ConfigurationError
            For a value that cannot work; the message names the variable.
        """
        source = os.environ if environ is None else environ
        given: dict[str, int | bool | None] = {
            "pool_size": pool_size,
            "pool_overflow": pool_overflow,
            "echo": echo,
            "transaction_pooler": transaction_pooler,
        }
        settings: dict[str, int | bool] = {}
        for name, value in given.items():
            text = source.get(_ENVIRONMENT + name.upper(), "").strip()
            if value is not None:
                settings[name] = value
            elif text:
                settings[name] = _setting(name, text)
        if url is None:
            url = source.get(_ENVIRONMENT + "URL", "").strip() or None
        return cls(url=url, **settings)  # type: ignore[arg-type]  # each setting has its field's type by _setting

    @property
    def address(self) -> URL:
        """The normalised URL.

        Raises
        ------
        ConfigurationError
            If no database is configured.
        """
        if not isinstance(self.url, URL):
            raise ConfigurationError(f"no database is configured. Allowed: {_ALLOWED}.")
        return self.url

    def __repr__(self) -> str:
        """Show the settings with the password masked."""
        url = None if self.url is None else masked(self.address)
        return (
            f"DatabaseConfig(url={url!r}, pool_size={self.pool_size}, pool_overflow={self.pool_overflow}, "
            f"echo={self.echo}{', transaction_pooler=True' if self.transaction_pooler else ''})"
        )


def parse_url(target: URL | str | Path) -> URL:
    """Normalise a path or URL to ``sqlite`` or ``postgresql`` without a driver.

    Parameters
    ----------
    target : URL, str or pathlib.Path
        ``~`` is expanded and a relative path made absolute. A text without ``://`` is a path.

    Returns
    -------
    sqlalchemy.engine.URL

    Raises
    ------
    ConfigurationError
        For another scheme, an in-memory SQLite database, or an empty or malformed address. Passwords are masked.
    """
    if isinstance(target, URL):
        return _normalise(target)
    if not isinstance(target, str | Path):
        raise ConfigurationError(
            f"a database address is a path or a URL, not {type(target).__name__}. Allowed: {_ALLOWED}."
        )
    text = str(target)
    if "://" in text and isinstance(target, str):
        text = text.strip()  # URLs come from settings files with spaces around them; a path may contain such spaces
    if "\0" in text:
        raise ConfigurationError("the database address holds a NUL character.")
    if not text.strip():
        raise ConfigurationError(f"the database address is empty. Allowed: {_ALLOWED}.")
    if isinstance(target, Path):
        return _path(text)
    _refuse_near_misses(text)
    scheme = _scheme(text)
    if not scheme:
        return _sqlite_file(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            f"'{scheme}://...' is not a database URL: look at its port (a number) and the brackets of an IPv6 address, "
            f"and write several hosts as options (postgresql:///name?host=a:5432&host=b:5432). Allowed: {_ALLOWED}."
        ) from None
    if scheme.startswith("sqlite") and re.search(":[^/]*@", url.database or ""):
        raise ConfigurationError(
            f"'{scheme}://...': a SQLite URL has no user and no password (a file of such a name is given as a "
            f"pathlib.Path). Allowed: {_ALLOWED}."
        )
    return _normalise(url)


def masked(url: URL) -> str:
    """Write a URL with ``***`` in place of its password and of every option that is not known to be public."""
    hidden = {key: value if _is_public(key, value) else "***" for key, value in url.query.items()}
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    return url.set(query=hidden).render_as_string(hide_password=True).replace("%2A%2A%2A", "***")


def _is_public(key: str, value: str | Sequence[str]) -> bool:
    """Return whether an option may be shown: it is a public one, and its value does not contain another option."""
    values = [value] if isinstance(value, str) else value
    return key.lower() in _PUBLIC and not any(re.search("[=&;@]", one) for one in values)


def _scheme(text: str) -> str:
    """Return the scheme of a URL; empty for a path, including one that begins with a drive letter."""
    found = re.match(r"([A-Za-z][\w+.-]*):", text)
    return "" if found is None or re.match(r"[A-Za-z]:[\\/]", text) else found[1]


def _path(text: str) -> URL:
    if _scheme(text).partition("+")[0] in _SCHEMES:  # pathlib has replaced the two slashes by one
        raise ConfigurationError(f"a URL is given as a text, not as a Path. Allowed: {_ALLOWED}.")
    return _sqlite_file(text)


def _refuse_near_misses(text: str) -> None:
    """Refuse a text that was meant as a URL but is not one.

    Raises
    ------
    ConfigurationError
        Without the text itself, since any part of it may be a password.
    """
    scheme = _scheme(text)
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        raise ConfigurationError(f"the database address stands in quotes; leave them out. Allowed: {_ALLOWED}.")
    pairs = len(re.findall(r"\w\s*=", text)) > 1 or re.search(r"(?i)\b(host|dbname|password)\s*=", text)
    if pairs and "://" not in text:
        raise ConfigurationError(f"a libpq connection string is not supported; write it as a URL. Allowed: {_ALLOWED}.")
    if "://" not in text and ":" in text.rpartition("@")[0]:
        raise ConfigurationError(f"the database address looks like a URL without its scheme. Allowed: {_ALLOWED}.")
    if not scheme and "://" in text:
        raise ConfigurationError(f"the database address does not begin with its scheme. Allowed: {_ALLOWED}.")
    if not scheme and re.search(r"(?s)\?.*=", text):
        raise ConfigurationError(
            f"the database address is a path with options, which a path has not (a file of such a name is given as a "
            f"pathlib.Path). Allowed: {_ALLOWED}."
        )
    if scheme and not text.startswith(f"{scheme}://") and text != f"{scheme}:":
        what = "':memory:'" if text == ":memory:" else f"'{scheme}:...'"
        raise ConfigurationError(f"{what} is neither a path nor a URL. Allowed: {_ALLOWED}.")


def _normalise(url: URL) -> URL:
    scheme, _, driver = url.drivername.lower().partition("+")
    if scheme not in _SCHEMES or driver not in _SCHEMES[scheme]:
        raise ConfigurationError(f"the scheme {url.drivername!r} is not supported. Allowed: {_ALLOWED}.")
    if scheme == "sqlite":
        if url.query or url.host or url.username or url.password or url.port:
            raise ConfigurationError(
                "'sqlite://...': a SQLite URL has no host and no options; three slashes start its path. "
                f"Allowed: {_ALLOWED}."
            )
        return _sqlite_file(url.database or ":memory:")
    if re.search("[=&;]", url.database or ""):
        raise ConfigurationError(
            "the options of a URL stand behind a ?, with a & between two: ...?sslmode=require&port=1."
        )
    if re.search("[@=&?]", url.host or "") or "@" in (url.database or ""):
        raise ConfigurationError(
            "an @ in a URL stands before its host only; anywhere else it is written as %40. In a user name or password "
            "a / is written as %2F and a : as %3A."
        )
    if not url.database:
        raise ConfigurationError(f"'{scheme}://...' names no database. Allowed: {_ALLOWED}.")
    query = dict(url.query)
    if driver == "asyncpg" and "ssl" in query:  # asyncpg's name for libpq's sslmode
        query["sslmode"] = query.pop("ssl")
    return url.set(drivername="postgresql", query=query)


def _sqlite_file(text: str) -> URL:
    if text == ":memory:":
        raise ConfigurationError(
            "':memory:' is not supported: every connection would see a database of its own. "
            "Use a file (a temporary one will do). Events alone work in memory: walle.connect() without an address."
        )
    if text.startswith("file:"):
        raise ConfigurationError(f"{text!r}: give the path itself. Allowed: {_ALLOWED}.")
    try:
        path = Path(text).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigurationError(f"{text!r}: {error}") from None
    return URL.create("sqlite", database=str(path))


def _setting(name: str, text: str) -> int | bool:
    variable = _ENVIRONMENT + name.upper()
    if name in ("echo", "transaction_pooler"):
        return flag(variable, text)
    try:
        return int(text)
    except ValueError:
        raise ConfigurationError(f"{variable}={text!r} is not a whole number.") from None
