"""The controls and buttons of ``RunView``, and how they move its window."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from walle.timeframe import length
from walle.widgets.escape import moment, text_of
from walle.widgets.run_data import TABS, RunData

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["MOVES", "about", "buttons", "controls_of", "moved", "symbols_of", "timeframes_of"]

MOVES = ("earlier", "later", "closer", "wider", "whole")
_ICONS = {"earlier": "arrow-left", "later": "arrow-right", "closer": "search-plus", "wider": "search-minus"}


def moved(window: tuple[datetime, datetime], to: str, least: timedelta) -> tuple[datetime, datetime]:
    """Return the window moved by half its length, or half or twice as long around its middle."""
    start, end = window
    long = end - start
    try:
        match to:
            case "earlier":
                return start - long / 2, end - long / 2
            case "later":
                return start + long / 2, end + long / 2
            case "closer":
                half = max(long / 4, least)
            case _:
                half = long
        middle = start + long / 2
        return middle - half, middle + half
    except OverflowError:  # the years of datetime are limited
        return window


def about(tab: str, row: dict[str, Any], start: datetime, end: datetime) -> str:
    """Return a text about a selected row."""
    match tab:
        case "fills" | "costs":
            return f"Around fill {text_of(row['id' if tab == 'fills' else 'fill_id'], 80)} of {moment(start)} UTC"
        case "trades":
            still = " (still open)" if row["is_open"] else ""
            return f"Trade {row['trade']:,}, {row['direction']}, {moment(start)} to {moment(end)} UTC{still}"
        case "findings":
            return f"{row['severity'].capitalize()} {text_of(row['rule'], 60)}: {text_of(row['sentence'])}"
        case "history":
            return f"{row['kind'].capitalize()} {text_of(row['what'], 80)} at {moment(start)} UTC"
    return f"Around {moment(start)} UTC"


def symbols_of(data: RunData) -> list[tuple[str, str]]:
    """Return the options for the symbol."""
    return [("all", ""), *((text_of(symbol, 60), symbol) for symbol in data.symbols)]


def timeframes_of(data: RunData, chosen: str) -> list[tuple[str, str]]:
    """Return the options for the timeframe of the candles."""
    known = {name for names in data.timeframes.values() for name in names} | {chosen} - {""}
    return [("by the window", ""), *((name, name) for name in sorted(known, key=length))]


def controls_of(data: RunData, symbol: str, timeframe: str, tab: str) -> dict[str, ipywidgets.Widget]:
    """Return the controls; the description of each is its label."""
    import ipywidgets

    from walle.widgets.parts import sized

    made = {
        "symbol": ipywidgets.Dropdown(options=symbols_of(data), value=symbol, description="symbol"),
        "timeframe": ipywidgets.Dropdown(
            options=timeframes_of(data, timeframe), value=timeframe, description="candles"
        ),
        "from": ipywidgets.Text(description="from", placeholder="start of the run", continuous_update=False),
        "to": ipywidgets.Text(description="to", placeholder="end of the run", continuous_update=False),
        "tab": ipywidgets.ToggleButtons(options=TABS, value=tab, tooltips=[f"show {name}" for name in TABS]),
        "refresh": ipywidgets.Button(description="Refresh", tooltip="read the run again", icon="refresh"),
    }
    made["tab"].style.button_width = "92px"
    return sized(made, {"symbol": 200, "timeframe": 190, "from": 200, "to": 190, "refresh": 96})


def buttons() -> dict[str, ipywidgets.Widget]:
    """Return the buttons that move the window."""
    import ipywidgets

    tips = {
        "earlier": "half a window back",
        "later": "half a window on",
        "closer": "half as long",
        "wider": "twice as long",
        "whole": "the whole run",
    }
    return {
        name: ipywidgets.Button(
            description=name.capitalize(), tooltip=tip, icon=_ICONS.get(name, "arrows-h"), layout={"width": "92px"}
        )
        for name, tip in tips.items()
    }
