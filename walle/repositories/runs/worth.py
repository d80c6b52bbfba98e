"""What runs start with, and what they were worth bar by bar."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Protocol

import polars as pl

from walle.errors import InputError
from walle.fills.equities import Account, are_plain, equities
from walle.fills.equity import equity, single_cash
from walle.fills.ledger import Cash
from walle.fills.market import Markets
from walle.fills.rates import Rate
from walle.frames import DECIMAL, INSTANT
from walle.records import Run
from walle.repositories.fills.books import Beside

__all__ = ["StartingCash", "Traded", "cash_of", "equity_of", "start_of", "within"]

StartingCash = Decimal | int | Mapping[str, Decimal]
"""One amount, or amounts by currency."""

_CASH = ("starting_cash", "cash")


class Traded(Protocol):
    """A run with its fills, sorted by time, and its bars."""

    run: Run | None
    fills: pl.DataFrame
    cash: Decimal | Cash
    currency: str | None
    rates: Mapping[str, Rate] | None
    known: Beside
    markets: Markets
    whole: Markets
    """The bars of which ``markets`` are parts."""


def equity_of(runs: Sequence[Traded]) -> list[pl.DataFrame]:
    """Return the equity of each run from its start, or its first fill, until it stopped."""
    found: dict[int, pl.DataFrame] = {}
    groups: dict[int, list[int]] = {}
    if not runs:
        return []
    facts = runs[0].known.facts
    if all(held.known.facts is facts for held in runs):
        plain = are_plain([held.fills for held in runs], [held.currency for held in runs], facts)
    else:
        plain = [are_plain([held.fills], [held.currency], held.known.facts)[0] for held in runs]
    for number, held in enumerate(runs):
        if plain[number] and held.rates is None and held.known.flows.is_empty() and held.known.actions.is_empty():
            groups.setdefault(id(held.whole), []).append(number)
        else:
            found[number] = _curve(held)
    for numbers in groups.values():
        starts = {each: cash_in(runs[each]).get(runs[each].currency, Decimal(0)) for each in numbers}
        accounts = [Account(runs[each].fills, runs[each].markets, Fraction(starts[each])) for each in numbers]
        found.update(zip(numbers, equities(accounts, runs[numbers[0]].whole), strict=True))
    return [within(held, found[number]) for number, held in enumerate(runs)]


def _curve(held: Traded) -> pl.DataFrame:
    curves = equity(
        held.fills,
        held.markets,
        starting_cash=held.cash,
        facts=held.known.facts,
        flows=held.known.flows,
        actions=held.known.actions,
        prices=None if held.run is None else held.run.prices,
        currency=None if held.rates is None else held.currency,
        rates=held.rates,
    )
    return curves.filter(pl.col("currency").eq_missing(pl.lit(held.currency, pl.String)))


def cash_in(held: Traded) -> dict[str | None, Decimal]:
    """Return the starting cash of a run by currency."""
    return single_cash(held.cash, held.fills, held.known.facts, held.currency)


def start_of(held: Traded, begun: datetime) -> tuple[Fraction | None, str | None]:
    """Return what a run started with in the currency of its curve, and why that is not known, if it is not."""
    cash = cash_in(held)
    if held.rates is None:
        return Fraction(cash.get(held.currency, 0)), None
    total = Fraction(0)
    for name, amount in cash.items():
        worth: Decimal | None = amount
        if amount and name != held.currency:
            rate = held.rates.get(name) if name is not None else None
            times = pl.Series([begun], dtype=INSTANT)
            worth = None if rate is None else rate.convert(pl.Series([amount], dtype=DECIMAL), times)[0]
        if worth is None:
            return None, f"the starting cash in {name or 'an unknown currency'} has no rate to {held.currency}"
        total += Fraction(worth)
    return total, None


def within(held: Traded, marked: pl.DataFrame) -> pl.DataFrame:
    """Leave out the rows before a run began, as far as others remain, and those after it stopped."""
    started, stopped = (None, None) if held.run is None else (held.run.started_at, held.run.stopped_at)
    times, filled = marked["time"], held.fills["filled_at"]
    last = times.len() if stopped is None else int(times.search_sorted(stopped, "right"))
    moments = [moment for moment in (started, filled[0] if filled.len() else None) if isinstance(moment, datetime)]
    first = int(times.search_sorted(min(moments), "right")) if moments else 0
    return marked.slice(first if first < last else 0, last - first if first < last else last)


def cash_of(run_id: str, run: Run | None, given: StartingCash | None) -> Decimal | Cash:
    """Return the starting cash of a run: what was given, else that of its config, else 0.

    Raises
    ------
    InputError
    """
    if isinstance(given, Mapping):
        return {name: _exact(run_id, run, amount) for name, amount in given.items()}
    return _exact(run_id, run, given)


def _exact(run_id: str, run: Run | None, given: object) -> Decimal:
    value = given
    if given is None:
        config = (run.config if run is not None else None) or {}
        value = next((config[name] for name in _CASH if config.get(name) is not None), 0)
    elif isinstance(given, bool) or not isinstance(given, Decimal | int):
        raise InputError(f"starting_cash={given!r} is no exact number: give a Decimal, such as Decimal('10000').")
    try:
        cash = Decimal(str(value))
    except InvalidOperation:
        cash = Decimal("NaN")
    if not cash.is_finite():
        raise InputError(f"the starting cash of run {run_id!r} is {value!r}, not a number; give starting_cash=.")
    return cash
