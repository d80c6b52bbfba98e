"""The interactive part that shows a chart as a picture drawn in the kernel; keys move it in time.

This module requires ipywidgets and anywidget; views import it when they are displayed.
"""

from __future__ import annotations

import struct

import traitlets

from walle.widgets.escape import text_of
from walle.widgets.parts import Messages, script

__all__ = ["Picture"]

_WORDS = 600


class Picture(Messages):
    """A picture of a chart, or a text if there is none.

    Its messages are ``move`` (``to``: earlier, later, closer, wider or whole; only if ``moves`` is set) and ``theme``
    (``dark``: whether the page is dark).
    """

    _esm = script("picture.js")
    data = traitlets.Bytes(b"").tag(sync=True)
    wide = traitlets.Int(0).tag(sync=True)
    label = traitlets.Unicode("").tag(sync=True)
    words = traitlets.Unicode("").tag(sync=True)
    moves = traitlets.Bool(False).tag(sync=True)
    dark = traitlets.Bool(False).tag(sync=True)
    drawn = traitlets.Int(0).tag(sync=True)

    def show(self, data: bytes, label: str, *, scale: float = 2.0, dark: bool = False) -> None:
        """Show a picture.

        Parameters
        ----------
        data : bytes
            A PNG.
        label : str
            The alternative text.
        scale : float
            The pixels of the picture per pixel of the page.
        dark : bool
            Whether it was drawn for a dark page.
        """
        (wide,) = struct.unpack(">I", data[16:20])
        with self.hold_sync():
            self.data, self.wide, self.label = data, round(wide / scale), text_of(label, _WORDS)
            self.words, self.dark = "", dark
            self.drawn += 1

    def say(self, words: str) -> None:
        """Show a text in place of a picture."""
        with self.hold_sync():
            self.data, self.label, self.words = b"", "", text_of(words, _WORDS)
            self.drawn += 1
