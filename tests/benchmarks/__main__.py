"""How fast WallE moves bars, files of bars and events, and audits fills, as ratios against named peers in the same run;
and how fast its views are painted.

    python -m tests.benchmarks                      # 1,000,000 rows, both databases, some minutes
    python -m tests.benchmarks --rows 100000 --rounds 5 --database sqlite --what events
    python -m tests.benchmarks --rows 10000000 --rounds 1 --what ingest    # and how much memory a large file takes

Every round makes a new store (reads of events share one that is filled) and runs WallE and its peer one after the
other; the ratio is of that pair, and the table shows the median of the rounds. Below 1 WallE is the faster one; 1.25 is
0.8 of the peer's rate, 1.67 is 0.6 of it.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import polars as pl

from tests.benchmarks import audit, coverage, events, ingest, postgresql, runs, sqlite, views
from tests.benchmarks.measure import Case, Measured, seconds

__all__ = ["main"]

S = TypeVar("S")
WHAT = ["bars", "ingest", "coverage", "events", "audit", "runs", "views"]


@dataclass
class Row:
    """One line of the table."""

    what: str
    peer: str
    goal: float
    pairs: list[Measured] = field(default_factory=list)

    def median(self) -> float:
        """Return WallE's seconds."""
        return statistics.median(pair.ours for pair in self.pairs)

    def cells(self) -> dict[str, str]:
        ours = self.median()
        theirs = statistics.median(pair.theirs for pair in self.pairs)
        ratio = statistics.median(pair.ours / pair.theirs for pair in self.pairs)
        return {
            "what": self.what,
            "WallE": f"{ours:.2f} s",
            "peer": self.peer,
            "peer's time": f"{theirs:.2f} s",
            "ratio": f"{ratio:.2f}",
            "goal": f"<= {self.goal}",
        }


def make_bars(rows: int) -> pl.DataFrame:
    """Return one-minute bars of a random walk: timestamp, open, high, low, close, volume."""
    generator = random.Random(7)
    steps = pl.Series([generator.gauss(0, 0.05) for _ in range(rows)])
    close = 100 + steps.cum_sum()
    start = int(datetime(2020, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    times = (pl.int_range(0, rows, eager=True) * 60_000_000 + start).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    frame = pl.DataFrame({"timestamp": times, "open": close.shift(1).fill_null(100.0), "close": close})
    return frame.select(
        "timestamp",
        "open",
        high=pl.max_horizontal("open", "close") + 0.01,
        low=pl.min_horizontal("open", "close") - 0.01,
        close="close",
        volume=steps.abs() * 1000,
    )


def run_bars(rows: int, rounds: int, databases: Sequence[str]) -> list[Row]:
    """Measure what moves bars.

    Parameters
    ----------
    rows, rounds : int
    databases : sequence of str
        ``sqlite``, ``postgresql``.
    """
    frame = make_bars(rows)
    table: list[Row] = []
    for name in databases:
        with _place(name) as place:
            table += _measured((sqlite if name == "sqlite" else postgresql).CASES, place, frame, rounds)
    return table


def run_ingest(rows: int, rounds: int, databases: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Measure ingests of files; the arguments are those of :func:`run_bars`.

    Returns
    -------
    tuple of list of Row and list of str
        The table, and how many rows a second go in, and in how much memory.
    """
    frame = make_bars(min(rows, ingest.MOST))
    table: list[Row] = []
    for name in databases:
        with _place(name) as place:
            label = "SQLite" if name == "sqlite" else "PostgreSQL"
            table += _measured(ingest.cases(label), place, frame, rounds)
    told = [f"{line.what}: {frame.height / line.median():,.0f} rows/s" for line in table if "alone" in line.peer]
    most = ingest.peak(frame, rows)
    return table, [*told, f"peak memory of a CSV of {rows:,} rows into SQLite: {most} MiB (goal: under 1,024)"]


def run_coverage(rows: int, databases: Sequence[str]) -> list[str]:
    """Measure coverage and gaps; the arguments are those of :func:`run_bars`, and the answer what it took."""
    frame = make_bars(rows)
    told: list[str] = []
    for name in databases:
        with _place(name) as place:
            told += coverage.measure(place, frame, "SQLite" if name == "sqlite" else "PostgreSQL")
    return told


def run_views(rows: int, databases: Sequence[str]) -> list[str]:
    """Measure the first paint of the views; the arguments are those of :func:`run_bars`."""
    told: list[str] = []
    for name in databases:
        with _place(name) as place:
            told += views.measure(place, rows, "SQLite" if name == "sqlite" else "PostgreSQL")
    return told


def run_runs(rows: int, databases: Sequence[str]) -> list[str]:
    """Measure what reads runs; the arguments are those of :func:`run_bars`."""
    told: list[str] = []
    for name in databases:
        with _place(name) as place:
            told += runs.measure(place, rows, "SQLite" if name == "sqlite" else "PostgreSQL")
    return told


def run_events(rows: int, rounds: int, databases: Sequence[str]) -> tuple[list[Row], list[str]]:
    """Measure what moves events; the arguments are those of :func:`run_bars`.

    Returns
    -------
    tuple of list of Row and list of str
        The table, and how long one append takes.
    """
    given = events.make_events(rows)
    table: list[Row] = []
    medians = []
    for name in databases:
        driver = events.DRIVERS[name]
        with _place(name) as place:
            table += _measured(events.appends(driver), place, given, rounds)
            medians.append(f"{driver.database} {events.median_append(place(), given) * 1000:.2f} ms")
            filled = place()
            events.fill(filled, given, driver)
            table += _measured(events.reads(driver), itertools.repeat(filled).__next__, given, rounds)
    return table, medians


def _measured(cases: Sequence[Case[S]], place: Callable[[], str], source: S, rounds: int) -> list[Row]:
    lines = [Row(case.what, case.peer, case.goal) for case in cases]
    for _ in range(rounds):
        for line, case in zip(lines, cases, strict=True):
            line.pairs.append(case.measure(place(), source))
    return lines


class _place:
    """New stores, one after the other."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> Callable[[], str]:
        self.folder = tempfile.TemporaryDirectory(prefix="walle-bench-")
        folder = Path(self.folder.name)
        places: Iterator[str] = sqlite.places(folder) if self.name == "sqlite" else postgresql.places(folder)
        self.places = places
        return lambda: next(places)

    def __exit__(self, *_: object) -> None:
        close = getattr(self.places, "close", None)
        if close is not None:
            close()
        self.folder.cleanup()


def import_seconds(module: str, rounds: int = 7) -> float:
    """Import a module in a new interpreter, several times, and return the shortest time."""
    command = [sys.executable, "-c", f"import {module}"]
    return min(seconds(lambda: subprocess.run(command, check=True)) for _ in range(rounds))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--what", choices=WHAT, action="append")
    options = parser.parse_args(arguments)
    gc.collect()
    gc.freeze()  # what was there before is not looked at again before each measured call
    try:
        _run(options)
    finally:
        gc.unfreeze()
    return 0


def _run(options: argparse.Namespace) -> None:
    databases, what = options.database or ["sqlite", "postgresql"], options.what or WHAT
    rows: list[Row] = []
    told: list[str] = []
    medians: list[str] = []
    if "bars" in what:
        rows += run_bars(options.rows, options.rounds, databases)
    if "ingest" in what:
        table, told = run_ingest(options.rows, options.rounds, databases)
        rows += table
    if "coverage" in what:
        told += run_coverage(options.rows, databases)
    if "events" in what:
        table, medians = run_events(options.rows, options.rounds, databases)
        rows += table
    if "audit" in what:
        told += audit.measure(options.rows)
    if "runs" in what:
        told += run_runs(options.rows, databases)
    if "views" in what:
        told += run_views(options.rows, databases)
    print(f"{options.rows:,} {' and '.join(what)}, median of {options.rounds} rounds; below 1 WallE is the faster one,")
    print("1.25 is 0.8 of the peer's rate, 1.67 is 0.6 of it\n")
    with pl.Config(
        tbl_formatting="ASCII_MARKDOWN",
        tbl_hide_column_data_types=True,
        tbl_hide_dataframe_shape=True,
        tbl_rows=-1,
        tbl_cols=-1,
        tbl_width_chars=200,
        fmt_str_lengths=100,
    ):
        if rows:
            print(pl.DataFrame([row.cells() for row in rows]))
    if told:
        print("", *told, sep="\n")
    if medians:
        print(f"\none store.events.append, median: {', '.join(medians)} (goal: under 3 ms)")
    print(f"\nimport walle: {import_seconds('walle'):.2f} s; import polars alone: {import_seconds('polars'):.2f} s")


if __name__ == "__main__":
    raise SystemExit(main())
