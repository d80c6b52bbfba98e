"""What a run was worth, in each of its currencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction

import polars as pl

from walle.errors import InputError
from walle.exact import Exact, decimals
from walle.fills.holdings import with_holdings
from walle.fills.ledger import Books, Cash, books_of, in_doubt, pairs_of_contracts
from walle.fills.market import Markets, no_market
from walle.fills.matching import bounded
from walle.fills.rates import Rate, convert_curves, convert_fees
from walle.frames import DECIMAL, INSTANT
from walle.instruments import facts_of, own_fills

__all__ = ["EQUITY", "cash_held", "currencies_of", "equity", "priced_in", "single_cash"]

EQUITY = pl.Schema(
    {
        "time": INSTANT,
        "currency": pl.String(),
        "cash": DECIMAL,
        "position_value": DECIMAL,
        "equity": DECIMAL,
        "fees": DECIMAL,
        "fills": pl.Int64(),
        "orphan_fills": pl.Int64(),
        "foreign_fees": pl.Int64(),
        "unmarked": pl.List(pl.String()),
        "rates": pl.String(),
        "reason": pl.String(),
    }
)
"""One row is the end of a bar of any symbol that the run traded, or of a gap in its bars, in one currency."""


def equity(
    fills: pl.DataFrame,
    markets: Markets,
    *,
    starting_cash: Decimal | int | Cash = 0,
    known_orders: pl.Series | None = None,
    facts: pl.DataFrame | None = None,
    flows: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    prices: str | None = None,
    currency: str | None = None,
    rates: Mapping[str, Rate] | None = None,
) -> pl.DataFrame:
    """Mark the holdings of one run to the market at the close of every bar.

    Parameters
    ----------
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`; those of one run.
    markets : mapping of symbol to Market
        The bars; a symbol without bars cannot be marked.
    starting_cash : Decimal, int, or mapping of currency to Decimal
        One amount is in the one currency of the prices; of several, in ``currency``.
    known_orders : polars.Series, optional
        The ids of the stored orders; a fill of any other order is an orphan. With None, no fill is an orphan.
    facts : polars.DataFrame, optional
        What the symbols are: columns of :data:`walle.instruments.FACTS`. None: what their texts say.
    flows, actions, prices
        As for :func:`walle.fills.ledger.ledger`.
    currency : str, optional
        Convert everything into it, and add it up: one curve, at the rates of the time of each row. Only a commission in
        a currency that the run does not hold (it has no prices, starting cash or cash flows in it) was bought for it:
        it is converted at the time of its fill, where its symbol settles in ``currency``.
    rates : mapping of currency to Rate, optional
        The rates that are known. Where one is missing, values are null, and ``reason`` says which.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`EQUITY`, one curve for each currency, sorted by currency and time; empty without bars.
        Currencies are never added up. They are those in which the symbols settle, and those of the starting cash, the
        cash flows and the commissions; a cash flow of what is traded changes the position.

        - time: the end of a bar, or of the last missing bar of a gap; UTC. What happened before it counts.
        - currency: null if it is unknown (no instrument is stored, and the symbol does not say).
        - cash: the sum of the ledger's entries (:func:`walle.fills.ledger.ledger`) in it.
        - position_value: the value of the positions that settle in it, each symbol at the close of its last bar: of a
          future or perpetual the unrealised profit, else ``held x close x multiplier``; below 0 for a short. Null where
          a bar of a held symbol is missing: gaps are not bridged. While its market is closed, the last close stands.
        - equity: ``cash + position_value``; null where position_value is.
        - fees: the commissions so far that were paid in it; 0 where none is recorded. A commission that names no
          currency is in that of its fill's prices. One in the base of its own symbol leaves the position, and is no
          part of it.
        - fills, orphan_fills: the number of fills so far of the symbols that settle in it, and how many of them have an
          order that is not stored.
        - foreign_fees: how many of them paid a commission in another currency, which has a curve of its own.
        - unmarked: the symbols that are held and have no price, sorted. A null in it stands for fills whose symbol is
          unknown, both from them and from their orders; they count in cash, but what they bought is unknown.
        - rates: what converted it, such as ``BNB/USDT 1m``; null where nothing was converted.
        - reason: why the value is null, where it is not for want of a price.

        Each decimal is rounded once, half-even at 18 places.

    Raises
    ------
    InputError
        If one starting cash is given to a run of several currencies.
    """
    known = facts_of(fills) if facts is None else facts
    cash = single_cash(starting_cash, fills, known, currency)
    given = fills
    if currency is not None:
        fills = convert_fees(fills, known, rates or {}, currency, cash_held(fills, known, cash, flows))
    books = books_of(fills, known, starting_cash=cash, flows=flows, actions=actions, prices=prices)
    symbols = books.fills["symbol"].drop_nulls().unique().sort().to_list()
    traded = [markets[name] for name in symbols if name in markets]
    holes = (market.gaps["end"] for market in traded)  # a row in each gap, so that charts draw no line across it
    times = (
        pl.concat([pl.Series(dtype=INSTANT), *(market.ends() for market in traded), *holes])
        .unique()
        .sort()
        .alias("time")
    )
    if times.is_empty():
        return pl.DataFrame(schema=EQUITY)
    doubt = in_doubt(fills, actions, prices)
    orphan = _orphans(books.fills, known_orders)
    booked = books.entries.filter(book="cash")["asset"].unique().to_list()
    names = {*currencies_of(fills, known, cash, flows), *booked}
    curves = [
        _curve(name, books, symbols, markets, times, orphan, doubt, cash)
        for name in sorted(names, key=lambda name: (name is not None, name or ""))
    ]
    if currency is None:
        return pl.concat(curves)
    found = convert_curves(pl.concat(curves), rates or {}, currency)
    if fills["commission_currency"].eq_missing(given["commission_currency"]).all():
        return found
    named = [rate.source for name, rate in (rates or {}).items() if (given["commission_currency"] == name).any()]
    also = pl.concat_list(pl.col("rates").str.split("; ").fill_null([]), pl.lit(named, pl.List(pl.String)))
    return found.with_columns(rates=also.list.unique(maintain_order=True).list.join("; ").replace("", None))


def cash_held(fills: pl.DataFrame, facts: pl.DataFrame, cash: Cash, flows: pl.DataFrame | None) -> set[str | None]:
    """Return the currencies that a run holds: those of its prices, its starting cash and its cash flows."""
    held = {*priced_in(fills, facts), *(name for name, amount in cash.items() if amount)}
    return held if flows is None else held | set(_money(flows, facts)["currency"])


def _money(flows: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    return with_holdings(flows, facts).filter(pl.col("holding").is_null())


def currencies_of(
    fills: pl.DataFrame, facts: pl.DataFrame, cash: Cash | None = None, flows: pl.DataFrame | None = None
) -> list[str | None]:
    """Return the currencies of a run, sorted, an unknown one (None) first.

    They are those of the prices (:func:`priced_in`), of its cash, its cash flows, and its commissions.
    """
    paid = own_fills(fills, facts).filter((pl.col("commission").fill_null(0) != 0) & ~pl.col("in_base"))["fee_in"]
    found: set[str | None] = {*priced_in(fills, facts), *(cash or {}), *paid.to_list()}
    if flows is not None:
        found.update(_money(flows, facts)["currency"])
    return sorted(found, key=lambda name: (name is not None, name or ""))


def priced_in(fills: pl.DataFrame, facts: pl.DataFrame) -> list[str | None]:
    """Return the currencies in which the symbols of a run settle, sorted, an unknown one (None) first."""
    settles: set[str | None] = set(facts.filter(pl.col("symbol").is_in(fills["symbol"].implode()))["settle"].to_list())
    if fills["symbol"].null_count() and len(settles - {None}) != 1:
        settles.add(None)
    return sorted(settles, key=lambda name: (name is not None, name or ""))


def single_cash(
    given: Decimal | int | Cash, fills: pl.DataFrame, facts: pl.DataFrame, currency: str | None = None
) -> dict[str | None, Decimal]:
    """Return the starting cash by currency.

    Parameters
    ----------
    given : Decimal, int, or mapping of currency to Decimal
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`; those of one run.
    facts : polars.DataFrame
        Columns of :data:`walle.instruments.FACTS`.
    currency : str, optional
        That of one amount, if the run has prices of several.

    Raises
    ------
    InputError
        For one amount and several currencies.
    """
    if isinstance(given, Mapping):
        return dict(given)
    found = priced_in(fills, facts) or [None]
    if len(found) > 1 and currency is not None:
        return {currency: Decimal(given)}
    if len(found) > 1 and given:
        names = " and ".join(name or "an unknown currency" for name in found)
        raise InputError(
            f"the run trades in {names}; in which of them is its starting cash of {given}? Give a mapping: "
            f"starting_cash={{{next(filter(None, found))!r}: Decimal('{given}')}}."
        )
    return {found[0]: Decimal(given)} if len(found) == 1 else {}


def _curve(
    currency: str | None,
    books: Books,
    symbols: Sequence[str],
    markets: Markets,
    times: pl.Series,
    orphan: pl.Series,
    doubt: pl.DataFrame,
    start: Cash,
) -> pl.DataFrame:
    """Return the rows of one currency."""
    own, wanted = books.fills, pl.lit(currency, pl.String)
    mine = own.select(pl.col("settle").eq_missing(wanted)).to_series()
    ours = (pl.col("book") == "cash") & pl.col("asset").eq_missing(wanted)
    first = (pl.col("kind") == "opening") & pl.col("cash_flow_id").is_null()  # counts from before the first entry on
    entries = books.entries.filter(ours & ~first)
    cash = _so_far(Exact.of(entries["amount"]), _seen(entries["time"], times)) + start.get(currency, Decimal(0))
    value = Exact.constant(0, times.len())
    unmarked = pl.Series("unmarked", [[]], dtype=pl.List(pl.String())).new_from_index(0, times.len())
    unsure = pl.Series([False]).new_from_index(0, times.len())
    traded = [name for name in symbols if (mine & (own["symbol"] == name)).any()]
    for name in traded:
        price, stale = markets.get(name, no_market()).last_close(times)
        held, worth = _worth(books, name, price.fill_null(0), times)
        holds = held.compare(0) != 0
        value = value + worth
        unmarked = _added(unmarked, name, stale & holds)
        for effective in doubt.filter(symbol=name)["effective"] if doubt.height else ():
            unsure = unsure | (times > effective)
    seen = _seen(own["filled_at"], times)
    unmarked = _added(unmarked, None, _count(mine & own["symbol"].is_null(), seen) > 0)
    fees = entries.filter(pl.col("kind").is_in(["fee", "rebate"]) & pl.col("fill_id").is_not_null())
    paid = (own["commission"].fill_null(0) != 0) & ~own["in_base"]
    foreign = mine & paid & own.select(pl.col("fee_in").ne_missing(wanted)).to_series()
    unknown = f"the currencies of {' and '.join(traded)} are unknown, and not added up: save their instruments"
    rows = pl.DataFrame(
        {
            "time": times,
            "cash": cash.decimal(),
            "position_value": value.decimal(),
            "equity": (cash + value).decimal(),
            "fees": (-_so_far(Exact.of(fees["amount"]), _seen(fees["time"], times))).decimal(),
            "fills": _count(mine, seen),
            "orphan_fills": _count(orphan & mine, seen),
            "foreign_fees": _count(foreign, seen),
            "unmarked": unmarked,
            "unsure": unsure,
        }
    )
    return _explained(rows, currency, unknown if currency is None and len(traded) > 1 else None)


def _explained(rows: pl.DataFrame, currency: str | None, unknown: str | None) -> pl.DataFrame:
    """Return the rows of a curve without the values that are not known, and why they are not."""
    whole = (pl.col("unmarked").list.len() == 0) & pl.col("reason").is_null()
    return (
        rows.with_columns(
            currency=pl.lit(currency, pl.String),
            rates=pl.lit(None, pl.String),
            reason=pl.coalesce(pl.lit(unknown, pl.String), pl.when("unsure").then(pl.lit(_UNSURE))),
        )
        .with_columns(
            pl.when(pl.lit(unknown is None)).then("cash").alias("cash"),
            *(pl.when(whole).then(name).alias(name) for name in ("position_value", "equity")),
        )
        .select(pl.col(name).cast(kind) for name, kind in EQUITY.items())
    )


_UNSURE = "an action lies inside the run, which does not say on which prices it traded: save it with prices="


def _worth(books: Books, name: str, price: pl.Series, times: pl.Series) -> tuple[Exact, Exact]:
    """Return what is held of a symbol at each time, and what that is worth in its settlement currency."""
    entries = books.entries.filter(symbol=name)
    positions = entries.filter(book="position")
    held = _so_far(Exact.of(positions["amount"]), _seen(positions["time"], times))
    mine = books.fills["symbol"] == name
    facts = books.fills.filter(mine).row(0, named=True)
    multiplier = Exact.constant(facts["multiplier"], times.len())
    if not facts["derivative"]:
        return held, held * Exact.of(price) * multiplier
    if facts["inverse"]:
        return held, Exact.of(decimals("worth", _inverse(books, mine, held, price, times)))
    fills, signed = books.fills.filter(mine), books.signed.filter(mine)
    paid = signed * Exact.of(fills["price"]) * Exact.of(fills["multiplier"])
    realised = entries.filter(kind="realised")
    gained = held * Exact.of(price) * multiplier - _so_far(paid, _seen(fills["filled_at"], times))
    return held, gained - _so_far(Exact.of(realised["amount"]), _seen(realised["time"], times))


def _inverse(books: Books, mine: pl.Series, held: Exact, price: pl.Series, times: pl.Series) -> list[Fraction]:
    """Return the unrealised profit of an inverse contract.

    It is the sum of ``lot x multiplier / entry`` over the open lots, less ``held x multiplier / close``.
    A sum whose denominator grows beyond 1,024 bits is rounded at 100 places, 80 more than any result has.
    """
    own = books.fills.with_columns(derivative=mine & pl.col("derivative"))
    pairs, rows = pairs_of_contracts(own, books.signed)
    sizes, prices = books.signed.gather(rows).fractions(), Exact.of(own["price"]).gather(rows).fractions()
    factor = Fraction(own.filter(mine)["multiplier"][0])
    steps = [size * factor / paid for size, paid in zip(sizes, prices, strict=True)]
    for first, last, amount in zip(pairs.opening, pairs.closing, pairs.amount, strict=True):
        if last is not None:  # what closed it opened nothing, and took its part of the lot away
            part = Fraction(amount, 10**books.signed.places) * factor * (1 if sizes[first] > 0 else -1)
            steps[last] += part / prices[last] - part / prices[first]
    total, sums = Fraction(0), [Fraction(0)]
    for step in steps:  # a running sum of fractions
        total = bounded(total + step)
        sums.append(total)
    seen = _seen(own["filled_at"].gather(rows), times)
    columns = zip(seen, held.fractions(), price, strict=True)
    return [
        sums[count] - (amount * factor / Fraction(close) if amount and close else 0) for count, amount, close in columns
    ]


def _orphans(own: pl.DataFrame, known_orders: pl.Series | None) -> pl.Series:
    if known_orders is None:
        return pl.Series([False]).new_from_index(0, own.height)
    return ~own["order_id"].is_in(known_orders.implode())


def _seen(events: pl.Series, times: pl.Series) -> pl.Series:
    """Return how many events, which are sorted, lie before each time."""
    return events.search_sorted(times, "left").cast(pl.Int64)


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
