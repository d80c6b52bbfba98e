"""The Polars schema of every public frame."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import polars as pl

from walle.enums import OHLCV

__all__ = [
    "ANSWERS",
    "BACKTEST_RESULTS",
    "BARS",
    "BAR_COLUMNS",
    "BAR_CONFLICTS",
    "BAR_SERIES",
    "BAR_VERSIONS",
    "CALENDARS",
    "CASH_CORRECTIONS",
    "CASH_FLOWS",
    "CASH_FLOW_CONFLICTS",
    "CONFLICT_EXTRAS",
    "CONSUMERS",
    "CORPORATE_ACTIONS",
    "DECIMAL",
    "EVENTS",
    "EXPLANATIONS",
    "FILLS",
    "FILL_CONFLICTS",
    "FILL_CORRECTIONS",
    "FILL_ORDER",
    "HISTORY",
    "INGESTED_FILES",
    "INGESTS",
    "INSTANT",
    "INSTRUMENTS",
    "KEPT_REJECTED",
    "ORDERS",
    "ORDER_CONFLICTS",
    "PARKED",
    "PROVIDERS",
    "REJECTED_BARS",
    "REJECTED_CASH_FLOWS",
    "REJECTED_FILLS",
    "REJECTED_ORDERS",
    "RESETS",
    "RUNS",
    "RUN_SUMMARY",
    "STORED_CONFLICTS",
    "no_rows",
]

INSTANT = pl.Datetime("us", "UTC")
DECIMAL = pl.Decimal(38, 18)
_OHLCV: dict[str, pl.DataType] = {name: pl.Float64() for name in OHLCV}
_SERIES: dict[str, pl.DataType] = {"symbol": pl.String(), "timeframe": pl.String()}

BARS = pl.Schema({**_SERIES, "timestamp": INSTANT, **_OHLCV})
"""One row is one bar; ``timestamp`` is its opening time in UTC. No nulls."""

BAR_SERIES = pl.Schema({**_SERIES, "first": INSTANT, "last": INSTANT, "bars": pl.Int64()})
"""One row is one (symbol, timeframe): the opening times of its first and last bar, and its number of bars. No nulls."""

BAR_CONFLICTS = pl.Schema(
    {
        **_SERIES,
        "timestamp": INSTANT,
        **{f"stored_{name}": kind for name, kind in _OHLCV.items()},
        **_OHLCV,
    }
)
"""One row is a bar that was ingested again with other values: the stored ones, which stay (null if the bar
was withdrawn), and the refused ones."""

CONFLICT_EXTRAS = pl.Schema({"stored_extra": pl.String(), "extra": pl.String()})
"""The further columns of both, as JSON texts of objects (null: none): frames of conflicts end with them if there are
any."""

STORED_CONFLICTS = pl.Schema({**BAR_CONFLICTS, "source": pl.String(), "detected_at": INSTANT, "accepted_at": INSTANT})
"""One row is a conflict as it is stored: as above, with the provider of the refused version, the time (UTC) at which it
was ingested, and the last time since then at which its values became a version of the bar (null: never)."""

BAR_VERSIONS = pl.Schema(
    {
        **_SERIES,
        "timestamp": INSTANT,
        "version": pl.Int64(),
        **_OHLCV,
        "provisional": pl.Boolean(),
        "ingest": pl.Int64(),
        "reason": pl.String(),
        "author": pl.String(),
        "recorded_at": INSTANT,
    }
)
"""One row is a version of a bar, numbered from 1: its values (null: the bar was withdrawn), whether it was stored
before the bar had ended, the id of the ingest that brought it (null: unknown), why and by whom it was stored (null for
the first), and when (UTC)."""

BAR_COLUMNS = pl.Schema({**_SERIES, "column": pl.String(), "kind": pl.String()})
"""One row is a further column of a series, and the kind of its values: one of :data:`walle.bars.extras.KINDS`. No
nulls."""

REJECTED_BARS = pl.Schema({"row": pl.Int64(), **BARS, "reason": pl.String()})
"""One row is a refused input row: its position in the source from 0, the values that could be read, and the reason."""

KEPT_REJECTED = pl.Schema({"ingest": pl.Int64(), "name": pl.String(), **REJECTED_BARS})
"""One row is a refused row as it is kept under quarantine: as above, with the id of the ingest and the name of the file
(null for a frame)."""

COUNTS: dict[str, pl.DataType] = dict.fromkeys(
    ("rows", "inserted", "duplicates", "conflicts", "rejected", "corrected", "unfinished"), pl.Int64()
)
"""What an ingest of bars counts."""

INGESTS = pl.Schema(
    {
        "id": pl.Int64(),
        "source": pl.String(),
        "name": pl.String(),
        "checksum": pl.String(),
        "settings": pl.String(),
        "provider": pl.String(),
        **_SERIES,
        **COUNTS,
        "ingested_at": INSTANT,
        "reason": pl.String(),
        "author": pl.String(),
    }
)
"""One row is an ingest: ``source`` is file, frame, records, accept, withdraw or noticed (bars of another program);
``name`` and ``checksum`` (SHA-256) are the file's; ``settings`` holds the caller's arguments about its rows, as JSON;
``symbol`` and ``timeframe`` are null where there were several."""

INGESTED_FILES = pl.Schema(
    {
        "path": pl.String(),
        **_SERIES,
        **COUNTS,
        "skipped": pl.Boolean(),
        "error": pl.String(),
    }
)
"""One row is a file of an ingest: ``skipped`` if it was ingested before; ``error`` says why it was refused."""

CALENDARS = pl.Schema({"symbol": pl.String(), "calendar": pl.String(), "set_at": INSTANT})
"""One row is a symbol with a stored calendar: the calendar's name, and when it was set (UTC). No nulls."""

EXPLANATIONS = pl.Schema(
    {
        **_SERIES,
        "start": INSTANT,
        "end": INSTANT,
        "reason": pl.String(),
        "author": pl.String(),
        "explained_at": INSTANT,
    }
)
"""One row explains why bars that open in ``[start, end)`` are missing, with the explanation's author and time (UTC).
``timeframe`` is null where it holds for all timeframes; no other nulls."""

PROVIDERS = pl.Schema(
    {
        **_SERIES,
        "provider": pl.String(),
        "previous": pl.String(),
        "reason": pl.String(),
        "author": pl.String(),
        "recorded_at": INSTANT,
    }
)
"""One row is a provider that was set for a series, instead of which one, why, by whom and when (UTC); the last row of a
series is its provider now. The provider that came with the first bars of a series stands alone, with nulls, until it is
changed. ``previous`` is null also where no earlier ingest had named one."""

ANSWERS = pl.Schema(
    {
        "finding": pl.String(),
        "answered": pl.Boolean(),
        "reason": pl.String(),
        "author": pl.String(),
        "recorded_at": INSTANT,
    }
)
"""One row answers a finding of an audit, which is named by its key, or takes its answer back (``answered`` is false);
with the reason, the author and the time (UTC). Of several rows about a finding the last one counts. No nulls."""

ORDERS = pl.Schema(
    {
        "id": pl.String(),
        "client_order_id": pl.String(),
        "exchange_order_id": pl.String(),
        "run_id": pl.String(),
        "symbol": pl.String(),
        "side": pl.String(),
        "order_type": pl.String(),
        "qty": DECIMAL,
        "limit_price": DECIMAL,
        "stop_price": DECIMAL,
        "time_in_force": pl.String(),
        "status": pl.String(),
        "filled_qty": DECIMAL,
        "filled_avg_price": DECIMAL,
        "created_at": INSTANT,
        "submitted_at": INSTANT,
        "filled_at": INSTANT,
        "cancelled_at": INSTANT,
        "reject_reason": pl.String(),
        "error_code": pl.String(),
        "account": pl.String(),
        "extra": pl.String(),
        "recorded_at": INSTANT,
    }
)
"""One row is the last snapshot of an order; quantities are in units, prices in the quote currency. ``extra`` is the
JSON text of an object: what an engine or a venue says beside it. ``recorded_at`` is the time of the database (UTC) at
which this snapshot was stored (null where another program or an older WallE wrote it)."""

FILLS = pl.Schema(
    {
        "id": pl.String(),
        "order_id": pl.String(),
        "run_id": pl.String(),
        "symbol": pl.String(),
        "side": pl.String(),
        "price": DECIMAL,
        "quantity": DECIMAL,
        "commission": DECIMAL,
        "commission_currency": pl.String(),
        "liquidity": pl.String(),
        "filled_at": INSTANT,
        "exchange_fill_id": pl.String(),
        "sequence": pl.Int64(),
        "account": pl.String(),
        "extra": pl.String(),
        "recorded_at": INSTANT,
    }
)
"""One row is one fill; where it was written without ``run_id`` or ``symbol``, they are those of its order.
``sequence`` orders fills of one instant: as it was given, or the order of arrival (null for a fill that another program
or an older WallE wrote). ``extra`` is the JSON text of an object: what an engine or a venue says beside it.
``recorded_at`` is the time of the database (UTC) at which it was stored; null likewise."""

FILL_ORDER = ("filled_at", "sequence", "id")
"""The columns by which fills are sorted; a null in ``sequence`` comes first."""


def _given(schema: pl.Schema) -> dict[str, pl.DataType]:
    """Return the columns that a writer gives: all but the time of recording."""
    return {name: kind for name, kind in schema.items() if name != "recorded_at"}


REJECTED_ORDERS = pl.Schema({"row": pl.Int64(), **_given(ORDERS), "reason": pl.String()})
"""One row is a refused row of an ingest of orders: its position in the source from 0, the values that could be read,
and the reason."""

REJECTED_FILLS = pl.Schema({"row": pl.Int64(), **_given(FILLS), "reason": pl.String()})
"""One row is a refused row of an ingest of fills: its position in the source from 0, the values that could be read, and
the reason."""


def _beside(schema: pl.Schema) -> dict[str, pl.DataType]:
    """Return the columns of a schema for the stored values, then for the new ones."""
    columns = {name: kind for name, kind in _given(schema).items() if name != "id"}
    return {f"stored_{name}": kind for name, kind in columns.items()} | columns


ORDER_CONFLICTS = pl.Schema({"id": pl.String(), **_beside(ORDERS), "reason": pl.String()})
"""One row is a refused snapshot: the stored values (null where its id is not stored), the new ones, and the reason."""

FILL_CONFLICTS = pl.Schema({"id": pl.String(), **_beside(FILLS)})
"""One row is a fill that was refused because its id is taken: the stored values, which stay, and the new ones."""

_CORRECTION: dict[str, pl.DataType] = {
    "corrected_by": pl.String(),
    "reason": pl.String(),
    "author": pl.String(),
    "recorded_at": INSTANT,
}

FILL_CORRECTIONS = pl.Schema({"fill_id": pl.String(), **_CORRECTION})
"""One row is a correction: the fill that it leaves out, the fill that stands in its place (null: none, a bust), why,
who said so (user@host), and when (UTC)."""

CASH_FLOWS = pl.Schema(
    {
        "id": pl.String(),
        "time": INSTANT,
        "kind": pl.String(),
        "amount": DECIMAL,
        "currency": pl.String(),
        "run_id": pl.String(),
        "account": pl.String(),
        "symbol": pl.String(),
        "action_id": pl.String(),
        "reference": pl.String(),
        "recorded_at": INSTANT,
    }
)
"""One row is one cash flow: ``amount`` is in ``currency``, above 0 for what was received; ``recorded_at`` is the time
of the database (UTC) at which it was stored."""

REJECTED_CASH_FLOWS = pl.Schema({"row": pl.Int64(), **_given(CASH_FLOWS), "reason": pl.String()})
"""One row is a refused row of an ingest of cash flows: its position in the source from 0, the values that could be
read, and the reason."""

CASH_FLOW_CONFLICTS = pl.Schema({"id": pl.String(), **_beside(CASH_FLOWS)})
"""One row is a cash flow that was refused because its id is taken: the stored values, which stay, and the new ones."""

CASH_CORRECTIONS = pl.Schema({"cash_flow_id": pl.String(), **_CORRECTION})
"""One row is a correction: the cash flow that it leaves out, the one that stands in its place (null: none), why, who
said so (user@host), and when (UTC)."""

CORPORATE_ACTIONS = pl.Schema(
    {
        "id": pl.String(),
        "symbol": pl.String(),
        "kind": pl.String(),
        "ex_date": INSTANT,
        "ratio": DECIMAL,
        "amount": DECIMAL,
        "currency": pl.String(),
        "announced_at": INSTANT,
        "source": pl.String(),
        "supersedes": pl.String(),
        "reason": pl.String(),
        "recorded_at": INSTANT,
    }
)
"""One row is one split or dividend. ``ex_date`` is that date at 00:00 UTC; ``ratio`` is null for a dividend, ``amount``
(for a share, in ``currency``) for a split. ``recorded_at`` is the time of the database (UTC) at which it was stored."""

INSTRUMENTS = pl.Schema(
    {
        "symbol": pl.String(),
        "valid_from": INSTANT,
        "kind": pl.String(),
        "base": pl.String(),
        "quote": pl.String(),
        "settle": pl.String(),
        "multiplier": DECIMAL,
        "inverse": pl.Boolean(),
        "tick_size": DECIMAL,
        "lot_size": DECIMAL,
        "expires_at": INSTANT,
        "venue": pl.String(),
        "aliases": pl.List(pl.String()),
        "reason": pl.String(),
        "recorded_at": INSTANT,
    }
)
"""One row is what a symbol is from ``valid_from`` on (null: always). ``multiplier`` is in units of the base, for an
inverse contract of the quote currency; ``aliases`` are its other names, never null. ``reason`` says why these facts
were stored in the place of earlier ones, and ``recorded_at`` is the time of the database (UTC) at which they were. Only
symbol, inverse, aliases and recorded_at are never null."""

RUNS = pl.Schema(
    {
        "id": pl.String(),
        "strategy_id": pl.String(),
        "mode": pl.String(),
        "status": pl.String(),
        "symbols": pl.List(pl.String()),
        "timeframe": pl.String(),
        "config": pl.String(),
        "error": pl.String(),
        "created_at": INSTANT,
        "started_at": INSTANT,
        "stopped_at": INSTANT,
        "heartbeat_at": INSTANT,
        "owner": pl.String(),
        "revision": pl.Int64(),
        "account": pl.String(),
        "prices": pl.String(),
    }
)
"""One row is one run; ``config`` and ``owner`` are JSON texts. ``prices`` says what the prices that it traded on are
adjusted for: raw (nothing), splits, or all; null if that is unknown."""

RUN_SUMMARY = pl.Schema({**RUNS, "duration": pl.Duration("us"), "orders": pl.Int64(), "fills": pl.Int64()})
"""One row is one run: as above, with its ``duration``, ``stopped_at - started_at`` (null until it stopped), and the
numbers of its orders and fills, never null. A fill that was written without a run belongs to the run of its order."""

BACKTEST_RESULTS = pl.Schema(
    {
        "run_id": pl.String(),
        "start_time": INSTANT,
        "end_time": INSTANT,
        "timeframe": pl.String(),
        "symbols": pl.List(pl.String()),
        "final_equity": pl.String(),
        "simulation_duration_ms": pl.Int64(),
        "total_bars_processed": pl.Int64(),
        **{name: pl.String() for name in ("stats", "equity_curve", "fills")},
        "created_at": INSTANT,
    }
)
"""One row is the result that an engine reports for a backtest; ``final_equity`` is an exact decimal as text; ``stats``,
``equity_curve`` and ``fills`` are JSON texts. No nulls."""

HISTORY = pl.Schema(
    {
        "time": INSTANT,
        "kind": pl.String(),
        "what": pl.String(),
        "order_id": pl.String(),
        "fill_id": pl.String(),
        "symbol": pl.String(),
        "side": pl.String(),
        "quantity": DECIMAL,
        "price": DECIMAL,
        "offset": pl.Int64(),
        "corr_id": pl.String(),
        "payload": pl.String(),
    }
)
"""One row is one moment in a run's life: ``kind`` is run, order, fill or event, and ``what`` says what happened (for an
event, its type). ``offset`` is an event's position in the log and ``payload`` its JSON text; both are null for the
other kinds, except that the payload of a corrected fill says by what, why, and who said so."""


EVENTS = pl.Schema(
    {
        "offset": pl.Int64(),
        "id": pl.String(),
        "type": pl.String(),
        "created_at": INSTANT,
        "kind": pl.String(),
        "version": pl.Int64(),
        "run_id": pl.String(),
        "corr_id": pl.String(),
        "causation_id": pl.String(),
        "trace_id": pl.String(),
        "ts": INSTANT,
        "producer": pl.String(),
        "headers": pl.String(),
        "payload": pl.String(),
    }
)
"""One row is one event. ``offset`` is its position in the log, and ``id`` is the envelope's; ``created_at`` is the time
when it was stored, and ``ts`` the time in its envelope; headers and payload are JSON texts. Only offset, type and
created_at are never null: another program may have left out the rest."""

CONSUMERS = pl.Schema(
    {
        "consumer_id": pl.String(),
        "state": pl.String(),
        "offset": pl.Int64(),
        "lag": pl.Int64(),
        "lag_seconds": pl.Float64(),
        "held": pl.Int64(),
        "held_by": pl.String(),
        "parked": pl.Int64(),
        "epoch": pl.Int64(),
        "owner": pl.String(),
        "heartbeat_at": INSTANT,
        "succeeded_at": INSTANT,
        "failed_at": INSTANT,
        "error": pl.String(),
        "updated_at": INSTANT,
    }
)
"""One row is one consumer. ``state``: running, stalled (no heartbeat for its lease), dead (its process is gone) or
stopped. ``offset`` is that of the last event that it settled, -1 before the first. ``lag`` counts the committed events
after it, of any type, and ``lag_seconds`` is the age of the first of them (0 if there is none). ``held`` of them wait
behind a gap in the ids, which the transactions in ``held_by`` may still fill. ``parked`` events wait for a replay.
``error`` is the handler's last error, raised at ``failed_at``; it stays after a later success (``succeeded_at``)."""

PARKED = pl.Schema(
    {
        "consumer_id": pl.String(),
        "offset": pl.Int64(),
        "type": pl.String(),
        "error": pl.String(),
        "tries": pl.Int64(),
        "parked_at": INSTANT,
        "requested_at": INSTANT,
        "replayed_at": INSTANT,
        "envelope": pl.String(),
    }
)
"""One row is an event that a consumer set aside: its ``offset`` in the log, the handler's error and the number of
tries, the time at which a replay was requested, and the time at which the handler succeeded (null before)."""

RESETS = pl.Schema(
    {
        "consumer_id": pl.String(),
        "from_offset": pl.Int64(),
        "to_offset": pl.Int64(),
        "reason": pl.String(),
        "reset_by": pl.String(),
        "reset_at": INSTANT,
    }
)
"""One row is one reset of a consumer's offset: the old and the new offset, the reason, who did it (user@host) and when.
No nulls."""


def no_rows(schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return a frame without rows; it is made once, which takes Polars longer than many of its operations."""
    return _without_rows(tuple(schema.items())).clone()


@cache
def _without_rows(columns: tuple[tuple[str, pl.DataType], ...]) -> pl.DataFrame:
    return pl.DataFrame(schema=dict(columns))
