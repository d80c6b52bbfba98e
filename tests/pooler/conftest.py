"""An address behind PgBouncer, in each of its modes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.pooler.bouncer import MODES, bouncing
from tests.postgres import Server


@dataclass(frozen=True)
class Addresses:
    """One database by two ways."""

    mode: str
    direct: str
    pooled: str


@pytest.fixture(params=MODES)
def addresses(request: pytest.FixtureRequest, server: Server, postgres_address: str) -> Iterator[Addresses]:
    """A new PostgreSQL store, reached directly and through PgBouncer in its default configuration."""
    with bouncing(server, request.param) as port:
        yield Addresses(request.param, postgres_address, postgres_address.replace(f":{server.port}/", f":{port}/"))


@pytest.fixture
def transactions(server: Server, postgres_address: str) -> Iterator[Addresses]:
    """The same in transaction mode, with three connections to the server for everybody."""
    with bouncing(server, "transaction", more="default_pool_size = 3") as port:
        yield Addresses("transaction", postgres_address, postgres_address.replace(f":{server.port}/", f":{port}/"))
