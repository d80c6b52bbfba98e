"""The recognised layout of a source of bars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

__all__ = ["Layout", "Unread"]


@dataclass(frozen=True, slots=True)
class Unread:
    """A cell whose text is not a time or number; it is null in the frame, and its row is refused.

    Parameters
    ----------
    row : int
        The position of the row in the source, from 0.
    column : str
        The column's name in the source.
    text : str
    """

    row: int
    column: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The layout of a source of bars, recognised before its rows are validated.

    Parameters
    ----------
    path : Path or None
        None for a frame.
    format : {"csv", "json", "parquet", "arrow", "arrow stream", "feather 1", "frame"}
    compression : {"gzip", "bz2", "xz", "zstd", "zip"} or None
    name : {"walle", "freqtrade", "binance", "ccxt", "yfinance", "alpaca", "databento", "generic"}
    symbol, timeframe : str or None
        The value for all rows; None if a column holds it.
    symbol_from, timeframe_from : {"argument", "name", "column", "spacing"}
        Where the value comes from; ``spacing`` stands for the distances between the bars.
    time : str
        The format of times, such as ``ms since 1970``.
    timezone : str or None
        The zone that the caller passed.
    columns : mapping of str to str
        Source name to our name.
    ignored : tuple of str
        Columns that are not used.
    """

    path: Path | None
    format: str
    compression: str | None
    name: str
    symbol: str | None
    symbol_from: str
    timeframe: str | None
    timeframe_from: str
    time: str
    timezone: str | None = None
    columns: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ignored: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Describe the layout in one line."""
        packed = f" in {self.compression}" if self.compression else ""
        symbol = f"{self.symbol} (by {self.symbol_from})" if self.symbol else "symbols by column"
        timeframe = f"{self.timeframe} (by {self.timeframe_from})" if self.timeframe else "timeframes by column"
        volume = "" if "volume" in self.columns.values() else ", no volume"
        ignored = f"; left alone: {', '.join(self.ignored)}" if self.ignored else ""
        zone = f" in {self.timezone}" if self.timezone else ""
        source = f"{self.name} layout, {self.format}{packed}"
        return f"{source}; {symbol}, {timeframe}; times: {self.time}{zone}{volume}{ignored}"
