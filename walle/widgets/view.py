"""The base class of the views: frame, code, static and interactive form, errors, and closing."""

from __future__ import annotations

import html
import importlib.util
import logging
import sys
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import polars as pl

from walle.config import masked
from walle.errors import ConfigurationError, InputError, StoreClosed
from walle.store import Store
from walle.widgets.escape import text_of

if TYPE_CHECKING:
    from ipywidgets import Widget

    from walle.widgets.parts import Notice

__all__ = ["INSTALL", "Static", "View", "interactive"]

INSTALL = 'pip install "walle[notebook]"'
"""How to install the interactive parts."""

_HINT = f"<p><small>Interactive with ipywidgets and anywidget: <code>{html.escape(INSTALL)}</code></small></p>"
_log = logging.getLogger("walle.widgets")
_ERROR = 2_000
"""The number of characters of an error that are shown; the log has all of them."""


@dataclass(frozen=True, slots=True)
class Static:
    """The static form of a view, which needs neither a kernel nor a script.

    Parameters
    ----------
    text : str
        The form for terminals, and for readers of the saved notebook as text.
    html : str
        The form with tables and pictures: small, with every value escaped, without scripts, addresses or random ids.
    """

    text: str
    html: str


class View(ABC):
    """A view of a store.

    A view is displayed as the last expression in a cell, or by ``display``. The saved notebook is readable without a
    kernel. A displayed view lives until its cell is run again or :meth:`close` is called; it is freed as soon as no
    reference to it is left.

    Parameters
    ----------
    store : Store

    Attributes
    ----------
    name : str
        The name of the class, for messages.
    """

    name: ClassVar[str] = "View"

    def __init__(self, store: Store) -> None:
        if not isinstance(store, Store):
            raise InputError(f"{self.name} shows a store, not {store!r}; open it: walle.connect('research.db').")
        self._store = store
        self._resources = _Resources()
        self._widget: Widget | None = None
        self._notice: Notice | None = None
        self._finalizer = weakref.finalize(self, self._resources.free)

    @abstractmethod
    def frame(self) -> pl.DataFrame:
        """Return the data that the view shows."""

    @abstractmethod
    def _statements(self) -> list[str]:
        """Return the lines of Python that compute ``frame`` from ``store``; ``pl`` is Polars."""

    @abstractmethod
    def _make(self) -> Widget:
        """Make the interactive part, with callbacks from :meth:`_guarded` and clean-up through :meth:`_on_end`."""

    @abstractmethod
    def _static(self) -> Static:
        """Return the static form."""

    def _stop_background(self) -> None:  # noqa: B027  # most views have no background activity
        """Stop background activity, because the cell that showed the view is run again."""

    @property
    def code(self) -> str:
        """Python code that returns the same as :meth:`frame` in a new kernel.

        It opens the store read-only at ``WALLE_DATABASE_URL`` or, for SQLite, at the path of this store. It never
        contains a password.
        """
        lines = [*_connecting(self._store), *self._statements()]
        text = "\n".join(lines)
        imports = [("os.environ", "import os\n"), ("pl.", "import polars as pl\n"), ("walle.", "import walle\n")]
        return "\n".join([*(line for used, line in imports if used in text), text, ""])

    @property
    def closed(self) -> bool:
        """Whether the view was closed."""
        return self._resources.freed

    @property
    def widget(self) -> Widget:
        """The interactive part, created on first access.

        Raises
        ------
        ConfigurationError
            If ipywidgets or anywidget is not installed.
        StoreClosed
            After :meth:`close`.
        """
        if self.closed:
            raise StoreClosed(f"this {self.name} was closed. Make another one.")
        if not interactive():
            raise ConfigurationError(f"the interactive part of {self.name} needs ipywidgets and anywidget: {INSTALL}.")
        if self._widget is None:
            from walle.widgets import parts

            self._notice = parts.Notice()
            self._resources.own(self._notice)
            inner = self._make()
            self._widget = parts.frame_of(self._notice, inner)
            self._resources.own(self._widget)
        return self._widget

    def close(self) -> None:
        """Close the view with its comms, timers and threads; a second call has no effect."""
        _let_go(self)
        self._resources.free()
        self._finalizer.detach()
        self._widget = self._notice = None

    def _guarded(self, method: Callable[..., object], *, quiet: bool = False) -> Callable[..., None]:
        """Return a callback that shows and logs errors, and does not keep the view alive.

        Parameters
        ----------
        method : callable
            A method of this view, or of one of its parts.
        quiet : bool
            Whether to keep the current message of the view on success: for callbacks that no user action triggered.
        """
        weak, mine = weakref.WeakMethod(method), weakref.ref(self)

        def call(*given: Any, **named: Any) -> None:
            bound, view = weak(), mine()
            if bound is None or view is None or view.closed:
                return
            try:
                bound(*given, **named)
            except Exception as error:
                view._failed(error, bound.__name__)
            else:
                if not quiet:
                    view._tell("")

        return call

    def _on_end(self, function: Callable[[], object]) -> None:
        """Register a function to call when the view ends; it must not hold a reference to the view."""
        self._resources.ending(function)

    def _failed(self, error: Exception, doing: str) -> None:
        """Show an error in the view and log it."""
        _log.error("%s: %s failed", self.name, doing.strip("_"), exc_info=error)
        self._tell(f"{type(error).__name__}: {error}", "error")

    def _tell(self, text: str, kind: str = "info") -> None:
        """Show a message above the view; an empty text removes it."""
        if self._notice is not None and not self.closed:
            self._notice.tell(text_of(text, _ERROR), kind)

    def __repr__(self) -> str:
        """Return the static form as text."""
        return self._faces()[0].text

    def _repr_mimebundle_(self, *_: object, **__: object) -> tuple[dict[str, Any], dict[str, Any]]:
        static, ready = self._faces()
        if self.closed or not ready:
            return {"text/plain": static.text, "text/html": static.html}, {}
        if not interactive():
            return {"text/plain": static.text, "text/html": static.html + _HINT}, {}
        try:
            shown = self.widget._repr_mimebundle_()
        except Exception as error:  # the static form must be shown even so
            self._failed(error, "show")
            return {"text/plain": static.text, "text/html": static.html + _alert(error)}, {}
        data, told = shown if isinstance(shown, tuple) else (shown, {})
        _hold(self)
        return {**data, "text/plain": static.text, "text/html": static.html}, told or {}

    def _faces(self) -> tuple[Static, bool]:
        """Return the static form and True, or an error message in its place and False."""
        if self.closed:
            return Static(f"{self.name}: closed", f"<p>{self.name}: closed</p>"), False
        try:
            return self._static(), True
        except Exception as error:  # a repr that raises hides every other output of its cell
            _log.error("%s: the static form failed", self.name, exc_info=error)
            text = text_of(f"{self.name}: {type(error).__name__}: {error}", _ERROR)
            return Static(text, _alert(error)), False


def interactive() -> bool:
    """Return whether the packages for the interactive parts are installed."""
    return all(_is_installed(name) for name in ("ipywidgets", "anywidget"))


def _is_installed(name: str) -> bool:
    try:
        return name in sys.modules or importlib.util.find_spec(name) is not None
    except ImportError:
        return False


class _Resources:
    """The resources of a view to free, without a reference to the view, so that it can be garbage-collected."""

    def __init__(self) -> None:
        self.freed = False
        self._lock = threading.RLock()  # a finalizer may run in a thread that already holds the lock
        self._ends: list[Callable[[], object]] = []

    def own(self, widget: Widget) -> None:
        """Register a widget to close at the end, with everything that belongs to it."""
        self.ending(lambda: _close_all(widget))

    def ending(self, function: Callable[[], object]) -> None:
        with self._lock:
            if not self.freed:
                self._ends.append(function)
                return
        function()

    def free(self) -> None:
        with self._lock:
            ends, self._ends, self.freed = self._ends, [], True
        for function in reversed(ends):
            try:
                function()
            except Exception as error:  # the other resources must be freed too
                _log.error("closing a view failed", exc_info=error)


def _close_all(widget: Widget) -> None:
    """Close a widget with its children, layouts and styles; closing it alone would leave their comms open."""
    from ipywidgets import Widget

    waiting: list[Widget] = [widget]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        values = [getattr(one, key) for key in one.keys] if one.comm is not None else []
        for value in values:
            parts = value if isinstance(value, list | tuple) else [value]
            waiting += [part for part in parts if isinstance(part, Widget)]
        one.close()


def _alert(error: Exception) -> str:
    text = text_of(f"{type(error).__name__}: {error}", _ERROR)
    return f'<p role="alert"><strong>{html.escape(text)}</strong></p>'


def _connecting(store: Store) -> list[str]:
    """Return the lines of Python that open the store again."""
    config = store.config
    if config is None:
        return ["# this store is in memory: what it holds is gone with its process", "store = walle.connect()"]
    address = config.address
    if address.get_backend_name() != "sqlite":
        return [
            f"# WALLE_DATABASE_URL={masked(address)}",
            "store = walle.connect(read_only=True)",
        ]
    path = Path(str(address.database))
    # a kernel starts in the folder of its notebook, and a path relative to it reveals nothing about the machine
    near = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return [f'store = walle.connect(os.environ.get("WALLE_DATABASE_URL") or {str(near)!r}, read_only=True)']


_LOCK = threading.RLock()
_shown: dict[str, list[View]] = {}
"""The views that each cell shows, by its id. A front end holds only their models, so without this they would be
garbage-collected."""


def _hold(view: View) -> None:
    """Keep a displayed view until its cell is run again."""
    cell = _cell()
    with _LOCK:
        views = _shown.setdefault(cell, [])
        if not any(one is view for one in views):
            views.append(view)


def _let_go(view: View) -> None:
    with _LOCK:
        for cell, views in list(_shown.items()):
            views[:] = [one for one in views if one is not view]
            if not views:
                del _shown[cell]


def _cell() -> str:
    """Return the id of the running cell; empty if there is none."""
    if "IPython" not in sys.modules:
        return ""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return ""
    if _run_again not in shell.events.callbacks["pre_run_cell"]:
        shell.events.register("pre_run_cell", _run_again)
    parent = shell.get_parent() if hasattr(shell, "get_parent") else None
    return str(((parent or {}).get("metadata") or {}).get("cellId") or "")


def _run_again(info: Any) -> None:
    """Release the views of a cell before it is run again."""
    cell = str(getattr(info, "cell_id", None) or "")
    if not cell:
        return
    with _LOCK:
        views = _shown.pop(cell, [])
        others = [one for kept in _shown.values() for one in kept]
    for view in views:
        if not any(view is one for one in others) and not view.closed:
            try:
                view._stop_background()
            except Exception as error:
                view._failed(error, "stop")
