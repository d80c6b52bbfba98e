"""Stored facts about markets: the calendar of each symbol, and why bars are missing."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from functools import partial

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.calendars import SESSIONS, Calendar, from_sessions
from walle.calendars import calendar as find_calendar
from walle.database import Database, Writer
from walle.errors import InputError
from walle.frames import CALENDARS, EXPLANATIONS, no_rows
from walle.repositories.bars.effects import gaps_around, warn_unexplaining, warn_unknown, warn_unset
from walle.repositories.bars.series import StoredSeries, symbol_list
from walle.repositories.common import IN_LIST, Time, check_name, one_of
from walle.repositories.events.consumer_claims import whoami
from walle.repositories.select import expression, read
from walle.timeframe import TIMEFRAMES
from walle.types import utc_now
from walle.validation import check_text, parse_range

__all__ = ["DEFAULT", "Calendars", "add_explanations", "calendars_of", "keep_calendar", "storable_calendar"]

DEFAULT = "24/7"
"""The calendar of a market that never closes."""


class Calendars:
    """The calendar of each symbol, and the explained gaps in its bars.

    Parameters
    ----------
    database : Database
    series : StoredSeries
    """

    def __init__(self, database: Database, series: StoredSeries) -> None:
        self._database, self._series = database, series

    async def set(
        self, symbol: str | Sequence[str], calendar: str | Calendar | None, session: AsyncSession | None
    ) -> None:
        """Store the calendar of symbols; None removes it."""
        symbols = [check_text(name, "symbol", maximum=128) for name in dict.fromkeys(symbol_list(symbol))]
        market = None if calendar is None else await self._database.in_thread(partial(storable_calendar, calendar))
        table = models.symbol_calendars
        if market is None:
            warn_unset(symbols, set((await self.list(session))["symbol"]))
        else:
            warn_unknown(symbols, set((await self._series.list(session))["symbol"]))
        async with self._database.write(session) as writer:
            if market is None:
                gone = sa.delete(table).where(table.c.symbol == sa.bindparam("name"))
                await writer.execute(gone, [{"name": name} for name in symbols])
                return
            row = {"calendar": market.name, "sessions": _pack(market)}
            await writer.execute(_set_calendar(), [{"symbol": name, **row} for name in symbols])

    async def list(self, session: AsyncSession | None) -> pl.DataFrame:
        """Return the stored calendars: columns of ``CALENDARS``."""
        table = models.symbol_calendars
        if not self._database.has(table):
            return no_rows(CALENDARS)
        columns = [expression(self._database, table, name) for name in CALENDARS]
        return (await read(self._database, sa.select(*columns), CALENDARS, session)).sort("symbol")

    async def explanations(self, symbol: str | Sequence[str] | None, session: AsyncSession | None) -> pl.DataFrame:
        """Return the explanations of missing bars: columns of ``EXPLANATIONS``."""
        return (await self.explained_gaps(symbol, session)).drop("id")

    async def explain(
        self,
        symbol: str,
        start: Time,
        end: Time,
        reason: str,
        timeframe: str | None,
        author: str | None,
        session: AsyncSession | None,
    ) -> None:
        """Store why bars that open in ``[start, end)`` are missing.

        Raises
        ------
        InputError
        """
        first, last = parse_range(start, end)
        if first is None or last is None or first == last:
            raise InputError(
                f"an explained gap needs both ends of a range that is not empty: start={start!r}, end={end!r}. "
                "A range is [start, end): it includes the start, but not the end."
            )
        values = {
            "starts_at": first,
            "ends_at": last,
            "reason": check_text(reason, "reason", maximum=2_000),
            "author": check_text(whoami() if author is None else author, "author", maximum=200),
        }
        series = await self._series.choose(check_name(symbol, "symbol"), timeframe, session)
        async with self._database.write(session) as writer:
            await writer.execute(sa.insert(models.explained_gaps), {"symbol": symbol, "timeframe": timeframe, **values})
        market = (await calendars_of(self._database, [symbol], session))[symbol]
        found = []
        for period in series["timeframe"]:
            if period in TIMEFRAMES:
                times = await self._series.times(symbol, period, None, None, session)
                gaps, whole = await self._database.in_thread(partial(gaps_around, times, period, market, first, last))
                if whole.height:
                    return
                found.append((period, gaps))
        warn_unexplaining(symbol, first, last, found)

    async def explained_gaps(self, symbol: str | Sequence[str] | None, session: AsyncSession | None) -> pl.DataFrame:
        """Return the explanations with their ids; of those with the same start, the latest comes last."""
        table, schema = models.explained_gaps, pl.Schema({**EXPLANATIONS, "id": pl.Int64()})
        conditions = one_of(table.c.symbol, symbol)
        if not self._database.has(table):
            return pl.DataFrame(schema=schema)
        stored = {"start": "starts_at", "end": "ends_at"}
        columns = [expression(self._database, table, stored.get(name, name)).label(name) for name in schema]
        return (await read(self._database, sa.select(*columns).where(*conditions), schema, session)).sort(
            "symbol", "start", "id"
        )


async def calendars_of(
    database: Database, symbols: Iterable[str], session: AsyncSession | None = None
) -> dict[str, Calendar]:
    """Return the calendar of each symbol; 24/7 if none was set."""
    wanted = dict.fromkeys(symbols)
    table = models.symbol_calendars
    kept = pl.DataFrame(schema={"symbol": pl.String(), "calendar": pl.String(), "sessions": pl.String()})
    if wanted and database.has(table):
        few = one_of(table.c.symbol, wanted) if len(wanted) <= IN_LIST else []
        columns = [expression(database, table, name) for name in kept.columns]
        kept = await read(database, sa.select(*columns).where(*few), kept.schema, session)
        kept = kept if few else kept.filter(pl.col("symbol").is_in(list(wanted)))
    named = await database.in_thread(partial(_unpack, kept)) if kept.height else {}
    return {symbol: named.get(symbol) or find_calendar(DEFAULT) for symbol in wanted}


def add_explanations(gaps: pl.DataFrame, explanations: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """Add to each gap of a series the reason and author of the latest explanation that covers it entirely."""
    explanations = explanations.filter(pl.col("timeframe").is_null() | (pl.col("timeframe") == timeframe))
    # gaps are sorted and disjoint, so an explanation covers consecutive ones; between two ends of explanations, the
    # same ones cover every gap
    ends = {
        "first": gaps["start"].search_sorted(explanations["start"]),
        "stop": gaps["end"].search_sorted(explanations["end"], "right"),
    }
    covers = explanations.select("id", "reason", "author").with_columns(**ends).filter(pl.col("first") < pl.col("stop"))
    covers = covers.sort("id").unique(["first", "stop"], keep="last", maintain_order=True)
    places = pl.concat([covers["first"], covers["stop"]]).unique().sort().to_frame("place")
    holding = places.join_where(covers, pl.col("first") <= pl.col("place"), pl.col("place") < pl.col("stop"))
    latest = holding.sort("id").group_by("place").agg(pl.col("reason", "author").last())
    known = places.join(latest, on="place", how="left", maintain_order="left").set_sorted("place")
    return gaps.with_row_index("place").join_asof(known, on="place").drop("place")


def storable_calendar(name: str | Calendar) -> Calendar:
    """Return a calendar that can be rebuilt from its stored form.

    Raises
    ------
    UnknownCalendar, ConfigurationError
    InputError
        For a calendar of another kind.
    """
    market = find_calendar(name)
    if market.own is None and find_calendar(market.name) is not market:
        raise InputError(
            f"{market!r} cannot be stored: it is neither what calendar({market.name!r}) returns, nor made by "
            "walle.calendars.from_sessions(frame, name)."
        )
    return market


async def keep_calendar(writer: Writer, symbols: Collection[str], market: Calendar) -> None:
    """Set the calendar of symbols that have none.

    Raises
    ------
    InputError
        If one has another calendar.
    """
    if not symbols:
        return
    table, row = models.symbol_calendars, {"calendar": market.name, "sessions": _pack(market)}
    await writer.execute(_set_calendar(replace=False), [{"symbol": symbol, **row} for symbol in sorted(symbols)])
    columns = sa.select(table.c.symbol, table.c.calendar, table.c.sessions)
    named = columns.where(table.c.symbol.in_(sorted(symbols))) if len(symbols) <= IN_LIST else columns
    for kept in await writer.execute(named):
        if kept.symbol in symbols and (kept.calendar, kept.sessions) != (row["calendar"], row["sessions"]):
            same = " with other sessions" if kept.calendar == market.name else ""
            raise InputError(
                f"calendar={market.name!r} was given, but {kept.symbol} has the calendar {kept.calendar!r}{same}, so "
                "nothing was written. Leave calendar out, or change it first: store.bars.set_calendar."
            )


def _pack(market: Calendar) -> dict[str, list[int | None]] | None:
    """Return a calendar's own sessions as columns of integers: days, and microseconds, since 1970 UTC."""
    if market.own is None:
        return None
    sessions = market.own.select(pl.all().to_physical())
    return {
        column.name: column.to_list() for column in sessions if not column.len() or column.null_count() < column.len()
    }


def _unpack(kept: pl.DataFrame) -> dict[str, Calendar]:
    made: dict[tuple[str, str | None], Calendar] = {}
    for name, sessions in kept.select("calendar", "sessions").unique().iter_rows():
        if sessions is None:
            made[name, sessions] = find_calendar(name)
        else:
            columns = json.loads(sessions)
            frame = pl.DataFrame(columns, schema_overrides={key: pl.Int64() for key in columns})
            own = frame.cast({key: pl.Int32() for key in columns if key == "session"})
            made[name, sessions] = from_sessions(own.cast({key: SESSIONS[key] for key in columns}), name)
    return {symbol: made[name, sessions] for symbol, name, sessions in kept.iter_rows()}


def _set_calendar(*, replace: bool = True) -> sa.Insert:
    table = models.symbol_calendars
    given = [sa.bindparam(name, type_=table.c[name].type).label(name) for name in ("symbol", "calendar", "sessions")]
    row = sa.select(*given, utc_now().label("set_at")).where(sa.true())  # without WHERE, SQLite takes ON for a join's
    changes = ", ".join(f"{name} = excluded.{name}" for name in ("calendar", "sessions", "set_at"))
    names = ["symbol", "calendar", "sessions", "set_at"]
    then = f"UPDATE SET {changes}" if replace else "NOTHING"
    return sa.insert(table).from_select(names, row.suffix_with(f"ON CONFLICT (symbol) DO {then}"))
