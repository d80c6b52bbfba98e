"""What of many cases the quick set tries; the thorough one tries all, and a third of the examples of properties."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import settings

THOROUGH = "thorough"
"""Hypothesis's profile in the thorough set."""

_SHARES = {"quick": 6, THOROUGH: 3, "full": 1}
"""The profiles, and what part of its examples a property tries; ``pytest --hypothesis-profile full`` tries all."""

for _name in _SHARES:
    settings.register_profile(_name, deadline=None)
_chosen = ["quick"]


def choose(profile: str) -> None:
    """Take a profile of Hypothesis; before the tests are imported, whose decorators ask for it."""
    settings.load_profile(profile)
    _chosen[:] = [profile]


def is_thorough() -> bool:
    """Whether properties try more of their examples than in the quick set."""
    return _chosen == [THOROUGH]


def examples(full: int) -> int:
    """How many examples a property tries."""
    return max(min(5, full), full // _SHARES.get(_chosen[0], 1))


def first_quick(cases: Iterable[Any], by: Callable[[Any], object] = lambda case: None) -> list[Any]:
    """Cases to parametrize by, of which all but the first, or the first of each kind ``by``, are thorough."""
    seen: set[object] = set()
    marked: list[Any] = []
    for case in cases:
        values = case if isinstance(case, tuple) else (case,)
        marked.append(pytest.param(*values, marks=pytest.mark.thorough if by(case) in seen else ()))
        seen.add(by(case))
    return marked
