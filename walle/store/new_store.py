"""Telling that a new store was made, so that a misspelt path is noticed."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from pathlib import Path

from walle.environment import flag
from walle.errors import ConfigurationError
from walle.notices import NewStoreWarning, warn

__all__ = ["similar_stores", "tell_new_store"]

_ENDINGS = frozenset({".db", ".db3", ".sqlite", ".sqlite3"})
_SIMILAR = 0.75


def tell_new_store(path: Path, *, shown: bool | None) -> None:
    """Tell which file became a new store: in a line on standard error, or by a warning beside one with a similar name.

    Parameters
    ----------
    path : Path
    shown : bool, optional
        Whether the line is shown; None: unless ``WALLE_PROGRESS`` is 0.

    Warns
    -----
    NewStoreWarning
    """
    whole = path.absolute()
    alike = similar_stores(whole)
    if alike:
        names = " or ".join(alike)
        warn(f"made a new store: {whole}. Did you mean {names}, which lies beside it?", NewStoreWarning)
        return
    if shown is None:
        shown = True
        with contextlib.suppress(ConfigurationError):  # the first call that may show a bar raises it
            shown = flag("WALLE_PROGRESS", os.environ.get("WALLE_PROGRESS", "1"))
    if shown and sys.stderr is not None:
        print(f"walle: made a new store: {whole}", file=sys.stderr)


def similar_stores(path: Path) -> list[str]:
    """Return up to three names of files in the same folder that look like stores and are spelled like this one.

    Names that differ in their numbers only are those of a row of stores: run-1.db, run-2.db. The files are not opened,
    because closing one would drop the locks that this process may hold on it.
    """
    near: list[tuple[float, str]] = []
    own = path.stem.lower()
    try:
        with os.scandir(path.parent) as entries:
            for entry in entries:
                other = Path(entry.name)
                ending = other.suffix.lower()
                if entry.name == path.name or (ending not in _ENDINGS and ending != path.suffix.lower()):
                    continue
                stem = other.stem.lower()
                ratio = difflib.SequenceMatcher(None, own, stem).ratio()
                if ratio < _SIMILAR or (stem != own and _unnumbered(stem) == _unnumbered(own)):
                    continue
                if entry.is_file() and entry.stat().st_size:
                    near.append((-ratio, entry.name))
    except OSError:  # a folder that cannot be listed has no names to suggest
        return []
    return [name for _, name in sorted(near)[:3]]


def _unnumbered(stem: str) -> str:
    return re.sub(r"[\d\W_]+", "", stem)
