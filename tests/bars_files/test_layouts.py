from __future__ import annotations

import json
import zipfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from tests.bars_files.rows import MINUTE, bars, daily, expected_rows, generic, lines, milliseconds, read, rounded
from walle.bars import parse_bars
from walle.bars.files import describe, read_bars, read_frame
from walle.errors import InputError
from walle.frames import BARS


def test_walles_own_frames_come_back_from_every_format(tmp_path: Path) -> None:
    rows = expected_rows(bars(), "BTC/USD", "1m")
    frame = pl.DataFrame(rows, schema=BARS, orient="row")
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ipc(tmp_path / "a.feather")
    frame.write_ipc(tmp_path / "z.arrow", compression="zstd")
    frame.write_ipc_stream(tmp_path / "a.arrows")
    frame.write_csv(tmp_path / "a.csv")
    for name in ("a.parquet", "a.feather", "z.arrow", "a.arrows", "a.csv"):
        assert read(tmp_path / name) == rows, name
        assert describe(tmp_path / name).name == "walle"


def test_frames_have_the_columns_and_types_of_bars_and_pass_parse_bars_unchanged(tmp_path: Path) -> None:
    frame = pl.DataFrame(expected_rows(bars(), "BTC/USD", "1m"), schema=BARS, orient="row")
    frame.write_csv(tmp_path / "a.csv")
    (read_back,) = read_bars(tmp_path / "a.csv")
    assert read_back.schema == BARS
    assert parse_bars(read_back).equals(read_back)


@pytest.mark.parametrize(
    ("stem", "symbol", "timeframe"),
    [
        ("ETH_BTC-1m", "ETH/BTC", "1m"),
        ("BTC_USDT_USDT-1m-futures", "BTC/USDT:USDT", "1m"),
        ("1000PEPE_USDT-1m", "1000PEPE/USDT", "1m"),
    ],
)
def test_freqtrade_files_tell_pair_and_timeframe_by_name(
    tmp_path: Path, stem: str, symbol: str, timeframe: str
) -> None:
    rows = bars()
    frame = pd.DataFrame(rows, columns=["date", "open", "high", "low", "close", "volume"])
    frame.to_feather(tmp_path / f"{stem}.feather", compression_level=9, compression="lz4")
    frame.to_parquet(tmp_path / f"{stem}.parquet")
    values = [[milliseconds(row[0]), *row[1:]] for row in rows]
    (tmp_path / f"{stem}.json").write_text(json.dumps(values))
    for ending in ("feather", "parquet", "json"):
        path = tmp_path / f"{stem}.{ending}"
        assert read(path) == expected_rows(rows, symbol, timeframe)
        assert describe(path).name == "freqtrade"


def test_freqtrades_month_is_1Mo(tmp_path: Path) -> None:
    rows = [(datetime(2024, month, 1, tzinfo=UTC), 1.0, 2.0, 0.5, 1.5, 3.0) for month in (1, 2, 3)]
    pd.DataFrame(rows, columns=["date", "open", "high", "low", "close", "volume"]).to_feather(
        tmp_path / "ETH_BTC-1Mo.feather"
    )
    assert read(tmp_path / "ETH_BTC-1Mo.feather") == expected_rows(rows, "ETH/BTC", "1M")


def test_freqtrades_mark_prices_do_not_pass_for_traded_ones(tmp_path: Path) -> None:
    frame = pd.DataFrame(bars(), columns=["date", "open", "high", "low", "close", "volume"])
    frame.to_feather(tmp_path / "BTC_USDT_USDT-1m-mark.feather")
    with pytest.raises(InputError, match="no traded prices but mark"):
        read(tmp_path / "BTC_USDT_USDT-1m-mark.feather")
    assert read(tmp_path / "BTC_USDT_USDT-1m-mark.feather", symbol="BTC mark")


_KLINE = "{time},{o:.8f},{h:.8f},{l:.8f},{c:.8f},{v:.8f},{close},6.0,3,1.5,2.5,0"
_KLINES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)


@pytest.mark.parametrize("per_second", [1_000, 1_000_000])
@pytest.mark.parametrize("header", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_binance_klines(tmp_path: Path, per_second: int, header: bool, packed: bool) -> None:
    rows = rounded(bars(), 8)
    text = [
        _KLINE.format(
            time=round(row[0].timestamp() * per_second),
            close=round((row[0] + MINUTE).timestamp() * per_second) - 1,
            **dict(zip("ohlcv", row[1:], strict=True)),
        )
        for row in rows
    ]
    content = lines(*([_KLINES] if header else []), *text)
    path = tmp_path / f"BTCUSDT-1m-2024-01.{'zip' if packed else 'csv'}"
    if packed:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("BTCUSDT-1m-2024-01.csv", content)
    else:
        path.write_bytes(content)
    assert read(path) == [("BTCUSDT", "1m", *row) for row in rows]
    layout = describe(path)
    assert layout.name == "binance"
    assert layout.time == ("ms since 1970" if per_second == 1_000 else "us since 1970")


def test_binance_prices_as_json_texts(tmp_path: Path) -> None:
    rows = bars()
    values = [[milliseconds(row[0]), *map(str, row[1:]), 0, "0", 3, "1", "2", "0"] for row in rows]
    (tmp_path / "x.json").write_text(json.dumps(values))
    assert read(tmp_path / "x.json", symbol="BTCUSDT") == expected_rows(rows, "BTCUSDT", "1m")


@pytest.mark.parametrize("indent", [None, 2])
def test_ccxt_lists(tmp_path: Path, indent: int | None) -> None:
    rows = bars()
    values = [[milliseconds(row[0]), *row[1:]] for row in rows]
    (tmp_path / "candles.json").write_text(json.dumps(values, indent=indent))
    assert read(tmp_path / "candles.json", symbol="BTC/USDT", timeframe="1m") == expected_rows(rows, "BTC/USDT", "1m")
    assert describe(tmp_path / "candles.json", symbol="BTC/USDT").name == "ccxt"


def test_json_objects_and_json_lines(tmp_path: Path) -> None:
    rows = bars()
    names = ("t", "o", "h", "l", "c", "v")
    values = [dict(zip(names, (row[0].isoformat(), *row[1:]), strict=True)) for row in rows]
    (tmp_path / "a.json").write_text(json.dumps(values))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(value) + "\n" for value in values))
    arrays = [[milliseconds(row[0]), *row[1:]] for row in rows]
    (tmp_path / "b.ndjson").write_text("".join(json.dumps(value) + "\n" for value in arrays))
    for name in ("a.json", "a.jsonl", "b.ndjson"):
        assert read(tmp_path / name, symbol="X") == expected_rows(rows, "X", "1m"), name


def _yfinance(rows_of: dict[str, list[Any]]) -> Any:
    """A frame as yfinance.download gives it: columns (Price, Ticker), an index of dates."""
    index = sorted({row[0] for rows in rows_of.values() for row in rows})
    fields = ("Close", "High", "Low", "Open", "Volume")
    places = {"Open": 1, "High": 2, "Low": 3, "Close": 4, "Volume": 5}
    columns = pd.MultiIndex.from_product([fields, list(rows_of)], names=["Price", "Ticker"])
    cells = {
        (field, ticker): [{row[0]: row[places[field]] for row in rows}.get(day) for day in index]
        for field, ticker in columns
        for rows in [rows_of[ticker]]
    }
    dates = pd.DatetimeIndex([day.replace(tzinfo=None) for day in index], name="Date")
    return pd.DataFrame({key: cells[key] for key in columns}, index=dates, columns=columns, dtype=float)


def test_yfinance_saved_as_csv_has_three_header_lines(tmp_path: Path) -> None:
    rows = daily()
    _yfinance({"AAPL": rows}).to_csv(tmp_path / "aapl.csv")
    first = (tmp_path / "aapl.csv").read_text().splitlines()[:3]
    assert first == ["Price,Close,High,Low,Open,Volume", "Ticker,AAPL,AAPL,AAPL,AAPL,AAPL", "Date,,,,,"]
    assert read(tmp_path / "aapl.csv") == expected_rows(rows, "AAPL", "1d")
    assert describe(tmp_path / "aapl.csv").name == "yfinance"


def test_yfinance_of_several_tickers_has_no_bar_where_one_has_no_value(tmp_path: Path) -> None:
    rows = daily(12)
    frame = _yfinance({"AAPL": rows, "MSFT": rows[2:]})
    frame.to_csv(tmp_path / "both.csv")
    expected = sorted(expected_rows(rows, "AAPL", "1d") + expected_rows(rows[2:], "MSFT", "1d"))
    assert sorted(read(tmp_path / "both.csv")) == expected
    for source in (frame, frame.swaplevel(axis=1).sort_index(axis=1)):
        assert sorted(row for batch in read_frame(source) for row in batch.iter_rows()) == expected


def test_yfinance_with_adjusted_close_keeps_the_close(tmp_path: Path) -> None:
    rows = daily()
    text = [f"{row[0]:%Y-%m-%d},{row[1]},{row[2]},{row[3]},{row[4]},{row[4] / 2},{row[5]}" for row in rows]
    (tmp_path / "AAPL.csv").write_bytes(lines("Date,Open,High,Low,Close,Adj Close,Volume", *text))
    assert read(tmp_path / "AAPL.csv", symbol="AAPL") == expected_rows(rows, "AAPL", "1d")
    layout = describe(tmp_path / "AAPL.csv", symbol="AAPL")
    assert (layout.name, layout.ignored) == ("yfinance", ("Adj Close",))


def test_days_in_a_zone_become_their_date_over_a_clock_change(tmp_path: Path) -> None:
    rows = daily(10, datetime(2024, 3, 4, tzinfo=UTC))
    index = pd.DatetimeIndex([row[0].replace(tzinfo=None) for row in rows], name="Date").tz_localize("America/New_York")
    frame = pd.DataFrame([row[1:] for row in rows], index=index, columns=["Open", "High", "Low", "Close", "Volume"])
    frame.to_csv(tmp_path / "days.csv")
    assert "-05:00" in (tmp_path / "days.csv").read_text()
    assert "-04:00" in (tmp_path / "days.csv").read_text()
    frame.to_parquet(tmp_path / "days.parquet")
    assert read(tmp_path / "days.csv", symbol="SPY") == expected_rows(rows, "SPY", "1d")
    assert read(tmp_path / "days.parquet", symbol="SPY") == expected_rows(rows, "SPY", "1d")


def test_alpaca(tmp_path: Path) -> None:
    rows = bars()
    header = "symbol,timestamp,open,high,low,close,volume,trade_count,vwap"
    text = [f"AAPL,{row[0]:%Y-%m-%dT%H:%M:%SZ},{','.join(map(str, row[1:]))},7,1.5" for row in rows]
    (tmp_path / "bars.csv").write_bytes(lines(header, *text))
    assert read(tmp_path / "bars.csv") == expected_rows(rows, "AAPL", "1m")
    assert describe(tmp_path / "bars.csv").name == "alpaca"


def test_alpacas_days_open_at_midnight_in_new_york(tmp_path: Path) -> None:
    rows = daily(10, datetime(2024, 3, 4, tzinfo=UTC))
    index = pd.DatetimeIndex([row[0].replace(tzinfo=None) for row in rows]).tz_localize("America/New_York")
    header = "symbol,timestamp,open,high,low,close,volume,trade_count,vwap"
    text = [
        f"AAPL,{when:%Y-%m-%dT%H:%M:%SZ},{','.join(map(str, row[1:]))},7,1.5"
        for when, row in zip(index.tz_convert("UTC"), rows, strict=True)
    ]
    (tmp_path / "days.csv").write_bytes(lines(header, *text))
    with pytest.raises(InputError, match="timezone='America/New_York'"):
        read(tmp_path / "days.csv")
    assert read(tmp_path / "days.csv", timezone="America/New_York") == expected_rows(rows, "AAPL", "1d")


@pytest.mark.parametrize("pretty", [False, True])
def test_databento(tmp_path: Path, pretty: bool) -> None:
    rows = [(*row[:5], float(place)) for place, row in enumerate(rounded(bars(), 9))]
    text = []
    for row in rows:
        when = f"{row[0]:%Y-%m-%dT%H:%M:%S}.000000000Z" if pretty else str(int(row[0].timestamp()) * 10**9)
        prices = [f"{value:.9f}" if pretty else str(round(value * 10**9)) for value in row[1:5]]
        text.append(",".join([when, "33", "2", "5482", *prices, str(int(row[5])), "ESH4"]))
    header = "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol"
    (tmp_path / "glbx.csv").write_bytes(lines(header, *text))
    assert read(tmp_path / "glbx.csv") == [("ESH4", "1m", *row) for row in rows]
    assert describe(tmp_path / "glbx.csv").name == "databento"


def test_databentos_integers_give_the_nearest_float_at_any_size(tmp_path: Path) -> None:
    prices = [1, 4_725_250_000_001, 2**53 + 1, 123_456_789_123_456_789, 9_007_199_254_740_993]
    header = "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol"
    text = [f"{1_704_067_200_000_000_000 + n * 10**9},32,1,1,{p},{p},{p},{p},1,X" for n, p in enumerate(prices)]
    (tmp_path / "x.csv").write_bytes(lines(header, *text))
    assert [row[3] for row in read(tmp_path / "x.csv")] == [float(Decimal(price) / 10**9) for price in prices]


def test_databentos_other_records_are_no_bars(tmp_path: Path) -> None:
    header = "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol"
    (tmp_path / "x.csv").write_bytes(lines(header, "1704067200000000000,160,1,1,1,1,1,1,1,X"))
    with pytest.raises(InputError, match=r"'160'.*32 to 35"):
        read(tmp_path / "x.csv")


_HEADERS = [
    ("date", "open", "high", "low", "close", "volume"),
    ("Datetime", "Open", "High", "Low", "Close", "Vol"),
    ("TIMESTAMP", "O", "H", "L", "C", "V"),
    ("timestamp_utc", "open", "high", "low", "price close", "tick_volume"),
    ("Gmt time", "Open", "High", "Low", "Close", "Volume"),
    ("open_time", "open_price", "high_price", "low_price", "close_price", "volume"),
]


@pytest.mark.parametrize("header", _HEADERS, ids=lambda header: header[0])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_usual_column_names_and_delimiters(tmp_path: Path, header: tuple[str, ...], delimiter: str) -> None:
    rows = bars()
    text = [delimiter.join([f"{row[0]:%Y-%m-%d %H:%M:%S}+00:00", *map(str, row[1:])]) for row in rows]
    (tmp_path / "x.csv").write_bytes(lines(delimiter.join(header), *text, end="\r\n"))
    assert read(tmp_path / "x.csv", symbol="X") == expected_rows(rows, "X", "1m")


def test_dates_and_times_in_two_columns(tmp_path: Path) -> None:
    rows = bars()
    text = [f"{row[0]:%Y.%m.%d}\t{row[0]:%H:%M:%S}\t" + "\t".join(map(str, row[1:])) + "\t0\t5" for row in rows]
    header = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<REALVOL>\t<SPREAD>"
    (tmp_path / "mt5.csv").write_bytes(lines(header, *text))
    assert read(tmp_path / "mt5.csv", symbol="X", timezone="UTC") == expected_rows(rows, "X", "1m")
    (tmp_path / "mt4.csv").write_bytes(
        lines(*(f"{row[0]:%Y.%m.%d},{row[0]:%H:%M}," + ",".join(map(str, row[1:])) for row in rows))
    )
    assert read(tmp_path / "mt4.csv", symbol="X", timezone="UTC") == expected_rows(rows, "X", "1m")


def test_histdata_has_no_header(tmp_path: Path) -> None:
    rows = bars()
    text = [f"{row[0]:%Y%m%d %H%M%S};" + ";".join(map(str, row[1:])) for row in rows]
    (tmp_path / "DAT_ASCII_GBPUSD_M1_2012.csv").write_bytes(lines(*text))
    assert read(tmp_path / "DAT_ASCII_GBPUSD_M1_2012.csv", symbol="X", timezone="UTC") == expected_rows(rows, "X", "1m")


def test_columns_are_named_by_hand_with_and_without_a_header(tmp_path: Path) -> None:
    rows = bars()
    text = [f"x,{row[0].isoformat()}," + ",".join(map(str, row[1:])) + ",y" for row in rows]
    names = ("timestamp", "open", "high", "low", "close", "volume")
    (tmp_path / "a.csv").write_bytes(lines("p,q,r,s,t,u,w,z", *text))
    said = dict(zip("qrstuw", names, strict=True))
    assert read(tmp_path / "a.csv", symbol="X", columns=said) == expected_rows(rows, "X", "1m")
    plain = [f"{row[0].isoformat()}," + ",".join(map(str, row[1:])) + ",1,2" for row in rows]
    (tmp_path / "b.csv").write_bytes(lines(*plain))
    with pytest.raises(InputError, match="no header, and 8 columns"):
        read(tmp_path / "b.csv", symbol="X")
    said = {f"column_{place}": name for place, name in enumerate(names, 1)}
    assert read(tmp_path / "b.csv", symbol="X", columns=said) == expected_rows(rows, "X", "1m")


def test_a_byte_order_mark_and_quotes_are_no_part_of_names(tmp_path: Path) -> None:
    rows = bars()
    text = ['"' + '","'.join([row[0].isoformat(), *map(str, row[1:])]) + '"' for row in rows]
    content = b"\xef\xbb\xbf" + lines('"time","open","high","low","close","volume"', *text)
    (tmp_path / "x.csv").write_bytes(content)
    assert read(tmp_path / "x.csv", symbol="X") == expected_rows(rows, "X", "1m")


def test_blank_lines_are_no_rows(tmp_path: Path) -> None:
    content = generic(tmp_path / "a.csv").read_bytes()
    (tmp_path / "b.csv").write_bytes(b"\n\n" + content.replace(b"\n", b"\n\n"))
    assert read(tmp_path / "b.csv", symbol="X") == expected_rows(bars(), "X", "1m")


def test_texts_in_json_may_hold_brackets_and_commas(tmp_path: Path) -> None:
    rows = [
        {"t": milliseconds(row[0]), **dict(zip("ohlcv", row[1:], strict=True)), "note": "[a],{b},", "ids": [1, [2], {}]}
        for row in bars(3000)
    ]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    assert (tmp_path / "x.json").stat().st_size < 1 << 20
    assert read(tmp_path / "x.json", symbol="X", batch_rows=100) == expected_rows(bars(3000), "X", "1m")


@pytest.mark.parametrize("indent", [None, 1])
def test_json_of_several_chunks(tmp_path: Path, indent: int | None) -> None:
    values = [[milliseconds(row[0]), *row[1:]] for row in bars(30_000)]
    (tmp_path / "x.json").write_text(json.dumps(values, indent=indent))
    assert (tmp_path / "x.json").stat().st_size > 1 << 21
    assert read(tmp_path / "x.json", symbol="X") == expected_rows(bars(30_000), "X", "1m")


def test_an_unnamed_index_is_the_time(tmp_path: Path) -> None:
    rows = bars()
    frame = pd.DataFrame(
        [row[1:] for row in rows],
        index=pd.DatetimeIndex([row[0] for row in rows]),
        columns=["open", "high", "low", "close", "volume"],
    )
    frame.to_csv(tmp_path / "x.csv")
    frame.to_parquet(tmp_path / "x.parquet")
    assert read(tmp_path / "x.csv", symbol="X") == expected_rows(rows, "X", "1m")
    assert read(tmp_path / "x.parquet", symbol="X") == expected_rows(rows, "X", "1m")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_both_versions_of_feather(tmp_path: Path) -> None:
    rows = bars()
    names = ["date", "open", "high", "low", "close", "volume"]
    table = pa.Table.from_pandas(pd.DataFrame(rows, columns=names), preserve_index=False)
    feather.write_feather(table, tmp_path / "ETH_BTC-1m.feather", version=1)
    assert (tmp_path / "ETH_BTC-1m.feather").read_bytes()[:4] == b"FEA1"
    assert read(tmp_path / "ETH_BTC-1m.feather") == expected_rows(rows, "ETH/BTC", "1m")
    feather.write_feather(table, tmp_path / "ETH_BTC-1m.feather", version=2)
    assert read(tmp_path / "ETH_BTC-1m.feather") == expected_rows(rows, "ETH/BTC", "1m")


@pytest.mark.parametrize("zone", ["UTC", "Z", "+00:00", "America/New_York", "+05:30"])
@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_arrow_times_of_every_unit_and_zone(tmp_path: Path, zone: str, unit: str) -> None:
    rows = bars()
    whole = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    columns: dict[str, Any] = {
        "timestamp": pa.array([int(row[0].timestamp()) * whole for row in rows], pa.timestamp(unit, zone))
    }
    columns |= {
        name: pa.array([row[place] for row in rows])
        for place, name in enumerate(("open", "high", "low", "close", "volume"), 1)
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet", version="2.6")
    assert read(tmp_path / "x.parquet", symbol="X") == expected_rows(rows, "X", "1m")


def test_several_symbols_and_timeframes_are_kept_apart(tmp_path: Path) -> None:
    one, two = bars(), bars(step=timedelta(hours=1))
    rows = expected_rows(one, "A", "1m") + expected_rows(two, "B", "1h")
    pl.DataFrame(rows, schema=BARS, orient="row").write_csv(tmp_path / "x.csv")
    assert read(tmp_path / "x.csv") == rows
    layout = describe(tmp_path / "x.csv")
    assert (layout.symbol, layout.symbol_from, layout.timeframe_from) == (None, "column", "column")


def test_a_frame_is_recognised_as_a_file_is() -> None:
    rows = bars()
    frame = pl.DataFrame(rows, schema=["Date", "Open", "High", "Low", "Close", "Volume"], orient="row")
    for source in (frame, frame.to_pandas(use_pyarrow_extension_array=True), frame.to_arrow()):
        with read_frame(source, symbol="X") as reader:
            assert [row for batch in reader for row in batch.iter_rows()] == expected_rows(rows, "X", "1m")
            assert (reader.layout.path, reader.layout.format) == (None, "frame")


def test_a_layout_tells_itself_in_one_line(tmp_path: Path) -> None:
    frame = pd.DataFrame(bars(), columns=["date", "open", "high", "low", "close", "volume"])
    frame.to_parquet(tmp_path / "ETH_BTC-1m.parquet")
    text = str(describe(tmp_path / "ETH_BTC-1m.parquet"))
    assert text.startswith("freqtrade layout, parquet; ETH/BTC (by name), 1m (by name); times: datetimes in UTC")
