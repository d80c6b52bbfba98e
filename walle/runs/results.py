"""Convert the results of a backtest to a run with its orders and fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import polars as pl

from walle.errors import InputError
from walle.exact import Exact, shortest
from walle.frames import FILLS, INSTANT, ORDERS
from walle.interop import frame_of
from walle.records import Run
from walle.timeframe import check_timeframe, length
from walle.validation import check_text, decimal_text

__all__ = ["Commission", "Results", "from_backtesting"]

Commission = float | tuple[float, float] | Callable[[float, float], float]
"""A commission as ``Backtest`` takes it: a share of the value, a fixed amount and a share, or a function of size and
price."""

_OPEN = pl.Schema(
    {
        "Size": pl.Float64(),
        "EntryBar": pl.Int64(),
        "ExitBar": pl.Int64(),
        "EntryPrice": pl.Float64(),
        "ExitPrice": pl.Float64(),
    }
)
_TICK = timedelta(microseconds=1)
_CENT = Fraction(1, 200)


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """A run, its orders and its fills, for :meth:`walle.RunRepository.ingest`.

    Parameters
    ----------
    run : Run
    orders, fills : polars.DataFrame
        Columns of :data:`walle.frames.ORDERS` and ``FILLS``.
    """

    run: Run
    orders: pl.DataFrame
    fills: pl.DataFrame

    def __repr__(self) -> str:
        """Show the run, and the numbers of its orders and fills."""
        return f"Results({self.run.id!r}: {self.orders.height:,} orders, {self.fills.height:,} fills)"


def from_backtesting(
    stats: Any,
    *,
    run_id: str,
    symbol: str,
    timeframe: str,
    strategy_id: str | None = None,
    currency: str | None = None,
    timezone: str = "UTC",
    commission: Commission | None = None,
    starting_cash: Decimal | int | None = None,
    config: Mapping[str, Any] | None = None,
    created_at: datetime | None = None,
) -> Results:
    """Make a run with its orders and fills from the result of ``Backtest.run()`` of backtesting.py (0.6).

    Each trade becomes an opening and a closing fill; the parts of a trade that was closed in several steps share the
    opening fill. Trades that are open at the end are included, though the package's list of trades leaves them out. A
    fill has the opening time of its bar, and with ``trade_on_close`` a time one microsecond before its end. The package
    does not keep filled orders, so each fill gets a market order of its own. Floats become the decimals in their
    shortest text; commissions are rounded at 18 places.

    ``store.runs.equity`` then equals the package's equity at every bar, except that the package books the commission of
    a fill at the close one bar late, and forgives the debt of a ruined account. ``store.fills.trades`` by fifo equal
    the package's trades if it closed the oldest first, as it does unless a strategy closes one of several.

    Parameters
    ----------
    stats : pandas.Series
        The result of ``Backtest.run()``.
    run_id, symbol : str
    timeframe : str
        The timeframe of the bars, such as ``1d``.
    strategy_id : str, optional
        By default the name of the strategy's class.
    currency : str, optional
        The currency of the commissions; by default that of the prices.
    timezone : str
        The IANA zone of the index, if that has none.
    commission : float, tuple or callable, optional
        The commission that was passed to ``Backtest``; by default that of the strategy in ``stats``.
    starting_cash : Decimal or int, optional
        By default the first value of the equity curve.
    config : mapping, optional
        Further values to keep with the run, as JSON, beside the parameters of the strategy and ``starting_cash``.
    created_at : datetime, optional
        The creation time of the run; by default now.

    Raises
    ------
    InputError
        For anything but such results, and if the fills do not add up to the last equity that they report: because the
        commission was another one, or because the starting cash was not the first equity.
    """
    check_text(run_id, "run_id", maximum=80)
    backtest = _Backtest(stats, check_timeframe(timeframe), timezone, commission)
    moves = backtest.moves()
    cash = Decimal(starting_cash) if starting_cash is not None else _decimal(backtest.equity[0])
    backtest.reconcile(moves, cash)
    fills = _fills(moves, run_id, check_text(symbol, "symbol", maximum=128), currency)
    run = Run(
        id=run_id,
        strategy_id=strategy_id or backtest.strategy_name,
        mode="backtest",
        status="completed",
        symbols=(symbol,),
        timeframe=timeframe,
        config={**backtest.parameters, **(config or {}), "starting_cash": decimal_text(cash)},
        created_at=created_at or datetime.now(UTC),
        started_at=backtest.opens[0],
        stopped_at=backtest.ends[-1],
    )
    return Results(run=run, orders=_orders(fills), fills=fills)


class _Backtest:
    """The values read from the results."""

    def __init__(self, stats: Any, timeframe: str, timezone: str, commission: Commission | None) -> None:
        try:
            trades, curve = stats["_trades"], stats["_equity_curve"]
            strategy = stats.get("_strategy")
        except (TypeError, KeyError, AttributeError, IndexError) as error:
            raise InputError(
                f"these are no results of backtesting.py but a {type(stats).__name__}. Give what Backtest.run() "
                "returned: walle.from_backtesting(Backtest(...).run(), run_id=...)."
            ) from error
        self.strategy = strategy
        self.opens = _instants(curve, timezone)
        following = self.opens.shift(-1)
        ends = self.opens + length(timeframe)
        self.ends = ends.zip_with(following.is_null() | (ends <= following), following)
        self.equity = frame_of(curve[["Equity"]].reset_index(drop=True), "equity")["Equity"]  # type: ignore[index]  # a pandas frame gives one
        closed = frame_of(trades[list(_OPEN)].reset_index(drop=True), "trades")
        assert closed is not None
        broker = getattr(strategy, "_broker", None)
        self.on_close = bool(getattr(broker, "_trade_on_close", False))
        self.spread = float(getattr(broker, "_spread", 0) or 0)
        self.unit = self._unit(closed)
        self.closes = self._closes()
        self.trades = pl.concat([closed.cast(_OPEN), self._open_trades()])
        self.commission = _callable(commission if commission is not None else getattr(broker, "_commission", 0.0))

    def _unit(self, closed: pl.DataFrame) -> float:
        """Return the size of one unit of the engine: FractionalBacktest scales results, but not the kept trades."""
        kept = list(getattr(self.strategy, "closed_trades", ()))
        return float(closed["Size"][0]) / float(kept[0].size) if kept and closed.height == len(kept) else 1.0

    def _closes(self) -> pl.Series | None:
        data = getattr(self.strategy, "data", None)
        found = None if data is None else frame_of(data.df[["Close"]].reset_index(drop=True), "bars")
        if found is None or found.height != self.opens.len():
            return None
        return found["Close"].cast(pl.Float64) / self.unit

    def _open_trades(self) -> pl.DataFrame:
        kept = getattr(self.strategy, "trades", ())
        rows = [(one.size * self.unit, one.entry_bar, None, one.entry_price / self.unit, None) for one in kept]
        return pl.DataFrame(rows, schema=_OPEN, orient="row")

    @property
    def strategy_name(self) -> str:
        return "backtesting.py" if self.strategy is None else type(self.strategy).__name__

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the strategy: plain values of its class, then those of the run, other types as texts."""
        own = [kind for kind in type(self.strategy).__mro__[::-1] if kind.__module__.partition(".")[0] != "backtesting"]
        defaults = {name: value for kind in own for name, value in vars(kind).items() if not name.startswith("_")}
        plain = (str, bool, int, float)
        return {name: value for name, value in defaults.items() if isinstance(value, plain)} | {
            str(name): value if isinstance(value, plain) or value is None else str(value)
            for name, value in (getattr(self.strategy, "_params", None) or {}).items()
        }

    def moves(self) -> pl.DataFrame:
        """Return purchases and sales in order: time, size (signed Decimal), price (Decimal), fee (Decimal)."""
        frame = self.trades.with_columns(_exact(self.trades["Size"])).with_row_index("trade")
        opened = frame.group_by("EntryBar", "EntryPrice", pl.col("Size") > 0).agg(pl.min("trade"), size=pl.sum("Size"))
        entries = opened.select(bar="EntryBar", price="EntryPrice", size="size", phase=pl.lit(1), trade="trade")
        exits = frame.filter(pl.col("ExitBar").is_not_null()).select(
            bar="ExitBar",
            price="ExitPrice",
            size=-pl.col("Size"),
            # a trade that was opened in this bar is closed after that; others are closed before
            phase=pl.when(pl.col("ExitBar") == pl.col("EntryBar")).then(2).otherwise(0),
            trade="trade",
        )
        both = pl.concat([entries, exits.cast(entries.schema)])
        at_close = self._at_close(both)
        times = (self.ends.gather(both["bar"]) - _TICK).zip_with(at_close, self.opens.gather(both["bar"]))
        # the commission may be any function, so it is called for each fill, as the package does
        fees = [
            float(self.commission(float(size) / self.unit, price * self.unit))
            for size, price in both.select("size", "price").iter_rows()
        ]
        whole = both.with_columns(
            _exact(both["price"]), time=times, fee=_exact(pl.Series("fee", fees, dtype=pl.Float64))
        )
        return whole.sort("time", "bar", "phase", "trade")

    def _at_close(self, moves: pl.DataFrame) -> pl.Series:
        """Return whether each of them happened at the close of its bar."""
        if not self.on_close or self.closes is None:
            return pl.Series([False] * moves.height, dtype=pl.Boolean)
        close = self.closes.gather(moves["bar"])
        sign, entry = moves["size"].cast(pl.Float64).sign(), (moves["phase"] == 1).cast(pl.Float64)
        asked = close * (sign * entry * self.spread + 1)
        return (moves["price"] - asked).abs() <= asked.abs() * 1e-12

    def reconcile(self, moves: pl.DataFrame, cash: Decimal) -> None:
        """Raise unless cash and the moves add up to the last equity.

        Raises
        ------
        InputError
        """
        size = Exact.of(moves["size"])
        paid = (size * Exact.of(moves["price"])).sum() + Exact.of(moves["fee"]).sum()
        worth, held = Fraction(cash) - paid, size.sum()
        if held and self.closes is not None:
            worth += held * Fraction(_decimal(self.closes[-1]))
        last = self.equity[-1]
        ruined = last == 0 and worth <= 0
        if not ruined and abs(worth - Fraction(last)) > max(_CENT, abs(Fraction(last)) / 10**9):
            raise InputError(
                f"the fills add up to an equity of {float(worth):,.2f} at the end, and the results say {last:,.2f}. "
                "Give commission= and starting_cash= as they were given to Backtest; trades that are open at the end "
                "are known from stats['_strategy'] only."
            )


def _exact(values: pl.Series) -> pl.Series:
    return shortest(values.cast(pl.Float64)).alias(values.name)


def _decimal(value: float) -> Decimal:
    found: Decimal = shortest(pl.Series([value], dtype=pl.Float64))[0]
    return found


def _callable(commission: Commission) -> Callable[[float, float], float]:
    if callable(commission):
        return commission
    fixed, share = commission if isinstance(commission, tuple) else (0.0, commission)
    return lambda size, price: fixed + abs(size) * price * share


def _instants(curve: Any, timezone: str) -> pl.Series:
    """Return the opening times of the bars, from the index of the equity curve.

    Raises
    ------
    InputError
        If they are not times, or do not exist in this zone.
    """
    frame = frame_of(curve.index.to_frame(index=False, name="time"), "equity")
    assert frame is not None
    times = frame["time"]
    if not isinstance(times.dtype, pl.Datetime):
        raise InputError(
            f"the bars of the backtest are numbered by {times.dtype}, not by times. Give them a time index."
        )
    if times.dtype.time_zone is None:
        try:
            times = times.dt.replace_time_zone(timezone)
        except pl.exceptions.PolarsError as error:
            cause = str(error).splitlines()[0]
            raise InputError(f"timezone={timezone!r}: {cause} Give an IANA zone, such as 'UTC'.") from error
    return times.dt.convert_time_zone("UTC").cast(INSTANT)


def _fills(moves: pl.DataFrame, run_id: str, symbol: str, currency: str | None) -> pl.DataFrame:
    digits = len(str(moves.height))
    number = pl.int_range(1, pl.len() + 1).cast(pl.String).str.zfill(digits)
    frame = moves.select(
        ["price"],
        id=pl.format("{}-f{}", pl.lit(run_id), number),
        order_id=pl.format("{}-o{}", pl.lit(run_id), number),
        run_id=pl.lit(run_id),
        symbol=pl.lit(symbol),
        side=pl.when(pl.col("size") > 0).then(pl.lit("buy")).otherwise(pl.lit("sell")),
        quantity=pl.col("size").abs(),
        commission="fee",
        commission_currency=pl.lit(currency, pl.String),
        filled_at="time",
    )
    return _whole(frame, FILLS)


def _orders(fills: pl.DataFrame) -> pl.DataFrame:
    frame = fills.select(
        ["run_id", "symbol", "side", "filled_at"],
        id="order_id",
        client_order_id="order_id",
        order_type=pl.lit("market"),
        qty="quantity",
        time_in_force=pl.lit("gtc"),
        status=pl.lit("filled"),
        filled_qty="quantity",
        filled_avg_price="price",
        created_at="filled_at",
        submitted_at="filled_at",
    )
    return _whole(frame, ORDERS)


def _whole(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """Add the missing columns of a schema as nulls."""
    lacking = [pl.lit(None, kind).alias(name) for name, kind in schema.items() if name not in frame.columns]
    return frame.with_columns(lacking).select(list(schema)).cast(schema)
