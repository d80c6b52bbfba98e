"""Put the lots of trades together: by the orders that opened and closed them, or from flat to flat."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import polars as pl

from walle.exact import Exact
from walle.frames import DECIMAL

__all__ = ["BY", "grouped"]

BY = ("lot", "order", "flat")


def grouped(
    lots: pl.DataFrame,
    own: pl.DataFrame,
    signed: Exact,
    groups: pl.Series,
    by: str,
    dust: Decimal | None,
    *,
    pooled: bool = False,
) -> pl.DataFrame:
    """Return one trade for each pair of orders, or for each time that a position was not flat.

    Parameters
    ----------
    lots : polars.DataFrame
        Columns of :data:`walle.fills.trades.TRADES`, with _opening and _closing, the numbers of the fills in ``own``.
    own : polars.DataFrame
        The fills, with the facts about their symbols.
    signed : Exact
        What each of them did to its position.
    groups : polars.Series
        Equal for the fills of one run and symbol.
    by : str
        ``order`` or ``flat``.
    dust : Decimal, optional
        A position below it is flat. None: the lot size of the symbol, where one is known.
    pooled : bool
        Whether each lot is a part of the whole position: it belongs to the time at which it was closed.

    Returns
    -------
    polars.DataFrame
        As ``lots``, and sorted as they are. What stays below the dust does not keep a trade open.
    """
    small = own["lot_size"].fill_null(0)
    if dust is not None:
        small = pl.Series([dust], dtype=DECIMAL).new_from_index(0, own.height)
    if by == "order":
        orders = own["order_id"]
        key = [orders.gather(lots["_opening"]).alias("_first"), orders.gather(lots["_closing"]).alias("_last")]
        keyed = lots.with_columns(*key, _rest=pl.lit(Decimal(0), DECIMAL), _inside=pl.lit(True))
        names = ["run_id", "symbol", "direction", "_first", "_last"]
    else:
        keyed = _by_episode(lots, own, _episodes(signed, groups, small), groups, pooled=pooled)
        keyed = keyed.with_columns(_rest=small.gather(lots["_opening"]))
        names = ["run_id", "symbol", "_first"]
    numbered = keyed.with_columns(_group=pl.struct(names).rank("dense").cast(pl.Int64) - 1)
    return _together(numbered)


def _by_episode(
    lots: pl.DataFrame, own: pl.DataFrame, begun: pl.Series, groups: pl.Series, *, pooled: bool
) -> pl.DataFrame:
    """Add the number of the time to which each lot belongs, and whether it was closed within it.

    ``begun`` numbers the fills by what they opened; what the first fill of a time closes is of the time before.
    """
    first = (begun != begun.shift(1)).fill_null(True)
    closed = (begun - first.cast(pl.Int64)).gather(lots["_closing"])
    if not pooled:
        numbered = lots.with_columns(_first=begun.gather(lots["_opening"]))
        return numbered.with_columns(_inside=(closed == pl.col("_first")).fill_null(False))
    latest = pl.DataFrame({"group": groups, "begun": begun}).select(pl.col("begun").last().over("group")).to_series()
    still = closed.is_null()
    number = closed.zip_with(~still, latest.gather(lots["_opening"]))
    places = first.arg_true().gather(number - 1)
    return lots.with_columns(
        own["filled_at"].gather(places).alias("entry_time"),
        own["id"].gather(places).alias("entry_fill_id"),
        _first=number,
        _inside=~still,
    )


def _episodes(signed: Exact, groups: pl.Series, dust: pl.Series) -> pl.Series:
    """Give the fills of each time that a position was not flat one number, from 1."""
    sums = signed.cum_sum()
    first = (groups != groups.shift(1)).fill_null(True)
    # the running sum of each group: less what the groups before it summed up to
    base = sums.gather((first.arg_true().cast(pl.Int64) - 1).clip(0)).where(first.arg_true() > 0)
    after = sums - base.gather(first.cast(pl.Int64).cum_sum() - 1)
    before = after - signed
    flat = (abs(before) - Exact.of(dust)).compare(0) < 0
    flat = flat | (before.compare(0) == 0)
    flips = before.compare(0) * after.compare(0) < 0
    return (flat | flips | first).cast(pl.Int64).cum_sum()


def _together(lots: pl.DataFrame) -> pl.DataFrame:
    count = lots["_group"].n_unique()
    size = Exact.of(lots["quantity"])
    held = size.sum_by(lots["_group"], count)
    left = pl.when("is_open").then("quantity").otherwise(Decimal(0)).sum().over("_group")
    traded = pl.col("_closing").is_not_null().any().over("_group")
    rows = lots.with_columns(is_open=pl.col("is_open") & ((left >= pl.col("_rest")) | ~traded))
    closed = rows["_closing"].is_not_null()

    def mean(name: str, among: pl.Series) -> pl.Series:
        priced = Exact.of(rows[name].fill_null(0)).where(among)
        return (priced * size).sum_by(rows["_group"], count).over(size.where(among).sum_by(rows["_group"], count), name)

    def total(name: str) -> pl.Series:
        return Exact.of(rows[name].fill_null(0)).sum_by(rows["_group"], count).decimal(name)

    rest = Exact.of(rows["fees"].fill_null(0)).where(~closed).sum_by(rows["_group"], count).decimal("rest")
    whole = _heads(rows).with_columns(
        rest,
        held.decimal("quantity"),
        mean("entry_price", pl.Series([True]).new_from_index(0, rows.height)),
        mean("exit_price", closed),
        *(total(name) for name in ("pnl_gross", "pnl_net", "unrealised")),
    )
    return _with_fees(whole, rows).with_columns(
        pl.when(pl.col("no_cost") == 0).then("entry_price").alias("entry_price"),
        pl.when(pl.col("any_closed") & (pl.col("no_exit") == 0)).then("exit_price").alias("exit_price"),
        pl.when(~pl.col("is_open")).then("exit_time").alias("exit_time"),
        pl.when(~pl.col("is_open")).then("exit_fill_id").alias("exit_fill_id"),
        pl.when(~pl.col("no_gross") & pl.col("any_closed")).then("pnl_gross").alias("pnl_gross"),
        # the commission on what stays below the dust has been paid, too
        pl.when(~pl.col("no_net") & ~pl.col("is_open")).then(pl.col("pnl_net") - pl.col("rest")).alias("pnl_net"),
        pl.when(~pl.col("no_value") & pl.col("any_open")).then("unrealised").alias("unrealised"),
        pl.when(~pl.col("is_open")).then(pl.col("exit_time") - pl.col("entry_time")).alias("holding"),
        pl.col("reason").replace("", None),
    )


def _heads(rows: pl.DataFrame) -> pl.DataFrame:
    """Return what each group is, but for its sums; sorted by group."""

    def inside(name: str) -> pl.Expr:
        return pl.col(name).filter("_inside")

    # of a lot that is still open, nothing says yet that its commission is in another currency
    other = pl.col("fee_currency").ne_missing(pl.col("currency")) & (pl.col("fees") != 0)
    foreign = pl.col("_closing").is_null() & (pl.col("fees").is_null() | other)
    firsts: dict[str, Any] = {name: pl.col(name).first() for name in ("run_id", "symbol", "direction", "currency")}
    return (
        rows.group_by("_group")
        .agg(
            **firsts,
            entry_time=pl.col("entry_time").min(),
            exit_time=pl.coalesce(inside("exit_time").max(), pl.col("exit_time").max()),
            is_open=pl.col("is_open").any(),
            entry_fill_id=pl.col("entry_fill_id").first(),
            exit_fill_id=pl.coalesce(inside("exit_fill_id").last(), pl.col("exit_fill_id").drop_nulls().last()),
            lots=pl.len().cast(pl.Int64),
            no_cost=pl.col("entry_price").null_count(),
            no_exit=(pl.col("exit_price").is_null() & pl.col("_closing").is_not_null()).sum(),
            mae=pl.when(pl.len() == 1).then(pl.col("mae").first()),
            mfe=pl.when(pl.len() == 1).then(pl.col("mfe").first()),
            no_gross=(pl.col("pnl_gross").is_null() & pl.col("_closing").is_not_null()).any(),
            no_net=(pl.col("pnl_net").is_null() & pl.col("_closing").is_not_null()).any() | foreign.any(),
            no_value=(pl.col("unrealised").is_null() & pl.col("_closing").is_null()).any(),
            any_closed=pl.col("_closing").is_not_null().any(),
            any_open=pl.col("_closing").is_null().any(),
            reason=pl.col("reason").drop_nulls().unique(maintain_order=True).str.join("; "),
            _row=pl.col("_row").min(),
        )
        .sort("_group")
    )


def _with_fees(whole: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    each = rows.select("_group", fee="fees_by_currency").explode("fee").drop_nulls("fee").unnest("fee")
    sums = each.group_by("_group", "currency").agg(pl.col("amount").sum()).sort("_group", "currency")
    lists = sums.group_by("_group", maintain_order=True).agg(
        fees_by_currency=pl.struct("currency", "amount"),
        fees=pl.when(pl.len() == 1).then(pl.col("amount").first()),
        fee_currency=pl.when(pl.len() == 1).then(pl.col("currency").first()),
    )
    none = pl.col("fees_by_currency").is_null()
    return (
        whole.join(lists, on="_group", how="left", maintain_order="left")
        .with_columns(
            fees=pl.when(none).then(pl.lit(0).cast(DECIMAL)).otherwise("fees"),
        )
        .with_columns(pl.col("fees_by_currency").fill_null([]))
    )
