"""Add the runs and fills tables.

Revision ID: d4e5f6a7b8c9
Revises: c3b4a5d6e7f8
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import ExactDecimal, Json, UtcInstant, bounded_text, utc_now

revision = "d4e5f6a7b8c9"
down_revision = "c3b4a5d6e7f8"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("id", bounded_text(100), primary_key=True),
        sa.Column("strategy_id", bounded_text(100), nullable=False),
        sa.Column("mode", bounded_text(20), nullable=False),
        sa.Column("status", bounded_text(20), nullable=False),
        sa.Column("symbols", Json),
        sa.Column("timeframe", bounded_text(20)),
        sa.Column("config", Json),
        sa.Column("error", bounded_text(2000)),
        sa.Column("created_at", UtcInstant, nullable=False, server_default=utc_now()),
        sa.Column("started_at", UtcInstant),
        sa.Column("stopped_at", UtcInstant),
    )
    op.create_index("idx_runs_status_created", "runs", ["status", "created_at"])
    op.create_table(
        "fills",
        sa.Column("id", bounded_text(100), primary_key=True),
        sa.Column("order_id", bounded_text(100), nullable=False),
        sa.Column("price", ExactDecimal(18, 8), nullable=False),
        sa.Column("quantity", ExactDecimal(18, 8), nullable=False),
        sa.Column("side", bounded_text(10), nullable=False),
        sa.Column("filled_at", UtcInstant, nullable=False),
        sa.Column("exchange_fill_id", bounded_text(100)),
    )
    op.create_index("idx_fills_order_filled", "fills", ["order_id", "filled_at"])


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        [
            ("rows of fills", "SELECT id FROM fills"),
            ("rows of runs", "SELECT id FROM runs"),
        ],
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade c3b4a5d6e7f8",
    )
    op.drop_table("fills")
    op.drop_table("runs")
