"""The provider of each series of bars: one, and by whom and why it was set anew."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.phase import Phases, Series
from walle.database import Database, Writer
from walle.errors import InputError, OtherProvider
from walle.frames import PROVIDERS, no_rows
from walle.repositories.bars.provenance import SeriesRecords
from walle.repositories.bars.series import StoredSeries
from walle.repositories.common import IN_LIST, check_name
from walle.repositories.events.consumer_claims import whoami
from walle.repositories.select import expression, read
from walle.timeframe import check_timeframe
from walle.validation import check_text

__all__ = ["Providers"]

log: logging.Logger = logging.getLogger("walle")

_ADOPTED = "the first provider that an ingest named; earlier ones named none"
_NAMED = 3
"""Series that a line of the log names."""
_SERIES = ["symbol", "timeframe"]


class Providers:
    """The providers of series, and their changes, which are only added.

    Parameters
    ----------
    database : Database
    series : StoredSeries
    records : SeriesRecords
    """

    def __init__(self, database: Database, series: StoredSeries, records: SeriesRecords) -> None:
        self._database, self._series, self._records = database, series, records

    async def settle(self, writer: Writer, series: Collection[Series], provider: str | None) -> None:
        """Hold the provider of an ingest against those of its series; a series without one takes it.

        The rows of the series stay locked against :meth:`set`, but not against other ingests, until it ends.

        Raises
        ------
        OtherProvider
        """
        if provider is None or not series:
            return
        unnamed = sorted(key for key, name in (await self._named(writer, series)).items() if name is None)
        if unnamed:
            await self._adopt(writer, unnamed, provider)
        named = await self._named(writer, series, held=True)
        others = [(key, name) for key, name in sorted(named.items()) if name != provider]
        if others:
            (symbol, timeframe), stored = others[0]
            raise OtherProvider(symbol, timeframe, stored or "", provider, len(others) - 1)

    async def _adopt(self, writer: Writer, unnamed: Sequence[Series], provider: str) -> None:
        """Make a provider that of sorted series without one; another writer may be first."""
        table, adopted = models.bar_series, list[Series]()
        key = table.c.symbol, table.c.timeframe
        for at in range(0, len(unnamed), IN_LIST):
            mine = sa.tuple_(*key).in_(unnamed[at : at + IN_LIST]), table.c.provider.is_(None)
            free = sa.select(*key).where(*mine).order_by(*key).with_for_update()  # in one order, as other writers do
            if found := [(row.symbol, row.timeframe) for row in await writer.execute(free)]:
                change = sa.update(table).where(sa.tuple_(*key).in_(found))
                await writer.execute(change.values(provider=provider))
                adopted += found
        if not adopted:
            return
        said = {"provider": provider, "previous": None, "reason": _ADOPTED, "author": whoami()}
        changes = [{"symbol": symbol, "timeframe": timeframe, **said} for symbol, timeframe in adopted]
        await writer.execute(sa.insert(models.provider_changes), changes)
        named = ", ".join(" ".join(one) for one in adopted[:_NAMED])
        if len(adopted) > _NAMED:
            named = f"{len(adopted):,} series ({named}, ...)"
        log.warning("%s had no provider; from now on it is %r", named, provider)

    async def set(
        self,
        symbol: str,
        timeframe: str,
        provider: str,
        reason: str,
        author: str | None,
        session: AsyncSession | None,
    ) -> None:
        """Set the provider of a stored series anew.

        Raises
        ------
        UnknownSymbol, UnknownTimeframe
        InputError
            Also if it is the provider already.
        """
        key = (check_name(symbol, "symbol"), check_timeframe(timeframe))
        row: Mapping[str, Any] = {
            "provider": check_text(provider, "provider", maximum=200),
            "reason": check_text(reason, "reason", maximum=2_000),
            "author": check_text(whoami() if author is None else author, "author", maximum=200),
        }
        await self._series.choose(*key, session)
        phases, table = Phases(), models.bar_series
        unrecorded = await self._records.learn(phases, {key}, session)
        mine = table.c.symbol == symbol, table.c.timeframe == timeframe
        async with self._database.write(session) as writer:
            await self._records.record_series(writer, unrecorded, phases.known, None)
            held = sa.select(table.c.provider).where(*mine).with_for_update()
            previous = (await writer.execute(held)).scalar_one()
            if previous == provider:
                raise InputError(f"{provider!r} is the provider of {symbol} {timeframe} already.")
            await writer.execute(sa.update(table).where(*mine).values(provider=provider))
            change = {"symbol": symbol, "timeframe": timeframe, "previous": previous, **row}
            await writer.execute(sa.insert(models.provider_changes), change)

    async def list(self, session: AsyncSession | None) -> pl.DataFrame:
        """Return the providers and their changes: columns of ``PROVIDERS``."""
        series, changes = models.bar_series, models.provider_changes
        if not self._database.has(series):
            return no_rows(PROVIDERS)
        numbered = pl.Schema({**PROVIDERS, "id": pl.Int64()})
        now = {name: PROVIDERS[name] for name in (*_SERIES, "provider")}
        columns = [expression(self._database, series, name) for name in now]
        found = await read(self._database, sa.select(*columns).where(series.c.provider.is_not(None)), now, session)
        told = pl.DataFrame(schema=numbered)
        if self._database.has(changes):
            columns = [expression(self._database, changes, name) for name in numbered]
            told = await read(self._database, sa.select(*columns), numbered, session)
        never = found.join(told, on=_SERIES, how="anti")
        rows = pl.concat([told.sort("id").drop("id"), never], how="diagonal")
        return rows.select(list(PROVIDERS)).sort(_SERIES, maintain_order=True)

    async def _named(
        self, writer: Writer, wanted: Collection[Series], *, held: bool = False
    ) -> dict[Series, str | None]:
        """Return the provider of each series, None for those without one; ``held`` locks their rows for reading."""
        table, found = models.bar_series, {}
        symbols = sorted({symbol for symbol, _ in wanted})
        for at in range(0, len(symbols), IN_LIST):
            statement = sa.select(table.c.symbol, table.c.timeframe, table.c.provider).where(
                table.c.symbol.in_(symbols[at : at + IN_LIST]), table.c.timeframe.in_({period for _, period in wanted})
            )
            if held:
                statement = statement.order_by(table.c.symbol, table.c.timeframe).with_for_update(read=True)
            for row in await writer.execute(statement):
                if (row.symbol, row.timeframe) in wanted:
                    found[row.symbol, row.timeframe] = row.provider
        return found
