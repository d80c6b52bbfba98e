"""Exchange rates by the bars that are stored."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.database import Database
from walle.errors import InputError
from walle.fills.rates import Rate, rates_of_frame, steps_between
from walle.repositories.bars.series import stored_series
from walle.repositories.fills.market_bars import markets_of
from walle.timeframe import length
from walle.validation import shift

__all__ = ["check_rates", "rates_to"]

_PAUSE = timedelta(days=7)
"""Longer than a market stays closed."""


def check_rates(currency: str | None, rates: object) -> None:
    """Raise for rates without a currency.

    Raises
    ------
    InputError
    """
    if rates is not None and currency is None:
        raise InputError("rates= convert into a currency; say into which, such as currency='USD'.")


async def rates_to(
    database: Database,
    currency: str,
    others: Iterable[str | None],
    given: pl.DataFrame | None,
    span: tuple[datetime, datetime | None],
    timeframe: str | None,
    session: AsyncSession | None = None,
    known: datetime | None = None,
) -> dict[str, Rate]:
    """Find the rates of some currencies in another one.

    Parameters
    ----------
    database : Database
    currency : str
    others : iterable of str or None
        An unknown one (None) has no rate.
    given : polars.DataFrame, optional
        Columns of :data:`walle.fills.rates.RATES`; a currency in it is not looked for in the bars.
    span : tuple of datetime
        The time for which they are wanted; what had ended before it counts, too.
    timeframe : str, optional
        Of the bars. None: the shortest that is stored of each pair.
    session : AsyncSession, optional
    known : datetime, optional
        As for :func:`walle.repositories.fills.market_bars.markets_of`.

    Returns
    -------
    dict of currency to Rate
        Without those that are in neither.

    Raises
    ------
    InputError
        For a currency that is no text, or a frame that holds no rates.
    """
    if not isinstance(currency, str) or not currency:
        raise InputError(f"currency={currency!r} is no currency, such as 'USD'.")
    found = {} if given is None else rates_of_frame(given)
    wanted = {name for name in others if name is not None} - {currency} - found.keys()
    if not wanted:
        return found
    series = await stored_series(database, None, session)
    symbols = series["symbol"]
    ways = {name: way for name in sorted(wanted) if (way := steps_between(name, currency, symbols)) is not None}
    pairs = sorted({symbol for way in ways.values() for symbol, _ in way})
    longest = max((length(each) for each in series.filter(pl.col("symbol").is_in(pairs))["timeframe"]), default=_PAUSE)
    first = shift(span[0], -max(2 * longest, _PAUSE))
    moments = pl.DataFrame({"symbol": pl.Series(pairs, dtype=pl.String), "filled_at": [first] * len(pairs)})
    markets = {}
    if pairs:
        markets = await markets_of(database, moments, timeframe, span[1], session=session, known=known)
    for name, way in ways.items():
        if all(symbol in markets for symbol, _ in way):
            source = " and ".join(f"{symbol} {markets[symbol].timeframe}" for symbol, _ in way)
            found[name] = Rate(source, [(markets[symbol], divides) for symbol, divides in way])
    return found
