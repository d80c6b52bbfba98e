"""Make every connection to a SQLite file check that the file has not been replaced.

A connection continues to work with a file that was removed or renamed, so writes would be acknowledged and lost, and
reads would never see the new file. The path is checked when a connection is opened or checked out of its pool, after
BEGIN, and before and after COMMIT.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolResetState

from walle.dialects.sqlite_errors import is_between_logs
from walle.dialects.sqlite_file import SQLiteFile
from walle.errors import DatabaseBusy

__all__ = ["check_begun", "check_read", "watch"]

LOG_BYTES = 64 * 2**20
"""The size to which the -wal is truncated when it is restarted after a large ingest."""

_PAGES = re.compile(
    r"(\*\*\* in database \w+ \*\*\*\s+)?"
    r"(tree|page|on tree page|(main )?freelist|list of tree roots|outstanding|multiple uses|failed|unable)\b",
    re.IGNORECASE,
)
"""The beginning of quick_check's messages about pages; those about values and indexes begin differently."""

_SEEN = "walle_file"
_STAMP = "walle_stamp"


def watch(engine: Engine, file: SQLiteFile, mode: str) -> None:
    """Let an engine open a file in a mode ("ro", "rw", "rwc"), and bind it to that file.

    Raises
    ------
    FileReplaced
        Raised by the connections: after that, the engine does not work until the file is back in its place.
    """
    _watch_opening(engine, file, mode)
    _watch_ends(engine, file)
    if mode == "ro":
        _watch_reading(engine, file)
    else:
        _set_pragmas(engine)


def _watch_opening(engine: Engine, file: SQLiteFile, mode: str) -> None:
    @event.listens_for(engine, "do_connect")
    def find(_: Any, record: ConnectionPoolEntry, arguments: list[Any], __: Any) -> None:
        file.verify()
        file.warn()
        file.refuse_foreign_log()
        record.info[_SEEN] = file.identity()
        arguments[0], record.info[_STAMP] = file.address(mode)

    @event.listens_for(engine, "connect", insert=True)  # before any statement, because the first one opens the log
    def recognise(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        file.remember()
        file.verify()
        if record.info[_SEEN] not in (None, file.identity()):
            raise DatabaseBusy(f"{file.path} was replaced while it was being opened. Try again.")

    @event.listens_for(engine, "checkout")
    def take(connection: DBAPIConnection, record: ConnectionPoolEntry, _: Any) -> None:
        _hold(connection, file)
        if _is_stale(record.info, file):
            raise DisconnectionError("the pool opens the file as it is now")
        if record.info.get(_STAMP) is None:
            _judge_size(connection, file)


def _set_pragmas(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA synchronous=FULL")  # so that an acknowledged fill survives a power failure
        cursor.execute(f"PRAGMA journal_size_limit={LOG_BYTES}")
        cursor.close()


def _watch_ends(engine: Engine, file: SQLiteFile) -> None:
    @event.listens_for(engine, "reset")
    def roll_back(connection: DBAPIConnection, _: ConnectionPoolEntry, state: PoolResetState) -> None:
        # SQLAlchemy regards a failed COMMIT as the end, but SQLite keeps the transaction and the lock of the file
        if not state.terminate_only:
            connection.rollback()

    commit = engine.dialect.do_commit

    def commit_held(connection: Any) -> None:
        _hold(connection, file)
        commit(connection)
        _hold(connection, file, written=True)

    engine.dialect.do_commit = commit_held  # type: ignore[method-assign, assignment]  # no event comes after a commit


def _watch_reading(engine: Engine, file: SQLiteFile) -> None:
    @event.listens_for(engine, "after_cursor_execute")
    def check(connection: Connection, *_: Any) -> None:
        check_read(connection, file)

    @event.listens_for(engine, "handle_error")
    def explain(context: ExceptionContext) -> None:
        if is_between_logs(context.original_exception):
            context.is_disconnect = True  # the next one opens the file as it is then
        if context.connection is not None:  # to a reader of an immutable file, changes look like damage
            check_read(context.connection, file)


def check_begun(connection: Connection, file: SQLiteFile) -> None:
    """Raise and roll back the transaction that has begun if it is not on the file at the path.

    Raises
    ------
    FileReplaced
    """
    _hold(connection.connection, file)
    if connection.info.get(_STAMP) is None:
        _judge_size(connection.connection, file)


def check_read(connection: Connection, file: SQLiteFile) -> None:
    """Raise if the connection may have read a mixture of old and new data.

    Raises
    ------
    DatabaseBusy
    """
    if _is_stale(connection.info, file):
        raise DatabaseBusy(
            f"{file.path} was changed while it was read, and a reader without write access to its folder cannot "
            "lock it. Read again."
        )


def _hold(connection: Any, file: SQLiteFile, *, written: bool = False) -> None:
    if file.replaced:
        connection.rollback()
        if not file.in_use:
            _fold_log(connection)
        file.verify(written=written)


def _fold_log(connection: Any) -> None:
    """Checkpoint the log into its own file; otherwise opening the other file would checkpoint it into that one."""
    with contextlib.suppress(sqlite3.Error):
        _scalar(connection, "PRAGMA wal_checkpoint(TRUNCATE)")


def _judge_size(connection: Any, file: SQLiteFile) -> None:
    if not file.shrunk:
        return
    if (damage := _damage(connection, file)) is not None:
        file.refuse_overwritten(damage)
    file.accept_size()


def _damage(connection: Any, file: SQLiteFile) -> str | None:
    """Return the damage in the pages of a file that has shrunk, or None.

    After VACUUM, too, a file is smaller than its content while later writes are in the -wal. Only pages that are in
    neither prove that another program truncated it, and only SQLite knows which pages of the log are still valid.

    Raises
    ------
    DatabaseError
        The driver's error, if the file could not be read for another reason.
    """
    try:
        if file.holds(_scalar(connection, "PRAGMA page_count") * _scalar(connection, "PRAGMA page_size")):
            return None
        found = str(_scalar(connection, "PRAGMA quick_check(1)"))  # it reports pages before the values in them
    except sqlite3.DatabaseError as error:
        code = error.sqlite_errorcode & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return str(error)
        if code != sqlite3.SQLITE_ERROR:
            raise
        return None  # a constraint that calls another program's function proves nothing
    return " ".join(found.split()) if _PAGES.match(found) else None


def _scalar(connection: Any, statement: str) -> Any:
    cursor = connection.cursor()
    try:
        cursor.execute(statement)
        return cursor.fetchone()[0]
    finally:
        cursor.close()


def _is_stale(info: Any, file: SQLiteFile) -> bool:
    stamp = info.get(_STAMP)
    return stamp is not None and stamp != file.stamp()
