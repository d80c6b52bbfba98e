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


def test_the_bytes_of_a_file_whose_last_bar_had_not_ended_hold_no_whole_one_later(
    store: walle.Store, tmp_path: Path
) -> None:
    hours(3).write_parquet(tmp_path / "A-1h.parquet")
    with pytest.warns(walle.UnfinishedBarsWarning, match="1 bar has not ended yet, and was left out"):
        first = store.bars.ingest(tmp_path)
    assert (first.inserted, first.unfinished, first.rows) == (2, 1, 3)
    assert store.bars.ingest(tmp_path, clock_skew=timedelta(days=1)).skipped == 1
    whole = hours(3).with_columns(volume=2.0).tail(1)
    whole.write_parquet(tmp_path / "A-1h.parquet")
    assert store.bars.ingest(tmp_path, clock_skew=timedelta(days=1)).inserted == 1
    assert store.bars.latest("A", "1h").volume == 2.0


def test_a_file_that_is_known_may_still_correct(store: walle.Store, tmp_path: Path) -> None:
    given = hours(4).head(3)
    store.bars.ingest(given, symbol="A", timeframe="1h")
    given.with_columns(volume=2.0).write_parquet(tmp_path / "A-1h.parquet")
    assert store.bars.ingest(tmp_path).conflicts == 3
    assert store.bars.ingest(tmp_path).skipped == 1
    with pytest.raises(walle.ConflictingBars):
        store.bars.ingest(tmp_path, on_conflict="raise")
    assert store.bars.ingest(tmp_path, on_conflict="correct", reason="restated").corrected == 3
    assert store.bars.latest("A", "1h").volume == 2.0


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
