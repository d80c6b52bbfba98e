"""Transform frames of bars: fill and mark short gaps, and resample to longer timeframes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import polars as pl

from walle.bars.coverage import missing, own_phase, short_first_phase
from walle.calendars import Calendar, Slots, calendar, check_instants
from walle.enums import PRICES
from walle.errors import InputError
from walle.frames import INSTANT
from walle.periods import begins, check_phase, following, phases_of, usual_phase
from walle.timeframe import check_timeframe, has_anchor, is_calendar, length, parts
from walle.validation import MICROSECOND, from_microseconds, to_microseconds

__all__ = ["fill_gaps", "resample"]

_NEEDED = ("timestamp", *PRICES, "volume")
_MARGIN = 33 * 86_400_000_000  # in microseconds: a month, and a session that opens on the day before its date


def fill_gaps(
    frame: pl.DataFrame,
    *,
    timeframe: str,
    max_gap: int,
    calendar: str | Calendar = "24/7",
    phase: timedelta | None = None,
) -> pl.DataFrame:
    """Fill gaps of at most ``max_gap`` bars with the last close, and mark the rows that were filled in.

    Parameters
    ----------
    frame : polars.DataFrame
        timestamp (Datetime("us", "UTC")), open, high, low, close, volume (Float64), in any order; with ``symbol``, each
        symbol is a series of its own. Further columns stay, and are null in the rows that are filled in.
    timeframe : str
        The timeframe of all rows.
    max_gap : int
        The largest number of consecutive expected bars to fill in, at least 1. A longer gap is not filled at all.
    calendar : str or Calendar
        The calendar that says when bars are expected: nothing is filled in while the market is closed.
    phase : timedelta, optional
        See :func:`walle.bars.coverage.find_gaps`.

    Returns
    -------
    polars.DataFrame
        The columns of ``frame`` and ``is_filled`` (Boolean, no nulls), sorted by symbol and timestamp (UTC). In a
        filled row, open, high, low and close are the close of the previous row, and volume is 0. No rows are added
        before the first bar of a series or after its last one; an empty frame stays empty.

    Raises
    ------
    InputError
        For a missing column, bars of another timeframe, or a ``max_gap`` that is not an integer above 0.
    """
    if not isinstance(max_gap, int) or isinstance(max_gap, bool) or max_gap < 1:
        raise InputError(f"max_gap={max_gap!r} is no count of bars: an integer of at least 1.")
    frame = _checked(frame, timeframe)
    keys = [key for key in ("symbol", "timeframe") if key in frame.columns]
    added = [frame.select(*keys, "timestamp").clear()]
    for series in frame.partition_by("symbol") if "symbol" in keys else [frame]:
        holes = missing(series["timestamp"], timeframe, calendar, phase=phase, max_gap=max_gap)
        named = (pl.lit(series[key].first(), frame.schema[key]).alias(key) for key in keys)
        added.append(holes.to_frame("timestamp").select(*named, "timestamp"))
    known = pl.col("is_filled") if "is_filled" in frame.columns else pl.lit(False)
    new_rows = pl.concat(added).with_columns(is_filled=True)
    filled = pl.concat([frame.with_columns(is_filled=known), new_rows], how="diagonal")
    filled = filled.sort(*keys, "timestamp", maintain_order=True)
    new = pl.col("close").is_null() & pl.col("is_filled")
    # every filled row comes after a row of its own series
    return filled.with_columns(
        *(pl.when(new).then(pl.col("close").forward_fill()).otherwise(name).alias(name) for name in PRICES),
        volume=pl.when(new).then(0.0).otherwise("volume"),
    )


def resample(
    frame: pl.DataFrame,
    to: str,
    *,
    timeframe: str,
    calendar: str | Calendar = "24/7",
    phase: timedelta | None = None,
) -> pl.DataFrame:
    """Make bars of a longer timeframe, and mark those that have all their parts.

    Parameters
    ----------
    frame : polars.DataFrame
        timestamp (Datetime("us", "UTC")), open, high, low, close, volume (Float64), in any order; with ``symbol``, each
        symbol is a series of its own. Bars that ``is_filled`` marks count as missing, though their prices are used.
    to : str
        The longer timeframe: a multiple of ``timeframe``.
    timeframe : str
        The timeframe of all rows.
    calendar : str or Calendar
        Intraday bars start at the open of each session and at the end of its break, as in
        :meth:`walle.calendars.Calendar.grid`, and end with the session or at its break; for 24/7 and 24/5 they stand on
        the clock's grid in UTC. ``1d`` bars hold one session, and carry its date at 00:00 UTC; longer ones hold the
        sessions of their period, and carry its first day. Days and weeks make no whole months, which are made of bars
        of at most a day or of months.
    phase : timedelta, optional
        When the periods of weeks, and of several days or months begin: the time from 1970-01-01 to the first one. The
        default is that of :meth:`walle.calendars.Calendar.grid` (weeks from Monday, quarters from January), or, where
        the periods of the frame's own bars do not meet it, theirs.

    Returns
    -------
    polars.DataFrame
        symbol and timeframe (String; if ``frame`` has them), timestamp (Datetime("us", "UTC"): the opening time), open
        (of the first part), high, low, close (of the last part), volume (the sum; Float64), bars (Int64: how many parts
        there were), expected (Int64: how many the calendar expects), is_complete (Boolean: ``bars == expected``). No
        nulls; sorted by symbol and timestamp. A period without a bar has no row; an empty frame gives an empty one.

    Raises
    ------
    InputError
        For a target that is not a longer multiple, a missing column, bars of another timeframe, a duplicate bar, or
        bars that open where the calendar expects none.
    """
    market, frame = _target(timeframe, to, calendar, phase), _checked(frame, timeframe)
    keys = [key for key in ("symbol", "timeframe") if key in frame.columns]
    frame = frame.sort(*keys, "timestamp")
    _refuse_repeated(frame, keys)
    if "symbol" in keys and has_anchor(timeframe) and frame["symbol"].n_unique() > 1:  # each has its own periods
        each = frame.partition_by("symbol", maintain_order=True)
        return pl.concat(resample(rows, to, timeframe=timeframe, calendar=market, phase=phase) for rows in each)
    bucket, expected = _buckets(frame["timestamp"], timeframe, to, market, phase)
    real = (~pl.col("is_filled")).sum() if "is_filled" in frame.columns else pl.len()
    made = (
        frame.with_columns(bucket=bucket)
        .group_by(*keys, "bucket", maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
            real.cast(pl.Int64).alias("bars"),
        )
        .join(expected, on="bucket", how="left", maintain_order="left")
        .with_columns(pl.col("bucket").alias("timestamp"), is_complete=pl.col("bars") == pl.col("expected"))
    )
    if "timeframe" in keys:
        made = made.with_columns(timeframe=pl.lit(to))
    return made.select(*keys, *_NEEDED, "bars", "expected", "is_complete")


def _checked(frame: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    lacking = [name for name in _NEEDED if name not in frame.columns]
    if lacking:
        raise InputError(f"the frame lacks {', '.join(map(repr, lacking))}; it has: {', '.join(frame.columns)}.")
    check_timeframe(timeframe)
    if "timeframe" in frame.columns:
        others = frame["timeframe"].filter(frame["timeframe"].ne_missing(timeframe))
        if others.len():
            raise InputError(
                f"timeframe={timeframe!r} was given, but the frame holds {others.len()} bars of {others[0]!r}."
            )
    times = check_instants(frame["timestamp"], "column 'timestamp'")
    if times.null_count():
        raise InputError(f"column 'timestamp' holds {times.null_count()} nulls; every bar has an opening time.")
    return frame.with_columns(times.alias("timestamp"))


def _target(timeframe: str, to: str, name: str | Calendar, phase: timedelta | None) -> Calendar:
    step, longer, market = length(timeframe), length(to), calendar(name)
    if phase is not None and not has_anchor(to):
        raise InputError(f"phase={phase!r} says when weeks and several days or months begin; bars of {to} have none.")
    if phase is not None and not check_phase(phase // MICROSECOND, to):
        raise InputError(f"phase={phase!r} is not the time from 1970-01-01 to the first period of {to} from there on.")
    (count, unit), (more, long) = parts(timeframe), parts(to)
    whole = more % count == 0 if unit == long == "M" else not longer % step
    if "M" in (unit, long) and unit != long:
        whole = long == "M" and step <= timedelta(days=1)
    if longer <= step or not whole:
        raise InputError(
            f"bars of {timeframe} do not make bars of {to}: it must be a longer timeframe, and a multiple."
        )
    if market.name == "24/5" and is_calendar(to) and timedelta(hours=1) < step < timedelta(days=1):
        raise InputError(
            f"bars of {timeframe} stand across 17:00 in New York, where the days of 24/5 begin, so that no "
            f"bars of {to} can be made of them. Take bars of at most 1h."
        )
    return market


def _buckets(
    times: pl.Series, timeframe: str, to: str, market: Calendar, phase: timedelta | None
) -> tuple[pl.Series, pl.DataFrame]:
    """Return the new opening time of each bar, and a frame of all of these (bucket) and their expected bars (Int64)."""
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return times.alias("bucket"), pl.DataFrame(schema={"bucket": INSTANT, "expected": pl.Int64})
    if is_calendar(timeframe) and timeframe != "1d":
        return _periods(times, timeframe, to, market, phase)
    short = short_first_phase(times.unique().sort(), timeframe, market) if is_calendar(to) else None
    _refuse_outside(times, market.slots(timeframe, first, last + MICROSECOND, **_on(short)), timeframe, market)
    if is_calendar(to):
        margin = _MARGIN + length(to) // MICROSECOND
        sessions = market.known(to_microseconds(first) - margin, to_microseconds(last) + margin)
        own = usual_phase(to) if phase is None else phase // MICROSECOND
        return _dates(times, timeframe, sessions, market, short, partial(begins, timeframe=to, phase=own))
    lo, hi = first - length(to), last + length(to)
    slots, parts = market.slots(to, lo, hi), market.slots(timeframe, lo, hi)
    place = slots.floor(times)
    found = place.unique().sort()
    start, following = slots.at(found), slots.at(found + 1).fill_null(hi)
    expected = parts.floor(following - MICROSECOND) - parts.floor(start - MICROSECOND)
    return slots.at(place), pl.DataFrame({"bucket": start, "expected": expected})


def _periods(
    times: pl.Series, timeframe: str, to: str, market: Calendar, phase: timedelta | None
) -> tuple[pl.Series, pl.DataFrame]:
    """Return the same of bars that hold several days themselves.

    Raises
    ------
    InputError
    """
    own = own_phase(times, timeframe)
    begun = usual_phase(to) if phase is None else phase // MICROSECOND
    if has_anchor(timeframe) and phases_of(pl.Series([begun]), timeframe)[0] != own // MICROSECOND:
        if phase is not None:
            raise InputError(
                f"phase={phase!r}: no bar of {timeframe} begins with those periods, but {own!r} after 1970."
            )
        begun = own // MICROSECOND
    ends = begins(pl.Series([times.min(), times.max()], dtype=INSTANT).to_physical(), to, begun)
    lo, hi = from_microseconds(ends[0]), from_microseconds(following(ends, to)[1])
    slots = market.slots(timeframe, lo, hi, phase=own if has_anchor(timeframe) else None)
    _refuse_outside(times, slots, timeframe, market)
    buckets = begins(slots.times().to_physical(), to, begun).cast(INSTANT)
    expected = buckets.to_frame("bucket").group_by("bucket").agg(expected=pl.len().cast(pl.Int64))
    return begins(times.to_physical(), to, begun).cast(INSTANT), expected


def _dates(
    times: pl.Series,
    timeframe: str,
    sessions: pl.DataFrame,
    market: Calendar,
    short: timedelta | None,
    to_periods: Callable[[pl.Series], pl.Series],
) -> tuple[pl.Series, pl.DataFrame]:
    starts = sessions["session"].cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if is_calendar(timeframe):
        opens, parts = starts, pl.Series([1], dtype=pl.Int64).new_from_index(0, sessions.height)
    else:
        opens = sessions["open"]
        slots = market.slots(timeframe, opens[0], sessions["close"][-1], **_on(short))
        parts = slots.floor(sessions["close"] - MICROSECOND) - slots.floor(opens - MICROSECOND)
    buckets = to_periods(starts.to_physical()).cast(INSTANT)
    expected = pl.DataFrame({"bucket": buckets, "expected": parts}).group_by("bucket").sum()
    return buckets.gather(opens.search_sorted(times, "right").cast(pl.Int64) - 1), expected


def _on(short: timedelta | None) -> dict[str, Any]:
    """Return the arguments for the grid of bars whose sessions begin with a short one, or for the calendar's own."""
    return {} if short is None else {"phase": short, "short_first": True}


def _refuse_repeated(ordered: pl.DataFrame, keys: Sequence[str]) -> None:
    same = pl.all_horizontal(pl.col(key) == pl.col(key).shift(1) for key in (*keys, "timestamp"))
    repeated = ordered.filter(same)
    if repeated.height:
        raise InputError(
            f"{repeated.height} bars share their timestamp with another one of their series, such as "
            f"{repeated['timestamp'][0]}. Keep one of each: frame.unique(['symbol', 'timestamp'])."
        )


def _refuse_outside(times: pl.Series, slots: Slots, timeframe: str, market: Calendar) -> None:
    outside = times.filter(slots.place(times).is_null())
    if outside.len():
        raise InputError(
            f"{outside.len()} of {times.len()} bars open where calendar {market.name} expects no bar of {timeframe}, "
            f"such as {outside[0]}: the market was closed, or they stand off its grid. Say which calendar it is "
            "(calendar='XNYS'), or leave those bars out."
        )
