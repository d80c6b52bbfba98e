"""What runs start with, and what they were worth bar by bar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Protocol

import polars as pl

from walle.errors import InputError
from walle.fills.equity import equity
from walle.fills.market import Markets
from walle.records import Run

__all__ = ["Traded", "cash_of", "equity_of", "within"]

_CASH = ("starting_cash", "cash")


class Traded(Protocol):
    """A run with its fills and its bars."""

    run: Run | None
    fills: pl.DataFrame
    cash: Decimal
    markets: Markets


def equity_of(runs: Sequence[Traded]) -> Iterator[pl.DataFrame]:
    """Yield the equity of each run from its start, or its first fill, until it stopped."""
    for held in runs:
        marked = equity(held.fills, held.markets, starting_cash=held.cash)
        yield within(held, marked)


def within(held: Traded, marked: pl.DataFrame) -> pl.DataFrame:
    """Leave out the rows before a run began, as far as others remain, and those after it stopped."""
    started, stopped = (None, None) if held.run is None else (held.run.started_at, held.run.stopped_at)
    if stopped is not None:
        marked = marked.filter(pl.col("time") <= stopped)
    first = held.fills["filled_at"].min()
    moments = [moment for moment in (started, first) if isinstance(moment, datetime)]
    own = marked.filter(pl.col("time") > min(moments)) if moments else marked
    return own if own.height else marked


def cash_of(run_id: str, run: Run | None, given: Decimal | int | None) -> Decimal:
    """Return the starting cash of a run: what was given, else that of its config, else 0.

    Raises
    ------
    InputError
    """
    value: object = given
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
        raise InputError(f"the starting cash of run {run_id!r} is {value!r}, no number; give starting_cash=.")
    return cash
