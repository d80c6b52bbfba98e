"""``store.bars``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from walle.bars import IngestReport
from walle.bars.grid import Cells
from walle.calendars import Calendar
from walle.records import Bar
from walle.repositories import BarRepository
from walle.repositories.common import Time
from walle.store.facade import Noun, mirrors

__all__ = ["Bars"]


class Bars(Noun[BarRepository]):
    """The bars of a store."""

    _name = "bars"
    _kind = BarRepository

    @mirrors(BarRepository.upsert)
    def ingest(
        self,
        source: object,
        *,
        symbol: str | None = None,
        timeframe: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        timezone: str | None = None,
        on_invalid: str = "raise",
        provider: str | None = None,
        again: bool = False,
        progress: bool | None = None,
    ) -> IngestReport:
        return self._call_long(
            progress,
            BarRepository.upsert,
            source,
            symbol=symbol,
            timeframe=timeframe,
            columns=columns,
            timezone=timezone,
            on_invalid=on_invalid,
            provider=provider,
            again=again,
        )

    @mirrors(BarRepository.ingests)
    def ingests(self) -> pl.DataFrame:
        return self._call(BarRepository.ingests)

    @mirrors(BarRepository.rejected)
    def rejected(self, ingest: int | None = None) -> pl.DataFrame:
        return self._call(BarRepository.rejected, ingest)

    @mirrors(BarRepository.read)
    def read(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        columns: Sequence[str] | None = None,
        require_complete: bool = False,
    ) -> pl.DataFrame:
        return self._call(
            BarRepository.read, symbol, timeframe, start, end, columns=columns, require_complete=require_complete
        )

    @mirrors(BarRepository.panel)
    def panel(
        self,
        symbols: str | Sequence[str],
        timeframe: str,
        field: str = "close",
        start: Time = None,
        end: Time = None,
    ) -> pl.DataFrame:
        return self._call(BarRepository.panel, symbols, timeframe, field, start, end)

    @mirrors(BarRepository.scan)
    def scan(self, symbol: str | Sequence[str], timeframe: str, start: Time = None, end: Time = None) -> pl.LazyFrame:
        return self._call(BarRepository.scan, symbol, timeframe, start, end)

    @mirrors(BarRepository.count)
    def count(self, symbol: str, timeframe: str, start: Time = None, end: Time = None) -> int:
        return self._call(BarRepository.count, symbol, timeframe, start, end)

    @mirrors(BarRepository.latest)
    def latest(self, symbol: str, timeframe: str) -> Bar:
        return self._call(BarRepository.latest, symbol, timeframe)

    @mirrors(BarRepository.series)
    def series(self) -> pl.DataFrame:
        return self._call(BarRepository.series)

    @mirrors(BarRepository.coverage)
    def coverage(
        self,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
    ) -> pl.DataFrame:
        return self._call(BarRepository.coverage, symbol, timeframe, start, end, calendar=calendar)

    @mirrors(BarRepository.coverage_by)
    def coverage_by(
        self,
        period: str,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
    ) -> pl.DataFrame:
        return self._call(BarRepository.coverage_by, period, symbol, timeframe, start, end, calendar=calendar)

    @mirrors(BarRepository.cells)
    def cells(
        self,
        period: str,
        symbol: str | Sequence[str] | None = None,
        timeframe: str | None = None,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
    ) -> Cells:
        return self._call(BarRepository.cells, period, symbol, timeframe, start, end, calendar=calendar)

    @mirrors(BarRepository.gaps)
    def gaps(
        self,
        symbol: str,
        timeframe: str,
        start: Time = None,
        end: Time = None,
        *,
        calendar: str | Calendar | None = None,
    ) -> pl.DataFrame:
        return self._call(BarRepository.gaps, symbol, timeframe, start, end, calendar=calendar)

    @mirrors(BarRepository.set_calendar)
    def set_calendar(self, symbol: str | Sequence[str], calendar: str | Calendar | None) -> None:
        self._call(BarRepository.set_calendar, symbol, calendar)

    @mirrors(BarRepository.calendars)
    def calendars(self) -> pl.DataFrame:
        return self._call(BarRepository.calendars)

    @mirrors(BarRepository.explain_gap)
    def explain_gap(
        self,
        symbol: str,
        start: Time,
        end: Time,
        reason: str,
        *,
        timeframe: str | None = None,
        author: str | None = None,
    ) -> None:
        self._call(BarRepository.explain_gap, symbol, start, end, reason, timeframe=timeframe, author=author)

    @mirrors(BarRepository.explanations)
    def explanations(self, symbol: str | Sequence[str] | None = None) -> pl.DataFrame:
        return self._call(BarRepository.explanations, symbol)

    @mirrors(BarRepository.conflicts)
    def conflicts(self, symbol: str | Sequence[str] | None = None, timeframe: str | None = None) -> pl.DataFrame:
        return self._call(BarRepository.conflicts, symbol, timeframe)
