"""``RunView``: the fills, the audit and the results of a run."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from walle.errors import InputError, WalleError
from walle.repositories.common import Time
from walle.store import Store
from walle.timeframe import check_timeframe, length
from walle.validation import parse_range, shift
from walle.widgets.escape import moment, text_of
from walle.widgets.run_controls import MOVES, about, buttons, controls_of, moved, symbols_of, timeframes_of
from walle.widgets.run_data import TABS, RunData, format_tab
from walle.widgets.run_static import findings_words, static_of
from walle.widgets.view import Static, View

if TYPE_CHECKING:
    import ipywidgets

    from walle.charts.drawing import Themed
    from walle.widgets.picture import Picture

__all__ = ["RunView"]

_log = logging.getLogger("walle.widgets")
_SCALE = 2.0
_AROUND = 40
"""The number of bars on each side of the time of a selected row."""

_EMPTY = {
    "fills": "no fills: nothing was traded, or store.fills.append has not written it",
    "trades": "no trades: a run without fills has none",
    "findings": "the audit found nothing",
    "costs": "no costs: a run without fills has none",
    "metrics": "no figures",
    "equity": "no worth: no bars of what the run traded are stored",
    "history": "nothing is known of this run's life",
}


class RunView(View):
    """A run: candles with its fills and audit findings, its equity, trades, metrics and history.

    Selecting a row of a table moves the candles to its time: for a trade from its entry to its exit, for a finding to
    its fill. Rings mark the fills that a finding concerns.

    Parameters
    ----------
    store : Store
    run_id : str
    symbol : str, optional
        The symbol of the candles and the tables; by default the tables cover all symbols, and the candles show the one
        that was traded most.
    start, end : datetime, date or str, optional
        The initial range ``[start, end)`` of opening times for the candles; by default the whole run. The tables always
        cover the whole run.
    timeframe : str, optional
        The timeframe of the candles; by default the shortest stored one that does not have too many bars in that range.
        More than 400 bars are joined, and the picture says so.
    tab : str
        The content of the table: ``fills``, ``trades``, ``findings``, ``costs``, ``metrics``, ``equity`` or
        ``history``.

    Raises
    ------
    UnknownRun
        If nothing at all is stored for the run; the error suggests similar ids.
    InputError
        For a symbol that the run did not trade, an unknown tab, or a range that ends before it starts.
    UnknownTimeframe
    PersistenceUnavailable
        For a store in memory, which has no runs.

    Examples
    --------
    >>> view = walle.widgets.RunView(store, "bt-sma-eth-001", tab="findings")
    >>> view  # last in a cell
    >>> view.frame().select("rule", "sentence")
    """

    name = "RunView"

    def __init__(
        self,
        store: Store,
        run_id: str,
        *,
        symbol: str | None = None,
        start: Time = None,
        end: Time = None,
        timeframe: str | None = None,
        tab: str = "fills",
    ) -> None:
        super().__init__(store)
        self._given = parse_range(start, end)
        self._timeframe = "" if timeframe is None else check_timeframe(timeframe)
        if tab not in TABS:
            raise InputError(f"tab={tab!r}: allowed are {', '.join(TABS)}.")
        self._run_id, self._tab = run_id, tab
        self._data = RunData(store, run_id)
        if symbol is not None and symbol not in self._data.symbols:
            known = ", ".join(map(repr, self._data.symbols)) or "none"
            raise InputError(f"run {run_id!r} has no symbol {symbol!r}; it has: {known}.")
        self._symbol = symbol or ""
        self._about = ""
        self._focus, self._dark, self._telling = "", False, False
        self._window = self._whole()

    # the content, which needs no widgets

    def frame(self) -> pl.DataFrame:
        """Return the content of the chosen tab.

        Returns
        -------
        polars.DataFrame
            All columns, as the store returns them: for ``fills`` those of ``store.fills.read``, for ``trades`` those of
            ``store.fills.trades``, for ``findings`` those of ``store.fills.audit``, for ``costs`` those of
            ``store.fills.costs``, and for ``metrics``, ``equity`` and ``history`` those of ``store.runs.metrics``,
            ``equity`` and ``history``; in the same order. If a symbol is chosen, only its rows; ``metrics`` and
            ``equity`` are then computed for that symbol alone.

        Raises
        ------
        WalleError
            If it cannot be computed; the view then shows the reason in place of the table.
        """
        return self._data.part(self._tab, self._symbol)

    def _statements(self) -> list[str]:
        return self._data.statements(self._tab, self._symbol)

    def _static(self) -> Static:
        return static_of(self._data, self._symbol)

    def _whole(self) -> tuple[datetime, datetime] | None:
        """Return the requested range, with the start and end of the run in place of missing ends."""
        start, end = self._given
        span = self._data.span()
        if span is None:
            return None if start is None or end is None else (start, end)
        margin = max((span[1] - span[0]) / 50, timedelta(minutes=1))
        start, end = start or shift(span[0], -margin), end or shift(span[1], margin)
        return (start, end) if start < end else None

    @property
    def _drawn_symbol(self) -> str:
        """The symbol of the candles; empty if the run has none."""
        if self._symbol or self._focus:
            return self._symbol or self._focus
        return self._data.symbols[0] if self._data.symbols else ""

    # the interactive part

    def _make(self) -> ipywidgets.Widget:
        import ipywidgets

        from walle.widgets.parts import Pages, Table, heading, row_of
        from walle.widgets.picture import Picture

        self.controls = controls_of(self._data, self._symbol, self._timeframe, self._tab)
        for name, method in (
            ("symbol", self._choose_symbol),
            ("timeframe", self._choose_timeframe),
            ("from", self._choose_window),
            ("to", self._choose_window),
            ("tab", self._choose_tab),
        ):
            self.controls[name].observe(self._guarded(method), "value")
        self.controls["refresh"].on_click(self._guarded(self._refresh))
        self.buttons = buttons()
        for button in self.buttons.values():
            button.on_click(self._guarded(self._pushed))
        self.title, self.summary, self.caption = heading(""), ipywidgets.Label(), ipywidgets.Label()
        for label in (self.summary, self.caption):
            label.add_class("walle-quiet")
        self.price, self.worth = Picture(moves=True), Picture()
        self.price.on("move", self._guarded(self._move))
        for part in (self.price, self.worth):
            part.on("theme", self._guarded(self._change_theme))
        self.table = Table()
        self.pages = Pages(self.table)
        self.table.on("select", self._guarded(self._select))
        self.table.on("page", self._guarded(self.pages.turn))
        self._draw()
        chosen = row_of(*(self.controls[name] for name in ("symbol", "timeframe", "from", "to", "refresh")))
        return ipywidgets.VBox(
            [
                self.title,
                self.summary,
                chosen,
                row_of(*self.buttons.values()),
                self.caption,
                self.price,
                self.worth,
                self.controls["tab"],
                self.table,
            ]
        )

    def _draw(self) -> None:
        """Redraw everything."""
        self.title.value = text_of(f"Run {self._data.run_id}", 120)
        self._draw_price()
        self._draw_worth()
        self._draw_table()
        found = self._part("findings")
        words = self._data.summary() if found is None else f"{self._data.summary()}; {findings_words(found)}"
        self.summary.value = text_of(f"{words}.", 600)

    def _part(self, tab: str) -> pl.DataFrame | None:
        """Return the content of a tab; None, with an entry in the log, if it cannot be computed."""
        try:
            return self._data.part(tab, self._symbol)
        except WalleError as error:
            _log.error("%s: %s cannot be shown", self.name, tab, exc_info=error)
            return None

    def _draw_price(self) -> None:
        """Draw the candles of the window, with fills and findings on them."""
        symbol, window = self._drawn_symbol, self._window
        self._tell_window()
        if not symbol or window is None:
            self.caption.value = ""
            self.price.say("There are no candles to draw: this run has no fills, and names no symbol.")
            return
        timeframe = self._data.timeframe(symbol, *window, self._timeframe)
        name = text_of(symbol, 60)
        if timeframe is None:
            self.caption.value = self._about
            self.price.say(f"No bars of {name} are stored; take some in: store.bars.ingest(...).")
            return
        bars = self._store.bars.read(symbol, timeframe, *window)
        inside = pl.col("filled_at").is_between(*window, closed="left")
        fills = self._data.fills.filter(pl.col("symbol") == symbol, inside)
        found = self._part("findings")
        self.caption.value = self._caption(name, fills, found)
        if bars.is_empty():
            self.price.say(
                f"No {timeframe} bars of {name} are stored from {moment(window[0])} to {moment(window[1])} UTC."
            )
            return

        def chart(theme: Themed) -> Any:
            from walle.charts import candles

            return candles(bars, fills, found, theme=theme, title=name, width=1000, height=300)

        self._paint(self.price, chart, self.caption.value)

    def _caption(self, name: str, fills: pl.DataFrame, found: pl.DataFrame | None) -> str:
        """Return the caption of the candles."""
        count = fills.height
        parts = [f"{name}: {count:,} fill{'s' if count != 1 else ''} in this window"]
        if found is None:
            parts.append("what the audit says is not known (see the findings)")
        else:
            ringed = found.filter(pl.col("fill_id").is_in(fills["id"].implode()))["fill_id"].n_unique()
            if ringed:
                parts.append(f"{ringed:,} ringed: the audit has something to say of them")
        about = f"{self._about.rstrip('.')}. " if self._about else ""
        return f"{about}{'; '.join(parts)}."

    def _draw_worth(self) -> None:
        """Draw the equity and the drawdown of the run, or of the chosen symbol."""
        try:
            frame = self._data.part("equity", self._symbol)
        except WalleError as error:
            _log.error("%s: the equity cannot be shown", self.name, exc_info=error)
            self.worth.say(f"Equity: {error}")
            return
        if frame["equity"].null_count() == frame.height:
            self.worth.say("What the run was worth is not known: no bars of what it traded are stored.")
            return
        title = "Equity" if not self._symbol else f"Equity of {text_of(self._symbol, 40)} alone"

        def chart(theme: Themed) -> Any:
            from walle.charts import equity

            return equity(frame, theme=theme, title=title, width=1000, height=130)

        self._paint(self.worth, chart, title)

    def _paint(self, part: Picture, chart: Callable[[Themed], Any], label: str) -> None:
        """Show a chart as a picture, or the reason why it cannot be drawn."""
        try:
            from walle.charts.drawing import picture

            drawn = chart("dark" if self._dark else "light")
            data = picture(drawn, scale=_SCALE, effort=4)
            part.show(data, f"{label} {drawn._summary}", scale=_SCALE, dark=self._dark)
        except WalleError as error:
            _log.error("%s: a chart cannot be drawn", self.name, exc_info=error)
            part.say(str(error))

    def _draw_table(self) -> None:
        """Show the first page of the tab's rows."""
        tab = self._tab
        self.table.label = f"{tab} of run {text_of(self._data.run_id, 80)}"
        try:
            frame = format_tab(tab, self._data.part(tab, self._symbol))
        except WalleError as error:
            _log.error("%s: %s cannot be shown", self.name, tab, exc_info=error)
            self.table.empty = text_of(f"{tab}: {error}", 600)
            frame = pl.DataFrame()
        else:
            self.table.empty = _EMPTY[tab]
        self.pages.show(frame)

    # the user's choices

    def _choose_symbol(self, change: dict[str, Any]) -> None:
        """Show one symbol or all symbols."""
        if self._telling:
            return
        self._symbol, self._focus, self._about = change["new"], "", ""
        self._draw()

    def _choose_timeframe(self, change: dict[str, Any]) -> None:
        """Draw candles of another timeframe."""
        if self._telling:
            return
        self._timeframe = change["new"]
        self._draw_price()

    def _choose_tab(self, change: dict[str, Any]) -> None:
        """Show another table."""
        self._tab = change["new"]
        self._draw_table()

    def _choose_window(self, change: dict[str, Any]) -> None:
        """Move the window to the instants that were typed; an empty field stands for the start or end of the run.

        Raises
        ------
        InputError
            If the window would end before it starts.
        """
        if self._telling:
            return
        before, whole = self._window, self._whole()
        start, end = parse_range(*(self.controls[name].value.strip() or None for name in ("from", "to")))
        if whole is not None:
            start, end = start or whole[0], end or whole[1]
        if start is None or end is None or start >= end:
            raise InputError(f"from {start} to {end} is no time: give two instants, the later one second.")
        self._window = start, end
        if self._window == before:
            self._tell_window()
            return
        self._about = ""
        self._draw_price()

    def _pushed(self, button: Any) -> None:
        """Move the window in the direction of a button."""
        self._move({"to": button.description.lower()})

    def _move(self, message: dict[str, Any]) -> None:
        """Move the window: earlier, later, closer, wider, or to the whole run.

        Raises
        ------
        InputError
            For any other direction.
        """
        to = str(message.get("to"))
        if to not in MOVES:
            raise InputError(f"to={to!r}: allowed are {', '.join(MOVES)}.")
        if to == "whole":
            self._given = None, None
            self._focus, self._window = "", self._whole()
        elif self._window is not None:
            self._window = moved(self._window, to, 4 * self._data.step(self._drawn_symbol))
        self._about = ""
        self._draw_price()

    def _select(self, message: dict[str, Any]) -> None:
        """Move the candles to the time of a row."""
        number = self.pages.select(message)
        row = self._data.part(self._tab, self._symbol).row(number, named=True)
        place = self._data.place(self._tab, row)
        if place is None:
            self._about = f"Row {number + 1:,} of the {self._tab} is about no moment"
            self.caption.value = f"{self._about}."
            return
        symbol, start, end = place
        if symbol is not None and not self._symbol:
            self._focus = symbol
        timeframe = self._timeframe if self._timeframe in self._data.timeframes.get(self._drawn_symbol, []) else ""
        step = length(timeframe) if timeframe else self._data.step(self._drawn_symbol)
        margin = max(step * _AROUND, (end - start) / 4)
        self._window = shift(start, -margin), shift(end, margin + timedelta(microseconds=1))
        self._about = about(self._tab, row, start, end)
        self._draw_price()

    def _change_theme(self, message: dict[str, Any]) -> None:
        """Redraw for a dark or a light page."""
        dark = bool(message["dark"])
        if dark != self._dark:
            self._dark = dark
            self._draw_price()
            self._draw_worth()

    def _refresh(self, button: object) -> None:
        """Read the run again."""
        was_whole = self._window == self._whole()
        self._data = RunData(self._store, self._run_id)
        if was_whole:
            self._window = self._whole()
        choices = {"symbol": symbols_of(self._data), "timeframe": timeframes_of(self._data, self._timeframe)}
        self._telling = True  # setting the options selects the first one before the old choice is restored
        try:
            for name, options in choices.items():
                control = self.controls[name]
                chosen, control.options = control.value, options
                control.value = chosen
        finally:
            self._telling = False
        self._draw()

    def _tell_window(self) -> None:
        """Write the window into its controls without triggering their callbacks."""
        self._telling = True
        try:
            for name, time in zip(("from", "to"), self._window or (None, None), strict=True):
                self.controls[name].value = "" if time is None else moment(time.replace(microsecond=0))
        finally:
            self._telling = False
