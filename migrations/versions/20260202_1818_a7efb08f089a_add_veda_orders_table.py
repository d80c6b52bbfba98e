"""Add the orders table.

Revision ID: a7efb08f089a
Revises: 001_initial
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import ExactDecimal, UtcInstant, bounded_text

revision = "a7efb08f089a"
down_revision = "001_initial"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "veda_orders",
        sa.Column("id", bounded_text(36), primary_key=True),
        sa.Column("client_order_id", bounded_text(36), nullable=False),
        sa.Column("exchange_order_id", bounded_text(100)),
        sa.Column("run_id", bounded_text(100), nullable=False),
        sa.Column("symbol", bounded_text(50), nullable=False),
        sa.Column("side", bounded_text(10), nullable=False),
        sa.Column("order_type", bounded_text(20), nullable=False),
        sa.Column("qty", ExactDecimal(18, 8), nullable=False),
        sa.Column("limit_price", ExactDecimal(18, 8)),
        sa.Column("stop_price", ExactDecimal(18, 8)),
        sa.Column("time_in_force", bounded_text(10), nullable=False),
        sa.Column("status", bounded_text(20), nullable=False),
        sa.Column("filled_qty", ExactDecimal(18, 8), nullable=False),
        sa.Column("filled_avg_price", ExactDecimal(18, 8)),
        sa.Column("created_at", UtcInstant, nullable=False),
        sa.Column("submitted_at", UtcInstant),
        sa.Column("filled_at", UtcInstant),
        sa.Column("cancelled_at", UtcInstant),
        sa.Column("reject_reason", bounded_text(500)),
        sa.Column("error_code", bounded_text(50)),
    )
    op.create_index("ix_veda_orders_client_order_id", "veda_orders", ["client_order_id"], unique=True)
    op.create_index("ix_veda_orders_run_id", "veda_orders", ["run_id"])
    op.create_index("ix_veda_orders_symbol", "veda_orders", ["symbol"])
    op.create_index("ix_veda_orders_status", "veda_orders", ["status"])
    op.create_index("idx_veda_orders_run_status", "veda_orders", ["run_id", "status"])
    op.create_index("idx_veda_orders_symbol_status", "veda_orders", ["symbol", "status"])


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        [
            ("rows of veda_orders", "SELECT id FROM veda_orders"),
        ],
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade 001_initial",
    )
    op.drop_table("veda_orders")
