"""The equity of many runs over the same bars, reckoned at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import polars as pl

from walle.exact import Exact
from walle.fills.market import Market, Markets
from walle.frames import DECIMAL, FILL_ORDER, INSTANT
from walle.instruments import own_fills
from walle.interop import bought

__all__ = ["EQUITIES", "Account", "are_plain", "equities"]

EQUITIES = pl.Schema(
    {
        "time": INSTANT,
        "equity": DECIMAL,
        "fills": pl.Int64(),
        "foreign_fees": pl.Int64(),
        "unmarked": pl.List(pl.String()),
    }
)
"""The columns of the equity that metrics are made of, as in :data:`walle.fills.equity.EQUITY`."""

_TAKEN = ("symbol", "side", "price", "quantity", "commission", *FILL_ORDER)

ROWS = 2_000_000
"""How many rows are reckoned at once."""


@dataclass(frozen=True, slots=True)
class Account:
    """A run: its fills in order, the bars of their symbols within its time, and what it started with."""

    fills: pl.DataFrame
    markets: Markets
    cash: Fraction

    def times(self) -> pl.Series:
        """Return the times of its rows: the ends of bars, and of the gaps between them."""
        every = [pl.Series(dtype=INSTANT)]
        for market in self.markets.values():
            every += [market.ends(), market.gaps["end"]]
        return pl.concat(every).unique().sort().alias("time")


def are_plain(fills: Sequence[pl.DataFrame], currencies: Sequence[str | None], facts: pl.DataFrame) -> list[bool]:
    """Return whether the fills of each run only exchange one currency for what they buy, and pay their fees in it."""
    names = pl.DataFrame({"currency": currencies}, schema={"currency": pl.String()}).with_row_index("run")
    every = pl.concat(
        part.select("symbol", "commission", "commission_currency").with_columns(run=pl.lit(number, pl.UInt32))
        for number, part in enumerate(fills)
    ).join(names, on="run", how="left", maintain_order="left")
    free = pl.col("commission").fill_null(0) == 0
    alike = (pl.col("settle") == pl.col("currency")) & (free | (pl.col("fee_in") == pl.col("currency")))
    simple = (
        pl.col("symbol").is_not_null()
        & ~pl.col("derivative")
        & (pl.col("multiplier") == 1)
        & (free | ~pl.col("in_base"))
    )
    plain = own_fills(every, facts).group_by("run").agg(plain=(alike & simple).fill_null(False).all())
    known = dict(plain.iter_rows())
    return [known.get(number, False) for number in range(len(fills))]


def equities(accounts: Sequence[Account], whole: Markets) -> list[pl.DataFrame]:
    """Mark plain runs to the market at the close of every bar.

    Parameters
    ----------
    accounts : sequence of Account
        Those for which :func:`are_plain` holds.
    whole : mapping of symbol to Market
        All bars of which the accounts have parts.

    Returns
    -------
    list of polars.DataFrame
        Columns of :data:`EQUITIES`: for each account what :func:`walle.fills.equity.equity` gives.
    """
    shared: dict[tuple[int, ...], pl.Series] = {}
    found: list[pl.DataFrame] = []
    some: list[Account] = []
    times: list[pl.Series] = []
    height = 0
    for account in accounts:
        kind = tuple(id(market) for market in account.markets.values())
        if kind not in shared:
            shared[kind] = account.times()
        some.append(account)
        times.append(shared[kind])
        height += shared[kind].len()
        if height >= ROWS:
            found += _reckoned(some, times, whole)
            some, times, height = [], [], 0
    return found + _reckoned(some, times, whole) if some else found


def _reckoned(accounts: Sequence[Account], times: Sequence[pl.Series], whole: Markets) -> list[pl.DataFrame]:
    counts = [part.len() for part in times]
    if not sum(counts):
        return [pl.DataFrame(schema=EQUITIES) for _ in accounts]
    distinct = {id(part): part for part in times}
    moments = pl.concat(distinct.values()).unique().sort()
    places = {name: moments.search_sorted(part, "left").cast(pl.Int64) for name, part in distinct.items()}
    rows = _Rows(
        pl.Series(range(len(accounts)), dtype=pl.Int64).gather(_repeated(counts)),
        pl.concat(places[id(part)] for part in times),
        moments,
    )
    fills = pl.concat(
        account.fills.select(
            "symbol", "side", "price", "quantity", "commission", "filled_at", "sequence", "id"
        ).with_columns(run=pl.lit(number, pl.Int64))
        for number, account in enumerate(accounts)
    ).sort("run", *FILL_ORDER, maintain_order=True)
    size, buys = Exact.of(fills["quantity"]), bought(fills)
    signed = size.where(buys) - size.where(~buys)
    spent = -(signed * Exact.of(fills["price"])) - Exact.of(fills["commission"].fill_null(0))
    seen, total = rows.so_far(spent, fills)
    cash = total + _constants([account.cash for account in accounts]).gather(rows.run)
    value = Exact.constant(0, rows.run.len())
    unmarked = pl.Series("unmarked", [[]], dtype=EQUITIES["unmarked"]).new_from_index(0, rows.run.len())
    for symbol in fills["symbol"].unique().sort():
        mine = fills["symbol"] == symbol
        _, held = rows.so_far(signed.filter(mine), fills.filter(mine))
        price, stale = _price(rows, whole.get(symbol), [account.markets.get(symbol) for account in accounts])
        value = value + held * Exact.of(price.fill_null(0))
        missing = stale & (held.compare(0) != 0)
        if missing.any():
            named, none = pl.lit([symbol], unmarked.dtype), pl.lit([], unmarked.dtype)
            listed = pl.concat_list(unmarked, pl.when(missing).then(named).otherwise(none))
            unmarked = pl.select(listed.alias("unmarked")).to_series()
    frame = pl.DataFrame(
        {
            "time": moments.gather(rows.place),
            "equity": (cash + value).decimal().set(unmarked.list.len() > 0, None),
            "fills": seen,
            "foreign_fees": pl.Series([0], dtype=pl.Int64).new_from_index(0, rows.run.len()),
            "unmarked": unmarked,
        },
        schema=EQUITIES,
    )
    starts = pl.Series(counts).cum_sum() - pl.Series(counts)
    return [frame.slice(start, count) for start, count in zip(starts, counts, strict=True)]


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of accounts: the number of each one's account, and the place of its time among all times."""

    run: pl.Series
    place: pl.Series
    moments: pl.Series

    def so_far(self, values: Exact, fills: pl.DataFrame) -> tuple[pl.Series, Exact]:
        """Return, for each row, the number and the sum of the values of the fills of its account before its time."""
        width = self.moments.len() + 1
        after = self.moments.search_sorted(fills["filled_at"], "right").cast(pl.Int64)
        keys = fills["run"] * width + after
        upto = keys.search_sorted(self.run * width + self.place, "right").cast(pl.Int64)
        before = keys.search_sorted(self.run * width, "left").cast(pl.Int64)
        if fills.is_empty():
            return upto, Exact.constant(0, upto.len())
        sums = values.cum_sum()
        ends = (sums.gather((place - 1).clip(0)).where(place > 0) for place in (upto, before))
        last, first = ends
        return upto - before, last - first


def _price(rows: _Rows, market: Market | None, parts: Iterable[Market | None]) -> tuple[pl.Series, pl.Series]:
    """Return the last close of a symbol for each row, and whether it is outdated; before its own bars it has none."""
    if market is None or market.bars.is_empty():
        nothing = pl.Series([None], dtype=DECIMAL).new_from_index(0, rows.run.len())
        return nothing, nothing.is_null()
    price, stale = market.last_close(rows.moments)
    opened = market.bars["timestamp"].gather(market.before(rows.moments))
    firsts = [None if part is None or part.bars.is_empty() else part.bars["timestamp"][0] for part in parts]
    begun = opened.gather(rows.place) >= pl.Series(firsts, dtype=INSTANT).gather(rows.run)
    unknown = ~begun.fill_null(False)
    return price.gather(rows.place).set(unknown, None), stale.gather(rows.place) | unknown


def _repeated(counts: Sequence[int]) -> pl.Series:
    """Repeat each number from 0 on as often as its count says."""
    frame = pl.DataFrame({"number": range(len(counts)), "count": counts})
    return frame.select(pl.col("number").repeat_by("count").explode(empty_as_null=False)).to_series()


def _constants(values: Sequence[Fraction]) -> Exact:
    """Return numbers as an exact column."""
    parts = [Exact.constant(value, 1) for value in values]
    places = max(part.places for part in parts)
    units = [part.units()[0] * 10 ** (places - part.places) for part in parts]
    return Exact(units, places).narrowed()
