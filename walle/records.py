"""The facts that WallE keeps, as frozen records (events: :mod:`walle.envelope`).

A record is checked when it is made, so every record can be stored. Records that come out of a database are not checked
again, so that reading never fails on a word that another program wrote.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Self

from walle.enums import (
    OHLCV,
    ActionKind,
    AdjustedPrices,
    CashFlowKind,
    InstrumentKind,
    Liquidity,
    OrderStatus,
    OrderType,
    RunMode,
    RunStatus,
    Side,
    TimeInForce,
)
from walle.errors import InputError
from walle.validation import check_decimal, check_instant, check_json, check_text

__all__ = [
    "BacktestResult",
    "Bar",
    "CashFlow",
    "CorporateAction",
    "Fill",
    "Instrument",
    "Order",
    "Owner",
    "Record",
    "Run",
]


class Record:
    """The base of all records: it checks fields, and makes a record from a stored row without checking it."""

    __slots__ = ()
    _enums: ClassVar[Mapping[str, type[StrEnum]]] = {}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Make a record from a stored row; an unknown word stays a text, and a missing column becomes None."""
        record = object.__new__(cls)
        for item in dataclasses.fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
            value = row.get(item.name)
            known = cls._enums.get(item.name)
            if known is not None and isinstance(value, str) and value in set(known):
                value = known(value)
            object.__setattr__(record, item.name, value)
        return record

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _texts(self, maximum: int, *names: str, optional: Sequence[str] = ()) -> None:
        for name in (*names, *optional):
            value = getattr(self, name)
            if value is not None or name in names:
                self._set(name, check_text(value, self._name(name), maximum=maximum))

    def _instants(self, *names: str, optional: Sequence[str] = ()) -> None:
        for name in (*names, *optional):
            value = getattr(self, name)
            if value is not None or name in names:
                self._set(name, check_instant(value, self._name(name)))

    def _words(self) -> None:
        for name, kind in self._enums.items():
            value = getattr(self, name)
            if (value is None and name in ("liquidity", "prices")) or (value is None and type(self) is Instrument):
                continue
            try:
                self._set(name, kind(value))
            except ValueError:
                raise InputError(f"{self._name(name)}={value!r} is not one of {', '.join(kind)}.") from None

    def _object(self, name: str) -> None:
        value = getattr(self, name)
        if value is None:
            return
        if not isinstance(value, Mapping):
            raise InputError(f"{self._name(name)} is a {type(value).__name__}, not a dict.")
        self._set(name, check_json(value, self._name(name)))

    def _name(self, field_name: str) -> str:
        return f"{type(self).__name__}.{field_name}"


_DATED = ("d", "w", "M")
"""The units of timeframes whose bars carry dates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar(Record):
    """One OHLCV bar.

    Parameters
    ----------
    symbol : str
    timeframe : str
        One of :data:`walle.TIMEFRAMES`.
    timestamp : datetime
        The opening time; aware. For days, weeks and months it is the date at midnight, in any zone or none.
    open, high, low, close : float
        Finite, ``low <= open, close <= high``.
    volume : float
        Finite, 0 or above.

    Raises
    ------
    InputError
        For a naive timestamp, or numbers that do not make a bar.
    """

    symbol: str
    timeframe: str
    timestamp: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float

    def __post_init__(self) -> None:
        self._texts(128, "symbol")
        self._texts(8, "timeframe")
        opened = self.timestamp
        if self.timeframe[-1:] in _DATED and isinstance(opened, datetime) and opened.time() == time():
            self._set("timestamp", datetime(opened.year, opened.month, opened.day, tzinfo=UTC))
        self._instants("timestamp")
        for name in OHLCV:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"{self._name(name)}={value!r} is not a finite number.")
            self._set(name, float(value))
        if not self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise InputError(
                f"Bar at {self.timestamp.isoformat()}: low={self.low}, open={self.open}, close={self.close}, "
                f"high={self.high}; a bar has low <= open, close <= high."
            )
        if self.volume < 0:
            raise InputError(f"Bar.volume={self.volume} is below 0.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """The process that executes a run.

    Parameters
    ----------
    host : str
    pid : int
    started : float
        The start of the process in seconds since 1970 UTC, by the clock at that time.
    ticks : int, optional
        The start of the process as the kernel counts it, which no change of the clock affects; it tells the process
        from a later one with the same pid.
    boot, machine, namespace : str, optional
        Where that pid is valid: the boot of the machine, the machine, and the container.
    """

    host: str
    pid: int
    started: float
    ticks: int | None = None
    boot: str | None = None
    machine: str | None = None
    namespace: str | None = None

    @classmethod
    def of(cls, stored: object) -> Self | None:
        """Make an owner from a stored value, without unknown members; None if the value names no process."""
        if not isinstance(stored, Mapping) or not {"host", "pid", "started"} <= stored.keys():
            return None
        return cls(**{item.name: stored[item.name] for item in dataclasses.fields(cls) if item.name in stored})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(Record):
    """One run of a strategy.

    Parameters
    ----------
    id : str
        At most 100 characters.
    strategy_id : str
    mode : RunMode
        ``live``, ``paper`` or ``backtest``.
    status : RunStatus
        ``pending``, ``running``, ``stopped``, ``completed``, ``error`` or ``lost``.
    symbols : tuple of str, optional
    timeframe : str, optional
        Where one of the two is None, a read takes the value of the same name in ``config``, if that is a list of texts
        or a text: the trading engine keeps them there.
    config : dict, optional
        The parameters, as JSON.
    error : str, optional
    created_at : datetime
        Aware; now by default.
    started_at, stopped_at, heartbeat_at : datetime, optional
    owner : Owner, optional
        Written by the store when the run becomes ``running``.
    revision : int
        How often the run was saved; 0 before the first save. A save with an old revision raises ``LostUpdate``.
    account : str, optional
    prices : AdjustedPrices, optional
        What the prices that it traded on are adjusted for: ``raw`` (nothing), ``splits``, or ``all`` (splits and
        dividends). None: unknown. The stored bars, which mark it, have to be adjusted for the same.

    Raises
    ------
    InputError
        For an unknown word, a naive instant, or a config that is not JSON.
    """

    _enums: ClassVar[Mapping[str, type[StrEnum]]] = {"mode": RunMode, "status": RunStatus, "prices": AdjustedPrices}

    id: str
    strategy_id: str
    mode: RunMode | str
    status: RunStatus | str = RunStatus.PENDING
    symbols: tuple[str, ...] | None = None
    timeframe: str | None = None
    config: dict[str, Any] | None = None
    error: str | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    heartbeat_at: datetime | None = None
    owner: Owner | None = None
    revision: int = 0
    account: str | None = None
    prices: AdjustedPrices | str | None = None

    def __post_init__(self) -> None:
        self._texts(100, "id", "strategy_id", optional=["account"])
        self._texts(20, optional=["timeframe"])
        self._words()
        self._instants("created_at", optional=["started_at", "stopped_at", "heartbeat_at"])
        if self.error is not None:
            self._set("error", check_text(self.error, "Run.error", maximum=100_000, empty=True))
        if self.symbols is not None:
            if isinstance(self.symbols, str):
                raise InputError(f"Run.symbols={self.symbols!r} is one text; give a list: [{self.symbols!r}].")
            self._set("symbols", tuple(check_text(s, "Run.symbols", maximum=128) for s in self.symbols))
        self._object("config")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order(Record):
    """A snapshot of one order.

    Parameters
    ----------
    id, client_order_id : str
        At most 100 characters; each unique.
    exchange_order_id : str, optional
    run_id, symbol : str
    side, order_type, time_in_force, status
        Words of :class:`Side`, :class:`OrderType`, :class:`TimeInForce` and :class:`OrderStatus`.
    qty, filled_qty : Decimal
        In units of the symbol; at most 20 integer digits and 18 places.
    limit_price, stop_price, filled_avg_price : Decimal, optional
        In the quote currency.
    created_at : datetime
        Aware.
    submitted_at, filled_at, cancelled_at : datetime, optional
    reject_reason, error_code : str, optional
    account : str, optional
    extra : dict, optional
        What an engine or a venue says beside it, as JSON.

    Raises
    ------
    InputError
        For an unknown word, a naive instant, a float, a number that does not fit, or an ``extra`` that is no JSON
        object.
    """

    _enums: ClassVar[Mapping[str, type[StrEnum]]] = {
        "side": Side,
        "order_type": OrderType,
        "time_in_force": TimeInForce,
        "status": OrderStatus,
    }

    id: str
    client_order_id: str
    exchange_order_id: str | None = None
    run_id: str
    symbol: str
    side: Side | str
    order_type: OrderType | str
    qty: Decimal
    limit_price: Decimal | None = None
    stop_price: Decimal | None = None
    time_in_force: TimeInForce | str = TimeInForce.GTC
    status: OrderStatus | str = OrderStatus.PENDING
    filled_qty: Decimal = Decimal(0)
    filled_avg_price: Decimal | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    submitted_at: datetime | None = None
    filled_at: datetime | None = None
    cancelled_at: datetime | None = None
    reject_reason: str | None = None
    error_code: str | None = None
    account: str | None = None
    extra: dict[str, Any] | None = field(default=None, hash=False)  # a dict has no hash

    def __post_init__(self) -> None:
        self._texts(100, "id", "client_order_id", "run_id", optional=["exchange_order_id", "error_code", "account"])
        self._texts(128, "symbol")
        if self.reject_reason is not None:
            check_text(self.reject_reason, "Order.reject_reason", maximum=10_000, empty=True)
        self._words()
        self._instants("created_at", optional=["submitted_at", "filled_at", "cancelled_at"])
        self._set("qty", check_decimal(self.qty, "Order.qty", positive=True))
        self._set("filled_qty", check_decimal(self.filled_qty, "Order.filled_qty", minimum=0))
        for name in ("limit_price", "stop_price", "filled_avg_price"):
            if getattr(self, name) is not None:
                self._set(name, check_decimal(getattr(self, name), self._name(name)))
        self._object("extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill(Record):
    """One execution of an order; it never changes.

    Parameters
    ----------
    id : str
        At most 100 characters; unique.
    order_id : str
    run_id : str, optional
        Where it is None, the fill belongs to the run of its order.
    symbol : str, optional
    side : Side
    price : Decimal
        In the quote currency.
    quantity : Decimal
        In units of the symbol, above 0.
    commission : Decimal, optional
        In ``commission_currency``; negative for a rebate.
    commission_currency : str, optional
    liquidity : Liquidity, optional
    filled_at : datetime
        Aware.
    exchange_fill_id : str, optional
    sequence : int, optional
        Orders fills of one instant; at least 0. None: the store numbers fills in the order in which they arrive. Two
        fills that differ only in it are equal.
    account : str, optional
    extra : dict, optional
        What an engine or a venue says beside it, as JSON.

    Raises
    ------
    InputError
        For an unknown word, a naive instant, a float, a number that does not fit, or an ``extra`` that is no JSON
        object.
    """

    _enums: ClassVar[Mapping[str, type[StrEnum]]] = {"side": Side, "liquidity": Liquidity}

    id: str
    order_id: str
    run_id: str | None = None
    symbol: str | None = None
    side: Side | str
    price: Decimal
    quantity: Decimal
    commission: Decimal | None = None
    commission_currency: str | None = None
    liquidity: Liquidity | str | None = None
    filled_at: datetime
    exchange_fill_id: str | None = None
    sequence: int | None = field(default=None, compare=False)
    account: str | None = None
    extra: dict[str, Any] | None = field(default=None, hash=False)  # a dict has no hash

    def __post_init__(self) -> None:
        self._texts(100, "id", "order_id", optional=["run_id", "exchange_fill_id", "account"])
        self._texts(128, optional=["symbol"])
        self._texts(20, optional=["commission_currency"])
        self._words()
        self._instants("filled_at")
        self._set("price", check_decimal(self.price, "Fill.price"))
        self._set("quantity", check_decimal(self.quantity, "Fill.quantity", positive=True))
        if self.commission is not None:
            self._set("commission", check_decimal(self.commission, "Fill.commission"))
        place = self.sequence
        if place is not None and (isinstance(place, bool) or not isinstance(place, int) or not 0 <= place <= 2**62):
            raise InputError(f"Fill.sequence={place!r} is not a whole number from 0 to 2^62.")
        self._object("extra")


@dataclass(frozen=True, slots=True, kw_only=True)
class CashFlow(Record):
    """One movement of cash that is no trade; it never changes.

    Parameters
    ----------
    id : str
        At most 100 characters; unique.
    time : datetime
        Aware.
    kind : CashFlowKind
        ``deposit``, ``withdrawal``, ``opening`` (what an account held at first), ``transfer``, ``conversion``,
        ``funding``, ``dividend``, ``interest``, ``fee``, ``rebate`` or ``adjustment``.
    amount : Decimal
        In ``currency``; above 0 for what the account receives, below 0 for what it pays.
    currency : str
    run_id, account : str, optional
    symbol : str, optional
        What it was paid for, such as the stock of a dividend.
    action_id : str, optional
        The corporate action that it was paid for; it stands in the place of what would be derived from that action.
    reference : str, optional
        The broker's own.

    Raises
    ------
    InputError
        For an unknown word, a naive instant, a float, a number that does not fit, or an amount whose sign its kind
        contradicts.
    """

    _enums: ClassVar[Mapping[str, type[StrEnum]]] = {"kind": CashFlowKind}

    id: str
    time: datetime
    kind: CashFlowKind | str
    amount: Decimal
    currency: str
    run_id: str | None = None
    account: str | None = None
    symbol: str | None = None
    action_id: str | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        self._texts(100, "id", optional=["run_id", "account", "action_id", "reference"])
        self._texts(20, "currency")
        self._texts(128, optional=["symbol"])
        self._words()
        self._instants("time")
        self._set("amount", check_decimal(self.amount, "CashFlow.amount"))
        sign = {CashFlowKind.DEPOSIT: 1, CashFlowKind.WITHDRAWAL: -1}.get(CashFlowKind(self.kind), 0)
        if self.amount * sign < 0:
            raise InputError(
                f"CashFlow.amount={self.amount} of a {self.kind}: a deposit is above 0, a withdrawal below 0."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument(Record):
    """What a symbol is, from a time on; None where that is unknown.

    Parameters
    ----------
    symbol : str
    kind : InstrumentKind, optional
        ``spot``, ``stock``, ``etf``, ``fx``, ``future``, ``perpetual``, ``option`` or ``index``.
    base, quote : str, optional
        What is traded, and the currency of its prices.
    settle : str, optional
        The currency of its profits and losses; ``quote`` by default, for an inverse contract ``base``.
    multiplier : Decimal, optional
        Units of the base for one of ``Fill.quantity`` (for an inverse contract: units of the quote currency); above 0.
    inverse : bool
        Whether the profit of a contract is ``quantity * multiplier * (1 / entry - 1 / exit)``, paid in the base.
    tick_size, lot_size : Decimal, optional
        The steps of prices and quantities; above 0.
    expires_at : datetime, optional
        Aware. The audit asks for it; a position that is held then is settled by a fill at that instant.
    venue : str, optional
    aliases : tuple of str
        Other names of the symbol.
    valid_from : datetime, optional
        Aware; from when on these facts hold. None: always.

    Raises
    ------
    InputError
        For an unknown word, a naive instant, a float, or a number that is not above 0.
    """

    _enums: ClassVar[Mapping[str, type[StrEnum]]] = {"kind": InstrumentKind}

    symbol: str
    kind: InstrumentKind | str | None = None
    base: str | None = None
    quote: str | None = None
    settle: str | None = None
    multiplier: Decimal | None = None
    inverse: bool = False
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    expires_at: datetime | None = None
    venue: str | None = None
    aliases: tuple[str, ...] = ()
    valid_from: datetime | None = None

    def __post_init__(self) -> None:
        self._texts(128, "symbol")
        self._texts(20, optional=["base", "quote", "settle"])
        self._texts(100, optional=["venue"])
        self._words()
        self._instants(optional=["expires_at", "valid_from"])
        if not isinstance(self.inverse, bool):
            raise InputError(f"Instrument.inverse={self.inverse!r} is neither True nor False.")
        for name in ("multiplier", "tick_size", "lot_size"):
            value = getattr(self, name)
            if value is not None:
                self._set(name, check_decimal(value, self._name(name), positive=True))
        if isinstance(self.aliases, str) or not isinstance(self.aliases, Sequence):
            raise InputError(f"Instrument.aliases={self.aliases!r} is no list of names, such as ['XBT/USD'].")
        self._set("aliases", tuple(check_text(s, "Instrument.aliases", maximum=128) for s in self.aliases))
        if self.settle is None:
            self._set("settle", self.base if self.inverse else self.quote)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorporateAction(Record):
    """A split or a dividend of a stock; it never changes.

    Parameters
    ----------
    id : str
        At most 100 characters; unique.
    symbol : str
    kind : ActionKind
        ``split`` or ``dividend``.
    ex_date : date or datetime
        The first session without the right to it; kept as that date at 00:00 UTC.
    ratio : Decimal, optional
        Of a split: new shares for an old one, such as 4 for a 4:1 split; above 0.
    amount : Decimal, optional
        Of a dividend: for a share; above 0.
    currency : str, optional
        Of a dividend.
    announced_at : datetime, optional
        Aware; by the source.
    source : str, optional
    supersedes : str, optional
        The id of the action that this one corrects.
    reason : str, optional
        Why it was corrected.

    Raises
    ------
    InputError
        For an unknown word, a naive instant, a split without a ratio above 0, a dividend without an amount above 0 and
        a currency, or a correction without a reason.
    """

    _enums: ClassVar[Mapping[str, type[StrEnum]]] = {"kind": ActionKind}

    id: str
    symbol: str
    kind: ActionKind | str
    ex_date: date
    ratio: Decimal | None = None
    amount: Decimal | None = None
    currency: str | None = None
    announced_at: datetime | None = None
    source: str | None = None
    supersedes: str | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        self._texts(100, "id", optional=["source", "supersedes"])
        self._texts(128, "symbol")
        self._texts(20, optional=["currency"])
        self._texts(10_000, optional=["reason"])
        self._words()
        if isinstance(self.ex_date, date):  # a datetime is one, too: the exchange's own date, in whatever zone
            self._set("ex_date", datetime(self.ex_date.year, self.ex_date.month, self.ex_date.day, tzinfo=UTC))
        else:
            raise InputError(f"CorporateAction.ex_date={self.ex_date!r} is not a date: give date(2025, 8, 29).")
        self._instants("ex_date", optional=["announced_at"])
        wanted, other = ("ratio", "amount") if self.kind == ActionKind.SPLIT else ("amount", "ratio")
        if getattr(self, wanted) is None or getattr(self, other) is not None:
            raise InputError(f"a {self.kind} has {wanted}=, and no {other}=: {self!r}.")
        self._set(wanted, check_decimal(getattr(self, wanted), self._name(wanted), positive=True))
        if self.kind == ActionKind.DIVIDEND and self.currency is None:
            raise InputError(f"a dividend has a currency=: {self!r}.")
        if self.supersedes is not None and self.reason is None:
            raise InputError(f"an action that supersedes {self.supersedes!r} has a reason=.")


@dataclass(frozen=True, slots=True, kw_only=True)
class BacktestResult(Record):
    """The result that an engine reports for one backtest.

    Parameters
    ----------
    run_id : str
        At most 100 characters; a run has one result.
    start_time, end_time : datetime
        Aware; the first and last moment of the simulated time.
    timeframe : str
    symbols : tuple of str
    final_equity : Decimal
        A text that is not a number, in a row that another program wrote, stays a text.
    simulation_duration_ms, total_bars_processed : int
        From 0 to 2,147,483,647.
    stats : dict
        As JSON, like the two lists.
    equity_curve, fills : list
    created_at : datetime, optional
        Aware; None stands for the database's time of the save.

    Raises
    ------
    InputError
        For a naive instant, a float as final_equity, or a value that is not JSON.
    """

    run_id: str
    start_time: datetime
    end_time: datetime
    timeframe: str
    symbols: tuple[str, ...]
    final_equity: Decimal | str
    simulation_duration_ms: int = 0
    total_bars_processed: int = 0
    stats: dict[str, Any] = field(default_factory=dict)
    equity_curve: list[Any] = field(default_factory=list)
    fills: list[Any] = field(default_factory=list)
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        self._texts(100, "run_id")
        self._texts(20, "timeframe")
        self._instants("start_time", "end_time", optional=["created_at"])
        if self.end_time < self.start_time:
            raise InputError(f"BacktestResult.end_time={self.end_time} is before start_time={self.start_time}.")
        if isinstance(self.symbols, str) or not isinstance(self.symbols, Sequence):
            raise InputError(f"BacktestResult.symbols={self.symbols!r} is no list of symbols, such as ['BTC/USD'].")
        self._set("symbols", tuple(check_text(s, "BacktestResult.symbols", maximum=128) for s in self.symbols))
        self._set("final_equity", check_decimal(self.final_equity, "BacktestResult.final_equity"))
        for name in ("simulation_duration_ms", "total_bars_processed"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
                raise InputError(f"{self._name(name)}={value!r} is not a whole number from 0 to 2,147,483,647.")
        for name, kind in (("stats", dict), ("equity_curve", list), ("fills", list)):
            value = getattr(self, name)
            if not isinstance(value, kind):
                raise InputError(f"{self._name(name)} is a {type(value).__name__}, not a {kind.__name__}.")
            self._set(name, check_json(value, self._name(name)))
