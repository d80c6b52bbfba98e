"""nbval passes a cell that was never run, and a folder whose flag was forgotten; these are caught here."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.exporting import as_html

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def code_cells(path: Path) -> list[dict[str, Any]]:
    cells = json.loads(path.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_saved_as_run_from_top_to_bottom(path: Path) -> None:
    cells = code_cells(path)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)
    for cell in cells:
        assert not {"nbval-skip", "nbval-ignore-output"} & set(cell["metadata"].get("tags", ()))
        assert "NBVAL" not in "".join(cell["source"])
        assert all(output["output_type"] != "error" for output in cell["outputs"])
        assert all(output.get("name") != "stderr" for output in cell["outputs"])


def test_notebooks_are_compared_strictly_by_the_test_command() -> None:
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert "notebooks" in options["testpaths"]
    assert "--nbval" in options["addopts"]
    assert "--nbval-lax" not in options["addopts"]
    assert NOTEBOOKS


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_readable_as_html_that_asks_nobody_else(path: Path) -> None:
    page = as_html(path)
    assert re.findall(r"""(?:src|import|url\()\s*=?\s*['"(]?\s*(?:https?:)?//[^'")\s]+""", page) == []
    assert re.findall(r"""<link[^>]+href\s*=\s*['"]?(?:https?:)?//""", page) == []
    assert "<table" in page
    assert len(path.read_bytes()) < 1_000_000


def test_the_readme_leads_to_every_notebook() -> None:
    readme = (ROOT / "README.md").read_text()
    for path in NOTEBOOKS:
        assert f"notebooks/{path.name}" in readme
