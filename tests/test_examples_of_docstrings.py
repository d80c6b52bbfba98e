"""Every public method of a store and of its parts has an example in its docstring, and every example is true."""

from __future__ import annotations

import doctest
import inspect
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import walle
from walle import demo
from walle.store import Actions, Bars, Cash, Events, Fills, Instruments, Orders, Runs, Store


def public_methods() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield what a user of a store calls, with those that a part inherits."""
    yield "walle.connect", walle.connect
    yield "walle.upgrade", walle.upgrade
    for label, kind in {
        "store": Store,
        "store.bars": Bars,
        "store.orders": Orders,
        "store.fills": Fills,
        "store.cash": Cash,
        "store.actions": Actions,
        "store.instruments": Instruments,
        "store.runs": Runs,
        "store.events": Events,
    }.items():
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                yield f"{label}.{name}", method


METHODS = dict(public_methods())


@pytest.fixture(scope="module")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("demo") / "demo.db"
    with walle.connect(path) as store:
        demo.load(store)
    return path


@pytest.fixture
def store(demo_file: Path, tmp_path: Path) -> Iterator[Store]:
    """The sample data, in a copy of its own: an example that writes changes no other."""
    path = tmp_path / "demo.db"
    shutil.copy(demo_file, path)
    with walle.connect(path) as opened:
        yield opened
    path.unlink()  # pytest keeps its folders, and this is one of 70


def last_section(text: str) -> str:
    """Return the heading of a docstring's last section."""
    headings: list[str] = re.findall(r"^(\w[\w ]*)\n-{3,}$", text, re.MULTILINE)
    return headings[-1] if headings else ""


def calls(method: str, examples: list[doctest.Example]) -> bool:
    return any(f"{method}(" in example.source for example in examples)


def test_the_methods_are_those_of_the_parts_and_of_their_bases() -> None:
    assert {"store.close", "store.bars.read", "store.runs.sweep", "store.events.tail", "walle.connect"} <= set(METHODS)
    for noun in ("bars", "orders", "fills", "cash", "actions", "instruments", "runs", "events"):
        with walle.connect() as opened:
            part = getattr(opened, noun)
        public = {name for name in dir(part) if not name.startswith("_") and callable(getattr(type(part), name))}
        assert public == {label.rpartition(".")[2] for label in METHODS if label.startswith(f"store.{noun}.")}


@pytest.mark.parametrize("label", METHODS)
def test_the_example_of_a_method_is_true(
    label: str, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(METHODS[label]) or ""
    assert last_section(text) == "Examples"
    names = {"walle": walle, "pl": pl, "store": store}
    test = doctest.DocTestParser().get_doctest(text, names, label, inspect.getsourcefile(METHODS[label]), None)
    assert calls(label, test.examples)
    said: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF).run(test, out=said.append)
    assert result.failed == 0, "".join(said)
