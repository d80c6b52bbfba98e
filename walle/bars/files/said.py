"""What the name of a file, the arguments and the rows say about the same thing, held against each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from walle.bars.files.names import NameFacts
from walle.errors import InputError

__all__ = ["contradictions_of", "one_of_names"]

_DAY = timedelta(days=1)
_SHOWN = 3


def one_of_names(found: Sequence[NameFacts]) -> NameFacts:
    """Return what the names of a file and of the file inside it say; the outer one comes first.

    Raises
    ------
    InputError
        If they name different symbols or timeframes.
    """
    known = [facts for facts in found if facts.scheme is not None]
    for other in known[1:]:
        for what, mine, its in (
            ("symbol", known[0].symbol, other.symbol),
            ("timeframe", known[0].timeframe, other.timeframe),
        ):
            if mine is not None and its is not None and not _alike(mine, its, what):
                raise InputError(
                    f"the archive's name says {mine!r}, but the file inside it says {its!r}. Which {what} is it? "
                    "Unpack the file, or mend one of the names."
                )
    return next(iter(known), next((facts for facts in found if facts.hint is not None), NameFacts()))


def contradictions_of(
    facts: NameFacts, symbol: str | None, timeframe: str | None, symbols: pl.Series, times: pl.Series
) -> list[str]:
    """Return what the name of a file says otherwise than its rows are read, one sentence each.

    Parameters
    ----------
    facts : NameFacts
    symbol : str or None
        Of all rows, where it was given.
    timeframe : str or None
        Of all rows: given, or told from the distances.
    symbols, times : polars.Series
        Of the first rows: the symbols, and the opening times (UTC).
    """
    said = []
    named = facts.timeframe or facts.hint
    if named is not None and timeframe is not None and named != timeframe:
        said.append(f"the file name says {named}, but the bars are read as {timeframe}")
    found = symbols.drop_nulls().unique().sort().to_list() if symbol is None else [symbol]
    if facts.symbol is not None and found and not any(_alike(facts.symbol, one, "symbol") for one in found):
        listed = ", ".join(found[:_SHOWN]) + (", ..." if len(found) > _SHOWN else "")
        said.append(f"the file name says {facts.symbol}, but the bars are read as those of {listed}")
    moments = times.drop_nulls()
    if facts.period is not None and moments.len():
        first, last = facts.period  # a day more at both ends for sources in local time
        if not moments.is_between(first - _DAY, last + _DAY, closed="left").any():
            said.append(f"the file name says {first:%Y-%m-%d}, but its first bar opens at {moments[0]:%Y-%m-%d %H:%M}")
    return said


def _alike(one: str, other: str, what: str) -> bool:
    """Return whether two spellings may mean the same: BTC/USDT and BTCUSDT, AAPL and AAPL.US."""
    if what != "symbol":
        return one == other
    short, long = sorted((re.sub(r"[^0-9a-z]", "", name.lower()) for name in (one, other)), key=len)
    return short in long
