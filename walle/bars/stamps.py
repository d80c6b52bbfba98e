"""The opening times of bars whose source stamps their ends, and a look at whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import polars as pl

from walle.bars.ends import bar_ends
from walle.bars.labels import dated
from walle.bars.phase import names_in
from walle.calendars import Calendar, Slots
from walle.errors import InputError
from walle.frames import INSTANT
from walle.notices import ContradictionWarning, warn
from walle.options import BarStamp
from walle.timeframe import has_anchor, is_calendar, length
from walle.validation import MICROSECOND

__all__ = ["check_stamp", "opening_times", "restamped", "stamps_ends", "unusual"]

_SERIES = ["symbol", "timeframe"]
_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND
_SESSIONS, _BARS = 2, 5
"""Sessions that prove what stamps are, or bars of the only one."""
_ENDS_BEFORE = (999_000, 999_999)
"""Of a second: sources such as Binance stamp a bar's last millisecond."""


def check_stamp(stamp: object) -> BarStamp:
    """Return the stamp if it is ``open`` or ``close``.

    Raises
    ------
    InputError
    """
    match stamp:
        case "open" | "close":
            return stamp
    raise InputError(f"stamp={stamp!r} is neither 'open' nor 'close': what the timestamps of the source are.")


def unusual(bars: pl.DataFrame, stamp: BarStamp) -> set[str]:
    """Return the symbols whose calendar is needed to know when their bars open.

    Parameters
    ----------
    bars : polars.DataFrame
        symbol, timeframe, timestamp (UTC).
    stamp : {"open", "close"}
    """
    if stamp == "close" or bars.is_empty():
        return set(bars["symbol"].unique().drop_nulls())
    timeframe, time = pl.col("timeframe"), pl.col("timestamp")
    one = _one_series(bars)
    if one is not None and not is_calendar(one[1]):
        return {one[0]} if bars.height > 1 else set()  # one bar stands not at both ends of a session
    dated_names = [name for name in names_in(bars["timeframe"]) if is_calendar(name)]
    longer = timeframe.is_in(dated_names)
    plain = (time.dt.truncate("1d") == time) & ((timeframe != "1w") | (time.dt.weekday() == 1))
    plain &= (timeframe != "1M") | (time.dt.day() == 1)
    plain &= ~timeframe.is_in([name for name in dated_names if has_anchor(name) and name != "1w"])
    asked = pl.when(longer).then(~plain).otherwise(pl.lit(bars.height > 1))
    return set(bars.filter(asked.fill_null(False))["symbol"].unique().drop_nulls())


def restamped(
    bars: pl.DataFrame, stamp: BarStamp, markets: Mapping[str, Calendar], weeks: Mapping[tuple[str, str], int]
) -> pl.DataFrame:
    """Return bars with the times at which they open, or their dates, in place of the stamps of their source.

    Parameters
    ----------
    bars : polars.DataFrame
        Columns of ``BARS``.
    stamp : {"open", "close"}
        What the timestamps are.
    markets : mapping of a symbol to its Calendar
        The bars of other symbols stay as they are.
    weeks : mapping of (symbol, timeframe) to int
        The known phases of series.

    Raises
    ------
    InputError
        If two bars would open at the same time, or get one date; if ``stamp="close"`` is no end of a session or period;
        if the stamps of ``stamp="open"`` are ends, or those of ``stamp="close"`` are not.

    Warns
    -----
    ContradictionWarning
        If the stamps seem to be the other by one session with few bars.
    """
    column = bars["timestamp"]
    for (symbol, timeframe), rows in _each_series(bars, markets, stamp):
        market, name, times, doubt = markets[symbol], timeframe, rows["timestamp"], None
        if stamp == "close":
            times = _whole_seconds(times)
        try:
            if is_calendar(name):
                opens = dated(times, name, market, stamp, weeks.get((symbol, name)))
            elif stamp == "close":
                doubt = _doubt_opens(times, name, market)
                opens = opening_times(times, name, market, weeks.get((symbol, name)))
            else:
                doubt, opens = _doubt_ends(times, name, market), None
        except InputError as error:
            raise InputError(f"{symbol} {timeframe}: {error}") from error
        if doubt is not None:
            warn(f"{symbol} {timeframe}: {doubt}", ContradictionWarning)
        if opens is not None:
            column = column.scatter(rows["place"], opens)
    return bars.with_columns(column.alias("timestamp"))


def _one_series(bars: pl.DataFrame) -> tuple[str, str] | None:
    """Return the only series of bars; most sources have one."""
    symbol, timeframe = bars["symbol"][0], bars["timeframe"][0]
    if symbol is None or timeframe is None:
        return None
    same = (bars["symbol"] == symbol).all() and (bars["timeframe"] == timeframe).all()
    return (str(symbol), str(timeframe)) if same else None


def _each_series(
    bars: pl.DataFrame, markets: Mapping[str, Calendar], stamp: BarStamp
) -> Iterator[tuple[tuple[str, str], pl.DataFrame]]:
    """Yield place and timestamp of the bars of each series that has a market, as far as Python knows their years."""
    one = _one_series(bars)
    always = [name for name, market in markets.items() if market.name == "24/7"]
    if one is not None and stamp == "open" and one[0] in always and not is_calendar(one[1]):
        return  # no session opens or closes
    known = pl.col("timestamp").dt.year().is_between(1, 9999)
    placed = bars.select(*_SERIES, "timestamp").with_row_index("place").filter(known)
    if one is not None:
        if one[0] in markets and placed.height:
            yield one, placed
        return
    named = placed.filter(pl.col("symbol").is_in(list(markets)) & pl.col("timeframe").is_not_null())
    for (symbol, timeframe), rows in named.group_by(_SERIES, maintain_order=True):
        yield (str(symbol), str(timeframe)), rows


def opening_times(times: pl.Series, timeframe: str, market: Calendar, phase: int | None = None) -> pl.Series:
    """Return when intraday bars open that are stamped with their ends.

    A bar opens its length before its end, unless it is shorter: the last one before a break or the close of a session,
    or the first one of a session that opens off the clock. The grid of the calendar decides; of its own one, where bars
    start anew with each session, and the one on the clock with a short first bar, it is the one that more stamps fit.
    A stamp after the close of a session may be the end that its last bar would have had.

    Parameters
    ----------
    times : polars.Series
        Datetime("us", "UTC"), in any order, perhaps with nulls.
    timeframe : str
        Below a day.
    market : Calendar
    phase : int, optional
        The known phase of the series, in microseconds; by default that of most stamps.

    Returns
    -------
    polars.Series
        Datetime("us", "UTC").

    Raises
    ------
    InputError
        If two bars would open at the same time.
    """
    given = times.unique().drop_nulls().sort()
    if given.is_empty():
        return times
    step = length(timeframe)
    plain = (given.to_physical() - step // MICROSECOND).cast(INSTANT)
    own = _usual_phase(given, step) if phase is None else phase
    if market.name == "24/7":
        opens = plain
    elif market.continuous:
        opens = _before_weekends(given, plain, step, market, own)
    else:
        opens = _on_grid(given, plain, timeframe, market, own)
    named = pl.DataFrame({"given": given, "open": opens})
    if named["open"].n_unique() < named.height:
        one, two = named.filter(pl.col("open").is_duplicated()).sort("open", "given")["given"][:2]
        raise InputError(
            f"bars stamped {one} and {two} would open at the same time under calendar {market.name} with "
            "stamp='close'. Check the timeframe and the calendar."
        )
    return times.to_frame("given").join(named, on="given", how="left", maintain_order="left")["open"].alias(times.name)


def stamps_ends(times: pl.Series, timeframe: str, market: Calendar) -> bool:
    """Return whether intraday bars stand at the end of each session, and none at its open or just before.

    Parameters
    ----------
    times : polars.Series
        Datetime("us", "UTC"), in any order; the sessions that they reach around count.
    timeframe : str
        Below a day.
    market : Calendar
    """
    step = length(timeframe) // MICROSECOND
    whole = _whole_sessions(times, market, before=step, after=0)
    if whole.is_empty():
        return False
    given = _ascending(times)
    at_open = given.search_sorted(whole["open"], "right") > given.search_sorted(whole["open"] - step, "right")
    return not at_open.any() and bool(whole["close"].is_in(given.implode()).all())


def stamps_opens(times: pl.Series, timeframe: str, market: Calendar) -> bool:
    """Return whether intraday bars stand at the open of each session, and none at its close or just after.

    The parameters are those of :func:`stamps_ends`.
    """
    step = length(timeframe) // MICROSECOND
    whole = _whole_sessions(times, market, before=0, after=step)
    if whole.is_empty():
        return False
    given = _ascending(times)
    at_close = given.search_sorted(whole["close"] + step) > given.search_sorted(whole["close"])
    return not at_close.any() and bool(whole["open"].is_in(given.implode()).all())


def _is_proof(times: pl.Series, market: Calendar, *, before: int, after: int) -> bool:
    """Return whether there are enough sessions, or bars in the only one, to prove what the stamps are.

    One bar that stands at the close of one session may stand there for another reason, such as an auction.
    """
    whole = _whole_sessions(times, market, before=before, after=after)
    if whole.height != 1:
        return whole.height >= _SESSIONS
    opened, closed = whole.row(0)
    return int(_ascending(times).is_between(opened, closed).sum()) >= _BARS


def _whole_sessions(times: pl.Series, market: Calendar, *, before: int, after: int) -> pl.DataFrame:
    """Return open and close (integers) of the sessions inside the reach of times and so much around it."""
    none = pl.DataFrame(schema={"open": pl.Int64(), "close": pl.Int64()})
    first, last = times.min(), times.max()
    if market.name == "24/7" or not isinstance(first, datetime) or not isinstance(last, datetime):
        return none
    lo, hi = int(times.to_physical().min()) - before, int(times.to_physical().max()) + after  # type: ignore[arg-type]  # integers
    sessions = market.known(lo, hi + 1).select(pl.col("open", "close").to_physical())
    if market.continuous:
        parts = (pl.col("open") != pl.col("close").shift(1)).fill_null(True).cum_sum()
        sessions = sessions.group_by(parts.alias("part"), maintain_order=True).agg(
            pl.col("open").first(), pl.col("close").last()
        )
    return sessions.filter((pl.col("open") >= lo) & (pl.col("close") <= hi))


def _ascending(times: pl.Series) -> pl.Series:
    given = times.drop_nulls().to_physical()
    return given if (given.diff().drop_nulls() > 0).all() else given.unique().sort()


def _doubt_opens(times: pl.Series, timeframe: str, market: Calendar) -> str | None:
    """Refuse ends that are opening times, or return what is to be told of them.

    Raises
    ------
    InputError
    """
    if not stamps_opens(times, timeframe, market):
        return None
    every = _is_proof(times, market, before=0, after=length(timeframe) // MICROSECOND)
    text = (
        f"stamp='close', but a bar is stamped with the open of {_each(every)} of calendar {market.name}, and none "
        f"with its close, so the timestamps {_are(every)} when the bars open. Leave stamp out. If they are ends, the "
        "calendar is wrong: store.bars.set_calendar."
    )
    if every:
        raise InputError(text)
    return text


def _doubt_ends(times: pl.Series, timeframe: str, market: Calendar) -> str | None:
    """Refuse opening times that are ends, or return what is to be told of them.

    Raises
    ------
    InputError
    """
    if not stamps_ends(times, timeframe, market):
        return None
    every = _is_proof(times, market, before=length(timeframe) // MICROSECOND, after=0)
    text = (
        f"no bar opens with a session of calendar {market.name}, and one is stamped with the close of {_each(every)}, "
        f"so the timestamps {_are(every)} the ends of the bars. Say so: stamp='close'. If they are opening times, the "
        "calendar is wrong: store.bars.set_calendar."
    )
    if every:
        raise InputError(text)
    return text


def _each(proof: bool) -> str:
    return "every session" if proof else "the only session"


def _are(proof: bool) -> str:
    return "are" if proof else "may be"


def _whole_seconds(times: pl.Series) -> pl.Series:
    """Return ends that are all a millisecond or a microsecond before a second as that second."""
    rest = times.to_physical() % _SECOND
    kinds = rest.unique().drop_nulls()
    if kinds.len() != 1 or kinds[0] not in _ENDS_BEFORE:
        return times
    rounded: pl.Series = times.to_physical() + (_SECOND - kinds[0])
    return rounded.cast(times.dtype)


def _usual_phase(given: pl.Series, step: timedelta) -> int:
    phases = (given.to_physical() % (step // MICROSECOND)).value_counts(sort=True)
    return int(phases.filter(pl.col("count") == phases["count"][0])[phases.columns[0]].min())  # type: ignore[arg-type]  # an integer


def _before_weekends(given: pl.Series, plain: pl.Series, step: timedelta, market: Calendar, phase: int) -> pl.Series:
    """Cut the last bar of a week that trades without a pause."""
    unit, ends = step // MICROSECOND, given.to_physical()
    sessions = market.known(int(ends[0]) - unit, int(ends[-1]) + unit).select(pl.col("open", "close").to_physical())
    pauses = sessions.filter((pl.col("close") != pl.col("open").shift(-1)).fill_null(True))
    last = ends.is_in(pauses["close"].implode())
    before = ends.shift(1)
    adjoins = last & (ends - before < unit).fill_null(False)  # it opened when the bar before it ended
    rest = (ends - phase) % unit
    hours = (0, _HOUR, unit - _HOUR) if unit > _HOUR else (0,)  # a grid that follows New York moves by an hour
    cut = last & ~adjoins & ~rest.is_in(list(hours))
    opens = plain.to_physical().zip_with(~adjoins, before).zip_with(~cut, ends - rest)
    return opens.cast(INSTANT)


def _on_grid(given: pl.Series, plain: pl.Series, timeframe: str, market: Calendar, phase: int) -> pl.Series:
    short = timedelta(microseconds=phase)
    try:
        lo, hi = plain[0] - timedelta(days=1), given[-1] + timedelta(days=1)
        grids = [
            market.slots(timeframe, lo, hi),
            market.slots(timeframe, lo, hi, phase=short, short_first=True),
        ]
    except (InputError, OverflowError):  # beyond the bounds of a calendar or of all, no session cuts a bar short
        return plain
    found = [_fitted(given, plain, slots, timeframe, market) for slots in grids]
    fits = max(found, key=lambda pair: int(pair[1].sum()))
    opens, fit = fits
    # a bar that follows one outside the sessions is whole
    follows = (given.shift(1) == plain).fill_null(False) & ~fit.shift(1).fill_null(True)
    return opens.zip_with(~follows, plain)


def _fitted(
    given: pl.Series, plain: pl.Series, slots: Slots, timeframe: str, market: Calendar
) -> tuple[pl.Series, pl.Series]:
    """Return the openings of bars that end at some instants on a grid, and whether each fits it."""
    place = slots.floor((given.to_physical() - 1).cast(INSTANT))
    place = place.set(place < 0, None)
    opens, following = slots.at(place), slots.at(place + 1)
    ends = bar_ends(opens, timeframe, market)
    ends = ends.zip_with((ends <= following).fill_null(True), following)
    actual = (ends == given).fill_null(False)
    taken = plain.is_in(opens.filter(actual).implode())
    nominal = slots.place(plain).is_not_null() & ~taken
    return opens.zip_with(actual, plain), actual | nominal
