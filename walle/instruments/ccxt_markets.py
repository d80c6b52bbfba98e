"""Read markets as ccxt describes them: https://docs.ccxt.com/#/README?id=market-structure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from walle.enums import InstrumentKind
from walle.errors import InputError
from walle.instruments.numbers import exact, text_of
from walle.records import Instrument
from walle.validation import EPOCH

__all__ = ["read_market"]

_KINDS = {
    "spot": InstrumentKind.SPOT,
    "swap": InstrumentKind.PERPETUAL,
    "future": InstrumentKind.FUTURE,
    "option": InstrumentKind.OPTION,
    "index": InstrumentKind.INDEX,
    "margin": InstrumentKind.SPOT,
}
_CONTRACTS = (InstrumentKind.PERPETUAL, InstrumentKind.FUTURE, InstrumentKind.OPTION)


def read_market(market: Mapping[Any, Any]) -> Instrument:
    """Return a market as an instrument.

    Parameters
    ----------
    market : mapping
        symbol, and as far as they are there: id (an alias), type or the flags spot, swap, future, option; base, quote,
        settle, contractSize (the multiplier of a contract), inverse, expiry (milliseconds since 1970), precision.price
        and precision.amount. A precision is a step only where it is below 1: from 1 on it may as well be a number of
        decimal places, which only the exchange's precisionMode tells. Floats are the decimals that their shortest texts
        say.

    Raises
    ------
    InputError
        For a market without a symbol, or with values that make no instrument.
    """
    symbol = market.get("symbol")
    if not isinstance(symbol, str):
        raise InputError(
            f"a market of ccxt has a 'symbol'; this mapping has {', '.join(map(repr, list(market)[:8])) or 'nothing'}. "
            "Give exchange.markets, the mapping of symbols to markets."
        )
    try:
        kind, name = _kind(market), market.get("id")
        precision = market.get("precision")
        precision = precision if isinstance(precision, Mapping) else {}
        return Instrument(
            symbol=symbol,
            kind=kind,
            base=text_of(market.get("base")),
            quote=text_of(market.get("quote")),
            settle=text_of(market.get("settle")),
            multiplier=exact(market.get("contractSize"), "contractSize") if kind in _CONTRACTS else None,
            inverse=market.get("inverse") is True,
            tick_size=_step(precision.get("price"), "precision.price"),
            lot_size=_step(precision.get("amount"), "precision.amount"),
            expires_at=_expiry(market.get("expiry")),
            aliases=(name,) if isinstance(name, str) and name and name != symbol else (),
        )
    except InputError as error:
        raise InputError(f"the market {symbol!r} makes no instrument: {error}") from error


def _kind(market: Mapping[Any, Any]) -> InstrumentKind | None:
    named = market.get("type")
    if isinstance(named, str) and named in _KINDS:
        return _KINDS[named]
    return next((kind for flag, kind in _KINDS.items() if market.get(flag) is True), None)


def _step(value: object, name: str) -> Decimal | None:
    step = exact(value, name)
    return step if step is not None and 0 < step < 1 else None


def _expiry(value: object) -> datetime | None:
    milliseconds = exact(value, "expiry")
    if milliseconds is None:
        return None
    try:
        return EPOCH + timedelta(milliseconds=int(milliseconds))
    except OverflowError:
        raise InputError(f"expiry={value!r} lies outside the years 1 to 9999; it is in milliseconds.") from None
