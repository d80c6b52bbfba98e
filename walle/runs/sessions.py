"""The sessions by which the returns of a run are counted: where each begins, and how many a year has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import polars as pl

from walle.calendars import Calendar
from walle.calendars import calendar as find_calendar
from walle.frames import INSTANT
from walle.periods import begins, following, usual_day
from walle.timeframe import has_anchor, is_calendar, length, parts
from walle.validation import MICROSECOND

__all__ = ["SESSION_STARTS", "common_periods", "periods_per_year", "session_starts"]

SESSION_STARTS = pl.Schema({"session": pl.Date(), "after": INSTANT})
"""One row is one session: its date, and the instant after which the rows of equity belong to it; sorted."""

Markets = Iterable[tuple[Calendar, str]]
"""The calendars of the symbols of a run, each with the timeframe of its bars."""

_YEAR = timedelta(days=365.25)
_CYCLE = (date(2001, 1, 1), date(2029, 1, 1))  # 28 years: each date falls on each weekday equally often
_DAY = timedelta(days=1)
_LONGEST_PAUSE = timedelta(days=31)
_SPANS = pl.Schema({"session": pl.Date(), "open": INSTANT, "close": INSTANT})
_BOUNDS = {"first": pl.Int64(), "stop": pl.Int64()}


def session_starts(markets: Markets, times: pl.Series) -> pl.DataFrame:
    """Return the sessions to which the rows of an equity belong.

    Parameters
    ----------
    markets : iterable of (Calendar, timeframe)
    times : polars.Series
        The times of the rows: the ends of bars.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`SESSION_STARTS`, from the session of the first row to that of the last one; those without rows
        are listed too. Empty without rows.

        A session is a date on which any of the markets had one. It lasts until the last of these markets has closed,
        and a bar that ends after that, but before the next session, belongs to it. ``1d`` bars carry the date of their
        session. If all bars are longer than a day, each of the shortest timeframe counts as a session, under its
        opening date. Rows beyond the first or last session of a custom calendar are counted by the day in UTC.
    """
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return pl.DataFrame(schema=SESSION_STARTS)
    every = list(
        {(market.name, id(market.own), timeframe): (market, timeframe) for market, timeframe in markets}.values()
    )
    lo, hi = _instant(first) - _LONGEST_PAUSE - _DAY, _instant(last) + _DAY
    short = [(market, timeframe) for market, timeframe in every if length(timeframe) <= _DAY]
    if every and not short:
        found = _long(every, lo, hi, times)
    else:
        spans = [_spans(market, timeframe, lo, hi, times) for market, timeframe in short or [(find_calendar(), "1m")]]
        joined = pl.concat(spans).group_by("session").agg(pl.col("open").min(), pl.col("close").max()).sort("session")
        marked = pl.col("close").cum_max().shift(1)  # when the session before has its last close
        found = joined.select("session", after=pl.max_horizontal("open", marked))
    start, stop = (int(found["after"].search_sorted(end, "left")) for end in (first, last))
    return found.slice(max(start - 1, 0), stop - max(start - 1, 0)).cast(SESSION_STARTS)


def periods_per_year(calendars: Iterable[Calendar], timeframe: str, start: datetime, end: datetime) -> float:
    """Count the bars of a timeframe in a year; sessions are counted as bars of ``1d``.

    Parameters
    ----------
    calendars : iterable of Calendar
        The calendars of a run's symbols. An opening time counts once, however many of them have it.
    timeframe : str
    start, end : datetime
        The time span of the run. For an exchange the years from one to the other are counted. A custom calendar is
        counted by itself, from its first session to its last; if it has more bars than all others together, it counts.

    Returns
    -------
    float
        Bars in a mean year of 365.25 days: 365.25 for ``1d`` under 24/7, about 261 under 24/5, about 252 at XNYS; for
        ``1w`` about 52.18, for ``1M`` 12, and for ``3M`` 4. 0 without calendars.
    """
    every = list({(market.name, id(market.own)): market for market in calendars}.values())
    named = [market for market in every if market.own is None]
    found = [_rate([market], timeframe, *_of_own(market, timeframe)) for market in every if market.own is not None]
    listed = any(not market.continuous for market in named)
    span = (date(start.year, 1, 1), date(min(end.year, 2048) + 1, 1, 1)) if listed else _CYCLE
    if named:
        found.append(_rate(named, timeframe, *span))
    return max(found, default=0.0)


def common_periods(mine: Sequence[Calendar], other: Calendar, timeframe: str, start: datetime, end: datetime) -> float:
    """Count the bars in a year that the markets of a run and another market both have; arguments as above."""
    ours, theirs = (periods_per_year(of, timeframe, start, end) for of in (mine, [other]))
    both = periods_per_year([*mine, other], timeframe, start, end)
    return min(ours, theirs, max(ours + theirs - both, 0.0) or min(ours, theirs))


def _rate(markets: Sequence[Calendar], timeframe: str, lo: date, hi: date) -> float:
    """Return the share of the bars of a market that never closes that some markets have, times those in a year."""
    always = find_calendar().slots(timeframe, lo, hi).total
    count, unit = parts(timeframe)
    year = 12.0 / count if unit == "M" else _YEAR / length(timeframe)
    return _distinct(markets, timeframe, lo, hi) / always * year if always else 0.0


def _distinct(markets: Sequence[Calendar], timeframe: str, lo: date, hi: date) -> int:
    """Count the opening times that any of the markets has."""
    parts = [market.slots(timeframe, lo, hi) for market in markets]
    if len(parts) == 1:
        return parts[0].total
    step = parts[0].step
    spans = pl.concat(
        pl.DataFrame({"first": part.first, "stop": part.first + part.count * step}, schema=_BOUNDS) for part in parts
    )
    if is_calendar(timeframe):
        return spans["first"].n_unique()
    before = pl.col("stop").cum_max().shift(1).over("phase")
    ordered = spans.with_columns(phase=pl.col("first") % step).sort("phase", "first").with_columns(before=before)
    fresh = pl.col("stop") - pl.max_horizontal("first", "before")
    return int(ordered.select(fresh.clip(0).sum()).item()) // step


def _of_own(market: Calendar, timeframe: str) -> tuple[date, date]:
    """Return the span of a custom calendar, from the beginning of the period of its first session."""
    days = market.known(-(2**62), 2**62)["session"]
    if is_calendar(timeframe):
        starts = begins(days.cast(pl.Datetime("us")).to_physical(), timeframe)
        first, last = starts.cast(pl.Datetime("us")).dt.date().min(), days.max()
    else:
        first, last = days.min(), days.max()
    return (first, last + _DAY) if isinstance(first, date) and isinstance(last, date) else _CYCLE


def _spans(market: Calendar, timeframe: str, lo: datetime, hi: datetime, times: pl.Series) -> pl.DataFrame:
    """Return the sessions of a market that rows may belong to: session, open, close."""
    whole = market.own is not None
    ends = (-(2**62), 2**62) if whole else tuple(int(moment.timestamp() * 1_000_000) for moment in (lo, hi))
    known = market.known(*ends).select("session", "open", "close")
    step = length(timeframe)
    if timeframe == "1d":
        day, step = pl.col("session").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), timedelta()
        known = known.select("session", open=day, close=day + _DAY)
    first, last = known["open"].min(), known["close"].max()
    if not whole:
        return known.cast(_SPANS)
    beyond = times
    if isinstance(first, datetime) and isinstance(last, datetime):  # the last bar may end after the close
        beyond = times.filter((times <= first) | (times >= last + step))
    days = (beyond - MICROSECOND).dt.date().unique().alias("session")
    opens = days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    outside = pl.DataFrame({"session": days, "open": opens, "close": opens + _DAY}, schema=_SPANS)
    return pl.concat([known.cast(_SPANS), outside.join(known, on="session", how="anti")])


def _long(markets: Sequence[tuple[Calendar, str]], lo: datetime, hi: datetime, times: pl.Series) -> pl.DataFrame:
    """Return the periods of bars that are longer than a day."""
    timeframe = min((timeframe for _, timeframe in markets), key=length)
    phase = _phase(times, timeframe) if has_anchor(timeframe) and timeframe != "1w" else None
    opens = pl.concat(_periods(market, timeframe, lo, hi, phase) for market, _ in markets).unique().sort()
    return pl.DataFrame({"session": opens.dt.date(), "after": opens})


def _periods(market: Calendar, timeframe: str, lo: datetime, hi: datetime, phase: int | None) -> pl.Series:
    start, end = (int(moment.timestamp() * 1_000_000) for moment in (lo - _LONGEST_PAUSE, hi))
    dates = market.known(start - length(timeframe) // MICROSECOND, end)["session"].cast(pl.Datetime("us"))
    return begins(dates.to_physical(), timeframe, phase).cast(INSTANT).unique()


def _phase(times: pl.Series, timeframe: str) -> int:
    """Return the phase of several days, weeks or months, of which most rows are the end."""
    days = (times.unique() - MICROSECOND).dt.truncate("1d").to_physical()
    one = {"d": "1d", "w": "1w", "M": "1M"}[parts(timeframe)[1]]
    return usual_day(following(begins(days, one), one), timeframe)


def _instant(moment: datetime) -> datetime:
    """Return an instant that is far enough from the ends of time to look around it."""
    far = timedelta(days=100)
    low, high = datetime(1, 1, 1, tzinfo=UTC) + far, datetime(9999, 12, 31, tzinfo=UTC) - far
    return min(max(moment, low), high)
