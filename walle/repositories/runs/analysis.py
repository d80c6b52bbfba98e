"""What runs were worth, and the entries that it stands on."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.database import Database
from walle.fills.equity import currencies_of, equity, single_cash
from walle.fills.holdings import with_holdings
from walle.fills.ledger import ledger
from walle.fills.rates import Rate
from walle.records import Run
from walle.repositories.as_of import known_at
from walle.repositories.common import Time
from walle.repositories.fills.books import beside
from walle.repositories.fills.market_bars import markets_of
from walle.repositories.fills.orders import OrderRepository
from walle.repositories.fills.rates import check_rates, rates_to
from walle.repositories.fills.read import FillReader
from walle.repositories.runs.read import RunReader
from walle.repositories.runs.worth import StartingCash, cash_of

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

    async def ledger(
        self, run_id: str, starting_cash: StartingCash | None, as_of: Time, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Return what a run did to its holdings, entry by entry."""
        moment = await known_at(self._database, as_of, session)
        run = await self._reader.saved(run_id, session)
        cash = cash_of(run_id, run, starting_cash)
        fills = await FillReader(self._database).read(run_id, known=moment, session=session)
        known = await beside(self._database, fills, run_id, session, moment)
        start = single_cash(cash, fills, known.facts)
        entries = partial(ledger, fills, known.facts, starting_cash=start, flows=known.flows, prices=_prices(run))
        stopped = None if run is None else run.stopped_at
        return await self._database.in_thread(lambda: entries(actions=known.until(stopped, _prices(run)).actions))

    async def equity(
        self,
        run_id: str,
        symbol: str | None,
        timeframe: str | None,
        starting_cash: StartingCash | None,
        currency: str | None,
        rates: pl.DataFrame | None,
        as_of: Time,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the equity of a run, bar by bar."""
        check_rates(currency, rates)
        moment = await known_at(self._database, as_of, session)
        run = await self._reader.saved(run_id, session)
        started, stopped = (None, None) if run is None else (run.started_at, run.stopped_at)
        cash = cash_of(run_id, run, starting_cash)
        fills = await FillReader(self._database).of_symbol(run_id, symbol, known=moment, session=session)
        orders = await OrderRepository(self._database).read(run_id, session=session)
        preferred = None if run is None else run.timeframe
        known = (await beside(self._database, fills, run_id, session, moment)).until(stopped, _prices(run)).of(symbol)
        moved = with_holdings(known.flows, known.facts).drop_nulls("holding")["time"].min()
        since = min((time for time in (started, moved) if isinstance(time, datetime)), default=None)
        markets = await markets_of(
            self._database, fills, timeframe, stopped, since, session, preferred=preferred, known=moment
        )
        found: dict[str, Rate] = {}
        first = fills["filled_at"].min()
        if currency is not None and isinstance(first, datetime):
            start = single_cash(cash, fills, known.facts, currency)
            held = [*currencies_of(fills, known.facts, start, known.flows), *known.actions["currency"]]
            moments = [first, started, *known.flows["time"].head(1)]
            span = (min(moment for moment in moments if moment is not None), stopped)
            found = await rates_to(self._database, currency, held, rates, span, timeframe, session, moment)
        mark = partial(
            equity,
            fills,
            markets,
            starting_cash=cash,
            known_orders=orders["id"],
            facts=known.facts,
            flows=known.flows,
            actions=known.actions,
            prices=_prices(run),
            currency=currency,
            rates=found,
        )
        marked = await self._database.in_thread(mark)
        return marked if stopped is None else marked.filter(pl.col("time") <= stopped)


def _prices(run: Run | None) -> str | None:
    return None if run is None else run.prices
