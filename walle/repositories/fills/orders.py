"""The public methods for writing and reading orders: the latest snapshot of each."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.enums import OrderStatus
from walle.errors import Conflict, DuplicateKey, InputError, StaleSnapshot, UnknownOrder
from walle.fills import WriteReport, orders_frame
from walle.fills.coerce import ORDER
from walle.fills.ingest_frame import FactOptions, read_orders
from walle.frames import ORDER_CONFLICTS, ORDERS, no_rows
from walle.options import Floats, OnInvalid
from walle.records import Order
from walle.reports import IngestReport
from walle.repositories.common import (
    IN_LIST,
    Time,
    canonical,
    check_name,
    document,
    in_range,
    insert_missing,
    known_run,
    one_of,
    same_key,
    write_staged,
)
from walle.repositories.select import expression, finish, read, wire_schema
from walle.types import Json, recording_time, wire
from walle.validation import decimal_text

__all__ = ["OrderRepository", "orders_with_fills"]

_IDENTITY = ("client_order_id", "run_id", "symbol", "side", "account")
"""What no snapshot of an order changes; an account that one of two does not name is not changed."""

_KEPT = ("account", "extra")
"""What a later snapshot that does not say it leaves as it was."""

_TERMINAL = [status.value for status in OrderStatus if status.terminal]


class OrderRepository:
    """Orders as snapshots: a later one replaces an earlier one, never the reverse.

    The examples call the synchronous ``store`` with the sample data (:func:`walle.demo.load`); an engine awaits the
    same call on this repository.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(
        self, orders: Order | Iterable[Order] | pl.DataFrame, *, session: AsyncSession | None = None
    ) -> WriteReport:
        """Store snapshots, all or none: new orders are inserted, stored ones replaced.

        A snapshot without ``account`` or ``extra`` leaves what is stored of them. Each stored snapshot is recorded with
        the database's time (``recorded_at``) at which the statement that stored it began; one that changes nothing
        leaves the earlier time.

        Parameters
        ----------
        orders : Order, iterable of Order, or polars.DataFrame
            One snapshot per order. In a frame, ``extra`` holds JSON texts of objects, or structs, whose null members
            are left out; a column ``recorded_at`` is the database's own, and left out.
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

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
        frame = orders_frame(orders)
        if frame.is_empty():
            return WriteReport()
        if frame["id"].is_duplicated().any():
            double = frame["id"].filter(frame["id"].is_duplicated())[0]
            raise InputError(f"order {double!r} appears more than once in this call; give only its last snapshot.")
        frame = frame.sort("id")  # all writers lock in the same order, which avoids deadlocks
        async with write_staged(self._database, models.orders, frame, session) as (writer, staged):
            # insert first: then every row exists and can be locked, even against a writer of the same new order
            # any key: a writer of the same new order may conflict on its client_order_id before its id
            insert = _new(staged)
            inserted = (await writer.execute(insert)).rowcount
            if inserted == frame.height:
                return WriteReport(inserted=inserted)
            stored = await self._lock(writer, staged)
            _refuse_taken(stored, frame)
            _refuse_stale(stored, frame)
            updated = await self._update(writer, staged)
            return WriteReport(inserted=inserted, updated=updated, unchanged=frame.height - inserted - updated)

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
        session : AsyncSession, optional
            Join the caller's transaction, which the caller commits.

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
        reading = FactOptions(run_id=run_id, columns=columns, timezone=timezone, floats=floats, on_invalid=on_invalid)
        given, rejected = await self._database.in_thread(lambda: read_orders(source, reading))
        frame, conflicts = given.unique("id").sort("id"), no_rows(ORDER_CONFLICTS)
        inserted = updated = 0
        if frame.height:
            async with write_staged(self._database, models.orders, frame, session) as (writer, staged):
                insert = _new(staged)
                inserted = (await writer.execute(insert)).rowcount
                if inserted < frame.height:
                    conflicts = _conflicts(await self._lock(writer, staged), frame)
                    names = conflicts["id"].to_list()
                    for start in range(0, len(names), IN_LIST):
                        await writer.execute(sa.delete(staged).where(staged.c.id.in_(names[start : start + IN_LIST])))
                    updated = await self._update(writer, staged)
        refused = given.join(conflicts, on="id", how="semi").height
        return IngestReport(
            inserted=inserted,
            updated=updated,
            duplicates=given.height - inserted - updated - refused,
            conflicts=refused,
            rejected=rejected.height,
            rejected_rows=rejected,
            conflict_rows=conflicts,
        )

    async def _lock(self, writer: Writer, staged: sa.TableClause) -> pl.DataFrame:
        table = models.orders
        statement = (
            sa.select(*(expression(self._database, table, name) for name in ORDER))
            .where(table.c.id.in_(sa.select(staged.c.id)))
            .order_by(table.c.id)
            .with_for_update()
        )
        return finish(await writer.fetch(statement, wire_schema(ORDER)), ORDER)

    async def _update(self, writer: Writer, staged: sa.TableClause) -> int:
        table, dialect = models.orders, writer.dialect.name
        given: dict[str, sa.ColumnElement[Any]] = {name: staged.c[name] for name in ORDER if name != "id"}
        given |= {name: sa.func.coalesce(staged.c[name], table.c[name]) for name in _KEPT}
        # JSON by its text, as on SQLite: PostgreSQL takes 1 and 1.0 for the same
        differs = sa.or_(
            *(
                wire(table.c[name], dialect).is_distinct_from(wire(value, dialect))
                if isinstance(table.c[name].type, Json)
                else table.c[name].is_distinct_from(value)
                for name, value in given.items()
            )
        )
        statement = (
            sa.update(table)
            .values(given | {"recorded_at": recording_time()})
            .where(same_key(table, staged, ["id"]), differs)
        )
        return (await writer.execute(statement)).rowcount

    async def get(self, order_id: str, *, session: AsyncSession | None = None) -> Order:
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
        return await self._one("id", order_id, session)

    async def get_by_client_order_id(self, client_order_id: str, *, session: AsyncSession | None = None) -> Order:
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
        return await self._one("client_order_id", client_order_id, session)

    async def _one(self, column: str, value: str, session: AsyncSession | None) -> Order:
        frame = await self._frame([models.orders.c[column] == check_name(value, column)], session)
        if frame.is_empty():
            raise UnknownOrder(value, column)
        return _records(frame)[0]

    async def list(
        self,
        run_id: str | None = None,
        *,
        symbol: str | None = None,
        status: str | Iterable[str] | None = None,
        start: Time = None,
        end: Time = None,
        session: AsyncSession | None = None,
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
        return _records(await self.read(run_id, symbol=symbol, status=status, start=start, end=end, session=session))

    async def read(
        self,
        run_id: str | None = None,
        *,
        symbol: str | None = None,
        status: str | Iterable[str] | None = None,
        start: Time = None,
        end: Time = None,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read orders as a frame.

        Parameters
        ----------
        run_id, symbol : str, optional
        status : str or iterable of str, optional
        start, end : datetime, date, str or None
            Created in ``[start, end)``; ``end="2024-01-31"`` excludes that day. A date or text without a zone is UTC.
        session : AsyncSession, optional

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
        table = models.orders
        if run_id is not None:
            check_name(run_id, "run_id")
        frame = await self._frame(
            [
                *one_of(table.c.run_id, run_id),
                *one_of(table.c.symbol, symbol),
                *one_of(table.c.status, status, OrderStatus),
                *in_range(table.c.created_at, start, end),
            ],
            session,
        )
        if run_id is not None and frame.is_empty():
            await known_run(self._database, run_id, session)
        return frame

    async def _frame(
        self, conditions: builtins.list[sa.ColumnElement[bool]], session: AsyncSession | None
    ) -> pl.DataFrame:
        table = models.orders
        if not self._database.has(table):
            return no_rows(ORDERS)
        statement: sa.Select[Any] = sa.select(*(expression(self._database, table, name) for name in ORDERS)).where(
            *conditions
        )
        frame = await read(self._database, statement, ORDERS, session)
        return frame.sort("created_at", "id")


async def orders_with_fills(
    database: Database, run_id: str | None, fills: pl.DataFrame, session: AsyncSession | None = None
) -> pl.DataFrame:
    """Read the orders of a run and of its fills; an order may belong to a different run than its fill.

    Parameters
    ----------
    database : Database
    run_id : str, optional
        None: all orders.
    fills : polars.DataFrame
        The fills of that run: order_id.
    session : AsyncSession, optional
        Read what its transaction sees.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`walle.frames.ORDERS`; one row per order, sorted by created_at, then id.

    Raises
    ------
    UnknownRun
        If nothing is stored of that run; it suggests similar ids.
    """
    repository, table = OrderRepository(database), models.orders
    own = await repository.read(run_id, session=session)
    if run_id is None or fills["order_id"].is_in(own["id"].implode()).all():
        return own
    filled = sa.select(models.fills.c.order_id).where(models.fills.c.run_id == run_id)
    others = await repository._frame([table.c.id.in_(filled), table.c.run_id.is_distinct_from(run_id)], session)
    # fills may have been added since the given ones were read
    others = others.filter(pl.col("id").is_in(fills["order_id"].implode()))
    return pl.concat([own, others]).sort("created_at", "id")


def _new(staged: sa.TableClause) -> sa.Insert:
    """Insert the staged orders that are new."""
    recorded = {"recorded_at": recording_time().label("recorded_at")}
    return insert_missing(models.orders, staged, ["id"], any_key=True, instead=recorded)


def _records(frame: pl.DataFrame) -> builtins.list[Order]:
    rows = list(frame.iter_rows(named=True))
    for row in rows:
        if row["extra"] is not None:
            row["extra"] = document(row["extra"], f"veda_orders.extra of id={row['id']!r}")
    return [Order.from_row(canonical(row)) for row in rows]


def _conflicts(stored: pl.DataFrame, given: pl.DataFrame) -> pl.DataFrame:
    """Return the refused snapshots, with the stored ones and the reasons: columns of ``ORDER_CONFLICTS``."""
    before = stored.rename({name: f"stored_{name}" for name in ORDER if name != "id"})
    both = given.join(before.with_columns(known=True), on="id", how="left", nulls_equal=False)
    others = pl.any_horizontal(pl.col(name) != pl.col(f"stored_{name}") for name in _IDENTITY)
    final = pl.col("stored_status").is_in(_TERMINAL) & (pl.col("status") != pl.col("stored_status"))
    reason = (
        pl.when(pl.col("known").is_null())
        .then(pl.lit("its client_order_id belongs to another order"))
        .when(others)
        .then(pl.lit("it is another order: client_order_id, run_id, symbol, side or account differ"))
        .when(pl.col("filled_qty") < pl.col("stored_filled_qty"))
        .then(pl.lit("a larger quantity is already filled"))
        .when(final)
        .then(pl.lit("its status is already final"))
    )
    found = both.with_columns(reason=reason).filter(pl.col("reason").is_not_null())
    return found.sort("id").select(list(ORDER_CONFLICTS))


def _refuse_taken(stored: pl.DataFrame, given: pl.DataFrame) -> None:
    taken = given.join(stored, on="id", how="anti", maintain_order="left")
    if taken.height:
        order_id, name = taken.select("id", "client_order_id").row(0)
        raise DuplicateKey(
            f"already taken: client_order_id {name!r} of order {order_id!r} belongs to another order. "
            "Nothing of this call was written."
        )


def _refuse_stale(stored: pl.DataFrame, given: pl.DataFrame) -> None:
    both = stored.join(given, on="id", suffix="_given")
    others = both.filter(pl.any_horizontal(pl.col(name) != pl.col(f"{name}_given") for name in _IDENTITY))
    if others.height:
        row = others.row(0, named=True)
        changed = [f"{name} is {row[name]!r}, given {row[f'{name}_given']!r}" for name in _IDENTITY]
        differences = "; ".join(
            text
            for text, name in zip(changed, _IDENTITY, strict=True)
            if row[name] != row[f"{name}_given"]
            and not (name == "account" and None in (row[name], row["account_given"]))
        )
        raise Conflict(
            f"order {row['id']!r} is another order: {differences}. A snapshot is the state of one order; another "
            "order needs another id. Nothing of this call was written."
        )
    falls = both.filter(pl.col("filled_qty_given") < pl.col("filled_qty"))
    changes = both.filter(pl.col("status").is_in(_TERMINAL) & (pl.col("status_given") != pl.col("status")))
    stale = pl.concat([falls, changes]).unique("id", maintain_order=True)
    if stale.is_empty():
        return
    row = stale.row(0, named=True)
    if row["filled_qty_given"] < row["filled_qty"]:
        filled, given_qty = decimal_text(row["filled_qty"]), decimal_text(row["filled_qty_given"])
        reason = f"{filled} is already filled, and the snapshot says {given_qty}"
    else:
        reason = f"it is already {row['status']!r}, which is final, and the snapshot says {row['status_given']!r}"
    raise StaleSnapshot(row["id"], reason, stale.height - 1)
