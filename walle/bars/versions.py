"""Versions of bars: which of them holds, and what an ingest that brings other values makes of it.

The first version of a bar is a row of ``bars`` and never changes; further ones are rows of ``bar_versions``. The newest
one holds; one without values says that there is no bar. A *provisional* version was stored before its bar had ended,
and the next ingest replaces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from walle.bars.extras import laid_over
from walle.bars.phase import Series
from walle.enums import OHLCV
from walle.frames import BAR_CONFLICTS, BARS, CONFLICT_EXTRAS, INSTANT

__all__ = [
    "CANDIDATES",
    "CONFLICTS",
    "KEY",
    "NEWEST",
    "UNFINISHED",
    "VALUES",
    "VERSION",
    "Decision",
    "decide",
    "hold_against",
    "overlay",
    "without_empty_extras",
]

KEY = ("symbol", "timeframe", "timestamp")

VALUES = (*OHLCV, "extra")
"""What a version says of a bar."""

VERSION = pl.Schema({**BARS, "extra": pl.String(), "provisional": pl.Boolean(), "reason": pl.String()})
"""One row is a further version of a bar, in the order in which they come; values are null where it was withdrawn. Its
further columns are the JSON text of an object."""

NEWEST = pl.Schema({**BARS, "extra": pl.String(), "provisional": pl.Boolean()})
"""One row is the newest further version of a bar, by key once."""

CONFLICTS = pl.Schema({**BAR_CONFLICTS, **CONFLICT_EXTRAS})
"""One row is a conflict, with its further columns."""

CANDIDATES = pl.Schema({**CONFLICTS, "place": pl.Int64()})
"""One row is a row of a source whose bar is stored: the values that hold, and its own; ``place`` is its place among
them."""

UNFINISHED = "stored before it had ended"
FINISHED = "the bar has ended since"
ADDED = "further columns"


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of the rows of a source whose bars are stored.

    Parameters
    ----------
    versions : polars.DataFrame
        Columns of ``VERSION``: what is appended.
    conflicts : polars.DataFrame
        Columns of ``CONFLICTS``: what is refused.
    """

    versions: pl.DataFrame
    conflicts: pl.DataFrame


def hold_against(
    candidates: pl.DataFrame, newest: pl.DataFrame, kinds: Mapping[Series, Mapping[str, str]]
) -> pl.DataFrame:
    """Put the newest versions in the place of the first ones, and lay the further columns over theirs.

    Parameters
    ----------
    candidates : polars.DataFrame
        Columns of ``CANDIDATES``, with the values of the first versions.
    newest : polars.DataFrame
        Columns of ``NEWEST``.
    kinds : mapping
        The further columns of each series, and their kinds.

    Returns
    -------
    polars.DataFrame
        Columns of ``CANDIDATES`` (null where the bar was withdrawn), ``provisional``; ``said``: the further columns of
        the row itself; and ``adds``: whether it has some which the bar that holds has not, and no other ones.
    """
    later = newest.rename({name: f"_{name}" for name in VALUES}).with_columns(versioned=True)
    joined = candidates.join(later, on=KEY, how="left", maintain_order="left")
    there = pl.col("versioned").fill_null(False)
    held = joined.with_columns(
        pl.col("provisional").fill_null(False),
        *(pl.when(there).then(f"_{name}").otherwise(f"stored_{name}").alias(f"stored_{name}") for name in VALUES),
        adds=pl.lit(False),
        said=pl.col("extra"),
    ).select(*CANDIDATES, "provisional", "said", "adds")
    if held["said"].null_count() == held.height:
        return held.with_columns(extra="stored_extra")
    groups: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for series in held.select("symbol", "timeframe").unique(maintain_order=True).iter_rows():
        groups.setdefault(tuple(sorted(kinds.get(series, {}).items())), []).append(series)
    if len(groups) == 1:
        return _laid(held, dict(next(iter(groups))))
    named = pl.DataFrame(
        [(*series, number) for number, group in enumerate(groups.values()) for series in group],
        schema={"symbol": pl.String(), "timeframe": pl.String(), "group": pl.Int64()},
        orient="row",
    )
    placed = held.with_row_index("at").join(named, on=["symbol", "timeframe"], how="left", maintain_order="left")
    parts = [_laid(placed.filter(group=number), dict(group)) for number, group in enumerate(groups)]
    return pl.concat(parts).sort("at").drop("at", "group")


def _laid(held: pl.DataFrame, kinds: Mapping[str, str]) -> pl.DataFrame:
    if not kinds:
        return held.with_columns(extra="stored_extra")
    laid = laid_over(held["stored_extra"], held["said"], kinds)
    return held.with_columns(laid["stored"].alias("stored_extra"), laid["said"], laid["extra"], laid["adds"])


def decide(rows: pl.DataFrame, unfinished: pl.DataFrame, reason: str | None) -> Decision:
    """Decide what becomes of rows whose bars are stored; rows that equal what holds are neither version nor conflict.

    Parameters
    ----------
    rows : polars.DataFrame
        As :func:`hold_against` returns them.
    unfinished : polars.DataFrame
        The columns of ``KEY`` of bars that have not ended yet.
    reason : str or None
        Why other values are right; None: those that hold stay, and the others are conflicts.
    """
    marked = unfinished.select(*KEY, unfinished=True)
    ordered = rows.sort(*KEY, "place").join(marked, on=KEY, how="left", maintain_order="left")
    first, corrects = pl.int_range(pl.len()).over(KEY) == 0, pl.lit(reason is not None)
    alike = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"stored_{name}")) for name in OHLCV)
    ordered = ordered.with_columns(adds=pl.col("adds") & alike)
    ordered = ordered.with_columns(adds=pl.col("adds") & (pl.col("adds").cum_sum().over(KEY) == 1))
    added = pl.when("adds").then("extra").forward_fill().shift(1).over(KEY)
    # what holds when a row comes
    before = [
        pl.when(first)
        .then(f"stored_{name}")
        .when(corrects)
        .then(pl.col(name).shift(1).over(KEY))
        .when("provisional")
        .then(pl.col(name).first().over(KEY))
        .otherwise(pl.coalesce(added, "stored_extra") if name == "extra" else pl.col(f"stored_{name}"))
        .alias(f"stored_{name}")
        for name in VALUES
    ]
    judged = ordered.with_columns(pl.col("unfinished").fill_null(False), *before, first=first).with_columns(
        same=pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"stored_{name}")) for name in VALUES)
    )
    replaces = pl.col("provisional") & pl.col("first") & ~(pl.col("same") & pl.col("unfinished"))
    judged = judged.with_columns(replaces=replaces).with_columns(
        version=pl.col("replaces") | (corrects & ~pl.col("same")) | pl.col("adds")
    )
    versions = judged.filter("version").select(
        *BARS,
        "extra",
        provisional="unfinished",
        reason=pl.when(~pl.col("replaces"))
        .then(pl.lit(ADDED if reason is None else reason))
        .when("unfinished")
        .then(pl.lit(UNFINISHED))
        .otherwise(pl.lit(FINISHED)),
    )
    conflicts = judged.filter(~pl.col("same") & ~pl.col("version"))
    refused = conflicts.with_columns(extra="said").select(list(CONFLICTS)).cast(CONFLICTS)
    return Decision(versions.cast(VERSION), refused)


def overlay(bars: pl.DataFrame, newest: pl.DataFrame, unknown: pl.DataFrame) -> pl.DataFrame:
    """Return bars as their newest versions have them.

    Parameters
    ----------
    bars : polars.DataFrame
        symbol, timestamp and any values of bars of one timeframe: first versions, sorted.
    newest : polars.DataFrame
        Columns of ``NEWEST``, of the same timeframe.
    unknown : polars.DataFrame
        symbol, timestamp: bars that are left out, because they came later.

    Returns
    -------
    polars.DataFrame
        Columns of ``bars``, sorted by symbol and timestamp.
    """
    place = ["symbol", "timestamp"]
    gone = pl.concat([unknown.select(place), newest.filter(pl.col("close").is_null()).select(place)])
    names = [name for name in bars.columns if name in VALUES]
    changed = newest.filter(pl.col("close").is_not_null())
    if gone.height:
        bars = _without(bars, gone)
    if changed.is_empty():
        return bars
    there = changed.select(*place, *names).join(bars.select(place), on=place, how="semi")
    rest = _without(bars, there)
    return pl.concat([rest, there.select(bars.columns)]).sort(place)


def without_empty_extras(conflicts: pl.DataFrame) -> pl.DataFrame:
    """Return conflicts without the columns of further columns, if none has any."""
    empty = all(conflicts[name].null_count() == conflicts.height for name in CONFLICT_EXTRAS)
    return conflicts.drop(list(CONFLICT_EXTRAS)) if empty else conflicts


def _without(bars: pl.DataFrame, keys: pl.DataFrame) -> pl.DataFrame:
    if bars["symbol"].n_unique() == 1:  # an index lookup, rather than a join of texts
        times = keys.filter(pl.col("symbol") == bars["symbol"][0])["timestamp"].cast(INSTANT)
        return bars.filter(~pl.col("timestamp").is_in(times.implode()))
    return bars.join(keys, on=["symbol", "timestamp"], how="anti", maintain_order="left")
