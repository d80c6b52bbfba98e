"""What an audit examines, read from the database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.fills.evidence import HOLDINGS, INSTRUMENTS, Evidence, Thresholds
from walle.fills.order_events import order_events
from walle.frames import no_rows
from walle.repositories.as_of import recorded_by, warn_later
from walle.repositories.common import IN_LIST
from walle.repositories.events.columns import events_of_orders
from walle.repositories.fills.market_bars import markets_of
from walle.repositories.fills.orders import orders_with_fills
from walle.repositories.fills.read import FillReader
from walle.repositories.select import expression, read
from walle.validation import shift

__all__ = ["evidence_of"]

_NAME = r'"((?:[^"\\]|\\.)+)"\s*:'


async def evidence_of(
    database: Database,
    run_id: str | None,
    timeframe: str | None,
    limits: Thresholds,
    session: AsyncSession | None,
    known: datetime | None = None,
) -> Evidence:
    """Read the fills of a run, or of all, and what they are compared with; with ``known``, as recorded by then.

    Of an order only the last snapshot is kept, so that a warning says how many were saved later.

    Raises
    ------
    UnknownRun
        When nothing at all is stored of that run; near ids are offered.
    InputError
        For an unknown timeframe.
    """
    fills = await FillReader(database).read(run_id, known=known, session=session)
    # that an order is of another run than its fill is a finding of its own, not a missing order
    orders = await orders_with_fills(database, run_id, fills, session)
    warn_later(orders, known)
    last = fills["filled_at"].max()
    end = shift(last, timedelta(microseconds=1)) if isinstance(last, datetime) else None
    markets = await markets_of(database, fills, timeframe, end, _begin(fills, orders), session, known=known)
    log = await events_of_orders(database, run_id, session)
    log = log if known is None else log.filter(pl.col("created_at") <= known)
    told = await database.in_thread(lambda: order_events(log))
    events = await _without_corrected(database, told, fills, session, known)
    return Evidence(
        fills,
        orders,
        markets,
        limits,
        events,
        now=known or datetime.now(UTC),
        instruments=await _instruments(database, session, known),
        holdings=await _holdings(database, run_id, session, known),
    )


def _begin(fills: pl.DataFrame, orders: pl.DataFrame) -> datetime | None:
    """Return the first submission of orders for a day, and with a stop price: the bars since then count."""
    since = (pl.col("time_in_force") == "day") | pl.col("order_type").is_in(["stop", "stop_limit"])
    filled = orders.filter(since).join(fills, left_on="id", right_on="order_id", how="semi")
    first = filled.select(pl.coalesce("submitted_at", "created_at").min()).item()
    return first if isinstance(first, datetime) else None


async def _without_corrected(
    database: Database,
    events: pl.DataFrame,
    fills: pl.DataFrame,
    session: AsyncSession | None,
    known: datetime | None,
) -> pl.DataFrame:
    """Leave out the events about fills that were corrected since, or that are stored in another run."""
    told = events["fill_id"].drop_nulls().unique().sort()
    lacking = told.filter(~told.is_in(fills["id"].implode()))
    corrections = models.fill_corrections
    gone = [pl.DataFrame(schema={"id": pl.String()})]
    if told.len() and database.has(corrections):
        corrected: sa.Select[Any] = sa.select(corrections.c.fill_id.label("id"))
        corrected = corrected.where(*recorded_by(database, corrections, known))
        gone.append(await database.fetch(corrected, gone[0].schema, session))
    if database.has(models.fills):
        for part in lacking.to_frame("id").iter_slices(IN_LIST):
            elsewhere = sa.select(models.fills.c.id).where(models.fills.c.id.in_(part["id"].to_list()))
            gone.append(await database.fetch(elsewhere, gone[0].schema, session))
    ids = pl.concat(gone)["id"].implode()
    return events.filter(~pl.col("fill_id").is_in(ids).fill_null(False))


async def _instruments(database: Database, session: AsyncSession | None, known: datetime | None) -> pl.DataFrame:
    """Return the stored facts about symbols in the order in which they were recorded."""
    table = models.instruments
    if not database.has(table):
        return no_rows(INSTRUMENTS)
    columns = [expression(database, table, name) for name in INSTRUMENTS]
    rows = sa.select(*columns).where(*recorded_by(database, table, known)).order_by(table.c.id)
    return await read(database, rows, INSTRUMENTS, session)


async def _holdings(
    database: Database, run_id: str | None, session: AsyncSession | None, known: datetime | None
) -> pl.DataFrame:
    """Return the currencies of the cash flows of runs, and those that their configurations begin with."""
    flows, runs = models.cash_flows, models.runs
    found = [no_rows(HOLDINGS)]
    if database.has(flows):
        paid: sa.Select[Any] = sa.select(flows.c.run_id, flows.c.currency).distinct()
        paid = paid.where(*recorded_by(database, flows, known))
        if run_id is not None:
            paid = paid.where(sa.or_(flows.c.run_id == run_id, flows.c.run_id.is_(None)))
        found.append(await read(database, paid, HOLDINGS, session))
    if database.has(runs, "config"):
        begun = sa.select(runs.c.id.label("run_id"), expression(database, runs, "config"))
        if run_id is not None:
            begun = begun.where(runs.c.id == run_id)
        configs = await database.fetch(begun, {"run_id": pl.String(), "config": pl.String()}, session)
        config = pl.col("config")
        cash = (
            config.str.json_path_match("$.starting_cash")
            .str.extract_all(_NAME)
            .list.eval(pl.element().str.extract(_NAME))
        )
        for named in (cash, pl.concat_list(config.str.json_path_match("$.currency"))):
            found.append(configs.select("run_id", currency=named).explode("currency").drop_nulls())
    return pl.concat(found).unique()
