"""The facts that WallE keeps, as frozen records (events: :mod:`walle.envelope`).

A record is checked when it is made, so every record can be stored. Records that come out of a database are not checked
again, so that reading never fails on a word that another program wrote.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from decimal import Decimal
from enum import StrEnum
from typing import Any, ClassVar, Self

from walle.enums import (
    CALENDAR_TIMEFRAMES,
    OHLCV,
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
    "Fill",
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
            if value is None and name == "liquidity":
                continue
            try:
                self._set(name, kind(value))
            except ValueError:
                raise InputError(f"{self._name(name)}={value!r} is not one of {', '.join(kind)}.") from None

    def _name(self, field_name: str) -> str:
        return f"{type(self).__name__}.{field_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar(Record):
    """One OHLCV bar.

    Parameters
    ----------
    symbol : str
    timeframe : str
        One of :data:`walle.TIMEFRAMES`.
    timestamp : datetime
        The opening time; aware. For ``1d``, ``1w`` and ``1M`` it is the date at midnight, in any zone or none.
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
        if self.timeframe in CALENDAR_TIMEFRAMES and isinstance(opened, datetime) and opened.time() == time():
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

    Raises
    ------
    InputError
        For an unknown word, a naive instant, or a config that is not JSON.
    """

    _enums: ClassVar[Mapping[str, type[StrEnum]]] = {"mode": RunMode, "status": RunStatus}

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

    def __post_init__(self) -> None:
        self._texts(100, "id", "strategy_id")
        self._texts(20, optional=["timeframe"])
        self._words()
        self._instants("created_at", optional=["started_at", "stopped_at", "heartbeat_at"])
        if self.error is not None:
            self._set("error", check_text(self.error, "Run.error", maximum=100_000, empty=True))
        if self.symbols is not None:
            if isinstance(self.symbols, str):
                raise InputError(f"Run.symbols={self.symbols!r} is one text; give a list: [{self.symbols!r}].")
            self._set("symbols", tuple(check_text(s, "Run.symbols", maximum=128) for s in self.symbols))
        if self.config is not None:
            if not isinstance(self.config, Mapping):
                raise InputError(f"Run.config is a {type(self.config).__name__}, not a dict.")
            self._set("config", check_json(self.config, "Run.config"))


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

    Raises
    ------
    InputError
        For an unknown word, a naive instant, a float, or a number that does not fit.
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

    def __post_init__(self) -> None:
        self._texts(100, "id", "client_order_id", "run_id", optional=["exchange_order_id", "error_code"])
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

    Raises
    ------
    InputError
        For an unknown word, a naive instant, a float, or a number that does not fit.
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

    def __post_init__(self) -> None:
        self._texts(100, "id", "order_id", optional=["run_id", "exchange_fill_id"])
        self._texts(128, optional=["symbol"])
        self._texts(20, optional=["commission_currency"])
        self._words()
        self._instants("filled_at")
        self._set("price", check_decimal(self.price, "Fill.price"))
        self._set("quantity", check_decimal(self.quantity, "Fill.quantity", positive=True))
        if self.commission is not None:
            self._set("commission", check_decimal(self.commission, "Fill.commission"))


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
