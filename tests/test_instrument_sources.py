from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from walle.errors import InputError
from walle.instruments import instruments_in
from walle.records import Instrument


def market(**changes: Any) -> dict[str, Any]:
    """A market as ccxt's load_markets() returns it, with parts that nothing reads."""
    base: dict[str, Any] = {
        "id": "BTCUSDT",
        "lowercaseId": "btcusdt",
        "symbol": "BTC/USDT",
        "base": "BTC",
        "quote": "USDT",
        "settle": None,
        "baseId": "BTC",
        "type": "spot",
        "spot": True,
        "margin": True,
        "swap": False,
        "contract": False,
        "linear": None,
        "inverse": None,
        "contractSize": None,
        "expiry": None,
        "precision": {"price": 0.01, "amount": 1e-05, "cost": None},
        "limits": {"amount": {"min": 1e-05, "max": 9000.0}},
        "info": {"status": "TRADING"},
    }
    return base | changes


SPOT = Instrument(
    symbol="BTC/USDT",
    kind="spot",
    base="BTC",
    quote="USDT",
    tick_size=Decimal("0.01"),
    lot_size=Decimal("0.00001"),
    aliases=("BTCUSDT",),
)
INVERSE = market(
    id="BTCUSD_251226",
    symbol="BTC/USD:BTC-251226",
    quote="USD",
    settle="BTC",
    type="future",
    linear=False,
    inverse=True,
    contractSize=100.0,
    expiry=1766736000000,
    precision={"price": 0.1, "amount": 1.0},
)


def test_a_spot_market_of_ccxt_is_read() -> None:
    assert instruments_in(market()) == [SPOT]
    assert instruments_in([market()]) == [SPOT]
    assert instruments_in({"BTC/USDT": market()}) == [SPOT]
    assert instruments_in({}) == []
    bare = {"symbol": "BTC/USDT", "swap": True}
    assert instruments_in(bare) == [Instrument(symbol="BTC/USDT", kind="perpetual")]


def test_a_contract_of_ccxt_has_its_size_as_multiplier_and_its_expiry() -> None:
    [inverse, swap] = instruments_in(
        {
            "a": INVERSE,
            "b": market(symbol="DOGE/USDT:USDT", type="swap", contractSize=np.float64(0.1), settle="USDT", id=None),
        }
    )
    assert (inverse.kind, inverse.inverse, inverse.settle, inverse.multiplier) == ("future", True, "BTC", Decimal(100))
    assert inverse.expires_at == datetime(2025, 12, 26, 8, tzinfo=UTC)
    assert (swap.kind, swap.inverse, swap.settle, swap.multiplier) == ("perpetual", False, "USDT", Decimal("0.1"))
    assert swap.aliases == ()


def test_a_precision_of_ccxt_from_1_on_may_be_a_number_of_places_and_is_left_open() -> None:
    [one] = instruments_in(market(precision={"price": 2, "amount": 8}))
    assert (one.tick_size, one.lot_size) == (None, None)
    [one] = instruments_in(market(precision={"price": 1.0, "amount": 0}))
    assert (one.tick_size, one.lot_size) == (None, None)
    [one] = instruments_in(market(precision={"price": "0.00000001", "amount": 0.30000000000000004}))
    assert (one.tick_size, one.lot_size) == (Decimal("1E-8"), Decimal("0.30000000000000004"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contractSize": 0}, r"'BTC/USD:BTC-251226' makes no instrument: .*multiplier=0 must be above 0"),
        ({"contractSize": "many"}, "contractSize='many' is no finite number"),
        ({"contractSize": float("nan")}, "contractSize='nan' is no finite number"),
        ({"contractSize": True}, "contractSize='True' is no finite number"),
        ({"quote": "x" * 21}, "quote has 21 characters"),
        ({"expiry": 1e20}, "outside the years 1 to 9999"),
        ({"symbol": None}, "a market of ccxt has a 'symbol'; this mapping has 'id', 'lowercaseId'"),
    ],
)
def test_a_market_that_makes_no_instrument_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        instruments_in([market(), INVERSE | changes])


class Word(Enum):
    SPOT = 1
    SWAP = 2
    FUTURE = 3
    BOND = 7
    FX = 11
    EQUITY = 12
    CRYPTOCURRENCY = 16


class Shown:
    """Prices, quantities, symbols and venues of NautilusTrader are known by their texts."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


@dataclass
class Theirs:
    """An instrument of NautilusTrader, as far as its attributes go."""

    id: Any
    raw_symbol: Any = field(default_factory=lambda: Shown("BTCUSDT"))
    instrument_class: Any = Word.SWAP
    asset_class: Any = Word.CRYPTOCURRENCY
    base_currency: Any = None
    quote_currency: Any = field(default_factory=lambda: SimpleNamespace(code="USDT"))
    settlement_currency: Any = None
    multiplier: Any = field(default_factory=lambda: Shown("1"))
    is_inverse: bool = False
    price_increment: Any = field(default_factory=lambda: Shown("0.10"))
    size_increment: Any = field(default_factory=lambda: Shown("0.001"))
    lot_size: Any = None
    expiration_ns: int = 0


def named(symbol: str = "BTCUSDT-PERP", venue: str = "BINANCE") -> Any:
    return SimpleNamespace(symbol=Shown(symbol), venue=Shown(venue))


def test_a_perpetual_of_nautilus_is_read_by_its_attributes() -> None:
    currency = SimpleNamespace(code="BTC")
    theirs = Theirs(named(), base_currency=currency, settlement_currency=currency, is_inverse=True)
    expected = Instrument(
        symbol="BTCUSDT-PERP",
        kind="perpetual",
        base="BTC",
        quote="USDT",
        settle="BTC",
        multiplier=Decimal(1),
        inverse=True,
        tick_size=Decimal("0.1"),
        lot_size=Decimal("0.001"),
        venue="BINANCE",
        aliases=("BTCUSDT-PERP.BINANCE", "BTCUSDT"),
    )
    assert instruments_in(theirs) == [expected]
    assert instruments_in([theirs, SPOT]) == [expected, SPOT]


@pytest.mark.parametrize(
    ("kind", "asset", "expected"),
    [
        (Word.SPOT, Word.FX, "fx"),
        (Word.SPOT, Word.EQUITY, "stock"),
        (Word.SPOT, Word.CRYPTOCURRENCY, "spot"),
        (Word.FUTURE, Word.FX, "future"),
        ("OPTION", "INDEX", "option"),
        (Word.BOND, Word.EQUITY, None),
        (None, None, None),
    ],
)
def test_the_kind_of_a_nautilus_instrument_is_of_its_two_classes(kind: Any, asset: Any, expected: str | None) -> None:
    assert instruments_in(Theirs(named(), instrument_class=kind, asset_class=asset))[0].kind == expected


def test_a_future_of_nautilus_expires_and_a_stock_has_lots() -> None:
    dated = Theirs(named("BTC-26DEC25", "BYBIT"), instrument_class=Word.FUTURE, expiration_ns=1766736000 * 10**9)
    dated.underlying = SimpleNamespace(code="BTC")  # type: ignore[attr-defined]  # a crypto future has it
    [future] = instruments_in(dated)
    assert (future.base, future.expires_at) == ("BTC", datetime(2025, 12, 26, 8, tzinfo=UTC))
    [stock] = instruments_in(Theirs(named("AAPL", "XNAS"), size_increment=None, lot_size=Shown("100")))
    assert stock.lot_size == 100
    with pytest.raises(InputError, match=r"'X.Y' makes none of ours: expiration_ns=1 is finer than a microsecond"):
        instruments_in(Theirs(named("X", "Y"), expiration_ns=1))
    with pytest.raises(InputError, match=r"multiplier=0 must be above 0"):
        instruments_in(Theirs(named("X", "Y"), multiplier=Shown("0")))
