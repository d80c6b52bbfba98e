"""Temporary files: where they lie, and what is said when there is no room for them."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path

from walle.errors import StorageFull, WalleError

__all__ = ["explained", "full", "roomier", "sqlite_folder"]

_FULL = (errno.ENOSPC, errno.EDQUOT)


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
    """Tell whether the disk of a path has more room left than that of another; False where nothing tells."""
    try:
        return shutil.disk_usage(path).free > shutil.disk_usage(other).free
    except OSError:
        return False


def explained(error: OSError, what: str) -> WalleError | None:
    """Return our error for a full disk below Python's temporary folder; None for anything else.

    Parameters
    ----------
    error : OSError
        Of work that writes there and nowhere else.
    what : str
        What lies there, and why.
    """
    return full(Path(tempfile.gettempdir()), what, "TMPDIR") if error.errno in _FULL else None
