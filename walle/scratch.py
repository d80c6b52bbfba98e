"""Temporary files: their location, their removal, and the errors when there is no space for them."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

import psutil

from walle.errors import StorageFull

__all__ = ["Scratch", "describe_full_disk", "full", "roomier", "sqlite_folder"]

_OPEN_FILES = Path("/proc/self/fd")
_PREFIX = "walle-scratch-"

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Scratch:
    """A temporary file that does not outlive a killed process.

    On Linux it has no name in any folder, and is read through the path of its descriptor; elsewhere its name contains
    the process, and the next scratch file removes those of processes that are gone.

    Attributes
    ----------
    file : file object
        The file object for writing.
    path : Path
        The path for reading, in this process, until the file is closed.
    """

    def __init__(self) -> None:
        if sys.platform == "linux" and _OPEN_FILES.is_dir():
            self.file: IO[bytes] = tempfile.TemporaryFile(prefix=_PREFIX)  # noqa: SIM115  # closed by close()
            self.path: Path = _OPEN_FILES / str(self.file.fileno())
            self._named = False
        else:
            _sweep()
            handle, name = tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-")
            self.file, self.path, self._named = os.fdopen(handle, "wb"), Path(name), True

    def close(self) -> None:
        """Remove the file; a second call has no effect."""
        with contextlib.suppress(OSError):  # on a full disk, closing fails again to write what is buffered
            self.file.close()
        if self._named:
            self.path.unlink(missing_ok=True)


def _sweep() -> None:
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        owner = left.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdecimal() and not psutil.pid_exists(int(owner)):
            with contextlib.suppress(OSError):
                left.unlink()


def sqlite_folder() -> Path:
    """Return the folder of SQLite's temporary tables and sorts (https://www.sqlite.org/tempfiles.html, section 5)."""
    if sys.platform == "win32":
        return Path(tempfile.gettempdir())
    given = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), "/var/tmp", "/usr/tmp", "/tmp")
    usable = (Path(name) for name in given if name and os.access(name, os.W_OK | os.X_OK) and Path(name).is_dir())
    return next(usable, Path.cwd())


def full(folder: Path, what: str, variables: str) -> StorageFull:
    """Return the error that says which folder is full and how to choose another one."""
    return StorageFull(
        f"the disk of the temporary folder {folder} is full; {what}. Nothing of this call was written. Make room "
        f"there, or set {variables} to a folder on a larger disk before Python starts."
    )


def roomier(path: Path, other: Path) -> bool:
    """Return whether the disk of a path has more free space than that of another; False if it is unknown."""
    try:
        return shutil.disk_usage(path).free > shutil.disk_usage(other).free
    except OSError:
        return False


def describe_full_disk(error: OSError) -> str | None:
    """Return a message about a full disk of Python's temporary folder; None for any other error.

    Parameters
    ----------
    error : OSError
        An error of work that writes only there.
    """
    if error.errno not in _FULL:
        return None
    return (
        f"there is no room to unpack it in the temporary folder {tempfile.gettempdir()} ({error.strerror}). Make room "
        "there, or set TMPDIR to a folder on a larger disk before Python starts."
    )
