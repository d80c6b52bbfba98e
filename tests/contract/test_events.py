"""The event log: the same numbering and behaviour in memory and on both databases."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from tests.raw import Raw
from tests.samples import START, event
from walle.database import Database
from walle.enums import EventKind
from walle.envelope import Event
from walle.errors import EventTooLarge, InputError, StoreClosed, UnknownEvent
from walle.events import Consumer, EventLog
from walle.frames import EVENTS


async def ids(log: EventLog, **wanted: Any) -> list[int]:
    return (await log.read(**wanted, columns=["offset"]))["offset"].to_list()


async def test_an_event_comes_back_equal_with_its_place_and_time(log: EventLog) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    sparse = Event(type="run.Stopped", kind="cmd", corr_id=None)
    assert await log.append(event()) == 1
    assert await log.append([sparse, event(2)]) == [2, 3]
    stored = await log.list()
    assert stored == [event(), sparse, event(2)]
    assert [item.offset for item in stored] == [1, 2, 3]
    assert all(item.created_at is not None and item.created_at > before for item in stored)
    assert stored[1].kind is EventKind.COMMAND
    assert await log.get(3) == event(2)


async def test_a_frame_has_the_envelope_in_columns(log: EventLog) -> None:
    await log.append([event(), Event(type="run.Stopped", corr_id=None)])
    frame = await log.read()
    assert frame.schema == EVENTS
    assert frame.columns[:2] == ["offset", "id"]
    first = frame.row(0, named=True)
    assert (first["offset"], first["type"], first["id"]) == (1, "orders.Placed", "event-1")
    assert (first["kind"], first["version"], first["producer"]) == ("evt", 2, "engine")
    assert (first["run_id"], first["corr_id"]) == ("run-1", "corr-1")
    assert (first["causation_id"], first["trace_id"]) == ("cause", "trace")
    assert first["ts"] == event().ts
    assert json.loads(first["payload"]) == event().payload
    assert json.loads(first["headers"]) == {"attempt": 1}
    second = frame.row(1, named=True)
    assert [second[name] for name in ("run_id", "corr_id", "producer")] == [None] * 3
    assert (second["headers"], second["payload"]) == ("{}", "{}")
    chosen = await log.read(columns=["envelope", "offset"])
    assert chosen.schema == {"envelope": pl.String, "offset": pl.Int64}
    assert Event.from_json(chosen["envelope"][0]) == event()


async def test_an_empty_log_gives_typed_empty_frames(log: EventLog) -> None:
    assert (await log.read()).schema == EVENTS
    assert await log.list() == []
    assert await log.latest() == -1
    assert await log.append([]) == []
    assert (await log.consumers()).height == (await log.parked()).height == (await log.resets()).height == 0


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"types": "orders.*"}, [1, 2, 5]),
        ({"types": "orders.Placed"}, [1]),
        ({"types": ["*.Started", "orders.F*"]}, [2, 3]),
        ({"types": "*"}, [1, 2, 3, 4, 5]),
        ({"types": "ORDERS.*"}, []),
        ({"types": "orders.?illed"}, []),
        ({"types": "orders_*"}, [4]),
        ({"types": "orders.%*"}, []),
        ({"types": "orders.[F]illed*"}, []),
        ({"run_id": "run-2"}, [3, 4]),
        ({"run_id": "run-2", "types": "run.*"}, [3]),
        ({"corr_id": "corr-2"}, [2]),
        ({"run_id": "run-' OR 1=1 --"}, []),
        ({"after": 2}, [3, 4, 5]),
        ({"after": 5}, []),
        ({"after": 10**9}, []),
        ({"limit": 2}, [1, 2]),
        ({"limit": 0}, []),
        ({"limit": 1, "types": "run.*"}, [3]),
        ({"start": START + timedelta(seconds=2), "end": START + timedelta(seconds=4)}, [2, 3]),
        ({"start": START + timedelta(seconds=4, microseconds=1)}, [5]),
        ({"end": START + timedelta(seconds=1, microseconds=1)}, [1]),
    ],
)
async def test_a_filter_gives_what_matches(log: EventLog, wanted: dict[str, Any], found: list[int]) -> None:
    await log.append(
        [
            event(1),
            event(2, type="orders.Filled"),
            event(3, type="run.Started", run_id="run-2"),
            event(4, type="orders_eu.Filled", run_id="run-2"),
            event(5, type="orders.venue.Filled"),
        ]
    )
    assert await ids(log, **wanted) == found
    assert [item.offset for item in await log.list(**wanted)] == found


async def test_nothing_is_seen_before_the_commit_and_everything_after_it(log: EventLog) -> None:
    await log.append(event(1))
    async with log.session() as session:
        first = await log.append(event(2), session=session)
        assert await log.append([event(3), event(4)], session=session) == [first + 1, first + 2]
        assert await log.list() == [event(1)]
        assert await log.latest() == 1
        await session.commit()
    assert await log.list() == [event(number) for number in (1, 2, 3, 4)]
    assert await log.append(event(5)) == first + 3


async def test_a_rollback_leaves_no_row_and_no_notification(log: EventLog) -> None:
    await log.append(event(1))
    waiting = asyncio.create_task(log.follow(_everything(), 1, 10, 0.5))
    await asyncio.sleep(0)
    async with log.session() as session:
        await log.append(event(2), session=session)
        await session.rollback()
    async with log.session() as session:
        await log.append(event(3), session=session)
    with pytest.raises(ZeroDivisionError):
        async with log.session() as session:
            await log.append(event(4), session=session)
            raise ZeroDivisionError
    assert await waiting == ([], 1)
    await log.append(event(5))
    assert await log.list() == [event(1), event(5)]


async def test_a_savepoint_that_is_rolled_back_takes_only_its_own_events(log: EventLog) -> None:
    async with log.session() as session:
        await log.append(event(1), session=session)
        with pytest.raises(ZeroDivisionError):
            async with session.begin_nested():
                await log.append(event(2), session=session)
                raise ZeroDivisionError
        async with session.begin_nested():
            await log.append(event(3), session=session)
        await session.commit()
    assert await log.list() == [event(1), event(3)]


async def test_an_append_that_fails_stores_none_of_its_events(log: EventLog) -> None:
    log.max_bytes = 2_000
    with pytest.raises(EventTooLarge, match=r"orders.Placed has 2,\d\d\d bytes as JSON; at most 2,000") as caught:
        await log.append([event(1), event(2, payload={"text": "ü" * 900})])
    assert caught.value.size > caught.value.limit == 2_000
    assert await log.append(event(3, payload={"text": "ü" * 700})) == 1
    with pytest.raises(InputError, match=r"an event is a walle.Event, not a dict"):
        await log.append([event(1), {"type": "orders.Placed"}])  # type: ignore[list-item]  # wrong on purpose
    with pytest.raises(InputError, match=r"takes a walle.Event or a list of them, not a dict"):
        await log.append({"type": "orders.Placed"})  # type: ignore[dict-item]  # wrong on purpose
    with pytest.raises(InputError, match=r"not a int"):
        await log.append(7)  # type: ignore[call-overload]  # wrong on purpose
    assert await ids(log) == [1]


async def test_a_generator_of_many_events_keeps_its_order(log: EventLog) -> None:
    def many() -> Iterable[Event]:
        for number in range(12_000):
            yield event(number, headers={}, payload={"number": number})

    stored = await log.append(many())
    assert isinstance(stored, list)
    assert stored == list(range(1, 12_001))
    frame = await log.read(columns=["offset", "id"])
    assert frame["id"].to_list() == [f"event-{number}" for number in range(12_000)]


async def test_a_subscriber_gets_what_comes_once_and_in_order(log: EventLog) -> None:
    await log.append(event(1))
    got: list[Event] = []
    late: list[Event] = []

    async def listen(into: list[Event], **options: Any) -> None:
        async for item in log.subscribe(**options):
            into.append(item)

    tasks = [
        asyncio.create_task(listen(got, types="orders.*", after=-1)),
        asyncio.create_task(listen(late, run_id="run-2", after=1)),
    ]
    for number in range(2, 40):
        run_id = "run-2" if number % 3 == 0 else "run-1"
        await log.append(event(number, type="orders.Filled" if number % 2 else "run.Started", run_id=run_id))
    async with asyncio.timeout(10):
        while len(got) < 20 or len(late) < 13:
            await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert [item.offset for item in got] == [1, *range(3, 40, 2)]
    assert [item.offset for item in late] == list(range(3, 40, 3))


async def test_a_subscriber_begins_with_what_is_appended_after_its_first_step(log: EventLog) -> None:
    await log.append(event(1))
    stream = log.subscribe()
    waiting = asyncio.ensure_future(anext(stream))
    later: list[Event] = []
    while not waiting.done():  # when the first step has been taken cannot be seen from outside
        later.append(event(2 + len(later)))
        await log.append(later[-1])
        await asyncio.wait([waiting], timeout=0.05)
    assert waiting.result() in later
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_waiting_for_an_event_ends_with_its_commit(log: EventLog) -> None:
    async with log.session() as session:
        place = await log.append(event(1), session=session)
        assert isinstance(place, int)
        waiting = asyncio.create_task(log.wait_for(place, timeout=10))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.2)
        await session.commit()
    assert await waiting == event(1)
    with pytest.raises(TimeoutError):
        await log.wait_for(place + 1, timeout=0.05)


async def test_a_closed_log_says_so(log: EventLog) -> None:
    await log.append(event())
    await log.close()
    await log.close()
    for call in (log.append(event()), log.read(), log.latest(), log.consumers(), log.replay("sink"), log.get(1)):
        with pytest.raises(StoreClosed, match="closed"):
            await call


async def test_a_follower_hears_of_the_end_of_its_log(log: EventLog) -> None:
    stream = log.subscribe(after=-1)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0.05)
    await log.close()
    with pytest.raises(StoreClosed):
        await asyncio.wait_for(waiting, 5)


async def test_what_is_no_id_or_filter_is_refused(log: EventLog) -> None:
    await log.append(event())
    for wanted, message in (
        ({"after": -2}, "after=-2 is not the offset of an event"),
        ({"after": True}, "after=True"),
        ({"after": "1"}, "after='1'"),
        ({"after": "orders.*"}, r"after='orders.\*' is not .*, write types='orders.\*'"),
        ({"limit": -1}, "limit=-1 is not a whole number from 0"),
        ({"types": "orders"}, r"neither a type such as 'orders.Filled' nor a pattern such as 'orders.\*'"),
        ({"types": []}, "types is an empty list"),
        ({"types": 7}, "types=7 is neither"),
        ({"start": datetime(2025, 1, 1)}, "has no time zone"),
        ({"start": "2025-02-01", "end": "2025-01-01"}, "ends before it starts"),
        ({"columns": ["price"]}, "events have no column 'price'"),
        ({"columns": "id"}, r"give a list: \['id'\]"),
        ({"columns": []}, "no frame without a column"),
    ):
        with pytest.raises(InputError, match=message):
            await log.read(**wanted)
    with pytest.raises(UnknownEvent, match="no event 7"):
        await log.get(7)
    with pytest.raises(InputError, match="max_bytes=0"):
        log.max_bytes = 0
    with pytest.raises(InputError, match=r"lies in a walle.Database or in memory"):
        EventLog("research.db")  # type: ignore[arg-type]  # wrong on purpose
    async with EventLog().session() as foreign:
        with pytest.raises(InputError, match="session"):
            await log.append(event(), session=foreign)


async def test_hostile_texts_come_back_as_they_were(log: EventLog) -> None:
    hostile = {
        "<script>alert(1)</script>": "'; DROP TABLE outbox; --",
        "": "\u202e\x1b[31m",
        'quote"': ["\\", "%s", ":name", "$1", "{}"],
        "big": 12345678901234567890123,
        "long": "x" * 100_000,
    }
    await log.append(event(payload=hostile, headers={"$.a": {"b": "c"}}))
    texts = ["NULL", "", "{}", "{a,b}", '"', "\\", "\\N", "'", "ü漢😀", "\t\r\n"]
    await log.append([event(n, payload={"text": text}) for n, text in enumerate(texts)])
    assert [item.payload["text"] for item in await log.list(after=1)] == texts
    assert (await log.get(1)).payload == hostile
    frame = await log.read()
    assert json.loads(frame["payload"][0]) == hostile
    assert json.loads(frame["headers"][0]) == {"$.a": {"b": "c"}}


def test_a_log_says_whether_it_is_durable(tmp_path: object) -> None:
    assert repr(EventLog()) == "EventLog('memory', durable=False: nothing is kept)"


def _everything() -> Any:
    from walle.events.filters import EventFilter

    return EventFilter()


def test_a_changed_copy_of_a_stored_event_is_a_new_event() -> None:
    stored = Event.stored(7, "orders.Placed", START, event().to_json())
    assert stored == event()
    assert dataclasses.replace(stored, id="other").payload == event().payload


@pytest.mark.parametrize(
    "payload", ["{}", "[1, 2]", '"text"', "7", "null", '{"type": "other", "ts": "noon", "version": "x"}']
)
async def test_what_another_program_wrote_is_read_as_far_as_it_goes(
    database: Database, address: str, payload: str
) -> None:
    raw = Raw(address)
    log = EventLog(database)
    await log.append(event(1))
    raw.run(f"INSERT INTO outbox (type, payload) VALUES ('legacy event', '{payload}')")
    if raw.sqlite:
        raw.run("INSERT INTO outbox (type, payload) VALUES ('broken', '{no json')")
    frame = await log.read()
    assert frame.schema == EVENTS
    assert frame["type"].to_list()[:2] == ["orders.Placed", "legacy event"]
    assert frame["id"].to_list()[1:] == [None] * (frame.height - 1)
    stored = (await log.list())[1]
    assert stored.type in ("legacy event", "other")
    assert stored.offset == 2
    assert await ids(log, run_id="run-1") == [1]
    handled: list[int | None] = []
    assert await Consumer(log, "sink", lambda item: handled.append(item.offset)).run(follow=False) == frame.height
