"""Add versions of bars, the ingest of every bar, further columns, and when fills and orders became known.

Bars stay as they are: a version, and the opening times that an ingest brought, are rows beside them.

Revision ID: b7c4e1d9f2a6
Revises: f3b8d7e9a1c5
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import Json, UtcInstant, big_key, utc_now

revision = "b7c4e1d9f2a6"
down_revision = "f3b8d7e9a1c5"
branch_labels = None
depends_on = None

OHLCV = ("open", "high", "low", "close", "volume")
COLUMNS: dict[str, dict[str, type]] = {
    "bar_conflicts": {"stored_extra": Json, "extra": Json},
    "bar_series": {"columns": Json},
    "ingests": {"corrected": sa.BigInteger, "unfinished": sa.BigInteger, "reason": sa.Text, "author": sa.Text},
    "fills": {"extra": Json, "recorded_at": UtcInstant},
    "veda_orders": {"account": sa.Text, "extra": Json, "recorded_at": UtcInstant},
}
LOST = {
    "rows of bar_versions": "SELECT symbol || ' ' || timeframe FROM bar_versions",
    "rows of provider_changes": "SELECT symbol || ' ' || timeframe FROM provider_changes",
    "which ingest brought the bars": "SELECT symbol || ' ' || timeframe FROM bar_ingests",
    "further columns of bars": "SELECT symbol || ' ' || timeframe FROM bar_extras",
    "conflicts with withdrawn bars": "SELECT symbol || ' ' || timeframe FROM bar_conflicts WHERE stored_close IS NULL",
    "values of fills.extra": "SELECT id FROM fills WHERE extra IS NOT NULL",
    "values of veda_orders.account": "SELECT id FROM veda_orders WHERE account IS NOT NULL",
    "values of veda_orders.extra": "SELECT id FROM veda_orders WHERE extra IS NOT NULL",
}


def upgrade() -> None:
    op.create_table(
        "bar_versions",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("timestamp", UtcInstant, nullable=False),
        *(sa.Column(name, sa.Double) for name in OHLCV),
        sa.Column("extra", Json),
        sa.Column("provisional", sa.Boolean, nullable=False),
        sa.Column("ingest", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_bar_versions_bar", "bar_versions", ["symbol", "timeframe", "timestamp"])
    op.create_table(
        "bar_extras",
        sa.Column("symbol", sa.Text, primary_key=True),
        sa.Column("timeframe", sa.Text, primary_key=True),
        sa.Column("timestamp", UtcInstant, primary_key=True),
        sa.Column("extra", Json, nullable=False),
    )
    op.create_table(
        "bar_ingests",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("ingest", sa.BigInteger, nullable=False),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("bars", sa.BigInteger, nullable=False),
        sa.Column("runs", sa.LargeBinary, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_bar_ingests_series", "bar_ingests", ["symbol", "timeframe", "ingest"])
    op.create_table(
        "provider_changes",
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
    for table, columns in COLUMNS.items():
        for name, kind in columns.items():
            op.add_column(table, sa.Column(name, kind))
    op.create_index("ix_ingests_time", "ingests", ["ingested_at"])
    # no bar that is stored by now is new
    op.execute("UPDATE bar_index SET unexpected = 0 WHERE unexpected IS NULL")
    with op.batch_alter_table("bar_conflicts") as batch:
        for name in OHLCV:
            batch.alter_column(f"stored_{name}", existing_type=sa.Double(), nullable=True)


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        list(LOST.items()),
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade f3b8d7e9a1c5",
    )
    op.execute("DELETE FROM bar_conflicts WHERE stored_close IS NULL")
    with op.batch_alter_table("bar_conflicts") as batch:
        for name in OHLCV:
            batch.alter_column(f"stored_{name}", existing_type=sa.Double(), nullable=False)
    op.drop_index("ix_ingests_time", "ingests")
    for table, columns in COLUMNS.items():
        for name in columns:
            op.drop_column(table, name)
    for table in ("provider_changes", "bar_ingests", "bar_extras", "bar_versions"):
        op.drop_table(table)
