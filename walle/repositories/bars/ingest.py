"""Taking bars in: frames and files of any size, each in one transaction, with a record of where they came from."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.bars import IngestReport
from walle.bars.check import Checked, Refused, check_on_invalid, judge_bars
from walle.bars.files import BarReader, find_files
from walle.bars.ingest_source import (
    BarOptions,
    Fingerprint,
    explain,
    frames_of,
    is_files,
    is_records,
    open_file,
    series_of,
)
from walle.bars.phase import Phases, Series
from walle.bars.spans import join_spans, spans_of
from walle.database import Database
from walle.errors import FilesRefused, InputError
from walle.progress import Progress
from walle.reports import FileOutcome
from walle.repositories.bars.index import BarIndex
from walle.repositories.bars.neighbours import Neighbours, learn_markets
from walle.repositories.bars.provenance import SeriesRecords
from walle.repositories.bars.providers import Providers
from walle.repositories.bars.rescaling import refuse_rescaled
from walle.repositories.bars.write import BarWrites
from walle.validation import check_text

__all__ = ["BarIngest"]

log: logging.Logger = logging.getLogger("walle")

FEW = 1_000
"""Rows up to which an ingest leaves the summary of the index to its readers."""

Pages = Callable[[], Iterator[pl.DataFrame]]


@dataclass(slots=True, kw_only=True)
class _Intake:
    """One source on its way in."""

    reading: BarOptions
    provider: str | None
    strict: bool
    progress: Progress
    neighbours: Neighbours
    recorded: bool = True
    file: Fingerprint | None = None
    reader: BarReader | None = None
    phases: Phases = field(default_factory=Phases)
    seen: set[Series] = field(default_factory=set)
    series: set[Series] = field(default_factory=set)
    unrecorded: set[Series] = field(default_factory=set)
    refused: Refused = field(default_factory=Refused)
    rejected: list[pl.DataFrame] = field(default_factory=list)
    spans: list[pl.DataFrame] = field(default_factory=list)

    def opened(self, reader: BarReader) -> None:
        """Keep the reader, which knows what it could not read."""
        self.reader = reader

    @property
    def only(self) -> Series | tuple[None, None]:
        """The one series of the source."""
        return next(iter(self.series)) if len(self.series) == 1 else (None, None)

    @property
    def path(self) -> Path | None:
        """Its file, if it is one."""
        return None if self.file is None else self.file.path

    def record(self, report: IngestReport) -> dict[str, Any]:
        """Return the row of ``ingests``."""
        symbol, timeframe = self.only
        return {
            "source": "frame" if self.file is None else "file",
            "name": None if self.file is None else self.file.path.name,
            "checksum": None if self.file is None else self.file.checksum,
            "settings": self.reading.settings,
            "provider": self.provider,
            "symbol": symbol,
            "timeframe": timeframe,
            **report.counts,
        }


class BarIngest:
    """The way of bars into a store.

    Parameters
    ----------
    database : Database
    index : BarIndex
    records : SeriesRecords
    providers : Providers
    """

    def __init__(self, database: Database, index: BarIndex, records: SeriesRecords, providers: Providers) -> None:
        self._database, self._index, self._records, self._providers = database, index, records, providers

    async def ingest(
        self,
        source: object,
        symbol: str | None,
        timeframe: str | None,
        columns: Mapping[str, str | None] | None,
        timezone: str | None,
        on_invalid: str,
        provider: str | None,
        again: bool,
        progress: Progress | None,
        session: AsyncSession | None,
    ) -> IngestReport:
        """Store the bars of a source: all that are new."""
        check_on_invalid(on_invalid)
        if provider is not None:
            check_text(provider, "provider", maximum=200)
        intake = _Intake(
            reading=BarOptions(symbol=symbol, timeframe=timeframe, columns=columns, timezone=timezone),
            provider=provider,
            strict=on_invalid == "raise",
            progress=progress or Progress("rows"),
            neighbours=Neighbours(self._database, self._index),
            recorded=is_files(source) or not is_records(source),
        )
        await self._database.check_writable(session)
        if is_files(source):
            return await self._files(await self._database.in_thread(lambda: find_files(source)), intake, again, session)
        intake.progress.begin("bars")
        return await self._take(
            _PagesInThread(self._database, lambda: frames_of(source, intake.reading, intake.opened)), intake, session
        )

    async def _files(
        self, paths: Sequence[Path], intake: _Intake, again: bool, session: AsyncSession | None
    ) -> IngestReport:
        reports: list[IngestReport] = []
        errors: dict[Path, InputError] = {}
        for place, path in enumerate(paths, 1):
            intake.progress.begin(path.name if len(paths) == 1 else f"{path.name} ({place} of {len(paths)})")
            try:
                reports.append(await self._file(path, intake, again, session))
            except InputError as error:
                if len(paths) == 1:
                    raise
                errors[path] = error
                reports.append(IngestReport(outcomes=(FileOutcome(path=str(path), error=str(error)),)))
        report = IngestReport.total(reports)
        if errors:
            raise FilesRefused(report, errors)
        return report

    async def _file(self, path: Path, every: _Intake, again: bool, session: AsyncSession | None) -> IngestReport:
        file = await self._database.in_thread(lambda: Fingerprint.of(path))
        before = None if again else await self._records.ingested(file, every.reading.settings, session)
        if before is not None:
            log.info("%s was ingested on %s UTC, so it is skipped", path, f"{before:%Y-%m-%d %H:%M}")
            return IngestReport(outcomes=(FileOutcome(path=str(path), skipped=True),))
        intake = _Intake(
            reading=every.reading,
            provider=every.provider,
            strict=every.strict,
            progress=every.progress,
            neighbours=Neighbours(self._database, self._index),
            file=file,
        )

        def pages() -> Iterator[pl.DataFrame]:
            with open_file(path, intake.reading) as reader:
                intake.opened(reader)
                yield from reader
            file.check()

        opened = _PagesInThread(self._database, pages)
        try:
            report = await self._take(opened, intake, session)
        finally:
            opened.close()
        symbol, timeframe = intake.only
        return replace(
            report, outcomes=(FileOutcome(path=str(path), symbol=symbol, timeframe=timeframe, **report.counts),)
        )

    async def _take(self, pages: _PagesInThread, intake: _Intake, session: AsyncSession | None) -> IngestReport:
        writes = BarWrites(intake.provider or (intake.file.path.name if intake.file else None), intake.progress)
        async with aclosing(self._judged(pages, intake, session)) as parts, self._database.writer(session) as writer:
            if writer.dialect.stages_before_lock:
                async with writer.unlocked():
                    async for part in parts:
                        await writes.stage(writer, part)
            async with writer.transaction():
                async for part in parts:  # none is left where they were staged
                    await writes.insert(writer, part)
                report = await writes.finish(writer)
                if intake.rejected:
                    rejected = pl.concat(intake.rejected)
                    report = IngestReport.total(
                        [report, IngestReport(rejected=rejected.height, rejected_rows=rejected)]
                    )
                await self._records.record_series(
                    writer, intake.series & intake.unrecorded, intake.phases.known, intake.provider
                )
                await self._providers.settle(writer, intake.series, intake.provider)
                await refuse_rescaled(self._database, writer, report.conflict_rows, intake.spans)
                if report.inserted:  # what was there already, the index has
                    await intake.neighbours.check(
                        writer, intake.spans, intake.phases, intake.refused.total, intake.path, session
                    )
                    await self._index.add(writer, join_spans(pl.concat(intake.spans)), summed=report.rows > FEW)
                if intake.recorded and report.rows:
                    await self._records.record_ingest(writer, intake.record(report), report.rejected_rows)
        return report

    async def _judged(
        self, pages: _PagesInThread, intake: _Intake, session: AsyncSession | None
    ) -> AsyncGenerator[Checked, None]:
        """Yield the parts of a source whose rows are bars; a refusal comes at the end, and tells of all its rows.

        Raises
        ------
        InvalidBars
        """
        refused = intake.refused
        async for page in pages:
            checked = await self._judge(page, intake, session)
            refused.total += page.height
            if checked.early.height:
                refused.add(checked.early)
                break
            if intake.strict:
                refused.add(checked.rejected)
            elif checked.rejected.height:
                intake.rejected.append(checked.rejected)
            if not refused.rows:
                yield checked
        if refused.rows:
            raise refused.error(intake.path)

    async def _judge(self, page: pl.DataFrame, intake: _Intake, session: AsyncSession | None) -> Checked:
        first_row, phases = intake.refused.total, intake.phases
        found = (await self._database.in_thread(lambda: series_of(page))) - intake.seen
        intake.seen |= found
        intake.unrecorded |= await self._records.learn(phases, found, session)
        await intake.neighbours.learn(found, session)

        def judge() -> tuple[Checked, pl.DataFrame]:
            checked = judge_bars(page, phases, first_row=first_row)
            return checked, spans_of(checked.bars)

        checked, spans = await self._database.in_thread(judge)
        if checked.suspects - phases.markets.keys():
            await learn_markets(self._database, phases, checked.suspects, session)
            checked, spans = await self._database.in_thread(judge)
        checked, spans = await intake.neighbours.judge(checked, spans, page, phases, first_row, session)
        intake.series |= set(spans.select("symbol", "timeframe").iter_rows())
        intake.spans.append(spans)
        if intake.reader is not None and checked.rejected.height and intake.reader.unread:
            checked = replace(checked, rejected=explain(checked.rejected, intake.reader.unread))
        return checked


class _PagesInThread:
    """The pages of a source, read in a thread one after the other."""

    def __init__(self, database: Database, pages: Pages) -> None:
        self._database, self._lock, self._pages = database, Lock(), pages()
        self._closed = False

    def __aiter__(self) -> _PagesInThread:
        return self

    async def __anext__(self) -> pl.DataFrame:
        page = await self._database.in_thread(self._next)
        if page is None:
            raise StopAsyncIteration
        return page

    def _next(self) -> pl.DataFrame | None:
        with self._lock:
            page = next(self._pages, None)
        if self._closed:  # a cancelled caller has gone without waiting for this page
            self.close()
        return page

    def close(self) -> None:
        """Stop reading; where a page is still being read, when it is there."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._pages.close()  # type: ignore[attr-defined]  # a generator
            finally:
                self._lock.release()
