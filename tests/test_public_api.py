from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import walle
from walle import errors, models

PACKAGE = Path(walle.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(PACKAGE / "_data"))


def test_the_public_names_are_sorted_and_are_those_that_are_defined() -> None:
    assert walle.__all__ == sorted(set(walle.__all__), key=lambda name: (not name.isupper(), name))
    defined = {
        name
        for name, value in vars(walle).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert set(walle.__all__) == defined
    assert set(errors.__all__) < set(walle.__all__)


def test_every_public_name_is_documented() -> None:
    for name in walle.__all__:
        if name != "TIMEFRAMES":
            assert (getattr(walle, name).__doc__ or "").strip(), name
    store = walle.connect()
    for noun in ("bars", "orders", "fills", "runs", "events"):
        kind = type(getattr(store, noun))
        for name, method in vars(kind).items():
            if not name.startswith("_"):
                assert (method.__doc__ or "").strip(), f"{noun}.{name}"
                assert "session : " not in method.__doc__, f"{noun}.{name}"
                assert not re.search(r"-\n\s*\n", method.__doc__), f"{noun}.{name}: an empty section"


def test_every_error_stands_in_the_drawn_tree() -> None:
    drawn = errors.__doc__ or ""
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert name in drawn
        assert issubclass(kind, errors.WalleError)
    assert issubclass(errors.InputError, ValueError)
    assert issubclass(errors.NotFound, LookupError)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_names_its_public_names_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert len(text.splitlines()) <= (560 if path.name == "errors.py" else 460)  # one tree, in one place
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = (node.end_lineno or 0) - node.lineno - len((ast.get_docstring(node) or "").splitlines())
            assert body <= 55, f"{path.name}:{node.name} has {body} lines"


def test_importing_walle_is_light() -> None:
    heavy = [
        "pandas",
        "ipywidgets",
        "anywidget",
        "IPython",
        "alembic",
        "aiosqlite",
        "psycopg",
        "adbc_driver_postgresql",
        "pyarrow",
        "numpy",
    ]
    code = f"import sys, json, walle; print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(answer.stdout) == []


def test_the_readme_explains_every_table() -> None:
    readme = (PACKAGE.parent / "README.md").read_text()
    for table in models.metadata.tables:
        assert f"`{table}`" in readme
