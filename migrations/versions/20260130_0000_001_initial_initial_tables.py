"""Initial tables: the outbox and its consumers' offsets.

Revision ID: 001_initial
Revises:
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import Json, UtcInstant, bounded_text, utc_now

revision = "001_initial"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("type", bounded_text(100), nullable=False),
        sa.Column("payload", Json, nullable=False),
        sa.Column("created_at", UtcInstant, nullable=False, server_default=utc_now()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_type", "outbox", ["type"])
    op.create_index("ix_outbox_created_at", "outbox", ["created_at"])
    op.create_index("idx_outbox_type_created", "outbox", ["type", "created_at"])
    op.create_table(
        "consumer_offsets",
        sa.Column("consumer_id", bounded_text(100), primary_key=True),
        sa.Column("last_offset", sa.BigInteger, nullable=False, server_default="-1"),
        sa.Column("updated_at", UtcInstant, nullable=False, server_default=utc_now()),
    )


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        [
            ("rows of consumer_offsets", "SELECT consumer_id FROM consumer_offsets"),
            ("rows of outbox", "SELECT id FROM outbox"),
        ],
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade base",
    )
    op.drop_table("consumer_offsets")
    op.drop_table("outbox")
