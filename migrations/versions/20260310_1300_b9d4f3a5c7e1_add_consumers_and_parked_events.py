"""Add who consumes (epoch, owner, heartbeat, last error), parked events, and the audit trail of offset resets.

Revision ID: b9d4f3a5c7e1
Revises: a8c3e2f4b6d0
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import Json, UtcInstant, big_key, utc_now

revision = "b9d4f3a5c7e1"
down_revision = "a8c3e2f4b6d0"
branch_labels = None
depends_on = None

COLUMNS = ("epoch", "owner", "heartbeat_at", "succeeded_at", "failed_at", "error")


def upgrade() -> None:
    op.add_column("consumer_offsets", sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("consumer_offsets", sa.Column("owner", Json))
    op.add_column("consumer_offsets", sa.Column("heartbeat_at", UtcInstant))
    op.add_column("consumer_offsets", sa.Column("succeeded_at", UtcInstant))
    op.add_column("consumer_offsets", sa.Column("failed_at", UtcInstant))
    op.add_column("consumer_offsets", sa.Column("error", sa.Text))
    op.create_table(
        "parked_events",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("consumer_id", sa.Text, nullable=False),
        sa.Column("event", sa.BigInteger, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("tries", sa.BigInteger, nullable=False),
        sa.Column("parked_at", UtcInstant, nullable=False, server_default=utc_now()),
        sa.Column("requested_at", UtcInstant),
        sa.Column("replayed_at", UtcInstant),
        sa.UniqueConstraint("consumer_id", "event", name="uq_parked_event"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "offset_resets",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("consumer_id", sa.Text, nullable=False),
        sa.Column("from_offset", sa.BigInteger, nullable=False),
        sa.Column("to_offset", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("reset_by", sa.Text, nullable=False),
        sa.Column("reset_at", UtcInstant, nullable=False, server_default=utc_now()),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        [
            ("parked events", "SELECT consumer_id || ' ' || event FROM parked_events"),
            (
                "offset resets",
                "SELECT consumer_id || ' ' || from_offset || ' -> ' || to_offset FROM offset_resets",
            ),
            ("errors of consumers", "SELECT consumer_id FROM consumer_offsets WHERE error IS NOT NULL"),
        ],
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade a8c3e2f4b6d0",
    )
    op.drop_table("offset_resets")
    op.drop_table("parked_events")
    for name in reversed(COLUMNS):
        op.drop_column("consumer_offsets", name)
