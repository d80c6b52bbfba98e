"""Read the sources of an ingest of orders, fills or cash flows: frames of any layout, and records."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from walle.errors import InputError, InvalidRows
from walle.fills.coerce import CASH_FLOW, FILL, NOUNS, ORDER, Faults, check_frame, records_frame
from walle.frames import REJECTED_CASH_FLOWS, REJECTED_FILLS, REJECTED_ORDERS
from walle.interop import frame_of, renamed
from walle.records import CashFlow, Fill, Order, Record
from walle.validation import check_text

__all__ = ["FactOptions", "Facts", "read_cash_flows", "read_fills", "read_orders"]

_SHOWN = 5
_TIMES = ("time", "created_at", "submitted_at", "filled_at", "cancelled_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class FactOptions:
    """The caller's arguments about the rows of a source.

    Parameters
    ----------
    run_id : str, optional
        The run of all rows.
    columns : mapping of str to str or None, optional
        Source name to our name; None leaves a column out.
    timezone : str, optional
        The IANA zone of times without one.
    floats : str
        ``refuse``, or ``shortest`` to read a float as the decimal in its shortest text.
    on_invalid : str
        ``raise`` or ``quarantine``.

    Raises
    ------
    InputError
        For an option that is not allowed.
    """

    run_id: str | None = None
    columns: Mapping[str, str | None] | None = None
    timezone: str | None = None
    floats: str = "refuse"
    on_invalid: str = "raise"

    def __post_init__(self) -> None:
        for name, allowed in (("floats", ("refuse", "shortest")), ("on_invalid", ("raise", "quarantine"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name}={getattr(self, name)!r} is not {' or '.join(map(repr, allowed))}.")
        if self.columns is not None and not isinstance(self.columns, Mapping):
            raise InputError(f"columns={self.columns!r} is not a mapping of source names to ours.")
        if self.run_id is not None:
            check_text(self.run_id, "run_id", maximum=100)


class Facts(NamedTuple):
    """The orders, fills or cash flows of a source.

    Parameters
    ----------
    good : polars.DataFrame
        Columns of ``ORDER``, ``FILL`` or ``CASH_FLOW``.
    rejected : polars.DataFrame
        Columns of ``REJECTED_ORDERS``, ``REJECTED_FILLS`` or ``REJECTED_CASH_FLOWS``; sorted by row.
    """

    good: pl.DataFrame
    rejected: pl.DataFrame


def read_fills(source: object, reading: FactOptions) -> Facts:
    """Read fills from a frame or records; if an id has rows with different contents, all of its rows are refused.

    Parameters
    ----------
    source : Fill, iterable of Fill, or a Polars, pandas or Arrow frame
    reading : FactOptions

    Raises
    ------
    InvalidRows
        If rows are refused, unless they go into quarantine.
    InputError
        For a source that cannot be read.
    """
    return _read(source, Fill, FILL, REJECTED_FILLS, reading)


def read_orders(source: object, reading: FactOptions) -> Facts:
    """Read order snapshots from a frame or records; the arguments are those of :func:`read_fills`.

    Raises
    ------
    InvalidRows, InputError
    """
    return _read(source, Order, ORDER, REJECTED_ORDERS, reading)


def read_cash_flows(source: object, reading: FactOptions) -> Facts:
    """Read cash flows from a frame or records; the arguments are those of :func:`read_fills`.

    Raises
    ------
    InvalidRows, InputError
    """
    return _read(source, CashFlow, CASH_FLOW, REJECTED_CASH_FLOWS, reading)


def _read(source: object, record: type[Record], schema: pl.Schema, refused: pl.Schema, reading: FactOptions) -> Facts:
    noun = NOUNS[record]
    frame = frame_of(source, noun)
    if isinstance(source, str | os.PathLike):
        raise InputError(
            f"an ingest of {noun} takes a frame, not the path {str(source)!r}: polars.read_csv(path) reads one."
        )
    if frame is None:
        frame = records_frame(source, record, schema)
    left_out = [name for name, ours in (reading.columns or {}).items() if ours is None]
    frame = renamed(frame, {name: ours for name, ours in (reading.columns or {}).items() if ours}, list(schema))
    frame = _with_run(frame.drop(left_out, strict=False), reading.run_id)
    frame = _with_zone(frame, reading.timezone)
    faults = Faults(noun, frame.height)
    rows = check_frame(frame, record, schema, faults, floats=reading.floats == "shortest")
    _keep_several(rows, faults, "its last snapshot" if record is Order else "one")
    assert faults.reasons is not None
    whole = rows.with_columns(reason=faults.reasons).with_row_index("row").cast({"row": pl.Int64})
    rejected = whole.filter(pl.col("reason").is_not_null()).select(list(refused))
    if rejected.height and reading.on_invalid == "raise":
        raise _invalid(rejected, frame.height, noun)
    return Facts(rows.filter(faults.reasons.is_null()), rejected)


def _with_run(frame: pl.DataFrame, run_id: str | None) -> pl.DataFrame:
    """Set the run of all rows that have none.

    Raises
    ------
    InputError
        If some rows belong to another run.
    """
    if run_id is None:
        return frame
    if "run_id" not in frame.columns:
        return frame.with_columns(run_id=pl.lit(run_id))
    others = frame["run_id"].drop_nulls().cast(pl.String)
    others = others.filter(others != run_id)
    if others.len():
        raise InputError(
            f"run_id={run_id!r} was given, but the source has rows of run {others[0]!r}. Leave run_id out, or filter "
            "them."
        )
    return frame.with_columns(pl.col("run_id").cast(pl.String).fill_null(run_id))


def _with_zone(frame: pl.DataFrame, zone: str | None) -> pl.DataFrame:
    """Set the zone of naive times.

    Raises
    ------
    InputError
        For an unknown zone, a time that a clock change skips or repeats there, or if no column has naive times.
    """
    if zone is None:
        return frame
    naive = [name for name in _TIMES if isinstance(kind := frame.schema.get(name), pl.Datetime) and not kind.time_zone]
    if not naive:
        raise InputError(f"timezone={zone!r} is for times without a zone, and there are none. Leave it out.")
    try:
        return frame.with_columns(pl.col(name).dt.replace_time_zone(zone) for name in naive)
    except pl.exceptions.PolarsError as error:
        cause = str(error).splitlines()[0]
        raise InputError(f"timezone={zone!r}: {cause} Give an IANA zone, such as 'UTC' or 'Europe/Berlin'.") from error


def _keep_several(rows: pl.DataFrame, faults: Faults, wanted: str) -> None:
    """Refuse all rows of an id that has rows with different contents."""
    contents = rows.filter(pl.col("id").is_not_null()).unique()
    several = contents["id"].filter(contents["id"].is_duplicated()).unique()
    if several.len():
        faults.keep(
            rows["id"].is_in(several.implode()), f"id: it stands here with several contents; give {wanted} only"
        )


def _invalid(rejected: pl.DataFrame, total: int, noun: str) -> InvalidRows:
    counted = rejected.group_by("reason").len("count").sort("count", "reason", descending=[True, False])
    counts: dict[str, Any] = dict(counted.iter_rows())
    listed = "; ".join(f"{reason}: {count}" for reason, count in [*counts.items()][:_SHOWN])
    listed += f"; and {len(counts) - _SHOWN} more reasons" if len(counts) > _SHOWN else ""
    first = rejected.row(0, named=True)
    return InvalidRows(
        f"{rejected.height} of {total} rows are no {noun}, so nothing was written ({listed}). The first is row "
        f"{first['row']}, id {first['id']!r}. Mend the source, or take the good rows with on_invalid='quarantine'; the "
        "error's .rejected_rows has them all.",
        rejected,
        counts,
    )
