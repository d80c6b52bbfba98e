"""Which tests are fast, quick and thorough."""

from __future__ import annotations

import tomllib

import pytest

from tests.conftest import HERE, QUICK, SLOW, SQLITE_FIRST, THOROUGH
from tests.examples import first_quick


def test_what_runs_by_default_is_the_quick_set() -> None:
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text())
    options = project["tool"]["pytest"]["ini_options"]["addopts"]
    assert options[options.index("-m") + 1] == QUICK


@pytest.mark.parametrize("name", [*THOROUGH, *SLOW, *SQLITE_FIRST])
def test_every_folder_and_file_of_a_set_exists(name: str) -> None:
    assert (HERE / name).exists()


def test_the_first_case_of_each_kind_is_quick() -> None:
    cases = first_quick([("a", 1), ("a", 2), ("b", 1)], by=lambda case: case[0])
    assert [case.values for case in cases] == [("a", 1), ("a", 2), ("b", 1)]
    assert [[mark.name for mark in case.marks] for case in cases] == [[], ["thorough"], []]
    assert [len(case.marks) for case in first_quick("xyz")] == [0, 1, 1]
