"""Twenty years of two indices, as a package ships them, are whole under the calendar of their exchange."""

from __future__ import annotations

import importlib
import warnings

import polars as pl
import pytest

import walle


@pytest.mark.parametrize("name", ["sp500", "nasdaq"])
def test_a_daily_index_over_twenty_years_is_complete(store: walle.Store, name: str) -> None:
    pytest.importorskip("exchange_calendars", reason="the extra calendars is not installed")
    pytest.importorskip("arch", reason="the package arch, which ships the series, is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its pandas deprecates
        data = importlib.import_module(f"arch.data.{name}").load()
    assert store.bars.ingest(data, symbol=name).inserted == 5031
    store.bars.set_calendar(name, "XNYS")
    told = store.bars.coverage(name).select("timeframe", "bars", "expected", "missing", "unexpected", "coverage")
    assert told.row(0) == ("1d", 5031, 5031, 0, 0, 1.0)
    assert store.bars.gaps(name, "1d").is_empty()
    stored = store.bars.read(name, "1d")
    assert stored["close"].to_list() == data["Close"].to_list()
    assert stored.select(pl.col("timestamp").dt.date()).to_series().to_list() == [day.date() for day in data.index]
