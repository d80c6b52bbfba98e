"""The public methods for writing and reading bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.bars import IngestReport
from walle.bars.grid import CoverageGrid
from walle.bars.policy import IngestPolicy
from walle.calendars import Calendar
from walle.database import Database
from walle.options import Adjust, AllColumns, BarField, BarStamp, GridPeriod, OnConflict, OnInvalid, Unfinished
from walle.progress import Progress
from walle.records import Bar
from walle.repositories.bars.adjusting import AdjustedBars
from walle.repositories.bars.as_of import newest_token
from walle.repositories.bars.calendars import Calendars
from walle.repositories.bars.corrections import BarCorrections
from walle.repositories.bars.coverage import Coverage
from walle.repositories.bars.index import BarIndex
from walle.repositories.bars.ingest import BarIngest
from walle.repositories.bars.provenance import SeriesRecords
from walle.repositories.bars.providers import Providers
from walle.repositories.bars.read import StoredBars
from walle.repositories.bars.series import StoredSeries
from walle.repositories.common import Time
from walle.repositories.tokens import AsOf

__all__ = ["BarRepository"]


class BarRepository:
    """Bars of any number of series; the first write of a bar wins.

    The examples call the synchronous ``store`` with the sample data (:func:`walle.demo.load`); an engine awaits the
    same call on this repository.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._index = index = BarIndex(database)
        self._series = StoredSeries(database, index)
        self._calendars = Calendars(database, self._series)
        self._coverage = Coverage(database, self._series, self._calendars)
        self._reader = StoredBars(database, self._series, self._coverage)
        self._adjusted = AdjustedBars(database, self._reader)
        self._records = SeriesRecords(database)
        self._providers = Providers(database, self._series, self._records)
        self._ingest = BarIngest(database, index, self._records, self._providers)
        self._corrections = BarCorrections(database, index, self._series, self._records)

    async def ingest(
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
        on_conflict: OnConflict = "keep",
        reason: str | None = None,
        unfinished: Unfinished = "drop",
        clock_skew: timedelta = timedelta(seconds=5),
        stamp: BarStamp = "open",
        calendar: str | Calendar | None = None,
        extra: Sequence[str] | AllColumns | None = None,
        progress: Progress | None = None,
        session: AsyncSession | None = None,
    ) -> IngestReport:
        """Store all new bars, with one transaction for each frame or file of any size.

        A bar that is already stored with the same values is a duplicate; what happens to one with other values says
        ``on_conflict``. A stored bar is never changed: a correction is a further version of it (:meth:`versions`), and
        reads give the newest one. All bars of a series open at one phase of the clock (or on the grid of its symbol's
        calendar); a bar at another time is invalid, and so is one that opens before the stored bar before it has ended,
        or ends after the stored bar after it opens, unless a session of the calendar cuts it short. Weeks begin on
        Mondays, or on the one other day on which all of several first bars open; the periods of ``3d``, ``2w`` or
        ``3M`` begin where those of most first bars do, and later bars follow whole periods after them. Each ingest of a
        frame or file is recorded: see :meth:`ingests`.

        Parameters
        ----------
        source : path, pattern or folder, or a list of those; Polars, pandas or Arrow frame; Bar, or iterable of Bar
            Files: CSV, JSON, Parquet, Feather and Arrow IPC, also compressed, in the layouts of freqtrade, Binance,
            ccxt, yfinance, Alpaca and Databento, or with any usual column names; they may be larger than memory. A
            file that was ingested before, with the same settings and under a name that means the same series, is
            skipped. A frame may have the same layouts; ours has the columns timestamp (aware, or naive with
            ``timezone``; the opening time), open, high, low, close, volume, and symbol and timeframe unless these are
            given. Other columns are ignored unless ``extra`` names them; but one such as publisher_id, exchange or
            venue refuses the source if rows of one bar have several values in it.
        symbol, timeframe : str, optional
            Of all rows; otherwise taken from a column or the file's name (``ETH_BTC-5m.feather``), and the timeframe
            also from the distances between the bars.
        columns : mapping, optional
            Source name to our name: ``{"date": "timestamp"}``; ``{"volume": None}``: it has no volume (stored as 0). A
            further column may get any name: ``{"n": "trades"}``.
        timezone : str, optional
            The IANA zone of naive times.
        on_invalid : {"raise", "quarantine"}
            Refuse a whole source if a row is not a valid bar, or store its valid rows, and record and return the
            others (:meth:`rejected`).
        provider : str, optional
            Who delivered the bars; stored with the series, the ingest and conflicts. A series has one: a series without
            takes the first that an ingest names (logged, and listed by :meth:`providers`), and then refuses any other;
            an ingest that names none is taken.
        again : bool
            Also ingest files that were ingested before.
        on_conflict : {"keep", "raise", "correct"}
            Of a bar that is stored with other values, keep the stored ones, and both in :meth:`conflicts`; or refuse
            the whole source; or store the other values as a further version. The same holds inside a source, in its
            order.
        reason : str, optional
            Why the other values are right; required to correct, and refused otherwise.
        unfinished : {"drop", "raise", "keep"}
            A bar that has not ended (its session's end, by the symbol's calendar) is no fact yet. Leave it out, with a
            warning; or refuse the whole source; or store it as provisional: the next ingest replaces it by a further
            version, and ``read(..., require_complete=True)`` does not count it. Synthetic bars of the future need
            ``"keep"``.
        clock_skew : timedelta
            How far the source's clock may be ahead of the database's when it tells what has ended.
        stamp : {"open", "close"}
            What the timestamps are: when bars open, or when they end (exports of NautilusTrader and NinjaTrader). With
            ``close``, a bar opens its length before; one that the end of a session, a break or a weekend cut short
            opens where the calendar's grid says. A daily, weekly or monthly bar belongs to the session, week or month
            that ends then.
        calendar : str or Calendar, optional
            The calendar of the symbols, kept for those that have none, as :meth:`set_calendar` keeps it. By it, daily,
            weekly and monthly bars at an instant (22:00 UTC, midnight of another zone) get the date of their session;
            a week or month that its first or last session names, its first day.
        extra : list of str or "all", optional
            Further columns to keep beside OHLCV (``["vwap", "trades"]``): numbers, booleans, and texts (times become
            texts). They are read by name, as a part of each version. A bar that is stored without a column gets it as
            a further version; where a stored value differs, ``on_conflict`` decides. What is null or not asked for is
            not said: what is stored of it stays.
        progress : Progress, optional
            Receives how far the work has come.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        IngestReport
            ``files`` has a row per file.

        Raises
        ------
        InputError
            For a source that cannot be read as bars; if a symbol has another calendar than ``calendar``; if no bar
            opens with a session and one stands at the close of each (``stamp="close"`` says so); if two bars would get
            one opening time or date; or if the bars lie as those of a longer timeframe do (where a series is as sparse
            as that, a column ``timeframe`` and the argument together say so).
        UnknownCalendar
        InvalidBars
            If rows are not valid bars and ``on_invalid="raise"``; nothing was written. With quarantine too, if bars of
            the source lie closer to one another than their timeframe, or to those that another writer stores meanwhile.
        ConflictingBars, UnfinishedBars
            With ``on_conflict="raise"`` and ``unfinished="raise"``; nothing was written.
        OtherProvider
            If a series has another provider than ``provider``; nothing was written.
        RescaledBars
            If stored bars come again with all prices multiplied by one factor, as after a split; nothing was written.
        FilesRefused
            If some of several files were refused; the others are stored.

        Warns
        -----
        ContradictionWarning
            If the name of a file says another symbol, timeframe or time than its rows or the arguments, which count.
        UnfinishedBarsWarning
            If bars were left out because they have not ended.

        Examples
        --------
        >>> bar = {"open": [138.2], "high": [139.4], "low": [137.9], "close": [139.0], "volume": [812.5]}
        >>> frame = pl.DataFrame({"timestamp": ["2025-12-03T00:00Z"], **bar})
        >>> store.bars.ingest(frame, symbol="SOL/USD", timeframe="1h", provider="notebook")
        IngestReport(1 rows: 1 inserted, 0 duplicates, 0 conflicts, 0 rejected)
        """
        policy = IngestPolicy(
            on_invalid=on_invalid,
            on_conflict=on_conflict,
            reason=reason,
            unfinished=unfinished,
            clock_skew=clock_skew,
        )
        return await self._ingest.ingest(
            source,
            symbol,
            timeframe,
            columns,
            timezone,
            policy,
            provider,
            again,
            progress,
            session,
            stamp=stamp,
            calendar=calendar,
            extra=extra,
        )

    async def ingests(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """List all ingests.

        Parameters
        ----------
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            id, source (file, frame, records, accept, withdraw, or noticed: bars of another program), name and checksum
            (SHA-256) of the file, settings (JSON), provider, symbol and
            timeframe (null: several), rows, inserted, duplicates, conflicts, rejected, corrected, unfinished,
            ingested_at (UTC), reason, author; sorted by id, which is the order in which they were committed.

        Examples
        --------
        >>> store.bars.ingests().select("name", "provider", "inserted").row(1)
        ('BTC_USD-1m.parquet', 'synthetic', 19952)
        """
        return await self._records.ingests(session)

    async def rejected(self, ingest: int | None = None, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """List the rows that ``on_invalid="quarantine"`` refused.

        Parameters
        ----------
        ingest : int, optional
            The id of one ingest, as :meth:`ingests` lists it.
        session : AsyncSession, optional
            Read what its transaction sees.

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
        return await self._records.rejected(ingest, session)

    async def read(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        columns: Sequence[str] | None = None,
        require_complete: bool = False,
        as_of: AsOf = None,
        adjust: Adjust | None = None,
        session: AsyncSession | None = None,
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
            Only these, in this order; also further columns (:meth:`extra_columns`), null where a bar has none.
        require_complete : bool
            Raise if the range lacks a bar (an open end means a series' first or last bar) under the symbol's calendar
            (``store.bars.set_calendar``). Explained gaps (``store.bars.explain_gap``) are ignored.
        as_of : datetime, date or str, optional
            What was known at that time (a date or a text without a zone is in UTC), or at a token of :meth:`now`: bars
            and versions that came later are left out. Bars of which it is unknown when they came count always.
        adjust : {"splits", "all"}, optional
            Adjust bars that open before the ex-date of a recorded split, or of a split or cash dividend
            (``store.actions``); :mod:`walle.bars` has the rules. All recorded actions count (those known
            ``as_of``), also those after ``end``.
            None: as they are stored.
        session : AsyncSession, optional
            Read what its transaction sees.

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
        UnknownTimeframe
        InputError
            For a bad argument; with ``adjust="all"``, for a dividend that is not known to be in the currency of the
            prices, or is not below the close before it.

        Warns
        -----
        EmptySeriesWarning
            If some of several symbols have no bar in the range; it names them.
        UnrecordedWarning
            If of some bars it is unknown when they were stored.
        AdjustmentWarning
            If adjusted bars are not exact: a bar opens before an ex-date and ends after it, or the stored close before
            a dividend is missing or older than its last session.

        Examples
        --------
        >>> store.bars.read("BTC/USD", "1m", "2025-11-20", "2025-11-21").height
        1440
        """
        if adjust is not None:
            return await self._adjusted.read(
                adjust, symbol, timeframe, start, end, columns, require_complete, as_of, session
            )
        return await self._reader.read(symbol, timeframe, start, end, columns, require_complete, as_of, session)

    async def panel(
        self,
        symbols: str | Sequence[str],
        timeframe: str,
        field: BarField | str = "close",
        start: Time = None,
        end: Time = None,
        *,
        as_of: AsOf = None,
        adjust: Adjust | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read one field of several symbols side by side.

        Parameters
        ----------
        symbols : sequence of str
            Each only once.
        timeframe : str
        field : {"close", "open", "high", "low", "volume"}, or a further column
        start, end : datetime, date, str or None
            As in :meth:`read`.
        as_of : datetime, date or str, optional
            As in :meth:`read`.
        adjust : {"splits", "all"}, optional
            As in :meth:`read`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            timestamp (UTC, the opening time), then a column for each symbol in the given order: Float64, or the
            type of a further column. One row for each time at which any symbol has a bar, sorted; null where a symbol
            has none. Nothing is filled in.

        Raises
        ------
        UnknownSymbol
            If a symbol has no stored bars of the timeframe; it suggests similar names.
        UnknownTimeframe
        InputError
            For an unknown field, a symbol given twice, or one called timestamp; and with ``adjust`` as in :meth:`read`.

        Warns
        -----
        EmptySeriesWarning, AdjustmentWarning
            As in :meth:`read`.

        Examples
        --------
        >>> store.bars.panel(["BTC/USD", "ETH/USD"], "1m", "close", "2025-11-20", "2025-11-21").columns
        ['timestamp', 'BTC/USD', 'ETH/USD']
        """
        if adjust is not None:
            return await self._adjusted.panel(adjust, symbols, timeframe, field, start, end, as_of, session)
        return await self._reader.panel(symbols, timeframe, field, start, end, as_of, session)

    async def scan(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        columns: Sequence[str] | None = None,
        as_of: AsOf = None,
        adjust: Adjust | None = None,
    ) -> pl.LazyFrame:
        """Read the same as :meth:`read`, lazily: only the columns and rows that a query needs leave the database.

        Parameters
        ----------
        symbol, timeframe, start, end, columns, as_of
            As in :meth:`read`. Name further columns here, to select them.
        adjust : {"splits", "all"}, optional
            As in :meth:`read`, by the actions that are recorded at this call.

        Returns
        -------
        polars.LazyFrame
            Each collect reads the database again, as it is at one moment, in batches. The database selects columns and
            applies ``head(n)``, but filters are applied here, batch by batch, so give the range as ``start`` and
            ``end``.

        Raises
        ------
        UnknownSymbol, UnknownTimeframe, InputError
            Immediately, not at the collect.

        Warns
        -----
        AdjustmentWarning
            As in :meth:`read`.

        Examples
        --------
        >>> lazy = store.bars.scan("ETH/USD", "1m", "2025-11-22", "2025-11-23")
        >>> lazy.select(pl.col("close").max()).collect().item()
        3368.67
        """
        if adjust is not None:
            return await self._adjusted.scan(adjust, symbol, timeframe, start, end, columns, as_of)
        return await self._reader.scan(symbol, timeframe, start, end, columns, as_of)

    async def count(
        self,
        symbol: str,
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        as_of: AsOf = None,
        session: AsyncSession | None = None,
    ) -> int:
        """Count bars that opened in ``[start, end)``; 0 for an unknown symbol. For ``as_of`` see :meth:`read`.

        Raises
        ------
        UnknownTimeframe, InputError

        Examples
        --------
        >>> store.bars.count("ETH/USD", "1m", "2025-11-20", "2025-11-21")
        1439
        """
        return await self._reader.count(symbol, timeframe, start, end, as_of, session)

    async def latest(
        self,
        symbol: str,
        timeframe: str,
        *,
        as_of: AsOf = None,
        adjust: Adjust | None = None,
        session: AsyncSession | None = None,
    ) -> Bar:
        """Return the last bar of a series.

        Parameters
        ----------
        symbol : str
        timeframe : str
        adjust : {"splits", "all"}, optional
            As in :meth:`read`: by actions whose ex-date is after the bar.
        session : AsyncSession, optional
            Read what its transaction sees.

        Raises
        ------
        UnknownSymbol
            If there is none.
        UnknownTimeframe, InputError

        Warns
        -----
        AdjustmentWarning
            As in :meth:`read`.

        Examples
        --------
        >>> store.bars.latest("BTC/USD", "1m").close
        95256.5
        """
        if adjust is not None:
            return await self._adjusted.latest(adjust, symbol, timeframe, as_of, session)
        return await self._reader.latest(symbol, timeframe, as_of, session)

    async def series(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
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
        return await self._series.list(session)

    async def coverage(
        self,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
        as_of: AsOf = None,
        session: AsyncSession | None = None,
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
        as_of : datetime, date or str, optional
            As in :meth:`read`.
        session : AsyncSession, optional
            Read what its transaction sees.

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
        return await self._coverage.summary(symbol, timeframe, start, end, calendar, as_of, session)

    async def coverage_by(
        self,
        period: GridPeriod,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
        as_of: AsOf = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Measure the coverage of every series by day, week or month.

        Parameters
        ----------
        period : str
            ``day``, ``week`` (from Monday) or ``month``, in UTC.
        symbol, timeframe, start, end, calendar
            As in :meth:`coverage`.
        as_of : datetime, date or str, optional
            As in :meth:`read`.
        session : AsyncSession, optional
            Read what its transaction sees.

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
        counted = await self.coverage_grid(
            period, symbol, timeframe, start, end, calendar=calendar, as_of=as_of, session=session
        )
        return await self._database.in_thread(counted.frame)

    async def coverage_grid(
        self,
        period: GridPeriod,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
        as_of: AsOf = None,
        session: AsyncSession | None = None,
    ) -> CoverageGrid:
        """Return the counts of :meth:`coverage_by` as a matrix of series and days, weeks or months, for drawing.

        Parameters
        ----------
        period : str
            ``day``, ``week`` (from Monday) or ``month``, in UTC.
        symbol, timeframe, start, end, calendar
            As in :meth:`coverage`.
        as_of : datetime, date or str, optional
            As in :meth:`read`.
        session : AsyncSession, optional
            Read what its transaction sees.

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
        return await self._coverage.grid(period, symbol, timeframe, start, end, calendar, as_of, session)

    async def gaps(
        self,
        symbol: str,
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
        as_of: AsOf = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """List the missing bars of a series, grouped into gaps.

        Parameters
        ----------
        symbol, timeframe : str
        start, end, calendar
            As in :meth:`coverage`.
        as_of : datetime, date or str, optional
            As in :meth:`read`.
        session : AsyncSession, optional
            Read what its transaction sees.

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
        return await self._coverage.gaps(symbol, timeframe, start, end, calendar, as_of, session)

    async def set_calendar(
        self,
        symbol: str | Sequence[str],
        calendar: str | Calendar | None,
        *,
        session: AsyncSession | None = None,
    ) -> None:
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
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

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
        await self._calendars.set(symbol, calendar, session)

    async def calendars(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """List the calendars that were set.

        Parameters
        ----------
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            symbol, calendar (its name), set_at (UTC); sorted by symbol. A symbol without a row has 24/7.

        Examples
        --------
        >>> store.bars.calendars().select("symbol", "calendar").rows()
        [('ACME', 'sample stocks'), ('GLOBEX', 'sample stocks')]
        """
        return await self._calendars.list(session)

    async def set_provider(
        self,
        symbol: str,
        timeframe: str,
        provider: str,
        reason: str,
        *,
        author: str | None = None,
        session: AsyncSession | None = None,
    ) -> None:
        """Set who delivers a series from now on; earlier ingests and conflicts keep the provider that they named.

        Parameters
        ----------
        symbol, timeframe : str
        provider : str
            1 to 200 characters.
        reason : str
            Why it is another one; 1 to 2,000 characters.
        author : str, optional
            Who sets it; by default ``user@host``.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Raises
        ------
        UnknownSymbol
            If the series has no stored bars.
        UnknownTimeframe
        InputError
            If that is its provider already, or a text is empty or too long.

        Examples
        --------
        >>> store.bars.set_provider("BTC/USD", "1m", "kraken", "the synthetic feed has ended", author="ann")
        >>> store.bars.providers().filter(symbol="BTC/USD").select("provider", "previous", "author").row(0)
        ('kraken', 'synthetic', 'ann')
        """
        await self._providers.set(symbol, timeframe, provider, reason, author, session)

    async def providers(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """List who delivers each series, and how that changed.

        Parameters
        ----------
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, provider, previous (null: none was named before), reason, author, recorded_at (UTC);
            sorted by symbol and timeframe, and then in the order of the changes: the last row of a series is its
            provider now. The provider that the first ingest of a series named has nulls for the rest, until it is
            changed. A series without a provider has no row.

        Examples
        --------
        >>> store.bars.providers().select("symbol", "timeframe", "provider").row(0)
        ('ACME', '1m', 'synthetic')
        """
        return await self._providers.list(session)

    async def extra_columns(
        self,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        *,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """List the further columns of series, which ``ingest(extra=...)`` kept and ``read(columns=...)`` gives.

        Parameters
        ----------
        symbol : str or sequence of str, optional
        timeframe : str, optional
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, column, kind (integer, big integer, float, boolean, text: Int64, Int64, Float64, Boolean
            and String in frames); sorted.

        Raises
        ------
        UnknownSymbol
            If a symbol has no stored bars; it suggests similar names.
        UnknownTimeframe, InputError

        Examples
        --------
        >>> bar = {"open": [138.2], "high": [139.4], "low": [137.9], "close": [139.0], "volume": [812.5]}
        >>> frame = pl.DataFrame({"timestamp": ["2025-12-03T00:00Z"], **bar, "vwap": [138.6], "trades": [96]})
        >>> report = store.bars.ingest(frame, symbol="SOL/USD", timeframe="1h", extra="all")
        >>> store.bars.extra_columns("SOL/USD").select("column", "kind").rows()
        [('trades', 'integer'), ('vwap', 'float')]
        >>> store.bars.read("SOL/USD", "1h", columns=["close", "vwap"]).row(0)
        (139.0, 138.6)
        """
        if symbol is not None:
            await self._series.choose(symbol, timeframe, session)
        return await self._records.extra_columns(symbol, timeframe, session)

    async def explain_gap(
        self,
        symbol: str,
        start: Time,
        end: Time,
        reason: str,
        *,
        timeframe: str | None = None,
        author: str | None = None,
        session: AsyncSession | None = None,
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
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

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
        await self._calendars.explain(symbol, start, end, reason, timeframe, author, session)

    async def explanations(
        self, symbol: str | Sequence[str] | None = None, *, session: AsyncSession | None = None
    ) -> pl.DataFrame:
        """List the explanations of missing bars.

        Parameters
        ----------
        symbol : str or sequence of str, optional
            Only these.
        session : AsyncSession, optional
            Read what its transaction sees.

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
        return await self._calendars.explanations(symbol, session)

    async def conflicts(
        self,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        *,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """List the bars that were ingested again with values other than the stored ones.

        Parameters
        ----------
        symbol : str or sequence of str, optional
        timeframe : str, optional
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, timestamp, stored_open..stored_volume (kept), open..volume (refused), source,
            detected_at and accepted_at (UTC): when its values last became a version of the bar after that, by
            :meth:`accept` or an ingest that corrects; null: they did not. If a conflict has further columns, also those
            of both as JSON texts, stored_extra and extra. Each refused version once (of those that differ in further
            columns alone, the first), sorted by symbol, timeframe, timestamp and detected_at.

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
        return await self._records.conflicts(symbol, timeframe, session)

    async def accept(
        self,
        conflicts: object,
        reason: str,
        *,
        author: str | None = None,
        session: AsyncSession | None = None,
    ) -> int:
        """Accept conflicts: the refused values become the newest versions of their bars.

        Parameters
        ----------
        conflicts : Polars, pandas or Arrow frame
            Rows of :meth:`conflicts` or of a report's ``conflict_rows``; of each bar one.
        reason : str
            Why these values are right; 1 to 2,000 characters.
        author : str, optional
            By default ``user@host``.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        int
            The number of bars with a further version; one that has these values already gets none.

        Raises
        ------
        InputError
            For rows that are no stored conflicts; nothing was written.
        InvalidBars
            For a withdrawn bar that has no room among those that the series has by now; nothing was written.

        Examples
        --------
        >>> other = store.bars.read("BTC/USD", "1m", "2025-12-02")[-1].with_columns(volume=4.0)
        >>> report = store.bars.ingest(other, symbol="BTC/USD", timeframe="1m")
        >>> store.bars.accept(report.conflict_rows, "the vendor restated the volume")
        1
        >>> store.bars.latest("BTC/USD", "1m").volume
        4.0
        """
        return await self._corrections.accept(conflicts, reason, author, session)

    async def withdraw(
        self,
        symbol: str,
        timeframe: str,
        start: Time,
        end: Time,
        reason: str,
        *,
        author: str | None = None,
        session: AsyncSession | None = None,
    ) -> int:
        """Say that the bars that open in ``[start, end)`` are none, such as a bad tick.

        They stay in the store (:meth:`versions`), and reads leave them out. The same values are a conflict when they
        are ingested again; ``on_conflict="correct"`` or :meth:`accept` brings a bar back.

        Parameters
        ----------
        symbol : str
        timeframe : str
        start, end : datetime, date or str
            Both are required; ``end="2024-01-31"`` excludes that day.
        reason : str
            1 to 2,000 characters.
        author : str, optional
            By default ``user@host``.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        int
            The number of bars.

        Raises
        ------
        UnknownSymbol, UnknownTimeframe
        InputError
            For an open range, or one without bars.

        Examples
        --------
        >>> store.bars.withdraw("BTC/USD", "1m", "2025-11-20T12:00", "2025-11-20T12:01", "a bad tick")
        1
        >>> store.bars.count("BTC/USD", "1m", "2025-11-20", "2025-11-21")
        1439
        """
        return await self._corrections.withdraw(symbol, timeframe, start, end, reason, author, session)

    async def versions(
        self,
        symbol: str,
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        changed: bool = False,
        as_of: AsOf = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """List every version of the bars that open in ``[start, end)``.

        Parameters
        ----------
        symbol : str
        timeframe : str
        start, end : datetime, date, str or None
            As in :meth:`read`.
        changed : bool
            Only bars with more than one version, or with one that was stored before the bar had ended.
        as_of : datetime, date or str, optional
            As in :meth:`read`.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, timestamp (UTC), version (from 1), open..volume (null: withdrawn), the further columns of
            the series (:meth:`extra_columns`), provisional (stored before the bar had ended), ingest (the id in
            :meth:`ingests`; null: unknown), reason and author (null for the first), recorded_at (UTC); sorted by
            timestamp and version. The last version of each bar holds.

        Raises
        ------
        UnknownSymbol, UnknownTimeframe, InputError

        Examples
        --------
        >>> store.bars.withdraw("BTC/USD", "1m", "2025-11-20T12:00", "2025-11-20T12:01", "a bad tick")
        1
        >>> store.bars.versions("BTC/USD", "1m", changed=True).select("version", "close", "reason").rows()
        [(1, 91262.96, None), (2, None, 'a bad tick')]
        """
        return await self._corrections.versions(symbol, timeframe, start, end, changed, as_of, session)

    async def now(self, *, session: AsyncSession | None = None) -> str:
        """Return a token of what is known now, for ``as_of``: what is ingested later never enters it.

        Bars that another program wrote are known from when they are noticed: by this call, unless another writer is at
        work or ``session`` is given.

        Examples
        --------
        >>> token = store.bars.now()
        >>> store.bars.withdraw("BTC/USD", "1m", "2025-11-20T12:00", "2025-11-20T12:01", "a bad tick")
        1
        >>> store.bars.count("BTC/USD", "1m", "2025-11-20", "2025-11-21", as_of=token)
        1440
        """
        if session is None:
            await self._index.settle()
        return await newest_token(self._database, session)
