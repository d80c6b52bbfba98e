"""Addresses of databases in every form, with a secret in each place where one may stand."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import random
from pathlib import Path

from sqlalchemy.engine import URL

import walle
from walle.config import DatabaseConfig, masked, parse_url
from walle.database import Database
from walle.errors import WalleError

__all__ = ["SECRET", "Leak", "address", "check"]

SECRET = "s3cr3tW0rd"
_SECRETS = ["password", "sslpassword", "passfile", "oauth_client_secret", "options", "sslkey", "Password"]
_PUBLIC = ["sslmode=require", "application_name=x", "connect_timeout=1", "target_session_attrs=read-write", "host=/tmp"]
_NOISE = [*"'\" \t\n\0\x1b\u202eü漢%@:/?#&=", "%40", "%00", "%zz"]
_HOSTS = ["127.0.0.1:1", "127.0.0.1:99999", "127.0.0.1:x", "[::1]:1", "[::1", "::1", "/tmp", "a,b:1,c:2"]
_SCHEMES = ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg", "PostgreSQL", "mysql", "sqlite", ""]
_USERS = [f"ann:{SECRET}@", f"ann:{SECRET}@", "ann@", f"a:b:{SECRET}@x@", f":{SECRET}@"]
_PATHS = ["a.db", "./b.db", "sqlite:///c.db", "sub/d.db"]


class Leak(AssertionError):
    """A secret was shown."""


def address(chance: random.Random) -> str:
    """Return an address as JSON: a text, or the parts of a URL object; mostly with the secret somewhere."""
    if chance.random() < 0.1:
        parts = {
            "drivername": chance.choice(_SCHEMES) or "postgresql",
            "username": chance.choice(("ann", "", "a@b", None)),
            "password": SECRET,
            "host": chance.choice(("127.0.0.1", "", None, "::1")),
            "port": chance.choice((1, None, 99_999)),
            "database": chance.choice(("name", None, "a b", "x.db")),
            "query": {chance.choice(_SECRETS): SECRET} if chance.random() < 0.5 else {},
        }
        return json.dumps(parts)
    if chance.random() < 0.15:
        return json.dumps(_noisy(f"{chance.choice(_PATHS)}?password={SECRET}", chance))
    options = [chance.choice(_PUBLIC) for _ in range(chance.randrange(3))]
    options += [_secret_option(chance) for _ in range(chance.randrange(3))]
    chance.shuffle(options)
    query = f"?{'&'.join(options)}" if options else ""
    slashes = chance.choice(("://",) * 8 + (":/", ":", "//"))
    text = f"{chance.choice(_SCHEMES)}{slashes}{chance.choice(_USERS)}{chance.choice([*_HOSTS, ''])}/name{query}"
    if chance.random() < 0.1:
        text = f"host=127.0.0.1 port=1 user=ann password={SECRET} dbname=x"
    return json.dumps(_noisy(text, chance))


def _secret_option(chance: random.Random) -> str:
    name = chance.choice(_SECRETS)
    return f"{name}=-c%20my.key%3D{SECRET}" if name == "options" else f"{name}={SECRET}"


def _noisy(text: str, chance: random.Random) -> str:
    """Put quotes, spaces and odd characters around and into a text, but not into the secret."""
    for _ in range(chance.choice((0, 0, 1, 2, 4))):
        noise = chance.choice(_NOISE)
        place = chance.choice((0, len(text), chance.randrange(len(text) + 1)))
        inside = text.rfind(SECRET, 0, place + len(SECRET) - 1)
        if not 0 <= inside < place < inside + len(SECRET):
            text = text[:place] + noise + text[place:]
    if chance.random() < 0.1:
        quote = chance.choice("'\"")
        text = quote + text + quote
    return text


def check(content: str, folder: Path) -> None:
    """Use an address as far as that goes without a server.

    Raises
    ------
    Leak
        Where the secret is shown.
    """
    given = json.loads(content)
    target: str | URL = given if isinstance(given, str) else URL.create(**given)
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    logging.getLogger().addHandler(handler)
    shown: list[str] = []
    try:
        for use in (
            lambda one: masked(parse_url(one)),
            _described,
            DatabaseConfig.from_environment,
            lambda one: _opened(one, folder),
        ):
            try:
                shown.append(repr(use(target)))
            except WalleError as error:
                shown += _texts_of(error)
    finally:
        logging.getLogger().removeHandler(handler)
    for text in (*shown, heard.getvalue()):
        if SECRET in text:
            raise Leak(f"{content} is shown as {text[:500]}")


def _texts_of(error: BaseException | None) -> list[str]:
    said = []
    while error is not None:
        said += [str(error), repr(error)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said


def _described(target: str | URL) -> list[object]:
    config = DatabaseConfig(url=target)
    database = Database(config)
    return [config, masked(config.address), database, database.dialect.label]


def _opened(target: str | URL, folder: Path) -> object:
    """Connect where nobody but this machine is asked, and no file outside the folder is touched."""
    config = DatabaseConfig(url=target)
    place = config.address
    if place.get_backend_name() == "sqlite":
        path = Path(place.database or "").absolute()
        if not path.is_relative_to(folder) or ".." in path.parts:
            return config
    elif (place.host, place.port) != ("127.0.0.1", 1) or "host" in place.query:
        return config
    with contextlib.closing(walle.connect(target)) as store:
        return [store, store.status()]
