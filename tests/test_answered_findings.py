"""Answers to findings of the audit: appended, shown beside the findings, and taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import walle
from tests.samples import START, fill, order
from walle import demo
from walle.cli.main import main
from walle.database import Database
from walle.frames import ANSWERS
from walle.repositories import FillRepository

KEY = "unknown_order:fill:orphan"


@pytest.fixture
def faulty(store: walle.Store) -> walle.Store:
    """A fill of an unknown order, and an order of which nothing is filled though it says so."""
    store.orders.save([order(1), order(2, filled_qty=1)])
    store.fills.append([fill(1), fill(2, id="orphan", order_id="order-9")])
    return store


def answered(store: walle.Store) -> list[tuple[str, bool, str | None]]:
    return store.fills.audit("run-1").filter(severity="error").select("key", "answered", "answer").sort("key").rows()


def test_a_key_says_the_rule_and_what_it_is_about_and_stays(faulty: walle.Store) -> None:
    found = faulty.fills.audit("run-1")
    assert {KEY, "fills_missing:order:order-2", "not_checked:run:run-1:symbol:BTC/USD"} <= set(found["key"])
    assert found["key"].n_unique() == found.height
    faulty.fills.append(fill(7, filled_at=START))
    assert set(found["key"]) <= set(faulty.fills.audit()["key"])


def test_an_answer_marks_its_finding_alone_and_can_be_taken_back(faulty: walle.Store) -> None:
    errors = faulty.fills.audit("run-1").filter(severity="error").sort("key")
    before = answered(faulty)
    assert [row[1:] for row in before] == [(False, None)] * errors.height
    place = errors["key"].to_list().index(KEY)
    ways: list[Any] = [KEY, errors[place], errors.row(place, named=True)]
    for n, finding in enumerate(ways):
        faulty.fills.acknowledge(finding, f"an import of {n}", "ann")
        now = answered(faulty)
        assert now[place] == (KEY, True, f"an import of {n}")
        assert [row for row in now if row[0] != KEY] == [row for row in before if row[0] != KEY]
    faulty.fills.acknowledge(KEY, "it was none", withdraw=True)
    assert answered(faulty) == before
    listed = faulty.fills.answers()
    assert listed.schema == ANSWERS
    assert listed.select("finding", "answered", "reason").rows() == [
        *((KEY, True, f"an import of {n}") for n in range(3)),
        (KEY, False, "it was none"),
    ]
    assert listed["author"].to_list()[:3] == ["ann"] * 3 and "@" in listed["author"][3]


def test_what_is_no_finding_and_no_answer_is_refused(faulty: walle.Store) -> None:
    found = faulty.fills.audit("run-1")
    wrongs: list[tuple[Any, str]] = [
        (found, f"{found.height} findings"),
        (found.clear(), "0 findings"),
        ({"rule": "x"}, "without a key"),
        (7, "not a int"),
        ("", "no key of a finding"),
        ("junk", "no key of a finding"),
        ("outside_bat:fill:fill-1", "outside_bar"),
        ("outside_bar:fill:nope", "the fill 'nope', which is not stored"),
    ]
    for wrong, match in wrongs:
        with pytest.raises(walle.InputError, match=match):
            faulty.fills.acknowledge(wrong, "because")
    for text in ("", " ", "x" * 2_001):
        with pytest.raises(walle.InputError, match="reason"):
            faulty.fills.acknowledge(KEY, text)
    with pytest.raises(walle.InputError, match="no answer that could be taken back"):
        faulty.fills.acknowledge(KEY, "because", withdraw=True)
    assert faulty.fills.answers().is_empty()


async def test_an_answer_of_a_session_is_seen_in_it_and_goes_with_it(database: Database) -> None:
    fills = FillRepository(database)
    await fills.append(fill(1))
    (key,) = (await fills.audit(rules="orders_absent"))["key"]
    async with database.session() as session:
        await fills.acknowledge(key, "a broker's list", session=session)
        assert (await fills.audit(rules="orders_absent", session=session))["answered"].to_list() == [True]
        await session.rollback()
    assert (await fills.audit(rules="orders_absent"))["answered"].to_list() == [False]


@pytest.mark.slow
def test_the_command_ends_well_when_every_error_is_answered(
    sqlite_address: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with walle.connect(sqlite_address) as store:
        demo.load(store)
        keys = store.fills.audit()["key"].to_list()
    for number, key in enumerate(keys):
        assert main(["audit", sqlite_address]) == 1
        told = capsys.readouterr().out
        assert f"Findings: {len(keys) - number} error{f'; {number} answered' if number else ''}\n" in told
        assert key in told
        assert main(["acknowledge", key, sqlite_address, "--reason", f"known {number}", "--author", "ann"]) == 0
        assert f"known {number}" in capsys.readouterr().out
    assert main(["audit", sqlite_address]) == 0
    assert f"Findings: none is unanswered; {len(keys)} answered\n" in capsys.readouterr().out
    assert main(["acknowledge", keys[0], sqlite_address, "--reason", "no", "--withdraw", "--json"]) == 0
    assert '"answered": false' in capsys.readouterr().out
    assert main(["audit", sqlite_address, "--rule", keys[0].partition(":")[0]]) == 1
