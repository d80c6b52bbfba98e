from __future__ import annotations

import pytest

from tests.benchmarks.__main__ import main


def test_the_benchmarks_print_a_ratio_for_every_goal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "2000", "--rounds", "1"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "<=" in line]
    assert len(lines) == 7
