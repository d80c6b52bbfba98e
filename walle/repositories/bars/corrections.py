"""Corrections of bars after their ingest: accept conflicts, withdraw bars, and list every version."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.extras import FurtherColumns, normal, unpacked
from walle.bars.ingest_source import BarOptions
from walle.bars.phase import Phases, Series
from walle.bars.spans import keys_of, spans_of, unpack
from walle.bars.versions import CANDIDATES, KEY, NEWEST, VALUES, VERSION, hold_against
from walle.database import Database, Writer
from walle.enums import OHLCV
from walle.errors import InputError
from walle.frames import BAR_VERSIONS, BARS, INSTANT, no_rows
from walle.interop import frame_of
from walle.repositories.bars.append import add_versions, enter
from walle.repositories.bars.as_of import resolve
from walle.repositories.bars.extras import ExtraRecords, extra_of, kinds_of
from walle.repositories.bars.index import BarIndex
from walle.repositories.bars.neighbours import Neighbours
from walle.repositories.bars.newest import newest, newest_of
from walle.repositories.bars.openings import Openings
from walle.repositories.bars.provenance import SeriesRecords
from walle.repositories.bars.series import StoredSeries, bars_in
from walle.repositories.common import Time, check_name, in_range, same_key
from walle.repositories.events.consumer_claims import whoami
from walle.repositories.select import expression, finish, read, wire_schema
from walle.repositories.tokens import AsOf, Known
from walle.timeframe import check_timeframe
from walle.types import wire
from walle.validation import check_text, parse_range

__all__ = ["BarCorrections"]

_VALUES = pl.Schema({name: BARS[name] for name in (*KEY, *OHLCV)})
_STATED = pl.Schema({**_VALUES, "extra": pl.String()})
_BROUGHT = pl.Schema(
    {"ingest": pl.Int64(), "symbol": pl.String(), "timeframe": pl.String(), "runs": pl.Binary(), "recorded_at": INSTANT}
)


class BarCorrections:
    """Versions of bars after their ingest.

    Parameters
    ----------
    database : Database
    index : BarIndex
    series : StoredSeries
    records : SeriesRecords
    """

    def __init__(self, database: Database, index: BarIndex, series: StoredSeries, records: SeriesRecords) -> None:
        self._database, self._index, self._series, self._records = database, index, series, records

    async def accept(self, conflicts: object, reason: str, author: str | None, session: AsyncSession | None) -> int:
        """Make conflicts the newest versions of their bars; return how many are.

        Raises
        ------
        InputError
        InvalidBars
            For a bar that was withdrawn and would come back on another grid than its series has by now.
        """
        record = _record("accept", reason, author)
        wanted = _conflicts_of(conflicts)
        phases, series = Phases(), set(wanted.select("symbol", "timeframe").iter_rows())
        await self._records.learn(phases, series, session)
        async with self._database.write(session) as writer:
            kinds = await ExtraRecords(FurtherColumns(None)).settle(writer, wanted)
            wanted = await self._as_stored(writer, wanted, kinds)
            await writer.hold_versions(series)
            unknown = (pl.lit(None, CANDIDATES[f"stored_{name}"]).alias(f"stored_{name}") for name in VALUES)
            rows = wanted.with_columns(*unknown, place=pl.lit(0, pl.Int64)).select(list(CANDIDATES))
            held = hold_against(rows, await self._current(writer, wanted), kinds)
            differs = ~pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"stored_{name}")) for name in VALUES)
            chosen = held.filter(differs).select(list(_STATED))
            back = held.filter(pl.col("stored_close").is_null())
            if back.height:
                spans, openings = spans_of(back), Openings(self._database, BarOptions())
                near = Neighbours(self._database, self._index, openings)
                await near.check(writer, [spans], phases, wanted.height, None, session, judged=False)
                await self._index.add(writer, spans, summed=False)
            if chosen.height:
                await self._append(writer, record, chosen)
        return chosen.height

    async def withdraw(
        self,
        symbol: str,
        timeframe: str,
        start: Time,
        end: Time,
        reason: str,
        author: str | None,
        session: AsyncSession | None,
    ) -> int:
        """Say that the bars that open in ``[start, end)`` are none; return how many were.

        Raises
        ------
        UnknownSymbol
        InputError
        """
        record = _record("withdraw", reason, author)
        check_name(symbol, "symbol")
        check_timeframe(timeframe)
        first, last = parse_range(start, end)
        if first is None or last is None or first == last:
            raise InputError(
                f"start={start!r}, end={end!r}: say which bars to withdraw, by both ends of a range [start, end) that "
                "is not empty."
            )
        await self._series.require([symbol], timeframe, session)
        async with self._database.write(session) as writer:
            await self._index.lock(writer, (symbol, timeframe))
            await writer.hold_versions([(symbol, timeframe)])
            there = await self._accepted(writer, symbol, timeframe, first, last)
            if there.is_empty():
                raise InputError(
                    f"no {timeframe} bar of {symbol!r} opens from {first.isoformat()} until before {last.isoformat()}, "
                    "so there is none to withdraw."
                )
            await self._index.remove(writer, (symbol, timeframe), there)
            empty = there.select(*KEY, *(pl.lit(None, VERSION[name]).alias(name) for name in VALUES))
            await self._append(writer, record, empty)
        return there.height

    async def versions(
        self,
        symbol: str,
        timeframe: str,
        start: Time,
        end: Time,
        changed: bool,
        as_of: AsOf,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """List the versions of bars: columns of ``BAR_VERSIONS``."""
        check_name(symbol, "symbol")
        await self._series.require([symbol], timeframe, session)
        token = await resolve(self._database, as_of, session)
        table, conditions = models.bars, bars_in(symbol, timeframe, start, end)
        kinds = await kinds_of(self._database, [symbol], timeframe, session)
        stated = _STATED if kinds else _VALUES
        columns = [expression(self._database, table, name) for name in _VALUES]
        columns += [wire(extra_of(table), self._database.dialect.name).label("extra")] if kinds else []
        statement = sa.select(*columns).where(*conditions)
        later = await self._later_versions(symbol, timeframe, start, end, token, session)
        if changed:
            statement = statement.where(sa.exists().where(same_key(models.bar_versions, table, KEY)))
        first = await read(self._database, statement, stated, session)
        if token is not None:  # looked at before the ingests, one of which may tell of them by then
            unnoticed = await self._index.unnoticed({(symbol, timeframe)}, session)
            first = first.join(unnoticed, on=KEY, how="anti")
        told = await self._brought(symbol, timeframe, session)
        known = first.join(told, on=KEY, how="left")
        if token is not None:
            ingest = pl.col("ingest").fill_null(0)
            known = known.filter((ingest <= token.last) & ~ingest.is_in(token.without))
            later = later.join(known, on=KEY, how="semi")
        # what marks a first version as provisional stands with the further ones, of the same ingest
        marks = later.filter("provisional").sort("id").unique(KEY, keep="first").select(*KEY, "ingest", mark="id")
        known = known.join(marks, on=[*KEY, "ingest"], how="left").with_columns(
            provisional=pl.col("mark").is_not_null(), reason=pl.lit(None, pl.String), author=pl.lit(None, pl.String)
        )
        later = later.filter(~pl.col("id").is_in(known["mark"].drop_nulls().implode()))
        both = pl.concat([known.with_columns(id=pl.lit(0, pl.Int64)), later], how="diagonal").sort(*KEY, "id")
        numbered = both.with_columns(version=pl.int_range(1, pl.len() + 1).over(KEY))
        plain = numbered.select(list(BAR_VERSIONS)).cast(BAR_VERSIONS)
        if not kinds:
            return plain
        place = plain.columns.index("volume") + 1
        return plain.select(*plain.columns[:place], *unpacked(numbered["extra"], kinds), *plain.columns[place:])

    async def _later_versions(
        self, symbol: str, timeframe: str, start: Time, end: Time, token: Known | None, session: AsyncSession | None
    ) -> pl.DataFrame:
        table = models.bar_versions
        told = ("provisional", "ingest", "reason", "author", "recorded_at")
        schema = pl.Schema({"id": pl.Int64(), **_STATED, **{name: BAR_VERSIONS[name] for name in told}})
        if not self._database.has(table):
            return pl.DataFrame(schema=schema)
        conditions = [
            table.c.symbol == symbol,
            table.c.timeframe == timeframe,
            *in_range(table.c.timestamp, start, end),
        ]
        conditions += [] if token is None else [token.includes(table.c.ingest)]
        statement = sa.select(*(expression(self._database, table, name) for name in schema)).where(*conditions)
        return await read(self._database, statement, schema, session)

    async def _brought(self, symbol: str, timeframe: str, session: AsyncSession | None) -> pl.DataFrame:
        """Return which ingest brought each bar of a series, and when: the columns of KEY, ingest, recorded_at."""
        table, ingests = models.bar_ingests, models.ingests
        if not self._database.has(table):
            return pl.DataFrame(schema={**keys_of(unpack([])).schema, "ingest": pl.Int64(), "recorded_at": INSTANT})
        columns = [expression(self._database, table, name) for name in list(_BROUGHT)[:4]]
        time = expression(self._database, ingests, "ingested_at").label("recorded_at")
        statement = sa.select(*columns, time).join_from(table, ingests, table.c.ingest == ingests.c.id)
        own = statement.where(table.c.symbol == symbol, table.c.timeframe == timeframe)
        rows = await read(self._database, own, _BROUGHT, session)
        # all at once, each under the number of its ingest
        packed = [(str(number), timeframe, runs) for number, runs in rows.select("ingest", "runs").iter_rows()]
        times = keys_of(unpack(packed)).select(
            pl.lit(symbol).alias("symbol"), "timeframe", "timestamp", ingest=pl.col("symbol").cast(pl.Int64)
        )
        moments = rows.select("ingest", "recorded_at").unique("ingest")
        dated = times.join(moments, on="ingest", how="left", maintain_order="left")
        return dated.sort("ingest", maintain_order=True).unique(KEY, keep="first", maintain_order=True)

    async def _as_stored(
        self, writer: Writer, wanted: pl.DataFrame, kinds: Mapping[Series, Mapping[str, str]]
    ) -> pl.DataFrame:
        """Return conflicts with their further columns as they are stored: columns of ``_STATED``.

        Raises
        ------
        InputError
        """
        table = models.bar_conflicts
        parts = [no_rows(_STATED)]
        for (symbol, timeframe), rows in wanted.group_by("symbol", "timeframe"):
            lo, hi = rows["timestamp"].min(), rows["timestamp"].max()
            here = [table.c.symbol == symbol, table.c.timeframe == timeframe, table.c.timestamp.between(lo, hi)]
            columns = [wire(table.c[name], writer.dialect.name) for name in _STATED]
            parts.append(finish(await writer.fetch(sa.select(*columns).where(*here), wire_schema(_STATED)), _STATED))
        stored = pl.concat(parts)
        unknown = wanted.join(stored, on=list(_VALUES), how="anti")
        if unknown.height:
            first = unknown.row(0, named=True)
            raise InputError(
                f"{unknown.height:,} of {wanted.height:,} rows are no stored conflicts, so nothing was accepted; the "
                f"first is {first['symbol']} {first['timeframe']} {first['timestamp'].isoformat()} with close="
                f"{first['close']!r}. Take them from store.bars.conflicts() or from a report's .conflict_rows."
            )
        found = wanted.join(stored, on=list(_VALUES), maintain_order="left", suffix="_stored")
        if "extra" not in wanted.columns:
            return found
        for row in found.filter(pl.col("extra").is_not_null()).iter_rows(named=True):
            texts = pl.Series([row["extra"], row["extra_stored"]], dtype=pl.String)
            if normal(texts, kinds.get((row["symbol"], row["timeframe"]), {})).n_unique() > 1:
                raise InputError(
                    f"{row['symbol']} {row['timeframe']} {row['timestamp'].isoformat()}: the further columns "
                    f"{row['extra']} are not those of the stored conflict, {row['extra_stored']}, so nothing was "
                    "accepted. Of conflicts that differ in further columns alone the first is stored: ingest the right "
                    "ones with on_conflict='correct'."
                )
        return found.with_columns(extra="extra_stored").drop("extra_stored")

    async def _current(self, writer: Writer, wanted: pl.DataFrame) -> pl.DataFrame:
        """Return what holds of some bars: columns of ``NEWEST``."""
        table, parts = models.bars, [no_rows(NEWEST)]
        for (symbol, timeframe), rows in wanted.group_by("symbol", "timeframe"):
            lo, hi = rows["timestamp"].min(), rows["timestamp"].max()
            here = [table.c.symbol == symbol, table.c.timeframe == timeframe, table.c.timestamp.between(lo, hi)]
            stated = [*(table.c[name] for name in _VALUES), extra_of(table).label("extra")]
            columns = [wire(column, writer.dialect.name) for column in stated]
            first = finish(await writer.fetch(sa.select(*columns).where(*here), wire_schema(_STATED)), _STATED)
            parts.append(first.join(rows, on=KEY, how="semi").with_columns(provisional=False).cast(NEWEST))
        first, later = pl.concat(parts), await newest_of(writer, wanted)
        return pl.concat([first.join(later, on=KEY, how="anti"), later.join(first, on=KEY, how="semi")])

    async def _accepted(self, writer: Writer, symbol: str, timeframe: str, first: Any, last: Any) -> pl.DataFrame:
        """Return the bars of a range that hold: the columns of KEY."""
        table, kept = models.bars, models.bar_versions
        here = [table.c.symbol == symbol, table.c.timeframe == timeframe]
        here += [table.c.timestamp >= first, table.c.timestamp < last]
        schema = pl.Schema({name: BARS[name] for name in KEY})
        columns = [wire(table.c[name], writer.dialect.name) for name in schema]
        bars = finish(await writer.fetch(sa.select(*columns).where(*here), wire_schema(schema)), schema)
        own = [kept.c.symbol == symbol, kept.c.timeframe == timeframe]
        own += [kept.c.timestamp >= first, kept.c.timestamp < last]
        later = finish(await writer.fetch(newest(writer.dialect.name, own), wire_schema(NEWEST)), NEWEST)
        return bars.join(later.filter(pl.col("close").is_null()), on=KEY, how="anti").sort("timestamp")

    async def _append(self, writer: Writer, record: dict[str, Any], values: pl.DataFrame) -> None:
        series = values.select("symbol", "timeframe").unique()
        only = series.row(0) if series.height == 1 else (None, None)
        counts = {"rows": values.height, "corrected": values.height}
        zero = dict.fromkeys(("inserted", "duplicates", "conflicts", "rejected", "unfinished"), 0)
        number = await enter(writer, {**record, **zero, **counts, "symbol": only[0], "timeframe": only[1]})
        versions = values.with_columns(provisional=False, reason=pl.lit(record["reason"]))
        await add_versions(writer, number, versions.select(list(VERSION)).cast(VERSION), str(record["author"]))


def _record(source: str, reason: str, author: str | None) -> dict[str, Any]:
    return {
        "source": source,
        "reason": check_text(reason, "reason", maximum=2_000),
        "author": check_text(whoami() if author is None else author, "author", maximum=200),
    }


def _conflicts_of(conflicts: object) -> pl.DataFrame:
    """Return given conflicts, each bar once: columns of ``_VALUES``.

    Raises
    ------
    InputError
    """
    frame = frame_of(conflicts, "conflicts")
    if frame is None or not set(_VALUES) <= set(frame.columns):
        raise InputError(
            "conflicts= is a frame of conflicts: rows of store.bars.conflicts() or of a report's .conflict_rows "
            f"(with {', '.join(_VALUES)})."
        )
    try:
        told = _STATED if "extra" in frame.columns else _VALUES
        wanted = frame.select(list(told)).cast(told).unique(maintain_order=True)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"conflicts= has columns of other types than store.bars.conflicts(): {error}") from error
    if wanted.select(list(_VALUES)).null_count().sum_horizontal().item():
        raise InputError("conflicts= has rows without a value; take them from store.bars.conflicts().")
    twice = wanted.filter(pl.struct(KEY).is_duplicated())
    if twice.height:
        first = twice.row(0, named=True)
        raise InputError(
            f"conflicts= has {twice.height:,} rows that give one bar two values: the first is {first['symbol']} "
            f"{first['timeframe']} {first['timestamp'].isoformat()}. Choose one of each bar."
        )
    return wanted
