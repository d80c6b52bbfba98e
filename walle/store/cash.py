"""``store.cash``, generated from `walle.repositories.cash.CashFlowRepository`: see `walle.generate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from walle.fills import WriteReport
from walle.options import Floats, OnInvalid
from walle.records import CashFlow
from walle.reports import IngestReport
from walle.repositories.cash.repository import CashFlowRepository
from walle.repositories.common import Time
from walle.store.part import Part

__all__ = ["Cash"]


class Cash(Part[CashFlowRepository]):
    """The cash flows of a store.

    The examples are run on the sample data of :func:`walle.demo.load`.
    """

    _name = "cash"

    def append(self, flows: CashFlow | Iterable[CashFlow] | pl.DataFrame) -> WriteReport:
        """Store cash flows: the same flow again is a no-op; all of the call or nothing.

        Parameters
        ----------
        flows : CashFlow, iterable of CashFlow, or polars.DataFrame

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
        return self._call("append", lambda core: core.append(flows))

    def ingest(
        self,
        source: object,
        *,
        run_id: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        timezone: str | None = None,
        floats: Floats = "refuse",
        on_invalid: OnInvalid = "raise",
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
        return self._call(
            "ingest",
            lambda core: core.ingest(
                source, run_id=run_id, columns=columns, timezone=timezone, floats=floats, on_invalid=on_invalid
            ),
        )

    def correct(self, cash_flow_id: str, by: CashFlow | None = None, *, reason: str, author: str | None = None) -> None:
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
        self._call("correct", lambda core: core.correct(cash_flow_id, by, reason=reason, author=author))

    def read(
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
        return self._call(
            "read",
            lambda core: core.read(
                run_id,
                account=account,
                currency=currency,
                kind=kind,
                start=start,
                end=end,
                corrected=corrected,
                as_of=as_of,
            ),
        )

    def corrections(self, run_id: str | None = None) -> pl.DataFrame:
        """Read the corrections of cash flows.

        Parameters
        ----------
        run_id : str, optional
            Only those of cash flows of this run.

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
        return self._call("corrections", lambda core: core.corrections(run_id))
