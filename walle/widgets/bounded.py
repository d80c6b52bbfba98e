"""JSON in a size that a page can take."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["bounded"]

_TEXT = 2_000
_VALUES = 5_000
_DEPTH = 100
_RAW = 20_000


def bounded(text: str) -> tuple[str, int]:
    """Return a JSON document of bounded size, and how many of its values were shortened.

    Texts keep 2,000 characters, the document 5,000 values and 100 levels. A text that is no JSON is cut at 20,000
    characters.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return (text, 0) if len(text) <= _RAW else (f"{text[:_RAW]}\u2026 ({len(text):,} characters)", 1)
    work = _Bounded()
    return json.dumps(work.take(value, 0), ensure_ascii=False, separators=(",", ":")), work.cut


class _Bounded:
    def __init__(self) -> None:
        self.left, self.cut = _VALUES, 0

    def take(self, value: Any, depth: int) -> Any:
        self.left -= 1
        if isinstance(value, str):
            return self.short(value, _TEXT)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 2**53:
            return str(value)  # a page's numbers would round it
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

    def short(self, text: str, most: int) -> str:
        if len(text) <= most:
            return text
        self.cut += 1
        return f"{text[:most]}\u2026 ({len(text):,} characters)"
