"""The corporate actions of some symbols that were known at a time, and from when on each counts."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.calendars import Calendar
from walle.database import Database
from walle.frames import CORPORATE_ACTIONS, INSTANT, no_rows
from walle.repositories.actions.standing import not_superseded
from walle.repositories.bars.calendars import calendars_of
from walle.repositories.common import IN_LIST
from walle.repositories.select import expression, read
from walle.validation import shift, to_microseconds

__all__ = ["known_actions"]

_NAMES = ("id", "symbol", "kind", "ex_date", "ratio", "amount", "currency", "supersedes")
_ACTIONS = pl.Schema({name: CORPORATE_ACTIONS[name] for name in _NAMES})
_PAIRS = pl.Schema({"id": pl.String(), "supersedes": pl.String()})


async def known_actions(
    database: Database,
    symbols: Collection[str],
    known_at: datetime | None = None,
    session: AsyncSession | None = None,
) -> pl.DataFrame:
    """Read the corporate actions of some symbols that no other action supersedes.

    Parameters
    ----------
    database : Database
    symbols : collection of str
    known_at : datetime, optional
        Only what was recorded at that time or before (never ``announced_at``, which is the source's own); an action
        that was superseded only later counts then. None: all that is recorded.
    session : AsyncSession, optional
        Read what its transaction sees.

    Returns
    -------
    polars.DataFrame
        id, symbol, kind, ex_date, ratio, amount, currency, supersedes; ``versions`` (list of texts): the ids of the
        action and of what it superseded, the newest first; ``effective`` (UTC): the instant from which on it counts,
        which is 00:00 UTC of its ex-date, or the open of that date's session, if the symbol's calendar opens it
        earlier. Sorted by symbol, ex_date and id.
    """
    table = models.corporate_actions
    found = no_rows(_ACTIONS)
    if symbols and database.has(table):
        found = await _standing(database, symbols, known_at, session)
    before: dict[str, str] = {}
    if found["supersedes"].null_count() < found.height:
        pairs = sa.select(table.c.id, table.c.supersedes).where(table.c.supersedes.is_not(None))
        before = dict((await read(database, pairs, _PAIRS, session)).iter_rows())
    earlier = [list(_versions(each, before)) for each in found["id"]]
    named = found.with_columns(pl.Series("versions", earlier, dtype=pl.List(pl.String())))
    calendars = await calendars_of(database, named["symbol"].unique(), session)
    return await database.in_thread(partial(_effective, named, calendars))


async def _standing(
    database: Database, symbols: Collection[str], known_at: datetime | None, session: AsyncSession | None
) -> pl.DataFrame:
    table = models.corporate_actions
    conditions = [not_superseded(known_at)]
    if len(symbols) <= IN_LIST:
        conditions.append(table.c.symbol.in_(list(symbols)))
    if known_at is not None:
        conditions.append(table.c.recorded_at <= known_at)
    columns = [expression(database, table, name) for name in _ACTIONS]
    statement: sa.Select[Any] = sa.select(*columns).where(*conditions)
    found = await read(database, statement, _ACTIONS, session)
    return found.filter(pl.col("symbol").is_in(list(symbols))).sort("symbol", "ex_date", "id")


def _versions(action_id: str, before: Mapping[str, str]) -> Iterator[str]:
    """Return the id of an action and those of what it superseded, the newest first."""
    seen: set[str] = set()
    each: str | None = action_id
    while each is not None and each not in seen:
        seen.add(each)
        yield each
        each = before.get(each)


def _effective(actions: pl.DataFrame, calendars: Mapping[str, Calendar]) -> pl.DataFrame:
    """Add when each action counts."""
    markets: dict[int, tuple[Calendar, list[str]]] = {}
    for symbol in actions["symbol"].unique():
        market = calendars.get(symbol)
        if market is not None and not market.continuous:
            markets.setdefault(id(market), (market, []))[1].append(symbol)
    opens = [pl.DataFrame(schema={"symbol": pl.String(), "ex_date": INSTANT, "open": INSTANT})]
    for market, names in markets.values():
        dates = actions.filter(pl.col("symbol").is_in(names))["ex_date"].unique()
        first, last = dates.min(), dates.max()
        assert isinstance(first, datetime)
        assert isinstance(last, datetime)
        # known(): an exchange's calendar need not reach back to the first dividend
        known = market.known(to_microseconds(first), to_microseconds(shift(last, timedelta(days=1))))
        dated = known.select(ex_date=pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), open="open")
        dated = dated.filter(pl.col("ex_date").is_in(dates.implode())).unique("ex_date", keep="first")
        opens.append(pl.DataFrame({"symbol": names}).join(dated, how="cross").select("symbol", "ex_date", "open"))
    joined = actions.join(pl.concat(opens), on=["symbol", "ex_date"], how="left", maintain_order="left")
    return joined.with_columns(effective=pl.min_horizontal("ex_date", "open")).drop("open")
