"""Refuse rows that no reader can read, and keep those aside that are there.

The guards that refuse them are put in place after every upgrade, as those of immutability are: triggers on SQLite,
checks on PostgreSQL, where the types of the columns leave little to refuse.

Revision ID: e2a7c6d8f0b4
Revises: d1f6b5c7e9a3
"""

import sqlalchemy as sa
from alembic import op

from walle.dialects import postgresql_guards
from walle.migrate import given, refuse_loss
from walle.set_aside import refuse_unreadable
from walle.types import UtcInstant, big_key, utc_now

revision = "e2a7c6d8f0b4"
down_revision = "d1f6b5c7e9a3"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "set_aside_rows",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("moved_at", UtcInstant, nullable=False, server_default=utc_now()),
        sqlite_autoincrement=True,
    )
    if not given("set-aside"):  # else they are moved once all revisions have run
        refuse_unreadable(op.get_bind())


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        [("rows set aside", "SELECT source || ' ' || content FROM set_aside_rows")],
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade d1f6b5c7e9a3",
    )
    if op.get_bind().dialect.name == "postgresql":
        postgresql_guards.remove_checks(op.get_bind())
    op.drop_table("set_aside_rows")
