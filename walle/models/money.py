"""The tables of orders, fills, cash, instruments and runs."""

from __future__ import annotations

import sqlalchemy as sa

from walle.models.schema import metadata
from walle.types import ExactDecimal, Json, UtcInstant, big_key, utc_now

__all__ = [
    "answered_findings",
    "backtest_results",
    "cash_corrections",
    "cash_flows",
    "corporate_actions",
    "fill_corrections",
    "fills",
    "instruments",
    "orders",
    "runs",
]


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
