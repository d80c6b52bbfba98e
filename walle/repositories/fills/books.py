"""What the books of a run need beside its fills: its instruments, cash flows and corporate actions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.frames import DECIMAL, INSTANT
from walle.instruments import facts_of
from walle.repositories.actions.known import known_actions
from walle.repositories.as_of import recorded_by
from walle.repositories.common import IN_LIST
from walle.repositories.corrections import CASH, uncorrected
from walle.repositories.instruments.stored import stored_facts
from walle.repositories.select import expression, read

__all__ = ["Beside", "beside", "flows_of_runs", "prices_of_runs"]

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


class Beside(NamedTuple):
    """What :func:`walle.fills.ledger.ledger` takes beside the fills.

    Parameters
    ----------
    facts, flows, actions : polars.DataFrame
    stored : polars.DataFrame
        The stored facts, of which ``facts`` are made.
    known : datetime, optional
        If all of it is what had been recorded by then.
    """

    facts: pl.DataFrame
    flows: pl.DataFrame
    actions: pl.DataFrame
    stored: pl.DataFrame
    known: datetime | None = None

    def until(self, end: datetime | None, prices: str | None = None) -> Beside:
        """Leave out the actions after the end of a run, or after now or the time as of which all of it is known.

        What is announced has not happened.

        Prices that are adjusted for splits are so for later ones, too; these stay.
        """
        last = min(end or datetime.now(UTC), self.known or datetime.max.replace(tzinfo=UTC))
        stays = (pl.col("effective") <= last) | ((pl.col("kind") == "split") & pl.lit(prices == "splits"))
        return self._replace(actions=self.actions.filter(stays))

    @property
    def shared(self) -> bool:
        """Whether the facts are the same for each of several runs: the symbols alone say them."""
        return self.stored.is_empty() and not self.facts["from_fees"].any() and not self.facts["settle"].null_count()

    def facts_for(self, fills: pl.DataFrame) -> pl.DataFrame:
        """Return the facts for the fills of one run."""
        return self.facts if self.shared else facts_of(fills, self.stored)

    def by_run(self, fills: pl.DataFrame, *others: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, ...]]:
        """Split frames with a run_id by run, in its order, where the facts are not the same for all: facts first."""
        if self.shared or fills.is_empty():
            yield self.facts, fills, *others
            return
        for run_id in fills["run_id"].unique().sort(nulls_last=True):
            parts = [frame.filter(pl.col("run_id").eq_missing(pl.lit(run_id))) for frame in (fills, *others)]
            yield facts_of(parts[0], self.stored), *parts

    def of(self, symbol: str | None) -> Beside:
        """Leave out the cash flows that were paid for other symbols."""
        if symbol is None:
            return self
        return self._replace(flows=self.flows.filter(pl.col("symbol").is_null() | (pl.col("symbol") == symbol)))


async def beside(
    database: Database,
    fills: pl.DataFrame,
    run_id: str | None,
    session: AsyncSession | None = None,
    known: datetime | None = None,
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
    known : datetime, optional
        Only what had been recorded by then.
    """
    stored = await stored_facts(database, session, known)
    symbols = fills["symbol"].drop_nulls().unique().sort().to_list()
    return Beside(
        await database.in_thread(partial(facts_of, fills, stored)),
        (await flows_of_runs(database, [] if run_id is None else [run_id], session, known)).drop("run_id"),
        await known_actions(database, symbols, known, session),
        stored,
        known,
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


async def flows_of_runs(
    database: Database, ids: Sequence[str], session: AsyncSession | None = None, known: datetime | None = None
) -> pl.DataFrame:
    """Return the cash flows of some runs, without those that were corrected, sorted by time, with their run_id.

    With ``known``, what had been recorded by then.
    """
    table = models.cash_flows
    schema = pl.Schema({**_FLOWS, "run_id": pl.String()})
    found = [pl.DataFrame(schema=schema)]
    if database.has(table):
        standing = [*recorded_by(database, table, known), *uncorrected(database, CASH, known)]
        columns = [expression(database, table, name) for name in schema]
        for at in range(0, len(ids), IN_LIST):
            few = sa.select(*columns).where(table.c.run_id.in_(ids[at : at + IN_LIST]), *standing)
            found.append(await read(database, few, schema, session))
    return pl.concat(found).sort("time", "id")
