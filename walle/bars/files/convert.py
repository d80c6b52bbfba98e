"""Convert the batches of a source to the columns and types of a bars frame."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import polars as pl

from walle.bars.extras import FurtherColumns, tells_apart
from walle.bars.files.clock_numbers import ClockNumbers
from walle.bars.files.columns import Roles
from walle.bars.files.infer_timeframe import Grid, infer_timeframe
from walle.bars.files.layout import Unread
from walle.bars.files.names import NameFacts, timeframe_of
from walle.bars.files.numbers import read_fixed, read_numbers
from walle.bars.files.said import contradictions_of
from walle.bars.files.times import TimeReader, Times
from walle.bars.parse import parse_bars
from walle.enums import OHLCV
from walle.errors import InputError
from walle.interop import within_reach
from walle.timeframe import is_calendar, length
from walle.validation import check_text

__all__ = ["Converter", "ReadOptions"]

_RTYPES = {"32": "1s", "33": "1m", "34": "1h", "35": "1d"}
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The caller's arguments about all rows.

    Parameters
    ----------
    symbol, timeframe, timezone : str or None
    """

    symbol: str | None = None
    timeframe: str | None = None
    timezone: str | None = None


@dataclass(slots=True)
class Converter:
    """Converts batches to bars frames; decisions made on the first batch hold for all.

    Parameters
    ----------
    roles : Roles
    wanted : ReadOptions
    facts : NameFacts
        The facts in the file name.
    further : FurtherColumns, optional
        What is kept of columns that are no part of a bar.
    parse : bool
        Whether their texts may be numbers.
    """

    roles: Roles
    wanted: ReadOptions
    facts: NameFacts
    further: FurtherColumns | None = None
    parse: bool = False
    symbol: str | None = field(init=False, default=None)
    symbol_from: str = field(init=False, default="")
    timeframe: str | None = field(init=False, default=None)
    timeframe_from: str = field(init=False, default="")
    rows: int = field(init=False, default=0)
    unread: list[Unread] = field(init=False, default_factory=list)
    unread_cells: int = field(init=False, default=0)
    contradictions: list[str] = field(init=False, default_factory=list)
    time: TimeReader = field(init=False)
    _clock: ClockNumbers = field(init=False)
    _grid: Grid | None = field(init=False, default=None)
    _fixed: bool | None = field(init=False, default=None)
    _started: bool = field(init=False, default=False)
    _kept: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Decide everything that does not depend on the rows."""
        self.time = TimeReader(" and ".join(map(repr, self.roles.time)), utc=self.roles.utc)
        roles, wanted, facts = self.roles, self.wanted, self.facts
        if self.further is not None:
            self._kept = self.further.wanted(roles.ignored, roles.titles)
            apart = [name for name in roles.ignored if tells_apart(name)]
            self.roles = roles = replace(roles, further=tuple(dict.fromkeys([*self._kept, *apart])))
        self.symbol, self.symbol_from = _found(wanted.symbol, roles.symbol, facts.symbol)
        self.timeframe, self.timeframe_from = _found(wanted.timeframe, roles.timeframe, facts.timeframe)
        if self.timeframe_from == "name" and self.timeframe is None:
            self.timeframe_from = "spacing"
        if self.symbol is not None:
            check_text(self.symbol, "symbol", maximum=128)
        step = None if self.timeframe is None else int(length(self.timeframe).total_seconds())
        self._clock = ClockNumbers(repr(roles.time[-1]), step)

    def convert(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Return a batch with the columns of ``BARS``, and ``extra`` if further columns are kept, row for row.

        Raises
        ------
        InputError
            For times, numbers, symbols or timeframes that cannot be read.
        """
        offset, batch = self.rows, within_reach(batch)
        numbers = {name: self._numbers(batch[column], name, offset) for name, column in self.roles.numbers.items()}
        times = self._times(batch, offset)
        columns = [self._symbols(batch), self._timeframes(batch, offset)]
        if not self._started:
            self._start(times, columns[0])
        if self.timeframe_from != "column":
            columns[1] = pl.Series("timeframe", [self.timeframe], pl.String).new_from_index(0, batch.height)
        stamps = self._stamps(times, columns[1])
        if not offset:
            self._refuse_repeated_dates(times, columns[0], batch)
        numbers.setdefault("volume", pl.Series("volume", [0.0]).new_from_index(0, batch.height))
        frame = pl.DataFrame([*columns, stamps, *(numbers[name].alias(name) for name in OHLCV)])
        naive = isinstance(stamps.dtype, pl.Datetime) and stamps.dtype.time_zone is None
        bars = parse_bars(frame, timezone=self.wanted.timezone if naive else None)
        if self._grid is not None:
            self._grid.check(bars, offset)
        if not offset:
            self.contradictions = contradictions_of(
                self.facts, self.symbol, self.timeframe, bars["symbol"], bars["timestamp"]
            )
        self.rows += batch.height
        if self.further is None or not self.roles.further:
            return bars
        return self.further.of(bars, batch.select(self.roles.further), self._kept, parse=self.parse)

    def _start(self, times: Times, symbols: pl.Series) -> None:
        if self.timeframe_from == "spacing":
            wall, instants = times.wall, times.instants
            zone = self.wanted.timezone
            if zone is not None and isinstance(instants.dtype, pl.Datetime) and instants.dtype.time_zone is not None:
                wall = _in_zone(instants, zone).dt.replace_time_zone(None)
            self.timeframe = infer_timeframe(instants, wall, symbols)
            self._grid = Grid(self.timeframe)
        self._started = True

    def _refuse_repeated_dates(self, times: Times, symbols: pl.Series, batch: pl.DataFrame) -> None:
        """Raise if a column of dates repeats them for different bars, and the source has columns that nobody reads.

        Raises
        ------
        InputError
        """
        if times.instants.dtype != pl.Date or not self.roles.ignored:
            return
        keys = pl.DataFrame([symbols.alias("symbol"), times.instants.alias("date")])
        bars = keys.hstack([batch[name].alias(role) for role, name in self.roles.numbers.items()])
        if 2 * keys.n_unique() < bars.n_unique():
            date = keys["date"].value_counts(sort=True)["date"][0]
            others = ", ".join(self.roles.ignored)
            raise InputError(
                f"column {self.time.label} holds dates, and most of them several times with different prices, such as "
                f"{date}. Is the time of day, or the symbol, in a column that is not read ({others})? Name it 'time' "
                "beside 'date', or say columns={'its name': 'symbol'}; drop those columns if the rows are corrections."
            )

    def _times(self, batch: pl.DataFrame, offset: int) -> Times:
        if len(self.roles.time) == 2:
            date, clock = (batch[name] for name in self.roles.time)
            if isinstance(date.dtype, pl.Date) and isinstance(clock.dtype, pl.Time):
                values = batch.select(pl.col(self.roles.time[0]).dt.combine(pl.col(self.roles.time[1]))).to_series()
            else:
                if isinstance(date.dtype, pl.Datetime) and (date == date.dt.truncate("1d")).all():
                    date = date.cast(pl.Date)  # pandas has no dates
                values = date.cast(pl.String).str.strip_chars() + " " + self._clock.texts(clock, offset)
        else:
            values = batch[self.roles.time[0]]
        times = self.time.read(values, offset)
        self._note(values, self.roles.time[0], times.unread, offset)
        return times

    def _stamps(self, times: Times, timeframes: pl.Series) -> pl.Series:
        names = timeframes.unique().drop_nulls().to_list()
        daily = bool(names) and all(is_calendar(name) for name in names)
        kind, zone = times.instants.dtype, self.wanted.timezone
        if not daily or not isinstance(kind, pl.Datetime) or kind.time_zone is None:
            if isinstance(kind, pl.Datetime) and kind.time_zone is not None and zone is not None:
                raise InputError(
                    f"timezone={zone!r} is for times without a zone (or, for bars of a day or longer, the zone of "
                    f"their midnight), and the times here say theirs: {self.time.encoding}. Leave it out."
                )
            return times.instants.alias("timestamp")
        if zone is not None:  # the zone in which the bars open at midnight
            return _in_zone(times.instants, zone).alias("timestamp")
        midnight = (times.wall.dt.truncate("1d") == times.wall).fill_null(True)
        if midnight.all():
            return times.wall.alias("timestamp")
        instants = times.instants.dt.convert_time_zone("UTC")
        return times.wall.dt.replace_time_zone("UTC").zip_with(midnight, instants).alias("timestamp")

    def _numbers(self, values: pl.Series, name: str, offset: int) -> pl.Series:
        label = repr(values.name)
        if self.roles.layout == "databento" and name != "volume":
            if self._fixed is None:
                texts = values.drop_nulls().cast(pl.String) if values.dtype == pl.String else None
                self._fixed = values.dtype.is_integer() if texts is None else bool(texts.str.contains(r"^-?\d+$").all())
            if self._fixed:
                return read_fixed(values, label, offset)[0]
        numbers, unread = read_numbers(values, label, offset)
        self._note(values, values.name, unread, offset)
        return numbers

    def _symbols(self, batch: pl.DataFrame) -> pl.Series:
        if self.roles.symbol is None:
            return pl.Series("symbol", [self.symbol], pl.String).new_from_index(0, batch.height)
        values = batch[self.roles.symbol].cast(pl.String).alias("symbol")
        wanted = self.wanted.symbol
        if wanted is not None and (other := values.filter(values.ne_missing(pl.Series([wanted])))).len():
            raise InputError(
                f"symbol={wanted!r} was given, but column {self.roles.symbol!r} says {other[0]!r}. Leave symbol out."
            )
        return values

    def _timeframes(self, batch: pl.DataFrame, offset: int) -> pl.Series:
        if self.roles.timeframe is None:
            return pl.Series("timeframe", [self.timeframe], pl.String).new_from_index(0, batch.height)
        values = batch[self.roles.timeframe].cast(pl.String).str.strip_chars()
        texts = values.unique().drop_nulls().to_list()
        known = {text: _RTYPES.get(text) if self.roles.layout == "databento" else timeframe_of(text) for text in texts}
        unknown = sorted(text for text, name in known.items() if name is None)
        if unknown:
            place = int((values == unknown[0]).fill_null(False).arg_true()[0])
            raise InputError(
                f"column {self.roles.timeframe!r} holds {unknown[0]!r} (row {offset + place}), which is no timeframe"
                + (" of bars: 32 to 35 are 1s, 1m, 1h and 1d." if self.roles.layout == "databento" else ".")
            )
        expected = self.wanted.timeframe or self.facts.timeframe
        other = sorted({name for name in known.values() if name is not None and name != expected})
        if expected is not None and other:
            who = f"timeframe={expected!r} was given" if self.wanted.timeframe else f"the file name says {expected!r}"
            raise InputError(f"{who}, but column {self.roles.timeframe!r} says {other[0]!r}.")
        return values.replace_strict(known, default=None, return_dtype=pl.String).alias("timeframe")

    def _note(self, values: pl.Series, column: str, places: list[int], offset: int) -> None:
        self.unread_cells += len(places)
        for place in places[: max(0, _REMEMBERED - len(self.unread))]:
            self.unread.append(Unread(offset + place, column, str(values[place])))


def _found(given: str | None, column: str | None, named: str | None) -> tuple[str | None, str]:
    """Return what holds for all rows, None where a column says it, and who says it."""
    if given is not None:
        return given, "argument"
    return (None, "column") if column is not None else (named, "name")


def _in_zone(values: pl.Series, zone: str) -> pl.Series:
    try:
        return values.dt.convert_time_zone(zone)
    except pl.exceptions.ComputeError:
        raise InputError(
            f"timezone={zone!r} is no IANA zone. Write 'UTC', 'Europe/London', 'America/New_York'."
        ) from None
