"""What a type checker says of a program that uses the public face: a misspelt word is found before it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FINE = """
import polars as pl
import walle

store = walle.connect()
frame: pl.DataFrame = store.bars.read("BTC/USD", "1m", "2025-01-01", columns=["close"])
run: walle.Run = store.runs.get("r")
report: walle.WriteReport = store.runs.save([run])
offset: int = store.events.append(walle.Event(type="a.B"))
offsets: list[int] = store.events.append([walle.Event(type="a.B")])
trades: pl.DataFrame = store.fills.trades(method="lifo")
walle.charts.equity(frame)
walle.widgets.CoverageView(store, period="week")
"""
WRONG = [
    ('store.bars.read("BTC/USD", "1m", colums=["close"])', 'Unexpected keyword argument "colums"'),
    ('store.bars.ingest("a.csv", on_invalid="skip")', '"on_invalid" to "ingest" of "Bars" has incompatible type'),
    ('store.fills.trades(methode="fifo")', 'Unexpected keyword argument "methode"'),
    ("store.events.read(run=1)", 'Unexpected keyword argument "run"'),
    (
        'store.events.consume("c", print, on_poison="skip")',
        '"on_poison" to "consume" of "Streams" has',
    ),
    ('store.runs.metrics("r", session=None)', 'Unexpected keyword argument "session"'),
    ("walle.Barz", 'has no attribute "Barz"'),
]


@pytest.mark.thorough
def test_mypy_finds_a_misspelt_word_in_a_call_of_the_store(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(FINE + "".join(f"{line}\n" for line, _ in WRONG))
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(program)],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    first = FINE.count("\n") + 1
    found = {
        int(place): text
        for _, place, text in (line.split(":", 2) for line in answer.stdout.splitlines() if ": error: " in line)
    }
    assert sorted(found) == list(range(first, first + len(WRONG))), answer.stdout
    for number, (line, expected) in enumerate(WRONG, first):
        assert expected in found[number], line
