"""Refusing a source that brings the stored bars of a series again with all prices multiplied by one factor."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from walle.bars.rescaled import rescaled, throughout
from walle.bars.spans import join_spans
from walle.database import Database, Writer
from walle.errors import RescaledBars
from walle.repositories.bars.neighbours import stored_spans

__all__ = ["refuse_rescaled"]


async def refuse_rescaled(
    database: Database, writer: Writer, conflicts: pl.DataFrame, pages: Sequence[pl.DataFrame]
) -> None:
    """Raise if the conflicts of an ingest are one rescaling of what was stored.

    Parameters
    ----------
    database : Database
    writer : Writer
        In the transaction of the ingest, before its opening times are in the index.
    conflicts : polars.DataFrame
        Columns of ``BAR_CONFLICTS``.
    pages : sequence of polars.DataFrame
        The opening times of the source: columns of ``SPANS``.

    Raises
    ------
    RescaledBars
    """
    if conflicts.is_empty():
        return
    suspects = await database.in_thread(lambda: rescaled(conflicts))
    if suspects.is_empty():
        return
    new = join_spans(pl.concat(pages)).join(suspects, on=["symbol", "timeframe"], how="semi")
    stored = await stored_spans(writer, new)
    found = await database.in_thread(lambda: throughout(suspects, new, stored))
    if found.height:
        raise RescaledBars(found.rows(named=True))
