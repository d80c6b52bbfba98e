"""Add what an audit and a restart need: run, symbol and costs of fills; heartbeat, owner and revision of runs.

A database that was taken over from the backend has two of the columns already, narrower; they keep their values.

Revision ID: f7b2d1e3a5c9
Revises: e6a1c0d2f4b8
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import ExactDecimal, Json, UtcInstant

revision = "f7b2d1e3a5c9"
down_revision = "e6a1c0d2f4b8"
branch_labels = None
depends_on = None

FILLS = ("run_id", "symbol", "commission", "commission_currency", "liquidity")
RUNS = ("heartbeat_at", "owner", "revision")


def upgrade() -> None:
    present = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("fills")}
    for name in FILLS:
        kind = ExactDecimal() if name == "commission" else sa.Text()
        if name in present:
            op.alter_column("fills", name, type_=kind)
        else:
            op.add_column("fills", sa.Column(name, kind))
    op.create_index("idx_fills_run_filled", "fills", ["run_id", "filled_at"])
    op.add_column("runs", sa.Column("heartbeat_at", UtcInstant))
    op.add_column("runs", sa.Column("owner", Json))
    op.add_column("runs", sa.Column("revision", sa.BigInteger, nullable=False, server_default="1"))


def downgrade() -> None:
    losses = [(f"values of fills.{name}", f"SELECT id FROM fills WHERE {name} IS NOT NULL") for name in FILLS]
    losses += [(f"values of runs.{name}", f"SELECT id FROM runs WHERE {name} IS NOT NULL") for name in RUNS[:2]]
    losses.append(("values of runs.revision", "SELECT id FROM runs WHERE revision <> 1"))
    refuse_loss(
        op.get_bind(),
        losses,
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade e6a1c0d2f4b8",
    )
    op.drop_index("idx_fills_run_filled", "fills")
    for name in reversed(RUNS):
        op.drop_column("runs", name)
    for name in reversed(FILLS):
        op.drop_column("fills", name)
