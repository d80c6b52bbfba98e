from __future__ import annotations

import pytest

from tests.benchmarks.__main__ import main


def test_the_benchmarks_print_a_ratio_for_every_goal(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", "400", "--rounds", "1"]) == 0
    printed = capsys.readouterr().out
    assert len([line for line in printed.splitlines() if "<=" in line]) == 7 + 6 + 8  # bars, ingest, events
    assert "SQLite ingest of CSV: " in printed
    assert "peak memory of a CSV of 400 rows into SQLite: " in printed
    assert printed.count("coverage() of 10 series: ") == printed.count("gaps() of 400 bars: ") == 2
    assert "audit of 400 fills of 134 orders" in printed
    assert "round trips of 400 fills" in printed
    assert printed.count("runs.read() of 20 runs with 200 fills: ") == 2
    assert printed.count("runs.history() of 40 events: ") == 2
    assert printed.count("runs.metrics() of 4 runs with 200 fills, each over 1,000 bars: ") == 2
    assert printed.count("first paint of CoverageView, ten years of days: 2 series in ") == 2
    assert printed.count("first paint of OutboxView: 400 events in ") == 2
    assert "one store.events.append, median: SQLite" in printed
