"""Coverage by day, week and month beside brute force: plain sets of plain datetimes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import first_quick
from tests.test_calendars import exchange, utc
from tests.test_coverage import FIRST, LAST, clock, expected_bars, series
from walle.bars.coverage import summarise
from walle.bars.grid import GRID, count_grid
from walle.bars.spans import SPANS, spans_of
from walle.calendars import Calendar, calendar, from_sessions
from walle.errors import InputError
from walle.frames import INSTANT

brute = settings(max_examples=60, deadline=None, derandomize=True)
MINUTES = {"1m": 1, "5m": 5, "1h": 60, "4h": 240, "1d": 1440}


def cell_of(moment: datetime, period: str) -> datetime:
    """When the day, the week or the month begins that an instant lies in."""
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return {"day": day, "week": day - timedelta(days=day.weekday()), "month": day.replace(day=1)}[period]


def frame(symbol: str, timeframe: str, times: list[datetime]) -> pl.DataFrame:
    stamps = pl.Series("timestamp", times, INSTANT).to_frame()
    return stamps.select(pl.lit(symbol).alias("symbol"), pl.lit(timeframe).alias("timeframe"), "timestamp")


def brute_cells(
    timeframe: str, name: str, times: list[datetime], period: str, start: datetime | None, end: datetime | None
) -> list[tuple[object, ...]] | None:
    """Expected and missing in each cell, by a loop; None where the listed times do not reach."""
    held = {moment for moment in times if (start is None or moment >= start) and (end is None or moment < end)}
    if (not held) and (start is None or end is None):
        return []
    lo = min(held) if start is None else start
    hi = max(held) + timedelta(microseconds=1) if end is None else end
    if hi > LAST or lo < FIRST:
        return None
    if name == "24/7" and timeframe != "1d":
        step = timedelta(minutes=MINUTES[timeframe])
        grid = min(held, default=datetime(1970, 1, 1, tzinfo=UTC))
        grid -= max(0, -((lo - grid) // step)) * step
        grid += max(0, -((grid - lo) // step)) * step
        expected = [moment for moment in clock("24/7", timeframe, grid) if lo <= moment < hi]
    else:
        expected = [moment for moment in expected_bars(name, timeframe) if lo <= moment < hi]
    there = Counter(cell_of(moment, period) for moment in expected)
    gone = Counter(cell_of(moment, period) for moment in expected if moment not in held)
    return [(cell, count, gone[cell], (count - gone[cell]) / count) for cell, count in sorted(there.items())]


@pytest.mark.thorough
@brute
@given(cases=st.lists(series(), min_size=1, max_size=3), data=st.data())
def test_cells_are_counted_as_sets_are(cases: list[tuple[str, str, list[datetime]]], data: st.DataObject) -> None:
    start = end = None
    if data.draw(st.booleans()):
        start = FIRST + timedelta(minutes=data.draw(st.integers(0, 250_000)))
    if data.draw(st.booleans()):
        end = (start or FIRST) + timedelta(minutes=data.draw(st.integers(0, 10_000)))
    period = data.draw(st.sampled_from(["day", "week", "month"]))
    names = [(f"S{number}", timeframe) for number, (_, timeframe, _) in enumerate(cases)]
    order = data.draw(st.permutations(names))
    runs = spans_of(pl.concat(frame(*name, case[2]) for name, case in zip(names, cases, strict=True)))
    markets = {symbol: calendar(case[0]) for (symbol, _), case in zip(names, cases, strict=True)}
    expected = {
        symbol: brute_cells(timeframe, name, times, period, start, end)
        for (symbol, _), (name, timeframe, times) in zip(names, cases, strict=True)
    }
    if any(cells is None for cells in expected.values()):
        return
    cells = count_grid(order, runs, markets, period, start, end)
    made = cells.frame()
    assert made.schema == GRID
    assert cells.series.select("symbol", "timeframe").rows() == order
    assert made["symbol"].unique(maintain_order=True).to_list() == [name for name, _ in order if expected[name]]
    for symbol, timeframe in names:
        assert made.filter(symbol=symbol).drop("symbol", "timeframe").rows() == expected[symbol], (symbol, timeframe)
    backwards = list(range(len(order)))[::-1]
    turned = cells.take(backwards).frame()
    assert turned.sort("symbol", "start").equals(made.sort("symbol", "start"))
    assert cells.take([]).frame().is_empty()


@pytest.mark.parametrize("timeframe", first_quick(["30m", "1m", "4h", "8h", "1d", "1w", "1M"]))
@pytest.mark.parametrize("name", ["24/7", "24/5", "XNYS", "XHKG", "own"])
def test_the_sums_of_the_cells_are_the_coverage_of_a_series(name: str, timeframe: str) -> None:
    market = own_calendar() if name == "own" else calendar(name)
    always = calendar("24/7").grid(timeframe, "2023-10-01", "2024-04-01")  # through both changes of the clocks
    for phase in (0, 30):
        times = always if timeframe in ("1d", "1w", "1M") else always + timedelta(minutes=phase % 60)
        kept = times.filter(pl.int_range(times.len(), eager=True) % 7 != 3)
        told = summarise(kept, timeframe, market).row(0, named=True)
        made = count_grid(
            [("A", timeframe)], spans_of(frame("A", timeframe, kept.to_list())), {"A": market}, "week"
        ).frame()
        assert (made["expected"].sum(), made["missing"].sum()) == (told["expected"], told["missing"])


def own_calendar() -> Calendar:
    """Sessions whose opens stand on no common grid, with a break on every second day."""
    days = [utc(2023, 10, 1) + timedelta(days=number) for number in range(0, 180, 2)]
    opens = [day + timedelta(hours=9, minutes=7 * number % 60) for number, day in enumerate(days)]
    rest = [moment + timedelta(hours=3) if number % 2 else None for number, moment in enumerate(opens)]
    sessions = {
        "open": opens,
        "close": [moment + timedelta(hours=8) for moment in opens],
        "break_start": rest,
        "break_end": [moment and moment + timedelta(minutes=45) for moment in rest],
    }
    return from_sessions(pl.DataFrame(sessions), "own")


def test_one_missing_minute_in_ten_years_is_one_cell_with_a_hole() -> None:
    first, minute = utc(2014, 1, 1), 60_000_000
    lost = utc(2019, 7, 3) + timedelta(hours=5, minutes=17)
    micros = [int(moment.timestamp()) * 1_000_000 for moment in (first, lost, utc(2024, 1, 1))]
    runs = pl.DataFrame(
        {
            "symbol": ["A", "A"],
            "timeframe": ["1m", "1m"],
            "first": [micros[0], micros[1] + minute],
            "last": [micros[1] - minute, micros[2] - minute],
        },
        schema=SPANS,
    )
    for period, begins in (("day", utc(2019, 7, 3)), ("week", utc(2019, 7, 1)), ("month", utc(2019, 7, 1))):
        made = count_grid([("A", "1m")], runs, {"A": calendar("24/7")}, period).frame()
        assert made.filter(pl.col("missing") > 0).select("start", "missing").rows() == [(begins, 1)]
    assert made["expected"].sum() == (utc(2024, 1, 1) - first) // timedelta(minutes=1)


def test_nothing_gives_an_empty_frame() -> None:
    none = pl.DataFrame(schema=SPANS)
    assert count_grid([], none, {}, "day").frame().schema == GRID
    assert count_grid([("A", "1m")], none, {"A": calendar("24/7")}, "day").frame().is_empty()
    whole = count_grid([("A", "1h")], none, {"A": calendar("24/7")}, "day", "2024-01-01", "2024-01-03").frame()
    assert whole.select("expected", "missing", "coverage").rows() == [(24, 24, 0.0)] * 2


def test_only_days_weeks_and_months_are_periods_and_a_calendar_has_bounds() -> None:
    none = pl.DataFrame(schema=SPANS)
    with pytest.raises(InputError, match="allowed are day, week, month"):
        count_grid([], none, {}, "year")
    assert exchange("XNYS") is not None
    with pytest.raises(InputError, match="XNYS reaches from"):
        count_grid([("A", "1d")], none, {"A": calendar("XNYS")}, "day", "1900-01-01", "1900-01-03")
