"""The bars that fills are compared with: the bar at an instant, and the gaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from walle.calendars import plain_ends
from walle.enums import OHLCV
from walle.exact import shortest
from walle.frames import DECIMAL, INSTANT
from walle.timeframe import length
from walle.validation import MICROSECOND

__all__ = ["Market", "Markets", "first_reason", "no_market"]

_BREAK = timedelta(hours=2)
_GAPS = pl.Schema({"start": INSTANT, "end": INSTANT})
_BARS = pl.Schema({"timestamp": INSTANT, **dict.fromkeys(OHLCV, pl.Float64())})


@dataclass(frozen=True, slots=True)
class Market:
    """The bars of one symbol.

    Parameters
    ----------
    timeframe : str
    bars : polars.DataFrame
        timestamp (Datetime("us", "UTC"), the opening time), open, high, low, close, volume (Float64); sorted.
    gaps : polars.DataFrame
        start, end: the spans in which expected bars are missing; sorted.
    sessions : polars.DataFrame or None
        open, close: the spans in which the market was open; sorted. None if it was always open.
    stored : tuple of datetime, optional
        The opening times of the first and the last bar of the symbol, if ``bars`` has only some of its bars.
    """

    timeframe: str
    bars: pl.DataFrame
    gaps: pl.DataFrame
    sessions: pl.DataFrame | None = None
    stored: tuple[datetime, datetime] | None = None

    def reach(self) -> tuple[datetime, datetime]:
        """Return the span in which the symbol has bars: from the opening of the first to the end of the last."""
        if self.stored is not None:
            return self.stored[0], self._after(pl.Series([self.stored[1]], dtype=INSTANT))[0]
        first, last = self.bars["timestamp"].min(), self.ends().max()
        if isinstance(first, datetime) and isinstance(last, datetime):
            return first, last
        return datetime.max.replace(tzinfo=UTC), datetime.min.replace(tzinfo=UTC)

    @property
    def step(self) -> timedelta:
        """The length of a bar."""
        return length(self.timeframe)

    def _after(self, opens: pl.Series) -> pl.Series:
        """Return opening times plus the timeframe: of months, so many of the calendar."""
        return plain_ends(opens, self.timeframe)

    def ends(self) -> pl.Series:
        """Return the end of each bar: its opening time plus the timeframe, but never after the next one opens."""
        opens = self.bars["timestamp"]
        if opens.is_empty():
            return opens.alias("end")
        following = opens.shift(-1).fill_null(opens.max())
        ends = self._after(opens)
        return ends.zip_with((following <= opens) | (ends < following), following).alias("end")

    def place(self, times: pl.Series) -> pl.Series:
        """Return the number of the bar that each instant lies in: Int64, null where none does."""
        opens = self.bars["timestamp"]
        if opens.is_empty():
            return pl.Series("place", [None] * times.len(), dtype=pl.Int64)
        found = (opens.search_sorted(times.fill_null(opens[0]), "right").cast(pl.Int64) - 1).alias("place")
        known = found.clip(0)
        inside = (times >= opens.gather(known)) & (times < self._after(opens.gather(known)))
        return found.set(~inside.fill_null(False), None)

    def ended(self, times: pl.Series) -> pl.Series:
        """Return the number of the bar that ended at exactly each instant: Int64, null where none did."""
        before = self.before(times)
        if self.bars.is_empty():
            return before
        return before.set((self.ends().gather(before) != times).fill_null(True), None)

    def before(self, times: pl.Series) -> pl.Series:
        """Return the number of the last bar that had ended by each instant: Int64, null before the first."""
        ends = self.ends()
        if ends.is_empty():
            return pl.Series("place", [None] * times.len(), dtype=pl.Int64)
        found = ends.search_sorted(times.fill_null(ends[0]), "right").cast(pl.Int64) - 1
        return found.set((found < 0) | times.is_null(), None).alias("place")

    def touches_gap(self, starts: pl.Series, ends: pl.Series) -> pl.Series:
        """Return whether a bar is missing within each span, both of its ends included: Boolean."""
        if self.gaps.is_empty():
            return pl.Series("gap", [False] * starts.len(), dtype=pl.Boolean)
        first = self.gaps["start"]
        upto = first.search_sorted(ends.fill_null(first[0]), "right").cast(pl.Int64)
        over = self.gaps["end"].search_sorted(starts.fill_null(first[0]), "right").cast(pl.Int64)
        return (upto > over).alias("gap")

    def is_open(self, times: pl.Series) -> pl.Series:
        """Return whether the market was open at each instant: Boolean."""
        if self.sessions is None:
            return pl.Series("open", [True] * times.len(), dtype=pl.Boolean)
        if self.sessions.is_empty():
            return pl.Series("open", [False] * times.len(), dtype=pl.Boolean)
        place = self.sessions["open"].search_sorted(times, "right").cast(pl.Int64) - 1
        return ((place >= 0) & (times < self.sessions["close"].gather(place.clip(0)))).alias("open")

    def is_closed(self, times: pl.Series, tolerance: timedelta = timedelta(0)) -> pl.Series:
        """Return whether a fill at each instant cannot have happened, because the market was closed: Boolean.

        The instant at which a session closes belongs to it, and so does a ``tolerance`` after it. An instant at which a
        bar opens or ends, or a microsecond before its end, says no more than the bar: the market was open at some time
        within it. So does 00:00 UTC, or a microsecond before, where bars carry dates.
        """
        closed = ~self.is_open(times)
        if self.sessions is None or self.sessions.is_empty() or not closed.any():
            return closed
        ends = self.sessions["close"]
        place = ends.search_sorted(times, "right").cast(pl.Int64) - 1
        closed &= ~((place >= 0) & (times - ends.gather(place.clip(0)) <= tolerance))
        asked = closed.arg_true()
        moments = times.gather(asked)
        meant = self._stamped(moments, self.place(moments)) | self._stamped(moments, self.ended(moments))
        if self.step >= timedelta(days=1):
            date = moments.dt.offset_by("1us").dt.truncate("1d")
            meant |= (moments - date <= timedelta(0)) & self._trades(date - self.step, date + self.step)
        return closed.scatter(asked, ~meant)

    def _stamped(self, times: pl.Series, places: pl.Series) -> pl.Series:
        """Return whether each instant is an end of a bar in which the market was open."""
        if self.bars.is_empty():
            return pl.Series([False] * times.len(), dtype=pl.Boolean)
        opens = self.bars["timestamp"].gather(places)
        ends = opens + self.step
        marks = (times == opens) | (times >= ends - MICROSECOND)
        return (marks & self._trades(opens, ends)).fill_null(False)

    def _trades(self, starts: pl.Series, ends: pl.Series) -> pl.Series:
        """Return whether the market was open at some time within each span; null for a null."""
        assert self.sessions is not None
        early = datetime.min.replace(tzinfo=UTC)
        begun = self.sessions["open"].search_sorted(ends.fill_null(early), "left").cast(pl.Int64)
        over = self.sessions["close"].search_sorted(starts.fill_null(early), "right").cast(pl.Int64)
        return (begun > over).set(starts.is_null(), None)

    def after_day(self, begun: pl.Series, times: pl.Series) -> pl.Series:
        """Return whether each instant is later than the day of an order that was submitted at ``begun``: Boolean.

        The day ends with the session in which ``begun`` lies, else with the next one; sessions with a break of up to
        two hours are one. Where bars carry dates, an order of a date may be filled in the next session, too. Without a
        calendar, the day has ended when a bar opened more than 24 hours before the instant, and after ``begun``.
        """
        if self.sessions is None:
            until = times - timedelta(days=1)
            opens = self.bars["timestamp"]
            if opens.is_empty():
                return pl.Series("late", [False] * times.len(), dtype=pl.Boolean)
            return (opens.search_sorted(until, "right") > opens.search_sorted(begun, "right")).alias("late")
        pause = (self.sessions["open"].shift(-1) - self.sessions["close"]).fill_null(timedelta.max)
        ends = self.sessions["close"].filter(pause > _BREAK)
        place = ends.search_sorted(begun, "right").cast(pl.Int64)
        if self.step >= timedelta(days=1):
            place += (begun == begun.dt.truncate("1d")).cast(pl.Int64)
        last = ends.gather(place.set(place >= ends.len(), None))
        return (times > last + self.step).fill_null(False).alias("late")

    def reached(self, begun: pl.Series, times: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Return the lowest low and highest high from ``begun`` to each instant: Float64, null where bars are missing.

        The bars in which both instants lie are included, and one that ends at the second.
        """
        ends = self.ends()
        first = ends.search_sorted(begun, "right").cast(pl.Int64)
        place = self.place(times)
        last = place.zip_with(place.is_not_null(), self.ended(times))
        unknown = self.touches_gap(begun, times) | (begun < self.bars["timestamp"].min()) | last.is_null()
        low, high = self.extremes(first.set(unknown | (first > last), None), last)
        return low.set(unknown, None), high.set(unknown, None)

    def price(self, column: str, places: pl.Series) -> pl.Series:
        """Return a price of the bars with these numbers as exact decimals: Decimal(38, 18), null for null."""
        if self.bars.is_empty():
            return pl.Series(column, [None] * places.len(), dtype=DECIMAL)
        if places.len() > self.bars.height:
            return shortest(self.bars[column]).gather(places)
        return shortest(self.bars[column].gather(places))

    def last_close(self, times: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Return the last close at or before each instant, and whether it is outdated.

        Returns
        -------
        tuple of polars.Series
            The close of the last bar that had ended: Decimal(38, 18), null before the first. Boolean: whether a bar is
            missing since then, or the bars do not reach that far; while the market is closed, the last close stands.
        """
        place, moment = self.before(times), times - MICROSECOND
        over = (times > self.reach()[1]) & self.is_open(moment)
        ended = times if self.bars.is_empty() else self.ends().gather(place)
        return self.price("close", place), self.touches_gap(ended, moment) | over | place.is_null()

    def extremes(self, first: pl.Series, last: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Return the lowest low and highest high of the bars from ``first`` to ``last``, both included: Float64."""
        low, high = self.bars["low"], self.bars["high"]
        count = last - first + 1
        lows = pl.Series([None] * first.len(), dtype=pl.Float64)
        highs = lows.clone()
        width = 1  # two stretches of the same power of two cover every span
        while width <= (count.max() or 0):  # type: ignore[operator]  # a number, as its column is
            asked = ((count >= width) & (count < 2 * width)).fill_null(False).arg_true()
            if asked.len():
                begin, end = first.gather(asked), last.gather(asked) - width + 1
                one, two = low.gather(begin), low.gather(end)
                lows = lows.scatter(asked, one.zip_with(one < two, two))
                one, two = high.gather(begin), high.gather(end)
                highs = highs.scatter(asked, one.zip_with(one > two, two))
            low = _least(low, low.shift(-width))
            high = _most(high, high.shift(-width))
            width *= 2
        return lows, highs


Markets = Mapping[str, Market]


def no_market(timeframe: str = "1m") -> Market:
    """Return a market without bars."""
    return Market(timeframe, pl.DataFrame(schema=_BARS), pl.DataFrame(schema=_GAPS))


def first_reason(reasons: Mapping[str, pl.Expr | pl.Series]) -> pl.Expr:
    """Return the first of several reasons that applies to each row; null where none does."""
    found = pl.lit(None, pl.String)
    for why, applies in reversed(list(reasons.items())):
        found = pl.when(applies).then(pl.lit(why)).otherwise(found)  # a coalesce() of all takes five times as long
    return found


def _least(one: pl.Series, two: pl.Series) -> pl.Series:
    return one.zip_with((one <= two) | two.is_null(), two)


def _most(one: pl.Series, two: pl.Series) -> pl.Series:
    return one.zip_with((one >= two) | two.is_null(), two)
