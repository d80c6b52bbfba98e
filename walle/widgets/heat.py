"""Coverage as colours: the level of each cell, and strips of cells that need no script."""

from __future__ import annotations

from itertools import pairwise

import polars as pl

from walle.bars.grid import CoverageGrid
from walle.widgets.escape import picture

__all__ = ["COLOURS", "DARK", "LEVELS", "WEIGHTS", "levels", "share", "strip", "together", "totals"]

LEVELS = (
    "no bar expected",
    "complete",
    "99 % and more",
    "90 % and more",
    "50 % and more",
    "below 50 %",
    "nothing there",
)
"""The meaning of each level. A cell with a missing bar is never complete."""

WEIGHTS = (0.0, 1.0, 0.995, 0.95, 0.75, 0.25, 0.0)
"""The share that stands for a level when several cells share a spot. The spot has the level of their mean, and is never
complete if one of them is not."""

# from calm to loud, each darker than the previous one, so that they differ in greyscale too
COLOURS = ("#00000000", "#6aa5cc", "#f0c53c", "#e69012", "#d55e00", "#ad2750", "#6f1a63")
DARK = ("#00000000", "#2f6489", "#f7d154", "#f2a33a", "#ee6c2e", "#e64572", "#c77dff")

_HIGH = 12
_WIDE = 360
_SPOTS = 180  # of two pixels each, since a single pixel is hardly visible


def levels(cells: CoverageGrid) -> pl.Series:
    """Return the level of each cell: UInt8, row after row, an index into :data:`LEVELS`."""
    counted = pl.DataFrame({"expected": cells.expected, "missing": cells.missing})
    expected, missing = pl.col("expected").cast(pl.Int64), pl.col("missing").cast(pl.Int64)
    worse = [missing > 0, missing * 100 > expected, missing * 10 > expected, missing * 2 > expected]
    level = pl.sum_horizontal(1, *worse, missing == expected).cast(pl.UInt8)
    return counted.select(level=pl.when(expected > 0).then(level).otherwise(0).cast(pl.UInt8)).to_series()


def totals(cells: CoverageGrid) -> pl.DataFrame:
    """Sum up each series.

    Returns
    -------
    polars.DataFrame
        row (its index in the matrix), the columns of ``CoverageGrid.series``, expected, missing, coverage (0 to 1; null
        if nothing is expected); in the order of the matrix.
    """
    width = max(1, cells.starts.len())
    counted = pl.DataFrame({"expected": cells.expected, "missing": cells.missing}).cast(pl.Int64)
    placed = counted.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64) // width)
    sums = placed.group_by("row").agg(pl.col("expected", "missing").sum())
    series = cells.series.with_row_index("row").cast({"row": pl.Int64()})
    found = series.join(sums, on="row", how="left", maintain_order="left")
    found = found.with_columns(pl.col("expected", "missing").fill_null(0))
    there = (pl.col("expected") - pl.col("missing")) / pl.col("expected")
    return found.with_columns(coverage=pl.when(pl.col("expected") > 0).then(there))


def share(expected: int, missing: int) -> str:
    """Return the share of present bars in percent, rounded down: ``100 %`` only if nothing is missing."""
    if not expected:
        return "\u2013"
    if not missing:
        return "100 %"
    parts = (expected - missing) * 10_000 // expected
    return f"{parts // 100}.{parts % 100:02} %"


def together(cells: bytes) -> int:
    """Return the level of a spot that several cells share."""
    counts = [(cells.count(level), WEIGHTS[level]) for level in range(1, len(LEVELS))]
    total = sum(count for count, _ in counts)
    if total == counts[0][0]:
        return int(total > 0)
    mean = sum(count * weight for count, weight in counts) / total
    return 2 + (mean < 0.99) + (mean < 0.9) + (mean < 0.5) + (mean == 0)


def strip(row: bytes, words: str) -> str:
    """Return the levels of one series as a picture, an ``img`` element."""
    width = len(row)
    if not width:
        return ""
    if width > _SPOTS:
        ends = [at * width // _SPOTS for at in range(_SPOTS + 1)]
        row = bytes(together(row[start:end]) for start, end in pairwise(ends))
    # pixels are repeated by a whole factor, because viewers blur pictures that they enlarge
    line = b"".join(bytes([level]) * (_WIDE // len(row)) for level in row)
    return picture([line] * _HIGH, [_rgba(colour) for colour in COLOURS], words)


def _rgba(colour: str) -> tuple[int, int, int, int]:
    red, green, blue, alpha = bytes.fromhex(colour[1:].ljust(8, "f"))
    return red, green, blue, alpha
