"""All tables as SQLAlchemy models; the migrations build the same schema, and ``alembic check`` compares the two."""

from __future__ import annotations

from walle.models.bars import (
    bar_conflicts,
    bar_extras,
    bar_index,
    bar_ingests,
    bar_series,
    bar_versions,
    bars,
    explained_gaps,
    ingests,
    provider_changes,
    rejected_bars,
    symbol_calendars,
)
from walle.models.events import consumer_offsets, offset_resets, outbox, parked_events, set_aside_rows
from walle.models.money import (
    answered_findings,
    backtest_results,
    cash_corrections,
    cash_flows,
    corporate_actions,
    fill_corrections,
    fills,
    instruments,
    orders,
    runs,
)
from walle.models.schema import BASE_REVISIONS, FACTS, FORMED_BY, GUARDED_SINCE, HEAD, REVISIONS, metadata

__all__ = [
    "BASE_REVISIONS",
    "FACTS",
    "FORMED_BY",
    "GUARDED_SINCE",
    "HEAD",
    "REVISIONS",
    "answered_findings",
    "backtest_results",
    "bar_conflicts",
    "bar_extras",
    "bar_index",
    "bar_ingests",
    "bar_series",
    "bar_versions",
    "bars",
    "cash_corrections",
    "cash_flows",
    "consumer_offsets",
    "corporate_actions",
    "explained_gaps",
    "fill_corrections",
    "fills",
    "ingests",
    "instruments",
    "metadata",
    "offset_resets",
    "orders",
    "outbox",
    "parked_events",
    "provider_changes",
    "rejected_bars",
    "runs",
    "set_aside_rows",
    "symbol_calendars",
]
