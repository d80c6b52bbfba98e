"""Two notebooks and one engine behind PgBouncer, held against the same on direct connections.

    python -m tests.pooler.differential --seconds 60

The engine writes every step into two databases, one behind PgBouncer with three connections to the server, one beside.
The notebooks read both as far as a step that is in both, and compare the frames.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

import walle
from tests.pooler.bouncer import bouncing
from tests.postgres import Server, start_server
from tests.samples import START, bars, event, fill, order, run

__all__ = ["Report", "compare"]

BARS = 200
"""One-minute bars of a step."""

_CLOCKS = ("created_at", "id", "recorded_at", "ts")
"""What two databases cannot have in common: their clocks, and names drawn at random."""

Report = dict[str, int]
"""How many steps were written and how many frames compared."""


def main() -> None:
    """Run on a server of its own, and print what was compared."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="walle-pg-"))
    server = start_server(folder)
    try:
        print(compare(server, given.seconds, given.seed))
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def compare(server: Server, seconds: float, seed: int) -> Report:
    """Let engine and notebooks run, and return what they have done.

    Raises
    ------
    AssertionError
        When any of them met an error, or two frames that differ.
    """
    addresses = [server.create(f"differential_{side}") for side in ("pooled", "direct")]
    try:
        for address in addresses:
            walle.upgrade(address)
        with bouncing(server, "transaction", more="default_pool_size = 3") as port:
            pooled = addresses[0].replace(f":{server.port}/", f":{port}/")
            return _together((pooled, addresses[1]), seconds, seed)
    finally:
        for side in ("pooled", "direct"):
            server.drop(f"differential_{side}")


def _together(addresses: tuple[str, str], seconds: float, seed: int) -> Report:
    context = multiprocessing.get_context("spawn")
    step, answers = context.Value("q", 0), context.Queue()
    jobs: list[tuple[Callable[..., int], tuple[Any, ...]]] = [
        (engine, (addresses, seconds, step)),
        *((notebook, (addresses, seconds, step, seed + number)) for number in range(2)),
    ]
    processes = [context.Process(target=_answering, args=(answers, *job)) for job in jobs]
    for process in processes:
        process.start()
    found = [answers.get(timeout=seconds + 120) for _ in processes]
    for process in processes:
        process.join()
    errors = [text for _, _, text in found if text]
    assert not errors, "\n".join(errors)
    steps = sum(count for name, count, _ in found if name == "engine")
    return {"steps": steps, "frames": sum(count for name, count, _ in found if name == "notebook")}


def _answering(answers: Any, job: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    try:
        answers.put((job.__name__, job(*arguments), ""))
    except BaseException as error:
        answers.put((job.__name__, 0, f"{job.__name__}: {type(error).__name__}: {error}"))
        raise


def engine(addresses: Sequence[str], seconds: float, step: Any) -> int:
    """Write step after step into both databases; return how many."""
    stores = [walle.connect(address, progress=False) for address in addresses]
    end = time.monotonic() + seconds
    for store in stores:
        store.runs.save(run(id="run-1"))
    while time.monotonic() < end:
        number = step.value
        for store in stores:
            _write(store, number)
        step.value = number + 1  # only the engine writes it
    for store in stores:
        store.close()
    return int(step.value)


def _write(store: walle.Store, number: int) -> None:
    at = START + timedelta(minutes=BARS * number)
    store.bars.ingest(bars(BARS, start=at, price=100.0 + number), symbol="A", timeframe="1m")
    price = Decimal(number * 7919 % 100_003 + 1) / 1000
    store.orders.save(order(number, created_at=at, limit_price=price))
    store.fills.append(fill(number, order_id=f"order-{number}", filled_at=at, price=price))
    store.events.append([event(payload={"step": number, "text": f"'\\ {number}"}) for _ in range(3)])


def notebook(addresses: Sequence[str], seconds: float, step: Any, seed: int) -> int:
    """Read both databases as far as a step that is in both; return how many frames were equal."""
    stores = [walle.connect(address, read_only=True, progress=False) for address in addresses]
    drawn, end, compared = random.Random(seed), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        known = step.value
        if not known:
            time.sleep(0.02)
            continue
        upto = drawn.randint(1, known)
        first = drawn.randint(max(0, upto - 20), upto - 1)
        pooled, direct = ([_plain(frame) for frame in _read(store, first, upto)] for store in stores)
        for ours, theirs in zip(pooled, direct, strict=True):
            assert ours.height, (first, upto, ours.columns)
            assert ours.equals(theirs), f"steps {first} to {upto}: {ours} and {theirs}"
        compared += len(pooled)
    for store in stores:
        store.close()
    return compared


def _read(store: walle.Store, first: int, upto: int) -> list[pl.DataFrame]:
    start, end = (START + timedelta(minutes=BARS * number) for number in (first, upto))
    return [
        store.bars.read("A", "1m", start, end),
        store.bars.scan("A", "1m", start, end).select("timestamp", "close").collect(),
        store.bars.coverage("A", "1m", start, end),
        store.fills.read("run-1", start=start, end=end),
        store.orders.read("run-1", start=start, end=end),
        store.fills.trades("run-1").head(1),
        store.events.read(3 * first, limit=3 * (upto - first)),
    ]


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    clocks = _CLOCKS if "payload" in frame.columns else ("recorded_at",)
    return frame.drop(clocks, strict=False)


if __name__ == "__main__":
    main()
