"""Match fills that close a position with fills that opened it: first in first out, last in first out, or average."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import polars as pl

from walle.errors import InputError
from walle.exact import Exact

__all__ = ["METHODS", "Fees", "Matches", "Pooled", "bounded", "check_method", "match_lots", "match_pool"]

Fees = dict[str | None, Fraction]

_MOST_BITS = 1024
_GUARD = 10**100
METHODS = ("fifo", "lifo", "average")


@dataclass(slots=True)
class Matches:
    """Pairs of an opening and a closing fill, with the amount matched, in the order of the closing fills.

    ``closing`` is None for an amount that is still open. Amounts are integers in the unit of the quantities.
    """

    opening: list[int] = field(default_factory=list)
    closing: list[int | None] = field(default_factory=list)
    amount: list[int] = field(default_factory=list)

    def add(self, opening: int, closing: int | None, amount: int) -> None:
        """Add a pair."""
        self.opening.append(opening)
        self.closing.append(closing)
        self.amount.append(amount)


@dataclass(slots=True)
class Pooled:
    """The closed parts of positions at their average entry, in the order of the closing fills.

    ``closing`` is None for the part that is still open, and ``opening`` is the fill with which the position began.
    ``price``, and ``fees`` by currency, are averages per unit of quantity: exact fractions, in the units of the prices
    and fees that were matched.
    """

    opening: list[int] = field(default_factory=list)
    closing: list[int | None] = field(default_factory=list)
    amount: list[int] = field(default_factory=list)
    price: list[Fraction] = field(default_factory=list)
    fees: list[Fees] = field(default_factory=list)


def match_lots(signed: Exact, groups: pl.Series, *, newest_first: bool = False) -> Matches:
    """Match the fills of each group: each closes the oldest (or newest) open lots of the other side.

    A fill that is larger than the open position closes it and opens a position with the rest: a flip is split.

    Parameters
    ----------
    signed : Exact
        The quantities in order of time: above 0 for a purchase, below 0 for a sale.
    groups : polars.Series
        Equal for fills that are matched with each other; equal values are adjacent.
    newest_first : bool

    Returns
    -------
    Matches
    """
    found, lots, before = Matches(), deque[list[int]](), None
    # each fill closes what the fills before it left open, so this needs a loop
    for place, (group, amount) in enumerate(zip(groups, signed.units(), strict=True)):
        if group != before:
            _leave_open(found, lots)
            before = group
        while amount and lots and (lots[0][1] < 0) != (amount < 0):
            lot = lots[-1 if newest_first else 0]
            closed = min(abs(lot[1]), abs(amount))
            found.add(lot[0], place, closed)
            toward = closed if lot[1] > 0 else -closed
            lot[1] -= toward
            amount += toward
            if not lot[1]:
                lots.pop() if newest_first else lots.popleft()
        if amount:
            lots.append([place, amount])
    _leave_open(found, lots)
    return found


def match_pool(signed: Exact, prices: Sequence[Fraction], fees: Sequence[Fees], groups: pl.Series) -> Pooled:
    """Match each fill of a group with the whole position before it, at the average price of its entries.

    While a position stays open, the denominator of its average grows with every entry: beyond 1,024 bits it is rounded
    at 100 places, 80 more than any result has.

    Parameters
    ----------
    signed, groups
        As for :func:`match_lots`.
    prices : sequence of Fraction
    fees : sequence of dict
        The commission per unit of each fill's quantity, by currency.

    Returns
    -------
    Pooled
    """
    found, before, start = Pooled(), None, 0
    held, average, paid = 0, Fraction(0), Fees()

    def note(closing: int | None, amount: int) -> None:
        found.opening.append(start)
        found.closing.append(closing)
        found.amount.append(amount)
        found.price.append(average)
        found.fees.append(paid)

    rows = zip(groups, signed.units(), prices, fees, strict=True)
    for place, (group, amount, price, fee) in enumerate(rows):
        if group != before:
            if held:
                note(None, abs(held))
            before, held = group, 0
        if held and (held < 0) != (amount < 0):
            closed = min(abs(held), abs(amount))
            note(place, closed)
            toward = closed if held > 0 else -closed
            held -= toward
            amount += toward
        if amount:
            if not held:
                start, average, paid = place, price, fee
            else:
                whole, none = abs(held + amount), Fraction(0)
                average = bounded((average * abs(held) + price * abs(amount)) / whole)
                paid = {
                    currency: bounded(
                        (paid.get(currency, none) * abs(held) + fee.get(currency, none) * abs(amount)) / whole
                    )
                    for currency in paid | fee
                }
            held += amount
    if held:
        note(None, abs(held))
    return found


def check_method(method: str) -> str:
    """Return the method if it is a known one.

    Raises
    ------
    InputError
    """
    if method not in METHODS:
        raise InputError(f"method={method!r}: allowed are {', '.join(METHODS)}.")
    return method


def bounded(value: Fraction) -> Fraction:
    """Return the fraction, rounded if its denominator has become too large."""
    if value.denominator.bit_length() <= _MOST_BITS:
        return value
    return Fraction(round(value * _GUARD), _GUARD)


def _leave_open(found: Matches, lots: deque[list[int]]) -> None:
    for place, amount in lots:
        found.add(place, None, abs(amount))
    lots.clear()
