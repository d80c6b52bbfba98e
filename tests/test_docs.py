"""What the README says is run."""

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
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_every_python_block_of_the_readme_runs_in_one_empty_folder(tmp_path: Path) -> None:
    assert len(BLOCKS) >= 3
    script = tmp_path / "readme.py"
    script.write_text("\n".join(BLOCKS))
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


def test_every_command_of_the_readme_exists() -> None:
    named = set(
        re.findall(r"walle (demo|upgrade|status|\w+)\b", " ".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL)))
    )
    shown = subprocess.run([sys.executable, "-m", "walle", "--help"], capture_output=True, text=True, check=True).stdout
    for command in named:
        assert f"  {command} " in shown, command


@pytest.mark.parametrize("name", ["walle.decimals", "walle.validation"])
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_example_of_a_masked_password_is_true() -> None:
    shown = repr(walle.DatabaseConfig(url="postgres://ann:secret@db.example/research"))
    assert shown in (walle.DatabaseConfig.__doc__ or "")
