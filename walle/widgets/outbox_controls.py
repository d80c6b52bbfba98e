"""The controls of ``OutboxView``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from walle.events.export import FORMATS

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["controls_of"]

_FILTERS = {
    "types": ("type", "orders.*, risk.*", 200),
    "run_id": ("run", "its id", 170),
    "corr_id": ("correlation", "its id", 210),
    "start": ("from", "2025-11-20 12:00", 190),
    "end": ("to", "2025-11-21", 170),
    "where": ("payload", "order.side = buy", 220),
    "text": ("text", "anywhere in the payload", 210),
}


def controls_of(asked: Mapping[str, Any], rows: int) -> dict[str, ipywidgets.Widget]:
    """Return the controls; the description of each is its label."""
    import ipywidgets

    from walle.widgets.parts import sized

    made: dict[str, Any] = {}
    for name, (label, hint, _) in _FILTERS.items():
        value = asked[name]
        text = ", ".join(value) if isinstance(value, list) else value or ""
        made[name] = ipywidgets.Text(text, description=label, placeholder=hint, continuous_update=False)
    sizes = sorted({15, 50, 200, 1_000, rows})
    made["rows"] = ipywidgets.Dropdown(options=sizes, value=rows, description="rows")
    made["live"] = ipywidgets.ToggleButton(description="Live", tooltip="follow the log", icon="play")
    made["refresh"] = ipywidgets.Button(description="Newest", tooltip="go to the newest events", icon="refresh")
    made["format"] = ipywidgets.Dropdown(options=list(FORMATS), description="file")
    made["export"] = ipywidgets.Button(description="Export", tooltip="save what is shown", icon="download")
    widths = {name: width for name, (_, _, width) in _FILTERS.items()}
    return sized(made, widths | {"rows": 120, "format": 130, "live": 96, "refresh": 96, "export": 96})
