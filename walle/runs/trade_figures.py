"""The metrics that stand on trades and fills: of many curves at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import polars as pl

from walle.decimals import to_float
from walle.exact import Exact
from walle.instruments import own_fills, worth
from walle.interop import bought
from walle.runs.figures import Figures
from walle.validation import decimal_text

__all__ = ["NO_BARS", "Activity"]

NO_BARS = "no bars of what the run traded"
_CURVE = pl.Schema({"curve": pl.Int64()})
_NET = ("run_id", "symbol", "is_open", "fees", "fee_currency", "pnl_net", "entry_price", "quantity")
_FILLS = ("symbol", "side", "price", "quantity", "commission", "commission_currency", "filled_at", "id")


@dataclass(frozen=True, slots=True)
class Activity:
    """The sums of the trades and the fills of curves, by the number of the curve."""

    trades: list[dict[str, Any]]
    worth: list[dict[str, Any]]
    fees: list[dict[str | None, Fraction]]

    @staticmethod
    def of(
        trades: Sequence[pl.DataFrame],
        fills: Sequence[pl.DataFrame],
        rows: pl.DataFrame,
        currencies: Sequence[str | None],
        facts: Sequence[pl.DataFrame],
    ) -> Activity:
        """Sum up what belongs to each curve, under the facts about its symbols.

        ``rows`` are those of its equity: curve, time, equity.
        """
        count = len(currencies)
        names = pl.DataFrame(
            {"curve": range(count), "_currency": currencies}, schema={**_CURVE, "_currency": pl.String()}
        )
        # of a converted curve, trades have the rate of their currency, and fills what they are worth
        deals = _known([part.select(pl.col(f"^({'|'.join(_NET)}|rate)$")) for part in trades], facts, _weighed)
        done = _known([part.select(pl.col(f"^({'|'.join(_FILLS)}|notional)$")) for part in fills], facts, own_fills)
        return Activity(
            _of_trades(deals.join(names, on="curve", how="left", maintain_order="left"), count),
            _of_time(done, rows, count),
            _of_fees(done, count),
        )

    def outside(self, curve: int, currency: str | None) -> str | None:
        """Return why a curve is not all that its run gained: the fees in other currencies; None if there are none."""
        paid = [(name, amount) for name, amount in self.fees[curve].items() if name != currency and amount]
        if not paid:
            return None
        told = [f"{_text(amount)} {name or 'in an unknown currency'}" for name, amount in paid]
        return f"fees of {' and '.join(told)} are not in it"

    def of_trades(self, figures: Figures, curve: int, never_flat: Sequence[str] = ()) -> None:
        """Add the metrics of the trades of a curve; those of the symbols ``never_flat`` are lots."""
        found = self.trades[curve]
        closed, net, wins, losses = (found[name] for name in ("closed", "net", "wins", "losses"))
        won, lost, lacking = found["won"], found["lost"], closed - net
        why = f"{lacking} of {closed} closed trades have no pnl_net" if lacking else "no closed trade"
        measured = net > 0 and not lacking
        note = f"by lot: {', '.join(never_flat)} was never flat" if never_flat else None
        figures.ratio("trades", closed, unit="count", note=note)
        figures.ratio("open_trades", found["open"], unit="count")
        figures.ratio("win_rate", Fraction(wins, net) if measured else None, why)
        no_loss = why if not measured else "no losing trade"
        figures.ratio("profit_factor", won / -lost if measured and lost else None, no_loss)
        figures.money("gross_profit", won if measured else None, why)
        figures.money("gross_loss", lost if measured else None, why)
        no_win = why if not measured else "no winning trade"
        figures.money("average_win", won / wins if measured and won else None, no_win)
        figures.money("average_loss", lost / losses if measured and lost else None, no_loss)
        figures.money("expectancy", (won + lost) / net if measured else None, why)
        figures.ratio("average_trade", None if found["unknown"] else found["share"], why)

    def of_time(self, figures: Figures, curve: int) -> None:
        """Add the metrics of how much a curve was in the market."""
        found = self.worth[curve]
        figures.ratio("exposure", found["exposure"], NO_BARS)
        mean, notional = found["mean"], found["notional"]
        unknown = "the mean equity is not known, or not above 0"
        if notional is None:
            unknown = f"a fill has no rate to {figures.head['currency']}"
        figures.ratio("turnover", notional / mean if notional is not None and mean > 0 else None, unknown)
        figures.ratio("marked", found["marked"], NO_BARS)

    def of_fees(self, figures: Figures, curve: int) -> None:
        """Add the fees, a row for each currency."""
        paid = self.fees[curve]
        for name in sorted(paid, key=lambda name: (name is not None, name or "")):
            figures.money("fees", paid[name], currency=name)
        if not paid:
            figures.money("fees", Fraction(0))


def _of_trades(trades: pl.DataFrame, count: int) -> list[dict[str, Any]]:
    # if the currency of the prices is unknown, the fees of a trade may be in another one
    other = pl.col("fee_currency").ne_missing(pl.col("_currency")) & (pl.col("fees").fill_null(0) != 0)
    closed = trades.filter(~pl.col("is_open")).with_columns(pl.when(~other).then("pnl_net").alias("pnl_net"))
    net = closed.filter(pl.col("pnl_net").is_not_null())
    sums = {}
    for name, sign in (("won", pl.col("pnl_net") > 0), ("lost", pl.col("pnl_net") < 0)):
        part = net.filter(sign)
        sums[name] = Exact.of(part["pnl_net"]).sum_by(part["curve"], count).fractions()
    floats = to_float(closed, ["pnl_net", "entry_price", "quantity", "multiplier"])
    value = pl.when("inverse").then(1 / pl.col("entry_price")).otherwise("entry_price")
    cost = (
        value * pl.col("quantity") * pl.col("multiplier") * (pl.col("rate") if "rate" in closed.columns else 1)
    ).abs()
    share = pl.col("pnl_net") / pl.when(cost != 0).then(cost)
    shares = (
        floats.select("curve", share=share)
        .group_by("curve")
        .agg(closed=pl.len(), unknown=pl.col("share").null_count() > 0, share=pl.col("share").mean())
    )
    counted = net.group_by("curve").agg(
        net=pl.len(), wins=(pl.col("pnl_net") > 0).sum(), losses=(pl.col("pnl_net") < 0).sum()
    )
    still = trades.group_by("curve").agg(open=pl.col("is_open").sum())
    every = _every(count)
    for part in (still, shares, counted):
        every = every.join(part, on="curve", how="left", maintain_order="left")
    numbers = every.with_columns(pl.col("open", "closed", "net", "wins", "losses").fill_null(0).cast(pl.Int64))
    return [
        {**row, "won": sums["won"][row["curve"]], "lost": sums["lost"][row["curve"]]}
        for row in numbers.iter_rows(named=True)
    ]


def _of_time(fills: pl.DataFrame, rows: pl.DataFrame, count: int) -> list[dict[str, Any]]:
    unknown: set[int] = set()
    if "notional" in fills.columns:  # they settle in several currencies, which were converted
        values = Exact.of(fills["notional"].fill_null(0))
        unknown.update(fills.filter(pl.col("notional").is_null())["curve"])
    else:
        values = abs(worth(Exact.of(fills["price"]), Exact.of(fills["quantity"]), fills))
    notional = values.sum_by(fills["curve"], count).fractions()
    marked = rows.filter(pl.col("equity").is_not_null())
    totals = Exact.of(marked["equity"]).sum_by(marked["curve"], count).fractions()
    changes = _held(fills).sort("time", maintain_order=True)
    times = rows.select("curve", "time").sort("time", maintain_order=True)
    # a row has counted the fills before its time
    held = times.join_asof(changes, on="time", by="curve", allow_exact_matches=False, check_sortedness=False)
    exposed = held.group_by("curve").agg(exposure=(pl.col("symbols").fill_null(0) > 0).mean())
    shares = rows.group_by("curve").agg(
        marked=pl.col("equity").is_not_null().mean(), known=pl.col("equity").is_not_null().sum()
    )
    every = _every(count).join(exposed, on="curve", how="left", maintain_order="left")
    every = every.join(shares, on="curve", how="left", maintain_order="left")
    return [
        {
            **row,
            "notional": None if row["curve"] in unknown else notional[row["curve"]],
            "mean": totals[row["curve"]] / row["known"] if row["known"] else Fraction(0),
        }
        for row in every.iter_rows(named=True)
    ]


def _held(fills: pl.DataFrame) -> pl.DataFrame:
    """Return how many symbols are held after each fill: curve, time, symbols."""
    ordered = fills.sort("curve", "symbol", "filled_at", "id", maintain_order=True)
    ordered = ordered.with_columns(group=pl.struct("curve", "symbol").rle_id()).with_row_index("row")
    size, buys = Exact.of(ordered["quantity"]), bought(ordered)
    in_base = Exact.of(ordered["commission"].fill_null(0)).where(ordered["in_base"])
    sums = (size.where(buys) - size.where(~buys) - in_base).cum_sum()
    first = ordered.select(pl.col("row").first().over("group").cast(pl.Int64) - 1).to_series()
    before = sums.gather(first.clip(0)).where(first >= 0)
    holds = (sums - before).compare(0) != 0
    changed = ordered.select("curve", "group", "id", time="filled_at").with_columns(holds=holds.cast(pl.Int64))
    change = pl.col("holds") - pl.col("holds").shift(1).over("group").fill_null(0)
    changed = changed.with_columns(change=change).sort("curve", "time", "id", maintain_order=True)
    return changed.select("curve", "time", symbols=pl.col("change").cum_sum().over("curve"))


def _of_fees(fills: pl.DataFrame, count: int) -> list[dict[str | None, Fraction]]:
    pays = fills.filter(pl.col("commission").fill_null(0) != 0).with_columns(currency="fee_in")
    groups = pays.select("curve", "currency").unique(maintain_order=True).with_row_index("group")
    placed = pays.join(groups, on=["curve", "currency"], how="left", nulls_equal=True, maintain_order="left")
    sums = Exact.of(placed["commission"]).sum_by(placed["group"], groups.height).fractions()
    found: list[dict[str | None, Fraction]] = [{} for _ in range(count)]
    for group, curve, currency in groups.iter_rows():
        found[curve][currency] = sums[group]
    return found


def _every(count: int) -> pl.DataFrame:
    return pl.DataFrame({"curve": range(count)}, schema=_CURVE)


def _stacked(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(part.with_columns(curve=pl.lit(number, pl.Int64)) for number, part in enumerate(parts))


def _known(
    parts: Sequence[pl.DataFrame],
    facts: Sequence[pl.DataFrame],
    add: Callable[[pl.DataFrame, pl.DataFrame], pl.DataFrame],
) -> pl.DataFrame:
    """Stack frames and add the facts about their symbols; at once where they are the same for all."""
    if all(each is facts[0] for each in facts):
        return add(_stacked(parts), facts[0])
    return _stacked([add(part, each) for part, each in zip(parts, facts, strict=True)])


def _weighed(trades: pl.DataFrame, facts: pl.DataFrame) -> pl.DataFrame:
    asked = facts.select("symbol", "multiplier", "inverse")
    joined = trades.join(asked, on="symbol", how="left", maintain_order="left")
    return joined.with_columns(pl.col("multiplier").fill_null(1), pl.col("inverse").fill_null(False))


def _text(amount: Fraction) -> str:
    whole = Exact.constant(amount, 1).decimal()[0]
    return decimal_text(whole)
