"""Keep SQLite's locks right in a forked child whose parent has the same files open.

SQLite counts its POSIX locks in the memory of the process, and a child inherits the counts without the locks: a new
connection of the child would rely on locks that it does not have. Two of them last as long as a connection, and this
module takes them again for the rest of the child's life: the shared lock of the file, without which the parent would
delete the -wal under the child when it closes, and that of the -shm, without which a third process would truncate it.
The others last as long as a transaction; if one was running at the fork, the child may not open the file.
https://www.sqlite.org/howtocorrupt.html#_carrying_an_open_database_across_a_fork_
"""

from __future__ import annotations

import os
from pathlib import Path
from weakref import WeakValueDictionary

from walle.errors import DatabaseUnavailable
from walle.forks import Gate, alone, watch

__all__ = ["FileGate", "Inherited", "check", "gate_of"]

_SHARED = (0x40000002, 510)  # SHARED_FIRST and SHARED_SIZE of SQLite's os.h
_SHM_ALIVE = (128, 1)  # UNIX_SHM_DMS of os_unix.c

_refused: dict[tuple[int, int], str] = {}

_gates: WeakValueDictionary[Path, FileGate] = WeakValueDictionary()


class Inherited:
    """The state of a file before a fork.

    Parameters
    ----------
    path : Path
    busy : bool
        Whether a transaction was running.
    """

    def __init__(self, path: Path, *, busy: bool) -> None:
        self._path, self._busy = path, busy
        self._shm = path.with_name(path.name + "-shm")
        self._file_id, self._shm_id = _identity(path), _identity(self._shm)

    def take_over(self) -> None:
        """Take the child's own locks."""
        if self._file_id is None:
            return
        if self._busy:
            _refused[self._file_id] = "a transaction on it was running"
        elif not (
            _locked(self._path, self._file_id, _SHARED)
            and (self._shm_id is None or _locked(self._shm, self._shm_id, _SHM_ALIVE))
        ):
            _refused[self._file_id] = "it was closed at the same moment"


class FileGate(Gate):
    """The gate for all transactions on one file in this process: of stores, inspections and migrations.

    Parameters
    ----------
    path : Path
        The path with all links resolved.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._noted: Inherited | None = None
        watch(self)

    def before_fork(self) -> None:
        """Record the file if a transaction is running nonetheless; a store itself records the lasting locks."""
        self._noted = Inherited(self._path, busy=True) if self.busy else None

    def forked(self) -> None:
        """Forget the parent's transactions; those of the child are counted from zero."""
        _gates.pop(self._path, None)
        if self._noted is not None:
            self._noted.take_over()


def gate_of(path: Path) -> FileGate:
    """Return the gate of a file; a process has one gate per file."""
    with alone():
        gate = _gates.get(path)
        if gate is None:
            gate = _gates[path] = FileGate(path)
        return gate


def check(path: Path) -> None:
    """Raise if this process may not open a file.

    Raises
    ------
    DatabaseUnavailable
    """
    if _refused and (reason := _refused.get(_identity(path) or (0, 0))) is not None:
        raise DatabaseUnavailable(
            f"{path} cannot be opened in this process: it was forked from one that has the file open, and {reason}. "
            "Start processes with multiprocessing's 'forkserver' or 'spawn', or fork while no transaction is running."
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _locked(path: Path, identity: tuple[int, int], part: tuple[int, int]) -> bool:
    """Lock a part of a file for the lifetime of this process; return False if that file no longer exists."""
    import fcntl

    start, length = part
    try:
        # never closed, because closing any descriptor of a file drops all locks of the process on it
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)
    except OSError:
        return False
    found = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == identity == _identity(path)
