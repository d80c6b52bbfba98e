"""Turn the errors that libraries raise about a file into one error that names the file."""

from __future__ import annotations

import csv
import lzma
import sys
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from walle.errors import InputError, UnknownTimeframe

__all__ = ["naming"]


@contextmanager
def naming(path: Path | None) -> Iterator[None]:
    """Turn every error about a file into an :class:`InputError` that names the file.

    Parameters
    ----------
    path : Path, optional
        The file; None for a frame, whose messages stay unchanged.

    Raises
    ------
    InputError
        For any error of the readers of the file.
    UnknownTimeframe
        Unchanged.
    """
    where = f"{path}: " if path is not None else ""
    try:
        yield
    except UnknownTimeframe as error:
        raise UnknownTimeframe(f"{where}{error}") from error.__cause__
    except InputError as error:
        raise InputError(f"{where}{error}") from error.__cause__
    except EOFError as error:
        raise InputError(f"{where}the file is cut off: its compressed data has no end. Fetch it again.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{where}the text is not UTF-8 ({error.reason}). Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{where}the file cannot be read: {error.strerror or error}.") from error
    except _foreign() as error:
        text = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        what = "the frame cannot be read" if path is None else "the file is damaged, or not what it seems"
        raise InputError(f"{where}{what}: {text}.") from error


def _foreign() -> tuple[type[BaseException], ...]:
    # parsers of damaged files (zipfile, json, the Parquet footer) raise ValueError, KeyError and the like
    known: tuple[type[BaseException], ...] = (
        pl.exceptions.PolarsError,
        pl.exceptions.PanicException,
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        csv.Error,
        ValueError,
        LookupError,
        OverflowError,
        RecursionError,
        NotImplementedError,
    )
    arrow = sys.modules.get("pyarrow")
    return (*known, arrow.ArrowException) if arrow is not None else known
