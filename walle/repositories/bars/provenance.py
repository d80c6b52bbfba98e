"""Records about series of bars and their sources: phases, providers, ingests and refused rows."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.coverage import own_phase
from walle.bars.files.find import split_name
from walle.bars.files.names import name_facts
from walle.bars.ingest_source import Fingerprint
from walle.bars.phase import Phases, Series
from walle.bars.versions import KEY, without_empty_extras
from walle.calendars import MONDAY
from walle.database import Database, Writer
from walle.enums import OHLCV
from walle.errors import DatabaseBusy, InputError
from walle.frames import CONFLICT_EXTRAS, INGESTS, INSTANT, KEPT_REJECTED, STORED_CONFLICTS, no_rows
from walle.repositories.bars.append import add_times, add_versions, enter
from walle.repositories.bars.extras import stored_columns
from walle.repositories.bars.series import symbol_list
from walle.repositories.bars.write import Written
from walle.repositories.common import IN_LIST, one_of
from walle.repositories.select import expression, read
from walle.timeframe import TIMEFRAMES, check_timeframe, has_anchor, is_calendar
from walle.types import holds, wire
from walle.validation import MICROSECOND, json_text

__all__ = ["SeriesRecords"]

_ROWS_AT_ONCE = 10_000
_REJECTED = [column.name for column in models.rejected_bars.columns if column.name != "id"]


class SeriesRecords:
    """The records of series, ingests, refused rows and conflicts.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recorded: dict[Series, int | None] = {}  # a phase never changes once it is committed

    async def learn(self, phases: Phases, wanted: Collection[Series], session: AsyncSession | None) -> set[Series]:
        """Add to ``phases`` the recorded or stored phases of some series; return the series without a record.

        Parameters
        ----------
        phases : Phases
        wanted : collection of (symbol, timeframe)
        session : AsyncSession, optional
            Read what its transaction sees.
        """
        unknown = {series for series in wanted if series not in self._recorded}
        recorded = {series: self._recorded[series] for series in wanted if series in self._recorded}
        if unknown:
            found = await self._phases(unknown, session)
            recorded |= found
            if session is None:
                self._recorded |= found
            if unknown - found.keys():
                phases.known |= await self._stored_phases(unknown - found.keys(), session)
        phases.known |= {series: MONDAY for series in recorded if series[1] == "1w"}
        phases.known |= {series: phase for series, phase in recorded.items() if phase is not None}
        return unknown - recorded.keys()

    async def _phases(self, wanted: Collection[Series], session: AsyncSession | None) -> dict[Series, int | None]:
        table = models.bar_series
        schema = {"symbol": pl.String(), "timeframe": pl.String(), "phase": pl.Int64()}
        statement = sa.select(table.c.symbol, table.c.timeframe, table.c.phase).where(*_among(table, wanted))
        rows = (await self._database.fetch(statement, schema, session)).iter_rows()
        return {(symbol, timeframe): phase for symbol, timeframe, phase in rows if (symbol, timeframe) in wanted}

    async def _stored_phases(self, wanted: Collection[Series], session: AsyncSession | None) -> dict[Series, int]:
        table = models.bar_index
        columns = [expression(self._database, table, name) for name in ("symbol", "timeframe", "first")]
        schema = pl.Schema({"symbol": pl.String(), "timeframe": pl.String(), "first": INSTANT})
        found = await read(self._database, sa.select(*columns).where(*_among(table, wanted)), schema, session)
        return {
            (symbol, timeframe): own_phase(pl.Series([first], dtype=INSTANT), timeframe) // MICROSECOND
            for symbol, timeframe, first in found.sort("first", descending=True).iter_rows()
            if (symbol, timeframe) in wanted
            and (has_anchor(timeframe) or (timeframe in TIMEFRAMES and not is_calendar(timeframe)))
        }

    async def record_series(
        self, writer: Writer, new: Iterable[Series], phases: Mapping[Series, int], provider: str | None
    ) -> None:
        """Record the phase and provider of series that had no record.

        Raises
        ------
        DatabaseBusy
            If another writer records another phase at the same moment.
        """
        wanted = sorted(new)
        if not wanted:
            return
        rows = [
            {"symbol": symbol, "timeframe": timeframe, "phase": _kept(phases, symbol, timeframe), "provider": provider}
            for symbol, timeframe in wanted
        ]
        insert = (
            "INSERT INTO bar_series (symbol, timeframe, phase, provider) "
            "VALUES (:symbol, :timeframe, :phase, :provider) ON CONFLICT (symbol, timeframe) DO NOTHING"
        )
        await writer.execute(sa.text(insert), rows)
        table = models.bar_series
        statement = sa.select(table.c.symbol, table.c.timeframe, table.c.phase).where(*_among(table, wanted))
        stored = {(row.symbol, row.timeframe): row.phase for row in await writer.execute(statement)}
        for symbol, timeframe in wanted:
            if stored[symbol, timeframe] != _kept(phases, symbol, timeframe):
                raise DatabaseBusy(
                    f"another writer began the series {symbol} {timeframe} at the same moment, with bars that open "
                    "at another phase. Check both sources, and try again."
                )

    async def ingested(
        self, file: Fingerprint, settings: Mapping[str, Any], provider: str | None, session: AsyncSession | None
    ) -> datetime | None:
        """Return when a file was ingested with the same settings, under a name that means the same series."""
        table = models.ingests
        schema = pl.Schema({"name": pl.String(), "settings": pl.String(), "ingested_at": INSTANT})
        series = _named(file.path.name, settings)
        columns = [expression(self._database, table, name) for name in schema]
        statement = sa.select(*columns).where(table.c.checksum == file.checksum).order_by(table.c.id)
        if provider is not None:  # another one has to be held against the provider of the series
            statement = statement.where(table.c.provider == provider)
        for name, text, moment in (await read(self._database, statement, schema, session)).iter_rows():
            if json.loads(text or "{}") == settings and _named(name, settings) == series:
                return moment.replace(tzinfo=UTC)  # type: ignore[no-any-return]  # a datetime of the frame
        return None

    async def record_ingest(
        self, writer: Writer, record: Mapping[str, Any], written: Written, rejected: pl.DataFrame
    ) -> None:
        """Record an ingest: its bars, the versions that it brought, and the rows that it refused.

        Parameters
        ----------
        writer : Writer
        record : mapping
            The row of ``ingests``.
        written : Written
        rejected : polars.DataFrame
            Columns of ``REJECTED_BARS``.
        """
        number = await enter(writer, record)
        await add_times(writer, number, written.spans)
        await add_versions(writer, number, written.versions, str(record["author"]))
        if rejected.is_empty():
            return
        kept = rejected.with_columns(
            pl.lit(number).alias("ingest"),
            pl.col(pl.Float64).fill_nan(None),
            # databases hold neither of these
            pl.col("symbol").str.replace_all("\0", "\ufffd", literal=True),
            pl.when(pl.col("timestamp").dt.year().is_between(1, 9999)).then("timestamp"),
        )
        for part in kept.select(_REJECTED).iter_slices(_ROWS_AT_ONCE):
            await writer.execute(sa.insert(models.rejected_bars), part.rows(named=True))

    async def ingests(self, session: AsyncSession | None) -> pl.DataFrame:
        """List the ingests: columns of ``INGESTS``."""
        table = models.ingests
        if not self._database.has(table):
            return no_rows(INGESTS)
        columns = [expression(self._database, table, name) for name in INGESTS]
        found = (await read(self._database, sa.select(*columns), INGESTS, session)).sort("id")
        # PostgreSQL changes the spaces and the order of JSON
        forms = {
            text: json_text(dict(sorted(json.loads(text).items()))) for text in found["settings"].unique().drop_nulls()
        }
        return found.with_columns(pl.col("settings").replace(forms)) if forms else found

    async def rejected(self, ingest: int | None, session: AsyncSession | None) -> pl.DataFrame:
        """List the refused rows: columns of ``KEPT_REJECTED``.

        Raises
        ------
        InputError
        """
        if ingest is not None and (isinstance(ingest, bool) or not isinstance(ingest, int)):
            raise InputError(f"ingest={ingest!r} is not the id of an ingest: store.bars.ingests() lists them.")
        table, ingests = models.rejected_bars, models.ingests
        if not self._database.has(table):
            return no_rows(KEPT_REJECTED)
        columns = [expression(self._database, ingests if name == "name" else table, name) for name in KEPT_REJECTED]
        statement = sa.select(*columns).join_from(table, ingests, table.c.ingest == ingests.c.id)
        if ingest is not None:
            statement = statement.where(table.c.ingest == ingest)
        return (await read(self._database, statement, KEPT_REJECTED, session)).sort("ingest", "row")

    async def conflicts(
        self, symbol: str | Sequence[str] | None, timeframe: str | None, session: AsyncSession | None
    ) -> pl.DataFrame:
        """List the bars that were ingested again with other values.

        The columns are those of ``STORED_CONFLICTS``, and of ``CONFLICT_EXTRAS`` if a conflict has any.
        """
        table = models.bar_conflicts
        conditions = _of_series(table, symbol, timeframe)
        if not self._database.has(table):
            return no_rows(STORED_CONFLICTS)
        whole = pl.Schema({**STORED_CONFLICTS, **CONFLICT_EXTRAS})
        columns = {name: expression(self._database, table, name) for name in whole if name != "accepted_at"}
        columns["accepted_at"] = self._accepted_at()
        statement = sa.select(*(columns[name] for name in whole)).where(*conditions)
        frame = await read(self._database, statement, whole, session)
        return without_empty_extras(frame).sort("symbol", "timeframe", "timestamp", "detected_at")

    async def extra_columns(
        self, symbol: str | Sequence[str] | None, timeframe: str | None, session: AsyncSession | None
    ) -> pl.DataFrame:
        """List the further columns of series: columns of ``BAR_COLUMNS``."""
        return await stored_columns(self._database, _of_series(models.bar_series, symbol, timeframe), session)

    def _accepted_at(self) -> sa.ColumnElement[Any]:
        """Return when the values of a conflict last became a version of its bar, by whichever way."""
        kept, table = models.bar_versions, models.bar_conflicts
        if not self._database.has(kept):
            return expression(self._database, kept, "recorded_at").label("accepted_at")
        alike = [kept.c[name] == table.c[name] for name in (*KEY, *OHLCV)]
        alike.append(sa.or_(table.c.extra.is_(None), holds(kept.c.extra, table.c.extra, self._database.dialect.name)))
        times = sa.select(sa.func.max(kept.c.recorded_at)).where(*alike, kept.c.recorded_at >= table.c.detected_at)
        last = sa.type_coerce(times.scalar_subquery(), kept.c.recorded_at.type)
        return wire(last, self._database.dialect.name).label("accepted_at")


def _of_series(
    table: sa.Table, symbol: str | Sequence[str] | None, timeframe: str | None
) -> list[sa.ColumnElement[bool]]:
    conditions = [] if symbol is None else one_of(table.c.symbol, symbol_list(symbol))
    return conditions if timeframe is None else [*conditions, table.c.timeframe == check_timeframe(timeframe)]


def _kept(phases: Mapping[Series, int], symbol: str, timeframe: str) -> int | None:
    """Return the phase of a series as it is recorded: that of weeks from Monday is not."""
    phase = phases.get((symbol, timeframe))
    return None if (timeframe, phase) == ("1w", MONDAY) else phase


def _named(name: str, settings: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return the symbol and timeframe of a file, from the caller or else from its name."""
    facts = name_facts(split_name(name)[0])
    return settings.get("symbol", facts.symbol), settings.get("timeframe", facts.timeframe)


def _among(table: sa.Table, wanted: Collection[Series]) -> list[sa.ColumnElement[bool]]:
    symbols = sorted({symbol for symbol, _ in wanted})
    return [table.c.symbol.in_(symbols)] if len(symbols) <= IN_LIST else []
