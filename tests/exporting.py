"""Saved notebooks as the page that others are shown."""

from __future__ import annotations

from pathlib import Path

from nbconvert import HTMLExporter

__all__ = ["as_html"]


def as_html(path: Path) -> str:
    """Return a saved notebook as HTML that asks nobody else for a script."""
    exporter = HTMLExporter(  # type: ignore[no-untyped-call]  # nbconvert ships no types
        require_js_url="", mathjax_url="", mermaid_js_url="", mermaid_layout_elk_js_url=""
    )
    page: str = exporter.from_filename(str(path))[0]
    return page
