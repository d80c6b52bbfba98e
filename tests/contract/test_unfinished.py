"""Bars that had not ended when they were ingested."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

import walle

HOUR = timedelta(hours=1)


def hours(count: int) -> pl.DataFrame:
    """The last hours, of which the last one goes on."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    times = [now - HOUR * place for place in reversed(range(count))]
    columns = (pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close", "volume"))
    return pl.DataFrame({"timestamp": times}).with_columns(columns)


def test_a_range_without_ends_reaches_a_bar_that_has_not_ended(store: walle.Store) -> None:
    given = hours(3)
    assert store.bars.ingest(given, symbol="A", timeframe="1h", unfinished="keep").inserted == 3
    first, last = given["timestamp"][0], given["timestamp"][-1]
    for ends in ((None, None), (first, None), (None, last + HOUR), (first, last + HOUR)):
        with pytest.raises(walle.IncompleteBars) as lacking:
            store.bars.read("A", "1h", *ends, require_complete=True)
        assert lacking.value.gaps["start"].to_list() == [last]
    assert store.bars.read("A", "1h", end=last, require_complete=True).height == 2
    report = store.bars.ingest(given, symbol="A", timeframe="1h", clock_skew=timedelta(days=1))
    assert (report.corrected, report.duplicates) == (1, 2)
    assert store.bars.read("A", "1h", require_complete=True).height == 3


def test_a_file_with_a_bar_that_had_not_ended_is_read_again(store: walle.Store, tmp_path: Path) -> None:
    hours(3).write_parquet(tmp_path / "A-1h.parquet")
    with pytest.warns(walle.UnfinishedBarsWarning, match="1 bar has not ended yet, and was left out"):
        first = store.bars.ingest(tmp_path)
    assert (first.inserted, first.unfinished, first.rows) == (2, 1, 3)
    again = store.bars.ingest(tmp_path, clock_skew=timedelta(days=1))
    assert (again.inserted, again.duplicates, again.skipped) == (1, 2, 0)
    assert store.bars.ingest(tmp_path).skipped == 1
    assert store.bars.ingests()["unfinished"].to_list() == [1, 0]


def test_a_stocks_day_is_whole_at_the_close_of_its_session(store: walle.Store) -> None:
    """A session of the past hours has ended although its date goes on in UTC; one that is open has not."""
    now = datetime.now(UTC)
    today = now.date()
    for symbol, close, unfinished in (
        ("EARLY", now - timedelta(minutes=5), 0),
        ("LATE", now + timedelta(minutes=5), 1),
    ):
        sessions = pl.DataFrame({"session": [today], "open": [close - 6 * HOUR], "close": [close]})
        frame = pl.DataFrame({"timestamp": [today]}).with_columns(
            pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close", "volume")
        )
        market = walle.calendars.from_sessions(sessions, symbol.lower())
        if unfinished:
            with pytest.raises(walle.UnfinishedBars, match="1 bar has not ended by"):
                store.bars.ingest(frame, symbol=symbol, timeframe="1d", calendar=market, unfinished="raise")
        else:
            assert store.bars.ingest(frame, symbol=symbol, timeframe="1d", calendar=market).inserted == 1
