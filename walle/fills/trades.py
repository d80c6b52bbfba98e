"""Round trips: the trades that fills opened and closed, with their profits and excursions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

import polars as pl

from walle.errors import InputError
from walle.exact import Exact, decimals, shortest
from walle.fills.holdings import as_fills, with_holdings
from walle.fills.ledger import in_doubt
from walle.fills.market import Market, Markets, first_reason, no_market
from walle.fills.matching import Fees, Matches, Pooled, check_method, match_lots, match_pool
from walle.fills.trade_groups import BY, grouped
from walle.frames import DECIMAL, FILL_ORDER, INSTANT
from walle.instruments import facts_of, own_fills
from walle.interop import bought
from walle.validation import check_decimal

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
        "currency": pl.String(),
        "lots": pl.Int64(),
        "reason": pl.String(),
    }
)
"""One row is one round trip: a quantity that one fill opened and another one closed, or that is still open."""


def trades(
    fills: pl.DataFrame,
    markets: Markets | None = None,
    *,
    method: str = "fifo",
    by: str = "lot",
    ends: Mapping[str, datetime] | None = None,
    facts: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    prices: str | None = None,
    dust: Decimal | None = None,
    flows: pl.DataFrame | None = None,
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
    by : str
        ``lot``: one trade for each pair of fills; ``order``: for each pair of orders; ``flat``: from one time at which
        the position was flat to the next, whatever the number of fills. A flip ends one trade and begins the next.
    ends : mapping of run to datetime, optional
        When each run ended. An open position is valued at the close of the last bar that ended by then, or of the last
        bar.
    facts : polars.DataFrame, optional
        What the symbols are: columns of :data:`walle.instruments.FACTS`. None: what their texts say.
    actions, prices
        As for :func:`walle.fills.ledger.ledger`; a split scales what is held, so that a lot keeps its cost.
    dust : Decimal, optional
        A position below it is flat. None: the lot size of the symbol, where one is known.
    flows : polars.DataFrame, optional
        Cash flows: id, run_id, time, amount, currency, symbol. Those of what is traded (coins that came in by a
        transfer) open and close lots whose cost or proceeds are unknown: what they gained is null.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`TRADES`. ``trade`` counts within run and symbol, from 1, in the order of exits, with open
        trades last. direction: long or short. quantity: above 0, in units after any split before the exit. P&L is in
        ``currency``, that in which the symbol settles; null if that is unknown.

        - pnl_gross: ``(exit - entry) x quantity x multiplier``, with the opposite sign for a short; of an inverse
          contract ``(1 / entry - 1 / exit) x quantity x multiplier``. Null while open; of a trade from flat to flat
          that is still open, what its closed lots gained.
        - fees: the share of both fills' commissions that corresponds to this trade's quantity; null if they are in
          several currencies. A commission that names no currency is in that of the prices; one in the base of its own
          symbol leaves the position, and is valued at its fill's price.
        - pnl_net: ``pnl_gross - fees``; null while open, and if the fees are in another currency than the profit.
        - unrealised: the gross profit of an open trade at the last close; of a closed one that of its dust.
        - mae, mfe: the maximum adverse (at most 0) and favourable (at least 0) excursion in money (Sweeney, *Maximum
          Adverse Excursion*, 1996), from the lows and highs of the bars from that of the entry to that of the exit.
          They may therefore include prices of these two bars from before the entry or after the exit. Null for a
          trade of several lots, whose bars overlap.
        - lots: how many pairs of fills it is made of; its prices are their means, weighted by quantity.
        - reason: why a value that a closed trade should have is null.

        Sorted by run, symbol and trade; empty without fills. Each decimal is rounded once, half-even at 18 places.

    Raises
    ------
    InputError
        For an unknown method or level, and dust that is not an exact number above 0.
    PrecisionError
        If a result has more than 20 integer digits.

    Notes
    -----
    On the exact values, for every run and symbol: the proceeds of sales minus the cost of purchases, plus the market
    value of the open position, equal the sum of pnl_gross and unrealised; minus the fees, they equal the gain of the
    run.
    """
    check_method(method)
    if by not in BY:
        raise InputError(f"by={by!r}: allowed are {', '.join(BY)}.")
    if dust is not None:
        check_decimal(dust, "dust", positive=True)
    facts = facts_of(fills) if facts is None else facts
    moves = fills.drop_nulls("symbol").with_columns(unpriced=pl.lit(False))
    if flows is not None and flows.height:
        moves = pl.concat([moves, as_fills(with_holdings(flows, facts))], how="diagonal_relaxed")
    ordered = moves.sort("run_id", "symbol", *FILL_ORDER, nulls_last=[True, True, False, False, False])
    actions = None if actions is None else _known_by(actions, fills, markets or {}, ends or {})
    legs = _Legs.of(own_fills(ordered, facts), actions, prices)
    if legs.own.is_empty():
        return pl.DataFrame(schema=TRADES)
    groups = legs.own.select(pl.struct("run_id", "symbol").rle_id()).to_series()
    costs: list[Fraction] | None
    if method == "average":
        pooled = match_pool(legs.signed, legs.averaged(), legs.fees.of_one(abs(legs.signed)), groups)
        found, costs = _pooled(legs, pooled)
    else:
        pairs = match_lots(legs.signed, groups, newest_first=method == "lifo")
        found, costs = _lots(legs, pairs)
    found = found.with_columns(_unpriced(found, legs.own, pooled=method == "average"))
    found = found.with_columns(doubt=_doubtful(found, in_doubt(fills, actions, prices)))
    every = markets or {}
    found = pl.concat(
        _against_bars(part, every.get(part["symbol"][0], no_market()), ends or {}, costs)
        for part in found.partition_by("symbol", maintain_order=True)
    )
    found = _without_prices(found, pooled=method == "average").with_columns(lots=pl.lit(1, pl.Int64))
    if by != "lot":
        found = grouped(found, legs.own, legs.signed, groups, by, dust, pooled=method == "average")
    number = pl.int_range(1, pl.len() + 1).over("run_id", "symbol").cast(pl.Int64)
    found = found.sort("run_id", "symbol", "is_open", "exit_time", "_row", nulls_last=True).with_columns(trade=number)
    return found.select(list(TRADES)).cast(TRADES)


@dataclass(frozen=True, slots=True)
class _Fees:
    """The commissions of fills, 0 where none is recorded, and their currencies."""

    amount: Exact
    currency: pl.Series

    def of_one(self, size: Exact) -> list[Fees]:
        """Return the commission per unit of each fill's quantity."""
        rows = zip(self.currency, self.amount.units(), size.units(), strict=True)
        return [{currency: Fraction(paid, units)} if paid else {} for currency, paid, units in rows]


@dataclass(frozen=True, slots=True)
class _Legs:
    """The fills, and what each of them did to a position: in the units of the end, after all splits."""

    own: pl.DataFrame
    signed: Exact
    price: Exact
    split: Exact
    """How many units of the end one unit of each fill has become."""
    multiplier: Exact
    fees: _Fees

    @staticmethod
    def of(own: pl.DataFrame, actions: pl.DataFrame | None, prices: str | None) -> _Legs:
        size, buys, in_base = Exact.of(own["quantity"]), bought(own), own["in_base"]
        paid = Exact.of(own["commission"].fill_null(0))
        price, multiplier = Exact.of(own["price"]), Exact.of(own["multiplier"])
        split = splits_after(own, actions if prices == "raw" else None)
        signed = (size.where(buys) - size.where(~buys) - paid.where(in_base)) * split
        recorded = pl.col("commission").is_not_null()
        currency = pl.when("in_base").then("settle").when(recorded).then("fee_in")
        fees = paid.where(~in_base) + (paid * price * multiplier).where(in_base)
        kept = signed.compare(0) != 0  # a purchase whose whole quantity its fee took opened nothing
        return _Legs(
            own.filter(kept),
            signed.filter(kept),
            price.filter(kept),
            split.filter(kept),
            multiplier.filter(kept),
            _Fees(fees.filter(kept), own.select(currency).to_series().filter(kept)),
        )

    @property
    def inverse(self) -> pl.Series:
        """Whether the profit is in the base."""
        return self.own["inverse"]

    def averaged(self) -> Sequence[Fraction]:
        """Return what an average entry is an average of: prices in units, of inverse contracts their reciprocals."""
        if not self.inverse.any() and (self.split.compare(1) == 0).all():
            return list(map(Fraction, self.price.units()))
        rows = zip(self.price.fractions(), self.split.fractions(), self.inverse, strict=True)
        unit = 10**self.price.places
        return [(1 / price if inverse else price * unit / split) for price, split, inverse in rows]


def _known_by(
    actions: pl.DataFrame, fills: pl.DataFrame, markets: Markets, ends: Mapping[str, datetime]
) -> pl.DataFrame:
    """Leave out the actions after the last moment that counts: the end of the runs, of the bars, or the last fill."""
    kept = []
    for symbol, effective in actions.select("symbol", "effective").iter_rows():
        mine = fills.filter(symbol=symbol)
        filled = mine["filled_at"].max()
        reach = markets[symbol].ends().max() if symbol in markets else None
        stops = [ends.get(run) for run in mine["run_id"].unique()]
        if not isinstance(filled, datetime):
            kept.append(False)
            continue
        last = reach if isinstance(reach, datetime) else filled
        known = [stop for stop in stops if stop is not None]
        if len(known) == len(stops):
            last = min(last, max(known))
        kept.append(effective <= max(last, filled))
    return actions.filter(pl.Series(kept, dtype=pl.Boolean))


def splits_after(own: pl.DataFrame, actions: pl.DataFrame | None) -> Exact:
    """Return the product of the ratios of the splits after each fill."""
    factors = Exact.constant(1, own.height)
    if actions is None:
        return factors
    for symbol, effective, ratio in actions.filter(kind="split").select("symbol", "effective", "ratio").iter_rows():
        before = (own["symbol"] == symbol) & (own["filled_at"] < effective)
        factors = factors + (factors * (ratio - 1)).where(before)
    return factors


def _unpriced(found: pl.DataFrame, own: pl.DataFrame, *, pooled: bool) -> pl.Series:
    """Return whether each trade opens or closes with a cash flow, whose price nobody knows."""
    first = found["_opening"]
    last = found["_closing"].fill_null(first)
    if not pooled:
        return (own["unpriced"].gather(first) | own["unpriced"].gather(last)).alias("unpriced")
    so_far = own["unpriced"].cast(pl.Int64).cum_sum()  # an average is of all entries since the position began
    still = found["_closing"].is_null()
    groups = own.select(pl.struct("run_id", "symbol").rle_id()).to_series()
    ends = groups.search_sorted(groups.gather(first), "right").cast(pl.Int64) - 1
    upto = last.zip_with(~still, ends)
    before = so_far.gather(first) - own["unpriced"].gather(first).cast(pl.Int64)
    return (so_far.gather(upto) > before).alias("unpriced")


def _doubtful(found: pl.DataFrame, doubt: pl.DataFrame) -> pl.Series:
    """Return whether an action lies inside each trade of a run that does not say on which prices it traded.

    After a split in doubt it is unknown how much is held, so that it lies inside all later trades, too.
    """
    inside = pl.Series([False]).new_from_index(0, found.height)
    for symbol, effective, kind in doubt.select("symbol", "effective", "kind").iter_rows() if doubt.height else ():
        still = found["is_open"] | (found["exit_time"] >= effective).fill_null(True)
        began = (found["entry_time"] < effective) | pl.Series([kind == "split"])
        inside = inside | ((found["symbol"] == symbol) & began & still)
    return inside


def _without_prices(found: pl.DataFrame, *, pooled: bool) -> pl.DataFrame:
    """Take the ids and prices of cash flows out of trades; an average of which one is a part is unknown, too."""
    fields = {"_from_flow": ("entry_price", "entry_fill_id"), "_to_flow": ("exit_price", "exit_fill_id")}
    cleared = [pl.when(~pl.col(flag)).then(name).alias(name) for flag, names in fields.items() for name in names]
    mixed = pl.col("unpriced") & (~pl.col("_to_flow") | pl.lit(pooled))
    return found.with_columns(cleared).with_columns(pl.when(~mixed).then("entry_price").alias("entry_price"))


def _joined(legs: _Legs, found: Matches | Pooled) -> pl.DataFrame:
    opening, closing = pl.Series(found.opening, dtype=pl.Int64), pl.Series(found.closing, dtype=pl.Int64)
    first, last = legs.own[opening], legs.own["filled_at", "id", "price"]
    direction = (legs.signed.compare(0).gather(opening) > 0).replace_strict(
        {True: "long", False: "short"}, return_dtype=pl.String
    )
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
            "_from_flow": first["unpriced"],
            "_to_flow": legs.own["unpriced"].gather(closing).fill_null(False),
            "currency": first["settle"],
            "multiplier": first["multiplier"],
            "inverse": first["inverse"],
        }
    )


def _lots(legs: _Legs, pairs: Matches) -> tuple[pl.DataFrame, list[Fraction] | None]:
    """Return the trades of lots, and their costs, where splits make fractions of the prices of entry."""
    found, price, fees = _joined(legs, pairs), legs.price, legs.fees
    opening, is_open = found["_opening"], found["is_open"]
    closing = found["_closing"].fill_null(opening)
    amount = Exact(pairs.amount, legs.signed.places).narrowed()
    long, inverse = found["direction"] == "long", found["inverse"]
    entry, leave = price.gather(opening), price.gather(closing)
    before, after = legs.split.gather(opening), legs.split.gather(closing).where(~is_open)
    after = after + Exact(is_open.cast(pl.Int128))  # what is open is counted in the units of the end
    scaled = (before - after).compare(0) != 0
    plain = not inverse.any() and not scaled.any()
    above = (leave - entry) if plain else leave * before - entry * after
    below = Exact.constant(1, len(amount)) if plain else before * after
    if inverse.any():
        above = above.where(~inverse) + (leave - entry).where(inverse)
        below = below.where(~inverse) + (entry * leave).where(inverse)
    gained = above * amount * legs.multiplier.gather(opening)
    gained = gained.where(long) - gained.where(~long)
    # both shares have one denominator, so that their sum is rounded once
    size = abs(legs.signed)
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
    net = gained * whole - entered - left if plain else gained * whole - (entered + left) * below
    costs = None
    if scaled.any():
        parts = zip(amount.fractions(), entry.fractions(), before.fractions(), inverse, strict=True)
        costs = [held / price if reciprocal else held * price / ratio for held, price, ratio, reciprocal in parts]
    made = found.with_columns(
        (amount.decimal("quantity") if plain else amount.over(after, "quantity")),
        *([] if plain else [(entry * after).over(before, "entry_price")]),
        (gained.decimal("pnl_gross") if plain else gained.over(below, "pnl_gross")).set(is_open, None),
        total.set(mixed, None).alias("fees"),
        net.over(whole if plain else whole * below, "pnl_net").set(is_open | mixed, None),
        named.set(mixed, None).alias("fee_currency"),
        _listed(rows, pl.concat(listed)),
        scaled.alias("scaled"),
    )
    return made, costs


def _listed(rows: pl.Series, fees: pl.DataFrame) -> pl.Series:
    """List the fees of each row by currency."""
    every = fees.filter(pl.col("amount") != 0).sort("_row", "currency")
    lists = every.group_by("_row", maintain_order=True).agg(pl.struct("currency", "amount").alias("fees"))
    joined = rows.to_frame("_row").join(lists, on="_row", how="left", maintain_order="left")["fees"].cast(FEES)
    return joined.fill_null(pl.Series([[]], dtype=FEES)).alias("fees_by_currency")


def _pooled(legs: _Legs, pooled: Pooled) -> tuple[pl.DataFrame, list[Fraction]]:
    """Return the trades at average entries, and their costs: fractions whose denominators are too large for columns."""
    found, unit = _joined(legs, pooled), 10**legs.price.places
    prices, sizes = legs.price.fractions(), abs(legs.signed).units()
    splits, multipliers = legs.split.fractions(), legs.multiplier.fractions()
    paid, currencies = legs.fees.amount.fractions(), legs.fees.currency.to_list()
    gains: list[Fraction | None] = []
    shares: list[Fees] = []
    entries: list[Fraction] = []
    quantities: list[Fraction] = []
    costs: list[Fraction] = []
    rows = zip(
        pooled.opening, pooled.closing, pooled.amount, pooled.price, pooled.fees, found["direction"], strict=True
    )
    for opening, closing, amount, mean, entered, direction in rows:
        inverse, held = legs.inverse[opening], Fraction(amount, 10**legs.signed.places)
        average = mean if inverse else mean / unit
        after = Fraction(1) if closing is None else splits[closing]
        share = {name: fee * amount / 10**legs.fees.amount.places for name, fee in entered.items()}
        gained = None
        if closing is not None:
            left = 1 / prices[closing] if inverse else prices[closing] / after
            moved = (average - left if inverse else left - average) * held * multipliers[opening]
            gained = moved if direction == "long" else -moved
            if paid[closing]:
                name = currencies[closing]
                share[name] = share.get(name, Fraction(0)) + paid[closing] * amount / sizes[closing]
        gains.append(gained)
        shares.append({name: fee for name, fee in share.items() if fee})
        entries.append(1 / average if inverse else average * after)
        quantities.append(held / after)
        costs.append(average * held)
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
    pairs = zip(pooled.opening, pooled.closing, strict=True)
    scaled = [splits[first] != (1 if last is None else splits[last]) for first, last in pairs]
    whole = found.with_columns(
        decimals("quantity", quantities),
        decimals("entry_price", entries),
        decimals("pnl_gross", gains),
        decimals("fees", totals),
        decimals("pnl_net", nets),
        pl.Series("fee_currency", single, dtype=pl.String),
        _listed(found["_row"], listed),
        pl.Series("scaled", scaled, dtype=pl.Boolean),
    )
    return whole, costs


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
    split, doubt, unpriced = part["scaled"], part["doubt"], part["unpriced"]
    known = ~doubt & ~unpriced
    seen = (began.is_not_null() & ended.is_not_null() & ~gap & ~split & known & (ended >= began)).fill_null(False)
    lows, highs = market.extremes(began.set(~seen, None), ended.set(~seen, None))
    long = part["direction"] == "long"
    moved = _Moves(part, [costs[row] for row in part["_row"]] if costs is not None else None)
    adverse, favourable = shortest(lows.zip_with(long, highs)), shortest(highs.zip_with(long, lows))
    foreign = pl.col("fee_currency").ne_missing(pl.col("currency")) & (pl.col("fees").fill_null(0) != 0)
    reasons: dict[str, pl.Expr | pl.Series] = {
        "its cost or its proceeds are unknown: it came or left by a cash flow": unpriced,
        "an action lies inside, and the run does not say on which prices it traded": doubt,
        "no bars of this symbol": pl.lit(count == 0),
        "a split lies in between": split,
        "the bars start after the entry": part["entry_time"] < market.reach()[0],
        "bars are missing in between": gap,
        "no bar at the entry or the exit": ~seen,
    }
    fees = (
        pl.when(pl.col("fees_by_currency").list.len() > 1)
        .then(pl.lit("commissions in several currencies"))
        .when(foreign)
        .then(pl.format("commissions in {}, prices in {}", _named("fee_currency"), _named("currency")))
    )
    return part.rechunk().with_columns(
        moved.to(adverse, -1).alias("mae"),
        moved.to(favourable, 1).alias("mfe"),
        moved.to(market.price("close", final.set(~is_open | ~known, None))).alias("unrealised"),
        pl.when(known).then("pnl_gross").alias("pnl_gross"),
        pl.when(~foreign & known).then("pnl_net").alias("pnl_net"),
        (pl.col("exit_time") - pl.col("entry_time")).alias("holding"),
        pl.concat_list(first_reason(reasons), fees).list.drop_nulls().list.join("; ").replace("", None).alias("reason"),
    )


def _named(name: str) -> pl.Expr:
    return pl.col(name).fill_null("an unknown currency")


@dataclass(frozen=True, slots=True)
class _Moves:
    """The gains of trades at other prices; ``costs`` is for average entries, which no decimal can hold exactly."""

    part: pl.DataFrame
    costs: list[Fraction] | None

    def to(self, prices: pl.Series, sign: int = 0) -> pl.Series:
        """Return the gain at each price, 0 where it is not of the sign; null for null."""
        long, size, none = self.part["direction"] == "long", Exact.of(self.part["quantity"]), prices.is_null()
        inverse, multiplier = bool(self.part["inverse"][0]), self.part["multiplier"][0]
        price = Exact.of(prices.fill_null(0))
        if self.costs is None:
            entry = Exact.of(self.part["entry_price"])
            change = (price - entry) * size * multiplier
            change = change.where(long) - change.where(~long)
            change = change.where(change.compare(0) == sign) if sign else change
            gained: pl.Series = change.over(price * entry) if inverse else change.decimal()
            return gained.set(none, None)
        factor = Fraction(multiplier)
        rows = zip(size.fractions(), price.fractions(), strict=True)
        values = [(held / close if close else Fraction(0)) if inverse else held * close for held, close in rows]
        moves = [(b - a if inverse else a - b) * factor for a, b in zip(values, self.costs, strict=True)]
        moves = [move if up else -move for move, up in zip(moves, long, strict=True)]
        kept = (move if not sign or move * sign > 0 else Fraction(0) for move in moves)
        return decimals("gain", (None if skip else move for move, skip in zip(kept, none, strict=True)))
