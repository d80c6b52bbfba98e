"""What a run was worth."""

from __future__ import annotations

from decimal import Decimal
from functools import partial

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.database import Database
from walle.fills.equity import equity
from walle.repositories.fills.market_bars import markets_of
from walle.repositories.fills.orders import OrderRepository
from walle.repositories.fills.read import FillReader
from walle.repositories.runs.read import RunReader
from walle.repositories.runs.worth import cash_of

__all__ = ["RunAnalysis"]


class RunAnalysis:
    """What runs were worth.

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
        starting_cash: Decimal | int | None,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return what a run was worth, bar by bar."""
        run = await self._reader.get(run_id, session=session)
        cash = cash_of(run_id, run, starting_cash)
        fills = await FillReader(self._database).of_symbol(run_id, symbol, session=session)
        orders = await OrderRepository(self._database).read(run_id, session=session)
        markets = await markets_of(
            self._database, fills, timeframe, run.stopped_at, run.started_at, session, preferred=run.timeframe
        )
        mark = partial(equity, fills, markets, starting_cash=cash, known_orders=orders["id"])
        marked = await self._database.in_thread(mark)
        if run.stopped_at is not None:
            marked = marked.filter(pl.col("time") <= run.stopped_at)
        return marked
