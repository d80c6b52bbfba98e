"""WallE: a research store for trading backtests.

It keeps bars, orders, fills, cash flows, runs and events in one SQLite file, or in PostgreSQL for a team, and returns
them as Polars frames.

    >>> import walle
    >>> store = walle.connect("research.db")
    >>> store.bars.read("BTC/USD", "1m", "2025-11-20", "2025-11-21")

Each package has a guide, which `help()` shows as well:

| package | its guide |
|---|---|
| `walle.store` | opening a store, the environment, checking it, caring for its file |
| `walle.bars` | files and frames in; frames, coverage and gaps out |
| `walle.fills` | orders and fills, round trips, costs, the audit |
| `walle.instruments` | what symbols are, cash flows, splits and dividends |
| `walle.runs` | runs, equity, figures, results of other engines |
| `walle.events` | the event log, its consumers, and the async core |
| `walle.charts` | charts of frames |
| `walle.widgets` | views in a notebook |
| `walle.cli` | the `walle` command |

A notebook or a script uses `connect` and `Store`. An engine awaits `Database` and the repositories. `walle.errors`
draws the tree of the errors.
"""

from __future__ import annotations

import importlib as _importlib
import sys as _sys
from typing import TYPE_CHECKING
from typing import Any as _Any

from walle.enums import (
    ActionKind,
    AdjustedPrices,
    CashFlowKind,
    EventKind,
    InstrumentKind,
    Liquidity,
    OrderStatus,
    OrderType,
    RunMode,
    RunStatus,
    Side,
    TimeInForce,
)
from walle.envelope import Event
from walle.errors import (
    ActionConflict,
    AlreadyCorrected,
    AuthenticationFailed,
    CashFlowConflict,
    ConfigurationError,
    Conflict,
    ConflictingBars,
    ConsumerBusy,
    ConsumerFenced,
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    DuplicateKey,
    EventTooLarge,
    FactConflict,
    FileReplaced,
    FilesRefused,
    FillConflict,
    HandlerFailed,
    IllegalTransition,
    ImmutableRecord,
    IncompleteBars,
    InputError,
    InstrumentConflict,
    InvalidBars,
    InvalidRows,
    LostUpdate,
    NotAWalleStore,
    NotFound,
    OtherProvider,
    PersistenceUnavailable,
    PrecisionError,
    ReadOnly,
    RescaledBars,
    SchemaError,
    SchemaOutdated,
    SchemaTooNew,
    StaleSnapshot,
    StatementCancelled,
    StorageFull,
    StoreClosed,
    StoreForked,
    UnfinishedBars,
    UnknownAction,
    UnknownCalendar,
    UnknownCashFlow,
    UnknownConsumer,
    UnknownEvent,
    UnknownFill,
    UnknownInstrument,
    UnknownOrder,
    UnknownRun,
    UnknownSymbol,
    UnknownTimeframe,
    UnreadableRow,
    UnsafeEventSource,
    UpgradeRefused,
    WalleError,
)
from walle.notices import (
    AdjustmentWarning,
    ContradictionWarning,
    EmptySeriesWarning,
    MissingCalendarWarning,
    NewStoreWarning,
    NoEffectWarning,
    UnfinishedBarsWarning,
    UnrecordedWarning,
)
from walle.records import BacktestResult, Bar, CashFlow, CorporateAction, Fill, Instrument, Order, Owner, Run
from walle.timeframe import TIMEFRAMES

if TYPE_CHECKING:
    from walle import bars as bars
    from walle import calendars as calendars
    from walle import charts as charts
    from walle import events as events
    from walle import fills as fills
    from walle import frames as frames
    from walle import instruments as instruments
    from walle import runs as runs
    from walle import store as store
    from walle import widgets as widgets
    from walle.bars import IngestReport, fill_gaps, resample
    from walle.config import DatabaseConfig
    from walle.database import Database, close_database, get_database, init_database
    from walle.decimals import to_float, trim_zeros
    from walle.events import Consumer, EventLog, OffsetStore, PullConsumer, ResetReport
    from walle.fills import WriteReport
    from walle.repositories import (
        BacktestResultRepository,
        BarRepository,
        CashFlowRepository,
        CorporateActionRepository,
        FillRepository,
        InstrumentRepository,
        OrderRepository,
        RunRepository,
    )
    from walle.runs import Results, RunReport, from_backtesting
    from walle.store import Store, StoreStatus, connect, upgrade

__version__ = "0.1.0"
__docformat__ = "numpy"

__all__ = [
    "TIMEFRAMES",
    "ActionConflict",
    "ActionKind",
    "AdjustedPrices",
    "AdjustmentWarning",
    "AlreadyCorrected",
    "AuthenticationFailed",
    "BacktestResult",
    "BacktestResultRepository",
    "Bar",
    "BarRepository",
    "CashFlow",
    "CashFlowConflict",
    "CashFlowKind",
    "CashFlowRepository",
    "ConfigurationError",
    "Conflict",
    "ConflictingBars",
    "Consumer",
    "ConsumerBusy",
    "ConsumerFenced",
    "ContradictionWarning",
    "CorporateAction",
    "CorporateActionRepository",
    "Database",
    "DatabaseBusy",
    "DatabaseConfig",
    "DatabaseError",
    "DatabaseUnavailable",
    "DuplicateKey",
    "EmptySeriesWarning",
    "Event",
    "EventKind",
    "EventLog",
    "EventTooLarge",
    "FactConflict",
    "FileReplaced",
    "FilesRefused",
    "Fill",
    "FillConflict",
    "FillRepository",
    "HandlerFailed",
    "IllegalTransition",
    "ImmutableRecord",
    "IncompleteBars",
    "IngestReport",
    "InputError",
    "Instrument",
    "InstrumentConflict",
    "InstrumentKind",
    "InstrumentRepository",
    "InvalidBars",
    "InvalidRows",
    "Liquidity",
    "LostUpdate",
    "MissingCalendarWarning",
    "NewStoreWarning",
    "NoEffectWarning",
    "NotAWalleStore",
    "NotFound",
    "OffsetStore",
    "Order",
    "OrderRepository",
    "OrderStatus",
    "OrderType",
    "OtherProvider",
    "Owner",
    "PersistenceUnavailable",
    "PrecisionError",
    "PullConsumer",
    "ReadOnly",
    "RescaledBars",
    "ResetReport",
    "Results",
    "Run",
    "RunMode",
    "RunReport",
    "RunRepository",
    "RunStatus",
    "SchemaError",
    "SchemaOutdated",
    "SchemaTooNew",
    "Side",
    "StaleSnapshot",
    "StatementCancelled",
    "StorageFull",
    "Store",
    "StoreClosed",
    "StoreForked",
    "StoreStatus",
    "TimeInForce",
    "UnfinishedBars",
    "UnfinishedBarsWarning",
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
    "UnrecordedWarning",
    "UnsafeEventSource",
    "UpgradeRefused",
    "WalleError",
    "WriteReport",
    "close_database",
    "connect",
    "fill_gaps",
    "from_backtesting",
    "get_database",
    "init_database",
    "resample",
    "to_float",
    "trim_zeros",
    "upgrade",
]

_NAMES = {
    "walle.bars": ("IngestReport", "fill_gaps", "resample"),
    "walle.config": ("DatabaseConfig",),
    "walle.database": ("Database", "close_database", "get_database", "init_database"),
    "walle.decimals": ("to_float", "trim_zeros"),
    "walle.events": ("Consumer", "EventLog", "OffsetStore", "PullConsumer", "ResetReport"),
    "walle.fills": ("WriteReport",),
    "walle.repositories": (
        "BacktestResultRepository",
        "BarRepository",
        "CashFlowRepository",
        "CorporateActionRepository",
        "FillRepository",
        "InstrumentRepository",
        "OrderRepository",
        "RunRepository",
    ),
    "walle.runs": ("Results", "RunReport", "from_backtesting"),
    "walle.store": ("Store", "StoreStatus", "connect", "upgrade"),
}
_LATER = {name: module for module, names in _NAMES.items() for name in names}
"""Where the names lie that need Polars or SQLAlchemy: they are imported when they are asked for."""

_PACKAGES = (
    "bars",
    "calendars",
    "charts",
    "errors",
    "events",
    "fills",
    "frames",
    "instruments",
    "runs",
    "store",
    "widgets",
)
"""What ``walle`` has beside its names; modules are imported when they are asked for, too."""


if not TYPE_CHECKING:  # to a type checker, a module with this function has every name

    def __getattr__(name: str) -> _Any:
        if name in _LATER:
            value = globals()[name] = getattr(_importlib.import_module(_LATER[name]), name)
            return value
        if not name.startswith("_"):
            try:
                return _importlib.import_module(f"walle.{name}")
            except ModuleNotFoundError as error:
                if error.name != f"walle.{name}":
                    raise  # of an extra that is not installed
        raise AttributeError(f"module 'walle' has no attribute {name!r}", name=name, obj=_sys.modules[__name__])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES} - {"TYPE_CHECKING", "annotations"})
