"""A made-up strategy and broker that trade the synthetic bars: orders and fills that agree exactly.

A simple moving average crossover, long only, looks at 15-minute closes. It enters and leaves by a resting
limit order in calm markets and by a market order in fast ones, and protects market entries with a stop.
The broker fills at prices inside the bar of the minute, never more than a share of that bar's volume for
the first two fills of an order, and what is left of the order in its third.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import polars as pl
from sample_records import Bar, Fill, Order, Plan, commission, exact_bars

BUCKET = timedelta(minutes=15)
MINUTE = timedelta(minutes=1)
TICK = Decimal("0.01")
MAX_FILLS = 3
SATURDAY = 5


@dataclass(slots=True)
class _Book:
    """What the run knows about one symbol."""

    closes: list[Decimal] = field(default_factory=list)
    bucket: datetime | None = None
    last_close: Decimal = Decimal(0)
    position: Decimal = Decimal(0)
    working: list[Order] = field(default_factory=list)
    blocked: bool = False


def _is_idle(order: Order) -> bool:
    """Whether a stop waits: for its trigger, or as a stop-limit that was triggered, for its limit."""
    return order.order_type == "stop_limit" or not order.triggered


class Simulation:
    """One run, minute by minute.

    Parameters
    ----------
    plan : Plan
        What to do.
    bars : mapping of str to polars.DataFrame
        By symbol; must hold the plan's symbols.
    """

    def __init__(self, plan: Plan, bars: Mapping[str, pl.DataFrame]) -> None:
        self.plan = plan
        self.bars = {symbol: exact_bars(bars[symbol]) for symbol in plan.symbols}
        self.orders: list[Order] = []
        self._books = {symbol: _Book() for symbol in plan.symbols}
        self._cash = plan.cash
        self._rng = random.Random(plan.seed)
        self._fills = 0

    def run(self) -> list[Order]:
        """Trade every bar of the plan.

        Returns
        -------
        list of Order
            In the order in which they were made, each with its fills.
        """
        minutes = sorted({minute for bars in self.bars.values() for minute in bars})
        minutes = [minute for minute in minutes if self.plan.start <= minute < self.plan.end]
        for index, minute in enumerate(minutes):
            ends_session = index + 1 == len(minutes) or minutes[index + 1] > minute + MINUTE
            for symbol in self.plan.symbols:
                bar = self.bars[symbol].get(minute)
                if bar is not None:
                    self._pass_minute(self._books[symbol], symbol, bar, ends_session)
            if self._dies(minute):
                break
        return self.orders

    def _dies(self, minute: datetime) -> bool:
        if self.plan.dies_after is None or minute <= self.plan.dies_after:
            return False
        working = [order for book in self._books.values() for order in book.working]
        return any(order.status == "partial" and order.order_type == "limit" for order in working)

    def _pass_minute(self, book: _Book, symbol: str, bar: Bar, ends_session: bool) -> None:
        bucket = bar.minute - (bar.minute - datetime(2025, 1, 1, tzinfo=UTC)) % BUCKET
        if book.bucket is not None and bucket != book.bucket:
            book.closes.append(book.last_close)
            self._decide(book, symbol, bar.minute)
        for order in list(book.working):
            self._match(book, order, bar)
        for order in [order for order in book.working if ends_session and order.time_in_force == "day"]:
            order.status, order.expired_at = "expired", bar.minute + MINUTE
            book.working.remove(order)
        book.bucket, book.last_close = bucket, bar.close

    def _decide(self, book: _Book, symbol: str, minute: datetime) -> None:
        """Look at the closes known at `minute` and bring orders in line with them."""
        plan = self.plan
        closing = minute >= plan.flatten_from
        wants_long = False
        if len(book.closes) >= plan.slow and not closing:
            fast, slow = sum(book.closes[-plan.fast :]), sum(book.closes[-plan.slow :])
            wants_long = fast * plan.slow > slow * plan.fast
        book.blocked = book.blocked and wants_long
        urgent = closing
        now = minute + timedelta(milliseconds=self._rng.randint(400, 1400))
        for order in list(book.working):
            against = (order.side == "buy") != wants_long
            waited = minute - order.created_at >= BUCKET * plan.patience - MINUTE
            if order.order_type == "limit" and (against or waited or closing):
                self._cancel(book, order, now)
                urgent = urgent or not against
            elif order.stop_price is not None and not wants_long and _is_idle(order):
                self._cancel(book, order, now)
        if any(order.stop_price is None or order.triggered for order in book.working):
            return
        now += timedelta(milliseconds=self._rng.randint(150, 600))
        if wants_long and not book.position and not book.blocked:
            qty = (plan.notional / book.closes[-1]).quantize(plan.lot, ROUND_FLOOR)
            self._trade(book, symbol, "buy", qty, now, urgent=urgent)
        elif not wants_long and book.position:
            self._trade(book, symbol, "sell", book.position, now, urgent=urgent)

    def _trade(self, book: _Book, symbol: str, side: str, qty: Decimal, now: datetime, *, urgent: bool) -> None:
        last, before = book.closes[-1], book.closes[-2]
        if urgent or abs(last / before - 1) > self.plan.fast_market:
            self._submit(book, symbol, side, "market", qty, now)
        else:
            offset = -self.plan.limit_offset if side == "buy" else self.plan.limit_offset
            rounding = ROUND_FLOOR if side == "buy" else ROUND_CEILING
            limit = (last * (1 + offset)).quantize(TICK, rounding)
            self._submit(book, symbol, side, "limit", qty, now, limit=limit)

    def _protect(self, book: _Book, entry: Order) -> None:
        """Rest a stop below a finished market entry; a stop-limit at the weekend, when books are thin."""
        price = entry.filled_avg_price
        if price is None or entry.filled_at is None:
            return
        stop = (price * (1 - self.plan.stop_loss)).quantize(TICK, ROUND_FLOOR)
        limit = (stop * Decimal("0.997")).quantize(TICK, ROUND_FLOOR) if entry.filled_at.weekday() >= 5 else None
        kind = "stop" if limit is None else "stop_limit"
        now = entry.filled_at + timedelta(milliseconds=self._rng.randint(200, 450))
        self._submit(book, entry.symbol, "sell", kind, book.position, now, limit=limit, stop=stop)

    def _submit(
        self,
        book: _Book,
        symbol: str,
        side: str,
        order_type: str,
        qty: Decimal,
        now: datetime,
        *,
        limit: Decimal | None = None,
        stop: Decimal | None = None,
    ) -> None:
        number = len(self.orders) + 1
        submitted = now + timedelta(milliseconds=self._rng.randint(5, 40))
        order = Order(
            id=f"ord-{self.plan.tag}-{number:04d}",
            client_order_id=f"sma-{self.plan.tag}-{number:04d}",
            run_id=self.plan.run_id,
            symbol=symbol,
            side=side,
            order_type=order_type,
            qty=qty,
            limit_price=limit,
            stop_price=stop,
            time_in_force=self.plan.time_in_force if stop is None else "gtc",
            created_at=now,
            submitted_at=submitted,
            acknowledged_at=submitted + timedelta(milliseconds=self._rng.randint(40, 180)),
        )
        self.orders.append(order)
        cost = qty * (limit or book.closes[-1]) * (1 + self.plan.taker)
        if side == "buy" and cost > self._cash - self._reserved():
            order.reject_reason, order.error_code = "insufficient buying power", "BUYING_POWER"
            book.blocked = True
        elif self._rng.random() < self.plan.reject_rate and now < self.plan.flatten_from:
            order.reject_reason, order.error_code = "too many requests, try again later", "RATE_LIMIT"
        if order.error_code is None:
            order.exchange_order_id = f"SIM-{self.plan.tag.upper()}-{number:06d}"
            book.working.append(order)
        else:
            order.status = "rejected"

    def _reserved(self) -> Decimal:
        working = [order for book in self._books.values() for order in book.working if order.side == "buy"]
        prices = {order.id: order.limit_price or self._books[order.symbol].closes[-1] for order in working}
        return sum(((order.qty - order.filled_qty) * prices[order.id] for order in working), Decimal(0))

    def _cancel(self, book: _Book, order: Order, now: datetime) -> None:
        order.status, order.cancelled_at = "cancelled", now
        book.working.remove(order)

    def _price(self, order: Order, bar: Bar) -> Decimal | None:
        """Price of the next fill within the bar, or None if the bar does not reach the order."""
        limit = order.limit_price
        if order.order_type == "limit" and limit is not None:
            if order.side == "buy":
                return min(limit, bar.high) if bar.low <= limit else None
            return max(limit, bar.low) if bar.high >= limit else None
        base = bar.open
        if order.stop_price is not None and not order.triggered:
            if bar.low > order.stop_price:
                return None
            order.triggered, base = True, min(order.stop_price, bar.open)
        slip = (base * Decimal(self._rng.randint(0, 6)) / 100_000).quantize(TICK, ROUND_CEILING)
        price = min(bar.high, base + slip) if order.side == "buy" else max(bar.low, base - slip)
        if limit is not None and price < limit:
            return limit if bar.high >= limit else None
        return price

    def _match(self, book: _Book, order: Order, bar: Bar) -> None:
        if order.acknowledged_at >= bar.minute + MINUTE - timedelta(seconds=1):
            return
        price = self._price(order, bar)
        if price is None:
            return
        left = order.qty - order.filled_qty
        room = max(self.plan.lot, (bar.volume * Decimal("0.05")).quantize(self.plan.lot, ROUND_FLOOR))
        take = left if len(order.fills) == MAX_FILLS - 1 else min(left, room)
        start = max(bar.minute, order.acknowledged_at + timedelta(milliseconds=20))
        rested = order.order_type != "market" and order.submitted_at < bar.minute
        span = (bar.minute + MINUTE - start) / timedelta(milliseconds=1) if rested else 800.0
        moment = start + timedelta(milliseconds=round(span * self._rng.uniform(0.05, 0.7)))
        if not order.fills and take >= 4 * self.plan.lot and self._rng.random() < 0.35:
            share = Decimal(self._rng.randint(30, 70)) / 100
            first = (take * share).quantize(self.plan.lot, ROUND_FLOOR)
            self._fill(book, order, price, first, moment)
            take -= first
            moment += timedelta(milliseconds=self._rng.randint(15, 150))
            if order.order_type != "limit":
                worse = price + TICK if order.side == "buy" else max(price - TICK, order.limit_price or TICK)
                price = min(bar.high, max(bar.low, worse))
        self._fill(book, order, price, take, moment)

    def _fill(self, book: _Book, order: Order, price: Decimal, quantity: Decimal, moment: datetime) -> None:
        maker = order.order_type == "limit"
        self._fills += 1
        fee = commission(price, quantity, self.plan.maker if maker else self.plan.taker)
        fill = Fill(
            id=f"fill-{self.plan.tag}-{self._fills:04d}",
            order_id=order.id,
            run_id=order.run_id,
            symbol=order.symbol,
            side=order.side,
            price=price,
            quantity=quantity,
            commission=fee,
            commission_currency="USD",
            liquidity="maker" if maker else "taker",
            filled_at=moment,
            exchange_fill_id=f"SIM-{self.plan.tag.upper()}-F{self._fills:06d}",
        )
        order.fills.append(fill)
        sign = 1 if order.side == "buy" else -1
        book.position += sign * quantity
        self._cash -= sign * price * quantity + fee
        order.status = "partial"
        if order.filled_qty == order.qty:
            order.status, order.filled_at = "filled", moment
            book.working.remove(order)
            if order.side == "buy" and order.order_type == "market":
                self._protect(book, order)
            book.blocked = book.blocked or order.stop_price is not None
