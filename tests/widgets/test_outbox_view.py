"""``OutboxView`` without a browser: each control, each message of its page, its errors, its code and its end."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from ipywidgets.widgets.widget import _instances
from polars.testing import assert_frame_equal

import walle
from tests.examples import first_quick
from tests.samples import START
from tests.widgets.test_view import HOSTILE, MANY, ROOT
from walle.errors import InputError
from walle.widgets import OutboxView
from walle.widgets.json_limit import NUMBER, bounded


def event(number: int, **changes: Any) -> walle.Event:
    values: dict[str, Any] = {
        "type": "orders.Filled" if number % 2 else "orders.Placed",
        "run_id": f"run-{number % 4}",
        "corr_id": f"c-{number // 10}",
        "ts": START + timedelta(seconds=number),
        "payload": {"n": number, "order": {"side": "buy" if number % 3 else "sell"}, "password": "secret"},
    }
    return walle.Event(**(values | changes))


def fill(store: walle.Store, count: int = 100) -> list[int]:
    root = event(0)
    others = [event(number, causation_id=root.id if number < 4 else None) for number in range(1, count)]
    return store.events.append([root, *others])


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[walle.Store]:
    monkeypatch.delenv("WALLE_DATABASE_URL", raising=False)
    address = None if request.param == "memory" else request.getfixturevalue("sqlite_address")
    with walle.connect(address) as opened:
        yield opened


@pytest.fixture
def view(store: walle.Store) -> Iterator[OutboxView]:
    fill(store)
    made = OutboxView(store, mask="password")
    assert made.widget is not None
    yield made
    made.close()


def say(part: Any, **message: Any) -> None:
    part._handle_custom_msg(message, [])


def notice(view: OutboxView) -> str:
    assert view._notice is not None
    return str(view._notice.text)


def offsets_on_page(view: OutboxView) -> list[int]:
    return [int(row[0].replace(",", "")) for row in view.table.rows]


def test_the_newest_events_come_first_and_pages_turn(view: OutboxView) -> None:
    assert offsets_on_page(view) == list(range(100, 85, -1))
    say(view.table, kind="page", to="next")
    assert offsets_on_page(view) == list(range(85, 70, -1))
    assert (view.table.note, view.table.turns) == ("page 2", [True, True])
    for _ in range(8):
        say(view.table, kind="page", to="next")
    assert offsets_on_page(view)[-1] == 1
    assert view.table.turns == [True, False]
    say(view.table, kind="page", to="previous")
    say(view.table, kind="page", to="first")
    assert offsets_on_page(view)[0] == 100
    say(view.table, kind="page", to="last")
    assert "narrow from and to" in notice(view)


FILTERS: list[tuple[str, str, int]] = [
    ("types", "orders.F*", 50),
    ("types", "orders.Filled, risk.*", 50),
    ("run_id", "run-3", 25),
    ("corr_id", "c-7", 10),
    ("start", "2025-03-01T00:01:30", 10),
    ("end", "2025-03-01T00:00:05", 5),
    ("where", "order.side = sell", 34),
    ("text", "SELL", 34),
]


@pytest.mark.parametrize(("name", "value", "count"), FILTERS)
def test_each_filter_finds_its_events(view: OutboxView, name: str, value: str, count: int) -> None:
    view.controls["rows"].value = 200
    assert view.frame().height == 100
    view.controls[name].value = value
    assert view.frame().height == len(offsets_on_page(view)) == count
    assert notice(view) == ""
    view.controls[name].value = ""
    assert view.frame().height == 100


@pytest.mark.parametrize(
    ("name", "value"), [("types", "orders"), ("where", "a[b"), ("start", "yesterday"), ("end", "2025-13-01")]
)
def test_a_filter_that_cannot_be_read_is_told_and_logged(
    view: OutboxView, caplog: pytest.LogCaptureFixture, name: str, value: str
) -> None:
    before = view.frame()
    with caplog.at_level(logging.ERROR, "walle.widgets"):
        view.controls[name].value = value
    assert notice(view).startswith("InputError: ")
    assert caplog.records[0].exc_info is not None
    assert_frame_equal(view.frame(), before)
    view.controls[name].value = ""
    assert notice(view) == ""


def test_an_event_opens_with_its_payload_causes_and_consequences(view: OutboxView) -> None:
    view.controls["rows"].value = 200
    say(view.table, kind="select", row=99)
    assert view.title.value.startswith("1 orders.Placed, 2025-03-01")
    assert json.loads(view.tree.text) == {"n": 0, "order": {"side": "sell"}, "password": "***"}
    assert [row[:3] for row in view.lineage.rows] == [["consequence", "1", str(place)] for place in (2, 3, 4)]
    say(view.lineage, kind="select", row=1)
    assert view.title.value.startswith("3 orders.Placed")
    assert view.lineage.rows[0][:3] == ["cause", "1", "1"]
    for part in (view.table, view.lineage):
        say(part, kind="select", row=1_000)
        assert "no row 1000" in notice(view)


def test_nothing_that_is_masked_reaches_the_page_or_a_file(store: walle.Store, tmp_path: Path) -> None:
    fill(store, 20)
    view = OutboxView(store, mask=["password", "$.order.side"])
    data, _ = view._repr_mimebundle_()
    say(view.table, kind="select", row=0)
    page = str(data) + "".join(str(part.get_state()) for part in (view.table, view.tree, view.lineage))
    assert "secret" not in page
    assert '\\"sell\\"' not in page
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        path = view.export(tmp_path / name)
        assert b"secret" not in path.read_bytes()
    assert_frame_equal(pl.read_parquet(tmp_path / "a.parquet"), view.frame())
    with pytest.raises(InputError, match="ends with none of"):
        view.export(tmp_path / "a.xlsx")
    view.close()


def test_the_export_button_gives_what_is_shown(view: OutboxView, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(type(view.files), "send", lambda _, content, buffers=None: sent.append((content, buffers)))
    for format in ("csv", "jsonl", "parquet"):
        view.controls["format"].value = format
        view.controls["export"].click()
    assert [content["name"] for content, _ in sent] == ["events.csv", "events.jsonl", "events.parquet"]
    assert len(sent[1][1][0].splitlines()) == 15
    assert b"secret" not in sent[0][1][0]


def wait(condition: Any, within: float = 5) -> None:
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_live_shows_what_arrives_and_pauses(view: OutboxView, store: walle.Store) -> None:
    view.controls["live"].value = True
    store.events.append(event(500))
    wait(lambda: offsets_on_page(view)[0] == 101)
    say(view.table, kind="page", to="next")
    store.events.append(event(501))
    wait(lambda: "the newest is 102" in view.summary.value)
    assert offsets_on_page(view)[0] == 86  # an older page stays where it is
    view.controls["live"].value = False
    assert not view.live.running
    say(view.table, kind="page", to="first")
    store.events.append(event(502))
    time.sleep(0.5)
    assert offsets_on_page(view)[0] == 101  # the page as it was opened
    view.controls["refresh"].click()
    assert offsets_on_page(view)[0] == 103


def test_live_moves_the_rows_but_not_what_a_hand_means(view: OutboxView, store: walle.Store) -> None:
    view.controls["live"].value = True
    seen = view.table.rows[2][0]
    number = int(seen.replace(",", ""))
    view.controls["types"].value = "orders"
    assert "neither a type" in view.widget.children[0].text
    store.events.append([event(9_000), event(9_001)])
    wait(lambda: view.table.rows[4][0] == seen)
    assert "neither a type" in view.widget.children[0].text  # nobody has put it right yet
    say(view.table, kind="select", row=2, said=seen)
    assert view.title.value.startswith(f"{number:,} ") and view.table.selected == 4
    store.events.append(event(9_002))
    wait(lambda: view.table.rows[5][0] == seen)
    assert view.table.selected == 5
    say(view.table, kind="select", row=0, said="1")  # no longer on the page
    assert view.title.value.startswith("1 ") and view.table.selected == -1


def test_live_ends_with_an_error_that_is_told(view: OutboxView, store: walle.Store) -> None:
    view.controls["live"].value = True
    store.close()
    wait(lambda: "StoreClosed" in notice(view))
    wait(lambda: not view.live.running)
    assert view.controls["live"].value is False


def consumer(store: walle.Store) -> None:
    def handle(one: walle.Event) -> None:
        if one.payload["n"] in (3, 5):
            raise ValueError("it is <b>odd</b>")

    store.events.consume("audit", handle, on_poison="park", tries=1)


def test_consumers_are_told_with_what_they_parked(view: OutboxView, store: walle.Store) -> None:
    consumer(store)
    store.events.append([event(200), event(201)])
    view.tabs.selected_index = 1
    tab = view.consumers
    assert [tab.table.rows[0][place] for place in (0, 1, 2, 3, 5)] == ["audit", "stopped", "100", "2", "2"]
    assert "it is <b>odd</b>" in tab.table.rows[0][7]
    say(tab.table, kind="select", row=0)
    assert [row[0] for row in tab.parked.rows] == ["4", "6"]
    tab.replay.click()
    assert tab.status.value == "2 parked events are handled again when the consumer runs."
    assert all(row[5] for row in tab.parked.rows)
    say(tab.table, kind="select", row=7)
    assert "no consumer in row 7" in notice(view)


@pytest.mark.parametrize(
    ("place", "to", "told"),
    [
        ("first", -1, "100 events are handled again"),
        ("90", 90, "10 events are handled again"),
        ("last", 102, "2 events are passed"),
    ],
)
def test_an_offset_moves_only_after_its_preview(
    view: OutboxView, store: walle.Store, place: str, to: int, told: str
) -> None:
    consumer(store)
    store.events.append([event(200), event(201)])
    view.tabs.selected_index = 1
    tab = view.consumers
    tab.preview.click()
    assert "choose a consumer" in notice(view)
    say(tab.table, kind="select", row=0)
    tab.preview.click()
    assert "say where to go on" in notice(view)
    tab.place.value = place
    tab.preview.click()
    assert "give a reason" in notice(view)
    assert tab.confirm.disabled
    tab.reason.value = "a wrong rule"
    tab.preview.click()
    assert told in tab.status.value
    assert not tab.confirm.disabled
    assert store.events.consumers()["offset"][0] == 100
    tab.reason.value = "another reason"  # what was previewed is not what would be done
    assert tab.confirm.disabled
    tab.confirm.disabled = False
    tab.confirm.click()
    assert "look at a preview first" in notice(view)
    tab.preview.click()
    tab.confirm.click()
    assert store.events.consumers()["offset"][0] == to
    kept = store.events.resets("audit").row(0, named=True)
    assert (kept["from_offset"], kept["to_offset"], kept["reason"]) == (100, to, "another reason")
    tab.place.value = "no time at all"
    tab.preview.click()
    assert notice(view).startswith("InputError: ")


@MANY
def test_many_views_leave_no_comm_and_no_thread(sqlite_address: str, count: int) -> None:
    comms, threads = len(_instances), set(threading.enumerate())
    with walle.connect(sqlite_address) as store:
        fill(store, 30)
        for number in range(count):
            view = OutboxView(store)
            view._repr_mimebundle_()
            say(view.table, kind="select", row=0)
            if number % 10 == 0:
                view.controls["live"].value = True
            view.close()
            assert len(_instances) == comms
    for thread in set(threading.enumerate()) - threads:
        thread.join(5)
    assert set(threading.enumerate()) <= threads
    say(view.table, kind="select", row=0)  # a page that has not heard of the end yet


def test_a_forgotten_view_is_freed_with_its_thread(store: walle.Store) -> None:
    fill(store, 3)
    comms = len(_instances)
    view = OutboxView(store)
    assert view.widget is not None
    view.controls["live"].value = True
    del view
    wait(lambda: gc.collect() is not None and len(_instances) == comms)
    wait(lambda: not any(thread.name == "walle-live" for thread in threading.enumerate()))


CODE: list[dict[str, Any]] = [
    {},
    {"types": ["orders.F*"], "mask": ["password", "$.order.side"]},
    {"where": "order.side = sell", "rows": 7, "end": "2025-03-01T00:01"},
]


@pytest.mark.parametrize("options", first_quick(CODE))
def test_the_code_gives_the_frame_in_a_new_process(
    address: str, tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with walle.connect(address) as store:
        fill(store)
        view = OutboxView(store, **options)
        assert view.widget is not None
        say(view.table, kind="page", to="next")
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        if "://" in address:
            environment["WALLE_DATABASE_URL"] = address
        store.events.append(event(999))  # later events change nothing
        script = f"{view.code}\nframe.write_ipc('frame.arrow')\nstore.close()\n"
        subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=tmp_path, env=environment, check=True)
        assert view.frame().height > 0
        assert_frame_equal(pl.read_ipc(tmp_path / "frame.arrow"), view.frame())
        view.close()


def test_the_static_form_holds_events_and_consumers_as_text(view: OutboxView, store: walle.Store) -> None:
    consumer(store)
    data, _ = view._repr_mimebundle_()
    assert data["text/plain"].splitlines()[0] == "OutboxView: 15 events, offset 100 to 86, the newest is 100"
    assert "audit" in data["text/plain"]
    assert data["text/html"].count("<table>") == 2
    assert "&lt;b&gt;odd" in data["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in data


def test_an_empty_log_says_so(store: walle.Store) -> None:
    view = OutboxView(store)
    assert view._repr_mimebundle_()[0]["text/plain"] == "OutboxView: the log is empty"
    assert view.frame().is_empty()
    view.close()


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_text(store: walle.Store, text: str) -> None:
    clean = text.replace("\0", "")
    deep: Any = clean[:1_000]
    for _ in range(150):
        deep = [deep]
    name = clean[:50].strip() or "x"
    store.events.append([event(1, payload={name: clean, "deep": deep}), event(2, run_id=name, corr_id=name)])
    view = OutboxView(store)
    data, _ = view._repr_mimebundle_()
    assert "<script" not in data["text/html"]
    assert "<img src=x" not in data["text/html"]
    say(view.table, kind="select", row=1)
    assert notice(view) == ""
    assert len(view.tree.text) < 100_000
    json.loads(view.tree.text)
    view.close()


def test_a_document_is_shown_in_a_bounded_size() -> None:
    text, cut = bounded(json.dumps({"a": "x" * 10**6, "c": 2**60, "b": list(range(10**5))}))
    assert cut == 2
    value = json.loads(text)
    assert value["c"] == {NUMBER: str(2**60)}
    odd = ["1.10", "1E+400", "-0", "0.1234567890123456789", "0.0000001", "1e3", "-5.0"]
    assert json.loads(bounded(f"[{','.join(odd)}]")[0]) == [{NUMBER: text} for text in odd]
    assert bounded('[0,-7,2.5,0.001,-101.25,true,null,"1.10"]')[0] == '[0,-7,2.5,0.001,-101.25,true,null,"1.10"]'
    assert value["a"].endswith("(1,000,000 characters)")
    assert len(value["b"]) < 5_010
    assert len(text) < 100_000
    assert bounded("{no json")[0] == "{no json"
    assert len(bounded("x" * 10**6)[0]) < 21_000


def test_bad_arguments_are_refused(store: walle.Store) -> None:
    for options, message in (
        ({"rows": 0}, "rows=0"),
        ({"mask": [""]}, "neither a name nor a path"),
        ({"types": "orders"}, "neither a type"),
        ({"where": "a["}, "no JSON path"),
    ):
        with pytest.raises(InputError, match=message):
            OutboxView(store, **options)
