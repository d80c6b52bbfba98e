"""What the synthetic runs are made of: plans, bars, orders and fills, with exact decimals."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

import polars as pl

PLACES = Decimal("0.00000001")


class Bar(NamedTuple):
    """One minute of one symbol, with exact prices."""

    minute: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run trades, how, and how it ends.

    Parameters
    ----------
    run_id, tag, strategy_id, mode, status : str
        The run's own columns; `tag` is the part of its orders' ids that tells runs apart.
    symbols : tuple of str
        What it trades.
    start, end : datetime
        The run trades bars of [start, end); from `flatten_from` on it only closes positions.
    flatten_from : datetime
        See `end`.
    dies_after : datetime or None
        The process vanishes in the first minute after this one that leaves a limit order partially filled.
    fast, slow : int
        Windows of the two averages, in 15-minute closes.
    notional, cash : Decimal
        Size of an entry and money at the start, in USD.
    lot : Decimal
        Smallest quantity and its step.
    maker, taker : Decimal
        Commission rates.
    fast_market, limit_offset, stop_loss : Decimal
        Fractions of the price: the 15-minute move above which it trades at market, the distance of its
        limit orders, and the distance of its stops.
    patience : int
        How many 15-minute closes a limit order may wait.
    time_in_force : str
        Of limit and market orders; stops are always gtc.
    reject_rate : float
        Share of orders that the broker refuses at random.
    seed : int
        Seed of the run's randomness.
    """

    run_id: str
    tag: str
    strategy_id: str
    mode: str
    status: str
    symbols: tuple[str, ...]
    start: datetime
    end: datetime
    flatten_from: datetime
    dies_after: datetime | None = None
    fast: int
    slow: int
    notional: Decimal
    cash: Decimal
    lot: Decimal
    maker: Decimal
    taker: Decimal
    fast_market: Decimal
    limit_offset: Decimal
    stop_loss: Decimal
    patience: int
    time_in_force: str
    reject_rate: float
    seed: int


@dataclass(slots=True, kw_only=True)
class Fill:
    """One execution; the columns of fills.csv."""

    id: str
    order_id: str
    run_id: str | None
    symbol: str
    side: str
    price: Decimal
    quantity: Decimal
    commission: Decimal
    commission_currency: str
    liquidity: str
    filled_at: datetime
    exchange_fill_id: str


@dataclass(slots=True, kw_only=True)
class Order:
    """One order as the broker knows it, with its fills; snapshots are taken from it."""

    id: str
    client_order_id: str
    run_id: str
    symbol: str
    side: str
    order_type: str
    qty: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    time_in_force: str
    created_at: datetime
    submitted_at: datetime
    acknowledged_at: datetime
    status: str = "accepted"
    exchange_order_id: str | None = None
    filled_at: datetime | None = None
    cancelled_at: datetime | None = None
    expired_at: datetime | None = None
    reject_reason: str | None = None
    error_code: str | None = None
    triggered: bool = False
    fills: list[Fill] = field(default_factory=list)

    @property
    def filled_qty(self) -> Decimal:
        """Sum of the fills' quantities, at most the order's."""
        return min(self.qty, sum((fill.quantity for fill in self.fills), Decimal(0)))

    @property
    def filled_avg_price(self) -> Decimal | None:
        """Mean price weighted by quantity, half-even at 8 places; None before the first fill."""
        if not self.fills:
            return None
        quantity = sum((fill.quantity for fill in self.fills), Decimal(0))
        notional = sum((fill.price * fill.quantity for fill in self.fills), Decimal(0))
        return (notional / quantity).quantize(PLACES, ROUND_HALF_EVEN)


def commission(price: Decimal, quantity: Decimal, rate: Decimal) -> Decimal:
    """Fee of one fill.

    Parameters
    ----------
    price, quantity : Decimal
        Of the fill.
    rate : Decimal
        Share of the notional.

    Returns
    -------
    Decimal
        rate x price x quantity in USD, half-even at 8 places.
    """
    return (rate * price * quantity).quantize(PLACES, ROUND_HALF_EVEN)


def exact_bars(frame: pl.DataFrame) -> dict[datetime, Bar]:
    """Bars by minute, with the decimals that the floats were written as.

    Parameters
    ----------
    frame : polars.DataFrame
        As `sample_bars.make_bars` gives it.

    Returns
    -------
    dict of datetime to Bar
        In the frame's order.
    """
    return {row[0]: Bar(row[0], *(Decimal(repr(value)) for value in row[1:])) for row in frame.iter_rows()}
