"""Implementation shortfall: the loss between the decision to trade and the result."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from walle.exact import Exact
from walle.fills.benchmarks import Price, arrival
from walle.fills.costs import check_level, fees_by_group
from walle.fills.market import Market, Markets, no_market
from walle.fills.trades import FEES
from walle.frames import DECIMAL, FILLS, INSTANT
from walle.instruments import facts_of, own_fills, worth
from walle.interop import bought

__all__ = ["SHORTFALL", "shortfall", "traded"]

SHORTFALL = pl.Schema(
    {
        "run_id": pl.String(),
        "order_id": pl.String(),
        "symbol": pl.String(),
        "side": pl.String(),
        "status": pl.String(),
        "time": INSTANT,
        "currency": pl.String(),
        "ordered": DECIMAL,
        "filled": DECIMAL,
        "decision_price": DECIMAL,
        "arrival_price": DECIMAL,
        "average_price": DECIMAL,
        "end_price": DECIMAL,
        "delay": DECIMAL,
        "trading": DECIMAL,
        "opportunity": DECIMAL,
        "fees": DECIMAL,
        "fee_currency": pl.String(),
        "fees_by_currency": FEES,
        "total": DECIMAL,
        "bps": DECIMAL,
        "orders": pl.Int64(),
        "measured": pl.Int64(),
        "reason": pl.String(),
    }
)
"""One row is one order, or all orders of a run whose prices are in one currency."""

_OF_ORDER = tuple(name for name in SHORTFALL if name in ("order_id", "symbol", "side", "status", "ordered", "filled"))
_PRICES = ("decision_price", "arrival_price", "average_price", "end_price")


def shortfall(
    fills: pl.DataFrame,
    orders: pl.DataFrame,
    markets: Markets,
    *,
    by: str = "order",
    ends: Mapping[str, datetime] | None = None,
    facts: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Split the cost of orders into delay, trading, opportunity and fees.

    The paper portfolio trades the whole ordered quantity at the decision price, at once and free of charge; the
    shortfall is the amount by which the real portfolio falls short of it (Perold, *The Implementation Shortfall: Paper
    versus Reality*, Journal of Portfolio Management 14(3), 1988). The split of the executed part into delay and trading
    follows Kissell and Glantz, *Optimal Trading Strategies*, 2003.

    Parameters
    ----------
    fills, orders : polars.DataFrame
        Columns of :data:`walle.frames.FILLS` and ``ORDERS``; fills whose order is not among them are left out.
    markets : mapping of symbol to Market
        The bars.
    by : str
        ``order``, or ``run``: all orders of a run whose prices are in one currency.
    ends : mapping of run to datetime, optional
        When each run ended. An order that was neither filled nor cancelled waits until then, or until the last bar.
    facts : polars.DataFrame, optional
        What the symbols are: columns of :data:`walle.instruments.FACTS`. None: what their texts say.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`SHORTFALL`. For each order, with ``X`` the ordered and ``x`` the filled quantity, each times
        the multiplier; a loss is above 0 (for a sale, the differences of prices have the opposite sign; of an inverse
        contract they are those of ``-1 / price``):

        - currency: that in which the symbol settles (:func:`walle.instruments.facts_of`); null if it is unknown.
        - decision_price: the last close when the order was created. arrival_price: the last close when it was
          submitted. average_price: the average of its fills. end_price: the last close when it was filled or cancelled,
          or stopped waiting.
        - delay: ``(arrival_price - decision_price) x``.
        - trading: the sum of ``(price - arrival_price) quantity`` over its fills.
        - opportunity: ``(end_price - decision_price) (X - x)``; 0 if all was filled.
        - fees: the commissions; null if they are in several currencies, see ``fees_by_currency``.
        - total: their sum; null if one of them cannot be measured, or the fees are in another currency than the prices.
        - bps: total divided by ``decision_price X`` (of an inverse contract ``X / decision_price``), times 10,000.
        - reason: why something could not be measured.

        For a run, the sums over the orders that can be measured completely: ``measured`` of ``orders``. Sorted by run,
        time and order; empty without orders. Each decimal is rounded once, half-even at 18 places; on the exact values
        the parts add up to the total. What an inverse contract is worth is rounded there before it is added up.

    Raises
    ------
    InputError
        For an unknown level.
    PrecisionError
        If a result has more than 20 integer digits.
    """
    check_level(by, ("order", "run"))
    ordered = orders.sort("run_id", "created_at", "id")
    if ordered.is_empty():
        return pl.DataFrame(schema=SHORTFALL)
    found = _Measured(fills, ordered, markets, ends or {}, facts)
    rows = found.orders() if by == "order" else found.runs()
    return rows.select(list(SHORTFALL)).cast(SHORTFALL)


def traded(fills: pl.DataFrame, orders: pl.DataFrame) -> pl.DataFrame:
    """Return fills, and orders in the form of fills: columns of ``FILLS``, for :func:`walle.instruments.facts_of`."""
    asked = orders.select("id", "run_id", "symbol", filled_at="created_at")
    return pl.concat([fills, asked], how="diagonal_relaxed").select(list(FILLS))


class _Measured:
    """The exact parts of the shortfall of orders."""

    def __init__(
        self,
        fills: pl.DataFrame,
        ordered: pl.DataFrame,
        markets: Markets,
        ends: Mapping[str, datetime],
        facts: pl.DataFrame | None,
    ) -> None:
        count = ordered.height
        known = facts_of(traded(fills, ordered)) if facts is None else facts
        asked = own_fills(traded(fills.clear(), ordered), known)
        numbers = ordered.select(order_id="id").with_row_index("order")
        of_order = fills.join(numbers, on="order_id", how="inner", maintain_order="left")
        groups = of_order["order"]
        size, price = Exact.of(of_order["quantity"]), Exact.of(of_order["price"])
        self.filled = size.sum_by(groups, count)
        # a commission without a currency is in that of the order's prices
        symbols = ordered["symbol"].gather(groups)
        self.fills = own_fills(of_order.with_columns(symbols.alias("symbol")), known)
        self.fees = fees_by_group(self.fills, groups, count)
        self.paid = Exact.of(self.fees[0].fill_null(0))
        self.ordered = ordered.with_columns(asked["settle"].alias("currency"))
        self.prices = _prices(self.ordered, markets, ends)
        decided, came, ended = (Exact.of(one.value.fill_null(0)) for one in self.prices.values())
        sign = Exact((bought(ordered, "order").cast(pl.Int64) * 2 - 1).cast(pl.Int128))
        wanted = Exact.of(ordered["qty"])
        self.open = wanted - self.filled
        self.average = (size * price).sum_by(groups, count).over(self.filled, "average_price")
        spent = worth(price, size, self.fills).sum_by(groups, count)
        there = worth(came, self.filled, asked)
        self.parts = {
            "delay": (there - worth(decided, self.filled, asked)) * sign,
            "trading": (spent - there) * sign,
            "opportunity": (worth(ended, self.open, asked) - worth(decided, self.open, asked)) * sign,
        }
        self.total = self.parts["delay"] + self.parts["trading"] + self.parts["opportunity"] + self.paid
        self.paper = abs(worth(decided, wanted, asked))
        self.lacking = self._lacking()
        self.known = pl.select(~pl.any_horizontal(self.lacking.values())).to_series()

    def _lacking(self) -> dict[str, pl.Series]:
        """Return, for each part, whether it cannot be measured."""
        decided, came, ended = (one.value.is_null() for one in self.prices.values())
        none, rest = self.filled.compare(0) == 0, self.open.compare(0) != 0
        fees, named, _ = self.fees
        foreign = fees.is_null() | ((self.paid.compare(0) != 0) & named.ne_missing(self.ordered["currency"]))
        return {
            "delay": ~none & (decided | came),
            "trading": ~none & came,
            "opportunity": rest & (decided | ended),
            "paper": decided,
            "fees": foreign,
        }

    def orders(self) -> pl.DataFrame:
        """Return a row for each order."""
        values = [one.value.alias(f"{name}_price") for name, one in self.prices.items()]
        parts = [part.decimal(name).set(self.lacking[name], None) for name, part in self.parts.items()]
        return self.ordered.select(
            "run_id", "symbol", "side", "status", "currency", order_id="id", time="created_at", ordered="qty"
        ).with_columns(
            self.filled.decimal("filled"),
            *values,
            self.average,
            *parts,
            *self.fees,
            self.total.decimal("total").set(~self.known, None),
            (self.total * 10_000).over(self.paper, "bps").set(~self.known, None),
            self._reasons(),
            orders=pl.lit(1),
            measured=self.known.cast(pl.Int64),
        )

    def runs(self) -> pl.DataFrame:
        """Return a row for each run and currency: the sums over the orders that can be measured."""
        keys = ["run_id", "currency"]
        frame = self.ordered.with_columns(self.known.alias("known"), self._reasons())
        heads = frame.group_by(keys, maintain_order=True).agg(
            pl.first("created_at").alias("time"),
            pl.len().alias("orders"),
            pl.sum("known").alias("measured"),
            pl.col("reason").drop_nulls().unique().sort().str.join("; ").replace("", None),
        )
        numbers = heads.select(*keys).with_row_index("group")
        groups = frame.join(numbers, on=keys, how="left", nulls_equal=True, maintain_order="left")["group"]
        count, none = heads.height, heads["measured"] == 0
        exact = {**self.parts, "fees": self.paid, "total": self.total}
        summed = {name: part.where(self.known).sum_by(groups, count) for name, part in exact.items()}
        paper = self.paper.where(self.known).sum_by(groups, count)
        return heads.with_columns(
            *(sums.decimal(name).set(none, None) for name, sums in summed.items()),
            (summed["total"] * 10_000).over(paper, "bps").set(none, None),
            *(pl.lit(None, SHORTFALL[name]).alias(name) for name in (*_OF_ORDER, *_PRICES)),
            fee_currency=pl.col("currency"),
            fees_by_currency=fees_by_group(self.fills, groups.gather(self.fills["order"]), count)[2],
        ).sort("run_id", "time", "currency", nulls_last=True)

    def _reasons(self) -> pl.Series:
        columns = [one.reason.alias(name) for name, one in self.prices.items()]
        lacking = [flags.alias(f"no_{name}") for name, flags in self.lacking.items()]
        several, named = self.fees[0].is_null().alias("several"), self.fees[1].is_not_null().alias("named")
        words = [
            pl.when("no_paper").then("decision"),
            pl.when(pl.col("no_trading")).then("arrival"),
            pl.when("no_opportunity").then("end"),
            pl.when("several")
            .then(pl.lit("commissions in several currencies"))
            .when("no_fees")
            .then(
                pl.when("named")
                .then(pl.lit("commissions in another currency than the prices"))
                # neither the fills nor their symbol name the currency, see walle.currencies.fee_currency
                .otherwise(pl.lit("commissions in an unknown currency"))
            ),
        ]
        frame = pl.DataFrame([*columns, *lacking, several, named])
        listed = pl.concat_list(words).list.drop_nulls().list.unique(maintain_order=True).list.join("; ")
        return frame.select(listed.replace("", None).alias("reason")).to_series()


def _prices(ordered: pl.DataFrame, markets: Markets, ends: Mapping[str, datetime]) -> dict[str, Price]:
    """Return the prices at the decision, at the arrival, and at the end of each order."""
    parts: dict[str, list[pl.DataFrame]] = {"decision": [], "arrival": [], "end": []}
    stops = pl.DataFrame(
        {"run_id": list(ends), "stopped": list(ends.values())}, schema={"run_id": pl.String(), "stopped": INSTANT}
    )
    whole = ordered.with_row_index("_row").join(stops, on="run_id", how="left", maintain_order="left")
    for part in whole.partition_by("symbol", maintain_order=True):
        market: Market = markets.get(part["symbol"][0], no_market())
        reach = None if market.bars.is_empty() else market.reach()[1]
        waited = pl.min_horizontal("stopped", pl.lit(reach, INSTANT))
        moments = part.select(
            decision="created_at",
            arrival=pl.coalesce("submitted_at", "created_at"),
            end=pl.coalesce("cancelled_at", "filled_at", waited, "created_at"),
        )
        captions = {"decision": "the order was created", "arrival": "the order was submitted", "end": "the order ended"}
        for name, words in captions.items():
            price = arrival(market, moments[name], words)
            parts[name].append(pl.DataFrame({"row": part["_row"], "value": price.value, "reason": price.reason}))
    found = {name: pl.concat(frames).sort("row") for name, frames in parts.items()}
    return {name: Price(frame["value"], frame["reason"]) for name, frame in found.items()}
