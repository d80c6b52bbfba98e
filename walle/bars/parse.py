"""Convert a Polars, pandas or Arrow frame, or records, to a frame with the columns of bars."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence

import polars as pl

from walle.enums import OHLCV
from walle.errors import InputError
from walle.frames import BARS
from walle.interop import frame_of, renamed
from walle.records import Bar
from walle.timeframe import check_timeframe, is_calendar
from walle.validation import check_text

__all__ = ["parse_bars", "to_polars"]

_TIME_WORDS = ("date", "datetime", "time", "ts", "open_time", "ts_event")
_LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999


def parse_bars(
    source: object,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    timezone: str | None = None,
) -> pl.DataFrame:
    """Convert a source to the columns and types of :data:`walle.frames.BARS`, row for row.

    Values are not validated here: one that cannot be read becomes null, so that ``check_bars`` refuses its row.

    Parameters
    ----------
    source : polars, pandas or Arrow frame, Bar, or iterable of Bar
    symbol, timeframe : str, optional
        For all rows; required if the source has no such column.
    columns : mapping of str to str or None, optional
        Source name to our name, ``{"date": "timestamp"}``; ``{"volume": None}`` says that there is no volume (it is 0
        then).
    timezone : str, optional
        The IANA zone of naive times, such as ``America/New_York``.

    Returns
    -------
    polars.DataFrame
        Columns of ``BARS``, the input's rows in the input's order.

    Raises
    ------
    InputError
        For a missing column, a wrong type, a naive time without ``timezone``, or an unknown name.
    """
    frame, without_volume = _rename(to_polars(source), columns)
    if without_volume:
        frame = frame.with_columns(volume=pl.lit(0.0))
    given = frame.columns
    frame = _constant(frame, "symbol", None if symbol is None else check_text(symbol, "symbol", maximum=128))
    frame = _constant(frame, "timeframe", None if timeframe is None else check_timeframe(timeframe))
    _require(frame, given)
    for name in frame["timeframe"].unique().drop_nulls().to_list():
        check_timeframe(name)
    calendar = {name: is_calendar(name) for name in frame["timeframe"].unique().drop_nulls().to_list()}
    return frame.select(
        pl.col("symbol").cast(pl.String),
        pl.col("timeframe").cast(pl.String),
        _instants(frame["timestamp"], timezone, daily=bool(calendar) and all(calendar.values())),
        *(_numbers(frame[name]) for name in OHLCV),
    ).cast(BARS)


def to_polars(source: object) -> pl.DataFrame:
    """Return any supported source as a Polars frame, sharing its memory where that is possible.

    Raises
    ------
    InputError
        For an unsupported type.
    """
    if isinstance(source, Bar):
        return _from_records([source])
    frame = frame_of(source, "bars")
    if frame is not None:
        return frame
    if isinstance(source, Iterable) and not isinstance(source, str | bytes | Mapping):
        records = list(source)
        if all(isinstance(item, Bar) for item in records):
            return _from_records(records)
    raise InputError(
        "bars come as paths of files, as a Polars, pandas or Arrow frame, or as Bar records, not as "
        f"{type(source).__name__}. Make a frame of it first: polars.DataFrame(rows)."
    )


def _from_records(records: list[Bar]) -> pl.DataFrame:
    names = [item.name for item in dataclasses.fields(Bar)]
    return pl.DataFrame({name: [getattr(record, name) for record in records] for name in names}, schema=BARS)


def _rename(frame: pl.DataFrame, columns: Mapping[str, str | None] | None) -> tuple[pl.DataFrame, bool]:
    if columns is not None and not isinstance(columns, Mapping):
        raise InputError(
            f"columns={columns!r} is not a mapping of source names to ours: columns={{'date': 'timestamp'}}."
        )
    given = dict(columns or {})
    without_volume = given.get("volume", "") is None
    if without_volume:
        del given["volume"]
        if "volume" in frame.columns or "volume" in given.values():
            raise InputError(
                "columns={'volume': None} says that there is no volume, but the source has one. Leave it out."
            )
    return renamed(frame, given, list(BARS)), without_volume


def _constant(frame: pl.DataFrame, name: str, value: str | None) -> pl.DataFrame:
    if value is None:
        if name not in frame.columns:
            raise InputError(f"which {name}? The source has no column {name!r}: say {name}='...'.")
        if frame.schema[name] not in (pl.String, pl.Categorical, pl.Enum):
            raise InputError(f"column {name!r} is {frame.schema[name]}, not text.")
        return frame.with_columns(pl.col(name).cast(pl.String))
    if name in frame.columns:
        others = frame.filter(pl.col(name).cast(pl.String).ne_missing(value))
        if others.height:
            raise InputError(
                f"{name}={value!r} was given, but the source has a column {name!r} with {others[name][0]!r}. "
                f"Leave {name} out, or drop the column."
            )
    return frame.with_columns(pl.lit(value).alias(name))


def _require(frame: pl.DataFrame, given: Sequence[str]) -> None:
    missing = [name for name in BARS if name not in frame.columns]
    if not missing:
        return
    others = {column.lower(): column for column in given if column not in BARS}
    perhaps = {}
    for name in missing:
        words = _TIME_WORDS if name == "timestamp" else [name]
        near = [word for word in words if word in others] or difflib.get_close_matches(name, others, 1, 0.6)
        if near:
            perhaps[others[near[0]]] = name
    hint = f" Perhaps columns={perhaps!r}." if perhaps else ""
    if missing == ["volume"]:
        hint = hint or " If there is none, say so: columns={'volume': None}; it is 0 then."
    raise InputError(
        f"the source lacks {', '.join(map(repr, missing))}; it has: {', '.join(given) or 'no column'}.{hint}"
    )


def _numbers(values: pl.Series) -> pl.Series:
    kind = values.dtype
    if kind.is_float() or kind == pl.Null:
        numbers = values.cast(pl.Float64)
        # SQLite stores -0.0 as 0.0; converting it here makes both databases return the same
        return numbers.set(numbers == 0, 0.0) if (numbers == 0).any() else numbers
    if kind.is_integer():
        if values.len() and not (values.cast(pl.Int128).abs() <= 2**53).all():
            raise InputError(f"column {values.name!r} holds integers above 2**53, which float64 would round.")
        return values.cast(pl.Float64)
    raise InputError(
        f"column {values.name!r} is {kind}; bars are float64. Convert it first: "
        f"frame.with_columns(polars.col({values.name!r}).cast(polars.Float64))."
    )


def _instants(values: pl.Series, timezone: str | None, *, daily: bool) -> pl.Series:
    kind = values.dtype
    if kind == pl.Null:
        return values.cast(BARS["timestamp"])
    if kind == pl.Date:
        if not daily:
            raise InputError("column 'timestamp' holds dates, but bars below one day need times.")
        return values.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    if not isinstance(kind, pl.Datetime):
        raise InputError(
            f"column 'timestamp' is {kind}, not a datetime. Convert it first: "
            "polars.from_epoch('timestamp', 'ms').dt.replace_time_zone('UTC') for an epoch, "
            "polars.col('timestamp').str.to_datetime(time_zone='UTC') for text."
        )
    if kind.time_zone is not None and timezone is not None:
        raise InputError(
            f"timezone={timezone!r} is for times without a zone, and column 'timestamp' is in {kind.time_zone}. "
            "Leave it out."
        )
    exact = _to_microseconds(values, kind)
    if daily:  # midnight in the source's zone becomes that date; another time is an instant
        wall = exact if kind.time_zone is None else exact.dt.replace_time_zone(None)
        dates = wall.dt.replace_time_zone("UTC")
        midnight = (wall.dt.truncate("1d") == wall).fill_null(True)
        if midnight.all():
            return dates
        instants = exact.dt.convert_time_zone("UTC") if kind.time_zone is not None else _located(exact, timezone)
        return dates.zip_with(midnight, instants)
    if kind.time_zone is not None:
        return exact.dt.convert_time_zone("UTC")
    return _located(exact, timezone)


def _located(exact: pl.Series, timezone: str | None) -> pl.Series:
    """Return naive times of a zone as instants.

    Raises
    ------
    InputError
        Without a zone, or for an unknown one.
    """
    if timezone is not None and not (isinstance(timezone, str) and timezone):
        raise InputError(f"timezone={timezone!r} is not the name of an IANA zone, such as 'America/New_York'.")
    if timezone is None:
        raise InputError(
            "column 'timestamp' has no time zone, so its times name no instant. Say which zone they are in: "
            "timezone='UTC', or timezone='America/New_York'."
        )
    try:
        # a time that a clock change skips or repeats becomes null, so that its row is refused
        local = exact.dt.replace_time_zone(timezone, ambiguous="null", non_existent="null")
    except pl.exceptions.ComputeError:
        raise InputError(
            f"timezone={timezone!r} is no IANA zone. Write 'UTC', 'Europe/London', 'America/New_York'."
        ) from None
    return local.dt.convert_time_zone("UTC")


def _to_microseconds(values: pl.Series, kind: pl.Datetime) -> pl.Series:
    if kind.time_unit == "ns":
        finer = values.to_physical() % 1000 != 0
        if finer.any():
            place = finer.fill_null(False).arg_true()[0]
            raise InputError(
                f"column 'timestamp' holds times finer than a microsecond (row {place}: {values[place]}), which are "
                "never rounded silently. Truncate them yourself: dt.truncate('1us')."
            )
    if kind.time_unit == "ms" and not (values.to_physical().abs() <= _LAST_MILLISECOND).all():
        raise InputError("column 'timestamp' holds times outside the years 1 to 9999. Is its epoch in another unit?")
    return values.dt.cast_time_unit("us")
