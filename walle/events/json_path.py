"""Places in a JSON document, such as ``order.fills[0].price``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from walle.errors import InputError

__all__ = ["ANY", "Path", "find_values", "parse_path", "postgresql_path", "sqlite_path"]

ANY = None
"""A step of a path that takes any key, or any place of a list."""

Path = tuple[str | int | None, ...]
"""Keys and places in lists, from the outermost one on."""

_STEP = re.compile(r"""\.(?:"([^"\\]+)"|([^.\[\]"\\\s]+))|\[(?:(\d{1,9})|(\*)|"([^"\\]+)")\]""")


def parse_path(text: object, name: str = "json", *, wild: bool = False) -> Path:
    r"""Read a path.

    Parameters
    ----------
    text : str
        Keys with dots between them, places in lists in brackets from 0 on, and keys with other signs in quotes:
        ``order.fills[0]."the price"``; a ``$`` before it may stand or not. A key with a quote, a backslash or a control
        character in it cannot be named.
    name : str
        Of the argument, for messages.
    wild : bool
        Whether ``*`` and ``[*]`` stand for any key and any place.

    Raises
    ------
    InputError
    """
    if not isinstance(text, str) or not 0 < len(text) <= 1000:
        raise InputError(f"{name}={text!r} is not a path in a JSON document, such as 'order.fills[0].price'.")
    rest = text.strip().removeprefix("$")
    rest = rest if rest.startswith((".", "[")) else f".{rest}"
    steps: list[str | int | None] = []
    place = 0
    while place < len(rest):
        step = _STEP.match(rest, place)
        if step is None:
            raise InputError(
                f"{name}={text!r} cannot be read from {rest[place : place + 20]!r} on; a path is like "
                "'order.fills[0].price' or '\"odd key\".x'."
            )
        steps.append(_step(step, wild))
        place = step.end()
    if not steps or len(steps) > 200 or not "".join(str(step) for step in steps).isprintable():
        raise InputError(f"{name}={text!r} names no place: give at least one key, without control characters.")
    return tuple(steps)


def _step(step: re.Match[str], wild: bool) -> str | int | None:
    quoted, bare, place, star, bracketed = step.groups()
    if place is not None:
        return int(place)
    if star or bare == "*":
        if not wild:
            raise InputError("a path that events are chosen by has no *: name the key, or the place in the list.")
        return ANY
    return str(quoted or bare or bracketed)


def find_values(document: Any, path: Path) -> Iterator[Any]:
    """Give what stands at a path without :data:`ANY`: one value, or none."""
    for step in path:
        there = False
        if isinstance(step, str) and isinstance(document, dict):
            there, document = step in document, document.get(step)
        elif isinstance(step, int) and isinstance(document, list):
            there, document = step < len(document), next(iter(document[step : step + 1]), None)
        if not there:
            return
    yield document


def sqlite_path(path: Path) -> str:
    """Return a path as SQLite's JSON functions take it."""
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in path)


def postgresql_path(path: Path) -> str:
    """Return a path as PostgreSQL's JSON path language, which must not look into lists by itself."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{json.dumps(step, ensure_ascii=False)}" for step in path)
    return "strict $" + "".join(steps)
