"""What the books of a run need beside its fills: its instruments, cash flows and corporate actions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.calendars import Calendar
from walle.database import Database
from walle.frames import DECIMAL, INSTANT
from walle.instruments import FACTS, facts_of
from walle.repositories.bars.calendars import calendars_of
from walle.repositories.common import IN_LIST
from walle.repositories.select import expression, read

__all__ = ["Beside", "beside", "flows_of_runs", "prices_of_runs"]

_OWN = {name: kind for name, kind in FACTS.items() if name != "from_fees"}
_STORED = pl.Schema({**_OWN, "valid_from": INSTANT, "aliases": pl.List(pl.String())})
_FLOWS = pl.Schema(
    {
        "id": pl.String(),
        "time": INSTANT,
        "kind": pl.String(),
        "amount": DECIMAL,
        "currency": pl.String(),
        "symbol": pl.String(),
        "action_id": pl.String(),
    }
)
_ACTIONS = pl.Schema(
    {
        "id": pl.String(),
        "symbol": pl.String(),
        "kind": pl.String(),
        "ex_date": INSTANT,
        "ratio": DECIMAL,
        "amount": DECIMAL,
        "currency": pl.String(),
        "supersedes": pl.String(),
    }
)


class Beside(NamedTuple):
    """What :func:`walle.fills.ledger.ledger` takes beside the fills.

    Parameters
    ----------
    facts, flows, actions : polars.DataFrame
    """

    facts: pl.DataFrame
    flows: pl.DataFrame
    actions: pl.DataFrame


async def beside(
    database: Database, fills: pl.DataFrame, run_id: str | None, session: AsyncSession | None = None
) -> Beside:
    """Read the facts, cash flows and actions of a run.

    Parameters
    ----------
    database : Database
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`.
    run_id : str or None
        Without one, there are no cash flows.
    session : AsyncSession, optional
    """
    table = models.instruments
    stored = pl.DataFrame(schema=_STORED)
    if database.has(table):
        columns = [expression(database, table, name) for name in _STORED]
        stored = await read(database, sa.select(*columns).order_by(table.c.id), _STORED, session)
    return Beside(
        await database.in_thread(partial(facts_of, fills, stored)),
        (await flows_of_runs(database, [] if run_id is None else [run_id], session)).drop("run_id"),
        await _actions(database, fills, session),
    )


async def prices_of_runs(database: Database, ids: pl.Series, session: AsyncSession | None = None) -> dict[str, str]:
    """Return what the prices of some runs are adjusted for; those that do not say are left out."""
    table = models.runs
    if not database.has(table, "prices"):
        return {}
    columns = [expression(database, table, name) for name in ("id", "prices")]
    found: dict[str, str] = {}
    for part in ids.drop_nulls().unique().sort().to_frame().iter_slices(IN_LIST):
        few = sa.select(*columns).where(table.c.id.in_(part.to_series().to_list()))
        rows = await read(database, few, {"id": pl.String(), "prices": pl.String()}, session)
        found.update(rows.drop_nulls().iter_rows())
    return found


async def flows_of_runs(database: Database, ids: Sequence[str], session: AsyncSession | None = None) -> pl.DataFrame:
    """Return the cash flows of some runs, without those that were corrected, sorted by time, with their run_id."""
    table, corrections = models.cash_flows, models.cash_corrections
    schema = pl.Schema({**_FLOWS, "run_id": pl.String()})
    found = [pl.DataFrame(schema=schema)]
    if database.has(table):
        corrected = sa.exists().where(corrections.c.cash_flow_id == table.c.id)
        columns = [expression(database, table, name) for name in schema]
        for at in range(0, len(ids), IN_LIST):
            few = sa.select(*columns).where(table.c.run_id.in_(ids[at : at + IN_LIST]), ~corrected)
            found.append(await read(database, few, schema, session))
    return pl.concat(found).sort("time", "id")


async def _actions(database: Database, fills: pl.DataFrame, session: AsyncSession | None) -> pl.DataFrame:
    table = models.corporate_actions
    found = pl.DataFrame(schema=_ACTIONS)
    if database.has(table):
        columns = [expression(database, table, name) for name in _ACTIONS]
        found = await read(database, sa.select(*columns), _ACTIONS, session)
    replaced = found["supersedes"].drop_nulls()
    wanted = found.filter(pl.col("symbol").is_in(fills["symbol"].implode()) & ~pl.col("id").is_in(replaced.implode()))
    calendars = await calendars_of(database, wanted["symbol"].unique(), session)
    return await database.in_thread(partial(_effective, wanted, calendars))


def _effective(actions: pl.DataFrame, calendars: dict[str, Calendar]) -> pl.DataFrame:
    """Add when each action counts: from the open of the session of its date, or of the next one."""
    opens = []
    for symbol, day in actions.select("symbol", "ex_date").iter_rows():
        market, opened = calendars.get(symbol), day
        if market is not None and not market.continuous:
            sessions = market.sessions(day.date(), day.date().replace(year=day.year + 1))
            opened = sessions["open"][0] if sessions.height else day
        opens.append(opened)
    return actions.with_columns(effective=pl.Series(opens, dtype=INSTANT))
