"""Analyses of fills: round trips, the audit, costs and implementation shortfall."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.errors import InputError
from walle.fills.audit import Rule, audit, choose
from walle.fills.benchmarks import check_benchmarks
from walle.fills.costs import check_level, costs
from walle.fills.evidence import Thresholds
from walle.fills.market import Market
from walle.fills.matching import check_method
from walle.fills.rules import RULES
from walle.fills.shortfall import shortfall, traded
from walle.fills.trades import trades
from walle.repositories.answers import Answers, with_answers
from walle.repositories.as_of import known_at
from walle.repositories.common import Time
from walle.repositories.fills.audit_evidence import evidence_of
from walle.repositories.fills.books import beside, flows_of_runs, prices_of_runs
from walle.repositories.fills.market_bars import ends_of_runs, markets_of
from walle.repositories.fills.orders import OrderRepository, orders_with_fills
from walle.repositories.fills.read import FillReader
from walle.repositories.select import read
from walle.validation import shift

__all__ = ["FillAnalysis"]

_DAYS = timedelta(days=2)
"""Long enough to include the whole session around an instant."""


class FillAnalysis:
    """Compare fills with each other, with their orders and with bars.

    Parameters
    ----------
    database : Database
    reader : FillReader
    """

    def __init__(self, database: Database, reader: FillReader) -> None:
        self._database, self._reader = database, reader
        self.answers = Answers(database, "fills")

    async def trades(
        self,
        run_id: str | None,
        method: str,
        by: str,
        symbol: str | None,
        timeframe: str | None,
        dust: Decimal | None,
        as_of: Time,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Match fills into round trips."""
        check_method(method)
        moment = await known_at(self._database, as_of, session)
        fills = await self._reader.of_symbol(run_id, symbol, known=moment, session=session)
        if fills.is_empty():
            return trades(fills, method=method, by=by)
        ends = await ends_of_runs(self._database, fills["run_id"], session)
        latest = max(ends.values()) if set(fills["run_id"]) <= ends.keys() else None
        markets = await markets_of(self._database, fills, timeframe, latest, session=session, known=moment)
        known = await beside(self._database, fills, None, session, moment)
        ids = fills["run_id"].drop_nulls().unique().sort().to_list()
        flows = await flows_of_runs(self._database, ids, session, moment)
        prices: dict[str, str] = {}
        if known.actions.height:
            prices = await prices_of_runs(self._database, fills["run_id"], session)

        def match() -> pl.DataFrame:
            chosen = partial(trades, markets=markets, method=method, by=by, ends=ends, dust=dust)
            if known.actions.is_empty() and flows.is_empty() and known.shared:  # then nothing depends on the run
                return chosen(fills, facts=known.facts)
            found = []
            for part in fills.partition_by("run_id", maintain_order=True):
                on = prices.get(part["run_id"][0])
                actions = known.until(ends.get(part["run_id"][0]), on).actions
                paid = flows.filter(pl.col("run_id").eq_missing(pl.lit(part["run_id"][0], pl.String)))
                found.append(chosen(part, facts=known.facts_for(part), actions=actions, prices=on, flows=paid))
            return pl.concat(found).sort("run_id", "symbol", "trade", nulls_last=[True, False, False])

        return await self._database.in_thread(match)

    async def audit(
        self,
        run_id: str | None,
        rules: Iterable[str] | None,
        extra_rules: Iterable[Rule],
        timeframe: str | None,
        limits: Thresholds,
        as_of: Time,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Check fills against their orders, the bars and time."""
        chosen = [*choose(RULES, rules), *extra_rules]
        known = await known_at(self._database, as_of, session)
        evidence = await evidence_of(self._database, run_id, timeframe, limits, session, known)
        findings = await self._database.in_thread(lambda: audit(evidence, chosen))
        if findings.is_empty():
            return findings
        return with_answers(findings, await self.answers.standing(session, known))

    async def acknowledge(
        self, finding: object, reason: str, author: str | None, withdraw: bool, session: AsyncSession | None
    ) -> None:
        """Answer a finding; one that is given by its key has to be about what is stored.

        Raises
        ------
        InputError
        """
        if isinstance(finding, str):
            rule, _, about = finding.partition(":")
            kind, _, name = about.partition(":")
            if kind not in ("fill", "order", "run"):
                raise InputError(f"{finding!r} is no key of a finding, such as 'outside_bar:fill:f-1'.")
            choose(RULES, [rule])
            table = {"fill": models.fills, "order": models.orders}.get(kind)
            if table is not None and self._database.has(table):
                stored = sa.select(table.c.id).where(table.c.id == name)
                if (await read(self._database, stored, {"id": pl.String()}, session)).is_empty():
                    raise InputError(f"the finding {finding!r} is about the {kind} {name!r}, which is not stored.")
        await self.answers.save(finding, reason, author, withdraw, session)

    async def costs(
        self,
        run_id: str | None,
        by: str,
        benchmarks: str | Sequence[str],
        timeframe: str | None,
        as_of: Time,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Measure each fill against the market's prices."""
        check_level(by)
        names = check_benchmarks(benchmarks)
        moment = await known_at(self._database, as_of, session)
        fills = await self._reader.read(run_id, known=moment, session=session)
        orders = await orders_with_fills(self._database, run_id, fills, session)
        markets = await self._around(fills, orders, timeframe, session, moment)
        known = await beside(self._database, fills, None, session, moment)

        def measured() -> pl.DataFrame:
            return pl.concat(
                costs(part, orders, markets, by=by, benchmarks=names, facts=facts)
                for facts, part in known.by_run(fills)
            )

        return await self._database.in_thread(measured)

    async def shortfall(
        self, run_id: str | None, by: str, timeframe: str | None, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Measure the loss between the decision to trade and the result."""
        check_level(by, ("order", "run"))
        orders = await OrderRepository(self._database).read(run_id, session=session)
        fills = await self._reader.read(run_id, session=session)
        markets = await self._around(fills, orders, timeframe, session)
        ends = await ends_of_runs(self._database, orders["run_id"], session)
        every = traded(fills, orders)
        known = await beside(self._database, every, None, session)

        def measured() -> pl.DataFrame:
            return pl.concat(
                shortfall(mine, part, markets, by=by, ends=ends, facts=facts)
                for facts, _, part, mine in known.by_run(every, orders, fills)
            )

        return await self._database.in_thread(measured)

    async def _around(
        self,
        fills: pl.DataFrame,
        orders: pl.DataFrame,
        timeframe: str | None,
        session: AsyncSession | None,
        known: datetime | None = None,
    ) -> dict[str, Market]:
        """Read the bars of the days on which orders were made and filled."""
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
        begin, end = shift(first, -_DAYS), shift(last, _DAYS)
        return await markets_of(self._database, moments, timeframe, end, begin, session, known=known)
