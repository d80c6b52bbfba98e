from __future__ import annotations

import filecmp
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from walle import demo
from walle.calendars import calendar


def test_the_script_makes_the_committed_sample_data(tmp_path: Path) -> None:
    folder = demo.data_folder()
    subprocess.run(
        [sys.executable, folder / "make_sample_data.py", "--output", tmp_path], check=True, capture_output=True
    )
    for name in ("runs.json", "orders.csv", "fills.csv", "events.jsonl"):
        assert filecmp.cmp(folder / name, tmp_path / name, shallow=False), name
    for path in (folder / "bars").iterdir():  # compared by content: another Polars may compress otherwise
        assert pl.read_parquet(path).equals(pl.read_parquet(tmp_path / "bars" / path.name)), path.name


def test_the_stocks_trade_in_the_sessions_of_their_calendar() -> None:
    market, held = demo.sample_calendar(), demo.sample_bars()
    for symbol in demo.STOCKS:
        assert market.grid("1m", "2025-11-18", "2025-12-03").equals(held[symbol]["timestamp"], null_equal=True), symbol
    pytest.importorskip("exchange_calendars", reason="the extra calendars is not installed")
    names = ["session", "open", "close"]
    listed = calendar("XNYS").sessions("2025-11-18", "2025-12-03")
    assert market.sessions("2025-11-18", "2025-12-03").select(names).equals(listed.select(names))


def test_the_sample_events_are_events_of_the_sample_runs() -> None:
    events = demo.sample_events()
    assert len(events) == 680
    assert {event.run_id for event in events} == {run.id for run in demo.sample_runs()}
    assert [event.ts for event in events] == sorted(event.ts for event in events)
    assert len({event.id for event in events}) == len(events)


def test_only_the_planted_faults_are_in_the_sample_fills() -> None:
    """Recomputed here from the files alone."""
    fills, orders = demo.sample_fills(), demo.sample_orders()
    money = pl.Decimal(38, 18)
    fills = fills.with_columns(pl.col("price", "quantity").cast(money))
    assert fills.join(orders, left_on="order_id", right_on="id", how="anti")["id"].to_list() == ["fill-bt-9001"]
    doubles = fills.filter(pl.col("exchange_fill_id").is_duplicated())["id"].to_list()
    assert doubles == ["fill-bt-0057", "fill-bt-0058"]
    sums = fills.group_by("order_id").agg(pl.col("quantity").sum())
    over = orders.with_columns(pl.col("qty").cast(money)).join(sums, left_on="id", right_on="order_id")
    assert over.filter(pl.col("quantity") > pl.col("qty"))["id"].to_list() == ["ord-bt-0035"]
    minutes = pl.concat(
        [frame.with_columns(symbol=pl.lit(symbol)) for symbol, frame in demo.sample_bars().items()]
    ).select("symbol", "low", "high", minute="timestamp")
    placed = fills.with_columns(minute=pl.col("filled_at").dt.truncate("1m"), at=pl.col("price").cast(pl.Float64)).join(
        minutes, on=["symbol", "minute"], how="left"
    )
    assert placed.filter(~pl.col("at").is_between("low", "high"))["id"].to_list() == ["fill-bt-0039"]
    assert placed["low"].null_count() == 0
