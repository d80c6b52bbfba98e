"""What the parts of a store share: the way to the async repository of the same name."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Generic, TypeVar

from walle.database import Database
from walle.errors import PersistenceUnavailable
from walle.progress import Meter, Progress
from walle.store.portal import Portal

__all__ = ["Noun", "mirrors"]

R = TypeVar("R")
T = TypeVar("T")

_PROGRESS = """progress : Progress, optional
            Told how far it has come."""
_SHOWN = """progress : bool, optional
            Show a bar when it takes longer than a second. None: as ``WALLE_PROGRESS`` says, else in a terminal or a
            notebook."""
F = TypeVar("F", bound=Callable[..., Any])


class Noun(Generic[R]):
    """One part of a store, such as ``store.bars``.

    Parameters
    ----------
    database : Database or None
        None: the store is in memory, and every call raises ``PersistenceUnavailable``.
    portal : Portal
    progress : bool, optional
        Whether slow calls show a bar. None: as ``WALLE_PROGRESS`` says, else in a terminal or a notebook.
    """

    _name: ClassVar[str]
    _kind: ClassVar[type[Any]]

    def __init__(self, database: Database | None, portal: Portal, progress: bool | None = None) -> None:
        self._portal, self._progress = portal, progress
        self._repository: R | None = None if database is None else type(self)._kind(database)

    def _call_long(
        self, shown: bool | None, method: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, **options: Any
    ) -> T:
        """Call what may take long, and show how far it has come."""
        progress = Progress("rows")
        with Meter(progress, self._progress if shown is None else shown) as meter:
            return self._call(method, *args, **options, progress=progress, meter=meter)

    def _call(
        self, method: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, meter: Meter | None = None, **options: Any
    ) -> T:
        if self._repository is None:
            name = "ingest" if method.__name__ == "upsert" else method.__name__
            raise PersistenceUnavailable(f"store.{self._name}.{name}")
        if meter is not None:
            return self._portal.call(method, self._repository, *args, meter=meter, **options)
        with self._waiting(method) as waiting:
            return self._portal.call(method, self._repository, *args, meter=waiting, **options)

    def _waiting(self, method: Callable[..., object]) -> Meter:
        """Return what shows how long a call takes of which nobody knows how far it is."""
        return Meter(Progress.waiting(f"store.{self._name}.{method.__name__}"), self._progress)

    def __repr__(self) -> str:
        """Name the part and its methods."""
        methods = sorted(name for name in dir(type(self)) if not name.startswith("_"))
        return f"store.{self._name}: {', '.join(methods)}"


def mirrors(method: Callable[..., Any]) -> Callable[[F], F]:
    """Give a facade's method the documentation of the async one, without its session."""

    def copy(function: F) -> F:
        text = re.sub(r"\n +session : AsyncSession, optional(\n {12}[^\n]*)*", "", method.__doc__ or "")
        text = re.sub(r"\n +Parameters\n +-+\n(?=\n)", "", text).replace(_PROGRESS, _SHOWN)
        function.__doc__ = text
        return function

    return copy
