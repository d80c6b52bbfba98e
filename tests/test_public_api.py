from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import pickle
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import walle
from walle import errors, generate, models, notices

PACKAGE = Path(walle.__file__).parent
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if not path.is_relative_to(PACKAGE / "_data"))


def test_the_public_names_are_sorted_and_are_those_that_are_imported() -> None:
    assert walle.__all__ == sorted(set(walle.__all__), key=lambda name: (not name.isupper(), name))
    tree = ast.parse(Path(walle.__file__).read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("walle.")
        for alias in node.names
    }
    assert set(walle.__all__) == imported
    assert set(errors.__all__) < set(walle.__all__)
    assert set(dir(walle)) >= {*walle.__all__, *walle._PACKAGES}


def test_a_name_that_is_imported_late_is_the_one_that_types_are_checked_with() -> None:
    tree = ast.parse(Path(walle.__file__).read_text())
    late = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.name: node.module or ""
        for node in late.body
        if isinstance(node, ast.ImportFrom) and node.module != "walle"
        for alias in node.names
    }
    assert typed == walle._LATER
    for name, module in typed.items():
        assert getattr(walle, name) is getattr(importlib.import_module(module), name)
    with pytest.raises(AttributeError, match="no attribute 'Barz'"):
        _ = walle.Barz  # type: ignore[attr-defined]  # what a user may get wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", [*walle._PACKAGES, "migrate", "demo"])
def test_a_package_is_there_once_walle_is_imported(name: str) -> None:
    code = f"import walle; print(walle.{name}.__name__)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == f"walle.{name}"


def test_errors_and_warnings_carry_the_name_by_which_they_are_caught() -> None:
    for name in [*errors.__all__, *(name for name in notices.__all__ if name.endswith("Warning"))]:
        kind = getattr(walle, name)
        assert f"{kind.__module__}.{kind.__qualname__}" == f"walle.{name}"
        assert pickle.loads(pickle.dumps(kind)) is kind


def test_every_public_name_is_documented() -> None:
    for name in walle.__all__:
        if name != "TIMEFRAMES":
            assert (getattr(walle, name).__doc__ or "").strip(), name
    store = walle.connect()
    for noun in (face.name for face in generate.FACES):
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


def lines_of_code(text: str) -> int:
    """Count the lines outside docstrings (also those of constants) that are not blank."""
    code = {number for number, line in enumerate(text.splitlines(), 1) if line.strip()}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            code.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(code)


def test_lines_of_code_are_those_outside_docstrings() -> None:
    text = '"""Module.\n\nMore."""\n\nX = 1\n"""What X is."""\n# why\n\n\ndef f():\n    """Say."""\n    return "text"\n'
    assert lines_of_code(text) == 4  # X, the comment, def and return


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_names_its_public_names_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    assert lines_of_code(text) <= 400
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = (node.end_lineno or 0) - node.lineno - len((ast.get_docstring(node) or "").splitlines())
            assert body <= 55, f"{path.name}:{node.name} has {body} lines"


def test_importing_walle_loads_no_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import walle; "
        "print(sorted({name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(answer.stdout) == ["walle"]


def test_opening_a_store_loads_no_more_than_it_needs(tmp_path: Path) -> None:
    heavy = ["pandas", "ipywidgets", "anywidget", "IPython", "altair", "psycopg", "adbc_driver_postgresql"]
    code = (
        "import sys, walle\n"
        f"with walle.connect({str(tmp_path / 'a.db')!r}) as store: store.bars.series()\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ast.literal_eval(answer.stdout) == []


@pytest.mark.slow
def test_importing_any_module_starts_no_threads_of_polars() -> None:
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in MODULES]
    code = (
        "import importlib, walle.forks\n"
        f"for name in {[name.removesuffix('.__init__') for name in names if not name.endswith('__main__')]}:\n"
        "    importlib.import_module(name)\n"
        "    assert not walle.forks._runs_polars(), name"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_readme_of_the_migrations_explains_every_table_and_revision() -> None:
    readme = (PACKAGE.parent / "migrations" / "README.md").read_text()
    for name in [*models.metadata.tables, *models.REVISIONS]:
        assert f"| `{name}` |" in readme


def test_the_facade_is_what_the_core_says() -> None:
    assert generate.main(["--check"]) == 0


@pytest.mark.slow
def test_a_facade_that_the_core_has_left_behind_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    generate.main([])
    stale = tmp_path / "fills.py"
    stale.write_text(stale.read_text().replace("order_id", "order"))
    assert generate.main(["--check"]) == 1
    assert "fills.py" in capsys.readouterr().err


def test_core_and_facade_take_the_same_arguments() -> None:
    for face in generate.FACES:
        kind = getattr(importlib.import_module(f"walle.store.{face.name}"), face.kind)
        for name, method in vars(kind).items():
            if not name.startswith("_"):
                own = inspect.signature(method, eval_str=False).parameters
                core = inspect.signature(getattr(face.core, name), eval_str=False).parameters
                assert list(own) == [each for each in core if each != "session"], f"{face.name}.{name}"
                for each, parameter in own.items():
                    assert parameter.default == core[each].default
                    assert parameter.kind == core[each].kind


def test_the_version_stands_in_one_place() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["hatch"]["version"]["path"] == "walle/__init__.py"
    assert importlib.metadata.version("walle") == walle.__version__
