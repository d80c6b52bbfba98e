"""Add what is known about series of bars: where they came from, their phase, calendar, index and explained gaps.

Revision ID: c0e5a4b6d8f2
Revises: b9d4f3a5c7e1
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import Json, UtcInstant, big_key, utc_now

revision = "c0e5a4b6d8f2"
down_revision = "b9d4f3a5c7e1"
branch_labels = None
depends_on = None

TABLES = ("bar_series", "bar_index", "symbol_calendars", "explained_gaps", "ingests", "rejected_bars")


def upgrade() -> None:
    op.create_table(
        "bar_series",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("timeframe", sa.Text, primary_key=True),
        sa.Column("phase", sa.BigInteger),
        sa.Column("provider", sa.Text),
    )
    op.create_table(
        "bar_index",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("first", UtcInstant, nullable=False),
        sa.Column("last", UtcInstant, nullable=False),
        sa.Column("bars", sa.BigInteger, nullable=False),
        sa.Column("runs", sa.LargeBinary),
        sa.Column("expected", sa.BigInteger),
        sa.Column("missing", sa.BigInteger),
        sa.Column("gaps", sa.BigInteger),
        sa.Column("longest_gap", sa.BigInteger),
        sa.Column("unexpected", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_bar_index_series", "bar_index", ["symbol", "timeframe"])
    op.create_table(
        "symbol_calendars",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("calendar", sa.Text, nullable=False),
        sa.Column("sessions", Json),
        sa.Column("set_at", UtcInstant, nullable=False, server_default=utc_now()),
    )
    op.create_table(
        "explained_gaps",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text),
        sa.Column("starts_at", UtcInstant, nullable=False),
        sa.Column("ends_at", UtcInstant, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("explained_at", UtcInstant, nullable=False, server_default=utc_now()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_explained_gaps_symbol", "explained_gaps", ["symbol", "starts_at"])
    op.create_table(
        "ingests",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("checksum", sa.Text),
        sa.Column("settings", Json),
        sa.Column("provider", sa.Text),
        sa.Column("symbol", sa.Text),
        sa.Column("timeframe", sa.Text),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("inserted", sa.BigInteger, nullable=False),
        sa.Column("duplicates", sa.BigInteger, nullable=False),
        sa.Column("conflicts", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        sa.Column("ingested_at", UtcInstant, nullable=False, server_default=utc_now()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ingests_checksum", "ingests", ["checksum"])
    op.create_table(
        "rejected_bars",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("ingest", sa.BigInteger, nullable=False),
        sa.Column("row", sa.BigInteger, nullable=False),
        sa.Column("symbol", sa.Text),
        sa.Column("timeframe", sa.Text),
        sa.Column("timestamp", UtcInstant),
        *(sa.Column(name, sa.Double) for name in ("open", "high", "low", "close", "volume")),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_rejected_bars_ingest", "rejected_bars", ["ingest"])
    # the bars that are there already are yet to be looked at
    op.execute(
        "INSERT INTO bar_index (symbol, timeframe, first, last, bars) "
        "SELECT symbol, timeframe, min(timestamp), max(timestamp), count(*) FROM bars GROUP BY symbol, timeframe"
    )


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        [
            ("calendars of symbols", "SELECT symbol || ' ' || calendar FROM symbol_calendars"),
            ("explained gaps", "SELECT symbol || ' ' || reason FROM explained_gaps"),
            ("records of ingests", "SELECT coalesce(name, source) || ' ' || rows FROM ingests"),
            ("rejected bars", "SELECT coalesce(symbol, '?') || ' ' || reason FROM rejected_bars"),
        ],
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade b9d4f3a5c7e1",
    )
    for name in reversed(TABLES):
        op.drop_table(name)
