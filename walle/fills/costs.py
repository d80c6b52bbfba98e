"""The costs of trading: fills measured against benchmark prices of the market."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from walle.errors import InputError
from walle.exact import Exact
from walle.fills.benchmarks import BENCHMARKS, Price, arrival, check_benchmarks, daily, interval_vwap
from walle.fills.market import Markets, no_market
from walle.fills.trades import FEES
from walle.frames import DECIMAL, INSTANT
from walle.instruments import facts_of, own_fills, worth
from walle.interop import bought

__all__ = ["COSTS", "LEVELS", "check_level", "costs", "fees_by_group"]

LEVELS = ("fill", "order", "run")

COSTS = pl.Schema(
    {
        "run_id": pl.String(),
        "order_id": pl.String(),
        "fill_id": pl.String(),
        "symbol": pl.String(),
        "side": pl.String(),
        "time": INSTANT,
        "currency": pl.String(),
        "quantity": DECIMAL,
        "price": DECIMAL,
        "notional": DECIMAL,
        "benchmark": pl.String(),
        "benchmark_price": DECIMAL,
        "cost": DECIMAL,
        "bps": DECIMAL,
        "fees": DECIMAL,
        "fee_currency": pl.String(),
        "fees_by_currency": FEES,
        "fills": pl.Int64(),
        "measured": pl.Int64(),
        "reason": pl.String(),
    }
)
"""One row is one fill, order or run (and currency), measured against one benchmark."""


def check_level(by: str, allowed: Sequence[str] = LEVELS) -> None:
    """Raise unless the level is one of ``allowed``.

    Raises
    ------
    InputError
    """
    if by not in allowed:
        raise InputError(f"by={by!r}: allowed are {', '.join(allowed)}.")


def costs(
    fills: pl.DataFrame,
    orders: pl.DataFrame,
    markets: Markets,
    *,
    by: str = "fill",
    benchmarks: str | Sequence[str] = BENCHMARKS,
    facts: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Measure fills against benchmark prices of the market.

    Parameters
    ----------
    fills, orders : polars.DataFrame
        Columns of :data:`walle.frames.FILLS` and ``ORDERS``.
    markets : mapping of symbol to Market
        The bars.
    by : str
        ``fill``; ``order``: the fills of an order together; ``run``: all fills of a run whose prices are in one
        currency.
    benchmarks : str or sequence of str
        One or several of these:

        - ``arrival``: the last close before the order was submitted (or created, if the submission is unknown). It
          measures what it cost to trade at all (Perold, *The Implementation Shortfall: Paper versus Reality*, Journal
          of Portfolio Management 14(3), 1988).
        - ``vwap``: the volume-weighted average price of the bars from the order's submission to its last fill
          (Berkowitz, Logue and Noser, *The Total Cost of Transactions on the NYSE*, Journal of Finance 43(1), 1988); a
          bar's typical price (high + low + close) / 3 stands for its own average.
        - ``open``, ``close``: the prices of the day of the fill: the market's session, including breaks of up to three
          hours, or the UTC day if the session is longer than a day.
    facts : polars.DataFrame, optional
        What the symbols are: columns of :data:`walle.instruments.FACTS`. None: what their texts say.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`COSTS`, sorted by run, time, order and fill, then in the order of ``benchmarks``. Empty
        without fills.

        - time: that of the fill, or of the first fill. side and symbol are null for a run.
        - currency: that in which the symbol settles (:func:`walle.instruments.facts_of`); null if it is unknown.
        - quantity, notional: the sums over all fills; ``notional`` is the sum of price x quantity x multiplier, of
          inverse contracts of quantity x multiplier / price. price: that of the fill; for an order, the average by
          quantity; for a run, null.
        - benchmark_price: for an order, the average by quantity; for a run, null. A VWAP is rounded at 18 places first.
        - cost: the sum of ``(price - benchmark_price) x quantity x multiplier``, of inverse contracts of
          ``(1 / benchmark_price - 1 / price) x quantity x multiplier``, with the opposite sign for a sale: above 0 is
          worse than the benchmark. It does not include fees.
        - bps: cost divided by the notional at the benchmark prices, times 10,000.
        - fees: the commissions; null if they are in several currencies, which ``fees_by_currency`` lists separately.
          A commission that names no currency is in that of the prices.
        - fills, measured: the number of fills, and how many of them could be measured. cost, bps and benchmark_price
          cover the measured ones; they are null if there is none.
        - reason: why the others could not be measured.

        Each decimal is rounded once, half-even at 18 places; what a fill of an inverse contract is worth is rounded
        there before it is added up.

    Raises
    ------
    InputError
        For an unknown level or benchmark.
    PrecisionError
        If a result has more than 20 integer digits.
    """
    check_level(by)
    names = check_benchmarks(benchmarks)
    known = own_fills(_known(fills, orders), facts_of(fills) if facts is None else facts)
    ordered = known.sort("run_id", "filled_at", "sequence", "order_id", "id", nulls_last=True)
    if ordered.is_empty():
        return pl.DataFrame(schema=COSTS)
    groups, heads = _grouped(ordered, by)
    size, price = Exact.of(ordered["quantity"]), Exact.of(ordered["price"])
    count = heads.height
    quantity, paid = size.sum_by(groups, count), worth(price, size, ordered)
    average = (price * size).sum_by(groups, count).over(quantity, "price")
    base = heads.with_columns(
        quantity.decimal("quantity"),
        average.clear(count) if by == "run" else average,
        abs(paid).sum_by(groups, count).decimal("notional"),
        *fees_by_group(ordered, groups, count),
    )
    sign = (bought(ordered).cast(pl.Int64) * 2 - 1).cast(pl.Int128)
    tables = []
    for number, name in enumerate(names):
        found = _benchmark(name, ordered, markets)
        against = Exact.of(found.value.fill_null(0))
        ideal, counted = worth(against, size, ordered), found.value.is_not_null()
        cost = ((paid - ideal) * Exact(sign)).where(counted).sum_by(groups, count)
        total, held = abs(ideal).sum_by(groups, count), size.where(counted).sum_by(groups, count)
        measured = pl.Series(Exact(counted.cast(pl.Int128)).sum_by(groups, count).units(), dtype=pl.Int64)
        none = measured == 0
        tables.append(
            base.with_columns(
                (against * size).sum_by(groups, count).over(held, "benchmark_price").set(none | (by == "run"), None),
                cost.decimal("cost").set(none, None),
                (cost * 10_000).over(total, "bps").set(none, None),
                _reasons(found.reason, groups, count),
                benchmark=pl.lit(name),
                measured=measured,
                _number=pl.lit(number),
            )
        )
    return pl.concat(tables).sort("_group", "_number").select(list(COSTS)).cast(COSTS)


def fees_by_group(fills: pl.DataFrame, groups: pl.Series, count: int) -> list[pl.Series]:
    """Add up commissions within groups, each currency separately.

    Parameters
    ----------
    fills : polars.DataFrame
        commission, fee_in (the currency of the commission).
    groups : polars.Series
        The number of each fill's group, from 0 to below ``count``.
    count : int

    Returns
    -------
    list of polars.Series
        fees (null if in several currencies), fee_currency and fees_by_currency.
    """
    amount = Exact.of(fills["commission"].fill_null(0))
    paid = amount.compare(0) != 0
    keys = pl.DataFrame({"group": groups.cast(pl.Int64), "currency": fills["fee_in"]}).filter(paid)
    pairs = keys.unique().sort("group", "currency")
    place = keys.join(
        pairs.with_row_index("place"), on=["group", "currency"], how="left", nulls_equal=True, maintain_order="left"
    )
    sums = amount.filter(paid).sum_by(place["place"], pairs.height).decimal("amount")
    lists = (
        pairs.with_columns(sums)
        .group_by("group", maintain_order=True)
        .agg(
            pl.struct("currency", "amount").alias("fees_by_currency"),
            pl.first("amount").alias("fees"),
            pl.first("currency").alias("fee_currency"),
        )
    )
    every = pl.DataFrame({"group": pl.int_range(count, dtype=pl.Int64, eager=True)})
    joined = every.join(lists, on="group", how="left", maintain_order="left").with_columns(
        pl.col("fees_by_currency").cast(FEES).fill_null(pl.lit([], FEES)), pl.col("fees").fill_null(0)
    )
    several = joined["fees_by_currency"].list.len() > 1
    fees, named = joined["fees"].cast(DECIMAL).set(several, None), joined["fee_currency"].set(several, None)
    return [fees, named, joined["fees_by_currency"]]


def _known(fills: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """Add the times of the submission and of the last fill of each fill's order."""
    times = orders.select(order_id="id", submitted=pl.coalesce("submitted_at", "created_at"))
    last = pl.col("filled_at").max().over("order_id")
    return fills.join(times, on="order_id", how="left").with_columns(last_fill=last)


def _grouped(ordered: pl.DataFrame, by: str) -> tuple[pl.Series, pl.DataFrame]:
    """Return the number of each fill's group, and a frame that describes the groups."""
    frame = ordered.with_columns(currency="settle").with_row_index("_row")
    keys = {"fill": ["_row"], "order": ["run_id", "order_id"], "run": ["run_id", "currency"]}[by]
    grouped = frame.group_by(keys, maintain_order=True)
    heads = grouped.agg(pl.exclude(keys).first(), fills=pl.len().cast(pl.Int64)).with_row_index("_group")
    null = {"fill": [], "order": ["fill_id"], "run": ["order_id", "fill_id", "symbol", "side"]}[by]
    groups = frame.join(heads.select("_group", *keys), on=keys, how="left", nulls_equal=True, maintain_order="left")
    heads = heads.rename({"id": "fill_id", "filled_at": "time"}).with_columns(
        pl.lit(None, pl.String).alias(n) for n in null
    )
    return groups["_group"], heads.select(
        "_group", "run_id", "order_id", "fill_id", "symbol", "side", "time", "currency", "fills"
    )


def _benchmark(name: str, ordered: pl.DataFrame, markets: Markets) -> Price:
    """Return the benchmark price of each fill, or the reason why there is none."""
    parts = []
    for part in ordered.with_row_index("_row").partition_by("symbol", maintain_order=True):
        symbol = part["symbol"][0]
        market = markets.get(symbol, no_market()) if symbol is not None else no_market()
        orphan = part["submitted"].is_null()
        submitted = part["submitted"].zip_with(~orphan, part["filled_at"])
        if name == "arrival":
            price = arrival(market, submitted, "the order was submitted")
        elif name == "vwap":
            price = interval_vwap(market, submitted, part["last_fill"])
        else:
            price = daily(market, part["filled_at"], name)
        frame = pl.DataFrame({"row": part["_row"], "value": price.value, "reason": price.reason, "orphan": orphan})
        if name in ("arrival", "vwap"):
            frame = frame.with_columns(
                value=pl.when(~pl.col("orphan")).then("value"),
                reason=pl.when("orphan").then(pl.lit("its order is not stored")).otherwise("reason"),
            )
        if symbol is None:
            frame = frame.with_columns(reason=pl.lit("its symbol is not known"))
        parts.append(frame)
    whole = pl.concat(parts).sort("row")
    return Price(whole["value"], whole["reason"])


def _reasons(reason: pl.Series, groups: pl.Series, count: int) -> pl.Series:
    """Return why fills of each group could not be measured: each reason once, with its number of fills."""
    frame = pl.DataFrame({"group": groups.cast(pl.Int64), "reason": reason}).drop_nulls("reason")
    sizes = groups.value_counts(name="size").select(pl.nth(0).cast(pl.Int64).alias("group"), "size")
    counted = (
        frame.group_by("group", "reason").len("count").sort("group", "count", "reason", descending=[False, True, False])
    )
    counted = counted.join(sizes, on="group", how="left", maintain_order="left")
    words = pl.when(pl.col("size") > 1).then(pl.format("{} ({} of {})", "reason", "count", "size")).otherwise("reason")
    joined = (
        counted.with_columns(words.alias("words"))
        .group_by("group", maintain_order=True)
        .agg(pl.col("words").str.join("; "))
    )
    every = pl.DataFrame({"group": pl.int_range(count, dtype=pl.Int64, eager=True)})
    return every.join(joined, on="group", how="left", maintain_order="left")["words"].alias("reason")
