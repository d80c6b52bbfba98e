"""The base class of the parts of a store, which call the async repository of the same name."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Generic, TypeVar

from walle.errors import PersistenceUnavailable
from walle.progress import Meter, Progress
from walle.store.portal import Portal

__all__ = ["Part"]

R = TypeVar("R")
T = TypeVar("T")


class Part(Generic[R]):
    """One part of a store, such as ``store.bars``.

    Parameters
    ----------
    repository : repository or None
        None for a store in memory, in which every call raises ``PersistenceUnavailable``.
    portal : Portal
    progress : bool, optional
        Whether slow calls show a progress bar. With None, ``WALLE_PROGRESS`` decides; if it is not set, only terminals
        and notebooks show one.
    """

    _name: ClassVar[str]

    def __init__(self, repository: R | None, portal: Portal, progress: bool | None = None) -> None:
        self._repository, self._portal, self._progress = repository, portal, progress

    def _call(self, name: str, work: Callable[[R], Coroutine[Any, Any, T]]) -> T:
        """Call a method of the repository, with a meter of the elapsed time if it is slow."""
        with Meter(Progress.waiting(f"store.{self._name}.{name}"), self._progress) as meter:
            return self._portal.call(work, self._core(name), meter=meter)

    def _call_long(self, name: str, shown: bool | None, work: Callable[[R, Progress], Coroutine[Any, Any, T]]) -> T:
        """Call a method of the repository that reports its progress, with a progress bar."""
        progress = Progress("rows")
        with Meter(progress, self._progress if shown is None else shown) as meter:
            return self._portal.call(work, self._core(name), progress, meter=meter)

    def _core(self, name: str) -> R:
        if self._repository is None:
            raise PersistenceUnavailable(f"store.{self._name}.{name}")
        return self._repository

    def __repr__(self) -> str:
        """Show the part and its methods."""
        methods = sorted(name for name in dir(type(self)) if not name.startswith("_"))
        return f"store.{self._name}: {', '.join(methods)}"
