"""``store.bars``, generated from `walle.repositories.bars.BarRepository`: see `walle.generate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from walle.bars import IngestReport
from walle.bars.grid import CoverageGrid
from walle.calendars import Calendar
from walle.options import BarField, GridPeriod, OnInvalid
from walle.records import Bar
from walle.repositories.bars.repository import BarRepository
from walle.repositories.common import Time
from walle.store.part import Part

__all__ = ["Bars"]


class Bars(Part[BarRepository]):
    """The bars of a store.

    The examples are run on the sample data of :func:`walle.demo.load`.
    """

    _name = "bars"

    def ingest(
        self,
        source: object,
        *,
        symbol: str | None = None,
        timeframe: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        timezone: str | None = None,
        on_invalid: OnInvalid = "raise",
        provider: str | None = None,
        again: bool = False,
        progress: bool | None = None,
    ) -> IngestReport:
        """Store all new bars, with one transaction for each frame or file of any size.

        A bar that is already stored with the same values is a duplicate; with other values it is a conflict: the stored
        bar stays, and the table ``bar_conflicts`` records both versions. All bars of a series open at one phase of the
        clock (or on the grid of its symbol's calendar); a bar at another time is invalid. Each ingest of a frame or
        file is recorded: see :meth:`ingests`.

        Parameters
        ----------
        source : path, pattern or folder, or a list of those; Polars, pandas or Arrow frame; Bar, or iterable of Bar
            Files: CSV, JSON, Parquet, Feather and Arrow IPC, also compressed, in the layouts of freqtrade, Binance,
            ccxt, yfinance, Alpaca and Databento, or with any usual column names; they may be larger than memory. A
            file that was ingested before, with the same settings and under a name that means the same series, is
            skipped. A frame may have the same layouts; ours has the columns timestamp (aware, or naive with
            ``timezone``; the opening time), open, high, low, close, volume, and symbol and timeframe unless these are
            given. Other columns are ignored.
        symbol, timeframe : str, optional
            Of all rows; otherwise taken from a column or the file's name (``ETH_BTC-5m.feather``), and the timeframe
            also from the distances between the bars.
        columns : mapping, optional
            Source name to our name: ``{"date": "timestamp"}``; ``{"volume": None}``: it has no volume (stored as 0).
        timezone : str, optional
            The IANA zone of naive times.
        on_invalid : {"raise", "quarantine"}
            Refuse a whole source if a row is not a valid bar, or store its valid rows, and record and return the
            others (:meth:`rejected`).
        provider : str, optional
            Who delivered the bars; stored with the series, the ingest and conflicts.
        again : bool
            Also ingest files that were ingested before.
        progress : bool, optional
            Show a bar when it takes longer than a second. None: as ``WALLE_PROGRESS`` says, else in a terminal or a
            notebook.

        Returns
        -------
        IngestReport
            ``files`` has a row per file.

        Raises
        ------
        InputError
            For a source that cannot be read as bars, or whose bars lie as those of a longer timeframe do. Where a
            series is as sparse as that, a column ``timeframe`` and the argument together say so.
        InvalidBars
            If rows are not valid bars and ``on_invalid="raise"``; nothing was written.
        FilesRefused
            If some of several files were refused; the others are stored.

        Warns
        -----
        ContradictionWarning
            If the name of a file says another symbol, timeframe or time than its rows or the arguments, which count.

        Examples
        --------
        >>> bar = {"open": [138.2], "high": [139.4], "low": [137.9], "close": [139.0], "volume": [812.5]}
        >>> frame = pl.DataFrame({"timestamp": ["2025-12-03T00:00Z"], **bar})
        >>> store.bars.ingest(frame, symbol="SOL/USD", timeframe="1h", provider="notebook")
        IngestReport(1 rows: 1 inserted, 0 duplicates, 0 conflicts, 0 rejected)
        """
        return self._call_long(
            "ingest",
            progress,
            lambda core, told: core.ingest(
                source,
                symbol=symbol,
                timeframe=timeframe,
                columns=columns,
                timezone=timezone,
                on_invalid=on_invalid,
                provider=provider,
                again=again,
                progress=told,
            ),
        )

    def ingests(self) -> pl.DataFrame:
        """List all ingests.

        Returns
        -------
        polars.DataFrame
            id, source (file or frame), name and checksum (SHA-256) of the file, settings (JSON), provider, symbol and
            timeframe (null: several), rows, inserted, duplicates, conflicts, rejected, ingested_at (UTC); sorted by id.

        Examples
        --------
        >>> store.bars.ingests().select("name", "provider", "inserted").row(1)
        ('BTC_USD-1m.parquet', 'synthetic', 19952)
        """
        return self._call("ingests", lambda core: core.ingests())

    def rejected(self, ingest: int | None = None) -> pl.DataFrame:
        """List the rows that ``on_invalid="quarantine"`` refused.

        Parameters
        ----------
        ingest : int, optional
            The id of one ingest, as :meth:`ingests` lists it.

        Returns
        -------
        polars.DataFrame
            ingest, name (of the file), row (its position in the source, from 0), symbol, timeframe, timestamp (UTC),
            open, high, low, close, volume (null if unreadable), reason; sorted by ingest and row.

        Raises
        ------
        InputError
            If ``ingest`` is not an integer.

        Examples
        --------
        >>> wrong = store.bars.read("BTC/USD", "1m", "2025-12-02")[-1].with_columns(high=0.0)
        >>> report = store.bars.ingest(wrong, symbol="BTC/USD", timeframe="1m", on_invalid="quarantine")
        >>> store.bars.rejected()["reason"].item()
        'high is below low'
        """
        return self._call("rejected", lambda core: core.rejected(ingest))

    def read(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        columns: Sequence[str] | None = None,
        require_complete: bool = False,
    ) -> pl.DataFrame:
        """Read bars that opened in ``[start, end)``.

        Parameters
        ----------
        symbol : str or sequence of str
            One symbol, or several for one long frame.
        timeframe : str
        start, end : datetime, date, str or None
            The start is included, the end is not: ``end="2024-01-31"`` excludes that day. A date, or a text without a
            zone, is in UTC. None: from the first bar, or to the last.
        columns : sequence of str, optional
            Only these, in this order.
        require_complete : bool
            Raise if the range lacks a bar (an open end means a series' first or last bar) under the symbol's calendar
            (``store.bars.set_calendar``). Explained gaps (``store.bars.explain_gap``) are ignored.

        Returns
        -------
        polars.DataFrame
            timestamp (UTC, the opening time), open, high, low, close, volume (Float64); for several symbols, symbol
            comes first. Sorted by (symbol,) timestamp. Empty if no bar is in the range.

        Raises
        ------
        UnknownSymbol
            If a symbol has no stored bars of the timeframe; it suggests similar names.
        IncompleteBars
            If bars are missing and ``require_complete=True``; its ``.gaps`` lists them.
        UnknownTimeframe, InputError

        Warns
        -----
        EmptySeriesWarning
            If some of several symbols have no bar in the range; it names them.

        Examples
        --------
        >>> store.bars.read("BTC/USD", "1m", "2025-11-20", "2025-11-21").height
        1440
        """
        return self._call(
            "read",
            lambda core: core.read(symbol, timeframe, start, end, columns=columns, require_complete=require_complete),
        )

    def panel(
        self,
        symbols: str | Sequence[str],
        timeframe: str,
        field: BarField = "close",
        start: Time = None,
        end: Time = None,
    ) -> pl.DataFrame:
        """Read one field of several symbols side by side.

        Parameters
        ----------
        symbols : sequence of str
            Each only once.
        timeframe : str
        field : {"close", "open", "high", "low", "volume"}
        start, end : datetime, date, str or None
            As in :meth:`read`.

        Returns
        -------
        polars.DataFrame
            timestamp (UTC, the opening time), then a column of Float64 for each symbol in the given order. One row for
            each time at which any symbol has a bar, sorted; null where a symbol has none. Nothing is filled in.

        Raises
        ------
        UnknownSymbol
            If a symbol has no stored bars of the timeframe; it suggests similar names.
        UnknownTimeframe
        InputError
            For an unknown field, a symbol given twice, or one called timestamp.

        Warns
        -----
        EmptySeriesWarning
            As in :meth:`read`.

        Examples
        --------
        >>> store.bars.panel(["BTC/USD", "ETH/USD"], "1m", "close", "2025-11-20", "2025-11-21").columns
        ['timestamp', 'BTC/USD', 'ETH/USD']
        """
        return self._call("panel", lambda core: core.panel(symbols, timeframe, field, start, end))

    def scan(self, symbol: str | Sequence[str], timeframe: str, start: Time = None, end: Time = None) -> pl.LazyFrame:
        """Read the same as :meth:`read`, lazily: only the columns and rows that a query needs leave the database.

        Parameters
        ----------
        symbol, timeframe, start, end
            As in :meth:`read`.

        Returns
        -------
        polars.LazyFrame
            Each collect reads the database again, in batches. The database selects columns and applies ``head(n)``, but
            filters are applied here, batch by batch, so give the range as ``start`` and ``end``.

        Raises
        ------
        UnknownSymbol, UnknownTimeframe, InputError
            Immediately, not at the collect.

        Examples
        --------
        >>> lazy = store.bars.scan("ETH/USD", "1m", "2025-11-22", "2025-11-23")
        >>> lazy.select(pl.col("close").max()).collect().item()
        3368.67
        """
        return self._call("scan", lambda core: core.scan(symbol, timeframe, start, end))

    def count(self, symbol: str, timeframe: str, start: Time = None, end: Time = None) -> int:
        """Count bars that opened in ``[start, end)``; 0 for an unknown symbol.

        Raises
        ------
        UnknownTimeframe, InputError

        Examples
        --------
        >>> store.bars.count("ETH/USD", "1m", "2025-11-20", "2025-11-21")
        1439
        """
        return self._call("count", lambda core: core.count(symbol, timeframe, start, end))

    def latest(self, symbol: str, timeframe: str) -> Bar:
        """Return the last bar of a series.

        Raises
        ------
        UnknownSymbol
            If there is none.

        Examples
        --------
        >>> store.bars.latest("BTC/USD", "1m").close
        95256.5
        """
        return self._call("latest", lambda core: core.latest(symbol, timeframe))

    def series(self) -> pl.DataFrame:
        """List the stored series.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, first, last (UTC, opening times), bars; one row per series, sorted. Empty without bars.

        Examples
        --------
        >>> store.bars.series().select("symbol", "timeframe", "bars").rows()
        [('ACME', '1m', 3720), ('BTC/USD', '1m', 19952), ('ETH/USD', '1m', 19953), ('GLOBEX', '1m', 3720)]
        """
        return self._call("series", lambda core: core.series())

    def coverage(
        self,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
    ) -> pl.DataFrame:
        """Measure the coverage of every series.

        Parameters
        ----------
        symbol : str or sequence of str, optional
        timeframe : str, optional
            Only these series.
        start, end : datetime, date, str or None
            Opening times in ``[start, end)``: ``end="2024-01-31"`` excludes that day. None: from a series' first bar,
            or to its last.
        calendar : str or Calendar, optional
            When the market is open: ``24/7``, ``24/5`` (foreign exchange), a name of exchange_calendars such as
            ``XNYS``, or a calendar of :func:`walle.calendars.from_sessions`. By default each symbol's own
            (:meth:`set_calendar`), or 24/7 if none was set.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, first, last (UTC), bars, expected, missing, coverage (0 to 1; null if no bar is
            expected), gaps, longest_gap (in bars), unexpected (bars that open while the market is closed, or off the
            grid), explained (missing bars in explained gaps, see :meth:`explain_gap`), calendar (its name); sorted by
            symbol and timeframe. A series without stored bars has no row.

        Raises
        ------
        UnknownSymbol
            If a named symbol has no stored bars; it suggests similar names.
        UnknownCalendar, UnknownTimeframe, InputError
        ConfigurationError
            For an exchange, if the extra ``calendars`` is not installed.

        Warns
        -----
        MissingCalendarWarning
            Once for a symbol that has no calendar, if its bars lie as those of a market with hours do; it names the
            calendars that fit.

        Examples
        --------
        >>> store.bars.coverage("BTC/USD", "1m").select("bars", "expected", "missing", "gaps").row(0)
        (19952, 20160, 208, 8)
        """
        return self._call("coverage", lambda core: core.coverage(symbol, timeframe, start, end, calendar=calendar))

    def coverage_by(
        self,
        period: GridPeriod,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
    ) -> pl.DataFrame:
        """Measure the coverage of every series by day, week or month.

        Parameters
        ----------
        period : str
            ``day``, ``week`` (from Monday) or ``month``, in UTC.
        symbol, timeframe, start, end, calendar
            As in :meth:`coverage`.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, start (when the day, week or month begins, UTC), expected (bars that open in it),
            missing (of those), coverage (0 to 1, never null); sorted by symbol, timeframe and start. A period without
            expected bars has no row: while the market is closed, and, unless ``start`` and ``end`` include it, before a
            series' first bar or after its last. The sums over a series equal those of :meth:`coverage`.

        Raises
        ------
        UnknownSymbol
            If a named symbol has no stored bars; it suggests similar names.
        UnknownCalendar, UnknownTimeframe, InputError
        ConfigurationError
            For an exchange, if the extra ``calendars`` is not installed.

        Examples
        --------
        >>> store.bars.coverage_by("week", "BTC/USD", "1m")["missing"].to_list()
        [169, 38, 1]
        """
        return self._call(
            "coverage_by", lambda core: core.coverage_by(period, symbol, timeframe, start, end, calendar=calendar)
        )

    def coverage_grid(
        self,
        period: GridPeriod,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
    ) -> CoverageGrid:
        """Return the counts of :meth:`coverage_by` as a matrix of series and days, weeks or months, for drawing.

        Parameters
        ----------
        period : str
            ``day``, ``week`` (from Monday) or ``month``, in UTC.
        symbol, timeframe, start, end, calendar
            As in :meth:`coverage`.

        Returns
        -------
        walle.bars.grid.CoverageGrid
            A row for each series with stored bars, sorted by symbol and timeframe.

        Raises
        ------
        UnknownSymbol
            If a named symbol has no stored bars; it suggests similar names.
        UnknownCalendar, UnknownTimeframe, InputError
        ConfigurationError
            For an exchange, if the extra ``calendars`` is not installed.

        Examples
        --------
        >>> grid = store.bars.coverage_grid("day")
        >>> grid.series.height, grid.starts.len()
        (4, 15)
        """
        return self._call(
            "coverage_grid", lambda core: core.coverage_grid(period, symbol, timeframe, start, end, calendar=calendar)
        )

    def gaps(
        self,
        symbol: str,
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
    ) -> pl.DataFrame:
        """List the missing bars of a series, grouped into gaps.

        Parameters
        ----------
        symbol, timeframe : str
        start, end, calendar
            As in :meth:`coverage`.

        Returns
        -------
        polars.DataFrame
            start (the first missing opening time, UTC), end (when the last missing bar would have ended), missing (the
            number of bars), duration, cause (``outage``: all series of the same provider and timeframe whose markets
            were open have no bars, and there are at least two; ``single``: one bar between two that are stored;
            otherwise ``hole``), reason and author (of the latest explanation that covers the whole gap, or null);
            sorted by time. Hours without trading neither make a gap nor end one.

        Raises
        ------
        UnknownSymbol
            If the series has no stored bars; it suggests similar names.
        UnknownCalendar, UnknownTimeframe, InputError

        Warns
        -----
        MissingCalendarWarning
            As in :meth:`coverage`.

        Examples
        --------
        >>> store.bars.gaps("ETH/USD", "1m").filter(pl.col("missing") > 1).select("missing", "cause").rows()
        [(167, 'outage'), (35, 'outage')]
        """
        return self._call("gaps", lambda core: core.gaps(symbol, timeframe, start, end, calendar=calendar))

    def set_calendar(self, symbol: str | Sequence[str], calendar: str | Calendar | None) -> None:
        """Set when the market of a symbol is open.

        :meth:`coverage`, :meth:`gaps` and ``read(..., require_complete=True)`` use it from now on.

        Parameters
        ----------
        symbol : str or sequence of str
            Symbols need not have stored bars yet.
        calendar : str, Calendar or None
            ``24/7``, ``24/5``, a name of exchange_calendars such as ``XNYS`` (an alias stands for its calendar), or a
            calendar of :func:`walle.calendars.from_sessions`, whose sessions are stored in the database. None resets
            the symbol to 24/7.

        Raises
        ------
        UnknownCalendar, InputError
            Before anything is written.
        ConfigurationError
            For an exchange, if the extra ``calendars`` is not installed.

        Warns
        -----
        NoEffectWarning
            If no bars of a symbol are stored beside those of others (it suggests similar names), or if a calendar is
            removed that was never set.

        Examples
        --------
        >>> store.bars.set_calendar("ETH/USD", "24/5")
        >>> store.bars.calendars().filter(symbol="ETH/USD")["calendar"].item()
        '24/5'
        """
        self._call("set_calendar", lambda core: core.set_calendar(symbol, calendar))

    def calendars(self) -> pl.DataFrame:
        """List the calendars that were set.

        Returns
        -------
        polars.DataFrame
            symbol, calendar (its name), set_at (UTC); sorted by symbol. A symbol without a row has 24/7.

        Examples
        --------
        >>> store.bars.calendars().select("symbol", "calendar").rows()
        [('ACME', 'sample stocks'), ('GLOBEX', 'sample stocks')]
        """
        return self._call("calendars", lambda core: core.calendars())

    def explain_gap(
        self,
        symbol: str,
        start: Time,
        end: Time,
        reason: str,
        *,
        timeframe: str | None = None,
        author: str | None = None,
    ) -> None:
        """Record why bars that open in ``[start, end)`` are missing.

        Explanations are only added, never changed; of those that cover a whole gap, the latest one applies. The range
        may have no missing bars: a halt may be explained before its gap appears, and bars may arrive later.

        Parameters
        ----------
        symbol : str
        start, end : datetime, date or str
            Both are required; ``end="2024-01-31"`` excludes that day.
        reason : str
            1 to 2,000 characters.
        timeframe : str, optional
            Only this timeframe; by default all of the symbol's.
        author : str, optional
            Who gives the explanation; by default ``user@host``.

        Raises
        ------
        UnknownSymbol
            If the symbol (and timeframe) has no stored bars, so that none can be missing.
        InputError
            For an empty or open range, or a reason or author that is empty or too long.
        UnknownTimeframe

        Warns
        -----
        NoEffectWarning
            If no bar that the calendar expects is missing in the range, or if every gap in it reaches beyond it.

        Examples
        --------
        >>> store.bars.explain_gap("BTC/USD", "2025-11-22T03:12", "2025-11-22T05:59", "exchange maintenance")
        >>> store.bars.gaps("BTC/USD", "1m")["reason"].drop_nulls().to_list()
        ['exchange maintenance']
        """
        self._call(
            "explain_gap", lambda core: core.explain_gap(symbol, start, end, reason, timeframe=timeframe, author=author)
        )

    def explanations(self, symbol: str | Sequence[str] | None = None) -> pl.DataFrame:
        """List the explanations of missing bars.

        Parameters
        ----------
        symbol : str or sequence of str, optional
            Only these.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe (null: all), start, end (``[start, end)``, UTC), reason, author, explained_at (UTC);
            sorted by symbol and start; with the same start, the latest comes last.

        Raises
        ------
        InputError
            If ``symbol`` is neither a text nor a list of texts.

        Examples
        --------
        >>> store.bars.explain_gap("ETH/USD", "2025-11-22", "2025-11-23", "exchange maintenance", author="ann")
        >>> store.bars.explanations("ETH/USD").select("reason", "author").row(0)
        ('exchange maintenance', 'ann')
        """
        return self._call("explanations", lambda core: core.explanations(symbol))

    def conflicts(self, symbol: str | Sequence[str] | None = None, timeframe: str | None = None) -> pl.DataFrame:
        """List the bars that were ingested again with values other than the stored ones.

        Parameters
        ----------
        symbol : str or sequence of str, optional
        timeframe : str, optional

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, timestamp, stored_open..stored_volume (kept), open..volume (refused), source,
            detected_at (UTC); each refused version once, sorted by symbol, timeframe, timestamp and detected_at.

        Raises
        ------
        UnknownTimeframe, InputError

        Examples
        --------
        >>> other = store.bars.read("BTC/USD", "1m", "2025-12-02")[-1].with_columns(volume=4.0)
        >>> report = store.bars.ingest(other, symbol="BTC/USD", timeframe="1m")
        >>> store.bars.conflicts("BTC/USD").select("stored_volume", "volume").row(0)
        (3.6962, 4.0)
        """
        return self._call("conflicts", lambda core: core.conflicts(symbol, timeframe))
