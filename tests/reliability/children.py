"""What the child processes of these tests do: ``python -m tests.reliability.children NAME ARGUMENTS...``.

Every function prints one line per step; the first word names the step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import walle
from tests.reliability.material import SYMBOL, big_bars, contents, counted
from tests.samples import fill, order, run
from walle.bars import ingest_source
from walle.database import Database, Writer
from walle.dialects import sqlite
from walle.dialects.sqlite_file import SQLiteFile
from walle.errors import WalleError
from walle.repositories.bars import ingest as ingesting

NOBODY = 65534


def wait_for_word() -> None:
    """Wait until the parent says go, by a line on standard input or its end."""
    sys.stdin.readline()


def ingest(address: str, first: str, count: str) -> None:
    """Ingest bars in one call."""
    frame = big_bars(int(count), first=int(first))
    with walle.connect(address) as store:
        print("go", flush=True)
        started = time.monotonic()
        report = store.bars.ingest(frame, symbol=SYMBOL, timeframe="1m")
        print("done", report.inserted, report.duplicates, time.monotonic() - started)


def ingest_file(address: str, path: str, symbol: str, page: str) -> None:
    """Ingest a file in pages of so many rows."""
    ingest_source.READ_ROWS = int(page)
    with walle.connect(address) as store:
        print("go", flush=True)
        started = time.monotonic()
        report = store.bars.ingest(path, symbol=symbol, timeframe="1m")
        print("done", report.inserted, report.skipped, time.monotonic() - started)


def append(address: str) -> None:
    """Append fills one by one, and tell each when it is stored."""
    with walle.connect(address) as store:
        for number in range(1_000_000):
            store.fills.append(fill(number))
            os.write(1, f"stored fill-{number}\n".encode())  # a kill cannot cut one write in two


def interrupted(address: str, moment: str, count: str) -> None:
    """Ingest until an interrupt comes, then show that the same store still works."""
    announce(moment)
    frame = big_bars(int(count))
    with walle.connect(address) as store, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bars.csv"
        if moment == "opening":
            frame.write_csv(path)
        try:
            if moment == "reading":
                while True:
                    contents(store)
            elif moment == "opening":
                store.bars.ingest(path, symbol=SYMBOL, timeframe="1m")
            else:
                store.bars.ingest(frame, symbol=SYMBOL, timeframe="1m")
        except KeyboardInterrupt:
            print("interrupted", time.monotonic())
        print("bars", counted(store))
        print("fills", store.fills.append(fill()).inserted, store.fills.read().height)
        print("again", store.bars.ingest(frame.head(1000), symbol=SYMBOL, timeframe="1m").rows)


def waiting(address: str) -> None:
    """Write while another process holds the lock, until an interrupt comes."""
    with walle.connect(address) as store:
        print("waiting")
        try:
            store.orders.save(order(status="partial"))
        except KeyboardInterrupt:
            print("interrupted", time.monotonic())
        wait_for_word()
        print("again", store.orders.save(order(status="partial")).rows)


def announce(moment: str) -> None:
    """Print a moment's name when it comes."""

    def before(owner: object, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
        real = getattr(owner, name)

        def announced(*arguments: Any, **options: Any) -> Any:
            if when(*arguments):
                print(moment, flush=True)
            return real(*arguments, **options)

        setattr(owner, name, announced)

    if moment == "checking":
        before(ingest_source, "parse_bars")
    elif moment == "opening":
        before(ingesting, "open_file")
    elif moment == "staging":
        before(Writer, "stage")
    elif moment == "copying":
        before(Writer, "append")
    elif moment == "inserting":
        before(Writer, "execute", lambda _, statement, *__: isinstance(statement, sa.Insert))
    elif moment == "committing":

        def committing(_: sa.Connection) -> None:
            print(moment, flush=True)
            time.sleep(0.1)  # in the loop's thread: the interrupt is there before the statement

        sa.event.listen(sa.Engine, "commit", committing)
    elif moment == "reading":
        before(Database, "fetch")


def commit(address: str, worker: str, count: str) -> None:
    """Write fills, runs and bars by turns, each a commit."""
    with walle.connect(address) as store:
        print("ready", flush=True)
        wait_for_word()
        worst = 0.0
        for turn in range(int(count)):
            number = int(worker) * 1_000_000 + turn
            started = time.monotonic()
            match turn % 3:
                case 0:
                    store.fills.append(fill(number))
                case 1:
                    store.runs.save(run(number))
                case 2:
                    store.bars.ingest(big_bars(1, first=number), symbol=SYMBOL, timeframe="1m")
            worst = max(worst, time.monotonic() - started)
        print("done", worst)


def beside(address: str) -> None:
    """Append fills until the parent says that it is enough."""
    listener = threading.Thread(target=wait_for_word, daemon=True)
    listener.start()
    with walle.connect(address) as store:
        print("ready", flush=True)
        worst, number = 0.0, 0
        while listener.is_alive():
            started = time.monotonic()
            store.fills.append(fill(number))
            worst, number = max(worst, time.monotonic() - started), number + 1
            time.sleep(0.002)  # a venue's pace, not a hog's
        print("done", number, worst)


def upsert(address: str, first: str, count: str, price: str) -> None:
    """Ingest when the parent says go; tell what became of the rows."""
    frame = big_bars(int(count), first=int(first), price=float(price))
    with walle.connect(address) as store:
        print("ready", flush=True)
        wait_for_word()
        report = store.bars.ingest(frame, symbol=SYMBOL, timeframe="1m")
        print("done", report.inserted, report.duplicates, report.conflicts)


def same(address: str, what: str, count: str, content: str) -> None:
    """Save new orders, runs or fills that another process saves at the same moment."""
    with walle.connect(address) as store:
        print("ready", flush=True)
        for number in range(int(count)):
            wait_for_word()
            try:
                if what == "orders":
                    report = store.orders.save(order(number))
                    print("result", "inserted" if report.inserted else "updated" if report.updated else "unchanged")
                elif what == "fills":
                    report = store.fills.append(fill(number, commission_currency=content))
                    print("result", "inserted" if report.inserted else "unchanged")
                else:
                    store.runs.save(run(number))
                    print("result", "inserted")
            except WalleError as error:
                print("result", type(error).__name__)


def snapshots(address: str, count: str, seed: str) -> None:
    """Save snapshots of a few orders with rising and falling filled quantities."""
    import random

    chance = random.Random(int(seed))
    with walle.connect(address) as store:
        print("ready", flush=True)
        wait_for_word()
        best: dict[int, Decimal] = {}
        for _ in range(int(count)):
            numbers = chance.sample(range(5), 3)
            given = {number: Decimal(chance.randrange(1, 1000)) / 1000 for number in numbers}
            try:
                store.orders.save([order(n, status="partial", filled_qty=filled) for n, filled in given.items()])
            except walle.StaleSnapshot:
                continue
            now = {row["id"]: row["filled_qty"] for row in store.orders.read().iter_rows(named=True)}
            for number, filled in given.items():
                best[number] = max(best.get(number, filled), filled)
                if now[f"order-{number}"] < best[number]:
                    print("fell", number, now, best)
        print("done", *(f"{number}={filled}" for number, filled in sorted(best.items())))


def own(address: str, run_id: str) -> None:
    """Start a run, and stay alive until the parent ends it."""
    with walle.connect(address) as store:
        saved = store.runs.save(dataclasses.replace(run(id=run_id), status="pending"))
        store.runs.save(dataclasses.replace(saved, status="running", started_at=datetime.now(UTC)))
        print("running", os.getpid(), flush=True)
        wait_for_word()


def fill_disk(address: str, count: str, limit: str) -> None:
    """Ingest more than there is room for; a limit above 0 stands for the room."""
    import resource

    with walle.connect(address) as store:
        store.fills.append(fill())
        if int(limit):
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
        try:
            store.bars.ingest(big_bars(int(count)), symbol=SYMBOL, timeframe="1m")
        except walle.DatabaseError as error:
            print("refused", type(error).__name__, error)
        if int(limit):
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print("bars", counted(store), store.fills.read().height)


def drop_rights() -> None:
    """Become a user who may not write everywhere, when this process may."""
    if os.getuid() == 0:
        with tempfile.TemporaryDirectory() as folder:  # what is imported late lies where that user may not look
            path = Path(folder) / "store.db"
            with walle.connect(path) as store:
                store.bars.ingest(big_bars(1), symbol=SYMBOL, timeframe="1m")
            with walle.connect(path, read_only=True) as store:
                store.status()
                contents(store)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def read_only(address: str) -> None:
    """Read what is there with ``read_only=True``."""
    drop_rights()
    try:
        with walle.connect(address, read_only=True) as store:
            print("bars", counted(store), store.bars.read(SYMBOL, "1m").height, store.status().ok)
            store.fills.append(fill())
    except WalleError as error:
        print("refused", type(error).__name__, error)


def look(address: str, seconds: str = str(sqlite.BUSY_TIMEOUT)) -> None:
    """Read again at each word, with one store that is opened read-only, until the parent says nothing any more."""
    sqlite.BUSY_TIMEOUT = float(seconds)
    drop_rights()
    with contextlib.suppress(EOFError):
        try:
            store = walle.connect(address, read_only=True)
        except WalleError as error:
            print("refused", type(error).__name__, error, flush=True)
            return
        with store:
            while True:
                try:
                    rows = store.bars.read(SYMBOL, "1m").height
                    print("seen", counted(store), rows, store.status().ok, flush=True)
                except WalleError as error:
                    print("seen", type(error).__name__, error, flush=True)
                input()


def look_late(address: str) -> None:
    """Read again at each word; of the connections after the first, one opens the file as if there still were a log."""
    original = SQLiteFile.address
    late = ["late"]

    def opened(file: SQLiteFile, mode: str) -> tuple[str, Any]:
        uri, stamp = original(file, mode)
        if not late or stamp is None:
            return uri, stamp
        late.clear()
        return uri.removesuffix("&immutable=1"), None

    drop_rights()
    with walle.connect(address, read_only=True) as store, contextlib.suppress(EOFError):
        print("seen", store.bars.read(SYMBOL, "1m").height, flush=True)
        SQLiteFile.address = opened  # type: ignore[method-assign, assignment]  # the moment between the look and the opening
        while True:
            input()
            try:
                print("seen", store.bars.read(SYMBOL, "1m").height, flush=True)
            except WalleError as error:
                print("seen", type(error).__name__, error, flush=True)


def read_write(address: str) -> None:
    """Open for writing, and write."""
    drop_rights()
    try:
        with walle.connect(address) as store:
            store.fills.append(fill(2))
    except WalleError as error:
        print("refused", type(error).__name__, error)


def impatient(address: str, seconds: str) -> None:
    """Write with a short patience for locks."""
    sqlite.BUSY_TIMEOUT = float(seconds)
    with walle.connect(address) as store:
        started = time.monotonic()
        try:
            store.fills.append(fill())
        except WalleError as error:
            print("refused", type(error).__name__, time.monotonic() - started, error)
        wait_for_word()
        print("again", store.fills.append(fill()).inserted)


def hold(path: str) -> None:
    """Hold a SQLite file's write lock, as a foreign program would, until the parent says go."""
    import sqlite3

    connection = sqlite3.connect(Path(path), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("holding", flush=True)
    wait_for_word()
    connection.execute("ROLLBACK")
    connection.close()
    print("released")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
