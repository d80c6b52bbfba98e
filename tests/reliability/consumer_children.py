"""What the consuming processes do: ``python -m tests.reliability.consumer_children NAME ARGUMENTS...``.

Every function prints one line per step; the first word names the step. A line is one write, which a kill cannot cut.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import walle
from tests.samples import event, fill
from walle.config import DatabaseConfig
from walle.database import Database
from walle.envelope import Event
from walle.errors import DatabaseError, WalleError
from walle.events import Consumer, EventLog
from walle.repositories import FillRepository, OffsetRepository

SINK = "sink"


def note(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def named(address: str) -> str:
    """Let a server know whose connections these are."""
    return f"{address}?application_name={SINK}%20{os.getpid()}" if "://" in address else address


async def word() -> str:
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()


def places(given: Event | list[Event]) -> list[int]:
    return [item.offset or 0 for item in (given if isinstance(given, list) else [given])]


def tell_commits() -> None:
    """Print the epoch and the offset of every commit that the database took."""
    real = OffsetRepository.commit

    async def announced(self: OffsetRepository, claim: Any, offset: int, *, handled: bool = True) -> Any:
        standing = await real(self, claim, offset, handled=handled)
        if (standing.epoch, standing.offset) == (claim.epoch, offset):
            note("commit", standing.epoch, standing.offset)
        return standing

    OffsetRepository.commit = announced  # type: ignore[method-assign]  # announced takes what it takes


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run in the kind of loop that psycopg needs, and tell how it ended."""
    try:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())
    except DatabaseError as error:
        note("ended", "DatabaseError", type(error).__name__)
    except WalleError as error:
        note("ended", type(error).__name__)
    else:
        note("ended", "well")


def write(address: str) -> None:
    """Append as many events as each line of the parent says, in small transactions, between others that roll back."""
    chance = random.Random(1)

    async def main() -> None:
        database = Database(address)
        log, number = EventLog(database), 0
        note("ready")
        while words := await word():
            last = number + int(words)
            while number < last:
                events = [event(number + place) for place in range(min(chance.randrange(1, 20), last - number))]
                if chance.random() < 0.3:
                    async with log.session() as session:
                        await log.append(events[:3], session=session)
                        await session.rollback()
                await log.append(events)
                number += len(events)
            note("written", number)
        await database.close()

    run(main)


def consume(address: str, settings: str) -> None:
    """Consume; tell what the handler was given and what it finished, and every commit.

    Settings: ``go`` waits for a word first, ``hold`` for one in the handler; ``pace`` are the seconds that a call
    takes, ``blocks`` those that it takes without a step of the loop; ``fails`` is how often a call fails; ``sync``
    makes the handler one that runs in a thread; ``host`` is this machine's name; ``again`` goes on after an error of
    the database; the rest are those of a consumer.
    """
    given_settings = json.loads(settings)
    go, hold, sync, again = (given_settings.pop(name, False) for name in ("go", "hold", "sync", "again"))
    pace, blocks, fails = (given_settings.pop(name, 0.0) for name in ("pace", "blocks", "fails"))
    pooler, follow = given_settings.pop("pooler", False), given_settings.pop("follow", True)
    if host := given_settings.pop("host", None):
        socket.gethostname = lambda: host
    if lease := given_settings.pop("lease", None):
        given_settings["lease"] = timedelta(seconds=lease)
    chance = random.Random(given_settings.pop("seed", 0))
    tell_commits()

    async def handle(given: Event | list[Event]) -> None:
        note("given", *places(given))
        if hold:
            await word()
        if chance.random() < fails:
            raise ValueError("a bad moment")
        if blocks:
            time.sleep(blocks)
        if pace:
            await asyncio.sleep(chance.uniform(0, 2 * pace))
        note("handled", *places(given))

    def handle_in_thread(given: Event | list[Event]) -> None:
        note("given", *places(given))
        time.sleep(blocks)
        note("handled", *places(given))

    async def main() -> None:
        database = Database(DatabaseConfig(url=named(address), transaction_pooler=pooler))
        try:
            note("ready")
            if go:
                await word()
            while True:
                consumer = Consumer(EventLog(database), SINK, handle_in_thread if sync else handle, **given_settings)
                asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, consumer.stop)
                try:
                    await consumer.run(follow=follow)
                    return
                except DatabaseError as error:
                    if not again:
                        raise
                    note("failed", type(error).__name__)
        finally:
            await database.close()

    run(main)


def race(address: str) -> None:
    """At each word try to consume, and tell what came of it; the next word ends it."""

    async def main() -> None:
        database = Database(address)
        note("ready")
        while await word():
            first = asyncio.Event()

            async def handle(_: Event, first: asyncio.Event = first) -> None:
                if not first.is_set():
                    first.set()
                    note("outcome", "consumes")

            consumer = Consumer(EventLog(database), SINK, handle)
            task = asyncio.create_task(consumer.run())
            task.add_done_callback(
                lambda done: done.exception() and note("outcome", type(done.exception()).__name__)  # type: ignore[func-returns-value]  # note returns nothing
            )
            await word()
            consumer.stop()
            await asyncio.gather(task, return_exceptions=True)
            note("over")
        await database.close()

    run(main)


def pair(address: str, moment: str, turns: str) -> None:
    """Write a fill and an event in one transaction, again and again; die by one's own hand at a moment of a turn."""

    def die(now: str, number: int) -> None:
        if (now, number) == (moment, int(turns)):
            os.kill(os.getpid(), signal.SIGKILL)

    async def main() -> None:
        database = Database(named(address))
        fills, log, number = FillRepository(database), EventLog(database), 0
        while True:
            async with database.session() as session:
                if number % 2:
                    await fills.append(fill(number), session=session)
                    die("between", number)
                    await log.append(event(number), session=session)
                else:
                    await log.append(event(number), session=session)
                    die("between", number)
                    await fills.append(fill(number), session=session)
                die("before", number)
                if number % 5 == 4:
                    await session.rollback()
                else:
                    await session.commit()
                    die("after", number)
                    note("stored", number)
            number += 1

    run(main)


def facade(address: str, moment: str) -> None:
    """Consume through a store until Ctrl-C, then show that the same store still works."""

    def handle(given: Event) -> None:
        note("given", given.offset)
        if moment == "handling" and given.offset == 3:
            time.sleep(0.5)
        note("handled", given.offset)

    with walle.connect(named(address)) as store:
        try:
            store.events.consume(SINK, handle, follow=True)
        except KeyboardInterrupt:
            note("interrupted", time.monotonic())
        note("appended", store.events.append(event(9)))
        note("again", store.events.consume(SINK, handle))
    note("threads", threading.active_count())


def raising(address: str, name: str, kind: str) -> None:
    """Consume with a handler that raises what means something else to Python or to an event loop."""
    error = {"StopIteration": StopIteration, "SystemExit": SystemExit}[name](3)

    def handle(_: Event) -> None:
        raise error

    async def handle_in_loop(_: Event) -> None:
        raise error

    with walle.connect(address) as store:
        try:
            store.events.consume(SINK, handle if kind == "thread" else handle_in_loop, tries=1)
        except WalleError as failure:
            note("ended", type(failure).__name__)
        note("latest", store.events.latest())


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
