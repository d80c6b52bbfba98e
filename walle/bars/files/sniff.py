"""Recognise the format of a file by its first bytes, and unpack a compressed file."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from walle.bars.files.find import ENDINGS, is_known, split_name
from walle.errors import InputError
from walle.scratch import Scratch, describe_full_disk

__all__ = ["MAXIMUM_BYTES", "Opened", "open_file", "size_text"]

MAXIMUM_BYTES = 8 * 2**30
"""The default for the maximum size of an unpacked file."""

_CHUNK = 1 << 20
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_PACKED |= {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip"}
_FORMATS = {b"PAR1": "parquet", b"ARROW1": "arrow", b"\xff\xff\xff\xff": "arrow stream", b"FEA1": "feather 1"}
_OTHERS = {
    b"DBN": "a Databento DBN file; write it with databento's own to_csv() or to_parquet()",
    b"\x89HDF": "an HDF5 file; write it as Parquet or Feather",
    b"SQLite format 3": "a SQLite database",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"\xff\xfe": "text in UTF-16; save it as UTF-8",
    b"\xfe\xff": "text in UTF-16; save it as UTF-8",
    b"\x80\x04": "a pickle, which is never loaded: it could run code",
    b"\x80\x05": "a pickle, which is never loaded: it could run code",
}


@dataclass(slots=True)
class Opened:
    """A file that is ready for a reader.

    Parameters
    ----------
    path : Path
        The plain, unpacked file.
    format : {"csv", "json", "parquet", "arrow", "arrow stream", "feather 1"}
    compression : str or None
    stems : list of str
        Names that may contain symbol and timeframe: that of the file, then that of the member of its archive.
    maximum_bytes : int
    unpacked : Scratch or None
        The temporary file to remove after reading.
    """

    path: Path
    format: str
    compression: str | None
    stems: list[str]
    maximum_bytes: int
    unpacked: Scratch | None = None

    def close(self) -> None:
        """Remove the unpacked file."""
        if self.unpacked is not None:
            self.unpacked.close()


def open_file(path: Path, maximum_bytes: int = MAXIMUM_BYTES) -> Opened:
    """Recognise the format of a file by its content, then by its ending, and unpack it.

    Unpacking writes to a temporary file and stops at the limit: a reader never sees half a file, and a decompression
    bomb costs no more than the limit.

    Parameters
    ----------
    path : Path
    maximum_bytes : int
        The maximum size of the unpacked file.

    Raises
    ------
    InputError
        For an empty file, an unknown format, an archive that is damaged, too large or has several data files, or if
        there is no space to unpack it.
    """
    if not path.is_file():
        raise InputError("there is no such file." if not path.exists() else "this is no regular file.")
    stem, expected, ending = split_name(path.name)
    head = _head(path)
    compression = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
    if compression is None:
        if expected is not None and head:
            raise InputError(f"its ending says {expected}, but it does not begin like that: {head[:12]!r}.")
        return Opened(path, _format(head, ending), None, [stem], maximum_bytes)
    stems = [stem]
    scratch = Scratch()
    opened = Opened(scratch.path, "", compression, stems, maximum_bytes, scratch)
    try:
        ending = _unpack(path, compression, scratch.file, stems, maximum_bytes) or ending
        head = _head(opened.path)
        inner = next((name for magic, name in _PACKED.items() if head.startswith(magic)), None)
        if inner is not None:
            raise InputError(f"a {inner} file lies inside the {compression}; unpack it once.")
        opened.format = _format(head, ending)
    except BaseException:
        opened.close()
        raise
    return opened


def _unpack(path: Path, compression: str, target: IO[bytes], stems: list[str], maximum_bytes: int) -> str:
    """Unpack a file, and return the ending of the file inside.

    Raises
    ------
    InputError
        If there is no space for it.
    OSError
        For any other reason.
    """
    ending = ""
    try:
        if compression == "zip":
            ending = _unzip(path, target, stems, maximum_bytes)
        else:
            with _stream(path, compression) as packed:
                copy_bounded(packed, target, maximum_bytes)
        target.flush()
    except OSError as error:
        full = describe_full_disk(error)
        if full is None:
            raise
        raise InputError(full) from error
    return ending


def size_text(count: int) -> str:
    """Format a number of bytes for people."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} bytes"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def _format(head: bytes, ending: str) -> str:
    if not head:
        raise InputError("the file is empty.")
    found = next((name for magic, name in _FORMATS.items() if head.startswith(magic)), None)
    if found is not None:
        return found
    other = next((what for magic, what in _OTHERS.items() if head.startswith(magic)), None)
    if other is not None:
        raise InputError(f"this is {other}.")
    expected = ENDINGS.get(ending)
    if expected in ("parquet", "arrow"):
        word = "Parquet" if expected == "parquet" else "Feather or Arrow IPC"
        raise InputError(f"its ending is {ending}, but it is no {word} file: it begins with {head[:12]!r}.")
    if b"\0" in head:
        raise InputError(f"this is neither text nor a known binary format: it begins with {head[:12]!r}.")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise InputError("the file holds nothing but white space.")
    if text[:1] in (b"[", b"{"):
        return "json"
    if expected == "json":
        raise InputError(f"its ending is {ending}, but no JSON array or object begins it: {text[:12]!r}.")
    return "csv"


def _stream(path: Path, compression: str) -> Any:
    if compression == "gzip":
        return gzip.open(path, "rb")
    if compression == "bz2":
        return bz2.open(path, "rb")
    if compression == "xz":
        return lzma.open(path, "rb")
    import pyarrow as pa  # for its zstd codec; Python has one from 3.14 on

    return pa.input_stream(str(path), compression="zstd")


def _unzip(path: Path, target: IO[bytes], stems: list[str], maximum_bytes: int) -> str:
    with zipfile.ZipFile(path) as archive:
        members = [
            member
            for member in archive.infolist()
            if not member.is_dir() and "__MACOSX" not in member.filename and not _base(member).startswith(".")
        ]
        names = [member.filename for member in members]
        if "[Content_Types].xml" in names:
            raise InputError("this is an Excel workbook; save the sheet as CSV.")
        data = [member for member in members if is_known(_base(member))] or members
        if len(data) != 1:
            listed = ", ".join(repr(member.filename) for member in data[:5]) + (", ..." if len(data) > 5 else "")
            # a file is ingested whole or not at all, and its one name gives symbol and timeframe
            what = f"{len(data)} data files ({listed}); unpack it and give the folder" if data else "no file"
            raise InputError(f"the archive holds {what}.")
        if data[0].flag_bits & 1:
            raise InputError("the archive is encrypted; unpack it first.")
        # only the last part of a member's name is used, and no file is ever written under that name
        stem, _, ending = split_name(_base(data[0]))
        stems.append(stem)
        with archive.open(data[0]) as packed:
            copy_bounded(packed, target, maximum_bytes)
    return ending


def _base(member: zipfile.ZipInfo) -> str:
    return Path(member.filename.replace("\\", "/")).name


def copy_bounded(source: Any, target: IO[bytes], maximum_bytes: int) -> None:
    total = 0
    while chunk := source.read(_CHUNK):
        total += len(chunk)
        if total > maximum_bytes:
            raise InputError(
                f"unpacked it is larger than {size_text(maximum_bytes)}, so unpacking was stopped. If that is no "
                "mistake, unpack it yourself and give the plain file."
            )
        target.write(chunk)
