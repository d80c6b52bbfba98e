"""Add what an engine reports of a backtest: one row per run.

A database that was taken over from the backend has the table already, with its rows; it keeps them.

Revision ID: d1f6b5c7e9a3
Revises: c0e5a4b6d8f2
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import Json, UtcInstant, utc_now

revision = "d1f6b5c7e9a3"
down_revision = "c0e5a4b6d8f2"
branch_labels = None
depends_on = None

TEXTS = ("run_id", "timeframe", "final_equity")


def upgrade() -> None:
    if sa.inspect(op.get_bind()).has_table("backtest_results"):
        for name in TEXTS:
            op.alter_column("backtest_results", name, type_=sa.Text)
        return
    op.create_table(
        "backtest_results",
        sa.Column("run_id", sa.Text, primary_key=True),
        sa.Column("start_time", UtcInstant, nullable=False),
        sa.Column("end_time", UtcInstant, nullable=False),
        sa.Column("timeframe", sa.Text, nullable=False),
        sa.Column("symbols", Json, nullable=False),
        sa.Column("final_equity", sa.Text, nullable=False),
        sa.Column("simulation_duration_ms", sa.Integer, nullable=False, server_default="0"),
        sa.Column("total_bars_processed", sa.Integer, nullable=False, server_default="0"),
        sa.Column("stats", Json, nullable=False),
        sa.Column("equity_curve", Json, nullable=False),
        sa.Column("fills", Json, nullable=False),
        sa.Column("created_at", UtcInstant, nullable=False, server_default=utc_now()),
    )


def downgrade() -> None:
    refuse_loss(
        op.get_bind(),
        [("rows of backtest_results", "SELECT run_id FROM backtest_results")],
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade c0e5a4b6d8f2",
    )
    op.drop_table("backtest_results")
