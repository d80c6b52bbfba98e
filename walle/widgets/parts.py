"""The interactive parts that the views share; they take data as text, never as HTML.

This module requires ipywidgets and anywidget; views import it when they are displayed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anywidget
import ipywidgets
import polars as pl
import traitlets

from walle.widgets.escape import rows_of, text_of

__all__ = ["Messages", "Notice", "Pages", "Table", "frame_of", "heading", "row_of", "script", "sized"]

_STATIC = Path(__file__).parent / "static"
PAGE = 12
"""The number of rows on a page of a table."""

Callback = Callable[[dict[str, Any]], None]


def script(name: str) -> str:
    """Return the script of a part, preceded by the functions that all parts share."""
    return (_STATIC / "common.js").read_text(encoding="utf-8") + (_STATIC / name).read_text(encoding="utf-8")


STYLE = (_STATIC / "view.css").read_text(encoding="utf-8")


class Messages(anywidget.AnyWidget):
    """A part that receives messages from the page; each has a ``kind``, which selects its callback."""

    _css = STYLE

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)
        self._callbacks: dict[str, Callback] = {}
        self.on_msg(_dispatch)

    def on(self, kind: str, callback: Callback) -> None:
        """Call a function with every message of a kind."""
        self._callbacks[kind] = callback


def _dispatch(part: Messages, message: object, buffers: object) -> None:
    """Pass a message to its callback; drop anything else that a page sends."""
    if isinstance(message, dict) and (callback := part._callbacks.get(str(message.get("kind")))) is not None:
        callback(message)


class Notice(anywidget.AnyWidget):
    """A message of a view: what went wrong, or why there is nothing to see."""

    _esm = script("notice.js")
    _css = STYLE
    text = traitlets.Unicode("").tag(sync=True)
    kind = traitlets.Unicode("info").tag(sync=True)

    def tell(self, text: str, kind: str = "info") -> None:
        """Show a text; an empty text hides the notice.

        Parameters
        ----------
        text : str
        kind : str
            ``info``, or ``error``, which screen readers announce at once.
        """
        with self.hold_trait_notifications():
            self.text, self.kind = text, kind


class Table(Messages):
    """A table of text with buttons to turn pages; one row can be selected by mouse or keyboard.

    Its messages are ``select`` (``row``: the row's index on the page, ``said``: its first text) and ``page`` (``to``:
    first, previous, next or last).

    Parameters
    ----------
    label : str
        The description for screen readers.
    endless : bool
        Whether there is no button for the last page, because the rows are not counted.
    """

    _esm = script("table.js")
    label = traitlets.Unicode("").tag(sync=True)
    columns: Any = traitlets.List().tag(sync=True)
    rows: Any = traitlets.List().tag(sync=True)
    selected = traitlets.Int(-1).tag(sync=True)
    note = traitlets.Unicode("").tag(sync=True)
    empty = traitlets.Unicode("nothing").tag(sync=True)
    turns = traitlets.List([False, False]).tag(sync=True)
    endless = traitlets.Bool(False).tag(sync=True)

    KINDS: ClassVar[tuple[str, ...]] = ("select", "page")

    def show(
        self,
        frame: pl.DataFrame,
        *,
        titles: Sequence[str] | None = None,
        note: str = "",
        selected: int = -1,
        turns: tuple[bool, bool] = (False, False),
    ) -> None:
        """Show a page.

        Parameters
        ----------
        frame : polars.DataFrame
            The rows of this page; each value is shown as text of at most 300 characters.
        titles : sequence of str, optional
            The titles of the columns; by default their names.
        note : str
            The text below the table, such as ``1 to 12 of 400``.
        selected : int
            The row to mark; -1 for none.
        turns : tuple of bool, bool
            Whether there are pages before and after this one.
        """
        columns = [
            {"title": text_of(title), "right": kind.is_numeric()}
            for title, kind in zip(titles or frame.columns, frame.dtypes, strict=True)
        ]
        with self.hold_sync():
            self.columns, self.rows, self.note = columns, rows_of(frame), note
            self.selected, self.turns = selected, list(turns)


class Pages:
    """A frame in a table, a page at a time.

    Parameters
    ----------
    table : Table
    titles : sequence of str, optional
        The titles of the columns; by default their names.
    rows : int
        The number of rows on a page.
    """

    def __init__(self, table: Table, *, titles: Sequence[str] | None = None, rows: int = PAGE) -> None:
        self.table, self.frame = table, pl.DataFrame()
        self._titles, self._rows, self._page = titles, rows, 0
        self._selected: int | None = None

    @property
    def page(self) -> int:
        """The number of the shown page, from 0."""
        return self._page

    def show(self, frame: pl.DataFrame, *, at: int | None = None) -> None:
        """Show the first page of a frame, or the page of the row ``at``, with that row marked."""
        self.frame, self._selected = frame, at
        self._page = (at or 0) // self._rows
        self._draw()

    def select(self, message: dict[str, Any]) -> int:
        """Mark the row of a ``select`` message; return its index in the frame.

        Raises
        ------
        LookupError
            If the page has no such row.
        """
        place, row = self._page * self._rows, int(message["row"])
        if not 0 <= row < min(self._rows, self.frame.height - place):
            raise LookupError(f"the table has no row {row} on this page.")
        self._selected = place + row
        self.table.selected = row
        return place + row

    def turn(self, message: dict[str, Any]) -> None:
        """Go to the page that a ``page`` message asks for."""
        last = max(0, (self.frame.height - 1) // self._rows)
        to = {"first": 0, "previous": self._page - 1, "next": self._page + 1, "last": last}
        self._page = min(max(0, to.get(str(message.get("to")), self._page)), last)
        self._draw()

    def _draw(self) -> None:
        start = self._page * self._rows
        part = self.frame.slice(start, self._rows)
        total = self.frame.height
        note = f"{start + 1:,} to {start + part.height:,} of {total:,}" if total > self._rows else ""
        marked = -1 if self._selected is None else self._selected - start
        self.table.show(
            part,
            titles=self._titles,
            note=note,
            selected=marked if 0 <= marked < part.height else -1,
            turns=(start > 0, start + part.height < total),
        )


def frame_of(notice: Notice, inner: ipywidgets.Widget) -> ipywidgets.Widget:
    """Return the outermost part of a view: its notice above its content."""
    box = ipywidgets.VBox([notice, inner])
    box.add_class("walle-view")
    return box


def row_of(*parts: ipywidgets.Widget) -> ipywidgets.Widget:
    """Return controls in a row that wraps."""
    box = ipywidgets.Box(list(parts))
    box.add_class("walle-row")
    return box


def sized(controls: dict[str, ipywidgets.Widget], widths: Mapping[str, int]) -> dict[str, ipywidgets.Widget]:
    """Set the widths of controls in pixels; a description takes of it what it needs."""
    for name, width in widths.items():
        controls[name].layout.width = f"{width}px"
        if controls[name].style.has_trait("description_width"):
            controls[name].style.description_width = "initial"
    return controls


def heading(text: str) -> ipywidgets.Widget:
    """Return a heading; its text is never read as HTML."""
    label = ipywidgets.Label(text_of(text))
    label.add_class("walle-heading")
    return label
