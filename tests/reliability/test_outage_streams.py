"""A server that ends in the middle of a read or a write: our own error, nothing half written, and then all works."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import walle
from tests.postgres import Server, halt, resume, start_server
from tests.reliability.consuming import until
from tests.reliability.material import SYMBOL, big_bars
from tests.samples import event
from walle.errors import DatabaseUnavailable
from walle.widgets import OutboxView

COUNT = 200_000
Read = Callable[[walle.Store], pl.DataFrame]


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="walle-pg-"))
    running = start_server(folder)
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


def new(server: Server, name: str) -> str:
    address = server.create(name)
    walle.upgrade(address)
    return address


@pytest.fixture(scope="module")
def filled(own_server: Server) -> str:
    address = new(own_server, "filled")
    with walle.connect(address) as store:
        store.bars.ingest(big_bars(COUNT), symbol=SYMBOL, timeframe="1m")
        store.events.append([event(number) for number in range(1, 5_001)])
    return address


def in_batches(store: walle.Store) -> pl.DataFrame:
    return pl.concat(list(store.bars.scan(SYMBOL, "1m").collect_batches(chunk_size=10_000, maintain_order=True)))


READS: dict[str, tuple[str, Read]] = {
    "read": ("bars", lambda store: store.bars.read(SYMBOL, "1m")),
    "scan": ("bars", lambda store: store.bars.scan(SYMBOL, "1m").collect()),
    "batches": ("bars", in_batches),
    "events": ("outbox", lambda store: store.events.read(columns=["offset", "type", "payload"])),
}


@pytest.mark.parametrize("name", READS)
def test_a_server_that_ends_while_a_read_waits_is_unavailable_and_the_next_read_works(
    own_server: Server, filled: str, name: str
) -> None:
    table, read = READS[name]
    with walle.connect(filled) as store, ThreadPoolExecutor(1) as pool:
        whole = read(store)
        with closing(own_server.admin("filled")) as admin, closing(own_server.admin()) as watcher:
            admin.execute("BEGIN")
            admin.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            reading = pool.submit(read, store)
            query = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'filled' AND wait_event_type = 'Lock'"
            until(lambda: watcher.execute(query).fetchone() == (1,))
            halt(own_server.process, mode="immediate")
        try:
            with pytest.raises(DatabaseUnavailable):
                reading.result()
            with pytest.raises(DatabaseUnavailable):
                read(store)
        finally:
            resume(own_server.process, own_server.sockets)
        assert_frame_equal(read(store), whole)


@pytest.mark.parametrize("name", ["read", "batches"])
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stream_that_is_cut_off_is_whole_or_unavailable(
    own_server: Server, filled: str, name: str, mode: str
) -> None:
    _, read = READS[name]
    with walle.connect(filled) as store, ThreadPoolExecutor(1) as pool:
        whole = read(store)
        for delay in (0.0, 0.02, 0.05):
            reading: Future[pl.DataFrame] = pool.submit(read, store)
            time.sleep(delay)
            halt(own_server.process, mode=mode)
            try:
                assert_frame_equal(reading.result(), whole)
            except DatabaseUnavailable:
                pass
            finally:
                resume(own_server.process, own_server.sockets)
            assert_frame_equal(read(store), whole)


def test_batches_that_end_between_two_of_them_are_unavailable(own_server: Server, filled: str) -> None:
    with walle.connect(filled) as store:
        batches = store.bars.scan(SYMBOL, "1m").collect_batches(chunk_size=1_000, maintain_order=True)
        heights = [next(batches).height]
        halt(own_server.process, mode="immediate")
        try:
            heights += [batch.height for batch in batches]
        except DatabaseUnavailable:
            assert sum(heights) < COUNT
        else:
            assert sum(heights) == COUNT
        finally:
            resume(own_server.process, own_server.sockets)
        assert store.bars.count(SYMBOL, "1m") == COUNT


def test_an_ingest_that_is_cut_off_in_mid_copy_leaves_nothing_half_written(own_server: Server) -> None:
    address = new(own_server, "written")
    with walle.connect(address) as store, ThreadPoolExecutor(1) as pool:
        frame = big_bars(600_000)
        writing = pool.submit(store.bars.ingest, frame, symbol=SYMBOL, timeframe="1m")
        with closing(own_server.admin()) as watcher:
            query = "SELECT coalesce(max(tuples_processed), 0) > 0 FROM pg_stat_progress_copy WHERE datname = 'written'"
            until(lambda: writing.done() or watcher.execute(query).fetchone() == (True,))
            assert not writing.done()
            halt(own_server.process, mode="immediate")
        try:
            with pytest.raises(DatabaseUnavailable):
                writing.result()
        finally:
            resume(own_server.process, own_server.sockets)
        assert store.bars.count(SYMBOL, "1m") == 0
        assert store.bars.series().is_empty()
        assert store.bars.ingest(frame, symbol=SYMBOL, timeframe="1m").inserted == 600_000


def test_a_tail_goes_on_over_a_restart_in_order_and_exactly_once(own_server: Server) -> None:
    address = new(own_server, "tailed")
    heard = list[int]()
    with walle.connect(address) as store, walle.connect(address) as writer:
        tail = store.events.tail()  # what is appended after this call, though nobody has asked for it yet

        def follow() -> None:
            for given in tail:
                heard.append(given.offset or 0)
                if len(heard) == 30:
                    return

        stored = writer.events.append([event(number) for number in range(10)])
        following = threading.Thread(target=follow)
        following.start()
        until(lambda: len(heard) == 10)
        halt(own_server.process)
        with pytest.raises(DatabaseUnavailable):
            store.events.tail()  # a later look would skip what is appended meanwhile
        resume(own_server.process, own_server.sockets)
        stored += writer.events.append([event(number) for number in range(10, 20)])
        until(lambda: len(heard) == 20)
        stored += writer.events.append([event(number) for number in range(20, 30)])
        following.join(60)
    assert heard == stored


def test_a_live_view_says_that_the_database_is_away_and_when_it_is_back(own_server: Server) -> None:
    address = new(own_server, "viewed")
    with walle.connect(address) as store, walle.connect(address) as writer:
        writer.events.append([event(1), event(2)])
        view = OutboxView(store)
        assert view.widget is not None
        notice = view._notice
        assert notice is not None
        view.controls["live"].value = True
        halt(own_server.process)
        until(lambda: "The database is away" in notice.text)
        assert notice.kind == "error"
        assert "DatabaseUnavailable" in notice.text
        view.controls["live"].value = False
        view.controls["live"].value = True  # a hand that tries it meanwhile
        assert view.live.running
        resume(own_server.process, own_server.sockets)
        writer.events.append(event(3))
        until(lambda: "The database is back" in notice.text)
        until(lambda: view.table.rows and view.table.rows[0][0] == "3")
        assert view.live.running
        assert view.controls["live"].value is True
        view.close()


def test_the_command_line_gives_up_when_it_is_told(own_server: Server) -> None:
    address = new(own_server, "told")
    with walle.connect(address) as store:
        store.events.append(event(1))
    command = [sys.executable, "-m", "walle", "events", "tail", address, "-f", "--give-up-after", "0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[0] == "1"
        halt(own_server.process)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
            resume(own_server.process, own_server.sockets)
    assert process.returncode == 1
    assert "lost the database and tries again" in said
    assert "cannot be reached" in said.splitlines()[-1]
    assert "Traceback" not in said
