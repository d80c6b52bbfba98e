"""A file is stored in pages: what is held at a time does not grow with it."""

from __future__ import annotations

from pathlib import Path

from tests.reliability.material import big_bars
from tests.reliability.processes import script

INGEST = """
import resource, sys, walle
with walle.connect(sys.argv[1]) as store:
    report = store.bars.ingest(sys.argv[2], symbol="A", timeframe="1m")
print("peak", report.inserted, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""
LIMIT = 450
"""MiB; about 120 of them are the interpreter and its libraries."""


def test_a_million_rows_go_in_within_bounded_memory(address: str, tmp_path: Path) -> None:
    big_bars(1_000_000).write_csv(tmp_path / "large.csv")
    with script(INGEST, address, tmp_path / "large.csv", flags=()) as child:
        inserted, peak = map(int, child.expect("peak").split())
        child.succeed()
    assert inserted == 1_000_000
    assert peak < LIMIT, f"{peak} MiB"
