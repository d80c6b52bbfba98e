"""The static form of ``OutboxView``: the newest events and the consumers, as tables."""

from __future__ import annotations

import html

import polars as pl

from walle.widgets.escape import html_table, text_of, text_table
from walle.widgets.view import Static

__all__ = ["CONSUMER_TITLES", "EVENT_TITLES", "consumers_table", "events_table", "static_of"]

EVENT_TITLES = ("offset", "time (UTC)", "type", "run", "correlation", "payload")
CONSUMER_TITLES = ("consumer", "state", "offset", "lag", "lag, s", "parked", "heartbeat", "last error")
_ROWS = 12
_PAYLOAD = 120


def events_table(events: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of a table of events."""
    time, payload = pl.coalesce("ts", "created_at").alias("time"), pl.col("payload").str.slice(0, _PAYLOAD)
    return events.select("offset", time, "type", "run_id", "corr_id", payload)


def consumers_table(consumers: pl.DataFrame) -> pl.DataFrame:
    """Return the columns of a table of consumers."""
    seconds, error = pl.col("lag_seconds").round(1), pl.col("error").str.slice(0, _PAYLOAD)
    return consumers.select("consumer_id", "state", "offset", "lag", seconds, "parked", "heartbeat_at", error)


def static_of(summary: str, events: pl.DataFrame, consumers: pl.DataFrame) -> Static:
    """Return the static form.

    Parameters
    ----------
    summary : str
    events, consumers : polars.DataFrame
        As :func:`events_table` and :func:`consumers_table` return them.
    """
    few = events.head(_ROWS)
    pages, texts = [f"<p><strong>Outbox</strong>: {html.escape(text_of(summary))}</p>"], [f"OutboxView: {summary}"]
    for frame, titles in ((few, EVENT_TITLES), (consumers.head(_ROWS), CONSUMER_TITLES)):
        if frame.height:
            pages.append(html_table(frame, dict(zip(frame.columns, titles, strict=True))))
            texts.append(text_table(frame.with_columns(pl.selectors.string().str.slice(0, 40)), titles))
    return Static("\n".join(texts), "".join(pages))
