"""The report of an ingest."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from walle.frames import BAR_CONFLICTS, COUNTS, INGESTED_FILES, REJECTED_BARS, no_rows

__all__ = ["FileOutcome", "IngestReport"]

_COUNTS = ("inserted", "updated", "corrected", "duplicates", "conflicts", "unfinished", "rejected")
_SELDOM = ("updated", "corrected", "unfinished")
"""Counts that are shown only where they are not 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileOutcome:
    """The outcome of one file: a row of :attr:`IngestReport.files`, with its columns."""

    path: str
    symbol: str | None = None
    timeframe: str | None = None
    rows: int = 0
    inserted: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    corrected: int = 0
    unfinished: int = 0
    skipped: bool = False
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestReport:
    """The outcome of an ingest; ``rows`` is the sum of its counts.

    Parameters
    ----------
    inserted : int
        Rows that are new in the store.
    updated : int
        Order snapshots that replaced an older one; always 0 for facts.
    duplicates : int
        Rows that were already stored with the same values.
    conflicts : int
        Rows that were already stored with other values; the stored ones stay.
    corrected : int
        Bars that were stored with other values, or unfinished, and have a further version now.
    unfinished : int
        Rows that were left out because their bars had not ended.
    rejected : int
        Rows that are not valid bars, orders, fills or cash flows.
    rejected_rows : polars.DataFrame
        For bars: row, symbol, timeframe, timestamp, open, high, low, close, volume, reason. For others: the columns of
        :data:`walle.frames.REJECTED_ORDERS`, ``REJECTED_FILLS`` and ``REJECTED_CASH_FLOWS``.
    conflict_rows : polars.DataFrame
        For bars: symbol, timeframe, timestamp, stored_open..stored_volume (the stored values, which stay; null if
        the bar was withdrawn), open..volume (the refused values); sorted. For others: the columns of
        :data:`walle.frames.ORDER_CONFLICTS`, ``FILL_CONFLICTS`` and ``CASH_FLOW_CONFLICTS``.
    outcomes : tuple of FileOutcome
        One for each file; see :attr:`files`.
    """

    inserted: int = 0
    updated: int = 0
    duplicates: int = 0
    conflicts: int = 0
    rejected: int = 0
    corrected: int = 0
    unfinished: int = 0
    rejected_rows: pl.DataFrame = field(default_factory=lambda: no_rows(REJECTED_BARS))
    conflict_rows: pl.DataFrame = field(default_factory=lambda: no_rows(BAR_CONFLICTS))
    outcomes: tuple[FileOutcome, ...] = ()

    @property
    def files(self) -> pl.DataFrame:
        """The outcome of each file.

        path, symbol, timeframe (null for several), rows, inserted, duplicates, conflicts, rejected, corrected,
        unfinished, skipped (whether it was ingested before), error (why it was refused); empty for an ingest of
        a frame.
        """
        rows = [dataclasses.asdict(outcome) for outcome in self.outcomes]
        return pl.DataFrame(rows, schema=INGESTED_FILES)

    @property
    def counts(self) -> dict[str, Any]:
        """The numbers of bars as they are stored with an ingest."""
        return {name: getattr(self, name) for name in COUNTS}

    @property
    def skipped(self) -> int:
        """The number of files that were ingested before."""
        return sum(outcome.skipped for outcome in self.outcomes)

    @property
    def rows(self) -> int:
        """The number of rows in the source."""
        return sum(getattr(self, name) for name in _COUNTS)

    @staticmethod
    def total(reports: Iterable[IngestReport]) -> IngestReport:
        """Add up reports.

        Their frames are concatenated; those of bars, orders and fills together have the columns of all of them.
        """
        given = list(reports)
        parts = [report for report in given if report.rows or report.outcomes] or given[:1]
        if len(parts) <= 1:
            return parts[0] if parts else IngestReport()
        return IngestReport(
            **{name: sum(getattr(part, name) for part in parts) for name in _COUNTS},
            rejected_rows=pl.concat([part.rejected_rows for part in parts], how="diagonal"),
            conflict_rows=pl.concat([part.conflict_rows for part in parts], how="diagonal"),
            outcomes=tuple(outcome for part in parts for outcome in part.outcomes),
        )

    def __repr__(self) -> str:
        """Show the counts in one line."""
        files, seldom = "", "".join(f"{getattr(self, name):,} {name}, " for name in _SELDOM if getattr(self, name))
        if self.outcomes:
            refused = sum(outcome.error is not None for outcome in self.outcomes)
            skipped = f", {self.skipped:,} ingested before" if self.skipped else ""
            files = "1 file" if len(self.outcomes) == 1 else f"{len(self.outcomes):,} files"
            files += f"{skipped}{f', {refused:,} refused' if refused else ''} (.files); "
        return (
            f"IngestReport({files}{self.rows:,} rows: {self.inserted:,} inserted, "
            f"{seldom}{self.duplicates:,} duplicates, "
            f"{self.conflicts:,} conflicts{' (.conflict_rows)' if self.conflicts else ''}, "
            f"{self.rejected:,} rejected{' (.rejected_rows)' if self.rejected else ''})"
        )

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td style='text-align:left'>{name}</td><td>{getattr(self, name):,}</td></tr>"
            for name in _COUNTS
            if getattr(self, name) or name not in _SELDOM
        )
        tables = ""
        for title, frame in (
            ("files", self.files.select(pl.col("path").str.split("/").list.last().alias("file"), pl.exclude("path"))),
            ("rejected_rows", self.rejected_rows),
            ("conflict_rows", self.conflict_rows),
        ):
            if frame.height:
                tables += f"<details><summary>{title}</summary>{frame.head(10)._repr_html_()}</details>"
        return f"<table><caption>Ingest of {self.rows:,} rows</caption>{cells}</table>{tables}"
