"""The stored facts about symbols, as :func:`walle.instruments.facts_of` takes them."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.frames import INSTANT, no_rows
from walle.instruments import FACTS
from walle.repositories.as_of import recorded_by
from walle.repositories.select import expression, read

__all__ = ["stored_facts"]

_OWN = {name: kind for name, kind in FACTS.items() if name != "from_fees"}
_STORED = pl.Schema({**_OWN, "valid_from": INSTANT, "aliases": pl.List(pl.String())})


async def stored_facts(
    database: Database, session: AsyncSession | None = None, known: datetime | None = None
) -> pl.DataFrame:
    """Return what is stored of all instruments (``known``: by then), in the order in which it was written."""
    table = models.instruments
    if not database.has(table):
        return no_rows(_STORED)
    columns = [expression(database, table, name) for name in _STORED]
    return await read(
        database, sa.select(*columns).where(*recorded_by(database, table, known)).order_by(table.c.id), _STORED, session
    )
