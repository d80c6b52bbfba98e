"""Limit the size of JSON documents for a page."""

from __future__ import annotations

import json
import re
from typing import Any

from walle.events.mask import Raw, parse_document

__all__ = ["NUMBER", "bounded"]

NUMBER = "\0number"
"""The only key of an object that stands for a number which JavaScript would not write as it is in the document."""

_PLAIN = re.compile(r"-?(0|[1-9]\d*)(\.\d*[1-9])?")
_TEXT = 2_000
_VALUES = 5_000
_DEPTH = 100
_RAW = 20_000


def bounded(text: str) -> tuple[str, int]:
    """Return a JSON document of limited size, and the number of values that were shortened.

    Texts keep 2,000 characters; the document keeps 5,000 values and 100 levels. A text that is not JSON is cut at
    20,000 characters.
    """
    try:
        value = parse_document(text)
    except (ValueError, RecursionError):
        return (text, 0) if len(text) <= _RAW else (f"{text[:_RAW]}\u2026 ({len(text):,} characters)", 1)
    work = _Bounded()
    return json.dumps(work.take(value, 0), ensure_ascii=False, separators=(",", ":")), work.cut


class _Bounded:
    def __init__(self) -> None:
        self.left, self.cut = _VALUES, 0

    def take(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if isinstance(value, Raw):
            return self.number(value)
        if isinstance(value, str):
            return self.short(value, _TEXT)
        if not isinstance(value, dict | list):
            return value
        if depth >= _DEPTH:
            self.cut += 1
            return "\u2026 (deeper)"
        members = value.items() if isinstance(value, dict) else enumerate(value)
        made: dict[str, Any] = {}
        for name, one in members:
            if self.left <= 0:
                self.cut += 1
                made["\u2026"] = f"{len(value) - len(made):,} more"
                break
            made[self.short(str(name), 200)] = self.take(one, depth + 1)
        return made if isinstance(value, dict) else list(made.values())

    def number(self, text: str) -> Any:
        # JavaScript writes these unchanged; it would round other numbers, or drop their trailing zeros
        if _PLAIN.fullmatch(text) and len(text) <= 15 and (text == "0" or abs(float(text)) >= 1e-6):
            return float(text) if "." in text else int(text)
        return {NUMBER: self.short(text, _TEXT)}

    def short(self, text: str, most: int) -> str:
        if len(text) <= most:
            return text
        self.cut += 1
        return f"{text[:most]}\u2026 ({len(text):,} characters)"
