"""The data of a run for ``RunView``, read once: its record, its fills, and the results computed from them."""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import attrgetter

import polars as pl
import polars.selectors as cs

from walle.decimals import trimmed_text
from walle.errors import InputError, UnknownRun
from walle.records import Run
from walle.store import Store
from walle.timeframe import TIMEFRAMES, length
from walle.widgets.escape import moment, text_of

__all__ = ["TABS", "RunData", "format_tab"]

TABS = ("fills", "trades", "findings", "costs", "metrics", "equity", "history")
"""The tabs of a ``RunView``."""

BARS = 50_000
"""The maximum number of bars read for a picture; beyond it, a longer stored timeframe is used."""

_PLACES = 8

_READ = {
    "fills": "fills.read",
    "trades": "fills.trades",
    "findings": "fills.audit",
    "costs": "fills.costs",
    "metrics": "runs.metrics",
    "equity": "runs.equity",
    "history": "runs.history",
}
"""The method of a store that each tab shows."""

_WHOLE = ("metrics", "equity")
"""The tabs that are computed anew for a symbol; the others show the rows of the symbol."""

_COLUMNS = {
    "fills": {
        "filled_at": "time", "symbol": "symbol", "side": "side", "quantity": "quantity", "price": "price",
        "commission": "commission", "commission_currency": "in", "liquidity": "liquidity", "id": "fill",
        "order_id": "order",
    },
    "trades": {
        "trade": "trade", "symbol": "symbol", "direction": "direction", "quantity": "quantity", "entry_time": "from",
        "exit_time": "to", "entry_price": "entry", "exit_price": "exit", "pnl_net": "net profit",
        "unrealised": "unrealised", "fees": "fees", "holding": "held", "reason": "reason",
    },
    "findings": {
        "severity": "severity", "rule": "rule", "time": "time", "symbol": "symbol", "sentence": "finding",
        "fill_id": "fill", "order_id": "order", "answer": "answer",
    },
    "costs": {
        "time": "time", "symbol": "symbol", "side": "side", "quantity": "quantity", "price": "price",
        "benchmark": "benchmark", "benchmark_price": "its price", "cost": "cost", "bps": "bps", "fees": "fees",
        "reason": "reason", "fill_id": "fill",
    },
    "equity": {
        "time": "time", "equity": "equity", "cash": "cash", "position_value": "positions", "fees": "fees",
        "fills": "fills", "unmarked": "unmarked",
    },
    "history": {
        "time": "time", "kind": "kind", "what": "what", "symbol": "symbol", "side": "side", "quantity": "quantity",
        "price": "price", "order_id": "order", "fill_id": "fill", "payload": "payload",
    },
}  # fmt: skip


class RunData:
    """A run whose parts are read when they are first needed.

    Parameters
    ----------
    store : Store
    run_id : str

    Raises
    ------
    UnknownRun
        If nothing at all is stored for the run; the error suggests similar ids.
    """

    def __init__(self, store: Store, run_id: str) -> None:
        self._store, self.run_id = store, run_id
        self._parts: dict[tuple[str, str], pl.DataFrame] = {}
        self.fills = store.fills.read(run_id)
        self._parts["fills", ""] = self.fills
        self.run: Run | None
        try:
            self.run = store.runs.get(run_id)
        except UnknownRun:  # orders and fills may be stored without a record of their run
            self.run = None
        counted = self.fills["symbol"].drop_nulls().value_counts(sort=True)
        self.traded: list[str] = counted.sort("count", "symbol", descending=[True, False])["symbol"].to_list()
        series = store.bars.series()
        self.timeframes: dict[str, list[str]] = {
            symbol: sorted(names, key=length)
            for symbol, names in series.group_by("symbol").agg("timeframe").iter_rows()
            if symbol in set(self.symbols)
        }

    @property
    def symbols(self) -> list[str]:
        """The symbols that the run traded, followed by further ones in its record."""
        named = () if self.run is None or self.run.symbols is None else self.run.symbols
        return list(dict.fromkeys([*self.traded, *named]))

    def part(self, tab: str, symbol: str) -> pl.DataFrame:
        """Return the content of a tab for a symbol, or for all symbols if it is empty.

        Raises
        ------
        WalleError
            If it cannot be computed.
        """
        key = (tab, symbol)
        if key not in self._parts:
            if symbol and tab not in _WHOLE:
                return self.part(tab, "").filter(pl.col("symbol") == symbol)
            read = attrgetter(_READ[tab])(self._store)
            self._parts[key] = read(self.run_id, symbol=symbol) if symbol else read(self.run_id)
        return self._parts[key]

    def statements(self, tab: str, symbol: str) -> list[str]:
        """Return the lines of Python that read the same as :meth:`part`."""
        if symbol and tab in _WHOLE:
            return [f"frame = store.{_READ[tab]}({self.run_id!r}, symbol={symbol!r})"]
        lines = [f"frame = store.{_READ[tab]}({self.run_id!r})"]
        return [*lines, f'frame = frame.filter(pl.col("symbol") == {symbol!r})'] if symbol else lines

    def span(self) -> tuple[datetime, datetime] | None:
        """Return the time span of the run's activity; None if it is unknown."""
        run, times = self.run, self.fills["filled_at"]
        known = [times.min(), times.max()]
        if run is not None:
            known += [run.started_at, run.stopped_at]
        moments = [time for time in known if isinstance(time, datetime)]
        if not moments:
            return None
        return min(moments), max(moments)

    def timeframe(self, symbol: str, start: datetime, end: datetime, wanted: str = "") -> str | None:
        """Return the timeframe of the candles: the wanted one, or the shortest without too many bars."""
        stored = self.timeframes.get(symbol, [])
        if wanted in stored:
            return wanted
        fitting = [name for name in stored if (end - start) / length(name) <= BARS]
        return fitting[0] if fitting else stored[-1] if stored else None

    def step(self, symbol: str) -> timedelta:
        """Return the length of the shortest bars of a symbol; a minute without bars."""
        stored = self.timeframes.get(symbol)
        return length(stored[0]) if stored else TIMEFRAMES["1m"]

    def place(self, tab: str, row: dict[str, object]) -> tuple[str | None, datetime, datetime] | None:
        """Return the symbol, start and end that a row of a tab concerns; None if it has no time."""
        first, last = {"fills": ("filled_at",) * 2, "trades": ("entry_time", "exit_time")}.get(tab, ("time",) * 2)
        start, end = row.get(first), row.get(last)
        if not isinstance(start, datetime):
            return None
        span = self.span()
        if not isinstance(end, datetime):  # a trade that is still open
            end = start if span is None else max(start, span[1])
        symbol = row.get("symbol")
        return symbol if isinstance(symbol, str) else None, start, end

    def summary(self) -> str:
        """Return a sentence about the run."""
        parts = []
        if self.run is None:
            parts.append("no record of this run is stored, only what it did")
        else:
            parts.append(f"{text_of(self.run.strategy_id, 60)}, {self.run.mode}, {self.run.status}")
        if span := self.span():
            parts.append(f"{moment(span[0])} to {moment(span[1])} UTC")
        count = self.fills.height
        if not count:
            parts.append("no fills")
        else:
            few = ", ".join(text_of(symbol, 30) for symbol in self.traded[:3])
            more = f" and {len(self.traded) - 3:,} more" if len(self.traded) > 3 else ""
            parts.append(f"{count:,} fill{'s' if count != 1 else ''} of {few}{more}")
        if self.run is not None and self.run.error:
            parts.append(f"error: {text_of(self.run.error, 200)}")
        return "; ".join(parts)


def format_tab(tab: str, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of a tab for display: with money at eight places, whereas the frame has all places.

    Raises
    ------
    InputError
        For an unknown tab.
    """
    if tab == "metrics":
        # both kinds of values in one column: money exactly, others as short as a reader needs
        figures = pl.Series([None if value is None else f"{value:,.6g}" for value in frame["value"]], dtype=pl.String)
        unit = pl.when(pl.col("unit") == "money").then(pl.col("currency")).otherwise(pl.col("unit")).fill_null("")
        figure = pl.coalesce(trimmed_text(pl.col("amount").round(_PLACES)), figures).alias("figure")
        return frame.select("metric", figure, unit.alias("unit"), note="reason")
    if tab not in _COLUMNS:
        raise InputError(f"tab={tab!r}: allowed are {', '.join(TABS)}.")
    shown = frame.select(pl.col(name).alias(title) for name, title in _COLUMNS[tab].items())
    if tab == "equity":
        shown = shown.with_columns(pl.col("unmarked").list.join(", "))
    return shown.with_columns(cs.decimal().round(_PLACES))
