"""``store.actions``, generated from `walle.repositories.actions.CorporateActionRepository`: see `walle.generate`."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from walle.fills import WriteReport
from walle.records import CorporateAction
from walle.repositories.actions.repository import CorporateActionRepository
from walle.repositories.common import Time
from walle.store.part import Part

__all__ = ["Actions"]


class Actions(Part[CorporateActionRepository]):
    """The corporate actions of a store.

    The examples are run on the sample data of :func:`walle.demo.load`.
    """

    _name = "actions"

    def append(self, actions: CorporateAction | Iterable[CorporateAction] | pl.DataFrame) -> WriteReport:
        """Store corporate actions: the same action again is a no-op; all of the call or nothing.

        An action with ``supersedes=`` and a reason stands in the place of an earlier one, of the store or of an
        earlier row of the call. The earlier one stays as it was written, and reads leave it out.

        Parameters
        ----------
        actions : CorporateAction, iterable of CorporateAction, or polars.DataFrame
            In a frame, ``ex_date`` is a date, or a time at that date.

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
        return self._call("append", lambda core: core.append(actions))

    def read(
        self,
        symbol: str | Iterable[str] | None = None,
        *,
        start: Time = None,
        end: Time = None,
        superseded: bool = False,
        as_of: Time = None,
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
        return self._call(
            "read", lambda core: core.read(symbol, start=start, end=end, superseded=superseded, as_of=as_of)
        )
