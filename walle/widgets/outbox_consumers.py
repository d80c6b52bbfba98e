"""The consumers of a log: their state, their parked events, and resets of their offsets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
import polars as pl

from walle.errors import InputError
from walle.events import Mask, ResetReport
from walle.store import Store
from walle.widgets.escape import text_of
from walle.widgets.outbox_static import CONSUMER_TITLES, consumers_table
from walle.widgets.parts import Table, heading, row_of

__all__ = ["Consumers"]

_PARKED = ("offset", "type", "error", "tries", "parked", "replay asked", "replayed")
_ROWS = 15


class Consumers:
    """The tab of the consumers.

    An offset is moved in two steps: a preview says which events would be handled again or skipped, and only a previewed
    reset can be confirmed.

    Parameters
    ----------
    store : Store
    guarded : callable
        Makes a callback that shows its errors in the view.
    mask : Mask
    tell : callable
        Shows a message in the view.
    """

    def __init__(
        self,
        store: Store,
        guarded: Callable[[Callable[..., object]], Callable[..., None]],
        mask: Mask,
        tell: Callable[[str], None],
    ) -> None:
        self._store, self._mask, self._tell = store, mask, tell
        self.rows, self.waiting = pl.DataFrame(), pl.DataFrame()
        self.chosen: str | None = None
        self._previewed: tuple[str, dict[str, Any], str] | None = None
        self.table = Table(label="consumers", empty="no consumer has read from this log")
        self.parked = Table(label="parked events", empty="nothing is parked")
        self.events = Table(label="events that the reset is about", empty="no event")
        self.title, self.status = heading(""), ipywidgets.Label()
        self.place = ipywidgets.Text(description="go on after", placeholder="offset, time, first or last")
        self.reason = ipywidgets.Text(description="reason", placeholder="why; it is kept")
        self.preview = ipywidgets.Button(description="Preview", icon="eye")
        self.confirm = ipywidgets.Button(description="Move offset", icon="check", disabled=True, button_style="danger")
        self.replay = ipywidgets.Button(description="Replay parked", icon="redo")
        self.again = ipywidgets.Button(description="Refresh", icon="refresh")
        for part, width in ((self.place, 280), (self.reason, 320)):
            part.layout.width, part.style.description_width = f"{width}px", "initial"
        self.form = ipywidgets.VBox(
            [
                self.title,
                self.parked,
                row_of(self.replay),
                row_of(self.place, self.reason, self.preview, self.confirm),
                self.status,
                self.events,
            ]
        )
        self.form.layout.display = "none"
        self.box = ipywidgets.VBox([row_of(self.again), self.table, self.form])
        self.again.on_click(guarded(self.refresh))
        self.table.on("select", guarded(self.select))
        self.preview.on_click(guarded(self.preview_reset))
        self.confirm.on_click(guarded(self.move))
        self.replay.on_click(guarded(self.replay_all))
        for part in (self.place, self.reason):
            part.observe(guarded(self.forget), "value")

    def refresh(self, *_: object) -> None:
        """Read the consumers again."""
        self.rows = self._mask.apply(self._store.events.consumers())
        names = self.rows["consumer_id"].to_list()
        marked = names.index(self.chosen) if self.chosen in names else -1
        self.table.show(consumers_table(self.rows), titles=CONSUMER_TITLES, selected=marked)
        if marked >= 0:
            self.show_parked()

    def select(self, message: dict[str, Any]) -> None:
        """Show one consumer.

        Raises
        ------
        LookupError
        """
        row = int(message["row"])
        if not 0 <= row < self.rows.height:
            raise LookupError(f"there is no consumer in row {row}.")
        self.chosen, self.table.selected = str(self.rows["consumer_id"][row]), row
        error = self.rows["error"][row]
        self.title.value = (
            f"{text_of(self.chosen, 80)}{'' if error is None else f': last failed with {text_of(error)}'}"
        )
        self.show_parked()
        self.forget()
        self.form.layout.display = None

    def show_parked(self) -> None:
        """Show the parked events of the consumer."""
        self.waiting = self._mask.apply(self._store.events.parked(self.chosen))
        names = ["offset", "type", "error", "tries", "parked_at", "requested_at", "replayed_at"]
        waiting = self.waiting.select(names)
        more = f"{_ROWS} of {waiting.height:,}" if waiting.height > _ROWS else ""
        self.parked.show(waiting.head(_ROWS), titles=_PARKED, note=more)
        self.replay.disabled = self.waiting["replayed_at"].null_count() == 0

    def forget(self, *_: object) -> None:
        """Discard a preview, because something that it depends on has changed."""
        self._previewed, self.confirm.disabled, self.status.value = None, True, ""
        self.events.layout.display = "none"

    def preview_reset(self, *_: object) -> None:
        """Preview a reset.

        Raises
        ------
        InputError
            If no consumer, target or reason was entered.
        """
        self.forget()
        name, place, reason = self._name(), self._place(), self.reason.value.strip()
        if not reason:
            raise InputError("give a reason: it is kept with who moved the offset, and when.")
        report = self._store.events.reset_offset(name, **place, reason=reason, preview=True)
        self._previewed, self.confirm.disabled = (name, place, reason), False
        self.status.value = text_of(_sentence(report, "would go"))
        shown = report.events.select("offset", "type", "created_at").head(_ROWS)
        self.events.show(shown, note=f"{shown.height} of {report.events.height:,}")
        self.events.layout.display = None

    def move(self, *_: object) -> None:
        """Carry out the previewed reset.

        Raises
        ------
        InputError
            If there is no preview.
        """
        if self._previewed is None:
            raise InputError("look at a preview first.")
        name, place, reason = self._previewed
        report = self._store.events.reset_offset(name, **place, reason=reason)
        self.forget()
        self.status.value = text_of(_sentence(report, "went"))
        self.refresh()

    def replay_all(self, *_: object) -> None:
        """Request a replay of the parked events."""
        count = self._store.events.replay(self._name())
        self.status.value = f"{count:,} parked events are handled again when the consumer runs."
        self.show_parked()

    def _name(self) -> str:
        if self.chosen is None:
            raise InputError("choose a consumer in the table.")
        return self.chosen

    def _place(self) -> dict[str, Any]:
        text = self.place.value.strip()
        if not text:
            raise InputError("say where to go on: an offset, a time, first or last.")
        if text == "first":
            return {"to": -1}
        if text == "last":
            return {"to": self._store.events.latest()}
        digits = text.removeprefix("-").replace(",", "")
        return {"to": int(text.replace(",", ""))} if digits.isdecimal() else {"since": text}


def _sentence(report: ResetReport, verb: str) -> str:
    again = f"{report.replayed:,} events are handled again" if report.replayed else ""
    passed = f"{report.passed:,} events are passed" if report.passed else ""
    what = again or passed or "nothing changes"
    return f"{report.consumer_id} {verb} from {report.from_offset:,} to {report.to_offset:,}: {what}."
