"""Searching, lineage, masks and files of events, on every store."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.examples import first_quick
from tests.raw import Raw
from tests.samples import START
from walle.database import Database
from walle.envelope import Event
from walle.errors import InputError, UnknownEvent
from walle.events import EventLog, Mask, search
from walle.events.export import exported
from walle.events.json_path import find_values, parse_path
from walle.frames import EVENTS


def made(number: int, **changes: Any) -> Event:
    payload = {"n": number, "order": {"side": "buy" if number % 3 else "sell", "tags": ["a", f"t{number}"]}}
    values: dict[str, Any] = {
        "type": "orders.Filled" if number % 2 else "orders.Placed",
        "run_id": f"run-{number % 5}",
        "corr_id": f"c-{number // 10}",
        "ts": START + timedelta(seconds=number),
        "payload": payload,
    }
    return Event(**(values | changes))


async def walk(log: EventLog, **asked: Any) -> list[int]:
    """All ids of a search, page after page.

    Raises
    ------
    AssertionError
        When it does not end.
    """
    ids: list[int] = []
    before: int | None = None
    for _ in range(10_000):
        page = await log.search(before, **asked)
        assert page.events.schema == EVENTS
        ids += page.events["offset"].to_list()
        assert page.before is None or before is None or page.before < before
        before = page.before
        if before is None:
            return ids
    raise AssertionError("it does not end")


ASKED: list[dict[str, Any]] = [
    {},
    {"types": "orders.F*"},
    {"run_id": "run-3"},
    {"corr_id": "c-7"},
    {"start": START + timedelta(seconds=30), "end": START + timedelta(seconds=60)},
    {"where": "order.side = sell"},
    {"where": "$.order.tags[1]=t77"},
    {"where": "order.missing"},
    {"text": "T1"},
    {"text": "t1", "where": "order.side = sell", "run_id": "run-0"},
    {"text": "nothing holds this"},
]


def wanted(event: Event, asked: dict[str, Any]) -> bool:
    """Whether an event is asked for, by plain Python."""
    payload: Any = event.payload
    assert event.ts is not None
    return all(
        (
            "types" not in asked or event.type == "orders.Filled",
            event.run_id == asked.get("run_id", event.run_id),
            event.corr_id == asked.get("corr_id", event.corr_id),
            asked.get("start", event.ts) <= event.ts,
            event.ts < asked.get("end", event.ts + timedelta(1)),
            asked.get("text", "").lower() in json.dumps(payload).lower(),
            asked.get("where") != "order.side = sell" or payload["order"]["side"] == "sell",
            asked.get("where") != "$.order.tags[1]=t77" or payload["order"]["tags"][1] == "t77",
            asked.get("where") != "order.missing",
        )
    )


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("limit", first_quick([7, 1, 500]))
async def test_pages_hold_what_was_asked_for_newest_first(log: EventLog, asked: dict[str, Any], limit: int) -> None:
    events = [made(number) for number in range(200)]
    ids = await log.append(events)
    kept = [place for place, event in zip(ids, events, strict=True) if wanted(event, asked)]
    assert await walk(log, limit=limit, **asked) == kept[::-1]


PAYLOADS: list[dict[str, Any]] = [
    {"symbol": "BTC/USD", "qty": 2.5, "fills": [{"price": 1}, {"price": 101.5}]},
    {"symbol": "btc/usd", "qty": "2.5", "fills": []},
    {"symbol": None, "qty": 0, "ok": True, "a.b": {"it's = 1": 1}, "null": "null"},
    {"symbol": {"0": "x"}, "ok": 1, "qty": 2},
    {"qty": 1e300, "ok": False, "note": 'say "hi" \\ \u00c4\u00d6 \u6f22\u5b57 100%_', "fills": {"0": {"price": 1}}},
    {"qty": 9007199254740993, "note": "' OR 1=1 --", "symbol": ""},
    {"symbol": "deep", "deep": json.loads('{"a":' * 190 + "1" + "}" * 190)},
]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("symbol = BTC/USD", [1]),
        ('symbol = "BTC/USD"', [1]),
        ("symbol", [1, 2, 4, 6, 7]),
        ("symbol = null", []),
        ("null = null", [3]),
        ("symbol =", [6]),
        ("symbol = deep", [7]),
        ("deep.a.a.a", [7]),
        ("symbol.0 = x", [4]),
        ("symbol[0] = x", []),
        ("$.qty=2.5", [1, 2]),
        ('qty = "2.5"', [2]),
        ("qty = 2.50", [1]),
        ("qty = 0", [3]),
        ("qty = 1e300", [5]),
        ("qty = 9007199254740993", [6]),
        (f"qty = {2**80}", []),
        ("qty = NaN", []),
        ("ok = true", [3]),
        ("ok = 1", [4]),
        ("ok", [3, 4, 5]),
        ("fills[1].price = 101.5", [1]),
        ("fills[0].price = 1", [1]),
        ("fills.0.price = 1", [5]),
        ("fills.price", []),
        ('"a.b"."it\'s = 1" = 1', [3]),
        ('["a.b"]', [3]),
        ("note = ' OR 1=1 --", [6]),
    ],
)
async def test_what_stands_at_a_path_is_compared_by_value_and_alike_everywhere(
    log: EventLog, where: str, expected: list[int]
) -> None:
    await log.append([made(1, payload=payload) for payload in PAYLOADS])
    assert await walk(log, where=where) == expected[::-1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("BTC/USD", [1, 2]),
        ("price", [1, 5]),
        ('say "hi" \\', [5]),
        ("\u00c4\u00d6 \u6f22", [5]),
        ("100%_", [5]),
        ("%", [5]),
        ("' or 1=1", [6]),
        ("orders.Placed", []),  # the type is not in the payload
        ("c-0", []),
    ],
)
async def test_a_text_is_found_in_the_payload_alone(log: EventLog, text: str, expected: list[int]) -> None:
    await log.append([made(1, payload=payload) for payload in PAYLOADS])
    assert await walk(log, text=text) == expected[::-1]


async def test_what_another_program_wrote_has_no_places(address: str) -> None:
    database = Database(address)
    log = EventLog(database)
    await log.append(made(1, payload={"a": 1}))
    Raw(address).run("INSERT INTO outbox (type, payload) VALUES ('x.y', ?)", ["[1]" if "://" in address else "no JSON"])
    assert await walk(log, where="a") == await walk(log, text='"a"') == [1]
    assert await walk(log, where="[0]") == []
    await log.close()
    await database.close()


names = st.text(alphabet="ab.[]$* \u00e9", min_size=1, max_size=4).filter(lambda name: name.isprintable())


@given(st.lists(names | st.integers(0, 3), min_size=1, max_size=4))
def test_a_quoted_path_is_read_as_it_is_written(steps: list[str | int]) -> None:
    text = "".join(f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in steps)
    assert parse_path("$" + text) == parse_path(text) == tuple(steps)
    document: Any = 7
    for step in reversed(steps):
        document = [None] * step + [document] if isinstance(step, int) else {step: document}
    assert list(find_values(document, tuple(steps))) == [7]


async def test_a_search_stops_after_its_time_and_goes_on(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "STRETCH", 500)
    await log.append([made(number) for number in range(3_000)])
    page = await log.search(text="t0", where="n = 0", limit=5, seconds=0)
    assert page.events.is_empty()
    assert page.before is not None
    assert page.looked_to == page.before
    assert len(await walk(log, where="n = 0", limit=5, seconds=0)) == 1


async def test_an_empty_log_has_an_empty_page(log: EventLog) -> None:
    page = await log.search()
    assert (page.events.height, page.before) == (0, None)


async def test_causes_and_consequences(log: EventLog) -> None:
    root = made(0)
    first, second = made(1, causation_id=root.id), made(2, causation_id=root.id)
    leaf = made(3, causation_id=first.id)
    ids = await log.append([root, made(9), first, second, leaf])
    told = await log.lineage(ids[2])
    assert told.select("relation", "steps", "offset").rows() == [("cause", 1, ids[0]), ("consequence", 1, ids[4])]
    told = await log.lineage(ids[0])
    assert told.select("steps", "offset").rows() == [(1, ids[2]), (1, ids[3]), (2, ids[4])]
    assert (await log.lineage(ids[1])).is_empty()
    own = made(5)
    circle = [made(5, id=own.id, causation_id="other"), made(6, id="other", causation_id=own.id)]
    ids = await log.append(circle)
    told = (await log.lineage(ids[0])).select("relation", "offset", "id")
    assert told.rows() == [("cause", ids[1], "other"), ("consequence", ids[1], "other")]
    with pytest.raises(UnknownEvent):
        await log.lineage(10**9)


async def test_bad_questions_are_refused(log: EventLog) -> None:
    for asked, message in (
        ({"where": "  "}, "no text to look for"),
        ({"where": "a[b"}, "no JSON path"),
        ({"where": "a b"}, "no JSON path"),
        ({"where": "a..b"}, "no JSON path"),
        ({"where": "a[-1]"}, "no JSON path"),
        ({"where": "a[*] = 1"}, "no JSON path"),
        ({"where": "= 1"}, "no JSON path"),
        ({"text": ""}, "no text to look for"),
        ({"text": "a\0b"}, "NUL"),
        ({"limit": 0}, "limit=0"),
        ({"before": -1}, "before=-1"),
        ({"types": "orders"}, "neither a type"),
    ):
        with pytest.raises(InputError, match=message):
            await log.search(**asked)
    with pytest.raises(InputError, match="reach=0"):
        await log.lineage((await log.append([made(1)]))[0], reach=0)


def masked(payload: Any, *rules: str) -> Any:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    frame = pl.DataFrame({"offset": [1], "payload": [text]})
    return json.loads(Mask.of(rules).apply(frame)["payload"][0])


def test_masks_hide_members_by_name_and_path() -> None:
    given = {"user": {"Password": "x", "name": "a"}, "list": [{"token": 1}, {"token": [2]}], "n": 5}
    assert masked(given, "password", "TOKEN") == {
        "user": {"Password": "***", "name": "a"},
        "list": [{"token": "***"}, {"token": "***"}],
        "n": 5,
    }
    assert masked(given, "$.list[*].token", "$.n") == given | {"list": [{"token": "***"}] * 2, "n": "***"}
    assert masked(given, "$.list[1]", "$.user.name.more", "$.list[9].x")["list"] == [{"token": 1}, "***"]
    assert masked("{no json", "a") == "***"
    assert masked("[" * 5_000 + "]" * 5_000, "a") == "***"
    big = {"a": "s" * 1_000_000, "secret": "s" * 1_000_000}
    assert masked(big, "secret") == big | {"secret": "***"}


def test_a_mask_leaves_numbers_and_texts_as_they_are_written() -> None:
    text = '{"p": 1.10, "big": 123456789012345678901234567890, "e": 1E+400, '
    text += '"t": "\\u00fc \\"q\\" \u2028", "l": [-0.0], "k": 0}'
    told = Mask.of("k").apply(pl.DataFrame({"payload": [text]}))["payload"][0]
    assert told == text.replace(": ", ":").replace(", ", ",").replace("\\u00fc", "\u00fc").replace('"k":0', '"k":"***"')


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("aAbk"), inner, max_size=3),
    max_leaves=12,
)


def brute(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: "***" if key.lower() == "a" else brute(one) for key, one in value.items()}
    return [brute(one) for one in value] if isinstance(value, list) else value


@given(documents)
def test_members_are_hidden_as_a_plain_walk_does_it(document: Any) -> None:
    assert masked([document], "A") == brute([document])


def test_a_mask_hides_columns_and_whole_envelopes_too() -> None:
    envelope = '{"payload":{"a":1},"corr_id":"c"}'
    frame = pl.DataFrame({"offset": [1], "corr_id": ["c"], "run_id": [None], "envelope": [envelope]})
    shown = Mask.of(["corr_id", "run_id", "$.a"]).apply(frame.cast({"run_id": pl.String}))
    assert shown.row(0) == (1, "***", None, '{"payload":{"a":"***"},"corr_id":"***"}')
    assert Mask.of([]).apply(frame) is frame
    assert Mask.of(["B", "$.a[*].b", "$.c[2]"]).rules == ["b", "$.a[*].b", "$.c[2]"]
    for bad in ("", "$", "$.a[", "$x", 7):
        with pytest.raises(InputError, match=r"neither a name|no path"):
            Mask.of([bad])  # type: ignore[list-item]  # wrong on purpose


def test_files_hold_the_events_and_no_formula() -> None:
    texts = ["=1+1", "+1", "-1", "@a", "\tx", "\rx", "a=b", '"q",\n', " =1", "\uff1d1", None]
    frame = pl.DataFrame({"offset": range(len(texts)), "payload": texts, "ts": [START] * len(texts)})
    read = pl.read_csv(io.BytesIO(exported(frame, "csv")), infer_schema=False)
    assert read["payload"].to_list() == [
        "'=1+1",
        "'+1",
        "'-1",
        "'@a",
        "'\tx",
        "'\rx",
        "a=b",
        '"q",\n',
        "' =1",
        "'\uff1d1",
        None,
    ]
    assert read["ts"][0] == "2025-03-01T00:00:00.000000Z"
    lines = [json.loads(line) for line in exported(frame, "jsonl").decode().splitlines()]
    assert [line["payload"] for line in lines] == texts
    assert_frame_equal(pl.read_parquet(io.BytesIO(exported(frame, "parquet"))), frame)
    with pytest.raises(InputError, match="allowed are csv, jsonl, parquet"):
        exported(frame, "xlsx")
