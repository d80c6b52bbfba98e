"""Fills: an audit trail that only grows; a correction is a further fill."""

from __future__ import annotations

import builtins
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import FillConflict, InputError, UnknownFill
from walle.fills import WriteReport, fills_frame
from walle.fills.audit import Rule
from walle.fills.benchmarks import BENCHMARKS
from walle.fills.coerce import FILL
from walle.fills.evidence import Thresholds
from walle.fills.ingest_frame import FactOptions, read_fills
from walle.frames import FILL_CONFLICTS
from walle.options import CostLevel, Floats, LotMethod, OnInvalid, ShortfallLevel, TradeLevel
from walle.records import Fill
from walle.reports import IngestReport
from walle.repositories.as_of import clock, known_at
from walle.repositories.common import Time
from walle.repositories.corrections import FILLS as FILLS_CORRECTED
from walle.repositories.corrections import Correction
from walle.repositories.facts import FactWriter
from walle.repositories.fills.analysis import FillAnalysis
from walle.repositories.fills.read import FillReader

__all__ = ["FillRepository"]


class FillRepository:
    """Fills: they are appended, and never changed.

    The examples call the synchronous ``store`` with the sample data (:func:`walle.demo.load`); an engine awaits the
    same call on this repository.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = FactWriter(
            database=database,
            table=models.fills,
            content=FILL,
            conflicts=FILL_CONFLICTS,
            error=FillConflict,
            numbered=True,
        )
        self._reader = FillReader(database)
        self._analysis = FillAnalysis(database, self._reader)

    async def append(
        self, fills: Fill | Iterable[Fill] | pl.DataFrame, *, session: AsyncSession | None = None
    ) -> WriteReport:
        """Store fills, all or none; a fill that is already stored changes nothing.

        Each is recorded with the database's time (``recorded_at``) at which the statement that stored it began,
        whatever the caller's clock says, and however long its transaction was open.

        Parameters
        ----------
        fills : Fill, iterable of Fill, or polars.DataFrame
            In a frame, ``extra`` holds JSON texts of objects, or structs, whose null members are left out; a column
            ``recorded_at`` is the database's own, and left out.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        WriteReport

        Raises
        ------
        FillConflict
            If a stored fill with the same id has other content; the stored one stays. A fill without ``sequence`` or
            ``extra`` says nothing about them, and is the same as one with them; one that brings an ``extra`` which the
            stored one lacks is another. The order of keys does not count; 1 and 1.0 are two contents.
        InputError
            For invalid fills.

        Examples
        --------
        >>> from dataclasses import replace
        >>> fill = store.fills.get("fill-btc-0042")
        >>> store.fills.append([fill, replace(fill, id="fill-btc-0043", exchange_fill_id="SIM-BTC-F000043")])
        WriteReport(inserted=1, updated=0, unchanged=1)
        """
        return await self._writer.append(fills_frame(fills), session)

    async def ingest(
        self,
        source: object,
        *,
        run_id: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        timezone: str | None = None,
        floats: Floats = "refuse",
        on_invalid: OnInvalid = "raise",
        session: AsyncSession | None = None,
    ) -> IngestReport:
        """Store fills from another program's table, and report the outcome of every row.

        A fill that is already stored with the same content is a duplicate; one with other content is a conflict: the
        stored one stays, and the call continues. Each call is one transaction.

        Parameters
        ----------
        source : Fill, iterable of Fill, or a Polars, pandas or Arrow frame
            Columns of :data:`walle.frames.FILLS`; nullable columns may be omitted. ``extra`` and ``recorded_at`` are as
            in :meth:`append`.
        run_id : str, optional
            Used for rows without one.
        columns : mapping of str to str or None, optional
            Source name to our name, ``{"trade_id": "id"}``; None ignores a column.
        timezone : str, optional
            The IANA zone of naive times, such as ``UTC``.
        floats : str
            ``refuse``: money in floats is an error. ``shortest``: a float becomes the decimal of its shortest text,
            such as 0.1; one with more than 18 places is refused.
        on_invalid : str
            ``raise``: an invalid row stops the call. ``quarantine``: the valid rows are stored.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        IngestReport
            ``rejected_rows`` and ``conflict_rows`` have the columns of :data:`walle.frames.REJECTED_FILLS` and
            :data:`walle.frames.FILL_CONFLICTS`.

        Raises
        ------
        InvalidRows
            If rows are invalid; nothing was written.
        InputError
            If the source cannot be read.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> fill = {"trade_id": "t-1", "order_id": "ord-btc-0025", "side": "buy", "price": "91250.5", "quantity": "0.1"}
        >>> table = pl.DataFrame([fill | {"filled_at": datetime(2025, 11, 30, 6, 0, 2, tzinfo=UTC)}])
        >>> store.fills.ingest(table, run_id="paper-sma-btc-003", columns={"trade_id": "id"})
        IngestReport(1 rows: 1 inserted, 0 duplicates, 0 conflicts, 0 rejected)
        """
        reading = FactOptions(run_id=run_id, columns=columns, timezone=timezone, floats=floats, on_invalid=on_invalid)
        facts = await self._database.in_thread(lambda: read_fills(source, reading))
        return await self._writer.ingest(facts, session)

    async def correct(
        self,
        fill_id: str,
        by: Fill | None = None,
        *,
        reason: str,
        author: str | None = None,
        session: AsyncSession | None = None,
    ) -> None:
        """Say that a fill is wrong, and which one stands in its place; both are stored, in one transaction.

        The corrected fill stays as it was written. Every read and reckoning leaves it out.

        Parameters
        ----------
        fill_id : str
        by : Fill, optional
            The correcting fill, with an id of its own; without a sequence it takes that of the corrected one. None:
            the trade was busted, and nothing stands in its place.
        reason : str
        author : str, optional
            user@host by default.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Raises
        ------
        UnknownFill
            When there is no such fill.
        AlreadyCorrected
            When it was corrected before: correct the fill that stands in its place.
        FillConflict
            When another fill has the id of the correcting one.
        InputError
            When the correcting fill has the same id, for what is no fill, and for an empty or too long reason or
            author.

        Examples
        --------
        >>> from dataclasses import replace
        >>> from decimal import Decimal
        >>> wrong = store.fills.get("fill-bt-0039")
        >>> right = replace(wrong, id="fill-bt-0039.2", price=Decimal("3260.91"))
        >>> store.fills.correct(wrong.id, by=right, reason="the venue corrected its report", author="ann")
        >>> store.fills.read(order_id=wrong.order_id)["id"].to_list()
        ['fill-bt-0039.2']
        """
        if by is not None and not isinstance(by, Fill):
            raise InputError(
                f"by= is the correcting fill, a walle.Fill, not {type(by).__name__}; None busts the trade."
            )
        said = Correction(FILLS_CORRECTED, fill_id, None if by is None else by.id, reason, author)
        async with self._database.write(session) as writer:
            await writer.hold(said.kind.table)
            places = await self._places(writer, said)
            recorded_at = await clock(writer)
            if by is not None:
                if by.sequence is None and by.id not in places:
                    by = dataclasses.replace(by, sequence=places[fill_id])
                await self._writer.append_in(writer, fills_frame(by), recorded_at)
            await said.write(writer, recorded_at)

    async def _places(self, writer: Writer, said: Correction) -> dict[str, int | None]:
        """Return the sequence of the corrected fill, and of the correcting one where it is stored already.

        Raises
        ------
        UnknownFill
        """
        table, schema = models.fills, {"id": pl.String(), "sequence": pl.Int64()}
        stored = sa.select(table.c.id, table.c.sequence).where(table.c.id.in_([said.id, said.corrected_by or said.id]))
        places: dict[str, int | None] = dict((await writer.fetch(stored, schema)).iter_rows())
        if said.id not in places:
            raise UnknownFill(said.id)
        return places

    async def corrections(self, run_id: str | None = None, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """Read the corrections of fills.

        Parameters
        ----------
        run_id : str, optional
            Only those of fills of this run.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.FILL_CORRECTIONS`: fill_id, corrected_by (null: a bust), reason, author,
            recorded_at (UTC); in the order in which they were written. No row where nothing was corrected.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of that run; near ids are offered.

        Examples
        --------
        >>> store.fills.correct("fill-bt-0039", reason="busted by the venue", author="ann")
        >>> store.fills.corrections("bt-sma-eth-001").select("fill_id", "corrected_by", "reason").row(0)
        ('fill-bt-0039', None, 'busted by the venue')
        """
        return await self._reader.corrections(run_id, session)

    async def get(self, fill_id: str, *, session: AsyncSession | None = None) -> Fill:
        """Return one fill as it was written, also if it was corrected.

        Parameters
        ----------
        fill_id : str
        session : AsyncSession, optional
            Read what its transaction sees.

        Raises
        ------
        UnknownFill
            If no fill has that id.

        Examples
        --------
        >>> store.fills.get("fill-bt-0039").price
        Decimal('3310.91')
        """
        return await self._reader.get(fill_id, session)

    async def list(
        self,
        run_id: str | None = None,
        *,
        order_id: str | None = None,
        symbol: str | None = None,
        start: Time = None,
        end: Time = None,
        corrected: bool = True,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> builtins.list[Fill]:
        """Return fills as records, as they were written; arguments and order as in :meth:`read`.

        Raises
        ------
        UnknownRun, InputError

        Examples
        --------
        >>> [fill.id for fill in store.fills.list(order_id="ord-bt-0001")]
        ['fill-bt-0001', 'fill-bt-0002', 'fill-bt-0003']
        """
        return await self._reader.list(
            run_id,
            order_id=order_id,
            symbol=symbol,
            start=start,
            end=end,
            corrected=corrected,
            known=await known_at(self._database, as_of, session),
            session=session,
        )

    async def read(
        self,
        run_id: str | None = None,
        *,
        order_id: str | None = None,
        symbol: str | None = None,
        start: Time = None,
        end: Time = None,
        corrected: bool = True,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read fills as a frame.

        Parameters
        ----------
        run_id : str, optional
            Fills of that run, and fills without a run whose order belongs to it.
        order_id, symbol : str, optional
        start, end : datetime, date, str or None
            Filled in ``[start, end)``; ``end="2024-01-31"`` leaves that day out. A date or text without a zone is UTC.
        corrected : bool
            Leave out fills that were corrected. False: every fill, as it was written.
        as_of : datetime, date, str or None
            Only fills that had been recorded by then, and without the corrections that came later. A fill that does
            not say when it was recorded is there, and a warning counts such. A date or text without a zone is UTC:
            ``"2024-01-31"`` is the first instant of that day. The run and symbol of a fill that names none are those
            of its order, as it is stored now; a transaction that was open then may still add fills.
        session : AsyncSession, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.FILLS`; one row per fill, sorted by filled_at, sequence and id. Where
            run_id or symbol was not written with the fill, its order's stand; a fill whose order is missing is there,
            too.

        Raises
        ------
        UnknownRun
            If nothing is stored of that run; it suggests similar ids.
        InputError
            For an invalid range, and an ``as_of`` in the future of the database's clock.

        Warns
        -----
        UnrecordedWarning
            With ``as_of``, of fills that another program or an older WallE wrote.

        Examples
        --------
        >>> store.fills.read("bt-sma-eth-001", start="2025-11-20", end="2025-11-21").height
        6
        """
        return await self._reader.read(
            run_id,
            order_id=order_id,
            symbol=symbol,
            start=start,
            end=end,
            corrected=corrected,
            known=await known_at(self._database, as_of, session),
            session=session,
        )

    async def trades(
        self,
        run_id: str | None = None,
        *,
        method: LotMethod = "fifo",
        by: TradeLevel = "lot",
        symbol: str | None = None,
        timeframe: str | None = None,
        dust: Decimal | None = None,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Match fills into round trips: closed ones with their profit, and what is still open.

        Parameters
        ----------
        run_id : str, optional
            None: all runs, each on its own.
        method : str
            ``fifo``: a fill closes the oldest open lot; ``lifo``: the newest; ``average``: part of the whole
            position, at the average price of its entries.
        by : str
            ``lot``: one trade for each pair of fills; ``order``: for each pair of orders; ``flat``: from one time at
            which the position was flat to the next, however many fills that took.
        symbol : str, optional
            Only this symbol.
        timeframe : str, optional
            Of the bars for mae, mfe and unrealised. None: the shortest that is stored of each symbol.
        dust : Decimal, optional
            With ``by="flat"``, a position below it is flat. None: the symbol's lot size, where that is stored.
        as_of : datetime, date, str or None
            Only the fills, corrections, cash flows, corporate actions and instruments that had been recorded by then,
            as in :meth:`read`, and the bars as they were known. Runs are as they are stored now.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.trades.TRADES`: run_id, symbol, trade, direction (long, short), quantity,
            entry_time, exit_time, entry_price, exit_price, pnl_gross, fees, fee_currency, pnl_net, unrealised, holding,
            mae, mfe, is_open, entry_fill_id, exit_fill_id, fees_by_currency, currency, lots, reason. Money is
            Decimal(38, 18) in ``currency``, in which the symbol settles, rounded once;
            :func:`walle.fills.trades.trades` defines each figure. What came or left by a cash flow (coins that were
            transferred, shares with which an account opened) has no known cost: its profit is null. Sorted by run,
            symbol and trade; empty without fills.

        Raises
        ------
        UnknownRun
            If nothing is stored of that run; it suggests similar ids.
        InputError
            For an unknown method or timeframe, and an ``as_of`` in the future of the database's clock.

        Examples
        --------
        >>> trades = store.fills.trades("bt-sma-eth-001", method="fifo")
        >>> trades.filter("is_open")["quantity"].sum()
        Decimal('2.000000000000000000')
        """
        return await self._analysis.trades(run_id, method, by, symbol, timeframe, dust, as_of, session)

    async def audit(
        self,
        run_id: str | None = None,
        *,
        rules: Iterable[str] | None = None,
        extra_rules: Iterable[Rule] = (),
        timeframe: str | None = None,
        price_tolerance: Decimal = Thresholds.price_tolerance,
        max_volume_share: Decimal = Thresholds.max_volume_share,
        max_commission_rate: Decimal = Thresholds.max_commission_rate,
        average_tolerance: Decimal = Thresholds.average_tolerance,
        time_tolerance: timedelta = Thresholds.time_tolerance,
        session_tolerance: timedelta = Thresholds.session_tolerance,
        max_fee_ratio: Decimal = Thresholds.max_fee_ratio,
        min_peers: int = Thresholds.min_peers,
        max_ioc_delay: timedelta = Thresholds.max_ioc_delay,
        min_extreme_fills: int = Thresholds.min_extreme_fills,
        clock_skew: timedelta = Thresholds.clock_skew,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Check fills against their orders, the bars, and time.

        Parameters
        ----------
        run_id : str, optional
            None: all runs.
        rules : iterable of str, optional
            Only these, such as ``["outside_bar"]``; all of :data:`walle.fills.rules.RULES` by default. For a rule that
            needs bars, ``not_checked`` lists the fills that had none.
        extra_rules : iterable of Rule
            Your own, made by :func:`walle.fills.rule`.
        timeframe : str, optional
            Of the bars. None: the shortest that is stored for each symbol.
        price_tolerance : Decimal
            How far an order's average price may differ from that of its fills.
        max_volume_share : Decimal
            The largest allowed share of its bar's volume for a fill; 1 is all of it.
        max_commission_rate : Decimal
            How much of its notional a fill may cost; 0.01 is one per cent.
        average_tolerance : Decimal
            How far, as a share of the price, an average may be off that was rounded at its own last place (at the
            second, where it has fewer): brokers round it.
        time_tolerance : timedelta
            How far a fill may be before the submission, or after the end, of its order: programs round times.
        session_tolerance : timedelta
            How long after the close of a session a fill may stand, as those of a closing auction do.
        max_fee_ratio : Decimal
            Which multiple of its peers' commission is an outlier.
        min_peers : int
            How many commissions of a run, symbol, liquidity and currency it takes to tell of outliers.
        max_ioc_delay : timedelta
            How long after its submission an IOC or FOK order may be filled; a bar of its symbol is always allowed.
        min_extreme_fills : int
            How many fills of a run it takes to tell that all are at the low or high of their bars.
        clock_skew : timedelta
            How far a time may be in the future.
        as_of : datetime, date, str or None
            Only the fills, corrections, cash flows, instruments, events and answers that had been recorded by then, as
            in :meth:`read`, and the bars as they were known. Runs and orders are as they are stored now: a warning
            counts the orders that were saved later, whose earlier snapshots are not kept.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.audit.FINDINGS`: rule, severity (error, warning, info), run_id, order_id,
            fill_id, symbol, time, actual, expected, sentence, key, answered, answer; errors first, then by run and
            time. No row when nothing was found. What could not be held against bars is said by a finding of the
            severity info. Findings that :meth:`acknowledge` answered are there, with ``answered`` and ``answer``.

        Raises
        ------
        UnknownRun
            If nothing is stored of that run; it suggests similar ids.
        InputError
            For an unknown rule, a threshold that is not an exact number, or a rule that does not return findings; for
            an ``as_of`` in the future of the database's clock.

        Warns
        -----
        UnrecordedWarning
            With ``as_of``, of fills that do not say when they were recorded, and of orders that were saved later.

        Examples
        --------
        >>> store.fills.audit("bt-sma-eth-001")["rule"].to_list()
        ['outside_bar', 'overfilled', 'duplicate_venue_id', 'unknown_order']
        """
        limits = Thresholds(
            price_tolerance=price_tolerance,
            max_volume_share=max_volume_share,
            max_commission_rate=max_commission_rate,
            average_tolerance=average_tolerance,
            time_tolerance=time_tolerance,
            session_tolerance=session_tolerance,
            max_fee_ratio=max_fee_ratio,
            min_peers=min_peers,
            max_ioc_delay=max_ioc_delay,
            min_extreme_fills=min_extreme_fills,
            clock_skew=clock_skew,
        )
        return await self._analysis.audit(run_id, rules, extra_rules, timeframe, limits, as_of, session)

    async def acknowledge(
        self,
        finding: str | Mapping[str, Any] | pl.DataFrame,
        reason: str,
        author: str | None = None,
        *,
        withdraw: bool = False,
        session: AsyncSession | None = None,
    ) -> None:
        """Answer a finding of the audit: say why it is no fault, or what became of it.

        The finding stays; the audit marks it as answered. Answers are only added, never changed; the last one counts.

        Parameters
        ----------
        finding : mapping, polars.DataFrame or str
            A row of what :meth:`audit` returned, as a dict or a frame of one row; or its ``key``, for the rules of
            WallE.
        reason : str
            1 to 2,000 characters.
        author : str, optional
            Who says so; by default ``user@host``.
        withdraw : bool
            Take the answer back, for this reason; the finding is unanswered again.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Raises
        ------
        InputError
            For what is no finding, for a reason or an author that is empty or too long, and for a withdrawal where no
            answer stands.

        Examples
        --------
        >>> found = store.fills.audit("bt-sma-eth-001", rules="outside_bar")
        >>> store.fills.acknowledge(found, "the venue's own price: its feed was late")
        >>> store.fills.audit("bt-sma-eth-001", rules="outside_bar")["answer"].to_list()
        ["the venue's own price: its feed was late"]
        """
        await self._analysis.acknowledge(finding, reason, author, withdraw, session)

    async def answers(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """List the answers to findings of the audit, and their withdrawals.

        Parameters
        ----------
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.ANSWERS`: finding (its key), answered (false: taken back), reason, author,
            recorded_at; in the order in which they were given. No row where there are none.

        Examples
        --------
        >>> store.fills.acknowledge("outside_bar:fill:fill-bt-0039", "the feed was late", author="ann")
        >>> store.fills.acknowledge("outside_bar:fill:fill-bt-0039", "it was not", author="bob", withdraw=True)
        >>> store.fills.answers().select("finding", "answered", "author").rows()
        [('outside_bar:fill:fill-bt-0039', True, 'ann'), ('outside_bar:fill:fill-bt-0039', False, 'bob')]
        """
        return await self._analysis.answers.list(session)

    async def costs(
        self,
        run_id: str | None = None,
        *,
        by: CostLevel = "fill",
        benchmarks: str | Sequence[str] = BENCHMARKS,
        timeframe: str | None = None,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Measure fills against the market's prices: arrival, interval VWAP, open and close.

        Parameters
        ----------
        run_id : str, optional
            None: all runs.
        by : str
            ``fill``, ``order`` or ``run``.
        benchmarks : str or sequence of str
            Some of ``arrival``, ``vwap``, ``open``, ``close``; :func:`walle.fills.costs.costs` defines each, with its
            source.
        timeframe : str, optional
            Of the bars. None: the shortest that is stored for each symbol.
        as_of : datetime, date, str or None
            Only the fills, corrections and instruments that had been recorded by then, as in :meth:`read`, and the
            bars as they were known. Orders are as they are stored now.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.costs.COSTS`: run_id, order_id, fill_id, symbol, side, time, currency,
            quantity, price, notional, benchmark, benchmark_price, cost (above 0 is worse than the benchmark), bps,
            fees, fee_currency, fees_by_currency, fills, measured, reason. Money is Decimal(38, 18) in the currency of
            the prices. One row for each fill, order or run and benchmark; sorted by run, time, order and fill. Where
            bars are missing, cost is null and ``reason`` says why. Empty without fills.

        Raises
        ------
        UnknownRun
            If nothing is stored of that run; it suggests similar ids.
        InputError
            For an unknown level, benchmark or timeframe, and an ``as_of`` in the future of the database's clock.

        Examples
        --------
        >>> costs = store.fills.costs("bt-sma-eth-001", by="run", benchmarks=["arrival", "vwap"])
        >>> [f"{bps:.2f}" for bps in costs["bps"]]
        ['5.21', '3.93']
        """
        return await self._analysis.costs(run_id, by, benchmarks, timeframe, as_of, session)

    async def shortfall(
        self,
        run_id: str | None = None,
        *,
        by: ShortfallLevel = "order",
        timeframe: str | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Split the implementation shortfall of orders into delay, trading, opportunity and fees.

        Parameters
        ----------
        run_id : str, optional
            None: all runs.
        by : str
            ``order`` or ``run``.
        timeframe : str, optional
            Of the bars. None: the shortest that is stored for each symbol.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.shortfall.SHORTFALL`: run_id, order_id, symbol, side, status, time, currency,
            ordered, filled, decision_price, arrival_price, average_price, end_price, delay, trading, opportunity, fees,
            fee_currency, fees_by_currency, total, bps, orders, measured, reason.
            :func:`walle.fills.shortfall.shortfall` has the formulas and their sources. Sorted by run, time and order;
            empty without orders.

        Raises
        ------
        UnknownRun
            If nothing is stored of that run; it suggests similar ids.
        InputError
            For an unknown level or timeframe.

        Examples
        --------
        >>> total = store.fills.shortfall("bt-sma-eth-001", by="run")["total"].item()
        >>> f"{total:.2f}"
        '-3144.80'
        """
        return await self._analysis.shortfall(run_id, by, timeframe, session)
