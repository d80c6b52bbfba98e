"""Add what money needs: instruments, corporate actions, cash flows, corrections, answered findings.

Fills gain their order of arrival and an account, runs an account and what their prices are adjusted for.

Revision ID: f3b8d7e9a1c5
Revises: e2a7c6d8f0b4
"""

import sqlalchemy as sa
from alembic import op

from walle.migrate import refuse_loss
from walle.types import ExactDecimal, Json, UtcInstant, big_key, utc_now

revision = "f3b8d7e9a1c5"
down_revision = "e2a7c6d8f0b4"
branch_labels = None
depends_on = None

TABLES = {
    "instruments": "symbol",
    "corporate_actions": "id",
    "cash_flows": "id",
    "fill_corrections": "fill_id",
    "cash_corrections": "cash_flow_id",
    "answered_findings": "finding",
}
COLUMNS = {"fills": ("sequence", "account"), "runs": ("account", "prices")}


def upgrade() -> None:
    op.create_table(
        "instruments",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("valid_from", UtcInstant),
        sa.Column("kind", sa.Text),
        *(sa.Column(name, sa.Text) for name in ("base", "quote", "settle")),
        sa.Column("multiplier", ExactDecimal),
        sa.Column("inverse", sa.Boolean, nullable=False),
        sa.Column("tick_size", ExactDecimal),
        sa.Column("lot_size", ExactDecimal),
        sa.Column("expires_at", UtcInstant),
        sa.Column("venue", sa.Text),
        sa.Column("aliases", Json),
        sa.Column("reason", sa.Text),
        sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_instruments_symbol", "instruments", ["symbol"])
    op.create_table(
        "corporate_actions",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("symbol", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("ex_date", UtcInstant, nullable=False),
        sa.Column("ratio", ExactDecimal),
        sa.Column("amount", ExactDecimal),
        sa.Column("currency", sa.Text),
        sa.Column("announced_at", UtcInstant),
        sa.Column("source", sa.Text),
        sa.Column("supersedes", sa.Text),
        sa.Column("reason", sa.Text),
        sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    )
    op.create_index("ix_corporate_actions_symbol", "corporate_actions", ["symbol", "ex_date"])
    op.create_table(
        "cash_flows",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text),
        sa.Column("account", sa.Text),
        sa.Column("time", UtcInstant, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("amount", ExactDecimal, nullable=False),
        *(sa.Column(name, sa.Text, nullable=name != "currency") for name in ("currency", "symbol", "action_id")),
        sa.Column("reference", sa.Text),
        sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    )
    op.create_index("ix_cash_flows_run", "cash_flows", ["run_id", "time"])
    for table, of in (("fill_corrections", "fill_id"), ("cash_corrections", "cash_flow_id")):
        op.create_table(
            table,
            sa.Column("id", big_key(), primary_key=True, autoincrement=True),
            sa.Column(of, sa.Text, nullable=False),
            sa.Column("corrected_by", sa.Text),
            sa.Column("reason", sa.Text, nullable=False),
            sa.Column("author", sa.Text, nullable=False),
            sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
            sa.UniqueConstraint(of, name=f"uq_{table}"),
            sqlite_autoincrement=True,
        )
    op.create_table(
        "answered_findings",
        sa.Column("id", big_key(), primary_key=True, autoincrement=True),
        sa.Column("noun", sa.Text, nullable=False),
        sa.Column("finding", sa.Text, nullable=False),
        sa.Column("answered", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_answered_findings_finding", "answered_findings", ["noun", "finding"])
    op.add_column("fills", sa.Column("sequence", sa.BigInteger))
    op.add_column("fills", sa.Column("account", sa.Text))
    op.create_index("ix_fills_sequence", "fills", ["sequence"])
    op.add_column("runs", sa.Column("account", sa.Text))
    op.add_column("runs", sa.Column("prices", sa.Text))


def downgrade() -> None:
    losses = [(f"rows of {table}", f"SELECT {name} FROM {table}") for table, name in TABLES.items()]
    losses += [
        (f"values of {table}.{name}", f"SELECT id FROM {table} WHERE {name} IS NOT NULL")
        for table, names in COLUMNS.items()
        for name in names
        if name != "sequence"  # every fill has one, and the earlier revision orders them by their ids
    ]
    refuse_loss(
        op.get_bind(),
        losses,
        "discard",
        "They can be thrown away with: alembic -x discard=yes downgrade e2a7c6d8f0b4",
    )
    op.drop_index("ix_fills_sequence", "fills")
    for table, names in COLUMNS.items():
        for name in names:
            op.drop_column(table, name)
    for table in TABLES:
        op.drop_table(table)
