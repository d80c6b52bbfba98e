"""The interactive parts that are drawn on a canvas: the heat map of coverage, and the candles around a gap.

Importing this module needs ipywidgets and anywidget; views import it when they are shown.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import polars as pl
import traitlets

from walle.bars.grid import CoverageGrid
from walle.enums import PRICES
from walle.validation import to_microseconds
from walle.widgets.escape import moment, text_of
from walle.widgets.heat import COLOURS, DARK, LEVELS, WEIGHTS, levels, share
from walle.widgets.parts import Messages, script

__all__ = ["Candles", "HeatMap", "packed_levels"]

_NAME = 60


def packed_levels(cells: CoverageGrid) -> bytes:
    """Return the levels of cells as the page takes them: a byte a cell, row after row, compressed."""
    if not cells.expected.len():
        return b""
    raw = levels(cells).to_arrow().buffers()[1].to_pybytes()
    # level 1 of zlib: a higher one takes ten times as long for a few percent
    return zlib.compress(raw[: cells.expected.len()], 1)


class HeatMap(Messages):
    """Series by time, coloured by coverage, moved and zoomed by mouse and keyboard.

    Its messages are ``hover`` and ``open`` (``row`` and ``column`` of a cell; no ``column`` where a series was meant)
    and ``span`` (``days``: how many are seen). :meth:`answer` gives the words for a ``hover``.
    """

    _esm = script("map.js")
    data = traitlets.Bytes(b"").tag(sync=True)
    names: Any = traitlets.List().tag(sync=True)
    shares: Any = traitlets.List().tag(sync=True)
    columns = traitlets.Int(0).tag(sync=True)
    first = traitlets.Float(0.0).tag(sync=True)
    period = traitlets.Unicode("day").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    levels: Any = traitlets.List(list(LEVELS)).tag(sync=True)
    weights: Any = traitlets.List(list(WEIGHTS)).tag(sync=True)
    light: Any = traitlets.List(list(COLOURS)).tag(sync=True)
    dark: Any = traitlets.List(list(DARK)).tag(sync=True)

    def show(self, cells: CoverageGrid, told: pl.DataFrame, data: bytes, label: str) -> None:
        """Show cells.

        Parameters
        ----------
        cells : CoverageGrid
        told : polars.DataFrame
            The totals of their series.
        data : bytes
            Of :func:`packed_levels`.
        label : str
            What a screen reader says of the whole.
        """
        names = told.select("symbol", "timeframe").iter_rows()
        with self.hold_sync():
            self.names = [[text_of(symbol, _NAME), text_of(timeframe, _NAME)] for symbol, timeframe in names]
            self.shares = [share(*pair) for pair in told.select("expected", "missing").iter_rows()]
            self.columns, self.period, self.label = cells.starts.len(), cells.period, text_of(label)
            self.first = to_microseconds(cells.starts[0]) / 1000 if cells.starts.len() else 0.0
            self.data, self.selected = data, -1

    def answer(self, row: int, column: int, text: str) -> None:
        """Tell the page what a cell holds."""
        self.send({"kind": "told", "row": row, "column": column, "text": text})


class Candles(Messages):
    """The candles before and after a gap, which stands between them as a band."""

    _esm = script("candles.js")
    before: Any = traitlets.List().tag(sync=True)
    after: Any = traitlets.List().tag(sync=True)
    missing = traitlets.Int(0).tag(sync=True)
    band = traitlets.Unicode("").tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)

    def show(self, before: pl.DataFrame, after: pl.DataFrame, *, missing: int, band: str, label: str) -> None:
        """Show bars on both sides of a gap.

        Parameters
        ----------
        before, after : polars.DataFrame
            As ``store.bars.read`` gives them.
        missing : int
            How many bars are missing in between.
        band : str
            What is said of them.
        label : str
            What a screen reader says of the whole.
        """
        with self.hold_sync():
            self.before, self.after = _candles(before), _candles(after)
            self.missing, self.band, self.label = missing, text_of(band), text_of(label)


def _candles(bars: pl.DataFrame) -> list[list[Any]]:
    """Return what is drawn of each bar: its time as text, open, high, low and close; JSON knows no infinity."""
    prices = bars.select("timestamp", *PRICES).iter_rows()
    return [[moment(time), *values] for time, *values in prices if all(math.isfinite(value) for value in values)]
