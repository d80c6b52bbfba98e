"""The public methods for writing, reading and analysing fills."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import FillConflict
from walle.fills import WriteReport, fills_frame
from walle.fills.audit import Rule, Thresholds
from walle.fills.benchmarks import BENCHMARKS
from walle.fills.ingest_frame import FactOptions, read_fills
from walle.frames import FILL_CONFLICTS, FILLS
from walle.options import CostLevel, Floats, LotMethod, OnInvalid, ShortfallLevel, TradeLevel
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
    """Fills: they are appended, and never changed.

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
        """Store fills, all or none; a fill that is already stored changes nothing.

        Parameters
        ----------
        fills : Fill, iterable of Fill, or polars.DataFrame
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        WriteReport

        Raises
        ------
        FillConflict
            If a stored fill with the same id has other content; the stored one stays.
        InputError
            For invalid fills.

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
        """Store fills from another program's table, and report the outcome of every row.

        A fill that is already stored with the same content is a duplicate; one with other content is a conflict: the
        stored one stays, and the call continues. Each call is one transaction.

        Parameters
        ----------
        source : Fill, iterable of Fill, or a Polars, pandas or Arrow frame
            Columns of :data:`walle.frames.FILLS`; nullable columns may be omitted.
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
        """Return the stored fills whose content differs from the staged ones, and the latter; both sorted by id."""
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
            Fills of that run, and fills without a run whose order belongs to it.
        order_id, symbol : str, optional
        start, end : datetime, date, str or None
            Filled in ``[start, end)``; ``end="2024-01-31"`` excludes that day. A date or text without a zone is UTC.
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
            For an invalid range.

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
        by: TradeLevel = "lot",
        symbol: str | None = None,
        timeframe: str | None = None,
        dust: Decimal | None = None,
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
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.trades.TRADES`: run_id, symbol, trade, direction (long, short), quantity,
            entry_time, exit_time, entry_price, exit_price, pnl_gross, fees, fee_currency, pnl_net, unrealised, holding,
            mae, mfe, is_open, entry_fill_id, exit_fill_id, fees_by_currency, currency, lots, reason. Money is
            Decimal(38, 18) in ``currency``, in which the symbol settles, rounded once;
            :func:`walle.fills.trades.trades` defines each figure. Sorted by run, symbol and trade; empty without
            fills.

        Raises
        ------
        UnknownRun
            If nothing is stored of that run; it suggests similar ids.
        InputError
            For an unknown method or timeframe.

        Examples
        --------
        >>> trades = store.fills.trades("bt-sma-eth-001", method="fifo")
        >>> trades.filter("is_open")["quantity"].sum()
        Decimal('2.000000000000000000')
        """
        return await self._analysis.trades(run_id, method, by, symbol, timeframe, dust, session)

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
            The largest allowed commission as a share of the fill's notional; 0.01 is 1%.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.audit.FINDINGS`: rule, severity (error, warning, info), run_id, order_id,
            fill_id, symbol, time, actual, expected, sentence; errors first, then by run and time. Empty if nothing
            was found. A finding of severity info reports fills that could not be checked against bars.

        Raises
        ------
        UnknownRun
            If nothing is stored of that run; it suggests similar ids.
        InputError
            For an unknown rule, a threshold that is not an exact number, or a rule that does not return findings.

        Examples
        --------
        >>> store.fills.audit("bt-sma-eth-001")["rule"].to_list()
        ['outside_bar', 'overfilled', 'duplicate_venue_id', 'unknown_order']
        """
        return await self._analysis.audit(
            run_id, rules, extra_rules, timeframe, price_tolerance, max_volume_share, max_commission_rate, session
        )

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
            None: all runs.
        by : str
            ``fill``, ``order`` or ``run``.
        benchmarks : str or sequence of str
            Some of ``arrival``, ``vwap``, ``open``, ``close``; :func:`walle.fills.costs.costs` defines each, with its
            source.
        timeframe : str, optional
            Of the bars. None: the shortest that is stored for each symbol.
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
            For an unknown level, benchmark or timeframe.

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
        name: (_display_value(value), _display_value(given[name]))
        for name, value in stored.items()
        if value != given[name] and (name != "sequence" or given[name] is not None)
    }
    return FillConflict(stored["id"], differences, others)


def _display_value(value: Any) -> object:
    return decimal_text(value) if isinstance(value, Decimal) else value
