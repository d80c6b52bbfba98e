"""Files and frames of bars in every layout that is known by name, and the bars that they hold."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa

from tests.bars_files.rows import Row, bars, daily, lines, milliseconds, rounded
from walle.frames import BARS

__all__ = ["FILES", "FRAMES", "File", "Frame", "frame_of"]

NAMES = ["timestamp", "open", "high", "low", "close", "volume"]
_FREQTRADE = ["date", *NAMES[1:]]
_KLINES = "open_time open high low close volume close_time quote_volume count taker_base taker_quote ignore"
_FIVE = bars(step=timedelta(minutes=5))


@dataclass(frozen=True)
class File:
    """One file: how it is called, what it holds, what has to be said about it, and its bars."""

    name: str
    content: Callable[[], bytes]
    bars: dict[tuple[str, str], list[Row]]
    said: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        path.write_bytes(self.content())
        return path


@dataclass(frozen=True)
class Frame:
    """The same for a frame."""

    make: Callable[[], object]
    bars: dict[tuple[str, str], list[Row]]
    said: dict[str, Any] = field(default_factory=dict)


def frame_of(rows: list[Row]) -> pl.DataFrame:
    """Rows in the columns and types of ``store.bars.read``."""
    return pl.DataFrame(rows, schema={name: BARS[name] for name in NAMES}, orient="row")


def _named(rows: list[Row], symbol: str = "BTC/USD", timeframe: str = "1m") -> pl.DataFrame:
    return frame_of(rows).select(pl.lit(symbol).alias("symbol"), pl.lit(timeframe).alias("timeframe"), pl.all())


def _written(write: Callable[[Any], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def _zipped(content: bytes, name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def _pandas(rows: list[Row]) -> Any:
    return pd.DataFrame(rows, columns=_FREQTRADE)


def _lists(rows: list[Row]) -> bytes:
    return json.dumps([[milliseconds(row[0]), *row[1:]] for row in rows]).encode()


def _klines(per_second: int) -> bytes:
    line = "{:d},{:.8f},{:.8f},{:.8f},{:.8f},{:.8f},{:d},6.0,3,1.5,2.5,0"
    return lines(
        *(
            line.format(
                round(row[0].timestamp() * per_second), *row[1:], round(row[0].timestamp() * per_second) + per_second
            )
            for row in bars()
        )
    )


def _tickers(rows_of: dict[str, list[Row]]) -> Any:
    """A frame as yfinance.download gives it: columns (Price, Ticker), an index of dates."""
    fields = {"Close": 4, "High": 2, "Low": 3, "Open": 1, "Volume": 5}
    days = sorted({row[0] for rows in rows_of.values() for row in rows})
    columns = pd.MultiIndex.from_product([fields, rows_of], names=["Price", "Ticker"])
    cells = {ticker: {row[0]: row for row in rows} for ticker, rows in rows_of.items()}
    data = [[cells[ticker].get(day, [None] * 6)[fields[name]] for name, ticker in columns] for day in days]
    index = pd.DatetimeIndex([day.replace(tzinfo=None) for day in days], name="Date")
    return pd.DataFrame(data, index=index, columns=columns, dtype=float)


def _both() -> Any:
    return _tickers({"AAPL": daily(12), "MSFT": daily(12)[2:]})


def _alpaca() -> bytes:
    text = [f"AAPL,{row[0]:%Y-%m-%dT%H:%M:%SZ},{','.join(map(str, row[1:]))},7,1.5" for row in bars()]
    return lines("symbol,timestamp,open,high,low,close,volume,trade_count,vwap", *text)


def _databento() -> bytes:
    text = []
    for row in _whole_volumes():
        prices = [str(round(price * 10**9)) for price in row[1:5]]
        text.append(",".join([str(int(row[0].timestamp()) * 10**9), "33,2,5482", *prices, str(int(row[5])), "ESH4"]))
    return lines("ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol", *text)


def _whole_volumes() -> list[Row]:
    return [(*row[:5], float(place)) for place, row in enumerate(rounded(bars(), 9))]


def _generic(delimiter: str = ",", header: str = "Datetime,Open,High,Low,Close,Vol") -> bytes:
    text = [delimiter.join([f"{row[0]:%Y-%m-%d %H:%M:%S}+00:00", *map(str, row[1:])]) for row in bars()]
    return lines(header.replace(",", delimiter), *text)


_OURS = {("BTC/USD", "1m"): bars()}
_ETH = {("ETH/BTC", "5m"): _FIVE}
_BINANCE = {("BTCUSDT", "1m"): rounded(bars(), 8)}
_X = {("X", "1m"): bars()}
_TWO = {("AAPL", "1d"): daily(12), ("MSFT", "1d"): daily(12)[2:]}
_CCXT = {"symbol": "X", "timeframe": "1m"}
_SAID = {"symbol": "X"}

FILES = {
    "ours csv": File("a.csv", lambda: _written(_named(bars()).write_csv), _OURS),
    "ours parquet": File("a.parquet", lambda: _written(_named(bars()).write_parquet), _OURS),
    "ours feather": File("a.feather", lambda: _written(_named(bars()).write_ipc), _OURS),
    "ours arrow stream": File("a.arrows", lambda: _written(_named(bars()).write_ipc_stream), _OURS),
    "freqtrade feather": File("ETH_BTC-5m.feather", lambda: _written(_pandas(_FIVE).to_feather), _ETH),
    "freqtrade json": File("ETH_BTC-5m.json", lambda: _lists(_FIVE), _ETH),
    "freqtrade json.gz": File("ETH_BTC-5m.json.gz", lambda: gzip.compress(_lists(_FIVE)), _ETH),
    "binance ms": File("BTCUSDT-1m-2024-01.csv", lambda: _klines(1_000), _BINANCE),
    "binance us": File("BTCUSDT-1m-2024-01.csv", lambda: _klines(1_000_000), _BINANCE),
    "binance zip": File("BTCUSDT-1m-2024-01.zip", lambda: _zipped(_klines(1_000), "BTCUSDT-1m-2024-01.csv"), _BINANCE),
    "ccxt": File("candles.json", lambda: _lists(bars()), _X, _CCXT),
    "yfinance": File("aapl.csv", lambda: _tickers({"AAPL": daily()}).to_csv().encode(), {("AAPL", "1d"): daily()}),
    "yfinance two": File("both.csv", lambda: _both().to_csv().encode(), _TWO),
    "alpaca": File("bars.csv", _alpaca, {("AAPL", "1m"): bars()}),
    "databento": File("glbx.csv", _databento, {("ESH4", "1m"): _whole_volumes()}),
    "generic": File("x.csv", _generic, _X, _SAID),
    "generic tabs": File("x.tsv", lambda: _generic("\t", "timestamp_utc,o,h,l,c,v"), _X, _SAID),
    "gzip": File("x.csv.gz", lambda: gzip.compress(_generic()), _X, _SAID),
    "zip": File("x.zip", lambda: _zipped(_generic(), "inside.csv"), _X, _SAID),
    "zstd": File("x.csv.zst", lambda: bytes(pa.compress(_generic(), codec="zstd", asbytes=True)), _X, _SAID),
}

FRAMES = {
    "ours polars": Frame(lambda: _named(bars()), _OURS),
    "ours lazy": Frame(lambda: _named(bars()).lazy(), _OURS),
    "ours arrow": Frame(lambda: _named(bars()).to_arrow(), _OURS),
    "ours pandas": Frame(lambda: _named(bars()).to_pandas(), _OURS),
    "freqtrade pandas": Frame(lambda: _pandas(_FIVE), {("X", "5m"): _FIVE}, _SAID),
    "binance polars": Frame(
        lambda: pl.read_csv(_klines(1_000), has_header=False, new_columns=_KLINES.split()),
        {("X", "1m"): rounded(bars(), 8)},
        _SAID,
    ),
    "yfinance pandas": Frame(_both, _TWO),
    "alpaca polars": Frame(lambda: pl.read_csv(_alpaca()), {("AAPL", "1m"): bars()}),
    "databento polars": Frame(lambda: pl.read_csv(_databento()), {("ESH4", "1m"): _whole_volumes()}),
    "generic polars": Frame(lambda: pl.read_csv(_generic()), _X, _SAID),
}
