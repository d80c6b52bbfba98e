"""The usual metrics of a run: its returns, their risk, its drawdown and its trades."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from types import EllipsisType
from typing import Any

import polars as pl

from walle.calendars import Calendar
from walle.currencies import fee_currency
from walle.decimals import to_float
from walle.errors import InputError
from walle.exact import Exact, decimals
from walle.frames import DECIMAL, FILL_ORDER
from walle.interop import bought
from walle.validation import EPOCH

__all__ = ["METRICS", "PERIODS_OF_RETURNS", "metrics", "periods_per_year"]

METRICS = pl.Schema(
    {
        "metric": pl.String(),
        "value": pl.Float64(),
        "amount": DECIMAL,
        "currency": pl.String(),
        "unit": pl.String(),
        "periods_per_year": pl.Float64(),
        "reason": pl.String(),
    }
)
"""One row is one metric, in the order in which :func:`metrics` lists them.

``amount`` holds money (exact, in ``currency``, which is null if unknown) and ``value`` holds everything else; ``unit``
is money, ratio, days or count. ``periods_per_year`` says how a metric was annualised; it is null if it was not. A
metric that cannot be measured is null in both columns, and ``reason`` says why; otherwise ``reason`` is null."""

PERIODS_OF_RETURNS = ("day", "bar")

_YEAR = timedelta(days=365.25)
_CYCLE = (date(2001, 1, 1), date(2029, 1, 1))  # 28 years: each date falls on each weekday equally often
_DAY = timedelta(days=1)
_NO_BARS = "no bars of what the run traded"


def periods_per_year(calendars: Iterable[Calendar], timeframe: str, start: datetime, end: datetime) -> float:
    """Count the bars of a timeframe in a year.

    Parameters
    ----------
    calendars : iterable of Calendar
        The calendars of a run's symbols; the one with the most bars counts.
    timeframe : str
    start, end : datetime
        The time span of the run. For an exchange the years from one to the other are counted, and for a custom calendar
        its sessions from the first to the last.

    Returns
    -------
    float
        Bars in a mean year of 365.25 days: 365.25 for ``1d`` under 24/7, about 261 under 24/5, about 252 at XNYS.
    """
    found = [0.0]
    for market in calendars:
        lo, hi = _CYCLE
        if market.own is not None:
            days = market.own["session"]
            if days.is_empty():
                continue
            first, last = days.min(), days.max()
            lo, hi = (first, last + _DAY) if isinstance(first, date) and isinstance(last, date) else (lo, hi)
        elif not market.continuous:
            lo, hi = date(start.year, 1, 1), date(min(end.year, 2048) + 1, 1, 1)
        found.append(market.slots(timeframe, lo, hi).total * (_YEAR / (hi - lo)))
    return max(found)


def metrics(
    equity: pl.DataFrame,
    trades: pl.DataFrame,
    fills: pl.DataFrame,
    *,
    periods: float,
    starting_cash: Decimal | int = 0,
    currency: str | None = None,
    returns: str = "day",
    risk_free: float = 0.0,
) -> pl.DataFrame:
    """Compute the usual metrics of a run.

    Parameters
    ----------
    equity : polars.DataFrame
        The equity of one run, as :func:`walle.fills.equity.equity` returns it.
    trades : polars.DataFrame
        Its round trips (:data:`walle.fills.trades.TRADES`).
    fills : polars.DataFrame
        Its fills (:data:`walle.frames.FILLS`).
    periods : float
        The number of returns in a year, see :func:`periods_per_year`.
    starting_cash : Decimal or int
        The starting cash that ``equity`` was computed with.
    currency : str, optional
        The currency of the prices. :func:`walle.currencies.fee_currency` defines the currency of a commission that
        names none.
    returns : {"day", "bar"}
        The returns for volatility, Sharpe and Sortino: the change of equity from the last bar of one day (UTC) to that
        of the next day with bars, or from bar to bar.
    risk_free : float
        The annual risk-free rate, such as 0.04; the rate of one period is ``risk_free / periods``.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`METRICS`; empty without fills.

        - start_equity, end_equity, net_profit (money): before the first fill, at the last bar, and their difference.
        - total_return (ratio): ``end / start - 1``.
        - cagr (ratio): ``(end / start) ** (1 / years) - 1``, where a year has 365.25 days. ``periods_per_year`` is
          ``1 / years`` here and for calmar: if it is above 1, a run of less than a year was extrapolated.
        - volatility (ratio): the standard deviation of returns (n - 1), times the square root of ``periods``.
        - sharpe (ratio): the mean of the returns less ``risk_free``, divided by their standard deviation, times the
          square root of ``periods``: Sharpe (1994), "The Sharpe Ratio", Journal of Portfolio Management 21(1).
        - sortino (ratio): the same mean divided by the downside deviation, which is the root mean square, over all
          returns, of the shortfalls below ``risk_free``: Sortino and Price (1994), "Performance Measurement in a
          Downside Risk Framework", Journal of Investing 3(3).
        - max_drawdown (ratio, at most 0), max_drawdown_amount (money, at most 0): the deepest fall from a previous
          peak, as a share of the peak, and in money: Magdon-Ismail and Atiya (2004), "Maximum Drawdown", Risk 17(10).
        - max_drawdown_days (days): the longest time from a peak until it was reached again, or to the end.
        - calmar (ratio): ``cagr / -max_drawdown``, of the whole run: Young (1991), "Calmar Ratio: A Smoother Tool",
          Futures 20(1).
        - trades, open_trades (count): the closed and the open round trips.
        - win_rate (ratio): the share of closed trades whose ``pnl_net`` is above 0.
        - profit_factor (ratio): gross profit divided by gross loss, both of ``pnl_net``.
        - gross_profit, gross_loss, average_win, average_loss (money): the sums and means of the winning and losing
          trades' ``pnl_net``.
        - expectancy (money): the mean ``pnl_net`` of closed trades. average_trade (ratio): the mean of ``pnl_net``
          divided by the value at entry.
        - exposure (ratio): the share of the rows of ``equity`` with an open position.
        - turnover (ratio): the value of all purchases and sales, divided by the mean equity; not annualised.
        - marked (ratio): the share of the rows of ``equity`` that could be marked to market.
        - fees (money): all commissions, in a row for each currency; they are never added up across currencies.

    Raises
    ------
    InputError
        For unknown ``returns``, a ``periods`` that is not above 0, or a ``risk_free`` that is not a number.

    Notes
    -----
    Money is exact and rounded once. Ratios are floats; quotients of money are taken of exact values. Rows that are not
    marked are never bridged: a return without a value at one of its ends does not count, and neither does a fall within
    a gap. Sums of trades use the profits as rounded by :func:`walle.fills.trades.trades`.
    """
    if returns not in PERIODS_OF_RETURNS:
        raise InputError(f"returns={returns!r}: allowed are {', '.join(PERIODS_OF_RETURNS)}.")
    if not periods > 0:
        raise InputError(f"periods={periods!r}: a year has more than 0 of them.")
    if isinstance(risk_free, bool) or not isinstance(risk_free, int | float) or not math.isfinite(risk_free):
        raise InputError(f"risk_free={risk_free!r} is no rate of a year, such as 0.04.")
    if fills.is_empty():
        return pl.DataFrame(schema=METRICS)
    figures = _Figures(float(periods), currency)
    late = fills.height - int(equity["fills"].max() or 0)  # type: ignore[arg-type]  # a number, as its column is
    _of_equity(figures, Fraction(starting_cash), equity, late, (returns, risk_free))
    _of_trades(figures, trades)
    _of_time(figures, equity, fills)
    _of_fees(figures, fills)
    return figures.frame()


@dataclass(slots=True)
class _Figures:
    """A builder of the frame of metrics, row by row."""

    periods: float
    currency: str | None
    rows: list[dict[str, Any]] = field(default_factory=list)

    def money(
        self,
        metric: str,
        amount: Fraction | None,
        reason: str | None = None,
        *,
        currency: str | EllipsisType | None = ...,
    ) -> None:
        name = self.currency if currency is ... else currency
        row = {"metric": metric, "amount": amount, "unit": "money", "currency": name}
        self.rows.append({**row, "reason": reason if amount is None else None})

    def ratio(
        self,
        metric: str,
        value: object,
        reason: str | None = None,
        *,
        unit: str = "ratio",
        periods: float | None = None,
    ) -> None:
        number = float(value) if isinstance(value, int | float | Fraction) and math.isfinite(value) else None
        why = None if number is not None else reason or "beyond what a float holds"
        self.rows.append({"metric": metric, "value": number, "unit": unit, "periods_per_year": periods, "reason": why})

    def frame(self) -> pl.DataFrame:
        columns = {name: [row.get(name) for row in self.rows] for name in METRICS}
        amounts = decimals("amount", columns.pop("amount"))
        return pl.DataFrame(columns, schema_overrides=METRICS).with_columns(amounts).select(list(METRICS))


def _of_equity(figures: _Figures, start: Fraction, rows: pl.DataFrame, late: int, options: tuple[str, float]) -> None:
    whole = rows.drop_nulls("equity")
    last = rows.row(-1, named=True) if rows.height else {"equity": None, "unmarked": []}
    end = None if late or last["equity"] is None else Fraction(last["equity"])
    lacks = f"no price of {', '.join(map(str, last['unmarked']))} at the end" if rows.height else _NO_BARS
    if late and rows.height:
        lacks = f"{late} of the fills come after the last bar"
    figures.money("start_equity", start)
    figures.money("end_equity", end, lacks)
    figures.money("net_profit", None if end is None else end - start, lacks)
    nothing = "the equity at the start is not above 0; give starting_cash"
    total = end / start if end is not None and start > 0 else None
    why = nothing if start <= 0 else lacks
    figures.ratio("total_return", None if total is None else total - 1, why)
    began, ended = _span(rows["time"])
    years = (ended - began) / _YEAR
    yearly: float | None = None
    if total is not None and total >= 0 and years > 0:
        try:
            yearly = float(total) ** (1 / years) - 1
        except OverflowError:
            yearly = math.inf
    length = 1 / years if years > 0 else None
    why = why if total is None else "no time went by, or the equity at the end is below 0"
    figures.ratio("cagr", yearly, why if yearly is None else None, periods=length)
    _of_returns(figures, start, rows, *options)
    _of_drawdown(figures, start, began, whole, (yearly, length))


def _span(times: pl.Series) -> tuple[datetime, datetime]:
    """Return when the first bar opened, one bar's length before its end, and when the last one ended."""
    if times.is_empty():
        return EPOCH, EPOCH
    step = times.diff().min()
    first, last = times[0], times[-1]
    return (first - step if isinstance(step, timedelta) else first), last


def _of_returns(figures: _Figures, start: Fraction, rows: pl.DataFrame, returns: str, risk_free: float) -> None:
    ends = rows
    if returns == "day":
        day = (pl.col("time") - timedelta(microseconds=1)).dt.date()
        ends = rows.group_by(day.alias("day"), maintain_order=True).last()
    worth = to_float(ends.select("equity"))["equity"]
    worth = pl.concat([pl.Series("equity", [float(start)]), worth])
    change = (worth / worth.shift(1).set((worth.shift(1) <= 0).fill_null(False), None) - 1).slice(1)
    found = change.drop_nulls()
    excess = found - risk_free / figures.periods
    root = math.sqrt(figures.periods)
    few = f"{found.len()} returns per {returns}, at least 2 are needed" if rows.height else _NO_BARS
    spread, mean = found.std(), excess.mean()
    enough = found.len() >= 2 and isinstance(spread, float) and isinstance(mean, float)
    figures.ratio("volatility", spread * root if enough else None, few, periods=figures.periods)  # type: ignore[operator]  # a number, as its column is
    flat = few if not enough else "the returns are all equal"
    even = not enough or spread == 0 or found.n_unique() == 1
    figures.ratio("sharpe", None if even else mean / spread * root, flat, periods=figures.periods)  # type: ignore[operator]  # a number, as its column is
    below = math.sqrt(float((excess.clip(upper_bound=0) ** 2).mean() or 0)) if enough else 0.0  # type: ignore[arg-type]  # a number, as its column is
    never = few if not enough else "no return is below the risk-free one"
    figures.ratio("sortino", mean / below * root if below else None, never, periods=figures.periods)  # type: ignore[operator]  # a number, as its column is


def _of_drawdown(
    figures: _Figures, start: Fraction, began: datetime, whole: pl.DataFrame, cagr: tuple[float | None, float | None]
) -> None:
    yearly, length = cagr
    first = decimals("equity", [start])
    worth = pl.concat([first, whole["equity"]])
    times = pl.concat([pl.Series([began], dtype=whole.schema["time"]), whole["time"].rename("")])
    walk = pl.DataFrame([worth.alias("equity"), times.alias("time")]).with_columns(peak=pl.col("equity").cum_max())
    floats = to_float(walk)
    fall = pl.select(pl.when(floats["peak"] > 0).then(floats["equity"] / floats["peak"] - 1)).to_series()
    deepest = fall.min()
    why = "the equity never is above 0" if whole.height else _NO_BARS
    figures.ratio("max_drawdown", deepest if whole.height else None, why)
    fallen = Exact.of(walk["equity"]) - Exact.of(walk["peak"])
    amount = Fraction(min(fallen.units()), 10**fallen.places)
    figures.money("max_drawdown_amount", amount if whole.height else None, _NO_BARS)
    under = pl.col("equity") < pl.col("peak")
    at_peak = pl.when(~under).then("time").forward_fill()
    lasting = walk.select((pl.col("time") - at_peak.shift(1)).filter(under | under.shift(1)).max()).item()
    days = lasting / _DAY if lasting else 0.0
    figures.ratio("max_drawdown_days", days if whole.height else None, _NO_BARS, unit="days")
    known = isinstance(deepest, float) and deepest < 0 and yearly is not None
    figures.ratio("calmar", yearly / -deepest if known else None, "no drawdown, or no cagr", periods=length)  # type: ignore[operator]  # a number, as its column is


def _of_trades(figures: _Figures, trades: pl.DataFrame) -> None:
    # if the currency of the prices is unknown, the fees of a trade may be in another one
    other = pl.col("fee_currency").ne_missing(pl.lit(figures.currency, pl.String)) & (pl.col("fees").fill_null(0) != 0)
    closed = trades.filter(~pl.col("is_open")).with_columns(pl.when(~other).then("pnl_net").alias("pnl_net"))
    net = closed["pnl_net"].drop_nulls()
    wins, losses = net.filter(net > 0), net.filter(net < 0)
    won, lost = Exact.of(wins).sum(), Exact.of(losses).sum()
    lacking = closed.height - len(net)
    why = f"{lacking} of {closed.height} closed trades have no pnl_net" if lacking else "no closed trade"
    measured = net.len() > 0 and not lacking
    figures.ratio("trades", closed.height, unit="count")
    figures.ratio("open_trades", trades.height - closed.height, unit="count")
    figures.ratio("win_rate", Fraction(wins.len(), net.len()) if measured else None, why)
    no_loss = why if not measured else "no losing trade"
    figures.ratio("profit_factor", won / -lost if measured and lost else None, no_loss)
    figures.money("gross_profit", won if measured else None, why)
    figures.money("gross_loss", lost if measured else None, why)
    no_win = why if not measured else "no winning trade"
    figures.money("average_win", won / wins.len() if measured and won else None, no_win)
    figures.money("average_loss", lost / losses.len() if measured and lost else None, no_loss)
    figures.money("expectancy", (won + lost) / net.len() if measured else None, why)
    floats = to_float(closed, ["pnl_net", "entry_price", "quantity"])
    cost = (floats["entry_price"] * floats["quantity"]).abs()
    shares = floats["pnl_net"] / cost.set(cost == 0, None)
    figures.ratio("average_trade", None if shares.null_count() else shares.mean(), why)


def _of_time(figures: _Figures, rows: pl.DataFrame, fills: pl.DataFrame) -> None:
    held = pl.Series([0], dtype=pl.Int64).new_from_index(0, rows.height)
    for mine in fills.sort(*FILL_ORDER).partition_by("symbol"):
        size, buys = Exact.of(mine["quantity"]), bought(mine)
        position = (size.where(buys) - size.where(~buys)).cum_sum()
        before = mine["filled_at"].search_sorted(rows["time"], "left").cast(pl.Int64)
        holds = (position.compare(0) != 0).gather((before - 1).clip(0)) & (before > 0)
        held = held + holds.cast(pl.Int64)
    figures.ratio("exposure", (held > 0).mean(), _NO_BARS)
    notional = abs(Exact.of(fills["price"]) * Exact.of(fills["quantity"])).sum()
    worth = rows["equity"].drop_nulls()
    mean = Exact.of(worth).sum() / worth.len() if worth.len() else Fraction(0)
    figures.ratio("turnover", notional / mean if mean > 0 else None, "the mean equity is not known, or not above 0")
    figures.ratio("marked", rows["equity"].is_not_null().mean(), _NO_BARS)


def _of_fees(figures: _Figures, fills: pl.DataFrame) -> None:
    pays = fills.filter(pl.col("commission").fill_null(0) != 0)
    words = pays.select(fee_currency().alias("currency")).to_series()
    names = words.unique().sort().to_list() or [figures.currency]
    for name in names:
        mine = words.is_null() if name is None else (words == name).fill_null(False)
        figures.money("fees", Exact.of(pays["commission"].filter(mine)).sum(), currency=name)
