"""Events as a notebook, a script and the command line use them."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

import walle
from tests.samples import START, event, fill, order, run
from walle.cli.main import main
from walle.validation import JSON_DEPTH

# the envelope


def test_an_envelope_is_written_and_read_as_json() -> None:
    written = event().to_json()
    assert list(json.loads(written)) == [
        *("id", "kind", "type", "version", "run_id", "corr_id", "causation_id", "trace_id"),
        *("ts", "producer", "headers", "payload"),
    ]
    assert walle.Event.from_json(written) == walle.Event.from_json(written.encode()) == event()
    assert walle.Event.from_json(json.loads(written)) == event()
    bare = walle.Event.from_json('{"type": "orders.Placed"}')
    assert (bare.version, bare.kind, bare.payload) == (1, "evt", {})
    assert len({bare.id, bare.corr_id, walle.Event(type="orders.Placed").id}) == 3


def test_a_consequence_carries_its_cause() -> None:
    cause = event(run_id="run-7")
    plain = walle.Event(type="orders.Filled").caused_by(cause)
    assert (plain.causation_id, plain.corr_id, plain.run_id, plain.trace_id) == ("event-1", "corr-1", "run-7", "trace")
    own = walle.Event(type="orders.Filled", run_id="run-8", trace_id="t").caused_by(cause)
    assert (own.run_id, own.trace_id) == ("run-8", "t")
    with pytest.raises(walle.InputError, match=r"not by a str"):
        plain.caused_by("event-1")  # type: ignore[arg-type]  # wrong on purpose


def odd(value: Any) -> Any:
    """What a type checker would not let through."""
    return value


def nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels):
        document = {"a": document}
    return document


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: walle.Event(type="Filled"), "not namespace.PascalCase"),
        (lambda: walle.Event(type="orders.filled"), "not namespace.PascalCase"),
        (lambda: walle.Event(type="Orders.Filled"), "not namespace.PascalCase"),
        (lambda: walle.Event(type="orders.Filled\n"), "white space"),
        (lambda: walle.Event(type="orders.Filled", ts=datetime(2025, 1, 1)), "Event.ts=.*has no time zone"),
        (lambda: walle.Event(type="orders.Filled", payload={"a": [{"b": Decimal(1)}]}), r"payload.a\[0\].b="),
        (lambda: walle.Event(type="orders.Filled", payload={"price": float("nan")}), "payload.price=nan is not JSON"),
        (lambda: walle.Event(type="orders.Filled", payload={"text": "\0"}), "payload.text holds a NUL"),
        (lambda: walle.Event(type="orders.Filled", headers={"x\udc00": 1}), "headers.*lone surrogate"),
        (lambda: walle.Event(type="orders.Filled", payload=odd({7: 1})), "payload has the key 7; JSON keys are texts"),
        (lambda: walle.Event(type="orders.Filled", payload=odd([1])), "Event.payload is a list, not a dict"),
        (lambda: walle.Event(type="orders.Filled", payload=nested(JSON_DEPTH + 1)), "nested deeper than 200 levels"),
        (
            lambda: walle.Event(type="orders.Filled", payload={"big": 10**5000}),
            "payload.big is an integer of more than",
        ),
        (lambda: walle.Event(type="orders.Filled", version=0), "Event.version=0"),
        (lambda: walle.Event(type="orders.Filled", kind="query"), "is not one of evt, cmd"),
        (lambda: walle.Event(type="orders.Filled", id=""), "Event.id"),
        (lambda: walle.Event.from_json("{"), "an event's envelope is JSON; this is not"),
        (lambda: walle.Event.from_json("[]"), "a JSON object that has at least the key 'type'"),
        (lambda: walle.Event.from_json('{"type": "orders.Filled", "time": 1}'), "has no key 'time'; it has: id, kind"),
        (lambda: walle.Event.from_json('{"type": "orders.Filled", "ts": "noon"}'), "Event.ts='noon' is no ISO time"),
        (lambda: walle.Event.from_json('{"type": "orders.Filled", "ts": "2025-01-01"}'), "has no time zone"),
    ],
)
def test_what_is_no_event_is_refused_by_name(make: Callable[[], object], message: str) -> None:
    with pytest.raises(walle.InputError, match=message):
        make()


def test_an_event_shows_what_is_set_and_its_place() -> None:
    shown = repr(walle.Event(type="orders.Placed", id="e-1", corr_id=None, ts=START, payload={"qty": "1"}))
    assert shown == f"Event('orders.Placed', id='e-1', ts={START!r}, payload={{'qty': '1'}})"
    stored = walle.Event.stored(7, "orders.Placed", START, '{"id": "e-1", "version": 2}')
    assert repr(stored) == "Event('orders.Placed', offset=7, id='e-1', version=2)"


# the facade


def test_events_are_appended_read_and_followed(store: walle.Store) -> None:
    assert store.events.append(event(1)) == 1
    assert store.events.append([event(2), event(3, type="run.Started")]) == [2, 3]
    assert store.events.read(types="orders.*")["offset"].to_list() == [1, 2]
    assert list(store.events.tail(after=-1, timeout=0)) == [event(1), event(2), event(3, type="run.Started")]
    assert list(store.events.tail(timeout=0)) == []
    assert store.events.get(2) == event(2)
    assert store.events.list(corr_id="corr-2") == list(store.events.tail(corr_id="corr-2", after=-1, timeout=0))
    assert store.events.latest() == 3
    assert store.events.durable
    with pytest.raises(walle.InputError, match="types=7"):
        store.events.tail(types=7)  # type: ignore[arg-type]  # at once, not at the first step


def test_every_reader_takes_types_and_runs_by_name_and_a_place_first(store: walle.Store) -> None:
    events = store.events
    for call, before in ((events.read, 0), (events.list, 0), (events.search, 0), (events.tail, 0), (events.on, 1)):
        kinds = {name: parameter.kind for name, parameter in inspect.signature(call).parameters.items()}
        assert list(kinds)[before : before + 3] in (["after", "types", "run_id"], ["before", "types", "run_id"])
        assert kinds["types"] == kinds["run_id"] == kinds["corr_id"] == inspect.Parameter.KEYWORD_ONLY
    assert inspect.signature(events.consume).parameters["types"].kind == inspect.Parameter.KEYWORD_ONLY
    assert events.append([event(1), event(2, type="run.Started")]) == [1, 2]
    assert list(events.tail(1, timeout=0)) == [event(2, type="run.Started")] == events.list(1)


def test_a_type_in_the_place_of_an_offset_is_refused_with_the_fix(store: walle.Store) -> None:
    events: Any = store.events
    calls = (events.read, events.list, events.tail, lambda place: events.on(print, place))
    for call in calls:
        with pytest.raises(walle.InputError, match=r"after='orders\.\*' is not .*, write types='orders\.\*'\."):
            call("orders.*")
        with pytest.raises(walle.InputError, match=r"write types=\['run\.\*', 'orders\.\*'\]\."):
            call(["run.*", "orders.*"])
    with pytest.raises(walle.InputError, match=r"before='orders\.\*' is not .*, write types='orders\.\*'\."):
        events.search("orders.*")


def test_a_tail_shows_an_event_that_another_thread_appends(store: walle.Store) -> None:
    tail = store.events.tail(types="run.*")
    timer = threading.Timer(0.3, lambda: store.events.append([event(1), event(2, type="run.Started")]))
    timer.start()
    assert next(tail) == event(2, type="run.Started")
    timer.join()


def test_a_tail_ends_after_its_timeout_also_while_other_events_come(store: walle.Store) -> None:
    done = threading.Event()

    def noise() -> None:
        while not done.wait(0.05):
            store.events.append(event())

    thread = threading.Thread(target=noise)
    thread.start()
    try:
        assert list(store.events.tail(types="run.*", timeout=0.5)) == []
    finally:
        done.set()
        thread.join()


def test_a_handler_may_use_the_store_that_it_is_called_by(store: walle.Store) -> None:
    store.runs.save(run())
    store.orders.save(order())
    store.events.append([event(n) for n in range(5)])

    def book(item: walle.Event) -> None:
        store.fills.append(fill(item.offset or 0))

    assert store.events.consume("booker", book) == 5
    assert store.fills.read("run-1").height == 5
    assert store.events.consume("booker", book) == 0
    row = store.events.consumers().row(0, named=True)
    assert (row["consumer_id"], row["state"], row["offset"], row["lag"]) == ("booker", "stopped", 5, 0)


def test_a_handlers_own_error_is_the_cause_of_the_stop(store: walle.Store) -> None:
    store.events.append(event())

    def broken(_: walle.Event) -> None:
        raise KeyError("price")

    with pytest.raises(walle.HandlerFailed, match="KeyError: 'price'") as caught:
        store.events.consume("sink", broken, backoff=0)
    assert isinstance(caught.value.__cause__, KeyError)
    store.events.consume("sink", broken, tries=1, on_poison="park")
    assert store.events.parked("sink")["offset"].to_list() == [1]
    assert store.events.replay("sink", 1) == 1
    assert store.events.consume("sink", lambda _: None) == 1
    assert store.events.reset_offset("sink", to=-1, reason="again").replayed == 1
    assert store.events.resets()["reason"].to_list() == ["again"]


def test_the_limit_of_bytes_can_be_set(store: walle.Store) -> None:
    assert store.events.max_bytes == 1024 * 1024
    with pytest.raises(walle.EventTooLarge, match="at most 1,048,576 are allowed"):
        store.events.append(event(payload={"text": "x" * 1024 * 1024}))
    store.events.max_bytes = 2 * 1024 * 1024
    assert store.events.append(event(payload={"text": "x" * 1024 * 1024})) == 1


def test_a_read_only_store_reads_events_and_refuses_to_write(address: str) -> None:
    with walle.connect(address) as store:
        store.events.append(event())
    with walle.connect(address, read_only=True) as store:
        assert store.events.read().height == 1
        assert store.events.consumers().is_empty()
        with pytest.raises(walle.ReadOnly):
            store.events.append(event())
        with pytest.raises(walle.ReadOnly):
            store.events.consume("sink", print)


# without a database


def test_a_store_in_memory_has_events_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    with walle.connect() as store:
        assert not store.durable
        assert not store.events.durable
        assert repr(store) == "Store(in memory, durable=False: events only, nothing is kept)"
        assert not store.status().durable
        assert "restart" in str(store.status())
        assert store.events.append([event(1), event(2)]) == [1, 2]
        assert store.events.consume("sink", lambda _: None) == 2
        assert store.events.read()["id"].to_list() == ["event-1", "event-2"]
        durable: dict[str, Callable[[], object]] = {
            "store.runs.save": lambda: store.runs.save(run()),
            "store.runs.recover": lambda: store.runs.recover(),
            "store.fills.append": lambda: store.fills.append(fill()),
            "store.orders.save": lambda: store.orders.save(order()),
            "store.bars.series": lambda: store.bars.series(),
        }
        for name, call in durable.items():
            with pytest.raises(walle.PersistenceUnavailable, match=f"{name} needs a database.*walle.connect"):
                call()
    with pytest.raises(walle.StoreClosed):
        store.events.read()
    with walle.connect() as other:
        assert other.events.read().is_empty()


# the command line


@pytest.fixture
def consumed(address: str) -> str:
    """A store in which a consumer has handled three events and parked one."""
    with walle.connect(address) as store:
        store.events.append([event(n, payload={"text": "\x1b[31m\u202e"}) for n in (1, 2, 3)])

        def handle(item: walle.Event) -> None:
            if item.offset == 2:
                raise ValueError("\x1b[31mred")

        store.events.consume("sink", handle, tries=1, on_poison="park")
        store.events.append(event(4, type="run.Started", run_id="run-2"))
    return address


def test_tail_prints_the_last_events(consumed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "tail", consumed, "-n", "2"]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()] == ["3", "4"]
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert main(["events", "tail", consumed, "--types", "orders.*", "--run-id", "run-1", "--json", "-n", "1"]) == 0
    envelope = json.loads(capsys.readouterr().out)
    assert (envelope["offset"], envelope["id"], envelope["ts"]) == (3, "event-3", event(3).ts.isoformat())
    assert main(["events", "tail", consumed, "-n", "0"]) == 0
    assert main(["events", "tail", consumed, "--types", "nobody.*"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["events", "tail", consumed, "--types", "orders"]) == 1
    assert "neither a type" in capsys.readouterr().err


def test_tail_follows_another_process(consumed: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "walle", "events", "tail", consumed, "-f", "-n", "1"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().split()[0] == "4"
        with walle.connect(consumed) as store:
            store.events.append(event(5))
        assert process.stdout.readline().split()[0] == "5"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_consumers_and_parked_events_are_shown(consumed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["events", "consumers", consumed]) == 0
    shown = capsys.readouterr().out
    assert "sink" in shown
    assert "\x1b" not in shown
    assert main(["events", "consumers", consumed, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["consumer_id"], row["offset"], row["lag"], row["parked"]) == ("sink", 3, 1, 1)
    assert main(["events", "parked", consumed, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["offset"], row["tries"], json.loads(row["envelope"])["id"]) == (2, 1, "event-2")
    assert main(["events", "parked", consumed, "--consumer", "sink"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert main(["events", "replay", "sink", consumed]) == 0
    assert "1 replay" in capsys.readouterr().out


def test_a_reset_is_done_only_with_a_yes(consumed: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["events", "reset", "sink", consumed, "--to", "-1", "--reason", "a bug"]
    assert main(arguments) == 0
    assert "back over 3 events of any type (preview" in capsys.readouterr().out
    assert main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["applied"] is False
    with walle.connect(consumed) as store:
        assert store.events.resets().is_empty()
    assert main([*arguments, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["applied"] is True
    with walle.connect(consumed) as store:
        assert store.events.resets()["to_offset"].to_list() == [-1]
        assert store.events.consumers()["offset"].to_list() == [-1]


def test_what_the_commands_are_given_wrongly_is_told(
    consumed: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["events", "reset", "sinc", consumed, "--to", "1", "--reason", "x"]) == 1
    assert "did you mean 'sink'" in capsys.readouterr().err
    assert main(["events", "reset", "sink", consumed, "--to", "99", "--reason", "x"]) == 1
    assert "to=99 is not an offset of this log" in capsys.readouterr().err
    for action in ("tail", "consumers", "parked"):
        assert main(["events", action]) == 2
        assert "which store?" in capsys.readouterr().err
    assert main(["events", "tail", consumed, "--give-up-after", "5"]) == 1
    assert "goes with --follow" in capsys.readouterr().err
    assert main(["events", "tail", consumed, "-f", "--give-up-after", "-1"]) == 1
    assert "give_up_after=-1.0 is neither a number" in capsys.readouterr().err
    assert main(["events", "replay", "sink", consumed, "--offset", "1"]) == 1
    assert "event 1 is not parked" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["events", "reset", "sink", consumed, "--reason", "x"])
    with pytest.raises(SystemExit):
        main(["events", "tail", consumed, "-n", "-1"])
