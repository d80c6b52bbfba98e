"""Every error that WallE raises.

```text
WalleError
├── ConfigurationError (ValueError)     an address or setting that cannot work
├── PersistenceUnavailable              no database is configured (in-memory mode)
├── StoreClosed                         the store or database is closed
│   └── StoreForked                     it was opened in another process, before a fork
├── InputError (ValueError)             an argument or input that is not allowed
│   ├── InvalidRows                     rows of an ingest that are not valid orders, fills or cash flows
│   │   └── InvalidBars                 rows of an ingest that are not valid bars
│   ├── ConflictingBars                 bars that are stored with other values, which were to raise
│   ├── UnfinishedBars                  bars that have not ended yet, which were to raise
│   ├── OtherProvider                   the series has another provider
│   ├── RescaledBars                    stored bars come again, multiplied by one factor
│   ├── FilesRefused                    some of several files could not be ingested
│   ├── EventTooLarge                   an event larger than the limit
│   ├── UnknownTimeframe
│   ├── UnknownCalendar
│   └── IllegalTransition               a run cannot change from this status to that one
├── NotFound (LookupError)
│   ├── UnknownSymbol
│   ├── UnknownRun
│   ├── UnknownOrder
│   ├── UnknownFill
│   ├── UnknownCashFlow
│   ├── UnknownAction
│   ├── UnknownInstrument
│   ├── UnknownEvent
│   └── UnknownConsumer
├── IncompleteBars (LookupError)        bars are missing in the requested range
├── Conflict                            the store already holds something else
│   ├── FactConflict                    a known id, or symbol, with different content
│   │   ├── FillConflict
│   │   ├── CashFlowConflict
│   │   ├── ActionConflict
│   │   └── InstrumentConflict
│   ├── AlreadyCorrected                somebody else corrected this fact before
│   ├── StaleSnapshot                   an order snapshot older than the stored one
│   ├── LostUpdate                      somebody else saved this run in between
│   ├── DuplicateKey                    a unique value is taken
│   ├── ConsumerBusy                    another process consumes under this name
│   ├── ConsumerFenced                  this consumer was replaced by another
│   └── ImmutableRecord                 a fact cannot be changed or deleted
├── HandlerFailed                       a consumer's handler failed for the last time
├── SchemaError
│   ├── SchemaOutdated                  tables are missing, older, or the backend's: walle upgrade
│   ├── SchemaTooNew                    written by a later WallE
│   ├── NotAWalleStore                  somebody else's file or database
│   └── UpgradeRefused                  a migration that would lose something
└── DatabaseError                       the database failed or refused
    ├── DatabaseUnavailable             not reachable
    │   ├── AuthenticationFailed
    │   └── FileReplaced                another file lies where the store's was
    ├── DatabaseBusy                    locked by others for too long
    ├── StatementCancelled              it took longer than the server allows, or somebody ended it
    ├── ReadOnly                        opened read-only, or not writable
    ├── StorageFull
    ├── UnsafeEventSource               events could be skipped here: a standby, or ids in blocks
    ├── UnreadableRow                   another program wrote a value that its column does not allow
    └── PrecisionError                  a stored number does not fit a frame
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    import polars as pl

__all__ = [
    "ActionConflict",
    "AlreadyCorrected",
    "AuthenticationFailed",
    "CashFlowConflict",
    "ConfigurationError",
    "Conflict",
    "ConflictingBars",
    "ConsumerBusy",
    "ConsumerFenced",
    "DatabaseBusy",
    "DatabaseError",
    "DatabaseUnavailable",
    "DuplicateKey",
    "EventTooLarge",
    "FactConflict",
    "FileReplaced",
    "FilesRefused",
    "FillConflict",
    "HandlerFailed",
    "IllegalTransition",
    "ImmutableRecord",
    "IncompleteBars",
    "InputError",
    "InstrumentConflict",
    "InvalidBars",
    "InvalidRows",
    "LostUpdate",
    "NotAWalleStore",
    "NotFound",
    "OtherProvider",
    "PersistenceUnavailable",
    "PrecisionError",
    "ReadOnly",
    "RescaledBars",
    "SchemaError",
    "SchemaOutdated",
    "SchemaTooNew",
    "StaleSnapshot",
    "StatementCancelled",
    "StorageFull",
    "StoreClosed",
    "StoreForked",
    "UnfinishedBars",
    "UnknownAction",
    "UnknownCalendar",
    "UnknownCashFlow",
    "UnknownConsumer",
    "UnknownEvent",
    "UnknownFill",
    "UnknownInstrument",
    "UnknownOrder",
    "UnknownRun",
    "UnknownSymbol",
    "UnknownTimeframe",
    "UnreadableRow",
    "UnsafeEventSource",
    "UpgradeRefused",
    "WalleError",
]


class WalleError(Exception):
    """The root of every error that WallE raises on purpose.

    All of them travel between processes whole: with their type, their message and their attributes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """Restore an error without calling ``__init__``, which takes other arguments than an exception keeps."""
        return _again, (type(self), self.args), self.__dict__ or None


def _again(kind: type[WalleError], arguments: tuple[object, ...]) -> WalleError:
    return kind.__new__(kind, *arguments)


class ConfigurationError(WalleError, ValueError):
    """A database address or a setting that cannot work; nothing was opened."""


class PersistenceUnavailable(WalleError, RuntimeError):
    """An operation needs a database, and the store has none."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs a database, and this store has none: it runs in memory and keeps nothing. "
            "Give one: walle.connect('research.db') for a file, walle.connect('postgresql://user@host/name'), "
            "or set WALLE_DATABASE_URL."
        )


class StoreClosed(WalleError, RuntimeError):
    """The store, or its database, was closed before this call."""


class StoreForked(StoreClosed):
    """The store was opened in another process, from which this one was forked.

    Connections, and the threads in which Polars works, belong to the process that started them.

    Attributes
    ----------
    pid : int
        The process that opened the store.
    """

    def __init__(self, pid: int, message: str | None = None) -> None:
        super().__init__(
            message
            or f"this store was opened in process {pid}, before a fork, and its connections belong to it. "
            "Connect in each process, started by 'forkserver' or 'spawn': walle.connect(...) or Database(...)."
        )
        self.pid = pid


class InputError(WalleError, ValueError):
    """An argument or input is not allowed; nothing was written."""


class InvalidRows(InputError):
    """Some rows of an ingest are not valid bars, orders, fills or cash flows; the call wrote nothing.

    Attributes
    ----------
    rejected_rows : polars.DataFrame
        Every refused row with its ``reason`` and its position ``row`` in the source.
    counts : dict of str to int
        How many rows each reason refused.
    """

    def __init__(self, message: str, rejected_rows: pl.DataFrame, counts: Mapping[str, int]) -> None:
        super().__init__(message)
        self.rejected_rows = rejected_rows
        self.counts: dict[str, int] = dict(counts)


class InvalidBars(InvalidRows):
    """Some rows of an ingest are not valid bars; the call wrote nothing."""


class ConflictingBars(InputError):
    """Bars of a source are stored with other values, and ``on_conflict="raise"``; the call wrote nothing.

    Attributes
    ----------
    conflict_rows : polars.DataFrame
        symbol, timeframe, timestamp, stored_open..stored_volume, open..volume.
    """

    def __init__(self, message: str, conflict_rows: pl.DataFrame) -> None:
        super().__init__(message)
        self.conflict_rows = conflict_rows

    @classmethod
    def of(cls, conflict_rows: pl.DataFrame, source: str | None) -> ConflictingBars:
        """Return the error about the conflicts of a source (a file or provider)."""
        first = conflict_rows.row(0, named=True)
        named = ["close", "volume", *(["extra"] if first.get("extra") else [])]
        shown = [f"{name} {first[f'stored_{name}']!r} and {first[name]!r}" for name in named]
        count = conflict_rows.height
        message = (
            f"{'1 bar is' if count == 1 else f'{count:,} bars are'} stored with other values, so nothing of "
            f"{'the source' if source is None else source} was written: the first is {first['symbol']} "
            f"{first['timeframe']} {first['timestamp'].isoformat()} (stored and given: {', '.join(shown)}). "
            "on_conflict='keep' stores the others and keeps these as conflicts; on_conflict='correct', reason='...' "
            "stores them as further versions. The error's .conflict_rows has them all."
        )
        return cls(message, conflict_rows)


class UnfinishedBars(InputError):
    """Bars of a source have not ended yet, and ``unfinished="raise"``; the call wrote nothing.

    Attributes
    ----------
    rows : polars.DataFrame
        The columns of bars.
    """

    def __init__(self, message: str, rows: pl.DataFrame) -> None:
        super().__init__(message)
        self.rows = rows

    @classmethod
    def of(cls, rows: pl.DataFrame, clock: datetime) -> UnfinishedBars:
        """Return the error about bars that have not ended by the database's clock."""
        first = rows.row(0, named=True)
        message = (
            f"{'1 bar has' if rows.height == 1 else f'{rows.height:,} bars have'} not ended by {clock.isoformat()}, so "
            f"nothing was written: the first is {first['symbol']} {first['timeframe']} "
            f"{first['timestamp'].isoformat()}. unfinished='drop' leaves them out, unfinished='keep' stores them as "
            "provisional ones, which the next ingest replaces. The error's .rows has them all."
        )
        return cls(message, rows)


class OtherProvider(InputError):
    """A series of bars has one provider, and the ingest named another; nothing was written.

    Attributes
    ----------
    symbol, timeframe : str
        The first such series.
    provider : str
        Its provider.
    named : str
        The provider that the ingest named.
    """

    def __init__(self, symbol: str, timeframe: str, provider: str, named: str, more: int = 0) -> None:
        others = f" (and {more:,} more series)" if more else ""
        super().__init__(
            f"the bars of {symbol} {timeframe}{others} come from {provider!r}, and provider={named!r}: a series has "
            "one provider, so nothing was written. Store these bars under another symbol; or leave provider= out, if "
            f"they belong to that series all the same; or, if {named!r} delivers it from now on: "
            f"store.bars.set_provider({symbol!r}, {timeframe!r}, {named!r}, reason=...)."
        )
        self.symbol = symbol
        self.timeframe = timeframe
        self.provider = provider
        self.named = named


class RescaledBars(InputError):
    """Stored bars come again with all prices (or all volumes) multiplied by one factor; nothing was written.

    Attributes
    ----------
    series : list of dict
        For each such series: symbol, timeframe, first and last (opening times of the rescaled bars, UTC), bars (their
        number), overlap (the stored bars among those of the source, up to the last), factor (of the prices, new to
        stored), lowest and highest (which differ when several actions lie between the bars), volume (the factor of the
        volumes, or None).
    """

    def __init__(self, series: Sequence[Mapping[str, Any]]) -> None:
        first = series[0]
        several = first["highest"] > first["lowest"] * 1.0001
        how = f"{_factor(first['lowest'])} to {_factor(first['highest'])}" if several else _factor(first["factor"])
        what = f"all prices multiplied by {how}"
        if first["factor"] == 1:
            what = f"the same prices and all volumes multiplied by {_factor(first['volume'])}"
        elif first["volume"] is not None and abs(first["volume"] - 1) > 1e-6:
            what += f" and all volumes by {_factor(first['volume'])}"
        more = f" {len(series) - 1:,} more series likewise." if len(series) > 1 else ""
        super().__init__(
            f"{first['symbol']} {first['timeframe']}: {first['bars']:,} of {first['overlap']:,} stored bars from "
            f"{first['first']:%Y-%m-%d %H:%M} to {first['last']:%Y-%m-%d %H:%M} UTC come again with {what}, so nothing "
            f"was written.{more} That looks like a download that is adjusted for splits or dividends, or like another "
            "currency or unit. Keep the raw bars, record the split or dividend (store.actions.append), and read with "
            "adjust='splits' or adjust='all'; or take these values as corrections (on_conflict='correct'); or store "
            "them under another symbol."
        )
        self.series = [dict(row) for row in series]


def _factor(value: float) -> str:
    """Show a factor, and as a fraction if it is one of small whole numbers."""
    near = Fraction(value).limit_denominator(100)
    plain = near.denominator > 1 and near.numerator < 100 and abs(float(near) / value - 1) < 1e-4
    return f"{value:.6g} ({near})" if plain else f"{value:.6g}"


class FilesRefused(InputError):
    """Some of several files were refused; the others are stored.

    Attributes
    ----------
    report : IngestReport
        The outcome of each file.
    errors : dict of Path to InputError
        Why each refused file was refused.
    """

    def __init__(self, report: Any, errors: Mapping[Path, InputError]) -> None:
        first = "\n".join(f"- {error}" for error in [*errors.values()][:5])
        more = f"\n- and {len(errors) - 5} more" if len(errors) > 5 else ""
        others = ", the others are stored" if len(errors) < len(report.outcomes) else ""
        super().__init__(
            f"{len(errors)} of {len(report.outcomes)} files were refused{others}:\n{first}{more}\n"
            "The error's .errors has them all, and .report says what became of the others."
        )
        self.report = report
        self.errors: dict[Path, InputError] = dict(errors)


class EventTooLarge(InputError):
    """An event's envelope has more bytes as JSON than the log allows; nothing was written.

    Attributes
    ----------
    size, limit : int
        In bytes.
    """

    def __init__(self, event_type: str, size: int, limit: int) -> None:
        super().__init__(
            f"event {event_type} has {size:,} bytes as JSON; at most {limit:,} are allowed. Keep large content "
            "elsewhere and refer to it, or raise max_bytes of the EventLog (of store.events)."
        )
        self.size: int = size
        self.limit: int = limit


class UnknownTimeframe(InputError):
    """A timeframe is not one of WallE's."""


class UnknownCalendar(InputError):
    """Neither WallE nor exchange_calendars knows a calendar of that name.

    Attributes
    ----------
    name : str
    suggestions : list of str
        Known names with a similar spelling.
    """

    def __init__(self, name: str, suggestions: Sequence[str]) -> None:
        near = f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else "."
        super().__init__(
            f"unknown calendar {name!r}{near} Allowed: '24/7', '24/5', any name of exchange_calendars (XNYS, XHKG, "
            "NASDAQ ...), or one of your own: walle.calendars.from_sessions(frame, name)."
        )
        self.name: str = name
        self.suggestions: list[str] = list(suggestions)


class IllegalTransition(InputError):
    """A run cannot change from its stored status to the requested one.

    Attributes
    ----------
    run_id, current, requested : str
    """

    def __init__(self, run_id: str, current: str, requested: str, allowed: Sequence[str]) -> None:
        where = f"it may become {', '.join(allowed)}" if allowed else "that status is final"
        super().__init__(f"run {run_id!r} cannot go from {current!r} to {requested!r}: {where}.")
        self.run_id: str = run_id
        self.current: str = current
        self.requested: str = requested


class NotFound(WalleError, LookupError):
    """Nothing is stored under that name or id."""


class UnknownSymbol(NotFound):
    """No bars of that symbol and timeframe are stored.

    Attributes
    ----------
    symbol, timeframe : str
    suggestions : list of str
        Stored symbols with a similar spelling.
    """

    def __init__(self, symbol: str, timeframe: str, suggestions: Sequence[str], timeframes: Sequence[str]) -> None:
        message = f"no bars for {symbol!r} {timeframe}"
        if timeframes:
            message += f"; timeframes stored for {symbol!r}: {', '.join(timeframes)}"
        elif suggestions:
            message += f"; did you mean {' or '.join(map(repr, suggestions))}?"
        message += (" " if message.endswith("?") else ". ") + "store.bars.series() lists what is stored."
        super().__init__(message)
        self.symbol: str = symbol
        self.timeframe: str = timeframe
        self.suggestions: list[str] = list(suggestions)


class UnknownRun(NotFound):
    """No run with that id is stored."""

    def __init__(self, run_id: str, suggestions: Sequence[str] = ()) -> None:
        near = f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else "."
        super().__init__(f"no run {run_id!r}{near} store.runs.read() lists what is stored.")
        self.run_id: str = run_id
        self.suggestions: list[str] = list(suggestions)


class UnknownOrder(NotFound):
    """No order with that id is stored."""

    def __init__(self, order_id: str, field: str = "id") -> None:
        super().__init__(f"no order with {field} {order_id!r}. store.orders.read() lists what is stored.")
        self.order_id = order_id


class UnknownFill(NotFound):
    """No fill with that id is stored."""

    def __init__(self, fill_id: str) -> None:
        super().__init__(f"no fill with id {fill_id!r}. store.fills.read() lists what is stored.")
        self.fill_id = fill_id


class UnknownCashFlow(NotFound):
    """No cash flow with that id is stored."""

    def __init__(self, cash_flow_id: str) -> None:
        super().__init__(f"no cash flow with id {cash_flow_id!r}. store.cash.read() lists what is stored.")
        self.cash_flow_id = cash_flow_id


class UnknownAction(NotFound):
    """No corporate action with that id is stored."""

    def __init__(self, action_id: str, why: str = "") -> None:
        super().__init__(f"no corporate action with id {action_id!r}{why}. store.actions.read() lists what is stored.")
        self.action_id = action_id


class UnknownInstrument(NotFound):
    """No instrument is stored under that symbol or alias, or none is valid at that time.

    Attributes
    ----------
    symbol : str
    suggestions : list of str
        Stored symbols and aliases with a similar spelling.
    """

    def __init__(self, symbol: str, suggestions: Sequence[str] = (), why: str = "") -> None:
        near = f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else "."
        super().__init__(f"no instrument {symbol!r}{why}{near} store.instruments.read() lists what is stored.")
        self.symbol: str = symbol
        self.suggestions: list[str] = list(suggestions)


class UnknownEvent(NotFound):
    """No event with that offset or id is stored."""

    def __init__(self, event: int | str) -> None:
        super().__init__(f"no event {event!r}: it was never stored, or its transaction was rolled back.")
        self.event = event


class UnknownConsumer(NotFound):
    """No consumer has ever consumed under that name.

    Attributes
    ----------
    consumer_id : str
    suggestions : list of str
        Known names with a similar spelling.
    """

    def __init__(self, consumer_id: str, suggestions: Sequence[str] = ()) -> None:
        near = f"; did you mean {' or '.join(map(repr, suggestions))}?" if suggestions else "."
        super().__init__(f"no consumer {consumer_id!r}{near} store.events.consumers() lists those that there are.")
        self.consumer_id: str = consumer_id
        self.suggestions: list[str] = list(suggestions)


class IncompleteBars(WalleError, LookupError):
    """A read that requires complete bars found some of them missing.

    Attributes
    ----------
    gaps : polars.DataFrame
        One row per gap that nobody has explained: symbol, timeframe, and the columns of ``store.bars.gaps()``.
    """

    def __init__(self, message: str, gaps: pl.DataFrame) -> None:
        super().__init__(message)
        self.gaps = gaps


class Conflict(WalleError):
    """The store already holds something different under that name or id."""


class FactConflict(Conflict):
    """A fact has the id of a stored one but different content; the stored one stays.

    Attributes
    ----------
    id : str
        Of an instrument, its symbol.
    differences : dict of str to tuple
        For each column that differs, the stored value and the new one.
    """

    noun = "fact"
    """What the id is of."""

    advice = "Facts never change: the stored one stays, and nothing of this call was written."
    """What to do instead."""

    def __init__(self, fact_id: str, differences: Mapping[str, tuple[object, object]], others: int = 0) -> None:
        changes = ", ".join(f"{name} is {old}, given {new}" for name, (old, new) in differences.items())
        more = f" ({others} more {self.noun}s conflict too.)" if others else ""
        super().__init__(
            f"{self.noun} {fact_id!r} is already stored with another content: {changes}. {self.advice}{more}"
        )
        self.id: str = fact_id
        self.differences: dict[str, tuple[object, object]] = dict(differences)


class FillConflict(FactConflict):
    """A fill has the id of a stored fill but different content; the stored fill stays."""

    noun = "fill"
    advice = (
        "Fills are an audit trail: the stored one stays, and nothing of this call was written. A correction is a fill "
        "with its own id: store.fills.correct(id, by=fill, reason=...)."
    )

    @property
    def fill_id(self) -> str:
        """The id of the fill."""
        return self.id


class CashFlowConflict(FactConflict):
    """A cash flow has the id of a stored one but different content; the stored one stays."""

    noun = "cash flow"
    advice = (
        "Cash flows are an audit trail: the stored one stays, and nothing of this call was written. A correction is a "
        "cash flow with its own id: store.cash.correct(id, by=flow, reason=...)."
    )

    @property
    def cash_flow_id(self) -> str:
        """The id of the cash flow."""
        return self.id


class ActionConflict(FactConflict):
    """A corporate action has the id of a stored one but different content; the stored one stays."""

    noun = "corporate action"
    advice = (
        "The stored one stays, and nothing of this call was written. A correction is an action with its own id, "
        "supersedes= and a reason=."
    )

    @property
    def action_id(self) -> str:
        """The id of the corporate action."""
        return self.id


class InstrumentConflict(FactConflict):
    """A symbol has other stored facts from the same time on, and no reason was given for the change."""

    noun = "instrument"
    advice = (
        "Nothing of this call was written. Where the stored facts were wrong, say why: reason='...'; they stay beside "
        "the new ones. Where they changed at some time, give valid_from=."
    )

    @property
    def symbol(self) -> str:
        """The symbol of the instrument."""
        return self.id


class AlreadyCorrected(Conflict):
    """A fact was corrected before; nothing of this call was written.

    Attributes
    ----------
    id : str
        Of the corrected fact.
    corrected_by : str or None
        The id of what stands in its place; None: nothing does.
    """

    def __init__(self, noun: str, fact_id: str, corrected_by: str | None, how: str, advice: str) -> None:
        by = "withdrawn" if corrected_by is None else f"corrected by {corrected_by!r}"
        super().__init__(f"{noun} {fact_id!r} is already {by} ({how}). {advice} Nothing of this call was written.")
        self.id: str = fact_id
        self.corrected_by: str | None = corrected_by


class StaleSnapshot(Conflict):
    """An order snapshot is older than the stored one.

    Attributes
    ----------
    order_id : str
    """

    def __init__(self, order_id: str, reason: str, others: int = 0) -> None:
        more = f" ({others} more snapshots are stale too.)" if others else ""
        super().__init__(f"stale snapshot of order {order_id!r}: {reason}. Nothing of this call was written.{more}")
        self.order_id = order_id


class LostUpdate(Conflict):
    """Somebody else saved this run since it was read.

    Attributes
    ----------
    run_id : str
    given, stored : int
        The revision at which the run was read, and the stored one.
    """

    def __init__(self, run_id: str, given: int, stored: int) -> None:
        start = (
            f"run {run_id!r} is already stored (revision {stored})"
            if given == 0
            else f"run {run_id!r} was saved since: it was read at revision {given}, stored is {stored}"
        )
        super().__init__(
            f"{start}. Go on with what save() returned, or read it again (store.runs.get({run_id!r})), change that "
            "record with dataclasses.replace and save it. A new run has a new id."
        )
        self.run_id: str = run_id
        self.given: int = given
        self.stored: int = stored


class DuplicateKey(Conflict):
    """A value that must be unique is already taken."""


class ConsumerBusy(Conflict):
    """Another live process consumes under this name.

    Attributes
    ----------
    consumer_id : str
    """

    def __init__(self, consumer_id: str, holder: str) -> None:
        super().__init__(
            f"consumer {consumer_id!r} is run by {holder}, which lives. Stop that one first, consume under another "
            "name, or take its place (take_over=True): its next commit then fails."
        )
        self.consumer_id = consumer_id


class ConsumerFenced(Conflict):
    """Another consumer took over this one's name, so nothing was committed; events may be handled twice.

    Attributes
    ----------
    consumer_id : str
    epoch : int
        The epoch of the claim that ended.
    """

    def __init__(self, consumer_id: str, epoch: int) -> None:
        super().__init__(
            f"consumer {consumer_id!r} was taken over by another process (this claim's epoch was {epoch}); nothing was "
            "committed, and the other one goes on from the last commit."
        )
        self.consumer_id: str = consumer_id
        self.epoch: int = epoch


class HandlerFailed(WalleError):
    """A consumer's handler failed on its last allowed attempt; the cause is the handler's own last error.

    Attributes
    ----------
    consumer_id : str
    event : int
        The offset of the event that was not handled; the consumer's committed offset stays before it.
    """

    def __init__(self, consumer_id: str, event: int, event_type: str, tries: int, error: BaseException) -> None:
        times = "once" if tries == 1 else f"{tries} times"
        super().__init__(
            f"consumer {consumer_id!r} stopped before event {event} ({event_type}): its handler failed {times}, last "
            f"with {type(error).__name__}: {str(error)[:1000]}. The event is handled again at the next start; "
            "on_poison='park' would set it aside and go on."
        )
        self.consumer_id: str = consumer_id
        self.event: int = event


class ImmutableRecord(Conflict):
    """The database refused to change or delete a fact."""


class SchemaError(WalleError):
    """The tables in the database are not those that this version of WallE works with."""


class SchemaOutdated(SchemaError):
    """Tables are missing, of an older revision, or of the trading engine's own chain; an upgrade mends that.

    Attributes
    ----------
    revision : str or None
        The revision of the database; None when it has no tables yet.
    """

    def __init__(self, message: str, revision: str | None) -> None:
        super().__init__(message)
        self.revision = revision


class SchemaTooNew(SchemaError):
    """A later WallE wrote the database: its revision is neither this version's nor the trading engine's."""


class NotAWalleStore(SchemaError):
    """The file or database belongs to somebody else; it was not touched."""


class UpgradeRefused(SchemaError):
    """A migration would lose digits, characters or rows, or needs a confirmation."""


class DatabaseError(WalleError):
    """The database failed or refused an operation; the transaction was rolled back."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached or opened."""


class AuthenticationFailed(DatabaseUnavailable):
    """The server refused the user or the password."""


class FileReplaced(DatabaseUnavailable):
    """The file of a SQLite store was replaced, removed or renamed while it was open; the store no longer works.

    Attributes
    ----------
    path : Path
    written : bool
        Whether the call had committed. If so, its changes are in the original file and nowhere else.
    """

    def __init__(self, message: str, path: Path, *, written: bool = False) -> None:
        super().__init__(message)
        self.path: Path = path
        self.written: bool = written


class DatabaseBusy(DatabaseError):
    """Another connection held a lock for longer than the timeout."""


class ReadOnly(DatabaseError):
    """The store was opened read-only, or its file or folder cannot be written."""


class StatementCancelled(DatabaseError):
    """The server cancelled a statement, because of its own time limit or at an administrator's request."""


class StorageFull(DatabaseError):
    """The disk is full; the transaction was rolled back."""


class UnsafeEventSource(DatabaseError):
    """No events are read, because this database could skip some: it is a standby, or its sequence hands out blocks."""


class UnreadableRow(DatabaseError):
    """Another program wrote, or tried to write, a value that its column does not allow; no result was made of it.

    Attributes
    ----------
    rows : list of str
        The first such values: table, column, key of the row and value; empty where only the column is known.
    """

    def __init__(self, message: str, rows: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.rows: list[str] = list(rows)


class PrecisionError(DatabaseError):
    """A stored number has more digits than ``Decimal(38, 18)`` holds; nothing was rounded."""


for _name in __all__:
    globals()[_name].__module__ = "walle"  # a traceback then shows the name under which users import the error
