"""The first paint of the views: what the kernel does, and how much it sends."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import polars as pl
from ipywidgets.widgets.widget import _instances, _remove_buffers

import walle
from tests.benchmarks.measure import seconds
from walle import migrate
from walle.config import DatabaseConfig
from walle.widgets import CoverageView, OutboxView, View

__all__ = ["measure", "sent"]

DAYS = 3_652
ROUNDS = 5


def measure(place: Callable[[], str], rows: int, label: str) -> list[str]:
    """Return what the first paint took, a sentence each: of 1,000 series of ten years, or fewer with few rows.

    Parameters
    ----------
    place : callable
        Returns the address of a new store.
    rows : int
        A series for each 1,000 of them, at least 2 and at most 1,000.
    label : str
        The database.
    """
    series = max(2, min(1_000, rows // 1_000))
    address = place()
    migrate.upgrade(DatabaseConfig(url=address))
    told = []
    with walle.connect(address) as store:
        store.bars.ingest(_bars(0, series), timeframe="1d", progress=False)
        store.bars.ingest(_bars(series, series + 1), timeframe="1d", progress=False)
        assert store.bars.coverage().height == series + 1
        names = [f"S{number:04}" for number in range(series)]
        for count in (series, max(1, series // 10)):
            taken, size = _painted(partial(CoverageView, store, names[:count], period="day"))
            told.append(f"{count:,} series in {taken:.2f} s and {size / 1e6:.2f} MB")
        month, _ = _painted(lambda: CoverageView(store, names))
        with_hours, _ = _painted(lambda: CoverageView(store, names, period="day", calendar="24/5"))
    return [
        f"{label}: first paint of CoverageView, ten years of days: {', '.join(told)} (goal: under 1 s and 2 MB); under "
        f"a calendar that closes {with_hours:.2f} s; with cells that fit the screen {month:.2f} s",
        _outbox(place, rows, label),
    ]


def _outbox(place: Callable[[], str], rows: int, label: str) -> str:
    """Return what the first paint and a page of events took, among all of them and among a tenth."""
    told = []
    for count in (rows, rows // 10):
        address = place()
        migrate.upgrade(DatabaseConfig(url=address))
        with walle.connect(address) as store:
            for start in range(0, count, 100_000):
                store.events.append(_event(number) for number in range(start, min(start + 100_000, count)))
            store.events.latest()  # who wrote is gone by then: the first look of a process waits for it
            taken, size = _painted(partial(OutboxView, store))
            asked: dict[str, Any] = {"a page": {}, "of a type": {"types": "risk.*"}, "by payload": {"where": "n = 7"}}
            pages = {name: _searched(store, count // 2, wanted) for name, wanted in asked.items()}
            words = ", ".join(f"{name} {each * 1000:.0f} ms" for name, each in pages.items())
            told.append(f"{count:,} events in {taken:.2f} s and {size / 1e6:.2f} MB, {words}")
    return f"{label}: first paint of OutboxView: {'; '.join(told)} (goals: under 1 s, 2 MB, 100 ms a page)"


def _searched(store: walle.Store, before: int, wanted: dict[str, Any]) -> float:
    """Return the median of how long a page takes."""
    return statistics.median(seconds(lambda: store.events.search(before, **wanted)) for _ in range(ROUNDS))


def _event(number: int) -> walle.Event:
    payload = {"n": number, "order": {"id": f"order-{number}", "side": "buy", "price": "91234.5", "quantity": "0.25"}}
    kind = "risk.Breach" if number % 1_000 == 0 else "orders.Filled"
    return walle.Event(type=kind, run_id=f"run-{number % 50}", payload=payload)


def sent(view: View) -> int:
    """Return how many bytes a view sends to the page for its first paint: its models, and its outputs."""
    before = set(_instances)
    data, _ = view._repr_mimebundle_()
    size = len(json.dumps(data))
    for key in set(_instances) - before:
        state, _, buffers = _remove_buffers(_instances[key].get_state())
        size += len(json.dumps(state, default=str)) + sum(len(part) for part in buffers)
    return size


def _painted(make: Callable[[], View]) -> tuple[float, int]:
    """Return the median of how long a view takes from its making to its messages, and how many bytes they have."""
    times, sizes = [], []
    for _ in range(ROUNDS):
        held: list[Any] = []

        def paint(held: list[Any] = held) -> None:
            held.append(make())
            held.append(sent(held[0]))

        times.append(seconds(paint))
        sizes.append(held[1])
        held[0].close()
    return statistics.median(times), max(sizes)


def _bars(first: int, last: int) -> pl.DataFrame:
    """Return ten years of daily bars of some series, of which each lacks every 97th day, from another one on."""
    start = int(datetime(2014, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
    day = pl.int_range(DAYS, eager=True)
    times = (start + day * 86_400_000_000).cast(pl.Datetime("us", "UTC"))
    prices = {name: pl.lit(100.0) for name in ("open", "high", "low", "close", "volume")}
    whole = pl.DataFrame({"timestamp": times}).with_columns(**prices)
    return pl.concat(
        whole.filter((day + number) % 97 != 0).with_columns(symbol=pl.lit(f"S{number:04}"))
        for number in range(first, last)
    )
