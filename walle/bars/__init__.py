"""Bars: files and frames in, checked row by row; frames, coverage and gaps out.

`store.bars` stores and reads bars (see `walle.store.Bars`). This package has the functions that need no store:
`walle.resample` and `walle.fill_gaps` transform a frame of bars, and `check_bars` says which rows are bars.

```python
import polars as pl
import walle
from walle import demo

store = walle.connect("research.db")

store.bars.ingest(demo.data_folder() / "bars", provider="synthetic")  # files: here a folder of Parquet
frame = demo.sample_bars()["BTC/USD"]  # or a frame: Polars, pandas or Arrow
report = store.bars.ingest(frame, symbol="BTC/USD", timeframe="1m")
print(report)  # IngestReport(19,952 rows: 0 inserted, 19,952 duplicates, 0 conflicts, 0 rejected)

day = store.bars.read("BTC/USD", "1m", "2025-11-20", "2025-11-21")  # [start, end): the 21st is not in it
assert day.columns == ["timestamp", "open", "high", "low", "close", "volume"]

top = store.bars.scan("BTC/USD", "1m").select(pl.col("volume").max()).collect()  # lazy: reads only the volume
print(store.bars.series(), store.bars.latest("BTC/USD", "1m"), top)

store.bars.set_calendar(["ETH/USD", "BTC/USD"], "24/7")  # kept in the store; 24/7 is also the default
store.bars.explain_gap("BTC/USD", "2025-11-27T16:40", "2025-11-27T17:15", "the exchange was down")
print(store.bars.coverage())  # bars, expected, missing, coverage, gaps, longest gap, unexpected, explained, calendar
print(store.bars.gaps("BTC/USD", "1m"))  # start, end, missing, duration, cause, reason, author
store.close()
```

## What comes in

- **Files.** `ingest` takes a path, a pattern, a folder or a list of CSV, Parquet, Feather and JSON files, compressed or
  not, as freqtrade, Binance, ccxt, yfinance, Alpaca or Databento write them, or with any usual column names. The symbol
  and the timeframe come from the file name (`ETH_BTC-5m.feather`), from a column, or from you; the timeframe can also
  be inferred from the distances between the rows. Each file, whatever its size, is stored whole or not at all, and only
  once. `store.bars.ingests()` lists what came from where, with checksums.
- **Columns.** For a source with other names, pass `columns={"date": "timestamp"}`; for one without volume, pass
  `columns={"volume": None}`. WallE ignores further columns.
- **Times.** The timestamp of a bar is its opening time. Naive times need `timezone="America/New_York"`. Bars of `1d`,
  `1w` and `1M` carry the date of their session or period: plain dates are accepted, and midnight in any zone becomes
  that date.
- **One phase.** The bars of a series open at one phase of the clock (09:30, 10:30, ...), or where the calendar of the
  symbol starts a session. A bar off that phase is refused, because it belongs to another timeframe.
- **Refused rows.** One bad row stops the whole call, and the error's `.rejected_rows` lists every bad row with its
  reason. With `on_invalid="quarantine"` the good rows are stored; the bad ones are returned in `report.rejected_rows`
  and kept for `store.bars.rejected()`.
- **Conflicts.** The first version of a bar stays. `store.bars.conflicts()` lists the bars that arrived again with other
  values, with both versions.
- **No guesses.** Bars that lie as those of a longer timeframe do are refused; say the right `timeframe=`. Where a
  symbol really trades that rarely, say it twice: in a column `timeframe` and by the argument. A
  `walle.ContradictionWarning` tells when a file's name says something else than what was stored.
- **No way back.** Bars are facts and cannot be deleted. Try a doubtful source in a file of its own first.

## What comes out

- **Ranges.** Every range is half-open, `[start, end)`, in UTC.
- **Nothing overlooked.** `read(..., require_complete=True)` raises `walle.IncompleteBars` when bars are missing that
  nobody has explained; its `.gaps` lists them. A read of several symbols issues a `walle.EmptySeriesWarning` that names
  the symbols without a bar in the range.
- **Panels.** `store.bars.panel(["BTC/USD", "ETH/USD"], "1m", "close")` has one column per symbol, with null where a
  symbol has no bar.
- **Other timeframes.** `walle.resample(frame, "5m", timeframe="1m", calendar="XNYS")` never joins two sessions, and
  marks incomplete buckets. A frame does not know the calendar of its symbol: without `calendar=` the buckets follow the
  clock in UTC, as for 24/7.
- **Filling.** `walle.fill_gaps(frame, timeframe="1m", max_gap=3)` fills short gaps of a frame and marks every filled
  row. Nothing in the store is ever filled in.

## Coverage and gaps

- **Calendars.** Which bars are expected depends on when the market is open: `"24/7"` by default; `"24/5"` for foreign
  exchange; a name of [exchange_calendars](https://pypi.org/project/exchange-calendars/) such as `"XNYS"`, with its
  holidays, early closes and breaks (`pip install "walle[calendars]"`); or sessions of your own
  (`walle.calendars.from_sessions`). `set_calendar` stores the calendar of a symbol, and `calendar=` applies to one
  call.
- **Coverage.** `store.bars.coverage()` has one row per series, and `store.bars.coverage_by("week")` one per series and
  week.
- **Gaps.** Each gap has a cause. It is a `single` bar, a `hole`, or an `outage`: all series of the same provider and
  timeframe whose markets were open, at least two of them, are silent. `explain_gap` records why bars are missing, and
  `explanations()` lists the recorded reasons.

![Four series, their first and last bars, and the gaps in two of them](../../notebooks/pictures/coverage-light.png)
"""

from walle.bars.check import Checked, check_bars
from walle.bars.parse import parse_bars
from walle.bars.transform import fill_gaps, resample
from walle.reports import IngestReport

__all__ = ["Checked", "IngestReport", "check_bars", "fill_gaps", "parse_bars", "resample"]
