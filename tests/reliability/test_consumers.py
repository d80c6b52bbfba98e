"""Consumers as processes: killed, stopped, hung and replaced at any moment, they skip no event."""

from __future__ import annotations

import json
import random
import signal
import time
from datetime import UTC, datetime, timedelta

import pytest

import walle
from tests.raw import Raw
from tests.reliability.consuming import (
    MODES,
    SINK,
    append,
    consuming,
    flat,
    gone,
    hang,
    history,
    ids,
    kill,
    numbers_of,
    offset,
    owner,
    replay,
    say,
    start,
    together,
    until,
    watch,
)
from tests.reliability.processes import sizes
from tests.samples import event
from walle.config import DatabaseConfig
from walle.database import Database
from walle.envelope import Event
from walle.errors import ConsumerBusy
from walle.events import Consumer, EventLog


@sizes("rounds, count", always=[(15, 1_500)], full=[(100, 10_000)])
def test_a_consumer_that_is_killed_at_any_moment_skips_no_event(address: str, rounds: int, count: int) -> None:
    chance, raw = random.Random(rounds), Raw(address)
    watch(raw)
    place, handled = -1, set[int]()
    with start("write", address) as writer:
        writer.expect("ready")
        for turn in range(rounds):
            with consuming(address, seed=turn, **MODES[turn % len(MODES)]) as child:
                child.expect("ready")
                say(writer, count // rounds)
                if turn % 5:  # else it may die while it claims the name
                    child.expect("given")
                time.sleep(chance.uniform(0, 0.12))
                kill(child)
            gone(raw, child.process.pid)
            given = [
                number for number in dict.fromkeys(flat(numbers_of(child, "given"))) if number > place
            ]  # no replays
            assert given == ids(raw, place)[: len(given)], "it began after its offset, and went on in order"
            assert offset(raw) >= place, "an offset never goes back"
            place = offset(raw)
            handled |= set(flat(numbers_of(child, "handled")))
            parked = {number for (number,) in raw.rows("SELECT event FROM parked_events")}
            assert {number for number in ids(raw) if number <= place} <= handled | parked
            writer.expect("written")
            if parked and turn % 2 == 0:
                replay(raw)
    replay(raw)
    with consuming(address, follow=False) as child:
        child.succeed()
    handled |= set(flat(numbers_of(child, "handled")))
    stored = ids(raw)
    assert len(stored) == count
    assert handled == set(stored)
    assert raw.value("SELECT count(*) FROM parked_events WHERE replayed_at IS NULL") == 0
    assert parked, "some events were set aside"
    assert offset(raw) == stored[-1]
    changes = history(raw)
    assert all(before <= after for _, before, after, _ in changes)
    assert [epoch for epoch, *_ in changes] == sorted(epoch for epoch, *_ in changes)


@sizes("turn", always=range(3), full=range(20))
def test_a_name_belongs_to_one_process_and_passes_on_when_it_dies_or_is_replaced(address: str, turn: int) -> None:
    chance, raw, part = random.Random(turn), Raw(address), 250
    append(address, part)
    watch(raw)
    how: dict[str, object] = {"go": True, "pace": 0.004, "seed": turn, "batch_size": chance.choice([None, 5])}
    first, refused, second, third = children = [
        consuming(address, **how, take_over=take_over) for take_over in (False, False, False, True)
    ]
    with together(children):
        say(first)
        first.expect("commit")
        say(refused)
        assert refused.expect("ended") == "ConsumerBusy"
        time.sleep(chance.uniform(0, 0.05))
        kill(first)
        append(address, part)  # it may have handled all there was
        say(second)
        second.expect("commit")
        time.sleep(chance.uniform(0, 0.1))
        hang(second, raw)
        stood = offset(raw)
        append(address, part)
        say(third)
        third.expect("commit")
        time.sleep(chance.uniform(0, 0.1))
        second.signal(signal.SIGCONT)
        assert second.expect("ended") == "ConsumerFenced"
        while 3 * part not in flat(numbers_of(third, "handled")):
            third.expect("handled")
        third.signal(signal.SIGTERM)
        third.succeed()
    epochs = {child.process.pid: {epoch for epoch, _ in numbers_of(child, "commit")} for child in children}
    changes = history(raw)
    for mine, other in ((first, second), (second, third), (first, third)):
        assert not epochs[mine.process.pid] & epochs[other.process.pid]
    commits = [(epoch, after, pid) for epoch, before, after, pid in changes if before != after]
    told = {(epoch, after, child.process.pid) for child in children for epoch, after in numbers_of(child, "commit")}
    assert told <= set(commits), "the database saw what they say, in the same epochs"
    assert len({(epoch, pid) for epoch, _, pid in commits}) == len({epoch for epoch, *_ in commits}) == 3
    assert [epoch for epoch, *_ in changes] == sorted(epoch for epoch, *_ in changes)
    assert all(before <= after for _, before, after, _ in changes)
    begun = flat(numbers_of(third, "given"))[0]
    assert begun == stood + 1
    assert {number for child in children for number in flat(numbers_of(child, "handled"))} >= set(ids(raw))
    assert offset(raw) == 3 * part
    assert owner(raw) is None


@sizes("rounds", always=[8], full=[40])
def test_of_four_processes_that_start_at_once_one_consumes(address: str, rounds: int) -> None:
    children = [start("race", address) for _ in range(4)]
    raw = Raw(address)
    with walle.connect(address) as store, together(children):
        for turn in range(rounds):
            store.events.append(event(turn + 1))
            for child in children:
                say(child)
            outcomes = sorted(child.expect("outcome") for child in children)
            assert outcomes == ["ConsumerBusy"] * 3 + ["consumes"]
            for child in children:
                say(child)
            for child in children:
                child.expect("over")
            assert owner(raw) is None
        assert offset(raw) == rounds


def advisory(raw: Raw) -> int:
    query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
    return int(raw.value(query + "(SELECT oid FROM pg_database WHERE datname = current_database())"))


@pytest.mark.parametrize("pooler", [False, True], ids=["session", "pooler"])
def test_a_living_process_is_respected_and_a_dead_one_replaced_at_once(address: str, pooler: bool) -> None:
    raw = Raw(address)
    append(address, 1_000)
    first, refused, second = children = [
        consuming(address, pooler=pooler, go=True, pace=0.01, lease=600) for _ in range(3)
    ]
    with together(children):
        say(first)
        first.expect("commit")
        if not raw.sqlite:
            assert advisory(raw) == (0 if pooler else 1)
        say(refused)
        assert refused.expect("ended") == "ConsumerBusy"
        kill(first)
        append(address, 1)  # it may have handled all there was
        moment = time.monotonic()
        say(second)
        second.expect("given")
        assert time.monotonic() - moment < 20  # nobody waits for a lease of ten minutes
        second.signal(signal.SIGTERM)
        second.succeed()


def note_owner(raw: Raw, silent: float) -> None:
    """Put an owner on another host into the row, as its process would have left it."""
    content = {"host": "elsewhere", "pid": 1, "started": 1.0, "token": "t", "lease": 30.0, "locked": False}
    moment = datetime.now(UTC) - timedelta(seconds=silent)
    stored = int(moment.timestamp() * 1_000_000) if raw.sqlite else moment
    raw.run("UPDATE consumer_offsets SET owner = ?, heartbeat_at = ?", (json.dumps(content), stored))


async def test_an_owner_on_another_host_is_respected_for_the_lease(address: str) -> None:
    raw, got = Raw(address), list[int]()
    database = Database(DatabaseConfig(url=address, transaction_pooler=True))
    log = EventLog(database)

    async def handle(given: Event) -> None:
        got.append(given.offset or 0)

    try:
        await log.append([event(1), event(2)])
        await Consumer(log, SINK, handle).run(follow=False)
        await log.append(event(3))
        note_owner(raw, silent=20)
        with pytest.raises(ConsumerBusy, match="elsewhere"):
            await Consumer(log, SINK, handle, lease=timedelta(seconds=30)).run(follow=False)
        assert got == [1, 2]
        note_owner(raw, silent=31)
        assert await Consumer(log, SINK, handle, lease=timedelta(seconds=30)).run(follow=False) == 1
        assert got == [1, 2, 3]
        assert owner(raw) is None
    finally:
        await database.close()


def test_a_consumer_on_another_host_that_hangs_for_its_lease_is_replaced_and_fenced(address: str) -> None:
    raw = Raw(address)
    append(address, 200)
    first, early, late = children = [
        consuming(address, pooler=True, go=True, pace=0.01, lease=1.5, host=host)
        for host in ("elsewhere", "here", "here")
    ]
    with together(children):
        say(first)
        first.expect("commit")
        say(early)
        assert early.expect("ended") == "ConsumerBusy"
        hang(first, raw)
        append(address, 1)  # it may have handled all there was
        time.sleep(1.6)
        say(late)
        late.expect("commit")
        first.signal(signal.SIGCONT)
        assert first.expect("ended") == "ConsumerFenced"
        late.signal(signal.SIGTERM)
        late.succeed()


@pytest.mark.parametrize(("sync", "outcome"), [(True, "ConsumerBusy"), (False, "well")], ids=["thread", "loop"])
def test_a_handler_that_blocks_longer_than_the_lease_keeps_the_name_unless_it_blocks_the_loop(
    address: str, sync: bool, outcome: str
) -> None:
    append(address, 1)
    first, second = children = [
        consuming(address, pooler=True, go=True, lease=0.6, host=host, sync=sync, blocks=blocks, follow=False)
        for host, blocks in (("elsewhere", 2.5), ("here", 0))
    ]
    with together(children):
        say(first)
        first.expect("given")
        time.sleep(1.0)
        say(second)
        assert second.expect("ended") == outcome
        assert first.expect("ended") == ("well" if sync else "ConsumerFenced")
    assert offset(Raw(address)) == 1


MOMENTS = [("between", 6), ("between", 7), ("before", 6), ("before", 7), ("after", 6), ("after", 7)]


@sizes(
    "moment, number",
    always=[*MOMENTS, ("random", 0), ("random", 1)],
    full=[*((moment, number + 10) for moment, number in MOMENTS), *(("random", number) for number in range(20))],
)
def test_a_fill_and_its_event_are_stored_both_or_neither(address: str, moment: str, number: int) -> None:
    chance, raw = random.Random(number), Raw(address)
    with start("pair", address, moment, number) as child:
        if moment == "random":
            for _ in range(chance.randrange(1, 30)):
                child.expect("stored")
            time.sleep(chance.uniform(0, 0.02))
            child.signal(signal.SIGKILL)
        assert child.wait().code == -signal.SIGKILL
    gone(raw, child.process.pid)
    fills = sorted(int(name.removeprefix("fill-")) for (name,) in raw.rows("SELECT id FROM fills"))
    member = "json_extract(payload, '$.id')" if raw.sqlite else "payload ->> 'id'"
    events = sorted(int(name.removeprefix("event-")) for (name,) in raw.rows(f"SELECT {member} FROM outbox"))
    assert fills == events
    acknowledged = flat(numbers_of(child, "stored"))
    assert fills[: len(acknowledged)] == acknowledged
    assert len(fills) <= len(acknowledged) + 1
    if moment != "random":
        expected = number + 1 if moment == "after" else number
        assert fills == [turn for turn in range(expected) if turn % 5 != 4]


@pytest.mark.parametrize("how", [{"sync": True, "blocks": 0.3}, {"pace": 0.3}], ids=["thread", "loop"])
def test_a_stop_finishes_and_commits_the_batch_in_hand_and_frees_the_name(address: str, how: dict[str, object]) -> None:
    raw = Raw(address)
    append(address, 50)
    with consuming(address, batch_size=10, **how) as child:
        child.expect("handled")
        child.expect("given")
        child.signal(signal.SIGTERM)
        child.succeed()
    assert numbers_of(child, "given") == numbers_of(child, "handled") == [list(range(1, 11)), list(range(11, 21))]
    assert offset(raw) == 20
    assert owner(raw) is None


def reset(address: str, to: int) -> None:
    with walle.connect(address) as store:
        store.events.reset_offset(SINK, to=to, reason="a test")


def test_a_batch_in_hand_is_not_committed_over_a_reset(address: str) -> None:
    raw = Raw(address)
    append(address, 60)
    watch(raw)
    with consuming(address, batch_size=10, hold=True) as child:
        for _ in range(2):
            child.expect("given")
            say(child)
            child.expect("handled")
        assert child.expect("given").startswith("21 ")
        reset(address, 5)
        say(child)
        assert child.expect("given", within=5).split(" ") == [str(number) for number in range(6, 16)]
        assert offset(raw) == 5
        say(child)
        child.expect("commit")
        assert offset(raw) == 15
        kill(child)
    assert [(before, after) for _, before, after, _ in history(raw) if before != after] == [
        *((-1, 10), (10, 20)),
        *((20, 5), (5, 15)),
    ]


@pytest.mark.parametrize("to", [0, 17, 30])
def test_a_consumer_that_waits_goes_on_from_a_reset_soon(address: str, to: int) -> None:
    raw = Raw(address)
    append(address, 30)
    with consuming(address) as child, walle.connect(address) as store:
        until(lambda: offset(raw) == 30)
        store.events.reset_offset(SINK, to=to, reason="a test")
        moment = time.monotonic()
        store.events.append(event(31))
        until(lambda: offset(raw) == 31)
        assert time.monotonic() - moment < 10
        child.signal(signal.SIGTERM)
        assert child.succeed().lines[-1] == "ended well"
    again = flat(numbers_of(child, "given"))[30:]
    if again[0] == 31 != to + 1:  # it came before the reset was heard of, and was not committed
        again.pop(0)
    assert again in (list(range(to + 1, 32)), [31, 31])
    assert offset(raw) == 31
