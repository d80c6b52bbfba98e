"""What the rules of the audit examine: fills, orders, bars and events, and the thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property

import polars as pl

from walle.errors import InputError
from walle.exact import Exact
from walle.fills.market import Markets
from walle.fills.order_events import ORDER_EVENTS
from walle.frames import DECIMAL, FILL_ORDER, INSTANT, ORDERS
from walle.instruments import facts_of, own_fills

__all__ = ["HOLDINGS", "INSTRUMENTS", "Evidence", "Thresholds"]

INSTRUMENTS = pl.Schema(
    {
        "symbol": pl.String(),
        "valid_from": INSTANT,
        **{name: pl.String() for name in ("kind", "base", "quote", "settle")},
        **dict.fromkeys(("multiplier", "tick_size", "lot_size"), DECIMAL),
        "inverse": pl.Boolean(),
        "expires_at": INSTANT,
        "aliases": pl.List(pl.String()),
    }
)
"""One row is what is known of a symbol from ``valid_from`` on (null: always): the currencies, the steps of prices and
quantities, when it expires, and its other names. All but the symbol may be null."""

HOLDINGS = pl.Schema({"run_id": pl.String(), "currency": pl.String()})
"""One row is a currency that a run holds."""

_NAMED = r"^([^/]+)/([^:]+)(?::([^-]+))?"
_ALWAYS = datetime(1, 1, 1, tzinfo=UTC)
_INSTRUMENTED = ("tick_size", "lot_size", "expires_at")

_BAR = ("low", "high", "volume")
_BARRED = {
    **dict.fromkeys(_BAR, DECIMAL),
    **{f"ended_{name}": DECIMAL for name in _BAR},
    **dict.fromkeys(("gap", "closed", "covered"), pl.Boolean()),
    "step": pl.Duration("us"),
}
_SHARES = ("price_tolerance", "average_tolerance", "max_volume_share", "max_commission_rate", "max_fee_ratio")
_SPANS = ("time_tolerance", "session_tolerance", "clock_skew", "max_ioc_delay")
_COUNTS = ("min_peers", "min_extreme_fills")


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The thresholds of the rules.

    Parameters
    ----------
    price_tolerance : Decimal
        The allowed difference between an order's average price and that of its fills, because engines round it.
    average_tolerance : Decimal
        The largest share of the price by which an average may be off that was rounded at its own last place (at the
        second, where it has fewer), as brokers do; 0.001 is a tenth of one per cent.
    max_volume_share : Decimal
        The largest allowed share of a fill in its bar's volume; 1 is all of it.
    max_commission_rate : Decimal
        The largest allowed commission as a share of the notional; 0.01 is one per cent.
    max_fee_ratio : Decimal
        The smallest multiple of its peers' commission that is an outlier.
    time_tolerance : timedelta
        The allowed difference between times of an order and of its fills, because programs round times differently.
    session_tolerance : timedelta
        How long after the close of a session a fill may stand: closing auctions are stamped at the close and after it.
    clock_skew : timedelta
        How far a time may be in the future of this computer's clock.
    max_ioc_delay : timedelta
        How long after its submission an immediate order may be filled, or a bar of its symbol, whichever is longer.
    min_peers : int
        The smallest number of commissions in a group for its outliers to be told.
    min_extreme_fills : int
        The smallest number of fills of a run for telling that all are at the extremes of their bars.
    """

    price_tolerance: Decimal = Decimal("0.00000001")
    average_tolerance: Decimal = Decimal("0.001")
    max_volume_share: Decimal = Decimal("0.5")
    max_commission_rate: Decimal = Decimal("0.01")
    max_fee_ratio: Decimal = Decimal(10)
    time_tolerance: timedelta = timedelta(milliseconds=1)
    session_tolerance: timedelta = timedelta(seconds=1)
    clock_skew: timedelta = timedelta(seconds=5)
    max_ioc_delay: timedelta = timedelta(seconds=10)
    min_peers: int = 5
    min_extreme_fills: int = 10

    def __post_init__(self) -> None:
        """Raise unless every threshold is valid.

        Raises
        ------
        InputError
        """
        for name in _SHARES:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, Decimal | int):
                raise InputError(f"{name}={value!r} is no exact number: give a Decimal, such as Decimal('0.01').")
            if not Decimal(value).is_finite() or value < 0:
                raise InputError(f"{name}={value!r}: it must be at least 0.")
        for name in _SPANS:
            value = getattr(self, name)
            if not isinstance(value, timedelta):
                raise InputError(
                    f"{name}={value!r} is no span of time: give a timedelta, such as timedelta(seconds=1)."
                )
            if value < timedelta(0):
                raise InputError(f"{name}={value!r}: it must be at least 0.")
        for name in _COUNTS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}={value!r}: give a whole number from 1 on.")


@dataclass(frozen=True)
class Evidence:
    """The data that a rule examines.

    Parameters
    ----------
    fills, orders : polars.DataFrame
        Columns of :data:`walle.frames.FILLS` and :data:`walle.frames.ORDERS`. A fill that was written without a run or
        a symbol has those of its order.
    markets : mapping of symbol to Market
    thresholds : Thresholds
    events : polars.DataFrame
        What events tell of these orders and fills: columns of :data:`walle.fills.order_events.ORDER_EVENTS`, sorted by
        offset.
    now : datetime
        The time of the audit.
    instruments : polars.DataFrame
        What is known of symbols: columns of :data:`INSTRUMENTS`, in the order in which it was recorded.
    holdings : polars.DataFrame
        run_id, currency: what runs hold besides what they trade.
    """

    fills: pl.DataFrame
    orders: pl.DataFrame
    markets: Markets = field(default_factory=dict)
    thresholds: Thresholds = field(default_factory=Thresholds)
    events: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=ORDER_EVENTS))
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    instruments: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=INSTRUMENTS))
    holdings: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=HOLDINGS))

    def __post_init__(self) -> None:
        """Add the columns that a frame of instruments lacks, as nulls."""
        given = self.instruments
        lacking = [pl.lit(None, kind).alias(name) for name, kind in INSTRUMENTS.items() if name not in given.columns]
        whole = given.with_columns(lacking).select(list(INSTRUMENTS)).cast(INSTRUMENTS)
        object.__setattr__(self, "instruments", whole)

    @cached_property
    def known(self) -> pl.DataFrame:
        """The fills whose order is stored, with the order's columns under names that begin with ``order_``."""
        named = {name: f"order_{name}" for name in ORDERS if name != "id"}
        return self.fills.join(self.orders.rename(named, strict=False), left_on="order_id", right_on="id", how="inner")

    @cached_property
    def instrumented(self) -> pl.DataFrame:
        """The fills whose instrument is known, with its tick_size, lot_size and expires_at as valid at their time."""
        facts = self.instruments.select("symbol", *_INSTRUMENTED, filled_at=pl.col("valid_from").fill_null(_ALWAYS))
        facts = facts.unique(["symbol", "filled_at"], keep="last", maintain_order=True).sort("filled_at")
        known = self.fills.filter(pl.col("symbol").is_in(facts["symbol"].implode()))
        return known.sort("filled_at").join_asof(facts, on="filled_at", by="symbol", check_sortedness=False)

    @cached_property
    def own(self) -> pl.DataFrame:
        """The fills with the facts about their symbols, see :func:`walle.instruments.own_fills`."""
        return own_fills(self.fills, facts_of(self.fills, self.instruments))

    @cached_property
    def currencies(self) -> pl.DataFrame:
        """The currencies of each symbol: its base, quote and settlement, as instruments or the symbol itself say."""
        names = self.fills.select(pl.col("symbol").drop_nulls().unique())
        parts = pl.col("symbol").str.extract_groups(_NAMED).struct.unnest()
        said = names.select("symbol", parts).unpivot(index="symbol", value_name="currency")
        told = self.instruments.unpivot(["base", "quote", "settle"], index="symbol", value_name="currency")
        told = told.join(names, on="symbol", how="semi")
        return pl.concat([said, told]).select("symbol", "currency").drop_nulls().unique()

    @cached_property
    def unordered(self) -> pl.DataFrame:
        """The fills whose order is not stored, and ``whole``: whether no order is stored of any fill of the run."""
        alone = self.fills.join(self.orders.select("id"), left_on="order_id", right_on="id", how="anti")
        if alone.is_empty():
            return alone.with_columns(whole=pl.lit(True))
        counts = self.fills.group_by("run_id").agg(fills=pl.len())
        ordered = self.orders["run_id"].unique().implode()
        per_run = alone.group_by("run_id").agg(alone=pl.len()).join(counts, on="run_id", nulls_equal=True)
        lone = (pl.col("alone") == pl.col("fills")) & ~pl.col("run_id").is_in(ordered).fill_null(False)
        judged = per_run.select("run_id", whole=lone)
        return alone.join(judged, on="run_id", how="left", nulls_equal=True, maintain_order="left")

    @cached_property
    def coinciding(self) -> pl.DataFrame:
        """The fills that share their time, symbol, price and quantity with another, in order."""
        same = self.fills.filter(pl.col("filled_at").is_duplicated())
        return same.filter(pl.struct("filled_at", "symbol", "price", "quantity").is_duplicated()).sort(*FILL_ORDER)

    @cached_property
    def sums(self) -> pl.DataFrame:
        """The orders that have fills: their columns, and ``fills`` (the count), ``filled`` and ``average`` of these."""
        numbers = self.orders.select(order_id="id").with_row_index("_n")
        mine = self.fills.select("order_id", "quantity", "price", "filled_at").join(numbers, on="order_id")
        size, count = Exact.of(mine["quantity"]), self.orders.height
        total = size.sum_by(mine["_n"], count)
        paid = (size * Exact.of(mine["price"])).sum_by(mine["_n"], count)
        per_order = mine.group_by("_n").agg(fills=pl.len(), last=pl.col("filled_at").max())
        joined = numbers.join(per_order, on="_n", how="left", maintain_order="left")
        return self.orders.with_columns(
            joined["fills"].fill_null(0).cast(pl.Int64),
            joined["last"],
            total.decimal("filled"),
            paid.over(total, "average"),
        ).filter(pl.col("fills") > 0)

    @cached_property
    def barred(self) -> pl.DataFrame:
        """The fills of symbols with bars, and what these say.

        low, high, volume (Decimal) are those of the bar in which the fill lies; where there is none, of the bar that
        ended at that instant. ended_low, ended_high, ended_volume are those of a bar that ended where another opened:
        programs that stamp a fill with the end of its bar mean that one. gap: a bar is missing; closed: so is the
        market; covered: the bars reach that far; step: the length of a bar.
        """
        parts = []
        for part in self.fills.drop_nulls("symbol").partition_by("symbol", maintain_order=True):
            market = self.markets.get(part["symbol"][0])
            if market is None:
                continue
            times = part["filled_at"]
            place, ended = market.place(times), market.ended(times)
            main = place.zip_with(place.is_not_null(), ended)
            other = ended.set(place.is_null(), None)
            told = (market.bars["volume"] > 0).any()  # a source without volumes is stored with 0 everywhere
            names = _BAR if told else _BAR[:2]
            prices = [market.price(name, main).alias(name) for name in names]
            others = [market.price(name, other).alias(f"ended_{name}") for name in names]
            first, last = market.reach()
            parts.append(
                part.with_columns(
                    *prices,
                    *others,
                    *([] if told else [pl.lit(None, DECIMAL).alias(name) for name in ("volume", "ended_volume")]),
                    gap=market.touches_gap(times, times) & ended.is_null(),
                    closed=market.is_closed(times, self.thresholds.session_tolerance),
                    covered=times.is_between(first, last, "left") | ended.is_not_null(),
                    step=pl.lit(market.step, pl.Duration("us")),
                ).select(*self.fills.columns, *_BARRED)
            )
        return pl.concat(parts) if parts else pl.DataFrame(schema={**self.fills.schema, **_BARRED})
