"""Taking bars in: frames and files of any size, each in one transaction, with a record of where they came from."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import polars as pl
from sqlalchemy.ext.asyncio import AsyncSession

from walle.bars import IngestReport
from walle.bars.check import Checked, Refused, judge_bars
from walle.bars.extras import FurtherColumns, check_extra
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
from walle.bars.policy import IngestPolicy, longest, recent, unfinished_bars
from walle.bars.spans import join_spans, spans_of
from walle.bars.stamps import check_stamp
from walle.bars.versions import KEY
from walle.calendars import Calendar
from walle.database import Database, Writer
from walle.errors import FilesRefused, InputError, UnfinishedBars
from walle.notices import ContradictionWarning, UnfinishedBarsWarning, warn
from walle.progress import Progress
from walle.reports import FileOutcome
from walle.repositories.bars.as_of import database_clock
from walle.repositories.bars.calendars import keep_calendar, storable_calendar
from walle.repositories.bars.doubts import columns_of, refuse_sparse
from walle.repositories.bars.extras import ExtraRecords
from walle.repositories.bars.index import BarIndex
from walle.repositories.bars.neighbours import Neighbours
from walle.repositories.bars.openings import Openings
from walle.repositories.bars.provenance import SeriesRecords
from walle.repositories.bars.providers import Providers
from walle.repositories.bars.rescaling import refuse_rescaled
from walle.repositories.bars.write import BarWrites, Part
from walle.repositories.events.consumer_claims import whoami
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
    policy: IngestPolicy
    openings: Openings
    provider: str | None
    progress: Progress
    neighbours: Neighbours
    further: FurtherColumns
    source: str = "frame"
    given: object = None
    file: Fingerprint | None = None
    reader: BarReader | None = None
    phases: Phases = field(default_factory=Phases)
    seen: set[Series] = field(default_factory=set)
    series: set[Series] = field(default_factory=set)
    unrecorded: set[Series] = field(default_factory=set)
    refused: Refused = field(default_factory=Refused)
    rejected: list[pl.DataFrame] = field(default_factory=list)
    spans: list[pl.DataFrame] = field(default_factory=list)
    unfinished: int = 0
    clock: datetime | None = None

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
            "source": self.source,
            "name": None if self.file is None else self.file.path.name,
            "checksum": None if self.file is None else self.file.checksum,
            "settings": self.reading.settings,
            "provider": self.provider,
            "symbol": symbol,
            "timeframe": timeframe,
            **report.counts,
            "reason": self.policy.reason,
            "author": whoami(),
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
        policy: IngestPolicy,
        provider: str | None,
        again: bool,
        progress: Progress | None,
        session: AsyncSession | None,
        stamp: str = "open",
        calendar: str | Calendar | None = None,
        extra: Sequence[str] | str | None = None,
    ) -> IngestReport:
        """Store the bars of a source: all that are new."""
        market = None if calendar is None else await self._database.in_thread(partial(storable_calendar, calendar))
        if provider is not None:
            check_text(provider, "provider", maximum=200)
        reading = BarOptions(
            symbol=symbol,
            timeframe=timeframe,
            columns=columns,
            timezone=timezone,
            stamp=check_stamp(stamp),
            calendar=market,
            extra=check_extra(extra),
        )
        openings = Openings(self._database, reading)
        intake = _Intake(
            reading=reading,
            policy=policy,
            openings=openings,
            provider=provider,
            progress=progress or Progress("rows"),
            source="file" if is_files(source) else "records" if is_records(source) else "frame",
            given=source,
            neighbours=Neighbours(self._database, self._index, openings),
            further=reading.further,
        )
        await self._database.check_writable(session)
        if is_files(source):
            return await self._files(await self._database.in_thread(lambda: find_files(source)), intake, again, session)
        intake.progress.begin("bars")
        return await self._take(
            _PagesInThread(self._database, lambda: frames_of(source, reading, intake.further, intake.opened)),
            intake,
            session,
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
        plain = not again and every.policy.on_conflict == "keep"  # else a file that is known may still change something
        known = self._records.ingested(file, every.reading.settings, every.provider, session) if plain else None
        before = None if known is None else await known
        if before is not None:
            log.info("%s was ingested on %s UTC, so it is skipped", path, f"{before:%Y-%m-%d %H:%M}")
            return IngestReport(outcomes=(FileOutcome(path=str(path), skipped=True),))
        openings = Openings(self._database, every.reading)
        intake = _Intake(
            reading=every.reading,
            policy=every.policy,
            openings=openings,
            provider=every.provider,
            progress=every.progress,
            source=every.source,
            neighbours=Neighbours(self._database, self._index, openings),
            further=every.reading.further,
            file=file,
        )

        def pages() -> Iterator[pl.DataFrame]:
            with open_file(path, intake.reading, intake.further) as reader:
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
        source = intake.provider or (intake.file.path.name if intake.file else None)
        extras = ExtraRecords(intake.further)
        writes = BarWrites(source, intake.progress, intake.policy.on_conflict, intake.policy.reason, extras)
        async with aclosing(self._judged(pages, intake, session)) as parts, self._database.writer(session) as writer:
            if writer.dialect.stages_before_lock:
                async with writer.unlocked():
                    async for part in parts:
                        await writes.stage(writer, part)
            async with writer.transaction():
                async for part in parts:  # none is left where they were staged
                    await writes.insert(writer, part)
                report = await self._finish(writer, writes, intake, session)
        if intake.unfinished:
            bars = "1 bar has" if intake.unfinished == 1 else f"{intake.unfinished:,} bars have"
            warn(
                f"{bars} not ended yet, and {'was' if intake.unfinished == 1 else 'were'} left out "
                "(report.unfinished). Ingest them when they are whole, or store them as provisional ones with "
                "unfinished='keep'.",
                UnfinishedBarsWarning,
            )
        return report

    async def _finish(
        self, writer: Writer, writes: BarWrites, intake: _Intake, session: AsyncSession | None
    ) -> IngestReport:
        """Write what belongs to the bars: the index, what is known about their series, and the record of the ingest."""
        written = await writes.finish(writer)
        parts = [written.report, IngestReport(unfinished=intake.unfinished)]
        if intake.rejected:
            rejected = pl.concat(intake.rejected)
            parts.append(IngestReport(rejected=rejected.height, rejected_rows=rejected))
        report = IngestReport.total(parts)
        if intake.reading.calendar is not None:
            await keep_calendar(writer, {symbol for symbol, _ in intake.series}, intake.reading.calendar)
        await self._records.record_series(
            writer, intake.series & intake.unrecorded, intake.phases.known, intake.provider
        )
        await ExtraRecords(intake.further).record(writer, intake.series)  # before its rows are held with others
        await self._providers.settle(writer, intake.series, intake.provider)
        await refuse_rescaled(self._database, writer, report.conflict_rows, intake.spans)
        again = written.versions
        if again.height:  # a withdrawn one may be back
            again = again.filter(pl.col("close").is_not_null())
        if report.inserted or again.height:
            await intake.neighbours.check(
                writer, intake.spans, intake.phases, intake.refused.total, intake.path, session
            )
            spans = join_spans(pl.concat([written.spans, spans_of(again)])) if again.height else written.spans
            await self._index.add(writer, spans, summed=report.rows > FEW)
        kept = intake.source != "records" or report.inserted or written.versions.height
        if kept and report.rows:
            await self._records.record_ingest(writer, intake.record(report), written, report.rejected_rows)
        return report

    async def _judged(
        self, pages: _PagesInThread, intake: _Intake, session: AsyncSession | None
    ) -> AsyncGenerator[Part, None]:
        """Yield the parts of a source whose rows are bars; a refusal comes at the end, and tells of all its rows.

        Raises
        ------
        InvalidBars
        InputError
            For bars that lie as those of another timeframe do.
        """
        refused = intake.refused
        async for page in pages:
            checked, part = await self._judge(page, intake, session)
            refused.total += page.height
            if checked.early.height:
                refused.add(checked.early, checked.bars)
                break
            if intake.policy.strict:
                refused.add(checked.rejected, checked.bars)
            elif checked.rejected.height:
                intake.rejected.append(checked.rejected)
            if not refused.rows:
                yield part
        if refused.rows:
            raise refused.error(intake.path)
        if intake.source != "records":
            await self._doubt(intake, session)

    async def _doubt(self, intake: _Intake, session: AsyncSession | None) -> None:
        """Hold what a whole source says about its bars against the bars.

        Raises
        ------
        InputError

        Warns
        -----
        ContradictionWarning
        """
        await self._database.in_thread(intake.further.refuse_mixed)
        reader, path = intake.reader, None if intake.file is None else intake.file.path
        columns = columns_of(intake.given, intake.reading, reader)
        await refuse_sparse(
            self._database, intake.openings, intake.spans, intake.reading, reader, columns, path, session
        )
        for contradiction in [] if reader is None else reader.contradictions:
            warn(f"{path}: {contradiction}.", ContradictionWarning)

    async def _judge(self, page: pl.DataFrame, intake: _Intake, session: AsyncSession | None) -> tuple[Checked, Part]:
        first_row, phases = intake.refused.total, intake.phases
        found = (await self._database.in_thread(lambda: series_of(page))) - intake.seen
        intake.seen |= found
        intake.unrecorded |= await self._records.learn(phases, found, session)
        page = await intake.openings.of(page, intake.seen, phases, session)
        await intake.neighbours.learn(found, session)

        def judge() -> tuple[Checked, pl.DataFrame]:
            checked = judge_bars(page, phases, first_row=first_row)
            return checked, spans_of(checked.bars)

        checked, spans = await self._database.in_thread(judge)
        if await intake.openings.learn(phases, checked.suspects, session):
            checked, spans = await self._database.in_thread(judge)
        checked, spans = await intake.neighbours.judge(checked, spans, page, phases, first_row, session)
        if intake.reader is not None and checked.rejected.height and intake.reader.unread:
            checked = replace(checked, rejected=explain(checked.rejected, intake.reader.unread))
        part = await self._finished(Part(bars=checked.bars, repeats=checked.repeats, spans=spans), intake, session)
        intake.series |= set(part.spans.select("symbol", "timeframe").iter_rows())
        intake.spans.append(part.spans)
        return checked, part

    async def _finished(self, part: Part, intake: _Intake, session: AsyncSession | None) -> Part:
        """Leave out the bars that have not ended, or mark them.

        Raises
        ------
        UnfinishedBars
        """
        last = part.bars["timestamp"].max()
        if not isinstance(last, datetime) or last < datetime.now(UTC) - longest(part.bars):
            return part
        if intake.clock is None:
            intake.clock = await database_clock(self._database, session)
        late = recent(part.bars, intake.clock)
        if late.is_empty():
            return part
        markets = await intake.openings.markets(set(late["symbol"]), session)
        limit = intake.clock + intake.policy.clock_skew
        unfinished = await self._database.in_thread(lambda: unfinished_bars(late, markets, limit))
        if unfinished.is_empty():
            return part
        if intake.policy.unfinished == "raise":
            error = UnfinishedBars.of(unfinished, intake.clock)
            raise error
        if intake.policy.unfinished == "keep":
            return replace(part, unfinished=unfinished)
        bars, repeats = (
            rows.join(unfinished, on=KEY, how="anti", maintain_order="left") for rows in (part.bars, part.repeats)
        )
        intake.unfinished += part.bars.height + part.repeats.height - bars.height - repeats.height
        return Part(bars=bars, repeats=repeats, spans=spans_of(bars))


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
