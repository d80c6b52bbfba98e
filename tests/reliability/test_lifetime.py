"""A store works wherever it is called from, ends with whoever holds it, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

import walle
from tests.reliability.material import SYMBOL, big_bars, counted
from tests.reliability.processes import script, sizes
from tests.samples import fill, run

ENDS_WITHIN = 10.0
"""Seconds from the last line of a script to the end of its process; some 0.3 on an idle machine."""

_OPENED = "import sys, time, walle\nfrom tests.samples import bars, fill\nstore = walle.connect(sys.argv[1])\n"
_LAST = "print('last', time.monotonic(), flush=True)\n"
_USED = "store.fills.append(fill())\nstore.fills.read()\nstore.bars.ingest(bars(), symbol='A', timeframe='1m')\n"

SCRIPTS = {
    "nothing": (_LAST, 0, ""),
    "reads": ("store.fills.read(); store.bars.series()\n" + _LAST, 0, ""),
    "reads and writes": (_USED + _LAST, 0, ""),
    "an error": (_USED + "try:\n    store.runs.get('x')\nexcept walle.NotFound:\n    pass\n" + _LAST, 0, ""),
    "sys.exit": (_USED + _LAST + "sys.exit(3)\n", 3, ""),
    "an unhandled error": (_USED + _LAST + "raise ZeroDivisionError('mine')\n", 1, "ZeroDivisionError: mine"),
    "an unhandled error of ours": (
        _USED + _LAST + "store.runs.get('x')\n",
        1,
        "walle.UnknownRun: no run 'x'",
    ),
    "a function's store": ("def use(store):\n    store.fills.append(fill())\nuse(store); del store\n" + _LAST, 0, ""),
    "a cycle": (_USED + "class Holder: pass\nh = Holder(); h.h = h; h.s = store; del store, h\n" + _LAST, 0, ""),
    "two stores": (_USED + "other = walle.connect(sys.argv[1]); other.fills.read()\n" + _LAST, 0, ""),
    "close twice": (_USED + "store.close(); store.close()\n" + _LAST, 0, ""),
}


@pytest.mark.parametrize(("body", "code", "error"), SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_that_never_closes_its_store_ends_at_once_and_in_silence(
    address: str, body: str, code: int, error: str
) -> None:
    with script(_OPENED + body, address) as child:
        said = float(child.expect("last"))
        ended = child.wait()
        seconds = time.monotonic() - said
    print(f"ended after {seconds:.3f} s")
    assert ended.code == code
    assert seconds < ENDS_WITHIN
    *_, last = ended.errors.splitlines() or [""]
    assert last.startswith(error) if error else ended.errors == ""
    assert "Warning" not in ended.errors
    assert "During handling" not in ended.errors


def test_a_store_works_in_worker_threads_all_at_once(store: walle.Store) -> None:
    def work(number: int) -> int:
        store.fills.append(fill(number))
        store.runs.save(run(number))
        return (
            store.bars.ingest(big_bars(500), symbol=f"S{number}", timeframe="1m").inserted + store.fills.read().height
        )

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(work, range(24)))
    assert min(results) > 500
    assert store.fills.read().height == store.runs.read().height == store.bars.series().height == 24


async def test_a_store_works_inside_a_running_loop(store: walle.Store) -> None:
    store.fills.append(fill())
    assert store.fills.read().height == 1
    assert await asyncio.to_thread(lambda: store.fills.read().height) == 1


def test_a_store_called_from_its_own_loop_says_what_to_do(store: walle.Store) -> None:
    async def inside() -> None:
        store.fills.read()

    assert store._portal is not None
    with pytest.raises(walle.WalleError, match="await the repositories"):
        store._portal.call(inside)
    assert store.fills.read().is_empty()


def test_after_close_every_call_says_so(address: str) -> None:
    store = walle.connect(address)
    store.fills.append(fill())
    store.close()
    store.close()
    calls: list[Callable[[], object]] = [
        lambda: store.fills.append(fill()),
        lambda: store.fills.read(),
        lambda: store.bars.scan(SYMBOL, "1m"),
        lambda: store.runs.recover(),
        lambda: store.orders.read(),
        lambda: store.status(),
        lambda: store.upgrade(),
    ]
    for call in calls:
        with pytest.raises(walle.StoreClosed, match=r"was closed.*walle\.connect"):
            call()
    assert "closed" in repr(store)


def test_closing_while_other_threads_work_ends_each_call_whole_or_closed(address: str) -> None:
    store = walle.connect(address)
    outcomes: list[object] = []
    begun = threading.Barrier(5)

    def work(number: int) -> None:
        begun.wait()
        try:
            while True:
                store.bars.ingest(big_bars(20_000), symbol=f"S{number}", timeframe="1m")
                store.bars.read(f"S{number}", "1m")
        except walle.StoreClosed as error:
            outcomes.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    time.sleep(0.3)
    store.close()
    for thread in threads:
        thread.join(10)
    assert len(outcomes) == 4
    with walle.connect(address) as again:
        assert {counted(again, f"S{number}") for number in range(4)} <= {0, 20_000}


def holdings() -> tuple[int, list[str], set[str]]:
    """What this process holds: descriptors, regular files, and its threads but for those of libraries."""
    gc.collect()
    process = psutil.Process()
    threads = {thread.name for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
    return process.num_fds(), sorted(file.path for file in process.open_files()), threads


def settled(expected: tuple[int, list[str], set[str]]) -> tuple[int, list[str], set[str]]:
    """Look until what is held is as expected; a forgotten store ends in its own time, but soon."""
    deadline = time.monotonic() + 5
    while (now := holdings()) != expected and time.monotonic() < deadline:
        time.sleep(0.02)
    return now


def use(store: walle.Store) -> None:
    store.fills.append(fill())
    assert store.fills.read().height == 1


@sizes("rounds", always=[10], full=[50])
def test_opening_and_closing_leaks_no_file_and_no_thread(address: str, rounds: int) -> None:
    with walle.connect(address) as store:  # what libraries open once is no leak
        use(store)
    before = holdings()
    for _ in range(rounds):
        with walle.connect(address) as store:
            use(store)
    assert holdings() == before
    del store


@pytest.mark.parametrize("held", ["plainly", "in a cycle"])
def test_a_store_that_is_forgotten_leaves_nothing(address: str, held: str) -> None:
    with walle.connect(address) as store:
        use(store)
    del store
    before = holdings()
    forgotten = walle.connect(address)
    use(forgotten)
    if held == "in a cycle":
        forgotten.__dict__["self"] = forgotten
    del forgotten
    assert settled(before) == before


def test_a_store_that_is_collected_in_its_own_loop_leaves_nothing(address: str) -> None:
    async def collect() -> None:
        gc.collect()

    with walle.connect(address) as store:
        use(store)
    del store
    before = holdings()
    forgotten = walle.connect(address)
    use(forgotten)
    assert forgotten._portal is not None
    loop = forgotten._portal._server.loop
    forgotten.__dict__["self"] = forgotten
    gc.disable()
    try:
        del forgotten
        asyncio.run_coroutine_threadsafe(collect(), loop).result(10)
    finally:
        gc.enable()
    assert settled(before) == before


def test_a_part_of_a_store_keeps_it_open(address: str) -> None:
    fills = walle.connect(address).fills
    gc.collect()
    assert fills.append(fill()).inserted == 1
    assert walle.connect(address).fills.read().height == 1
