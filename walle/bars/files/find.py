"""Find the files that a path, a pattern, a folder, or a list of those stands for."""

from __future__ import annotations

import difflib
import glob
import os
from collections.abc import Iterable
from pathlib import Path

from walle.errors import InputError

__all__ = ["COMPRESSIONS", "ENDINGS", "find_files", "is_known", "split_name"]

ENDINGS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".feather": "arrow",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".ipc": "arrow",
}
"""The format of a file by its ending."""

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd", ".zip": "zip"}
"""The compression of a file by its ending."""

_IN_FOLDERS = [ending for ending in ENDINGS if ending != ".txt"]  # most .txt files in folders are readmes


def find_files(source: object) -> list[Path]:
    """List the files that a source names.

    Parameters
    ----------
    source : path, glob pattern, folder, or iterable of those
        A folder stands for the files directly in it that have a known ending and are not hidden; ``~`` is the home
        folder; a pattern may contain ``**``. An existing path is never read as a pattern.

    Returns
    -------
    list of Path
        Sorted within each folder and pattern, otherwise in the source's order; each file once.

    Raises
    ------
    InputError
        If nothing is found, a folder has no file with a known ending, a name is not UTF-8, or the source has another
        type.

    Examples
    --------
    >>> find_files("data/*.feather")  # doctest: +SKIP
    [PosixPath('data/ETH_BTC-5m.feather'), PosixPath('data/XRP_ETH-5m.feather')]
    """
    if isinstance(source, str | os.PathLike):
        found = _one(source)
    elif isinstance(source, Iterable) and not isinstance(source, bytes | dict):
        parts = list(source)
        wrong = [part for part in parts if not isinstance(part, str | os.PathLike)]
        if wrong:
            raise InputError(f"{wrong[0]!r} is no path. Give paths, patterns or folders, as text or pathlib.Path.")
        if not parts:
            raise InputError("an empty list names no file.")
        found = [file for part in parts for file in _one(part)]
    else:
        raise InputError(
            f"a {type(source).__name__} names no file. Give a path, a pattern, a folder, or a list of those."
        )
    files = list({file.absolute(): file for file in found}.values())
    for name in map(str, files):
        if (shown := name.encode(errors="replace").decode()) != name:  # neither a frame nor a database can store it
            raise InputError(f"the name of the file {shown} is not UTF-8: {os.fsencode(name)!r}. Rename it.")
    return files


def _one(source: object) -> list[Path]:
    text = os.fspath(source)  # type: ignore[call-overload]  # a str or PathLike: find_files has looked
    if not isinstance(text, str) or not text or "\0" in text:
        raise InputError(f"{source!r} is no path.")
    path = Path(text).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.exists():
        if not path.is_file():
            raise InputError(f"{path} is no regular file.")
        return [path]
    if glob.has_magic(text):
        matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))  # noqa: PTH207 - Path.glob shows hidden files
        files = [match for match in matches if match.is_file()]
        if not files:
            raise InputError(f"no file matches {text!r}.")
        return files
    if "://" in text:
        raise InputError(f"{text!r} is an address; bars are read from files on disk. Fetch it first.")
    raise InputError(f"there is no file {text!r}.{_near(path)}")


def _folder(folder: Path) -> list[Path]:
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"the folder {folder} cannot be listed: {error.strerror}.") from error
    files = [path for path in inside if path.is_file() and is_known(path.name)]
    if not files:
        raise InputError(
            f"the folder {folder} holds no file to read. Known endings: {' '.join(_IN_FOLDERS)}, also inside "
            f"{' '.join(COMPRESSIONS)}; folders inside it are not searched: '{folder}/**/*.csv' would."
        )
    return files


def is_known(name: str) -> bool:
    """Return whether a file in a folder or an archive looks like data: it has a known ending and is not hidden."""
    if name.startswith("."):
        return False
    plain, compression, ending = split_name(name)
    return bool(plain) and (ending in _IN_FOLDERS or (compression == "zip" and not ending))


def split_name(name: str) -> tuple[str, str | None, str]:
    """Split a file name into its stem, its compression and its ending.

    Examples
    --------
    >>> split_name("ETH_BTC-5m.json.gz"), split_name("BTCUSDT-1m-2024-01.zip")
    (('ETH_BTC-5m', 'gzip', '.json'), ('BTCUSDT-1m-2024-01', 'zip', ''))
    """
    path = Path(name)
    compression = COMPRESSIONS.get(path.suffix.lower())
    if compression is not None:
        path = path.with_suffix("")
    ending = path.suffix.lower() if path.suffix.lower() in ENDINGS else ""
    return (path.stem if ending else path.name), compression, ending


def _near(path: Path) -> str:
    try:
        siblings = [sibling.name for sibling in path.parent.iterdir()]
    except OSError:
        return f" There is no folder {str(path.parent)!r} either." if not path.parent.exists() else ""
    match = difflib.get_close_matches(path.name, siblings, 1, 0.8)
    return f" Did you mean {str(path.parent / match[0])!r}?" if match else ""
