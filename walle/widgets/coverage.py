"""``CoverageView``: the present and missing bars of a store."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from walle.bars.grid import GRID_PERIODS, CoverageGrid, check_period
from walle.calendars import Calendar
from walle.calendars import calendar as find_calendar
from walle.errors import InputError
from walle.notices import MissingCalendarWarning
from walle.options import GridPeriod
from walle.repositories.common import Time
from walle.store import Store
from walle.timeframe import TIMEFRAMES, check_timeframe, length
from walle.validation import parse_range, shift
from walle.widgets.coverage_static import end_of, static_of, summary_of
from walle.widgets.escape import moment, text_of
from walle.widgets.heat import share, totals
from walle.widgets.view import Static, View

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["CoverageView"]

SERIES = 2_000
"""The number of series drawn at once; of more series, those with the lowest coverage are drawn."""

MESSAGE = 1_800_000
"""The maximum number of bytes for the cells in one message; beyond it, cells of a longer period are drawn."""

_AROUND = 60
_ORDERS = ("by name", "least coverage first")
_MARKETS = ("24/7", "24/5", "XNYS", "XNAS", "XLON", "XETR", "XPAR", "XTKS", "XHKG", "XSHG", "ASX", "CMES")
_TITLES = ("from", "to", "missing", "lasts", "cause", "reason")


class CoverageView(View):
    """A heat map of the stored series by time, which shows where bars are missing.

    A cell is a day, a week or a month of a series, coloured by the share of its expected bars that is present. A cell
    with a missing bar is never drawn as complete; where cells are finer than the screen, their mean is drawn by the
    same rule. A click opens the gaps of a series, and a click on a gap shows the candles around it.

    Parameters
    ----------
    store : Store
    symbol : str or sequence of str, optional
        Only these symbols.
    timeframe : str, optional
        The initially selected timeframe; by default all.
    start, end : datetime, date or str, optional
        The range ``[start, end)`` of opening times: ``end="2024-01-31"`` excludes that day. By default from each
        series' first bar to its last one.
    calendar : str or Calendar, optional
        The calendar that says when bars are expected, as in ``store.bars.coverage``; by default that of each symbol.
    period : str
        The period of a cell: ``day``, ``week``, ``month``, or ``auto``, which depends on the visible time span.

    Raises
    ------
    UnknownSymbol
        If no bar of a named symbol is stored; the error suggests similar names.
    UnknownCalendar, UnknownTimeframe, InputError
    PersistenceUnavailable
        For a store in memory, which has no bars.

    Examples
    --------
    >>> view = walle.widgets.CoverageView(store, timeframe="1m", calendar="24/7")
    >>> view  # last in a cell
    >>> view.frame().filter(pl.col("missing") > 0)
    """

    name = "CoverageView"

    def __init__(
        self,
        store: Store,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
        period: GridPeriod | Literal["auto"] = "auto",
    ) -> None:
        super().__init__(store)
        parse_range(start, end)
        self._symbols = symbol if symbol is None or isinstance(symbol, str) else list(symbol)
        self._range = start, end
        self._calendar = None if calendar is None else find_calendar(calendar)
        self._given = {} if self._calendar is None else {self._calendar.name: self._calendar}
        self._timeframe = "" if timeframe is None else check_timeframe(timeframe)
        self._text, self._order, self._note = "", _ORDERS[0], ""
        self._auto = period == "auto"
        self._loaded: dict[str, CoverageGrid] = {}
        self._series: tuple[str, str] | None = None
        self._period = _fitting(self._days()) if self._auto else check_period(period)
        self._pick()

    # the content, which needs no widgets

    def frame(self) -> pl.DataFrame:
        """Return the cells that the view shows.

        Returns
        -------
        polars.DataFrame
            symbol, timeframe, start (of the day, week or month, UTC), expected, missing, coverage (0 to 1); sorted, as
            ``store.bars.coverage_by`` returns them. Empty if no series passes the filters.
        """
        cells = self._cells()
        return cells.take(self._matching(cells)).frame()

    def _statements(self) -> list[str]:
        start, end = (None if moment is None else moment.isoformat() for moment in parse_range(*self._range))
        given = {"symbol": self._symbols, "timeframe": self._timeframe or None, "start": start, "end": end}
        arguments = [repr(self._period), *(f"{name}={value!r}" for name, value in given.items() if value is not None)]
        lines = []
        if self._calendar is not None:
            own = self._calendar.own
            lines = [] if own is None else _sessions(self._calendar.name, own)
            arguments.append(f"calendar={self._calendar.name!r}" if own is None else "calendar=calendar")
        lines.append(f"frame = store.bars.coverage_by({', '.join(arguments)})")
        if self._text:
            test = f'pl.col("symbol").str.to_lowercase().str.contains({self._text.lower()!r}, literal=True)'
            lines.append(f"frame = frame.filter({test})")
        return lines

    def _cells(self, period: GridPeriod | None = None) -> CoverageGrid:
        """Return all cells of a period, counted once until the next refresh."""
        wanted = period or self._period
        if wanted not in self._loaded:
            count = self._store.bars.coverage_grid
            self._loaded[wanted] = count(wanted, self._symbols, None, *self._range, calendar=self._calendar)
        return self._loaded[wanted]

    def _matching(self, cells: CoverageGrid) -> list[int]:
        """Return the rows of the series that pass the filters."""
        series = cells.series.with_row_index("row")
        if self._timeframe:
            series = series.filter(pl.col("timeframe") == self._timeframe)
        if self._text:
            series = series.filter(pl.col("symbol").str.to_lowercase().str.contains(self._text.lower(), literal=True))
        return series["row"].to_list()

    def _pick(self) -> None:
        """Choose the series to draw: those that pass the filters, in order, and not too many."""
        cells = self._cells()
        rows = self._matching(cells)
        mine = cells if len(rows) == cells.series.height else cells.take(rows)
        chosen = totals(mine)
        worst = chosen.sort("coverage", "symbol", "timeframe", nulls_last=True)
        self._chosen, self._worst = mine, worst
        if self._order != _ORDERS[0]:
            chosen = worst.head(SERIES)
        elif chosen.height > SERIES:
            chosen = worst.head(SERIES).sort("row")
        self._totals = chosen
        self._shown = (
            mine if chosen["row"].is_sorted() and chosen.height == worst.height else mine.take(chosen["row"].to_list())
        )

    def _days(self) -> int:
        """Return the length of the series in days."""
        return self._cells("week").starts.len() * 7

    def _summary(self) -> str:
        if self._worst.is_empty():
            if self._text or self._timeframe:
                return f"none of {self._cells().series.height:,} series passes the filters"
            return "no bars are stored; take some in: store.bars.ingest(...)"
        more = f"; the {SERIES:,} of the least coverage are drawn, filter for others"
        return summary_of(self._worst) + (more if self._worst.height > SERIES else "")

    def _static(self) -> Static:
        return static_of(self._summary(), self._worst, self._chosen)

    # the interactive part

    def _make(self) -> ipywidgets.Widget:
        import ipywidgets

        from walle.widgets.canvas import Candles, HeatMap
        from walle.widgets.parts import Pages, Table, heading, row_of

        self.controls = _controls(self)
        for name in ("symbol", "timeframe", "order"):
            self.controls[name].observe(self._guarded(self._filter), "value")
        self.controls["calendar"].observe(self._guarded(self._change_calendar), "value")
        self.controls["period"].observe(self._guarded(self._change_period), "value")
        self.controls["refresh"].on_click(self._guarded(self._refresh))
        self.summary = ipywidgets.Label()
        self.summary.add_class("walle-quiet")
        self.map = HeatMap()
        for kind, method in (("hover", self._hover), ("open", self._open), ("span", self._zoomed)):
            self.map.on(kind, self._guarded(method))
        self.title, self.table = heading(""), Table(label="gaps", empty="nothing is missing")
        self.gaps = Pages(self.table, titles=_TITLES)
        self.table.on("select", self._guarded(self._around))
        self.table.on("page", self._guarded(self.gaps.turn))
        self.candles = Candles()
        self.details = ipywidgets.VBox([self.title, self.table, self.candles])
        self._draw()
        return ipywidgets.VBox([row_of(*self.controls.values()), self.summary, self.map, self.details])

    def _draw(self) -> None:
        """Draw the chosen series, in cells of a longer period if the message would be too large."""
        from walle.widgets.canvas import packed_levels

        data = packed_levels(self._shown)
        while len(data) > MESSAGE and self._period != "month":
            self._period = "week" if self._period == "day" else "month"
            self._note = f" Cells are {self._period}s: shorter ones of so many series are too large a message."
            self._pick()
            data = packed_levels(self._shown)
        summary = self._summary()
        self.summary.value = text_of(f"{summary[0].upper()}{summary[1:]}.{self._note}")
        self.map.show(self._shown, self._totals, data, f"Coverage by {self._period}: {summary}")
        self.map.layout.display = None if self._totals.height else "none"
        self._series = None
        self.details.layout.display = "none"

    def _redraw(self) -> None:
        self._note = ""
        self._pick()
        self._draw()

    def _filter(self, change: dict[str, Any]) -> None:
        """Apply the chosen text, timeframe and order."""
        self._text = self.controls["symbol"].value.strip()
        self._timeframe = self.controls["timeframe"].value
        self._order = self.controls["order"].value
        self._redraw()

    def _change_calendar(self, change: dict[str, Any]) -> None:
        """Count with another calendar; keep the old one if the new one is unknown or does not reach far enough."""
        name, before = change["new"].strip(), (self._calendar, self._loaded)
        try:
            self._calendar = None if not name else self._given.get(name) or find_calendar(name)
            self._loaded = {}
            self._redraw()
        except Exception:
            self._calendar, self._loaded = before
            raise

    def _change_period(self, change: dict[str, Any]) -> None:
        """Draw days, weeks or months, or the period that fits the zoom."""
        self._auto = change["new"] == "auto"
        self._period = _fitting(self._days()) if self._auto else check_period(change["new"])
        self._redraw()

    def _zoomed(self, message: dict[str, Any]) -> None:
        """Draw cells of the period that fits the number of visible days."""
        period = _fitting(float(message["days"]))
        if self._auto and period != self._period:
            self._period = period
            self._redraw()

    def _refresh(self, button: object) -> None:
        """Count again."""
        self._loaded = {}
        self._cells()
        with self.controls["timeframe"].hold_trait_notifications():
            self.controls["timeframe"].options = _timeframes(self)
            self.controls["timeframe"].value = self._timeframe
        self._redraw()

    def _hover(self, message: dict[str, Any]) -> None:
        """Send the text for a cell."""
        row, column = self._place(message)
        cells = self._shown
        place = row * cells.starts.len() + column
        expected, missing = int(cells.expected[place]), int(cells.missing[place])
        symbol, timeframe, market, *_ = cells.series.row(row)
        words = f"no bar is expected ({text_of(market, 60)})"
        if expected:
            lost = f", {missing:,} missing" if missing else ""
            words = f"{expected - missing:,} of {expected:,} bars, {share(expected, missing)}{lost}"
        when = {"day": "", "week": "week of ", "month": "month of "}[cells.period] + moment(cells.starts[column])
        self.map.answer(row, column, f"{text_of(symbol, 60)} {text_of(timeframe, 20)}, {when}: {words}")

    def _open(self, message: dict[str, Any]) -> None:
        """Show the gaps of a series, and mark the first one of the cell."""
        row, column = self._place(message)
        symbol, timeframe, *_ = self._shown.series.row(row)
        with warnings.catch_warnings():  # the calendar stands beside the series
            warnings.simplefilter("ignore", MissingCalendarWarning)
            gaps = self._store.bars.gaps(symbol, timeframe, *self._range, calendar=self._calendar)
        at = None
        if "column" in message and gaps.height:
            begins = self._shown.starts[column]
            inside = (gaps["end"] > begins) & (gaps["start"] < end_of(begins, self._shown.period))
            at = inside.arg_max() if inside.any() else None
        self._series, self.map.selected = (symbol, timeframe), row
        count = f"{gaps.height:,} gap{'s' if gaps.height != 1 else ''}, {int(gaps['missing'].sum()):,} bars missing"
        name = f"{text_of(symbol, 60)} {text_of(timeframe, 20)}"
        self.title.value = f"{name}: {count if gaps.height else 'nothing is missing'}"
        self.table.label = f"gaps of {name}"
        self.gaps.show(gaps.select("start", "end", "missing", "duration", "cause", "reason"), at=at)
        self.candles.layout.display = "none"
        self.details.layout.display = None

    def _around(self, message: dict[str, Any]) -> None:
        """Show the candles around a gap."""
        if self._series is None:
            return
        start, end, missing, _, cause, _ = self.gaps.frame.row(self.gaps.select(message))
        symbol, timeframe = self._series
        before, after = _near(partial(self._store.bars.read, symbol, timeframe), timeframe, start, end)
        lasts = f"{missing:,} bar{'s' if missing != 1 else ''} missing, {moment(start)} to {moment(end)} UTC ({cause})"
        around = f"{before.height} candles before and {after.height} after"
        name = f"{text_of(symbol, 60)} {text_of(timeframe, 20)}"
        self.candles.show(before, after, missing=missing, band=lasts, label=f"{name}: {around}; {lasts}")
        self.candles.layout.display = None

    def _place(self, message: dict[str, Any]) -> tuple[int, int]:
        """Return the row and the column of a message.

        Raises
        ------
        InputError
            For a cell that is not drawn.
        """
        row, column = int(message["row"]), int(message.get("column", 0))
        if not (0 <= row < self._shown.series.height and 0 <= column < self._shown.starts.len()):
            raise InputError(f"there is no cell in row {row}, column {column}.")
        return row, column


def _fitting(days: float) -> GridPeriod:
    """Return the shortest period with not many more than a thousand visible cells."""
    return "day" if days <= 1_100 else "week" if days <= 7_700 else "month"


def _near(
    read: Callable[[datetime, datetime], pl.DataFrame], timeframe: str, start: datetime, end: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the bars before and after a gap, looking further if the market was closed there."""
    reaches = (length(timeframe) * (_AROUND + 20), max(timedelta(days=8), length(timeframe) * 4 * _AROUND))
    before = after = pl.DataFrame()
    for reach in reaches:
        if before.height < _AROUND:
            before = read(shift(start, -reach), start).tail(_AROUND)
        if after.height < _AROUND:
            after = read(end, shift(end, reach)).head(_AROUND)
    return before, after


def _timeframes(view: CoverageView) -> list[tuple[str, str]]:
    known = set(view._cells().series["timeframe"]) | {view._timeframe}
    return [("all", ""), *((name, name) for name in TIMEFRAMES if name in known)]


def _controls(view: CoverageView) -> dict[str, ipywidgets.Widget]:
    """Return the controls; the description of each is its label."""
    import ipywidgets

    from walle.widgets.parts import sized

    made = {
        "symbol": ipywidgets.Text(
            view._text, description="symbol", placeholder="part of its name", continuous_update=False
        ),
        "timeframe": ipywidgets.Dropdown(options=_timeframes(view), value=view._timeframe, description="timeframe"),
        "calendar": ipywidgets.Combobox(
            value="" if view._calendar is None else view._calendar.name,
            options=list(dict.fromkeys([*view._given, *_MARKETS])),
            placeholder="of each symbol",
            description="calendar",
            continuous_update=False,
        ),
        "period": ipywidgets.Dropdown(
            options=[("by zoom", "auto"), *((f"{name}s", name) for name in GRID_PERIODS)],
            value="auto" if view._auto else view._period,
            description="cells",
        ),
        "order": ipywidgets.Dropdown(options=_ORDERS, value=view._order, description="order"),
        "refresh": ipywidgets.Button(description="Refresh", tooltip="count again", icon="refresh"),
    }
    widths = {"symbol": 180, "timeframe": 140, "calendar": 190, "period": 140, "order": 200, "refresh": 96}
    return sized(made, widths)


def _sessions(name: str, own: pl.DataFrame) -> list[str]:
    """Return the lines of Python that recreate a custom calendar."""
    kept = own.select(column for column in own if column.null_count() < column.len())
    numbers = kept.select(pl.all().to_physical()).to_dict(as_series=False)
    kinds = {column: "pl.Date" if column == "session" else 'pl.Datetime("us", "UTC")' for column in kept.columns}
    types = ", ".join(f'"{column}": {kind}' for column, kind in kinds.items())
    return [
        f"sessions = pl.DataFrame({numbers!r}).cast({{{types}}})",
        f"calendar = walle.calendars.from_sessions(sessions, {name!r})",
    ]
