"""The interface between bar readers and their sources: column names, and batches of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import polars as pl

from walle.errors import InputError

__all__ = ["PRICE_WORDS", "FrameSource", "Source", "WideSource", "grouped", "once"]

PRICE_WORDS = {"open", "high", "low", "close", "adj close", "volume"}
"""The names that yfinance uses for the columns of a ticker."""

_TICKER = "Ticker"


def once(names: Sequence[str]) -> list[str]:
    """Return names of columns, of which no two may be the same.

    Raises
    ------
    InputError
    """
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"two columns have the name {twice[0]!r}. Rename one: which is meant cannot be told.")
    return list(names)


def grouped(fields: Iterable[str], tickers: Iterable[str], names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the columns of each ticker by their fields, from the field, the ticker and the name of each column."""
    groups: dict[str, dict[str, str]] = {}
    for price, ticker, name in zip(fields, tickers, names, strict=True):
        groups.setdefault(ticker, {})[price] = name
    return groups


class Source(Protocol):
    """A table that is read once, in batches.

    Attributes
    ----------
    names : list of str
        The names of its columns; ``column_1`` and so on without a header.
    header : bool
        Whether the source names its columns.
    first : list of object
        The cells of the first row, if they are known before reading.
    hint : str or None
        The layout that the form of the source suggests.
    """

    names: list[str]
    header: bool
    first: list[object]
    hint: str | None

    def read(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Yield frames of these columns with at most ``rows`` rows each, in the source's order."""
        ...


@dataclass(slots=True)
class FrameSource:
    """A frame in memory."""

    frame: pl.DataFrame
    header: bool = True
    hint: str | None = None
    first: list[object] = field(default_factory=list)
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Take the names from the frame."""
        self.names = self.frame.columns

    def read(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Yield slices of the frame."""
        yield from self.frame.select(columns).iter_slices(rows)


@dataclass(slots=True)
class WideSource:
    """A table with a group of columns for each ticker, read as a long table.

    A row in which a ticker has no value at all is not a bar of that ticker: the table has a row wherever any ticker has
    a bar.

    Parameters
    ----------
    inner : Source
    time : str
        The column of times.
    tickers : dict of str to dict
        For each ticker: field name to column name.
    """

    inner: Source
    time: str
    tickers: Mapping[str, Mapping[str, str]]
    header: bool = True
    hint: str | None = "yfinance"
    first: list[object] = field(default_factory=list)
    names: list[str] = field(init=False)

    def __post_init__(self) -> None:
        """Name the columns of the long table."""
        fields = dict.fromkeys(name for group in self.tickers.values() for name in group)
        self.names = [self.time, *fields, _TICKER]

    def read(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Yield the rows of each ticker, one ticker after the other within a batch."""
        wanted = [name for name in columns if name not in (self.time, _TICKER)]
        taken = [group[name] for group in self.tickers.values() for name in wanted if name in group]
        for batch in self.inner.read([self.time, *taken], max(1, rows // len(self.tickers))):
            parts = [self._part(batch, ticker, group, wanted) for ticker, group in self.tickers.items()]
            yield pl.concat(parts, how="vertical_relaxed").select(columns)

    def _part(self, batch: pl.DataFrame, ticker: str, group: Mapping[str, str], wanted: Sequence[str]) -> pl.DataFrame:
        cells = [pl.col(group[name]).alias(name) if name in group else pl.lit(None).alias(name) for name in wanted]
        part = batch.select(self.time, *cells, pl.lit(ticker).alias(_TICKER))
        absent = [
            pl.col(name).is_null() | (pl.col(name).is_nan() if part.schema[name].is_float() else False)
            for name in wanted
        ]
        return part.filter(~pl.all_horizontal(absent)) if len(self.tickers) > 1 else part
