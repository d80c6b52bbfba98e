"""Bars as plain Python rows: what every file of these tests is written from, and read back against."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from walle.bars.files import read_bars

Row = tuple[datetime, float, float, float, float, float]

MINUTE = timedelta(minutes=1)


def bars(
    count: int = 12, start: datetime = datetime(2024, 1, 31, 23, 55, tzinfo=UTC), step: timedelta = MINUTE
) -> list[Row]:
    """Rows with decimals that a float64 does not hold exactly, over a midnight."""
    rows = []
    for place in range(count):
        price = 100 + place * 0.1
        rows.append((start + place * step, price, price + 0.7, price - 0.3, price + 0.05, 1.1 * place))
    return rows


def daily(count: int = 10, start: datetime = datetime(2024, 1, 2, tzinfo=UTC)) -> list[Row]:
    """Rows of weekdays."""
    days = [start + timedelta(days=place) for place in range(2 * count)]
    return [(day, *row[1:]) for day, row in zip([d for d in days if d.weekday() < 5], bars(count), strict=False)]


def rounded(rows: list[Row], places: int) -> list[Row]:
    """The same rows as a program with so many places writes them."""
    return [(when, *(round(value, places) for value in numbers)) for when, *numbers in rows]  # type: ignore[misc]  # a tuple of one time and five numbers


def read(path: Path, **said: Any) -> list[tuple[Any, ...]]:
    """Every row of a file: symbol, timeframe, timestamp, open, high, low, close, volume."""
    with read_bars(path, **said) as reader:
        return [row for frame in reader for row in frame.iter_rows()]


def expected_rows(rows: list[Row], symbol: str, timeframe: str) -> list[tuple[Any, ...]]:
    """The same, as expected."""
    return [(symbol, timeframe, *row) for row in rows]


def milliseconds(when: datetime) -> int:
    return round(when.timestamp() * 1000)


def lines(*texts: str, end: str = "\n") -> bytes:
    return "".join(text + end for text in texts).encode()


def generic(path: Path, rows: list[Row] | None = None, **said: Any) -> Path:
    """A CSV of our own columns without symbol and timeframe."""
    text = [",".join(map(str, (row[0].isoformat(), *row[1:]))) for row in rows or bars()]
    path.write_bytes(lines("timestamp,open,high,low,close,volume", *text))
    return path
