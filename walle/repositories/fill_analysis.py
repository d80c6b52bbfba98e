"""What fills add up to, and whether they can be true: round trips and the audit."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl

from walle.database import Database
from walle.fills.audit import Evidence, Rule, Thresholds, audit, choose
from walle.fills.matching import check_method
from walle.fills.rules import RULES
from walle.fills.trades import trades
from walle.repositories.common import Time
from walle.repositories.market_data import ends_of_runs, markets_of
from walle.repositories.orders import OrderRepository

__all__ = ["FillAnalysis"]


class FillAnalysis:
    """The part of the fills' repository that holds fills against each other and against bars."""

    _database: Database

    @abstractmethod
    async def read(
        self, run_id: str | None = None, *, symbol: str | None = None, start: Time = None, end: Time = None
    ) -> pl.DataFrame:
        """Read fills as a frame."""

    async def trades(
        self,
        run_id: str | None = None,
        *,
        method: str = "fifo",
        symbol: str | None = None,
        timeframe: str | None = None,
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
        fills = await self.read(run_id, symbol=symbol)
        if fills.is_empty():
            return trades(fills, method=method)
        ends = await ends_of_runs(self._database, fills["run_id"].drop_nulls())
        latest = max(ends.values()) if set(fills["run_id"]) <= ends.keys() else None
        markets = await markets_of(self._database, fills, timeframe, latest)
        return trades(fills, markets, method=method, ends=ends)

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
    ) -> pl.DataFrame:
        """Hold fills against their orders, against the bars, and against time.

        Parameters
        ----------
        run_id : str, optional
            None: every run.
        rules : iterable of str, optional
            Only these, such as ``["outside_bar"]``; all of :data:`walle.fills.rules.RULES` by default.
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
        fills = await self.read(run_id)
        orders = await OrderRepository(self._database).read(run_id)
        if run_id is not None and not fills["order_id"].is_in(orders["id"].implode()).all():
            # an order may be of another run than its fill: that is a finding of its own, not a missing order
            every = await OrderRepository(self._database).read()
            orders = every.filter((pl.col("run_id") == run_id) | pl.col("id").is_in(fills["order_id"].implode()))
        last = fills["filled_at"].max()
        end = last + timedelta(microseconds=1) if isinstance(last, datetime) else None
        markets = await markets_of(self._database, fills, timeframe, end)
        return audit(Evidence(fills, orders, markets, limits), chosen)
