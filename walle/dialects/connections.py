"""The connections of an engine, so that a forked child can be kept from using its parent's."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Engine

from walle.errors import WalleError
from walle.forks import keep_for_ever

__all__ = ["Connections"]


class Connections:
    """Those that are open: also ones that a session has taken out of the pool."""

    def __init__(self) -> None:
        self._open: dict[int, Any] = {}

    def follow(self, engine: Engine) -> None:
        """Follow an engine's connections from their opening to their close."""
        sa.event.listen(engine, "connect", self._opened)
        for end in ("close", "close_detached"):
            sa.event.listen(engine, end, self._closed)

    def _opened(self, connection: Any, *_: object) -> None:
        self._open[id(connection)] = connection

    def _closed(self, connection: Any, *_: object) -> None:
        self._open.pop(id(connection), None)

    def leave(self, error: WalleError) -> None:
        """Keep the driver's connections as they are for ever, and let every use of them raise an error."""
        for adapted in self._open.values():
            keep_for_ever(adapted)
            keep_for_ever(adapted._connection)
            adapted._connection = _Left(error)


class _Left:
    """Stands where a driver's connection stood."""

    def __init__(self, error: WalleError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error
