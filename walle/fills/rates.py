"""Exchange rates: what an amount of one currency was in another one, by stored bars or by a frame of rates."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from walle.errors import InputError
from walle.exact import Exact, shortest
from walle.fills.market import Market
from walle.frames import DECIMAL, INSTANT
from walle.instruments import own_fills, said_by_symbols, worth

__all__ = [
    "RATES",
    "Rate",
    "Step",
    "convert_curves",
    "convert_fees",
    "convert_trades",
    "notional_in",
    "rates_of_frame",
    "steps_between",
]

RATES = pl.Schema({"time": INSTANT, "currency": pl.String(), "rate": DECIMAL})
"""One row: from ``time`` on, one unit of ``currency`` is worth ``rate`` units of the currency that is asked for."""

Step = tuple[str, bool]
"""A pair of currencies that has bars, and whether its price is divided by."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The way from one currency to another: over one pair of currencies, over two, or by a frame.

    Parameters
    ----------
    source : str
        Where it comes from, such as ``BNB/USDT 1m``.
    steps : sequence of (Market, bool)
        The bars of each pair, and whether its price is divided by.
    given : polars.DataFrame, optional
        time, rate; sorted by time. It stands in the place of steps.
    """

    source: str
    steps: Sequence[tuple[Market, bool]] = ()
    given: pl.DataFrame | None = None

    def convert(self, amounts: pl.Series, times: pl.Series) -> pl.Series:
        """Return amounts in the other currency: Decimal(38, 18), rounded once; null where there is no rate.

        A rate is the close of the last bar that had ended at that time. It counts while no bar is missing since then.
        """
        above, below, unknown = Exact.of(amounts.fill_null(0)), Exact.constant(1, amounts.len()), amounts.is_null()
        if self.given is not None:
            asked = pl.DataFrame({"time": times}).with_row_index("place").sort("time")
            joined = asked.join_asof(self.given, on="time", strategy="backward").sort("place")
            price = joined["rate"]
            return (above * Exact.of(price.fill_null(0))).decimal(amounts.name).set(unknown | price.is_null(), None)
        for market, divides in self.steps:
            price, outdated = market.last_close(times)
            unknown = unknown | outdated | price.is_null() | (price <= 0).fill_null(True)
            factor = Exact.of(price.fill_null(1))
            above, below = (above, below * factor) if divides else (above * factor, below)
        return above.over(below, amounts.name).set(unknown, None)


def steps_between(one: str, other: str, symbols: pl.Series) -> list[Step] | None:
    """Return how one currency becomes another by the prices of pairs: directly, inversely, or over a third currency.

    Parameters
    ----------
    one, other : str
    symbols : polars.Series
        The symbols that have bars.

    Returns
    -------
    list of (symbol, bool) or None
        None if there is no way.
    """
    pairs = said_by_symbols(symbols.unique().sort()).filter(kind="spot")
    ways: dict[str, dict[str, Step]] = {}
    for symbol, base, quote in pairs.select("symbol", "base", "quote").iter_rows():
        ways.setdefault(base, {})[quote] = (symbol, False)
        ways.setdefault(quote, {}).setdefault(base, (symbol, True))
    if other in ways.get(one, {}):
        return [ways[one][other]]
    third = next((name for name in sorted(ways.get(one, {})) if other in ways.get(name, {})), None)
    return None if third is None else [ways[one][third], ways[third][other]]


def rates_of_frame(frame: pl.DataFrame) -> dict[str, Rate]:
    """Return the rates of a frame, by currency.

    Parameters
    ----------
    frame : polars.DataFrame
        Columns of :data:`RATES`; a time may also be of another unit or zone or a date (its 00:00 UTC), and a rate of
        another exact type or Float64, which counts as its shortest text.

    Raises
    ------
    InputError
        If columns are missing or of other types, a rate is not above 0, or there are two for one time and currency.
    """
    if not isinstance(frame, pl.DataFrame):
        kind = type(frame)
        named = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__.split('.')[0]}.{kind.__name__}"
        raise InputError(f"rates= is a {named}; give a Polars frame of {', '.join(RATES)}.")
    if lacking := [name for name in RATES if name not in frame.columns]:
        raise InputError(f"the frame of rates has no column {lacking[0]!r}; it needs {', '.join(RATES)}.")
    time, currency, rate = (frame[name] for name in RATES)
    if time.dtype == pl.Date:
        time = time.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if not isinstance(time.dtype, pl.Datetime) or time.dtype.time_zone is None:
        raise InputError(f"the times of the rates are {time.dtype}; give dates, or times with their time zone.")
    if currency.dtype != pl.String or not rate.dtype.is_numeric():
        kinds = f"currency {currency.dtype} and rate {rate.dtype}"
        raise InputError(f"the frame of rates has {kinds}; give the codes as text, and numbers.")
    rate = shortest(rate.cast(pl.Float64)) if rate.dtype.is_float() else rate.cast(DECIMAL)
    frame = pl.DataFrame([time.dt.convert_time_zone("UTC").cast(INSTANT), currency, rate])
    if any(frame.null_count().row(0)) or (frame["rate"] <= 0).any():
        raise InputError("the frame of rates has a null, or a rate that is not a number above 0.")
    if frame.select("time", "currency").is_duplicated().any():
        twice = frame.filter(frame.select("time", "currency").is_duplicated()).row(0, named=True)
        raise InputError(
            f"the frame of rates has several rates of {twice['currency']} at {twice['time']:%Y-%m-%dT%H:%M}."
        )
    parts = frame.sort("time").partition_by("currency", as_dict=True, include_key=False)
    return {str(name): Rate("the frame of rates", given=part) for (name,), part in parts.items()}


def convert_fees(
    fills: pl.DataFrame,
    facts: pl.DataFrame,
    rates: Mapping[str, Rate],
    currency: str,
    held: Collection[str | None] | None = None,
) -> pl.DataFrame:
    """Return fills whose commissions are in the currency that is asked for, where their rate at the time is known.

    A commission in the base of its own symbol is left.

    Parameters
    ----------
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`.
    facts : polars.DataFrame
        Columns of :data:`walle.instruments.FACTS`.
    rates : mapping of currency to Rate
    currency : str
    held : collection of str, optional
        Currencies that are held beside: what leaves their holdings is left, and so are fills of symbols that settle in
        another currency. None: all commissions are converted.
    """
    own = own_fills(fills, facts)
    for name, rate in rates.items():
        foreign = (own["fee_in"] == name) & ~own["in_base"]
        if held is not None:
            foreign = foreign & (own["settle"] == currency) & (name not in held)
        foreign = (foreign & (own["commission"].fill_null(0) != 0)).fill_null(False)
        if name != currency and foreign.any():
            paid = rate.convert(own["commission"].set(~foreign, Decimal(0)), own["filled_at"])
            known = foreign & paid.is_not_null()
            fills = fills.with_columns(
                commission=paid.zip_with(known, fills["commission"]),
                commission_currency=fills["commission_currency"].set(known, currency),
            )
            own = own_fills(fills, facts)
    return fills


def notional_in(fills: pl.DataFrame, facts: pl.DataFrame, rates: Mapping[str, Rate], currency: str) -> pl.Series:
    """Return what each fill bought or sold, in one currency, at the rate of its time.

    Parameters
    ----------
    fills : polars.DataFrame
        Columns of :data:`walle.frames.FILLS`.
    facts : polars.DataFrame
        Columns of :data:`walle.instruments.FACTS`.
    rates : mapping of currency to Rate
    currency : str

    Returns
    -------
    polars.Series
        notional: Decimal(38, 18), at least 0; null where no rate is known.
    """
    own = own_fills(fills, facts)
    value = abs(worth(Exact.of(own["price"]), Exact.of(own["quantity"]), own)).decimal("notional")
    return _converted(value, own["settle"], own["filled_at"], rates, currency).alias("notional")


def _converted(
    amounts: pl.Series, names: pl.Series, times: pl.Series, rates: Mapping[str, Rate], currency: str
) -> pl.Series:
    """Return amounts of several currencies in one, each at its own time; null without a rate, but for 0."""
    found = amounts.set((names != currency).fill_null(True) & (amounts != 0).fill_null(True), None)
    for name in names.drop_nulls().unique():
        if name in rates and name != currency:
            found = rates[name].convert(amounts, times).zip_with((names == name).fill_null(False), found)
    return found


def convert_trades(trades: pl.DataFrame, rates: Mapping[str, Rate], currency: str) -> pl.DataFrame:
    """Return trades with what they gained and paid in one currency, at the rates of the time of their exit.

    Parameters
    ----------
    trades : polars.DataFrame
        Columns of :data:`walle.fills.trades.TRADES`.
    rates : mapping of currency to Rate
    currency : str

    Returns
    -------
    polars.DataFrame
        The trades with pnl_net, fees and fee_currency in ``currency``, null where a rate is missing, and ``rate``
        (Float64): that of the currency in which each settles.
    """
    times = trades["exit_time"].fill_null(trades["entry_time"])

    rows = pl.int_range(trades.height, eager=True).alias("row")
    paid = pl.DataFrame([rows, times.alias("at"), trades["fees_by_currency"].alias("fee")]).explode("fee")
    paid = paid.drop_nulls("fee").unnest("fee")
    paid = paid.with_columns(_converted(paid["amount"], paid["currency"], paid["at"], rates, currency).alias("amount"))
    sums = paid.group_by("row").agg(fees=pl.col("amount").sum(), lost=pl.col("amount").null_count() > 0)
    joined = rows.to_frame().join(sums, on="row", how="left", maintain_order="left")
    fees = joined["fees"].fill_null(0).cast(DECIMAL).set(joined["lost"].fill_null(False), None)
    gross = _converted(trades["pnl_gross"], trades["currency"], times, rates, currency)
    known = (trades["currency"] == currency).fill_null(False) & trades["pnl_net"].is_not_null()
    known = known & trades["fee_currency"].eq_missing(currency)
    one = pl.Series([Decimal(1)], dtype=DECIMAL).new_from_index(0, trades.height)
    return trades.with_columns(
        trades["pnl_net"].zip_with(known, (gross - fees).cast(DECIMAL)).alias("pnl_net"),
        fees.alias("fees"),
        _converted(one, trades["currency"], times, rates, currency).cast(pl.Float64).alias("rate"),
        fee_currency=pl.lit(currency),
    )


def convert_curves(curves: pl.DataFrame, rates: Mapping[str, Rate], currency: str) -> pl.DataFrame:
    """Add up the curves of several currencies in one of them, each at the rate of its row's time.

    Parameters
    ----------
    curves : polars.DataFrame
        Columns of :data:`walle.fills.equity.EQUITY`.
    rates : mapping of currency to Rate
        Those that are known.
    currency : str

    Returns
    -------
    polars.DataFrame
        The same columns; ``rates`` names the sources. Where a rate is missing the sums are null, and ``reason`` says
        which.
    """
    names = ("cash", "position_value", "equity", "fees")
    parts = []
    for part in curves.partition_by("currency", maintain_order=True):
        own, times = part["currency"][0], part["time"]
        rate = rates.get(own) if own is not None else None
        if own == currency:
            parts.append(part)
            continue
        worthless = pl.all_horizontal(*(pl.col(name).eq_missing(Decimal(0)) for name in names))
        empty = part.select(worthless.alias("empty")).to_series()
        if rate is None:
            columns = [pl.Series(name, [None] * part.height, dtype=DECIMAL) for name in names]
        else:
            columns = [rate.convert(part[name], times) for name in names]
        columns = [
            column.zip_with(~empty, pl.Series([Decimal(0)], dtype=DECIMAL).new_from_index(0, part.height)).alias(name)
            for name, column in zip(names, columns, strict=True)
        ]
        lost = (columns[0].is_null() & part["cash"].is_not_null()).alias("lost")
        lacking = f"no rate of {own or 'an unknown currency'} in {currency}"
        parts.append(
            part.with_columns(*columns, lost)
            .with_columns(
                reason=pl.when("lost").then(pl.lit(lacking)).otherwise("reason"),
                rates=pl.lit(None if rate is None else rate.source, pl.String),
            )
            .drop("lost")
        )
    every = pl.concat(parts) if parts else curves
    texts = {name: pl.col(name).drop_nulls().unique(maintain_order=True).str.join("; ") for name in ("rates", "reason")}
    sums = every.group_by("time", maintain_order=True).agg(
        *(pl.when(pl.col(name).null_count() == 0).then(pl.col(name).sum()).alias(name) for name in names),
        *(pl.col(name).sum() for name in ("fills", "orphan_fills", "foreign_fees")),
        unmarked=pl.col("unmarked").explode(empty_as_null=False).unique().sort(),
        **texts,
    )
    return (
        sums.sort("time")
        .with_columns(
            currency=pl.lit(currency),
            foreign_fees=pl.lit(0, pl.Int64),
            **{name: pl.col(name).replace("", None) for name in texts},
        )
        .select(pl.col(name).cast(kind) for name, kind in curves.schema.items())
    )
