"""Add the bars table.

Revision ID: c3b4a5d6e7f8
Revises: a7efb08f089a
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import UtcInstant, bounded_text

revision = "c3b4a5d6e7f8"
down_revision = "a7efb08f089a"
branch_labels = None
depends_on = None


def upgrade() -> None:
    price = sa.Numeric(18, 8).with_variant(sa.Double(), "sqlite")  # bars are REAL on SQLite from the first
    op.create_table(
        "bars",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("symbol", bounded_text(32), nullable=False),
        sa.Column("timeframe", bounded_text(8), nullable=False),
        sa.Column("timestamp", UtcInstant, nullable=False),
        sa.Column("open", price, nullable=False),
        sa.Column("high", price, nullable=False),
        sa.Column("low", price, nullable=False),
        sa.Column("close", price, nullable=False),
        sa.Column("volume", price, nullable=False),
        sa.UniqueConstraint("symbol", "timeframe", "timestamp", name="uq_bar"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        [
            ("rows of bars", "SELECT id FROM bars"),
        ],
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade a7efb08f089a",
    )
    op.drop_table("bars")
