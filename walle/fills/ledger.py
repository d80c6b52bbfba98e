"""The ledger of a run: what every fill, fee, cash flow and corporate action put into its holdings, and took out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from walle.errors import InputError
from walle.exact import Exact
from walle.fills.holdings import HELD, with_holdings
from walle.fills.matching import Matches, match_lots
from walle.frames import DECIMAL, FILL_ORDER, INSTANT
from walle.instruments import own_fills
from walle.interop import bought

__all__ = ["LEDGER", "Books", "Cash", "books_of", "in_doubt", "ledger"]

LEDGER = pl.Schema(
    {
        "sequence": pl.Int64(),
        "time": INSTANT,
        "asset": pl.String(),
        "amount": DECIMAL,
        "kind": pl.String(),
        "book": pl.String(),
        "symbol": pl.String(),
        "fill_id": pl.String(),
        "order_id": pl.String(),
        "cash_flow_id": pl.String(),
        "action_id": pl.String(),
    }
)
"""One row is one entry: ``amount`` of ``asset`` came in (above 0) or went out.

- book: ``cash`` (the asset is a currency, null if it is unknown) or ``position`` (it is what ``symbol`` names: the base
  of a pair, a stock, a contract).
- kind: ``trade``; ``fee`` (``rebate`` above 0); ``realised``, the profit of contracts that a fill closed; ``split``;
  or that of a cash flow (:class:`walle.CashFlowKind`). ``opening`` is the starting cash, too.
- sequence: from 1, in the order of the entries."""

Cash = Mapping[str | None, Decimal]
"""Starting cash by currency; None for the unknown currency of a run."""

_RANKS = {"opening": 0, "action": 1, "flow": 2, "fill": 3}
_FLOWS = pl.Schema(
    {
        **{name: pl.String() for name in ("id", "kind", "currency", "symbol", "action_id")},
        "time": INSTANT,
        "amount": DECIMAL,
    }
)
_PLACED = pl.Schema({**LEDGER, "rank": pl.Int64(), "place": pl.Int64(), "step": pl.Int64()})


@dataclass(frozen=True, slots=True)
class Books:
    """The entries of a run, and the fills that they stand for.

    Parameters
    ----------
    entries : polars.DataFrame
        Columns of :data:`LEDGER`.
    fills : polars.DataFrame
        The fills in their order, with the facts of :func:`walle.instruments.own_fills`.
    signed : Exact
        What each fill added to its position, before its fee.
    """

    entries: pl.DataFrame
    fills: pl.DataFrame
    signed: Exact


def ledger(
    fills: pl.DataFrame,
    facts: pl.DataFrame,
    *,
    starting_cash: Cash | None = None,
    flows: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    prices: str | None = None,
) -> pl.DataFrame:
    """Write down what a run did to its holdings, entry by entry.

    Parameters
    ----------
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`; those of one run.
    facts : polars.DataFrame
        Columns of :data:`walle.instruments.FACTS`.
    starting_cash : mapping of currency to Decimal, optional
    flows : polars.DataFrame, optional
        Cash flows: id, time, kind, amount, currency, symbol, action_id.
    actions : polars.DataFrame, optional
        Corporate actions: id, symbol, kind, ratio, amount, currency, and ``effective``, the instant from which on they
        count; ``versions`` (list of texts) are the ids of an action and of what it superseded.
    prices : str, optional
        What the prices of the run are adjusted for: ``raw``, ``splits``, ``all``; None: unknown. Only actions that
        these leave out are entered.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`LEDGER`, in the order of time; at one instant, actions and cash flows come before fills.

        - A fill of what is no contract exchanges: quantity against ``quantity x price x multiplier`` of the currency.
        - A fill of a future or perpetual opens or closes a position; each part that it closes (first in, first out)
          realises ``quantity x multiplier x (exit - entry)`` in the settlement currency, with the opposite sign for a
          short; of an inverse contract ``quantity x multiplier x (1 / entry - 1 / exit)``.
        - A fee leaves the holding of its own currency: the position, where that is the base of the pair.
        - A cash flow in the base of the one symbol that trades it, or in a symbol itself, changes the position: coins
          that are transferred, shares with which an account opens (:func:`walle.fills.holdings.with_holdings`).
        - A split adds ``held x (ratio - 1)`` to the position. A dividend is paid on what was held before; a cash flow
          with its ``action_id`` stands in its place.

        Each amount is rounded once, half-even at 18 places; all sums are sums of these amounts.

    Raises
    ------
    InputError
        If an action lies inside the run, and it is not known what its prices are adjusted for.
    """
    doubt = in_doubt(fills, actions, prices)
    if doubt.height:
        row = doubt.row(0, named=True)
        raise InputError(
            f"a {row['kind']} of {row['symbol']} ({row['id']!r}) lies inside the run, which does not say on which "
            "prices it traded. Save it with prices='raw', 'splits' or 'all'."
        )
    return books_of(fills, facts, starting_cash=starting_cash, flows=flows, actions=actions, prices=prices).entries


def in_doubt(fills: pl.DataFrame, actions: pl.DataFrame | None, prices: str | None) -> pl.DataFrame:
    """Return the actions at which their symbol was held, if it is unknown what prices are adjusted for."""
    if actions is None or prices is not None or actions.is_empty():
        return pl.DataFrame() if actions is None else actions.clear()
    signed = pl.when(pl.col("side") == "sell").then(-pl.col("quantity")).otherwise("quantity")
    moved = fills.drop_nulls("symbol").select("symbol", "filled_at", signed.alias("signed"))
    held = []
    for symbol, effective in actions.select("symbol", "effective").iter_rows():
        before = moved.filter((pl.col("symbol") == symbol) & (pl.col("filled_at") < effective))
        held.append(bool(before["signed"].sum()))
    return actions.filter(pl.Series(held, dtype=pl.Boolean))


def books_of(
    fills: pl.DataFrame,
    facts: pl.DataFrame,
    *,
    starting_cash: Cash | None = None,
    flows: pl.DataFrame | None = None,
    actions: pl.DataFrame | None = None,
    prices: str | None = None,
) -> Books:
    """Return the entries with the fills that they stand for; an action in doubt is left out.

    See :func:`ledger`.
    """
    own = own_fills(fills.sort(*FILL_ORDER), facts)
    flows = with_holdings(pl.DataFrame(schema=_FLOWS) if flows is None else flows, facts)
    size, buys = Exact.of(own["quantity"]), bought(own)
    signed = size.where(buys) - size.where(~buys)
    position = signed - Exact.of(own["commission"].fill_null(0)).where(own["in_base"])
    parts = [
        pl.DataFrame(schema=_PLACED),
        *_of_trades(own, signed),
        _of_fees(own),
        _of_flows(flows),
        *_of_actions(own, position, actions, flows, prices),
    ]
    first = min((part["time"].min() for part in parts if part.height), default=None)  # type: ignore[type-var]  # times
    if first is not None:
        parts.append(_opening(starting_cash or {}, first))
    entries = pl.concat(parts, how="diagonal_relaxed").sort("time", "rank", "place", "step", maintain_order=True)
    numbered = entries.with_columns(sequence=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    return Books(numbered.select(pl.col(name).cast(kind) for name, kind in LEDGER.items()), own, signed)


def _entries(
    own: pl.DataFrame, kind: str | pl.Expr, book: str | pl.Expr, asset: pl.Expr, amount: pl.Series, step: int
) -> pl.DataFrame:
    """Return an entry of each fill, without those of 0."""
    return (
        own.with_row_index("place")
        .with_columns(amount.alias("amount"))
        .select(
            pl.lit(_RANKS["fill"]).alias("rank"),
            pl.col("place").cast(pl.Int64),
            pl.lit(step).alias("step"),
            time="filled_at",
            asset=asset,
            amount="amount",
            kind=pl.lit(kind) if isinstance(kind, str) else kind,
            book=pl.lit(book) if isinstance(book, str) else book,
            symbol="symbol",
            fill_id="id",
            order_id="order_id",
        )
        .filter(pl.col("amount") != 0)
    )


def _of_trades(own: pl.DataFrame, signed: Exact) -> list[pl.DataFrame]:
    worth = signed * Exact.of(own["price"]) * Exact.of(own["multiplier"])
    paid = (-worth).where(~own["derivative"]).decimal("amount")
    return [
        _entries(own, "trade", "position", HELD, signed.decimal("amount"), 0),
        _entries(own, "trade", "cash", pl.col("settle"), paid, 1),
        _realised(own, signed),
    ]


def _realised(own: pl.DataFrame, signed: Exact) -> pl.DataFrame:
    """Return an entry for each part of a position in contracts that a fill closed."""
    pairs, rows = pairs_of_contracts(own, signed)
    closed = pl.Series([last is not None for last in pairs.closing], dtype=pl.Boolean)
    opening = rows.gather(pl.Series(pairs.opening, dtype=pl.Int64).filter(closed))
    closing = rows.gather(pl.Series([last for last in pairs.closing if last is not None], dtype=pl.Int64))
    amount = Exact(pairs.amount, signed.places).narrowed().filter(closed)
    gained = gains(own, opening, closing, amount, signed.compare(0).gather(opening) > 0)
    entries = own[closing]
    place = closing.cast(pl.Int64).alias("place")
    return (
        _entries(entries, "realised", "cash", pl.col("settle"), gained, 2)
        .drop("place")
        .with_columns(place.filter(gained != 0))
    )


def pairs_of_contracts(own: pl.DataFrame, signed: Exact) -> tuple[Matches, pl.Series]:
    """Match the fills of contracts; return the pairs, and the number of each matched fill in ``own``."""
    rows = own["derivative"].arg_true().cast(pl.Int64)
    ordered = pl.DataFrame({"row": rows, "symbol": own["symbol"].gather(rows)}).sort("symbol", "row")
    groups = ordered.select(pl.col("symbol").rle_id()).to_series()
    return match_lots(signed.gather(ordered["row"]), groups), ordered["row"]


def gains(own: pl.DataFrame, opening: pl.Series, closing: pl.Series, amount: Exact, long: pl.Series) -> pl.Series:
    """Return what amounts of contracts gained between two fills, rounded half-even at 18 places."""
    price, inverse = Exact.of(own["price"]), own["inverse"].gather(opening)
    entry, leave = price.gather(opening), price.gather(closing)
    moved = (leave - entry) * amount * Exact.of(own["multiplier"]).gather(opening)
    moved = moved.where(long) - moved.where(~long)
    linear = moved.where(~inverse).decimal("amount")
    if not inverse.any():
        return linear
    return moved.where(inverse).over(entry * leave, "amount").zip_with(inverse, linear)


def _of_fees(own: pl.DataFrame) -> pl.DataFrame:
    paid = (-Exact.of(own["commission"].fill_null(0))).decimal("amount")
    kind = pl.when(pl.col("amount") > 0).then(pl.lit("rebate")).otherwise(pl.lit("fee"))
    asset = pl.when("in_base").then("base").otherwise("fee_in")
    book = pl.when("in_base").then(pl.lit("position")).otherwise(pl.lit("cash"))
    return _entries(own, kind, book, asset, paid, 3)


def _of_flows(flows: pl.DataFrame) -> pl.DataFrame:
    if flows.is_empty():
        return pl.DataFrame(schema=_PLACED)
    return flows.select(
        pl.lit(_RANKS["flow"]).alias("rank"),
        pl.int_range(pl.len(), dtype=pl.Int64).alias("place"),
        pl.lit(0).alias("step"),
        "time",
        "amount",
        "kind",
        "action_id",
        symbol=pl.coalesce("holding", "symbol"),
        asset="currency",
        book=pl.when(pl.col("holding").is_null()).then(pl.lit("cash")).otherwise(pl.lit("position")),
        cash_flow_id="id",
    )


def _of_actions(
    own: pl.DataFrame, position: Exact, actions: pl.DataFrame | None, flows: pl.DataFrame, prices: str | None
) -> list[pl.DataFrame]:
    if actions is None or prices not in ("raw", "splits"):
        return []
    linked = flows["action_id"].drop_nulls().to_list()
    versions = pl.col("versions") if "versions" in actions.columns else pl.concat_list("id")
    wanted = actions.filter(versions.list.set_intersection(linked).list.len() == 0) if linked else actions
    wanted = wanted.filter(pl.col("kind") == "dividend") if prices == "splits" else wanted
    found = []
    for symbol in wanted["symbol"].unique().sort().to_list():
        mine = own["symbol"] == symbol
        if not mine.any():
            continue
        held, times = _positions(own, position, mine, flows.filter(holding=symbol))
        base, added = own.filter(mine).select(HELD).item(0, 0), Decimal(0)
        # each split scales what the splits before it left, so this needs a loop
        for place, row in enumerate(wanted.filter(symbol=symbol).sort("effective", "kind").iter_rows(named=True)):
            seen = times.search_sorted(row["effective"], "left")
            before = held.gather(pl.Series([seen - 1])).decimal()[0] if seen else Decimal(0)
            before, split = before + added, row["kind"] == "split"
            exact = Exact.constant(before, 1) * Exact.constant(row["ratio"] - 1 if split else row["amount"], 1)
            amount = exact.over(_shares(actions, row) if prices == "splits" else 1, "amount")
            added += amount[0] if split else 0
            found.append(
                pl.DataFrame(
                    {
                        "rank": [_RANKS["action"]],
                        "place": pl.Series([place], dtype=pl.Int64),
                        "step": [0],
                        "time": pl.Series([row["effective"]], dtype=INSTANT),
                        "asset": [base if split else row["currency"]],
                        "amount": amount,
                        "kind": [row["kind"]],
                        "book": ["position" if split else "cash"],
                        "symbol": [symbol],
                        "action_id": [row["id"]],
                    }
                ).filter(pl.col("amount") != 0)
            )
    return found


def _positions(own: pl.DataFrame, position: Exact, mine: pl.Series, flows: pl.DataFrame) -> tuple[Exact, pl.Series]:
    """Return what is held of a symbol after each fill and flow, and their times."""
    moved, times = position.filter(mine), own["filled_at"].filter(mine)
    if flows.is_empty():
        return moved.cum_sum(), times
    steps = pl.DataFrame(
        {
            "time": pl.concat([flows["time"].cast(times.dtype), times]),
            "amount": pl.concat([flows["amount"].cast(DECIMAL), moved.decimal()]),
        }
    ).sort("time", maintain_order=True)
    return Exact.of(steps["amount"]).cum_sum(), steps["time"]


def _shares(actions: pl.DataFrame, dividend: dict[str, Any]) -> Fraction:
    """Return how many units of adjusted prices a share was at a dividend: the product of the later ratios."""
    later = actions.filter(
        (pl.col("kind") == "split")
        & (pl.col("symbol") == dividend["symbol"])
        & (pl.col("effective") > dividend["effective"])
    )
    return math.prod((Fraction(ratio) for ratio in later["ratio"]), start=Fraction(1))


def _opening(starting_cash: Cash, time: object) -> pl.DataFrame:
    held = {name: amount for name, amount in starting_cash.items() if amount}
    return pl.DataFrame(
        {
            "rank": pl.Series([_RANKS["opening"]] * len(held), dtype=pl.Int32),
            "place": pl.Series(range(len(held)), dtype=pl.Int64),
            "step": pl.Series([0] * len(held), dtype=pl.Int32),
            "time": pl.Series([time] * len(held), dtype=INSTANT),
            "asset": pl.Series(list(held), dtype=pl.String),
            "amount": pl.Series([str(amount) for amount in held.values()], dtype=pl.String).cast(DECIMAL),
            "kind": ["opening"] * len(held),
            "book": ["cash"] * len(held),
        },
        schema_overrides={"kind": pl.String(), "book": pl.String()},
    )
