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
print(store.bars.coverage("BTC/USD"))  # bars, expected, missing, coverage, gaps, longest_gap, ..., calendar
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
  `columns={"volume": None}`.
- **Further columns.** `ingest(extra=["vwap", "trades"])`, or `extra="all"`, keeps columns beside OHLCV; `read`, `scan`
  and `panel` give them by name, and `store.bars.extra_columns()` lists them. They are a part of each version of a bar.
  Others are ignored, but a column such as `publisher_id` or `exchange` refuses a source in which it tells rows of one
  bar apart.
- **Times.** The timestamp of a bar is its opening time. Naive times need `timezone="America/New_York"`. Bars of days,
  weeks and months carry the date of their session, or the first day of their period: plain dates are accepted, and
  midnight in any zone becomes that date.
- **Timeframes.** `<n>s`, `<n>m` and `<n>h` that divide a day, and `<n>d`, `<n>w` and `<n>M` up to 999 (`3d`, `2w`,
  `6M`). Each length has one name: `1d` for 24 hours, `1w` for 7 days, `2w` for 14; a year is `12M`.
- **One phase.** The bars of a series open at one phase of the clock (09:30, 10:30, ...), or where the calendar of the
  symbol starts a session. A bar off that phase is refused, because it belongs to another timeframe. In the same way the
  first bars of `3d`, `2w` or `3M` say where the periods of their series begin, and later ones follow whole periods
  after them. Periods count days of the calendar on a fixed grid, also on exchanges, where one without a session has no
  bar; they may be named by their first or last session, too (`calendar=`), or by their end (`stamp="close"`).
- **Refused rows.** One bad row stops the whole call, and the error's `.rejected_rows` lists every bad row with its
  reason. With `on_invalid="quarantine"` the good rows are stored; the bad ones are returned in `report.rejected_rows`
  and kept for `store.bars.rejected()`.
- **Conflicts.** A bar that arrives again with other values is a conflict: the stored ones stay, and
  `store.bars.conflicts()` lists both. `on_conflict="raise"` refuses the source, and `on_conflict="correct"` with a
  `reason` stores the other values as a further version.
- **Unfinished bars.** A bar that has not ended, by the calendar of its symbol, is left out with a warning
  (`report.unfinished`). `unfinished="keep"` stores it as provisional, and the next ingest replaces it.
- **No guesses.** Bars that lie as those of a longer timeframe do are refused; say the right `timeframe=`. Where a
  symbol really trades that rarely, say it twice: in a column `timeframe` and by the argument. A
  `walle.ContradictionWarning` tells when a file's name says something else than what was stored.
- **No way back.** Bars are facts and cannot be deleted. Try a doubtful source in a file of its own first.

## Versions, and what was known when

- **Corrections.** A bar is never changed; a correction is a further version with a reason and an author, and reads give
  the newest one. `store.bars.accept(conflicts, reason)` takes over refused values,
  `store.bars.withdraw(symbol, timeframe, start, end, reason)` says that a bar is none (a bad tick), and
  `store.bars.versions` lists every version with the ingest that brought it.
- **As of.** Every bar knows its ingest. `as_of=` of `read`, `scan`, `panel`, `latest`, `count`, `coverage`, `gaps` and
  others gives what was known at a time, or at a token of `store.bars.now()`. What was known then never changes: an
  ingest that was under way at that time and committed later is either waited for or left out for good. Bars of which it
  is unknown when they came (stored before this was kept) count always, and a warning says how many. Bars of another
  program count from the time at which a writer's store noticed them; if bars of their series were deleted before that,
  it is unknown when they came.

```python
store = walle.connect("versions.db")
bars = demo.sample_bars()["BTC/USD"].tail(10)
store.bars.ingest(bars, symbol="BTC/USD", timeframe="1m")
then = store.bars.now()
restated = bars.tail(2).with_columns(volume=pl.col("volume") * 2)
print(store.bars.ingest(restated, symbol="BTC/USD", timeframe="1m", on_conflict="correct", reason="restated volume"))
assert store.bars.read("BTC/USD", "1m", as_of=then).equals(bars.select(store.bars.read("BTC/USD", "1m").columns))
print(store.bars.versions("BTC/USD", "1m", changed=True))
store.close()
```

## What comes out

- **Ranges.** Every range is half-open, `[start, end)`, in UTC.
- **Nothing overlooked.** `read(..., require_complete=True)` raises `walle.IncompleteBars` when bars are missing that
  nobody has explained; its `.gaps` lists them. A read of several symbols issues a `walle.EmptySeriesWarning` that names
  the symbols without a bar in the range.
- **Panels.** `store.bars.panel(["BTC/USD", "ETH/USD"], "1m", "close")` has one column per symbol, with null where a
  symbol has no bar.
- **Adjusted prices.** `read`, `panel`, `scan` and `latest` take `adjust="splits"` or `adjust="all"`; see below.
- **Other timeframes.** `walle.resample(frame, "5m", timeframe="1m", calendar="XNYS")` never joins two sessions, and
  marks incomplete buckets; `phase=` says where periods such as `2w` begin. A frame does not know the calendar of its
  symbol: without `calendar=` the buckets follow the clock in UTC, as for 24/7.
- **Filling.** `walle.fill_gaps(frame, timeframe="1m", max_gap=3)` fills short gaps of a frame and marks every filled
  row. Nothing in the store is ever filled in.

## Adjusted prices

Bars are stored as they traded. Splits and dividends (`store.actions`; see `walle.instruments`) adjust them on the way
out:

```python
from datetime import date, datetime, timezone
from decimal import Decimal

times = [datetime(2020, 8, day, tzinfo=timezone.utc) for day in (27, 28, 31)]
close = pl.Series([500.04, 499.23, 129.04])
frame = pl.DataFrame({"timestamp": times, **dict.fromkeys(("open", "high", "low", "close"), close), "volume": 1.0})
with walle.connect("stocks.db") as stocks:
    stocks.bars.ingest(frame, symbol="AAPL", timeframe="1d")
    terms = {"ex_date": date(2020, 8, 31), "ratio": Decimal(4)}
    stocks.actions.append(walle.CorporateAction(id="aapl-2020", symbol="AAPL", kind="split", **terms))
    print(stocks.bars.read("AAPL", "1d", adjust="splits")["close"].to_list())  # [125.01, 124.8075, 129.04]
```

- **Splits** divide earlier prices by their ratio, and multiply earlier volumes by it.
- **Dividends** (`adjust="all"`) multiply earlier prices by `1 - dividend / close`, with the close of the last bar of
  the series before the ex-date: the rule of Yahoo Finance. So the return of adjusted closes is that of shares whose
  dividends are reinvested at that close less the dividend. Dividends leave volumes as they are. Those of one day are
  added up; on the day of a split, they are paid on the shares before it, as in the returns of CRSP.
- **Which actions.** All that are recorded and that none supersedes, also those after the end of the range, so that
  a price does not depend on the range in which it is read. A split that is only announced counts, too; a dividend
  counts from its ex-date on, because the close before it has to be known.
- **From when on.** An intraday bar is before an action if it opens before 00:00 UTC of the ex-date, or before the
  session of that date if the symbol's calendar opens it earlier, as in the books of runs. Bars of days,
  weeks and months are before it if their date is. So a bar of several days that holds an ex-date is adjusted whole, and
  a `walle.AdjustmentWarning` names it: resample adjusted `1d` bars instead.
- **Exact.** A factor is the exact product of those of all later actions, rounded once to a float, and each number of a
  bar is multiplied by it once.
- **Refused.** A dividend that is not in the currency of the prices, or where that is unknown (save the instrument), and
  one that is not below the close before it are errors. A close that is older than the session before the ex-date
  counts with an `AdjustmentWarning`; so does a dividend before which no bar has ended, which adjusts nothing.

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
