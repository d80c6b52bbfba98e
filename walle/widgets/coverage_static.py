"""The static form of ``CoverageView``: a summary, a table, and a strip of colours for each series."""

from __future__ import annotations

import html
from datetime import datetime

import polars as pl

from walle.bars.grid import GRID_PERIODS, CoverageGrid
from walle.widgets.escape import html_table, moment, text_table
from walle.widgets.heat import levels, share, strip
from walle.widgets.view import Static

__all__ = ["end_of", "static_of", "summary_of"]

_ROWS = 24
_LINES = 8
_TITLES = {"symbol": "symbol", "timeframe": "timeframe", "share": "there", "missing": "missing", "expected": "expected"}
_KEY = (
    "Blue is complete; from yellow over orange and red to purple more is missing. Nothing is drawn where no bar is "
    "expected."
)


def summary_of(sums: pl.DataFrame) -> str:
    """Summarise series in a sentence; ``sums`` are their totals."""
    expected, missing = int(sums["expected"].sum()), int(sums["missing"].sum())
    holed = sums.filter(pl.col("missing") > 0).height
    parts = [f"{sums.height:,} series"]
    first, last = sums["first"].min(), sums["last"].max()
    if isinstance(first, datetime) and isinstance(last, datetime):
        parts.append(f"{moment(first)} to {moment(last)}")
    parts.append(f"{share(expected, missing)} there")
    parts.append(f"{missing:,} bars missing in {holed:,} series" if missing else "nothing is missing")
    return ", ".join(parts)


def static_of(summary: str, worst: pl.DataFrame, cells: CoverageGrid) -> Static:
    """Return the static form.

    Parameters
    ----------
    summary : str
    worst : polars.DataFrame
        The totals of the series, those with the lowest coverage first; ``row`` is their row in ``cells``.
    cells : CoverageGrid
    """
    head = f"CoverageView: {summary}"
    titled = f"<p><strong>Coverage</strong>: {html.escape(summary)}</p>"
    few = worst.head(_ROWS)
    mine = cells.take(few["row"].to_list())
    width = mine.starts.len()
    if few.is_empty() or not width:
        return Static(head, titled)
    shares = [share(*pair) for pair in few.select("expected", "missing").iter_rows()]
    table = few.with_columns(share=pl.Series(shares, dtype=pl.String)).select(list(_TITLES))
    flat = bytes(levels(mine).to_list())
    strips = [
        strip(flat[at * width : (at + 1) * width], f"{symbol} {timeframe}: {there} there, {missing:,} missing")
        for at, (symbol, timeframe, there, missing, _) in enumerate(table.iter_rows())
    ]
    span = f"{moment(mine.starts[0])} to {moment(end_of(mine.starts[-1], mine.period))}, by {mine.period}"
    page = html_table(table, _TITLES, pictures={span: strips})
    most = f"Of {worst.height:,} series the {_ROWS} of the least coverage are shown. " if worst.height > _ROWS else ""
    text = text_table(table.head(_LINES), list(_TITLES.values()))
    rest = f"\n... and {worst.height - _LINES:,} more" if worst.height > _LINES else ""
    return Static(f"{head}\n{text}{rest}", f"{titled}{page}<p><small>{most}{_KEY}</small></p>")


def end_of(start: datetime, period: str) -> datetime:
    """Return the end of the day, week or month that begins at ``start``."""
    ends = pl.Series([start], dtype=pl.Datetime("us", "UTC")).dt.offset_by(GRID_PERIODS[period])
    end: datetime = ends[0]
    return end
