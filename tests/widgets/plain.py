"""A view without any interactive part, for a process without ipywidgets."""

from __future__ import annotations

from typing import Any

import polars as pl

from walle.widgets import View
from walle.widgets.view import Static


class Plain(View):
    """It has a static form only."""

    name = "Plain"

    def frame(self) -> pl.DataFrame:
        return self._store.bars.series()

    def _statements(self) -> list[str]:
        return ["frame = store.bars.series()"]

    def _make(self) -> Any:
        raise AssertionError("never without ipywidgets")

    def _static(self) -> Static:
        return Static("Plain", "<p>Plain</p>")
