"""All tables as SQLAlchemy models; the migrations build the same schema, and ``alembic check`` compares the two."""

from __future__ import annotations

import sqlalchemy as sa

from walle.enums import OHLCV
from walle.types import ExactDecimal, Json, UtcInstant, big_key, utc_now

__all__ = [
    "FACTS",
    "FORMED_BY",
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

REVISIONS = (
    "001_initial",
    "a7efb08f089a",
    "c3b4a5d6e7f8",
    "d4e5f6a7b8c9",
    "e6a1c0d2f4b8",
    "f7b2d1e3a5c9",
    "a8c3e2f4b6d0",
    "b9d4f3a5c7e1",
    "c0e5a4b6d8f2",
    "d1f6b5c7e9a3",
    "e2a7c6d8f0b4",
    "f3b8d7e9a1c5",
    "b7c4e1d9f2a6",
)
"""The chain from the oldest revision to the newest; a test compares it with the migrations."""

BASE_REVISIONS = REVISIONS[:4]
"""The revisions that the backend's own chain shares."""

GUARDED_SINCE = "a8c3e2f4b6d0"
"""The first revision at which the database itself keeps facts immutable."""

FORMED_BY = "set_aside_rows"
"""The table that was added with the guards of form: a database that has it refuses values that no reader can read."""

FACTS = (
    "fills",
    "outbox",
    "bars",
    "offset_resets",
    "instruments",
    "corporate_actions",
    "cash_flows",
    "fill_corrections",
    "cash_corrections",
    "answered_findings",
    "bar_versions",
    "bar_extras",
    "bar_ingests",
    "provider_changes",
)
"""The tables whose rows never change; older schemas lack the later ones."""

HEAD = REVISIONS[-1]

metadata = sa.MetaData()


def _corrections(table: str, of: str) -> sa.Table:
    return sa.Table(
        table,
        metadata,
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column(of, sa.Text, nullable=False),
        sa.Column("corrected_by", sa.Text, doc="what stands in its place; null: nothing does"),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
        sa.UniqueConstraint(of, name=f"uq_{table}"),
        sqlite_autoincrement=True,
    )


outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("payload", Json, nullable=False, doc="the whole event envelope"),
    sa.Column("created_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_outbox_type", "type"),
    sa.Index("ix_outbox_created_at", "created_at"),
    sa.Index("idx_outbox_type_created", "type", "created_at"),
    sqlite_autoincrement=True,
)

consumer_offsets = sa.Table(
    "consumer_offsets",
    metadata,
    sa.Column("consumer_id", sa.Text, primary_key=True),
    sa.Column("last_offset", sa.BigInteger, nullable=False, server_default="-1"),
    sa.Column("updated_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0", doc="rises with every claim and reset"),
    sa.Column("owner", Json, doc="host, pid and start of the process that consumes, and a token of its claim"),
    sa.Column("heartbeat_at", UtcInstant),
    sa.Column("succeeded_at", UtcInstant, doc="when the handler last succeeded"),
    sa.Column("failed_at", UtcInstant, doc="when the handler last failed"),
    sa.Column("error", sa.Text, doc="what it failed with"),
)

parked_events = sa.Table(
    "parked_events",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("consumer_id", sa.Text, nullable=False),
    sa.Column("event", sa.BigInteger, nullable=False, doc="the id in the outbox"),
    sa.Column("error", sa.Text, nullable=False, doc="what the handler last failed with"),
    sa.Column("tries", sa.BigInteger, nullable=False),
    sa.Column("parked_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Column("requested_at", UtcInstant, doc="when a replay was asked for"),
    sa.Column("replayed_at", UtcInstant, doc="when the handler took it after all"),
    sa.UniqueConstraint("consumer_id", "event", name="uq_parked_event"),
    sqlite_autoincrement=True,
)

offset_resets = sa.Table(
    "offset_resets",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("consumer_id", sa.Text, nullable=False),
    sa.Column("from_offset", sa.BigInteger, nullable=False),
    sa.Column("to_offset", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("reset_by", sa.Text, nullable=False, doc="user@host"),
    sa.Column("reset_at", UtcInstant, nullable=False, server_default=utc_now()),
    sqlite_autoincrement=True,
)

orders = sa.Table(
    "veda_orders",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("client_order_id", sa.Text, nullable=False),
    sa.Column("exchange_order_id", sa.Text),
    sa.Column("run_id", sa.Text, nullable=False),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("order_type", sa.Text, nullable=False),
    sa.Column("qty", ExactDecimal, nullable=False),
    sa.Column("limit_price", ExactDecimal),
    sa.Column("stop_price", ExactDecimal),
    sa.Column("time_in_force", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("filled_qty", ExactDecimal, nullable=False),
    sa.Column("filled_avg_price", ExactDecimal),
    sa.Column("created_at", UtcInstant, nullable=False),
    *(sa.Column(name, UtcInstant) for name in ("submitted_at", "filled_at", "cancelled_at")),
    sa.Column("reject_reason", sa.Text),
    sa.Column("error_code", sa.Text),
    sa.Column("account", sa.Text),
    sa.Column("extra", Json, doc="what an engine says beside it"),
    sa.Column("recorded_at", UtcInstant, doc="of the latest snapshot; null: before this was kept"),
    sa.Index("ix_veda_orders_client_order_id", "client_order_id", unique=True),
    sa.Index("ix_veda_orders_run_id", "run_id"),
    sa.Index("ix_veda_orders_symbol", "symbol"),
    sa.Index("ix_veda_orders_status", "status"),
    sa.Index("idx_veda_orders_run_status", "run_id", "status"),
    sa.Index("idx_veda_orders_symbol_status", "symbol", "status"),
)

bars = sa.Table(
    "bars",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("timestamp", UtcInstant, nullable=False, doc="the opening time"),
    *(sa.Column(name, sa.Double, nullable=False) for name in OHLCV),
    sa.UniqueConstraint("symbol", "timeframe", "timestamp", name="uq_bar"),
    sqlite_autoincrement=True,
)

bar_extras = sa.Table(
    "bar_extras",
    metadata,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("timestamp", UtcInstant, primary_key=True),
    sa.Column("extra", Json, nullable=False, doc="the further columns of the first version of a bar, by name"),
)

bar_versions = sa.Table(
    "bar_versions",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True, doc="a later version has a higher one"),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("timestamp", UtcInstant, nullable=False),
    *(sa.Column(name, sa.Double, doc="null: withdrawn") for name in OHLCV),
    sa.Column("extra", Json),
    sa.Column("provisional", sa.Boolean, nullable=False, doc="stored before the bar had ended"),
    sa.Column("ingest", sa.BigInteger, nullable=False, doc="the id in ingests"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_bar_versions_bar", "symbol", "timeframe", "timestamp"),
    sqlite_autoincrement=True,
)

bar_ingests = sa.Table(
    "bar_ingests",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("ingest", sa.BigInteger, nullable=False, doc="the id in ingests"),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("bars", sa.BigInteger, nullable=False, doc="how many it brought"),
    sa.Column("runs", sa.LargeBinary, nullable=False, doc="their opening times, packed"),
    sa.Index("ix_bar_ingests_series", "symbol", "timeframe", "ingest"),
    sqlite_autoincrement=True,
)

bar_conflicts = sa.Table(
    "bar_conflicts",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("timestamp", UtcInstant, nullable=False),
    *(sa.Column(f"stored_{name}", sa.Double, doc="null: withdrawn") for name in OHLCV),
    *(sa.Column(name, sa.Double, nullable=False) for name in OHLCV),
    sa.Column("source", sa.Text, doc="where the refused version came from"),
    sa.Column("detected_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Column("stored_extra", Json),
    sa.Column("extra", Json),
    sa.UniqueConstraint("symbol", "timeframe", "timestamp", *OHLCV, name="uq_bar_conflict"),
    sqlite_autoincrement=True,
)

bar_series = sa.Table(
    "bar_series",
    metadata,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("phase", sa.BigInteger, doc="microseconds after the clock's grid at which its bars open; null for dates"),
    sa.Column("provider", sa.Text, doc="who delivers it"),
    sa.Column("columns", Json, doc="its columns beside OHLCV, and their types"),
)

provider_changes = sa.Table(
    "provider_changes",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("previous", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    sqlite_autoincrement=True,
)

bar_index = sa.Table(
    "bar_index",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("first", UtcInstant, nullable=False, doc="no opening time that this row tells of is earlier"),
    sa.Column("last", UtcInstant, nullable=False, doc="nor later"),
    sa.Column("bars", sa.BigInteger, nullable=False, doc="how many opening times it tells of; in a mark: of writes"),
    sa.Column("runs", sa.LargeBinary, doc="the opening times, packed; null: a mark of bars yet to be looked at"),
    sa.Column("expected", sa.BigInteger, doc="the summary for 24/7, as of these bars alone"),
    sa.Column("missing", sa.BigInteger),
    sa.Column("gaps", sa.BigInteger),
    sa.Column("longest_gap", sa.BigInteger),
    sa.Column("unexpected", sa.BigInteger),
    sa.Index("ix_bar_index_series", "symbol", "timeframe"),
    sqlite_autoincrement=True,
)

symbol_calendars = sa.Table(
    "symbol_calendars",
    metadata,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("calendar", sa.Text, nullable=False),
    sa.Column("sessions", Json, doc="of a calendar of one's own"),
    sa.Column("set_at", UtcInstant, nullable=False, server_default=utc_now()),
)

explained_gaps = sa.Table(
    "explained_gaps",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, doc="null: every timeframe"),
    sa.Column("starts_at", UtcInstant, nullable=False),
    sa.Column("ends_at", UtcInstant, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("explained_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_explained_gaps_symbol", "symbol", "starts_at"),
    sqlite_autoincrement=True,
)

ingests = sa.Table(
    "ingests",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False, doc="file, frame, records, accept, withdraw or noticed"),
    sa.Column("name", sa.Text, doc="of the file"),
    sa.Column("checksum", sa.Text, doc="SHA-256 of the file"),
    sa.Column("settings", Json, doc="what the caller said about the rows"),
    sa.Column("provider", sa.Text),
    sa.Column("symbol", sa.Text, doc="null: several"),
    sa.Column("timeframe", sa.Text, doc="null: several"),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("inserted", sa.BigInteger, nullable=False),
    sa.Column("duplicates", sa.BigInteger, nullable=False),
    sa.Column("conflicts", sa.BigInteger, nullable=False),
    sa.Column("rejected", sa.BigInteger, nullable=False),
    sa.Column("ingested_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Column("corrected", sa.BigInteger, doc="bars of which it brought a further version"),
    sa.Column("unfinished", sa.BigInteger, doc="rows that were left out because their bars had not ended"),
    sa.Column("reason", sa.Text),
    sa.Column("author", sa.Text),
    sa.Index("ix_ingests_checksum", "checksum"),
    sa.Index("ix_ingests_time", "ingested_at"),
    sqlite_autoincrement=True,
)

rejected_bars = sa.Table(
    "rejected_bars",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("ingest", sa.BigInteger, nullable=False, doc="the id in ingests"),
    sa.Column("row", sa.BigInteger, nullable=False, doc="its place in the source, from 0"),
    sa.Column("symbol", sa.Text),
    sa.Column("timeframe", sa.Text),
    sa.Column("timestamp", UtcInstant),
    *(sa.Column(name, sa.Double) for name in OHLCV),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_rejected_bars_ingest", "ingest"),
    sqlite_autoincrement=True,
)

runs = sa.Table(
    "runs",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("strategy_id", sa.Text, nullable=False),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("symbols", Json),
    sa.Column("timeframe", sa.Text),
    sa.Column("config", Json),
    sa.Column("error", sa.Text),
    sa.Column("created_at", UtcInstant, nullable=False, server_default=utc_now()),
    *(sa.Column(name, UtcInstant) for name in ("started_at", "stopped_at", "heartbeat_at")),
    sa.Column("owner", Json, doc="host, pid and start of the process that runs it"),
    sa.Column("revision", sa.BigInteger, nullable=False, server_default="1"),
    sa.Column("account", sa.Text),
    sa.Column("prices", sa.Text, doc="what its prices are adjusted for: raw (nothing), splits, or all"),
    sa.Index("idx_runs_status_created", "status", "created_at"),
)

fills = sa.Table(
    "fills",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Text, nullable=False),
    sa.Column("price", ExactDecimal, nullable=False),
    sa.Column("quantity", ExactDecimal, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("filled_at", UtcInstant, nullable=False),
    sa.Column("exchange_fill_id", sa.Text),
    sa.Column("run_id", sa.Text),
    sa.Column("symbol", sa.Text),
    sa.Column("commission", ExactDecimal),
    sa.Column("commission_currency", sa.Text),
    sa.Column("liquidity", sa.Text),
    sa.Column("sequence", sa.BigInteger, doc="orders fills of one instant: given, or the order of arrival"),
    sa.Column("account", sa.Text),
    sa.Column("extra", Json, doc="what an engine or venue says beside it"),
    sa.Column("recorded_at", UtcInstant, doc="null: before this was kept, or by another program"),
    sa.Index("idx_fills_order_filled", "order_id", "filled_at"),
    sa.Index("idx_fills_run_filled", "run_id", "filled_at"),
    sa.Index("ix_fills_sequence", "sequence"),
)

fill_corrections = _corrections("fill_corrections", "fill_id")

cash_flows = sa.Table(
    "cash_flows",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("run_id", sa.Text),
    sa.Column("account", sa.Text),
    sa.Column("time", UtcInstant, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("amount", ExactDecimal, nullable=False, doc="above 0: received"),
    sa.Column("currency", sa.Text, nullable=False),
    sa.Column("symbol", sa.Text),
    sa.Column("action_id", sa.Text, doc="the corporate action whose derived flow it replaces"),
    sa.Column("reference", sa.Text, doc="the broker's own"),
    sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_cash_flows_run", "run_id", "time"),
)

cash_corrections = _corrections("cash_corrections", "cash_flow_id")

instruments = sa.Table(
    "instruments",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("valid_from", UtcInstant, doc="null: always"),
    sa.Column("kind", sa.Text),
    *(sa.Column(name, sa.Text) for name in ("base", "quote")),
    sa.Column("settle", sa.Text, doc="the currency of its profits and losses"),
    sa.Column("multiplier", ExactDecimal),
    sa.Column("inverse", sa.Boolean, nullable=False),
    *(sa.Column(name, ExactDecimal) for name in ("tick_size", "lot_size")),
    sa.Column("expires_at", UtcInstant),
    sa.Column("venue", sa.Text),
    sa.Column("aliases", Json, doc="other names of the symbol"),
    sa.Column("reason", sa.Text, doc="why these facts differ from the earlier ones"),
    sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_instruments_symbol", "symbol"),
    sqlite_autoincrement=True,
)

corporate_actions = sa.Table(
    "corporate_actions",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("ex_date", UtcInstant, nullable=False, doc="the date at 00:00 UTC"),
    sa.Column("ratio", ExactDecimal, doc="of a split: new shares for an old one"),
    sa.Column("amount", ExactDecimal, doc="of a dividend: for a share"),
    sa.Column("currency", sa.Text),
    sa.Column("announced_at", UtcInstant, doc="by the source"),
    sa.Column("source", sa.Text),
    sa.Column("supersedes", sa.Text, doc="the action that this one corrects"),
    sa.Column("reason", sa.Text),
    sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_corporate_actions_symbol", "symbol", "ex_date"),
)

answered_findings = sa.Table(
    "answered_findings",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("noun", sa.Text, nullable=False, doc="what was audited, such as fills"),
    sa.Column("finding", sa.Text, nullable=False, doc="the key of the finding"),
    sa.Column("answered", sa.Boolean, nullable=False, doc="false takes an earlier answer back"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_answered_findings_finding", "noun", "finding"),
    sqlite_autoincrement=True,
)

backtest_results = sa.Table(
    "backtest_results",
    metadata,
    sa.Column("run_id", sa.Text, primary_key=True),
    sa.Column("start_time", UtcInstant, nullable=False),
    sa.Column("end_time", UtcInstant, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("symbols", Json, nullable=False),
    sa.Column("final_equity", sa.Text, nullable=False, doc="an exact decimal"),
    sa.Column("simulation_duration_ms", sa.Integer, nullable=False, server_default="0"),
    sa.Column("total_bars_processed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("stats", Json, nullable=False),
    sa.Column("equity_curve", Json, nullable=False),
    sa.Column("fills", Json, nullable=False, doc="as the engine reports them"),
    sa.Column("created_at", UtcInstant, nullable=False, server_default=utc_now()),
)

set_aside_rows = sa.Table(
    "set_aside_rows",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False, doc="the table"),
    sa.Column("content", sa.Text, nullable=False, doc="the whole row, as JSON"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("moved_at", UtcInstant, nullable=False, server_default=utc_now()),
    sqlite_autoincrement=True,
)
