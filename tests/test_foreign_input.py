"""Times that no clock shows, in every frame that is taken in: refused with a reason, and nothing panics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

import walle
from walle import charts
from walle.errors import InputError, WalleError
from walle.interop import beyond_years, foreign, within_reach

EXTREMES = (2**63 - 1, -(2**63), 2**62, -(2**62), 8_334_601_228_800_000_000)
KINDS = [pl.Datetime(unit, zone) for unit in ("us", "ms") for zone in ("UTC", None, "America/New_York")]
TIMES = [
    *(pl.Series("t", [value, value ^ 1], dtype=pl.Int64).cast(kind) for value in EXTREMES for kind in KINDS),
    *(pl.Series("t", [value, value ^ 1], dtype=pl.Int32).cast(pl.Date) for value in (2**31 - 1, -(2**31), 10**8)),
    *(pl.Series("t", [value, value ^ 1], dtype=pl.Int64).cast(pl.Duration("ms")) for value in EXTREMES),
    *(pl.Series("t", [value, value]) for value in (1e300, -1e300, float("nan"), float("inf"), 9.3e18)),
    pl.Series("t", [2**64 - 1, 2**64 - 2], dtype=pl.UInt64),
    pl.Series("t", ["294276-12-31", "+262143-01-01T00:00:00Z"]),
]


def bars(times: pl.Series) -> pl.DataFrame:
    prices = {name: [1.0, 1.0] for name in ("open", "high", "low", "close", "volume")}
    return pl.DataFrame({"symbol": ["X", "X"], "timeframe": ["1m", "1m"], "timestamp": times, **prices})


def fills(times: pl.Series) -> pl.DataFrame:
    texts = {"id": ["a", "b"], "order_id": ["o", "o"], "symbol": ["X", "X"], "side": ["buy", "buy"]}
    return pl.DataFrame({**texts, "price": ["1", "1"], "quantity": ["1", "1"], "filled_at": times})


def orders(times: pl.Series) -> pl.DataFrame:
    texts = {"id": ["a", "b"], "client_order_id": ["c", "d"], "run_id": ["r", "r"], "symbol": ["X", "X"]}
    words = {"side": "buy", "order_type": "market", "time_in_force": "gtc", "status": "pending"}
    numbers = {"qty": ["1", "1"], "filled_qty": ["0", "0"]}
    return pl.DataFrame({**texts, **{name: [word] * 2 for name, word in words.items()}, **numbers, "created_at": times})


CALLS: dict[str, Callable[[walle.Store, pl.Series], Any]] = {
    "bars": lambda store, times: store.bars.ingest(bars(times)),
    "bars of any layout": lambda store, times: store.bars.ingest(bars(times).drop("timeframe")),
    "bars with a zone": lambda store, times: store.bars.ingest(bars(times), timezone="America/New_York"),
    "fills": lambda store, times: store.fills.ingest(fills(times)),
    "fills with a zone": lambda store, times: store.fills.ingest(fills(times), timezone="America/New_York"),
    "orders": lambda store, times: store.orders.ingest(orders(times)),
    "an audit of a frame": lambda store, times: store.fills.audit(fills(times)),  # type: ignore[arg-type]
    "resample": lambda store, times: walle.resample(bars(times), "5m", timeframe="1m"),
    "fill_gaps": lambda store, times: walle.fill_gaps(bars(times), timeframe="1m", max_gap=5),
    "candles": lambda store, times: charts.candles(bars(times)),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_time_that_no_clock_shows_is_refused_and_nothing_panics(
    what: str, sqlite_address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with walle.connect(sqlite_address) as store:
        for times in TIMES:
            with pytest.raises(WalleError):
                CALLS[what](store, times)
    assert "panicked" not in capfd.readouterr().err


@pytest.mark.parametrize("value", EXTREMES)
def test_quarantine_says_why(value: int, store: walle.Store) -> None:
    times = pl.Series("t", [value, 0], dtype=pl.Int64).cast(pl.Datetime("us", "UTC"))
    assert store.bars.ingest(bars(times), on_invalid="quarantine").inserted == 1
    report = store.fills.ingest(fills(times), on_invalid="quarantine")
    assert report.inserted == 1
    assert "outside the years 1 to 9999" in report.rejected_rows["reason"][0]


def test_a_count_that_would_wrap_is_no_other_time(store: walle.Store, tmp_path: Any) -> None:
    path = tmp_path / "X-1m.csv"
    wrapping = 2**63 // 1000 + 1_700_000_000_000  # in milliseconds; times 1000 it is some time of 2023 again
    rows = [f"{time},1,1,1,1,1" for time in (1_700_000_040_000, 1_700_000_100_000, 1_700_000_160_000)]
    path.write_text("timestamp,open,high,low,close,volume\n" + "\n".join(rows) + f"\n{-wrapping},1,1,1,1,1\n")
    with pytest.raises(InputError):
        store.bars.ingest(path, symbol="X", timeframe="1m")
    assert store.bars.series().is_empty()


def test_times_of_every_year_are_left_as_they_are() -> None:
    values = [-62_135_596_800_000_000, 0, 253_402_300_799_999_999]
    frame = pl.DataFrame({"t": pl.Series(values).cast(pl.Datetime("us", "UTC"))})
    assert within_reach(frame).equals(frame)
    assert not beyond_years(frame["t"])
    assert beyond_years(pl.Series([values[2] + 1]).cast(pl.Datetime("us", "UTC")))
    assert beyond_years(pl.Series([values[0] - 1]).cast(pl.Datetime("us", "UTC")))


def test_a_panic_becomes_an_error_about_the_input() -> None:
    with pytest.raises(InputError, match="the frame cannot be read: Polars gave up"), foreign("the frame"):
        str(pl.Series([2**31 - 1], dtype=pl.Int32).cast(pl.Date))
