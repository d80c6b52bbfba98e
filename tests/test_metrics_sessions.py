"""Returns by the sessions of markets: which rows belong to which, and how they are annualised."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import polars as pl
import pytest

import walle
from tests.samples import run
from walle.calendars import Calendar, calendar, from_sessions
from walle.frames import INSTANT
from walle.runs.sessions import common_periods, session_starts

HOUR = timedelta(hours=1)
SUNDAY = datetime(2025, 3, 2, tzinfo=UTC)


def sessions(names: Sequence[tuple[str, str]], times: Sequence[datetime]) -> list[date]:
    """The session of each row."""
    given = pl.Series(times, dtype=INSTANT)
    markets: list[tuple[Calendar, str]] = [(calendar(name), timeframe) for name, timeframe in names]
    starts = session_starts(markets, given.sort())
    place = starts["after"].search_sorted(given, "left").cast(pl.Int64) - 1
    return [starts["session"][number] for number in place]


def test_the_hours_of_sunday_belong_to_monday_in_foreign_exchange() -> None:
    monday, tuesday, friday = (date(2025, 3, day) for day in (3, 4, 7))
    rows = [SUNDAY + HOUR * number for number in (23, 24, 46, 47, 142, 150)]  # it opens at 22:00 UTC
    assert sessions([("24/5", "1h")], rows) == [monday, monday, monday, tuesday, friday, friday]
    assert sessions([("24/7", "1h")], rows[:3]) == [date(2025, 3, 2), date(2025, 3, 2), monday]
    days = [SUNDAY + timedelta(days=number) for number in (2, 3, 6)]  # the ends of 1d bars
    assert sessions([("24/5", "1d")], days) == [monday, tuesday, friday]


def test_a_bar_that_is_cut_short_belongs_to_the_session_that_ends_within_it() -> None:
    ends = [datetime(2025, 3, 3, 14, 30, tzinfo=UTC) + HOUR * number for number in (1, 6, 7, 25)]  # closes at 21:00
    assert sessions([("XNYS", "1h")], ends) == [date(2025, 3, 3)] * 3 + [date(2025, 3, 4)] * 1


def test_several_markets_are_marked_at_the_last_close_of_a_date() -> None:
    rows = [SUNDAY + HOUR * number for number in (25, 30, 45, 46, 48, 49)]
    first, second = date(2025, 3, 3), date(2025, 3, 4)
    assert sessions([("XTKS", "1h"), ("XNYS", "1h")], rows) == [first] * 5 + [second]  # until Tokyo opens again
    assert sessions([("24/7", "1h"), ("24/5", "1h")], rows) == [first] * 5 + [second]
    saturday = [SUNDAY + HOUR * number for number in (139, 150, 162)]
    assert sessions([("24/7", "1h"), ("24/5", "1h")], saturday) == [
        date(2025, 3, 7),
        date(2025, 3, 8),
        date(2025, 3, 8),
    ]


def test_rows_beyond_the_sessions_of_a_custom_calendar_count_by_day() -> None:
    opens = [datetime(2025, 3, day, 8, tzinfo=UTC) for day in (4, 5)]
    frame = pl.DataFrame(
        {"open": opens, "close": [time + 9 * HOUR for time in opens]}, schema=dict.fromkeys(("open", "close"), INSTANT)
    )
    own = from_sessions(frame, "two days")
    times = pl.Series([SUNDAY + timedelta(days=number, hours=10) for number in range(7)], dtype=INSTANT)
    starts = session_starts([(own, "1h")], times)
    assert starts["session"].to_list() == [date(2025, 3, 2) + timedelta(days=number) for number in range(7)]


def test_longer_bars_are_sessions_of_their_own() -> None:
    weeks = [datetime(2025, 3, 3, tzinfo=UTC) + timedelta(weeks=number) for number in (1, 2)]
    assert sessions([("24/7", "1w")], weeks) == [date(2025, 3, 3), date(2025, 3, 10)]
    months = [datetime(2025, 2, 1, tzinfo=UTC), datetime(2025, 3, 1, tzinfo=UTC)]
    assert sessions([("XNYS", "1M")], months) == [date(2025, 1, 1), date(2025, 2, 1)]


def test_two_calendars_share_the_sessions_that_both_have() -> None:
    span = datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 12, 1, tzinfo=UTC)
    dates = [set(calendar(name).sessions("2023-01-01", "2025-01-01")["session"]) for name in ("XNYS", "XTKS")]
    shared = common_periods([calendar("XNYS")], calendar("XTKS"), "1d", *span)
    assert shared == pytest.approx(len(dates[0] & dates[1]) / 2 * 365.25 / 365.5)
    assert common_periods([calendar("24/7")], calendar("24/5"), "1d", *span) == pytest.approx(365.25 * 5 / 7)
    assert common_periods([calendar("24/7")], calendar("24/7"), "1d", *span) == 365.25


def bought(
    store: walle.Store, symbol: str, bars: pl.DataFrame, timeframe: str, **options: object
) -> dict[str, dict[str, object]]:
    """The metrics of a run that bought 10 at the first open and kept them."""
    store.bars.ingest(bars, symbol=symbol, timeframe=timeframe)
    first = bars["timestamp"][0]
    ended = {"status": "completed", "started_at": first}
    store.runs.save(run(1, timeframe=timeframe, config={"cash": "1000"}, **ended))
    store.fills.append(
        walle.Fill(
            id="f", order_id="o", run_id=run(1).id, symbol=symbol, side="buy", price=Decimal(100), quantity=Decimal(10),
            filled_at=first,
        )
    )  # fmt: skip
    found = store.runs.metrics(run(1).id, **options)  # type: ignore[arg-type]  # options of the call
    return {row["metric"]: row for row in found.iter_rows(named=True)}


def bars_of(times: Sequence[datetime], closes: Sequence[float]) -> pl.DataFrame:
    columns = {name: list(closes) for name in ("open", "high", "low", "close")}
    return pl.DataFrame({"timestamp": list(times), **columns, "volume": [1.0] * len(closes)})


def checked(found: dict[str, dict[str, object]], closes: Sequence[float], periods: float) -> None:
    """Hold figures against formulas over a list of marks, the first of which is the start."""
    exact = [Fraction(repr(close)) for close in closes]
    changes = [float(after / before - 1) for before, after in itertools.pairwise(exact)]
    spread, mean = statistics.stdev(changes), statistics.fmean(changes)
    assert found["volatility"]["returns"] == len(changes)
    assert found["sharpe"]["periods_per_year"] == pytest.approx(periods)
    assert found["volatility"]["value"] == pytest.approx(spread * math.sqrt(periods), rel=1e-9)
    assert found["sharpe"]["value"] == pytest.approx(mean / spread * math.sqrt(periods), rel=1e-9)


def closes_of(count: int) -> list[float]:
    return [100.0, *(round(100 + 5 * math.sin(number * number) + number / 10, 2) for number in range(1, count))]


def test_a_year_of_hours_in_foreign_exchange_has_a_return_for_each_of_its_sessions(store: walle.Store) -> None:
    market = calendar("24/5")
    store.bars.set_calendar("EUR/USD", market)
    times = market.grid("1h", "2024-01-01T22:00:00Z", "2024-12-31T22:00:00Z")
    closes = closes_of(times.len())
    found = bought(store, "EUR/USD", bars_of(times.to_list(), closes), "1h")
    listed = market.sessions("2024-01-02", "2025-01-01").select("session", "open")
    ends = pl.DataFrame({"open": times, "close": closes}).sort("open")
    marks = ends.join_asof(listed, on="open").group_by("session", maintain_order=True).last()["close"].to_list()
    assert len(marks) == 261  # Monday to Friday; by day in UTC it would be 313
    checked(found, [100.0, *marks], 365.25 * 5 / 7)


@pytest.mark.parametrize(("timeframe", "step", "periods"), [("1w", timedelta(weeks=1), 365.25 / 7), ("1M", None, 12.0)])
def test_longer_bars_are_annualised_by_their_own_number(
    store: walle.Store, timeframe: str, step: timedelta | None, periods: float
) -> None:
    if step is None:
        times = [datetime(2021 + number // 12, number % 12 + 1, 1, tzinfo=UTC) for number in range(36)]
    else:
        times = [datetime(2021, 1, 4, tzinfo=UTC) + step * number for number in range(100)]
    closes = closes_of(len(times))
    found = bought(store, "BTC/USD", bars_of(times, closes), timeframe)
    checked(found, [100.0, *closes], periods)


def test_a_session_without_any_mark_breaks_the_chain_and_one_with_a_few_does_not(store: walle.Store) -> None:
    times = [SUNDAY + HOUR * number for number in range(24 * 6)]
    closes = closes_of(len(times))
    kept = [number for number in range(len(times)) if not (71 <= number < 72 or 96 <= number < 120)]
    found = bought(store, "BTC/USD", bars_of([times[n] for n in kept], [closes[n] for n in kept]), "1h")
    marks = [Fraction(repr(closes[number])) for number in (0, 23, 47, 70, 95)]
    changes = [float(b / a - 1) for a, b in itertools.pairwise(marks)]  # none into or out of the fifth day
    assert found["volatility"]["returns"] == 4
    assert found["volatility"]["value"] == pytest.approx(statistics.stdev(changes) * math.sqrt(365.25), rel=1e-9)
