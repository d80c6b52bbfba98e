"""``store.instruments``, generated from `walle.repositories.instruments.InstrumentRepository`: see `walle.generate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from walle.fills import WriteReport
from walle.records import Instrument
from walle.repositories.common import Time
from walle.repositories.instruments.repository import InstrumentRepository
from walle.store.part import Part

__all__ = ["Instruments"]


class Instruments(Part[InstrumentRepository]):
    """The instruments of a store.

    The examples are run on the sample data of :func:`walle.demo.load`.
    """

    _name = "instruments"

    def save(
        self, instruments: Instrument | Iterable[Any] | Mapping[str, Any] | pl.DataFrame, *, reason: str | None = None
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
        return self._call("save", lambda core: core.save(instruments, reason=reason))

    def read(
        self, symbol: str | Iterable[str] | None = None, *, as_of: Time = None, history: bool = False
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
        return self._call("read", lambda core: core.read(symbol, as_of=as_of, history=history))

    def get(self, symbol: str, *, at: Time = None, as_of: Time = None) -> Instrument:
        """Return what a symbol is, by its name or an alias.

        Parameters
        ----------
        symbol : str
            A symbol; where there is none of that name, an alias of one.
        at : datetime, date, str or None
            The time at which the facts hold; None: now. A date or text without a zone is UTC.
        as_of : datetime, date, str or None
            What was recorded at that time or before.

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
        return self._call("get", lambda core: core.get(symbol, at=at, as_of=as_of))
