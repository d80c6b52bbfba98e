"""What a run was worth."""

from __future__ import annotations

from abc import abstractmethod
from decimal import Decimal, InvalidOperation

import polars as pl

from walle.database import Database
from walle.errors import InputError
from walle.fills.equity import equity
from walle.records import Run
from walle.repositories.fills import FillRepository
from walle.repositories.market_data import markets_of
from walle.repositories.orders import OrderRepository

__all__ = ["RunAnalysis"]

_CASH = ("starting_cash", "cash")


class RunAnalysis:
    """The part of the runs' repository that reckons what a run was worth."""

    _database: Database

    @abstractmethod
    async def get(self, run_id: str) -> Run:
        """Return one run."""

    async def equity(
        self,
        run_id: str,
        *,
        symbol: str | None = None,
        timeframe: str | None = None,
        starting_cash: Decimal | int | None = None,
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
        run = await self.get(run_id)
        cash = _cash(run, starting_cash)
        fills = await FillRepository(self._database).read(run_id, symbol=symbol)
        orders = await OrderRepository(self._database).read(run_id)
        markets = await markets_of(self._database, fills, timeframe, run.stopped_at, run.started_at)
        marked = equity(fills, markets, starting_cash=cash, known_orders=orders["id"])
        return marked if run.stopped_at is None else marked.filter(pl.col("time") <= run.stopped_at)


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
