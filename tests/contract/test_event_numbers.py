"""Numbers and texts of a payload are the same on every store: what goes in comes out, and is found."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import walle
from tests.raw import Raw
from tests.samples import event, run
from walle.envelope import Event
from walle.errors import InputError
from walle.events import EventLog
from walle.events.filters import EventFilter
from walle.validation import json_text, parse_json

NUMBERS: list[Any] = [
    *(1e308, 1.7976931348623157e308, 1e22, 1e16, 1e15, 1.0, 0.0, 0.1, -1e22, 5e-324, 2.5e-7, 1e-5, 123456789.125),
    *(0, 1, -1, 2**53, 2**53 + 1, 2**63, -(2**63), 10**22, 10**308, 12345678901234567890),
]


def same(one: Any, two: Any) -> bool:
    return type(one) is type(two) and one == two


async def test_a_number_comes_back_as_it_went_in(log: EventLog) -> None:
    await log.append([event(place, payload={"n": number, "l": [number]}) for place, number in enumerate(NUMBERS, 1)])
    read = [item.payload for item in await log.list()]
    for found, number in zip(read, NUMBERS, strict=True):
        assert same(found["n"], number)
        assert same(found["l"][0], number)
    texts = (await log.read())["payload"].to_list()
    assert all(same(json.loads(text)["n"], number) for text, number in zip(texts, NUMBERS, strict=True))


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    numbers=st.lists(
        st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**400), 10**400), min_size=1, max_size=30
    )
)
async def test_any_number_comes_back_as_it_went_in(log: EventLog, numbers: list[Any]) -> None:
    (offset,) = await log.append([event(payload={"n": numbers})])
    found = (await log.get(offset)).payload["n"]
    # a zero has no sign: no decimal of PostgreSQL keeps it
    assert all(same(one, two) for one, two in zip(found, numbers, strict=True))
    assert not any(str(one) == "-0.0" for one in found)


def test_a_runs_config_keeps_its_numbers(store: walle.Store) -> None:
    config = {f"n{place}": number for place, number in enumerate(NUMBERS)}
    store.runs.save(run(config=config))
    found = store.runs.get("run-1").config
    assert found is not None
    assert all(same(found[name], number) for name, number in config.items())


@given(st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_a_float_is_written_without_an_exponent_and_texts_are_left_alone(number: float, text: str) -> None:
    document = {"n": number, "t": text, "1e+22": '4e-5 \\" 1e+9'}
    written = json_text(document)
    assert json.loads(written) == document
    assert "e" not in written.partition(',"t"')[0]


@pytest.mark.parametrize("text", ["3e-4b", "1f3e-4b21-9e+1a", "a,1e+22,b", ":1e-7]", "1e+22"])
def test_an_exponent_within_a_text_is_left_there(text: str) -> None:
    assert json_text({text: [text]}) == f'{{"{text}":["{text}"]}}'
    assert json_text({text: [text, -2.5e-7, {"x": 1e22}]}) == (
        f'{{"{text}":["{text}",-0.00000025,{{"x":10000000000000000000000.0}}]}}'
    )
    assert json_text(1e22) == "10000000000000000000000.0"


@pytest.mark.parametrize("text", ["1e400", "-1e400", "NaN", "Infinity"])
def test_what_no_float_holds_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not JSON"):
        Event.from_json(f'{{"type": "a.B", "payload": {{"n": {text}}}}}')


def test_a_number_beyond_floats_of_another_program_is_never_infinite(address: str) -> None:
    Raw(address).run("INSERT INTO outbox (type, payload) VALUES ('a.B', ?)", ['{"payload": {"n": 1e400}}'])
    with walle.connect(address) as store:
        assert store.events.get(1).payload == {"n": 10**400}
    assert parse_json("[1e999999999]") == ["1e999999999"]


FOUND = [
    {"side": "buy", "qty": 1e22},
    {"side": "sell", "note": 'he said "side":"buy"'},
    {"pair": [1, 2], "text": "a, b: c"},
    {"pair": "1, 2", "text": "a,b:c"},
    {"a": {"b": {"c": None}}, "t": True},
]
TEXTS = [
    ('"side":"buy"', [1, 2]),
    ('"side": "buy"', []),
    ('"side":', [1, 2]),
    (":", [1, 2, 3, 4, 5]),
    ('side":"', [1, 2]),
    ("1,2", [3]),
    ("1, 2", [4]),
    ("[1,2]", [3]),
    ("a, b: c", [3]),
    ("a,b:c", [4]),
    ('{"b":{"c":null}}', [5]),
    ('"t":true', [5]),
    ("10000000000000000000000.0", [1]),
    ('said "side":"b', [2]),
    ('"qty":1', [1]),
]


@pytest.mark.parametrize(("text", "expected"), TEXTS)
async def test_a_text_is_found_in_compact_json_on_every_store(log: EventLog, text: str, expected: list[int]) -> None:
    await log.append([event(place, payload=payload) for place, payload in enumerate(FOUND, 1)])
    page = await log.search(text=text)
    assert sorted(page.events["offset"].to_list()) == expected


@pytest.mark.parametrize("stars", [1, 30, 400])
async def test_a_pattern_of_many_stars_is_answered(log: EventLog, stars: int) -> None:
    await log.append([event(1, type="a" * 60 + ".Aaaa"), event(2, type="a" * 60 + ".Aaab")])
    assert (await log.read(types="*a" * stars + "*b*")).height == (1 if stars < 60 else 0)
    assert (await log.read(types="*a" * stars + "*c*")).height == 0
    assert (await log.read(types="*" * stars + "b")).height == 1


patterns = st.text(alphabet="ab.*", min_size=1, max_size=9)


@given(patterns.filter(lambda pattern: "." in pattern or "*" in pattern), st.text(alphabet="ab.", max_size=9))
def test_a_pattern_means_what_it_says(pattern: str, text: str) -> None:
    def matches(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return matches(pattern[1:], text) or (bool(text) and matches(pattern, text[1:]))
        return bool(text) and pattern[0] == text[0] and matches(pattern[1:], text[1:])

    assert EventFilter.of(pattern).matches(text, {}) == matches(pattern, text)
