"""The enumerations of records: one for every column that holds one of a few texts."""

from __future__ import annotations

from enum import StrEnum

__all__ = [
    "OHLCV",
    "PRICES",
    "ActionKind",
    "AdjustedPrices",
    "CashFlowKind",
    "EventKind",
    "InstrumentKind",
    "Liquidity",
    "OrderStatus",
    "OrderType",
    "RunMode",
    "RunStatus",
    "Side",
    "TimeInForce",
]


OHLCV = ("open", "high", "low", "close", "volume")
"""The numbers of a bar."""

PRICES = OHLCV[:4]


class RunMode(StrEnum):
    """The mode of a run: real money, simulated money, or past data."""

    LIVE = "live"
    PAPER = "paper"
    BACKTEST = "backtest"


class RunStatus(StrEnum):
    """The status of a run; ``lost`` means that it was running and its process is gone."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPED = "stopped"
    COMPLETED = "completed"
    ERROR = "error"
    LOST = "lost"

    @property
    def next(self) -> tuple[RunStatus, ...]:
        """The statuses that may follow; empty if this one is final."""
        return _TRANSITIONS[self]


_TRANSITIONS = {
    RunStatus.PENDING: (RunStatus.RUNNING, RunStatus.STOPPED, RunStatus.ERROR),
    RunStatus.RUNNING: (RunStatus.STOPPED, RunStatus.COMPLETED, RunStatus.ERROR, RunStatus.LOST),
    RunStatus.LOST: (RunStatus.RUNNING, RunStatus.STOPPED, RunStatus.ERROR),
    RunStatus.STOPPED: (),
    RunStatus.COMPLETED: (),
    RunStatus.ERROR: (),
}


class AdjustedPrices(StrEnum):
    """What the prices that a run traded on are adjusted for: nothing, splits, or splits and dividends."""

    RAW = "raw"
    SPLITS = "splits"
    ALL = "all"


class InstrumentKind(StrEnum):
    """The kind of an instrument."""

    SPOT = "spot"
    STOCK = "stock"
    ETF = "etf"
    FX = "fx"
    FUTURE = "future"
    PERPETUAL = "perpetual"
    OPTION = "option"
    INDEX = "index"

    @property
    def derivative(self) -> bool:
        """Whether a trade opens a contract that settles in cash, rather than exchanging two assets."""
        return self in (InstrumentKind.FUTURE, InstrumentKind.PERPETUAL)


class ActionKind(StrEnum):
    """The kind of a corporate action."""

    SPLIT = "split"
    DIVIDEND = "dividend"


class CashFlowKind(StrEnum):
    """The kind of a cash flow."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    OPENING = "opening"
    TRANSFER = "transfer"
    CONVERSION = "conversion"
    FUNDING = "funding"
    DIVIDEND = "dividend"
    INTEREST = "interest"
    FEE = "fee"
    REBATE = "rebate"
    ADJUSTMENT = "adjustment"

    @property
    def external(self) -> bool:
        """Whether money enters or leaves the account, which is no profit or loss."""
        return self in (CashFlowKind.DEPOSIT, CashFlowKind.WITHDRAWAL, CashFlowKind.OPENING, CashFlowKind.TRANSFER)


class Side(StrEnum):
    """The direction of an order or fill."""

    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    """How an order is priced."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"


class TimeInForce(StrEnum):
    """How long an order stays in the market."""

    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"


class OrderStatus(StrEnum):
    """The status of an order."""

    PENDING = "pending"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    PARTIAL = "partial"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def terminal(self) -> bool:
        """Whether the status is final: filled, cancelled, rejected or expired."""
        return self in _TERMINAL


_TERMINAL = frozenset({OrderStatus.FILLED, OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED})


class Liquidity(StrEnum):
    """Whether a fill added liquidity (maker) or removed it (taker)."""

    MAKER = "maker"
    TAKER = "taker"


class EventKind(StrEnum):
    """The kind of a message: an event reports what happened, a command requests an action."""

    EVENT = "evt"
    COMMAND = "cmd"
