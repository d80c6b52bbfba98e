"""Results of backtests as engines report them: one per run, written once."""

from __future__ import annotations

import contextlib
import dataclasses
from decimal import Decimal, InvalidOperation
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import Conflict, InputError
from walle.frames import BACKTEST_RESULTS, no_rows
from walle.records import BacktestResult
from walle.repositories.common import canonical, check_name, document
from walle.repositories.select import expression, read
from walle.validation import decimal_text

__all__ = ["BacktestResultRepository"]

_DOCUMENTS = ("stats", "equity_curve", "fills")


class BacktestResultRepository:
    """Results of backtests, saved once and read by run.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(self, result: BacktestResult, *, session: AsyncSession | None = None) -> BacktestResult:
        """Store the result of a run once; saving the same result again changes nothing.

        The run itself need not be stored.

        Parameters
        ----------
        result : BacktestResult
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

        Returns
        -------
        BacktestResult
            The stored result, with the time of its first save.

        Raises
        ------
        Conflict
            If another result of that run is stored (``created_at`` may differ); the stored one stays.
        InputError
            If ``result`` is not a BacktestResult.
        """
        if not isinstance(result, BacktestResult):
            raise InputError(f"a result is a walle.BacktestResult, not a {type(result).__name__}.")
        table, row = models.backtest_results, _row(result)
        values = sa.select(*(sa.literal(value, table.c[name].type).label(name) for name, value in row.items()))
        # another process may save the same run's result now
        once = values.where(sa.true()).suffix_with("ON CONFLICT (run_id) DO NOTHING")
        async with self._database.write(session) as writer:
            await writer.execute(sa.insert(table).from_select(list(row), once))
            stored = await self._stored(writer, result.run_id)
        given = dataclasses.replace(result, created_at=stored.created_at)
        differ = [
            item.name for item in dataclasses.fields(given) if getattr(given, item.name) != getattr(stored, item.name)
        ]
        if differ:
            raise Conflict(
                f"another result of run {result.run_id!r} is stored: its {', '.join(differ)} differ. A run has one "
                "result, and the stored one stays; store a repeated backtest as a run of its own."
            )
        return stored

    async def get(self, run_id: str, *, session: AsyncSession | None = None) -> BacktestResult | None:
        """Return the result of a run, or None if there is none."""
        table = models.backtest_results
        frame = await self._frame([table.c.run_id == check_name(run_id, "run_id")], session)
        return None if frame.is_empty() else _record(frame.row(0, named=True))

    async def read(self, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """Read the results as a frame.

        Parameters
        ----------
        session : AsyncSession, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.BACKTEST_RESULTS`; one row per run that has a result, sorted by run_id;
            empty without results.
        """
        return await self._frame([], session)

    async def _frame(self, conditions: list[sa.ColumnElement[bool]], session: AsyncSession | None) -> pl.DataFrame:
        table = models.backtest_results
        if not self._database.has(table):
            return no_rows(BACKTEST_RESULTS)
        columns = (expression(self._database, table, name) for name in BACKTEST_RESULTS)
        return (await read(self._database, sa.select(*columns).where(*conditions), BACKTEST_RESULTS, session)).sort(
            "run_id"
        )

    async def _stored(self, writer: Writer, run_id: str) -> BacktestResult:
        table = models.backtest_results
        found = await writer.execute(sa.select(table).where(table.c.run_id == run_id))
        return _record(dict(found.mappings().one()))


def _row(result: BacktestResult) -> dict[str, Any]:
    row = {item.name: getattr(result, item.name) for item in dataclasses.fields(result)}
    row |= {"symbols": list(result.symbols), "final_equity": decimal_text(Decimal(result.final_equity))}
    return {name: value for name, value in row.items() if value is not None}


def _record(row: dict[str, Any]) -> BacktestResult:
    for name in _DOCUMENTS:
        if isinstance(row[name], str):
            row[name] = document(row[name], f"backtest_results.{name} of run_id={row['run_id']!r}")
    with contextlib.suppress(InvalidOperation):  # another program's text stays as it is
        row["final_equity"] = Decimal(row["final_equity"])
    return BacktestResult.from_row(canonical(row) | {"symbols": tuple(row["symbols"])})
