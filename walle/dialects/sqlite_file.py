"""The file of a SQLite store: its identity, whether it was replaced, and how it can be read.

SQLite finds the write-ahead log of a database by its name, and so would checkpoint the log of a replaced file into the
new one. This module only examines names: opening the file a second time and closing it again would drop the locks that
SQLite holds on it (https://www.sqlite.org/howtocorrupt.html, "posix_close_bug").
"""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

from walle.dialects.mounts import network_mount
from walle.errors import DatabaseUnavailable, FileReplaced

__all__ = ["SQLiteFile", "Stamp"]

log: logging.Logger = logging.getLogger("walle")

TICK = 50_000_000
"""Nanoseconds within which a file system may give two changes the same time; the coarsest on Linux have 10 ms."""

_TRIES = 3
_PAUSE = 0.02

Identity = tuple[int, int]
Stamp = tuple[tuple[int, int, int, int, int] | None, ...]

_RESTORE = (
    "To restore a copy, close every store of the file, remove any -wal and -shm of it that remain, and only then put "
    "the copy in its place; or let sqlite3's own `.restore` write it."
)

_warned: set[Path] = set()


class SQLiteFile:
    """A path, and the file that was first opened there.

    Parameters
    ----------
    path : Path
        An absolute path; links are followed, as SQLite does.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: Identity | None = None
        self._largest = 0

    @property
    def real(self) -> Path:
        """The path with all links resolved, beside which SQLite keeps the log and its index."""
        return Path(os.path.realpath(self.path))

    def beside(self, suffix: str) -> Path:
        """Return the path of a companion of the file, such as ``-wal``."""
        real = self.real
        return real.with_name(real.name + suffix)

    # identity

    def identity(self) -> Identity | None:
        """Return the current identity of the file, which no other file has; None if there is no file."""
        found = _stat(self.path)
        return None if found is None else (found.st_dev, found.st_ino)

    def remember(self) -> None:
        """Remember the current file, so that :meth:`verify` compares with it from now on."""
        if self._opened is None:
            self._opened = self.identity()

    @property
    def replaced(self) -> bool:
        """Return whether the file that was opened has been replaced or removed."""
        return self._opened is not None and self.identity() != self._opened

    @property
    def shrunk(self) -> bool:
        """Return whether the file is smaller than before; SQLite itself shrinks it only if it holds less."""
        found = _stat(self.path)
        size = 0 if found is None else found.st_size
        self._largest = max(self._largest, size)
        return size < self._largest

    def accept_size(self) -> None:
        """Accept the current size of the file as one that SQLite itself produced."""
        found = _stat(self.path)
        self._largest = 0 if found is None else found.st_size

    def holds(self, size: int) -> bool:
        """Return whether the file itself has that many bytes; the rest may be in the log."""
        found = _stat(self.path)
        return found is not None and found.st_size >= size

    def refuse_overwritten(self, damage: str) -> NoReturn:
        """Raise for a file that has shrunk and is damaged.

        Parameters
        ----------
        damage : str
            SQLite's description of the damage.

        Raises
        ------
        FileReplaced
        """
        raise FileReplaced(
            f"{self.path} was overwritten in place while it was open: it is smaller than SQLite left it, and damaged "
            f"({damage}). Nothing of this call was written. Close every store of it, move the file away together with "
            "its -wal and -shm if they are left (they may hold the last commits), and only then put a copy in its "
            "place.",
            self.path,
        )

    def verify(self, *, written: bool = False) -> None:
        """Raise if the file at the path is no longer the one that was opened.

        Parameters
        ----------
        written : bool
            Whether the call has committed, so that its changes are in the file that was opened.

        Raises
        ------
        FileReplaced
        """
        if not self.replaced:
            return
        happened = "was replaced by another file" if self.identity() is not None else "was removed or renamed"
        fate = (
            "This call wrote to the previous file; its changes are lost unless that file was kept. "
            if written
            else "Nothing of this call was written. "
        )
        raise FileReplaced(
            f"{self.path} {happened} while it was open. {fate}Close this store and connect again to work with "
            f"the current file. {_RESTORE}",
            self.path,
            written=written,
        )

    # opening

    def address(self, mode: str) -> tuple[str, Stamp | None]:
        """Return the URI with which SQLite opens the file, and its stamp if it is opened as immutable.

        A database with a log needs an index of it (-shm) even for reading, and a reader without write access to the
        folder cannot create one. Without a log, no process has the file open: it is read as immutable, and its stamp
        is compared after each read.

        Parameters
        ----------
        mode : {"ro", "rw", "rwc"}
        """
        uri = f"file:{quote(str(self.path))}?mode={mode}"
        if mode != "ro" or os.access(self.real.parent, os.W_OK):
            return uri, None
        stamp = self._settled_stamp()  # before the search for a log, which may appear just afterwards
        _, log_mark, journal = stamp
        idle = log_mark is None or (log_mark[2] == 0 and _stat(self.beside("-shm")) is None)
        if not idle or (journal is not None and journal[2]):
            return uri, None
        return f"{uri}&immutable=1", stamp

    def stamp(self) -> Stamp:
        """Return a stamp that changes whenever the file does."""
        return tuple(_mark(path) for path in (self.real, self.beside("-wal"), self.beside("-journal")))

    def _settled_stamp(self) -> Stamp:
        """Return the stamp once it is so old that any further change would produce another one."""
        stamp = self.stamp()
        while stamp[0] is not None and 0 <= time.time_ns() - max(stamp[0][3:]) < TICK:
            time.sleep(TICK / 1e9)
            stamp = self.stamp()
        return stamp

    # other processes

    def refuse_foreign_log(self) -> None:
        """Raise if the log beside the file belongs to another file that is still open somewhere.

        This is the state after a restore under an open store; opening the file now would checkpoint that log into it. A
        missing lock alone proves nothing: a process that copies a file that it has open as a store drops its locks on
        it.

        Raises
        ------
        FileReplaced
        """
        if self._opened is not None and not self.replaced:
            return
        for attempt in range(_TRIES):  # a store has only one of the locks while it is being opened or closed
            holders = self._holders_of_another()
            if not holders:
                return
            if attempt < _TRIES - 1:
                time.sleep(_PAUSE)
        raise FileReplaced(
            f"{self.path} was removed or replaced while it was open, and the previous file is still open in "
            f"{', '.join(holders)}: the -wal and -shm of that name belong to it, and would damage another file. "
            "Close the stores there, then connect again; a process that was forked while a store was open holds the "
            "file until it ends.",
            self.path,
        )

    def _holders_of_another(self) -> list[str]:
        shared = self.beside("-shm")
        if (index := _inode(shared)) is None:
            return []
        locks = _locks()
        holders = locks.get(index, set())
        lying = self.identity()
        if lying is not None and (lying[1] in locks or any(_has_open(holder, lying) for holder in holders)):
            return []
        return sorted(holders)

    @property
    def in_use(self) -> bool:
        """Return whether any process has the current file open, as far as can be determined."""
        return _inode(self.path) in _locks()

    def warn(self) -> None:
        """Warn once about a location or name for which SQLite cannot guarantee durability.

        Raises
        ------
        DatabaseUnavailable
            If a process has the file open under another name, because each name has a log of its own.
        """
        real = self.real
        found = _stat(real)
        links = 1 if found is None else found.st_nlink
        if links > 1:
            self._refuse_other_name()
        if real in _warned:
            return
        _warned.add(real)
        if links > 1:
            log.warning(
                "%s has %d names (hard links). Open it by only one of them: each has its own -wal, and a copy by "
                "hard link is not a backup.",
                real,
                links,
            )
        if (kind := network_mount(real)) is not None:
            log.warning(
                "%s is on a network file system (%s), where SQLite's log and locks work for one machine at most and "
                "may damage the file. Keep the store on a local disk, or use PostgreSQL.",
                real,
                kind,
            )

    def _refuse_other_name(self) -> None:
        for attempt in range(_TRIES):
            own = _inode(self.path)
            holders = sorted(_locks().get(own, ())) if own is not None else []
            if not holders or self.beside("-wal").exists() or self.beside("-journal").exists():
                return
            if attempt < _TRIES - 1:
                time.sleep(_PAUSE)
        raise DatabaseUnavailable(
            f"{self.path} is open in {', '.join(holders)} by another name (a hard link), with another -wal; opening it "
            "by two names damages it. Use that name, or a symbolic link to it."
        )


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _mark(path: Path) -> tuple[int, int, int, int, int] | None:
    found = _stat(path)
    if found is None:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _inode(path: Path) -> int | None:
    found = _stat(path)
    return None if found is None else found.st_ino


def _has_open(holder: str, identity: Identity) -> bool:
    """Return whether a process has a file open, as far as this user may see."""
    try:
        opened = list(Path(f"/proc/{holder.removeprefix('process ')}/fd").iterdir())
    except OSError:
        return False
    return any((found := _stat(path)) is not None and (found.st_dev, found.st_ino) == identity for path in opened)


def _locks() -> dict[int, set[str]]:
    """Return the holders of locks by inode, including this process; empty if the system does not list them."""
    try:
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return {}
    found: dict[int, set[str]] = {}
    for line in lines:
        words = [word for word in line.split() if word != "->"]  # an arrow marks processes that only wait
        if len(words) >= 6 and "->" not in line and words[1] == "POSIX":
            found.setdefault(int(words[5].rpartition(":")[2]), set()).add(f"process {words[4]}")
    return found
