"""Fills: an audit trail that only grows."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import FillConflict
from walle.fills import WriteReport, fills_frame
from walle.fills.audit import Rule
from walle.fills.benchmarks import BENCHMARKS
from walle.fills.evidence import Thresholds
from walle.fills.ingest_frame import FactOptions, read_fills
from walle.frames import FILL_CONFLICTS, FILLS
from walle.options import CostLevel, Floats, LotMethod, OnInvalid, ShortfallLevel
from walle.records import Fill
from walle.reports import IngestReport
from walle.repositories.common import (
    Time,
    canonical,
    insert_missing,
    same_key,
    write_staged,
)
from walle.repositories.fills.analysis import FillAnalysis
from walle.repositories.fills.read import FillReader
from walle.repositories.select import finish, wire_schema
from walle.types import wire
from walle.validation import decimal_text

__all__ = ["FillRepository"]


class FillRepository:
    """Fills, appended once and for ever.

    The examples call the synchronous ``store`` with the sample data (:func:`walle.demo.load`); an engine awaits the
    same call on this repository.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reader = FillReader(database)
        self._analysis = FillAnalysis(database, self._reader)

    async def append(
        self, fills: Fill | Iterable[Fill] | pl.DataFrame, *, session: AsyncSession | None = None
    ) -> WriteReport:
        """Store fills: the same fill again is a no-op; all of the call or nothing.

        Parameters
        ----------
        fills : Fill, iterable of Fill, or polars.DataFrame
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        WriteReport

        Raises
        ------
        FillConflict
            When a fill of that id has another content; the stored one stays.
        InputError
            For what is no fill.

        Examples
        --------
        >>> from dataclasses import replace
        >>> fill = store.fills.get("fill-btc-0042")
        >>> store.fills.append([fill, replace(fill, id="fill-btc-0043", exchange_fill_id="SIM-BTC-F000043")])
        WriteReport(inserted=1, updated=0, unchanged=1)
        """
        given = fills_frame(fills)
        if given.is_empty():
            return WriteReport()
        frame = given.unique(maintain_order=True)
        if frame["id"].is_duplicated().any():
            _refuse_double(frame)
        async with write_staged(self._database, models.fills, _placed(frame), session) as (writer, staged):
            inserted = await writer.insert(models.fills, _insert(staged), frame.height)
            if inserted < frame.height:
                await self._refuse_other_content(writer, staged)
        return WriteReport(inserted=inserted, unchanged=given.height - inserted)

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
        """Take fills in from another program's table, and tell what became of every row.

        A fill that is there already with the same content is a duplicate, one with another content a conflict: the
        stored one stays, and the call goes on. All of the call is one transaction.

        Parameters
        ----------
        source : Fill, iterable of Fill, or a Polars, pandas or Arrow frame
            Columns of :data:`walle.frames.FILLS`; those that may be null may be left out.
        run_id : str, optional
            Of all rows that have none.
        columns : mapping of str to str or None, optional
            Source name to our name, ``{"trade_id": "id"}``; None leaves a column out.
        timezone : str, optional
            The IANA zone of times without one, such as ``UTC``.
        floats : str
            ``refuse``: money in floats is an error. ``shortest``: a float is the decimal that its shortest text says,
            such as 0.1; one with more than 18 places is refused.
        on_invalid : str
            ``raise``: one row that is no fill stops the call. ``quarantine``: the good rows go in.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        IngestReport
            ``rejected_rows`` and ``conflict_rows`` have the columns of :data:`walle.frames.REJECTED_FILLS` and
            :data:`walle.frames.FILL_CONFLICTS`.

        Raises
        ------
        InvalidRows
            When rows are no fills; nothing was written.
        InputError
            For a source that cannot be read.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> fill = {"trade_id": "t-1", "order_id": "ord-btc-0025", "side": "buy", "price": "91250.5", "quantity": "0.1"}
        >>> table = pl.DataFrame([fill | {"filled_at": datetime(2025, 11, 30, 6, 0, 2, tzinfo=UTC)}])
        >>> store.fills.ingest(table, run_id="paper-sma-btc-003", columns={"trade_id": "id"})
        IngestReport(1 rows: 1 inserted, 0 duplicates, 0 conflicts, 0 rejected)
        """
        reading = FactOptions(run_id=run_id, columns=columns, timezone=timezone, floats=floats, on_invalid=on_invalid)
        given, rejected = await self._database.in_thread(lambda: read_fills(source, reading))
        frame = given.unique("id", maintain_order=True)
        conflicts, inserted = pl.DataFrame(schema=FILL_CONFLICTS), 0
        if frame.height:
            async with write_staged(self._database, models.fills, _placed(frame), session) as (writer, staged):
                inserted = await writer.insert(models.fills, _insert(staged), frame.height)
                if inserted < frame.height:
                    before, after = await self._other_content(writer, staged)
                    before = before.rename({name: f"stored_{name}" for name in FILLS if name != "id"})
                    conflicts = before.join(after, on="id", how="inner").sort("id").select(list(FILL_CONFLICTS))
        refused = given.join(conflicts, on="id", how="semi").height
        return IngestReport(
            inserted=inserted,
            duplicates=given.height - inserted - refused,
            conflicts=refused,
            rejected=rejected.height,
            rejected_rows=rejected,
            conflict_rows=conflicts,
        )

    async def _refuse_other_content(self, writer: Writer, staged: sa.TableClause) -> None:
        before, after = await self._other_content(writer, staged)
        if before.height:
            raise _conflict(before.row(0, named=True), after.row(0, named=True), before.height - 1)

    async def _other_content(self, writer: Writer, staged: sa.TableClause) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the stored fills whose content differs from the staged one, and those staged; both sorted by id."""
        table, dialect = models.fills, writer.dialect.name
        names = list(FILLS)
        differs = sa.or_(
            *(table.c[name].is_distinct_from(staged.c[name]) for name in names if name != "sequence"),
            sa.and_(staged.c.sequence >= 0, table.c.sequence.is_distinct_from(staged.c.sequence)),
        )
        joined = sa.and_(same_key(table, staged, ["id"]), differs)
        stored = sa.select(*(wire(table.c[name], dialect) for name in names)).where(joined).order_by(table.c.id)
        offered = sa.select(*(wire(staged.c[name], dialect) for name in names)).where(joined).order_by(table.c.id)
        schema = wire_schema(FILLS)
        before = finish(await writer.fetch(stored, schema), FILLS)
        after = finish(await writer.fetch(offered, schema), FILLS)
        given = pl.col("sequence") >= 0
        return before, after.with_columns(pl.when(given).then("sequence").alias("sequence"))

    async def get(self, fill_id: str, *, session: AsyncSession | None = None) -> Fill:
        """Return one fill as it was written.

        Parameters
        ----------
        fill_id : str
        session : AsyncSession, optional
            Read what its transaction sees.

        Raises
        ------
        UnknownFill
            When there is none of that id.

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
        return await self._reader.list(run_id, order_id=order_id, symbol=symbol, start=start, end=end, session=session)

    async def read(
        self,
        run_id: str | None = None,
        *,
        order_id: str | None = None,
        symbol: str | None = None,
        start: Time = None,
        end: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read fills as a frame.

        Parameters
        ----------
        run_id : str, optional
            Fills of that run, and those without a run whose order is of it.
        order_id, symbol : str, optional
        start, end : datetime, date, str or None
            Filled in ``[start, end)``; ``end="2024-01-31"`` leaves that day out. A date or text without a zone is UTC.
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
            When nothing at all is stored of that run; near ids are offered.
        InputError
            For a bad range.

        Examples
        --------
        >>> store.fills.read("bt-sma-eth-001", start="2025-11-20", end="2025-11-21").height
        6
        """
        return await self._reader.read(run_id, order_id=order_id, symbol=symbol, start=start, end=end, session=session)

    async def trades(
        self,
        run_id: str | None = None,
        *,
        method: LotMethod = "fifo",
        symbol: str | None = None,
        timeframe: str | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Match fills to round trips: what was closed, with which profit, and what is still open.

        Parameters
        ----------
        run_id : str, optional
            None: every run, each for itself.
        method : str
            ``fifo``: a fill closes the oldest open lot; ``lifo``: the newest; ``average``: a part of the whole
            position at the average price of its entries.
        symbol : str, optional
            Only this one.
        timeframe : str, optional
            Of the bars for mae, mfe and unrealised. None: the shortest that is stored of each symbol.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.trades.TRADES`: run_id, symbol, trade, direction (long, short), quantity,
            entry_time, exit_time, entry_price, exit_price, pnl_gross, fees, fee_currency, pnl_net, unrealised, holding,
            mae, mfe, is_open, entry_fill_id, exit_fill_id, fees_by_currency, reason. Money is Decimal(38, 18) in the
            currency of the symbol's prices, rounded once; :func:`walle.fills.trades.trades` says how each is reckoned.
            Sorted by run, symbol and trade; no row without fills.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of that run; near ids are offered.
        InputError
            For another method or timeframe.

        Examples
        --------
        >>> trades = store.fills.trades("bt-sma-eth-001", method="fifo")
        >>> trades.filter("is_open")["quantity"].sum()
        Decimal('2.000000000000000000')
        """
        return await self._analysis.trades(run_id, method, symbol, timeframe, session)

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
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Hold fills against their orders, against the bars, and against time.

        Parameters
        ----------
        run_id : str, optional
            None: every run.
        rules : iterable of str, optional
            Only these, such as ``["outside_bar"]``; all of :data:`walle.fills.rules.RULES` by default. Beside a rule
            that needs bars, ``not_checked`` says which fills had none.
        extra_rules : iterable of Rule
            One's own, made by :func:`walle.fills.rule`.
        timeframe : str, optional
            Of the bars. None: the shortest that is stored of each symbol.
        price_tolerance : Decimal
            How far an order's average price may be from that of its fills.
        max_volume_share : Decimal
            How much of its bar's volume a fill may be; 1 is all of it.
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
            When nothing at all is stored of that run; near ids are offered.
        InputError
            For an unknown rule, a threshold that is no exact number, or a rule of one's own that returns no findings.

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
        return await self._analysis.audit(run_id, rules, extra_rules, timeframe, limits, session)

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
            A row of what :meth:`audit` returned, as a dict or a frame of one row; or its ``key``.
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
        await self._analysis.answers.save(finding, reason, author, withdraw, session)

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
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Measure fills against the market's prices: arrival, interval VWAP, open and close.

        Parameters
        ----------
        run_id : str, optional
            None: every run.
        by : str
            ``fill``, ``order`` or ``run``.
        benchmarks : str or sequence of str
            Some of ``arrival``, ``vwap``, ``open``, ``close``; :func:`walle.fills.costs.costs` says what each is, with
            its source.
        timeframe : str, optional
            Of the bars. None: the shortest that is stored of each symbol.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.costs.COSTS`: run_id, order_id, fill_id, symbol, side, time, currency,
            quantity, price, notional, benchmark, benchmark_price, cost (above 0 is worse than the benchmark), bps,
            fees, fee_currency, fees_by_currency, fills, measured, reason. Money is Decimal(38, 18) in the currency of
            the prices. One row for each fill, order or run and benchmark; sorted by run, time, order and fill. Where
            bars are missing there is no cost, and ``reason`` says why. No row without fills.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of that run; near ids are offered.
        InputError
            For another level, benchmark or timeframe.

        Examples
        --------
        >>> costs = store.fills.costs("bt-sma-eth-001", by="run", benchmarks=["arrival", "vwap"])
        >>> [f"{bps:.2f}" for bps in costs["bps"]]
        ['5.21', '3.93']
        """
        return await self._analysis.costs(run_id, by, benchmarks, timeframe, session)

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
            None: every run.
        by : str
            ``order`` or ``run``.
        timeframe : str, optional
            Of the bars. None: the shortest that is stored of each symbol.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.shortfall.SHORTFALL`: run_id, order_id, symbol, side, status, time, currency,
            ordered, filled, decision_price, arrival_price, average_price, end_price, delay, trading, opportunity, fees,
            fee_currency, fees_by_currency, total, bps, orders, measured, reason.
            :func:`walle.fills.shortfall.shortfall` has the formulas and their sources. Sorted by run, time and order;
            no row without orders.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of that run; near ids are offered.
        InputError
            For another level or timeframe.

        Examples
        --------
        >>> total = store.fills.shortfall("bt-sma-eth-001", by="run")["total"].item()
        >>> f"{total:.2f}"
        '-3144.80'
        """
        return await self._analysis.shortfall(run_id, by, timeframe, session)


def _placed(frame: pl.DataFrame) -> pl.DataFrame:
    """Give the fills that have no sequence one in their order of arrival: -1, -2 and so on."""
    return frame.with_columns(sequence=pl.coalesce("sequence", -1 - pl.int_range(pl.len(), dtype=pl.Int64)))


def _insert(staged: sa.TableClause) -> sa.Insert:
    """Insert the staged fills that are new; those without a sequence come after all that are stored."""
    place = staged.c.sequence
    last = sa.select(sa.func.coalesce(sa.func.max(models.fills.c.sequence), 0)).scalar_subquery()
    arrived = sa.case((place < 0, last - place), else_=place).label("sequence")
    return insert_missing(models.fills, staged, ["id"], instead={"sequence": arrived})


def _refuse_double(frame: pl.DataFrame) -> None:
    first_id = frame["id"].filter(frame["id"].is_duplicated())[0]
    versions = frame.filter(pl.col("id") == first_id).rows(named=True)
    raise _conflict(versions[0], versions[1], 0)


def _conflict(stored: dict[str, Any], given: dict[str, Any], others: int) -> FillConflict:
    stored, given = canonical(stored), canonical(given)
    differences = {
        name: (_shown(value), _shown(given[name]))
        for name, value in stored.items()
        if value != given[name] and (name != "sequence" or given[name] is not None)
    }
    return FillConflict(stored["id"], differences, others)


def _shown(value: Any) -> object:
    return decimal_text(value) if isinstance(value, Decimal) else value
