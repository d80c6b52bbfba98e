"""Read bars of one or several series, whole or lazily, and report what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

import polars as pl
import sqlalchemy as sa
from polars.io.plugins import register_io_source
from sqlalchemy.ext.asyncio import AsyncSession

from walle import models
from walle.bars.adjust import last_before
from walle.bars.extras import KINDS, unpacked
from walle.bars.phase import Series
from walle.bars.spans import within
from walle.bars.versions import NEWEST, overlay
from walle.database import Database
from walle.enums import OHLCV
from walle.errors import InputError, NotFound
from walle.frames import BARS, no_rows
from walle.notices import EmptySeriesWarning, warn
from walle.records import Bar
from walle.repositories.bars.as_of import resolve
from walle.repositories.bars.coverage import Coverage
from walle.repositories.bars.extras import extra_of, kinds_of
from walle.repositories.bars.series import StoredSeries, bars_in, symbol_list
from walle.repositories.common import Time, canonical, check_name
from walle.repositories.select import expression, finish, read, wire_schema
from walle.repositories.tokens import AsOf, Known
from walle.timeframe import check_timeframe, is_calendar
from walle.types import wire
from walle.validation import MICROSECOND, parse_range, shift

__all__ = ["StoredBars"]

_TRIES = 3
"""Reads in batches beside ingests that bring versions, until the bars are read whole."""

_LOOKS = 100
"""Looks into the index that one statement makes."""

_NO_TIME, _NO_PRICE = pl.lit(None, BARS["timestamp"]), pl.lit(None, BARS["close"])


class StoredBars:
    """Bars as frames.

    Parameters
    ----------
    database : Database
    series : StoredSeries
    coverage : Coverage
    """

    def __init__(self, database: Database, series: StoredSeries, coverage: Coverage) -> None:
        self._database, self._series, self._coverage = database, series, coverage

    async def read(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        columns: Sequence[str] | None,
        require_complete: bool,
        as_of: AsOf,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return the bars that open in ``[start, end)``."""
        kinds = await self._further(symbol, timeframe, columns, session)
        wanted = _Wanted(symbol, timeframe, start, end, columns, kinds)
        token = await resolve(self._database, as_of, session)
        if require_complete:  # before the read: bars are only added, so the read cannot miss any
            await self._coverage.require(wanted.symbols, timeframe, start, end, token, session)
        frame = await self._bars(wanted, token, session)
        empty = await self._without_bars(frame, wanted, session)
        await self._series.require(empty, timeframe, session)
        if empty and not isinstance(symbol, str):
            named = ", ".join(map(repr, empty[:10])) + (f" and {len(empty) - 10} more" if len(empty) > 10 else "")
            warn(f"no {timeframe} bars in the range: {named}.", EmptySeriesWarning)
        if token is not None:
            await self._series.known.warn_of_untold(wanted.series, session)
        return frame

    async def panel(
        self,
        symbols: str | Sequence[str],
        timeframe: str,
        field: str,
        start: Time,
        end: Time,
        as_of: AsOf,
        session: AsyncSession | None,
    ) -> pl.DataFrame:
        """Return one field of several symbols side by side.

        Raises
        ------
        InputError
        """
        names = symbol_list(symbols)
        if len(set(names)) < len(names) or "timestamp" in names:
            raise InputError(
                f"symbols={symbols!r}: each becomes a column, so give it once, and none can be called 'timestamp'."
            )
        further = await self._further(names, timeframe, [field], session)
        if not isinstance(field, str) or field not in {*OHLCV, *further}:
            raise InputError(
                f"field={field!r}: choose one of {', '.join(OHLCV)}, or a further column (store.bars.extra_columns())."
            )
        bars = await self.read(names, timeframe, start, end, ["symbol", "timestamp", field], False, as_of, session)
        return await self._database.in_thread(partial(_side_by_side, bars, field, names))

    async def scan(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        start: Time,
        end: Time,
        columns: Sequence[str] | None,
        as_of: AsOf,
    ) -> pl.LazyFrame:
        """Return a lazy frame that reads the database at every collect, as it is at one moment."""
        kinds = await self._further(symbol, timeframe, columns, None)
        wanted = _Wanted(symbol, timeframe, start, end, columns, kinds)
        await self._series.require(wanted.symbols, timeframe, None)
        token, spans = await resolve(self._database, as_of, None), None
        if token is not None:  # what was known then stays the same
            spans = await self._series.known.spans(wanted.series, token, None)
            await self._series.known.warn_of_untold(wanted.series, None)

        def batches(
            with_columns: list[str] | None,
            predicate: pl.Expr | None,
            n_rows: int | None,
            batch_size: int | None,
        ) -> Iterator[pl.DataFrame]:
            chosen = wanted if with_columns is None else replace(wanted, columns=with_columns)
            for frame in self._batches(chosen, token, spans, n_rows):
                yield frame if predicate is None else frame.filter(predicate)

        return register_io_source(batches, schema=wanted.schema, validate_schema=True, is_pure=True)

    def _batches(
        self, wanted: _Wanted, token: Known | None, spans: pl.DataFrame | None, rows: int | None
    ) -> Iterator[pl.DataFrame]:
        """Yield the bars of one moment in batches, and not more than some rows; blocking."""
        known = self._series.known
        if token is not None or not known.versioned:
            yield from self._overlaid(wanted, self._newest(wanted, token), spans, rows, None)
            return
        for _ in range(_TRIES):
            versions = self._versions(wanted)
            newest, found = self._newest(wanted, None), False
            for frame in self._overlaid(wanted, newest, spans, rows, versions):
                found = True
                yield frame
            if found or self._versions(wanted) == versions:
                return
        statement, schema = self._both(wanted)  # an ingest came in between each time
        parts = [finish(raw, schema) for raw in self._database.batches(statement, wire_schema(schema))]
        first, newest = _parted(pl.concat([pl.DataFrame(schema=schema), *parts]))
        frame = overlay(first, newest, no_rows(NEWEST))
        yield wanted.named(frame if rows is None else frame.head(rows))

    def _versions(self, wanted: _Wanted) -> int:
        """Count the further versions of the bars of a range; blocking."""
        counted = self._series.known.counted(wanted.symbols, wanted.timeframe, wanted.start, wanted.end)
        found = self._database.batches(sa.select(counted.label("versions")), {"versions": pl.Int64()})
        return int(pl.concat(list(found)).item())

    def _newest(self, wanted: _Wanted, token: Known | None) -> pl.DataFrame:
        """Return the newest versions of the bars of a range; blocking."""
        known, none = self._series.known, no_rows(NEWEST)
        if not known.versioned:
            return none
        statement = known.newest_statement(wanted.symbols, wanted.timeframe, wanted.start, wanted.end, token)
        return pl.concat(
            [none, *(finish(raw, NEWEST) for raw in self._database.batches(statement, wire_schema(NEWEST)))]
        )

    def _overlaid(
        self, wanted: _Wanted, newest: pl.DataFrame, spans: pl.DataFrame | None, rows: int | None, versions: int | None
    ) -> Iterator[pl.DataFrame]:
        """Yield the bars in batches; none if their further versions are no longer as many; blocking."""
        plain = newest.is_empty() and spans is None
        kept = wanted if plain else wanted.with_keys
        statement = self._select(kept)
        if versions is not None:
            counted = self._series.known.counted(wanted.symbols, wanted.timeframe, wanted.start, wanted.end)
            statement = statement.where(counted == versions)
        if plain and rows is not None:
            statement = statement.limit(rows)
        unknown = no_rows(NEWEST)
        for raw in self._database.batches(statement, wire_schema(kept.stored)):
            if raw.is_empty():
                continue
            frame = finish(raw, kept.stored)
            if spans is not None:
                named = frame.select("symbol", pl.lit(wanted.timeframe).alias("timeframe"), "timestamp")
                frame = frame.filter(within(named, spans))
            if not plain:
                frame = overlay(frame, newest, unknown)
                frame = frame if rows is None else frame.head(rows)
                rows = None if rows is None else rows - frame.height
            yield wanted.named(frame)
            if rows == 0:
                return

    async def count(
        self, symbol: str, timeframe: str, start: Time, end: Time, as_of: AsOf, session: AsyncSession | None
    ) -> int:
        """Count the bars that open in ``[start, end)``."""
        if not self._database.has(models.bars):
            return 0
        conditions, known = bars_in(symbol, timeframe, start, end), self._series.known
        token = await resolve(self._database, as_of, session)
        if token is None:
            plain = known.unversioned([symbol], timeframe, start, end)
            statement = sa.select(sa.func.count().label("bars")).where(*conditions, *plain)
            found = int((await self._database.fetch(statement, {"bars": pl.Int64()}, session)).item())
            if found or not known.versioned:
                return found
        else:
            await known.warn_of_untold({(symbol, timeframe)}, session)
        return (await self._series.times(symbol, timeframe, start, end, session, token)).len()

    async def latest(self, symbol: str, timeframe: str, as_of: AsOf, session: AsyncSession | None) -> Bar:
        """Return the last bar of a series.

        Raises
        ------
        UnknownSymbol
        NotFound
            If the bars are withdrawn, or came later.
        """
        check_name(symbol, "symbol")
        wanted = _Wanted(symbol, timeframe, None, None, None)
        token = await resolve(self._database, as_of, session)
        frame = pl.DataFrame(schema=wanted.schema)
        if token is None:
            plain = self._select(wanted).where(*self._series.known.unversioned([symbol], timeframe, None, None))
            last = plain.order_by(None).order_by(models.bars.c.timestamp.desc()).limit(1)
            frame = await self._frame(last, wanted.schema, session)
        if frame.is_empty():
            times = await self._series.times(symbol, timeframe, None, None, session, token)
            moment = times.max()
            if not isinstance(moment, datetime):
                await self._series.require([symbol], timeframe, session)
                when = "all of them are withdrawn" if token is None else f"none was known as of {as_of!r}"
                raise NotFound(f"there is no {timeframe} bar of {symbol!r}: {when}.")
            here = replace(wanted, start=moment, end=shift(moment, MICROSECOND))
            frame = await self._bars(here, token, session)
        return Bar.from_row(canonical({"symbol": symbol, "timeframe": timeframe, **frame.row(0, named=True)}))

    async def _bars(self, wanted: _Wanted, token: Known | None, session: AsyncSession | None) -> pl.DataFrame:
        """Return bars as their newest versions have them, now or as of an ingest."""
        known = self._series.known
        args = (wanted.symbols, wanted.timeframe, wanted.start, wanted.end)
        if token is None:  # one statement, which gives nothing where there are versions
            plain = self._select(wanted).where(*known.unversioned(*args))
            frame = await self._frame(plain, wanted.stored, session)
            if frame.height or not known.versioned:
                return await self._database.in_thread(partial(wanted.named, frame)) if wanted.further else frame
        unknown, newest = no_rows(NEWEST), await known.newest(*args, token, session)
        frame = await self._frame(self._select(wanted.with_keys), wanted.with_keys.stored, session)
        if token is not None:
            unknown = await known.later(wanted.series, token, session)
        elif not newest.equals(await known.newest(*args, None, session)):  # an ingest came in between
            frame, newest = await self._first_and_newest(wanted, session)
        return await self._database.in_thread(lambda: wanted.named(overlay(frame, newest, unknown)))

    async def _first_and_newest(
        self, wanted: _Wanted, session: AsyncSession | None
    ) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return the first versions of bars, and the newest further ones, of one moment: by one slower statement."""
        statement, schema = self._both(wanted)
        return _parted(await read(self._database, statement, schema, session))

    def _both(self, wanted: _Wanted) -> tuple[sa.Select[Any], pl.Schema]:
        """Select first versions (further: 0) and the newest further ones (1) in one statement; return its schema."""
        columns = None if wanted.columns is None else list(dict.fromkeys([*wanted.columns, "close"]))
        whole, table = replace(wanted, columns=columns, keyed=True), models.bar_versions
        newest = self._series.known.newest_statement(
            wanted.symbols, wanted.timeframe, wanted.start, wanted.end, None
        ).with_only_columns(
            *(wire(table.c[name], self._database.dialect.name).label(name) for name in whole.stored),
            sa.literal(1).label("further"),
        )
        first = self._select(whole).order_by(None).add_columns(sa.literal(0).label("further"))
        both = sa.union_all(first, newest).subquery()
        return sa.select(*both.c), pl.Schema({**whole.stored, "further": pl.Int64()})

    async def last_before(
        self, moments: pl.DataFrame, timeframe: str, count: int, as_of: AsOf, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Return the last bars of a series that open before each of some moments.

        Parameters
        ----------
        moments : polars.DataFrame
            symbol, moment (UTC).
        timeframe : str
        count : int
            So many bars of each.
        as_of : AsOf
        session : AsyncSession or None

        Returns
        -------
        polars.DataFrame
            symbol, moment, timestamp, close; sorted by symbol and moment, the latest bar first. No row where no bar
            opens before a moment.
        """
        if not self._database.has(models.bars) or moments.is_empty():
            return moments.select("symbol", "moment").clear().with_columns(timestamp=_NO_TIME, close=_NO_PRICE)
        token = await resolve(self._database, as_of, session)
        asked = moments.select("symbol", "moment")
        names, end = asked["symbol"].unique().sort().to_list(), asked["moment"].max()
        assert isinstance(end, datetime)
        # few bars, or bars with versions, are read in less time than each is looked up
        versions = await self._series.known.newest(names, timeframe, None, end, token, session)
        if is_calendar(timeframe) or token is not None or versions.height:
            bars = await self._bars(
                _Wanted(names, timeframe, None, end, ["symbol", "timestamp", "close"]), token, session
            )
            return await self._database.in_thread(partial(last_before, bars, asked, count))
        return await self._look_before(asked, timeframe, count, session)

    async def _look_before(
        self, moments: pl.DataFrame, timeframe: str, count: int, session: AsyncSession | None
    ) -> pl.DataFrame:
        """Look up the last first versions before each moment by the index of the bars."""
        schema = pl.Schema({"place": pl.Int64(), "timestamp": BARS["timestamp"], "close": BARS["close"]})
        found = []
        placed = moments.sort("symbol", "moment").with_columns(place=pl.int_range(pl.len()))
        for few in placed.iter_slices(_LOOKS):
            looks = []
            for symbol, moment, place in few.iter_rows():
                rows = self._select(_Wanted(symbol, timeframe, None, moment, ["timestamp", "close"]))
                last = rows.order_by(None).order_by(models.bars.c.timestamp.desc()).limit(count).subquery()
                looks.append(sa.select(sa.literal_column(str(place)).label("place"), last.c.timestamp, last.c.close))
            all_looks = sa.union_all(*looks).subquery()
            found.append(await read(self._database, sa.select(*all_looks.c), schema, session))
        ordered = pl.concat(found).sort("place", "timestamp", descending=[False, True])
        return ordered.join(placed, on="place", how="left", maintain_order="left").select(
            "symbol", "moment", "timestamp", "close"
        )

    def _select(self, wanted: _Wanted) -> sa.Select[Any]:
        table = models.bars
        columns = [expression(self._database, table, name) for name in wanted.stored if name != "extra"]
        if wanted.further:
            columns.append(wire(extra_of(table), self._database.dialect.name).label("extra"))
        return (
            sa.select(*columns)
            .where(*bars_in(wanted.symbol, wanted.timeframe, wanted.start, wanted.end))
            .order_by(*([] if isinstance(wanted.symbol, str) else [table.c.symbol]), table.c.timestamp)
        )

    async def _further(
        self,
        symbol: str | Sequence[str],
        timeframe: str,
        columns: Sequence[str] | None,
        session: AsyncSession | None,
    ) -> dict[str, str]:
        """Return the kinds of the further columns of series, if any may be asked for."""
        if columns is None or isinstance(columns, str) or all(name in tuple(BARS) for name in columns):
            return {}
        names = {name for name in columns if isinstance(name, str)}
        found = await kinds_of(self._database, symbol_list(symbol), check_timeframe(timeframe), session, names)
        if names <= {*BARS, *found}:
            return found
        await self._series.require(symbol_list(symbol), timeframe, session)  # a wrong symbol has no such column
        return await kinds_of(self._database, symbol_list(symbol), timeframe, session)  # the error names them all

    async def _frame(self, statement: sa.Select[Any], schema: pl.Schema, session: AsyncSession | None) -> pl.DataFrame:
        if not self._database.has(models.bars):
            return pl.DataFrame(schema=schema)
        frame = await read(self._database, statement, schema, session)
        # PostgreSQL sorts text by its collation; the frame's order must be the same on both databases
        return frame.sort("symbol", "timestamp") if {"symbol", "timestamp"} <= set(frame.columns) else frame

    async def _without_bars(self, bars: pl.DataFrame, wanted: _Wanted, session: AsyncSession | None) -> list[str]:
        """Return the symbols without a bar in the range; ``bars`` are the bars read."""
        names = list(dict.fromkeys(wanted.symbols))
        if bars.is_empty():
            return names
        if len(names) == 1:
            return []
        if "symbol" in bars.columns:
            present = set(bars["symbol"].unique())
            return [name for name in names if name not in present]
        empty = []
        for name in names:
            there = sa.exists().where(*bars_in(name, wanted.timeframe, wanted.start, wanted.end))
            statement = sa.select(sa.case((there, 1), else_=0).label("there"))
            if not (await self._database.fetch(statement, {"there": pl.Int64()}, session)).item():
                empty.append(name)
        return empty


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be read, checked.

    Raises
    ------
    InputError
    """

    symbol: str | Sequence[str]
    timeframe: str
    start: Time
    end: Time
    columns: Sequence[str] | None
    kinds: Mapping[str, str] = field(default_factory=dict)
    keyed: bool = False

    def __post_init__(self) -> None:
        check_timeframe(self.timeframe)
        parse_range(self.start, self.end)
        columns = self.columns
        if columns is None:
            return
        wrong = [name for name in columns if name not in self._allowed]
        if wrong or isinstance(columns, str) or len(set(columns)) != len(columns):
            raise InputError(f"columns={columns!r}: choose from {', '.join(self._allowed)}, each once.")
        if not columns:
            raise InputError("columns=[] selects no column; choose at least one.")

    @property
    def _allowed(self) -> list[str]:
        own = [name for name in BARS if name != "timeframe" and (name != "symbol" or not isinstance(self.symbol, str))]
        return own if self.columns is None else [*own, *self.kinds]

    @property
    def symbols(self) -> list[str]:
        """The symbols."""
        return symbol_list(self.symbol)

    @property
    def series(self) -> set[Series]:
        """The series."""
        return {(name, self.timeframe) for name in self.symbols}

    @property
    def schema(self) -> pl.Schema:
        """The columns of the frame."""
        names = self._allowed if self.columns is None else list(self.columns)
        if self.keyed:
            names = list(dict.fromkeys(["symbol", "timestamp", *names]))
        return pl.Schema({name: BARS[name] if name in BARS else KINDS[self.kinds[name]] for name in names})

    @property
    def further(self) -> dict[str, str]:
        """The further columns, and their kinds."""
        return {name: self.kinds[name] for name in self.columns or () if name not in BARS}

    @property
    def stored(self) -> pl.Schema:
        """The columns as they are stored, where the further ones are one."""
        own = pl.Schema({name: kind for name, kind in self.schema.items() if name in BARS})
        return pl.Schema({**own, "extra": pl.String()}) if self.further else own

    def named(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return bars in the columns that are wanted, from those as they are stored."""
        opened = frame.hstack(unpacked(frame["extra"], self.further)) if self.further else frame
        return opened.select(list(self.schema))

    @property
    def with_keys(self) -> _Wanted:
        """The same, with the columns symbol and timestamp before the others."""
        return replace(self, keyed=True)


def _parted(rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the first versions of bars, sorted, and the further ones."""
    first, further = (rows.filter(further=place).drop("further") for place in (0, 1))
    return first.sort("symbol", "timestamp"), further


def _side_by_side(bars: pl.DataFrame, field: str, names: Sequence[str]) -> pl.DataFrame:
    """Return one field of sorted bars with a column per symbol; a pivot takes a hundred times as long for thousands."""
    times = bars["timestamp"].unique().sort()
    places, values = times.search_sorted(bars["timestamp"]), bars[field]
    empty = pl.Series([None], dtype=values.dtype).new_from_index(0, times.len())
    columns = dict.fromkeys(names, empty)
    runs = bars["symbol"].rle().struct.unnest()
    offsets = runs["len"].cum_sum() - runs["len"]
    for symbol, offset, length in zip(runs["value"], offsets, runs["len"], strict=True):
        columns[symbol] = empty.clone().scatter(places.slice(offset, length), values.slice(offset, length))
    return pl.DataFrame([times, *(column.alias(name) for name, column in columns.items())])
