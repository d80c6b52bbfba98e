"""What of many cases the quick set tries; the thorough one tries them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import settings

FULL = "full"
"""Hypothesis's profile in the thorough set; ``pytest --hypothesis-profile full`` takes it for a test by name."""

settings.register_profile("quick", deadline=None)
settings.register_profile(FULL, deadline=None)
_chosen = ["quick"]


def choose(profile: str) -> None:
    """Take a profile of Hypothesis; before the tests are imported, whose decorators ask for it."""
    settings.load_profile(profile)
    _chosen[:] = [profile]


def is_full() -> bool:
    """Whether properties try all of their examples."""
    return _chosen == [FULL]


def examples(full: int) -> int:
    """How many examples a property tries: a fifth in the quick set."""
    return full if is_full() else max(10, full // 5)


def first_quick(cases: Iterable[Any], by: Callable[[Any], object] = lambda case: None) -> list[Any]:
    """Cases to parametrize by, of which all but the first, or the first of each kind ``by``, are thorough."""
    seen: set[object] = set()
    marked: list[Any] = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marked.append(pytest.param(*values, marks=pytest.mark.thorough if by(case) in seen else ()))
        seen.add(by(case))
    return marked
