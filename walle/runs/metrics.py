"""The usual metrics of a run: its returns, their risk, its drawdown and its trades."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

import polars as pl

from walle.errors import InputError
from walle.instruments import facts_of
from walle.runs.benchmark import Benchmark, Relative
from walle.runs.figures import METRICS, Figures, widened
from walle.runs.marks import FLOWS, Curve, Marks
from walle.runs.sessions import periods_per_year, session_starts
from walle.runs.trade_figures import Activity
from walle.runs.worth_figures import Worth

__all__ = [
    "FLOWS",
    "METRICS",
    "PERIODS_OF_RETURNS",
    "Subject",
    "check_returns",
    "check_risk_free",
    "measured",
    "metrics",
    "periods_per_year",
    "session_starts",
    "widened",
]

PERIODS_OF_RETURNS = ("session", "bar")


def metrics(
    equity: pl.DataFrame,
    trades: pl.DataFrame,
    fills: pl.DataFrame,
    *,
    periods: float,
    sessions: pl.DataFrame | None = None,
    starting_cash: Decimal | int = 0,
    currency: str | None = None,
    returns: str = "session",
    risk_free: float = 0.0,
    flows: pl.DataFrame | None = None,
    benchmark: Benchmark | None = None,
    run_id: str | None = None,
) -> pl.DataFrame:
    """Compute the usual metrics of a run in one currency.

    Parameters
    ----------
    equity : polars.DataFrame
        The equity of one run in one currency, sorted by time: time, equity, fills and unmarked, as
        :func:`walle.fills.equity.equity` returns them; if foreign_fees is there and 0, no fee is outside it.
    trades : polars.DataFrame
        Its round trips (:data:`walle.fills.trades.TRADES`).
    fills : polars.DataFrame
        Its fills (:data:`walle.frames.FILLS`).
    periods : float
        The number of returns in a year, see :func:`walle.runs.sessions.periods_per_year`.
    sessions : polars.DataFrame, optional
        The sessions of its markets (:func:`walle.runs.sessions.session_starts`); by default the days in UTC.
    starting_cash : Decimal or int
        The starting cash that ``equity`` was computed with.
    currency : str, optional
        The currency of the equity. :func:`walle.currencies.fee_currency` defines the currency of a commission that
        names none.
    returns : {"session", "bar"}
        The returns for volatility, Sharpe, Sortino and what is relative to a benchmark: the change of equity from the
        last marked row of one session to that of the next one, or from bar to bar. The first one is from the start.
    risk_free : float
        The annual risk-free rate, such as 0.04; the rate of one period is ``risk_free / periods``.
    flows : polars.DataFrame, optional
        What was paid in and out from outside: columns of :data:`FLOWS`, in ``currency``; ``equity`` includes it.
    benchmark : Benchmark, optional
    run_id : str, optional

    Returns
    -------
    polars.DataFrame
        Columns of :data:`METRICS`; empty without fills.

        - start_equity, end_equity (money): before the first fill, and at the last bar.
        - net_profit (money): their difference, less what was paid in.
        - total_return (ratio): ``end / start - 1``.
        - cagr (ratio): ``(end / start) ** (1 / years) - 1``, where a year has 365.25 days. ``periods_per_year`` is
          ``1 / years`` here and for calmar: if it is above 1, a run of less than a year was extrapolated. (empyrical
          and quantstats count the returns instead of the days.)
        - volatility (ratio): the standard deviation of returns (n - 1), times the square root of ``periods``.
        - sharpe (ratio): the mean of the returns less ``risk_free``, divided by their standard deviation, times the
          square root of ``periods``: Sharpe (1994), "The Sharpe Ratio", Journal of Portfolio Management 21(1).
        - sortino (ratio): the same mean divided by the downside deviation, which is the root mean square, over all
          returns, of the shortfalls below ``risk_free``: Sortino and Price (1994), "Performance Measurement in a
          Downside Risk Framework", Journal of Investing 3(3).
        - max_drawdown (ratio, at most 0), max_drawdown_amount (money, at most 0): the deepest fall from a previous
          peak, as a share of the peak, and in money: Magdon-Ismail and Atiya (2004), "Maximum Drawdown", Risk 17(10).
          Every marked row counts, not only the last one of a session as in empyrical and quantstats.
        - max_drawdown_days (days): the longest time from a peak until it was reached again, or to the end. (quantstats
          counts from the first session below the peak to the last one.)
        - calmar (ratio): ``cagr / -max_drawdown``, of the whole run: Young (1991), "Calmar Ratio: A Smoother Tool",
          Futures 20(1).
        - alpha, beta, tracking_error, information_ratio (ratio), only with a benchmark:
          :class:`walle.runs.benchmark.Benchmark` defines them.
        - trades, open_trades (count): the closed and the open round trips. A position that was never flat has none from
          flat to flat: :meth:`walle.store.Runs.metrics` counts its lots, and the reason says so.
        - win_rate (ratio): the share of closed trades whose ``pnl_net`` is above 0.
        - profit_factor (ratio): gross profit divided by gross loss, both of ``pnl_net``.
        - gross_profit, gross_loss, average_win, average_loss (money): the sums and means of the winning and losing
          trades' ``pnl_net``.
        - expectancy (money): the mean ``pnl_net`` of closed trades. average_trade (ratio): the mean of ``pnl_net``
          divided by the value at entry.
        - exposure (ratio): the share of the rows of ``equity`` with an open position.
        - turnover (ratio): the value of all purchases and sales, divided by the mean equity; not annualised.
        - marked (ratio): the share of the rows of ``equity`` that could be marked to market.
        - fees (money): all commissions, in a row for each currency; they are never added up across currencies. If some
          are in another currency than the equity, which leaves them out, then net_profit, total_return, cagr and calmar
          are null, and the reason names them.

    Raises
    ------
    InputError
        For unknown ``returns``, a ``periods`` that is not above 0, a ``risk_free`` that is not a number, or ``flows``
        without their columns.

    Notes
    -----
    Money is exact and rounded once. Ratios are floats; quotients of money are taken of exact values. Sessions that are
    not marked are never bridged: a return without a value at one of its ends does not count, and neither does a fall
    within a gap. Sums of trades use the profits as rounded by :func:`walle.fills.trades.trades`.

    Returns are time-weighted across ``flows``: the equity is valued at the last row before each flow, the flow counts
    from then on (at the start of its bar), and the growths of the parts are chained. This is the true time-weighted
    return of the Global Investment Performance Standards (GIPS 2020, 2.A.21), which value a portfolio at each large
    cash flow, and no estimate within a period such as Modified Dietz. The drawdown is that of a unit of the chain, and
    its amount that of the equity less what was paid in. If the row before a flow is not marked, the return over it is
    unknown.
    """
    check_returns(returns)
    check_periods(periods)
    check_risk_free(risk_free)
    if fills.is_empty():
        return pl.DataFrame(schema=METRICS)
    curve = Curve(
        equity=equity,
        start=Fraction(starting_cash),
        currency=currency,
        run_id=run_id,
        sessions=sessions,
        flows=None if flows is None else check_flows(flows),
    )
    return measured([Subject(curve, trades, fills, float(periods), benchmark)], returns, risk_free)


class Subject:
    """One curve, and what belongs to it.

    Parameters
    ----------
    curve : Curve
    trades, fills : polars.DataFrame
    periods : float
    benchmark : Benchmark, optional
    facts : polars.DataFrame, optional
        What the symbols are: columns of :data:`walle.instruments.FACTS`. None: what their texts say.
    never_flat : sequence of str
        The symbols of which ``trades`` has lots, since their position was never flat.
    """

    __slots__ = ("benchmark", "curve", "facts", "fills", "never_flat", "periods", "trades")

    def __init__(
        self,
        curve: Curve,
        trades: pl.DataFrame,
        fills: pl.DataFrame,
        periods: float,
        benchmark: Benchmark | None = None,
        facts: pl.DataFrame | None = None,
        never_flat: Sequence[str] = (),
    ) -> None:
        self.never_flat = never_flat
        self.curve, self.trades, self.fills, self.periods = curve, trades, fills, periods
        self.benchmark = benchmark
        self.facts = facts_of(fills) if facts is None else facts


def measured(subjects: Sequence[Subject], returns: str, risk_free: float) -> pl.DataFrame:
    """Compute the metrics of many curves at once; :func:`metrics` defines them.

    Parameters
    ----------
    subjects : sequence of Subject
        Each has fills.
    returns : str
    risk_free : float

    Returns
    -------
    polars.DataFrame
        Columns of :data:`METRICS`, the curves in their order.
    """
    if not subjects:
        return pl.DataFrame(schema=METRICS)
    figures = Figures()
    curves = [subject.curve for subject in subjects]
    marks = Marks.of(curves, returns)
    worth = Worth.of(marks, [subject.periods for subject in subjects], risk_free)
    activity = Activity.of(
        [subject.trades for subject in subjects],
        [subject.fills for subject in subjects],
        marks.of_bars(),
        [curve.currency for curve in curves],
        [subject.facts for subject in subjects],
    )
    relative = Relative.of(marks, [subject.benchmark for subject in subjects], returns, risk_free)
    for number, subject in enumerate(subjects):
        curve, rows = subject.curve, subject.curve.equity
        figures.begin(curve.run_id, curve.currency)
        late = subject.fills.height - int(rows["fills"].max() or 0)  # type: ignore[arg-type]  # a number, as its column is
        complete = "foreign_fees" in rows.columns and not rows["foreign_fees"].max()
        outside = None if complete else activity.outside(number, curve.currency)
        cagr = worth.gains(figures, number, late, outside)
        worth.risks(figures, number, subject.periods, returns)
        worth.drawdown(figures, number, cagr, outside)
        relative.add(figures, number)
        activity.of_trades(figures, number, subject.never_flat)
        activity.of_time(figures, number)
        activity.of_fees(figures, number)
    return figures.frame()


def check_returns(returns: str) -> None:
    """Raise unless these returns are known.

    Raises
    ------
    InputError
    """
    if returns not in PERIODS_OF_RETURNS:
        raise InputError(f"returns={returns!r}: allowed are {', '.join(PERIODS_OF_RETURNS)}.")


def check_periods(periods: float) -> None:
    """Raise unless a year can have that many returns.

    Raises
    ------
    InputError
    """
    number = isinstance(periods, int | float) and not isinstance(periods, bool)
    if not number or not math.isfinite(periods) or not periods > 0:
        raise InputError(f"periods={periods!r}: a year has more than 0 of them.")


def check_risk_free(risk_free: float) -> None:
    """Raise unless it is a rate.

    Raises
    ------
    InputError
    """
    if isinstance(risk_free, bool) or not isinstance(risk_free, int | float) or not math.isfinite(risk_free):
        raise InputError(f"risk_free={risk_free!r} is no rate of a year, such as 0.04.")


def check_flows(flows: pl.DataFrame) -> pl.DataFrame:
    """Return cash flows in order.

    Raises
    ------
    InputError
        If they lack a column, or hold a null.
    """
    lacking = [name for name in FLOWS if name not in flows.columns]
    if lacking or any(flows[name].null_count() for name in FLOWS):
        raise InputError(f"flows needs the columns {', '.join(FLOWS)} without nulls, not {', '.join(flows.columns)}.")
    return flows.select(pl.col(name).cast(kind) for name, kind in FLOWS.items()).sort("time")
