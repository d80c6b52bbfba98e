"""Frames in the formats of PostgreSQL's COPY."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import polars as pl

from walle.dialects.base import BATCH_ROWS

__all__ = ["bars_in_binary", "rows_in_csv"]


def rows_in_csv(frame: pl.DataFrame) -> Iterator[bytes]:
    """Yield COPY's CSV format."""
    for part in frame.iter_slices(BATCH_ROWS):
        # non_numeric quotes texts but not nulls, which is how COPY distinguishes '' from NULL
        text = part.write_csv(
            None, include_header=False, quote_style="non_numeric", datetime_format="%Y-%m-%dT%H:%M:%S%.6f+00"
        )
        yield text.encode()


def bars_in_binary(frame: pl.DataFrame) -> Iterator[bytes]:
    """Yield COPY's binary format, which keeps every bit of a float64, built column by column.

    See https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format".
    """
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    for key, part in frame.partition_by(texts, maintain_order=True, as_dict=True).items():
        constants = {name: str(value).encode() for name, value in zip(texts, key, strict=True)}
        for rows in part.iter_slices(BATCH_ROWS):
            yield _pack(rows, constants)
    yield b"\xff\xff"


def _pack(rows: pl.DataFrame, constants: Mapping[str, bytes]) -> bytes:
    layout: list[tuple[str, str]] = [("fields", ">i2")]
    for name in rows.columns:
        kind = f"S{len(constants[name])}" if name in constants else ">f8" if rows[name].dtype == pl.Float64 else ">i8"
        layout += [(f"{name} size", ">i4"), (name, kind)]
    packed = np.zeros(rows.height, dtype=layout)
    packed["fields"] = rows.width
    for name in rows.columns:
        packed[f"{name} size"] = packed.dtype[name].itemsize
        if name in constants:
            packed[name] = constants[name]
        elif rows[name].dtype == pl.Float64:
            packed[name] = rows[name].to_numpy()
        else:  # PostgreSQL counts microseconds from 2000
            packed[name] = rows[name].to_physical().to_numpy() - 946_684_800_000_000
    return packed.tobytes()
