"""Round trips: the trades that fills opened and closed, with their profits and excursions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction

import polars as pl

from walle.currencies import fee_currency, quote_of
from walle.exact import Exact, decimals, shortest
from walle.fills.market import Market, Markets, first_reason, no_market
from walle.fills.matching import Fees, Matches, Pooled, check_method, match_lots, match_pool
from walle.frames import DECIMAL, FILL_ORDER, INSTANT
from walle.interop import bought

__all__ = ["FEES", "TRADES", "trades"]

FEES = pl.List(pl.Struct({"currency": pl.String(), "amount": DECIMAL}))
"""Commissions, sorted, with an entry for each currency: they are never added up across currencies."""

TRADES = pl.Schema(
    {
        "run_id": pl.String(),
        "symbol": pl.String(),
        "trade": pl.Int64(),
        "direction": pl.String(),
        "quantity": DECIMAL,
        "entry_time": INSTANT,
        "exit_time": INSTANT,
        "entry_price": DECIMAL,
        "exit_price": DECIMAL,
        "pnl_gross": DECIMAL,
        "fees": DECIMAL,
        "fee_currency": pl.String(),
        "pnl_net": DECIMAL,
        "unrealised": DECIMAL,
        "holding": pl.Duration("us"),
        "mae": DECIMAL,
        "mfe": DECIMAL,
        "is_open": pl.Boolean(),
        "entry_fill_id": pl.String(),
        "exit_fill_id": pl.String(),
        "fees_by_currency": FEES,
        "reason": pl.String(),
    }
)
"""One row is one round trip: a quantity that one fill opened and another one closed, or that is still open."""


def trades(
    fills: pl.DataFrame,
    markets: Markets | None = None,
    *,
    method: str = "fifo",
    ends: Mapping[str, datetime] | None = None,
) -> pl.DataFrame:
    """Match fills into round trips.

    Parameters
    ----------
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`. Fills of one run and symbol are matched with each other, in the order of
        filled_at, sequence and id. Fills without a run are matched with each other; those without a symbol are left
        out.
    markets : mapping of symbol to Market, optional
        The bars, for excursions and for the value of open positions.
    method : str
        With ``fifo`` a fill closes the oldest open lot, with ``lifo`` the newest; with ``average`` it closes a part of
        the whole position, at the average price of its entries (the fill that began the position counts as the entry).
    ends : mapping of run to datetime, optional
        When each run ended. An open position is valued at the close of the last bar that ended by then, or of the last
        bar.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`TRADES`. ``trade`` counts within run and symbol, from 1, in the order of exits, with open
        trades last. direction: long or short. quantity: above 0. Prices, P&L and fees are in the currency of the
        symbol's prices (the part after the slash of ``BTC/USD``).

        - pnl_gross: ``(exit - entry) x quantity``, with the opposite sign for a short; null while open.
        - fees: the share of both fills' commissions that corresponds to this trade's quantity; null if they are in
          several currencies. :func:`walle.currencies.fee_currency` defines the currency of a commission that names
          none.
        - pnl_net: ``pnl_gross - fees``; null while open, and if the fees are in another currency than the prices.
        - unrealised: the gross profit of an open trade at the last close.
        - mae, mfe: the maximum adverse (at most 0) and favourable (at least 0) excursion in money (Sweeney, *Maximum
          Adverse Excursion*, 1996), from the lows and highs of the bars from that of the entry to that of the exit.
          They may therefore include prices of these two bars from before the entry or after the exit.
        - reason: why a value that a closed trade should have is null.

        Sorted by run, symbol and trade; empty without fills. Each decimal is rounded once, half-even at 18 places.

    Raises
    ------
    InputError
        For an unknown method.
    PrecisionError
        If a result has more than 20 integer digits.

    Notes
    -----
    On the exact values, for every run and symbol: the proceeds of sales minus the cost of purchases, plus the market
    value of the open position, equal the sum of pnl_gross and unrealised; minus the fees, they equal the gain of the
    run.
    """
    check_method(method)
    ordered = fills.drop_nulls("symbol").sort(
        "run_id", "symbol", *FILL_ORDER, nulls_last=[True, True, False, False, False]
    )
    if ordered.is_empty():
        return pl.DataFrame(schema=TRADES)
    buys = bought(ordered)
    size, price = Exact.of(ordered["quantity"]), Exact.of(ordered["price"])
    signed = size.where(buys) - size.where(~buys)
    groups = ordered.select(pl.struct("run_id", "symbol").rle_id()).to_series()
    fees = _Fees.of(ordered)
    if method == "average":
        pooled = match_pool(signed, price, fees.of_one(size), groups)
        found = _pooled(ordered, pooled, size, price, fees)
        unit = 10 ** (size.places + price.places)
        costs = [average * amount / unit for average, amount in zip(pooled.price, pooled.amount, strict=True)]
    else:
        costs = None
        pairs = match_lots(signed, groups, newest_first=method == "lifo")
        found = _lots(ordered, pairs, size, price, fees)
    every = markets or {}
    found = pl.concat(
        _against_bars(part, every.get(part["symbol"][0], no_market()), ends or {}, costs)
        for part in found.partition_by("symbol", maintain_order=True)
    )
    number = pl.int_range(1, pl.len() + 1).over("run_id", "symbol").cast(pl.Int64)
    found = found.sort("run_id", "symbol", "is_open", "exit_time", "_row", nulls_last=True).with_columns(trade=number)
    return found.select(list(TRADES)).cast(TRADES)


@dataclass(frozen=True, slots=True)
class _Fees:
    """The commissions of fills, 0 where none is recorded, and their currencies."""

    amount: Exact
    currency: pl.Series

    @staticmethod
    def of(ordered: pl.DataFrame) -> _Fees:
        recorded = pl.col("commission").is_not_null()
        named = pl.when(recorded).then(fee_currency())
        return _Fees(Exact.of(ordered["commission"].fill_null(0)), ordered.select(named).to_series())

    def of_one(self, size: Exact) -> list[Fees]:
        """Return the commission per unit of each fill's quantity."""
        rows = zip(self.currency, self.amount.units(), size.units(), strict=True)
        return [{currency: Fraction(paid, units)} if paid else {} for currency, paid, units in rows]


def _joined(ordered: pl.DataFrame, found: Matches | Pooled) -> pl.DataFrame:
    opening, closing = pl.Series(found.opening, dtype=pl.Int64), pl.Series(found.closing, dtype=pl.Int64)
    first, last = ordered[opening], ordered["filled_at", "id", "price"]
    direction = first["side"].replace_strict({"buy": "long", "sell": "short"}, return_dtype=pl.String)
    return pl.DataFrame(
        {
            "_row": pl.int_range(opening.len(), eager=True),
            "_opening": opening,
            "_closing": closing,
            "run_id": first["run_id"],
            "symbol": first["symbol"],
            "direction": direction,
            "entry_time": first["filled_at"],
            "exit_time": last["filled_at"].gather(closing),
            "entry_price": first["price"],
            "exit_price": last["price"].gather(closing),
            "is_open": closing.is_null(),
            "entry_fill_id": first["id"],
            "exit_fill_id": last["id"].gather(closing),
        }
    )


def _lots(ordered: pl.DataFrame, pairs: Matches, size: Exact, price: Exact, fees: _Fees) -> pl.DataFrame:
    found = _joined(ordered, pairs)
    opening, is_open = found["_opening"], found["is_open"]
    closing = found["_closing"].fill_null(opening)
    amount = Exact(pairs.amount, size.places).narrowed()
    long = found["direction"] == "long"
    gained = (price.gather(closing) - price.gather(opening)) * amount
    gained = gained.where(long) - gained.where(~long)
    # both shares have one denominator, so that their sum is rounded once
    first, last = size.gather(opening), size.gather(closing)
    entered = fees.amount.gather(opening) * amount * last
    left = (fees.amount.gather(closing) * amount * first).where(~is_open)
    whole = first * last
    one, two = fees.currency.gather(opening), fees.currency.gather(closing)
    pays_one, pays_two = entered.compare(0) != 0, left.compare(0) != 0
    mixed = pays_one & pays_two & one.ne_missing(two)
    named, total = one.zip_with(pays_one, two.set(~pays_two, None)), (entered + left).over(whole)
    rows = found["_row"]
    listed = [
        pl.DataFrame({"_row": rows, "currency": named, "amount": total}).filter(~mixed),
        pl.DataFrame({"_row": rows, "currency": one, "amount": entered.over(whole)}).filter(mixed),
        pl.DataFrame({"_row": rows, "currency": two, "amount": left.over(whole)}).filter(mixed),
    ]
    return found.with_columns(
        amount.decimal("quantity"),
        gained.decimal("pnl_gross").set(is_open, None),
        total.set(mixed, None).alias("fees"),
        (gained * whole - entered - left).over(whole, "pnl_net").set(is_open | mixed, None),
        named.set(mixed, None).alias("fee_currency"),
        _listed(rows, pl.concat(listed)),
    )


def _listed(rows: pl.Series, fees: pl.DataFrame) -> pl.Series:
    """List the fees of each row by currency."""
    every = fees.filter(pl.col("amount") != 0).sort("_row", "currency")
    lists = every.group_by("_row", maintain_order=True).agg(pl.struct("currency", "amount").alias("fees"))
    joined = rows.to_frame("_row").join(lists, on="_row", how="left", maintain_order="left")["fees"].cast(FEES)
    return joined.fill_null(pl.Series([[]], dtype=FEES)).alias("fees_by_currency")


def _pooled(ordered: pl.DataFrame, pooled: Pooled, size: Exact, price: Exact, fees: _Fees) -> pl.DataFrame:
    """Return the trades at average entries, which are fractions whose denominators are too large for columns."""
    found = _joined(ordered, pooled)
    scale = 10 ** (size.places + price.places)
    prices, sizes = price.units(), size.units()
    paid, currencies = fees.amount.fractions(), fees.currency.to_list()
    gains: list[Fraction | None] = []
    shares: list[Fees] = []
    rows = zip(pooled.closing, pooled.amount, pooled.price, pooled.fees, found["direction"], strict=True)
    for closing, amount, average, entered, direction in rows:
        share = {name: fee * amount / 10**fees.amount.places for name, fee in entered.items()}
        gained = None
        if closing is not None:
            gained = (prices[closing] - average) * amount / scale * (1 if direction == "long" else -1)
            if paid[closing]:
                name = currencies[closing]
                share[name] = share.get(name, Fraction(0)) + paid[closing] * amount / sizes[closing]
        gains.append(gained)
        shares.append({name: fee for name, fee in share.items() if fee})
    totals = [sum(share.values(), Fraction(0)) if len(share) <= 1 else None for share in shares]
    nets = [None if None in (gain, fee) else gain - fee for gain, fee in zip(gains, totals, strict=True)]  # type: ignore[operator]  # neither is None here
    flat = [(row, name, fee) for row, share in enumerate(shares) for name, fee in share.items()]
    listed = pl.DataFrame(
        {
            "_row": pl.Series([row for row, _, _ in flat], dtype=pl.Int64),
            "currency": pl.Series([name for _, name, _ in flat], dtype=pl.String),
            "amount": decimals("amount", (fee for _, _, fee in flat)),
        }
    )
    single = [next(iter(share)) if len(share) == 1 else None for share in shares]
    return found.with_columns(
        Exact(pooled.amount, size.places).narrowed().decimal("quantity"),
        decimals("entry_price", (average / 10**price.places for average in pooled.price)),
        decimals("pnl_gross", gains),
        decimals("fees", totals),
        decimals("pnl_net", nets),
        pl.Series("fee_currency", single, dtype=pl.String),
        _listed(found["_row"], listed),
    )


def _against_bars(
    part: pl.DataFrame, market: Market, ends: Mapping[str, datetime], costs: Sequence[Fraction] | None
) -> pl.DataFrame:
    """Add the columns that need bars: excursions, the value of open trades, and why a value is null."""
    count, is_open = market.bars.height, part["is_open"]
    until = pl.Series([ends.get(run) for run in part["run_id"]], dtype=INSTANT)
    final = market.before(until)
    final = final.fill_null(count - 1) if count else final
    last = part["exit_time"].zip_with(~is_open, market.ends().gather(final))
    began = market.place(part["entry_time"])
    ended = market.place(part["exit_time"]).zip_with(~is_open, final)
    gap = market.touches_gap(part["entry_time"], last)
    seen = (began.is_not_null() & ended.is_not_null() & ~gap & (ended >= began)).fill_null(False)
    lows, highs = market.extremes(began.set(~seen, None), ended.set(~seen, None))
    long = part["direction"] == "long"
    moved = _Moves(part, [costs[row] for row in part["_row"]] if costs is not None else None)
    adverse, favourable = shortest(lows.zip_with(long, highs)), shortest(highs.zip_with(long, lows))
    quote = quote_of(pl.col("symbol"))
    foreign = (pl.col("fee_currency") != quote).fill_null(False)
    reasons: dict[str, pl.Expr | pl.Series] = {
        "no bars of this symbol": pl.lit(count == 0),
        "the bars start after the entry": part["entry_time"] < market.reach()[0],
        "bars are missing in between": gap,
        "no bar at the entry or the exit": ~seen,
    }
    fees = (
        pl.when(pl.col("fees_by_currency").list.len() > 1)
        .then(pl.lit("commissions in several currencies"))
        .when(foreign)
        .then(pl.format("commissions in {}, prices in {}", "fee_currency", quote))
    )
    return part.rechunk().with_columns(
        moved.to(adverse, -1).alias("mae"),
        moved.to(favourable, 1).alias("mfe"),
        moved.to(market.price("close", final.set(~is_open, None))).alias("unrealised"),
        pl.when(~foreign).then("pnl_net").alias("pnl_net"),
        (pl.col("exit_time") - pl.col("entry_time")).alias("holding"),
        pl.concat_list(first_reason(reasons), fees).list.drop_nulls().list.join("; ").replace("", None).alias("reason"),
    )


@dataclass(frozen=True, slots=True)
class _Moves:
    """The gains of trades at other prices; ``costs`` is for average entries, which no decimal can hold exactly."""

    part: pl.DataFrame
    costs: list[Fraction] | None

    def to(self, prices: pl.Series, sign: int = 0) -> pl.Series:
        """Return the gain at each price, 0 where it is not of the sign; null for null."""
        long, size, none = self.part["direction"] == "long", Exact.of(self.part["quantity"]), prices.is_null()
        value = Exact.of(prices.fill_null(0)) * size
        if self.costs is None:
            change = value - Exact.of(self.part["entry_price"]) * size
            change = change.where(long) - change.where(~long)
            return (change.where(change.compare(0) == sign) if sign else change).decimal().set(none, None)
        moves = [a - b if up else b - a for a, b, up in zip(value.fractions(), self.costs, long, strict=True)]
        kept = (move if not sign or move * sign > 0 else Fraction(0) for move in moves)
        return decimals("gain", (None if skip else move for move, skip in zip(kept, none, strict=True)))
