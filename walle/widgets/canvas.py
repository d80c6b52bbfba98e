"""The interactive parts that are drawn on a canvas: the heat map of coverage, and the candles around a gap.

This module requires ipywidgets and anywidget; views import it when they are displayed.
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
    """Return the levels of cells in the form for the page: one byte per cell, row after row, compressed."""
    if not cells.expected.len():
        return b""
    raw = levels(cells).to_arrow().buffers()[1].to_pybytes()
    # higher levels of zlib take ten times as long to save a few percent
    return zlib.compress(raw[: cells.expected.len()], 1)


class HeatMap(Messages):
    """A heat map of series by time, coloured by coverage; mouse and keyboard move and zoom it.

    Its messages are ``hover`` and ``open`` (``row`` and ``column`` of a cell; without ``column`` for a whole series)
    and ``span`` (``days``: the number of visible days). :meth:`answer` sends the text for a ``hover``.
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

    def show(self, cells: CoverageGrid, sums: pl.DataFrame, data: bytes, label: str) -> None:
        """Show cells.

        Parameters
        ----------
        cells : CoverageGrid
        sums : polars.DataFrame
            The totals of their series.
        data : bytes
            The result of :func:`packed_levels`.
        label : str
            The description for screen readers.
        """
        names = sums.select("symbol", "timeframe").iter_rows()
        with self.hold_sync():
            self.names = [[text_of(symbol, _NAME), text_of(timeframe, _NAME)] for symbol, timeframe in names]
            self.shares = [share(*pair) for pair in sums.select("expected", "missing").iter_rows()]
            self.columns, self.period, self.label = cells.starts.len(), cells.period, text_of(label)
            self.first = to_microseconds(cells.starts[0]) / 1000 if cells.starts.len() else 0.0
            self.data, self.selected = data, -1

    def answer(self, row: int, column: int, text: str) -> None:
        """Send the page the text for a cell."""
        self.send({"kind": "told", "row": row, "column": column, "text": text})


class Candles(Messages):
    """The candles before and after a gap, with a band for the gap between them."""

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
            As ``store.bars.read`` returns them.
        missing : int
            The number of missing bars between them.
        band : str
            The text on the band.
        label : str
            The description for screen readers.
        """
        with self.hold_sync():
            self.before, self.after = _candles(before), _candles(after)
            self.missing, self.band, self.label = missing, text_of(band), text_of(label)


def _candles(bars: pl.DataFrame) -> list[list[Any]]:
    """Return the drawn values of each bar: time as text, open, high, low and close, without infinities for JSON."""
    prices = bars.select("timestamp", *PRICES).iter_rows()
    return [[moment(time), *values] for time, *values in prices if all(math.isfinite(value) for value in values)]
