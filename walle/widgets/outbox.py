"""``OutboxView``: the event log, its consumers, and the events that they could not handle."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from walle.errors import DatabaseBusy, DatabaseError, DatabaseUnavailable, InputError
from walle.events import EventPage, Mask
from walle.events.export import exported, format_of
from walle.repositories.common import Time
from walle.store import Store
from walle.validation import parse_range
from walle.widgets.escape import moment, text_of
from walle.widgets.live import Live
from walle.widgets.outbox_static import EVENT_TITLES, consumers_table, events_table, static_of
from walle.widgets.view import Static, View

if TYPE_CHECKING:
    import ipywidgets

__all__ = ["OutboxView"]

ROWS = (15, 50, 200, 1_000)
"""The default number of events on a page."""

_LINEAGE = ("relation", "steps", "offset", "type", "time (UTC)")


class OutboxView(View):
    """The events of a store, the newest first, and the consumers that read them.

    Filters find events among millions, a page at a time; a search that takes too long stops, shows how far it got, and
    continues with the next page. A click on an event shows its payload as a tree, its causes and its consequences.
    ``live`` follows the log. The second tab shows the lag, the state and the last error of every consumer; the offset
    of a consumer can be moved only after a preview and with a reason.

    Parameters
    ----------
    store : Store
        A store with a database, or one in memory.
    types : str or sequence of str, optional
        Types such as ``orders.Filled`` or patterns such as ``orders.*``.
    run_id, corr_id : str, optional
    start, end : datetime, date or str, optional
        Events with ``ts`` in ``[start, end)``.
    where : str, optional
        A path that the payload must have, ``order.side``, or a path and its value, ``order.side = buy``.
    text : str, optional
        A text that the payload must contain.
    mask : str or sequence of str
        Values to hide before anything reaches the page: names of members (``password``), or paths in the payload
        (``$.account.number``, ``$.fills[*].price``).
    rows : int
        The number of events on a page.

    Raises
    ------
    InputError
        For a filter or a masking rule that cannot be read.

    Examples
    --------
    >>> view = walle.widgets.OutboxView(store, types="orders.*", mask=["password", "$.account.number"])
    >>> view  # last in a cell
    >>> view.export("page.jsonl")
    """

    name = "OutboxView"

    def __init__(
        self,
        store: Store,
        types: str | Sequence[str] | None = None,
        run_id: str | None = None,
        *,
        corr_id: str | None = None,
        start: Time = None,
        end: Time = None,
        where: str | None = None,
        text: str | None = None,
        mask: str | Sequence[str] = (),
        rows: int = ROWS[0],
    ) -> None:
        super().__init__(store)
        if isinstance(rows, bool) or not isinstance(rows, int) or not 1 <= rows <= ROWS[-1]:
            raise InputError(f"rows={rows!r}: allowed are 1 to {ROWS[-1]:,}.")
        first, last = (None if time is None else time.isoformat() for time in parse_range(start, end))
        self._mask, self._rows = Mask.of(mask), rows
        kinds = types if types is None or isinstance(types, str) else list(types)
        self._asked: dict[str, Any] = {
            "types": kinds,
            "run_id": run_id,
            "corr_id": corr_id,
            "start": first,
            "end": last,
            "where": where,
            "text": text,
        }
        self._lock = threading.RLock()  # the live thread shows events too
        self._starts: list[int] = []
        self._page, self._newest = EventPage(), -1
        self._opened = -1
        self._first()

    # the content, which needs no widgets

    def frame(self) -> pl.DataFrame:
        """Return the events of the page that the view shows, masked.

        Returns
        -------
        polars.DataFrame
            Columns of :data:`walle.frames.EVENTS`; the highest offset first.
        """
        return self._mask.apply(self._page.events)

    def export(self, path: str | Path) -> Path:
        """Write the events that the view shows, masked, to a file.

        Parameters
        ----------
        path : str or Path
            Its ending selects the format: ``.csv``, ``.jsonl`` or ``.parquet``. In a CSV file, a text that a
            spreadsheet would read as a formula gets a leading apostrophe.

        Returns
        -------
        Path

        Raises
        ------
        InputError
            For an unknown ending.
        """
        target = Path(path)
        target.write_bytes(exported(self.frame(), format_of(target)))
        return target

    def _statements(self) -> list[str]:
        asked = [f"{name}={value!r}" for name, value in self._asked.items() if value is not None]
        arguments = ", ".join([str(self._starts[-1]), *asked, f"limit={self._rows}", "seconds=600"])
        lines = [f"frame = store.events.search({arguments}).events"]
        if self._page.before is not None and self._page.events.height < self._rows:
            lines.append(
                f'frame = frame.filter(pl.col("offset") >= {self._page.looked_to})  # the search stopped there'
            )
        if self._mask.rules:
            lines.append(f"frame = walle.events.Mask.of({self._mask.rules!r}).apply(frame)")
        return lines

    def _first(self) -> None:
        """Go to the newest events."""
        newest = self._store.events.latest()
        self._go_to([max(newest, 0) + 1])
        self._newest = newest

    def _go_to(self, starts: list[int]) -> None:
        """Show the page that begins below the last of these offsets; the others are the starts of newer pages."""
        self._page = self._store.events.search(starts[-1], limit=self._rows, **self._asked)
        self._starts = starts

    def _summary(self) -> str:
        events = self._page.events
        if events.is_empty() and self._page.before is not None:
            return f"nothing found so far, down to offset {self._page.looked_to:,}; the next page looks on"
        if events.is_empty():
            asked = any(value is not None for value in self._asked.values())
            return "no event passes the filters" if asked else "the log is empty"
        first, last = int(events["offset"][0]), int(events["offset"][-1])
        words = f"{events.height:,} events, offset {first:,} to {last:,}, the newest is {self._newest:,}"
        if self._page.before is not None and events.height < self._rows:
            words += f"; looked down to offset {self._page.looked_to:,}, the next page looks on"
        return words

    def _static(self) -> Static:
        consumers = consumers_table(self._mask.apply(self._store.events.consumers()))
        return static_of(self._summary(), events_table(self.frame()), consumers)

    def _stop_background(self) -> None:
        if self._widget is not None:
            self.live.stop()

    # the interactive part

    def _make(self) -> ipywidgets.Widget:
        import ipywidgets

        from walle.widgets.json_view import Files, Tree
        from walle.widgets.outbox_consumers import Consumers
        from walle.widgets.outbox_controls import controls_of
        from walle.widgets.parts import Table, heading, row_of

        self.controls = controls_of(self._asked, self._rows)
        for name in self._asked:
            self.controls[name].observe(self._guarded(self._filter), "value")
        self.controls["rows"].observe(self._guarded(self._resize), "value")
        self.controls["refresh"].on_click(self._guarded(self._refresh))
        self.controls["export"].on_click(self._guarded(self._export))
        self.controls["live"].observe(self._guarded(self._follow), "value")
        self.summary = ipywidgets.Label()
        self.summary.add_class("walle-quiet")
        self.table = Table(label="events", empty="no event", endless=True)
        self.table.on("select", self._guarded(self._select))
        self.table.on("page", self._guarded(self._turn))
        self.title, self.tree, self.files = heading(""), Tree(), Files()
        self.lineage = Table(label="causes and consequences", empty="no cause and no consequence nearby")
        self.lineage.on("select", self._guarded(self._go))
        sides = ipywidgets.Box([self.tree, self.lineage])
        sides.add_class("walle-sides")
        self.details = ipywidgets.VBox([self.title, sides])
        self._related = pl.DataFrame()
        self.consumers = Consumers(self._store, self._guarded, self._mask, self._tell)
        self.live = Live(
            self._store.events.latest,
            self._guarded(self._arrived, quiet=True),
            self._guarded(self._outage, quiet=True),
        )
        self._on_end(self.live.stop)
        filters = [self.controls[name] for name in (*self._asked, "rows")]
        actions = [self.controls[name] for name in ("live", "refresh", "format", "export")]
        events = ipywidgets.VBox(
            [row_of(*filters), row_of(*actions, self.files), self.summary, self.table, self.details]
        )
        self.tabs = ipywidgets.Tab([events, self.consumers.box], titles=["events", "consumers"])
        self.tabs.observe(self._guarded(self._tabbed), "selected_index")
        self._draw()
        return self.tabs

    def _say(self) -> None:
        summary = self._summary()
        self.summary.value = text_of(f"{summary[0].upper()}{summary[1:]}.")

    def _draw(self, *, details: bool = False) -> None:
        """Show the page; the details below it stay open only with ``details``."""
        self._say()
        turns = (len(self._starts) > 1, self._page.before is not None)
        note = f"page {len(self._starts):,}"
        if not details:
            self.details.layout.display, self._opened = "none", -1
        events = self.frame()
        at = events["offset"].index_of(self._opened)
        self.table.show(
            events_table(events), titles=EVENT_TITLES, turns=turns, note=note, selected=-1 if at is None else at
        )

    def _again(self) -> None:
        with self._lock:
            self._first()
            self._draw()

    def _filter(self, change: dict[str, Any]) -> None:
        """Apply the filters; keep the old page if one of them cannot be read."""
        before = self._asked
        self._asked = {name: self.controls[name].value.strip() or None for name in before}
        kinds = self._asked["types"]
        if kinds is not None and "," in kinds:
            self._asked["types"] = [kind.strip() for kind in kinds.split(",") if kind.strip()]
        try:
            self._again()
        except Exception:
            self._asked = before
            raise

    def _resize(self, change: dict[str, Any]) -> None:
        """Change the number of events on a page."""
        self._rows = int(change["new"])
        self._again()

    def _refresh(self, button: object) -> None:
        """Go to the newest events."""
        self._again()

    def _turn(self, message: dict[str, Any]) -> None:
        """Turn to an older page, or back.

        Raises
        ------
        InputError
            For the last page, because the events that pass the filters are not counted.
        """
        to = str(message.get("to"))
        if to == "last":
            raise InputError("the oldest page is not known before it was looked for: narrow from and to, or turn on.")
        with self._lock:
            starts = self._starts
            if to == "next" and self._page.before is not None:
                starts = [*starts, self._page.before]
            elif to == "previous":
                starts = starts[:-1] or starts
            elif to == "first":
                starts = starts[:1]
            self._go_to(starts)
            self._draw()

    def _select(self, message: dict[str, Any]) -> None:
        """Show an event of the page.

        Raises
        ------
        LookupError
            If the page has no such row.
        """
        row = int(message["row"])
        with self._lock:
            events = self.frame()
            # in live mode the page may have changed since the click, so the text of the clicked row counts
            said = str(message.get("said", "")).replace(",", "")
            at = events["offset"].index_of(int(said)) if said.isdecimal() else row
            if at is None:
                self._read(int(said))
                return
            if not 0 <= at < events.height:
                raise LookupError(f"the table has no row {row} on this page.")
            self.table.selected = at
            self._show(events.row(at, named=True))

    def _go(self, message: dict[str, Any]) -> None:
        """Show a cause or a consequence.

        Raises
        ------
        LookupError
            If the table has no such row.
        """
        row = int(message["row"])
        if not 0 <= row < self._related.height:
            raise LookupError(f"the table has no row {row}.")
        self._read(int(self._related["offset"][row]))

    def _read(self, offset: int) -> None:
        """Show an event, which may be on another page."""
        found = self._mask.apply(self._store.events.read(offset - 1, limit=1))
        if found.height and found["offset"][0] == offset:
            at = self._page.events["offset"].index_of(offset)
            self.table.selected = -1 if at is None else at
            self._show(found.row(0, named=True))

    def _show(self, event: dict[str, Any]) -> None:
        self._opened = int(event["offset"])
        when = event["ts"] or event["created_at"]
        self.title.value = f"{event['offset']:,} {text_of(event['type'], 80)}, {moment(when)} UTC"
        self.tree.show(event["payload"], label=f"payload of event {event['offset']}")
        self._related = self._store.events.lineage(event["offset"])
        related = self._related.select("relation", "steps", "offset", "type", pl.coalesce("ts", "created_at"))
        self.lineage.show(related, titles=_LINEAGE)
        self.details.layout.display = None

    def _follow(self, change: dict[str, Any]) -> None:
        """Follow the log, or pause."""
        if change["new"]:
            shown = None
            try:
                self._again()
                shown = self._newest
            finally:
                self.live.start(shown)  # it waits while the database is unavailable, and ends if waiting is useless
        else:
            self.live.stop()

    def _arrived(self, seen: int | Exception) -> None:
        """Show new events if the view is on the first page.

        Raises
        ------
        Exception
            The error that ended the polling.
        """
        if isinstance(seen, Exception):
            self.controls["live"].value = False
            raise seen
        try:
            with self._lock:
                self._show_arrived(seen)
        except (DatabaseUnavailable, DatabaseBusy) as error:
            self.live.report_again(error)

    def _show_arrived(self, seen: int) -> None:
        if self.tabs.selected_index == 1:
            self.consumers.refresh()
        if len(self._starts) > 1:
            self._newest = seen
            self._say()
            return
        self._first()
        self._draw(details=True)

    def _outage(self, error: DatabaseError | None) -> None:
        """Show that the database is unavailable, or available again."""
        if error is None:
            self._tell("The database is back; the view follows it again.")
        else:
            self._tell(f"The database is away, and the view waits for it. {type(error).__name__}: {error}", "error")

    def _export(self, button: object) -> None:
        """Send the shown events to the browser as a file."""
        format = self.controls["format"].value
        events = self.frame()
        data = exported(events, format)
        self.files.give(f"events.{format}", data, f"{events.height:,} events, {len(data):,} bytes")

    def _tabbed(self, change: dict[str, Any]) -> None:
        """Refresh the consumers when their tab opens."""
        if change["new"] == 1:
            self.consumers.refresh()
