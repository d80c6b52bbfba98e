"""Files of the same bars leave the same store, however the bars are cut into files and in whatever order they come."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

import walle
from tests.samples import START, bars
from walle.bars import ingest_source

ROWS = 120
_numbers = itertools.count()


def bars_of_three_series() -> dict[tuple[str, str], pl.DataFrame]:
    holes = (pl.int_range(pl.len()) % 7 > 1) | (pl.int_range(pl.len()) > 60)
    return {
        ("A", "1m"): bars(ROWS).filter(holes),
        ("B", "1h"): bars(ROWS, start=START + timedelta(minutes=30), minutes=60).filter(holes),
        ("A", "1d"): bars(ROWS, minutes=24 * 60),
    }


WHOLE = bars_of_three_series()
LONG = pl.concat(
    frame.select(pl.lit(symbol).alias("symbol"), pl.lit(timeframe).alias("timeframe"), pl.all())
    for (symbol, timeframe), frame in WHOLE.items()
)


@st.composite
def pieces(draw: st.DrawFn) -> list[pl.DataFrame]:
    """Cuts of a file, each stretched over its neighbours and maybe shuffled, in any order; together all of its rows."""
    cuts = sorted(draw(st.sets(st.integers(1, LONG.height - 1), max_size=5)))
    edges = [0, *cuts, LONG.height]
    parts = []
    for start, end in itertools.pairwise(edges):
        before, after = draw(st.integers(0, 90)), draw(st.integers(0, 90))
        part = LONG.slice(max(0, start - before), end - max(0, start - before) + after)
        parts.append(
            part.sample(fraction=1, shuffle=True, seed=draw(st.integers(0, 9))) if draw(st.booleans()) else part
        )
    return draw(st.permutations(parts))


@pytest.mark.parametrize("count", [4, pytest.param(12, marks=pytest.mark.thorough)])
def test_any_cut_of_a_file_leaves_the_same_store(store: walle.Store, address: str, tmp_path: Path, count: int) -> None:
    @settings(deadline=None, max_examples=count, derandomize=True)
    @given(parts=pieces(), page=st.sampled_from([9, 50, 100_000]), kind=st.sampled_from(["csv", "feather"]))
    def check(parts: list[pl.DataFrame], page: int, kind: str) -> None:
        prefix = f"run {next(_numbers)} "  # every example has symbols of its own in the one store
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ingest_source, "READ_ROWS", page)
            reports = [ingest(store, tmp_path / f"{prefix}{n}.{kind}", part, prefix) for n, part in enumerate(parts)]
        assert sum(report.inserted for report in reports) == LONG.height
        for (symbol, timeframe), frame in WHOLE.items():
            assert_frame_equal(store.bars.read(prefix + symbol, timeframe), frame, check_exact=True)

    check()
    kept = store.bars.ingests()
    assert kept["inserted"].sum() == store.bars.series()["bars"].sum()
    assert kept.height == len(list(tmp_path.glob("run *")))


def ingest(store: walle.Store, path: Path, part: pl.DataFrame, prefix: str) -> walle.IngestReport:
    part = part.with_columns(symbol=prefix + pl.col("symbol"))
    (part.write_csv if path.suffix == ".csv" else part.write_ipc)(path)
    report = store.bars.ingest(path)
    assert (report.rows, report.conflicts, report.rejected) == (part.height, 0, 0)
    return report
