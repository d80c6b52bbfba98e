"""The equity and metrics of runs."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import NamedTuple

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.calendars import calendar as find_calendar
from walle.database import Database
from walle.errors import InputError
from walle.fills.equity import equity, priced_in
from walle.fills.market import Markets
from walle.fills.matching import check_method
from walle.fills.trades import trades
from walle.records import Run
from walle.repositories.bars.calendars import DEFAULT, calendars_of
from walle.repositories.fills.books import Beside, beside
from walle.repositories.fills.market_bars import markets_of
from walle.repositories.fills.orders import OrderRepository
from walle.repositories.fills.read import FillReader
from walle.repositories.runs.read import RunReader
from walle.runs.metrics import metrics, periods_per_year
from walle.timeframe import length
from walle.validation import EPOCH

__all__ = ["RunAnalysis"]

_CASH = ("starting_cash", "cash")
Cash = Decimal | int | Mapping[str, Decimal]


class _Worth(NamedTuple):
    """The equity of a run, and the data that it was computed from."""

    run: Run
    fills: pl.DataFrame
    markets: Markets
    beside: Beside
    cash: Decimal | Mapping[str | None, Decimal]
    equity: pl.DataFrame


class RunAnalysis:
    """The equity and metrics of runs.

    Parameters
    ----------
    database : Database
    reader : RunReader
    """

    def __init__(self, database: Database, reader: RunReader) -> None:
        self._database, self._reader = database, reader

    async def equity(
        self,
        run_id: str,
        symbol: str | None,
        timeframe: str | None,
        starting_cash: Cash | None,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the equity of a run, bar by bar."""
        return (await self._worth(run_id, symbol, timeframe, starting_cash, session)).equity

    async def metrics(
        self,
        run_id: str,
        symbol: str | None,
        method: str,
        timeframe: str | None,
        starting_cash: Cash | None,
        returns: str,
        periods: float | None,
        risk_free: float,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the usual performance metrics of a run.

        Raises
        ------
        InputError
            For a run of several currencies.
        """
        check_method(method)
        worth = await self._worth(run_id, symbol, timeframe, starting_cash, session)
        run, fills, markets = worth.run, worth.fills, worth.markets
        currencies = priced_in(fills, worth.beside.facts)
        if len(currencies) > 1:
            raise InputError(f"the run trades in {' and '.join(map(str, currencies))}: choose a symbol.")
        currency = currencies[0] if currencies else None
        if periods is None:
            periods = await self._periods(fills, markets, returns, session)
        chosen = partial(
            metrics,
            worth.equity.filter(pl.col("currency").eq_missing(pl.lit(currency, pl.String))),
            fills=fills,
            periods=periods,
            starting_cash=worth.cash if isinstance(worth.cash, Decimal) else worth.cash.get(currency, Decimal(0)),
            currency=currency,
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
        starting_cash: Cash | None,
        session: AsyncSession | None,
    ) -> _Worth:
        run = await self._reader.get(run_id, session=session)
        cash = _cash(run, starting_cash)
        fills = await FillReader(self._database).of_symbol(run_id, symbol, session=session)
        orders = await OrderRepository(self._database).read(run_id, session=session)
        markets = await markets_of(self._database, fills, timeframe, run.stopped_at, run.started_at, session)
        known = await beside(self._database, fills, run_id, session)
        mark = partial(
            equity,
            fills,
            markets,
            starting_cash=cash,
            known_orders=orders["id"],
            facts=known.facts,
            flows=known.flows,
            actions=known.actions,
            prices=run.prices,
        )
        marked = await self._database.in_thread(mark)
        if run.stopped_at is not None:
            marked = marked.filter(pl.col("time") <= run.stopped_at)
        return _Worth(run, fills, markets, known, cash, marked)

    async def _periods(
        self, fills: pl.DataFrame, markets: Markets, returns: str, session: AsyncSession | None
    ) -> float:
        """Return the number of returns in a year under the calendars of the symbols."""
        symbols = fills["symbol"].drop_nulls().unique().sort().to_list()
        calendars = list((await calendars_of(self._database, symbols, session)).values())
        shortest = min((market.timeframe for market in markets.values()), key=length, default="1d")
        first, last = (fills["filled_at"][place] if fills.height else EPOCH for place in (0, -1))
        named = calendars or [find_calendar(DEFAULT)]
        of = shortest if returns == "bar" else "1d"
        return await self._database.in_thread(partial(periods_per_year, named, of, first, last))


def _cash(run: Run, given: Cash | None) -> Decimal | Mapping[str | None, Decimal]:
    if isinstance(given, Mapping):
        return {name: _exact(run, amount) for name, amount in given.items()}
    return _exact(run, given)


def _exact(run: Run, given: object) -> Decimal:
    value = given
    if given is None:
        value = next((run.config[name] for name in _CASH if run.config and run.config.get(name) is not None), 0)
    elif isinstance(given, bool) or not isinstance(given, Decimal | int):
        raise InputError(f"starting_cash={given!r} is not an exact number: give a Decimal, such as Decimal('10000').")
    try:
        cash = Decimal(str(value))
    except InvalidOperation:
        cash = Decimal("NaN")
    if not cash.is_finite():
        raise InputError(f"the starting cash of run {run.id!r} is {value!r}, not a number; give starting_cash=.")
    return cash
