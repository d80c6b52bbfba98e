"""Cash flows: what an account received or paid beside its trades."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database
from walle.enums import CashFlowKind
from walle.errors import CashFlowConflict, InputError, UnknownCashFlow
from walle.fills import WriteReport
from walle.fills.coerce import CASH_FLOW, cash_flows_frame
from walle.fills.ingest_frame import FactOptions, read_cash_flows
from walle.frames import CASH_CORRECTIONS, CASH_FLOW_CONFLICTS, CASH_FLOWS, no_rows
from walle.options import Floats, OnInvalid
from walle.records import CashFlow
from walle.reports import IngestReport
from walle.repositories.as_of import clock, known_at, recorded_by
from walle.repositories.common import Time, check_name, in_range, known_run, one_of
from walle.repositories.corrections import CASH, Correction, read_corrections, uncorrected
from walle.repositories.facts import FactWriter
from walle.repositories.select import expression, read

__all__ = ["CashFlowRepository"]


class CashFlowRepository:
    """Cash flows, appended once and for ever.

    The examples call the synchronous ``store`` with the sample data (:func:`walle.demo.load`); an engine awaits the
    same call on this repository.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._writer = FactWriter(
            database=database,
            table=models.cash_flows,
            content=CASH_FLOW,
            conflicts=CASH_FLOW_CONFLICTS,
            error=CashFlowConflict,
        )

    async def append(
        self, flows: CashFlow | Iterable[CashFlow] | pl.DataFrame, *, session: AsyncSession | None = None
    ) -> WriteReport:
        """Store cash flows: the same flow again is a no-op; all of the call or nothing.

        Parameters
        ----------
        flows : CashFlow, iterable of CashFlow, or polars.DataFrame
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        WriteReport

        Raises
        ------
        CashFlowConflict
            When a cash flow of that id has another content; the stored one stays.
        InputError
            For what is no cash flow.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> from decimal import Decimal
        >>> paid = {"time": datetime(2025, 11, 20, 8, tzinfo=UTC), "amount": Decimal("-1.25"), "currency": "USD"}
        >>> flow = walle.CashFlow(id="funding-1", kind="funding", run_id="bt-sma-eth-001", **paid)
        >>> store.cash.append([flow, flow])
        WriteReport(inserted=1, updated=0, unchanged=1)
        """
        return await self._writer.append(cash_flows_frame(flows), session)

    async def ingest(
        self,
        source: object,
        *,
        run_id: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        timezone: str | None = None,
        floats: Floats = "refuse",
        on_invalid: OnInvalid = "raise",
        session: AsyncSession | None = None,
    ) -> IngestReport:
        """Take cash flows in from another program's table, and tell what became of every row.

        A cash flow that is there already with the same content is a duplicate, one with another content a conflict: the
        stored one stays, and the call goes on. All of the call is one transaction.

        Parameters
        ----------
        source : CashFlow, iterable of CashFlow, or a Polars, pandas or Arrow frame
            Columns of :data:`walle.frames.CASH_FLOWS`; those that may be null may be left out, and ``recorded_at`` is
            the database's own.
        run_id : str, optional
            Of all rows that have none.
        columns : mapping of str to str or None, optional
            Source name to our name, ``{"income_id": "id"}``; None leaves a column out.
        timezone : str, optional
            The IANA zone of times without one, such as ``UTC``.
        floats : str
            ``refuse``: money in floats is an error. ``shortest``: a float is the decimal that its shortest text says,
            such as 0.1; one with more than 18 places is refused.
        on_invalid : str
            ``raise``: one row that is no cash flow stops the call. ``quarantine``: the good rows go in.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        IngestReport
            ``rejected_rows`` and ``conflict_rows`` have the columns of :data:`walle.frames.REJECTED_CASH_FLOWS` and
            :data:`walle.frames.CASH_FLOW_CONFLICTS`.

        Raises
        ------
        InvalidRows
            When rows are no cash flows; nothing was written.
        InputError
            For a source that cannot be read.

        Examples
        --------
        >>> from datetime import datetime
        >>> paid = {"tranId": "9", "time": datetime(2025, 11, 20, 8), "income": "-1.25", "asset": "USDT"}
        >>> table = pl.DataFrame([paid | {"kind": "funding"}])
        >>> names = {"tranId": "id", "income": "amount", "asset": "currency"}
        >>> store.cash.ingest(table, run_id="bt-sma-eth-001", columns=names, timezone="UTC")
        IngestReport(1 rows: 1 inserted, 0 duplicates, 0 conflicts, 0 rejected)
        """
        reading = FactOptions(run_id=run_id, columns=columns, timezone=timezone, floats=floats, on_invalid=on_invalid)
        facts = await self._database.in_thread(lambda: read_cash_flows(source, reading))
        return await self._writer.ingest(facts, session)

    async def correct(
        self,
        cash_flow_id: str,
        by: CashFlow | None = None,
        *,
        reason: str,
        author: str | None = None,
        session: AsyncSession | None = None,
    ) -> None:
        """Say that a cash flow is wrong, and which one stands in its place; both are stored, in one transaction.

        The corrected cash flow stays as it was written. Every read and reckoning leaves it out.

        Parameters
        ----------
        cash_flow_id : str
        by : CashFlow, optional
            The correcting cash flow, with an id of its own. None: nothing stands in its place.
        reason : str
        author : str, optional
            user@host by default.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Raises
        ------
        UnknownCashFlow
            When there is no such cash flow.
        AlreadyCorrected
            When it was corrected before: correct the cash flow that stands in its place.
        CashFlowConflict
            When another cash flow has the id of the correcting one.
        InputError
            When the correcting cash flow has the same id, for what is no cash flow, and for an empty or too long
            reason or author.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> from decimal import Decimal
        >>> paid = {"time": datetime(2025, 11, 20, 8, tzinfo=UTC), "amount": Decimal("-1.25"), "currency": "USD"}
        >>> inserted = store.cash.append(walle.CashFlow(id="fee-1", kind="fee", **paid)).inserted
        >>> store.cash.correct("fee-1", reason="booked twice", author="ann")
        >>> store.cash.read().height, store.cash.read(corrected=False).height
        (0, 1)
        """
        if by is not None and not isinstance(by, CashFlow):
            raise InputError(
                f"by= is the correcting cash flow, a walle.CashFlow, not {type(by).__name__}; None leaves nothing."
            )
        said = Correction(CASH, cash_flow_id, None if by is None else by.id, reason, author)
        table = models.cash_flows
        async with self._database.write(session) as writer:
            await writer.hold(said.kind.table)
            stored = await writer.fetch(sa.select(table.c.id).where(table.c.id == cash_flow_id), {"id": pl.String()})
            if stored.is_empty():
                raise UnknownCashFlow(cash_flow_id)
            recorded_at = await clock(writer)
            if by is not None:
                await self._writer.append_in(writer, cash_flows_frame(by), recorded_at)
            await said.write(writer, recorded_at)

    async def read(
        self,
        run_id: str | None = None,
        *,
        account: str | Iterable[str] | None = None,
        currency: str | Iterable[str] | None = None,
        kind: str | Iterable[str] | None = None,
        start: Time = None,
        end: Time = None,
        corrected: bool = True,
        as_of: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read cash flows as a frame.

        Parameters
        ----------
        run_id : str, optional
        account, currency, kind : str or iterable of str, optional
            ``kind``: words of :class:`walle.CashFlowKind`.
        start, end : datetime, date, str or None
            Of ``[start, end)``; ``end="2024-01-31"`` leaves that day out. A date or text without a zone is UTC.
        corrected : bool
            Leave out cash flows that were corrected. False: every cash flow, as it was written.
        as_of : datetime, date, str or None
            Only cash flows that had been recorded by then, and without the corrections that came later. A date or text
            without a zone is UTC; a transaction that was open then may still add cash flows.
        session : AsyncSession, optional

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.CASH_FLOWS`; one row per cash flow, sorted by time, then id.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of that run; near ids are offered.
        InputError
            For an unknown kind, a bad range, or an ``as_of`` in the future of the database's clock.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> from decimal import Decimal
        >>> start = {"time": datetime(2025, 11, 19, tzinfo=UTC), "amount": Decimal(10_000), "currency": "USD"}
        >>> flow = walle.CashFlow(id="opening-1", kind="opening", run_id="bt-sma-eth-001", **start)
        >>> inserted = store.cash.append(flow).inserted
        >>> store.cash.read("bt-sma-eth-001", kind="opening", end="2025-11-20")["amount"].sum()
        Decimal('10000.000000000000000000')
        """
        table = models.cash_flows
        if run_id is not None:
            check_name(run_id, "run_id")
        if not isinstance(corrected, bool):
            raise InputError(f"corrected={corrected!r} is neither True (leave corrected cash flows out) nor False.")
        known = await known_at(self._database, as_of, session)
        conditions = [
            *recorded_by(self._database, table, known),
            *one_of(table.c.run_id, run_id),
            *one_of(table.c.account, account),
            *one_of(table.c.currency, currency),
            *one_of(table.c.kind, kind, CashFlowKind),
            *in_range(table.c.time, start, end),
            *(uncorrected(self._database, CASH, known) if corrected else ()),
        ]
        frame = no_rows(CASH_FLOWS)
        if self._database.has(table):
            columns = [expression(self._database, table, name) for name in CASH_FLOWS]
            statement: sa.Select[Any] = sa.select(*columns).where(*conditions)
            frame = (await read(self._database, statement, CASH_FLOWS, session)).sort("time", "id")
        if run_id is not None and frame.is_empty():
            await known_run(self._database, run_id, session)
        return frame

    async def corrections(self, run_id: str | None = None, *, session: AsyncSession | None = None) -> pl.DataFrame:
        """Read the corrections of cash flows.

        Parameters
        ----------
        run_id : str, optional
            Only those of cash flows of this run.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.CASH_CORRECTIONS`: cash_flow_id, corrected_by (null: nothing), reason,
            author, recorded_at (UTC); in the order in which they were written. No row where nothing was corrected.

        Raises
        ------
        UnknownRun
            When nothing at all is stored of that run; near ids are offered.

        Examples
        --------
        >>> store.cash.corrections("bt-sma-eth-001").is_empty()
        True
        """
        own, table = None, models.cash_flows
        if run_id is not None:
            await known_run(self._database, check_name(run_id, "run_id"), session)
            own = sa.select(table.c.id).where(table.c.run_id == run_id)
        return await read_corrections(self._database, CASH, CASH_CORRECTIONS, own, session)
