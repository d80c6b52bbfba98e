"""``store.orders``, generated from `walle.repositories.fills.OrderRepository`: see `walle.generate`."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping

import polars as pl

from walle.fills import WriteReport
from walle.options import Floats, OnInvalid
from walle.records import Order
from walle.reports import IngestReport
from walle.repositories.common import Time
from walle.repositories.fills.orders import OrderRepository
from walle.store.part import Part

__all__ = ["Orders"]


class Orders(Part[OrderRepository]):
    """The orders of a store.

    The examples are run on the sample data of :func:`walle.demo.load`.
    """

    _name = "orders"

    def save(self, orders: Order | Iterable[Order] | pl.DataFrame) -> WriteReport:
        """Store snapshots, all or none: new orders are inserted, stored ones replaced.

        A snapshot without ``account`` or ``extra`` leaves what is stored of them. Each stored snapshot is recorded with
        the database's time (``recorded_at``) at which the statement that stored it began; one that changes nothing
        leaves the earlier time.

        Parameters
        ----------
        orders : Order, iterable of Order, or polars.DataFrame
            One snapshot per order. In a frame, ``extra`` holds JSON texts of objects, or structs, whose null members
            are left out; a column ``recorded_at`` is the database's own, and left out.

        Returns
        -------
        WriteReport

        Raises
        ------
        StaleSnapshot
            If a filled quantity would decrease or a terminal status would change.
        Conflict
            If client_order_id, run_id, symbol, side or account differ from the stored snapshot.
        DuplicateKey
            If a client_order_id belongs to another order.
        InputError
            For invalid orders.

        Examples
        --------
        >>> from dataclasses import replace
        >>> order = store.orders.get("ord-btc-0025")
        >>> store.orders.save(replace(order, status="cancelled"))
        WriteReport(inserted=0, updated=1, unchanged=0)
        """
        return self._call("save", lambda core: core.save(orders))

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
        """Store order snapshots from another program's table, and report the outcome of every row.

        A snapshot that lowers the filled quantity, changes a final status, is of another order, or uses the
        client_order_id of one is a conflict: the stored one stays, and the call continues. Each call is one
        transaction.

        Parameters
        ----------
        source : Order, iterable of Order, or a Polars, pandas or Arrow frame
            Columns of :data:`walle.frames.ORDERS`, one row per order; nullable columns and those with a default may be
            omitted. ``extra`` and ``recorded_at`` are as in :meth:`save`.
        run_id : str, optional
            Used for rows without one.
        columns : mapping of str to str or None, optional
            Source name to our name, ``{"amount": "qty"}``; None ignores a column.
        timezone : str, optional
            The IANA zone of naive times, such as ``UTC``.
        floats : str
            ``refuse``: quantities and prices in floats are an error. ``shortest``: a float becomes the decimal
            of its shortest text, such as 0.1; one with more than 18 places is refused.
        on_invalid : str
            ``raise``: an invalid row stops the call. ``quarantine``: the valid rows are stored.

        Returns
        -------
        IngestReport
            ``rejected_rows`` and ``conflict_rows`` have the columns of :data:`walle.frames.REJECTED_ORDERS` and
            :data:`walle.frames.ORDER_CONFLICTS`.

        Raises
        ------
        InvalidRows
            If rows are invalid; nothing was written.
        InputError
            If the source cannot be read.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> order = {"id": "o-1", "client_order_id": "c-1", "symbol": "SOL/USD", "side": "buy", "order_type": "market"}
        >>> table = pl.DataFrame([order | {"amount": "25", "created_at": datetime(2025, 12, 1, 9, 30, tzinfo=UTC)}])
        >>> store.orders.ingest(table, run_id="paper-sma-sol-004", columns={"amount": "qty"})
        IngestReport(1 rows: 1 inserted, 0 duplicates, 0 conflicts, 0 rejected)
        """
        return self._call(
            "ingest",
            lambda core: core.ingest(
                source, run_id=run_id, columns=columns, timezone=timezone, floats=floats, on_invalid=on_invalid
            ),
        )

    def get(self, order_id: str) -> Order:
        """Return one order.

        Raises
        ------
        UnknownOrder
            If no order has that id.

        Examples
        --------
        >>> store.orders.get("ord-bt-0035").qty
        Decimal('6.458')
        """
        return self._call("get", lambda core: core.get(order_id))

    def get_by_client_order_id(self, client_order_id: str) -> Order:
        """Return one order by its client_order_id.

        Raises
        ------
        UnknownOrder
            If no order has it.

        Examples
        --------
        >>> store.orders.get_by_client_order_id("sma-bt-0035").id
        'ord-bt-0035'
        """
        return self._call("get_by_client_order_id", lambda core: core.get_by_client_order_id(client_order_id))

    def list(
        self,
        run_id: str | None = None,
        *,
        symbol: str | None = None,
        status: str | Iterable[str] | None = None,
        start: Time = None,
        end: Time = None,
    ) -> builtins.list[Order]:
        """Return orders as records; arguments and order as in :meth:`read`.

        Raises
        ------
        UnknownRun, InputError

        Examples
        --------
        >>> [order.id for order in store.orders.list("bt-sma-eth-001", status="rejected")]
        ['ord-bt-0010', 'ord-bt-0059', 'ord-bt-0083']
        """
        return self._call("list", lambda core: core.list(run_id, symbol=symbol, status=status, start=start, end=end))

    def read(
        self,
        run_id: str | None = None,
        *,
        symbol: str | None = None,
        status: str | Iterable[str] | None = None,
        start: Time = None,
        end: Time = None,
    ) -> pl.DataFrame:
        """Read orders as a frame.

        Parameters
        ----------
        run_id, symbol : str, optional
        status : str or iterable of str, optional
        start, end : datetime, date, str or None
            Created in ``[start, end)``; ``end="2024-01-31"`` excludes that day. A date or text without a zone is UTC.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.ORDERS`; one row per order, sorted by created_at, then id.

        Raises
        ------
        UnknownRun
            If nothing is stored of that run; it suggests similar ids.
        InputError
            For an unknown status or an invalid range.

        Examples
        --------
        >>> store.orders.read("bt-sma-eth-001", status=["cancelled", "rejected"]).height
        25
        """
        return self._call("read", lambda core: core.read(run_id, symbol=symbol, status=status, start=start, end=end))
