"""Read a file, or a frame of any layout, as bars frames."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from walle.bars.extras import FurtherColumns
from walle.bars.files.columnar import open_columnar
from walle.bars.files.columns import Roles, assign
from walle.bars.files.convert import Converter, ReadOptions
from walle.bars.files.delimited import open_delimited
from walle.bars.files.guard import naming
from walle.bars.files.jsons import JsonSource
from walle.bars.files.layout import Layout, Unread
from walle.bars.files.names import NameFacts, name_facts
from walle.bars.files.said import one_of_names
from walle.bars.files.sniff import MAXIMUM_BYTES, Opened, open_file
from walle.bars.files.sources import PRICE_WORDS, FrameSource, Source, WideSource, grouped
from walle.bars.parse import to_polars
from walle.errors import InputError
from walle.timeframe import check_timeframe
from walle.validation import check_text

__all__ = ["BATCH_ROWS", "BarReader", "describe", "read_bars", "read_frame"]

BATCH_ROWS = 65_536
"""The default for the maximum number of rows in a frame."""

_LEAST_ROWS = 4096
_NO_SYMBOL = " It says no symbol either: symbol='...'."


class BarReader(Iterator[pl.DataFrame]):
    """An iterator of the bars frames of one source, made by :func:`read_bars`; it can be read once.

    Each frame has the columns of ``walle.frames.BARS`` - symbol, timeframe, timestamp (UTC, microseconds), open, high,
    low, close, volume (Float64) - and the source's rows in the source's order: row ``n`` of the source is row ``n`` of
    the concatenated frames. Values that cannot be read are null, so that ``check_bars`` refuses their rows.

    Use it in a ``with`` block, or call :meth:`close`, which removes the unpacked file (as does reading to the end).

    Attributes
    ----------
    layout : Layout
        The recognised layout.
    rows : int
        The number of rows read so far.
    unread : list of Unread
        Cells whose text is not a time or number; the first 1,000 of ``unread_cells``.
    unread_cells : int
    contradictions : list of str
        What the name of the file says otherwise than the rows are read: a sentence each.
    """

    def __init__(
        self,
        source: Source,
        converter: Converter,
        batch_rows: int,
        *,
        path: Path | None = None,
        opened: Opened | None = None,
    ) -> None:
        self._path, self._converter = path, converter
        self._close = weakref.finalize(self, opened.close) if opened is not None else None
        self._batch_rows = batch_rows
        rows = max(batch_rows, _LEAST_ROWS)
        self._batches = _filled(source.read(converter.roles.columns, rows), rows)
        self._slices: Iterator[pl.DataFrame] = iter(())
        first = self._next()
        if first is None:
            raise InputError(f"there are columns ({', '.join(source.names)}) and no row.")
        self._ahead: pl.DataFrame | None = first
        roles = converter.roles
        self.layout = Layout(
            path=path,
            format=opened.format if opened is not None else "frame",
            compression=opened.compression if opened is not None else None,
            name=roles.layout,
            symbol=converter.symbol,
            symbol_from=converter.symbol_from,
            timeframe=converter.timeframe,
            timeframe_from=converter.timeframe_from,
            time=converter.time.encoding or "none yet",
            timezone=converter.wanted.timezone,
            columns=MappingProxyType(roles.mapping),
            ignored=roles.ignored,
        )

    def __iter__(self) -> Self:
        """Return itself: a source is read once."""
        return self

    def __next__(self) -> pl.DataFrame:
        """Return the next frame.

        Raises
        ------
        InputError
            If the source cannot be read; the message names the file.
        StopIteration
            At the end.
        """
        while (frame := next(self._slices, None)) is None:
            bars, self._ahead = self._ahead, None
            try:
                with naming(self._path):
                    bars = bars if bars is not None else self._next()
            except BaseException:
                self.close()
                raise
            if bars is None:
                self.close()
                raise StopIteration
            self._slices = bars.iter_slices(self._batch_rows)
        return frame

    def _next(self) -> pl.DataFrame | None:
        batch = next(self._batches, None)
        return None if batch is None else self._converter.convert(batch)

    @property
    def rows(self) -> int:
        """The number of rows read so far."""
        return self._converter.rows

    @property
    def unread(self) -> list[Unread]:
        """Cells that could not be read, the first 1,000 of them."""
        return self._converter.unread

    @property
    def unread_cells(self) -> int:
        """The number of cells so far that could not be read."""
        return self._converter.unread_cells

    @property
    def contradictions(self) -> list[str]:
        """What the name of the file says otherwise than the rows are read."""
        return self._converter.contradictions

    def close(self) -> None:
        """Stop reading and remove the unpacked file; a second call has no effect."""
        self._ahead, self._batches, self._slices = None, iter(()), iter(())
        if self._close is not None:
            self._close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the reader."""
        self.close()


def read_bars(
    path: str | Path,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    timezone: str | None = None,
    batch_rows: int = BATCH_ROWS,
    further: FurtherColumns | None = None,
    maximum_bytes: int = MAXIMUM_BYTES,
) -> BarReader:
    """Read a file of bars in any known layout, in bounded memory.

    CSV (also with ``;``, tab or ``|``), JSON, Parquet, Feather and Arrow IPC, also inside gzip, bzip2, xz, zstd or zip;
    recognised by the content first and by the ending second.

    Parameters
    ----------
    path : str or Path
    symbol : str, optional
        For all rows. By default it comes from a column, else from the file name (``ETH_BTC-5m``,
        ``BTCUSDT-1m-2024-01``).
    timeframe : str, optional
        For all rows. By default it comes from a column or the file name, else from the distances between the bars.
    columns : mapping, optional
        Source name to our name: ``{"date": "timestamp"}``; ``{"volume": None}`` means that there is no volume (it is 0
        then). The columns of a file without a header are ``column_1`` and so on.
    timezone : str, optional
        The IANA zone of naive times. If the times have a zone, it is the zone in which bars of a day or longer open at
        midnight.
    batch_rows : int
        The maximum number of rows in a frame.
    further : FurtherColumns, optional
        What is kept of columns that are no part of a bar; the frames then have a column ``extra``.
    maximum_bytes : int
        The maximum size of an unpacked file.

    Returns
    -------
    BarReader
        An iterator of frames with the columns of ``BARS``; its ``layout`` describes the recognised layout.

    Raises
    ------
    InputError
        If the file cannot be read as bars: at once if its beginning shows that, else during iteration.
    UnknownTimeframe
        For an unknown ``timeframe``.

    Examples
    --------
    >>> with read_bars("BTCUSDT-1m-2024-01.zip") as bars:  # doctest: +SKIP
    ...     frames = list(bars)
    """
    wanted = _read_options(symbol, timeframe, timezone, batch_rows)
    if not isinstance(path, str | Path):
        raise InputError(f"{path!r} is no path. find_files() lists the files of a folder, a pattern or a list.")
    file = Path(path).expanduser()
    with naming(file):
        opened = open_file(file, maximum_bytes)
        try:
            source = _source(opened)
            facts = one_of_names([*map(name_facts, opened.stems)])
            if facts.scheme == "freqtrade" and source.hint != "yfinance":
                source.hint = "freqtrade"
            roles = _roles(source, wanted, facts, columns)
            converter = Converter(roles, wanted, facts, further, parse=opened.format in ("csv", "json"))
            return BarReader(source, converter, batch_rows, path=file, opened=opened)
        except BaseException:
            opened.close()
            raise


def read_frame(
    source: object,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    timezone: str | None = None,
    batch_rows: int = BATCH_ROWS,
    further: FurtherColumns | None = None,
) -> BarReader:
    """Read a frame of any known layout, as :func:`read_bars` reads a file.

    Parameters
    ----------
    source : polars, pandas or Arrow frame
        A pandas frame may have columns of two levels, price and ticker, as yfinance returns for several tickers.
    symbol, timeframe, columns, timezone, batch_rows, further
        As in :func:`read_bars`.

    Returns
    -------
    BarReader

    Raises
    ------
    InputError
        If the frame cannot be read as bars.
    UnknownTimeframe
        For an unknown ``timeframe``.
    """
    wanted = _read_options(symbol, timeframe, timezone, batch_rows)
    with naming(None):
        levels = getattr(getattr(source, "columns", None), "nlevels", 1)
        table: Source = _two_levels(source) if levels > 1 else FrameSource(to_polars(source))
        facts = NameFacts()
        return BarReader(table, Converter(_roles(table, wanted, facts, columns), wanted, facts, further), batch_rows)


def describe(
    path: str | Path,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    timezone: str | None = None,
) -> Layout:
    """Return the layout that :func:`read_bars` recognises from the first rows of a file.

    Parameters
    ----------
    path, symbol, timeframe, columns, timezone
        As in :func:`read_bars`.

    Raises
    ------
    InputError
        If the file cannot be read as bars.
    """
    with read_bars(path, symbol=symbol, timeframe=timeframe, columns=columns, timezone=timezone) as bars:
        return bars.layout


def _filled(batches: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Join small batches: the first one must have enough rows to recognise the time format and the timeframe."""
    held: list[pl.DataFrame] = []
    for batch in batches:
        if held and sum(part.height for part in held) + batch.height > rows:
            yield pl.concat(held, how="vertical_relaxed")
            held = []
        held.append(batch)
    if any(part.height for part in held):
        yield pl.concat(held, how="vertical_relaxed")


def _read_options(symbol: str | None, timeframe: str | None, timezone: str | None, batch_rows: int) -> ReadOptions:
    if symbol is not None:
        check_text(symbol, "symbol", maximum=128)
    if timezone is not None and not (isinstance(timezone, str) and timezone):
        raise InputError(f"timezone={timezone!r} is not the name of an IANA zone, such as 'America/New_York'.")
    if timezone is not None:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise InputError(
                f"timezone={timezone!r} is no IANA zone. Write 'UTC', 'Europe/London', 'America/New_York'."
            ) from None
    if not isinstance(batch_rows, int) or batch_rows < 1:
        raise InputError(f"batch_rows={batch_rows!r} is no number of rows.")
    return ReadOptions(symbol, None if timeframe is None else check_timeframe(timeframe), timezone)


def _source(opened: Opened) -> Source:
    if opened.format == "csv":
        return open_delimited(opened.path)
    if opened.format == "json":
        return JsonSource(opened.path)
    return open_columnar(opened)


def _roles(source: Source, wanted: ReadOptions, facts: NameFacts, columns: Mapping[str, str | None] | None) -> Roles:
    """Assign the columns, and report a missing symbol together with missing columns.

    Raises
    ------
    InputError
        If a column or the symbol is missing.
    """
    unnamed = wanted.symbol is None and facts.symbol is None
    try:
        roles = assign(source.names, header=source.header, columns=columns, first=source.first, hint=source.hint)
    except InputError as error:
        silent = unnamed and not any(word in name.lower() for name in source.names for word in ("symbol", "ticker"))
        raise InputError(f"{error}{_NO_SYMBOL if silent else ''}") from None
    if unnamed and roles.symbol is None:
        if facts.kind is not None:
            raise InputError(
                f"by its name this holds no traded prices but {facts.kind}; under the pair's own symbol it would pass "
                f"for them. Say a symbol: symbol='...{facts.kind}'."
            )
        raise InputError(
            "which symbol? No column says it, and the file name is of no known form (ETH_BTC-5m, BTCUSDT-1m-2024-01): "
            "symbol='...'."
        )
    return roles


def _two_levels(source: Any) -> Source:
    """Read a pandas frame with columns of two levels, price and ticker, as a long table.

    Raises
    ------
    InputError
        For other levels, or without an index.
    """
    levels = [[str(key[level]) for key in source.columns] for level in range(source.columns.nlevels)]
    prices = [{name.lower() for name in level} <= PRICE_WORDS for level in levels]
    if len(levels) != 2 or not any(prices):
        raise InputError("the pandas frame has columns of several levels, which are not price and ticker.")
    fields, tickers = levels if prices[0] else reversed(levels)
    flat = source.copy(deep=False)
    flat.columns = [f"{field} {ticker}" for field, ticker in zip(fields, tickers, strict=True)]
    flat.columns.name = None
    frame = to_polars(flat)
    names = frame.columns
    time = next((name for name in names if name not in set(flat.columns)), None)
    if time is None:
        raise InputError("the pandas frame has no index of times.")
    return WideSource(FrameSource(frame), time, grouped(fields, tickers, flat.columns))
