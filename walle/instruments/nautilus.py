"""Read instruments of NautilusTrader by their attributes, without importing it.

See https://nautilustrader.io/docs/latest/concepts/instruments.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from walle.enums import InstrumentKind
from walle.errors import InputError
from walle.instruments.numbers import exact, text_of
from walle.records import Instrument
from walle.validation import EPOCH

__all__ = ["is_nautilus", "read_nautilus"]

_KINDS = {
    "SWAP": InstrumentKind.PERPETUAL,
    "FUTURE": InstrumentKind.FUTURE,
    "OPTION": InstrumentKind.OPTION,
}
_SPOT = {
    "FX": InstrumentKind.FX,
    "EQUITY": InstrumentKind.STOCK,
    "INDEX": InstrumentKind.INDEX,
    "CRYPTOCURRENCY": InstrumentKind.SPOT,
}


def is_nautilus(item: object) -> bool:
    """Return whether an object looks like an instrument of NautilusTrader: its id has a symbol and a venue."""
    name = getattr(item, "id", None)
    return hasattr(name, "symbol") and hasattr(name, "venue")


def read_nautilus(item: Any) -> Instrument:
    """Return an instrument of NautilusTrader as one of ours.

    Parameters
    ----------
    item : instrument
        Its id gives symbol and venue; the whole id and raw_symbol are aliases. As far as they are there:
        instrument_class and asset_class, base_currency (or an underlying currency), quote_currency,
        settlement_currency, multiplier, is_inverse, price_increment, size_increment (else lot_size), expiration_ns.

    Raises
    ------
    InputError
        For values that make no instrument.
    """
    symbol = str(item.id.symbol)
    names = [f"{symbol}.{item.id.venue}", text_of(getattr(item, "raw_symbol", None))]
    base = getattr(item, "base_currency", None) or getattr(getattr(item, "underlying", None), "code", None)
    lot = getattr(item, "size_increment", None)
    try:
        return Instrument(
            symbol=symbol,
            kind=_kind(item),
            base=text_of(base),
            quote=text_of(getattr(item, "quote_currency", None)),
            settle=text_of(getattr(item, "settlement_currency", None)),
            multiplier=exact(getattr(item, "multiplier", None), "multiplier"),
            inverse=bool(getattr(item, "is_inverse", False)),
            tick_size=exact(getattr(item, "price_increment", None), "price_increment"),
            lot_size=exact(getattr(item, "lot_size", None) if lot is None else lot, "size_increment"),
            expires_at=_expiry(getattr(item, "expiration_ns", None)),
            venue=text_of(item.id.venue),
            aliases=tuple(dict.fromkeys(name for name in names if name and name != symbol)),
        )
    except InputError as error:
        raise InputError(f"the instrument {names[0]!r} makes none of ours: {error}") from error


def _kind(item: Any) -> InstrumentKind | None:
    kind, asset = (_word(getattr(item, name, None)) for name in ("instrument_class", "asset_class"))
    return _SPOT.get(asset) if kind == "SPOT" else _KINDS.get(kind)


def _word(value: object) -> str:
    return str(getattr(value, "name", value)).upper()


def _expiry(value: object) -> datetime | None:
    nanoseconds = exact(value, "expiration_ns")
    if not nanoseconds:  # 0: it never expires
        return None
    microseconds, rest = divmod(int(nanoseconds), 1000)
    if rest:
        raise InputError(f"expiration_ns={value!r} is finer than a microsecond, which is not kept.")
    try:
        return EPOCH + timedelta(microseconds=microseconds)
    except OverflowError:
        raise InputError(f"expiration_ns={value!r} lies outside the years 1 to 9999.") from None
