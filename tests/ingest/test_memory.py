"""A file is stored in pages: what is held at a time does not grow with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.material import big_bars
from tests.reliability.processes import script

INGEST = """
import pathlib, sys, walle
with walle.connect(sys.argv[1]) as store:
    report = store.bars.ingest(sys.argv[2], symbol="A", timeframe="1m")
peak = pathlib.Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
print("peak", report.inserted, int(peak) >> 10)
"""  # ru_maxrss would count what the parent holds
LIMIT = 450
"""MiB; about 120 of them are the interpreter and its libraries."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is told by Linux")
def test_a_million_rows_go_in_within_bounded_memory(address: str, tmp_path: Path) -> None:
    big_bars(1_000_000).write_csv(tmp_path / "large.csv")
    with script(INGEST, address, tmp_path / "large.csv", flags=()) as child:
        inserted, peak = map(int, child.expect("peak").split())
        child.succeed()
    assert inserted == 1_000_000
    assert peak < LIMIT, f"{peak} MiB"
