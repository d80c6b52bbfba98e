"""The coverage of the stored bars, and their gaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.bars.coverage import (
    COVERAGE,
    GAPS,
    find_gaps,
    local_phase,
    outages,
    own_phase,
    summarise,
    summarise_each,
)
from walle.bars.grid import CoverageGrid, check_period, count_grid
from walle.calendars import Calendar
from walle.calendars import calendar as find_calendar
from walle.database import Database
from walle.errors import IncompleteBars
from walle.frames import INSTANT, no_rows
from walle.repositories.bars.as_of import resolve
from walle.repositories.bars.calendars import DEFAULT, Calendars, add_explanations, calendars_of
from walle.repositories.bars.hints import CalendarHints
from walle.repositories.bars.series import StoredSeries
from walle.repositories.common import Time, check_name
from walle.repositories.tokens import AsOf, Known
from walle.timeframe import check_timeframe, has_anchor, length
from walle.validation import MICROSECOND, shift

__all__ = ["SERIES_COVERAGE", "SERIES_GAPS", "Coverage"]

SERIES_COVERAGE = pl.Schema(
    {"symbol": pl.String(), "timeframe": pl.String(), **COVERAGE, "explained": pl.Int64(), "calendar": pl.String()}
)
"""One row is one series, with the columns of :data:`walle.bars.coverage.COVERAGE`; then the missing bars in explained
gaps, and the name of the calendar that defines which bars are expected."""

SERIES_GAPS = pl.Schema({**GAPS, "reason": pl.String(), "author": pl.String()})
"""The columns of :data:`walle.bars.coverage.GAPS`; then why the bars are missing and who explained it, null where
unexplained."""


_KEY = ["symbol", "timeframe", "first"]
_MOST_TIMES = 2_000_000
"""Opening times that are held at a time."""


_LOW = 0.9
"""A coverage below which a symbol without a calendar may lack one."""


class Coverage:
    """The coverage of the stored bars, and their gaps.

    Parameters
    ----------
    database : Database
    series : StoredSeries
    calendars : Calendars
    """

    def __init__(self, database: Database, series: StoredSeries, calendars: Calendars) -> None:
        self._database, self._series, self._calendars = database, series, calendars
        self._hints = CalendarHints(database, series, calendars)

    async def summary(
        self,
        symbol: str | Sequence[str] | None,
        timeframe: str | None,
        start: Time,
        end: Time,
        calendar: str | Calendar | None,
        as_of: AsOf,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the coverage of every series: columns of ``SERIES_COVERAGE``."""
        given = None if calendar is None else find_calendar(calendar)
        series = await self._series.choose(symbol, timeframe, session)
        token = await self._known(as_of, series, session)
        own = {} if given else await calendars_of(self._database, series["symbol"], session)
        explanations = await self._calendars.explained_gaps(symbol, session)
        indexed, rows = no_rows(SERIES_COVERAGE), []
        if token is None and start is None and end is None and "expected" in series.columns:  # the index knows it
            always = [name for name in series["symbol"].unique() if (given or own[name]).name == DEFAULT]
            known = pl.col("symbol").is_in(always) & pl.col("expected").is_not_null()
            known &= (pl.col("missing") == 0) | ~pl.col("symbol").is_in(explanations["symbol"].implode())
            indexed, series = _indexed_coverage(series.filter(known)), series.filter(~known)
        plain = series.filter(~pl.col("symbol").is_in(explanations["symbol"].implode()))
        markets = {name: given or own[name] for name in plain["symbol"].unique()}
        at_once = await self._at_once(plain.head(0) if token is not None else plain, markets, start, end, session)
        series = series.join(at_once, on=["symbol", "timeframe"], how="anti", maintain_order="left")
        wanted = list(series.select("symbol", "timeframe").iter_rows())
        phases = {(name, period): _anchor(period, first) for name, period, first in series.select(_KEY).iter_rows()}
        async for (name, period), times in self._series.times_of_each(wanted, start, end, session, token):
            market, covered, phase = given or own[name], 0, phases[name, period]
            row = await self._database.in_thread(partial(summarise, times, period, market, start, end, phase=phase))
            mine = explanations.filter(pl.col("symbol") == name)
            if mine.height and row["missing"].item():
                search = partial(find_gaps, times, period, market, start, end, phase=phase)
                gaps = await self._database.in_thread(search)
                covered = int(add_explanations(gaps, mine, period).drop_nulls("reason")["missing"].sum())
            rows.append((name, period, *row.row(0), covered, market.name))
        counted = pl.DataFrame(rows, schema=SERIES_COVERAGE, orient="row")
        found = pl.concat([indexed, at_once, counted]).sort("symbol", "timeframe")
        if given is None:
            low = found.filter(pl.col("calendar") == DEFAULT, pl.col("coverage") < _LOW)
            await self._hints.give(list(low.select("symbol", "timeframe").iter_rows()), session)
        return found

    async def _at_once(
        self,
        series: pl.DataFrame,
        markets: Mapping[str, Calendar],
        start: Time,
        end: Time,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the coverage of the series whose sessions have their own phases, many at a time."""
        groups: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for name, period, bars in series.select("symbol", "timeframe", "bars").iter_rows():
            if not markets[name].continuous and not has_anchor(period):
                groups.setdefault((period, id(markets[name])), []).append((name, bars))
        found = [no_rows(SERIES_COVERAGE)]
        for (period, _), members in groups.items():
            market = markets[members[0][0]]
            for names in _parts(members):
                times = await self._series.times_at_once([(name, period) for name in names], start, end, session)
                if times is None:
                    return found[0]
                counted = await self._database.in_thread(
                    partial(summarise_each, times, names, period, market, start, end)
                )
                whole = counted.with_columns(
                    timeframe=pl.lit(period), explained=pl.lit(0, pl.Int64), calendar=pl.lit(market.name)
                )
                # a series with unexpected bars may have another grid, and is counted by itself
                found.append(whole.filter(pl.col("unexpected") == 0).select(list(SERIES_COVERAGE)))
        return pl.concat(found)

    async def grid(
        self,
        period: str,
        symbol: str | Sequence[str] | None,
        timeframe: str | None,
        start: Time,
        end: Time,
        calendar: str | Calendar | None,
        as_of: AsOf,
        session: AsyncSession | None,
    ) -> CoverageGrid:
        """Count the expected and missing bars of each series by day, week or month."""
        check_period(period)
        given = None if calendar is None else find_calendar(calendar)
        series = await self._series.choose(symbol, timeframe, session)
        wanted = list(series.select("symbol", "timeframe").iter_rows())
        for name in {name for _, name in wanted}:
            check_timeframe(name)
        symbols = series["symbol"].unique()
        markets = dict.fromkeys(symbols, given) if given else await calendars_of(self._database, symbols, session)
        spans = await self._series.spans(series, session, await self._known(as_of, series, session))
        return await self._database.in_thread(partial(count_grid, wanted, spans, markets, period, start, end))

    async def gaps(
        self,
        symbol: str,
        timeframe: str,
        start: Time,
        end: Time,
        calendar: str | Calendar | None,
        as_of: AsOf,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the gaps of a series, with their causes and explanations: columns of ``SERIES_GAPS``."""
        mine = pl.DataFrame([(check_name(symbol, "symbol"), timeframe)], ["symbol", "timeframe"], orient="row")
        token = await self._known(as_of, mine, session)
        times = await self._series.times(symbol, timeframe, start, end, session, token)
        found = await self._gaps(times, symbol, timeframe, start, end, calendar, session)
        if calendar is None and found.height:
            await self._hints.give([(symbol, timeframe)], session)
        return await self._outages(found, symbol, timeframe, token, session)

    async def _known(self, as_of: AsOf, series: pl.DataFrame, session: AsyncSession | None) -> Known | None:
        """Return the ingests of an as-of, and warn of bars of which it is unknown when they were stored."""
        token = await resolve(self._database, as_of, session)
        if token is not None:
            wanted = set(series.select("symbol", "timeframe").iter_rows())
            await self._series.known.warn_of_untold(wanted, session)
        return token

    async def require(
        self,
        symbols: Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        as_of: Known | None,
        session: AsyncSession | None,
    ) -> None:
        """Raise if any bar is missing without an explanation; one that had not ended is not there yet.

        Raises
        ------
        IncompleteBars
        """
        lacking = []
        for symbol in dict.fromkeys(symbols):
            times = await self._series.times(check_name(symbol, "symbol"), timeframe, start, end, session, as_of)
            early = await self._series.known.provisional(symbol, timeframe, start, end, as_of, session)
            first, last = start, end
            whole = times
            if early.len():  # a range without ends reaches from the first bar to the last, also if they had not ended
                whole = times.filter(~times.is_in(early.implode()))
                first, last = _ends_of(times, start, end)
            gaps = await self._gaps(whole, symbol, timeframe, first, last, None, session)
            gaps = await self._outages(gaps.filter(pl.col("reason").is_null()), symbol, timeframe, as_of, session)
            lacking.append(gaps.select(pl.lit(symbol).alias("symbol"), pl.lit(timeframe).alias("timeframe"), pl.all()))
        found = pl.concat(lacking)
        if found.height:
            doubtful = list(found.select("symbol", "timeframe").unique(maintain_order=True).iter_rows())
            hint = await self._hints.text(doubtful, session)
            raise IncompleteBars(f"{_lacking(found)} {hint}".rstrip(), found)

    async def _gaps(
        self,
        times: pl.Series,
        symbol: str,
        timeframe: str,
        start: Time,
        end: Time,
        calendar: str | Calendar | None,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the gaps of a series with their explanations, without checking other series for outages."""
        given, phase = None if calendar is None else find_calendar(calendar), None
        if times.is_empty():
            await self._series.require([symbol], timeframe, session)
            if has_anchor(timeframe):
                (first,) = (await self._series.choose(symbol, timeframe, session))["first"]
                phase = _anchor(timeframe, first)
        market = given or (await calendars_of(self._database, [symbol], session))[symbol]
        found = await self._database.in_thread(partial(find_gaps, times, timeframe, market, start, end, phase=phase))
        return add_explanations(found, await self._calendars.explained_gaps(symbol, session), timeframe).cast(
            SERIES_GAPS
        )

    async def _outages(
        self, found: pl.DataFrame, symbol: str, timeframe: str, as_of: Known | None, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Mark the gaps during which the provider of a series delivered nothing."""
        left, gaps, asked = found, {}, {}
        others = await self._series.of_same_provider(symbol, timeframe, session) if found.height else []
        markets = await calendars_of(self._database, (name for name, _, _ in others), session)
        for name, first, last in others:
            if left.is_empty():
                break
            lo = max(first, left["start"][0] - length(timeframe))  # a bar that opens before a gap may reach into it
            hi = min(last + length(timeframe), left["end"][-1])
            if lo >= hi:
                continue
            times = await self._series.times(name, timeframe, lo, hi, session, as_of)
            # a bar within a gap proves that the provider delivered; the next series is read for fewer gaps
            left = left.filter(times.search_sorted(left["start"]) == times.search_sorted(left["end"]))
            silence = partial(_silence, times, timeframe, markets[name], lo, hi, first)
            gaps[name], asked[name] = await self._database.in_thread(silence)
        if left.is_empty() or not gaps:
            return found
        gaps[symbol], asked[symbol] = left, left.select(open="start", close="end")
        silent = outages(gaps, spans=asked)[symbol].filter(pl.col("cause") == "outage")["start"]
        cause = pl.when(pl.col("start").is_in(silent.implode())).then(pl.lit("outage")).otherwise("cause")
        return found.with_columns(cause=cause)


def _anchor(timeframe: str, first: datetime) -> timedelta | None:
    """Return the phase of the periods of a series by its first bar, also for a range without bars; None without."""
    return own_phase(pl.Series([first], dtype=INSTANT), timeframe) if has_anchor(timeframe) else None


def _indexed_coverage(series: pl.DataFrame) -> pl.DataFrame:
    """Return the coverage of series from the sums in the index."""
    there = (pl.col("expected") - pl.col("missing")) / pl.col("expected")
    summed = series.with_columns(
        coverage=pl.when(pl.col("expected") > 0).then(there),
        explained=pl.lit(0, pl.Int64),
        calendar=pl.lit(DEFAULT),
    )
    return summed.select(list(SERIES_COVERAGE)).cast(SERIES_COVERAGE)


def _parts(members: Sequence[tuple[str, int]]) -> Iterator[Sequence[str]]:
    """Split series with their numbers of bars into parts of some million bars."""
    part: list[str] = []
    held = 0
    for name, bars in members:
        if part and held + bars > _MOST_TIMES:
            yield part
            part, held = [], 0
        part.append(name)
        held += bars
    yield part


def _ends_of(times: pl.Series, start: Time, end: Time) -> tuple[Time, Time]:
    """Return the ends of a range, in the place of open ones those of the bars."""
    low, high = times.min(), times.max()
    if not isinstance(low, datetime) or not isinstance(high, datetime):
        return start, end
    return low if start is None else start, shift(high, MICROSECOND) if end is None else end


def _silence(
    times: pl.Series, timeframe: str, market: Calendar, start: datetime, end: datetime, first: datetime
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the gaps of a series whose first bar is ``first``, and when its bars are expected."""
    own = own_phase(pl.Series([first], dtype=INSTANT), timeframe)
    phase = own if market.continuous or has_anchor(timeframe) else None
    if (local := local_phase(times, timeframe, market)) is not None:
        expected = market.slots(timeframe, start, end, phase=local, local=True).stretches()
        return find_gaps(times, timeframe, market, start, end), expected
    expected = market.slots(timeframe, start, end, phase=phase).stretches()
    return find_gaps(times, timeframe, market, start, end, phase=phase), expected


def _lacking(gaps: pl.DataFrame) -> str:
    shown = [
        f"{row['symbol']} {row['timeframe']} lacks {row['missing']:,} from {row['start'].isoformat()}"
        for row in gaps.head(3).iter_rows(named=True)
    ]
    more = f"; and {gaps.height - len(shown):,} more gaps" if gaps.height > len(shown) else ""
    lost = gaps["missing"].sum()
    bars = "1 bar is" if lost == 1 else f"{lost:,} bars are"
    holes = "1 unexplained gap" if gaps.height == 1 else f"{gaps.height:,} unexplained gaps"
    return (
        f"{bars} missing, in {holes}: {'; '.join(shown)}{more}. "
        "This error's .gaps has them all; store.bars.gaps() also has the explained ones. Ingest the bars, set the "
        "market's calendar (store.bars.set_calendar), or explain why they are missing (store.bars.explain_gap)."
    )
