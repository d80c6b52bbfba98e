"""When a market is open: its sessions, and where its bars are expected to open."""

from __future__ import annotations

import difflib
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from walle.errors import ConfigurationError, InputError, UnknownCalendar
from walle.frames import INSTANT
from walle.interop import beyond_years
from walle.periods import MONDAY, begins, check_phase, offset
from walle.timeframe import check_timeframe, has_anchor, is_calendar, length, parts
from walle.validation import MICROSECOND, check_text, parse_range, to_microseconds

__all__ = [
    "MONDAY",
    "SESSIONS",
    "Calendar",
    "Slots",
    "calendar",
    "check_instants",
    "from_sessions",
    "plain_ends",
]

SESSIONS = pl.Schema(
    {"session": pl.Date(), "open": INSTANT, "close": INSTANT, "break_start": INSTANT, "break_end": INSTANT}
)
"""One row is one session: its date, its opening and closing time, and its break (null without one); times in UTC."""

_DAY = 86_400_000_000
_OWN = ("24/7", "24/5")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_date = pl.col("session").cast(pl.Datetime("us")).to_physical()
_LAST = to_microseconds(datetime.max.replace(tzinfo=UTC))
# exchange_calendars has no limit of its own, but the holiday rules of pandas silently omit holidays before 1970
_REACH = (date(1970, 1, 1), date(2049, 12, 31))

Moment = datetime | date | str


@dataclass(frozen=True, slots=True)
class Slots:
    """The numbered opening times at which bars are expected, kept as stretches of even steps."""

    step: int
    """The microseconds from one opening time of a stretch to the next."""
    first: pl.Series
    """Int64, ascending: the first opening time of each stretch, in microseconds since 1970 UTC."""
    count: pl.Series
    """Int64, each above 0: the number of opening times in each stretch."""
    before: pl.Series
    """Int64: the number of opening times in all stretches before each one."""

    @staticmethod
    def of(step: int, stretches: pl.DataFrame) -> Slots:
        """Make slots from the columns first and count (Int64), without the stretches whose count is 0."""
        kept = stretches.filter(pl.col("count") > 0)
        return Slots(step, kept["first"], kept["count"], kept["count"].cum_sum() - kept["count"])

    @property
    def total(self) -> int:
        """The number of opening times."""
        return int(self.count.sum())

    def times(self) -> pl.Series:
        """Return all opening times in order: Datetime("us", "UTC")."""
        ends = pl.DataFrame({"first": self.first, "stop": self.first + self.count * self.step})
        listed = ends.select(pl.int_ranges("first", "stop", self.step).alias("timestamp")).to_series()
        return listed.explode().cast(INSTANT).set_sorted()

    def stretches(self) -> pl.DataFrame:
        """Return the spans that bars cover without a pause: open, close (Datetime("us", "UTC")), in order."""
        ends = pl.DataFrame({"open": self.first, "close": self.first + self.count * self.step})
        return ends.cast({"open": INSTANT, "close": INSTANT})

    def floor(self, times: pl.Series) -> pl.Series:
        """Return the number of the last slot at or before each instant: Int64, -1 before the first, null for null."""
        given = times.to_physical()
        if self.first.is_empty():
            return (given * 0 - 1).alias("place")
        # search_sorted needs values without nulls
        stretch = self.first.search_sorted(given.fill_null(0), "right").cast(pl.Int64) - 1
        known = stretch.clip(0)
        steps = (given - self.first.gather(known)) // self.step
        place = self.before.gather(known) + steps.clip(upper_bound=self.count.gather(known) - 1)
        return place.clip(-1).alias("place")

    def place(self, times: pl.Series) -> pl.Series:
        """Return the number, from 0, of the slot that opens at each instant: Int64, null where no bar is expected."""
        floor = self.floor(times)
        return floor.set((self.at(floor) != times).fill_null(True), None)

    def at(self, places: pl.Series) -> pl.Series:
        """Return the opening time of each number: Datetime("us", "UTC"), null outside the slots."""
        inside = places.set((places < 0) | (places >= self.total), None)
        if self.first.is_empty():
            return inside.cast(INSTANT).alias("timestamp")
        stretch = (self.before.search_sorted(inside.fill_null(0), "right").cast(pl.Int64) - 1).clip(0)
        micros = self.first.gather(stretch) + (inside - self.before.gather(stretch)) * self.step
        return micros.cast(INSTANT).alias("timestamp")


class Calendar(ABC):
    """The opening hours of a market; :func:`calendar` and :func:`from_sessions` make one.

    Every range is ``[start, end)``; its ends are aware datetimes, dates or ISO texts (midnight UTC). On a day without a
    session the market is closed. It is open at the instant at which a session opens, and closed at the instant at which
    the session closes.

    Attributes
    ----------
    name : str
    continuous : bool
        Whether intraday bars stand on one grid since 1970 UTC (24/7 and 24/5) instead of restarting at each open.
    own : polars.DataFrame or None
        The sessions of a custom calendar (columns of :data:`SESSIONS`); None for a calendar known by its name.
    reach : tuple of date or None
        The first and the last day that the calendar of an exchange knows; None for the others.
    zone : str or None
        The IANA zone by whose midnight its dates change, of 24/7, 24/5 and exchanges; None for a custom calendar.
    """

    continuous = False
    zone: str | None = None
    reach: tuple[date, date] | None = None
    own: pl.DataFrame | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        """Name the calendar."""
        return f"<Calendar {self.name}>"

    def sessions(self, start: Moment, end: Moment) -> pl.DataFrame:
        """Return the sessions whose date, at 00:00 UTC, lies in ``[start, end)``.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`SESSIONS`, in order; empty when the range has no session. The sessions of 24/7 are the
            days in UTC; those of 24/5 are Monday to Friday, each from 17:00 in New York on the day before.
        """
        lo, hi = self._range(start, end)
        return self.known(lo, hi).filter((_date >= lo) & (_date < hi))

    def segments(self, start: Moment, end: Moment) -> pl.DataFrame:
        """Return the spans in which the market is open without a pause, cut to ``[start, end)``.

        Returns
        -------
        polars.DataFrame
            open, close (Datetime("us", "UTC")), in order; empty when the market is closed for the whole range. A break
            ends a segment; sessions that touch make one segment.
        """
        lo, hi = self._range(start, end)
        new = (pl.col("open") != pl.col("close").shift(1)).fill_null(True).cum_sum()
        joined = self.stretches(lo, hi).group_by(new.alias("segment"), maintain_order=True)
        cut = joined.agg(pl.col("open").first().clip(lo), pl.col("close").last().clip(upper_bound=hi))
        return cut.select(pl.col("open", "close").cast(INSTANT))

    def grid(
        self,
        timeframe: str,
        start: Moment,
        end: Moment,
        *,
        phase: timedelta | None = None,
        short_first: bool = False,
        local: bool = False,
    ) -> pl.Series:
        """Return the opening time of every bar that is expected in ``[start, end)``.

        Parameters
        ----------
        timeframe : str
        start, end : datetime, date or str
            The range of the opening times; a bar that opens before ``end`` may last longer.
        phase : timedelta, optional
            From 0 to below the timeframe. Intraday bars then stand on the clock's grid since 1970 UTC plus ``phase``,
            and a bar is expected wherever the market is open at some time within it. The default is a phase of 0 for
            24/7 and 24/5; for other calendars each session has its own phase. Of ``1w`` and of several days, weeks or
            months it says when they begin: the time from 1970-01-01, a Thursday, to the first such day. By default
            weeks begin on Mondays, several weeks on the first Monday of 1970, days and months with that year.
        short_first : bool
            With a ``phase``, and for calendars whose sessions have a phase of their own: the first bar of a session
            opens with it, and so does the first one after its break; the others stand on the clock's grid (09:30,
            10:00, 11:00 ... at XNYS).
        local : bool
            With a ``phase``, and for 24/5: the clock is that of New York, and ``phase`` that of its winter. In summer
            the bars open an hour earlier in UTC.

        Returns
        -------
        polars.Series
            Datetime("us", "UTC"), ascending, without duplicates; empty when no bar is expected.

        Notes
        -----
        Without a phase, the bars of a session start at its open (09:30, 10:30 ... at XNYS) and start anew at the end of
        its break; the last one before a break or the close may be cut short. These are the opening times that
        ``exchange_calendars.ExchangeCalendar.trading_index(..., intervals=False, closed="left")`` gives. ``1d`` bars
        carry a session's date at 00:00 UTC, longer ones the first day of their period: a Monday for ``1w``, the first
        for ``1M``. Several days are days of the calendar, not sessions; a period without a session is not expected.
        """
        return self.slots(timeframe, start, end, phase=phase, short_first=short_first, local=local).times()

    def slots(
        self,
        timeframe: str,
        start: Moment,
        end: Moment,
        *,
        phase: timedelta | None = None,
        short_first: bool = False,
        local: bool = False,
    ) -> Slots:
        """Return the same opening times as :meth:`grid`, counted and numbered without writing them out."""
        step = length(check_timeframe(timeframe)) // MICROSECOND
        lo, hi = self._range(start, end)
        phased = _phase(phase, timeframe)
        if is_calendar(timeframe):
            periods = self._periods(timeframe, lo, hi, phased)
            return Slots.of(step, periods.to_frame("first").with_columns(count=pl.lit(1, pl.Int64)))
        if phased is None and self.continuous:
            phased = 0
        # a bar on the clock's grid is expected if the market opens within it, even after the end of the range
        stretches = self.stretches(lo, hi + step)
        first, stop = pl.col("open"), pl.col("close")
        if phased is not None and short_first and not self.continuous:
            clock = first + (phased - first) % step
            stretches = pl.concat(
                [
                    stretches.select(open="open", close=pl.min_horizontal(clock, "close")),
                    stretches.select(clock, "close"),
                ]
            ).sort("open")
        elif phased is not None:
            grid = pl.lit(phased) if not local else phased + self.summer(first)
            first = (first - grid) // step * step + grid
            stop = first + _ceil(stop - first, step) * step
            first = pl.max_horizontal(first, stop.shift(1))  # the bar that spans a break is one bar
        bounds = stretches.select(first=first, stop=stop)
        skipped = _ceil((lo - pl.col("first")).clip(0), step)
        count = _ceil(pl.min_horizontal("stop", pl.lit(hi)) - pl.col("first"), step) - skipped
        return Slots.of(step, bounds.select(first=pl.col("first") + skipped * step, count=count))

    def is_open(self, instants: pl.Series) -> pl.Series:
        """Return whether the market is open at each aware datetime, in any order: Boolean, null for null."""
        given = check_instants(instants, "instants").to_physical()
        lo, hi = given.min(), given.max()
        if not isinstance(lo, int) or not isinstance(hi, int):
            return pl.Series("is_open", [None] * given.len(), pl.Boolean)
        self._check(lo, hi + 1)
        moments = self.stretches(lo, hi + 1).select(first="open", count=pl.col("close") - pl.col("open"))
        is_open = Slots.of(1, moments).place(given.cast(INSTANT)).is_not_null()
        return is_open.set(given.is_null(), None).alias("is_open")

    def _range(self, start: Moment, end: Moment) -> tuple[int, int]:
        first, last = parse_range(start, end)
        if first is None or last is None:
            raise InputError(f"calendar {self.name} needs both ends of a range: start={start!r}, end={end!r}.")
        lo, hi = to_microseconds(first), to_microseconds(last)
        self._check(lo, hi)
        return lo, hi

    def _periods(self, timeframe: str, lo: int, hi: int, phase: int | None) -> pl.Series:
        # the first day of a period may lie in the range although its first session comes after the range
        margin = length(timeframe) // MICROSECOND
        dates = self.known(lo - margin, hi + margin)["session"].cast(pl.Datetime("us"))
        starts = begins(dates.to_physical(), timeframe, phase).unique().sort()
        return starts.filter((starts >= lo) & (starts < hi))

    def stretches(self, lo: int, hi: int) -> pl.DataFrame:
        """Return the uncut parts of sessions (a break ends one) that overlap a range of microseconds.

        Returns
        -------
        polars.DataFrame
            open, close (Int64, microseconds since 1970 UTC), in order. Like :meth:`known`, it accepts any range.
        """
        sessions = self.known(lo, hi).select(pl.exclude("session").to_physical())
        morning = sessions.select("open", pl.coalesce("break_start", "close").alias("close"))
        evening = sessions.drop_nulls("break_end").select(pl.col("break_end").alias("open"), "close")
        parts = pl.concat([morning, evening]) if evening.height else morning
        return parts.sort("open").filter((pl.col("close") > lo) & (pl.col("open") < hi))

    def summer(self, opens: pl.Expr) -> pl.Expr:
        """Return how many microseconds later than in winter a session opens in UTC: 0, or for 24/5 minus an hour."""
        return opens * 0

    def _check(self, lo: int, hi: int) -> None:  # noqa: B027  # 24/7 and 24/5 have no bounds
        """Raise if the range exceeds the calendar's bounds."""

    @abstractmethod
    def known(self, lo: int, hi: int) -> pl.DataFrame:
        """Return at least the sessions that overlap a range of microseconds or whose date lies in it.

        Unlike :meth:`sessions`, it accepts a range beyond the calendar's bounds, and returns no sessions there.
        """


class _AlwaysOpen(Calendar):
    continuous = True
    zone = "UTC"

    def known(self, lo: int, hi: int) -> pl.DataFrame:
        days = pl.int_range(lo // _DAY, -(-hi // _DAY), eager=True).cast(pl.Int32).cast(pl.Date)
        opens = days.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
        return _sessions(days, opens, opens + timedelta(days=1))

    def stretches(self, lo: int, hi: int) -> pl.DataFrame:
        return pl.DataFrame({"open": [lo], "close": [hi]}).filter(pl.col("open") < pl.col("close"))


class _Forex(Calendar):
    continuous = True
    zone = "America/New_York"

    def known(self, lo: int, hi: int) -> pl.DataFrame:
        days = pl.int_range(lo // _DAY - 1, hi // _DAY + 3, eager=True).cast(pl.Int32).cast(pl.Date)
        days = days.filter(days.dt.weekday() <= 5)
        ends = days.cast(pl.Datetime("us")) + timedelta(hours=17)
        opens, closes = (
            wall.dt.replace_time_zone("America/New_York").dt.convert_time_zone("UTC")
            for wall in (ends - timedelta(days=1), ends)
        )
        return _sessions(days, opens, closes)

    def summer(self, opens: pl.Expr) -> pl.Expr:
        return opens % _DAY - 22 * 3_600_000_000  # 17:00 in New York


class _Listed(Calendar):
    """A calendar with a list of sessions: a custom one, or an exchange between its first and last known day."""

    def __init__(
        self, name: str, sessions: pl.DataFrame, reach: tuple[date, date] | None = None, zone: str | None = None
    ) -> None:
        super().__init__(name)
        self._listed, self.reach, self.zone = sessions, reach, zone
        self.own = sessions if reach is None else None

    def known(self, lo: int, hi: int) -> pl.DataFrame:
        opens, closes = pl.col("open").to_physical(), pl.col("close").to_physical()
        return self._listed.filter(((opens < hi) & (closes > lo)) | ((_date >= lo) & (_date < hi)))

    def _check(self, lo: int, hi: int) -> None:
        if self.reach is None:
            return
        (first, last), ends = self.reach, pl.Series([lo, hi]).cast(INSTANT).dt.date()
        # in UTC the first session may open on the day before its date, and the last one may close on the day after
        if ends[0] < first - timedelta(days=1) or hi > (last.toordinal() - _EPOCH_DAY + 2) * _DAY:
            raise InputError(
                f"calendar {self.name} reaches from {first} to {last}, not from {ends[0]} to {ends[1]}. Ask for a "
                "shorter range, or give the sessions yourself: walle.calendars.from_sessions(frame, name)."
            )


_calendars: dict[str, Calendar] = {"24/7": _AlwaysOpen("24/7"), "24/5": _Forex("24/5")}


def calendar(name: str | Calendar = "24/7") -> Calendar:
    """Return the calendar with that name.

    Parameters
    ----------
    name : str or Calendar
        ``24/7``; ``24/5`` for foreign exchange, from Sunday 17:00 to Friday 17:00 America/New_York; or a name or alias
        that exchange_calendars knows, such as ``XNYS`` or ``NASDAQ`` (an alias gives the calendar that it stands for).
        A :class:`Calendar` is returned unchanged.

    Raises
    ------
    UnknownCalendar
        For an unknown name; the error suggests similar ones.
    ConfigurationError
        If exchange_calendars is needed but is not installed, or cannot make this calendar.

    Examples
    --------
    >>> calendar("24/5").segments("2024-03-10", "2024-03-16")["open"].to_list()  # DST began on the 10th
    [datetime.datetime(2024, 3, 10, 21, 0, tzinfo=zoneinfo.ZoneInfo(key='UTC'))]
    """
    if isinstance(name, Calendar):
        return name
    check_text(name, "calendar", maximum=128)
    if name in _calendars:
        return _calendars[name]
    try:
        import exchange_calendars  # imported here only, because it imports pandas
    except ModuleNotFoundError:
        raise ConfigurationError(
            f"calendar {name!r} is neither '24/7' nor '24/5', and exchange_calendars, which knows those of exchanges, "
            "is not installed: pip install 'walle[calendars]'."
        ) from None
    names = exchange_calendars.get_calendar_names()
    if name not in names:
        upper = {known.upper(): known for known in (*names, *_OWN)}
        near = difflib.get_close_matches(name.strip().upper(), upper, 3, 0.6)
        raise UnknownCalendar(name, [upper[key] for key in near])
    made = _exchange(exchange_calendars, name)
    return _calendars.setdefault(name, _calendars.setdefault(made.name, made))


def from_sessions(frame: pl.DataFrame, name: str) -> Calendar:
    """Make a custom calendar from its sessions; on all other days the market is closed.

    Parameters
    ----------
    frame : polars.DataFrame
        One row is one session, in order: open, close, and break_start and break_end, which may be absent or null
        (aware datetimes of any zone); date or session (Date; by default that of ``open`` in UTC).
    name : str
        Not ``24/7`` or ``24/5``.

    Raises
    ------
    InputError
        For a row that does not satisfy ``open < break_start < break_end < close``, that overlaps the row before it or
        does not follow it (the error names the first one); for a missing column or a wrong type.
    """
    if check_text(name, "name", maximum=128) in _OWN:
        raise InputError(f"name={name!r} is one of WallE's own calendars. Choose another.")
    missing = [column for column in ("open", "close") if column not in frame.columns]
    if missing:
        raise InputError(f"the sessions lack the column {missing[0]!r}; they have: {', '.join(frame.columns)}.")
    absent = pl.Series([None] * frame.height, dtype=INSTANT)
    columns = {}
    for key in ("open", "close", "break_start", "break_end"):
        given = frame[key] if key in frame.columns else absent
        columns[key] = check_instants(absent if given.dtype == pl.Null else given, key)
    dated = next((key for key in ("date", "session") if key in frame.columns), None)
    days = frame[dated] if dated else columns["open"].dt.date()
    if days.dtype != pl.Date:
        raise InputError(f"column {dated!r} is {days.dtype}, not Date. Convert it: polars.col({dated!r}).dt.date().")
    sessions = _sessions(days, *columns.values())
    _refuse(sessions)
    return _Listed(name, sessions)


def check_instants(values: pl.Series, field: str) -> pl.Series:
    """Return aware datetimes of any zone and unit as Datetime("us", "UTC").

    Raises
    ------
    InputError
        For another type, a column without a zone, times finer than a microsecond or outside the years 1 to 9999.
    """
    kind = values.dtype
    if not isinstance(kind, pl.Datetime):
        raise InputError(f"{field} is {kind}, not a column of aware datetimes: Datetime('us', 'UTC').")
    if kind.time_zone is None:
        raise InputError(f"{field} has no time zone, so it names no instants. Say it: .dt.replace_time_zone('UTC').")
    if beyond_years(values):
        raise InputError(f"{field} holds a time outside the years 1 to 9999 in UTC.")
    if kind.time_unit == "ns" and (values.to_physical() % 1000 != 0).any():
        raise InputError(f"{field} holds times finer than a microsecond. Truncate them yourself: dt.truncate('1us').")
    return values if kind == INSTANT else values.dt.cast_time_unit("us").dt.convert_time_zone("UTC")


def plain_ends(opens: pl.Series, timeframe: str) -> pl.Series:
    """Return opening times plus the length of a bar, by no calendar: of months, so many from there on.

    Parameters
    ----------
    opens : polars.Series
        Datetime("us", "UTC").
    timeframe : str

    Returns
    -------
    polars.Series
        Datetime("us", "UTC"), at most the last microsecond of the year 9999; null for null.
    """
    months = timeframe.endswith("M")
    ends = opens.dt.offset_by(offset(timeframe)) if months else opens + length(timeframe)
    return ends.to_physical().clip(upper_bound=_LAST).cast(opens.dtype)


def _refuse(sessions: pl.DataFrame) -> None:
    start, stop = pl.col("break_start"), pl.col("break_end")
    day, opens, closes = pl.col("session"), pl.col("open"), pl.col("close")
    rules = {
        "has no date, open or close": pl.any_horizontal(pl.col("session", "open", "close").is_null()),
        "does not open before it closes": opens >= closes,
        "has one end of its break only": start.is_null() != stop.is_null(),
        "is not open < break_start < break_end < close": (start <= opens) | (stop <= start) | (closes <= stop),
        "opens before the session of the row before has closed; sort them by open": opens < closes.shift(1),
        "has a date that is not after that of the row before": day <= day.shift(1),
    }
    for what, broken in rules.items():
        rows = sessions.select(broken.fill_null(False)).to_series().arg_true()
        if rows.len():
            values = ", ".join(f"{key}={value}" for key, value in sessions.row(rows[0], named=True).items())
            more = f" ({rows.len() - 1} more rows too.)" if rows.len() > 1 else ""
            raise InputError(f"row {rows[0]} of the sessions {what}: {values}.{more}")


def _sessions(*columns: pl.Series) -> pl.DataFrame:
    named = dict(zip(SESSIONS, columns, strict=False))  # the columns of breaks may be absent
    absent = [pl.lit(None, kind).alias(name) for name, kind in SESSIONS.items() if name not in named]
    return pl.DataFrame(named).with_columns(absent).cast(SESSIONS)


def _exchange(library: Any, name: str) -> Calendar:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # our caller cannot act on its warnings about pandas
        try:
            usual = library.get_calendar(name)
            lowest, highest = usual.bound_min(), usual.bound_max()
            first = max(lowest.date(), _REACH[0]) if lowest else _REACH[0]
            last = min(highest.date(), _REACH[1]) if highest else _REACH[1]
            made = library.get_calendar(name, start=first.isoformat(), end=last.isoformat())
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigurationError(
                f"exchange_calendars cannot make the calendar {name!r} with the pandas that is installed "
                f"({type(error).__name__}: {str(error)[:200]}). Another version of either may, or give the sessions "
                "yourself: walle.calendars.from_sessions(frame, name)."
            ) from error
    columns = (made.sessions_nanos, made.opens_nanos, made.closes_nanos, made.break_starts_nanos, made.break_ends_nanos)
    days, *times = (pl.Series(values).set(pl.Series(values) == -(2**63), None) // 1000 for values in columns)
    dates = (days // _DAY).cast(pl.Int32).cast(pl.Date)
    sessions = _sessions(dates, *(values.cast(INSTANT) for values in times))
    return _Listed(made.name, sessions, (first, last), str(made.tz))


def _phase(phase: timedelta | None, timeframe: str) -> int | None:
    if phase is None:
        return None
    if is_calendar(timeframe) and not has_anchor(timeframe) and phase:
        raise InputError(f"bars of {timeframe} carry a date at 00:00 UTC: they have no phase, but phase={phase!r}.")
    if not isinstance(phase, timedelta) or not timedelta(0) <= phase < length(timeframe):
        raise InputError(f"phase={phase!r} is no timedelta from 0 to below the timeframe {timeframe}.")
    given = phase // MICROSECOND
    if is_calendar(timeframe) and not check_phase(given, timeframe):
        what = {"d": "days", "w": "weeks", "M": "months"}[parts(timeframe)[1]]
        begin = "one of the first months of 1970" if what == "months" else "a day"
        raise InputError(
            f"phase={phase!r}: {what} begin with {begin}, so give whole days since 1970-01-01, a Thursday."
        )
    return given


def _ceil(value: pl.Expr, step: int) -> pl.Expr:
    return -(-value // step)
