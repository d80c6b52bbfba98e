"""The code in the README and in the guides, which are the docstrings of the packages, is run."""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import walle

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
GUIDES = ["bars", "charts", "cli", "events", "fills", "instruments", "runs", "store", "widgets"]
WITH_CODE = [name for name in GUIDES if name != "cli"]
"""The guide of the command has only commands."""

PAGES = [*sorted(ROOT.glob("*.md")), ROOT / "migrations" / "README.md", ROOT / "tests" / "benchmarks" / "README.md"]


def guide(name: str) -> str:
    text = importlib.import_module(f"walle.{name}").__doc__
    assert text is not None
    return text


def python_of(text: str) -> str:
    return "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


def test_the_python_of_the_readme_runs_in_an_empty_folder(tmp_path: Path) -> None:
    script = tmp_path / "readme.py"
    script.write_text(python_of(README))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    answer = subprocess.run(
        [sys.executable, "-W", "error", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert "fill fill-bt-0039 is at 3310.91, but its bar reaches from 3255.3 to 3261.98." in answer.stdout


@pytest.mark.parametrize("name", WITH_CODE)
def test_the_python_of_a_guide_runs_in_an_empty_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = python_of(guide(name))
    assert "walle.connect(" in code
    exec(compile(code, f"<the guide walle.{name}>", "exec"), {"__name__": "guide"})


def test_the_readme_is_short_and_leads_to_every_guide() -> None:
    assert len(README.encode()) <= 12_000
    for name in GUIDES:
        assert f"[`walle.{name}`](walle/{name}/__init__.py)" in README
        assert f"`walle.{name}`" in (walle.__doc__ or "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_links_to_is_there(page: Path) -> None:
    text = page.read_text()
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
        assert (page.parent / "".join(target)).exists(), target


@pytest.mark.parametrize("name", GUIDES)
def test_the_pictures_of_a_guide_are_there(name: str) -> None:
    for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", guide(name)):
        assert (ROOT / "walle" / name / target).is_file(), target


def test_every_command_of_the_readme_and_of_the_guides_exists() -> None:
    texts = "\n".join([*(page.read_text() for page in PAGES), *map(guide, GUIDES)])
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", texts, re.DOTALL))
    named = set(re.findall(r"^(?:[A-Z_]+=\S+ )?walle (\w+)\b", shell, re.MULTILINE))
    assert {"audit", "events", "ingest", "upgrade"} <= named
    shown = subprocess.run([sys.executable, "-m", "walle", "--help"], capture_output=True, text=True, check=True).stdout
    for command in named:
        assert f"  {command} " in shown, command
    for command in re.findall(r"^    (\w+) ", shown, re.MULTILINE):
        assert f"`walle {command}`" in guide("cli"), command


@pytest.mark.parametrize("name", ["walle.decimals", "walle.validation"])
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_example_of_a_masked_password_is_true() -> None:
    shown = repr(walle.DatabaseConfig(url="postgres://ann:secret@db.example/research"))
    assert shown in (walle.DatabaseConfig.__doc__ or "")


def test_the_architecture_names_every_module_and_none_that_is_not_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("## The architecture")[2]
    rows = re.findall(r"^\| ((?:`[a-z_]+/?` ?)+) \|", page, re.MULTILINE)
    named = {name.rstrip("/") for row in rows for name in re.findall(r"`([a-z_]+/?)`", row)}
    package = ROOT / "walle"
    there = {path.stem for path in package.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert named == {name for name in there if not name.startswith("__")}
    for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+(?:\.py)?)`", page):
        roots = [ROOT, package, package / "repositories", package / "dialects"]
        paths = [root / (name if name.endswith(".py") else f"{name}.py") for root in roots]
        assert any(path.exists() or path.with_suffix("").is_dir() for path in paths), name
