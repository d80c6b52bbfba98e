"""The browser, for the views' tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.widgets.browser import Lab, running_lab, why_not


@pytest.fixture(scope="module")  # Playwright keeps a loop running in its thread, in which no async test could start
def lab() -> Iterator[Lab]:
    """JupyterLab in a browser; without one the test is skipped, but not where all checks are made."""
    lacking = why_not()
    if lacking and os.environ.get("CI") != "true":
        pytest.skip(f"a browser is needed ({lacking}): apt-get install chromium")
    assert not lacking, f"CI=true needs a browser ({lacking})"
    with running_lab() as running:
        yield running
