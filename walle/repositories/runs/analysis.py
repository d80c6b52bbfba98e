"""What a run was worth."""

from __future__ import annotations

from abc import abstractmethod
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import NamedTuple

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.calendars import calendar as find_calendar
from walle.database import Database
from walle.errors import InputError
from walle.fills.equity import currency_of, equity
from walle.fills.market import Markets
from walle.fills.matching import check_method
from walle.fills.trades import trades
from walle.records import Run
from walle.repositories.bars.calendars import DEFAULT, calendars_of
from walle.repositories.fills.fills import FillRepository
from walle.repositories.fills.market_bars import markets_of
from walle.repositories.fills.orders import OrderRepository
from walle.runs.metrics import metrics, periods_per_year
from walle.timeframe import length
from walle.validation import EPOCH

__all__ = ["RunAnalysis"]

_CASH = ("starting_cash", "cash")


class _Worth(NamedTuple):
    """What a run was worth, and what that was reckoned from."""

    run: Run
    fills: pl.DataFrame
    markets: Markets
    cash: Decimal
    equity: pl.DataFrame


class RunAnalysis:
    """The part of the runs' repository that reckons what a run was worth."""

    _database: Database

    @abstractmethod
    async def get(self, run_id: str, *, session: AsyncSession | None = None) -> Run:
        """Return one run."""

    async def equity(
        self,
        run_id: str,
        *,
        symbol: str | None = None,
        timeframe: str | None = None,
        starting_cash: Decimal | int | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Mark a run to the market at the close of every bar, from its start to its end.

        Parameters
        ----------
        run_id : str
        symbol : str, optional
            Only its fills of this one.
        timeframe : str, optional
            Of the bars. None: the shortest that is stored of each symbol.
        starting_cash : Decimal or int, optional
            None: ``starting_cash`` (or ``cash``) of the run's config, else 0.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.fills.equity.EQUITY`: time (UTC, the end of a bar), cash, position_value, equity and
            fees (Decimal(38, 18)), fills, orphan_fills, foreign_fees (counts so far), unmarked (symbols without a
            price); :func:`walle.fills.equity.equity` says how each is reckoned. Sorted by time. Where a bar is missing
            of a symbol that is held, position_value and equity are null. No row without fills or bars.

        Raises
        ------
        UnknownRun
            When it is not stored; near ids are offered.
        InputError
            When its symbols are priced in several currencies, or for a starting cash that is no exact number.
        """
        return (await self._worth(run_id, symbol, timeframe, starting_cash, session)).equity

    async def metrics(
        self,
        run_id: str,
        *,
        symbol: str | None = None,
        method: str = "fifo",
        timeframe: str | None = None,
        starting_cash: Decimal | int | None = None,
        returns: str = "day",
        periods: float | None = None,
        risk_free: float = 0.0,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Reckon the usual figures of a run: return, risk, drawdown, trades, fees.

        Parameters
        ----------
        run_id : str
        symbol : str, optional
            Only its fills of this one.
        method : str
            How fills become trades: ``fifo``, ``lifo`` or ``average``.
        timeframe, starting_cash
            As for :meth:`equity`.
        returns : str
            What volatility, Sharpe and Sortino look at: ``day``, the change from the last bar of a day (UTC) to that of
            the next one with bars; or ``bar``.
        periods : float, optional
            How many of these returns a year has. None: as many as the calendars of the symbols have sessions (or bars)
            in a mean year: 365.25 for 24/7, about 252 for XNYS.
        risk_free : float
            A year's interest without risk, such as 0.04.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.runs.metrics.METRICS`: metric, value (Float64: ratios, days, counts), amount
            (Decimal(38, 18): money) and its currency, unit, periods_per_year (of what is annualised), reason (why it
            could not be measured; value and amount are null then). :func:`walle.runs.metrics.metrics` lists the figures
            with their sources. No row without fills.

        Raises
        ------
        UnknownRun
            When it is not stored; near ids are offered.
        InputError
            As for :meth:`equity`; for another method or ``returns``, and ``periods`` that are not above 0.
        """
        check_method(method)
        worth = await self._worth(run_id, symbol, timeframe, starting_cash, session)
        run, fills, markets = worth.run, worth.fills, worth.markets
        if periods is None:
            periods = await self._periods(fills, markets, returns, session)
        chosen = partial(
            metrics,
            worth.equity,
            fills=fills,
            periods=periods,
            starting_cash=worth.cash,
            currency=currency_of(fills),
            returns=returns,
            risk_free=risk_free,
        )
        ends = {} if run.stopped_at is None else {run_id: run.stopped_at}
        return await self._database.in_thread(lambda: chosen(trades(fills, markets, method=method, ends=ends)))

    async def _worth(
        self,
        run_id: str,
        symbol: str | None,
        timeframe: str | None,
        starting_cash: Decimal | int | None,
        session: AsyncSession | None,
    ) -> _Worth:
        run = await self.get(run_id, session=session)
        cash = _cash(run, starting_cash)
        repository = FillRepository(self._database)
        fills = await repository.of_symbol(run_id, symbol, session=session)
        orders = await OrderRepository(self._database).read(run_id, session=session)
        markets = await markets_of(self._database, fills, timeframe, run.stopped_at, run.started_at, session)
        mark = partial(equity, fills, markets, starting_cash=cash, known_orders=orders["id"])
        marked = await self._database.in_thread(mark)
        if run.stopped_at is not None:
            marked = marked.filter(pl.col("time") <= run.stopped_at)
        return _Worth(run, fills, markets, cash, marked)

    async def _periods(
        self, fills: pl.DataFrame, markets: Markets, returns: str, session: AsyncSession | None
    ) -> float:
        """Return how many returns a year has under the calendars of the symbols."""
        symbols = fills["symbol"].drop_nulls().unique().sort().to_list()
        calendars = list((await calendars_of(self._database, symbols, session)).values())
        shortest = min((market.timeframe for market in markets.values()), key=length, default="1d")
        first, last = (fills["filled_at"][place] if fills.height else EPOCH for place in (0, -1))
        named = calendars or [find_calendar(DEFAULT)]
        of = shortest if returns == "bar" else "1d"
        return await self._database.in_thread(partial(periods_per_year, named, of, first, last))


def _cash(run: Run, given: Decimal | int | None) -> Decimal:
    value: object = given
    if given is None:
        value = next((run.config[name] for name in _CASH if run.config and run.config.get(name) is not None), 0)
    elif isinstance(given, bool) or not isinstance(given, Decimal | int):
        raise InputError(f"starting_cash={given!r} is no exact number: give a Decimal, such as Decimal('10000').")
    try:
        cash = Decimal(str(value))
    except InvalidOperation:
        cash = Decimal("NaN")
    if not cash.is_finite():
        raise InputError(f"the starting cash of run {run.id!r} is {value!r}, no number; give starting_cash=.")
    return cash
