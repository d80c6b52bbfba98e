"""What fills add up to: round trips."""

from __future__ import annotations

from abc import abstractmethod

import polars as pl

from walle.database import Database
from walle.fills.matching import check_method
from walle.fills.trades import trades
from walle.repositories.common import Time
from walle.repositories.market_data import ends_of_runs, markets_of

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
