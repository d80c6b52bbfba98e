"""A fork with a store open: the child is told to connect anew, ends as any process, and costs the parent nothing."""

from __future__ import annotations

import inspect
import json
import pickle
import sqlite3
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import walle
from tests.raw import Raw
from tests.reliability.processes import script, sizes
from tests.samples import START, event, fill
from walle import errors

# Python 3.12 warns of every fork with threads, which is what these tests are about
ALLOWED = ("-W", "error", "-W", "ignore:.*fork.*:DeprecationWarning", "-X", "dev")

HEAD = """
import asyncio, gc, os, sys, threading, time, walle
from tests.samples import bars, event, fill, order, run
address, number = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1

def note(*words):
    os.write(1, (' '.join(map(str, words)) + '\\n').encode())

def refused_by(call):
    try:
        call()
    except walle.StoreForked as error:
        return f'{error.pid}'
    return 'nothing'

def waited(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

store = walle.connect(address)
store.fills.append(fill(1))
store.events.append(event(1))
store.fills.read()
me = os.getpid()
"""

EVERY_CALL = """
stored = store.events.tail(after=-1, timeout=0)
scanned = store.bars.scan('A', '1m') if False else None
pid = os.fork()
if pid == 0:
    calls = [
        store.status, store.upgrade, store.fills.read, store.bars.series, store.orders.read, store.runs.read,
        store.runs.recover, store.runs.sweep, store.events.read, store.events.consumers, store.events.latest,
        lambda: store.fills.append(fill(2)), lambda: store.events.append(event(2)), lambda: next(stored),
        lambda: store.bars.ingest(bars(), symbol='A', timeframe='1m'), lambda: store.bars.read('A', '1m'),
        lambda: store.events.consume('sink', print), lambda: store.runs.save(run()),
        lambda: next(store.events.tail(after=-1)), lambda: store.orders.save(order()),
    ]
    note('told', sorted({refused_by(call) for call in calls}) == [str(me)])
    note('shown', 'Connect' in store._repr_html_() or not store.durable)
    store.close()
    store.close()
    with store:
        pass
    del store, stored
    gc.collect()
    note('closed')
    END
note('code', waited(pid))
note('left', store.fills.append(fill(3)).inserted, store.fills.read().height, store.events.read().height)
store.close()
note('done')
"""

ENDS = {"exit": ("sys.exit(3)", 3), "_exit": ("os._exit(4)", 4), "off the end": ("raise SystemExit", 0)}


@pytest.mark.parametrize(("end", "code"), ENDS.values(), ids=ENDS)
def test_in_a_forked_child_every_call_says_so_and_the_child_ends(address: str, end: str, code: int) -> None:
    with script(HEAD + EVERY_CALL.replace("END", end), address, flags=ALLOWED) as parent:
        assert parent.expect("told") == "True"
        assert parent.expect("shown") == "True"
        parent.expect("closed")
        assert parent.expect("code") == str(code)
        assert parent.expect("left") == "1 2 1"
        parent.expect("done")
        assert parent.succeed().errors == ""


def test_a_child_that_uses_nothing_falls_off_its_end(address: str) -> None:
    text = HEAD + "pid = os.fork()\nif pid:\n    note('code', waited(pid), store.fills.read().height)\n"
    with script(text, address, flags=ALLOWED) as parent:
        assert parent.expect("code") == "0 1"
        assert parent.succeed().errors == ""


BUSY = """
stop = threading.Event()
def work(place):
    count = 0
    while not stop.is_set():
        store.fills.append(fill(1000 * place + count))
        store.events.append(event(1000 * place + count))
        assert store.fills.read().height >= count
        count += 1
    written.append(count)
written = []
threads = [threading.Thread(target=work, args=(place,)) for place in (1, 2)]
for thread in threads: thread.start()
codes = []
for turn in range(number):
    time.sleep(0.01)
    pid = os.fork()
    if pid == 0:
        code = 0 if refused_by(store.fills.read) == str(me) else 9
        if turn % 3 == 1:
            with walle.connect(address) as mine:
                code = code or (0 if mine.events.append(event(100_000 + turn)) > 1 else 8)
        if turn % 3 == 2:
            store.close()
            sys.exit(code)
        os._exit(code) if turn % 2 else sys.exit(code)
    codes.append(waited(pid))
stop.set()
for thread in threads: thread.join()
note('codes', set(codes))
note('kept', store.fills.read().height == 1 + sum(written),
     store.events.read().height == 1 + sum(written) + sum(turn % 3 == 1 for turn in range(number)))
store.close()
"""


@sizes("count", always=[12], full=[60])
def test_children_that_are_forked_while_threads_are_in_calls_end_and_the_parent_goes_on(
    address: str, count: int
) -> None:
    with script(HEAD + BUSY, address, count, flags=ALLOWED) as parent:
        assert parent.expect("codes") == "{0}"
        assert parent.expect("kept") == "True True"
        assert parent.succeed().errors == ""
    if "://" not in address:
        with sqlite3.connect(address) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        raw.close()


def test_a_child_that_connects_anew_has_locks_of_its_own(sqlite_address: str) -> None:
    """The parent closes while the child has the file open: the -wal that the child writes to must stay."""
    text = HEAD + (
        "ready, connected = os.pipe()\n"
        "if (pid := os.fork()) == 0:\n"
        "    mine = walle.connect(address)\n"
        "    mine.events.append(event(2)); os.write(connected, b'.')\n"
        "    note('connected'); sys.stdin.readline()\n"
        "    note('height', mine.events.append(event(3)))\n"
        "    sys.exit(0)\n"
        "os.read(ready, 1); store.close()\n"
        "note('closed'); note('code', waited(pid))\n"
    )
    with script(text, sqlite_address, flags=ALLOWED) as parent:
        parent.expect("closed")
        if "connected" not in parent.lines:
            parent.expect("connected")
        assert Path(sqlite_address + "-wal").exists()
        with walle.connect(sqlite_address) as third:  # its close must not fold the -wal away under the child either
            assert third.events.append(event(9)) == 3
        assert Path(sqlite_address + "-wal").exists()
        parent.tell()
        assert parent.expect("height") == "4"
        assert parent.expect("code") == "0"
        assert parent.succeed().errors == ""
    assert Raw(sqlite_address).value("SELECT count(*) FROM outbox") == 4


def test_a_fork_in_the_middle_of_a_transaction_of_sqlite_lets_the_child_not_open_the_file(sqlite_address: str) -> None:
    text = HEAD + (
        "async def main():\n"
        "    database = walle.Database(address)\n"
        "    async with database.session() as session:\n"
        "        await walle.FillRepository(database).append(fill(2), session=session)\n"
        "        if (pid := os.fork()) == 0:\n"
        "            try:\n"
        "                walle.connect(address)\n"
        "            except walle.DatabaseUnavailable as error:\n"
        "                note('refused', error)\n"
        "            os._exit(0)\n"
        "        note('code', waited(pid))\n"
        "        await session.commit()\n"
        "    await database.close()\n"
        "with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:\n"
        "    runner.run(main())\n"
        "note('height', store.fills.read().height)\n"
    )
    with script(text, sqlite_address, flags=ALLOWED) as parent:
        assert "forkserver" in parent.expect("refused")
        assert parent.expect("code") == "0"
        assert parent.expect("height") == "2"
        parent.succeed()


ASYNC = """
async def main():
    database = walle.Database(address)
    fills, log = walle.FillRepository(database), walle.EventLog(database)
    await fills.append(fill(7))
    await log.append(event(7))
    following = asyncio.create_task(anext(log.subscribe(after=99)))
    await asyncio.sleep(0.2)
    pid = os.fork()
    if pid == 0:
        told = []
        for call in (fills.read, log.read, lambda: fills.append(fill(8)), lambda: log.append(event(8)),
                     database.check_writable, log.latest, lambda: walle.Consumer(log, 'sink', print).run()):
            try:
                await call()
            except walle.StoreForked:
                told.append(True)
        note('told', told)
        await database.close()
        os._exit(5)  # to close the loop would take its parent's epoll away: they share it
    note('code', waited(pid))
    await fills.append(fill(9))
    note('height', (await fills.read()).height, (await log.read()).height)
    following.cancel()
    await asyncio.wait([following])
    await log.close()
    await database.close()

with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
    runner.run(main())
"""


def test_an_async_database_says_so_too_also_in_a_loop_that_goes_on_in_the_child(address: str) -> None:
    with script(HEAD + ASYNC, address, flags=ALLOWED) as parent:
        assert parent.expect("told") == str([True] * 7)
        assert parent.expect("code") == "5"
        assert parent.expect("height") == "3 2"
        parent.succeed()


def test_a_store_in_memory_follows_the_same_rule() -> None:
    text = HEAD.split("store = ")[0] + (
        "store = walle.connect()\n"
        "store.events.append(event(1))\n"
        "me = os.getpid()\n"
        "if (pid := os.fork()) == 0:\n"
        "    calls = store.events.read, lambda: store.events.append(event(2))\n"
        "    note('told', {refused_by(call) for call in calls} == {str(me)})\n"
        "    store.close()\n"
        "    with walle.connect() as mine:\n"
        "        note('mine', mine.events.append(event(1)))\n"
        "    sys.exit(0)\n"
        "note('code', waited(pid), store.events.read().height)\n"
    )
    with script(text, "memory", flags=ALLOWED) as parent:
        assert parent.expect("told") == "True"
        assert parent.expect("mine") == "1"
        assert parent.expect("code") == "0 1"
        assert parent.succeed().errors == ""


def test_the_process_s_one_database_is_made_anew_in_a_child(address: str) -> None:
    text = HEAD + (
        "from walle.database import close_database, get_database, init_database\n"
        "loop = asyncio.SelectorEventLoop()\n"
        "loop.run_until_complete(init_database(address))\n"
        "loop.run_until_complete(walle.FillRepository(get_database()).read())\n"
        "if (pid := os.fork()) == 0:\n"
        "    inherited, loop = loop, asyncio.SelectorEventLoop()\n"
        "    run = loop.run_until_complete\n"
        "    note('told', refused_by(lambda: run(walle.FillRepository(get_database()).read())) == str(me))\n"
        "    run(init_database(address))\n"
        "    note('mine', run(walle.EventLog(get_database()).append(event(2))))\n"
        "    run(close_database()); loop.close()\n"
        "    os._exit(0)\n"
        "note('code', waited(pid))\n"
        "note('height', loop.run_until_complete(walle.FillRepository(get_database()).read()).height)\n"
        "loop.run_until_complete(close_database()); loop.close()\n"
    )
    with script(text, address, flags=ALLOWED) as parent:
        assert parent.expect("told") == "True"
        assert parent.expect("mine") == "2"
        assert parent.expect("code") == "0"
        assert parent.expect("height") == "1"
        assert parent.succeed().errors == ""


def test_a_fork_leaves_a_consumers_lock_and_the_listener_to_the_parent(address: str) -> None:
    text = HEAD + (
        "handled = []\n"
        "def handle(given):\n"
        "    if given.offset == 2 and (pid := os.fork()) == 0:\n"
        "        sys.exit(0 if refused_by(store.fills.read) == str(me) else 1)\n"
        "    elif given.offset == 2:\n"
        "        note('code', waited(pid))\n"
        "    handled.append(given.offset)\n"
        "    if given.offset == 3: raise KeyboardInterrupt\n"
        "store.events.append([event(2), event(3)])\n"
        "thread = threading.Thread(target=lambda: note('handled', store.events.consume('sink', handle)))\n"
        "store.events.consume('sink', lambda given: handle(given) if given.offset < 3 else None)\n"
        "note('handled', handled)\n"
    )
    with script(text, address, flags=ALLOWED) as parent:
        assert parent.expect("handled") == "[1, 2]"
        assert "code 0" in parent.lines
        parent.succeed()


# pools


def in_child(address: str, number: int) -> bool:
    with walle.connect(address) as mine:  # nothing here works in Polars' threads, which no fork brings along
        return mine.events.append(event(number)) > 0


def of_parent(number: int) -> int:
    assert _parents is not None
    return _parents.fills.append(fill(number)).inserted


def refuse(name: str) -> None:
    raise next(error for error in every_error() if type(error).__name__ == name)


_parents: walle.Store | None = None


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_pools_of_all_three_kinds_work_beside_an_open_store(address: str, method: str) -> None:
    global _parents
    with walle.connect(address) as store:
        store.fills.append(fill(1))
        store.fills.read()
        _parents = store
        try:
            with ProcessPoolExecutor(2, mp_context=get_context(method)) as pool:
                if method == "fork":
                    with pytest.raises(walle.StoreForked, match="Connect in each process"):
                        pool.submit(of_parent, 1).result(60)
                results = list(pool.map(in_child, [address] * 4, range(2, 6), timeout=60))
            assert results == [True] * 4
            with get_context(method).Pool(2) as other:
                assert other.starmap_async(in_child, [(address, n) for n in (6, 7)]).get(60) == [True, True]
            assert store.fills.append(fill(8)).inserted == 1
            assert store.fills.read().height == 2
            assert store.events.read().height == 6
        finally:
            _parents = None


# Polars' threads


IN_CHILD = """
store.bars.ingest(bars(), symbol='A', timeframe='1m'); store.bars.read('A', '1m')
def polars():
    mine = walle.connect(address)
    calls = [
        mine.fills.read, mine.orders.read, mine.runs.read, mine.events.read, mine.bars.series,
        lambda: mine.bars.read('A', '1m'), lambda: next(iter(mine.bars.scan('A', '1m'))),
        lambda: mine.fills.append(fill(2)), lambda: mine.fills.ingest([fill(2)]), lambda: mine.orders.save(order()),
        lambda: mine.orders.ingest([order()]), lambda: mine.bars.ingest(bars(), symbol='B', timeframe='1m'),
        lambda: mine.runs.save(walle.frames.RUNS.to_frame()), mine.events.latest,
        lambda: next(mine.events.tail(after=-1)), lambda: mine.status(deep=True), walle.connect().events.read,
    ]
    note('told', {refused_by(call) for call in calls} == {str(me)})
    try:
        mine.fills.read()
    except walle.StoreForked as error:
        note('message', error)
    note('appended', mine.events.append(event(os.getpid())) > 0)
    mine.close()
if (pid := os.fork()) == 0:
    polars()
    if (pid := os.fork()) == 0:  # what was lost in one fork does not come back in another
        polars()
        os._exit(3)
    note('grandchild', waited(pid))
    sys.exit(4)
note('code', waited(pid))
note('height', store.fills.read().height)
"""


def test_where_no_fork_brings_polars_threads_along_a_child_says_so_and_never_waits_for_them(address: str) -> None:
    with script(HEAD + IN_CHILD, address, flags=ALLOWED) as parent:
        for _ in ("child", "grandchild"):
            assert parent.expect("told", 60) == "True"
            message = parent.expect("message")
            assert "Polars' threads ran" in message
            assert "'forkserver' or 'spawn'" in message
            assert parent.expect("appended") == "True"
        assert parent.expect("grandchild") == "3"
        assert parent.expect("code") == "4"
        assert parent.expect("height") == "1"
        parent.succeed()


def test_a_child_of_a_process_in_which_polars_never_ran_reads_and_appends(address: str) -> None:
    text = HEAD.split("store = ")[0] + (
        "with walle.connect(address) as store:\n"
        "    store.events.append(event(1))\n"
        "    if (pid := os.fork()) == 0:\n"
        "        with walle.connect(address) as mine:\n"
        "            note('mine', mine.fills.append(fill(1)).inserted, mine.fills.read().height)\n"
        "        os._exit(0)\n"
        "    note('code', waited(pid), store.fills.read().height)\n"
    )
    with script(text, address, flags=ALLOWED) as parent:
        assert parent.expect("mine", 60) == "1 1"
        assert parent.expect("code") == "0 1"
        parent.succeed()


def with_frames(address: str, number: int) -> int:
    with walle.connect(address) as mine:
        mine.fills.append(fill(number))
        return mine.fills.read().height


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_worker_reads_and_appends_except_in_a_fork_which_says_so(address: str, method: str) -> None:
    with walle.connect(address) as store:
        store.fills.append(fill(1))
        assert store.fills.read().height == 1
        with ProcessPoolExecutor(1, mp_context=get_context(method)) as pool:
            if method == "fork":
                with pytest.raises(walle.StoreForked, match="Polars' threads ran"):
                    pool.submit(with_frames, address, 2).result(60)
            else:
                assert pool.submit(with_frames, address, 2).result(60) == 2
        assert store.fills.read().height == (1 if method == "fork" else 2)


# the gate


def test_nobody_passes_a_gate_between_the_forks_look_and_its_end() -> None:
    """Threads go in and out of a file's gate while others fork: whoever is inside at a fork was seen by it."""
    # a hook that was registered earlier runs after ours, which has looked by then
    text = (
        "import os, time\nos.register_at_fork(before=lambda: time.sleep(0.02))\n"
        + HEAD.split("store = ")[0]
        + (
            "from pathlib import Path\n"
            "from walle.dialects.sqlite_forks import gate_of\n"
            "gate, stop, seen = gate_of(Path(address)), threading.Event(), []\n"
            "inside = set()\n"
            "sys.setswitchinterval(1e-6)\n"
            "def work(me):\n"
            "    while not stop.is_set():\n"
            "        with gate.passed():\n"
            "            inside.add(me)\n"
            "            inside.discard(me)\n"
            "threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]\n"
            "for thread in threads: thread.start()\n"
            "for _ in range(number):\n"
            "    if (pid := os.fork()) == 0:\n"
            "        os._exit(len(inside) + gate.busy)\n"
            "    seen.append(waited(pid))\n"
            "stop.set()\n"
            "for thread in threads: thread.join()\n"
            "note('seen', set(seen))\n"
        )
    )
    with script(text, "any.db", 60, flags=ALLOWED) as parent:
        assert parent.expect("seen") == "{0}"
        parent.succeed()


OUTSIDE = {
    "an inspection": (
        "with open_for_inspection(dialect) as connection:\n        connection.exec_driver_sql('SELECT 1'); held()"
    ),
    "a read": "for _ in dialect.read(sa.select(models.fills.c.id), {'id': pl.String()}, ReadJob()):\n        held()",
    "a migration": (
        "from walle import migrate\n"
        "    real = migrate.read_schema\n"
        "    migrate.read_schema = lambda *given: (held(), real(*given))[1]\n"
        "    migrate.downgrade(config, 'base', discard=True)"
    ),
}


@pytest.mark.parametrize("work", OUTSIDE.values(), ids=OUTSIDE)
def test_a_fork_sees_a_transaction_on_a_file_whoever_has_it_under_way(sqlite_address: str, work: str) -> None:
    text = HEAD.replace("store.fills.read()\n", "store.close()\n") + (
        "import polars as pl, sqlalchemy as sa\n"
        "from walle import forks, models\n"
        "from walle.config import DatabaseConfig\n"
        "from walle.dialects import ReadJob, dialect_for\n"
        "from walle.dialects.base import open_for_inspection\n"
        "config = DatabaseConfig(url=address)\n"
        "dialect = dialect_for(config)\n"
        "forks.PATIENCE = 0.2\n"
        "ready, go = threading.Event(), threading.Event()\n"
        "def held(): ready.set(); go.wait()\n"
        "def work():\n"
        f"    {work}\n"
        "thread = threading.Thread(target=work); thread.start()\n"
        "ready.wait()\n"
        "if (pid := os.fork()) == 0:\n"
        "    try:\n"
        "        walle.connect(address)\n"
        "    except walle.DatabaseUnavailable as error:\n"
        "        note('refused', error)\n"
        "    os._exit(0)\n"
        "note('code', waited(pid)); go.set(); thread.join()\n"
        "if (pid := os.fork()) == 0:\n"
        "    walle.migrate.inspect(config); note('free'); os._exit(0)\n"
        "note('code', waited(pid))\n"
    )
    with script(text, sqlite_address, flags=ALLOWED) as parent:
        assert "a transaction on it was running" in parent.expect("refused")
        assert parent.expect("code") == "0"
        parent.expect("free")
        assert parent.expect("code") == "0"
        parent.succeed()


def test_a_deep_look_that_is_under_way_is_seen_by_a_fork(sqlite_address: str) -> None:
    text = HEAD + (
        "from walle import forks\n"
        "from walle.repositories.integrity import Integrity\n"
        "forks.PATIENCE = 0.2\n"
        "ready, go = threading.Event(), threading.Event()\n"
        "real = Integrity._look_at_bars\n"
        "def look(self, frame): ready.set(); go.wait(); real(self, frame)\n"
        "Integrity._look_at_bars = look\n"
        "store.bars.ingest(bars(3), symbol='A', timeframe='1m')\n"
        "thread = threading.Thread(target=lambda: store.status(deep=True)); thread.start()\n"
        "ready.wait()\n"
        "if (pid := os.fork()) == 0:\n"
        "    try:\n"
        "        walle.connect(address)\n"
        "    except walle.DatabaseUnavailable as error:\n"
        "        note('refused', error)\n"
        "    os._exit(0)\n"
        "note('code', waited(pid)); go.set(); thread.join(); store.close()\n"
    )
    with script(text, sqlite_address, flags=ALLOWED) as parent:
        assert "a transaction on it was running" in parent.expect("refused")
        assert parent.expect("code") == "0"
        parent.succeed()


# errors that travel


def every_error() -> list[errors.WalleError]:
    """One of each kind, made as the package makes it: by every parameter of its ``__init__``."""
    given: dict[str, Any] = {
        "rejected_rows": pl.DataFrame({"row": [1], "reason": ["bad"]}),
        "gaps": pl.DataFrame({"symbol": ["A"]}),
        "counts": {"bad": 1},
        "report": walle.IngestReport(),
        "errors": {Path("a.csv"): errors.InputError("no bars")},
        "differences": {"price": (1, 2)},
        "error": ValueError("mine"),
        "revision": None,
        "series": [
            {"symbol": "A", "timeframe": "1m", "first": START, "last": START, "bars": 3, "overlap": 3, "volume": None}
            | dict.fromkeys(("factor", "lowest", "highest"), 0.1)
        ],
    }
    words = {"suggestions", "timeframes", "allowed"}
    numbers = {"size", "limit", "given", "stored", "others", "event", "tries", "epoch", "pid", "more"}
    made = []
    for name in errors.__all__:
        kind = getattr(errors, name)
        own = [base for base in kind.__mro__ if issubclass(base, errors.WalleError) and "__init__" in vars(base)]
        parameters = inspect.signature(kind).parameters if own else {"message": None}
        names = [name for name, one in parameters.items() if one is None or one.kind is not one.KEYWORD_ONLY]
        values = [given.get(n, ["near"] if n in words else 3 if n in numbers else f"a {n}") for n in names]
        made.append(kind(*values))
    return made


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_an_error_of_ours_travels_between_processes_whole(error: errors.WalleError) -> None:
    error.add_note("a note")
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        back = pickle.loads(pickle.dumps(error, protocol))
        assert type(back) is type(error)
        assert (str(back), back.args) == (str(error), error.args)
        assert vars(back).keys() == vars(error).keys()
        for name, value in vars(error).items():
            kept = getattr(back, name)
            if isinstance(value, pl.DataFrame):
                assert value.equals(kept)
            elif name == "errors":
                assert {path: str(one) for path, one in kept.items()} == {Path("a.csv"): "no bars"}
            elif name == "report":
                assert repr(kept) == repr(value)
            else:
                assert kept == value


def test_an_error_of_ours_comes_back_from_a_worker_with_its_type() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for name in ("UnknownSymbol", "FillConflict", "HandlerFailed", "LostUpdate"):
            with pytest.raises(getattr(errors, name)):
                pool.submit(refuse, name).result(60)
        assert json.loads("1") == pool.submit(abs, -1).result(60)  # the pool is not broken


def test_forks_cost_the_parents_sessions_nothing(postgres_address: str) -> None:
    """The server's own view: the same backends before and after children that ended in every way."""
    text = HEAD + (
        "import psycopg\n"
        "def backends():\n"
        "    with psycopg.connect(address.replace('?', '&'), autocommit=True) as admin:\n"
        "        return sorted(admin.execute(\"SELECT pid FROM pg_stat_activity WHERE application_name = 'walle'\"))\n"
        "before = backends()\n"
        "for end in (sys.exit, os._exit, lambda code: None, lambda code: store.close()) * 5:\n"
        "    if (pid := os.fork()) == 0:\n"
        "        end(0); sys.exit(0)\n"
        "    assert waited(pid) == 0\n"
        "store.fills.append(fill(2)); assert store.fills.read().height == 2\n"
        "note('same', before == backends(), len(before) >= 2)\n"
    )
    with script(text, postgres_address, flags=ALLOWED) as parent:
        assert parent.expect("same") == "True True"
        assert parent.succeed().errors == ""
