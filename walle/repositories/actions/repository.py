"""Corporate actions: splits and dividends; a correction is a further action that supersedes an earlier one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import ActionConflict, AlreadyCorrected, InputError, UnknownAction
from walle.fills import WriteReport
from walle.fills.coerce import ACTION, actions_frame
from walle.frames import CORPORATE_ACTIONS, no_rows
from walle.records import CorporateAction
from walle.repositories.actions.standing import not_superseded
from walle.repositories.as_of import known_at, recorded_by
from walle.repositories.common import Time, in_range, one_of
from walle.repositories.facts import FactWriter
from walle.repositories.select import expression, read

__all__ = ["CorporateActionRepository"]


class CorporateActionRepository:
    """Splits and dividends, appended once and for ever.

    The examples call the synchronous ``store`` with the sample data (:func:`walle.demo.load`); an engine awaits the
    same call on this repository.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = FactWriter(
            database=database, table=models.corporate_actions, content=ACTION, error=ActionConflict
        )

    async def append(
        self,
        actions: CorporateAction | Iterable[CorporateAction] | pl.DataFrame,
        *,
        session: AsyncSession | None = None,
    ) -> WriteReport:
        """Store corporate actions: the same action again is a no-op; all of the call or nothing.

        An action with ``supersedes=`` and a reason stands in the place of an earlier one, of the store or of an
        earlier row of the call. The earlier one stays as it was written, and reads leave it out.

        Parameters
        ----------
        actions : CorporateAction, iterable of CorporateAction, or polars.DataFrame
            In a frame, ``ex_date`` is a date, or a time at that date.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        WriteReport

        Raises
        ------
        ActionConflict
            When an action of that id has another content; the stored one stays.
        UnknownAction
            When there is no action that one supersedes.
        AlreadyCorrected
            When another action supersedes the same one: supersede that one.
        InputError
            For what is no corporate action.

        Examples
        --------
        >>> from datetime import date
        >>> from decimal import Decimal
        >>> terms = {"ex_date": date(2020, 8, 31), "ratio": Decimal(4)}
        >>> store.actions.append(walle.CorporateAction(id="aapl-2020", symbol="AAPL", kind="split", **terms))
        WriteReport(inserted=1, updated=0, unchanged=0)
        """
        given = actions_frame(actions)
        frame = self._writer.distinct(given)
        if frame.is_empty():
            return WriteReport()
        correcting = frame.filter(pl.col("supersedes").is_not_null())
        _refuse_later(frame)
        async with self._database.write(session) as writer:
            if correcting.height:
                await writer.hold(models.corporate_actions)
            inserted = await self._writer.append_in(writer, frame)
            if correcting.height:
                await self._refuse_unknown(writer, correcting)
                await self._refuse_second(writer, correcting)
        return WriteReport(inserted=inserted, unchanged=given.height - inserted)

    async def _refuse_unknown(self, writer: Writer, correcting: pl.DataFrame) -> None:
        table = models.corporate_actions
        staged = await writer.stage(table, correcting.select("id", "supersedes"))
        schema = {"id": pl.String(), "supersedes": pl.String()}
        missing = sa.select(staged.c.id, staged.c.supersedes).where(
            ~sa.exists().where(table.c.id == staged.c.supersedes)
        )
        unknown = await writer.fetch(missing.order_by(staged.c.id).limit(1), schema)
        if unknown.height:
            action, wanted = unknown.row(0)
            raise UnknownAction(wanted, f", which {action!r} would supersede; nothing of this call was written")

    async def _refuse_second(self, writer: Writer, correcting: pl.DataFrame) -> None:
        table = models.corporate_actions
        staged = await writer.stage(table, correcting.select("id", "supersedes"))
        other = table.alias("other")
        schema = {"supersedes": pl.String(), "id": pl.String(), "reason": pl.String()}
        second = sa.select(other.c.supersedes, other.c.id, other.c.reason).where(
            other.c.supersedes == staged.c.supersedes, other.c.id != staged.c.id
        )
        found = await writer.fetch(second.order_by(other.c.supersedes, other.c.recorded_at, other.c.id), schema)
        if found.height:
            action, by, reason = found.row(0)
            advice = f"Supersede the one that stands in its place: supersedes={by!r}."
            raise AlreadyCorrected("corporate action", action, by, repr(reason), advice)

    async def read(
        self,
        symbol: str | Iterable[str] | None = None,
        *,
        start: Time = None,
        end: Time = None,
        superseded: bool = False,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read corporate actions as a frame.

        Parameters
        ----------
        symbol : str or iterable of str, optional
        start, end : datetime, date, str or None
            With an ex-date in ``[start, end)``; ``end="2024-01-31"`` leaves that day out.
        superseded : bool
            Whether actions that another one supersedes are there, too.
        as_of : datetime, date, str or None
            Only actions that had been recorded by then; one that was superseded later is there. A date or text without
            a zone is UTC; a transaction that was open then may still add actions.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.CORPORATE_ACTIONS`; one row per action, sorted by symbol, ex_date and id.

        Raises
        ------
        InputError
            For a bad range, and an ``as_of`` in the future of the database's clock.

        Examples
        --------
        >>> from datetime import date
        >>> from decimal import Decimal
        >>> paid = {"amount": Decimal("0.82"), "currency": "USD", "ex_date": date(2020, 8, 7)}
        >>> dividend = walle.CorporateAction(id="aapl-2020-q3", symbol="AAPL", kind="dividend", **paid)
        >>> inserted = store.actions.append(dividend).inserted
        >>> store.actions.read("AAPL", start="2020-01-01", end="2021-01-01").select("kind", "amount").row(0)
        ('dividend', Decimal('0.820000000000000000'))
        """
        table = models.corporate_actions
        if not isinstance(superseded, bool):
            raise InputError(f"superseded={superseded!r} is neither True (superseded actions, too) nor False.")
        known = await known_at(self._database, as_of, session)
        conditions = [*one_of(table.c.symbol, symbol), *in_range(table.c.ex_date, start, end)]
        conditions += recorded_by(self._database, table, known)
        if not self._database.has(table):
            return no_rows(CORPORATE_ACTIONS)
        if not superseded:
            conditions.append(not_superseded(known))
        columns = [expression(self._database, table, name) for name in CORPORATE_ACTIONS]
        statement: sa.Select[Any] = sa.select(*columns).where(*conditions)
        return (await read(self._database, statement, CORPORATE_ACTIONS, session)).sort("symbol", "ex_date", "id")


def _refuse_later(frame: pl.DataFrame) -> None:
    """Raise when an action supersedes itself, or one that comes after it in the call.

    Raises
    ------
    InputError
    """
    placed = frame.with_row_index("place")
    later = placed.join(placed.select(supersedes="id", other="place"), on="supersedes", how="inner")
    later = later.filter(pl.col("other") >= pl.col("place")).sort("place")
    if later.height:
        row = later.row(0, named=True)
        if row["id"] == row["supersedes"]:
            raise InputError(f"corporate action {row['id']!r} supersedes itself. A correction has an id of its own.")
        raise InputError(
            f"corporate action {row['id']!r} supersedes {row['supersedes']!r}, which comes after it in this call. Give "
            "the earlier one first."
        )
