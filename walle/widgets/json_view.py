"""A JSON document in a bounded size, its tree on a page, and files for the page's reader.

Importing this module needs ipywidgets and anywidget; views import it when they are shown.
"""

from __future__ import annotations

import traitlets

from walle.widgets.json_limit import bounded
from walle.widgets.parts import Messages, script

__all__ = ["Files", "Tree"]


class Tree(Messages):
    """A JSON document as a tree that is opened on demand."""

    _esm = script("tree.js")
    label = traitlets.Unicode("").tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)

    def show(self, text: str | None, *, label: str = "") -> None:
        """Show a document; what is too long is cut, and the note says so.

        Parameters
        ----------
        text : str or None
            JSON; what is none is shown as it is.
        label : str
            For a screen reader.
        """
        kept, cut = ("", 0) if text is None else bounded(text)
        with self.hold_sync():
            self.text, self.label = kept, label
            self.note = f"{cut:,} values are shortened; the frame has them whole." if cut else ""


class Files(Messages):
    """Hands files to the reader of the page."""

    _esm = script("file.js")

    def give(self, name: str, data: bytes, told: str) -> None:
        """Have the browser save a file, and say so."""
        self.send({"kind": "file", "name": name, "told": told}, buffers=[data])
