"""Add the table of conflicting bars; from here on the database keeps facts immutable itself.

The guards are set after every migration, because a rebuilt table loses its triggers.

Revision ID: a8c3e2f4b6d0
Revises: f7b2d1e3a5c9
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import UtcInstant, big_key, utc_now

revision = "a8c3e2f4b6d0"
down_revision = "f7b2d1e3a5c9"
branch_labels = None
depends_on = None

PRICES = ("open", "high", "low", "close", "volume")


def upgrade() -> None:
    op.create_table(
        "bar_conflicts",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("timestamp", UtcInstant, nullable=False),
        *(sa.Column(f"stored_{name}", sa.Double, nullable=False) for name in PRICES),
        *(sa.Column(name, sa.Double, nullable=False) for name in PRICES),
        sa.Column("source", sa.Text),
        sa.Column("detected_at", UtcInstant, nullable=False, server_default=utc_now()),
        sa.UniqueConstraint("symbol", "timeframe", "timestamp", *PRICES, name="uq_bar_conflict"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        [
            (
                "rows of bar_conflicts",
                "SELECT symbol || ' ' || timeframe || ' ' || timestamp FROM bar_conflicts",
            )
        ],
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade f7b2d1e3a5c9",
    )
    op.drop_table("bar_conflicts")
