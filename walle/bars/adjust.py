"""Adjust bars by corporate actions: exact factors, and bars multiplied by them once."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from datetime import timedelta
from fractions import Fraction
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import Any, TypeVar

import polars as pl

from walle.calendars import Calendar
from walle.enums import PRICES
from walle.errors import InputError
from walle.frames import INSTANT
from walle.timeframe import is_calendar, length
from walle.validation import MICROSECOND

__all__ = [
    "ACTIONS",
    "CLOSES",
    "FACTORS",
    "adjusted",
    "close_ends",
    "factors_at",
    "factors_of",
    "is_stale",
    "last_before",
]

ACTIONS = pl.Schema(
    {
        "id": pl.String(),
        "symbol": pl.String(),
        "kind": pl.String(),
        "moment": INSTANT,
        "ratio": pl.Decimal(38, 18),
        "amount": pl.Decimal(38, 18),
        "currency": pl.String(),
    }
)
"""One row is one split or dividend; bars that open before ``moment`` (UTC) are before it. ``ratio`` is null for a
dividend, ``amount`` and ``currency`` for a split."""

CLOSES = pl.Schema(
    {
        "symbol": pl.String(),
        "moment": INSTANT,
        "timestamp": INSTANT,
        "close": pl.Float64(),
        "ended": INSTANT,
    }
)
"""One row is a stored bar that opens before a moment: its opening time, its close as stored, and when it ended."""

FACTORS = pl.Schema({"symbol": pl.String(), "before": INSTANT, "price": pl.Float64(), "volume": pl.Float64()})
"""One row holds the factors of the bars of a symbol that open before ``before`` (UTC), and not before that of the row
above; bars after the last one stay as they are. Sorted by symbol and ``before``; no nulls."""

_WEEK = timedelta(weeks=1)
_AnyFrame = TypeVar("_AnyFrame", pl.DataFrame, pl.LazyFrame)


def factors_of(actions: pl.DataFrame, closes: pl.DataFrame) -> pl.DataFrame:
    """Return the factors by which corporate actions adjust earlier bars.

    Parameters
    ----------
    actions : polars.DataFrame
        Columns of :data:`ACTIONS`, in any order.
    closes : polars.DataFrame
        Columns of :data:`CLOSES`: of each symbol and moment with a dividend, the last bar that had ended by then.
        Where there is none, the dividend adjusts nothing.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`FACTORS`; empty if nothing is adjusted.

        - A split of ``ratio`` new shares for an old one divides earlier prices, and multiplies earlier volumes.
        - Dividends multiply earlier prices by ``1 - dividend / close``, with the close before the ex-date, which is the
          rule of Yahoo Finance. The dividends of one day are added up.
        - A dividend on the day of a split is paid on the shares before it, as in the returns of CRSP; a close that is
          older than an earlier split is divided by its ratio first.

        Each factor is the exact product of those of all later actions, rounded once to the nearest float.

    Raises
    ------
    InputError
        If dividends are not below the close, or a factor is beyond what a float holds.

    Notes
    -----
    Yahoo Finance, "What is the adjusted close?": split and dividend multipliers by the standards of the Center for
    Research in Security Prices. Its example is a dividend of 0.08 at a previous close of 24.96, and a multiplier of
    1 - 0.08 / 24.96 = 0.9968. CRSP, "Data Definitions and Coding Schemes", total return: ``(price x factor +
    dividend) / previous price - 1``, with the dividend of a share as it was at the previous price.
    """
    known = {
        (symbol, moment): (Fraction(repr(close)), ended)
        for symbol, moment, close, ended in closes.select("symbol", "moment", "close", "ended").iter_rows()
    }
    rows: list[tuple[Any, ...]] = []
    ordered = actions.sort("symbol", "moment", "kind", "id").iter_rows(named=True)
    for symbol, own in groupby(ordered, key=itemgetter("symbol")):  # actions are few: a hundred in the life of a stock
        rows.extend(reversed(list(_later_first(symbol, list(own), known))))
    return pl.DataFrame(rows, schema=FACTORS, orient="row")


def _later_first(
    symbol: str, actions: list[dict[str, Any]], known: dict[tuple[str, Any], tuple[Fraction, Any]]
) -> Iterator[tuple[Any, ...]]:
    price = volume = Fraction(1)
    splits = [(each["moment"], Fraction(each["ratio"])) for each in actions if each["kind"] == "split"]
    days = [(moment, list(same)) for moment, same in groupby(actions, key=itemgetter("moment"))]
    for moment, same in reversed(days):
        ratio = math.prod((ratio for at, ratio in splits if at == moment), start=Fraction(1))
        price, volume, paid = price / ratio, volume * ratio, [each for each in same if each["kind"] == "dividend"]
        if paid and (symbol, moment) in known:
            close, ended = known[symbol, moment]
            close /= math.prod((ratio for at, ratio in splits if ended <= at < moment), start=Fraction(1))
            price *= _after_dividends(symbol, paid, close)
        elif ratio == 1:
            continue
        yield symbol, moment, _as_float(symbol, price), _as_float(symbol, volume)


def _after_dividends(symbol: str, paid: list[dict[str, Any]], close: Fraction) -> Fraction:
    """Return ``1 - dividends / close``.

    Raises
    ------
    InputError
    """
    total = sum((Fraction(each["amount"]) for each in paid), start=Fraction(0))
    if total >= close:
        names = " and ".join(repr(each["id"]) for each in paid)
        raise InputError(
            f"the dividend of {symbol} on {paid[0]['moment'].date()} ({names}) is {float(total):.12g}, which is not "
            f"below the close before it, {float(close):.12g}: no factor above 0 adjusts earlier prices. Supersede a "
            "wrong action (store.actions.append(..., supersedes=)), or read with adjust='splits'."
        )
    return 1 - total / close


def _as_float(symbol: str, factor: Fraction) -> float:
    try:
        rounded = float(factor)
    except OverflowError:
        rounded = math.inf
    if not sys.float_info.min <= rounded <= sys.float_info.max:
        raise InputError(
            f"the ratios of the splits of {symbol} multiply to more than a float holds. Supersede the wrong ones "
            "(store.actions.append(..., supersedes=))."
        )
    return rounded


def factors_at(factors: pl.DataFrame, times: pl.Series, name: str) -> pl.Series:
    """Return the factor of one symbol at each opening time.

    Parameters
    ----------
    factors : polars.DataFrame
        Columns of :data:`FACTORS`; those of one symbol.
    times : polars.Series
        Datetime("us", "UTC"), in any order.
    name : {"price", "volume"}

    Returns
    -------
    polars.Series
        Float64; 1 from the last action on, null for null.
    """
    places = factors["before"].search_sorted(times.cast(INSTANT), "right")
    return pl.concat([factors[name], pl.Series([1.0])]).gather(places).set(times.is_null(), None).alias(name)


def adjusted(bars: _AnyFrame, factors: pl.DataFrame, *, symbol: str | None = None) -> _AnyFrame:
    """Multiply prices and volumes by the factor at the opening time of their bar.

    Parameters
    ----------
    bars : polars.DataFrame or polars.LazyFrame
        timestamp (Datetime("us", "UTC")), symbol unless it is given, and any of open, high, low, close and volume
        (Float64); further columns stay as they are.
    factors : polars.DataFrame
        Columns of :data:`FACTORS`, of any symbols.
    symbol : str, optional
        That of all bars, if they have no such column.

    Returns
    -------
    polars.DataFrame or polars.LazyFrame
        The bars in their order, with the same columns. Null stays null.
    """
    own = factors if symbol is None else factors.filter(pl.col("symbol") == symbol)
    if own.is_empty():
        return bars
    names = bars.collect_schema().names()
    key = pl.struct("symbol", "timestamp") if symbol is None else pl.col("timestamp")
    kinds = {name: "price" for name in PRICES if name in names}
    if "volume" in names and (own["volume"] != 1).any():
        kinds["volume"] = "volume"
    needed = {
        f"{kind} factor": key.map_batches(
            partial(_looked_up, own, symbol is None, kind), return_dtype=pl.Float64(), is_elementwise=True
        )
        for kind in dict.fromkeys(kinds.values())
    }
    products = [pl.col(name) * pl.col(f"{kind} factor") for name, kind in kinds.items()]
    return bars.with_columns(**needed).with_columns(products).select(names)


def _looked_up(factors: pl.DataFrame, several: bool, kind: str, keys: pl.Series) -> pl.Series:
    if not several:
        return factors_at(factors, keys, kind)
    asked = keys.struct.unnest().with_row_index("place")
    found = pl.Series([1.0], dtype=pl.Float64).new_from_index(0, asked.height)
    affected = asked.filter(pl.col("symbol").is_in(factors["symbol"].implode()))
    parts = factors.partition_by("symbol", as_dict=True)
    for (name,), rows in affected.partition_by("symbol", as_dict=True).items():
        found = found.scatter(rows["place"], factors_at(parts[name,], rows["timestamp"], kind))
    return found


def last_before(bars: pl.DataFrame, moments: pl.DataFrame, count: int) -> pl.DataFrame:
    """Return the last bars that open before each of some moments.

    Parameters
    ----------
    bars : polars.DataFrame
        symbol, timestamp (Datetime("us", "UTC")), close (Float64); sorted by symbol and timestamp.
    moments : polars.DataFrame
        symbol, moment (Datetime("us", "UTC")).
    count : int
        So many bars of each.

    Returns
    -------
    polars.DataFrame
        symbol, moment, timestamp, close; sorted by symbol and moment, the latest bar of each first.
    """
    placed = bars.select("symbol", "timestamp", place=pl.int_range(pl.len(), dtype=pl.Int64))
    found = moments.sort("symbol", "moment").join_asof(
        placed,
        left_on="moment",
        right_on="timestamp",
        by="symbol",
        strategy="backward",
        allow_exact_matches=False,
        check_sortedness=False,  # within a symbol they are
    )
    steps = found.drop_nulls("place").join(pl.DataFrame({"step": range(count)}), how="cross")
    steps = steps.with_columns(place=pl.col("place") - pl.col("step")).filter(pl.col("place") >= 0)
    own = bars[steps["place"]].select(pl.col("symbol").alias("whose"), "timestamp", "close")
    return steps.select("symbol", "moment").hstack(own).filter(pl.col("whose") == pl.col("symbol")).drop("whose")


def close_ends(bars: pl.DataFrame, timeframe: str, calendars: dict[str, Calendar]) -> pl.Series:
    """Return when bars ended that open before a moment: by then, or after it.

    Parameters
    ----------
    bars : polars.DataFrame
        symbol, moment, timestamp (Datetime("us", "UTC")).
    timeframe : str
    calendars : mapping of symbol to Calendar
        An intraday bar had ended if the market was closed just before the moment.

    Returns
    -------
    polars.Series
        Datetime("us", "UTC"): the opening time plus the timeframe, or the moment, if that came first and the bar had
        ended.
    """
    opens, moments = bars["timestamp"], bars["moment"]
    ends = opens.dt.offset_by(timeframe.replace("M", "mo")) if timeframe.endswith("M") else opens + length(timeframe)
    across = (ends > moments).arg_true()
    if is_calendar(timeframe) or across.is_empty():
        return ends.alias("ended")
    asked = bars[across].select("symbol", "moment").iter_rows()
    closed = [not calendars[symbol].is_open(pl.Series([at - MICROSECOND], dtype=INSTANT))[0] for symbol, at in asked]
    ended = across.filter(pl.Series(closed, dtype=pl.Boolean))
    return ends.scatter(ended, moments.gather(ended)).alias("ended")


def is_stale(close: dict[str, Any], timeframe: str, market: Calendar) -> bool:
    """Return whether a close is older than the last session before its moment.

    Parameters
    ----------
    close : dict
        A row of :data:`CLOSES`.
    timeframe : str
    market : Calendar

    Returns
    -------
    bool
        Whether a session lies between the bar and the moment; of bars that hold several sessions, or where the calendar
        is 24/7 or 24/5 (which say nothing of a market's holidays), whether a week and a whole bar do.
    """
    opened, ended, moment = close["timestamp"], close["ended"], close["moment"]
    if market.continuous or length(timeframe) > timedelta(days=1):
        return bool(moment - ended > max(_WEEK, length(timeframe)))
    dates = is_calendar(timeframe)
    sessions = market.known(*(int(pl.Series([at], dtype=INSTANT).to_physical()[0]) for at in (opened, moment)))
    if dates:
        date = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return not sessions.filter(date >= ended, date < moment).is_empty()
    return not sessions.filter(pl.col("open") > opened, pl.col("close") <= moment).is_empty()
