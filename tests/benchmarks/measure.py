"""One measurement: WallE and its peer, one after the other."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Case", "Measured", "seconds"]


S = TypeVar("S")


@dataclass(frozen=True)
class Measured:
    """Seconds of WallE and of its peer."""

    ours: float
    theirs: float


@dataclass(frozen=True)
class Case(Generic[S]):
    """What is measured, against whom, and the ratio that is the goal; it is given an address and what to store."""

    what: str
    peer: str
    goal: float
    measure: Callable[[str, S], Measured]


def seconds(work: Callable[[], object]) -> float:
    """Run something once, and return how long it took."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
