"""The interactive parts for a JSON tree of limited size, and for files to download.

This module requires ipywidgets and anywidget; views import it when they are displayed.
"""

from __future__ import annotations

import traitlets

from walle.widgets.json_limit import bounded
from walle.widgets.parts import Messages, script

__all__ = ["Files", "Tree"]


class Tree(Messages):
    """A JSON document as a tree whose branches open on demand."""

    _esm = script("tree.js")
    label = traitlets.Unicode("").tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)

    def show(self, text: str | None, *, label: str = "") -> None:
        """Show a document; values that are too long are cut, and the note says so.

        Parameters
        ----------
        text : str or None
            JSON; any other text is shown as it is.
        label : str
            The description for screen readers.
        """
        kept, cut = ("", 0) if text is None else bounded(text)
        with self.hold_sync():
            self.text, self.label = kept, label
            self.note = f"{cut:,} values are shortened; the frame has them whole." if cut else ""


class Files(Messages):
    """Sends files to the browser for download."""

    _esm = script("file.js")

    def give(self, name: str, data: bytes, told: str) -> None:
        """Have the browser save a file and show a text about it."""
        self.send({"kind": "file", "name": name, "told": told}, buffers=[data])
