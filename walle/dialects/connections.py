"""Track the connections of an engine, so that a forked child cannot use those of its parent."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from walle.errors import WalleError
from walle.forks import keep_for_ever

__all__ = ["Connections"]


class Connections:
    """The open connections, including those that sessions have checked out of the pool."""

    def __init__(self) -> None:
        self._open: dict[int, Any] = {}

    def follow(self, engine: Engine) -> None:
        """Track an engine's connections from opening to closing."""
        sa.event.listen(engine, "connect", self._opened)
        for end in ("close", "close_detached"):
            sa.event.listen(engine, end, self._closed)

    def _opened(self, connection: Any, *_: object) -> None:
        self._open[id(connection)] = connection

    def _closed(self, connection: Any, *_: object) -> None:
        self._open.pop(id(connection), None)

    def leave(self, error: WalleError) -> None:
        """Keep the driver's connections unchanged forever, and make every use of them raise an error."""
        for adapted in self._open.values():
            keep_for_ever(adapted)
            keep_for_ever(adapted._connection)
            adapted._connection = _Unusable(error)


class _Unusable:
    """A replacement for a driver's connection that raises on every use."""

    def __init__(self, error: WalleError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error
