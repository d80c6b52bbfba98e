"""The HTML form of a store in a notebook."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from walle.errors import WalleError

if TYPE_CHECKING:
    from walle.store.core import Store

__all__ = ["html_of"]

_SERIES, _RUNS = 10, 5
_TEXT = 120


def html_of(store: Store) -> str:
    """Return a summary of a store: its address without a password, its revision, its series and its latest runs.

    Values from the database appear only as escaped text. A part that cannot be read shows the reason.
    """
    title = f"<p><b>{_text(repr(store), 600)}</b></p>"
    if not store.durable or store.closed:
        return title
    try:
        return title + _holds(store)
    except WalleError as error:
        return f"{title}<p>{_text(str(error), 600)}</p>"


def _holds(store: Store) -> str:
    status = store.status()
    series, runs = store.bars.series(), store.runs.read()
    late = "" if status.revision == status.head else f", and this WallE works with {status.head}"
    guards = f", guards {status.guards}" if status.guards != "in place" else ""
    if status.missing_guards:
        guards += f": {', '.join(status.missing_guards)}"
    counts = [
        f"{series.height:,} series",
        f"{int(series['bars'].sum()):,} bars",
        f"{runs.height:,} runs",
        f"{int(runs['orders'].sum()):,} orders and {int(runs['fills'].sum()):,} fills of them",
    ]
    page = f"<p>{_text(status.database)}, revision {_text(str(status.revision))}{_text(late + guards, 600)}</p>"
    page += f"<p>{', '.join(counts)}</p>"
    if series.height:
        page += _table(series.with_columns(pl.col("first", "last").dt.strftime("%Y-%m-%d %H:%M")).head(_SERIES))
        page += _more(series.height, _SERIES, "series")
    if runs.height:
        latest = runs.sort("created_at", "id", descending=[True, False]).head(_RUNS)
        columns = ("id", "strategy_id", "mode", "status", "started_at", "orders", "fills")
        page += _table(latest.select(columns).with_columns(pl.col("started_at").dt.strftime("%Y-%m-%d %H:%M")))
        page += _more(runs.height, _RUNS, "runs")
    return page


def _more(count: int, shown: int, what: str) -> str:
    return f"<p><small>and {count - shown:,} more {what}</small></p>" if count > shown else ""


def _table(frame: pl.DataFrame) -> str:
    kinds = [kind.is_numeric() for kind in frame.dtypes]
    body = "".join(f"<tr>{_cells(row, kinds)}</tr>" for row in frame.iter_rows())
    head = "".join(f"<th>{_text(name)}</th>" for name in frame.columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cells(row: Sequence[object], numeric: list[bool]) -> str:
    return "".join(
        f'<td style="text-align: {"right" if right else "left"}">{_text(_formatted(value))}</td>'
        for value, right in zip(row, numeric, strict=True)
    )


def _formatted(value: object) -> str:
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _text(text: str, most: int = _TEXT) -> str:
    """Return an escaped text of limited length, without control characters."""
    kept = text if len(text) <= most else f"{text[: most - 1]}\u2026"
    return html.escape("".join(sign if sign.isprintable() else "\ufffd" for sign in kept))
