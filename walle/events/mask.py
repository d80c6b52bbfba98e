"""Hiding what must not be shown: members of events, by name or by path."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from walle.errors import InputError

__all__ = ["HIDDEN", "Mask", "Raw", "parse_document", "write_document"]

HIDDEN = "***"
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\*)\]")
_DOCUMENTS = ("payload", "headers", "envelope")


class Raw(str):
    """A number as it stands in a document: read as a float it would change."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Mask:
    """Which members of events are hidden.

    Parameters
    ----------
    keys : frozenset of str
        Names of members, in lower case, wherever they stand; of a frame's own columns too.
    paths : tuple of tuple of str
        Paths from the payload's root; ``*`` stands for any element of a list.
    """

    keys: frozenset[str] = frozenset()
    paths: tuple[tuple[str, ...], ...] = ()

    @staticmethod
    def of(rules: str | Sequence[str]) -> Mask:
        """Read rules.

        Parameters
        ----------
        rules : str or sequence of str
            A name such as ``password`` (in either case), or a path in the payload such as ``$.account.number`` or
            ``$.fills[*].price``.

        Raises
        ------
        InputError
            For what is neither.
        """
        given = [rules] if isinstance(rules, str) else list(rules)
        keys, paths = set(), []
        for rule in given:
            if not isinstance(rule, str) or not rule.strip():
                raise InputError(f"mask={rules!r}: {rule!r} is neither a name nor a path such as '$.account.number'.")
            if not rule.startswith("$"):
                keys.add(rule.strip().lower())
                continue
            steps = [one or other for one, other in _STEP.findall(rule[1:])]
            if not steps or _STEP.sub("", rule[1:]):
                raise InputError(f"mask={rules!r}: {rule!r} is no path such as '$.account.id' or '$.fills[*].price'.")
            paths.append(tuple(steps))
        return Mask(frozenset(keys), tuple(paths))

    @property
    def rules(self) -> list[str]:
        """The rules as text, as :meth:`of` takes them."""
        made = ["$" + "".join(f"[{s}]" if s == "*" or s.isdigit() else f".{s}" for s in path) for path in self.paths]
        return [*sorted(self.keys), *made]

    def apply(self, events: pl.DataFrame) -> pl.DataFrame:
        """Return a short frame of events with what is to be hidden replaced.

        A document that is no JSON, or too deep to look through, is hidden whole: nobody knows what it holds.
        """
        if not self.keys and not self.paths:
            return events
        columns = []
        for values in events:
            if values.name in _DOCUMENTS:
                texts = [None if text is None else self._document(text, values.name) for text in values]
                columns.append(pl.Series(values.name, texts, dtype=pl.String))
            elif values.name.lower() in self.keys and values.dtype == pl.String:
                hidden = [None if value is None else HIDDEN for value in values]
                columns.append(pl.Series(values.name, hidden, dtype=pl.String))
            else:
                columns.append(values)
        return pl.DataFrame(columns)

    def _document(self, text: str, column: str) -> str:
        try:
            document = self._hide(parse_document(text))
            roots = {"payload": [document], "envelope": [document.get("payload")] if isinstance(document, dict) else []}
            for root in roots.get(column, []):
                for path in self.paths:
                    _hide_path(root, path)
            return write_document(document)
        except (ValueError, RecursionError):
            return json.dumps(HIDDEN)

    def _hide(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: HIDDEN if name.lower() in self.keys else self._hide(one) for name, one in value.items()}
        return [self._hide(one) for one in value] if isinstance(value, list) else value


def _hide_path(value: Any, path: Sequence[str]) -> None:
    """Replace what stands at a path, in place."""
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        places: list[Any] = list(range(len(value))) if step == "*" else [int(step)] if step.isdigit() else []
        places = [place for place in places if place < len(value)]
    elif isinstance(value, dict):
        places = [step] if step in value else []
    else:
        return
    for place in places:
        if rest:
            _hide_path(value[place], rest)
        else:
            value[place] = HIDDEN


def parse_document(document: str) -> Any:
    """Read a JSON document; numbers stay as they are write_document.

    Raises
    ------
    ValueError
        For what is no JSON.
    RecursionError
        For a document that is too deep.
    """
    return json.loads(document, parse_int=Raw, parse_float=Raw, parse_constant=Raw)


def write_document(value: Any) -> str:
    """Write a document as :func:`parse_document` gives it, compactly."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        members = [f"{json.dumps(name, ensure_ascii=False)}:{write_document(one)}" for name, one in value.items()]
        return f"{{{','.join(members)}}}"
    if isinstance(value, list):
        return f"[{','.join([write_document(one) for one in value])}]"
    return json.dumps(value, ensure_ascii=False)
