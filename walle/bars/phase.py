"""The phase of a series: how long after the clock's grid its intraday bars open, and when its periods begin."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

from walle.calendars import MONDAY, Calendar
from walle.errors import InputError
from walle.periods import phases_of
from walle.timeframe import has_anchor, is_calendar, length
from walle.validation import MICROSECOND, from_microseconds, shift

__all__ = ["Phases", "Series", "names_in", "phase_unit"]

Series = tuple[str, str]
"""A symbol and a timeframe."""

_SERIES = ["symbol", "timeframe"]
_HOUR = timedelta(hours=1) // MICROSECOND
_DAY = timedelta(days=1)


def phase_unit(timeframe: str) -> int:
    """Return the length of a bar in microseconds; a phase is less than it."""
    return length(timeframe) // MICROSECOND


def names_in(timeframes: pl.Series) -> list[str]:
    """Return the distinct timeframes of a column, without nulls; most sources have one."""
    first = timeframes.first()
    if isinstance(first, str) and bool((timeframes == first).fill_null(False).all()):
        return [first]
    return timeframes.unique().drop_nulls().to_list()


class Phases:
    """The phases of series: the recorded ones, and those learned from the first bars of new series.

    Parameters
    ----------
    known : mapping of (symbol, timeframe) to int
        Microseconds after the clock's grid since 1970 UTC; of weeks, and of several days or months, the first day of a
        period since 1970-01-01 (:mod:`walle.periods`).

    Attributes
    ----------
    known : dict
        The recorded and the learned phases.
    markets : dict of str to Calendar or None
        By symbol; the sessions of a calendar may start bars off the phase, such as after a lunch break.
    """

    def __init__(self, known: Mapping[Series, int] | None = None) -> None:
        self.known: dict[Series, int] = dict(known or {})
        self.markets: dict[str, Calendar | None] = {}

    def strays(self, bars: pl.DataFrame) -> pl.Series:
        """Return whether each bar opens off the phase of its series, and learn the phases of new series.

        Parameters
        ----------
        bars : polars.DataFrame
            symbol, timeframe, timestamp (UTC), without nulls.

        Returns
        -------
        polars.Series
            Boolean. The phase of a new series is the most frequent one among these bars. Bars longer than an hour may
            also open an hour off, because of daylight saving time: 22:00 UTC becomes 21:00 in summer.
        """
        timeframes = names_in(bars["timeframe"])
        intraday = [name for name in timeframes if not is_calendar(name)]
        if not intraday:
            return pl.Series("stray", [False], pl.Boolean).new_from_index(0, bars.height)
        times, units = pl.col("timestamp").to_physical(), {name: phase_unit(name) for name in intraday}
        if len(timeframes) == 1 and (bars["symbol"] == bars["symbol"][0]).all():
            phases = bars.select(times % units[intraday[0]]).to_series()
            series = (bars["symbol"][0], intraday[0])
            if series not in self.known:
                counts = phases.value_counts(sort=True)
                self.known[series] = counts.filter(pl.col("count") == counts["count"][0])["timestamp"].min()  # type: ignore[assignment]  # an integer
            return (
                phases.to_frame("phase")
                .select(_off(pl.lit(self.known[series]), pl.lit(units[intraday[0]])))
                .to_series()
            )
        unit = pl.col("timeframe").replace_strict(units, default=None, return_dtype=pl.Int64)
        found = bars.select(*_SERIES, phase=times % unit, unit=unit)
        self._learn(found.drop_nulls())
        rows = [(*series, phase) for series, phase in self.known.items()]
        known = pl.DataFrame(rows, schema={"symbol": pl.String, "timeframe": pl.String, "own": pl.Int64}, orient="row")
        joined = found.join(known, on=_SERIES, how="left", maintain_order="left")
        return joined.select(_off(pl.col("own"), pl.col("unit")).fill_null(False)).to_series()

    def off_weeks(self, bars: pl.DataFrame) -> pl.Series:
        """Return whether each bar of ``1w`` opens on another weekday than its series, and learn those of new series.

        Parameters
        ----------
        bars : polars.DataFrame
            symbol, timeframe, timestamp (UTC); any row may hold nulls.

        Returns
        -------
        polars.Series
            Boolean, False for bars of other timeframes. The weeks of a new series begin on the weekday on which all of
            its bars open here, if these are several; otherwise on Mondays.
        """
        weekly = (bars["timeframe"] == "1w").fill_null(False)
        if not weekly.any():
            return weekly
        days = pl.col("timestamp").dt.truncate("1d").to_physical()
        labels = bars.filter(weekly).select("symbol", "timestamp", phase=days % phase_unit("1w")).drop_nulls()
        counts = labels.group_by("symbol").agg(pl.col("phase").unique(), bars=pl.col("timestamp").n_unique())
        for symbol, phases, several in counts.iter_rows():
            begins = phases[0] if len(phases) == 1 and several > 1 else MONDAY
            self.known.setdefault((symbol, "1w"), begins)
        known = {symbol: phase for (symbol, timeframe), phase in self.known.items() if timeframe == "1w"}
        own = pl.col("symbol").replace_strict(known, default=MONDAY, return_dtype=pl.Int64)
        return weekly & bars.select((days % phase_unit("1w") != own).fill_null(False)).to_series()

    def off_periods(self, bars: pl.DataFrame) -> pl.Series:
        """Return whether each bar of several days, weeks or months begins off the periods of its series.

        Parameters
        ----------
        bars : polars.DataFrame
            symbol, timeframe, timestamp (UTC); any row may hold nulls.

        Returns
        -------
        polars.Series
            Boolean, False for bars of other timeframes. The periods of a new series begin where most of these bars do;
            where as many begin elsewhere, with the earliest phase.
        """
        off = pl.Series("off", [False], pl.Boolean).new_from_index(0, bars.height)
        long = [name for name in names_in(bars["timeframe"]) if has_anchor(name) and name != "1w"]
        if not long:
            return off
        day = pl.col("timestamp").dt.truncate("1d").to_physical().alias("day")
        dated = bars.select(*_SERIES, "timestamp", day).with_row_index("place").drop_nulls()
        for timeframe in long:
            rows = dated.filter(timeframe=timeframe)
            if rows.is_empty():
                continue
            rows = rows.with_columns(phases_of(rows["day"], timeframe).alias("phase"))
            known = {symbol: phase for (symbol, name), phase in self.known.items() if name == timeframe}
            new = _anchors(rows.filter(~pl.col("symbol").is_in(list(known))), timeframe)
            self.known |= {(symbol, timeframe): phase for symbol, phase in new.items()}
            own = pl.col("symbol").replace_strict(known | new, return_dtype=pl.Int64)
            off = off.scatter(rows["place"], rows.select(pl.col("phase") != own).to_series())
        return off

    def on_grid(self, bars: pl.DataFrame) -> pl.Series:
        """Return whether the calendar of its symbol expects each bar; False without a calendar."""
        places = pl.Series("on_grid", [False], pl.Boolean).new_from_index(0, bars.height)
        if not any(self.markets.values()):
            return places
        for (symbol, timeframe), rows in bars.with_row_index("place").group_by(_SERIES):
            market = self.markets.get(str(symbol))
            if market is None:
                continue
            times = rows["timestamp"]
            lo, hi = (from_microseconds(int(end)) for end in (times.to_physical().min(), times.to_physical().max()))  # type: ignore[arg-type]  # integers
            try:
                expected = _expected(
                    times, str(timeframe), market, lo, hi, self.known.get((str(symbol), str(timeframe)))
                )
            except InputError:  # beyond its bounds, a calendar expects no bars
                continue
            places = places.scatter(rows["place"], expected)
        return places

    def _learn(self, found: pl.DataFrame) -> None:
        counts = found.group_by(*_SERIES, "phase").len()
        first = counts.sort(*_SERIES, "len", "phase", descending=[False, False, True, False])
        for symbol, timeframe, phase in first.unique(_SERIES, keep="first").drop("len").iter_rows():
            self.known.setdefault((symbol, timeframe), phase)


def _anchors(bars: pl.DataFrame, timeframe: str) -> dict[str, int]:
    """Return the phase at which most bars of each symbol begin their periods, as far as their labels are first days.

    Parameters
    ----------
    bars : polars.DataFrame
        symbol, timestamp, day (its first microsecond), phase.
    timeframe : str
    """
    first = pl.col("timestamp").to_physical() == pl.col("day")
    if timeframe.endswith("M"):
        first &= pl.col("timestamp").dt.day() == 1
    labels = bars.filter(first | ~first.any().over("symbol")).unique(["symbol", "day"])
    counts = labels.group_by("symbol", "phase").len().sort("len", "phase", descending=[True, False])
    return dict(counts.unique("symbol", keep="first", maintain_order=True).select("symbol", "phase").iter_rows())


def _expected(
    times: pl.Series, timeframe: str, market: Calendar, lo: datetime, hi: datetime, phase: int | None
) -> pl.Series:
    """Return whether each bar stands on the calendar's own grid, or that with short first bars if more of them do."""
    anchor = timedelta(microseconds=phase) if phase is not None and has_anchor(timeframe) else None
    slots = market.slots(timeframe, lo, hi + MICROSECOND, phase=anchor)
    own = slots.place(times).is_not_null()
    if phase is None or market.continuous or is_calendar(timeframe):
        return own
    unit = phase_unit(timeframe)
    short = market.slots(timeframe, lo, hi + MICROSECOND, phase=timedelta(microseconds=phase), short_first=True)
    on_short = short.place(times).is_not_null()
    try:  # whole days: after a break alone, the bars of a market tell nothing of where its sessions begin
        around = market.slots(timeframe, shift(lo, -_DAY), shift(hi, _DAY))
    except InputError:  # at the bounds of the calendar
        around = slots
    distances = (around.first - phase) % unit
    hours = [0, _HOUR, unit - _HOUR] if unit > _HOUR else [0]  # bars on the clock of a zone move by an hour
    return on_short if on_short.sum() > own.sum() or not distances.is_in(hours).any() else own


def _off(own: pl.Expr, unit: pl.Expr) -> pl.Expr:
    distance = (pl.col("phase") - own) % unit
    an_hour = (unit > _HOUR) & ((distance == _HOUR) | (distance == unit - _HOUR))
    return ((distance != 0) & ~an_hour).alias("stray")
