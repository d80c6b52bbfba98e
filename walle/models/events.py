"""The tables of events and of their consumers, and of rows that were set aside."""

from __future__ import annotations

import sqlalchemy as sa

from walle.models.schema import metadata
from walle.types import Json, UtcInstant, big_key, utc_now

__all__ = ["consumer_offsets", "offset_resets", "outbox", "parked_events", "set_aside_rows"]

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("payload", Json, nullable=False, doc="the whole event envelope"),
    sa.Column("created_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_outbox_type", "type"),
    sa.Index("ix_outbox_created_at", "created_at"),
    sa.Index("idx_outbox_type_created", "type", "created_at"),
    sqlite_autoincrement=True,
)

consumer_offsets = sa.Table(
    "consumer_offsets",
    metadata,
    sa.Column("consumer_id", sa.Text, primary_key=True),
    sa.Column("last_offset", sa.BigInteger, nullable=False, server_default="-1"),
    sa.Column("updated_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Column("epoch", sa.BigInteger, nullable=False, server_default="0", doc="rises with every claim and reset"),
    sa.Column("owner", Json, doc="host, pid and start of the process that consumes, and a token of its claim"),
    sa.Column("heartbeat_at", UtcInstant),
    sa.Column("succeeded_at", UtcInstant, doc="when the handler last succeeded"),
    sa.Column("failed_at", UtcInstant, doc="when the handler last failed"),
    sa.Column("error", sa.Text, doc="what it failed with"),
)

parked_events = sa.Table(
    "parked_events",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("consumer_id", sa.Text, nullable=False),
    sa.Column("event", sa.BigInteger, nullable=False, doc="the id in the outbox"),
    sa.Column("error", sa.Text, nullable=False, doc="what the handler last failed with"),
    sa.Column("tries", sa.BigInteger, nullable=False),
    sa.Column("parked_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Column("requested_at", UtcInstant, doc="when a replay was asked for"),
    sa.Column("replayed_at", UtcInstant, doc="when the handler took it after all"),
    sa.UniqueConstraint("consumer_id", "event", name="uq_parked_event"),
    sqlite_autoincrement=True,
)

offset_resets = sa.Table(
    "offset_resets",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("consumer_id", sa.Text, nullable=False),
    sa.Column("from_offset", sa.BigInteger, nullable=False),
    sa.Column("to_offset", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("reset_by", sa.Text, nullable=False, doc="user@host"),
    sa.Column("reset_at", UtcInstant, nullable=False, server_default=utc_now()),
    sqlite_autoincrement=True,
)

set_aside_rows = sa.Table(
    "set_aside_rows",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False, doc="the table"),
    sa.Column("content", sa.Text, nullable=False, doc="the whole row, as JSON"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("moved_at", UtcInstant, nullable=False, server_default=utc_now()),
    sqlite_autoincrement=True,
)
