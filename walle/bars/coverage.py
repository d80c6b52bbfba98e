"""Find the present, missing and unexpected bars of a series from opening times alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TypeVar

import polars as pl

from walle.calendars import Calendar, Slots, check_instants
from walle.calendars import calendar as find_calendar
from walle.errors import InputError
from walle.frames import INSTANT, no_rows
from walle.periods import offset, phases_of, usual_phase
from walle.timeframe import check_timeframe, has_anchor, is_calendar, length
from walle.validation import MICROSECOND, parse_range

__all__ = [
    "COVERAGE",
    "GAPS",
    "find_gaps",
    "local_phase",
    "missing",
    "outages",
    "own_phase",
    "short_first_phase",
    "summarise",
    "summarise_each",
    "unexpected",
]

GAPS = pl.Schema(
    {"start": INSTANT, "end": INSTANT, "missing": pl.Int64(), "duration": pl.Duration("us"), "cause": pl.String()}
)
"""One row is one gap: consecutive expected bars that are missing. ``start`` is the opening time of the first of them;
``end`` is when the last of them would have ended, but never after the next expected one opens; ``missing`` counts them.
``duration`` is ``end - start``, including hours without trading. ``cause``: single, hole or outage. No nulls."""

COVERAGE = pl.Schema(
    {
        "first": INSTANT,
        "last": INSTANT,
        "bars": pl.Int64(),
        "expected": pl.Int64(),
        "missing": pl.Int64(),
        "coverage": pl.Float64(),
        "gaps": pl.Int64(),
        "longest_gap": pl.Int64(),
        "unexpected": pl.Int64(),
    }
)
"""One row is one series: the opening times of its first and last bar (null without bars); the numbers of its bars, of
the expected ones, and of those that are missing; the share of the expected bars that is present (0 to 1; null when none
is expected); the number of gaps, the missing bars of the longest gap (0 without gaps), and the number of bars that open
where none is expected."""

_DAY = timedelta(days=1) // MICROSECOND
_CHANGES = pl.Schema({"time": INSTANT, "silent": pl.Int64(), "heard": pl.Int64()})

Moment = datetime | date | str
Name = TypeVar("Name")
Span = tuple[datetime, datetime] | pl.DataFrame


@dataclass(frozen=True, slots=True)
class _PlacedTimes:
    """The bars and slots of a range: sorted opening times, and the number of each one's slot (null off the grid)."""

    times: pl.Series
    slots: Slots
    places: pl.Series


def find_gaps(
    times: pl.Series,
    timeframe: str,
    calendar: str | Calendar = "24/7",
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    phase: timedelta | None = None,
) -> pl.DataFrame:
    """Find the expected bars that are missing.

    Parameters
    ----------
    times : polars.Series
        Opening times of the bars of one series: aware datetimes, in any order; duplicates count once.
    timeframe : str
    calendar : str or Calendar
    start, end : datetime, date or str, optional
        The range ``[start, end)`` of opening times; by default from the first bar to the last one, both included.
    phase : timedelta, optional
        The phase on the clock's grid, see :meth:`walle.calendars.Calendar.grid`. The default is the phase of the first
        bar for 24/7, 24/5, weeks, and several days or months; for other calendars, that of each session, or, if it fits
        more bars, one for all with a short first bar in each session.

    Returns
    -------
    polars.DataFrame
        Columns of :data:`GAPS`, in order of time; empty when nothing is missing, or when there are neither bars nor a
        range. A gap continues across hours without trading. Its cause is ``single`` if one bar is missing and both of
        its neighbours on the grid are present, else ``hole``; a gap at either end of the range is a hole.

    Examples
    --------
    >>> hours = pl.Series([0, 1, 4]) * 3_600_000_000
    >>> find_gaps(hours.cast(INSTANT), "1h").select("missing", "cause").row(0)
    (2, 'hole')
    """
    held = _hold(times, timeframe, calendar, start, end, phase)
    return _gaps(held, timeframe)


def missing(
    times: pl.Series,
    timeframe: str,
    calendar: str | Calendar = "24/7",
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    phase: timedelta | None = None,
    max_gap: int | None = None,
) -> pl.Series:
    """Return the opening time of each expected bar that is missing.

    Parameters
    ----------
    times, timeframe, calendar, start, end, phase
        As for :func:`find_gaps`.
    max_gap : int, optional
        Leave out gaps with more missing bars.

    Returns
    -------
    polars.Series
        Datetime("us", "UTC"), ascending, without duplicates; empty when nothing is missing.
    """
    held = _hold(times, timeframe, calendar, start, end, phase)
    before, after = _around(held)
    stretches = pl.DataFrame({"first": before + 1, "stop": after})
    if max_gap is not None:
        stretches = stretches.filter(pl.col("stop") - pl.col("first") <= max_gap)
    return held.slots.at(stretches.select(pl.int_ranges("first", "stop")).to_series().explode().drop_nulls())


def unexpected(
    times: pl.Series,
    timeframe: str,
    calendar: str | Calendar = "24/7",
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    phase: timedelta | None = None,
) -> pl.Series:
    """Return the opening times at which no bar is expected, because the market was closed or they are off the grid.

    Parameters
    ----------
    times, timeframe, calendar, start, end, phase
        As for :func:`find_gaps`.

    Returns
    -------
    polars.Series
        Datetime("us", "UTC"), ascending, without duplicates; empty when every bar was expected.
    """
    held = _hold(times, timeframe, calendar, start, end, phase)
    return held.times.filter(held.places.is_null())


def summarise(
    times: pl.Series,
    timeframe: str,
    calendar: str | Calendar = "24/7",
    start: Moment | None = None,
    end: Moment | None = None,
    *,
    phase: timedelta | None = None,
) -> pl.DataFrame:
    """Count the present, expected, missing and unexpected bars of a series.

    Parameters
    ----------
    times, timeframe, calendar, start, end, phase
        As for :func:`find_gaps`.

    Returns
    -------
    polars.DataFrame
        One row with the columns of :data:`COVERAGE`; ``bars == expected - missing + unexpected``.
    """
    held = _hold(times, timeframe, calendar, start, end, phase)
    (before, after), expected = _around(held), held.slots.total
    outside = held.places.null_count()
    there = held.times.len() - outside
    row = {
        "first": held.times.first() if there + outside else None,
        "last": held.times.last() if there + outside else None,
        "bars": there + outside,
        "expected": expected,
        "missing": expected - there,
        "coverage": there / expected if expected else None,
        "gaps": before.len(),
        "longest_gap": (after - before - 1).max() or 0,
        "unexpected": outside,
    }
    return pl.DataFrame([row], schema=COVERAGE)


def summarise_each(
    bars: pl.DataFrame,
    symbols: Sequence[str],
    timeframe: str,
    calendar: str | Calendar,
    start: Moment | None = None,
    end: Moment | None = None,
) -> pl.DataFrame:
    """Count what :func:`summarise` counts, of many series of one timeframe and calendar at once.

    Parameters
    ----------
    bars : polars.DataFrame
        symbol, timestamp: opening times without duplicates, all of them in the range; in any order.
    symbols : sequence of str
        One row is returned for each.
    timeframe : str
    calendar : str or Calendar
        One whose sessions have each their own phase, so no continuous one such as 24/7. A series with unexpected bars
        may have another grid, which :func:`summarise` finds; and so may one of weeks, or of several days or months.
    start, end : datetime, date or str, optional

    Returns
    -------
    polars.DataFrame
        symbol, then the columns of :data:`COVERAGE`, in the order of ``symbols``.
    """
    market = find_calendar(calendar)
    begin, stop = parse_range(start, end)
    ordered = bars.sort("symbol", "timestamp")
    ends = ordered.group_by("symbol").agg(
        first=pl.col("timestamp").min(), last=pl.col("timestamp").max(), bars=pl.len().cast(pl.Int64)
    )
    # without bars and with one end of a range or none, nothing is expected
    lo, hi = pl.col("first"), pl.col("last") + MICROSECOND
    lo = lo if begin is None else pl.when(pl.col("first").is_not_null() | pl.lit(stop is not None)).then(pl.lit(begin))
    hi = hi if stop is None else pl.when(pl.col("first").is_not_null() | pl.lit(begin is not None)).then(pl.lit(stop))
    whole = pl.DataFrame({"symbol": symbols}, schema={"symbol": pl.String()}).join(
        ends, on="symbol", how="left", maintain_order="left"
    )
    whole = whole.with_columns(lo.cast(INSTANT).alias("lo"), hi.cast(INSTANT).alias("hi"))
    low, high = whole["lo"].min(), whole["hi"].max()
    known = isinstance(low, datetime) and isinstance(high, datetime)
    slots = market.slots(timeframe, low, max(low, high)) if known else _no_slots()  # type: ignore[type-var, arg-type]  # times
    # the numbers of the first slot in the range of each series, and of the first one after it
    bounds = [(slots.floor(whole[name] - MICROSECOND) + 1).alias(name) for name in ("lo", "hi")]
    whole = whole.with_columns(bounds).with_columns(expected=(pl.col("hi") - pl.col("lo")).clip(0).fill_null(0))
    present = ordered.select("symbol", slots.place(ordered["timestamp"])).drop_nulls("place")
    inner = pl.col("place").diff().over("symbol") - 1
    edges = present.join(whole.select("symbol", "lo", "hi"), on="symbol", maintain_order="left").with_columns(
        inner=inner
    )
    holes = edges.group_by("symbol").agg(
        there=pl.len().cast(pl.Int64),
        inside=(pl.col("inner") > 0).sum().cast(pl.Int64),
        longest=pl.col("inner").max().fill_null(0),
        head=pl.col("place").first() - pl.col("lo").first(),
        tail=pl.col("hi").first() - 1 - pl.col("place").last(),
    )
    found = whole.join(holes, on="symbol", how="left", maintain_order="left")
    none, expected = pl.col("there").is_null(), pl.col("expected")
    there = pl.col("there").fill_null(0)
    edge = (pl.col("head") > 0).cast(pl.Int64) + (pl.col("tail") > 0).cast(pl.Int64)
    return found.with_columns(
        pl.col("bars").fill_null(0),
        missing=expected - there,
        coverage=pl.when(expected > 0).then(there / expected),
        gaps=pl.when(none).then((expected > 0).cast(pl.Int64)).otherwise(pl.col("inside") + edge),
        longest_gap=pl.when(none).then(expected).otherwise(pl.max_horizontal("longest", "head", "tail")),
        unexpected=pl.col("bars").fill_null(0) - there,
    ).select("symbol", *(pl.col(name).cast(kind) for name, kind in COVERAGE.items()))


def outages(gaps: Mapping[Name, pl.DataFrame], *, spans: Mapping[Name, Span] | None = None) -> dict[Name, pl.DataFrame]:
    """Mark the gaps during which all series of a provider are silent from start to end.

    Parameters
    ----------
    gaps : mapping of a series to polars.DataFrame
        The gaps of every series of one provider, including series without gaps: columns of :data:`GAPS`.
    spans : mapping of a series to (start, end) or polars.DataFrame, optional
        When bars of each series are expected: the range in which its gaps were searched for, or several ranges as the
        columns open and close. Outside of them the series is ignored. By default every series always counts.

    Returns
    -------
    dict of a series to polars.DataFrame
        The same frames; ``cause`` is ``outage`` if at every moment of the gap all series that count then have a gap,
        and these are at least two. A gap that only partly overlaps with the others keeps its cause, and so do all gaps
        of a provider with one series.

    Raises
    ------
    InputError
        If ``spans`` lacks a series.
    """
    lacking = [name for name in gaps if spans is not None and name not in spans]
    if lacking:
        raise InputError(f"spans lacks {len(lacking)} of the {len(gaps)} series, such as {lacking[0]!r}.")
    heard = _heard(gaps, spans)
    marked = {}
    for name, frame in gaps.items():
        ends = (
            frame.select(time=end).join(heard, on="time", how="left", maintain_order="left") for end in ("start", "end")
        )
        before, after = (end["heard"] for end in ends)
        marked[name] = frame.with_columns(cause=pl.when(before == after).then(pl.lit("outage")).otherwise("cause"))
    return marked


def own_phase(times: pl.Series, timeframe: str) -> timedelta:
    """Return how long after the clock's grid since 1970 UTC the earliest bar opens; 0 without bars and for dates.

    Of weeks, and of several days or months, it is the first day of a period (:mod:`walle.periods`); without bars, that
    of periods that begin on 1970-01-01, of weeks on its first Monday.
    """
    first = check_instants(times, "times").to_physical().min()
    if has_anchor(check_timeframe(timeframe)):
        if not isinstance(first, int):
            return timedelta(microseconds=usual_phase(timeframe))
        return timedelta(microseconds=phases_of(pl.Series([first // _DAY * _DAY]), timeframe)[0])
    if is_calendar(timeframe) or not isinstance(first, int):
        return timedelta(0)
    return timedelta(microseconds=first) % length(timeframe)


def short_first_phase(times: pl.Series, timeframe: str, market: Calendar) -> timedelta | None:
    """Return the phase of a series whose sessions begin with a short bar, after which bars open on the clock.

    Parameters
    ----------
    times : polars.Series
        The opening times of its bars: Datetime("us", "UTC"), sorted, without nulls.
    timeframe : str
    market : Calendar

    Returns
    -------
    datetime.timedelta or None
        The phase of most bars, if more of them fit such a grid than the calendar's own (:meth:`Calendar.grid` has
        both), and one opens off the phase; else None.

    Raises
    ------
    InputError
        If the calendar does not reach as far as the bars.
    """
    first, last = times.first(), times.last()
    if market.continuous or is_calendar(timeframe) or not isinstance(first, datetime) or not isinstance(last, datetime):
        return None
    end = last + timedelta(microseconds=1)
    own = market.slots(timeframe, first, end).place(times).null_count()
    if not own:
        return None
    phases = times.to_physical() % (length(timeframe) // MICROSECOND)
    counts = phases.value_counts(sort=True)
    usual = counts.filter(pl.col("count") == counts["count"][0])[counts.columns[0]].min()
    phase = timedelta(microseconds=int(usual))  # type: ignore[arg-type]  # an integer
    short = market.slots(timeframe, first, end, phase=phase, short_first=True).place(times)
    begun = short.is_not_null() & (phases != usual)
    return phase if begun.any() and short.null_count() < own else None


def local_phase(times: pl.Series, timeframe: str, market: Calendar) -> timedelta | None:
    """Return the phase of a series of 24/5 whose bars follow the clocks of New York.

    Parameters
    ----------
    times : polars.Series
        The opening times of its bars: Datetime("us", "UTC"), sorted, without nulls.
    timeframe : str
    market : Calendar

    Returns
    -------
    datetime.timedelta or None
        That of its first bar, in winter (:meth:`walle.calendars.Calendar.grid`), if more bars fit it than the grid of
        the first bar in UTC; else None.
    """
    first, last = times.first(), times.last()
    if market.name != "24/5" or is_calendar(timeframe) or not timedelta(hours=1) % length(timeframe):
        return None
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return None
    end, step = last + MICROSECOND, length(timeframe)
    own = market.slots(timeframe, first, end, phase=own_phase(times, timeframe)).place(times).null_count()
    if not own:
        return None
    at = times.head(1).to_physical()
    opens = market.stretches(int(at[0]), int(at[0]) + step // MICROSECOND)
    if opens.is_empty():
        return None
    summer = opens.head(1).select(market.summer(pl.col("open"))).item()
    phase = timedelta(microseconds=int(at[0]) - summer) % step
    local = market.slots(timeframe, first, end, phase=phase, local=True).place(times).null_count()
    return phase if local < own else None


def _hold(
    times: pl.Series,
    timeframe: str,
    name: str | Calendar,
    start: Moment | None,
    end: Moment | None,
    phase: timedelta | None,
) -> _PlacedTimes:
    market, given = find_calendar(name), check_instants(times, "times")
    check_timeframe(timeframe)
    if given.null_count():
        raise InputError(f"times holds {given.null_count()} nulls; every bar has an opening time.")
    if not (given.to_physical().diff().drop_nulls() > 0).all():
        given = given.unique().sort()
    local = local_phase(given, timeframe, market) if phase is None else None
    if phase is None and (market.continuous or has_anchor(timeframe)):
        phase = own_phase(given, timeframe) if local is None else local
    first, last = parse_range(start, end)
    lo = first if first is not None else given.first()
    hi = last if last is not None else given.last()
    if not isinstance(lo, datetime) or not isinstance(hi, datetime):
        nothing = _no_slots()  # neither bars nor a range: nothing is expected
        return _PlacedTimes(given, nothing, nothing.place(given))
    if last is None:
        hi += timedelta(microseconds=1)
    held = given.filter((given >= lo) & (given < hi)) if first is not None or last is not None else given
    if phase is None:
        phase = short_first_phase(held, timeframe, market)
        slots = market.slots(timeframe, lo, max(lo, hi), phase=phase, short_first=phase is not None)
    else:
        slots = market.slots(timeframe, lo, max(lo, hi), phase=phase, local=local is not None)
    return _PlacedTimes(held, slots, slots.place(held))


def _no_slots() -> Slots:
    return Slots.of(1, pl.DataFrame(schema={"first": pl.Int64(), "count": pl.Int64()}))


def _gaps(held: _PlacedTimes, timeframe: str) -> pl.DataFrame:
    slots, (before, after) = held.slots, _around(held)
    last, following = slots.at(after - 1), slots.at(after)
    ends = last.dt.offset_by(offset(timeframe)) if is_calendar(timeframe) else last + length(timeframe)
    single = (after - before == 2) & (before >= 0) & (after < slots.total)
    found = pl.DataFrame({"start": slots.at(before + 1), "end": ends, "next": following, "single": single})
    return found.select(
        "start",
        pl.min_horizontal("end", "next").alias("end"),  # a break or a close may cut the last bar short
        (after - before - 1).alias("missing"),
        pl.when("single").then(pl.lit("single")).otherwise(pl.lit("hole")).alias("cause"),
    ).select("start", "end", "missing", (pl.col("end") - pl.col("start")).alias("duration"), "cause")


def _around(held: _PlacedTimes) -> tuple[pl.Series, pl.Series]:
    """Return the slots before and after each gap, by number; -1 and the total stand for the ends of the range."""
    one = pl.Series([1], dtype=pl.Int64)
    present = pl.concat([-one, held.places.drop_nulls().rename(""), one * held.slots.total])
    around = pl.DataFrame({"before": present, "after": present.shift(-1)})
    around = around.filter(pl.col("after") - pl.col("before") > 1)
    return around["before"], around["after"]


def _heard(gaps: Mapping[Name, pl.DataFrame], spans: Mapping[Name, Span] | None) -> pl.DataFrame:
    """Return how long the provider was active before each end of a gap; it is equal at both ends of an outage."""
    ends = pl.concat(frame.select("start", "end") for frame in gaps.values()) if gaps else no_rows(GAPS)
    always = ends.select(open=pl.col("start").min(), close=pl.col("end").max())
    changes = [_changes(frame, always if spans is None else _ranges(spans[name])) for name, frame in gaps.items()]
    moments = pl.concat([no_rows(_CHANGES), *changes]).group_by("time").sum().sort("time")
    moments = moments.with_columns(pl.col("silent", "heard").cum_sum())
    lasts = (pl.col("time").shift(-1) - pl.col("time")).dt.total_microseconds().fill_null(0)
    heard = pl.when((pl.col("heard") > 0) | (pl.col("silent") < 2)).then(lasts).otherwise(0)
    return moments.select("time", heard=heard.cum_sum().shift(1, fill_value=0))


def _changes(gaps: pl.DataFrame, expected: pl.DataFrame) -> pl.DataFrame:
    """Return when one series falls silent, and when it is heard: bars are expected then, and none is missing."""
    edges = pl.concat(
        frame.select(time=pl.col(time), silent=pl.lit(silent, pl.Int64), expected=pl.lit(open_, pl.Int64))
        for frame, time, silent, open_ in (
            (gaps, "start", 1, 0),
            (gaps, "end", -1, 0),
            (expected, "open", 0, 1),
            (expected, "close", 0, -1),
        )
    )
    counts = edges.group_by("time").sum().sort("time").with_columns(pl.col("silent", "expected").cum_sum())
    heard = ((pl.col("expected") > 0) & (pl.col("silent") == 0)).cast(pl.Int64)
    return counts.select(
        "time", *(count - count.shift(1, fill_value=0) for count in (pl.col("silent"), heard.alias("heard")))
    )


def _ranges(span: Span) -> pl.DataFrame:
    if isinstance(span, pl.DataFrame):
        return span.select("open", "close")
    return pl.DataFrame([span], schema={"open": INSTANT, "close": INSTANT}, orient="row")
