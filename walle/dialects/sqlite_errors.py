"""Translate SQLite's errors into ours by their result codes."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from sqlalchemy.exc import DBAPIError

from walle import scratch
from walle.dialects import sqlite_guards
from walle.dialects.sqlite_file import SQLiteFile
from walle.errors import (
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    DuplicateKey,
    ImmutableRecord,
    NotAWalleStore,
    ReadOnly,
    StorageFull,
    UnreadableRow,
    WalleError,
)
from walle.models import metadata

__all__ = ["is_between_logs", "is_busy", "staging", "translate"]

_LAST = (1 << 63) - 1
_ROOM = 1 << 24
"""The number of free bytes from which a disk does not count as full."""

_UNIQUE = (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
_NO_LIVE_READ = (
    sqlite3.SQLITE_READONLY_CANTINIT,
    sqlite3.SQLITE_READONLY_CANTLOCK,
    sqlite3.SQLITE_READONLY_RECOVERY,
)


def is_busy(error: BaseException | None) -> bool:
    """Return whether an error means that another connection holds a lock."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY


def is_between_logs(error: BaseException) -> bool:
    """Return whether SQLite would have to create a log to read: the one there was is gone with its last writer."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_DIRECTORY


@contextmanager
def staging() -> Iterator[None]:
    """Turn a full disk into our error during work that writes only temporary tables.

    Raises
    ------
    StorageFull
    DBAPIError
        For any other reason, unchanged.
    Error
        Likewise.
    """
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if getattr(cause, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_FULL:
            raise
        ours = _temporary_full()
        raise ours from error


def _temporary_full() -> StorageFull:
    return scratch.full(
        scratch.sqlite_folder(),
        "SQLite stages and sorts rows there",
        "SQLITE_TMPDIR (or TMPDIR, which Python uses too)",
    )


def translate(error: sqlite3.Error, file: SQLiteFile, *, read_only: bool, patience: float) -> WalleError:
    """Translate an error by its result code.

    Parameters
    ----------
    error : sqlite3.Error
    file : SQLiteFile
    read_only : bool
        Whether the store was opened read-only.
    patience : float
        The number of seconds spent waiting for a lock.
    """
    path = file.path
    code = getattr(error, "sqlite_errorcode", None) or 0
    match code & 0xFF:
        case sqlite3.SQLITE_NOTADB:
            return NotAWalleStore(f"{path} is not a SQLite database; it was not touched.")
        case sqlite3.SQLITE_CORRUPT:
            return DatabaseError(f"{path} is damaged ({error}). Restore it from a copy.")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return DatabaseBusy(f"{path} was locked for {patience:.0f} s by another process, or by an open session.")
        case sqlite3.SQLITE_READONLY if code in _NO_LIVE_READ:
            return DatabaseUnavailable(f"{path} cannot be opened{_why_not_live(file)}.")
        case sqlite3.SQLITE_READONLY if read_only and is_between_logs(error):
            return DatabaseBusy(
                f"{path} was opened or closed by another process while it was read, and a reader without write access "
                "to its folder cannot lock it. Read again."
            )
        case sqlite3.SQLITE_READONLY if read_only:
            return ReadOnly(f"{path} was opened with read_only=True; to write, open it without.")
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return ReadOnly(f"{path} or its folder cannot be written. Use read_only=True to read it.")
        case sqlite3.SQLITE_FULL:
            if shutil.disk_usage(file.real.parent).free >= _ROOM and (spent := _spent(file)):
                return DatabaseError(
                    f"the disk is not full: {path} has no id left for a row of {spent}, because another program wrote "
                    f"one with the highest possible id, {_LAST}. Move it aside, which resets the counter of ids: "
                    "walle upgrade --set-aside."
                )
            if scratch.roomier(file.real.parent, scratch.sqlite_folder()):
                return _temporary_full()
            return StorageFull(f"the disk of {path} is full; nothing of this call was written.")
        case sqlite3.SQLITE_IOERR if code == sqlite3.SQLITE_IOERR_GETTEMPPATH:
            return DatabaseError(
                f"SQLite finds no writable temporary folder (it would use {scratch.sqlite_folder()}). Set "
                "SQLITE_TMPDIR or TMPDIR to one before Python starts."
            )
        case sqlite3.SQLITE_CANTOPEN:
            return DatabaseUnavailable(f"{path} cannot be opened{_why_not(file)}.")
        case sqlite3.SQLITE_CONSTRAINT if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER:
            form = str(error).startswith(sqlite_guards.REFUSED)
            return UnreadableRow(f"{error}.") if form else ImmutableRecord(f"{error}.")
        case sqlite3.SQLITE_CONSTRAINT if code in _UNIQUE:
            return DuplicateKey(f"already taken: {str(error).rpartition(': ')[2]}. Nothing of this call was written.")
    return DatabaseError(f"{path}: {error}.")


def _spent(file: SQLiteFile) -> str | None:
    """Return the table whose counter of ids is exhausted, which SQLite also reports as a full disk."""
    with contextlib.suppress(sqlite3.Error):
        address = f"file:{quote(str(file.path))}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=0)) as connection:
            rows = connection.execute("SELECT name FROM sqlite_sequence WHERE seq = ?", (_LAST,)).fetchall()
            return next((name for (name,) in rows if name in metadata.tables), None)
    return None


def _why_not(file: SQLiteFile) -> str:
    if not file.path.exists():
        return (
            f": it is a link to {file.real}, and there is no such file"
            if file.path.is_symlink()
            else (": there is no such file")
        )
    for path in (file.path, file.beside("-wal"), file.beside("-shm")):
        if path.exists() and not os.access(path, os.R_OK):
            return f": you may not read {'it' if path == file.path else path}"
    return _why_not_live(file) if file.beside("-wal").exists() else ""


def _why_not_live(file: SQLiteFile) -> str:
    return (
        f": the latest changes are in {file.beside('-wal')}, and reading them needs the index "
        f"{file.beside('-shm').name}, which this process may not create. Get write access to the folder, or have the "
        "owner close the store (or keep it open)"
    )
