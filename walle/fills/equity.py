"""The equity of a run, bar by bar: its cash, and its positions at market prices."""

from __future__ import annotations

from decimal import Decimal

import polars as pl

from walle.currencies import fee_currency, quote_of
from walle.errors import InputError
from walle.exact import Exact
from walle.fills.market import Markets, no_market
from walle.frames import DECIMAL, INSTANT
from walle.interop import bought

__all__ = ["EQUITY", "currency_of", "equity"]

EQUITY = pl.Schema(
    {
        "time": INSTANT,
        "cash": DECIMAL,
        "position_value": DECIMAL,
        "equity": DECIMAL,
        "fees": DECIMAL,
        "fills": pl.Int64(),
        "orphan_fills": pl.Int64(),
        "foreign_fees": pl.Int64(),
        "unmarked": pl.List(pl.String()),
    }
)
"""One row is the end of a bar of any symbol that the run traded, or of a gap in its bars."""


def equity(
    fills: pl.DataFrame, markets: Markets, *, starting_cash: Decimal = Decimal(0), known_orders: pl.Series | None = None
) -> pl.DataFrame:
    """Mark the fills of one run to the market at the close of every bar.

    Parameters
    ----------
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`; those of one run.
    markets : mapping of symbol to Market
        The bars; a symbol without bars cannot be marked.
    starting_cash : Decimal
    known_orders : polars.Series, optional
        The ids of the stored orders; a fill of any other order is an orphan. With None, no fill is an orphan.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`EQUITY`, sorted by time; empty without bars.

        - time: the end of a bar, or of the last missing bar of a gap; UTC. The fills before it count.
        - cash: ``starting_cash``, plus sales, less purchases and fees.
        - position_value: the value of the positions, each symbol at the close of its last bar; below 0 for a short.
          Null where a bar of a held symbol is missing: gaps are not bridged. While its market is closed, the last close
          stands.
        - equity: ``cash + position_value``; null where position_value is.
        - fees: the commissions so far, in the currency of the prices; 0 where none is recorded.
          :func:`walle.currencies.fee_currency` defines the currency of a commission that names none.
        - fills, orphan_fills: the number of fills so far, and how many of them have an order that is not stored.
        - foreign_fees: the number of fills so far with a commission in another or an unknown currency, which is
          included in neither fees nor cash. If the currency of the prices is unknown (:func:`currency_of`), every named
          currency counts as another one, and a commission without a currency is in that of the prices.
        - unmarked: the symbols that are held and have no price, sorted. A null in it stands for fills whose symbol is
          unknown, both from them and from their orders; they count in cash, but what they bought is unknown.

        Each decimal is rounded once, half-even at 18 places.

    Raises
    ------
    InputError
        If the symbols are priced in several currencies.
    """
    ordered, currency = fills.sort("filled_at", "id"), currency_of(fills)
    symbols = ordered["symbol"].drop_nulls().unique().sort().to_list()
    known = [markets[name] for name in symbols if name in markets]
    holes = (market.gaps["end"] for market in known)  # a row in each gap, so that charts draw no line across it
    times = (
        pl.concat([pl.Series(dtype=INSTANT), *(market.ends() for market in known), *holes])
        .unique()
        .sort()
        .alias("time")
    )
    if times.is_empty():
        return pl.DataFrame(schema=EQUITY)
    seen = ordered["filled_at"].search_sorted(times, "left").cast(pl.Int64)  # the number of fills before each time
    size, buys = Exact.of(ordered["quantity"]), bought(ordered)
    signed = size.where(buys) - size.where(~buys)
    same = ordered.select(same=fee_currency().eq_missing(pl.lit(currency, pl.String))).to_series()
    paid = Exact.of(ordered["commission"].fill_null(0)).where(same)
    cash = _so_far(-(signed * Exact.of(ordered["price"])) - paid, seen) + starting_cash
    value = Exact.constant(0, times.len())
    unmarked = pl.Series("unmarked", [[]], dtype=pl.List(pl.String())).new_from_index(0, times.len())
    for name in symbols:
        held = _so_far(signed.where(ordered["symbol"] == name), seen)
        price, stale = markets.get(name, no_market()).last_close(times)
        value = value + held * Exact.of(price.fill_null(0))
        unmarked = _added(unmarked, name, stale & (held.compare(0) != 0))
    unmarked = _added(unmarked, None, _count(ordered["symbol"].is_null(), seen) > 0)
    hole = unmarked.list.len() > 0
    orphan = ~ordered["order_id"].is_in(known_orders.implode()) if known_orders is not None else same & ~same
    foreign = ordered["commission"].fill_null(0) != 0
    return pl.DataFrame(
        {
            "time": times,
            "cash": cash.decimal(),
            "position_value": value.decimal().set(hole, None),
            "equity": (cash + value).decimal().set(hole, None),
            "fees": _so_far(paid, seen).decimal(),
            "fills": seen,
            "orphan_fills": _count(orphan, seen),
            "foreign_fees": _count(foreign & ~same, seen),
            "unmarked": unmarked,
        },
        schema=EQUITY,
    )


def currency_of(fills: pl.DataFrame) -> str | None:
    """Return the currency of the prices of a run.

    Parameters
    ----------
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`; those of one run.

    Returns
    -------
    str or None
        The part after the slash of its symbols. If none has a slash, the currency of the commissions, if there is only
        one. None if it is unknown.

    Raises
    ------
    InputError
        If the symbols are priced in several currencies.
    """
    quotes = fills.select(quote_of(pl.col("symbol")).drop_nulls().unique().sort()).to_series().to_list()
    if len(quotes) > 1:
        raise InputError(f"the run trades in {' and '.join(quotes)}; their equity is not added up. Take one symbol.")
    named = fills.filter(pl.col("commission") != 0)["commission_currency"].drop_nulls().unique().to_list()
    found = quotes or named
    return str(found[0]) if len(found) == 1 else None


def _so_far(values: Exact, seen: pl.Series) -> Exact:
    """Return the sum of the first ``seen`` values, for each number in ``seen``."""
    sums = values.cum_sum()
    return sums.gather((seen - 1).clip(0)).where(seen > 0) if len(sums) else Exact.constant(0, seen.len())


def _added(unmarked: pl.Series, name: str | None, missing: pl.Series) -> pl.Series:
    """Add a symbol to the lists of the rows in which it has no price."""
    if not missing.any():
        return unmarked
    named, none = pl.lit([name], unmarked.dtype), pl.lit([], unmarked.dtype)
    return pl.select(pl.concat_list(unmarked, pl.when(missing).then(named).otherwise(none))).to_series()


def _count(flags: pl.Series, seen: pl.Series) -> pl.Series:
    return pl.Series(_so_far(Exact(flags.cast(pl.Int128)), seen).units(), dtype=pl.Int64)
