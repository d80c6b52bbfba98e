"""The index of the bars: their opening times, packed, kept by the transaction that writes them.

A row of ``bar_index`` holds opening times of one series; the union of its rows is the whole series. Our own writers
merge new times into the series' row if they get its lock at once, and add a row otherwise, so that no writer waits for
another here. When another program writes bars, triggers add a mark (a row without runs) in the same transaction; the
next reader of the index looks those bars up and replaces the mark. Bars that neither an ingest tells of nor the index
held are new then. When bars are deleted, triggers turn the rows of their series into marks, which keep their number of
unexpected bars; what the index held is lost then, so no bar of the series is taken for new.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.phase import Series
from walle.bars.spans import (
    SPANS,
    SUMMARY,
    count_bars,
    join_spans,
    keys_of,
    pack,
    spans_of,
    summaries,
    times_of,
    unpack,
    without,
)
from walle.bars.versions import KEY
from walle.database import Database, Writer
from walle.errors import DatabaseBusy, ReadOnly, StorageFull
from walle.frames import BARS, INSTANT, no_rows
from walle.repositories.bars.append import add_times, enter
from walle.repositories.common import IN_LIST, same_key
from walle.repositories.select import expression, read
from walle.validation import from_microseconds

__all__ = ["BarIndex"]

FULL = 65_536
"""The size in packed bytes from which a row is no longer rewritten for a few bars."""

_SERIES = ["symbol", "timeframe"]
_SERIES_SUMMARY = pl.Schema(
    {"symbol": pl.String(), "timeframe": pl.String(), "first": INSTANT, "last": INSTANT}
    | dict.fromkeys(SUMMARY, pl.Int64())
)
_PACKED = pl.Schema(
    {"id": pl.Int64()}
    | {name: _SERIES_SUMMARY[name] for name in (*_SERIES, "first", "last", "bars")}
    | {"unexpected": pl.Int64(), "runs": pl.Binary()}
)
_HELD = pl.Schema({"unexpected": pl.Int64(), "runs": pl.Binary()})
_RUNS = pl.Schema({"runs": pl.Binary()})
_Fetch = Callable[[sa.Select[Any], pl.Schema], Awaitable[pl.DataFrame]]
_TIME = pl.Schema({"timestamp": BARS["timestamp"]})


class BarIndex:
    """The opening times of every series, without reading its bars.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def exists(self) -> bool:
        """Whether the database has an index; older revisions and the backend's own have none."""
        return self._database.has(models.bar_index)

    async def add(self, writer: Writer, spans: pl.DataFrame, *, summed: bool) -> None:
        """Add opening times, in the transaction that writes their bars.

        Parameters
        ----------
        writer : Writer
        spans : polars.DataFrame
            Columns of ``SPANS``; they may include times that are already known.
        summed : bool
            For a large write: rewrite full rows too, and store the summaries; otherwise readers compute them.
        """
        wanted = set(spans.select(_SERIES).iter_rows())
        places, old = await self._known(writer, wanted, FULL if not summed else None)
        joined = join_spans(pl.concat([old, spans]))
        changed = set(joined.join(old, on=list(SPANS), how="anti").select(_SERIES).iter_rows())
        changed |= {series for series, ids in places.items() if len(ids) > 1}
        records = _records(joined, changed, summed=summed)
        table, gone = models.bar_index, [number for series in changed for number in places.get(series, [])[1:]]
        if new := [record for series, record in records.items() if series not in places]:
            await writer.execute(sa.insert(table), new)
        if again := [record | {"place": places[series][0]} for series, record in records.items() if series in places]:
            await writer.execute(sa.update(table).where(table.c.id == sa.bindparam("place")), again)
        if gone:
            await writer.execute(sa.delete(table).where(table.c.id.in_(gone)))

    async def lock(self, writer: Writer, series: Series) -> None:
        """Wait for the writers of a series' rows, and hold them off until the transaction ends."""
        table = models.bar_index
        rows = sa.select(table.c.id).where(*_one(*series)).order_by(table.c.id)
        await writer.execute(rows.with_for_update())

    async def remove(self, writer: Writer, series: Series, keys: pl.DataFrame) -> None:
        """Remove opening times of a series, in the transaction that withdraws its bars and holds its lock.

        Parameters
        ----------
        writer : Writer
        series : (symbol, timeframe)
        keys : polars.DataFrame
            symbol, timeframe, timestamp.
        """
        table = models.bar_index
        statement = sa.select(table.c.id, table.c.runs).where(*_one(*series), table.c.runs.is_not(None))
        rows = (await writer.execute(statement.order_by(table.c.id))).all()
        if not rows:
            return
        left = without(join_spans(unpack([(*series, row.runs) for row in rows])), keys)
        await writer.execute(sa.delete(table).where(table.c.id.in_([row.id for row in rows])))
        if left.height:
            await writer.execute(sa.insert(table), list(_records(left, {series}, summed=True).values()))

    async def _known(
        self, writer: Writer, wanted: set[Series], limit: int | None
    ) -> tuple[dict[Series, list[int]], pl.DataFrame]:
        """Lock the rows of series with fewer packed bytes than a limit; return their ids and spans."""
        table = models.bar_index
        statement = sa.select(table.c.id, table.c.symbol, table.c.timeframe, table.c.runs).where(
            table.c.runs.is_not(None)
        )
        if limit is not None:
            statement = statement.where(sa.func.length(table.c.runs) < limit)
        places: dict[Series, list[int]] = {}
        packed = []
        ordered = sorted(wanted)
        for start in range(0, len(ordered), IN_LIST):  # rows of other symbols stay unlocked
            some = statement.where(*_among(set(ordered[start : start + IN_LIST])))
            for row in await writer.execute(some.order_by(table.c.id).with_for_update(skip_locked=True)):
                series = (row.symbol, row.timeframe)
                if series in wanted and row.id not in places.get(series, ()):
                    places.setdefault(series, []).append(row.id)
                    packed.append((*series, row.runs))
        return places, unpack(packed)

    async def series(
        self,
        symbol: str | Collection[str] | None = None,
        timeframe: str | None = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Return a summary of the stored series, of all or of some symbols.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, first, last (UTC), bars, and under the calendar 24/7: expected, missing, gaps,
            longest_gap, unexpected (null for bars that are no spans, such as 1M); one row per series, sorted.
        """
        table = models.bar_index
        columns = [expression(self._database, table, name) for name in _SERIES_SUMMARY]
        marked = sa.case((table.c.runs.is_(None), 1), else_=0).label("marked")
        statement = sa.select(*columns, marked).where(*_one(symbol, timeframe))
        rows = await read(self._database, statement, {**_SERIES_SUMMARY, "marked": pl.Int64()}, session)
        alone = (pl.len().over(_SERIES) == 1) & (pl.col("marked") == 0) & pl.col("expected").is_not_null()
        rows = rows.with_columns(alone=alone)
        summary = rows.filter("alone").select(list(_SERIES_SUMMARY))
        others = set(rows.filter(~pl.col("alone")).select(_SERIES).iter_rows())
        if others:
            summary = pl.concat([summary, summaries(await self.spans(others, session)).cast(_SERIES_SUMMARY)])
        return summary.sort(_SERIES)

    async def spans(self, wanted: set[Series], session: AsyncSession | None = None) -> pl.DataFrame:
        """Return the opening times of series: columns of ``SPANS``, joined."""
        columns = [expression(self._database, models.bar_index, name) for name in _PACKED]
        found = await read(self._database, sa.select(*columns).where(*_among(wanted)), _PACKED, session)
        rows = [row for row in found.iter_rows(named=True) if (row["symbol"], row["timeframe"]) in wanted]
        packed = [(row["symbol"], row["timeframe"], row["runs"]) for row in rows if row["runs"] is not None]
        parts = [unpack(packed)]
        marks = [row for row in rows if row["runs"] is None]
        if marks:
            looked_up = await self._look_up(marks, session)
            parts.append(looked_up)
            if session is None and not self._database.read_only:
                await self._settle(marks, looked_up)
        return join_spans(pl.concat(parts))

    async def settle(self) -> None:
        """Look up the bars of other programs that nobody has looked up yet; one ingest then tells of them.

        If that would wait or fails, they stay unnoticed.
        """
        if self.exists and not self._database.read_only and (marks := await self._marks([], None)):
            await self._settle(marks, await self._look_up(marks, None))

    async def unnoticed(self, wanted: set[Series], session: AsyncSession | None) -> pl.DataFrame:
        """Return the new bars of other programs, of which no ingest tells until somebody looks them up.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, timestamp.
        """
        marks = await self._marks(_among(wanted), session) if self.exists else []
        marks = [mark for mark in marks if (mark["symbol"], mark["timeframe"]) in wanted]
        found = await self._look_up(marks, session) if marks else no_rows(SPANS)
        return keys_of(await self._new(partial(read, self._database, session=session), marks, found))

    async def _marks(
        self, conditions: Sequence[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> list[dict[str, Any]]:
        table = models.bar_index
        columns = [expression(self._database, table, name) for name in _PACKED]
        statement = sa.select(*columns).where(table.c.runs.is_(None), *conditions)
        return (await read(self._database, statement, _PACKED, session)).rows(named=True)

    async def times(self, symbol: str, timeframe: str, session: AsyncSession | None = None) -> pl.Series:
        """Return the opening times of one series: Datetime("us", "UTC"), ascending."""
        return times_of(await self.spans({(symbol, timeframe)}, session))

    async def _look_up(self, marks: Sequence[Mapping[str, Any]], session: AsyncSession | None) -> pl.DataFrame:
        """Return the spans of the bars that marks refer to."""
        table, parts = models.bars, [no_rows(SPANS)]
        spans = pl.DataFrame(marks, schema=_PACKED).group_by(_SERIES).agg(pl.min("first"), pl.max("last"))
        for symbol, timeframe, first, last in spans.iter_rows():
            statement = sa.select(expression(self._database, table, "timestamp")).where(
                table.c.symbol == symbol, table.c.timeframe == timeframe, table.c.timestamp.between(first, last)
            )
            if self._database.has(models.bar_versions):
                statement = statement.where(~_withdrawn())
            times = await read(self._database, statement.order_by(table.c.timestamp), _TIME, session)
            named = pl.lit(symbol).alias("symbol"), pl.lit(timeframe).alias("timeframe")
            parts.append(spans_of(times.select(*named, "timestamp")))
        return pl.concat(parts)

    async def _settle(self, marks: Sequence[Mapping[str, Any]], spans: pl.DataFrame) -> None:
        """Replace marks by the spans of their bars; if that would wait or fails, leave it to the next reader.

        The bars were read after the marks, so they include all that the marks refer to. A mark stays if it has changed
        since (each further write increments its ``bars``) or is being changed.

        Raises
        ------
        _Changed
            Only inside, to roll back; the caller never sees it.
        """
        table, seen = models.bar_index, [(mark["id"], mark["bars"]) for mark in marks]
        with contextlib.suppress(DatabaseBusy, ReadOnly, StorageFull, _Changed):
            async with self._database.write(wait=False) as writer:
                for start in range(0, len(seen), IN_LIST):
                    part = seen[start : start + IN_LIST]
                    same = table.c.runs.is_(None), sa.tuple_(table.c.id, table.c.bars).in_(part)
                    free = sa.select(table.c.id).where(*same).with_for_update(skip_locked=True)
                    ids = (await writer.execute(free)).scalars().all()
                    if len(ids) < len(part):
                        raise _Changed
                    await writer.execute(sa.delete(table).where(table.c.id.in_(ids)))
                noticed = await self._new(writer.fetch, marks, spans)
                await self.add(writer, spans, summed=True)
                if noticed.height:
                    await self._notice(writer, noticed)

    async def _new(self, fetch: _Fetch, marks: Sequence[Mapping[str, Any]], spans: pl.DataFrame) -> pl.DataFrame:
        """Return those opening times of marks that no ingest tells of and that the index did not hold: ``SPANS``.

        What the index held of a series is lost once a row of it has become a mark: then none of its bars is new.
        """
        told, held, packed = models.bar_ingests, models.bar_index, []
        lost = {(mark["symbol"], mark["timeframe"]) for mark in marks if mark["unexpected"] is not None}
        for symbol, timeframe in spans.select(_SERIES).unique().iter_rows():
            columns = [expression(self._database, told, name) for name in _RUNS]
            own = sa.select(*columns).where(told.c.symbol == symbol, told.c.timeframe == timeframe)
            brought = (await fetch(own, _RUNS))["runs"].to_list()  # first: who notices bars tells of them and adds them
            columns = [expression(self._database, held, name) for name in _HELD]
            rows = await fetch(sa.select(*columns).where(*_one(symbol, timeframe)), _HELD)
            if rows.filter(pl.col("runs").is_null() & pl.col("unexpected").is_not_null()).height:  # deleted since
                lost.add((symbol, timeframe))
            packed += [(symbol, timeframe, runs) for runs in [*brought, *rows["runs"].drop_nulls()]]
        known_before = pl.DataFrame(sorted(lost), schema=pl.Schema(dict.fromkeys(_SERIES, pl.String())), orient="row")
        found = spans.join(known_before, on=_SERIES, how="anti", maintain_order="left")
        return without(found, keys_of(join_spans(unpack(packed))))

    async def _notice(self, writer: Writer, spans: pl.DataFrame) -> None:
        """Record bars of another program as an ingest of the time at which they were noticed."""
        rows = int(count_bars(spans)["bars"].sum())
        counts = dict.fromkeys(("duplicates", "conflicts", "rejected", "corrected", "unfinished"), 0)
        number = await enter(writer, {"source": "noticed", "rows": rows, "inserted": rows, **counts})
        await add_times(writer, number, spans)


class _Changed(Exception):
    """A mark has changed since it was read, or is locked by another transaction."""


def _withdrawn() -> sa.ColumnElement[bool]:
    """Return whether the newest version of a bar says that it is none."""
    kept, later = models.bar_versions, models.bar_versions.alias("later")
    superseded = sa.exists().where(same_key(later, kept, KEY), later.c.id > kept.c.id).correlate(kept)
    one = sa.exists().where(same_key(kept, models.bars, KEY), kept.c.close.is_(None), ~superseded)
    return one.correlate(models.bars)


def _records(spans: pl.DataFrame, wanted: set[Series], *, summed: bool) -> dict[Series, dict[str, Any]]:
    """Return the rows to store for some series."""
    summary = (summaries if summed else count_bars)(spans)
    counts = {(row["symbol"], row["timeframe"]): row for row in summary.iter_rows(named=True)}
    packed = {(str(symbol), str(timeframe)): pack(part) for (symbol, timeframe), part in _parts(spans, wanted)}
    return {
        series: dict.fromkeys(SUMMARY)
        | counts[series]
        | {name: from_microseconds(counts[series][name]) for name in ("first", "last")}
        | {"unexpected": counts[series].get("unexpected") or 0, "runs": blob}  # never null, as in a mark of new bars
        for series, blob in packed.items()
    }


def _parts(spans: pl.DataFrame, wanted: set[Series]) -> list[tuple[tuple[object, ...], pl.DataFrame]]:
    return [(key, part) for key, part in spans.partition_by(_SERIES, as_dict=True).items() if key in wanted]


def _one(symbol: str | Collection[str] | None, timeframe: str | None) -> list[sa.ColumnElement[bool]]:
    table = models.bar_index
    conditions: list[sa.ColumnElement[bool]] = []
    if symbol is not None:
        conditions.append(table.c.symbol.in_([symbol] if isinstance(symbol, str) else list(symbol)))
    return conditions if timeframe is None else [*conditions, table.c.timeframe == timeframe]


def _among(wanted: set[Series]) -> list[sa.ColumnElement[bool]]:
    if len(wanted) == 1:
        return _one(*next(iter(wanted)))
    symbols = sorted({symbol for symbol, _ in wanted})
    return [models.bar_index.c.symbol.in_(symbols)] if len(symbols) <= IN_LIST else []
