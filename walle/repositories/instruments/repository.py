"""Instruments: what symbols are, from a time on; earlier facts stay beside those that took their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.database import Database, Writer
from walle.errors import InputError, InstrumentConflict, UnknownInstrument
from walle.fills import WriteReport
from walle.fills.coerce import INSTRUMENT, instruments_frame
from walle.frames import INSTRUMENTS, no_rows
from walle.instruments import instruments_in
from walle.interop import frame_of
from walle.records import Instrument
from walle.repositories.as_of import known_at, recorded_by
from walle.repositories.common import IN_LIST, Time, canonical, check_name, near, one_of
from walle.repositories.select import expression, finish, read, wire_schema
from walle.types import recording_time, wire
from walle.validation import check_text, parse_time

__all__ = ["InstrumentRepository"]

_KEY = ["symbol", "valid_from"]
_FACTS = [name for name in INSTRUMENT if name not in _KEY]


class InstrumentRepository:
    """What symbols are: their kind, currencies, multiplier, steps and other names.

    The examples call the synchronous ``store`` with the sample data (:func:`walle.demo.load`); an engine awaits the
    same call on this repository.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def save(
        self,
        instruments: Instrument | Iterable[Any] | Mapping[str, Any] | pl.DataFrame,
        *,
        reason: str | None = None,
        session: AsyncSession | None = None,
    ) -> WriteReport:
        """Store what symbols are: the same facts again are a no-op; all of the call or nothing.

        Other facts of the same symbol and ``valid_from`` need a reason. The earlier facts stay, and reads give the
        later ones. Facts with another ``valid_from`` stand beside each other.

        Parameters
        ----------
        instruments : Instrument, iterable, mapping, or a Polars, pandas or Arrow frame
            Instruments; markets of ccxt (``exchange.markets``, a list of markets, or one); instruments of
            NautilusTrader. A frame has columns of :data:`walle.frames.INSTRUMENTS`, which may be left out except for
            symbol; ``recorded_at`` is the database's own. :mod:`walle.instruments` says what is read of the others.
        reason : str, optional
            Why facts differ from the stored ones. None: the column ``reason`` of a frame.
        session : AsyncSession, optional
            Join the caller's transaction; nothing is committed here then.

        Returns
        -------
        WriteReport
            ``updated`` counts facts that took the place of stored ones.

        Raises
        ------
        InstrumentConflict
            When stored facts differ, and no reason is given.
        InputError
            For what makes no instrument, and for a symbol that stands there with several contents.

        Examples
        --------
        >>> from decimal import Decimal
        >>> future = walle.Instrument(symbol="ESZ5", kind="future", quote="USD", multiplier=Decimal(50))
        >>> store.instruments.save(future)
        WriteReport(inserted=1, updated=0, unchanged=0)
        >>> wrong = {"symbol": "ESZ5", "kind": "future", "quote": "USD", "multiplier": "5"}
        >>> store.instruments.save(pl.DataFrame([wrong]), reason="the contract's own page")
        WriteReport(inserted=0, updated=1, unchanged=0)
        """
        if reason is not None:
            check_text(reason, "reason", maximum=10_000)
        given = await self._database.in_thread(lambda: _frame(instruments, reason))
        frame = given.unique(list(INSTRUMENT), maintain_order=True)
        _refuse_double(frame)
        if frame.is_empty():
            return WriteReport()
        table = models.instruments
        async with self._database.write(session) as writer:
            await writer.hold(table)
            both = frame.join(
                await self._stored(writer, frame), on=_KEY, how="left", nulls_equal=True, maintain_order="left"
            )
            known = pl.col("id").is_not_null()
            differs = pl.any_horizontal(pl.col(name).ne_missing(pl.col(f"stored_{name}")) for name in _FACTS)
            changed = both.filter(known, differs)
            _refuse_unexplained(changed)
            new = both.filter(~known | differs)
            await self._insert(writer, new)
        return WriteReport(
            inserted=new.height - changed.height, updated=changed.height, unchanged=given.height - new.height
        )

    async def _stored(self, writer: Writer, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the newest facts of each symbol and time, as ``stored_*`` beside the key."""
        table, schema = models.instruments, pl.Schema({**INSTRUMENT, "id": pl.Int64()})
        parts = [pl.DataFrame(schema=schema)]
        for few in frame.select("symbol").unique().sort("symbol").iter_slices(IN_LIST):
            statement: sa.Select[Any] = sa.select(*(wire(table.c[name], writer.dialect.name) for name in schema))
            statement = statement.where(table.c.symbol.in_(few.to_series().to_list()))
            parts.append(finish(await writer.fetch(statement, wire_schema(schema)), schema))
        stored = _named(pl.concat(parts)).sort("id").unique(_KEY, keep="last")
        return stored.rename({name: f"stored_{name}" for name in _FACTS})

    async def _insert(self, writer: Writer, new: pl.DataFrame) -> None:
        if new.is_empty():
            return
        table = models.instruments
        names = [*INSTRUMENT, "reason"]
        aliases = pl.struct("aliases").struct.json_encode().str.slice(len('{"aliases":')).str.head(-1)
        staged = await writer.stage(table, new.select(names).with_columns(aliases=aliases))
        rows = sa.select(*(staged.c[name] for name in names), recording_time()).order_by(staged.c.symbol)
        await writer.execute(sa.insert(table).from_select([*names, "recorded_at"], rows))

    async def read(
        self,
        symbol: str | Iterable[str] | None = None,
        *,
        as_of: Time = None,
        history: bool = False,
        session: AsyncSession | None = None,
    ) -> pl.DataFrame:
        """Read what symbols are, as a frame.

        Parameters
        ----------
        symbol : str or iterable of str, optional
            Symbols, no aliases.
        as_of : datetime, date, str or None
            What was recorded at that time or before. A date or text without a zone is UTC.
        history : bool
            Whether facts that later ones took the place of are there, too.
        session : AsyncSession, optional
            Read what its transaction sees.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.INSTRUMENTS`; one row per symbol and ``valid_from``, with ``history`` one per
            write. Sorted by symbol, valid_from (null first), and the order in which they were written.

        Raises
        ------
        InputError
            For a bad time, and for an ``as_of`` in the future of the database's clock.

        Examples
        --------
        >>> market = {"symbol": "BTC/USD", "type": "spot", "base": "BTC", "quote": "USD", "id": "XXBTZUSD"}
        >>> inserted = store.instruments.save({"BTC/USD": market}).inserted
        >>> store.instruments.read("BTC/USD").select("kind", "settle", "aliases").row(0)
        ('spot', 'USD', ['XXBTZUSD'])
        """
        if not isinstance(history, bool):
            raise InputError(f"history={history!r} is neither True (all facts, as they were written) nor False.")
        table, known = models.instruments, await known_at(self._database, as_of, session)
        conditions = [*one_of(table.c.symbol, symbol), *recorded_by(self._database, table, known)]
        if not self._database.has(table):
            return no_rows(INSTRUMENTS)
        schema = pl.Schema({**INSTRUMENTS, "id": pl.Int64()})
        statement: sa.Select[Any] = sa.select(*(expression(self._database, table, name) for name in schema))
        frame = _named(await read(self._database, statement.where(*conditions), schema, session)).sort("id")
        if not history:
            frame = frame.unique(_KEY, keep="last")
        return frame.sort("symbol", "valid_from", "id").drop("id")

    async def get(
        self, symbol: str, *, at: Time = None, as_of: Time = None, session: AsyncSession | None = None
    ) -> Instrument:
        """Return what a symbol is, by its name or an alias.

        Parameters
        ----------
        symbol : str
            A symbol; where there is none of that name, an alias of one.
        at : datetime, date, str or None
            The time at which the facts hold; None: now. A date or text without a zone is UTC.
        as_of : datetime, date, str or None
            What was recorded at that time or before.
        session : AsyncSession, optional
            Read what its transaction sees.

        Raises
        ------
        UnknownInstrument
            When no symbol or alias has that name, or its facts hold only later; near names are offered.
        InputError
            For an alias of several symbols, for a bad time, and for an ``as_of`` in the future of the database's clock.

        Examples
        --------
        >>> inserted = store.instruments.save(walle.Instrument(symbol="BTC/USD", kind="spot", aliases=("XBT/USD",)))
        >>> store.instruments.get("XBT/USD").symbol
        'BTC/USD'
        """
        name, moment = check_name(symbol, "symbol"), parse_time(at, "at") or datetime.now(UTC)
        found = await self.read(name, as_of=as_of, session=session)
        if found.is_empty():
            stored = await self.read(as_of=as_of, session=session)
            found = stored.filter(pl.col("aliases").list.contains(name))
            symbols = found["symbol"].unique().sort().to_list()
            if len(symbols) > 1:
                raise InputError(
                    f"{name!r} is an alias of several symbols: {', '.join(map(repr, symbols[:10]))}. Name one of them."
                )
            if not symbols:
                names = {*stored["symbol"], *stored["aliases"].explode().drop_nulls()}
                raise UnknownInstrument(name, near(name, names))
        holding = found.filter(pl.col("valid_from").is_null() | (pl.col("valid_from") <= moment))
        if holding.is_empty():
            first = found["valid_from"].min()
            assert isinstance(first, datetime)
            raise UnknownInstrument(name, (), f" at {moment.isoformat()}: its facts hold from {first.isoformat()} on")
        return _record(holding.sort("valid_from").row(-1, named=True))


def _frame(source: object, reason: str | None) -> pl.DataFrame:
    """Return instruments as a checked frame: the columns of ``INSTRUMENT``, and the reason."""
    frame = frame_of(source, "instruments")
    if frame is None:
        return instruments_frame(instruments_in(source)).with_columns(reason=pl.lit(reason, dtype=pl.String))
    own = pl.Series("reason", [None] * frame.height, dtype=pl.String)
    if "reason" in frame.columns:
        own, frame = frame["reason"].cast(pl.String), frame.drop("reason")
    checked = instruments_frame(frame)
    return checked.with_columns(own if reason is None else pl.lit(reason).alias("reason"))


def _named(frame: pl.DataFrame) -> pl.DataFrame:
    """Return an empty list where another program wrote no aliases."""
    return frame.with_columns(pl.col("aliases").fill_null(pl.lit([], dtype=pl.List(pl.String))))


def _record(row: Mapping[str, Any]) -> Instrument:
    return Instrument.from_row(canonical(row) | {"aliases": tuple(row["aliases"])})


def _refuse_double(frame: pl.DataFrame) -> None:
    double = frame.filter(pl.struct(_KEY).is_duplicated())
    if double.height:
        first = double.row(0, named=True)
        since = "always" if first["valid_from"] is None else f"from {first['valid_from'].isoformat()} on"
        raise InputError(
            f"the symbol {first['symbol']!r} stands in this call with several contents, {since}; give one only. "
            "Nothing was written."
        )


def _refuse_unexplained(changed: pl.DataFrame) -> None:
    unexplained = changed.filter(pl.col("reason").is_null())
    if unexplained.is_empty():
        return
    row = canonical(unexplained.row(0, named=True))
    differences: dict[str, tuple[object, object]] = {
        name: (row[f"stored_{name}"], row[name]) for name in _FACTS if row[f"stored_{name}"] != row[name]
    }
    raise InstrumentConflict(cast("str", row["symbol"]), differences, unexplained.height - 1)
