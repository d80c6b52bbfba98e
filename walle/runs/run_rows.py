"""Read runs from records or frames."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from walle.errors import InputError
from walle.frames import RUN_SUMMARY, RUNS
from walle.interop import frame_of
from walle.records import Owner, Run
from walle.validation import parse_json

__all__ = ["runs_of"]

_REQUIRED = ("id", "strategy_id", "mode")


def runs_of(source: object) -> list[Run]:
    """Return runs as records.

    Parameters
    ----------
    source : iterable of Run, or a Polars, pandas or Arrow frame
        A frame has columns of :data:`walle.frames.RUNS`: id, strategy_id and mode, and any of the others; ``config``
        and ``owner`` are JSON texts or structs. The additional columns of :data:`walle.frames.RUN_SUMMARY` are ignored.

    Raises
    ------
    InputError
        For any other source, for a row that is not a run (the message has its number), and for a duplicate id.
    """
    frame = frame_of(source, "runs")
    if frame is None:
        if not isinstance(source, Iterable) or isinstance(source, str | bytes | Mapping):
            raise InputError(f"runs come as walle.Run records or as a frame, not as a {type(source).__name__}.")
        runs = list(source)
        strangers = [item for item in runs if not isinstance(item, Run)]
        if strangers:
            raise InputError(f"a run is a walle.Run record, not a {type(strangers[0]).__name__}.")
    else:
        runs = _of_frame(frame)
    seen: set[str] = set()
    for run in runs:
        if run.id in seen:
            raise InputError(f"run {run.id!r} stands in this call more than once; give it once.")
        seen.add(run.id)
    return runs


def _of_frame(frame: pl.DataFrame) -> list[Run]:
    unknown = [name for name in frame.columns if name not in RUN_SUMMARY]
    if unknown:
        raise InputError(f"runs have no column {unknown[0]!r}. Allowed: {', '.join(RUNS)}.")
    missing = [name for name in _REQUIRED if name not in frame.columns]
    if missing:
        raise InputError(f"the frame of runs lacks {', '.join(map(repr, missing))}.")
    runs = []
    for number, row in enumerate(frame.select([name for name in frame.columns if name in RUNS]).iter_rows(named=True)):
        try:
            runs.append(_run({name: value for name, value in row.items() if value is not None}))
        except InputError as error:
            raise InputError(f"row {number} is no run: {error} Nothing was written.") from error
    return runs


def _run(row: dict[str, Any]) -> Run:
    for name in ("config", "owner"):
        if isinstance(row.get(name), str):
            try:
                row[name] = parse_json(row[name])
            except ValueError as error:
                raise InputError(f"{name} is no JSON: {error}.") from error
    lacking = [name for name in _REQUIRED if name not in row]
    if lacking:
        raise InputError(f"{lacking[0]} has no value.")
    if "owner" in row:
        owner, known = row["owner"], {item.name for item in dataclasses.fields(Owner)}
        if not isinstance(owner, Mapping) or not {"host", "pid", "started"} <= owner.keys() <= known:
            raise InputError(
                "owner has not exactly host, pid and started; what may come with them: ticks, boot, machine, namespace."
            )
        row["owner"] = Owner(**owner)
    if "symbols" in row:
        row["symbols"] = tuple(row["symbols"])
    return Run(**row)
