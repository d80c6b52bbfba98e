"""What fills add up to, and whether they can be true: round trips and the audit."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.database import Database
from walle.errors import InputError
from walle.fills.audit import Evidence, Rule, Thresholds, audit, choose
from walle.fills.benchmarks import BENCHMARKS, check_benchmarks
from walle.fills.costs import check_level, costs
from walle.fills.market import Market
from walle.fills.matching import check_method
from walle.fills.rules import RULES
from walle.fills.shortfall import shortfall
from walle.fills.trades import trades
from walle.repositories.common import Time
from walle.repositories.fills.market_bars import ends_of_runs, markets_of
from walle.repositories.fills.orders import OrderRepository, orders_with_fills
from walle.validation import shift

__all__ = ["FillAnalysis"]

_DAYS = timedelta(days=2)
"""A session that an instant lies in is whole within them."""


class FillAnalysis:
    """The part of the fills' repository that holds fills against each other and against bars."""

    _database: Database

    @abstractmethod
    async def read(
        self,
        run_id: str | None = None,
        *,
        symbol: str | None = None,
        start: Time = None,
        end: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read fills as a frame."""

    async def of_symbol(
        self, run_id: str | None, symbol: str | None, *, session: AsyncSession | None = None
    ) -> pl.DataFrame:
        """Read the fills of a run, or of every one, and of a symbol, where one is given.

        Parameters
        ----------
        run_id, symbol : str or None
        session : AsyncSession, optional
            Read what its transaction sees.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of that run; near ids are offered.
        InputError
            When there are fills, and none of that symbol.
        """
        fills = await self.read(run_id, symbol=symbol, session=session)
        if symbol is not None and fills.is_empty():
            known = (await self.read(run_id, session=session))["symbol"].drop_nulls().unique().sort().to_list()
            if known:
                near = difflib.get_close_matches(symbol, known, 1, 0.6)
                hint = f"did you mean {near[0]!r}? There" if near else "there"
                of = "" if run_id is None else f" of run {run_id!r}"
                raise InputError(f"no fill{of} is of {symbol!r}; {hint} are fills of: {', '.join(known[:20])}.")
        return fills

    async def trades(
        self,
        run_id: str | None = None,
        *,
        method: str = "fifo",
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
        """
        check_method(method)
        fills = await self.of_symbol(run_id, symbol, session=session)
        if fills.is_empty():
            return trades(fills, method=method)
        ends = await ends_of_runs(self._database, fills["run_id"], session)
        latest = max(ends.values()) if set(fills["run_id"]) <= ends.keys() else None
        markets = await markets_of(self._database, fills, timeframe, latest, session=session)
        return await self._database.in_thread(lambda: trades(fills, markets, method=method, ends=ends))

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
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.audit.FINDINGS`: rule, severity (error, warning, info), run_id, order_id,
            fill_id, symbol, time, actual, expected, sentence; errors first, then by run and time. No row when nothing
            was found. What could not be held against bars is said by a finding of the severity info.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of that run; near ids are offered.
        InputError
            For an unknown rule, a threshold that is no exact number, or a rule of one's own that returns no findings.
        """
        chosen = [*choose(RULES, rules), *extra_rules]
        limits = Thresholds(
            price_tolerance=price_tolerance, max_volume_share=max_volume_share, max_commission_rate=max_commission_rate
        )
        fills = await self.read(run_id, session=session)
        # that an order is of another run than its fill is a finding of its own, not a missing order
        orders = await orders_with_fills(self._database, run_id, fills, session)
        last = fills["filled_at"].max()
        end = shift(last, timedelta(microseconds=1)) if isinstance(last, datetime) else None
        markets = await markets_of(self._database, fills, timeframe, end, session=session)
        return await self._database.in_thread(lambda: audit(Evidence(fills, orders, markets, limits), chosen))

    async def costs(
        self,
        run_id: str | None = None,
        *,
        by: str = "fill",
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
        """
        check_level(by)
        names = check_benchmarks(benchmarks)
        fills = await self.read(run_id, session=session)
        orders = await orders_with_fills(self._database, run_id, fills, session)
        markets = await self._around(fills, orders, timeframe, session)
        return await self._database.in_thread(lambda: costs(fills, orders, markets, by=by, benchmarks=names))

    async def shortfall(
        self,
        run_id: str | None = None,
        *,
        by: str = "order",
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
        """
        check_level(by, ("order", "run"))
        orders = await OrderRepository(self._database).read(run_id, session=session)
        fills = await self.read(run_id, session=session)
        markets = await self._around(fills, orders, timeframe, session)
        ends = await ends_of_runs(self._database, orders["run_id"], session)
        return await self._database.in_thread(lambda: shortfall(fills, orders, markets, by=by, ends=ends))

    async def _around(
        self, fills: pl.DataFrame, orders: pl.DataFrame, timeframe: str | None, session: AsyncSession | None
    ) -> dict[str, Market]:
        """Read the bars of the days in which orders were made and filled."""
        times = [pl.col(name) for name in ("created_at", "submitted_at", "filled_at", "cancelled_at")]
        moments = pl.concat(
            [
                fills.select("symbol", "filled_at"),
                *(orders.select("symbol", filled_at=time) for time in times),
            ]
        ).drop_nulls()
        first, last = moments["filled_at"].min(), moments["filled_at"].max()
        if not isinstance(first, datetime) or not isinstance(last, datetime):
            return {}
        return await markets_of(self._database, moments, timeframe, shift(last, _DAYS), shift(first, -_DAYS), session)
