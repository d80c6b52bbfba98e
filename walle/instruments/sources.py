"""Turn the descriptions of symbols of other libraries into instruments."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

from walle.errors import InputError
from walle.instruments.ccxt_markets import read_market
from walle.instruments.nautilus import is_nautilus, read_nautilus
from walle.records import Instrument

__all__ = ["instruments_in"]

_FIELDS = {field.name for field in dataclasses.fields(Instrument)}


def instruments_in(source: object) -> list[Instrument]:
    """Return the instruments of a source.

    Parameters
    ----------
    source : Instrument, mapping, or iterable of these
        Instruments, mappings with their fields, markets of ccxt (one, a list, or a mapping of symbols to markets such
        as ``exchange.markets``), and instruments of NautilusTrader.

    Raises
    ------
    InputError
        For what is none of these, and for a description that makes no instrument.
    """
    return [_instrument(item) for item in _items(source)]


def _items(source: object) -> Iterator[object]:
    if isinstance(source, Mapping) and not isinstance(source.get("symbol"), str):
        yield from source.values()
    elif isinstance(source, Instrument | Mapping) or is_nautilus(source):
        yield source
    elif isinstance(source, Iterable) and not isinstance(source, str | bytes):
        yield from source
    else:
        yield source


def _instrument(item: object) -> Instrument:
    if isinstance(item, Instrument):
        return item
    if isinstance(item, Mapping):
        if "kind" not in item and not (len(item) > 1 and item.keys() <= _FIELDS):
            return read_market(item)  # a market of ccxt has no kind, but a type
        if strange := sorted(map(str, item.keys() - _FIELDS)):
            raise InputError(f"an instrument has no field {strange[0]!r}; it has {', '.join(sorted(_FIELDS))}.")
        return Instrument(**item)
    if is_nautilus(item):
        return read_nautilus(item)
    raise InputError(
        f"instruments come as Instrument records, a frame, markets of ccxt (exchange.markets) or instruments of "
        f"NautilusTrader, not as {type(item).__name__}. Make a record: walle.Instrument(symbol=...)."
    )
