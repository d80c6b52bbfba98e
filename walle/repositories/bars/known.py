"""What is known about the bars of a series, now or as of an ingest: their newest versions, and their opening times."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.phase import Series
from walle.bars.spans import SPANS, join_spans, keys_of, spans_of, unpack, without
from walle.bars.versions import NEWEST
from walle.database import Database
from walle.frames import no_rows
from walle.notices import UnrecordedWarning, warn
from walle.repositories.bars.index import BarIndex
from walle.repositories.bars.newest import newest
from walle.repositories.common import IN_LIST, Time, in_range, one_of
from walle.repositories.select import expression, read
from walle.repositories.tokens import Known

__all__ = ["KnownBars"]

_SERIES = ["symbol", "timeframe"]
_PACKED = pl.Schema({"symbol": pl.String(), "timeframe": pl.String(), "runs": pl.Binary()})


class KnownBars:
    """The versions of bars, and which ingest brought which bar.

    Parameters
    ----------
    database : Database
    index : BarIndex
    """

    def __init__(self, database: Database, index: BarIndex) -> None:
        self._database, self._index = database, index

    @property
    def versioned(self) -> bool:
        """Whether the database keeps versions; older revisions and the backend's own do not."""
        return self._database.has(models.bar_versions)

    def unversioned(
        self, symbols: Sequence[str], timeframe: str, start: Time, end: Time
    ) -> list[sa.ColumnElement[bool]]:
        """Return the condition, evaluated once, that no bar of a range has a further version."""
        if not self.versioned:
            return []
        return [~sa.exists().where(*_in(models.bar_versions, symbols, timeframe, start, end))]

    def counted(self, symbols: Sequence[str], timeframe: str, start: Time, end: Time) -> sa.ScalarSelect[int]:
        """Return the number of further versions of the bars of a range; it only ascends."""
        conditions = _in(models.bar_versions, symbols, timeframe, start, end)
        return sa.select(sa.func.count(models.bar_versions.c.id)).where(*conditions).scalar_subquery()

    def newest_statement(
        self, symbols: Sequence[str], timeframe: str, start: Time, end: Time, as_of: Known | None
    ) -> sa.Select[tuple[object, ...]]:
        """Select the newest versions of the bars of a range: columns of ``NEWEST`` in their wire form."""
        conditions = _in(models.bar_versions, symbols, timeframe, start, end)
        return newest(self._database.dialect.name, conditions, as_of)

    async def newest(
        self,
        symbols: Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        as_of: Known | None,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the newest versions of the bars of a range, by key once: columns of ``NEWEST``."""
        if not self.versioned:
            return no_rows(NEWEST)
        statement = self.newest_statement(symbols, timeframe, start, end, as_of)
        return (await read(self._database, statement, NEWEST, session)).sort("symbol", "timestamp")

    async def later(self, wanted: set[Series], as_of: Known, session: AsyncSession | None) -> pl.DataFrame:
        """Return the bars of some series that came later: symbol, timeframe, timestamp."""
        if not self.versioned:
            return keys_of(no_rows(SPANS))
        table, packed, unnoticed = models.bar_ingests, [], []
        columns = [expression(self._database, table, name) for name in _PACKED]
        for some in _chunks(wanted):
            symbols = sorted({symbol for symbol, _ in some})
            unnoticed.append(await self._index.unnoticed(some, session))  # before an ingest tells of them
            statement = sa.select(*columns).where(table.c.symbol.in_(symbols), as_of.lacks(table.c.ingest))
            rows = await read(self._database, statement, _PACKED, session)
            packed += [row for row in rows.iter_rows() if (row[0], row[1]) in some]
        return pl.concat([keys_of(join_spans(unpack(packed))), *unnoticed])

    async def spans(self, wanted: set[Series], as_of: Known | None, session: AsyncSession | None) -> pl.DataFrame:
        """Return the opening times of the bars of some series: columns of ``SPANS``, joined."""
        now = [await self._index.spans(some, session) for some in _chunks(wanted)]
        spans = join_spans(pl.concat([no_rows(SPANS), *now]))
        if as_of is None or not self.versioned:
            return spans
        parts = [no_rows(NEWEST)]
        ever = [no_rows(NEWEST)]
        for timeframe in {timeframe for _, timeframe in wanted}:
            names = sorted(symbol for symbol, period in wanted if period == timeframe)
            for at in range(0, len(names), IN_LIST):
                few = names[at : at + IN_LIST]
                ever.append(await self.newest(few, timeframe, None, None, None, session))
                parts.append(await self.newest(few, timeframe, None, None, as_of, session))
        withdrawn = pl.concat(parts).filter(pl.col("close").is_null())
        # a bar that was withdrawn since was one then, and is not in the index
        whole = join_spans(pl.concat([spans, spans_of(pl.concat(ever))]))
        return without(without(whole, await self.later(wanted, as_of, session)), withdrawn)

    async def provisional(
        self, symbol: str, timeframe: str, start: Time, end: Time, as_of: Known | None, session: AsyncSession | None
    ) -> pl.Series:
        """Return the opening times of the bars that had not ended when they were stored."""
        found = await self.newest([symbol], timeframe, start, end, as_of, session)
        return found.filter("provisional")["timestamp"]

    async def warn_of_untold(self, wanted: set[Series], session: AsyncSession | None) -> None:
        """Warn of bars of which no ingest tells, since they count at every as-of."""
        untold = 0
        for some in _chunks(wanted) if self._index.exists else []:
            withdrawn = await self._withdrawn(some, session)
            for _ in range(3):
                bars = _sum(await self._index.series(sorted({name for name, _ in some}), session=session), some)
                told = await self._told(some, session)
                again = await self._withdrawn(some, session)
                if again.equals(withdrawn):  # else a writer came in between
                    break
                withdrawn = again
            later = (await self._index.unnoticed(some, session)).height
            untold += max(0, bars + withdrawn.height - told - later)  # what is withdrawn is not in the index
        if untold:
            warn(
                f"of {untold:,} bars it is unknown when they were stored (before this was kept, or by another "
                "program); they count at every as-of.",
                UnrecordedWarning,
            )

    async def _told(self, wanted: set[Series], session: AsyncSession | None) -> int:
        """Count the bars that ingests brought."""
        if not self.versioned:
            return 0
        table, symbols = models.bar_ingests, sorted({symbol for symbol, _ in wanted})
        total = sa.cast(sa.func.sum(table.c.bars), sa.BigInteger).label("bars")
        statement = sa.select(table.c.symbol, table.c.timeframe, total).where(table.c.symbol.in_(symbols))
        schema = pl.Schema({"symbol": pl.String(), "timeframe": pl.String(), "bars": pl.Int64()})
        grouped = statement.group_by(table.c.symbol, table.c.timeframe)
        return _sum(await read(self._database, grouped, schema, session), wanted)

    async def _withdrawn(self, wanted: set[Series], session: AsyncSession | None) -> pl.DataFrame:
        """Return the bars of some series that are withdrawn: columns of ``NEWEST``."""
        parts = [no_rows(NEWEST)]
        for timeframe in sorted({timeframe for _, timeframe in wanted}):
            names = sorted(symbol for symbol, period in wanted if period == timeframe)
            found = await self.newest(names, timeframe, None, None, None, session)
            parts.append(found.filter(pl.col("close").is_null()))
        return pl.concat(parts)


def _in(
    table: sa.Table, symbols: Sequence[str], timeframe: str, start: Time, end: Time
) -> list[sa.ColumnElement[bool]]:
    return [
        *one_of(table.c.symbol, symbols),
        table.c.timeframe == timeframe,
        *in_range(table.c.timestamp, start, end),
    ]


def _chunks(wanted: Collection[Series]) -> list[set[Series]]:
    ordered = sorted(wanted)
    return [set(ordered[at : at + IN_LIST]) for at in range(0, len(ordered), IN_LIST)]


def _sum(series: pl.DataFrame, wanted: set[Series]) -> int:
    return sum(
        bars for symbol, timeframe, bars in series.select(*_SERIES, "bars").iter_rows() if (symbol, timeframe) in wanted
    )
