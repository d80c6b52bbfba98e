"""What a forked child has to know of the SQLite files that its parent has open.

SQLite counts its POSIX locks in the memory of the process, and a child inherits the counts without the locks: a new
connection of the child would rely on locks that it does not have. Two of them last as long as a connection, and are
taken anew here, for the rest of the child's life: the shared lock of the file, without which the parent would delete
the -wal under the child at its close, and that of the -shm, without which a third process would empty it. The others
last as long as a transaction; where one was under way at the fork, the child may not open the file.
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
    """One file as it was before a fork.

    Parameters
    ----------
    path : Path
    busy : bool
        A transaction was under way.
    """

    def __init__(self, path: Path, *, busy: bool) -> None:
        self._path, self._busy = path, busy
        self._shm = path.with_name(path.name + "-shm")
        self._file_id, self._shm_id = _identity(path), _identity(self._shm)

    def take_over(self) -> None:
        """Take the locks of the child's own."""
        if self._file_id is None:
            return
        if self._busy:
            _refused[self._file_id] = "a transaction on it was under way"
        elif not (
            _locked(self._path, self._file_id, _SHARED)
            and (self._shm_id is None or _locked(self._shm, self._shm_id, _SHM_ALIVE))
        ):
            _refused[self._file_id] = "it was closed at the same moment"


class FileGate(Gate):
    """What every transaction on one file passes in this process: a store's, a look's and a migration's.

    Parameters
    ----------
    path : Path
        The file behind all links.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._noted: Inherited | None = None
        watch(self)

    def before_fork(self) -> None:
        """Note the file when a transaction is under way all the same; the locks that last are a store's to note."""
        self._noted = Inherited(self._path, busy=True) if self.busy else None

    def forked(self) -> None:
        """Leave what is counted to the parent; what the child opens counts anew."""
        _gates.pop(self._path, None)
        if self._noted is not None:
            self._noted.take_over()


def gate_of(path: Path) -> FileGate:
    """Return the one gate of a file in this process."""
    with alone():
        gate = _gates.get(path)
        if gate is None:
            gate = _gates[path] = FileGate(path)
        return gate


def check(path: Path) -> None:
    """Raise where this process may not open a file.

    Raises
    ------
    DatabaseUnavailable
    """
    if _refused and (reason := _refused.get(_identity(path) or (0, 0))) is not None:
        raise DatabaseUnavailable(
            f"{path} cannot be opened in this process: it was forked from one that has the file open, and {reason}. "
            "Start processes by multiprocessing's 'forkserver' or 'spawn', or fork when nothing is under way."
        )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _locked(path: Path, identity: tuple[int, int], part: tuple[int, int]) -> bool:
    """Lock a part of a file for as long as this process lives; False when that file is not there any more."""
    import fcntl

    start, length = part
    try:
        # never closed: closing any descriptor of a file drops all locks of the process on it
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, length, start)
    except OSError:
        return False
    found = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == identity == _identity(path)
