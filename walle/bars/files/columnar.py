"""Read Parquet and Arrow IPC (Feather), one row group or record batch after the other."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from walle.bars.files.sniff import Opened, size_text
from walle.bars.files.sources import once
from walle.errors import InputError

__all__ = ["ArrowSource", "ParquetSource", "open_columnar"]

_BYTES_A_CELL = 8
_FOREIGN_ZONE = re.compile(r"[Zz]|utc|[+-]\d\d:?(?!00)\d\d")  # Polars has no such zones; the instants stay the same


class ParquetSource:
    """A Parquet file, read by row groups in batches.

    Parameters
    ----------
    opened : Opened
    """

    header = True
    hint: str | None = None

    def __init__(self, opened: Opened) -> None:
        from pyarrow import parquet

        self._path = opened.path
        self.first: list[object] = []
        with parquet.ParquetFile(str(opened.path)) as file:
            metadata = file.metadata
            self.names = once([field.name for field in file.schema_arrow])
            _not_empty(metadata.num_rows, self.names)
            groups = (metadata.row_group(index).total_byte_size for index in range(metadata.num_row_groups))
            _not_larger(max(metadata.num_rows * _BYTES_A_CELL, *groups, 0), opened.maximum_bytes)

    def read(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Yield the columns with the types that they have."""
        from pyarrow import parquet

        with parquet.ParquetFile(str(self._path)) as file:
            for batch in file.iter_batches(batch_size=rows, columns=list(columns), use_threads=False):
                yield _frame(batch, columns)


class ArrowSource:
    """An Arrow IPC file or stream, or a Feather file of either version.

    Parameters
    ----------
    opened : Opened
    """

    header = True
    hint: str | None = None

    def __init__(self, opened: Opened) -> None:
        import pyarrow as pa
        from pyarrow import dataset

        self._path, self._format = opened.path, opened.format
        self.first: list[object] = []
        with pa.OSFile(str(opened.path)) as file:
            if self._format == "arrow":
                self.names = once(pa.ipc.open_file(file).schema.names)
                # the footer and the headers of the batches hold the number of rows, so nothing is decompressed here
                count = dataset.dataset(str(opened.path), format="ipc").count_rows()
                _not_empty(count, self.names)
                _not_larger(count * _BYTES_A_CELL, opened.maximum_bytes)
            elif self._format == "arrow stream":
                self.names = once(pa.ipc.open_stream(file).schema.names)
            else:
                self._old = _feather_1(opened.path)
                self.names = once(self._old.schema.names)
                _not_empty(self._old.num_rows, self.names)

    def read(self, columns: Sequence[str], rows: int) -> Iterator[pl.DataFrame]:
        """Yield the columns with the types that they have."""
        import pyarrow as pa

        if self._format == "feather 1":
            for batch in self._old.select(columns).to_batches(max_chunksize=rows):
                yield _frame(batch, columns)
            return
        options = pa.ipc.IpcReadOptions(included_fields=[self.names.index(name) for name in columns], use_threads=False)
        with pa.OSFile(str(self._path)) as file:
            if self._format == "arrow":
                reader = pa.ipc.open_file(file, options=options)
                batches: Any = (reader.get_batch(index) for index in range(reader.num_record_batches))
            else:
                batches = pa.ipc.open_stream(file, options=options)
            for batch in batches:
                yield from _frame(batch, columns).iter_slices(rows)


def open_columnar(opened: Opened) -> ParquetSource | ArrowSource:
    """Read the schema of a file.

    Raises
    ------
    InputError
        For a file without rows, two columns with the same name, or more rows than the limit allows.
    """
    return ParquetSource(opened) if opened.format == "parquet" else ArrowSource(opened)


def _feather_1(path: Path) -> Any:
    from pyarrow import feather

    with warnings.catch_warnings():
        # later versions of pyarrow will not read this old format; their error says so
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        return feather.read_table(str(path), memory_map=False)


def _frame(batch: Any, columns: Sequence[str]) -> pl.DataFrame:
    import pyarrow as pa

    batch = batch.select(list(columns))
    # drop the metadata of the columns: Polars panics if it is not text
    batch = pa.RecordBatch.from_arrays(batch.columns, names=list(columns))
    batch.validate(
        full=True
    )  # Arrow trusts the lengths and offsets in a file, and would read a damaged one out of bounds
    for place, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and _FOREIGN_ZONE.fullmatch(field.type.tz or ""):
            utc = pa.timestamp(field.type.unit, "UTC")
            batch = batch.set_column(place, field.name, batch.column(place).cast(utc))
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _not_empty(rows: int, names: Sequence[str]) -> None:
    if not rows:
        raise InputError(f"there are columns ({', '.join(names)}) and no row.")


def _not_larger(size: int, maximum: int) -> None:
    if size > maximum:
        raise InputError(f"a column of it would take {size_text(size)}, which is larger than {size_text(maximum)}.")
