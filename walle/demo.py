"""The synthetic sample data: bars of two crypto pairs and two stocks, and three runs with orders, fills and events."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time
from pathlib import Path

import polars as pl

from walle.bars import IngestReport
from walle.calendars import Calendar, from_sessions
from walle.envelope import Event
from walle.fills import WriteReport
from walle.fills.coerce import FILL, ORDER
from walle.frames import INSTANT
from walle.records import Owner, Run
from walle.store import Store

__all__ = [
    "data_folder",
    "load",
    "sample_bars",
    "sample_calendar",
    "sample_events",
    "sample_fills",
    "sample_orders",
    "sample_runs",
]

SERIES = {"BTC_USD": "BTC/USD", "ETH_USD": "ETH/USD", "ACME": "ACME", "GLOBEX": "GLOBEX"}
STOCKS = ("ACME", "GLOBEX")
DAYS = [*(date(2025, 11, day) for day in (18, 19, 20, 21, 24, 25, 26, 28)), date(2025, 12, 1), date(2025, 12, 2)]
EARLY = date(2025, 11, 28)
"""The day after Thanksgiving, on which the stock market closes early."""


def data_folder() -> Path:
    """Return the folder of the sample data, in the repository or in an installed wheel."""
    package = Path(__file__).parent
    installed = package / "_data"
    return installed if installed.is_dir() else package.parent / "data"


def sample_bars() -> dict[str, pl.DataFrame]:
    """Return one-minute bars by symbol: timestamp (UTC), open, high, low, close, volume."""
    return {symbol: pl.read_parquet(data_folder() / "bars" / f"{name}-1m.parquet") for name, symbol in SERIES.items()}


def sample_calendar() -> Calendar:
    """Return the calendar of the stocks: the ten sessions of XNYS, without requiring exchange_calendars."""
    sessions = [
        (datetime.combine(day, time(14, 30), UTC), datetime.combine(day, time(18 if day == EARLY else 21), UTC))
        for day in DAYS
    ]
    frame = pl.DataFrame(sessions, schema={"open": INSTANT, "close": INSTANT}, orient="row")
    return from_sessions(frame, "sample stocks")


def sample_runs() -> list[Run]:
    """Return a finished backtest, a paper run, and a run whose process died."""
    times = ("created_at", "started_at", "stopped_at", "heartbeat_at")
    runs = []
    for row in json.loads((data_folder() / "runs.json").read_text()):
        row.update({name: datetime.fromisoformat(row[name]) for name in times if row[name] is not None})
        row["owner"] = None if row["owner"] is None else Owner(**row["owner"])
        runs.append(Run(**row))
    return runs


def sample_orders() -> pl.DataFrame:
    """Return the last snapshot of every order; columns of ``walle.frames.ORDERS`` that a writer gives."""
    return _read_csv("orders.csv", ORDER)


def sample_fills() -> pl.DataFrame:
    """Return every fill; columns of ``walle.frames.FILLS`` that a writer gives."""
    return _read_csv("fills.csv", FILL)


def sample_events() -> list[Event]:
    """Return every event, in order."""
    return [Event.from_json(line) for line in (data_folder() / "events.jsonl").read_text().splitlines()]


def _read_csv(name: str, schema: pl.Schema) -> pl.DataFrame:
    text = pl.read_csv(data_folder() / name, infer_schema=False)
    instants = [column for column, kind in schema.items() if kind == INSTANT]
    return text.with_columns(pl.col(instants).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us"))


def load(store: Store) -> tuple[IngestReport, WriteReport, int]:
    """Store the sample data and the calendar of its stocks; data that is already stored stays.

    Parameters
    ----------
    store : Store

    Returns
    -------
    tuple of IngestReport, WriteReport and int
        The reports for the bars and the fills, and the number of new events.
    """
    bars = store.bars.ingest(data_folder() / "bars", provider="synthetic")
    unset = set(STOCKS).difference(store.bars.calendars()["symbol"])
    if unset:
        store.bars.set_calendar(sorted(unset), sample_calendar())
    stored = set(store.runs.read()["id"])
    for run in sample_runs():
        if run.id not in stored:
            store.runs.save(run)
    store.orders.save(sample_orders())
    fills = store.fills.append(sample_fills())
    known = set(store.events.read(columns=["id"])["id"])
    events = store.events.append(event for event in sample_events() if event.id not in known)
    return bars, fills, len(events)
