"""The tables of bars, and of what is known about them."""

from __future__ import annotations

import sqlalchemy as sa

from walle.enums import OHLCV
from walle.models.schema import metadata
from walle.types import Json, UtcInstant, big_key, utc_now

__all__ = [
    "bar_conflicts",
    "bar_extras",
    "bar_index",
    "bar_ingests",
    "bar_series",
    "bar_versions",
    "bars",
    "explained_gaps",
    "ingests",
    "provider_changes",
    "rejected_bars",
    "symbol_calendars",
]

bars = sa.Table(
    "bars",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("timestamp", UtcInstant, nullable=False, doc="the opening time"),
    *(sa.Column(name, sa.Double, nullable=False) for name in OHLCV),
    sa.UniqueConstraint("symbol", "timeframe", "timestamp", name="uq_bar"),
    sqlite_autoincrement=True,
)

bar_extras = sa.Table(
    "bar_extras",
    metadata,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column("timestamp", UtcInstant, primary_key=True),
    sa.Column("extra", Json, nullable=False, doc="the further columns of the first version of a bar, by name"),
)

bar_versions = sa.Table(
    "bar_versions",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True, doc="a later version has a higher one"),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("timestamp", UtcInstant, nullable=False),
    *(sa.Column(name, sa.Double, doc="null: withdrawn") for name in OHLCV),
    sa.Column("extra", Json),
    sa.Column("provisional", sa.Boolean, nullable=False, doc="stored before the bar had ended"),
    sa.Column("ingest", sa.BigInteger, nullable=False, doc="the id in ingests"),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_bar_versions_bar", "symbol", "timeframe", "timestamp"),
    sqlite_autoincrement=True,
)

bar_ingests = sa.Table(
    "bar_ingests",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("ingest", sa.BigInteger, nullable=False, doc="the id in ingests"),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("bars", sa.BigInteger, nullable=False, doc="how many it brought"),
    sa.Column("runs", sa.LargeBinary, nullable=False, doc="their opening times, packed"),
    sa.Index("ix_bar_ingests_series", "symbol", "timeframe", "ingest"),
    sqlite_autoincrement=True,
)

bar_conflicts = sa.Table(
    "bar_conflicts",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("timestamp", UtcInstant, nullable=False),
    *(sa.Column(f"stored_{name}", sa.Double, doc="null: withdrawn") for name in OHLCV),
    *(sa.Column(name, sa.Double, nullable=False) for name in OHLCV),
    sa.Column("source", sa.Text, doc="where the refused version came from"),
    sa.Column("detected_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Column("stored_extra", Json),
    sa.Column("extra", Json),
    sa.UniqueConstraint("symbol", "timeframe", "timestamp", *OHLCV, name="uq_bar_conflict"),
    sqlite_autoincrement=True,
)

bar_series = sa.Table(
    "bar_series",
    metadata,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("timeframe", sa.Text, primary_key=True),
    sa.Column(
        "phase",
        sa.BigInteger,
        doc="microseconds after the clock's grid at which its bars open; of weeks, and of several days or months, from "
        "1970-01-01 to the first day of a period from there on; null for 1d, for 1M and for weeks from Monday",
    ),
    sa.Column("provider", sa.Text, doc="who delivers it"),
    sa.Column("columns", Json, doc="its columns beside OHLCV, and their types"),
)

provider_changes = sa.Table(
    "provider_changes",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("provider", sa.Text, nullable=False),
    sa.Column("previous", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("recorded_at", UtcInstant, nullable=False, server_default=utc_now()),
    sqlite_autoincrement=True,
)

bar_index = sa.Table(
    "bar_index",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, nullable=False),
    sa.Column("first", UtcInstant, nullable=False, doc="no opening time that this row tells of is earlier"),
    sa.Column("last", UtcInstant, nullable=False, doc="nor later"),
    sa.Column("bars", sa.BigInteger, nullable=False, doc="how many opening times it tells of; in a mark: of writes"),
    sa.Column("runs", sa.LargeBinary, doc="the opening times, packed; null: a mark of bars yet to be looked at"),
    sa.Column("expected", sa.BigInteger, doc="the summary for 24/7, as of these bars alone"),
    sa.Column("missing", sa.BigInteger),
    sa.Column("gaps", sa.BigInteger),
    sa.Column("longest_gap", sa.BigInteger),
    sa.Column("unexpected", sa.BigInteger, doc="never null but in a mark of bars that the index did not hold"),
    sa.Index("ix_bar_index_series", "symbol", "timeframe"),
    sqlite_autoincrement=True,
)

symbol_calendars = sa.Table(
    "symbol_calendars",
    metadata,
    sa.Column("symbol", sa.Text, primary_key=True),
    sa.Column("calendar", sa.Text, nullable=False),
    sa.Column("sessions", Json, doc="of a calendar of one's own"),
    sa.Column("set_at", UtcInstant, nullable=False, server_default=utc_now()),
)

explained_gaps = sa.Table(
    "explained_gaps",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("timeframe", sa.Text, doc="null: every timeframe"),
    sa.Column("starts_at", UtcInstant, nullable=False),
    sa.Column("ends_at", UtcInstant, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("author", sa.Text, nullable=False),
    sa.Column("explained_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Index("ix_explained_gaps_symbol", "symbol", "starts_at"),
    sqlite_autoincrement=True,
)

ingests = sa.Table(
    "ingests",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False, doc="file, frame, records, accept, withdraw or noticed"),
    sa.Column("name", sa.Text, doc="of the file"),
    sa.Column("checksum", sa.Text, doc="SHA-256 of the file"),
    sa.Column("settings", Json, doc="what the caller said about the rows"),
    sa.Column("provider", sa.Text),
    sa.Column("symbol", sa.Text, doc="null: several"),
    sa.Column("timeframe", sa.Text, doc="null: several"),
    sa.Column("rows", sa.BigInteger, nullable=False),
    sa.Column("inserted", sa.BigInteger, nullable=False),
    sa.Column("duplicates", sa.BigInteger, nullable=False),
    sa.Column("conflicts", sa.BigInteger, nullable=False),
    sa.Column("rejected", sa.BigInteger, nullable=False),
    sa.Column("ingested_at", UtcInstant, nullable=False, server_default=utc_now()),
    sa.Column("corrected", sa.BigInteger, doc="bars of which it brought a further version"),
    sa.Column("unfinished", sa.BigInteger, doc="rows that were left out because their bars had not ended"),
    sa.Column("reason", sa.Text),
    sa.Column("author", sa.Text),
    sa.Index("ix_ingests_checksum", "checksum"),
    sa.Index("ix_ingests_time", "ingested_at"),
    sqlite_autoincrement=True,
)

rejected_bars = sa.Table(
    "rejected_bars",
    metadata,
    sa.Column("id", big_key(), primary_key=True, autoincrement=True),
    sa.Column("ingest", sa.BigInteger, nullable=False, doc="the id in ingests"),
    sa.Column("row", sa.BigInteger, nullable=False, doc="its place in the source, from 0"),
    sa.Column("symbol", sa.Text),
    sa.Column("timeframe", sa.Text),
    sa.Column("timestamp", UtcInstant),
    *(sa.Column(name, sa.Double) for name in OHLCV),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Index("ix_rejected_bars_ingest", "ingest"),
    sqlite_autoincrement=True,
)
